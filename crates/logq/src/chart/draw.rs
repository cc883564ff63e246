//! Samples as a chart: a bar for each series at one point in time, a line of columns for each over a range.

use std::io::{self, Write};
use std::sync::Arc;

use logyard_wire::loki_query::Labels;

use super::columns::columns;
use super::unit::Unit;
use crate::output_text::{Look, labels_text};
use crate::people::table::{Row, Side, write_table};
use crate::series::Sample;

/// Width of the longest bar.
const BAR_CHARS: usize = 40;
/// Widest line of columns; more points are joined, the highest counts.
const COLUMNS_MAX: usize = 60;

/// Parts of a bar's last character, in eighths.
const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One series: its labels, and its values at the times of all.
struct Series {
    labels: Arc<Labels>,
    values: Vec<f64>,
}

/// Writes a chart, in the order of the answer.
pub(crate) fn write_chart(
    out: &mut dyn Write,
    samples: &[Sample],
    unit: Unit,
    look: &Look,
) -> io::Result<()> {
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.ts_ns).collect();
    times.dedup();
    let all = series(samples, &times);
    match times.len() {
        0 => Ok(()),
        1 => write_bars(out, &all, unit, look),
        _ => write_lines(out, &all, unit, look),
    }
}

fn series(samples: &[Sample], times: &[i64]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for sample in samples {
        let known = all
            .iter()
            .position(|series| Arc::ptr_eq(&series.labels, &sample.labels) || series.labels == sample.labels);
        let place = known.unwrap_or_else(|| {
            all.push(Series { labels: Arc::clone(&sample.labels), values: vec![f64::NAN; times.len()] });
            all.len() - 1
        });
        let at = times.binary_search(&sample.ts_ns).unwrap_or_default();
        if let Some(value) = all.get_mut(place).and_then(|series| series.values.get_mut(at)) {
            *value = sample.value;
        }
    }
    all
}

fn write_bars(out: &mut dyn Write, all: &[Series], unit: Unit, look: &Look) -> io::Result<()> {
    let value = |series: &Series| series.values.first().copied().unwrap_or(f64::NAN);
    let high = all.iter().map(value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let rows = all.iter().map(|series| {
        let share = if high > 0.0 { value(series).max(0.0) / high } else { 0.0 };
        Row { cells: vec![name(series), unit.text(value(series)), bar(share)], is_bad: false }
    });
    let head = [("SERIES", Side::Left), ("VALUE", Side::Right), ("", Side::Left)];
    write_table(out, &head, &rows.collect::<Vec<_>>(), look)
}

/// Draws a bar for a share of the longest; what is not zero is seen.
fn bar(share: f64) -> String {
    let eighths = if share.is_finite() { (share * (BAR_CHARS * 8) as f64).ceil() as usize } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), PARTS.get(eighths % 8).copied().unwrap_or_default())
}

fn write_lines(out: &mut dyn Write, all: &[Series], unit: Unit, look: &Look) -> io::Result<()> {
    let rows = all.iter().map(|series| {
        let finite = || series.values.iter().copied().filter(|value| value.is_finite());
        let last = finite().next_back().unwrap_or(f64::NAN);
        let cells = vec![
            name(series),
            unit.text(finite().fold(f64::INFINITY, f64::min)),
            unit.text(finite().fold(f64::NEG_INFINITY, f64::max)),
            unit.text(last),
            columns(&joined(&series.values)),
        ];
        Row { cells, is_bad: false }
    });
    let head = [
        ("SERIES", Side::Left),
        ("LOWEST", Side::Right),
        ("HIGHEST", Side::Right),
        ("LAST", Side::Right),
        ("", Side::Left),
    ];
    write_table(out, &head, &rows.collect::<Vec<_>>(), look)
}

/// Joins points until they fit; the highest of those joined counts, so that no peak is lost.
fn joined(values: &[f64]) -> Vec<f64> {
    let each = values.len().div_ceil(COLUMNS_MAX).max(1);
    values.chunks(each).map(|chunk| chunk.iter().copied().fold(f64::NAN, f64::max)).collect()
}

fn name(series: &Series) -> String {
    labels_text(&series.labels.iter().map(|(name, value)| (&**name, &**value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(samples: &[(i64, &str, f64)], unit: Unit) -> String {
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(ts_ns, name, value)| {
                let labels = Arc::new(Labels::from([("app".to_owned(), (*name).to_owned())]));
                Sample { ts_ns: *ts_ns, labels, value: *value }
            })
            .collect();
        let mut out = Vec::new();
        write_chart(&mut out, &samples, unit, &Look::plain()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_time_is_bars() {
        let text = chart(&[(5, "a", 2048.0), (5, "b", 1024.0), (5, "c", 0.0), (5, "d", 1.0)], Unit::Bytes);
        let full = "█".repeat(40);
        let half = "█".repeat(20);
        assert_eq!(
            text,
            format!(
                "SERIES     VALUE\n{{app=\"a\"}}  2 KiB  {full}\n{{app=\"b\"}}  1 KiB  {half}\n{{app=\"c\"}}    0 B\n\
                 {{app=\"d\"}}    1 B  ▏\n"
            )
        );
    }

    #[test]
    fn several_times_are_columns() {
        let samples = [(1, "a", 1.0), (1, "b", 8.0), (2, "a", 2.0), (3, "a", 4.0), (3, "b", 8.0)];
        assert_eq!(
            chart(&samples, Unit::Count),
            "SERIES     LOWEST  HIGHEST  LAST\n{app=\"a\"}       1        4     4  ▂▄█\n{app=\"b\"}       8        8     8  █ █\n"
        );
        assert_eq!(chart(&[], Unit::Count), "");
    }

    #[test]
    fn peaks_stay_when_points_are_joined() {
        let mut values = vec![1.0; 300];
        values[77] = 9.0;
        let joined = joined(&values);
        assert_eq!((joined.len(), joined.iter().copied().fold(0.0, f64::max)), (60, 9.0));
    }
}
