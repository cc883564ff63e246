//! Compiled stages and the entry they work on.

use crate::error::Error;
use crate::labels::Labels;
use crate::stage_decolorize::Decolorize;
use crate::stage_drop_keep::DropKeep;
use crate::stage_json::Json;
use crate::stage_label_filter::LabelTest;
use crate::stage_line_filter::LineTest;
use crate::stage_logfmt::Logfmt;
use crate::stage_parse::Hints;
use crate::stage_pattern::Pattern;
use crate::stage_regexp::Regexp;
use logyard_logql::StageKind;
use std::borrow::Cow;

/// An entry on its way through a pipeline.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) line: Cow<'a, [u8]>,
    pub(crate) labels: Labels<'a>,
}

/// A stage, ready to run.
#[derive(Debug)]
pub(crate) enum Stage {
    LineFilter(LineTest),
    LabelFilter(LabelTest),
    DropKeep(DropKeep),
    Json(Json),
    Logfmt(Logfmt),
    Regexp(Regexp),
    Pattern(Pattern),
    Decolorize(Decolorize),
}

impl Stage {
    /// Compiles a stage. Errors: the reason alone, without the frame that names the stage.
    pub(crate) fn compile(kind: &StageKind, hints: &Hints) -> Result<Self, String> {
        let unsupported = |name: &str| Err(format!("{name} is not evaluated yet by this version of Logyard"));
        match kind {
            StageKind::LineFilter(filter) => LineTest::compile(filter).map(Self::LineFilter),
            StageKind::LabelFilter(filter) => LabelTest::compile(filter).map(Self::LabelFilter),
            StageKind::Drop(picks) => Ok(Self::DropKeep(DropKeep::new(picks, false))),
            StageKind::Keep(picks) => Ok(Self::DropKeep(DropKeep::new(picks, true))),
            StageKind::Json(paths) if paths.is_empty() => Ok(Self::Json(Json::new(hints.clone()))),
            StageKind::Json(_) => unsupported("json with paths"),
            StageKind::Logfmt { strict, keep_empty, extractions } if extractions.is_empty() => {
                Ok(Self::Logfmt(Logfmt::new(*strict, *keep_empty, hints.clone())))
            }
            StageKind::Logfmt { .. } => unsupported("logfmt with keys"),
            StageKind::Regexp(pattern) => Regexp::compile(pattern, hints).map(Self::Regexp),
            StageKind::Pattern(pattern) => Pattern::compile(pattern, hints.clone()).map(Self::Pattern),
            StageKind::Unpack => unsupported("unpack"),
            StageKind::LineFormat(_) => unsupported("line_format"),
            StageKind::LabelFormat(_) => unsupported("label_format"),
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
            // Parsers drop nothing.
            Self::Json(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
                true
            }
            Self::Logfmt(parser) => {
                parser.parse(&entry.line, &mut entry.labels);
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
            Self::Decolorize(stage) => {
                entry.line = stage.apply(std::mem::take(&mut entry.line));
                true
            }
        }
    }

    /// Returns whether the stage reads the line, or what a parser took from it.
    pub(crate) fn needs_line(&self) -> bool {
        !matches!(self, Self::LabelFilter(_) | Self::DropKeep(_))
    }

    /// Returns whether later stages may see another line.
    pub(crate) fn changes_line(&self) -> bool {
        matches!(self, Self::Decolorize(_))
    }
}

/// Frames the reason why a stage does not compile, as Loki does.
pub(crate) fn stage_error(stage: &str, reason: &str) -> Error {
    Error::invalid(format!("parse error : stage '{stage}' : {reason}"))
}
