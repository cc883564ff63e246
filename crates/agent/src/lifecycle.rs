//! What happens to containers, as entries: started, exited, out of memory, healthy or not.
//!
//! They come from the engine's events, which it keeps for a while and shows in the order in which it took them. Times of
//! events of two containers need not ascend, so the position lies a little before the newest time, together with the
//! number of events told since: after a pause so many are known, as far as they are not younger than the newest one
//! told, which is the case when the engine has forgotten them meanwhile. Within one life of the agent engines may show
//! an event again after a new connection, so the last ones are remembered one by one.

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

/// Key of the position in the events of the only engine, and what others begin with.
pub(crate) const EVENTS_KEY: &str = "docker-events";
/// An event may be shown behind another that is younger by so much.
const DISORDER_NS: i64 = 10_000_000_000;
/// Events counted behind the position; more move it on.
const COUNTED_MAX: usize = 1_024;
/// Events remembered one by one; engines keep 256.
const RECENT_MAX: usize = 1_024;
/// Containers of which it is known since when they run.
const RUNS_MAX: usize = 10_000;

/// Makes entries of events.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Key of its position.
    key: Arc<str>,
    /// Up to where an earlier agent shipped: from `ns` on it told `ordinal` events, the newest of them at `proof_ns`.
    before: OutputPosition,
    /// Events behind `before` that were seen again.
    seen_again: u32,
    position: OutputPosition,
    /// Times of the events told at or behind the position, as they were shown.
    counted: VecDeque<i64>,
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
    pub(crate) fn new(key: Arc<str>, position: Option<OutputPosition>, now_ns: i64) -> Self {
        let now = OutputPosition { ns: now_ns, ordinal: 0, proof_ns: now_ns, step: None };
        let position = position.unwrap_or(now);
        Self {
            key,
            before: position,
            seen_again: 0,
            position,
            counted: VecDeque::new(),
            recent: VecDeque::new(),
            recent_set: HashSet::new(),
            runs: HashMap::new(),
        }
    }

    /// Returns from when on events are to be asked for, in ns since the Unix epoch.
    ///
    /// Engines look from the newest event back to the first one that is older than this, so one that is shown late
    /// would hide those before it.
    pub(crate) fn since_ns(&self) -> i64 {
        self.position.ns.saturating_sub(DISORDER_NS)
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
        let position = Position::Container([Some(self.position), None]);
        Piece::of_target(Arc::clone(&self.key), chunks, position)
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
        let is_known = ts_ns <= self.before.proof_ns && self.seen_again < self.before.ordinal;
        self.seen_again += u32::from(is_known);
        self.count(ts_ns);
        !is_known
    }

    /// Moves the position over an event.
    fn count(&mut self, ts_ns: i64) {
        let newest_ns = self.position.proof_ns.max(ts_ns);
        self.counted.push_back(ts_ns);
        let mut from_ns = self.position.ns.max(newest_ns.saturating_sub(DISORDER_NS));
        if self.counted.len() > COUNTED_MAX {
            from_ns = from_ns.max(self.counted.iter().min().map_or(from_ns, |oldest_ns| oldest_ns + 1));
        }
        self.counted.retain(|counted_ns| *counted_ns >= from_ns);
        // A few at most: see `COUNTED_MAX`.
        let ordinal = u32::try_from(self.counted.len()).unwrap_or(u32::MAX);
        self.position = OutputPosition { ns: from_ns, ordinal, proof_ns: newest_ns, step: None };
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
        match &piece.place {
            Some((_, Position::Container([Some(position), None]))) => *position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_life_is_told() {
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
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
            let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
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
            let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
            assert!(told(&mut lifecycle, &event(1, "kill", &[("signal", signal)])).is_none());
            let end = event(2, "die", &[("exitCode", "137")]);
            let piece = lifecycle.take(&end, &facts(), &rules("{}")).unwrap();
            assert_eq!(piece.chunks[0].1.metadata(0).get("level"), Some(want), "signal {signal}");
        }
    }

    #[test]
    fn events_shown_again_are_told_once() {
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
        let first = event(5, "start", &[]);
        assert!(told(&mut lifecycle, &event(-1, "start", &[])).is_none(), "before the agent");
        let mut last = lifecycle.begin();
        // The second is of an earlier time.
        for event in [&first, &event(3, "oom", &[]), &first, &event(5, "oom", &[])] {
            if let Some(piece) = lifecycle.take(event, &facts(), &rules("{}")) {
                last = piece;
            }
        }
        let OutputPosition { ns, ordinal, proof_ns, .. } = position(&last);
        assert_eq!((ns, ordinal, proof_ns), (NOW_NS, 3, NOW_NS + 5));
        // Another agent goes on there.
        let mut next = Lifecycle::new(EVENTS_KEY.into(), Some(position(&last)), NOW_NS + 100);
        assert_eq!(next.since_ns(), NOW_NS - DISORDER_NS);
        let again = [event(3, "oom", &[]), first, event(5, "oom", &[])];
        assert!(again.iter().all(|event| told(&mut next, event).is_none()));
        assert!(told(&mut next, &event(5, "die", &[])).is_some(), "a third one at that time");
        assert!(told(&mut next, &event(6, "start", &[])).is_some());
    }

    #[test]
    fn an_older_event_that_was_shown_late_and_not_told_is_told_by_the_next_agent() {
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
        let (young, old) = (event(9, "start", &[]), event(8, "oom", &[]));
        let piece = lifecycle.take(&young, &facts(), &rules("{}")).unwrap();
        // It ends before the other is shown; both are shown again.
        let mut next = Lifecycle::new(EVENTS_KEY.into(), Some(position(&piece)), NOW_NS + 100);
        assert!(told(&mut next, &young).is_none());
        let piece = next.take(&old, &facts(), &rules("{}")).expect("it was never told");
        let mut third = Lifecycle::new(EVENTS_KEY.into(), Some(position(&piece)), NOW_NS + 200);
        assert!([young, old].iter().all(|event| told(&mut third, event).is_none()));
    }

    #[test]
    fn an_engine_that_forgot_what_was_told_hides_nothing_new() {
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
        let known = [event(1, "start", &[]), event(2, "oom", &[])];
        let pieces = known.iter().map(|event| lifecycle.take(event, &facts(), &rules("{}")).unwrap());
        let last = position(&pieces.last().unwrap());
        let mut next = Lifecycle::new(EVENTS_KEY.into(), Some(last), NOW_NS + 100);
        assert!(told(&mut next, &event(3, "die", &[("exitCode", "0")])).is_some());
        assert!(told(&mut next, &event(4, "start", &[])).is_some());
    }

    #[test]
    fn the_position_follows_the_newest_event_and_counts_few() {
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
        let mut last = None;
        for number in 1..=30 {
            let start = event(number * 1_000_000_000, "start", &[]);
            last = lifecycle.take(&start, &facts(), &rules("{}"));
        }
        let OutputPosition { ns, ordinal, .. } = position(last.as_ref().unwrap());
        assert_eq!((ns, ordinal), (NOW_NS + 20_000_000_000, 11));
        for number in 0..3_000 {
            last = lifecycle.take(&event(30_000_000_001 + number, "start", &[]), &facts(), &rules("{}"));
        }
        assert!(position(&last.unwrap()).ordinal as usize <= COUNTED_MAX);
    }

    #[test]
    fn what_an_earlier_agent_told_is_not_told_at_the_second_connection_either() {
        let before = OutputPosition { ns: NOW_NS + 5, ordinal: 2, proof_ns: NOW_NS + 5, step: None };
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), Some(before), NOW_NS + 100);
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
        let mut lifecycle = Lifecycle::new(EVENTS_KEY.into(), None, NOW_NS);
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
