//! Line filters: substrings, regular expressions, patterns and addresses.
//!
//! Lines are bytes. A line as an entry holds it never ends in a newline, but may hold some.

use crate::error::Error;
use crate::line_source::LineSource;
use logyard_codec::Block;
use logyard_logql::{LineFilter, LineFilterArg, LineFilterOp, PatternPart, pattern_parts, quoted};
use logyard_model::translate;
use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A compiled line filter: any alternative passes, or, negated, none.
#[derive(Debug)]
pub(crate) struct LineTest {
    alternatives: Vec<Alternative>,
    negated: bool,
    /// How to find, in the text of many lines at once, all lines that an alternative may be found in.
    search: Option<Search>,
}

#[derive(Debug)]
enum Alternative {
    Text(Box<memmem::Finder<'static>>),
    Regex(Regex),
    Pattern(Vec<PatternPart>),
    Address(AddressTest),
}

/// A search over many lines; what it looks for holds no newline, so that no hit crosses lines.
#[derive(Debug)]
struct Search {
    needles: Needles,
    /// Whether a hit is all that the filter asks for.
    is_exact: bool,
}

#[derive(Debug)]
enum Needles {
    One(Box<memmem::Finder<'static>>),
    Any(Regex),
}

impl LineTest {
    pub(crate) fn compile(filter: &LineFilter) -> Result<Self, String> {
        let alternatives = filter.args.iter().map(|arg| Alternative::compile(filter.op, arg));
        let alternatives: Vec<_> = alternatives.collect::<Result<_, _>>()?;
        let search = Search::new(&alternatives);
        Ok(Self { alternatives, negated: filter.op.is_negated(), search })
    }

    pub(crate) fn passes(&self, line: &[u8]) -> bool {
        self.is_found_in(line) != self.negated
    }

    fn is_found_in(&self, line: &[u8]) -> bool {
        self.alternatives.iter().any(|alternative| alternative.found_in(line))
    }

    /// Returns whether one pass over many lines tells those apart that need no look of their own.
    pub(crate) fn searches_blocks(&self) -> bool {
        self.search.is_some()
    }

    /// Returns the searcher if the filter is nothing but one substring that must occur.
    pub(crate) fn required_text(&self) -> Option<&memmem::Finder<'static>> {
        match &*self.alternatives {
            [Alternative::Text(finder)] if !self.negated => Some(finder),
            _ => None,
        }
    }

    /// Appends the rows that pass, ascending.
    ///
    /// Cost: of shredded lines rebuilds only those that one search does not decide.
    pub(crate) fn rows(&self, block: &Block, rows: Range<u32>, out: &mut Vec<u32>) -> Result<(), Error> {
        let Some(search) = &self.search else {
            let mut lines = LineSource::new(block, rows.len())?;
            for row in rows {
                if self.passes(lines.line(row)?) {
                    out.push(row);
                }
            }
            return Ok(());
        };
        let mut found = Vec::new();
        match &search.needles {
            Needles::One(finder) => block.rows_with(finder, rows.clone(), &mut found)?,
            Needles::Any(_) if block.is_shredded() => {
                for alternative in &self.alternatives {
                    let Alternative::Text(finder) = alternative else { continue };
                    block.rows_with(finder, rows.clone(), &mut found)?;
                }
                found.sort_unstable();
                found.dedup();
            }
            Needles::Any(regex) => {
                let find = |text: &[u8], from| regex.find_at(text, from).map(|hit| hit.start());
                block.lines()?.rows_found(find, rows.clone(), &mut found);
            }
        }
        if !search.is_exact && !found.is_empty() {
            let mut lines = LineSource::new(block, found.len())?;
            let mut kept = Vec::new();
            for row in found {
                if self.is_found_in(lines.line(row)?) {
                    kept.push(row);
                }
            }
            found = kept;
        }
        if !self.negated {
            out.append(&mut found);
            return Ok(());
        }
        let mut next = rows.start;
        for row in found {
            out.extend(next..row);
            next = row + 1;
        }
        out.extend(next..rows.end);
        Ok(())
    }
}

impl Search {
    /// Finds out how to search for any of the alternatives, if there is a way.
    fn new(alternatives: &[Alternative]) -> Option<Self> {
        let one = |text: &[u8], is_exact: bool| {
            let is_useful = !text.contains(&b'\n') && (is_exact || !text.is_empty());
            let needles = Needles::One(Box::new(memmem::Finder::new(text).into_owned()));
            is_useful.then_some(Self { needles, is_exact })
        };
        match alternatives {
            [Alternative::Text(finder)] => return one(finder.needle(), true),
            [Alternative::Address(test)] => return one(test.required_text()?.as_bytes(), false),
            // What a regular expression or a pattern asks for is found when a query is planned.
            [_] => return None,
            _ => {}
        }
        let text = |alternative: &Alternative| match alternative {
            Alternative::Text(finder) => std::str::from_utf8(finder.needle()).map(regex::escape).ok(),
            _ => None,
        };
        let texts: Vec<String> = alternatives.iter().map(text).collect::<Option<_>>()?;
        let is_searchable = !texts.iter().any(|text| text.is_empty() || text.contains('\n'));
        let regex =
            if is_searchable { RegexBuilder::new(&texts.join("|")).build().ok()? } else { return None };
        Some(Self { needles: Needles::Any(regex), is_exact: true })
    }
}

impl Alternative {
    fn compile(op: LineFilterOp, arg: &LineFilterArg) -> Result<Self, String> {
        match (op, arg) {
            (LineFilterOp::Contains | LineFilterOp::NotContains, LineFilterArg::Ip(pattern)) => {
                AddressTest::compile(pattern).map(Self::Address)
            }
            (_, LineFilterArg::Ip(_)) => Err("ip: invalid operation".to_owned()),
            (LineFilterOp::Contains | LineFilterOp::NotContains, LineFilterArg::Text(text)) => {
                Ok(Self::Text(Box::new(memmem::Finder::new(text.as_bytes()).into_owned())))
            }
            (LineFilterOp::Regex | LineFilterOp::NotRegex, LineFilterArg::Text(text)) => {
                let translated = translate(text).map_err(|error| error.to_string())?;
                let regex = RegexBuilder::new(&translated).nest_limit(REGEX_DEPTH_MAX).build();
                let too_large = |_| format!("error parsing regexp: expression too large: `{text}`");
                regex.map(Self::Regex).map_err(too_large)
            }
            (LineFilterOp::Pattern | LineFilterOp::NotPattern, LineFilterArg::Text(text)) => {
                let parts = pattern_parts(text)?;
                let named = parts.iter().find_map(|part| match part {
                    PatternPart::Capture(name) => Some(name),
                    PatternPart::Literal(_) | PatternPart::Wildcard => None,
                });
                match named {
                    Some(name) => Err(format!("named captures are not allowed: found '<{name}>'")),
                    None => Ok(Self::Pattern(parts)),
                }
            }
        }
    }

    fn found_in(&self, line: &[u8]) -> bool {
        match self {
            Self::Text(finder) => finder.find(line).is_some(),
            Self::Regex(regex) => regex.is_match(line),
            Self::Pattern(parts) => matches_pattern(parts, line),
            Self::Address(test) => test.found_in(line),
        }
    }
}

/// As deep as the translation of a pattern goes.
const REGEX_DEPTH_MAX: u32 = 2010;

/// Tests a pattern: literals one after the other, each at its first occurrence; a wildcard stands for
/// at least one byte, and the first literal may start anywhere (Loki v3.7.6).
fn matches_pattern(parts: &[PatternPart], line: &[u8]) -> bool {
    if parts.is_empty() || line.is_empty() {
        return parts.is_empty() && line.is_empty();
    }
    let mut rest = line;
    for (index, part) in parts.iter().enumerate() {
        let PatternPart::Literal(literal) = part else { continue };
        let least = usize::from(index > 0);
        let Some(found) = memmem::find(rest, literal.as_bytes()) else { return false };
        if found < least {
            return false;
        }
        rest = rest.get(found + literal.len()..).unwrap_or_default();
    }
    let open_end = !matches!(parts.last(), Some(PatternPart::Literal(_)));
    open_end != rest.is_empty()
}

/// Looks for addresses of a set in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressTest {
    low: IpAddr,
    high: IpAddr,
}

impl AddressTest {
    /// Compiles an address, a network `a/n` or a range `a-b`.
    pub(crate) fn compile(pattern: &str) -> Result<Self, String> {
        let invalid = || format!("ip: invalid pattern: {}", quoted(pattern));
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| invalid());
        if let Some((low, high)) = pattern.split_once('-') {
            let (low, high) = (address(low)?, address(high)?);
            let same_kind = low.is_ipv4() == high.is_ipv4();
            return if same_kind && low <= high { Ok(Self { low, high }) } else { Err(invalid()) };
        }
        let Some((base, bits)) = pattern.split_once('/') else {
            let low = address(pattern)?;
            return Ok(Self { low, high: low });
        };
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits: u32 = bits.parse().ok().filter(|_| plain).ok_or_else(invalid)?;
        match address(base)? {
            IpAddr::V4(base) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                let low = base.to_bits() & mask;
                let (low, high) = (Ipv4Addr::from_bits(low), Ipv4Addr::from_bits(low | !mask));
                Ok(Self { low: low.into(), high: high.into() })
            }
            IpAddr::V6(base) if bits <= 128 => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                let low = base.to_bits() & mask;
                let (low, high) = (Ipv6Addr::from_bits(low), Ipv6Addr::from_bits(low | !mask));
                Ok(Self { low: low.into(), high: high.into() })
            }
            _ => Err(invalid()),
        }
    }

    /// Returns a text that every text with an address of the set holds: the octets that all share.
    fn required_text(&self) -> Option<String> {
        // An address of the newer kind can be written in many ways.
        let (IpAddr::V4(low), IpAddr::V4(high)) = (self.low, self.high) else { return None };
        if low == high {
            return Some(low.to_string());
        }
        let shared = low.octets().into_iter().zip(high.octets()).take_while(|(low, high)| low == high);
        let text: String = shared.map(|(octet, _)| format!("{octet}.")).collect();
        Some(text).filter(|text| !text.is_empty())
    }

    /// Returns whether the text holds an address of the set.
    ///
    /// Candidates are the longest runs of address characters; what follows a run that is no such
    /// address is searched on, its tail is not: `1.2.3.4.` holds no address.
    pub(crate) fn found_in(&self, text: &[u8]) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            let length = match candidate(rest) {
                Some(is_member) => {
                    let length = rest.iter().position(|b| !is_member(b)).unwrap_or(rest.len());
                    let run = rest.get(..length).unwrap_or_default();
                    let parsed = std::str::from_utf8(run).ok().and_then(|run| run.parse::<IpAddr>().ok());
                    if parsed.is_some_and(|address| self.holds(address)) {
                        return true;
                    }
                    length
                }
                // Nothing else than these begins an address.
                None => {
                    let is_start = |b: &u8| b.is_ascii_hexdigit() || *b == b':';
                    let behind = rest.get(1..).unwrap_or_default();
                    1 + behind.iter().position(is_start).unwrap_or(behind.len())
                }
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        false
    }

    fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.low.is_ipv4() && self.low <= address && address <= self.high
    }
}

/// Returns which bytes belong to the run, if an address may start here.
fn candidate(text: &[u8]) -> Option<fn(&u8) -> bool> {
    let first = text.first()?;
    let dot_near = text.iter().skip(1).take(3).position(|b| *b == b'.');
    let only_digits = |count: usize| text.iter().take(count + 1).all(u8::is_ascii_digit);
    if first.is_ascii_digit() && dot_near.is_some_and(only_digits) {
        return Some(|b| b.is_ascii_digit() || *b == b'.');
    }
    let hex = text.iter().take(5).take_while(|b| b.is_ascii_hexdigit()).count();
    let colon_behind = (1..=4).contains(&hex) && text.get(hex) == Some(&b':');
    let starts_with_colons = text.starts_with(b"::") && text.get(2).is_some_and(u8::is_ascii_hexdigit);
    if colon_behind || starts_with_colons {
        return Some(|b| b.is_ascii_hexdigit() || *b == b'.' || *b == b':');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::Entries;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;

    fn compile(filter: &str) -> Result<LineTest, String> {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} {filter}")).unwrap() else { panic!("{filter}") };
        let StageKind::LineFilter(filter) = &log.stages[0].kind else { panic!("{filter:?}") };
        LineTest::compile(filter)
    }

    fn check(filter: &str, expect: &[(&str, bool)]) {
        let test = compile(filter).unwrap();
        for (line, passes) in expect {
            assert_eq!(test.passes(line.as_bytes()), *passes, "{filter} on {line:?}");
        }
        // Over all lines at once, between others, it is the same.
        let mut entries = Entries::new();
        entries.push(0, b"abc", "", &LabelSet::default());
        expect.iter().for_each(|(line, _)| entries.push(0, line.as_bytes(), "", &LabelSet::default()));
        entries.push(0, b"abc", "", &LabelSet::default());
        let mut rows = Vec::new();
        test.rows(&Block::from_entries(entries), 1..expect.len() as u32 + 1, &mut rows).unwrap();
        let passing = (1..).zip(expect).filter(|(_, (_, passes))| *passes).map(|(row, _)| row);
        assert_eq!(rows, passing.collect::<Vec<u32>>(), "{filter}");
    }

    #[test]
    fn substrings() {
        check(r#"|= "b" or "c""#, &[("abc", true), ("c", true), ("a", false)]);
        check(r#"!= "b""#, &[("abc", false), ("a", true)]);
        check(r#"|= """#, &[("", true), ("a", true)]);
        check(r#"!= """#, &[("", false), ("a", false)]);
        check(r#"|= "a" or """#, &[("b", true)]);
        check(
            r#"|= "a.b" or "c|d" or "xyz""#,
            &[("axb", false), ("a.b", true), ("c|d", true), ("d", false), ("", false)],
        );
        check(r#"|= "a\nb""#, &[("a", false), ("b", false), ("a\nb", true)]);
        check(r#"|= "a\nb" or "c""#, &[("a", false), ("b", false), ("a\nb", true), ("c", true)]);
    }

    #[test]
    fn regular_expressions() {
        check(r#"|~ "a.b""#, &[("a\nb", false), ("axb", true)]);
        check(r#"|~ "(?s)a.b""#, &[("a\nb", true)]);
        check(r#"|~ "^b""#, &[("a\nb", false)]);
        check(r#"|~ "(?m)^b""#, &[("a\nb", true)]);
        check(r#"|~ "(?i)été""#, &[("ÉTÉ", true)]);
        check(r#"|~ "a|""#, &[("b", true)]);
        check(r#"!~ "a+""#, &[("b", true), ("baa", false)]);
        check(r#"|~ "a+bcd$""#, &[("aabcd", true), ("bcd", false), ("abcd ", false), ("", false)]);
        check(r#"!~ "a+bcd$""#, &[("aabcd", false), ("bcd", true), ("abcd ", true), ("", true)]);
        assert_eq!(compile(r#"|~ "(""#).unwrap_err(), "error parsing regexp: missing closing ): `(`");
    }

    #[test]
    fn bytes_that_are_no_utf8() {
        assert!(compile(r#"|= "b""#).unwrap().passes(b"\xffb"));
        assert!(compile(r#"|~ "b$""#).unwrap().passes(b"\xffb"));
    }

    #[test]
    fn patterns() {
        check(r#"|> "<_> bar""#, &[("foo bar", true), ("foo bar baz", false), (" bar", false)]);
        check(r#"|> "abc""#, &[("xabc", true), ("abcd", false)]);
        check(r#"|> "a<_>b<_>b""#, &[("axbyb", true), ("axbb", false)]);
        check(r#"|> """#, &[("", true), ("a", false)]);
        check(r#"|> "<_>""#, &[("", false), ("a", true)]);
        check(r#"!> "a<_>""#, &[("a", true), ("ab", false)]);
        assert_eq!(compile(r#"|> "<a>""#).unwrap_err(), "named captures are not allowed: found '<a>'");
        assert_eq!(
            compile(r#"|> "<_><_>""#).unwrap_err(),
            "found consecutive capture '<_><_>': invalid expression"
        );
    }

    #[test]
    fn addresses() {
        check(
            r#"|= ip("1.2.3.4")"#,
            &[
                ("1.2.3.4:80", true),
                ("1.2.3.4.", false),
                ("91.2.3.4", false),
                ("x=1.2.3.4", true),
                ("5.5.5.5 1.2.3.4", true),
            ],
        );
        check(r#"|= ip("192.168.4.5/16")"#, &[("from 192.168.9.9 on", true), ("192.169.0.1", false)]);
        check(r#"|= ip("10.0.0.1-10.0.0.9")"#, &[("10.0.0.9", true), ("10.0.0.10", false)]);
        check(r#"|= ip("::1")"#, &[("a ::1 b", true), ("::1", true), ("::2", false)]);
        check(r#"|= ip("2001:db8::/32")"#, &[("[2001:db8::5]:443", true), ("2001:db9::5", false)]);
        check(r#"|= "a" or ip("1.2.3.4")"#, &[("zz 1.2.3.40", false), ("1.2.3.4", true), ("a", true)]);
        check(r#"!= ip("0.0.0.0/0")"#, &[("1.2.3.4", false), ("none", true)]);
        for pattern in ["nope", "300.1.1.1", "10.0.0.9-10.0.0.1", "1.2.3.4/33", "1.2.3.4/-1"] {
            let error = compile(&format!(r#"|= ip("{pattern}")"#)).unwrap_err();
            assert_eq!(error, format!(r#"ip: invalid pattern: "{pattern}""#));
        }
        assert_eq!(compile(r#"|~ ip("10.0.0.1")"#).unwrap_err(), "ip: invalid operation");
    }
}
