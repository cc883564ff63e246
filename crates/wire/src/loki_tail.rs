//! Frames of a live tail, in the current shape and in that of `/api/prom/tail`.
//!
//! ```json
//! {"streams":[{"stream":{"app":"a"},"values":[["1795230324373664345","line"]]}],
//!  "dropped_entries":[{"timestamp":"1795230324000000000","labels":{"app":"a"}}],
//!  "encodingFlags":["categorize-labels"]}
//! ```
//!
//! `dropped_entries` and `encodingFlags` are left out when there are none. Entries stand in the order in which
//! they were added, so neighbours of one label set share an object and others do not (Loki v3.7.6).

use crate::go_time::GoTime;
use crate::json_text::{push_bytes, push_joined, push_list, push_string};
use crate::loki_answer::{push_entry, push_labels};
use crate::loki_query::{Labels, StreamAnswer};
use logyard_model::LabelSet;
use serde::Deserialize;

/// How frames are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailForm {
    /// As `/loki/api/v1/tail` does, with the encoding flags of the request.
    Current {
        /// Echoed; with `categorize-labels` each entry has a third element.
        flags: Vec<String>,
        /// Whether `categorize-labels` is among them.
        categorize: bool,
    },
    /// As `/api/prom/tail` does.
    Old,
}

/// Writes one frame.
#[derive(Debug)]
pub struct TailFrame<'a> {
    form: &'a TailForm,
    buffer: Vec<u8>,
    entries: usize,
    labels: Option<LabelSet>,
}

impl<'a> TailFrame<'a> {
    /// Begins a frame.
    pub fn new(form: &'a TailForm) -> Self {
        Self { form, buffer: b"{\"streams\":[".to_vec(), entries: 0, labels: None }
    }

    /// Returns how many entries there are.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Returns how many bytes there are.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds an entry; `metadata` and `parsed` appear only when categorizing.
    pub fn entry(
        &mut self,
        labels: &LabelSet,
        ts_ns: i64,
        line: &[u8],
        (metadata, parsed): (&LabelSet, &LabelSet),
    ) {
        self.entries += 1;
        if self.labels.as_ref() == Some(labels) {
            self.buffer.push(b',');
        } else {
            self.begin_stream(labels);
        }
        match self.form {
            TailForm::Current { categorize, .. } => {
                let categories = categorize.then_some((metadata, parsed));
                push_entry(&mut self.buffer, ts_ns, line, categories);
            }
            TailForm::Old => {
                self.buffer.extend_from_slice(b"{\"ts\":");
                push_string(&mut self.buffer, &GoTime::from_ns(ts_ns).rfc3339_nano());
                self.buffer.extend_from_slice(b",\"line\":");
                push_bytes(&mut self.buffer, line);
                self.buffer.push(b'}');
            }
        }
    }

    fn begin_stream(&mut self, labels: &LabelSet) {
        if self.labels.is_some() {
            self.buffer.extend_from_slice(b"]},");
        }
        match self.form {
            TailForm::Current { .. } => {
                self.buffer.extend_from_slice(b"{\"stream\":");
                push_labels(&mut self.buffer, labels);
                self.buffer.extend_from_slice(b",\"values\":[");
            }
            TailForm::Old => {
                self.buffer.extend_from_slice(b"{\"labels\":");
                push_string(&mut self.buffer, &labels.to_string());
                self.buffer.extend_from_slice(b",\"entries\":[");
            }
        }
        self.labels = Some(labels.clone());
    }

    /// Ends the frame; `dropped` are times and labels of entries that the reader was too slow for.
    pub fn finish<'l>(mut self, dropped: impl ExactSizeIterator<Item = (i64, &'l LabelSet)>) -> String {
        if self.labels.is_some() {
            self.buffer.extend_from_slice(b"]}");
        }
        self.buffer.push(b']');
        let is_old = *self.form == TailForm::Old;
        if dropped.len() == 0 {
            if is_old {
                self.buffer.extend_from_slice(b",\"dropped_entries\":null");
            }
        } else {
            self.buffer.extend_from_slice(b",\"dropped_entries\":[");
            push_joined(&mut self.buffer, dropped, |buffer, (ts_ns, labels)| {
                buffer.extend_from_slice(b"{\"timestamp\":");
                if is_old {
                    push_string(buffer, &GoTime::from_ns(ts_ns).rfc3339_nano());
                } else {
                    push_string(buffer, &ts_ns.to_string());
                }
                buffer.extend_from_slice(b",\"labels\":");
                if is_old {
                    push_string(buffer, &labels.to_string());
                } else {
                    push_labels(buffer, labels);
                }
                buffer.push(b'}');
            });
            self.buffer.push(b']');
        }
        if let TailForm::Current { flags, .. } = self.form
            && !flags.is_empty()
        {
            self.buffer.extend_from_slice(b",\"encodingFlags\":");
            push_list(&mut self.buffer, flags.iter().map(String::as_str));
        }
        self.buffer.push(b'}');
        // What is pushed is text; lines that are none have become so.
        String::from_utf8(self.buffer)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// A frame of `/loki/api/v1/tail`, decoded with [`crate::loki_query::decode`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TailAnswer {
    /// Entries in order of arrival.
    pub streams: Vec<StreamAnswer>,
    /// What was left out since the frame before.
    pub dropped_entries: Vec<DroppedEntry>,
}

/// An entry that the reader was too slow for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct DroppedEntry {
    /// Nanoseconds since the Unix epoch, in digits.
    pub timestamp: String,
    /// Labels of its stream.
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_query::decode;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied())
    }

    fn frame(form: &TailForm, dropped: &[(i64, &LabelSet)]) -> String {
        let (a, b, none) = (set(&[("app", "a")]), set(&[("app", "b")]), LabelSet::default());
        let metadata = set(&[("m", "1")]);
        let mut frame = TailFrame::new(form);
        frame.entry(&a, 5, b"one", (&metadata, &none));
        frame.entry(&a, 6, b"t<o\xff", (&none, &none));
        frame.entry(&b, 7, b"three", (&none, &set(&[("p", "2")])));
        frame.entry(&a, 8, b"four", (&none, &none));
        assert_eq!(frame.entries(), 4);
        frame.finish(dropped.iter().copied())
    }

    #[test]
    fn current() {
        let form = TailForm::Current { flags: Vec::new(), categorize: false };
        assert_eq!(
            frame(&form, &[]),
            "{\"streams\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"5\",\"one\"],[\"6\",\"t\\u003co\u{fffd}\"]]},\
             {\"stream\":{\"app\":\"b\"},\"values\":[[\"7\",\"three\"]]},\
             {\"stream\":{\"app\":\"a\"},\"values\":[[\"8\",\"four\"]]}]}"
        );
        let c = set(&[("app", "c")]);
        let answer: TailAnswer = decode(frame(&form, &[(9, &c)]).as_bytes()).unwrap();
        assert_eq!(answer.dropped_entries[0].timestamp, "9");
        assert_eq!(answer.dropped_entries[0].labels["app"], "c");
        assert_eq!(answer.streams.len(), 3);
        assert_eq!(TailFrame::new(&form).finish([].into_iter()), "{\"streams\":[]}");
    }

    #[test]
    fn categorized() {
        let form = TailForm::Current { flags: vec!["categorize-labels".to_owned()], categorize: true };
        let text = frame(&form, &[]);
        assert!(text.starts_with(
            r#"{"streams":[{"stream":{"app":"a"},"values":[["5","one",{"structuredMetadata":{"m":"1"}}],["6","#
        ));
        assert!(text.ends_with(r#"["8","four",{}]]}],"encodingFlags":["categorize-labels"]}"#), "{text}");
        let answer: TailAnswer = decode(text.as_bytes()).unwrap();
        assert_eq!(answer.streams[1].values[0].categories.parsed["p"], "2");
    }

    #[test]
    fn old() {
        assert!(frame(&TailForm::Old, &[]).starts_with(
            r#"{"streams":[{"labels":"{app=\"a\"}","entries":[{"ts":"1970-01-01T00:00:00.000000005Z","line":"one"},"#
        ));
        assert!(frame(&TailForm::Old, &[]).ends_with(r#"],"dropped_entries":null}"#));
        let c = set(&[("app", "c")]);
        assert!(frame(&TailForm::Old, &[(9, &c)]).ends_with(
            r#""dropped_entries":[{"timestamp":"1970-01-01T00:00:00.000000009Z","labels":"{app=\"c\"}"}]}"#
        ));
    }
}
