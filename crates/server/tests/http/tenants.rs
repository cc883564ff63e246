//! Tenants: walls for whoever asks for one, and reads of several at once.

use super::{Answer, NOW_NS, SEC_NS, World, escape, stream, world_with};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use logyard_ingest::IngestSettings;
use logyard_server::{Need, Scope, Secret, ServerSettings, TokenSettings};
use serde_json::{Value, json};

async fn walled(settings: ServerSettings) -> World {
    world_with(IngestSettings::default(), ServerSettings { auth_enabled: true, ..settings }).await
}

async fn ask(world: &World, tenants: &str, method: &str, path: &str, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if !tenants.is_empty() {
        request = request.header("X-Scope-OrgID", tenants);
    }
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn get(world: &World, tenants: &str, path: &str) -> Value {
    let answer = ask(world, tenants, "GET", path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path} {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

async fn push(world: &World, tenant: &str, streams: &[String]) {
    let body = format!("{{\"streams\":[{}]}}", streams.join(","));
    let pushed = ask(world, tenant, "POST", "/loki/api/v1/push", &body).await;
    assert_eq!(pushed.status, StatusCode::NO_CONTENT, "{}", pushed.text());
}

/// Three tenants, two of which have the same stream and the same entry.
async fn three() -> World {
    let world = walled(ServerSettings::default()).await;
    let same = stream(r#"{"app":"t"}"#, &[(NOW_NS - 9 * SEC_NS, "same line")]);
    push(&world, "one", &[same.clone(), stream(r#"{"app":"t"}"#, &[(NOW_NS - 8 * SEC_NS, "n=1 of one")])])
        .await;
    push(&world, "two", &[same, stream(r#"{"app":"u"}"#, &[(NOW_NS - 7 * SEC_NS, "n=2 of two")])]).await;
    push(&world, "three", &[stream(r#"{"app":"t"}"#, &[(NOW_NS - 6 * SEC_NS, "of three")])]).await;
    world
}

fn range(query: &str) -> String {
    format!("/loki/api/v1/query_range?direction=forward&query={}", escape(query))
}

/// Tenant and line of each entry, in order of time.
async fn lines(world: &World, tenants: &str, query: &str) -> Vec<(String, String)> {
    let answer = get(world, tenants, &range(query)).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for stream in answer["data"]["result"].as_array().unwrap() {
        for value in stream["values"].as_array().unwrap() {
            found.push((text(&value[0]), text(&stream["stream"]["__tenant_id__"]), text(&value[1])));
        }
    }
    found.sort();
    found.into_iter().map(|(_, tenant, line)| (tenant, line)).collect()
}

async fn check(world: &World, tenants: &str, query: &str, expect: &[(&str, &str)]) {
    let found = lines(world, tenants, query).await;
    let found: Vec<(&str, &str)> = found.iter().map(|(tenant, line)| (&**tenant, &**line)).collect();
    assert_eq!(found, expect, "{tenants} {query}");
}

#[tokio::test]
async fn check_11_tenants_are_walls_when_asked_for() {
    let world = walled(ServerSettings::default()).await;
    let secret = stream(r#"{"app":"t"}"#, &[(NOW_NS - SEC_NS, "secret")]);
    push(&world, "one", std::slice::from_ref(&secret)).await;
    let body = format!("{{\"streams\":[{secret}]}}");
    let missing = ask(&world, "", "POST", "/loki/api/v1/push", &body).await;
    assert_eq!((missing.status, missing.text()), (StatusCode::UNAUTHORIZED, "no org id\n"));
    let bad = ask(&world, "a/b", "POST", "/loki/api/v1/push", &body).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(bad.text(), "tenant ID 'a/b' contains unsupported character '/'\n");
    check(&world, "one", "{app=\"t\"}", &[("", "secret")]).await;
    check(&world, "two", "{app=\"t\"}", &[]).await;
    // Off, the header is ignored, whatever it says.
    let open = world_with(IngestSettings::default(), ServerSettings::default()).await;
    push(&open, "a|b", &[secret]).await;
    check(&open, "c/d", "{app=\"t\"}", &[("", "secret")]).await;
}

#[tokio::test]
async fn check_11_a_read_of_several_tenants_tells_them_apart() {
    let world = three().await;
    for is_flushed in [false, true] {
        if is_flushed {
            assert_eq!(ask(&world, "", "POST", "/flush", "").await.status, StatusCode::NO_CONTENT);
        }
        let both = [("one", "same line"), ("two", "same line"), ("one", "n=1 of one"), ("two", "n=2 of two")];
        check(&world, "two|one", "{app=~\".+\"}", &both).await;
        check(&world, "one|two|one:sub", "{app=\"t\"}", &both[..3]).await;
        check(&world, "one|two", "{__tenant_id__=\"two\"}", &[both[1], both[3]]).await;
        check(&world, "one|two", "{app=~\".+\", __tenant_id__!~\"t.*\"}", &[both[0], both[2]]).await;
        check(&world, "one|two", "{__tenant_id__=\"three\"}", &[]).await;
        check(&world, "one|two", "{app=~\".+\"} | logfmt | __tenant_id__=\"two\" | n=\"2\"", &both[3..])
            .await;
        // Named alone, a tenant looks as ever.
        check(&world, "one|one", "{app=\"t\"}", &[("", "same line"), ("", "n=1 of one")]).await;
    }
    let count = async |query: &str| {
        let path = format!("/loki/api/v1/query?query={}", escape(query));
        get(&world, "one|two", &path).await["data"]["result"].clone()
    };
    let by_tenant = count("sum by (__tenant_id__) (count_over_time({app=~\".+\"}[1m]))").await;
    let shown: Vec<(&Value, &Value)> = by_tenant
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["metric"]["__tenant_id__"], &one["value"][1]))
        .collect();
    assert_eq!(shown, [(&json!("one"), &json!("2")), (&json!("two"), &json!("2"))]);
    assert_eq!(count("sum(count_over_time({app=~\".+\"}[1m]))").await[0]["value"][1], "4");
}

#[tokio::test]
async fn check_11_lists_of_several_tenants() {
    let world = three().await;
    let api = "/loki/api/v1";
    let of_both = async |path: &str| get(&world, "one|two", &format!("{api}/{path}")).await;
    assert_eq!(of_both("labels").await["data"], json!(["__tenant_id__", "app", "service_name"]));
    assert_eq!(of_both("label/app/values").await["data"], json!(["t", "u"]));
    assert_eq!(of_both("label/__tenant_id__/values").await["data"], json!(["one", "two"]));
    let query = escape("{app=\"u\"}");
    assert_eq!(of_both(&format!("label/__tenant_id__/values?query={query}")).await["data"], json!(["two"]));
    let series = of_both(&format!("series?match[]={}", escape("{app=\"t\"}"))).await;
    let series_of = |tenant| json!({"__tenant_id__": tenant, "app": "t", "service_name": "t"});
    assert_eq!(series["data"], json!([series_of("one"), series_of("two")]));
    let stats = of_both(&format!("index/stats?query={}", escape("{app=~\".+\"}"))).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(3), &json!(4)));
    let stats = of_both(&format!("index/stats?query={}", escape("{__tenant_id__=\"one\"}"))).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(1), &json!(2)));
    let volumes = async |query: &str| {
        let answer = of_both(&format!("index/volume?query={}", escape(query))).await;
        let rows = answer["data"]["result"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["metric"].clone(), row["value"][1].clone())).collect::<Vec<_>>()
    };
    let row = |metric: Value, bytes: &str| (metric, json!(bytes));
    assert_eq!(
        volumes("{app=~\".+\"}").await,
        [row(json!({"app": "t"}), "28"), row(json!({"app": "u"}), "10")]
    );
    assert_eq!(
        volumes("{app=~\".+\", __tenant_id__=\"two\"}").await,
        [row(json!({"app": "u"}), "10"), row(json!({"app": "t"}), "9")]
    );
    let labels = of_both("detected_labels").await["detectedLabels"].clone();
    assert_eq!(labels[0], json!({"label": "__tenant_id__", "cardinality": 2}));
    let fields = of_both(&format!("detected_fields?query={}", escape("{app=~\".+\"}"))).await;
    let field = fields["fields"].as_array().unwrap().iter().find(|field| field["label"] == "n");
    assert_eq!(field.unwrap()["cardinality"], 2, "{fields}");
    let values = of_both(&format!("detected_field/n/values?query={}", escape("{app=~\".+\"}"))).await;
    assert_eq!(values["values"], json!(["1", "2"]));
    let patterns = of_both(&format!("patterns?query={}", escape("{app=\"t\"}"))).await;
    let row = patterns["data"].as_array().unwrap().iter().find(|row| row["pattern"] == "same line");
    assert_eq!(row.unwrap()["samples"][0][1], 2, "{patterns}");
}

/// A label that is called so is the stream's own, and is neither taken for the tenant nor lost.
#[tokio::test]
async fn a_streams_own_label_of_that_name_is_kept_apart() {
    let world = walled(ServerSettings::default()).await;
    push(&world, "a", &[stream(r#"{"app":"t","__tenant_id__":"b"}"#, &[(NOW_NS - SEC_NS, "of a")])]).await;
    push(&world, "b", &[stream(r#"{"app":"t"}"#, &[(NOW_NS - SEC_NS, "of b")])]).await;
    check(&world, "a", "{__tenant_id__=\"b\"}", &[("b", "of a")]).await;
    check(&world, "a|b", "{__tenant_id__=\"b\"}", &[("b", "of b")]).await;
    check(&world, "a|b", "{original___tenant_id__=\"b\"}", &[("a", "of a")]).await;
    check(&world, "a|b", "{original___tenant_id__=\"b\"} |= \"of\" | context 1", &[("a", "of a")]).await;
}

/// Only reads take several tenants; everything else refuses them, and so do reads where the settings say so.
#[tokio::test]
async fn check_11_what_is_not_a_read_takes_one_tenant() {
    const MANY: &str = "multiple org IDs present\n";
    let world = three().await;
    let routes = world.server.as_ref().unwrap().routes();
    let strict =
        walled(ServerSettings { multi_tenant_queries_enabled: false, ..ServerSettings::default() }).await;
    let mut kinds = [0; 3];
    for route in routes {
        let path = route.path.replace("{name}", "app").replace("{index}", "x");
        let path = path.replace("{namespace}", "x").replace("{group}", "x");
        let path = format!("{path}?query={}", escape("{app=\"t\"}"));
        let reads = ["query", "label", "series", "index", "detected_", "patterns"];
        let is_read = route.need == Need::Read
            && reads.iter().any(|name| path.split('?').next().unwrap().contains(name))
            && !path.contains("format_query");
        let method = route.method.as_str();
        let body = if path.contains("push") { "{\"streams\":[]}" } else { "" };
        let (answer, refused) = (
            ask(&world, "one|two", method, &path, body).await,
            ask(&strict, "one|two", method, &path, body).await,
        );
        if is_read {
            let is_log_query = path.contains("v1/query?");
            assert!(is_log_query || answer.status == StatusCode::OK, "{path} {}", answer.text());
            assert!(!answer.text().contains("org ID"), "{path} {}", answer.text());
            assert_eq!((refused.status, refused.text()), (StatusCode::BAD_REQUEST, MANY), "{path}");
            kinds[0] += 1;
            continue;
        }
        assert_eq!(answer.status, refused.status, "{method} {path}");
        if answer.text().contains("org ID") || answer.text().contains("org id") {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
            kinds[1] += 1;
        } else {
            // Those look at no tenant.
            kinds[2] += 1;
        }
    }
    assert!(kinds[0] >= 34 && kinds[1] >= 20 && kinds.iter().sum::<u32>() > 60, "{kinds:?}");
}

#[tokio::test]
async fn a_token_must_allow_every_tenant_that_is_named() {
    let token = |name: &str, tenants: &[&str]| TokenSettings {
        name: name.to_owned(),
        token: Secret::new(name),
        scopes: vec![Scope::Read, Scope::Write],
        tenants: tenants.iter().map(|name| (*name).to_owned()).collect(),
        ..TokenSettings::default()
    };
    let tokens = vec![token("of-a", &["a"]), token("of-both", &["a", "b"]), token("of-all", &[])];
    let world = walled(ServerSettings { tokens, ..ServerSettings::default() }).await;
    let ask = async |token: &str, tenants: &str| {
        let request = Request::get("/loki/api/v1/labels")
            .header("authorization", format!("Bearer {token}"))
            .header("x-scope-orgid", tenants);
        world.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    for (token, tenants, expect) in [
        ("of-a", "a", 200),
        ("of-a", "a|a:sub", 200),
        ("of-a", "a|b", 403),
        ("of-a", "b|a", 403),
        ("of-a", "a|", 403),
        ("of-both", "a|b", 200),
        ("of-both", "a|b|c", 403),
        ("of-both", "a| b", 403),
        ("of-all", "a|b|c", 200),
        ("of-all", "a|b/c", 400),
        ("none", "a|b", 401),
    ] {
        assert_eq!(ask(token, tenants).await, expect, "{token} {tenants}");
    }
}
