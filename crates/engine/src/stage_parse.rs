//! What parsers share: names of labels, and which labels anybody will look at.
//!
//! Which faults of a line are seen depends on how far it is read, so how far is part of the language
//! (Loki v3.7.6): under a grouping only needed labels are extracted, and reading stops once each was
//! found; with nothing needed at all, parsers are skipped.

use crate::bytes_scan::is_name_byte;
use crate::labels::{ERROR, Labels};
use logyard_logql::{Formatted, Grouping, LabelFilter, StageKind, Unwrap};
use logyard_template::template_names;
use std::borrow::Cow;

/// Which labels are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hints {
    /// The needed names; `None` for all.
    needed: Option<Vec<String>>,
}

impl Hints {
    /// Extracts all labels.
    pub(crate) fn everything() -> Self {
        Self { needed: None }
    }

    /// Finds out what a range aggregation needs; `counted` is the label whose values it counts, and
    /// `grouping` is the one that decides the series.
    pub(crate) fn new<'a>(
        stages: impl Iterator<Item = &'a StageKind>,
        (unwrap, counted): (Option<&Unwrap>, Option<&str>),
        grouping: Option<&Grouping>,
    ) -> Self {
        let Some(Grouping { without: false, labels }) = grouping else { return Self::everything() };
        let mut needed = labels.clone();
        for stage in stages {
            match stage {
                StageKind::LabelFilter(filter) => filter_names(filter, &mut needed),
                StageKind::LabelFormat(items) => {
                    for item in items {
                        match &item.from {
                            Formatted::Label(source) => needed.push(source.clone()),
                            Formatted::Template(text) => template_names(text, &mut needed),
                        }
                    }
                }
                StageKind::LineFormat(text) => template_names(text, &mut needed),
                _ => {}
            }
        }
        needed.extend(counted.map(str::to_owned));
        if let Some(unwrap) = unwrap {
            needed.push(unwrap.label.clone());
            unwrap.filters.iter().for_each(|filter| filter_names(filter, &mut needed));
        }
        let plain: Vec<String> =
            needed.iter().filter_map(|name| name.strip_suffix("_extracted").map(str::to_owned)).collect();
        needed.extend(plain);
        needed.sort_unstable();
        needed.dedup();
        Self { needed: Some(needed) }
    }

    /// Returns the needed names; `None` for all.
    pub(crate) fn needed(&self) -> Option<&[String]> {
        self.needed.as_deref()
    }

    /// Returns whether parsers are not to run at all.
    pub(crate) fn nothing_needed(&self) -> bool {
        self.needed.as_ref().is_some_and(Vec::is_empty)
    }

    /// Returns whether a label is looked at.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.needed.as_ref().is_none_or(|needed| needed.iter().any(|wanted| wanted == name))
    }

    /// Returns whether a label of that name is looked at, or one whose name goes on behind a `_`.
    pub(crate) fn wants_below(&self, name: &[u8]) -> bool {
        let Some(needed) = &self.needed else { return true };
        name.is_empty()
            || needed.iter().any(|wanted| {
                let rest = wanted.as_bytes().strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"_"))
            })
    }

    /// Returns whether every needed label was found, so that reading on is of no use.
    pub(crate) fn is_satisfied(&self, labels: &Labels<'_>) -> bool {
        self.needed.as_ref().is_some_and(|needed| needed.iter().all(|name| labels.is_extracted(name)))
    }

    /// Returns whether the query handles the errors of parsers itself.
    pub(crate) fn preserves_errors(&self) -> bool {
        self.needed.as_ref().is_some_and(|needed| needed.iter().any(|name| name == ERROR))
    }
}

/// Appends the names of the labels that a label filter reads.
pub(crate) fn filter_names(filter: &LabelFilter, out: &mut Vec<String>) {
    match filter {
        LabelFilter::Text(matcher) => out.push(matcher.name().to_owned()),
        LabelFilter::Compare { name, .. } | LabelFilter::Ip { name, .. } => out.push(name.clone()),
        LabelFilter::CompareLabels { left, right, .. } => out.extend([left.clone(), right.clone()]),
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            filter_names(left, out);
            filter_names(right, out);
        }
    }
}

/// Makes part of a name: each character that no name may hold becomes `_`.
pub(crate) fn sanitise(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_name_byte) {
        return Cow::Borrowed(text);
    }
    let text = text.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.chars().all(allowed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if allowed(c) { c } else { '_' }).collect())
}

/// Makes a whole name: one that starts with a digit gains a `_`. Empty if nothing is left.
pub(crate) fn label_name(text: &str) -> Cow<'_, str> {
    let name = sanitise(text);
    if name.starts_with(|c: char| c.is_ascii_digit()) { Cow::Owned(format!("_{name}")) } else { name }
}

/// Makes a value: bytes that are no UTF-8, and U+FFFD itself, become a space.
pub(crate) fn label_value(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.is_ascii()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\u{fffd}') { Cow::Owned(text.replace('\u{fffd}', " ")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_logql::{Expr, parse};

    #[test]
    fn names() {
        for (text, name) in
            [("a-b", "a_b"), (" a.b\u{a0}", "a_b"), ("é", "_"), ("9x", "_9x"), (" ", ""), ("ok_1", "ok_1")]
        {
            assert_eq!(label_name(text), name);
        }
        assert_eq!(label_value(b"a\xffb"), "a b");
    }

    #[test]
    fn needed_labels() {
        let hints = |query: &str, by: Option<&[&str]>| {
            let Expr::Log(log) = parse(query).unwrap() else { panic!("{query}") };
            let labels = by.map(|by| by.iter().map(|&name| name.to_owned()).collect());
            let grouping = labels.map(|labels| Grouping { without: false, labels });
            Hints::new(log.stages.iter().map(|stage| &stage.kind), (None, None), grouping.as_ref()).needed
        };
        let names = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(hints(r#"{a="b"} | json"#, None), None);
        assert_eq!(hints(r#"{a="b"} | json | drop c"#, Some(&[])), names(&[]));
        assert_eq!(hints(r#"{a="b"} | json | d="e" or f>1"#, Some(&["c"])), names(&["c", "d", "f"]));
        assert_eq!(hints(r#"{a="b"} | json"#, Some(&["c_extracted"])), names(&["c", "c_extracted"]));
        assert_eq!(hints(r#"{a="b"} | json | line_format "x""#, Some(&[])), names(&[]));
        let formats = r#"{a="b"} | json | line_format "{{.c | lower}}" | label_format d=e, f="{{.g}}""#;
        assert_eq!(hints(formats, Some(&[])), names(&["c", "e", "g"]));
    }
}
