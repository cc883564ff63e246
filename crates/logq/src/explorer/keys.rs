//! What keys do, by where they go. The help lists them in the same order.

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
const SHIFT: isize = 16;

/// Longest text that a terminal is asked to put on its clipboard: most take no more.
const COPY_BYTES_MAX: usize = 1 << 20;

/// Entries of the context view are bounded as those of the list, but by less: they are few hundred.
const CONTEXT_BYTES_MAX: usize = 16 << 20;

/// The keys, for the help: where they go, the key, what it does. An empty key begins a part.
pub(crate) const HELP: [(&str, &str); 51] = [
    ("", "everywhere"),
    ("? F1", "this help"),
    ("/ i", "edit the query"),
    ("Tab", "go to the next part of the screen"),
    ("l", "labels: choose values, build the selector"),
    ("h", "histogram: move in time, zoom"),
    ("t", "choose the span of time"),
    ("+ -", "zoom in at the cursor, zoom out"),
    ("< >", "half a span earlier, later"),
    ("f", "follow: show new entries as they come"),
    ("r", "ask again"),
    ("u Backspace", "back to the question before"),
    ("c", "copy as a logq command, and show it"),
    ("Esc", "end what is waited for; close what is open"),
    ("Ctrl-L", "draw the screen anew"),
    ("q Ctrl-C", "quit"),
    ("", "entries"),
    ("Up Down j k", "move; PgUp PgDn by screens; above the oldest, more are fetched"),
    ("Home g", "the oldest entry"),
    ("End G", "the newest entry, and along with new ones"),
    ("Left Right", "shift long lines"),
    ("Enter", "the entry in full"),
    ("x", "its context: the entries around it, of its stream"),
    ("y", "copy the line"),
    ("", "query line"),
    ("Enter", "ask"),
    ("Tab", "take the proposal; Up Down choose another"),
    ("Esc", "close the proposals, then leave"),
    ("Ctrl-P Ctrl-N", "the query before, after"),
    ("Ctrl-A Ctrl-E", "to the beginning, to the end"),
    ("Ctrl-W Ctrl-U Ctrl-K", "remove the word, all before, all behind"),
    ("Alt-B Alt-F", "a word back, a word on; also Ctrl-Left, Ctrl-Right"),
    ("", "labels"),
    ("Enter", "open a label, close it; on a value: ask"),
    ("Space", "choose a value, several of one label too"),
    ("letters", "narrow the list; Backspace widens it"),
    ("Tab", "ask, and go on to the entries"),
    ("Esc", "list everything; then leave"),
    ("", "histogram"),
    ("Left Right", "move; Home End to its ends"),
    ("Space", "begin a span here"),
    ("Enter", "zoom to it, or to the bar"),
    ("", "an entry in full"),
    ("Up Down", "choose a field; PgUp PgDn by screens"),
    ("+", "only entries with this value"),
    ("-", "only entries without it"),
    ("y", "copy the value, or the line"),
    ("x", "its context"),
    ("Esc q", "close"),
    ("", "span of time"),
    ("Enter", "take what is typed, else what is chosen: 2h, yesterday's 2026-11-20 to now-1h"),
];

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

    fn next_focus(&mut self) {
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

    fn expand(&mut self, row: Row) {
        let columns = usize::from(self.size.0);
        self.overlays.push(Overlay::Expanded(Box::new(Expanded::new(row, columns))));
    }

    fn ask_context(&mut self, row: Row) {
        let (question, selector, ts_ns) = (self.question, refine::selector_of_stream(&row.stream), row.ts_ns);
        let bytes_max = self.begin.buffer_bytes_max.min(CONTEXT_BYTES_MAX);
        self.overlays.push(Overlay::Context(Box::new(Context { list: List::new(bytes_max), hit: row })));
        self.waiting.insert(Slot::Context);
        self.effect(Effect::AskContext { question, selector, ts_ns });
    }

    fn copy(&mut self, what: &str, text: String) {
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

    fn press_in_query(&mut self, key: KeyEvent) {
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

    fn press_in_labels(&mut self, code: KeyCode) {
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

    fn press_in_help(&mut self, code: KeyCode) {
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

    fn press_in_expanded(&mut self, code: KeyCode) {
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

    fn press_in_context(&mut self, code: KeyCode) {
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

    fn press_in_picker(&mut self, key: KeyEvent) {
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

/// Does what a key means in a line of text.
fn edit(editor: &mut Editor, key: KeyEvent, bytes_max: usize) {
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
