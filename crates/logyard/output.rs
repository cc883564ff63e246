//! What the tools print: text for people, JSON for programs, progress for who waits at a terminal.

use std::io::{IsTerminal as _, Write as _};

use logyard_store::fsck::Progress;
use serde::Serialize;
use serde_json::Value;

/// Prints a text. A reader that has left is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Adds a line to a text.
pub(crate) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

/// Returns a value as JSON of several lines, for people who read it after all.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Returns the fields of an object as `name=value`, in order, absent ones left out.
pub(crate) fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let field = |(name, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{name}={text}")),
        other => Some(format!("{name}={other}")),
    };
    fields.iter().filter_map(field).collect::<Vec<_>>().join(" ")
}

/// Returns an instant as UTC to the second; nanoseconds where no calendar reaches.
pub(crate) fn time(ns: i64) -> String {
    let seconds = ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days: eras of 400 years that start on 1 March of year 0.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns bytes in the largest unit that leaves a number of at least 1.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A line on the error output that tells how far a check or a copy has come; nothing where nobody watches.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    doing: &'static str,
    is_shown: bool,
    last_percent: Option<u64>,
}

impl ProgressLine {
    /// Begins; `doing` is the first word of the line, `is_quiet` is for output that programs read.
    pub(crate) fn new(doing: &'static str, is_quiet: bool) -> Self {
        Self { doing, is_shown: !is_quiet && std::io::stderr().is_terminal(), last_percent: None }
    }

    /// Shows a state, if a percent has passed since the last.
    pub(crate) fn show(&mut self, progress: &Progress) {
        let percent = (progress.done_bytes.saturating_mul(100) / progress.total_bytes.max(1)).min(100);
        if !self.is_shown || self.last_percent == Some(percent) {
            return;
        }
        self.last_percent = Some(percent);
        let text = format!(
            "\r{}: segment {} of {}, {} of {}, {percent} % ",
            self.doing,
            (progress.done_segments + 1).min(progress.total_segments),
            progress.total_segments,
            bytes(progress.done_bytes),
            bytes(progress.total_bytes)
        );
        // A courtesy: without a reader it is not needed.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.last_percent.is_some() {
            drop(std::io::stderr().lock().write_all(b"\r\x1b[K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_sizes_and_fields_are_readable() {
        assert_eq!(time(1_780_315_200_000_000_000), "2026-06-01T12:00:00Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59Z");
        assert_eq!(time(1_709_164_799_999_999_999), "2024-02-28T23:59:59Z");
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(3 << 30)),
            ("1023 B".into(), "1.5 KiB".into(), "3.0 GiB".into())
        );
        assert_eq!(fields(&json!({ "a": 1, "b": null, "c": "x" })), "a=1 c=x");
    }
}
