//! The histogram: bars by level, the worst at the bottom, and the times of its ends.

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::Rect;
use ratatui_core::style::Modifier;

use super::state::{Focus, State};
use super::text;
use super::view::{CHOSEN, DIM, NAME, behind, level_style, paint, put, row};
use crate::chart::clock_text;
use crate::chart::histogram::{Counts, bar, count_text};

/// Draws the histogram; the last row has the times.
pub(crate) fn draw(state: &State, cells: &mut Cells, area: Rect) {
    let bars = Rect { height: area.height.saturating_sub(1), ..area };
    let axis = row(area, usize::from(bars.height));
    let zone = &state.begin.zone;
    let Some(histogram) = &state.histogram else {
        put(cells, axis, "counting …", DIM);
        return;
    };
    let steps = histogram.steps;
    let columns = histogram.columns(usize::from(bars.width));
    let highest = columns.iter().map(|counts| counts.iter().sum::<u64>()).max().unwrap_or_default();
    for (x, counts) in (bars.x..).zip(&columns) {
        draw_bar(cells, Rect { x, width: 1, ..bars }, counts, highest);
    }
    let left = clock_text::full(steps.start_ns, zone);
    let right = clock_text::full(steps.end_ns(), zone);
    let most = format!("most {}", count_text(highest));
    put(cells, axis, &left, DIM);
    let right_columns = u16::try_from(text::width(&right)).unwrap_or_default();
    if area.width >= right_columns * 2 + 16 {
        put(cells, behind(axis, (area.width - 8) / 2), &most, DIM);
        put(cells, behind(axis, area.width - right_columns), &right, DIM);
    }
    if state.focus != Focus::Histogram {
        return;
    }
    let (low, high) = match state.mark {
        Some(mark) => (mark.min(state.step), mark.max(state.step)),
        None => (state.step, state.step),
    };
    for step in low..=high {
        let (first, behind_last) = histogram.columns_of(step, usize::from(bars.width));
        for column in first..behind_last {
            let Ok(column) = u16::try_from(column) else { continue };
            let style = if step == state.step { CHOSEN } else { NAME.add_modifier(Modifier::UNDERLINED) };
            paint(cells, Rect { x: bars.x + column, width: 1, ..bars }, style);
        }
    }
}

/// Draws one column.
fn draw_bar(cells: &mut Cells, area: Rect, counts: &Counts, highest: u64) {
    for (index, (symbol, level)) in bar(counts, highest, usize::from(area.height)).into_iter().enumerate() {
        let y = usize::from(area.height).saturating_sub(1 + index);
        put(cells, row(area, y), symbol.encode_utf8(&mut [0; 4]), level_style(level));
    }
}
