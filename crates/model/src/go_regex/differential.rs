//! Random patterns on random texts: the translation finds what Go's rules say.

use super::interpreter::{ALPHABET, Interpreter};
use super::*;

/// Numbers from a seed; good enough to choose.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const ATOMS: [&str; 38] = [
    "a", "b", "k", "K", "s", "ſ", "é", "É", "α", "0", "_", "-", " ", "\n", ".", ".", "^", "$", r"\A", r"\z",
    r"\b", r"\B", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\pL", r"\PL", r"\n", r"\v", r"\x61", r"\-",
    r"\{", "{", r"\Qa\E", r"\Q\n\E",
];
const ITEMS: [&str; 20] = [
    "a",
    "b",
    "k",
    "S",
    "é",
    "α",
    "0",
    "_",
    "-",
    " ",
    "a-k",
    "A-S",
    r"\d",
    r"\W",
    r"\s",
    r"\n",
    r"\]",
    "[:alpha:]",
    "[:^digit:]",
    "[",
];
const REPEATS: [&str; 12] =
    ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{1,2}?", "{,2}", "{0}"];
const OPENS: [&str; 11] =
    ["(", "(", "(?:", "(?i:", "(?s:", "(?m:", "(?U:", "(?i-s:", "(?P<x1>", "(?<1>", "(?mi-U:"];

fn class(dice: &mut Dice) -> String {
    let items: String = (0..1 + dice.below(3)).map(|_| dice.of(&ITEMS)).collect();
    format!("[{}{items}]", dice.of(&["", "", "^"]))
}

fn pattern(dice: &mut Dice, depth: usize) -> String {
    let mut out = String::new();
    for _ in 0..1 + dice.below(4) {
        let atom = match dice.below(if depth == 0 { 7 } else { 10 }) {
            0..5 => dice.of(&ATOMS).to_owned(),
            5 => class(dice),
            6 => dice.of(&["|", "|", "(?i)", "(?s)", "(?m)", "(?U)", "(?-i)"]).to_owned(),
            _ => format!("{}{})", dice.of(&OPENS), pattern(dice, depth - 1)),
        };
        out.push_str(&atom);
        if dice.below(3) == 0 {
            out.push_str(dice.of(&REPEATS));
        }
    }
    out
}

#[test]
fn finds_what_go_finds() {
    let mut dice = Dice(11);
    let (mut found, mut refused) = (0, 0);
    for _ in 0..5_000 {
        let pattern = pattern(&mut dice, 3);
        let regex = compile_unanchored(&pattern);
        let interpreter = Interpreter::new(&pattern);
        let (Ok(regex), Some(interpreter)) = (&regex, &interpreter) else {
            assert_eq!(regex.is_ok(), interpreter.is_some(), "{pattern:?}: {regex:?}");
            refused += 1;
            continue;
        };
        for _ in 0..3 {
            let text: String = (0..dice.below(9)).map(|_| ALPHABET[dice.below(ALPHABET.len())]).collect();
            let Some(expect) = interpreter.find(&text) else { continue };
            let got = regex.find(&text).map(|found| (found.start(), found.end()));
            assert_eq!(got, expect, "{pattern:?} on {text:?}, as {regex}");
            found += usize::from(expect.is_some());
        }
    }
    assert!(found > 2_000 && refused > 200, "{found} found, {refused} refused");
}
