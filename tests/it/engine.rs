//! A Docker Engine of the test's own.
//!
//! `--live-restore` keeps containers running while the daemon is away, so that restarts can be
//! tested in the middle of their writing. No bridge and no iptables: the containers need no network.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The one image of the tests: a static busybox.
pub const IMAGE: &str = "logyard-test:1";

/// How long the engine may take to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A running engine; dropping it removes its containers and its folder.
#[derive(Debug)]
pub struct Engine {
    folder: tempfile::TempDir,
    daemon: Child,
    place: Place,
}

/// What is different about an engine.
#[derive(Debug)]
struct Place {
    /// Network namespace of one that is reached over the network too; else it has one of its own.
    namespace: Option<String>,
    /// More arguments of the daemon.
    arguments: Vec<String>,
    /// Whether containers live on while the daemon is away.
    has_live_restore: bool,
    /// A daemon of the journal, which keeps the journal in a `/run` that only it and the engine see.
    journald: Option<PathBuf>,
}

impl Engine {
    /// Starts an engine and loads the test image.
    pub fn start() -> Self {
        Self::start_at(Place::default())
    }

    /// Starts an engine that takes its containers along when it ends.
    pub fn start_without_live_restore() -> Self {
        Self::start_at(Place { has_live_restore: false, ..Place::default() })
    }

    /// Starts an engine and a journal, in which containers may keep their logs.
    pub fn start_with_journal(journald: &Path) -> Self {
        Self::start_at(Place { journald: Some(journald.to_owned()), ..Place::default() })
    }

    /// Starts an engine in a network namespace, with more arguments of the daemon.
    pub fn start_in(namespace: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self::start_at(Place { namespace: Some(namespace.to_owned()), arguments, ..Place::default() })
    }

    fn start_at(place: Place) -> Self {
        let folder = tempfile::Builder::new().prefix("ly-eng-").tempdir().unwrap();
        let daemon = spawn_daemon(folder.path(), &place);
        let engine = Self { folder, daemon, place };
        engine.wait_until_it_answers();
        engine.import_image();
        engine
    }

    /// Returns the address for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Returns the path of the network namespace from which log drivers connect.
    pub fn network(&self) -> String {
        format!("/proc/{}/ns/net", self.daemon.id())
    }

    /// Runs the docker command and returns what it printed. Panics if it fails.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", self.host())
            .output()
            .expect("docker is on the PATH");
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts a container in the background that runs a shell script.
    pub fn run(&self, name: &str, options: &[&str], script: &str) {
        let mut arguments = vec!["run", "-d", "--name", name, "--network", "none"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[IMAGE, "/bin/sh", "-c", script]);
        self.docker(&arguments);
    }

    /// Waits until containers have ended. Panics if one was killed instead.
    pub fn wait_for(&self, names: &[&str]) {
        self.wait_for_codes(names, "0");
    }

    /// Waits until containers have ended, all with the same exit code.
    pub fn wait_for_codes(&self, names: &[&str], want: &str) {
        let mut arguments = vec!["wait"];
        arguments.extend_from_slice(names);
        let codes = self.docker(&arguments);
        assert!(codes.lines().all(|code| code == want), "exit codes of {names:?}: {codes}");
    }

    /// Returns the number of lines that the engine has of a container: of its standard output, of its errors.
    pub fn logged_lines(&self, name: &str) -> [usize; 2] {
        let output = Command::new("docker").args(["logs", name]).env("DOCKER_HOST", self.host()).output();
        let output = output.expect("docker is on the PATH");
        [output.stdout, output.stderr].map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
    }

    /// Stops the daemon as the service manager does, and starts it again. Containers live on.
    pub fn restart(&mut self) {
        self.stop_daemon();
        self.daemon = spawn_daemon(self.folder.path(), &self.place);
        self.wait_until_it_answers();
    }

    /// Returns the process of the daemon.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Cuts the log of a container to nothing, as people do.
    pub fn cut_log(&self, name: &str) {
        std::fs::File::options().write(true).open(self.log_path(name)).unwrap().set_len(0).unwrap();
    }

    /// Appends bytes to the log of a container, which the daemon has not written.
    pub fn append_to_log(&self, name: &str, bytes: &[u8]) {
        use std::io::Write as _;
        std::fs::File::options().append(true).open(self.log_path(name)).unwrap().write_all(bytes).unwrap();
    }

    /// Returns where the engine keeps the log of a container, if its driver is `json-file`.
    pub fn log_path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.docker(&["inspect", "--format", "{{.LogPath}}", name]))
    }

    /// Kills the daemon; containers live on.
    pub fn kill_daemon(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        // Its containerd dies with it, and may be kept as a zombie whose number looks alive to the next daemon.
        let pid = self.folder.path().join("exec/containerd/containerd.pid");
        std::fs::remove_file(pid).unwrap();
    }

    /// Stops the daemon; containers live on.
    pub fn stop_daemon(&mut self) {
        signal(self.daemon.id(), "TERM");
        self.daemon.wait().unwrap();
    }

    /// Starts the daemon after [`Engine::stop_daemon`].
    pub fn start_daemon(&mut self) {
        self.daemon = spawn_daemon(self.folder.path(), &self.place);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let answer = Command::new("docker")
                .arg("version")
                .env("DOCKER_HOST", self.host())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("docker is on the PATH");
            if answer.success() {
                return;
            }
            let log = std::fs::read_to_string(self.folder.path().join("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the engine does not start; its log:\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn import_image(&self) {
        let archive = image_archive(self.folder.path());
        self.docker(&["import", archive.to_str().unwrap(), IMAGE]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let shell = "docker ps -aq | xargs -r docker rm -f -v";
        let removed = Command::new("sh").args(["-c", shell]).env("DOCKER_HOST", self.host()).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("containers of {} may be left over", self.host());
        }
        signal(self.daemon.id(), "TERM");
        if self.daemon.wait().is_err() {
            eprintln!("the engine at {} may still run", self.host());
        }
    }
}

/// Packs the image into a folder and returns the path of the archive.
pub fn image_archive(folder: &Path) -> PathBuf {
    let root = folder.join("image");
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    for applet in ["sh", "awk", "echo", "sleep", "cat", "head", "printf", "tr", "yes", "date", "kill"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    let archive = folder.join("image.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(packed.success(), "tar packs the image");
    archive
}

impl Default for Place {
    fn default() -> Self {
        Self { namespace: None, arguments: Vec::new(), has_live_restore: true, journald: None }
    }
}

fn spawn_daemon(folder: &Path, place: &Place) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("dockerd.log")).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    // In a network namespace of its own: without one, `--bridge none` takes away the bridge of an engine
    // that runs on this machine already.
    // Its loopback is up: log drivers connect to addresses there.
    let mut command = match &place.namespace {
        Some(namespace) => {
            // Not by `ip netns exec`, which puts another /sys in place, without the groups of containers.
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{namespace}"));
            command
        }
        None => {
            let mut command = Command::new("unshare");
            command.arg("--net");
            command
        }
    };
    let loopback = "/bin/busybox ip link set lo up; exec dockerd \"$@\"";
    match &place.journald {
        // The journal ends with the engine.
        Some(journald) => command.args(["--mount", "--", "sh", "-c"]).arg(format!(
            "mount -t tmpfs tmpfs /run; setpriv --pdeathsig KILL {} & {loopback}",
            journald.display()
        )),
        None => command.args(["--", "sh", "-c", loopback]),
    };
    command
        .arg("dockerd")
        .args(&place.arguments)
        .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
        .args(["--host", &format!("unix://{}", at("docker.sock"))])
        .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
        .args(place.has_live_restore.then_some("--live-restore"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("dockerd is on the PATH; tests/run installs it")
}

/// Returns the shell command that prints numbered lines as fast as they are taken.
pub fn numbered(word: &str, count: usize, tail: &str) -> String {
    format!(r#"awk 'BEGIN {{ for (i = 1; i <= {count}; i++) printf "{word} %06d{tail}\n", i }}'"#)
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -s {name} {pid}");
}
