//! The words of a template: text outside `{{ }}`, tokens inside.
//!
//! `{{- ` and ` -}}` trim the text next to them; comments vanish. Errors carry Go's reason and the
//! line they are on.

/// Refused: the line, counted from 1, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(String),
    Open,
    Close,
    Name(String),
    /// `.name`, without the dot.
    Field(String),
    /// `$name`, with the dollar.
    Variable(String),
    Dot,
    Number(String),
    /// `'x'` as it is written.
    Char(String),
    /// A text as it is written, and its bytes.
    Quoted(String, Vec<u8>),
    Pipe,
    Declare,
    Assign,
    Comma,
    Left,
    Right,
    End,
}

/// A token and where it starts, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    /// Whether a blank stands before it.
    pub(crate) spaced: bool,
    /// As it is written.
    pub(crate) source: String,
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template; the last token is [`Kind::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

/// Returns the line of a byte position, counted from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: line_of(self.text, at), reason: reason.into() })
    }

    fn push(&mut self, kind: Kind, bytes: usize, spaced: bool) {
        let source = self.rest().get(..bytes).unwrap_or_default().to_owned();
        self.tokens.push(Token { kind, at: self.at, spaced, source });
        self.at += bytes;
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut trim_start = false;
        loop {
            let rest = self.rest();
            let (mut text, open) = match rest.find("{{") {
                Some(found) => (rest.get(..found).unwrap_or_default(), true),
                None => (rest, false),
            };
            let length = text.len();
            let after = rest.get(length + 2..).unwrap_or_default();
            let trims = open && after.strip_prefix('-').is_some_and(|after| after.starts_with(BLANKS));
            if trim_start {
                text = text.trim_start_matches(BLANKS);
            }
            if trims {
                text = text.trim_end_matches(BLANKS);
            }
            if !text.is_empty() {
                self.tokens.push(Token {
                    kind: Kind::Text(text.to_owned()),
                    at: self.at,
                    spaced: false,
                    source: text.to_owned(),
                });
            }
            self.at += length;
            if !open {
                self.push(Kind::End, 0, false);
                return Ok(());
            }
            let marker = if trims { 4 } else { 2 };
            let inside = rest.get(length + marker..).unwrap_or_default();
            if inside.starts_with("/*") {
                self.at += marker;
                trim_start = self.comment(inside)?;
                continue;
            }
            self.push(Kind::Open, marker.min(3), false);
            trim_start = self.action()?;
        }
    }

    /// Passes over a comment; returns whether the text behind is trimmed.
    fn comment(&mut self, inside: &str) -> Result<bool, Fault> {
        let Some(end) = inside.find("*/") else { return self.fault(self.at, "unclosed comment") };
        let after = inside.get(end + 2..).unwrap_or_default();
        let trimmed = after.trim_start_matches(BLANKS);
        if trimmed.len() < after.len() && trimmed.starts_with("-}}") {
            self.at += end + 2 + (after.len() - trimmed.len()) + 3;
            return Ok(true);
        }
        if !after.starts_with("}}") {
            return self.fault(self.at, "comment ends before closing delimiter");
        }
        self.at += end + 4;
        Ok(false)
    }

    /// Reads tokens up to the closing braces; returns whether the text behind is trimmed.
    fn action(&mut self) -> Result<bool, Fault> {
        let (start, mut depth) = (self.at, 0_usize);
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(BLANKS);
            let blanks = rest.len() - trimmed.len();
            let trims = blanks > 0 && trimmed.starts_with("-}}");
            if trims || trimmed.starts_with("}}") {
                if depth > 0 {
                    return self.fault(self.at, "unclosed left paren");
                }
                self.at += blanks;
                self.push(Kind::Close, if trims { 3 } else { 2 }, blanks > 0);
                return Ok(trims);
            }
            self.at += blanks;
            let Some(c) = trimmed.chars().next() else { return self.fault(start, "unclosed action") };
            let spaced = blanks > 0;
            match c {
                '(' => {
                    depth += 1;
                    self.push(Kind::Left, 1, spaced);
                }
                ')' if depth == 0 => return self.fault(self.at, "unexpected right paren"),
                ')' => {
                    depth -= 1;
                    self.push(Kind::Right, 1, spaced);
                }
                '|' => self.push(Kind::Pipe, 1, spaced),
                ',' => self.push(Kind::Comma, 1, spaced),
                '=' => self.push(Kind::Assign, 1, spaced),
                ':' if trimmed.starts_with(":=") => self.push(Kind::Declare, 2, spaced),
                ':' => return self.fault(self.at, "expected :="),
                '"' | '`' | '\'' => self.quoted(c, spaced)?,
                '.' if !trimmed.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => {
                    let name = name_at(trimmed.get(1..).unwrap_or_default());
                    if name.is_empty() {
                        self.push(Kind::Dot, 1, spaced);
                    } else {
                        self.end_of_word(1 + name.len())?;
                        self.push(Kind::Field(name.to_owned()), 1 + name.len(), spaced);
                    }
                }
                '$' => {
                    let name = name_at(trimmed.get(1..).unwrap_or_default());
                    self.end_of_word(1 + name.len())?;
                    self.push(Kind::Variable(format!("${name}")), 1 + name.len(), spaced);
                }
                c if c.is_ascii_digit() || "+-.".contains(c) => {
                    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
                    let mut length = 1;
                    let mut before = c;
                    for next in trimmed.chars().skip(1) {
                        // The sign of an exponent belongs to the number.
                        let signed =
                            "+-".contains(next) && "eEpP".contains(before) && !trimmed.starts_with("0x");
                        if !is_part(next) && !signed {
                            break;
                        }
                        (length, before) = (length + 1, next);
                    }
                    let number = trimmed.get(..length).unwrap_or_default();
                    self.push(Kind::Number(number.to_owned()), length, spaced);
                }
                c if c.is_alphanumeric() || c == '_' => {
                    let name = name_at(trimmed);
                    self.end_of_word(name.len())?;
                    self.push(Kind::Name(name.to_owned()), name.len(), spaced);
                }
                c => {
                    let shown = format!("unrecognized character in action: U+{:04X} '{c}'", c as u32);
                    return self.fault(self.at, shown);
                }
            }
        }
    }

    /// Refuses words that run into something they may not run into.
    fn end_of_word(&self, length: usize) -> Result<(), Fault> {
        let after = self.rest().get(length..).unwrap_or_default();
        match after.chars().next() {
            None => Ok(()),
            Some(c) if BLANKS.contains(&c) || ".,|:)(=".contains(c) || after.starts_with("}}") => Ok(()),
            Some(c) => self.fault(self.at, format!("bad character U+{:04X} '{c}'", c as u32)),
        }
    }

    fn quoted(&mut self, quote: char, spaced: bool) -> Result<(), Fault> {
        let inside = self.rest().get(1..).unwrap_or_default();
        let mut escaped = false;
        let end = inside.char_indices().find(|(_, c)| {
            let found = !escaped && (*c == quote || quote != '`' && *c == '\n');
            escaped = quote != '`' && !escaped && *c == '\\';
            found
        });
        let Some((length, _)) = end.filter(|(_, c)| *c == quote) else {
            let what = match quote {
                '"' => "unterminated quoted string",
                '`' => "unterminated raw quoted string",
                _ => "unterminated character constant",
            };
            return self.fault(self.at, what);
        };
        let content = inside.get(..length).unwrap_or_default();
        let source = self.rest().get(..length + 2).unwrap_or_default().to_owned();
        let kind = match quote {
            '\'' => Kind::Char(source),
            '`' => Kind::Quoted(source, content.replace('\r', "").into_bytes()),
            _ => match unquote(content) {
                Some(value) => Kind::Quoted(source, value),
                None => return self.fault(self.at, "invalid syntax"),
            },
        };
        self.push(kind, length + 2, spaced);
        Ok(())
    }
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Resolves Go's escapes; `None` for a bad one.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        let mut digits = |from: usize, count: usize, radix: u32| {
            let code = u32::from_str_radix(rest.get(from..from + count)?, radix).ok()?;
            rest = rest.get(from + count..)?;
            Some(code)
        };
        match escape {
            'x' => out.push(u8::try_from(digits(1, 2, 16)?).ok()?),
            '0'..='7' => out.push(u8::try_from(digits(0, 3, 8)?).ok()?),
            'u' | 'U' => {
                let code = digits(1, if escape == 'u' { 4 } else { 8 }, 16)?;
                out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => {
                let plain = match escape {
                    'a' => 0x07,
                    'b' => 0x08,
                    'f' => 0x0c,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 0x0b,
                    '\\' => b'\\',
                    '"' => b'"',
                    '\'' => b'\'',
                    _ => return None,
                };
                out.push(plain);
                rest = rest.get(1..)?;
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_and_comments() {
        let check = |text: &str, expect: &[&str]| {
            let tokens = lex(text).unwrap();
            let sources: Vec<_> = tokens.iter().map(|token| token.source.as_str()).collect();
            assert_eq!(sources, expect, "{text}");
        };
        check("a {{- 1 -}} b", &["a", "{{-", "1", "-}}", "b", ""]);
        check("a {{/* x */}} b", &["a ", " b", ""]);
        check("a {{- /* x */ -}} b", &["a", "b", ""]);
        check("{{-1}}", &["{{", "-1", "}}", ""]);
        check(
            r#"{{.a.b|f "}}" `x` 'y' $v 1e+5}}"#,
            &["{{", ".a", ".b", "|", "f", "\"}}\"", "`x`", "'y'", "$v", "1e+5", "}}", ""],
        );
    }

    #[test]
    fn refused() {
        for (text, line, reason) in [
            ("\n{{.x", 2, "unclosed action"),
            ("{{", 1, "unclosed action"),
            ("{{/* x }}", 1, "unclosed comment"),
            ("{{(1}}", 1, "unclosed left paren"),
            ("{{1)}}", 1, "unexpected right paren"),
            ("{{\"a}}", 1, "unterminated quoted string"),
            ("{{a!}}", 1, "bad character U+0021 '!'"),
            ("{{!}}", 1, "unrecognized character in action: U+0021 '!'"),
        ] {
            assert_eq!(lex(text).unwrap_err(), Fault { line, reason: reason.to_owned() }, "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unquote(r#"a\n\"\x41\101\u00e9"#).unwrap(), "a\n\"AAé".as_bytes());
        assert_eq!(unquote(r"\q"), None);
    }
}
