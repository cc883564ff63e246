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
    /// After how long it is asked again, in ns, and so on; 0 if it is not.
    pub every_ns: i64,
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

/// A question for the last entries of a range.
#[derive(Clone, Debug)]
pub struct AskLines {
    /// Whose entries.
    pub tenant: Tenant,
    /// A log query.
    pub query: Arc<Expr>,
    /// The first instant of the range, in ns.
    pub start_ns: i64,
    /// The first one behind the range, in ns.
    pub end_ns: i64,
    /// Most entries.
    pub lines_max: usize,
}

/// Lines in the making, the oldest first; the error is what people read. Dropped, its query ends.
pub type ReadingLines<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vec<u8>>, String>> + Send + 'a>>;

/// Evaluates queries at an instant.
pub trait Evaluate: Send + Sync + Debug {
    /// Takes note of what will be asked, all of it, in place of what it was told before: each first at its instant. Whoever
    /// answers may get ready for all at once. Does so later, and never waits.
    fn expect(&self, asks: Vec<Ask>);

    /// Begins to answer. Must not occupy the thread; whoever asks bounds the time by dropping it.
    fn evaluate(&self, ask: Ask) -> Evaluating<'_>;

    /// Begins to read the last lines of a range, as [`Evaluate::evaluate`] does.
    fn lines(&self, ask: AskLines) -> ReadingLines<'_>;
}

/// A sample with the labels of its alert.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) sample: RuleSample,
    /// Lines that made the alert fire, for its annotations.
    pub(crate) lines: Arc<[String]>,
    /// Whether they are new.
    pub(crate) are_new: bool,
}

/// Gives samples the labels of their alerts. Errors: too many, or two of them with the same labels.
pub(crate) fn label(
    rule: &Rule,
    alert: &AlertRule,
    samples: Vec<RuleSample>,
    around: Around<'_>,
) -> Result<Vec<Labelled>, String> {
    if samples.len() > around.limit {
        return Err(format!("exceeded limit of {} with {} alerts", around.limit, samples.len()));
    }
    let mut labelled = Vec::with_capacity(samples.len());
    let mut all = std::collections::BTreeSet::new();
    for sample in samples {
        let facts = around.facts(&sample, &[]);
        let mut labels = LabelSet::clone(&facts.labels);
        set_all(&mut labels, rule.label_texts.expand(&facts));
        labels.insert("alertname", alert.name.as_str());
        let labels = Arc::new(labels);
        if !all.insert(Arc::clone(&labels)) {
            return Err(
                "vector contains metrics with the same labelset after applying alert labels".to_owned()
            );
        }
        labelled.push(Labelled { labels, sample, lines: Arc::default(), are_new: false });
    }
    Ok(labelled)
}

/// Makes series of the samples of a recording rule. Errors: too many, or two of them with the same labels.
pub(crate) fn series(
    rule: &Rule,
    name: &str,
    samples: Vec<RuleSample>,
    around: Around<'_>,
) -> Result<Vec<(Arc<LabelSet>, f64)>, String> {
    if samples.len() > around.limit {
        return Err(format!("exceeded limit of {} with {} series", around.limit, samples.len()));
    }
    let mut all = std::collections::BTreeMap::new();
    for sample in samples {
        let facts = around.facts(&sample, &[]);
        let mut labels = LabelSet::clone(&facts.labels);
        set_all(&mut labels, rule.label_texts.expand(&facts));
        labels.insert("__name__", name);
        if all.insert(Arc::new(labels), sample.value).is_some() {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
    }
    Ok(all.into_iter().collect())
}

/// Makes alerts of labelled samples.
pub(crate) fn annotate(alert: &AlertRule, labelled: Vec<Labelled>, around: Around<'_>) -> Vec<Seen> {
    let annotate = |one: Labelled| {
        let annotations = alert.annotation_texts.expand(&around.facts(&one.sample, &one.lines));
        let annotations = Arc::new(LabelSet::from_pairs(annotations));
        let lines = one.are_new.then_some(one.lines);
        Seen { labels: one.labels, annotations, value: one.sample.value, lines }
    };
    labelled.into_iter().map(annotate).collect()
}

/// What all samples of an evaluation share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    pub(crate) time_ns: i64,
    pub(crate) limit: usize,
    pub(crate) external_url: &'a str,
}

impl Around<'_> {
    fn facts<'f>(&'f self, sample: &RuleSample, lines: &'f [String]) -> Facts<'f> {
        let mut labels = LabelSet::clone(&sample.labels);
        labels.remove("__name__");
        Facts {
            labels: Rc::new(labels),
            value: sample.value,
            ts_ns: self.time_ns,
            lines,
            external_url: self.external_url,
        }
    }
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
