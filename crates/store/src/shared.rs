//! What the threads of the store share: the view that readers take, and how it changes.
//!
//! A reader takes the view once (segments, sealed head, active head) and works on it: every acknowledged
//! entry is in exactly one of the three, since each change of the view is one step under its lock.

use crate::arrivals::Followers;
use crate::catalog::Catalog;
use crate::catalog_record::{DeletedRecord, Edit, LostRecord, SegmentRecord};
use crate::deletes::Deletes;
use crate::epochs::Epochs;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::head::Head;
use crate::maintenance::Maintenance;
use crate::metrics::Metrics;
use crate::policy::Periods;
use crate::queue::{FlushNews, Queue};
use crate::segment::{Segment, SegmentReads};
use crate::settings::StoreSettings;
use crate::space::Space;
use logyard_sys::{Clock, Disk, Random};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What readers see.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// In order of arrival.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    /// A head that is being written as segments, and never changes again.
    pub(crate) sealed: Option<Arc<Head>>,
    pub(crate) active: Arc<Head>,
}

/// What the store is able to do.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Replaying the WAL: answers would be incomplete.
    Recovering,
    Ready,
    /// A sync failed: answers are complete, nothing is accepted until restart.
    ReadOnly(Error),
    /// The WAL could not be replayed, or a thread of the store panicked: answers may be incomplete until restart.
    Failed(Error),
}

/// Everything the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    pub(crate) folder: Folder,
    pub(crate) settings: StoreSettings,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Queue,
    pub(crate) reads: Arc<SegmentReads>,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) view: RwLock<View>,
    pub(crate) followers: Arc<Followers>,
    pub(crate) phase: RwLock<Phase>,
    /// Turns true when the WAL is replayed, or cannot be.
    pub(crate) is_recovered: watch::Sender<bool>,
    pub(crate) lost: RwLock<Vec<LostRecord>>,
    /// Segments that others have replaced, whose files are there until their last reader leaves.
    pub(crate) removed: Mutex<Vec<Arc<Segment>>>,
    pub(crate) maintenance: Maintenance,
    /// Held while a snapshot is made: one at a time.
    pub(crate) snapshots: Mutex<()>,
    /// Held while segments of another store are taken in: one at a time.
    pub(crate) imports: Mutex<()>,
    pub(crate) space: Space,
    pub(crate) periods: Periods,
    pub(crate) epochs: Epochs,
    pub(crate) deletes: Arc<Deletes>,
    pub(crate) next_segment_key: AtomicU64,
    pub(crate) recovered_bytes: AtomicU64,
    pub(crate) recovery_bytes: AtomicU64,
}

impl Shared {
    /// Returns the view as of now.
    pub(crate) fn view(&self) -> View {
        self.view.read().clone()
    }

    /// Returns why nothing is accepted, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &*self.phase.read() {
            Phase::ReadOnly(error) | Phase::Failed(error) => Some(error.clone()),
            Phase::Recovering | Phase::Ready => None,
        }
    }

    /// Returns a name for a new segment.
    pub(crate) fn new_ulid(&self) -> ulid::Ulid {
        let millis = u64::try_from(self.clock.now_ns() / 1_000_000).unwrap_or(0);
        let random = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        ulid::Ulid::from_parts(millis, random)
    }

    /// Makes a handle of a live segment.
    pub(crate) fn open_segment(&self, record: SegmentRecord) -> Result<Arc<Segment>> {
        let path = record.path(&self.folder)?;
        let key = self.next_segment_key.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Segment::new(key, record, path)))
    }

    /// Puts an empty head in place of the active one, which becomes the sealed one.
    pub(crate) fn seal(&self) -> Arc<Head> {
        let mut view = self.view.write();
        assert!(view.sealed.is_none(), "one head is sealed at a time");
        let fresh = Arc::new(Head::new(view.active.order() + 1));
        let sealed = std::mem::replace(&mut view.active, fresh);
        view.sealed = Some(Arc::clone(&sealed));
        sealed
    }

    /// Returns the first of `count` places in order of arrival, behind all segments and before the active head, which
    /// nothing else has.
    pub(crate) fn take_places(&self, count: u64) -> u64 {
        // Under the lock by which heads are sealed: a sealed one has its place.
        self.view.write().active.give_places(count)
    }

    /// Makes segments live whose files are durable: one catalog edit, then one step for readers. A lost segment of the
    /// same name is lost no more.
    ///
    /// Errors: `Kind::Unavailable` if one of them is live already, or the edit fails; nothing has changed then, except
    /// that after a failed sync the edit may be found at the next start.
    pub(crate) fn add_segments(&self, add: Vec<SegmentRecord>) -> Result<()> {
        let mut catalog = self.catalog.lock();
        let names: HashSet<&str> = add.iter().map(|record| &*record.ulid).collect();
        let state = catalog.state();
        if let Some(known) = state.segments.iter().find(|record| names.contains(&*record.ulid)) {
            return Err(Error::unavailable(format!("cannot add segment {}: it is live already", known.ulid)));
        }
        let fresh: Vec<Arc<Segment>> =
            add.iter().map(|record| self.open_segment(record.clone())).collect::<Result<_>>()?;
        let is_lost = |lost: &LostRecord| names.contains(&*lost.segment.ulid);
        let edit = if state.lost.iter().any(is_lost) {
            let mut state = state.clone();
            state.lost.retain(|lost| !is_lost(lost));
            state.segments.extend(add.iter().cloned());
            Edit::Snapshot(state)
        } else {
            Edit::Replace { remove: Vec::new(), add: add.clone(), deleted: Vec::new() }
        };
        catalog.edit(edit)?;
        self.lost.write().clone_from(&catalog.state().lost);
        let mut view = self.view.write();
        let mut segments: Vec<Arc<Segment>> = view.segments.iter().map(Arc::clone).chain(fresh).collect();
        segments.sort_by_key(|segment| segment.record.order);
        view.segments = Arc::new(segments);
        drop(view);
        drop(catalog);
        self.count_segments();
        Ok(())
    }

    /// Puts segments in place of the sealed head.
    pub(crate) fn replace_sealed(&self, segments: Vec<Arc<Segment>>) {
        let mut view = self.view.write();
        let mut all = Vec::clone(&view.segments);
        all.extend(segments);
        view.segments = Arc::new(all);
        view.sealed = None;
        drop(view);
        self.count_segments();
    }

    /// Puts segments, or nothing, in place of others: one catalog edit, then one step for readers.
    ///
    /// `deleted` says which entries are left out, for which requests; returns the new segments.
    /// The files of those replaced stay until [`Shared::sweep`] finds them without readers.
    /// Errors: `Kind::Unavailable` if one of them is live no more, a request is pending no more, or the edit fails;
    /// nothing has changed then, except that after a failed sync the edit may be found at the next start.
    pub(crate) fn replace_segments(
        &self,
        remove: &[Arc<Segment>],
        add: Vec<SegmentRecord>,
        deleted: Vec<DeletedRecord>,
    ) -> Result<Vec<Arc<Segment>>> {
        let mut catalog = self.catalog.lock();
        let names: HashSet<&str> = remove.iter().map(|segment| &*segment.record.ulid).collect();
        let live = catalog.state().segments.iter().filter(|record| names.contains(&*record.ulid)).count();
        if live != remove.len() {
            return Err(Error::unavailable("cannot replace segments: one of them is live no more"));
        }
        let is_pending = |id: &str| {
            catalog.state().deletes.iter().any(|request| request.id == id && request.done_ns.is_none())
        };
        let deleted: Vec<DeletedRecord> = deleted.into_iter().filter(|one| one.entries > 0).collect();
        if !deleted.iter().all(|one| is_pending(&one.id)) {
            return Err(Error::unavailable(
                "cannot replace segments: a delete request was cancelled meanwhile",
            ));
        }
        let fresh: Vec<Arc<Segment>> =
            add.iter().map(|record| self.open_segment(record.clone())).collect::<Result<_>>()?;
        let remove_names = names.iter().map(|name| (*name).to_owned()).collect();
        let edit = Edit::Replace { remove: remove_names, add, deleted };
        catalog.edit(edit)?;
        let mut view = self.view.write();
        let is_kept = |segment: &&Arc<Segment>| !names.contains(&*segment.record.ulid);
        let kept = view.segments.iter().filter(is_kept).map(Arc::clone);
        let mut segments: Vec<Arc<Segment>> = kept.chain(fresh.iter().map(Arc::clone)).collect();
        segments.sort_by_key(|segment| segment.record.order);
        view.segments = Arc::new(segments);
        drop(view);
        drop(catalog);
        self.removed.lock().extend(remove.iter().map(Arc::clone));
        self.count_segments();
        Ok(fresh)
    }

    /// Removes the files of replaced segments that no reader holds any more. Returns how many are still held.
    pub(crate) fn sweep(&self) -> usize {
        let mut removed = self.removed.lock();
        let mut dirs = BTreeSet::new();
        removed.retain(|segment| {
            // Nobody can take another handle: the view has forgotten it.
            if Arc::strong_count(segment) > 1 {
                return true;
            }
            self.reads.forget(segment);
            match self.disk.remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %segment.path.display(), %error, "cannot remove a replaced segment yet");
                    true
                }
                _ => {
                    dirs.extend(segment.path.parent().map(Path::to_owned));
                    false
                }
            }
        });
        for dir in dirs {
            if let Err(error) = self.disk.sync_dir(&dir) {
                // The files may come back after a power cut; the next start removes them.
                tracing::debug!(path = %dir.display(), %error, "cannot sync a folder of removed segments");
            }
            self.folder.remove_empty(&*self.disk, &dir);
        }
        removed.len()
    }

    /// Updates the metrics about delete requests.
    pub(crate) fn count_deletes(&self) {
        let catalog = self.catalog.lock();
        let (done, pending): (Vec<_>, Vec<_>) =
            catalog.state().deletes.iter().partition(|request| request.done_ns.is_some());
        self.metrics.count_deletes(pending.len(), done.len());
    }

    /// Updates the metrics about live segments.
    pub(crate) fn count_segments(&self) {
        let segments = Arc::clone(&self.view.read().segments);
        self.metrics.count_segments(segments.iter().map(|segment| &segment.record));
    }

    /// Takes a segment that is missing or damaged out of service, until its file is restored. Says so once.
    pub(crate) fn lose(&self, segment: &Segment, error: &Error) {
        let mut catalog = self.catalog.lock();
        let ulid = &segment.record.ulid;
        if !catalog.state().segments.iter().any(|record| record.ulid == *ulid) {
            return;
        }
        tracing::error!(
            path = %segment.path.display(),
            tenant = %segment.record.tenant,
            entries = segment.record.rows,
            %error,
            "segment lost: queries go on without its entries; restore the file from a backup, then restart"
        );
        self.metrics.segments_lost.inc();
        let quarantine = self.folder.quarantine();
        if let Err(error) = quarantine_file(&*self.disk, &segment.path, &quarantine) {
            tracing::warn!(path = %segment.path.display(), %error, "cannot move the lost segment to quarantine");
        }
        let edit = Edit::Lost { ulid: ulid.clone(), reason: error.to_string() };
        match catalog.edit(edit) {
            Ok(()) => self.lost.write().clone_from(&catalog.state().lost),
            // Found again at the next start.
            Err(error) => {
                tracing::warn!(%error, "cannot note the lost segment in the catalog");
                if catalog.is_poisoned() {
                    self.turn_read_only(&error);
                }
            }
        }
        drop(catalog);
        let mut view = self.view.write();
        let is_other = |other: &&Arc<Segment>| other.record.ulid != *ulid;
        view.segments = Arc::new(view.segments.iter().filter(is_other).map(Arc::clone).collect());
        drop(view);
        self.reads.forget(segment);
        self.count_segments();
    }

    /// Takes lost segments that are gone for good off the list: queries tell of them no more, and a file that is put
    /// back is not taken in any more. Returns how many.
    ///
    /// Errors: `Kind::Unavailable` if the catalog cannot be edited; nothing has changed then.
    pub(crate) fn forget_lost(&self, is_gone: impl Fn(&LostRecord) -> bool) -> Result<usize> {
        let mut catalog = self.catalog.lock();
        let mut state = catalog.state().clone();
        state.lost.retain(|lost| !is_gone(lost));
        let count = catalog.state().lost.len() - state.lost.len();
        if count == 0 {
            return Ok(0);
        }
        let left = state.lost.clone();
        catalog.edit(Edit::Snapshot(state))?;
        *self.lost.write() = left;
        Ok(count)
    }

    /// Refuses everything new until restart, because a sync failed.
    pub(crate) fn turn_read_only(&self, error: &Error) {
        let mut phase = self.phase.write();
        if matches!(*phase, Phase::ReadOnly(_) | Phase::Failed(_)) {
            return;
        }
        tracing::error!(
            ?error,
            "store is read-only: a sync failed, so what the disk holds is unknown; check the disk, then restart"
        );
        let text = "cannot store: an earlier sync to disk failed and the store is read-only; check the disk, then restart";
        let refusal = Error::unavailable(text).with_source(error.clone());
        *phase = Phase::ReadOnly(refusal.clone());
        drop(phase);
        self.metrics.read_only.set(1);
        self.queue.refuse(refusal);
    }

    /// Refuses everything until restart, because a thread of the store panicked. Returns what is said.
    fn fail(&self, thread: &str) -> Error {
        let error = Error::internal(format!(
            "cannot store or answer: the {thread} thread of the store panicked, a bug of logyard; \
             restart logyard, and report the panic that its log shows"
        ));
        tracing::error!("{error}");
        self.queue.refuse(error.clone());
        *self.phase.write() = Phase::Failed(error.clone());
        self.metrics.read_only.set(1);
        self.is_recovered.send_replace(true);
        error
    }
}

/// Held by the writer thread: however it ends, whoever waits for it is answered.
#[derive(Debug)]
pub(crate) struct WriterGuard {
    shared: Arc<Shared>,
}

impl WriterGuard {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail("writer");
        }
        self.shared.queue.close();
    }
}

/// Held by the flush thread: the writer hears of its end also when it panics, or it would wait for ever.
#[derive(Debug)]
pub(crate) struct FlushGuard {
    shared: Arc<Shared>,
}

impl FlushGuard {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = self.shared.fail("flush");
            self.shared.queue.report(FlushNews::GaveUp(error));
        }
    }
}

/// Moves a file into quarantine, if it is there.
pub(crate) fn quarantine_file(disk: &dyn Disk, path: &Path, quarantine: &Path) -> io::Result<()> {
    let (Some(name), Some(dir)) = (path.file_name(), path.parent()) else { return Ok(()) };
    match disk.rename(path, &quarantine.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    }
    disk.sync_dir(quarantine)?;
    disk.sync_dir(dir)
}
