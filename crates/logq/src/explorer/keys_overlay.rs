//! Keys in what lies over the rest: the help, an entry in full, its context, the choice of a span.

use crossterm::event::{KeyCode, KeyEvent};

use super::edit::Editor;
use super::event::{Effect, Slot};
use super::help::HELP;
use super::keys::SHIFT;
use super::keys_query::edit;
use super::refine;
use super::span::{PRESETS, Span};
use super::state::{Overlay, State};

impl State {
    pub(super) fn press_in_help(&mut self, code: KeyCode) {
        let rows = self.overlay_rows();
        let Some(Overlay::Help(top)) = self.overlays.last_mut() else { return };
        let last = HELP.len().saturating_sub(rows);
        match code {
            KeyCode::Down | KeyCode::Char('j') => *top = (*top + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => *top = top.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => *top = (*top + rows).min(last),
            KeyCode::PageUp => *top = top.saturating_sub(rows),
            _ => drop(self.overlays.pop()),
        }
    }

    pub(super) fn press_in_expanded(&mut self, code: KeyCode) {
        let rows = self.overlay_rows();
        let page = isize::try_from(rows).unwrap_or(isize::MAX);
        let Some(Overlay::Expanded(expanded)) = self.overlays.last_mut() else { return };
        match code {
            KeyCode::Down | KeyCode::Char('j') => expanded.step(1, rows),
            KeyCode::Up | KeyCode::Char('k') => expanded.step(-1, rows),
            KeyCode::PageDown | KeyCode::Char(' ') => expanded.step(page, rows),
            KeyCode::PageUp => expanded.step(-page, rows),
            KeyCode::Home | KeyCode::Char('g') => expanded.step(isize::MIN, rows),
            KeyCode::End | KeyCode::Char('G') => expanded.step(isize::MAX, rows),
            KeyCode::Char('+' | '=') => self.filter(true),
            KeyCode::Char('-') => self.filter(false),
            KeyCode::Char('y') => {
                let (what, text) = match expanded.field() {
                    Some(field) => (field.name.clone(), field.value.clone()),
                    None => ("the line".to_owned(), expanded.row.line.to_string()),
                };
                self.copy(&what, text);
            }
            KeyCode::Char('x') => {
                let row = expanded.row.clone();
                self.overlays.pop();
                if !matches!(self.overlays.last(), Some(Overlay::Context(_))) {
                    self.ask_context(row);
                }
            }
            KeyCode::Char('?') => self.overlays.push(Overlay::Help(0)),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q') => drop(self.overlays.pop()),
            _ => {}
        }
    }

    /// Filters by the chosen field of the entry in full, in or out, and asks.
    fn filter(&mut self, is_in: bool) {
        let Some(Overlay::Expanded(expanded)) = self.overlays.last() else { return };
        let Some(field) = expanded.field().cloned() else {
            self.note = Some("choose a field above the line to filter by it".to_owned());
            return;
        };
        match refine::filter(&self.asked, field.origin, (&field.name, &field.value), is_in) {
            Ok(query) => {
                self.overlays.clear();
                self.query = Editor::new(&query);
                self.ask();
            }
            Err(text) => self.note = Some(text),
        }
    }

    pub(super) fn press_in_context(&mut self, code: KeyCode) {
        let rows = self.overlay_rows();
        let page = isize::try_from(rows).unwrap_or(isize::MAX);
        let Some(Overlay::Context(context)) = self.overlays.last_mut() else { return };
        let list = &mut context.list;
        match code {
            KeyCode::Up | KeyCode::Char('k') => list.step(-1, rows),
            KeyCode::Down | KeyCode::Char('j') => list.step(1, rows),
            KeyCode::PageUp => list.step(-page, rows),
            KeyCode::PageDown | KeyCode::Char(' ') => list.step(page, rows),
            KeyCode::Home | KeyCode::Char('g') => list.go_to(0, rows),
            KeyCode::End | KeyCode::Char('G') => list.go_to(usize::MAX, rows),
            KeyCode::Left => list.shift_by(-SHIFT),
            KeyCode::Right => list.shift_by(SHIFT),
            KeyCode::Enter => {
                if let Some(row) = list.buffer().get(list.at()).cloned() {
                    self.expand(row);
                }
            }
            KeyCode::Char('?') => self.overlays.push(Overlay::Help(0)),
            KeyCode::Esc | KeyCode::Char('q' | 'x') => {
                self.overlays.pop();
                self.waiting.remove(&Slot::Context);
                self.away.remove(&Slot::Context);
                self.effect(Effect::Stop(Slot::Context));
            }
            _ => {}
        }
    }

    pub(super) fn press_in_picker(&mut self, key: KeyEvent) {
        let zone = self.begin.zone.clone();
        let now_ns = self.now_ns;
        let Some(Overlay::Picker(picker)) = self.overlays.last_mut() else { return };
        match key.code {
            KeyCode::Up => picker.at = picker.at.saturating_sub(1),
            KeyCode::Down => picker.at = (picker.at + 1).min(PRESETS.len() - 1),
            KeyCode::Esc => drop(self.overlays.pop()),
            KeyCode::Enter => {
                let typed = picker.editor.text().trim();
                let span = match (typed.is_empty(), PRESETS.get(picker.at)) {
                    (true, Some((_, ns))) => Ok(Span::Last(*ns)),
                    _ => Span::parse(typed, now_ns, &zone),
                };
                match span {
                    Ok(span) => {
                        self.overlays.pop();
                        self.look_at(span);
                    }
                    Err(text) => picker.problem = Some(text),
                }
            }
            _ => {
                edit(&mut picker.editor, key, 200);
                picker.problem = None;
            }
        }
    }
}
