//! Entries of the local store for the engine.

use logyard_codec::BlockView;
use logyard_engine::{Engine, Error, Kind, QueryOutcome, QueryRequest, Select, SelectError, SelectRequest};
use logyard_store::Store;

/// Selects from the store in this process.
#[derive(Clone, Debug)]
pub(crate) struct LocalSelect(pub(crate) Store);

/// Times a query begins anew because it has met a damaged block. Later queries leave those out from the start.
const DAMAGE_RETRIES_MAX: u32 = 64;

/// Evaluates a query over the store. A damaged block that it meets is left out, instead of failing the query.
///
/// Errors: those of the engine.
pub(crate) fn evaluate(
    engine: &Engine,
    store: &Store,
    request: &QueryRequest,
) -> Result<QueryOutcome, Error> {
    let source = LocalSelect(store.clone());
    without_damage(store, || engine.run(&source, request))
}

/// Does something again as long as it meets blocks that were not known to be damaged.
pub(crate) fn without_damage<T>(
    store: &Store,
    mut run: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut retries = 0;
    loop {
        let found = store.damage_found();
        let outcome = run();
        let is_damage =
            matches!(&outcome, Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unavailable));
        if !is_damage || store.damage_found() == found || retries >= DAMAGE_RETRIES_MAX {
            return outcome;
        }
        retries += 1;
    }
}

impl Select for LocalSelect {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let views = self.0.select(request.tenant, request.matchers, request.range, request.prefilter);
        views.map_err(|error| {
            let kind = match error.kind() {
                logyard_store::Kind::Invalid => Kind::Invalid,
                logyard_store::Kind::Limited => Kind::Limited,
                logyard_store::Kind::Unavailable => Kind::Unavailable,
                logyard_store::Kind::Corrupt => Kind::Corrupt,
                logyard_store::Kind::Internal => Kind::Internal,
            };
            SelectError { kind, message: error.to_string() }
        })
    }

    fn describe(&self, request: &SelectRequest<'_>) -> Vec<(&'static str, u64)> {
        let (all, in_range) = self.0.segment_counts(request.tenant, request.range);
        vec![("segments", all), ("segments outside of the range", all.saturating_sub(in_range))]
    }
}
