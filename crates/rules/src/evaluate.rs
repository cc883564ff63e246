//! The door to whoever evaluates queries, and what a rule makes of the answer.

use crate::alert::Seen;
use crate::expand::Facts;
use crate::group::{AlertRule, Rule};
use logyard_logql::Expr;
use logyard_model::{LabelSet, Tenant};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// A question to the store.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose entries.
    pub tenant: Tenant,
    /// A metric query.
    pub query: Arc<Expr>,
    /// The instant to evaluate at, in ns.
    pub time_ns: i64,
}

/// A sample of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSample {
    /// What tells it from the others.
    pub labels: Arc<LabelSet>,
    /// Its value.
    pub value: f64,
}

/// An answer in the making; the error is what people read. Dropped, its query ends.
pub type Evaluating<'a> = Pin<Box<dyn Future<Output = Result<Vec<RuleSample>, String>> + Send + 'a>>;

/// Evaluates queries at an instant.
pub trait Evaluate: Send + Sync + Debug {
    /// Begins to answer. Must not occupy the thread; whoever asks bounds the time by dropping it.
    fn evaluate(&self, ask: Ask) -> Evaluating<'_>;
}

/// Makes alerts of samples. Errors: too many, or two of them with the same labels.
pub(crate) fn alerts_of(
    rule: &Rule,
    alert: &AlertRule,
    samples: Vec<RuleSample>,
    around: Around<'_>,
) -> Result<Vec<Seen>, String> {
    if samples.len() > around.limit {
        return Err(format!("exceeded limit of {} with {} alerts", around.limit, samples.len()));
    }
    let mut seen = Vec::with_capacity(samples.len());
    let mut all = std::collections::BTreeSet::new();
    for sample in samples {
        let mut base = LabelSet::clone(&sample.labels);
        base.remove("__name__");
        let facts = Facts {
            labels: Rc::new(base),
            value: sample.value,
            ts_ns: around.time_ns,
            external_url: around.external_url,
        };
        let mut labels = LabelSet::clone(&facts.labels);
        set_all(&mut labels, rule.label_texts.expand(&facts));
        labels.insert("alertname", alert.name.as_str());
        let labels = Arc::new(labels);
        if !all.insert(Arc::clone(&labels)) {
            return Err(
                "vector contains metrics with the same labelset after applying alert labels".to_owned()
            );
        }
        let annotations = alert.annotation_texts.expand(&facts);
        let annotations = Arc::new(LabelSet::from_pairs(annotations));
        seen.push(Seen { labels, annotations, value: sample.value });
    }
    Ok(seen)
}

/// What all samples of an evaluation share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    pub(crate) time_ns: i64,
    pub(crate) limit: usize,
    pub(crate) external_url: &'a str,
}

/// Sets labels; an empty text removes one.
fn set_all(labels: &mut LabelSet, texts: Vec<(&str, String)>) {
    for (name, text) in texts {
        if text.is_empty() {
            labels.remove(name);
        } else {
            labels.insert(name, text);
        }
    }
}
