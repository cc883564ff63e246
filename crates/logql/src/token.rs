//! The words of the language.

use crate::error::Span;
use crate::tree_metric::{RangeOp, VectorOp};

/// A word and its place.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Identifier(String),
    Text(String),
    Number {
        value: f64,
        text: String,
    },
    /// Nanoseconds.
    Duration(i64),
    /// A size.
    Bytes(u64),
    /// Nanoseconds between brackets.
    Range(i64),
    Flag(&'static str),
    /// Punctuation and operators, by spelling.
    Sign(&'static str),
    /// A reserved word, lower case.
    Word(&'static str),
    RangeOp(RangeOp),
    VectorOp(VectorOp),
    /// Any other name that is a function where a parenthesis follows.
    Function(&'static str),
    /// A character outside the language; Loki calls it an identifier and refuses it.
    Unknown,
    /// No word at all; refused where it is met, with this text.
    Fault(String),
    /// A parenthesis inside as many as there may be; what follows is not read.
    TooDeep,
    End,
}

impl Kind {
    /// Returns how error texts call the word.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Identifier(_) | Self::Unknown => "IDENTIFIER".to_owned(),
            Self::Text(_) => "STRING".to_owned(),
            Self::Number { .. } => "NUMBER".to_owned(),
            Self::Duration(_) => "DURATION".to_owned(),
            Self::Bytes(_) => "BYTES".to_owned(),
            Self::Range(_) => "RANGE".to_owned(),
            Self::Flag(text) | Self::Sign(text) | Self::Word(text) => (*text).to_owned(),
            Self::RangeOp(op) => op.as_str().to_uppercase(),
            Self::VectorOp(op) => op.as_str().to_uppercase(),
            Self::Function("ip") => "ip".to_owned(),
            Self::Function(text) => text.to_uppercase(),
            Self::Fault(text) => text.clone(),
            Self::TooDeep => "(".to_owned(),
            Self::End => "$end".to_owned(),
        }
    }
}

/// Words that cannot be the name of a label.
pub(crate) const WORDS: [&str; 24] = [
    "by",
    "without",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "offset",
    "unwrap",
    "json",
    "logfmt",
    "regexp",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "decolorize",
    "drop",
    "keep",
    "variants",
    "of",
];

/// Functions beside the range and vector operators.
pub(crate) const FUNCTIONS: [&str; 21] = [
    "vector",
    "label_replace",
    "bytes",
    "duration",
    "duration_seconds",
    "ip",
    "abs",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "exp",
    "floor",
    "label_join",
    "ln",
    "log10",
    "log2",
    "round",
    "sgn",
    "sqrt",
    "time",
];

/// Punctuation and operators, longest first.
pub(crate) const SIGNS: [&str; 26] = [
    "==", "!=", "=~", "!~", "!>", "|=", "|~", "|>", ">=", "<=", ",", ".", "{", "}", "(", ")", "=", "|", "+",
    "-", "*", "/", "%", "^", ">", "<",
];

/// Words that may follow a bar; `unwrap` is read with the range it belongs to.
pub(crate) const STAGES: [&str; 10] = [
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
];
