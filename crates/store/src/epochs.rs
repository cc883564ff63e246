//! Which policies were in force until when: what was too old once does not come back when a period is made longer.
//!
//! An *epoch* is a time within which the policies did not change. The catalog keeps for each what was in force, the
//! last instant at which that was seen, and the place in order of arrival up to which entries were flushed in it. Of
//! those entries nothing is answered that was too old at that instant; what arrived later is not concerned, so that
//! old entries can be brought in under a longer period.
//!
//! An instant counts as seen once the clock has run evenly for an hour, as for files that go; it is noted every hour
//! and at a clean stop. So a period that is set by mistake and put right within an hour costs nothing, and a clock that
//! jumps costs nothing; and what became too old in the last hour before a crash, or while it was in memory, may
//! come back.
//!
//! The end of an epoch is a wall for compaction: a stream may have changed its class there, and entries of equal times
//! stay in order of arrival only among segments of one class. An epoch is forgotten with the last of its segments.

use crate::catalog::{Catalog, last_order};
use crate::catalog_record::{Edit, EpochRecord, MatcherRecord, PolicyRecord, SegmentRecord, Snapshot};
use crate::delete_requests::edit;
use crate::error::Result;
use crate::policy::{Periods, RetentionPolicy};
use crate::shared::Shared;
use logyard_model::{LabelSet, MatchOp, Matcher, Tenant};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// Epochs that are remembered: with more changes than these in the life of a segment, the first are forgotten.
const EPOCHS_MAX: usize = 32;

/// How far the instant that is seen runs ahead of the one that is noted.
const NOTE_NS: i64 = 3_600_000_000_000;

/// An epoch that is over.
#[derive(Debug)]
pub(crate) struct Past {
    /// The last place in order of arrival that is of it.
    pub(crate) order_end: u64,
    seen_ns: i64,
    periods: Periods,
}

/// The epochs of a store.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    /// The oldest first.
    past: RwLock<Arc<Vec<Past>>>,
    seen: Mutex<Seen>,
    /// The last place in order of arrival when the store was opened: what came later is of the present epoch.
    opened_order: u64,
}

/// Of the present epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    seen_ns: Option<i64>,
    noted_ns: Option<i64>,
}

impl Epochs {
    /// Takes in what the catalog says; `periods` are those in force now.
    pub(crate) fn new(state: &Snapshot, periods: &Periods) -> Self {
        let epochs = Self { opened_order: last_order(state), ..Self::default() };
        epochs.set_past(state);
        let present = state.epochs.last().filter(|epoch| epoch.order_end.is_none());
        if let Some(present) = present.filter(|epoch| is_same(epoch, periods)) {
            *epochs.seen.lock() = Seen { seen_ns: None, noted_ns: Some(present.seen_ns) };
        }
        epochs
    }

    fn set_past(&self, state: &Snapshot) {
        let past = state.epochs.iter().filter_map(|epoch| {
            let order_end = epoch.order_end?;
            Some(Past { order_end, seen_ns: epoch.seen_ns, periods: periods_of(epoch) })
        });
        *self.past.write() = Arc::new(past.collect());
    }

    /// Returns the epochs that are over, the oldest first.
    pub(crate) fn past(&self) -> Arc<Vec<Past>> {
        Arc::clone(&self.past.read())
    }

    /// Returns the last places in order of arrival before the policies changed, the first change first.
    pub(crate) fn walls(&self, state: &Snapshot, periods: &Periods) -> Vec<u64> {
        // The catalog may not have taken a change in yet: see `note`.
        let is_over = state.epochs.last().is_some_and(|last| has_ended(last, periods));
        let ended = state.epochs.iter().filter_map(|epoch| epoch.order_end);
        ended.chain(is_over.then_some(self.opened_order)).collect()
    }

    /// Returns the last instant at which the clock was believed; `None` if it is not.
    pub(crate) fn seen_ns(&self) -> Option<i64> {
        self.seen.lock().seen_ns
    }

    /// Returns the instant before which a stream's entries in a segment are gone for good; `i64::MIN` if none are.
    pub(crate) fn gone_before_ns(
        &self,
        periods: &Periods,
        order: u64,
        tenant: &str,
        labels: &LabelSet,
    ) -> i64 {
        let seen_ns = self.seen_ns();
        let now = seen_ns.map_or(i64::MIN, |seen_ns| periods.of(tenant, labels).cutoff_ns(seen_ns));
        floor_ns(&self.past.read(), order, tenant, labels).max(now)
    }

    /// Returns an instant that is at or behind [`Epochs::gone_before_ns`] of all streams of a tenant.
    pub(crate) fn gone_before_max_ns(&self, periods: &Periods, tenant: &str) -> i64 {
        let seen_ns = self.seen_ns();
        let now = seen_ns.map_or(i64::MIN, |seen_ns| periods.bounds(tenant).0.cutoff_ns(seen_ns));
        floor_max_ns(&self.past.read(), tenant).max(now)
    }
}

/// Returns the instant before which past epochs hide a stream's entries of a place in order of arrival.
pub(crate) fn floor_ns(past: &[Past], order: u64, tenant: &str, labels: &LabelSet) -> i64 {
    let of_order = past.iter().filter(|epoch| epoch.order_end >= order);
    of_order.map(|epoch| epoch.periods.of(tenant, labels).cutoff_ns(epoch.seen_ns)).max().unwrap_or(i64::MIN)
}

/// Returns an instant that is at or behind the floors of all streams of a tenant.
pub(crate) fn floor_max_ns(past: &[Past], tenant: &str) -> i64 {
    let cutoffs = past.iter().map(|epoch| epoch.periods.bounds(tenant).0.cutoff_ns(epoch.seen_ns));
    cutoffs.max().unwrap_or(i64::MIN)
}

/// Ends the epoch of the catalog if other policies are in force now than when it was noted.
///
/// Errors: `Kind::Unavailable` if the catalog cannot be edited; it then goes on as it was until the next note.
pub(crate) fn begin(shared: &Shared) -> Result<()> {
    begin_in(shared, &mut shared.catalog.lock())
}

fn begin_in(shared: &Shared, catalog: &mut Catalog) -> Result<()> {
    let mut epochs = catalog.state().epochs.clone();
    // Not the last place of now: something may have been flushed since a first try failed.
    let order_end = shared.epochs.opened_order;
    match epochs.last_mut() {
        Some(last) if has_ended(last, &shared.periods) => {
            last.order_end = Some(order_end);
            // A clock that was ahead for hours and is right now must not hide what is young.
            last.seen_ns = last.seen_ns.min(shared.clock.now_ns());
        }
        _ => return Ok(()),
    }
    prune(&mut epochs, catalog.state());
    edit(shared, catalog, Edit::Epochs { epochs })?;
    shared.epochs.set_past(catalog.state());
    Ok(())
}

/// Notes that the policies are in force at an instant at which the clock is believed; `None` while it is not.
pub(crate) fn see(shared: &Shared, seen_ns: Option<i64>) {
    let noted_ns = {
        let mut seen = shared.epochs.seen.lock();
        seen.seen_ns = seen_ns;
        seen.noted_ns
    };
    let Some(seen_ns) = seen_ns else { return };
    let is_news = |noted_ns: i64| seen_ns < noted_ns || seen_ns.saturating_sub(noted_ns) >= NOTE_NS;
    if noted_ns.is_none_or(is_news) {
        note(shared);
    }
}

/// Writes down what was seen last, if that is not done.
pub(crate) fn note(shared: &Shared) {
    let Seen { seen_ns, noted_ns } = *shared.epochs.seen.lock();
    let Some(seen_ns) = seen_ns.filter(|seen_ns| noted_ns != Some(*seen_ns)) else {
        return;
    };
    let mut catalog = shared.catalog.lock();
    // The start may have failed to end the epoch of other policies: those were not in force at this instant.
    if let Err(error) = begin_in(shared, &mut catalog) {
        tracing::debug!(?error, "cannot note that store.retention has changed");
        return;
    }
    let mut epochs = catalog.state().epochs.clone();
    match epochs.last_mut() {
        Some(last) if last.order_end.is_none() => last.seen_ns = seen_ns,
        _ => epochs.push(record(&shared.periods, seen_ns)),
    }
    prune(&mut epochs, catalog.state());
    match edit(shared, &mut catalog, Edit::Epochs { epochs }) {
        Ok(()) => {
            shared.epochs.set_past(catalog.state());
            shared.epochs.seen.lock().noted_ns = Some(seen_ns);
        }
        Err(error) => tracing::debug!(?error, "cannot note how long the policies of retention are in force"),
    }
}

/// Forgets epochs of which no segment is left, and the first of too many.
fn prune(epochs: &mut Vec<EpochRecord>, state: &Snapshot) {
    let lost = state.lost.iter().map(|lost| &lost.segment);
    let orders = state.segments.iter().chain(lost).map(|record: &SegmentRecord| record.order);
    let first = orders.min().unwrap_or(u64::MAX);
    epochs.retain(|epoch| epoch.order_end.is_none_or(|order_end| order_end >= first));
    epochs.drain(..epochs.len().saturating_sub(EPOCHS_MAX));
}

/// Returns whether an epoch is over that the catalog has as the present one.
fn has_ended(epoch: &EpochRecord, periods: &Periods) -> bool {
    epoch.order_end.is_none() && !is_same(epoch, periods)
}

fn is_same(epoch: &EpochRecord, periods: &Periods) -> bool {
    *epoch == EpochRecord { seen_ns: epoch.seen_ns, order_end: epoch.order_end, ..record(periods, 0) }
}

fn record(periods: &Periods, seen_ns: i64) -> EpochRecord {
    let policies = periods.policies().iter().map(|policy| PolicyRecord {
        tenant: policy.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        matchers: policy.matchers.iter().map(matcher_record).collect(),
        period_secs: policy.period_secs,
        priority: policy.priority,
    });
    EpochRecord {
        policies: policies.collect(),
        default_secs: periods.default().secs(),
        seen_ns,
        order_end: None,
    }
}

fn matcher_record(matcher: &Matcher) -> MatcherRecord {
    MatcherRecord {
        name: matcher.name().to_owned(),
        op: matcher.op().as_str().to_owned(),
        value: matcher.value().to_owned(),
    }
}

/// Returns the periods of an epoch. A policy that can be read no more is left out: what it hid may be seen again.
fn periods_of(epoch: &EpochRecord) -> Periods {
    let policies = epoch.policies.iter().filter_map(policy).collect();
    Periods::of_epoch(policies, epoch.default_secs)
}

fn policy(record: &PolicyRecord) -> Option<RetentionPolicy> {
    let tenant = match &record.tenant {
        Some(tenant) => Some(Tenant::new(tenant).ok()?),
        None => None,
    };
    let matchers = record.matchers.iter().map(|matcher| {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let op = ops.into_iter().find(|op| op.as_str() == matcher.op)?;
        Matcher::new(&matcher.name, op, &matcher.value).ok()
    });
    Some(RetentionPolicy {
        tenant,
        matchers: matchers.collect::<Option<Vec<_>>>()?,
        period_secs: record.period_secs,
        priority: record.priority,
    })
}
