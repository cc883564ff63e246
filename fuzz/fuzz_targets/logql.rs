//! Any text as LogQL: refused, or a tree whose canonical text parses back to an equal tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_logql::{parse, pretty};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse(text) {
        Ok(tree) => {
            let printed = tree.to_string();
            let again =
                parse(&printed).unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}: {error}"));
            assert_eq!(again.to_string(), printed, "{text:?}");
            let lines = pretty(&tree);
            let again_pretty =
                parse(&lines).unwrap_or_else(|error| panic!("{text:?} is laid out as {lines:?}: {error}"));
            assert_eq!(again_pretty.to_string(), printed, "{text:?} is laid out as {lines:?}");
            assert_eq!(pretty(&again), lines, "{text:?}");
            // A tree with NaN in it equals nothing, not even itself.
            if parse(text).as_ref() == Ok(&tree) {
                assert_eq!(again, tree, "{text:?} prints as {printed:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
