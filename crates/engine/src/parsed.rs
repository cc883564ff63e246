//! The labels that a pipeline sets on one entry, in one buffer that the next entry reuses.
//!
//! Bytes per label: its text and 28. Nothing is allocated for an entry once the buffers have grown to
//! the largest. A name is found by a scan over hashes, which is fast up to the few hundred labels that
//! the largest JSON lines give.

use std::ops::Range;

/// Names and values, in the order in which they were first set; a name that was set is known for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    text: String,
    /// Hash of each name.
    hashes: Vec<u32>,
    places: Vec<Place>,
}

/// Where name and value of a label stand in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
    is_removed: bool,
}

impl Parsed {
    /// Forgets all labels and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.hashes.clear();
        self.places.clear();
    }

    /// Returns whether the name was ever set.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the value of a name that is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let place = self.places.get(self.find(name)?).filter(|place| !place.is_removed)?;
        Some(self.at(place.value))
    }

    /// Sets a label.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let hash = hash(name);
        match self.find_hash(hash, name) {
            Some(index) => {
                let value = self.append(value);
                if let Some(place) = self.places.get_mut(index) {
                    (place.value, place.is_removed) = (value, false);
                }
            }
            None => self.push(hash, name, value),
        }
    }

    /// Sets a label unless its name is known.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let hash = hash(name);
        if self.find_hash(hash, name).is_none() {
            self.push(hash, name, value);
        }
    }

    fn push(&mut self, hash: u32, name: &str, value: &str) {
        let (name_at, value_at) = (self.append(name), self.append(value));
        self.hashes.push(hash);
        self.places.push(Place { name: name_at, value: value_at, is_removed: false });
    }

    /// Removes a label; its name stays known.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(place) = self.find(name).and_then(|index| self.places.get_mut(index)) {
            place.is_removed = true;
        }
    }

    /// Returns the labels that are set, in the order in which their names were first set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = self.places.iter().filter(|place| !place.is_removed);
        set.map(|place| (self.at(place.name), self.at(place.value)))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.find_hash(hash(name), name)
    }

    fn find_hash(&self, wanted: u32, name: &str) -> Option<usize> {
        let mut from = 0;
        loop {
            let found = self.hashes.get(from..)?.iter().position(|hash| *hash == wanted)? + from;
            let place = self.places.get(found)?;
            if self.at(place.name) == name {
                return Some(found);
            }
            from = found + 1;
        }
    }

    fn append(&mut self, text: &str) -> (u32, u32) {
        let start = self.text.len();
        self.text.push_str(text);
        // The text of one entry takes far less than 4 GiB: a longer one would be cut short here.
        let short = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        (short(start), short(self.text.len()))
    }

    fn at(&self, (start, end): (u32, u32)) -> &str {
        self.text.get(Range { start: start as usize, end: end as usize }).unwrap_or_default()
    }
}

/// Mixes the bytes of a name; names that share it are told apart by their text.
fn hash(name: &str) -> u32 {
    let mut mixed = name.len() as u64;
    let mut chunks = name.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        mixed = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    for byte in chunks.remainder() {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    // The low half of a mixed word.
    mixed as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_removed_and_known() {
        let mut parsed = Parsed::default();
        parsed.set("a", "1");
        parsed.set("bcdefghijk", "2");
        parsed.set("a", "33");
        parsed.remove("bcdefghijk");
        parsed.remove("none");
        assert_eq!((parsed.get("a"), parsed.get("bcdefghijk")), (Some("33"), None));
        assert!(parsed.is_known("bcdefghijk") && !parsed.is_known("none"));
        parsed.set("bcdefghijk", "");
        assert_eq!(parsed.iter().collect::<Vec<_>>(), [("a", "33"), ("bcdefghijk", "")]);
        parsed.clear();
        assert_eq!((parsed.is_known("a"), parsed.iter().count()), (false, 0));
    }

    #[test]
    fn many_labels() {
        let mut parsed = Parsed::default();
        for index in 0..1000 {
            parsed.set(&format!("name_{index}"), &index.to_string());
        }
        assert!((0..1000).all(|index| parsed.get(&format!("name_{index}")) == Some(&index.to_string())));
    }
}
