//! Settings of the stages, under Promtail's names. Durations are Go's (`3s`, `1h30m`), sizes bytes or with a unit.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Names and where their values come from; nothing: from the same name.
pub type Names = BTreeMap<String, Option<String>>;

/// One stage: exactly one of the keys is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// Reads a line of Docker's json-file log: line, time and the label `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<NoSettings>,
    /// Reads a line of a Kubernetes runtime's log: line, time and the label `stream`; joins its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cri: Option<CriSettings>,
    /// Extracts values of a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonSettings>,
    /// Extracts values of a logfmt line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logfmt: Option<LogfmtSettings>,
    /// Extracts the named groups of a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<RegexSettings>,
    /// Replaces what the groups of a regular expression match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<ReplaceSettings>,
    /// Sets an extracted value by a Go template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSettings>,
    /// Sets labels from extracted values: names of labels and their sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Names>,
    /// Sets labels to fixed values; empty ones are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_labels: Option<Names>,
    /// Removes labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labeldrop: Option<Vec<String>>,
    /// Removes all other labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelallow: Option<Vec<String>>,
    /// Sets structured metadata from extracted values, else from labels, which are then removed.
    #[serde(default, alias = "non_indexed_labels", skip_serializing_if = "Option::is_none")]
    pub structured_metadata: Option<Names>,
    /// Sets the time of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampSettings>,
    /// Sets the line to an extracted value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSettings>,
    /// Runs stages on the entries that a LogQL selector matches, or discards those.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<MatchSettings>,
    /// Discards entries for which all given conditions hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropSettings>,
    /// Lets so many entries a second through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitSettings>,
    /// Lets a share of the entries through, at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingSettings>,
    /// Joins lines to one entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiline: Option<MultilineSettings>,
    /// Puts labels into the line, as JSON that LogQL's `unpack` reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackSettings>,
    /// Counts and measures what was extracted, for the page `/metrics`: names and what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<BTreeMap<String, MetricSettings>>,
    /// Removes colour codes from the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decolorize: Option<NoSettings>,
}

/// A stage without settings: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Settings of the stage `cri`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CriSettings {
    /// Most label sets with open parts; more, and all open ones are let out as they are. Default 100.
    pub max_partial_lines: usize,
    /// Longest joined line in bytes, if `max_partial_line_size_truncate`. Default 0: no bound of its own.
    pub max_partial_line_size: usize,
    /// Whether longer lines are cut.
    pub max_partial_line_size_truncate: bool,
}

impl Default for CriSettings {
    fn default() -> Self {
        Self { max_partial_lines: 100, max_partial_line_size: 0, max_partial_line_size_truncate: false }
    }
}

/// Settings of the stage `json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonSettings {
    /// Names and JMESPath expressions of their values; nothing: the same name.
    pub expressions: Names,
    /// Extracted value that is read; nothing: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether entries that are no JSON object are discarded, with the reason `malformed_json`.
    #[serde(default)]
    pub drop_malformed: bool,
}

/// Settings of the stage `logfmt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogfmtSettings {
    /// Names and keys of their values; nothing: the same name.
    pub mapping: Names,
    /// Extracted value that is read; nothing: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Settings of the stage `regex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexSettings {
    /// Go regular expression with named groups, `(?P<name>…)`; it may match anywhere.
    pub expression: String,
    /// Extracted value that is read; nothing: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Settings of the stage `replace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceSettings {
    /// Go regular expression; what its groups match is replaced, wherever it matches.
    pub expression: String,
    /// Extracted value that is read and set; nothing: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Go template of the replacement; `.Value` is what the group matched. Default empty.
    #[serde(default)]
    pub replace: String,
}

/// Settings of the stage `template`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateSettings {
    /// Extracted value that is set.
    pub source: String,
    /// Go template: `.Value` is the present value, `.Entry` the line, every extracted name its value. An empty result
    /// removes the value.
    pub template: String,
}

/// Settings of the stage `timestamp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimestampSettings {
    /// Extracted value that is read.
    pub source: String,
    /// Go layout, or one of ANSIC, UnixDate, RubyDate, RFC822, RFC822Z, RFC850, RFC1123, RFC1123Z, RFC3339, RFC3339Nano,
    /// Unix, UnixMs, UnixUs, UnixNs.
    pub format: String,
    /// Further formats, tried in order.
    #[serde(default)]
    pub fallback_formats: Vec<String>,
    /// IANA zone of times without a zone, such as `Europe/Berlin`; `Local` is the machine's. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What happens to an entry whose time cannot be read. Default `fudge`.
    #[serde(default)]
    pub action_on_failure: TimestampFailure,
}

/// What happens to an entry whose time cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFailure {
    /// It gets the last good time of its labels, plus 1 ns.
    #[default]
    Fudge,
    /// It keeps the time it has.
    Skip,
}

/// Settings of the stage `output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSettings {
    /// Extracted value that becomes the line.
    pub source: String,
}

/// Settings of the stage `match`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatchSettings {
    /// LogQL selector, line filters may follow: `{app="x"} |= "error"`.
    pub selector: String,
    /// Stages for the entries that match.
    #[serde(default)]
    pub stages: Vec<StageSettings>,
    /// What happens to the entries that match. Default `keep`.
    #[serde(default)]
    pub action: MatchAction,
    /// Name of the inner stages; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_name: Option<String>,
    /// Reason under which discarded entries are counted. Default `match_stage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_counter_reason: Option<String>,
}

/// What happens to the entries that a selector matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchAction {
    /// The inner stages run on them.
    #[default]
    Keep,
    /// They are discarded.
    Drop,
}

/// Settings of the stage `drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DropSettings {
    /// Extracted values that must all be there, and that `value` or `expression` looks at, joined; one may be a text
    /// instead of a list.
    #[serde(deserialize_with = "text_or_list")]
    #[schemars(extend("type" = ["array", "string"]))]
    pub source: Vec<String>,
    /// Stands between joined values. Default `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// What the joined values must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Go regular expression that must match somewhere in the joined values, or in the line if there is no `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Go duration: the entry must be older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    /// Size such as `8kb`, which is 8192 bytes: the line must be longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longer_than: Option<String>,
    /// Reason under which discarded entries are counted. Default `drop_stage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_counter_reason: Option<String>,
}

/// Settings of the stage `limit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Entries a second.
    pub rate: f64,
    /// Entries at once, at least 1.
    pub burst: u64,
    /// Whether entries beyond are discarded, with the reason `ratelimit_drop_stage`; if not, the target waits.
    #[serde(default)]
    pub drop: bool,
    /// A label: each of its values has a limit of its own. Wants `drop: true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_label_name: Option<String>,
    /// Values of that label kept apart; more, and all start anew. Default and least 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_distinct_labels: Option<usize>,
}

/// Settings of the stage `sampling`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingSettings {
    /// Share of entries let through, from 0 to 1.
    pub rate: f64,
    /// Reason under which discarded entries are counted. Default `sampling_stage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_counter_reason: Option<String>,
}

/// Settings of the stage `multiline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultilineSettings {
    /// Go regular expression of a first line; the lines after it are joined to it until the next first line.
    pub firstline: String,
    /// Go duration: an open entry is let go when no line came for so long. Default `3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_time: Option<String>,
    /// Most lines of one entry; further ones make another, under the same first line's time and labels. Default 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<u64>,
}

/// Settings of the stage `pack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackSettings {
    /// Labels and extracted values put into the line; the labels are removed.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Whether the entry gets the present time, so that packed streams stay in order. Default true.
    #[serde(default = "yes")]
    pub ingest_timestamp: bool,
}

/// One metric of the stage `metrics`. Its series have the labels of the entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricSettings {
    /// What it is.
    #[serde(rename = "type", deserialize_with = "any_case")]
    pub kind: MetricType,
    /// What the page says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Extracted value that is looked at. Default the name of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Stands before the name. Default `promtail_custom_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Go duration: a series that nothing changed for so long is forgotten. Default `5m`, least `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_idle_duration: Option<String>,
    /// What changes it.
    #[serde(default)]
    pub config: MetricConfig,
}

/// What a metric of the stage `metrics` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// A number that only grows.
    Counter,
    /// A number.
    Gauge,
    /// How often a number fell between which bounds.
    Histogram,
}

/// What changes a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricConfig {
    /// Of a counter `inc` or `add`, of a gauge any, of a histogram none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<MetricAction>,
    /// The extracted value must be this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Of a counter: every entry counts.
    pub match_all: bool,
    /// Of a counter with `match_all` and `add`: adds the bytes of the line.
    pub count_entry_bytes: bool,
    /// Upper bounds of a histogram, ascending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Vec<f64>>,
}

/// How an extracted value changes a metric. A text may be a number or a Go duration, which counts in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricAction {
    /// It is the value.
    Set,
    /// One more.
    Inc,
    /// One less.
    Dec,
    /// The value more.
    Add,
    /// The value less.
    Sub,
}

fn any_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MetricType, D::Error> {
    let text = String::deserialize(deserializer)?.to_lowercase();
    MetricType::deserialize(serde::de::value::StringDeserializer::new(text))
}

fn yes() -> bool {
    true
}

fn text_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Nothing(()),
        Text(String),
        List(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Nothing(()) => Vec::new(),
        Form::Text(text) => vec![text],
        Form::List(list) => list,
    })
}
