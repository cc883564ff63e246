//! The stage `metrics`: counters, gauges and histograms of what lines say, kept until somebody asks for them.
//!
//! Each series has the labels of its entries. All targets of a job share them; a series nobody touched for
//! `max_idle_duration` is forgotten, and at most [`SERIES_MAX`] of one metric are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use logyard_logql::parse_go_duration;
use logyard_model::LabelSet;

use crate::entry::{Entry, Value};
use crate::error::Error;
use crate::relabel::is_label_name;
use crate::settings::{MetricAction, MetricSettings, MetricType};

/// Series of one metric; entries of further ones are not counted.
const SERIES_MAX: usize = 10_000;
const IDLE_NS: i64 = 300 * 1_000_000_000;
const IDLE_NS_MIN: i64 = 1_000_000_000;
/// While a metric is full, idle series are looked for this often: a look costs a walk over all of them.
const SWEEP_NS: i64 = 1_000_000_000;
const PREFIX: &str = "promtail_custom_";
/// Bounds of a histogram that names none, as Prometheus' libraries have them.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// `metrics`.
#[derive(Clone, Debug)]
pub(crate) struct MetricsStage {
    metrics: Vec<Metric>,
}

#[derive(Clone, Debug)]
struct Metric {
    source: String,
    action: MetricAction,
    value: Option<String>,
    matches_all: bool,
    counts_bytes: bool,
    idle_ns: i64,
    family: MetricFamily,
}

/// One metric of a stage, for pages of metrics. Cheap to clone; clones share their series.
#[derive(Clone, Debug)]
pub struct MetricFamily {
    name: Arc<str>,
    help: Arc<str>,
    kind: MetricType,
    buckets: Arc<[f64]>,
    idle_ns: i64,
    series: Arc<Mutex<AllSeries>>,
}

#[derive(Debug, Default)]
struct AllSeries {
    by_labels: HashMap<Arc<LabelSet>, Series>,
    /// When idle ones were last looked for to make room.
    swept_ns: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    value: f64,
    /// Of a histogram: observations by bucket, the last beyond all bounds.
    counts: Vec<u64>,
    touched_ns: i64,
}

/// The present value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Labels of its entries, without those that begin with `__`.
    pub labels: LabelSet,
    /// Of a counter or gauge its value; of a histogram the sum of what was observed.
    pub value: f64,
    /// Of a histogram: upper bound and number of observations of each bucket, not added up; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// When an entry last changed it, in ns since the Unix epoch.
    pub touched_ns: i64,
}

impl MetricSample {
    /// Adds another job's sample of the same metric and labels: counts are added up, of a gauge the later value counts.
    ///
    /// Histograms must have the same bounds; see [`MetricFamily::has_shape_of`].
    pub fn merge(&mut self, other: &Self, kind: MetricType) {
        let is_later = other.touched_ns > self.touched_ns;
        self.touched_ns = self.touched_ns.max(other.touched_ns);
        match kind {
            MetricType::Gauge if is_later => self.value = other.value,
            MetricType::Gauge => {}
            MetricType::Counter | MetricType::Histogram => self.value += other.value,
        }
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }
}

impl MetricsStage {
    pub(crate) fn compile(settings: &BTreeMap<String, MetricSettings>) -> Result<Self, Error> {
        if settings.is_empty() {
            return Err(Error::new("no metric is given"));
        }
        let compile = |(name, one): (&String, &MetricSettings)| {
            Metric::compile(name, one).map_err(|error| error.inside(name.as_str()))
        };
        Ok(Self { metrics: settings.iter().map(compile).collect::<Result<_, _>>()? })
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = MetricFamily> + '_ {
        self.metrics.iter().map(|metric| metric.family.clone())
    }

    pub(crate) fn apply(&self, entry: &Entry, now_ns: i64) {
        for metric in &self.metrics {
            metric.record(entry, now_ns);
        }
    }
}

impl Metric {
    fn compile(name: &str, settings: &MetricSettings) -> Result<Self, Error> {
        let config = &settings.config;
        let prefix = settings.prefix.as_deref().filter(|prefix| !prefix.is_empty()).unwrap_or(PREFIX);
        let full = format!("{prefix}{name}");
        if !is_label_name(&full.replace(':', "_")) {
            return Err(Error::new(format!("{full:?} is no name of a metric; use letters, digits and _")));
        }
        let refuse = |key: &str, reason: String| Err(Error::new(reason).inside(key).inside("config"));
        let action = match (settings.kind, config.action) {
            (MetricType::Histogram, None) => MetricAction::Set,
            (MetricType::Counter, Some(action @ (MetricAction::Inc | MetricAction::Add))) => action,
            (MetricType::Gauge, Some(action)) => action,
            (MetricType::Counter, _) => return refuse("action", "want inc or add".to_owned()),
            (MetricType::Gauge, None) => {
                return refuse("action", "want one of set, inc, dec, add, sub".to_owned());
            }
            (MetricType::Histogram, Some(_)) => {
                return refuse("action", "a histogram has none; remove it".to_owned());
            }
        };
        if config.match_all && (config.value.is_some() || settings.kind != MetricType::Counter) {
            return refuse("match_all", "is for counters without a value".to_owned());
        }
        if config.count_entry_bytes && (!config.match_all || action != MetricAction::Add) {
            return refuse("count_entry_bytes", "wants match_all: true and action: add".to_owned());
        }
        let idle_ns = match &settings.max_idle_duration {
            None => IDLE_NS,
            Some(text) => match parse_go_duration(text) {
                Ok(ns) if ns >= IDLE_NS_MIN => ns,
                Ok(_) => return Err(Error::new("want at least 1s").inside("max_idle_duration")),
                Err(reason) => return Err(Error::new(reason).inside("max_idle_duration")),
            },
        };
        let buckets = match (settings.kind, config.buckets.as_deref()) {
            (MetricType::Histogram, None | Some([])) => BUCKETS.to_vec(),
            (MetricType::Histogram, Some(given)) if given.is_sorted_by(|a, b| a < b) => given.to_vec(),
            (MetricType::Histogram, Some(_)) => {
                return refuse("buckets", "want numbers in ascending order".to_owned());
            }
            _ => Vec::new(),
        };
        let source = settings.source.clone().filter(|source| !source.is_empty());
        Ok(Self {
            source: source.unwrap_or_else(|| name.to_owned()),
            action,
            value: config.value.clone(),
            matches_all: config.match_all,
            counts_bytes: config.count_entry_bytes,
            idle_ns,
            family: MetricFamily {
                name: full.into(),
                help: settings.description.as_deref().unwrap_or_default().into(),
                kind: settings.kind,
                buckets: buckets.into(),
                idle_ns,
                series: Arc::default(),
            },
        })
    }

    fn record(&self, entry: &Entry, now_ns: i64) {
        let found = entry.extracted.value(&self.source);
        let number = if self.matches_all {
            if self.counts_bytes { Some(entry.line.len() as f64) } else { Some(1.0) }
        } else {
            let Some(found) = found else { return };
            let is_other =
                self.value.as_ref().is_some_and(|want| found.text().is_none_or(|text| text != **want));
            if is_other {
                return;
            }
            number_of(&found)
        };
        let (kind, action) = (self.family.kind, self.action);
        let wants_number = kind == MetricType::Histogram
            || matches!(action, MetricAction::Set | MetricAction::Add | MetricAction::Sub);
        let number = match number {
            Some(number) if number.is_finite() && (number >= 0.0 || kind != MetricType::Counter) => number,
            _ if wants_number => return,
            _ => 1.0,
        };
        self.family.with_series(entry, now_ns, self.idle_ns, |series, buckets| match action {
            _ if kind == MetricType::Histogram => {
                series.counts.resize(buckets.len() + 1, 0);
                let place = buckets.partition_point(|bound| *bound < number);
                if let Some(count) = series.counts.get_mut(place) {
                    *count += 1;
                }
                series.value += number;
            }
            MetricAction::Set => series.value = number,
            MetricAction::Inc => series.value += 1.0,
            MetricAction::Dec => series.value -= 1.0,
            MetricAction::Add => series.value += number,
            MetricAction::Sub => series.value -= number,
        });
    }
}

impl MetricFamily {
    /// Returns the name, prefix and all.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the description.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// Returns the type.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// Returns whether two metrics are of one type, with the same buckets: then their samples can be merged.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.buckets == other.buckets
    }

    /// Returns the present values, sorted by labels, and forgets those that were idle too long.
    pub fn samples(&self, now_ns: i64) -> Vec<MetricSample> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        forget_idle(&mut all.by_labels, now_ns, self.idle_ns);
        let sample = |(labels, series): (&Arc<LabelSet>, &Series)| MetricSample {
            labels: LabelSet::clone(labels),
            value: series.value,
            buckets: self
                .buckets
                .iter()
                .copied()
                .chain([f64::INFINITY])
                .zip(series.counts.iter().copied())
                .collect(),
            touched_ns: series.touched_ns,
        };
        let mut samples: Vec<MetricSample> = all.by_labels.iter().map(sample).collect();
        samples.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        samples
    }

    fn with_series(
        &self,
        entry: &Entry,
        now_ns: i64,
        idle_ns: i64,
        change: impl FnOnce(&mut Series, &[f64]),
    ) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = match entry.labels.iter().any(|(name, _)| name.starts_with("__")) {
            false => Arc::clone(&entry.labels),
            true => Arc::new(crate::relabel::without_meta(&entry.labels)),
        };
        if all.by_labels.len() >= SERIES_MAX && !all.by_labels.contains_key(&labels) {
            // The clock may have been set back.
            let is_due = all.swept_ns.is_none_or(|at| now_ns.saturating_sub(at).saturating_abs() >= SWEEP_NS);
            if is_due {
                all.swept_ns = Some(now_ns);
                forget_idle(&mut all.by_labels, now_ns, idle_ns);
            }
            if all.by_labels.len() >= SERIES_MAX {
                return;
            }
        }
        let series = all.by_labels.entry(labels).or_default();
        series.touched_ns = now_ns;
        change(series, &self.buckets);
    }
}

fn forget_idle(series: &mut HashMap<Arc<LabelSet>, Series>, now_ns: i64, idle_ns: i64) {
    series.retain(|_, series| now_ns.saturating_sub(series.touched_ns) <= idle_ns);
}

/// Reads a value as a number: a text may be a Go duration, in seconds.
fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Null => None,
        Value::Text(text) => {
            let duration = || parse_go_duration(text).ok().map(|ns| ns as f64 / 1e9);
            text.parse().ok().or_else(duration)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::StageSettings;
    use crate::{Line, LinesFrom, Now, Pipeline, Run};
    use logyard_sys::Random;

    const SECOND_NS: i64 = 1_000_000_000;

    fn run(metrics: &str, lines: &[&str], later_ns: i64) -> Vec<String> {
        let stages = format!(
            r#"[{{"logfmt": {{"mapping": {{"took": null, "level": null}}}}}}, {{"labels": {{"level": null}}}},
                {{"match": {{"selector": "{{app=\"x\"}}", "stages": [{{"metrics": {metrics}}}]}}}}]"#
        );
        let settings: Vec<StageSettings> = serde_json::from_str(&stages).unwrap();
        let pipeline = Pipeline::compile(&settings, LinesFrom::Files, 1 << 10).unwrap();
        let labels = Arc::new(LabelSet::from_pairs([("app", "x"), ("__tenant_id__", "t")]));
        let (metadata, random) = (LabelSet::default(), Random::seeded(1));
        let mut run = Run::new(&pipeline);
        for text in lines {
            let line = Line {
                labels: &labels,
                ts_ns: 0,
                text: text.as_bytes().into(),
                metadata: &metadata,
                output: 0,
            };
            run.push(line, (), Now { ns: 0, random: &random });
        }
        let mut shown = Vec::new();
        for family in pipeline.metrics() {
            for sample in family.samples(later_ns) {
                shown.push(format!(
                    "{}{} {} {:?}",
                    family.name(),
                    sample.labels,
                    sample.value,
                    sample.buckets
                ));
            }
        }
        shown
    }

    const LINES: [&str; 4] =
        ["level=info took=1.5", "level=warn took=250ms", "level=info took=2", "level=info took=soon"];

    #[track_caller]
    fn check(metrics: &str, want: &[&str]) {
        assert_eq!(run(metrics, &LINES, SECOND_NS), want);
    }

    #[test]
    fn counters_and_gauges() {
        check(
            r#"{"lines": {"type": "Counter", "config": {"action": "inc", "match_all": true}}}"#,
            &[
                r#"promtail_custom_lines{app="x", level="info"} 3 []"#,
                r#"promtail_custom_lines{app="x", level="warn"} 1 []"#,
            ],
        );
        check(
            r#"{"bytes": {"type": "counter", "prefix": "my_", "config": {"action": "add", "match_all": true,
                "count_entry_bytes": true}}}"#,
            &[r#"my_bytes{app="x", level="info"} 56 []"#, r#"my_bytes{app="x", level="warn"} 21 []"#],
        );
        check(
            r#"{"warned": {"type": "counter", "source": "level", "config": {"action": "inc", "value": "warn"}}}"#,
            &[r#"promtail_custom_warned{app="x", level="warn"} 1 []"#],
        );
        check(
            r#"{"took": {"type": "gauge", "config": {"action": "set"}}}"#,
            &[
                r#"promtail_custom_took{app="x", level="info"} 2 []"#,
                r#"promtail_custom_took{app="x", level="warn"} 0.25 []"#,
            ],
        );
    }

    #[test]
    fn histograms_and_idle_series() {
        let metrics = r#"{"took": {"type": "histogram", "max_idle_duration": "2s", "config": {"buckets": [0.5, 1.5]}}}"#;
        check(
            metrics,
            &[
                r#"promtail_custom_took{app="x", level="info"} 3.5 [(0.5, 0), (1.5, 1), (inf, 1)]"#,
                r#"promtail_custom_took{app="x", level="warn"} 0.25 [(0.5, 1), (1.5, 0), (inf, 0)]"#,
            ],
        );
        assert!(run(metrics, &LINES, 3 * SECOND_NS).is_empty());
    }

    #[test]
    fn a_full_metric_makes_room_once_a_second_at_most() {
        let json = r#"[{"metrics": {"n": {"type": "counter", "max_idle_duration": "2s",
            "config": {"action": "inc", "match_all": true}}}}]"#;
        let settings: Vec<StageSettings> = serde_json::from_str(json).unwrap();
        let pipeline = Pipeline::compile(&settings, LinesFrom::Files, 1 << 10).unwrap();
        let (metadata, random) = (LabelSet::default(), Random::seeded(1));
        let mut run = Run::new(&pipeline);
        let mut count = |number: usize, now_ns: i64| {
            let labels = Arc::new(LabelSet::from_pairs([("n", number.to_string().as_str())]));
            let line = Line { labels: &labels, ts_ns: 0, text: b"x".into(), metadata: &metadata, output: 0 };
            run.push(line, (), Now { ns: now_ns, random: &random });
            run.take(&mut Vec::new());
            let families = pipeline.metrics();
            let all = families[0].series.lock().unwrap();
            (all.by_labels.len(), all.swept_ns)
        };
        for number in 0..SERIES_MAX {
            count(number, 0);
        }
        assert_eq!(count(SERIES_MAX, SECOND_NS), (SERIES_MAX, Some(SECOND_NS)));
        assert_eq!(count(SERIES_MAX, 2 * SECOND_NS - 1), (SERIES_MAX, Some(SECOND_NS)), "no second look");
        assert_eq!(count(SERIES_MAX, 3 * SECOND_NS), (1, Some(3 * SECOND_NS)), "all others were idle");
    }

    #[test]
    fn samples_of_several_jobs_are_merged() {
        let sample = |value: f64, touched_ns: i64| MetricSample {
            labels: LabelSet::default(),
            value,
            buckets: vec![(1.0, 2), (f64::INFINITY, 1)],
            touched_ns,
        };
        let merged = |kind: MetricType| {
            let mut first = sample(5.0, 7);
            first.merge(&sample(2.0, 6), kind);
            (first.value, first.buckets[0].1, first.touched_ns)
        };
        assert_eq!(merged(MetricType::Counter), (7.0, 4, 7));
        assert_eq!(merged(MetricType::Histogram), (7.0, 4, 7));
        assert_eq!(merged(MetricType::Gauge), (5.0, 4, 7));
        let mut first = sample(5.0, 6);
        first.merge(&sample(2.0, 7), MetricType::Gauge);
        assert_eq!(first.value, 2.0);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let refused = |metrics: &str| {
            let settings: Vec<StageSettings> =
                serde_json::from_str(&format!(r#"[{{"metrics": {metrics}}}]"#)).unwrap();
            Pipeline::compile(&settings, LinesFrom::Files, 1 << 10).unwrap_err().to_string()
        };
        for (metrics, want) in [
            (r#"{"a": {"type": "counter", "config": {"action": "set"}}}"#, "0.metrics.a.config.action: "),
            (r#"{"a": {"type": "gauge"}}"#, "0.metrics.a.config.action: "),
            (r#"{"a-b": {"type": "gauge"}}"#, "0.metrics.a-b: "),
            (
                r#"{"a": {"type": "counter", "config": {"action": "inc", "match_all": true, "value": "x"}}}"#,
                "0.metrics.a.config.match_all: ",
            ),
            (
                r#"{"a": {"type": "histogram", "config": {"buckets": [2, 1]}}}"#,
                "0.metrics.a.config.buckets: ",
            ),
            (
                r#"{"a": {"type": "histogram", "max_idle_duration": "1ms"}}"#,
                "0.metrics.a.max_idle_duration: ",
            ),
        ] {
            let error = refused(metrics);
            assert!(error.starts_with(want), "{error}");
        }
    }
}
