//! Whom to ask and how to print: the flags that every command takes.

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use crate::args_connect::ConnectFlags;
use crate::args_labels::LabelFlags;
use crate::time_form::{TimeForm, parse_zone};

/// Whom to ask and how to print.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct SharedFlags {
    /// Form of the output: default, raw (the line alone), jsonl (one JSON object per line) or csv
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Default, value_name = "FORM",
        hide_possible_values = true, hide_short_help = true)]
    pub(crate) output: Format,

    /// Run the query over standard input and ask no store; the selector may be left out, as in '|= "error"'
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) stdin: bool,

    /// Say nothing but what is found, and what goes wrong
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) labels: LabelFlags,

    /// Zone of printed times, and of those in flags that name none: Local, UTC or one such as Europe/Berlin
    #[arg(short = 'z', long, global = true, hide_short_help = true, value_name = "ZONE", default_value = "Local",
        hide_default_value = true, value_parser = parse_zone)]
    pub(crate) timezone: TimeZone,

    /// Short for --timezone UTC
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) utc: bool,

    /// Form of printed times: default, rfc3339, rfc3339nano, rfc822z, rfc1123z, stampmilli, stampmicro, stampnano or
    /// unixdate
    #[arg(long = "output-timestamp-format", alias = "time-format", global = true, value_enum, value_name = "FORM",
        default_value_t = TimeForm::Default, hide_possible_values = true, hide_default_value = true,
        hide_short_help = true)]
    pub(crate) time_form: TimeForm,

    /// Print lines of JSON over several lines
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) pretty: bool,

    /// Draw the samples of a metric query: bars at one point in time, columns over a range, with units
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) chart: bool,

    /// Tell on the error output what the store did for a query
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) stats: bool,

    /// When to use colours: auto (on a terminal and without NO_COLOR), always or never
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN",
        hide_possible_values = true, alias = "colour", hide_short_help = true)]
    pub(crate) color: Colour,

    /// Short for --color always
    #[arg(long, global = true, hide = true)]
    pub(crate) colored_output: bool,

    /// Write to the terminal itself, also what is more than a screen [default: to LOGQ_PAGER, PAGER or less]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_pager: bool,

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
    /// A table with a header, separated by commas
    Csv,
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
