//! Requests to delete entries: made, listed, cancelled. Each is an edit of the catalog first.

use crate::catalog_record::{DeleteRecord, Edit};
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::store::Store;
use logyard_model::{Tenant, TimeRange};

/// Longest query of a request: the catalog holds it, and states it anew with every file.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// Requests that are done and still listed, of all tenants; the oldest are forgotten.
pub(crate) const DONE_MAX: usize = 1000;

/// A request to delete entries, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Its name: eight hexadecimal digits.
    pub id: String,
    /// Which entries, in the language of queries.
    pub query: String,
    /// From when to when.
    pub range: TimeRange,
    /// When it was made, in ns.
    pub created_ns: i64,
    /// How many entries were removed from files so far.
    pub entries: u64,
    /// When the last of its entries was removed, in ns; `None` until then.
    pub done_ns: Option<i64>,
}

/// What came of the wish to cancel a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is forgotten: what is left of its entries is answered again.
    Cancelled,
    /// There is none of that name.
    Unknown,
    /// Its entries are gone.
    Processed,
    /// The time to cancel is over, and its entries are about to go.
    TooLate {
        /// That time, in seconds.
        cancel_secs: u64,
    },
}

impl Store {
    /// Makes a request to delete a tenant's entries in `range` that `query` means.
    ///
    /// Once this returns the request is durable and the entries are not answered any more, also those that arrive until
    /// it is done; they can be had back for `store.deletes.cancel_secs` by [`Store::cancel_delete`]. Later their
    /// files are written anew.
    /// Errors: `Kind::Invalid` for a query that is none, or is too long; `Kind::Limited` above
    /// `store.deletes.pending_max`; `Kind::Unavailable` if the catalog cannot be edited. Cost: a sync; blocks.
    pub fn request_delete(&self, tenant: &Tenant, query: &str, range: TimeRange) -> Result<DeleteRequest> {
        let shared = self.shared();
        if let Some(refusal) = shared.refusal() {
            return Err(refusal);
        }
        if query.len() > QUERY_BYTES_MAX {
            let got = query.len();
            return Err(Error::invalid(format!(
                "cannot delete: the query has {got} bytes, limit is {QUERY_BYTES_MAX}; send several requests"
            )));
        }
        let mut record = DeleteRecord {
            id: String::new(),
            tenant: tenant.as_str().to_owned(),
            query: query.to_owned(),
            start_ns: range.start_ns,
            end_ns: range.end_ns,
            created_ns: shared.clock.now_ns(),
            entries: 0,
            done_ns: None,
        };
        let mut catalog = shared.catalog.lock();
        let requests = &catalog.state().deletes;
        let pending_max = shared.settings.deletes.pending_max;
        let of_tenant = requests.iter().filter(|one| one.tenant == record.tenant && one.done_ns.is_none());
        if of_tenant.count() as u64 >= pending_max {
            return Err(Error::limited(format!(
                "cannot delete: {pending_max} requests of this tenant are not done yet; wait for them, cancel some, or \
                 raise store.deletes.pending_max"
            )));
        }
        // As in Loki eight digits; a name is taken once among those that are remembered.
        while record.id.is_empty() || requests.iter().any(|one| one.id == record.id) {
            record.id = format!("{:08x}", shared.random.next_u64() >> 32);
        }
        let request = shared.deletes.compile(&record)?;
        edit(shared, &mut catalog, Edit::AddDelete { request: record.clone() })?;
        shared.deletes.add(request);
        drop(catalog);
        shared.count_deletes();
        tracing::info!(%tenant, id = record.id, query, "delete request made: its entries are hidden");
        shared.maintenance.wake();
        Ok(of_record(&record))
    }

    /// Lists the requests of a tenant, the oldest first: those that are not done, and the last ones that are.
    pub fn delete_requests(&self, tenant: &Tenant) -> Vec<DeleteRequest> {
        let catalog = self.shared().catalog.lock();
        let of_tenant = catalog.state().deletes.iter().filter(|one| one.tenant == tenant.as_str());
        let mut requests: Vec<DeleteRequest> = of_tenant.map(of_record).collect();
        requests.sort_by(|left, right| (left.created_ns, &left.id).cmp(&(right.created_ns, &right.id)));
        requests
    }

    /// Cancels a request that is not done: by `force` also after the time to cancel, when a part of its entries may
    /// be gone.
    ///
    /// Errors: `Kind::Unavailable` if the catalog cannot be edited. Cost: a sync; blocks.
    pub fn cancel_delete(&self, tenant: &Tenant, id: &str, force: bool) -> Result<CancelOutcome> {
        let shared = self.shared();
        if let Some(refusal) = shared.refusal() {
            return Err(refusal);
        }
        let mut catalog = shared.catalog.lock();
        let mut requests = catalog.state().deletes.iter();
        let Some(record) = requests.find(|one| one.tenant == tenant.as_str() && one.id == id) else {
            return Ok(CancelOutcome::Unknown);
        };
        if record.done_ns.is_some() {
            return Ok(CancelOutcome::Processed);
        }
        if !force && is_due(shared, record.created_ns) {
            return Ok(CancelOutcome::TooLate { cancel_secs: shared.settings.deletes.cancel_secs });
        }
        edit(shared, &mut catalog, Edit::DropDelete { id: id.to_owned() })?;
        shared.deletes.remove(id);
        drop(catalog);
        shared.count_deletes();
        tracing::info!(%tenant, id, "delete request cancelled");
        Ok(CancelOutcome::Cancelled)
    }
}

/// Returns whether the time to cancel a request is over. A clock that jumps does not end it: it counts once it has run
/// evenly for an hour, unless there is no such time.
pub(crate) fn is_due(shared: &Shared, created_ns: i64) -> bool {
    let cancel_ns = i64::try_from(shared.settings.deletes.cancel_secs).unwrap_or(i64::MAX);
    let due_ns = created_ns.saturating_add(cancel_ns.saturating_mul(1_000_000_000));
    cancel_ns == 0 || shared.epochs.seen_ns().is_some_and(|seen_ns| seen_ns >= due_ns)
}

/// Edits the catalog; a failed sync turns the store read-only.
pub(crate) fn edit(shared: &Shared, catalog: &mut crate::catalog::Catalog, edit: Edit) -> Result<()> {
    catalog.edit(edit).inspect_err(|error| {
        if catalog.is_poisoned() {
            shared.turn_read_only(error);
        }
    })
}

fn of_record(record: &DeleteRecord) -> DeleteRequest {
    let DeleteRecord { id, query, start_ns, end_ns, created_ns, entries, done_ns, .. } = record.clone();
    DeleteRequest { id, query, range: TimeRange { start_ns, end_ns }, created_ns, entries, done_ns }
}
