//! `drop` and `keep`.

use crate::labels::{ERROR, ERROR_DETAILS, Labels, PRESERVE_ERROR};
use logyard_logql::LabelPick;

/// Deletes labels: those picked, or all others.
#[derive(Debug)]
pub(crate) struct DropKeep {
    picks: Vec<LabelPick>,
    keep: bool,
}

impl DropKeep {
    pub(crate) fn new(picks: &[LabelPick], keep: bool) -> Self {
        Self { picks: picks.to_vec(), keep }
    }

    pub(crate) fn apply(&self, labels: &mut Labels<'_>) {
        if self.keep {
            self.keep(labels);
        } else {
            self.drop(labels);
        }
    }

    /// Returns the names whose values decide what is left of them or of the entry.
    pub(crate) fn read_names(&self) -> impl Iterator<Item = &str> {
        self.picks.iter().map(|pick| match pick {
            LabelPick::Name(name) => &**name,
            LabelPick::Matcher(matcher) => matcher.name(),
        })
    }

    fn drop(&self, labels: &mut Labels<'_>) {
        for pick in &self.picks {
            match pick {
                LabelPick::Name(name) => labels.remove(name),
                LabelPick::Matcher(matcher) if matcher.matches(labels.get(matcher.name()).unwrap_or("")) => {
                    labels.remove(matcher.name());
                }
                LabelPick::Matcher(_) => {}
            }
        }
    }

    /// The error labels always stay.
    fn keep(&self, labels: &mut Labels<'_>) {
        let picked = |name: &str| {
            self.picks.iter().any(|pick| match pick {
                LabelPick::Name(wanted) => wanted == name,
                LabelPick::Matcher(matcher) => {
                    matcher.name() == name && matcher.matches(labels.get(name).unwrap_or(""))
                }
            })
        };
        let gone: Vec<String> = labels
            .names()
            .into_iter()
            .filter(|name| ![ERROR, ERROR_DETAILS, PRESERVE_ERROR].contains(&&**name) && !picked(name))
            .collect();
        gone.iter().for_each(|name| labels.remove(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn check(stage: &str, expect: &str) {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | {stage}")).unwrap() else { panic!("{stage}") };
        let stage = match &log.stages[0].kind {
            StageKind::Drop(picks) => DropKeep::new(picks, false),
            StageKind::Keep(picks) => DropKeep::new(picks, true),
            _ => panic!("{stage}"),
        };
        let stream = Arc::new(LabelSet::from_pairs([("a", "1"), ("b", "2")]));
        let base = Base::new(&stream, "info", &Arc::new(LabelSet::from_pairs([("t", "x\ny")])));
        let mut labels = Labels::new(&base);
        labels.set_error("E", "d".to_owned());
        stage.apply(&mut labels);
        assert_eq!(labels.union().to_string(), expect);
    }

    #[test]
    fn picks_by_name_and_value() {
        let all = r#"{__error__="E", __error_details__="d", a="1", b="2", detected_level="info", t="x\ny"}"#;
        check("drop z", all);
        check(
            r#"drop a, b="3", t=~"x.y""#,
            r#"{__error__="E", __error_details__="d", b="2", detected_level="info"}"#,
        );
        check("drop __error__, a, b, t, detected_level", r#"{__error_details__="d"}"#);
        check(r#"keep a, b="3""#, r#"{__error__="E", __error_details__="d", a="1"}"#);
    }
}
