//! `logq ui`: the explorer over the whole terminal.

use clap::Args;

use crate::explorer::{Begin, Span, run};
use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq ui                                     # all entries of the last hour, and new ones
  logq ui '{container=\"web\"}' --since 24h
  logq ui '{container=\"web\"} |= \"ERROR\"' --from 2026-11-20 --to 2026-11-21";

/// Smallest buffer: a few screens of short lines.
const BUFFER_BYTES_MIN: u64 = 64 << 10;

/// What to begin with.
#[derive(Debug, Args)]
pub(crate) struct Ui {
    /// LogQL to begin with [default: all entries]
    query: Option<String>,

    /// Most memory for entries on the screen and before it, such as 64MiB; past it the oldest are let go
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    buffer: String,

    /// Begin without showing new entries as they come
    #[arg(long)]
    no_follow: bool,
}

impl Ui {
    /// Runs the explorer until it is left; it always has found something.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        if !session.look.terminal {
            let text = "cannot open the explorer: the output is no terminal; ask with logq QUERY instead";
            return Err(Stop::Trouble(text.to_owned()));
        }
        let buffer_bytes_max = logyard_logql::parse_size(&self.buffer)
            .ok()
            .filter(|bytes| *bytes >= BUFFER_BYTES_MIN)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| {
                format!("cannot use --buffer {:?}: want a size from 64KiB on, such as 64MiB", self.buffer)
            })?;
        let range = session.range()?;
        let span = match session.is_range_open() {
            true => Span::Last(range.end_ns.saturating_sub(range.start_ns)),
            false => Span::Between(range),
        };
        let client = session.client()?;
        let size = crossterm::terminal::size()
            .map_err(|error| format!("cannot ask the terminal for its size: {error}"))?;
        let begin = Begin {
            query: self.query.clone().unwrap_or_default(),
            span,
            follows: !self.no_follow && session.is_range_open(),
            zone: session.look.zone.clone(),
            buffer_bytes_max,
            size,
            store: client.base().to_owned(),
        };
        run(begin, client, session.now_ns, session.out, session.look.colour).await?;
        Ok(true)
    }
}
