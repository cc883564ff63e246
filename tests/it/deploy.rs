//! What is in `crates/logyard/deploy`: the image is built and its service started as the Compose file says, on a real
//! engine; the units of systemd are read by systemd.
//!
//! No registry is asked: the binaries and libraries of this machine stand for the first stage of the `Dockerfile`,
//! gathered by the same script, and everything after it is built as it is written.

use crate::engine::{Engine, IMAGE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(120);

/// Name of the image under test.
const BUILT: &str = "logyard-deploy-test:1";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/logyard/deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap()
}

/// Runs a command to its end and returns what it printed; it must succeed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the Compose command that this machine has: the plugin, or the program of Debian.
fn compose() -> Command {
    let plugin = Command::new("docker").args(["compose", "version"]).output();
    if plugin.is_ok_and(|output| output.status.success()) {
        let mut command = Command::new("docker");
        command.arg("compose");
        return command;
    }
    Command::new("docker-compose")
}

/// Builds everything of the `Dockerfile` behind its first stage.
fn build_image(engine: &Engine, folder: &Path) {
    let binaries = folder.join("binaries");
    std::fs::create_dir_all(&binaries).unwrap();
    for path in [env!("CARGO_BIN_EXE_logyard"), env!("CARGO_BIN_EXE_logq")].map(Path::new) {
        // Without what debuggers read they are a quarter as large.
        succeed(Command::new("strip").arg("-o").arg(binaries.join(path.file_name().unwrap())).arg(path));
    }
    let first_stage = folder.join("first");
    let gathered = first_stage.join("image");
    succeed(Command::new("sh").arg(deploy().join("rootfs.sh")).arg(&binaries).arg(&gathered));
    let archive = folder.join("first.tar");
    succeed(Command::new("tar").arg("-C").arg(&first_stage).arg("-cf").arg(&archive).arg("."));
    engine.docker(&["import", archive.to_str().unwrap(), "logyard-first-stage:1"]);

    let dockerfile = read("Dockerfile");
    let (_, rest) = dockerfile.split_once("\nFROM scratch\n").expect("a last stage from nothing");
    assert!(!rest.contains("\nFROM "), "one stage behind the first");
    let file = folder.join("Dockerfile");
    std::fs::write(&file, format!("FROM logyard-first-stage:1 AS build\nFROM scratch\n{rest}")).unwrap();
    let context = folder.join("context");
    std::fs::create_dir_all(&context).unwrap();
    // The builder that every engine has.
    succeed(
        Command::new("docker")
            .args(["build", "--quiet", "--network", "none", "--tag", BUILT, "--file"])
            .arg(&file)
            .arg(&context)
            .env("DOCKER_HOST", engine.host())
            .env("DOCKER_BUILDKIT", "0"),
    );
}

/// A Compose project on the engine.
struct Project<'e> {
    engine: &'e Engine,
    folder: PathBuf,
    name: &'static str,
    files: Vec<PathBuf>,
    variables: BTreeMap<&'static str, String>,
}

impl<'e> Project<'e> {
    /// Describes the project of a file of ours, with what a test changes: no network, quick health.
    fn new(
        engine: &'e Engine,
        folder: &Path,
        name: &'static str,
        file: &str,
        service: &str,
        network: &str,
    ) -> Self {
        let change = folder.join(format!("{name}.test.yaml"));
        // Health is not asked for before an interval has passed.
        let text = format!(
            "services:\n  {service}:\n    network_mode: {network}\n    healthcheck:\n      interval: 1s\n"
        );
        std::fs::write(&change, text).unwrap();
        let group = std::fs::metadata(engine.socket()).unwrap().gid();
        let variables = BTreeMap::from([
            ("DOCKER_GID", group.to_string()),
            ("DOCKER_SOCKET", engine.socket().display().to_string()),
            ("LOGYARD_IMAGE", BUILT.to_owned()),
        ]);
        let files = vec![deploy().join(file), change];
        Self { engine, folder: folder.to_owned(), name, files, variables }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.to_owned());
        self
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let mut command = compose();
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        let command = command.args(["--project-name", self.name]).args(arguments);
        succeed(
            command.current_dir(&self.folder).envs(&self.variables).env("DOCKER_HOST", self.engine.host()),
        )
    }

    /// Starts a service and waits until the engine calls it healthy. Returns its container.
    fn start(&self, service: &str, arguments: &[&str]) -> String {
        self.compose(&[&["up", "--detach", "--no-build"], arguments, &[service]].concat());
        let id = self.compose(&["ps", "--quiet", service]).trim().to_owned();
        let deadline = Instant::now() + WITHIN;
        loop {
            let state = self.engine.docker(&["inspect", "--format", "{{json .State}}", &id]);
            let state: Value = serde_json::from_str(&state).unwrap();
            if state["Health"]["Status"] == "healthy" {
                return id;
            }
            assert!(Instant::now() < deadline, "{service} is not healthy: {state}\n{}", self.log(&id));
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, id: &str) -> String {
        let output =
            Command::new("docker").args(["logs", id]).env("DOCKER_HOST", self.engine.host()).output();
        String::from_utf8_lossy(&output.unwrap().stderr).into_owned()
    }
}

/// Polls by the image's own `logq` until a query finds lines.
fn wait_for_lines(engine: &Engine, id: &str, query: &str) -> String {
    let deadline = Instant::now() + WITHIN;
    loop {
        let told = Command::new("docker")
            .args(["exec", id, "logq", query, "--since", "1h", "-o", "raw"])
            .env("DOCKER_HOST", engine.host())
            .output()
            .unwrap();
        if !told.stdout.is_empty() {
            return String::from_utf8(told.stdout).unwrap();
        }
        assert!(Instant::now() < deadline, "{query}: {}", String::from_utf8_lossy(&told.stderr));
        thread::sleep(Duration::from_millis(100));
    }
}

/// What the first stage is given: everything cargo reads, and nothing that is large or secret.
#[test]
fn the_context_of_the_image_is_the_sources_alone() {
    let ignored =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".dockerignore")).unwrap();
    let patterns: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut copy = Command::new("tar");
    copy.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(["--anchored", "-cf", "-"]);
    for pattern in &patterns {
        match pattern.strip_prefix("**/") {
            Some(anywhere) => {
                copy.arg("--no-anchored").arg(format!("--exclude={anywhere}")).arg("--anchored")
            }
            None => copy.arg(format!("--exclude=./{pattern}")),
        };
    }
    let mut packing = copy.arg(".").stdout(Stdio::piped()).spawn().unwrap();
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(["-xf", "-"])
            .stdin(packing.stdout.take().unwrap()),
    );
    assert!(packing.wait().unwrap().success());
    for absent in ["target", ".git", "fuzz", "logyard-data", "crates/logyard/deploy/.env"] {
        assert!(!folder.path().join(absent).exists(), "{absent}");
    }
    // Cargo finds every member and every target, and the lock file is theirs. Of packages for other systems nothing need
    // be on this machine.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    succeed(
        Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--offline",
                "--locked",
                "--format-version",
                "1",
                "--filter-platform",
                &platform,
            ])
            .current_dir(folder.path()),
    );
}

#[test]
fn the_image_runs_as_the_compose_file_says() {
    let engine = Engine::start();
    let made = tempfile::tempdir().unwrap();
    build_image(&engine, made.path());
    let project = Project::new(&engine, made.path(), "store", "compose.yaml", "logyard", "none");
    let id = project.start("logyard", &[]);

    // Nobody special, no rights, nothing to write to but the volume, no shell.
    let inspected = engine.docker(&["inspect", "--format", "{{json .}}", &id]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(inspected["Config"]["Labels"]["org.opencontainers.image.version"], version);
    assert!(read("compose.yaml").contains(&format!("image: ${{LOGYARD_IMAGE:-logyard:{version}}}")));
    assert!(read("compose.agent.yaml").contains(&format!("image: ${{LOGYARD_IMAGE:-logyard:{version}}}")));
    assert_eq!(inspected["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(inspected["HostConfig"]["Memory"], 250 * 1024 * 1024);
    let status = std::fs::read_to_string(format!("/proc/{}/status", inspected["State"]["Pid"])).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["10001"; 4]);
    assert_eq!(field("Gid:"), ["10001"; 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapBnd:"), ["0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    let shell = Command::new("docker")
        .args(["exec", &id, "/bin/sh", "-c", "true"])
        .env("DOCKER_HOST", engine.host())
        .output()
        .unwrap();
    assert!(!shell.status.success(), "{shell:?}");

    // What it says itself, what a container says, and what is pushed.
    let own =
        wait_for_lines(&engine, &id, r#"{container="logyard", service_name="logyard"} |= "store is ready""#);
    assert!(own.contains("level=info target=store"), "{own}");
    engine.run("web", &[], "echo hello from web");
    assert_eq!(wait_for_lines(&engine, &id, r#"{container="web", stream="stdout"}"#), "hello from web\n");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"pushed"}},"values":[["{now}","by hand"]]}}]}}"#);
    let network = format!("container:{id}");
    let post = ["run", "--rm", "--network", &network, IMAGE, "/bin/busybox", "wget", "-q", "-O", "-"];
    let to = ["--header", "Content-Type: application/json", "--post-data", &body];
    engine.docker(&[&post[..], &to, &["http://127.0.0.1:3100/loki/api/v1/push"]].concat());
    assert_eq!(wait_for_lines(&engine, &id, r#"{app="pushed"}"#), "by hand\n");

    // What README.md runs inside.
    let exec = |command: &[&str]| engine.docker(&[&["exec", &id, "logyard"], command].concat());
    assert!(exec(&["snapshot", "create", "nightly"]).contains("/data/snapshots/nightly"));
    exec(&["snapshot", "delete", "nightly"]);
    assert!(exec(&["agent", "targets"]).contains("container web"));
    assert!(exec(&["storage"]).contains("size cap    20.0 GiB"));
    assert_eq!(exec(&["health"]), "ready");

    // Another machine's agent, as far as one machine can play it.
    let agent = Project::new(
        &engine,
        made.path(),
        "agent",
        "compose.agent.yaml",
        "logyard-agent",
        &format!("\"{network}\""),
    )
    .with("LOGYARD_URL", "http://127.0.0.1:3100");
    let agent_id = agent.start("logyard-agent", &[]);
    let banner = "pushes   to http://127.0.0.1:3100";
    let deadline = Instant::now() + WITHIN;
    // It answers a moment before it says what it does.
    while !agent.log(&agent_id).contains(banner) {
        assert!(Instant::now() < deadline, "{}", agent.log(&agent_id));
        thread::sleep(Duration::from_millis(100));
    }
    let agent_log = agent.log(&agent_id);
    assert!(!agent_log.contains("level=warn") && !agent_log.contains("level=error"), "{agent_log}");
    // It reads its own container, as its label wants, and what it says does not make it say more.
    wait_for_lines(&engine, &id, r#"{container="logyard-agent"}"#);
    assert!(agent.log(&agent_id).lines().count() < 50, "{}", agent.log(&agent_id));
    agent.compose(&["down", "--volumes"]);

    // It says that anybody may come in, and nothing else that is loud.
    let log = project.log(&id);
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("level=warn") || line.contains("level=error")).collect();
    assert!(matches!(loud[..], [only] if only.contains("without access control")), "{log}");
    // Nor do its own lines, which it reads, make it write more.
    assert!(log.lines().count() < 50, "{log}");

    // A container of a new image finds what the old one kept.
    let new_id = project.start("logyard", &["--force-recreate"]);
    assert_ne!(new_id, id);
    assert_eq!(wait_for_lines(&engine, &new_id, r#"{app="pushed"}"#), "by hand\n");
    assert_eq!(wait_for_lines(&engine, &new_id, r#"{container="web", stream="stdout"}"#), "hello from web\n");
    project.compose(&["down", "--volumes"]);
}

/// Returns what Compose makes of files with an environment file, as YAML.
fn configured(files: &[&str], environment: &str) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    std::fs::File::create(&path).unwrap().write_all(environment.as_bytes()).unwrap();
    let mut command = compose();
    command.arg("--env-file").arg(&path).args(["--project-name", "p"]);
    for file in files {
        command.arg("--file").arg(deploy().join(file));
    }
    // Elsewhere than beside a file `.env` that somebody may have made to try it.
    let output = command.args(["--profile", "ntfy", "--profile", "metrics", "config"]).current_dir(&folder);
    let output = output.output().unwrap();
    match output.status.success() {
        true => Ok(serde_yaml_ng::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn compose_files_are_valid_with_every_setting_of_the_example() {
    let example = read(".env.example") + "\nDOCKER_GID=999\nLOGYARD_URL=https://logs.example.org\n";
    // Every setting that is only shown is switched on as well.
    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_uppercase()) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("COMPOSE_FILE="))
        .collect();
    for environment in [&example, &all] {
        configured(&["compose.yaml"], environment).unwrap();
        configured(&["compose.agent.yaml"], environment).unwrap();
        configured(&["compose.yaml", "compose.socket-proxy.yaml"], environment).unwrap();
    }
    let files = ["compose.yaml", "compose.socket-proxy.yaml", "compose.traefik.yaml"];
    let config = configured(&files, &all).unwrap();
    let services = config["services"].as_object().unwrap();
    assert_eq!(
        services.keys().collect::<Vec<_>>(),
        ["grafana", "logyard", "ntfy", "prometheus", "socket-proxy"]
    );
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(!service["mem_limit"].is_null() && !service["pids_limit"].is_null(), "{name}");
        assert_ne!(service["privileged"], true, "{name}");
    }
    let grafana = &services["grafana"]["environment"];
    assert_eq!(grafana["LOGYARD_URL"], "http://logyard:3100/logs");
    assert_eq!(grafana["LOGYARD_TOKEN"], "CHANGE-ME-1");
    assert_eq!(grafana["ALERT_URL"], "http://ntfy:8080/logyard?template=grafana");
    let labels = &services["logyard"]["labels"];
    assert_eq!(
        labels["traefik.http.routers.logyard.rule"],
        "Host(`logs.example.org`) && PathPrefix(`/logs`)"
    );
    assert_eq!(labels["traefik.http.routers.logyard.middlewares"], "authelia@docker");
    // The socket is nowhere but at the proxy.
    let mounts = services["logyard"]["volumes"].to_string();
    assert!(!mounts.contains("/var/run/docker.sock:/"), "{mounts}");

    settings_are_read(&services["logyard"]["environment"]);
    let missing = configured(&["compose.yaml"], &example.replace("DOCKER_GID=999", "")).unwrap_err();
    assert!(missing.contains("DOCKER_GID") || missing.contains("first lines of compose.yaml"), "{missing}");
}

/// Logyard itself reads the settings that its service is given.
fn settings_are_read(environment: &Value) {
    let variables = environment.as_object().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let output = Command::new(env!("CARGO_BIN_EXE_logyard"))
        .arg("config")
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, text(value))))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let settings: Value = serde_yaml_ng::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["server"]["path_prefix"], "/logs");
    assert_eq!(settings["server"]["tokens"][1]["name"], "agents");
    assert_eq!(settings["notify"]["targets"][0]["kind"], "ntfy");
    assert_eq!(settings["store"]["retention"]["period_secs"], "30d");
}

#[test]
fn units_are_understood_and_locked_up() {
    let folder = tempfile::tempdir().unwrap();
    // A lesser systemd would know fewer of the checks; where there is none the units cannot be tried.
    let has_systemd = Command::new("systemd-analyze").arg("--version").output().is_ok();
    for (name, command) in [("logyard", "logyard"), ("logyard-agent", "logyard agent")] {
        let text = read(&format!("{name}.service"));
        assert!(text.contains(&format!("\nExecStart=/usr/local/bin/{command}\n")), "{text}");
        assert!(text.contains(&format!("\nStateDirectory={name}\n")), "{text}");
        assert!(text.contains(&format!("\nEnvironment=LOGYARD_DATA_DIR=/var/lib/{name}\n")), "{text}");
        if !has_systemd {
            eprintln!("not run: systemd-analyze is not on the PATH");
            continue;
        }
        let unit = folder.path().join(format!("{name}.service"));
        let text = text.replace("/usr/local/bin/logyard", env!("CARGO_BIN_EXE_logyard"));
        std::fs::write(&unit, text).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        let about_it: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(verified.status.success() && about_it.is_empty(), "{said}");
        // 0 is locked up entirely, 100 open.
        succeed(
            Command::new("systemd-analyze")
                .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
                .arg(&unit),
        );
    }
    assert!(read("docker.conf").contains("\n[Service]\nSupplementaryGroups=docker\n"));
}
