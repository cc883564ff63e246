//! Queries of rules over the local store.

use crate::select_local::evaluate;
use crate::state::CancelOnDrop;
use logyard_engine::{Cancel, Engine, QueryKind, QueryRequest, QueryResult};
use logyard_model::{Direction, LabelSet};
use logyard_rules::{Ask, AskLines, Evaluate, Evaluating, ReadingLines, RuleSample};
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

impl RuleQueries {
    /// Answers a query on a thread that may block; dropped, the query ends.
    async fn answer(
        &self,
        request: impl FnOnce(Arc<Cancel>) -> QueryRequest + Send + 'static,
    ) -> Result<QueryResult, String> {
        let (engine, store) = (Arc::clone(&self.engine), self.store.clone());
        let cancel = Arc::new(Cancel::default());
        let _guard = CancelOnDrop(Arc::clone(&cancel));
        let work = tokio::task::spawn_blocking(move || {
            let _running = store.begin_query();
            evaluate(&engine, &store, &request(cancel)).map_err(|error| error.to_string())
        });
        let outcome =
            work.await.unwrap_or_else(|_| Err("internal error, see the log of logyard".to_owned()))?;
        Ok(outcome.result)
    }
}

impl Evaluate for RuleQueries {
    fn evaluate(&self, ask: Ask) -> Evaluating<'_> {
        Box::pin(async move {
            let request = move |cancel| QueryRequest {
                tenants: ask.tenant.into(),
                expr: ask.query,
                kind: QueryKind::Instant { time_ns: ask.time_ns },
                limit: 1,
                direction: Direction::Backward,
                interval_ns: 0,
                partial_series: false,
                now_ns: ask.time_ns,
                cancel,
            };
            match self.answer(request).await? {
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

    fn lines(&self, ask: AskLines) -> ReadingLines<'_> {
        Box::pin(async move {
            let request = move |cancel| QueryRequest {
                tenants: ask.tenant.into(),
                expr: ask.query,
                kind: QueryKind::Range { start_ns: ask.start_ns, end_ns: ask.end_ns, step_ns: 1_000_000_000 },
                limit: ask.lines_max,
                direction: Direction::Backward,
                interval_ns: 0,
                partial_series: false,
                now_ns: ask.end_ns,
                cancel,
            };
            match self.answer(request).await? {
                QueryResult::Entries(entries) => {
                    Ok(entries.into_iter().rev().map(|entry| entry.line).collect())
                }
                _ => Err("the query is no log query".to_owned()),
            }
        })
    }
}
