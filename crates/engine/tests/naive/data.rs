//! Random entries, and their spread over blocks: answers must not depend on it.

use crate::dice::Dice;
use crate::labels::{Map, Stored};
use crate::metric::{set_of, stream_of};
use bytes::Bytes;
use logyard_codec::{Block, BlockBuilder, BlockView, Entries, LineCodec, RunView};
use logyard_engine::{Select, SelectError, SelectRequest};
use std::sync::Arc;

pub(crate) const SECOND: i64 = 1_000_000_000;
/// The entries' times begin here, far from a full hour.
pub(crate) const BEGIN_NS: i64 = 1_700_000_000 * SECOND;
pub(crate) const LENGTH_S: i64 = 32;

/// Entries that arrived together.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) arrival: u64,
    pub(crate) entries: Vec<Stored>,
    /// All streams in one block, as in a segment; otherwise one each, as in the head.
    is_joint: bool,
}

/// Entries in views, some of them several times.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) views: Vec<View>,
    /// The store skips what the range or the prefilter allows to skip.
    is_pruned: bool,
}

const STREAMS: [&[(&str, &str)]; 5] = [
    &[("app", "a")],
    &[("app", "a"), ("env", "p")],
    &[("app", "b"), ("env", "q"), ("pod", "b-1")],
    &[("app", "foo"), ("env", "p"), ("level", "x")],
    &[("app", "a\nb"), ("d", "5s")],
];

const METADATA: [&[(&str, &str)]; 8] = [
    &[],
    &[],
    &[],
    &[("trace", "1")],
    &[("trace", "2"), ("app", "m")],
    &[("app", "m"), ("app_extracted", "n"), ("a", "meta")],
    &[("__error__", "mine"), ("n", "7")],
    &[("user", "10.0.0.9")],
];

const LEVELS: [&str; 4] = ["", "", "info", "error"];

/// Names of fields in lines; some are taken by streams and metadata.
const KEYS: [&str; 18] = [
    "a",
    "a",
    "b",
    "n",
    "n",
    "d",
    "s",
    "ip",
    "app",
    "trace",
    "a-b",
    "a_b",
    "9x",
    "level",
    "__error__",
    "o_a",
    "é",
    "",
];

const VALUES: [&str; 34] = [
    "x",
    "y",
    "foo",
    "xfoo",
    "bar",
    "",
    "1",
    "2",
    "2.5",
    "-3",
    "1e1",
    "NaN",
    "Inf",
    "-Inf",
    "5_0",
    "+6",
    "0x10",
    "10ms",
    "1.5s",
    "2m",
    "1d",
    "0",
    "2KB",
    "1.5KiB",
    "3 mb",
    "1,500",
    "10.0.0.1",
    "at 10.0.0.7:80",
    "1.2.3.4.",
    "::1",
    "é",
    "a b",
    "A",
    "4",
];

impl Data {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut views: Vec<View> = Vec::new();
        let mut known: Vec<Stored> = Vec::new();
        for arrival in 0..dice.below(5) as u64 {
            let mut entries: Vec<Stored> = (0..dice.below(16)).map(|_| entry(dice)).collect();
            // Some of what arrived before arrives again.
            for old in &known {
                if dice.once_in(4) {
                    entries.insert(dice.below(entries.len() + 1), old.clone());
                }
            }
            known.extend(entries.iter().cloned());
            views.push(View { arrival, entries, is_joint: dice.once_in(2) });
        }
        for last in (1..views.len()).rev() {
            views.swap(last, dice.below(last + 1));
        }
        Self { views, is_pruned: dice.once_in(2) }
    }

    /// The entries in order of arrival, each once.
    pub(crate) fn unique(&self) -> Vec<Stored> {
        let mut views: Vec<&View> = self.views.iter().collect();
        views.sort_by_key(|view| view.arrival);
        let mut unique: Vec<Stored> = Vec::new();
        for entry in views.iter().flat_map(|view| &view.entries) {
            if !unique.contains(entry) {
                unique.push(entry.clone());
            }
        }
        unique
    }
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn entry(dice: &mut Dice) -> Stored {
    // Whole seconds meet the borders of windows; a nanosecond beside them must not.
    let ts_ns = BEGIN_NS + dice.between(0, LENGTH_S * 4) / 2 * (SECOND / 2) + dice.pick(&[0, 0, 0, 1, -1]);
    Stored {
        ts_ns,
        stream: map(dice.pick(&STREAMS)),
        line: line(dice),
        level: dice.pick(&LEVELS).to_owned(),
        metadata: map(dice.pick(&METADATA)),
    }
}

const PLAIN: [&str; 16] = [
    "",
    "GET /x 200",
    "POST /y 404 10.0.0.1",
    "error: foo",
    "foo bar",
    " bar",
    "axbyb",
    "\u{1b}[31mred\u{1b}[0m x",
    "a,b,c",
    "1,,3",
    "multi\nline x",
    "été ÉTÉ",
    "nul \0 x",
    "lost \u{fffd} x=\u{fffd}y",
    "10.0.0.300 and 10.0.0.2",
    "::1",
];

fn line(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 | 1 => dice.pick(&PLAIN).to_owned(),
        2..=5 => {
            let mut text = json(dice, 0);
            if dice.once_in(4) {
                spoil(dice, &mut text);
            }
            text
        }
        6 => {
            format!(r#"{{"_entry":"{}",{}"#, dice.pick(&["a=1 b=x", "inner", "", "{}"]), &json(dice, 3)[1..])
        }
        _ => logfmt(dice),
    }
}

/// Cuts a line, or puts something in that does not belong there.
fn spoil(dice: &mut Dice, text: &mut String) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let at = dice.pick(&places);
    match dice.below(4) {
        0 | 1 => text.truncate(at),
        2 => text.insert_str(at, dice.pick(&["bad", ",", "}", " ", ":", "\""])),
        _ => text.push_str(dice.pick(&[" tail", "}", "x", " a=1"])),
    }
}

fn json(dice: &mut Dice, depth: usize) -> String {
    let mut text = "{".to_owned();
    let fields = dice.below(4);
    for field in 0..fields {
        let key = dice.pick(&KEYS);
        let value = match dice.below(12) {
            0 => dice.pick(&["true", "false", "null", "[1,\"]\"]", "[]"]).to_owned(),
            1 | 2 => dice.pick(&["1", "2.50", "-3", "1e2", "123456789012345678901"]).to_owned(),
            3 | 4 if depth < 2 => json(dice, depth + 1),
            5 => dice
                .pick(&[r#""q\"\u00e9""#, r#""\ud83d\ude00""#, r#""\q""#, r#""\ud83d x""#, r#""a\nb""#])
                .to_owned(),
            _ => format!("\"{}\"", dice.pick(&VALUES)),
        };
        let name = if value.starts_with('{') { "o" } else { key };
        let blank = if dice.once_in(8) { " " } else { "" };
        text.push_str(&format!("\"{name}\"{blank}:{blank}{value}"));
        if field + 1 < fields || dice.once_in(12) {
            text.push(',');
        }
    }
    text.push('}');
    text
}

fn logfmt(dice: &mut Dice) -> String {
    let pair = |dice: &mut Dice| {
        let (key, value) = (dice.pick(&KEYS), dice.pick(&VALUES));
        match dice.below(12) {
            0 => key.to_owned(),
            1 => format!("{key}="),
            2 => format!("{key}={value}=z"),
            3 => format!("{key}='{value}'"),
            4 => format!(r#"{key}="{value}"x=1"#),
            5 => dice
                .pick(&[r#"b="\q" s=2"#, r#"b="open s=2"#, r#"b="it\'s \u00e9""#, "k\"ey=1", "=5"])
                .to_owned(),
            6..=8 => format!(r#"{key}="{value}""#),
            _ => format!("{key}={}", value.replace(' ', "")),
        }
    };
    let pairs: Vec<String> = (0..dice.below(5)).map(|_| pair(dice)).collect();
    pairs.join(dice.pick(&[" ", " ", " ", "  ", "\t"]))
}

impl Select for Data {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let mut found = Vec::new();
        for view in &self.views {
            let mut streams: Vec<&Map> = view.entries.iter().map(|entry| &entry.stream).collect();
            streams.sort();
            streams.dedup();
            let mut joint = BlockBuilder::new();
            let mut joint_runs = Vec::new();
            for labels in streams {
                let mut entries = Entries::new();
                let own: Vec<&Stored> = view.entries.iter().filter(|entry| entry.stream == *labels).collect();
                for entry in &own {
                    entries.push(entry.ts_ns, entry.line.as_bytes(), &entry.level, &set_of(&entry.metadata));
                }
                entries.sort_and_dedupe();
                let stream = Arc::new(stream_of(own[0]));
                let first = if view.is_joint { joint.rows() } else { 0 };
                let run = RunView {
                    rows: first..first + entries.len() as u32,
                    min_ns: entries.min_ns(),
                    max_ns: entries.max_ns(),
                    raw_bytes: entries.line_bytes(),
                    stream,
                };
                let wanted = request.matchers.iter().all(|matcher| matcher.matches_set(&run.stream.labels))
                    && !(self.is_pruned && self.is_skipped(request, &own, &run));
                if view.is_joint {
                    joint.push_run(0, &entries, 0..entries.len());
                    joint_runs.extend(wanted.then_some(run));
                } else if wanted {
                    let block = Arc::new(Block::from_entries(entries));
                    found.push(BlockView { block, runs: vec![run], arrival: view.arrival });
                }
            }
            if !joint_runs.is_empty() {
                let codec = [LineCodec::Plain, LineCodec::AlwaysShredded][view.entries.len() % 2];
                let encoded = joint.finish_with(codec);
                let source = Arc::new(Bytes::from(encoded.bytes));
                let block = Arc::new(Block::open(Arc::new(encoded.meta), source, 0));
                found.push(BlockView { block, runs: joint_runs, arrival: view.arrival });
            }
        }
        Ok(found)
    }
}

impl Data {
    /// Whether a store may leave out a run.
    fn is_skipped(&self, request: &SelectRequest<'_>, own: &[&Stored], run: &RunView) -> bool {
        let holds = |literal: &Vec<u8>| {
            own.iter().any(|entry| entry.line.as_bytes().windows(literal.len()).any(|part| part == literal))
        };
        !request.range.overlaps(run.min_ns, run.max_ns) || !request.prefilter.literals.iter().all(holds)
    }
}
