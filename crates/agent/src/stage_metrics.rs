//! Metrics that stages keep of lines, on the page of metrics under the names that their settings give them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use logyard_model::LabelSet;
use logyard_pipeline::settings::MetricType;
use logyard_pipeline::{MetricFamily, MetricSample, Pipeline};
use logyard_sys::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder,
};
use prometheus_client::metrics::MetricType as Shown;

/// Families of all jobs. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct StageMetrics {
    clock: Arc<dyn Clock>,
    families: Arc<Mutex<Vec<MetricFamily>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Labels(LabelSet);

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

impl StageMetrics {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, families: Arc::default() }
    }

    /// Shows what the stages of these jobs keep, and no others. Metrics of one name are shown as one; one that differs
    /// from the first of its name cannot be, and is left out.
    pub(crate) fn show(&self, pipelines: &[Pipeline]) {
        let mut families: Vec<MetricFamily> = Vec::new();
        for family in pipelines.iter().flat_map(Pipeline::metrics) {
            let first = families.iter().find(|first| first.name() == family.name());
            if first.is_some_and(|first| !first.has_shape_of(&family)) {
                let metric = family.name();
                tracing::warn!(
                    metric,
                    "two stages keep metrics of one name and other types or buckets, so only the first is shown; rename one"
                );
                continue;
            }
            families.push(family);
        }
        *self.families.lock().unwrap_or_else(PoisonError::into_inner) = families;
    }
}

impl Collector for StageMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now_ns = self.clock.now_ns();
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Jobs may share a metric: it is described once.
        let mut by_name: BTreeMap<String, Vec<MetricFamily>> = BTreeMap::new();
        for family in families {
            by_name.entry(family.name().to_owned()).or_default().push(family);
        }
        for (name, families) in by_name {
            let Some(first) = families.first() else { continue };
            // The format adds _total to the name of a counter; one that the settings call otherwise keeps its name.
            let (shown, name) = match (first.kind(), name.strip_suffix("_total")) {
                (MetricType::Counter, Some(name)) => (Shown::Counter, name),
                (MetricType::Counter, None) => (Shown::Unknown, &*name),
                (MetricType::Gauge, _) => (Shown::Gauge, &*name),
                (MetricType::Histogram, _) => (Shown::Histogram, &*name),
            };
            let mut descriptor = encoder.encode_descriptor(name, first.help(), None, shown)?;
            let kind = first.kind();
            let mut merged: BTreeMap<LabelSet, MetricSample> = BTreeMap::new();
            for sample in families.iter().flat_map(|family| family.samples(now_ns)) {
                match merged.get_mut(&sample.labels) {
                    Some(held) => held.merge(&sample, kind),
                    None => drop(merged.insert(sample.labels.clone(), sample)),
                }
            }
            merged.values().try_for_each(|sample| encode(&mut descriptor, shown, sample))?;
        }
        Ok(())
    }
}

fn encode(descriptor: &mut MetricEncoder<'_>, shown: Shown, sample: &MetricSample) -> Result<(), fmt::Error> {
    let labels = Labels(sample.labels.clone());
    let mut metric = descriptor.encode_family(&labels)?;
    match shown {
        Shown::Counter => metric.encode_counter::<Labels, f64, f64>(&sample.value, None),
        Shown::Histogram => {
            let count = sample.buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<Labels>(sample.value, count, &sample.buckets, None)
        }
        _ => metric.encode_gauge(&sample.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_pipeline::{Line, LinesFrom, Now, Run};
    use logyard_sys::{Random, SimClock};
    use prometheus_client::registry::Registry;

    #[test]
    fn jobs_with_one_metric_are_added_up() {
        let pipeline = |json: &str| {
            let settings: Vec<_> = serde_json::from_str(json).unwrap();
            Pipeline::compile(&settings, LinesFrom::Files, 1 << 10).unwrap()
        };
        let counts =
            r#"[{"metrics": {"n": {"type": "counter", "config": {"action": "inc", "match_all": true}}}}]"#;
        let other =
            r#"[{"metrics": {"n": {"type": "gauge", "source": "app", "config": {"action": "set"}}}}]"#;
        let metrics = StageMetrics::new(Arc::new(SimClock::new(1)));
        let labels = Arc::new(LabelSet::from_pairs([("app", "7")]));
        let (metadata, random) = (LabelSet::default(), Random::seeded(1));
        let pipelines = [counts, counts, other].map(pipeline);
        metrics.show(&pipelines);
        for pipeline in &pipelines {
            let line = Line { labels: &labels, ts_ns: 0, text: b"l".into(), metadata: &metadata, output: 0 };
            Run::new(pipeline).push(line, (), Now { ns: 0, random: &random });
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["promtail_custom_n{app=\"7\"} 2.0"], "{page}");
    }

    #[test]
    fn the_page_shows_them_under_their_own_names() {
        let stages = r#"[{"metrics": {
            "lines": {"type": "counter", "description": "all lines", "config": {"action": "inc", "match_all": true}},
            "lines_total": {"type": "counter", "config": {"action": "inc", "match_all": true}},
            "app": {"type": "gauge", "prefix": "my_", "config": {"action": "set"}},
            "took": {"type": "histogram", "source": "app", "config": {"buckets": [1, 9]}}}}]"#;
        let pipeline =
            Pipeline::compile(&serde_json::from_str::<Vec<_>>(stages).unwrap(), LinesFrom::Files, 1 << 10)
                .unwrap();
        let metrics = StageMetrics::new(Arc::new(SimClock::new(1)));
        metrics.show(std::slice::from_ref(&pipeline));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let labels = Arc::new(LabelSet::from_pairs([("app", "7")]));
        let (metadata, random) = (LabelSet::default(), Random::seeded(1));
        let line = Line { labels: &labels, ts_ns: 0, text: b"l".into(), metadata: &metadata, output: 0 };
        Run::new(&pipeline).push(line, (), Now { ns: 0, random: &random });
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for want in [
            "# HELP promtail_custom_lines all lines",
            "promtail_custom_lines{app=\"7\"} 1",
            "promtail_custom_lines_total{app=\"7\"} 1",
            "my_app{app=\"7\"} 7",
            "promtail_custom_took_bucket{le=\"9.0\",app=\"7\"} 1",
            "promtail_custom_took_count{app=\"7\"} 1",
        ] {
            assert!(page.lines().any(|line| line.starts_with(want)), "{want} in\n{page}");
        }
    }
}
