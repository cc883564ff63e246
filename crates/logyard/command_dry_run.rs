//! `logyard agent --dry-run`: prints what would be shipped, one line for each entry, and ships nothing.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use logyard_agent::{DryEntry, DryParts, DryRun};
use logyard_model::LabelSet;
use logyard_sys::{Clock, Disk, Random, RealClock};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::args::DryRunArguments;
use crate::config::Settings;
use crate::logging::{self, OwnLog};
use crate::promtail_load::Taken;
use crate::signals::Signals;

/// Longest text of a line that is printed for people, in characters.
const SHOWN_CHARS_MAX: usize = 1_000;
/// Entries that wait for whoever reads the output.
const WAITING_MAX: usize = 256;

/// Runs until Ctrl-C, the end of the standard input, or as many entries as are wanted.
pub(crate) fn run(
    arguments: DryRunArguments,
    settings: Settings,
    promtail: Taken,
    disk: Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    logging::start(&settings.log, Arc::clone(&clock), OwnLog::default())?;
    promtail.refused.iter().for_each(|refused| tracing::warn!("{refused}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let (tell, told) = mpsc::channel(WAITING_MAX);
    let data_dir = settings.data_dir.clone();
    let parts = DryParts {
        disk,
        clock,
        random: Arc::new(Random::os()),
        data_dir,
        imported: promtail.positions,
        tell,
    };
    let done = runtime.block_on(print_all(arguments, settings, parts, told));
    // What waits for a dead mount or the standard input must not keep the process alive.
    runtime.shutdown_background();
    done
}

async fn print_all(
    arguments: DryRunArguments,
    settings: Settings,
    parts: DryParts,
    mut told: mpsc::Receiver<DryEntry>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot take over signals")?;
    let (run, left_out) = DryRun::start(settings.agent, parts).await?;
    for port in left_out {
        tracing::info!(port, "not opened: who pushes there would take its entries for delivered");
    }
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let input_ended = run.input_ended();
    tokio::pin!(input_ended);
    while left > 0 {
        tokio::select! {
            _ = signals.wait() => break,
            entry = told.recv() => match entry {
                Some(entry) if print(&entry, arguments.jsonl)? => left -= 1,
                _ => break,
            },
            () = &mut input_ended => {
                // What was read is still on its way, to the last entry.
                let ending = tokio::spawn(run.stop());
                while let Some(entry) = told.recv().await {
                    if left == 0 || !print(&entry, arguments.jsonl)? {
                        break;
                    }
                    left -= 1;
                }
                drop(told);
                return ending.await.context("end the reading");
            }
        }
    }
    drop(told);
    run.stop().await;
    Ok(())
}

/// Prints an entry. Returns false if nobody reads any more.
fn print(entry: &DryEntry, is_jsonl: bool) -> anyhow::Result<bool> {
    let line = if is_jsonl { jsonl(entry) } else { text(entry) };
    match io::Write::write_all(&mut io::stdout().lock(), line.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes an entry for people: no control characters, which a terminal would obey, and no more than fits a screen.
fn text(entry: &DryEntry) -> String {
    let mut text = format!("{} {}", logging::time_text(entry.ts_ns), entry.labels);
    if !entry.metadata.is_empty() {
        write!(text, " {}", entry.metadata).unwrap_or_default();
    }
    text.push(' ');
    let line = String::from_utf8_lossy(&entry.line);
    for character in line.chars().take(SHOWN_CHARS_MAX) {
        match character {
            '\t' => text.push('\t'),
            character if character.is_control() => text.extend(character.escape_default()),
            character => text.push(character),
        }
    }
    if line.chars().nth(SHOWN_CHARS_MAX).is_some() {
        write!(text, "… ({} bytes)", entry.line.len()).unwrap_or_default();
    }
    text.push('\n');
    text
}

/// Writes an entry for programs: whole, bytes that are no UTF-8 as U+FFFD.
fn jsonl(entry: &DryEntry) -> String {
    let object = |set: &LabelSet| -> Map<String, Value> {
        set.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    };
    let line = json!({
        "ts_ns": entry.ts_ns.to_string(),
        "labels": object(&entry.labels),
        "metadata": object(&entry.metadata),
        "line": String::from_utf8_lossy(&entry.line),
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &[u8]) -> DryEntry {
        DryEntry {
            ts_ns: 1_500_000_000,
            labels: Arc::new(LabelSet::from_pairs([("container", "web")])),
            metadata: LabelSet::from_pairs([("id", "7")]),
            line: line.to_vec(),
        }
    }

    #[test]
    fn entries_are_one_line_each() {
        let want = "1970-01-01T00:00:01.500Z {container=\"web\"} {id=\"7\"} a\\n\\u{1b}[31mb\tc\n";
        assert_eq!(text(&entry(b"a\n\x1b[31mb\tc")), want);
        let bare = DryEntry { metadata: LabelSet::default(), ..entry(b"") };
        assert_eq!(text(&bare), "1970-01-01T00:00:01.500Z {container=\"web\"} \n");
        let long = text(&entry("ä".repeat(2_000).as_bytes()));
        assert!(long.ends_with("ä… (4000 bytes)\n") && long.chars().count() < 1_100, "{long}");
        let line = jsonl(&entry(b"a\n\xff"));
        assert_eq!(line.lines().count(), 1, "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        let want = json!({
            "ts_ns": "1500000000", "labels": {"container": "web"}, "metadata": {"id": "7"}, "line": "a\n\u{fffd}"
        });
        assert_eq!(value, want);
    }
}
