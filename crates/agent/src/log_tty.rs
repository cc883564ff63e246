//! Reads the log of a container with a terminal: raw text, no frames.
//!
//! Every part is `timestamp blank bytes`, lines end in `\r\n`, and the parts of a long line follow each
//! other without any mark, so the timestamp repeats every 16,384 bytes in the middle of the line. The
//! driver `local` writes no newline after the last part of a long line either: there the next line
//! begins where another, younger timestamp stands.
//!
//! A line is kept until its newline is there and taken apart then: whether a timestamp is a repeat
//! can only be said once the bytes behind it are known.

use crate::log_entry::Output;
use crate::log_join::{Line, PART_BYTES, bounded, without_line_end};
use crate::timestamp::parse_timestamp;

/// Room for the repeated timestamps within a line, per part and with reserve for the first ones.
const TIMESTAMP_ROOM: usize = 64;

/// Keeps the bytes of the unfinished line between two reads.
#[derive(Debug)]
pub(crate) struct TtyDecoder {
    line_bytes_max: usize,
    /// Whether the driver leaves out the newline after long lines (`local`).
    newline_may_lack: bool,
    rest: Vec<u8>,
    beyond_bytes: usize,
}

impl TtyDecoder {
    pub(crate) fn new(line_bytes_max: usize, newline_may_lack: bool) -> Self {
        Self { line_bytes_max, newline_may_lack, rest: Vec::new(), beyond_bytes: 0 }
    }

    /// Feeds bytes and calls `emit` for each finished line; returns how many texts bore no timestamp.
    pub(crate) fn feed(&mut self, bytes: &[u8], emit: &mut dyn FnMut(Output, Line<'_>)) -> u64 {
        let mut untimed = 0;
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let text = bytes.get(from..newline).unwrap_or_default();
            from = newline + 1;
            // A longer text goes the way of one that comes in pieces, so that both are cut alike.
            if self.rest.is_empty() && text.len() <= self.room_max() {
                untimed += self.take_apart(text, 0, emit);
                continue;
            }
            self.keep(text);
            untimed += self.finish(emit);
        }
        self.keep(bytes.get(from..).unwrap_or_default());
        untimed
    }

    /// Lets the unfinished line go as it is: the container stopped.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(Output, Line<'_>)) -> u64 {
        if self.rest.is_empty() {
            return 0;
        }
        let text = std::mem::take(&mut self.rest);
        let beyond_bytes = std::mem::take(&mut self.beyond_bytes);
        let untimed = self.take_apart(&text, beyond_bytes, emit);
        self.rest = text;
        self.rest.clear();
        untimed
    }

    pub(crate) fn has_open_line(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Returns the timestamp of the unfinished line, once it is whole.
    pub(crate) fn open_ts_ns(&self) -> Option<i64> {
        parse_timestamp(&self.rest).map(|(ts_ns, _)| ts_ns)
    }

    /// Bytes kept of a line with the timestamps within it.
    fn room_max(&self) -> usize {
        self.line_bytes_max + (self.line_bytes_max / PART_BYTES + 2) * TIMESTAMP_ROOM
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.room_max().saturating_sub(self.rest.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.rest.extend_from_slice(kept);
        self.beyond_bytes += bytes.len() - kept.len();
    }

    /// Emits the line, or lines, that lie in a text without newline.
    fn take_apart(&self, text: &[u8], beyond_bytes: usize, emit: &mut dyn FnMut(Output, Line<'_>)) -> u64 {
        let mut text = text;
        loop {
            let Some((ts_ns, stamp, payload)) = split_timestamp(text) else {
                return u64::from(!without_line_end(text).is_empty());
            };
            if payload.len() < PART_BYTES {
                self.emit(ts_ns, payload, beyond_bytes, emit);
                return 0;
            }
            let (line, next) = join_parts(ts_ns, stamp, payload, self.newline_may_lack);
            match next {
                Some(next) => {
                    self.emit(ts_ns, &line, 0, emit);
                    text = next;
                }
                None => {
                    self.emit(ts_ns, &line, beyond_bytes, emit);
                    return 0;
                }
            }
        }
    }

    fn emit(&self, ts_ns: i64, line: &[u8], beyond: usize, emit: &mut dyn FnMut(Output, Line<'_>)) {
        emit(Output::Stdout, bounded(ts_ns, without_line_end(line), beyond, self.line_bytes_max));
    }
}

/// Splits `timestamp blank payload`; the stamp includes the blank.
fn split_timestamp(text: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let (ts_ns, length) = parse_timestamp(text)?;
    let (stamp, payload) = text.split_at_checked(length + 1)?;
    (stamp.last() == Some(&b' ')).then_some((ts_ns, stamp, payload))
}

/// Removes the repeated stamps of a long line; returns it and, if another line follows directly, that.
fn join_parts<'a>(
    ts_ns: i64,
    stamp: &[u8],
    payload: &'a [u8],
    newline_may_lack: bool,
) -> (Vec<u8>, Option<&'a [u8]>) {
    let mut line = Vec::with_capacity(payload.len());
    let mut rest = payload;
    let mut is_first = true;
    loop {
        if newline_may_lack && let Some(at) = next_line_at(ts_ns, rest, is_first) {
            let (part, next) = rest.split_at(at);
            line.extend_from_slice(part);
            return (line, Some(next));
        }
        // Invalid bytes replaced by longer ones make a part longer than 16,384 bytes, never shorter.
        let repeat = rest
            .get(PART_BYTES..)
            .and_then(|behind| memchr::memmem::find(behind, stamp))
            .map(|at| at + PART_BYTES);
        let Some(at) = repeat else {
            line.extend_from_slice(rest);
            return (line, None);
        };
        let (part, behind) = rest.split_at(at);
        line.extend_from_slice(part);
        rest = behind.get(stamp.len()..).unwrap_or_default();
        is_first = false;
    }
}

/// Finds where a younger line begins within the part at the start of `rest`.
///
/// Only the last part of a long line lacks its newline, so the first part, always full, is left alone.
fn next_line_at(ts_ns: i64, rest: &[u8], is_first: bool) -> Option<usize> {
    if is_first {
        return None;
    }
    let window = rest.get(..PART_BYTES + 1).unwrap_or(rest);
    memchr::memchr_iter(b'T', window).filter_map(|t| t.checked_sub(10)).find(|&at| {
        let candidate = rest.get(at..).and_then(split_timestamp);
        candidate.is_some_and(|(other_ns, _, _)| other_ns > ts_ns)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "2026-01-02T03:04:05.123456789Z ";
    const B: &str = "2026-01-02T03:04:06.5Z ";

    #[track_caller]
    fn check(newline_may_lack: bool, text: &[u8], want: &[&[u8]]) {
        for step in [1, 7, 4096, text.len().max(1)] {
            let mut decoder = TtyDecoder::new(256 << 10, newline_may_lack);
            let mut lines: Vec<Vec<u8>> = Vec::new();
            let mut emit = |_, line: Line<'_>| lines.push(line.text.to_vec());
            for piece in text.chunks(step) {
                assert_eq!(decoder.feed(piece, &mut emit), 0);
            }
            assert_eq!(decoder.finish(&mut emit), 0);
            assert_eq!(lines.len(), want.len(), "steps of {step}");
            assert!(lines.iter().zip(want).all(|(line, want)| line == want), "steps of {step}");
        }
    }

    #[test]
    fn short_lines() {
        let text = format!("{A}hello\r\n{B}\r\n{B}2026-01-02T03:04:05Z own stamp\r\n{B}$ ");
        check(false, text.as_bytes(), &[b"hello", b"", b"2026-01-02T03:04:05Z own stamp", b"$ "]);
    }

    #[test]
    fn stamps_inside_long_lines_are_removed() {
        let full = "x".repeat(PART_BYTES);
        let rest = "y".repeat(848);
        let text = format!("{A}{full}{A}{full}{A}{rest}\r\n{B}next\r\n");
        let whole = format!("{full}{full}{rest}");
        check(false, text.as_bytes(), &[whole.as_bytes(), b"next"]);
        // One part longer than usual, since invalid bytes were replaced.
        let longer = "z".repeat(PART_BYTES + 1_000);
        let text = format!("{A}{longer}{A}{rest}\r\n");
        check(false, text.as_bytes(), &[format!("{longer}{rest}").as_bytes()]);
    }

    #[test]
    fn local_leaves_out_the_newline_after_long_lines() {
        let full = "x".repeat(PART_BYTES);
        let text = format!("{A}{full}{A}rest\r{B}next\r\n{B}last\r\n");
        check(true, text.as_bytes(), &[format!("{full}rest").as_bytes(), b"next", b"last"]);
        let text = format!("{A}{full}{A}{B}next\r\n");
        check(true, text.as_bytes(), &[full.as_bytes(), b"next"]);
    }

    #[test]
    fn endless_lines_are_bounded() {
        let mut decoder = TtyDecoder::new(100, false);
        let mut lines = Vec::new();
        let mut emit = |_, line: Line<'_>| lines.push((line.text.len(), line.cut_bytes));
        decoder.feed(A.as_bytes(), &mut emit);
        for _ in 0..1000 {
            decoder.feed(&[b'x'; 1000], &mut emit);
        }
        assert!(decoder.rest.len() < 400);
        decoder.feed(b"\r\n", &mut emit);
        assert_eq!(lines.first().map(|line| line.0), Some(100));
        assert!(lines.first().unwrap().1 > 999_000);
    }

    #[test]
    fn text_without_a_timestamp_is_counted() {
        let mut decoder = TtyDecoder::new(100, false);
        assert_eq!(decoder.feed(b"no stamp\r\n\r\n", &mut |_, _| panic!("no entry")), 1);
    }
}
