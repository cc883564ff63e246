//! `detected_labels`, `detected_fields` and `detected_field/<name>/values`.

use super::*;
use serde_json::{Value, json};

async fn ask(world: &World, path: &str, more: &str) -> Value {
    let end = NOW_NS + 1;
    let answer = world.get(&format!("/loki/api/v1/{path}?end={end}{more}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn check_52_labels_of_ids_are_left_out() {
    let world = world().await;
    let streams = [
        stream(r#"{"app":"a","id":"1","pod":"7"}"#, &[(NOW_NS, "x")]),
        stream(r#"{"app":"b","id":"2"}"#, &[(NOW_NS, "x")]),
    ];
    assert_eq!(world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    let all = json!({"detectedLabels": [
        {"label": "app", "cardinality": 2},
        {"label": "pod", "cardinality": 1},
        {"label": "service_name", "cardinality": 2},
    ]});
    assert_eq!(ask(&world, "detected_labels", "").await, all);
    assert_eq!(ask(&world, "detected_labels", "&query=%7B%7D").await, all);
    let some = ask(&world, "detected_labels", &format!("&query={}", escape("{app=\"b\"}"))).await;
    assert_eq!(some["detectedLabels"].as_array().unwrap().len(), 2);
    let none = ask(&world, "detected_labels", &format!("&query={}", escape("{app=\"c\"}"))).await;
    assert_eq!(none, json!({"detectedLabels": []}));
}

#[tokio::test]
async fn check_53_fields_come_from_metadata_and_lines() {
    let world = world().await;
    let entry = |at: i64, line: &str, trace: &str| {
        format!("[\"{}\",{},{{\"trace_id\":\"{trace}\"}}]", NOW_NS - at * SEC_NS, json!(line))
    };
    let values = [
        entry(1, r#"{"user":{"id":7},"level":"info"}"#, "t1"),
        entry(2, r#"{"user":{"id":9}}"#, "t2"),
        entry(3, "dur=5ms old", "t2"),
    ];
    let pushed = format!("{{\"stream\":{{\"app\":\"f\"}},\"values\":[{}]}}", values.join(","));
    assert_eq!(world.push_json(&pushed).await.status, StatusCode::NO_CONTENT);
    let query = format!("&query={}", escape("{app=\"f\"}"));
    let answer = ask(&world, "detected_fields", &query).await;
    let expect = json!({"fields": [
        {"label": "detected_level", "type": "string", "cardinality": 2, "parsers": null},
        {"label": "dur", "type": "duration", "cardinality": 1, "parsers": ["logfmt"]},
        {"label": "level", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["level"]},
        {"label": "trace_id", "type": "string", "cardinality": 2, "parsers": null},
        {"label": "user_id", "type": "int", "cardinality": 2, "parsers": ["json"], "jsonPath": ["user", "id"]},
    ], "limit": 1000});
    assert_eq!(answer, expect);
    let sampled = ask(&world, "detected_fields", &format!("{query}&line_limit=2&field_limit=1")).await;
    assert_eq!((sampled["fields"].as_array().unwrap().len(), &sampled["limit"]), (1, &json!(1)));
    let values = ask(&world, "detected_field/user_id/values", &query).await;
    assert_eq!(values, json!({"values": ["7", "9"], "limit": 1000}));
    let newest = ask(&world, "detected_field/user_id/values", &format!("{query}&line_limit=1")).await;
    assert_eq!(newest, json!({"values": ["7"], "limit": 1000}));
    let none = ask(&world, "detected_field/nothing/values", &query).await;
    assert_eq!(none, json!({"values": [], "limit": 1000}));
    for (more, text) in [
        ("&query=rate(%7Bapp=%22f%22%7D[1m])", "only log selector is supported"),
        ("&query=%7Bapp=%22f%22%7D&line_limit=5001", "max entries limit per query exceeded, limit >"),
        ("&query=%7Bapp=%22f%22%7D&limit=0", "limit must be a positive value"),
        ("", "parse error : syntax error: unexpected $end"),
    ] {
        let answer = world.get(&format!("/loki/api/v1/detected_fields?since=1h{more}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{more}");
        assert!(answer.text().starts_with(text), "{more}: {}", answer.text());
    }
}
