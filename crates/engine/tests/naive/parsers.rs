//! The parser stages, as the language's reference describes them, one byte after the other.

use crate::filters::regex;
use crate::labels::{Entry, clean, sanitise};
use logyard_logql::Extraction;
use std::collections::BTreeSet;

/// Which labels anybody looks at, under a grouping that leaves out the others.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    /// The names; `None` for all.
    pub(crate) names: Option<BTreeSet<String>>,
}

impl Needed {
    pub(crate) fn nothing(&self) -> bool {
        self.names.as_ref().is_some_and(BTreeSet::is_empty)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    fn is_complete(&self, entry: &Entry) -> bool {
        self.names.as_ref().is_some_and(|names| names.iter().all(|name| entry.set_once.contains(name)))
    }

    /// Whether the query looks at errors itself.
    fn preserves(&self) -> bool {
        self.names.as_ref().is_some_and(|names| names.contains("__error__"))
    }

    fn fail(&self, entry: &mut Entry, error: &str, details: &str) {
        entry.fail(error, details);
        entry.preserve |= self.preserves();
    }
}

/// What ends the reading of a line.
enum Stop {
    Fault,
    Complete,
}

/// A JSON value as it stands in the line.
#[derive(Clone, Debug)]
enum Json {
    Text(Vec<u8>),
    Plain(String),
    Null,
    Array(usize, usize),
    Object(usize, usize),
}

/// Reads JSON leniently from a place on.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn blanks(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Reads what stands between double quotes, escapes left in.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes.get(at)? {
                b'\\' => at += 2,
                b'"' => break,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(&self.bytes[start..at])
    }

    /// Passes an array or object, texts inside respected.
    fn block(&mut self, open: u8, close: u8) -> Option<(usize, usize)> {
        let start = self.at;
        let mut depth = 0;
        loop {
            let byte = *self.bytes.get(self.at)?;
            if byte == b'"' {
                self.quoted()?;
                continue;
            }
            self.at += 1;
            if byte == open {
                depth += 1;
            } else if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Some((start, self.at));
                }
            }
        }
    }

    fn value(&mut self) -> Option<Json> {
        match self.blanks()? {
            b'"' => self.quoted().map(|raw| Json::Text(raw.to_vec())),
            b'{' => self.block(b'{', b'}').map(|(start, end)| Json::Object(start, end)),
            b'[' => self.block(b'[', b']').map(|(start, end)| Json::Array(start, end)),
            _ => {
                let start = self.at;
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                let length = self.bytes[start..].iter().position(ends)?;
                self.at += length;
                let text = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
                match text.as_str() {
                    "null" => Some(Json::Null),
                    "true" | "false" => Some(Json::Plain(text)),
                    _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                        Some(Json::Plain(text))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// Resolves the escapes of a JSON text; a bad one makes the whole text empty.
fn unescape(raw: &[u8]) -> String {
    resolve(raw, false).unwrap_or_default()
}

fn resolve(raw: &[u8], single_quote: bool) -> Option<String> {
    let text = String::from_utf8_lossy(raw).into_owned();
    let mut chars = text.chars();
    let mut out = String::new();
    let hex = |chars: &mut std::str::Chars<'_>| {
        let digits: String = chars.by_ref().take(4).collect();
        let good = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        good.then(|| u32::from_str_radix(&digits, 16).ok()).flatten()
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\'' if single_quote => '\'',
            c @ ('"' | '\\' | '/') => c,
            'u' => {
                let high = hex(&mut chars)?;
                if (0xd800..0xdc00).contains(&high) {
                    if (chars.next()?, chars.next()?) != ('\\', 'u') {
                        return None;
                    }
                    let low = hex(&mut chars)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?
                } else {
                    char::from_u32(high)?
                }
            }
            _ => return None,
        });
    }
    Some(out)
}

/// `json`: every leaf of an object becomes a label.
pub(crate) fn json(entry: &mut Entry, needed: &Needed) {
    if needed.nothing() {
        return;
    }
    let line = entry.line.clone();
    if let Err(Stop::Fault) = json_object(&line, "", entry, needed) {
        needed.fail(entry, "JSONParserErr", "malformed");
    }
}

fn json_object(bytes: &[u8], prefix: &str, entry: &mut Entry, needed: &Needed) -> Result<(), Stop> {
    let mut scanner = Scanner { bytes, at: 0 };
    if scanner.blanks() != Some(b'{') {
        return Err(Stop::Fault);
    }
    scanner.at += 1;
    loop {
        match scanner.blanks().ok_or(Stop::Fault)? {
            b'}' => return Ok(()),
            b'"' => {}
            _ => return Err(Stop::Fault),
        }
        let key = scanner.quoted().and_then(|raw| resolve(raw, false)).ok_or(Stop::Fault)?;
        if scanner.blanks() != Some(b':') {
            return Err(Stop::Fault);
        }
        scanner.at += 1;
        let value = scanner.value().ok_or(Stop::Fault)?;
        let segment: String = if prefix.is_empty() {
            sanitise(&key)
        } else {
            // Only a whole name must not begin with a digit.
            sanitise(&format!("x{}", key.trim()))[1..].to_owned()
        };
        let name = match (prefix.is_empty(), segment.is_empty()) {
            (true, _) => segment,
            (false, true) => prefix.to_owned(),
            (false, false) => format!("{prefix}_{segment}"),
        };
        let text = match value {
            Json::Text(raw) => Some(clean(&unescape(&raw))),
            Json::Plain(text) => Some(text),
            Json::Null | Json::Array(..) => None,
            Json::Object(start, end) => {
                json_object(&bytes[start..end], &name, entry, needed)?;
                None
            }
        };
        if let Some(text) = text
            && !name.is_empty()
            && needed.wants(&name)
        {
            entry.extract(&name, &text);
            if needed.is_complete(entry) {
                return Err(Stop::Complete);
            }
        }
        match scanner.blanks().ok_or(Stop::Fault)? {
            b',' => scanner.at += 1,
            b'}' => return Ok(()),
            _ => return Err(Stop::Fault),
        }
    }
}

enum Step {
    Key(String),
    Index(usize),
}

/// Reads `a.b["c"][0]`.
fn path(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, tail) = quoted.split_once("\"]").expect(text);
            steps.push(Step::Key(key.to_owned()));
            rest = tail;
        } else if let Some(number) = rest.strip_prefix('[') {
            let (index, tail) = number.split_once(']').expect(text);
            steps.push(Step::Index(index.parse().expect(text)));
            rest = tail;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    steps
}

/// Why a path leads nowhere.
enum Lost {
    /// The document ends, is garbled, or has no such place.
    Nowhere,
    /// The value that is wanted itself is cut off or no value.
    Fault,
}

/// Follows a path into a document; of equal keys the first counts. Returns the value's text.
fn follow(bytes: &[u8], steps: &[Step]) -> Result<String, Lost> {
    let mut scanner = Scanner { bytes, at: 0 };
    let first = scanner.blanks().ok_or(Lost::Nowhere)?;
    let Some((step, rest)) = steps.split_first() else {
        return Ok(match scanner.value().ok_or(Lost::Fault)? {
            Json::Text(raw) => clean(&unescape(&raw)),
            Json::Plain(text) => text,
            Json::Null => String::new(),
            Json::Array(start, end) | Json::Object(start, end) => {
                clean(&String::from_utf8_lossy(&bytes[start..end]))
            }
        });
    };
    let place = match step {
        Step::Key(wanted) if first == b'{' => find_key(&mut scanner, wanted),
        Step::Index(wanted) if first == b'[' => find_index(&mut scanner, *wanted),
        _ => None,
    };
    follow(&bytes[place.ok_or(Lost::Nowhere)?..], rest)
}

/// Returns where the value of a key of an object begins; missing commas are tolerated.
fn find_key(scanner: &mut Scanner<'_>, wanted: &str) -> Option<usize> {
    scanner.at += 1;
    while scanner.blanks()? == b'"' {
        let key = resolve(scanner.quoted()?, false)?;
        if scanner.blanks()? != b':' {
            return None;
        }
        scanner.at += 1;
        scanner.blanks()?;
        if key == wanted {
            return Some(scanner.at);
        }
        scanner.value()?;
        if scanner.blanks()? == b',' {
            scanner.at += 1;
        }
    }
    None
}

/// Returns where an element of an array begins.
fn find_index(scanner: &mut Scanner<'_>, wanted: usize) -> Option<usize> {
    scanner.at += 1;
    for index in 0.. {
        if scanner.blanks()? == b']' {
            return None;
        }
        if index == wanted {
            return Some(scanner.at);
        }
        scanner.value()?;
        if scanner.blanks()? != b',' {
            return None;
        }
        scanner.at += 1;
    }
    None
}

/// `json` with paths.
pub(crate) fn json_paths(entry: &mut Entry, paths: &[Extraction], needed: &Needed) {
    let Some(first) = entry.line.first().filter(|_| !needed.nothing()) else { return };
    if !matches!(first, b'"' | b'{' | b'[') {
        needed.fail(entry, "JSONParserErr", "");
        return;
    }
    let line = entry.line.clone();
    let mut missing = Vec::new();
    for one in paths {
        let found = follow(&line, &path(&one.source));
        // Recorded from Loki v3.7.6: of garbled documents only this is told.
        if let Err(Lost::Fault) = found {
            needed.fail(entry, "JSONParserErr", "malformed");
        }
        match found {
            Ok(value) => {
                let name = entry.stored_name(&one.label);
                entry.set(&name, &value);
            }
            Err(_) => missing.push(&one.label),
        }
    }
    for label in missing {
        if entry.get(label).is_none() {
            entry.set(label, "");
        }
    }
}

/// One pair of a logfmt line, or a fault.
enum Pair {
    Good(String, String),
    Fault,
}

/// Reads a logfmt line into pairs; after a fault reading goes on behind the next separator.
fn logfmt_pairs(line: &[u8]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut at = 0;
    let is_separator = |byte: Option<&u8>| byte.is_none_or(|byte| *byte <= b' ');
    while at < line.len() {
        if is_separator(line.get(at)) {
            at += 1;
            continue;
        }
        let start = at;
        while !is_separator(line.get(at)) && line[at] != b'=' && line[at] != b'"' {
            at += 1;
        }
        let key = String::from_utf8_lossy(&line[start..at]).into_owned();
        let mut value = Some(String::new());
        if line.get(at) == Some(&b'"') || key.is_empty() || key.contains('\u{fffd}') {
            value = None;
        } else if line.get(at) == Some(&b'=') {
            at += 1;
            if line.get(at) == Some(&b'"') {
                let mut scanner = Scanner { bytes: line, at };
                match scanner.quoted() {
                    Some(raw) => value = resolve(raw, true),
                    // The rest of the line is lost.
                    None => {
                        pairs.push(Pair::Fault);
                        return pairs;
                    }
                }
                at = scanner.at;
            } else {
                let start = at;
                while !is_separator(line.get(at)) && line[at] != b'=' && line[at] != b'"' {
                    at += 1;
                }
                let plain = String::from_utf8_lossy(&line[start..at]).into_owned();
                value = is_separator(line.get(at)).then_some(plain);
            }
        }
        match value {
            Some(value) => pairs.push(Pair::Good(key, value)),
            None => {
                pairs.push(Pair::Fault);
                while !is_separator(line.get(at)) {
                    at += 1;
                }
            }
        }
    }
    pairs
}

/// `logfmt`: every pair becomes a label.
pub(crate) fn logfmt(entry: &mut Entry, strict: bool, keep_empty: bool, needed: &Needed) {
    if needed.nothing() {
        return;
    }
    for pair in logfmt_pairs(&entry.line) {
        match pair {
            Pair::Good(key, value) => {
                let name = sanitise(&key);
                if value.is_empty() && !keep_empty || name.is_empty() || !needed.wants(&name) {
                    continue;
                }
                entry.extract(&name, &clean(&value));
                if needed.is_complete(entry) {
                    return;
                }
            }
            Pair::Fault if strict => return needed.fail(entry, "LogfmtParserErr", "fault"),
            Pair::Fault => {}
        }
    }
}

/// `logfmt` with keys: the last occurrence of a key wins.
pub(crate) fn logfmt_keys(entry: &mut Entry, keys: &[Extraction], strict: bool, needed: &Needed) {
    if needed.nothing() {
        return;
    }
    for one in keys {
        if !entry.collides(&one.label) {
            entry.set(&one.label, "");
        }
    }
    for pair in logfmt_pairs(&entry.line) {
        match pair {
            Pair::Good(key, value) => {
                let key = sanitise(&key);
                let value = if value.contains('\u{fffd}') { "" } else { &value };
                for one in keys {
                    if key == one.source.trim_matches('"') || key == one.label {
                        // Recorded from Loki v3.7.6: under its other name the first value stays.
                        if entry.collides(&one.label) {
                            entry.extract(&one.label, value);
                        } else {
                            entry.set(&one.label, value);
                        }
                    }
                }
            }
            Pair::Fault if strict => return needed.fail(entry, "LogfmtParserErr", "fault"),
            Pair::Fault => {}
        }
    }
}

/// `regexp`: the named groups of the first match.
pub(crate) fn regexp(entry: &mut Entry, pattern: &str) {
    let regex = regex(pattern);
    let line = String::from_utf8_lossy(&entry.line).into_owned();
    let Some(found) = regex.captures(&line) else { return };
    for name in regex.capture_names().flatten() {
        entry.extract(name, found.name(name).map_or("", |group| group.as_str()));
    }
}

/// `pattern`: captures between literals.
pub(crate) fn pattern(entry: &mut Entry, pattern: &str, needed: &Needed) {
    if entry.line.is_empty() || needed.nothing() {
        return;
    }
    let line = String::from_utf8_lossy(&entry.line).into_owned();
    let mut pieces =
        regex("<([A-Za-z_][A-Za-z0-9_]*)>").split(pattern).map(str::to_owned).collect::<Vec<_>>();
    let names: Vec<String> =
        regex("<([A-Za-z_][A-Za-z0-9_]*)>").captures_iter(pattern).map(|found| found[1].to_owned()).collect();
    let Some(mut rest) = line.strip_prefix(pieces.remove(0).as_str()) else { return };
    for (name, literal) in names.iter().zip(&pieces) {
        let split = if literal.is_empty() { None } else { rest.split_once(literal.as_str()) };
        let (value, tail) = split.unwrap_or((rest, ""));
        if name != "_" && needed.wants(name) {
            entry.extract(name, value);
        }
        if split.is_none() {
            return;
        }
        rest = tail;
    }
}

/// `unpack`: labels and line of a packed entry.
pub(crate) fn unpack(entry: &mut Entry, needed: &Needed) {
    let line = entry.line.clone();
    let Some(first) = line.first().filter(|_| !needed.nothing()) else { return };
    let texts = if *first == b'{' { packed_texts(&line) } else { None };
    let Some(texts) = texts else { return needed.fail(entry, "JSONParserErr", "malformed") };
    let Some((_, inner)) = texts.iter().rev().find(|(key, _)| key == "_entry") else { return };
    let mut seen = BTreeSet::new();
    for (key, value) in texts.iter().rev().filter(|(key, _)| key != "_entry") {
        let name = sanitise(&entry.stored_name(key));
        let earlier = entry.set_once.contains(&name) && !seen.contains(&name);
        if name.is_empty() || !needed.wants(&name) || earlier || !seen.insert(name.clone()) {
            continue;
        }
        entry.set(&name, &clean(value));
    }
    entry.line = inner.clone().into_bytes();
}

/// The texts at the top of an object, in order; nothing if it is malformed.
fn packed_texts(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut scanner = Scanner { bytes, at: 1 };
    let mut texts = Vec::new();
    loop {
        match scanner.blanks()? {
            b'}' => return Some(texts),
            b'"' => {}
            _ => return None,
        }
        let key = resolve(scanner.quoted()?, false)?;
        if scanner.blanks()? != b':' {
            return None;
        }
        scanner.at += 1;
        if let Json::Text(raw) = scanner.value()? {
            // A line that cannot be unescaped is malformed; a label is empty.
            let value = if key == "_entry" { resolve(&raw, false)? } else { unescape(&raw) };
            texts.push((key, value));
        }
        match scanner.blanks()? {
            b',' => scanner.at += 1,
            b'}' => return Some(texts),
            _ => return None,
        }
    }
}

/// `decolorize`: removes colour codes.
pub(crate) fn decolorize(entry: &mut Entry) {
    let codes = regex(
        "[\\x1B\\x{9B}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\\x07)|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))",
    );
    let line = String::from_utf8_lossy(&entry.line).into_owned();
    entry.line = codes.replace_all(&line, "").into_owned().into_bytes();
}
