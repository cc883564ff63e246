//! What inputs hold, as entries: lines of programs, of Docker's files, of exports, and the journal.
//!
//! Counted are units: lines, or entries of a journal. Where reading stopped is told as the number of units taken, whatever
//! the form and however the file is packed; reading on reads again and passes over them.

use std::sync::Arc;

use clap::ValueEnum;
use logyard_model::LabelSet;
use logyard_wire::journal_export::{JournalEntry, JournalExport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::line_cutter::LineCutter;
use super::stamps::Stamps;
use super::time_in_line::{TimeContext, time_in_line, time_in_object};

/// Longest line that is carried, in bytes: what stores take by default. The rest of a longer one is cut off.
pub(crate) const LINE_BYTES_MAX: usize = 256 << 10;
/// What JSON may add to such a line.
const JSON_BYTES_MAX: usize = 4 << 20;
/// The level that a store found, in the metadata of its answers.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";
/// Its word for none.
pub(crate) const NO_LEVEL: &str = "unknown";

/// Form of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// Told by the first line
    Auto,
    /// Lines as programs write them, JSON and logfmt among them
    Lines,
    /// Docker's json-file: {"log":"…","stream":"stdout","time":"…"}
    Docker,
    /// journalctl -o export
    Journal,
    /// What `logq export` and `logq -o jsonl` write
    Export,
}

/// One entry on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) ts_ns: i64,
    pub(crate) labels: Arc<LabelSet>,
    /// Empty for none.
    pub(crate) level: String,
    pub(crate) metadata: LabelSet,
    pub(crate) line: Vec<u8>,
}

/// How entries of an input are made.
#[derive(Clone, Debug)]
pub(crate) struct LineSettings {
    pub(crate) form: Form,
    /// Labels of every entry; those of the input yield to them.
    pub(crate) labels: Arc<LabelSet>,
    /// The same for forms that tell no labels, which may need one.
    pub(crate) plain_labels: Arc<LabelSet>,
    pub(crate) times: TimeContext,
    /// Whether lines tell their time; otherwise all have that of the stamps' beginning.
    pub(crate) finds_times: bool,
}

/// Where reading stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Units taken; entries made of them are complete.
    pub(crate) units: u64,
    pub(crate) stamps: Stamps,
}

/// Makes entries of the bytes of one input.
#[derive(Debug)]
pub(crate) struct Lines {
    settings: LineSettings,
    reader: Reader,
    taken: Taken,
    /// Units that were taken before and are passed over.
    passed_over: u64,
    /// Units seen.
    seen: u64,
    /// A line of Docker's that goes on in the next unit.
    part: Vec<u8>,
    /// Label sets made last, so that equal ones are shared.
    last_labels: Arc<LabelSet>,
    /// Lines that were cut.
    pub(crate) cut_lines: u64,
}

#[derive(Debug)]
enum Reader {
    /// Before the first byte.
    Unknown,
    Lines(LineCutter),
    Journal(Box<JournalExport>),
}

/// A unit as it is cut out of the bytes.
enum Unit<'a> {
    Line(&'a [u8]),
    Entry(JournalEntry),
}

impl Lines {
    /// Starts at the beginning of an input, or, of one that was read before, behind what was taken.
    pub(crate) fn new(settings: LineSettings, taken: Taken) -> Self {
        let last_labels = Arc::clone(&settings.labels);
        let passed_over = taken.units;
        Self {
            settings,
            reader: Reader::Unknown,
            taken,
            passed_over,
            seen: 0,
            part: Vec::new(),
            last_labels,
            cut_lines: 0,
        }
    }

    /// Returns where reading would go on: behind all entries handed over.
    pub(crate) fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Notes when the bytes to come arrived: lines without a time of their own get that of their arrival.
    pub(crate) fn arrived(&mut self, now_ns: i64) {
        if !self.settings.finds_times {
            self.taken.stamps.begin_at(now_ns);
        }
    }

    /// Takes the next bytes and hands over the entries they complete. Errors: a line of an export that is none.
    pub(crate) fn feed(&mut self, bytes: &[u8], visit: &mut dyn FnMut(Carried)) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut reader = match std::mem::replace(&mut self.reader, Reader::Unknown) {
            Reader::Unknown => self.begin(bytes),
            reader => reader,
        };
        let mut fault = None;
        let mut take = |unit: Unit<'_>| {
            if fault.is_none() {
                fault = self.unit(unit, visit).err();
            }
        };
        match &mut reader {
            Reader::Lines(cutter) => cutter.feed(bytes, &mut |line| take(Unit::Line(line))),
            Reader::Journal(export) => export.feed(bytes, &mut |entry| take(Unit::Entry(entry))),
            Reader::Unknown => {}
        }
        self.reader = reader;
        fault.map_or(Ok(()), Err)
    }

    /// Hands over a last line without a line end. Errors: as [`Lines::feed`].
    pub(crate) fn finish(&mut self, visit: &mut dyn FnMut(Carried)) -> Result<(), String> {
        if let Reader::Lines(cutter) = &mut self.reader
            && let Some(line) = cutter.finish()
        {
            self.unit(Unit::Line(&line), visit)?;
        }
        if !self.part.is_empty() {
            let line = std::mem::take(&mut self.part);
            let ts_ns = self.taken.stamps.stamp(None);
            self.hand_over(ts_ns, line, visit);
        }
        Ok(())
    }

    fn begin(&mut self, bytes: &[u8]) -> Reader {
        if self.settings.form == Form::Auto {
            self.settings.form = form_of(bytes);
        }
        match self.settings.form {
            Form::Journal => Reader::Journal(Box::new(JournalExport::new(LINE_BYTES_MAX))),
            Form::Auto | Form::Lines => Reader::Lines(LineCutter::new(LINE_BYTES_MAX)),
            Form::Docker | Form::Export => Reader::Lines(LineCutter::new(JSON_BYTES_MAX)),
        }
    }

    fn unit(&mut self, unit: Unit<'_>, visit: &mut dyn FnMut(Carried)) -> Result<(), String> {
        self.seen += 1;
        if self.seen <= self.passed_over {
            return Ok(());
        }
        match unit {
            Unit::Entry(entry) => self.journal(entry, visit),
            Unit::Line(line) => match self.settings.form {
                Form::Docker => self.docker(line, visit),
                Form::Export => self.export(line, visit)?,
                _ => {
                    let found_ns =
                        self.settings.finds_times.then(|| time_in_line(line, &self.settings.times)).flatten();
                    let ts_ns = self.taken.stamps.stamp(found_ns);
                    let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                    self.hand_over(ts_ns, line, visit);
                }
            },
        }
        if self.part.is_empty() {
            self.taken.units = self.seen;
        }
        Ok(())
    }

    fn docker(&mut self, line: &[u8], visit: &mut dyn FnMut(Carried)) {
        let object: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
        let Some(Value::String(text)) = object.get("log") else {
            // A line of something else among them is kept as it is.
            let ts_ns = self.taken.stamps.stamp(None);
            return self.hand_over(ts_ns, line.to_vec(), visit);
        };
        self.part.extend_from_slice(text.as_bytes());
        if !text.ends_with('\n') && self.part.len() < LINE_BYTES_MAX {
            return;
        }
        let mut whole = std::mem::take(&mut self.part);
        whole.truncate(whole.strip_suffix(b"\n").map_or(whole.len(), <[u8]>::len));
        let ts_ns = self.taken.stamps.stamp(time_in_object(&object, &self.settings.times));
        let output = object.get("stream").and_then(Value::as_str).map(|output| ("stream", output));
        let base = Arc::clone(&self.settings.plain_labels);
        let labels = self.labels(output.into_iter(), &base);
        self.hand_over_labelled(ts_ns, labels, String::new(), LabelSet::default(), whole, visit);
    }

    fn journal(&mut self, entry: JournalEntry, visit: &mut dyn FnMut(Carried)) {
        let Some(message) = entry.get("MESSAGE") else { return };
        let line = message.to_vec();
        self.cut_lines += u64::from(entry.cut_bytes > 0);
        let ts_ns = self.taken.stamps.stamp(entry.ts_ns());
        let base = Arc::clone(&self.settings.labels);
        let of_entry = entry.labels().map(|(name, value): (&str, &str)| (name, value));
        let labels = self.labels([("job", "journal")].into_iter().chain(of_entry), &base);
        let metadata = LabelSet::from_pairs(entry.metadata());
        self.hand_over_labelled(ts_ns, labels, String::new(), metadata, line, visit);
    }

    fn export(&mut self, line: &[u8], visit: &mut dyn FnMut(Carried)) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Exported {
            timestamp: String,
            #[serde(default)]
            labels: Map<String, Value>,
            line: String,
            #[serde(default)]
            metadata: Map<String, Value>,
        }
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let fault = |text: String| format!("line {} is no entry of an export: {text}", self.seen);
        let read: Exported = serde_json::from_slice(line).map_err(|error| fault(error.to_string()))?;
        let time = logyard_wire::go_time::parse_rfc3339(&read.timestamp).and_then(|time| time.to_ns());
        let ts_ns = time.ok_or_else(|| fault(format!("time {:?} is not RFC 3339", read.timestamp)))?;
        let pairs = |map: &Map<String, Value>| -> Vec<(String, String)> {
            map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let labels = pairs(&read.labels);
        let base = Arc::clone(&self.settings.labels);
        let labels = self.labels(labels.iter().map(|(name, value)| (&**name, &**value)), &base);
        let mut metadata = LabelSet::from_pairs(pairs(&read.metadata));
        let level = metadata.remove(DETECTED_LEVEL).filter(|level| **level != *NO_LEVEL);
        let level = level.map(String::from).unwrap_or_default();
        self.hand_over_labelled(ts_ns, labels, level, metadata, read.line.into_bytes(), visit);
        Ok(())
    }

    /// Returns a label set of what the input tells and what was asked for, which wins.
    fn labels<'p>(
        &mut self,
        found: impl Iterator<Item = (&'p str, &'p str)>,
        base: &LabelSet,
    ) -> Arc<LabelSet> {
        let mut labels = LabelSet::from_pairs(found.filter(|(_, value)| !value.is_empty()));
        for (name, value) in base.iter() {
            labels.insert(name, value);
        }
        if *self.last_labels != labels {
            self.last_labels = Arc::new(labels);
        }
        Arc::clone(&self.last_labels)
    }

    fn hand_over(&mut self, ts_ns: i64, line: Vec<u8>, visit: &mut dyn FnMut(Carried)) {
        let labels = Arc::clone(&self.settings.plain_labels);
        self.hand_over_labelled(ts_ns, labels, String::new(), LabelSet::default(), line, visit);
    }

    fn hand_over_labelled(
        &mut self,
        ts_ns: i64,
        labels: Arc<LabelSet>,
        level: String,
        metadata: LabelSet,
        mut line: Vec<u8>,
        visit: &mut dyn FnMut(Carried),
    ) {
        if line.len() > LINE_BYTES_MAX {
            self.cut_lines += 1;
            // Not within a character: what is no UTF-8 would be told by another sign.
            let mut end = LINE_BYTES_MAX;
            while end > LINE_BYTES_MAX - 4 && line.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
                end -= 1;
            }
            line.truncate(end);
        }
        visit(Carried { ts_ns, labels, level, metadata, line });
    }
}

/// Tells the form of an input by its first line.
fn form_of(bytes: &[u8]) -> Form {
    if bytes.starts_with(b"__CURSOR=") || bytes.starts_with(b"__REALTIME_TIMESTAMP=") {
        return Form::Journal;
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(first) else { return Form::Lines };
    let holds = |names: &[&str]| names.iter().all(|name| object.contains_key(*name));
    if holds(&["log", "stream", "time"]) {
        Form::Docker
    } else if holds(&["timestamp", "labels", "line"]) {
        Form::Export
    } else {
        Form::Lines
    }
}

#[cfg(test)]
mod tests;
