//! The labels of one entry on its way through a pipeline.
//!
//! Labels come from the stream, from structured metadata and from the pipeline ("parsed"). A name has
//! at most one visible value: parsed before metadata before stream. The error pair stands apart, so
//! that no content of a line can claim it.

use logyard_model::LabelSet;
use std::borrow::Cow;
use std::sync::Arc;

/// Name of the error label.
pub(crate) const ERROR: &str = "__error__";
/// Name of the label with the reason of the error.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
/// Name of the label that lets a sample with an error pass.
pub(crate) const PRESERVE_ERROR: &str = "__preserve_error__";
/// Name of the label that the level column holds.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";

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
#[derive(Clone, Debug)]
pub(crate) struct Labels<'a> {
    base: &'a Base,
    stream: Cow<'a, LabelSet>,
    metadata: Cow<'a, LabelSet>,
    parsed: LabelSet,
    pub(crate) error: Option<&'static str>,
    pub(crate) error_details: Option<String>,
    /// Samples with the error pass nonetheless.
    pub(crate) preserve_error: bool,
    /// Names that the pipeline has set, whatever became of them: a parser never sets one again.
    extracted: Vec<String>,
}

impl<'a> Labels<'a> {
    pub(crate) fn new(base: &'a Base) -> Self {
        Self {
            base,
            stream: Cow::Borrowed(&base.stream),
            metadata: Cow::Borrowed(&base.metadata),
            parsed: LabelSet::default(),
            error: None,
            error_details: None,
            preserve_error: false,
            extracted: Vec::new(),
        }
    }

    /// Returns whether the pipeline has set the name before.
    pub(crate) fn is_extracted(&self, name: &str) -> bool {
        self.extracted.iter().any(|known| known == name)
    }

    /// Sets a label that a parser found, unless the pipeline has set it before.
    ///
    /// A name that is taken gains `_extracted`.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        let name = self.free_name(name);
        if !self.is_extracted(&name) {
            self.overwrite(&name, value);
        }
    }

    /// Returns whether the stream had the name at first, metadata has it now, or it would pass for one
    /// of the error pair: no parser may use it.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.base.stream.get(name).is_some() || self.metadata.get(name).is_some() || is_reserved(name)
    }

    /// Returns the name under which a parser stores what it found under `name`.
    pub(crate) fn free_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.is_taken(name) { Cow::Owned(format!("{name}_extracted")) } else { Cow::Borrowed(name) }
    }

    /// Sets a label whatever the pipeline has set before; parsers without expressions leave it alone
    /// from then on.
    pub(crate) fn overwrite(&mut self, name: &str, value: &str) {
        if !self.is_extracted(name) {
            self.extracted.push(name.to_owned());
        }
        self.set(name, value);
    }

    /// Sets a label as the pipeline's own: the name leaves stream and metadata.
    fn set(&mut self, name: &str, value: &str) {
        if self.metadata.get(name).is_some() {
            self.metadata.to_mut().remove(name);
        }
        if self.stream.get(name).is_some() {
            self.stream.to_mut().remove(name);
        }
        self.parsed.insert(name, value);
    }

    /// Notes the error of a parser, in place of any other.
    pub(crate) fn set_parser_error(&mut self, error: &'static str, details: &str, preserve: bool) {
        self.error = Some(error);
        self.error_details = Some(details.to_owned());
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
            _ => self.parsed.get(name).or_else(|| self.metadata.get(name)).or_else(|| self.stream.get(name)),
        }
    }

    /// Notes an error, unless there is one.
    pub(crate) fn set_error(&mut self, error: &'static str, details: String) {
        if self.error.is_none() {
            self.error = Some(error);
            self.error_details = Some(details);
        }
    }

    /// Deletes a name from wherever it is.
    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            ERROR => self.error = None,
            ERROR_DETAILS => self.error_details = None,
            _ => {
                self.parsed.remove(name);
                if self.metadata.get(name).is_some() {
                    self.metadata.to_mut().remove(name);
                }
                if self.stream.get(name).is_some() {
                    self.stream.to_mut().remove(name);
                }
            }
        }
    }

    /// Returns the visible names, the error pair left out.
    pub(crate) fn names(&self) -> Vec<String> {
        let sets = [&self.parsed, &*self.metadata, &*self.stream];
        sets.iter().flat_map(|set| set.iter()).map(|(name, _)| name.to_owned()).collect()
    }

    /// Returns all visible labels as one set, the error pair included.
    pub(crate) fn union(&self) -> LabelSet {
        let mut set = self.stream.as_ref().clone();
        for (name, value) in self.metadata.iter().chain(self.parsed.iter()).chain(self.error_pair()) {
            set.insert(name, value);
        }
        set
    }

    fn error_pair(&self) -> impl Iterator<Item = (&str, &str)> {
        let error = self.error.map(|error| (ERROR, error));
        let details = self.error_details.as_deref().filter(|details| !details.is_empty());
        let preserve = self.preserve_error.then_some((PRESERVE_ERROR, "true"));
        error.into_iter().chain(details.map(|details| (ERROR_DETAILS, details))).chain(preserve)
    }

    /// Splits the labels by where they come from; what nothing changed is shared with `base`.
    pub(crate) fn split(mut self, base: &Base) -> (Arc<LabelSet>, Arc<LabelSet>, Arc<LabelSet>) {
        let pair: Vec<_> =
            self.error_pair().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        for (name, value) in pair {
            self.parsed.insert(name, value);
        }
        let share = |set: Cow<'_, LabelSet>, whole: &Arc<LabelSet>| match set {
            Cow::Borrowed(_) => Arc::clone(whole),
            Cow::Owned(set) => Arc::new(set),
        };
        (share(self.stream, &base.stream), share(self.metadata, &base.metadata), Arc::new(self.parsed))
    }
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
