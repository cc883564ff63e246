//! Podman's socket, which speaks most of Docker's API: behaviours 1, 4, 7 and 9 on it.

use crate::engine::{IMAGE, image_archive, signal};
use crate::process::Logyard;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(90);

/// What `tests/run` unpacks for it, with the folders of programs and libraries in each.
const PACKAGES: [&str; 6] = ["podman", "conmon", "libgpgme11", "libsubid4", "libassuan0", "libglib2.0-0"];

/// A Podman of the test's own: its containers, its images, its settings. Dropping it removes them.
struct Podman {
    folder: tempfile::TempDir,
    program: PathBuf,
    libraries: String,
    service: Option<Child>,
}

impl Podman {
    /// Starts one. Errors: why there is none on this machine.
    fn start() -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("ly-pod-").tempdir().unwrap();
        let outside = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/outside");
        let unpacked = PACKAGES.map(|package| outside.join(package).join("usr"));
        let find = |name: &str| {
            let folders = unpacked.iter().map(|root| root.join("bin"));
            let folders = folders.chain(["/usr/bin", "/usr/sbin"].map(PathBuf::from));
            let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
            found.ok_or_else(|| format!("{name} is not found; tests/run unpacks it"))
        };
        let libraries = unpacked.iter().map(|root| root.join("lib/x86_64-linux-gnu").display().to_string());
        let podman = Self {
            program: find("podman")?,
            libraries: libraries.collect::<Vec<_>>().join(":"),
            service: None,
            folder,
        };
        podman.write_settings(&find("conmon")?, &find("runc")?);
        let version = podman.command(&["version"]).output().map_err(|error| error.to_string())?;
        succeeded("podman version", &version)?;
        let archive = image_archive(podman.folder.path());
        let imported = podman.command(&["import", archive.to_str().unwrap(), IMAGE]).output().unwrap();
        succeeded("podman import", &imported)?;
        // A machine that lets nobody make containers of its own has nothing to show here.
        let tried = podman.command(&["run", "--rm", "--network", "none", IMAGE, "/bin/sh", "-c", "exit 0"]);
        succeeded("podman run", &{ tried }.output().unwrap())?;
        Ok(podman)
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write_settings(&self, conmon: &Path, runc: &Path) {
        // Limits that a container itself may set, and locks that no other Podman of the machine shares.
        let text = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\nnetns = \"none\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\nconmon_path = [\"{}\"]\nruntime = \"runc\"\n\
             [engine.runtimes]\nrunc = [\"{}\"]\n",
            conmon.display(),
            runc.display()
        );
        fs::write(self.at("containers.conf"), text).unwrap();
        let text = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            self.at("root"),
            self.at("run")
        );
        fs::write(self.at("storage.conf"), text).unwrap();
        fs::write(self.at("registries.conf"), "").unwrap();
        let policy = self.folder.path().join("home/.config/containers");
        fs::create_dir_all(&policy).unwrap();
        fs::write(policy.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
            .unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--root", &self.at("root"), "--runroot", &self.at("run"), "--tmpdir", &self.at("tmp")])
            .args(arguments)
            .env("HOME", self.at("home"))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env("CONTAINERS_CONF", self.at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", self.at("registries.conf"));
        command
    }

    /// Lets it answer at its socket.
    fn serve(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.at("service.log")).unwrap();
        let mut command = self.command(&["system", "service", "--time", "0", &self.host()]);
        self.service = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.at("podman.sock")).is_err() {
            let log = fs::read_to_string(self.at("service.log")).unwrap_or_default();
            assert!(begun.elapsed() < WITHIN, "the service does not answer; its log:\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends what answers; containers live on.
    fn serve_no_more(&mut self) {
        let mut service = self.service.take().expect("it is served");
        signal(service.id(), "KILL");
        service.wait().unwrap();
        fs::remove_file(self.at("podman.sock")).unwrap();
    }

    fn host(&self) -> String {
        format!("unix://{}", self.at("podman.sock"))
    }

    /// Runs a shell script in a container.
    fn run(&self, options: &[&str], script: &str) {
        let arguments = [&["run"], options, &[IMAGE, "/bin/sh", "-c", script]].concat();
        succeeded(&arguments.join(" "), &self.command(&arguments).output().unwrap()).unwrap();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if self.service.is_some() {
            self.serve_no_more();
        }
        let removed = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("containers of {} may be left over", self.folder.path().display());
        }
        // Its layers are as they were packed, whoever may write to them.
        let mode = fs::Permissions::from_mode(0o755);
        drop(fs::set_permissions(self.folder.path(), mode));
    }
}

fn succeeded(what: &str, output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[test]
fn b30_podman_passes_b01_b04_b07_b09() {
    let mut podman = match Podman::start() {
        Ok(podman) => podman,
        Err(reason) => {
            eprintln!("not run: no Podman on this machine: {reason}");
            return;
        }
    };
    podman.serve();
    let mut logyard = Logyard::new(&podman.host(), &[]);
    logyard.start();
    labels_are_those_of_the_container(&podman, &logyard);
    removed_at_once(&podman, &logyard);
    lines_are_whole(&podman, &mut logyard);
    // Podman ends when nobody asks; containers print on.
    podman.run(
        &["-d", "--name", "through"],
        "i=1; while [ $i -le 40 ]; do echo line $i; i=$((i+1)); sleep 0.2; done",
    );
    logyard.wait_for_lines(r#"{container="through"}"#, 5, WITHIN);
    podman.serve_no_more();
    thread::sleep(Duration::from_secs(1));
    logyard.kill();
    podman.serve();
    logyard.start();
    let want: Vec<String> = (1..=40).map(|number| format!("line {number}")).collect();
    assert_eq!(logyard.wait_for_lines(r#"{container="through"}"#, 40, WITHIN), want);
    logyard.assert_quiet_but_for(&["engine"]);
}

fn labels_are_those_of_the_container(podman: &Podman, logyard: &Logyard) {
    let labels = ["--label", "com.docker.compose.project=demo", "--label", "com.docker.compose.service=web"];
    podman.run(&[&["-d", "--name", "web"], &labels[..]].concat(), "echo one; echo two >&2; sleep 600");
    logyard.wait_for_lines(r#"{container="web"}"#, 2, WITHIN);
    for (stream, line) in [("stdout", "one"), ("stderr", "two")] {
        let query = format!(
            r#"sum by (container, compose_project, compose_service, image, stream) (count_over_time({{container="web", stream="{stream}", host=~".+"}} |= "{line}" [1h]))"#
        );
        let want: BTreeMap<&str, &str> = [
            ("container", "web"),
            ("compose_project", "demo"),
            ("compose_service", "web"),
            ("image", "localhost/logyard-test:1"),
            ("stream", stream),
        ]
        .into();
        assert_eq!(logyard.instant(&query), [(serde_json::json!(want), 1.0)]);
    }
    assert!(logyard.targets()["engine"].as_str().unwrap().contains("Podman"), "{}", logyard.targets());
}

fn removed_at_once(podman: &Podman, logyard: &Logyard) {
    thread::scope(|scope| {
        for part in 0..5 {
            scope.spawn(move || {
                for number in 0..10 {
                    // Long enough for a busy machine to open the log before it is removed.
                    let script = format!("for l in a b c; do echo {part}{number} $l; done; sleep 10");
                    podman.run(&["-d", "--rm"], &script);
                }
            });
        }
    });
    let mut lines = logyard.wait_for_lines(r#"{container=~".+"} |~ "^[0-9][0-9] [abc]$""#, 150, WITHIN);
    lines.sort_unstable();
    let want: Vec<String> =
        (0..50).flat_map(|number| ["a", "b", "c"].map(|letter| format!("{number:02} {letter}"))).collect();
    assert_eq!(lines, want);
}

fn lines_are_whole(podman: &Podman, logyard: &mut Logyard) {
    // Written while nobody follows: who follows a log as it is written may be shown half a write, and never the rest.
    logyard.kill();
    let letters = |count: usize| format!("head -c {count} /dev/zero | tr '\\0' x");
    let sizes = [16_383, 16_384, 16_385, 32_768, 50_000, 1_000_000];
    let script: Vec<String> = sizes.iter().map(|&size| format!("{}; echo", letters(size))).collect();
    podman.run(&["-d", "--name", "sizes"], &format!("{}; echo tail; {}", script.join("; "), letters(40_000)));
    succeeded("podman wait", &podman.command(&["wait", "sizes"]).output().unwrap()).unwrap();
    logyard.start();
    podman.run(&["-d", "-t", "--name", "terminal"], "echo one; echo; echo two");
    // Times are whole seconds: lines of one second are told apart all the same.
    podman.run(&["-d", "--name", "equal"], "echo same; echo same; echo same; echo other; echo same");
    let lengths = |lines: &[String]| -> Vec<usize> { lines.iter().map(String::len).collect() };
    let lines = logyard.wait_for_lines(r#"{container="sizes"}"#, 8, WITHIN);
    assert_eq!(lengths(&lines), [16_383, 16_384, 16_385, 32_768, 50_000, 256 << 10, 4, 40_000]);
    assert!(lines[7].bytes().all(|byte| byte == b'x'), "the line without an end is one of its own");
    let terminal = logyard.wait_for_lines(r#"{container="terminal", stream="stdout"}"#, 3, WITHIN);
    assert_eq!(terminal, ["one", "", "two"]);
    let equal = logyard.wait_for_lines(r#"{container="equal"}"#, 5, WITHIN);
    assert_eq!(equal, ["same", "same", "same", "other", "same"]);
}
