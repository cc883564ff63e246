//! Keys in the query line, and in any other line of text.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use logyard_logql::INPUT_BYTES_MAX;

use super::edit::Editor;
use super::state::{Focus, State};

impl State {
    pub(super) fn press_in_query(&mut self, key: KeyEvent) {
        let has = |modifier| key.modifiers.contains(modifier);
        let has_proposals = !self.suggestions.proposals.is_empty();
        match key.code {
            KeyCode::Enter => {
                self.focus = Focus::Results;
                return self.ask();
            }
            KeyCode::Esc => {
                if !has_proposals {
                    self.focus = Focus::Results;
                }
                return self.suggestions.proposals.clear();
            }
            KeyCode::Tab => {
                if !self.suggestions.accept(&mut self.query) {
                    return self.next_focus();
                }
            }
            KeyCode::Up => return self.suggestions.step(-1),
            KeyCode::Down => return self.suggestions.step(1),
            KeyCode::Char('p') if has(KeyModifiers::CONTROL) => return self.recall(1),
            KeyCode::Char('n') if has(KeyModifiers::CONTROL) => return self.recall(-1),
            _ => edit(&mut self.query, key, INPUT_BYTES_MAX),
        }
        self.suggest();
    }

    /// Puts an earlier query into the line.
    fn recall(&mut self, by: isize) {
        let recalled = self.recalled.saturating_add_signed(by).min(self.history.len());
        self.recalled = recalled;
        let earlier = self.history.len().checked_sub(recalled).and_then(|index| self.history.get(index));
        if let Some((query, _)) = earlier {
            self.query = Editor::new(query);
        }
    }
}

/// Does what a key means in a line of text.
pub(super) fn edit(editor: &mut Editor, key: KeyEvent, bytes_max: usize) {
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let has_alt = key.modifiers.contains(KeyModifiers::ALT);
    match key.code {
        KeyCode::Left if has_control || has_alt => editor.word_left(),
        KeyCode::Right if has_control || has_alt => editor.word_right(),
        KeyCode::Left => editor.left(),
        KeyCode::Right => editor.right(),
        KeyCode::Home => editor.home(),
        KeyCode::End => editor.end(),
        KeyCode::Backspace if has_alt || has_control => editor.remove_word(),
        KeyCode::Backspace => editor.backspace(),
        KeyCode::Delete => editor.delete(),
        KeyCode::Char('a') if has_control => editor.home(),
        KeyCode::Char('e') if has_control => editor.end(),
        KeyCode::Char('b') if has_alt => editor.word_left(),
        KeyCode::Char('f') if has_alt => editor.word_right(),
        KeyCode::Char('w' | 'h') if has_control => editor.remove_word(),
        KeyCode::Char('u') if has_control => editor.remove_before(),
        KeyCode::Char('k') if has_control => editor.remove_behind(),
        KeyCode::Char(_) if has_control || has_alt => {}
        KeyCode::Char(c) => editor.insert(&c.to_string(), bytes_max),
        _ => {}
    }
}
