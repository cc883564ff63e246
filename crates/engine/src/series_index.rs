//! The numbers of series, found by the labels of an entry without building a label set.
//!
//! The key is the text of the labels in order of their names, in a buffer that is reused: an entry of
//! a known series allocates next to nothing.

use crate::labels::Labels;
use logyard_logql::Grouping;
use logyard_model::LabelSet;
use std::collections::HashMap;

/// Which labels of an entry name its series.
#[derive(Debug)]
pub(crate) struct SeriesLabels {
    /// Names of the grouping, sorted.
    names: Vec<String>,
    /// Whether only those names count, or all others.
    by: bool,
    /// A label that counts only if a grouping names it.
    hidden: Option<String>,
}

impl SeriesLabels {
    /// All labels count if there is no grouping; `hidden` is the label that was unwrapped.
    pub(crate) fn new(grouping: Option<&Grouping>, hidden: Option<&str>) -> Self {
        let mut names = grouping.map(|grouping| grouping.labels.clone()).unwrap_or_default();
        names.sort_unstable();
        names.dedup();
        let by = grouping.is_some_and(|grouping| !grouping.without);
        Self { names, by, hidden: hidden.map(str::to_owned) }
    }

    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|named| named == name)
    }
}

/// Series by labels, numbered in the order of their first entry.
#[derive(Debug, Default)]
pub(crate) struct SeriesIndex {
    by_key: HashMap<Box<[u8]>, usize>,
    labels: Vec<LabelSet>,
    key: Vec<u8>,
}

impl SeriesIndex {
    /// Returns the number of series.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns the labels of a series.
    pub(crate) fn labels(&self, number: usize) -> Option<&LabelSet> {
        self.labels.get(number)
    }

    /// Returns the labels of the series, by their numbers.
    pub(crate) fn into_labels(self) -> Vec<LabelSet> {
        self.labels
    }

    /// Returns the number of the series that an entry counts for.
    ///
    /// An entry with an error keeps all labels, so that no grouping hides it (Loki v3.7.6).
    pub(crate) fn of(&mut self, labels: &Labels<'_>, which: &SeriesLabels) -> usize {
        if which.by && labels.error.is_none() {
            return self
                .of_sorted(|| which.names.iter().filter_map(|name| Some((&**name, labels.get(name)?))));
        }
        let mut sorted = Vec::with_capacity(32);
        labels.sorted(&mut sorted);
        // An error keeps all labels, so that no grouping hides it.
        if labels.error.is_none() {
            sorted.retain(|(name, _)| which.hidden.as_deref() != Some(*name) && !which.names(name));
        }
        self.of_sorted(|| sorted.iter().copied())
    }

    /// Returns the number of the series with just these labels.
    pub(crate) fn of_set(&mut self, set: &LabelSet) -> usize {
        self.of_sorted(|| set.iter())
    }

    /// Returns the number of the series with these labels, which come in order of their names.
    fn of_sorted<'l, I: Iterator<Item = (&'l str, &'l str)>>(&mut self, labels: impl Fn() -> I) -> usize {
        self.key.clear();
        for (name, value) in labels() {
            for text in [name, value] {
                self.key.extend_from_slice(&text.len().to_le_bytes());
                self.key.extend_from_slice(text.as_bytes());
            }
        }
        if let Some(number) = self.by_key.get(&*self.key) {
            return *number;
        }
        let number = self.labels.len();
        self.labels.push(LabelSet::from_pairs(labels()));
        self.by_key.insert(self.key.as_slice().into(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use std::sync::Arc;

    #[test]
    fn series_by_what_counts() {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a"), ("z", "1")]));
        let base = Base::new(&stream, "info", &Arc::new(LabelSet::default()));
        let check = |grouping: Option<(bool, &[&str])>, hidden: Option<&str>, error: bool, expect: &str| {
            let grouping = grouping.map(|(without, names)| Grouping {
                without,
                labels: names.iter().map(|&name| name.to_owned()).collect(),
            });
            let mut index = SeriesIndex::default();
            let mut labels = Labels::new(&base);
            labels.overwrite("n", "5");
            labels.overwrite("z", "2");
            if error {
                labels.replace_error("E", "");
            }
            let which = SeriesLabels::new(grouping.as_ref(), hidden);
            assert_eq!((index.of(&labels, &which), index.of(&labels, &which), index.len()), (0, 0, 1));
            let set = index.labels[0].clone();
            assert_eq!((set.to_string().as_str(), index.of_set(&set)), (expect, 0));
        };
        check(None, None, false, r#"{app="a", detected_level="info", n="5", z="2"}"#);
        check(None, Some("n"), false, r#"{app="a", detected_level="info", z="2"}"#);
        check(Some((false, &["z", "n", "z", "none"])), Some("n"), false, r#"{n="5", z="2"}"#);
        check(Some((true, &["z", "app"])), Some("n"), false, r#"{detected_level="info"}"#);
        check(
            Some((false, &["z"])),
            Some("n"),
            true,
            r#"{__error__="E", app="a", detected_level="info", n="5", z="2"}"#,
        );
        check(Some((false, &[])), None, false, "{}");
    }
}
