//! Series of recording rules, sent by Prometheus' remote write.
//!
//! Each target has a queue in memory, bounded; when it is full the oldest samples go, and are counted. A target that does not
//! answer, or answers 429 or 5xx, is tried again, longer pauses between; what it refuses with another 4xx is dropped and
//! counted. Samples that no target took when the process ends are lost: what they tell can be asked of the logs.

use crate::record_settings::RemoteWriteSettings;
use crate::ruler::Ruler;
use crate::target::{hide, read, split, tls};
use crate::tasks::{PAUSES, keep};
use logyard_client::{Backoff, Client, ClientSettings, Kind, Token};
use logyard_model::LabelSet;
use logyard_sys::{Disk, Random};
use logyard_wire::remote_write::{WriteSample, encode};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most samples of one request, as Prometheus has it.
const BATCH_SAMPLES_MAX: usize = 2000;

/// A sample on its way.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) value: f64,
    pub(crate) ts_ms: i64,
}

/// Samples that wait for one target, in order.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    came: Notify,
    samples_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    samples: VecDeque<Recorded>,
    /// Number of the first of them, counted from the start.
    first: u64,
    /// Samples that were dropped and are not counted yet.
    dropped: u64,
}

impl Queue {
    pub(crate) fn new(settings: &RemoteWriteSettings) -> Self {
        Self { waiting: Mutex::default(), came: Notify::new(), samples_max: settings.samples_max.max(1) }
    }

    /// Adds samples; where there is no room, the oldest go.
    pub(crate) fn push(&self, samples: &[Recorded]) {
        let mut waiting = self.waiting.lock();
        waiting.samples.extend(samples.iter().cloned());
        let over = waiting.samples.len().saturating_sub(self.samples_max);
        waiting.samples.drain(..over);
        waiting.first += over as u64;
        waiting.dropped += over as u64;
        drop(waiting);
        self.came.notify_one();
    }

    /// Returns the oldest samples, and the number of the one behind them.
    fn batch(&self) -> (Vec<Recorded>, u64) {
        let waiting = self.waiting.lock();
        let batch: Vec<Recorded> = waiting.samples.iter().take(BATCH_SAMPLES_MAX).cloned().collect();
        let end = waiting.first + batch.len() as u64;
        (batch, end)
    }

    /// Lets go of samples before a number. Returns how many are left.
    fn done(&self, end: u64) -> usize {
        let mut waiting = self.waiting.lock();
        // Some may have been dropped meanwhile.
        while waiting.first < end && waiting.samples.pop_front().is_some() {
            waiting.first += 1;
        }
        waiting.samples.len()
    }
}

/// One who takes samples.
#[derive(Debug)]
struct End {
    name: String,
    client: Client,
    path: String,
    queue: Arc<Queue>,
}

/// Sends the series of recording rules.
#[derive(Debug)]
pub struct Recorder(Arc<Sending>);

#[derive(Debug)]
struct Sending {
    ends: Vec<End>,
    random: Arc<Random>,
    samples: Family<[(&'static str, String); 2], Counter>,
    waiting: Family<[(&'static str, String); 1], Gauge>,
}

impl Recorder {
    /// Puts a recorder together for the targets of a ruler's settings; addresses and tokens are read from their files.
    /// Connects to nobody yet. Registers `logyard_rules_recorded_samples` and `logyard_rules_recorded_samples_waiting`.
    ///
    /// Errors: the key and the file, never what it holds.
    pub fn new(
        ruler: &Ruler,
        disk: &dyn Disk,
        random: Arc<Random>,
        registry: &mut Registry,
    ) -> Result<Self, String> {
        let end = |(number, (settings, queue)): (usize, (&RemoteWriteSettings, &Arc<Queue>))| {
            End::new(settings, Arc::clone(queue), disk)
                .map_err(|why| format!("rules.remote_write.{number}: {why}"))
        };
        let ends = ruler.remote_write().enumerate().map(end).collect::<Result<_, _>>()?;
        let (samples, waiting) = (Family::default(), Family::default());
        let registry = registry.sub_registry_with_prefix("logyard_rules");
        registry.register(
            "recorded_samples",
            "Samples of recording rules by target and result: sent, refused or dropped (the queue was full)",
            samples.clone(),
        );
        registry.register(
            "recorded_samples_waiting",
            "Samples of recording rules that wait for a target",
            waiting.clone(),
        );
        Ok(Self(Arc::new(Sending { ends, random, samples, waiting })))
    }

    /// Sends until `stop` is ready; a request under way is let go of then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let names: Vec<&str> = self.0.ends.iter().map(|end| end.name.as_str()).collect();
        keep(&names, &self.0.random, |number, pause| Arc::clone(&self.0).run_end(number, pause), stop).await;
    }
}

impl End {
    fn new(settings: &RemoteWriteSettings, queue: Arc<Queue>, disk: &dyn Disk) -> Result<Self, String> {
        let url = match settings.url_file.as_str() {
            "" => settings.url.clone(),
            file => read("url_file", file, disk)?,
        };
        let (base, path) =
            split(&url).ok_or("the address is none; want http://host/path or https://host/path")?;
        let token = match settings.token_file.as_str() {
            "" => None,
            file => Token::new(&read("token_file", file, disk)?),
        };
        let client = Client::new(
            base,
            ClientSettings {
                timeout: TIMEOUT,
                org_id: None,
                token,
                tls: tls(&settings.ca_file)?,
                user_agent: concat!("logyard/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        );
        let client = client.map_err(|error| error.to_string())?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { name: settings.name.clone(), client, path, queue })
    }
}

impl Sending {
    async fn run_end(self: Arc<Self>, number: usize, pause: Duration) {
        tokio::time::sleep(pause).await;
        let Some(end) = self.ends.get(number) else { return };
        let mut backoff = Backoff::new(PAUSES, Arc::clone(&self.random));
        let mut refused_before = false;
        loop {
            let (batch, batch_end) = end.queue.batch();
            self.count_dropped(end);
            if batch.is_empty() {
                end.queue.came.notified().await;
                continue;
            }
            let samples = batch.iter().map(|one| WriteSample {
                labels: &one.labels,
                value: one.value,
                ts_ms: one.ts_ms,
            });
            let body = match encode(samples) {
                Ok(body) => body,
                Err(error) => {
                    tracing::error!(target = end.name, %error, "samples of recording rules cannot be written");
                    self.finish(end, batch_end, ("refused", batch.len()));
                    continue;
                }
            };
            match end.client.write_samples(&end.path, body).await {
                Ok(()) => {
                    if backoff.attempts() > 0 {
                        tracing::info!(target = end.name, "takes samples of recording rules again");
                    }
                    backoff.reset();
                    refused_before = false;
                    self.finish(end, batch_end, ("sent", batch.len()));
                }
                Err(error) if error.kind() == Kind::Invalid && matches!(error.status(), Some(400..500)) => {
                    // Told once in a row: there may be one at each evaluation.
                    if !refused_before {
                        let error = hide(&error.to_string(), &end.path);
                        tracing::error!(
                            target = end.name,
                            error,
                            "samples of recording rules are refused, and dropped"
                        );
                    }
                    refused_before = true;
                    backoff.reset();
                    self.finish(end, batch_end, ("refused", batch.len()));
                }
                Err(error) => {
                    if backoff.attempts() == 0 {
                        let error = hide(&error.to_string(), &end.path);
                        tracing::warn!(
                            target = end.name,
                            error,
                            "cannot send samples of recording rules; trying again until it works"
                        );
                    }
                    tokio::time::sleep(backoff.next_delay(error.retry_after())).await;
                }
            }
        }
    }

    fn finish(&self, end: &End, batch_end: u64, (result, samples): (&str, usize)) {
        let left = end.queue.done(batch_end);
        self.count(end, result, samples as u64);
        let waiting = self.waiting.get_or_create(&[("target", end.name.clone())]);
        waiting.set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    fn count_dropped(&self, end: &End) {
        let (dropped, left) = {
            let mut waiting = end.queue.waiting.lock();
            (std::mem::take(&mut waiting.dropped), waiting.samples.len())
        };
        if dropped > 0 {
            tracing::error!(
                target = end.name,
                dropped,
                "samples of recording rules were dropped: their target takes them too slowly, or not at all; \
                 raise samples_max, or mend it"
            );
            self.count(end, "dropped", dropped);
        }
        let waiting = self.waiting.get_or_create(&[("target", end.name.clone())]);
        waiting.set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    fn count(&self, end: &End, result: &str, samples: u64) {
        let labels = [("target", end.name.clone()), ("result", result.to_owned())];
        self.samples.get_or_create(&labels).inc_by(samples);
    }
}

#[cfg(test)]
mod tests;
