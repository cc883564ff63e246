//! How far a transfer is, for whoever looks at it: one line that is rewritten, on a terminal only.

use std::io::{self, Write};

use crate::chart::units::{bytes_text, count_text};

/// Time between two writings of the line.
const EVERY_NS: i64 = 200_000_000;

/// The line, and when it was last written.
#[derive(Debug)]
pub(crate) struct Meter {
    is_shown: bool,
    started_ns: i64,
    shown_ns: Option<i64>,
}

/// What the line tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Entries carried in this run.
    pub(crate) entries: u64,
    /// Bytes of their lines.
    pub(crate) bytes: u64,
    /// How much is done, from 0 to 1, if that is known.
    pub(crate) share: Option<f64>,
    /// What is being carried.
    pub(crate) place: String,
}

impl Meter {
    /// Starts; `is_shown` says whether a terminal reads the error output.
    pub(crate) fn new(is_shown: bool, now_ns: i64) -> Self {
        Self { is_shown, started_ns: now_ns, shown_ns: None }
    }

    /// Writes the line if it is due.
    pub(crate) fn show(&mut self, err: &mut dyn Write, now_ns: i64, reading: &Reading) -> io::Result<()> {
        if !self.is_shown || self.shown_ns.is_some_and(|shown_ns| now_ns.saturating_sub(shown_ns) < EVERY_NS)
        {
            return Ok(());
        }
        self.shown_ns = Some(now_ns);
        write!(err, "\r\u{1b}[K{}", self.text(now_ns, reading))?;
        err.flush()
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self, err: &mut dyn Write) -> io::Result<()> {
        match self.shown_ns.take() {
            Some(_) => write!(err, "\r\u{1b}[K"),
            None => Ok(()),
        }
    }

    /// Returns what a run came to, in words.
    pub(crate) fn text(&self, now_ns: i64, reading: &Reading) -> String {
        let seconds = (now_ns.saturating_sub(self.started_ns).max(1_000_000) as f64) / 1e9;
        let rate = |count: u64| count as f64 / seconds;
        let share = reading.share.map(|share| format!(", {:.0} %", share.clamp(0.0, 1.0) * 100.0));
        let place = match reading.place.is_empty() {
            true => String::new(),
            false => format!(", {}", reading.place),
        };
        format!(
            "{} entries, {}, {}/s, {}/s{}{place}",
            count_text(reading.entries as f64),
            bytes_text(reading.bytes as f64),
            count_text(rate(reading.entries)),
            bytes_text(rate(reading.bytes)),
            share.unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_see_a_line_that_is_rewritten() {
        let reading =
            Reading { entries: 12_000, bytes: 3 << 20, share: Some(0.5), place: "app.log".to_owned() };
        let shown = |is_shown| {
            let mut meter = Meter::new(is_shown, 0);
            let mut out = Vec::new();
            for now_ns in [2_000_000_000, 2_100_000_000, 2_200_000_000] {
                meter.show(&mut out, now_ns, &reading).unwrap();
            }
            meter.clear(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(true),
            "\r\u{1b}[K12k entries, 3 MiB, 6k/s, 1.5 MiB/s, 50 %, app.log\
             \r\u{1b}[K12k entries, 3 MiB, 5.45k/s, 1.36 MiB/s, 50 %, app.log\r\u{1b}[K"
        );
        assert_eq!(shown(false), "");
    }
}
