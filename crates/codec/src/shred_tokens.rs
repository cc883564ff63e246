//! A text with the tokens of shredded lines, for whoever indexes them: some three times shorter than the lines.
//!
//! A *token* is a maximal run of ASCII letters, digits and bytes from 0x80 on. The splitter makes slots of whole tokens, so
//! those of a line are those of its template's fixed texts and those of its values; and of a column that repeats, each
//! value is looked at once.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::shred_values::Values;
use crate::shredded::Shredded;
use std::borrow::Cow;

/// Smaller numbers are left out.
const NUMBER_MIN: u64 = 100_000;

impl Block {
    /// Returns a text that has every token of the lines, and no others, but for decimal numbers of fewer than six digits,
    /// which it may lack.
    ///
    /// Cost: decodes all columns of shredded lines.
    pub fn token_text(&self) -> Result<Cow<'_, [u8]>, Error> {
        match self.shredded()? {
            Some(shredded) => shredded.token_text(self).map(Cow::Owned).map_err(|error| self.located(error)),
            None => Ok(Cow::Borrowed(self.lines()?.text())),
        }
    }
}

impl Shredded {
    fn token_text(&self, block: &Block) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        for piece in &self.head.pieces {
            text.extend_from_slice(self.head.literal(piece));
            text.push(b'\n');
        }
        for (number, column) in (0u32..).zip(&self.head.columns) {
            match self.values(block, number)? {
                Values::Constant(value) => {
                    text.extend_from_slice(value);
                    text.push(b'\n');
                }
                Values::Dictionary(dictionary) => text.extend_from_slice(dictionary.values.text()),
                Values::Text(lines) => text.extend_from_slice(lines.text()),
                // Numbers of three digits at most.
                Values::Addresses(_) => {}
                values @ (Values::Numbers(_) | Values::Shape(_)) => {
                    for index in 0..column.values {
                        if let Values::Numbers(numbers) = values
                            && numbers.get(index as usize) < NUMBER_MIN
                        {
                            continue;
                        }
                        values.render(index, &mut text);
                        text.push(b'\n');
                    }
                }
            }
        }
        Ok(text)
    }
}
