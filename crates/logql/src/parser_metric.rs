//! Metric queries: aggregations, functions and binary operators.

use crate::error::ParseError;
use crate::lexer::NOT_DECIMAL;
use crate::number::SixDecimals;
use crate::parser::Parser;
use crate::print::quoted;
use crate::token::Kind;
use crate::tree::Expr;
use crate::tree_metric::{
    BinaryExpr, BinaryOp, GroupSide, Grouping, LabelReplace, Matching, MetricExpr, RangeAggregation, RangeOp,
    Variants, VectorAggregation, VectorOp,
};
use logyard_model::compile_anchored;

/// An expression and the height of its tree.
type Built = (Expr, usize);

impl Parser<'_> {
    pub(crate) fn parse_expr(&mut self) -> Result<Expr, ParseError> {
        self.binary_above(1).map(|built| built.0)
    }

    /// Reads operators that bind at least as tightly as `precedence`.
    fn binary_above(&mut self, precedence: u8) -> Result<Built, ParseError> {
        let start = self.start();
        let mut left = self.nested(Self::parse_operand)?;
        while let Some((op, own)) = self.binary_op() {
            if own < precedence {
                break;
            }
            self.advance();
            let returns_bool = self.accept_word("bool");
            let matching = self.parse_matching()?;
            let above = if op == BinaryOp::Power { own } else { own + 1 };
            let right = self.nested(|parser| parser.binary_above(above))?;
            let height = left.1.max(right.1) + 1;
            let expr = self.build_binary(op, left.0, right.0, (returns_bool, matching), start)?;
            // Folded literals do not grow.
            let height = if matches!(expr, MetricExpr::Literal(_)) { 1 } else { height };
            self.check_height(height)?;
            left = (Expr::Metric(expr), height);
        }
        Ok(left)
    }

    fn binary_op(&self) -> Option<(BinaryOp, u8)> {
        let found = match self.peek() {
            Kind::Word("or") => (BinaryOp::Or, 1),
            Kind::Word("and") => (BinaryOp::And, 2),
            Kind::Word("unless") => (BinaryOp::Unless, 2),
            Kind::Sign("==") => (BinaryOp::Equal, 3),
            Kind::Sign("!=") => (BinaryOp::NotEqual, 3),
            Kind::Sign("<") => (BinaryOp::Less, 3),
            Kind::Sign("<=") => (BinaryOp::LessOrEqual, 3),
            Kind::Sign(">") => (BinaryOp::Greater, 3),
            Kind::Sign(">=") => (BinaryOp::GreaterOrEqual, 3),
            Kind::Sign("+") => (BinaryOp::Add, 4),
            Kind::Sign("-") => (BinaryOp::Subtract, 4),
            Kind::Sign("*") => (BinaryOp::Multiply, 5),
            Kind::Sign("/") => (BinaryOp::Divide, 5),
            Kind::Sign("%") => (BinaryOp::Modulo, 5),
            Kind::Sign("^") => (BinaryOp::Power, 6),
            _ => return None,
        };
        Some(found)
    }

    fn parse_matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if self.accept_word("on") {
            matching.on = true;
        } else if !self.accept_word("ignoring") {
            return Ok(matching);
        }
        matching.given = true;
        matching.labels = self.name_list()?;
        matching.group = if self.accept_word("group_left") {
            Some(GroupSide::Left)
        } else if self.accept_word("group_right") {
            Some(GroupSide::Right)
        } else {
            None
        };
        // A parenthesis may also open the right operand: only names make it a list of labels.
        let names = match (self.peek_at(1), self.peek_at(2)) {
            (Kind::Sign(")"), _) => true,
            (_, Kind::Sign("," | ")")) => self.name_at(1).is_some(),
            _ => false,
        };
        if matching.group.is_some() && self.is_sign("(") && names {
            matching.include = self.name_list()?;
        }
        Ok(matching)
    }

    /// Checks the operands and folds two literals.
    fn build_binary(
        &self,
        op: BinaryOp,
        left: Expr,
        right: Expr,
        (returns_bool, matching): (bool, Matching),
        start: usize,
    ) -> Result<MetricExpr, ParseError> {
        let left = self.operand_of(op, left, "left", start)?;
        let right = self.operand_of(op, right, "right", start)?;
        match (&left, &right) {
            (MetricExpr::Literal(a), MetricExpr::Literal(b)) if !op.is_set() => {
                return Ok(MetricExpr::Literal(op.apply(*a, *b)));
            }
            (MetricExpr::Literal(value), _) if op.is_set() => {
                return Err(self.refuse(literal_in_set("left", op, *value), start));
            }
            (_, MetricExpr::Literal(value)) if op.is_set() => {
                return Err(self.refuse(literal_in_set("right", op, *value), start));
            }
            _ => {}
        }
        let span = self.span_from(start);
        Ok(MetricExpr::Binary(Box::new(BinaryExpr { op, left, right, returns_bool, matching, span })))
    }

    fn operand_of(
        &self,
        op: BinaryOp,
        expr: Expr,
        side: &str,
        start: usize,
    ) -> Result<MetricExpr, ParseError> {
        let kind = match expr {
            Expr::Metric(metric) => return Ok(metric),
            Expr::Log(log) if log.stages.is_empty() => "MatchersExpr",
            Expr::Log(_) => "PipelineExpr",
            Expr::Variants(_) => "MultiVariantExpr",
        };
        let op = op.as_str();
        Err(self.refuse(
            format!("unexpected type for {side} leg of binary operation ({op}): *syntax.{kind}"),
            start,
        ))
    }

    fn parse_operand(&mut self) -> Result<Built, ParseError> {
        let leaf = |expr| Ok((Expr::Metric(expr), 1));
        match *self.peek() {
            Kind::Sign("(") => {
                self.advance();
                let inner = self.nested(|parser| parser.binary_above(1))?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            Kind::Sign("{") => {
                let mut log = self.parse_selector()?;
                self.parse_pipeline(&mut log.stages)?;
                if self.is_sign("|") {
                    self.advance();
                    return Err(self.unexpected(&[]));
                }
                Ok((Expr::Log(log), 1))
            }
            Kind::Number { .. } | Kind::Sign("+" | "-") => {
                leaf(MetricExpr::Literal(self.parse_signed_number()?))
            }
            Kind::RangeOp(op) => leaf(self.parse_range_aggregation(op)?),
            Kind::VectorOp(op) => self.parse_vector_aggregation(op),
            Kind::Function("label_replace") => self.parse_label_replace(),
            Kind::Function("vector") => leaf(self.parse_vector_of()?),
            Kind::Function(name) => match self.parse_function(name) {
                Some(read) => read,
                None => Err(self.unexpected(&[])),
            },
            Kind::Word("variants") => self.parse_variants(),
            _ => Err(self.unexpected(&[])),
        }
    }

    /// Reads a number with at most one sign.
    pub(crate) fn parse_signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            self.advance();
        }
        let Kind::Number { value, ref text } = *self.peek() else { return Err(self.unexpected(&["NUMBER"])) };
        if value.is_infinite() {
            let text = quoted(text);
            let reason =
                format!("unable to parse float: strconv.ParseFloat: parsing {text}: value out of range");
            return Err(self.refuse(reason, self.start()));
        }
        self.advance();
        Ok(if negative { -value } else { value })
    }

    /// Reads `NUMBER ,` at the start of arguments.
    fn parse_parameter(&mut self) -> Option<(f64, String)> {
        let Kind::Number { value, text } = self.peek() else { return None };
        let found = (*value, text.clone());
        if *self.peek_at(1) != Kind::Sign(",") {
            return None;
        }
        self.advance();
        self.advance();
        Some(found)
    }

    fn parse_range_aggregation(&mut self, op: RangeOp) -> Result<MetricExpr, ParseError> {
        let start = self.start();
        self.advance();
        self.expect_sign("(")?;
        let label = if op == RangeOp::CountDistinctOverTime {
            let label = self.expect_name(&["IDENTIFIER"])?;
            self.expect_sign(",")?;
            Some(label)
        } else {
            None
        };
        let param = self.parse_parameter();
        let range = self.parse_log_range()?;
        self.expect_sign(")")?;
        let grouping = self.parse_grouping()?;
        let name = op.as_str();
        let is_quantile = op == RangeOp::QuantileOverTime;
        if is_quantile && param.is_none() {
            self.refuse_later(format!("parameter required for operation {name}"), start);
        }
        if let Some((_, text)) = param.as_ref().filter(|(value, _)| value.is_infinite()) {
            self.refuse_later(
                format!("invalid parameter for operation {name}: strconv.ParseFloat: parsing {}: value out of range", quoted(text)),
                start,
            );
        }
        if let Some((_, text)) = param.as_ref().filter(|_| !is_quantile) {
            self.refuse_later(format!("parameter {text} not supported for operation {name}"), start);
        }
        if grouping.is_some() && !groups(op) {
            self.refuse_later(format!("grouping not allowed for {name} aggregation"), start);
        }
        let with = range.unwrap.is_some();
        if with && !may_unwrap(op) || !with && must_unwrap(op) {
            let how = if with { "with" } else { "without" };
            self.refuse_later(format!("invalid aggregation {name} {how} unwrap"), start);
        }
        let param = param.map(|param| param.0);
        let span = self.span_from(start);
        Ok(MetricExpr::Range(RangeAggregation { op, param, label, range, grouping, span }))
    }

    fn parse_grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some(Grouping { without, labels: self.name_list()? }))
    }

    fn parse_vector_aggregation(&mut self, op: VectorOp) -> Result<Built, ParseError> {
        let start = self.start();
        self.advance();
        let leading = self.parse_grouping()?;
        self.expect_sign("(")?;
        let param = self.parse_parameter();
        let (inner, height) = self.parse_inner()?;
        let Expr::Metric(inner) = inner else { return Err(self.unexpected(&[])) };
        self.expect_sign(")")?;
        let grouping = match leading {
            Some(grouping) => grouping,
            None => self.parse_grouping()?.unwrap_or_default(),
        };
        let count = self.vector_count(op, param, start)?;
        if let MetricExpr::Literal(value) = inner {
            let value = SixDecimals(value);
            let name = op.as_str();
            return Err(
                self.refuse(format!("unexpected literal in {name}: {value}; wrap it in vector()"), start)
            );
        }
        let grouped = grouping.without || !grouping.labels.is_empty();
        if grouped && matches!(op, VectorOp::Sort | VectorOp::SortDesc) {
            return Err(self.refuse("sort and sort_desc doesn't allow grouping by ", start));
        }
        if grouped && op == VectorOp::ApproxTopk {
            return Err(self.refuse("grouping not allowed for approx_topk aggregation", start));
        }
        let span = self.span_from(start);
        let inner = Box::new(inner);
        let aggregation = VectorAggregation { op, count, grouping, inner, span };
        Ok((Expr::Metric(MetricExpr::Vector(aggregation)), height + 1))
    }

    /// Reads an expression between parentheses; two levels, as its frames take the stack of two.
    pub(crate) fn parse_inner(&mut self) -> Result<Built, ParseError> {
        self.nested(|parser| parser.nested(|parser| parser.binary_above(1)))
    }

    fn vector_count(
        &self,
        op: VectorOp,
        param: Option<(f64, String)>,
        start: usize,
    ) -> Result<Option<usize>, ParseError> {
        let name = op.as_str();
        let Some((_, text)) = param else {
            if op.takes_count() {
                return Err(self.refuse(format!("parameter required for operation {name}"), start));
            }
            return Ok(None);
        };
        if !op.takes_count() {
            return Err(self.refuse(format!("unsupported parameter for operation {name}({text},"), start));
        }
        match text.parse::<usize>() {
            Err(_) => Err(self.refuse(format!("invalid parameter {name}({text},"), start)),
            Ok(0) => {
                Err(self.refuse(format!("invalid parameter (must be greater than 0) {name}({text}"), start))
            }
            Ok(count) => Ok(Some(count)),
        }
    }

    fn parse_label_replace(&mut self) -> Result<Built, ParseError> {
        let start = self.start();
        self.advance();
        self.expect_sign("(")?;
        let (inner, height) = self.nested(|parser| parser.binary_above(1))?;
        let Expr::Metric(inner) = inner else { return Err(self.unexpected(&[])) };
        let mut texts = [const { String::new() }; 4];
        for text in &mut texts {
            self.expect_sign(",")?;
            *text = self.expect_text()?;
        }
        self.expect_sign(")")?;
        let [label, replacement, source, regex] = texts;
        if let Err(error) = compile_anchored(&regex) {
            return Err(self.refuse(format!("invalid regex in label_replace: {error}"), start));
        }
        if let MetricExpr::Literal(value) = inner {
            let value = SixDecimals(value);
            return Err(self.refuse(
                format!("unexpected literal in label_replace: {value}; wrap it in vector()"),
                start,
            ));
        }
        let replace = LabelReplace { inner: Box::new(inner), label, replacement, source, regex };
        Ok((Expr::Metric(MetricExpr::LabelReplace(replace)), height + 1))
    }

    fn parse_vector_of(&mut self) -> Result<MetricExpr, ParseError> {
        self.advance();
        self.expect_sign("(")?;
        if *self.peek() == Kind::Fault(NOT_DECIMAL.to_owned()) {
            let text = quoted(self.next_text());
            let reason =
                format!("unable to parse vectorExpr as a float: strconv.ParseFloat: parsing {text}: ");
            return Err(self.refuse(reason + "invalid syntax", self.start()));
        }
        let Kind::Number { value, ref text } = *self.peek() else { return Err(self.unexpected(&["NUMBER"])) };
        if value.is_infinite() {
            let reason = format!(
                "unable to parse vectorExpr as a float: strconv.ParseFloat: parsing {}: value out of range",
                quoted(text)
            );
            return Err(self.refuse(reason, self.start()));
        }
        self.advance();
        self.expect_sign(")")?;
        Ok(MetricExpr::VectorOf(value))
    }

    fn parse_variants(&mut self) -> Result<Built, ParseError> {
        self.advance();
        self.expect_sign("(")?;
        let mut exprs = Vec::new();
        loop {
            let (expr, _) = self.nested(|parser| parser.binary_above(1))?;
            let Expr::Metric(expr) = expr else { return Err(self.unexpected(&[])) };
            exprs.push(expr);
            if !self.accept_sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        if !self.accept_word("of") {
            return Err(self.unexpected(&["of"]));
        }
        self.expect_sign("(")?;
        let of = self.parse_log_range()?;
        self.expect_sign(")")?;
        Ok((Expr::Variants(Variants { exprs, of }), 1))
    }
}

fn literal_in_set(side: &str, op: BinaryOp, value: f64) -> String {
    let op = op.as_str();
    format!("unexpected literal for {side} leg of logical/set binary operation ({op}): {value:.6}")
}

/// Whether a range aggregation takes a grouping.
fn groups(op: RangeOp) -> bool {
    matches!(
        op,
        RangeOp::AvgOverTime
            | RangeOp::MinOverTime
            | RangeOp::MaxOverTime
            | RangeOp::StdvarOverTime
            | RangeOp::StddevOverTime
            | RangeOp::QuantileOverTime
            | RangeOp::FirstOverTime
            | RangeOp::LastOverTime
            | RangeOp::PresentOverTime
            | RangeOp::CountDistinctOverTime
    )
}

fn may_unwrap(op: RangeOp) -> bool {
    !matches!(
        op,
        RangeOp::CountOverTime
            | RangeOp::BytesOverTime
            | RangeOp::BytesRate
            | RangeOp::PresentOverTime
            | RangeOp::CountDistinctOverTime
    )
}

fn must_unwrap(op: RangeOp) -> bool {
    may_unwrap(op) && !matches!(op, RangeOp::Rate | RangeOp::AbsentOverTime)
}
