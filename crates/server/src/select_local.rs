//! Entries of the local store for the engine, of one tenant or of several.
//!
//! Streams of several tenants carry one label more, [`TENANT_LABEL`], which may be asked for like any other, as in Loki
//! v3.7.6; their ids differ, so nothing of one tenant is ever taken for a copy of another's. A label of that name that
//! a stream has of its own is shown as [`OWN_TENANT_LABEL`].

use logyard_codec::BlockView;
use logyard_engine::{Engine, Error, Kind, QueryOutcome, QueryRequest, Select, SelectError, SelectRequest};
use logyard_model::{LabelSet, Matcher, Stream, StreamId, Tenant, Tenants, TimeRange};
use logyard_store::{Stats, Store};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Tells whose a stream is, when several tenants are read.
pub(crate) const TENANT_LABEL: &str = "__tenant_id__";

/// A stream's own label of that name.
const OWN_TENANT_LABEL: &str = "original___tenant_id__";

/// Selects from the store in this process.
#[derive(Clone, Debug)]
pub(crate) struct LocalSelect {
    store: Store,
    /// Whether streams of several tenants get their label.
    is_labelled: bool,
}

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
    let source = LocalSelect::new(store);
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

/// Returns the matching streams that may have entries in `range`, tenant by tenant.
///
/// Errors and cost: as [`Store::streams`], and a copy of each stream's labels if there are several tenants.
pub(crate) fn streams(
    store: &Store,
    tenants: &Tenants,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Vec<Arc<Stream>>, logyard_store::Error> {
    let Parts { tenants, matchers, is_one } = Parts::new(tenants, matchers);
    let mut found = Vec::new();
    for tenant in tenants {
        let streams = store.streams(tenant, &matchers, range)?;
        let shown = |stream: Arc<Stream>| if is_one { stream } else { Arc::new(labelled(tenant, &stream)) };
        found.extend(streams.into_iter().map(shown));
    }
    Ok(found)
}

/// Returns the names of the labels of the streams that [`streams`] returns.
///
/// Errors and cost: as [`Store::label_names`] of one tenant; of several as [`streams`].
pub(crate) fn label_names(
    store: &Store,
    tenants: &Tenants,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<BTreeSet<String>, logyard_store::Error> {
    if let Some(tenant) = tenants.only() {
        return store.label_names(tenant, matchers, range);
    }
    let streams = streams(store, tenants, matchers, range)?;
    Ok(streams.iter().flat_map(|stream| stream.labels.iter()).map(|(name, _)| name.to_owned()).collect())
}

/// Returns the values of a label of the streams that [`streams`] returns. Errors and cost: as [`label_names`].
pub(crate) fn label_values(
    store: &Store,
    tenants: &Tenants,
    name: &str,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<BTreeSet<String>, logyard_store::Error> {
    if let Some(tenant) = tenants.only() {
        return store.label_values(tenant, name, matchers, range);
    }
    let streams = streams(store, tenants, matchers, range)?;
    Ok(streams.iter().filter_map(|stream| stream.labels.get(name)).map(str::to_owned).collect())
}

/// Returns counts over the matching streams in `range`, summed over the tenants. Errors and cost: as [`Store::stats`].
pub(crate) fn stats(
    store: &Store,
    tenants: &Tenants,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Stats, logyard_store::Error> {
    let Parts { tenants, matchers, .. } = Parts::new(tenants, matchers);
    let mut sum = Stats::default();
    for tenant in tenants {
        let Stats { streams, chunks, bytes, entries } = store.stats(tenant, &matchers, range)?;
        sum.streams += streams;
        sum.chunks += chunks;
        sum.bytes += bytes;
        sum.entries += entries;
    }
    Ok(sum)
}

/// What is asked of each tenant.
struct Parts<'a> {
    /// Those of several that the matchers on [`TENANT_LABEL`] leave.
    tenants: Vec<&'a Tenant>,
    /// The other matchers, as they apply to streams as they are stored.
    matchers: Cow<'a, [Matcher]>,
    /// There are not several: nothing is special.
    is_one: bool,
}

impl<'a> Parts<'a> {
    fn new(tenants: &'a Tenants, matchers: &'a [Matcher]) -> Self {
        if let Some(tenant) = tenants.only() {
            return Self { tenants: vec![tenant], matchers: Cow::Borrowed(matchers), is_one: true };
        }
        let (of_tenant, others): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.name() == TENANT_LABEL);
        let is_asked = |tenant: &&Tenant| of_tenant.iter().all(|matcher| matcher.matches(tenant.as_str()));
        let as_stored = |matcher: &Matcher| match matcher.name() {
            // Its expression was read once, so it cannot fail.
            OWN_TENANT_LABEL => Matcher::new(TENANT_LABEL, matcher.op(), matcher.value()).ok(),
            _ => Some(matcher.clone()),
        };
        Self {
            tenants: tenants.iter().filter(is_asked).collect(),
            matchers: others.into_iter().filter_map(as_stored).collect(),
            is_one: false,
        }
    }
}

fn labelled(tenant: &Tenant, stream: &Stream) -> Stream {
    let mut labels = LabelSet::clone(&stream.labels);
    if let Some(own) = labels.remove(TENANT_LABEL) {
        labels.insert(OWN_TENANT_LABEL, own);
    }
    labels.insert(TENANT_LABEL, tenant.as_str());
    Stream::new(tenant, labels)
}

impl LocalSelect {
    /// Returns what selects from a store.
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), is_labelled: true }
    }

    /// The same, where streams of several tenants keep the labels they have.
    pub(crate) fn unlabelled(store: &Store) -> Self {
        Self { is_labelled: false, ..Self::new(store) }
    }

    fn of_tenant(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        request: &SelectRequest<'_>,
    ) -> Result<Vec<BlockView>, SelectError> {
        let views = self.store.select(tenant, matchers, request.range, request.prefilter);
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

impl Select for LocalSelect {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let Parts { tenants, matchers, is_one } = Parts::new(request.tenants, request.matchers);
        let mut views = Vec::new();
        for tenant in tenants {
            let mut found = self.of_tenant(tenant, &matchers, request)?;
            if self.is_labelled && !is_one {
                let mut streams: HashMap<StreamId, Arc<Stream>> = HashMap::new();
                for run in found.iter_mut().flat_map(|view| &mut view.runs) {
                    let shown = streams.entry(run.stream.id);
                    run.stream = Arc::clone(shown.or_insert_with(|| Arc::new(labelled(tenant, &run.stream))));
                }
            }
            views.append(&mut found);
        }
        Ok(views)
    }

    fn describe(&self, request: &SelectRequest<'_>) -> Vec<(&'static str, u64)> {
        let (mut all, mut in_range) = (0, 0);
        for tenant in Parts::new(request.tenants, request.matchers).tenants {
            let of_tenant = self.store.segment_counts(tenant, request.range);
            all += of_tenant.0;
            in_range += of_tenant.1;
        }
        vec![("segments", all), ("segments outside of the range", all.saturating_sub(in_range))]
    }
}
