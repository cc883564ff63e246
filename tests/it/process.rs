//! A `logyard` process under test.

use crate::engine::signal;
use crate::http;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take before the test gives up; far above what it takes.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A process with its folder, its port and its log, which outlive kills and restarts.
#[derive(Debug)]
pub struct Logyard {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    docker_host: String,
    has_lifecycle: bool,
    /// Address listened on, and the network namespace that has it, if it is another one.
    address: String,
    namespace: Option<String>,
    /// Programs that it finds first.
    programs: Option<PathBuf>,
    /// Variables besides those of this process.
    variables: Vec<(String, String)>,
    port: u16,
    /// What `logq` shows, and the scheme of addresses.
    logq_flags: Vec<String>,
    scheme: &'static str,
    child: Option<Child>,
}

impl Logyard {
    /// Describes a process that reads the engine at `docker_host`; nothing is started yet.
    pub fn new(docker_host: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("ly-data-").tempdir().unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self {
            folder,
            arguments,
            docker_host: docker_host.to_owned(),
            has_lifecycle: false,
            address: "127.0.0.1".to_owned(),
            namespace: None,
            programs: None,
            variables: Vec::new(),
            port: free_port(),
            logq_flags: Vec::new(),
            scheme: "http",
            child: None,
        }
    }

    /// Returns the folder for configuration files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Adds arguments for all starts to come.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Gives `logq` more flags, for tokens and certificates.
    pub fn with_logq(mut self, flags: &[&str]) -> Self {
        self.logq_flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self
    }

    /// Says that the process speaks TLS.
    pub fn over_tls(mut self) -> Self {
        self.scheme = "https";
        self
    }

    /// Runs the process in a network namespace, where it listens on an address that this one can reach.
    pub fn in_namespace(mut self, namespace: &str, address: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.address = address.to_owned();
        self
    }

    /// Has the process find the programs of a folder before others of their names.
    pub fn with_programs(mut self, folder: &Path) -> Self {
        self.programs = Some(folder.to_owned());
        self
    }

    /// Sets variables for all starts to come.
    pub fn with_variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self
    }

    /// Also has the process tell what happens to containers, which most tests have no use for.
    pub fn with_lifecycle(mut self) -> Self {
        self.has_lifecycle = true;
        self
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        let data_dir = self.data_dir().display().to_string();
        self.spawn_with(&["--data-dir", &data_dir]);
    }

    /// Starts the process with no data folder but the one among its own arguments.
    pub fn spawn_in_place(&mut self) {
        self.spawn_with(&[]);
    }

    fn spawn_with(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "one process at a time");
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = match &self.namespace {
            // It becomes the process, which is then killed like any other.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_logyard")]);
                command
            }
            None => Command::new(env!("CARGO_BIN_EXE_logyard")),
        };
        if let Some(programs) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        let child = command
            .args(&self.arguments)
            .args(["--listen", &format!("{}:{}", self.address, self.port)])
            .args(more)
            .env("DOCKER_HOST", &self.docker_host)
            .env("LOGYARD_AGENT__DOCKER__LIFECYCLE_ENTRIES", self.has_lifecycle.to_string())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts the process and waits until it says that it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until `/ready` answers 200, or, over TLS, until `logq` is answered.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        let is_ready = |logyard: &Self| match logyard.scheme {
            "https" => logyard.logq(&["labels"]).0 < 2,
            _ => http::get(&logyard.url("/ready")).is_ok_and(|answer| answer.status == 200),
        };
        while !is_ready(self) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("logyard ended with {status}; its log:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "logyard is not ready; its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the number of the process, which runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// Returns how much of its memory is resident.
    pub fn memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Kills the process without any chance to tidy up.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the process runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the process to end and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the process runs");
        signal(child.id(), "TERM");
        child.wait().unwrap()
    }

    /// Waits for a process that ends by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        self.child.take().expect("the process runs").wait().unwrap()
    }

    /// Returns the address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}:{}{path}", self.scheme, self.address, self.port)
    }

    /// Returns everything the process wrote to stderr, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Fails if the log holds a warning or an error with none of the announced texts.
    pub fn assert_quiet_but_for(&self, announced: &[&str]) {
        let log = self.log();
        let loud = |line: &&str| line.contains("level=warn") || line.contains("level=error");
        let unexpected: Vec<&str> = log
            .lines()
            .filter(loud)
            .filter(|line| !announced.iter().any(|text| line.contains(text)))
            .collect();
        assert!(unexpected.is_empty(), "unexpected log lines:\n{}", unexpected.join("\n"));
    }

    /// Runs `logq` against the process and returns its exit code, stdout and stderr.
    pub fn logq(&self, arguments: &[&str]) -> (i32, String, String) {
        let flags: Vec<&str> = self.logq_flags.iter().map(String::as_str).collect();
        self.logq_with(&flags, arguments)
    }

    /// Runs `logq` with other flags than usual.
    pub fn logq_with(&self, flags: &[&str], arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_logq"))
            .args(flags)
            .args(arguments)
            .env("LOGQ_ADDR", self.url(""))
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Returns what `logyard agent targets --json` prints.
    pub fn targets(&self) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_logyard"))
            .args(["agent", "targets", "--json", "--data-dir"])
            .arg(self.data_dir())
            .env("DOCKER_HOST", &self.docker_host)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns the lines that a raw query prints.
    pub fn lines(&self, query: &str) -> Vec<String> {
        let (code, stdout, stderr) =
            self.logq(&[query, "--since", "1h", "--limit", "0", "--forward", "-o", "raw"]);
        assert!(code == 0 || code == 1, "logq {query}: exit {code}: {stderr}");
        stdout.split_terminator('\n').map(str::to_owned).collect()
    }

    /// Polls until a raw query prints at least `count` lines, and returns them.
    pub fn wait_for_lines(&self, query: &str, count: usize, within: Duration) -> Vec<String> {
        let deadline = Instant::now() + within;
        loop {
            let lines = self.lines(query);
            if lines.len() >= count {
                return lines;
            }
            let got = lines.len();
            assert!(Instant::now() < deadline, "{query}: {got} of {count} lines; log:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns the values of an instant metric query: labels as canonical JSON text, value.
    pub fn instant(&self, query: &str) -> Vec<(serde_json::Value, f64)> {
        let answer = http::get_with(&self.url("/loki/api/v1/query"), &[("query", query)]).unwrap();
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        let samples = body["data"]["result"].as_array().unwrap();
        samples
            .iter()
            .map(|sample| (sample["metric"].clone(), sample["value"][1].as_str().unwrap().parse().unwrap()))
            .collect()
    }

    /// Returns the sum of the metrics whose names begin so, 0 if nothing was counted.
    pub fn metric(&self, name: &str) -> f64 {
        let page = http::get(&self.url("/metrics")).unwrap().text;
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()).map(|value| value.parse::<f64>().unwrap()).sum()
    }

    /// Runs a subcommand of `logyard` with the settings of the process, and returns as [`Self::logq`].
    pub fn subcommand(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_logyard"))
            .args(arguments)
            .args(&self.arguments)
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data-dir")
            .arg(self.data_dir())
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Returns the file that its log is written to.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }
}

impl Drop for Logyard {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Adds to a file that is read, which need not be there yet.
pub fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Returns a port that was free a moment ago; it must stay the same over restarts.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
