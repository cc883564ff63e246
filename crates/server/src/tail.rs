//! The live tail: parameters, the upgrade to a websocket, and the socket itself.
//!
//! Two tasks for each tail: one finds entries and fills a short line of frames ([`crate::tail_feed`]), this one sends
//! them. A slow reader stops this one alone; what no longer fits the line is dropped and told with the next frame.
//!
//! Closing codes as in Loki v3.7.6: 1011 with the reason for what is refused after the upgrade, and after
//! `server.tail_duration_max`, where loki-canary knows the text. When the server stops, the connection ends without
//! a code, so that clients come back by themselves.

use crate::error::HttpError;
use crate::param_forms;
use crate::params::Params;
use crate::query::{encoding_flags, engine_error, parse_text};
use crate::state::State;
use crate::tail_feed::{self, Feed, Frame};
use crate::tails::TailPlace;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use logyard_engine::Follow;
use logyard_logql::{Expr, quoted};
use logyard_wire::loki_query::CATEGORIZE_LABELS;
use logyard_wire::loki_tail::TailForm;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Pause between two pings (Loki v3.7.6).
const PING_EVERY: Duration = Duration::from_secs(1);

/// Frames that wait for a reader (Loki v3.7.6).
const FRAMES_WAITING_MAX: usize = 10;

/// Clients have nothing to say; what they say is dropped.
const CLIENT_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes read at once from a client, for as long as the tail lasts.
const READ_BUFFER_BYTES: usize = 1 << 10;

/// Longest reason of a closing frame, by RFC 6455.
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Longest wait for a closing frame to be sent.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How a tail ends.
enum End {
    /// The client is gone, or says so.
    Client,
    /// The server stops.
    Stopping,
    /// Closed with this reason.
    Refused(String),
}

/// `GET /loki/api/v1/tail`
pub(crate) async fn current(
    shared: Shared<Arc<State>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let flags = encoding_flags(request.headers());
    let categorize = flags.iter().any(|flag| flag == CATEGORIZE_LABELS);
    answer(shared, upgrade, request, TailForm::Current { flags, categorize }).await
}

/// `GET /api/prom/tail`
pub(crate) async fn old(
    shared: Shared<Arc<State>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    answer(shared, upgrade, request, TailForm::Old).await
}

async fn answer(
    Shared(state): Shared<Arc<State>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request<Body>,
    form: TailForm,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let params = Params::read(request).await?;
    let now_ns = state.ingest.now_ns();
    let start_ns = param_forms::tail_start(&params, now_ns)?;
    let limit = param_forms::limit(&params)?.min(state.engine.settings().entries_max);
    let delay = param_forms::delay_for(&params)?;
    let expr = parse(&params)?;
    let follow = match &expr {
        // A fault of the query like any other, but Loki tells it through the socket.
        Expr::Metric(_) | Expr::Variants(_) => Err("only log selector is supported".to_owned()),
        Expr::Log(_) => {
            let compile = || Follow::new(state.engine.settings(), &expr, now_ns).map_err(engine_error);
            Ok(state.tails.share(&tenant, &expr, compile)?)
        }
    };
    let upgrade = upgrade
        .map_err(|_| HttpError::bad_request("Bad Request\n"))?
        .read_buffer_size(READ_BUFFER_BYTES)
        // A frame is written at once, and none is built up behind it.
        .write_buffer_size(0)
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX);
    let of_tenant = (state.settings.tails_max, "server.tails_max");
    // A connection that was upgraded is none of the server's any more.
    let of_all = (state.settings.connections_max, "server.connections_max");
    let place = state.tails.enter(&tenant, of_tenant, of_all);
    let ready = follow.and_then(|follow| Ok((follow, place?)));
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        match ready {
            Err(reason) => close(&mut socket, reason).await,
            Ok((follow, place)) => {
                let feed = Feed { state, tenant, expr: Arc::new(expr), follow, form, start_ns, limit, delay };
                tail(socket, feed, place).await;
            }
        }
    }))
}

/// Reads `query`, with the line filter `regexp` that old clients send beside it.
fn parse(params: &Params) -> Result<Expr, HttpError> {
    let query = params.get("query").unwrap_or_default();
    match params.get("regexp") {
        None => parse_text(query),
        // On a line of its own: the query may end in a comment.
        Some(regexp) => parse_text(&format!("{query}\n|~ {}", quoted(regexp))),
    }
}

/// Runs a tail until it ends; nothing of it is left then.
async fn tail(mut socket: WebSocket, feed: Feed, place: TailPlace) {
    let duration_max = feed.state.settings.tail_duration_max.0;
    let (frames, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
    let feeding = tokio::spawn(tail_feed::run(feed, frames));
    let end = tokio::select! {
        end = serve(&mut socket, waiting) => end,
        () = place.stopping() => End::Stopping,
        () = tokio::time::sleep(duration_max) => End::Refused("reached tail max duration limit".to_owned()),
    };
    feeding.abort();
    // An error says that it was aborted.
    drop(feeding.await);
    if let End::Refused(reason) = end {
        close(&mut socket, reason).await;
    }
}

/// Sends frames and pings, and reads what the client says, until one side has enough.
async fn serve(socket: &mut WebSocket, mut frames: mpsc::Receiver<Frame>) -> End {
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            frame = frames.recv() => match frame {
                Some(Ok(frame)) => Message::Text(frame.text),
                Some(Err(reason)) => return End::Refused(reason),
                None => return End::Refused("the tail ended: internal error, see the log of logyard".to_owned()),
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Client,
                // Pings of the client are answered by the library.
                Some(Ok(_)) => continue,
            },
        };
        if socket.send(message).await.is_err() {
            return End::Client;
        }
    }
}

async fn close(socket: &mut WebSocket, reason: String) {
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default().to_owned();
    let frame = CloseFrame { code: close_code::ERROR, reason: reason.into() };
    // A client that reads nothing, or is gone, is not told.
    drop(tokio::time::timeout(CLOSE_WAIT_MAX, socket.send(Message::Close(Some(frame)))).await);
}
