//! Where the parts of the screen lie.

use ratatui_core::layout::Rect;

/// Rows of the histogram: four of bars, one of times.
const HISTOGRAM_ROWS: u16 = 5;

/// No screen below this shows anything but that it is too small.
pub(crate) const COLUMNS_MIN: u16 = 30;
/// As above.
pub(crate) const ROWS_MIN: u16 = 6;

/// Fewer rows than this leave no room for a histogram.
const HISTOGRAM_FROM_ROWS: u16 = 14;

/// Widest browser of labels.
const LABELS_COLUMNS_MAX: u16 = 36;

/// Which parts are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The browser of labels at the left.
    pub(crate) labels: bool,
    /// The histogram above the entries.
    pub(crate) histogram: bool,
}

/// Where the parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Areas {
    /// The query line.
    pub(crate) query: Rect,
    /// What is wrong with the query, or what is looked at.
    pub(crate) info: Rect,
    /// The browser of labels, without its rule at the right.
    pub(crate) labels: Option<Rect>,
    /// The histogram.
    pub(crate) histogram: Option<Rect>,
    /// The entries.
    pub(crate) list: Rect,
    /// The last row.
    pub(crate) status: Rect,
    /// Everything between the first two rows and the last: where an entry in full and the help are drawn.
    pub(crate) middle: Rect,
}

/// Lays out a screen of `columns` × `rows`.
pub(crate) fn areas((columns, rows): (u16, u16), parts: Parts) -> Areas {
    let query = Rect::new(0, 0, columns, rows.min(1));
    let info = Rect::new(0, 1.min(rows), columns, rows.saturating_sub(1).min(1));
    let status = Rect::new(0, rows.saturating_sub(1), columns, rows.min(1));
    let middle = Rect::new(0, 2.min(rows), columns, rows.saturating_sub(3));
    let labels_columns = (columns / 3).min(LABELS_COLUMNS_MAX);
    let labels = (parts.labels && columns >= COLUMNS_MIN)
        .then(|| Rect::new(0, middle.y, labels_columns.saturating_sub(1), middle.height));
    let left = labels.map_or(0, |_| labels_columns);
    let histogram_rows = if parts.histogram && rows >= HISTOGRAM_FROM_ROWS { HISTOGRAM_ROWS } else { 0 };
    let histogram = (histogram_rows > 0)
        .then(|| Rect::new(left, middle.y, columns - left, histogram_rows.min(middle.height)));
    let list = Rect::new(
        left,
        middle.y + histogram_rows,
        columns - left,
        middle.height.saturating_sub(histogram_rows),
    );
    Areas { query, info, labels, histogram, list, status, middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_leaves_the_screen() {
        for columns in (0..100).chain([1000]) {
            for rows in (0..60).chain([1000]) {
                for (labels, histogram) in [(false, false), (true, false), (false, true), (true, true)] {
                    let areas = areas((columns, rows), Parts { labels, histogram });
                    let screen = Rect::new(0, 0, columns, rows);
                    let all = [areas.query, areas.info, areas.list, areas.status, areas.middle];
                    for area in all.into_iter().chain(areas.labels).chain(areas.histogram) {
                        assert!(area.right() <= screen.right(), "{columns} {rows} {area:?}");
                        assert!(
                            area.bottom() <= screen.bottom() || area.height == 0,
                            "{columns} {rows} {area:?}"
                        );
                    }
                }
            }
        }
    }
}
