//! What clients probe: `drilldown-limits`, `/services`; and the older query path.

use super::*;
use serde_json::{Value, json};

#[tokio::test]
async fn check_55_limits_are_those_in_force() {
    let settings = ServerSettings { volume_series_max: 7, auth_enabled: true, ..ServerSettings::default() };
    let world = world_with(IngestSettings::default(), settings).await;
    let answer = world.get("/loki/api/v1/drilldown-limits").await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let limits = &body["limits"];
    for (name, value) in [
        ("retention_period", json!("30d")),
        ("max_query_length", json!("30d1h")),
        ("max_query_lookback", json!("0s")),
        ("query_timeout", json!("1m")),
        ("max_entries_limit_per_query", json!(5000)),
        ("volume_max_series", json!(7)),
        ("volume_enabled", json!(true)),
        ("otlp_config", json!({})),
    ] {
        assert_eq!(limits[name], value, "{name}");
    }
    assert_eq!(limits["log_level_fields"][0], "level");
    assert_eq!((&body["pattern_ingester_enabled"], &body["version"]), (&json!(true), &json!("3.7.6")));
    assert!(world.get("/services").await.text().starts_with("server => Running\n"));
}

#[tokio::test]
async fn the_older_query_path() {
    let world = world().await;
    let entries = [(NOW_NS - SEC_NS, "one rc=0"), (NOW_NS - 2 * SEC_NS, "two rc=1")];
    assert_eq!(world.push_json(&stream(r#"{"app":"o"}"#, &entries)).await.status, StatusCode::NO_CONTENT);
    let ask = async |query: &str, more: &str| {
        world.get(&format!("/api/prom/query?query={}&end={NOW_NS}{more}", escape(query))).await
    };
    let body: Value =
        serde_json::from_slice(&ask("{app=\"o\"} # all", "&regexp=rc=[0-4]").await.body).unwrap();
    let labels = r#"{app="o", detected_level="unknown", service_name="o"}"#;
    assert_eq!(
        body["streams"],
        json!([{"labels": labels, "entries": [
            {"ts": "2026-11-21T02:59:59Z", "line": "one rc=0"},
            {"ts": "2026-11-21T02:59:58Z", "line": "two rc=1"},
        ]}])
    );
    assert!(body["stats"]["summary"].is_object());
    let body: Value = serde_json::from_slice(&ask("{app=\"o\"}", "&regexp=rc=1").await.body).unwrap();
    assert_eq!(body["streams"][0]["entries"].as_array().unwrap().len(), 1);
    let metric = ask("rate({app=\"o\"}[1m])", "").await;
    assert_eq!(
        (metric.status, metric.text()),
        (StatusCode::BAD_REQUEST, "legacy endpoints only support streams result type")
    );
}
