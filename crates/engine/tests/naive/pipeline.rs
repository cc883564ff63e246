//! A pipeline, stage by stage from left to right.

use crate::filters::{label_passes, line_passes, matches};
use crate::labels::{Entry, Map};
use crate::parsers::{self, Needed};
use logyard_logql::{Formatted, LabelPick, LogExpr, StageKind};

/// Runs stages; false drops the entry.
pub(crate) fn apply(stages: &[&StageKind], entry: &mut Entry, needed: &Needed) -> bool {
    stages.iter().all(|stage| apply_stage(stage, entry, needed))
}

/// The stages of a log query.
pub(crate) fn stages(log: &LogExpr) -> Vec<&StageKind> {
    log.stages.iter().map(|stage| &stage.kind).collect()
}

/// The stages of a metric query: a `line_format` whose line nobody reads is left out, with the errors
/// of its template (recorded from Loki v3.7.6).
pub(crate) fn metric_stages(log: &LogExpr, counts_bytes: bool) -> Vec<&StageKind> {
    let all = stages(log);
    let is_read = |later: &[&StageKind]| counts_bytes || later.iter().any(|stage| reads_line(stage));
    let is_idle =
        |index: usize| matches!(all[index], StageKind::LineFormat(_)) && !is_read(&all[index + 1..]);
    (0..all.len()).filter(|index| !is_idle(*index)).map(|index| all[index]).collect()
}

fn reads_line(stage: &StageKind) -> bool {
    match stage {
        StageKind::LineFilter(_)
        | StageKind::Json(_)
        | StageKind::Logfmt { .. }
        | StageKind::Regexp(_)
        | StageKind::Pattern(_)
        | StageKind::Unpack => true,
        StageKind::LabelFormat(items) => items
            .iter()
            .any(|item| matches!(&item.from, Formatted::Template(template) if template.contains("__line__"))),
        _ => false,
    }
}

fn apply_stage(stage: &StageKind, entry: &mut Entry, needed: &Needed) -> bool {
    match stage {
        StageKind::LineFilter(filter) => return line_passes(filter, &entry.line),
        StageKind::LabelFilter(filter) => return label_passes(filter, entry),
        StageKind::Json(paths) if paths.is_empty() => parsers::json(entry, needed),
        StageKind::Json(paths) => parsers::json_paths(entry, paths, needed),
        StageKind::Logfmt { strict, keep_empty, extractions } if extractions.is_empty() => {
            parsers::logfmt(entry, *strict, *keep_empty, needed);
        }
        StageKind::Logfmt { strict, extractions, .. } => {
            parsers::logfmt_keys(entry, extractions, *strict, needed);
        }
        StageKind::Regexp(pattern) => parsers::regexp(entry, pattern),
        StageKind::Pattern(pattern) => parsers::pattern(entry, pattern, needed),
        StageKind::Unpack => parsers::unpack(entry, needed),
        StageKind::Decolorize => parsers::decolorize(entry),
        StageKind::LineFormat(template) => match render(template, &entry.visible(), &entry.line) {
            Some(line) => entry.line = line.into_bytes(),
            None => entry.fail("TemplateFormatErr", "failed"),
        },
        StageKind::LabelFormat(items) => {
            let mut snapshot: Option<Map> = None;
            for item in items {
                match &item.from {
                    Formatted::Label(source) => {
                        let value = entry.get(source).map(str::to_owned);
                        if let Some(value) = value.filter(|_| *source != item.label) {
                            entry.set(&item.label, &value);
                            entry.delete(source);
                        }
                    }
                    Formatted::Template(template) => {
                        let labels = snapshot.get_or_insert_with(|| entry.visible());
                        match render(template, labels, &entry.line) {
                            Some(value) => entry.set(&item.label, &value),
                            None => entry.fail("TemplateFormatErr", "failed"),
                        }
                    }
                }
            }
        }
        StageKind::Drop(picks) => {
            for pick in picks {
                match pick {
                    LabelPick::Name(name) => entry.delete(name),
                    LabelPick::Matcher(matcher) => {
                        if matches(matcher, entry.get(matcher.name()).unwrap_or(""), true) {
                            entry.delete(matcher.name());
                        }
                    }
                }
            }
        }
        StageKind::Keep(picks) => {
            for (name, value) in entry.visible() {
                let listed = picks.iter().any(|pick| match pick {
                    LabelPick::Name(kept) => *kept == name,
                    LabelPick::Matcher(matcher) => matcher.name() == name && matches(matcher, &value, true),
                });
                let spared =
                    ["__error__", "__error_details__", "__preserve_error__"].contains(&name.as_str());
                if !listed && !spared {
                    entry.delete(&name);
                }
            }
        }
        extension => panic!("{extension:?} is no part of Loki's language"),
    }
    true
}

/// Renders a template of text and `{{…}}` with a field or `__line__`, piped through few functions.
///
/// Returns nothing if it fails, as every division here does.
fn render(template: &str, labels: &Map, line: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((text, action)) = rest.split_once("{{") {
        out.push_str(text);
        let (action, tail) = action.split_once("}}").expect(template);
        let mut value = String::new();
        for (index, command) in action.split('|').enumerate() {
            let mut words = command.split_whitespace().collect::<Vec<_>>();
            let operand = |word: &str| match word.strip_prefix('.') {
                Some(name) => labels.get(name).cloned().unwrap_or_default(),
                None if word == "__line__" => String::from_utf8_lossy(line).into_owned(),
                None => word.trim_matches('"').to_owned(),
            };
            let last = if index == 0 { operand(words.pop().expect(template)) } else { value };
            value = match words.as_slice() {
                [] => last,
                ["lower"] => last.to_lowercase(),
                ["upper"] => last.to_uppercase(),
                ["trim"] => last.trim().to_owned(),
                ["default", other] if last.is_empty() => operand(other),
                ["default", _] => last,
                ["replace", old, new] => last.replace(&operand(old), &operand(new)),
                ["trimPrefix", prefix] => {
                    last.strip_prefix(operand(prefix).as_str()).unwrap_or(&last).to_owned()
                }
                ["div", ..] => return None,
                other => panic!("{other:?} in {template}"),
            };
        }
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// The labels that a template names.
pub(crate) fn template_fields(template: &str) -> Vec<String> {
    let mut fields = Vec::new();
    for action in template.split("{{").skip(1) {
        let action = action.split("}}").next().unwrap_or_default();
        let words = action.split(|c: char| c.is_whitespace() || c == '|');
        fields.extend(words.filter_map(|word| word.strip_prefix('.')).map(str::to_owned));
    }
    fields
}
