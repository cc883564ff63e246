//! What the command does once its arguments are read.

use std::io::{Read as _, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use logyard_client::{
    Client, ClientSettings, InstantQuery, Kind, RangeQuery, TailQuery, Tailing, Tls, TlsFiles, Token,
};
use logyard_logql::INPUT_BYTES_MAX;
use logyard_model::{Direction, Tenants, TimeRange};
use logyard_wire::loki_query::{Labels, QueryAnswer, QueryData};

use crate::args::{Arguments, Colour, Command, Format, SharedFlags};
use crate::check::{Yields, check, explain};
use crate::entry::{Entry, merge};
use crate::output_text::{self, Look};
use crate::pages::Pages;
use crate::run::Stop;
use crate::series::flatten;
use crate::tail::Tail;
use crate::time_text::{parse_duration_ns, parse_time_ns, round_step_ns};
use crate::{output_json, output_plan, output_table};

/// Address asked when none is given.
const ADDRESS: &str = "http://127.0.0.1:3100";

/// Entries that `tail` asks for in one call: what a store hands out at most by default.
const PAGE_ENTRIES: usize = 5000;

/// Entries that an explained log query asks for: as many as the query itself would.
const EXPLAINED_ENTRIES: usize = 100;

/// Pause of `tail` before it opens a new connection, or polls where there is none.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Pause of `tail` while the store does not answer.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

/// One run of the command: whom to ask and how to print.
pub(crate) struct Session<'a> {
    client: Client,
    now_ns: &'a dyn Fn() -> i64,
    out: &'a mut dyn Write,
    format: Format,
    all_labels: bool,
    look: Look,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        arguments: &Arguments,
        now_ns: &'a dyn Fn() -> i64,
        env: &dyn Fn(&str) -> Option<String>,
        out: &'a mut dyn Write,
        out_is_terminal: bool,
    ) -> Result<Self, String> {
        let shared = &arguments.shared;
        let client = connect(shared, env)?;
        let no_color = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match shared.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => out_is_terminal && !no_color,
        };
        let zone = if shared.utc { TimeZone::UTC } else { TimeZone::system() };
        let look = Look { colour, terminal: out_is_terminal, zone };
        Ok(Self { client, now_ns, out, format: shared.output, all_labels: shared.all_labels, look })
    }

    /// Does what the arguments say and returns whether anything was found.
    pub(crate) async fn run(&mut self, arguments: &Arguments, err: &mut dyn Write) -> Result<bool, Stop> {
        let found = self.dispatch(arguments, err).await?;
        self.out.flush()?;
        Ok(found)
    }

    async fn dispatch(&mut self, arguments: &Arguments, err: &mut dyn Write) -> Result<bool, Stop> {
        let range = self.range(arguments)?;
        match &arguments.command {
            None => {
                let query = arguments.query.as_deref().unwrap_or_default();
                match check(query)? {
                    Yields::Entries => self.entries(query, range, arguments, err).await,
                    Yields::Samples => self.samples(query, range, arguments, err).await,
                }
            }
            Some(Command::Labels { name: None }) => {
                let names = self.client.labels(range).await?;
                self.names(&names)
            }
            Some(Command::Labels { name: Some(name) }) => {
                let values = self.client.label_values(name, range).await?;
                self.names(&values)
            }
            Some(Command::Series { selectors }) => self.series(selectors, range).await,
            Some(Command::Tail { query, lines }) => self.tail(query, *lines, range, err).await,
            Some(Command::Explain { query, analyze }) => self.explain(query, *analyze, range).await,
            Some(Command::Fmt { query }) => self.format(query),
            Some(Command::Instant { query, at }) => self.instant(query, at.as_deref(), err).await,
        }
    }

    /// Prints a query in its usual form. Errors: as a query that is asked, with a caret under the fault.
    fn format(&mut self, query: &str) -> Result<bool, Stop> {
        let mut read = String::new();
        let query = if query == "-" {
            // One byte more than a query may have, so that a longer text is refused as such.
            let bounded = std::io::stdin().take(INPUT_BYTES_MAX as u64 + 1);
            std::io::BufReader::new(bounded)
                .read_to_string(&mut read)
                .map_err(|error| format!("cannot read the query from standard input: {error}"))?;
            read.trim_end_matches('\n')
        } else {
            query
        };
        check(query)?;
        let expr = logyard_logql::parse(query).map_err(|error| error.to_string())?;
        writeln!(self.out, "{}", logyard_logql::pretty(&expr))?;
        Ok(true)
    }

    fn range(&self, arguments: &Arguments) -> Result<TimeRange, String> {
        let now_ns = (self.now_ns)();
        let flags = &arguments.range;
        let read = |text: &String| parse_time_ns(text, now_ns, &self.look.zone);
        let end_ns = flags.to.as_ref().map_or(Ok(now_ns), read)?;
        let since_ns = parse_duration_ns(&flags.since)?;
        let start_ns = flags.from.as_ref().map_or(Ok(end_ns.min(now_ns).saturating_sub(since_ns)), read)?;
        if start_ns > end_ns {
            return Err("cannot use --from and --to: the first lies after the second".to_owned());
        }
        Ok(TimeRange { start_ns, end_ns })
    }

    async fn entries(
        &mut self,
        query: &str,
        range: TimeRange,
        arguments: &Arguments,
        err: &mut dyn Write,
    ) -> Result<bool, Stop> {
        let direction = if arguments.forward { Direction::Forward } else { Direction::Backward };
        let batch = usize::try_from(arguments.batch).unwrap_or(usize::MAX);
        let mut pages = Pages::new(query, range, direction, arguments.limit, batch);
        let mut printer = Printer::new(self.all_labels);
        while let Some(call) = pages.next() {
            let answer = self.client.query_range(&call).await.map_err(|error| refused(error, query))?;
            let entries = pages.take(entries_of(answer, direction, err)?)?;
            printer.print(self, &entries, err)?;
        }
        Ok(printer.printed > 0)
    }

    async fn samples(
        &mut self,
        query: &str,
        range: TimeRange,
        arguments: &Arguments,
        err: &mut dyn Write,
    ) -> Result<bool, Stop> {
        let step_ns = match &arguments.step {
            Some(text) => parse_duration_ns(text)?,
            None => round_step_ns(range.end_ns.saturating_sub(range.start_ns)),
        };
        let step = Duration::from_nanos(u64::try_from(step_ns).unwrap_or_default());
        if step.is_zero() {
            return Err(Stop::Trouble(
                "cannot use --step: it is zero; want a duration such as 1m".to_owned(),
            ));
        }
        let call = RangeQuery {
            query: query.to_owned(),
            range,
            limit: arguments.limit.clamp(1, 5000),
            direction: Direction::Backward,
            step: Some(step),
        };
        let answer = self.client.query_range(&call).await.map_err(|error| refused(error, query))?;
        self.table(answer, err)
    }

    async fn explain(&mut self, query: &str, analyze: bool, range: TimeRange) -> Result<bool, Stop> {
        check(query)?;
        let step_ns = round_step_ns(range.end_ns.saturating_sub(range.start_ns));
        let call = RangeQuery {
            query: query.to_owned(),
            range,
            limit: EXPLAINED_ENTRIES,
            direction: Direction::Backward,
            step: Some(Duration::from_nanos(u64::try_from(step_ns).unwrap_or_default())),
        };
        let plan = self.client.explain(&call, analyze).await.map_err(|error| refused(error, query))?;
        let Some(plan) = plan else {
            let text =
                format!("{} does not explain queries: it is no Logyard, or an old one", self.client.base());
            return Err(Stop::Trouble(text));
        };
        match self.format {
            Format::Jsonl => output_json::write_line(self.out, &plan)?,
            Format::Default | Format::Raw => {
                output_plan::write_plan(self.out, &plan, self.look.terminal)?;
            }
        }
        Ok(true)
    }

    async fn instant(&mut self, query: &str, at: Option<&str>, err: &mut dyn Write) -> Result<bool, Stop> {
        if check(query)? == Yields::Entries {
            let text = "cannot evaluate a log query at one point in time: leave out `instant`, or count its \
                        entries as in count_over_time(…[5m])";
            return Err(Stop::Trouble(text.to_owned()));
        }
        let now_ns = (self.now_ns)();
        let time_ns = at.map_or(Ok(now_ns), |text| parse_time_ns(text, now_ns, &self.look.zone))?;
        let call = InstantQuery { query: query.to_owned(), time_ns };
        let answer = self.client.query(&call).await.map_err(|error| refused(error, query))?;
        self.table(answer, err)
    }

    fn table(&mut self, answer: QueryAnswer, err: &mut dyn Write) -> Result<bool, Stop> {
        warn(&answer.warnings, err)?;
        let samples = flatten(answer.data);
        match self.format {
            Format::Default => output_table::write_samples(self.out, &samples, &self.look)?,
            Format::Raw => {
                for sample in &samples {
                    writeln!(self.out, "{}", sample.value_text())?;
                }
            }
            Format::Jsonl => {
                for sample in &samples {
                    output_json::write_sample(self.out, sample)?;
                }
            }
        }
        Ok(!samples.is_empty())
    }

    fn names(&mut self, names: &[String]) -> Result<bool, Stop> {
        for name in names {
            match self.format {
                Format::Jsonl => output_json::write_line(self.out, name)?,
                Format::Default | Format::Raw => writeln!(self.out, "{name}")?,
            }
        }
        Ok(!names.is_empty())
    }

    async fn series(&mut self, selectors: &[String], range: TimeRange) -> Result<bool, Stop> {
        let mut series = self.client.series(selectors, range).await?;
        series.sort();
        for labels in &series {
            match self.format {
                Format::Jsonl => output_json::write_line(self.out, labels)?,
                Format::Default | Format::Raw => {
                    let view = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                    writeln!(self.out, "{}", output_text::labels_text(&view))?;
                }
            }
        }
        Ok(!series.is_empty())
    }

    /// Follows a query until the reader goes away or the process is ended from outside.
    async fn tail(
        &mut self,
        query: &str,
        lines: u32,
        range: TimeRange,
        err: &mut dyn Write,
    ) -> Result<bool, Stop> {
        if check(query)? == Yields::Samples {
            return Err(Stop::Trouble("cannot follow a metric query: want a log query".to_owned()));
        }
        let first = match usize::try_from(lines).unwrap_or(usize::MAX) {
            0 => Vec::new(),
            limit => self.newest(query, range, limit, err).await?,
        };
        let mut printer = Printer::new(self.all_labels);
        printer.print(self, &first, err)?;
        let mut tail = Tail::new(&first, (self.now_ns)());
        let (mut away, mut is_live) = (false, true);
        loop {
            self.out.flush()?;
            // Opened before the rest is read, so that nothing falls between.
            let mut tailing = None;
            if is_live {
                let live = TailQuery { query: query.to_owned(), start_ns: (self.now_ns)(), limit: 1 };
                match self.client.tail(&live).await {
                    Ok(opened) => tailing = Some(opened),
                    // A store or a proxy without websockets; or the query, which reading tells as well.
                    Err(error) => is_live = error.kind() != Kind::Invalid,
                }
            }
            let poll = tail.range((self.now_ns)());
            match self.read(query, poll, Direction::Forward, 0, err).await {
                Ok(read) => {
                    away = false;
                    printer.print(self, &tail.take(read, (self.now_ns)()), err)?;
                }
                Err(Stop::Away(text)) => {
                    if !away {
                        writeln!(err, "logq: {text}; trying again")?;
                    }
                    away = true;
                    // A certificate may have ended meanwhile; why another cannot be used, the next attempt says.
                    drop(self.client.renew_certificates());
                }
                Err(stop) => return Err(stop),
            }
            if let Some(tailing) = tailing.filter(|_| !away)
                && let Err(reason) = self.live(tailing, &mut tail, &mut printer, err).await?
            {
                writeln!(err, "logq: {reason}; asking every {} ms instead", POLL_PAUSE.as_millis())?;
                is_live = false;
            }
            tokio::time::sleep(if away { AWAY_PAUSE } else { POLL_PAUSE }).await;
        }
    }

    /// Prints what arrives until the connection ends, or returns why the store ended it.
    async fn live(
        &mut self,
        mut tailing: Tailing,
        tail: &mut Tail,
        printer: &mut Printer,
        err: &mut dyn Write,
    ) -> Result<Result<(), logyard_client::Error>, Stop> {
        loop {
            self.out.flush()?;
            let frame = match tailing.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            if !frame.dropped_entries.is_empty() {
                let count = frame.dropped_entries.len();
                writeln!(
                    err,
                    "logq: too slow: the store left out {count} entries or more; a query finds them"
                )?;
            }
            let entries = merge(frame.streams, Direction::Forward);
            printer.print(self, &tail.arrived(entries, (self.now_ns)()), err)?;
        }
    }

    /// Returns the newest entries of a range, oldest first.
    async fn newest(
        &self,
        query: &str,
        range: TimeRange,
        limit: usize,
        err: &mut dyn Write,
    ) -> Result<Vec<Entry>, Stop> {
        let mut entries = self.read(query, range, Direction::Backward, limit, err).await?;
        entries.reverse();
        Ok(entries)
    }

    /// Reads the entries of a range, page by page; a `limit` of 0 means all.
    async fn read(
        &self,
        query: &str,
        range: TimeRange,
        direction: Direction,
        limit: usize,
        err: &mut dyn Write,
    ) -> Result<Vec<Entry>, Stop> {
        let mut pages = Pages::new(query, range, direction, limit, PAGE_ENTRIES);
        let mut all = Vec::new();
        while let Some(call) = pages.next() {
            let answer = self.client.query_range(&call).await.map_err(|error| refused(error, query))?;
            all.extend(pages.take(entries_of(answer, direction, err)?)?);
        }
        Ok(all)
    }
}

/// Prints entries page by page.
struct Printer {
    /// Labels left out of each line; unknown before the first page.
    common: Option<Labels>,
    printed: usize,
}

impl Printer {
    fn new(all_labels: bool) -> Self {
        Self { common: all_labels.then(Labels::new), printed: 0 }
    }

    fn print(
        &mut self,
        session: &mut Session<'_>,
        entries: &[Entry],
        err: &mut dyn Write,
    ) -> Result<(), Stop> {
        if entries.is_empty() {
            return Ok(());
        }
        let common = self.common.get_or_insert_with(|| output_text::common_labels(entries));
        if self.printed == 0 && session.format == Format::Default && !common.is_empty() {
            let view = common.iter().map(|(name, value)| (&**name, &**value)).collect();
            writeln!(err, "common labels: {}", output_text::labels_text(&view))?;
        }
        for entry in entries {
            match session.format {
                Format::Default => output_text::write_entry(session.out, entry, common, &session.look)?,
                Format::Raw => writeln!(session.out, "{}", entry.line)?,
                Format::Jsonl => output_json::write_entry(session.out, entry)?,
            }
        }
        self.printed += entries.len();
        Ok(())
    }
}

/// Makes the client from the flags or, where they are absent, from the environment.
fn connect(shared: &SharedFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<Client, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let addr = shared.addr.clone().or_else(|| set("LOGQ_ADDR")).or_else(|| set("LOKI_ADDR"));
    let org_id = shared.org_id.clone().or_else(|| set("LOGQ_ORG_ID")).or_else(|| set("LOKI_ORG_ID"));
    let org_id = org_id.map(|names| Tenants::parse(&names)).transpose().map_err(|error| error.to_string())?;
    let timeout_ns = parse_duration_ns(&shared.timeout)?;
    let either = |flag: &Option<String>, names: [&str; 2]| {
        flag.clone().filter(|value| !value.is_empty()).or_else(|| names.into_iter().find_map(set))
    };
    let token = token(shared.token_file.as_deref(), &set)?;
    let files = TlsFiles {
        ca_file: either(&shared.ca_file, ["LOGQ_CA_FILE", "LOKI_CA_CERT_PATH"]).unwrap_or_default(),
        cert_file: either(&shared.cert_file, ["LOGQ_CERT_FILE", "LOKI_CLIENT_CERT_PATH"]).unwrap_or_default(),
        key_file: either(&shared.key_file, ["LOGQ_KEY_FILE", "LOKI_CLIENT_KEY_PATH"]).unwrap_or_default(),
        server_name: shared.server_name.clone().unwrap_or_default(),
    };
    let tls = match files == TlsFiles::default() {
        true => None,
        false => Some(Tls::read(&files).map_err(|error| error.to_string())?),
    };
    let settings = ClientSettings {
        token,
        tls,
        timeout: Duration::from_nanos(u64::try_from(timeout_ns).unwrap_or_default()),
        org_id,
        user_agent: concat!("logq/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Client::new(addr.as_deref().unwrap_or(ADDRESS), settings).map_err(|error| error.to_string())
}

/// Finds the token: a file named by a flag, else the environment, which may hold it or name a file.
fn token(flag: Option<&str>, set: &dyn Fn(&str) -> Option<String>) -> Result<Option<Token>, String> {
    let read = |path: &str| Token::read(path).map(Some).map_err(|error| error.to_string());
    if let Some(path) = flag {
        return read(path);
    }
    if let Some(token) = set("LOGQ_TOKEN").or_else(|| set("LOKI_BEARER_TOKEN")) {
        return Ok(Token::new(&token));
    }
    match set("LOGQ_TOKEN_FILE").or_else(|| set("LOKI_BEARER_TOKEN_FILE")) {
        Some(path) => read(&path),
        None => Ok(None),
    }
}

/// Shows where a query is at fault, if the store says so.
fn refused(error: logyard_client::Error, query: &str) -> Stop {
    match Stop::from(error) {
        Stop::Trouble(text) => Stop::Trouble(explain(&text, query)),
        other => other,
    }
}

/// Takes the entries out of an answer and passes its warnings on.
fn entries_of(answer: QueryAnswer, direction: Direction, err: &mut dyn Write) -> Result<Vec<Entry>, Stop> {
    warn(&answer.warnings, err)?;
    match answer.data {
        QueryData::Streams(streams) => Ok(merge(streams, direction)),
        _ => Err(Stop::Trouble("the store answered a log query with samples; check the address".to_owned())),
    }
}

fn warn(warnings: &[String], err: &mut dyn Write) -> Result<(), Stop> {
    for warning in warnings {
        writeln!(err, "logq: warning: {warning}")?;
    }
    Ok(())
}
