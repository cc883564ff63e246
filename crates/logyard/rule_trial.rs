//! Tests of rules: given log lines go into a store in memory, the clock is moved second by second, and the alerts that
//! fire are compared with those expected.
//!
//! Store, engine and ruler are those of a running process, over a simulated disk. Keys are promtool's where it has one.
//! Time begins at 0 s; groups are evaluated at multiples of their intervals, 0 included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_engine::{Engine, EngineSettings};
use logyard_ingest::{Ingest, IngestSettings, LokiPush};
use logyard_model::{LabelSet, MatchOp, Tenant};
use logyard_rules::{AlertState, Pairs, Ruler, RulerParts, RulesSettings, Span, Spread};
use logyard_server::RuleQueries;
use logyard_store::{Store, StoreParts, StoreSettings};
use logyard_sys::{Clock, Disk, Random, SimClock, SimDisk};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::command_rules::read;

/// When tests begin, 2026-01-01 UTC.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;

const SEC_NS: i64 = 1_000_000_000;

/// Longest time of a test: each second takes its turn.
const SECONDS_MAX: i64 = 7 * 86400;

/// Most lines of a test.
const LINES_MAX: usize = 1_000_000;

/// Most bytes of a test file.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialFile {
    /// Relative to this file.
    rule_files: Vec<String>,
    /// For groups that name no interval.
    #[serde(default)]
    evaluation_interval: Option<Span>,
    tests: Vec<Trial>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    #[serde(default)]
    name: String,
    #[serde(default)]
    input_streams: Vec<InputStream>,
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputStream {
    /// Labels, as a selector.
    stream: String,
    lines: Vec<InputLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputLine {
    at: Span,
    line: String,
    #[serde(default)]
    every: Option<Span>,
    #[serde(default)]
    times: Option<u32>,
    /// Structured metadata of each.
    #[serde(default)]
    metadata: Pairs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertTest {
    eval_time: Span,
    alertname: String,
    /// All that fire, no others.
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedAlert {
    #[serde(default)]
    exp_labels: Pairs,
    /// Not compared if left out.
    #[serde(default)]
    exp_annotations: Option<Pairs>,
}

/// Runs a file of tests. Returns what failed, a line for each.
pub(crate) fn run(path: &Path, disk: &dyn Disk) -> anyhow::Result<Vec<String>> {
    let meta = disk.metadata(path)?.context("no such file")?;
    anyhow::ensure!(
        meta.bytes <= FILE_BYTES_MAX,
        "{} bytes, at most {FILE_BYTES_MAX} are allowed",
        meta.bytes
    );
    let bytes = disk.read(path)?;
    let file: TrialFile = serde_yaml_ng::from_slice(&bytes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut faults = Vec::new();
    for (number, trial) in file.tests.iter().enumerate() {
        let name = match trial.name.as_str() {
            "" => format!("test {}", number + 1),
            name => name.to_owned(),
        };
        let at = || format!("in {name:?}");
        let found = runtime.block_on(run_trial(trial, &file, path, disk)).with_context(at)?;
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    Ok(faults)
}

async fn run_trial(
    trial: &Trial,
    file: &TrialFile,
    path: &Path,
    disk: &dyn Disk,
) -> anyhow::Result<Vec<String>> {
    let world = World::open(file.evaluation_interval).await?;
    for name in &file.rule_files {
        let rules = path.parent().unwrap_or(Path::new("")).join(name);
        for group in read(&rules, disk).map_err(anyhow::Error::msg)? {
            world.ruler.set_group(&Tenant::single(), name, group)?;
        }
    }
    let mut lines = lines_of(&trial.input_streams)?;
    let last_ns = trial.alert_rule_test.iter().map(|test| test.eval_time.0).max().unwrap_or(0);
    anyhow::ensure!(last_ns / SEC_NS <= SECONDS_MAX, "eval_time is beyond {} days", SECONDS_MAX / 86400);
    let mut faults = Vec::new();
    for second in 0..=last_ns.div_euclid(SEC_NS) {
        world.clock.advance(Duration::from_secs(1));
        // Those of this second and before; the map is in order of time.
        let later = lines.split_off(&(second * SEC_NS + 1));
        world.push(std::mem::replace(&mut lines, later)).await?;
        world.ruler.tick().await;
        let due = trial.alert_rule_test.iter().filter(|test| test.eval_time.0.div_euclid(SEC_NS) == second);
        faults.extend(due.filter_map(|test| world.compare(test)));
    }
    world.store.close().await?;
    Ok(faults)
}

/// Lines by the time at which they come, each with the labels of its stream and its structured metadata.
type Lines = BTreeMap<i64, Vec<(LabelSet, String, Pairs)>>;

fn lines_of(streams: &[InputStream]) -> anyhow::Result<Lines> {
    let mut lines = Lines::new();
    let mut count = 0;
    for stream in streams {
        let labels = labels_of(&stream.stream)?;
        for line in &stream.lines {
            let times = line.times.unwrap_or(1);
            let every_ns = line.every.map_or(0, |span| span.0);
            anyhow::ensure!(
                times <= 1 || every_ns > 0,
                "times wants every, the time between two: {:?}",
                line.line
            );
            for turn in 0..times {
                count += 1;
                anyhow::ensure!(count <= LINES_MAX, "more than {LINES_MAX} lines");
                let at_ns = line.at.0.saturating_add(every_ns.saturating_mul(i64::from(turn)));
                lines.entry(at_ns).or_default().push((
                    labels.clone(),
                    line.line.clone(),
                    line.metadata.clone(),
                ));
            }
        }
    }
    Ok(lines)
}

fn labels_of(selector: &str) -> anyhow::Result<LabelSet> {
    let matchers = logyard_server::parse_selector(selector)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("cannot read stream {selector:?}"))?;
    let is_plain = matchers.iter().all(|matcher| matcher.op() == MatchOp::Equal);
    anyhow::ensure!(is_plain, "stream {selector:?} wants = only, since it has these labels");
    Ok(LabelSet::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))))
}

/// A store in memory, and the rules over it.
struct World {
    clock: Arc<SimClock>,
    store: Store,
    ingest: Ingest,
    ruler: Ruler,
}

impl World {
    async fn open(interval: Option<Span>) -> anyhow::Result<Self> {
        Self::open_at(BEGIN_NS - SEC_NS, interval).await
    }

    async fn open_at(now_ns: i64, interval: Option<Span>) -> anyhow::Result<Self> {
        let sim_clock = Arc::new(SimClock::new(now_ns));
        let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&sim_clock);
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let mut registry = Registry::default();
        let data_dir = Path::new("/data");
        let parts = StoreParts {
            disk: Arc::clone(&disk),
            clock: Arc::clone(&clock),
            random: Arc::new(Random::seeded(0)),
            registry: &mut registry,
        };
        let store = Store::open(data_dir, StoreSettings::default(), parts)?;
        store.recovered().await?;
        let ingest = Ingest::new(IngestSettings::default(), store.clone(), Arc::clone(&clock), &mut registry);
        let engine = Arc::new(Engine::new(EngineSettings::default()));
        let mut settings = RulesSettings::default();
        if let Some(Span(ns)) = interval {
            settings.interval_secs = u64::try_from(ns / SEC_NS).unwrap_or_default().max(1);
        }
        let ruler = Ruler::open(RulerParts {
            settings,
            disk,
            clock,
            data_dir,
            evaluate: Arc::new(RuleQueries::new(engine, store.clone())),
            targets: Vec::new(),
            pack_tenant: None,
            spread: Spread::None,
            registry: &mut registry,
        })?;
        Ok(Self { clock: sim_clock, store, ingest, ruler })
    }

    async fn push(&self, lines: Lines) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let stream = |at_ns: i64, (labels, line, metadata): (LabelSet, String, Pairs)| {
            let labels: serde_json::Map<String, serde_json::Value> =
                labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            serde_json::json!({ "stream": labels, "values": [[(BEGIN_NS + at_ns).to_string(), line, metadata]] })
        };
        let streams: Vec<_> = lines
            .into_iter()
            .flat_map(|(at_ns, lines)| lines.into_iter().map(move |line| stream(at_ns, line)))
            .collect();
        let push = LokiPush {
            tenant: Tenant::single(),
            body: serde_json::json!({ "streams": streams }).to_string().into(),
            content_type: Some("application/json".to_owned()),
            content_encoding: String::new(),
            room: None,
        };
        let verdict = self.ingest.push_loki(push).await?;
        match verdict.message() {
            Some(reason) if verdict.rejected() > 0 => anyhow::bail!("a line is not accepted: {reason}"),
            _ => Ok(()),
        }
    }

    /// Compares the alerts that fire now. Returns how they differ.
    fn compare(&self, test: &AlertTest) -> Option<String> {
        let status = self.ruler.status(&Tenant::single());
        let firing: Vec<_> = status
            .iter()
            .flat_map(|group| group.rules.iter().flat_map(|rule| &rule.alerts))
            .filter(|alert| alert.state == AlertState::Firing)
            .filter(|alert| alert.labels.get("alertname") == Some(&test.alertname))
            .collect();
        let with_annotations = test.exp_alerts.iter().any(|alert| alert.exp_annotations.is_some());
        let shown = |labels: &LabelSet, annotations: &LabelSet| match with_annotations {
            true => format!("{labels} {annotations}"),
            false => labels.to_string(),
        };
        let got: BTreeSet<String> =
            firing.iter().map(|alert| shown(&alert.labels, &alert.annotations)).collect();
        let expected = |alert: &ExpectedAlert| {
            let set = |pairs: &Pairs| {
                LabelSet::from_pairs(pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())))
            };
            let mut labels = set(&alert.exp_labels);
            labels.insert("alertname", test.alertname.as_str());
            shown(&labels, &alert.exp_annotations.as_ref().map(set).unwrap_or_default())
        };
        let want: BTreeSet<String> = test.exp_alerts.iter().map(expected).collect();
        if got == want {
            return None;
        }
        let list = |set: &BTreeSet<String>| match set.is_empty() {
            true => "none".to_owned(),
            false => set.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        let seconds = test.eval_time.0 / SEC_NS;
        Some(format!("{} at {seconds} s: want {}, got {}", test.alertname, list(&want), list(&got)))
    }
}

#[cfg(test)]
mod false_alarms;

#[cfg(test)]
mod tests;
