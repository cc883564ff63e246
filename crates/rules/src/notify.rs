//! Telling targets of alerts: one task for each, which tries again until it is told.
//!
//! A turn reads off the states what the target does not know ([`untold`](crate::untold)), puts it into messages by
//! `group_by`, sends them, and takes down what was told. So a message may come twice only if the process dies between
//! the answer and the disk. After a failure it waits, longer each time; what a target refuses for good is told to the log
//! after some attempts, and left.

use crate::alert::AlertState;
use crate::notify_settings::{NotifySettings, TargetKind, TargetSettings};
use crate::notify_text::{Sender, body};
use crate::ruler::{NEWS_MAX, Ruler};
use crate::untold::{Due, News, Place, Wishes};
use logyard_client::{Backoff, BackoffSettings, Client, ClientSettings, Kind, Token};
use logyard_model::{LabelSet, Tenant};
use logyard_sys::{Disk, Random};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest time for one message.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Pauses after failures: an hour's outage costs five minutes at most.
const PAUSES: BackoffSettings =
    BackoffSettings { min: Duration::from_secs(2), max: Duration::from_secs(300) };

/// Longest wait between two looks, for what is to be repeated.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Distance of repeats to an Alertmanager (Prometheus' resend delay), in ns.
const ALERTMANAGER_REPEAT_NS: i64 = 60 * 1_000_000_000;

/// Most alerts of one message to an Alertmanager.
const ALERTMANAGER_BATCH_MAX: usize = 64;

/// Attempts after which a message that is refused as such is left.
const REFUSED_MAX: u32 = 5;

/// Most bytes of a file that holds an address or a token.
const FILE_BYTES_MAX: u64 = 4096;

/// A message under way.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Whether the same would be refused again.
    pub(crate) is_final: bool,
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

/// Who carries messages.
pub(crate) trait Carry: Send + Sync + fmt::Debug {
    fn send(&self, json: String) -> Sending<'_>;
}

/// One who is told.
pub struct Target {
    settings: TargetSettings,
    topic: String,
    carrier: Arc<dyn Carry>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Carries messages over HTTP.
#[derive(Debug)]
struct Http {
    client: Client,
    path: String,
    headers: Vec<(&'static str, String)>,
}

impl Carry for Http {
    fn send(&self, json: String) -> Sending<'_> {
        Box::pin(async move {
            self.client.notify(&self.path, &self.headers, json).await.map_err(|error| Refusal {
                // An address or a token that is wrong today may be mended over there.
                is_final: error.kind() == Kind::Invalid && matches!(error.status(), Some(400 | 413 | 422)),
                text: hide(&error.to_string(), &self.path),
                retry_after: error.retry_after(),
            })
        })
    }
}

impl Target {
    /// Makes targets of settings; addresses and tokens are read from their files. Connects to nobody yet.
    ///
    /// Errors: the key and the file, never what it holds.
    pub fn all(settings: &NotifySettings, disk: &dyn Disk) -> Result<Vec<Self>, String> {
        settings.check()?;
        let target = |(number, target): (usize, &TargetSettings)| {
            Self::one(target, disk).map_err(|why| format!("notify.targets.{number}: {why}"))
        };
        settings.targets.iter().enumerate().map(target).collect()
    }

    fn one(settings: &TargetSettings, disk: &dyn Disk) -> Result<Self, String> {
        let url = match settings.url_file.as_str() {
            "" => settings.url.clone(),
            file => read("url_file", file, disk)?,
        };
        let (base, path) = split(&url).ok_or("the address is none; want http://host or https://host/path")?;
        let token = match settings.token_file.as_str() {
            "" => None,
            file => Some(read("token_file", file, disk)?),
        };
        let (mut headers, mut bearer) = (Vec::new(), None);
        match (settings.kind, token) {
            (TargetKind::Gotify, Some(token)) => headers.push(("x-gotify-key", token)),
            (_, Some(token)) => bearer = Token::new(&token),
            (_, None) => {}
        }
        let (path, topic) = path_of(settings.kind, path)?;
        let client = Client::new(
            base,
            ClientSettings {
                timeout: TIMEOUT,
                org_id: None,
                token: bearer,
                tls: None,
                user_agent: concat!("logyard/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        );
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self { settings: settings.clone(), topic, carrier: Arc::new(Http { client, path, headers }) })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Sends an alert that says that it is a test. Errors: what the target, or the way there, says.
    pub async fn test(&self, now_ns: i64) -> Result<(), String> {
        let news = News {
            place: Place { namespace: String::new(), group: String::new(), rule: 0, active_at_ns: now_ns },
            tenant: Tenant::single(),
            labels: Arc::new(LabelSet::from_pairs([("alertname", "LogyardTest"), ("severity", "info")])),
            annotations: Arc::new(LabelSet::from_pairs([(
                "summary",
                "a test by logyard notify test: alerts reach you here",
            )])),
            state: AlertState::Firing,
            value: 1.0,
            started_ns: now_ns,
            // An Alertmanager lets it go by itself.
            ended_ns: Some(now_ns.saturating_add(ALERTMANAGER_REPEAT_NS)),
            due: Due::Tell,
        };
        let group = group_of(&self.settings.group_by, &news);
        let sender = self.sender("", now_ns);
        self.carrier.send(body(sender, &group, &[news])).await.map_err(|refusal| refusal.text)
    }

    fn sender<'a>(&'a self, external_url: &'a str, now_ns: i64) -> Sender<'a> {
        Sender {
            kind: self.settings.kind,
            target: &self.settings.name,
            topic: &self.topic,
            external_url,
            now_ns,
        }
    }

    fn wishes(&self) -> Wishes {
        let is_manager = self.settings.kind == TargetKind::Alertmanager;
        let repeat_ns = i64::try_from(Duration::from_secs(self.settings.repeat_secs).as_nanos());
        Wishes {
            target: self.settings.name.clone(),
            repeat_ns: if is_manager { ALERTMANAGER_REPEAT_NS } else { repeat_ns.unwrap_or(i64::MAX) },
            resolved: self.settings.send_resolved,
            repeat_resolved: is_manager,
        }
    }

    /// Puts alerts into messages: by the labels of `group_by`, or for an Alertmanager in batches.
    fn messages(&self, news: Vec<News>) -> Vec<(Map<String, Value>, Vec<News>)> {
        if self.settings.kind == TargetKind::Alertmanager {
            let batches = news.chunks(ALERTMANAGER_BATCH_MAX);
            return batches.map(|batch| (Map::new(), batch.to_vec())).collect();
        }
        let mut groups: BTreeMap<String, (Map<String, Value>, Vec<News>)> = BTreeMap::new();
        for one in news {
            let group = group_of(&self.settings.group_by, &one);
            let key = format!("{}\0{}", one.tenant, Value::Object(group.clone()));
            groups.entry(key).or_insert_with(|| (group, Vec::new())).1.push(one);
        }
        groups.into_values().collect()
    }
}

fn group_of(by: &[String], one: &News) -> Map<String, Value> {
    let label = |name: &String| one.labels.get(name).map(|value| (name.clone(), Value::from(value)));
    by.iter().filter_map(label).collect()
}

fn read(key: &str, file: &str, disk: &dyn Disk) -> Result<String, String> {
    let path = Path::new(file);
    let cannot = |why: &dyn fmt::Display| format!("{key}: cannot read {file}: {why}");
    let meta = disk.metadata(path).map_err(|error| cannot(&error))?.ok_or_else(|| cannot(&"no such file"))?;
    if meta.bytes > FILE_BYTES_MAX {
        return Err(cannot(&format_args!("{} bytes are too many", meta.bytes)));
    }
    let bytes = disk.read(path).map_err(|error| cannot(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| cannot(&"no UTF-8"))?.trim();
    if text.is_empty() { Err(cannot(&"it is empty")) } else { Ok(text.to_owned()) }
}

/// Leaves a path, which may be a secret, out of a text: pages of errors often repeat it.
fn hide(text: &str, path: &str) -> String {
    if path.len() > 1 { text.replace(path, "/…") } else { text.to_owned() }
}

/// Splits an address before its path.
fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let at = scheme.len() + "://".len() + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.split_at_checked(at)
}

/// Returns the path to send to, and the topic of ntfy.
fn path_of(kind: TargetKind, path: &str) -> Result<(String, String), String> {
    let given = path;
    let path = path.trim_end_matches('/');
    Ok(match kind {
        TargetKind::Alertmanager => (format!("{path}/api/v2/alerts"), String::new()),
        TargetKind::Gotify => (format!("{path}/message"), String::new()),
        TargetKind::Ntfy => match path.rsplit_once('/') {
            Some((before, topic)) if !topic.is_empty() => (format!("{before}/"), topic.to_owned()),
            _ => return Err("no topic; want https://ntfy.sh/my-topic".to_owned()),
        },
        TargetKind::Webhook | TargetKind::Discord | TargetKind::Slack => {
            // As it was given: to some a slash at the end is another address, and redirects are not followed.
            (if given.is_empty() { "/" } else { given }.to_owned(), String::new())
        }
    })
}

/// Tells targets what they do not know yet.
#[derive(Debug)]
pub struct Notifier {
    ruler: Ruler,
    targets: Vec<Target>,
    random: Arc<Random>,
    sent: Family<[(&'static str, String); 2], Counter>,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    /// There was nothing, or all of it was told.
    Done,
    /// All of it was told, and there is more.
    More,
    /// Somebody is to wait.
    Failed(Refusal),
}

impl Notifier {
    /// Puts a notifier together. Registers `logyard_rules_notifications`.
    pub fn new(ruler: Ruler, targets: Vec<Target>, random: Arc<Random>, registry: &mut Registry) -> Self {
        let sent = Family::default();
        registry.sub_registry_with_prefix("logyard_rules").register(
            "notifications",
            "Messages to targets by result: sent, failed (tried again) or refused (left)",
            sent.clone(),
        );
        Self { ruler, targets, random, sent }
    }

    /// Tells all targets until `stop` is ready; a message under way is let go of then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let this = Arc::new(self);
        let mut running = JoinSet::new();
        for number in 0..this.targets.len() {
            let this = Arc::clone(&this);
            running.spawn(async move { this.run_target(number).await });
        }
        stop.await;
        running.shutdown().await;
    }

    async fn run_target(&self, number: usize) {
        let Some(target) = self.targets.get(number) else { return };
        let mut backoff = Backoff::new(PAUSES, Arc::clone(&self.random));
        let mut moves = self.ruler.moves();
        loop {
            match self.turn(target, backoff.attempts()).await {
                Turn::More => backoff.reset(),
                Turn::Done => {
                    if backoff.attempts() > 0 {
                        tracing::info!(target = target.name(), "is told of alerts again");
                    }
                    backoff.reset();
                    // A closed channel, or a change, or the time: all mean to look.
                    drop(tokio::time::timeout(LOOK_EVERY, moves.changed()).await);
                }
                Turn::Failed(refusal) => {
                    if backoff.attempts() == 0 {
                        tracing::warn!(
                            target = target.name(),
                            error = refusal.text,
                            "cannot tell of alerts; trying again until it works"
                        );
                    }
                    tokio::time::sleep(backoff.next_delay(refusal.retry_after)).await;
                }
            }
        }
    }

    /// Tells a target everything it does not know, after `failures` in a row.
    async fn turn(&self, target: &Target, failures: u32) -> Turn {
        let mut news = self.ruler.news(&target.wishes());
        let has_more = news.len() >= NEWS_MAX;
        let skipped: Vec<News> = news.extract_if(.., |one| one.due == Due::Skip).collect();
        if !skipped.is_empty() {
            self.ruler.told(target.name(), &skipped).await;
        }
        for (group, news) in target.messages(news) {
            let json = body(target.sender(self.ruler.external_url(), self.ruler.now_ns()), &group, &news);
            let result = match target.carrier.send(json).await {
                Ok(()) => "sent",
                Err(refusal) if refusal.is_final && failures >= REFUSED_MAX => {
                    tracing::error!(
                        target = target.name(),
                        alerts = news.len(),
                        error = refusal.text,
                        "a message about alerts is refused again and again, and left"
                    );
                    "refused"
                }
                Err(refusal) => {
                    self.count(target, "failed");
                    return Turn::Failed(refusal);
                }
            };
            self.ruler.told(target.name(), &news).await;
            self.count(target, result);
        }
        if has_more { Turn::More } else { Turn::Done }
    }

    fn count(&self, target: &Target, result: &'static str) {
        let labels = [("target", target.name().to_owned()), ("result", result.to_owned())];
        self.sent.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests;
