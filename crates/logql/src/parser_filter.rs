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

/// A filter and the levels of its tree.
type Built = (LabelFilter, usize);

/// A connective that waits for its right operand.
struct Pending {
    left: Built,
    build: Connective,
    /// A connective that binds no tighter ends the right operand.
    precedence: u8,
}

/// What a comma takes on its right is ended by nothing.
const COMMA: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;

impl Parser<'_> {
    pub(crate) fn parse_label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.parse_filter().map(|built| built.0)
    }

    fn parse_filter(&mut self) -> Result<Built, ParseError> {
        let mut pending: Vec<Pending> = Vec::new();
        loop {
            let mut left = self.parse_term()?;
            let connective = self.connective();
            // A comma takes the term alone.
            let joins = |waiting: &mut Pending| match connective {
                Some((precedence, _)) => precedence != COMMA && waiting.precedence >= precedence,
                None => true,
            };
            while let Some(waiting) = pending.pop_if(joins) {
                left = self.join_filters(waiting, left)?;
            }
            let Some((precedence, build)) = connective else { return Ok(left) };
            pending.push(Pending { left, build, precedence });
            self.check_levels(pending.len())?;
            // There may be nothing to read between two terms.
            if matches!(self.peek(), Kind::Sign(",") | Kind::Word("and" | "or")) {
                self.advance();
                if !self.starts_term() {
                    return Err(self.unexpected(&["IDENTIFIER", "("]));
                }
            }
        }
    }

    /// Returns the connective behind a term.
    fn connective(&self) -> Option<(u8, Connective)> {
        match self.peek() {
            Kind::Word("or") => Some((OR, LabelFilter::Or)),
            Kind::Word("and") => Some((AND, LabelFilter::And)),
            Kind::Sign(",") => Some((COMMA, LabelFilter::And)),
            _ if self.starts_term() => Some((COMMA, LabelFilter::And)),
            _ => None,
        }
    }

    fn join_filters(&self, waiting: Pending, right: Built) -> Result<Built, ParseError> {
        let levels = waiting.left.1.max(right.1) + 1;
        self.check_levels(levels)?;
        Ok(((waiting.build)(Box::new(waiting.left.0), Box::new(right.0)), levels))
    }

    pub(crate) fn starts_term(&self) -> bool {
        matches!(self.peek(), Kind::Identifier(_) | Kind::Sign("(")) || self.is_named_test(0)
    }

    fn parse_term(&mut self) -> Result<Built, ParseError> {
        if self.accept_sign("(") {
            if !self.starts_term() {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            let inner = self.parse_filter()?;
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
                return Ok((LabelFilter::Text(self.build_matcher(&name, op, &value, start)?), 0));
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
            return Ok((LabelFilter::CompareLabels { left: name, op, right }, 0));
        }
        let value = self.filter_value()?;
        Ok((LabelFilter::Compare { name, op, value }, 0))
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
