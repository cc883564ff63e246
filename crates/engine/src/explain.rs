//! How a query is evaluated, for people: a tree of steps, the outermost first, each with what is known of
//! it before it runs and, on request, what it took.
//!
//! The plan is that of the same compiled pipelines that run; nothing here decides anything.

use crate::error::Error;
use crate::grid::{Grid, Window};
use crate::limits;
use crate::metric_query::sums_up;
use crate::plan::{Columns, Pipeline, PushDown};
use crate::request::{QueryKind, QueryRequest, ScanCounts};
use crate::settings::EngineSettings;
use jiff::Timestamp;
use logyard_logql::{
    Expr, Grouping, LogExpr, MetricExpr, PrometheusDuration, RangeAggregation, RangeOp, VectorAggregation,
    VectorOp, quoted,
};
use logyard_model::{Direction, LabelSet, Prefilter, TimeRange};

/// A step of a plan, with the steps that it takes its input from.
///
/// Shape: names and values are for reading, in an order that tells a story; they may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanStep {
    /// What it does, as in the query where it stands there.
    pub step: String,
    /// What is known before it runs.
    pub facts: Vec<(&'static str, String)>,
    /// What it took; empty if it did not run.
    pub counts: Vec<(&'static str, u64)>,
    /// Where its input comes from.
    pub inputs: Vec<PlanStep>,
}

/// Most literals of a group that are shown.
const GROUP_SHOWN_MAX: usize = 6;

/// Describes the plan of a query; `scans` are those of its outcome.
pub(crate) fn explain(
    settings: &EngineSettings,
    request: &QueryRequest,
    scans: Option<&[ScanCounts]>,
) -> Result<PlanStep, Error> {
    let mut writer = Writer { settings, request, scans: scans.unwrap_or_default().iter() };
    match &*request.expr {
        Expr::Log(log) => writer.log(log),
        Expr::Metric(expr) => writer.metric(Grid::new(request.kind)?, expr),
        Expr::Variants(_) => Err(Error::invalid("multi variant queries are disabled for this instance")),
    }
}

struct Writer<'a> {
    settings: &'a EngineSettings,
    request: &'a QueryRequest,
    /// Of the selectors that were not reached yet, in their order.
    scans: std::slice::Iter<'a, ScanCounts>,
}

impl Writer<'_> {
    fn log(&mut self, log: &LogExpr) -> Result<PlanStep, Error> {
        let QueryKind::Range { start_ns, end_ns, .. } = self.request.kind else {
            return Err(Error::invalid("log queries are not supported as an instant query type"));
        };
        let pipeline = Pipeline::compile(log, self.request.now_ns, PushDown::On)?;
        let end_ns = end_ns.max(start_ns.saturating_add(1));
        let mut scan = self.scan(log, &pipeline, TimeRange { start_ns, end_ns });
        scan.facts.push(("columns", columns(&pipeline, Some(&Grouping::default()), false)));
        let (order, limit) = match self.request.direction {
            Direction::Backward => ("newest first", self.request.limit),
            Direction::Forward => ("oldest first", self.request.limit),
        };
        let mut facts = vec![
            ("order", order.to_owned()),
            ("stops", format!("when no block left can hold one of the first {limit} entries")),
        ];
        if self.request.interval_ns > 0 {
            facts.push(("interval", PrometheusDuration(self.request.interval_ns).to_string()));
        }
        let step = format!("first {limit} entries");
        Ok(PlanStep { step, facts, counts: Vec::new(), inputs: vec![scan] })
    }

    fn metric(&mut self, grid: Grid, expr: &MetricExpr) -> Result<PlanStep, Error> {
        let step = |step: String, inputs: Vec<PlanStep>| PlanStep { step, inputs, ..PlanStep::default() };
        Ok(match expr {
            MetricExpr::Literal(_) | MetricExpr::VectorOf(_) => step(expr.to_string(), Vec::new()),
            MetricExpr::Range(aggregation) => self.range(grid, aggregation, None)?,
            MetricExpr::Vector(aggregation) => self.vector(grid, aggregation)?,
            MetricExpr::Function(function) => {
                let inputs = function.inner().map(|inner| self.metric(grid, inner)).transpose()?;
                step(function.name().to_owned(), inputs.into_iter().collect())
            }
            MetricExpr::Binary(binary) => {
                let left = self.metric(grid, &binary.left)?;
                let right = self.metric(grid, &binary.right)?;
                step(binary.op.as_str().to_owned(), vec![left, right])
            }
            MetricExpr::LabelReplace(replace) => {
                let inner = self.metric(grid, &replace.inner)?;
                step(format!("label_replace {}", quoted(&replace.label)), vec![inner])
            }
        })
    }

    fn vector(&mut self, grid: Grid, aggregation: &VectorAggregation) -> Result<PlanStep, Error> {
        let mut name = aggregation.op.as_str().to_owned();
        if let Some(count) = aggregation.count {
            name = format!("{name} {count}");
        }
        if aggregation.grouping != Grouping::default() {
            name = format!("{name} {}", aggregation.grouping);
        }
        let (input, facts) = match &*aggregation.inner {
            MetricExpr::Range(inner) if aggregation.op == VectorOp::Sum && sums_up(inner.op) => {
                let folded = "the step below counts under these labels already".to_owned();
                (self.range(grid, inner, Some(&aggregation.grouping))?, vec![("grouping", folded)])
            }
            inner => (self.metric(grid, inner)?, Vec::new()),
        };
        Ok(PlanStep { step: name, facts, counts: Vec::new(), inputs: vec![input] })
    }

    fn range(
        &mut self,
        grid: Grid,
        aggregation: &RangeAggregation,
        outer: Option<&Grouping>,
    ) -> Result<PlanStep, Error> {
        let range = &aggregation.range;
        let nothing = Grouping::default();
        let is_absent = aggregation.op == RangeOp::AbsentOverTime;
        let grouping = if is_absent { Some(&nothing) } else { aggregation.grouping.as_ref().or(outer) };
        let pipeline = Pipeline::for_samples(aggregation, grouping, self.request.now_ns, PushDown::On)?;
        let window = Window { grid, range_ns: range.range_ns, offset_ns: range.offset_ns };
        let (start_ns, end_ns) = window.bounds();
        let mut scan = self.scan(&range.log, &pipeline, TimeRange { start_ns, end_ns });
        if !pipeline.labels_only() {
            let labels = match pipeline.hints().needed() {
                None => "all".to_owned(),
                Some([]) => "none: parsers do not run".to_owned(),
                Some(names) => format!("{}; a parser stops when it has them", names.join(", ")),
            };
            scan.facts.push(("labels extracted", labels));
        }
        let reads_values = range.unwrap.is_some();
        scan.facts.push(("columns", columns(&pipeline, grouping, reads_values)));
        if pipeline.labels_only() && pipeline.may_count_whole() && !reads_values {
            let text = "counted by the run tables where all its entries belong to the same steps".to_owned();
            scan.facts.push(("a run", text));
        }
        let mut name = format!("{} [{}]", aggregation.op.as_str(), PrometheusDuration(range.range_ns));
        if range.offset_ns != 0 {
            name = format!("{name} offset {}", PrometheusDuration(range.offset_ns));
        }
        if let Some(unwrap) = &range.unwrap {
            name = format!("{name} {unwrap}");
        }
        if let Some(grouping) = &aggregation.grouping {
            name = format!("{name} {grouping}");
        }
        let steps = match grid.steps {
            1 => format!("1, at {}", instant(grid.start_ns)),
            steps => {
                let (from, to) = (instant(grid.start_ns), instant(grid.end_ns()));
                format!("{steps}, from {from} to {to}, every {}", PrometheusDuration(grid.step_ns))
            }
        };
        Ok(PlanStep { step: name, facts: vec![("steps", steps)], counts: Vec::new(), inputs: vec![scan] })
    }

    /// Describes what every query rests on: the entries of a selector.
    fn scan(&mut self, log: &LogExpr, pipeline: &Pipeline, range: TimeRange) -> PlanStep {
        let range = limits::cut(self.settings, range, self.request.now_ns);
        let selector = LogExpr { stages: Vec::new(), ..log.clone() };
        let mut facts = vec![("time", format!("[{}, {})", instant(range.start_ns), instant(range.end_ns)))];
        if let Some(text) = required(&pipeline.prefilter) {
            facts.push(("block must hold", text));
        }
        let (head, line_filters, rest) = pipeline.places();
        let stages = |places: &[usize]| {
            let stages = places.iter().filter_map(|place| log.stages.get(*place));
            stages.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (name, places) in [("before lines", head), ("on raw lines", line_filters), ("then", rest)] {
            if !places.is_empty() {
                facts.push((name, stages(places)));
            }
        }
        if let Some((_, search)) = pipeline.scout() {
            facts.push(("looked for first", alternatives(search.needles.texts())));
        }
        let counts = self.scans.next().map(counts).unwrap_or_default();
        PlanStep { step: format!("scan {selector}"), facts, counts, inputs: Vec::new() }
    }
}

fn counts(scan: &ScanCounts) -> Vec<(&'static str, u64)> {
    let ScanCounts { source, streams, blocks, entries, line_bytes, stats } = scan;
    let mut counts = source.clone();
    counts.extend([
        ("streams", *streams),
        ("blocks", *blocks),
        ("blocks not reached", blocks.saturating_sub(stats.blocks)),
        ("blocks without a column decoded", stats.blocks.saturating_sub(stats.blocks_decoded)),
        ("blocks with lines decoded", stats.blocks_with_lines),
        ("entries in blocks", *entries),
        ("entries looked at", stats.entries),
        ("entries that passed", stats.entries_passed),
        ("bytes of lines in blocks", *line_bytes),
        ("bytes of lines looked at", stats.line_bytes),
        ("bytes decoded", stats.decoded_bytes),
    ]);
    counts
}

/// Says which columns of a block are read besides times and lines, for streams without such labels.
fn columns(pipeline: &Pipeline, grouping: Option<&Grouping>, all: bool) -> String {
    let needed = if all { Columns::ALL } else { pipeline.columns(&LabelSet::default(), grouping) };
    let lines = !pipeline.line_filters.is_empty() || !pipeline.labels_only();
    let names = [(needed.levels, "levels"), (needed.metadata, "metadata"), (lines, "lines")];
    let names: Vec<&str> = names.into_iter().filter(|(is_read, _)| *is_read).map(|(_, name)| name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Says what a block must hold to be read.
fn required(prefilter: &Prefilter) -> Option<String> {
    let literals = prefilter.literals.iter().map(std::slice::from_ref).map(alternatives);
    let groups = prefilter.any_of.iter().map(|group| format!("one of {}", alternatives(group)));
    let parts: Vec<String> = literals.chain(groups).collect();
    (!parts.is_empty()).then(|| parts.join(", and "))
}

/// Says which texts, or the first of them.
fn alternatives(texts: &[Vec<u8>]) -> String {
    let text = |text: &Vec<u8>| quoted(&String::from_utf8_lossy(text));
    let mut shown: Vec<String> = texts.iter().take(GROUP_SHOWN_MAX).map(text).collect();
    if texts.len() > GROUP_SHOWN_MAX {
        shown.push(format!("{} more", texts.len() - GROUP_SHOWN_MAX));
    }
    shown.join(" or ")
}

fn instant(ns: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{ns} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancel, Engine};
    use logyard_logql::parse;
    use logyard_model::Tenant;
    use std::sync::Arc;

    fn text(query: &str) -> String {
        let request = QueryRequest {
            tenants: Tenant::single().into(),
            expr: Arc::new(parse(query).unwrap()),
            kind: QueryKind::Range { start_ns: 0, end_ns: 60_000_000_000, step_ns: 60_000_000_000 },
            limit: 10,
            direction: Direction::Backward,
            interval_ns: 0,
            partial_series: false,
            now_ns: 0,
            cancel: Arc::new(Cancel::new()),
        };
        let plan = Engine::new(EngineSettings::default()).explain(&request, None).unwrap();
        let mut lines = Vec::new();
        write(&plan, 0, &mut lines);
        lines.join("\n")
    }

    fn write(step: &PlanStep, depth: usize, lines: &mut Vec<String>) {
        lines.push(format!("{}{}", " ".repeat(depth), step.step));
        for (name, value) in step.facts.iter().filter(|(name, _)| !["time", "steps", "order"].contains(name))
        {
            lines.push(format!("{}  {name}: {value}", " ".repeat(depth)));
        }
        step.inputs.iter().for_each(|input| write(input, depth + 1, lines));
    }

    #[test]
    fn log_queries() {
        assert_eq!(
            text(r#"{a="1"} | detected_level="error" | json | b="c" |~ "x.*long" | line_format "y" |= "z""#),
            r#"first 10 entries
  stops: when no block left can hold one of the first 10 entries
 scan {a="1"}
   block must hold: "x", and "long"
   before lines: | detected_level="error"
   on raw lines: |~ "x.*long"
   then: | json | b="c" | line_format "y" |= "z"
   looked for first: "long"
   columns: levels, metadata, lines"#
        );
    }

    #[test]
    fn metric_queries() {
        assert_eq!(
            text(
                r#"topk(2, sum by (detected_level) (count_over_time({a="1"} | drop __error__ [1m] offset 5m)))
                   or vector(0)"#
            ),
            r#"or
 topk 2
  sum by (detected_level)
    grouping: the step below counts under these labels already
   count_over_time [1m] offset 5m
    scan {a="1"}
      then: | drop __error__
      columns: levels
      a run: counted by the run tables where all its entries belong to the same steps
 vector(0.000000)"#
        );
        assert_eq!(
            text(r#"quantile_over_time(0.9, {a="1"} | json | unwrap duration(d) [1m]) by (h)"#),
            r#"quantile_over_time [1m] | unwrap duration(d) by (h)
 scan {a="1"}
   then: | json
   labels extracted: d, h; a parser stops when it has them
   columns: levels, metadata, lines"#
        );
        assert_eq!(
            text(r#"sum(rate({a="1"} |= "x" or "y" | json [1m]))"#),
            r#"sum
  grouping: the step below counts under these labels already
 rate [1m]
  scan {a="1"}
    block must hold: one of "x" or "y"
    on raw lines: |= "x" or "y"
    then: | json
    looked for first: "x" or "y"
    labels extracted: none: parsers do not run
    columns: levels, metadata, lines"#
        );
    }
}
