//! The state of a group's alerts on disk, so that a restart neither forgets nor repeats any.
//!
//! Format: `schemas/rules.md`. One small file for each group, replaced as a whole. A damaged one is told, and
//! replaced at the next write: its alerts begin anew.

use crate::alert::{Alert, AlertState, Alerts, Told};
use crate::group::Pairs;
use logyard_model::LabelSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the first line begins with; the checksum of the rest follows.
const HEAD: &str = "logyard rule state v1 crc32c=";

/// State of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupFile {
    pub(crate) namespace: String,
    pub(crate) group: String,
    pub(crate) rules: Vec<RuleFile>,
}

/// State of a rule, and what it is known by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleFile {
    pub(crate) name: String,
    pub(crate) labels: Pairs,
    last_ns: Option<i64>,
    alerts: Vec<AlertFile>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AlertFile {
    labels: Pairs,
    annotations: Pairs,
    state: StateFile,
    /// As text: JSON has neither infinity nor NaN.
    value: String,
    active_at_ns: i64,
    fired_at_ns: Option<i64>,
    resolved_at_ns: Option<i64>,
    seen_ns: i64,
    is_there: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, ToldFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ToldFile {
    state: StateFile,
    at_ns: i64,
    /// Means something to this process alone, where a group takes the place of another.
    #[serde(skip)]
    at_monotonic_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateFile {
    Pending,
    Firing,
    Resolved,
}

impl From<Told> for ToldFile {
    fn from(told: Told) -> Self {
        let Told { state, at_ns, at_monotonic_ns } = told;
        Self { state: state.into(), at_ns, at_monotonic_ns }
    }
}

impl From<ToldFile> for Told {
    fn from(told: ToldFile) -> Self {
        let ToldFile { state, at_ns, at_monotonic_ns } = told;
        Self { state: state.into(), at_ns, at_monotonic_ns }
    }
}

impl From<AlertState> for StateFile {
    fn from(state: AlertState) -> Self {
        match state {
            AlertState::Pending => Self::Pending,
            AlertState::Firing => Self::Firing,
            AlertState::Resolved => Self::Resolved,
        }
    }
}

impl From<StateFile> for AlertState {
    fn from(state: StateFile) -> Self {
        match state {
            StateFile::Pending => Self::Pending,
            StateFile::Firing => Self::Firing,
            StateFile::Resolved => Self::Resolved,
        }
    }
}

impl RuleFile {
    pub(crate) fn of(name: &str, labels: &Pairs, alerts: &Alerts) -> Self {
        let of = |(labels, alert): (&Arc<LabelSet>, &Alert)| AlertFile {
            labels: pairs(labels),
            annotations: pairs(&alert.annotations),
            state: alert.state.into(),
            value: alert.value.to_string(),
            active_at_ns: alert.active_at_ns,
            fired_at_ns: alert.fired_at_ns,
            resolved_at_ns: alert.resolved_at_ns,
            seen_ns: alert.seen_ns,
            is_there: alert.is_there,
            lines: alert.lines.to_vec(),
            told: alert.told.iter().map(|(name, told)| (name.clone(), (*told).into())).collect(),
        };
        Self {
            name: name.to_owned(),
            labels: labels.clone(),
            last_ns: alerts.last_ns,
            alerts: alerts.by_labels.iter().map(of).collect(),
        }
    }

    pub(crate) fn to_alerts(&self) -> Alerts {
        let of = |file: &AlertFile| {
            let alert = Alert {
                state: file.state.into(),
                active_at_ns: file.active_at_ns,
                fired_at_ns: file.fired_at_ns,
                resolved_at_ns: file.resolved_at_ns,
                value: file.value.parse().unwrap_or(f64::NAN),
                annotations: set(&file.annotations),
                seen_ns: file.seen_ns,
                is_there: file.is_there,
                lines: file.lines.clone().into(),
                told: file.told.iter().map(|(name, told)| (name.clone(), (*told).into())).collect(),
            };
            (set(&file.labels), alert)
        };
        Alerts { by_labels: self.alerts.iter().map(of).collect(), last_ns: self.last_ns }
    }
}

fn pairs(labels: &LabelSet) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn set(pairs: &Pairs) -> Arc<LabelSet> {
    Arc::new(LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// Writes a state with its checksum.
pub(crate) fn encode(state: &GroupFile) -> Vec<u8> {
    seal(&serde_json::to_vec(state).unwrap_or_default())
}

/// Puts the first line above a body.
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{HEAD}{:08x}\n", crc32c::crc32c(body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a state. Errors: why it is none.
pub(crate) fn decode(bytes: &[u8]) -> Result<GroupFile, String> {
    let body = sealed(bytes, HEAD)?;
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Returns what stands below a first line of `head` and its checksum.
pub(crate) fn sealed<'b>(bytes: &'b [u8], head: &str) -> Result<&'b [u8], String> {
    let rest = bytes
        .strip_prefix(head.as_bytes())
        .ok_or("it does not begin as it should, or is of another version")?;
    let (want, rest) = rest.split_at_checked(8).ok_or("it ends within its first line")?;
    let body = rest.strip_prefix(b"\n").ok_or("its first line is too long")?;
    let got = format!("{:08x}", crc32c::crc32c(body));
    match got.as_bytes() == want {
        true => Ok(body),
        false => Err(format!("checksum mismatch (want {}, got {got})", String::from_utf8_lossy(want))),
    }
}

/// Writes and reads, for tests.
#[cfg(test)]
pub(crate) fn round_trip(alerts: &Alerts) -> Alerts {
    let rules = vec![RuleFile::of("r", &Pairs::new(), alerts)];
    let state = GroupFile { namespace: "n".to_owned(), group: "g".to_owned(), rules };
    let read = decode(&encode(&state)).unwrap();
    assert_eq!(read, state);
    read.rules[0].to_alerts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = encode(&GroupFile::default());
        assert_eq!(decode(&bytes), Ok(GroupFile::default()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn odd_values_survive() {
        let mut alerts = Alerts { by_labels: Default::default(), last_ns: Some(-5) };
        let alert = |value| Alert {
            state: AlertState::Resolved,
            active_at_ns: 1,
            fired_at_ns: Some(2),
            resolved_at_ns: Some(3),
            value,
            annotations: set(&Pairs::from([("a".to_owned(), "\n\"".to_owned())])),
            seen_ns: 4,
            is_there: false,
            lines: vec!["a \"line\"".to_owned()].into(),
            told: BTreeMap::new(),
        };
        alerts.by_labels.insert(Arc::default(), alert(f64::INFINITY));
        assert_eq!(round_trip(&alerts), alerts);
        alerts.by_labels.insert(Arc::default(), alert(f64::NAN));
        assert!(round_trip(&alerts).by_labels.values().all(|alert| alert.value.is_nan()));
    }
}
