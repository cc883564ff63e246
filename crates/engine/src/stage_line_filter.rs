//! Line filters: substrings, regular expressions, patterns and addresses.
//!
//! Lines are bytes. A line as an entry holds it never ends in a newline, but may hold some.

use crate::error::Error;
use crate::line_source::LineSource;
use crate::prefilter::{LONG_FORMS, Sought};
use logyard_codec::{Block, LetterCase, Needles};
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
    /// How to find, in many lines at once, all lines that an alternative may be found in.
    search: Option<Search>,
}

#[derive(Debug)]
enum Alternative {
    Text(Box<memmem::Finder<'static>>),
    Regex(Regex),
    Pattern(Vec<PatternPart>),
    Address(AddressTest),
}

/// A search over many lines.
#[derive(Debug)]
pub(crate) struct Search {
    /// Every line in which an alternative is found holds one, but for those with one of `doubtful`.
    pub(crate) needles: Needles<'static>,
    /// What lines may hold in place of letters of the needles.
    doubtful: Option<Needles<'static>>,
    /// Whether an alternative is found in every line that holds one of the needles.
    is_answer: bool,
}

/// Texts shorter than this are in most lines: looking for them first is in vain, unless that is the filter.
const SEARCH_BYTES_MIN: usize = 3;

impl LineTest {
    pub(crate) fn compile(filter: &LineFilter) -> Result<Self, String> {
        let alternatives = filter.args.iter().map(|arg| Alternative::compile(filter.op, arg));
        let alternatives: Vec<_> = alternatives.collect::<Result<_, _>>()?;
        let search = Search::new(filter, &alternatives);
        Ok(Self { alternatives, negated: filter.op.is_negated(), search })
    }

    pub(crate) fn passes(&self, line: &[u8]) -> bool {
        self.is_found_in(line) != self.negated
    }

    fn is_found_in(&self, line: &[u8]) -> bool {
        self.alternatives.iter().any(|alternative| alternative.found_in(line))
    }

    /// Returns the search that finds what the filter asks for, if there is one and the filter is not negated.
    pub(crate) fn search(&self) -> Option<&Search> {
        self.search.as_ref().filter(|_| !self.negated)
    }

    /// Returns whether one pass over many lines tells those that pass, without a look at any.
    pub(crate) fn is_answered_by_search(&self) -> bool {
        self.search.as_ref().is_some_and(Search::is_answer)
    }

    /// Returns whether one pass over many lines tells those apart that need no look of their own.
    pub(crate) fn searches_blocks(&self) -> bool {
        self.search.is_some()
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
        block.rows_with(&search.needles, rows.clone(), &mut found)?;
        let mut in_doubt = Vec::new();
        if let Some(doubtful) = &search.doubtful {
            block.rows_with(doubtful, rows.clone(), &mut in_doubt)?;
        }
        if search.is_answer {
            in_doubt.retain(|row| found.binary_search(row).is_err());
        } else {
            in_doubt.append(&mut found);
        }
        if !in_doubt.is_empty() {
            let mut lines = LineSource::new(block, in_doubt.len())?;
            for row in in_doubt {
                if self.is_found_in(lines.line(row)?) {
                    found.push(row);
                }
            }
            found.sort_unstable();
            found.dedup();
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
    fn new(filter: &LineFilter, alternatives: &[Alternative]) -> Option<Self> {
        if let [Alternative::Text(finder)] = alternatives {
            // The empty text, too, and one that holds a newline.
            let needles = Needles::one((**finder).clone());
            return Some(Self { needles, doubtful: None, is_answer: true });
        }
        let mut each =
            alternatives.iter().zip(&filter.args).map(|(alternative, arg)| alternative.sought(arg));
        let first = each.next()??;
        let sought = each.try_fold(first, |all, sought| all.or(sought?))?;
        let shortest = sought.texts.iter().map(Vec::len).min().unwrap_or_default();
        if !sought.is_answer && shortest < SEARCH_BYTES_MIN {
            return None;
        }
        let needles = Needles::any(sought.texts, sought.case)?;
        let long_forms =
            || Needles::any(LONG_FORMS.map(|form| form.as_bytes().to_vec()).into(), LetterCase::Told);
        let doubtful = if sought.may_be_long { Some(long_forms()?) } else { None };
        Some(Self { needles, doubtful, is_answer: sought.is_answer })
    }

    /// Returns whether hits need no look of their own, though a few other lines may.
    pub(crate) fn decides(&self) -> bool {
        self.is_answer
    }

    /// Returns whether every line that passes has a hit.
    pub(crate) fn finds_all(&self) -> bool {
        self.doubtful.is_none()
    }

    /// Returns whether the hits are all that is asked for.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_answer && self.doubtful.is_none()
    }

    /// Appends the rows that are to be looked at, ascending; others are not found.
    pub(crate) fn candidates(
        &self,
        block: &Block,
        rows: Range<u32>,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        block.rows_with(&self.needles, rows.clone(), out)?;
        if let Some(doubtful) = &self.doubtful {
            block.rows_with(doubtful, rows, out)?;
            out.sort_unstable();
            out.dedup();
        }
        Ok(())
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

    /// Returns what to look for in many lines so that it is found.
    fn sought(&self, arg: &LineFilterArg) -> Option<Sought> {
        match (self, arg) {
            (Self::Text(finder), _) => Sought::of_text(finder.needle(), true),
            (Self::Regex(_), LineFilterArg::Text(pattern)) => Sought::of_regex(pattern),
            (Self::Regex(_), LineFilterArg::Ip(_)) => None,
            (Self::Pattern(parts), _) => Sought::of_pattern(parts),
            (Self::Address(test), _) => Sought::of_text(test.required_text()?.as_bytes(), false),
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
    use bytes::Bytes;
    use logyard_codec::{BlockBuilder, Entries, LineCodec};
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

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

    /// Lines of few forms, which are shredded, and some that are like no other.
    fn lines() -> Vec<String> {
        let words = ["reset", "Refused", "CLOSED", "timed out", "ok"];
        let line = |row: usize| match row % 5 {
            0 => format!("conn{} error {} after {} ms", row % 7, words[row / 5 % 5], row * 7919 % 1000),
            1 => format!(
                "{{\"msg\":\"connection {}\",\"id\":\"{:08x}\"}}",
                words[row / 5 % 5],
                row * 2_654_435_761
            ),
            2 => format!("level=warn task{} msg=\"Session {}\" n={row}", row % 3, words[row / 7 % 5]),
            3 => format!(
                "10.0.{}.{} - failed pa\u{17f}{}word for user{}",
                row % 9,
                row % 250,
                ["s", "\u{17f}"][row / 5 % 2],
                row % 11
            ),
            _ if row % 35 == 4 => format!("line\nof {row} CONNECTION reset"),
            _ => {
                format!("Failed Password for user{} from 10.0.0.{} port {}", row % 13, row % 250, 1000 + row)
            }
        };
        (0..2_000).map(line).collect()
    }

    #[test]
    fn shredded_lines_are_found_as_plain_ones() {
        let mut entries = Entries::new();
        let lines = lines();
        lines.iter().for_each(|line| entries.push(0, line.as_bytes(), "", &LabelSet::default()));
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..entries.len());
        let encoded = builder.finish_with(LineCodec::BEST);
        let open =
            || Block::open(Arc::new(encoded.meta.clone()), Arc::new(Bytes::from(encoded.bytes.clone())), 0);
        assert!(open().is_shredded());
        for filter in [
            r#"|= "error""#,
            r#"|= "error" or "Session timed""#,
            r#"!= "error" or "Session timed""#,
            r#"|~ "(?:connection|Session|conn3 error) (?:reset|CLOSED|timed out)""#,
            r#"!~ "(?:connection|Session) (?:reset|CLOSED|timed out)""#,
            r#"|~ "(?i)failed password|session closed""#,
            r#"!~ "(?i)failed password|session closed""#,
            r#"|~ "(?i)connection RESET""#,
            r#"|~ "(?i:connection) reset""#,
            r#"|~ "(?i)task1|user1[0-2] from""#,
            r#"|~ "user1 from 10.0.0.1[0-9] port""#,
            r#"|~ "error.*5 ms""#,
            r#"|~ "^conn3""#,
            r#"|~ "1[0-9] ms$""#,
            r#"|~ "n=1?7|port 10[05]""#,
            r#"|> "conn<_> error <_> after <_>""#,
            r#"!> "<_>connection reset<_>""#,
            r#"|= ip("10.0.3.0/24")"#,
            r#"|= "user7" or ip("10.0.3.0/24")"#,
            r#"|~ "line\nof""#,
            r#"|= "line\nof""#,
            r#"|~ "[0-9]{3}""#,
        ] {
            let test = compile(filter).unwrap();
            let (whole, in_parts) = (open(), open());
            let expect: Vec<u32> = (0u32..)
                .zip(&lines)
                .filter(|(_, line)| test.passes(line.as_bytes()))
                .map(|(row, _)| row)
                .collect();
            assert!(!expect.is_empty() && expect.len() < lines.len(), "{filter}");
            let (mut rows, mut of_parts) = (Vec::new(), Vec::new());
            test.rows(&whole, 0..2_000, &mut rows).unwrap();
            assert_eq!(rows, expect, "{filter}");
            for first in (0..2_000).step_by(50) {
                test.rows(&in_parts, first..first + 50, &mut of_parts).unwrap();
            }
            assert_eq!(of_parts, expect, "{filter}");
        }
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
