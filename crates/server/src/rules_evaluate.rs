//! Queries of rules over the local store.

use crate::rules_standing::StandingQueries;
use crate::select_local::{LocalSelect, evaluate, without_damage};
use crate::state::CancelOnDrop;
use logyard_engine::{Cancel, Engine, Error, QueryKind, QueryOutcome, QueryRequest, QueryResult};
use logyard_model::{Direction, LabelSet};
use logyard_rules::{Ask, AskLines, Evaluate, Evaluating, ReadingLines, RuleSample};
use logyard_store::Store;
use std::sync::Arc;

/// Evaluates queries of rules over the store in this process, on threads that may block.
///
/// They take turns with the queries of people on the engine's threads, and count against the same bounds of memory. What
/// queries of rules count is folded as entries arrive, where it can be.
#[derive(Debug)]
pub struct RuleQueries {
    engine: Arc<Engine>,
    store: Store,
    standing: Arc<StandingQueries>,
}

impl RuleQueries {
    /// Returns what answers from a store.
    pub fn new(engine: Arc<Engine>, store: Store) -> Self {
        Self { engine, store, standing: Arc::default() }
    }

    /// Returns what stands.
    #[cfg(test)]
    pub(crate) fn standing(&self) -> &StandingQueries {
        &self.standing
    }
}

impl RuleQueries {
    /// Answers a query on a thread that may block; dropped, the query ends.
    async fn answer(
        &self,
        ask: impl FnOnce(&Engine, &Store, Arc<Cancel>) -> Result<QueryOutcome, Error> + Send + 'static,
    ) -> Result<QueryResult, String> {
        let (engine, store) = (Arc::clone(&self.engine), self.store.clone());
        let cancel = Arc::new(Cancel::default());
        let _guard = CancelOnDrop(Arc::clone(&cancel));
        let work = tokio::task::spawn_blocking(move || {
            let _running = store.begin_query();
            ask(&engine, &store, cancel).map_err(|error| error.to_string())
        });
        let outcome =
            work.await.unwrap_or_else(|_| Err("internal error, see the log of logyard".to_owned()))?;
        Ok(outcome.result)
    }
}

impl Evaluate for RuleQueries {
    fn expect(&self, asks: Vec<Ask>) {
        self.standing.expect(asks);
    }

    fn evaluate(&self, ask: Ask) -> Evaluating<'_> {
        Box::pin(async move {
            let standing = Arc::clone(&self.standing);
            let work = move |engine: &Engine, store: &Store, cancel: Arc<Cancel>| {
                let folds = standing.of(engine, store, (&ask, &cancel));
                let request = QueryRequest {
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
                let Some(folds) = folds else { return evaluate(engine, store, &request) };
                let source = LocalSelect::new(store);
                without_damage(store, || engine.run_standing(&source, &request, &folds))
            };
            match self.answer(work).await? {
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
            match self.answer(move |engine, store, cancel| evaluate(engine, store, &request(cancel))).await? {
                QueryResult::Entries(entries) => {
                    Ok(entries.into_iter().rev().map(|entry| entry.line).collect())
                }
                _ => Err("the query is no log query".to_owned()),
            }
        })
    }
}
