//! `patterns`.

use super::*;
use serde_json::{Value, json};

#[tokio::test]
async fn check_54_lines_are_told_by_pattern_and_found_again() {
    let world = world().await;
    let minute = NOW_NS.div_euclid(60 * SEC_NS) * 60 * SEC_NS - 60 * SEC_NS;
    let entries: Vec<(i64, String)> = (0..30)
        .map(|n| (minute + n * SEC_NS, format!("level=info msg=<b>done</b> user {n} of {n}")))
        .collect();
    let entries: Vec<(i64, &str)> = entries.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    let streams = [stream(r#"{"app":"p"}"#, &entries), stream(r#"{"app":"q"}"#, &[(minute, "other text")])];
    assert_eq!(world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    let path = format!("/loki/api/v1/patterns?query={}&step=1s", escape("{app=\"p\"}"));
    let at = minute / SEC_NS;
    let pattern = "level=info msg=<<_>>done<<_>> user <_> of <_>";
    let expect = json!({"status": "success", "data": [
        {"pattern": pattern, "level": "info", "samples": [[at, 10], [at + 10, 10], [at + 20, 10]]},
    ]});
    for _ in ["in memory", "flushed"] {
        let answer = world.get(&path).await;
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), expect);
        assert_eq!(world.lines(&format!("{{app=\"p\"}} |> `{pattern}`"), "").await.len(), 30);
        let flush = Request::post("/flush").body(Body::empty()).unwrap();
        assert_eq!(world.send(flush).await.status, StatusCode::NO_CONTENT);
    }
    let none = world.get(&format!("/loki/api/v1/patterns?query={}", escape("{app=\"none\"}"))).await;
    assert_eq!(none.text(), "{\"status\":\"success\",\"data\":[]}\n");
    let piped = world.get(&format!("/loki/api/v1/patterns?query={}", escape("{app=\"p\"} |= \"x\""))).await;
    assert_eq!((piped.status, piped.text()), (StatusCode::BAD_REQUEST, "only label matchers are supported"));
}
