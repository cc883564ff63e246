//! What became of a push: counts, reasons, and the text for the sender.

use crate::reason::Reason;
use crate::validate::Fault;
use logyard_model::LabelSet;
use logyard_wire::go_time::GoTime;
use logyard_wire::native_push::PushAnswer;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most distinct texts kept per request; further ones are only counted.
const TEXTS_MAX: usize = 10;

/// Most late entries listed per stream, as in Loki v3.7.6.
const LATE_LISTED_MAX: usize = 10;

/// What became of a push that was decoded. What is accepted is durable and visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub(crate) duplicate: bool,
    pub(crate) accepted: u64,
    pub(crate) reasons: BTreeMap<Reason, Rejected>,
    texts: Vec<(String, u64)>,
    texts_left_out: u64,
    explained: u64,
    late: Vec<String>,
}

/// Rejected entries of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Entries of one stream that came too late.
#[derive(Debug, Default)]
pub(crate) struct LateEntries {
    lines: String,
    count: usize,
}

impl LateEntries {
    pub(crate) fn add(&mut self, ts_ns: i64, oldest_ns: i64) {
        self.count += 1;
        if self.count <= LATE_LISTED_MAX {
            let (time, oldest) = (GoTime::from_ns(ts_ns), GoTime::from_ns(oldest_ns).rfc3339());
            // Writing into a String cannot fail.
            writeln!(
                self.lines,
                "entry with timestamp {} ignored, reason: 'entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {oldest}',",
                time.go_text(),
                time.rfc3339()
            )
            .unwrap_or_default();
        }
    }
}

impl Verdict {
    /// Returns whether the batch id was known and nothing was stored.
    pub fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// Returns the number of accepted entries.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of rejected entries.
    pub fn rejected(&self) -> u64 {
        self.reasons.values().map(|rejected| rejected.entries).sum()
    }

    /// Returns rejected entries by reason.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.reasons.iter().map(|(reason, rejected)| (*reason, rejected.entries))
    }

    /// Returns the text for the sender, grouped as Loki does; `None` if everything was accepted.
    ///
    /// Texts about late entries stand alone, as in Loki v3.7.6.
    pub fn message(&self) -> Option<String> {
        if !self.late.is_empty() {
            return Some(self.late.join("\n"));
        }
        match self.texts.as_slice() {
            [] => None,
            [(text, _)] if self.texts_left_out == 0 => Some(text.clone()),
            texts => {
                let mut parts: Vec<String> =
                    texts.iter().map(|(text, count)| format!("{count} errors like: {text}")).collect();
                if self.texts_left_out > 0 {
                    parts.push(format!("{} more errors", self.texts_left_out));
                }
                Some(parts.join("; "))
            }
        }
    }

    /// Returns the answer to a native push.
    pub fn to_answer(&self) -> PushAnswer {
        PushAnswer {
            duplicate: self.duplicate,
            accepted: self.accepted,
            rejected: self.rejected(),
            reasons: self.reasons().map(|(reason, entries)| (reason.as_str().to_owned(), entries)).collect(),
            message: self
                .texts
                .first()
                .map(|(text, _)| text.clone())
                .or_else(|| self.late.first().cloned())
                .unwrap_or_default(),
        }
    }

    /// Returns how many faults there were that had a text.
    pub(crate) fn explained(&self) -> u64 {
        self.explained
    }

    /// Counts a fault; one without a text is among those left out.
    pub(crate) fn reject(&mut self, fault: Fault, entries: u64, bytes: u64) {
        self.count(fault.reason, entries, bytes);
        if fault.text.is_empty() {
            self.texts_left_out += 1;
            return;
        }
        self.explained += 1;
        if let Some((_, count)) = self.texts.iter_mut().find(|(text, _)| *text == fault.text) {
            *count += 1;
        } else if self.texts.len() < TEXTS_MAX {
            self.texts.push((fault.text, 1));
        } else {
            self.texts_left_out += 1;
        }
    }

    pub(crate) fn count(&mut self, reason: Reason, entries: u64, bytes: u64) {
        let rejected = self.reasons.entry(reason).or_default();
        rejected.entries += entries;
        rejected.bytes += bytes;
    }

    pub(crate) fn reject_late(&mut self, tenant: &str, labels: &LabelSet, late: LateEntries, of: usize) {
        if late.count > 0 && self.late.len() < TEXTS_MAX {
            self.late.push(format!(
                "{}user '{tenant}', total ignored: {} out of {of} for stream: {labels}",
                late.lines, late.count
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        Fault::new(Reason::LineTooLong, text.to_owned())
    }

    #[test]
    fn one_text_is_bare_and_several_are_grouped() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.message(), None);
        verdict.reject(fault("a"), 1, 5);
        verdict.reject(fault("a"), 1, 5);
        assert_eq!(verdict.message().as_deref(), Some("a"));
        verdict.reject(fault("b"), 3, 5);
        assert_eq!(verdict.message().as_deref(), Some("2 errors like: a; 1 errors like: b"));
        assert_eq!((verdict.rejected(), verdict.reasons[&Reason::LineTooLong].bytes), (5, 15));
        for index in 0..20 {
            verdict.reject(fault(&index.to_string()), 1, 0);
        }
        assert!(verdict.message().unwrap().ends_with("; 12 more errors"));
    }

    #[test]
    fn late_entries_are_listed_as_in_loki() {
        let mut late = LateEntries::default();
        late.add(1_770_595_200_000_000_000, 1_770_598_600_000_000_000);
        let mut verdict = Verdict::default();
        verdict.reject_late("fake", &LabelSet::from_pairs([("a", "b")]), late, 2);
        assert_eq!(
            verdict.message().as_deref(),
            Some(
                "entry with timestamp 2026-02-09 00:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: \
                 2026-02-09T00:00:00Z, oldest acceptable timestamp is: 2026-02-09T00:56:40Z',\nuser 'fake', total ignored: 1 out of 2 for stream: {a=\"b\"}"
            )
        );
    }
}
