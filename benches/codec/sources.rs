//! What is measured: lines by source, in blocks as a compaction writes them.
//!
//! `LOGYARD_LOG_FOLDER` names a folder of real logs: each `*.log` or `*.jsonl` file in it, at any depth, is a source.
//! Lines that all start with a time as `docker logs --timestamps` prints it lose it and have it as their timestamp;
//! others come every ten milliseconds, so that times inside them do not follow their timestamps.

use crate::corpus;
use logyard_codec::{Block, BlockBuilder, EncodedBlock, Entries, KeyFormat, LineCodec, SectionSource};
use logyard_model::LabelSet;
use memchr::memmem::Finder;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

const BLOCK_BYTES: u64 = 2 << 20;
const BLOCK_ROWS: u32 = 1 << 16;
/// Midnight of 2025-03-04, where the lines made up start, and the distance of their times.
const START_NS: i64 = 1_741_046_400_000_000_000;
const GAP_NS: i64 = 10_000_000;
/// Keys whose values are worth a look, the first that a source has.
const KEYS: [&str; 6] = ["status", "DownstreamStatus", "response", "level", "method", "user"];

/// The lines of one source in blocks that are not written yet.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) builders: Vec<BlockBuilder>,
    /// A word that about a quarter of the lines hold.
    pub(crate) word: String,
    /// A key of JSON or logfmt lines.
    pub(crate) key: Option<(KeyFormat, &'static str)>,
}

/// Returns the sources, and behind several of them all as one.
pub(crate) fn all() -> Vec<Source> {
    let lines: Vec<(String, Vec<(i64, String)>)> = match std::env::var("LOGYARD_LOG_FOLDER") {
        Ok(folder) => read_folder(Path::new(&folder)),
        Err(_) => {
            let made = corpus::all();
            let by_name = |name: &str| stamped(corpus::by_name(&made, name).lines.iter().cloned());
            ["text", "json", "logfmt"].map(|name| (name.to_owned(), by_name(name))).to_vec()
        }
    };
    let mut sources: Vec<Source> = lines.into_iter().map(|(name, lines)| source(name, &lines)).collect();
    if sources.len() > 1 {
        sources.push(Source {
            name: "all".to_owned(),
            bytes: sources.iter().map(|source| source.bytes).sum(),
            builders: sources.iter().flat_map(|source| source.builders.iter().cloned()).collect(),
            word: "error".to_owned(),
            key: Some((KeyFormat::Json, "status")),
        });
    }
    sources
}

/// Encodes the blocks of a source.
pub(crate) fn written(source: &Source, codec: LineCodec) -> Vec<EncodedBlock> {
    source.builders.iter().map(|builder| builder.clone().finish_with(codec)).collect()
}

/// Returns blocks as they come from a disk, nothing decompressed.
pub(crate) fn opened(blocks: &[EncodedBlock]) -> Vec<Arc<Block>> {
    let open = |block: &EncodedBlock| {
        let section_source: Arc<dyn SectionSource> = Arc::new(bytes::Bytes::copy_from_slice(&block.bytes));
        Arc::new(Block::open(Arc::new(block.meta.clone()), section_source, 0))
    };
    blocks.iter().map(open).collect()
}

fn source(name: String, lines: &[(i64, String)]) -> Source {
    let mut builders = Vec::new();
    let mut entries = Entries::new();
    let mut end_block = |entries: &mut Entries| {
        let mut builder = BlockBuilder::new();
        entries.sort_and_dedupe();
        builder.push_run(0, entries, 0..entries.len());
        builders.push(builder);
        *entries = Entries::new();
    };
    for (ts_ns, line) in lines {
        let is_full =
            entries.raw_bytes() + line.len() as u64 > BLOCK_BYTES || entries.len() == BLOCK_ROWS as usize;
        if is_full {
            end_block(&mut entries);
        }
        entries.push(*ts_ns, line.as_bytes(), level(line), &LabelSet::default());
    }
    end_block(&mut entries);
    let bytes = builders.iter().map(|builder| builder.raw_bytes()).sum();
    Source { name, bytes, word: word(lines), key: key(&builders), builders }
}

/// Returns a level, so that blocks have a column of them.
fn level(line: &str) -> &'static str {
    let holds = |words: &[&str]| words.iter().any(|word| line.contains(word));
    match () {
        () if holds(&["error", "ERROR", "Failed"]) => "error",
        () if holds(&["warn", "WARN"]) => "warn",
        () => "info",
    }
}

/// Returns the word whose share of lines is nearest to a quarter.
fn word(lines: &[(i64, String)]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let sample = &lines[..lines.len().min(2000)];
    for (_, line) in sample {
        let words = line.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| word.len() > 3);
        let words: std::collections::BTreeSet<&str> = words.collect();
        words.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
    }
    let distance = |count: usize| (count * 4).abs_diff(sample.len());
    let nearest = counts.into_iter().min_by_key(|&(word, count)| (distance(count), word));
    nearest.map_or_else(|| "error".to_owned(), |(word, _)| word.to_owned())
}

fn key(builders: &[BlockBuilder]) -> Option<(KeyFormat, &'static str)> {
    let text = builders.first()?.text();
    let holds = |needle: String| Finder::new(&needle).find(text).is_some();
    let of_format = |format, key: &'static str| match format {
        KeyFormat::Json => text.starts_with(b"{") && holds(format!("\"{key}\":")),
        KeyFormat::Logfmt => !text.starts_with(b"{") && holds(format!(" {key}=")),
    };
    let formats = [KeyFormat::Json, KeyFormat::Logfmt];
    KEYS.iter()
        .flat_map(|&key| formats.map(|format| (format, key)))
        .find(|&(format, key)| of_format(format, key))
}

fn stamped(lines: impl Iterator<Item = String>) -> Vec<(i64, String)> {
    // Times to the nanosecond, within the millisecond that lines made up tell.
    let ts_ns = |number: i64| START_NS + number * GAP_NS + number.wrapping_mul(7_919_993) % 1_000_000;
    (0..).map(ts_ns).zip(lines).collect()
}

fn read_folder(folder: &Path) -> Vec<(String, Vec<(i64, String)>)> {
    let of_text = |text: &str| {
        let timed: Option<Vec<(i64, String)>> = text.lines().map(timed).collect();
        timed.unwrap_or_else(|| stamped(text.lines().map(str::to_owned)))
    };
    let files = corpus::read_folder(folder).into_iter();
    let mut sources: Vec<_> = files.map(|(name, text)| (name, of_text(&text))).collect();
    sources.sort_by(|a, b| a.0.cmp(&b.0));
    sources
}

/// Cuts `2025-03-04T10:02:03.123456789Z line`.
fn timed(line: &str) -> Option<(i64, String)> {
    let (time, rest) = line.split_once(' ')?;
    let bytes = time.as_bytes();
    let is_time = bytes.len() == 30 && bytes[10] == b'T' && bytes[19] == b'.' && bytes[29] == b'Z';
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    if !is_time {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days since 1970-01-01, counted in years that start in March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    Some((seconds * 1_000_000_000 + number(20, 29)?, rest.to_owned()))
}
