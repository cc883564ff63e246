//! Character classes and escapes of Go's dialect.

use super::{GoRegexError, Reader};
use std::fmt::Write as _;

/// General categories of Unicode by the names that Go knows.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Named classes that stand inside `[…]` as `[:name:]`, in both dialects ASCII only.
const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A class that matches nothing: what a lone surrogate stands for.
const NOTHING: &str = "[^\\x{0}-\\x{10FFFF}]";

/// Writes one code point so that it can stand anywhere.
pub(super) fn code_point(code: u32) -> String {
    match char::from_u32(code) {
        None => NOTHING.to_owned(),
        Some(c) if c.is_ascii_alphanumeric() || c == '_' || c as u32 > 0x7f => c.to_string(),
        Some(_) => format!("\\x{{{code:X}}}"),
    }
}

impl Reader {
    /// Reads `[…]` and returns its translation.
    pub(super) fn read_class(&mut self) -> Result<String, GoRegexError> {
        let start = self.position;
        self.position += 1;
        let mut items = String::new();
        let negated = self.peek(0) == Some('^');
        if negated {
            self.position += 1;
        }
        let mut first = true;
        while first || self.peek(0) != Some(']') {
            first = false;
            if let Some(item) = self.read_posix()? {
                items.push_str(&item);
            } else if let Some(item) = self.read_class_escape()? {
                items.push_str(&item);
            } else {
                self.read_range(start, &mut items)?;
            }
        }
        self.position += 1;
        let sign = if negated { "^" } else { "" };
        // Only lone surrogates were listed: nothing, or everything.
        if items.is_empty() {
            return Ok(if negated { "[\\x{0}-\\x{10FFFF}]".to_owned() } else { NOTHING.to_owned() });
        }
        Ok(format!("[{sign}{items}]"))
    }

    /// Reads one character or `lo-hi` of a class that began at `start`.
    fn read_range(&mut self, start: usize, items: &mut String) -> Result<(), GoRegexError> {
        let range_start = self.position;
        let low = self.read_class_char(start)?;
        let mut high = low;
        let dash = self.peek(0) == Some('-') && self.peek(1).is_some_and(|c| c != ']');
        if dash {
            self.position += 1;
            high = self.read_class_char(start)?;
        }
        if high < low {
            return self.error("invalid character class range", range_start, self.position);
        }
        for (from, to) in [(low, high.min(0xd7ff)), (low.max(0xe000), high)] {
            if from <= to {
                // Writing to a text cannot fail.
                write!(items, "\\x{{{from:X}}}-\\x{{{to:X}}}").unwrap_or_default();
            }
        }
        Ok(())
    }

    fn read_class_char(&mut self, start: usize) -> Result<u32, GoRegexError> {
        match self.peek(0) {
            None => self.error("missing closing ]", start, self.chars.len()),
            Some('\\') => self.read_escape(),
            Some(c) => {
                self.position += 1;
                Ok(c as u32)
            }
        }
    }

    /// Reads `[:name:]` or `[:^name:]`; without the end mark it is no named class.
    fn read_posix(&mut self) -> Result<Option<String>, GoRegexError> {
        if self.peek(0) != Some('[') || self.peek(1) != Some(':') {
            return Ok(None);
        }
        let rest = self.chars.get(self.position + 2..).unwrap_or_default();
        let Some(length) = rest.windows(2).position(|pair| pair == [':', ']']) else {
            return Ok(None);
        };
        let (start, end) = (self.position, self.position + length + 4);
        let name = self.fragment(start + 2, end - 2);
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return self.error("invalid character class range", start, end);
        }
        self.position = end;
        Ok(Some(format!("[:{name}:]")))
    }

    /// Reads an escape that stands for a class; returns it as an item of a class.
    pub(super) fn read_class_escape(&mut self) -> Result<Option<String>, GoRegexError> {
        if self.peek(0) != Some('\\') {
            return Ok(None);
        }
        let item = match self.peek(1) {
            Some('d') => "0-9",
            Some('D') => "[^0-9]",
            Some('s') => "\\t\\n\\x0C\\r\\x20",
            Some('S') => "[^\\t\\n\\x0C\\r\\x20]",
            Some('w') => "0-9A-Za-z_",
            Some('W') => "[^0-9A-Za-z_]",
            Some('p' | 'P') => return self.read_property().map(Some),
            _ => return Ok(None),
        };
        self.position += 2;
        Ok(Some(item.to_owned()))
    }

    /// Reads `\pL`, `\p{Greek}`, `\P{^Greek}`.
    fn read_property(&mut self) -> Result<String, GoRegexError> {
        let start = self.position;
        let mut negated = self.peek(1) == Some('P');
        let (name, end) = match self.peek(2) {
            None => return self.error("invalid character class range", start, start + 2),
            Some('{') => {
                let rest = self.chars.get(start..).unwrap_or_default();
                let Some(length) = rest.iter().position(|&c| c == '}') else {
                    return self.error("invalid character class range", start, self.chars.len());
                };
                (self.fragment(start + 3, start + length), start + length + 1)
            }
            Some(c) => (c.to_string(), start + 3),
        };
        let name = match name.strip_prefix('^') {
            Some(rest) => {
                negated = !negated;
                rest.to_owned()
            }
            None => name,
        };
        self.position = end;
        let sign = if negated { "P" } else { "p" };
        match &*name {
            "Any" if negated => return Ok("[^\\x{0}-\\x{10FFFF}]".to_owned()),
            "Any" => return Ok("\\x{0}-\\x{10FFFF}".to_owned()),
            // The other dialect knows no surrogates.
            "Cs" if negated => return Ok("\\x{0}-\\x{10FFFF}".to_owned()),
            "Cs" => return Ok(NOTHING.to_owned()),
            _ => {}
        }
        if CATEGORIES.contains(&&*name) {
            return Ok(format!("\\{sign}{{gc={name}}}"));
        }
        // A script starts with a capital letter in Go; the other dialect would take any spelling.
        let capital = name.starts_with(|c: char| c.is_ascii_uppercase());
        let plain = name.len() > 2 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        let text = format!("\\{sign}{{sc={name}}}");
        if capital && plain && regex_syntax::parse(&text).is_ok() {
            return Ok(text);
        }
        self.error("invalid character class range", start, end)
    }

    /// Reads an escape that stands for one code point.
    pub(super) fn read_escape(&mut self) -> Result<u32, GoRegexError> {
        let start = self.position;
        self.position += 1;
        let Some(c) = self.peek(0) else {
            return self.error("trailing backslash at end of expression", start + 1, start + 1);
        };
        self.position += 1;
        let code = match c {
            '0' => self.octal(0),
            '1'..='7' if matches!(self.peek(0), Some('0'..='7')) => self.octal(c as u32 - '0' as u32),
            'x' => match self.hexadecimal() {
                Some(code) => code,
                None => return self.error("invalid escape sequence", start, self.position),
            },
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c as u32,
            _ => return self.error("invalid escape sequence", start, self.position),
        };
        Ok(code)
    }

    /// Reads up to two more octal digits.
    fn octal(&mut self, mut code: u32) -> u32 {
        for _ in 0..2 {
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(8)) else { break };
            self.position += 1;
            code = code * 8 + digit;
        }
        code
    }

    /// Reads what follows `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let c = self.peek(0)?;
        self.position += 1;
        if c != '{' {
            let next = self.peek(0)?;
            self.position += 1;
            return Some(c.to_digit(16)? * 16 + next.to_digit(16)?);
        }
        let (mut code, mut digits) = (0_u32, 0);
        loop {
            let c = self.peek(0)?;
            self.position += 1;
            if c == '}' {
                return (digits > 0).then_some(code);
            }
            code = code * 16 + c.to_digit(16)?;
            if code > 0x10_ffff {
                return None;
            }
            digits += 1;
        }
    }
}
