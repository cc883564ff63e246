//! The browser of labels.

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::Rect;

use super::labels::Line;
use super::state::{Focus, State};
use super::text;
use super::view::{CHOSEN, DIM, NAME, PLAIN, TITLE, behind, paint, put, row};
use crate::chart::histogram::count_text;

/// Draws the browser, and a rule at its right.
pub(crate) fn draw(state: &State, cells: &mut Cells, area: Rect) {
    let has_focus = state.focus == Focus::Labels;
    let browser = &state.browser;
    let title = match browser.narrow() {
        "" => "labels".to_owned(),
        narrow => format!("labels: {narrow}"),
    };
    put(cells, area, &text::cut(&title, usize::from(area.width)), if has_focus { TITLE } else { DIM });
    for index in 0..usize::from(area.height) {
        let rule = Rect { x: area.right(), width: 1, ..row(area, index) };
        put(cells, rule, "│", DIM);
    }
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let lines = browser.lines();
    for (index, line) in lines.iter().enumerate().skip(browser.top()).take(usize::from(body.height)) {
        let area = row(body, index - browser.top());
        draw_line(cells, area, line, browser.is_waiting());
        if has_focus && index == browser.at() {
            paint(cells, area, CHOSEN);
        }
    }
}

fn draw_line(cells: &mut Cells, area: Rect, line: &Line<'_>, is_waiting: bool) {
    let width = usize::from(area.width);
    match line {
        Line::Name { name, is_open } => {
            let mark = if *is_open { "▾ " } else { "▸ " };
            let used = put(cells, area, mark, DIM);
            let waits = if *is_open && is_waiting { " …" } else { "" };
            put(
                cells,
                behind(area, used),
                &text::cut(&format!("{name}{waits}"), width.saturating_sub(2)),
                NAME,
            );
        }
        Line::Value { value, count, is_chosen } => {
            let count = count.map(count_text).unwrap_or_default();
            let style = if *is_chosen { TITLE } else { PLAIN };
            put(cells, area, if *is_chosen { "  ✓ " } else { "    " }, style);
            let room = width.saturating_sub(5 + count.len());
            put(cells, behind(area, 4), &text::cut(value, room), style);
            let right = area.width.saturating_sub(u16::try_from(count.len()).unwrap_or_default());
            put(cells, behind(area, right), &count, DIM);
        }
    }
}
