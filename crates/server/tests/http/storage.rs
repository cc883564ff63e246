//! What is told of the store, and exports that it takes in.

use super::*;
use serde_json::Value;

impl World {
    async fn push_as(&self, tenant: &str, app: &str) {
        let body =
            format!(r#"{{"streams":[{{"stream":{{"app":"{app}"}},"values":[["{NOW_NS}","a line"]]}}]}}"#);
        let request = Request::post("/loki/api/v1/push")
            .header("content-type", "application/json")
            .header("x-scope-orgid", tenant)
            .body(Body::from(body));
        assert_eq!(self.send(request.unwrap()).await.status, StatusCode::NO_CONTENT);
    }

    async fn flush(&self) {
        let flushed = self.send(Request::post("/flush").body(Body::empty()).unwrap()).await;
        assert_eq!(flushed.status, StatusCode::NO_CONTENT, "{}", flushed.text());
    }

    async fn storage(&self, tenant: &str, query: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("/logyard/v1/storage{query}")).header("x-scope-orgid", tenant);
        let answer = self.send(request.body(Body::empty()).unwrap()).await;
        let value = serde_json::from_slice(&answer.body);
        (answer.status, value.unwrap_or_else(|_| Value::String(answer.text().to_owned())))
    }
}

#[tokio::test]
async fn without_tenants_everything_is_told() {
    let world = world().await;
    world.push_as("", "web").await;
    let (_, before) = world.storage("", "").await;
    assert_eq!((&before["memory"]["entries"], &before["days"]), (&1.into(), &Value::Array(Vec::new())));
    world.flush().await;
    let (status, report) = world.storage("", "?streams=5").await;
    assert_eq!(status, StatusCode::OK, "{report}");
    let day = &report["days"][0];
    assert_eq!(
        (&day["day"], &day["tenant"], &day["entries"]),
        (&"20261121".into(), &"fake".into(), &1.into())
    );
    assert_eq!(day["deletion_ns"], 1_797_897_599_999_999_999_i64, "the end of the day and thirty more");
    assert_eq!(report["streams"][0]["stream"], r#"{app="web", service_name="web"}"#);
    assert!(report["disk"]["free_bytes"].is_u64());
    assert_eq!(report["limits"]["period_secs"], 30 * 86_400);
    let (_, other) = world.storage("", "?from=2026-11-22").await;
    assert_eq!((&other["days"], &other["streams_total"]), (&Value::Array(Vec::new()), &Value::Null));
    for (query, part) in [("?from=yesterday", "parameter from"), ("?streams=1000000", "a number up to 10000")]
    {
        let (status, text) = world.storage("", query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.as_str().unwrap().contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_tenant_is_told_of_nobody_else() {
    let settings = ServerSettings { auth_enabled: true, ..ServerSettings::default() };
    let world = world_with(IngestSettings::default(), settings).await;
    world.push_as("a", "web").await;
    world.push_as("b", "db").await;
    world.flush().await;
    let (status, report) = world.storage("b", "?streams=5").await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!((&report["tenant"], &report["totals"]["entries"]), (&"b".into(), &1.into()));
    assert!(!report.to_string().contains("web"), "{report}");
    assert_eq!(report["disk"], Value::Null);
    assert_eq!(world.storage("", "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_about_all_tenants_is_not_for_one() {
    for is_walled in [true, false] {
        let settings = ServerSettings { auth_enabled: is_walled, ..ServerSettings::default() };
        let world = world_with(IngestSettings::default(), settings).await;
        for (method, path) in [
            ("GET", "/logyard/v1/admin/snapshot"),
            ("POST", "/logyard/v1/admin/snapshot?id=one"),
            ("DELETE", "/logyard/v1/admin/snapshot?id=one"),
            ("POST", "/logyard/v1/admin/import?id=one"),
        ] {
            let send = async |tenant: Option<&str>| {
                let request = Request::builder().method(method).uri(path);
                let request =
                    tenant.iter().fold(request, |request, name| request.header("x-scope-orgid", *name));
                world.send(request.body(Body::empty()).unwrap()).await.status
            };
            let of_tenant = send(Some("a")).await;
            assert_eq!(of_tenant == StatusCode::FORBIDDEN, is_walled, "{method} {path}: {of_tenant}");
            assert_ne!(send(None).await, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_exports_in_the_own_folder_are_taken_in() {
    let world = world().await;
    let post = async |query: &str| {
        let request = Request::post(format!("/logyard/v1/admin/import{query}")).body(Body::empty());
        world.send(request.unwrap()).await
    };
    for (query, part) in [
        ("", "send ?id="),
        ("?id=..%2Fsnapshots", "cannot use \"../snapshots\" as a name"),
        ("?id=none", "no export or an unfinished one"),
        ("?id=one&tenant=a%2Fb", "cannot read parameter tenant"),
    ] {
        let refused = post(query).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}: {}", refused.text());
        assert!(refused.text().contains(part), "{query}: {}", refused.text());
    }
    let folder = world.folder.path().join("imports/one");
    RealDisk.create_dir_all(&folder).unwrap();
    let list = br#"{"format":"logyard-export","version":1,"created_ns":0,"writer":"x","files":[]}"#;
    RealDisk.write_atomic(&folder.join("export.json"), list).unwrap();
    let done = post("?id=one").await;
    assert_eq!(
        (done.status, done.text()),
        (StatusCode::OK, r#"{"files":0,"imported":0,"known":0,"expired":0,"entries":0,"bytes":0}"#)
    );
}
