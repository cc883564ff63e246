//! The labels of one entry on its way through a pipeline.
//!
//! Labels come from the stream, from structured metadata and from the pipeline ("parsed"). A name has
//! at most one visible value: parsed before metadata before stream. The error pair stands apart, so
//! that no content of a line can claim it.

use crate::hash::Hash128;
use crate::parsed::Parsed;
use crate::stage_distinct::NO_COMBINATION;
use logyard_model::LabelSet;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// Name of the error label.
pub(crate) const ERROR: &str = "__error__";
/// Name of the label with the reason of the error.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
/// Name of the label that lets a sample with an error pass.
pub(crate) const PRESERVE_ERROR: &str = "__preserve_error__";
/// Name of the label that the level column holds.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";

/// The empty set of all entries that have none, so that whoever groups entries by their sets finds equal ones by address.
pub(crate) static NO_LABELS: LazyLock<Arc<LabelSet>> = LazyLock::new(Arc::default);

/// Labels that an entry brings along: shared by all entries of one stream, level and metadata.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) stream: Arc<LabelSet>,
    pub(crate) metadata: Arc<LabelSet>,
}

impl Base {
    /// Joins structured metadata and level; a name that the stream has gains `_extracted`, as do
    /// names that would pass for the error pair.
    pub(crate) fn new(stream: &Arc<LabelSet>, level: &str, metadata: &Arc<LabelSet>) -> Self {
        let free = |name: &str| stream.get(name).is_none() && !is_reserved(name);
        let metadata = if level.is_empty() && metadata.iter().all(|(name, _)| free(name)) {
            Arc::clone(metadata)
        } else {
            let mut set = LabelSet::default();
            let level = (!level.is_empty()).then_some((DETECTED_LEVEL, level));
            for (name, value) in metadata.iter().chain(level) {
                if free(name) {
                    set.insert(name, value);
                } else {
                    set.insert(format!("{name}_extracted"), value);
                }
            }
            Arc::new(set)
        };
        Self { stream: Arc::clone(stream), metadata }
    }
}

/// Whether content may not use the name.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("__error") || name.starts_with("__preserve_error")
}

/// The labels of an entry as the stages so far left them.
///
/// Cost: none of its own for an entry whose pipeline sets no label; with [`Labels::reusing`] none for
/// any, once the buffers have grown.
#[derive(Clone, Debug)]
pub(crate) struct Labels<'a> {
    base: &'a Base,
    buffers: Buffers,
    pub(crate) error: Option<&'static str>,
    pub(crate) error_details: Option<Cow<'static, str>>,
    /// Samples with the error pass nonetheless.
    pub(crate) preserve_error: bool,
    /// Stands for the values that `distinct` looks at.
    pub(crate) combination: Hash128,
}

/// What [`Labels`] writes to, kept for the next entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    parsed: Parsed,
    /// Places in the stream's labels that are deleted, and in those of metadata.
    gone_stream: Vec<usize>,
    gone_metadata: Vec<usize>,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(base: &'a Base) -> Self {
        Self::reusing(base, Buffers::default())
    }

    /// Begins with the buffers of an entry that is done.
    pub(crate) fn reusing(base: &'a Base, mut buffers: Buffers) -> Self {
        buffers.parsed.clear();
        buffers.gone_stream.clear();
        buffers.gone_metadata.clear();
        Self {
            base,
            buffers,
            error: None,
            error_details: None,
            preserve_error: false,
            combination: NO_COMBINATION,
        }
    }

    /// Gives the buffers back.
    pub(crate) fn into_buffers(self) -> Buffers {
        self.buffers
    }

    /// Returns whether the pipeline has set the name before, whatever became of it: a parser never sets
    /// one again.
    pub(crate) fn is_extracted(&self, name: &str) -> bool {
        self.buffers.parsed.is_known(name)
    }

    /// Sets a label that a parser found, unless the pipeline has set it before.
    ///
    /// A name that is taken gains `_extracted`.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        if !self.is_taken(name) {
            // Neither stream nor metadata have it.
            self.buffers.parsed.add(name, value);
            return;
        }
        let name = format!("{name}_extracted");
        if !self.is_extracted(&name) {
            self.overwrite(&name, value);
        }
    }

    /// Returns whether the stream had the name at first, metadata has it now, or it would pass for one
    /// of the error pair: no parser may use it.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.base.stream.get(name).is_some() || self.metadata(name).is_some() || is_reserved(name)
    }

    /// Returns the name under which a parser stores what it found under `name`.
    pub(crate) fn free_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.is_taken(name) { Cow::Owned(format!("{name}_extracted")) } else { Cow::Borrowed(name) }
    }

    /// Sets a label whatever the pipeline has set before; parsers without expressions leave it alone
    /// from then on. The name leaves stream and metadata.
    pub(crate) fn overwrite(&mut self, name: &str, value: &str) {
        self.hide(name);
        self.buffers.parsed.set(name, value);
    }

    fn metadata(&self, name: &str) -> Option<&'a str> {
        visible(&self.base.metadata, &self.buffers.gone_metadata, name)
    }

    fn stream(&self, name: &str) -> Option<&'a str> {
        visible(&self.base.stream, &self.buffers.gone_stream, name)
    }

    /// Deletes a name from stream and metadata.
    fn hide(&mut self, name: &str) {
        let Buffers { gone_stream, gone_metadata, .. } = &mut self.buffers;
        for (set, gone) in [(&self.base.stream, gone_stream), (&self.base.metadata, gone_metadata)] {
            if let Some(place) = set.place(name)
                && !gone.contains(&place)
            {
                gone.push(place);
            }
        }
    }

    /// Notes the error of a parser, in place of any other.
    pub(crate) fn set_parser_error(&mut self, error: &'static str, details: &str, preserve: bool) {
        self.error = Some(error);
        self.error_details = Some(Cow::Owned(details.to_owned()));
        self.preserve_error |= preserve;
    }

    /// Notes an error, in place of any other.
    pub(crate) fn replace_error(&mut self, error: &'static str, details: &str) {
        self.set_parser_error(error, details, false);
    }

    /// Returns the visible value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            ERROR => self.error,
            ERROR_DETAILS => self.error_details.as_deref(),
            PRESERVE_ERROR => self.preserve_error.then_some("true"),
            _ => self.buffers.parsed.get(name).or_else(|| self.metadata(name)).or_else(|| self.stream(name)),
        }
    }

    /// Notes an error, unless there is one.
    pub(crate) fn set_error(&mut self, error: &'static str, details: String) {
        if self.error.is_none() {
            self.error = Some(error);
            self.error_details = Some(Cow::Owned(details));
        }
    }

    /// Deletes a name from wherever it is.
    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            ERROR => self.error = None,
            ERROR_DETAILS => self.error_details = None,
            _ => {
                self.buffers.parsed.remove(name);
                self.hide(name);
            }
        }
    }

    /// Returns the visible names, the error pair left out.
    pub(crate) fn names(&self) -> Vec<String> {
        self.content().map(|(name, _)| name.to_owned()).collect()
    }

    /// Returns the visible labels without the error pair, in no particular order: of equal names, which
    /// only stream and metadata can share, the last counts.
    fn content(&self) -> impl Iterator<Item = (&str, &str)> {
        let stream = left(&self.base.stream, &self.buffers.gone_stream);
        stream.chain(left(&self.base.metadata, &self.buffers.gone_metadata)).chain(self.buffers.parsed.iter())
    }

    /// Appends all visible labels, the error pair included, by name, each name once.
    pub(crate) fn sorted<'l>(&'l self, out: &mut Vec<(&'l str, &'l str)>) {
        let start = out.len();
        out.extend(self.content().chain(self.error_pair()));
        let Some(added) = out.get_mut(start..) else { return };
        // Stable: of equal names the later one stands behind.
        added.sort_by(|a, b| a.0.cmp(b.0));
        out.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
    }

    /// Returns all visible labels as one set, the error pair included.
    pub(crate) fn union(&self) -> LabelSet {
        LabelSet::from_pairs(self.content().chain(self.error_pair()))
    }

    fn error_pair(&self) -> impl Iterator<Item = (&str, &str)> {
        let error = self.error.map(|error| (ERROR, error));
        let details = self.error_details.as_deref().filter(|details| !details.is_empty());
        let preserve = self.preserve_error.then_some((PRESERVE_ERROR, "true"));
        error.into_iter().chain(details.map(|details| (ERROR_DETAILS, details))).chain(preserve)
    }

    /// Splits the labels by where they come from; what nothing changed is shared with `base`.
    pub(crate) fn split(self, base: &Base) -> (Arc<LabelSet>, Arc<LabelSet>, Arc<LabelSet>) {
        let share = |set: &Arc<LabelSet>, gone: &[usize]| {
            if gone.is_empty() { Arc::clone(set) } else { Arc::new(LabelSet::from_pairs(left(set, gone))) }
        };
        let stream = share(&base.stream, &self.buffers.gone_stream);
        let metadata = share(&base.metadata, &self.buffers.gone_metadata);
        let mut parsed = self.buffers.parsed.iter().chain(self.error_pair()).peekable();
        if parsed.peek().is_none() {
            return (stream, metadata, Arc::clone(&NO_LABELS));
        }
        (stream, metadata, Arc::new(LabelSet::from_pairs(parsed)))
    }
}

/// Returns the value of a label that is not gone.
fn visible<'a>(set: &'a LabelSet, gone: &[usize], name: &str) -> Option<&'a str> {
    if gone.is_empty() {
        return set.get(name);
    }
    let place = set.place(name).filter(|place| !gone.contains(place))?;
    set.iter().nth(place).map(|(_, value)| value)
}

/// Returns the labels that are not gone.
fn left<'a>(set: &'a LabelSet, gone: &'a [usize]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let present = move |(place, _): &(usize, (&str, &str))| gone.is_empty() || !gone.contains(place);
    set.iter().enumerate().filter(present).map(|(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_stream_and_reserved_ones_are_renamed() {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a"), (DETECTED_LEVEL, "x")]));
        let metadata = Arc::new(LabelSet::from_pairs([("app", "m"), ("__error__", "e"), ("t", "1")]));
        let base = Base::new(&stream, "info", &metadata);
        let expect =
            r#"{__error___extracted="e", app_extracted="m", detected_level_extracted="info", t="1"}"#;
        assert_eq!(base.metadata.to_string(), expect);
        let labels = Labels::new(&base);
        assert_eq!(labels.get("app"), Some("a"));
        assert_eq!(labels.get(ERROR), None);
    }

    #[test]
    fn what_is_removed_is_gone_from_everywhere() {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a"), ("b", "c")]));
        let base = Base::new(&stream, "info", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        labels.set_error("LabelFilterErr", "first".to_owned());
        labels.set_error("Other", "second".to_owned());
        labels.remove("app");
        labels.remove(DETECTED_LEVEL);
        assert_eq!(
            labels.union().to_string(),
            r#"{__error__="LabelFilterErr", __error_details__="first", b="c"}"#
        );
        let (stream, metadata, parsed) = labels.split(&base);
        assert_eq!((stream.len(), metadata.len(), parsed.len()), (1, 0, 2));
    }
}
