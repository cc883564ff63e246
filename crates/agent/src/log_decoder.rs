//! From the bytes of a log response to entries: frames or raw text, timestamps, joined lines.
//!
//! Pure: the same bytes give the same entries however they are split between reads.

use std::borrow::Cow;

use crate::error::LogStreamError;
use crate::log_entry::{LogEntry, Output};
use crate::log_frames::FrameDecoder;
use crate::log_join::{JoinRule, Joiner};
use crate::log_tty::TtyDecoder;
use crate::timestamp::parse_timestamp;

/// In which form a response comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogForm {
    /// Framed parts of both outputs.
    Frames(JoinRule),
    /// Raw text of a terminal; `local` tells of the driver of that name.
    Tty { local: bool },
    /// Rows of the files that the driver `json-file` keeps.
    JsonFile,
}

/// One part of a line as `json-file` keeps it.
#[derive(Debug)]
pub(crate) struct JsonRow<'a> {
    pub(crate) output: Output,
    pub(crate) ts_ns: i64,
    pub(crate) log: Cow<'a, str>,
}

/// Reads a row; zeros before it are what a loss of power left.
pub(crate) fn json_row(row: &[u8]) -> Option<JsonRow<'_>> {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        #[serde(borrow, default)]
        log: Cow<'a, str>,
        #[serde(borrow, default)]
        stream: Cow<'a, str>,
        #[serde(borrow)]
        time: Cow<'a, str>,
    }
    let start = row.iter().position(|byte| *byte != 0)?;
    let row: Row<'_> = serde_json::from_slice(row.get(start..)?).ok()?;
    let (ts_ns, _) = parse_timestamp(row.time.as_bytes())?;
    let output = if row.stream == "stderr" { Output::Stderr } else { Output::Stdout };
    Some(JsonRow { output, ts_ns, log: row.log })
}

/// Decodes one response from its first byte.
#[derive(Debug)]
pub(crate) struct LogDecoder {
    form: FormDecoder,
    first: Option<(Output, i64)>,
    /// Newest time of a part, by output.
    newest: [Option<i64>; 2],
    untimed: u64,
}

#[derive(Debug)]
enum FormDecoder {
    Frames { frames: FrameDecoder, joiners: [Joiner; 2] },
    Tty(TtyDecoder),
    Rows { rest: Vec<u8>, joiners: [Joiner; 2] },
}

/// Longest row: a part of 16 KiB, each byte of which is six in JSON.
const ROW_BYTES_MAX: usize = 1 << 20;

impl LogDecoder {
    pub(crate) fn new(form: LogForm, line_bytes_max: usize) -> Self {
        let form = match form {
            LogForm::Frames(rule) => FormDecoder::Frames {
                frames: FrameDecoder::default(),
                joiners: Output::ALL.map(|_| Joiner::new(rule, line_bytes_max)),
            },
            LogForm::Tty { local } => FormDecoder::Tty(TtyDecoder::new(line_bytes_max, local)),
            LogForm::JsonFile => FormDecoder::Rows {
                rest: Vec::new(),
                joiners: Output::ALL.map(|_| Joiner::new(JoinRule::Newline, line_bytes_max)),
            },
        };
        Self { form, first: None, newest: [None; 2], untimed: 0 }
    }

    /// Feeds bytes and calls `emit` for each line that they complete, in the order of the log.
    ///
    /// Errors: the response is spoiled from here on; what was emitted before stays good.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        emit: &mut dyn FnMut(LogEntry<'_>),
    ) -> Result<(), LogStreamError> {
        let Self { form, first, newest, untimed } = self;
        let mut note = |output: Output, ts_ns: i64| {
            first.get_or_insert((output, ts_ns));
            if let Some(newest) = newest.get_mut(output.index()) {
                *newest = (*newest).max(Some(ts_ns));
            }
        };
        match form {
            FormDecoder::Frames { frames, joiners } => frames.feed(bytes, &mut |output, payload| {
                let Some((ts_ns, text)) = split(payload) else {
                    *untimed += 1;
                    return;
                };
                note(output, ts_ns);
                join(joiners, output, ts_ns, text, emit);
            }),
            FormDecoder::Rows { rest, joiners } => {
                let mut take = |row: &[u8]| match json_row(row).filter(|_| row.len() <= ROW_BYTES_MAX) {
                    Some(row) => {
                        note(row.output, row.ts_ns);
                        join(joiners, row.output, row.ts_ns, row.log.as_bytes(), emit);
                    }
                    None => *untimed += 1,
                };
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let is_whole = piece.ends_with(b"\n");
                    if is_whole && rest.is_empty() {
                        take(piece);
                        continue;
                    }
                    // One byte more than a row may have shows that it is too long.
                    let room = (ROW_BYTES_MAX + 1).saturating_sub(rest.len());
                    rest.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    if is_whole {
                        take(rest);
                        rest.clear();
                    }
                }
                Ok(())
            }
            FormDecoder::Tty(tty) => {
                *untimed += tty.feed(bytes, &mut |output, line| {
                    note(output, line.ts_ns);
                    emit(LogEntry { output, ts_ns: line.ts_ns, line: line.text, cut_bytes: line.cut_bytes });
                });
                Ok(())
            }
        }
    }

    /// Lets unfinished lines go: the container stopped, nothing will continue them.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(LogEntry<'_>)) {
        let Self { form, first, untimed, .. } = self;
        if let FormDecoder::Rows { rest, .. } = form
            && !rest.is_empty()
        {
            // Half a row: a power cut, or the engine that is about to write the rest and is not waited for.
            *untimed += 1;
            rest.clear();
        }
        match form {
            FormDecoder::Frames { joiners, .. } | FormDecoder::Rows { joiners, .. } => {
                for (output, joiner) in Output::ALL.into_iter().zip(joiners) {
                    joiner.finish(&mut |line| {
                        emit(LogEntry {
                            output,
                            ts_ns: line.ts_ns,
                            line: line.text,
                            cut_bytes: line.cut_bytes,
                        });
                    });
                }
            }
            FormDecoder::Tty(tty) => {
                *untimed += tty.finish(&mut |output, line| {
                    first.get_or_insert((output, line.ts_ns));
                    emit(LogEntry { output, ts_ns: line.ts_ns, line: line.text, cut_bytes: line.cut_bytes });
                });
            }
        }
    }

    /// Returns output and time of the first part of the response, once one was read.
    pub(crate) fn first_part(&self) -> Option<(Output, i64)> {
        self.first.or_else(|| match &self.form {
            FormDecoder::Frames { .. } | FormDecoder::Rows { .. } => None,
            FormDecoder::Tty(tty) => tty.open_ts_ns().map(|ts_ns| (Output::Stdout, ts_ns)),
        })
    }

    /// Returns the newest time of a part of an output that was read.
    pub(crate) fn newest_ns(&self, output: Output) -> Option<i64> {
        let open_ns = match &self.form {
            FormDecoder::Frames { .. } | FormDecoder::Rows { .. } => None,
            FormDecoder::Tty(tty) => tty.open_ts_ns().filter(|_| output == Output::Stdout),
        };
        self.newest.get(output.index()).copied().flatten().max(open_ns)
    }

    /// Returns whether a line waits for its end.
    pub(crate) fn has_open_line(&self) -> bool {
        match &self.form {
            FormDecoder::Frames { joiners, .. } => joiners.iter().any(Joiner::has_open_line),
            FormDecoder::Rows { rest, joiners } => {
                !rest.is_empty() || joiners.iter().any(Joiner::has_open_line)
            }
            FormDecoder::Tty(tty) => tty.has_open_line(),
        }
    }

    /// Returns whether the response ended inside a frame, which a whole response never does.
    pub(crate) fn is_inside_frame(&self) -> bool {
        match &self.form {
            FormDecoder::Frames { frames, .. } => frames.is_inside_frame(),
            FormDecoder::Tty(_) | FormDecoder::Rows { .. } => false,
        }
    }

    /// Returns how many parts bore no timestamp since the last call; they are rejected.
    pub(crate) fn take_untimed(&mut self) -> u64 {
        std::mem::take(&mut self.untimed)
    }
}

/// Joins a part to the line of its output.
fn join(
    joiners: &mut [Joiner; 2],
    output: Output,
    ts_ns: i64,
    text: &[u8],
    emit: &mut dyn FnMut(LogEntry<'_>),
) {
    let [stdout, stderr] = joiners;
    let joiner = match output {
        Output::Stdout => stdout,
        Output::Stderr => stderr,
    };
    joiner.part(ts_ns, text, &mut |line| {
        emit(LogEntry { output, ts_ns: line.ts_ns, line: line.text, cut_bytes: line.cut_bytes });
    });
}

/// Guesses the form from the first bytes, for a container that vanished before it could be inspected.
pub(crate) fn guess_form(first: &[u8], rule: JoinRule) -> LogForm {
    match first {
        [0..=3, 0, 0, 0, ..] | [] => LogForm::Frames(rule),
        _ => LogForm::Tty { local: false },
    }
}

/// Splits a payload into its timestamp and the text behind the blank.
fn split(payload: &[u8]) -> Option<(i64, &[u8])> {
    let (ts_ns, length) = parse_timestamp(payload)?;
    let text = payload.get(length..)?;
    match text {
        // An empty last part may come without the blank.
        [] => Some((ts_ns, text)),
        [b' ', text @ ..] => Some((ts_ns, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_join::PART_BYTES;
    use proptest::prelude::*;

    type Owned = (Output, i64, Vec<u8>);

    fn frame(kind: u8, second: u32, text: &[u8]) -> Vec<u8> {
        let stamp = format!("2026-01-02T03:{:02}:{:02}.000000001Z ", second / 60, second % 60);
        let length = (stamp.len() + text.len()) as u32;
        [&[kind, 0, 0, 0][..], &length.to_be_bytes(), stamp.as_bytes(), text].concat()
    }

    fn decode(form: LogForm, pieces: &[&[u8]]) -> Vec<Owned> {
        let mut decoder = LogDecoder::new(form, 64 << 10);
        let mut entries = Vec::new();
        let mut emit = |e: LogEntry<'_>| entries.push((e.output, e.ts_ns, e.line.to_vec()));
        for piece in pieces {
            decoder.feed(piece, &mut emit).unwrap();
        }
        decoder.finish(&mut emit);
        assert!(!decoder.has_open_line());
        entries
    }

    #[test]
    fn long_lines_on_both_outputs_do_not_mix() {
        let full = vec![b'o'; PART_BYTES];
        let errors = vec![b'e'; PART_BYTES];
        let bytes = [
            frame(1, 1, &full),
            frame(2, 2, &errors),
            frame(1, 1, b"out\n"),
            frame(2, 2, b"err\n"),
            frame(1, 3, b"\n"),
        ]
        .concat();
        let entries = decode(LogForm::Frames(JoinRule::Docker), &[&bytes]);
        let lines: Vec<(Output, usize, &[u8])> = entries
            .iter()
            .map(|(output, _, line)| (*output, line.len(), &line[line.len().saturating_sub(3)..]))
            .collect();
        assert_eq!(
            lines,
            [
                (Output::Stdout, PART_BYTES + 3, &b"out"[..]),
                (Output::Stderr, PART_BYTES + 3, b"err"),
                (Output::Stdout, 0, b""),
            ]
        );
    }

    #[test]
    fn the_first_part_is_known_before_its_line_is_whole() {
        let mut decoder = LogDecoder::new(LogForm::Frames(JoinRule::Docker), 64 << 10);
        let bytes = frame(2, 1, &[b'e'; PART_BYTES]);
        decoder.feed(&bytes, &mut |_| panic!("no line yet")).unwrap();
        assert_eq!(decoder.first_part(), Some((Output::Stderr, 1_767_322_801_000_000_001)));
        assert!(decoder.has_open_line());
    }

    #[test]
    fn parts_without_a_timestamp_are_counted() {
        let mut decoder = LogDecoder::new(LogForm::Frames(JoinRule::Docker), 64 << 10);
        decoder.feed(&[1, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'\n'], &mut |_| panic!("no entry")).unwrap();
        assert_eq!(decoder.take_untimed(), 1);
        assert_eq!(decoder.take_untimed(), 0);
    }

    #[test]
    fn forms_are_guessed_from_the_first_bytes() {
        assert_eq!(guess_form(&frame(1, 1, b"x"), JoinRule::Docker), LogForm::Frames(JoinRule::Docker));
        assert_eq!(guess_form(b"2026-", JoinRule::Docker), LogForm::Tty { local: false });
    }

    #[test]
    fn rows_of_json_file_are_parts_of_lines() {
        let row = |log: &str, stream: &str| {
            let time = "2026-01-02T03:04:05.5Z";
            serde_json::json!({"log": log, "stream": stream, "time": time, "attrs": {}}).to_string() + "\n"
        };
        let rows = [row("a\r\n", "stdout"), row("par", "stdout"), row("x\n", "stderr"), row("t\n", "stdout")];
        let bytes = [rows.concat().as_bytes(), &[0; 50], row("behind\n", "stdout").as_bytes()].concat();
        let want: Vec<Owned> = [("a", 0), ("x", 1), ("part", 0), ("behind", 0)]
            .map(|(line, output)| (Output::ALL[output], 1_767_323_045_500_000_000, line.as_bytes().to_vec()))
            .into();
        let cuts: Vec<&[u8]> = bytes.chunks(7).collect();
        assert_eq!(decode(LogForm::JsonFile, &[&bytes]), want);
        assert_eq!(decode(LogForm::JsonFile, &cuts), want);
        let mut decoder = LogDecoder::new(LogForm::JsonFile, 100);
        let mut bad = b"no row\n".to_vec();
        bad.extend(vec![b'x'; 3 << 20]);
        bad.push(b'\n');
        decoder.feed(&bad, &mut |_| panic!("no entry")).unwrap();
        assert_eq!((decoder.take_untimed(), decoder.has_open_line()), (2, false));
    }

    fn any_frames() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (PART_BYTES..PART_BYTES + 2).prop_map(|length| vec![b'x'; length]),
            Just(b"line\n".to_vec()),
        ];
        let one = (1..=2_u8, 0..6_u32, text).prop_map(|(kind, second, text)| frame(kind, second, &text));
        proptest::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
    }

    fn any_tty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"2026-01-02T03:04:05.000000001Z ".to_vec()),
            Just(b"2026-01-02T03:04:07Z ".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(vec![b'x'; PART_BYTES]),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn splitting_changes_nothing(bytes in any_frames(), cuts in proptest::collection::vec(any::<u16>(), 0..6)) {
            let form = LogForm::Frames(JoinRule::Docker);
            prop_assert_eq!(decode(form, &pieces(&bytes, &cuts)), decode(form, &[&bytes]));
        }

        #[test]
        fn splitting_changes_nothing_on_a_terminal(
            bytes in any_tty(),
            cuts in proptest::collection::vec(any::<u16>(), 0..6),
            local in any::<bool>(),
        ) {
            let form = LogForm::Tty { local };
            prop_assert_eq!(decode(form, &pieces(&bytes, &cuts)), decode(form, &[&bytes]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for form in [LogForm::Frames(JoinRule::Podman), LogForm::Tty { local: true }, LogForm::JsonFile] {
                let mut decoder = LogDecoder::new(form, 50);
                let mut longest = 0;
                drop(decoder.feed(&bytes, &mut |e| longest = longest.max(e.line.len())));
                decoder.finish(&mut |e| longest = longest.max(e.line.len()));
                prop_assert!(longest <= 50);
            }
        }
    }

    fn pieces<'a>(bytes: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }
}
