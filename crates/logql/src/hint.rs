//! What the writer of a refused query probably meant, in one line.
//!
//! Looks at the words around the fault only; without a good guess there is no hint, since a wrong one
//! is worse than none. Runs once per refused query, linear in its size.

use crate::duration::{PrometheusDuration, parse_any, parse_prometheus_duration};
use crate::print::quoted;
use crate::token::{FUNCTIONS, Kind, STAGES, Token};
use crate::tree_metric::{RangeOp, VectorOp};

/// Longest name that is compared with known ones.
const NAME_BYTES_MAX: usize = 40;
/// Longest piece of the query that a hint repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// Returns a hint for the word at `at`, which is not what was `expecting`.
pub(crate) fn hint(text: &str, tokens: &[Token], at: usize, expecting: &[&str]) -> Option<String> {
    let place = Place { text, tokens, at, expecting };
    [
        Place::fault,
        Place::unknown,
        Place::comma,
        Place::comparison,
        Place::size,
        Place::range,
        Place::stage,
        Place::text_without_quotes,
        Place::function,
        Place::brackets,
    ]
    .into_iter()
    .find_map(|rule| rule(&place))
}

/// Hints for what is wrong without being a matter of grammar: begin and end of the reason.
const REFUSALS: [(&str, &str, &str); 10] = [
    ("invalid aggregation", "without unwrap", "name the label whose value counts: | unwrap LABEL [5m]"),
    ("invalid aggregation", "with unwrap", "it counts entries; remove unwrap, or use sum_over_time"),
    ("parameter required", "quantile_over_time", "put the quantile first: quantile_over_time(0.95, …)"),
    ("parameter required", "", "put the number of samples first: topk(10, …)"),
    ("grouping not allowed", "", "group outside: sum by (…) (…)"),
    ("unexpected type for", "", "a log query yields entries; count them first: count_over_time({…}[5m])"),
    ("unexpected literal for", "", "make samples of the number: vector(1)"),
    ("error parsing regexp: invalid or unsupported Perl syntax: `(?", "=`", LOOK_AROUND),
    ("error parsing regexp: invalid or unsupported Perl syntax: `(?", "!`", LOOK_AROUND),
    ("error parsing regexp: invalid or unsupported Perl syntax: `(?", "<`", LOOK_AROUND),
];

const LOOK_AROUND: &str = "there is no look-around; add a second filter, such as !~";

/// Returns a hint for a reason that names no place.
pub(crate) fn of_refusal(reason: &str) -> Option<String> {
    let found = REFUSALS.iter().find(|(start, end, _)| reason.starts_with(start) && reason.ends_with(end));
    found.map(|(_, _, hint)| (*hint).to_owned())
}

struct Place<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    expecting: &'a [&'a str],
}

impl<'a> Place<'a> {
    fn found(&self) -> &'a Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn next(&self) -> &'a Kind {
        self.tokens.get(self.at + 1).map_or(&Kind::End, |token| &token.kind)
    }

    /// The word so many before the fault; [`Kind::End`] before the first.
    fn before(&self, count: usize) -> &'a Kind {
        self.at.checked_sub(count).and_then(|at| self.tokens.get(at)).map_or(&Kind::End, |token| &token.kind)
    }

    fn expects(&self, word: &str) -> bool {
        self.expecting.contains(&word)
    }

    /// The query from the fault on.
    fn rest(&self) -> &'a str {
        let start = self.tokens.get(self.at).map_or(self.text.len(), |token| token.span.start);
        self.text.get(start..).unwrap_or_default()
    }

    fn fault(&self) -> Option<String> {
        let Kind::Fault(reason) = self.found() else { return None };
        if let Some(inside) = self.rest().strip_prefix('[') {
            return Some(match inside.split_once(']') {
                Some((inside, _)) => window(inside),
                None => "close the range: [5m]".to_owned(),
            });
        }
        let hint = match &**reason {
            "invalid char escape" => "write \\\\ for a backslash, or put the text between backticks",
            "literal not terminated" => "the quote that opens here is never closed",
            "comment not terminated" => "close the comment: */",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Characters that belong to other languages.
    fn unknown(&self) -> Option<String> {
        if *self.found() != Kind::Unknown {
            return None;
        }
        let first = self.rest().chars().next()?;
        let close = match first {
            '\'' => Some('\''),
            '\u{2018}' | '\u{2019}' => Some('\u{2019}'),
            '\u{201c}' | '\u{201d}' | '\u{201e}' => Some('\u{201d}'),
            '\u{ab}' => Some('\u{bb}'),
            _ => None,
        };
        if let Some(close) = close {
            let inside = self.rest().strip_prefix(first)?.split(close).next()?;
            return Some(format!("put the text between double quotes or backticks: {}", shown(inside)));
        }
        if first.is_whitespace() || first == '\u{feff}' || first == '\u{200b}' {
            let code = u32::from(first);
            return Some(format!("the character U+{code:04X} looks like a blank; write a plain one"));
        }
        let hint = match first {
            '&' => "write and",
            '!' => "operators hold no blank: !=",
            '@' => "there is no @ modifier; use offset",
            ';' => "one query at a time; remove the semicolon",
            '$' => "only Grafana fills in variables; write the value",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn comma(&self) -> Option<String> {
        let (Kind::Sign(","), Kind::Sign(sign @ ("}" | ")"))) = (self.before(1), self.found()) else {
            return None;
        };
        Some(format!("remove the comma before {sign}"))
    }

    fn comparison(&self) -> Option<String> {
        if !self.expects("=~") {
            return None;
        }
        let hint = match self.found() {
            Kind::Sign("==") => "a selector compares with a single =",
            Kind::Sign(">" | ">=" | "<" | "<=") => {
                "a selector compares texts; numbers are filtered behind it: {…} | x > 5"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// A number that runs into letters which are no unit.
    fn size(&self) -> Option<String> {
        let runs_on = |at: usize| {
            let [number, name] = self.tokens.get(at.checked_sub(1)?..=at)? else { return None };
            let is_number = matches!(number.kind, Kind::Number { .. } | Kind::Duration(_) | Kind::Bytes(_));
            let joined = number.span.end == name.span.start && matches!(name.kind, Kind::Identifier(_));
            (is_number && joined).then_some(())
        };
        runs_on(self.at).or_else(|| runs_on(self.at.checked_sub(1)?))?;
        Some("units are ms s m h d w y, or B KB MB GB TB KiB MiB GiB TiB in just this case".to_owned())
    }

    fn range(&self) -> Option<String> {
        if self.expects("RANGE") {
            return Some("name the width of the window before the parenthesis: [5m]".to_owned());
        }
        if self.expects("DURATION") && matches!(self.found(), Kind::Number { .. }) {
            return Some("a duration needs a unit, such as 5m".to_owned());
        }
        let hint = match self.found() {
            Kind::Word("offset") => "offset stands right behind the range: [5m] offset 1h".to_owned(),
            Kind::Range(_) => match self.function_around() {
                Some(name) => format!("{name} takes samples: {name}(count_over_time({{…}}[5m]))"),
                None => "a range belongs into a function: count_over_time({…}[5m])".to_owned(),
            },
            Kind::Sign(")") if self.expecting.is_empty() => {
                let name = self.function_around()?;
                format!("{name} takes samples; count the entries first: {name}(count_over_time({{…}}[5m]))")
            }
            Kind::RangeOp(_) | Kind::VectorOp(_) if self.expects("{") => {
                "a range takes a log query; fold samples by sum, avg and their kin around it".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// The vector aggregation whose parenthesis is open.
    fn function_around(&self) -> Option<&'static str> {
        let open = self.unclosed(&["("])?;
        let kind = |at: usize| self.tokens.get(at).map(|token| &token.kind);
        match kind(open.checked_sub(1)?)? {
            Kind::VectorOp(op) => Some(op.as_str()),
            Kind::Sign(")") => {
                let by =
                    (0..open).rev().find(|at| matches!(kind(*at), Some(Kind::Word("by" | "without"))))?;
                let Some(Kind::VectorOp(op)) = kind(by.checked_sub(1)?) else { return None };
                Some(op.as_str())
            }
            _ => None,
        }
    }

    fn stage(&self) -> Option<String> {
        match (self.before(2), self.before(1), self.found()) {
            (_, Kind::Sign("|"), Kind::Sign(sign @ ("=" | ">"))) => {
                Some(format!("operators hold no blank: |{sign}"))
            }
            (Kind::Sign("-"), Kind::Sign("-"), Kind::Identifier(_)) => {
                Some("the flags of logfmt are --strict and --keep-empty".to_owned())
            }
            (_, Kind::Sign("|"), Kind::Sign("|")) => Some("a single bar starts a stage".to_owned()),
            (_, Kind::Sign("|"), Kind::Word("unwrap")) => {
                Some("unwrap stands inside a range: sum_over_time({…} | unwrap x [5m])".to_owned())
            }
            (Kind::Sign("|"), Kind::Identifier(name), _) if self.expecting.is_empty() => {
                Some(match near(name, STAGES) {
                    Some(stage) => format!("did you mean | {stage}?"),
                    None => format!("compare the label with something: | {} = \"…\"", cut(name)),
                })
            }
            (_, Kind::Word("or"), Kind::Sign(sign @ ("|=" | "|~" | "|>" | "!=" | "!~" | "!>"))) => {
                Some(format!("behind or stands the text alone; {sign} holds for it too"))
            }
            (Kind::Text(_), Kind::Word("and"), Kind::Text(text)) => {
                Some(format!("write a second filter instead of and: |= {}", shown(text)))
            }
            (_, Kind::Sign("}") | Kind::Text(_), Kind::Text(text)) => {
                Some(format!("a line filter starts with its operator: |= {}", shown(text)))
            }
            (_, before, Kind::Word(word)) if STAGES.contains(word) && *before != Kind::Sign("|") => {
                (!self.expects("IDENTIFIER")).then(|| format!("a stage starts with a bar: | {word}"))
            }
            (_, Kind::Sign("}") | Kind::Text(_), Kind::Identifier(name)) => {
                let stage = near(name, STAGES);
                stage.map(|stage| format!("a stage starts with a bar: | {stage}"))
            }
            _ => None,
        }
    }

    fn text_without_quotes(&self) -> Option<String> {
        let is_word = matches!(
            self.found(),
            Kind::Identifier(_)
                | Kind::Word(_)
                | Kind::Number { .. }
                | Kind::Duration(_)
                | Kind::Bytes(_)
                | Kind::RangeOp(_)
                | Kind::VectorOp(_)
        );
        if !is_word || !self.expects("STRING") {
            return None;
        }
        let word = self.rest().split([' ', '\t', '\n', '\r', ',', '}', ')', '|', '"', '`']).next()?;
        Some(format!("put quotes around the text: {}", shown(word)))
    }

    /// A name where an operand should be.
    fn function(&self) -> Option<String> {
        let Kind::Identifier(name) = self.found() else { return None };
        let starts = match self.before(1) {
            Kind::End | Kind::Sign("(" | "," | "+" | "-" | "*" | "/" | "%" | "^") => true,
            Kind::Word(word) => matches!(*word, "or" | "and" | "unless" | "bool"),
            _ => false,
        };
        if !starts || self.expects("IDENTIFIER") || self.expects("NUMBER") {
            return None;
        }
        let name = cut(name);
        let known = near(&name, functions());
        Some(match self.next() {
            Kind::Sign("=" | "!=" | "=~" | "!~" | "==") => {
                format!("a selector stands between braces: {{{name}=\"…\"}}")
            }
            Kind::Sign("{") if known.is_none() => {
                "metrics have no names; start with the selector: {…}".to_owned()
            }
            Kind::Sign("(") if known.is_none() => format!("there is no function {name}"),
            _ => match known {
                Some(known) if known == name => format!("{known} takes its operand between parentheses"),
                Some(known) => format!("did you mean {known}?"),
                None => "start with a selector: {label=\"value\"}".to_owned(),
            },
        })
    }

    /// Returns the last opening sign without its counterpart before the fault.
    fn unclosed(&self, signs: &[&str]) -> Option<usize> {
        let mut open: Vec<(usize, &str)> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate().take(self.at) {
            match token.kind {
                Kind::Sign(sign @ ("(" | "{")) => open.push((at, sign)),
                Kind::Sign(")" | "}") => {
                    open.pop();
                }
                _ => {}
            }
        }
        open.last().filter(|(_, sign)| signs.contains(sign)).map(|(at, _)| *at)
    }

    fn brackets(&self) -> Option<String> {
        match self.found() {
            Kind::End if self.unclosed(&["{"]).is_some() => Some("close the selector: }".to_owned()),
            Kind::End if self.unclosed(&["("]).is_some() => Some("close the parenthesis: )".to_owned()),
            Kind::Sign(sign @ (")" | "}")) if self.unclosed(&["(", "{"]).is_none() => {
                Some(format!("nothing is open for this {sign} to close"))
            }
            _ => None,
        }
    }
}

/// Hint for the inside of brackets that is no range.
fn window(inside: &str) -> String {
    let tight: String = inside.split_whitespace().collect();
    if tight.is_empty() {
        return "name the width of the window, such as [5m]".to_owned();
    }
    if tight.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = cut(&tight);
        return format!("a duration needs a unit: [{number}s], [{number}m] or [{number}h]");
    }
    if tight.contains(':') {
        return "there are no subqueries; a range is one duration, such as [5m]".to_owned();
    }
    if tight.starts_with('$') {
        return "only Grafana fills in variables; write a duration, such as [5m]".to_owned();
    }
    if tight != inside && parse_prometheus_duration(&tight).is_ok() {
        return format!("write the range without blanks: [{tight}]");
    }
    if let Some(ns) = parse_any(&tight).filter(|ns| *ns > 0) {
        let text = PrometheusDuration(ns).to_string();
        if parse_prometheus_duration(&text) == Ok(ns) {
            return format!("write whole numbers, the largest unit first: [{text}]");
        }
    }
    "a range is one duration, such as [5m] or [1h30m]".to_owned()
}

fn functions() -> impl Iterator<Item = &'static str> {
    let range = RangeOp::ALL.into_iter().map(RangeOp::as_str);
    range.chain(VectorOp::ALL.into_iter().map(VectorOp::as_str)).chain(FUNCTIONS)
}

/// Returns the name that a misspelt one is closest to, if it is close.
fn near(name: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_lowercase();
    let far = (name.len() / 3).min(3);
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(&name, known), known));
    distances
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, found)| found)
}

/// A piece of the query between quotes.
fn shown(text: &str) -> String {
    quoted(&cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
