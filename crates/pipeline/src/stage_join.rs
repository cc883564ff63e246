//! Stages that make one entry of several lines: `multiline`, `cri` and `docker`. They hold lines back, per label set.

use std::collections::HashMap;

use logyard_logql::parse_go_duration;
use regex::bytes::Regex;

use crate::entry::{Entry, JoinKey};
use crate::error::Error;
use crate::settings::{CriSettings, MultilineSettings};
use crate::stage::Around;
use crate::stage_extract::compile_regex;

const WAIT_NS: i64 = 3_000_000_000;
/// A runtime's part that nobody continues for so long is let go: what died in mid-line must not hold up the lines
/// behind it for ever. Promtail waits without end, and sends the lines behind meanwhile.
const CRI_WAIT_NS: i64 = 60_000_000_000;
const LINES_MAX: u64 = 128;
/// Label sets of one target that are told apart; more, and all open entries are let go.
const BLOCKS_MAX: usize = 1_000;
/// A label set that was quiet for so long is forgotten: its next line must be a first line again.
const FORGET_NS: i64 = 3_600 * 1_000_000_000;

/// `multiline`.
#[derive(Clone, Debug)]
pub(crate) struct MultilineStage {
    firstline: Regex,
    wait_ns: i64,
    lines_max: u64,
    /// Bytes of one entry; more, and the rest makes another, as beyond `lines_max`.
    bytes_max: usize,
    blocks: HashMap<JoinKey, Block>,
}

/// The lines of one label set since the last first line.
#[derive(Clone, Debug)]
struct Block {
    /// The first line, whose time, labels and values count; the joined lines are its line.
    entry: Entry,
    /// Lines joined; 0: let go, and the next line that is no first line goes on under the old one.
    lines: u64,
    touched_ns: i64,
}

impl Block {
    fn take(&mut self) -> Option<Entry> {
        if self.lines == 0 {
            return None;
        }
        self.lines = 0;
        let line = std::mem::take(&mut self.entry.line);
        Some(Entry { line, ..self.entry.clone() })
    }
}

impl MultilineStage {
    pub(crate) fn compile(settings: &MultilineSettings, bytes_max: usize) -> Result<Self, Error> {
        if settings.firstline.is_empty() {
            return Err(Error::new("empty; give the regular expression of a first line").inside("firstline"));
        }
        let firstline = compile_regex(&settings.firstline).map_err(|error| error.inside("firstline"))?;
        let wait = settings.max_wait_time.as_deref().map(parse_go_duration).transpose();
        let wait_ns = wait.map_err(|reason| Error::new(reason).inside("max_wait_time"))?.unwrap_or(WAIT_NS);
        if wait_ns <= 0 {
            return Err(Error::new("want more than 0, such as 3s").inside("max_wait_time"));
        }
        let lines_max = settings.max_lines.unwrap_or(LINES_MAX).max(1);
        Ok(Self { firstline, wait_ns, lines_max, bytes_max, blocks: HashMap::new() })
    }

    /// Takes a line; hands over what is complete by it. Returns whether the line was joined to another.
    pub(crate) fn push(&mut self, entry: Entry, now_ns: i64, out: &mut Vec<Entry>) -> bool {
        let is_first = self.firstline.is_match(&entry.line);
        let key = entry.key();
        if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(&key) {
            self.flush(now_ns, true, out);
            self.blocks.clear();
        }
        let Some(block) = self.blocks.get_mut(&key) else {
            if is_first {
                let mut block = Block { entry, lines: 1, touched_ns: now_ns };
                out.extend(block.take_if_full(self.lines_max));
                self.blocks.insert(key, block);
            } else {
                // Before the first first line there is nothing to join to.
                out.push(entry);
            }
            return false;
        };
        block.touched_ns = now_ns;
        let is_too_long = block.lines > 0 && block.entry.line.len() + entry.line.len() >= self.bytes_max;
        if is_first || is_too_long {
            out.extend(block.take());
        }
        let is_joined = !is_first && block.lines > 0;
        if is_first {
            *block = Block { entry, lines: 1, touched_ns: now_ns };
        } else {
            if block.lines == 0 {
                block.entry.lines = entry.lines;
                block.entry.line.clear();
            }
            if !block.entry.line.is_empty() {
                block.entry.line.push(b'\n');
            }
            block.entry.line.extend_from_slice(&entry.line);
            block.entry.lines.1 = entry.lines.1;
            block.lines += 1;
        }
        out.extend(block.take_if_full(self.lines_max));
        is_joined
    }

    /// Hands over what waited long enough, or everything.
    pub(crate) fn flush(&mut self, now_ns: i64, everything: bool, out: &mut Vec<Entry>) {
        let before = out.len();
        for block in self.blocks.values_mut() {
            if everything || is_past(block.touched_ns, self.wait_ns, now_ns) {
                out.extend(block.take());
            }
        }
        self.blocks.retain(|_, block| {
            block.lines > 0 || !is_past(block.touched_ns, FORGET_NS.max(self.wait_ns), now_ns)
        });
        // Of several, the one that began first goes first.
        if let Some(added) = out.get_mut(before..) {
            added.sort_unstable_by_key(|entry| entry.lines.0);
        }
    }

    /// Returns the number of the oldest line held, and when something must be let go.
    pub(crate) fn held(&self) -> Option<(u64, i64)> {
        let open = self.blocks.values().filter(|block| block.lines > 0);
        open.map(|block| (block.entry.lines.0, block.touched_ns.saturating_add(self.wait_ns)))
            .reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))
    }

    pub(crate) fn emptied(&self) -> Self {
        Self { blocks: HashMap::new(), ..self.clone() }
    }
}

/// Whether so long a time has passed; a clock set back that far counts too, or an entry would be held for as long.
fn is_past(since_ns: i64, wait_ns: i64, now_ns: i64) -> bool {
    now_ns.saturating_sub(since_ns).saturating_abs() >= wait_ns
}

impl Block {
    fn take_if_full(&mut self, lines_max: u64) -> Option<Entry> {
        if self.lines >= lines_max { self.take() } else { None }
    }
}

/// Joins the parts of lines that a container runtime divided (`cri`, `docker`). Line, time and label are set by then.
#[derive(Clone, Debug)]
pub(crate) struct PartsStage {
    label_sets_max: usize,
    line_bytes_max: usize,
    /// A part that nobody continues for so long is let go.
    wait_ns: i64,
    open: HashMap<JoinKey, OpenLine>,
}

/// A line of which parts are missing.
#[derive(Clone, Debug)]
struct OpenLine {
    entry: Entry,
    touched_ns: i64,
    /// Its end was cut, and counted.
    is_cut: bool,
}

impl PartsStage {
    pub(crate) fn cri(settings: &CriSettings, bytes_max: usize) -> Self {
        let is_cut = settings.max_partial_line_size_truncate && settings.max_partial_line_size > 0;
        Self {
            label_sets_max: settings.max_partial_lines.clamp(1, BLOCKS_MAX),
            line_bytes_max: if is_cut { settings.max_partial_line_size.min(bytes_max) } else { bytes_max },
            wait_ns: CRI_WAIT_NS,
            open: HashMap::new(),
        }
    }

    pub(crate) fn docker(bytes_max: usize) -> Self {
        Self { label_sets_max: BLOCKS_MAX, line_bytes_max: bytes_max, wait_ns: WAIT_NS, open: HashMap::new() }
    }

    /// Takes a line or a part; hands over what is complete by it. Counts what is joined and what is cut.
    pub(crate) fn push(
        &mut self,
        mut entry: Entry,
        is_part: bool,
        around: &mut Around<'_>,
        out: &mut Vec<Entry>,
    ) {
        let key = entry.key();
        let begun = self.open.remove(&key);
        around.tally.joined += u64::from(begun.is_some());
        let mut is_cut = false;
        if let Some(begun) = begun {
            let mut line = begun.entry.line;
            line.append(&mut entry.line);
            entry.line = line;
            entry.lines.0 = begun.entry.lines.0;
            is_cut = begun.is_cut;
        }
        if entry.line.len() > self.line_bytes_max {
            entry.line.truncate(self.line_bytes_max);
            around.tally.cut += u64::from(!is_cut);
            is_cut = true;
        }
        if !is_part {
            out.push(entry);
            return;
        }
        if self.open.len() >= self.label_sets_max {
            self.flush(around.now_ns, true, out);
        }
        self.open.insert(key, OpenLine { entry, touched_ns: around.now_ns, is_cut });
    }

    /// Hands over parts that waited long enough, or all, as they are.
    pub(crate) fn flush(&mut self, now_ns: i64, everything: bool, out: &mut Vec<Entry>) {
        let before = out.len();
        let is_due = |touched_ns: i64| everything || is_past(touched_ns, self.wait_ns, now_ns);
        let due = self.open.extract_if(|_, open| is_due(open.touched_ns));
        out.extend(due.map(|(_, open)| open.entry));
        if let Some(added) = out.get_mut(before..) {
            added.sort_unstable_by_key(|entry| entry.lines.0);
        }
    }

    /// Returns the number of the oldest line held, and when something must be let go.
    pub(crate) fn held(&self) -> Option<(u64, i64)> {
        self.open
            .values()
            .map(|open| (open.entry.lines.0, open.touched_ns.saturating_add(self.wait_ns)))
            .reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))
    }

    pub(crate) fn emptied(&self) -> Self {
        Self { open: HashMap::new(), ..self.clone() }
    }
}

/// Reads a line of Docker's json-file log: line, stream, time, and whether it is but a part.
pub(crate) fn read_docker(line: &[u8]) -> Option<(Vec<u8>, String, String, bool)> {
    #[derive(serde::Deserialize)]
    struct Row {
        log: String,
        stream: String,
        time: String,
    }
    let row: Row = serde_json::from_slice(line).ok()?;
    let mut text = row.log.into_bytes();
    let is_part = text.pop_if(|byte| *byte == b'\n').is_none();
    text.pop_if(|byte| !is_part && *byte == b'\r');
    Some((text, row.stream, row.time, is_part))
}

/// Reads `time stream flags content` of a Kubernetes runtime; `None`: it is no such line.
pub(crate) fn read_cri(line: &[u8]) -> Option<(&[u8], &'static str, bool, &[u8])> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let content = fields.next()?;
    let stream = match stream {
        b"stdout" => "stdout",
        b"stderr" => "stderr",
        _ => return None,
    };
    let is_filled = !time.is_empty() && !flags.is_empty();
    is_filled.then_some((time, stream, flags == b"P", content))
}
