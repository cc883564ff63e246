//! `logyard config`: prints the settings in effect.

use std::io::Write as _;

use crate::config::{self, Settings};

/// Prints the settings as a config file that would give the same.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let text = config::print(settings)?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
