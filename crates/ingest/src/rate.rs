//! The rate limit of a tenant: a bucket of bytes that fills steadily.
//!
//! A batch larger than the bucket passes when the bucket is full and leaves it in debt: the sender could not
//! make it smaller, and would send it for ever.

use crate::error::{Error, Kind};
use crate::settings::IngestSettings;
use logyard_model::Tenant;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// Most tenants with a bucket. Above it all buckets start anew, so memory is bounded at the price of
/// one free burst.
const TENANTS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Rates {
    buckets: Mutex<HashMap<Tenant, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    bytes: f64,
    filled_ns: u64,
}

impl Rates {
    /// Takes `bytes` out of the tenant's bucket, or nothing and an error of kind `Limited`.
    pub(crate) fn take(
        &self,
        settings: &IngestSettings,
        tenant: &Tenant,
        lines: u64,
        bytes: u64,
        monotonic_ns: u64,
    ) -> Result<(), Error> {
        let rate = settings.rate_bytes_per_sec;
        if rate == 0 {
            return Ok(());
        }
        let burst = settings.rate_burst_bytes.max(rate) as f64;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= TENANTS_MAX && !buckets.contains_key(tenant) {
            buckets.clear();
        }
        let bucket =
            buckets.entry(tenant.clone()).or_insert(Bucket { bytes: burst, filled_ns: monotonic_ns });
        let passed_secs = monotonic_ns.saturating_sub(bucket.filled_ns) as f64 / 1e9;
        bucket.bytes = (bucket.bytes + passed_secs * rate as f64).min(burst);
        bucket.filled_ns = monotonic_ns;
        let wanted = bytes as f64;
        if wanted <= bucket.bytes || bucket.bytes >= burst {
            bucket.bytes -= wanted;
            return Ok(());
        }
        let wait_secs = ((wanted.min(burst) - bucket.bytes) / rate as f64).ceil().clamp(1.0, 3600.0);
        let text = format!(
            "ingestion rate limit exceeded for user {tenant} (limit: {rate} bytes/sec) while attempting to ingest '{lines}' lines totaling '{bytes}' bytes, \
             reduce log volume or raise limits.rate_bytes_per_sec and limits.rate_burst_bytes"
        );
        Err(Error::new(Kind::Limited, text).retry_after(Duration::from_secs_f64(wait_secs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let settings =
            IngestSettings { rate_bytes_per_sec: 100, rate_burst_bytes: 300, ..IngestSettings::default() };
        let (rates, tenant) = (Rates::default(), Tenant::single());
        assert!(rates.take(&settings, &tenant, 1, 300, 0).is_ok());
        let error = rates.take(&settings, &tenant, 1, 150, 500_000_000).unwrap_err();
        assert_eq!((error.kind(), error.wait()), (Kind::Limited, Some(Duration::from_secs(1))));
        assert!(error.to_string().starts_with("ingestion rate limit exceeded for user fake (limit: 100 bytes/sec) while attempting to ingest '1' lines totaling '150' bytes"));
        assert!(rates.take(&settings, &tenant, 1, 150, 1_500_000_000).is_ok());
        assert!(rates.take(&settings, &Tenant::new("other").unwrap(), 1, 300, 0).is_ok());
        assert!(rates.take(&IngestSettings::default(), &tenant, 1, u64::MAX, 0).is_ok());
    }

    #[test]
    fn a_batch_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for_after() {
        let settings =
            IngestSettings { rate_bytes_per_sec: 100, rate_burst_bytes: 0, ..IngestSettings::default() };
        let (rates, tenant) = (Rates::default(), Tenant::single());
        let mut now_ns = 0;
        let mut passed = 0;
        // A sender that waits as it is told for batches of five seconds' worth.
        while now_ns < 60_000_000_000 {
            match rates.take(&settings, &tenant, 1, 500, now_ns) {
                Ok(()) => passed += 1,
                Err(error) => now_ns += u64::try_from(error.wait().unwrap().as_nanos()).unwrap(),
            }
        }
        assert_eq!(passed, 12, "the mean stays at the limit");
    }
}
