//! `logyard config`: prints the settings in effect, or a promtail.yaml as settings.

use crate::config::{self, Settings};
use crate::promtail_load::{Taken, print_short};

/// Prints the settings as a config file that would give the same.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    put(&mut std::io::stdout().lock(), &config::print(settings)?)
}

/// Prints what a promtail.yaml says as a config file, and on the error output what to know about it.
pub(crate) fn run_from_promtail(settings: &Settings, taken: &Taken) -> anyhow::Result<()> {
    for remark in taken.refused.iter().chain(&taken.notes) {
        put(&mut std::io::stderr().lock(), &format!("{remark}\n"))?;
    }
    put(&mut std::io::stdout().lock(), &print_short(settings)?)
}

fn put(to: &mut dyn std::io::Write, text: &str) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
