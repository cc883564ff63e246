//! Any bytes as a stream index: refused, or asked for everything within time and memory.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_index::StreamIndex;
use logyard_model::{MatchOp, Matcher};

fuzz_target!(
    // A panic inside of the search library is caught by `index` and is an error; any other still ends the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let Ok(index) = StreamIndex::open(Bytes::copy_from_slice(bytes)) else { return };
        let Ok(names) = index.names() else { return };
        for name in names.iter().take(8) {
            let Ok(values) = index.values(name) else { continue };
            for value in values.iter().take(8) {
                ask(&index, bytes, name, MatchOp::Equal, value);
            }
            ask(&index, bytes, name, MatchOp::NotEqual, "a");
            ask(&index, bytes, name, MatchOp::Regex, "[a-m].*");
            ask(&index, bytes, name, MatchOp::NotRegex, "a|b|");
        }
    }
);

fn ask(index: &StreamIndex, bytes: &[u8], name: &str, op: MatchOp, value: &str) {
    let matcher = Matcher::new(name, op, value).expect("a valid pattern");
    if let Ok(refs) = index.matching(&[matcher]) {
        assert!(refs.len() * 4 <= bytes.len(), "each stream has its ref in the bundle");
    }
}
