//! What is measured with: lines of some streams, made up or real, in batches and in blocks.
//!
//! `LOGYARD_LOG_FOLDER` names a folder of real logs: each `*.log` or `*.jsonl` file in it, at any depth, is a stream.

use crate::corpus;
use logyard_codec::Entries;
use logyard_model::{LabelSet, Stream, Tenant};
use std::path::Path;
use std::sync::Arc;

/// Noon of 2025-03-04, and the distance of entries in time: all lie in one day.
pub(crate) const START_NS: i64 = 1_741_089_600_000_000_000;
const GAP_NS: i64 = 1_000_000;

/// Lines of one stream in one batch.
pub(crate) const BATCH_LINES: usize = 500;

/// What no line holds.
pub(crate) const ABSENT_ID: &str = "4f1e0c9b7d2a6835";

/// Bytes of each kind of lines made up: together enough for an index of words.
const KIND_BYTES: usize = 12 << 20;

/// Bytes of a block.
const BLOCK_BYTES: usize = 2 << 20;

/// Lines by stream.
pub(crate) struct Streams(Vec<Vec<String>>);

impl Streams {
    /// Returns the lines of the folder that the environment names, or lines made up.
    pub(crate) fn read() -> Self {
        match std::env::var("LOGYARD_LOG_FOLDER") {
            Ok(folder) => {
                let files = corpus::read_folder(Path::new(&folder));
                Self(files.iter().map(|(_, text)| text.lines().map(str::to_owned).collect()).collect())
            }
            Err(_) => {
                Self(["text", "json", "logfmt"].map(|kind| corpus::made(kind, KIND_BYTES).lines).into())
            }
        }
    }

    /// Returns the bytes of all lines.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().flatten().map(|line| line.len() as u64).sum()
    }

    /// Returns the lines in groups of one stream, as pushes bring them.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().flat_map(|lines| lines.chunks(BATCH_LINES))
    }

    /// Returns the same groups as entries of their streams.
    pub(crate) fn chunks(&self) -> Vec<(Arc<Stream>, Entries)> {
        let mut chunks = Vec::new();
        for (number, lines) in self.0.iter().enumerate() {
            let labels = LabelSet::from_pairs([("app", "shop"), ("container", &format!("c{number}"))]);
            let stream = Arc::new(Stream::new(&Tenant::single(), labels));
            let mut ts_ns = START_NS;
            for lines in lines.chunks(BATCH_LINES) {
                let mut entries = Entries::new();
                for line in lines {
                    ts_ns += GAP_NS;
                    entries.push(ts_ns, line.as_bytes(), "info", &LabelSet::default());
                }
                chunks.push((Arc::clone(&stream), entries));
            }
        }
        chunks
    }

    /// Returns the text of blocks: lines with their ends.
    pub(crate) fn texts(&self) -> Vec<Vec<u8>> {
        let mut texts = vec![Vec::new()];
        for line in self.0.iter().flatten() {
            if texts.last().is_some_and(|text| text.len() + line.len() >= BLOCK_BYTES) {
                texts.push(Vec::new());
            }
            if let Some(text) = texts.last_mut() {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
        }
        texts
    }
}
