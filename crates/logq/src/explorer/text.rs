//! Text of strangers, as cells of a terminal.
//!
//! Nothing that steers a terminal passes: colour sequences are left out, any other control character is shown as its
//! picture, and what turns the direction of writing as a replacement. What terminals disagree about is left out as
//! well: joiners, variation selectors and skin tones, so that an emoji of several is drawn as its parts and each has
//! the same width everywhere. Copies are made of the line itself, never of its cells.

use std::borrow::Cow;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};
use unicode_width::UnicodeWidthStr as _;

/// Columns of a tab: lines are shown cut and shifted, so true stops would jump about.
const TAB: &str = "    ";

/// Most characters of one cell; more marks than any script writes over a letter are not drawn.
const CELL_CHARS_MAX: usize = 8;

/// Most bytes of parameters of a colour sequence.
const COLOUR_BYTES_MAX: usize = 64;

/// What is drawn as one: a letter with its marks, and how many columns it takes.
pub(crate) type Cell<'a> = (Cow<'a, str>, usize);

/// Iterates over the cells of a text, from its beginning; costs as much as is taken.
#[derive(Clone, Debug)]
pub(crate) struct Cells<'a> {
    rest: &'a str,
}

/// Returns the cells of a text.
pub(crate) fn cells(text: &str) -> Cells<'_> {
    Cells { rest: text }
}

/// Returns the columns that a text takes; reads all of it.
pub(crate) fn width(text: &str) -> usize {
    cells(text).map(|(_, columns)| columns).sum()
}

/// Returns as much of a text as fits into the columns, with `…` at the end if that is not all.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let (mut out, mut used, mut last_at, mut last_used) = (String::new(), 0, 0, 0);
    for (symbol, width) in cells(text) {
        if used + width > columns {
            out.truncate(if used < columns { out.len() } else { last_at });
            if columns > 0 {
                let filled = if used < columns { used } else { last_used };
                out.extend(std::iter::repeat_n(' ', columns - filled - 1));
                out.push('…');
            }
            return out;
        }
        (last_at, last_used) = (out.len(), used);
        out.push_str(&symbol);
        used += width;
    }
    out
}

/// Breaks a text into lines of at most so many columns, at its own line breaks and wherever it is too long.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for part in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for (symbol, width) in cells(part.strip_suffix('\r').unwrap_or(part)) {
            if used + width > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push_str(&symbol);
            used += width;
        }
        lines.push(line);
    }
    lines
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        loop {
            let first = self.rest.chars().next()?;
            if (' '..='~').contains(&first) && self.rest.as_bytes().get(1).is_none_or(u8::is_ascii) {
                return Some((Cow::Borrowed(self.take(1)), 1));
            }
            if let Some(bytes) = colour_bytes(self.rest) {
                self.take(bytes);
                continue;
            }
            if first == '\t' {
                self.take(1);
                return Some((Cow::Borrowed(TAB), TAB.len()));
            }
            if let Some(picture) = picture(first) {
                self.take(first.len_utf8());
                return Some((Cow::Owned(picture.to_string()), 1));
            }
            let bytes = grapheme_bytes(self.rest);
            if let Some(cell) = cell(self.take(bytes)) {
                return Some(cell);
            }
        }
    }
}

impl<'a> Cells<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

/// Returns the length of the first grapheme.
fn grapheme_bytes(text: &str) -> usize {
    match GraphemeCursor::new(0, text.len(), true).next_boundary(text, 0) {
        Ok(Some(end)) if end > 0 => end,
        _ => text.graphemes(true).next().map_or(text.len(), str::len).max(1),
    }
}

/// Returns the length of the colour sequence that the text begins with: `ESC [ … m`.
fn colour_bytes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\u{1b}[")?.as_bytes();
    let end =
        inside.iter().take(COLOUR_BYTES_MAX).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (inside.get(end) == Some(&b'm')).then_some(2 + end + 1)
}

/// Returns what is drawn in place of a character that would steer the terminal.
fn picture(c: char) -> Option<char> {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)),
        '\u{7f}' => Some('␡'),
        '\u{80}'..='\u{9f}' => Some('\u{fffd}'),
        '\u{2028}' | '\u{2029}' => Some('␤'),
        // Overrides and isolates would show a line in another order than it has.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some('\u{fffd}'),
        _ => None,
    }
}

/// Returns the cell of a grapheme; nothing if nothing of it is seen.
fn cell(grapheme: &str) -> Option<Cell<'_>> {
    let is_left_out = |c: char| {
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ad}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{fff9}'..='\u{fffb}')
    };
    let is_fine = !grapheme.chars().any(|c| is_left_out(c) || picture(c).is_some());
    if is_fine && grapheme.len() <= CELL_CHARS_MAX {
        return match grapheme.width() {
            0 => Some((Cow::Owned(format!("◌{grapheme}")), 1)),
            columns => Some((Cow::Borrowed(grapheme), columns)),
        };
    }
    let kept = grapheme.chars().filter(|c| !is_left_out(*c)).map(|c| picture(c).unwrap_or(c));
    let symbol: String = kept.take(CELL_CHARS_MAX).collect();
    let columns = symbol.width();
    (columns > 0).then_some((Cow::Owned(symbol), columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        cells(text).map(|(symbol, _)| symbol).collect()
    }

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let line = "a\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}[2J\r\n\u{9b}1m\u{202e}x\u{7f}\0";
        assert_eq!(plain(line), "ared␛]0;title␇␛[2J␍␊\u{fffd}1m\u{fffd}x␡␀");
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        for (symbol, columns) in cells(&all) {
            assert!(!symbol.chars().any(char::is_control), "{symbol:?}");
            assert!(columns > 0, "{symbol:?}");
            assert_eq!(symbol.width(), columns, "{symbol:?}");
        }
    }

    #[test]
    fn widths_are_those_of_columns() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("日本語"), 6);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("👩\u{200d}👧"), 4);
        assert_eq!(width("❤\u{fe0f}"), 1);
        assert_eq!(width("\ta"), 5);
        assert_eq!(width("\u{301}"), 1);
        assert_eq!(
            cells("a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}").count(),
            1
        );
    }

    #[test]
    fn cuts_never_split_a_wide_letter() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日 …");
        assert_eq!(cut("日", 1), "…");
        assert_eq!(cut("ab", 0), "");
        for columns in 0..9 {
            assert!(width(&cut("a日b本c語d", columns)) <= columns);
        }
    }

    #[test]
    fn wrapped_lines_hold_everything() {
        assert_eq!(wrap("abcdef\r\ngh", 4), ["abcd", "ef", "gh"]);
        assert_eq!(wrap("日本語", 3), ["日", "本", "語"]);
        assert_eq!(wrap("", 4), [""]);
        let long = "x".repeat(1 << 20);
        assert_eq!(wrap(&long, 100).iter().map(String::len).sum::<usize>(), 1 << 20);
    }
}
