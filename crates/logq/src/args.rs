//! The command line.
//!
//! Each flag is declared once, here; help and errors are made from the declaration.

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  logq '{container=\"web\"}'                              the newest 100 lines of a container
  logq '{container=\"web\"} |= \"ERROR\"' --since 24h       lines with a word, of the last day
  logq '{compose_project=\"shop\"}' --limit 0 -o raw      every line of the last hour, nothing else
  logq '{container=~\"web|db\"}' --from 2026-11-20 --to 2026-11-21 --forward
  logq 'sum by (container) (count_over_time({container=~\".+\"}[5m]))'
  logq instant 'sum by (container) (rate({container=~\".+\"} |= \"error\" [5m]))'
  logq tail '{container=\"web\"}'                         follow
  logq labels                                           which labels exist
  logq labels container                                 which values one has
  logq explain '{container=\"web\"} |= \"ERROR\"' --analyze  how a query is answered, and what that takes
  logq fmt '{container=\"web\"}|json|status>=500'          the query, put in order
  logq series '{compose_project=\"shop\"}'                which streams match

Order: newest first; with --forward, and in tail, oldest first.
Exit status: 0 something was found, 1 nothing was found, 2 an error occurred.
Environment: LOGQ_ADDR or LOKI_ADDR for --addr, LOGQ_ORG_ID or LOKI_ORG_ID for --org-id,
  LOGQ_TOKEN or LOKI_BEARER_TOKEN for a token, LOGQ_TOKEN_FILE or LOKI_BEARER_TOKEN_FILE for --token-file,
  LOGQ_CA_FILE or LOKI_CA_CERT_PATH for --ca-file, LOGQ_CERT_FILE or LOKI_CLIENT_CERT_PATH for --cert-file,
  LOGQ_KEY_FILE or LOKI_CLIENT_KEY_PATH for --key-file, NO_COLOR.";

/// Ask a Logyard (or Loki) store for logs.
#[derive(Debug, Parser)]
#[command(name = "logq", version, after_help = EXAMPLES, subcommand_negates_reqs = true,
    disable_help_subcommand = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Arguments {
    /// LogQL: a log query prints entries, a metric query a table of samples
    #[arg(required = true, value_name = "QUERY")]
    pub(crate) query: Option<String>,

    /// Most entries to print; above 5000 they are fetched in several calls; 0 means all
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) limit: usize,

    /// Most entries per call
    #[arg(long, default_value_t = 5000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,

    /// Print oldest first, and let the limit keep the oldest
    #[arg(long)]
    pub(crate) forward: bool,

    /// Distance between samples of a metric query [default: about 30 samples in the range]
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,

    #[command(flatten)]
    pub(crate) range: RangeFlags,

    #[command(flatten)]
    pub(crate) shared: SharedFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which span of time is asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeFlags {
    /// How far back to look, such as 30s, 15m, 1h30m, 7d
    #[arg(long, global = true, default_value = "1h", value_name = "DURATION")]
    pub(crate) since: String,

    /// First instant: 2026-11-20, 2026-11-20T08:30, RFC 3339, Unix time, now-2h
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) from: Option<String>,

    /// First instant that is not asked for any more, same forms [default: now]
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) to: Option<String>,
}

/// Whom to ask and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct SharedFlags {
    /// Address of the store [default: http://127.0.0.1:3100]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) addr: Option<String>,

    /// Tenant, sent as X-Scope-OrgID; several to read from, as a|b
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) org_id: Option<String>,

    /// File of the token that the store asks for; white space around it does not count
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<String>,

    /// File of the authorities to trust with https, in PEM [default: those of this machine]
    #[arg(long, global = true, value_name = "FILE", alias = "ca-cert")]
    pub(crate) ca_file: Option<String>,

    /// File of the own certificate, for a store that asks for one, in PEM
    #[arg(long, global = true, value_name = "FILE", alias = "cert")]
    pub(crate) cert_file: Option<String>,

    /// File of its private key, in PEM
    #[arg(long, global = true, value_name = "FILE", alias = "key")]
    pub(crate) key_file: Option<String>,

    /// Name that the store's certificate must bear [default: that of the address]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) server_name: Option<String>,

    /// Longest time for one call
    #[arg(long, global = true, default_value = "1m", value_name = "DURATION")]
    pub(crate) timeout: String,

    /// Form of the output: default, raw (the line alone) or jsonl (one JSON object per line)
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Default, value_name = "FORM",
        hide_possible_values = true)]
    pub(crate) output: Format,

    /// Print every label on every line, also those that all entries share
    #[arg(long, global = true)]
    pub(crate) all_labels: bool,

    /// Print times in UTC instead of the local time zone
    #[arg(long, global = true)]
    pub(crate) utc: bool,

    /// When to use colours: auto (on a terminal and without NO_COLOR), always or never
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN",
        hide_possible_values = true, alias = "colour")]
    pub(crate) color: Colour,
}

/// What to do other than running a query over a range.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print label names, or the values of one label
    Labels {
        /// Label whose values to print
        name: Option<String>,
    },
    /// Print the label sets of the streams that match
    Series {
        /// Selectors such as '{container="web"}'; none means all streams
        selectors: Vec<String>,
    },
    /// Follow a log query: print the newest entries, then each new one
    Tail {
        /// LogQL log query
        query: String,
        /// How many of the entries already there to print first
        #[arg(long, default_value_t = 10, value_name = "COUNT")]
        lines: u32,
    },
    /// Show how the store evaluates a query over the range
    Explain {
        /// LogQL
        query: String,
        /// Run the query, too, and say what each step took
        #[arg(long)]
        analyze: bool,
    },
    /// Print a query in its usual form, over several lines if it is long; asks no store
    Fmt {
        /// LogQL; `-` reads it from standard input
        query: String,
    },
    /// Evaluate a metric query at one point in time
    Instant {
        /// LogQL metric query
        query: String,
        /// When to evaluate, forms as for --from [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Time, labels and line
    Default,
    /// The line (or the value) alone, byte for byte
    Raw,
    /// One JSON object per entry or sample
    Jsonl,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["logq"], line].concat())
    }

    #[test]
    fn declarations_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_query_or_a_subcommand() {
        let query = parse(&["{a=\"b\"}", "--since", "2h"]).unwrap();
        assert_eq!(query.query.as_deref(), Some("{a=\"b\"}"));
        assert_eq!(query.range.since, "2h");
        assert_eq!(query.limit, 100);
        assert!(parse(&[]).is_err());
        let labels = parse(&["labels", "container", "--since", "2d", "--addr", "http://x"]).unwrap();
        assert!(matches!(labels.command, Some(Command::Labels { name: Some(name) }) if name == "container"));
        assert_eq!(labels.range.since, "2d");
        assert_eq!(labels.shared.addr.as_deref(), Some("http://x"));
    }

    #[test]
    fn shared_flags_may_stand_before_the_subcommand() {
        let series = parse(&["--addr", "http://x", "-o", "jsonl", "series", "{a=\"b\"}"]).unwrap();
        assert_eq!(series.shared.addr.as_deref(), Some("http://x"));
        assert_eq!(series.shared.output, Format::Jsonl);
        assert!(matches!(series.command, Some(Command::Series { selectors }) if selectors.len() == 1));
    }
}
