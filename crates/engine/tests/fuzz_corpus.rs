//! Replays the corpora of the fuzz targets `pipeline` and `template`, so that what was once found stays
//! found; and lines of 1 MiB, for which a fuzzer is too slow.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../../../fuzz/src/check_pipeline.rs"]
mod check_pipeline;
#[path = "../../../fuzz/src/check_template.rs"]
mod check_template;
#[path = "../../../fuzz/src/one_stream.rs"]
mod one_stream;

use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let read = |item: std::io::Result<std::fs::DirEntry>| std::fs::read(item.unwrap().path()).unwrap();
    let inputs: Vec<Vec<u8>> = std::fs::read_dir(folder).unwrap().map(read).collect();
    assert!(inputs.len() >= 10, "{} inputs for {target}", inputs.len());
    inputs
}

#[test]
fn pipelines_lose_nothing() {
    for input in corpus("pipeline") {
        check_pipeline::check(&input, 1 << 10);
    }
}

#[test]
fn long_lines_pass() {
    // Parsers get a whole line of 1 MiB, the rest enough of it to leave every small buffer.
    let parsers = ["| json", "| logfmt", "| unpack", "| pattern `[<a>] <b>`", "| decolorize"];
    for (choice, pipeline) in check_pipeline::PIPELINES.iter().enumerate() {
        let line_bytes = if parsers.contains(pipeline) { 1 << 20 } else { 1 << 15 };
        for unit in [&b"{\"a\":"[..], b"a=b \x00\x80"] {
            let input = [&[u8::try_from(choice).unwrap(), 0xff, 0xfe], unit].concat();
            check_pipeline::check(&input, line_bytes);
        }
    }
}

#[test]
fn templates_are_refused_or_answer() {
    for input in corpus("template") {
        check_template::check(&input);
    }
}
