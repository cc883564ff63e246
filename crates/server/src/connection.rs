//! One connection: its bytes in and out, and how it ends.
//!
//! Two things that HTTP leaves to the transport are done here. A request that is refused before its body
//! was read ends the connection; closing a socket with unread bytes resets it, and the reset can overtake
//! the refusal, so the rest is read and thrown away for a while ([`LINGER_WAIT_MAX`]). And a client that
//! reads no answer holds memory, so a write that moves nothing for [`WRITE_WAIT_MAX`] ends the connection.

use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest time that the rest of a refused request is read.
const LINGER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Most bytes of it.
const LINGER_BYTES_MAX: usize = 256 << 20;

/// Longest time for which an answer may wait for its client.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Bytes thrown away at once.
const SCRAP_BYTES: usize = 16 << 10;

/// Whether a request of the connection was answered before its body was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Watches the body of a request.
    pub(crate) fn watch(&self, request: Request<hyper::body::Incoming>) -> Request<Body> {
        request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            Body::new(Watched { body: Body::new(body), unread: self.clone(), has_ended: false })
        })
    }
}

/// A body that tells when it is dropped before its end.
struct Watched {
    body: Body,
    unread: Unread,
    has_ended: bool,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.has_ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
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
pub(crate) struct Careful<T> {
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
    pub(crate) fn new(io: T, unread: Unread) -> Self {
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
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
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
