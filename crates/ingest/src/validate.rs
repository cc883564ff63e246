//! What a stream and an entry may hold: the limits, in Loki's order and with Loki's texts.
//!
//! Texts begin as Loki v3.7.6 writes them, since people search for them, and end with our setting.

use crate::reason::Reason;
use crate::settings::IngestSettings;
use logyard_model::LabelSet;
use logyard_wire::go_time::GoTime;

/// Longest text of one fault; label values of hostile requests can be as long as the request.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Why a stream or an entry was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(reason: Reason, mut text: String) -> Self {
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push('…');
        }
        Self { reason, text }
    }

    /// Makes a fault that is only counted.
    pub(crate) fn silent(reason: Reason) -> Self {
        Self { reason, text: String::new() }
    }
}

/// The limits at one point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validator<'a> {
    settings: &'a IngestSettings,
    now_ns: i64,
    is_silent: bool,
}

/// What the limits on an entry look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryFacts {
    pub(crate) time: GoTime,
    pub(crate) line_bytes: usize,
    /// Names and values, `detected_level` not counted.
    pub(crate) metadata_bytes: usize,
    pub(crate) metadata_entries: usize,
}

impl<'a> Validator<'a> {
    pub(crate) fn new(settings: &'a IngestSettings, now_ns: i64) -> Self {
        Self { settings, now_ns, is_silent: false }
    }

    /// Leaves out the texts of faults from now on: each costs as much as the labels of its stream are long.
    pub(crate) fn silence(&mut self) {
        self.is_silent = true;
    }

    /// Makes a fault, with a text unless it is only counted.
    pub(crate) fn fault(&self, reason: Reason, text: impl FnOnce() -> String) -> Fault {
        if self.is_silent { Fault::silent(reason) } else { Fault::new(reason, text()) }
    }

    /// Checks the labels of a stream. `added` tells that `service_name` was added and does not count.
    pub(crate) fn stream(&self, labels: &LabelSet, added: bool) -> Result<(), Fault> {
        if labels.is_empty() {
            let text = || "error at least one label pair is required per stream".to_owned();
            return Err(self.fault(Reason::MissingLabels, text));
        }
        let count = labels.len() - usize::from(added);
        let count_max = self.settings.labels_per_stream_max;
        if count > count_max {
            let text = || {
                format!(
                    "entry for stream '{labels}' has {count} label names; limit {count_max}; drop labels in the agent or raise limits.labels_per_stream_max"
                )
            };
            return Err(self.fault(Reason::MaxLabelNamesPerSeries, text));
        }
        for (name, value) in labels.iter() {
            if name.len() > self.settings.label_name_bytes_max {
                let text = || {
                    format!(
                        "stream '{labels}' has label name too long: '{name}'; raise limits.label_name_bytes_max"
                    )
                };
                return Err(self.fault(Reason::LabelNameTooLong, text));
            }
            if value.len() > self.settings.label_value_bytes_max {
                let text = || {
                    format!(
                        "stream '{labels}' has label value too long: '{value}'; raise limits.label_value_bytes_max"
                    )
                };
                return Err(self.fault(Reason::LabelValueTooLong, text));
            }
        }
        Ok(())
    }

    /// Checks an entry and returns its time in ns. `labels` only serve the text.
    pub(crate) fn entry(&self, labels: &LabelSet, facts: &EntryFacts) -> Result<i64, Fault> {
        let ts_ns = self.time(labels, facts.time)?;
        let settings = self.settings;
        let (line_bytes, line_max) = (facts.line_bytes, settings.line_bytes_max);
        if line_bytes > line_max {
            let text = || {
                format!(
                    "max entry size '{line_max}' bytes exceeded for stream '{labels}' while adding an entry with length '{line_bytes}' bytes; raise limits.line_bytes_max"
                )
            };
            return Err(self.fault(Reason::LineTooLong, text));
        }
        let (bytes, bytes_max) = (facts.metadata_bytes, settings.metadata_bytes_max);
        if bytes > bytes_max {
            let text = || {
                format!(
                    "stream '{labels}' has structured metadata too large: '{bytes}' bytes, limit: '{bytes_max}' bytes; raise limits.metadata_bytes_max"
                )
            };
            return Err(self.fault(Reason::StructuredMetadataTooLarge, text));
        }
        let (count, count_max) = (facts.metadata_entries, settings.metadata_entries_max);
        if count > count_max {
            let text = || {
                format!(
                    "stream '{labels}' has too many structured metadata labels: '{count}', limit: '{count_max}'; raise limits.metadata_entries_max"
                )
            };
            return Err(self.fault(Reason::StructuredMetadataTooMany, text));
        }
        Ok(ts_ns)
    }

    /// Checks that an entry is not too far behind the newest of its stream; gives the oldest time allowed.
    pub(crate) fn behind(&self, ts_ns: i64, newest_ns: Option<i64>) -> Result<(), i64> {
        let oldest_ns = self
            .settings
            .out_of_order_window
            .limit_ns()
            .zip(newest_ns)
            .map(|(window_ns, newest_ns)| newest_ns.saturating_sub(window_ns));
        match oldest_ns {
            Some(oldest_ns) if ts_ns < oldest_ns => Err(oldest_ns),
            _ => Ok(()),
        }
    }

    fn time(&self, labels: &LabelSet, time: GoTime) -> Result<i64, Fault> {
        let oldest_ns = self
            .settings
            .entry_age_max
            .limit_ns()
            .map_or(i64::MIN, |age_ns| self.now_ns.saturating_sub(age_ns));
        let newest_ns = self
            .settings
            .entry_future_max
            .limit_ns()
            .map_or(i64::MAX, |future_ns| self.now_ns.saturating_add(future_ns));
        let ts_ns = match time.to_ns() {
            Some(ts_ns) => ts_ns,
            None if time.secs < 0 => i64::MIN,
            None => i64::MAX,
        };
        if ts_ns < oldest_ns || ts_ns == i64::MIN {
            let text = || {
                let (shown, oldest) = (time.rfc3339(), GoTime::from_ns(oldest_ns).rfc3339());
                format!(
                    "entry for stream '{labels}' has timestamp too old: {shown}, oldest acceptable timestamp is: {oldest}; raise limits.entry_age_max"
                )
            };
            return Err(self.fault(Reason::GreaterThanMaxSampleAge, text));
        }
        if ts_ns > newest_ns || ts_ns == i64::MAX {
            let text = || {
                format!(
                    "entry for stream '{labels}' has timestamp too new: {}; mend the sender's clock or raise limits.entry_future_max",
                    time.rfc3339()
                )
            };
            return Err(self.fault(Reason::TooFarInFuture, text));
        }
        Ok(ts_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_wire::go_time::YEAR_ONE_SECS;

    const NOW_NS: i64 = 1_795_230_000_000_000_000;
    const DAY_NS: i64 = 86_400_000_000_000;

    fn labels(count: usize) -> LabelSet {
        LabelSet::from_pairs((0..count).map(|index| (format!("l{index:02}"), "v")))
    }

    fn facts(ts_ns: i64) -> EntryFacts {
        EntryFacts { time: GoTime::from_ns(ts_ns), line_bytes: 5, metadata_bytes: 0, metadata_entries: 0 }
    }

    fn check(facts: EntryFacts, expect: Result<(), &str>) {
        let settings = IngestSettings::default();
        let result = Validator::new(&settings, NOW_NS).entry(&labels(1), &facts);
        match expect {
            Ok(()) => assert_eq!(Ok(()), result.map(drop), "{facts:?}"),
            Err(prefix) => {
                let text = result.unwrap_err().text;
                assert!(text.starts_with(prefix), "{text}");
            }
        }
    }

    #[test]
    fn streams_at_the_edge_of_each_limit() {
        let settings = IngestSettings::default();
        let validator = Validator::new(&settings, NOW_NS);
        assert_eq!(validator.stream(&labels(15), false), Ok(()));
        assert_eq!(validator.stream(&labels(16), true), Ok(()));
        assert_eq!(validator.stream(&labels(16), false).unwrap_err().reason, Reason::MaxLabelNamesPerSeries);
        assert_eq!(validator.stream(&labels(0), false).unwrap_err().reason, Reason::MissingLabels);
        let one = |name: usize, value: usize| {
            validator.stream(&LabelSet::from_pairs([("n".repeat(name), "v".repeat(value))]), false)
        };
        assert_eq!(one(1024, 2048), Ok(()));
        assert_eq!(one(1025, 1).unwrap_err().reason, Reason::LabelNameTooLong);
        assert_eq!(one(1, 2049).unwrap_err().reason, Reason::LabelValueTooLong);
    }

    #[test]
    fn entries_at_the_edge_of_each_limit() {
        check(facts(NOW_NS), Ok(()));
        check(facts(NOW_NS - 30 * DAY_NS), Ok(()));
        check(
            facts(NOW_NS - 30 * DAY_NS - 1),
            Err(
                "entry for stream '{l00=\"v\"}' has timestamp too old: 2026-10-22T02:59:59Z, oldest acceptable timestamp is: 2026-10-22T03:00:00Z",
            ),
        );
        check(facts(NOW_NS + 600_000_000_000), Ok(()));
        check(
            facts(NOW_NS + 600_000_000_001),
            Err("entry for stream '{l00=\"v\"}' has timestamp too new: 2026-11-21T03:10:00Z"),
        );
        check(
            EntryFacts {
                line_bytes: 262_144,
                metadata_bytes: 65_536,
                metadata_entries: 128,
                ..facts(NOW_NS)
            },
            Ok(()),
        );
        check(
            EntryFacts { line_bytes: 262_145, ..facts(NOW_NS) },
            Err(
                "max entry size '262144' bytes exceeded for stream '{l00=\"v\"}' while adding an entry with length '262145' bytes",
            ),
        );
        check(
            EntryFacts { metadata_bytes: 65_537, ..facts(NOW_NS) },
            Err(
                "stream '{l00=\"v\"}' has structured metadata too large: '65537' bytes, limit: '65536' bytes",
            ),
        );
        check(
            EntryFacts { metadata_entries: 129, ..facts(NOW_NS) },
            Err("stream '{l00=\"v\"}' has too many structured metadata labels: '129', limit: '128'"),
        );
    }

    #[test]
    fn year_one_is_too_old_even_without_a_limit() {
        let settings = IngestSettings { entry_age_max: "0".parse().unwrap(), ..IngestSettings::default() };
        let validator = Validator::new(&settings, NOW_NS);
        let year_one = EntryFacts { time: GoTime { secs: YEAR_ONE_SECS, nanos: 0 }, ..facts(0) };
        assert_eq!(
            validator.entry(&labels(1), &year_one).unwrap_err().reason,
            Reason::GreaterThanMaxSampleAge
        );
        assert_eq!(validator.entry(&labels(1), &facts(0)), Ok(0));
    }

    #[test]
    fn the_window_follows_the_newest_entry() {
        let settings =
            IngestSettings { out_of_order_window: "1h".parse().unwrap(), ..IngestSettings::default() };
        let validator = Validator::new(&settings, NOW_NS);
        let hour_ns = 3_600_000_000_000;
        assert_eq!(validator.behind(NOW_NS - hour_ns, Some(NOW_NS)), Ok(()));
        assert_eq!(validator.behind(NOW_NS - hour_ns - 1, Some(NOW_NS)), Err(NOW_NS - hour_ns));
        assert_eq!(validator.behind(0, None), Ok(()));
        let off = IngestSettings::default();
        assert_eq!(Validator::new(&off, NOW_NS).behind(0, Some(NOW_NS)), Ok(()));
    }

    #[test]
    fn texts_are_bounded() {
        let fault = Fault::new(Reason::LabelValueTooLong, "é".repeat(100_000));
        assert!(fault.text.len() <= TEXT_BYTES_MAX + 4);
    }
}
