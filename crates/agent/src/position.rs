//! How far into a target entries are acknowledged, and which entries are repeats.
//!
//! Within one output of a container times strictly ascend in the order of the log; across the outputs
//! they do not, so each output has its own position. Positions of both outputs are taken at the same
//! place of the log: everything before that place was accepted. That is why an entry at or before its
//! output's position, found at the start of a later read, proves that nothing before it is missing.
//!
//! Lines that wait for their end spoil this: an entry of one output may be accepted while an older,
//! open line of the other is not. `proof_ns` therefore lags behind `ns` until no line is open.

use xxhash_rust::xxh3::xxh3_64;

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

/// Tells new entries of a container from repeats.
#[derive(Clone, Debug)]
pub(crate) struct RepeatFilter {
    positions: OutputPositions,
    shown: [Shown; 2],
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

const NOTHING_SHOWN: Shown = Shown { ns: i64::MIN, count: 0, line_hash: 0 };

impl RepeatFilter {
    pub(crate) fn new(positions: OutputPositions) -> Self {
        Self { positions, shown: [NOTHING_SHOWN; 2] }
    }

    /// Must be called before a new read of the log.
    pub(crate) fn begin_read(&mut self) {
        self.shown = [NOTHING_SHOWN; 2];
    }

    /// Returns whether the next entry of a read is new, and moves the position over it if so.
    ///
    /// Engines before 23 show the head of a new file twice after rotation, times and all. A line equal
    /// to the one before it in time and text is such a repeat too: the store could not keep both.
    pub(crate) fn accept(&mut self, output: Output, ts_ns: i64, line: &[u8]) -> bool {
        let (Some(shown), Some(slot)) =
            (self.shown.get_mut(output.index()), self.positions.get_mut(output.index()))
        else {
            return false;
        };
        let line_hash = xxh3_64(line);
        let is_twin = shown.ns == ts_ns && shown.line_hash == line_hash;
        if !is_twin {
            let count = if shown.ns == ts_ns { shown.count + 1 } else { 1 };
            *shown = Shown { ns: ts_ns, count, line_hash };
        }
        let Some(position) = slot else {
            *slot = Some(OutputPosition { ns: ts_ns, ordinal: 1, proof_ns: i64::MIN });
            return true;
        };
        let is_repeat =
            is_twin || ts_ns < position.ns || (ts_ns == position.ns && shown.count <= position.ordinal);
        if is_repeat {
            return false;
        }
        position.ordinal = if ts_ns == position.ns { position.ordinal + 1 } else { 1 };
        position.ns = ts_ns;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: i64, ordinal: u32) -> Option<OutputPosition> {
        Some(OutputPosition { ns, ordinal, proof_ns: ns })
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
        let open = Some(OutputPosition { ns: 10, ordinal: 1, proof_ns: 4 });
        assert_eq!(judge_seam((Output::Stdout, 10), &[open, None]), Seam::Unproven);
        assert_eq!(judge_seam((Output::Stdout, 3), &[open, None]), Seam::Proven);
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
        filter.begin_read();
        check(&mut filter, &[(7, "c", false), (8, "d", false), (8, "e", true)]);
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
                filter.begin_read();
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
