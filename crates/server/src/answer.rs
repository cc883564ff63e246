//! From the engine's results to Loki's answers.
//!
//! Entries arrive in global order and leave grouped by label set, the sets in order of their text.
//! Label sets are shared by many entries, so grouping looks at addresses first and at labels once per
//! distinct address.

use logyard_engine::{LogEntry, QueryOutcome, QueryResult, QueryStats, Series};
use logyard_model::LabelSet;
use logyard_wire::loki_answer::{self, StreamsAnswer};
use logyard_wire::loki_query::CATEGORIZE_LABELS;
use logyard_wire::loki_stats::Stats;
use std::collections::HashMap;
use std::sync::Arc;

/// Time a query took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) exec_ns: u64,
    pub(crate) queue_ns: u64,
}

/// Encodes an outcome. `flags` are the encoding flags of the request.
pub(crate) fn encode(outcome: &QueryOutcome, flags: &[&str], spent: Spent) -> Vec<u8> {
    let entries_returned = match &outcome.result {
        QueryResult::Entries(entries) => entries.len() as u64,
        _ => 0,
    };
    let stats = stats(&outcome.stats, entries_returned, spent);
    let warnings = &outcome.warnings;
    match &outcome.result {
        QueryResult::Entries(entries) => streams(entries, warnings, flags, &stats),
        QueryResult::Matrix(series) => loki_answer::matrix(series.iter().map(points), &stats, warnings),
        QueryResult::Vector(samples) => {
            let samples = samples.iter().map(|sample| (&*sample.labels, (sample.ts_ns, sample.value)));
            loki_answer::vector(samples, &stats, warnings)
        }
        QueryResult::Scalar { ts_ns, value } => loki_answer::scalar((*ts_ns, *value), &stats, warnings),
    }
}

/// Encodes the entries of an outcome as `/api/prom/query` answers them; anything else has none.
pub(crate) fn encode_old(outcome: &QueryOutcome, spent: Spent) -> Vec<u8> {
    let entries = match &outcome.result {
        QueryResult::Entries(entries) => entries.as_slice(),
        _ => &[],
    };
    let stats = stats(&outcome.stats, entries.len() as u64, spent);
    let mut groups = group(entries, false);
    groups.sort_by(|a, b| a.text.cmp(&b.text));
    let streams = groups.iter().map(|group| {
        let entries = group.entries.iter().filter_map(|&at| entries.get(at));
        (&*group.text, entries.map(|entry| (entry.ts_ns, &*entry.line)))
    });
    loki_answer::old_streams(streams, &stats)
}

fn points(series: &Series) -> (&LabelSet, impl Iterator<Item = (i64, f64)>) {
    (&series.labels, series.samples.iter().map(|sample| (sample.ts_ns, sample.value)))
}

/// Returns the statistics that stand beside an answer.
pub(crate) fn stats(stats: &QueryStats, entries_returned: u64, spent: Spent) -> Stats {
    Stats {
        exec_secs: spent.exec_ns as f64 / 1e9,
        queue_secs: spent.queue_ns as f64 / 1e9,
        bytes: stats.line_bytes,
        lines: stats.entries,
        metadata_bytes: 0,
        post_filter_lines: stats.entries_passed,
        entries_returned,
    }
}

/// Entries of one label set, as positions in the result.
#[derive(Default)]
struct Group {
    text: String,
    labels: LabelSet,
    entries: Vec<usize>,
}

fn streams(entries: &[LogEntry], warnings: &[String], flags: &[&str], stats: &Stats) -> Vec<u8> {
    let categorize = flags.contains(&CATEGORIZE_LABELS);
    let mut groups = group(entries, categorize);
    groups.sort_by(|a, b| a.text.cmp(&b.text));
    let mut answer = StreamsAnswer::new(warnings, flags, categorize);
    answer.make_room(entries.len(), entries.iter().map(|entry| entry.line.len()).sum());
    for group in &groups {
        answer.stream(&group.labels);
        for entry in group.entries.iter().filter_map(|&at| entries.get(at)) {
            answer.entry(entry.ts_ns, &entry.line, &entry.metadata, &entry.parsed);
        }
    }
    answer.finish(stats)
}

fn group(entries: &[LogEntry], categorize: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_labels: HashMap<LabelSet, usize> = HashMap::new();
    let mut by_address: HashMap<[usize; 3], usize> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let group = *by_address.entry(addresses(entry, categorize)).or_insert_with(|| {
            let labels = if categorize { LabelSet::clone(&entry.stream) } else { folded(entry) };
            *by_labels.entry(labels).or_insert_with_key(|labels| {
                groups.push(Group { text: labels.text(), ..Group::default() });
                groups.len() - 1
            })
        });
        if let Some(group) = groups.get_mut(group) {
            group.entries.push(at);
        }
    }
    for (labels, group) in by_labels {
        if let Some(group) = groups.get_mut(group) {
            group.labels = labels;
        }
    }
    groups
}

/// The sets live as long as the entries that are being grouped, so an address names one set.
fn addresses(entry: &LogEntry, categorize: bool) -> [usize; 3] {
    let address = |set: &Arc<LabelSet>| Arc::as_ptr(set).addr();
    match categorize {
        true => [address(&entry.stream), 0, 0],
        false => [address(&entry.stream), address(&entry.metadata), address(&entry.parsed)],
    }
}

/// Without the flag metadata and parsed labels are part of the stream; later categories win.
pub(crate) fn folded(entry: &LogEntry) -> LabelSet {
    let mut labels = LabelSet::clone(&entry.stream);
    for (name, value) in entry.metadata.iter().chain(entry.parsed.iter()) {
        labels.insert(name, value);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_wire::loki_query::{QueryAnswer, QueryData, StreamAnswer, decode};

    fn set(pairs: &[(&str, &str)]) -> Arc<LabelSet> {
        Arc::new(LabelSet::from_pairs(pairs.iter().copied()))
    }

    fn entry(
        ts_ns: i64,
        stream: &Arc<LabelSet>,
        metadata: &[(&str, &str)],
        parsed: &[(&str, &str)],
    ) -> LogEntry {
        LogEntry {
            ts_ns,
            line: b"l".to_vec(),
            stream: Arc::clone(stream),
            metadata: set(metadata),
            parsed: set(parsed),
        }
    }

    fn run(flags: &[&str]) -> Vec<StreamAnswer> {
        let (b, a) = (set(&[("app", "b")]), set(&[("app", "a")]));
        let entries = vec![
            entry(4, &b, &[("m", "1")], &[("p", "1")]),
            entry(3, &a, &[("m", "1")], &[]),
            entry(2, &b, &[("m", "1")], &[("m", "2")]),
            entry(1, &b, &[("m", "1")], &[("p", "1")]),
        ];
        let outcome = QueryOutcome {
            result: QueryResult::Entries(entries),
            stats: QueryStats::default(),
            scans: Vec::new(),
            warnings: Vec::new(),
        };
        let bytes = encode(&outcome, flags, Spent { exec_ns: 1, queue_ns: 0 });
        let QueryData::Streams(streams) = decode::<QueryAnswer>(&bytes).unwrap().data else {
            panic!("not streams")
        };
        streams
    }

    #[test]
    fn folded_streams_split_by_every_label() {
        let streams = run(&[]);
        let shown: Vec<String> = streams.iter().map(|stream| format!("{:?}", stream.stream)).collect();
        assert_eq!(
            shown,
            [r#"{"app": "a", "m": "1"}"#, r#"{"app": "b", "m": "1", "p": "1"}"#, r#"{"app": "b", "m": "2"}"#]
        );
        assert_eq!(streams[1].values.iter().map(|value| value.ts_ns).collect::<Vec<_>>(), [4, 1]);
    }

    #[test]
    fn categorized_streams_keep_the_stored_labels() {
        let streams = run(&["categorize-labels"]);
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[1].values[1].categories.parsed["m"], "2");
        assert_eq!(streams[1].values[1].categories.structured_metadata["m"], "1");
    }
}
