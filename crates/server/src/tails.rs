//! The live tails that are open: how many there are, of one tenant and in all, what they hold in memory, and their end
//! when the server stops.

use crate::settings::ServerSettings;
use crate::tail_shared::SharedFollow;
use logyard_engine::Follow;
use logyard_logql::Expr;
use logyard_model::Tenant;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Threads that look at lines for tails at once.
const THREADS_MAX: usize = 2;

/// Counts open tails by tenant.
#[derive(Debug)]
pub(crate) struct Tails {
    open: Mutex<HashMap<Tenant, usize>>,
    /// Tails of all tenants.
    count: watch::Sender<usize>,
    is_stopping: watch::Sender<bool>,
    shown: Gauge,
    slots: Arc<Semaphore>,
    /// Bytes of entries that tails hold.
    held_bytes: AtomicUsize,
    /// Most that one may hold.
    held_bytes_max: usize,
    /// Most that all may hold. Beyond, each has its share of as much again.
    held_all_bytes_max: usize,
    /// What tails follow, by tenant and query as it is printed.
    shared: Mutex<HashMap<(Tenant, String), Weak<SharedFollow>>>,
}

/// Bytes of entries that one tail holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    tails: Arc<Tails>,
    bytes: usize,
}

/// How many there may be, and the name of the setting that says so.
type Limit = (usize, &'static str);

/// A tail's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct TailPlace {
    tails: Arc<Tails>,
    tenant: Tenant,
}

impl Tails {
    /// Returns none open; `shown` tells how many there are.
    pub(crate) fn new(settings: &ServerSettings, shown: Gauge) -> Arc<Self> {
        let (count, is_stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        Arc::new(Self {
            open: Mutex::default(),
            count,
            is_stopping,
            shown,
            slots: Arc::new(Semaphore::new(THREADS_MAX)),
            held_bytes: AtomicUsize::new(0),
            held_bytes_max: settings.tail_held_bytes_max,
            held_all_bytes_max: settings.tails_held_bytes_max,
            shared: Mutex::default(),
        })
    }

    /// Takes a place among those of the tenant, and of all. Errors: the reason, as Loki words it.
    pub(crate) fn enter(
        self: &Arc<Self>,
        tenant: &Tenant,
        of_tenant: Limit,
        of_all: Limit,
    ) -> Result<TailPlace, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(tenant).copied().unwrap_or_default();
        let all = *self.count.borrow();
        for (count, (limit, setting)) in [(count, of_tenant), (all, of_all)] {
            if count >= limit {
                let count = count + 1;
                return Err(format!(
                    "max concurrent tail requests limit exceeded, count > limit ({count} > {limit}); raise {setting}"
                ));
            }
        }
        open.insert(tenant.clone(), count + 1);
        self.count.send_modify(|all| *all += 1);
        self.shown.inc();
        Ok(TailPlace { tails: Arc::clone(self), tenant: tenant.clone() })
    }

    /// Returns what follows a query, the same for equal tails. Errors: those of `make`.
    pub(crate) fn share<E>(
        self: &Arc<Self>,
        tenant: &Tenant,
        expr: &Expr,
        make: impl FnOnce() -> Result<Follow, E>,
    ) -> Result<Arc<SharedFollow>, E> {
        let query = expr.to_string();
        // A template may ask for the present, which is that of the begin of each tail.
        let is_timeless = !query.contains("now");
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), query);
        if let Some(follow) = shared.get(&key).and_then(Weak::upgrade) {
            return Ok(follow);
        }
        let follow = Arc::new(SharedFollow::new(make()?, self));
        shared.retain(|_, follow| follow.strong_count() > 0);
        if is_timeless {
            shared.insert(key, Arc::downgrade(&follow));
        }
        Ok(follow)
    }

    /// Waits for a thread to look at lines; `None` never happens.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Returns the account of one tail, which holds nothing yet.
    pub(crate) fn held(self: &Arc<Self>) -> HeldBytes {
        HeldBytes { tails: Arc::clone(self), bytes: 0 }
    }

    /// Ends all tails and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.is_stopping.send_replace(true);
        // The sender is here, so it cannot fail.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl HeldBytes {
    /// Notes that the tail holds so many bytes more, if it may.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let (own, tails) = (self.bytes + bytes, &self.tails);
        let all = tails.held_bytes.load(Ordering::Relaxed) + bytes;
        let share = tails.held_all_bytes_max / (*tails.count.borrow()).max(1);
        if own > tails.held_bytes_max || (all > tails.held_all_bytes_max && own > share) {
            return false;
        }
        self.tails.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = own;
        true
    }

    /// Notes that so many of them are gone.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.tails.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

impl TailPlace {
    /// Waits until the server stops.
    pub(crate) async fn stopping(&self) {
        drop(self.tails.is_stopping.subscribe().wait_for(|is_stopping| *is_stopping).await);
    }
}

impl Drop for TailPlace {
    fn drop(&mut self) {
        let mut open = self.tails.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant);
            }
        }
        self.tails.count.send_modify(|all| *all -= 1);
        self.tails.shown.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_by_tenant_and_in_all() {
        let shown = Gauge::default();
        let tails = Tails::new(&ServerSettings::default(), shown.clone());
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        let enter = |tenant| tails.enter(tenant, (2, "x"), (3, "y"));
        let first = enter(&a).unwrap();
        let second = enter(&a).unwrap();
        let text = |count, limit, setting| {
            format!(
                "max concurrent tail requests limit exceeded, count > limit ({count} > {limit}); raise {setting}"
            )
        };
        assert_eq!(enter(&a).unwrap_err(), text(3, 2, "x"));
        let other = enter(&b).unwrap();
        assert_eq!(enter(&b).unwrap_err(), text(4, 3, "y"));
        assert_eq!((*tails.count.borrow(), shown.get()), (3, 3));
        drop(first);
        let again = enter(&a).unwrap();
        drop((second, other, again));
        assert_eq!((*tails.count.borrow(), shown.get(), tails.open.lock().unwrap().len()), (0, 0, 0));
    }

    #[test]
    fn what_tails_hold_is_bounded_and_each_has_its_share() {
        let tails = Tails::new(&ServerSettings::default(), Gauge::default());
        let places: Vec<TailPlace> =
            (0..64).map(|_| tails.enter(&Tenant::single(), (64, ""), (64, "")).unwrap()).collect();
        let mut greedy: Vec<HeldBytes> = places.iter().take(10).map(|_| tails.held()).collect();
        let taken = greedy.iter_mut().map(|held| (0..100).filter(|_| held.take(1 << 20)).count());
        // Eight for each, then the share of one.
        assert_eq!(taken.collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 8, 8, 1, 1]);
        let mut late = tails.held();
        assert!(late.take(1 << 20) && !late.take(1));
        late.give_back(1);
        assert!(late.take(1));
        drop((greedy, late));
        assert_eq!(tails.held_bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn stopping_waits_for_all() {
        let tails = Tails::new(&ServerSettings::default(), Gauge::default());
        let place = tails.enter(&Tenant::single(), (1, ""), (1, "")).unwrap();
        let tail = tokio::spawn(async move { place.stopping().await });
        tails.stop().await;
        tail.await.unwrap();
        assert_eq!(*tails.count.borrow(), 0);
    }
}
