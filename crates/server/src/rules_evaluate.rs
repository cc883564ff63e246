//! Queries of rules over the local store.

use crate::select_local::evaluate;
use crate::state::CancelOnDrop;
use logyard_engine::{Cancel, Engine, QueryKind, QueryRequest, QueryResult};
use logyard_model::LabelSet;
use logyard_rules::{Ask, Evaluate, Evaluating, RuleSample};
use logyard_store::Store;
use std::sync::Arc;

/// Evaluates queries of rules over the store in this process, on threads that may block.
///
/// They take turns with the queries of people on the engine's threads, and count against the same bounds of memory.
#[derive(Debug)]
pub struct RuleQueries {
    engine: Arc<Engine>,
    store: Store,
}

impl RuleQueries {
    /// Returns what answers from a store.
    pub fn new(engine: Arc<Engine>, store: Store) -> Self {
        Self { engine, store }
    }
}

impl Evaluate for RuleQueries {
    fn evaluate(&self, ask: Ask) -> Evaluating<'_> {
        let (engine, store) = (Arc::clone(&self.engine), self.store.clone());
        Box::pin(async move {
            let cancel = Arc::new(Cancel::default());
            let _guard = CancelOnDrop(Arc::clone(&cancel));
            let work = tokio::task::spawn_blocking(move || {
                let _running = store.begin_query();
                let request = QueryRequest {
                    tenant: ask.tenant,
                    expr: ask.query,
                    kind: QueryKind::Instant { time_ns: ask.time_ns },
                    limit: 1,
                    direction: logyard_model::Direction::Backward,
                    interval_ns: 0,
                    partial_series: false,
                    now_ns: ask.time_ns,
                    cancel,
                };
                evaluate(&engine, &store, &request).map_err(|error| error.to_string())
            });
            let outcome =
                work.await.unwrap_or_else(|_| Err("internal error, see the log of logyard".to_owned()))?;
            match outcome.result {
                QueryResult::Vector(samples) => Ok(samples
                    .into_iter()
                    .map(|sample| RuleSample { labels: sample.labels, value: sample.value })
                    .collect()),
                QueryResult::Scalar { value, .. } => {
                    Ok(vec![RuleSample { labels: Arc::new(LabelSet::default()), value }])
                }
                QueryResult::Entries(_) | QueryResult::Matrix(_) => {
                    Err("the expression is no metric query".to_owned())
                }
            }
        })
    }
}
