//! One who is told: what its settings come to, and the way there.

use crate::alert::AlertState;
use crate::notify_settings::{NotifySettings, TargetKind, TargetSettings};
use crate::notify_text::{Letter, Sender, letter};
use crate::quiet::Quiet;
use crate::target_email::Email;
use crate::untold::{Due, News, Place, Wishes};
use logyard_client::{Client, ClientSettings, Kind, Tls, TlsFiles, Token};
use logyard_model::{LabelSet, Tenant};
use logyard_sys::Disk;
use logyard_template::{Dialect, Template};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for one message.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Distance of repeats to an Alertmanager (Prometheus' resend delay), in ns.
const ALERTMANAGER_REPEAT_NS: i64 = 60 * 1_000_000_000;

/// Most alerts of one message to an Alertmanager.
const ALERTMANAGER_BATCH_MAX: usize = 64;

/// Most bytes of a file that holds an address, a token or a password.
const FILE_BYTES_MAX: u64 = 4096;

/// A message under way.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Whether the same would be refused again.
    pub(crate) is_final: bool,
    /// Whether it was read and answered, so that another message may be taken at once.
    pub(crate) is_answer: bool,
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

/// Who carries messages.
pub(crate) trait Carry: Send + Sync + fmt::Debug {
    fn send(&self, letter: Letter) -> Sending<'_>;
}

/// One who is told.
pub struct Target {
    pub(crate) settings: TargetSettings,
    topic: String,
    subject: Option<Template>,
    quiet: Option<Arc<Quiet>>,
    pub(crate) carrier: Arc<dyn Carry>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Alerts that are told at once.
#[derive(Debug)]
pub(crate) struct Message {
    /// Tells it from others, from one turn to the next.
    pub(crate) key: String,
    /// The labels that they share.
    pub(crate) group: Map<String, Value>,
    /// One at least.
    pub(crate) news: Vec<News>,
}

/// Carries messages over HTTP.
#[derive(Debug)]
struct Http {
    client: Client,
    path: String,
    headers: Vec<(&'static str, String)>,
}

impl Carry for Http {
    fn send(&self, letter: Letter) -> Sending<'_> {
        Box::pin(async move {
            self.client.notify(&self.path, &self.headers, letter.body).await.map_err(|error| Refusal {
                // An address or a token that is wrong today may be mended over there.
                is_final: error.kind() == Kind::Invalid && matches!(error.status(), Some(400 | 413 | 422)),
                is_answer: error.status().is_some() && error.kind() != Kind::Limited,
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
        if settings.kind == TargetKind::Email {
            let subject = Template::compile("subject", &settings.subject, Dialect::Rule)?;
            let carrier = Arc::new(Email::new(settings, &url, disk)?);
            return Ok(Self { subject: Some(subject), ..Self::through(settings, "", carrier) });
        }
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
                tls: tls(&settings.ca_file)?,
                user_agent: concat!("logyard/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        );
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self::through(settings, &topic, Arc::new(Http { client, path, headers })))
    }

    /// Makes a target that somebody carries messages to.
    pub(crate) fn through(settings: &TargetSettings, topic: &str, carrier: Arc<dyn Carry>) -> Self {
        // Settings have been checked.
        let quiet =
            Quiet::new(&settings.quiet, &settings.quiet_but_for).ok().filter(|_| !settings.quiet.is_empty());
        let quiet = quiet.map(Arc::new);
        Self { settings: settings.clone(), topic: topic.to_owned(), subject: None, quiet, carrier }
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
            lines: Arc::new(["a line that made it fire would stand here".to_owned()]),
            state: AlertState::Firing,
            value: 1.0,
            started_ns: now_ns,
            // An Alertmanager lets it go by itself.
            ended_ns: Some(now_ns.saturating_add(ALERTMANAGER_REPEAT_NS)),
            due: Due::Tell,
        };
        let group = group_of(&self.settings.group_by, &news);
        let sender = self.sender("", now_ns);
        self.carrier.send(letter(sender, &group, &[news])).await.map_err(|refusal| refusal.text)
    }

    pub(crate) fn sender<'a>(&'a self, external_url: &'a str, now_ns: i64) -> Sender<'a> {
        Sender {
            kind: self.settings.kind,
            target: &self.settings.name,
            topic: &self.topic,
            subject: self.subject.as_ref(),
            external_url,
            now_ns,
        }
    }

    pub(crate) fn wishes(&self) -> Wishes {
        let is_manager = self.settings.kind == TargetKind::Alertmanager;
        let repeat_ns = i64::try_from(Duration::from_secs(self.settings.repeat_secs).as_nanos());
        Wishes {
            target: self.settings.name.clone(),
            repeat_ns: if is_manager { ALERTMANAGER_REPEAT_NS } else { repeat_ns.unwrap_or(i64::MAX) },
            resolved: self.settings.send_resolved,
            quiet: self.quiet.clone(),
            repeat_resolved: is_manager,
        }
    }

    /// Puts alerts into messages: by the labels of `group_by`, or for an Alertmanager in batches.
    pub(crate) fn messages(&self, news: Vec<News>) -> Vec<Message> {
        if self.settings.kind == TargetKind::Alertmanager {
            let batches = news.chunks(ALERTMANAGER_BATCH_MAX);
            let message = |batch: &[News]| Message {
                key: batch.iter().map(|one| one.labels.to_string()).collect(),
                group: Map::new(),
                news: batch.to_vec(),
            };
            return batches.map(message).collect();
        }
        let mut groups: BTreeMap<String, Message> = BTreeMap::new();
        for one in news {
            let group = group_of(&self.settings.group_by, &one);
            let key = format!("{}\0{}", one.tenant, Value::Object(group.clone()));
            let message = groups.entry(key.clone()).or_insert(Message { key, group, news: Vec::new() });
            message.news.push(one);
        }
        groups.into_values().collect()
    }
}

fn group_of(by: &[String], one: &News) -> Map<String, Value> {
    let label = |name: &String| one.labels.get(name).map(|value| (name.clone(), Value::from(value)));
    by.iter().filter_map(label).collect()
}

/// Whom to trust, if not the authorities of the machine.
pub(crate) fn tls(ca_file: &str) -> Result<Option<Tls>, String> {
    if ca_file.is_empty() {
        return Ok(None);
    }
    let files = TlsFiles { ca_file: ca_file.to_owned(), ..TlsFiles::default() };
    Tls::read(&files).map(Some).map_err(|error| error.to_string())
}

pub(crate) fn read(key: &str, file: &str, disk: &dyn Disk) -> Result<String, String> {
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
pub(crate) fn hide(text: &str, path: &str) -> String {
    if path.len() > 1 { text.replace(path, "/…") } else { text.to_owned() }
}

/// Splits an address before its path.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
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
        TargetKind::Webhook | TargetKind::Discord | TargetKind::Slack | TargetKind::Email => {
            // As it was given: to some a slash at the end is another address, and redirects are not followed.
            (if given.is_empty() { "/" } else { given }.to_owned(), String::new())
        }
    })
}

#[cfg(test)]
mod tests;
