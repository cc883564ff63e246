//! Any text as a pattern in Go's dialect: refused, or it compiles and matches without surprises.
//!
//! The input is a pattern and a text, with a byte 0xff between.

use logyard_model::{compile_anchored, compile_anchored_dotall, compile_unanchored, translate};

/// Runs one input.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0xff);
    let Ok(pattern) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    // What stands between \Q and \E is text.
    if !text.contains('\\') && text.len() < 1000 {
        let literal = compile_anchored_dotall(&format!("\\Q{text}\\E"));
        assert!(literal.is_ok_and(|literal| literal.is_match(&text)), "{text:?} does not match itself");
    }
    let Ok(translated) = translate(pattern) else {
        assert!(compile_unanchored(pattern).is_err(), "{pattern:?}");
        return;
    };
    match (compile_anchored(pattern), compile_anchored_dotall(pattern), compile_unanchored(pattern)) {
        (Ok(whole), Ok(dotall), Ok(anywhere)) => {
            let is_whole = whole.is_match(&text);
            assert!(!is_whole || anywhere.is_match(&text), "{pattern:?} is {text:?} but not in it");
            let found = anywhere.find(&text).is_some_and(|found| found.len() == text.len());
            // Without assertions and lazy choices the leftmost match of the whole is a match of the whole.
            assert!(
                !found || is_whole || text.is_empty() || dotall.is_match(&text),
                "{pattern:?} on {text:?}"
            );
        }
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            // What translates may still be too large, and nothing else.
            assert!(
                error.to_string().contains("expression too large"),
                "{pattern:?} as {translated:?}: {error}"
            );
        }
    }
}
