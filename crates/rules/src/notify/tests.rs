//! Targets over outages, restarts and refusals: each change is told once.

use super::*;
use crate::notify_settings::{TargetKind, TargetSettings};
use crate::notify_text::Letter;
use crate::ruler::tests::{World, set};
use crate::target::{Carry, Sending};
use logyard_model::Tenant;
use logyard_sys::{Clock as _, Disk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;

mod property;

/// Takes down what it is sent, and answers as told; with nothing told it takes everything.
#[derive(Debug, Default)]
struct Carrier {
    sent: Mutex<Vec<Value>>,
    answers: Mutex<VecDeque<Refusal>>,
    is_down: Mutex<bool>,
    /// Refuses what holds this text.
    poison: Mutex<Option<(&'static str, Refusal)>>,
    /// Panics at the next message.
    panics: Mutex<bool>,
}

impl Carry for Carrier {
    fn send(&self, letter: Letter) -> Sending<'_> {
        let json = letter.body;
        assert!(!std::mem::take(&mut *self.panics.lock()), "a fault of ours");
        if let Some((text, refusal)) = &*self.poison.lock()
            && json.contains(text)
        {
            let refusal = refusal.clone();
            return Box::pin(async move { Err(refusal) });
        }
        let answer = match (*self.is_down.lock(), self.answers.lock().pop_front()) {
            (_, Some(refusal)) => Err(refusal),
            (true, None) => Err(refusal(false, false, "nobody there")),
            (false, None) => Ok(()),
        };
        if answer.is_ok() {
            self.sent.lock().push(serde_json::from_str(&json).unwrap());
        }
        Box::pin(async move { answer })
    }
}

fn refusal(is_final: bool, is_answer: bool, text: &str) -> Refusal {
    Refusal { is_final, is_answer, text: text.to_owned(), retry_after: None }
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

    /// Returns a webhook that was told of one alert, which fires.
    async fn firing() -> (Self, Notifier) {
        let mut told = Self::new(TargetKind::Webhook);
        let notifier = told.open();
        set(&notifier.ruler, GROUP);
        told.world.answer(&["web"]);
        told.pass(&notifier, 60).await;
        assert_eq!(told.titles(), ["[FIRING] A"]);
        (told, notifier)
    }

    fn open(&mut self) -> Notifier {
        let ruler = self.world.open();
        let carrier: Arc<dyn Carry> = Arc::<Carrier>::clone(&self.carrier);
        let target = Target::through(&self.settings, "topic", carrier);
        Notifier::new(ruler, vec![target], Arc::new(Random::seeded(1)), &mut self.world.registry)
    }

    /// Lets time pass, ten seconds a turn.
    async fn pass(&self, notifier: &Notifier, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.world.pass(&notifier.ruler, 10).await;
            notifier.turn(&notifier.targets[0], &mut Refusals::new()).await;
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
async fn a_jump_of_the_clock_repeats_nothing() {
    let (told, notifier) = Told::firing().await;
    let now_ns = told.world.clock.now_ns();
    // Nor once the group was replaced.
    set(&notifier.ruler, &GROUP.replace("interval: 10s", "interval: 20s"));
    for days in [3, -2] {
        told.world.clock.set(now_ns + days * 86_400_000_000_000);
        told.pass(&notifier, 3600).await;
        assert!(told.titles().is_empty(), "{days} days");
    }
    told.pass(&notifier, 2 * 3600).await;
    assert_eq!(told.titles(), ["[FIRING] A"], "four hours have passed");
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
    let odd = refusal(true, true, "too odd");
    *told.carrier.poison.lock() = Some(("web", odd.clone()));
    let mut refusals = Refusals::new();
    for _ in 0..REFUSED_MAX {
        assert_eq!(notifier.turn(&notifier.targets[0], &mut refusals).await, Turn::Refused(odd.clone()));
    }
    assert_eq!(notifier.turn(&notifier.targets[0], &mut refusals).await, Turn::Done);
    assert!(refusals.is_empty());
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

#[tokio::test]
async fn what_is_refused_keeps_nothing_back() {
    let mut told = Told::new(TargetKind::Webhook);
    told.settings.group_by = vec!["app".to_owned()];
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["a", "b", "c"]);
    told.world.pass(&notifier.ruler, 10).await;
    let target = &notifier.targets[0];
    let mut refusals = Refusals::new();
    // Those before it and behind it are told at once, and once.
    let odd = refusal(true, true, "too odd");
    *told.carrier.poison.lock() = Some((r#""app":"b""#, odd.clone()));
    assert_eq!(notifier.turn(target, &mut refusals).await, Turn::Refused(odd.clone()));
    assert_eq!(told.titles(), ["[FIRING] A", "[FIRING] A"]);
    // Also where the answer to it is a fault of the target.
    let ill = refusal(false, true, "HTTP 500");
    *told.carrier.poison.lock() = Some((r#""app":"b""#, ill.clone()));
    told.world.answer(&["b"]);
    told.world.pass(&notifier.ruler, 10).await;
    assert_eq!(notifier.turn(target, &mut refusals).await, Turn::Failed(ill));
    assert_eq!(told.titles(), ["[RESOLVED] A", "[RESOLVED] A"]);
    // Whoever is not there is not asked again and again.
    *told.carrier.poison.lock() = None;
    *told.carrier.is_down.lock() = true;
    told.world.answer(&["b", "c", "d"]);
    told.world.pass(&notifier.ruler, 10).await;
    notifier.turn(target, &mut refusals).await;
    let metrics = told.world.metrics();
    assert!(
        metrics.contains(r#"logyard_rules_notifications_total{target="t",result="failed"} 3"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_fault_of_ours_ends_no_telling() {
    let mut told = Told::new(TargetKind::Webhook);
    *told.carrier.panics.lock() = true;
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
    assert!(!*told.carrier.panics.lock());
    drop(stop);
    running.await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_rule_ends_its_alerts() {
    let mut told = Told::new(TargetKind::Webhook);
    let notifier = told.open();
    let tenant = Tenant::single();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["web"]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
    // Another name is another rule.
    set(&notifier.ruler, &GROUP.replace("alert: A", "alert: B"));
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[RESOLVED] A", "[FIRING] B"]);
    // The group goes while the target is away, and both die before it is back.
    *told.carrier.is_down.lock() = true;
    notifier.ruler.delete_group(&tenant, "n", "g").unwrap();
    assert!(notifier.ruler.status(&tenant).is_empty() && notifier.ruler.namespaces(&tenant).is_empty());
    told.pass(&notifier, 120).await;
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.pass(&notifier, 120).await;
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 120).await;
    assert_eq!(told.titles(), ["[RESOLVED] B"]);
    // Nothing of it stays.
    told.pass(&notifier, 3600).await;
    assert!(told.titles().is_empty());
    assert!(told.world.disk.list("/data/rules/fake/state".as_ref()).unwrap().is_empty());
}

#[tokio::test]
async fn a_group_that_goes_while_nobody_looks_ends_its_alerts() {
    let mut told = Told::new(TargetKind::Webhook);
    told.world.settings.dir = "/rules".to_owned();
    let file: &std::path::Path = "/rules/f.yaml".as_ref();
    let text = format!("groups:\n- {}", GROUP.replace('\n', "\n  "));
    told.world.disk.create_dir_all("/rules".as_ref()).unwrap();
    told.world.disk.write_atomic(file, text.as_bytes()).unwrap();
    let notifier = told.open();
    told.world.answer(&["web"]);
    told.pass(&notifier, 60).await;
    assert_eq!(told.titles(), ["[FIRING] A"]);
    // A bad file at the start says nothing about the groups that were there.
    told.world.disk.write_atomic(file, b"groups: what").unwrap();
    let notifier = told.open();
    told.pass(&notifier, 120).await;
    assert!(told.titles().is_empty());
    told.world.disk.write_atomic(file, b"groups: []").unwrap();
    assert!(notifier.ruler.reload_folder());
    told.pass(&notifier, 120).await;
    assert_eq!(told.titles(), ["[RESOLVED] A"]);
}

#[tokio::test]
async fn a_rule_that_moves_goes_on() {
    let (mut told, notifier) = Told::firing().await;
    // The group has a new name, and must wait before it fires.
    set(&notifier.ruler, &GROUP.replace("name: g", "name: h").replace("labels:", "for: 60s\n  labels:"));
    told.world.pass(&notifier.ruler, 10).await;
    notifier.ruler.delete_group(&Tenant::single(), "n", "g").unwrap();
    told.pass(&notifier, 30).await;
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.pass(&notifier, 120).await;
    assert!(told.titles().is_empty());
    told.world.answer(&[]);
    told.pass(&notifier, 120).await;
    assert_eq!(told.titles(), ["[RESOLVED] A"]);
}

#[tokio::test]
async fn quiet_hours_put_off_what_can_wait() {
    let mut told = Told::new(TargetKind::Webhook);
    // It is 03:00.
    let night = |from: &str, until: &str| crate::QuietSettings {
        from: from.to_owned(),
        until: until.to_owned(),
        time_zone: "UTC".to_owned(),
        ..crate::QuietSettings::default()
    };
    told.settings.quiet = vec![night("03:10", "04:00"), night("04:00", "05:00")];
    told.settings.group_by = vec!["app".to_owned()];
    let notifier = told.open();
    let shown = |told: &Told| -> Vec<String> {
        let sent = std::mem::take(&mut *told.carrier.sent.lock());
        let shown =
            |alert: &Value| format!("{}={}", alert["labels"]["app"], alert["status"]).replace('"', "");
        sent.iter().flat_map(|message| message["alerts"].as_array().unwrap()).map(shown).collect()
    };
    set(&notifier.ruler, &GROUP.replace("page", "warning"));
    told.world.answer(&["before"]);
    told.pass(&notifier, 300).await;
    assert_eq!(shown(&told), ["before=firing"]);
    told.world.answer(&["before", "lasting", "short"]);
    told.world.pass(&notifier.ruler, 360).await;
    told.world.answer(&["lasting"]);
    told.pass(&notifier, 600).await;
    told.world.answer(&["lasting", "within"]);
    told.pass(&notifier, 60).await;
    told.world.answer(&["lasting"]);
    told.pass(&notifier, 60).await;
    // Nothing is forgotten in a restart, or because it is long.
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    told.pass(&notifier, 3600).await;
    assert!(shown(&told).is_empty());
    // A severity that cannot wait.
    let urgent = GROUP.replace("name: g", "name: u").replace("alert: A", "alert: U");
    set(&notifier.ruler, &urgent);
    told.pass(&notifier, 60).await;
    assert_eq!(shown(&told), ["lasting=firing"]);
    notifier.ruler.delete_group(&Tenant::single(), "n", "u").unwrap();
    told.pass(&notifier, 60).await;
    assert_eq!(shown(&told), ["lasting=resolved"]);
    // They end at 05:00. What began before them and ended in them is told; what came and went in them is not, but for
    // what nobody looked at: it fired at 03:05, when nobody was told.
    told.pass(&notifier, 3600).await;
    assert_eq!(shown(&told), ["before=resolved", "lasting=firing", "short=resolved"]);
}

#[tokio::test]
async fn an_alertmanager_that_is_away_for_an_hour_learns_everything() {
    let mut told = Told::new(TargetKind::Alertmanager);
    let notifier = told.open();
    set(&notifier.ruler, GROUP);
    told.world.answer(&["lasting", "ending"]);
    told.pass(&notifier, 120).await;
    *told.carrier.is_down.lock() = true;
    told.pass(&notifier, 600).await;
    told.world.answer(&["lasting", "short"]);
    told.pass(&notifier, 600).await;
    // We die, too, and the clock of the machine is wrong for a while.
    told.world.disk = told.world.disk.crash();
    let notifier = told.open();
    let now_ns = told.world.clock.now_ns();
    told.world.clock.set(now_ns - 86_400_000_000_000);
    told.world.answer(&["lasting", "new"]);
    told.pass(&notifier, 600).await;
    told.world.clock.set(now_ns + 600_000_000_000);
    told.pass(&notifier, 1800).await;
    told.carrier.sent.lock().clear();
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 300).await;
    // What an Alertmanager makes of it, which says nothing of alerts that it did not see firing: it has forgotten all.
    let mut heard: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let now = crate::notify_text::rfc3339(told.world.clock.now_ns() - 400_000_000_000);
    for message in told.carrier.sent.lock().iter() {
        for alert in message.as_array().unwrap() {
            let app = alert["labels"]["app"].as_str().unwrap().to_owned();
            let state = if alert["endsAt"].as_str() > Some(&now) { "firing" } else { "resolved" };
            let states = heard.entry(app).or_default();
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
    }
    let want = [
        ("ending", vec!["firing", "resolved"]),
        ("lasting", vec!["firing"]),
        ("new", vec!["firing"]),
        ("short", vec!["firing", "resolved"]),
    ];
    assert_eq!(heard, BTreeMap::from(want.map(|(app, states)| (app.to_owned(), states))));
}
