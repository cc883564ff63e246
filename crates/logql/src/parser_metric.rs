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

/// An expression and the levels of its tree; in a box, as many are on the stack where parentheses nest.
pub(crate) type Built = (Box<Expr>, usize);

/// A binary operator that waits for its right operand.
struct Pending {
    left: Built,
    op: BinaryOp,
    precedence: u8,
    returns_bool: bool,
    matching: Matching,
    /// First byte of the left operand.
    start: usize,
}

impl Pending {
    /// Returns whether an operator of this precedence ends the right operand.
    fn joins_before(&self, next: u8) -> bool {
        self.precedence > next || self.precedence == next && self.op != BinaryOp::Power
    }
}

impl Parser<'_> {
    pub(crate) fn parse_expr(&mut self) -> Result<Expr, ParseError> {
        self.parse_binary().map(|built| *built.0)
    }

    /// Reads operands and the operators between them.
    fn parse_binary(&mut self) -> Result<Built, ParseError> {
        let mut pending: Vec<Pending> = Vec::new();
        loop {
            let mut start = self.start();
            let mut left = self.parse_operand()?;
            let op = self.binary_op();
            let joins = |waiting: &mut Pending| op.is_none_or(|(_, next)| waiting.joins_before(next));
            while let Some(waiting) = pending.pop_if(joins) {
                start = waiting.start;
                left = self.join_operands(waiting, left)?;
            }
            let Some((op, precedence)) = op else { return Ok(left) };
            self.advance();
            let returns_bool = self.accept_word("bool");
            let matching = self.parse_matching()?;
            pending.push(Pending { left, op, precedence, returns_bool, matching, start });
            self.check_levels(pending.len())?;
        }
    }

    fn join_operands(&self, waiting: Pending, right: Built) -> Result<Built, ParseError> {
        let Pending { left, op, returns_bool, matching, start, .. } = waiting;
        let inside = left.1.max(right.1).max(usize::from(matching.given));
        let expr = self.build_binary(op, *left.0, *right.0, (returns_bool, matching), start)?;
        let levels = match expr {
            // Folded literals do not grow.
            MetricExpr::Literal(value) => usize::from(!value.is_finite()),
            _ => inside + 1,
        };
        self.check_levels(levels)?;
        Ok((Box::new(Expr::Metric(expr)), levels))
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

    /// Reads what stands between operators; does no work of its own, as its frame is on the stack at each level.
    fn parse_operand(&mut self) -> Result<Built, ParseError> {
        match *self.peek() {
            Kind::Sign("(") => self.parse_parentheses(),
            Kind::Sign("{") => self.parse_log_operand(),
            Kind::Number { .. } | Kind::Sign("+" | "-") => self.parse_literal(),
            Kind::RangeOp(op) => self.parse_range_aggregation(op),
            Kind::VectorOp(op) => self.parse_vector_aggregation(op),
            Kind::Function("label_replace") => self.parse_label_replace(),
            Kind::Function("vector") => self.parse_vector_of(),
            Kind::Function(name) => self.parse_function(name),
            Kind::Word("variants") => self.parse_variants(),
            _ => Err(self.unexpected(&[])),
        }
    }

    fn parse_parentheses(&mut self) -> Result<Built, ParseError> {
        self.advance();
        let inner = self.parse_binary()?;
        self.expect_sign(")")?;
        Ok(inner)
    }

    fn parse_log_operand(&mut self) -> Result<Built, ParseError> {
        let mut log = self.parse_selector()?;
        self.parse_pipeline(&mut log.stages)?;
        if self.is_sign("|") {
            self.advance();
            return Err(self.unexpected(&[]));
        }
        let levels = log.levels();
        Ok((Box::new(Expr::Log(log)), levels))
    }

    fn parse_literal(&mut self) -> Result<Built, ParseError> {
        let value = self.parse_signed_number()?;
        Ok((Box::new(Expr::Metric(MetricExpr::Literal(value))), 0))
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

    fn parse_range_aggregation(&mut self, op: RangeOp) -> Result<Built, ParseError> {
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
        let levels = range.levels() + 1;
        self.check_levels(levels)?;
        let span = self.span_from(start);
        let aggregation = RangeAggregation { op, param, label, range, grouping, span };
        Ok((Box::new(Expr::Metric(MetricExpr::Range(aggregation))), levels))
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
        let (inner, levels) = self.parse_operand_of()?;
        let aggregation = self.close_vector_aggregation(op, leading, param, inner, start)?;
        Ok((aggregation, levels))
    }

    /// Reads what follows the samples; apart from what stands before, so that less is on the stack meanwhile.
    fn close_vector_aggregation(
        &mut self,
        op: VectorOp,
        leading: Option<Grouping>,
        param: Option<(f64, String)>,
        inner: Box<MetricExpr>,
        start: usize,
    ) -> Result<Box<Expr>, ParseError> {
        self.expect_sign(")")?;
        let grouping = match leading {
            Some(grouping) => grouping,
            None => self.parse_grouping()?.unwrap_or_default(),
        };
        let count = self.vector_count(op, param, start)?;
        if let MetricExpr::Literal(value) = *inner {
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
        let aggregation = VectorAggregation { op, count, grouping, inner, span };
        Ok(Box::new(Expr::Metric(MetricExpr::Vector(aggregation))))
    }

    /// Reads the samples that a function or aggregation is applied to; the levels are those of the whole.
    pub(crate) fn parse_operand_of(&mut self) -> Result<(Box<MetricExpr>, usize), ParseError> {
        let (inner, levels) = self.parse_binary()?;
        let Expr::Metric(inner) = *inner else { return Err(self.unexpected(&[])) };
        self.check_levels(levels + 1)?;
        Ok((Box::new(inner), levels + 1))
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
        let (inner, levels) = self.parse_operand_of()?;
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
        if let MetricExpr::Literal(value) = *inner {
            let value = SixDecimals(value);
            return Err(self.refuse(
                format!("unexpected literal in label_replace: {value}; wrap it in vector()"),
                start,
            ));
        }
        let replace = LabelReplace { inner, label, replacement, source, regex };
        Ok((Box::new(Expr::Metric(MetricExpr::LabelReplace(replace))), levels))
    }

    fn parse_vector_of(&mut self) -> Result<Built, ParseError> {
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
        Ok((Box::new(Expr::Metric(MetricExpr::VectorOf(value))), 1))
    }

    fn parse_variants(&mut self) -> Result<Built, ParseError> {
        self.advance();
        self.expect_sign("(")?;
        let (mut exprs, mut most) = (Vec::new(), 0);
        loop {
            let (expr, levels) = self.parse_operand_of()?;
            most = most.max(levels);
            exprs.push(*expr);
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
        let levels = most.max(of.levels() + 1);
        self.check_levels(levels)?;
        Ok((Box::new(Expr::Variants(Variants { exprs, of })), levels))
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
