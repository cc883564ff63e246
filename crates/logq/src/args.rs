//! The command line.
//!
//! Each flag is declared once: those that every command takes in `args_shared` and `args_range`, the others with their
//! command in `command_*`. Help, errors, completions and the manual are made from the declarations. A new command is a
//! module, a variant of [`Command`] and a line in its `run`, and a word in [`HELP`]. Its `EXAMPLES` are run as tests.
//!
//! What is no command and no query is the name of a container; a command wins over a name, `logq -- errors` asks for it.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;

use crate::args_range::RangeFlags;
use crate::args_shared::SharedFlags;
use crate::people::{name, overview};
use crate::run::Stop;
use crate::session::Session;
use crate::{
    command_completion, command_context, command_delete, command_errors, command_explain, command_export,
    command_fields, command_fmt, command_import, command_instant, command_labels, command_man,
    command_patterns, command_push, command_query, command_series, command_stats, command_tail, command_top,
    command_ui, command_volume,
};

/// What `logq --help` prints: a screen of 24 lines. A test holds it to the declaration.
const HELP: &str = "\
logq asks a Logyard (or Loki) store for logs.

  logq '{container=\"web\"} |= \"ERROR\"' --since 24h    lines with a word, of a day
  logq tail '{container=\"web\"}'                       follow
  logq 'sum by (container) (count_over_time({container=~\".+\"}[5m]))'
  cat app.log | logq --stdin '| logfmt | level=\"error\"'   a file, with no store

See       (nothing: what writes)  NAME  errors  top  patterns  context
Ask       query  tail  instant-query
Look      labels  series  detected-fields  stats  volume  volume_range  ui
Queries   fmt  explain                    Shell     completion  man
Change    push  import  export  delete

Usage: logq [FLAGS] [QUERY | COMMAND]   logq COMMAND --help: its flags, examples
  -n, --limit COUNT   most entries (100; 0: all)   -o, --output FORM  raw, jsonl
  --since 2h, --from TIME, --to TIME   the range      --forward   oldest first
  --addr URL, --org-id TENANT, --token-file FILE    or LOKI_ADDR, LOKI_ORG_ID, …
Exit status: 0 found, 1 nothing found, 2 an error.  logq query --help: all flags
";

/// Ask a Logyard (or Loki) store for logs.
#[derive(Debug, Parser)]
#[command(name = "logq", version, override_help = HELP, disable_help_subcommand = true,
    subcommand_precedence_over_arg = true)]
pub(crate) struct Arguments {
    /// LogQL, or a part of the name of a container, service or unit; nothing: what writes, and how much
    #[arg(value_name = "QUERY | NAME")]
    pub(crate) text: Option<String>,

    #[command(flatten)]
    pub(crate) query: command_query::QueryFlags,

    #[command(flatten)]
    pub(crate) range: RangeFlags,

    #[command(flatten)]
    pub(crate) shared: SharedFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do other than running a query over a range.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a query over a range: a log query prints entries, a metric query samples
    #[command(after_help = command_query::EXAMPLES)]
    Query(command_query::Query),
    /// Evaluate a metric query at one point in time
    #[command(after_help = command_instant::EXAMPLES, visible_alias = "instant")]
    InstantQuery(command_instant::InstantQuery),
    /// Follow a log query: print the newest entries, then each new one
    #[command(after_help = command_tail::EXAMPLES)]
    Tail(command_tail::Tail),
    /// Print recent errors by kind: how many, whose, the last line
    #[command(after_help = command_errors::EXAMPLES)]
    Errors(command_errors::Errors),
    /// Print who writes most
    #[command(after_help = command_top::EXAMPLES)]
    Top(command_top::Top),
    /// Print what kinds of lines there are, as the store finds them
    #[command(after_help = command_patterns::EXAMPLES)]
    Patterns(command_patterns::Patterns),
    /// Print what stands around an entry in its stream
    #[command(after_help = command_context::EXAMPLES)]
    Context(command_context::Context),
    /// Print label names, or the values of one label
    #[command(after_help = command_labels::EXAMPLES)]
    Labels(command_labels::Labels),
    /// Print the label sets of the streams that match
    #[command(after_help = command_series::EXAMPLES)]
    Series(command_series::Series),
    /// Print how much the streams of a selector hold
    #[command(after_help = command_stats::EXAMPLES)]
    Stats(command_stats::Stats),
    /// Print the bytes of streams, by label
    #[command(after_help = command_volume::EXAMPLES)]
    Volume(command_volume::Volume),
    /// Print the bytes of streams, by label and step
    #[command(name = "volume_range", visible_alias = "volume-range", after_help = command_volume::RANGE_EXAMPLES)]
    VolumeRange(command_volume::VolumeRange),
    /// Print which fields the lines of a query have, or the values of one
    #[command(after_help = command_fields::EXAMPLES)]
    DetectedFields(command_fields::DetectedFields),
    /// Make, list and cancel requests to delete entries
    #[command(after_help = command_delete::EXAMPLES)]
    Delete(command_delete::Delete),
    /// Show how the store evaluates a query over the range
    #[command(after_help = command_explain::EXAMPLES)]
    Explain(command_explain::Explain),
    /// Print a query in its usual form, over several lines if it is long; asks no store
    #[command(after_help = command_fmt::EXAMPLES)]
    Fmt(command_fmt::Fmt),
    /// Send lines to the store, from standard input or files
    #[command(after_help = command_push::EXAMPLES)]
    Push(command_push::Push),
    /// Write every entry of a range into a file, oldest first; goes on where it was ended
    #[command(after_help = command_export::EXAMPLES)]
    Export(command_export::Export),
    /// Bring files, or the history of another store, into the store; goes on where it was ended
    #[command(after_help = command_import::EXAMPLES)]
    Import(command_import::Import),
    /// Search logs on the whole terminal: browse labels, follow, zoom in time, expand, filter by key
    #[command(after_help = command_ui::EXAMPLES)]
    Ui(command_ui::Ui),
    /// Print what a shell runs so that it completes commands, flags and queries
    #[command(after_help = command_completion::EXAMPLES)]
    Completion(command_completion::Completion),
    /// Print the manual, for man
    #[command(after_help = command_man::EXAMPLES)]
    Man(command_man::Man),
    /// Print how a line may go on: what the scripts of `logq completion` ask
    #[command(after_help = command_completion::WORDS_EXAMPLES, hide = true)]
    CompleteWords(command_completion::CompleteWords),
}

impl Command {
    /// Does what the command says and returns whether anything was found.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        match self {
            Self::Query(command) => command.run(session).await,
            Self::InstantQuery(command) => command.run(session).await,
            Self::Tail(command) => command.run(session).await,
            Self::Errors(command) => command.run(session).await,
            Self::Top(command) => command.run(session).await,
            Self::Patterns(command) => command.run(session).await,
            Self::Context(command) => command.run(session).await,
            Self::Labels(command) => command.run(session).await,
            Self::Series(command) => command.run(session).await,
            Self::Stats(command) => command.run(session).await,
            Self::Volume(command) => command.run(session).await,
            Self::VolumeRange(command) => command.run(session).await,
            Self::DetectedFields(command) => command.run(session).await,
            Self::Delete(command) => command.run(session).await,
            Self::Explain(command) => command.run(session).await,
            Self::Fmt(command) => command.run(session),
            Self::Push(command) => command.run(session).await,
            Self::Export(command) => command.run(session).await,
            Self::Import(command) => command.run(session).await,
            Self::Ui(command) => command.run(session).await,
            Self::Completion(command) => command.run(session),
            Self::Man(command) => command.run(session),
            Self::CompleteWords(command) => command.run(session).await,
        }
    }
}

impl Arguments {
    /// Reads a command line that begins with the name of the program.
    ///
    /// Errors: also for help and the version, and for a flag of queries before a command that would not see it.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(args)?;
        if let Some(text) = lost_flag(&command, &matches) {
            return Err(command.error(clap::error::ErrorKind::ArgumentConflict, text));
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// Returns whether more than a screen of output may go to a pager: not what goes on without an end, takes the terminal
    /// over, tells of its progress, or is made for a program.
    pub(crate) fn is_paged(&self) -> bool {
        let is_endless = match &self.command {
            None => self.query.tail,
            Some(Command::Query(query)) => query.follows(),
            Some(Command::Top(top)) => top.watches(),
            Some(
                Command::Tail(_)
                | Command::Ui(_)
                | Command::Push(_)
                | Command::Import(_)
                | Command::Export(_)
                | Command::Completion(_)
                | Command::CompleteWords(_)
                | Command::Man(_),
            ) => true,
            Some(_) => false,
        };
        !(is_endless || self.shared.stdin || self.shared.no_pager)
    }

    /// Does what the arguments say and returns whether anything was found.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let needs_store = !matches!(self.command, Some(Command::Query(_) | Command::InstantQuery(_)) | None);
        if session.shared.stdin && needs_store {
            return Err(Stop::Trouble(
                "--stdin goes with a query alone; leave it or the command out".to_owned(),
            ));
        }
        match (&self.command, &self.text) {
            (Some(command), _) => command.run(session).await,
            (None, Some(text)) if name::is_name(text) && !session.shared.stdin => {
                let Some(selector) = name::selector(text, session).await? else { return Ok(false) };
                command_query::run(&selector, &self.query, session).await
            }
            (None, Some(text)) => command_query::run(text, &self.query, session).await,
            (None, None) => overview::run(session).await,
        }
    }
}

/// Returns what is wrong with flags that stand before a command and are none of its own.
fn lost_flag(command: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let name = matches.subcommand_name()?;
    let lost = command.get_arguments().filter(|arg| !arg.is_global_set()).find(|arg| {
        let id = arg.get_id().as_str();
        matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
    })?;
    Some(match lost.get_long() {
        Some(long) => format!("--{long} stands before the command {name:?}; write it behind, if it takes it"),
        None => format!("a query stands before the command {name:?}; leave one of them out"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args_shared::Format;

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::read([&["logq"], line].concat().into_iter().map(OsString::from))
    }

    #[test]
    fn declarations_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_is_one_screen_and_names_every_command() {
        assert!(HELP.lines().count() <= 24, "{} lines", HELP.lines().count());
        for line in HELP.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let named = HELP.split_whitespace().any(|word| word == command.get_name());
            assert!(named, "{}", command.get_name());
        }
    }

    #[test]
    fn a_query_or_a_subcommand() {
        let query = parse(&["{a=\"b\"}", "--since", "2h"]).unwrap();
        assert_eq!(query.text.as_deref(), Some("{a=\"b\"}"));
        assert_eq!(query.range.since, "2h");
        assert_eq!(query.query.limit, None);
        let labels = parse(&["labels", "container", "--since", "2d", "--addr", "http://x"]).unwrap();
        let Some(Command::Labels(command)) = &labels.command else { panic!("{labels:?}") };
        assert_eq!(command.name.as_deref(), Some("container"));
        assert_eq!(labels.range.since, "2d");
        assert_eq!(labels.shared.connect.addr.as_deref(), Some("http://x"));
    }

    #[test]
    fn what_does_not_end_is_not_paged() {
        for line in [&["{a=\"b\"}"][..], &["web"], &[], &["labels"], &["top"], &["query", "{}"], &["errors"]]
        {
            assert!(parse(line).unwrap().is_paged(), "{line:?}");
            assert!(!parse(&[line, &["--no-pager"]].concat()).unwrap().is_paged(), "{line:?}");
        }
        let endless =
            [&["tail", "web"][..], &["web", "-f"], &["query", "{}", "-t"], &["top", "--watch"], &["ui"]];
        for line in endless.into_iter().chain([&["--stdin", "{}"][..], &["man"], &["export", "{}"]]) {
            assert!(!parse(line).unwrap().is_paged(), "{line:?}");
        }
    }

    #[test]
    fn shared_flags_may_stand_before_the_subcommand() {
        let series = parse(&["--addr", "http://x", "-o", "jsonl", "series", "{a=\"b\"}"]).unwrap();
        assert_eq!(series.shared.connect.addr.as_deref(), Some("http://x"));
        assert_eq!(series.shared.output, Format::Jsonl);
        assert!(matches!(series.command, Some(Command::Series(command)) if command.selectors.len() == 1));
    }

    #[test]
    fn what_a_subcommand_would_not_see_is_refused() {
        let text = |line: &[&str]| parse(line).unwrap_err().to_string();
        assert!(text(&["--limit", "5", "labels"]).contains("--limit stands before the command \"labels\""));
        assert!(text(&["{a=\"b\"}", "labels"]).contains("a query stands before the command"));
        assert!(parse(&["query", "{a=\"b\"}", "--limit", "5"]).is_ok());
        assert_eq!(parse(&["--", "labels"]).unwrap().text.as_deref(), Some("labels"));
    }
}
