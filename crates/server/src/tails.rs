//! The live tails that are open: how many a tenant has, how many there are, and their end when the server stops.

use logyard_model::Tenant;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Counts open tails by tenant.
#[derive(Debug)]
pub(crate) struct Tails {
    open: Mutex<HashMap<Tenant, usize>>,
    /// Tails of all tenants.
    count: watch::Sender<usize>,
    is_stopping: watch::Sender<bool>,
    shown: Gauge,
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
    pub(crate) fn new(shown: Gauge) -> Arc<Self> {
        let (count, is_stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        Arc::new(Self { open: Mutex::default(), count, is_stopping, shown })
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

    /// Ends all tails and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.is_stopping.send_replace(true);
        // The sender is here, so it cannot fail.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
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
        let tails = Tails::new(shown.clone());
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

    #[tokio::test]
    async fn stopping_waits_for_all() {
        let tails = Tails::new(Gauge::default());
        let place = tails.enter(&Tenant::single(), (1, ""), (1, "")).unwrap();
        let tail = tokio::spawn(async move { place.stopping().await });
        tails.stop().await;
        tail.await.unwrap();
        assert_eq!(*tails.count.borrow(), 0);
    }
}
