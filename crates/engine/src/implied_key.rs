//! Label filters on keys of JSON and logfmt lines, tested on the columns of shredded lines.
//!
//! Answers "no entry of these rows passes" where that is certain, and nothing else: rows that stay are parsed and
//! tested as ever. Certain is what the codec claims of keys (see `Block::key_groups`); a value is left to the
//! parser if it holds what one may read in another way. That a parser may note an error and set no label does
//! not matter: the filters here drop an entry without the label.

use crate::error::Error;
use crate::stage_label_filter::LabelTest;
use logyard_codec::{Block, KeyFormat, KeyValue, KeyValues};
use std::ops::Range;

/// A label filter that an absent label fails, on a label that one parser of whole lines gives.
#[derive(Debug)]
pub(crate) struct KeyTest {
    pub(crate) format: KeyFormat,
    pub(crate) key: String,
    pub(crate) test: LabelTest,
}

impl KeyTest {
    /// Appends to `out` the rows that may pass, and to `unknown` those that the text has to tell of; neither in
    /// order. Returns whether there was anything to tell by: not where lines are plain.
    pub(crate) fn rows(
        &self,
        block: &Block,
        rows: Range<u32>,
        out: &mut Vec<u32>,
        unknown: &mut Vec<u32>,
    ) -> Result<bool, Error> {
        let Some(groups) = block.key_groups(self.format, self.key.as_bytes(), rows)? else {
            return Ok(false);
        };
        for group in groups {
            match group.value {
                KeyValue::Unknown => unknown.extend_from_slice(group.rows),
                KeyValue::Absent => {}
                KeyValue::Values(values) => self.values(values, group.rows, out),
            }
        }
        Ok(true)
    }

    fn values(&self, values: KeyValues<'_>, rows: &[u32], out: &mut Vec<u32>) {
        if let Some(value) = values.constant() {
            if self.may_pass(value) {
                out.extend_from_slice(rows);
            }
            return;
        }
        let places = (0_u32..).zip(rows);
        if let Some(dictionary) = values.dictionary() {
            // Found out at the first use: a dictionary may have more values than the group has rows.
            let mut known: Vec<Option<bool>> = vec![None; dictionary.rows()];
            for (place, row) in places {
                let code = values.code(place);
                let test = || self.may_pass(dictionary.line(code));
                if known.get_mut(code as usize).is_none_or(|known| *known.get_or_insert_with(test)) {
                    out.push(*row);
                }
            }
            return;
        }
        let mut value = Vec::new();
        for (place, row) in places {
            value.clear();
            values.value_into(place, &mut value);
            if self.may_pass(&value) {
                out.push(*row);
            }
        }
    }

    fn may_pass(&self, value: &[u8]) -> bool {
        let is_clear = value.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
        match std::str::from_utf8(value) {
            Ok(text) if is_clear => self.test.may_pass(text),
            _ => true,
        }
    }
}
