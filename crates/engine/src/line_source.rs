//! Lines of a block one at a time: shredded ones are rebuilt only where they are looked at.

use crate::error::Error;
use crate::plan::Pipeline;
use crate::scan::Rows;
use logyard_codec::{Block, Lines, ReducedLines};
use std::borrow::Cow;

/// Reads single lines of one block.
#[derive(Debug)]
pub(crate) struct LineSource<'a> {
    block: &'a Block,
    /// All lines, if so many are wanted that rebuilding all at once costs less.
    all: Option<&'a Lines>,
    /// The lines with as much of them as the reader looks at.
    reduced: Option<ReducedLines<'a>>,
    line: Vec<u8>,
}

impl<'a> LineSource<'a> {
    /// Makes a source for about so many lines.
    pub(crate) fn new(block: &'a Block, count: usize) -> Result<Self, Error> {
        // A line by itself costs up to twice what it costs among all.
        let wants_all = !block.is_shredded() || count.saturating_mul(2) >= block.rows() as usize;
        let all = if wants_all { Some(block.lines()?) } else { None };
        Ok(Self { block, all, reduced: None, line: Vec::new() })
    }

    /// Makes a source for the lines of some rows, and none but those, for a pipeline behind its line filters: lines
    /// may lack what no stage looks at.
    pub(crate) fn for_stages(block: &'a Block, rows: &Rows, pipeline: &Pipeline) -> Result<Self, Error> {
        let reduction = pipeline.reduction().filter(|_| block.is_shredded());
        let reduced = match (reduction, rows) {
            (None, _) => None,
            (Some(reduction), Rows::All(rows)) => block.reduced(reduction, rows.clone())?,
            (Some(reduction), Rows::Some(rows)) => block.reduced(reduction, rows.iter().copied())?,
        };
        let Some(reduced) = reduced else { return Self::new(block, rows.len()) };
        if reduced.rows_left() == 0 {
            return Ok(Self { block, all: None, reduced: Some(reduced), line: Vec::new() });
        }
        let whole = Self::new(block, rows.len().min(reduced.rows_left()))?;
        Ok(Self { reduced: Some(reduced), ..whole })
    }

    /// Returns how many classes of lines there are.
    pub(crate) fn classes(&self) -> usize {
        self.reduced.as_ref().map_or(0, ReducedLines::classes)
    }

    /// Returns the class of a row, if its line has one: the stages do the same to all lines of a class, whatever number
    /// [`LineSource::number_of`] has.
    pub(crate) fn class_of(&self, row: u32) -> Option<u32> {
        self.reduced.as_ref()?.class_of(row)
    }

    /// Returns the number that the line of a row with a class holds for the label that is unwrapped; `None` if
    /// all lines of the class hold the same.
    pub(crate) fn number_of(&self, row: u32) -> Option<u64> {
        self.reduced.as_ref()?.number_of(row)
    }

    /// Returns a line. Panics: if there is no such row.
    pub(crate) fn line(&mut self, row: u32) -> Result<&[u8], Error> {
        if let Some(reduced) = &self.reduced {
            self.line.clear();
            if reduced.line_into(row, &mut self.line) {
                return Ok(&self.line);
            }
        }
        if let Some(lines) = self.all {
            return Ok(lines.line(row));
        }
        self.line.clear();
        self.block.line_into(row, &mut self.line)?;
        Ok(&self.line)
    }
}

/// Returns one line, borrowed where the block has it.
pub(crate) fn line_of(block: &Block, row: u32) -> Result<Cow<'_, [u8]>, Error> {
    if !block.is_shredded() {
        return Ok(Cow::Borrowed(block.lines()?.line(row)));
    }
    let mut line = Vec::new();
    block.line_into(row, &mut line)?;
    Ok(Cow::Owned(line))
}
