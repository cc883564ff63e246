//! Samples of a metric query, flat.

use std::sync::Arc;

use logyard_wire::loki_query::{Labels, PointAnswer, QueryData};

/// One number at one time, with the labels of its series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Nanoseconds since the Unix epoch.
    pub(crate) ts_ns: i64,
    /// Labels of the series.
    pub(crate) labels: Arc<Labels>,
    /// The number; may be NaN or infinite.
    pub(crate) value: f64,
}

impl Sample {
    fn new(labels: &Arc<Labels>, point: PointAnswer) -> Self {
        // Answers carry milliseconds; through whole milliseconds the float leaves no dust behind.
        #[allow(clippy::cast_possible_truncation, reason = "float to integer casts saturate")]
        let ts_ms = (point.ts_secs * 1000.0).round() as i64;
        Self { ts_ns: ts_ms.saturating_mul(1_000_000), labels: Arc::clone(labels), value: point.value }
    }

    /// Returns the number as LogQL writes it.
    pub(crate) fn value_text(&self) -> String {
        match self.value {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() && value > 0.0 => "+Inf".to_owned(),
            value if value.is_infinite() => "-Inf".to_owned(),
            value => value.to_string(),
        }
    }
}

/// Flattens the answer of a metric query: by time, then in the order the store gave (which may be that
/// of `sort` or `topk`). Entries give none.
pub(crate) fn flatten(data: QueryData) -> Vec<Sample> {
    let mut samples = Vec::new();
    match data {
        QueryData::Streams(_) => {}
        QueryData::Matrix(all) => {
            for series in all {
                let labels = Arc::new(series.metric);
                samples.extend(series.values.into_iter().map(|point| Sample::new(&labels, point)));
            }
        }
        QueryData::Vector(all) => {
            for sample in all {
                samples.push(Sample::new(&Arc::new(sample.metric), sample.value));
            }
        }
        QueryData::Scalar(point) => samples.push(Sample::new(&Arc::new(Labels::new()), point)),
    }
    samples.sort_by_key(|sample| sample.ts_ns);
    samples
}

#[cfg(test)]
mod tests {
    use logyard_wire::loki_query::{QueryAnswer, decode};

    use super::*;

    #[test]
    fn samples_are_ordered_by_time() {
        let text = r#"{"data":{"resultType":"matrix","result":[
            {"metric":{"a":"1"},"values":[[10,"1"],[20.5,"2"]]},{"metric":{"a":"2"},"values":[[10,"+Inf"]]}]}}"#;
        let samples = flatten(decode::<QueryAnswer>(text.as_bytes()).unwrap().data);
        let flat: Vec<(i64, String)> =
            samples.iter().map(|sample| (sample.ts_ns / 1_000_000, sample.value_text())).collect();
        assert_eq!(flat, [(10_000, "1".to_owned()), (10_000, "+Inf".to_owned()), (20_500, "2".to_owned())]);
    }

    #[test]
    fn a_scalar_has_no_labels() {
        let text = r#"{"data":{"resultType":"scalar","result":[1795230049.342,"2"]}}"#;
        let samples = flatten(decode::<QueryAnswer>(text.as_bytes()).unwrap().data);
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].ts_ns, samples[0].value), (1_795_230_049_342_000_000, 2.0));
    }
}
