//! Lines to read: made up in the shapes that containers write, always the same, or real ones.
//!
//! `LOGYARD_LOG_FOLDER` names a folder of real logs: its `*.log` and `*.jsonl` files, at any depth,
//! then take the place of the made-up lines of their kind.

use std::path::{Path, PathBuf};

/// Bytes of lines per corpus: two blocks, so that neither is always in the fastest cache.
const BYTES_MIN: usize = 4 << 20;

/// Makes the line of a number.
type Make = fn(&mut Dice, usize) -> String;

const KINDS: [(&str, Make); 5] =
    [("text", text), ("json", json), ("logfmt", logfmt), ("packed", packed), ("colors", colors)];

/// Lines of one kind.
#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<String>,
}

impl Corpus {
    /// Returns the bytes of all lines.
    pub(crate) fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.len() as u64).sum()
    }
}

/// Returns the corpora `text`, `json`, `logfmt`, `packed` and `colors`.
pub(crate) fn all() -> Vec<Corpus> {
    let mut made: Vec<Corpus> = KINDS.iter().map(|(name, _)| made(name, BYTES_MIN)).collect();
    if let Ok(folder) = std::env::var("LOGYARD_LOG_FOLDER") {
        let files = read_folder(Path::new(&folder));
        let real: Vec<&str> = files.iter().flat_map(|(_, text)| text.lines()).collect();
        for corpus in &mut made {
            let of_kind: Vec<&str> = real.iter().copied().filter(|line| kind(line) == corpus.name).collect();
            if !of_kind.is_empty() {
                corpus.lines = fill(BYTES_MIN, |number| of_kind[number % of_kind.len()].to_owned());
            }
        }
    }
    made
}

/// Returns lines that are made up, of at least so many bytes; the same in every run.
pub(crate) fn made(name: &str, bytes_min: usize) -> Corpus {
    let mut maker = Maker::new(name, 0x9e37_79b9_7f4a_7c15);
    Corpus { name: maker.name, lines: fill(bytes_min, |number| maker.line(number)) }
}

/// Makes lines of one kind, as many as one likes.
pub(crate) struct Maker {
    name: &'static str,
    make: Make,
    dice: Dice,
}

impl Maker {
    /// Begins with a seed, any but 0; the same one gives the same lines.
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let kind = KINDS.iter().find(|(kind, _)| *kind == name);
        let (name, make) = kind.unwrap_or_else(|| panic!("no kind {name}"));
        assert!(seed != 0, "no numbers come from 0");
        Self { name, make: *make, dice: Dice(seed) }
    }

    /// Makes a line that is written `number` hundredths of a second after midnight.
    pub(crate) fn line(&mut self, number: usize) -> String {
        (self.make)(&mut self.dice, number)
    }
}

/// Returns the corpus of a name.
pub(crate) fn by_name<'a>(corpora: &'a [Corpus], name: &str) -> &'a Corpus {
    corpora.iter().find(|corpus| corpus.name == name).unwrap_or_else(|| panic!("no corpus {name}"))
}

fn fill(bytes_min: usize, mut make: impl FnMut(usize) -> String) -> Vec<String> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_min {
        let line = make(lines.len());
        bytes += line.len() + 1;
        lines.push(line);
    }
    lines
}

fn kind(line: &str) -> &'static str {
    let pairs = line.split(' ').filter(|word| word.contains('=')).count();
    match line.starts_with('{') {
        true => "json",
        false if pairs >= 4 => "logfmt",
        false => "text",
    }
}

/// Returns name and text of each `*.log` and `*.jsonl` file with lines below a folder, in the order of their paths.
pub(crate) fn read_folder(folder: &Path) -> Vec<(String, String)> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "log" || ext == "jsonl") {
                let bytes = std::fs::read(&path).unwrap();
                if !bytes.is_empty() {
                    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                    files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
    }
    assert!(!files.is_empty(), "no *.log or *.jsonl file with lines in {}", folder.display());
    files
}

/// Random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % count
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16)])).collect()
    }
}

const PATHS: [&str; 6] = [
    "/api/v1/orders",
    "/api/v1/cart/items?page=2",
    "/static/app.9f2c.js",
    "/health",
    "/login",
    "/api/v2/search?q=lamp&sort=price",
];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "curl/8.5.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
];
const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const STATUSES: [&str; 8] = ["200", "200", "200", "200", "304", "404", "302", "500"];
const LEVELS: [&str; 8] = ["info", "info", "info", "debug", "info", "warn", "info", "error"];

fn time(number: usize) -> String {
    let seconds = number / 100;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("2025-03-04T{hours:02}:{minutes:02}:{:02}.{:03}Z", seconds % 60, number * 10 % 1000)
}

/// Access logs, daemons and stack-less application logs, mixed.
fn text(dice: &mut Dice, number: usize) -> String {
    let (a, b) = (dice.below(250) + 1, dice.below(250) + 1);
    match dice.below(4) {
        0 => format!(
            "192.168.{a}.{b} - - [04/Mar/2025:10:{:02}:{:02} +0000] \"{} {} HTTP/1.1\" {} {} \"-\" \"{}\"",
            dice.below(60),
            dice.below(60),
            dice.pick(&METHODS),
            dice.pick(&PATHS),
            dice.pick(&STATUSES),
            dice.below(90_000),
            dice.pick(&AGENTS),
        ),
        1 => format!(
            "{} INFO [main-{}] org.example.sync.Worker: finished task {} of job {} in {} ms",
            time(number),
            dice.below(32),
            dice.below(10_000),
            dice.hex(16),
            dice.below(4_000)
        ),
        2 => format!(
            "Mar  4 10:02:{:02} h1 sshd[{}]: Failed password for invalid user {} from 10.0.{a}.{b} port {} ssh2",
            dice.below(60),
            dice.below(30_000),
            dice.pick(&["admin", "root", "oracle", "test"]),
            dice.below(60_000)
        ),
        _ => format!(
            "{} WARN connection to db-{}.internal:5432 reset by peer, retry {} of 5, request {}",
            time(number),
            dice.below(4),
            dice.below(5) + 1,
            dice.hex(32)
        ),
    }
}

/// One object per request; `tenant` is in no line, `error` in one of eight.
fn json(dice: &mut Dice, number: usize) -> String {
    let level = dice.pick(&LEVELS);
    let error = match level {
        "error" => ",\"error\":\"dial tcp 10.0.0.7:5432: \\\"connect\\\" refused\"",
        _ => "",
    };
    format!(
        "{{\"time\":\"{}\",\"level\":\"{level}\",\"logger\":\"http.access\",\"msg\":\"handled request\",\"request\":\
         {{\"method\":\"{}\",\"path\":\"{}\",\"host\":\"shop.example.com\",\"headers\":{{\"user-agent\":\"{}\"}}}},\
         \"status\":{},\"bytes\":{},\"duration\":{:.6},\"request_id\":\"{}\",\"user\":\"u{}\",\"cached\":{},\
         \"tags\":[\"edge\",\"eu-1\"]{error}}}",
        time(number),
        dice.pick(&METHODS),
        dice.pick(&PATHS),
        dice.pick(&AGENTS),
        dice.pick(&STATUSES),
        dice.below(90_000),
        dice.below(2_000_000) as f64 / 1e6,
        dice.hex(32),
        dice.below(500),
        dice.pick(&["true", "false"]),
    )
}

/// What Go programs write; `tenant` is in no line.
fn logfmt(dice: &mut Dice, number: usize) -> String {
    let duration_us = dice.below(2_000_000);
    format!(
        "ts={} level={} caller=metrics.go:{} component=querier org_id=fake latency=fast query=\"sum by (x) \
         (rate({{app=\\\"shop\\\"}}[5m]))\" query_type=metric length=1h0m0s step={}s duration={}.{:03}ms status={} \
         throughput={}MB total_bytes={}kB lines={} returned_lines=0 request_id={}",
        time(number),
        dice.pick(&LEVELS),
        dice.below(400),
        dice.below(60),
        duration_us / 1000,
        duration_us % 1000,
        dice.pick(&STATUSES),
        dice.below(900),
        dice.below(9_000),
        dice.below(100_000),
        dice.hex(16)
    )
}

/// Lines of another kind, packed with labels.
fn packed(dice: &mut Dice, number: usize) -> String {
    let inner = text(dice, number).replace('"', "\\\"");
    format!(
        "{{\"_entry\":\"{inner}\",\"container\":\"c{}\",\"pod\":\"shop-{}\"}}",
        dice.below(9),
        dice.hex(5)
    )
}

/// Lines for a terminal.
fn colors(dice: &mut Dice, number: usize) -> String {
    let (level, rest) = (dice.pick(&LEVELS), text(dice, number));
    format!("\u{1b}[90m{}\u{1b}[0m \u{1b}[32m{level}\u{1b}[0m {rest}", time(number))
}
