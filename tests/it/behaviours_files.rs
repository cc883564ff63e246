//! Behaviours 31 to 35: files under a real logrotate, renamed, removed and reused, with the agent running and away; very
//! many of them, packed ones, other encodings, and a line without end.
//!
//! Of very many files there are 3,000, more than are held open at once: `LOGYARD_MANY_FILES=20000 cargo test --features
//! end-to-end --test it -- --nocapture b34` has them, and prints the time.

use crate::process::{Logyard, append as append_text};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);

/// Folders of logs and the process that reads them.
struct Watched {
    logs: PathBuf,
    logyard: Logyard,
}

impl Watched {
    /// Reads the paths, which lie below the folder of logs.
    fn new(paths: &[&str], exclude: &[&str]) -> Self {
        let logyard = Logyard::new(NO_ENGINE, &[]);
        let logs = logyard.folder().join("logs");
        fs::create_dir_all(&logs).unwrap();
        let list = |paths: &[&str]| -> String {
            let quoted = paths.iter().map(|path| format!("'{}'", logs.join(path).display()));
            quoted.collect::<Vec<_>>().join(", ")
        };
        let text =
            format!("agent:\n  files:\n  - path: [{}]\n    exclude: [{}]\n", list(paths), list(exclude));
        let config = logyard.folder().join("logyard.yaml");
        fs::write(&config, text).unwrap();
        let logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
        Self { logs, logyard }
    }

    /// Adds lines to the settings: of the paths, or more of them.
    fn with(self, text: &str) -> Self {
        append_text(&self.logyard.folder().join("logyard.yaml"), text);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    fn append(&self, name: &str, lines: std::ops::RangeInclusive<usize>) {
        append(&self.path(name), lines);
    }

    fn rotate(&self, name: &str, options: &str) {
        let config = self.logyard.folder().join("rotate.conf");
        let text = format!("{} {{\n  rotate 9\n  missingok\n  {options}\n}}\n", self.path(name).display());
        fs::write(&config, text).unwrap();
        let state = self.logyard.folder().join("rotate.state");
        let mut command = Command::new("logrotate");
        let status = command.arg("--force").arg("--state").arg(&state).arg(&config).status();
        assert!(status.expect("logrotate is installed").success());
    }

    fn query(&self, name: &str) -> String {
        format!(r#"{{filename="{}"}}"#, self.path(name).display())
    }

    /// Waits for lines 1 to `count` of a file, in their order and once each.
    fn wait_for(&self, name: &str, count: usize) {
        let lines = self.logyard.wait_for_lines(&self.query(name), count, WITHIN);
        let want: Vec<String> = (1..=count).map(|number| format!("line {number:05}")).collect();
        assert!(
            lines == want,
            "{name}: {} lines, of which {:?} differ",
            lines.len(),
            differing(&lines, &want)
        );
    }
}

fn differing<'a>(lines: &'a [String], want: &'a [String]) -> Option<(&'a String, &'a String)> {
    lines.iter().zip(want).find(|(got, want)| got != want)
}

fn append(path: &Path, lines: std::ops::RangeInclusive<usize>) {
    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
    for number in lines {
        writeln!(file, "line {number:05}").unwrap();
    }
}

#[test]
fn b31_each_way_of_logrotate_loses_and_repeats_nothing() {
    let ways = [
        ("create.log", "create"),
        ("truncate.log", "copytruncate"),
        ("packed.log", "create\n  compress"),
        ("later.log", "create\n  compress\n  delaycompress"),
        ("dated.log", "create\n  dateext\n  dateformat -%Y%m%d-%s"),
    ];
    let mut watched = Watched::new(&["*.log"], &[]);
    for (name, _) in ways {
        watched.append(name, 1..=100);
    }
    watched.logyard.start();
    for (name, _) in ways {
        watched.wait_for(name, 100);
    }
    // Read up to here, so that copytruncate loses nothing that is not its own fault.
    for (name, options) in ways {
        watched.rotate(name, options);
        watched.append(name, 101..=200);
    }
    for (name, _) in ways {
        watched.wait_for(name, 200);
    }
    watched.logyard.kill();
    for (name, options) in ways {
        watched.rotate(name, options);
        watched.append(name, 201..=300);
    }
    watched.logyard.start();
    for (name, _) in ways {
        watched.wait_for(name, 300);
    }
    watched.logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn b32_two_rotations_while_nobody_reads_leave_no_hole() {
    let mut watched = Watched::new(&["app.log"], &[]);
    watched.append("app.log", 1..=1_000);
    watched.logyard.start();
    watched.wait_for("app.log", 1_000);
    watched.logyard.kill();
    for last in [2_000, 3_000, 4_000] {
        watched.append("app.log", last - 999..=last);
        if last < 4_000 {
            watched.rotate("app.log", "create");
        }
    }
    watched.logyard.start();
    watched.wait_for("app.log", 4_000);
    watched.logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn b33_a_file_is_one_file_whatever_its_names() {
    // Rotated names match, too.
    let mut watched = Watched::new(&["app.log*", "current"], &[]);
    watched.append("app.log", 1..=100);
    watched.append("first", 1..=10);
    std::os::unix::fs::symlink("first", watched.path("current")).unwrap();
    watched.logyard.start();
    watched.wait_for("app.log", 100);
    watched.wait_for("current", 10);
    watched.rotate("app.log", "create");
    watched.append("app.log", 101..=200);
    fs::hard_link(watched.path("app.log"), watched.path("app.log.link")).unwrap();
    watched.wait_for("app.log", 200);

    // The link leads to another file now.
    append(&watched.path("second"), 11..=20);
    std::os::unix::fs::symlink("second", watched.path("next")).unwrap();
    fs::rename(watched.path("next"), watched.path("current")).unwrap();
    watched.wait_for("current", 20);

    // Removed and made anew: the disk may give it the same number.
    fs::remove_file(watched.path("app.log.link")).unwrap();
    fs::remove_file(watched.path("app.log")).unwrap();
    watched.append("app.log", 201..=300);
    watched.wait_for("app.log", 300);
    let all = watched.logyard.lines(r#"{filename=~".+", job="files"} |= "line""#);
    assert_eq!(all.len(), 320, "nothing comes under a second name");
    watched.logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn b34_unfinished_lines_removed_files_and_patterns() {
    let mut watched = Watched::new(&["**/*.{log,txt}", "b/lastlog"], &["**/private.log"]);
    for (name, text) in [
        ("a/deep/er/x.log", "line 00001\n"),
        ("a/y.txt", "line 00001\nline 00002"),
        ("a/private.log", "line 00001\n"),
        ("a/z.md", "line 00001\n"),
        ("b/lastlog", "\0\0\0\0binary"),
    ] {
        fs::create_dir_all(watched.path(name).parent().unwrap()).unwrap();
        fs::write(watched.path(name), text).unwrap();
    }
    watched.logyard.start();
    watched.wait_for("a/deep/er/x.log", 1);
    watched.wait_for("a/y.txt", 1);
    // The open line is whole once its end comes.
    let mut file = fs::File::options().append(true).open(watched.path("a/y.txt")).unwrap();
    writeln!(file).unwrap();
    watched.wait_for("a/y.txt", 2);
    // A file that is removed is read to its end as long as it is held open.
    watched.append("a/deep/er/x.log", 2..=5_000);
    fs::remove_file(watched.path("a/deep/er/x.log")).unwrap();
    watched.wait_for("a/deep/er/x.log", 5_000);
    let names = watched.logyard.logq(&["labels", "filename"]).1;
    for name in ["private.log", "z.md", "lastlog"] {
        assert!(!names.contains(name), "{name} in {names}");
    }
    watched.logyard.assert_quiet_but_for(&["engine", "it is not text"]);
}

#[test]
fn b34_thousands_of_files_on_a_disk_are_read_once_each() {
    const FILES: usize = 200;
    let many = std::env::var("LOGYARD_MANY_FILES").ok().and_then(|text| text.parse::<usize>().ok());
    let folders = many.unwrap_or(3_000) / FILES;
    let mut watched = Watched::new(&["many/**/*.log"], &[]);
    for folder in 0..folders {
        let folder = watched.path(&format!("many/{folder:03}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(format!("{file:03}.log")), "first\n").unwrap();
        }
    }
    // Of each hundredth file more is written, before a kill and after it.
    let logs = watched.logs.clone();
    let more = |word: &str| {
        for folder in 0..folders {
            for file in (0..FILES).step_by(100) {
                append_text(&logs.join(format!("many/{folder:03}/{file:03}.log")), &format!("{word}\n"));
            }
        }
    };
    let count = |logyard: &Logyard, line: &str| {
        let query = format!(r#"sum(count_over_time({{job="files"}} |= "{line}" [1h]))"#);
        logyard.instant(&query).first().map_or(0, |(_, value)| *value as usize)
    };
    let wait = |logyard: &Logyard, line: &str, want: usize| {
        let until = std::time::Instant::now() + 2 * WITHIN;
        while count(logyard, line) < want {
            let got = count(logyard, line);
            assert!(std::time::Instant::now() < until, "{line}: {got} of {want}\n{}", logyard.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let some = folders * FILES / 100;
    let begun = std::time::Instant::now();
    watched.logyard.start();
    wait(&watched.logyard, "first", folders * FILES);
    eprintln!("b34: {} files: {:?} to the line of each", folders * FILES, begun.elapsed());
    more("second");
    wait(&watched.logyard, "second", some);
    watched.logyard.kill();
    more("third");
    watched.logyard.start();
    wait(&watched.logyard, "third", some);
    let counts = ["first", "second", "third"].map(|line| count(&watched.logyard, line));
    assert_eq!(counts, [folders * FILES, some, some], "each once");
    watched.logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn b35_packed_files_other_encodings_and_a_line_of_ten_megabytes() {
    let mut watched = Watched::new(&["*.gz", "*.bz2", "*.zst"], &[]).with("    decompress: true\n");
    let folder = watched.logs.display().to_string();
    let encoded =
        |encoding: &str| format!("  - {{path: ['{folder}/{encoding}.txt'], encoding: {encoding}}}\n");
    watched = watched.with(&format!(
        "{}{}  - path: ['{folder}/long.txt']\n",
        encoded("utf-16le"),
        encoded("latin1")
    ));
    let packers = [("gzip", "gz"), ("bzip2", "bz2"), ("zstd", "zst")];
    for (program, ending) in packers {
        let plain = watched.path(program);
        append(&plain, 1..=1_000);
        let packed = Command::new(program).arg("-q").arg(&plain).status().expect("the packers are installed");
        assert!(packed.success() && watched.path(&format!("{program}.{ending}")).exists());
    }
    let wide: Vec<u8> = "caf\u{e9}\r\nzwei\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(watched.path("utf-16le.txt"), wide).unwrap();
    fs::write(watched.path("latin1.txt"), b"caf\xe9\nzwei\n").unwrap();
    fs::write(watched.path("long.txt"), [&vec![b'x'; 10 << 20][..], b"\nnext\n"].concat()).unwrap();
    watched.logyard.start();
    let check = |watched: &Watched| {
        for (program, ending) in packers {
            watched.wait_for(&format!("{program}.{ending}"), 1_000);
        }
        for name in ["utf-16le.txt", "latin1.txt"] {
            let lines = watched.logyard.wait_for_lines(&watched.query(name), 2, WITHIN);
            assert_eq!(lines, ["caf\u{e9}", "zwei"], "{name}");
        }
        let long = watched.logyard.wait_for_lines(&watched.query("long.txt"), 2, WITHIN);
        let lengths: Vec<usize> = long.iter().map(String::len).collect();
        assert_eq!(lengths, [256 << 10, 4]);
    };
    check(&watched);
    // Read once: not again by another life.
    watched.logyard.kill();
    let mut file = fs::File::options().append(true).open(watched.path("long.txt")).unwrap();
    writeln!(file, "last").unwrap();
    watched.logyard.start();
    watched.logyard.wait_for_lines(&watched.query("long.txt"), 3, WITHIN);
    let all = watched.logyard.lines(r#"{job="files"}"#).len();
    assert_eq!(all, 3 * 1_000 + 2 * 2 + 3);
    watched.logyard.assert_quiet_but_for(&["engine"]);
}
