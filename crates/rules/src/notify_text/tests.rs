//! The form of each kind, and bounds on what is sent.

use super::*;
use crate::untold::{Due, Place};
use logyard_model::Tenant;
use std::sync::Arc;

fn news(app: &str, state: AlertState, summary: Option<&str>) -> News {
    News {
        place: Place { namespace: "n".to_owned(), group: "g".to_owned(), rule: 0, active_at_ns: 0 },
        tenant: Tenant::single(),
        labels: Arc::new(LabelSet::from_pairs([("alertname", "A"), ("app", app), ("severity", "page")])),
        annotations: Arc::new(LabelSet::from_pairs(summary.map(|text| ("summary", text)))),
        lines: Arc::default(),
        state,
        value: 2.5,
        started_ns: 1_795_230_000_123_456_789,
        ended_ns: (state == AlertState::Resolved).then_some(1_795_230_060_000_000_000),
        due: Due::Tell,
    }
}

fn sent(kind: TargetKind, news: &[News]) -> Value {
    let sender = Sender {
        kind,
        target: "t",
        topic: "logs",
        subject: None,
        external_url: "",
        now_ns: 1_795_230_000_000_000_000,
    };
    serde_json::from_str(&letter(sender, &Map::new(), news).body).unwrap()
}

#[test]
fn each_kind_has_its_form() {
    let both = [
        news("web", AlertState::Firing, Some("<web> is @everyone's")),
        news("db", AlertState::Resolved, None),
    ];
    let text = "<web> is @everyone's\n{alertname=\"A\", app=\"web\", severity=\"page\"}\n\n\
                {alertname=\"A\", app=\"db\", severity=\"page\"}\nno longer";
    let title = "[FIRING:1 RESOLVED:1] A";
    assert_eq!(
        sent(TargetKind::Ntfy, &both),
        json!({"topic": "logs", "title": title, "message": text, "priority": 5, "tags": ["rotating_light"]})
    );
    assert_eq!(sent(TargetKind::Gotify, &both), json!({"title": title, "message": text, "priority": 9}));
    assert_eq!(
        sent(TargetKind::Discord, &both),
        json!({"username": "Logyard", "content": format!("**{title}**\n{text}"), "allowed_mentions": {"parse": []}})
    );
    let slack = sent(TargetKind::Slack, &both);
    assert!(
        slack["text"].as_str().unwrap().starts_with("*[FIRING:1 RESOLVED:1] A*\n&lt;web&gt; is"),
        "{slack}"
    );
    let webhook = sent(TargetKind::Webhook, &both);
    assert_eq!(
        (&webhook["version"], &webhook["status"], &webhook["receiver"]),
        (&json!("4"), &json!("firing"), &json!("t"))
    );
    assert_eq!(webhook["alerts"][1]["endsAt"], "2026-11-21T03:01:00Z");
    assert_eq!(
        sent(TargetKind::Alertmanager, &both)[0],
        json!({
            "labels": {"alertname": "A", "app": "web", "severity": "page"},
            "annotations": {"summary": "<web> is @everyone's"},
            "startsAt": "2026-11-21T03:00:00.123Z",
            "endsAt": "2026-11-21T03:04:00Z",
        })
    );
    let over = sent(TargetKind::Ntfy, &both[1..]);
    assert_eq!((&over["title"], &over["priority"]), (&json!("[RESOLVED] A"), &json!(3)));
}

#[test]
fn messages_for_people_are_bounded() {
    let long = "x".repeat(5000);
    let many: Vec<News> =
        (0..50).map(|number| news(&number.to_string(), AlertState::Firing, Some(&long))).collect();
    let message = sent(TargetKind::Discord, &many);
    let content = message["content"].as_str().unwrap();
    assert!(content.chars().count() < 2000, "{}", content.chars().count());
    assert!(content.ends_with("… and 48 more"), "{content}");
    // The longest title above the longest text.
    let summary = "x".repeat(333);
    let named: Vec<News> = (100..150)
        .map(|number| {
            let one = news(&number.to_string(), AlertState::Firing, Some(&summary));
            let mut labels = LabelSet::clone(&one.labels);
            labels.insert("alertname", "A".repeat(250));
            labels.remove("severity");
            labels.remove("app");
            News { labels: Arc::new(labels), ..one }
        })
        .collect();
    let content = sent(TargetKind::Discord, &named)["content"].as_str().unwrap().to_owned();
    assert!(content.chars().count() <= 2000, "{}", content.chars().count());
    let short: Vec<News> =
        (0..12).map(|number| news(&number.to_string(), AlertState::Firing, Some("y"))).collect();
    assert!(sent(TargetKind::Gotify, &short)["message"].as_str().unwrap().ends_with("\n\n… and 2 more"));
}

#[test]
fn tenants_are_told_apart() {
    let mut one = news("web", AlertState::Firing, None);
    one.tenant = Tenant::new("team").unwrap();
    assert_eq!(sent(TargetKind::Alertmanager, &[one])[0]["labels"]["tenant"], "team");
}

#[test]
fn lines_are_shown_as_far_as_there_is_room() {
    let one = News {
        lines: Arc::new(["x".repeat(1700), "first".to_owned(), "last".to_owned()]),
        ..news("web", AlertState::Firing, Some("ill"))
    };
    let labels = "{alertname=\"A\", app=\"web\", severity=\"page\"}";
    let text = sent(TargetKind::Ntfy, std::slice::from_ref(&one))["message"].clone();
    assert_eq!(text, format!("ill\n{labels}\n> {}\n> first\n> last", "x".repeat(1700)));
    let many = vec![one.clone(), one.clone(), one.clone()];
    let text = sent(TargetKind::Ntfy, &many)["message"].clone();
    assert_eq!(text, vec![format!("ill\n{labels}\n> first\n> last"); 3].join("\n\n"));
    assert_eq!(sent(TargetKind::Webhook, &many)["alerts"][0]["lines"][2], "last");
    let annotations = &sent(TargetKind::Alertmanager, &many)[0]["annotations"];
    assert!(annotations["lines"].as_str().unwrap().ends_with("xx\nfirst\nlast"), "{annotations}");
    let over = News { state: AlertState::Resolved, ..one };
    assert_eq!(sent(TargetKind::Ntfy, &[over])["message"], format!("ill\n{labels}\nno longer"));
}

#[test]
fn e_mail_has_a_subject_of_its_own() {
    let both = [news("web", AlertState::Firing, Some("ill")), news("db", AlertState::Resolved, None)];
    let group = Map::from_iter([("app".to_owned(), Value::from("web"))]);
    let written = |subject: &str, external_url: &str| {
        let subject =
            logyard_template::Template::compile("subject", subject, logyard_template::Dialect::Rule).unwrap();
        let sender = Sender {
            kind: TargetKind::Email,
            target: "t",
            topic: "",
            subject: Some(&subject),
            external_url,
            now_ns: 0,
        };
        letter(sender, &group, &both)
    };
    let mail = written("{{ .Title }}", "https://logs.lan");
    assert_eq!(mail.subject, "[FIRING:1 RESOLVED:1] A");
    let want = "ill\n{alertname=\"A\", app=\"web\", severity=\"page\"}\n\n\
                {alertname=\"A\", app=\"db\", severity=\"page\"}\nno longer\n\nhttps://logs.lan\n";
    assert_eq!(mail.body, want);
    let own = written("{{ .Status | toUpper }} {{ .Labels.app }}\n {{ .Firing }}/{{ .Resolved }}", "");
    assert_eq!(own.subject, "FIRING web  1/1");
    assert_eq!(written("{{ index .Labels 1 }}", "").subject, "[FIRING:1 RESOLVED:1] A");
}
