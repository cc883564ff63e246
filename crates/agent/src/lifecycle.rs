//! What happens to containers, as entries: started, exited, out of memory, healthy or not.
//!
//! They come from the engine's events, which it keeps for a while: after a pause they are asked for from the last one
//! shipped on, and what was shipped before is told by its time. Within one life of the agent engines may show an event
//! again after a new connection, so the last ones are remembered one by one; times of events of two containers need not
//! ascend.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bollard::models::EventMessage;
use logyard_codec::Entries;
use logyard_model::LabelSet;
use xxhash_rust::xxh3::Xxh3;

use crate::batch::Piece;
use crate::discovery::DockerRules;
use crate::labels::ContainerFacts;
use crate::position::{OutputPosition, Position};

/// Key of the position in the engine's events.
pub(crate) const EVENTS_KEY: &str = "docker-events";
/// Events remembered one by one; engines keep 256.
const RECENT_MAX: usize = 1_024;
/// Containers of which it is known since when they run.
const RUNS_MAX: usize = 10_000;

/// Makes entries of events.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Up to where an earlier agent shipped.
    before: OutputPosition,
    /// Entries at the time of `before` that were seen again.
    seen_at_before: u32,
    position: OutputPosition,
    recent: VecDeque<u64>,
    recent_set: HashSet<u64>,
    runs: HashMap<String, Run>,
}

/// What is known of a container's present run.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    started_ns: Option<i64>,
    is_oom: bool,
    /// Somebody sent a signal that may ask for its end: that is no accident then.
    was_asked: bool,
}

impl Lifecycle {
    /// Goes on behind a position, or begins now.
    pub(crate) fn new(position: Option<OutputPosition>, now_ns: i64) -> Self {
        let now = OutputPosition { ns: now_ns, ordinal: 0, proof_ns: now_ns, step: None };
        let position = position.unwrap_or(now);
        Self {
            before: position,
            seen_at_before: 0,
            position,
            recent: VecDeque::new(),
            recent_set: HashSet::new(),
            runs: HashMap::new(),
        }
    }

    /// Returns from when on events matter, in ns since the Unix epoch.
    pub(crate) fn since_ns(&self) -> i64 {
        self.position.ns
    }

    /// Returns a piece without entries that says where reading begins.
    pub(crate) fn begin(&self) -> Piece {
        self.piece(Vec::new())
    }

    /// Returns what an event is worth telling, if it is new and its container is read.
    pub(crate) fn take(
        &mut self,
        event: &EventMessage,
        facts: &ContainerFacts,
        rules: &DockerRules,
    ) -> Option<Piece> {
        let ts_ns = event.time_nano.filter(|ts_ns| *ts_ns > 0)?;
        let id = event.actor.as_ref()?.id.as_deref()?;
        let action = event.action.as_deref()?;
        let (line, metadata) = self.line(id, action, ts_ns, event)?;
        if !self.is_new(ts_ns, id, action) || rules.refusal(id, facts).is_some() {
            return None;
        }
        let labels = rules.lifecycle_labels(id, facts)?;
        let mut entries = Entries::new();
        entries.push(ts_ns, line.as_bytes(), "", &metadata);
        Some(self.piece(vec![(Arc::new(labels), entries)]))
    }

    fn piece(&self, chunks: Vec<(Arc<LabelSet>, Entries)>) -> Piece {
        Piece {
            target: EVENTS_KEY.into(),
            chunks,
            position: Position::Container([Some(self.position), None]),
        }
    }

    /// Follows the run of a container, and returns the line and the structured metadata of the event.
    fn line(
        &mut self,
        id: &str,
        action: &str,
        ts_ns: i64,
        event: &EventMessage,
    ) -> Option<(String, LabelSet)> {
        if self.runs.len() >= RUNS_MAX {
            self.runs.clear();
        }
        let attribute = |name: &str| event.actor.as_ref()?.attributes.as_ref()?.get(name).map(String::as_str);
        let mut exit_code = None;
        let (name, level, line) = match action {
            "start" => {
                self.runs.insert(id.to_owned(), Run { started_ns: Some(ts_ns), ..Run::default() });
                ("start", "info", "container started".to_owned())
            }
            "kill" => {
                // By custom this one asks to read the settings again.
                let is_hangup = matches!(attribute("signal"), Some("1" | "SIGHUP" | "HUP"));
                self.runs.entry(id.to_owned()).or_default().was_asked |= !is_hangup;
                return None;
            }
            "oom" => {
                self.runs.entry(id.to_owned()).or_default().is_oom = true;
                ("oom", "error", "container ran out of memory".to_owned())
            }
            "die" | "died" => {
                let run = self.runs.remove(id).unwrap_or_default();
                let code = attribute("exitCode").or(attribute("containerExitCode")).unwrap_or("unknown");
                exit_code = Some(code.to_owned());
                let mut line = format!("container exited code={code}");
                if run.is_oom {
                    line.push_str(" oom=true");
                }
                let ran_ns = run.started_ns.map(|started_ns| ts_ns.saturating_sub(started_ns));
                if let Some(ran_ns) = ran_ns.filter(|ran_ns| *ran_ns >= 0) {
                    line.push_str(&format!(" after {}", span(ran_ns / 1_000_000_000)));
                }
                let is_calm = code == "0" || run.was_asked && !run.is_oom;
                ("die", if is_calm { "info" } else { "error" }, line)
            }
            _ => match action.strip_prefix("health_status: ")? {
                "healthy" => ("health", "info", "container is healthy".to_owned()),
                "unhealthy" => ("health", "error", "container is unhealthy".to_owned()),
                _ => return None,
            },
        };
        let mut metadata = LabelSet::from_pairs([("container_id", id), ("event", name), ("level", level)]);
        if let Some(code) = exit_code {
            metadata.insert("exit_code", code);
        }
        Some((line, metadata))
    }

    /// Returns whether an event was not shipped before, and counts it as shipped.
    fn is_new(&mut self, ts_ns: i64, id: &str, action: &str) -> bool {
        if ts_ns < self.before.ns {
            return false;
        }
        let mut hash = Xxh3::new();
        hash.update(&ts_ns.to_le_bytes());
        hash.update(id.as_bytes());
        hash.update(action.as_bytes());
        let hash = hash.digest();
        if !self.recent_set.insert(hash) {
            return false;
        }
        self.recent.push_back(hash);
        if self.recent.len() > RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_set.remove(&oldest);
        }
        // Remembered all the same: the next connection shows it again.
        if ts_ns == self.before.ns && self.seen_at_before < self.before.ordinal {
            self.seen_at_before += 1;
            return false;
        }
        if ts_ns > self.position.ns {
            self.position = OutputPosition { ns: ts_ns, ordinal: 1, proof_ns: ts_ns, step: None };
        } else if ts_ns == self.position.ns {
            self.position.ordinal += 1;
        }
        true
    }
}

/// Writes seconds with the two units that matter most.
fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut text = String::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if left >= *unit || text.is_empty() {
            text.push_str(&format!("{}{name}", left / unit));
        }
        left %= unit;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DockerSettings;
    use std::collections::BTreeMap;

    const NOW_NS: i64 = 1_700_000_000_000_000_000;

    fn event(after_ns: i64, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes: BTreeMap<_, _> = attributes.iter().copied().collect();
        let actor = serde_json::json!({"ID": "0123", "Attributes": attributes});
        let json = serde_json::json!({"Action": action, "Actor": actor, "timeNano": NOW_NS + after_ns});
        serde_json::from_value(json).unwrap()
    }

    fn rules(json: &str) -> DockerRules {
        let settings: DockerSettings = serde_json::from_str(json).unwrap();
        DockerRules::compile(&settings, BTreeMap::new()).unwrap()
    }

    fn facts() -> ContainerFacts {
        ContainerFacts { name: "web".to_owned(), ..ContainerFacts::default() }
    }

    fn told(lifecycle: &mut Lifecycle, event: &EventMessage) -> Option<String> {
        let piece = lifecycle.take(event, &facts(), &rules("{}"))?;
        let (labels, entries) = &piece.chunks[0];
        Some(format!("{labels} {}", String::from_utf8_lossy(entries.line(0))))
    }

    fn position(piece: &Piece) -> OutputPosition {
        match &piece.position {
            Position::Container([Some(position), None]) => *position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_life_is_told() {
        let mut lifecycle = Lifecycle::new(None, NOW_NS);
        let second = 1_000_000_000;
        let stream = r#"{container="web", stream="lifecycle"}"#;
        for (after_ns, action, attributes, want) in [
            (1, "create", &[][..], None),
            (2, "start", &[], Some("container started")),
            (3, "health_status: healthy", &[], Some("container is healthy")),
            (4, "health_status: unhealthy", &[], Some("container is unhealthy")),
            (5, "exec_start: sh", &[], None),
            (6, "oom", &[], Some("container ran out of memory")),
            (
                10_925 * second,
                "die",
                &[("exitCode", "137")],
                Some("container exited code=137 oom=true after 3h2m"),
            ),
            (10_926 * second, "die", &[("exitCode", "0")], Some("container exited code=0")),
        ] {
            let want = want.map(|line| format!("{stream} {line}"));
            assert_eq!(told(&mut lifecycle, &event(after_ns, action, attributes)), want, "{action}");
        }
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_error() {
        let level = |events: &[&str]| {
            let mut lifecycle = Lifecycle::new(None, NOW_NS);
            let mut last = None;
            for (number, action) in (1..).zip(events) {
                let event = event(number, action, &[("exitCode", "137")]);
                last = lifecycle.take(&event, &facts(), &rules("{}"));
            }
            last.unwrap().chunks[0].1.metadata(0).get("level").map(str::to_owned)
        };
        assert_eq!(level(&["start", "die"]).as_deref(), Some("error"));
        assert_eq!(level(&["start", "kill", "die"]).as_deref(), Some("info"));
        assert_eq!(level(&["start", "kill", "oom", "die"]).as_deref(), Some("error"));
        assert_eq!(level(&["start", "kill", "start", "die"]).as_deref(), Some("error"));
    }

    #[test]
    fn a_signal_to_read_settings_again_asks_for_no_end() {
        for (signal, want) in [("1", "error"), ("SIGHUP", "error"), ("15", "info"), ("10", "info")] {
            let mut lifecycle = Lifecycle::new(None, NOW_NS);
            assert!(told(&mut lifecycle, &event(1, "kill", &[("signal", signal)])).is_none());
            let end = event(2, "die", &[("exitCode", "137")]);
            let piece = lifecycle.take(&end, &facts(), &rules("{}")).unwrap();
            assert_eq!(piece.chunks[0].1.metadata(0).get("level"), Some(want), "signal {signal}");
        }
    }

    #[test]
    fn events_shown_again_are_told_once() {
        let mut lifecycle = Lifecycle::new(None, NOW_NS);
        let first = event(5, "start", &[]);
        assert!(told(&mut lifecycle, &event(-1, "start", &[])).is_none(), "before the agent");
        let mut last = lifecycle.begin();
        // The second is of an earlier time.
        for event in [&first, &event(3, "oom", &[]), &first, &event(5, "oom", &[])] {
            if let Some(piece) = lifecycle.take(event, &facts(), &rules("{}")) {
                last = piece;
            }
        }
        assert_eq!((position(&last).ns, position(&last).ordinal), (NOW_NS + 5, 2));
        // Another agent goes on there.
        let mut next = Lifecycle::new(Some(position(&last)), NOW_NS + 100);
        assert_eq!(next.since_ns(), NOW_NS + 5);
        let again = [event(3, "oom", &[]), first, event(5, "oom", &[])];
        assert!(again.iter().all(|event| told(&mut next, event).is_none()));
        assert!(told(&mut next, &event(5, "die", &[])).is_some(), "a third one at that time");
        assert!(told(&mut next, &event(6, "start", &[])).is_some());
    }

    #[test]
    fn what_an_earlier_agent_told_is_not_told_at_the_second_connection_either() {
        let before = OutputPosition { ns: NOW_NS + 5, ordinal: 2, proof_ns: NOW_NS + 5, step: None };
        let mut lifecycle = Lifecycle::new(Some(before), NOW_NS + 100);
        let known = [event(5, "start", &[]), event(5, "oom", &[])];
        // The first connection shows one of them, and breaks.
        assert!(told(&mut lifecycle, &known[0]).is_none());
        for event in &known {
            assert!(told(&mut lifecycle, event).is_none());
        }
        assert!(told(&mut lifecycle, &event(5, "die", &[])).is_some(), "a third one at that time");
        assert!(known.iter().all(|event| told(&mut lifecycle, event).is_none()), "a third connection");
    }

    #[test]
    fn containers_left_out_are_not_told_of() {
        let mut lifecycle = Lifecycle::new(None, NOW_NS);
        let start = event(1, "start", &[]);
        assert!(lifecycle.take(&start, &facts(), &rules(r#"{"default_on": false}"#)).is_none());
        let rule = r#"{"relabel": [{"source_labels": ["stream"], "regex": "lifecycle", "action": "drop"}]}"#;
        assert!(lifecycle.take(&event(2, "start", &[]), &facts(), &rules(rule)).is_none());
    }

    #[test]
    fn spans() {
        for (seconds, want) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_600, "1h"), (90_061, "1d1h")] {
            assert_eq!(span(seconds), want);
        }
    }
}
