//! JSON lines reduced to the keys that a reader looks at: `{"status":500,"router":"web"}` of a line with thirty keys.
//!
//! A parser that wants these keys alone reads the same from the reduced line as from the whole one, and only the
//! columns of these keys are decoded. That holds for lines of a template whose keys are all certain (`shred_keys`
//! says which those are); of other lines the reader takes the whole.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::shred_head::{Slot, Template};
use crate::shred_keys::{Found, KeyFormat, find};
use crate::shred_split::{SLOT, Splitter};
use crate::shredded::Shredded;
use std::ops::Range;

/// The reduced lines of one block.
#[derive(Debug)]
pub struct ReducedLines<'a> {
    block: &'a Block,
    shredded: &'a Shredded,
    /// By template; `None` if its lines cannot be reduced.
    templates: Vec<Option<Range<usize>>>,
    /// The parts of all templates, end to end.
    parts: Vec<Part>,
    /// What the parts' fixed texts are cut from.
    literals: Vec<u8>,
    rows_left: usize,
}

/// A fixed text and the value behind it.
#[derive(Debug)]
struct Part {
    literal: Range<usize>,
    slot: Option<Slot>,
}

impl Block {
    /// Returns the JSON lines of some rows reduced to some top-level keys, as they are written in the line; `None` if lines
    /// are plain.
    ///
    /// Cost: a walk per key over each template that has one of the rows; decodes no column.
    pub fn reduced_json(&self, keys: &[String], rows: Range<u32>) -> Result<Option<ReducedLines<'_>>, Error> {
        let Some(shredded) = self.shredded()? else { return Ok(None) };
        let (templates, parts, literals) = (Vec::new(), Vec::new(), Vec::new());
        let mut lines = ReducedLines { block: self, shredded, templates, parts, literals, rows_left: 0 };
        for template in &shredded.head.templates {
            let all = shredded.rows_of(template);
            let before = all.partition_point(|&row| row < rows.start);
            let count = all.partition_point(|&row| row < rows.end).saturating_sub(before);
            let start = lines.parts.len();
            let is_reduced = count > 0 && lines.reduce(template, keys)?;
            if !is_reduced {
                lines.rows_left += count;
            }
            let parts = start..lines.parts.len();
            lines.templates.push(is_reduced.then_some(parts));
        }
        Ok(Some(lines))
    }
}

impl ReducedLines<'_> {
    /// Returns how many of the rows have lines that are not reduced.
    pub fn rows_left(&self) -> usize {
        self.rows_left
    }

    /// Appends the reduced line of a row. Returns false, with nothing appended, if it is not reduced.
    ///
    /// Cost: decodes the columns of the keys when a line of their template is first asked for.
    pub fn line_into(&self, row: u32, out: &mut Vec<u8>) -> Result<bool, Error> {
        let number = self.shredded.template_of.get(row as usize).map(|&number| usize::from(number));
        let parts = number.and_then(|number| self.templates.get(number)?.clone());
        let (Some(parts), Some(&rank)) = (parts, self.shredded.rank.get(row as usize)) else {
            return Ok(false);
        };
        for part in self.parts.get(parts).unwrap_or_default() {
            out.extend_from_slice(self.literals.get(part.literal.clone()).unwrap_or_default());
            if let Some(Slot { column, base }) = part.slot {
                let values = self.shredded.values(self.block, column);
                values.map_err(|error| self.block.located(error))?.render(base.saturating_add(rank), out);
            }
        }
        Ok(true)
    }

    /// Adds the parts of a template; false if its lines cannot be reduced.
    fn reduce(&mut self, template: &Template, keys: &[String]) -> Result<bool, Error> {
        // Behind a backslash a key could be one that no parser reads to its end.
        if template.splitter != Splitter::Json as u8 || template.text.contains(&b'\\') {
            return Ok(false);
        }
        let before = (self.parts.len(), self.literals.len());
        let mut start = self.literals.len();
        self.literals.push(b'{');
        for key in keys {
            let (text, first_slot) = match find(template, KeyFormat::Json, key.as_bytes()) {
                Found::Unknown => {
                    self.parts.truncate(before.0);
                    self.literals.truncate(before.1);
                    return Ok(false);
                }
                Found::Absent => continue,
                Found::Value { text, first_slot, .. } => (text, first_slot),
            };
            if self.literals.len() > before.1 + 1 {
                self.literals.push(b',');
            }
            self.literals.push(b'"');
            self.literals.extend_from_slice(key.as_bytes());
            self.literals.extend_from_slice(b"\":");
            let mut slots = first_slot..;
            for &byte in template.text.get(text).unwrap_or_default() {
                if byte != SLOT {
                    self.literals.push(byte);
                    continue;
                }
                let number = slots.next().and_then(|number| template.slots.start.checked_add(number));
                let slot = number.and_then(|number| self.shredded.head.slots.get(number));
                let Some(&slot) = slot else {
                    return Err(self
                        .block
                        .located(Error::corrupt("templates", "a template has too few slots")));
                };
                self.parts.push(Part { literal: start..self.literals.len(), slot: Some(slot) });
                start = self.literals.len();
            }
        }
        self.literals.push(b'}');
        self.parts.push(Part { literal: start..self.literals.len(), slot: None });
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use crate::{Block, BlockBuilder, Entries, LineCodec, LineOutcome};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn block(lines: &[String]) -> Block {
        let mut entries = Entries::new();
        lines.iter().for_each(|line| entries.push(0, line.as_bytes(), "", &LabelSet::default()));
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..entries.len());
        let encoded = builder.finish_with(LineCodec::BEST);
        assert_eq!(encoded.line_outcome, LineOutcome::Shredded);
        Block::open(Arc::new(encoded.meta), Arc::new(bytes::Bytes::from(encoded.bytes)), 0)
    }

    /// The reduced lines of the rows; `?` for one that is not reduced.
    fn reduced(lines: &[String], keys: &[&str]) -> Vec<String> {
        let block = block(lines);
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let reduced = block.reduced_json(&keys, 0..block.rows()).unwrap().unwrap();
        let last = block.reduced_json(&keys, block.rows() - 1..block.rows()).unwrap().unwrap();
        assert!(last.rows_left() <= 1);
        let mut left = 0;
        let all = (0..block.rows()).map(|row| {
            let mut line = Vec::new();
            if !reduced.line_into(row, &mut line).unwrap() {
                assert!(line.is_empty());
                left += 1;
                return "?".to_owned();
            }
            String::from_utf8(line).unwrap()
        });
        let all: Vec<String> = all.collect();
        assert_eq!(left, reduced.rows_left());
        all
    }

    #[test]
    fn keys_stand_as_in_the_line() {
        let lines: Vec<String> = (0..600)
            .map(|row| match row % 4 {
                0 => format!(
                    r#"{{"status":{}, "path":"/a/{}", "n":{{"status":1}}, "at":"10.0.0.{}:{row}"}}"#,
                    200 + row % 7,
                    row % 5,
                    row % 9
                ),
                1 => format!(r#"{{"path":"x\"{row}","took":-{}.5,"at":null}}"#, row % 11),
                2 => format!("status={} path=\"/b\"", row * 1000),
                _ => format!(r#"{{"other":[{row},"status"]}}"#),
            })
            .collect();
        let both = reduced(&lines, &["status", "at"]);
        assert_eq!(
            both[..5],
            [
                r#"{"status":200,"at":"10.0.0.0:0"}"#,
                r#"{"at":null}"#,
                "?",
                "{}",
                r#"{"status":204,"at":"10.0.0.4:4"}"#
            ]
        );
        assert_eq!(reduced(&lines, &["took"])[1], r#"{"took":-1.5}"#);
        assert_eq!(reduced(&lines, &["path"])[..2], [r#"{"path":"/a/0"}"#, r#"{"path":"x\"1"}"#]);
        assert_eq!(reduced(&lines, &["n_status"])[..2], ["?", "{}"], "it may be made of a nested one");
        assert_eq!(reduced(&lines, &[])[..3], ["{}", "{}", "?"]);
    }

    #[test]
    fn keys_that_are_no_plain_texts_leave_the_line_whole() {
        let odd: Vec<String> =
            (0..600).map(|row| format!(r#"{{"a":{row},"n":{{"b\q":"{row} x"}}}}"#)).collect();
        assert_eq!(reduced(&odd, &["a"])[0], "?");
        let twice: Vec<String> =
            (0..600).map(|row| format!(r#"{{"a":{row},"b":"{row} x","a":1}}"#)).collect();
        assert_eq!(reduced(&twice, &["a"])[7], "?");
        assert_eq!(reduced(&twice, &["b"])[7], r#"{"b":"7 x"}"#);
    }
}
