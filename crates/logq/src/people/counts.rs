//! Counts by label over the range of the session, out of instant queries.

use std::collections::BTreeMap;
use std::time::Duration;

use logyard_client::{InstantQuery, RangeQuery};
use logyard_model::{Direction, TimeRange};

use crate::run::Stop;
use crate::series::flatten;
use crate::session::{Session, refused};

/// What people call errors: the levels that stores detect.
pub(crate) const ERRORS: &str = r#"| detected_level=~"error|critical|fatal""#;

/// Points of a trend.
const TREND_POINTS: i64 = 24;

/// Returns the range as a duration of LogQL, whole seconds.
pub(crate) fn window(range: TimeRange) -> String {
    format!("{}s", (range.end_ns.saturating_sub(range.start_ns) / 1_000_000_000).max(1))
}

/// Evaluates a metric query at the end of the range; returns the values by those of one label.
pub(crate) async fn by_label(
    query: String,
    label: &str,
    range: TimeRange,
    session: &mut Session<'_>,
) -> Result<BTreeMap<String, f64>, Stop> {
    let call = InstantQuery { query: query.clone(), time_ns: range.end_ns };
    let answer = session.client()?.query(&call).await.map_err(|error| refused(error, &query))?;
    session.warn(&answer.warnings)?;
    let samples = flatten(answer.data);
    Ok(samples
        .into_iter()
        .map(|sample| (sample.labels.get(label).cloned().unwrap_or_default(), sample.value))
        .collect())
}

/// Returns how many entries each value of a label had, step by step over the range.
pub(crate) async fn trends(
    selector: &str,
    label: &str,
    range: TimeRange,
    session: &mut Session<'_>,
) -> Result<BTreeMap<String, Vec<f64>>, Stop> {
    let step_secs = (range.end_ns.saturating_sub(range.start_ns) / 1_000_000_000 / TREND_POINTS).max(1);
    let query = format!("sum by ({label}) (count_over_time({selector}[{step_secs}s]))");
    let step_ns = step_secs * 1_000_000_000;
    let first_ns = range.end_ns.saturating_sub(step_ns * (TREND_POINTS - 1));
    let call = RangeQuery {
        query: query.clone(),
        range: TimeRange { start_ns: first_ns, end_ns: range.end_ns },
        limit: 100,
        direction: Direction::Backward,
        step: Some(Duration::from_secs(u64::try_from(step_secs).unwrap_or(1))),
    };
    let answer = session.client()?.query_range(&call).await.map_err(|error| refused(error, &query))?;
    let mut trends: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for sample in flatten(answer.data) {
        let name = sample.labels.get(label).cloned().unwrap_or_default();
        let points =
            trends.entry(name).or_insert_with(|| vec![0.0; usize::try_from(TREND_POINTS).unwrap_or(1)]);
        // Stores round the times of evaluation to the step in their own ways.
        let index = (sample.ts_ns.saturating_sub(first_ns) + step_ns / 2).div_euclid(step_ns);
        if let Some(point) = usize::try_from(index).ok().and_then(|index| points.get_mut(index)) {
            *point = sample.value;
        }
    }
    Ok(trends)
}
