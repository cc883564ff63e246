//! Cuts the bytes of a multiplexed log response into frames.
//!
//! A frame is eight bytes of header and a payload: byte 0 names the output, bytes 1–3 are zero, bytes
//! 4–7 hold the payload's length, big endian. Kind 3 is the daemon's own error text: no log line, and
//! the end of the response.

use crate::error::LogStreamError;
use crate::log_entry::Output;

/// No engine writes parts this long (16 KiB, three times that with replaced bytes; 256 KiB for the
/// largest driver buffer): a longer one means that we read something that is not a frame.
const FRAME_BYTES_MAX: usize = 4 << 20;

const HEADER_BYTES: usize = 8;

/// Keeps the bytes of an unfinished frame between two reads.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    rest: Vec<u8>,
}

impl FrameDecoder {
    /// Feeds bytes and calls `part` with the payload of each finished frame.
    ///
    /// Errors: a frame of the daemon, or bytes that are no frame; nothing may be fed afterwards.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        part: &mut dyn FnMut(Output, &[u8]),
    ) -> Result<(), LogStreamError> {
        if self.rest.is_empty() {
            let used = cut(bytes, part)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let used = cut(&self.rest, part)?;
        self.rest.drain(..used);
        Ok(())
    }

    /// Returns whether the response stopped inside a frame.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// Hands out all whole frames of `bytes` and returns how many bytes they took.
fn cut(bytes: &[u8], part: &mut dyn FnMut(Output, &[u8])) -> Result<usize, LogStreamError> {
    let mut used = 0;
    while let Some((header, rest)) = bytes.get(used..).and_then(<[u8]>::split_first_chunk::<HEADER_BYTES>) {
        let [kind, 0, 0, 0, a, b, c, d] = *header else {
            return Err(LogStreamError::NoFrame);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if kind > 3 || length > FRAME_BYTES_MAX {
            return Err(LogStreamError::NoFrame);
        }
        let Some(payload) = rest.get(..length) else {
            break;
        };
        used += HEADER_BYTES + length;
        match kind {
            1 => part(Output::Stdout, payload),
            2 => part(Output::Stderr, payload),
            3 => return Err(LogStreamError::Daemon(String::from_utf8_lossy(payload).trim().to_owned())),
            // Kind 0 is what was typed into the container; log drivers do not keep it.
            _ => {}
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn feed(decoder: &mut FrameDecoder, bytes: &[u8]) -> Result<Vec<(Output, Vec<u8>)>, LogStreamError> {
        let mut parts = Vec::new();
        decoder.feed(bytes, &mut |output, payload| parts.push((output, payload.to_vec())))?;
        Ok(parts)
    }

    #[test]
    fn frames_survive_any_split() {
        let bytes = [frame(1, b"a\n"), frame(2, b""), frame(0, b"typed"), frame(1, b"b")].concat();
        let want = vec![
            (Output::Stdout, b"a\n".to_vec()),
            (Output::Stderr, vec![]),
            (Output::Stdout, b"b".to_vec()),
        ];
        for at in 0..=bytes.len() {
            let mut decoder = FrameDecoder::default();
            let mut parts = feed(&mut decoder, &bytes[..at]).unwrap();
            parts.extend(feed(&mut decoder, &bytes[at..]).unwrap());
            assert_eq!(parts, want, "split at {at}");
            assert!(!decoder.is_inside_frame());
        }
    }

    #[test]
    fn the_daemons_error_ends_the_response() {
        let bytes = [frame(1, b"a\n"), frame(3, b"Error grabbing logs: file already closed\n")].concat();
        let error = feed(&mut FrameDecoder::default(), &bytes).unwrap_err();
        assert!(error.to_string().contains("file already closed"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        for bytes in
            [&b"2026-01-02T03:04:05Z hello"[..], &[1, 0, 0, 1, 0, 0, 0, 0], &[1, 0, 0, 0, 255, 0, 0, 0]]
        {
            assert!(matches!(feed(&mut FrameDecoder::default(), bytes), Err(LogStreamError::NoFrame)));
        }
    }
}
