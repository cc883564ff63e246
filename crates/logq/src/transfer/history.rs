//! Entries of a store on their way to somewhere else: asked for page by page, each page until it comes.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use logyard_client::{Backoff, BackoffSettings, Client, Kind, RangeQuery};
use logyard_model::{Direction, LabelSet};
use logyard_sys::Random;
use logyard_wire::loki_query::{Labels, QueryData};

use super::lines::{Carried, DETECTED_LEVEL, NO_LEVEL};
use crate::entry::{Entry, merge};
use crate::run::Stop;
use crate::session::refused;

/// Attempts before a transfer is given up: some minutes of a store that is away.
const ATTEMPTS_MAX: u32 = 16;
/// Pauses between attempts.
const PAUSES: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(250), max: Duration::from_secs(30) };

/// Makes a call until it is answered, and returns its entries, oldest first.
///
/// Errors: the store refuses the query, or does not answer for minutes.
pub(crate) async fn fetch(
    client: &Client,
    call: &RangeQuery,
    err: &mut dyn Write,
) -> Result<Vec<Entry>, Stop> {
    let seed = u64::try_from(call.range.start_ns).unwrap_or_default();
    let mut backoff = Backoff::new(PAUSES, Arc::new(Random::seeded(seed)));
    loop {
        let error = match client.query_range(call).await {
            Ok(answer) => {
                for warning in &answer.warnings {
                    writeln!(err, "logq: warning: {warning}")?;
                }
                return match answer.data {
                    QueryData::Streams(streams) => Ok(merge(streams, Direction::Forward)),
                    _ => Err(Stop::Trouble(format!(
                        "{} answered a log query with samples; check the address",
                        client.base()
                    ))),
                };
            }
            Err(error) => error,
        };
        if error.kind() == Kind::Invalid {
            return Err(refused(error, &call.query));
        }
        if backoff.attempts() + 1 >= ATTEMPTS_MAX {
            return Err(Stop::Away(format!(
                "{error}; given up after {ATTEMPTS_MAX} attempts: the same command goes on from here"
            )));
        }
        if backoff.attempts() == 0 {
            writeln!(err, "logq: {error}; trying again")?;
        }
        tokio::time::sleep(backoff.next_delay(error.retry_after())).await;
    }
}

/// Makes entries of a store's answer ready for another store: with the labels of their stream, and those given, which
/// win, and their structured metadata. Labels that a query's pipeline made are left out.
pub(crate) fn carried(entries: Vec<Entry>, given: &LabelSet) -> Vec<Carried> {
    // By address: the streams of a page are shared and live until its end.
    let mut label_sets: HashMap<*const Labels, Arc<LabelSet>> = HashMap::new();
    for entry in &entries {
        label_sets.entry(Arc::as_ptr(&entry.stream)).or_insert_with(|| {
            let mut labels = LabelSet::from_pairs(pairs(&entry.stream));
            given.iter().for_each(|(name, value)| labels.insert(name, value));
            Arc::new(labels)
        });
    }
    let made = entries.iter().map(|entry| {
        let level = entry.metadata.get(DETECTED_LEVEL).filter(|level| *level != NO_LEVEL);
        let metadata = pairs(&entry.metadata).filter(|(name, _)| *name != DETECTED_LEVEL);
        Carried {
            ts_ns: entry.ts_ns,
            labels: label_sets.get(&Arc::as_ptr(&entry.stream)).cloned().unwrap_or_default(),
            level: level.cloned().unwrap_or_default(),
            metadata: LabelSet::from_pairs(metadata),
            line: entry.line.clone().into_bytes(),
        }
    });
    made.collect()
}

fn pairs(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(name, value)| (&**name, &**value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_what_they_were_stored_with() {
        let mut entry = Entry::sample(5, "x");
        entry.metadata.insert("trace_id".to_owned(), "7".to_owned());
        entry.metadata.insert(DETECTED_LEVEL.to_owned(), "warn".to_owned());
        entry.parsed.insert("status".to_owned(), "500".to_owned());
        let mut unknown = Entry::sample(6, "y");
        unknown.metadata.insert(DETECTED_LEVEL.to_owned(), NO_LEVEL.to_owned());
        let given = LabelSet::from_pairs([("cluster", "old")]);
        let made = carried(vec![entry, unknown], &given);
        let shown: Vec<String> = made
            .iter()
            .map(|entry| {
                format!("{} {} {}{} {:?}", entry.ts_ns, entry.labels, entry.level, entry.metadata, entry.line)
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"5 {cluster="old", container="web"} warn{trace_id="7"} [120]"#,
                r#"6 {cluster="old", container="web"} {} [121]"#,
            ]
        );
    }
}
