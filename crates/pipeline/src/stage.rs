//! The stages of a pipeline, compiled, and how one entry passes through them.

use std::sync::Arc;

use logyard_sys::Random;
use regex::bytes::Regex;

use crate::entry::Entry;
use crate::error::Error;
use crate::run::Tally;
use crate::settings::{MatchAction, MatchSettings, PackSettings, StageSettings};
use crate::stage_extract::{JsonStage, RegexStage, compile_regex};
use crate::stage_fields::FieldsOf;
use crate::stage_join::{MultilineStage, PartsStage, read_cri, read_docker};
use crate::stage_labels::{Pairs, allow_labels, drop_labels, pack};
use crate::stage_logfmt::LogfmtStage;
use crate::stage_metrics::{MetricFamily, MetricsStage};
use crate::stage_select::{DropStage, LIMIT_REASON, LimitStage, Limited, Selector};
use crate::stage_template::{ReplaceStage, TemplateStage};
use crate::stage_timestamp::{TimestampStage, read_rfc3339};

/// Deepest nesting of `match`.
const DEPTH_MAX: usize = 16;
/// Colour codes and other commands to terminals, as the library that Promtail uses has them.
const ANSI: &str = "[\u{1b}\u{9b}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\u{7})|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";

/// Where the lines of a pipeline come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinesFrom {
    /// A container engine, which takes its own wrapping off: the stage `docker` has nothing to do.
    Engine,
    /// Files.
    Files,
}

/// What stages are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) from: LinesFrom,
    /// Entries of several lines get no longer.
    pub(crate) line_bytes_max: usize,
    /// How deep inside `match`.
    pub(crate) depth: usize,
}

/// One stage.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Docker(PartsStage),
    Cri(PartsStage),
    Json(JsonStage),
    Logfmt(LogfmtStage),
    Regex(RegexStage),
    Replace(ReplaceStage),
    Template(TemplateStage),
    Labels(Pairs),
    StaticLabels(Pairs),
    LabelDrop(Vec<String>),
    LabelAllow(Vec<String>),
    Metadata(Pairs),
    Timestamp(TimestampStage),
    Output(String),
    Match { selector: Selector, stages: Vec<Stage> },
    MatchDrop { selector: Selector, reason: Arc<str> },
    Drop(DropStage),
    Limit(LimitStage),
    Sampling { rate: f64, reason: Arc<str> },
    Multiline(MultilineStage),
    Pack(PackSettings),
    Decolorize(Regex),
    Metrics(MetricsStage),
    Fields(FieldsOf),
}

/// What stages know besides the entry.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) now_ns: i64,
    pub(crate) random: &'a Random,
    pub(crate) tally: &'a mut Tally,
}

/// Compiles stages; an error's path begins with the number of the stage.
pub(crate) fn compile_all(settings: &[StageSettings], setting: Setting) -> Result<Vec<Stage>, Error> {
    if setting.depth > DEPTH_MAX {
        return Err(Error::new(format!("match nests deeper than {DEPTH_MAX}")));
    }
    let mut stages = Vec::new();
    for (index, one) in settings.iter().enumerate() {
        stages.extend(compile(one, setting).map_err(|error| error.inside(index.to_string()))?);
    }
    Ok(stages)
}

fn compile(settings: &StageSettings, setting: Setting) -> Result<Option<Stage>, Error> {
    type Found = (&'static str, Result<Option<Stage>, Error>);
    let mut found: Vec<Found> = Vec::new();
    let mut add = |name: &'static str, stage: Option<Result<Stage, Error>>| {
        if let Some(stage) = stage {
            found.push((name, stage.map(Some)));
        }
    };
    let s = settings;
    add("docker", s.docker.map(|_| Ok(Stage::Docker(PartsStage::docker(setting.line_bytes_max)))));
    add("cri", s.cri.as_ref().map(|cri| Ok(Stage::Cri(PartsStage::cri(cri, setting.line_bytes_max)))));
    add("json", s.json.as_ref().map(|json| JsonStage::compile(json).map(Stage::Json)));
    add("logfmt", s.logfmt.as_ref().map(|logfmt| LogfmtStage::compile(logfmt).map(Stage::Logfmt)));
    add("regex", s.regex.as_ref().map(|regex| RegexStage::compile(regex).map(Stage::Regex)));
    add("replace", s.replace.as_ref().map(|replace| ReplaceStage::compile(replace).map(Stage::Replace)));
    add("template", s.template.as_ref().map(|one| TemplateStage::compile(one).map(Stage::Template)));
    add("labels", s.labels.as_ref().map(|names| Pairs::compile(names).map(Stage::Labels)));
    add(
        "static_labels",
        s.static_labels.as_ref().map(|one| Pairs::compile_fixed(one).map(Stage::StaticLabels)),
    );
    add("labeldrop", s.labeldrop.as_ref().map(|names| not_empty(names).map(Stage::LabelDrop)));
    add("labelallow", s.labelallow.as_ref().map(|names| not_empty(names).map(Stage::LabelAllow)));
    add(
        "structured_metadata",
        s.structured_metadata.as_ref().map(|one| Pairs::compile(one).map(Stage::Metadata)),
    );
    add("timestamp", s.timestamp.as_ref().map(|one| TimestampStage::compile(one).map(Stage::Timestamp)));
    add(
        "output",
        s.output.as_ref().map(|output| match output.source.is_empty() {
            true => Err(Error::new("empty; name the value that becomes the line").inside("source")),
            false => Ok(Stage::Output(output.source.clone())),
        }),
    );
    add("match", s.match_.as_ref().map(|one| compile_match(one, setting)));
    add("drop", s.drop.as_ref().map(|drop| DropStage::compile(drop).map(Stage::Drop)));
    add("limit", s.limit.as_ref().map(|limit| LimitStage::compile(limit).map(Stage::Limit)));
    add(
        "sampling",
        s.sampling.as_ref().map(|one| match (0.0..=1.0).contains(&one.rate) {
            true => {
                let reason = one.drop_counter_reason.as_deref().unwrap_or("sampling_stage").into();
                Ok(Stage::Sampling { rate: one.rate, reason })
            }
            false => Err(Error::new("want a number from 0 to 1").inside("rate")),
        }),
    );
    add(
        "multiline",
        s.multiline
            .as_ref()
            .map(|one| MultilineStage::compile(one, setting.line_bytes_max).map(Stage::Multiline)),
    );
    add("pack", s.pack.as_ref().map(|pack| Ok(Stage::Pack(pack.clone()))));
    add("decolorize", s.decolorize.map(|_| compile_regex(ANSI).map(Stage::Decolorize)));
    add("metrics", s.metrics.as_ref().map(|one| MetricsStage::compile(one).map(Stage::Metrics)));
    let count = found.len();
    match (found.pop(), count) {
        // The engine's lines are plain already: the stage is a frequent mistake, and harmless.
        (Some(("docker", _)), 1) if setting.from == LinesFrom::Engine && setting.depth == 0 => Ok(None),
        (Some((name, stage)), 1) => stage.map_err(|error| error.inside(name)),
        _ => Err(Error::new(format!("want exactly one stage, got {count}; start each with its own dash"))),
    }
}

fn not_empty(names: &[String]) -> Result<Vec<String>, Error> {
    match names.is_empty() {
        true => Err(Error::new("no label is given")),
        false => Ok(names.to_vec()),
    }
}

fn compile_match(settings: &MatchSettings, setting: Setting) -> Result<Stage, Error> {
    let selector = Selector::compile(&settings.selector).map_err(|error| error.inside("selector"))?;
    match settings.action {
        MatchAction::Drop if !settings.stages.is_empty() => {
            Err(Error::new("entries that are discarded need no stages; remove them").inside("stages"))
        }
        MatchAction::Drop => {
            let reason = settings.drop_counter_reason.as_deref().unwrap_or("match_stage").into();
            Ok(Stage::MatchDrop { selector, reason })
        }
        MatchAction::Keep if settings.stages.is_empty() => {
            Err(Error::new("no stage is given; add some, or action: drop").inside("stages"))
        }
        MatchAction::Keep => {
            let inner = Setting { depth: setting.depth + 1, ..setting };
            let stages = compile_all(&settings.stages, inner).map_err(|error| error.inside("stages"))?;
            Ok(Stage::Match { selector, stages })
        }
    }
}

/// Sends an entry through the stages; what comes out, if anything, is appended.
pub(crate) fn pass(stages: &mut [Stage], mut entry: Entry, around: &mut Around<'_>, out: &mut Vec<Entry>) {
    let mut rest = stages;
    while let Some((stage, after)) = rest.split_first_mut() {
        if !stage.is_simple(&entry) {
            let mut outcome = Vec::new();
            stage.divert(entry, around, &mut outcome);
            outcome.into_iter().for_each(|entry| pass(after, entry, around, out));
            return;
        }
        if let Err(reason) = stage.apply(&mut entry, around) {
            around.tally.discard(&reason);
            return;
        }
        rest = after;
    }
    out.push(entry);
}

/// Lets go what stages hold and is due, or everything; it goes on through the stages behind.
pub(crate) fn flush(stages: &mut [Stage], everything: bool, around: &mut Around<'_>, out: &mut Vec<Entry>) {
    let mut rest = stages;
    while let Some((stage, after)) = rest.split_first_mut() {
        let mut freed = Vec::new();
        match stage {
            Stage::Multiline(stage) => stage.flush(around.now_ns, everything, &mut freed),
            Stage::Cri(parts) | Stage::Docker(parts) => parts.flush(around.now_ns, everything, &mut freed),
            Stage::Match { stages, .. } => flush(stages, everything, around, &mut freed),
            _ => {}
        }
        freed.into_iter().for_each(|entry| pass(after, entry, around, out));
        rest = after;
    }
}

/// Returns the number of the oldest line that stages hold, and when the next is due.
pub(crate) fn held(stages: &[Stage]) -> Option<(u64, i64)> {
    stages.iter().filter_map(Stage::held).reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))
}

/// Copies stages for another target: what is shared stays shared, what is held does not go along.
pub(crate) fn emptied(stages: &[Stage]) -> Vec<Stage> {
    let empty = |stage: &Stage| match stage {
        Stage::Multiline(stage) => Stage::Multiline(stage.emptied()),
        Stage::Cri(parts) => Stage::Cri(parts.emptied()),
        Stage::Docker(parts) => Stage::Docker(parts.emptied()),
        Stage::Match { selector, stages } => {
            Stage::Match { selector: selector.clone(), stages: emptied(stages) }
        }
        other => other.clone(),
    };
    stages.iter().map(empty).collect()
}

/// Collects the metrics of stages.
pub(crate) fn metrics(stages: &[Stage], found: &mut Vec<MetricFamily>) {
    for stage in stages {
        match stage {
            Stage::Metrics(stage) => found.extend(stage.families()),
            Stage::Match { stages, .. } => metrics(stages, found),
            _ => {}
        }
    }
}

impl Stage {
    /// Whether the stage may hold lines back.
    pub(crate) fn can_hold(&self) -> bool {
        match self {
            Self::Multiline(_) | Self::Cri(_) | Self::Docker(_) => true,
            Self::Match { stages, .. } => stages.iter().any(Self::can_hold),
            _ => false,
        }
    }

    fn held(&self) -> Option<(u64, i64)> {
        match self {
            Self::Multiline(stage) => stage.held(),
            Self::Cri(parts) | Self::Docker(parts) => parts.held(),
            Self::Match { stages, .. } => held(stages),
            _ => None,
        }
    }

    /// Whether one entry goes in and at most the same comes out.
    fn is_simple(&self, entry: &Entry) -> bool {
        match self {
            Self::Multiline(_) | Self::Cri(_) | Self::Docker(_) => false,
            Self::Match { selector, .. } => !selector.matches(entry),
            _ => true,
        }
    }

    fn divert(&mut self, mut entry: Entry, around: &mut Around<'_>, out: &mut Vec<Entry>) {
        match self {
            Self::Multiline(stage) => {
                around.tally.joined += u64::from(stage.push(entry, around.now_ns, out));
            }
            Self::Match { stages, .. } => pass(stages, entry, around, out),
            Self::Cri(parts) => {
                let Some((time, stream, is_part, content)) = read_cri(&entry.line) else {
                    return out.push(entry);
                };
                let time = String::from_utf8_lossy(time).into_owned();
                let content = content.to_vec();
                entry.ts_ns = read_rfc3339(&time).unwrap_or(entry.ts_ns);
                entry.extracted.set_text("time", time);
                entry.extracted.set_text("stream", stream);
                entry.extracted.set_text("flags", if is_part { "P" } else { "F" });
                entry.extracted.set_text("content", String::from_utf8_lossy(&content).into_owned());
                entry.set_label("stream", stream);
                entry.line = content;
                parts.push(entry, is_part, around, out);
            }
            Self::Docker(parts) => {
                let Some((line, stream, time, is_part)) = read_docker(&entry.line) else {
                    return out.push(entry);
                };
                entry.ts_ns = read_rfc3339(&time).unwrap_or(entry.ts_ns);
                entry.extracted.set_text("output", String::from_utf8_lossy(&line).into_owned());
                entry.extracted.set_text("timestamp", time);
                entry.set_label("stream", &stream);
                entry.extracted.set_text("stream", stream);
                entry.line = line;
                parts.push(entry, is_part, around, out);
            }
            _ => out.push(entry),
        }
    }

    /// Changes an entry; an error is the reason for which it is discarded.
    fn apply(&mut self, entry: &mut Entry, around: &mut Around<'_>) -> Result<(), Arc<str>> {
        match self {
            Self::Json(stage) => {
                if !stage.apply(entry) && stage.drops_malformed {
                    return Err("malformed_json".into());
                }
            }
            Self::Logfmt(stage) => stage.apply(entry),
            Self::Regex(stage) => stage.apply(entry),
            Self::Replace(stage) => stage.apply(entry, around.now_ns),
            Self::Template(stage) => stage.apply(entry, around.now_ns),
            Self::Labels(pairs) => pairs.set_labels(entry),
            Self::StaticLabels(pairs) => pairs.set_fixed(entry),
            Self::LabelDrop(names) => drop_labels(names, entry),
            Self::LabelAllow(names) => allow_labels(names, entry),
            Self::Metadata(pairs) => pairs.set_metadata(entry),
            Self::Timestamp(stage) => {
                around.tally.times_refused += u64::from(stage.apply(entry, around.now_ns));
            }
            Self::Output(source) => {
                if let Some(text) = entry.extracted.text(source).map(|text| text.into_owned().into_bytes()) {
                    entry.line = text;
                }
            }
            Self::MatchDrop { selector, reason } => {
                if selector.matches(entry) {
                    return Err(Arc::clone(reason));
                }
            }
            Self::Drop(stage) => {
                if stage.drops(entry, around.now_ns) {
                    return Err(Arc::clone(&stage.reason));
                }
            }
            Self::Limit(stage) => match stage.take(entry, around.now_ns) {
                Limited::Pass => {}
                Limited::Discard => return Err(LIMIT_REASON.into()),
                Limited::Wait(ns) => around.tally.wait_ns = around.tally.wait_ns.max(ns),
            },
            Self::Sampling { rate, reason } => {
                // 53 random bits are a number from 0 to below 1.
                let share = (around.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                if share >= *rate {
                    return Err(Arc::clone(reason));
                }
            }
            Self::Metrics(stage) => stage.apply(entry, around.now_ns),
            Self::Fields(form) => form.apply(entry),
            Self::Pack(settings) => pack(settings, entry, around.now_ns),
            Self::Decolorize(regex) => {
                if regex.is_match(&entry.line) {
                    entry.line = regex.replace_all(&entry.line, &b""[..]).into_owned();
                }
            }
            Self::Match { .. } | Self::Multiline(_) | Self::Cri(_) | Self::Docker(_) => {}
        }
        Ok(())
    }
}
