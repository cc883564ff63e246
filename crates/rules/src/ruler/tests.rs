//! Groups over time, with a clock that moves when told to and answers that are given.

use super::*;
use crate::alert::AlertState;
use crate::check::read_group;
use crate::evaluate::{Ask, AskLines, Evaluating, ReadingLines, RuleSample};
use crate::status::Health;
use logyard_model::LabelSet;
use logyard_sys::{SimClock, SimDisk};
use prometheus_client::encoding::text::encode as encode_metrics;
use std::io;
use std::sync::atomic::Ordering;

const SEC_NS: i64 = 1_000_000_000;
const NOW_NS: i64 = 1_795_230_000 * SEC_NS;

/// Answers what it is told to, for every query.
#[derive(Debug, Default)]
struct Answers {
    answer: Mutex<Option<Result<Vec<RuleSample>, String>>>,
    asked_at_ns: Mutex<Vec<i64>>,
    /// First instants and intervals.
    expected: Mutex<Vec<(i64, i64)>>,
    lines: Mutex<Vec<&'static str>>,
    asked_lines: Mutex<Vec<String>>,
    hangs: AtomicBool,
}

impl Evaluate for Answers {
    fn expect(&self, asks: Vec<Ask>) {
        *self.expected.lock() = asks.iter().map(|ask| (ask.time_ns, ask.every_ns)).collect();
    }

    fn evaluate(&self, ask: Ask) -> Evaluating<'_> {
        self.asked_at_ns.lock().push(ask.time_ns);
        let answer = self.answer.lock().clone().unwrap_or_else(|| Ok(Vec::new()));
        let hangs = self.hangs.load(Ordering::Relaxed);
        Box::pin(async move { if hangs { std::future::pending().await } else { answer } })
    }

    fn lines(&self, ask: AskLines) -> ReadingLines<'_> {
        let seconds = (ask.end_ns - ask.start_ns) / SEC_NS;
        self.asked_lines.lock().push(format!("{} over {seconds} s", ask.query));
        let lines = self.lines.lock().iter().map(|line| line.as_bytes().to_vec()).collect();
        Box::pin(async move { Ok(lines) })
    }
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    answers: Arc<Answers>,
    pub(crate) settings: RulesSettings,
    pub(crate) targets: Vec<String>,
    pub(crate) pack_tenant: Option<Tenant>,
    pub(crate) registry: Registry,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Arc::new(SimClock::new(NOW_NS)),
            answers: Arc::default(),
            settings: RulesSettings::default(),
            targets: Vec::new(),
            pack_tenant: None,
            registry: Registry::default(),
        }
    }

    /// Opens a ruler, which has looked at its folder.
    pub(crate) fn open(&mut self) -> Ruler {
        let ruler = self.open_on(Arc::new(self.disk.clone()));
        ruler.reload_folder();
        ruler
    }

    pub(crate) fn open_on(&mut self, disk: Arc<dyn Disk>) -> Ruler {
        self.registry = Registry::default();
        let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&self.clock);
        let evaluate: Arc<dyn Evaluate> = Arc::<Answers>::clone(&self.answers);
        Ruler::open(RulerParts {
            settings: self.settings.clone(),
            disk,
            clock,
            data_dir: Path::new("/data"),
            evaluate,
            targets: self.targets.clone(),
            pack_tenant: self.pack_tenant.clone(),
            spread: Spread::ByName,
            registry: &mut self.registry,
        })
        .unwrap()
    }

    pub(crate) fn answer(&self, apps: &[&str]) {
        let sample =
            |app: &&str| RuleSample { labels: Arc::new(LabelSet::from_pairs([("app", *app)])), value: 2.0 };
        *self.answers.answer.lock() = Some(Ok(apps.iter().map(sample).collect()));
    }

    fn fail(&self, text: &str) {
        *self.answers.answer.lock() = Some(Err(text.to_owned()));
    }

    /// Lets time pass and evaluates what came due, every second.
    pub(crate) async fn pass(&self, ruler: &Ruler, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            ruler.tick().await;
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode_metrics(&mut text, &self.registry).unwrap();
        text
    }
}

pub(crate) fn set(ruler: &Ruler, group: &str) {
    ruler.set_group(&Tenant::single(), "n", read_group(group.as_bytes()).unwrap()).unwrap();
}

/// The alerts of a group, as `app=state`.
fn alerts(ruler: &Ruler, group: &str) -> String {
    let status =
        ruler.status(&Tenant::single()).into_iter().find(|status| status.group.name == group).unwrap();
    let alerts = status.rules.iter().flat_map(|rule| &rule.alerts);
    let shown = |alert: &crate::AlertStatus| {
        format!("{}={}", alert.labels.get("app").unwrap_or_default(), alert.state.as_str())
    };
    alerts.map(shown).collect::<Vec<_>>().join(" ")
}

fn health(ruler: &Ruler) -> Health {
    ruler.status(&Tenant::single())[0].rules[0].health.clone()
}

pub(crate) const GROUP: &str = "name: g\ninterval: 10s\nrules:\n- alert: A\n  expr: vector(1)\n  for: 30s\n  \
                     labels: {severity: page, gone: '', app: '{{ $labels.app }}'}\n  \
                     annotations: {text: '{{ $labels.app }} has {{ $value }}'}\n";

#[tokio::test]
async fn what_will_be_asked_is_said_before() {
    let mut world = World::new();
    let ruler = world.open();
    let of_interval = |interval: u64| {
        format!(
            "name: g{interval}\ninterval: {interval}s\nquery_offset: 5s\nrules:\n- {{alert: A, expr: 'vector(1)'}}\n"
        )
    };
    set(&ruler, &of_interval(10));
    set(&ruler, &of_interval(60));
    let expected = world.answers.expected.lock().clone();
    world.pass(&ruler, 60).await;
    let asked = world.answers.asked_at_ns.lock().clone();
    let every: Vec<i64> = expected.iter().map(|(_, every_ns)| every_ns / SEC_NS).collect();
    assert_eq!(every, [10, 60]);
    assert_eq!((asked[0], asked.len()), (expected[0].0, 7));
    assert!(asked.contains(&expected[1].0));
    ruler.delete_group(&Tenant::single(), "n", "g10").unwrap();
    assert_eq!(world.answers.expected.lock().len(), 1);
}

#[tokio::test]
async fn an_alert_waits_fires_and_resolves() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    assert_eq!((alerts(&ruler, "g").as_str(), health(&ruler)), ("", Health::Unknown));
    world.answer(&["web", "db"]);
    world.pass(&ruler, 10).await;
    assert_eq!(alerts(&ruler, "g"), "db=pending web=pending");
    world.pass(&ruler, 20).await;
    assert_eq!(alerts(&ruler, "g"), "db=pending web=pending");
    world.answer(&["web"]);
    world.pass(&ruler, 10).await;
    assert_eq!(alerts(&ruler, "g"), "web=firing");
    let status = ruler.status(&Tenant::single()).remove(0);
    let alert = &status.rules[0].alerts[0];
    assert_eq!(alert.labels.to_string(), r#"{alertname="A", app="web", severity="page"}"#);
    assert_eq!(alert.annotations.to_string(), r#"{text="web has 2"}"#);
    assert_eq!(status.rules[0].state(), AlertState::Firing);
    let labels = r#"{tenant="fake",alertname="A",alertstate="firing"}"#;
    assert!(world.metrics().contains(&format!("logyard_rules_alerts{labels} 1")), "{}", world.metrics());
    world.answer(&[]);
    world.pass(&ruler, 10).await;
    assert_eq!((alerts(&ruler, "g").as_str(), health(&ruler)), ("", Health::Good));
    assert!(!world.metrics().contains("logyard_rules_alerts{"), "{}", world.metrics());
    let asked = world.answers.asked_at_ns.lock().clone();
    assert_eq!(asked.len(), 5);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == 10 * SEC_NS), "{asked:?}");
}

#[tokio::test]
async fn a_failure_leaves_alerts_as_they_are() {
    let mut world = World::new();
    world.settings.timeout_secs = 1;
    world.settings.alerts_per_rule_max = 2;
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 40).await;
    assert_eq!(alerts(&ruler, "g"), "web=firing");
    world.fail("store is away");
    world.pass(&ruler, 3600).await;
    let failed = |text: &str| Health::Failed(text.to_owned());
    assert_eq!((alerts(&ruler, "g").as_str(), health(&ruler)), ("web=firing", failed("store is away")));
    world.answer(&["a", "b", "c"]);
    world.pass(&ruler, 10).await;
    assert_eq!(health(&ruler), failed("exceeded limit of 2 with 3 alerts"));
    world.answer(&["a", "a"]);
    world.pass(&ruler, 10).await;
    assert_eq!(
        health(&ruler),
        failed("vector contains metrics with the same labelset after applying alert labels")
    );
    world.answers.hangs.store(true, Ordering::Relaxed);
    world.pass(&ruler, 10).await;
    assert!(matches!(health(&ruler), Health::Failed(text) if text.starts_with("took longer than 1 s")));
    assert_eq!(alerts(&ruler, "g"), "web=firing");
}

#[tokio::test]
async fn states_survive_a_power_cut() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 20).await;
    let begun_ns = ruler.status(&Tenant::single())[0].rules[0].alerts[0].active_at_ns;
    world.disk = world.disk.crash();
    // An hour of outage counts for three intervals.
    world.clock.advance(Duration::from_secs(3600));
    let ruler = world.open();
    assert_eq!(alerts(&ruler, "g"), "web=pending");
    world.answer(&["web", "db"]);
    world.pass(&ruler, 10).await;
    assert_eq!(alerts(&ruler, "g"), "db=pending web=firing");
    assert_eq!(ruler.status(&Tenant::single())[0].rules[0].alerts[1].active_at_ns, begun_ns);
    world.disk = world.disk.crash();
    let ruler = world.open();
    assert_eq!(alerts(&ruler, "g"), "db=pending web=firing");
    // Damage costs the state alone.
    let dir = Path::new("/data/rules/fake/state");
    let name = world.disk.list(dir).unwrap().remove(0).name;
    world.disk.damage(&dir.join(name), 50, 1).unwrap();
    let ruler = world.open();
    assert_eq!(alerts(&ruler, "g"), "");
    ruler.delete_group(&Tenant::single(), "n", "g").unwrap();
    assert!(world.disk.list(dir).unwrap().is_empty());
}

#[tokio::test]
async fn a_disk_that_fails_stops_no_alert() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.disk.fail_changes(0, u64::MAX, io::ErrorKind::StorageFull);
    world.pass(&ruler, 40).await;
    assert_eq!(alerts(&ruler, "g"), "web=firing");
    assert!(world.metrics().contains("logyard_rules_state_write_failures_total 4"), "{}", world.metrics());
    let group = read_group(b"name: h").unwrap();
    let error = ruler.set_group(&Tenant::single(), "n", group).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(ruler.namespaces(&Tenant::single())["n"].len(), 1);
}

#[tokio::test]
async fn a_replaced_group_keeps_the_alerts_of_its_rules() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 40).await;
    set(&ruler, &GROUP.replace("vector(1)", "vector(2)"));
    assert_eq!(alerts(&ruler, "g"), "web=firing");
    set(&ruler, &GROUP.replace("alert: A", "alert: B"));
    assert_eq!(alerts(&ruler, "g"), "");
    // A rule that comes back finds its alerts, which have ended with it.
    set(&ruler, GROUP);
    world.pass(&ruler, 10).await;
    assert_eq!(alerts(&ruler, "g"), "web=pending");
}

#[tokio::test]
async fn what_was_missed_is_counted() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    world.pass(&ruler, 10).await;
    world.clock.advance(Duration::from_secs(60));
    ruler.tick().await;
    assert!(world.metrics().contains("logyard_rules_missed_evaluations_total 5"), "{}", world.metrics());
    // While one evaluation takes its time, those that come due are missed.
    world.answers.hangs.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(10));
    let slow = tokio::spawn({
        let ruler = ruler.clone();
        async move { ruler.tick().await }
    });
    while world.answers.asked_at_ns.lock().len() < 3 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(10));
    ruler.tick().await;
    assert!(world.metrics().contains("logyard_rules_missed_evaluations_total 6"), "{}", world.metrics());
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    world.answers.hangs.store(false, Ordering::Relaxed);
    world.pass(&ruler, 10).await;
    assert_eq!(health(&ruler), Health::Good);
}

#[tokio::test]
async fn a_clock_that_jumps_back_is_followed() {
    let mut world = World::new();
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 20).await;
    world.clock.set(NOW_NS - 86400 * SEC_NS);
    world.pass(&ruler, 40).await;
    assert_eq!(alerts(&ruler, "g"), "web=firing");
    assert!(world.answers.asked_at_ns.lock().last().is_some_and(|at_ns| *at_ns < NOW_NS));
}

#[tokio::test]
async fn the_ruler_runs_by_itself_and_stops() {
    let mut world = World::new();
    let ruler = world.open();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(ruler.clone().run(async move { drop(stopped.await) }));
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.clock.advance(Duration::from_secs(10));
    // A change of the rules wakes it; without one it looks within seconds.
    set(&ruler, "name: other");
    while alerts(&ruler, "g").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stop);
    running.await.unwrap();
}

#[test]
fn rules_that_come_along_are_in_force_if_wanted() {
    let mut world = World::new();
    assert!(world.open().namespaces(&Tenant::single()).is_empty());
    world.pack_tenant = Some(Tenant::single());
    world.settings.pack.silent.enabled = false;
    let ruler = world.open();
    let listed = ruler.namespaces(&Tenant::single());
    let names: Vec<_> = listed[PACK_NAMESPACE].iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["errors", "logins", "machine"]);
    assert_eq!(ruler.status(&Tenant::single()).len(), 3);
    // Another tenant's namespace of that name is its own.
    let other = Tenant::new("other").unwrap();
    ruler.set_group(&other, PACK_NAMESPACE, read_group(b"name: g").unwrap()).unwrap();
    let error = ruler.delete_namespace(&Tenant::single(), PACK_NAMESPACE).unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly);
    assert!(error.to_string().contains("logyard rules pack"), "{error}");
}

#[test]
fn bounds_and_sources_are_told() {
    let mut world = World::new();
    (world.settings.groups_max, world.settings.rules_per_group_max) = (2, 1);
    world.settings.dir = "/rules".to_owned();
    world.disk.create_dir_all(Path::new("/rules")).unwrap();
    world.disk.write_atomic(Path::new("/rules/f.yaml"), b"groups: [{name: a}]").unwrap();
    let ruler = world.open();
    let tenant = Tenant::single();
    let set = |namespace: &str, group: &str| {
        ruler
            .set_group(&tenant, namespace, read_group(group.as_bytes()).unwrap())
            .map_err(|error| error.to_string())
    };
    assert_eq!(set("n", "name: a"), Ok(()));
    assert_eq!(set("n", "name: b"), Ok(()));
    assert_eq!(set("n", "name: b"), Ok(()));
    let text = set("m", "name: a").unwrap_err();
    assert!(text.starts_with("per-user rule groups limit (limit: 2 actual: 3) exceeded"), "{text}");
    let two = "name: a\nrules: [{alert: A, expr: vector(1)}, {alert: B, expr: vector(1)}]";
    let text = set("n", two).unwrap_err();
    assert!(text.starts_with("per-user rules per rule group limit (limit: 1 actual: 2) exceeded"), "{text}");
    let text = set("f.yaml", "name: a").unwrap_err();
    assert!(
        text.starts_with("SetRuleGroup unsupported in rule local store: this namespace is a file"),
        "{text}"
    );
    assert_eq!(ruler.namespaces(&tenant).keys().collect::<Vec<_>>(), ["f.yaml", "n"]);
    assert_eq!(ruler.group(&tenant, "f.yaml", "a").unwrap().name, "a");
    assert_eq!(ruler.group(&tenant, "f.yaml", "b").unwrap_err().to_string(), "group does not exist");
    // A bad file changes nothing, also one with too many rules.
    let file = format!("groups: [{{{}}}]", two.replace('\n', ", "));
    world.disk.write_atomic(Path::new("/rules/g.yaml"), file.as_bytes()).unwrap();
    assert!(!ruler.reload_folder());
    assert_eq!(ruler.namespaces(&tenant).len(), 2);
    assert!(world.metrics().contains("logyard_rules_folder_good 0"));
    world.disk.remove_file(Path::new("/rules/g.yaml")).unwrap();
    assert!(ruler.reload_folder());
    world.settings.api_enabled = false;
    let ruler = world.open();
    let text = ruler.group(&tenant, "n", "a").unwrap_err().to_string();
    assert_eq!(text, "GetRuleGroup unsupported in rule local store");
    assert_eq!(ruler.delete_namespace(&tenant, "n").unwrap_err().kind(), Kind::ReadOnly);
}

#[tokio::test]
async fn lines_come_with_an_alert_that_begins_to_fire() {
    let mut world = World::new();
    world.settings.mask = vec!["user ([a-z]+)".to_owned()];
    let ruler = world.open();
    let expr = r#"sum by (app) (count_over_time({job="j"} |= "ERROR" [1m])) > 1"#;
    let group = GROUP.replace("vector(1)", &format!("'{expr}'"));
    set(&ruler, &group.replace("has {{ $value }}", "wrote {{ range $lines }}{{ . }}|{{ end }}"));
    *world.answers.lines.lock() = vec!["ERROR one password=sesame", "ERROR two for user joe"];
    let alert = |ruler: &Ruler| ruler.status(&Tenant::single())[0].rules[0].alerts[0].clone();
    world.answer(&["web"]);
    world.pass(&ruler, 30).await;
    assert_eq!((alert(&ruler).state, world.answers.asked_lines.lock().len()), (AlertState::Pending, 0));
    assert_eq!(alert(&ruler).annotations.get("text"), Some("web wrote "));
    world.pass(&ruler, 10).await;
    assert_eq!(alert(&ruler).state, AlertState::Firing);
    let want = Some("web wrote ERROR one password=***|ERROR two for user ***|");
    assert_eq!(alert(&ruler).annotations.get("text"), want);
    // They are looked for once, and stay: over a restart, too.
    *world.answers.lines.lock() = vec!["ERROR three"];
    world.pass(&ruler, 60).await;
    let ruler = world.open();
    world.pass(&ruler, 60).await;
    assert_eq!(alert(&ruler).annotations.get("text"), want);
    assert_eq!(*world.answers.asked_lines.lock(), [r#"{job="j"} |= "ERROR" | app="web" over 60 s"#]);
    // An alert that begins anew has lines of its own.
    world.answer(&[]);
    world.pass(&ruler, 20).await;
    world.answer(&["web"]);
    world.pass(&ruler, 60).await;
    assert_eq!(alert(&ruler).annotations.get("text"), Some("web wrote ERROR three|"));
}
