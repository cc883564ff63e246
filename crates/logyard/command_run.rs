//! `logyard all`, `agent` and `store`: start, wait for a signal, stop in order.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_sys::{Clock, Disk, ProgramPages, RealClock};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

use crate::assemble::{Parts, Running};
use crate::banner;
use crate::config::Settings;
use crate::logging::{self, OwnLog};
use crate::promtail_load::Taken;
use crate::settings_source::SettingsSource;
use crate::signals::{Hangups, Signals};

/// Threads of the async runtime. Evaluation and compression have threads of their own; what is left is
/// moving bytes, for which two are plenty.
const RUNTIME_THREADS: usize = 2;

/// Requests to read the settings anew that wait for the one under way.
const RELOADS_WAITING_MAX: usize = 4;

/// How long threads that do not matter any more may hold up the end.
const LAST_THREADS_WAIT: Duration = Duration::from_secs(1);

/// When the pages of the program that only the start used are let go of: by then what is there is being read.
const FIRST_LETTING_GO: Duration = Duration::from_secs(10);

/// How often pages are let go of later: what a query or a burst of lines ran need not stay for good, and what is used comes back
/// within a millisecond.
const LETTING_GO_PAUSE: Duration = Duration::from_mins(10);

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads, keeps and answers.
    All,
    /// Reads and pushes to another process.
    Agent,
    /// Keeps and answers.
    Store,
}

impl Role {
    /// Tells whether this process reads logs.
    pub(crate) fn reads(self) -> bool {
        self != Self::Store
    }

    /// Tells whether this process keeps logs.
    pub(crate) fn keeps(self) -> bool {
        self != Self::Agent
    }
}

/// Runs a role until a signal asks for the end.
pub(crate) fn run(
    role: Role,
    source: SettingsSource,
    (settings, promtail): (Settings, Taken),
    disk: Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let pages = ProgramPages::at_start();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let own_log = OwnLog::default();
    logging::start(&settings.log, Arc::clone(&clock), own_log.clone())?;
    promtail.notes.iter().for_each(|note| tracing::info!("{note}"));
    promtail.refused.iter().for_each(|refused| tracing::warn!("{refused}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("logyard")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let parts = Parts { disk, clock, own_log, imported: promtail.positions };
    let result = runtime.block_on(serve(role, (source, settings), parts, pages));
    // Everything is in order by now; a thread stuck in a dead mount must not keep the process alive.
    runtime.shutdown_timeout(LAST_THREADS_WAIT);
    result
}

async fn serve(
    role: Role,
    (source, settings): (SettingsSource, Settings),
    parts: Parts,
    pages: io::Result<ProgramPages>,
) -> anyhow::Result<()> {
    // Before anything else: a signal during the start must not end it half-way.
    let mut signals = Signals::new().context("cannot take over signals")?;
    let mut hangups = Hangups::new().context("cannot take over signals")?;
    let (reloads, mut asked) = mpsc::channel(RELOADS_WAITING_MAX);
    let data_dir = settings.data_dir.clone();
    let mut running = tokio::select! {
        started = Running::start(role, settings, parts, reloads) => started?,
        name = signals.wait() => anyhow::bail!("{name} during the start"),
    };
    running.settle().await;
    let banner = banner::text(&running.facts(data_dir));
    // The banner is a courtesy; without a reader it is not needed.
    drop(io::stderr().lock().write_all(banner.as_bytes()));
    let mut resting = Resting::new(pages);
    let reason = loop {
        tokio::select! {
            name = signals.wait() => break Ok(name),
            () = running.input_ended() => break Ok("end of the input"),
            ended = running.server_ended() => break Err(ended),
            // Takes seconds at most, and a signal that comes meanwhile is not forgotten.
            () = hangups.wait() => drop(running.reload(&source).await),
            () = resting.wait() => resting.let_go(),
            Some(asking) = asked.recv() => {
                let came_of_it = running.reload(&source).await.map_err(|error| format!("{error:#}"));
                // Who asked may be gone by now.
                drop(asking.send(came_of_it));
            }
        }
    };
    let impatient = signals.exit_at_the_next();
    if let Ok(name) = &reason {
        tracing::info!(signal = name, "stopping; once more to stop at once");
    }
    let stopped = running.stop().await;
    impatient.abort();
    match reason {
        Ok(_) => stopped,
        Err(error) => Err(error),
    }
}

/// Keeps out of memory what of the program is not used. A courtesy: where the system does not know how, all stays as it is.
struct Resting {
    pages: io::Result<ProgramPages>,
    pauses: Interval,
}

impl Resting {
    fn new(pages: io::Result<ProgramPages>) -> Self {
        if let Err(error) = &pages {
            tracing::debug!(%error, "cannot find the pages of the program, so those that are not used stay");
        }
        Self { pages, pauses: interval_at(Instant::now() + FIRST_LETTING_GO, LETTING_GO_PAUSE) }
    }

    /// Waits for the next time. Safe to cancel.
    async fn wait(&mut self) {
        match &self.pages {
            Ok(_) => drop(self.pauses.tick().await),
            Err(_) => std::future::pending().await,
        }
    }

    fn let_go(&mut self) {
        let Err(error) = self.pages.as_ref().map_or(Ok(()), ProgramPages::let_go) else { return };
        tracing::debug!(%error, "cannot let go of pages of the program that are not used");
        self.pages = Err(error);
    }
}
