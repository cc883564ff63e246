//! Any lines as the log driver `local` keeps them: they come back as they were, however the bytes are divided.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::{DockerLogForm, read_docker_log, write_docker_local};

const LINE_BYTES_MAX: usize = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    // Of each line the first byte says its output, and how often the others come.
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| {
        let (head, rest) = line.split_first().unwrap_or((&0, &[]));
        let times = (usize::from(head >> 1) << 8).min(LINE_BYTES_MAX / rest.len().max(1)).max(1);
        (head % 2 == 1, rest.repeat(times))
    });
    let lines: Vec<(bool, Vec<u8>)> = lines.collect();
    let stamped: Vec<(bool, i64, &[u8])> =
        (1..).zip(&lines).map(|(ts_ns, (is_stderr, line))| (*is_stderr, ts_ns, &line[..])).collect();
    let log = write_docker_local(&stamped);
    let whole = read_docker_log(DockerLogForm::Frames, LINE_BYTES_MAX, &[&log]);
    let piece_bytes = bytes.last().map_or(1, |last| 97 * usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = log.chunks(piece_bytes).collect();
    assert_eq!(whole, read_docker_log(DockerLogForm::Frames, LINE_BYTES_MAX, &pieces));
    assert!(whole.fault.is_none() && !whole.is_cut && whole.untimed == 0);
    let mut found = whole.entries;
    // Lines of the two outputs are each in order.
    found.sort_by_key(|entry| entry.ts_ns);
    assert_eq!(found.len(), stamped.len());
    for (entry, (is_stderr, ts_ns, line)) in found.iter().zip(stamped) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!((entry.is_stderr, entry.ts_ns, &entry.line[..]) == (is_stderr, ts_ns, line));
    }
});
