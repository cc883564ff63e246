//! `logq ui`: a full screen on which logs are searched.
//!
//! Three parts that know each other by data alone:
//!
//! - `state` (with `keys`): what is looked at. An event goes in, effects come out; no terminal, no clock, no network.
//! - `view` and its family: what that looks like; a function of the state.
//! - `calls` and `terminal`: calls to the store and the terminal, driven by the loop below.
//!
//! Bounds: entries by `--buffer`, events on their way by [`EVENTS_MAX`], redraws by [`FRAME`]. Nothing is drawn while
//! nothing changes. Lines come from strangers: what is drawn goes through `text`, which lets nothing pass that
//! steers a terminal.
//!
//! A new key is an arm in the family `keys` and a line in `help`; what it asks of the store an effect, a call and an event.

mod buffer;
mod calls;
mod edit;
mod event;
mod expand;
mod fields;
mod help;
mod keys;
mod keys_labels;
mod keys_overlay;
mod keys_query;
mod labels;
mod layout;
mod list;
mod refine;
mod span;
mod state;
mod suggest;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod view_histogram;
mod view_labels;
mod view_list;
mod view_overlay;
mod view_query;
mod view_status;

use std::io::Write;
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt as _;
use logyard_client::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::calls::{Asker, Calls};
use self::event::{Effect, Event};
use self::state::State;
use self::terminal::Screen;
use crate::run::Stop;

pub(crate) use self::edit::Editor;
pub(crate) use self::span::Span;
pub(crate) use self::state::Begin;
pub(crate) use self::suggest::Suggestions;

/// Shortest time between two redraws: 60 a second.
const FRAME: Duration = Duration::from_micros(16_667);

/// Time between two states of the mark that says somebody waits.
const TICK: Duration = Duration::from_millis(120);

/// Most events on their way; behind them a tail waits, and the store holds back.
const EVENTS_MAX: usize = 64;

/// Runs until it is left by a key or a signal.
///
/// `out` is the terminal. Errors: it cannot be taken over or written to; it is given back in any case.
pub(crate) async fn run(
    begin: Begin,
    client: Client,
    now_ns: &dyn Fn() -> i64,
    out: &mut dyn Write,
    has_colours: bool,
) -> Result<(), Stop> {
    let mut ends = Ends::new()?;
    let (events, mut arrived) = mpsc::channel(EVENTS_MAX);
    let mut calls = Calls::new(Asker { client, now_ns, events });
    let mut state = State::new(begin);
    let mut screen = Screen::take(out, has_colours)?;
    let mut inputs = EventStream::new();
    let (mut frames, mut ticks) = (interval(FRAME), interval(TICK));
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut effects = state.start(now_ns());
    let mut is_dirty = true;
    loop {
        for effect in effects.drain(..) {
            match effect {
                Effect::Quit => return Ok(()),
                Effect::Copy(text) => screen.copy(&text)?,
                Effect::Redraw => screen.clear()?,
                call => calls.start(call),
            }
        }
        is_dirty |= state.take_dirty();
        tokio::select! {
            () = ends.wait() => return Ok(()),
            input = inputs.next() => match input {
                Some(Ok(Input::Key(key))) => effects = state.update(Event::Key(key), now_ns()),
                Some(Ok(Input::Paste(text))) => effects = state.update(Event::Paste(text), now_ns()),
                Some(Ok(Input::Resize(columns, rows))) => effects = state.update(Event::Resize(columns, rows), now_ns()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = frames.tick(), if is_dirty => {
                screen.draw(&state)?;
                is_dirty = false;
            }
            Some(event) = arrived.recv() => effects = state.update(event, now_ns()),
            () = calls.proceed() => {}
            _ = ticks.tick(), if state.is_waiting() => effects = state.update(Event::Tick, now_ns()),
        }
    }
}

/// Signals that end the explorer. Ctrl-C comes as a key.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
        let all = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [first, second, third] = all.map(listen);
        Ok(Self([first?, second?, third?]))
    }

    async fn wait(&mut self) {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
            _ = third.recv() => {}
        }
    }
}
