//! The entries of one stream, in columns.

use crate::block::Block;
use crate::column::{Column, LevelColumn, MetadataColumn};
use crate::error::Error;
use crate::lines::Lines;
use logyard_model::LabelSet;
use std::collections::HashSet;
use std::ops::Range;

/// The entries of one stream in columns, in order of arrival until [`Entries::sort_and_dedupe`].
///
/// Growing is amortised; a push allocates only for metadata not seen before. Per entry 13 bytes beside
/// its line, and 4 for each of level and metadata if they vary.
#[derive(Clone, Debug)]
pub struct Entries {
    ts_ns: Vec<i64>,
    lines: Lines,
    levels: LevelColumn,
    metadata: MetadataColumn,
    metadata_bytes: u64,
    min_ns: i64,
    max_ns: i64,
    is_sorted: bool,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            ts_ns: Vec::new(),
            lines: Lines::default(),
            levels: Column::default(),
            metadata: Column::default(),
            metadata_bytes: 0,
            min_ns: i64::MAX,
            max_ns: i64::MIN,
            is_sorted: true,
        }
    }
}

impl Entries {
    /// Returns no entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for entries to come; more may come all the same.
    pub fn reserve(&mut self, rows: usize, line_bytes: usize) {
        self.ts_ns.reserve(rows);
        self.lines.reserve(rows, line_bytes);
    }

    /// Removes all entries, and leaves room for as many again.
    pub fn clear(&mut self) {
        let (rows, line_bytes) = (self.len(), self.lines.text().len());
        // Freed before as much is asked for: an allocator gives the same pages again.
        *self = Self::default();
        self.reserve(rows, line_bytes);
    }

    /// Adds an entry at the end.
    ///
    /// `level` is empty for none; `metadata` does not hold `detected_level`. Panics: if all lines together
    /// pass 4 GiB, which the limits on batches and heads keep far away.
    pub fn push(&mut self, ts_ns: i64, line: &[u8], level: &str, metadata: &LabelSet) {
        self.push_ts(ts_ns);
        self.lines.push(line);
        self.levels.push(level);
        self.metadata.push(metadata);
        self.metadata_bytes += metadata.text_bytes() as u64;
    }

    /// Adds a copy of one entry of `other`. Panics: if there is no such row, or as [`Entries::push`].
    pub fn push_from(&mut self, other: &Self, row: usize) {
        self.push_ts(other.ts_ns[row]);
        self.lines.push(other.line(row));
        self.levels.push_shared(other.levels.shared_value(row));
        self.metadata.push_shared(other.metadata.shared_value(row));
        self.metadata_bytes += other.metadata(row).text_bytes() as u64;
    }

    /// Adds all entries of `other`, in their order. Panics: as [`Entries::push`].
    pub fn append(&mut self, other: &Self) {
        let rows = 0..other.len();
        if let Some(&first) = other.ts_ns.first() {
            self.is_sorted &= other.is_sorted && self.ts_ns.last().is_none_or(|&last| last <= first);
        }
        self.ts_ns.extend_from_slice(&other.ts_ns);
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.lines.extend(&other.lines, rows.clone());
        self.levels.extend(&other.levels, rows.clone());
        self.metadata.extend(&other.metadata, rows);
        self.metadata_bytes += other.metadata_bytes;
    }

    /// Adds rows of a block, in their order. Cost: no look-up per row, nothing allocated per row.
    ///
    /// Errors: those of the block's sections; nothing is added then. Panics: if there are no such rows, or
    /// as [`Entries::push`].
    pub fn append_block_rows(&mut self, block: &Block, rows: Range<u32>) -> Result<(), Error> {
        let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
        let (levels, metadata) = (block.levels()?, block.metadata()?);
        let rows = rows.start as usize..rows.end as usize;
        ts_ns[rows.clone()].iter().for_each(|&ts_ns| self.push_ts(ts_ns));
        self.lines.extend(lines, rows.clone());
        self.levels.extend(levels, rows.clone());
        if !metadata.is_all_none() {
            let bytes = rows.clone().map(|row| metadata.value(row).text_bytes() as u64);
            self.metadata_bytes += bytes.sum::<u64>();
        }
        self.metadata.extend(metadata, rows);
        Ok(())
    }

    /// Sorts by time, entries of equal time in order of arrival, and keeps the first of equal entries.
    ///
    /// Equal are entries with the same time, line, level and metadata. Returns how many were removed.
    /// Cost: nothing is moved if all is in order and unique.
    pub fn sort_and_dedupe(&mut self) -> usize {
        let has_ties = || self.ts_ns.windows(2).any(|pair| pair[0] == pair[1]);
        if self.is_sorted && !has_ties() {
            return 0;
        }
        let mut order: Vec<u32> =
            (0..u32::try_from(self.len()).expect("rows are fewer than bytes of text")).collect();
        if !self.is_sorted {
            order.sort_by_key(|&row| self.ts_ns[row as usize]);
        }
        let kept = self.without_duplicates(&order);
        let removed = order.len() - kept.len();
        if removed == 0 && self.is_sorted {
            return 0;
        }
        self.ts_ns = kept.iter().map(|&row| self.ts_ns[row as usize]).collect();
        self.lines.gather(&kept);
        self.levels.gather(&kept);
        self.metadata.gather(&kept);
        self.metadata_bytes = self.count_metadata_bytes();
        self.is_sorted = true;
        removed
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.ts_ns.is_empty()
    }

    /// Returns the bytes of all lines, and of the names and values of all metadata.
    pub fn raw_bytes(&self) -> u64 {
        self.line_bytes() + self.metadata_bytes
    }

    /// Returns the bytes of all lines.
    pub fn line_bytes(&self) -> u64 {
        self.lines.line_bytes_total()
    }

    /// Returns the memory taken by the columns, dictionary values left out.
    pub fn heap_bytes(&self) -> usize {
        self.ts_ns.capacity() * 8
            + self.lines.heap_bytes()
            + self.levels.heap_bytes()
            + self.metadata.heap_bytes()
    }

    /// Returns the earliest timestamp; `i64::MAX` without entries.
    pub fn min_ns(&self) -> i64 {
        self.min_ns
    }

    /// Returns the latest timestamp; `i64::MIN` without entries.
    pub fn max_ns(&self) -> i64 {
        self.max_ns
    }

    /// Returns whether timestamps never decrease.
    pub fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// Returns all timestamps.
    pub fn ts_ns(&self) -> &[i64] {
        &self.ts_ns
    }

    /// Returns all lines.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Returns all levels.
    pub fn levels(&self) -> &LevelColumn {
        &self.levels
    }

    /// Returns all metadata.
    pub fn metadata_column(&self) -> &MetadataColumn {
        &self.metadata
    }

    /// Returns the line of an entry. Panics: if there is no such row.
    pub fn line(&self, row: usize) -> &[u8] {
        self.lines.line(u32::try_from(row).expect("rows are fewer than bytes of text"))
    }

    /// Returns the level of an entry, empty for none.
    pub fn level(&self, row: usize) -> &str {
        self.levels.value(row)
    }

    /// Returns the metadata of an entry.
    pub fn metadata(&self, row: usize) -> &LabelSet {
        self.metadata.value(row)
    }

    /// Joins columns of equal length.
    pub(crate) fn from_columns(
        ts_ns: Vec<i64>,
        lines: Lines,
        levels: LevelColumn,
        metadata: MetadataColumn,
    ) -> Self {
        assert!(lines.rows() == ts_ns.len(), "as many lines as timestamps");
        assert!(levels.rows() == ts_ns.len(), "as many levels as timestamps");
        assert!(metadata.rows() == ts_ns.len(), "as many metadata as timestamps");
        let mut entries = Self {
            min_ns: ts_ns.iter().copied().min().unwrap_or(i64::MAX),
            max_ns: ts_ns.iter().copied().max().unwrap_or(i64::MIN),
            is_sorted: ts_ns.is_sorted(),
            ts_ns,
            lines,
            levels,
            metadata,
            metadata_bytes: 0,
        };
        entries.metadata_bytes = entries.count_metadata_bytes();
        entries
    }

    /// Gives the columns away: timestamps, lines, levels, metadata.
    pub(crate) fn into_columns(self) -> (Vec<i64>, Lines, LevelColumn, MetadataColumn) {
        (self.ts_ns, self.lines, self.levels, self.metadata)
    }

    /// Returns the bytes of the lines of some rows.
    pub(crate) fn line_bytes_of(&self, rows: &Range<usize>) -> u64 {
        let ends = self.lines.ends();
        if rows.is_empty() {
            return 0;
        }
        let start = rows.start.checked_sub(1).map_or(0, |row| u64::from(ends[row]) + 1);
        u64::from(ends[rows.end - 1]) + 1 - start - rows.len() as u64
    }

    fn push_ts(&mut self, ts_ns: i64) {
        self.is_sorted &= self.ts_ns.last().is_none_or(|&last| last <= ts_ns);
        self.min_ns = self.min_ns.min(ts_ns);
        self.max_ns = self.max_ns.max(ts_ns);
        self.ts_ns.push(ts_ns);
    }

    fn count_metadata_bytes(&self) -> u64 {
        if self.metadata.is_all_none() {
            return 0;
        }
        let bytes: Vec<u64> = self.metadata.dictionary().iter().map(|set| set.text_bytes() as u64).collect();
        (0..self.len()).map(|row| bytes[self.metadata.code(row) as usize]).sum()
    }

    /// Returns `order`, which is by time, without later copies of equal entries.
    fn without_duplicates(&self, order: &[u32]) -> Vec<u32> {
        let mut kept = Vec::with_capacity(order.len());
        let mut seen = HashSet::new();
        for group in order.chunk_by(|&a, &b| self.ts_ns[a as usize] == self.ts_ns[b as usize]) {
            if let [row] = group {
                kept.push(*row);
                continue;
            }
            seen.clear();
            for &row in group {
                let index = row as usize;
                let content = (self.lines.line(row), self.levels.code(index), self.metadata.code(index));
                if seen.insert(content) {
                    kept.push(row);
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: &str) -> LabelSet {
        LabelSet::from_pairs([("id", value)])
    }

    fn lines(entries: &Entries) -> Vec<&str> {
        (0..entries.len()).map(|row| std::str::from_utf8(entries.line(row)).unwrap()).collect()
    }

    #[test]
    fn sorting_keeps_arrival_order_of_ties_and_first_of_equals() {
        let none = LabelSet::default();
        let mut entries = Entries::new();
        entries.push(5, b"c", "", &none);
        entries.push(1, b"b", "info", &none);
        entries.push(1, b"a", "", &metadata("1"));
        entries.push(1, b"b", "info", &none);
        entries.push(1, b"b", "warn", &none);
        entries.push(1, b"a", "", &metadata("2"));
        assert!(!entries.is_sorted());
        assert_eq!(entries.raw_bytes(), 6 + 6);
        assert_eq!(entries.sort_and_dedupe(), 1);
        assert_eq!(lines(&entries), ["b", "a", "b", "a", "c"]);
        assert_eq!(entries.ts_ns(), [1, 1, 1, 1, 5]);
        assert_eq!(entries.level(2), "warn");
        assert_eq!(entries.metadata(3).get("id"), Some("2"));
        assert_eq!((entries.min_ns(), entries.max_ns(), entries.raw_bytes()), (1, 5, 5 + 6));
        assert_eq!(entries.sort_and_dedupe(), 0);
    }

    #[test]
    fn appended_and_copied_entries_equal_pushed_ones() {
        let mut other = Entries::new();
        for row in 0..40i64 {
            let set = if row % 3 == 0 { LabelSet::default() } else { metadata(&(row % 13).to_string()) };
            let level = if row % 2 == 0 { "info" } else { "" };
            other.push(row, format!("line {row}\n").as_bytes(), level, &set);
        }
        let mut appended = Entries::new();
        appended.push(-1, b"x", "error", &metadata("5"));
        let mut copied = appended.clone();
        appended.append(&other);
        (0..other.len()).for_each(|row| copied.push_from(&other, row));
        for entries in [&appended, &copied] {
            assert!(entries.is_sorted());
            assert_eq!(entries.len(), 41);
            assert_eq!(entries.raw_bytes(), 1 + 3 + other.raw_bytes());
            for row in 0..other.len() {
                assert_eq!(entries.line(row + 1), other.line(row));
                assert_eq!(entries.level(row + 1), other.level(row));
                assert_eq!(entries.metadata(row + 1), other.metadata(row));
            }
        }
        assert_eq!(other.line_bytes_of(&(0..other.len())), other.line_bytes());
        assert_eq!(other.line_bytes_of(&(9..11)), 15);
    }
}
