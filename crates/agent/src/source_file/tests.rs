//! Tests of the source on a simulated disk and clock, round by round.

use super::*;
use crate::file_jobs::file_jobs;
use crate::settings::FileSettings;
use crate::spool::{Spool, SpoolBounds, SpoolParts};
use logyard_sys::{Random, SimClock, SimDisk};
use tokio::sync::mpsc;

struct Watched {
    disk: SimDisk,
    clock: Arc<SimClock>,
    board: Board,
    live: Live,
    pieces: mpsc::Receiver<Piece>,
    stop: watch::Receiver<bool>,
    _stopper: watch::Sender<bool>,
}

impl Watched {
    fn new(settings: &str) -> Self {
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(1)));
        let random = Arc::new(Random::seeded(1));
        for dir in ["/data/agent", "/log"] {
            disk.create_dir_all(Path::new(dir)).unwrap();
        }
        let bounds = SpoolBounds::new(1 << 30);
        let (spool, _) = Spool::open(SpoolParts {
            disk: Arc::new(disk.clone()),
            clock: Arc::<SimClock>::clone(&clock),
            random: Arc::clone(&random),
            dir: "/data/agent".into(),
            bounds,
            destinations: crate::spool_mark::MarkSettings::only(),
        })
        .unwrap();
        let (metrics, board) = (Metrics::default(), Board::default());
        let settings: FileSettings = serde_json::from_str(settings).unwrap();
        let (sender, pieces) = mpsc::channel(4_096);
        let (stopper, stop) = watch::channel(false);
        let (_, jobs) = watch::channel(file_jobs(&[settings], &BTreeMap::new(), 1 << 18, &[]).unwrap());
        let live = Live::new(FileSource {
            disk: Arc::new(disk.clone()),
            clock: Arc::<SimClock>::clone(&clock),
            metrics: metrics.clone(),
            board: board.clone(),
            spool: SharedSpool::new(spool, metrics.clone(), vec![metrics.destination("push", true)]),
            pieces: sender.into(),
            jobs,
            staging: StageParts { line_bytes_max: 1 << 18, random, metrics },
        });
        Self { disk, clock, board, live, pieces, stop, _stopper: stopper }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        self.disk.append_file(&Path::new("/log").join(name)).unwrap().write_all(bytes).unwrap();
    }

    /// Lets ten seconds pass and returns the lines that the next round reads.
    fn round(&mut self) -> Vec<String> {
        self.round_after(10)
    }

    fn round_after(&mut self, seconds: u64) -> Vec<String> {
        self.clock.advance(Duration::from_secs(seconds));
        self.live.round(&self.stop).unwrap();
        let mut lines = Vec::new();
        while let Ok(piece) = self.pieces.try_recv() {
            for (_, entries) in &piece.chunks {
                let line = |row| String::from_utf8_lossy(entries.line(row)).into_owned();
                lines.extend((0..entries.len()).map(line));
            }
        }
        lines
    }

    /// Returns name, state and reason of all rows of the board.
    fn rows(&self) -> Vec<(String, &'static str, String)> {
        let report = self.board.report(String::new(), 0);
        let row = |target: crate::report::TargetReport| (target.name, target.state.as_str(), target.detail);
        report.targets.into_iter().map(row).collect()
    }
}

#[test]
fn a_refused_file_is_shown_with_its_reason_and_forgotten_with_its_name() {
    let mut watched = Watched::new(
        r#"{"path": ["/log/*"], "relabel": [
            {"source_labels": ["__path__"], "regex": ".*/secret.*", "action": "drop"}]}"#,
    );
    watched.write("wtmp", b"\0\0\0\0");
    watched.write("secret.log", b"one\n");
    assert!(watched.round().is_empty());
    let text = |text: &str| text.to_owned();
    let want = [
        (
            text("/log/secret.log"),
            "excluded",
            text("agent.files.relabel, or its label __host__, leaves it out"),
        ),
        (text("/log/wtmp"), "excluded", text("it is not text; add it to agent.files.exclude")),
    ];
    assert_eq!(watched.rows(), want);

    // Under another name the rules may say otherwise.
    watched.disk.rename(Path::new("/log/secret.log"), Path::new("/log/open.log")).unwrap();
    watched.disk.remove_file(Path::new("/log/wtmp")).unwrap();
    assert_eq!(watched.round(), ["one"]);
    assert_eq!(watched.rows(), [(text("/log/open.log"), "following", text(""))]);
}

#[test]
fn the_number_of_a_refused_file_that_is_gone_may_be_another_files() {
    let mut watched = Watched::new(r#"{"path": ["/log/*"]}"#);
    watched.write("a.log", b"one\n");
    let meta = watched.disk.metadata(Path::new("/log/a.log")).unwrap().unwrap();
    let identity = (meta.device, meta.inode);
    watched.live.leave_out(identity, Path::new("/log/wtmp"), LeftOut::Binary);
    assert_eq!(watched.round(), ["one"]);
}

#[test]
fn a_renamed_file_waits_as_long_as_its_stages_want() {
    let mut watched =
        Watched::new(r#"{"path": ["/log/*.log"], "stages": [{"limit": {"rate": 0.05, "burst": 1}}]}"#);
    watched.write("a.log", b"one\n");
    assert_eq!(watched.round(), ["one"]);
    watched.disk.rename(Path::new("/log/a.log"), Path::new("/log/a.log.1")).unwrap();
    assert!(watched.round_after(1).is_empty());
    watched.write("a.log.1", b"two\nthree\n");
    assert_eq!(watched.round_after(1), ["two", "three"]);
    // Each line costs 20 s, which is waited for before the next one is read.
    watched.write("a.log.1", b"four\n");
    assert!(watched.round_after(30).is_empty());
    assert_eq!(watched.round_after(10), ["four"]);
}

#[test]
fn generations_that_came_between_two_looks_are_read_in_order() {
    let mut watched = Watched::new(r#"{"path": ["/log/*.log"]}"#);
    let rename = |watched: &Watched, from: &str, to: &str| {
        watched.disk.rename(&Path::new("/log").join(from), &Path::new("/log").join(to)).unwrap();
    };
    // Not of this file, and older than all that is read.
    watched.write("a.log.9", b"old\n");
    watched.write("a.log2", b"other\n");
    watched.clock.advance(Duration::from_secs(60));
    watched.write("a.log", b"1\n");
    assert_eq!(watched.round(), ["1"]);
    let long = "x".repeat(100_000);
    watched.write("a.log", format!("2 {long}\n3\n").as_bytes());
    rename(&watched, "a.log", "a.log.1");
    watched.write("a.log", format!("4 {long}\n5\n").as_bytes());
    rename(&watched, "a.log.1", "a.log.2");
    rename(&watched, "a.log", "a.log.1");
    watched.write("a.log", b"6\n");
    let lines: Vec<String> = watched.round().iter().map(|line| line.chars().take(1).collect()).collect();
    assert_eq!(lines, ["2", "3", "4", "5", "6"]);
    assert!(watched.round().is_empty(), "nothing comes twice");
}

#[test]
fn a_generation_between_two_looks_may_have_the_number_of_one_that_was_removed() {
    let mut watched = Watched::new(r#"{"path": ["/log/*.log"]}"#);
    watched.write("a.log", b"one\n");
    assert_eq!(watched.round(), ["one"]);
    let log = |name: &str| Path::new("/log").join(name);
    watched.disk.rename(&log("a.log"), &log("a.log.2")).unwrap();
    watched.write("a.log.1", b"two\n");
    watched.write("a.log", b"three\n");
    // The disk gave the number of a file that was read and removed to the second generation.
    let meta = watched.disk.metadata(&log("a.log.1")).unwrap().unwrap();
    let gone = FilePosition {
        path: "/log/a.log".to_owned(),
        device: meta.device,
        inode: meta.inode,
        fingerprint_bytes: 4,
        fingerprint: xxhash_rust::xxh3::xxh3_64(b"old\n"),
        offset: 4,
    };
    watched.live.known.insert((meta.device, meta.inode), gone);
    assert_eq!(watched.round(), ["two", "three"]);
}

#[test]
fn names_of_rotated_files() {
    for name in ["app.log.1", "app.log-20260102", "app-20260102.log", "app.log.1-x", "app.log.old"] {
        assert!(is_rotation_of(name, "app.log"), "{name}");
    }
    for name in
        ["app.log", "app.log2", "app2.log", "app-error.log", "app.log.1.gz", "other.log.1", "app.log."]
    {
        assert!(!is_rotation_of(name, "app.log"), "{name}");
    }
    // Other files of the same program, which nobody asked for.
    for name in ["app.log.wf", "app.log-error", "app.log.pos", "app.log.lock", "app.log.bak"] {
        assert!(!is_rotation_of(name, "app.log"), "{name}");
    }
}

#[test]
fn packed_files_are_read_once_and_not_what_was_read_before() {
    let mut watched = Watched::new(r#"{"path": ["/log/a.log*"], "decompress": true}"#);
    let gz = |text: &str| crate::file_form::tests::packed(text.as_bytes()).remove(0).1;
    watched.write("a.log.3.gz", &gz("three\nlast"));
    watched.write("a.log.2.gz", &gz("two\n"));
    watched.write("a.log", b"one\n");
    let mut read = watched.round();
    read.sort();
    assert_eq!(read, ["last", "one", "three", "two"]);
    assert!(watched.round().is_empty());
    // Rotation renames what is read, and packs it later.
    watched.disk.rename(Path::new("/log/a.log"), Path::new("/log/a.log.1")).unwrap();
    watched.write("a.log", b"new\n");
    assert_eq!(watched.round(), ["new"]);
    watched.disk.remove_file(Path::new("/log/a.log.1")).unwrap();
    watched.write("a.log.1.gz", &gz("one\nadded\n"));
    assert_eq!(watched.round(), ["added"]);
    assert!(watched.round().is_empty());
}

#[test]
fn more_files_than_are_held_open_are_read_once_each() {
    let mut watched = Watched::new(r#"{"path": ["/log/**/*.log*"]}"#);
    let count = 2 * OPEN_MAX + 100;
    for number in 0..count {
        watched.write(&format!("{number:05}.log"), format!("line {number:05}\n").as_bytes());
    }
    let mut lines = Vec::new();
    while lines.len() < count {
        let more = watched.round_after(1);
        assert!(!more.is_empty(), "{} of {count} lines", lines.len());
        lines.extend(more);
        assert!(watched.live.named.len() <= OPEN_MAX);
    }
    lines.sort_unstable();
    let want: Vec<String> = (0..count).map(|number| format!("line {number:05}")).collect();
    assert!(lines == want, "each once");
    assert!(watched.round().is_empty());
    let closed = watched.rows().iter().filter(|(_, state, _)| *state == "idle").count();
    assert!(closed >= count - OPEN_MAX && watched.rows().len() == count, "{closed} are closed");

    // Written to, and renamed and written to, while it is closed.
    let of_closed: Vec<String> = watched.live.resting.keys().take(3).cloned().collect();
    let name = |number: usize| of_closed[number].trim_start_matches("/log/").to_owned();
    watched.write(&name(0), b"more\n");
    watched.write(&name(1), b"before\n");
    let gone = Path::new("/log").join(format!("{}.1", name(1)));
    watched.disk.rename(&Path::new("/log").join(name(1)), &gone).unwrap();
    watched.write(&name(1), b"after\n");
    watched.disk.remove_file(&Path::new("/log").join(name(2))).unwrap();
    let mut lines = watched.round();
    for _ in 0..8 {
        lines.extend(watched.round());
    }
    let place = |line: &str| lines.iter().position(|other| other == line);
    assert!(place("before") < place("after") && place("more").is_some(), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn what_a_list_names_is_read_while_it_is_there() {
    let mut watched = Watched::new(r#"{"target_lists": ["/log/*.yml"], "labels": {"site": "home"}}"#);
    watched.write("a.log", b"a1\n");
    watched.write("b.log", b"b1\n");
    assert!(watched.round().is_empty());
    let row = &watched.rows()[0];
    assert!(row.0.contains("/log/*.yml") && row.2.contains("no list of targets matches"), "{row:?}");
    let list = |watched: &Watched, text: &str| {
        watched.disk.write_atomic(Path::new("/log/sd.yml"), text.as_bytes()).unwrap();
    };
    list(&watched, "[{labels: {job: a, __path__: /log/a.log}}]");
    assert_eq!(watched.round_after(1), ["a1"]);
    let labels = watched.board.report(String::new(), 0).targets[0].labels.to_string();
    assert_eq!(labels, r#"{filename="/log/a.log", job="a", site="home"}"#);
    list(&watched, "[{labels: {job: a, __path__: /log/a.log}}, {labels: {job: b, __path__: /log/b.log}}]");
    watched.write("a.log", b"a2\n");
    let mut lines = watched.round_after(1);
    lines.sort();
    assert_eq!(lines, ["a2", "b1"], "the list of another file repeats nothing");
    // Broken, it says what it said; its row tells why.
    list(&watched, "[{labels: ");
    watched.write("a.log", b"a3\n");
    assert_eq!(watched.round_after(1), ["a3"]);
    assert!(watched.rows().iter().any(|row| row.0 == "/log/sd.yml" && row.2.contains("no valid YAML")));
    list(&watched, "[{labels: {job: b, __path__: /log/b.log}}]");
    watched.write("a.log", b"a4\n");
    watched.write("b.log", b"b2\n");
    assert_eq!(watched.round_after(1), ["b2"]);
    assert_eq!(watched.rows().len(), 1, "{:?}", watched.rows());
    // Named again, it goes on where it was left.
    list(&watched, "[{labels: {job: a, __path__: '/log/*.log'}}]");
    assert_eq!(watched.round_after(1), ["a4"]);
}
