//! Selectors and the stages behind them.

use crate::error::ParseError;
use crate::parser::Parser;
use crate::token::{Kind, STAGES};
use crate::tree::{
    Extraction, Formatted, LabelFormat, LabelPick, LineFilter, LineFilterArg, LineFilterOp, LogExpr, Stage,
    StageKind,
};
use logyard_model::{MatchOp, Matcher};

impl Parser<'_> {
    /// Reads `{a="b", …}`.
    pub(crate) fn parse_selector(&mut self) -> Result<LogExpr, ParseError> {
        let start = self.start();
        self.expect_sign("{")?;
        let mut matchers = Vec::new();
        if !self.accept_sign("}") {
            matchers.push(self.parse_matcher(&["IDENTIFIER", "}"])?);
            while !self.accept_sign("}") {
                if !self.accept_sign(",") {
                    return Err(self.unexpected(&["}", ","]));
                }
                matchers.push(self.parse_matcher(&["IDENTIFIER"])?);
            }
        }
        Ok(LogExpr { matchers, stages: Vec::new(), span: self.span_from(start) })
    }

    fn parse_matcher(&mut self, expecting: &[&str]) -> Result<Matcher, ParseError> {
        let start = self.start();
        let name = self.expect_name(expecting)?;
        let Some(op) = self.match_op() else {
            return Err(self.unexpected(&["=", "=~", "!~", "!="]));
        };
        self.advance();
        let value = self.expect_text()?;
        self.build_matcher(&name, op, &value, start)
    }

    pub(crate) fn build_matcher(
        &self,
        name: &str,
        op: MatchOp,
        value: &str,
        start: usize,
    ) -> Result<Matcher, ParseError> {
        Matcher::new(name, op, value).map_err(|error| self.refuse(error.to_string(), start))
    }

    pub(crate) fn match_op(&self) -> Option<MatchOp> {
        match self.peek() {
            Kind::Sign("=") => Some(MatchOp::Equal),
            Kind::Sign("!=") => Some(MatchOp::NotEqual),
            Kind::Sign("=~") => Some(MatchOp::Regex),
            Kind::Sign("!~") => Some(MatchOp::NotRegex),
            _ => None,
        }
    }

    fn line_filter_op(&self) -> Option<LineFilterOp> {
        match self.peek() {
            Kind::Sign("|=") => Some(LineFilterOp::Contains),
            Kind::Sign("!=") => Some(LineFilterOp::NotContains),
            Kind::Sign("|~") => Some(LineFilterOp::Regex),
            Kind::Sign("!~") => Some(LineFilterOp::NotRegex),
            Kind::Sign("|>") => Some(LineFilterOp::Pattern),
            Kind::Sign("!>") => Some(LineFilterOp::NotPattern),
            _ => None,
        }
    }

    /// Reads stages as long as there are any; stops before `unwrap`.
    pub(crate) fn parse_pipeline(&mut self, stages: &mut Vec<Stage>) -> Result<(), ParseError> {
        loop {
            if let Some(op) = self.line_filter_op() {
                self.parse_line_filter(op, stages)?;
            } else if self.is_sign("|") && !self.is_unwrap() {
                let start = self.start();
                self.advance();
                let kind = self.parse_stage()?;
                stages.push(Stage { kind, span: self.span_from(start) });
            } else {
                return Ok(());
            }
        }
    }

    fn parse_line_filter(&mut self, op: LineFilterOp, stages: &mut Vec<Stage>) -> Result<(), ParseError> {
        let start = self.start();
        self.advance();
        let mut args = vec![self.parse_line_filter_arg()?];
        while self.accept_word("or") {
            args.push(self.parse_line_filter_arg()?);
        }
        let span = self.span_from(start);
        let mut push =
            |args| stages.push(Stage { kind: StageKind::LineFilter(LineFilter { op, args }), span });
        if op.is_negated() {
            args.into_iter().for_each(|arg| push(vec![arg]));
        } else {
            push(args);
        }
        Ok(())
    }

    fn parse_line_filter_arg(&mut self) -> Result<LineFilterArg, ParseError> {
        if *self.peek() == Kind::Function("ip") {
            return self.parse_ip().map(LineFilterArg::Ip);
        }
        if !matches!(self.peek(), Kind::Text(_)) {
            return Err(self.unexpected(&["STRING", "ip"]));
        }
        self.expect_text().map(LineFilterArg::Text)
    }

    /// Reads `ip("…")`.
    pub(crate) fn parse_ip(&mut self) -> Result<String, ParseError> {
        self.advance();
        self.expect_sign("(")?;
        let pattern = self.expect_text()?;
        self.expect_sign(")")?;
        Ok(pattern)
    }

    /// Reads what follows a bar.
    fn parse_stage(&mut self) -> Result<StageKind, ParseError> {
        if let Some(stage) = self.parse_entry_stage() {
            return stage;
        }
        if self.starts_term() {
            return self.parse_label_filter().map(StageKind::LabelFilter);
        }
        let word = match self.peek() {
            Kind::Word(word) => *word,
            _ => return Err(self.unexpected(&[])),
        };
        if !STAGES.contains(&word) {
            return Err(self.unexpected(&[]));
        }
        self.advance();
        match word {
            "json" if self.accept_flag("--arrays") => Ok(StageKind::JsonArrays),
            "json" => self.parse_extractions().map(StageKind::Json),
            "logfmt" => self.parse_logfmt(),
            "regexp" => self.expect_text().map(StageKind::Regexp),
            "pattern" => self.expect_text().map(StageKind::Pattern),
            "line_format" => self.expect_text().map(StageKind::LineFormat),
            "label_format" => self.parse_label_formats().map(StageKind::LabelFormat),
            "drop" => self.parse_picks().map(StageKind::Drop),
            "keep" => self.parse_picks().map(StageKind::Keep),
            "unpack" => Ok(StageKind::Unpack),
            _ => Ok(StageKind::Decolorize),
        }
    }

    fn parse_logfmt(&mut self) -> Result<StageKind, ParseError> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Kind::Flag(flag @ ("--strict" | "--keep-empty")) = self.peek() {
            strict |= *flag == "--strict";
            keep_empty |= *flag == "--keep-empty";
            self.advance();
        }
        let extractions = self.parse_extractions()?;
        Ok(StageKind::Logfmt { strict, keep_empty, extractions })
    }

    fn accept_flag(&mut self, flag: &str) -> bool {
        let found = matches!(self.peek(), Kind::Flag(given) if *given == flag);
        if found {
            self.advance();
        }
        found
    }

    fn parse_extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut extractions = Vec::new();
        if !self.starts_extractions() {
            return Ok(extractions);
        }
        loop {
            let label = self.expect_name(&["IDENTIFIER"])?;
            let source = if self.accept_sign("=") { self.expect_text()? } else { label.clone() };
            extractions.push(Extraction { label, source });
            if !self.accept_sign(",") {
                return Ok(extractions);
            }
        }
    }

    fn parse_label_formats(&mut self) -> Result<Vec<LabelFormat>, ParseError> {
        let mut items = Vec::new();
        loop {
            let label = self.expect_name(&["IDENTIFIER"])?;
            self.expect_sign("=")?;
            let from = match self.peek() {
                Kind::Identifier(_) | Kind::Word(_) => Formatted::Label(self.expect_name(&[])?),
                Kind::Text(_) => Formatted::Template(self.expect_text()?),
                _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
            };
            items.push(LabelFormat { label, from });
            if !self.accept_sign(",") {
                return Ok(items);
            }
        }
    }

    fn parse_picks(&mut self) -> Result<Vec<LabelPick>, ParseError> {
        let mut items = Vec::new();
        loop {
            let start = self.start();
            let name = self.expect_name(&["IDENTIFIER"])?;
            match self.match_op() {
                Some(op) => {
                    self.advance();
                    let value = self.expect_text()?;
                    items.push(LabelPick::Matcher(self.build_matcher(&name, op, &value, start)?));
                }
                None => items.push(LabelPick::Name(name)),
            }
            if !self.accept_sign(",") {
                return Ok(items);
            }
        }
    }
}
