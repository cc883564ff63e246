//! Finds the line of a key in a YAML text: of a rule file, or of the config.
//!
//! The YAML reader tells positions only in its errors. So this module reads the text once more, walks
//! down to the key and raises an error there, whose position is the answer.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Marks the error that means "found", so that no other error of the text is taken for it.
const FOUND: &str = "the wanted key stands here";

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, counted from 0.
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Item(index)
    }
}

/// Writes a path as messages name it, as in `agent.files[1].path`; empty for the document itself.
pub fn name_of(path: &[Step]) -> String {
    let mut name = String::new();
    for step in path {
        match step {
            Step::Key(key) if name.is_empty() => name.push_str(key),
            Step::Key(key) => name.extend([".", key]),
            Step::Item(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}

/// Returns the line (from 1) on which the last key of a path stands, if the text has it.
pub fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    let keys_end = path.iter().rposition(|step| matches!(step, Step::Key(_)))?;
    let path = path.get(..=keys_end)?;
    let error = Seek { path }.deserialize(serde_yaml_ng::Deserializer::from_str(text)).err()?;
    let location = error.location().filter(|_| error.to_string().contains(FOUND))?;
    Some(location.line())
}

/// Walks down a path and fails at its end.
struct Seek<'p> {
    path: &'p [Step],
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(name), rest)) = self.path.split_first() else {
            return Err(A::Error::custom("the path ends here"));
        };
        let last = rest.is_empty();
        while let Some(found) = map.next_key_seed(KeySeek { name, last })? {
            match found {
                true => map.next_value_seed(Seek { path: rest })?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Item(index), rest)) = self.path.split_first() else {
            return Err(A::Error::custom("the path ends here"));
        };
        for _ in 0..*index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Seek { path: rest })?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Tells whether a key is the wanted one; fails on it if it is the path's last.
struct KeySeek<'p> {
    name: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeek<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeek<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.name, self.last) {
            (true, true) => Err(E::custom(FOUND)),
            (found, _) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
listen: 127.0.0.1:1
store:
  wal:
    sync: always

  flush: {on_close: true,
    age_secs_max: 5}
agent:
  files:
    - path: [a]
    - path: [b]
      exlude: [c]
";

    fn line(path: &[&str]) -> Option<usize> {
        let steps: Vec<Step> = path
            .iter()
            .map(|step| step.parse().map_or_else(|_| Step::Key((*step).to_owned()), Step::Item))
            .collect();
        line_of(TEXT, &steps)
    }

    #[test]
    fn keys_are_found_on_their_lines() {
        assert_eq!(line(&["listen"]), Some(2));
        assert_eq!(line(&["store"]), Some(3));
        assert_eq!(line(&["store", "wal", "sync"]), Some(5));
        assert_eq!(line(&["store", "flush", "age_secs_max"]), Some(8));
        assert_eq!(line(&["agent", "files", "1", "exlude"]), Some(13));
        assert_eq!(line(&["agent", "files", "1"]), Some(10));
    }

    #[test]
    fn paths_have_names() {
        let path = [Step::from("agent"), Step::from("files"), Step::from(1), Step::from("path")];
        assert_eq!(name_of(&path), "agent.files[1].path");
        assert_eq!(name_of(&[]), "");
    }

    #[test]
    fn absent_keys_have_no_line() {
        assert_eq!(line(&["store", "nothing"]), None);
        assert_eq!(line(&[]), None);
        assert_eq!(line_of("", &[Step::Key("a".to_owned())]), None);
    }
}
