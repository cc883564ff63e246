//! A pipeline, compiled, with its work in the order of cost.
//!
//! Every rewrite leaves the answer as it is:
//! - Line filters are tested first, on the bytes of a run, as long as no stage before them changes the
//!   line: both orders drop the same entries, and no stage behind them sees what they drop.
//! - What those filters require of a line goes to the store, to skip blocks by.
//! - Label filters in front of every stage that reads the line are tested on the columns of levels and
//!   metadata, before any line is decoded, once per combination of values. They run again in their
//!   place, since they may note errors.
//! - A label filter behind a parser passes only if the line holds some text, unless the label comes from
//!   elsewhere: lines without that text are not parsed (`implied`).
//! - Where one parser is all that reads lines, shredded lines are rebuilt with what it looks at alone, and those that
//!   are then alike run through the stages once.
//! - Among line filters the longest text that a line must hold, or the texts of which it must hold one, is looked for
//!   first, over all lines at once.
//!
//! `PushDown::Off` leaves all of this out, for tests to compare.

use crate::error::Error;
use crate::implied::Implied;
use crate::labels::{Base, DETECTED_LEVEL, Labels, is_reserved};
use crate::prefilter::require;
use crate::stage::{Entry, Stage, stage_error};
use crate::stage_line_filter::{LineTest, Search};
use crate::stage_parse::{Hints, filter_names};
use logyard_codec::{KeyFormat, Reduction};
use logyard_logql::{Formatted, Grouping, LogExpr, LogRange, RangeAggregation, RangeOp, StageKind, Unwrap};
use logyard_model::{LabelSet, Prefilter};
use std::borrow::Cow;
use std::sync::OnceLock;

/// Whether work is done as early as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushDown {
    On,
    /// Stages run in their order, on every entry.
    #[cfg(test)]
    Off,
}

/// Line filters, then everything else.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) line_filters: Vec<LineTest>,
    /// Where the line filters, and the other stages, stand in the query.
    line_filter_places: Vec<usize>,
    stage_places: Vec<usize>,
    stages: Vec<Stage>,
    /// How many of the stages, from the first, filter by labels that entries bring along.
    head: usize,
    pub(crate) prefilter: Prefilter,
    /// Which of the line filters is searched for first.
    scout: Option<usize>,
    /// What lines must hold for label filters behind parsers to pass.
    pub(crate) implied: Vec<Implied>,
    push_down: PushDown,
    hints: Hints,
    /// What stages look at of a line, if that is known; made when the first shredded lines are parsed.
    reduction: OnceLock<Option<Reduction>>,
    /// A label whose value no stage looks at, nor the grouping: any number of a line is one for `unwrap`.
    number: Option<String>,
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
    pub(crate) fn compile(log: &LogExpr, now_ns: i64, push_down: PushDown) -> Result<Self, Error> {
        Self::with_hints(log, &Hints::everything(), &vec![false; log.stages.len()], (now_ns, push_down))
    }

    /// Compiles the pipeline of a range aggregation; `grouping` is the one that decides the series.
    ///
    /// A line that nothing reads is not formatted, so that no template can fail either (Loki v3.7.6).
    pub(crate) fn for_samples(
        aggregation: &RangeAggregation,
        grouping: Option<&Grouping>,
        now_ns: i64,
        push_down: PushDown,
    ) -> Result<Self, Error> {
        let LogRange { log, unwrap, .. } = &aggregation.range;
        let counts_bytes = matches!(aggregation.op, RangeOp::BytesOverTime | RangeOp::BytesRate);
        let idle = idle_line_formats(log, counts_bytes);
        let stages = log.stages.iter().zip(&idle).filter(|(_, idle)| !**idle).map(|(stage, _)| &stage.kind);
        let hints = Hints::new(stages, (unwrap.as_ref(), aggregation.label.as_deref()), grouping);
        let mut pipeline = Self::with_hints(log, &hints, &idle, (now_ns, push_down))?;
        if push_down == PushDown::On {
            pipeline.implied = Implied::of(log, unwrap.as_ref());
            let unwrap = unwrap.as_ref().filter(|_| aggregation.op != RangeOp::AbsentOverTime);
            pipeline.number = unwrap.and_then(|unwrap| number_of(log, unwrap, grouping));
        }
        Ok(pipeline)
    }

    fn with_hints(
        log: &LogExpr,
        hints: &Hints,
        idle: &[bool],
        (now_ns, push_down): (i64, PushDown),
    ) -> Result<Self, Error> {
        let (mut line_filters, mut stages, mut prefilter) = (Vec::new(), Vec::new(), Prefilter::default());
        let (mut line_filter_places, mut stage_places) = (Vec::new(), Vec::new());
        let mut same_line = push_down == PushDown::On;
        for (index, stage) in log.stages.iter().enumerate() {
            let compiled = Stage::compile(&stage.kind, hints, now_ns)
                .map_err(|reason| stage_error(&stage_text(log, index), &reason))?;
            if idle.get(index) == Some(&true) {
                continue;
            }
            if let (StageKind::LineFilter(filter), true) = (&stage.kind, same_line) {
                require(filter, &mut prefilter);
            }
            match compiled {
                Stage::LineFilter(test) if same_line => {
                    line_filter_places.push(index);
                    line_filters.push(test);
                }
                other => {
                    same_line &= !other.changes_line();
                    stage_places.push(index);
                    stages.push(other);
                }
            }
        }
        let head = if push_down == PushDown::On { head_of(&stages) } else { 0 };
        let scout = scout_of(&line_filters);
        let implied = if push_down == PushDown::On { Implied::of(log, None) } else { Vec::new() };
        let hints = hints.clone();
        Ok(Self {
            line_filters,
            line_filter_places,
            stage_places,
            stages,
            head,
            prefilter,
            scout,
            implied,
            push_down,
            hints,
            reduction: OnceLock::new(),
            number: None,
        })
    }

    /// Returns which of the line filters is worth being searched for first, over all lines at once.
    pub(crate) fn scout(&self) -> Option<(usize, &Search)> {
        let index = self.scout?;
        Some((index, self.line_filters.get(index)?.search()?))
    }

    /// Returns where the stages stand in the query, by when they run: the label filters that run before
    /// lines are decoded, the line filters that run next, and all other stages. Those missing never run.
    pub(crate) fn places(&self) -> (&[usize], &[usize], &[usize]) {
        let (head, rest) = self.stage_places.split_at(self.head.min(self.stage_places.len()));
        (head, &self.line_filter_places, rest)
    }

    /// Returns which labels parsers extract.
    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Returns whether labels alone drop entries before any stage reads the line.
    pub(crate) fn has_head(&self) -> bool {
        self.head > 0
    }

    /// Returns whether an entry with these labels may pass; a stage behind the head may still drop it.
    pub(crate) fn head_passes(&self, base: &Base) -> bool {
        let mut entry = Entry { line: Cow::Borrowed(&[]), ts_ns: 0, labels: Labels::new(base) };
        self.stages.iter().take(self.head).all(|stage| stage.apply(&mut entry))
    }

    /// Returns the columns that decide [`Pipeline::head_passes`].
    pub(crate) fn head_columns(&self, stream: &LabelSet) -> Columns {
        columns_of(self.stages.iter().take(self.head), &self.hints, stream, Vec::new()).0
    }

    /// Returns whether counts of whole runs may stand for their entries.
    pub(crate) fn may_count_whole(&self) -> bool {
        self.push_down == PushDown::On && self.line_filters.is_empty()
    }

    /// Returns a pipeline that changes nothing and lets everything pass.
    pub(crate) fn nothing() -> Self {
        Self {
            line_filters: Vec::new(),
            line_filter_places: Vec::new(),
            stage_places: Vec::new(),
            stages: Vec::new(),
            head: 0,
            prefilter: Prefilter::default(),
            scout: None,
            implied: Vec::new(),
            push_down: PushDown::On,
            hints: Hints::everything(),
            reduction: OnceLock::new(),
            number: None,
        }
    }

    /// Returns what lines can be reduced to so that the stages give the same labels, if that is known.
    ///
    /// A number that it names is one that no stage looks at.
    pub(crate) fn reduction(&self) -> Option<&Reduction> {
        let make = || match self.push_down {
            PushDown::On => reduction_of(&self.stages, &self.hints, self.number.as_deref()),
            #[cfg(test)]
            PushDown::Off => None,
        };
        self.reduction.get_or_init(make).as_ref()
    }

    /// Returns whether only the first entry of each combination of values is wanted.
    pub(crate) fn is_distinct(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Distinct(_)))
    }

    /// Returns whether line filters are all there is.
    pub(crate) fn is_filters_only(&self) -> bool {
        self.stages.is_empty()
    }

    /// Returns whether the stages behind the line filters depend on the labels alone.
    pub(crate) fn labels_only(&self) -> bool {
        !self.stages.iter().any(Stage::needs_line)
    }

    /// Returns whether a stage may look at the time of an entry.
    pub(crate) fn reads_time(&self) -> bool {
        let may_read =
            |stage: &Stage| matches!(stage, Stage::LineFormat(_) | Stage::LabelFormat(_) | Stage::Context);
        self.stages.iter().any(may_read)
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
        match self.columns_without_error(stream, grouping) {
            (columns, false) => columns,
            (_, true) => Columns::ALL,
        }
    }

    /// Returns the columns that decide whether an entry passes and, unless it ends with an error, which of its labels
    /// are left; and whether one may end so. An entry with an error keeps all labels.
    pub(crate) fn columns_without_error(
        &self,
        stream: &LabelSet,
        grouping: Option<&Grouping>,
    ) -> (Columns, bool) {
        let Some(Grouping { without: false, labels }) = grouping else { return (Columns::ALL, false) };
        columns_of(self.stages.iter(), &self.hints, stream, labels.iter().map(|name| &**name).collect())
    }
}

/// Returns the columns that decide what some stages make of an entry, and the values of `names` behind
/// them; and whether a stage may note an error.
fn columns_of<'a>(
    stages: impl Iterator<Item = &'a Stage>,
    hints: &'a Hints,
    stream: &LabelSet,
    mut names: Vec<&'a str>,
) -> (Columns, bool) {
    let mut may_fail = false;
    for stage in stages {
        match stage {
            Stage::LabelFilter(test) => {
                test.names(&mut names);
                may_fail |= test.may_fail();
            }
            // What these make is decided by which of the few names are taken.
            Stage::Json(_) | Stage::Logfmt(_) | Stage::Pattern(_) | Stage::Regexp(_) => {
                let Some(needed) = hints.needed() else { return (Columns::ALL, false) };
                names.extend(needed.iter().map(|name| &**name));
                may_fail |= matches!(stage, Stage::Json(_) | Stage::Logfmt(_));
            }
            Stage::DropKeep(stage) => names.extend(stage.read_names()),
            Stage::Distinct(stage) => names.extend(stage.names()),
            Stage::LineFilter(_) | Stage::Decolorize(_) | Stage::Context => {}
            // A parser reads the line, and metadata to see which names are taken; a template may read
            // any label.
            _ => return (Columns::ALL, false),
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
    (columns, may_fail)
}

/// Returns how many of the stages, up to the last label filter, look at nothing but labels.
fn head_of(stages: &[Stage]) -> usize {
    let before_lines = stages.iter().take_while(|stage| !stage.needs_line());
    let is_filter = |(index, stage)| matches!(stage, &Stage::LabelFilter(_)).then_some(index + 1);
    before_lines.enumerate().filter_map(is_filter).last().unwrap_or(0)
}

/// Returns what stages look at of a line if one of them parses it and the others read none.
fn reduction_of(stages: &[Stage], hints: &Hints, number: Option<&str>) -> Option<Reduction> {
    let mut parsers =
        stages.iter().filter(|stage| !matches!(stage, Stage::LabelFilter(_) | Stage::DropKeep(_)));
    let (Some(parser), None) = (parsers.next(), parsers.next()) else { return None };
    let keys = |format: KeyFormat| {
        let keys = hints.needed()?;
        // Such a name is given to a key whose own name is taken.
        let has_suffix = keys.iter().any(|name| name.ends_with("_extracted"));
        let (keys, number) = (keys.to_vec(), number.map(str::to_owned));
        (!has_suffix).then_some(Reduction::Keys { format, keys, number })
    };
    match parser {
        Stage::Json(_) => keys(KeyFormat::Json),
        // A strict one would note the faults of any pair.
        Stage::Logfmt(parser) if !parser.is_strict() => keys(KeyFormat::Logfmt),
        Stage::Pattern(parser) => parser.automaton().map(Reduction::Text),
        Stage::Regexp(parser) => parser.automaton().map(Reduction::Text),
        _ => None,
    }
}

/// Returns the label that is unwrapped if nothing else looks at its value, and any number is one for it.
fn number_of(log: &LogExpr, unwrap: &Unwrap, grouping: Option<&Grouping>) -> Option<String> {
    let mut names = Vec::new();
    for stage in &log.stages {
        match &stage.kind {
            StageKind::LineFilter(_) | StageKind::Json(_) | StageKind::Logfmt { .. } => {}
            StageKind::LabelFilter(filter) => filter_names(filter, &mut names),
            _ => return None,
        }
    }
    unwrap.filters.iter().for_each(|filter| filter_names(filter, &mut names));
    names.extend(grouping?.labels.iter().cloned());
    (unwrap.conversion.is_none() && !names.contains(&unwrap.label)).then(|| unwrap.label.clone())
}

/// Returns the filter that leaves most to others if it comes first: one that is answered by a search at best, then
/// the one whose shortest text is longest.
fn scout_of(line_filters: &[LineTest]) -> Option<usize> {
    let shortest =
        |search: &Search| search.needles.texts().iter().map(Vec::len).min().filter(|bytes| *bytes > 0);
    let searches = line_filters.iter().enumerate().filter_map(|(index, test)| Some((index, test.search()?)));
    let ranked =
        searches.filter_map(|(index, search)| Some((index, (search.is_answer(), shortest(search)?))));
    ranked.max_by_key(|(_, rank)| *rank).map(|(index, _)| index)
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
        Pipeline::compile(&log, 0, PushDown::On)
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
        assert_eq!(columns(r#"{a="1"} | a>1"#, Some(by(&["a"]))), (true, true), "an error keeps all labels");
    }
}
