//! Entries and series, one row each.

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::Rect;
use ratatui_core::style::Modifier;

use super::buffer::Row;
use super::list::List;
use super::state::{Context, Focus, State};
use super::text;
use super::view::{CHOSEN, DIM, NAME, PLAIN, TITLE, behind, level_style, paint, put, put_from, row};
use crate::chart::clock_text;
use crate::chart::histogram::level_index;
use crate::chart::units::count_text;

/// Labels of which the first that an entry has is shown before its line.
const SHOWN_LABELS: [&str; 8] =
    ["container", "service_name", "compose_service", "app", "job", "unit", "filename", "host"];

/// Columns of such a label.
const LABEL_COLUMNS: usize = 14;

/// Longer spans than this need the day with each time: 20 hours.
const DAYS_FROM_NS: i64 = 72_000_000_000_000;

/// Draws the entries of the query.
pub(crate) fn draw(state: &State, cells: &mut Cells, area: Rect) {
    draw_list(state, cells, area, &state.list, None);
    let is_chosen = state.focus == Focus::Results && state.overlays.is_empty();
    if is_chosen && state.list.buffer().len() > 0 {
        paint(cells, row(area, state.list.at() - state.list.top()), CHOSEN);
    }
}

/// Draws the entries around one.
pub(crate) fn draw_context(state: &State, cells: &mut Cells, area: Rect, context: &Context) {
    let labels: Vec<String> =
        context.hit.stream.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let title = format!("around one entry of {}", labels.join(" "));
    put(cells, area, &text::cut(&title, usize::from(area.width)), TITLE);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    draw_list(state, cells, body, &context.list, Some(&context.hit));
    if context.list.buffer().len() > 0 {
        paint(cells, row(body, context.list.at() - context.list.top()), CHOSEN);
    }
}

fn draw_list(state: &State, cells: &mut Cells, area: Rect, list: &List, hit: Option<&Row>) {
    let rows = usize::from(area.height);
    let range = state.range();
    let is_dated = range.end_ns.saturating_sub(range.start_ns) > DAYS_FROM_NS;
    for index in 0..rows {
        let Some(entry) = list.buffer().get(list.top() + index) else { break };
        let is_hit = hit.is_some_and(|hit| hit.ts_ns == entry.ts_ns && hit.line == entry.line);
        let line = row(area, index);
        let time = match is_dated {
            true => clock_text::dated(entry.ts_ns, &state.begin.zone),
            false => clock_text::short(entry.ts_ns, &state.begin.zone),
        };
        let mut used = put(cells, line, if is_hit { "▶" } else { " " }, TITLE);
        used += put(cells, behind(line, used), &time, DIM);
        let level =
            level_index(entry.label("detected_level").or_else(|| entry.label("level")).unwrap_or_default());
        used += put(cells, behind(line, used), " ", PLAIN);
        used += put(cells, behind(line, used), "▌", level_style(level));
        if hit.is_none()
            && let Some(value) = SHOWN_LABELS.iter().find_map(|name| entry.label(name))
            && area.width >= 60
        {
            let cut = text::cut(value, LABEL_COLUMNS);
            put(cells, behind(line, used), &cut, NAME);
            used += u16::try_from(LABEL_COLUMNS + 1).unwrap_or_default();
        }
        let style = match level {
            0 | 1 => level_style(level),
            _ if is_hit => PLAIN.add_modifier(Modifier::BOLD),
            _ => PLAIN,
        };
        let room = behind(line, used);
        put_from(cells, room, entry.line.trim_end_matches(['\n', '\r']), list.shift(), style);
    }
}

/// Draws the series of a metric query.
pub(crate) fn draw_series(state: &State, cells: &mut Cells, area: Rect) {
    let bars = usize::from(area.width / 3).min(60);
    for (index, series) in
        state.series.iter().skip(state.series_top).take(usize::from(area.height)).enumerate()
    {
        let line = row(area, index);
        let number = series.last().map(count_text).unwrap_or_default();
        put(cells, line, &format!("{number:>12} "), TITLE);
        put(cells, behind(line, 13), &series.drawn(bars), NAME);
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let room = behind(line, 14 + u16::try_from(bars).unwrap_or_default());
        put(cells, room, &text::cut(&labels.join(" "), usize::from(room.width)), PLAIN);
    }
}
