//! The rows of a run that pass time range and line filters, and the labels they bring along.

use crate::dedupe::rows_between;
use crate::error::Error;
use crate::labels::Base;
use crate::plan::{Columns, Pipeline};
use crate::request::QueryStats;
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
}

/// Returns the rows of a run in the range that are no copies and pass the line filters.
///
/// A filter for one substring runs over the text of all rows at once; other filters test lines.
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
    let mut rows = Rows::All(span.clone());
    let mut filters: Vec<_> = pipeline.line_filters.iter().collect();
    // The substring first: it is cheapest and runs over all lines at once.
    if let Some(first) = filters.iter().position(|test| test.required_text().is_some())
        && let Some(finder) = filters.remove(first).required_text()
        && !span.is_empty()
    {
        let mut found = Vec::new();
        if finder.needle().contains(&b'\n') {
            // Lines are joined by newlines: a needle with one might span two lines.
            let lines = block.lines()?;
            found.extend(span.filter(|row| finder.find(lines.line(*row)).is_some()));
        } else {
            block.lines()?.rows_with(finder, span, &mut found);
        }
        rows = Rows::Some(found);
    }
    if !filters.is_empty() && rows.len() > 0 {
        let lines = block.lines()?;
        rows = rows.retain(|row| filters.iter().all(|test| test.passes(lines.line(row))));
    }
    if !copies.is_empty() {
        rows = rows.retain(|row| copies.binary_search(&row).is_err());
    }
    Ok(rows)
}

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
            None => Base::new(stream, level, &Arc::new(LabelSet::default())),
        }
    }
}

/// What was found out for each combination of level and metadata in a run.
pub(crate) type ByCodes<T> = HashMap<Codes, T>;
