//! `logq export`: every entry of a range into a file, oldest first; goes on where it was ended.
//!
//! One JSON object a line, as `-o jsonl` prints and `logq import` reads. A name that ends in `.zst` gets them packed: a
//! frame for each part, one after the other, which any unpacker reads as one file. How far it got is saved once the file
//! is synced; what was written behind that is cut off when it goes on, so nothing is in the file twice.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use logyard_model::TimeRange;
use logyard_sys::{Disk, RealDisk, WriteFile};
use serde::{Deserialize, Serialize};

use crate::check::{Yields, check};
use crate::entry::Entry;
use crate::output_json;
use crate::output_text::time_text;
use crate::run::Stop;
use crate::session::Session;
use crate::transfer::history::fetch;
use crate::transfer::meter::{Meter, Reading};
use crate::transfer::progress::{ProgressFile, state_folder};
use crate::transfer::walk::Walk;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq export '{compose_project=\"shop\"}' --since 7d -f shop.jsonl.zst   # packed; goes on if ended
  logq export '{container=\"web\"} |= \"ERROR\"'                           # to standard output
  logq import shop.jsonl.zst --addr http://other:3100                   # and back into a store";

/// Bytes of lines that are written, synced and noted at once; few in tests, which want many parts.
const PART_BYTES: usize = if cfg!(test) { 16 << 10 } else { 4 << 20 };

/// What to export.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// LogQL log query
    query: String,

    /// File to write; packed if it ends in .zst [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,

    /// Most entries per call
    #[arg(long, default_value_t = 5000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// File that says how far it got [default: one for each such export, below XDG_STATE_HOME]
    #[arg(long, value_name = "FILE", requires = "file")]
    state: Option<String>,

    /// Begin anew, whatever was reached before, and replace the file
    #[arg(long, requires = "file")]
    restart: bool,
}

/// How far an export got.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ExportReached {
    /// The range, settled at the first start: it must not move with the clock.
    start_ns: i64,
    end_ns: i64,
    /// All entries before it are in the file, and no others.
    reached_ns: i64,
    /// Bytes of the file that are whole.
    file_bytes: u64,
    entries: u64,
}

/// Where the lines go.
enum Target<'s> {
    Out(&'s mut dyn Write),
    File { file: Box<dyn WriteFile>, is_packed: bool },
}

impl Target<'_> {
    /// Writes whole lines; durable on return if it is a file.
    fn write(&mut self, lines: &[u8]) -> Result<(), Stop> {
        match self {
            Self::Out(out) => Ok(out.write_all(lines)?),
            Self::File { file, is_packed } => {
                let fault = |text: String| Stop::Trouble(format!("cannot write the export: {text}"));
                let written = match is_packed {
                    true => {
                        let frame =
                            logyard_codec::pack_zstd(lines).map_err(|error| fault(error.to_string()))?;
                        file.write_all(&frame)
                    }
                    false => file.write_all(lines),
                };
                written.and_then(|()| file.sync()).map_err(|error| fault(error.to_string()))
            }
        }
    }
}

impl Export {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        if check(&self.query)? == Yields::Samples {
            return Err(Stop::Trouble("cannot export a metric query: want a log query".to_owned()));
        }
        let client = session.client()?;
        let range = session.range()?;
        let start = ExportReached {
            start_ns: range.start_ns,
            end_ns: range.end_ns,
            reached_ns: range.start_ns,
            file_bytes: 0,
            entries: 0,
        };
        let (progress, mut reached) = match &self.file {
            None => (None, start),
            Some(path) => {
                let (progress, reached) = self.open(path, client.base(), start, session)?;
                (Some(progress), reached)
            }
        };
        let Session { out, err, now_ns, look, err_is_terminal, .. } = &mut *session;
        let mut target = match &self.file {
            None => Target::Out(&mut **out),
            Some(path) => {
                let fault = |error| format!("cannot write {path}: {error}");
                let file = RealDisk.append_file(&named(path)).map_err(fault)?;
                Target::File { file, is_packed: path.ends_with(".zst") }
            }
        };
        let mut meter = Meter::new(*err_is_terminal && progress.is_some(), now_ns());
        let mut reading = Reading::default();
        let mut lines = Vec::new();
        let rest = TimeRange { start_ns: reached.reached_ns, end_ns: reached.end_ns };
        let mut walk = Walk::new(&self.query, rest, usize::try_from(self.batch).unwrap_or(usize::MAX));
        while let Some(call) = walk.next() {
            let entries: Vec<Entry> = walk.take(fetch(&client, &call, &mut **err).await?);
            for entry in &entries {
                output_json::write_entry(&mut lines, entry)?;
                reading.bytes += entry.line.len() as u64;
            }
            reading.entries += entries.len() as u64;
            reached.entries += entries.len() as u64;
            let is_due = lines.len() >= PART_BYTES || walk.next().is_none() || progress.is_none();
            if is_due && !lines.is_empty() {
                target.write(&lines)?;
                lines.clear();
            }
            if let (true, Some(progress), Target::File { file, .. }) = (is_due, &progress, &target) {
                (reached.reached_ns, reached.file_bytes) = (walk.reached_ns(), file.bytes());
                progress.save(&reached)?;
            }
            let whole_ns = reached.end_ns.saturating_sub(reached.start_ns).max(1);
            reading.share = Some(walk.reached_ns().saturating_sub(reached.start_ns) as f64 / whole_ns as f64);
            reading.place = time_text(walk.reached_ns(), &look.zone);
            meter.show(&mut **err, now_ns(), &reading)?;
        }
        meter.clear(&mut **err)?;
        if let Some(progress) = progress {
            progress.finish()?;
            let run = meter.text(now_ns(), &Reading { share: None, place: String::new(), ..reading });
            writeln!(err, "logq: exported {} entries; this time {run}", reached.entries)?;
        }
        Ok(reached.entries > 0)
    }

    /// Opens what says how far it got, and cuts the file off behind that.
    fn open(
        &self,
        path: &str,
        base: &str,
        start: ExportReached,
        session: &mut Session<'_>,
    ) -> Result<(ProgressFile, ExportReached), Stop> {
        let disk: Arc<dyn Disk> = RealDisk::shared();
        let (folder, state) = (state_folder(session.env), self.state.as_deref());
        let job = format!("export {} of {base} to {path}", self.query);
        let fault = |error: std::io::Error| format!("cannot write {path}: {error}");
        let there = disk.metadata(&named(path)).map_err(fault)?;
        if self.restart {
            let (file, _) =
                ProgressFile::open::<serde::de::IgnoredAny>(&disk, state, folder.clone(), job.clone())?;
            file.finish()?;
            if there.is_some() {
                disk.truncate(&named(path), 0).map_err(fault)?;
            }
        }
        let (progress, saved) = ProgressFile::open::<ExportReached>(&disk, state, folder, job)?;
        let reached = match (saved, there) {
            (Some(saved), Some(meta)) if meta.bytes >= saved.file_bytes => {
                session.tell(format_args!(
                    "going on where it was ended, with {} entries there",
                    saved.entries
                ))?;
                disk.truncate(&named(path), saved.file_bytes).map_err(fault)?;
                saved
            }
            (Some(saved), _) if saved.file_bytes > 0 => {
                return Err(Stop::Trouble(format!(
                    "cannot go on: {path} is not what was written; bring it back, or begin anew with --restart"
                )));
            }
            (None, Some(meta)) if meta.bytes > 0 => {
                return Err(Stop::Trouble(format!(
                    "cannot write {path}: there is one already; name another, or replace it with --restart"
                )));
            }
            _ => start,
        };
        // Saved before anything is written: an export that is ended at once goes on over the same range.
        progress.save(&reached)?;
        Ok((progress, reached))
    }
}

/// Returns the path of a file: one of a name alone lies in the present folder.
fn named(path: &str) -> PathBuf {
    match Path::new(path).parent() {
        Some(parent) if parent == Path::new("") => Path::new(".").join(path),
        _ => PathBuf::from(path),
    }
}
