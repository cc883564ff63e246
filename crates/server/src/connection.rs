//! One connection: its bytes in and out, and how it ends.
//!
//! A connection holds one of few places, so none may sit still. The head of a request must arrive within
//! [`HEAD_WAIT_MAX`], also the first and also that of the next one on an open connection; a body that pauses for
//! [`BODY_PAUSE_MAX`] fails (whoever reads a body bounds all of it). A client that reads no answer holds memory: a
//! write that moves nothing for [`WRITE_WAIT_MAX`] ends the connection.
//!
//! One thing more HTTP leaves to the transport. A request that is refused before its body was read ends the
//! connection; closing a socket with unread bytes resets it, and the reset can overtake the refusal, so the rest
//! is read and thrown away for a while ([`LINGER_WAIT_MAX`]).

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// Longest time for the head of a request to arrive.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// Longest time for which no byte of a body arrives.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Longest time that the rest of a refused request is read.
const LINGER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Most bytes of it.
const LINGER_BYTES_MAX: usize = 256 << 20;

/// Longest time for which an answer may wait for its client.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Bytes thrown away at once.
const SCRAP_BYTES: usize = 16 << 10;

/// Which way a request came in; among the extensions of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The port that all clients know.
    Front,
    /// That of the agent of the same process.
    Own,
}

/// Answers the requests of a connection until it ends, or, once `stopping` changes, the one under way.
pub(crate) async fn serve_connection<T>(
    io: T,
    service: Router,
    door: Door,
    mut stopping: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = Unread::default();
    let io = Careful::new(io, unread.clone());
    let service = service_fn(move |request| {
        let mut request = unread.watch(request);
        request.extensions_mut().insert(door);
        TowerToHyperService::new(service.clone()).call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(io), service)
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

/// Whether a request of the connection was answered before its body was read.
#[derive(Clone, Debug, Default)]
struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Watches the body of a request.
    fn watch(&self, request: Request<Incoming>) -> Request<Body> {
        request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            Body::new(Watched { body, unread: self.clone(), has_ended: false, pause: None })
        })
    }
}

/// A body that must keep coming, and tells when it is dropped before its end.
struct Watched {
    body: Incoming,
    unread: Unread,
    has_ended: bool,
    /// Set while nothing arrives.
    pause: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(BODY_PAUSE_MAX)));
            ready!(pause.as_mut().poll(cx));
            let error = io::Error::new(io::ErrorKind::TimedOut, "no byte of it arrives any more");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        };
        self.pause = None;
        self.has_ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.has_ended && !self.body.is_end_stream() {
            self.unread.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A transport that ends as the module says.
#[derive(Debug)]
struct Careful<T> {
    io: T,
    unread: Unread,
    /// Set while a write waits.
    write_wait: Option<Pin<Box<Sleep>>>,
    /// Set once the answer is out and the rest of the request is read.
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    wait: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> Careful<T> {
    fn new(io: T, unread: Unread) -> Self {
        Self { io, unread, write_wait: None, linger: None }
    }

    /// Passes on what a write came to; one that waits too long fails.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.write_wait = None;
            return polled;
        }
        let wait = self.write_wait.get_or_insert_with(|| Box::pin(sleep(WRITE_WAIT_MAX)));
        ready!(wait.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads no answer")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Careful<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Careful<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bounded(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.bounded(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.bounded(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            // TLS says good-bye in bytes, which a client that reads nothing holds up.
            let polled = Pin::new(&mut this.io).poll_shutdown(cx);
            ready!(this.bounded(cx, polled))?;
            if !this.unread.0.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger =
            this.linger.get_or_insert_with(|| Linger { wait: Box::pin(sleep(LINGER_WAIT_MAX)), bytes: 0 });
        let mut scrap = [0; SCRAP_BYTES];
        while linger.bytes < LINGER_BYTES_MAX && linger.wait.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => linger.bytes += buffer.filled().len(),
                // The client has closed its side, or is gone: there is nothing left to wait for.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
