//! When to stop, and when to read the settings anew.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second signal: 128 and the number of SIGINT, as shells say it.
const IMPATIENT_STATUS: i32 = 130;

/// The signals that ask for a stop.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// The signal that asks for the settings to be read anew, SIGHUP.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// Takes it over. Errors: the system refuses.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for it; several at once count as one. Safe to cancel.
    pub(crate) async fn wait(&mut self) {
        self.0.recv().await;
    }
}

impl Signals {
    /// Takes over SIGINT and SIGTERM. Errors: the system refuses.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them and returns its name. Safe to cancel.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Ends the process at the next signal: who asks twice does not want to wait. Nothing acknowledged
    /// is lost by it, only the next start takes longer.
    pub(crate) fn exit_at_the_next(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            let name = self.wait().await;
            tracing::warn!(signal = name, "stopping at once");
            std::process::exit(IMPATIENT_STATUS);
        })
    }
}
