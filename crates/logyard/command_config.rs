//! `logyard config`: prints the settings in effect, or a promtail.yaml as settings.

use anyhow::Context as _;
use logyard_sys::Disk;

use crate::command_run::Role;
use crate::config::{self, Settings};
use crate::promtail_load::{Taken, print_hiding, print_short};
use crate::start_check;

/// Prints the settings as a config file that would give the same, and checks them as a start would.
///
/// Errors: what would end the start, after the settings were printed all the same.
pub(crate) fn run(settings: &Settings, disk: &dyn Disk) -> anyhow::Result<()> {
    put(&mut std::io::stdout().lock(), &config::print(settings)?)?;
    start_check::check(Role::All, settings, disk).context("cannot start with these settings")
}

/// Prints what a promtail.yaml says as a config file, and on the error output what to know about it. Unless secrets are
/// shown, the file begins with what is to be filled in.
pub(crate) fn run_from_promtail(
    settings: &Settings,
    taken: &Taken,
    shows_secrets: bool,
) -> anyhow::Result<()> {
    for remark in taken.refused.iter().chain(&taken.notes) {
        put(&mut std::io::stderr().lock(), &format!("{remark}\n"))?;
    }
    let printed = if shows_secrets { print_short(settings)? } else { print_hiding(settings)? };
    put(&mut std::io::stdout().lock(), &printed)
}

fn put(to: &mut dyn std::io::Write, text: &str) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
