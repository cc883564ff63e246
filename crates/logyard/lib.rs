//! Puts the parts together: settings, roles, signals.
//!
//! Owns: the command line of `logyard`, config file and environment, the order in which parts start and
//! stop, the log's form, the banner. Deliberately absent: everything the parts do.
//!
//! Start: settings → disk → store → agent → server. Stop, on SIGINT or SIGTERM: agent (spools and
//! pushes what it read) → server (finishes requests) → store (syncs and seals). A second signal ends the
//! process at once, which loses nothing that was acknowledged.
//!
//! Add a setting, also regenerate `schemas/config.*`: `LOGYARD_BLESS=1 cargo test -p logyard config`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent_pages;
mod args;
mod assemble;
mod banner;
mod command_config;
mod command_dry_run;
mod command_export;
mod command_fsck;
mod command_health;
mod command_inspect;
mod command_rules;
mod command_run;
mod command_snapshot;
mod command_storage;
mod command_targets;
mod config;
mod config_check;
mod config_env;
mod config_push;
mod config_schema;
mod config_units;
mod logging;
mod output;
mod own_store;
mod promtail;
mod promtail_clients;
mod promtail_env;
mod promtail_files;
mod promtail_load;
mod promtail_map;
mod promtail_receive;
mod promtail_server;
mod reload;
mod rule_trial;
mod secrets;
mod settings_source;
mod signals;
mod start_check;
mod tls;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use logyard_sys::{Disk, RealClock, RealDisk};

pub use config::{
    ConfigError, DeliverySettings, DestinationSettings, LogFormat, LogSettings, PushSettings,
    PushTlsSettings, Settings, Sources, load, print,
};
pub use config_schema::{json_schema, reference_page};

use crate::args::{AgentCommand, Arguments, Command, ConfigCommand};
use crate::command_run::Role;
use crate::settings_source::SettingsSource;

/// Exit status of wrong arguments and settings, as `clap` has it.
const WRONG_USE: u8 = 2;

/// Exit status of a check that found damage.
const DAMAGED: u8 = 1;

/// Runs the command line and returns the process's exit status. `args` begins with the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to the output, complaints to the error output; a closed one has no reader.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { WRONG_USE } else { 0 });
        }
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let command = arguments.command.unwrap_or(Command::All);
    let is_agent = matches!(command, Command::Agent { .. });
    let source = SettingsSource { flags: arguments.flags, is_agent };
    let (settings, taken) = match source.load(&*disk) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, WRONG_USE),
    };
    let done = match command {
        Command::All => command_run::run(Role::All, source, (settings, taken), disk),
        Command::Agent { dry_run, command: None } if dry_run.dry_run => {
            command_dry_run::run(dry_run, settings, taken, disk)
        }
        Command::Agent { command: None, .. } => {
            command_run::run(Role::Agent, source, (settings, taken), disk)
        }
        Command::Agent { command: Some(AgentCommand::Targets(arguments)), .. } => {
            command_targets::run(&arguments, &settings, &disk)
        }
        Command::Store => command_run::run(Role::Store, source, (settings, taken), disk),
        Command::Config { command: None } => command_config::run(&settings, &*disk),
        Command::Config { command: Some(ConfigCommand::FromPromtail { file, show_secrets }) } => {
            match promtail_load::take(&file, source.how(), settings, &*disk) {
                Ok((settings, taken)) => command_config::run_from_promtail(&settings, &taken, show_secrets),
                Err(error) => return fail(&error, WRONG_USE),
            }
        }
        Command::Inspect(arguments) => return tell(command_inspect::run(&arguments, &*disk)),
        Command::Fsck(arguments) => return tell(command_fsck::run(arguments, &settings, &*disk)),
        Command::Repair(arguments) => return tell(command_fsck::run_repair(arguments, &settings, disk)),
        Command::Snapshot(command) => command_snapshot::run(&command, &settings, &disk),
        Command::Export(arguments) => command_export::run_export(&arguments, &settings, &disk),
        Command::Import(arguments) => command_export::run_import(&arguments, &settings, &disk),
        Command::Rules(command) => return tell(command_rules::run_rules(&command, &settings, &*disk)),
        Command::Notify(command) => {
            return tell(command_rules::run_notify(&command, &settings, &disk, &RealClock::new()));
        }
        Command::Health(arguments) => command_health::run(&arguments, &settings),
        Command::Storage(arguments) => command_storage::run(&arguments, &settings, &disk),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Returns the status of a check: 0 for good, 1 for damage, 2 if it could not be made.
fn tell(is_good: anyhow::Result<bool>) -> ExitCode {
    match is_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DAMAGED),
        Err(error) => fail(&error, WRONG_USE),
    }
}

/// Prints why the program ends; the last thing it says, so not through the log.
fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "logyard: {error:#}"));
    ExitCode::from(status)
}
