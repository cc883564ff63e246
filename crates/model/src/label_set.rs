//! Labels and the sorted set of them that identifies a stream.

use std::fmt;
use std::fmt::Write as _;

/// A name and its value.
pub type Label = (Box<str>, Box<str>);

/// Labels sorted by name, each name once; cheap to compare, cloned rarely (share it in an `Arc`).
///
/// Empty values are allowed, since parsed labels may be empty; stream labels never are (ingest
/// removes them). Also used for structured metadata and the labels of series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet(Vec<Label>);

/// Why labels do not form a set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LabelSetError {
    /// A name occurs twice.
    #[error("duplicate label name {0:?}")]
    Duplicate(String),
}

impl LabelSet {
    /// Sorts labels into a set. Errors: a name that occurs twice.
    pub fn new(mut labels: Vec<Label>) -> Result<Self, LabelSetError> {
        labels.sort_unstable();
        let twice = labels.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0));
        match twice {
            Some([label, ..]) => Err(LabelSetError::Duplicate(label.0.to_string())),
            _ => Ok(Self(labels)),
        }
    }

    /// Builds a set from pairs; of two equal names the last wins.
    pub fn from_pairs<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut set = Self::default();
        for (name, value) in pairs {
            set.insert(name, value);
        }
        set
    }

    /// Returns the value of a label, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.place(name)?;
        self.0.get(index).map(|label| &*label.1)
    }

    /// Returns the place of a label in the order of names, if the set has it.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|label| (*label.0).cmp(name)).ok()
    }

    /// Sets a label, replacing the value it had.
    pub fn insert(&mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) {
        let (name, value) = (name.into(), value.into());
        match self.0.binary_search_by(|label| label.0.cmp(&name)) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (name, value)),
        }
    }

    /// Removes a label and returns its value, if the set had it.
    pub fn remove(&mut self, name: &str) -> Option<Box<str>> {
        let index = self.place(name)?;
        Some(self.0.remove(index).1)
    }

    /// Returns the labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the canonical text, as it is displayed.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(2 + self.text_bytes() + 5 * self.len());
        write!(text, "{self}").expect("a string takes any text");
        text
    }

    /// Returns the bytes of all names and values.
    pub fn text_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Writes the canonical text, `{a="1", b="2"}`, values quoted as in Go. Results are sorted by it.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_char('}')
    }
}

/// Writes `text` between double quotes with the escapes of Go's `strconv.Quote`.
pub(crate) fn write_quoted(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut rest = text;
    // All that is escaped is one byte.
    let is_escaped = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f);
    while let Some(at) = rest.bytes().position(is_escaped) {
        let (plain, escaped) = rest.split_at(at);
        f.write_str(plain)?;
        let mut chars = escaped.chars();
        match chars.next().unwrap_or_default() {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{7}' => f.write_str("\\a")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\u{b}' => f.write_str("\\v")?,
            c => write!(f, "\\x{:02x}", c as u32)?,
        }
        rest = chars.as_str();
    }
    f.write_str(rest)?;
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_unique() {
        let set = LabelSet::new(vec![("b".into(), "2".into()), ("a".into(), "1".into())]).unwrap();
        assert_eq!(set.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!((set.text(), LabelSet::default().text()), (set.to_string(), "{}".to_owned()));
        assert_eq!(set.get("b"), Some("2"));
        assert_eq!((set.get("c"), set.place("b"), set.place("c")), (None, Some(1), None));
        let twice = LabelSet::new(vec![("a".into(), "2".into()), ("a".into(), "1".into())]);
        assert_eq!(twice, Err(LabelSetError::Duplicate("a".to_owned())));
    }

    #[test]
    fn values_are_quoted_as_in_go() {
        let set = LabelSet::from_pairs([("a", "x\"y\\z\n\u{1}é")]);
        assert_eq!(set.to_string(), r#"{a="x\"y\\z\n\x01é"}"#);
    }

    #[test]
    fn insert_replaces_and_remove_returns() {
        let mut set = LabelSet::from_pairs([("a", "1")]);
        set.insert("a", "2");
        assert_eq!(set.remove("a").as_deref(), Some("2"));
        assert!(set.is_empty());
    }
}
