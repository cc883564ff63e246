//! What the store holds and when it goes: by day, tenant and class, on request by stream.
//!
//! Answered from the catalog and the run tables; no block is read. Of a running store it also counts what is in memory;
//! [`of_folder`] reads a data folder, whether a process uses it or not, and changes nothing in it.
//!
//! *Stored bytes of a stream* are its share of each block that it lies in, by its bytes of lines there and one byte more
//! for each entry, so that empty lines count. The shares of a block add up to the block. What a file holds besides
//! (tables, indexes) belongs to no stream: `index_bytes`.

use crate::catalog_record::{self, Edit, SegmentRecord, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::folder::{Folder, day_name};
use crate::head::Head;
use crate::metrics::Metrics;
use crate::policy::Periods;
use crate::retention::{cap_order, gone_ns};
use crate::segment::{Segment, SegmentIndex, SegmentReads};
use crate::settings::{RetentionPolicySettings, StoreSettings};
use crate::shared::{Shared, View};
use crate::space::wanted_bytes;
use crate::{RetentionPolicy, snapshot};
use logyard_model::{Stream, StreamId, Tenant};
use logyard_sys::{Clock, Disk};
use logyard_wal::scan_file;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Most streams that one report names.
pub const STREAMS_MAX: usize = 10_000;

/// Most rows that a report names of what the size cap would remove next.
const CAP_ROWS_MAX: usize = 10;

/// Times a folder is read anew because files went away meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageQuery {
    /// Only what is this tenant's; with none everything, and what concerns the whole store.
    pub tenant: Option<Tenant>,
    /// Days, since 1970-01-01, both ends included.
    pub days: std::ops::RangeInclusive<i32>,
    /// Number of streams that are named, those of the most stored bytes; at most [`STREAMS_MAX`], 0 for none.
    pub streams_max: usize,
}

/// Sums over segment files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageSums {
    /// Number of files.
    pub files: u64,
    /// Entries, equal ones in different files each.
    pub entries: u64,
    /// Bytes of all lines.
    pub raw_bytes: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Those of them that are tables and indexes.
    pub index_bytes: u64,
}

/// The files of one tenant, day and class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageDay {
    /// UTC day, `YYYYMMDD`.
    pub day: String,
    /// Whose.
    pub tenant: String,
    /// Retention class: the name of the folder.
    pub class: String,
    /// What the files hold.
    #[serde(flatten)]
    pub sums: StorageSums,
    /// Time of the earliest entry.
    pub min_ns: i64,
    /// Time of the latest entry.
    pub max_ns: i64,
    /// Instant from which on the first of the files is removed, by the periods in force; none for never.
    pub deletion_ns: Option<i64>,
}

/// What is stored of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageStream {
    /// Whose.
    pub tenant: String,
    /// Its labels, as in `{app="web"}`.
    pub stream: String,
    /// Entries, equal ones in different files each.
    pub entries: u64,
    /// Bytes of its lines.
    pub raw_bytes: u64,
    /// Its share of the blocks that it lies in; see the module's doc.
    pub bytes: u64,
    /// Time of its earliest entry.
    pub min_ns: i64,
    /// Time of its latest entry.
    pub max_ns: i64,
    /// How long its entries are kept, in seconds; 0 for ever.
    pub period_secs: u64,
}

/// What is in memory, and in the write-ahead log only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageMemory {
    /// Entries.
    pub entries: u64,
    /// Bytes of all lines.
    pub raw_bytes: u64,
}

/// The file system of the data folder, and what lies in the folder besides segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageDisk {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
    /// Bytes that are to stay free: `store.disk.free_bytes_min`, or what it is by default.
    pub free_bytes_min: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Number of snapshots.
    pub snapshots: u64,
}

/// What bounds the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageLimits {
    /// How long entries are kept where no policy says otherwise, in seconds; 0 for ever.
    pub period_secs: u64,
    /// The policies, as set.
    pub policies: Vec<RetentionPolicySettings>,
    /// Most bytes of all segment files; 0 for no limit.
    pub bytes_max: u64,
}

/// What removes days early, because all files together are too large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageCap {
    /// Bytes above `bytes_max` now; 0 without a limit.
    pub bytes_over: u64,
    /// What would go first, were there too many bytes: oldest day first, of a day the lowest priority. The newest day
    /// never goes. Told only if there is a limit, at most ten rows.
    pub next: Vec<StorageCapRow>,
}

/// Files that the size cap removes together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageCapRow {
    /// UTC day, `YYYYMMDD`.
    pub day: String,
    /// Whose.
    pub tenant: String,
    /// Retention class.
    pub class: String,
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a store holds, and when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageReport {
    /// When this was found.
    pub now_ns: i64,
    /// Whose store is told of; none for everybody's.
    pub tenant: Option<String>,
    /// All rows of `days` together.
    pub totals: StorageSums,
    /// In order of day, tenant, class.
    pub days: Vec<StorageDay>,
    /// The streams of the most stored bytes, the largest first; empty if they were not asked for.
    pub streams: Vec<StorageStream>,
    /// Number of streams in the files; absent if they were not asked for.
    pub streams_total: Option<u64>,
    /// Files whose tables cannot be read: `streams` lacks what they hold.
    pub unreadable_files: u64,
    /// Absent if the folder was read beside or without a running store.
    pub memory: Option<StorageMemory>,
    /// Absent for one tenant.
    pub disk: Option<StorageDisk>,
    /// Policies of other tenants are left out for one tenant.
    pub limits: StorageLimits,
    /// Only files of the tenant, for one tenant.
    pub cap: StorageCap,
}

/// Reports on an open store.
///
/// Errors: `Kind::Unavailable` if the disk cannot be asked. Cost: the catalog; with streams the tables of all files in
/// question, and about 200 bytes of memory for each stream that they hold.
pub(crate) fn of_store(shared: &Shared, view: &View, query: &StorageQuery) -> Result<StorageReport> {
    let heads = view.sealed.iter().chain([&view.active]);
    let disk = Disks { disk: &*shared.disk, folder: &shared.folder };
    Reporter {
        segments: &view.segments,
        reads: &shared.reads,
        periods: &shared.periods,
        settings: &shared.settings,
        query,
    }
    .report(&disk, shared.clock.now_ns(), Some(memory(heads, query)))
}

/// Reports on a data folder without opening it: for a stopped store, or for all tenants of a running one. What is in
/// memory, and in the write-ahead log, is not counted.
///
/// `policies` are those of the settings, parsed. Errors: `Kind::Invalid` for a folder that is none or of a newer
/// format; `Kind::Corrupt` for a catalog that cannot be read, which the start of the store or `logyard repair` mends;
/// `Kind::Unavailable` if the disk fails. Cost: as for an open store, and the catalog is read.
pub fn of_folder(
    disk: &Arc<dyn Disk>,
    clock: &dyn Clock,
    root: &Path,
    settings: &StoreSettings,
    policies: Vec<RetentionPolicy>,
    query: &StorageQuery,
) -> Result<StorageReport> {
    let periods = Periods::new(&settings.retention, policies)?;
    let (folder, state) = read_catalog(&**disk, root)?;
    let segments: Vec<Arc<Segment>> = (0..)
        .zip(state.segments)
        .map(|(key, record)| {
            let path = record.path(&folder)?;
            Ok(Arc::new(Segment::new(key, record, path)))
        })
        .collect::<Result<_>>()?;
    let metrics = Metrics::new(&mut Registry::default());
    let reads = SegmentReads::new(Arc::clone(disk), &settings.cache, &metrics);
    let reporter = Reporter { segments: &segments, reads: &reads, periods: &periods, settings, query };
    reporter.report(&Disks { disk: &**disk, folder: &folder }, clock.now_ns(), None)
}

/// Reads what the catalog of a folder says, without its lock: a process that uses it only appends to the newest file,
/// and removes old ones once a newer one says all. Also checks that the folder is one.
///
/// Errors: as [`of_folder`].
pub(crate) fn read_catalog(disk: &dyn Disk, root: &Path) -> Result<(Folder, Snapshot)> {
    let folder = Folder::look(disk, root)?;
    let dir = folder.catalog();
    let mut attempts = 0;
    loop {
        attempts += 1;
        match scan_catalog(disk, &dir) {
            Ok(Some(state)) => return Ok((folder, state)),
            Err(error) if attempts >= ATTEMPTS_MAX || error.kind() != Kind::Unavailable => return Err(error),
            Ok(None) if attempts >= ATTEMPTS_MAX => {
                let text = format!(
                    "cannot read catalog {}: it states no segments; start logyard, or run logyard repair",
                    dir.display()
                );
                return Err(Error::corrupt(text));
            }
            // The file was being replaced.
            Ok(None) | Err(_) => {}
        }
    }
}

fn scan_catalog(disk: &dyn Disk, dir: &Path) -> Result<Option<Snapshot>> {
    let items = disk.list(dir).map_err(|error| Error::io("list folder", dir, error))?;
    let is_log = |name: &str| name.strip_suffix(".log").is_some_and(|stem| stem.len() == 20);
    let (mut state, mut failed) = (None::<Snapshot>, None);
    for item in items.iter().filter(|item| !item.is_dir && is_log(&item.name)) {
        let path = dir.join(&item.name);
        let mut visit = |record: logyard_wal::ScannedRecord<'_>| match catalog_record::decode(record.payload)
        {
            Ok(Edit::Snapshot(snapshot)) => state = Some(snapshot),
            Ok(edit) => {
                if let Some(state) = &mut state {
                    state.apply(edit);
                }
            }
            Err(error) => failed = Some(error),
        };
        scan_file(disk, &path, &mut visit).map_err(|error| {
            let text = format!("cannot read {}", path.display());
            let is_disk = error.kind() == logyard_wal::Kind::Unavailable;
            if is_disk { Error::unavailable(text) } else { Error::invalid(text) }.with_source(error)
        })?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(state),
    }
}

/// Counts what the heads hold.
fn memory<'a>(heads: impl Iterator<Item = &'a Arc<Head>>, query: &StorageQuery) -> StorageMemory {
    let mut memory = StorageMemory::default();
    for head in heads {
        let (entries, raw_bytes) = head.sums(query.tenant.as_ref(), &query.days);
        memory.entries += entries;
        memory.raw_bytes += raw_bytes;
    }
    memory
}

struct Disks<'a> {
    disk: &'a dyn Disk,
    folder: &'a Folder,
}

impl Disks<'_> {
    fn report(&self, settings: &StoreSettings) -> Result<StorageDisk> {
        let (disk, dir) = (self.disk, self.folder.tenants());
        let failed = |error| Error::io("ask for the free space of", &dir, error);
        let wal = self.folder.wal();
        let items = disk.list(&wal).unwrap_or_default();
        Ok(StorageDisk {
            free_bytes: disk.free_bytes(&dir).map_err(failed)?,
            total_bytes: disk.total_bytes(&dir).map_err(failed)?,
            free_bytes_min: wanted_bytes(disk, &dir, &settings.disk).map_err(failed)?,
            wal_bytes: items.iter().map(|item| item.bytes).sum(),
            snapshots: snapshot::list_snapshots(disk, self.folder.root())?.len() as u64,
        })
    }
}

/// What one report is made of.
struct Reporter<'a> {
    segments: &'a [Arc<Segment>],
    reads: &'a SegmentReads,
    periods: &'a Periods,
    settings: &'a StoreSettings,
    query: &'a StorageQuery,
}

impl Reporter<'_> {
    fn report(&self, disks: &Disks<'_>, now_ns: i64, memory: Option<StorageMemory>) -> Result<StorageReport> {
        let tenant = self.query.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let asked = || self.segments.iter().filter(|segment| self.is_asked(&segment.record));
        let mut rows: BTreeMap<(i32, &str, &str), StorageDay> = BTreeMap::new();
        let mut streams = Streams { periods: self.periods, found: HashMap::new(), unreadable: 0 };
        for segment in asked() {
            let record = &segment.record;
            let row = rows.entry((record.day, &record.tenant, &record.class)).or_insert_with(|| day(record));
            row.add(record, gone_ns(self.periods, self.reads, segment));
            if self.query.streams_max > 0 {
                match self.reads.index(segment) {
                    Ok(index) => streams.add(&record.tenant, &index),
                    Err(_) => streams.unreadable += 1,
                }
            }
        }
        let days: Vec<StorageDay> = rows.into_values().collect();
        let mut totals = StorageSums::default();
        days.iter().for_each(|day| totals.add(&day.sums));
        let unreadable_files = streams.unreadable;
        let streams_total = (self.query.streams_max > 0).then_some(streams.found.len() as u64);
        Ok(StorageReport {
            now_ns,
            totals,
            days,
            streams: streams.largest(self.query.streams_max.min(STREAMS_MAX)),
            streams_total,
            unreadable_files,
            memory,
            disk: if tenant.is_none() { Some(disks.report(self.settings)?) } else { None },
            limits: self.limits(tenant.as_deref()),
            cap: self.cap(tenant.as_deref()),
            tenant,
        })
    }

    fn is_asked(&self, record: &SegmentRecord) -> bool {
        let tenant = self.query.tenant.as_ref();
        self.query.days.contains(&record.day) && tenant.is_none_or(|tenant| tenant.as_str() == record.tenant)
    }

    fn limits(&self, tenant: Option<&str>) -> StorageLimits {
        let retention = &self.settings.retention;
        let concerns = |policy: &&RetentionPolicySettings| match (&policy.tenant, tenant) {
            (Some(whose), Some(tenant)) => whose == tenant,
            _ => true,
        };
        StorageLimits {
            period_secs: retention.period().map_or(0, |period| period.as_secs()),
            policies: retention.policies.iter().filter(concerns).cloned().collect(),
            bytes_max: retention.bytes_max,
        }
    }

    /// Tells what goes first, by the order of the size cap itself.
    fn cap(&self, tenant: Option<&str>) -> StorageCap {
        let bytes_max = self.settings.retention.bytes_max;
        if bytes_max == 0 {
            return StorageCap::default();
        }
        let bytes: u64 = self.segments.iter().map(|segment| segment.record.bytes).sum();
        let mut next: Vec<StorageCapRow> = Vec::new();
        let is_told = |record: &SegmentRecord| tenant.is_none_or(|tenant| record.tenant == tenant);
        for segment in cap_order(self.segments, self.periods) {
            let record = &segment.record;
            if !is_told(record) {
                continue;
            }
            let day = day_name(record.day);
            let is_same = |row: &StorageCapRow| {
                (&row.day, &row.tenant, &row.class) == (&day, &record.tenant, &record.class)
            };
            if let Some(row) = next.iter_mut().find(|row| is_same(row)) {
                row.files += 1;
                row.bytes += record.bytes;
            } else if next.len() < CAP_ROWS_MAX {
                next.push(StorageCapRow {
                    tenant: record.tenant.clone(),
                    class: record.class.clone(),
                    bytes: record.bytes,
                    files: 1,
                    day,
                });
            }
        }
        // What others store is not this tenant's to know.
        let bytes_over = if tenant.is_none() { bytes.saturating_sub(bytes_max) } else { 0 };
        StorageCap { bytes_over, next }
    }
}

fn day(record: &SegmentRecord) -> StorageDay {
    StorageDay {
        day: day_name(record.day),
        tenant: record.tenant.clone(),
        class: record.class.clone(),
        sums: StorageSums::default(),
        min_ns: record.min_ns,
        max_ns: record.max_ns,
        deletion_ns: None,
    }
}

impl StorageDay {
    fn add(&mut self, record: &SegmentRecord, gone_ns: Option<i64>) {
        self.sums.add(&StorageSums {
            files: 1,
            entries: record.rows,
            raw_bytes: record.raw_bytes,
            bytes: record.bytes,
            index_bytes: record.tail_bytes,
        });
        self.min_ns = self.min_ns.min(record.min_ns);
        self.max_ns = self.max_ns.max(record.max_ns);
        self.deletion_ns = match (self.deletion_ns, gone_ns) {
            (Some(known), Some(gone)) => Some(known.min(gone)),
            (known, gone) => known.or(gone),
        };
    }
}

impl StorageSums {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.entries += other.entries;
        self.raw_bytes += other.raw_bytes;
        self.bytes += other.bytes;
        self.index_bytes += other.index_bytes;
    }
}

/// What is counted by stream.
struct Streams<'a> {
    periods: &'a Periods,
    found: HashMap<(String, StreamId), Counted>,
    unreadable: u64,
}

struct Counted {
    stream: Arc<Stream>,
    entries: u64,
    raw_bytes: u64,
    bytes: u64,
    min_ns: i64,
    max_ns: i64,
}

impl Streams<'_> {
    fn add(&mut self, tenant: &str, index: &SegmentIndex) {
        for runs in index.runs.chunk_by(|left, right| left.block == right.block) {
            let Some(block) = runs.first().and_then(|row| index.blocks.get(row.block as usize)) else {
                continue;
            };
            let weigh = |raw_bytes: u64, rows: u32| raw_bytes + u64::from(rows);
            let whole: u64 = runs.iter().map(|row| weigh(row.run.raw_bytes, row.run.rows)).sum();
            let mut before = 0;
            for row in runs {
                let run = &row.run;
                let Some(stream) = index.streams.get(run.stream_ref as usize) else { continue };
                let after = before + weigh(run.raw_bytes, run.rows);
                // What rounding takes from one the next one gets: the shares add up to the block.
                let bytes = share(u64::from(block.bytes), after, whole)
                    - share(u64::from(block.bytes), before, whole);
                before = after;
                let counted = self.found.entry((tenant.to_owned(), stream.id)).or_insert_with(|| Counted {
                    stream: Arc::clone(stream),
                    entries: 0,
                    raw_bytes: 0,
                    bytes: 0,
                    min_ns: run.min_ns,
                    max_ns: run.max_ns,
                });
                counted.entries += u64::from(run.rows);
                counted.raw_bytes += run.raw_bytes;
                counted.bytes += bytes;
                counted.min_ns = counted.min_ns.min(run.min_ns);
                counted.max_ns = counted.max_ns.max(run.max_ns);
            }
        }
    }

    /// Returns the streams of the most stored bytes, the largest first.
    fn largest(self, count: usize) -> Vec<StorageStream> {
        let mut found: Vec<((String, StreamId), Counted)> = self.found.into_iter().collect();
        let key = |((tenant, id), counted): &((String, StreamId), Counted)| {
            (Reverse(counted.bytes), tenant.clone(), *id)
        };
        found.sort_by_cached_key(key);
        found.truncate(count);
        let periods = self.periods;
        let told = |((tenant, _), counted): ((String, StreamId), Counted)| StorageStream {
            stream: counted.stream.labels.to_string(),
            entries: counted.entries,
            raw_bytes: counted.raw_bytes,
            bytes: counted.bytes,
            min_ns: counted.min_ns,
            max_ns: counted.max_ns,
            period_secs: periods.of(&tenant, &counted.stream.labels).secs(),
            tenant,
        };
        found.into_iter().map(told).collect()
    }
}

/// Returns `whole × part / of`, rounded down.
fn share(whole: u64, part: u64, of: u64) -> u64 {
    let share = u128::from(whole) * u128::from(part) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(whole)
}
