//! How rules and alerts stand, as Prometheus' API tells it and Grafana's list of alerts reads it.

use crate::params::Params;
use crate::rules::{Refused, tenant_of};
use crate::state::State;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_model::LabelSet;
use logyard_rules::{AlertStatus, GroupStatus, Health, Pairs, Rule, RuleKind, RuleStatus};
use logyard_wire::go_time::GoTime;
use logyard_wire::json_text::push_string;
use std::sync::Arc;

const BEGIN: &[u8] = br#"{"status":"success","data":{"#;
const END: &[u8] = br#"},"errorType":"","error":""}"#;

/// Go's zero time: never.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Which groups and rules are asked for.
struct Wanted {
    alerts: bool,
    records: bool,
    files: Vec<String>,
    groups: Vec<String>,
    names: Vec<String>,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, Refused> {
        let kind = params.get("type").unwrap_or_default();
        if !matches!(kind, "" | "alert" | "record") {
            return Err(Refused::Json(StatusCode::BAD_REQUEST, format!("not supported value {kind:?}")));
        }
        let all = |plain: &str, listed: &str| {
            params.all(plain).chain(params.all(listed)).map(str::to_owned).collect::<Vec<_>>()
        };
        Ok(Self {
            alerts: kind != "record",
            records: kind != "alert",
            files: all("file", "file[]"),
            groups: all("rule_group", "rule_group[]"),
            names: all("rule_name", "rule_name[]"),
        })
    }

    fn takes_group(&self, group: &GroupStatus) -> bool {
        let among = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
        among(&self.files, &group.namespace) && among(&self.groups, &group.group.name)
    }

    fn takes(&self, rule: &Rule) -> bool {
        let kind = match rule.kind {
            RuleKind::Alert(_) => self.alerts,
            RuleKind::Record { .. } => self.records,
        };
        kind && (self.names.is_empty() || self.names.iter().any(|name| name == rule.name()))
    }

    /// Whether rules are picked, so that groups without any are not wanted.
    fn picks_rules(&self) -> bool {
        !self.names.is_empty() || !self.alerts || !self.records
    }
}

/// `GET /prometheus/api/v1/rules?type=&file=&rule_group=&rule_name=`
pub(crate) async fn rules(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let tenant = tenant_of(request.headers(), &state)?;
    let wanted = Wanted::read(&Params::of_url(request.uri())?)?;
    let mut body = [BEGIN, br#""groups":["#].concat();
    let mut is_first = true;
    for group in state.ruler.status(&tenant).iter().filter(|group| wanted.takes_group(group)) {
        let rules = group.group.rules.iter().zip(&group.rules);
        let rules: Vec<_> = rules.filter(|(rule, _)| wanted.takes(rule)).collect();
        if rules.is_empty() && wanted.picks_rules() {
            continue;
        }
        separate(&mut body, &mut is_first);
        push_group(&mut body, group, &rules);
    }
    body.push(b']');
    body.extend_from_slice(END);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// `GET /prometheus/api/v1/alerts`
pub(crate) async fn alerts(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let tenant = tenant_of(request.headers(), &state)?;
    let mut body = [BEGIN, br#""alerts":["#].concat();
    let mut is_first = true;
    for group in state.ruler.status(&tenant) {
        for alert in group.rules.iter().flat_map(|rule| &rule.alerts) {
            separate(&mut body, &mut is_first);
            push_alert(&mut body, alert);
        }
    }
    body.push(b']');
    body.extend_from_slice(END);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn separate(body: &mut Vec<u8>, is_first: &mut bool) {
    if !std::mem::take(is_first) {
        body.push(b',');
    }
}

fn push_group(body: &mut Vec<u8>, group: &GroupStatus, rules: &[(&Rule, &RuleStatus)]) {
    body.extend_from_slice(br#"{"name":"#);
    push_string(body, &group.group.name);
    body.extend_from_slice(br#","file":"#);
    push_string(body, &group.namespace);
    body.extend_from_slice(br#","rules":["#);
    let mut is_first = true;
    for (rule, status) in rules {
        separate(body, &mut is_first);
        push_rule(body, rule, status);
    }
    let (interval, limit) = (seconds(group.interval_ns), group.group.limit);
    push_text(body, &format!(r#"],"interval":{interval},"limit":{limit}"#));
    push_evaluation(body, group.last_evaluation_ns, group.evaluation_seconds);
    body.push(b'}');
}

fn push_rule(body: &mut Vec<u8>, rule: &Rule, status: &RuleStatus) {
    body.push(b'{');
    if let RuleKind::Alert(alert) = &rule.kind {
        push_text(body, &format!(r#""state":"{}","#, status.state().as_str()));
        push_text(body, &format!(r#""duration":{},"#, seconds(alert.for_ns)));
        if alert.keep_firing_for_ns > 0 {
            push_text(body, &format!(r#""keepFiringFor":{},"#, seconds(alert.keep_firing_for_ns)));
        }
        body.extend_from_slice(br#""annotations":"#);
        push_pairs(body, &alert.annotations);
        body.extend_from_slice(br#","alerts":["#);
        let mut is_first = true;
        for alert in &status.alerts {
            separate(body, &mut is_first);
            push_alert(body, alert);
        }
        body.extend_from_slice(b"],");
    }
    body.extend_from_slice(br#""name":"#);
    push_string(body, rule.name());
    body.extend_from_slice(br#","query":"#);
    push_string(body, &rule.query.to_string());
    body.extend_from_slice(br#","labels":"#);
    push_pairs(body, &rule.labels);
    let (health, error) = match &status.health {
        Health::Unknown => ("unknown", ""),
        Health::Good => ("ok", ""),
        Health::Failed(error) => ("err", error.as_str()),
    };
    push_text(body, &format!(r#","health":"{health}","lastError":"#));
    push_string(body, error);
    let kind = if matches!(rule.kind, RuleKind::Alert(_)) { "alerting" } else { "recording" };
    push_text(body, &format!(r#","type":"{kind}""#));
    push_evaluation(body, status.last_evaluation_ns, status.evaluation_seconds);
    body.push(b'}');
}

fn push_alert(body: &mut Vec<u8>, alert: &AlertStatus) {
    body.extend_from_slice(br#"{"labels":"#);
    push_labels(body, &alert.labels);
    body.extend_from_slice(br#","annotations":"#);
    push_labels(body, &alert.annotations);
    push_text(body, &format!(r#","state":"{}","activeAt":"#, alert.state.as_str()));
    push_string(body, &GoTime::from_ns(alert.active_at_ns).rfc3339_nano());
    push_text(body, &format!(r#","value":"{}"}}"#, exponent(alert.value)));
}

fn push_evaluation(body: &mut Vec<u8>, last_ns: Option<i64>, seconds: f64) {
    body.extend_from_slice(br#","lastEvaluation":"#);
    let last = last_ns.map_or_else(|| NEVER.to_owned(), |ns| GoTime::from_ns(ns).rfc3339_nano());
    push_string(body, &last);
    push_text(body, &format!(r#","evaluationTime":{seconds}"#));
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
}

fn push_labels(body: &mut Vec<u8>, labels: &LabelSet) {
    push_members(body, labels.iter());
}

fn push_pairs(body: &mut Vec<u8>, pairs: &Pairs) {
    push_members(body, pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())));
}

fn push_members<'a>(body: &mut Vec<u8>, members: impl Iterator<Item = (&'a str, &'a str)>) {
    body.push(b'{');
    let mut is_first = true;
    for (name, text) in members {
        separate(body, &mut is_first);
        push_string(body, name);
        body.push(b':');
        push_string(body, text);
    }
    body.push(b'}');
}

/// Prints ns as seconds, without decimals that are zeros.
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// Prints a number as Go's `%e` does: `1e+00`.
fn exponent(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_in_go() {
        for (value, want) in [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (-12345.5, "-1.23455e+04"),
            (0.001, "1e-03"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(exponent(value), want);
        }
        assert_eq!(
            (seconds(60_000_000_000).to_string(), seconds(1_500_000_000).to_string()),
            ("60".into(), "1.5".into())
        );
    }
}
