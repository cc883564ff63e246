//! One container: from its first sight until it is gone.
//!
//! States: attach → follow → (end of the response) → still running: attach again; stopped: drain, idle
//! until the next start. The log is opened before the container is inspected: one started with `--rm`
//! may be gone a few tens of milliseconds after its end, and an open response outlives it.
//!
//! A resumed read begins with the newest parts and must touch what was accepted before; if it does not,
//! it begins again from further back. Everything before the position is suppressed by the filter.
//!
//! A response that follows is trusted as long as it keeps up: engines skip whole files of a log that is rotated faster
//! than it is read, or while they are busy, and say nothing. One that falls behind, pauses for as long as a file takes, or
//! is silent while the log goes on, is left, and the log read as it is until it is caught up: such a read holds all files
//! that there are, from the seam on, and what is missing at the seam is counted.

mod behind_damage;
mod pace;
mod reading;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logyard_client::{Backoff, BackoffSettings};
use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_pipeline::Pipeline;
use logyard_sys::{Clock, Disk, Random};
use tokio::sync::watch;

use self::pace::Pace;
use self::reading::Reading;
use crate::batch::Piece;
use crate::clock_watch::ClockWatch;
use crate::container_stages::container_stages;
use crate::discovery::{DockerRules, TargetLabels};
use crate::docker_engine::{Engine, Inspected, OpenError, Tail};
use crate::json_log::{JsonLog, json_log_path};
use crate::labels::ContainerFacts;
use crate::log_decoder::{LogDecoder, LogForm};
use crate::log_entry::Output;
use crate::log_join::JoinRule;
use crate::log_looks::Looks;
use crate::log_source::{LogSource, open_files};
use crate::metrics::Metrics;
use crate::pieces::Pieces;
use crate::position::{OutputPosition, OutputPositions, Position, RepeatFilter, accepted_until};
use crate::report::{Board, TargetKind, TargetState};
use crate::settings::Initial;
use crate::spool_shared::{stopped, stopped_within};
use crate::staging::{StageParts, Staging};

const BACKOFF: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(5) };
/// Parts asked for at first when resuming; then eight times more, and again, then all.
const TAILS: [Tail; 4] = [Tail::Newest(1_000), Tail::Newest(8_000), Tail::Newest(64_000), Tail::All];
/// The same of an engine that does not show the newest parts as they are.
const ALL_TAILS: [Tail; 1] = [Tail::All];
/// A container never seen before that ended longer ago than this is left alone.
const STOPPED_AGE_NS_MAX: i64 = 24 * 3_600 * 1_000_000_000;
/// Reads of a stopped container until one brings nothing new; more means that it runs again.
const DRAIN_READS_MAX: u32 = 100;

/// What is told of a container whose log is read from its files.
const FROM_FILES: &str = "read from its files";
/// New entries of a whole read, up to which a follow may begin again: what is written meanwhile is as much.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// What all targets of the source share.
#[derive(Debug)]
pub(crate) struct TargetParts {
    pub(crate) pieces: Pieces,
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    pub(crate) rules: DockerRules,
    pub(crate) pipeline: Pipeline,
    pub(crate) staging: StageParts,
    pub(crate) initial: Initial,
    /// Holds the engine's files.
    pub(crate) disk: Arc<dyn Disk>,
    /// Watches those that are read from there.
    pub(crate) looks: Looks,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    /// How far the container was read before.
    pub(crate) positions: Option<OutputPositions>,
    /// What counts if it was not.
    pub(crate) initial: Initial,
}

/// What the source tells a target. Each change wakes it.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The engine as last connected. A new connection means: reopen everything, since a daemon that was
    /// away under live-restore neither ends responses nor tells of it.
    pub(crate) engine: Engine,
    /// The folder of the engine's files, if logs are read from there.
    pub(crate) root: Option<Arc<Path>>,
    /// Counts connections to the engine.
    pub(crate) connection: u64,
    /// Counts starts of the container seen in events.
    pub(crate) starts: u64,
    /// What is known without inspection; the name may change.
    pub(crate) facts: ContainerFacts,
    /// The container was started at least once.
    pub(crate) was_started: bool,
    /// The container ended, says an event or the list, and was not started since.
    pub(crate) is_over: bool,
    /// The container was removed.
    pub(crate) is_gone: bool,
}

/// Runs until the container is gone or the agent stops; returns its id and how far it was read.
///
/// The target is on the board before the future is polled.
pub(crate) fn run(
    id: String,
    begin: Begin,
    parts: Arc<TargetParts>,
    wish: watch::Receiver<Wish>,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = (String, Option<OutputPositions>)> + Send + 'static {
    let facts = wish.borrow().facts.clone();
    let labels = parts.rules.labels(&id, &facts, &BTreeMap::new());
    let (pipeline, problems) = container_stages(&facts, &parts.pipeline, parts.staging.line_bytes_max);
    for problem in &problems {
        tracing::warn!(target = %facts.name, problem, "a container's own label is left out; mend it");
    }
    let mut target = DockerTarget {
        key: target_key(&id).into(),
        filter: RepeatFilter::new(begin.positions.unwrap_or_default()),
        staging: Staging::new(&pipeline, parts.staging.clone()),
        problems: problems.join("; "),
        sent: begin.positions.unwrap_or_default(),
        is_known: begin.positions.is_some(),
        initial: begin.initial,
        is_begin_assumed: false,
        clock_watch: ClockWatch::new(Arc::clone(&parts.clock)),
        backoff: Backoff::new(BACKOFF, Arc::clone(&parts.random)),
        labels,
        facts,
        inspected: None,
        open_end: None,
        is_lagging: false,
        was_opened: false,
        seen_starts: 0,
        seen_connection: 0,
        is_fallback_told: false,
        id,
        parts,
        wish,
        stop,
    };
    target.show();
    target.parts.metrics.targets.inc();
    async move {
        target.live().await;
        let mut positions = target.sent;
        if target.is_begin_assumed && positions == OutputPositions::default() {
            // Nothing was read since, and the next one must not begin later.
            positions = *target.filter.positions();
            target.parts.pieces.note(&target.key, Position::Container(positions));
        }
        (target.id.clone(), target.is_known.then_some(positions))
    }
}

impl Drop for DockerTarget {
    /// Also of one that is cut off.
    fn drop(&mut self) {
        self.set_lagging(false);
        self.parts.metrics.targets.dec();
        self.parts.board.remove_target(&self.key);
    }
}

/// Returns the key of a container's position.
pub(crate) fn target_key(id: &str) -> String {
    format!("{TARGET_PREFIX}{id}")
}

/// Prefix of the keys of containers' positions.
pub(crate) const TARGET_PREFIX: &str = "docker:";

#[derive(Debug)]
struct DockerTarget {
    id: String,
    key: Arc<str>,
    parts: Arc<TargetParts>,
    wish: watch::Receiver<Wish>,
    stop: watch::Receiver<bool>,
    filter: RepeatFilter,
    staging: Staging<OutputPositions>,
    /// What is wrong with its own labels.
    problems: String,
    /// Positions last handed over; behind those of the filter while stages hold lines back.
    sent: OutputPositions,
    clock_watch: ClockWatch,
    /// Something of this container was accepted before, now or by an earlier agent.
    is_known: bool,
    initial: Initial,
    /// The position is the time at which reading began: nothing need have been written then.
    is_begin_assumed: bool,
    facts: ContainerFacts,
    inspected: Option<Inspected>,
    labels: TargetLabels,
    /// Said that the rules leave no label.
    is_fallback_told: bool,
    backoff: Backoff,
    /// What the response that followed ended with in the middle of a line.
    open_end: Option<LogDecoder>,
    is_lagging: bool,
    was_opened: bool,
    /// Starts and connection at the last attach: newer ones end the waiting.
    seen_starts: u64,
    seen_connection: u64,
}

/// How reading a response ended.
#[derive(Debug)]
enum ReadEnd {
    /// The engine ended the response; so many entries were new.
    Ended(u64),
    Broken(String),
    /// The newest parts do not touch what was accepted: begin further back.
    NoSeam,
    /// The response shows old entries, and the log may be rotated under it.
    Behind,
    /// The log goes on, and the response does not.
    Stalled,
    NotFound,
    Unreadable(String),
    /// Settings leave the container out.
    Excluded(&'static str),
    /// The source wants the container opened anew.
    Reopen,
    Stop,
}

/// What to do about a read that does not touch what was accepted.
#[derive(Clone, Copy, Debug)]
enum IfNoSeam {
    /// Begin again from further back.
    FurtherBack,
    /// There is nothing further back: what lies between is gone.
    Gap(Gap),
}

/// Why entries are gone.
#[derive(Clone, Copy, Debug)]
enum Gap {
    Rotated,
    Damaged,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Attach,
    Wait,
    End,
}

impl DockerTarget {
    async fn live(&mut self) {
        let mut next = if self.wish.borrow().was_started { Next::Attach } else { Next::Wait };
        loop {
            next = match next {
                Next::Attach => self.attach().await,
                Next::Wait => self.wait().await,
                Next::End => break,
            };
        }
        // Of a container that is gone nothing will complete what stages hold. An agent that stops leaves it unread.
        if !*self.stop.borrow() {
            self.hand_over(Vec::new(), true).await;
        }
    }

    /// Waits for a start or a new connection since the last attach.
    async fn wait(&mut self) -> Next {
        if !self.hand_over(Vec::new(), true).await {
            return Next::End;
        }
        loop {
            let wish = self.wish.borrow_and_update().clone();
            if wish.is_gone {
                return Next::End;
            }
            self.take_facts(&wish.facts);
            let is_new = wish.starts != self.seen_starts || wish.connection != self.seen_connection;
            if is_new && wish.was_started {
                return Next::Attach;
            }
            tokio::select! {
                () = stopped(&mut self.stop) => return Next::End,
                changed = self.wish.changed() => if changed.is_err() { return Next::End },
            }
        }
    }

    /// Opens the log and reads it until something else is to be done.
    async fn attach(&mut self) -> Next {
        let wish = self.wish.borrow_and_update().clone();
        self.seen_starts = wish.starts;
        self.seen_connection = wish.connection;
        self.state(TargetState::Attach, "");
        if std::mem::replace(&mut self.was_opened, true) {
            self.parts.metrics.reopens.inc();
        }
        self.inspected = None;
        let end = self.read(&wish, true).await;
        match end {
            ReadEnd::Ended(accepted) => self.after_end(&wish, accepted).await,
            ReadEnd::Reopen => Next::Attach,
            ReadEnd::Stop => Next::End,
            ReadEnd::NotFound => self.gone().await,
            ReadEnd::Unreadable(reason) => {
                tracing::warn!(target = %self.facts.name, reason, "cannot read a container's log; use the log driver json-file or local");
                self.state(TargetState::Unreadable, &reason);
                Next::Wait
            }
            ReadEnd::Excluded(reason) => self.leave_out(reason),
            ReadEnd::NoSeam => Next::Attach,
            ReadEnd::Behind => self.catch_up(&wish).await.unwrap_or(Next::Attach),
            ReadEnd::Stalled => match self.catch_up(&wish).await {
                Some(next) => next,
                None => self.read_behind_damage(&wish).await.unwrap_or(Next::Attach),
            },
            ReadEnd::Broken(reason) => {
                tracing::debug!(target = %self.facts.name, reason, "opening a container's log again");
                self.pause().await
            }
        }
    }

    /// The follow ended properly: the container stopped, or the engine lost its way in rotated files.
    async fn after_end(&mut self, wish: &Wish, accepted: u64) -> Next {
        match wish.engine.inspect(&self.id).await {
            Ok(Some(inspected)) => {
                let is_running = inspected.is_running;
                self.take_inspected(inspected);
                if is_running {
                    if accepted > 0 {
                        self.backoff.reset();
                    }
                    return self.pause().await;
                }
            }
            Ok(None) => return self.gone().await,
            Err(error) => {
                tracing::debug!(target = %self.facts.name, %error, "opening a container's log again");
                return self.pause().await;
            }
        }
        self.drain(wish).await
    }

    /// Reads a stopped container until nothing new comes.
    async fn drain(&mut self, wish: &Wish) -> Next {
        self.state(TargetState::Drain, "");
        if let Err(next) = self.read_to_end(wish, 0).await {
            return next;
        }
        // Who stopped prints no more, so nothing would ever show that the engine showed less than it keeps. Only files of
        // this driver have such zeros.
        let may_be_damaged = self.inspected.as_ref().is_some_and(|inspected| inspected.driver == "json-file");
        if may_be_damaged
            && self.is_known
            && self.is_more_kept(wish, None).await
            && let Some(next) = self.read_behind_damage(wish).await
        {
            return next;
        }
        self.backoff.reset();
        self.set_lagging(false);
        self.state(TargetState::Idle, "");
        Next::Wait
    }

    /// Reads what a follow fell behind of, until it may be trusted again. `None`: nothing was new.
    async fn catch_up(&mut self, wish: &Wish) -> Option<Next> {
        self.parts.metrics.catch_ups.inc();
        let before = *self.filter.positions();
        match self.read_to_end(wish, CAUGHT_UP_ENTRIES).await {
            Ok(()) => (*self.filter.positions() != before).then_some(Next::Attach),
            Err(next) => Some(next),
        }
    }

    /// Reads the log as it is, again and again, until at most so many entries were new. Errors: what to do instead.
    async fn read_to_end(&mut self, wish: &Wish, enough: u64) -> Result<(), Next> {
        for _ in 0..DRAIN_READS_MAX {
            match self.read(wish, false).await {
                ReadEnd::Ended(accepted) if accepted <= enough => return Ok(()),
                ReadEnd::Ended(_) => {}
                ReadEnd::Stop => return Err(Next::End),
                ReadEnd::NotFound => return Err(self.gone().await),
                ReadEnd::Reopen | ReadEnd::NoSeam | ReadEnd::Behind | ReadEnd::Stalled => {
                    return Err(Next::Attach);
                }
                ReadEnd::Unreadable(_) => return Err(Next::Wait),
                ReadEnd::Excluded(reason) => return Err(self.leave_out(reason)),
                ReadEnd::Broken(_) => return Err(self.pause().await),
            }
        }
        Err(Next::Attach)
    }

    /// Waits for a change: another name or label may let it in.
    fn leave_out(&self, reason: &str) -> Next {
        tracing::debug!(target = %self.facts.name, reason, "a container is not read");
        self.state(TargetState::Excluded, reason);
        Next::Wait
    }

    async fn gone(&mut self) -> Next {
        tracing::debug!(target = %self.facts.name, "container is gone");
        if let Some(decoder) = self.open_end.take() {
            let mut rest = Reading {
                needs_seam: false,
                if_no_seam: IfNoSeam::Gap(Gap::Rotated),
                follows: false,
                pace: None,
                read_bytes: 0,
                decoder: None,
                accepted: 0,
                newest_ns: None,
                target: self,
            };
            // An agent that stops meanwhile ends as well.
            let _is_sent: bool = rest.finish_lines(decoder).await;
        }
        Next::End
    }

    /// Pauses before the next attempt; a start or a new connection ends the pause.
    async fn pause(&mut self) -> Next {
        let delay = self.backoff.next_delay(None);
        tokio::select! {
            is_stopped = stopped_within(&mut self.stop, delay) => if is_stopped { return Next::End },
            changed = self.wish.changed() => {
                if changed.is_err() || self.wish.borrow().is_gone {
                    return Next::End;
                }
            }
        }
        // Lines of an engine that stays away are due all the same.
        if self.hand_over(Vec::new(), false).await { Next::Attach } else { Next::End }
    }

    /// Returns how long until lines that stages hold are due; `None`: they hold none.
    fn staging_due(&self) -> Option<Duration> {
        self.staging.due_in(self.parts.clock.now_ns())
    }

    /// Hands over chunks, and what stages let go, with the position behind them; waits for room, and as long as a
    /// stage wants. Returns false when the agent stops.
    async fn hand_over(&mut self, mut chunks: Vec<(Arc<LabelSet>, Entries)>, everything: bool) -> bool {
        let mut position = *self.filter.positions();
        let mut pause = Duration::ZERO;
        if !self.staging.is_idle() {
            let staged = self.staging.take(everything, self.parts.clock.now_ns());
            chunks = staged.chunks;
            position = staged.mark.unwrap_or(position);
            pause = staged.pause;
        }
        let mut stop = self.stop.clone();
        // Position and entries are handed over together, so a line in the hands of a stage is behind both.
        if !chunks.is_empty() || position != self.sent {
            self.sent = position;
            let position = Position::Container(position);
            let piece = Piece::of_target(Arc::clone(&self.key), chunks, position);
            let is_sent = tokio::select! {
                sent = self.parts.pieces.send(piece) => sent.is_ok(),
                () = stopped(&mut stop) => false,
            };
            if !is_sent {
                return false;
            }
        }
        pause.is_zero() || !stopped_within(&mut stop, pause).await
    }

    /// Reads the log from a place that touches what was accepted before.
    async fn read(&mut self, wish: &Wish, follow: bool) -> ReadEnd {
        if let Some(mut log) = self.files(wish).await {
            if let Err(end) = self.inspect(wish).await {
                return end;
            }
            log.set_rotation(self.rotation_bytes());
            let shared = (self.parts.metrics.clone(), self.parts.looks.clone());
            let source = LogSource::files(log, self.wish.clone(), follow, shared);
            return self.read_source(source, wish, follow, IfNoSeam::Gap(Gap::Rotated)).await;
        }
        if !self.is_known {
            return match self.initial {
                Initial::All => self.read_from(wish, Tail::All, follow).await,
                Initial::Now => self.read_from_now(wish, follow).await,
            };
        }
        for &tail in if wish.engine.shows_tails() { TAILS.as_slice() } else { ALL_TAILS.as_slice() } {
            match self.read_from(wish, tail, follow).await {
                ReadEnd::NoSeam => {}
                end => return end,
            }
        }
        ReadEnd::NoSeam
    }

    /// Opens the files of the log, if it is to be read from there and can be.
    async fn files(&mut self, wish: &Wish) -> Option<JsonLog> {
        let root = wish.root.as_ref()?;
        if let Some(step) = self.clock_watch.look() {
            self.filter.note_step(step);
        }
        let since_ns = accepted_until(self.filter.positions());
        // Who begins now has no place to begin at, and a clock set back none that times tell.
        let is_findable = self.is_known || self.initial == Initial::All;
        if !is_findable || self.filter.has_step() {
            return None;
        }
        let path = json_log_path(root, &self.id);
        open_files(Arc::clone(&self.parts.disk), Arc::clone(&self.parts.clock), path, since_ns).await
    }

    /// Inspects the container, unless that was done since the log was opened. Errors: the log is to be opened again.
    async fn inspect(&mut self, wish: &Wish) -> Result<(), ReadEnd> {
        if self.inspected.is_some() {
            return Ok(());
        }
        match wish.engine.inspect(&self.id).await {
            Ok(Some(inspected)) => self.take_inspected(inspected),
            // Gone between opening and asking: what was opened still holds its lines.
            Ok(None) => {}
            Err(error) => return Err(ReadEnd::Broken(error.to_string())),
        }
        Ok(())
    }

    /// Reads what comes from now on. Should nothing come, later reads go on from now all the same: what is written
    /// while the engine is away, or at the next start of the container, counts.
    async fn read_from_now(&mut self, wish: &Wish, follow: bool) -> ReadEnd {
        let now_ns = self.parts.clock.now_ns();
        let end = self.read_from(wish, Tail::Newest(0), follow).await;
        if !self.is_known {
            let now = OutputPosition { ns: now_ns, ordinal: 1, proof_ns: now_ns, step: None };
            self.filter = RepeatFilter::new([Some(now); 2]);
            self.is_known = true;
            self.is_begin_assumed = true;
        }
        end
    }

    async fn read_from(&mut self, wish: &Wish, tail: Tail, follow: bool) -> ReadEnd {
        let if_no_seam = match tail {
            Tail::All => IfNoSeam::Gap(Gap::Rotated),
            Tail::Newest(_) => IfNoSeam::FurtherBack,
        };
        self.read_tail(wish, tail, follow, if_no_seam).await
    }

    async fn read_tail(&mut self, wish: &Wish, tail: Tail, follow: bool, if_no_seam: IfNoSeam) -> ReadEnd {
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            opened = wish.engine.open_log(&self.id, tail, follow) => opened,
            () = stopped(&mut stop) => return ReadEnd::Stop,
        };
        let source = match opened {
            Ok(response) => LogSource::Engine(response),
            Err(OpenError::NotFound) => return ReadEnd::NotFound,
            Err(OpenError::Unreadable(reason)) => return ReadEnd::Unreadable(reason),
            Err(OpenError::Failed(reason)) => return ReadEnd::Broken(reason),
        };
        self.read_source(source, wish, follow, if_no_seam).await
    }

    async fn read_source(
        &mut self,
        source: LogSource,
        wish: &Wish,
        follow: bool,
        if_no_seam: IfNoSeam,
    ) -> ReadEnd {
        if let Err(end) = self.inspect(wish).await {
            return end;
        }
        if let Some(reason) = self.parts.rules.refusal(&self.id, &self.facts) {
            return ReadEnd::Excluded(reason);
        }
        if self.labels.outputs.iter().all(Option::is_none) {
            return ReadEnd::Excluded("agent.docker.relabel leaves it out");
        }
        self.note_fallback();
        if self.is_too_old() {
            return ReadEnd::Ended(0);
        }
        if follow {
            let from = if source.is_files() { FROM_FILES } else { "" };
            let parts = [from, &*self.problems].into_iter().filter(|part| !part.is_empty());
            self.state(TargetState::Follow, &parts.collect::<Vec<_>>().join("; "));
        }
        self.filter.begin_read(wish.engine.shares_times());
        self.open_end = None;
        Reading {
            needs_seam: self.is_known,
            if_no_seam,
            follows: follow,
            pace: self.rotation_bytes().filter(|_| follow && !source.is_files()).map(Pace::new),
            read_bytes: 0,
            decoder: match source.is_files() {
                true => Some(LogDecoder::new(LogForm::JsonFile, self.parts.staging.line_bytes_max)),
                false => self.decoder(wish),
            },
            accepted: 0,
            newest_ns: None,
            target: self,
        }
        .run(source, wish)
        .await
    }

    /// Returns the size at which the files of the log are rotated, if they are.
    fn rotation_bytes(&self) -> Option<u64> {
        self.inspected.as_ref().and_then(|inspected| inspected.rotation_bytes)
    }

    /// Whether this is a container that ended long before the agent first saw it.
    fn is_too_old(&self) -> bool {
        let Some(inspected) = &self.inspected else {
            return false;
        };
        let age_ns = self.parts.clock.now_ns().saturating_sub(inspected.finished_ns);
        !self.is_known && !inspected.is_running && inspected.finished_ns > 0 && age_ns > STOPPED_AGE_NS_MAX
    }

    fn decoder(&self, wish: &Wish) -> Option<LogDecoder> {
        let inspected = self.inspected.as_ref()?;
        let form = match inspected.is_tty {
            true => LogForm::Tty { local: inspected.driver == "local" },
            // Each part of a line is an entry of the journal, with a time of its own.
            false if inspected.driver == "journald" => LogForm::Frames(JoinRule::Podman),
            false => LogForm::Frames(wish.engine.join_rule()),
        };
        Some(LogDecoder::new(form, self.parts.staging.line_bytes_max))
    }

    fn take_inspected(&mut self, inspected: Inspected) {
        let facts = inspected.facts.clone();
        self.inspected = Some(inspected);
        self.facts = facts;
        self.set_labels();
    }

    /// Takes over name and labels as lists and events tell them. The image of an inspection stays:
    /// lists show a bare id once the tag has moved.
    fn take_facts(&mut self, facts: &ContainerFacts) {
        let mut facts = facts.clone();
        if !self.facts.image.is_empty() {
            facts.image.clone_from(&self.facts.image);
        }
        self.set_facts(facts);
    }

    fn set_facts(&mut self, facts: ContainerFacts) {
        if facts != self.facts {
            self.facts = facts;
            self.set_labels();
        }
    }

    fn set_labels(&mut self) {
        let none = BTreeMap::new();
        let meta = self.inspected.as_ref().map_or(&none, |inspected| &inspected.meta);
        self.labels = self.parts.rules.labels(&self.id, &self.facts, meta);
        self.show();
    }

    fn note_fallback(&mut self) {
        if self.labels.is_fallback && !std::mem::replace(&mut self.is_fallback_told, true) {
            tracing::warn!(
                target = %self.facts.name,
                "agent.docker.relabel leaves a container without labels, so it gets the default ones; add a rule with a target_label"
            );
        }
    }

    /// All that can be shown was asked for, and it begins behind the position: what lay between is gone.
    fn note_gap(&self, first: (Output, i64), gap: Gap) {
        let positions = self.filter.positions();
        let newest_ns = positions.iter().flatten().map(OutputPosition::peak_ns).max();
        let oldest_ns = positions.iter().flatten().map(|position| position.ns).min();
        let is_gap = !self.is_begin_assumed && newest_ns.is_some_and(|newest_ns| first.1 > newest_ns);
        if !is_gap {
            return;
        }
        let (reason, text) = match gap {
            Gap::Rotated => (
                "rotated",
                "lines of a container were rotated away before they could be read; raise max-size or max-file of its log",
            ),
            Gap::Damaged => (
                "damaged",
                "the engine shows nothing at a damaged place of a container's log, and lines there are left out; read them from the files of the log, see agent.docker.read",
            ),
        };
        self.parts.metrics.gap(reason);
        tracing::warn!(target = &*self.facts.name, from_ns = oldest_ns, to_ns = first.1, "{text}");
    }

    /// The clock was set back, and the entries after it go on from the earlier time.
    fn note_steps(&self, steps: u64) {
        if steps > 0 {
            self.parts.metrics.clock_steps.inc_by(steps);
            tracing::warn!(target = %self.facts.name, "the clock was set back; a container's lines go on from the earlier time");
        }
    }

    fn show(&self) {
        let labels = self.labels.shown();
        self.parts.board.name_target(TargetKind::Container, &self.key, &self.facts.name, labels);
    }

    fn state(&self, state: TargetState, detail: &str) {
        self.parts.board.set_state(&self.key, state, detail);
    }

    fn set_lagging(&mut self, is_lagging: bool) {
        if is_lagging != self.is_lagging {
            self.is_lagging = is_lagging;
            match is_lagging {
                true => self.parts.metrics.targets_lagging.inc(),
                false => self.parts.metrics.targets_lagging.dec(),
            };
        }
    }
}
