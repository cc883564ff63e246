//! Time that this process spent on processors, as what criterion measures.
//!
//! On a machine that others use, the time of the clock says how busy they are; this says what a query
//! costs. Linux only.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use std::time::Duration;

/// Measures the processor time of all threads.
#[derive(Debug)]
pub(crate) struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        spent()
    }

    fn end(&self, start: Duration) -> Duration {
        // Never nothing, which criterion could not divide by.
        spent().saturating_sub(start).max(Duration::from_nanos(1))
    }

    fn add(&self, first: &Duration, second: &Duration) -> Duration {
        *first + *second
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Returns the time spent so far, from `/proc/self/task/*/schedstat`.
fn spent() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        // A thread may end while we look.
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|spent_ns| spent_ns.parse().ok()).unwrap_or(0_u64)
    };
    Duration::from_nanos(threads.map(of_thread).sum())
}
