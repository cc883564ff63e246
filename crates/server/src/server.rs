//! The server: its parts, and the loop that accepts connections until it is told to stop.
//!
//! Connections are bounded by a semaphore that is taken before accepting, so that a flood waits in
//! the kernel's queue. On shutdown no further connection is accepted, requests under way may end
//! within `server.shutdown_timeout`, and idle connections are closed at once.

use crate::connection::{Careful, Unread};
use crate::router::{router, routes};
use crate::routes::Route;
use crate::settings::ServerSettings;
use crate::state::State;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use logyard_engine::Engine;
use logyard_ingest::Ingest;
use logyard_store::Store;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Longest time for the head of a request to arrive, so that silent connections end.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    /// Every metric of the process, complete except for the server's own.
    pub registry: Registry,
}

/// The HTTP server.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
}

impl Server {
    /// Puts a server together. Registers metrics under `logyard_server_`. Opens nothing yet.
    pub fn new(parts: ServerParts) -> Self {
        Self { state: Arc::new(State::new(parts)) }
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
        let service = self.router();
        let slots =
            Arc::new(Semaphore::new(self.state.settings.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &slots) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (service, stopping) = (service.clone(), stopping.clone());
                    connections.spawn(async move {
                        connection(stream, service, stopping).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        stop.send_replace(true);
        let drained = async {
            self.state.tails.stop().await;
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(self.state.settings.shutdown_timeout.0, drained).await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "stopped before all requests ended; raise server.shutdown_timeout to wait longer"
            );
            connections.shutdown().await;
        }
        Ok(())
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn connection(stream: TcpStream, service: Router, mut stopping: watch::Receiver<bool>) {
    // Answers are written whole; waiting for more bytes would only delay their last packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let unread = Unread::default();
    let stream = Careful::new(stream, unread.clone());
    let service =
        service_fn(move |request| TowerToHyperService::new(service.clone()).call(unread.watch(request)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients go away all the time.
        tracing::debug!(%error, "connection ended early");
    }
}
