//! Words into a tree: the entry point and what all parts of the parser share.
//!
//! Recursive descent by parentheses; operators are joined by precedence, without recursion. Two things are
//! bounded by [`DEPTH_MAX`]: the parentheses open at once in the text, and the *levels* of the tree, which
//! are the parentheses open at once in its canonical text. So neither reading nor walking or dropping a tree
//! can exhaust the stack, and the canonical text of whatever is accepted is accepted too.

use crate::check;
use crate::error::{ParseError, Span};
use crate::hint;
use crate::lexer::{DEPTH_MAX, Words};
use crate::token::{Kind, Token};
use crate::tree::Expr;

/// Size from which a query is refused, in bytes (Loki v3.7.6).
pub const INPUT_BYTES_MAX: usize = 131_072;

/// Parses and checks a query.
///
/// Errors: Loki's text, with the place where Loki gives one.
/// Cost: time and memory linear in the text; texts from [`INPUT_BYTES_MAX`] on are refused unread.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let expr = parse_unchecked(text)?;
    check::check(&expr)?;
    Ok(expr)
}

/// Parses a query without asking whether its selector may choose all streams: for choosing among entries at hand.
///
/// Errors and cost: as of [`parse`]. Source: Promtail v3.6.15 reads the selectors of its stages so.
pub fn parse_unchecked(text: &str) -> Result<Expr, ParseError> {
    if text.len() >= INPUT_BYTES_MAX {
        let reason = format!("input size too long ({} > {INPUT_BYTES_MAX})", text.len());
        return Err(ParseError::unplaced(reason, None));
    }
    if text.is_empty() {
        return Err(ParseError::unplaced("syntax error: unexpected $end", None));
    }
    let mut parser = Parser::new(text);
    let expr = parser.parse_query()?;
    if let Some(fault) = parser.later {
        return Err(fault);
    }
    Ok(expr)
}

/// A place in the list of words.
pub(crate) struct Parser<'a> {
    text: &'a str,
    /// Read up to [`AHEAD`] words from `at` on.
    words: Words<'a>,
    at: usize,
    /// The first fault that is no matter of grammar: told only if the grammar is right (Loki v3.7.6).
    later: Option<ParseError>,
}

const END: &Kind = &Kind::End;

/// How many words from the next one on the grammar looks at.
const AHEAD: usize = 4;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut parser = Self { text, words: Words::new(text), at: 0, later: None };
        parser.read_ahead();
        parser
    }

    pub(crate) fn peek(&self) -> &Kind {
        self.peek_at(0)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> &Kind {
        debug_assert!(ahead < AHEAD, "words so far ahead have not been read");
        self.token(ahead).map_or(END, |token| &token.kind)
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.words.read().get(self.at + ahead)
    }

    fn read_ahead(&mut self) {
        self.words.first(self.at + AHEAD);
    }

    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Kind::Sign(found) if *found == sign)
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(found) if *found == word)
    }

    pub(crate) fn advance(&mut self) {
        self.at += 1;
        self.read_ahead();
    }

    pub(crate) fn accept_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.advance();
        }
        found
    }

    pub(crate) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(crate) fn expect_sign(&mut self, sign: &'static str) -> Result<(), ParseError> {
        if self.accept_sign(sign) { Ok(()) } else { Err(self.unexpected(&[sign])) }
    }

    pub(crate) fn expect_text(&mut self) -> Result<String, ParseError> {
        let Kind::Text(text) = self.peek() else { return Err(self.unexpected(&["STRING"])) };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// First byte of the next word.
    pub(crate) fn start(&self) -> usize {
        self.token(0).map_or(self.text.len(), |token| token.span.start)
    }

    /// Returns a word as it is written.
    pub(crate) fn text_at(&self, ahead: usize) -> &str {
        let span = self.token(ahead).map_or(Span::default(), |token| token.span);
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// From `start` to the end of the last word read.
    pub(crate) fn span_from(&self, start: usize) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.words.read().get(at));
        Span { start, end: last.map_or(start, |token| token.span.end.max(start)) }
    }

    /// Refuses the next word; without `expecting` the text lists nothing, as Loki's often does.
    pub(crate) fn unexpected(&self, expecting: &[&str]) -> ParseError {
        let end = Span { start: self.text.len(), end: self.text.len() };
        let (kind, span) = match self.token(0) {
            Some(token) => (&token.kind, token.span),
            None => (END, end),
        };
        if *kind == Kind::TooDeep {
            return self.too_deep();
        }
        let hint = hint::hint(self.text, self.words.read(), self.at, expecting);
        if let Kind::Fault(reason) = kind {
            return ParseError::at(self.text, span, reason.clone()).with_hint(hint);
        }
        let mut message = format!("syntax error: unexpected {}", kind.name());
        if !expecting.is_empty() {
            message.push_str(", expecting ");
            message.push_str(&expecting.join(" or "));
        }
        ParseError::at(self.text, span, message).with_hint(hint)
    }

    /// Refuses what was just read, without a place, as Loki does for faults that are no grammar.
    pub(crate) fn refuse(&self, reason: impl Into<String>, start: usize) -> ParseError {
        let reason = reason.into();
        let hint = hint::of_refusal(&reason);
        ParseError::unplaced(reason, Some(self.span_from(start))).with_hint(hint)
    }

    /// Refuses what was just read, at its place.
    pub(crate) fn refuse_here(&self, reason: impl Into<String>, start: usize) -> ParseError {
        ParseError::at(self.text, self.span_from(start), reason.into())
    }

    /// Refuses what was just read once the rest has been read.
    pub(crate) fn refuse_later(&mut self, reason: impl Into<String>, start: usize) {
        if self.later.is_none() {
            self.later = Some(self.refuse(reason, start));
        }
    }

    /// Returns the text of the next word, up to what no word can hold.
    pub(crate) fn next_text(&self) -> &str {
        let rest = self.text.get(self.start()..).unwrap_or_default();
        rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').next().unwrap_or_default()
    }

    /// Refuses a tree of too many levels, or so many operators that wait for their right operand.
    pub(crate) fn check_levels(&self, levels: usize) -> Result<(), ParseError> {
        if levels <= DEPTH_MAX { Ok(()) } else { Err(self.too_deep()) }
    }

    fn too_deep(&self) -> ParseError {
        let span = self.token(0).map_or(Span::default(), |token| token.span);
        let reason = format!("expression nests too deeply, limit is {DEPTH_MAX} levels; split the query");
        ParseError::at(self.text, span, reason)
    }

    /// Reads `(a, b)`, possibly without names.
    pub(crate) fn name_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect_sign("(")?;
        let mut names = Vec::new();
        if self.accept_sign(")") {
            return Ok(names);
        }
        names.push(self.expect_name(&["IDENTIFIER", ")"])?);
        loop {
            if self.accept_sign(")") {
                return Ok(names);
            }
            if !self.accept_sign(",") {
                return Err(self.unexpected(&[",", ")"]));
            }
            names.push(self.expect_name(&["IDENTIFIER"])?);
        }
    }

    fn parse_query(&mut self) -> Result<Expr, ParseError> {
        let expr = self.parse_expr()?;
        if *self.peek() == Kind::End { Ok(expr) } else { Err(self.unexpected(&[])) }
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
