//! Compiled stages and the entry they work on.

use crate::error::Error;
use crate::labels::Labels;
use crate::stage_decolorize::Decolorize;
use crate::stage_distinct::Distinct;
use crate::stage_drop_keep::DropKeep;
use crate::stage_format::{LabelFormat, LineFormat};
use crate::stage_json::Json;
use crate::stage_json_arrays::JsonArrays;
use crate::stage_json_paths::JsonPaths;
use crate::stage_label_filter::LabelTest;
use crate::stage_line_filter::LineTest;
use crate::stage_logfmt::Logfmt;
use crate::stage_logfmt_keys::LogfmtKeys;
use crate::stage_parse::Hints;
use crate::stage_pattern::Pattern;
use crate::stage_regexp::Regexp;
use crate::stage_unpack::Unpack;
use logyard_logql::StageKind;
use std::borrow::Cow;

/// An entry on its way through a pipeline.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) line: Cow<'a, [u8]>,
    pub(crate) ts_ns: i64,
    pub(crate) labels: Labels<'a>,
}

/// A stage, ready to run.
#[derive(Debug)]
pub(crate) enum Stage {
    LineFilter(LineTest),
    LabelFilter(LabelTest),
    DropKeep(DropKeep),
    Json(Json),
    JsonArrays(JsonArrays),
    JsonPaths(JsonPaths),
    Logfmt(Logfmt),
    LogfmtKeys(LogfmtKeys),
    Regexp(Regexp),
    Pattern(Pattern),
    Unpack(Unpack),
    LineFormat(LineFormat),
    LabelFormat(LabelFormat),
    Decolorize(Decolorize),
    Distinct(Distinct),
    /// Left to the query as a whole.
    Context,
}

impl Stage {
    /// Compiles a stage; `now_ns` is the present for templates. Errors: the reason alone, without the
    /// frame that names the stage.
    pub(crate) fn compile(kind: &StageKind, hints: &Hints, now_ns: i64) -> Result<Self, String> {
        match kind {
            StageKind::LineFilter(filter) => LineTest::compile(filter).map(Self::LineFilter),
            StageKind::LabelFilter(filter) => LabelTest::compile(filter).map(Self::LabelFilter),
            StageKind::Drop(picks) => Ok(Self::DropKeep(DropKeep::new(picks, false))),
            StageKind::Keep(picks) => Ok(Self::DropKeep(DropKeep::new(picks, true))),
            StageKind::Json(paths) if paths.is_empty() => Ok(Self::Json(Json::new(hints.clone()))),
            StageKind::JsonArrays => Ok(Self::JsonArrays(JsonArrays::new(hints.clone()))),
            StageKind::Json(paths) => JsonPaths::compile(paths, hints.clone()).map(Self::JsonPaths),
            StageKind::Logfmt { strict, keep_empty, extractions } if extractions.is_empty() => {
                Ok(Self::Logfmt(Logfmt::new(*strict, *keep_empty, hints.clone())))
            }
            StageKind::Logfmt { strict, extractions, .. } => {
                LogfmtKeys::compile(extractions, *strict, hints.clone()).map(Self::LogfmtKeys)
            }
            StageKind::Regexp(pattern) => Regexp::compile(pattern, hints).map(Self::Regexp),
            StageKind::Pattern(pattern) => Pattern::compile(pattern, hints.clone()).map(Self::Pattern),
            StageKind::Unpack => Ok(Self::Unpack(Unpack::new(hints.clone()))),
            StageKind::LineFormat(template) => LineFormat::compile(template, now_ns).map(Self::LineFormat),
            StageKind::LabelFormat(items) => LabelFormat::compile(items, now_ns).map(Self::LabelFormat),
            StageKind::Distinct(names) => Ok(Self::Distinct(Distinct::new(names))),
            StageKind::Context { .. } => Ok(Self::Context),
            StageKind::Decolorize => Decolorize::compile().map(Self::Decolorize),
        }
    }

    /// Runs the stage; false drops the entry.
    pub(crate) fn apply(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            Self::LineFilter(test) => test.passes(&entry.line),
            Self::LabelFilter(test) => test.passes(&mut entry.labels),
            Self::DropKeep(stage) => {
                stage.apply(&mut entry.labels);
                true
            }
            Self::Distinct(stage) => {
                stage.apply(&mut entry.labels);
                true
            }
            Self::Context => true,
            // Parsers drop nothing.
            Self::Json(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::JsonArrays(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::JsonPaths(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::Logfmt(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::LogfmtKeys(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::Unpack(parser) => {
                entry.line = parser.apply(std::mem::take(&mut entry.line), &mut entry.labels);
                true
            }
            Self::Regexp(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::Pattern(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::LineFormat(stage) => {
                stage.apply(entry);
                true
            }
            Self::LabelFormat(stage) => {
                stage.apply(entry);
                true
            }
            Self::Decolorize(stage) => {
                entry.line = stage.apply(std::mem::take(&mut entry.line));
                true
            }
        }
    }

    /// Returns whether the stage reads the line or the time.
    pub(crate) fn needs_line(&self) -> bool {
        match self {
            Self::LabelFilter(_) | Self::DropKeep(_) | Self::Distinct(_) | Self::Context => false,
            Self::LabelFormat(stage) => stage.has_templates(),
            _ => true,
        }
    }

    /// Returns whether later stages may see another line.
    pub(crate) fn changes_line(&self) -> bool {
        matches!(self, Self::Decolorize(_) | Self::Unpack(_) | Self::LineFormat(_))
    }
}

/// Frames the reason why a stage does not compile, as Loki does.
pub(crate) fn stage_error(stage: &str, reason: &str) -> Error {
    Error::invalid(format!("parse error : stage '{stage}' : {reason}"))
}
