//! Encodes answers of the query endpoints straight into one byte buffer.
//!
//! The order of members is part of the contract: `resultType`, then `encodingFlags` when asked for,
//! then `result`, since Grafana decodes while it reads. No other members appear in a stream or in the
//! third element of an entry. Streams end with a newline, numbers do not, as in Loki v3.7.6.

use crate::go_time::GoTime;
use crate::json_text::{push_bytes, push_joined, push_list, push_string};
use crate::loki_stats::Stats;
use logyard_model::LabelSet;
use std::io::Write as _;

/// Media type of JSON answers.
pub const JSON_CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// Writes the answer of a log query.
///
/// Call [`StreamsAnswer::stream`] once per stream, in order of label text, and
/// [`StreamsAnswer::entry`] for each of its entries in the direction of the query.
#[derive(Debug)]
pub struct StreamsAnswer {
    buffer: Vec<u8>,
    categorize: bool,
    streams: usize,
    entries_of_stream: usize,
}

impl StreamsAnswer {
    /// Starts an answer. `flags` are the encoding flags of the request, echoed; `categorize` tells
    /// whether `categorize-labels` is among them.
    pub fn new(warnings: &[String], flags: &[&str], categorize: bool) -> Self {
        let mut buffer = b"{\"status\":\"success\"".to_vec();
        push_warnings(&mut buffer, warnings);
        buffer.extend_from_slice(b",\"data\":{\"resultType\":\"streams\"");
        if !flags.is_empty() {
            buffer.extend_from_slice(b",\"encodingFlags\":");
            push_list(&mut buffer, flags.iter().copied());
        }
        buffer.extend_from_slice(b",\"result\":[");
        Self { buffer, categorize, streams: 0, entries_of_stream: 0 }
    }

    /// Makes room for lines of that many bytes together, so that the answer is not moved while it grows.
    pub fn make_room(&mut self, entries: usize, line_bytes: usize) {
        // Escapes add about an eighth to lines of JSON; a time takes 22 bytes, punctuation some more.
        self.buffer.reserve(line_bytes + line_bytes / 8 + 64 * entries);
    }

    /// Begins the next stream.
    pub fn stream(&mut self, labels: &LabelSet) {
        if self.streams > 0 {
            self.buffer.extend_from_slice(b"]},");
        }
        self.streams += 1;
        self.entries_of_stream = 0;
        self.buffer.extend_from_slice(b"{\"stream\":");
        push_labels(&mut self.buffer, labels);
        self.buffer.extend_from_slice(b",\"values\":[");
    }

    /// Writes an entry of the current stream. `metadata` and `parsed` appear only when categorizing.
    pub fn entry(&mut self, ts_ns: i64, line: &[u8], metadata: &LabelSet, parsed: &LabelSet) {
        if self.entries_of_stream > 0 {
            self.buffer.push(b',');
        }
        self.entries_of_stream += 1;
        push_entry(&mut self.buffer, ts_ns, line, self.categorize.then_some((metadata, parsed)));
    }

    /// Ends the answer.
    pub fn finish(mut self, stats: &Stats) -> Vec<u8> {
        if self.streams > 0 {
            self.buffer.extend_from_slice(b"]}");
        }
        self.buffer.extend_from_slice(b"],\"stats\":");
        stats.write(&mut self.buffer);
        self.buffer.extend_from_slice(b"}}\n");
        self.buffer
    }
}

/// Encodes streams as `/api/prom/query` answers them: labels as text, times as RFC 3339.
pub fn old_streams<'a, E>(streams: impl IntoIterator<Item = (&'a str, E)>, stats: &Stats) -> Vec<u8>
where
    E: IntoIterator<Item = (i64, &'a [u8])>,
{
    let mut buffer = b"{\"streams\":[".to_vec();
    for (index, (labels, entries)) in streams.into_iter().enumerate() {
        buffer.extend_from_slice(if index > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
        push_string(&mut buffer, labels);
        buffer.extend_from_slice(b",\"entries\":[");
        for (index, (ts_ns, line)) in entries.into_iter().enumerate() {
            buffer.extend_from_slice(if index > 0 { b",{\"ts\":" } else { b"{\"ts\":" });
            push_string(&mut buffer, &GoTime::from_ns(ts_ns).rfc3339_nano());
            buffer.extend_from_slice(b",\"line\":");
            push_bytes(&mut buffer, line);
            buffer.push(b'}');
        }
        buffer.extend_from_slice(b"]}");
    }
    buffer.extend_from_slice(b"],\"stats\":");
    stats.write(&mut buffer);
    buffer.extend_from_slice(b"}\n");
    buffer
}

/// Writes an entry, with metadata and parsed labels as its third element if they are given.
pub(crate) fn push_entry(
    buffer: &mut Vec<u8>,
    ts_ns: i64,
    line: &[u8],
    categories: Option<(&LabelSet, &LabelSet)>,
) {
    buffer.extend_from_slice(b"[\"");
    push_display(buffer, ts_ns);
    buffer.extend_from_slice(b"\",");
    push_bytes(buffer, line);
    if let Some((metadata, parsed)) = categories {
        buffer.extend_from_slice(b",{");
        if !metadata.is_empty() {
            buffer.extend_from_slice(b"\"structuredMetadata\":");
            push_labels(buffer, metadata);
        }
        if !parsed.is_empty() {
            if !metadata.is_empty() {
                buffer.push(b',');
            }
            buffer.extend_from_slice(b"\"parsed\":");
            push_labels(buffer, parsed);
        }
        buffer.push(b'}');
    }
    buffer.push(b']');
}

/// Encodes a matrix: series in the given order, points as (ns, value) in order of time.
pub fn matrix<'a, P>(
    series: impl IntoIterator<Item = (&'a LabelSet, P)>,
    stats: &Stats,
    warnings: &[String],
) -> Vec<u8>
where
    P: IntoIterator<Item = (i64, f64)>,
{
    let mut buffer = numbers_begin("matrix");
    buffer.push(b'[');
    push_joined(&mut buffer, series, |buffer, (labels, points)| {
        buffer.extend_from_slice(b"{\"metric\":");
        push_labels(buffer, labels);
        buffer.extend_from_slice(b",\"values\":[");
        push_joined(buffer, points, push_point);
        buffer.extend_from_slice(b"]}");
    });
    buffer.push(b']');
    numbers_end(buffer, stats, warnings)
}

/// Encodes a vector: samples as labels and (ns, value), in the given order.
pub fn vector<'a>(
    samples: impl IntoIterator<Item = (&'a LabelSet, (i64, f64))>,
    stats: &Stats,
    warnings: &[String],
) -> Vec<u8> {
    let mut buffer = numbers_begin("vector");
    buffer.push(b'[');
    push_joined(&mut buffer, samples, |buffer, (labels, point)| {
        buffer.extend_from_slice(b"{\"metric\":");
        push_labels(buffer, labels);
        buffer.extend_from_slice(b",\"value\":");
        push_point(buffer, point);
        buffer.push(b'}');
    });
    buffer.push(b']');
    numbers_end(buffer, stats, warnings)
}

/// Encodes a scalar, (ns, value).
pub fn scalar(point: (i64, f64), stats: &Stats, warnings: &[String]) -> Vec<u8> {
    let mut buffer = numbers_begin("scalar");
    push_point(&mut buffer, point);
    numbers_end(buffer, stats, warnings)
}

/// Encodes a list of names or values, `{"status":"success","data":[…]}` and a newline.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut buffer = b"{\"status\":\"success\",\"data\":".to_vec();
    push_list(&mut buffer, names);
    buffer.extend_from_slice(b"}\n");
    buffer
}

/// Encodes label sets for the series endpoint.
pub fn series<'a>(sets: impl IntoIterator<Item = &'a LabelSet>) -> Vec<u8> {
    let mut buffer = b"{\"status\":\"success\",\"data\":[".to_vec();
    push_joined(&mut buffer, sets, push_labels);
    buffer.extend_from_slice(b"]}\n");
    buffer
}

/// Appends a sample value as a quoted string: the shortest decimal that reads back, no exponent.
pub fn push_value(buffer: &mut Vec<u8>, value: f64) {
    buffer.push(b'"');
    if value == f64::INFINITY {
        buffer.extend_from_slice(b"+Inf");
    } else if value == f64::NEG_INFINITY {
        buffer.extend_from_slice(b"-Inf");
    } else {
        // Rust prints floats as wanted: shortest digits that read back, never an exponent, NaN as NaN.
        push_display(buffer, value);
    }
    buffer.push(b'"');
}

fn numbers_begin(kind: &str) -> Vec<u8> {
    let mut buffer = b"{\"status\":\"success\",\"data\":{\"resultType\":".to_vec();
    push_string(&mut buffer, kind);
    buffer.extend_from_slice(b",\"result\":");
    buffer
}

fn numbers_end(mut buffer: Vec<u8>, stats: &Stats, warnings: &[String]) -> Vec<u8> {
    buffer.extend_from_slice(b",\"stats\":");
    stats.write(&mut buffer);
    buffer.push(b'}');
    push_warnings(&mut buffer, warnings);
    buffer.push(b'}');
    buffer
}

fn push_warnings(buffer: &mut Vec<u8>, warnings: &[String]) {
    if !warnings.is_empty() {
        buffer.extend_from_slice(b",\"warnings\":");
        push_list(buffer, warnings.iter().map(String::as_str));
    }
}

pub(crate) fn push_labels(buffer: &mut Vec<u8>, labels: &LabelSet) {
    buffer.push(b'{');
    push_joined(buffer, labels.iter(), |buffer, (name, value)| {
        push_string(buffer, name);
        buffer.push(b':');
        // Loki shows a replacement character in a label value as a space.
        if value.contains('\u{fffd}') {
            push_string(buffer, &value.replace('\u{fffd}', " "));
        } else {
            push_string(buffer, value);
        }
    });
    buffer.push(b'}');
}

fn push_point(buffer: &mut Vec<u8>, (ts_ns, value): (i64, f64)) {
    buffer.push(b'[');
    push_seconds(buffer, ts_ns);
    buffer.push(b',');
    push_value(buffer, value);
    buffer.push(b']');
}

/// Appends a time as a JSON number of seconds with up to three decimals; what is finer is cut off.
fn push_seconds(buffer: &mut Vec<u8>, ts_ns: i64) {
    let ms = ts_ns.div_euclid(1_000_000);
    if ms < 0 {
        buffer.push(b'-');
    }
    let (secs, fraction) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    push_display(buffer, secs);
    if fraction > 0 {
        let text = format!(".{fraction:03}");
        buffer.extend_from_slice(text.trim_end_matches('0').as_bytes());
    }
}

fn push_display(buffer: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing into memory cannot fail.
    write!(buffer, "{value}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_query::{QueryAnswer, QueryData, decode};

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied())
    }

    fn without_stats(bytes: Vec<u8>) -> String {
        let text = String::from_utf8(bytes).unwrap();
        let mut stats = Vec::new();
        Stats::default().write(&mut stats);
        text.replace(std::str::from_utf8(&stats).unwrap(), "S")
    }

    #[test]
    fn streams_with_categories() {
        let mut answer = StreamsAnswer::new(&[], &["categorize-labels", "x"], true);
        answer.stream(&set(&[("app", "a")]));
        answer.entry(2, b"l<1>", &set(&[("m", "1")]), &set(&[("p", "2")]));
        answer.entry(1, b"l2", &set(&[]), &set(&[]));
        answer.stream(&set(&[("app", "b")]));
        answer.entry(1, b"\xff", &set(&[]), &set(&[("p", "2")]));
        let expect = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels","x"],"result":[{"stream":{"app":"a"},"values":[["2","l\u003c1\u003e",{"structuredMetadata":{"m":"1"},"parsed":{"p":"2"}}],["1","l2",{}]]},{"stream":{"app":"b"},"values":[["1","�",{"parsed":{"p":"2"}}]]}],"stats":S}}"#;
        assert_eq!(without_stats(answer.finish(&Stats::default())), format!("{expect}\n"));
    }

    #[test]
    fn streams_folded() {
        let mut answer = StreamsAnswer::new(&["careful".to_owned()], &[], false);
        answer.stream(&set(&[]));
        answer.entry(1, b"x", &set(&[("m", "1")]), &set(&[]));
        let expect = r#"{"status":"success","warnings":["careful"],"data":{"resultType":"streams","result":[{"stream":{},"values":[["1","x"]]}],"stats":S}}"#;
        assert_eq!(without_stats(answer.finish(&Stats::default())), format!("{expect}\n"));
        let empty = StreamsAnswer::new(&[], &[], false).finish(&Stats::default());
        assert_eq!(
            without_stats(empty),
            "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[],\"stats\":S}}\n"
        );
    }

    #[test]
    fn numbers_of_every_type() {
        let labels = set(&[("a", "x\u{fffd}y")]);
        let matrix = matrix(
            [(&labels, [(5_000_000_000, 1.0), (6_500_999_999, 0.25)])],
            &Stats::default(),
            &["w".to_owned()],
        );
        assert_eq!(
            without_stats(matrix),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"x y"},"values":[[5,"1"],[6.5,"0.25"]]}],"stats":S},"warnings":["w"]}"#
        );
        let vector = vector([(&set(&[]), (1_000_000, f64::NAN))], &Stats::default(), &[]);
        assert_eq!(
            without_stats(vector),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0.001,"NaN"]}],"stats":S}}"#
        );
        let scalar = scalar((-1_500_000_000, f64::INFINITY), &Stats::default(), &[]);
        assert_eq!(
            without_stats(scalar),
            r#"{"status":"success","data":{"resultType":"scalar","result":[-1.5,"+Inf"],"stats":S}}"#
        );
    }

    #[test]
    fn values_never_have_an_exponent() {
        for (value, text) in [
            (1e20, "\"100000000000000000000\""),
            (1e-7, "\"0.0000001\""),
            (-0.0, "\"-0\""),
            (0.1 + 0.2, "\"0.30000000000000004\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ] {
            let mut buffer = Vec::new();
            push_value(&mut buffer, value);
            assert_eq!(String::from_utf8(buffer).unwrap(), text);
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut answer = StreamsAnswer::new(&[], &["categorize-labels"], true);
        answer.stream(&set(&[("app", "a\"b")]));
        answer.entry(-5, "é\u{2028}\n".as_bytes(), &set(&[("m", "1")]), &set(&[]));
        let bytes = answer.finish(&Stats::default());
        let QueryData::Streams(streams) = decode::<QueryAnswer>(&bytes).unwrap().data else {
            panic!("not streams")
        };
        assert_eq!(streams[0].stream["app"], "a\"b");
        assert_eq!(streams[0].values[0].ts_ns, -5);
        assert_eq!(streams[0].values[0].line, "é\u{2028}\n");
        assert_eq!(names(["a", "b"]), b"{\"status\":\"success\",\"data\":[\"a\",\"b\"]}\n");
        assert_eq!(
            series([&set(&[("a", "1")]), &set(&[])]),
            b"{\"status\":\"success\",\"data\":[{\"a\":\"1\"},{}]}\n"
        );
    }
}
