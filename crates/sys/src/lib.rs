//! The door to the outside world: disk, clock and randomness, each with a real and a simulated side.
//!
//! Owns: every call to the file system, every reading of a clock, every random number, the priority of threads, the pages
//! of the program itself. Components get the first three as `Arc<dyn Disk>`, `Arc<dyn Clock>`, `Arc<Random>`, so that one
//! seed replays a whole run and a test can pull the plug at any operation. Deliberately absent: helpers, formats, async.
//!
//! Change [`Disk`], also touch both of its sides: what one promises, the other must keep.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod disk;
mod disk_real;
mod disk_sim;
mod priority;
mod program_pages;
mod random;

pub use clock::{Clock, RealClock, SimClock};
pub use disk::{DirItem, Disk, FileMeta, LockGuard, ReadFile, WriteFile};
pub use disk_real::RealDisk;
pub use disk_sim::SimDisk;
pub use priority::step_back;
pub use program_pages::ProgramPages;
pub use random::Random;
