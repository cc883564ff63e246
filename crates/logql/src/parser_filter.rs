//! Label filters.
//!
//! `and` binds tighter than `or`. A comma, or nothing at all, between two terms is an AND too, but
//! takes the nearest term on its left and the whole rest on its right: `a , b or c` is
//! `a and (b or c)` (Loki v3.7.6).

use crate::error::ParseError;
use crate::parser::Parser;
use crate::size;
use crate::token::Kind;
use crate::tree::{CompareOp, FilterValue, LabelFilter};
use logyard_model::MatchOp;

/// Builds the tree of two operands.
type Connective = fn(Box<LabelFilter>, Box<LabelFilter>) -> LabelFilter;

/// A filter and the height of its tree.
type Built = (LabelFilter, usize);

impl Parser<'_> {
    pub(crate) fn parse_label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.filter_above(0).map(|built| built.0)
    }

    /// Reads connectives that bind at least as tightly as `precedence`: `or` 1, `and` 2.
    fn filter_above(&mut self, precedence: u8) -> Result<Built, ParseError> {
        let mut left = self.nested(Self::term_and_rest)?;
        loop {
            let (own, build): (u8, Connective) = match self.peek() {
                Kind::Word("or") => (1, LabelFilter::Or),
                Kind::Word("and") => (2, LabelFilter::And),
                _ => return Ok(left),
            };
            if own < precedence {
                return Ok(left);
            }
            self.advance();
            if !self.starts_term() {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            let right = self.nested(|parser| parser.filter_above(own + 1))?;
            left = self.join(left, right, build)?;
        }
    }

    fn join(&self, left: Built, right: Built, build: Connective) -> Result<Built, ParseError> {
        let height = left.1.max(right.1) + 1;
        self.check_height(height)?;
        Ok((build(Box::new(left.0), Box::new(right.0)), height))
    }

    pub(crate) fn starts_term(&self) -> bool {
        matches!(self.peek(), Kind::Identifier(_) | Kind::Sign("(")) || self.is_named_test(0)
    }

    fn term_and_rest(&mut self) -> Result<Built, ParseError> {
        let term = self.parse_term()?;
        if self.accept_sign(",") {
            if !self.starts_term() {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
        } else if !self.starts_term() || matches!(self.peek(), Kind::Word("and" | "or")) {
            return Ok(term);
        }
        let rest = self.nested(|parser| parser.filter_above(0))?;
        self.join(term, rest, LabelFilter::And)
    }

    fn parse_term(&mut self) -> Result<Built, ParseError> {
        if self.accept_sign("(") {
            if !self.starts_term() {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            let inner = self.nested(|parser| parser.filter_above(0))?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let start = self.start();
        let name = self.expect_name(&["IDENTIFIER", "("])?;
        let signed = self.text_at(0).to_owned();
        let text_op = self.match_op();
        let compare_op = self.compare_op();
        if text_op.is_none() && compare_op.is_none() {
            return Err(self.unexpected(&[]));
        }
        self.advance();
        if let Some(op) = text_op {
            if matches!(self.peek(), Kind::Text(_)) {
                let value = self.expect_text()?;
                return Ok((LabelFilter::Text(self.build_matcher(&name, op, &value, start)?), 1));
            }
            let plain = matches!(op, MatchOp::Equal | MatchOp::NotEqual);
            if plain && *self.peek() == Kind::Function("ip") {
                let pattern = self.parse_ip()?;
                return Ok((LabelFilter::Ip { name, negated: op == MatchOp::NotEqual, pattern }, 1));
            }
        }
        let Some(op) = compare_op else { return Err(self.unexpected(&["STRING"])) };
        // A single `=` is the beginning of a test on text, and almost always a forgotten quote.
        if let Some(right) = self.compared_label()
            && signed != "="
        {
            self.advance();
            return Ok((LabelFilter::CompareLabels { left: name, op, right }, 1));
        }
        let value = self.filter_value()?;
        Ok((LabelFilter::Compare { name, op, value }, 1))
    }

    /// Returns the label on the right of a comparison, which is never in quotes.
    fn compared_label(&self) -> Option<String> {
        match self.peek() {
            Kind::Identifier(name) => Some(name.clone()),
            Kind::Word("and" | "or") => None,
            Kind::Word(_) => self.name_at(0),
            _ => None,
        }
    }

    fn compare_op(&self) -> Option<CompareOp> {
        match self.peek() {
            Kind::Sign("=" | "==") => Some(CompareOp::Equal),
            Kind::Sign("!=") => Some(CompareOp::NotEqual),
            Kind::Sign(">") => Some(CompareOp::Greater),
            Kind::Sign(">=") => Some(CompareOp::GreaterOrEqual),
            Kind::Sign("<") => Some(CompareOp::Less),
            Kind::Sign("<=") => Some(CompareOp::LessOrEqual),
            _ => None,
        }
    }

    fn filter_value(&mut self) -> Result<FilterValue, ParseError> {
        let value = match self.peek() {
            Kind::Duration(ns) => FilterValue::DurationNs(*ns),
            Kind::Bytes(bytes) => FilterValue::Bytes(size::in_print(*bytes)),
            Kind::Number { .. } | Kind::Sign("+" | "-") => {
                return self.parse_signed_number().map(FilterValue::Number);
            }
            _ => return Err(self.unexpected(&[])),
        };
        self.advance();
        Ok(value)
    }
}
