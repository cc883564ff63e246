//! What the agent reads at the moment, for banners and pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use logyard_model::LabelSet;

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
    targets: BTreeMap<String, TargetReport>,
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
            if let Some(target) = notes.targets.get_mut(key) {
                name.clone_into(&mut target.name);
                target.labels = labels;
                return;
            }
            let (name, state) = (name.to_owned(), TargetState::Known);
            let target = TargetReport { kind, name, labels, state, detail: String::new() };
            notes.targets.insert(key.to_owned(), target);
        });
    }

    pub(crate) fn set_state(&self, key: &str, state: TargetState, detail: &str) {
        self.with(|notes| {
            if let Some(target) = notes.targets.get_mut(key) {
                target.state = state;
                detail.clone_into(&mut target.detail);
            }
        });
    }

    pub(crate) fn remove_target(&self, key: &str) {
        self.with(|notes| drop(notes.targets.remove(key)));
    }

    pub(crate) fn report(&self, agent_id: String, spool_bytes: u64) -> AgentReport {
        self.with(|notes| {
            let mut targets: Vec<TargetReport> = notes.targets.values().cloned().collect();
            targets.sort_by(|a, b| a.name.cmp(&b.name));
            let engines = notes.engines.iter().filter_map(|(_, engine)| engine.clone()).collect();
            AgentReport { agent_id, engines, targets, spool_bytes }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Notes) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
