//! Looks at the files of logs that were read to their end: all of them in one turn, by one thread.
//!
//! A container that prints nothing costs one question to the disk at each look. Each log by itself took a thread of its own five
//! times a second, which with fifty quiet containers was most of what an idle agent did. The disk is asked, and not told by it:
//! inotify has to be set up anew at each rotation, and knows nothing of what is mounted from elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::json_log::JsonLog;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The logs that are looked at. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Arc<Mutex<Quiet>>);

#[derive(Debug, Default)]
struct Quiet {
    logs: Vec<QuietLog>,
    /// Somebody looks, as long as there are logs.
    is_looking: bool,
}

struct QuietLog {
    log: JsonLog,
    is_over: Box<dyn Fn() -> bool + Send>,
    back: oneshot::Sender<JsonLog>,
}

impl std::fmt::Debug for QuietLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuietLog").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Looks {
    /// Gives a log back once there may be more to read of it, or once `is_over` says so; `None`: the agent ends.
    ///
    /// Given up, it is forgotten at the next look.
    pub(crate) async fn wait(&self, log: JsonLog, is_over: Box<dyn Fn() -> bool + Send>) -> Option<JsonLog> {
        let (back, seen) = oneshot::channel();
        let is_first = {
            let mut quiet = self.quiet();
            quiet.logs.push(QuietLog { log, is_over, back });
            !std::mem::replace(&mut quiet.is_looking, true)
        };
        if is_first {
            // Ends by itself at the first look that finds nothing to look at.
            tokio::spawn(self.clone().run());
        }
        seen.await.ok()
    }

    async fn run(self) {
        loop {
            sleep(LOOK_EVERY).await;
            let logs = {
                let mut quiet = self.quiet();
                quiet.is_looking = !quiet.logs.is_empty();
                if !quiet.is_looking {
                    return;
                }
                std::mem::take(&mut quiet.logs)
            };
            let looked = tokio::task::spawn_blocking(move || look_at(logs)).await;
            // Those of a look that failed are dropped, and their readers end.
            self.quiet().logs.extend(looked.unwrap_or_default());
        }
    }

    fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns those that are still quiet.
fn look_at(logs: Vec<QuietLog>) -> Vec<QuietLog> {
    let mut still = Vec::with_capacity(logs.len());
    for mut quiet in logs {
        if quiet.back.is_closed() {
            continue;
        }
        if (quiet.is_over)() || quiet.log.has_news() {
            // Nobody there any more: its place is given up as well.
            drop(quiet.back.send(quiet.log));
        } else {
            still.push(quiet);
        }
    }
    still
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use logyard_sys::{Disk, SimClock, SimDisk};
    use tokio::time::timeout;

    use super::*;
    use crate::json_log::JsonRead;

    const ROW: &[u8] = b"{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n";
    /// Longer than anything takes, on a clock that goes on by itself when nothing else does.
    const LONG: Duration = Duration::from_secs(3_600);

    fn log(disk: &SimDisk, path: &str) -> JsonLog {
        disk.append_file(Path::new(path)).unwrap().write_all(ROW).unwrap();
        let clock = Arc::new(SimClock::new(1));
        let mut log = JsonLog::open(Arc::new(disk.clone()), clock, Path::new(path), None).unwrap().unwrap();
        assert!(matches!(log.read().unwrap(), JsonRead::Bytes(bytes) if bytes == ROW));
        assert_eq!(log.read().unwrap(), JsonRead::End);
        log
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_comes_back_when_it_grew_was_renamed_cut_or_is_over() {
        let (disk, looks) = (SimDisk::new(), Looks::default());
        let never = || Box::new(|| false) as Box<dyn Fn() -> bool + Send>;
        let over = Arc::new(AtomicBool::new(false));
        let of_over = Arc::clone(&over);
        let paths = ["/grown", "/renamed", "/cut", "/quiet", "/over"];
        let mut waits: Vec<_> = Vec::new();
        for path in paths {
            let (log, looks, of_over) = (log(&disk, path), looks.clone(), Arc::clone(&of_over));
            let is_over = match path {
                "/over" => Box::new(move || of_over.load(Ordering::Relaxed)),
                _ => never(),
            };
            waits.push((path, tokio::spawn(async move { looks.wait(log, is_over).await })));
        }
        sleep(LONG).await;
        assert!(waits.iter().all(|(_, wait)| !wait.is_finished()), "nothing happened yet");
        disk.append_file(Path::new("/grown")).unwrap().write_all(ROW).unwrap();
        disk.rename(Path::new("/renamed"), Path::new("/renamed.1")).unwrap();
        disk.append_file(Path::new("/renamed")).unwrap().write_all(ROW).unwrap();
        disk.truncate(Path::new("/cut"), 0).unwrap();
        over.store(true, Ordering::Relaxed);
        sleep(LOOK_EVERY * 3).await;
        for (path, wait) in waits {
            if path == "/quiet" {
                assert!(!wait.is_finished());
                wait.abort();
                continue;
            }
            let mut log = timeout(LONG, wait).await.unwrap().unwrap().unwrap();
            let read = log.read().unwrap();
            match path {
                "/cut" => assert_eq!(read, JsonRead::Lost("truncated")),
                "/over" => assert_eq!(read, JsonRead::End),
                _ => assert!(matches!(read, JsonRead::Bytes(bytes) if bytes == ROW), "{path}"),
            }
        }
        // Nobody waits any more, so nobody looks; one that comes later is looked at all the same.
        sleep(LOOK_EVERY * 3).await;
        assert!(!looks.quiet().is_looking && looks.quiet().logs.is_empty());
        let log = log(&disk, "/later");
        disk.append_file(Path::new("/later")).unwrap().write_all(ROW).unwrap();
        assert!(timeout(LONG, looks.wait(log, never())).await.unwrap().is_some());
    }
}
