//! `logq series`: the label sets of the streams that match.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use logyard_wire::loki_query::Labels;
use serde::Serialize;

use crate::args_shared::Format;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::{output_csv, output_json, output_text};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq series '{compose_project=\"shop\"}'   # which streams match
  logq series --analyze-labels --since 7d   # which labels make the streams many";

/// Label sets.
#[derive(Debug, Args)]
pub(crate) struct Series {
    /// Selectors such as '{container="web"}'; none means all streams
    #[arg(value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,

    /// Print instead, for each label, how many values it has and in how many streams it is
    #[arg(long)]
    analyze_labels: bool,
}

impl Series {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let range = session.range()?;
        let found = session.client()?.series(&self.selectors, range).await;
        let mut series = found.map_err(|error| match &self.selectors[..] {
            // Of several it is not told which is at fault.
            [selector] => refused(error, selector),
            _ => Stop::from(error),
        })?;
        series.sort();
        if self.analyze_labels {
            return analyze(&series, session);
        }
        for labels in &series {
            match session.format {
                Format::Jsonl => output_json::write_line(session.out, labels)?,
                Format::Default | Format::Raw | Format::Csv => {
                    let view = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                    let text = output_text::labels_text(&view);
                    match session.format {
                        Format::Csv => output_csv::write_row(session.out, &[&text])?,
                        _ => writeln!(session.out, "{text}")?,
                    }
                }
            }
        }
        Ok(!series.is_empty())
    }
}

/// How a label divides the streams.
#[derive(Debug, Serialize)]
struct LabelUse<'a> {
    label: &'a str,
    values: usize,
    streams: usize,
}

/// Prints the labels, those with the most values first.
fn analyze(series: &[Labels], session: &mut Session<'_>) -> Result<bool, Stop> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut streams: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, value) in series.iter().flatten() {
        values.entry(name).or_default().insert(value);
        *streams.entry(name).or_default() += 1;
    }
    let count = |label| streams.get(label).copied().unwrap_or_default();
    let mut uses: Vec<LabelUse<'_>> = values
        .iter()
        .map(|(&label, values)| LabelUse { label, values: values.len(), streams: count(label) })
        .collect();
    uses.sort_by_key(|label| (Reverse(label.values), label.label));
    session.remark(format_args!("streams: {}, labels: {}", series.len(), uses.len()))?;
    let width = uses.iter().map(|label| label.label.chars().count()).max().unwrap_or_default().max(5);
    if session.format == Format::Default && !uses.is_empty() {
        writeln!(session.out, "{:width$}  {:>8}  {:>8}", "label", "values", "streams")?;
    }
    for label in &uses {
        match session.format {
            Format::Jsonl => output_json::write_line(session.out, label)?,
            Format::Raw => writeln!(session.out, "{}", label.label)?,
            Format::Csv => {
                let (values, streams) = (label.values.to_string(), label.streams.to_string());
                output_csv::write_row(session.out, &[label.label, &values, &streams])?;
            }
            Format::Default => {
                let LabelUse { label, values, streams } = label;
                writeln!(session.out, "{label:width$}  {values:>8}  {streams:>8}")?;
            }
        }
    }
    Ok(!series.is_empty())
}
