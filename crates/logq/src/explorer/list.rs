//! A list of entries with a cursor: what is drawn of it, and what stays under the eyes while entries come and go.

use super::buffer::Buffer;
use crate::entry::Entry;

/// Farthest shift to the right, in columns; what lies behind is read in the entry itself.
const SHIFT_MAX: usize = 10_000;

/// Entries and the place looked at.
#[derive(Debug)]
pub(crate) struct List {
    buffer: Buffer,
    /// The entry under the cursor.
    at: usize,
    /// The first entry drawn.
    top: usize,
    /// Columns by which lines are shifted to the left.
    shift: usize,
    /// Entries that came while the cursor stood elsewhere.
    unseen: u64,
}

impl List {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { buffer: Buffer::new(bytes_max), at: 0, top: 0, shift: 0, unseen: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        (self.at, self.top, self.unseen) = (0, 0, 0);
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn top(&self) -> usize {
        self.top
    }

    pub(crate) fn shift(&self) -> usize {
        self.shift
    }

    pub(crate) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// Returns whether the cursor stands on the newest entry, or there is none.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at + 1 >= self.buffer.len()
    }

    /// Adds entries. On the newest entry the cursor goes along with what comes; anywhere else it stays on its entry,
    /// and that in its row, as long as it is not dropped.
    pub(crate) fn add(&mut self, entries: Vec<Entry>, rows: usize) {
        let goes_along = self.is_at_end();
        for entry in entries {
            let moved = self.buffer.add(entry);
            if goes_along {
                self.at = self.buffer.len().saturating_sub(1);
                continue;
            }
            self.unseen += u64::from(moved.at > self.at);
            if moved.at <= self.at {
                self.at += 1;
            }
            if moved.at <= self.top {
                self.top += 1;
            }
            self.at = self.at.saturating_sub(moved.dropped);
            self.top = self.top.saturating_sub(moved.dropped);
        }
        self.show(rows);
    }

    /// Moves the cursor.
    pub(crate) fn step(&mut self, by: isize, rows: usize) {
        self.at = self.at.saturating_add_signed(by);
        self.show(rows);
    }

    pub(crate) fn go_to(&mut self, index: usize, rows: usize) {
        self.at = index;
        self.show(rows);
    }

    /// Brings the row of the cursor to the middle.
    pub(crate) fn center(&mut self, rows: usize) {
        self.top = self.at.saturating_sub(rows / 2);
        self.show(rows);
    }

    /// Shifts the lines.
    pub(crate) fn shift_by(&mut self, by: isize) {
        self.shift = self.shift.saturating_add_signed(by).min(SHIFT_MAX);
    }

    /// Keeps the cursor among the entries and its row among those drawn.
    pub(crate) fn show(&mut self, rows: usize) {
        let rows = rows.max(1);
        self.at = self.at.min(self.buffer.len().saturating_sub(1));
        let last_top = self.buffer.len().saturating_sub(rows);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(rows)).min(last_top);
        if self.is_at_end() {
            self.unseen = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(range: std::ops::Range<i64>) -> Vec<Entry> {
        range.map(|ts_ns| Entry::sample(ts_ns, &format!("line {ts_ns}"))).collect()
    }

    fn under(list: &List) -> String {
        list.buffer().get(list.at()).unwrap().line.to_string()
    }

    #[test]
    fn the_cursor_goes_along_only_from_the_newest() {
        let mut list = List::new(1 << 20);
        list.add(entries(0..50), 10);
        assert_eq!((under(&list).as_str(), list.top()), ("line 49", 40));
        list.add(entries(50..60), 10);
        assert_eq!(under(&list), "line 59");
        list.step(-5, 10);
        list.add(entries(60..70), 10);
        assert_eq!((under(&list).as_str(), list.unseen(), list.top()), ("line 54", 10, 50));
        list.add(entries(3..4), 10);
        assert_eq!((under(&list).as_str(), list.top()), ("line 54", 51));
        list.step(isize::MAX, 10);
        assert_eq!((under(&list).as_str(), list.unseen()), ("line 69", 0));
    }

    #[test]
    fn what_is_looked_at_stays_while_the_oldest_go() {
        let mut list = List::new(20_000);
        list.add(entries(0..50), 10);
        list.step(-3, 10);
        list.add(entries(50..90), 10);
        assert!(list.buffer().dropped() > 0 || list.buffer().bytes() < 20_000);
        assert_eq!(under(&list), "line 46");
        list.add(entries(90..500), 10);
        assert_eq!(list.at(), 0, "it was dropped in the end");
        assert!(list.top() <= list.at());
    }

    #[test]
    fn the_cursor_stays_inside() {
        let mut list = List::new(1 << 20);
        list.step(-1, 10);
        list.step(7, 0);
        list.add(entries(0..3), 10);
        list.go_to(99, 10);
        assert_eq!((list.at(), list.top()), (2, 0));
        list.shift_by(-5);
        assert_eq!(list.shift(), 0);
    }
}
