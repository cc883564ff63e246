//! Several engines in one agent: sockets, TLS with certificates of clients, `ssh`.

use crate::cable::Cable;
use crate::engine::{Engine, signal};
use crate::process::Logyard;
use crate::tls::Certificates;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(90);

fn configured(text: &str) -> Logyard {
    let logyard = Logyard::new("unix:///nonexistent/docker.sock", &[]);
    let config = logyard.folder().join("logyard.yaml");
    fs::write(&config, text).unwrap();
    logyard.with_arguments(&["--config", config.to_str().unwrap()])
}

#[test]
fn engines_here_and_over_tls_are_read_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let cable = Cable::lay();
    let address = &cable.addresses[1];
    let certificates = Certificates(folder.path().to_owned());
    let authority = certificates.authority("ours");
    certificates.sign_for(&authority, "engine", address);
    certificates.sign(&authority, "agent");
    let listens = format!("tcp://{address}:2376");
    let file = |name: &str| certificates.path(name);
    let arguments = [
        ["--host", &listens],
        ["--tlscacert", &file("ours.ca")],
        ["--tlscert", &file("engine.cert")],
        ["--tlskey", &file("engine.key")],
    ];
    let arguments = [&["--tlsverify"][..], arguments.as_flattened()].concat();
    let mut far = Engine::start_in(&cable.namespace, &arguments);
    let near = Engine::start();

    let tls = format!(
        "ca_file: {}, cert_file: {}, key_file: {}",
        file("ours.ca"),
        file("agent.cert"),
        file("agent.key")
    );
    let mut logyard = configured(&format!(
        "agent:\n  docker:\n    engines:\n    - {{host: '{}', label: near}}\n    - {{host: '{listens}', {tls}}}\n    - {{host: 'tcp://127.0.0.1:1'}}\n",
        near.host()
    ));
    logyard.start();
    let script = "echo from $0; while [ ! -e /go ]; do sleep 0.1; done; echo again; sleep 600";
    near.run("same", &[], &script.replace("$0", "near"));
    far.run("same", &[], &script.replace("$0", "far"));
    let at = |host: &str| format!(r#"{{container="same", host="{host}"}}"#);
    assert_eq!(logyard.wait_for_lines(&at("near"), 1, WITHIN), ["from near"]);
    assert_eq!(logyard.wait_for_lines(&at(address), 1, WITHIN), ["from far"]);
    let page = logyard.targets();
    assert_eq!(page["engine"].as_str().unwrap().matches("Docker").count(), 2, "{page}");
    assert!(page["engine_problem"].as_str().unwrap().contains("127.0.0.1:1"), "{page}");

    // One goes away and comes back, and the other is read meanwhile.
    far.docker(&["exec", "same", "/bin/sh", "-c", "echo > /go"]);
    assert_eq!(logyard.wait_for_lines(&at(address), 2, WITHIN), ["from far", "again"]);
    far.kill_daemon();
    near.run("later", &[], "echo later; sleep 600");
    logyard.wait_for_lines(r#"{container="later", host="near"}"#, 1, WITHIN);
    far.start_daemon();
    far.run("later", &[], "echo later; sleep 600");
    logyard.wait_for_lines(&format!(r#"{{container="later", host="{address}"}}"#), 1, WITHIN);
    logyard.kill();
    near.docker(&["exec", "same", "/bin/sh", "-c", "echo > /go"]);
    logyard.start();
    assert_eq!(logyard.wait_for_lines(&at("near"), 2, WITHIN), ["from near", "again"]);
    assert_eq!(logyard.lines(&at(address)), ["from far", "again"]);

    // Who shows no certificate is told why.
    let tls = format!("ca_file: {}", file("ours.ca"));
    let stranger =
        configured(&format!("agent:\n  docker:\n    engines:\n    - {{host: '{listens}', {tls}}}\n"));
    let (code, page, problem) = stranger.subcommand(&["agent", "targets", "--json"]);
    assert_eq!(code, 0, "{problem}");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert!(page["engine_problem"].as_str().unwrap().contains("BadCertificate"), "{page}");
    logyard.assert_quiet_but_for(&["engine"]);
}

/// A server of `ssh` for one key; dropping it ends it.
struct SshServer(Child);

impl Drop for SshServer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Finds the server among what `tests/run` has unpacked, or installed, with the folder of its libraries.
fn sshd() -> Option<(PathBuf, PathBuf)> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/outside");
    let libraries = fs::read_dir(unpacked.join("libwrap0/usr/lib")).into_iter().flatten().flatten();
    let libraries = libraries.map(|item| item.path()).find(|path| path.join("libwrap.so.0").exists());
    let servers = [unpacked.join("openssh-server/usr/sbin/sshd"), PathBuf::from("/usr/sbin/sshd")];
    Some((servers.into_iter().find(|path| path.exists())?, libraries.unwrap_or_default()))
}

fn serve_ssh(folder: &Path, port: u16) -> Option<SshServer> {
    let (program, libraries) = sshd()?;
    let at = |name: &str| folder.join(name).display().to_string();
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
        assert!(made.unwrap().success());
    }
    let settings = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n",
        at("host"),
        at("user.pub")
    );
    fs::write(at("sshd_config"), settings).unwrap();
    // The user that the server gives up its rights for need not be on this machine.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(at("passwd"), format!("{users}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")).unwrap();
    let script = "mount --bind \"$0\" /etc/passwd; mkdir -p /run/sshd; exec \"$@\"";
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, &at("passwd")])
        .arg(program)
        .args(["-D", "-e", "-f", &at("sshd_config")])
        .env("LD_LIBRARY_PATH", libraries)
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("sshd.log")).unwrap())
        .spawn()
        .unwrap();
    // What the agent finds as `ssh` takes its settings from here, and not from those of a person.
    let known = fs::read_to_string(at("host.pub")).unwrap();
    fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {known}")).unwrap();
    let client = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o UserKnownHostsFile={} \"$@\"\n",
        at("user"),
        at("known_hosts")
    );
    fs::create_dir(at("bin")).unwrap();
    fs::write(at("bin/ssh"), client).unwrap();
    fs::set_permissions(at("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    Some(SshServer(child))
}

#[test]
fn an_engine_is_read_through_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = serve_ssh(folder.path(), port) else {
        eprintln!("not run: no sshd is found; tests/run unpacks one");
        return;
    };
    let engine = Engine::start();
    let host = format!("ssh://root@127.0.0.1:{port}{}", engine.socket().display());
    let mut logyard =
        configured(&format!("agent: {{docker: {{engines: [{{host: '{host}', label: pi}}]}}}}\n"))
            .with_programs(&folder.path().join("bin"));
    logyard.start();
    engine.run("one", &[], "echo one; sleep 600");
    engine.run("two", &[], "echo two; sleep 600");
    let all = r#"{host="pi", container=~".+"}"#;
    let sorted = |count: usize| {
        let mut lines = logyard.wait_for_lines(all, count, WITHIN);
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(2), ["one", "two"]);
    // The connection breaks, and the server is away.
    drop(server);
    let children =
        Command::new("pgrep").args(["-P", &logyard.pid().to_string(), "-x", "ssh"]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    assert_eq!(children.lines().count(), 1, "one ssh for all containers: {children}");
    signal(children.trim().parse().unwrap(), "KILL");
    engine.run("three", &[], "echo three; sleep 600");
    let begun = Instant::now();
    while !logyard.log().contains("the engine does not answer") {
        assert!(begun.elapsed() < WITHIN, "{}", logyard.log());
        thread::sleep(Duration::from_millis(100));
    }
    for name in ["host", "user", "host.pub", "user.pub"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    fs::remove_dir_all(folder.path().join("bin")).unwrap();
    let _server = serve_ssh(folder.path(), port).unwrap();
    assert_eq!(sorted(3), ["one", "three", "two"]);
    logyard.assert_quiet_but_for(&["engine"]);
}
