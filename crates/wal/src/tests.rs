//! The log against a list: crashes anywhere, damage, full disks, failed syncs.

use super::*;
use logyard_sys::{Disk, RealDisk, SimDisk};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SMALL: LogSettings = LogSettings { file_bytes_max: 200, record_bytes_max: 1000 };

type Records = Vec<(u64, Vec<u8>)>;

fn dir() -> &'static Path {
    Path::new("/data/wal")
}

fn try_open(disk: &SimDisk, settings: LogSettings, from: u64) -> Result<(Log, Recovery, Records), Error> {
    let mut records = Vec::new();
    let (log, recovery) =
        Log::open(Arc::new(disk.clone()), dir(), settings, from, &mut |sequence, payload| {
            records.push((sequence, payload.to_vec()));
            Ok::<(), Infallible>(())
        })?;
    Ok((log, recovery, records))
}

fn open(disk: &SimDisk, from: u64) -> (Log, Recovery, Records) {
    try_open(disk, SMALL, from).unwrap()
}

fn payload(number: u64) -> Vec<u8> {
    format!("payload {number} ").repeat((number % 5) as usize).into_bytes()
}

/// Appends and syncs `count` records; returns them.
fn fill(log: &mut Log, count: u64) -> Records {
    let records = (0..count).map(|_| {
        let payload = payload(log.next_sequence());
        (log.append(&payload).unwrap(), payload)
    });
    let records = records.collect();
    log.sync().unwrap();
    records
}

fn log_files(disk: &SimDisk) -> Vec<PathBuf> {
    let items = disk.list(dir()).unwrap().into_iter().filter(|item| !item.is_dir);
    items.map(|item| dir().join(item.name)).collect()
}

#[test]
fn records_come_back_in_order_from_the_wanted_one() {
    let disk = SimDisk::new();
    let (mut log, recovery, records) = open(&disk, 0);
    assert_eq!((recovery, records.len(), log.next_sequence()), (Recovery::default(), 0, 1));
    let written = fill(&mut log, 30);
    assert!(log.files() > 3);
    let bytes: u64 = disk.list(dir()).unwrap().iter().map(|item| item.bytes).sum();
    assert_eq!(log.bytes(), bytes);
    let (log, recovery, records) = open(&disk.crash(), 12);
    assert_eq!(records, written[11..]);
    assert_eq!((recovery.records, recovery.bytes, log.next_sequence()), (30, bytes, 31));
}

#[test]
fn a_torn_tail_is_cut_and_the_file_goes_on() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut written = fill(&mut log, 2);
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    let mut torn = disk.append_file(&file).unwrap();
    torn.write_all(&[9, 0, 0, 0, 1, 2, 3, 4, 3]).unwrap();
    let (mut log, recovery, records) = open(&disk, 0);
    assert_eq!((recovery.torn_bytes, &records), (9, &written));
    assert!(recovery.quarantined.is_empty());
    written.extend(fill(&mut log, 1));
    assert_eq!(log.files(), 1);
    let (_, recovery, records) = open(&disk, 0);
    assert_eq!((recovery.torn_bytes, records), (0, written));
}

#[test]
fn a_damaged_record_at_the_end_is_no_torn_tail() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut written = fill(&mut log, 2);
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    let start = disk.metadata(&file).unwrap().unwrap().bytes - 16 - written[1].1.len() as u64;
    // A shorter length, a longer one, a checksum, a sequence, a payload.
    for (at, mask) in [(0, 2), (1, 0x80), (5, 1), (8, 4), (20, 0x10)] {
        let copy = disk.crash();
        copy.damage(&file, start + at, mask).unwrap();
        let (mut log, recovery, records) = open(&copy, 0);
        assert_eq!((recovery.torn_bytes, recovery.quarantined.len()), (0, 1), "byte {at}");
        assert_eq!(records, written[..1], "byte {at}");
        let more = fill(&mut log, 1);
        assert_eq!(open(&copy.crash(), 0).2, [&written[..1], &more].concat(), "byte {at}");
    }
    // Half of it is one.
    disk.truncate(&file, start + 20).unwrap();
    let (_, recovery, records) = open(&disk, 0);
    written.truncate(1);
    assert_eq!((recovery.torn_bytes, recovery.quarantined.len(), records), (20, 0, written));
}

#[test]
fn a_record_with_a_sector_that_was_never_written_is_a_torn_tail() {
    let disk = SimDisk::new();
    let settings = LogSettings { file_bytes_max: 1 << 20, record_bytes_max: 1 << 20 };
    let (mut log, _, _) = try_open(&disk, settings, 0).unwrap();
    let written = fill(&mut log, 1);
    let good = disk.metadata(&log_files(&disk).pop().unwrap()).unwrap().unwrap().bytes as usize;
    log.append(&[7; 3_000]).unwrap();
    log.sync().unwrap();
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    let whole = disk.read(&file).unwrap();
    for sector in [1_024..1_536, 512..whole.len(), 2_560..whole.len()] {
        let mut bytes = whole.clone();
        bytes[sector].fill(0);
        let copy = disk.crash();
        copy.write_atomic(&file, &bytes).unwrap();
        let (mut log, recovery, records) = try_open(&copy, settings, 0).unwrap();
        assert_eq!(recovery.torn_bytes as usize, whole.len() - good);
        assert_eq!((recovery.quarantined.len(), &records), (0, &written));
        fill(&mut log, 1);
    }
    // A whole sector that is wrong in one bit was written.
    let copy = disk.crash();
    copy.damage(&file, 1_024, 1).unwrap();
    let (_, recovery, records) = try_open(&copy, settings, 0).unwrap();
    assert_eq!((recovery.torn_bytes, recovery.quarantined.len(), records), (0, 1, written));
}

#[test]
fn a_damaged_length_that_leads_to_a_later_record_costs_one_record() {
    let disk = SimDisk::new();
    let settings = LogSettings { file_bytes_max: 1_000, ..SMALL };
    let (mut log, _, _) = try_open(&disk, settings, 0).unwrap();
    let written = fill(&mut log, 8);
    drop(log);
    // The second record, of 20 bytes, now ends where the seventh begins.
    disk.damage(&log_files(&disk)[0], 46, 20 ^ 164).unwrap();
    let (_, recovery, records) = try_open(&disk, settings, 0).unwrap();
    let expect: Records = written.into_iter().filter(|(sequence, _)| *sequence != 2).collect();
    assert_eq!((records, recovery.missing), (expect, 1));
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_tail() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let written = fill(&mut log, 2);
    let file = log_files(&disk).pop().unwrap();
    disk.append_file(&file).unwrap().write_all(&[0; 64]).unwrap();
    let (_, recovery, records) = open(&disk, 0);
    assert_eq!((recovery.torn_bytes, recovery.missing, records), (64, 0, written));
}

/// The first sequence that the name of a log file tells.
fn first_of(file: &Path) -> u64 {
    file.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_damaged_byte_costs_its_record_alone() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let written = fill(&mut log, 30);
    drop(log);
    let files = log_files(&disk);
    let file = &files[1];
    let bytes = disk.read(file).unwrap();
    let after = first_of(&files[2]);
    // Where the second file's records begin.
    let mut starts = vec![20];
    for (_, payload) in written.iter().filter(|(sequence, _)| (first_of(file)..after).contains(sequence)) {
        starts.push(starts.last().unwrap() + 16 + payload.len());
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x41;
        disk.write_atomic(file, &bad).unwrap();
        let (log, recovery, records) = open(&disk, 0);
        let hit = starts.iter().rposition(|start| *start <= at).map(|index| first_of(file) + index as u64);
        let expect: Records =
            written.iter().filter(|(sequence, _)| Some(*sequence) != hit).cloned().collect();
        assert_eq!(records, expect, "byte {at}");
        assert_eq!(
            (recovery.missing, recovery.quarantined.len()),
            (u64::from(hit.is_some()), 1),
            "byte {at}"
        );
        assert_eq!(log.next_sequence(), 31);
        drop(log);
        let (_, recovery, records) = open(&disk.crash(), 0);
        assert_eq!((recovery.quarantined.len(), records), (0, expect), "byte {at}, opened again");
    }
}

#[test]
fn several_damaged_records_of_a_file_are_cut_out() {
    let disk = SimDisk::new();
    let log_settings = LogSettings { file_bytes_max: 1 << 20, record_bytes_max: 1000 };
    let (mut log, _, _) = try_open(&disk, log_settings, 0).unwrap();
    let written = fill(&mut log, 30);
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    let mut start = 20;
    for (sequence, payload) in &written {
        // The length of each fifth record, so that only a look at every byte finds the next.
        if sequence % 5 == 0 {
            disk.damage(&file, start + 1, 0xff).unwrap();
        }
        start += 16 + payload.len() as u64;
    }
    // The last one has nothing good behind it, and yet all that its checksum is of: no unfinished write.
    let expect: Records = written.iter().filter(|(sequence, _)| sequence % 5 != 0).cloned().collect();
    let (mut log, recovery, records) = try_open(&disk, log_settings, 0).unwrap();
    assert_eq!((records, recovery.missing, recovery.quarantined.len()), (expect.clone(), 5, 6));
    assert_eq!(recovery.torn_bytes, 0);
    let more = fill(&mut log, 2);
    let all: Records = expect.into_iter().chain(more).collect();
    assert_eq!(try_open(&disk.crash(), log_settings, 0).unwrap().2, all);
}

#[test]
fn a_crash_at_every_change_of_a_repair_keeps_the_good_records() {
    for halt_after in 0.. {
        let disk = SimDisk::new();
        let (mut log, _, _) = open(&disk, 0);
        let written = fill(&mut log, 30);
        drop(log);
        let files = log_files(&disk);
        disk.damage(&files[1], 20 + 8, 1).unwrap();
        let expect: Records =
            written.into_iter().filter(|(sequence, _)| *sequence != first_of(&files[1])).collect();
        disk.halt_after(halt_after);
        let is_whole = try_open(&disk, SMALL, 0).is_ok();
        for crashed in [disk.crash(), disk.crash_seeded(halt_after)] {
            assert_eq!(open(&crashed, 0).2, expect, "halted after {halt_after} changes");
            assert_eq!(open(&crashed.crash(), 0).2, expect);
        }
        if is_whole {
            assert!(halt_after > 8, "a repair has more changes than {halt_after}");
            return;
        }
    }
}

#[test]
fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut inner = Vec::new();
    record::put_record(&mut inner, 2, &[b"never written"]);
    log.append(&inner).unwrap();
    log.append(b"two").unwrap();
    log.sync().unwrap();
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    // The checksum of the first record.
    disk.damage(&file, 20 + 4, 1).unwrap();
    assert_eq!(open(&disk, 0).2, [(2, b"two".to_vec())]);
}

#[test]
fn damage_in_the_last_file_never_frees_sequences_for_others() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut written = fill(&mut log, 4);
    drop(log);
    let file = log_files(&disk).pop().unwrap();
    disk.damage(&file, 20, 0x40).unwrap();
    let (mut log, recovery, records) = open(&disk, 0);
    written.remove(0);
    assert_eq!((&records, recovery.missing, recovery.quarantined.len()), (&written, 1, 1));
    assert_eq!(log.next_sequence(), 5);
    written.extend(fill(&mut log, 1));
    assert_eq!(open(&disk.crash(), 0).2, written);
}

#[test]
fn a_file_without_header_and_records_is_quarantined_whole() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let written = fill(&mut log, 30);
    drop(log);
    let files = log_files(&disk);
    let zeros = vec![0; disk.read(&files[0]).unwrap().len()];
    disk.write_atomic(&files[0], &zeros).unwrap();
    let (_, recovery, records) = open(&disk, 0);
    let second_first = first_of(&files[1]);
    assert_eq!(records, written[second_first as usize - 1..]);
    assert_eq!((recovery.missing, recovery.quarantined.len()), (second_first - 1, 1));
}

#[test]
fn another_version_is_refused_by_name() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    fill(&mut log, 1);
    let file = log_files(&disk).pop().unwrap();
    let mut bytes = disk.read(&file).unwrap();
    bytes[4] = 2;
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    disk.create_file(&file).unwrap().write_all(&bytes).unwrap();
    let error = try_open(&disk, SMALL, 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("is of version 2, this program reads version 1"), "{error}");
}

#[test]
fn trim_frees_whole_files_and_keeps_the_sequence() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let written = fill(&mut log, 30);
    let (before, files) = (log.bytes(), log_files(&disk));
    let second_first: u64 = files[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(log.trim(second_first - 1).unwrap(), 0);
    let freed = log.trim(second_first).unwrap();
    assert_eq!((log.bytes(), log.files()), (before - freed, files.len() - 1));
    assert_eq!(open(&disk.crash(), 0).2, written[second_first as usize - 1..]);
    log.rotate().unwrap();
    log.trim(u64::MAX).unwrap();
    log.rotate().unwrap();
    assert_eq!(log.files(), 1);
    let (log, recovery, records) = open(&disk.crash(), 0);
    assert_eq!((records.len(), recovery.missing, log.next_sequence()), (0, 0, 31));
}

#[test]
fn sequences_start_at_the_wanted_one_in_an_empty_folder() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 500);
    let written = fill(&mut log, 1);
    assert_eq!(written[0].0, 500);
    let (log, recovery, records) = open(&disk, 500);
    assert_eq!((records, recovery.missing, log.next_sequence()), (written, 0, 501));
}

#[test]
fn replayed_records_are_durable_even_if_nobody_synced_them() {
    for from in [0, 2, 7] {
        let disk = SimDisk::new();
        let (log, _, _) = open(&disk, 0);
        drop(log);
        let mut record = Vec::new();
        record::put_record(&mut record, 1, &[b"written by a process that was killed"]);
        disk.append_file(&log_files(&disk)[0]).unwrap().write_all(&record).unwrap();
        assert_eq!(open(&disk.crash(), 0).2.len(), 0);
        open(&disk, from);
        assert_eq!(open(&disk.crash(), 0).2.len(), 1, "opened from {from}");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_accepted() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let written = fill(&mut log, 2);
    log.append(b"lost").unwrap();
    disk.fail_sync(1);
    assert_eq!(log.sync().unwrap_err().kind(), Kind::Unavailable);
    assert!(log.is_poisoned());
    assert!(log.append(b"refused").is_err() && log.sync().is_err() && log.rotate().is_err());
    assert!(log.trim(2).is_err());
    assert_eq!(open(&disk.crash(), 0).2, written);
}

#[test]
fn a_full_disk_voids_the_unsynced_and_the_log_goes_on() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut written = fill(&mut log, 2);
    disk.set_free_bytes(Some(10));
    log.append(&[b'x'; 50]).unwrap();
    let error = log.sync().unwrap_err();
    assert!(error.is_disk_full() && !log.is_poisoned());
    assert_eq!((log.next_sequence(), open(&disk.crash(), 0).2), (3, written.clone()));
    disk.set_free_bytes(None);
    written.extend(fill(&mut log, 20));
    assert_eq!(open(&disk.crash(), 0).2, written);
}

#[test]
fn a_log_opens_on_a_full_disk_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let mut written = fill(&mut log, 4);
    log.rotate().unwrap();
    drop(log);
    let disk = disk.crash();
    disk.set_free_bytes(Some(0));
    let (mut log, _, records) = open(&disk, 0);
    assert_eq!((records, log.is_poisoned()), (written.clone(), false));
    log.append(b"no room").unwrap();
    assert!(log.sync().unwrap_err().is_disk_full());
    disk.set_free_bytes(None);
    written.extend(fill(&mut log, 2));
    assert_eq!(open(&disk.crash(), 0).2, written);
}

#[test]
fn a_disk_that_fills_up_at_any_byte_loses_nothing_synced() {
    for free in 0..600 {
        let disk = SimDisk::new();
        disk.create_dir_all(dir()).unwrap();
        disk.set_free_bytes(Some(free));
        let mut synced = Vec::new();
        if let Ok((mut log, _, _)) = try_open(&disk, SMALL, 0) {
            for number in 0..20 {
                let Ok(sequence) = log.append(&payload(number)) else { break };
                if log.sync().is_err() {
                    break;
                }
                synced.push((sequence, payload(number)));
            }
        }
        let after = disk.crash();
        let (mut log, _, records) = open(&after, 0);
        assert_eq!(records, synced, "with {free} bytes free");
        synced.extend(fill(&mut log, 2));
        assert_eq!(open(&after.crash(), 0).2, synced);
    }
}

#[test]
fn limits_are_named_and_change_nothing() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    let error = log.append(&[0; 1001]).unwrap_err();
    assert_eq!(error.kind(), Kind::Limited);
    assert_eq!(error.to_string(), "cannot append record of 1001 bytes: limit is 1000 bytes; split it");
    assert_eq!(log.append(&[0; 1000]).unwrap(), 1);
    log.sync().unwrap();
    let lowered = LogSettings { record_bytes_max: 10, ..SMALL };
    assert_eq!(try_open(&disk, lowered, 0).unwrap().2, [(1, vec![0; 1000])]);
}

#[test]
fn a_refused_record_names_itself() {
    let disk = SimDisk::new();
    let (mut log, _, _) = open(&disk, 0);
    fill(&mut log, 3);
    let refuse = &mut |sequence, _: &[u8]| if sequence == 2 { Err("no") } else { Ok(()) };
    let error = Log::open(Arc::new(disk), dir(), SMALL, 0, refuse).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert_eq!(error.to_string(), "cannot replay record 2 of /data/wal/00000000000000000001.log");
}

#[test]
fn records_larger_than_the_window_survive_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let wal = folder.path().join("a/wal");
    let settings = LogSettings::default();
    let ignore = &mut |_, _: &[u8]| Ok::<(), Infallible>(());
    let (mut log, _) = Log::open(Arc::clone(&disk), &wal, settings, 0, ignore).unwrap();
    let large: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    log.append(b"small").unwrap();
    log.append(&large).unwrap();
    log.append(b"").unwrap();
    log.sync().unwrap();
    let mut found = Vec::new();
    Log::open(disk, &wal, settings, 2, &mut |sequence, payload| {
        found.push((sequence, payload == large));
        Ok::<(), Infallible>(())
    })
    .unwrap();
    assert_eq!(found, [(2, true), (3, false)]);
}

/// Any bytes as a log file: opening ends without panic, and a second one finds the same.
fn open_bytes(bytes: &[u8]) {
    let disk = SimDisk::new();
    disk.create_dir_all(dir()).unwrap();
    let path = dir().join("00000000000000000001.log");
    disk.create_file(&path).unwrap().write_all(bytes).unwrap();
    match try_open(&disk, SMALL, 0) {
        Ok((_, _, records)) => assert_eq!(open(&disk, 0).2, records),
        Err(error) => assert_eq!(error.kind(), Kind::Invalid),
    }
}

#[test]
fn the_fuzz_corpus_opens() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/record_log");
    let items = RealDisk.list(&corpus).unwrap();
    assert!(!items.is_empty());
    items.iter().for_each(|item| open_bytes(&RealDisk.read(&corpus.join(&item.name)).unwrap()));
}

#[test]
fn the_sample_file_of_version_1_is_read() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/record_log/version_1");
    let disk = SimDisk::new();
    disk.create_dir_all(dir()).unwrap();
    let mut file = disk.create_file(&dir().join("00000000000000000001.log")).unwrap();
    file.write_all(&RealDisk.read(&sample).unwrap()).unwrap();
    let expect = [(1, b"first".to_vec()), (2, Vec::new()), (3, b"third".to_vec())];
    let (_, recovery, records) = open(&disk, 0);
    assert_eq!((records.as_slice(), recovery.torn_bytes), (expect.as_slice(), 0));
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Sync,
    Rotate,
    Trim(u64),
    /// Power cut at once.
    Crash(u64),
    /// The process dies, the system lives.
    Kill,
    /// Power cut after some more operations of the disk.
    CrashLater(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..120).prop_map(Step::Append),
        4 => Just(Step::Sync),
        1 => Just(Step::Rotate),
        1 => (0u64..8).prop_map(Step::Trim),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Kill),
        2 => (0u64..12, any::<u64>()).prop_map(|(after, seed)| Step::CrashLater(after, seed)),
    ]
}

/// The log as a list, and the one at work.
struct Model {
    disk: SimDisk,
    log: Log,
    /// Everything ever appended, by sequence; a sequence voided by a crash is overwritten by its successor.
    appended: BTreeMap<u64, Vec<u8>>,
    synced_below: u64,
    trimmed_below: u64,
    crash_seed: u64,
}

impl Model {
    fn reopen(&mut self, disk: SimDisk) {
        self.disk = disk;
        let (log, recovery, records) = open(&self.disk, 0);
        let next = records.last().map_or(0, |(sequence, _)| sequence + 1).max(self.synced_below);
        let expect: BTreeMap<u64, Vec<u8>> =
            self.appended.range(..next).map(|(s, p)| (*s, p.clone())).collect();
        let replayed: BTreeMap<u64, Vec<u8>> = records.iter().cloned().collect();
        assert!(records.is_sorted_by(|a, b| a.0 < b.0), "in order");
        for (sequence, payload) in &replayed {
            assert_eq!(expect.get(sequence), Some(payload), "nothing is invented");
        }
        for sequence in expect.range(self.trimmed_below..self.synced_below).map(|(sequence, _)| sequence) {
            assert!(replayed.contains_key(sequence), "synced record {sequence} is replayed: {recovery:?}");
        }
        assert!(log.next_sequence() >= self.synced_below, "no sequence is used twice");
        self.appended.retain(|sequence, _| *sequence < next);
        self.synced_below = log.next_sequence();
        self.log = log;
    }

    /// Returns whether the power is still on.
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Append(bytes) => {
                let sequence = self.log.next_sequence();
                let payload = format!("{sequence} {}", "x".repeat(*bytes)).into_bytes();
                // Known before the call: a crash inside of it may leave the record whole.
                self.appended.insert(sequence, payload.clone());
                self.log.append(&payload).is_ok()
            }
            Step::Sync => {
                let next = self.log.next_sequence();
                let is_on = self.log.sync().is_ok();
                if is_on {
                    self.synced_below = next;
                }
                is_on
            }
            Step::Rotate => self.log.rotate().is_ok(),
            Step::Trim(back) => {
                let below = self.synced_below.saturating_sub(*back);
                self.trimmed_below = self.trimmed_below.max(below);
                self.log.trim(below).is_ok()
            }
            Step::Crash(seed) => {
                // Also while the log is being recovered.
                let interrupted = self.disk.crash_seeded(*seed);
                interrupted.halt_after(seed % 12);
                drop(try_open(&interrupted, SMALL, 0));
                self.reopen(interrupted.crash_seeded(*seed));
                true
            }
            Step::Kill => {
                self.disk.halt_after(0);
                let after = self.disk.clone();
                after.halt_after(u64::MAX);
                self.reopen(after);
                true
            }
            Step::CrashLater(after, seed) => {
                self.disk.halt_after(*after);
                self.crash_seed = *seed;
                true
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn crashes_anywhere_lose_nothing_synced(steps in proptest::collection::vec(step(), 1..60)) {
        let disk = SimDisk::new();
        let log = open(&disk, 0).0;
        let mut model =
            Model { disk, log, appended: BTreeMap::new(), synced_below: 1, trimmed_below: 0, crash_seed: 0 };
        for step in &steps {
            if !model.apply(step) {
                model.reopen(model.disk.crash_seeded(model.crash_seed));
            }
        }
        model.reopen(model.disk.crash());
    }

    #[test]
    fn any_bytes_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        open_bytes(&bytes);
    }

    #[test]
    fn mutated_files_open(offset in 0usize..400, mask in 1u8.., cut in 0usize..400) {
        let disk = SimDisk::new();
        let (mut log, _, _) = try_open(&disk, LogSettings { file_bytes_max: 1000, ..SMALL }, 0).unwrap();
        let written = fill(&mut log, 8);
        let mut bytes = disk.read(&log_files(&disk)[0]).unwrap();
        let offset = offset % bytes.len();
        bytes[offset] ^= mask;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let after = SimDisk::new();
        after.create_dir_all(dir()).unwrap();
        after.create_file(&dir().join("00000000000000000001.log")).unwrap().write_all(&bytes).unwrap();
        open_bytes(&bytes);
        if let Ok((_, _, records)) = try_open(&after, SMALL, 0) {
            prop_assert!(records.iter().all(|record| written.contains(record)));
            prop_assert!(records.is_sorted_by_key(|(sequence, _)| *sequence));
            // One record is damaged at most; what is cut off misses at the end.
            let last = records.last().map_or(0, |(sequence, _)| *sequence);
            prop_assert!(last <= records.len() as u64 + 1);
        }
    }
}

#[test]
fn written_records_outlive_the_process_and_only_synced_ones_the_power() {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk, 0);
    let synced = fill(&mut log, 2);
    log.append(b"written").unwrap();
    log.write().unwrap();
    log.append(b"gathered").unwrap();
    drop(log);
    let after_power_cut = disk.crash();
    let (_, _, records) = open(&disk, 0);
    assert_eq!(records[..2], synced);
    assert_eq!(records[2..], [(3, b"written".to_vec())]);
    let (_, _, records) = open(&after_power_cut, 0);
    assert_eq!(records, synced);
}
