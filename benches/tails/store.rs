//! A store of the load tool's own: a process, its folder, and what it takes of the machine. Linux only.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Ticks of `/proc/*/stat` in a second, the same on every Linux.
const TICKS_PER_SEC: u64 = 100;

/// A running store; ends when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) resident_kib: u64,
    peak_kib: u64,
    pub(crate) cpu: Duration,
}

impl Store {
    /// Starts a store with settings of section `server`, and waits until it is ready. `LOGYARD_BINARY` names
    /// another binary than the one that is built with the bench.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        // Free a moment ago; nobody else is expected to take it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let binary =
            std::env::var("LOGYARD_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_logyard").to_owned());
        let mut command = Command::new(binary);
        command.args(["store", "--listen", &address.to_string()]).arg("--data-dir").arg(folder.path());
        for (name, value) in settings {
            command.env(format!("LOGYARD_SERVER__{}", name.to_uppercase()), value);
        }
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut store = Self { child, address, _folder: folder };
        while !store.is_ready().await {
            assert!(store.child.try_wait().unwrap().is_none(), "the store has ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        store
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn is_ready(&self) -> bool {
        let address = format!("http://{}/ready", self.address);
        tokio::task::spawn_blocking(move || ureq::get(address).call().is_ok()).await.unwrap()
    }

    pub(crate) fn use_of_system(&self) -> Use {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap();
        let status = read("status");
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let stat = read("stat");
        // Behind the name, which may hold spaces: user and system time are the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        let cpu = Duration::from_millis(ticks * 1000 / TICKS_PER_SEC);
        Use { resident_kib: kib("VmRSS:"), peak_kib: kib("VmHWM:"), cpu }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib / 1024;
        write!(
            out,
            "{} MiB resident, {} MiB at most, {:?} of cpu",
            mib(self.resident_kib),
            mib(self.peak_kib),
            self.cpu
        )
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
