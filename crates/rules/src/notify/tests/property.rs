//! Whatever happens to the ruler, the clock and the target: no alert is lost, and none is told twice.

use super::*;
use crate::alert::AlertState;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

const APPS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// These have a sample from now on.
    Answer(u8),
    /// The target goes away, or comes back.
    Target(bool),
    /// The process dies with the power, and begins anew.
    Crash,
    /// The clock jumps by so many seconds.
    Jump(i64),
    /// The group is there, or not; or under another name.
    Group(u8),
    /// So many times ten seconds pass.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8).prop_map(Step::Answer),
        2 => any::<bool>().prop_map(Step::Target),
        1 => Just(Step::Crash),
        1 => (-7200..7200_i64).prop_map(Step::Jump),
        1 => (0..3_u8).prop_map(Step::Group),
        3 => (1..30_u64).prop_map(Step::Pass),
    ]
}

/// Puts the group into force under one of two names, or takes it out.
fn put(ruler: &Ruler, group: u8) {
    let names = ["g", "h"];
    let wanted = names.get(usize::from(group));
    if let Some(name) = wanted {
        let text = format!(
            "name: {name}\ninterval: 10s\nrules:\n- alert: A\n  expr: vector(1)\n  keep_firing_for: 20s\n"
        );
        set(ruler, &text);
    }
    for name in names.iter().filter(|name| Some(*name) != wanted) {
        // It need not be there.
        ruler.delete_group(&Tenant::single(), "n", name).unwrap_or_default();
    }
}

/// The apps whose alerts fire.
fn firing(ruler: &Ruler) -> BTreeSet<String> {
    let status = ruler.status(&Tenant::single());
    let alerts = status.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts);
    let firing = alerts.filter(|alert| alert.state == AlertState::Firing);
    firing.map(|alert| alert.labels.get("app").unwrap().to_owned()).collect()
}

async fn run(steps: Vec<Step>) {
    let mut told = Told::new(TargetKind::Webhook);
    (told.settings.repeat_secs, told.settings.group_by) = (0, vec!["app".to_owned()]);
    let mut notifier = told.open();
    put(&notifier.ruler, 0);
    let mut ever = BTreeSet::new();
    let mut now_ns = told.world.clock.now_ns();
    for step in steps {
        match step {
            Step::Answer(mask) => {
                let there = APPS.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
                told.world.answer(&there.map(|(_, app)| *app).collect::<Vec<_>>());
            }
            Step::Target(is_down) => *told.carrier.is_down.lock() = is_down,
            Step::Crash => {
                told.world.disk = told.world.disk.crash();
                notifier = told.open();
            }
            Step::Jump(seconds) => told.world.clock.set(now_ns + seconds * 1_000_000_000),
            Step::Group(group) => put(&notifier.ruler, group),
            Step::Pass(tens) => told.pass(&notifier, tens * 10).await,
        }
        for _ in 0..2 {
            told.pass(&notifier, 10).await;
            ever.extend(firing(&notifier.ruler));
        }
        now_ns = told.world.clock.now_ns();
    }
    *told.carrier.is_down.lock() = false;
    told.pass(&notifier, 200).await;
    let firing = firing(&notifier.ruler);
    ever.extend(firing.clone());
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in told.carrier.sent.lock().iter() {
        for alert in message["alerts"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            heard.entry(text(&alert["labels"]["app"])).or_default().push(text(&alert["status"]));
        }
    }
    for (app, heard) in &heard {
        let twice = heard.windows(2).any(|pair| pair[0] == "firing" && pair[1] == "firing");
        assert!(!twice, "{app} was told twice: {heard:?}");
        assert_eq!(heard.last().unwrap() == "firing", firing.contains(app), "{app} ends as {heard:?}");
    }
    let told_of: BTreeSet<String> = heard.into_keys().collect();
    assert_eq!(told_of, ever, "every alert that fired was told of, and no other");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_alert_is_lost_and_none_is_told_twice(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
