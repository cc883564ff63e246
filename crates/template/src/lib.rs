//! Go's text templates, for queries, the agent and alert rules: one implementation of the language.
//!
//! Owns: reading and running templates, their functions, and times by Go's layouts. Deliberately absent: what `.`
//! is (whoever runs a template says so by [`Fields`]), stages, I/O, clocks.
//!
//! `lex`, `parse` and `tree` read a template, `run` runs it, and `call` lists the functions, which come in families
//! of one file each. Any text is refused or answers within bounds on parts, depth and length.
//!
//! Change a function, also touch `tests/cases`; add one to queries only or to the agent only, also `call`; those of
//! rules are in `rule`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod agent;
mod builtin;
mod call;
mod encoding;
mod fields;
mod json_string;
mod layout;
mod lex;
mod math;
mod parse;
mod print;
mod printf;
mod regexes;
mod rule;
mod run;
mod text;
mod time;
mod tree;
mod value;

pub use call::Dialect;
pub use fields::Fields;
pub use json_string::{unescape, unicode_escape};
pub use layout::Layout;
pub use value::{IntType, Value};

use crate::call::Surroundings;
use crate::parse::parse;
use crate::regexes::Regexes;
use crate::tree::{Node, visit_fields};
use std::collections::HashMap;

/// A template, ready to run.
#[derive(Debug)]
pub struct Template {
    /// What errors call it.
    name: &'static str,
    text: String,
    dialect: Dialect,
    root: Vec<Node>,
    defined: HashMap<String, Vec<Node>>,
    regexes: Regexes,
}

/// The entry that a template runs over, and the present.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its line; only queries have a function for it.
    pub line: &'a [u8],
    /// Its time, in ns since the Unix epoch; only queries have a function for it.
    pub ts_ns: i64,
    /// The present, in ns since the Unix epoch.
    pub now_ns: i64,
}

impl Template {
    /// Compiles a template; `name` is what errors call it.
    ///
    /// Errors: Go's text; a function that the dialect does not have is one.
    pub fn compile(name: &'static str, text: &str, dialect: Dialect) -> Result<Self, String> {
        let parsed = parse(text, dialect)
            .map_err(|fault| format!("template: {name}:{}: {}", fault.line, fault.reason))?;
        let bodies = parsed.defined.values().map(Vec::as_slice).chain([&*parsed.root]);
        let regexes = Regexes::of(bodies);
        Ok(Self { name, text: text.to_owned(), dialect, root: parsed.root, defined: parsed.defined, regexes })
    }

    /// Returns the text for an entry.
    ///
    /// Errors: Go's text, which tells where in the template.
    /// Cost: bounded by parts run, depth and length of text, whatever the template.
    pub fn run(&self, entry: Entry<'_>, fields: &dyn Fields) -> Result<Vec<u8>, String> {
        let Entry { line, ts_ns, now_ns } = entry;
        let external_url = match self.dialect {
            Dialect::Rule => fields.text("ExternalURL").unwrap_or_default(),
            Dialect::Query | Dialect::Agent => &[],
        };
        let around = Surroundings { line, ts_ns, now_ns, regexes: &self.regexes, external_url };
        run::run(self, fields, around)
    }
}

/// Appends the names of the fields that a query's template reads; a faulty one reads none.
pub fn template_names(text: &str, out: &mut Vec<String>) {
    if let Ok(parsed) = parse(text, Dialect::Query) {
        visit_fields(&parsed.root, &mut |name| out.push(name.to_owned()));
    }
}

#[cfg(test)]
mod tests;
