//! The syntax tree of metric queries.

use crate::error::Span;
use crate::tree::{LabelFilter, LogExpr};
use crate::tree_function::FunctionExpr;

/// Yields samples.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// Folds the entries of a window into samples.
    Range(RangeAggregation),
    /// Folds the samples of one instant.
    Vector(VectorAggregation),
    /// Sets a label from another by a pattern.
    LabelReplace(LabelReplace),
    /// A function of samples, beyond Loki.
    Function(FunctionExpr),
    /// `vector(n)`: one sample without labels.
    VectorOf(f64),
    /// A number.
    Literal(f64),
    /// Two operands.
    Binary(Box<BinaryExpr>),
}

/// Function of a range aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the language's")]
pub enum RangeOp {
    CountOverTime,
    Rate,
    RateCounter,
    BytesOverTime,
    BytesRate,
    AvgOverTime,
    SumOverTime,
    MinOverTime,
    MaxOverTime,
    StdvarOverTime,
    StddevOverTime,
    QuantileOverTime,
    FirstOverTime,
    LastOverTime,
    AbsentOverTime,
    PresentOverTime,
    Increase,
    CountDistinctOverTime,
}

impl RangeOp {
    /// All functions.
    pub const ALL: [Self; 18] = [
        Self::CountOverTime,
        Self::Rate,
        Self::RateCounter,
        Self::BytesOverTime,
        Self::BytesRate,
        Self::AvgOverTime,
        Self::SumOverTime,
        Self::MinOverTime,
        Self::MaxOverTime,
        Self::StdvarOverTime,
        Self::StddevOverTime,
        Self::QuantileOverTime,
        Self::FirstOverTime,
        Self::LastOverTime,
        Self::AbsentOverTime,
        Self::PresentOverTime,
        Self::Increase,
        Self::CountDistinctOverTime,
    ];

    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CountOverTime => "count_over_time",
            Self::Rate => "rate",
            Self::RateCounter => "rate_counter",
            Self::BytesOverTime => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
            Self::AvgOverTime => "avg_over_time",
            Self::SumOverTime => "sum_over_time",
            Self::MinOverTime => "min_over_time",
            Self::MaxOverTime => "max_over_time",
            Self::StdvarOverTime => "stdvar_over_time",
            Self::StddevOverTime => "stddev_over_time",
            Self::QuantileOverTime => "quantile_over_time",
            Self::FirstOverTime => "first_over_time",
            Self::LastOverTime => "last_over_time",
            Self::AbsentOverTime => "absent_over_time",
            Self::PresentOverTime => "present_over_time",
            Self::Increase => "increase",
            Self::CountDistinctOverTime => "count_distinct_over_time",
        }
    }
}

/// Folds the entries of a window into one sample per series.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The function.
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub param: Option<f64>,
    /// The label whose values `count_distinct_over_time` counts.
    pub label: Option<String>,
    /// The entries.
    pub range: LogRange,
    /// Labels of the result; without it all labels stay.
    pub grouping: Option<Grouping>,
    /// Its text.
    pub span: Span,
}

/// Entries of a moving window.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// The entries.
    pub log: LogExpr,
    /// The label whose value is the sample.
    pub unwrap: Option<Unwrap>,
    /// Width of the window in nanoseconds, not negative.
    pub range_ns: i64,
    /// How far the window lies in the past, in nanoseconds; negative for the future.
    pub offset_ns: i64,
}

/// The label whose value is the sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// How its value becomes a number.
    pub conversion: Option<Conversion>,
    /// Label filters after the conversion.
    pub filters: Vec<LabelFilter>,
    /// Its text.
    pub span: Span,
}

/// How an unwrapped value becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// A size in bytes.
    Bytes,
    /// A duration, in seconds.
    Duration,
    /// The same under its other name.
    DurationSeconds,
}

impl Conversion {
    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

/// Which labels a result keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The labels are removed instead of kept.
    pub without: bool,
    /// The labels, as written.
    pub labels: Vec<String>,
}

/// Function of a vector aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the language's")]
pub enum VectorOp {
    Sum,
    Avg,
    Count,
    Max,
    Min,
    Stddev,
    Stdvar,
    Bottomk,
    Topk,
    ApproxTopk,
    Sort,
    SortDesc,
}

impl VectorOp {
    /// All functions.
    pub const ALL: [Self; 12] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Max,
        Self::Min,
        Self::Stddev,
        Self::Stdvar,
        Self::Bottomk,
        Self::Topk,
        Self::ApproxTopk,
        Self::Sort,
        Self::SortDesc,
    ];

    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Bottomk => "bottomk",
            Self::Topk => "topk",
            Self::ApproxTopk => "approx_topk",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
        }
    }

    /// Returns whether the function takes a number of samples.
    pub fn takes_count(self) -> bool {
        matches!(self, Self::Bottomk | Self::Topk | Self::ApproxTopk)
    }
}

/// Folds the samples of one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    /// The function.
    pub op: VectorOp,
    /// How many samples `topk` and its kin keep, at least 1.
    pub count: Option<usize>,
    /// Labels that make a group; by default one group, `by ()`.
    pub grouping: Grouping,
    /// The samples.
    pub inner: Box<MetricExpr>,
    /// Its text.
    pub span: Span,
}

/// Sets a label from another by a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    /// The samples.
    pub inner: Box<MetricExpr>,
    /// The label to set.
    pub label: String,
    /// The new value, with `$1` and its kin.
    pub replacement: String,
    /// The label to read.
    pub source: String,
    /// A pattern that must match the whole value.
    pub regex: String,
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the language's")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl BinaryOp {
    /// Returns the operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// Returns whether it works on sets of samples rather than on values.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Returns whether it compares values.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::GreaterOrEqual
                | Self::Less
                | Self::LessOrEqual
        )
    }

    /// Applies an arithmetic operator; a comparison gives 1 or 0.
    ///
    /// Division and remainder by zero are NaN, unlike PromQL. Set operators give NaN.
    pub fn apply(self, left: f64, right: f64) -> f64 {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide | Self::Modulo if right == 0.0 => f64::NAN,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Equal => truth(left == right),
            Self::NotEqual => truth(left != right),
            Self::Greater => truth(left > right),
            Self::GreaterOrEqual => truth(left >= right),
            Self::Less => truth(left < right),
            Self::LessOrEqual => truth(left <= right),
            Self::Or | Self::And | Self::Unless => f64::NAN,
        }
    }
}

/// Two operands; never two literals, which are folded.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: MetricExpr,
    /// Right operand.
    pub right: MetricExpr,
    /// A comparison yields 0 and 1 instead of filtering.
    pub returns_bool: bool,
    /// How samples of two vectors find each other.
    pub matching: Matching,
    /// Its text.
    pub span: Span,
}

/// How samples of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The labels to match on, or, without `on`, those to ignore.
    pub labels: Vec<String>,
    /// Match on the labels only.
    pub on: bool,
    /// The labels were given by `on` or `ignoring`.
    pub given: bool,
    /// Which side may have several samples for one of the other.
    pub group: Option<GroupSide>,
    /// Labels taken over from the side with one sample.
    pub include: Vec<String>,
}

/// The side of a binary operation that may have many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSide {
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}

/// Several metric queries over one range of entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// The queries.
    pub exprs: Vec<MetricExpr>,
    /// The entries.
    pub of: LogRange,
}
