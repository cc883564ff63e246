//! `logq context`: what stands around an entry in its stream.

use clap::Args;
use logyard_client::RangeQuery;
use logyard_model::{Direction, TimeRange};
use serde::Deserialize;

use crate::args_shared::Format;
use crate::check::check;
use crate::command_errors::whose;
use crate::entry::Entry;
use crate::output_json;
use crate::output_text::{shown, time_text};
use crate::people::name::quoted;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::time_text::parse_time_ns;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq context 2026-11-21T02:59:06.000Z web                  # as logq printed the time; part of a name
  logq context 1795229946000000000 '{container=\"web\"}' -B 20
  echo '{\"timestamp\":\"2026-11-21T02:59:06Z\",\"labels\":{\"container\":\"web\"},\"line\":\"ERROR x\"}' | logq context -

The last takes an entry as -o jsonl prints it. Marked is the entry that was meant; around it stand the lines of the
same stream.";

/// Entries of one timestamp that are looked at.
const HITS_MAX: usize = 1000;
/// How far around an entry is looked.
const AROUND_NS: i64 = 7 * 86_400 * 1_000_000_000;
/// Most bytes of an entry on standard input.
const INPUT_BYTES_MAX: u64 = 4 << 20;
/// Most lines before or behind.
const LINES_MAX: i64 = 5000;

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// What stands around an entry.
#[derive(Debug, Args)]
pub(crate) struct Context {
    /// Time of the entry, as printed; or the entry as -o jsonl prints it, `-` for standard input
    #[arg(value_name = "ENTRY")]
    entry: String,

    /// Part of the name of what wrote it, or its selector; not wanted for an entry of -o jsonl
    #[arg(value_name = "NAME | SELECTOR")]
    whose: Option<String>,

    /// Lines before it
    #[arg(short = 'B', long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(0..=LINES_MAX))]
    before: i64,

    /// Lines behind it
    #[arg(short = 'A', long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(0..=LINES_MAX))]
    after: i64,
}

/// Which entry is meant.
struct Meant {
    selector: String,
    /// The instants that its time as printed may stand for.
    range: TimeRange,
    line: Option<String>,
}

/// An entry as `-o jsonl` prints it.
#[derive(Deserialize)]
struct Printed {
    timestamp: String,
    labels: logyard_wire::loki_query::Labels,
    line: String,
}

impl Context {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let Some(meant) = self.meant(session).await? else { return Ok(false) };
        let hits = read(&meant.selector, meant.range, Direction::Forward, HITS_MAX, session).await?;
        let hit = hits.iter().find(|entry| meant.line.as_ref().is_none_or(|line| *line == entry.line));
        let Some(hit) = hit.or(hits.first()) else {
            let time = time_text(meant.range.start_ns, &session.look.zone);
            session.tell(format_args!("no entry of {} at {time}", meant.selector))?;
            return Ok(false);
        };
        let stream = selector_of_stream(hit);
        let at = hit.ts_ns;
        let range = |start_ns: i64, end_ns: i64| TimeRange { start_ns, end_ns };
        let lines = |count: i64| usize::try_from(count).unwrap_or_default();
        let (before, after) = (lines(self.before), lines(self.after));
        let around_before = range(at.saturating_sub(AROUND_NS), at);
        let mut all = read(&stream, around_before, Direction::Backward, before, session).await?;
        all.reverse();
        all.extend(
            read(&stream, range(at, at.saturating_add(1)), Direction::Forward, HITS_MAX, session).await?,
        );
        let around_after = range(at.saturating_add(1), at.saturating_add(AROUND_NS));
        all.extend(read(&stream, around_after, Direction::Forward, after, session).await?);
        if session.format == Format::Default {
            session.remark(format_args!("stream: {stream}"))?;
        }
        for entry in &all {
            print(entry, entry.identity() == hit.identity(), session)?;
        }
        Ok(true)
    }

    async fn meant(&self, session: &mut Session<'_>) -> Result<Option<Meant>, Stop> {
        let text = if self.entry == "-" {
            let mut text = String::new();
            let mut bounded = std::io::Read::take(&mut *session.input, INPUT_BYTES_MAX);
            std::io::Read::read_to_string(&mut bounded, &mut text)
                .map_err(|error| format!("cannot read the entry from standard input: {error}"))?;
            text
        } else {
            self.entry.clone()
        };
        if text.trim_start().starts_with('{') {
            let printed: Printed = serde_json::from_str(text.trim()).map_err(|error| {
                format!("cannot read the entry: {error}; want one line as -o jsonl prints it")
            })?;
            let pairs = printed.labels.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
            let selector = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
            let range = instants(&printed.timestamp, session)?;
            return Ok(Some(Meant { selector, range, line: Some(printed.line) }));
        }
        let Some(of) = &self.whose else {
            return Err(Stop::Trouble(
                "want the name or the selector of what wrote it as well, such as: logq context TIME web"
                    .to_owned(),
            ));
        };
        let range = instants(text.trim(), session)?;
        let Some(selector) = whose(Some(of), session).await? else { return Ok(None) };
        check(&selector)?;
        Ok(Some(Meant { selector, range, line: None }))
    }
}

/// Returns the instants that a time as printed may stand for: its last digit counts.
fn instants(text: &str, session: &Session<'_>) -> Result<TimeRange, Stop> {
    let start_ns = parse_time_ns(text, (session.now_ns)(), &session.look.zone)?;
    let width_ns = match text.split_once('.') {
        Some((_, fraction)) => {
            let digits = fraction.chars().take_while(char::is_ascii_digit).count();
            10_i64.pow(u32::try_from(9_usize.saturating_sub(digits)).unwrap_or_default())
        }
        None if text.len() > 10 && text.chars().all(|c| c.is_ascii_digit()) => 1,
        None => 1_000_000_000,
    };
    Ok(TimeRange { start_ns, end_ns: start_ns.saturating_add(width_ns) })
}

fn selector_of_stream(entry: &Entry) -> String {
    let pairs = entry.stream.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

async fn read(
    query: &str,
    range: TimeRange,
    direction: Direction,
    limit: usize,
    session: &mut Session<'_>,
) -> Result<Vec<Entry>, Stop> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let call = RangeQuery { query: query.to_owned(), range, limit, direction, step: None };
    let answer = session.client()?.query_range(&call).await.map_err(|error| refused(error, query))?;
    session.entries_of(answer, direction)
}

fn print(entry: &Entry, is_hit: bool, session: &mut Session<'_>) -> Result<(), Stop> {
    let line = if session.look.terminal { shown(&entry.line) } else { entry.line.clone() };
    match session.format {
        Format::Jsonl => output_json::write_entry(session.out, entry)?,
        Format::Default => {
            let mark = if is_hit { '>' } else { ' ' };
            let time = time_text(entry.ts_ns, &session.look.zone);
            match (session.look.colour, is_hit) {
                (false, _) => writeln!(session.out, "{mark} {time} {line}")?,
                (true, true) => writeln!(session.out, "{BOLD}{mark} {time} {line}{RESET}")?,
                (true, false) => writeln!(session.out, "{mark} {DIM}{time}{RESET} {line}{RESET}")?,
            }
        }
        _ => writeln!(session.out, "{}", entry.line)?,
    }
    Ok(())
}
