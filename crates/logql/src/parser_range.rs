//! Entries of a moving window: selector, pipeline, `unwrap`, range and offset in their orders.

use crate::error::ParseError;
use crate::parser::Parser;
use crate::token::Kind;
use crate::tree::LogExpr;
use crate::tree_metric::{Conversion, LogRange, Unwrap};

/// What stands before the range, or all of it.
enum Part {
    Open { log: LogExpr, unwrap: Option<Unwrap> },
    Whole(LogRange),
}

impl Parser<'_> {
    pub(crate) fn parse_log_range(&mut self) -> Result<LogRange, ParseError> {
        match self.parse_range_part()? {
            Part::Whole(range) => Ok(range),
            Part::Open { .. } => Err(self.unexpected(&["RANGE"])),
        }
    }

    fn parse_range_part(&mut self) -> Result<Part, ParseError> {
        if self.accept_sign("(") {
            let inner = self.parse_range_part()?;
            self.expect_sign(")")?;
            let Part::Open { log, unwrap } = inner else { return Ok(inner) };
            return self.close_part(log, unwrap, true);
        }
        if !self.is_sign("{") {
            return Err(self.unexpected(&["NUMBER", "{", "("]));
        }
        let mut log = self.parse_selector()?;
        if !matches!(self.peek(), Kind::Range(_)) {
            self.parse_pipeline(&mut log.stages)?;
            let unwrap = self.parse_unwrap()?;
            return self.close_part(log, unwrap, false);
        }
        self.close_part(log, None, false)
    }

    /// Reads range and offset, and the pipeline behind them if there was none before.
    fn close_part(
        &mut self,
        mut log: LogExpr,
        mut unwrap: Option<Unwrap>,
        parenthesised: bool,
    ) -> Result<Part, ParseError> {
        let Kind::Range(range_ns) = *self.peek() else { return Ok(Part::Open { log, unwrap }) };
        let bare = log.stages.is_empty() && unwrap.is_none();
        self.advance();
        let offset_ns = self.parse_offset()?;
        if bare {
            if !parenthesised {
                self.parse_pipeline(&mut log.stages)?;
            }
            unwrap = self.parse_unwrap()?;
        }
        Ok(Part::Whole(LogRange { log, unwrap, range_ns, offset_ns }))
    }

    fn parse_offset(&mut self) -> Result<i64, ParseError> {
        if !self.accept_word("offset") {
            return Ok(0);
        }
        let Kind::Duration(offset_ns) = *self.peek() else { return Err(self.unexpected(&["DURATION"])) };
        self.advance();
        Ok(offset_ns)
    }

    /// Returns whether `| unwrap` follows and is no test of a label of that name.
    pub(crate) fn is_unwrap(&self) -> bool {
        self.is_sign("|") && *self.peek_at(1) == Kind::Word("unwrap") && !self.is_named_test(1)
    }

    fn parse_unwrap(&mut self) -> Result<Option<Unwrap>, ParseError> {
        let start = self.start();
        if !self.is_unwrap() {
            return Ok(None);
        }
        self.advance();
        self.advance();
        let conversion = match self.peek() {
            Kind::Function("bytes") => Some(Conversion::Bytes),
            Kind::Function("duration") => Some(Conversion::Duration),
            Kind::Function("duration_seconds") => Some(Conversion::DurationSeconds),
            _ => None,
        };
        let label = if conversion.is_some() {
            self.advance();
            self.expect_sign("(")?;
            let label = self.expect_name(&["IDENTIFIER"])?;
            self.expect_sign(")")?;
            label
        } else {
            self.expect_name(&[])?
        };
        let mut filters = Vec::new();
        while self.accept_sign("|") {
            if !self.starts_term() {
                return Err(self.unexpected(&["IDENTIFIER", "("]));
            }
            filters.push(self.parse_label_filter()?);
        }
        Ok(Some(Unwrap { label, conversion, filters, span: self.span_from(start) }))
    }
}
