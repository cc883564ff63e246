//! Counters of requests, by route and status.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labels = [(&'static str, String); 3];

#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Family<[(&'static str, String); 1], Histogram>,
    tls_failed: Family<[(&'static str, &'static str); 1], Counter>,
    /// Live tails that are open.
    pub(crate) tails: Gauge,
    /// Entries that a reader of a live tail was too slow for.
    pub(crate) tail_dropped: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // 1 ms to 33 s in factors of two: from a push to a slow query.
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            tls_failed: Family::default(),
            tails: Gauge::default(),
            tail_dropped: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("logyard_server");
        registry.register(
            "requests",
            "Requests answered, by method, route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time until the answer was ready, by route",
            metrics.seconds.clone(),
        );
        registry.register(
            "tls_failed_handshakes",
            "Connections without a TLS handshake, by reason",
            metrics.tls_failed.clone(),
        );
        registry.register("tails", "Live tails that are open", metrics.tails.clone());
        registry.register(
            "tail_dropped_entries",
            "Entries that readers of live tails were too slow for",
            metrics.tail_dropped.clone(),
        );
        metrics
    }

    /// Counts a connection that came to no handshake. `reason` is one of few.
    pub(crate) fn tls_failed(&self, reason: &'static str) {
        self.tls_failed.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts an answer. `route` is a pattern of the router, so there are few of them.
    pub(crate) fn count_answer(&self, method: &str, route: &str, status: u16) {
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts an answer and the time it took.
    pub(crate) fn count(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.count_answer(method, route, status);
        self.seconds.get_or_create(&[("route", route.to_owned())]).observe(seconds);
    }
}
