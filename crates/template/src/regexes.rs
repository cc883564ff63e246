//! Functions of templates with regular expressions in Go's dialect.

use crate::call::{Function, Param, Surroundings, check_length, function, text};
use crate::tree::{Node, Pipe, Word, WordKind};
use crate::value::Value;
use logyard_model::translate;
use regex::bytes::{Captures, Regex, RegexBuilder};
use std::collections::HashMap;

pub(crate) const FUNCTIONS: &[Function] = &[
    function("regexReplaceAll", &[Param::Text, Param::Text, Param::Text], |around, args| {
        replace_all(around, args)
    }),
    function("regexReplaceAllLiteral", &[Param::Text, Param::Text, Param::Text], |around, args| {
        replace(around, args, |_, template, out| out.extend_from_slice(template))
    }),
    function("count", &[Param::Text, Param::Text], |around, args| {
        let count = around.regexes.with(text(args, 0), |regex| regex.find_iter(text(args, 1)).count())?;
        Ok(Value::int(count as i64))
    }),
];

/// Regular expressions that stand in a template as they are, compiled once.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    by_pattern: HashMap<Vec<u8>, Regex>,
}

impl Regexes {
    /// Compiles what a template needs; faulty patterns are left to fail when they are used.
    pub(crate) fn of<'a>(bodies: impl Iterator<Item = &'a [Node]>) -> Self {
        let mut regexes = Self::default();
        bodies.for_each(|nodes| regexes.add_nodes(nodes));
        regexes
    }

    fn add_nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipe) => self.add_pipe(pipe),
                Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| self.add_pipe(pipe)),
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    self.add_pipe(&branch.pipe);
                    self.add_nodes(&branch.then);
                    for (pipe, body) in &branch.more {
                        self.add_pipe(pipe);
                        self.add_nodes(body);
                    }
                    self.add_nodes(&branch.otherwise);
                }
            }
        }
    }

    fn add_pipe(&mut self, pipe: &Pipe) {
        for command in &pipe.commands {
            if let [
                Word { kind: WordKind::Function(name), .. },
                Word { kind: WordKind::Text { value, .. }, .. },
                ..,
            ] = &*command.words
                && FUNCTIONS.iter().any(|function| function.name == name)
                && let Ok(regex) = compile(value)
            {
                self.by_pattern.insert(value.clone(), regex);
            }
            for word in &command.words {
                match &word.kind {
                    WordKind::Pipe(pipe) => self.add_pipe(pipe),
                    WordKind::Chain(inner, _) => {
                        if let WordKind::Pipe(pipe) = &inner.kind {
                            self.add_pipe(pipe);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn with<T>(&self, pattern: &[u8], run: impl FnOnce(&Regex) -> T) -> Result<T, String> {
        match self.by_pattern.get(pattern) {
            Some(regex) => Ok(run(regex)),
            None => Ok(run(&compile(pattern)?)),
        }
    }
}

fn compile(pattern: &[u8]) -> Result<Regex, String> {
    let pattern = String::from_utf8_lossy(pattern);
    let translated = translate(&pattern).map_err(|error| error.to_string())?;
    RegexBuilder::new(&translated)
        .nest_limit(2010)
        .build()
        .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))
}

/// Replaces what matches; `$1` in the replacement is a group.
pub(crate) fn replace_all(around: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    replace(around, args, |captures, template, out| captures.expand(template, out))
}

fn replace(
    around: &Surroundings<'_>,
    args: &[Value],
    expand: fn(&Captures<'_>, &[u8], &mut Vec<u8>),
) -> Result<Value, String> {
    let (subject, replacement) = (text(args, 1), text(args, 2));
    around.regexes.with(text(args, 0), |regex| {
        let (mut out, mut copied) = (Vec::with_capacity(subject.len()), 0);
        for captures in regex.captures_iter(subject) {
            let Some(found) = captures.get(0) else { continue };
            out.extend_from_slice(subject.get(copied..found.start()).unwrap_or_default());
            expand(&captures, replacement, &mut out);
            check_length(out.len())?;
            copied = found.end();
        }
        out.extend_from_slice(subject.get(copied..).unwrap_or_default());
        Ok(Value::Text(out))
    })?
}
