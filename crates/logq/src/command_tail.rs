//! `logq tail`: a log query that is followed, live where the store has websockets, else by asking again and again.

use std::time::Duration;

use clap::Args;
use logyard_client::{Client, Kind, TailQuery, Tailing};
use logyard_model::{Direction, TimeRange};

use crate::check::{Yields, check};
use crate::entry::{Entry, merge};
use crate::marks::Marks;
use crate::pages::Pages;
use crate::people::name;
use crate::printer::Printer;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::tail::Tail as State;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq tail web                                       # of what has web in its name
  logq tail '{container=\"web\"}'                       # the newest ten lines, then each new one
  logq tail '{container=\"web\"} |= \"ERROR\"' --lines 0 -o raw

New entries come over a websocket. Where the store, or a proxy before it, has none, they are asked for every 500 ms: the
same entries, half a second later. While the store is away it is asked every 2 s, and what was missed comes first.";

/// Entries asked for in one call: what a store hands out at most by default.
const PAGE_ENTRIES: usize = 5000;

/// Pause before a new connection, or between polls where there is none.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Pause while the store does not answer.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

/// A log query to follow.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// LogQL log query, or a part of the name of a container, service or unit
    #[arg(value_name = "QUERY | NAME")]
    query: String,

    /// How many of the entries already there to print first
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    lines: u32,

    /// Let the store hold entries back for so many seconds, to put late ones in order
    #[arg(long, default_value_t = 0, value_name = "SECONDS", hide_default_value = true)]
    delay_for: u32,
}

impl Tail {
    /// Follows a query until the reader goes away or the process is ended from outside.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let named = match name::is_name(&self.query) {
            true => match name::selector(&self.query, session).await? {
                Some(selector) => Some(selector),
                None => return Ok(false),
            },
            false => None,
        };
        follow(named.as_ref().unwrap_or(&self.query), self.lines, self.delay_for, session).await
    }
}

/// Prints the newest `lines` entries of a query, then each new one; ends by an error alone.
pub(crate) async fn follow(
    query: &str,
    lines: u32,
    delay_secs: u32,
    session: &mut Session<'_>,
) -> Result<bool, Stop> {
    if check(query)? == Yields::Samples {
        return Err(Stop::Trouble("cannot follow a metric query: want a log query".to_owned()));
    }
    session.look.marks = Marks::of(query);
    let range = session.range()?;
    let client = session.client()?;
    let first = match usize::try_from(lines).unwrap_or(usize::MAX) {
        0 => Vec::new(),
        limit => newest(&client, query, range, limit, session).await?,
    };
    let mut printer = Printer::new(session);
    printer.print(session, &first)?;
    let mut tail = State::new(&first, (session.now_ns)());
    let (mut away, mut is_live) = (false, true);
    loop {
        session.out.flush()?;
        // Opened before the rest is read, so that nothing falls between.
        let mut tailing = None;
        if is_live {
            let live = TailQuery { query: query.to_owned(), start_ns: (session.now_ns)(), limit: 1 };
            match client.tail_delayed(&live, Duration::from_secs(delay_secs.into())).await {
                Ok(opened) => tailing = Some(opened),
                // A store or a proxy without websockets; or the query, which reading tells as well.
                Err(error) => is_live = error.kind() != Kind::Invalid,
            }
        }
        let poll = tail.range((session.now_ns)());
        match read(&client, query, poll, Direction::Forward, 0, session).await {
            Ok(read) => {
                away = false;
                printer.print(session, &tail.take(read, (session.now_ns)()))?;
            }
            Err(Stop::Away(text)) => {
                if !away {
                    session.tell(format_args!("{text}; trying again"))?;
                }
                away = true;
                // A certificate may have ended meanwhile; why another cannot be used, the next attempt says.
                drop(client.renew_certificates());
            }
            Err(stop) => return Err(stop),
        }
        if let Some(tailing) = tailing.filter(|_| !away)
            && let Err(reason) = live(tailing, &mut tail, &mut printer, session).await?
        {
            session.tell(format_args!("{reason}; asking every {} ms instead", POLL_PAUSE.as_millis()))?;
            is_live = false;
        }
        tokio::time::sleep(if away { AWAY_PAUSE } else { POLL_PAUSE }).await;
    }
}

/// Prints what arrives until the connection ends, or returns why the store ended it.
async fn live(
    mut tailing: Tailing,
    tail: &mut State,
    printer: &mut Printer,
    session: &mut Session<'_>,
) -> Result<Result<(), logyard_client::Error>, Stop> {
    loop {
        session.out.flush()?;
        let frame = match tailing.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        if !frame.dropped_entries.is_empty() {
            let count = frame.dropped_entries.len();
            session.tell(format_args!(
                "too slow: the store left out {count} entries or more; a query finds them"
            ))?;
        }
        let entries = merge(frame.streams, Direction::Forward);
        printer.print(session, &tail.arrived(entries, (session.now_ns)()))?;
    }
}

/// Returns the newest entries of a range, oldest first.
async fn newest(
    client: &Client,
    query: &str,
    range: TimeRange,
    limit: usize,
    session: &mut Session<'_>,
) -> Result<Vec<Entry>, Stop> {
    let mut entries = read(client, query, range, Direction::Backward, limit, session).await?;
    entries.reverse();
    Ok(entries)
}

/// Reads the entries of a range, page by page; a `limit` of 0 means all.
async fn read(
    client: &Client,
    query: &str,
    range: TimeRange,
    direction: Direction,
    limit: usize,
    session: &mut Session<'_>,
) -> Result<Vec<Entry>, Stop> {
    let mut pages = Pages::new(query, range, direction, limit, PAGE_ENTRIES);
    let mut all = Vec::new();
    while let Some(call) = pages.next() {
        let answer = client.query_range(&call).await.map_err(|error| refused(error, query))?;
        all.extend(pages.take(session.entries_of(answer, direction)?));
    }
    Ok(all)
}
