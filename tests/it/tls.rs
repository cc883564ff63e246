//! TLS and certificates of clients between the real binaries: `logyard`, an agent on its own, `logq`.

use crate::process::Logyard;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);

/// A folder of certificates.
pub struct Certificates(pub PathBuf);

impl Certificates {
    /// Returns the path of a file of the folder.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Makes an authority, `NAME.ca`.
    pub fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.path(&format!("{name}.ca")), issuer.pem()).unwrap();
        issuer
    }

    /// Makes `NAME.cert` and `NAME.key`.
    pub fn sign(&self, issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) {
        self.sign_for(issuer, name, "127.0.0.1");
    }

    /// Makes `NAME.cert` and `NAME.key` for an address.
    pub fn sign_for(&self, issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, address: &str) {
        let params = CertificateParams::new(vec![address.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, issuer).unwrap().pem();
        std::fs::write(self.path(&format!("{name}.cert")), cert).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// What an agent trusts and shows.
    fn push(&self, ca: &str, own: &str) -> String {
        format!(
            "  tls:\n    ca_file: {}\n    cert_file: {}\n    key_file: {}\n",
            self.path(&format!("{ca}.ca")),
            self.path(&format!("{own}.cert")),
            self.path(&format!("{own}.key")),
        )
    }
}

/// Writes lines to `NAME.log`, and the settings of a process that reads them.
fn reads(folder: &Path, name: &str, settings: &str) -> String {
    let log = folder.join(format!("{name}.log"));
    std::fs::write(&log, format!("from {name} 1\nfrom {name} 2\n")).unwrap();
    let config = folder.join(format!("{name}.yaml"));
    let files = format!("agent:\n  files:\n  - path: [{}]\n    labels: {{job: {name}}}\n", log.display());
    std::fs::write(&config, files + settings).unwrap();
    config.display().to_string()
}

#[test]
fn certificates_are_asked_for_on_both_sides() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let certificates = Certificates(folder.to_owned());
    let (ours, other) = (certificates.authority("ours"), certificates.authority("other"));
    for name in ["server", "agent", "me"] {
        certificates.sign(&ours, name);
    }
    certificates.sign(&other, "stranger");
    let server = format!(
        "server:\n  tls:\n    cert_file: {}\n    key_file: {}\n    client_ca_file: {}\npush:\n{}",
        certificates.path("server.cert"),
        certificates.path("server.key"),
        certificates.path("ours.ca"),
        certificates.push("ours", "me"),
    );
    let flags = |ca: &str, own: &str| {
        let path = |end: &str| certificates.path(&format!("{own}.{end}"));
        let ca = certificates.path(&format!("{ca}.ca"));
        let mut flags = vec!["--ca-file".to_owned(), ca];
        if !own.is_empty() {
            flags.extend(["--cert-file".to_owned(), path("cert"), "--key-file".to_owned(), path("key")]);
        }
        flags
    };
    let (mine, config) = (flags("ours", "me"), reads(folder, "store", &server));
    let mine: Vec<&str> = mine.iter().map(String::as_str).collect();
    let mut store = Logyard::new(NO_ENGINE, &["--config", &config]).with_logq(&mine).over_tls();
    store.start();
    let push = format!("push:\n  url: {}\n{}", store.url(""), certificates.push("ours", "agent"));
    let agent_config = reads(folder, "agent", &push);
    let mut agent = Logyard::new(NO_ENGINE, &["agent", "--config", &agent_config]);
    agent.spawn();
    // What the agent of the process read, through its own door, and what the other one did, through the front.
    assert_eq!(store.wait_for_lines(r#"{job="store"}"#, 2, WITHIN), ["from store 1", "from store 2"]);
    assert_eq!(store.wait_for_lines(r#"{job="agent"}"#, 2, WITHIN), ["from agent 1", "from agent 2"]);
    for (ca, own, want) in [
        ("ours", "", "it asks for a certificate of the client; name cert_file and key_file"),
        ("ours", "stranger", "it does not accept the certificate of this client (UnknownCA)"),
        ("other", "me", "its certificate is of an authority that is not trusted here"),
    ] {
        let flags = flags(ca, own);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (code, _, stderr) = store.logq_with(&flags, &["labels"]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(want), "{stderr}");
    }
    // A command beside the store knows its certificate, whatever name stands in it.
    let (code, stdout, stderr) = store.subcommand(&["storage"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("entries"), "{stdout}");
    assert_eq!(store.subcommand(&["health"]), (0, "ready\n".to_owned(), String::new()));
    let mut health = Command::new(env!("CARGO_BIN_EXE_logyard"));
    let told = health.args(["health", "--agent", "--data-dir"]).arg(agent.data_dir()).output().unwrap();
    assert!(told.status.success() && told.stdout.starts_with(b"runs, 1 targets"), "{told:?}");
    // Renewed by another authority: the next connection meets the new one.
    certificates.sign(&other, "server");
    let renewed = flags("other", "me");
    let renewed: Vec<&str> = renewed.iter().map(String::as_str).collect();
    let deadline = Instant::now() + WITHIN;
    while store.logq_with(&renewed, &["labels"]).0 != 0 {
        assert!(Instant::now() < deadline, "not renewed; log:\n{}", store.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(agent.stop().success());
    assert!(store.stop().success());
    store.assert_quiet_but_for(&["engine", "the key is not that of the certificate"]);
    agent.assert_quiet_but_for(&["engine", "is not trusted here"]);
}
