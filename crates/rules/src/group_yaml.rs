//! How groups are written: the YAML of Loki and Prometheus, read strictly and printed again.
//!
//! Reading ends in plain structs; whether they make sense is `check`'s matter. Unknown keys are refused, since a
//! misspelt `for` would fire at once.

use crate::group::{Pairs, Rule, RuleGroup, RuleKind};
use logyard_logql::{PrometheusDuration, parse_prometheus_duration};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    /// What `lokitool` writes into its files; the name of the file counts here.
    #[serde(default)]
    #[expect(dead_code, reason = "allowed, and without a meaning here")]
    namespace: Option<String>,
    #[serde(default)]
    pub(crate) groups: Option<Vec<RawGroup>>,
}

/// A file, to write.
#[derive(Debug, Serialize)]
pub(crate) struct RawFileOut {
    pub(crate) groups: Vec<RawGroup>,
}

/// A group.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawGroup {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_offset: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<i64>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Pairs::is_empty")]
    pub(crate) labels: Pairs,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rules: Vec<RawRule>,
}

/// A rule.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRule {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub(crate) record: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub(crate) alert: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_firing_for: Option<Span>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Pairs::is_empty")]
    pub(crate) labels: Pairs,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Pairs::is_empty")]
    pub(crate) annotations: Pairs,
}

/// A span of time in ns, written as Prometheus does: `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(
    /// The nanoseconds, 0 or more.
    pub i64,
);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanReader)
    }
}

/// Refuses a text while it is read, so that the error knows its line.
struct SpanReader;

impl Visitor<'_> for SpanReader {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as 1h30m")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        parse_prometheus_duration(text).map(Span).map_err(E::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&PrometheusDuration(self.0))
    }
}

/// A key without a value is as one that is not there.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl RawGroup {
    /// Returns a group as it is written, with those of its rules that are wanted.
    pub(crate) fn of(group: &RuleGroup, is_wanted: impl Fn(&Rule) -> bool) -> Self {
        let span = |ns: i64| (ns > 0).then_some(Span(ns));
        let rules = group.rules.iter().filter(|rule| is_wanted(rule)).map(|rule| {
            let raw = RawRule { expr: rule.expr.clone(), labels: rule.labels.clone(), ..RawRule::default() };
            match &rule.kind {
                RuleKind::Record { name } => RawRule { record: name.clone(), ..raw },
                RuleKind::Alert(alert) => RawRule {
                    alert: alert.name.clone(),
                    hold: span(alert.for_ns),
                    keep_firing_for: span(alert.keep_firing_for_ns),
                    annotations: alert.annotations.clone(),
                    ..raw
                },
            }
        });
        Self {
            name: group.name.clone(),
            interval: group.interval_ns.map(Span),
            query_offset: span(group.query_offset_ns),
            limit: (group.limit > 0).then(|| i64::try_from(group.limit).unwrap_or(i64::MAX)),
            labels: group.labels.clone(),
            rules: rules.collect(),
        }
    }
}
