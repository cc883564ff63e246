//! Where the bytes of one reading of a log come from: a response of the engine, or the files that it keeps.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use logyard_sys::{Clock, Disk};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::docker_engine::LogResponse;
use crate::docker_target::Wish;
use crate::json_log::{JsonLog, JsonRead};
use crate::log_looks::Looks;
use crate::metrics::Metrics;

/// Bytes of one reading.
#[derive(Debug)]
pub(crate) enum LogSource {
    Engine(LogResponse),
    Files(FileReading),
}

/// A task that reads files, so that waiting for its bytes can be given up without losing any.
#[derive(Debug)]
pub(crate) struct FileReading {
    bytes: mpsc::Receiver<Result<Bytes, String>>,
    task: JoinHandle<()>,
}

impl Drop for FileReading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LogSource {
    /// Reads files: to their end, or as long as the container runs.
    pub(crate) fn files(
        log: JsonLog,
        wish: watch::Receiver<Wish>,
        follows: bool,
        (metrics, looks): (Metrics, Looks),
    ) -> Self {
        let (sender, bytes) = mpsc::channel(1);
        let task = tokio::spawn(pump(log, wish, follows, (metrics, looks), sender));
        Self::Files(FileReading { bytes, task })
    }

    /// Returns whether the bytes are rows of files.
    pub(crate) fn is_files(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// Returns the next bytes; `None` at the end. Safe to cancel. Errors: why there are no more, for people.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self {
            Self::Engine(response) => {
                let next = response.next().await?;
                Some(next.map_err(|error| format!("the connection broke: {error}")))
            }
            Self::Files(reading) => reading.bytes.recv().await,
        }
    }
}

async fn pump(
    mut log: JsonLog,
    wish: watch::Receiver<Wish>,
    follows: bool,
    (metrics, looks): (Metrics, Looks),
    sender: mpsc::Sender<Result<Bytes, String>>,
) {
    loop {
        // Asked before the read: everything that a container printed is there when its end is told.
        let is_at_its_end = !follows || is_over(&wish.borrow());
        let read = tokio::task::spawn_blocking(move || {
            let read = log.read();
            (log, read)
        });
        let Ok((same, read)) = read.await else { return };
        log = same;
        let sent = match read {
            Ok(JsonRead::Bytes(bytes)) => sender.send(Ok(bytes)).await,
            Ok(JsonRead::Lost(how)) => {
                metrics.gap(how);
                let target = wish.borrow().facts.name.clone();
                tracing::warn!(
                    target,
                    how,
                    "lines of a container went before they could be read; raise max-size or max-file of its log"
                );
                Ok(())
            }
            Ok(JsonRead::End) if is_at_its_end => return,
            Ok(JsonRead::End) => {
                let wish = wish.clone();
                let is_over = move || is_over(&wish.borrow());
                let Some(same) = looks.wait(log, Box::new(is_over)).await else { return };
                log = same;
                Ok(())
            }
            Err(error) => {
                drop(sender.send(Err(format!("its files cannot be read on: {error}"))).await);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Whether nothing will be added to the log.
fn is_over(wish: &Wish) -> bool {
    wish.is_over || wish.is_gone
}

/// Opens the files of a container's log; `None`: they are not there, or not all of them can be read.
pub(crate) async fn open_files(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    since_ns: Option<i64>,
) -> Option<JsonLog> {
    let opened =
        tokio::task::spawn_blocking(move || JsonLog::open(disk, clock, &path, since_ns)).await.ok()?;
    match opened {
        Ok(log) => log,
        Err(error) => {
            tracing::debug!(%error, "cannot read the files of a container's log, so the engine is asked");
            None
        }
    }
}
