//! Tests of the spool, on a simulated disk that crashes and lies.

use super::*;
use crate::position::OutputPosition;
use logyard_sys::{SimClock, SimDisk};

const DIR: &str = "/data/agent";

fn parts(disk: &SimDisk, seed: u64) -> SpoolParts {
    let bounds = SpoolBounds { bytes_max: 1 << 20, file_bytes: 300, cached_bytes_max: 250 };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let _created: bool = disk.create_dir_all(Path::new(DIR)).is_ok();
    let clock = Arc::new(SimClock::new(1_700_000_000_000_000_000));
    SpoolParts {
        disk,
        clock,
        random: Arc::new(Random::seeded(seed)),
        dir: DIR.into(),
        bounds,
        destinations: MarkSettings::only(),
    }
}

fn open(disk: &SimDisk) -> (Spool, SpoolFound) {
    Spool::open(parts(disk, 7)).unwrap()
}

/// A batch that says which one it is, with the position that it reaches.
fn batch(number: i64) -> SealedBatch {
    let output = OutputPosition { ns: number, ordinal: 1, proof_ns: number, step: None };
    let position = Position::Container([Some(output), None]);
    SealedBatch {
        encoded: Bytes::from(format!("batch {number:>100}")),
        entries: 1,
        positions: BTreeMap::from([("docker:a".to_owned(), position)]),
    }
}

fn append(spool: &mut Spool, number: i64) -> Result<(), Error> {
    let sequence = spool.next_sequence();
    spool.append(sequence, &batch(number))
}

fn reached(spool: &Spool) -> i64 {
    match spool.positions().get("docker:a").map(|stored| &stored.position) {
        Some(Position::Container([Some(output), _])) => output.ns,
        _ => 0,
    }
}

fn number_of(encoded: &[u8]) -> i64 {
    String::from_utf8_lossy(encoded).trim_start_matches("batch").trim().parse().unwrap()
}

/// Takes all waiting batches in order, acknowledging each.
fn take_all(spool: &mut Spool) -> Vec<(BatchId, i64)> {
    let mut taken = Vec::new();
    while let Some((front, encoded)) = spool.front(0).unwrap() {
        taken.push((front.id, number_of(&encoded)));
        spool.ack(0, front.record).unwrap();
    }
    taken
}

fn numbers(taken: &[(BatchId, i64)]) -> Vec<i64> {
    taken.iter().map(|(_, number)| *number).collect()
}

#[test]
fn batches_come_back_in_order_with_their_ids() {
    let disk = SimDisk::new();
    let (mut spool, found) = open(&disk);
    assert_eq!(found, SpoolFound { batches: 0, entries: 0, is_damaged: false });
    for number in 1..=9 {
        append(&mut spool, number).unwrap();
    }
    let (first, _) = spool.front(0).unwrap().unwrap();
    spool.ack(0, first.record).unwrap();
    spool.sync().unwrap();
    drop(spool);
    let (mut spool, found) = open(&disk);
    assert_eq!((found.batches, found.entries), (8, 8));
    assert_eq!(reached(&spool), 9);
    let taken = take_all(&mut spool);
    assert_eq!(numbers(&taken), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(taken.iter().all(|(id, number)| id.epoch == 1 && id.sequence == *number as u64));
}

#[test]
fn acknowledged_files_go_and_positions_stay() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    for number in 1..=40 {
        append(&mut spool, number).unwrap();
        let (front, _) = spool.front(0).unwrap().unwrap();
        spool.ack(0, front.record).unwrap();
    }
    assert!(spool.bytes() < 1_500, "{} bytes are left", spool.bytes());
    spool.sync().unwrap();
    drop(spool);
    let (spool, found) = open(&disk);
    assert_eq!((found.batches, reached(&spool), spool.next_sequence()), (0, 40, 41));
}

#[test]
fn a_full_spool_is_full_until_an_ack() {
    let disk = SimDisk::new();
    let mut parts = parts(&disk, 7);
    parts.bounds.bytes_max = 1_000;
    let (mut spool, _) = Spool::open(parts).unwrap();
    let mut number = 0;
    while !spool.is_full() {
        number += 1;
        append(&mut spool, number).unwrap();
    }
    assert!(number > 3);
    take_all(&mut spool);
    assert!(!spool.is_full());
}

#[test]
fn vanished_targets_are_forgotten_after_a_week() {
    let disk = SimDisk::new();
    let parts = parts(&disk, 7);
    let clock = Arc::new(SimClock::new(1_700_000_000_000_000_000));
    let (mut spool, _) = Spool::open(SpoolParts { clock: Arc::<SimClock>::clone(&clock), ..parts }).unwrap();
    append(&mut spool, 1).unwrap();
    spool.set_present("docker:a", false);
    let other = |number| SealedBatch {
        positions: BTreeMap::from([("docker:b".to_owned(), Position::Container([None, None]))]),
        ..batch(number)
    };
    let add = |spool: &mut Spool| {
        for number in 2..6 {
            let sequence = spool.next_sequence();
            spool.append(sequence, &other(number)).unwrap();
        }
    };
    add(&mut spool);
    assert_eq!(reached(&spool), 1);
    clock.advance(std::time::Duration::from_secs(8 * 86_400));
    add(&mut spool);
    assert_eq!(reached(&spool), 0);
    assert!(spool.positions().contains_key("docker:b"));
}

#[test]
fn a_failed_sync_is_met_by_opening_again() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    append(&mut spool, 1).unwrap();
    disk.fail_sync(1);
    let sequence = spool.next_sequence();
    assert!(spool.append(sequence, &batch(2)).is_err());
    spool.reopen().unwrap();
    spool.append(sequence, &batch(2)).unwrap();
    append(&mut spool, 3).unwrap();
    let taken = take_all(&mut spool);
    assert_eq!(numbers(&taken), [1, 2, 3]);
    assert!(taken.last().unwrap().0.epoch > 1, "ids after a failed sync are of a new epoch");
}

#[test]
fn a_spool_that_cannot_be_read_is_not_empty() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    for number in 1..=9 {
        append(&mut spool, number).unwrap();
    }
    // Two batches are in memory, and taken; the others must be read back.
    for _ in 0..2 {
        let (front, _) = spool.front(0).unwrap().unwrap();
        spool.ack(0, front.record).unwrap();
    }
    let dir = Path::new(DIR).join("spool");
    let files = disk.list(&dir).unwrap().into_iter().filter(|item| item.name.ends_with(".log"));
    let files: Vec<_> = files.map(|item| dir.join(item.name)).collect();
    let away = |path: &Path| path.with_extension("away");
    files.iter().for_each(|path| disk.rename(path, &away(path)).unwrap());
    assert!(spool.front(0).is_err());
    files.iter().for_each(|path| disk.rename(&away(path), path).unwrap());
    spool.reopen().unwrap();
    append(&mut spool, 10).unwrap();
    let taken = numbers(&take_all(&mut spool));
    assert_eq!(taken, [3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn reading_back_ends_when_memory_is_full_and_the_log_goes_on() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    for number in 1..=9 {
        append(&mut spool, number).unwrap();
    }
    let in_memory = |spool: &Spool| -> Vec<u64> {
        let records = spool.marks[0].in_memory();
        let held = spool.waiting.iter().filter(|waiting| records.contains(&waiting.record));
        held.map(|waiting| waiting.id.sequence).collect()
    };
    for _ in 0..2 {
        let (front, _) = spool.front(0).unwrap().unwrap();
        spool.ack(0, front.record).unwrap();
    }
    assert_eq!(in_memory(&spool), [0; 0]);
    // Damage that only a reader to the end would meet, and answer by a quarantine.
    let dir = Path::new("/data/agent/spool");
    let newest = disk.list(dir).unwrap().into_iter().rfind(|item| item.name.ends_with(".log")).unwrap();
    disk.damage(&dir.join(&newest.name), newest.bytes - 20, 1).unwrap();
    spool.front(0).unwrap();
    assert_eq!(in_memory(&spool), [3, 4]);
    disk.damage(&dir.join(&newest.name), newest.bytes - 20, 1).unwrap();
    assert_eq!(spool.waiting.len(), 7);
    append(&mut spool, 10).unwrap();
    assert_eq!(numbers(&take_all(&mut spool)), [3, 4, 5, 6, 7, 8, 9, 10]);
    append(&mut spool, 11).unwrap();
    drop(spool);
    let (mut spool, _) = open(&disk);
    assert_eq!(numbers(&take_all(&mut spool)).last(), Some(&11));
}

#[test]
fn a_new_agent_id_holds_for_what_waits_and_stays() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    for number in 1..=3 {
        append(&mut spool, number).unwrap();
    }
    let old = spool.id().source;
    let (first, _) = spool.front(0).unwrap().unwrap();
    assert!(!first.is_replayed && first.id.source == old);
    spool.ack(0, first.record).unwrap();
    spool.renew_id().unwrap();
    let new = spool.id().source;
    assert_ne!(new, old);
    assert_eq!(spool.front(0).unwrap().unwrap().0.id.source, new);
    let (mut spool, found) = open(&disk.crash());
    assert_eq!(found.batches, 2, "an ack under the old id is durable");
    let taken = take_all(&mut spool);
    assert!(taken.iter().all(|(id, _)| id.source == new));
    assert_eq!(numbers(&taken), [2, 3]);
}

/// Stops the machine at every single disk operation of a busy spool, in turn, and looks at what is left.
#[test]
fn every_crash_leaves_what_was_promised() {
    let mut crashes = 0;
    for halt in 0.. {
        let disk = SimDisk::new();
        drop(open(&disk));
        disk.halt_after(halt);
        let mut appended = 0;
        let mut acked = 0;
        let mut pushed: Vec<(BatchId, i64)> = Vec::new();
        let is_done = busy(&disk, &mut appended, &mut acked, &mut pushed);
        if is_done {
            break;
        }
        crashes += 1;
        let disk = disk.crash_seeded(halt);
        let (mut spool, _) = open(&disk);
        let place = format!("halted at operation {halt}");
        // A batch that was promised is waiting, or the ack of it was durable; never is one beyond it.
        let position = reached(&spool);
        assert!(position == appended || position == appended + 1, "{place}: {position} of {appended}");
        append(&mut spool, position + 1).unwrap();
        let taken = take_all(&mut spool);
        let first = taken.first().unwrap().1;
        assert!(first <= acked + 1, "{place}: batch {} is lost", acked + 1);
        let want: Vec<i64> = (first..=position + 1).collect();
        assert_eq!(numbers(&taken), want, "{place}");
        for (id, number) in &taken {
            let other = pushed.iter().find(|(pushed_id, other)| pushed_id == id && other != number);
            assert_eq!(other, None, "{place}: an id names two batches");
        }
    }
    assert!(crashes > 30, "only {crashes} crashes");
}

/// Returns whether all went well to the end.
fn busy(disk: &SimDisk, appended: &mut i64, acked: &mut i64, pushed: &mut Vec<(BatchId, i64)>) -> bool {
    let Ok((mut spool, _)) = Spool::open(parts(disk, 7)) else {
        return false;
    };
    for number in 1..=12 {
        if append(&mut spool, number).is_err() {
            return false;
        }
        *appended = number;
        // The store is slow at first, then catches up.
        for _ in 0..if number < 6 { 0 } else { 2 } {
            let Ok(Some((front, encoded))) = spool.front(0) else {
                break;
            };
            let taken = number_of(&encoded);
            pushed.push((front.id, taken));
            // The store has it now, whether the spool gets to know or not.
            *acked = taken;
            if spool.ack(0, front.record).is_err() {
                return false;
            }
        }
    }
    true
}

#[test]
fn damage_in_the_middle_reads_again_what_it_cost() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    for number in 1..=12 {
        append(&mut spool, number).unwrap();
    }
    drop(spool);
    let dir = Path::new(DIR).join("spool");
    let files: Vec<_> =
        disk.list(&dir).unwrap().into_iter().filter(|item| item.name.ends_with(".log")).collect();
    assert!(files.len() > 3);
    disk.damage(&dir.join(&files[1].name), 200, 0xff).unwrap();
    let (mut spool, found) = open(&disk);
    assert!(found.is_damaged);
    let position = reached(&spool);
    assert!(position < 12, "positions behind the damage do not count");
    append(&mut spool, position + 1).unwrap();
    let taken = take_all(&mut spool);
    assert_eq!(taken.last().unwrap().0.epoch, 2);
    assert!(numbers(&taken).starts_with(&(1..=position).collect::<Vec<_>>()), "{:?}", numbers(&taken));
}

#[test]
fn a_flipped_bit_anywhere_loses_nothing_that_waits() {
    let disk = SimDisk::new();
    let (mut spool, _) = open(&disk);
    let mut pushed = Vec::new();
    for number in 1..=12 {
        append(&mut spool, number).unwrap();
        if number % 3 == 0 {
            let (front, encoded) = spool.front(0).unwrap().unwrap();
            pushed.push((front.id, number_of(&encoded)));
            spool.ack(0, front.record).unwrap();
        }
    }
    spool.sync().unwrap();
    drop(spool);
    let acked = pushed.len() as i64;
    let dir = Path::new(DIR).join("spool");
    let files = disk.list(&dir).unwrap().into_iter().filter(|item| item.name.ends_with(".log"));
    let places = files.flat_map(|item| (0..item.bytes).map(move |at| (item.name.clone(), at)));
    let mut reread = 0;
    for (name, at) in places.step_by(3) {
        let place = format!("byte {at} of {name}");
        let disk = disk.crash();
        disk.damage(&dir.join(&name), at, 1 << (at % 8)).unwrap();
        let (mut spool, found) = open(&disk);
        assert!(found.is_damaged, "{place} is not told");
        // What is beyond the position is read again from where it came.
        let position = reached(&spool);
        reread = reread.max(12 - position);
        append(&mut spool, 13).unwrap();
        let taken = take_all(&mut spool);
        let is_there = |number: i64| taken.iter().any(|(_, taken)| *taken == number);
        let lost = (acked + 1..=position).find(|number| !is_there(*number));
        assert_eq!(lost, None, "{place}, position {position}: {:?}", numbers(&taken));
        for (id, number) in &taken {
            let other = pushed.iter().find(|(pushed_id, other)| pushed_id == id && other != number);
            assert_eq!(other, None, "{place}: an id names two batches");
        }
    }
    assert!((2..12).contains(&reread), "damage is met by reading {reread} batches again at most");
}

/// Two destinations: the second one's name, and what it may hold.
fn open_two(disk: &SimDisk, second: MarkSettings, bytes_max: u64) -> Spool {
    let mut parts = parts(disk, 7);
    parts.bounds.bytes_max = bytes_max;
    parts.destinations.push(second);
    Spool::open(parts).unwrap().0
}

fn second(name: &str) -> MarkSettings {
    MarkSettings { name: name.to_owned(), bytes_max: 0, drops: false }
}

fn take_of(spool: &mut Spool, destination: usize, count: usize) -> Vec<i64> {
    let mut taken = Vec::new();
    while taken.len() < count
        && let Some((front, encoded)) = spool.front(destination).unwrap()
    {
        taken.push(number_of(&encoded));
        assert!(spool.ack(destination, front.record).unwrap());
    }
    taken
}

#[test]
fn each_destination_has_its_own_place_and_keeps_it() {
    let disk = SimDisk::new();
    let mut spool = open_two(&disk, second("loki"), 1 << 20);
    for number in 1..=20 {
        append(&mut spool, number).unwrap();
        assert_eq!(take_of(&mut spool, 0, 9), [number], "the first keeps up");
    }
    assert_eq!(take_of(&mut spool, 1, 7), (1..=7).collect::<Vec<_>>());
    let backlogs: Vec<u64> = spool.backlogs().map(|backlog| backlog.entries).collect();
    assert_eq!(backlogs, [0, 13]);
    spool.sync().unwrap();
    drop(spool);
    let mut spool = open_two(&disk.crash(), second("loki"), 1 << 20);
    assert_eq!(spool.front(0).unwrap().map(|(front, _)| front.record), None);
    assert_eq!(take_of(&mut spool, 1, 99), (8..=20).collect::<Vec<_>>());
    assert_eq!(spool.waiting.len(), 0);
    append(&mut spool, 21).unwrap();
    append(&mut spool, 22).unwrap();
    assert!(spool.bytes() < 2_500, "files that both are done with are gone: {} bytes", spool.bytes());
    // One that comes later gets what still waits, one that is gone holds nothing up.
    drop(spool);
    let mut spool = open_two(&disk.crash(), second("other"), 1 << 20);
    take_of(&mut spool, 0, 99);
    spool.sync().unwrap();
    drop(spool);
    let (mut spool, found) = open(&disk.crash());
    assert_eq!(found.batches, 0);
    assert_eq!(take_all(&mut spool), []);
}

#[test]
fn one_that_may_be_dropped_holds_nobody_up() {
    let disk = SimDisk::new();
    let lossy = MarkSettings { drops: true, ..second("loki") };
    let mut spool = open_two(&disk, lossy, 2_000);
    let mut dropped = 0;
    for number in 1..=60 {
        for (destination, entries) in spool.make_room().unwrap() {
            assert_eq!(destination, 1);
            dropped += entries;
        }
        assert!(!spool.is_full(), "before batch {number}");
        append(&mut spool, number).unwrap();
        assert_eq!(take_of(&mut spool, 0, 9), [number]);
    }
    assert!(dropped > 30 && spool.bytes() < 2_500, "{dropped} dropped, {} bytes", spool.bytes());
    spool.sync().unwrap();
    drop(spool);
    let mut spool = open_two(&disk.crash(), second("loki"), 2_000);
    let left = take_of(&mut spool, 1, 99);
    assert_eq!(left, (dropped as i64 + 1..=60).collect::<Vec<_>>(), "the newest are kept");
}

#[test]
fn a_bound_of_its_own_stops_reading_or_drops() {
    for drops in [false, true] {
        let disk = SimDisk::new();
        let mut spool = open_two(&disk, MarkSettings { bytes_max: 500, drops, ..second("loki") }, 1 << 20);
        let mut lost = Vec::new();
        for number in 1..=10 {
            lost.extend(spool.make_room().unwrap());
            if spool.is_full() {
                assert!(!drops && number == 6, "107 bytes each");
                break;
            }
            append(&mut spool, number).unwrap();
        }
        assert_eq!(lost.iter().map(|(_, entries)| entries).sum::<u64>(), if drops { 5 } else { 0 });
        assert!(drops || spool.is_full());
        // A batch dropped while it was on its way is not acknowledged twice.
        take_of(&mut spool, 1, 99);
        assert!(!spool.ack(1, 1).unwrap());
        assert_eq!(take_of(&mut spool, 0, 99).len(), if drops { 10 } else { 5 });
    }
}

/// As above, with a second destination that is behind: neither loses a batch to a crash anywhere.
#[test]
fn every_crash_leaves_what_was_promised_to_each() {
    for halt in 0.. {
        let disk = SimDisk::new();
        drop(open_two(&disk, second("loki"), 1 << 20));
        disk.halt_after(halt);
        let (mut appended, mut acked) = (0, [0, 0]);
        if busy_with_two(&disk, &mut appended, &mut acked) {
            assert!(halt > 30);
            break;
        }
        let mut spool = open_two(&disk.crash_seeded(halt), second("loki"), 1 << 20);
        let position = reached(&spool);
        assert!(
            position == appended || position == appended + 1,
            "operation {halt}: {position} of {appended}"
        );
        append(&mut spool, position + 1).unwrap();
        for (destination, acked) in acked.into_iter().enumerate() {
            let taken = take_of(&mut spool, destination, 99);
            assert!(taken[0] <= acked + 1, "operation {halt}: batch {} is lost for {destination}", acked + 1);
            let want: Vec<i64> = (taken[0]..=position + 1).collect();
            assert_eq!(taken, want, "operation {halt}, destination {destination}");
        }
    }
}

fn busy_with_two(disk: &SimDisk, appended: &mut i64, acked: &mut [i64; 2]) -> bool {
    let mut parts = parts(disk, 7);
    parts.destinations.push(second("loki"));
    let Ok((mut spool, _)) = Spool::open(parts) else { return false };
    for number in 1..=12 {
        if append(&mut spool, number).is_err() {
            return false;
        }
        *appended = number;
        for (destination, count) in [(0, 1), (1, if number < 6 { 0 } else { 2 })] {
            for _ in 0..count {
                let Ok(Some((front, encoded))) = spool.front(destination) else { break };
                acked[destination] = number_of(&encoded);
                if spool.ack(destination, front.record).is_err() {
                    return false;
                }
            }
        }
    }
    true
}

/// Damages the ack of a destination in the log, each in turn, and looks at what is left for all.
#[test]
fn a_damaged_ack_of_a_destination_loses_nothing_that_waits() {
    let disk = SimDisk::new();
    let mut spool = open_two(&disk, second("loki"), 1 << 20);
    for number in 1..=12 {
        append(&mut spool, number).unwrap();
        take_of(&mut spool, 0, 1);
        take_of(&mut spool, 1, usize::from(number % 3 == 0));
    }
    spool.sync().unwrap();
    drop(spool);
    let dir = Path::new(DIR).join("spool");
    let files = log_files(&disk, &dir).unwrap();
    let mut places = Vec::new();
    for (_, path) in &files {
        let visit = &mut |record: logyard_wal::ScannedRecord<'_>| {
            if let Ok(Record::DestinationAck { .. }) = decode(record.payload) {
                places.push((path.clone(), record.offset, record.payload.len() as u64));
            }
        };
        scan_file(&disk, path, visit).unwrap();
    }
    assert!(places.len() > 6, "the first mark, four acks and those behind checkpoints: {places:?}");
    let mut repeated = 0;
    for (path, offset, bytes) in places {
        // The frame before the payload, and each part of it.
        for at in offset..offset + bytes {
            let place = format!("byte {at} of {}", path.display());
            let disk = disk.crash();
            disk.damage(&path, at, 0x10).unwrap();
            let mut parts = parts(&disk, 7);
            parts.destinations.push(second("loki"));
            let (mut spool, found) = Spool::open(parts).unwrap();
            assert!(found.is_damaged, "{place} is not told");
            let position = reached(&spool);
            append(&mut spool, 13).unwrap();
            for (destination, acked) in [(0, 12), (1, 4)] {
                let taken = take_of(&mut spool, destination, 99);
                // What is beyond the position is read again from where it came.
                let lost = (acked + 1..=position).find(|number| !taken.contains(number));
                assert_eq!(lost, None, "{place}, destination {destination}, position {position}: {taken:?}");
                assert!(taken.is_sorted() && taken.last() == Some(&13), "{place}: {taken:?}");
                repeated = repeated.max(taken.iter().filter(|number| **number <= acked).count());
            }
        }
    }
    assert!(repeated < 12, "{repeated} are pushed again at most, and known by their ids");
}
