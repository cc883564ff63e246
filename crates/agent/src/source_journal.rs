//! systemd's journal, read through `journalctl -o export`: to its end, then with `--follow`.
//!
//! The program belongs to the journal's own version, so every form and compression of journal files is read, without
//! a library of C in this process. The cursor of each entry is its position, spooled with it: an entry is read once,
//! whatever is killed in between. Reading goes on *at* the cursor: if the first entry is another one, the journal lost
//! entries meanwhile, and a gap is counted.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_pipeline::label_name_of;
use logyard_wire::journal_export::{JournalEntry, JournalExport};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::batch::{PIECE_RAW_BYTES, Piece};
use crate::error::Error;
use crate::log_join::bounded;
use crate::position::Position;
use crate::received::{Closed, JobSettings, ReceiveJob, Receiving};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::JournalSettings;
use crate::source_stdin::blocks_of;
use crate::spool_shared::{SharedSpool, stopped, stopped_within};
use crate::staging::{Line, Staging};

/// Prefix of the keys of positions.
pub(crate) const TARGET_PREFIX: &str = "journal:";
/// The program, on the PATH.
const PROGRAM: &str = "journalctl";
/// Pause before the program is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// Most bytes of what the program complains about.
const COMPLAINT_BYTES_MAX: u64 = 2 << 10;
/// Longest cursor; those of today have about 150 bytes.
const CURSOR_BYTES_MAX: usize = 1 << 10;
/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &JournalSettings) -> JobSettings<'_> {
    JobSettings {
        job: "journal",
        paths: ["journal.relabel", "journal.stages"],
        labels: &settings.labels,
        default_labels: settings.default_labels,
        takes_labels: settings.default_labels,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Returns the name of the target: what tells it from others.
pub(crate) fn name(settings: &JournalSettings) -> String {
    let path = if settings.path.is_empty() { "the machine's" } else { &settings.path };
    [&[path.to_owned()], &*settings.matches].concat().join(" ")
}

/// Returns the key of its position.
pub(crate) fn key(settings: &JournalSettings) -> String {
    format!("{TARGET_PREFIX}{}", name(settings))
}

/// Looks whether journals can be read at all. Errors: the program is not there.
pub(crate) fn check() -> Result<(), Error> {
    check_program(Path::new(PROGRAM))
}

fn check_program(program: &Path) -> Result<(), Error> {
    let version = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    if let Err(error) = version {
        let reason = format!(
            "cannot run {}: {error}; the journal is read through it, so install systemd's, or remove the setting",
            program.display()
        );
        return Err(Error::Setting { setting: "journal", reason });
    }
    Ok(())
}

/// Reads a journal until the agent stops.
pub(crate) fn start(
    settings: &JournalSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    spool: &SharedSpool,
) -> JoinHandle<()> {
    start_with(PathBuf::from(PROGRAM), settings.clone(), job, parts, spool)
}

fn start_with(
    program: PathBuf,
    settings: JournalSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    spool: &SharedSpool,
) -> JoinHandle<()> {
    let key = key(&settings);
    let name = name(&settings);
    parts.board.name_target(TargetKind::Journal, &key, &name, job.shown_labels());
    let cursor = match parts.pieces.positions(spool).remove(&key) {
        Some(Position::Journal(cursor)) => Some(Arc::from(cursor)),
        _ => None,
    };
    let journal = Journal {
        program,
        staging: Staging::new(&job.pipeline, parts.staging.clone()),
        settings,
        job,
        parts: parts.clone(),
        key: key.into(),
        sent: cursor.clone(),
        cursor,
        last_ns: (i64::MIN, 0),
        chunks: Vec::new(),
        bytes: 0,
        seeks: None,
    };
    tokio::spawn(journal.run())
}

/// A journal, and how far it was read.
struct Journal {
    program: PathBuf,
    settings: JournalSettings,
    job: Arc<ReceiveJob>,
    parts: Receiving,
    key: Arc<str>,
    /// Cursor of the last entry read.
    cursor: Option<Arc<str>>,
    /// Cursor last handed over.
    sent: Option<Arc<str>>,
    staging: Staging<Option<Arc<str>>>,
    /// Time of the last entry in the journal, and how many bore it.
    last_ns: (i64, i64),
    chunks: Vec<(Arc<LabelSet>, Entries)>,
    bytes: u64,
    /// Cursor at which the present read is to begin.
    seeks: Option<Arc<str>>,
}

impl Journal {
    async fn run(mut self) {
        let mut stop = self.parts.stop.clone();
        let mut told = String::new();
        loop {
            // Following shows the present boot alone, so what is older comes first.
            let mut ended = self.read(false).await;
            if ended == Ok(None) {
                ended = self.read(true).await;
            }
            let Ok(complaint) = ended else { return };
            if *stop.borrow() {
                return;
            }
            let complaint = complaint.unwrap_or_else(|| "it ended without a word".to_owned());
            self.parts.board.set_state(&self.key, TargetState::Attach, &complaint);
            if told != complaint {
                tracing::warn!(
                    journal = name(&self.settings),
                    complaint,
                    "journalctl ended; it is started again every 5 s"
                );
                told = complaint;
            }
            self.parts.metrics.reopens.inc();
            if stopped_within(&mut stop, RESTART_PAUSE).await {
                return;
            }
        }
    }

    /// Reads until the program ends; returns what it complained about, or nothing if all is well.
    async fn read(&mut self, follows: bool) -> Result<Option<String>, Closed> {
        let mut child = match self.command(follows).spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Some(format!("cannot run {}: {error}", self.program.display()))),
        };
        self.parts.board.set_state(&self.key, TargetState::Follow, "");
        self.seeks.clone_from(&self.cursor);
        let complaint = complaint_of(&mut child);
        let mut blocks = match child.stdout.take() {
            Some(stdout) => blocks_of(stdout),
            None => return Ok(Some("it has no output".to_owned())),
        };
        let mut export = JournalExport::new(self.parts.staging.line_bytes_max);
        let mut entries = Vec::new();
        let mut stop = self.parts.stop.clone();
        let mut result = Ok(());
        loop {
            let due = self.staging.due_in(self.parts.clock.now_ns());
            let block = tokio::select! {
                () = stopped(&mut stop) => break,
                () = after(due) => Some(Vec::new()),
                block = blocks.recv() => block,
            };
            let Some(block) = block else { break };
            export.feed(&block, &mut |entry| entries.push(entry));
            for entry in entries.drain(..) {
                self.take(entry);
                if self.bytes >= PIECE_RAW_BYTES {
                    result = self.hand_over(false).await;
                }
            }
            if result.is_ok() {
                result = self.hand_over(false).await;
            }
            if result.is_err() {
                break;
            }
        }
        // One that did not end is ended; what it wrote and was not read is read again.
        if *self.parts.stop.borrow() || result.is_err() {
            drop(child.kill());
        }
        drop(blocks);
        let waited = tokio::task::spawn_blocking(move || (child.wait(), complaint.join())).await;
        result?;
        self.hand_over(true).await?;
        let (status, complaint) = match waited {
            Ok((Ok(status), complaint)) => (status, complaint.unwrap_or_default()),
            _ => return Ok(Some("nobody knows how it ended".to_owned())),
        };
        Ok(match (status.success(), complaint.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("it ended with {status}")),
            (false, false) => Some(complaint),
        })
    }

    fn command(&self, follows: bool) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--output=export", "--no-pager", "--quiet", "--all"]);
        if follows {
            command.args(["--follow", "--no-tail"]);
        }
        if !self.settings.path.is_empty() {
            command.arg(format!("--directory={}", self.settings.path));
        }
        match &self.cursor {
            Some(cursor) => command.arg(format!("--cursor={cursor}")),
            None => {
                let age_ns = i64::try_from(self.settings.max_age_secs)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1_000_000_000);
                let since_ns = self.parts.clock.now_ns().saturating_sub(age_ns).max(0);
                command.arg(format!("--since=@{}", since_ns / 1_000_000_000))
            }
        };
        command.args(&self.settings.matches);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn take(&mut self, entry: JournalEntry) {
        let Some(cursor) = entry.text("__CURSOR").filter(|cursor| cursor.len() <= CURSOR_BYTES_MAX) else {
            self.parts.metrics.refused("journal_no_cursor", 1);
            return;
        };
        if let Some(sought) = self.seeks.take() {
            if *sought == *cursor {
                return;
            }
            self.parts.metrics.gap("journal_vacuumed");
            tracing::warn!(
                journal = name(&self.settings),
                "the journal let go of entries before they were read; raise SystemMaxUse of journald"
            );
        }
        let before = self.cursor.replace(cursor.into());
        let now_ns = self.parts.clock.now_ns();
        let ts_ns = self.time(entry.ts_ns().unwrap_or(now_ns));
        let text = match self.settings.json {
            true => Some(json(&entry).into_bytes()),
            false => entry.get("MESSAGE").map(<[u8]>::to_vec),
        };
        let Some(text) = text else {
            self.parts.metrics.discarded("no_message", 1);
            return;
        };
        let arrived = labels(&entry, &text);
        let Some(labels) = self.job.labels(&arrived).map(Arc::new) else {
            self.parts.metrics.discarded("relabel", 1);
            return;
        };
        let metadata = if self.job.takes_labels() { metadata(&entry) } else { LabelSet::default() };
        let line = bounded(ts_ns, &text, entry.cut_bytes, self.parts.staging.line_bytes_max);
        self.parts.metrics.lines_cut.inc_by(u64::from(line.cut_bytes > 0));
        self.bytes += line.text.len() as u64;
        if !self.staging.is_idle() {
            let line =
                Line { labels: &labels, ts_ns, text: line.text.into(), metadata: &metadata, output: 0 };
            self.staging.push(line, before, now_ns);
            return;
        }
        match self.chunks.iter_mut().find(|(own, _)| *own == labels) {
            Some((_, entries)) => entries.push(ts_ns, line.text, "", &metadata),
            None => {
                let mut entries = Entries::new();
                entries.push(ts_ns, line.text, "", &metadata);
                self.chunks.push((labels, entries));
            }
        }
    }

    /// Keeps equal entries of one microsecond apart: the store would take them for one.
    fn time(&mut self, ts_ns: i64) -> i64 {
        let (last_ns, count) = self.last_ns;
        self.last_ns = if last_ns == ts_ns { (ts_ns, count + 1) } else { (ts_ns, 0) };
        ts_ns.saturating_add(self.last_ns.1)
    }

    /// Hands over what was read, with the cursor behind it.
    async fn hand_over(&mut self, everything: bool) -> Result<(), Closed> {
        self.bytes = 0;
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut cursor = self.cursor.clone();
        let mut pause = Duration::ZERO;
        if !self.staging.is_idle() {
            let staged = self.staging.take(everything, self.parts.clock.now_ns());
            chunks = staged.chunks;
            cursor = staged.mark.unwrap_or(cursor);
            pause = staged.pause;
        }
        let Some(cursor) = cursor.filter(|cursor| !chunks.is_empty() || self.sent.as_ref() != Some(cursor))
        else {
            return Ok(());
        };
        self.sent = Some(Arc::clone(&cursor));
        let position = Position::Journal(cursor.as_ref().to_owned());
        let piece = Piece::of_target(Arc::clone(&self.key), chunks, position);
        let mut stop = self.parts.stop.clone();
        // Given up when the agent stops: the journal still has what is not handed over.
        tokio::select! {
            sent = self.parts.pieces.send(piece) => sent?,
            () = stopped(&mut stop), if !everything => return Err(Closed),
        }
        if !pause.is_zero() {
            stopped_within(&mut stop, pause).await;
        }
        Ok(())
    }
}

async fn after(due: Option<Duration>) {
    match due {
        Some(due) => sleep(due).await,
        None => std::future::pending().await,
    }
}

/// Gathers what the program complains about, to the last line.
fn complaint_of(child: &mut Child) -> std::thread::JoinHandle<String> {
    let stderr = child.stderr.take();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let Some(mut stderr) = stderr else { return String::new() };
        // What cannot be read is not needed; what is beyond is read and left out, or the program would wait.
        drop((&mut stderr).take(COMPLAINT_BYTES_MAX).read_to_end(&mut text));
        drop(std::io::copy(&mut stderr, &mut std::io::sink()));
        String::from_utf8_lossy(&text).trim().replace('\n', "; ")
    })
}

fn labels(entry: &JournalEntry, text: &[u8]) -> LabelSet {
    let mut labels = LabelSet::default();
    for (name, value) in entry.fields.iter().filter(|(name, _)| !name.starts_with("__")) {
        if let Ok(value) = std::str::from_utf8(value) {
            labels.insert(label_name_of(&format!("__journal_{}", name.to_lowercase())), value);
        }
    }
    if entry.get("MESSAGE").is_none() {
        labels.insert("__journal_message", String::from_utf8_lossy(text).into_owned());
    }
    if let Some(priority) = entry.priority() {
        labels.insert("__journal_priority_keyword", priority);
    }
    entry.labels().for_each(|(name, value)| labels.insert(name, value));
    labels
}

fn metadata(entry: &JournalEntry) -> LabelSet {
    LabelSet::from_pairs(entry.metadata())
}

/// Writes all fields as an object of JSON.
fn json(entry: &JournalEntry) -> String {
    let fields = entry.fields.iter().filter(|(name, _)| !name.starts_with("__"));
    let fields: serde_json::Map<String, serde_json::Value> = fields
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned().into()))
        .collect();
    serde_json::Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests;
