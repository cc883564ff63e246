//! Where and why a text is no query.

use std::fmt;

/// A range of bytes of the query's text.
///
/// Spans take no part in comparisons: equal queries written differently have equal trees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

/// Why a text is no query; prints as Loki v3.7.6 does, with a hint on a second line if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    line_column: Option<(usize, usize)>,
    span: Option<Span>,
    hint: Option<String>,
}

impl ParseError {
    /// Builds an error at a place of `text`.
    pub(crate) fn at(text: &str, span: Span, message: String) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Self { message, line_column: Some((line, column)), span: Some(span), hint: None }
    }

    /// Builds an error that Loki prints without a place; the span, if known, is for our own readers.
    pub(crate) fn unplaced(message: impl Into<String>, span: Option<Span>) -> Self {
        Self { message: message.into(), line_column: None, span, hint: None }
    }

    /// Adds what the writer probably meant.
    pub(crate) fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Returns the reason alone, without frame and place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what the writer probably meant, in one line, if there is a good guess.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns line and column, both from 1, the column in characters.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.line_column
    }

    /// Returns the bytes of the text that are to blame, as far as known.
    pub fn span(&self) -> Option<Span> {
        self.span
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line_column {
            Some((line, column)) => write!(f, "parse error at line {line}, col {column}: {}", self.message)?,
            None => write!(f, "parse error : {}", self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}
