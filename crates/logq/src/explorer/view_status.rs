//! The last row: what goes on, and how to get help.

use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::Rect;
use ratatui_core::style::Color;

use super::event::Slot;
use super::state::State;
use super::text;
use super::view::{DIM, PLAIN, WRONG, behind, put};
use crate::chart::histogram::count_text;
use crate::check::Yields;

const SPINNER: [&str; 4] = ["|", "/", "-", "\\"];

const HINT: &str = "? help  q quit";

/// Draws the row.
pub(crate) fn draw(state: &State, cells: &mut Cells, area: Rect) {
    let hint_columns = u16::try_from(HINT.len()).unwrap_or_default();
    let room = Rect { width: area.width.saturating_sub(hint_columns + 1), ..area };
    put(cells, behind(area, room.width + 1), HINT, DIM);
    let mut used = 0;
    let mut say = |text: &str, style| {
        let cut = text::cut(text, usize::from(behind(room, used).width));
        used += put(cells, behind(room, used), &cut, style);
    };
    if state.is_waiting() {
        say(SPINNER.get(state.ticks % SPINNER.len()).copied().unwrap_or_default(), WRONG);
        say(" ", PLAIN);
    }
    if let Some(text) = state.away.values().next() {
        return say(&format!("away: {text}; trying again"), WRONG);
    }
    if let Some(note) = &state.note {
        return say(note, PLAIN.fg(Color::Yellow));
    }
    if state.waiting.contains(&Slot::Ask) {
        say(&format!("asking {}; Esc ends it  ", state.begin.store), DIM);
    }
    if state.yields == Yields::Samples {
        return;
    }
    let list = &state.list;
    if state.follows {
        say(if list.is_at_end() { "live" } else { "live, below" }, PLAIN.fg(Color::Green));
        say("  ", PLAIN);
    }
    if list.unseen() > 0 {
        say(&format!("{} new below, End shows them  ", count_text(list.unseen())), PLAIN.fg(Color::Yellow));
    }
    let len = list.buffer().len();
    if len > 0 {
        let more = if state.is_complete { "" } else { "+" };
        say(&format!("{} of {len}{more}", list.at() + 1), DIM);
    } else if !state.waiting.contains(&Slot::Ask) && state.question > 0 && state.problem.is_none() {
        say("nothing found", DIM);
    }
    if list.buffer().dropped() > 0 {
        say(&format!(", {} older let go", count_text(list.buffer().dropped())), DIM);
    }
}
