//! Line filters, pattern filters, addresses and label filters.

use crate::labels::Entry;
use crate::numbers;
use logyard_logql::{CompareOp, FilterValue, LabelFilter, LineFilter, LineFilterArg, LineFilterOp};
use logyard_model::{MatchOp, Matcher};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

thread_local! {
    static REGEXES: RefCell<HashMap<String, Regex>> = RefCell::default();
}

/// Compiles a pattern, once. Random queries use patterns that mean the same in Go and in Rust.
pub(crate) fn regex(pattern: &str) -> Regex {
    REGEXES.with_borrow_mut(|known| {
        known.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).expect(pattern)).clone()
    })
}

pub(crate) fn line_passes(filter: &LineFilter, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let hit = filter.args.iter().any(|arg| match arg {
        LineFilterArg::Ip(pattern) => holds_address(&text, pattern),
        LineFilterArg::Text(wanted) => match filter.op {
            LineFilterOp::Contains | LineFilterOp::NotContains => text.contains(wanted.as_str()),
            LineFilterOp::Regex | LineFilterOp::NotRegex => regex(wanted).is_match(&text),
            LineFilterOp::Pattern | LineFilterOp::NotPattern => like(&text, wanted),
        },
    });
    hit != matches!(filter.op, LineFilterOp::NotContains | LineFilterOp::NotRegex | LineFilterOp::NotPattern)
}

/// Tests a line against literals between `<_>`.
fn like(line: &str, pattern: &str) -> bool {
    if pattern.is_empty() || line.is_empty() {
        return pattern.is_empty() && line.is_empty();
    }
    let literals: Vec<&str> = pattern.split("<_>").collect();
    let mut end = 0;
    for (index, literal) in literals.iter().enumerate() {
        if literal.is_empty() {
            continue;
        }
        let Some(start) =
            line.as_bytes()[end..].windows(literal.len()).position(|window| window == literal.as_bytes())
        else {
            return false;
        };
        if index > 0 && start == 0 {
            return false;
        }
        end += start + literal.len();
    }
    if pattern.ends_with("<_>") { end < line.len() } else { end == line.len() }
}

enum Addresses {
    Between(IpAddr, IpAddr),
    Network(IpAddr, u32),
}

fn addresses(pattern: &str) -> Addresses {
    let address = |text: &str| text.parse::<IpAddr>().expect(pattern);
    if let Some((low, high)) = pattern.split_once('-') {
        return Addresses::Between(address(low), address(high));
    }
    if let Some((base, bits)) = pattern.split_once('/') {
        return Addresses::Network(address(base), bits.parse().expect(pattern));
    }
    Addresses::Between(address(pattern), address(pattern))
}

fn is_inside(address: IpAddr, set: &Addresses) -> bool {
    let number = |address: &IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(*address)) << 96,
        IpAddr::V6(address) => u128::from(*address),
    };
    match set {
        Addresses::Between(low, high) => {
            address.is_ipv4() == low.is_ipv4() && (number(low)..=number(high)).contains(&number(&address))
        }
        Addresses::Network(base, bits) => {
            let mask = if *bits == 0 { 0 } else { u128::MAX << (128 - bits) };
            address.is_ipv4() == base.is_ipv4() && number(base) & mask == number(&address) & mask
        }
    }
}

/// Whether a text holds an address of the pattern.
fn holds_address(text: &str, pattern: &str) -> bool {
    let set = addresses(pattern);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let v4 = rest[0].is_ascii_digit() && rest.iter().skip(1).take(3).any(|&byte| byte == b'.');
        let hex = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let v6 = (1..=4).contains(&hex) && rest.get(hex) == Some(&b':')
            || rest.starts_with(b"::") && rest.get(2).is_some_and(u8::is_ascii_hexdigit);
        let run = if v4 {
            rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count()
        } else if v6 {
            rest.iter().take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).count()
        } else {
            at += 1;
            continue;
        };
        let found = std::str::from_utf8(&rest[..run]).ok().and_then(|text| text.parse::<IpAddr>().ok());
        if found.is_some_and(|address| is_inside(address, &set)) {
            return true;
        }
        at += run;
    }
    false
}

/// A matcher on the value of a label; `.` matches a newline in selectors, `drop` and `keep` only.
pub(crate) fn matches(matcher: &Matcher, value: &str, dot_matches_newline: bool) -> bool {
    let flags = if dot_matches_newline { "(?s)" } else { "" };
    let whole = || regex(&format!("{flags}^(?:{})$", matcher.value())).is_match(value);
    match matcher.op() {
        MatchOp::Equal => value == matcher.value(),
        MatchOp::NotEqual => value != matcher.value(),
        MatchOp::Regex => whole(),
        MatchOp::NotRegex => !whole(),
    }
}

fn compares<T: PartialOrd>(op: CompareOp, value: T, constant: T) -> bool {
    match op {
        CompareOp::Equal => value == constant,
        CompareOp::NotEqual => value != constant,
        CompareOp::Greater => value > constant,
        CompareOp::GreaterOrEqual => value >= constant,
        CompareOp::Less => value < constant,
        CompareOp::LessOrEqual => value <= constant,
    }
}

/// Runs a label filter, which may note an error; false drops the entry.
pub(crate) fn label_passes(filter: &LabelFilter, entry: &mut Entry) -> bool {
    match filter {
        LabelFilter::Text(matcher) => matches(matcher, entry.get(matcher.name()).unwrap_or(""), false),
        LabelFilter::And(left, right) => {
            let left = label_passes(left, entry);
            let right = label_passes(right, entry);
            left && right
        }
        LabelFilter::Or(left, right) => label_passes(left, entry) || label_passes(right, entry),
        LabelFilter::Ip { name, negated, pattern } => {
            if entry.error.is_some() {
                return true;
            }
            let Some(value) = entry.get(name) else { return false };
            holds_address(value, pattern) != *negated
        }
        LabelFilter::Compare { name, .. } if name == "__error__" => false,
        LabelFilter::Compare { name, op, value } => {
            let Some(text) = entry.get(name) else { return false };
            let passes = match value {
                FilterValue::Number(constant) => {
                    numbers::float(text).map(|value| compares(*op, value, *constant))
                }
                FilterValue::DurationNs(constant) => {
                    numbers::duration(text).map(|value| compares(*op, value, *constant))
                }
                FilterValue::Bytes(constant) => {
                    numbers::size(text).map(|value| compares(*op, value, *constant))
                }
            };
            if passes.is_none() && entry.error.is_none() {
                entry.fail("LabelFilterErr", "conversion");
            }
            passes.unwrap_or(true)
        }
        extension => panic!("{extension:?} is no part of Loki's language"),
    }
}
