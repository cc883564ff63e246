//! Deleting entries over HTTP: what is asked for is out of every answer, and can be had back.

use super::*;

const PATH: &str = "/loki/api/v1/delete";

async fn call(world: &World, method: &str, more: &str) -> Answer {
    let request = Request::builder().method(method).uri(format!("{PATH}?{more}"));
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn check_59_a_request_hides_entries_from_every_answer_until_it_is_cancelled() {
    let world = world().await;
    let at = |secs: i64| NOW_NS - secs * SEC_NS;
    let labels = r#"{"app":"web"}"#;
    let rows =
        [(at(50), "user=ann ok"), (at(40), "user=bob password=x"), (at(30), "user=bob ok"), (at(20), "end")];
    world.push_json(&stream(labels, &rows)).await;
    world.push_json(&stream(r#"{"app":"db"}"#, &[(at(45), "user=bob")])).await;
    let more = format!("&start={}&end={NOW_NS}", at(60));
    let start = (at(60)) / SEC_NS;
    let query = escape(r#"{app="web"} | logfmt | user="bob""#);
    let made = call(&world, "POST", &format!("query={query}&start={start}")).await;
    assert_eq!((made.status, made.text()), (StatusCode::NO_CONTENT, ""));
    let id = made.headers["x-delete-request-id"].to_str().unwrap().to_owned();
    for place in ["in memory", "in files"] {
        let found = world.lines(r#"{app="web"}"#, &more).await;
        assert_eq!(found, ["user=ann ok", "end"], "{place}");
        assert_eq!(world.lines(r#"{app=~"web|db"} |= "bob""#, &more).await, ["user=bob"], "{place}");
        let count = escape(r#"sum(count_over_time({app="web"}[1m]))"#);
        let answer = world.get(&format!("/loki/api/v1/query?query={count}&time={NOW_NS}")).await;
        assert!(answer.text().contains(r#""2"]"#), "{place}: {}", answer.text());
        let stats =
            world.get(&format!("/loki/api/v1/index/stats?query={}{more}", escape(r#"{app="web"}"#))).await;
        assert_eq!(decode::<IndexStatsAnswer>(&stats.body).unwrap().entries, 2, "{place}");
        world.send(Request::post("/flush").body(Body::empty()).unwrap()).await;
    }
    let listed = call(&world, "GET", "").await;
    assert_eq!(listed.headers["content-type"], "application/json");
    let now = NOW_NS / SEC_NS;
    let expect = format!(
        "[{{\"request_id\":\"{id}\",\"start_time\":{start},\"end_time\":{now},\
         \"query\":\"{{app=\\\"web\\\"}} | logfmt | user=\\\"bob\\\"\",\"status\":\"received\",\
         \"created_at\":{now}.000,\"user_id\":\"\"}}]\n"
    );
    assert_eq!(listed.text(), expect);
    let elsewhere = call(&world, "GET", &format!("start={}&end={}", start - 100, start - 1)).await;
    assert_eq!(elsewhere.text(), "[]\n");
    let cancelled = call(&world, "DELETE", &format!("request_id={id}")).await;
    assert_eq!(cancelled.status, StatusCode::NO_CONTENT);
    assert_eq!(world.lines(r#"{app="web"}"#, &more).await.len(), 4);
    let again = call(&world, "DELETE", &format!("request_id={id}")).await;
    assert_eq!(
        (again.status, again.text()),
        (StatusCode::NOT_FOUND, "could not find delete request with given id\n")
    );
}

#[tokio::test]
async fn check_59_parameters_stand_in_the_address_and_tenants_apart() {
    let settings = ServerSettings { auth_enabled: true, ..ServerSettings::default() };
    let world = world_with(IngestSettings::default(), settings).await;
    let send = |method: &'static str, tenant: &'static str, more: String| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{PATH}?{more}"))
            .header("x-scope-orgid", tenant)
            .header("content-type", "application/x-www-form-urlencoded");
        world.send(request.body(Body::from("query=%7Ba%3D%22b%22%7D&start=1770595200")).unwrap())
    };
    let refused = send("POST", "one", String::new()).await;
    assert_eq!((refused.status, refused.text()), (StatusCode::BAD_REQUEST, "query not set\n"));
    let query = format!("query={}&start=1770595200&end=1770598800", escape(r#"{a="b"}"#));
    assert_eq!(send("PUT", "one", query.clone()).await.status, StatusCode::NO_CONTENT);
    let several = send("PUT", "one|two", query).await;
    assert_eq!(several.text(), "multiple org IDs present\n");
    assert_eq!(send("GET", "two", String::new()).await.text(), "[]\n");
    let listed = send("GET", "one", String::new()).await;
    let id = listed.text().split('"').nth(3).unwrap().to_owned();
    let foreign = send("DELETE", "two", format!("request_id={id}")).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(send("DELETE", "one", format!("request_id={id}")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn check_59_texts_of_refusals() {
    let world = world().await;
    let query = format!("query={}", escape(r#"{a="b"}"#));
    let now = NOW_NS / SEC_NS;
    for (more, text) in [
        (String::new(), "query not set"),
        (query.clone(), "start time not set"),
        (format!("{query}&start=abc"), "invalid start time: require unix seconds or RFC3339 format"),
        (format!("{query}&start={NOW_NS}"), "invalid start time: require unix seconds or RFC3339 format"),
        (
            format!("{query}&start={}&end=1e9", now - 9),
            "invalid end time: require unix seconds or RFC3339 format",
        ),
        (format!("{query}&start={}&end={}", now - 9, now + 60), "deletes in the future are not allowed"),
        (
            format!("{query}&start={}&end={}", now - 9, now - 10),
            "start time can't be greater than or equal to end time",
        ),
        (
            format!("{query}&start={0}&end={0}", now - 9),
            "start time can't be greater than or equal to end time",
        ),
        (format!("query=%7B&start={}", now - 9), "invalid query expression"),
        (format!("query={}&start={}", escape(r#"rate({a="b"}[1m])"#), now - 9), "invalid query expression"),
    ] {
        for method in ["POST", "PUT"] {
            let answer = call(&world, method, &more).await;
            let got = (answer.status, answer.text().lines().next().unwrap());
            assert_eq!(got, (StatusCode::BAD_REQUEST, text), "{method} {more}");
        }
    }
    assert_eq!(call(&world, "GET", "").await.text(), "[]\n");
    let unknown = call(&world, "DELETE", "request_id=nosuch").await;
    assert_eq!(
        (unknown.status, unknown.text()),
        (StatusCode::NOT_FOUND, "could not find delete request with given id\n")
    );
    // Both forms of times.
    let rfc = format!("{query}&start=2026-11-21T02:00:00Z&end=2026-11-21T02:30:00.5Z");
    assert_eq!(call(&world, "POST", &rfc).await.status, StatusCode::NO_CONTENT);
    let listed = call(&world, "GET", "").await;
    assert!(
        listed.text().contains("\"start_time\":1795226400,\"end_time\":1795228200,"),
        "{}",
        listed.text()
    );
}
