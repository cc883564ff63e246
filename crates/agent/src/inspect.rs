//! Reads one thing of the agent's world by itself, without an agent: a record of the spool, the saved log of a
//! container.
//!
//! The bytes may be anything: they are answered or refused, nothing panics, and memory stays in proportion to
//! them. The fuzz targets `spool_record`, `docker_frames`, `docker_local`, `docker_tty` and `docker_rows` are these functions, and more of
//! them are for what is received.

mod received;

pub use received::{
    ForwardSummary, JournalFields, SyslogSummary, read_forward, read_forward_ping, read_gelf,
    read_journal_export, read_syslog, rewrite_forward_parts,
};

use crate::error::Error;
use crate::log_decoder::{LogDecoder, LogForm};
use crate::log_entry::LogEntry;
use crate::log_join::{JoinRule, PART_BYTES};
use crate::spool_record::{self, Record};

/// What a record of the spool says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolRecordSummary {
    /// A sealed batch.
    Batch {
        /// Epoch of its id.
        epoch: u64,
        /// Sequence of its id.
        sequence: u64,
        /// Number of entries, as the record says.
        entries: u32,
        /// Targets whose position it moves, by key.
        targets: Vec<String>,
        /// Bytes of the batch, encoded.
        batch_bytes: usize,
    },
    /// Batches are acknowledged.
    Ack {
        /// Up to this record of the log.
        record: u64,
    },
    /// Batches are acknowledged by one of several destinations.
    DestinationAck {
        /// Its name.
        destination: String,
        /// Up to this record of the log.
        record: u64,
    },
    /// Everything that earlier records say.
    Checkpoint {
        /// Epoch of new batches.
        epoch: u64,
        /// Sequence of the next batch.
        next_sequence: u64,
        /// Record of the log up to which batches are acknowledged.
        acked_record: u64,
        /// Targets with a position, by key.
        targets: Vec<String>,
    },
}

/// Checks a record of the spool; not the batch in it, which is for [`logyard_codec::decode_batch`].
///
/// Errors: [`Error::Record`]. Cost: copies positions, not the batch.
/// Source: `schemas/spool.md`, version 1.
///
/// ```
/// use logyard_agent::inspect::{SpoolRecordSummary, check_spool_record};
/// let record = check_spool_record(&[1, 2, 7, 0, 0, 0, 0, 0, 0, 0])?;
/// assert_eq!(record, SpoolRecordSummary::Ack { record: 7 });
/// # Ok::<(), logyard_agent::Error>(())
/// ```
pub fn check_spool_record(payload: &[u8]) -> Result<SpoolRecordSummary, Error> {
    Ok(match spool_record::decode(payload)? {
        Record::Batch { epoch, sequence, entries, positions, encoded } => SpoolRecordSummary::Batch {
            epoch,
            sequence,
            entries,
            targets: positions.into_keys().collect(),
            batch_bytes: encoded.len(),
        },
        Record::Ack { record } => SpoolRecordSummary::Ack { record },
        Record::DestinationAck { destination, record } => {
            SpoolRecordSummary::DestinationAck { destination, record }
        }
        Record::Checkpoint { epoch, next_sequence, acked_record, positions } => {
            let targets = positions.into_keys().collect();
            SpoolRecordSummary::Checkpoint { epoch, next_sequence, acked_record, targets }
        }
    })
}

/// In which form a container's log comes from its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerLogForm {
    /// Frames of both outputs, as Docker writes them.
    Frames,
    /// Frames of both outputs, as Podman writes them.
    PodmanFrames,
    /// Raw text of a container with a terminal.
    Tty,
    /// Raw text of a container with a terminal, kept by the log driver `local`.
    TtyLocal,
    /// The file of the log driver `json-file`.
    JsonFile,
}

/// One line of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerLogEntry {
    /// Whether it came from the standard error.
    pub is_stderr: bool,
    /// When the engine read it.
    pub ts_ns: i64,
    /// Without its end of line, cut at the limit.
    pub line: Vec<u8>,
    /// Bytes that were cut off.
    pub cut_bytes: usize,
}

/// What a container's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerLog {
    /// The lines, in the order of the log.
    pub entries: Vec<DockerLogEntry>,
    /// Parts that bore no timestamp, and were rejected.
    pub untimed: u64,
    /// Why reading stopped before the end: bytes that are no frame, or an error of the engine.
    pub fault: Option<String>,
    /// Whether the bytes end inside a frame.
    pub is_cut: bool,
}

/// Reads what an engine answered to `GET /containers/<id>/logs?timestamps=1`, in pieces as they came.
///
/// Shape: the same log however the bytes are divided into pieces. Lines longer than `line_bytes_max` are cut.
/// Errors: none; what was read before a fault stays.
///
/// ```
/// use logyard_agent::inspect::{DockerLogForm, read_docker_log};
/// let log = read_docker_log(DockerLogForm::Tty, 1024, &[b"1970-01-01T00:00:00Z he", b"llo\r\n"]);
/// assert_eq!(log.entries[0].line, b"hello");
/// ```
pub fn read_docker_log(form: DockerLogForm, line_bytes_max: usize, pieces: &[&[u8]]) -> DockerLog {
    let form = match form {
        DockerLogForm::Frames => LogForm::Frames(JoinRule::Docker),
        DockerLogForm::PodmanFrames => LogForm::Frames(JoinRule::Podman),
        DockerLogForm::Tty => LogForm::Tty { local: false },
        DockerLogForm::TtyLocal => LogForm::Tty { local: true },
        DockerLogForm::JsonFile => LogForm::JsonFile,
    };
    let mut decoder = LogDecoder::new(form, line_bytes_max);
    let mut entries = Vec::new();
    let mut keep = |entry: LogEntry<'_>| {
        entries.push(DockerLogEntry {
            is_stderr: entry.output.index() == 1,
            ts_ns: entry.ts_ns,
            line: entry.line.to_vec(),
            cut_bytes: entry.cut_bytes,
        });
    };
    let fault = pieces.iter().find_map(|piece| decoder.feed(piece, &mut keep).err());
    decoder.finish(&mut keep);
    DockerLog {
        entries,
        untimed: decoder.take_untimed(),
        is_cut: fault.is_none() && decoder.is_inside_frame(),
        fault: fault.map(|fault| fault.to_string()),
    }
}

/// Writes lines as the log driver `local` shows them without a terminal: output, time in ns, line.
///
/// Shape: frames of [`DockerLogForm::Frames`]; a line of 16 KiB and more comes in parts of 16 KiB under one time, the last
/// of which is shorter, may be empty and has no newline. Lines have none either.
pub fn write_docker_local(lines: &[(bool, i64, &[u8])]) -> Vec<u8> {
    let mut log = Vec::new();
    for (is_stderr, ts_ns, line) in lines {
        let mut frame = |parts: [&[u8]; 2]| {
            let stamp = jiff::Timestamp::from_nanosecond(i128::from(*ts_ns)).unwrap_or_default();
            let text = [stamp.to_string().as_bytes(), b" ", parts[0], parts[1]].concat();
            log.extend_from_slice(&[if *is_stderr { 2 } else { 1 }, 0, 0, 0]);
            // A part has 16 KiB at most.
            log.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
            log.extend_from_slice(&text);
        };
        let whole = line.chunks_exact(PART_BYTES);
        let rest = whole.remainder();
        let end: &[u8] = if line.len() < PART_BYTES { b"\n" } else { b"" };
        whole.for_each(|part| frame([part, b""]));
        frame([rest, end]);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::{Disk, RealDisk};
    use std::path::Path;

    /// Hands over name and bytes of each sample of a fuzz target.
    fn replay(target: &str, mut visit: impl FnMut(&str, &[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let items = RealDisk.list(&corpus).unwrap();
        assert!(!items.is_empty());
        items.iter().for_each(|item| visit(&item.name, &RealDisk.read(&corpus.join(&item.name)).unwrap()));
    }

    #[test]
    fn the_corpus_of_spool_records_is_read_or_refused() {
        let mut read = Vec::new();
        replay("spool_record", |name, bytes| {
            if check_spool_record(bytes).is_ok() {
                let record = spool_record::decode(bytes).unwrap();
                let again = spool_record::encode(&record);
                assert_eq!(spool_record::decode(&again).unwrap(), record, "{name}");
                read.push(name.to_owned());
            }
        });
        for name in ["version_1_ack", "version_1_batch", "version_1_checkpoint"] {
            assert!(read.iter().any(|other| other == name), "{name} in {read:?}");
        }
    }

    /// Reads a sample whole, and cut in two at many places.
    fn check_log(form: DockerLogForm, name: &str, bytes: &[u8]) -> DockerLog {
        let whole = read_docker_log(form, 1 << 10, &[bytes]);
        for at in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
            let (front, back) = bytes.split_at(at);
            assert_eq!(read_docker_log(form, 1 << 10, &[front, back]), whole, "{name} divided at {at}");
        }
        whole
    }

    #[test]
    fn the_corpora_of_docker_logs_are_read_or_refused() {
        let mut lines = 0;
        replay("docker_frames", |name, bytes| {
            for form in [DockerLogForm::Frames, DockerLogForm::PodmanFrames] {
                lines += check_log(form, name, bytes).entries.len();
            }
        });
        replay("docker_tty", |name, bytes| {
            for form in [DockerLogForm::Tty, DockerLogForm::TtyLocal] {
                lines += check_log(form, name, bytes).entries.len();
            }
        });
        replay("docker_rows", |name, bytes| {
            lines += check_log(DockerLogForm::JsonFile, name, bytes).entries.len();
        });
        assert!(lines > 10, "{lines} lines");
    }

    /// Divides bytes in two, at many places.
    fn divided(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
        (0..bytes.len()).step_by(bytes.len() / 64 + 1).map(|at| bytes.split_at(at).into())
    }

    #[test]
    fn the_corpora_of_what_is_received_are_read_or_refused() {
        let mut found = 0;
        replay("syslog", |name, bytes| {
            let whole = read_syslog(&[bytes], 100);
            divided(bytes).for_each(|pieces| assert_eq!(read_syslog(&pieces, 100), whole, "{name}"));
            found += whole.0.len();
        });
        replay("journal_export", |name, bytes| {
            let whole = read_journal_export(&[bytes], 100);
            divided(bytes).for_each(|pieces| assert_eq!(read_journal_export(&pieces, 100), whole, "{name}"));
            found += whole.len();
        });
        replay("forward", |name, bytes| {
            let whole = read_forward(&[bytes], 1 << 10);
            found += usize::from(read_forward_ping(bytes).is_some());
            divided(bytes).for_each(|pieces| assert_eq!(read_forward(&pieces, 1 << 10), whole, "{name}"));
            found += whole.0.len();
        });
        replay("gelf", |_, bytes| {
            let datagrams: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
            found += read_gelf(&[bytes], 1 << 10).len() + read_gelf(&datagrams, 1 << 10).len();
        });
        replay("promtail_positions", |_, bytes| {
            found += usize::from(crate::ImportedPositions::parse_promtail(bytes, &[]).is_ok());
        });
        assert!(found > 15, "{found} read");
    }

    #[test]
    fn lines_of_the_local_driver_come_back() {
        let check = |lines: &[(bool, Vec<u8>)]| {
            let stamped: Vec<(bool, i64, &[u8])> =
                (1..).zip(lines).map(|(ts_ns, (is_stderr, line))| (*is_stderr, ts_ns, &line[..])).collect();
            let log = write_docker_local(&stamped);
            let whole = read_docker_log(DockerLogForm::Frames, 64 << 10, &[&log]);
            let pieces: Vec<&[u8]> = log.chunks(997).collect();
            assert_eq!(whole, read_docker_log(DockerLogForm::Frames, 64 << 10, &pieces));
            let mut found = whole.entries;
            found.sort_by_key(|entry| entry.ts_ns);
            let found = found.into_iter().map(|entry| (entry.is_stderr, entry.line));
            let want = lines
                .iter()
                .map(|(is_stderr, line)| (*is_stderr, line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
            assert!(found.eq(want));
        };
        for (number, bytes) in [0, 1, 16_383, 16_384, 16_385, 32_768, 50_000].into_iter().enumerate() {
            let long = vec![b'x'; bytes];
            let carried = [&long[..], b"\r"].concat();
            let is_stderr = number % 2 == 1;
            check(&[
                (is_stderr, long.clone()),
                (!is_stderr, long),
                (is_stderr, b"next".to_vec()),
                (true, carried),
            ]);
        }
        replay("docker_local", |_, bytes| {
            let line = |line: &[u8]| {
                let (head, rest) = line.split_first().unwrap_or((&0, &[]));
                (head % 2 == 1, rest.repeat((usize::from(head >> 1) << 8).clamp(1, 20_000)))
            };
            check(&bytes.split(|byte| *byte == b'\n').map(line).collect::<Vec<_>>());
        });
    }

    #[test]
    fn the_corpus_of_parts_of_lines_is_read_or_refused() {
        let mut read = Vec::new();
        replay("forward_parts", |name, bytes| match rewrite_forward_parts(bytes) {
            Some(again) => {
                assert_eq!(again, bytes);
                read.push(name.to_owned());
            }
            None => assert!(name.ends_with("_cut")),
        });
        assert_eq!(read, ["version_1"]);
    }

    #[test]
    fn faults_keep_what_was_read() {
        let frame = b"\x01\0\0\0\0\0\0\x171970-01-01T00:00:01Z ok\n";
        let log = read_docker_log(DockerLogForm::Frames, 10, &[frame, b"no frame at all"]);
        assert_eq!(log.entries.len(), 1);
        assert!(log.fault.unwrap().contains("no frames"));
        let log = read_docker_log(DockerLogForm::Frames, 10, &[frame, b"\x01\0"]);
        assert!(log.is_cut && log.fault.is_none());
    }
}
