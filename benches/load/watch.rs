//! What a store takes of the machine over a while: memory by the moment, processor time by the phase.

use crate::store::{Store, machine_cpu, own_cpu};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time from one look at the memory to the next.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Memory at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) secs: f64,
    pub(crate) resident_kib: u64,
    pub(crate) anonymous_kib: u64,
}

/// A named while, from one second to another.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) from_secs: f64,
    pub(crate) to_secs: f64,
    /// Cores that the store took.
    pub(crate) cores: f64,
    /// Share of the machine that others took, this process apart.
    pub(crate) others: f64,
}

/// Looks at a store.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) store: &'a Store,
    begun: Instant,
    moments: Mutex<Vec<Moment>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, begun: Instant::now(), moments: Mutex::default() }
    }

    /// Looks at the memory until told to end.
    pub(crate) fn run(&self, end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) {
            let now = self.store.use_of_system();
            let secs = self.begun.elapsed().as_secs_f64();
            let moment = Moment { secs, resident_kib: now.resident_kib, anonymous_kib: now.anonymous_kib };
            self.moments.lock().unwrap().push(moment);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs something as a phase.
    pub(crate) fn phase<T>(&self, name: &str, run: impl FnOnce() -> T) -> (Phase, T) {
        let from_secs = self.begun.elapsed().as_secs_f64();
        let look = || (machine_cpu(), own_cpu(), self.store.use_of_system().cpu);
        let (((before, cpus), own_before, cpu_before), begun) = (look(), Instant::now());
        let result = run();
        let (((after, _), own_after, cpu_after), took) = (look(), begun.elapsed().as_secs_f64());
        let ours = (own_after - own_before) + (cpu_after - cpu_before);
        let phase = Phase {
            name: name.to_owned(),
            from_secs,
            to_secs: from_secs + took,
            cores: (cpu_after - cpu_before).as_secs_f64() / took,
            others: (after - before).saturating_sub(ours).as_secs_f64() / took / cpus as f64,
        };
        (phase, result)
    }

    /// Returns what was seen of the memory so far.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        self.moments.lock().unwrap().clone()
    }

    /// Returns the most KiB that were seen within a phase: resident, and of that anonymous.
    pub(crate) fn most_kib(&self, phase: &Phase) -> (u64, u64) {
        let moments = self.moments.lock().unwrap();
        let within = moments.iter().filter(|one| (phase.from_secs..=phase.to_secs).contains(&one.secs));
        within.fold((0, 0), |most, one| (most.0.max(one.resident_kib), most.1.max(one.anonymous_kib)))
    }
}
