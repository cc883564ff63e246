//! Rules and alerts as Grafana, `lokitool` and Prometheus' API have them.

use super::{Answer, NOW_NS, SEC_NS, World, escape, stream, world, world_ruled, world_with};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use logyard_ingest::IngestSettings;
use logyard_rules::RulesSettings;
use logyard_server::ServerSettings;
use logyard_store::StoreSettings;
use std::time::Duration;

const DONE: &str = r#"{"status":"success","data":null,"errorType":"","error":""}"#;
const PREFIXES: [&str; 2] = ["/loki/api/v1/rules", "/api/prom/rules"];

async fn send(world: &World, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", "text/plain");
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[track_caller]
fn check(answer: &Answer, status: u16, content_type: &str, text: &str) {
    let found = (answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap(), answer.text());
    assert_eq!(found, (status, content_type, text));
}

const TEXT: &str = "text/plain; charset=utf-8";
const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

/// What Grafana takes a Loki data source's rules for: it asks two questions and looks into the texts.
async fn editor_of(world: &World) -> &'static str {
    assert_eq!(world.get("/prometheus/api/v1/rules").await.status, StatusCode::OK);
    let answer = world.get("/api/prom/rules/test/test").await;
    let text = answer.text();
    if answer.status == StatusCode::OK {
        return "editable";
    }
    if text.contains("GetRuleGroup unsupported in rule local store") {
        return "read-only";
    }
    if answer.status != StatusCode::NOT_FOUND || text.contains("page not found") {
        return "no ruler";
    }
    match text.contains("group does not exist") || text.contains("no rule groups found") {
        true => "editable",
        false => "error",
    }
}

#[tokio::test]
async fn check_56_grafana_finds_that_rules_can_be_edited() {
    let world = world().await;
    assert_eq!(editor_of(&world).await, "editable");
    assert_eq!(send(&world, "POST", "/api/prom/rules/test", "name: test").await.status, StatusCode::ACCEPTED);
    assert_eq!(editor_of(&world).await, "editable");
    let settings = RulesSettings { api_enabled: false, ..RulesSettings::default() };
    let read_only = world_ruled(
        StoreSettings::default(),
        IngestSettings::default(),
        ServerSettings::default(),
        settings,
        |_| (),
    )
    .await;
    assert_eq!(editor_of(&read_only).await, "read-only");
    let answer = send(&read_only, "POST", "/loki/api/v1/rules/n", "name: g").await;
    assert!(
        answer.status == 400 && answer.text().starts_with("SetRuleGroup unsupported"),
        "{}",
        answer.text()
    );
}

const GROUP: &str = "name: g\ninterval: 1m\nrules:\n- alert: A\n  expr: sum(rate({a=\"b\"}[5m])) > 1\n  \
                     labels:\n    severity: page\n";

#[tokio::test]
async fn check_57_groups_are_made_listed_read_replaced_and_removed() {
    for [prefix, other] in [PREFIXES, [PREFIXES[1], PREFIXES[0]]] {
        let world = world().await;
        check(&world.get(prefix).await, 404, TEXT, "no rule groups found\n");
        for name in ["plain", "with space", "a/b", "50%", "ü?#&+"] {
            let ns = format!("{prefix}/{}", escape(name));
            let (group, other_group) =
                (format!("{ns}/{}", escape("g/1")), format!("{other}/{}/{}", escape(name), escape("g/1")));
            let yaml = GROUP.replace("name: g", "name: g/1");
            check(&send(&world, "POST", &ns, &yaml).await, 202, JSON, DONE);
            check(&world.get(&group).await, 200, YAML, &yaml);
            check(&world.get(&other_group).await, 200, YAML, &yaml);
            let listed = world.get(&ns).await;
            let key: serde_json::Value = serde_json::Value::from(name);
            assert!(listed.text().contains("- name: g/1\n"), "{key}: {}", listed.text());
            let replaced = yaml.replace("1m", "2m");
            check(&send(&world, "POST", &ns, &replaced).await, 202, JSON, DONE);
            check(&world.get(&group).await, 200, YAML, &replaced);
            // What was read can be written again.
            let read = world.get(&group).await.text().to_owned();
            check(&send(&world, "POST", &ns, &read).await, 202, JSON, DONE);
            check(&send(&world, "POST", &ns, "name: second").await, 202, JSON, DONE);
            check(&send(&world, "DELETE", &other_group, "").await, 202, JSON, DONE);
            check(&world.get(&group).await, 404, TEXT, "group does not exist\n");
            check(&send(&world, "DELETE", &ns, "").await, 202, JSON, DONE);
            check(&send(&world, "DELETE", &ns, "").await, 404, TEXT, "group namespace does not exist\n");
            check(&send(&world, "DELETE", &group, "").await, 202, JSON, DONE);
            check(&world.get(&ns).await, 404, TEXT, "no rule groups found\n");
        }
        check(&world.get(prefix).await, 404, TEXT, "no rule groups found\n");
        for path in ["%2E%2E", "%2E%2E/g", "n/%2E"] {
            assert_eq!(
                world.get(&format!("{prefix}/{path}")).await.status,
                StatusCode::BAD_REQUEST,
                "{path}"
            );
        }
        assert_eq!(
            send(&world, "POST", &format!("{prefix}/n/g"), GROUP).await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}

#[tokio::test]
async fn lists_are_maps_of_namespaces_and_can_be_narrowed() {
    let world = world().await;
    send(&world, "POST", "/loki/api/v1/rules/n", GROUP).await;
    send(&world, "POST", "/loki/api/v1/rules/m", "name: h\nrules: [{record: r, expr: vector(1)}]").await;
    let all = "m:\n- name: h\n  rules:\n  - record: r\n    expr: vector(1)\nn:\n- name: g\n  interval: 1m\n  rules:\n  \
               - alert: A\n    expr: sum(rate({a=\"b\"}[5m])) > 1\n    labels:\n      severity: page\n";
    check(&world.get("/loki/api/v1/rules").await, 200, YAML, all);
    let one = &all[all.find("n:\n- name: g").unwrap()..];
    check(&world.get("/loki/api/v1/rules?labels=severity:page").await, 200, YAML, one);
    check(&world.get("/loki/api/v1/rules?labels=severity:page,a:b").await, 200, YAML, "{}\n");
    assert_eq!(world.get("/loki/api/v1/rules?labels=page").await.status, StatusCode::BAD_REQUEST);
}

/// Reads the groups of the state API.
async fn groups(world: &World, more: &str) -> serde_json::Value {
    let answer = world.get(&format!("/prometheus/api/v1/rules{more}")).await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (StatusCode::OK, JSON));
    let mut value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((value["status"].as_str(), value["errorType"].as_str()), (Some("success"), Some("")));
    value["data"]["groups"].take()
}

async fn pass(world: &World, seconds: u64) {
    for _ in 0..seconds {
        world.clock.advance(Duration::from_secs(1));
        world.ruler.tick().await;
    }
}

/// As Grafana compares the queries of both lists: outer parentheses and blanks do not count.
fn compared(query: &str) -> String {
    let plain: String = query.chars().filter(|c| !c.is_whitespace()).collect();
    plain.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(&plain).to_owned()
}

#[tokio::test]
async fn check_58_states_of_rules_and_alerts() {
    let world = world().await;
    check(
        &world.get("/prometheus/api/v1/rules").await,
        200,
        JSON,
        r#"{"status":"success","data":{"groups":[]},"errorType":"","error":""}"#,
    );
    let no_alerts = r#"{"status":"success","data":{"alerts":[]},"errorType":"","error":""}"#;
    check(&world.get("/prometheus/api/v1/alerts").await, 200, JSON, no_alerts);
    check(
        &world.get("/prometheus/api/v1/rules?type=foo").await,
        400,
        JSON,
        r#"{"status":"error","data":null,"errorType":"bad_data","error":"not supported value \"foo\""}"#,
    );
    assert_eq!(world.get("/loki/api/v1/alerts").await.text(), "404 page not found\n");
    let expr = r#"sum by (app) (count_over_time({app=~".+"} |= "ERROR" [10m])) > 0"#;
    let yaml = format!(
        "name: g\ninterval: 10s\nrules:\n- alert: Errors\n  expr: {expr}\n  for: 20s\n  labels: {{severity: 'sev-{{{{ $labels.app }}}}'}}\n  \
         annotations: {{text: '{{{{ $labels.app }}}}: {{{{ $value }}}}'}}\n- record: a:b\n  expr: vector(1)\n- alert: Broken\n  expr: \
         sum(count_over_time({{app=\"web\"}} | label_format x=`{{{{ nope }}}}` [1m])) > 0\n"
    );
    check(&send(&world, "POST", "/api/prom/rules/n", &yaml).await, 202, JSON, DONE);
    send(&world, "POST", "/api/prom/rules/a", "name: z").await;
    let untouched = groups(&world, "").await;
    assert_eq!((untouched[0]["file"].as_str(), untouched[1]["file"].as_str()), (Some("a"), Some("n")));
    let rule = &untouched[1]["rules"][0];
    assert_eq!((rule["state"].as_str(), rule["health"].as_str()), (Some("inactive"), Some("unknown")));
    assert_eq!(rule["lastEvaluation"], "0001-01-01T00:00:00Z");
    assert_eq!(compared(rule["query"].as_str().unwrap()), compared(expr));
    let lines = [(NOW_NS, "ERROR one"), (NOW_NS + 1, "ERROR two")];
    world.push_json(&stream(r#"{"app":"web"}"#, &lines)).await;
    pass(&world, 10).await;
    let pending = groups(&world, "?rule_group=g").await;
    let rule = &pending[0]["rules"][0];
    assert_eq!((rule["state"].as_str(), rule["type"].as_str()), (Some("pending"), Some("alerting")));
    assert_eq!((rule["duration"].as_i64(), pending[0]["interval"].as_i64()), (Some(20), Some(10)));
    assert_eq!(rule["labels"]["severity"], "sev-{{ $labels.app }}");
    let alert = &rule["alerts"][0];
    assert_eq!(
        (alert["labels"].to_string(), alert["annotations"]["text"].as_str(), alert["value"].as_str()),
        (
            r#"{"alertname":"Errors","app":"web","severity":"sev-web"}"#.to_owned(),
            Some("web: 2"),
            Some("2e+00")
        )
    );
    let broken = &pending[0]["rules"][2];
    assert_eq!((broken["state"].as_str(), broken["health"].as_str()), (Some("inactive"), Some("err")));
    assert!(broken["lastError"].as_str().unwrap().contains("nope"), "{broken}");
    let record = &pending[0]["rules"][1];
    assert_eq!((record["type"].as_str(), record["health"].as_str()), (Some("recording"), Some("ok")));
    assert!(record.get("alerts").is_none() && record.get("state").is_none(), "{record}");
    pass(&world, 20).await;
    let alerts = world.get("/prometheus/api/v1/alerts").await;
    let alerts: serde_json::Value = serde_json::from_slice(&alerts.body).unwrap();
    assert_eq!(alerts["data"]["alerts"][0]["state"], "firing");
    let names = |groups: serde_json::Value| {
        let rules =
            groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(groups(&world, "?type=alert").await), "Errors Broken");
    assert_eq!(names(groups(&world, "?type=record").await), "a:b");
    assert_eq!(names(groups(&world, "?rule_name=a:b&rule_name=Broken").await), "a:b Broken");
    assert_eq!(names(groups(&world, "?file[]=a").await), "");
    assert_eq!(groups(&world, "?file=a&file=n").await.as_array().unwrap().len(), 2);
    // The lines leave the window.
    pass(&world, 600).await;
    check(&world.get("/prometheus/api/v1/alerts").await, 200, JSON, no_alerts);
}

#[tokio::test]
async fn tenants_have_their_own_rules() {
    let settings = ServerSettings { auth_enabled: true, ..ServerSettings::default() };
    let world = world_with(IngestSettings::default(), settings).await;
    let ask = |method: &'static str, path: &'static str, tenant: &'static str, body: &'static str| {
        let request = Request::builder().method(method).uri(path).header("x-scope-orgid", tenant);
        world.send(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(ask("POST", "/loki/api/v1/rules/n", "a", "name: g").await.status, StatusCode::ACCEPTED);
    assert_eq!(ask("GET", "/loki/api/v1/rules/n/g", "a", "").await.status, StatusCode::OK);
    assert_eq!(ask("GET", "/loki/api/v1/rules/n/g", "b", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask("DELETE", "/loki/api/v1/rules/n", "b", "").await.status, StatusCode::NOT_FOUND);
    let of = |tenant: &'static str| ask("GET", "/prometheus/api/v1/rules", tenant, "");
    assert!(of("a").await.text().contains(r#""name":"g""#));
    assert!(of("b").await.text().contains(r#""groups":[]"#));
    let several = r#"{"status":"error","data":null,"errorType":"bad_data","error":"too many org ids found"}"#;
    check(&of("a|b").await, 400, JSON, several);
    check(&ask("POST", "/api/prom/rules/n", "a|b", "name: g").await, 400, JSON, several);
    assert_eq!(of("").await.status, StatusCode::UNAUTHORIZED);
    // Rules of one tenant see entries of that tenant alone.
    let errors = "name: e\ninterval: 1s\nrules: [{alert: E, expr: 'count_over_time({app=\"web\"}[1h]) > 0'}]";
    for tenant in ["a", "b"] {
        ask("POST", "/api/prom/rules/n", tenant, errors).await;
    }
    let entries = format!("{{\"streams\":[{}]}}", stream(r#"{"app":"web"}"#, &[(NOW_NS - SEC_NS, "x")]));
    let push = Request::post("/loki/api/v1/push").header("x-scope-orgid", "a").header("content-type", JSON);
    assert_eq!(world.send(push.body(Body::from(entries)).unwrap()).await.status, StatusCode::NO_CONTENT);
    pass(&world, 2).await;
    assert!(of("a").await.text().contains(r#""state":"firing""#), "{}", of("a").await.text());
    assert!(!of("b").await.text().contains(r#""state":"firing""#));
}

#[tokio::test]
async fn what_is_no_group_is_refused_and_changes_nothing() {
    let world = world().await;
    send(&world, "POST", "/loki/api/v1/rules/n", GROUP).await;
    for (body, want) in [
        ("", "group 0: Groupname must not be empty\n"),
        ("name: [", "unable to decoded rule group: "),
        (
            "name: g\nrules: [{alert: B, expr: 'sum('}]",
            "could not parse expression for alert 'B' in group 'g': parse error at",
        ),
    ] {
        let answer = send(&world, "POST", "/loki/api/v1/rules/n", body).await;
        assert!(answer.status == 400 && answer.text().starts_with(want), "{body}: {}", answer.text());
    }
    let long = format!("name: g\n#{}", "x".repeat(1 << 20));
    let answer = send(&world, "POST", "/loki/api/v1/rules/n", &long).await;
    assert!(answer.status == 400 && answer.text().contains("may have 1048576 bytes"), "{}", answer.text());
    check(&world.get("/loki/api/v1/rules/n/g").await, 200, YAML, GROUP);
}
