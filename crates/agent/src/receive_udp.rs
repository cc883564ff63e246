//! Datagrams that hold entries.
//!
//! No sender of datagrams can wait: what does not fit in the queue while the spool is full is dropped and counted, and so
//! is what the kernel drops before it can be read. Memory: [`QUEUE_BYTES_MAX`] for each socket.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logyard_sys::Disk;
use socket2::{Domain, Protocol as Transport, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::receive_tcp::listen_address;
use crate::received::{Closed, Lane};
use crate::spool_shared::stopped;

/// Most bytes of datagrams that wait while the spool is full.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What a waiting datagram counts besides its bytes.
const DATAGRAM_COST: usize = 128;
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// What the kernel is asked to hold; it may give less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Pause between two looks at what the kernel dropped.
const DROPS_LOOK: Duration = Duration::from_secs(10);
/// Silence after which the socket has nothing more to give to an agent that stops.
const LAST_DATAGRAM_WAIT: Duration = Duration::from_millis(20);

/// Datagrams taken after the agent was told to stop.
const LAST_DATAGRAMS_MAX: usize = 4_096;

/// What reads datagrams.
pub(crate) trait Datagrams: Send {
    /// Takes one and hands over the entry that it holds or completes.
    fn take(&mut self, bytes: &[u8], peer: IpAddr, lane: &mut Lane);
    /// Forgets what is not completed in time. Called about once a second.
    fn tick(&mut self, lane: &mut Lane);
}

/// Opens a port. Errors name the setting.
pub(crate) fn bind(setting: &'static str, address: &str) -> Result<UdpSocket, Error> {
    let failed =
        |reason: String| Error::Setting { setting, reason: format!("cannot listen on {address}: {reason}") };
    let at: SocketAddr = listen_address(address)
        .parse()
        .map_err(|_| failed("want an address and a port, as in 0.0.0.0:1514".to_owned()))?;
    let open = || {
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Transport::UDP))?;
        socket.set_nonblocking(true)?;
        // Less is given where the machine's limit is lower; drops are counted.
        drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
        socket.bind(&at.into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|error: std::io::Error| failed(error.to_string()))
}

struct Datagram {
    bytes: Vec<u8>,
    peer: IpAddr,
    _room: OwnedSemaphorePermit,
}

/// Reads a socket until the agent stops.
pub(crate) async fn run(
    socket: Arc<UdpSocket>,
    disk: Arc<dyn Disk>,
    mut lane: Lane,
    mut reader: impl Datagrams,
    stop: watch::Receiver<bool>,
) {
    // As many as there is room for if each were empty.
    let (sender, mut queue) = mpsc::channel(QUEUE_BYTES_MAX / DATAGRAM_COST);
    let receiving = tokio::spawn(receive(socket, disk, sender, lane.metrics().clone(), stop));
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            datagram = queue.recv() => match datagram {
                Some(Datagram { bytes, peer, _room }) => {
                    reader.take(&bytes, peer, &mut lane);
                    if !lane.is_full() && !queue.is_empty() {
                        continue;
                    }
                }
                None => break,
            },
            _ = tick.tick() => reader.tick(&mut lane),
        }
        if lane.flush(false, None).await == Err(Closed) {
            break;
        }
    }
    drop(lane.flush(true, None).await);
    receiving.abort();
}

async fn receive(
    socket: Arc<UdpSocket>,
    disk: Arc<dyn Disk>,
    sender: mpsc::Sender<Datagram>,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) {
    let port = socket.local_addr().map(|address| address.port()).unwrap_or_default();
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut looks = interval(DROPS_LOOK);
    let mut dropped_before = None;
    let mut is_told = false;
    let mut is_stopping = false;
    let mut last_datagrams = 0..LAST_DATAGRAMS_MAX;
    loop {
        let received = if is_stopping {
            if last_datagrams.next().is_none() {
                return;
            }
            match timeout(LAST_DATAGRAM_WAIT, socket.recv_from(&mut buffer)).await {
                Ok(received) => received,
                Err(_) => return,
            }
        } else {
            tokio::select! {
                () = stopped(&mut stop) => {
                    is_stopping = true;
                    continue;
                }
                _ = looks.tick() => {
                    let dropped = kernel_drops(&*disk, port);
                    if let Some(before) = dropped_before {
                        metrics.dropped("udp_kernel", dropped.saturating_sub(before));
                    }
                    dropped_before = Some(dropped);
                    continue;
                }
                received = socket.recv_from(&mut buffer) => received,
            }
        };
        let Ok((count, peer)) = received else { continue };
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        let cost = u32::try_from(count + DATAGRAM_COST).unwrap_or(u32::MAX);
        let datagram = Arc::clone(&room).try_acquire_many_owned(cost).ok().map(|permit| Datagram {
            bytes,
            peer: peer.ip(),
            _room: permit,
        });
        if datagram.is_none_or(|datagram| sender.try_send(datagram).is_err()) {
            metrics.dropped("udp_queue_full", 1);
            if !is_told {
                tracing::error!(
                    port,
                    "datagrams are lost, since the spool takes no more; free the store or raise agent.spool.bytes_max"
                );
                is_told = true;
            }
        }
    }
}

/// Returns how many datagrams the kernel dropped at a port since its sockets were opened.
fn kernel_drops(disk: &dyn Disk, port: u16) -> u64 {
    let count = |path: &str| {
        let bytes = disk.read(Path::new(path)).unwrap_or_default();
        drops_in(&String::from_utf8_lossy(&bytes), port)
    };
    count("/proc/net/udp") + count("/proc/net/udp6")
}

/// Adds up the last column of the sockets with a port.
fn drops_in(table: &str, port: u16) -> u64 {
    let of_row = |row: &str| {
        let local = row.split_ascii_whitespace().nth(1)?;
        let own = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        let drops = row.split_ascii_whitespace().next_back()?;
        (own == port).then(|| drops.parse::<u64>().ok())?
    };
    table.lines().skip(1).filter_map(of_row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_the_kernel_are_found() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            \x20 2024: 00000000:05EA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 25 2 0000000000000000 17\n\
            \x20 2025: 0100007F:05EA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 26 2 0000000000000000 3\n\
            \x20 2026: 00000000:1538 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 27 2 0000000000000000 9\n";
        assert_eq!((drops_in(table, 1514), drops_in(table, 5432), drops_in(table, 1)), (20, 9, 0));
        assert_eq!(drops_in("nonsense\nx", 1514), 0);
    }

    #[tokio::test]
    async fn addresses_are_checked() {
        let error = bind("syslog.listen", "nowhere").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot use setting agent.syslog.listen: cannot listen on nowhere: want an address and a port, as in 0.0.0.0:1514"
        );
        assert!(bind("syslog.listen", "127.0.0.1:0").is_ok());
    }
}
