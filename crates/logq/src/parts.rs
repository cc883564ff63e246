//! A long range in parts, several fetched at a time, each into a file of its own if that is asked for.
//!
//! A part is a half-open span, so that no entry is in two. Its file is written as `….part.tmp`, synced and renamed when
//! the part is whole: what has its name is whole, and is not fetched again. Tasks fetch, and this one formats and
//! writes; between them are as many pages as tasks at most, so memory does not grow with the range.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use logyard_client::{Client, RangeExtras};
use logyard_model::{Direction, TimeRange};
use logyard_sys::{Disk, ReadFile, RealDisk, WriteFile};
use logyard_wire::loki_query::QueryData;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args_parts::Wanted;
use crate::args_shared::Format;
use crate::check::{Yields, check};
use crate::command_query::QueryFlags;
use crate::entry::{Entry, merge};
use crate::output_csv;
use crate::pages::Pages;
use crate::printer::Printer;
use crate::run::Stop;
use crate::session::{Session, refused};

/// Most parts of a range.
const PARTS_MAX: i64 = 1_000_000;

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// One part: its place in the order of printing, and its span.
#[derive(Clone, Debug)]
struct Part {
    index: usize,
    range: TimeRange,
}

/// What a task has to say.
enum Said {
    /// Entries of a part, in order, and warnings of the store.
    Page(usize, Vec<Entry>, Vec<String>),
    /// A part is whole.
    Whole(usize),
    /// It cannot go on.
    Failed(Stop),
}

/// What a task needs to fetch parts.
#[derive(Clone)]
struct Fetch {
    client: Client,
    query: String,
    direction: Direction,
    batch: usize,
    extras: RangeExtras,
    todo: Arc<Mutex<VecDeque<Part>>>,
}

/// Fetches a log query in parts and returns whether anything was found or was there.
pub(crate) async fn run(
    query: &str,
    range: TimeRange,
    flags: &QueryFlags,
    wanted: &Wanted,
    session: &mut Session<'_>,
) -> Result<bool, Stop> {
    if check(query)? == Yields::Samples {
        return Err(Stop::Trouble("parts are for log queries; a metric query has one answer".to_owned()));
    }
    let direction = if flags.forward { Direction::Forward } else { Direction::Backward };
    let parts = split(range, wanted.part_ns, direction)?;
    let disk: Arc<dyn Disk> = RealDisk::shared();
    let header = if session.format == Format::Csv { output_csv::ENTRIES_HEADER } else { "" };
    let mut files = Files::new(wanted, &parts, disk, header);
    let todo: VecDeque<Part> = parts.iter().filter(|part| !files.is_there(part.index)).cloned().collect();
    if todo.len() < parts.len() {
        session.remark(format_args!("{} of {} parts are there", parts.len() - todo.len(), parts.len()))?;
    }
    let fetch = Fetch {
        client: session.client()?,
        query: query.to_owned(),
        direction,
        batch: usize::try_from(flags.batch).unwrap_or(usize::MAX),
        extras: RangeExtras { interval: flags.interval()?, wants_stats: false },
        todo: Arc::new(Mutex::new(todo)),
    };
    let (sender, mut said) = mpsc::channel(wanted.workers);
    // Dropped with this function, which ends the tasks.
    let mut tasks = JoinSet::new();
    for _ in 0..wanted.workers.min(parts.len()) {
        tasks.spawn(fetch.clone().work(sender.clone()));
    }
    drop(sender);
    // Files have a header each.
    let mut printer = Printer::with_all_labels(wanted.prefix.is_none());
    files.print_ready(session)?;
    while let Some(said) = said.recv().await {
        match said {
            Said::Page(index, entries, warnings) => {
                session.warn(&warnings)?;
                match files.open(index)? {
                    Some(file) => {
                        let mut text = Vec::new();
                        printer.write(&mut text, &entries, session.format, &session.look)?;
                        file.write_all(&text).map_err(|error| format!("cannot write a part: {error}"))?;
                    }
                    None => {
                        printer.write(session.out, &entries, session.format, &session.look)?;
                        session.out.flush()?;
                    }
                }
            }
            Said::Whole(index) => {
                files.finish(index)?;
                files.print_ready(session)?;
            }
            Said::Failed(stop) => return Err(stop),
        }
    }
    Ok(printer.printed() > 0 || files.found_bytes())
}

impl Fetch {
    /// Fetches parts until none is left or nobody listens.
    async fn work(self, said: mpsc::Sender<Said>) {
        loop {
            let part = self.todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(part) = part else { return };
            let end = match self.part(&part, &said).await {
                Ok(true) => Said::Whole(part.index),
                Ok(false) => return,
                Err(stop) => Said::Failed(stop),
            };
            if said.send(end).await.is_err() {
                return;
            }
        }
    }

    /// Fetches one part; false if nobody listens any more.
    async fn part(&self, part: &Part, said: &mpsc::Sender<Said>) -> Result<bool, Stop> {
        let mut pages = Pages::new(&self.query, part.range, self.direction, 0, self.batch);
        while let Some(call) = pages.next() {
            let asked = self.client.query_range_with(&call, self.extras).await;
            let (answer, _) = asked.map_err(|error| refused(error, &self.query))?;
            let QueryData::Streams(streams) = answer.data else {
                return Err(Stop::Trouble("the store answered a log query with samples".to_owned()));
            };
            let entries = pages.take(merge(streams, self.direction));
            if said.send(Said::Page(part.index, entries, answer.warnings)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Cuts a range into parts in the order in which they are printed. Errors: there are too many.
fn split(range: TimeRange, part_ns: i64, direction: Direction) -> Result<Vec<Part>, Stop> {
    let span_ns = range.end_ns.saturating_sub(range.start_ns);
    if span_ns / part_ns >= PARTS_MAX {
        return Err(Stop::Trouble(format!("more than {PARTS_MAX} parts; raise --parallel-duration")));
    }
    let mut ranges = Vec::new();
    let mut start_ns = range.start_ns;
    while start_ns < range.end_ns {
        let end_ns = start_ns.saturating_add(part_ns).min(range.end_ns);
        ranges.push(TimeRange { start_ns, end_ns });
        start_ns = end_ns;
    }
    if direction == Direction::Backward {
        ranges.reverse();
    }
    Ok(ranges.into_iter().enumerate().map(|(index, range)| Part { index, range }).collect())
}

/// The files of the parts, if there are any.
struct Files {
    disk: Arc<dyn Disk>,
    /// By the place of their parts; empty without files.
    paths: Vec<PathBuf>,
    /// Whether the file of a part is whole.
    whole: Vec<bool>,
    open: BTreeMap<usize, Box<dyn WriteFile>>,
    merges: bool,
    keeps: bool,
    /// What each file begins with, and what is printed once; may be empty.
    header: &'static str,
    /// How many have been printed.
    printed: usize,
    /// Bytes that were printed, without headers.
    bytes: u64,
}

impl Files {
    fn new(wanted: &Wanted, parts: &[Part], disk: Arc<dyn Disk>, header: &'static str) -> Self {
        let prefix = wanted.prefix.as_deref();
        let paths: Vec<PathBuf> =
            prefix.iter().flat_map(|prefix| parts.iter().map(|part| path_of(prefix, part.range))).collect();
        let is_whole = |path: &PathBuf| !wanted.overwrites && matches!(disk.metadata(path), Ok(Some(_)));
        let whole = paths.iter().map(is_whole).collect();
        let Wanted { merges, keeps, .. } = *wanted;
        Self { disk, paths, whole, open: BTreeMap::new(), merges, keeps, header, printed: 0, bytes: 0 }
    }

    fn is_there(&self, index: usize) -> bool {
        self.whole.get(index).copied().unwrap_or_default()
    }

    fn found_bytes(&self) -> bool {
        self.bytes > 0
    }

    /// Returns the file that a part is written to; none without files.
    fn open(&mut self, index: usize) -> Result<Option<&mut Box<dyn WriteFile>>, Stop> {
        let Some(path) = self.paths.get(index) else { return Ok(None) };
        if !self.open.contains_key(&index) {
            let file = self.disk.create_file(&unfinished(path)).and_then(|mut file| {
                file.write_all(self.header.as_bytes())?;
                Ok(file)
            });
            self.open.insert(index, file.map_err(|error| fault("write", path, &error))?);
        }
        Ok(self.open.get_mut(&index))
    }

    /// Gives the file of a whole part its name.
    fn finish(&mut self, index: usize) -> Result<(), Stop> {
        // Also of a part without entries, so that it is not asked for again.
        self.open(index)?;
        let (Some(path), Some(mut file)) = (self.paths.get(index), self.open.remove(&index)) else {
            return Ok(());
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        file.sync()
            .and_then(|()| self.disk.rename(&unfinished(path), path))
            .and_then(|()| self.disk.sync_dir(folder))
            .map_err(|error| fault("write", path, &error))?;
        if let Some(whole) = self.whole.get_mut(index) {
            *whole = true;
        }
        Ok(())
    }

    /// Returns where a file goes on behind its header: at its beginning, if it was written in a form that has none.
    fn behind_header(&self, file: &dyn ReadFile, path: &Path) -> Result<u64, Stop> {
        let mut begin = vec![0; self.header.len()];
        let mut filled = 0;
        while filled < begin.len() {
            let rest = begin.get_mut(filled..).unwrap_or_default();
            match file.read_at(rest, filled as u64).map_err(|error| fault("read", path, &error))? {
                0 => return Ok(0),
                read => filled += read,
            }
        }
        Ok(if begin == self.header.as_bytes() { filled as u64 } else { 0 })
    }

    /// Prints the files that are next in order and whole, if they are to be merged.
    fn print_ready(&mut self, session: &mut Session<'_>) -> Result<(), Stop> {
        while self.merges && self.is_there(self.printed) {
            let Some(path) = self.paths.get(self.printed) else { return Ok(()) };
            let file = self.disk.open_file(path).map_err(|error| fault("read", path, &error))?;
            let begun = self.behind_header(&*file, path)?;
            let (mut buffer, mut offset) = (vec![0; READ_BYTES], begun);
            loop {
                let read = file.read_at(&mut buffer, offset).map_err(|error| fault("read", path, &error))?;
                if read == 0 {
                    break;
                }
                if begun > 0 && self.bytes == 0 && offset == begun {
                    session.out.write_all(self.header.as_bytes())?;
                }
                session.out.write_all(buffer.get(..read).unwrap_or_default())?;
                offset += read as u64;
            }
            session.out.flush()?;
            self.bytes += offset - begun;
            if !self.keeps {
                self.disk.remove_file(path).map_err(|error| fault("remove", path, &error))?;
            }
            self.printed += 1;
        }
        Ok(())
    }
}

/// Names the file of a part, as Loki's client does: by its begin and end, UTC, in seconds.
fn path_of(prefix: &str, range: TimeRange) -> PathBuf {
    let text = |ns: i64| {
        let timestamp = Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
        timestamp.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S").to_string()
    };
    PathBuf::from(format!("{prefix}_{}_{}.part", text(range.start_ns), text(range.end_ns)))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn fault(what: &str, path: &Path, error: &std::io::Error) -> Stop {
    Stop::Trouble(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{NOW_NS, command, entries, serve};
    use crate::{FOUND, TROUBLE};

    const S: i64 = 1_000_000_000;

    #[test]
    fn parts_cover_the_range_and_do_not_overlap() {
        let range = TimeRange { start_ns: 5 * S, end_ns: 35 * S };
        let parts = split(range, 10 * S, Direction::Forward).unwrap();
        let spans: Vec<(i64, i64)> =
            parts.iter().map(|part| (part.range.start_ns / S, part.range.end_ns / S)).collect();
        assert_eq!(spans, [(5, 15), (15, 25), (25, 35)]);
        let back = split(TimeRange { end_ns: 31 * S, ..range }, 10 * S, Direction::Backward).unwrap();
        let spans: Vec<(i64, i64)> =
            back.iter().map(|part| (part.range.start_ns / S, part.range.end_ns / S)).collect();
        assert_eq!(spans, [(25, 31), (15, 25), (5, 15)]);
        assert!(split(TimeRange { start_ns: 0, end_ns: i64::MAX }, S, Direction::Forward).is_err());
    }

    #[test]
    fn parts_are_merged_in_order_and_fetched_once() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("q").display().to_string();
        let to = (NOW_NS / S).to_string();
        let from = (NOW_NS / S - 20).to_string();
        // The newer part is asked for first.
        let (addr, requests) = serve(vec![entries(&[(2, "new")]), entries(&[(12, "old")])]);
        let line = |more: &[&str]| {
            let fixed =
                [r#"{a="b"}"#, "--from", &from, "--to", &to, "--parallel-duration", "10s", "-o", "raw"];
            let place = ["--part-path-prefix", &prefix, "--addr", &addr];
            command(&[&fixed, more, &place].concat(), &[])
        };
        let done = line(&[]);
        assert_eq!((done.status, done.out.as_str()), (FOUND, ""), "{}", done.err);
        assert_eq!(requests.try_iter().count(), 2);
        let disk = RealDisk::shared();
        let mut names: Vec<String> =
            disk.list(folder.path()).unwrap().into_iter().map(|item| item.name).collect();
        names.sort();
        assert_eq!(
            names,
            ["q_20261121T025846_20261121T025856.part", "q_20261121T025856_20261121T025906.part"]
        );
        // What is there is not asked for again, and goes when it is printed.
        let done = line(&["--merge-parts", "--keep-parts"]);
        assert_eq!((done.status, done.out.as_str()), (FOUND, "new\nold\n"), "{}", done.err);
        assert_eq!(done.err, "2 of 2 parts are there\n");
        let done = line(&["--merge-parts", "--quiet"]);
        assert_eq!((done.out.as_str(), done.err.as_str()), ("new\nold\n", ""));
        assert!(disk.list(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn tables_have_a_header_in_each_file_and_one_when_merged() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("q").display().to_string();
        let line = |addr: &str, more: &[&str]| {
            let fixed =
                [r#"{a="b"}"#, "--since", "30s", "--parallel-duration", "10s", "-o", "csv", "--addr", addr];
            command(&[&fixed[..], more].concat(), &[])
        };
        let answers = || vec![entries(&[]), entries(&[(12, "new")]), entries(&[(22, "old")])];
        let row = |time: &str, text: &str| {
            format!("2026-11-21T02:58:{time}.000Z,\"{{container=\"\"web\"\"}}\",{text}\n")
        };
        let header = output_csv::ENTRIES_HEADER;
        let (addr, _requests) = serve(answers());
        assert_eq!(line(&addr, &["--part-path-prefix", &prefix]).status, FOUND);
        let disk = RealDisk::shared();
        let mut files: Vec<String> =
            disk.list(folder.path()).unwrap().into_iter().map(|item| item.name).collect();
        files.sort();
        let texts: Vec<String> = files
            .iter()
            .map(|name| String::from_utf8(disk.read(&folder.path().join(name)).unwrap()).unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                format!("{header}{}", row("44", "old")),
                format!("{header}{}", row("54", "new")),
                header.to_owned()
            ]
        );
        let done = line(&addr, &["--part-path-prefix", &prefix, "--merge-parts", "-q"]);
        let whole = format!("{header}{}{}", row("54", "new"), row("44", "old"));
        assert_eq!((done.status, &*done.out), (FOUND, &*whole), "{}", done.err);
        let (addr, _requests) = serve(answers());
        let done = line(&addr, &["--parallel-max-workers", "2"]);
        assert_eq!(done.out.lines().filter(|line| format!("{line}\n") == header).count(), 1, "{}", done.out);
        assert_eq!(done.out.lines().count(), 3);
    }

    #[test]
    fn a_part_that_fails_leaves_no_file_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("q").display().to_string();
        let (addr, _requests) = serve(vec![entries(&[(2, "new")]), "400 no".to_owned()]);
        let line =
            [r#"{a="b"}"#, "--since", "20s", "--parallel-duration", "10s", "-o", "raw", "--merge-parts"];
        let done = command(&[&line[..], &["--part-path-prefix", &prefix, "--addr", &addr]].concat(), &[]);
        assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (TROUBLE, "new\n", "logq: no\n"));
        let left = RealDisk::shared().list(folder.path()).unwrap();
        assert!(left.iter().all(|item| item.name.ends_with(".tmp")), "{left:?}");
    }

    #[test]
    fn without_files_parts_are_printed_as_they_come() {
        let (addr, _requests) = serve(vec![entries(&[(2, "x")]), entries(&[(12, "x")])]);
        let line = [r#"{a="b"}"#, "--since", "20s", "--parallel-duration", "10s", "-o", "raw"];
        let done = command(&[&line[..], &["--parallel-max-workers", "4", "--addr", &addr]].concat(), &[]);
        assert_eq!((done.status, done.out.as_str()), (FOUND, "x\nx\n"), "{}", done.err);
    }

    #[test]
    fn flags_that_make_no_sense_together_are_refused() {
        let fault = |line: &[&str]| command(&[&["--addr", "http://127.0.0.1:1"], line].concat(), &[]).err;
        assert!(fault(&[r#"{a="b"}"#, "--merge-parts"]).contains("--part-path-prefix"));
        let metric = [r#"rate({a="b"}[1m])"#, "--parallel-max-workers", "2"];
        assert!(fault(&metric).contains("log queries"));
        let short = [r#"{a="b"}"#, "--parallel-max-workers", "2", "--parallel-duration", "1ms"];
        assert!(fault(&short).contains("a second or more"));
    }
}
