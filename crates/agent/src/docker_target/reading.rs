//! Reading one log response of a container: bytes to entries, seam, repeats, turns.

use std::sync::Arc;
use std::time::Duration;

use logyard_codec::Entries;
use logyard_model::LabelSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::behind_damage::SHOW_WITHIN;
use super::pace::Pace;
use super::{DockerTarget, IfNoSeam, ReadEnd, Wish};
use crate::batch::PIECE_RAW_BYTES;
use crate::log_decoder::{LogDecoder, guess_form};
use crate::log_entry::{LogEntry, Output};
use crate::log_source::LogSource;
use crate::position::{OutputPositions, RepeatFilter, Seam};
use crate::spool_shared::stopped;
use crate::staging::Line;

/// A response that follows a log which may be rotated is left when it shows entries this late,
const BEHIND_NS: i64 = 500_000_000;
/// and this share of a file was read of it, at least so many bytes.
const BEHIND_SHARE: u64 = 16;
const READ_BYTES_MIN: u64 = 64 << 10;
/// A target that reads entries this late counts as lagging.
const LAG_NS: i64 = 2_000_000_000;
/// Silence after which a lagging target has caught up.
const LAG_OVER: Duration = Duration::from_secs(1);
/// Silence after which the response of a container that ended is left. The engine ends it by itself within
/// milliseconds; one that lost sight of the log never does, and what was written last would wait for ever.
const SILENCE_AFTER_END: Duration = Duration::from_secs(5);

/// Silence after which a response that shows the log as it is, and then ends, is given up: what is missing would be
/// taken for read. A busy engine may need seconds to find the place in packed files.
const SILENCE_OF_WHOLE: Duration = Duration::from_secs(10);

/// Silence after which the engine is asked for the newest part of a log that is followed; twice as long each time.
const ASK_AFTER: Duration = Duration::from_secs(10);
const ASK_AFTER_MAX: Duration = Duration::from_secs(300);

/// One response being read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) target: &'a mut DockerTarget,
    /// `None` until the first bytes tell the form, for a container that could not be inspected.
    pub(super) decoder: Option<LogDecoder>,
    pub(super) needs_seam: bool,
    pub(super) if_no_seam: IfNoSeam,
    pub(super) follows: bool,
    /// Of one that follows a log that is rotated.
    pub(super) pace: Option<Pace>,
    /// Bytes of the response so far.
    pub(super) read_bytes: u64,
    pub(super) accepted: u64,
    /// Time of the newest entry accepted last.
    pub(super) newest_ns: Option<i64>,
}

/// New entries of one turn.
#[derive(Debug, Default)]
struct Turn {
    /// Without stages.
    outputs: [Entries; 2],
    /// For stages, with the positions before each.
    rows: Option<Vec<Row>>,
    count: u64,
    newest_ns: i64,
    repeats: u64,
    cut: u64,
}

#[derive(Debug)]
struct Row {
    output: Output,
    ts_ns: i64,
    line: Vec<u8>,
    mark: OutputPositions,
}

impl Turn {
    fn new(is_staged: bool) -> Self {
        Self { rows: is_staged.then(Vec::new), newest_ns: i64::MIN, ..Self::default() }
    }

    /// Takes an entry; returns whether it is new.
    fn take(&mut self, entry: LogEntry<'_>, metadata: &LabelSet, filter: &mut RepeatFilter) -> bool {
        let LogEntry { output, ts_ns, line, cut_bytes } = entry;
        let mark = *filter.positions();
        if !filter.accept(output, ts_ns, line) {
            self.repeats += 1;
            return false;
        }
        self.count += 1;
        self.newest_ns = self.newest_ns.max(ts_ns);
        self.cut += u64::from(cut_bytes > 0);
        let ts_ns = ts_ns.saturating_add(filter.apart_ns(output));
        if let Some(rows) = &mut self.rows {
            rows.push(Row { output, ts_ns, line: line.to_vec(), mark });
        } else if let Some(entries) = self.outputs.get_mut(output.index()) {
            entries.push(ts_ns, line, "", metadata);
        }
        true
    }
}

impl Reading<'_> {
    /// Reads to the end of the response, or until something else is to be done.
    pub(super) async fn run(mut self, mut source: LogSource, wish: &Wish) -> ReadEnd {
        let may_stall = self.follows && !source.is_files();
        let mut ask_after = self.silence_to_ask();
        let mut ask_at = Instant::now() + ask_after;
        let mut is_waited_for = false;
        loop {
            let due = self.target.staging_due();
            let bytes = tokio::select! {
                () = stopped(&mut self.target.stop) => return ReadEnd::Stop,
                changed = self.target.wish.changed() => {
                    if changed.is_err() {
                        return ReadEnd::Stop;
                    }
                    let now = self.target.wish.borrow_and_update().clone();
                    self.target.take_facts(&now.facts);
                    if now.connection != wish.connection {
                        return ReadEnd::Reopen;
                    }
                    // A removal or a start means nothing while bytes may still come: the response ends.
                    continue;
                }
                () = sleep(SILENCE_OF_WHOLE), if !self.follows => {
                    return ReadEnd::Broken("the engine does not go on with the log".to_owned());
                }
                () = sleep(SILENCE_AFTER_END), if self.follows && self.target.wish.borrow().is_over => {
                    // A look at the container, then at its log from the seam. A line that is open stays so: its rest
                    // may be among what the engine has not shown.
                    self.target.parts.metrics.left_open.inc();
                    tracing::debug!(target = %self.target.facts.name, "the engine leaves the log of an ended container open");
                    return ReadEnd::Ended(self.accepted);
                }
                () = sleep_until(ask_at), if may_stall => {
                    if is_waited_for {
                        self.target.parts.metrics.stalls.inc();
                        tracing::debug!(target = %self.target.facts.name, "the engine does not go on showing a log");
                        return ReadEnd::Stalled;
                    }
                    is_waited_for = self.is_more_kept(wish).await;
                    if !is_waited_for {
                        ask_after = (ask_after * 2).min(ASK_AFTER_MAX);
                    }
                    ask_at = Instant::now() + if is_waited_for { ask_after.min(SHOW_WITHIN) } else { ask_after };
                    continue;
                }
                () = sleep(LAG_OVER), if self.target.is_lagging => {
                    // Nothing came for a while, so everything there is was read.
                    self.target.set_lagging(false);
                    continue;
                }
                () = sleep(due.unwrap_or_default()), if due.is_some() => {
                    if !self.target.hand_over(Vec::new(), false).await {
                        return ReadEnd::Stop;
                    }
                    continue;
                }
                next = source.next() => match next {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(reason)) => return ReadEnd::Broken(reason),
                    None => break,
                },
            };
            self.read_bytes += bytes.len() as u64;
            if let Some(end) = self.take(&bytes, wish).await {
                return end;
            }
            (ask_after, is_waited_for) = (self.silence_to_ask(), false);
            ask_at = Instant::now() + ask_after;
            if !source.is_files() && self.is_behind() {
                return ReadEnd::Behind;
            }
        }
        self.finish().await
    }

    /// Whether the log may be rotated past this response. Not judged by its first bytes alone: the clock of another
    /// machine may be behind for good, and a look at the whole log must not come too often then.
    fn is_behind(&self) -> bool {
        let Some(rotation_bytes) = self.target.rotation_bytes() else { return false };
        let is_late = self
            .newest_ns
            .is_some_and(|newest_ns| self.target.parts.clock.now_ns().saturating_sub(newest_ns) > BEHIND_NS);
        self.follows && is_late && self.read_bytes >= (rotation_bytes / BEHIND_SHARE).max(READ_BYTES_MIN)
    }

    /// Returns after which silence the engine is asked: sooner if the log may be rotated away meanwhile.
    fn silence_to_ask(&self) -> Duration {
        self.pace.map_or(ASK_AFTER, |pace| pace.doubtful_silence(ASK_AFTER))
    }

    /// Whether the log goes on behind what this response has shown.
    async fn is_more_kept(&self, wish: &Wish) -> bool {
        self.target.is_more_kept(wish, self.decoder.as_ref()).await
    }

    /// Decodes bytes and hands over what is new; `Some` ends the reading.
    async fn take(&mut self, bytes: &[u8], wish: &Wish) -> Option<ReadEnd> {
        // Asked after the bytes came: what stamped them cannot have stepped since.
        if let Some(step) = self.target.clock_watch.look() {
            self.target.filter.note_step(step);
        }
        for slice in bytes.chunks(usize::try_from(PIECE_RAW_BYTES).unwrap_or(usize::MAX)) {
            let rule = wish.engine.join_rule();
            let line_bytes_max = self.target.parts.staging.line_bytes_max;
            let decoder =
                self.decoder.get_or_insert_with(|| LogDecoder::new(guess_form(slice, rule), line_bytes_max));
            let mut turn = Turn::new(!self.target.staging.is_idle());
            // Judged before anything is accepted: the filter must not move over unread entries.
            let is_on_trial = self.needs_seam || self.pace.is_some();
            let mut trial = is_on_trial.then(|| self.target.filter.clone());
            let mut has_skipped = false;
            let filter = trial.as_mut().unwrap_or(&mut self.target.filter);
            let metadata = &self.target.labels.metadata;
            let pace = &mut self.pace;
            let fed = decoder.feed(slice, &mut |entry| {
                let (ts_ns, bytes) = (entry.ts_ns, entry.line.len());
                let is_new = turn.take(entry, metadata, filter);
                has_skipped |= pace.as_mut().is_some_and(|pace| pace.step(ts_ns, bytes)) && is_new;
            });
            if !decoder.has_open_line() {
                filter.nothing_is_open();
            }
            let steps = filter.take_steps();
            if self.needs_seam
                && let Some(first) = decoder.first_part()
            {
                if self.target.filter.judge_seam(first) == Seam::Unproven {
                    match self.if_no_seam {
                        IfNoSeam::FurtherBack => return Some(ReadEnd::NoSeam),
                        IfNoSeam::Gap(gap) => self.target.note_gap(first, gap),
                    }
                }
                self.needs_seam = false;
            }
            if has_skipped {
                // What this slice shows is read again, with what may lie before it.
                return Some(ReadEnd::Behind);
            }
            if let Some(trial) = trial {
                self.target.filter = trial;
            }
            self.target.note_steps(steps);
            self.target.parts.metrics.parts_unreadable.inc_by(decoder.take_untimed());
            if !self.send(turn).await {
                return Some(ReadEnd::Stop);
            }
            if let Err(error) = fed {
                return Some(ReadEnd::Broken(error.to_string()));
            }
        }
        None
    }

    /// The response ended properly.
    async fn finish(mut self) -> ReadEnd {
        let Some(decoder) = self.decoder.take() else {
            return ReadEnd::Ended(self.accepted);
        };
        if decoder.is_inside_frame() {
            return ReadEnd::Broken("the response ended inside a frame".to_owned());
        }
        if decoder.has_open_line() {
            // One that follows may end before the log does. The reading to the end, which comes next, shows the line
            // whole; if the container is gone by then, this is all there is of it.
            if self.follows {
                self.target.open_end = Some(decoder);
            } else if self.is_over().await && !self.finish_lines(decoder).await {
                return ReadEnd::Stop;
            }
        }
        ReadEnd::Ended(self.accepted)
    }

    /// Takes open lines as they are: nothing will continue them. Returns false when the agent stops.
    pub(super) async fn finish_lines(&mut self, mut decoder: LogDecoder) -> bool {
        let mut turn = Turn::new(!self.target.staging.is_idle());
        let metadata = &self.target.labels.metadata;
        let filter = &mut self.target.filter;
        decoder.finish(&mut |entry| {
            turn.take(entry, metadata, filter);
        });
        filter.nothing_is_open();
        self.send(turn).await
    }

    /// Whether the container stopped, so that an open line will not be continued.
    async fn is_over(&self) -> bool {
        let engine = self.target.wish.borrow().engine.clone();
        match engine.inspect(&self.target.id).await {
            Ok(Some(inspected)) => !inspected.is_running,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Hands over a turn, waiting for room. Returns false when the agent stops.
    async fn send(&mut self, turn: Turn) -> bool {
        let parts = &self.target.parts;
        // What a resumed read shows before its first new entry is the overlap it was asked for.
        if self.accepted > 0 {
            parts.metrics.repeats_suppressed.inc_by(turn.repeats);
        }
        parts.metrics.lines_cut.inc_by(turn.cut);
        if turn.count == 0 {
            return true;
        }
        self.newest_ns = Some(turn.newest_ns);
        let now_ns = parts.clock.now_ns();
        let is_lagging = now_ns.saturating_sub(turn.newest_ns) > LAG_NS;
        let target = &mut *self.target;
        let mut chunks = Vec::new();
        for (labels, entries) in target.labels.outputs.iter().zip(turn.outputs) {
            match labels {
                _ if entries.is_empty() => {}
                Some(labels) => chunks.push((Arc::clone(labels), entries)),
                None => target.parts.metrics.discarded("relabel", entries.len() as u64),
            }
        }
        for Row { output, ts_ns, line, mark } in turn.rows.into_iter().flatten() {
            let Some(labels) = target.labels.outputs.get(output.index()).and_then(Option::as_ref) else {
                target.parts.metrics.discarded("relabel", 1);
                continue;
            };
            let metadata = &target.labels.metadata;
            let output = u8::from(output == Output::Stderr);
            target.staging.push(Line { labels, ts_ns, text: line.into(), metadata, output }, mark, now_ns);
        }
        let is_sent = target.hand_over(chunks, false).await;
        self.accepted += turn.count;
        self.target.is_known = true;
        self.target.is_begin_assumed = false;
        self.target.set_lagging(is_lagging);
        self.target.backoff.reset();
        is_sent
    }
}
