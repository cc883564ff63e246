//! Where an engine is, and connections to it: a socket, TCP, TLS, or the socket of another machine through `ssh`.
//!
//! `ssh` is run as a child, once for an engine: it forwards a socket in the agent's folder to that of the other machine,
//! so fifty containers that are followed are fifty connections of one process. It asks nobody for anything: keys and
//! known hosts are those of the user that the agent runs as.

use std::fmt::Debug;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use logyard_client::{Tls, TlsFiles};
use logyard_sys::Disk;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use xxhash_rust::xxh3::xxh3_64;

use crate::docker_engine::EngineError;
use crate::settings::{DockerSettings, EngineSettings};

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Longest path of a socket that every Unix takes.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Pause between looks whether `ssh` forwards already, and how often it is looked: 20 s.
const FORWARD_PAUSE: Duration = Duration::from_millis(100);
const FORWARD_LOOKS: u32 = 200;
/// Longest wait for what `ssh` says, and bytes of it that are told.
const COMPLAINT_WAIT: Duration = Duration::from_secs(1);
const COMPLAINT_BYTES_MAX: usize = 1_024;

/// A connection of any kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Connection for T {}

/// One engine of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnginePlace {
    /// The address as it was given.
    pub(crate) host: String,
    /// Value of the label `host` of what is read there, if it is not this machine's.
    pub(crate) label: Option<String>,
    pub(crate) address: Address,
    /// What tells its positions from those of others; empty for the only one.
    pub(crate) key: String,
}

/// How an engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(String),
    Tcp(String),
    Tls { authority: String, files: TlsFiles },
    Ssh(SshPlace),
}

/// A socket of another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshPlace {
    /// `host` or `user@host`.
    destination: String,
    port: Option<u16>,
    /// The engine's socket there.
    socket: String,
    /// The socket here that leads to it.
    here: PathBuf,
}

/// Returns the engines that are read.
///
/// `dir` is the agent's folder. Errors: an address that cannot be used.
pub(crate) fn engine_places(docker: &DockerSettings, dir: &Path) -> Result<Vec<EnginePlace>, EngineError> {
    if docker.engines.is_empty() {
        let own = EngineSettings { host: engine_host(&docker.host), ..EngineSettings::default() };
        let files = if docker.host.is_empty() { files_of_environment() } else { TlsFiles::default() };
        let address = Address::parse(&own.host, files, &dir.join("engine.sock"))?;
        return Ok(vec![EnginePlace { host: own.host, label: None, address, key: String::new() }]);
    }
    let mut places = Vec::new();
    for engine in &docker.engines {
        // The same for as long as it is in the list, wherever there.
        let here = dir.join(format!("engine-{:08x}.sock", xxh3_64(engine.host.as_bytes()) >> 32));
        let address = Address::parse(&engine.host, engine.files(), &here)?;
        let label = match (engine.label.as_str(), address.machine()) {
            ("", machine) => machine.map(str::to_owned),
            (label, _) => Some(label.to_owned()),
        };
        let key = format!(":{}", engine.host);
        places.push(EnginePlace { host: engine.host.clone(), label, address, key });
    }
    Ok(places)
}

/// Returns the address to use for the only engine: the setting, `DOCKER_HOST`, or the usual socket.
fn engine_host(setting: &str) -> String {
    if !setting.is_empty() {
        return setting.to_owned();
    }
    std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

/// Returns the files that the environment names as it does for the docker command.
fn files_of_environment() -> TlsFiles {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(dir) = set("DOCKER_TLS_VERIFY").and_then(|_| set("DOCKER_CERT_PATH")) else {
        return TlsFiles::default();
    };
    let file = |name: &str| Path::new(&dir).join(name).display().to_string();
    TlsFiles {
        ca_file: file("ca.pem"),
        cert_file: file("cert.pem"),
        key_file: file("key.pem"),
        server_name: String::new(),
    }
}

impl Address {
    /// Errors: no address of an engine.
    pub(crate) fn parse(host: &str, files: TlsFiles, here: &Path) -> Result<Self, EngineError> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Self::Unix(path.to_owned()));
        }
        if let Some(place) = host.strip_prefix("ssh://") {
            return SshPlace::parse(place, here).map(Self::Ssh).map_err(|reason| {
                EngineError::new(format!("cannot use engine address {host}: {reason}; want ssh://user@host"))
            });
        }
        let is_encrypted = host.starts_with("https://") || files != TlsFiles::default();
        let tcp = ["tcp://", "http://", "https://"].iter().find_map(|scheme| host.strip_prefix(scheme));
        match tcp.map(|authority| authority.trim_end_matches('/').to_owned()) {
            Some(authority) if is_encrypted => Ok(Self::Tls { authority, files }),
            Some(authority) => Ok(Self::Tcp(authority)),
            None => Err(EngineError::new(format!(
                "cannot use engine address {host}; want unix:///path, tcp://host:port or ssh://user@host, in agent.docker.host, agent.docker.engines or DOCKER_HOST"
            ))),
        }
    }

    /// Returns the name of the machine in the address; `None`: it is this one.
    fn machine(&self) -> Option<&str> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(authority) | Self::Tls { authority, .. } => Some(machine_of(authority)),
            Self::Ssh(place) => Some(machine_of(&place.destination)),
        }
    }
}

/// Takes the machine out of `user@machine:port`.
fn machine_of(authority: &str) -> &str {
    let machine = authority.rsplit('@').next().unwrap_or(authority);
    match machine.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => machine.split(':').next().unwrap_or(machine),
    }
}

impl SshPlace {
    fn parse(place: &str, here: &Path) -> Result<Self, String> {
        let (machine, socket) = match place.split_once('/') {
            Some((machine, path)) if !path.is_empty() => (machine, format!("/{path}")),
            Some((machine, _)) => (machine, DEFAULT_SOCKET.to_owned()),
            None => (place, DEFAULT_SOCKET.to_owned()),
        };
        let (destination, port) = match machine.rsplit_once(':') {
            Some((destination, port)) => {
                let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
                (destination, Some(port))
            }
            None => (machine, None),
        };
        // One that begins so would be an option of ssh.
        if destination.is_empty() || destination.starts_with('-') {
            return Err("it names no machine".to_owned());
        }
        if here.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let path = here.display();
            return Err(format!("the path {path} is too long for a socket; set a shorter data_dir"));
        }
        Ok(Self { destination: destination.to_owned(), port, socket, here: here.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        let mut forward = self.here.as_os_str().to_owned();
        forward.push(":");
        forward.push(&self.socket);
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]);
        command.args([
            "-o",
            "ConnectTimeout=10",
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ServerAliveCountMax=3",
        ]);
        command.args(["-o", "StreamLocalBindUnlink=yes", "-o", "ControlPath=none"]);
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        // It ends when its input does, so no child outlives an agent that is killed.
        command.arg("-L").arg(forward).arg("--").arg(&self.destination).arg("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// An open way to an engine. Cheap to clone; `ssh` ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    dial: Dial,
    _ssh: Option<Arc<Ssh>>,
}

/// A child that forwards a socket; dropping it ends it.
#[derive(Debug)]
struct Ssh(Child);

impl Drop for Ssh {
    fn drop(&mut self) {
        // It may have ended by itself. A killed child is there no longer than it takes to reap it.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

#[derive(Clone, Debug)]
enum Dial {
    Unix(String),
    Tcp(String),
    Tls { authority: String, tls: Tls },
}

impl Way {
    /// Opens the way to an engine: reads the files of TLS, runs `ssh`.
    ///
    /// Errors: for people, without the address.
    pub(crate) async fn open(address: &Address, disk: &dyn Disk) -> Result<Self, String> {
        let dial = match address {
            Address::Unix(path) => Dial::Unix(path.clone()),
            Address::Tcp(authority) => Dial::Tcp(authority.clone()),
            Address::Tls { authority, files } => {
                let files = files.clone();
                let read = tokio::task::spawn_blocking(move || Tls::read(&files)).await;
                let tls = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                Dial::Tls { authority: authority.clone(), tls }
            }
            Address::Ssh(place) => return Self::through_ssh(place, disk).await,
        };
        Ok(Self { dial, _ssh: None })
    }

    async fn through_ssh(place: &SshPlace, disk: &dyn Disk) -> Result<Self, String> {
        // That of an earlier child, which may still be there.
        match disk.remove_file(&place.here) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot remove {}: {error}", place.here.display()));
            }
            _ => {}
        }
        let child = place.command().spawn();
        let mut ssh =
            Ssh(child.map_err(|error| format!("cannot run ssh: {error}; install an OpenSSH client"))?);
        for _ in 0..FORWARD_LOOKS {
            if UnixStream::connect(&place.here).await.is_ok() {
                let dial = Dial::Unix(place.here.to_string_lossy().into_owned());
                return Ok(Self { dial, _ssh: Some(Arc::new(ssh)) });
            }
            if ssh.0.try_wait().is_ok_and(|status| status.is_some()) {
                let said = complaint(ssh.0.stderr.take()).await;
                return Err(format!("ssh to {} ended: {said}", place.destination));
            }
            sleep(FORWARD_PAUSE).await;
        }
        Err(format!("ssh to {} opens no way within 20 s", place.destination))
    }

    /// Returns the path of the socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&str> {
        match &self.dial {
            Dial::Unix(path) => Some(path),
            Dial::Tcp(_) | Dial::Tls { .. } => None,
        }
    }

    /// Returns host and port, if it is a connection of TCP in the clear.
    pub(crate) fn clear_authority(&self) -> Option<&str> {
        match &self.dial {
            Dial::Tcp(authority) => Some(authority),
            Dial::Unix(_) | Dial::Tls { .. } => None,
        }
    }

    /// Connects once more.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match &self.dial {
            Dial::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Dial::Tcp(authority) => Box::new(TcpStream::connect(authority).await?),
            Dial::Tls { authority, tls } => {
                let stream = TcpStream::connect(authority).await?;
                Box::new(tls.connect(machine_of(authority), stream).await?)
            }
        })
    }
}

/// Returns the last line that an ended child said.
async fn complaint(stderr: Option<ChildStderr>) -> String {
    let read = tokio::task::spawn_blocking(move || {
        let mut said = vec![0; COMPLAINT_BYTES_MAX];
        // It is there at once, in one piece as a rule.
        let read = stderr.and_then(|mut stderr| stderr.read(&mut said).ok()).unwrap_or_default();
        said.truncate(read);
        said
    });
    // What it started itself may hold the other end, and say nothing.
    let said = timeout(COMPLAINT_WAIT, read).await.ok().and_then(Result::ok).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().last().unwrap_or("it does not say why").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(host: &str) -> Result<Address, EngineError> {
        Address::parse(host, TlsFiles::default(), Path::new("/d/engine.sock"))
    }

    #[test]
    fn addresses() {
        assert_eq!(parse("unix:///run/x.sock").unwrap(), Address::Unix("/run/x.sock".into()));
        assert_eq!(parse("tcp://nas:2375").unwrap(), Address::Tcp("nas:2375".into()));
        let error = parse("npipe://nas").unwrap_err().to_string();
        assert!(error.contains("agent.docker.host"), "{error}");
        let files = TlsFiles { ca_file: "ca.pem".to_owned(), ..TlsFiles::default() };
        for (host, files) in [("tcp://nas:2376", files), ("https://nas:2376", TlsFiles::default())] {
            let address = Address::parse(host, files, Path::new("/d")).unwrap();
            assert!(
                matches!(address, Address::Tls { ref authority, .. } if authority == "nas:2376"),
                "{host}"
            );
        }
    }

    #[test]
    fn ssh_is_told_where_to_lead() {
        let arguments = |host: &str| -> String {
            let Address::Ssh(place) = parse(host).unwrap() else { panic!("{host}") };
            let command = place.command();
            let arguments: Vec<_> = command.get_args().map(|text| text.to_string_lossy()).collect();
            arguments[arguments.iter().position(|text| text == "ControlPath=none").unwrap() + 1..].join(" ")
        };
        assert_eq!(arguments("ssh://pi"), "-L /d/engine.sock:/var/run/docker.sock -- pi cat");
        assert_eq!(
            arguments("ssh://root@pi:2222/run/podman/podman.sock"),
            "-p 2222 -L /d/engine.sock:/run/podman/podman.sock -- root@pi cat"
        );
        for wrong in ["ssh://", "ssh://pi:x", "ssh://-oProxyCommand=x", "ssh:///run/docker.sock"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let long = PathBuf::from(format!("/{}", "d".repeat(120)));
        let error = Address::parse("ssh://pi", TlsFiles::default(), &long).unwrap_err().to_string();
        assert!(error.contains("data_dir"), "{error}");
    }

    #[test]
    fn engines_are_told_apart_by_their_machines() {
        let docker: DockerSettings = serde_json::from_str(
            r#"{"engines": [{"host": "tcp://nas:2375"}, {"host": "ssh://me@pi:22"}, {"host": "unix:///x"},
                {"host": "tcp://[fe80::1]:2376", "ca_file": "a"}, {"host": "tcp://nas:1", "label": "other"}]}"#,
        )
        .unwrap();
        let places = engine_places(&docker, Path::new("/d")).unwrap();
        let labels: Vec<Option<&str>> = places.iter().map(|place| place.label.as_deref()).collect();
        assert_eq!(labels, [Some("nas"), Some("pi"), None, Some("fe80::1"), Some("other")]);
        let only: DockerSettings = serde_json::from_str(r#"{"host": "tcp://nas:2375"}"#).unwrap();
        let places = engine_places(&only, Path::new("/d")).unwrap();
        assert_eq!((places.len(), places[0].label.as_deref(), places[0].key.as_str()), (1, None, ""));
    }
}
