//! The syntax tree: roots, log queries and their stages.

use crate::error::Span;
use crate::tree_metric::{MetricExpr, Variants};
use logyard_model::Matcher;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Yields entries.
    Log(LogExpr),
    /// Yields samples; a bare number is [`MetricExpr::Literal`].
    Metric(MetricExpr),
    /// Several metric queries over one range of entries; parsed, never evaluated.
    Variants(Variants),
}

/// A selector and its pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// All must hold; at least one refuses the empty value.
    pub matchers: Vec<Matcher>,
    /// Applied from left to right.
    pub stages: Vec<Stage>,
    /// The selector's text.
    pub span: Span,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What it does.
    pub kind: StageKind,
    /// Its text, from the operator or the bar on.
    pub span: Span,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq)]
pub enum StageKind {
    /// Keeps or drops entries by their line.
    LineFilter(LineFilter),
    /// `json`: everything, or the listed paths.
    Json(Vec<Extraction>),
    /// `json --arrays`: everything, elements of arrays included; beyond Loki.
    JsonArrays,
    /// `logfmt`: everything, or the listed keys.
    Logfmt {
        /// Stop at the first fault and report it.
        strict: bool,
        /// Keep keys without a value.
        keep_empty: bool,
        /// The listed keys.
        extractions: Vec<Extraction>,
    },
    /// `regexp`: the named groups of a pattern in Go's dialect.
    Regexp(String),
    /// `pattern`: captures between literals.
    Pattern(String),
    /// `unpack`: labels and line of a packed entry.
    Unpack,
    /// Keeps or drops entries by their labels.
    LabelFilter(LabelFilter),
    /// `line_format`: a template for the line.
    LineFormat(String),
    /// `label_format`: renames and templates, in order.
    LabelFormat(Vec<LabelFormat>),
    /// `decolorize`: removes colour codes.
    Decolorize,
    /// `drop`: removes the labels picked.
    Drop(Vec<LabelPick>),
    /// `keep`: removes all other labels.
    Keep(Vec<LabelPick>),
    /// `distinct`: keeps the first entry of each combination of values; beyond Loki.
    Distinct(Vec<String>),
    /// `context`: adds the entries of the same stream around each match; beyond Loki, always last.
    Context {
        /// Entries before a match, at most 1000.
        before: usize,
        /// Entries behind a match, at most 1000.
        after: usize,
    },
}

/// How a line filter tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineFilterOp {
    /// Returns the operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }

    /// Returns whether lines that match are dropped.
    pub fn is_negated(self) -> bool {
        matches!(self, Self::NotContains | Self::NotRegex | Self::NotPattern)
    }
}

/// Keeps lines of which any alternative matches; a negated filter has exactly one alternative,
/// since the parser splits a negated chain into filters of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    /// How it tests.
    pub op: LineFilterOp,
    /// The alternatives, at least one.
    pub args: Vec<LineFilterArg>,
}

/// What a line is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFilterArg {
    /// A substring, pattern or regular expression, by the operator.
    Text(String),
    /// An address, a network or a range of addresses.
    Ip(String),
}

/// A label and the place its value is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// Path or key.
    pub source: String,
}

/// How a label filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=` or `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl CompareOp {
    /// Returns the operator as it is written for `value`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

/// The constant that a label's value is converted for and compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FilterValue {
    /// A number.
    Number(f64),
    /// A duration in nanoseconds.
    DurationNs(i64),
    /// A size in bytes, with no more digits than are printed: `1KiB` is 1000.
    Bytes(u64),
}

/// A test on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// Compares as text.
    Text(Matcher),
    /// Converts the value, then compares.
    Compare {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// The constant, which decides the conversion.
        value: FilterValue,
    },
    /// Compares the values of two labels, beyond Loki.
    CompareLabels {
        /// The label on the left.
        left: String,
        /// The comparison.
        op: CompareOp,
        /// The label on the right.
        right: String,
    },
    /// Looks for addresses in the value.
    Ip {
        /// The label.
        name: String,
        /// Whether values with such an address fail.
        negated: bool,
        /// An address, a network or a range of addresses.
        pattern: String,
    },
    /// Both pass.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// Either passes.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// One item of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label to set.
    pub label: String,
    /// Where its value comes from.
    pub from: Formatted,
}

/// Where a formatted label's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formatted {
    /// Another label, which disappears.
    Label(String),
    /// A template.
    Template(String),
}

/// One item of `drop` or `keep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelPick {
    /// The label of that name.
    Name(String),
    /// The label of that name if its value passes.
    Matcher(Matcher),
}
