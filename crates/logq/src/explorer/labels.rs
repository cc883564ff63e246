//! The browser of labels: names, their values with counts, and what has been chosen of them.

use std::collections::{BTreeMap, BTreeSet};

/// Most values of one label that are listed; narrowing finds the others.
const VALUES_MAX: usize = 10_000;

/// A value and how many entries of the range have it, if that is known.
pub(crate) type Counted = (String, Option<u64>);

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A label.
    Name {
        /// Its name.
        name: &'a str,
        /// Whether its values are listed below.
        is_open: bool,
    },
    /// A value of the open label.
    Value {
        /// The value.
        value: &'a str,
        /// Entries that have it.
        count: Option<u64>,
        /// Whether it is part of the selector.
        is_chosen: bool,
    },
}

/// Names and values as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    names: Vec<String>,
    /// The label whose values are listed, and these, unless they are still to come.
    open: Option<(String, Option<Vec<Counted>>)>,
    chosen: BTreeMap<String, BTreeSet<String>>,
    /// Only names and values with this text are listed.
    narrow: String,
    at: usize,
    top: usize,
}

impl Browser {
    pub(crate) fn set_names(&mut self, names: Vec<String>) {
        self.names = names.into_iter().filter(|name| !name.starts_with("__")).collect();
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Takes the values of a label; those of one that is open no more are let go.
    pub(crate) fn set_values(&mut self, name: &str, mut values: Vec<Counted>) {
        if let Some((open, known)) = &mut self.open
            && open == name
        {
            values.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
            values.truncate(VALUES_MAX);
            *known = Some(values);
        }
    }

    pub(crate) fn chosen(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.chosen
    }

    pub(crate) fn narrow(&self) -> &str {
        &self.narrow
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn top(&self) -> usize {
        self.top
    }

    /// Returns the label whose values are listed.
    pub(crate) fn open(&self) -> Option<&str> {
        self.open.as_ref().map(|(name, _)| &**name)
    }

    /// Returns whether the values of the open label are still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.open, Some((_, None)))
    }

    /// Returns the rows of the list.
    pub(crate) fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        let fits =
            |text: &str| self.narrow.is_empty() || text.to_lowercase().contains(&self.narrow.to_lowercase());
        for name in &self.names {
            let values = match &self.open {
                Some((open, values)) if open == name => Some(values.as_deref().unwrap_or_default()),
                _ => None,
            };
            if values.is_some() || fits(name) {
                lines.push(Line::Name { name, is_open: values.is_some() });
            }
            let chosen = self.chosen.get(name);
            for (value, count) in values.unwrap_or_default().iter().filter(|(value, _)| fits(value)) {
                let is_chosen = chosen.is_some_and(|chosen| chosen.contains(value));
                lines.push(Line::Value { value, count: *count, is_chosen });
            }
        }
        lines
    }

    /// Moves by so many rows.
    pub(crate) fn step(&mut self, by: isize, rows: usize) {
        let last = self.lines().len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
        self.show(rows);
    }

    pub(crate) fn show(&mut self, rows: usize) {
        self.at = self.at.min(self.lines().len().saturating_sub(1));
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(rows.max(1)));
    }

    /// Adds to the text by which the list is narrowed.
    pub(crate) fn narrow_by(&mut self, c: char) {
        if self.narrow.len() < 100 {
            self.narrow.push(c);
        }
        self.at = self.lines().iter().position(|line| self.is_found(line)).unwrap_or_default();
    }

    fn is_found(&self, line: &Line<'_>) -> bool {
        let (Line::Name { name: text, .. } | Line::Value { value: text, .. }) = line;
        text.to_lowercase().contains(&self.narrow.to_lowercase())
    }

    /// Takes the last letter of that text back; false if there was none.
    pub(crate) fn widen(&mut self) -> bool {
        self.narrow.pop().is_some()
    }

    /// Lists everything again.
    pub(crate) fn widen_all(&mut self) {
        self.narrow.clear();
    }

    /// Opens the label under the cursor, or closes it; returns the label whose values are to be asked for.
    pub(crate) fn toggle(&mut self) -> Option<String> {
        let lines = self.lines();
        let name = match lines.get(self.at)? {
            Line::Name { name, .. } => (*name).to_owned(),
            Line::Value { .. } => return None,
        };
        self.narrow.clear();
        if self.open() == Some(&name) {
            self.open = None;
        } else {
            self.open = Some((name.clone(), None));
        }
        self.at = self
            .lines()
            .iter()
            .position(|line| matches!(line, Line::Name { name: other, .. } if *other == name))?;
        self.open().map(str::to_owned)
    }

    /// Chooses the value under the cursor, or no longer; false if there is none under it.
    pub(crate) fn choose(&mut self) -> bool {
        let value = match self.lines().get(self.at) {
            Some(Line::Value { value, .. }) => (*value).to_owned(),
            _ => return false,
        };
        let Some((name, _)) = &self.open else { return false };
        let chosen = self.chosen.entry(name.clone()).or_default();
        if !chosen.remove(&value) {
            chosen.insert(value);
        }
        if chosen.is_empty() {
            let name = name.clone();
            self.chosen.remove(&name);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browser() -> Browser {
        let mut browser = Browser::default();
        browser.set_names(vec!["__x__".to_owned(), "container".to_owned(), "host".to_owned()]);
        browser
    }

    #[test]
    fn values_open_below_their_label_by_count() {
        let mut browser = browser();
        assert_eq!(browser.toggle().as_deref(), Some("container"));
        assert!(browser.is_waiting());
        browser.set_values("host", vec![("h".to_owned(), None)]);
        browser.set_values("container", vec![("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))]);
        let value = |value, count| Line::Value { value, count: Some(count), is_chosen: false };
        let name = |name, is_open| Line::Name { name, is_open };
        assert_eq!(
            browser.lines(),
            [name("container", true), value("b", 2), value("a", 1), name("host", false)]
        );
        assert_eq!(browser.toggle(), None);
        assert_eq!(browser.lines().len(), 2);
    }

    #[test]
    fn values_are_chosen_and_let_go() {
        let mut browser = browser();
        assert!(!browser.choose());
        browser.toggle();
        browser.set_values("container", vec![("a".to_owned(), None), ("b".to_owned(), None)]);
        browser.step(1, 5);
        assert!(browser.choose());
        browser.step(1, 5);
        assert!(browser.choose());
        assert_eq!(browser.chosen()["container"].len(), 2);
        assert!(browser.choose());
        browser.step(-1, 5);
        assert!(browser.choose());
        assert!(browser.chosen().is_empty());
    }

    #[test]
    fn typing_narrows_the_list() {
        let mut browser = browser();
        browser.toggle();
        browser.set_values("container", vec![("web".to_owned(), None), ("db".to_owned(), None)]);
        browser.narrow_by('D');
        assert_eq!(browser.lines().len(), 2);
        assert_eq!(browser.at(), 1);
        assert!(browser.choose());
        assert!(browser.chosen()["container"].contains("db"));
        assert!(browser.widen());
        assert!(!browser.widen());
        assert_eq!(browser.lines().len(), 4);
    }
}
