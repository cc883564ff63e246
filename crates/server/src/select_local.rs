//! Entries of the local store for the engine.

use logyard_codec::BlockView;
use logyard_engine::{Kind, Select, SelectError, SelectRequest};
use logyard_store::Store;

/// Selects from the store in this process.
#[derive(Clone, Debug)]
pub(crate) struct LocalSelect(pub(crate) Store);

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
}
