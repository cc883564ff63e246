//! Go's dialect in tables.

use super::*;

/// Checks whether the unanchored pattern is found in each text.
fn check(pattern: &str, expect: &[(&str, bool)]) {
    let regex = compile_unanchored(pattern).unwrap();
    let bytes = regex::bytes::Regex::new(&translate(pattern).unwrap()).unwrap();
    for (text, found) in expect {
        assert_eq!(regex.is_match(text), *found, "{pattern} on {text:?}, as {regex}");
        assert_eq!(bytes.is_match(text.as_bytes()), *found, "{pattern} on bytes {text:?}");
    }
}

fn check_error(pattern: &str, text: &str) {
    let error = translate(pattern).unwrap_err().to_string();
    assert_eq!(error, format!("error parsing regexp: {text}"), "{pattern}");
}

#[test]
fn perl_classes_are_ascii() {
    check(r"^\d$", &[("5", true), ("٥", false)]);
    check(r"^\w+$", &[("aZ_9", true), ("é", false)]);
    check(r"^[\W]$", &[("é", true), ("a", false), ("\n", true)]);
    check(r"^\s$", &[(" ", true), ("\x0b", false), ("\u{a0}", false), ("\x0c", true)]);
    check(r"^\S\D$", &[("\x0bé", true), (" x", false)]);
    check(r"a\b", &[("aé", true), ("ab", false)]);
    check(r"a\B", &[("ab", true), ("a é", false)]);
}

#[test]
fn literals_of_the_other_dialect() {
    check(r"\Qa.b*\E+", &[("a.b*", true), ("a.b**", true), ("axb*", false)]);
    check(r"\Q\\E", &[("\\", true)]);
    check(r"\<a\>", &[("<a>", true), ("a", false)]);
    check(r"\b{start}", &[("a{start}", true), ("a", false)]);
    check("a{,5}|{|x{1", &[("a{,5}", true), ("aaa", false), ("{", true)]);
    check("^[a&&b]$", &[("&", true), ("a", true), ("b", true)]);
    check("^[a~~b]$", &[("~", true), ("a", true)]);
    check("^[[a]]$", &[("[]", true), ("a]", true), ("a", false)]);
    check("^[]a]$", &[("]", true), ("a", true)]);
    check("^[^]a]$", &[("]", false), ("b", true), ("\n", true)]);
    check(r"\_\-\/\#", &[("_-/#", true)]);
    check("# a ", &[("x# a ", true)]);
}

#[test]
fn escapes() {
    check(r"^\x{e9}\xe9\101\0$", &[("ééA\0", true)]);
    check(r"^[\x41-\x43\n]$", &[("B", true), ("\n", true), ("D", false)]);
    check(r"^[\a\f\t\v-]$", &[("-", true), ("\x0b", true), ("v", false)]);
    check(r"\x{D800}|b", &[("b", true), ("a", false)]);
    check(r"^[\x{D800}-\x{E000}]$", &[("\u{e000}", true), ("a", false)]);
}

#[test]
fn anchors_newlines_and_flags() {
    check("a.b", &[("a\nb", false), ("aéb", true)]);
    check("(?s)a.b", &[("a\nb", true)]);
    check("b$", &[("b\n", false), ("ab", true)]);
    check("(?m)b$", &[("b\nc", true)]);
    check(r"\Aa\z", &[("a", true), ("a\n", false)]);
    check("(?i)été", &[("ÉTÉ", true)]);
    check("(?i:a)B", &[("AB", true), ("Ab", false)]);
    check("(?i-s:a.)", &[("A\n", false), ("Ax", true)]);
    check("(?ii)a|b", &[("B", true)]);
    check("^a(?i)*$", &[("aaa", true), ("A", false)]);
    check(r"^a\Q\E{2}$", &[("aa", true)]);
    check("(?)a(?:)", &[("a", true)]);
    // A repetition behind flags is one of its own, not the mark of a lazy one.
    let twice = compile_unanchored(r"(?:ab)*(?i)?\Q\E*").unwrap();
    assert_eq!(twice.find("ababx").unwrap().as_str(), "abab");
    let ungreedy = compile_unanchored("(?U)a+").unwrap();
    assert_eq!(ungreedy.find("aaa").unwrap().as_str(), "a");
}

#[test]
fn unicode_and_posix_classes() {
    check(r"^\pL\p{Greek}\P{Lu}\p{^Lu}$", &[("éαaa", true), ("1αaa", false)]);
    check(r"^[\p{Nd}[:alpha:][:^word:]]$", &[("٥", true), ("a", true), ("-", true), ("_", false)]);
    check(r"^\p{Any}[[:space:]]$", &[("é\x0b", true)]);
    check("[[:foo]", &[("o", true), ("[", true), ("x", false)]);
}

#[test]
fn names_of_groups() {
    let regex = compile_unanchored("(?P<a>x)(?<b>y)(?P<1>z)(?P<a>w)").unwrap();
    let names: Vec<_> = regex.capture_names().collect();
    assert_eq!(names, [None, Some("a"), Some("b"), Some("_1"), None]);
}

#[test]
fn whole_matches() {
    assert!(compile_anchored("a|b").unwrap().is_match("b"));
    assert!(!compile_anchored("a|b").unwrap().is_match("ab"));
    assert!(!compile_anchored("a.b").unwrap().is_match("a\nb"));
    assert!(compile_anchored_dotall("a.b").unwrap().is_match("a\nb"));
    assert!(!compile_anchored_dotall("(?m)a$").unwrap().is_match("a\nb"));
}

#[test]
fn refused_with_gos_text() {
    check_error("(", "missing closing ): `(`");
    check_error("a(b|c", "missing closing ): `a(b|c`");
    check_error("a)", "unexpected ): `a)`");
    check_error("[", "missing closing ]: `[`");
    check_error("x[a-", "missing closing ]: `[a-`");
    check_error("[]", "missing closing ]: `[]`");
    check_error("*", "missing argument to repetition operator: `*`");
    check_error("a|*?", "missing argument to repetition operator: `*?`");
    check_error("({2})", "missing argument to repetition operator: `{2}`");
    check_error("a**", "invalid nested repetition operator: `**`");
    check_error("a++?", "invalid nested repetition operator: `++?`");
    check_error("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
    check_error("a{1001}", "invalid repeat count: `{1001}`");
    check_error("a{3,2}", "invalid repeat count: `{3,2}`");
    check_error("(a{50}){50}", "invalid repeat count: `{50}`");
    check_error("a{99999999999999999999999}", "invalid repeat count: `{99999999999999999999999}`");
    check_error("[b-a]", "invalid character class range: `b-a`");
    check_error("[a--b]", "invalid character class range: `a--`");
    check_error("[[:nope:]]", "invalid character class range: `[:nope:]`");
    check_error(r"\p{Foo}", r"invalid character class range: `\p{Foo}`");
    check_error(r"\p{greek}", r"invalid character class range: `\p{greek}`");
    check_error(r"\1", r"invalid escape sequence: `\1`");
    check_error(r"\h", r"invalid escape sequence: `\h`");
    check_error(r"\u1234", r"invalid escape sequence: `\u`");
    check_error(r"\C", r"invalid escape sequence: `\C`");
    check_error(r"\Z", r"invalid escape sequence: `\Z`");
    check_error(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    check_error(r"\é", r"invalid escape sequence: `\é`");
    check_error("a\\", "trailing backslash at end of expression: ``");
    check_error("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    check_error("(?R)a", "invalid or unsupported Perl syntax: `(?R`");
    check_error("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check_error("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`");
    check_error("(?P<a b>x)", "invalid named capture: `(?P<a b>`");
    check_error("(?P<a", "invalid named capture: `(?P<a`");
}

#[test]
fn hostile_patterns_end_quickly() {
    assert_eq!(translate(&"(".repeat(1001)).unwrap_err().reason, "expression nests too deeply");
    assert!(compile_unanchored(&format!("{}a{}", "(".repeat(1000), ")".repeat(1000))).is_ok());
    assert!(compile_unanchored(&"(?i)".repeat(30_000)).is_ok());
    assert_eq!(compile_unanchored(r"(\pL{30}){30}").unwrap_err().reason, "expression too large");
}
