//! What was found out for entries whose reduced lines are equal, and their levels and metadata, too.

use crate::scan::Codes;

/// Levels and metadata that are told apart; entries of others are looked at one by one.
const CODES_MAX: usize = 16;

/// A place for what is found out, by class of line and by level and metadata.
#[derive(Debug)]
pub(crate) struct ByClass<T> {
    classes: usize,
    codes: Vec<Codes>,
    /// Where in `codes` those of the last entry are.
    last: usize,
    /// Those of all classes for the first codes, then for the second ones.
    known: Vec<Option<T>>,
}

impl<T: Clone> ByClass<T> {
    pub(crate) fn new(classes: usize) -> Self {
        Self { classes, codes: Vec::new(), last: 0, known: Vec::new() }
    }

    /// Returns the place for entries like this one; `None` if there is none.
    pub(crate) fn place(&mut self, codes: Codes, class: u32) -> Option<&mut Option<T>> {
        if self.codes.get(self.last) != Some(&codes) {
            self.last = match self.codes.iter().position(|known| *known == codes) {
                Some(index) => index,
                None if self.codes.len() < CODES_MAX => {
                    self.codes.push(codes);
                    self.known.resize(self.codes.len() * self.classes, None);
                    self.codes.len() - 1
                }
                None => return None,
            };
        }
        let class = Some(class as usize).filter(|class| *class < self.classes)?;
        self.known.get_mut(self.last * self.classes + class)
    }
}
