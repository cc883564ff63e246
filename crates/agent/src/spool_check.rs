//! Checks the agent's folder while no agent uses it: who it is, every record of the spool, the positions in them.
//!
//! Nothing is changed. What is damaged the next start of the agent mends: it reads again what was not acknowledged.

use std::path::{Path, PathBuf};

use logyard_sys::{Disk, LockGuard, Random};
use logyard_wal::{FileScan, log_files, scan_file};
use serde::Serialize;

use crate::agent_id::AgentId;
use crate::error::Error;
use crate::spool::spool_dir;
use crate::spool_record::{Record, decode};
use crate::spool_replay::Replay;

/// Most bytes of a batch once decompressed; one is sealed at 1 MiB and one line.
const BATCH_RAW_BYTES_MAX: usize = 256 << 20;

/// Most findings that are kept; a spool with more is as bad as with these.
const FINDINGS_MAX: usize = 1_000;

/// What is in the agent's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolReport {
    /// Records of the spool.
    pub records: u64,
    /// Batches without an acknowledgement: they are pushed at the next start.
    pub waiting_batches: u64,
    /// Entries in them.
    pub waiting_entries: u64,
    /// Targets with a position.
    pub positions: u64,
    /// Bodies that a destination refuses for good, in `refused/` and `refused-<name>/`.
    pub refused_batches: u64,
    /// Bytes of the files of the spool.
    pub bytes: u64,
    /// What is not as it should be.
    pub findings: Vec<SpoolFinding>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpoolFinding {
    /// Whether something is damaged; else it is worth a note only.
    pub is_damage: bool,
    /// The file, below the data folder.
    pub path: String,
    /// Where in the file, if it is about a part of it.
    pub offset: Option<u64>,
    /// What was found.
    pub what: String,
}

/// Checks the agent's folder in the data folder `root`; `is_deep` decodes every batch too. `None` if there is none.
///
/// Errors: [`Error::File`] if an agent uses the folder, or the disk fails; [`Error::Spool`] for a file of another
/// version. Damage is no error. Cost: reads the whole spool; memory for its positions and one batch.
/// Source: `schemas/spool.md`, version 1.
pub fn check_spool(disk: &dyn Disk, root: &Path, is_deep: bool) -> Result<Option<SpoolReport>, Error> {
    let dir = root.join("agent");
    if disk.metadata(&dir).map_err(Error::file("look at", &dir))?.is_none() {
        return Ok(None);
    }
    let lock_path = dir.join("lock");
    let lock = disk.lock(&lock_path).map_err(Error::file("lock", &lock_path))?;
    let mut check = Check { disk, root, is_deep, out: SpoolReport::default() };
    if let Err(error) = AgentId::load(disk, &dir, &Random::seeded(0)) {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        check.add(true, &dir.join("id"), None, why);
    }
    check.spool(&spool_dir(&dir))?;
    let folders = disk.list(&dir).unwrap_or_default();
    let refused = folders.iter().filter(|item| item.name == "refused" || item.name.starts_with("refused-"));
    check.out.refused_batches = refused
        .flat_map(|folder| disk.list(&dir.join(&folder.name)).unwrap_or_default())
        .filter(|item| !item.name.ends_with(".reason"))
        .count() as u64;
    drop::<Box<dyn LockGuard>>(lock);
    Ok(Some(check.out))
}

struct Check<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    is_deep: bool,
    out: SpoolReport,
}

impl Check<'_> {
    fn spool(&mut self, dir: &Path) -> Result<(), Error> {
        if self.disk.metadata(dir).map_err(Error::file("look at", dir))?.is_none() {
            return Ok(());
        }
        let files = log_files(self.disk, dir).map_err(Error::file("list", dir))?;
        let paths: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
        let (mut replay, mut next) = (Replay::default(), None::<u64>);
        for (number, path) in (1..).zip(&paths) {
            let mut bad = Vec::new();
            let is_deep = self.is_deep;
            let scanned = scan_file(self.disk, path, &mut |record| {
                if let Err(what) = take(&mut replay, record.sequence, record.payload, is_deep) {
                    bad.push((record.offset, format!("record {}: {what}", record.sequence)));
                }
            });
            let scan =
                scanned.map_err(|source| Error::Spool { action: "read", path: dir.to_owned(), source })?;
            for (offset, what) in bad {
                self.add(true, path, Some(offset), what);
            }
            if let Some(next) = next.filter(|next| scan.first_sequence > *next) {
                self.add(
                    true,
                    path,
                    None,
                    format!("records {next} to {} are missing before it", scan.first_sequence - 1),
                );
            }
            next = Some(scan.next_sequence);
            self.file(path, &scan, number == paths.len());
        }
        let waiting = &replay.waiting;
        self.out.waiting_batches = waiting.len() as u64;
        self.out.waiting_entries = waiting.iter().map(|batch| u64::from(batch.entries)).sum();
        self.out.positions = replay.into_positions().len() as u64;
        Ok(())
    }

    fn file(&mut self, path: &Path, scan: &FileScan, is_last: bool) {
        self.out.records += scan.records;
        self.out.bytes += scan.bytes;
        for hole in &scan.holes {
            self.add(
                true,
                path,
                Some(hole.start),
                format!("{} bytes are no whole record", hole.end - hole.start),
            );
        }
        let Some(torn_at) = scan.torn_at else { return };
        let bytes = scan.bytes.saturating_sub(torn_at);
        // A killed process leaves an unfinished write, about which nothing was promised.
        let is_damage = !is_last || scan.is_torn_whole;
        let what = if is_damage { "no whole record" } else { "an unfinished write, which is read again" };
        self.add(is_damage, path, Some(torn_at), format!("{bytes} bytes at the end are {what}"));
    }

    fn add(&mut self, is_damage: bool, path: &Path, offset: Option<u64>, what: String) {
        if self.out.findings.len() < FINDINGS_MAX {
            let path = path.strip_prefix(self.root).unwrap_or(path).display().to_string();
            self.out.findings.push(SpoolFinding { is_damage, path, offset, what });
        }
    }
}

/// Takes a record, as a start of the agent does, and looks into its batch if that is wanted.
fn take(replay: &mut Replay, sequence: u64, payload: &[u8], is_deep: bool) -> Result<(), String> {
    if is_deep && let Ok(Record::Batch { encoded, entries, .. }) = decode(payload) {
        let batch = logyard_codec::decode_batch(encoded, BATCH_RAW_BYTES_MAX)
            .map_err(|error| format!("its batch cannot be read: {error}"))?;
        let found: usize = batch.chunks.iter().map(|chunk| chunk.entries.len()).sum();
        if found != entries as usize {
            return Err(format!("its batch has {found} entries, want {entries}"));
        }
    }
    replay.take(sequence, payload, [0; 16]).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use logyard_codec::{Entries, encode_batch};
    use logyard_model::LabelSet;
    use logyard_sys::{SimClock, SimDisk};

    use super::*;
    use crate::batch::SealedBatch;
    use crate::position::{OutputPosition, Position};
    use crate::spool::{Spool, SpoolBounds, SpoolParts};
    use crate::spool_mark::MarkSettings;

    fn root() -> PathBuf {
        PathBuf::from("/data")
    }

    fn batch(number: i64) -> SealedBatch {
        let mut entries = Entries::default();
        entries.push(number, b"a line", "", &LabelSet::default());
        let labels = LabelSet::from_pairs([("app", "a")]);
        let output = OutputPosition { ns: number, ordinal: 1, proof_ns: number, step: None };
        SealedBatch {
            encoded: Bytes::from(encode_batch(&[(&labels, &entries)])),
            entries: 1,
            positions: BTreeMap::from([("docker:a".to_owned(), Position::Container([Some(output), None]))]),
        }
    }

    /// A spool of three batches, the first acknowledged.
    fn folder() -> SimDisk {
        let disk = SimDisk::new();
        let dir = root().join("agent");
        disk.create_dir_all(&dir).unwrap();
        let parts = SpoolParts {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(1)),
            random: Arc::new(Random::seeded(1)),
            dir,
            bounds: SpoolBounds { bytes_max: 1 << 20, file_bytes: 1 << 20, cached_bytes_max: 1 << 20 },
            destinations: MarkSettings::only(),
        };
        let (mut spool, _) = Spool::open(parts).unwrap();
        for number in 1..=3 {
            spool.append(spool.next_sequence(), &batch(number)).unwrap();
        }
        let first = spool.front(0).unwrap().unwrap().0.record;
        spool.ack(0, first).unwrap();
        spool.sync().unwrap();
        drop(spool);
        disk.crash()
    }

    fn log(disk: &SimDisk) -> PathBuf {
        let dir = root().join("agent/spool");
        let names: Vec<String> = disk.list(&dir).unwrap().into_iter().map(|item| item.name).collect();
        dir.join(names.iter().find(|name| name.ends_with(".log")).unwrap())
    }

    #[test]
    fn a_good_spool_is_counted() {
        let disk = folder();
        for is_deep in [false, true] {
            let report = check_spool(&disk, &root(), is_deep).unwrap().unwrap();
            assert!(report.findings.is_empty(), "{report:?}");
            assert_eq!((report.waiting_batches, report.waiting_entries, report.positions), (2, 2, 1));
            assert!(report.records >= 4 && report.bytes > 0);
        }
        assert_eq!(check_spool(&SimDisk::new(), &root(), true).unwrap(), None);
    }

    #[test]
    fn any_damaged_byte_is_told() {
        let disk = folder();
        let path = log(&disk);
        let good = disk.read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            disk.write_atomic(&path, &bad).unwrap();
            match check_spool(&disk, &root(), true) {
                Ok(report) => assert!(!report.unwrap().findings.is_empty(), "byte {at}"),
                Err(error) => assert!(matches!(error, Error::Spool { .. }), "byte {at}: {error}"),
            }
        }
        disk.write_atomic(&path, &good[..good.len() - 3]).unwrap();
        let report = check_spool(&disk, &root(), true).unwrap().unwrap();
        assert!(report.findings.iter().all(|finding| !finding.is_damage), "an unfinished write: {report:?}");
        disk.write_atomic(&root().join("agent/id"), b"nobody").unwrap();
        let report = check_spool(&disk, &root(), false).unwrap().unwrap();
        assert!(report.findings[0].is_damage && report.findings[0].path == "agent/id", "{report:?}");
    }

    #[test]
    fn a_spool_in_use_is_refused() {
        let disk = folder();
        let held = disk.lock(&root().join("agent/lock")).unwrap();
        assert!(check_spool(&disk, &root(), false).is_err());
        drop(held);
        assert!(check_spool(&disk, &root(), false).is_ok());
    }
}
