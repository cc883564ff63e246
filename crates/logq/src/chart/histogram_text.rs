//! A histogram as lines of text: rows of columns, the worst level at the bottom, and the times of its ends.
//!
//! With colours the levels are told by those; without, errors are drawn as `!` and warnings as `+`, which the line above
//! explains.

use std::io::{self, Write};

use super::clock_text;
use super::histogram::{Histogram, LEVELS, bar, count_text};
use crate::output_text::Look;

/// Rows of columns.
const ROWS: usize = 5;

/// Fewest columns that times fit below.
const COLUMNS_MIN: usize = 20;

/// Colours of the levels, in the order of [`LEVELS`].
const COLOURS: [&str; LEVELS.len()] = ["\u{1b}[31m", "\u{1b}[33m", "\u{1b}[32m", "\u{1b}[34m", ""];
/// What stands for a cell of a level where there are no colours; blank: its part of a block.
const MARKS: [char; LEVELS.len()] = ['!', '+', ' ', ' ', ' '];

const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// Draws a histogram over so many columns.
pub(crate) fn write_histogram(
    out: &mut dyn Write,
    histogram: &Histogram,
    columns: usize,
    look: &Look,
) -> io::Result<()> {
    let columns = columns.max(COLUMNS_MIN);
    let drawn = histogram.columns(columns);
    let highest = drawn.iter().map(|counts| counts.iter().sum::<u64>()).max().unwrap_or_default();
    let bars: Vec<_> = drawn.iter().map(|counts| bar(counts, highest, ROWS)).collect();
    writeln!(out, "{}", head(histogram, highest, look))?;
    for row in (0..ROWS).rev() {
        let (mut line, mut colour) = (String::new(), "");
        for bar in &bars {
            let (symbol, level) = bar.get(row).copied().unwrap_or((' ', LEVELS.len()));
            let wanted = COLOURS.get(level).copied().filter(|_| look.colour).unwrap_or_default();
            if wanted != colour {
                line.push_str(if colour.is_empty() { "" } else { RESET });
                line.push_str(wanted);
                colour = wanted;
            }
            let mark = MARKS.get(level).copied().filter(|mark| !look.colour && *mark != ' ');
            line.push(mark.unwrap_or(symbol));
        }
        let line = line.trim_end();
        writeln!(out, "{line}{}", if colour.is_empty() { "" } else { RESET })?;
    }
    writeln!(out, "{}", axis(histogram, columns, look))
}

/// Writes what is counted: all, and each level that there is.
fn head(histogram: &Histogram, highest: u64, look: &Look) -> String {
    let totals = histogram.totals();
    let mut head = format!("{} entries", count_text(histogram.total()));
    for (((level, count), colour), mark) in LEVELS.iter().zip(totals).zip(COLOURS).zip(MARKS) {
        // What has no level needs no word of its own.
        if count == 0 || *level == "other" {
            continue;
        }
        let text = format!("{level} {}", count_text(count));
        head.push_str("  ");
        match look.colour {
            true if !colour.is_empty() => head.extend([colour, &text, RESET]),
            _ if mark != ' ' => head.push_str(&format!("{mark} {text}")),
            _ => head.push_str(&text),
        }
    }
    let step = clock_text::length(histogram.steps.step_ns);
    format!("{head}  most {} in {step}", count_text(highest))
}

/// Writes the times below the first column, the middle and the last.
fn axis(histogram: &Histogram, columns: usize, look: &Look) -> String {
    let steps = histogram.steps;
    let time = |ts_ns| clock_text::full(ts_ns, &look.zone);
    let (left, right) = (time(steps.start_ns), time(steps.end_ns()));
    let middle = time(steps.start_ns / 2 + steps.end_ns() / 2);
    let mut axis = left;
    let width = right.chars().count();
    if columns >= 3 * width + 8 {
        let at = columns / 2 - width / 2;
        axis.extend(std::iter::repeat_n(' ', at.saturating_sub(axis.chars().count())));
        axis.push_str(&middle);
    }
    if columns >= 2 * width + 2 {
        axis.extend(std::iter::repeat_n(' ', (columns - width).saturating_sub(axis.chars().count())));
        axis.push_str(&right);
    }
    if look.colour { format!("{DIM}{axis}{RESET}") } else { axis }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chart::histogram::Steps;
    use crate::series::Sample;

    const S: i64 = 1_000_000_000;

    fn drawn(columns: usize, colour: bool, samples: &[(i64, &str, f64)]) -> String {
        let steps = Steps { start_ns: 0, step_ns: 10 * S, count: 60 };
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(step, level, value)| {
                let labels = [("detected_level".to_owned(), (*level).to_owned())];
                Sample {
                    ts_ns: steps.begin_ns(0) + (step + 1) * 10 * S,
                    labels: Arc::new(labels.into()),
                    value: *value,
                }
            })
            .collect();
        let mut out = Vec::new();
        let histogram = Histogram::new(steps, &samples);
        write_histogram(&mut out, &histogram, columns, &Look { colour, ..Look::plain() }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_over_their_times() {
        let text =
            drawn(60, false, &[(0, "info", 40.0), (1, "error", 8.0), (1, "info", 12.0), (59, "warn", 1.0)]);
        let want = [
            "61 entries  ! error 8  + warn 1  info 52  most 40 in 10s",
            "█",
            "█",
            "█▄",
            "██",
            "█!                                                         +",
            "1970-01-01 00:00:00                      1970-01-01 00:10:00",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), want, "{text}");
    }

    #[test]
    fn colours_tell_levels_and_end_with_the_line() {
        let text = drawn(80, true, &[(0, "error", 5.0), (3, "info", 5.0)]);
        assert!(text.contains("\u{1b}[31merror 5\u{1b}[0m"), "{text}");
        for line in text.lines().skip(1) {
            assert!(line.ends_with(RESET) && line.matches("\u{1b}[3").count() <= 2, "{line:?}");
        }
        assert!(
            text.contains("\u{1b}[31m█") && text.contains("\u{1b}[32m█") && !text.contains('!'),
            "{text}"
        );
    }

    #[test]
    fn wide_ones_have_a_time_in_their_middle_and_narrow_ones_one_alone() {
        let axis = |columns| drawn(columns, false, &[]).lines().last().unwrap().to_owned();
        assert!(axis(100).contains("00:05:00") && axis(100).chars().count() == 100);
        assert_eq!(axis(5), "1970-01-01 00:00:00");
    }
}
