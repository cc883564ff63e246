//! Prepares JSON documents, and keeps apart what became of each: clients of `_bulk` send again what was not taken.

use crate::metrics::Form;
use crate::prepare::{self, Context, Prepared};
use crate::reason::Reason;
use crate::validate::Fault;
use crate::verdict::Verdict;
use logyard_wire::bulk::Action;
use logyard_wire::documents::{Documents, Place};
use std::collections::HashMap;

/// What became of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What was asked.
    pub action: Action,
    /// Why it was rejected; `None` if it is durable and visible.
    pub rejected: Option<Reason>,
}

/// What became of a push of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentVerdict {
    /// Counts, and the text about all that was rejected.
    pub verdict: Verdict,
    /// Each document, in the order sent.
    pub items: Vec<Item>,
}

/// Prepares decoded documents. Errors: none, since labels made of fields have good names.
pub(crate) fn prepare(
    ctx: &Context<'_>,
    form: Form,
    documents: &Documents<'_>,
) -> Result<(Prepared, Vec<Item>), logyard_wire::Error> {
    let mut rejected = HashMap::new();
    let mut note = |stream: usize, entry: usize, reason: Reason| {
        rejected.insert((stream, entry), reason);
    };
    let mut prepared = prepare::prepare_noting(ctx, form, &documents.request, &mut note)?;
    let mut item = |(number, &(action, place)): (usize, &(Action, Place))| {
        let rejected = match place {
            Place::Entry(stream, entry) => rejected.get(&(stream, entry)).copied(),
            Place::Refused(why, bytes) => {
                let reason = Reason::InvalidDocument;
                // Documents that are no entries are counted all the same, so that the counters balance.
                prepared.received.entries += 1;
                prepared.received.bytes += bytes as u64;
                let text = format!("document {}: {why}", number + 1);
                prepared.verdict.reject(Fault::new(reason, text), 1, bytes as u64);
                Some(reason)
            }
        };
        Item { action, rejected }
    };
    let items = documents.items.iter().enumerate().map(&mut item).collect();
    Ok((prepared, items))
}
