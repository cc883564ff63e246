//! One line of text under the hands of its writer.

use unicode_segmentation::UnicodeSegmentation as _;

/// Text with a cursor, which always stands between two graphemes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Editor {
    text: String,
    /// Byte before which the cursor stands.
    cursor: usize,
}

impl Editor {
    /// Begins with a text and the cursor behind it.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Writes a text at the cursor; line breaks become blanks. Too long a text is cut to `bytes_max` in all.
    pub(crate) fn insert(&mut self, text: &str, bytes_max: usize) {
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if self.text.len() + c.len_utf8() > bytes_max {
                return;
            }
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    /// Puts a text in the place of another; the cursor comes to stand behind it.
    pub(crate) fn replace(&mut self, range: std::ops::Range<usize>, text: &str) {
        let is_inside = self.text.get(range.clone()).is_some();
        if is_inside {
            self.text.replace_range(range.clone(), text);
            self.cursor = range.start + text.len();
        }
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.after();
    }

    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Moves to the beginning of the word before the cursor.
    pub(crate) fn word_left(&mut self) {
        self.cursor = self.word_start();
    }

    /// Moves behind the word after the cursor.
    pub(crate) fn word_right(&mut self) {
        let rest = self.text.get(self.cursor..).unwrap_or_default();
        let word = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
        let behind = rest.get(word..).unwrap_or_default();
        self.cursor += word + behind.find(|c: char| !c.is_alphanumeric()).unwrap_or(behind.len());
    }

    pub(crate) fn backspace(&mut self) {
        let start = self.before();
        self.remove(start);
    }

    pub(crate) fn delete(&mut self) {
        let end = self.after();
        self.text.replace_range(self.cursor..end, "");
    }

    /// Removes the word before the cursor.
    pub(crate) fn remove_word(&mut self) {
        let start = self.word_start();
        self.remove(start);
    }

    /// Removes everything before the cursor.
    pub(crate) fn remove_before(&mut self) {
        self.remove(0);
    }

    /// Removes everything behind the cursor.
    pub(crate) fn remove_behind(&mut self) {
        self.text.truncate(self.cursor);
    }

    fn remove(&mut self, start: usize) {
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }

    fn before(&self) -> usize {
        let before = self.text.get(..self.cursor).unwrap_or_default();
        before.grapheme_indices(true).next_back().map_or(0, |(start, _)| start)
    }

    fn after(&self) -> usize {
        let rest = self.text.get(self.cursor..).unwrap_or_default();
        self.cursor + rest.graphemes(true).next().map_or(0, str::len)
    }

    fn word_start(&self) -> usize {
        let before = self.text.get(..self.cursor).unwrap_or_default();
        let trimmed = before.trim_end_matches(|c: char| !c.is_alphanumeric());
        trimmed.trim_end_matches(char::is_alphanumeric).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_moves_by_what_is_seen() {
        let mut editor = Editor::new("ae\u{301}👩\u{200d}👧b");
        editor.left();
        editor.left();
        editor.backspace();
        assert_eq!(editor.text(), "a👩\u{200d}👧b");
        editor.delete();
        assert_eq!((editor.text(), editor.cursor()), ("ab", 1));
        editor.home();
        editor.left();
        editor.right();
        editor.insert("x\ny", 100);
        assert_eq!(editor.text(), "ax yb");
    }

    #[test]
    fn words_are_skipped_and_removed() {
        let mut editor = Editor::new("{app=\"über\"} |= \"x\"");
        editor.word_left();
        editor.word_left();
        editor.remove_word();
        assert_eq!(editor.text(), "{über\"} |= \"x\"");
        editor.word_right();
        editor.remove_behind();
        assert_eq!(editor.text(), "{über");
        editor.remove_before();
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn no_text_grows_past_its_bound() {
        let mut editor = Editor::new("12");
        editor.insert("3é4", 4);
        assert_eq!(editor.text(), "123");
    }

    #[test]
    fn a_part_is_replaced() {
        let mut editor = Editor::new("{con}");
        editor.replace(1..4, "container=");
        assert_eq!((editor.text(), editor.cursor()), ("{container=}", 11));
        editor.replace(9..99, "x");
        assert_eq!(editor.text(), "{container=}");
    }
}
