//! What targets are sent, in the form of each kind, bounded in size.

use crate::alert::AlertState;
use crate::notify_settings::TargetKind;
use crate::untold::News;
use logyard_model::LabelSet;
use logyard_template::{Entry, Fields, Template, Value as TemplateValue};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::rc::Rc;

/// Most alerts that one message for people shows; the others are counted.
const SHOWN_MAX: usize = 10;

/// Longest text of a message, in characters: Discord takes 2,000, ntfy 4,096 bytes.
const TEXT_CHARS_MAX: usize = 1800;

/// Longest text of a message to Discord with its title, in characters; the mark of what was cut comes besides.
const DISCORD_CHARS_MAX: usize = 1999;

/// Longest text of one alert in a message of many.
const ALERT_CHARS_MAX: usize = 600;

/// Longest subject of e-mail, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// Time after which an Alertmanager that hears nothing more takes an alert for resolved: four turns.
const ALERTMANAGER_KEPT_NS: i64 = 4 * 60 * 1_000_000_000;

/// What all messages share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) kind: TargetKind,
    /// Name of the target.
    pub(crate) target: &'a str,
    /// The topic of ntfy.
    pub(crate) topic: &'a str,
    /// The subject of e-mail.
    pub(crate) subject: Option<&'a Template>,
    /// Where people reach this server; empty if unknown.
    pub(crate) external_url: &'a str,
    pub(crate) now_ns: i64,
}

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// One line, for those that have such a thing.
    pub(crate) subject: String,
    /// JSON, or of e-mail the text.
    pub(crate) body: String,
}

/// Writes the message about alerts of one group. There is at least one.
pub(crate) fn letter(sender: Sender<'_>, group: &Map<String, Value>, news: &[News]) -> Letter {
    let (title, text) = (title(news), text(news));
    let value = match sender.kind {
        TargetKind::Email => {
            let subject = sender.subject.map(|subject| expanded(subject, &title, group, news));
            let link = match sender.external_url {
                "" => String::new(),
                url => format!("\n\n{url}"),
            };
            return Letter { subject: subject.unwrap_or(title), body: format!("{text}{link}\n") };
        }
        TargetKind::Alertmanager => {
            Value::Array(news.iter().map(|one| for_alertmanager(sender, one)).collect())
        }
        TargetKind::Webhook => webhook(sender, group, news, &title, &text),
        TargetKind::Ntfy => json!({
            "topic": sender.topic, "title": title, "message": text,
            "priority": if is_urgent(news) { 5 } else if is_firing(news) { 4 } else { 3 },
            "tags": [if is_firing(news) { "rotating_light" } else { "white_check_mark" }],
        }),
        // Nobody is called by a name that stands in a log line.
        TargetKind::Discord => json!({
            "username": "Logyard", "content": cut(&format!("**{title}**\n{text}"), DISCORD_CHARS_MAX),
            "allowed_mentions": {"parse": []},
        }),
        TargetKind::Slack => json!({ "text": slack(&format!("*{title}*\n{text}")) }),
        TargetKind::Gotify => json!({
            "title": title, "message": text,
            "priority": if is_urgent(news) { 9 } else if is_firing(news) { 7 } else { 4 },
        }),
    };
    Letter { subject: title, body: value.to_string() }
}

/// What the template of a subject reads.
struct Facts<'a> {
    title: &'a str,
    labels: LabelSet,
    firing: usize,
    resolved: usize,
}

impl Fields for Facts<'_> {
    fn field(&self, name: &str) -> TemplateValue {
        let count = |count: usize| TemplateValue::int(i64::try_from(count).unwrap_or(i64::MAX));
        match name {
            "Title" => TemplateValue::text(self.title),
            "Status" => TemplateValue::text(if self.firing > 0 { "firing" } else { "resolved" }),
            "Firing" => count(self.firing),
            "Resolved" => count(self.resolved),
            "Labels" => TemplateValue::Labels(Rc::new(self.labels.clone())),
            _ => TemplateValue::Nil,
        }
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        (name == "Title").then_some(self.title.as_bytes())
    }

    fn all(&self) -> TemplateValue {
        TemplateValue::Nil
    }
}

/// The subject of e-mail: one line; the title where the template fails.
fn expanded(subject: &Template, title: &str, group: &Map<String, Value>, news: &[News]) -> String {
    let firing = news.iter().filter(|one| one.state == AlertState::Firing).count();
    let pairs = group.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let facts = Facts { title, labels: LabelSet::from_pairs(pairs), firing, resolved: news.len() - firing };
    let text = match subject.run(Entry { line: &[], ts_ns: 0, now_ns: 0 }, &facts) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace(char::is_control, " "),
        Err(_) => title.to_owned(),
    };
    cut(text.trim(), SUBJECT_CHARS_MAX)
}

fn is_firing(news: &[News]) -> bool {
    news.iter().any(|one| one.state == AlertState::Firing)
}

fn is_urgent(news: &[News]) -> bool {
    let urgent = |one: &News| matches!(one.labels.get("severity"), Some("critical" | "page" | "emergency"));
    news.iter().any(|one| one.state == AlertState::Firing && urgent(one))
}

/// As in `[FIRING:2] ErrorsSeen`.
fn title(news: &[News]) -> String {
    let firing = news.iter().filter(|one| one.state == AlertState::Firing).count();
    let mark = match (firing, news.len() - firing) {
        (0, 1) => "RESOLVED".to_owned(),
        (0, resolved) => format!("RESOLVED:{resolved}"),
        (1, 0) => "FIRING".to_owned(),
        (firing, 0) => format!("FIRING:{firing}"),
        (firing, resolved) => format!("FIRING:{firing} RESOLVED:{resolved}"),
    };
    let mut names: Vec<&str> =
        news.iter().map(|one| one.labels.get("alertname").unwrap_or_default()).collect();
    names.dedup();
    let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
    cut(&format!("[{mark}] {}{more}", names.first().unwrap_or(&"")), 200)
}

/// A paragraph for each alert.
fn text(news: &[News]) -> String {
    let mut out = String::new();
    for (number, one) in news.iter().take(SHOWN_MAX).enumerate() {
        let chars_max = ALERT_CHARS_MAX.max(TEXT_CHARS_MAX / news.len().max(1));
        let paragraph = paragraph(one, chars_max);
        if number > 0 && out.chars().count() + paragraph.chars().count() > TEXT_CHARS_MAX {
            return out + &format!("\n\n… and {} more", news.len() - number);
        }
        if number > 0 {
            out.push_str("\n\n");
        }
        out.push_str(&paragraph);
    }
    if news.len() > SHOWN_MAX {
        // Writing to a text cannot fail.
        write!(out, "\n\n… and {} more", news.len() - SHOWN_MAX).unwrap_or_default();
    }
    out
}

/// What a rule says of an alert, its labels, and the lines that made it fire, as far as there is room: the last ones first.
fn paragraph(one: &News, chars_max: usize) -> String {
    let mut lines = Vec::new();
    let of_rule = ["summary", "title"].into_iter().find_map(|name| one.annotations.get(name));
    lines.push(of_rule.map_or_else(|| one.labels.to_string(), str::to_owned));
    let more = one.annotations.iter().filter(|(name, _)| !["summary", "title", "runbook_url"].contains(name));
    lines.extend(more.map(|(_, text)| text.to_owned()));
    if of_rule.is_some() {
        lines.push(one.labels.to_string());
    }
    if one.state == AlertState::Resolved {
        lines.push("no longer".to_owned());
        return cut(&lines.join("\n"), chars_max);
    }
    let mut text = cut(&lines.join("\n"), chars_max);
    let mut room = chars_max.saturating_sub(text.chars().count());
    let fits = |line: &&String| {
        let chars = line.chars().count() + "\n> ".len();
        let fits = chars <= room;
        room = room.saturating_sub(chars);
        fits
    };
    let shown = one.lines.iter().rev().take_while(fits).count();
    for line in one.lines.iter().skip(one.lines.len() - shown) {
        text.push_str("\n> ");
        text.push_str(line);
    }
    text
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

/// The three characters that Slack's markup wants escaped.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn members(labels: &LabelSet) -> Value {
    Value::Object(labels.iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect())
}

fn for_alertmanager(sender: Sender<'_>, one: &News) -> Value {
    let ends_ns = one.ended_ns.unwrap_or_else(|| sender.now_ns.saturating_add(ALERTMANAGER_KEPT_NS));
    let mut value = json!({
        "labels": with_tenant(one),
        "annotations": with_lines(one),
        "startsAt": rfc3339(one.started_ns),
        "endsAt": rfc3339(ends_ns),
    });
    if let (false, Some(object)) = (sender.external_url.is_empty(), value.as_object_mut()) {
        object.insert("generatorURL".to_owned(), Value::from(sender.external_url));
    }
    value
}

/// Annotations of an alert, with its lines unless the rule has something else by that name.
fn with_lines(one: &News) -> Value {
    let mut annotations = LabelSet::clone(&one.annotations);
    if !one.lines.is_empty() && annotations.get("lines").is_none() {
        annotations.insert("lines", one.lines.join("\n"));
    }
    members(&annotations)
}

/// Alerts of two tenants must not be one to whoever tells them apart by their labels.
fn with_tenant(one: &News) -> Value {
    let mut labels = LabelSet::clone(&one.labels);
    if one.tenant != logyard_model::Tenant::single() && labels.get("tenant").is_none() {
        labels.insert("tenant", one.tenant.as_str());
    }
    members(&labels)
}

fn webhook(sender: Sender<'_>, group: &Map<String, Value>, news: &[News], title: &str, text: &str) -> Value {
    let status = |is_firing: bool| if is_firing { "firing" } else { "resolved" };
    let alert = |one: &News| {
        json!({
            "status": status(one.state == AlertState::Firing),
            "labels": with_tenant(one),
            "annotations": members(&one.annotations),
            "startsAt": rfc3339(one.started_ns),
            "endsAt": one.ended_ns.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
            "generatorURL": sender.external_url,
            "value": one.value.to_string(),
            "lines": one.lines.to_vec(),
        })
    };
    json!({
        "version": "4",
        "status": status(is_firing(news)),
        "receiver": sender.target,
        "groupLabels": group,
        "externalURL": sender.external_url,
        "title": title,
        "message": text,
        "truncatedAlerts": 0,
        "alerts": news.iter().map(alert).collect::<Vec<_>>(),
    })
}

pub(crate) fn rfc3339(ns: i64) -> String {
    // Whole milliseconds, the finest that all readers take.
    logyard_wire::go_time::GoTime::from_ns(ns.div_euclid(1_000_000) * 1_000_000).rfc3339_nano()
}

#[cfg(test)]
mod tests;
