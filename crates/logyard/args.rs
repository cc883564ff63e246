//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Sources;

const EXAMPLES: &str = "\
Examples:
  logyard                                    read every container, keep, answer on 127.0.0.1:3100
  logyard --data-dir /var/lib/logyard --listen 0.0.0.0:3100
  logyard store --listen 0.0.0.0:3100        only keep and answer
  logyard agent --push-url http://logs:3100  only read and send there
  logyard agent --promtail-config promtail.yaml
                                             take Promtail's place with its own file and positions
  dmesg | logyard agent --stdin              read the standard input, send it, end
  logyard agent targets                      show what is read, what not, and why not
  logyard config --config logyard.yaml       check a config file and print what is in effect
  logyard config from-promtail promtail.yaml print a promtail.yaml as a config file of Logyard
  logyard health                             ask whether the running store is ready (exit status 0 or 1)
  logyard fsck --deep                        check all files, while logyard is stopped
  logq '{container=\"web\"} |= \"ERROR\"'        ask (see logq --help)

Every setting is also an environment variable: store.wal.sync is LOGYARD_STORE__WAL__SYNC.
The settings are listed in schemas/config.md.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  logyard inspect logyard-data/tenants/fake/20260601/30d/01KT1GW6G031GV1X6H4Q60TTAA-L1.seg
  logyard inspect --block 0 FILE.seg         the parts of its first block
  logyard inspect --json logyard-data/wal/00000000000000000003.log

Exit status: 0 undamaged, 1 damaged, 2 cannot tell.";

const FSCK_EXAMPLES: &str = "\
Examples:
  logyard fsck                               catalog, write-ahead log, index of every segment, the agent's spool
  logyard fsck --deep --data-dir /var/lib/logyard
  logyard fsck --json | jq '.findings[]'

Nothing is changed. Exit status: 0 clean, 1 damage found, 2 cannot check, for example because logyard runs.";

const REPAIR_EXAMPLES: &str = "\
Examples:
  logyard repair --dry-run                   tell what would be done
  logyard repair
  logyard repair --forget-lost               also stop warning of segments that no backup has

What is bad goes to quarantine/, the rest stays. Exit status: 0 clean now, 1 damage is left, 2 cannot repair.";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  logyard snapshot create                    named by the time
  logyard snapshot delete nightly; logyard snapshot create nightly
  restic backup /var/lib/logyard/snapshots/nightly
  logyard snapshot list --json

The running store is asked at --listen; if none answers, the folder itself is used.
To restore: stop logyard, put the snapshot's folder in place of the data folder, start.";

const STORAGE_EXAMPLES: &str = "\
Examples:
  logyard storage                            by day, tenant and class, with the instant at which each goes
  logyard storage --streams 20               also the largest streams
  logyard storage --from 2026-06-01 --json | jq '.days[]'

The running store is asked at --listen; if none answers, or if it keeps tenants apart and none is named, the folder at
--data-dir is read, which works beside a running store too and lacks only what is in memory.";

const TARGETS_EXAMPLES: &str = "\
Examples:
  logyard agent targets                      what the agent on ./logyard-data reads
  logyard agent targets --config new.yaml --data-dir /nonexistent
                                             what an agent with this file would read
  logyard agent targets --json | jq '.targets[] | select(.state == \"excluded\")'

The running agent, of `logyard agent` or `logyard all`, is asked over a socket in its data folder; if none answers, the
engine and the disk are looked at.";

const HEALTH_EXAMPLES: &str = "\
Examples:
  logyard health                             the store with these settings, on this machine
  logyard health --addr https://logs.example.org/prefix
  logyard health --agent                     the agent on ./logyard-data
  HEALTHCHECK CMD [\"logyard\", \"health\"]    in a Dockerfile: neither shell nor curl is needed

Settings are found as those of the process itself: by the same --config, environment and flags.
Exit status: 0 healthy, 1 not.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  logyard export /backup/june --from 2026-06-01 --to 2026-06-30
  logyard export --tenant team-a /backup/team-a
  logyard import /backup/june                on another machine, or in the same store: twice is once

The folder holds whole segment files and a list of them with checksums. The running store is asked at --listen for a
snapshot; if none answers, the folder at --data-dir is used.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  logyard import /backup/june
  logyard import --tenant team-a /backup/june   as that tenant's, whosever it was

What is here already is left out, and what is older than this store keeps. All files are checked first; if one is damaged
nothing is taken in. The running store is asked at --listen; if none answers, the folder at --data-dir is used.";

const NOTIFY_EXAMPLES: &str = "\
Examples:
  logyard notify test                        tell every target of notify.targets that this is a test
  logyard notify test phone --config logyard.yaml

Nothing has to run for it. Exit status: 0 all were told, 1 one was not.";

const RULES_EXAMPLES: &str = "\
Examples:
  logyard rules check rules/*.yaml
  logyard rules check rules.yaml && cp rules.yaml /etc/logyard/rules/
  logyard rules test tests.yaml
  logyard rules pack > /etc/logyard/rules/own.yaml

A test file, with keys as promtool has them:
  rule_files: [rules.yaml]
  tests:
    - name: three failed logins
      input_streams:
        - stream: '{container=\"web\"}'
          lines: [{at: 10s, line: login failed, every: 5s, times: 3}]
      alert_rule_test:
        - {eval_time: 1m, alertname: Logins, exp_alerts: [{exp_labels: {container: web}}]}
        - {eval_time: 30m, alertname: Logins}

Exit status: 0 all are good, 1 one is not.";

/// Tails containers, keeps their logs, answers LogQL.
#[derive(Debug, Parser)]
#[command(name = "logyard", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) flags: Flags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What the process does.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Read, keep and answer, all in one process (the default)
    All,
    /// Only read, and send to the store at --push-url
    Agent {
        #[command(flatten)]
        dry_run: DryRunArguments,
        #[command(subcommand)]
        command: Option<AgentCommand>,
    },
    /// Only keep and answer
    Store,
    /// Check the settings and print what is in effect
    Config {
        #[command(subcommand)]
        command: Option<ConfigCommand>,
    },
    /// Show what a file of the data folder holds: a segment, or a file of write-ahead log, catalog or spool
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArguments),
    /// Check the data folder while nothing uses it: catalog, write-ahead log, every segment, the agent's spool
    #[command(after_help = FSCK_EXAMPLES)]
    Fsck(FsckArguments),
    /// Mend the data folder while nothing uses it; what is bad goes to quarantine/
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArguments),
    /// Make, list or delete snapshots of the data folder, for backups
    #[command(subcommand, after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotCommand),
    /// Ask whether the running store takes pushes and answers queries, or whether the agent runs
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(HealthArguments),
    /// Show what is stored, how much room it takes and when it goes
    #[command(after_help = STORAGE_EXAMPLES)]
    Storage(StorageArguments),
    /// Write segments of some days, or of a tenant, into a folder that another store can take in
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArguments),
    /// Take in what an export holds
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArguments),
    /// Check and test files of alert and recording rules
    #[command(subcommand, after_help = RULES_EXAMPLES)]
    Rules(RulesCommand),
    /// Try the targets that are told of alerts
    #[command(subcommand, after_help = NOTIFY_EXAMPLES)]
    Notify(NotifyCommand),
}

/// What `logyard rules` is to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum RulesCommand {
    /// Print the rules that come along, as rules.pack of the settings has them
    Pack,
    /// Run rules over given log lines and compare the alerts that fire
    Test {
        /// The files of tests
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Read files as the store would, and tell the first fault of each with its line
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// What `logyard notify` is to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a test alert to one target, or to all
    Test {
        /// Name of the target [default: all]
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// What `logyard agent` is asked besides.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum AgentCommand {
    /// Show every container and file: read or not, under which labels, and why not
    #[command(after_help = TARGETS_EXAMPLES)]
    Targets(TargetsArguments),
}

/// How `logyard agent` only tells what it would ship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct DryRunArguments {
    /// Print what would be shipped, a line for each entry, and ship nothing; ends with Ctrl-C, or the input of --stdin
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print JSON, an object for each entry, with the whole line
    #[arg(long, requires = "dry_run")]
    pub(crate) jsonl: bool,

    /// End after so many entries
    #[arg(long, requires = "dry_run", value_name = "NUMBER")]
    pub(crate) limit: Option<u64>,
}

/// What `logyard agent targets` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct TargetsArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `logyard config` is asked besides.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a promtail.yaml as a config file of Logyard
    FromPromtail {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,

        /// Print passwords, tokens and headers as they are, not as ***
        #[arg(long)]
        show_secrets: bool,
    },
}

/// What `logyard export` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct ExportArguments {
    /// The folder to write; it must not exist, or be empty
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// First day, as in 2026-06-01
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,

    /// Last day
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<String>,

    /// Only what is this tenant's
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `logyard import` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct ImportArguments {
    /// The folder that `logyard export` has written
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// Make everything this tenant's
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `logyard health` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct HealthArguments {
    /// The store at this address, which push.tls may help to trust [default: the one at --listen]
    #[arg(long, value_name = "URL")]
    pub(crate) addr: Option<String>,

    /// The agent on --data-dir, which need not have a store
    #[arg(long, conflicts_with = "addr")]
    pub(crate) agent: bool,

    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
}

/// What `logyard storage` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct StorageArguments {
    /// Also show the streams that take the most room
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) streams: usize,

    /// First day, as in 2026-06-01
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,

    /// Last day
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<String>,

    /// Only what is this tenant's
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `logyard snapshot` is to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make one of everything acknowledged so far, and print its folder
    Create {
        /// Its name [default: the time]
        #[arg(value_name = "NAME")]
        id: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all, the oldest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete one; the store itself stays as it is
    Delete {
        /// Its name
        #[arg(value_name = "NAME")]
        id: String,
    },
}

/// What `logyard inspect` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct InspectArguments {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Show one block of a segment, counted from 0
    #[arg(long, value_name = "NUMBER")]
    pub(crate) block: Option<usize>,
}

/// What `logyard fsck` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct FsckArguments {
    /// Decode every block and every batch too
    #[arg(long)]
    pub(crate) deep: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `logyard repair` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct RepairArguments {
    /// Only tell what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Take segments whose files are gone for good out of the catalog: queries stop warning of them
    #[arg(long)]
    pub(crate) forget_lost: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags, the same for all commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flags {
    /// Config file in YAML [env: LOGYARD_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Address and port to listen on; of agent that of its pages [default: 127.0.0.1:3100, of agent 127.0.0.1:9080]
    /// [env: LOGYARD_LISTEN, of agent LOGYARD_AGENT__LISTEN]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    /// Folder for everything that is kept [default: ./logyard-data] [env: LOGYARD_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,

    /// Least severe level of the own log [default: info] [env: LOGYARD_LOG__LEVEL]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Store that `logyard agent` sends to [default: http://logyard:3100] [env: LOGYARD_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) push_url: Option<String>,

    /// Read what a promtail.yaml says, for all and agent; its positions are taken over once
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) promtail_config: Option<PathBuf>,

    /// Read the standard input to its end instead of containers and files, for all and agent, then end
    #[arg(long, global = true)]
    pub(crate) stdin: bool,

    /// Replace variables such as ${HOST} in the promtail.yaml first
    #[arg(long, global = true)]
    pub(crate) expand_env: bool,

    /// Leave out what a promtail.yaml asks for and the agent cannot do, with a warning; jobs whose lines would be others without
    /// it are left out whole
    #[arg(long, global = true)]
    pub(crate) skip_unsupported: bool,
}

impl Flags {
    /// Adds the flags that were given to the sources of settings; those of an agent on its own if it is one.
    pub(crate) fn add_to(&self, sources: &mut Sources, is_agent: bool) {
        let listen: &'static [&'static str] = if is_agent { &["agent", "listen"] } else { &["listen"] };
        let flags: [(&'static str, &'static [&'static str], &Option<String>); 4] = [
            ("--listen", listen, &self.listen),
            ("--data-dir", &["data_dir"], &self.data_dir),
            ("--log-level", &["log", "level"], &self.log_level),
            ("--push-url", &["push", "url"], &self.push_url),
        ];
        for (name, path, text) in flags {
            if let Some(text) = text {
                sources.flags.push((name, path, text.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn declarations_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [["logyard", "--listen", "a:1", "store"], ["logyard", "store", "--listen", "a:1"]] {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.command, Some(Command::Store));
            let mut sources = Sources::default();
            arguments.flags.add_to(&mut sources, false);
            arguments.flags.add_to(&mut sources, true);
            let want =
                [&["listen"][..], &["agent", "listen"]].map(|path| ("--listen", path, "a:1".to_owned()));
            assert_eq!(sources.flags, want);
        }
        assert_eq!(Arguments::try_parse_from(["logyard"]).unwrap().command, None);
    }
}
