//! The server: its parts, and the loop that accepts connections until it is told to stop.
//!
//! Connections are bounded by a semaphore that is taken before accepting, so that a flood waits in
//! the kernel's queue. On shutdown no further connection is accepted, requests under way may end
//! within `server.shutdown_timeout`, and idle connections are closed at once.
//!
//! A server that speaks TLS has a second door for the agent of its own process: plain HTTP on loopback, open to
//! the one token that was made for it, so that the agent neither knows the certificate nor needs one.

use crate::access::{Scope, TokenSettings};
use crate::connection::{Door, serve_connection};
use crate::metrics::Metrics;
use crate::reload::Reloads;
use crate::router::{router, routes};
use crate::routes::Route;
use crate::secret::Secret;
use crate::settings::ServerSettings;
use crate::state::State;
use crate::tls::Tls;
use axum::Router;
use logyard_engine::Engine;
use logyard_ingest::Ingest;
use logyard_rules::Ruler;
use logyard_store::Store;
use prometheus_client::registry::Registry;
use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Most bytes of a connection that the system takes beyond what it can send: enough to keep a fast reader busy.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// Most connections of the agent of the same process, which has a few.
const OWN_CONNECTIONS_MAX: usize = 16;

/// What a server is made of.
#[derive(Debug)]
pub struct ServerParts {
    /// How requests are served.
    pub settings: ServerSettings,
    /// Where entries are.
    pub store: Store,
    /// Where pushes go.
    pub ingest: Ingest,
    /// What evaluates queries; its `entries_max` and `timeout_secs` are enforced here.
    pub engine: Arc<Engine>,
    /// What keeps and evaluates rules; it is run elsewhere.
    pub ruler: Ruler,
    /// Every metric of the process, complete except for the server's own.
    pub registry: Registry,
    /// Speaks TLS and nothing else, if given: what the files of `settings.tls` hold.
    pub tls: Option<Tls>,
    /// A door for the agent of the same process, if wanted.
    pub own_door: Option<OwnDoor>,
}

/// Where the agent of the same process comes in: plain HTTP, for one token, which may write.
#[derive(Debug)]
pub struct OwnDoor {
    /// Listens on loopback.
    pub listener: TcpListener,
    /// Made for this process.
    pub token: Secret,
}

/// The HTTP server.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    tls: Option<Tls>,
    own_door: Option<TcpListener>,
}

impl Server {
    /// Puts a server together. Registers metrics under `logyard_server_`. Opens nothing yet.
    pub fn new(mut parts: ServerParts) -> Self {
        let (tls, own_door) = (parts.tls.take(), parts.own_door.take());
        let own_token = own_door.as_ref().map(|door| TokenSettings {
            name: "own agent".to_owned(),
            token: door.token.clone(),
            scopes: vec![Scope::Write],
            ..TokenSettings::default()
        });
        let state = Arc::new(State::new(parts, own_token.into_iter().collect()));
        Self { state, tls, own_door: own_door.map(|door| door.listener) }
    }

    /// Returns the routes as a service, for tests and for embedding.
    pub fn router(&self) -> Router {
        router(&self.state)
    }

    /// Returns every route with what it needs of a request.
    pub fn routes(&self) -> Vec<Route> {
        routes(&self.state).1
    }

    /// Serves until `shutdown` is ready, then lets requests under way end.
    ///
    /// Errors: the listener is broken for good; single connections never end the loop.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let serving = Serving {
            service: self.router(),
            listener,
            own_door: self.own_door,
            tls: self.tls,
            metrics: Arc::clone(&state.metrics),
            connections_max: state.settings.connections_max,
            shutdown_timeout: state.settings.shutdown_timeout.0,
        };
        serving.run(shutdown, state.tails.stop()).await;
        Ok(())
    }

    /// Has `POST /reload` ask for the settings to be read anew; before, and without, it answers 404.
    pub fn answer_reloads(&self, reloads: Reloads) {
        // Given twice, the first stays.
        drop(self.state.reloads.set(reloads));
    }
}

/// A router, and the ports at which it answers.
pub(crate) struct Serving {
    pub(crate) service: Router,
    pub(crate) listener: TcpListener,
    pub(crate) own_door: Option<TcpListener>,
    /// Of the listener, not of the own door.
    pub(crate) tls: Option<Tls>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections_max: usize,
    pub(crate) shutdown_timeout: Duration,
}

impl Serving {
    /// Answers until `shutdown` is ready; then `last` may end what lasts, and requests under way may end.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>, last: impl Future<Output = ()>) {
        let slots = |most: usize| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        let (slots, own_slots) = (slots(self.connections_max), slots(OWN_CONNECTIONS_MAX));
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let own = async {
                match &self.own_door {
                    Some(door) => accept(door, &own_slots).await,
                    None => pending().await,
                }
            };
            let (accepted, door) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&self.listener, &slots) => (accepted, Door::Front),
                accepted = own => (accepted, Door::Own),
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (service, stopping) = (self.service.clone(), stopping.clone());
                    let tls = self.tls.clone().filter(|_| door == Door::Front);
                    let metrics = Arc::clone(&self.metrics);
                    connections.spawn(async move {
                        connection(stream, tls, (service, door), &metrics, stopping).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((self.listener, self.own_door));
        stop.send_replace(true);
        let drained = async {
            last.await;
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(self.shutdown_timeout, drained).await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "stopped before all requests ended; raise server.shutdown_timeout to wait longer"
            );
            connections.shutdown().await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    (service, door): (Router, Door),
    metrics: &Metrics,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more bytes would only delay their last packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    bound_unsent(&stream);
    let Some(tls) = tls else { return serve_connection(stream, service, door, stopping).await };
    let failed = |error: &io::Error| {
        let reason = Tls::reason(error);
        metrics.tls_failed(reason);
        tracing::debug!(reason, %error, "no TLS handshake");
    };
    let secured = tokio::select! {
        secured = tls.accept(stream, failed) => secured,
        _ = stopping.changed() => return,
    };
    if let Some(stream) = secured {
        serve_connection(stream, service, door, stopping).await;
    }
}

/// Has the system take no more from us than it can send soon. Left to itself it buffers megabytes for a reader that
/// has stopped: a tail that nobody reads would go on to cost processor and memory until they are full.
#[cfg(target_os = "linux")]
fn bound_unsent(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(_: &TcpStream) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Writes to a reader that does not read until nothing is taken for a while; returns how much was.
    async fn taken(stream: &TcpStream) -> usize {
        let (bytes, mut taken) = (vec![b'x'; 64 << 10], 0);
        while tokio::time::timeout(Duration::from_millis(300), stream.writable()).await.is_ok() {
            match stream.try_write(&bytes) {
                Ok(count) => taken += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        taken
    }

    #[tokio::test]
    async fn a_reader_that_stopped_has_little_written_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut of_each = Vec::new();
        for is_bound in [false, true] {
            let address = listener.local_addr().unwrap();
            let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (reader, (stream, _)) = (reader.unwrap(), accepted.unwrap());
            if is_bound {
                bound_unsent(&stream);
            }
            of_each.push(taken(&stream).await);
            drop(reader);
        }
        let [unbound, bound] = of_each[..] else { panic!("two") };
        assert!(bound < unbound / 2, "{bound} of {unbound}");
    }
}
