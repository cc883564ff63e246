//! The rows of a run that pass time range and line filters, and the labels they bring along.

use crate::dedupe::rows_between;
use crate::error::Error;
use crate::implied::Implied;
use crate::labels::{Base, NO_LABELS};
use crate::line_source::LineSource;
use crate::plan::{Columns, Pipeline};
use crate::request::QueryStats;
use crate::stage_line_filter::LineTest;
use logyard_codec::{Block, LevelColumn, MetadataColumn, RunView};
use logyard_model::{LabelSet, TimeRange};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a block, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    All(Range<u32>),
    Some(Vec<u32>),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(rows) => rows.len(),
            Self::Some(rows) => rows.len(),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn DoubleEndedIterator<Item = u32> + '_> {
        match self {
            Self::All(rows) => Box::new(rows.clone()),
            Self::Some(rows) => Box::new(rows.iter().copied()),
        }
    }

    fn retain(self, mut keep: impl FnMut(u32) -> bool) -> Self {
        match self {
            Self::All(rows) => Self::Some(rows.filter(|row| keep(*row)).collect()),
            Self::Some(mut rows) => {
                rows.retain(|row| keep(*row));
                Self::Some(rows)
            }
        }
    }

    /// Keeps the rows whose line passes.
    fn retain_lines(self, block: &Block, keep: impl Fn(&[u8]) -> bool) -> Result<Self, Error> {
        let mut lines = LineSource::new(block, self.len())?;
        let mut kept = Vec::new();
        for row in self.iter() {
            if keep(lines.line(row)?) {
                kept.push(row);
            }
        }
        Ok(Self::Some(kept))
    }
}

/// Returns the rows of a run in the range that are no copies and pass the line filters and the label
/// filters in front of everything else, without those that a label filter behind a parser is sure to drop.
///
/// What costs least comes first: labels by their codes, then one text over all lines at once, then
/// tests of single lines. Lines are not decoded if labels leave no row.
pub(crate) fn rows_of(
    block: &Block,
    run: &RunView,
    range: TimeRange,
    copies: &[u32],
    pipeline: &Pipeline,
    stats: &mut QueryStats,
) -> Result<Rows, Error> {
    let inside = range.contains(run.min_ns) && range.contains(run.max_ns);
    let span = if inside {
        run.rows.clone()
    } else {
        let last_ns = range.end_ns.saturating_sub(1);
        rows_between(block.timestamps()?, &run.rows, range.start_ns, last_ns)
    };
    stats.entries += span.len() as u64;
    let share = span.len() as u64 * run.raw_bytes;
    stats.line_bytes += share / (run.rows.len() as u64).max(1);
    let rows = rows_that_pass(block, run, Rows::All(span), pipeline)?;
    Ok(match copies {
        [] => rows,
        copies => rows.retain(|row| copies.binary_search(&row).is_err()),
    })
}

/// Returns those of some rows of a run that [`rows_of`] would return. Cost: looks at these rows alone.
pub(crate) fn rows_among(
    block: &Block,
    run: &RunView,
    range: TimeRange,
    rows: Rows,
    pipeline: &Pipeline,
) -> Result<Rows, Error> {
    let inside = range.contains(run.min_ns) && range.contains(run.max_ns);
    if inside {
        return rows_that_pass(block, run, rows, pipeline);
    }
    let last_ns = range.end_ns.saturating_sub(1);
    let span = rows_between(block.timestamps()?, &run.rows, range.start_ns, last_ns);
    let rows = match rows {
        Rows::All(rows) => Rows::All(rows.start.max(span.start)..rows.end.min(span.end)),
        rows => rows.retain(|row| span.contains(&row)),
    };
    rows_that_pass(block, run, rows, pipeline)
}

/// Returns those of the rows that pass.
fn rows_that_pass(block: &Block, run: &RunView, rows: Rows, pipeline: &Pipeline) -> Result<Rows, Error> {
    let mut rows = rows_by_labels(block, run, rows, pipeline)?;
    if rows.len() > 0 && !pipeline.line_filters.is_empty() {
        rows = rows_by_line(block, rows, pipeline)?;
    }
    for implied in &pipeline.implied {
        if rows.len() > 0 && implied.holds_for(&run.stream.labels, block)? {
            rows = rows_that_may_pass(block, rows, implied)?;
        }
    }
    Ok(rows)
}

/// Returns those of the rows whose labels pass the head of the pipeline.
fn rows_by_labels(block: &Block, run: &RunView, rows: Rows, pipeline: &Pipeline) -> Result<Rows, Error> {
    let Some(first) = rows.iter().next().filter(|_| pipeline.has_head()) else { return Ok(rows) };
    let columns = LabelColumns::new(block, pipeline.head_columns(&run.stream.labels))?;
    let stream = Arc::clone(&run.stream.labels);
    let mut known: ByCodes<bool> = ByCodes::new();
    let mut passes = |row: u32| {
        let test = || pipeline.head_passes(&columns.base(&stream, row));
        *known.entry(columns.codes(row)).or_insert_with(test)
    };
    if columns.are_constant() {
        return Ok(if passes(first) { rows } else { Rows::Some(Vec::new()) });
    }
    Ok(rows.retain(passes))
}

/// Returns those of the rows whose line passes all line filters.
fn rows_by_line(block: &Block, mut rows: Rows, pipeline: &Pipeline) -> Result<Rows, Error> {
    let mut filters: Vec<&LineTest> = pipeline.line_filters.iter().collect();
    if let Rows::All(span) = &rows {
        let span = span.clone();
        let mut found = Vec::new();
        match pipeline.scout() {
            Some((_, search)) if !search.decides() => {
                // The filter is tested with the others, on lines that are rebuilt once.
                search.candidates(block, span, &mut found)?;
                rows = Rows::Some(found);
            }
            scout => {
                let negated = || filters.iter().position(|test| test.searches_blocks());
                if let Some(first) = scout.map(|(index, _)| index).or_else(negated) {
                    filters.remove(first).rows(block, span, &mut found)?;
                    rows = Rows::Some(found);
                }
            }
        }
    }
    let mut rest = Vec::new();
    for test in filters {
        let Some(span) = searchable_span(&rows).filter(|_| test.is_answered_by_search()) else {
            rest.push(test);
            continue;
        };
        let mut found = Vec::new();
        test.rows(block, span, &mut found)?;
        rows = rows.retain(|row| found.binary_search(&row).is_ok());
    }
    if rest.is_empty() || rows.len() == 0 {
        return Ok(rows);
    }
    rows.retain_lines(block, |line| rest.iter().all(|test| test.passes(line)))
}

/// Returns the span of the rows if a search of all of it takes less than a look at each of the rows.
fn searchable_span(rows: &Rows) -> Option<Range<u32>> {
    match rows {
        Rows::All(span) => Some(span.clone()),
        Rows::Some(rows) => {
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return None };
            let span = *first..last + 1;
            (rows.len() * FEW_ROWS >= span.len()).then_some(span)
        }
    }
}

/// Returns those of the rows whose line holds what a later label filter asks for.
fn rows_that_may_pass(block: &Block, rows: Rows, implied: &Implied) -> Result<Rows, Error> {
    let Some(span) = searchable_span(&rows) else {
        return rows.retain_lines(block, |line| implied.may_pass(line));
    };
    let mut found = Vec::new();
    implied.rows(block, span, &mut found)?;
    Ok(match rows {
        Rows::All(_) => Rows::Some(found),
        rows => rows.retain(|row| found.binary_search(&row).is_ok()),
    })
}

/// Of fewer rows than one in so many, each line is looked at; else all of their span are searched.
const FEW_ROWS: usize = 8;

/// The columns of a block that decide labels; those not needed read as "none".
#[derive(Debug)]
pub(crate) struct LabelColumns<'a> {
    levels: Option<&'a LevelColumn>,
    metadata: Option<&'a MetadataColumn>,
}

/// Level and metadata of an entry, by their codes in the block.
pub(crate) type Codes = (u32, u32);

impl<'a> LabelColumns<'a> {
    pub(crate) fn new(block: &'a Block, needed: Columns) -> Result<Self, Error> {
        let levels = if needed.levels { Some(block.levels()?) } else { None };
        let metadata = if needed.metadata { Some(block.metadata()?) } else { None };
        Ok(Self {
            levels: levels.filter(|column| !column.is_all_none()),
            metadata: metadata.filter(|column| !column.is_all_none()),
        })
    }

    /// Returns whether all rows bring along the same labels.
    pub(crate) fn are_constant(&self) -> bool {
        self.levels.is_none_or(|column| column.constant().is_some())
            && self.metadata.is_none_or(|column| column.constant().is_some())
    }

    pub(crate) fn codes(&self, row: u32) -> Codes {
        let index = row as usize;
        let level = self.levels.map_or(0, |column| column.code(index));
        (level, self.metadata.map_or(0, |column| column.code(index)))
    }

    /// Returns the labels of an entry of a stream.
    pub(crate) fn base(&self, stream: &Arc<LabelSet>, row: u32) -> Base {
        let index = row as usize;
        let level = self.levels.map_or("", |column| column.value(index));
        match self.metadata {
            Some(column) => Base::new(stream, level, column.shared_value(index)),
            None => Base::new(stream, level, &NO_LABELS),
        }
    }
}

/// The labels that the entries of a run bring along, made once per level and metadata.
#[derive(Debug)]
pub(crate) struct Bases<'a> {
    columns: &'a LabelColumns<'a>,
    stream: &'a Arc<LabelSet>,
    made: Vec<Base>,
    /// Where in `made` those of some codes are.
    by_codes: ByCodes<usize>,
    last: Option<(Codes, usize)>,
}

impl<'a> Bases<'a> {
    pub(crate) fn new(columns: &'a LabelColumns<'a>, stream: &'a Arc<LabelSet>) -> Self {
        Self { columns, stream, made: Vec::new(), by_codes: ByCodes::new(), last: None }
    }

    /// Returns the labels of a row.
    pub(crate) fn of(&mut self, row: u32) -> &Base {
        let codes = self.columns.codes(row);
        let index = match self.last {
            Some((last, index)) if last == codes => index,
            _ => *self.by_codes.entry(codes).or_insert(self.made.len()),
        };
        self.last = Some((codes, index));
        if index == self.made.len() {
            self.made.push(self.columns.base(self.stream, row));
        }
        &self.made[index]
    }
}

/// What was found out for each combination of level and metadata in a run.
pub(crate) type ByCodes<T> = HashMap<Codes, T>;
