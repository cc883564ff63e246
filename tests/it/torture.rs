//! Everything at once: containers of all kinds print numbered lines while agent, store and engine are killed and the
//! network between agent and store is cut, at times drawn from a seed.
//!
//! At the end every line that the engine keeps is in the store, each once and in order; of the lines that the engine
//! destroyed, as its small logs rotated, before the agent could read them, every hole is told of by the name of the
//! container. A witness that holds all files of such logs open tells those lines from ones that the killed engine never
//! wrote. A killed engine also tears lines: what it had read of one from the container's pipe is gone, and the next one
//! keeps the rest as a line. Those are stored as they are kept; where the log is rotated away they are counted.
//!
//! `LOGYARD_TORTURE_SECS` is how long lines are printed (default 90), `LOGYARD_TORTURE_SEED` the seed, and
//! `LOGYARD_TORTURE_READ=files` has logs read from their files. From 600 seconds on there are 50 containers:
//! `LOGYARD_TORTURE_SECS=1200 cargo test --features end-to-end --test it -- --nocapture torture`.

use crate::cable::Cable;
use crate::engine::{Engine, IMAGE, numbered};
use crate::process::Logyard;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long everything may take to arrive once all faults have ended.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}

/// Holds all files of rotated logs open, so that what was in them can be read after the engine has removed them.
struct Witness {
    stop: Arc<AtomicBool>,
    task: JoinHandle<BTreeMap<String, Vec<File>>>,
}

impl Witness {
    fn watch(logs: BTreeMap<String, PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = thread::spawn(move || {
            let mut files: BTreeMap<String, Vec<File>> = BTreeMap::new();
            let mut seen = HashSet::new();
            while !stopped.load(Ordering::SeqCst) {
                for (name, path) in &logs {
                    for item in fs::read_dir(path.parent().unwrap()).into_iter().flatten().flatten() {
                        let is_log = item.file_name().to_string_lossy().contains("-json.log");
                        let Some(file) = is_log.then(|| File::open(item.path()).ok()).flatten() else {
                            continue;
                        };
                        if seen.insert(file.metadata().unwrap().ino()) {
                            files.entry(name.clone()).or_default().push(file);
                        }
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
            files
        });
        Self { stop, task }
    }

    /// Returns the numbers of all lines that the engine ever wrote.
    fn tell(self) -> BTreeMap<String, BTreeSet<usize>> {
        self.stop.store(true, Ordering::SeqCst);
        let mut told = BTreeMap::new();
        for (name, files) in self.task.join().unwrap() {
            let numbers: &mut BTreeSet<usize> = told.entry(name.clone()).or_default();
            for mut file in files {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                let begin = format!("{{\"log\":\"{name} ");
                let rows = String::from_utf8_lossy(&bytes).into_owned();
                let rows = rows.lines().filter_map(|row| row.strip_prefix(&begin)?.get(..6)?.parse().ok());
                numbers.extend::<Vec<usize>>(rows.collect());
            }
        }
        told
    }
}

/// One container that prints numbered lines.
struct Writer {
    name: String,
    options: Vec<&'static str>,
    script: String,
    is_rotated: bool,
    /// All files of its log can be held.
    is_witnessed: bool,
}

/// Lines at a rate; some of them on the other output.
fn steady(name: &str, lines: u64, per_second: u64, tail: &str) -> String {
    format!(
        r#"awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) {{ l = sprintf("{name} %06d{tail}", i); if (i % 3) print l; else print l > "/dev/stderr"; if (i % {per_second} == 0) {{ fflush(); system("sleep 1") }} }} }}'"#
    )
}

const DOTS: &str =
    " ............................................................................................";

fn writers(count: usize, secs: u64) -> Vec<Writer> {
    let small = ["--log-opt", "max-size=1m", "--log-opt", "max-file=3"];
    let mut all = Vec::new();
    for number in 0..count.saturating_sub(2) {
        let kind = ["plain", "local", "small", "packed", "long", "terminal", "quiet", "single"][number % 8];
        let name = format!("{kind}-{number:02}");
        let at = |per_second: u64, tail: &str| steady(&name, secs * per_second, per_second, tail);
        let (options, script) = match kind {
            "plain" => (vec![], at(20, DOTS)),
            "local" => (vec!["--log-driver", "local"], at(50, DOTS)),
            "small" => (small.to_vec(), at(300, DOTS)),
            "packed" => ([&["--log-driver", "local"], &small[..]].concat(), at(300, DOTS)),
            // From less than one part to more than three.
            "long" => {
                let lengths = "for (n = (i % 9) * 1500 + 6000; n > 0; n -= 60) printf \"............................................................\"";
                let script = format!(
                    r#"awk 'BEGIN {{ for (i = 1; i <= {}; i++) {{ printf "{name} %06d ", i; {lengths}; print " end"; fflush(); system("sleep 1") }} }}'"#,
                    secs * 2 / 3
                );
                (vec![], script)
            }
            "terminal" => (vec!["-t"], at(10, "")),
            "quiet" => (vec![], steady(&name, secs / 4, 1, "").replace("sleep 1", "sleep 3")),
            _ => (vec!["--log-opt", "max-size=1m", "--log-opt", "max-file=1"], at(100, DOTS)),
        };
        all.push(Writer {
            name,
            options,
            script,
            is_rotated: matches!(kind, "small" | "packed" | "single"),
            is_witnessed: kind == "small",
        });
    }
    let burst = |name: &str| format!("sleep {}; {}", secs / 3, numbered(name, 300_000, &".".repeat(80)));
    all.push(Writer {
        name: "burst".to_owned(),
        options: vec!["--log-opt", "max-size=10m", "--log-opt", "max-file=3"],
        script: burst("burst"),
        is_rotated: true,
        is_witnessed: true,
    });
    all.push(Writer {
        name: "burst-local".to_owned(),
        options: vec!["--log-driver", "local"],
        script: burst("burst-local"),
        is_rotated: true,
        is_witnessed: false,
    });
    all
}

struct Scene {
    dice: Dice,
    engine: Engine,
    cable: Cable,
    store: Logyard,
    agent: Logyard,
    /// Kills of agent, store, engine; cuts of the cable.
    faults: [usize; 4],
    /// Names of short-lived containers: those that stay until the end, and those that are removed at once.
    gone: [Vec<String>; 2],
    since_fault: Instant,
}

impl Scene {
    fn act(&mut self) {
        let kind = self.dice.below(12);
        match kind {
            0..=2 => {
                self.agent.kill();
                let is_both = self.dice.below(4) == 0;
                if is_both {
                    self.store.kill();
                }
                thread::sleep(self.dice.pause(0, 3_000));
                self.agent.spawn();
                if is_both {
                    self.store.spawn();
                    self.faults[1] += 1;
                }
                self.faults[0] += 1;
                self.since_fault = Instant::now();
            }
            3..=5 => {
                self.store.kill();
                thread::sleep(self.dice.pause(0, 5_000));
                self.store.spawn();
                self.faults[1] += 1;
            }
            6 => {
                self.engine.kill_daemon();
                thread::sleep(self.dice.pause(0, 3_000));
                self.engine.start_daemon();
                self.faults[2] += 1;
                self.since_fault = Instant::now();
            }
            7..=8 => {
                let is_here = self.dice.below(2) == 0;
                self.cable.set("down", is_here);
                thread::sleep(self.dice.pause(500, 8_000));
                self.cable.set("up", is_here);
                self.faults[3] += 1;
            }
            9..=10 => {
                for _ in 0..3 {
                    let name = format!("gone-{:02}", self.gone[0].len());
                    self.engine.run(&name, &[], &numbered(&name, 3, ""));
                    self.gone[0].push(name);
                }
            }
            _ => {
                // What is removed at once can be read by an agent that is there.
                thread::sleep(Duration::from_secs(8).saturating_sub(self.since_fault.elapsed()));
                let name = format!("removed-{:02}", self.gone[1].len());
                let script = format!("{}; sleep 5", numbered(&name, 3, ""));
                let options = ["run", "--rm", "--network", "none", "--name", &name];
                self.engine.docker(&[&options[..], &[IMAGE, "/bin/sh", "-c", &script]].concat());
                self.gone[1].push(name);
            }
        }
    }

    /// Returns the lines of a container that are stored. Problems: one is there twice or out of order.
    fn stored(&self, name: &str, problems: &mut Vec<String>) -> Lines {
        let mut all = Lines::default();
        for output in ["stdout", "stderr"] {
            let query = format!(r#"{{container="{name}", stream="{output}"}}"#);
            let mut lines = Lines::default();
            let mut last = 0;
            for line in self.store.lines(&query) {
                let number = lines.take(name, &line);
                if let Some(number) = number.filter(|number| *number <= last) {
                    problems.push(format!("{name} {output}: {number} behind {last}"));
                }
                last = number.unwrap_or(last);
            }
            all.numbers.extend(lines.numbers);
            all.torn.extend(lines.torn);
        }
        all.torn.sort_unstable();
        all
    }

    /// Returns the lines of a container that the engine keeps.
    fn kept(&self, name: &str) -> Lines {
        let mut command = Command::new("docker");
        let output = command.args(["logs", name]).env("DOCKER_HOST", self.engine.host()).output().unwrap();
        let mut lines = Lines::default();
        for text in [output.stdout, output.stderr] {
            for line in String::from_utf8_lossy(&text).lines() {
                lines.take(name, line);
            }
        }
        lines.torn.sort_unstable();
        lines
    }

    fn stored_count(&self) -> f64 {
        let samples = self.store.instant(r#"sum(count_over_time({container=~".+"}[2h]))"#);
        samples.first().map_or(0.0, |(_, value)| *value)
    }
}

/// Lines of one container.
#[derive(Debug, Default)]
struct Lines {
    /// Of the whole ones.
    numbers: BTreeSet<usize>,
    /// The beginnings of the others.
    torn: Vec<String>,
}

impl Lines {
    fn take(&mut self, name: &str, line: &str) -> Option<usize> {
        let line = line.trim_end_matches('\r');
        let number = number(name, line);
        match number {
            Some(number) => drop(self.numbers.insert(number)),
            None => self.torn.push(format!("{} bytes: {line:.40}", line.len())),
        }
        number
    }
}

/// Returns the number of a line; `None`: it is not whole.
fn number(name: &str, line: &str) -> Option<usize> {
    let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
    let number: usize = rest.get(..6)?.parse().ok()?;
    let length = match name.split('-').next().unwrap() {
        "long" => name.len() + 12 + ((number % 9) * 1_500 + 6_000).div_ceil(60) * 60,
        "plain" | "local" | "small" | "packed" | "single" => name.len() + 7 + DOTS.len(),
        "burst" => name.len() + 7 + 80,
        _ => name.len() + 7,
    };
    (line.len() == length).then_some(number)
}

/// Counts the holes of the log, which holds the lines of each output in order. One in the log may be one in each output.
fn holes(all: &BTreeSet<usize>, stored: &BTreeSet<usize>) -> usize {
    let of_output = |is_error: bool| {
        let lines = all.iter().filter(|number| (**number % 3 == 0) == is_error);
        let missing: Vec<bool> = lines.map(|number| !stored.contains(number)).collect();
        let is_begun = missing.first().is_some_and(|is_missing| *is_missing);
        missing.windows(2).filter(|pair| !pair[0] && pair[1]).count() + usize::from(is_begun)
    };
    of_output(false).max(of_output(true))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn torture() {
    let (secs, seed) = (setting("LOGYARD_TORTURE_SECS", 90), setting("LOGYARD_TORTURE_SEED", 7));
    let reads_files = std::env::var("LOGYARD_TORTURE_READ").is_ok_and(|read| read == "files");
    eprintln!("torture: LOGYARD_TORTURE_SEED={seed} LOGYARD_TORTURE_SECS={secs}");
    // All 50 of them want more than a small machine of continuous integration has.
    let writers = writers(if secs < 600 { 18 } else { 50 }, secs);
    let engine = Engine::start();
    let cable = Cable::lay();
    let mut store = Logyard::new(NO_ENGINE, &["store"]).in_namespace(&cable.namespace, &cable.addresses[1]);
    store.start();
    let mut agent = Logyard::new(&engine.host(), &["agent", "--push-url", &store.url("")]);
    if reads_files {
        let config = agent.folder().join("logyard.yaml");
        fs::write(&config, "agent: {docker: {read: files}}\n").unwrap();
        agent = agent.with_arguments(&["--config", config.to_str().unwrap()]);
    }
    agent.spawn();
    for writer in &writers {
        engine.run(&writer.name, &writer.options, &writer.script);
    }
    let witnessed = writers.iter().filter(|writer| writer.is_witnessed);
    let witness = Witness::watch(witnessed.map(|w| (w.name.clone(), engine.log_path(&w.name))).collect());
    let gone = [Vec::new(), Vec::new()];
    let since_fault = Instant::now();
    let mut scene =
        Scene { dice: Dice(seed), engine, cable, store, agent, faults: [0; 4], gone, since_fault };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(secs) {
        let pause = scene.dice.pause(500, 4_000);
        thread::sleep(pause);
        scene.act();
    }
    eprintln!("torture: kills of agent, store, engine, and cuts: {:?}", scene.faults);

    // All is well from here on.
    scene.store.wait_ready();
    let names: Vec<&str> =
        writers.iter().map(|writer| &*writer.name).chain(scene.gone[0].iter().map(String::as_str)).collect();
    scene.engine.docker(&[&["wait"][..], &names].concat());
    let written = witness.tell();
    let kept: BTreeMap<&str, Lines> = names.iter().map(|name| (*name, scene.kept(name))).collect();
    let until = Instant::now() + SETTLED_WITHIN;
    let mut before = (0.0, Instant::now());
    loop {
        let count = scene.stored_count();
        if count != before.0 {
            before = (count, Instant::now());
        }
        // A follow that stopped is found out after 10 s, and what arrives twice has come by then.
        if before.1.elapsed() > Duration::from_secs(20) || Instant::now() > until {
            break;
        }
        thread::sleep(Duration::from_millis(500));
    }

    let log = scene.agent.log();
    let told_of = |name: &str| {
        let about = [format!(" target={name} "), format!(" target=\"{name}\" ")];
        let lost = ["rotated away before", "went before they could be read"];
        let is_told = |line: &&str| {
            lost.iter().any(|text| line.contains(text)) && about.iter().any(|text| line.contains(text))
        };
        log.lines().filter(is_told).count()
    };
    let mut problems = Vec::new();
    // All that are torn, holes, those told of.
    let mut sums = [0; 3];
    for name in &names {
        let stored = scene.stored(name, &mut problems);
        let kept = &kept[name];
        let writer = writers.iter().find(|writer| writer.name == *name);
        sums[0] += stored.torn.len();
        // Parts that two engines read bear two times: what was printed in one line are two to all who see the times.
        let is_in_parts = |number: &usize| {
            let begin = format!(": {name} {number:06} ");
            stored.torn.iter().any(|torn| torn.contains(&begin))
        };
        let missing = kept.numbers.difference(&stored.numbers);
        let missing: Vec<&usize> = missing.filter(|number| !is_in_parts(number)).collect();
        if !missing.is_empty() {
            let (first, last) = (missing[0], missing[missing.len() - 1]);
            problems.push(format!("{name}: {} kept lines are not stored, {first} to {last}", missing.len()));
        }
        // Of either output, the front of one line and the rest of it.
        if stored.torn.len() > 4 * scene.faults[2] {
            problems.push(format!("{name}: torn more often than the engine was killed: {:?}", stored.torn));
        }
        let Some(writer) = writer.filter(|writer| writer.is_rotated) else {
            let is_torn_alike = stored.torn == kept.torn || name.starts_with("long");
            if stored.numbers.len() > kept.numbers.len() || !is_torn_alike {
                let of = |lines: &Lines| format!("{} and {:?}", lines.numbers.len(), lines.torn);
                problems.push(format!("{name}: stored {}, kept {}", of(&stored), of(kept)));
            }
            continue;
        };
        let (destroyed, told) = match written.get(*name).filter(|_| writer.is_witnessed) {
            Some(all) => (holes(all, &stored.numbers), told_of(name)),
            None => {
                let last = stored.numbers.last().copied().unwrap_or_default();
                // What the killed engine had in hand is a hole that nobody can tell of.
                (holes(&(1..=last).collect(), &stored.numbers), told_of(name) + scene.faults[2])
            }
        };
        sums[1] += destroyed;
        sums[2] += told_of(name);
        eprintln!(
            "torture: {name}: {} stored, {} torn, {} kept, {destroyed} holes, {told} told of",
            stored.numbers.len(),
            stored.torn.len(),
            kept.numbers.len()
        );
        if destroyed > told {
            problems.push(format!("{name}: {destroyed} holes, {told} told of"));
        }
    }
    for name in &scene.gone[1] {
        let stored = scene.stored(name, &mut problems);
        if stored.numbers.len() != 3 {
            problems.push(format!("{name}: {stored:?} of a container that was removed after its end"));
        }
    }
    eprintln!(
        "torture: {} lines of {} containers, {} of them removed at once; {} torn, {} holes, {} gaps told of by name",
        scene.stored_count(),
        names.len() + scene.gone[1].len(),
        scene.gone[1].len(),
        sums[0],
        sums[1],
        sums[2]
    );
    assert!(problems.is_empty(), "seed {seed}:\n{}\nthe agent's log:\n{log}", problems.join("\n"));
    let lost = ["rotated away before", "went before they could be read"];
    scene.agent.assert_quiet_but_for(&[&lost[..], &["engine", "store", "push"]].concat());
    scene.store.assert_quiet_but_for(&["listening beyond this machine"]);
    assert!(scene.agent.stop().success() && scene.store.stop().success());
}
