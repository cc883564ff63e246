//! `label_replace`: sets a label of every series from another by a pattern.

use crate::error::Error;
use crate::vector::GridSeries;
use logyard_logql::LabelReplace;
use logyard_model::{LabelSet, compile_anchored};
use std::collections::HashSet;
use std::sync::Arc;

/// Applies it; series that become equal are refused.
pub(crate) fn evaluate(
    replace: &LabelReplace,
    mut series: Vec<GridSeries>,
) -> Result<Vec<GridSeries>, Error> {
    let regex = compile_anchored(&replace.regex)
        .map_err(|error| Error::invalid(format!("parse error : invalid regex in label_replace: {error}")))?;
    for one in &mut series {
        let source = one.labels.get(&replace.source).unwrap_or("");
        let Some(captures) = regex.captures(source) else { continue };
        let mut value = String::new();
        captures.expand(&replace.replacement, &mut value);
        let mut labels = one.labels.as_ref().clone();
        if value.is_empty() {
            labels.remove(&replace.label);
        } else {
            labels.insert(&*replace.label, value);
        }
        one.labels = Arc::new(labels);
    }
    check_unique(series)
}

/// Refuses series that have become equal.
pub(crate) fn check_unique(series: Vec<GridSeries>) -> Result<Vec<GridSeries>, Error> {
    let mut seen: HashSet<&LabelSet> = HashSet::with_capacity(series.len());
    if series.iter().all(|one| seen.insert(&*one.labels)) {
        return Ok(series);
    }
    Err(Error::invalid("vector cannot contain metrics with the same labelset"))
}
