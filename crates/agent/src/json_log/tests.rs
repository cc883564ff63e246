//! Rotation, cuts and half rows, on a simulated disk.

use super::*;
use logyard_sys::{SimClock, SimDisk};
use std::time::Duration;

const PATH: &str = "/d/c-json.log";

fn row(number: usize) -> String {
    format!(
        "{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T{:02}:{:02}:{:02}Z\"}}\n",
        number / 3_600,
        number / 60 % 60,
        number % 60
    )
}

fn write(disk: &SimDisk, rows: std::ops::Range<usize>) {
    disk.create_dir_all(Path::new("/d")).unwrap();
    let text: String = rows.map(row).collect();
    disk.append_file(Path::new(PATH)).unwrap().write_all(text.as_bytes()).unwrap();
}

fn rotate(disk: &SimDisk, keep: usize) {
    let name =
        |number: usize| PathBuf::from(if number == 0 { PATH.to_owned() } else { format!("{PATH}.{number}") });
    for number in (0..keep - 1).rev() {
        if disk.metadata(&name(number)).unwrap().is_some() {
            disk.rename(&name(number), &name(number + 1)).unwrap();
        }
    }
    disk.create_file(Path::new(PATH)).unwrap();
}

fn open(disk: &SimDisk, since_ns: Option<i64>) -> Option<JsonLog> {
    open_at(disk, &Arc::new(SimClock::new(0)), since_ns)
}

fn open_at(disk: &SimDisk, clock: &Arc<SimClock>, since_ns: Option<i64>) -> Option<JsonLog> {
    let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(clock);
    JsonLog::open(Arc::new(disk.clone()), clock, Path::new(PATH), since_ns).unwrap()
}

/// Reads to the end; returns the numbers of the rows, and what was lost.
fn rest(log: &mut JsonLog) -> (Vec<usize>, Vec<&'static str>) {
    let (mut bytes, mut lost) = (Vec::new(), Vec::new());
    loop {
        match log.read().unwrap() {
            JsonRead::Bytes(more) => bytes.extend_from_slice(&more),
            JsonRead::Lost(how) => lost.push(how),
            JsonRead::End => break,
        }
    }
    let rows = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(json_row);
    (rows.map(|row| row.log.trim().parse().unwrap()).collect(), lost)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

#[test]
fn generations_are_read_one_after_the_other_whatever_their_names_become() {
    let disk = SimDisk::new();
    write(&disk, 0..10);
    rotate(&disk, 5);
    write(&disk, 10..20);
    let mut log = open(&disk, None).unwrap();
    assert_eq!(rest(&mut log), (numbers(0..20), vec![]));
    write(&disk, 20..30);
    rotate(&disk, 5);
    write(&disk, 30..40);
    rotate(&disk, 5);
    rotate(&disk, 5);
    write(&disk, 40..50);
    assert_eq!(rest(&mut log), (numbers(20..50), vec![]));
    assert_eq!(rest(&mut log), (vec![], vec![]));
}

#[test]
fn what_went_unread_is_told_of() {
    let disk = SimDisk::new();
    write(&disk, 0..10);
    let mut log = open(&disk, None).unwrap();
    assert_eq!(rest(&mut log).0, numbers(0..10));
    for start in [10, 20, 30] {
        rotate(&disk, 2);
        write(&disk, start..start + 10);
    }
    assert_eq!(rest(&mut log), (numbers(20..40), vec!["rotated"]));
    disk.truncate(Path::new(PATH), 0).unwrap();
    write(&disk, 40..45);
    assert_eq!(rest(&mut log), (numbers(40..45), vec!["truncated"]));
    // The container was removed.
    disk.remove_file(Path::new(PATH)).unwrap();
    assert_eq!(rest(&mut log), (vec![], vec![]));
}

#[test]
fn a_log_of_one_file_that_grew_past_the_place_again_is_read_from_its_start() {
    let disk = SimDisk::new();
    write(&disk, 0..10);
    let mut log = open(&disk, None).unwrap();
    assert_eq!(rest(&mut log).0, numbers(0..10));
    write(&disk, 10..12);
    assert_eq!(rest(&mut log), (numbers(10..12), vec![]));
    disk.truncate(Path::new(PATH), 0).unwrap();
    write(&disk, 100..150);
    assert_eq!(rest(&mut log), (numbers(100..150), vec!["truncated"]));
    write(&disk, 150..151);
    assert_eq!(rest(&mut log), (numbers(150..151), vec![]));
}

#[test]
fn a_full_log_of_one_file_that_was_read_loses_nothing_when_it_is_cut() {
    let disk = SimDisk::new();
    let clock = Arc::new(SimClock::new(0));
    let full = row(0).len() as u64 * 10;
    write(&disk, 0..1);
    let mut log = open_at(&disk, &clock, None).unwrap();
    log.set_rotation(Some(full));
    assert_eq!(rest(&mut log).0, numbers(0..1));
    // Each file takes a second and is looked at five times.
    let mut look = |start: usize, end: usize| {
        clock.advance(Duration::from_millis(200));
        write(&disk, start..end);
        rest(&mut log)
    };
    for start in [1, 3, 5, 7] {
        assert_eq!(look(start, start + 2), (numbers(start..start + 2), vec![]));
    }
    assert_eq!(look(9, 10), (numbers(9..10), vec![]), "it is full now");
    disk.truncate(Path::new(PATH), 0).unwrap();
    assert_eq!(look(10, 13), (numbers(10..13), vec![]));
    for (start, end) in [(13, 15), (15, 17), (17, 19), (19, 20)] {
        assert_eq!(look(start, end), (numbers(start..end), vec![]));
    }
    // Somebody cuts it before it is full.
    disk.truncate(Path::new(PATH), 0).unwrap();
    assert_eq!(look(20, 25), (numbers(20..25), vec![]));
    disk.truncate(Path::new(PATH), 0).unwrap();
    assert_eq!(look(25, 26), (numbers(25..26), vec!["truncated"]));
    for (start, end) in [(26, 28), (28, 30), (30, 32), (32, 35)] {
        assert_eq!(look(start, end), (numbers(start..end), vec![]));
    }
    // Nobody looked for so long that a further file may have come and gone.
    clock.advance(Duration::from_secs(2));
    disk.truncate(Path::new(PATH), 0).unwrap();
    assert_eq!(look(45, 47), (numbers(45..47), vec!["truncated"]));
}

#[test]
fn a_row_left_half_written_spoils_no_other() {
    let disk = SimDisk::new();
    write(&disk, 0..10);
    let half = |disk: &SimDisk| {
        let whole = row(99);
        let half = &whole.as_bytes()[..whole.len() / 2];
        disk.append_file(Path::new(PATH)).unwrap().write_all(half).unwrap();
    };
    half(&disk);
    let mut log = open(&disk, None).unwrap();
    assert_eq!(rest(&mut log).0, numbers(0..10));
    rotate(&disk, 3);
    write(&disk, 10..20);
    assert_eq!(rest(&mut log), (numbers(10..20), vec![]));
}

#[test]
fn a_file_that_is_renamed_while_all_are_opened_is_taken_once() {
    let disk = SimDisk::new();
    for start in [0, 10, 20] {
        write(&disk, start..start + 10);
        if start < 20 {
            rotate(&disk, 5);
        }
    }
    let mut opened = 0;
    let found = generations_by(&disk, Path::new(PATH), &mut |path| {
        let file = disk.open_file(path);
        opened += 1;
        if opened == 2 {
            rotate(&disk, 5);
            write(&disk, 30..40);
        }
        file
    });
    let files = found.unwrap().unwrap().files;
    let starts: Vec<_> = files.iter().map(|file| first_time(&**file).unwrap()).collect();
    assert!(starts.is_sorted_by(|a, b| a < b) && starts.len() == 3, "{starts:?}");
}

#[test]
fn a_name_that_is_missing_while_files_are_renamed_is_waited_for() {
    let disk = SimDisk::new();
    write(&disk, 0..10);
    let mut log = open(&disk, None).unwrap();
    assert_eq!(rest(&mut log).0, numbers(0..10));
    write(&disk, 10..20);
    rotate(&disk, 5);
    write(&disk, 20..30);
    assert_eq!(rest(&mut log), (numbers(10..30), vec![]));
    rotate(&disk, 5);
    write(&disk, 30..40);
    // In the middle of the next rotation: .1 has become .2, and the newest not yet .1.
    let name = |number: usize| PathBuf::from(format!("{PATH}.{number}"));
    disk.rename(&name(2), &name(3)).unwrap();
    disk.rename(&name(1), &name(2)).unwrap();
    assert_eq!(rest(&mut log), (vec![], vec![]));
    assert!(open(&disk, None).is_none(), "not all of it can be read now");
    disk.rename(Path::new(PATH), &name(1)).unwrap();
    disk.create_file(Path::new(PATH)).unwrap();
    write(&disk, 40..50);
    assert_eq!(rest(&mut log), (numbers(30..50), vec![]));
    // A name that stays away was removed by somebody.
    rotate(&disk, 5);
    write(&disk, 50..60);
    disk.remove_file(&name(1)).unwrap();
    rotate(&disk, 5);
    disk.remove_file(&name(1)).unwrap();
    write(&disk, 60..70);
    let mut found = (vec![], vec![]);
    for _ in 0..=HOLES_MAX {
        let more = rest(&mut log);
        found.0.extend(more.0);
        found.1.extend(more.1);
    }
    assert_eq!(found, (numbers(60..70), vec!["rotated"]));
}

#[test]
fn reading_begins_a_little_before_a_time() {
    let disk = SimDisk::new();
    for start in [0, 10_000, 20_000] {
        write(&disk, start..start + 10_000);
        if start < 20_000 {
            rotate(&disk, 5);
        }
    }
    let day_ns = 1_699_920_000_000_000_000;
    for second in [0, 5, 9_999, 10_001, 15_000, 29_999] {
        let mut log = open(&disk, Some(day_ns + second * 1_000_000_000)).unwrap();
        let (rows, _) = rest(&mut log);
        let first = rows[0] as i64;
        assert!(first <= (second - 2).max(0), "{second}: {first}");
        assert!(second - first < 5_000, "{second}: {first}");
        assert_eq!(rows.last(), Some(&29_999));
    }
}

#[test]
fn a_place_before_all_times_is_the_beginning() {
    let disk = SimDisk::new();
    write(&disk, 0..5_000);
    rotate(&disk, 3);
    write(&disk, 5_000..10_000);
    let mut log = open(&disk, Some(i64::MIN)).unwrap();
    assert_eq!(rest(&mut log), (numbers(0..10_000), vec![]));
}

#[test]
fn packed_logs_are_the_engines_business() {
    let disk = SimDisk::new();
    assert!(open(&disk, None).is_none());
    write(&disk, 0..3);
    disk.append_file(Path::new("/d/c-json.log.1.gz")).unwrap();
    assert!(open(&disk, None).is_none());
}
