//! Joins the parts of long lines, one joiner per output.
//!
//! Engines cut lines at 16,384 bytes. Parts of both outputs interleave on the wire, so each output has
//! its own joiner. In Docker a part continues the open line when it bears the same timestamp; a line is
//! complete at its newline, before a part with another timestamp, and at a part shorter than 16,384
//! bytes: the daemon lets go of an unfinished part only when its buffer is full, so a shorter one is
//! the last of its line even where the driver (`local`) keeps no newline. Podman stamps each part by
//! itself and cuts at other sizes, and so does the journal of Docker's driver `journald`: there only the newline counts.

/// Size at which the daemon cuts a line.
pub(crate) const PART_BYTES: usize = 16_384;

/// By which signs a line is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinRule {
    /// Newline, another timestamp, or a short part.
    Docker,
    /// Newline alone; of the driver `journald` too.
    Podman,
    /// Newline, or another timestamp: a file of the driver `json-file` keeps every newline.
    Newline,
}

/// Collects the parts of one output's open line.
#[derive(Debug)]
pub(crate) struct Joiner {
    rule: JoinRule,
    line_bytes_max: usize,
    open: Option<OpenLine>,
}

#[derive(Debug)]
struct OpenLine {
    ts_ns: i64,
    text: Vec<u8>,
    cut_bytes: usize,
}

/// A whole line: `text` without its end of line, at most `line_bytes_max` long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) ts_ns: i64,
    pub(crate) text: &'a [u8],
    /// Bytes beyond the limit that were cut off.
    pub(crate) cut_bytes: usize,
}

impl Joiner {
    pub(crate) fn new(rule: JoinRule, line_bytes_max: usize) -> Self {
        Self { rule, line_bytes_max, open: None }
    }

    /// Takes the next part and calls `emit` for each line that it completes (at most two).
    pub(crate) fn part(&mut self, ts_ns: i64, text: &[u8], emit: &mut dyn FnMut(Line<'_>)) {
        let continues = match &self.open {
            Some(open) => self.rule == JoinRule::Podman || open.ts_ns == ts_ns,
            None => false,
        };
        if !continues {
            self.finish(emit);
        }
        let ends_with_newline = text.last() == Some(&b'\n');
        let is_short = self.rule == JoinRule::Docker && text.len() < PART_BYTES;
        let completes = ends_with_newline || is_short;
        if completes && self.open.is_none() {
            // Nearly all lines: one part, nothing copied.
            emit(bounded(ts_ns, without_line_end(text), 0, self.line_bytes_max));
            return;
        }
        let line_bytes_max = self.line_bytes_max;
        let open = self.open.get_or_insert_with(|| OpenLine { ts_ns, text: Vec::new(), cut_bytes: 0 });
        // Room for the end of line: it is stripped only when the line is complete.
        let room = (line_bytes_max + 2).saturating_sub(open.text.len());
        let kept = text.get(..room).unwrap_or(text);
        open.text.extend_from_slice(kept);
        let mut beyond = text.len() - kept.len();
        if completes {
            if ends_with_newline && beyond > 0 {
                beyond -= 1;
            }
            open.cut_bytes += beyond;
            self.finish(emit);
        } else {
            open.cut_bytes += beyond;
        }
    }

    /// Lets the open line go as it is: the output ended and no further part will come.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(Line<'_>)) {
        if let Some(open) = self.open.take() {
            let text = if open.cut_bytes > 0 { &open.text[..] } else { without_line_end(&open.text) };
            emit(bounded(open.ts_ns, text, open.cut_bytes, self.line_bytes_max));
        }
    }

    /// Returns whether parts wait for the rest of their line.
    pub(crate) fn has_open_line(&self) -> bool {
        self.open.is_some()
    }
}

/// Strips one `\n`, then one `\r`.
pub(crate) fn without_line_end(text: &[u8]) -> &[u8] {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(crate) fn bounded(ts_ns: i64, text: &[u8], cut_bytes: usize, line_bytes_max: usize) -> Line<'_> {
    let kept = text.get(..line_bytes_max).unwrap_or(text);
    Line { ts_ns, text: kept, cut_bytes: cut_bytes + text.len() - kept.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 256 << 10;

    /// Feeds parts (timestamp, text) and compares (timestamp, length, cut bytes) of the lines.
    #[track_caller]
    fn check(rule: JoinRule, parts: &[(i64, &[u8])], want: &[(i64, &[u8])]) {
        let mut joiner = Joiner::new(rule, LIMIT);
        let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
        for (ts_ns, text) in parts {
            joiner.part(*ts_ns, text, &mut |line| lines.push((line.ts_ns, line.text.to_vec())));
        }
        joiner.finish(&mut |line| lines.push((line.ts_ns, line.text.to_vec())));
        let got: Vec<(i64, &[u8])> = lines.iter().map(|(ts_ns, text)| (*ts_ns, &text[..])).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_measured_cases_of_json_file() {
        let full = vec![b'x'; PART_BYTES];
        let just_below = [&vec![b'x'; PART_BYTES - 1][..], b"\n"].concat();
        check(JoinRule::Docker, &[(1, &just_below)], &[(1, &just_below[..PART_BYTES - 1])]);
        check(JoinRule::Docker, &[(1, &full), (1, b"\n")], &[(1, &full)]);
        let tail = [&vec![b'y'; 848][..], b"\n"].concat();
        let whole = [&full[..], &full, &full, &tail[..848]].concat();
        check(JoinRule::Docker, &[(1, &full), (1, &full), (1, &full), (1, &tail)], &[(1, &whole)]);
        // Invalid bytes were replaced by three bytes each, so the first part is longer.
        let long = vec![b'u'; 30_508];
        check(JoinRule::Docker, &[(1, &long), (1, b"end\n")], &[(1, &[&long[..], b"end"].concat())]);
    }

    #[test]
    fn the_measured_cases_of_local() {
        let full = vec![b'x'; PART_BYTES];
        check(JoinRule::Docker, &[(1, &full), (1, b""), (2, b"next\n")], &[(1, &full), (2, b"next")]);
        let whole = [&full[..], b"rest"].concat();
        check(JoinRule::Docker, &[(1, &full), (1, b"rest"), (2, b"next\n")], &[(1, &whole), (2, b"next")]);
    }

    #[test]
    fn ends_and_neighbours() {
        let full = vec![b'x'; PART_BYTES];
        check(JoinRule::Docker, &[(1, b"no newline")], &[(1, b"no newline")]);
        check(JoinRule::Docker, &[(1, &full)], &[(1, &full)]);
        check(JoinRule::Docker, &[(1, &full), (2, b"other\n")], &[(1, &full), (2, b"other")]);
        check(
            JoinRule::Docker,
            &[(1, b"\n"), (2, b"a\r\n"), (3, b"\r\r\n")],
            &[(1, b""), (2, b"a"), (3, b"\r")],
        );
    }

    #[test]
    fn podman_joins_by_the_newline_alone() {
        check(
            JoinRule::Podman,
            &[(1, b"ab"), (2, b"cd"), (3, b"\n"), (4, b"e\n")],
            &[(1, b"abcd"), (4, b"e")],
        );
    }

    #[test]
    fn long_lines_are_cut_and_counted() {
        for total in [100, 101, 102, 103, 150] {
            for size in [7, 50, 100, 200] {
                let line = vec![b'z'; total];
                let mut text = line.clone();
                text.push(b'\n');
                let mut joiner = Joiner::new(JoinRule::Podman, 100);
                let mut lines = Vec::new();
                for part in text.chunks(size) {
                    joiner.part(1, part, &mut |line| lines.push((line.text.len(), line.cut_bytes)));
                }
                assert_eq!(lines, [(100, total - 100)], "{total} bytes in parts of {size}");
            }
        }
    }
}
