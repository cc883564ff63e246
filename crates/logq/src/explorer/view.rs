//! The screen: state in, cells out. Every text of strangers goes through [`put`].

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::{Position, Rect};
use ratatui_core::style::{Color, Modifier, Style};

use super::layout::{COLUMNS_MIN, ROWS_MIN};
use super::state::{Focus, Overlay, State};
use super::text;
use super::{view_histogram, view_labels, view_list, view_overlay, view_query, view_status};
use crate::check::Yields;

/// What is plain, and everything around it.
pub(crate) const PLAIN: Style = Style::new();
/// What is less important.
pub(crate) const DIM: Style = Style::new().fg(Color::DarkGray);
/// What has the cursor.
pub(crate) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
/// What is wrong.
pub(crate) const WRONG: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Names of things.
pub(crate) const NAME: Style = Style::new().fg(Color::Cyan);
/// Titles.
pub(crate) const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything and returns where the cursor of the terminal stands, if it is seen.
pub(crate) fn draw(state: &State, cells: &mut Cells) -> Option<Position> {
    let (columns, rows) = state.size;
    let screen = cells.area.intersection(Rect::new(0, 0, columns, rows));
    if columns < COLUMNS_MIN || rows < ROWS_MIN {
        put(cells, screen, "the screen is too small", WRONG);
        return None;
    }
    let areas = state.areas();
    let mut cursor = view_query::draw(state, cells, areas.query);
    view_query::draw_info(state, cells, areas.info);
    view_status::draw(state, cells, areas.status);
    match state.overlays.last() {
        Some(Overlay::Help(top)) => view_overlay::draw_help(cells, areas.middle, *top),
        Some(Overlay::Expanded(expanded)) => {
            view_overlay::draw_expanded(state, cells, areas.middle, expanded)
        }
        Some(Overlay::Context(context)) => view_list::draw_context(state, cells, areas.middle, context),
        over => {
            if let Some(area) = areas.labels {
                view_labels::draw(state, cells, area);
            }
            if let Some(area) = areas.histogram {
                view_histogram::draw(state, cells, area);
            }
            match state.yields {
                Yields::Entries => view_list::draw(state, cells, areas.list),
                Yields::Samples => view_list::draw_series(state, cells, areas.list),
            }
            match over {
                Some(Overlay::Picker(picker)) => {
                    cursor = view_overlay::draw_picker(cells, areas.middle, picker);
                }
                Some(Overlay::Text { title, text }) => {
                    view_overlay::draw_text(cells, areas.middle, (title, text));
                }
                _ if state.focus == Focus::Query => view_query::draw_suggestions(state, cells, areas.middle),
                _ => {}
            }
        }
    }
    let types = matches!(state.overlays.last(), Some(Overlay::Picker(_)));
    cursor.filter(|_| types || (state.overlays.is_empty() && state.focus == Focus::Query))
}

/// Writes a text into the first row of an area, cut at its right, and returns the columns it took.
pub(crate) fn put(cells: &mut Cells, area: Rect, text: &str, style: Style) -> u16 {
    put_from(cells, area, text, 0, style)
}

/// As [`put`], without so many columns of the text's beginning.
pub(crate) fn put_from(cells: &mut Cells, area: Rect, text: &str, skip: usize, style: Style) -> u16 {
    if area.height == 0 {
        return 0;
    }
    let (mut x, mut skipped) = (area.x, 0);
    for (symbol, width) in text::cells(text) {
        if skipped < skip {
            skipped += width;
            continue;
        }
        let Ok(columns) = u16::try_from(width) else { break };
        if x + columns > area.right() {
            break;
        }
        // A tab is several blanks; any other symbol is one cell, and those it covers stay empty.
        let is_blank = symbol.starts_with(' ');
        for at in 0..columns {
            if let Some(cell) = cells.cell_mut((x + at, area.y)) {
                cell.set_style(style);
                match at {
                    0 if !is_blank => cell.set_symbol(&symbol),
                    _ => cell.set_symbol(" "),
                };
            }
        }
        x += columns;
    }
    x - area.x
}

/// Writes texts of several styles one behind the other and returns the columns they took.
pub(crate) fn put_all(cells: &mut Cells, area: Rect, parts: &[(&str, Style)]) -> u16 {
    let mut used = 0;
    for (text, style) in parts {
        used += put(cells, behind(area, used), text, *style);
    }
    used
}

/// Returns what is left of an area behind so many columns.
pub(crate) fn behind(area: Rect, columns: u16) -> Rect {
    let columns = columns.min(area.width);
    Rect { x: area.x + columns, width: area.width - columns, ..area }
}

/// Returns one row of an area, counted from its first; empty if there is none.
pub(crate) fn row(area: Rect, index: usize) -> Rect {
    match u16::try_from(index) {
        Ok(index) if index < area.height => Rect { y: area.y + index, height: 1, ..area },
        _ => Rect { height: 0, ..area },
    }
}

/// Clears an area.
pub(crate) fn clear(cells: &mut Cells, area: Rect) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = cells.cell_mut((x, y)) {
                cell.reset();
            }
        }
    }
}

/// Gives a row its style from end to end.
pub(crate) fn paint(cells: &mut Cells, area: Rect, style: Style) {
    cells.set_style(area, style);
}

/// Returns the colour of a level, by its place among the histogram's.
pub(crate) fn level_style(index: usize) -> Style {
    match index {
        0 => Style::new().fg(Color::Red),
        1 => Style::new().fg(Color::Yellow),
        2 => Style::new().fg(Color::Green),
        3 => Style::new().fg(Color::Blue),
        _ => Style::new().fg(Color::Gray),
    }
}
