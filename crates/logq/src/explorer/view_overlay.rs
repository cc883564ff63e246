//! What lies over the rest: the help, an entry in full, the choice of a span, a text to read.

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::{Position, Rect};

use super::expand::{Expanded, Item};
use super::help::HELP;
use super::span::PRESETS;
use super::state::{Picker, State};
use super::text;
use super::view::{CHOSEN, DIM, NAME, PLAIN, TITLE, WRONG, behind, clear, paint, put, row};
use crate::chart::clock_text;

/// Columns of keys in the help.
const KEY_COLUMNS: u16 = 24;

/// Draws the keys.
pub(crate) fn draw_help(cells: &mut Cells, area: Rect, top: usize) {
    clear(cells, area);
    put(cells, area, "keys: Up and Down scroll, any other key closes this", TITLE);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    for (index, (key, what)) in HELP.iter().skip(top).take(usize::from(body.height)).enumerate() {
        let line = row(body, index);
        match key.is_empty() {
            true => drop(put(cells, line, what, NAME)),
            false => {
                put(cells, behind(line, 2), key, TITLE);
                let room = behind(line, KEY_COLUMNS);
                put(cells, room, &text::cut(what, usize::from(room.width)), PLAIN);
            }
        }
    }
}

/// Draws an entry in full.
pub(crate) fn draw_expanded(state: &State, cells: &mut Cells, area: Rect, expanded: &Expanded) {
    let time = clock_text::exact(expanded.row.ts_ns, &state.begin.zone);
    let title = format!(
        "{time}  {} bytes  + filter in  - filter out  y copy  x context  Esc close",
        expanded.row.line.len()
    );
    put(cells, area, &text::cut(&title, usize::from(area.width)), TITLE);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let items = expanded.items().iter().enumerate().skip(expanded.top()).take(usize::from(body.height));
    for (index, item) in items {
        let line = row(body, index - expanded.top());
        match item {
            Item::Heading(heading) => drop(put(cells, line, heading, DIM)),
            Item::Field(field) => {
                let used = put(cells, behind(line, 2), &field.name, NAME) + 2;
                let used = used + put(cells, behind(line, used), " = ", DIM);
                let room = behind(line, used);
                put(cells, room, &text::cut(&field.value, usize::from(room.width)), PLAIN);
            }
            Item::Text(text) => drop(put(cells, behind(line, 2), text, PLAIN)),
        }
        if index == expanded.chosen() {
            match item {
                Item::Field(_) => paint(cells, line, CHOSEN),
                _ => drop(put(cells, line, "›", TITLE)),
            }
        }
    }
}

/// Draws the choice of a span and returns where its cursor stands.
pub(crate) fn draw_picker(cells: &mut Cells, area: Rect, picker: &Picker) -> Option<Position> {
    let height = u16::try_from(PRESETS.len()).unwrap_or_default() + 3;
    let frame = Rect { width: area.width.min(60), height: height.min(area.height), ..area };
    clear(cells, frame);
    paint(cells, row(frame, 0), CHOSEN);
    put(cells, frame, "span of time: type 2h, FROM or FROM to TO, or choose", CHOSEN);
    let line = row(frame, 1);
    let used = put(cells, line, "› ", TITLE);
    let typed = picker.editor.text();
    put(cells, behind(line, used), typed, PLAIN);
    let problem = picker.problem.as_deref().unwrap_or("such as 2026-11-20T08:30 to now-1h");
    let style = if picker.problem.is_some() { WRONG } else { DIM };
    put(cells, row(frame, 2), &text::cut(problem, usize::from(frame.width)), style);
    for (index, (name, _)) in PRESETS.iter().enumerate() {
        let line = row(frame, index + 3);
        let style = if index == picker.at && typed.is_empty() { CHOSEN } else { PLAIN };
        put(cells, behind(line, 2), &format!("last {name} "), style);
    }
    let column = text::width(typed.get(..picker.editor.cursor()).unwrap_or_default());
    let column = u16::try_from(column).unwrap_or(u16::MAX).saturating_add(line.x + used);
    Some(Position::new(column.min(frame.right().saturating_sub(1)), line.y))
}

/// Draws a text in a frame of its own, over as many rows as it takes.
pub(crate) fn draw_text(cells: &mut Cells, area: Rect, (title, text): (&str, &str)) {
    let width = area.width.saturating_sub(4);
    let lines = text::wrap(text, usize::from(width));
    let height = u16::try_from(lines.len() + 2).unwrap_or(area.height).min(area.height);
    let frame = Rect { height, ..area };
    clear(cells, frame);
    paint(cells, row(frame, 0), CHOSEN);
    put(cells, frame, &format!("{title}; any key closes this"), CHOSEN);
    for (index, line) in lines.iter().enumerate() {
        put(cells, behind(row(frame, index + 1), 2), line, PLAIN);
    }
}
