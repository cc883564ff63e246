//! The shape of a line: what two lines of one kind have in common.
//!
//! Words with a digit in them are numbers, ids, addresses or times; each becomes `<_>`, runs of them one. So lines that
//! differ in these alone have one shape. Coarser than the store's patterns, and made of the lines at hand.

/// Most characters of a line that count.
const CHARS_MAX: usize = 400;

/// Returns the shape of a line.
pub(crate) fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut word = String::new();
    for c in line.chars().take(CHARS_MAX).chain([' ']) {
        if c.is_alphanumeric() || "-_.:+".contains(c) {
            word.push(c);
            continue;
        }
        push_word(&mut shape, &word);
        word.clear();
        let is_repeat = c.is_whitespace() && shape.ends_with(char::is_whitespace);
        if !is_repeat {
            shape.push(if c.is_whitespace() { ' ' } else { c });
        }
    }
    shape.truncate(shape.trim_end().len());
    shape
}

fn push_word(shape: &mut String, word: &str) {
    const VARYING: &str = "<_>";
    if !word.chars().any(|c| c.is_ascii_digit()) {
        shape.push_str(word);
    } else if !shape.trim_end().ends_with(VARYING) {
        shape.push_str(VARYING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_left_out() {
        let check = |line: &str, want: &str| assert_eq!(shape(line), want, "{line}");
        check("connection 17 to 10.0.0.7:443 lost", "connection <_> to <_> lost");
        check("2026-11-20 08:30:15 ERROR  disk full", "<_> ERROR disk full");
        check("level=error code=507 msg=\"no room\"", "level=error code=<_> msg=\"no room\"");
        check("id=4fa9 id=77", "id=<_> id=<_>");
        check("", "");
        assert!(shape(&"x ".repeat(10_000)).len() < 1000);
    }
}
