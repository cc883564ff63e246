//! What a query may ask for, checked before anything is read. Texts are Loki's (v3.7.6).

use crate::error::Error;
use crate::settings::EngineSettings;
use logyard_codec::BlockView;
use logyard_logql::{Expr, LogExpr, MetricExpr, PrometheusDuration};
use logyard_model::TimeRange;

const SECOND_NS: u64 = 1_000_000_000;

/// Refuses a query whose selectors or windows go beyond the settings.
pub(crate) fn check(settings: &EngineSettings, expr: &Expr) -> Result<(), Error> {
    let asked = Asked::of(expr);
    let matchers: usize = asked.selectors.iter().map(|log| log.matchers.len()).sum();
    if settings.matchers_max > 0 && matchers > settings.matchers_max {
        return Err(Error::invalid(format!(
            "max streams matchers per query exceeded, matchers-count > limit ({matchers} > {}); raise \
             engine.matchers_max",
            settings.matchers_max
        )));
    }
    for log in asked.selectors {
        check_labels(settings, log)?;
    }
    let range_max_ns = i64::try_from(settings.range_secs_max.saturating_mul(SECOND_NS)).unwrap_or(i64::MAX);
    match asked.ranges_ns.into_iter().find(|range_ns| range_max_ns > 0 && *range_ns > range_max_ns) {
        Some(range_ns) => Err(Error::invalid(format!(
            "[interval] value exceeds limit: [{}] > [{}]",
            PrometheusDuration(range_ns),
            PrometheusDuration(range_max_ns)
        ))),
        None => Ok(()),
    }
}

fn check_labels(settings: &EngineSettings, log: &LogExpr) -> Result<(), Error> {
    let present: Vec<&str> = log.matchers.iter().map(|matcher| matcher.name()).collect();
    let is_missing = |name: &&String| !present.contains(&name.as_str());
    let missing: Vec<&str> = settings.required_labels.iter().filter(is_missing).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Error::invalid(format!(
            "stream selector is missing required matchers [{}], labels present in the query were [{}]",
            missing.join(", "),
            present.join(", ")
        )));
    }
    if present.len() < settings.required_labels_min {
        return Err(Error::invalid(format!(
            "stream selector has less label matchers than required: (present: [{}], number_present: {}, \
             required_number_label_matchers: {})",
            present.join(", "),
            present.len(),
            settings.required_labels_min
        )));
    }
    Ok(())
}

/// What a metric query asks for.
#[derive(Default)]
struct Asked<'a> {
    selectors: Vec<&'a LogExpr>,
    ranges_ns: Vec<i64>,
}

/// Returns the log queries that a query is made of, in the order in which they are written.
pub(crate) fn selectors(expr: &Expr) -> Vec<&LogExpr> {
    Asked::of(expr).selectors
}

impl<'a> Asked<'a> {
    fn of(expr: &'a Expr) -> Self {
        let mut asked = Self::default();
        match expr {
            Expr::Log(log) => asked.selectors.push(log),
            Expr::Metric(expr) => asked.collect(expr),
            // Refused for another reason.
            Expr::Variants(_) => {}
        }
        asked
    }

    fn collect(&mut self, expr: &'a MetricExpr) {
        match expr {
            MetricExpr::Range(aggregation) => {
                self.selectors.push(&aggregation.range.log);
                self.ranges_ns.push(aggregation.range.range_ns);
            }
            MetricExpr::Vector(aggregation) => self.collect(&aggregation.inner),
            MetricExpr::LabelReplace(replace) => self.collect(&replace.inner),
            MetricExpr::Function(function) => {
                if let Some(inner) = function.inner() {
                    self.collect(inner);
                }
            }
            MetricExpr::Binary(binary) => {
                self.collect(&binary.left);
                self.collect(&binary.right);
            }
            MetricExpr::VectorOf(_) | MetricExpr::Literal(_) => {}
        }
    }
}

/// Cuts off what lies too far in the past.
pub(crate) fn cut(settings: &EngineSettings, range: TimeRange, now_ns: i64) -> TimeRange {
    if settings.lookback_secs_max == 0 {
        return range;
    }
    let lookback_ns = i64::try_from(settings.lookback_secs_max.saturating_mul(SECOND_NS)).unwrap_or(i64::MAX);
    TimeRange { start_ns: range.start_ns.max(now_ns.saturating_sub(lookback_ns)), ..range }
}

/// Refuses to read too much.
pub(crate) fn check_bytes(
    settings: &EngineSettings,
    views: &[BlockView],
    range: TimeRange,
) -> Result<(), Error> {
    let limit = settings.bytes_read_max;
    if limit == 0 {
        return Ok(());
    }
    let runs = views.iter().flat_map(|view| &view.runs);
    let inside = runs.filter(|run| range.overlaps(run.min_ns, run.max_ns));
    let bytes: u64 = inside.map(|run| run.raw_bytes).sum();
    if bytes <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream \
         selectors or reduce the time range of the query",
        Size(bytes),
        Size(limit)
    )))
}

/// Prints a number of bytes as Loki does: `2.1 GiB`, `21 GiB`.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Some(power) = self.0.checked_ilog2().map(|log2| log2 / 10).filter(|power| *power > 0) else {
            return write!(f, "{} B", self.0);
        };
        let value = self.0 as f64 / (1_u64 << (10 * power)) as f64;
        let unit = units.get(power as usize - 1).copied().unwrap_or_default();
        if value < 10.0 { write!(f, "{value:.1} {unit}") } else { write!(f, "{value:.0} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_logql::parse;

    fn check_text(settings: &EngineSettings, query: &str, expect: Option<&str>) {
        let found = check(settings, &parse(query).unwrap()).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expect, "{query}");
    }

    #[test]
    fn selectors() {
        let none = EngineSettings::default();
        check_text(&none, r#"{a="b"}"#, None);
        let two = EngineSettings { matchers_max: 2, ..none.clone() };
        check_text(&two, r#"{a="b", c="d"}"#, None);
        let text = "max streams matchers per query exceeded, matchers-count > limit (3 > 2); raise engine.matchers_max";
        check_text(&two, r#"rate({a="b", c="d"}[1m]) / rate({a="b"}[1m])"#, Some(text));
        let required = EngineSettings { required_labels: vec!["a".to_owned()], ..none.clone() };
        check_text(&required, r#"{a="b"}"#, None);
        let text = "stream selector is missing required matchers [a], labels present in the query were [b]";
        check_text(&required, r#"sum(rate({b="c"}[1m]))"#, Some(text));
        let least = EngineSettings { required_labels_min: 2, ..none };
        let text = "stream selector has less label matchers than required: (present: [a], number_present: 1, \
                    required_number_label_matchers: 2)";
        check_text(&least, r#"{a="b"}"#, Some(text));
    }

    #[test]
    fn windows() {
        let hour = EngineSettings { range_secs_max: 3600, ..EngineSettings::default() };
        check_text(&hour, r#"rate({a="b"}[1h])"#, None);
        let text = "[interval] value exceeds limit: [1d] > [1h]";
        check_text(&hour, r#"1 + label_replace(sum(rate({a="b"}[1d])), "a", "", "b", "")"#, Some(text));
        let range = TimeRange { start_ns: 0, end_ns: 5 };
        assert_eq!(cut(&hour, range, i64::MAX), range);
        let minute = EngineSettings { lookback_secs_max: 60, ..hour };
        let now_ns = 61_000_000_000;
        assert_eq!(cut(&minute, TimeRange { start_ns: 0, end_ns: now_ns }, now_ns).start_ns, 1_000_000_000);
        assert!(cut(&minute, range, now_ns).is_empty());
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [(5, "5 B"), (1536, "1.5 KiB"), (2_254_857_830, "2.1 GiB"), (22 << 30, "22 GiB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
