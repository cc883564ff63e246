//! What a client decodes Loki's answers into. The server encodes with [`crate::loki_answer`].
//!
//! Lenient where Loki is: unknown members are skipped, `data` and `result` may be missing.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Request header that lists encoding flags.
pub const ENCODING_FLAGS_HEADER: &str = "x-loki-response-encoding-flags";
/// Header with what a client says about a query: `name=value`, separated by commas.
pub const QUERY_TAGS_HEADER: &str = "x-query-tags";
/// The flag that keeps structured metadata and parsed labels apart from the stream.
pub const CATEGORIZE_LABELS: &str = "categorize-labels";
/// Request header that names the tenant.
pub const ORG_ID_HEADER: &str = "x-scope-orgid";

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// The answer of `query` and `query_range`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct QueryAnswer {
    /// The result.
    pub data: QueryData,
    /// Remarks of the server.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The result of a query, by its type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum QueryData {
    /// Entries of a log query, by stream.
    Streams(Vec<StreamAnswer>),
    /// Series of a metric query over a range.
    Matrix(Vec<SeriesAnswer>),
    /// Samples of a metric query at one time.
    Vector(Vec<SampleAnswer>),
    /// A number without labels.
    Scalar(PointAnswer),
}

/// Entries that share a label set, in the direction of the query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StreamAnswer {
    /// The label set; without the flag `categorize-labels` also metadata and parsed labels.
    pub stream: Labels,
    /// The entries.
    pub values: Vec<EntryAnswer>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryAnswer {
    /// Time in ns since the Unix epoch.
    pub ts_ns: i64,
    /// The line.
    pub line: String,
    /// Metadata and parsed labels, empty without the flag `categorize-labels`.
    pub categories: EntryCategories,
}

/// The third element of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryCategories {
    /// Structured metadata, `detected_level` among it.
    pub structured_metadata: Labels,
    /// What the query's pipeline made.
    pub parsed: Labels,
}

/// A series of samples.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SeriesAnswer {
    /// Labels of the series.
    pub metric: Labels,
    /// Samples in order of time.
    pub values: Vec<PointAnswer>,
}

/// One sample with labels.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SampleAnswer {
    /// Labels of the sample.
    pub metric: Labels,
    /// The sample.
    pub value: PointAnswer,
}

/// A time and a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointAnswer {
    /// Time in seconds since the Unix epoch, with up to three decimals.
    pub ts_secs: f64,
    /// The number; may be NaN or infinite.
    pub value: f64,
}

/// The answer of `labels` and `label/{name}/values`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NamesAnswer {
    /// Sorted names or values; Loki leaves the member out when there are none.
    #[serde(default)]
    pub data: Vec<String>,
}

/// The answer of `series`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SeriesListAnswer {
    /// Label sets in any order.
    #[serde(default)]
    pub data: Vec<Labels>,
}

/// The answer of `patterns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PatternsAnswer {
    /// Patterns in any order; one pattern may come with several levels.
    #[serde(default)]
    pub data: Vec<PatternAnswer>,
}

/// One kind of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PatternAnswer {
    /// What the lines have in common, `<_>` standing for what differs.
    pub pattern: String,
    /// Their level; empty from a store that does not tell.
    pub level: String,
    /// Seconds since the Unix epoch, and how many lines there were from then on.
    pub samples: Vec<(i64, u64)>,
}

impl PatternAnswer {
    /// Returns how many lines there were.
    pub fn count(&self) -> u64 {
        self.samples.iter().map(|(_, count)| count).sum()
    }
}

/// The answer of `index/stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct IndexStatsAnswer {
    /// Streams that match.
    pub streams: u64,
    /// Chunks (blocks) that hold them.
    pub chunks: u64,
    /// Bytes of their lines and metadata.
    pub bytes: u64,
    /// Their entries.
    pub entries: u64,
}

/// The answer of `detected_fields`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldsAnswer {
    /// The fields; Loki says `null` where there are none.
    pub fields: Option<Vec<DetectedFieldAnswer>>,
}

/// A field that lines have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct DetectedFieldAnswer {
    /// Its name.
    pub label: String,
    /// Kind of its values: `string`, `int`, `float`, `boolean`, `duration` or `bytes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Different values, estimated.
    pub cardinality: u64,
    /// Parsers that find it; Loki says `null` for structured metadata.
    pub parsers: Option<Vec<String>>,
}

/// The answer of `detected_field/{name}/values`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldValuesAnswer {
    /// The values; Loki says `null` where there are none.
    pub values: Option<Vec<String>>,
}

/// A request to delete entries.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct DeleteAnswer {
    /// Its name.
    pub request_id: String,
    /// Seconds since the Unix epoch.
    pub start_time: f64,
    /// Seconds since the Unix epoch.
    pub end_time: f64,
    /// What is to go.
    pub query: String,
    /// How far it is.
    pub status: String,
    /// Seconds since the Unix epoch.
    pub created_at: f64,
}

/// Decodes a JSON answer into one of this module's structs.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, crate::Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| crate::Error::invalid(format!("cannot decode answer: {error}")))
}

/// Reads the statistics of an answer of `query` or `query_range`: names such as `summary.totalLinesProcessed` and what
/// they count, in the order of the names. None if the answer has none.
pub fn decode_stats(bytes: &[u8]) -> Result<Vec<(String, String)>, crate::Error> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        stats: serde_json::Value,
    }
    let answer: Answer = decode(bytes)?;
    let mut found = Vec::new();
    collect_stats("", &answer.data.stats, &mut found);
    Ok(found)
}

/// Adds the leaves of an object; serde_json bounds its depth.
fn collect_stats(name: &str, value: &serde_json::Value, found: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                collect_stats(&name, value, found);
            }
        }
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => found.push((name.to_owned(), text.clone())),
        other => found.push((name.to_owned(), other.to_string())),
    }
}

impl<'de> Deserialize<'de> for EntryAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = EntryAnswer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry: [\"nanoseconds\", \"line\", {categories}?]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EntryAnswer, A::Error> {
                let ts: String = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let line = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let categories = seq.next_element()?.unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                let ts_ns =
                    ts.parse().map_err(|_| A::Error::custom(format!("entry time {ts:?} is not a number")))?;
                Ok(EntryAnswer { ts_ns, line, categories })
            }
        }
        deserializer.deserialize_seq(EntryVisitor)
    }
}

impl<'de> Deserialize<'de> for PointAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ts_secs, text): (f64, String) = Deserialize::deserialize(deserializer)?;
        let value =
            text.parse().map_err(|_| D::Error::custom(format!("sample value {text:?} is not a number")))?;
        Ok(Self { ts_secs, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> QueryData {
        decode::<QueryAnswer>(text.as_bytes()).unwrap().data
    }

    #[test]
    fn streams_with_and_without_categories() {
        let text = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[
            {"stream":{"app":"a"},"values":[["2","x",{"structuredMetadata":{"k":"v"},"parsed":{"p":"q"}}],["1","y",{}],["0","z"]]}],"stats":{}}}"#;
        let QueryData::Streams(streams) = data(text) else { panic!("not streams") };
        let values = &streams[0].values;
        assert_eq!(values.iter().map(|entry| entry.ts_ns).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(values[0].categories.structured_metadata["k"], "v");
        assert_eq!(values[0].categories.parsed["p"], "q");
        assert_eq!(values[1].categories, EntryCategories::default());
    }

    #[test]
    fn statistics_are_read_beside_a_result_of_any_kind() {
        let text = br#"{"data":{"resultType":"streams","result":[{"stream":{},"values":[]}],
            "stats":{"summary":{"execTime":0.5,"splits":2},"ingester":{"store":{"chunk":{"x":1}}}}}}"#;
        let found = decode_stats(text).unwrap();
        let found: Vec<String> = found.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found, ["ingester.store.chunk.x=1", "summary.execTime=0.5", "summary.splits=2"]);
        assert!(decode_stats(br#"{"data":{"resultType":"vector","result":[]}}"#).unwrap().is_empty());
    }

    #[test]
    fn numbers_of_all_kinds() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[5,"11"],[6.5,"+Inf"]]}]}}"#;
        let QueryData::Matrix(series) = data(text) else { panic!("not a matrix") };
        assert_eq!(series[0].values[1], PointAnswer { ts_secs: 6.5, value: f64::INFINITY });
        let QueryData::Scalar(point) = data(r#"{"data":{"resultType":"scalar","result":[1,"NaN"]}}"#) else {
            panic!("not a scalar")
        };
        assert!(point.value.is_nan());
        let QueryData::Vector(empty) = data(r#"{"data":{"resultType":"vector","result":[]}}"#) else {
            panic!("not a vector")
        };
        assert!(empty.is_empty());
    }

    #[test]
    fn patterns_are_counted() {
        let text = r#"{"status":"success","data":[{"pattern":"a <_>","level":"info","samples":[[10,2],[20,3]]},{"pattern":"b"}]}"#;
        let patterns = decode::<PatternsAnswer>(text.as_bytes()).unwrap().data;
        assert_eq!(patterns.iter().map(PatternAnswer::count).collect::<Vec<_>>(), [5, 0]);
    }

    #[test]
    fn names_may_be_missing_and_faults_are_errors() {
        assert!(decode::<NamesAnswer>(br#"{"status":"success"}"#).unwrap().data.is_empty());
        assert!(
            decode::<QueryAnswer>(
                br#"{"data":{"resultType":"streams","result":[{"stream":{},"values":[["x","y"]]}]}}"#
            )
            .is_err()
        );
    }
}
