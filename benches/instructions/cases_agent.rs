//! What an agent does with lines: containers' logs are taken apart, batches made.

use crate::cases::{Case, Work};
use crate::corpus::made;
use logyard_agent::inspect::{DockerLogForm, read_docker_log};
use logyard_codec::{Entries, decode_batch, encode_batch};
use logyard_model::LabelSet;
use std::hint::black_box;

/// Bytes of lines in a case.
const BYTES: usize = 256 << 10;
/// As much as an agent reads at once.
const PIECE_BYTES: usize = 64 << 10;
const LINE_BYTES_MAX: usize = 256 << 10;

pub(crate) const CASES: &[Case] = &[
    Case { name: "docker frames decode", prepare: docker_frames },
    Case { name: "docker json-file decode", prepare: docker_rows },
    Case { name: "batch encode", prepare: batch_encode },
    Case { name: "batch decode", prepare: batch_decode },
];

fn docker_frames() -> Work {
    let mut log = Vec::new();
    for line in made("text", BYTES).lines {
        let row = format!("2025-03-04T10:02:03.123456789Z {line}\n");
        log.extend_from_slice(&[1, 0, 0, 0]);
        log.extend_from_slice(&(row.len() as u32).to_be_bytes());
        log.extend_from_slice(row.as_bytes());
    }
    docker_log(DockerLogForm::Frames, log)
}

fn docker_rows() -> Work {
    let mut log = String::new();
    for line in made("json", BYTES).lines {
        let line = serde_json::to_string(&format!("{line}\n")).unwrap();
        log += &format!(
            "{{\"log\":{line},\"stream\":\"stdout\",\"time\":\"2025-03-04T10:02:03.123456789Z\"}}\n"
        );
    }
    docker_log(DockerLogForm::JsonFile, log.into_bytes())
}

fn docker_log(form: DockerLogForm, log: Vec<u8>) -> Work {
    Box::new(move || {
        let pieces: Vec<&[u8]> = log.chunks(PIECE_BYTES).collect();
        let read = read_docker_log(form, LINE_BYTES_MAX, &pieces);
        assert!(read.fault.is_none() && read.untimed == 0 && read.entries.len() > 500);
    })
}

/// Streams of about the same number of entries.
fn chunks() -> Vec<(LabelSet, Entries)> {
    let mut chunks: Vec<(LabelSet, Entries)> = (0..8)
        .map(|number| (LabelSet::from_pairs([("container", format!("c{number}"))]), Entries::new()))
        .collect();
    for (number, line) in made("text", BYTES).lines.iter().enumerate() {
        let entries = &mut chunks[number % 8].1;
        entries.push(number as i64 * 1_000_000, line.as_bytes(), "info", &LabelSet::default());
    }
    chunks
}

fn batch_encode() -> Work {
    let chunks = chunks();
    Box::new(move || {
        let borrowed: Vec<(&LabelSet, &Entries)> =
            chunks.iter().map(|(labels, entries)| (labels, entries)).collect();
        black_box(encode_batch(&borrowed));
    })
}

fn batch_decode() -> Work {
    let chunks = chunks();
    let borrowed: Vec<(&LabelSet, &Entries)> =
        chunks.iter().map(|(labels, entries)| (labels, entries)).collect();
    let encoded = encode_batch(&borrowed);
    Box::new(move || {
        assert_eq!(decode_batch(&encoded, 64 << 20).unwrap().chunks.len(), 8);
    })
}
