//! `logq QUERY` and `logq query QUERY`: a query over a range.

use std::time::Duration;

use clap::Args;
use logyard_client::{RangeExtras, RangeQuery};
use logyard_model::{Direction, TimeRange};

use crate::args_parts::PartFlags;
use crate::args_shared::Format;
use crate::chart::histogram::{Histogram, Steps};
use crate::chart::histogram_text::write_histogram;
use crate::check::{Yields, check};
use crate::marks::Marks;
use crate::output_text::Look;
use crate::pages::Pages;
use crate::printer::Printer;
use crate::run::Stop;
use crate::series::flatten;
use crate::session::{Session, refused};
use crate::time_text::{parse_duration_ns, round_step_ns};
use crate::transfer::meter::{Meter, Reading};
use crate::{command_tail, parts, stdin};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq '{container=\"web\"}'                            # the newest 100 lines of a container
  logq '{container=\"web\"} |= \"ERROR\"' --since 24h     # lines with a word, of the last day
  logq '{compose_project=\"shop\"}' --limit 0 -o raw    # every line of the last hour, nothing else
  logq query '{container=~\"web|db\"}' --from 2026-11-20 --to 2026-11-21 --forward
  logq 'sum by (container) (count_over_time({container=~\".+\"}[5m]))' --step 5m
  logq 'sum by (container) (bytes_rate({container=~\".+\"}[5m]))' --chart   # drawn, in MiB/s
  logq '{container=\"web\"}' --since 24h --histogram      # and how many there are, over the day
  cat app.log | logq --stdin '| logfmt | level=\"error\"'   # a file or a pipe, with no store
  cat app.log | logq --stdin 'sum by (level) (count_over_time({a=\"b\"} | logfmt [1h]))'

Order: newest first; with --forward oldest first.";

/// Most entries that are printed unless a flag says otherwise.
pub(crate) const LIMIT: usize = 100;

/// Entries already there that are printed first when a query is followed.
const TAIL_LINES: usize = 10;

/// A query over a range.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// LogQL: a log query prints entries, a metric query a table of samples
    #[arg(value_name = "QUERY")]
    text: String,

    #[command(flatten)]
    flags: QueryFlags,
}

/// How much of a query is asked for, and in which order.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueryFlags {
    /// Most entries to print; above --batch they are fetched in several calls; 0 means all [default: 100, and all
    /// with --stdin]
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,

    /// Most entries per call
    #[arg(long, default_value_t = 5000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,

    /// Print oldest first, and let the limit keep the oldest
    #[arg(long)]
    pub(crate) forward: bool,

    /// Distance between samples of a metric query [default: about 30 samples in the range]
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,

    /// Shortest distance between entries of a log query: those between are left out
    #[arg(long, value_name = "DURATION")]
    pub(crate) interval: Option<String>,

    /// Draw above the entries of a log query how many there are over the range, by level; on the error output where the
    /// form of the output is none for people
    #[arg(long)]
    pub(crate) histogram: bool,

    /// Follow the query, as `logq tail` does
    #[arg(short = 't', long, visible_alias = "follow", visible_short_alias = 'f')]
    pub(crate) tail: bool,

    /// With --tail: let the store hold entries back for so many seconds, to put late ones in order
    #[arg(long, default_value_t = 0, value_name = "SECONDS", hide_default_value = true)]
    pub(crate) delay_for: u32,

    #[command(flatten)]
    pub(crate) parts: PartFlags,
}

impl QueryFlags {
    /// Returns the shortest distance between entries.
    pub(crate) fn interval(&self) -> Result<Option<Duration>, Stop> {
        let ns = self.interval.as_deref().map(parse_duration_ns).transpose()?;
        Ok(ns.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or_default())))
    }
}

impl Query {
    /// Returns whether the query is followed.
    pub(crate) fn follows(&self) -> bool {
        self.flags.tail
    }

    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        run(&self.text, &self.flags, session).await
    }
}

/// Asks a query over the range of the session and prints what it yields.
pub(crate) async fn run(query: &str, flags: &QueryFlags, session: &mut Session<'_>) -> Result<bool, Stop> {
    if flags.histogram && (session.shared.stdin || flags.tail) {
        return Err(Stop::Trouble(
            "cannot draw a histogram of what is still to come: want a query over a range of a store"
                .to_owned(),
        ));
    }
    if session.shared.stdin {
        return stdin::run(query, flags.limit, session);
    }
    if flags.tail {
        let lines = u32::try_from(flags.limit.unwrap_or(TAIL_LINES)).unwrap_or(u32::MAX);
        return command_tail::follow(query, lines, flags.delay_for, session).await;
    }
    let range = session.range()?;
    let yields = check(query)?;
    session.look.marks = Marks::of(query);
    if flags.histogram {
        if yields == Yields::Samples {
            return Err(Stop::Trouble("a histogram counts entries; draw samples with --chart".to_owned()));
        }
        histogram(query, range, session).await?;
    }
    if let Some(parts) = flags.parts.wanted()? {
        return parts::run(query, range, flags, &parts, session).await;
    }
    match yields {
        Yields::Entries => entries(query, range, flags, session).await,
        Yields::Samples => samples(query, range, flags, session).await,
    }
}

/// Tells what the store did for a call, one name a line.
fn tell_stats(stats: &[(String, String)], session: &mut Session<'_>) -> Result<(), Stop> {
    stats.iter().try_for_each(|(name, value)| session.say(format_args!("{name}  {value}")))
}

/// Draws how many entries a log query yields over a range.
async fn histogram(query: &str, range: TimeRange, session: &mut Session<'_>) -> Result<(), Stop> {
    let columns = session.columns();
    let steps = Steps::cut(range, columns);
    let (counting, counted, step) = steps.query(query);
    let call = RangeQuery {
        query: counting.clone(),
        range: counted,
        limit: LIMIT,
        direction: Direction::Backward,
        step: Some(step),
    };
    let asked = session.client()?.query_range(&call).await;
    let answer = asked.map_err(|error| refused(error, &counting))?;
    session.warn(&answer.warnings)?;
    let histogram = Histogram::new(steps, &flatten(answer.data));
    // Programs read entries alone.
    match session.format {
        Format::Default => write_histogram(session.out, &histogram, columns, &session.look)?,
        _ => {
            let look =
                Look { colour: session.look.colour && session.err_is_terminal, ..session.look.clone() };
            write_histogram(session.err, &histogram, columns, &look)?;
        }
    }
    Ok(())
}

async fn entries(
    query: &str,
    range: TimeRange,
    flags: &QueryFlags,
    session: &mut Session<'_>,
) -> Result<bool, Stop> {
    let direction = if flags.forward { Direction::Forward } else { Direction::Backward };
    let batch = usize::try_from(flags.batch).unwrap_or(usize::MAX);
    let client = session.client()?;
    let mut pages = Pages::new(query, range, direction, flags.limit.unwrap_or(LIMIT), batch);
    let mut printer = Printer::new(session);
    let interval = flags.interval()?;
    let extras = RangeExtras { interval, wants_stats: session.shared.stats };
    // Where entries themselves are on the terminal, they tell how far it is.
    let is_shown = session.err_is_terminal && !session.look.terminal && !session.shared.quiet;
    let mut meter = Meter::new(is_shown, (session.now_ns)());
    let mut reading = Reading::default();
    while let Some(call) = pages.next() {
        let asked = client.query_range_with(&call, extras).await;
        let (answer, stats) = asked.map_err(|error| refused(error, query))?;
        tell_stats(&stats, session)?;
        let entries = pages.take(session.entries_of(answer, direction)?);
        reading.entries += entries.len() as u64;
        reading.bytes += entries.iter().map(|entry| entry.line.len() as u64).sum::<u64>();
        meter.clear(session.err)?;
        printer.print(session, &entries)?;
        if pages.next().is_some() {
            meter.show(session.err, (session.now_ns)(), &reading)?;
        }
    }
    meter.clear(session.err)?;
    Ok(printer.printed() > 0)
}

async fn samples(
    query: &str,
    range: TimeRange,
    flags: &QueryFlags,
    session: &mut Session<'_>,
) -> Result<bool, Stop> {
    let step_ns = match &flags.step {
        Some(text) => parse_duration_ns(text)?,
        None => round_step_ns(range.end_ns.saturating_sub(range.start_ns)),
    };
    let step = Duration::from_nanos(u64::try_from(step_ns).unwrap_or_default());
    if step.is_zero() {
        return Err(Stop::Trouble("cannot use --step: it is zero; want a duration such as 1m".to_owned()));
    }
    let call = RangeQuery {
        query: query.to_owned(),
        range,
        limit: flags.limit.unwrap_or(LIMIT).clamp(1, 5000),
        direction: Direction::Backward,
        step: Some(step),
    };
    let extras = RangeExtras { interval: None, wants_stats: session.shared.stats };
    let asked = session.client()?.query_range_with(&call, extras).await;
    let (answer, stats) = asked.map_err(|error| refused(error, query))?;
    tell_stats(&stats, session)?;
    session.samples_of(query, answer)
}
