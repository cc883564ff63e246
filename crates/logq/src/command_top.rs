//! `logq top`: who writes most.

use std::time::Duration;

use clap::Args;

use crate::chart::units::{bytes_text, count_text};
use crate::command_errors::whose;
use crate::people::counts::{by_label, window};
use crate::people::rows::write_rows;
use crate::people::table::{Row, Side, write_table};
use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq top                          # by container, the last hour
  logq top --by level --since 24h   # by another label
  logq top web --by filename        # of what has web in its name";

/// What moves the cursor to the first line and clears the screen below it.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Who writes most.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Part of a name, or a selector [default: everything]
    #[arg(value_name = "NAME | SELECTOR")]
    whose: Option<String>,

    /// Label by which is counted
    #[arg(long, default_value = "service_name", value_name = "LABEL")]
    by: String,

    /// How many to show
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,

    /// Ask again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

impl Top {
    /// Returns whether it asks again and again.
    pub(crate) fn watches(&self) -> bool {
        self.watch.is_some()
    }

    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let Some(selector) = whose(self.whose.as_deref(), session).await? else { return Ok(false) };
        loop {
            let found = self.once(&selector, session).await?;
            let Some(seconds) = self.watch else { return Ok(found) };
            session.out.flush()?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    async fn once(&self, selector: &str, session: &mut Session<'_>) -> Result<bool, Stop> {
        let (range, label) = (session.range()?, &*self.by);
        let window = window(range);
        let ask = |function: &str| format!("sum by ({label}) ({function}({selector}[{window}]))");
        let bytes = by_label(ask("bytes_over_time"), label, range, session).await?;
        let counts = by_label(ask("count_over_time"), label, range, session).await?;
        let total: f64 = bytes.values().sum();
        let mut rows: Vec<(&String, f64, f64)> = bytes
            .iter()
            .map(|(name, bytes)| (name, *bytes, counts.get(name).copied().unwrap_or_default()))
            .collect();
        rows.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal));
        rows.truncate(self.limit);
        if self.watch.is_some() && session.look.terminal {
            write!(session.out, "{CLEAR}")?;
        }
        let plain: Vec<serde_json::Value> = rows
            .iter()
            .map(|(name, bytes, entries)| serde_json::json!({ label: name, "bytes": bytes, "entries": entries }))
            .collect();
        if write_rows(&plain, label, session)? {
            return Ok(!rows.is_empty());
        }
        let cells: Vec<Row> = rows
            .iter()
            .map(|(name, bytes, entries)| {
                let share = if total > 0.0 { bytes / total } else { 0.0 };
                let name = if name.is_empty() { "(none)".to_owned() } else { (*name).clone() };
                let cells = vec![
                    name,
                    bytes_text(*bytes),
                    format!("{:.1} %", share * 100.0),
                    count_text(*entries),
                    "█".repeat((share * 20.0).round() as usize),
                ];
                Row { cells, is_bad: false }
            })
            .collect();
        if !cells.is_empty() {
            let head = [
                (label, Side::Left),
                ("SIZE", Side::Right),
                ("SHARE", Side::Right),
                ("ENTRIES", Side::Right),
                ("", Side::Left),
            ];
            write_table(session.out, &head, &cells, &session.look)?;
        }
        Ok(!rows.is_empty())
    }
}
