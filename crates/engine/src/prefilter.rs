//! Literals that every wanted line holds, for the store to skip blocks by, and to look for first in those left.
//!
//! A regular expression is walked as its parse tree. Each part tells the texts that it can match, if
//! those are few (`colou?r`, `[Ee]rror`, the first letters of `(?i)error`), and groups of literals of
//! which each match holds one. Anything else tells nothing, which is always right.
//!
//! The store knows words by their letters as they are. Lines are searched in either case, too, where `(?i)error`
//! is one text; but two letters have a third form outside ASCII.

use logyard_codec::LetterCase;
use logyard_logql::{LineFilter, LineFilterArg, LineFilterOp, PatternPart, pattern_parts};
use logyard_model::{Prefilter, translate};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Literals of which a line holds at least one.
type Group = Vec<Vec<u8>>;

/// Most texts of a part that are told apart: 2^5 for five letters in either case.
const TEXTS_MAX: usize = 32;

/// Most members of a class that are told apart: a letter in all its cases has three.
const CLASS_MAX: usize = 4;

/// Most literals of a group.
const GROUP_MAX: usize = 64;

/// Most texts that are looked for at once.
const SOUGHT_MAX: usize = 256;

/// Deepest nesting that is walked; deeper parts tell nothing.
const DEPTH_MAX: usize = 200;

/// The third forms of `s` and `k`.
pub(crate) const LONG_FORMS: [&str; 2] = ["\u{17f}", "\u{212a}"];

/// Adds what a line must hold to pass the filter; negated filters ask for nothing.
pub(crate) fn require(filter: &LineFilter, prefilter: &mut Prefilter) {
    if filter.op.is_negated() {
        return;
    }
    let mut of_args = filter.args.iter().map(|arg| groups_of(filter.op, arg));
    let groups = match &*filter.args {
        [_] => of_args.next().unwrap_or_default(),
        // Each alternative asks for one group at least, or the filter asks for nothing.
        _ => union(of_args.map(best)).into_iter().collect(),
    };
    for mut group in groups {
        group.sort_unstable();
        group.dedup();
        if group.len() > 1 {
            if !prefilter.any_of.contains(&group) {
                prefilter.any_of.push(group);
            }
        } else if let Some(literal) = group.pop()
            && !prefilter.literals.contains(&literal)
        {
            prefilter.literals.push(literal);
        }
    }
}

fn groups_of(op: LineFilterOp, arg: &LineFilterArg) -> Vec<Group> {
    let LineFilterArg::Text(text) = arg else { return Vec::new() };
    let literals: Vec<Vec<u8>> = match op {
        LineFilterOp::Contains => vec![text.as_bytes().to_vec()],
        LineFilterOp::Pattern => pattern_literals(&pattern_parts(text).unwrap_or_default()),
        LineFilterOp::Regex => return regex_groups(text),
        LineFilterOp::NotContains | LineFilterOp::NotRegex | LineFilterOp::NotPattern => Vec::new(),
    };
    literals.into_iter().filter(|literal| !literal.is_empty()).map(|literal| vec![literal]).collect()
}

/// Returns the literals of a pattern.
fn pattern_literals(parts: &[PatternPart]) -> Vec<Vec<u8>> {
    let literals = parts.iter().filter_map(|part| match part {
        PatternPart::Literal(literal) => Some(literal.clone().into_bytes()),
        PatternPart::Capture(_) | PatternPart::Wildcard => None,
    });
    literals.collect()
}

/// Returns groups of literals; every line in which the pattern is found holds one of each.
pub(crate) fn regex_groups(pattern: &str) -> Vec<Group> {
    let Some(hir) = parsed(pattern) else { return Vec::new() };
    match Walk::new(LetterCase::Told).part_of(&hir, 0) {
        Part { texts: Some(texts), .. } => usable(texts).into_iter().collect(),
        Part { groups, .. } => groups,
    }
}

fn parsed(pattern: &str) -> Option<Hir> {
    regex_syntax::parse(&translate(pattern).ok()?).ok()
}

/// Texts to look for in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sought {
    /// None of them is empty. Every line that is wanted holds one, or one of [`LONG_FORMS`] if that counts.
    pub(crate) texts: Group,
    pub(crate) case: LetterCase,
    /// Whether every line that holds one of the texts is wanted.
    pub(crate) is_answer: bool,
    /// Whether lines with one of [`LONG_FORMS`] may be wanted, too.
    pub(crate) may_be_long: bool,
}

impl Sought {
    /// Returns what to look for so that a regular expression is found; `None` if nothing is known of that.
    pub(crate) fn of_regex(pattern: &str) -> Option<Self> {
        let hir = parsed(pattern)?;
        let case = if folds(&hir, 0) { LetterCase::Folded } else { LetterCase::Told };
        let mut walk = Walk::new(case);
        let part = walk.part_of(&hir, 0);
        let is_answer = part.texts.is_some() && walk.is_plain;
        let may_be_long = walk.has_long_forms;
        Some(Self { texts: best(part.into_groups())?, case, is_answer, may_be_long })
    }

    /// Returns what to look for so that a pattern of literals and wildcards is found.
    pub(crate) fn of_pattern(parts: &[PatternPart]) -> Option<Self> {
        Self::of_text(&pattern_literals(parts).into_iter().max_by_key(Vec::len)?, false)
    }

    /// Returns a text to look for.
    pub(crate) fn of_text(text: &[u8], is_answer: bool) -> Option<Self> {
        let texts = vec![text.to_vec()];
        (!text.is_empty()).then_some(Self { texts, case: LetterCase::Told, is_answer, may_be_long: false })
    }

    /// Returns what to look for so that one of two is found.
    pub(crate) fn or(mut self, mut other: Self) -> Option<Self> {
        if self.case != other.case {
            // The letters of one of them count as they are.
            for one in [&mut self, &mut other] {
                let has_letters = one.texts.iter().flatten().any(u8::is_ascii_alphabetic);
                one.is_answer &= one.case == LetterCase::Folded || !has_letters;
                one.case = LetterCase::Folded;
            }
        }
        self.texts.append(&mut other.texts);
        self.is_answer &= other.is_answer;
        self.may_be_long |= other.may_be_long;
        (self.texts.len() <= SOUGHT_MAX).then_some(self)
    }
}

/// What is known of a part of a pattern.
#[derive(Default)]
struct Part {
    /// All texts that it can match, if they are few.
    texts: Option<Group>,
    /// Asked for by every match, unless `texts` says it all.
    groups: Vec<Group>,
}

impl Part {
    fn exact(texts: Group) -> Self {
        Self { texts: Some(texts), groups: Vec::new() }
    }

    /// Returns what every match asks for, texts included.
    fn into_groups(self) -> Vec<Group> {
        match self.texts {
            Some(texts) => usable(texts).into_iter().collect(),
            None => self.groups,
        }
    }
}

/// What a walk over a parse tree goes by, and what it met.
struct Walk {
    case: LetterCase,
    /// Whether it met nothing but texts: no place to be at, and where cases are the same no letter of one case.
    is_plain: bool,
    /// Whether it met a letter that may be one of [`LONG_FORMS`], but is looked for as the letter.
    has_long_forms: bool,
}

impl Walk {
    fn new(case: LetterCase) -> Self {
        Self { case, is_plain: true, has_long_forms: false }
    }

    fn part_of(&mut self, hir: &Hir, depth: usize) -> Part {
        if depth > DEPTH_MAX {
            return Part::default();
        }
        match hir.kind() {
            HirKind::Empty => Part::exact(vec![Vec::new()]),
            HirKind::Look(_) => {
                self.is_plain = false;
                Part::exact(vec![Vec::new()])
            }
            HirKind::Literal(literal) => Part::exact(vec![self.as_sought(literal.0.to_vec())]),
            HirKind::Class(class) => Part { texts: self.class_texts(class), groups: Vec::new() },
            HirKind::Capture(capture) => self.part_of(&capture.sub, depth + 1),
            HirKind::Repetition(repetition) => {
                let sub = self.part_of(&repetition.sub, depth + 1);
                match (repetition.min, repetition.max) {
                    (0, Some(1)) => {
                        let texts = sub.texts.filter(|texts| texts.len() < TEXTS_MAX);
                        let with_none = |mut texts: Group| {
                            texts.push(Vec::new());
                            texts
                        };
                        Part { texts: texts.map(with_none), groups: Vec::new() }
                    }
                    (0, _) => Part::default(),
                    (1, Some(1)) => sub,
                    _ => Part { texts: None, groups: sub.into_groups() },
                }
            }
            HirKind::Concat(parts) => self.concat(parts, depth),
            HirKind::Alternation(branches) => {
                let branches: Vec<Part> =
                    branches.iter().map(|branch| self.part_of(branch, depth + 1)).collect();
                let count: usize =
                    branches.iter().map(|branch| branch.texts.as_ref().map_or(0, Vec::len)).sum();
                if count <= GROUP_MAX && branches.iter().all(|branch| branch.texts.is_some()) {
                    return Part::exact(
                        branches.into_iter().filter_map(|branch| branch.texts).flatten().collect(),
                    );
                }
                let group = union(branches.into_iter().map(|branch| best(branch.into_groups())));
                Part { texts: None, groups: group.into_iter().collect() }
            }
        }
    }

    /// Joins the texts of neighbours as long as they are few.
    fn concat(&mut self, parts: &[Hir], depth: usize) -> Part {
        let (mut texts, mut groups, mut is_exact) = (vec![Vec::new()], Vec::new(), true);
        for part in parts {
            let part = self.part_of(part, depth + 1);
            let Some(next) = part.texts else {
                is_exact = false;
                groups.extend(usable(std::mem::replace(&mut texts, vec![Vec::new()])));
                groups.extend(part.groups);
                continue;
            };
            if texts.len() * next.len() <= TEXTS_MAX {
                texts = texts
                    .iter()
                    .flat_map(|text: &Vec<u8>| next.iter().map(move |next| [&**text, next].concat()))
                    .collect();
            } else {
                is_exact = false;
                groups.extend(usable(std::mem::replace(&mut texts, next)));
            }
        }
        if is_exact {
            return Part::exact(texts);
        }
        groups.extend(usable(texts));
        Part { texts: None, groups }
    }

    /// Returns the texts of a class with few members.
    fn class_texts(&mut self, class: &Class) -> Option<Group> {
        let members = members(class)?;
        if let (Some((letter, has_long_form)), LetterCase::Folded) =
            (letter_in_both_cases(&members), self.case)
        {
            self.has_long_forms |= has_long_form;
            return Some(vec![vec![letter]]);
        }
        Some(members.into_iter().map(|member| self.as_sought(member)).collect())
    }

    /// Returns a text as it is looked for.
    fn as_sought(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        if self.case == LetterCase::Folded {
            self.is_plain &= !text.iter().any(u8::is_ascii_alphabetic);
            text.make_ascii_lowercase();
        }
        text
    }
}

/// Returns the members of a class, if they are few.
fn members(class: &Class) -> Option<Group> {
    let mut texts = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.iter() {
                for member in range.start()..=range.end() {
                    texts.push(member.to_string().into_bytes());
                    if texts.len() > CLASS_MAX {
                        return None;
                    }
                }
            }
        }
        Class::Bytes(class) => {
            for range in class.iter() {
                for member in range.start()..=range.end() {
                    texts.push(vec![member]);
                    if texts.len() > CLASS_MAX {
                        return None;
                    }
                }
            }
        }
    }
    // A class without members matches nothing, so nothing can be said about its matches.
    (!texts.is_empty()).then_some(texts)
}

/// Returns the letter whose two cases are the members, in lower case, and whether its third form is one, too.
fn letter_in_both_cases(members: &Group) -> Option<(u8, bool)> {
    let (upper, lower, others) = match members.as_slice() {
        [upper, lower] => (upper, lower, None),
        [upper, lower, other] => (upper, lower, Some(other)),
        _ => return None,
    };
    let (&[upper], &[lower]) = (upper.as_slice(), lower.as_slice()) else { return None };
    let is_pair = upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == lower;
    let is_known = others.is_none_or(|other| LONG_FORMS.iter().any(|form| form.as_bytes() == other));
    (is_pair && is_known).then_some((lower, others.is_some()))
}

/// Returns whether a letter may be written in either case anywhere.
fn folds(hir: &Hir, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) => false,
        HirKind::Class(class) => {
            members(class).is_some_and(|members| letter_in_both_cases(&members).is_some())
        }
        HirKind::Capture(capture) => folds(&capture.sub, depth + 1),
        HirKind::Repetition(repetition) => folds(&repetition.sub, depth + 1),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => subs.iter().any(|sub| folds(sub, depth + 1)),
    }
}

/// Returns the texts as a group, unless one of them is empty and hence in every line.
fn usable(texts: Group) -> Option<Group> {
    let is_usable =
        !texts.is_empty() && texts.len() <= GROUP_MAX && texts.iter().all(|text| !text.is_empty());
    is_usable.then_some(texts)
}

/// Returns the group that rules out most: its shortest literal is longest.
fn best(groups: Vec<Group>) -> Option<Group> {
    let shortest = |group: &Group| group.iter().map(Vec::len).min().unwrap_or_default();
    groups.into_iter().max_by_key(|group| (shortest(group), std::cmp::Reverse(group.len())))
}

/// Joins the groups of alternatives; an alternative without one leaves nothing to ask for.
fn union(groups: impl Iterator<Item = Option<Group>>) -> Option<Group> {
    let all: Option<Vec<Group>> = groups.collect();
    usable(all?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::Needles;
    use logyard_logql::{Expr, StageKind, parse};

    fn prefilter_of(filters: &str) -> Prefilter {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} {filters}")).unwrap() else { panic!("{filters}") };
        let mut prefilter = Prefilter::default();
        for stage in &log.stages {
            let StageKind::LineFilter(filter) = &stage.kind else { continue };
            require(filter, &mut prefilter);
        }
        prefilter
    }

    /// Expects literals, and groups as alternatives joined by `|`.
    fn check(filters: &str, literals: &[&str], groups: &[&str]) {
        let prefilter = prefilter_of(filters);
        let text = |literal: &Vec<u8>| String::from_utf8_lossy(literal).into_owned();
        assert_eq!(prefilter.literals.iter().map(text).collect::<Vec<_>>(), literals, "{filters}");
        let joined = |group: &Group| group.iter().map(text).collect::<Vec<_>>().join("|");
        assert_eq!(prefilter.any_of.iter().map(joined).collect::<Vec<_>>(), groups, "{filters}");
    }

    #[test]
    fn only_what_every_line_must_hold() {
        check(r#"|= "a" |= "b" |= "a" |= """#, &["a", "b"], &[]);
        check(r#"!= "a" !~ "b" !> "c""#, &[], &[]);
        check(r#"|~ "err.*timeout x""#, &["err", "timeout x"], &[]);
        check(r#"|~ "(abc)+d?""#, &["abc"], &[]);
        check(r#"|~ "^a\\.b$""#, &["a.b"], &[]);
        check(r#"|~ "(abc)*x""#, &["x"], &[]);
        check(r#"|~ "[a-z]+""#, &[], &[]);
        check(r#"|~ "a*""#, &[], &[]);
        check(r#"|> "a <_> bc""#, &["a ", " bc"], &[]);
        check(r#"|= ip("1.2.3.4")"#, &[], &[]);
    }

    #[test]
    fn alternatives_are_groups() {
        check(r#"|= "a" or "b""#, &[], &["a|b"]);
        check(r#"|= "a" or ip("1.2.3.4")"#, &[], &[]);
        check(r#"|= "a" or """#, &[], &[]);
        check(r#"|= "a" or "a""#, &["a"], &[]);
        check(r#"|~ "x.*long" or "y""#, &[], &["long|y"]);
        check(r#"|> "a<_>bcd" or "e<_>""#, &[], &["bcd|e"]);
        check(r#"|~ "abc|def""#, &[], &["abc|def"]);
        check(r#"|~ "abc|d?""#, &[], &[]);
        check(r#"|~ "abc.|d+.*ef""#, &[], &["abc|ef"]);
        check(r#"|~ "colou?r""#, &[], &["color|colour"]);
        check(r#"|~ "[Ee]rror: \\d""#, &[], &["Error: |error: "]);
    }

    /// Numbers from a seed.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
            from[self.below(from.len() as u64) as usize]
        }
    }

    fn pattern(dice: &mut Dice, depth: u64) -> String {
        let atom = |dice: &mut Dice| {
            dice.pick(&["a", "b", "ab", "k", "s", ".", "[ab]", "[^a]", "é", "\\w", "$", "^", ""])
        };
        let count = 1 + dice.below(3);
        let parts = (0..count).map(|_| match dice.below(if depth == 0 { 2 } else { 5 }) {
            0 | 1 => format!("{}{}", atom(dice), ""),
            2 => format!("({})", pattern(dice, depth - 1)),
            3 => format!(
                "({}){}",
                pattern(dice, depth - 1),
                dice.pick(&["?", "*", "+", "{2}", "{0}", "{1,3}"])
            ),
            _ => format!("({}|{})", pattern(dice, depth - 1), pattern(dice, depth - 1)),
        });
        let text: String = parts.collect();
        if dice.below(4) == 0 { format!("(?i){text}") } else { text }
    }

    #[test]
    fn a_line_that_matches_holds_what_is_required() {
        let mut dice = Dice(1);
        let (mut matches, mut asked, mut answers) = (0, 0, 0);
        for _ in 0..2_000 {
            let pattern = pattern(&mut dice, 3);
            let Ok(translated) = translate(&pattern) else { continue };
            let Ok(regex) = regex::bytes::Regex::new(&translated) else { continue };
            let groups = regex_groups(&pattern);
            asked += usize::from(!groups.is_empty());
            let sought = Sought::of_regex(&pattern);
            let needles =
                sought.as_ref().map(|sought| Needles::any(sought.texts.clone(), sought.case).unwrap());
            for _ in 0..8 {
                let count = dice.below(7);
                let line: String = (0..count)
                    .map(|_| {
                        dice.pick(&["a", "b", "A", "B", "k", "s", "\u{212a}", "\u{17f}", "é", "É", "\n"])
                    })
                    .collect();
                let is_match = regex.is_match(line.as_bytes());
                if let (Some(sought), Some(needles)) = (&sought, &needles) {
                    let is_long = sought.may_be_long && LONG_FORMS.iter().any(|form| line.contains(form));
                    let is_hit = needles.are_in(line.as_bytes());
                    assert!(!is_match || is_hit || is_long, "{pattern:?} on {line:?}: {sought:?}");
                    assert!(is_match || !is_hit || !sought.is_answer, "{pattern:?} on {line:?}: {sought:?}");
                    answers += usize::from(is_hit && sought.is_answer);
                }
                if !is_match {
                    continue;
                }
                matches += 1;
                let holds = |literal: &Vec<u8>| memchr::memmem::find(line.as_bytes(), literal).is_some();
                assert!(
                    groups.iter().all(|group| group.iter().any(holds)),
                    "{pattern:?} on {line:?}: {groups:?}"
                );
            }
        }
        assert!(matches > 1_000 && asked > 300, "{matches} matches, {asked} patterns with literals");
        assert!(answers > 300, "{answers}");
    }

    #[test]
    fn few_texts_are_the_answer() {
        let sought = |pattern: &str| {
            let sought = Sought::of_regex(pattern)?;
            let texts: Vec<String> =
                sought.texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
            Some((texts.join("|"), sought.case == LetterCase::Folded, sought.is_answer, sought.may_be_long))
        };
        let some = |texts: &str, folds, is_answer, long| Some((texts.to_owned(), folds, is_answer, long));
        assert_eq!(sought("(?:a|b)1 (c|d)?"), some("a1 c|a1 d|a1 |b1 c|b1 d|b1 ", false, true, false));
        assert_eq!(sought("(?i)abc d1|u(?:re|t)"), some("abc d1|ure|ut", true, true, false));
        assert_eq!(sought("(?i)ask"), some("ask", true, true, true));
        assert_eq!(sought("(?i:ab)C"), some("abc", true, false, false));
        assert_eq!(sought("(?i:ab)[CD]1"), some("abc1|abd1", true, false, false));
        assert_eq!(sought("^abc"), some("abc", false, false, false));
        assert_eq!(sought("\\bx(?i)timeout.*y"), some("xtimeout", true, false, false));
        assert_eq!(sought("[a-z]+"), None);
    }

    #[test]
    fn cases_fold_for_some_letters() {
        let prefilter = prefilter_of(r#"|~ "(?i)timeout""#);
        assert!(prefilter.literals.is_empty());
        let groups: Vec<(usize, usize)> =
            prefilter.any_of.iter().map(|group| (group.len(), group[0].len())).collect();
        assert_eq!(groups, [(32, 5), (4, 2)]);
        assert!(prefilter.any_of[0].contains(&b"tImEo".to_vec()));
        // Two letters have a third form that is no ASCII.
        let folded = "SK|Sk|S\u{212a}|sK|sk|s\u{212a}|\u{17f}K|\u{17f}k|\u{17f}\u{212a}";
        check(r#"|~ "(?i)sk""#, &[], &[folded]);
    }
}
