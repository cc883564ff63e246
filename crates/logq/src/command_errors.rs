//! `logq errors`: what goes wrong, one line for each kind of error.

use std::collections::HashMap;

use clap::Args;
use logyard_model::Direction;

use crate::args_shared::Format;
use crate::check::{Yields, check};
use crate::entry::Entry;
use crate::output_text::time_text;
use crate::pages::Pages;
use crate::people::counts::ERRORS;
use crate::people::name;
use crate::people::rows::write_rows;
use crate::people::shape::shape;
use crate::people::table::{Row, Side, write_table};
use crate::run::Stop;
use crate::session::{Session, refused};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq errors                              # of everything, the last hour
  logq errors web --since 24h              # of what has web in its name
  logq errors '{compose_project=\"shop\"}'   # of a selector

Errors are entries whose detected level is error, critical or fatal. Lines that differ in numbers and ids alone are
one kind; the most frequent comes first, with its last line.";

/// Entries asked for in one call: what a store hands out at most by default.
const PAGE_ENTRIES: usize = 5000;

/// Labels that name what wrote an entry; the first that it has is shown.
const NAMES: [&str; 4] = ["container", "service_name", "unit", "app"];

/// Recent errors, by kind.
#[derive(Debug, Args)]
pub(crate) struct Errors {
    /// Part of a name, or a selector [default: everything]
    #[arg(value_name = "NAME | SELECTOR")]
    whose: Option<String>,

    /// How many of the newest errors to look at
    #[arg(short = 'n', long, default_value_t = 2000, value_name = "COUNT")]
    limit: usize,
}

/// One kind of error.
struct Kind {
    count: usize,
    /// The label that names what wrote it; none has no name.
    label: Option<&'static str>,
    name: String,
    last: Entry,
}

impl Errors {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let Some(selector) = whose(self.whose.as_deref(), session).await? else { return Ok(false) };
        let query = format!("{selector} {ERRORS}");
        let (client, range) = (session.client()?, session.range()?);
        let mut pages = Pages::new(&query, range, Direction::Backward, self.limit.max(1), PAGE_ENTRIES);
        let (mut kinds, mut places) = (Vec::<Kind>::new(), HashMap::<(String, String), usize>::new());
        let mut seen = 0;
        while let Some(call) = pages.next() {
            let answer = client.query_range(&call).await.map_err(|error| refused(error, &query))?;
            for entry in pages.take(session.entries_of(answer, Direction::Backward)?) {
                seen += 1;
                let labels = entry.all_labels();
                let label = NAMES.into_iter().find(|name| labels.contains_key(name));
                let name = label.and_then(|label| labels.get(label)).copied().unwrap_or("-").to_owned();
                let place = *places.entry((name.clone(), shape(&entry.line))).or_insert(kinds.len());
                match kinds.get_mut(place) {
                    Some(kind) => kind.count += 1,
                    // The first that is met is the newest.
                    None => kinds.push(Kind { count: 1, label, name, last: entry }),
                }
            }
        }
        kinds.sort_by_key(|kind| (std::cmp::Reverse(kind.count), std::cmp::Reverse(kind.last.ts_ns)));
        print(&kinds, session)?;
        if seen >= self.limit {
            session
                .remark(format_args!("the newest {seen} errors alone are counted; --limit counts more"))?;
        }
        if let (Some(Kind { label: Some(label), name, .. }), Format::Default) =
            (kinds.first(), session.format)
        {
            let selector = name::selector_of(label, std::slice::from_ref(name));
            session.remark(format_args!("next: logq '{selector} {ERRORS}' shows them one by one"))?;
        }
        Ok(!kinds.is_empty())
    }
}

fn print(kinds: &[Kind], session: &mut Session<'_>) -> Result<(), Stop> {
    let zone = session.look.zone.clone();
    let plain: Vec<serde_json::Value> = kinds
        .iter()
        .map(|Kind { count, name, last, .. }| {
            let time = time_text(last.ts_ns, &zone);
            serde_json::json!({ "count": count, "name": name, "last": time, "line": last.line })
        })
        .collect();
    if kinds.is_empty() || write_rows(&plain, "line", session)? {
        return Ok(());
    }
    let rows: Vec<Row> = kinds
        .iter()
        .map(|Kind { count, name, last, .. }| {
            let cells =
                vec![count.to_string(), time_text(last.ts_ns, &zone), name.clone(), last.line.clone()];
            Row { cells, is_bad: false }
        })
        .collect();
    let head =
        [("COUNT", Side::Right), ("LAST", Side::Left), ("NAME", Side::Left), ("LAST LINE", Side::Left)];
    Ok(write_table(session.out, &head, &rows, &session.look)?)
}

/// Returns the selector that is meant: all, one that was given, or that of a name. None: nothing has such a name.
pub(crate) async fn whose(text: Option<&str>, session: &mut Session<'_>) -> Result<Option<String>, Stop> {
    match text {
        // What a store gives every stream that has anything to be named by.
        None => Ok(Some(r#"{service_name=~".+"}"#.to_owned())),
        Some(text) if name::is_name(text) => name::selector(text, session).await,
        // Read alone: with what is put behind it a fault would stand elsewhere.
        Some(text) => match check(text)? {
            Yields::Entries => Ok(Some(text.to_owned())),
            Yields::Samples => Err(Stop::Trouble(format!("cannot use {text:?}: want a name or a selector"))),
        },
    }
}
