//! One run of the command: whom to ask, what to read, where to print. Every command is a function over it.

use std::fmt::Display;
use std::io::{Read, Write};

use jiff::tz::TimeZone;
use logyard_client::Client;
use logyard_model::{Direction, TimeRange};
use logyard_wire::loki_query::{QueryAnswer, QueryData};

use crate::args::Arguments;
use crate::args_range::RangeFlags;
use crate::args_shared::{Colour, Format, SharedFlags};
use crate::chart::draw::write_chart;
use crate::chart::unit::Unit;
use crate::check::explain;
use crate::connect::connect;
use crate::entry::{Entry, merge};
use crate::marks::Marks;
use crate::output_text::Look;
use crate::run::{Stop, Surroundings};
use crate::series::{Sample, flatten};
use crate::{output_csv, output_json, output_table};

/// Columns of a page where no terminal has any.
const COLUMNS: usize = 80;

/// How stores begin to say that a call asks for more entries than they return at once.
const TOO_MANY: &str = "max entries limit per query exceeded";

/// What a command has to work with.
pub(crate) struct Session<'a> {
    /// The time of day, nanoseconds since the Unix epoch.
    pub(crate) now_ns: &'a dyn Fn() -> i64,
    /// Standard input.
    pub(crate) input: &'a mut (dyn Read + Send),
    /// Where results go.
    pub(crate) out: &'a mut dyn Write,
    /// Where everything else goes.
    pub(crate) err: &'a mut dyn Write,
    /// Form of the output.
    pub(crate) format: Format,
    /// How text is printed.
    pub(crate) look: Look,
    /// The flags that every command takes.
    pub(crate) shared: SharedFlags,
    /// Looks up an environment variable.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a terminal reads the error output: only there progress is shown.
    pub(crate) err_is_terminal: bool,
    /// Whether the results may go to a pager.
    is_paged: bool,
    range: RangeFlags,
    client: Option<Client>,
}

impl<'a> Session<'a> {
    /// `is_paged` says whether the results may go to a pager.
    pub(crate) fn new(arguments: &Arguments, surroundings: Surroundings<'a>, is_paged: bool) -> Self {
        let Surroundings { now_ns, env, input, out, err, out_is_terminal, err_is_terminal } = surroundings;
        let shared = arguments.shared.clone();
        let no_color = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match shared.color {
            Colour::Always => true,
            Colour::Auto if shared.colored_output => true,
            Colour::Never => false,
            Colour::Auto => out_is_terminal && !no_color,
        };
        let zone = if shared.utc { TimeZone::UTC } else { shared.timezone.clone() };
        let (labels, time) = (shared.labels.clone(), shared.time_form);
        let (pretty, marks) = (shared.pretty, Marks::default());
        let look = Look { colour, terminal: out_is_terminal, zone, time, labels, pretty, marks };
        let (format, range) = (shared.output, arguments.range.clone());
        let client = None;
        Self { now_ns, input, out, err, format, look, shared, env, err_is_terminal, is_paged, range, client }
    }

    /// Returns the client, made at the first call; clones are one. Errors: flags or environment are at fault.
    pub(crate) fn client(&mut self) -> Result<Client, Stop> {
        if self.client.is_none() {
            self.client = Some(connect(&self.shared.connect, self.env)?);
        }
        self.client.clone().ok_or_else(|| Stop::Trouble("there is no client".to_owned()))
    }

    /// Returns the range that the flags name.
    pub(crate) fn range(&self) -> Result<TimeRange, Stop> {
        Ok(self.range.range((self.now_ns)(), &self.look.zone)?)
    }

    /// Returns the columns of the terminal, or those of a usual one where there is none.
    pub(crate) fn columns(&self) -> usize {
        let size = if self.look.terminal { crossterm::terminal::size().ok() } else { None };
        size.map_or(COLUMNS, |(columns, _)| usize::from(columns))
    }

    /// Returns whether the range ends now, so that it may move on with time.
    pub(crate) fn is_range_open(&self) -> bool {
        self.range.from.is_none() && self.range.to.is_none()
    }

    /// Tells something on the error output, behind the name of the program.
    pub(crate) fn tell(&mut self, text: impl Display) -> Result<(), Stop> {
        self.say(format_args!("logq: {text}"))
    }

    /// Tells something that is no trouble, unless the flags ask for quiet.
    pub(crate) fn remark(&mut self, text: impl Display) -> Result<(), Stop> {
        if self.shared.quiet { Ok(()) } else { self.say(text) }
    }

    /// Writes a line beside the results: on the error output, or among them where both are on one terminal and a pager may
    /// come between, which would cover it or come before it.
    pub(crate) fn say(&mut self, text: impl Display) -> Result<(), Stop> {
        match self.is_paged && self.err_is_terminal {
            true => Ok(writeln!(self.out, "{text}")?),
            false => Ok(writeln!(self.err, "{text}")?),
        }
    }

    /// Prints names one a line and returns whether there are any.
    pub(crate) fn names(&mut self, names: &[String]) -> Result<bool, Stop> {
        for name in names {
            match self.format {
                Format::Jsonl => output_json::write_line(self.out, name)?,
                Format::Default | Format::Raw => writeln!(self.out, "{name}")?,
                Format::Csv => output_csv::write_row(self.out, &[name])?,
            }
        }
        Ok(!names.is_empty())
    }

    /// Passes the warnings of an answer on.
    pub(crate) fn warn(&mut self, warnings: &[String]) -> Result<(), Stop> {
        warnings.iter().try_for_each(|warning| self.tell(format_args!("warning: {warning}")))
    }

    /// Takes the entries out of an answer and passes its warnings on.
    pub(crate) fn entries_of(
        &mut self,
        answer: QueryAnswer,
        direction: Direction,
    ) -> Result<Vec<Entry>, Stop> {
        self.warn(&answer.warnings)?;
        match answer.data {
            QueryData::Streams(streams) => Ok(merge(streams, direction)),
            _ => Err(Stop::Trouble(
                "the store answered a log query with samples; check the address".to_owned(),
            )),
        }
    }

    /// As [`Session::samples`], or draws them if that is asked for, in the unit that the query tells.
    pub(crate) fn samples_of(&mut self, query: &str, answer: QueryAnswer) -> Result<bool, Stop> {
        if !self.shared.chart || self.format != Format::Default {
            return self.samples(answer);
        }
        self.warn(&answer.warnings)?;
        let samples = flatten(answer.data);
        write_chart(self.out, &samples, Unit::of(query), &self.look)?;
        Ok(!samples.is_empty())
    }

    /// Prints the samples of an answer and returns whether there are any.
    pub(crate) fn samples(&mut self, answer: QueryAnswer) -> Result<bool, Stop> {
        self.warn(&answer.warnings)?;
        self.print_samples(&flatten(answer.data))
    }

    /// Prints samples and returns whether there are any.
    pub(crate) fn print_samples(&mut self, samples: &[Sample]) -> Result<bool, Stop> {
        match self.format {
            Format::Default => output_table::write_samples(self.out, samples, &self.look)?,
            Format::Csv => output_csv::write_samples(self.out, samples, &self.look)?,
            Format::Raw => {
                for sample in samples {
                    writeln!(self.out, "{}", sample.value_text())?;
                }
            }
            Format::Jsonl => {
                for sample in samples {
                    output_json::write_sample(self.out, sample)?;
                }
            }
        }
        Ok(!samples.is_empty())
    }
}

/// Shows where a query is at fault, if the store says so.
pub(crate) fn refused(error: logyard_client::Error, query: &str) -> Stop {
    match Stop::from(error) {
        Stop::Trouble(text) if text.starts_with(TOO_MANY) => Stop::Trouble(format!(
            "{}; --batch asks for fewer at a time, and where one timestamp holds more, the store must return more at once: \
             raise engine.entries_max there, or max_entries_limit_per_query of a Loki",
            text.trim_end()
        )),
        Stop::Trouble(text) => Stop::Trouble(explain(&text, query)),
        other => other,
    }
}
