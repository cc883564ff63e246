//! Room on the disk: watermarks, and a ballast that is given up when the disk is full.
//!
//! Below `disk.free_bytes_min` nothing is started that needs room; below a quarter of it nothing is accepted, so
//! that what was accepted can still be flushed, and queries and deletions go on. A disk may fill up all the same,
//! by other programs: then the *ballast*, a file of reserved room, is removed. Room counts as if the ballast were
//! there, so giving it up does not look like room won, and the store accepts again once it could be made anew.
//!
//! A look is one call of the system. Appends look at most once a second while there is room, each time while there
//! is none: the store recovers by itself with the first push after space was freed.

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::metrics::{Metrics, gauge};
use crate::settings::DiskSettings;
use logyard_sys::{Clock, Disk};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Least time between looks by appends while there is room.
const LOOK_NS: u64 = 1_000_000_000;

/// Bytes wanted free on a large disk, and the share of the disk, in percent, if that is more.
const FREE_BYTES: u64 = 1 << 30;
const FREE_PERCENT: u64 = 3;

/// Share of a small disk that is wanted free at most, and that the ballast takes at most.
const FREE_SHARE_MAX: u64 = 10;
const BALLAST_SHARE_MAX: u64 = 16;

/// Below this part of what is wanted free, nothing is accepted; the remaining quarter has room for several heads.
const FULL_PART: u64 = 4;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    #[default]
    Ample,
    /// Below `disk.free_bytes_min`.
    Low,
    /// Below a quarter of it.
    Full,
}

/// Watches the disk of the data folder.
#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    ballast: PathBuf,
    settings: DiskSettings,
    free_gauge: Gauge,
    full_gauge: Gauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    level: Level,
    /// Monotonic time of the last look.
    looked_ns: u64,
    /// Free bytes as found, and the least that is wanted, by the last look.
    free_bytes: u64,
    free_bytes_min: u64,
    has_ballast: bool,
    /// The file system cannot reserve room.
    is_ballast_impossible: bool,
}

impl Space {
    /// Takes a first look, which gives up the ballast if the disk is full.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        folder: &Folder,
        settings: DiskSettings,
        metrics: &Metrics,
    ) -> Self {
        let ballast = folder.ballast();
        let found = disk.metadata(&ballast).ok().flatten();
        let space = Self {
            disk: Arc::clone(disk),
            clock: Arc::clone(clock),
            dir: folder.tenants(),
            settings,
            free_gauge: metrics.disk_free_bytes.clone(),
            full_gauge: metrics.disk_full.clone(),
            state: Mutex::new(State {
                has_ballast: found.as_ref().is_some_and(|meta| meta.bytes > 0),
                ..State::default()
            }),
            ballast,
        };
        let wanted = space.ballast_bytes();
        if found.is_some_and(|meta| meta.bytes != wanted) {
            // Of another setting, or not made whole.
            space.release(&mut space.state.lock());
        }
        space.look();
        space
    }

    /// Returns the free bytes below which nothing is started that needs room, as of the last look.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        self.state.lock().free_bytes_min
    }

    /// Errors: `Kind::Unavailable` while the disk is full, with what is free and what is wanted.
    ///
    /// Cost: a call of the system if the last look is a second ago, or found the disk full.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.state.lock();
        let now_ns = self.clock.monotonic_ns();
        if state.level == Level::Full || now_ns.saturating_sub(state.looked_ns) >= LOOK_NS {
            self.look_at(&mut state);
        }
        if state.level == Level::Full { Err(self.refusal(&state)) } else { Ok(()) }
    }

    /// Looks now: after a failed write, and every now and then.
    pub(crate) fn look(&self) -> Level {
        let mut state = self.state.lock();
        self.look_at(&mut state);
        state.level
    }

    fn look_at(&self, state: &mut State) {
        state.looked_ns = self.clock.monotonic_ns();
        let found = self
            .disk
            .free_bytes(&self.dir)
            .and_then(|free| Ok((free, wanted_bytes(&*self.disk, &self.dir, &self.settings)?)));
        let (free, wanted) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(path = %self.dir.display(), %error, "cannot tell how much of the disk is free");
                return;
            }
        };
        (state.free_bytes, state.free_bytes_min) = (free, wanted);
        self.free_gauge.set(gauge(free));
        let ballast_bytes = if state.is_ballast_impossible { 0 } else { self.ballast_bytes() };
        let missing = if state.has_ballast { 0 } else { ballast_bytes };
        let room = free.saturating_sub(missing);
        let level = level(room, wanted, state.level);
        if level != state.level {
            state.level = level;
            self.tell(state);
        }
        if state.has_ballast && (free == 0 || (level == Level::Full && free < ballast_bytes)) {
            tracing::warn!(path = %self.ballast.display(), bytes = ballast_bytes, "disk full: gave up the ballast");
            self.release(state);
        } else if !state.has_ballast && level == Level::Ample && ballast_bytes > 0 && room > 0 {
            self.make(state, ballast_bytes);
        }
    }

    fn ballast_bytes(&self) -> u64 {
        let total = self.disk.total_bytes(&self.dir).unwrap_or(u64::MAX);
        self.settings.ballast_bytes.min(total / BALLAST_SHARE_MAX)
    }

    fn release(&self, state: &mut State) {
        match self.disk.remove_file(&self.ballast) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.ballast.display(), %error, "cannot remove the ballast");
            }
            _ => state.has_ballast = false,
        }
    }

    fn make(&self, state: &mut State, bytes: u64) {
        match self.disk.reserve_file(&self.ballast, bytes) {
            Ok(()) => state.has_ballast = true,
            Err(error) => {
                tracing::info!(path = %self.ballast.display(), bytes, %error, "cannot reserve the ballast, go on without");
                state.is_ballast_impossible = error.kind() != io::ErrorKind::StorageFull;
                self.release(state);
            }
        }
    }

    fn refusal(&self, state: &State) -> Error {
        Error::unavailable(format!(
            "cannot store: the disk of {} is full, {} free, {} wanted; free space or keep less (store.retention), \
             or lower store.disk.free_bytes_min, of which a quarter has to be free",
            self.dir.display(),
            mebibytes(state.free_bytes),
            mebibytes(state.free_bytes_min / FULL_PART),
        ))
    }

    fn tell(&self, state: &State) {
        let (path, free) = (self.dir.display(), mebibytes(state.free_bytes));
        let wanted = mebibytes(state.free_bytes_min);
        self.full_gauge.set(i64::from(state.level == Level::Full));
        match state.level {
            Level::Ample => tracing::info!(%path, free, "the disk has room again"),
            Level::Low => tracing::warn!(
                %path, free, wanted,
                "little of the disk is free: nothing is compacted; free space, or lower store.disk.free_bytes_min"
            ),
            Level::Full => tracing::error!(
                %path, free, wanted,
                "the disk is full: pushes are answered 503 until there is room; free space, or keep less (store.retention)"
            ),
        }
    }
}

/// Returns the bytes that are to stay free on the disk of `dir`.
pub(crate) fn wanted_bytes(disk: &dyn Disk, dir: &Path, settings: &DiskSettings) -> io::Result<u64> {
    if let Some(bytes) = settings.free_bytes_min {
        return Ok(bytes);
    }
    let total = disk.total_bytes(dir)?;
    Ok(FREE_BYTES.max(total / 100 * FREE_PERCENT).min(total / FREE_SHARE_MAX))
}

/// Returns the level for some room; what was full has an eighth more to win before it is not.
fn level(room: u64, wanted: u64, before: Level) -> Level {
    let full_below = wanted.div_ceil(FULL_PART);
    let full_below = if before == Level::Full { full_below + full_below / 8 } else { full_below };
    match room {
        _ if wanted > 0 && room < full_below => Level::Full,
        _ if room < wanted => Level::Low,
        _ => Level::Ample,
    }
}

/// Writes bytes as a person reads them.
fn mebibytes(bytes: u64) -> String {
    if bytes < 10 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_two_borders_and_the_lower_one_is_sticky() {
        assert_eq!(level(100, 100, Level::Ample), Level::Ample);
        assert_eq!(level(99, 100, Level::Ample), Level::Low);
        assert_eq!(level(25, 100, Level::Ample), Level::Low);
        assert_eq!(level(24, 100, Level::Low), Level::Full);
        assert_eq!(level(27, 100, Level::Full), Level::Full);
        assert_eq!(level(28, 100, Level::Full), Level::Low);
        assert_eq!(level(0, 0, Level::Ample), Level::Ample, "switched off");
    }
}
