//! Files that match patterns, read by one thread in turns of 64 KiB each.
//!
//! Files are looked at once a second, four times while lines come, and searched for every ten seconds:
//! cheap enough for a thousand files, the same on every file system, and a line waits a second at most. Where more match,
//! those that were written to longest ago are closed and looked at with each search.
//! A renamed file is read to its end before its successor of the same name, and so are those that had the name in
//! between and were not seen with it; it stays open a while, since its writer may hold it still.

mod resting;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logyard_model::LabelSet;
use logyard_sys::{Clock, Disk, FileMeta, ReadFile};
use tokio::sync::watch;

use self::resting::{OPEN_MAX, Resting};
use crate::batch::Piece;
use crate::file_form::FileForm;
use crate::file_jobs::{FileJob, is_compressed};
use crate::file_lists::TargetLists;
use crate::file_target::{
    FileFate, FileIdentity, FileTarget, FileTurn, is_binary, is_same_content, new_position,
};
use crate::metrics::Metrics;
use crate::pieces::Pieces;
use crate::position::{FilePosition, Position};
use crate::received::Closed;
use crate::report::{Board, TargetKind, TargetState};
use crate::spool_record::StoredPosition;
use crate::spool_shared::{SharedSpool, stopped_within};
use crate::staging::{StageParts, Staging};

/// Prefix of the keys of files' positions.
const TARGET_PREFIX: &str = "file:";
const POLL_QUIET: Duration = Duration::from_secs(1);
const POLL_ACTIVE: Duration = Duration::from_millis(250);
const SEARCH_INTERVAL_NS: u64 = 10_000_000_000;
/// A renamed file is closed when nothing came for this long.
const ROTATE_WAIT_NS: u64 = 5_000_000_000;

/// What the source needs.
#[derive(Debug)]
pub(crate) struct FileSource {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    pub(crate) spool: SharedSpool,
    pub(crate) pieces: Pieces,
    /// What is read. Changed, files of jobs that stay are left as they are.
    pub(crate) jobs: watch::Receiver<Vec<Arc<FileJob>>>,
    pub(crate) staging: StageParts,
}

#[derive(Debug)]
struct Live {
    source: FileSource,
    /// What the settings name.
    given: Vec<Arc<FileJob>>,
    lists: TargetLists,
    /// Rows of lists that cannot be used.
    list_rows: HashSet<String>,
    /// What is read, with what the lists name.
    jobs: Vec<Arc<FileJob>>,
    /// Jobs whose files are to be looked for that were renamed while nobody read them.
    fresh_jobs: HashSet<usize>,
    /// Files that have their name, by path.
    named: BTreeMap<String, FileTarget>,
    /// Files that were read and are closed, by path.
    resting: BTreeMap<String, Resting>,
    /// A file found no room among those held open.
    is_crowded: bool,
    /// Files renamed or removed, with the time of their last line.
    leaving: Vec<(FileTarget, u64)>,
    /// How far each file was read that was seen by this agent or one before it.
    known: HashMap<FileIdentity, FilePosition>,
    /// Files left out for good, told of once, with the name under which each was found.
    refused: HashMap<FileIdentity, PathBuf>,
    /// Jobs of which it was told that they match too much.
    told_full: HashSet<usize>,
    searched_at_ns: Option<u64>,
}

/// Why a file that matches is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    NoFile,
    Binary,
    Rules,
}

impl LeftOut {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoFile => "it is a pipe, socket or device; add it to agent.files.exclude",
            Self::Binary => "it is not text; add it to agent.files.exclude",
            Self::Rules => "agent.files.relabel, or its label __host__, leaves it out",
        }
    }
}

/// Runs until the agent stops. Files are read on a blocking thread, one round at a time.
pub(crate) async fn run(source: FileSource, mut stop: watch::Receiver<bool>) {
    let mut jobs = source.jobs.clone();
    let mut live = Live::new(source);
    loop {
        // Before the round, which takes what is there.
        jobs.mark_unchanged();
        let stop_seen = stop.clone();
        let round = move || {
            let done = live.round(&stop_seen);
            (live, done)
        };
        let Ok((same, Ok(is_active))) = tokio::task::spawn_blocking(round).await else {
            return;
        };
        live = same;
        let pause = if is_active { POLL_ACTIVE } else { POLL_QUIET };
        tokio::select! {
            is_stopped = stopped_within(&mut stop, pause) => if is_stopped { return },
            Ok(()) = jobs.changed() => {}
        }
    }
}

impl Live {
    fn new(source: FileSource) -> Self {
        let file_position = |stored: StoredPosition| match stored.position {
            Position::File(position) => Some(((position.device, position.inode), position)),
            Position::Container(_) | Position::Journal(_) => None,
        };
        let known = source.spool.positions().into_values().filter_map(file_position).collect();
        let mut source = source;
        let given = source.jobs.borrow_and_update().clone();
        let mut lists = TargetLists::default();
        lists.look(&given, &*source.disk, source.clock.monotonic_ns());
        let jobs = lists.expand(&given, &[]);
        let mut live = Self {
            source,
            given,
            lists,
            list_rows: HashSet::new(),
            fresh_jobs: (0..jobs.len()).collect(),
            jobs,
            named: BTreeMap::new(),
            resting: BTreeMap::new(),
            is_crowded: false,
            leaving: Vec::new(),
            known,
            refused: HashMap::new(),
            told_full: HashSet::new(),
            searched_at_ns: None,
        };
        live.show_lists();
        live
    }

    /// Looks at all files once. Returns whether lines came.
    fn round(&mut self, stop: &watch::Receiver<bool>) -> Result<bool, Closed> {
        let now = self.source.clock.monotonic_ns();
        let is_given_new = self.has_new_jobs();
        if is_given_new {
            self.given = self.source.jobs.borrow_and_update().clone();
            self.lists.look_soon();
        }
        if self.lists.look(&self.given, &*self.source.disk, now) || is_given_new {
            self.take_jobs();
            self.show_lists();
        }
        // Files that found no room are looked for again as soon as there is some.
        let has_room = std::mem::take(&mut self.is_crowded) && self.make_room();
        let is_due =
            has_room || self.searched_at_ns.is_none_or(|at| now.saturating_sub(at) >= SEARCH_INTERVAL_NS);
        if self.searched_at_ns.is_none() {
            let fresh = std::mem::take(&mut self.fresh_jobs);
            self.find_renamed(&fresh);
        }
        if is_due {
            self.searched_at_ns = Some(now);
            self.search();
        }
        let mut is_active = false;
        let mut behind: Vec<String> = self.named.keys().cloned().collect();
        // A turn for each file with more to read, again and again: none waits for another's end, but for those that
        // had its name before.
        loop {
            let busy = self.read_leaving(stop)?;
            let mut still_behind = Vec::new();
            let mut is_unpacking = false;
            for path in behind {
                if *stop.borrow() {
                    return Err(Closed);
                }
                let is_packed = self.named.get(&path).is_some_and(FileTarget::is_unpacking);
                // Packed files are read one after the other: each takes memory while it is unpacked.
                if busy.contains(&path) || is_packed && is_unpacking {
                    still_behind.push(path);
                    continue;
                }
                is_unpacking |= is_packed;
                if self.read_named(&path)? {
                    is_active = true;
                    still_behind.push(path);
                }
            }
            behind = still_behind;
            is_active |= !busy.is_empty();
            if (behind.is_empty() && busy.is_empty()) || self.has_new_jobs() {
                return Ok(is_active || self.is_crowded);
            }
        }
    }

    /// Whether there are settings that are not in force yet. No sender means that there will be none.
    fn has_new_jobs(&self) -> bool {
        self.source.jobs.has_changed().unwrap_or(false)
    }

    /// Shows lists that cannot be used.
    fn show_lists(&mut self) {
        let board = &self.source.board;
        for key in std::mem::take(&mut self.list_rows) {
            board.remove_target(&key);
        }
        for row in self.lists.faults() {
            let key = format!("{TARGET_PREFIX}list:{}", row.name);
            board.name_target(row.kind, &key, &row.name, row.labels);
            board.set_state(&key, row.state, &row.detail);
            self.list_rows.insert(key);
        }
    }

    /// Puts new settings and lists in force. Files whose job stays are left alone; others go on under the first that matches, from
    /// where they were handed over, or are left.
    fn take_jobs(&mut self) {
        let before = std::mem::take(&mut self.jobs);
        self.jobs = self.lists.expand(&self.given, &before);
        let is_new = |job: &Arc<FileJob>| !before.iter().any(|was| Arc::ptr_eq(was, job));
        self.fresh_jobs = (0..).zip(&self.jobs).filter(|(_, job)| is_new(job)).map(|(job, _)| job).collect();
        for job in 0..before.len() {
            self.source.board.remove_target(&pattern_key(job));
        }
        // Rules, and what is no text, may be others now.
        for identity in std::mem::take(&mut self.refused).into_keys() {
            self.source.board.remove_target(&key_of(identity));
        }
        self.told_full.clear();
        self.searched_at_ns = None;
        // Opened again where they were left, if they still match.
        for file in std::mem::take(&mut self.resting).into_values() {
            self.source.board.remove_target(&key_of((file.position.device, file.position.inode)));
        }
        for (path, target) in std::mem::take(&mut self.named) {
            let identity = target.identity();
            match self.under_new_jobs(target, &before) {
                Some(target) => {
                    self.show(&target);
                    self.named.insert(path, target);
                }
                None => {
                    self.source.metrics.targets.dec();
                    self.source.board.remove_target(&key_of(identity));
                }
            }
        }
        for (target, quiet_since_ns) in std::mem::take(&mut self.leaving) {
            let target = self.under_new_jobs(target, &before);
            self.leaving.extend(target.map(|target| (target, quiet_since_ns)));
        }
    }

    fn under_new_jobs(&self, mut target: FileTarget, before: &[Arc<FileJob>]) -> Option<FileTarget> {
        let was = before.get(target.job)?;
        if let Some(same) = self.jobs.iter().position(|job| Arc::ptr_eq(job, was)) {
            target.job = same;
            return Some(target);
        }
        let job = self.job_of(Path::new(&target.position.path))?;
        let labels = self.labels(job, &target.position.path)?;
        let form = self.form(job, &target.file).ok().filter(|form| target.has_offsets_of(form))?;
        let made = self.jobs.get(job)?;
        Some(target.under((form, job), labels, made.line_bytes_max(), self.staging(made)))
    }

    /// Returns the first job that a path belongs to.
    fn job_of(&self, path: &Path) -> Option<usize> {
        self.jobs.iter().position(|job| job.matches(path))
    }

    /// Gives one file its turn. Returns whether it may have more.
    fn read_named(&mut self, path: &str) -> Result<bool, Closed> {
        let Some(target) = self.named.get_mut(path) else {
            return Ok(false);
        };
        if self.source.clock.monotonic_ns() < target.paused_until_ns {
            return Ok(false);
        }
        let read = target.fate(&*self.source.disk).and_then(|fate| {
            if fate == FileFate::Truncated {
                self.source.metrics.gap("truncated");
                target.restart(self.source.clock.now_ns());
            }
            let turn = target.turn(self.source.clock.now_ns())?;
            Ok((fate, turn))
        });
        match read {
            Ok((fate, turn)) => {
                let has_lines = turn.lines > 0;
                send(&self.source, &mut self.known, target, turn)?;
                if fate == FileFate::Renamed && !has_lines {
                    self.rename_away(path);
                    return Ok(self.named.contains_key(path));
                }
                Ok(has_lines)
            }
            Err(error) => {
                self.refuse(path, &error.to_string());
                Ok(false)
            }
        }
    }

    /// A file read to its end lost its name: it may still be written to, and its successor is read now.
    fn rename_away(&mut self, path: &str) {
        let job = self.job_of(Path::new(path));
        if let Some(target) = self.named.remove(path) {
            self.source.metrics.targets.dec();
            self.source.board.remove_target(&key_of(target.identity()));
            let meta = target.file.meta();
            self.leaving.push((target, self.source.clock.monotonic_ns()));
            if let (Ok(meta), Some(job)) = (meta, job) {
                self.take_between(Path::new(path), job, &meta);
            }
        }
        if let Some(job) = job {
            self.open(PathBuf::from(path), job);
        }
    }

    /// Gives each file without a name its turn; returns the names of those with more to read, whose successors wait.
    fn read_leaving(&mut self, stop: &watch::Receiver<bool>) -> Result<HashSet<String>, Closed> {
        let mut busy = HashSet::new();
        for (mut target, mut quiet_since_ns) in std::mem::take(&mut self.leaving) {
            let now_ns = self.source.clock.now_ns();
            let is_paused = self.source.clock.monotonic_ns() < target.paused_until_ns;
            if is_paused || busy.contains(&target.position.path) {
                // Its time to be left begins when its turn has come.
                self.leaving.push((target, self.source.clock.monotonic_ns()));
                continue;
            }
            let turn = target.turn(now_ns).unwrap_or_default();
            if turn.lines > 0 {
                busy.insert(target.position.path.clone());
                quiet_since_ns = self.source.clock.monotonic_ns();
            }
            send(&self.source, &mut self.known, &mut target, turn)?;
            let quiet_ns = self.source.clock.monotonic_ns().saturating_sub(quiet_since_ns);
            if quiet_ns < ROTATE_WAIT_NS {
                self.leaving.push((target, quiet_since_ns));
                continue;
            }
            let turn = target.last_line(now_ns).unwrap_or_default();
            send(&self.source, &mut self.known, &mut target, turn)?;
            if *stop.borrow() {
                return Err(Closed);
            }
        }
        Ok(busy)
    }

    /// Searches for new files.
    fn search(&mut self) {
        self.forget_refused();
        self.wake();
        for job in 0..self.jobs.len() {
            let (found, is_cut) = match self.jobs.get(job) {
                Some(job) => job.find(&*self.source.disk),
                None => continue,
            };
            self.show_match(job, !found.is_empty());
            if is_cut && self.told_full.insert(job) {
                tracing::warn!("more files match agent.files than are read; make the patterns narrower");
            }
            for path in found {
                let text = path.to_string_lossy();
                if self.named.contains_key(&*text) || self.resting.contains_key(&*text) {
                    continue;
                }
                if self.named.len() >= OPEN_MAX {
                    self.is_crowded = true;
                    break;
                }
                self.open(path, job);
            }
        }
        let resting = self.resting.values().map(|file| (file.position.device, file.position.inode));
        let present = self.open_targets().map(FileTarget::identity).chain(resting).map(key_of).collect();
        self.source.spool.set_present(TARGET_PREFIX, &present);
    }

    /// Opens a file where it was left, or at its start.
    fn open(&mut self, path: PathBuf, job: usize) {
        let text = path.to_string_lossy().into_owned();
        match self.try_open(&path, &text, job) {
            Ok(Some(target)) => {
                self.show(&target);
                self.source.metrics.targets.inc();
                self.named.insert(text, target);
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.refuse(&text, &error.to_string()),
        }
    }

    fn try_open(&mut self, path: &Path, text: &str, job: usize) -> io::Result<Option<FileTarget>> {
        let Some(meta) = self.source.disk.metadata(path)? else {
            return Ok(None);
        };
        let identity = (meta.device, meta.inode);
        let is_open = self.open_targets().any(|target| target.identity() == identity);
        if meta.is_dir
            || is_open
            || self.refused.contains_key(&identity)
            || meta.bytes == 0 && self.is_special(path)
        {
            return Ok(None);
        }
        // Asked before opening: to open a pipe is to wait for its writer, for ever if need be.
        if !meta.is_file {
            self.leave_out(identity, path, LeftOut::NoFile);
            return Ok(None);
        }
        let file = self.source.disk.open_file(path)?;
        let form = self.form(job, &file)?;
        if is_binary(&file, &form)? {
            self.leave_out(identity, path, LeftOut::Binary);
            return Ok(None);
        }
        let known = match self.known.get(&identity) {
            Some(position)
                if (form.is_packed() || position.offset <= meta.bytes)
                    && is_same_content(&*file, position)? =>
            {
                Some(position.clone())
            }
            _ => None,
        };
        let mut position = match known {
            Some(position) => position,
            // Somebody asked for what is packed, however old it is; what was read before it was packed is not read again.
            None if form.is_packed() => {
                let offset = self.read_before_packing(path, &*form.text(&file))?;
                FilePosition { offset, ..new_position(text, &meta, &*file)? }
            }
            None => {
                let mut position = new_position(text, &meta, &*file)?;
                let age_ns = self.source.clock.now_ns().saturating_sub(meta.modified_ns);
                let unchanged_ns_max = self.jobs.get(job).map_or(i64::MAX, |job| job.unchanged_ns_max);
                if age_ns > unchanged_ns_max {
                    position.offset = meta.bytes;
                }
                position
            }
        };
        // Its name now decides how it is watched; the stream keeps the name of the first sight.
        let Some(labels) = self.labels(job, &position.path) else {
            self.leave_out(identity, path, LeftOut::Rules);
            return Ok(None);
        };
        position.path = text.to_owned();
        self.target(job, file, position, labels)
    }

    /// Returns how a file of a job is read.
    fn form(&self, job: usize, file: &Arc<dyn ReadFile>) -> io::Result<FileForm> {
        match self.jobs.get(job) {
            Some(job) => FileForm::of(file, job.unpacks, job.encoding),
            None => Ok(FileForm::plain()),
        }
    }

    /// Returns how far a packed file was read when it was a plain one beside its present name: rotation packs what is
    /// read, and gives it another number on the disk.
    fn read_before_packing(&self, path: &Path, unpacked: &dyn ReadFile) -> io::Result<u64> {
        let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name_of(path) else { return Ok(0) };
        for position in self.known.values().filter(|position| position.fingerprint_bytes > 0) {
            let was = Path::new(&position.path);
            let is_beside = was.parent() == path.parent() && !is_compressed(&position.path);
            if is_beside
                && name_of(was).is_some_and(|was| has_stem_of(&name, &was))
                && is_same_content(unpacked, position)?
            {
                return Ok(position.offset);
            }
        }
        Ok(0)
    }

    /// Notes that a file is not read, and why.
    fn leave_out(&mut self, identity: FileIdentity, path: &Path, why: LeftOut) {
        self.refused.insert(identity, path.to_owned());
        let (board, key) = (&self.source.board, key_of(identity));
        board.name_target(TargetKind::File, &key, &path.to_string_lossy(), LabelSet::default());
        board.set_state(&key, TargetState::Excluded, why.reason());
        if why != LeftOut::Rules {
            let reason = why.reason();
            tracing::warn!(path = %path.display(), reason, "a file that matches agent.files is left out");
        }
    }

    /// Shows patterns that match nothing, since that is seldom meant.
    fn show_match(&self, number: usize, has_match: bool) {
        let Some(job) = self.jobs.get(number) else { return };
        let (board, key) = (&self.source.board, pattern_key(number));
        if has_match {
            return board.remove_target(&key);
        }
        let row = job.without_match();
        board.name_target(row.kind, &key, &row.name, row.labels);
        board.set_state(&key, row.state, &row.detail);
    }

    /// Forgets refused files that are gone: the disk gives their numbers to others.
    fn forget_refused(&mut self) {
        let FileSource { disk, board, .. } = &self.source;
        self.refused.retain(|identity, path| {
            let named = disk.metadata(path).ok().flatten();
            let is_there = named.is_some_and(|meta| (meta.device, meta.inode) == *identity);
            if !is_there {
                board.remove_target(&key_of(*identity));
            }
            is_there
        });
    }

    /// Devices and pipes under /proc and /dev have no length and no end.
    fn is_special(&self, path: &Path) -> bool {
        path.starts_with("/proc") || path.starts_with("/sys") || path.starts_with("/dev")
    }

    /// Takes up files of some jobs that were renamed while nobody read them: the rest of each comes before its successor.
    fn find_renamed(&mut self, jobs: &HashSet<usize>) {
        let known: Vec<FilePosition> = self.known.values().cloned().collect();
        for position in known {
            let path = PathBuf::from(&position.path);
            let Some(job) = self.job_of(&path).filter(|job| jobs.contains(job)) else { continue };
            let identity = (position.device, position.inode);
            if self.open_targets().any(|target| target.identity() == identity) {
                continue;
            }
            let named = self.source.disk.metadata(&path).ok().flatten();
            if is_compressed(&position.path) {
                continue;
            }
            let has_its_name = named.is_some_and(|meta| (meta.device, meta.inode) == identity);
            if has_its_name {
                continue;
            }
            let has_lines = named_before(&position);
            if !self.take_renamed(job, position) && has_lines {
                self.source.metrics.gap("deleted");
            }
        }
    }

    /// Takes up a file that lost its name unseen, and those that had the name after it. Returns whether it is found.
    fn take_renamed(&mut self, job: usize, position: FilePosition) -> bool {
        let path = PathBuf::from(&position.path);
        let Some(file) = self.sibling(&path, &position) else { return false };
        let Some(labels) = self.labels(job, &position.path) else { return true };
        let (now, meta) = (self.source.clock.monotonic_ns(), file.meta());
        let target = self.target(job, file, position, labels);
        self.leaving.extend(target.ok().flatten().map(|target| (target, now)));
        if let Ok(meta) = meta {
            self.take_between(&path, job, &meta);
        }
        true
    }

    /// Takes up files that had a name after `before` and lost it unseen: rotations came faster than looks, or while no
    /// agent ran. They are read one after the other, and whoever has the name now comes last.
    fn take_between(&mut self, path: &Path, job: usize, before: &FileMeta) {
        let named = self.source.disk.metadata(path).ok().flatten();
        let named = named.map(|meta| (meta.device, meta.inode));
        let mut between: Vec<(i64, PathBuf, FileMeta)> = Vec::new();
        for sibling in self.siblings(path, is_rotation_of) {
            let Ok(Some(meta)) = self.source.disk.metadata(&sibling) else { continue };
            let identity = (meta.device, meta.inode);
            let is_new = Some(identity) != named
                && identity != (before.device, before.inode)
                && !self.was_read(&sibling, &meta)
                && !self.refused.contains_key(&identity)
                && !self.open_targets().any(|target| target.identity() == identity);
            if meta.is_file && is_new && meta.modified_ns >= before.modified_ns {
                between.push((meta.modified_ns, sibling, meta));
            }
        }
        between.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let Some(labels) = self.labels(job, &path.to_string_lossy()) else { return };
        for (_, sibling, meta) in between {
            let opened = self.source.disk.open_file(&sibling).and_then(|file| {
                let position = new_position(&path.to_string_lossy(), &meta, &*file)?;
                let form = self.form(job, &file)?;
                Ok((!is_binary(&file, &form)?).then_some((file, position)))
            });
            match opened {
                Ok(Some((file, position))) => {
                    let now = self.source.clock.monotonic_ns();
                    let target = self.target(job, file, position, Arc::clone(&labels));
                    self.leaving.extend(target.ok().flatten().map(|target| (target, now)));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(path = %sibling.display(), %error, "cannot read a rotated file");
                }
            }
        }
    }

    /// Whether a file is one that was read: the disk gives the number of a removed one to another.
    fn was_read(&self, path: &Path, meta: &FileMeta) -> bool {
        let Some(position) = self.known.get(&(meta.device, meta.inode)) else { return false };
        if position.offset > meta.bytes {
            return false;
        }
        // What cannot be read now is not taken up either.
        self.source.disk.open_file(path).and_then(|file| is_same_content(&*file, position)).unwrap_or(true)
    }

    /// Finds a renamed file beside its old name.
    fn sibling(&self, path: &Path, position: &FilePosition) -> Option<Arc<dyn ReadFile>> {
        self.siblings(path, has_stem_of).into_iter().find_map(|beside| {
            // Asked before opening: to open a pipe is to wait for its writer.
            let named = self.source.disk.metadata(&beside).ok().flatten()?;
            let file = named.is_file.then(|| self.source.disk.open_file(&beside).ok()).flatten()?;
            let meta = file.meta().ok()?;
            let is_it = (meta.device, meta.inode) == (position.device, position.inode)
                && meta.bytes >= position.offset
                && is_same_content(&*file, position).unwrap_or(false);
            is_it.then_some(file)
        })
    }

    /// Lists what lies beside a file and is like it by name.
    fn siblings(&self, path: &Path, is_like: fn(&str, &str) -> bool) -> Vec<PathBuf> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let name = name.to_string_lossy();
        let items = self.source.disk.list(dir).unwrap_or_default().into_iter();
        items
            .filter(|item| !item.is_dir && is_like(&item.name, &name))
            .map(|item| dir.join(item.name))
            .collect()
    }

    fn open_targets(&self) -> impl Iterator<Item = &FileTarget> {
        self.named.values().chain(self.leaving.iter().map(|(target, _)| target))
    }

    fn target(
        &self,
        job: usize,
        file: Arc<dyn ReadFile>,
        position: FilePosition,
        labels: Arc<LabelSet>,
    ) -> io::Result<Option<FileTarget>> {
        let form = self.form(job, &file)?;
        let Some(made) = self.jobs.get(job) else { return Ok(None) };
        let staging = self.staging(made);
        let mut target = FileTarget::new((file, form), position, labels, made.line_bytes_max(), staging);
        target.job = job;
        Ok(Some(target))
    }

    fn staging(&self, job: &FileJob) -> Staging<u64> {
        let parts = StageParts { line_bytes_max: job.line_bytes_max(), ..self.source.staging.clone() };
        Staging::new(&job.pipeline, parts)
    }

    /// Returns the labels of a file; `None`: the rules leave it out.
    fn labels(&self, job: usize, path: &str) -> Option<Arc<LabelSet>> {
        self.jobs.get(job)?.labels_of(path).map(Arc::new)
    }

    fn refuse(&mut self, path: &str, reason: &str) {
        if let Some(target) = self.named.remove(path) {
            self.source.metrics.targets.dec();
            self.source.board.remove_target(&key_of(target.identity()));
        }
        tracing::debug!(path, reason, "cannot read a file; trying again at the next search");
    }

    fn show(&self, target: &FileTarget) {
        let key = key_of(target.identity());
        let labels = LabelSet::clone(&target.labels);
        self.source.board.name_target(TargetKind::File, &key, &target.position.path, labels);
        self.source.board.set_state(&key, TargetState::Follow, "");
    }
}

/// Whether the position belongs to a file of which something was read.
fn named_before(position: &FilePosition) -> bool {
    position.offset > 0
}

/// Whether two names begin alike, up to the first dot.
fn has_stem_of(name: &str, of: &str) -> bool {
    name.starts_with(of.split('.').next().unwrap_or_default())
}

/// Whether a name is one that rotation gives to a file: `app.log.1`, `app.log.old`, `app.log-20260102`,
/// `app-20260102.log`. Others beside it, such as `app.log.pos`, are no part of it, and what is compressed is no text.
fn is_rotation_of(name: &str, of: &str) -> bool {
    let has_mark = |rest: &str| rest == ".old" || rest.contains(|c: char| c.is_ascii_digit());
    let added = |rest: &str| rest.starts_with(['.', '-', '_']) && has_mark(rest);
    let is_behind = name.strip_prefix(of).is_some_and(added);
    let is_within = of.rsplit_once('.').is_some_and(|(stem, ending)| {
        let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'));
        rest.is_some_and(added)
    });
    (is_behind || is_within) && !is_compressed(name)
}

/// Key of the row that tells of patterns that match nothing.
fn pattern_key(job: usize) -> String {
    format!("{TARGET_PREFIX}job:{job}")
}

pub(crate) fn key_of((device, inode): FileIdentity) -> String {
    format!("{TARGET_PREFIX}{device}:{inode}")
}

/// Hands over a turn, waiting for room.
fn send(
    source: &FileSource,
    known: &mut HashMap<FileIdentity, FilePosition>,
    target: &mut FileTarget,
    turn: FileTurn,
) -> Result<(), Closed> {
    source.metrics.lines_cut.inc_by(turn.lines_cut);
    source.metrics.lines_undecodable.inc_by(turn.lines_undecodable);
    source.metrics.clock_steps.inc_by(turn.clock_steps);
    if !turn.pause.is_zero() {
        let pause_ns = u64::try_from(turn.pause.as_nanos()).unwrap_or(u64::MAX);
        target.paused_until_ns = source.clock.monotonic_ns().saturating_add(pause_ns);
    }
    let Some(position) = turn.position else {
        return Ok(());
    };
    known.insert(target.identity(), position.clone());
    let piece = Piece::of_target(key_of(target.identity()).into(), turn.chunks, Position::File(position));
    source.pieces.blocking_send(piece)
}

#[cfg(test)]
mod tests;
