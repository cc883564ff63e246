//! `line_format` and `label_format`.
//!
//! A template that fails leaves its target alone and notes an error, in place of any other
//! (Loki v3.7.6).

use crate::labels::{ERROR, ERROR_DETAILS, Labels};
use crate::stage::Entry;
use logyard_logql::{Formatted, LabelFormat as Item};
use logyard_template::{Dialect, Entry as Over, Fields, Template, Value};
use std::borrow::Cow;
use std::rc::Rc;

const TEMPLATE_ERROR: &str = "TemplateFormatErr";

impl Fields for Labels<'_> {
    fn field(&self, name: &str) -> Value {
        Value::text(self.get(name).unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        Some(self.get(name).unwrap_or_default().as_bytes())
    }

    fn all(&self) -> Value {
        Value::Labels(Rc::new(self.union()))
    }
}

fn over<'e>(entry: &'e Entry<'_>, now_ns: i64) -> Over<'e> {
    Over { line: &entry.line, ts_ns: entry.ts_ns, now_ns }
}

/// `line_format`: makes a new line of labels and the old line.
#[derive(Debug)]
pub(crate) struct LineFormat {
    template: Template,
    now_ns: i64,
}

impl LineFormat {
    pub(crate) fn compile(template: &str, now_ns: i64) -> Result<Self, String> {
        let template = Template::compile("line", template, Dialect::Query)
            .map_err(|fault| format!("invalid line template: {fault}"))?;
        Ok(Self { template, now_ns })
    }

    pub(crate) fn apply(&self, entry: &mut Entry<'_>) {
        match self.template.run(over(entry, self.now_ns), &entry.labels) {
            Ok(line) => entry.line = Cow::Owned(line),
            Err(details) => entry.labels.replace_error(TEMPLATE_ERROR, &details),
        }
    }
}

/// Where a label's value comes from.
#[derive(Debug)]
enum Source {
    Label(String),
    Template(Box<Template>),
}

/// `label_format`: renames labels and makes new ones, in order.
#[derive(Debug)]
pub(crate) struct LabelFormat {
    items: Vec<(String, Source)>,
    now_ns: i64,
}

impl LabelFormat {
    pub(crate) fn compile(items: &[Item], now_ns: i64) -> Result<Self, String> {
        let mut compiled: Vec<(String, Source)> = Vec::with_capacity(items.len());
        for Item { label, from } in items {
            if label == ERROR {
                return Err(format!("{ERROR} cannot be formatted"));
            }
            if compiled.iter().any(|(known, _)| known == label) {
                return Err(format!(
                    "multiple label name '{label}' not allowed in a single format operation"
                ));
            }
            let source = match from {
                Formatted::Label(source) => Source::Label(source.clone()),
                Formatted::Template(text) => {
                    let template = Template::compile("label", text, Dialect::Query);
                    Source::Template(Box::new(
                        template.map_err(|fault| format!("invalid template for label '{label}': {fault}"))?,
                    ))
                }
            };
            compiled.push((label.clone(), source));
        }
        Ok(Self { items: compiled, now_ns })
    }

    /// Returns whether more than labels may decide the outcome.
    pub(crate) fn has_templates(&self) -> bool {
        self.items.iter().any(|(_, source)| matches!(source, Source::Template(_)))
    }

    pub(crate) fn apply(&self, entry: &mut Entry<'_>) {
        // All templates of a stage see the labels as they were at the first of them.
        let mut snapshot: Option<Labels<'_>> = None;
        for (label, source) in &self.items {
            match source {
                Source::Label(source) => rename(&mut entry.labels, source, label),
                Source::Template(template) => {
                    let seen = snapshot.get_or_insert_with(|| entry.labels.clone());
                    match template.run(over(entry, self.now_ns), seen) {
                        Ok(value) => entry.labels.overwrite(label, &String::from_utf8_lossy(&value)),
                        Err(details) => entry.labels.replace_error(TEMPLATE_ERROR, &details),
                    }
                }
            }
        }
    }
}

/// Moves a label's value to another label; the error pair cannot be moved.
fn rename(labels: &mut Labels<'_>, source: &str, label: &str) {
    if source == label || source == ERROR || source == ERROR_DETAILS {
        return;
    }
    let Some(value) = labels.get(source).map(str::to_owned) else { return };
    labels.overwrite(label, &value);
    labels.remove(source);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn compile(stage: &str) -> Result<LabelFormat, String> {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | {stage}")).unwrap() else { panic!("{stage}") };
        let StageKind::LabelFormat(items) = &log.stages[0].kind else { panic!("{stage}") };
        LabelFormat::compile(items, 0)
    }

    /// Checks all labels behind the stage, run over stream `app="x"` and a parsed `a="1"`.
    fn check(stage: &str, expect: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "x")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut entry = Entry { line: Cow::Borrowed(b"l"), ts_ns: 0, labels: Labels::new(&base) };
        entry.labels.extract("a", "1");
        compile(stage).unwrap().apply(&mut entry);
        assert_eq!(entry.labels.union().to_string(), expect, "{stage}");
    }

    #[test]
    fn renames() {
        check("label_format b=a, c=b", r#"{app="x", c="1"}"#);
        check("label_format a=a, z=none", r#"{a="1", app="x"}"#);
        check("label_format app=a", r#"{app="1"}"#);
        check("label_format z=__error__", r#"{a="1", app="x"}"#);
    }

    #[test]
    fn templates_see_one_snapshot() {
        check(
            "label_format c=`{{.a}}`, b=a, d=`{{.a}}-{{.b}}-{{.c}}`",
            r#"{app="x", b="1", c="1", d="1--"}"#,
        );
        check("label_format b=a, c=`{{.b}}{{.a}}`", r#"{app="x", b="1", c="1"}"#);
        check("label_format e=`{{.none}}`", r#"{a="1", app="x", e=""}"#);
        let details = r#"template: label:1:3: executing \"label\" at <div 1 0>: error calling div: runtime error: integer divide by zero"#;
        check(
            "label_format e=`{{ div 1 0 }}`, f=`y`",
            &format!(
                r#"{{__error__="TemplateFormatErr", __error_details__="{details}", a="1", app="x", f="y"}}"#
            ),
        );
    }

    #[test]
    fn refused() {
        for (stage, reason) in [
            (r#"label_format x="{{""#, "invalid template for label 'x': template: label:1: unclosed action"),
            (r#"label_format __error__="x""#, "__error__ cannot be formatted"),
            ("label_format a=b, a=c", "multiple label name 'a' not allowed in a single format operation"),
        ] {
            assert_eq!(compile(stage).unwrap_err(), reason);
        }
        let error = LineFormat::compile("{{.x", 0).unwrap_err();
        assert_eq!(error, "invalid line template: template: line:1: unclosed action");
    }
}
