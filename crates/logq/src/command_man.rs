//! `logq man`: the manual.

use clap::{Args, CommandFactory as _};

use crate::args::Arguments;
use crate::manual::manual;
use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq man   # to read: logq man | man -l -; to keep: logq man > /usr/local/share/man/man1/logq.1";

/// The manual.
#[derive(Debug, Args)]
pub(crate) struct Man {}

impl Man {
    #[allow(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let mut root = Arguments::command();
        root.build();
        session.out.write_all(manual(&root).as_bytes())?;
        Ok(true)
    }
}
