//! How far into a target entries are acknowledged, and which entries are repeats.
//!
//! Within one output of a container times strictly ascend in the order of the log; across the outputs
//! they do not, so each output has its own position. Positions of both outputs are taken at the same
//! place of the log: everything before that place was accepted. That is why an entry at or before its
//! output's position, found at the start of a later read, proves that nothing before it is missing.
//!
//! Lines that wait for their end spoil this: an entry of one output may be accepted while an older,
//! open line of the other is not. `proof_ns` therefore lags behind `ns` until no line is open.
//!
//! Podman gives one time to all that it reads at once, and shows whole seconds of it. There equal times are usual: entries
//! are told apart by their number at a time, equal lines are different entries, and each bears a time of its own at the store.
//!
//! A clock set back spoils it too: the entries after it are older than the position, like repeats. One that is
//! older, was not seen lately and bears a time that only the new clock gives, moves the position back.

use std::collections::VecDeque;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::clock_watch::ClockStep;
use crate::log_entry::Output;

/// Position of one output of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputPosition {
    /// Time of the newest accepted entry.
    pub(crate) ns: i64,
    /// Number of entries accepted at `ns`.
    pub(crate) ordinal: u32,
    /// Entries at or before this time prove that all before them in the log were accepted.
    pub(crate) proof_ns: i64,
    /// Set while `ns` lies before times accepted earlier, because the clock was set back.
    pub(crate) step: Option<StepBack>,
}

/// What tells entries from before a step back of the clock from those behind the position.
///
/// Both may bear times between `ns` and `peak_ns`. A read of the log shows the older ones first, then the very
/// entry of the position: what comes before it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepBack {
    /// Newest time ever accepted. Once the clock has passed it, the step no longer matters.
    pub(crate) peak_ns: i64,
    /// xxh3 of the line of the newest accepted entry.
    pub(crate) line_hash: u64,
}

impl OutputPosition {
    /// Returns the newest time ever accepted.
    pub(crate) fn peak_ns(&self) -> i64 {
        self.step.map_or(self.ns, |step| step.peak_ns)
    }
}

/// Positions of both outputs, in the order of [`Output::index`].
pub(crate) type OutputPositions = [Option<OutputPosition>; 2];

/// Position in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePosition {
    /// Where the file was found first: the label `filename`, and where to look for it after a rename.
    pub(crate) path: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Number of first bytes of the file that `fingerprint` covers.
    pub(crate) fingerprint_bytes: u32,
    /// xxh3 of those bytes: tells a file from a later one with the same inode.
    pub(crate) fingerprint: u64,
    /// Start of the first line that is not accepted.
    pub(crate) offset: u64,
}

/// Position of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Container(OutputPositions),
    File(FilePosition),
    /// Cursor of the newest entry of a journal that was accepted.
    Journal(String),
}

/// Whether a read connects to what was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seam {
    /// Nothing lies between the accepted entries and this read.
    Proven,
    /// Entries may lie in between: read from further back.
    Unproven,
}

/// Judges a read of the newest parts of a log by its first part.
pub(crate) fn judge_seam(first: (Output, i64), positions: &OutputPositions) -> Seam {
    let (output, ts_ns) = first;
    let Some(position) = positions.get(output.index()).copied().flatten() else {
        return Seam::Unproven;
    };
    if ts_ns < position.proof_ns {
        return Seam::Proven;
    }
    // At the very position the ordinal counts from the first entry of that time, and a read that
    // begins in the middle of several such entries would miscount. No engine was seen to give two
    // entries of one output the same time; a single accepted one is trusted to be alone.
    let is_single = ts_ns == position.ns && position.ns == position.proof_ns && position.ordinal == 1;
    if is_single { Seam::Proven } else { Seam::Unproven }
}

/// Returns a time up to which the whole log was accepted, give or take how far the outputs' times are out of order;
/// `None` if nothing was, `i64::MIN` if a line was open all along.
///
/// An output that has been silent for long does not hold it back: positions of both are one place of the log.
pub(crate) fn accepted_until(positions: &OutputPositions) -> Option<i64> {
    positions.iter().flatten().map(|position| position.proof_ns).max()
}

/// Entries kept in mind, per output: more than a rotation was seen to repeat, at 32 KiB a full list.
const RECENT_MAX: usize = 4_096;

/// Tells new entries of a container from repeats.
#[derive(Clone, Debug)]
pub(crate) struct RepeatFilter {
    positions: OutputPositions,
    outputs: [OutputMemory; 2],
    steps: u64,
    /// Many entries may bear one time, in the order of the log.
    shares_times: bool,
}

/// What is remembered of one output while the agent runs.
#[derive(Clone, Debug)]
struct OutputMemory {
    shown: Shown,
    /// Hashes of times and lines, accepted or shown again at the start of a read, oldest first.
    recent: VecDeque<u64>,
    /// The clock was set back, and no entry of the new time was seen yet.
    pending: Option<ClockStep>,
    /// The present read showed the place of the log up to which everything was accepted.
    is_past_seam: bool,
    /// The present read showed the entry of the position; only of use after a step back.
    is_past_position: bool,
}

/// What the present read showed last of one output.
#[derive(Clone, Copy, Debug)]
struct Shown {
    ns: i64,
    /// Entries of this time in a row.
    count: u32,
    /// xxh3 of the last one's line.
    line_hash: u64,
}

/// How an entry stands to what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    New,
    /// New, and older than the position: the clock was set back.
    NewTime,
    Repeat,
}

const NOTHING_SHOWN: Shown = Shown { ns: i64::MIN, count: 0, line_hash: 0 };

impl RepeatFilter {
    pub(crate) fn new(positions: OutputPositions) -> Self {
        let memory = || OutputMemory {
            shown: NOTHING_SHOWN,
            recent: VecDeque::new(),
            pending: None,
            is_past_seam: false,
            is_past_position: false,
        };
        Self { positions, outputs: [memory(), memory()], steps: 0, shares_times: false }
    }

    /// Must be called before a new read of the log; `shares_times` if the engine gives one time to many entries.
    pub(crate) fn begin_read(&mut self, shares_times: bool) {
        self.shares_times = shares_times;
        for memory in &mut self.outputs {
            memory.shown = NOTHING_SHOWN;
            memory.is_past_seam = false;
            memory.is_past_position = false;
        }
    }

    /// Judges the present read by its first part, see [`judge_seam`].
    pub(crate) fn judge_seam(&self, first: (Output, i64)) -> Seam {
        let is_at_position = self.positions.iter().flatten().any(|position| position.ns == first.1);
        // One accepted entry of a time need not be the one that is shown.
        if self.shares_times && is_at_position { Seam::Unproven } else { judge_seam(first, &self.positions) }
    }

    /// Returns how far the entry accepted last is put behind its time, so that no two of an output are at one.
    pub(crate) fn apart_ns(&self, output: Output) -> i64 {
        let position = self.positions.get(output.index()).copied().flatten();
        let before = position.map_or(0, |position| i64::from(position.ordinal).saturating_sub(1));
        if self.shares_times { before } else { 0 }
    }

    /// Notes that the clock was set back: an entry older than the position may be new from now on.
    pub(crate) fn note_step(&mut self, step: ClockStep) {
        for memory in &mut self.outputs {
            let (bottom_ns, top_ns) =
                memory.pending.map_or((i64::MAX, i64::MIN), |other| (other.bottom_ns, other.top_ns));
            memory.pending =
                Some(ClockStep { bottom_ns: step.bottom_ns.min(bottom_ns), top_ns: step.top_ns.max(top_ns) });
        }
    }

    /// Returns whether the clock was set back and has not caught up since: times do not tell places of the log then.
    pub(crate) fn has_step(&self) -> bool {
        // Once one output has shown a time behind the step, its position tells.
        let is_pending = self.outputs.iter().all(|memory| memory.pending.is_some());
        is_pending || self.positions.iter().flatten().any(|position| position.step.is_some())
    }

    /// Returns how often an output was seen to go on from an earlier time, since the last call.
    pub(crate) fn take_steps(&mut self) -> u64 {
        std::mem::take(&mut self.steps)
    }

    /// Returns whether the next entry of a read is new, and moves the position over it if so.
    ///
    /// Engines before 23 show the head of a new file twice after rotation, times and all. A line equal
    /// to the one before it in time and text is such a repeat too: the store could not keep both.
    pub(crate) fn accept(&mut self, output: Output, ts_ns: i64, line: &[u8]) -> bool {
        let (Some(memory), Some(slot)) =
            (self.outputs.get_mut(output.index()), self.positions.get_mut(output.index()))
        else {
            return false;
        };
        let line_hash = xxh3_64(line);
        let verdict = match memory.show(ts_ns, line_hash, self.shares_times) {
            false => Verdict::Repeat,
            true => slot.as_ref().map_or(Verdict::New, |position| memory.judge(position, ts_ns, line_hash)),
        };
        if verdict == Verdict::Repeat {
            return false;
        }
        let mut position =
            slot.unwrap_or(OutputPosition { ns: ts_ns, ordinal: 0, proof_ns: i64::MIN, step: None });
        let peak_ns = position.peak_ns();
        if verdict == Verdict::NewTime {
            self.steps += 1;
            memory.pending = None;
            position.proof_ns = i64::MIN;
        }
        if memory.pending.is_some_and(|pending| ts_ns > pending.top_ns) {
            memory.pending = None;
        }
        position.ordinal = if ts_ns == position.ns { position.ordinal + 1 } else { 1 };
        position.ns = ts_ns;
        position.step = (ts_ns < peak_ns).then_some(StepBack { peak_ns, line_hash });
        *slot = Some(position);
        memory.remember(ts_ns, line_hash);
        memory.is_past_position = true;
        // Positions of both outputs are one place of the log: what comes after a new entry is new for both.
        for memory in &mut self.outputs {
            memory.is_past_seam = true;
        }
        true
    }

    /// Notes that no line is open: everything read so far is accepted, so it proves seams from now on.
    pub(crate) fn nothing_is_open(&mut self) {
        for position in self.positions.iter_mut().flatten() {
            position.proof_ns = position.ns;
        }
    }

    pub(crate) fn positions(&self) -> &OutputPositions {
        &self.positions
    }
}

impl OutputMemory {
    /// Notes the next entry of the read. Returns whether it differs from the one before it, or need not.
    fn show(&mut self, ts_ns: i64, line_hash: u64, shares_times: bool) -> bool {
        let shown = &mut self.shown;
        if shown.ns == ts_ns && shown.line_hash == line_hash && !shares_times {
            return false;
        }
        let count = if shown.ns == ts_ns { shown.count + 1 } else { 1 };
        *shown = Shown { ns: ts_ns, count, line_hash };
        true
    }

    fn judge(&mut self, position: &OutputPosition, ts_ns: i64, line_hash: u64) -> Verdict {
        if ts_ns == position.ns && self.shown.count <= position.ordinal {
            self.is_past_seam = true;
            self.is_past_position |= position.step.is_none_or(|step| step.line_hash == line_hash);
            return Verdict::Repeat;
        }
        if ts_ns >= position.ns {
            // Times up to the peak were given twice: before the clock was set back, and again after.
            let is_twofold = position.step.is_some_and(|step| ts_ns <= step.peak_ns);
            if is_twofold && !self.is_past_position {
                self.remember(ts_ns, line_hash);
                return Verdict::Repeat;
            }
            let is_old = is_twofold && self.remembers(ts_ns, line_hash);
            return if is_old { Verdict::Repeat } else { Verdict::New };
        }
        if !self.is_past_seam {
            // The overlap of a resumed read: what it shows may be shown again by a rotation.
            self.remember(ts_ns, line_hash);
            return Verdict::Repeat;
        }
        let may_be_new = self.pending.is_some_and(|step| ts_ns >= step.bottom_ns);
        if may_be_new && !self.remembers(ts_ns, line_hash) { Verdict::NewTime } else { Verdict::Repeat }
    }

    fn remember(&mut self, ts_ns: i64, line_hash: u64) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(entry_hash(ts_ns, line_hash));
    }

    /// Cost: up to 4,096 comparisons; asked only about entries of an uncertain time.
    fn remembers(&self, ts_ns: i64, line_hash: u64) -> bool {
        self.recent.contains(&entry_hash(ts_ns, line_hash))
    }
}

fn entry_hash(ts_ns: i64, line_hash: u64) -> u64 {
    xxh3_64_with_seed(&ts_ns.to_le_bytes(), line_hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: i64, ordinal: u32) -> Option<OutputPosition> {
        Some(OutputPosition { ns, ordinal, proof_ns: ns, step: None })
    }

    #[test]
    fn seams() {
        let positions = [at(10, 1), at(20, 3)];
        for (first, want) in [
            ((Output::Stdout, 9), Seam::Proven),
            ((Output::Stdout, 10), Seam::Proven),
            ((Output::Stdout, 11), Seam::Unproven),
            ((Output::Stderr, 19), Seam::Proven),
            // Three entries bear this time: the read may begin with the second.
            ((Output::Stderr, 20), Seam::Unproven),
        ] {
            assert_eq!(judge_seam(first, &positions), want, "{first:?}");
        }
        assert_eq!(judge_seam((Output::Stderr, 5), &[at(10, 1), None]), Seam::Unproven);
        let open = Some(OutputPosition { ns: 10, ordinal: 1, proof_ns: 4, step: None });
        assert_eq!(judge_seam((Output::Stdout, 10), &[open, None]), Seam::Unproven);
        assert_eq!(judge_seam((Output::Stdout, 3), &[open, None]), Seam::Proven);
    }

    #[test]
    fn a_step_of_the_clock_counts_before_an_entry_shows_it() {
        let mut filter = RepeatFilter::new([at(1_000, 1), at(990, 1)]);
        filter.begin_read(false);
        assert!(!filter.accept(Output::Stdout, 1_000, b"last") && !filter.has_step());
        filter.note_step(ClockStep { bottom_ns: 500, top_ns: 1_000 });
        assert!(filter.has_step(), "entries of the old hour may lie behind the position");
        assert!(filter.accept(Output::Stdout, 501, b"new") && filter.has_step());
        assert!(filter.accept(Output::Stdout, 1_001, b"newer"));
        assert!(!filter.has_step(), "the other output may be silent for ever");
    }

    #[test]
    fn an_output_that_is_silent_does_not_hold_the_place_of_reading_back() {
        assert_eq!(accepted_until(&[None, None]), None);
        assert_eq!(accepted_until(&[at(1_000, 1), at(10, 3)]), Some(1_000));
        // Stderr said its first word while a line of stdout was open.
        let mut filter = RepeatFilter::new([at(10, 1), None]);
        assert!(filter.accept(Output::Stderr, 500, b"first"));
        assert_eq!(accepted_until(filter.positions()), Some(10));
        filter.nothing_is_open();
        assert_eq!(accepted_until(filter.positions()), Some(500));
        let mut filter = RepeatFilter::new([None, None]);
        assert!(filter.accept(Output::Stderr, 500, b"first"));
        assert_eq!(accepted_until(filter.positions()), Some(i64::MIN));
    }

    #[track_caller]
    fn check(filter: &mut RepeatFilter, shown: &[(i64, &str, bool)]) {
        for (index, (ts_ns, line, want)) in shown.iter().enumerate() {
            let is_accepted = filter.accept(Output::Stdout, *ts_ns, line.as_bytes());
            assert_eq!(is_accepted, *want, "entry {index}: {ts_ns} {line}");
        }
    }

    #[test]
    fn repeats_of_a_rotation_are_suppressed() {
        let mut filter = RepeatFilter::new([None, None]);
        check(&mut filter, &[(1, "a", true), (2, "b", true), (3, "c", true)]);
        check(&mut filter, &[(1, "a", false), (2, "b", false), (3, "c", false)]);
        check(&mut filter, &[(4, "d", true), (4, "d", false), (4, "e", true), (5, "e", true)]);
        assert!(filter.accept(Output::Stderr, 1, b"a"), "the other output has its own position");
    }

    #[test]
    fn equal_times_are_told_apart_by_their_number() {
        let mut filter = RepeatFilter::new([at(7, 2), None]);
        check(&mut filter, &[(7, "a", false), (7, "b", false), (7, "c", true), (8, "d", true)]);
        filter.begin_read(false);
        check(&mut filter, &[(7, "c", false), (8, "d", false), (8, "e", true)]);
    }

    #[test]
    fn of_shared_times_each_entry_counts() {
        let mut filter = RepeatFilter::new([at(7, 1), None]);
        filter.begin_read(true);
        // One was accepted at this time: nobody knows which is shown.
        assert_eq!(filter.judge_seam((Output::Stdout, 7)), Seam::Unproven);
        assert_eq!(filter.judge_seam((Output::Stdout, 6)), Seam::Proven);
        let mut apart = Vec::new();
        for (ts_ns, line, want) in
            [(6, "a", false), (7, "a", false), (7, "a", true), (7, "a", true), (8, "a", true), (8, "b", true)]
        {
            assert_eq!(filter.accept(Output::Stdout, ts_ns, line.as_bytes()), want, "{ts_ns} {line}");
            if want {
                apart.push(ts_ns * 1_000 + filter.apart_ns(Output::Stdout));
            }
        }
        assert_eq!(apart, [7_001, 7_002, 8_000, 8_001]);
        filter.begin_read(true);
        check(&mut filter, &[(7, "a", false), (7, "a", false), (7, "a", false), (8, "a", false)]);
        check(&mut filter, &[(8, "b", false), (8, "b", true)]);
    }

    const STEP: ClockStep = ClockStep { bottom_ns: 30, top_ns: 110 };

    #[test]
    fn a_clock_set_back_silences_nothing() {
        let mut filter = RepeatFilter::new([None, None]);
        check(&mut filter, &[(20, "a", true), (90, "b", true), (100, "c", true)]);
        // Without a step an older entry is a repeat, known or not.
        check(&mut filter, &[(95, "unknown", false)]);
        filter.note_step(STEP);
        // Repeats of a rotation stay repeats; what the new clock cannot have given too.
        check(&mut filter, &[(90, "b", false), (100, "c", false), (29, "old", false)]);
        // One written before the step and read after it.
        check(&mut filter, &[(105, "d", true)]);
        check(&mut filter, &[(40, "e", true), (50, "f", true), (60, "g", true)]);
        assert_eq!(filter.take_steps(), 1);
        // A rotation repeats entries of both times.
        check(&mut filter, &[(90, "b", false), (105, "d", false), (40, "e", false), (60, "g", false)]);
        check(&mut filter, &[(90, "h", true), (106, "i", true)]);
        let position = filter.positions()[0].unwrap();
        assert_eq!((position.ns, position.step, filter.take_steps()), (106, None, 0));
        assert!(filter.accept(Output::Stderr, 1, b"x"), "the other output has its own time");
    }

    #[test]
    fn a_resumed_read_finds_its_place_behind_a_step_back() {
        let mut filter = RepeatFilter::new([None, None]);
        check(&mut filter, &[(20, "a", true), (90, "b", true), (100, "c", true)]);
        filter.note_step(STEP);
        check(&mut filter, &[(40, "d", true), (50, "e", true)]);
        filter.nothing_is_open();
        let log = [(20, "a"), (90, "b"), (100, "c"), (40, "d"), (50, "e"), (60, "f"), (95, "g"), (120, "h")];
        let reads_from = |from: usize, filter: &mut RepeatFilter| {
            let mut read = Vec::new();
            for (ts_ns, line) in &log[from..] {
                if filter.accept(Output::Stdout, *ts_ns, line.as_bytes()) {
                    read.push(*line);
                }
            }
            read
        };
        for (from, want) in [
            (0, Seam::Proven),
            (1, Seam::Unproven),
            (3, Seam::Proven),
            (4, Seam::Proven),
            (6, Seam::Unproven),
        ] {
            assert_eq!(judge_seam((Output::Stdout, log[from].0), filter.positions()), want, "from {from}");
        }
        // As a restarted agent: only the positions are left. The second begins with all that is kept.
        for from in [0, 1, 3, 4] {
            let mut resumed = RepeatFilter::new(*filter.positions());
            resumed.begin_read(false);
            assert_eq!(reads_from(from, &mut resumed), ["f", "g", "h"], "from {from}");
            assert_eq!(resumed.take_steps(), 0);
        }
        filter.begin_read(false);
        assert_eq!(reads_from(0, &mut filter), ["f", "g", "h"]);
    }

    #[test]
    fn a_step_while_nothing_was_read_is_met_behind_the_seam() {
        let mut filter = RepeatFilter::new([at(100, 1), None]);
        filter.begin_read(false);
        filter.note_step(STEP);
        check(
            &mut filter,
            &[(80, "a", false), (90, "b", false), (100, "c", false), (85, "d", true), (86, "e", true)],
        );
        check(&mut filter, &[(80, "a", false), (90, "b", false), (91, "f", true)]);
    }

    /// A log of both outputs: times ascend within an output, not across them.
    fn any_log() -> impl Strategy<Value = Vec<(Output, i64)>> {
        proptest::collection::vec((any::<bool>(), 1..4_i64), 1..60).prop_map(|steps| {
            let mut newest = [100, 103];
            let mut log = Vec::new();
            for (is_stderr, step) in steps {
                let output = if is_stderr { Output::Stderr } else { Output::Stdout };
                newest[output.index()] += step;
                log.push((output, newest[output.index()]));
            }
            log
        })
    }

    proptest! {
        /// Reads a growing log in pieces that break anywhere, each resumed by a tail that doubles
        /// until the seam is proven: every entry must be accepted exactly once, in order.
        #[test]
        fn every_entry_is_accepted_once(
            log in any_log(),
            breaks in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..6),
            tail in 1..6_usize,
        ) {
            let mut filter = RepeatFilter::new([None, None]);
            let mut accepted = Vec::new();
            let mut grown = 0;
            let ends = breaks.into_iter().chain([(u16::MAX, u16::MAX)]);
            for (growth, reach) in ends {
                grown = if growth == u16::MAX { log.len() } else { (grown + usize::from(growth) % 20).min(log.len()) };
                let held = &log[..grown];
                let mut count = tail;
                let from = loop {
                    let from = held.len().saturating_sub(count);
                    let is_proven = held.get(from).is_none_or(|first| {
                        judge_seam(*first, filter.positions()) == Seam::Proven
                    });
                    if from == 0 || is_proven {
                        break from;
                    }
                    count *= 2;
                };
                filter.begin_read(false);
                let to = if growth == u16::MAX { held.len() } else { from + usize::from(reach) % (held.len() - from + 1) };
                for (index, (output, ts_ns)) in held.iter().enumerate().take(to).skip(from) {
                    if filter.accept(*output, *ts_ns, b"line") {
                        accepted.push(index);
                    }
                    filter.nothing_is_open();
                }
            }
            let want: Vec<usize> = (0..log.len()).collect();
            prop_assert_eq!(accepted, want);
        }
    }
}
