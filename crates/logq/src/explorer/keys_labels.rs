//! Keys in the browser of labels, and what is chosen there.

use crossterm::event::KeyCode;

use super::edit::Editor;
use super::event::{Effect, Slot};
use super::refine;
use super::state::{Focus, Overlay, State};

impl State {
    pub(super) fn press_in_labels(&mut self, code: KeyCode) {
        let rows = self.overlay_rows();
        let page = isize::try_from(rows).unwrap_or(isize::MAX);
        match code {
            KeyCode::Up => self.browser.step(-1, rows),
            KeyCode::Down => self.browser.step(1, rows),
            KeyCode::PageUp => self.browser.step(-page, rows),
            KeyCode::PageDown => self.browser.step(page, rows),
            KeyCode::Home => self.browser.step(isize::MIN, rows),
            KeyCode::End => self.browser.step(isize::MAX, rows),
            KeyCode::Enter => match self.browser.toggle() {
                Some(name) => self.ask_counts(name),
                None if self.browser.open().is_some() => self.ask(),
                None => {}
            },
            KeyCode::Char(' ') => self.choose(),
            KeyCode::Tab => {
                if self.query.text().trim() != self.asked {
                    self.ask();
                }
                self.next_focus();
            }
            KeyCode::Esc if self.browser.narrow().is_empty() => {
                self.parts.labels = false;
                self.focus = Focus::Results;
            }
            KeyCode::Esc => self.browser.widen_all(),
            KeyCode::Backspace => drop(self.browser.widen()),
            KeyCode::Char('?') => self.overlays.push(Overlay::Help(0)),
            KeyCode::Char(c) => self.browser.narrow_by(c),
            _ => {}
        }
        self.browser.show(rows);
    }

    fn ask_counts(&mut self, name: String) {
        // Among the streams that the other labels leave.
        let mut others = self.browser.chosen().clone();
        others.remove(&name);
        let selector = refine::selector(&others, &name);
        let range = self.range();
        self.waiting.insert(Slot::Counts);
        self.effect(Effect::AskCounts { name, selector, range });
    }

    /// Chooses the value under the cursor, or no longer, and builds the selector into the query.
    fn choose(&mut self) {
        if !self.browser.choose() {
            return;
        }
        let fallback = self.browser.open().unwrap_or("container").to_owned();
        let selector = refine::selector(self.browser.chosen(), &fallback);
        self.query = Editor::new(&refine::with_selector(self.query.text(), &selector));
    }
}
