//! What may stand at a place: commands, flags, values; names and values of labels as the store has them.
//!
//! Whatever goes wrong with the store, there are fewer proposals and no more: a line that is being written is no place
//! for an error. Asking ends after [`ASKED_MAX`].

use std::time::Duration;

use clap::Arg;
use logyard_client::Client;
use logyard_logql::{Wanted, complete};
use logyard_model::TimeRange;

use super::place::Place;
use super::write::{Proposal, Proposals};
use crate::explorer::{Editor, Suggestions};
use crate::people::name::{LABELS, is_name};

/// How long the store may take: whoever presses a key waits. Tests wait longer, whatever else the machine does.
const ASKED_MAX: Duration = Duration::from_millis(if cfg!(test) { 4000 } else { 800 });

/// Most names of containers that are proposed at once.
const NAMES_MAX: usize = 100;

/// Most characters of what a proposal means.
const ABOUT_CHARS: usize = 70;

/// Spans that are often asked for.
const DURATIONS: [&str; 8] = ["5m", "15m", "30m", "1h", "6h", "24h", "7d", "30d"];

/// Instants that are often meant.
const TIMES: [&str; 8] = ["now", "today", "yesterday", "15m", "1h", "6h", "24h", "7d"];

/// Whom to ask, and over which range.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) range: TimeRange,
}

/// What a value is, by the name that the declaration gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Query,
    NameOrQuery,
    LabelName,
    LabelNames,
    LabelPair,
    File,
    FileOrQuery,
    Zone,
    OneOf(&'static [&'static str]),
    Declared,
}

/// Lists what may stand at a place; without a store, what is known without one.
pub(crate) async fn propose(place: &Place<'_>, store: Option<&Store>) -> Proposals {
    let mut proposals = Proposals::default();
    if place.takes_command {
        let commands = place.command.get_subcommands().filter(|command| !command.is_hide_set());
        for command in commands.filter(|command| command.get_name().starts_with(&place.begun)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            proposals.add(command.get_name(), &about, false);
        }
    }
    if place.takes_flag {
        for flag in place.command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(long) = flag.get_long().map(|long| format!("--{long}")) else { continue };
            if long.starts_with(&place.begun) {
                let about = flag.get_help().map(ToString::to_string).unwrap_or_default();
                proposals.add(&long, &about, false);
            }
        }
    }
    let Some(arg) = place.value_of else { return proposals };
    match kind(arg) {
        Kind::Query => query(place, store, &mut proposals).await,
        Kind::NameOrQuery if place.begun.is_empty() || is_name(&place.begun) => {
            for name in container_names(&place.begun, store).await {
                proposals.add(&name, "", false);
            }
        }
        Kind::NameOrQuery => query(place, store, &mut proposals).await,
        Kind::LabelName => {
            for name in label_names(store).await {
                proposals.begun(place, &name, false);
            }
        }
        Kind::LabelNames => {
            let (before, _) = place.begun.rsplit_once(',').map_or(("", ""), |(before, _)| (before, ","));
            let before = if before.is_empty() { String::new() } else { format!("{before},") };
            for name in label_names(store).await {
                proposals.begun(place, &format!("{before}{name}"), true);
            }
        }
        Kind::LabelPair => {
            for name in label_names(store).await {
                proposals.begun(place, &format!("{name}="), true);
            }
        }
        Kind::FileOrQuery if place.begun.starts_with('{') => query(place, store, &mut proposals).await,
        Kind::File | Kind::FileOrQuery => proposals.has_files = true,
        Kind::Zone => {
            let zones = jiff::tz::db().available().map(|zone| zone.to_string());
            for zone in ["Local".to_owned(), "UTC".to_owned()].into_iter().chain(zones) {
                proposals.begun(place, &zone, false);
            }
        }
        Kind::OneOf(values) => values.iter().for_each(|value| proposals.begun(place, value, false)),
        Kind::Declared => {
            for value in arg.get_possible_values() {
                let about = value.get_help().map(ToString::to_string).unwrap_or_default();
                if value.get_name().starts_with(&place.begun) {
                    proposals.add(&format!("{}{}", place.head, value.get_name()), &about, false);
                }
            }
        }
    }
    proposals
}

fn kind(arg: &Arg) -> Kind {
    let name = arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str()).unwrap_or_default();
    match name {
        "QUERY" | "SELECTOR" => Kind::Query,
        "QUERY | NAME" | "NAME | SELECTOR" => Kind::NameOrQuery,
        "LABEL" => Kind::LabelName,
        "LABELS" => Kind::LabelNames,
        "NAME=VALUE" => Kind::LabelPair,
        "FILE" | "PREFIX" => Kind::File,
        "FILE | QUERY" => Kind::FileOrQuery,
        "ZONE" => Kind::Zone,
        "DURATION" => Kind::OneOf(&DURATIONS),
        "TIME" => Kind::OneOf(&TIMES),
        _ => Kind::Declared,
    }
}

impl Proposals {
    fn add(&mut self, text: &str, about: &str, is_open: bool) {
        // The first words say it; defaults and the environment are for the help.
        let about = about.split([';', '[']).next().unwrap_or_default().trim_end();
        let about = about.lines().next().unwrap_or_default().chars().take(ABOUT_CHARS).collect();
        self.words.push(Proposal { text: text.to_owned(), about, is_open });
    }

    /// Adds a value if it begins as the word does.
    fn begun(&mut self, place: &Place<'_>, value: &str, is_open: bool) {
        if value.starts_with(&place.begun) {
            self.add(&format!("{}{value}", place.head), "", is_open);
        }
    }
}

/// Proposes how a query goes on.
async fn query(place: &Place<'_>, store: Option<&Store>, proposals: &mut Proposals) {
    // Nothing written yet: nearly all queries begin with a selector.
    let text = if place.begun.trim().is_empty() { "{" } else { &*place.begun };
    let completion = complete(text, text.len());
    let (mut names, mut values) = (Vec::new(), None);
    match &completion.wanted {
        Wanted::LabelName | Wanted::Stage => names = label_names(store).await,
        Wanted::LabelValue { name, .. } => values = Some((name.clone(), label_values(name, store).await)),
        Wanted::Function | Wanted::Nothing => {}
    }
    let before = text.get(..completion.replace.start).unwrap_or_default();
    // In a selector an operator follows a name; in a grouping nothing does.
    let is_matcher = completion.wanted == Wanted::LabelName
        && before
            .rfind(['{', '('])
            .is_some_and(|at| before.get(at..).is_some_and(|rest| rest.starts_with('{')));
    let editor = Editor::new(text);
    let known =
        |label: &str| values.as_ref().filter(|(name, _)| name == label).map(|(_, values)| &values[..]);
    let mut list = Suggestions::new(&editor, &names, known);
    for index in 0..list.proposals.len() {
        list.chosen = index;
        let mut written = editor.clone();
        // Those that hold the letters elsewhere are for lists, where one sees what is chosen.
        if list.accept(&mut written) && written.text().starts_with(text) {
            let operator = if is_matcher { "=" } else { "" };
            proposals.add(&format!("{}{}{operator}", place.head, written.text()), "", true);
        }
    }
}

async fn label_names(store: Option<&Store>) -> Vec<String> {
    let Some(Store { client, range }) = store else { return Vec::new() };
    within(async { client.labels(*range).await.ok() }).await
}

async fn label_values(name: &str, store: Option<&Store>) -> Vec<String> {
    let Some(Store { client, range }) = store else { return Vec::new() };
    within(async { client.label_values(name, *range).await.ok() }).await
}

/// Returns the names of containers, or of what else writes, that begin so.
async fn container_names(begun: &str, store: Option<&Store>) -> Vec<String> {
    let Some(Store { client, range }) = store else { return Vec::new() };
    let search = async {
        for label in LABELS {
            let values = client.label_values(label, *range).await.ok()?;
            let fits = |name: &String| name.starts_with(begun) && is_name(name);
            let names: Vec<String> = values.into_iter().filter(fits).take(NAMES_MAX).collect();
            if !names.is_empty() {
                return Some(names);
            }
        }
        None
    };
    within(search).await
}

/// Returns what is found in time.
async fn within(search: impl Future<Output = Option<Vec<String>>>) -> Vec<String> {
    tokio::time::timeout(ASKED_MAX, search).await.ok().flatten().unwrap_or_default()
}
