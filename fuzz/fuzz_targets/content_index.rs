//! Any bytes as the ids of blocks, or as the dictionary beside them: refused, or asked within time and memory.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_index::{ContentIndex, ContentIndexBuilder};
use logyard_model::Prefilter;

fuzz_target!(
    // A panic inside of the search library is caught by `index` and is an error; any other still ends the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let Some((kind, section)) = bytes.split_first() else { return };
        let section = Bytes::copy_from_slice(section);
        if kind % 2 == 0 {
            let blocks = usize::from(*kind) / 2;
            let Ok((index, _)) = ContentIndex::open(None, section, blocks) else { return };
            ask(&index);
        } else {
            let mut builder = ContentIndexBuilder::new(false).expect("no dictionary to begin");
            builder.add_block(b"alpha 0123456789abcdef\n").expect("one block");
            let ids = builder.finish().expect("two tokens").ids;
            let (index, _) = ContentIndex::open(Some(&section), ids.into(), 1).expect("good ids");
            ask(&index);
        }
    }
);

fn ask(index: &ContentIndex) {
    for literal in ["alpha", " alpha ", "lph", "0123456789abcdef", "=12345678 ", "x9"] {
        let prefilter = Prefilter { literals: vec![literal.into()], any_of: Vec::new() };
        if let Ok(blocks) = index.candidates(&prefilter) {
            assert!(blocks.count() <= 128, "no more than there are");
        }
    }
}
