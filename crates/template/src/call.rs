//! The functions of templates: names, parameters, and where each family is.

use crate::agent;
use crate::builtin;
use crate::encoding;
use crate::math;
use crate::regexes::{self, Regexes};
use crate::rule;
use crate::text;
use crate::time;
use crate::value::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Longest text that a template may make.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Text,
    Int,
    Float,
    Time,
    Any,
}

impl Param {
    /// Returns Go's name of the type.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Time => "time.Time",
            Self::Any => "interface {}",
        }
    }
}

/// What functions know besides their arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) line: &'a [u8],
    pub(crate) ts_ns: i64,
    pub(crate) now_ns: i64,
    pub(crate) regexes: &'a Regexes,
    /// Where people reach the server; only rules have a function for it.
    pub(crate) external_url: &'a [u8],
}

type Call = fn(&Surroundings<'_>, &[Value]) -> Result<Value, String>;

/// A function; arguments are converted and counted before the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Param],
    /// What further arguments are, if any are taken.
    pub(crate) more: Option<Param>,
    pub(crate) call: Call,
}

/// Shorthand for the tables of the families.
pub(crate) const fn function(name: &'static str, params: &'static [Param], call: Call) -> Function {
    Function { name, params, more: None, call }
}

/// A function that takes any number of further arguments.
pub(crate) const fn variadic(
    name: &'static str,
    params: &'static [Param],
    more: Param,
    call: Call,
) -> Function {
    Function { name, params, more: Some(more), call }
}

/// Functions of rules, by name; those that Go has of itself are among them.
static RULE_FUNCTIONS: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let families: [&'static [Function]; 2] = [builtin::FUNCTIONS, rule::FUNCTIONS];
    families.into_iter().flatten().map(|function| (function.name, function)).collect()
});

static FUNCTIONS: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let families: [&'static [Function]; 7] = [
        builtin::FUNCTIONS,
        text::FUNCTIONS,
        math::FUNCTIONS,
        encoding::FUNCTIONS,
        regexes::FUNCTIONS,
        time::FUNCTIONS,
        agent::FUNCTIONS,
    ];
    families.into_iter().flatten().map(|function| (function.name, function)).collect()
});

/// Functions that evaluate their arguments themselves.
const SPECIAL: [&str; 3] = ["and", "or", "call"];

/// Whose templates these are: it decides which functions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Of `line_format` and `label_format` (Loki v3.7.6).
    Query,
    /// Of the agent's stages `template` and `replace` (Promtail v3.6.15): Promtail's own functions and those of
    /// sprig that are named in this crate's `call` and `agent`.
    Agent,
    /// Of labels and annotations of alert rules (Prometheus 3, Loki v3.7.6).
    Rule,
}

/// Functions that only queries have.
const QUERY_ONLY: [&str; 13] = [
    "__line__",
    "__timestamp__",
    "alignLeft",
    "alignRight",
    "bytes",
    "count",
    "duration",
    "duration_seconds",
    "toDateInZone",
    "unixEpochMillis",
    "unixEpochNanos",
    "unixToTime",
    "urldecode",
];

/// Returns whether templates of a dialect know the function.
pub(crate) fn is_function(name: &str, dialect: Dialect) -> bool {
    let is_foreign = match dialect {
        Dialect::Query => agent::FUNCTIONS.iter().any(|function| function.name == name),
        Dialect::Agent => QUERY_ONLY.contains(&name),
        Dialect::Rule => false,
    };
    !is_foreign && (SPECIAL.contains(&name) || find(name, dialect).is_some())
}

/// Returns a function by its name, unless it is a special one.
pub(crate) fn find(name: &str, dialect: Dialect) -> Option<&'static Function> {
    match dialect {
        Dialect::Query | Dialect::Agent => FUNCTIONS.get(name).copied(),
        Dialect::Rule => RULE_FUNCTIONS.get(name).copied(),
    }
}

/// Refuses a text that is too long to make.
pub(crate) fn check_length(bytes: usize) -> Result<(), String> {
    if bytes <= TEXT_BYTES_MAX { Ok(()) } else { Err(format!("text is longer than {TEXT_BYTES_MAX} bytes")) }
}

/// The text at a position; arguments have been converted, so it is one.
pub(crate) fn text(args: &[Value], index: usize) -> &[u8] {
    match args.get(index) {
        Some(Value::Text(text)) => text,
        _ => &[],
    }
}

/// The integer at a position.
pub(crate) fn int(args: &[Value], index: usize) -> i64 {
    match args.get(index) {
        Some(Value::Int(value, _)) => *value,
        _ => 0,
    }
}
