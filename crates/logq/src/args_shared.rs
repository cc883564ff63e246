//! Whom to ask and how to print: the flags that every command takes.

use clap::{Args, ValueEnum};

use crate::args_connect::ConnectFlags;

/// Whom to ask and how to print.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct SharedFlags {
    /// Form of the output: default, raw (the line alone) or jsonl (one JSON object per line)
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Default, value_name = "FORM",
        hide_possible_values = true, hide_short_help = true)]
    pub(crate) output: Format,

    /// Run the query over standard input and ask no store; the selector may be left out, as in '|= "error"'
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) stdin: bool,

    /// Say nothing but what is found, and what goes wrong
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) quiet: bool,

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

    #[command(flatten)]
    pub(crate) connect: ConnectFlags,
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
