//! Messages out of a byte stream of syslog: counted octets and lines, told apart at each message, as in RFC 6587.
//!
//! A digit begins a counted message, `<` one that ends with its line; blanks, line ends and zeros in between are
//! passed over. Anything else is no syslog, and where the next message begins cannot be known. Memory: one message up
//! to the bound; the rest of a longer one is passed over and counted.

/// Most digits of a count.
const DIGITS_MAX: u32 = 9;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyslogFrame<'a> {
    /// Without its end of line.
    pub(crate) bytes: &'a [u8],
    /// Bytes beyond the bound.
    pub(crate) cut_bytes: usize,
    /// Whether it came to its end.
    pub(crate) is_whole: bool,
}

/// Bytes that begin no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFrame {
    #[error("byte 0x{0:02x} begins no message; want a digit, or < as in <34>")]
    Start(u8),
    #[error("a count of octets is too long, or ends in something else than a blank")]
    Count,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    Count { value: usize, digits: u32 },
    Octets { left: usize },
    Line,
}

/// Cuts the bytes of one connection.
#[derive(Debug)]
pub(crate) struct SyslogFrames {
    state: State,
    held: Vec<u8>,
    cut_bytes: usize,
    message_bytes_max: usize,
}

impl SyslogFrames {
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { state: State::Start, held: Vec::new(), cut_bytes: 0, message_bytes_max }
    }

    /// Takes the next bytes and hands over the messages that they complete.
    ///
    /// Errors: what follows the messages handed over is no syslog; nothing more can be read.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        visit: &mut dyn FnMut(SyslogFrame<'_>),
    ) -> Result<(), NoFrame> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.state {
                State::Start => {
                    self.state = match *first {
                        b' ' | b'\n' | b'\r' | 0 => {
                            bytes = rest;
                            continue;
                        }
                        b'0'..=b'9' => State::Count { value: 0, digits: 0 },
                        b'<' => State::Line,
                        other => return Err(NoFrame::Start(other)),
                    };
                }
                State::Count { value, digits } => {
                    bytes = rest;
                    self.state = match *first {
                        digit @ b'0'..=b'9' if digits < DIGITS_MAX => {
                            State::Count { value: value * 10 + usize::from(digit - b'0'), digits: digits + 1 }
                        }
                        b' ' if value > 0 => State::Octets { left: value },
                        b' ' => State::Start,
                        _ => return Err(NoFrame::Count),
                    };
                }
                State::Octets { left } => {
                    let (own, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
                    bytes = rest;
                    self.hold(own);
                    self.state = State::Octets { left: left - own.len() };
                    if left == own.len() {
                        self.emit(true, visit);
                    }
                }
                State::Line => {
                    let end = memchr::memchr(b'\n', bytes);
                    let (own, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    bytes = rest.strip_prefix(b"\n").unwrap_or(rest);
                    self.hold(own);
                    if end.is_some() {
                        self.emit(true, visit);
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands over what the end of the connection cut off. A line needs no end there, a counted message does.
    pub(crate) fn finish(&mut self, visit: &mut dyn FnMut(SyslogFrame<'_>)) {
        if !self.held.is_empty() {
            self.emit(matches!(self.state, State::Line), visit);
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        // One more than is kept: the end of the line is stripped first.
        let room = (self.message_bytes_max + 1).saturating_sub(self.held.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.held.extend_from_slice(kept);
        self.cut_bytes += bytes.len() - kept.len();
    }

    fn emit(&mut self, is_whole: bool, visit: &mut dyn FnMut(SyslogFrame<'_>)) {
        let text = without_end(&self.held);
        let kept = text.get(..self.message_bytes_max).unwrap_or(text);
        let cut_bytes = self.cut_bytes + text.len() - kept.len();
        if !kept.is_empty() {
            visit(SyslogFrame { bytes: kept, cut_bytes, is_whole });
        }
        self.held.clear();
        self.cut_bytes = 0;
        self.state = State::Start;
    }
}

/// Cuts line ends and zeros off, which senders add to messages that need none.
pub(crate) fn without_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<(String, usize, bool)>, Option<NoFrame>) {
        let mut frames = SyslogFrames::new(10);
        let mut found = Vec::new();
        let mut keep = |frame: SyslogFrame<'_>| {
            found.push((String::from_utf8_lossy(frame.bytes).into_owned(), frame.cut_bytes, frame.is_whole));
        };
        let fault = pieces.iter().find_map(|piece| frames.feed(piece, &mut keep).err());
        if fault.is_none() {
            frames.finish(&mut keep);
        }
        (found, fault)
    }

    #[track_caller]
    fn check(bytes: &[u8], want: &[(&str, usize, bool)], fault: Option<NoFrame>) {
        let want: Vec<_> = want.iter().map(|(text, cut, whole)| ((*text).to_owned(), *cut, *whole)).collect();
        assert_eq!(read(&[bytes]), (want, fault));
        for at in 0..bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(read(&[front, back]), read(&[bytes]), "divided at {at}");
        }
    }

    #[test]
    fn both_framings_in_one_stream() {
        check(
            b"5 <1>ab<2>cd\n\r\n7 <3>e\nf\n8 <4>g",
            &[("<1>ab", 0, true), ("<2>cd", 0, true), ("<3>e\nf", 0, true), ("<4>g", 0, false)],
            None,
        );
        check(b"<1>a\r\n<2>b\0\n<3>c", &[("<1>a", 0, true), ("<2>b", 0, true), ("<3>c", 0, true)], None);
    }

    #[test]
    fn long_messages_are_cut_and_the_next_is_found() {
        check(
            b"12 <1>456789abc<2>3456789abcd\n<3>x\n",
            &[("<1>456789a", 2, true), ("<2>3456789", 4, true), ("<3>x", 0, true)],
            None,
        );
        check(b"<2>3456789\n", &[("<2>3456789", 0, true)], None);
    }

    #[test]
    fn what_is_no_syslog_ends_the_reading() {
        check(b"<1>a\nGET / HTTP/1.1\n", &[("<1>a", 0, true)], Some(NoFrame::Start(b'G')));
        check(b"12x<1>", &[], Some(NoFrame::Count));
        check(b"1234567890 <1>", &[], Some(NoFrame::Count));
        check(b"0 <1>a\n", &[("<1>a", 0, true)], None);
    }
}
