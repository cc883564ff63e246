//! Whom to ask and how to print: the flags that every command takes.

use clap::{Args, ValueEnum};

/// Whom to ask and how to print.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct SharedFlags {
    /// Form of the output: default, raw (the line alone) or jsonl (one JSON object per line)
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Default, value_name = "FORM",
        hide_possible_values = true, hide_short_help = true)]
    pub(crate) output: Format,

    /// Print every label on every line, also those that all entries share
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) all_labels: bool,

    /// Print times in UTC instead of the local time zone
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) utc: bool,

    /// When to use colours: auto (on a terminal and without NO_COLOR), always or never
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN",
        hide_possible_values = true, alias = "colour", hide_short_help = true)]
    pub(crate) color: Colour,

    /// Address of the store [default: http://127.0.0.1:3100] [env: LOGQ_ADDR, LOKI_ADDR]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection", hide_short_help = true)]
    pub(crate) addr: Option<String>,

    /// Tenant, sent as X-Scope-OrgID; several to read from, as a|b [env: LOGQ_ORG_ID, LOKI_ORG_ID]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection", hide_short_help = true)]
    pub(crate) org_id: Option<String>,

    /// File of the token that the store asks for; white space around it does not count [env: LOGQ_TOKEN_FILE,
    /// LOKI_BEARER_TOKEN_FILE; the token itself: LOGQ_TOKEN, LOKI_BEARER_TOKEN]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection", hide_short_help = true)]
    pub(crate) token_file: Option<String>,

    /// File of the authorities to trust with https, in PEM [default: those of this machine] [env: LOGQ_CA_FILE,
    /// LOKI_CA_CERT_PATH]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        alias = "ca-cert",
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub(crate) ca_file: Option<String>,

    /// File of the own certificate, for a store that asks for one, in PEM [env: LOGQ_CERT_FILE,
    /// LOKI_CLIENT_CERT_PATH]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        alias = "cert",
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub(crate) cert_file: Option<String>,

    /// File of its private key, in PEM [env: LOGQ_KEY_FILE, LOKI_CLIENT_KEY_PATH]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        alias = "key",
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub(crate) key_file: Option<String>,

    /// Name that the store's certificate must bear [default: that of the address]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection", hide_short_help = true)]
    pub(crate) server_name: Option<String>,

    /// Longest time for one call
    #[arg(
        long,
        global = true,
        default_value = "1m",
        value_name = "DURATION",
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub(crate) timeout: String,
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
