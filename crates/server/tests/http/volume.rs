//! `index/volume` and `index/volume_range`.

use super::*;

const HOUR_NS: i64 = 3600 * SEC_NS;

async fn filled() -> World {
    let world = world().await;
    let day = NOW_NS.div_euclid(HOUR_NS) * HOUR_NS - 3 * HOUR_NS;
    let streams = [
        stream(r#"{"app":"a","host":"h1"}"#, &[(day, "four"), (day + HOUR_NS, "fivefive")]),
        stream(
            r#"{"app":"b","host":"h2"}"#,
            &[(day + HOUR_NS - 1, "0123456789"), (day + 2 * HOUR_NS, "out")],
        ),
        stream(r#"{"app":"c"}"#, &[(day + 5 * SEC_NS, "x")]),
    ];
    assert_eq!(world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    world
}

/// Asks over the first two hours; returns the rows as `metric value` or `metric time=value …`.
async fn rows(world: &World, path: &str, query: &str, more: &str) -> Vec<String> {
    let start = NOW_NS.div_euclid(HOUR_NS) * HOUR_NS - 3 * HOUR_NS;
    let end = start + 2 * HOUR_NS;
    let path = format!("/loki/api/v1/index/{path}?query={}&start={start}&end={end}{more}", escape(query));
    let answer = world.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["status"], "success");
    assert!(body["data"]["stats"]["summary"].is_object());
    let point = |point: &serde_json::Value| {
        let ms = (point[0].as_f64().unwrap() * 1e3).round() - (start / 1_000_000) as f64;
        format!("{}={}", ms / 1e3, point[1].as_str().unwrap())
    };
    let row = |row: &serde_json::Value| {
        let points: Vec<String> = match row["values"].as_array() {
            Some(points) => points.iter().map(point).collect(),
            None => vec![point(&row["value"])],
        };
        format!("{} {}", row["metric"], points.join(" "))
    };
    body["data"]["result"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn check_51_groups_are_sorted_by_bytes_and_cut() {
    let world = filled().await;
    for _ in ["in memory", "flushed"] {
        assert_eq!(
            rows(&world, "volume", "{app=~\".+\"}", "").await,
            [r#"{"app":"a"} 7200=12"#, r#"{"app":"b"} 7200=10"#, r#"{"app":"c"} 7200=1"#]
        );
        assert_eq!(
            rows(&world, "volume", "{}", "&targetLabels=host&limit=1").await,
            [r#"{"host":"h1"} 7200=12"#]
        );
        assert_eq!(
            rows(&world, "volume", "{app=\"a\"}", "&aggregateBy=labels").await,
            [r#"{"app":""} 7200=12"#, r#"{"host":""} 7200=12"#, r#"{"service_name":""} 7200=12"#]
        );
        assert_eq!(
            rows(&world, "volume", "{app!=\"\"}", "&aggregateBy=labels&targetLabels=host,app&limit=0").await,
            [r#"{"app":""} 7200=22"#, r#"{"host":""} 7200=22"#]
        );
        assert_eq!(
            rows(&world, "volume_range", "{}", "&targetLabels=app&step=1h").await,
            [r#"{"app":"a"} 3599.999=4 7200=8"#, r#"{"app":"b"} 3599.999=10"#, r#"{"app":"c"} 3599.999=1"#]
        );
        let flush = Request::post("/flush").body(Body::empty()).unwrap();
        assert_eq!(world.send(flush).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn faults_have_the_texts_of_loki() {
    let world = filled().await;
    let settings = ServerSettings { volume_series_max: 2, ..ServerSettings::default() };
    let narrow = world_with(IngestSettings::default(), settings).await;
    let entries = ["a", "b", "c"].map(|app| stream(&format!("{{\"app\":\"{app}\"}}"), &[(NOW_NS, "x")]));
    assert_eq!(narrow.push_json(&entries.join(",")).await.status, StatusCode::NO_CONTENT);
    let too_many = "the query hit the max number of series limit (limit: 2 series)";
    for (world, path, text) in [
        (&world, "volume?query={app=\"a\"}&aggregateBy=x", "invalid aggregation option"),
        (&world, "volume?query={app=\"a\"}%20|=%20\"x\"", "only label matchers are supported"),
        (&world, "volume", "parse error : syntax error: unexpected $end"),
        (&world, "volume?query={}&limit=-1", "limit must be a positive value"),
        (&world, "volume_range?query={}&step=0", "zero or negative query resolution step widths"),
        (&narrow, "volume?query={}&since=1h&end=1795230001", too_many),
    ] {
        let path = path.replace('"', "%22").replace('{', "%7B").replace('}', "%7D").replace('|', "%7C");
        let answer = world.get(&format!("/loki/api/v1/index/{path}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.text().starts_with(text), "{path}: {}", answer.text());
    }
}
