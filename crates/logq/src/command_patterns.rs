//! `logq patterns`: what kinds of lines there are, as the store finds them.

use std::time::Duration;

use clap::Args;

use crate::chart::columns::columns;
use crate::chart::units::count_text;
use crate::command_errors::whose;
use crate::people::rows::write_rows;
use crate::people::table::{Row, Side, write_table};
use crate::run::Stop;
use crate::session::{Session, refused};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq patterns web                               # of what has web in its name
  logq patterns '{container=\"web\"}' --since 24h   # of a selector

A pattern can be asked for: logq '{container=\"web\"} |> \"<_> connection to <_> lost\"'";

/// Steps of the trend of a pattern.
const TREND_STEPS: i64 = 24;
/// Narrowest step that stores answer.
const STEP_SECS_MIN: i64 = 10;

/// Kinds of lines.
#[derive(Debug, Args)]
pub(crate) struct Patterns {
    /// Part of a name, or a selector [default: everything]
    #[arg(value_name = "NAME | SELECTOR")]
    whose: Option<String>,

    /// How many to show
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

impl Patterns {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let Some(selector) = whose(self.whose.as_deref(), session).await? else { return Ok(false) };
        let range = session.range()?;
        let width_secs = range.end_ns.saturating_sub(range.start_ns) / 1_000_000_000;
        let step_secs = (width_secs / TREND_STEPS).max(STEP_SECS_MIN);
        let step = Duration::from_secs(u64::try_from(step_secs).unwrap_or_default());
        let found = session.client()?.patterns(&selector, range, step).await;
        let mut found = found.map_err(|error| match error.status() {
            Some(404) => Stop::Trouble(
                "the store finds no patterns; logq errors groups the lines of errors without its help"
                    .to_owned(),
            ),
            _ => refused(error, &selector),
        })?;
        found.sort_by_key(|pattern| std::cmp::Reverse(pattern.count()));
        found.truncate(self.limit);
        let plain: Vec<serde_json::Value> = found
            .iter()
            .map(|pattern| {
                serde_json::json!({
                    "count": pattern.count(), "level": pattern.level, "pattern": pattern.pattern,
                })
            })
            .collect();
        if write_rows(&plain, "pattern", session)? {
            return Ok(!found.is_empty());
        }
        if found.is_empty() {
            return Ok(false);
        }
        let first_secs = range.start_ns.div_euclid(1_000_000_000);
        let steps = usize::try_from(width_secs / step_secs + 1).unwrap_or(1).min(1000);
        let rows: Vec<Row> = found
            .iter()
            .map(|pattern| {
                let mut points = vec![0.0; steps];
                for (secs, count) in &pattern.samples {
                    let index = secs.saturating_sub(first_secs).div_euclid(step_secs).max(0);
                    let index = usize::try_from(index).unwrap_or_default().min(steps - 1);
                    if let Some(point) = points.get_mut(index) {
                        *point += *count as f64;
                    }
                }
                let cells = vec![
                    count_text(pattern.count() as f64),
                    pattern.level.clone(),
                    columns(&points),
                    pattern.pattern.clone(),
                ];
                Row { cells, is_bad: matches!(&*pattern.level, "error" | "critical" | "fatal") }
            })
            .collect();
        let head =
            [("COUNT", Side::Right), ("LEVEL", Side::Left), ("TREND", Side::Left), ("PATTERN", Side::Left)];
        write_table(session.out, &head, &rows, &session.look)?;
        Ok(true)
    }
}
