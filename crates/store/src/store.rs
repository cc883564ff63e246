//! The handle of the store: open, append, select, flush, close.

use crate::arrivals::Arrivals;
use crate::catalog::{Catalog, last_order};
use crate::damage::DamagedBlock;
use crate::delete_filter::ParseDelete;
use crate::deletes::Deletes;
use crate::epochs::{self, Epochs};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::fsck::Progress;
use crate::head::{Head, weight};
use crate::import::{self, ImportInfo, ImportOptions};
use crate::label_texts::{self, Asked};
use crate::maintenance::{self, Maintenance, QueryGuard};
use crate::metrics::Metrics;
use crate::policy::{Periods, RetentionPolicy};
use crate::queue::{PendingBatch, Queue, Stop};
use crate::recovery::{self, BATCH_RAW_BYTES_MAX, WAL_SETTINGS};
use crate::segment::{Segment, SegmentReads};
use crate::settings::StoreSettings;
use crate::shared::{Phase, Shared, View, WriterGuard};
use crate::sight::{Part, Sight, complete_view};
use crate::snapshot::{self, SnapshotInfo};
use crate::space::Space;
use crate::storage_report::{self, StorageQuery, StorageReport};
use crate::{Stats, wal_record};
use bytes::Bytes;
use logyard_codec::{BatchId, BlockView, Entries, encode_batch, unpacked_snappy_bytes};
use logyard_model::{LabelSet, Matcher, Prefilter, Stream, StreamId, Tenant, TimeRange};
use logyard_sys::{Clock, Disk, LockGuard, Random};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Most bytes that one batch may count (text, and 24 per entry).
const BATCH_BYTES_MAX: u64 = BATCH_RAW_BYTES_MAX as u64 / 4;

/// What the store needs from outside.
#[derive(Debug)]
pub struct StoreParts<'a> {
    /// Where the data folder lies.
    pub disk: Arc<dyn Disk>,
    /// Tells the age of entries in memory.
    pub clock: Arc<dyn Clock>,
    /// Names segments.
    pub random: Arc<Random>,
    /// Where the metrics are registered, as `logyard_store_*`.
    pub registry: &'a mut Registry,
}

/// What the store is told in languages that are not its own.
#[derive(Clone, Debug, Default)]
pub struct StoreRules {
    /// Those of `settings.retention.policies`, parsed, in any order.
    pub policies: Vec<RetentionPolicy>,
    /// Reads the queries of delete requests. Without it none can be made, and those of before are not heeded.
    pub parse_delete: Option<ParseDelete>,
}

/// One batch to store: of one tenant, stored whole or not at all.
#[derive(Clone, Debug)]
pub struct StoreBatch {
    /// Whose entries these are.
    pub tenant: Tenant,
    /// Stores the batch once, however often it is appended.
    pub id: Option<BatchId>,
    /// Entries by stream, already checked against all limits.
    pub chunks: Vec<(Arc<Stream>, Entries)>,
    /// Exactly these chunks as the WAL keeps them, if the caller has that; saves encoding them again.
    pub encoded: Option<Encoded>,
}

/// The chunks of a batch as the WAL keeps them: `schemas/wal.md`.
#[derive(Clone, Debug)]
pub enum Encoded {
    /// A codec batch.
    Batch(Bytes),
    /// A push as it came, and where the lines lie in it.
    Text {
        /// What [`logyard_codec::encode_text_table`] makes.
        table: Bytes,
        /// The text in which the lines lie, as a block of snappy.
        snappy: Bytes,
    },
}

impl Encoded {
    /// Whether replay, which unpacks no more than that, can read it. A text may hold far more than the chunks that were
    /// taken from it.
    fn is_within(&self, raw_bytes_max: u64) -> bool {
        match self {
            Self::Batch(_) => true,
            Self::Text { snappy, .. } => {
                unpacked_snappy_bytes(snappy).is_ok_and(|bytes| bytes <= raw_bytes_max)
            }
        }
    }
}

/// The acknowledgement of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The batch's id was known: its entries were stored before, and not again.
    pub duplicate: bool,
}

/// What the store is able to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything.
    Ready,
    /// Replaying the WAL; appends wait, queries are refused.
    Recovering {
        /// Bytes of the WAL replayed.
        done_bytes: u64,
        /// Bytes of the WAL found.
        total_bytes: u64,
    },
    /// Nothing is accepted until there is room on the disk; queries are answered.
    DiskFull {
        /// What is free and what is wanted, and what to do.
        reason: String,
    },
    /// Nothing is accepted until restart.
    ReadOnly {
        /// Why, and what to do.
        reason: String,
    },
}

/// A segment that was found missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostSegment {
    /// Its name.
    pub ulid: String,
    /// Earliest timestamp it held.
    pub min_ns: i64,
    /// Latest timestamp it held.
    pub max_ns: i64,
    /// Entries it held.
    pub entries: u64,
    /// What was found.
    pub reason: String,
}

/// A store over one data folder. Clones share it.
///
/// The last clone dropped without [`Store::close`] stops the threads and gives up the folder, without a flush;
/// that waits for the step they are in.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

/// What is given up by closing, in this order.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    maintenance: Option<JoinHandle<()>>,
    _lock: Box<dyn LockGuard>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.get_mut().take() {
            self.shared.queue.stop(Stop::Now);
            self.shared.maintenance.stop();
            threads.join();
        }
    }
}

impl Threads {
    fn join(self) {
        if self.writer.join().is_err() {
            tracing::error!("the writer thread of the store panicked");
        }
        if let Some(maintenance) = self.maintenance
            && maintenance.join().is_err()
        {
            tracing::error!(
                "the maintenance thread of the store panicked: nothing is compacted or dropped until restart"
            );
        }
    }
}

impl Store {
    /// Opens the data folder, or creates it, and starts to replay the WAL.
    ///
    /// Returns at once; see [`Store::readiness`]. Until replayed, appends wait and queries are refused.
    /// Errors: `Kind::Invalid` for a folder that is in use, not writable or of a newer format;
    /// `Kind::Corrupt` for a catalog that does not fit the folder; `Kind::Unavailable` if the disk fails.
    /// Cost: reads the catalog and lists the segment files.
    pub fn open(data_dir: &Path, settings: StoreSettings, parts: StoreParts<'_>) -> Result<Self> {
        Self::open_with_rules(data_dir, settings, StoreRules::default(), parts)
    }

    /// Opens the data folder as [`Store::open`] does, with what the language of queries is needed for.
    ///
    /// Errors: also `Kind::Invalid` if settings and policies do not go together.
    pub fn open_with_rules(
        data_dir: &Path,
        settings: StoreSettings,
        rules: StoreRules,
        parts: StoreParts<'_>,
    ) -> Result<Self> {
        let store = Self::open_at_rest(data_dir, settings, rules, parts)?;
        store.begin_epoch();
        if let Some(threads) = &mut *store.inner.threads.lock() {
            threads.maintenance = start_maintenance(&store.inner.shared);
        }
        Ok(store)
    }

    /// Opens the data folder as [`Store::open_with_rules`] does, for a tool that works on a stopped store: nothing is
    /// compacted, and nothing goes because of its age or the size of all.
    pub fn open_at_rest(
        data_dir: &Path,
        settings: StoreSettings,
        rules: StoreRules,
        parts: StoreParts<'_>,
    ) -> Result<Self> {
        let periods = Periods::new(&settings.retention, rules.policies)?;
        let StoreParts { disk, clock, random, registry } = parts;
        snapshot::refuse_where_made(&*disk, data_dir)?;
        let (folder, lock) = Folder::open(&*disk, data_dir)?;
        let metrics = Metrics::new(registry);
        // Before anything is written: with a full disk this makes room to open.
        let space = Space::open(&disk, &clock, &folder, settings.disk.clone(), &metrics);
        snapshot::remove_unfinished(&*disk, &folder);
        let files = recovery::find_files(&*disk, &folder)?;
        let has_segments = recovery::has_segments(&files);
        let (mut catalog, lost_edits) = Catalog::open(Arc::clone(&disk), &folder.catalog(), has_segments)?;
        let live = recovery::check_segments(&*disk, &folder, &mut catalog, lost_edits, &files)?;
        metrics.segments_lost.inc_by(catalog.state().lost.len() as u64);
        let segments =
            (0..).zip(live).map(|(key, (record, path))| Arc::new(Segment::new(key, record, path))).collect();
        let segments: Arc<Vec<Arc<Segment>>> = Arc::new(segments);
        let active = Arc::new(Head::new(last_order(catalog.state()) + 1));
        let epochs = Epochs::new(catalog.state(), &periods);
        let deletes = Arc::new(Deletes::new(rules.parse_delete, &catalog.state().deletes));
        let shared = Arc::new(Shared {
            recovery_bytes: AtomicU64::new(recovery::wal_bytes(&*disk, &folder)),
            recovered_bytes: AtomicU64::new(0),
            next_segment_key: AtomicU64::new(segments.len() as u64),
            lost: RwLock::new(catalog.state().lost.clone()),
            phase: RwLock::new(Phase::Recovering),
            is_recovered: watch::Sender::new(false),
            view: RwLock::new(View { segments, sealed: None, active }),
            catalog: Mutex::new(catalog),
            followers: Arc::default(),
            removed: Mutex::default(),
            snapshots: Mutex::default(),
            imports: Mutex::default(),
            maintenance: Maintenance::default(),
            space,
            periods,
            epochs,
            deletes,
            reads: Arc::new(SegmentReads::new(Arc::clone(&disk), &settings.cache, &metrics)),
            queue: Queue::new(settings.wal.queue_bytes_max),
            metrics,
            settings,
            folder,
            random,
            clock,
            disk,
        });
        shared.count_segments();
        shared.count_deletes();
        let for_writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let writer = thread
            .spawn(move || {
                let _guard = WriterGuard::new(Arc::clone(&for_writer));
                if let Some((writer, waiting)) = recovery::recover(&for_writer) {
                    writer.run(waiting);
                }
            })
            .map_err(|error| {
                Error::unavailable("cannot start the writer thread of the store").with_source(error)
            })?;
        let threads = Mutex::new(Some(Threads { writer, maintenance: None, _lock: lock }));
        Ok(Self { inner: Arc::new(Inner { shared, threads }) })
    }

    /// Returns what the store is able to do now.
    pub fn readiness(&self) -> Readiness {
        let shared = &self.inner.shared;
        match &*shared.phase.read() {
            Phase::Ready => match shared.space.check() {
                Ok(()) => Readiness::Ready,
                Err(error) => Readiness::DiskFull { reason: error.to_string() },
            },
            Phase::Recovering => Readiness::Recovering {
                done_bytes: shared.recovered_bytes.load(Ordering::Relaxed),
                total_bytes: shared.recovery_bytes.load(Ordering::Relaxed),
            },
            Phase::ReadOnly(error) | Phase::Failed(error) => {
                Readiness::ReadOnly { reason: error.to_string() }
            }
        }
    }

    /// Waits until the WAL is replayed. Errors: as [`Store::select`] if it cannot be.
    pub async fn recovered(&self) -> Result<()> {
        let mut is_recovered = self.inner.shared.is_recovered.subscribe();
        is_recovered.wait_for(|done| *done).await.map_err(|_| stopped())?;
        complete_view(&self.inner.shared).map(drop)
    }

    /// Stores a batch; resolves once it is durable and visible to queries.
    ///
    /// Errors: `Kind::Limited` when too much waits to be written (send again later); `Kind::Invalid` for a
    /// batch too large to store; `Kind::Unavailable` while the disk is full, after a failed sync, or while
    /// stopping. After an error the batch may still be found stored, unless it was refused at once; with an id
    /// it is safe to send again. Cost: encodes and compresses the batch on the caller's thread if `encoded` is
    /// absent. Dropping the future does not undo the append.
    pub async fn append(&self, batch: StoreBatch) -> Result<Appended> {
        self.inner.shared.space.check().inspect_err(|_| {
            self.inner.shared.metrics.refused_disk_full.inc();
        })?;
        let bytes: u64 = batch.chunks.iter().map(|(_, entries)| weight(entries)).sum();
        if bytes > BATCH_BYTES_MAX {
            let text = format!(
                "cannot store batch of {bytes} bytes: limit is {BATCH_BYTES_MAX}; send smaller batches"
            );
            return Err(Error::invalid(text));
        }
        let encoded = batch.encoded.filter(|encoded| encoded.is_within(BATCH_RAW_BYTES_MAX as u64));
        let encoded = encoded.unwrap_or_else(|| {
            let chunks: Vec<(&LabelSet, &Entries)> =
                batch.chunks.iter().map(|(stream, entries)| (&*stream.labels, entries)).collect();
            Encoded::Batch(Bytes::from(encode_batch(&chunks)))
        });
        let record = wal_record::encode(&batch.tenant, batch.id.as_ref(), &encoded);
        let record_bytes = record.iter().map(Bytes::len).sum::<usize>();
        let limit = WAL_SETTINGS.record_bytes_max;
        if record_bytes > limit as usize {
            let got = record_bytes;
            let text = format!(
                "cannot store batch of {got} compressed bytes: limit is {limit}; send smaller batches"
            );
            return Err(Error::invalid(text));
        }
        let (reply, answer) = oneshot::channel();
        let pending = PendingBatch {
            tenant: batch.tenant,
            id: batch.id,
            chunks: batch.chunks,
            bytes: bytes + record_bytes as u64,
            record,
            reply,
        };
        let shared = &self.inner.shared;
        shared.queue.push(pending, &shared.metrics)?;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.refusal().unwrap_or_else(stopped)))
    }

    /// Returns views of the blocks that may hold entries of matching streams in `range`.
    ///
    /// Shape: every entry acknowledged before the call is in exactly one view; views stand in order of arrival,
    /// by block; runs lie whole in them, so rows outside of `range` are the caller's to leave out. Blocks that were
    /// found damaged are left out, see [`Store::damaged_blocks`], what is older than the retention, what delete requests
    /// mean, and blocks that an index shows cannot meet the prefilter; the others are a superset.
    /// Errors: `Kind::Unavailable` while recovering, or if the disk fails; `Kind::Invalid` if a newer version
    /// wrote a segment in `range`.
    /// Cost: run tables and indexes only, read from disk at first use; no block is read but those that may hold what
    /// a delete request means, at first, and those at the border of the retention.
    pub fn select(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        prefilter: &Prefilter,
    ) -> Result<Vec<BlockView>> {
        let sight = Sight::new(&self.inner.shared, tenant, range)?;
        sight.map_or_else(|| Ok(Vec::new()), |sight| sight.views(matchers, prefilter))
    }

    /// Returns the distinct matching streams that may have entries in `range`, in order of their ids.
    ///
    /// Errors and cost: as [`Store::select`].
    pub fn streams(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Arc<Stream>>> {
        let mut streams = BTreeMap::new();
        let Some(mut sight) = Sight::new(&self.inner.shared, tenant, range)? else { return Ok(Vec::new()) };
        sight.each_part(matchers, |window, part| match part {
            Part::Segment(segment, index) => {
                index.streams(segment.record.order, matchers, window, &mut streams);
            }
            Part::Head(head) => head.streams(tenant, matchers, window, &mut streams),
            Part::Run(run, _) => {
                streams.insert(run.stream.id, run.stream);
            }
        })?;
        Ok(streams.into_values().collect())
    }

    /// Returns the distinct names of the labels of the streams that [`Store::streams`] returns.
    ///
    /// Errors: as [`Store::select`]. Cost: without matchers, a step for each name in segments that lie in `range` whole and
    /// have many streams; else a look at each stream.
    pub fn label_names(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<BTreeSet<String>> {
        self.label_texts(tenant, matchers, range, Asked::Names)
    }

    /// Returns the distinct values of a label of the streams that [`Store::streams`] returns.
    ///
    /// Errors and cost: as [`Store::label_names`], with values instead of names.
    pub fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<BTreeSet<String>> {
        self.label_texts(tenant, matchers, range, Asked::Values(name))
    }

    fn label_texts(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        asked: Asked<'_>,
    ) -> Result<BTreeSet<String>> {
        let sight = Sight::new(&self.inner.shared, tenant, range)?;
        sight.map_or_else(
            || Ok(BTreeSet::new()),
            |mut sight| label_texts::collect(&mut sight, tenant, matchers, asked),
        )
    }

    /// Returns counts over the matching streams in `range`, from run tables alone.
    ///
    /// Errors and cost: as [`Store::select`]. Equal entries that no flush or query has met yet count twice.
    pub fn stats(&self, tenant: &Tenant, matchers: &[Matcher], range: TimeRange) -> Result<Stats> {
        let (mut streams, mut stats) = (BTreeMap::new(), Stats::default());
        let Some(mut sight) = Sight::new(&self.inner.shared, tenant, range)? else { return Ok(stats) };
        sight.each_part(matchers, |window, part| match part {
            Part::Segment(segment, index) => {
                index.stats(segment.record.order, matchers, window, &mut streams, &mut stats);
            }
            Part::Head(head) => head.stats(tenant, matchers, window, &mut streams, &mut stats),
            Part::Run(run, range) => {
                stats.add_run(range, run.min_ns, run.max_ns, run.rows.len() as u64, run.raw_bytes);
                streams.insert(run.stream.id, run.stream);
            }
        })?;
        stats.streams = streams.len() as u64;
        Ok(stats)
    }

    /// Returns the entries of matching streams that are stored from now on.
    ///
    /// Shape: each is handed over once it is durable, and before queries see it; a query that is begun after this
    /// call has all others. What a pending delete request means is left out. Cost: nothing while nothing arrives; the test of
    /// each stream's labels once.
    pub fn arrivals(&self, tenant: &Tenant, matchers: &[Matcher]) -> Arrivals {
        let shared = &self.inner.shared;
        Arrivals::new(&shared.followers, &shared.deletes, tenant.clone(), matchers.to_vec())
    }

    /// Tells that a query runs, for as long as the guard lives: maintenance waits meanwhile.
    pub fn begin_query(&self) -> QueryGuard {
        QueryGuard::new(&self.inner.shared)
    }

    /// Returns how many segments a tenant has, and how many of them may hold entries in `range`.
    pub fn segment_counts(&self, tenant: &Tenant, range: TimeRange) -> (u64, u64) {
        let view = self.inner.shared.view();
        let count =
            |range| view.segments.iter().filter(|one| one.record.overlaps(tenant, range)).count() as u64;
        (count(TimeRange::ALL), count(range))
    }

    /// Returns the newest timestamp of a stream since the last flush; `None` if it has no entry in memory.
    pub fn stream_newest_ns(&self, tenant: &Tenant, id: StreamId) -> Option<i64> {
        let view = self.inner.shared.view();
        view.heads().filter_map(|head| head.newest_ns(tenant, id)).max()
    }

    /// Returns the lost segments of a tenant that held entries in `range`: queries over it are incomplete.
    pub fn lost_segments(&self, tenant: &Tenant, range: TimeRange) -> Vec<LostSegment> {
        let lost = self.inner.shared.lost.read();
        let overlapping = lost.iter().filter(|lost| lost.segment.overlaps(tenant, range));
        overlapping
            .map(|lost| LostSegment {
                ulid: lost.segment.ulid.clone(),
                min_ns: lost.segment.min_ns,
                max_ns: lost.segment.max_ns,
                entries: lost.segment.rows,
                reason: lost.reason.clone(),
            })
            .collect()
    }

    /// Returns how many blocks were found damaged since the start.
    ///
    /// A query that fails while this grows may be asked again: [`Store::select`] leaves damaged blocks out.
    pub fn damage_found(&self) -> u64 {
        self.inner.shared.reads.damaged_blocks()
    }

    /// Returns the damaged blocks that hold entries of a tenant in `range`, as far as they were found: queries over
    /// it are incomplete.
    pub fn damaged_blocks(&self, tenant: &Tenant, range: TimeRange) -> Vec<DamagedBlock> {
        let segments = Arc::clone(&self.inner.shared.view.read().segments);
        let damaged = segments.iter().filter(|segment| segment.damage.is_any());
        let overlapping = damaged.filter(|segment| segment.record.overlaps(tenant, range));
        overlapping.flat_map(|segment| segment.damage.in_range(range)).collect()
    }

    /// Writes everything acknowledged so far as segments; resolves when the catalog holds them.
    ///
    /// Errors: `Kind::Unavailable` if the attempt fails (disk full …): the entries stay in memory and in the
    /// WAL, and the store tries again by itself.
    pub async fn flush(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.inner.shared.queue.flush(reply)?;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.refusal().unwrap_or_else(stopped)))
    }

    /// Makes a snapshot of everything acknowledged before the call; resolves when it is durable.
    ///
    /// `id` names it and its folder; by default the time does. Batches are accepted and queries answered meanwhile.
    /// Errors: as [`Store::flush`]; `Kind::Invalid` for a name that cannot be one, or is taken; `Kind::Limited` if
    /// there are as many as `store.snapshots.count_max`. Then there is no snapshot.
    /// Cost: a flush, and a link or a copy per segment, on a thread of its own. Dropping the future may leave the
    /// snapshot made.
    pub async fn create_snapshot(&self, id: Option<&str>) -> Result<SnapshotInfo> {
        self.recovered().await?;
        self.flush().await?;
        let (reply, answer) = oneshot::channel();
        let (shared, id) = (Arc::clone(&self.inner.shared), id.map(str::to_owned));
        let thread = std::thread::Builder::new().name("store-snapshot".to_owned());
        let spawned = thread.spawn(move || {
            // The asker may have gone away.
            drop(reply.send(snapshot::create(&shared, id.as_deref())));
        });
        if let Err(error) = spawned {
            return Err(Error::unavailable("cannot start a thread to make a snapshot").with_source(error));
        }
        answer.await.map_err(|_| Error::internal("cannot make snapshot: its thread panicked; report it"))?
    }

    /// Lists the snapshots, the oldest first. Errors and cost: as [`snapshot::list_snapshots`]; blocks.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let shared = &self.inner.shared;
        snapshot::list_snapshots(&*shared.disk, shared.folder.root())
    }

    /// Removes a snapshot. Returns whether there was one. Errors: as [`snapshot::delete_snapshot`]; blocks.
    pub fn delete_snapshot(&self, id: &str) -> Result<bool> {
        let shared = &self.inner.shared;
        let _alone = shared.snapshots.lock();
        snapshot::delete_snapshot(&*shared.disk, shared.folder.root(), id)
    }

    /// Takes the segments of the export in the folder `source` in, all or none; blocks.
    ///
    /// Batches are accepted and queries answered meanwhile. Errors: as [`import`]'s doc says: `Kind::Invalid` for a folder
    /// that is no export, is unfinished or of a newer version; `Kind::Corrupt` for a damaged file, which is named;
    /// `Kind::Unavailable` while recovering, for a lack of room, or if the disk fails. Nothing has changed then.
    /// Cost: copies the files and decodes every block.
    pub fn import(
        &self,
        source: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<ImportInfo> {
        complete_view(&self.inner.shared)?;
        import::import(&self.inner.shared, source, options, progress)
    }

    /// Takes an export in that [`import::stage`] has put into the data folder as `id`; otherwise as [`Store::import`].
    pub fn import_staged(&self, id: &str, options: &ImportOptions) -> Result<ImportInfo> {
        snapshot::check_id(id)?;
        let source = self.inner.shared.folder.imports().join(id);
        self.import(&source, options, &mut |_| {})
    }

    /// Tells what is stored and when it goes.
    ///
    /// Errors and cost: as [`storage_report::of_folder`], and `Kind::Unavailable` while recovering; blocks.
    pub fn storage_report(&self, query: &StorageQuery) -> Result<StorageReport> {
        storage_report::of_store(&self.inner.shared, &complete_view(&self.inner.shared)?, query)
    }

    /// Stops cleanly: finishes what was accepted, flushes if `flush.on_close` says so, gives up the folder.
    ///
    /// Queries by remaining clones go on; appends are refused. A second call does nothing.
    /// Errors: none yet; a flush that fails leaves its entries in the WAL, for the next start.
    pub async fn close(&self) -> Result<()> {
        let Some(threads) = self.inner.threads.lock().take() else { return Ok(()) };
        self.inner.shared.queue.stop(Stop::Clean);
        self.inner.shared.maintenance.stop();
        let (done, ended) = oneshot::channel();
        // Joining blocks for as long as a flush takes, which no caller's async thread should.
        let shared = Arc::clone(&self.inner.shared);
        let spawned = std::thread::Builder::new().name("store-close".to_owned()).spawn(move || {
            threads.join();
            epochs::note(&shared);
            drop(shared);
            let is_awaited = done.send(()).is_ok();
            tracing::info!(is_awaited, "store closed");
        });
        if let Err(error) = spawned {
            return Err(Error::unavailable("cannot start a thread to close the store").with_source(error));
        }
        ended.await.map_err(|_| stopped())
    }

    /// Returns how long entries are kept unless a policy says otherwise; `None` for ever.
    pub fn retention_period(&self) -> Option<Duration> {
        self.inner.shared.settings.retention.period().filter(|period| !period.is_zero())
    }

    /// Returns how long any entry is kept at least, by its age; `None` for ever.
    pub fn retention_period_min(&self) -> Option<Duration> {
        let retention = &self.inner.shared.settings.retention;
        let policies = retention.policies.iter().map(|policy| Duration::from_secs(policy.period_secs));
        policies.chain(retention.period()).filter(|period| !period.is_zero()).min()
    }

    /// Returns what the threads share, for tools of this crate that work on an open store.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Takes the settings of retention as those in force from now on.
    fn begin_epoch(&self) {
        if let Err(error) = epochs::begin(&self.inner.shared) {
            tracing::warn!(
                ?error,
                "cannot note that store.retention has changed: what was too old before may be answered again"
            );
        }
    }
}

impl View {
    /// Returns the heads in order of arrival.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.sealed.iter().chain([&self.active])
    }
}

/// Starts the maintenance thread, which begins once the WAL is replayed; `None` if it is switched off.
fn start_maintenance(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let settings = &shared.settings;
    let is_limited = shared.periods.is_limited() || settings.retention.bytes_max > 0;
    let is_idle = !settings.compaction.enabled && !is_limited && settings.snapshots.keep_secs == 0;
    if is_idle && !shared.deletes.is_able() {
        return None;
    }
    let for_thread = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("store-maintain".to_owned());
    let spawned = thread.spawn(move || maintenance::run(&for_thread));
    if let Err(error) = &spawned {
        tracing::error!(%error, "cannot start the maintenance thread: nothing is compacted or dropped until restart");
    }
    spawned.ok()
}

fn stopped() -> Error {
    Error::unavailable("cannot store: the store has stopped; send again after its restart")
}

#[cfg(test)]
mod tests;
