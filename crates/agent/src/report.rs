//! What the agent reads at the moment, for banners and pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use logyard_codec::Entries;
use logyard_model::LabelSet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// What the agent does at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReport {
    /// The agent's id, 32 hexadecimal digits.
    pub agent_id: String,
    /// The engines that are wanted and were asked, in the order of the settings: what answers, or why it does not.
    pub engines: Vec<Result<EngineReport, String>>,
    /// All targets, by name.
    pub targets: Vec<TargetReport>,
    /// Bytes of the spool on disk.
    pub spool_bytes: u64,
    /// Why nothing is delivered at the moment.
    pub push_problem: Option<String>,
}

impl AgentReport {
    /// Returns what does not answer and why, on one line; `None`: all engines answer, or none is wanted.
    pub fn engine_problem(&self) -> Option<String> {
        let problems: Vec<&str> =
            self.engines.iter().filter_map(|engine| engine.as_ref().err()).map(String::as_str).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Returns the engines that answer.
    pub fn answering(&self) -> impl Iterator<Item = &EngineReport> {
        self.engines.iter().filter_map(|engine| engine.as_ref().ok())
    }
}

/// An engine that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineReport {
    /// `Docker` or `Podman`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The API version agreed upon.
    pub api_version: String,
    /// Address that was used.
    pub host: String,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    /// A container of the engine.
    Container,
    /// A file, or patterns that match none.
    File,
    /// A journal of systemd.
    Journal,
    /// A port, or another place to which entries are sent.
    Receiver,
}

impl TargetKind {
    /// Returns the kind in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::File => "file",
            Self::Journal => "journal",
            Self::Receiver => "receiver",
        }
    }
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReport {
    /// What it is.
    pub kind: TargetKind,
    /// Name of the container, path of the file, or form and address of the receiver.
    pub name: String,
    /// Labels of its entries; of a container's without `stream`.
    pub labels: LabelSet,
    /// What happens to it.
    pub state: TargetState,
    /// Why, in states that need a reason.
    pub detail: String,
    /// Entries read since the start of the process.
    pub entries: u64,
}

/// What happens to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Known; nothing to read yet.
    Known,
    /// Being opened, or opened again after a break.
    Attach,
    /// Read as it grows.
    Follow,
    /// Read to its end.
    Drain,
    /// Read to its end; waits for a new start.
    Idle,
    /// Cannot be read; the detail says why.
    Unreadable,
    /// Not wanted; the detail says by which setting.
    Excluded,
}

impl TargetState {
    /// Returns the state in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Attach => "opening",
            Self::Follow => "following",
            Self::Drain => "draining",
            Self::Idle => "idle",
            Self::Unreadable => "unreadable",
            Self::Excluded => "excluded",
        }
    }
}

/// Where tasks note what they do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// By the engine's key, in the order of the settings; `None`: it was not asked yet.
    engines: Vec<(String, Option<Result<EngineReport, String>>)>,
    targets: BTreeMap<String, Noted>,
    push_problem: Option<String>,
}

/// A target and what was read of it.
#[derive(Debug)]
struct Noted {
    report: TargetReport,
    /// Time of its newest entry, in ns since the Unix epoch; `None`: none was read.
    newest_ns: Option<i64>,
}

impl Board {
    /// Says which engines are wanted, by their keys; what is known of those that were wanted before stays.
    pub(crate) fn expect_engines(&self, keys: &[String]) {
        self.with(|notes| {
            let mut known: BTreeMap<String, _> = notes.engines.drain(..).collect();
            notes.engines = keys.iter().map(|key| (key.clone(), known.remove(key).flatten())).collect();
        });
    }

    /// Notes what the engine of this key answers, or why it does not.
    pub(crate) fn set_engine(&self, key: &str, engine: Result<EngineReport, String>) {
        self.with(|notes| {
            if let Some((_, slot)) = notes.engines.iter_mut().find(|(own, _)| own == key) {
                *slot = Some(engine);
            }
        });
    }

    /// Returns whether any engine answers.
    pub(crate) fn has_engine(&self) -> bool {
        self.with(|notes| notes.engines.iter().any(|(_, engine)| matches!(engine, Some(Ok(_)))))
    }

    /// Names a target; one that is new starts as `Known`, another keeps its state.
    pub(crate) fn name_target(&self, kind: TargetKind, key: &str, name: &str, labels: LabelSet) {
        self.with(|notes| {
            if let Some(Noted { report, .. }) = notes.targets.get_mut(key) {
                name.clone_into(&mut report.name);
                report.labels = labels;
                return;
            }
            let (name, state) = (name.to_owned(), TargetState::Known);
            let report = TargetReport { kind, name, labels, state, detail: String::new(), entries: 0 };
            notes.targets.insert(key.to_owned(), Noted { report, newest_ns: None });
        });
    }

    pub(crate) fn set_state(&self, key: &str, state: TargetState, detail: &str) {
        self.with(|notes| {
            if let Some(Noted { report, .. }) = notes.targets.get_mut(key) {
                report.state = state;
                detail.clone_into(&mut report.detail);
            }
        });
    }

    /// Counts entries of a target, if it is known.
    pub(crate) fn count(&self, key: &str, chunks: &[(Arc<LabelSet>, Entries)]) {
        let entries: usize = chunks.iter().map(|(_, entries)| entries.len()).sum();
        if entries == 0 {
            return;
        }
        let newest_ns = chunks.iter().filter_map(|(_, entries)| entries.ts_ns().last().copied()).max();
        self.with(|notes| {
            if let Some(target) = notes.targets.get_mut(key) {
                target.report.entries += entries as u64;
                target.newest_ns = target.newest_ns.max(newest_ns);
            }
        });
    }

    /// Notes why nothing is delivered; `None`: it is.
    pub(crate) fn set_push_problem(&self, problem: Option<String>) {
        self.with(|notes| notes.push_problem = problem);
    }

    pub(crate) fn remove_target(&self, key: &str) {
        self.with(|notes| drop(notes.targets.remove(key)));
    }

    pub(crate) fn report(&self, agent_id: String, spool_bytes: u64) -> AgentReport {
        self.with(|notes| {
            let mut targets: Vec<TargetReport> =
                notes.targets.values().map(|noted| noted.report.clone()).collect();
            targets.sort_by(|a, b| a.name.cmp(&b.name));
            let engines = notes.engines.iter().filter_map(|(_, engine)| engine.clone()).collect();
            let push_problem = notes.push_problem.clone();
            AgentReport { agent_id, engines, targets, spool_bytes, push_problem }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Notes) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What tells a target from others on a page of metrics: kind, name, and the label `host`.
type Shown = [(&'static str, String); 3];

/// What the page of metrics shows of each target.
#[derive(Debug, Default)]
struct Measured {
    entries: u64,
    newest_ns: Option<i64>,
    state: &'static str,
}

/// Shows the board on the page of metrics; rows of targets that are gone go with them.
#[derive(Clone, Debug)]
pub(crate) struct TargetMetrics(pub(crate) Board);

impl TargetMetrics {
    /// Adds up targets that are shown alike: those of one name, or one that is there twice for a moment.
    fn measured(&self) -> BTreeMap<Shown, Measured> {
        self.0.with(|notes| {
            let mut found: BTreeMap<Shown, Measured> = BTreeMap::new();
            for Noted { report, newest_ns } in notes.targets.values() {
                let host = report.labels.get("host").unwrap_or_default().to_owned();
                let kind = report.kind.as_str().to_owned();
                let measured = found
                    .entry([("kind", kind), ("target", report.name.clone()), ("host", host)])
                    .or_default();
                measured.entries += report.entries;
                measured.newest_ns = measured.newest_ns.max(*newest_ns);
                measured.state = report.state.as_str();
            }
            found
        })
    }
}

impl Collector for TargetMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let targets = self.measured();
        let mut read = encoder.encode_descriptor(
            "logyard_agent_target_entries",
            "Entries read of each target and accepted as new",
            None,
            MetricType::Counter,
        )?;
        for (shown, measured) in &targets {
            read.encode_family(shown)?.encode_counter::<Shown, u64, u64>(&measured.entries, None)?;
        }
        let mut newest = encoder.encode_descriptor(
            "logyard_agent_target_newest_entry_seconds",
            "Time of the newest entry read of each target, in seconds since the Unix epoch",
            None,
            MetricType::Gauge,
        )?;
        for (shown, measured) in &targets {
            let Some(newest_ns) = measured.newest_ns else { continue };
            ConstGauge::new(newest_ns as f64 / 1e9).encode(newest.encode_family(shown)?)?;
        }
        let mut states = encoder.encode_descriptor(
            "logyard_agent_target_state",
            "1 for the state of each target",
            None,
            MetricType::Gauge,
        )?;
        for ([kind, target, host], measured) in &targets {
            let shown = [kind.clone(), target.clone(), host.clone(), ("state", measured.state.to_owned())];
            ConstGauge::new(1i64).encode(states.encode_family(&shown)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn targets_are_measured_by_name_and_host() {
        let board = Board::default();
        let labels = |host: &str| LabelSet::from_pairs([("host", host)]);
        for (key, name, host) in
            [("a", "web", "nas"), ("b", "web", "nas"), ("c", "web", "pi"), ("d", "db", "nas")]
        {
            board.name_target(TargetKind::Container, key, name, labels(host));
        }
        let mut entries = Entries::new();
        for ts_ns in [1_500_000_000, 2_500_000_000] {
            entries.push(ts_ns, b"x", "", &LabelSet::default());
        }
        for key in ["a", "b", "c", "gone"] {
            board.count(key, &[(Arc::default(), entries.clone())]);
        }
        board.set_state("d", TargetState::Unreadable, "no");
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TargetMetrics(board)));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for want in [
            r#"logyard_agent_target_entries_total{kind="container",target="web",host="nas"} 4"#,
            r#"logyard_agent_target_entries_total{kind="container",target="web",host="pi"} 2"#,
            r#"logyard_agent_target_entries_total{kind="container",target="db",host="nas"} 0"#,
            r#"logyard_agent_target_newest_entry_seconds{kind="container",target="web",host="pi"} 2.5"#,
            r#"logyard_agent_target_state{kind="container",target="db",host="nas",state="unreadable"} 1"#,
        ] {
            assert!(page.lines().any(|line| line == want), "{want} in\n{page}");
        }
        assert!(!page.contains(r#"newest_entry_seconds{kind="container",target="db""#), "{page}");
    }
}
