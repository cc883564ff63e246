//! The syntax tree of a template, and how Go prints its parts in error texts.

use std::fmt::{self, Display, Formatter};

/// One part of a template.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    /// `{{pipe}}`; prints unless it sets a variable.
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// `{{template "name" pipe}}`
    Template {
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// A condition with its two outcomes.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) then: Vec<Node>,
    /// What `else if` or `else with` adds, in order: a list, since chains may be long.
    pub(crate) more: Vec<(Pipe, Vec<Node>)>,
    pub(crate) otherwise: Vec<Node>,
}

/// Commands, each given the result of the one before.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    /// Variables to set, with their `$`.
    pub(crate) variables: Vec<String>,
    /// Whether the variables exist already.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) at: usize,
    /// At least one.
    pub(crate) words: Vec<Word>,
}

/// One operand; `at` is a byte position in the template.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) at: usize,
    pub(crate) kind: WordKind,
}

#[derive(Debug)]
pub(crate) enum WordKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text {
        /// As it is written.
        source: String,
        value: Vec<u8>,
    },
    /// `.a.b`
    Field(Vec<String>),
    /// `$a.b`
    Variable(String, Vec<String>),
    /// `(pipe).a.b`
    Chain(Box<Word>, Vec<String>),
    Pipe(Box<Pipe>),
    Function(String),
}

/// A number, with the types it can be.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) source: String,
    pub(crate) int: Option<i64>,
    pub(crate) float: f64,
    /// Written as a character: its own type of integer.
    pub(crate) is_char: bool,
}

impl Number {
    /// Whether the number is a float where any type will do.
    pub(crate) fn reads_as_float(&self) -> bool {
        let is_hex = self.source.contains(['x', 'X']);
        !self.is_char && (self.int.is_none() || !is_hex && self.source.contains(['.', 'e', 'E', 'p', 'P']))
    }
}

fn joined<T: Display>(f: &mut Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            joined(f, &self.variables, ", ")?;
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        joined(f, &self.commands, " | ")
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, &self.words, " ")
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fields =
            |f: &mut Formatter<'_>, names: &[String]| names.iter().try_for_each(|name| write!(f, ".{name}"));
        match &self.kind {
            WordKind::Dot => f.write_str("."),
            WordKind::Nil => f.write_str("nil"),
            WordKind::Bool(value) => write!(f, "{value}"),
            WordKind::Number(number) => f.write_str(&number.source),
            WordKind::Text { source, .. } => f.write_str(source),
            WordKind::Field(names) => fields(f, names),
            WordKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            WordKind::Chain(inner, names) => {
                write!(f, "{inner}")?;
                fields(f, names)
            }
            WordKind::Pipe(pipe) => write!(f, "({pipe})"),
            WordKind::Function(name) => f.write_str(name),
        }
    }
}

/// Calls `visit` with the first name of each field that the nodes read from the labels.
pub(crate) fn visit_fields<'a>(nodes: &'a [Node], visit: &mut dyn FnMut(&'a str)) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipe) => pipe_fields(pipe, visit),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                pipe_fields(&branch.pipe, visit);
                visit_fields(&branch.then, visit);
                for (pipe, body) in &branch.more {
                    pipe_fields(pipe, visit);
                    visit_fields(body, visit);
                }
                visit_fields(&branch.otherwise, visit);
            }
            Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| pipe_fields(pipe, visit)),
        }
    }
}

fn pipe_fields<'a>(pipe: &'a Pipe, visit: &mut dyn FnMut(&'a str)) {
    pipe.commands.iter().flat_map(|command| &command.words).for_each(|word| word_fields(word, visit));
}

fn word_fields<'a>(word: &'a Word, visit: &mut dyn FnMut(&'a str)) {
    match &word.kind {
        WordKind::Field(names) | WordKind::Variable(_, names) => {
            names.first().into_iter().for_each(|name| visit(name));
        }
        WordKind::Chain(inner, _) => word_fields(inner, visit),
        WordKind::Pipe(pipe) => pipe_fields(pipe, visit),
        _ => {}
    }
}
