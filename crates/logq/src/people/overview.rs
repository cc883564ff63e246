//! `logq` alone: what writes, how much, and where the errors are.

use crate::chart::columns::columns;
use crate::chart::units::{bytes_text, count_text, rate_text};
use crate::people::counts::{ERRORS, by_label, trends, window};
use crate::people::rows::write_rows;
use crate::people::table::{Row, Side, write_table};
use crate::run::Stop;
use crate::session::Session;

/// Labels by which is counted: the first that any entry has.
const LABELS: [&str; 2] = ["container", "service_name"];

/// Prints what wrote in the range, most errors first, and what to type next.
pub(crate) async fn run(session: &mut Session<'_>) -> Result<bool, Stop> {
    let range = session.range()?;
    let window_text = window(range);
    for label in LABELS {
        let selector = format!("{{{label}=~\".+\"}}");
        let ask = |function: &str, stages: &str| {
            format!("sum by ({label}) ({function}({selector} {stages} [{window_text}]))")
        };
        let counts = by_label(ask("count_over_time", ""), label, range, session).await?;
        if counts.is_empty() {
            continue;
        }
        let errors = by_label(ask("count_over_time", ERRORS), label, range, session).await?;
        let bytes = by_label(ask("bytes_over_time", ""), label, range, session).await?;
        let trends = trends(&selector, label, range, session).await?;
        let of = |values: &std::collections::BTreeMap<String, f64>, name: &str| {
            values.get(name).copied().unwrap_or_default()
        };
        let mut names: Vec<&String> = counts.keys().collect();
        names.sort_by(|a, b| {
            let key = |name: &str| (of(&errors, name), of(&counts, name));
            key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let seconds = (range.end_ns.saturating_sub(range.start_ns) as f64 / 1e9).max(1.0);
        let plain: Vec<serde_json::Value> = names
            .iter()
            .map(|name| {
                serde_json::json!({
                    "name": name, "label": label, "entries": of(&counts, name), "errors": of(&errors, name),
                    "bytes": of(&bytes, name),
                })
            })
            .collect();
        if write_rows(&plain, "name", session)? {
            return Ok(true);
        }
        let rows: Vec<Row> = names
            .iter()
            .map(|name| {
                let (count, failed) = (of(&counts, name), of(&errors, name));
                let cells = vec![
                    (*name).clone(),
                    if failed > 0.0 { count_text(failed) } else { "-".to_owned() },
                    count_text(count),
                    rate_text(count / seconds),
                    bytes_text(of(&bytes, name)),
                    trends.get(*name).map(|points| columns(points)).unwrap_or_default(),
                ];
                Row { cells, is_bad: failed > 0.0 }
            })
            .collect();
        let head = [
            (label, Side::Left),
            ("ERRORS", Side::Right),
            ("ENTRIES", Side::Right),
            ("RATE", Side::Right),
            ("SIZE", Side::Right),
            ("TREND", Side::Left),
        ];
        write_table(session.out, &head, &rows, &session.look)?;
        session.remark(
            "next: logq NAME, its newest lines; logq errors, what goes wrong; logq tail NAME; logq --help",
        )?;
        return Ok(true);
    }
    session.remark("nothing wrote since then; --since 7d looks further back; logq --help")?;
    Ok(false)
}
