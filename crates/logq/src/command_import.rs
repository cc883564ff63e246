//! `logq import`: files, or the history of another store, into the store; goes on where it was ended.

use std::sync::Arc;

use clap::Args;
use logyard_client::Client;
use logyard_model::{LabelSet, TimeRange};
use logyard_sys::{Disk, RealDisk};
use serde::{Deserialize, Serialize};

use crate::args_connect::ConnectFlags;
use crate::chart::units::count_text;
use crate::check::{Yields, check};
use crate::command_push::{label, label_set, tell_of_cuts};
use crate::connect::connect;
use crate::run::Stop;
use crate::session::Session;
use crate::transfer::history::{carried, fetch};
use crate::transfer::input::{BLOCK_BYTES, Head, Input};
use crate::transfer::lines::{Form, LineSettings, Lines, Taken};
use crate::transfer::meter::{Meter, Reading};
use crate::transfer::progress::{ProgressFile, state_folder};
use crate::transfer::pusher::Pusher;
use crate::transfer::stamps::Stamps;
use crate::transfer::time_in_line::TimeContext;
use crate::transfer::walk::Walk;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq import app.log --label app=shop                     # times are found in the lines
  logq import app.log.3.gz app.log.2.gz app.log.1 app.log --label app=shop
  logq import old.journal                                  # what journalctl -o export wrote
  logq import --history-of http://loki:3100 '{compose_project=\"shop\"}' --since 30d
  logq import archive.jsonl.zst                            # what logq export wrote

The same command goes on where it was ended, whatever ended it: nothing is lost, nothing comes twice.
The store refuses entries older than its limits.entry_age_max, 30 days by default: raise it first.";

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files, oldest first, also packed with gzip or zstd; with --history-of, a log query
    #[arg(value_name = "FILE | QUERY", required = true)]
    what: Vec<String>,

    /// Copy the entries of this store, a Loki or a Logyard
    #[arg(long, value_name = "URL")]
    history_of: Option<String>,

    /// Tenant there, sent as X-Scope-OrgID
    #[arg(long, value_name = "NAME", requires = "history_of")]
    history_org_id: Option<String>,

    /// File of the token that it asks for
    #[arg(long, value_name = "FILE", requires = "history_of")]
    history_token_file: Option<String>,

    /// Most entries it is asked for per call
    #[arg(long, default_value_t = 5000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Label of all entries, instead of one of the same name; may be given more than once
    /// [default for lines: filename=FILE]
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Form of the files
    #[arg(long, value_enum, default_value_t = Form::Auto, value_name = "FORM", conflicts_with = "history_of")]
    form: Form,

    /// Leave entries behind that the store refuses, and count them, instead of ending
    #[arg(long)]
    skip_refused: bool,

    /// File that says how far it got [default: one for each such import, below XDG_STATE_HOME]
    #[arg(long, value_name = "FILE")]
    state: Option<String>,

    /// Begin anew, whatever was reached before
    #[arg(long)]
    restart: bool,
}

/// How far an import of files got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FilesReached {
    /// Files that are done.
    files: usize,
    /// The next one, if it was begun.
    begun: Option<Begun>,
    entries: u64,
    refused: u64,
}

/// A file that was begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Begun {
    head: Head,
    taken: Taken,
}

/// How far an import of a store's history got.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HistoryReached {
    /// The range, settled at the first start: it must not move with the clock.
    start_ns: i64,
    end_ns: i64,
    /// Everything before it is there.
    reached_ns: i64,
    entries: u64,
    refused: u64,
}

impl Import {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let client = session.client()?;
        let labels = label_set(&self.labels);
        match &self.history_of {
            None => {
                let job = format!(
                    "import {} as {} {labels} to {}",
                    self.what.join(" "),
                    self.form_text(),
                    client.base()
                );
                self.files(&labels, &job, client, session).await
            }
            Some(address) => {
                let [query] = self.what.as_slice() else {
                    return Err(Stop::Trouble("with --history-of one query is wanted, in quotes".to_owned()));
                };
                if check(query)? == Yields::Samples {
                    return Err(Stop::Trouble("cannot import a metric query: want a log query".to_owned()));
                }
                let source = self.source(address, session)?;
                let tenant = self.history_org_id.as_deref().unwrap_or_default();
                let job =
                    format!("import {query} {tenant} of {} {labels} to {}", source.base(), client.base());
                self.history(query, &labels, &job, source, client, session).await
            }
        }
    }

    fn form_text(&self) -> String {
        format!("{:?}", self.form).to_lowercase()
    }

    /// Opens the file that says how far it got.
    fn progress<T: serde::de::DeserializeOwned>(
        &self,
        job: &str,
        session: &Session<'_>,
    ) -> Result<(ProgressFile, Option<T>), Stop> {
        let disk: Arc<dyn Disk> = RealDisk::shared();
        let folder = state_folder(session.env);
        if self.restart {
            let (file, _) = ProgressFile::open::<serde::de::IgnoredAny>(
                &disk,
                self.state.as_deref(),
                folder.clone(),
                job.to_owned(),
            )?;
            file.finish()?;
        }
        Ok(ProgressFile::open(&disk, self.state.as_deref(), folder, job.to_owned())?)
    }

    async fn files(
        &self,
        labels: &LabelSet,
        job: &str,
        client: Client,
        session: &mut Session<'_>,
    ) -> Result<bool, Stop> {
        let (progress, saved) = self.progress::<FilesReached>(job, session)?;
        if saved.is_some() {
            session.tell("going on where it was ended")?;
        }
        let mut reached = saved.unwrap_or_default();
        let mut pusher = Pusher::new(client, job, (session.now_ns)(), self.skip_refused);
        let mut meter = Meter::new(session.err_is_terminal, (session.now_ns)());
        let before = (reached.entries, reached.refused);
        for (index, path) in self.what.iter().enumerate().skip(reached.files) {
            let input = Input::open(&RealDisk, path)?;
            let begun = match &reached.begun {
                Some(begun) => {
                    input.check(&begun.head)?;
                    begun.clone()
                }
                None => {
                    let head = input.head()?;
                    let taken = Taken { units: 0, stamps: Stamps::new(head.modified_ns) };
                    Begun { head, taken }
                }
            };
            let mut lines = Lines::new(self.line_settings(path, labels, &begun.head, session), begun.taken);
            let mut reader = input.reader()?;
            let mut block = vec![0; BLOCK_BYTES];
            let mut read_bytes = 0;
            loop {
                let read = match reader.read(&mut block) {
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Stop::Trouble(format!("cannot read {path}: {error}"))),
                };
                let fed = match read {
                    0 => lines.finish(&mut |entry| pusher.add(&entry)),
                    _ => lines.feed(block.get(..read).unwrap_or_default(), &mut |entry| pusher.add(&entry)),
                };
                fed.map_err(|text| format!("cannot import {path}: {text}"))?;
                read_bytes += read as u64;
                if pusher.is_full() || read == 0 {
                    pusher.flush(session.err).await?;
                    (reached.entries, reached.refused) =
                        (before.0 + pusher.sent.entries, before.1 + pusher.sent.refused);
                    reached.begun = Some(Begun { head: begun.head, taken: lines.taken().clone() });
                    if read == 0 {
                        (reached.files, reached.begun) = (index + 1, None);
                    }
                    progress.save(&reached)?;
                }
                let share = read_bytes as f64 / input.bytes().max(1) as f64;
                let reading = Reading {
                    entries: pusher.sent.entries,
                    bytes: pusher.sent.bytes,
                    // Of a packed file more comes out than it has bytes.
                    share: (read_bytes <= input.bytes()).then_some(share),
                    place: format!("{path} ({} of {})", index + 1, self.what.len()),
                };
                meter.show(session.err, (session.now_ns)(), &reading)?;
                if read == 0 {
                    break;
                }
            }
            meter.clear(session.err)?;
            tell_of_cuts(&lines, path, session.err)?;
        }
        progress.finish()?;
        self.end(&meter, &pusher, (reached.entries, reached.refused), session)
    }

    fn line_settings(
        &self,
        path: &str,
        labels: &LabelSet,
        head: &Head,
        session: &Session<'_>,
    ) -> LineSettings {
        let labels = Arc::new(labels.clone());
        let plain_labels = match labels.is_empty() {
            true => Arc::new(LabelSet::from_pairs([("filename", path)])),
            false => Arc::clone(&labels),
        };
        let times = TimeContext { zone: session.look.zone.clone(), reference_ns: head.modified_ns };
        LineSettings { form: self.form, labels, plain_labels, times, finds_times: true }
    }

    /// Makes the client of the store whose history is copied.
    fn source(&self, address: &str, session: &Session<'_>) -> Result<Client, Stop> {
        let own = &session.shared.connect;
        // Login, token and certificate are for the store that is imported into; whom to trust holds for both.
        let is_tls = address.starts_with("https://");
        let flags = ConnectFlags {
            addr: Some(address.to_owned()),
            org_id: self.history_org_id.clone(),
            token_file: self.history_token_file.clone(),
            ca_file: own.ca_file.clone().filter(|_| is_tls),
            tls_skip_verify: own.tls_skip_verify && is_tls,
            timeout: own.timeout.clone(),
            ..ConnectFlags::default()
        };
        Ok(connect(&flags, &|_| None)?)
    }

    async fn history(
        &self,
        query: &str,
        labels: &LabelSet,
        job: &str,
        source: Client,
        client: Client,
        session: &mut Session<'_>,
    ) -> Result<bool, Stop> {
        let (progress, saved) = self.progress::<HistoryReached>(job, session)?;
        let mut reached = match saved {
            Some(saved) => {
                session.tell(format_args!(
                    "going on where it was ended, with {} entries there",
                    saved.entries
                ))?;
                saved
            }
            None => {
                let TimeRange { start_ns, end_ns } = session.range()?;
                HistoryReached { start_ns, end_ns, reached_ns: start_ns, entries: 0, refused: 0 }
            }
        };
        // Saved before anything is carried: an import that is ended at once goes on over the same range.
        progress.save(&reached)?;
        let mut pusher = Pusher::new(client, job, (session.now_ns)(), self.skip_refused);
        let mut meter = Meter::new(session.err_is_terminal, (session.now_ns)());
        let before = (reached.entries, reached.refused);
        let range = TimeRange { start_ns: reached.reached_ns, end_ns: reached.end_ns };
        let mut walk = Walk::new(query, range, usize::try_from(self.batch).unwrap_or(usize::MAX));
        while let Some(call) = walk.next() {
            let page = fetch(&source, &call, session.err).await?;
            let entries = walk.take(page);
            carried(entries, labels).iter().for_each(|entry| pusher.add(entry));
            if pusher.is_full() || walk.next().is_none() {
                pusher.flush(session.err).await?;
                (reached.entries, reached.refused) =
                    (before.0 + pusher.sent.entries, before.1 + pusher.sent.refused);
                reached.reached_ns = walk.reached_ns();
                progress.save(&reached)?;
            }
            let whole_ns = reached.end_ns.saturating_sub(reached.start_ns).max(1);
            let reading = Reading {
                entries: pusher.sent.entries,
                bytes: pusher.sent.bytes,
                share: Some(walk.reached_ns().saturating_sub(reached.start_ns) as f64 / whole_ns as f64),
                place: crate::output_text::time_text(walk.reached_ns(), &session.look.zone),
            };
            meter.show(session.err, (session.now_ns)(), &reading)?;
        }
        meter.clear(session.err)?;
        progress.finish()?;
        self.end(&meter, &pusher, (reached.entries, reached.refused), session)
    }

    /// Says what it came to and returns whether there was anything.
    fn end(
        &self,
        meter: &Meter,
        pusher: &Pusher,
        (entries, refused): (u64, u64),
        session: &mut Session<'_>,
    ) -> Result<bool, Stop> {
        let sent = &pusher.sent;
        let reading = Reading { entries: sent.entries, bytes: sent.bytes, ..Reading::default() };
        let run = meter.text((session.now_ns)(), &reading);
        session.tell(format_args!("imported {entries} entries; this time {run}"))?;
        if refused > 0 {
            session.tell(format_args!(
                "the store refused {} of them: {}",
                count_text(refused as f64),
                sent.refusal
            ))?;
        }
        Ok(entries > 0)
    }
}
