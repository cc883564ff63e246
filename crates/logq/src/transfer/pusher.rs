//! Sends entries in batches, each until it is acknowledged.
//!
//! To a Logyard store as its agents do, under an id by which a batch sent again is known; to any other as Loki's clients
//! do, where equal entries are one. Which it is, the first answer tells. A batch that is not acknowledged is sent again,
//! the same to the byte, with growing pauses; after [`ATTEMPTS_MAX`] of them the transfer ends, to be gone on with.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use logyard_client::{Backoff, BackoffSettings, Client, Kind};
use logyard_codec::{BatchId, Entries, encode_batch};
use logyard_model::LabelSet;
use logyard_sys::Random;
use logyard_wire::loki_push_text;

use super::fnv::fnv128;
use super::lines::Carried;
use crate::run::Stop;

/// Raw bytes that make a batch: large enough that acknowledging costs little, small enough to wait for.
const BATCH_BYTES: usize = 4 << 20;
/// Entries that make a batch, whatever their size; few in tests, which want many batches.
const BATCH_ENTRIES: usize = if cfg!(test) { 500 } else { 50_000 };
/// Attempts before a transfer is given up: about five minutes of a store that is away.
const ATTEMPTS_MAX: u32 = 16;
/// Pauses between attempts.
const PAUSES: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(250), max: Duration::from_secs(30) };
/// Memory that an entry takes besides its line, roughly.
const ENTRY_BYTES: usize = 32;

/// What became of the entries so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Entries acknowledged, those the store had already among them.
    pub(crate) entries: u64,
    /// Bytes of their lines.
    pub(crate) bytes: u64,
    /// Entries that the store refused for good.
    pub(crate) refused: u64,
    /// The first refusal in words.
    pub(crate) refusal: String,
}

/// Which push the store understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Ours, until the store answers that it knows none.
    Native,
    /// That of any Loki.
    Loki,
}

/// Gathers entries and sends them.
pub(crate) struct Pusher {
    client: Client,
    way: Way,
    id: BatchId,
    backoff: Backoff,
    /// Whether a refused entry is counted and left behind; otherwise it ends the transfer.
    skips_refused: bool,
    chunks: Vec<(Arc<LabelSet>, Entries)>,
    index: HashMap<Arc<LabelSet>, usize>,
    entries: usize,
    line_bytes: usize,
    bytes: usize,
    pub(crate) sent: Sent,
}

impl Pusher {
    /// Starts; `job` is what is carried, in words: its batches have ids of one source, a life for each run.
    pub(crate) fn new(client: Client, job: &str, now_ns: i64, skips_refused: bool) -> Self {
        let source = fnv128(job.as_bytes()).to_be_bytes();
        let id = BatchId { source, epoch: u64::try_from(now_ns).unwrap_or_default(), sequence: 0 };
        Self {
            client,
            way: Way::Native,
            id,
            backoff: Backoff::new(PAUSES, Arc::new(Random::seeded(id.epoch))),
            skips_refused,
            chunks: Vec::new(),
            index: HashMap::new(),
            entries: 0,
            line_bytes: 0,
            bytes: 0,
            sent: Sent::default(),
        }
    }

    /// Adds an entry to the batch.
    pub(crate) fn add(&mut self, entry: &Carried) {
        let at = match self.index.get(&entry.labels) {
            Some(at) => *at,
            None => {
                self.index.insert(Arc::clone(&entry.labels), self.chunks.len());
                self.chunks.push((Arc::clone(&entry.labels), Entries::new()));
                self.chunks.len() - 1
            }
        };
        if let Some((_, entries)) = self.chunks.get_mut(at) {
            entries.push(entry.ts_ns, &entry.line, &entry.level, &entry.metadata);
        }
        self.entries += 1;
        self.line_bytes += entry.line.len();
        self.bytes += entry.line.len() + entry.metadata.text_bytes() + ENTRY_BYTES;
    }

    /// Returns whether the batch should be sent before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.entries >= BATCH_ENTRIES
    }

    /// Sends what was gathered and returns once it is acknowledged.
    ///
    /// Errors: the store refuses it, or some of its entries unless those are skipped, or does not answer for minutes.
    pub(crate) async fn flush(&mut self, err: &mut dyn Write) -> Result<(), Stop> {
        if self.entries == 0 {
            return Ok(());
        }
        let chunks: Vec<(&LabelSet, &Entries)> =
            self.chunks.iter().map(|(labels, entries)| (&**labels, entries)).collect();
        let native = encode_batch(&chunks);
        let native: bytes::Bytes = native.into();
        let mut text: Option<bytes::Bytes> = None;
        self.backoff.reset();
        loop {
            let answer = match self.way {
                Way::Native => self
                    .client
                    .push_native(&self.id, native.clone())
                    .await
                    .map(|answer| (answer.rejected, answer.message, answer.reasons)),
                Way::Loki => {
                    let body = text.get_or_insert_with(|| loki_push_text::encode(&chunks).into()).clone();
                    self.client.push_loki(body).await.map(|()| (0, String::new(), BTreeMap::new()))
                }
            };
            match answer {
                Ok((refused, message, reasons)) => {
                    self.acknowledged(refused, message, &reasons)?;
                    break;
                }
                Err(error)
                    if self.way == Way::Native && error.status() == Some(404) && !error.is_from_store() =>
                {
                    self.way = Way::Loki;
                }
                // Of a Loki, which stores the others and does not tell how many they are.
                Err(error)
                    if error.kind() == Kind::Invalid && self.way == Way::Loki && self.skips_refused =>
                {
                    self.acknowledged(1, error.to_string(), &BTreeMap::new())?;
                    break;
                }
                Err(error) if error.kind() == Kind::Invalid => return Err(error.into()),
                Err(error) => {
                    if self.backoff.attempts() + 1 >= ATTEMPTS_MAX {
                        return Err(Stop::Away(format!(
                            "{error}; given up after {ATTEMPTS_MAX} attempts: the same command goes on from here"
                        )));
                    }
                    if self.backoff.attempts() == 0 {
                        writeln!(err, "logq: {error}; trying again")?;
                    }
                    tokio::time::sleep(self.backoff.next_delay(error.retry_after())).await;
                }
            }
        }
        self.id.sequence += 1;
        self.chunks.clear();
        self.index.clear();
        (self.entries, self.line_bytes, self.bytes) = (0, 0, 0);
        Ok(())
    }

    fn acknowledged(
        &mut self,
        refused: u64,
        message: String,
        reasons: &BTreeMap<String, u64>,
    ) -> Result<(), Stop> {
        self.sent.entries += (self.entries as u64).saturating_sub(refused);
        self.sent.bytes += self.line_bytes as u64;
        if refused == 0 {
            return Ok(());
        }
        self.sent.refused += refused;
        if self.sent.refusal.is_empty() {
            let counts: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let counts = if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
            self.sent.refusal = format!("{}{counts}", message.trim());
        }
        if self.skips_refused {
            return Ok(());
        }
        Err(Stop::Trouble(format!(
            "the store refused {refused} entries: {}; change that and run the same command, or leave them behind with \
             --skip-refused",
            self.sent.refusal
        )))
    }
}

impl std::fmt::Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher").field("id", &self.id).field("entries", &self.entries).finish_non_exhaustive()
    }
}
