//! The containers of one engine: who is there, and a task for each.
//!
//! Events are opened first, the list is taken second, so nothing falls between; both only say "look at
//! this container". On any break everything starts over: an engine that was away may have started,
//! stopped and removed containers without a trace in the events.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::EventMessage;
use futures_util::StreamExt;
use logyard_client::{Backoff, BackoffSettings};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at};

use crate::batch::Piece;
use crate::docker_engine::{Engine, EngineError, Listed};
use crate::docker_target::{self, Begin, TARGET_PREFIX, TargetParts, Wish, target_key};
use crate::engine_place::EnginePlace;
use crate::labels::{ContainerFacts, own_refusal};
use crate::lifecycle::{EVENTS_KEY, Lifecycle};
use crate::pieces::Pieces;
use crate::position::{OutputPositions, Position};
use crate::report::{TargetKind, TargetState};
use crate::settings::{Initial, ReadFrom};
use crate::spool_shared::{SharedSpool, stopped, stopped_within};

const BACKOFF: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(5) };
/// Pauses between attempts at one that takes connections and does not answer them: two requests each, and over a long
/// time fewer than one in five seconds.
const CALM_BACKOFF: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(20) };
/// The list is taken again this often, in case an event was lost.
const LIST_INTERVAL: Duration = Duration::from_secs(60);
/// Events are asked for from this long before the connection: repeats do no harm.
const EVENTS_BACK_NS: i64 = 10_000_000_000;

/// Entries of what happened to containers that wait while the spool is full; more are left out, and counted.
const HAPPENED_MAX: usize = 4_096;
/// Events held while the first list is on its way; more are taken after it.
const EARLY_EVENTS_MAX: usize = 4_096;

/// What the source needs.
#[derive(Debug)]
pub(crate) struct DockerSource {
    pub(crate) place: EnginePlace,
    /// What the lists of all engines hold.
    pub(crate) presence: Presence,
    /// Id of the agent's own container, which is left out unless it wants otherwise: its lines would feed themselves.
    pub(crate) own_id: Option<String>,
    pub(crate) parts: Arc<TargetParts>,
    /// Whether it is told what happens to containers.
    pub(crate) has_lifecycle: bool,
    /// From where logs are read.
    pub(crate) read: ReadFrom,
    pub(crate) spool: SharedSpool,
    pub(crate) stop: watch::Receiver<bool>,
    /// Told once the first list was taken.
    pub(crate) listed: oneshot::Sender<()>,
}

/// Keys of the targets on the last list of each engine, by the engine's key; `None`: it has not told any.
///
/// A target is gone when it is on no list: that of an engine that does not answer may still hold it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<Mutex<BTreeMap<String, Option<HashSet<String>>>>>);

impl Presence {
    /// Says which engines there are; the lists of those that were there before stay.
    pub(crate) fn expect(&self, engines: &[String]) {
        self.with(|lists| {
            lists.retain(|engine, _| engines.contains(engine));
            for engine in engines {
                lists.entry(engine.clone()).or_default();
            }
        });
    }

    /// Notes the list of an engine; returns what is on all of them, once each engine has told its own.
    fn note(&self, engine: &str, present: HashSet<String>) -> Option<HashSet<String>> {
        self.with(|lists| {
            *lists.get_mut(engine)? = Some(present);
            lists.values().try_fold(HashSet::new(), |mut all, list| {
                all.extend(list.as_ref()?.iter().cloned());
                Some(all)
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Option<HashSet<String>>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A container's id and how far it was read.
type TargetEnd = (String, Option<OutputPositions>);

#[derive(Debug)]
struct Live {
    positions: BTreeMap<String, OutputPositions>,
    targets: HashMap<String, watch::Sender<Wish>>,
    tasks: JoinSet<TargetEnd>,
    connection: u64,
    /// The folder of the engine's files, if logs are read from there.
    root: Option<Arc<Path>>,
    last_event_ns: i64,
    own_id: Option<String>,
    /// The engine's key.
    place_key: String,
    presence: Presence,
    /// Keys of targets on the board that have no task.
    left_out: HashSet<String>,
    /// From where new targets are read.
    initial: Initial,
    parts: Arc<TargetParts>,
    stop: watch::Receiver<bool>,
    listed: Option<oneshot::Sender<()>>,
    lifecycle: Option<Lifecycle>,
    /// What it made and the batch has no room for yet.
    happened: VecDeque<Piece>,
}

/// Runs until the agent stops and all targets have ended. `first` is an engine already connected.
pub(crate) async fn run(source: DockerSource, first: Option<Engine>) {
    let DockerSource { place, presence, own_id, parts, has_lifecycle, read, spool, mut stop, listed } =
        source;
    let host = place.host.as_str();
    let events_key: Arc<str> = format!("{EVENTS_KEY}{}", place.key).into();
    let mut backoff = Backoff::new(BACKOFF, Arc::clone(&parts.random));
    let mut calm_backoff = Backoff::new(CALM_BACKOFF, Arc::clone(&parts.random));
    let now_ns = parts.clock.now_ns();
    let mut positions = parts.pieces.positions(&spool);
    let events_position = match positions.remove(&*events_key) {
        Some(Position::Container([position, _])) => position,
        _ => None,
    };
    let lifecycle = has_lifecycle.then(|| Lifecycle::new(events_key, events_position, now_ns));
    let happened = match events_position {
        None => lifecycle.iter().map(Lifecycle::begin).collect(),
        Some(_) => VecDeque::new(),
    };
    let mut live = Live {
        positions: container_positions(positions),
        targets: HashMap::new(),
        tasks: JoinSet::new(),
        connection: 0,
        root: None,
        last_event_ns: now_ns,
        own_id,
        place_key: place.key.clone(),
        presence,
        left_out: HashSet::new(),
        initial: Initial::All,
        parts: Arc::clone(&parts),
        stop: stop.clone(),
        listed: Some(listed),
        lifecycle,
        happened,
    };
    let mut next = first;
    let mut is_failing = false;
    loop {
        let connected = match next.take() {
            Some(engine) => Ok(engine),
            None => tokio::select! {
                connected = Engine::connect(&place, &*parts.disk) => connected,
                () = stopped(&mut stop) => break,
            },
        };
        let (ended, has_lasted) = match connected {
            Ok(engine) => {
                parts.board.set_engine(&place.key, Ok(engine.report().clone()));
                if is_failing {
                    tracing::info!(host, "the engine answers again");
                    is_failing = false;
                }
                live.connection += 1;
                live.root = match read {
                    ReadFrom::Files => engine.root().await.map(Arc::from),
                    ReadFrom::Api => None,
                };
                let begun = Instant::now();
                let ended = live.follow_events(&engine, &spool).await;
                let has_lasted = begun.elapsed() > BACKOFF.max;
                if has_lasted {
                    backoff.reset();
                    calm_backoff.reset();
                }
                (ended, has_lasted)
            }
            Err(error) => (Err(error), false),
        };
        let Err(error) = ended else {
            break;
        };
        let is_taken = error.is_taken();
        // Proxies, and Podman, end the events now and then; it is news only if nobody answers afterwards.
        if has_lasted {
            tracing::debug!(%error, host, "the engine ended its events; asking again");
        } else if !is_failing {
            tracing::warn!(%error, host, "the engine does not answer; trying again until it does");
            is_failing = true;
        }
        parts.board.set_engine(&place.key, Err(error.to_string()));
        let pauses = if is_taken { &mut calm_backoff } else { &mut backoff };
        if stopped_within(&mut stop, pauses.next_delay(None)).await {
            break;
        }
    }
    drop(live.targets);
    while live.tasks.join_next().await.is_some() {}
    live.left_out.iter().for_each(|key| parts.board.remove_target(key));
}

fn container_positions(positions: BTreeMap<String, Position>) -> BTreeMap<String, OutputPositions> {
    let container = |(key, position): (String, Position)| match position {
        Position::Container(outputs) => Some((key.strip_prefix(TARGET_PREFIX)?.to_owned(), outputs)),
        Position::File(_) | Position::Journal(_) => None,
    };
    positions.into_iter().filter_map(container).collect()
}

/// Waits for room, and hands over.
async fn hand_over(pieces: &Pieces, waiting: &mut VecDeque<Piece>) {
    let Ok(room) = pieces.reserve().await else {
        // Nobody takes pieces any more: the agent stops, and the next one reads the events again.
        return std::future::pending().await;
    };
    if let Some(piece) = waiting.pop_front() {
        room.send(piece);
    }
}

impl Live {
    /// Follows one connection. `Ok`: the agent stops. Errors: why the engine went away.
    async fn follow_events(&mut self, engine: &Engine, spool: &SharedSpool) -> Result<(), EngineError> {
        let mut stop = self.stop.clone();
        let heed_from_ns = self.last_event_ns - EVENTS_BACK_NS;
        let since_ns = self.lifecycle.as_ref().map_or(i64::MAX, Lifecycle::since_ns).min(heed_from_ns);
        let mut events = pin!(engine.events(since_ns));
        // Polled together with the list, so the request for events is on its way before the list's.
        let mut early = Vec::new();
        let listed = {
            let mut list = pin!(engine.list());
            loop {
                tokio::select! {
                    biased;
                    event = events.next() => early.push(event),
                    listed = &mut list => break listed,
                    () = stopped(&mut stop) => return Ok(()),
                }
                if early.len() > EARLY_EVENTS_MAX || matches!(early.last(), Some(None | Some(Err(_)))) {
                    break list.await;
                }
            }
        };
        self.take_list(engine, listed?, spool).await;
        for event in early {
            match event {
                // From before the agent: what it says of targets the list says better.
                Some(Ok(event)) if event.time_nano.unwrap_or_default() < heed_from_ns => {
                    self.note_happened(&event);
                }
                event => self.take_answer(engine, event)?,
            }
        }
        let mut relist = interval_at(Instant::now() + LIST_INTERVAL, LIST_INTERVAL);
        let parts = Arc::clone(&self.parts);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                () = hand_over(&parts.pieces, &mut self.happened), if !self.happened.is_empty() => {}
                event = events.next() => self.take_answer(engine, event)?,
                Some(ended) = self.tasks.join_next() => self.note_end(ended),
                _ = relist.tick() => {
                    let listed = engine.list().await?;
                    self.take_list(engine, listed, spool).await;
                }
            }
        }
    }

    async fn take_list(&mut self, engine: &Engine, listed: Vec<Listed>, spool: &SharedSpool) {
        // Who is there at the first list was there before the agent; whoever comes later is read from the beginning.
        self.initial = if self.listed.is_some() { self.parts.initial } else { Initial::All };
        let present: HashSet<String> = listed.iter().map(|container| target_key(&container.id)).collect();
        self.left_out.retain(|key| {
            let is_there = present.contains(key);
            if !is_there {
                self.parts.board.remove_target(key);
            }
            is_there
        });
        for (id, wish) in &self.targets {
            if !listed.iter().any(|container| container.id == *id) {
                wish.send_if_modified(|wish| !std::mem::replace(&mut wish.is_gone, true));
            }
        }
        for container in listed {
            self.look_at(engine, &container.id, container.facts, container.was_started, 0);
            self.note_over(&container.id, container.is_over);
        }
        self.initial = Initial::All;
        if let Some(listed) = self.listed.take()
            && listed.send(()).is_err()
        {
            tracing::debug!("the first list of containers came late");
        }
        if let Some(present) = self.presence.note(&self.place_key, present) {
            spool.note_present(TARGET_PREFIX, present).await;
        }
    }

    fn take_answer(
        &mut self,
        engine: &Engine,
        answer: Option<Result<EventMessage, bollard::errors::Error>>,
    ) -> Result<(), EngineError> {
        match answer {
            Some(Ok(event)) => {
                self.take_event(engine, event);
                Ok(())
            }
            Some(Err(error)) => Err(EngineError::new(format!("its events broke off: {error}"))),
            None => Err(EngineError::new("its events ended".to_owned())),
        }
    }

    fn take_event(&mut self, engine: &Engine, event: EventMessage) {
        self.note_happened(&event);
        self.last_event_ns = self.last_event_ns.max(event.time_nano.unwrap_or_default());
        let actor = event.actor.unwrap_or_default();
        let Some(id) = actor.id else {
            return;
        };
        let facts = facts_of(actor.attributes.unwrap_or_default());
        match event.action.as_deref().unwrap_or_default() {
            "create" => self.look_at(engine, &id, facts, false, 0),
            "start" => {
                self.look_at(engine, &id, facts, true, 1);
                self.note_over(&id, false);
            }
            "die" => self.note_over(&id, true),
            "rename" => self.look_at(engine, &id, facts, false, 0),
            "destroy" | "remove" => match self.targets.get(&id) {
                Some(wish) => wish.send_modify(|wish| wish.is_gone = true),
                None => {
                    self.left_out.remove(&target_key(&id));
                    self.parts.board.remove_target(&target_key(&id));
                }
            },
            _ => {}
        }
    }

    /// Makes an entry of an event, if it is worth one.
    fn note_happened(&mut self, event: &EventMessage) {
        let Some(lifecycle) = &mut self.lifecycle else { return };
        let actor = event.actor.clone().unwrap_or_default();
        let is_own = self.own_id.is_some() && self.own_id == actor.id;
        let facts = facts_of(actor.attributes.unwrap_or_default());
        let is_left_out = is_own && own_refusal(&facts).is_some();
        let Some(piece) = lifecycle.take(event, &facts, &self.parts.rules).filter(|_| !is_left_out) else {
            return;
        };
        if self.happened.len() >= HAPPENED_MAX {
            self.parts.metrics.gap("lifecycle");
            return;
        }
        self.happened.push_back(piece);
    }

    /// Tells a target whether its container runs. An event that is repeated or late may say what is no longer true;
    /// the next list says it right.
    fn note_over(&self, id: &str, is_over: bool) {
        if let Some(wish) = self.targets.get(id) {
            wish.send_if_modified(|wish| std::mem::replace(&mut wish.is_over, is_over) != is_over);
        }
    }

    /// Makes a target of a container, or tells its target what is new.
    fn look_at(&mut self, engine: &Engine, id: &str, facts: ContainerFacts, was_started: bool, starts: u64) {
        let own_refusal = match self.own_id.as_deref() == Some(id) {
            true => own_refusal(&facts),
            false => None,
        };
        let refusal = own_refusal.or_else(|| self.parts.rules.refusal(id, &facts));
        if let Some(reason) = refusal.filter(|_| !self.targets.contains_key(id)) {
            let labels = self.parts.rules.labels(id, &facts, &BTreeMap::new()).shown();
            self.parts.board.name_target(TargetKind::Container, &target_key(id), &facts.name, labels);
            self.parts.board.set_state(&target_key(id), TargetState::Excluded, reason);
            self.left_out.insert(target_key(id));
            return;
        }
        if let Some(wish) = self.targets.get(id) {
            let (connection, root) = (self.connection, self.root.clone());
            wish.send_if_modified(|wish| {
                let is_new = starts > 0
                    || wish.connection != connection
                    || (was_started && !wish.was_started)
                    || (wish.facts.name != facts.name && !facts.name.is_empty());
                if is_new {
                    wish.engine = engine.clone();
                    wish.connection = connection;
                    wish.root.clone_from(&root);
                    wish.starts += starts;
                    wish.was_started |= was_started;
                    wish.is_gone = false;
                    wish.facts = facts;
                }
                is_new
            });
            return;
        }
        let wish = Wish {
            engine: engine.clone(),
            root: self.root.clone(),
            connection: self.connection,
            starts,
            facts,
            was_started,
            is_over: false,
            is_gone: false,
        };
        let (sender, receiver) = watch::channel(wish);
        self.targets.insert(id.to_owned(), sender);
        let positions = self.positions.get(id).copied();
        let target = docker_target::run(
            id.to_owned(),
            Begin { positions, initial: self.initial },
            Arc::clone(&self.parts),
            receiver,
            self.stop.clone(),
        );
        self.tasks.spawn(target);
    }

    /// A target ended; should its container be seen again, it goes on from where it was.
    fn note_end(&mut self, ended: Result<TargetEnd, JoinError>) {
        match ended {
            Ok((id, positions)) => {
                self.targets.remove(&id);
                if let Some(positions) = positions {
                    self.positions.insert(id, positions);
                }
            }
            Err(error) => {
                tracing::error!(%error, "reading a container failed, this is a bug; its lines are read at the next start");
            }
        }
    }
}

/// Takes a container's identity out of an event: all its labels, its name and its image.
fn facts_of(mut attributes: HashMap<String, String>) -> ContainerFacts {
    let name = attributes.remove("name").unwrap_or_default();
    let image = attributes.remove("image").unwrap_or_default();
    // What is said of the event itself is no label of the container.
    for own in ["exitCode", "containerExitCode", "execDuration", "signal", "execID", "oldName"] {
        attributes.remove(own);
    }
    ContainerFacts { name: name.trim_start_matches('/').to_owned(), image, labels: attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_in_ten_minutes_an_engine_that_does_not_answer_is_asked_less_than_each_five_seconds() {
        const REQUESTS_OF_ATTEMPT: u64 = 2;
        for seed in 0..20 {
            let mut pauses = Backoff::new(CALM_BACKOFF, Arc::new(logyard_sys::Random::seeded(seed)));
            let (mut passed, mut requests) = (Duration::ZERO, 0);
            while passed < Duration::from_secs(600) {
                requests += REQUESTS_OF_ATTEMPT;
                passed += pauses.next_delay(None);
            }
            assert!(requests * 5 < passed.as_secs(), "{requests} requests in {passed:?}");
        }
    }

    #[test]
    fn what_an_engine_that_has_not_answered_may_hold_is_not_gone() {
        let presence = Presence::default();
        presence.expect(&["x".to_owned(), "y".to_owned()]);
        let keys =
            |names: &[&str]| -> HashSet<String> { names.iter().map(|&name| name.to_owned()).collect() };
        assert_eq!(presence.note("x", keys(&["a", "b"])), None);
        assert_eq!(presence.note("y", keys(&["c"])), Some(keys(&["a", "b", "c"])));
        assert_eq!(presence.note("x", keys(&["b"])), Some(keys(&["b", "c"])));
        presence.expect(&["y".to_owned()]);
        assert_eq!(presence.note("x", keys(&["b"])), None, "it is wanted no more");
        assert_eq!(presence.note("y", keys(&["d"])), Some(keys(&["d"])));
    }
}
