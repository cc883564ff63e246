//! Any bytes as the file of the log driver `json-file`: the same lines however the bytes are divided, none beyond the
//! limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::{DockerLogForm, read_docker_log};

const LINE_BYTES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    // The last byte says how long the pieces are, too.
    let piece_bytes = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
    for line_bytes_max in [LINE_BYTES_MAX, 64 << 10] {
        let whole = read_docker_log(DockerLogForm::JsonFile, line_bytes_max, &[bytes]);
        assert_eq!(whole, read_docker_log(DockerLogForm::JsonFile, line_bytes_max, &pieces));
        assert!(whole.entries.iter().all(|entry| entry.line.len() <= line_bytes_max));
        assert!(whole.fault.is_none(), "a bad row spoils no other");
    }
});
