//! Templates of `line_format` and `label_format`: Go's text templates, with Loki's functions.
//!
//! `template_lex`, `template_parse` and `template_tree` read them, `template_run` runs them, and
//! `template_call` lists the functions, which come in families of one file each.

use crate::labels::Labels;
use crate::template_call::Surroundings;
use crate::template_parse::parse;
use crate::template_regex::Regexes;
use crate::template_run;
use crate::template_tree::{Node, visit_fields};
use std::collections::HashMap;

/// A template, ready to run.
#[derive(Debug)]
pub(crate) struct Template {
    /// What errors call it.
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) root: Vec<Node>,
    pub(crate) defined: HashMap<String, Vec<Node>>,
    regexes: Regexes,
}

impl Template {
    /// Compiles a template. Errors: Go's text.
    pub(crate) fn compile(name: &'static str, text: &str) -> Result<Self, String> {
        let parsed =
            parse(text).map_err(|fault| format!("template: {name}:{}: {}", fault.line, fault.reason))?;
        let bodies = parsed.defined.values().map(Vec::as_slice).chain([&*parsed.root]);
        let regexes = Regexes::of(bodies);
        Ok(Self { name, text: text.to_owned(), root: parsed.root, defined: parsed.defined, regexes })
    }

    /// Returns the text for an entry.
    ///
    /// Errors: Go's text, which tells where in the template.
    pub(crate) fn run(
        &self,
        line: &[u8],
        ts_ns: i64,
        now_ns: i64,
        labels: &Labels<'_>,
    ) -> Result<Vec<u8>, String> {
        let around = Surroundings { line, ts_ns, now_ns, regexes: &self.regexes };
        template_run::run(self, labels, around)
    }
}

/// Appends the names of the labels that a template reads; a faulty one reads none.
pub(crate) fn template_names(text: &str, out: &mut Vec<String>) {
    if let Ok(parsed) = parse(text) {
        visit_fields(&parsed.root, &mut |name| out.push(name.to_owned()));
    }
}

#[cfg(test)]
mod tests;
