//! Any bytes as the framed log of a container: the same lines however the bytes are divided, none beyond the
//! limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::{DockerLogForm, read_docker_log};

const LINE_BYTES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    // The last byte says how long the pieces are, too.
    let piece_bytes = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
    for form in [DockerLogForm::Frames, DockerLogForm::PodmanFrames] {
        let whole = read_docker_log(form, LINE_BYTES_MAX, &[bytes]);
        assert_eq!(whole, read_docker_log(form, LINE_BYTES_MAX, &pieces));
        assert!(whole.entries.iter().all(|entry| entry.line.len() <= LINE_BYTES_MAX));
    }
});
