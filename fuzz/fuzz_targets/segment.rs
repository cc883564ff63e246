//! Any bytes as a segment file, as they are and with their checksums put right: refused, or whole with tables,
//! runs and blocks that agree.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_fuzz::mend_segment;
use logyard_store::inspect::check_segment;

fuzz_target!(
    // A panic inside of the search library is caught by `index` and is an error; any other still ends the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        check(bytes.to_vec());
        let mut mended = bytes.to_vec();
        mend_segment(&mut mended);
        check(mended);
    }
);

fn check(file: Vec<u8>) {
    let Ok(summary) = check_segment(&Bytes::from(file)) else { return };
    assert!(summary.blocks <= summary.entries && summary.min_ns <= summary.max_ns || summary.entries == 0);
}
