//! The canonical text of a tree: parsing it gives an equal tree.
//!
//! Binary expressions and connectives of label filters are always in parentheses. Numbers that no
//! literal can say are printed as an expression that folds into them.

use crate::duration::{GoDuration, PrometheusDuration};
use crate::lexer::is_bare_name;
use crate::number::{GoFloat, GoLiteral, SixDecimals};
use crate::size::Size;
use crate::tree::{
    Expr, Extraction, FilterValue, Formatted, LabelFilter, LabelPick, LineFilterArg, LogExpr, Stage,
    StageKind,
};
use crate::tree_function::FunctionExpr;
use crate::tree_metric::{
    BinaryExpr, GroupSide, Grouping, LogRange, MetricExpr, RangeAggregation, Unwrap, Variants,
    VectorAggregation,
};
use logyard_model::Matcher;
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write as _};

/// Returns `text` between double quotes with Go's escapes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_control() && c.is_ascii() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns the name of a label as it is written: in quotes if it reads as anything else.
fn label(name: &str) -> Cow<'_, str> {
    if is_bare_name(name) { Cow::Borrowed(name) } else { Cow::Owned(quoted(name)) }
}

fn labels(names: &[String]) -> impl Iterator<Item = Cow<'_, str>> {
    names.iter().map(|name| label(name))
}

fn matcher(matcher: &Matcher) -> String {
    let text = matcher.to_string();
    match text.strip_prefix(matcher.name()) {
        Some(test) if !is_bare_name(matcher.name()) => quoted(matcher.name()) + test,
        _ => text,
    }
}

fn joined<T: Display>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    between: &str,
) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
            Self::Variants(variants) => variants.fmt(f),
        }
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        joined(f, self.matchers.iter().map(matcher), ", ")?;
        f.write_char('}')?;
        self.stages.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StageKind::LineFilter(filter) => {
                write!(f, "{} ", filter.op.as_str())?;
                joined(f, &filter.args, " or ")
            }
            StageKind::Json(extractions) => write_extractions(f, "json", extractions),
            StageKind::JsonArrays => f.write_str("| json --arrays"),
            StageKind::Logfmt { strict, keep_empty, extractions } => {
                let strict = if *strict { " --strict" } else { "" };
                let keep_empty = if *keep_empty { " --keep-empty" } else { "" };
                write_extractions(f, &format!("logfmt{strict}{keep_empty}"), extractions)
            }
            StageKind::Regexp(pattern) => write!(f, "| regexp {}", quoted(pattern)),
            StageKind::Pattern(pattern) => write!(f, "| pattern {}", quoted(pattern)),
            StageKind::Unpack => f.write_str("| unpack"),
            StageKind::LabelFilter(filter) => write!(f, "| {filter}"),
            StageKind::LineFormat(template) => write!(f, "| line_format {}", quoted(template)),
            StageKind::LabelFormat(items) => {
                f.write_str("| label_format ")?;
                // A source in quotes would be a template, so it is always bare.
                let texts = items.iter().map(|item| match &item.from {
                    Formatted::Label(source) => format!("{}={source}", label(&item.label)),
                    Formatted::Template(template) => format!("{}={}", label(&item.label), quoted(template)),
                });
                joined(f, texts, ",")
            }
            StageKind::Distinct(names) => {
                f.write_str("| distinct ")?;
                joined(f, labels(names), ",")
            }
            StageKind::Context { before, after } => write!(f, "| context {before},{after}"),
            StageKind::Decolorize => f.write_str("| decolorize"),
            StageKind::Drop(picks) => {
                f.write_str("| drop ")?;
                joined(f, picks, ",")
            }
            StageKind::Keep(picks) => {
                f.write_str("| keep ")?;
                joined(f, picks, ",")
            }
        }
    }
}

fn write_extractions(f: &mut Formatter<'_>, name: &str, extractions: &[Extraction]) -> fmt::Result {
    write!(f, "| {name}")?;
    if extractions.is_empty() {
        return Ok(());
    }
    f.write_char(' ')?;
    let texts = extractions.iter().map(|one| format!("{}={}", label(&one.label), quoted(&one.source)));
    joined(f, texts, ",")
}

impl Display for LineFilterArg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Ip(pattern) => write!(f, "ip({})", quoted(pattern)),
        }
    }
}

impl Display for LabelPick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&label(name)),
            Self::Matcher(one) => f.write_str(&matcher(one)),
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(one) => f.write_str(&matcher(one)),
            Self::Compare { name, op, value } => write!(f, "{}{}{value}", label(name), op.as_str()),
            // The right name in quotes would be a constant, so it is always bare.
            Self::CompareLabels { left, op, right } => write!(f, "{}{}{right}", label(left), op.as_str()),
            Self::Ip { name, negated, pattern } => {
                let op = if *negated { "!=" } else { "=" };
                write!(f, "{}{op}ip({})", label(name), quoted(pattern))
            }
            Self::And(left, right) => write!(f, "( {left} , {right} )"),
            Self::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

impl Display for FilterValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => GoFloat(*value).fmt(f),
            Self::DurationNs(ns) => GoDuration(*ns).fmt(f),
            Self::Bytes(bytes) => Size(*bytes).fmt(f),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(aggregation) => aggregation.fmt(f),
            Self::Vector(aggregation) => aggregation.fmt(f),
            Self::LabelReplace(replace) => {
                write!(f, "label_replace({}", replace.inner)?;
                for text in [&replace.label, &replace.replacement, &replace.source, &replace.regex] {
                    write!(f, ",{}", quoted(text))?;
                }
                f.write_char(')')
            }
            Self::Function(function) => function.fmt(f),
            Self::VectorOf(value) => write!(f, "vector({})", SixDecimals(*value)),
            Self::Literal(value) if value.is_nan() => f.write_str("(0 / 0)"),
            Self::Literal(value) if value.is_infinite() => {
                write!(f, "({}1e+308 * 10)", if *value < 0.0 { "-" } else { "" })
            }
            Self::Literal(value) => GoLiteral(*value).fmt(f),
            Self::Binary(binary) => binary.fmt(f),
        }
    }
}

impl FunctionExpr {
    /// Returns the name of the function.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Map(call) => call.op.as_str(),
            Self::LabelJoin(_) => "label_join",
            Self::Time => "time",
        }
    }

    /// Returns the arguments behind the samples.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Map(call) => call.params.iter().map(|param| GoFloat(*param).to_string()).collect(),
            Self::LabelJoin(join) => [&join.label, &join.separator]
                .into_iter()
                .chain(&join.sources)
                .map(|text| quoted(text))
                .collect(),
            Self::Time => Vec::new(),
        }
    }
}

impl Display for FunctionExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        if let Some(inner) = self.inner() {
            inner.fmt(f)?;
        }
        self.arguments().iter().try_for_each(|argument| write!(f, ",{argument}"))?;
        f.write_char(')')
    }
}

impl VectorAggregation {
    /// Returns the parameter before the samples.
    pub(crate) fn parameter(&self) -> Option<String> {
        self.count.map(|count| count.to_string())
    }
}

impl RangeAggregation {
    /// Returns the parameter before the entries.
    pub(crate) fn parameter(&self) -> Option<String> {
        let name = || self.label.as_deref().map(|name| label(name).into_owned());
        self.param.map(|param| GoFloat(param).to_string()).or_else(name)
    }
}

impl Display for RangeAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.as_str())?;
        if let Some(parameter) = self.parameter() {
            write!(f, "{parameter},")?;
        }
        write!(f, "{})", self.range)?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for LogRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.log)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, "[{}]", PrometheusDuration(self.range_ns))?;
        if self.offset_ns != 0 {
            write!(f, " offset {}", GoDuration(self.offset_ns))?;
        }
        Ok(())
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Some(conversion) => write!(f, "| unwrap {}({})", conversion.as_str(), label(&self.label))?,
            None => write!(f, "| unwrap {}", label(&self.label))?,
        }
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { "without (" } else { "by (" })?;
        joined(f, labels(&self.labels), ", ")?;
        f.write_char(')')
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.grouping.without || !self.grouping.labels.is_empty() {
            write!(f, " {}", self.grouping)?;
        }
        f.write_char('(')?;
        if let Some(parameter) = self.parameter() {
            write!(f, "{parameter},")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl BinaryExpr {
    /// Returns the operator with everything that belongs to it.
    pub(crate) fn operator(&self) -> impl Display {
        std::fmt::from_fn(|f| {
            f.write_str(self.op.as_str())?;
            if self.returns_bool {
                f.write_str(" bool")?;
            }
            let matching = &self.matching;
            if matching.given {
                f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
                joined(f, labels(&matching.labels), ", ")?;
                f.write_char(')')?;
            }
            if let Some(side) = matching.group {
                f.write_str(if side == GroupSide::Left { " group_left" } else { " group_right" })?;
                // An empty list keeps a parenthesis of the operand from being taken for one.
                f.write_str(" (")?;
                joined(f, labels(&matching.include), ", ")?;
                f.write_char(')')?;
            }
            Ok(())
        })
    }
}

impl Display for BinaryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, self.operator(), self.right)
    }
}

impl Display for Variants {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("variants(")?;
        joined(f, &self.exprs, ", ")?;
        write!(f, ") of ({})", self.of)
    }
}
