//! The query line, what is said about it, and what it proposes.

use logyard_logql::ParseError;
use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::{Position, Rect};

use super::state::{Focus, State};
use super::text;
use super::view::{
    CHOSEN, DIM, NAME, PLAIN, TITLE, WRONG, behind, clear, level_style, paint, put, put_all, put_from, row,
};
use crate::chart::clock_text;
use crate::chart::histogram::{LEVELS, count_text};
use crate::check::Yields;

/// Most proposals that are seen at once.
const PROPOSALS_SHOWN: usize = 10;

/// What stands before the query.
const PROMPT: &str = "› ";

/// Draws the query line and returns where its cursor stands.
pub(crate) fn draw(state: &State, cells: &mut Cells, area: Rect) -> Option<Position> {
    let is_edited = state.focus == Focus::Query;
    let prompt = put(cells, area, PROMPT, if is_edited { TITLE } else { DIM });
    let line = behind(area, prompt);
    let skip = skipped(state, line);
    put_from(cells, line, state.query.text(), skip, if is_edited { TITLE } else { PLAIN });
    let column = column_of(state, state.query.cursor()).saturating_sub(skip);
    u16::try_from(column)
        .ok()
        .map(|column| Position::new((line.x + column).min(line.right().saturating_sub(1)), line.y))
}

/// Returns the columns of the query that lie left of the line, so that the cursor is seen.
fn skipped(state: &State, line: Rect) -> usize {
    let column = column_of(state, state.query.cursor());
    (column + 1).saturating_sub(usize::from(line.width))
}

fn column_of(state: &State, byte: usize) -> usize {
    text::width(state.query.text().get(..byte).unwrap_or_default())
}

/// Draws the row below: the fault of what is being written with a caret under it, what the store refused, or what is
/// looked at.
pub(crate) fn draw_info(state: &State, cells: &mut Cells, area: Rect) {
    let is_written = state.focus == Focus::Query && !state.query.text().trim().is_empty();
    if is_written && let Err(error) = logyard_logql::parse(state.query.text()) {
        return draw_fault(state, cells, area, &error);
    }
    if let Some(problem) = &state.problem {
        put(cells, area, &text::cut(problem, usize::from(area.width)), WRONG);
        return;
    }
    let span = state.span.text(&state.begin.zone);
    let mut used = put_all(cells, area, &[("  ", PLAIN), (&span, NAME)]);
    if state.yields == Yields::Samples {
        let series = format!("  {} series", state.series.len());
        put(cells, behind(area, used), &series, DIM);
        return;
    }
    if let Some(histogram) = &state.histogram {
        used +=
            put(cells, behind(area, used), &format!("  {} entries", count_text(histogram.total())), PLAIN);
        for (index, level) in LEVELS.iter().enumerate() {
            let sum = (0..histogram.steps.count).map(|step| histogram.counts(step)[index]).sum::<u64>();
            if sum > 0 {
                used += put(
                    cells,
                    behind(area, used),
                    &format!("  {level} {}", count_text(sum)),
                    level_style(index),
                );
            }
        }
    }
    if let (Focus::Histogram, Some(steps)) = (state.focus, state.steps()) {
        let at = clock_text::full(steps.begin_ns(state.step), &state.begin.zone);
        let count = state.histogram.as_ref().map_or(0, |histogram| histogram.counts(state.step).iter().sum());
        put(cells, behind(area, used), &format!("  at {at}: {}", count_text(count)), TITLE);
    }
}

/// Draws a caret under a fault, and what it is: behind the caret if there is room, else before it.
fn draw_fault(state: &State, cells: &mut Cells, area: Rect, error: &ParseError) {
    let prompt = u16::try_from(text::width(PROMPT)).unwrap_or_default();
    let line = behind(area, prompt);
    let at = error.span().map_or(state.query.text().len(), |span| span.start);
    let at = (0..=at).rev().find(|at| state.query.text().is_char_boundary(*at)).unwrap_or_default();
    let column = column_of(state, at).saturating_sub(skipped(state, line));
    let last = line.width.saturating_sub(1);
    let column = u16::try_from(column).unwrap_or(last).min(last);
    let said = match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    };
    let caret = put(cells, behind(line, column), "^", WRONG);
    let room = behind(line, column + caret + 1);
    if usize::from(room.width) >= text::width(&said).min(30) || column < 4 {
        put(cells, room, &text::cut(&said, usize::from(room.width)), WRONG);
    } else {
        put(cells, line, &text::cut(&said, usize::from(column) - 1), WRONG);
    }
}

/// Draws the list of proposals below the query line.
pub(crate) fn draw_suggestions(state: &State, cells: &mut Cells, area: Rect) {
    let proposals = &state.suggestions.proposals;
    if proposals.is_empty() {
        return;
    }
    let shown = proposals.len().min(PROPOSALS_SHOWN).min(usize::from(area.height));
    let first = state.suggestions.chosen.saturating_sub(shown.saturating_sub(1));
    let widest =
        proposals.iter().skip(first).take(shown).map(|text| text::width(text)).max().unwrap_or_default();
    let width = u16::try_from(widest + 2).unwrap_or(area.width).min(area.width);
    let column = column_of(state, state.query.cursor()).min(usize::from(area.width.saturating_sub(width)));
    let left = u16::try_from(column).unwrap_or_default();
    let height = u16::try_from(shown).unwrap_or(area.height);
    let list = Rect { x: area.x + left, width, height, ..area };
    clear(cells, list);
    for (index, proposal) in proposals.iter().enumerate().skip(first).take(shown) {
        let line = row(list, index - first);
        let style = if index == state.suggestions.chosen { CHOSEN } else { NAME };
        paint(cells, line, style);
        put(cells, behind(line, 1), &text::cut(proposal, usize::from(width).saturating_sub(2)), style);
    }
}
