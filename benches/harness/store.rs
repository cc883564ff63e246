//! A store of the load tool's own: a process, its folder, and what it takes of the machine. Linux only.

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Ticks of `/proc/*/stat` in a second, the same on every Linux.
const TICKS_PER_SEC: u64 = 100;

/// Bytes of a block as the system counts a file's, whatever the file system's are.
const DISK_BLOCK_BYTES: u64 = 512;

/// A running store; ends when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) resident_kib: u64,
    /// Of that, what the system cannot take from it: all but pages of files.
    pub(crate) anonymous_kib: u64,
    pub(crate) peak_kib: u64,
    /// In steps of 10 ms.
    pub(crate) cpu: Duration,
}

/// Processor time of each thread of a process.
#[derive(Clone, Debug)]
pub(crate) struct ThreadTimes(HashMap<String, u64>);

impl Store {
    /// Starts a store with settings by their full names, and waits until it is ready. `LOGYARD_BINARY` names another
    /// binary than the one that is built with the bench.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        // Free a moment ago; nobody else is expected to take it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let binary =
            std::env::var("LOGYARD_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_logyard").to_owned());
        let mut command = Command::new(binary);
        command.args(["store", "--listen", &address.to_string()]).arg("--data-dir").arg(folder.path());
        for (name, value) in settings {
            command.env(format!("LOGYARD_{}", name.replace('.', "__").to_uppercase()), value);
        }
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut store = Self { child, address, folder };
        while ureq::get(format!("http://{address}/ready")).call().is_err() {
            assert!(store.child.try_wait().unwrap().is_none(), "the store has ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        store
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn use_of_system(&self) -> Use {
        let status = self.proc_file("status");
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Use {
            resident_kib: kib("VmRSS:"),
            anonymous_kib: kib("RssAnon:"),
            peak_kib: kib("VmHWM:"),
            cpu: cpu_of_stat(&self.proc_file("stat")),
        }
    }

    /// Lets [`Use::peak_kib`] begin anew.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Returns what each thread has used so far, to the nanosecond.
    pub(crate) fn thread_times(&self) -> ThreadTimes {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
            let path = thread.ok()?.path();
            // A thread may end while we look.
            let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
            let used_ns = text.split(' ').next()?.parse().ok()?;
            Some((path.file_name()?.to_string_lossy().into_owned(), used_ns))
        };
        ThreadTimes(threads.filter_map(of_thread).collect())
    }

    /// Returns the bytes that its files take of the disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        bytes_below(self.folder.path())
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }
}

impl ThreadTimes {
    /// Returns the processor time since an earlier look. What threads used that have ended since is left out: they
    /// had been idle for seconds.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used_ns = |(id, now_ns): (&String, &u64)| now_ns.saturating_sub(*earlier.0.get(id).unwrap_or(&0));
        Duration::from_nanos(self.0.iter().map(used_ns).sum())
    }
}

/// Returns the processor time that this process has used.
pub(crate) fn own_cpu() -> Duration {
    cpu_of_stat(&std::fs::read_to_string("/proc/self/stat").unwrap())
}

/// Returns the time in which all processors of the machine were busy, and their number.
pub(crate) fn machine_cpu() -> (Duration, usize) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let cpus = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    // Idle and waiting for disks are the fourth and fifth; from the ninth on they are counted among the first.
    let fields = stat.lines().next().unwrap().split_whitespace().skip(1).take(8).enumerate();
    let busy = fields.filter(|(place, _)| ![3, 4].contains(place));
    (of_ticks(busy.map(|(_, ticks)| ticks.parse::<u64>().unwrap()).sum()), cpus)
}

fn cpu_of_stat(stat: &str) -> Duration {
    // Behind the name, which may hold spaces: user and system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    of_ticks(fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum())
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SEC)
}

fn bytes_below(folder: &Path) -> u64 {
    // Files and folders may go while we look.
    let Ok(items) = std::fs::read_dir(folder) else { return 0 };
    let of_item = |item: std::io::Result<std::fs::DirEntry>| {
        let item = item.ok()?;
        let about = item.metadata().ok()?;
        let below = if about.is_dir() { bytes_below(&item.path()) } else { 0 };
        Some(about.blocks() * DISK_BLOCK_BYTES + below)
    };
    items.filter_map(of_item).sum()
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
