//! The values of a key in shredded JSON and logfmt lines, without rebuilding the lines.
//!
//! Only what is certain is claimed: a key counts if it stands at the top level, once, without escapes, and its
//! value is one slot. "Absent" is claimed only where no other key could be taken for it: no nested object
//! whose flattened name might equal it, no key that equals it once odd characters are replaced. All other lines
//! are the caller's to parse, with its own rules.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::lines::Lines;
use crate::shred_head::Slot;
use crate::shred_split::{ESCAPE, SLOT, Splitter};
use crate::shred_values::{Dictionary, Values};
use std::ops::Range;

/// How a line writes keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// One JSON object.
    Json,
    /// `key=value` pairs with one space between them.
    Logfmt,
}

impl KeyFormat {
    /// Returns how lines of the format are split.
    pub(crate) fn splitter(self) -> Splitter {
        match self {
            Self::Json => Splitter::Json,
            Self::Logfmt => Splitter::Logfmt,
        }
    }
}

/// Rows whose lines have one template, and what they hold for a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyGroup<'a> {
    /// The rows, ascending; every row asked for is in one group.
    pub rows: &'a [u32],
    /// What they hold.
    pub value: KeyValue<'a>,
}

/// What the lines of a template hold for a key.
#[derive(Clone, Copy, Debug)]
pub enum KeyValue<'a> {
    /// The line has to be parsed to tell.
    Unknown,
    /// Lines of the format asked for that do not hold the key.
    Absent,
    /// A value per row.
    Values(KeyValues<'a>),
}

/// The values of a key in the rows of a group, by the place of the row in the group.
///
/// Values are the bytes between the quotes, or the whole of a bare value; escapes are left as they are.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a> {
    values: &'a Values,
    base: u32,
    is_quoted: bool,
}

impl<'a> KeyValues<'a> {
    /// Returns whether the values stand between quotes, and so may hold escapes.
    pub fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// Appends the value of the row at a place in the group.
    pub fn value_into(&self, place: u32, out: &mut Vec<u8>) {
        self.values.render(self.base.saturating_add(place), out);
    }

    /// Returns the value that all rows of the group have, if they are known to.
    pub fn constant(&self) -> Option<&'a [u8]> {
        match self.values {
            Values::Constant(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the distinct values if they are kept by code: a test of them all answers for all rows.
    ///
    /// They may include values of other groups, never twice the same one.
    pub fn dictionary(&self) -> Option<&'a Lines> {
        self.as_dictionary().map(|dictionary| &dictionary.values)
    }

    /// Returns the place of a row's value in [`KeyValues::dictionary`]; 0 without one.
    pub fn code(&self, place: u32) -> u32 {
        self.as_dictionary().map_or(0, |dictionary| dictionary.code(self.base.saturating_add(place)))
    }

    /// Returns the value of a row if it is kept as a number: digits without a sign or leading zeros.
    pub fn number(&self, place: u32) -> Option<u64> {
        match self.values {
            Values::Numbers(numbers) => Some(numbers.get(self.base.saturating_add(place) as usize)),
            _ => None,
        }
    }

    fn as_dictionary(&self) -> Option<&'a Dictionary> {
        match self.values {
            Values::Dictionary(dictionary) => Some(dictionary),
            _ => None,
        }
    }
}

impl Block {
    /// Returns what the rows hold for a key of lines of a format, by template; `None` if lines are plain.
    ///
    /// Each of `rows` is in one group, lines of another format in those of unknown value. `key` is the name
    /// as written in the line. Cost: a walk over the template of each group; decodes the key's columns only.
    pub fn key_groups(
        &self,
        format: KeyFormat,
        key: &[u8],
        rows: Range<u32>,
    ) -> Result<Option<Vec<KeyGroup<'_>>>, Error> {
        let Some(shredded) = self.shredded()? else { return Ok(None) };
        let mut groups = Vec::new();
        for template in &shredded.head.templates {
            let all = shredded.rows_of(template);
            let start = all.partition_point(|&row| row < rows.start);
            let end = all.partition_point(|&row| row < rows.end);
            let Some(group_rows) = all.get(start..end).filter(|rows| !rows.is_empty()) else { continue };
            let found = if template.splitter == format.splitter() as u8 {
                find(shredded.head.text(template), format, key)
            } else {
                Found::Unknown
            };
            let value = match found {
                Found::Unknown | Found::Value { form: WalkedValue::Mixed | WalkedValue::Nested, .. } => {
                    KeyValue::Unknown
                }
                Found::Absent => KeyValue::Absent,
                Found::Value { first_slot: number, form: WalkedValue::Slot { is_quoted }, .. } => {
                    let Some(&Slot { column, base }) =
                        shredded.head.slots.get(template.slots().start + number)
                    else {
                        return Err(Error::corrupt("templates", format!("no slot {number} in a template")));
                    };
                    let values = shredded.values(self, column).map_err(|error| self.located(error))?;
                    let base = base.saturating_add(u32::try_from(start).unwrap_or(u32::MAX));
                    KeyValue::Values(KeyValues { values, base, is_quoted })
                }
            };
            groups.push(KeyGroup { rows: group_rows, value });
        }
        Ok(Some(groups))
    }
}

/// What a template tells of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Unknown,
    Absent,
    Value {
        /// Where in the template's text the value stands, its quotes included.
        text: Range<usize>,
        /// Number of the first slot from there on.
        first_slot: usize,
        /// Never an object or array.
        form: WalkedValue,
    },
}

/// Finds a key in the text of a template.
pub(crate) fn find(template: &[u8], format: KeyFormat, key: &[u8]) -> Found {
    find_all(template, format, std::slice::from_ref(&key)).pop().unwrap_or(Found::Unknown)
}

/// Finds keys in the text of a template, in one walk; returns what was found of each.
pub(crate) fn find_all(template: &[u8], format: KeyFormat, keys: &[impl AsRef<[u8]>]) -> Vec<Found> {
    let mut walk = Walk { text: template, at: 0, slots: 0 };
    let mut all: Vec<(&[u8], Found, u32)> = keys.iter().map(|key| (key.as_ref(), Found::Absent, 0)).collect();
    let finished = walk.for_each_key(format, |name, (text, first_slot), value| {
        for (key, found, matches) in &mut all {
            if name == *key {
                *matches += 1;
                *found = match value {
                    WalkedValue::Nested => Found::Unknown,
                    form => Found::Value { text: text.clone(), first_slot, form },
                };
                continue;
            }
            // A caller that flattens or cleans names could take these for the key.
            let is_nameless = || !name.iter().any(u8::is_ascii_alphanumeric);
            let may_flatten = || value == WalkedValue::Nested && (key.contains(&b'_') || is_nameless());
            if is_alike(name, key) || may_flatten() {
                *matches += 2;
            }
        }
    });
    let certain = |(_, found, matches): (_, Found, u32)| match finished {
        Some(()) if matches <= 1 => found,
        _ => Found::Unknown,
    };
    all.into_iter().map(certain).collect()
}

/// Returns whether two names are equal once odd characters are replaced, and left out at both ends.
fn is_alike(a: &[u8], b: &[u8]) -> bool {
    fn plain(name: &[u8]) -> &[u8] {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
        let start = name.iter().position(is_plain).unwrap_or(name.len());
        let end = name.iter().rposition(is_plain).map_or(start, |last| last + 1);
        name.get(start..end).unwrap_or_default()
    }
    let replaced = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    let is_equal = |(&a, &b): (&u8, &u8)| a == b || replaced(a) == replaced(b);
    let (plain_a, plain_b) = (plain(a), plain(b));
    let is_same = plain_a.len() == plain_b.len() && plain_a.iter().zip(plain_b).all(is_equal);
    is_same || a.iter().any(|&byte| byte == b'\\' || byte >= 0x80)
}

/// What stands in a template as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkedValue {
    /// One slot.
    Slot { is_quoted: bool },
    /// Fixed text and slots.
    Mixed,
    /// An object or array.
    Nested,
}

/// A walk over the text of a template.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// Slots passed so far.
    slots: usize,
}

impl<'a> Walk<'a> {
    /// Calls `act` for every key at the top level, with the place of its value and the number of the first slot from there
    /// on; `None` if the text is not as the splitter makes it.
    fn for_each_key(
        &mut self,
        format: KeyFormat,
        mut act: impl FnMut(&'a [u8], (Range<usize>, usize), WalkedValue),
    ) -> Option<()> {
        if self.text.contains(&ESCAPE) {
            return None;
        }
        match format {
            KeyFormat::Json => {
                self.expect(b'{')?;
                self.skip_space();
                if self.peek() == Some(b'}') {
                    return (self.at + 1 == self.text.len()).then_some(());
                }
                loop {
                    self.skip_space();
                    self.expect(b'"')?;
                    let name = self.take_while(|byte| byte != b'"' && byte != b'\\' && byte != SLOT);
                    self.expect(b'"')?;
                    self.skip_space();
                    self.expect(b':')?;
                    self.skip_space();
                    let (start, first_slot) = (self.at, self.slots);
                    let value = self.json_value()?;
                    act(name, (start..self.at, first_slot), value);
                    self.skip_space();
                    match self.next()? {
                        b',' => {}
                        b'}' => return (self.at == self.text.len()).then_some(()),
                        _ => return None,
                    }
                }
            }
            KeyFormat::Logfmt => loop {
                let name = self.take_while(|byte| !matches!(byte, b'=' | b' ' | b'"' | SLOT));
                self.expect(b'=')?;
                let (start, first_slot) = (self.at, self.slots);
                let value = if self.peek() == Some(b'"') { self.quoted()? } else { self.bare() };
                act(name, (start..self.at, first_slot), value);
                match self.next() {
                    None => return Some(()),
                    Some(b' ') => {}
                    Some(_) => return None,
                }
            },
        }
    }

    fn json_value(&mut self) -> Option<WalkedValue> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'{' | b'[' => {
                let mut depth = 0;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.quoted()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        SLOT => self.slots += 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        return Some(WalkedValue::Nested);
                    }
                }
            }
            _ => Some(self.bare()),
        }
    }

    /// Reads a value between quotes.
    fn quoted(&mut self) -> Option<WalkedValue> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' if self.peek() != Some(SLOT) => self.at += 1,
                SLOT => self.slots += 1,
                _ => {}
            }
        }
        let is_slot = self.text.get(start..self.at) == Some(&[SLOT, b'"'][..]);
        Some(if is_slot { WalkedValue::Slot { is_quoted: true } } else { WalkedValue::Mixed })
    }

    fn bare(&mut self) -> WalkedValue {
        let value =
            self.take_while(|byte| !matches!(byte, b' ' | b',' | b'}' | b']' | b'\t' | b'\n' | b'\r'));
        self.slots += value.iter().filter(|&&byte| byte == SLOT).count();
        if value == [SLOT] { WalkedValue::Slot { is_quoted: false } } else { WalkedValue::Mixed }
    }

    fn take_while(&mut self, is_in: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|&&byte| is_in(byte)).count();
        self.at += count;
        rest.get(..count).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, want: u8) -> Option<()> {
        (self.next()? == want).then_some(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::{BlockBuilder, Entries, LineCodec, LineOutcome};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    /// A shredded block of so many rows of lines.
    fn block(rows: u32, line: impl Fn(u32) -> String) -> Block {
        let mut entries = Entries::new();
        (0..rows).for_each(|row| entries.push(row.into(), line(row).as_bytes(), "", &LabelSet::default()));
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..entries.len());
        let encoded = builder.finish_with(LineCodec::BEST);
        assert_eq!(encoded.line_outcome, LineOutcome::Shredded);
        Block::open(Arc::new(encoded.meta), Arc::new(bytes::Bytes::from(encoded.bytes)), 0)
    }

    /// What each row holds for a key; `?` for unknown, `-` for absent.
    fn values(block: &Block, format: KeyFormat, key: &str) -> Vec<String> {
        let mut all = vec![String::new(); block.rows() as usize];
        for group in block.key_groups(format, key.as_bytes(), 0..block.rows()).unwrap().unwrap() {
            for (place, &row) in (0u32..).zip(group.rows) {
                all[row as usize] = match group.value {
                    KeyValue::Unknown => "?".to_owned(),
                    KeyValue::Absent => "-".to_owned(),
                    KeyValue::Values(values) => {
                        let mut value = Vec::new();
                        values.value_into(place, &mut value);
                        if let Some(dictionary) = values.dictionary() {
                            assert_eq!(dictionary.line(values.code(place)), value);
                        }
                        if let Some(number) = values.number(place) {
                            assert_eq!(number.to_string().as_bytes(), value);
                        }
                        let value = String::from_utf8(value).unwrap();
                        if values.is_quoted() { format!("\"{value}\"") } else { value }
                    }
                };
            }
        }
        all
    }

    #[test]
    fn keys_of_objects_give_their_values_where_they_are_certain() {
        let block = block(600, |row| match row % 3 {
            0 => format!(r#"{{"status":{},"path":"/a/{}","n":{{"status":1}}}}"#, 200 + row % 7, row % 5),
            1 => format!(r#"{{"path":"x\"{row}","took":"{row}.5","request-id":{row}}}"#),
            _ => format!("status={} path=\"/b\"", row * 1000),
        });
        let status = values(&block, KeyFormat::Json, "status");
        assert_eq!(status[..6], ["200", "-", "?", "203", "-", "?"]);
        assert_eq!(values(&block, KeyFormat::Json, "path")[..4], ["\"/a/0\"", "\"x\\\"1\"", "?", "\"/a/3\""]);
        assert_eq!(values(&block, KeyFormat::Json, "took")[..2], ["-", "?"]);
        let odd = self::block(600, |row| match row % 2 {
            0 => format!(r#"{{"":{{"status":{row}}},"path":"/a/{}"}}"#, row % 5),
            _ => format!(r#"{{" status ":{row},"path":"/a/{}"}}"#, row % 5),
        });
        assert_eq!(
            values(&odd, KeyFormat::Json, "status")[..2],
            ["?", "?"],
            "a blank name, blanks around one"
        );
        // It could be a flattened name in the first, and a cleaned one in the second.
        assert_eq!(values(&block, KeyFormat::Json, "request_id")[..2], ["?", "?"]);
        assert_eq!(values(&block, KeyFormat::Json, "n")[..2], ["?", "-"]);
        assert_eq!(values(&block, KeyFormat::Logfmt, "status")[..6], ["?", "?", "2000", "?", "?", "5000"]);
        assert_eq!(values(&block, KeyFormat::Logfmt, "path")[2], "\"/b\"");
        assert_eq!(values(&block, KeyFormat::Logfmt, "other")[2], "-");
    }

    #[test]
    fn keys_that_stand_twice_are_left_to_the_caller() {
        let block = block(600, |row| format!(r#"{{"a":{row},"b":"{row} x","a":{row}}}"#));
        assert_eq!(values(&block, KeyFormat::Json, "a")[..2], ["?", "?"]);
        assert_eq!(values(&block, KeyFormat::Json, "b")[..2], ["\"0 x\"", "\"1 x\""]);
    }

    #[test]
    fn codes_and_constants_stand_for_values() {
        let block = block(5000, |row| {
            format!(
                "level=info user={} id={}",
                ["ann", "bob", "cleo"][(row.wrapping_mul(0x9e37_79b9) >> 30) as usize % 3],
                row * 7919 % 5000
            )
        });
        let groups = block.key_groups(KeyFormat::Logfmt, b"user", 0..block.rows()).unwrap().unwrap();
        let [KeyGroup { rows, value: KeyValue::Values(users) }] = groups[..] else { panic!("{groups:?}") };
        assert_eq!((rows.len(), users.dictionary().map(Lines::rows)), (5000, Some(3)));
        let groups = block.key_groups(KeyFormat::Logfmt, b"level", 0..block.rows()).unwrap().unwrap();
        let KeyValue::Values(levels) = groups[0].value else { panic!("{groups:?}") };
        assert_eq!(levels.constant(), Some(&b"info"[..]));
        let groups = block.key_groups(KeyFormat::Logfmt, b"id", 0..block.rows()).unwrap().unwrap();
        let KeyValue::Values(ids) = groups[0].value else { panic!("{groups:?}") };
        assert_eq!(ids.number(3), Some(3 * 7919 % 5000));
    }
}
