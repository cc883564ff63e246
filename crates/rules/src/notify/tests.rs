//! Targets over outages, restarts and refusals: each change is told once.

use super::*;
use crate::ruler::tests::{World, set};
use logyard_sys::SimDisk;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::VecDeque;

/// Takes down what it is sent, and answers as told; with nothing told it takes everything.
#[derive(Debug, Default)]
struct Carrier {
    sent: Mutex<Vec<Value>>,
    answers: Mutex<VecDeque<Refusal>>,
    is_down: Mutex<bool>,
}

impl Carry for Carrier {
    fn send(&self, json: String) -> Sending<'_> {
        let answer = match (*self.is_down.lock(), self.answers.lock().pop_front()) {
            (_, Some(refusal)) => Err(refusal),
            (true, None) => {
                Err(Refusal { is_final: false, text: "nobody there".to_owned(), retry_after: None })
            }
            (false, None) => Ok(()),
        };
        if answer.is_ok() {
            self.sent.lock().push(serde_json::from_str(&json).unwrap());
        }
        Box::pin(async move { answer })
    }
}

struct Told {
    world: World,
    carrier: Arc<Carrier>,
    settings: TargetSettings,
}

impl Told {
    fn new(kind: TargetKind) -> Self {
        let settings = TargetSettings { name: "t".to_owned(), kind, ..TargetSettings::default() };
        let mut world = World::new();
        world.targets = vec!["t".to_owned()];
        Self { world, carrier: Arc::default(), settings }
    }

    fn open(&mut self) -> Notifier {
        let ruler = self.world.open();
        let carrier: Arc<dyn Carry> = Arc::<Carrier>::clone(&self.carrier);
        let target = Target { settings: self.settings.clone(), topic: "topic".to_owned(), carrier };
        Notifier::new(ruler, vec![target], Arc::new(Random::seeded(1)), &mut self.world.registry)
    }

    /// Lets time pass, ten seconds a turn.
    async fn pass(&self, notifier: &Notifier, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.world.pass(&notifier.ruler, 10).await;
            notifier.turn(&notifier.targets[0], 0).await;
        }
    }

    /// What was sent since the last time: for each message its title.
    fn titles(&self) -> Vec<String> {
        let sent = std::mem::take(&mut *self.carrier.sent.lock());
        sent.iter().map(|message| message["title"].as_str().unwrap().to_owned()).collect()
    }
}

const GROUP: &str = "name: g\ninterval: 10s\nrules:\n- alert: A\n  expr: vector(1)\n  labels: {severity: page}\n  \
                     annotations: {summary: '{{ $labels.app }} is ill'}\n";

#[tokio::test]
async fn each_change_is_told_once() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web", "db"]);
    told.pass(&notifier, 600).await;
    assert_eq!(told.titles(), ["[FIRING:2] A"]);
    told.world.answer(&["db"]);
    told.pass(&notifier, 600).await;
    assert_eq!(told.titles(), ["[RESOLVED] A"]);
    told.world.answer(&["web", "db"]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
    // Each is repeated in its own time.
    told.pass(&notifier, 4 * 3600).await;
    assert_eq!(told.titles(), ["[FIRING] A", "[FIRING] A"]);
}

#[tokio::test]
async fn an_outage_of_an_hour_loses_nothing_and_a_restart_repeats_nothing() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["a", "b"]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING:2] A"]);
    *told.carrier.is_down.lock() = true;
    told.world.answer(&["b", "c", "d"]);
    told.pass(&notifier, 600).await;
    told.world.answer(&["b", "d"]);
    told.pass(&notifier, 1800).await;
    // Both sides die and come back.
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.pass(&notifier, 1200).await;
    assert!(told.titles().is_empty());
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 10).await;
    let sent = std::mem::take(&mut *told.carrier.sent.lock());
    let shown = |alert: &Value| {
        format!("{}={}", alert["labels"]["app"].as_str().unwrap(), alert["status"].as_str().unwrap())
    };
    let alerts: Vec<String> =
        sent.iter().flat_map(|message| message["alerts"].as_array().unwrap()).map(shown).collect();
    assert_eq!(alerts, ["a=resolved", "c=resolved", "d=firing"]);
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.pass(&notifier, 3600).await;
    assert!(told.titles().is_empty());
}

#[tokio::test]
async fn what_is_refused_for_good_is_left_after_some_attempts() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web"]);
    told.world.pass(&notifier.ruler, 10).await;
    let refusal = Refusal { is_final: true, text: "too odd".to_owned(), retry_after: None };
    for failures in 0..REFUSED_MAX {
        told.carrier.answers.lock().push_back(refusal.clone());
        assert_eq!(notifier.turn(&notifier.targets[0], failures).await, Turn::Failed(refusal.clone()));
    }
    told.carrier.answers.lock().push_back(refusal.clone());
    assert_eq!(notifier.turn(&notifier.targets[0], REFUSED_MAX).await, Turn::Done);
    told.pass(&notifier, 60).await;
    assert!(told.titles().is_empty());
    let metrics = told.world.metrics();
    assert!(
        metrics.contains(r#"logyard_rules_notifications_total{target="t",result="refused"} 1"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"logyard_rules_notifications_total{target="t",result="failed"} 5"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_alertmanager_is_told_every_minute_and_of_what_is_over() {
    let mut told = Told::new(TargetKind::Alertmanager);
    told.world.settings.external_url = "https://logs.lan".to_owned();
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web"]);
    told.pass(&notifier, 180).await;
    let sent = std::mem::take(&mut *told.carrier.sent.lock());
    assert_eq!(sent.len(), 3);
    let alert = &sent[0][0];
    assert_eq!(alert["labels"], json!({"alertname": "A", "app": "web", "severity": "page"}));
    assert_eq!(
        (&alert["annotations"]["summary"], &alert["generatorURL"]),
        (&json!("web is ill"), &json!("https://logs.lan"))
    );
    assert_eq!(sent[2][0]["startsAt"], alert["startsAt"]);
    assert!(alert["endsAt"].as_str() > alert["startsAt"].as_str());
    told.world.answer(&[]);
    told.pass(&notifier, 3600).await;
    let sent = std::mem::take(&mut *told.carrier.sent.lock());
    assert_eq!(sent.len(), 15, "for a quarter of an hour, once a minute");
    assert!(sent.iter().all(|message| message[0]["endsAt"] == sent[0][0]["endsAt"]));
    // What came and went while it was away is shown firing for a turn.
    *told.carrier.is_down.lock() = true;
    told.world.answer(&["db"]);
    told.pass(&notifier, 60).await;
    told.world.answer(&[]);
    told.pass(&notifier, 1800).await;
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 120).await;
    let sent = std::mem::take(&mut *told.carrier.sent.lock());
    let ends: Vec<&str> = sent.iter().map(|message| message[0]["endsAt"].as_str().unwrap()).collect();
    assert!(ends.len() >= 2 && ends[0] > ends[1], "{ends:?}");
}

#[tokio::test]
async fn whoever_wants_no_resolved_gets_none() {
    let mut told = Told::new(TargetKind::Webhook);
    told.settings.send_resolved = false;
    told.settings.group_by = vec!["app".to_owned()];
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web", "db"]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING] A", "[FIRING] A"]);
    told.world.answer(&[]);
    told.pass(&notifier, 3600).await;
    assert!(told.titles().is_empty());
}

#[tokio::test]
async fn the_notifier_runs_by_itself_and_stops() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    let ruler = notifier.ruler.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(notifier.run(async move { drop(stopped.await) }));
    set(&ruler, GROUP);
    told.world.answer(&["web"]);
    told.world.pass(&ruler, 10).await;
    while told.carrier.sent.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stop);
    running.await.unwrap();
}

#[test]
fn addresses_and_secrets_of_targets() {
    let check = |kind, url: &str, want: Option<(&str, &str, &str)>| {
        let found = split(url)
            .and_then(|(base, path)| path_of(kind, path).ok().map(|(path, topic)| (base, path, topic)));
        let want = want.map(|(base, path, topic)| (base, path.to_owned(), topic.to_owned()));
        assert_eq!(found, want, "{url}");
    };
    check(TargetKind::Alertmanager, "http://am:9093", Some(("http://am:9093", "/api/v2/alerts", "")));
    check(TargetKind::Alertmanager, "https://h/am/", Some(("https://h", "/am/api/v2/alerts", "")));
    check(TargetKind::Ntfy, "https://ntfy.sh/topic", Some(("https://ntfy.sh", "/", "topic")));
    check(TargetKind::Ntfy, "https://h/sub/topic/", Some(("https://h", "/sub/", "topic")));
    check(TargetKind::Ntfy, "https://ntfy.sh", None);
    check(TargetKind::Gotify, "http://g", Some(("http://g", "/message", "")));
    check(
        TargetKind::Discord,
        "https://d/api/webhooks/1/x?wait=true",
        Some(("https://d", "/api/webhooks/1/x?wait=true", "")),
    );
    check(TargetKind::Webhook, "http://h", Some(("http://h", "/", "")));
    check(TargetKind::Webhook, "https://h/hook/", Some(("https://h", "/hook/", "")));
    check(TargetKind::Webhook, "https://h?token=x/y", Some(("https://h", "?token=x/y", "")));
    check(TargetKind::Webhook, "ftp://h/x", None);
    assert_eq!(hide("Cannot POST /hook/secret", "/hook/secret"), "Cannot POST /…");
    assert_eq!(hide("Cannot POST /", "/"), "Cannot POST /");
    let disk = SimDisk::new();
    disk.write_atomic(Path::new("/url"), b"https://hooks.lan/secret\n").unwrap();
    disk.write_atomic(Path::new("/token"), b"sesame\n").unwrap();
    let with = |change: &dyn Fn(&mut TargetSettings)| {
        let mut target = TargetSettings { name: "a".to_owned(), ..TargetSettings::default() };
        change(&mut target);
        Target::all(&NotifySettings { targets: vec![target] }, &disk)
    };
    let targets =
        with(&|target| (target.url_file, target.token_file) = ("/url".into(), "/token".into())).unwrap();
    let shown = format!("{targets:?} {:?}", targets[0].settings);
    assert!(!shown.contains("secret") && !shown.contains("sesame"), "{shown}");
    let fault = |change: &dyn Fn(&mut TargetSettings), want: &str| {
        let text = with(change).unwrap_err();
        assert!(text.starts_with("notify.targets.0: ") && text.contains(want), "{text}");
    };
    fault(&|_| (), "no address; set url or url_file");
    fault(&|target| target.name.clear(), "want a name");
    fault(
        &|target| (target.url, target.url_file) = ("http://a".into(), "/url".into()),
        "both url and url_file",
    );
    fault(&|target| target.url_file = "/none".into(), "url_file: cannot read /none: no such file");
    fault(&|target| target.url = "a".into(), "the address is none");
    fault(&|target| (target.kind, target.url) = (TargetKind::Gotify, "http://g".into()), "set token_file");
    let twice =
        TargetSettings { name: "a".to_owned(), url: "http://a".to_owned(), ..TargetSettings::default() };
    let text = Target::all(&NotifySettings { targets: vec![twice.clone(), twice] }, &disk).unwrap_err();
    assert_eq!(text, "notify.targets.1: the name \"a\" occurs twice");
}

#[tokio::test]
async fn a_test_says_that_it_is_one() {
    let mut told = Told::new(TargetKind::Ntfy);
    let notifier = told.open();
    notifier.targets[0].test(0).await.unwrap();
    let sent = told.carrier.sent.lock().clone();
    assert_eq!((&sent[0]["topic"], &sent[0]["title"]), (&json!("topic"), &json!("[FIRING] LogyardTest")));
    *told.carrier.is_down.lock() = true;
    assert_eq!(notifier.targets[0].test(0).await.unwrap_err(), "nobody there");
}

#[tokio::test]
async fn an_end_is_told_although_the_condition_came_back_for_a_moment() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    set(&notifier.ruler, &GROUP.replace("labels:", "for: 60s\n  labels:"));
    told.world.answer(&["web"]);
    told.pass(&notifier, 120).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
    // It ends, is pending again and ends again, while nobody hears.
    *told.carrier.is_down.lock() = true;
    told.world.answer(&[]);
    told.pass(&notifier, 60).await;
    told.world.answer(&["web"]);
    told.pass(&notifier, 30).await;
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.world.answer(&[]);
    told.pass(&notifier, 60).await;
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[RESOLVED] A"]);
    // A life that begins while the end of the one before is not told goes on for the target.
    told.world.answer(&["web"]);
    told.pass(&notifier, 120).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
    *told.carrier.is_down.lock() = true;
    told.world.answer(&[]);
    told.pass(&notifier, 60).await;
    told.world.answer(&["web"]);
    told.pass(&notifier, 120).await;
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 60).await;
    assert!(told.titles().is_empty());
    told.world.answer(&[]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[RESOLVED] A"]);
}

#[tokio::test]
async fn an_alert_that_begins_anew_while_its_end_is_told_is_told_again() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web"]);
    told.pass(&notifier, 60).await;
    told.world.answer(&[]);
    told.world.pass(&notifier.ruler, 10).await;
    // The message is under way while the sample comes back.
    let end = notifier.ruler.news(&notifier.targets[0].wishes());
    assert_eq!(end.len(), 1);
    told.world.answer(&["web"]);
    told.world.pass(&notifier.ruler, 10).await;
    notifier.ruler.told("t", &end).await;
    told.titles();
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
}
