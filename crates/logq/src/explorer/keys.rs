//! What keys do: those of the entries, the histogram and everywhere. The others are in `keys_*`, the list of all in `help`.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use logyard_logql::INPUT_BYTES_MAX;

use super::buffer::Row;
use super::edit::Editor;
use super::event::{Effect, Slot};
use super::expand::Expanded;
use super::list::List;
use super::refine;
use super::span::{PRESETS, Span};
use super::state::{Context, Focus, Overlay, Picker, State};
use crate::check::Yields;

/// Columns by which lines are shifted at once.
pub(super) const SHIFT: isize = 16;

/// Longest text that a terminal is asked to put on its clipboard: most take no more.
const COPY_BYTES_MAX: usize = 1 << 20;

/// Entries of the context view are bounded as those of the list, but by less: they are few hundred.
const CONTEXT_BYTES_MAX: usize = 16 << 20;

impl State {
    /// Does what a key stands for.
    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if has_control => return self.effect(Effect::Quit),
            KeyCode::Char('l') if has_control => return self.effect(Effect::Redraw),
            KeyCode::F(1) if !matches!(self.overlays.last(), Some(Overlay::Help(_))) => {
                return self.overlays.push(Overlay::Help(0));
            }
            _ => {}
        }
        self.note = None;
        match self.overlays.last() {
            Some(Overlay::Help(_)) => self.press_in_help(key.code),
            Some(Overlay::Text { .. }) => drop(self.overlays.pop()),
            Some(Overlay::Expanded(_)) => self.press_in_expanded(key.code),
            Some(Overlay::Context(_)) => self.press_in_context(key.code),
            Some(Overlay::Picker(_)) => self.press_in_picker(key),
            None => match self.focus {
                Focus::Query => self.press_in_query(key),
                Focus::Labels => self.press_in_labels(key.code),
                Focus::Histogram => self.press_in_histogram(key.code),
                Focus::Results => self.press_in_results(key.code),
            },
        }
    }

    /// Takes a pasted text where one can be typed.
    pub(super) fn paste(&mut self, text: &str) {
        match self.overlays.last_mut() {
            Some(Overlay::Picker(picker)) => picker.editor.insert(text, 200),
            Some(_) => {}
            None => {
                if self.focus != Focus::Query {
                    self.focus = Focus::Query;
                    self.query = Editor::default();
                }
                self.query.insert(text, INPUT_BYTES_MAX);
                self.suggest();
            }
        }
    }

    fn press_in_results(&mut self, code: KeyCode) {
        if self.yields == Yields::Samples {
            return self.press_in_series(code);
        }
        let rows = self.list_rows();
        let page = isize::try_from(rows).unwrap_or(isize::MAX);
        let newest = self.list.buffer().len().saturating_sub(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.up(1),
            KeyCode::PageUp => self.up(page),
            KeyCode::Down | KeyCode::Char('j') => self.list.step(1, rows),
            KeyCode::PageDown | KeyCode::Char(' ') => self.list.step(page, rows),
            KeyCode::Home | KeyCode::Char('g') => self.list.go_to(0, rows),
            KeyCode::End | KeyCode::Char('G') => self.list.go_to(newest, rows),
            KeyCode::Left => self.list.shift_by(-SHIFT),
            KeyCode::Right => self.list.shift_by(SHIFT),
            KeyCode::Enter => {
                if let Some(row) = self.row() {
                    self.expand(row);
                }
            }
            KeyCode::Char('x') => {
                if let Some(row) = self.row() {
                    self.ask_context(row);
                }
            }
            KeyCode::Char('y') => {
                if let Some(row) = self.row() {
                    self.copy("the line", row.line.to_string());
                }
            }
            other => self.press_anywhere(other),
        }
    }

    fn press_in_series(&mut self, code: KeyCode) {
        let last = self.series.len().saturating_sub(1);
        let page = self.list_rows();
        self.series_top = match code {
            KeyCode::Up | KeyCode::Char('k') => self.series_top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (self.series_top + 1).min(last),
            KeyCode::PageUp => self.series_top.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => (self.series_top + page).min(last),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            other => return self.press_anywhere(other),
        };
    }

    fn up(&mut self, by: isize) {
        let rows = self.list_rows();
        if self.list.at() == 0 {
            self.ask_older();
        }
        self.list.step(-by, rows);
    }

    fn press_anywhere(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') => self.effect(Effect::Quit),
            KeyCode::Char('?') => self.overlays.push(Overlay::Help(0)),
            KeyCode::Char('/' | 'i') => {
                self.focus = Focus::Query;
                self.query.end();
                self.suggest();
            }
            KeyCode::Tab => self.next_focus(),
            KeyCode::Char('l') => {
                self.parts.labels = true;
                self.focus = Focus::Labels;
                self.ask_names();
            }
            KeyCode::Char('h') => self.focus_histogram(),
            KeyCode::Char('t') => {
                let at = PRESETS.iter().position(|(_, ns)| self.span == Span::Last(*ns)).unwrap_or(3);
                self.overlays.push(Overlay::Picker(Picker { editor: Editor::default(), at, problem: None }));
            }
            KeyCode::Char('f') => self.toggle_follow(),
            KeyCode::Char('r') => self.ask(),
            KeyCode::Char('u') | KeyCode::Backspace => self.undo(),
            KeyCode::Char('c') => self.copy_command(),
            KeyCode::Char('+' | '=') => self.look_at(self.span.closer(self.instant(), self.now_ns)),
            KeyCode::Char('-') => self.look_at(self.span.wider()),
            KeyCode::Char('<') => self.look_at(self.span.moved(false, self.now_ns)),
            KeyCode::Char('>') => self.look_at(self.span.moved(true, self.now_ns)),
            KeyCode::Esc => self.cancel(),
            _ => {}
        }
    }

    pub(super) fn next_focus(&mut self) {
        let areas = self.areas();
        self.focus = match self.focus {
            Focus::Query if areas.labels.is_some() => Focus::Labels,
            Focus::Query | Focus::Labels if areas.histogram.is_some() => Focus::Histogram,
            Focus::Query | Focus::Labels | Focus::Histogram => Focus::Results,
            Focus::Results => Focus::Query,
        };
        self.suggest();
    }

    fn focus_histogram(&mut self) {
        if self.focus == Focus::Histogram || (self.parts.histogram && self.areas().histogram.is_none()) {
            self.note = Some("no room for a histogram: the screen has too few rows".to_owned());
            self.focus = Focus::Results;
            if self.areas().histogram.is_some() {
                self.parts.histogram = false;
                self.note = None;
            }
            return;
        }
        self.parts.histogram = true;
        self.focus = Focus::Histogram;
    }

    /// Returns the instant under the cursor.
    fn instant(&self) -> i64 {
        let range = self.range();
        let middle_ns = range.start_ns + range.end_ns.saturating_sub(range.start_ns) / 2;
        match (self.focus, self.steps()) {
            (Focus::Histogram, Some(steps)) => steps.begin_ns(self.step).saturating_add(steps.step_ns / 2),
            _ => self.row().map_or(middle_ns, |row| row.ts_ns),
        }
    }

    /// Looks at another span. One that lies in the past is not followed.
    pub(super) fn look_at(&mut self, span: Span) {
        self.span = span;
        self.follows &= matches!(span, Span::Last(_));
        self.ask_asked();
    }

    /// Asks the present question anew, not what may stand half written in the query line.
    fn ask_asked(&mut self) {
        if !self.asked.is_empty() {
            self.query = Editor::new(&self.asked);
        }
        self.ask();
    }

    fn toggle_follow(&mut self) {
        if self.yields == Yields::Samples {
            self.note = Some("only a log query can be followed".to_owned());
            return;
        }
        self.follows = !self.follows;
        if !self.follows {
            self.away.remove(&Slot::Follow);
            return self.effect(Effect::Stop(Slot::Follow));
        }
        if let Span::Between(range) = self.span {
            return self.look_at(Span::Last(range.end_ns.saturating_sub(range.start_ns)));
        }
        let (rows, newest) = (self.list_rows(), self.list.buffer().len().saturating_sub(1));
        self.list.go_to(newest, rows);
        // What is awaited is followed once it has come.
        if !self.waiting.contains(&Slot::Ask) {
            self.follow();
        }
    }

    fn cancel(&mut self) {
        if self.waiting.is_empty() {
            self.problem = None;
            return;
        }
        for slot in std::mem::take(&mut self.waiting) {
            self.away.remove(&slot);
            self.effect(Effect::Stop(slot));
        }
        self.drop_stale();
        self.note = Some("ended what was waited for; r asks again".to_owned());
    }

    fn row(&self) -> Option<Row> {
        self.list.buffer().get(self.list.at()).cloned()
    }

    pub(super) fn expand(&mut self, row: Row) {
        let columns = usize::from(self.size.0);
        self.overlays.push(Overlay::Expanded(Box::new(Expanded::new(row, columns))));
    }

    pub(super) fn ask_context(&mut self, row: Row) {
        let (question, selector, ts_ns) = (self.question, refine::selector_of_stream(&row.stream), row.ts_ns);
        let bytes_max = self.begin.buffer_bytes_max.min(CONTEXT_BYTES_MAX);
        self.overlays.push(Overlay::Context(Box::new(Context { list: List::new(bytes_max), hit: row })));
        self.waiting.insert(Slot::Context);
        self.effect(Effect::AskContext { question, selector, ts_ns });
    }

    pub(super) fn copy(&mut self, what: &str, text: String) {
        if text.len() > COPY_BYTES_MAX {
            self.note = Some(format!(
                "cannot copy {what}: {} bytes, terminals take at most {COPY_BYTES_MAX}",
                text.len()
            ));
            return;
        }
        self.note = Some(format!("copied {what}: {} bytes", text.len()));
        self.effect(Effect::Copy(text));
    }

    fn copy_command(&mut self) {
        let command = refine::command(&self.asked, &self.span.flags());
        self.copy("the command", command.clone());
        self.overlays.push(Overlay::Text { title: "copied as a command".to_owned(), text: command });
    }

    fn press_in_histogram(&mut self, code: KeyCode) {
        let Some(steps) = self.steps() else {
            return match code {
                KeyCode::Char('h') => self.focus_histogram(),
                other => self.press_anywhere(other),
            };
        };
        let last = steps.count.saturating_sub(1);
        match code {
            KeyCode::Left => self.step = self.step.saturating_sub(1),
            KeyCode::Right => self.step = (self.step + 1).min(last),
            KeyCode::Home => self.step = 0,
            KeyCode::End => self.step = last,
            KeyCode::Char(' ') => {
                self.mark = if self.mark == Some(self.step) { None } else { Some(self.step) }
            }
            KeyCode::Enter => {
                let mark = self.mark.unwrap_or(self.step);
                let (first, behind) = (mark.min(self.step), mark.max(self.step) + 1);
                self.look_at(Span::between(steps.begin_ns(first), steps.begin_ns(behind)));
            }
            KeyCode::Esc if self.mark.is_some() => self.mark = None,
            KeyCode::Esc if self.waiting.is_empty() => self.focus = Focus::Results,
            other => self.press_anywhere(other),
        }
    }
}
