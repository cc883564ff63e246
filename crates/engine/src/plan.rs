//! A pipeline, compiled.
//!
//! Line filters are tested first, on the bytes of a run, as long as no stage before them changes the
//! line: both orders drop the same entries.

use crate::error::Error;
use crate::labels::{DETECTED_LEVEL, is_reserved};
use crate::prefilter::required_literals;
use crate::stage::{Entry, Stage, stage_error};
use crate::stage_line_filter::LineTest;
use crate::stage_parse::Hints;
use logyard_logql::{Formatted, Grouping, LogExpr, LogRange, RangeAggregation, RangeOp, StageKind};
use logyard_model::{LabelSet, Prefilter};

/// Line filters, then everything else.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) line_filters: Vec<LineTest>,
    stages: Vec<Stage>,
    pub(crate) prefilter: Prefilter,
}

/// Which columns of a block a pipeline reads for the labels of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) levels: bool,
    pub(crate) metadata: bool,
}

impl Columns {
    pub(crate) const ALL: Self = Self { levels: true, metadata: true };
}

impl Pipeline {
    /// Compiles the pipeline of a log query; `now_ns` is the present for templates.
    pub(crate) fn compile(log: &LogExpr, now_ns: i64) -> Result<Self, Error> {
        Self::with_hints(log, &Hints::everything(), &vec![false; log.stages.len()], now_ns)
    }

    /// Compiles the pipeline of a range aggregation; `grouping` is the one that decides the series.
    ///
    /// A line that nothing reads is not formatted, so that no template can fail either (Loki v3.7.6).
    pub(crate) fn for_samples(
        aggregation: &RangeAggregation,
        grouping: Option<&Grouping>,
        now_ns: i64,
    ) -> Result<Self, Error> {
        let LogRange { log, unwrap, .. } = &aggregation.range;
        let counts_bytes = matches!(aggregation.op, RangeOp::BytesOverTime | RangeOp::BytesRate);
        let idle = idle_line_formats(log, counts_bytes);
        let stages = log.stages.iter().zip(&idle).filter(|(_, idle)| !**idle).map(|(stage, _)| &stage.kind);
        let hints = Hints::new(stages, unwrap.as_ref(), grouping);
        Self::with_hints(log, &hints, &idle, now_ns)
    }

    fn with_hints(log: &LogExpr, hints: &Hints, idle: &[bool], now_ns: i64) -> Result<Self, Error> {
        let mut pipeline =
            Self { line_filters: Vec::new(), stages: Vec::new(), prefilter: Prefilter::default() };
        let mut same_line = true;
        for (index, stage) in log.stages.iter().enumerate() {
            let compiled = Stage::compile(&stage.kind, hints, now_ns)
                .map_err(|reason| stage_error(&stage_text(log, index), &reason))?;
            if idle.get(index) == Some(&true) {
                continue;
            }
            if let (StageKind::LineFilter(filter), true) = (&stage.kind, same_line) {
                required_literals(filter, &mut pipeline.prefilter.literals);
            }
            match compiled {
                Stage::LineFilter(test) if same_line => pipeline.line_filters.push(test),
                other => {
                    same_line &= !other.changes_line();
                    pipeline.stages.push(other);
                }
            }
        }
        Ok(pipeline)
    }

    /// Returns whether the stages behind the line filters depend on the labels alone.
    pub(crate) fn labels_only(&self) -> bool {
        !self.stages.iter().any(Stage::needs_line)
    }

    /// Returns whether the line that comes out may differ from the one stored.
    pub(crate) fn changes_line(&self) -> bool {
        self.stages.iter().any(Stage::changes_line)
    }

    /// Runs the stages behind the line filters; false drops the entry.
    pub(crate) fn apply(&self, entry: &mut Entry<'_>) -> bool {
        self.stages.iter().all(|stage| stage.apply(entry))
    }

    /// Returns the columns that decide whether an entry passes and, with a grouping, which of its
    /// labels are left; without a grouping all labels count.
    pub(crate) fn columns(&self, stream: &LabelSet, grouping: Option<&Grouping>) -> Columns {
        let Some(Grouping { without: false, labels }) = grouping else { return Columns::ALL };
        let mut names: Vec<&str> = labels.iter().map(|name| &**name).collect();
        for stage in &self.stages {
            match stage {
                Stage::LabelFilter(test) => test.names(&mut names),
                Stage::DropKeep(stage) => names.extend(stage.read_names()),
                // A parser reads the line, and metadata to see which names are taken; a template may
                // read any label.
                Stage::Json(_)
                | Stage::JsonArrays(_)
                | Stage::JsonPaths(_)
                | Stage::Logfmt(_)
                | Stage::LogfmtKeys(_)
                | Stage::Regexp(_)
                | Stage::Pattern(_)
                | Stage::Unpack(_)
                | Stage::LineFormat(_)
                | Stage::LabelFormat(_) => return Columns::ALL,
                Stage::LineFilter(_) | Stage::Decolorize(_) => {}
            }
        }
        let mut columns = Columns { levels: false, metadata: false };
        for name in names {
            if stream.get(name).is_some() || is_reserved(name) && !name.ends_with("_extracted") {
                continue;
            }
            columns.levels |= name == DETECTED_LEVEL || name.ends_with("_extracted");
            columns.metadata |= name != DETECTED_LEVEL;
        }
        columns
    }
}

/// Marks each `line_format` whose line no later stage reads, nor the aggregation.
fn idle_line_formats(log: &LogExpr, counts_bytes: bool) -> Vec<bool> {
    let mut is_read = counts_bytes;
    let mut idle: Vec<bool> = Vec::with_capacity(log.stages.len());
    for stage in log.stages.iter().rev() {
        idle.push(!is_read && matches!(stage.kind, StageKind::LineFormat(_)));
        is_read |= match &stage.kind {
            StageKind::LineFilter(_)
            | StageKind::Json(_)
            | StageKind::JsonArrays
            | StageKind::Logfmt { .. }
            | StageKind::Regexp(_)
            | StageKind::Pattern(_)
            | StageKind::Unpack => true,
            StageKind::LabelFormat(items) => items
                .iter()
                .any(|item| matches!(&item.from, Formatted::Template(text) if text.contains("__line__"))),
            _ => false,
        };
    }
    idle.reverse();
    idle
}

/// Returns the text of a stage as errors show it: neighbouring line filters are one.
fn stage_text(log: &LogExpr, index: usize) -> String {
    let is_line_filter = |stage: &&logyard_logql::Stage| matches!(stage.kind, StageKind::LineFilter(_));
    let (before, rest) = log.stages.split_at(index);
    if !rest.first().is_some_and(|stage| is_line_filter(&stage)) {
        return rest.first().map(ToString::to_string).unwrap_or_default();
    }
    let earlier = before.iter().rev().take_while(is_line_filter).count();
    let later = rest.iter().take_while(is_line_filter).count();
    let chain = log.stages.iter().skip(index - earlier).take(earlier + later);
    chain.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_logql::{Expr, parse};

    fn compile(query: &str) -> Result<Pipeline, Error> {
        let Expr::Log(log) = parse(query).unwrap() else { panic!("{query}") };
        Pipeline::compile(&log, 0)
    }

    #[test]
    fn errors_name_the_stage() {
        for (stages, text) in [
            (r#"|~ "(""#, r#"'|~ "("' : error parsing regexp: missing closing ): `(`"#),
            (r#"|= "a" |> "<x> y""#, r#"'|= "a" |> "<x> y"' : named captures are not allowed: found '<x>'"#),
            (r#"| x=ip("nope")"#, r#"'| x=ip("nope")' : ip: invalid pattern: "nope""#),
        ] {
            let error = compile(&format!(r#"{{a="b"}} {stages}"#)).unwrap_err();
            assert_eq!(error.to_string(), format!("parse error : stage {text}"));
        }
    }

    #[test]
    fn only_needed_columns_are_read() {
        let stream = LabelSet::from_pairs([("a", "1"), ("level", "x")]);
        let by =
            |labels: &[&str]| Grouping { without: false, labels: labels.iter().map(|&l| l.into()).collect() };
        let columns = |query: &str, grouping: Option<Grouping>| {
            let Columns { levels, metadata } = compile(query).unwrap().columns(&stream, grouping.as_ref());
            (levels, metadata)
        };
        assert_eq!(columns(r#"{a="1"}"#, Some(by(&[]))), (false, false));
        assert_eq!(
            columns(r#"{a="1"} | drop __error__"#, Some(by(&["level", "detected_level"]))),
            (true, false)
        );
        assert_eq!(columns(r#"{a="1"}"#, Some(by(&["trace"]))), (false, true));
        assert_eq!(columns(r#"{a="1"} | a="1" | t="2""#, Some(by(&["a"]))), (false, true));
        assert_eq!(columns(r#"{a="1"}"#, None), (true, true));
        assert_eq!(columns(r#"{a="1"} | drop detected_level"#, None), (true, true));
    }
}
