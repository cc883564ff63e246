//! Reads what senders, journals and other agents' files hold, without an agent.
//!
//! The fuzz targets `syslog`, `journal_export`, `gelf`, `forward`, `forward_parts` and `promtail_positions` are these functions and
//! [`crate::ImportedPositions::parse_promtail`].

use jiff::tz::TimeZone;
use logyard_wire::journal_export::JournalExport;

use crate::forward_event::parse as parse_forward;
use crate::forward_key::Ping;
use crate::forward_parts::{decode_body, encode_body};
use crate::gelf_message::{Chunks, GelfMessage, unpack};
use crate::msgpack::Ends;
use crate::syslog_frames::SyslogFrames;
use crate::syslog_message::{Dialect, parse as parse_syslog};

/// One message of syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSummary {
    /// Its text, or all of it that cannot be read.
    pub text: Vec<u8>,
    /// Bytes beyond the bound.
    pub cut_bytes: usize,
    /// Whether it came to its end.
    pub is_whole: bool,
    /// Its time in ns since the Unix epoch.
    pub sent_ns: Option<i64>,
    /// Parameters of structured data.
    pub parameters: usize,
    /// What could not be read.
    pub fault: Option<&'static str>,
}

/// Reads a connection of syslog, in pieces as they came; returns the messages and why reading stopped before the end.
///
/// Shape: the same however the bytes are divided. Times without a year are those before 14 November 2023, in UTC.
///
/// ```
/// let (messages, fault) = logyard_agent::inspect::read_syslog(&[b"<34>1 - - - - - - hel", b"lo\n"], 1024);
/// assert_eq!((&*messages[0].text, fault), (&b"hello"[..], None));
/// ```
pub fn read_syslog(pieces: &[&[u8]], message_bytes_max: usize) -> (Vec<SyslogSummary>, Option<String>) {
    const NOW_NS: i64 = 1_700_000_000_000_000_000;
    let mut frames = SyslogFrames::new(message_bytes_max);
    let mut found = Vec::new();
    let mut keep = |frame: crate::syslog_frames::SyslogFrame<'_>| {
        let message = parse_syslog(frame.bytes, Dialect::Auto, &TimeZone::UTC, NOW_NS);
        found.push(SyslogSummary {
            text: message.text.to_vec(),
            cut_bytes: frame.cut_bytes,
            is_whole: frame.is_whole,
            sent_ns: message.sent_ns,
            parameters: message.data.len(),
            fault: message.fault,
        });
    };
    let fault = pieces.iter().find_map(|piece| frames.feed(piece, &mut keep).err());
    if fault.is_none() {
        frames.finish(&mut keep);
    }
    (found, fault.map(|fault| fault.to_string()))
}

/// Fields of an entry of the journal, by name.
pub type JournalFields = Vec<(String, Vec<u8>)>;

/// Reads the output of `journalctl -o export`, in pieces as they came.
///
/// Shape: the same however the bytes are divided. Messages longer than `line_bytes_max` are cut.
pub fn read_journal_export(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<JournalFields> {
    let mut export = JournalExport::new(line_bytes_max);
    let mut found = Vec::new();
    pieces.iter().for_each(|piece| export.feed(piece, &mut |entry| found.push(entry.fields)));
    found
}

/// Reads datagrams of GELF from one sender; returns the line of each message, or the reason why there is none.
pub fn read_gelf(datagrams: &[&[u8]], message_bytes_max: usize) -> Vec<Result<String, &'static str>> {
    let mut chunks = Chunks::new(message_bytes_max);
    let mut found = Vec::new();
    for datagram in datagrams {
        let line = chunks.take(datagram, (), 0).and_then(|message| {
            let Some(message) = message else { return Ok(None) };
            let message = GelfMessage::parse(&unpack(&message, message_bytes_max)?)?;
            let (_, _) = (message.sent_ns(), message.level());
            Ok(Some(message.line().into_owned()))
        });
        found.extend(line.map_err(crate::gelf_message::GelfFault::as_str).transpose());
    }
    found
}

/// Reads lines in parts that are kept on disk, and writes them again; `None`: they are none.
///
/// Shape: what follows the checksum. What was written once is written the same again. Source: `schemas/forward-parts.md`,
/// version 1.
pub fn rewrite_forward_parts(body: &[u8]) -> Option<Vec<u8>> {
    let lines = decode_body(body)?;
    let lines: Vec<_> = lines.iter().map(|(key, line)| (key, line)).collect();
    Some(encode_body(&lines))
}

/// Reads what a sender of Fluent's forward protocol says before it is let in; returns its name, if it makes sense.
///
/// Shape: `message` is one whole value of MessagePack, as [`read_forward`] divides them.
pub fn read_forward_ping(message: &[u8]) -> Option<&[u8]> {
    Ping::parse(message).map(|ping| ping.host)
}

/// Tag and records, as JSON, of a message of Fluent's forward protocol.
pub type ForwardSummary = (String, Vec<String>);

/// Reads a connection of Fluent's forward protocol, in pieces as they came; returns the messages and why reading stopped
/// before the end.
///
/// Shape: the same however the bytes are divided. Packed entries unpack to `bytes_max` at most, and records are
/// written up to about it.
pub fn read_forward(pieces: &[&[u8]], bytes_max: usize) -> (Vec<ForwardSummary>, Option<String>) {
    let mut found = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    let mut ends = Ends::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let length = match ends.find(&held) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(fault) => return (found, Some(fault.to_string())),
            };
            ends = Ends::new();
            let message: Vec<u8> = held.drain(..length).collect();
            let mut records = Vec::new();
            let read = parse_forward(&message, bytes_max).and_then(|event| {
                let Some(event) = event else { return Ok(None) };
                event.each(bytes_max, &mut |record| records.push(record.json(bytes_max)))?;
                Ok(Some(event.tag.into_owned()))
            });
            match read {
                Ok(tag) => found.extend(tag.map(|tag| (tag, records))),
                Err(fault) => return (found, Some(fault.to_string())),
            }
        }
    }
    (found, None)
}
