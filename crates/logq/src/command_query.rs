//! `logq QUERY` and `logq query QUERY`: a query over a range.

use std::time::Duration;

use clap::Args;
use logyard_client::RangeQuery;
use logyard_model::{Direction, TimeRange};

use crate::check::{Yields, check};
use crate::pages::Pages;
use crate::printer::Printer;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::stdin;
use crate::time_text::{parse_duration_ns, round_step_ns};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq '{container=\"web\"}'                            # the newest 100 lines of a container
  logq '{container=\"web\"} |= \"ERROR\"' --since 24h     # lines with a word, of the last day
  logq '{compose_project=\"shop\"}' --limit 0 -o raw    # every line of the last hour, nothing else
  logq query '{container=~\"web|db\"}' --from 2026-11-20 --to 2026-11-21 --forward
  logq 'sum by (container) (count_over_time({container=~\".+\"}[5m]))' --step 5m
  cat app.log | logq --stdin '| logfmt | level=\"error\"'   # a file or a pipe, with no store
  cat app.log | logq --stdin 'sum by (level) (count_over_time({a=\"b\"} | logfmt [1h]))'

Order: newest first; with --forward oldest first.";

/// Most entries that are printed unless a flag says otherwise.
const LIMIT: usize = 100;

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
}

impl Query {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        run(&self.text, &self.flags, session).await
    }
}

/// Asks a query over the range of the session and prints what it yields.
pub(crate) async fn run(query: &str, flags: &QueryFlags, session: &mut Session<'_>) -> Result<bool, Stop> {
    if session.shared.stdin {
        return stdin::run(query, flags.limit, session);
    }
    let range = session.range()?;
    match check(query)? {
        Yields::Entries => entries(query, range, flags, session).await,
        Yields::Samples => samples(query, range, flags, session).await,
    }
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
    while let Some(call) = pages.next() {
        let answer = client.query_range(&call).await.map_err(|error| refused(error, query))?;
        let entries = pages.take(session.entries_of(answer, direction)?)?;
        printer.print(session, &entries)?;
    }
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
    let answer = session.client()?.query_range(&call).await.map_err(|error| refused(error, query))?;
    session.samples(answer)
}
