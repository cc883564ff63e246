//! Connections that send entries: accepted up to a bound, read one buffer after the other.
//!
//! Who reads waits until what it read is on its way to the spool, so a full spool fills the sender's window and it
//! waits too. When the agent stops, what the machine has received already is still taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::listen_tls::{self, Secured};
use crate::metrics::Metrics;
use crate::received::{Closed, Lane};
use crate::spool_shared::stopped;

/// Bytes read at once from a connection.
const READ_BYTES: usize = 16 << 10;
/// Pause after a connection that cannot be accepted: the machine is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Silence after which a connection has nothing more to give to an agent that stops.
const LAST_BYTES_WAIT: Duration = Duration::from_millis(20);
/// Reads of one connection after the agent was told to stop.
const LAST_READS_MAX: usize = 64;

/// What reads the bytes of one connection, or of a pipe.
pub(crate) trait Protocol: Send {
    /// Takes the next bytes and hands over the entries that they complete. Errors: why nothing more can be read.
    fn feed(&mut self, bytes: &[u8], lane: &mut Lane) -> Result<(), String>;
    /// Hands over what the end of the bytes leaves.
    fn finish(&mut self, lane: &mut Lane);
}

/// Opens a port. Errors name the setting.
pub(crate) async fn bind(setting: &'static str, address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(listen_address(address))
        .await
        .map_err(|error| Error::Setting { setting, reason: format!("cannot listen on {address}: {error}") })
}

/// Returns an address with its host: none means all of the machine's.
pub(crate) fn listen_address(address: &str) -> String {
    if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() }
}

/// Bounds, secures and counts connections.
#[derive(Clone)]
pub(crate) struct Door {
    /// Name in the log.
    pub(crate) name: &'static str,
    /// As what a connection is counted that is left because its bytes make no sense.
    pub(crate) fault: &'static str,
    pub(crate) connections_max: usize,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) metrics: Metrics,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Accepts connections until the agent stops, then waits until all have ended.
///
/// `serve` reads one; what it returns is why it was left, which is told: the first in warn, the others in debug, since
/// anybody may send anything.
pub(crate) async fn accept_all<F, Serving>(listener: Arc<TcpListener>, door: Door, serve: F)
where
    F: Fn(Secured, SocketAddr) -> Serving + Send + Sync + 'static,
    Serving: Future<Output = Result<(), String>> + Send,
{
    let (serve, is_complained) = (Arc::new(serve), Arc::new(AtomicBool::new(false)));
    let mut stop = door.stop.clone();
    let mut connections = JoinSet::new();
    let mut is_told = false;
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                door.metrics.connections.dec();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < door.connections_max => {
                door.metrics.connections.inc();
                let (door, serve) = (door.clone(), Arc::clone(&serve));
                let is_complained = Arc::clone(&is_complained);
                connections.spawn(async move {
                    let read = match listen_tls::secure(door.tls.as_ref(), stream).await {
                        Ok(stream) => serve(stream, peer).await,
                        Err(reason) => Err(reason),
                    };
                    if let Err(reason) = read {
                        door.metrics.refused(door.fault, 1);
                        complain(&is_complained, door.name, peer, &reason);
                    }
                });
            }
            Ok((_, peer)) => {
                door.metrics.connections_refused.inc();
                if !is_told {
                    tracing::warn!(source = door.name, %peer, "refusing connections: as many are open as connections_max allows; raise it");
                    is_told = true;
                }
            }
            Err(error) => {
                tracing::debug!(source = door.name, %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {
        door.metrics.connections.dec();
    }
}

/// Reads one connection, or a pipe, to its end.
///
/// It is left when nothing comes for `idle_max`, or when the bytes make no sense, which is returned as the reason.
pub(crate) async fn read_all(
    stream: &mut (impl AsyncRead + Unpin),
    protocol: &mut impl Protocol,
    lane: &mut Lane,
    idle_max: Option<Duration>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut buffer = vec![0; READ_BYTES];
    let mut heard = Instant::now();
    let mut fault = None;
    loop {
        let idle_at = idle_max.map(|idle| heard + idle);
        let due_at = lane.due_in().map(|due| Instant::now() + due);
        let wake_at = idle_at.into_iter().chain(due_at).min();
        let read = tokio::select! {
            biased;
            () = stopped(&mut stop) => {
                fault = last_bytes(stream, protocol, lane, &mut buffer).await.err();
                break;
            }
            read = read_until(stream, &mut buffer, wake_at) => read,
        };
        match read {
            Some(Ok(0) | Err(_)) => break,
            Some(Ok(count)) => {
                heard = Instant::now();
                if let Err(reason) = protocol.feed(buffer.get(..count).unwrap_or_default(), lane) {
                    fault = Some(reason);
                    break;
                }
            }
            None if idle_at.is_some_and(|at| at <= Instant::now()) => break,
            None => {}
        }
        if lane.flush(false, None).await == Err(Closed) {
            return Ok(());
        }
    }
    protocol.finish(lane);
    // Nobody is left to tell when the agent is at its end.
    drop(lane.flush(true, None).await);
    fault.map_or(Ok(()), Err)
}

async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    wake_at: Option<Instant>,
) -> Option<std::io::Result<usize>> {
    match wake_at {
        Some(at) => timeout_at(at, stream.read(buffer)).await.ok(),
        None => Some(stream.read(buffer).await),
    }
}

/// Takes what has arrived already: its sender counts it as delivered.
async fn last_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    protocol: &mut impl Protocol,
    lane: &mut Lane,
    buffer: &mut [u8],
) -> Result<(), String> {
    for _ in 0..LAST_READS_MAX {
        match timeout(LAST_BYTES_WAIT, stream.read(buffer)).await {
            Ok(Ok(count)) if count > 0 => {
                protocol.feed(buffer.get(..count).unwrap_or_default(), lane)?;
                if lane.flush(false, None).await == Err(Closed) {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn complain(is_complained: &AtomicBool, source: &'static str, peer: SocketAddr, reason: &str) {
    if is_complained.swap(true, Ordering::Relaxed) {
        tracing::debug!(source, %peer, reason, "left a connection");
    } else {
        tracing::warn!(
            source,
            %peer,
            reason,
            "left a connection whose bytes cannot be read; further ones are told in debug"
        );
    }
}
