//! Names of labels and values of one, of the streams that have entries in a range.
//!
//! A segment that lies in the range whole, and of which nothing is hidden, tells them from the dictionary of its stream
//! index: that costs as many steps as there are names or values, however many streams bear them. Of other segments, and of
//! heads, each stream is looked at; neighbours mostly have the same names, which a comparison shows.

use crate::error::Result;
use crate::sight::{Part, Sight};
use logyard_model::{LabelSet, Matcher, Stream, Tenant};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// Names of labels.
    Names,
    /// Values of the label of a name.
    Values(&'a str),
}

/// What was found so far.
struct Texts<'a> {
    asked: Asked<'a>,
    found: BTreeSet<String>,
    /// The stream that was added last.
    last: Option<Arc<Stream>>,
}

/// Collects what is asked of a tenant's matching streams. Errors: as [`crate::Store::streams`].
pub(crate) fn collect(
    sight: &mut Sight<'_>,
    tenant: &Tenant,
    matchers: &[Matcher],
    asked: Asked<'_>,
) -> Result<BTreeSet<String>> {
    let mut texts = Texts { asked, found: BTreeSet::new(), last: None };
    sight.each_part(matchers, |window, part| match part {
        Part::Segment(segment, index) => {
            let record = &segment.record;
            let is_whole = matchers.is_empty() && window.holds(record.min_ns, record.max_ns);
            match is_whole.then(|| index.label_texts(asked)).flatten() {
                Some(all) => texts.found.extend(all),
                None => index.each_stream(record.order, matchers, window, |stream| texts.add(stream)),
            }
        }
        Part::Head(head) => head.each_stream(tenant, matchers, window, |stream| texts.add(stream)),
        Part::Run(run, _) => texts.add(&run.stream),
    })?;
    Ok(texts.found)
}

impl Texts<'_> {
    fn add(&mut self, stream: &Arc<Stream>) {
        let labels = &stream.labels;
        match self.asked {
            Asked::Names => {
                if self.last.as_ref().is_some_and(|last| have_same_names(&last.labels, labels)) {
                    return;
                }
                labels.iter().for_each(|(name, _)| insert(&mut self.found, name));
            }
            Asked::Values(name) => {
                let Some(value) = labels.get(name) else { return };
                if self.last.as_ref().is_some_and(|last| last.labels.get(name) == Some(value)) {
                    return;
                }
                insert(&mut self.found, value);
            }
        }
        self.last = Some(Arc::clone(stream));
    }
}

fn have_same_names(left: &LabelSet, right: &LabelSet) -> bool {
    left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| left.0 == right.0)
}

/// Adds a text that is mostly there already.
fn insert(found: &mut BTreeSet<String>, text: &str) {
    if !found.contains(text) {
        found.insert(text.to_owned());
    }
}
