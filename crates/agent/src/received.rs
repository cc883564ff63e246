//! Entries that come by themselves, from a listener or a pipe: their labels, their times, their stages, and the way to
//! the batch.
//!
//! Nothing can be read again, so nothing is taken that there is no room for: [`Lane::flush`] waits for it, and whoever
//! reads for the lane waits with it. What a lane was given counts as kept once the piece that holds it is spooled, which
//! [`Lane::flush`] can tell a sender that asks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_pipeline::settings::StageSettings;
use logyard_pipeline::{LinesFrom, Pipeline, RelabelSettings, Relabeling, without_meta};
use logyard_sys::Clock;
use tokio::sync::{oneshot, watch};

use crate::batch::{PIECE_RAW_BYTES, Piece};
use crate::error::Error;
use crate::log_join::bounded;
use crate::metrics::Metrics;
use crate::pieces::Pieces;
use crate::ports::Ports;
use crate::report::Board;
use crate::spool_shared::stopped_within;
use crate::staging::{Line, StageParts, Staging, compile_stages};

/// Label sets of which a lane remembers what the rules make of them.
const LABEL_SETS_MAX: usize = 512;
/// Times of senders that are remembered, to keep equal ones apart.
const TIMES_MAX: usize = 64;
/// Times of senders further ahead of the present are not believed.
const FUTURE_NS_MAX: i64 = 3_600 * 1_000_000_000;
/// A time of arrival further ahead of the clock than this shows that it was set back.
const CLOCK_AHEAD_NS_MAX: i64 = 1_000_000_000;

/// What all that receives shares.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    pub(crate) pieces: Pieces,
    /// Ports that are open.
    pub(crate) ports: Ports,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    pub(crate) staging: StageParts,
    pub(crate) stop: watch::Receiver<bool>,
    /// Key of the row on the board that its entries count for.
    pub(crate) row: Arc<str>,
}

/// What the settings of each receiver have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobSettings<'a> {
    /// Value of the label `job`.
    pub(crate) job: &'static str,
    /// Paths of the settings `relabel` and `stages`, for errors.
    pub(crate) paths: [&'static str; 2],
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Whether streams bear `job` and the labels of `agent.labels`.
    pub(crate) default_labels: bool,
    /// Whether they bear what arrives with entries, besides what rules make of it.
    pub(crate) takes_labels: bool,
    pub(crate) relabel: &'a [RelabelSettings],
    pub(crate) stages: &'a [StageSettings],
}

/// Labels and stages of what one receiver takes in.
#[derive(Debug)]
pub(crate) struct ReceiveJob {
    /// Labels that what arrives may replace.
    common: LabelSet,
    /// Labels that it may not.
    own: LabelSet,
    /// What entries without any other label get.
    fallback: LabelSet,
    takes_labels: bool,
    relabel: Relabeling,
    pub(crate) pipeline: Pipeline,
    times: Mutex<Times>,
}

impl ReceiveJob {
    /// Compiles rules and stages. Errors: the first that cannot be used.
    pub(crate) fn compile(
        settings: JobSettings<'_>,
        common: &BTreeMap<String, String>,
        line_bytes_max: usize,
    ) -> Result<Arc<Self>, Error> {
        let set = |labels: &BTreeMap<String, String>| {
            let given = labels.iter().filter(|(_, value)| !value.is_empty());
            LabelSet::from_pairs(given.map(|(name, value)| (name.as_str(), value.as_str())))
        };
        let fallback = LabelSet::from_pairs([("job", settings.job)]);
        let mut shared = if settings.default_labels { set(common) } else { LabelSet::default() };
        if settings.default_labels {
            shared.insert("job", settings.job);
        }
        let [relabel_path, stages_path] = settings.paths;
        let relabel = Relabeling::compile(settings.relabel)
            .map_err(|error| Error::Setting { setting: relabel_path, reason: error.to_string() })?;
        Ok(Arc::new(Self {
            common: shared,
            own: set(settings.labels),
            fallback,
            takes_labels: settings.takes_labels,
            relabel,
            pipeline: compile_stages(stages_path, settings.stages, LinesFrom::Files, line_bytes_max)?,
            times: Mutex::default(),
        }))
    }

    /// Returns the labels of the stream of what arrived under `arrived`; `None`: the rules leave it out.
    pub(crate) fn labels(&self, arrived: &LabelSet) -> Option<LabelSet> {
        let mut labels = self.common.clone();
        let wanted = arrived.iter().filter(|(name, _)| self.takes_labels || name.starts_with("__"));
        for (name, value) in wanted.chain(self.own.iter()) {
            if !value.is_empty() {
                labels.insert(name, value);
            }
        }
        if !self.relabel.apply(&mut labels) {
            return None;
        }
        let labels = without_meta(&labels);
        Some(if labels.is_empty() { self.fallback.clone() } else { labels })
    }

    /// Returns whether entries bear what arrives with them.
    pub(crate) fn takes_labels(&self) -> bool {
        self.takes_labels
    }

    /// Returns the labels that are the same for all that arrives, for reports.
    pub(crate) fn shown_labels(&self) -> LabelSet {
        self.labels(&LabelSet::default()).unwrap_or_default()
    }
}

/// Keeps entries apart that senders give one and the same time: the store would take equal lines for one.
#[derive(Debug, Default)]
struct Times {
    /// Time of the last entry that got the time of its arrival.
    arrived_ns: Option<i64>,
    /// Times of senders and how many entries bore them, oldest first.
    sent: VecDeque<(i64, i64)>,
}

impl Times {
    /// Returns a time of arrival: each later than the one before, unless the clock was set back.
    fn arrival(&mut self, now_ns: i64) -> i64 {
        let ns = match self.arrived_ns {
            Some(last) if last <= now_ns.saturating_add(CLOCK_AHEAD_NS_MAX) => {
                now_ns.max(last.saturating_add(1))
            }
            _ => now_ns,
        };
        self.arrived_ns = Some(ns);
        ns
    }

    /// Returns the time of a sender, later by 1 ns for each entry that bore it before: no sender's clock is that fine.
    fn sent(&mut self, ns: i64) -> i64 {
        if let Some((_, count)) = self.sent.iter_mut().rev().find(|(sent, _)| *sent == ns) {
            *count += 1;
            return ns.saturating_add(*count);
        }
        if self.sent.len() == TIMES_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((ns, 0));
        ns
    }
}

/// When an entry was made, as far as its sender says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentAt {
    /// It does not say, or is not asked.
    Unknown,
    /// A time of a coarse clock: equal ones are kept apart.
    Coarse(i64),
    /// The very time: an equal entry is the same entry.
    Exact(i64),
}

/// An entry as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived<'a> {
    /// Default labels, and those of names that begin with `__` for rules.
    pub(crate) labels: LabelSet,
    pub(crate) at: SentAt,
    pub(crate) line: &'a [u8],
    /// Bytes of the line that were left out already.
    pub(crate) cut_bytes: usize,
    /// Structured metadata; left out where labels of what arrives are not wanted.
    pub(crate) metadata: LabelSet,
}

/// The agent stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// The way of entries from one sender, or from all that share a socket.
#[derive(Debug)]
pub(crate) struct Lane {
    job: Arc<ReceiveJob>,
    parts: Receiving,
    staging: Staging<()>,
    known: HashMap<LabelSet, Option<Arc<LabelSet>>>,
    chunks: HashMap<Arc<LabelSet>, Entries>,
    bytes: u64,
}

impl Lane {
    pub(crate) fn new(job: &Arc<ReceiveJob>, parts: &Receiving) -> Self {
        Self {
            staging: Staging::new(&job.pipeline, parts.staging.clone()),
            job: Arc::clone(job),
            parts: parts.clone(),
            known: HashMap::new(),
            chunks: HashMap::new(),
            bytes: 0,
        }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.parts.clock.now_ns()
    }

    pub(crate) fn line_bytes_max(&self) -> usize {
        self.parts.staging.line_bytes_max
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Takes an entry. It stays in memory until [`Self::flush`].
    pub(crate) fn push(&mut self, arrived: Arrived<'_>) {
        let Some(labels) = self.labels(arrived.labels) else {
            self.parts.metrics.discarded("relabel", 1);
            return;
        };
        let now_ns = self.parts.clock.now_ns();
        let ts_ns = self.time(arrived.at, now_ns);
        let line = bounded(ts_ns, arrived.line, arrived.cut_bytes, self.parts.staging.line_bytes_max);
        self.parts.metrics.lines_cut.inc_by(u64::from(line.cut_bytes > 0));
        let metadata = if self.job.takes_labels { arrived.metadata } else { LabelSet::default() };
        self.bytes += (line.text.len() + metadata.text_bytes()) as u64;
        if self.staging.is_idle() {
            self.chunks.entry(labels).or_default().push(ts_ns, line.text, "", &metadata);
            return;
        }
        let line = Line { labels: &labels, ts_ns, text: line.text.into(), metadata: &metadata, output: 0 };
        self.staging.push(line, (), now_ns);
    }

    fn labels(&mut self, arrived: LabelSet) -> Option<Arc<LabelSet>> {
        if let Some(known) = self.known.get(&arrived) {
            return known.clone();
        }
        let labels = self.job.labels(&arrived).map(Arc::new);
        if self.known.len() == LABEL_SETS_MAX {
            self.known.clear();
        }
        self.known.insert(arrived, labels.clone());
        labels
    }

    fn time(&self, at: SentAt, now_ns: i64) -> i64 {
        let mut times = self.job.times.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            SentAt::Coarse(ns) | SentAt::Exact(ns) if ns > now_ns.saturating_add(FUTURE_NS_MAX) => {
                self.parts.metrics.times_refused.inc();
                times.arrival(now_ns)
            }
            SentAt::Coarse(ns) => times.sent(ns),
            SentAt::Exact(ns) => ns,
            SentAt::Unknown => times.arrival(now_ns),
        }
    }

    /// Returns whether it holds enough for a piece.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PIECE_RAW_BYTES
    }

    /// Returns how long until a stage lets go of something; `None`: nothing is held.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        self.staging.due_in(self.parts.clock.now_ns())
    }

    /// Hands over what was taken, `everything` also what stages hold, and waits for room and as long as a stage wants.
    /// `spooled` is told once it is durable; it is dropped if it never will be.
    pub(crate) async fn flush(
        &mut self,
        everything: bool,
        spooled: Option<oneshot::Sender<()>>,
    ) -> Result<(), Closed> {
        self.bytes = 0;
        let mut pause = Duration::ZERO;
        let mut chunks: Vec<(Arc<LabelSet>, Entries)> = self.chunks.drain().collect();
        if !self.staging.is_idle() {
            let staged = self.staging.take(everything, self.parts.clock.now_ns());
            chunks = staged.chunks;
            pause = staged.pause;
        }
        if chunks.is_empty() && spooled.is_none() {
            return Ok(());
        }
        self.parts.board.count(&self.parts.row, &chunks);
        let piece = Piece { place: None, chunks, spooled };
        // Not given up when the agent stops: nobody else has these lines. What does not take them ends the wait.
        self.parts.pieces.send(piece).await?;
        let mut stop = self.parts.stop.clone();
        if !pause.is_zero() {
            stopped_within(&mut stop, pause).await;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::spool::{Spool, SpoolBounds, SpoolParts};
    use crate::spool_shared::SharedSpool;
    use logyard_sys::{Random, SimClock, SimDisk};
    use tokio::sync::mpsc;

    /// A lane and what comes out of it.
    pub(crate) struct Rig {
        pub(crate) lane: Lane,
        pub(crate) parts: Receiving,
        pub(crate) job: Arc<ReceiveJob>,
        pub(crate) pieces: mpsc::Receiver<Piece>,
        pub(crate) stop: watch::Sender<bool>,
    }

    pub(crate) fn rig(job: JobSettings<'_>) -> Rig {
        let (pieces, taken) = mpsc::channel(64);
        let (stop, stop_seen) = watch::channel(false);
        let metrics = Metrics::default();
        let staging = StageParts {
            line_bytes_max: 1 << 10,
            random: Arc::new(Random::seeded(1)),
            metrics: metrics.clone(),
        };
        let parts = Receiving {
            pieces: pieces.into(),
            ports: Ports::default(),
            clock: Arc::new(SimClock::new(1_700_000_000_000_000_000)),
            metrics,
            board: Board::default(),
            staging,
            stop: stop_seen,
            row: "test".into(),
        };
        let common = BTreeMap::from([("host".to_owned(), "nas".to_owned())]);
        let job = ReceiveJob::compile(job, &common, 1 << 10).unwrap();
        Rig { lane: Lane::new(&job, &parts), parts, job, pieces: taken, stop }
    }

    pub(crate) fn shared_spool() -> SharedSpool {
        let parts = SpoolParts {
            disk: Arc::new(SimDisk::new()),
            clock: Arc::new(SimClock::new(0)),
            random: Arc::new(Random::seeded(1)),
            dir: "/".into(),
            bounds: SpoolBounds::new(64 << 20),
            destinations: crate::spool_mark::MarkSettings::only(),
        };
        {
            let metrics = Metrics::default();
            let only = vec![metrics.destination("push", true)];
            SharedSpool::new(Spool::open(parts).unwrap().0, metrics, only)
        }
    }

    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

    pub(crate) fn plain() -> JobSettings<'static> {
        JobSettings {
            job: "test",
            paths: ["test.relabel", "test.stages"],
            labels: &NO_LABELS,
            default_labels: true,
            takes_labels: true,
            relabel: &[],
            stages: &[],
        }
    }

    /// Rows of all pieces so far: labels, time, line, metadata.
    pub(crate) fn rows(pieces: &mut mpsc::Receiver<Piece>) -> Vec<(String, i64, String, String)> {
        let mut rows = Vec::new();
        while let Ok(piece) = pieces.try_recv() {
            for (labels, entries) in &piece.chunks {
                rows.extend((0..entries.len()).map(|row| {
                    let line = String::from_utf8_lossy(entries.line(row)).into_owned();
                    (labels.to_string(), entries.ts_ns()[row], line, entries.metadata(row).to_string())
                }));
            }
        }
        rows
    }

    fn arrived<'a>(labels: &[(&'static str, &'static str)], at: SentAt, line: &'a str) -> Arrived<'a> {
        Arrived {
            labels: LabelSet::from_pairs(labels.iter().copied()),
            at,
            line: line.as_bytes(),
            cut_bytes: 0,
            metadata: LabelSet::from_pairs([("id", "7")]),
        }
    }

    #[tokio::test]
    async fn labels_come_from_settings_senders_and_rules() {
        let mut rig = rig(plain());
        rig.lane.push(arrived(&[("host", "web1"), ("__x", "1")], SentAt::Unknown, "a"));
        rig.lane.flush(false, None).await.unwrap();
        let row = rows(&mut rig.pieces).remove(0);
        assert_eq!((&*row.0, &*row.3), (r#"{host="web1", job="test"}"#, r#"{id="7"}"#));

        let rules: Vec<RelabelSettings> = serde_json::from_str(
            r#"[{"source_labels": ["__x"], "regex": "drop", "action": "drop"},
                {"source_labels": ["__x"], "target_label": "x"}]"#,
        )
        .unwrap();
        let mut rig =
            self::rig(JobSettings { default_labels: false, takes_labels: false, relabel: &rules, ..plain() });
        rig.lane.push(arrived(&[("host", "web1"), ("__x", "1")], SentAt::Unknown, "a"));
        rig.lane.push(arrived(&[("__x", "drop")], SentAt::Unknown, "b"));
        rig.lane.push(arrived(&[], SentAt::Unknown, "c"));
        rig.lane.flush(false, None).await.unwrap();
        let mut found: Vec<(String, String)> =
            rows(&mut rig.pieces).into_iter().map(|row| (row.0, row.3)).collect();
        found.sort();
        let want = [(r#"{job="test"}"#, "{}"), (r#"{x="1"}"#, "{}")];
        assert_eq!(found, want.map(|(labels, metadata)| (labels.to_owned(), metadata.to_owned())));
        assert_eq!(rig.parts.metrics.entries_read.get(), 1, "what is left out counts as read");
    }

    #[tokio::test]
    async fn equal_lines_stay_two_unless_their_time_is_exact() {
        let mut rig = rig(plain());
        for at in [SentAt::Unknown, SentAt::Unknown, SentAt::Coarse(5), SentAt::Coarse(6), SentAt::Coarse(5)]
        {
            rig.lane.push(arrived(&[], at, "x"));
        }
        rig.lane.push(arrived(&[], SentAt::Exact(5), "x"));
        // An hour and more ahead is not believed.
        rig.lane.push(arrived(&[], SentAt::Coarse(1_700_003_600_000_000_001), "x"));
        rig.lane.flush(false, None).await.unwrap();
        let times: Vec<i64> = rows(&mut rig.pieces).into_iter().map(|row| row.1).collect();
        let now = 1_700_000_000_000_000_000;
        assert_eq!(times, [now, now + 1, 5, 6, 6, 5, now + 2]);
        assert_eq!(rig.parts.metrics.times_refused.get(), 1);
    }

    #[tokio::test]
    async fn stages_hold_lines_until_they_are_due_or_all_is_flushed() {
        let stages: Vec<StageSettings> =
            serde_json::from_str(r#"[{"multiline": {"firstline": "^\\S"}}]"#).unwrap();
        let mut rig = rig(JobSettings { stages: &stages, ..plain() });
        rig.lane.push(arrived(&[], SentAt::Unknown, "a"));
        rig.lane.push(arrived(&[], SentAt::Unknown, " b"));
        rig.lane.flush(false, None).await.unwrap();
        assert_eq!(rows(&mut rig.pieces), []);
        assert!(rig.lane.due_in().is_some());
        rig.lane.flush(true, None).await.unwrap();
        let lines: Vec<String> = rows(&mut rig.pieces).into_iter().map(|row| row.2).collect();
        assert_eq!(lines, ["a\n b"]);
        assert!(rig.lane.due_in().is_none());
    }
}
