//! Who may do what: every route of the router, with every kind of token, for the own and for a foreign tenant.

use super::{Answer, NOW_NS, SEC_NS, World, escape, stream, world_with};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use logyard_ingest::IngestSettings;
use logyard_server::{Need, Route, Scope, Secret, ServerSettings, TokenSettings};

/// Name, scope, and tenants of the tokens; each is its own secret, with `-secret` behind it.
const TOKENS: [(&str, Scope, &[&str]); 5] = [
    ("read", Scope::Read, &["a"]),
    ("write", Scope::Write, &["a"]),
    ("admin", Scope::Admin, &["a"]),
    ("other", Scope::Admin, &["b"]),
    ("operator", Scope::Admin, &[]),
];

async fn guarded() -> World {
    let token = |(name, scope, tenants): (&str, Scope, &[&str])| TokenSettings {
        name: name.to_owned(),
        token: Secret::new(format!("{name}-secret")),
        token_file: String::new(),
        scopes: vec![scope],
        tenants: tenants.iter().map(|name| (*name).to_owned()).collect(),
    };
    let tokens = TOKENS.into_iter().map(token).collect();
    let settings = ServerSettings { auth_enabled: true, tokens, ..ServerSettings::default() };
    world_with(IngestSettings::default(), settings).await
}

fn routes(world: &World) -> Vec<Route> {
    world.server.as_ref().unwrap().routes()
}

async fn ask(
    world: &World,
    method: &str,
    path: &str,
    token: Option<&str>,
    tenant: &str,
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("x-scope-orgid", tenant);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// What the guard must answer; `None` if the handler must get the request.
fn refusal(need: Need, token: Option<&str>, tenant: &str) -> Option<StatusCode> {
    if need == Need::Open {
        return None;
    }
    let known = TOKENS.iter().find(|(name, _, _)| token == Some(&format!("{name}-secret")));
    let Some(&(_, scope, tenants)) = known else { return Some(StatusCode::UNAUTHORIZED) };
    let allows = match need {
        Need::Open | Need::Any => true,
        Need::Read => scope != Scope::Write,
        Need::Write => scope != Scope::Read,
        Need::Admin => scope == Scope::Admin,
        // Whoever names a tenant is not who runs the store.
        Need::Operator => tenant.is_empty() && scope == Scope::Admin && tenants.is_empty(),
    };
    let is_own = tenants.is_empty() || tenants.contains(&tenant);
    if allows && is_own { None } else { Some(StatusCode::FORBIDDEN) }
}

#[tokio::test]
async fn every_route_asks_every_token() {
    let world = guarded().await;
    let all = routes(&world);
    assert!(all.len() > 60, "{}", all.len());
    let (mut refused, mut passed) = (0, 0);
    for Route { method, path, need } in all {
        let path = path.replace("{name}", "x").replace("{index}", "x");
        for token in [
            None,
            Some("wrong"),
            Some("read-secret"),
            Some("write-secret"),
            Some("admin-secret"),
            Some("other-secret"),
            Some("operator-secret"),
        ] {
            for tenant in if need == Need::Operator { ["a", ""] } else { ["a", "b"] } {
                let answer = ask(&world, method.as_str(), &path, token, tenant, "").await;
                let is_refused = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let got = is_refused.then_some(answer.status);
                assert_eq!(got, refusal(need, token, tenant), "{method} {path} {token:?} {tenant} {need:?}");
                if is_refused {
                    refused += 1
                } else {
                    passed += 1
                }
                if answer.status == StatusCode::UNAUTHORIZED {
                    assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 2);
                }
                assert!(!answer.text().contains("-secret"), "{}", answer.text());
            }
        }
    }
    assert!(refused > 300 && passed > 200, "{refused} {passed}");
    // What only tells that nothing needs a token, or that any will do, is a short list.
    let easy: Vec<String> = routes(&world)
        .into_iter()
        .filter(|route| matches!(route.need, Need::Open | Need::Any))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(easy, ["GET /", "GET /ready", "GET /loki/api/v1/push", "GET /api/prom/push"]);
}

#[tokio::test]
async fn a_token_names_its_only_tenant() {
    let world = guarded().await;
    let body = format!("{{\"streams\":[{}]}}", stream(r#"{"app":"t"}"#, &[(NOW_NS - SEC_NS, "hidden")]));
    let push = Request::post("/loki/api/v1/push")
        .header("content-type", "application/json")
        .header("authorization", "Basic d3JpdGU6d3JpdGUtc2VjcmV0");
    let pushed = world.send(push.body(Body::from(body)).unwrap()).await;
    assert_eq!(pushed.status, StatusCode::NO_CONTENT, "{}", pushed.text());
    let path = format!("/loki/api/v1/query_range?query={}", escape("{app=\"t\"}"));
    for (token, tenant, sees) in
        [("read", "a", true), ("operator", "a", true), ("other", "b", false), ("operator", "b", false)]
    {
        let answer = ask(&world, "GET", &path, Some(&format!("{token}-secret")), tenant, "").await;
        assert_eq!(
            (answer.status, answer.text().contains("hidden")),
            (StatusCode::OK, sees),
            "{token} {tenant}"
        );
    }
    let bare =
        Request::get(&path).header("authorization", "Bearer operator-secret").body(Body::empty()).unwrap();
    assert_eq!(world.send(bare).await.text(), "no org id\n");
}

#[tokio::test]
async fn without_tokens_nobody_is_asked() {
    let world = world_with(IngestSettings::default(), ServerSettings::default()).await;
    for Route { method, path, .. } in routes(&world) {
        let path = path.replace("{name}", "x").replace("{index}", "x");
        let answer = ask(&world, method.as_str(), &path, None, "a", "").await;
        assert!(
            !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            "{method} {path}"
        );
    }
}
