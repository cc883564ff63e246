//! The checks of the contract about parameters and queries, each named after its number in the list of the reference;
//! those about pushes, tails and what there is to browse stand in the other files.

use super::*;
use serde_json::Value;

const HOUR_NS: i64 = 3600 * SEC_NS;

/// A world with entries of app `a`, so many seconds ago each.
async fn filled(entries: &[(i64, &str)]) -> World {
    let world = world().await;
    let entries: Vec<(i64, &str)> =
        entries.iter().map(|(secs_ago, line)| (NOW_NS - secs_ago * SEC_NS, *line)).collect();
    assert_eq!(world.push_json(&stream("{\"app\":\"a\"}", &entries)).await.status, StatusCode::NO_CONTENT);
    world
}

impl World {
    async fn json(&self, path: &str) -> Value {
        let answer = self.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Returns the result of a query over a range.
    async fn result(&self, query: &str, more: &str) -> Value {
        let path = format!("query_range?query={}{more}", escape(query));
        self.json(&path).await["data"]["result"].clone()
    }

    async fn status(&self, path: &str) -> (u16, String) {
        let answer = self.get(&format!("/loki/api/v1/{path}")).await;
        (answer.status.as_u16(), answer.text().to_owned())
    }
}

const SELECTOR: &str = "{app=\"a\"}";

#[tokio::test]
async fn check_01_get_and_form_post_answer_alike() {
    let world = filled(&[(5, "x=1")]).await;
    let query = escape(SELECTOR);
    for (path, form) in [
        ("query_range", format!("query={query}")),
        ("query", "query=vector(1)&time=4000000000".to_owned()),
        ("labels", String::new()),
        ("label", String::new()),
        ("label/app/values", format!("query={query}")),
        ("series", format!("match[]={query}")),
        ("index/stats", format!("query={query}")),
        ("index/volume", format!("query={query}")),
        ("index/volume_range", format!("query={query}")),
        ("detected_labels", String::new()),
        ("detected_fields", format!("query={query}")),
        ("detected_field/x/values", format!("query={query}")),
        ("patterns", format!("query={query}")),
        ("format_query", format!("query={query}")),
    ] {
        let got = world.get(&format!("/loki/api/v1/{path}?{form}")).await;
        let post = Request::post(format!("/loki/api/v1/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let posted = world.send(post).await;
        assert_eq!((got.status, posted.status), (StatusCode::OK, StatusCode::OK), "{path}: {}", got.text());
        // Statistics tell times.
        let data = |answer: &Answer| {
            let mut value: Value = serde_json::from_slice(&answer.body).unwrap();
            value["data"].as_object_mut().map(|data| data.remove("stats"));
            value
        };
        assert_eq!(data(&got), data(&posted), "{path}");
        assert_eq!(got.headers.get("content-type"), posted.headers.get("content-type"), "{path}");
    }
}

#[tokio::test]
async fn check_02_unknown_paths_and_wrong_methods() {
    let world = world().await;
    let unknown = world.get("/loki/api/v1/nosuch").await;
    assert_eq!((unknown.status.as_u16(), unknown.text()), (404, "404 page not found\n"));
    assert!(unknown.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let put = world.send(Request::put("/loki/api/v1/query_range").body(Body::empty()).unwrap()).await;
    assert_eq!((put.status.as_u16(), put.text()), (405, ""));
}

#[tokio::test]
async fn check_04_forms_of_timestamps() {
    let world = filled(&[(10, "older"), (5, "newer")]).await;
    let secs = NOW_NS / SEC_NS - 7;
    for start in [
        secs.to_string(),
        format!("{secs}.5"),
        (secs * SEC_NS).to_string(),
        "2026-11-21T02:59:53Z".to_owned(),
        "2026-11-21T02:59:53.25Z".to_owned(),
        "2026-11-21T03:59:53.000000001%2B01:00".to_owned(),
    ] {
        assert_eq!(world.lines(SELECTOR, &format!("&start={start}")).await, ["newer"], "{start}");
    }
    // Thirteen digits are nanoseconds of 1970, not milliseconds.
    let (status, text) =
        world.status(&format!("query_range?query={}&start={}", escape(SELECTOR), secs * 1000)).await;
    assert!(status == 400 && text.starts_with("the query time range exceeds the limit"), "{text}");
    for (name, value) in [("start", "2025-01-01"), ("end", "abc"), ("start", "1e18"), ("end", "now-1h")] {
        let path = format!("query_range?query={}&{name}={value}", escape(SELECTOR));
        let (status, text) = world.status(&path).await;
        assert!(
            status == 400 && text.starts_with(&format!("could not parse '{name}' parameter: ")),
            "{value}: {text}"
        );
    }
}

#[tokio::test]
async fn check_05_durations() {
    let world = world().await;
    let path = |step: &str| format!("query_range?query=vector(1)&since=5m&step={step}");
    for step in ["500ms", "1m30s", "1d", "60", "0.5"] {
        assert_eq!(world.status(&path(step)).await.0, 200, "{step}");
    }
    for step in ["1.5s", "abc", "0", "-1"] {
        assert_eq!(world.status(&path(step)).await.0, 400, "{step}");
    }
    let (_, text) = world.status(&path("0")).await;
    assert_eq!(
        text.trim_end(),
        "zero or negative query resolution step widths are not accepted. Try a positive integer"
    );
}

#[tokio::test]
async fn check_06_defaults_of_ranges() {
    let world = filled(&[(5400, "ninety"), (2400, "forty"), (600, "ten")]).await;
    assert_eq!(world.lines(SELECTOR, "").await, ["forty", "ten"]);
    assert_eq!(world.lines(SELECTOR, "&since=30m").await, ["ten"]);
    let start = NOW_NS - 2 * HOUR_NS;
    assert_eq!(world.lines(SELECTOR, &format!("&since=30m&start={start}")).await, ["ninety", "forty", "ten"]);
    let end = NOW_NS + 24 * HOUR_NS;
    assert_eq!(world.lines(SELECTOR, &format!("&since=30m&end={end}")).await, ["ten"]);
    let path = format!("query_range?query={}&start=1795229000&end=1795228000", escape(SELECTOR));
    let (status, text) = world.status(&path).await;
    assert_eq!((status, text.trim_end()), (400, "end timestamp must not be before or equal to start time"));
    assert_eq!(world.lines(SELECTOR, "&start=1795229000&end=1795229000").await, Vec::<String>::new());
}

#[tokio::test]
async fn check_07_limits() {
    let lines: Vec<String> = (0..150).map(|number| format!("n{number}")).collect();
    let entries: Vec<(i64, &str)> = (1..).zip(lines.iter().map(String::as_str)).collect();
    let world = filled(&entries).await;
    assert_eq!(world.lines(SELECTOR, "").await.len(), 100);
    assert_eq!(world.lines(SELECTOR, "&limit=5000").await.len(), 150);
    for (limit, expect) in [
        ("0", "limit must be a positive value"),
        ("-1", "limit must be a positive value"),
        ("x", "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("5001", "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"),
    ] {
        let (status, text) =
            world.status(&format!("query_range?query={}&limit={limit}", escape(SELECTOR))).await;
        assert_eq!((status, text.trim_end()), (400, expect));
    }
}

#[tokio::test]
async fn check_08_directions() {
    let world = filled(&[(3, "a"), (2, "b"), (1, "c")]).await;
    for (direction, expect) in [("forward", "a"), ("FORWARD", "a"), ("Backward", "c"), ("backward", "c")] {
        let found = world.lines(SELECTOR, &format!("&limit=1&direction={direction}")).await;
        assert_eq!(found, [expect], "{direction}");
    }
    let path = format!("query_range?query={}&direction=sideways", escape(SELECTOR));
    assert_eq!(world.status(&path).await, (400, "invalid direction 'sideways'".to_owned()));
}

#[tokio::test]
async fn check_09_points_of_a_range() {
    let world = world().await;
    let path = |secs: i64| {
        format!("query_range?query=vector(1)&start=1795200000&end={}&step=1", 1_795_200_000 + secs)
    };
    assert_eq!(world.status(&path(11_000)).await.0, 200);
    let (status, text) = world.status(&path(11_001)).await;
    assert!(
        status == 400 && text.starts_with("exceeded maximum resolution of 11,000 points per time series."),
        "{text}"
    );
}

#[tokio::test]
async fn check_20_resending_changes_no_count() {
    let world = filled(&[(5, "once"), (4, "twice")]).await;
    for _ in 0..3 {
        let again = [(NOW_NS - 5 * SEC_NS, "once"), (NOW_NS - 4 * SEC_NS, "twice")];
        world.push_json(&stream("{\"app\":\"a\"}", &again)).await;
    }
    assert_eq!(world.lines(SELECTOR, "").await, ["once", "twice"]);
    let count = world.json(&format!("query?query={}", escape("sum(count_over_time({app=\"a\"}[1m]))"))).await;
    assert_eq!(count["data"]["result"][0]["value"][1], "2");
}

#[tokio::test]
async fn check_21_equal_timestamps_keep_all_lines_in_a_stable_order() {
    let world = filled(&[(5, "one"), (5, "two"), (5, "three")]).await;
    let order = |result: &Value| -> Vec<String> {
        let values = result[0]["values"].as_array().unwrap();
        values.iter().map(|entry| entry[1].as_str().unwrap().to_owned()).collect()
    };
    for direction in ["forward", "backward"] {
        let more = format!("&direction={direction}");
        let first = order(&world.result(SELECTOR, &more).await);
        assert_eq!(first.len(), 3);
        assert_eq!(order(&world.result(SELECTOR, &more).await), first);
    }
}

#[tokio::test]
async fn check_29_entries_have_categories_with_the_flag_alone() {
    let world = world().await;
    let at = NOW_NS - SEC_NS;
    world
        .push_json(&format!(
            r#"{{"stream":{{"app":"a"}},"values":[["{at}","k=v",{{"trace":"7"}}],["{}","{{\"broken\"",{{}}]]}}"#,
            at + 1
        ))
        .await;
    for query in [
        "{app=\"none\"}",
        SELECTOR,
        "{app=\"a\"} | logfmt",
        "{app=\"a\"} | json",
        "{app=\"a\"} | drop detected_level, trace",
    ] {
        let path = format!("/loki/api/v1/query_range?query={}", escape(query));
        let flagged = Request::get(&path)
            .header("X-Loki-Response-Encoding-Flags", "categorize-labels,other")
            .body(Body::empty())
            .unwrap();
        let (flagged, plain) = (world.send(flagged).await, world.get(&path).await);
        let place = |text: &str, key: &str| text.find(&format!("\"{key}\":")).unwrap();
        let text = flagged.text();
        assert!(place(text, "resultType") < place(text, "encodingFlags"), "{text}");
        assert!(place(text, "encodingFlags") < place(text, "result"), "{text}");
        assert!(!plain.text().contains("encodingFlags"));
        for (answer, elements) in [(&flagged, 3), (&plain, 2)] {
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            if elements == 3 {
                assert_eq!(value["data"]["encodingFlags"], serde_json::json!(["categorize-labels", "other"]));
            }
            for stream in value["data"]["result"].as_array().unwrap() {
                let keys: Vec<&String> = stream.as_object().unwrap().keys().collect();
                assert_eq!(keys, ["stream", "values"]);
                for entry in stream["values"].as_array().unwrap() {
                    let entry = entry.as_array().unwrap();
                    assert_eq!(entry.len(), elements, "{query}");
                    assert!(entry[0].as_str().unwrap().len() >= 10 && entry[1].is_string());
                    let known = ["structuredMetadata", "parsed"];
                    let categories = entry.get(2).map(|value| value.as_object().unwrap());
                    for (name, labels) in categories.into_iter().flatten() {
                        assert!(known.contains(&name.as_str()), "{name}");
                        let labels = labels.as_object().unwrap();
                        assert!(!labels.is_empty() && labels.values().all(Value::is_string));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn check_31_folded_streams_are_split_and_sorted() {
    let world =
        filled(&[(4, "n=1 level=info"), (3, "n=2 level=warn"), (2, "n=1 level=info"), (1, "n=1 level=info")])
            .await;
    for (direction, first) in [("forward", 4), ("backward", 1)] {
        let result = world.result("{app=\"a\"} | logfmt", &format!("&direction={direction}")).await;
        let streams = result.as_array().unwrap();
        let levels: Vec<&str> =
            streams.iter().map(|stream| stream["stream"]["level"].as_str().unwrap()).collect();
        assert_eq!(levels, ["info", "warn"]);
        assert_eq!(streams[0]["values"].as_array().unwrap().len(), 3);
        assert_eq!(streams[0]["values"][0][0], (NOW_NS - first * SEC_NS).to_string());
    }
}

#[tokio::test]
async fn check_32_the_limit_is_global_and_pages_visit_each_entry_once() {
    let world = world().await;
    let mut all = Vec::new();
    // Pages end between entries of different streams.
    for (index, app) in (0_i64..).zip(["a", "b", "c"]) {
        let lines: Vec<(i64, String)> = (0..7)
            .map(|number| (NOW_NS - (number * 3 + 1) * SEC_NS - index * SEC_NS, format!("{app}{number}")))
            .collect();
        let entries: Vec<(i64, &str)> = lines.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
        world.push_json(&stream(&format!("{{\"app\":\"{app}\",\"j\":\"x\"}}"), &entries)).await;
        all.extend(lines.into_iter().map(|(_, line)| line));
    }
    all.sort();
    for direction in ["backward", "forward"] {
        let (mut start, mut end) = (NOW_NS - HOUR_NS, NOW_NS);
        let mut seen = Vec::new();
        loop {
            let more = format!("&limit=4&direction={direction}&start={start}&end={end}");
            let page = world.streams("{j=\"x\"}", &more).await;
            let entries: Vec<(i64, String)> = page
                .into_iter()
                .flat_map(|stream| stream.values)
                .map(|entry| (entry.ts_ns, entry.line))
                .collect();
            assert!(entries.len() <= 4);
            let times = entries.iter().map(|(ts_ns, _)| *ts_ns);
            match direction {
                "backward" => end = times.min().unwrap_or(start),
                _ => start = times.max().unwrap_or(end) + 1,
            }
            if entries.is_empty() {
                break;
            }
            seen.extend(entries.into_iter().map(|(_, line)| line));
        }
        seen.sort();
        assert_eq!(seen, all, "{direction}");
    }
}

#[tokio::test]
async fn check_33_start_is_inclusive_and_end_exclusive() {
    let world = filled(&[(5, "x")]).await;
    let at = NOW_NS - 5 * SEC_NS;
    for (start, end, count) in [(at, at + 1, 1), (at - 1, at, 0), (at + 1, at + 2, 0)] {
        assert_eq!(world.lines(SELECTOR, &format!("&start={start}&end={end}")).await.len(), count);
    }
}

#[tokio::test]
async fn check_34_steps_are_aligned_and_pieces_join() {
    let world = filled(&[(3000, "a"), (2000, "b"), (1000, "c"), (10, "d")]).await;
    let query = "sum(count_over_time({app=\"a\"}[10m]))";
    let points = async |start: i64, end: i64| -> Vec<(i64, String)> {
        let result = world.result(query, &format!("&start={start}&end={end}&step=60")).await;
        let values = result[0]["values"].as_array().cloned().unwrap_or_default();
        values
            .iter()
            .map(|point| (point[0].as_i64().unwrap(), point[1].as_str().unwrap().to_owned()))
            .collect()
    };
    let now = NOW_NS / SEC_NS;
    let whole = points(now - 3601, now - 1).await;
    assert!(!whole.is_empty() && whole.iter().all(|(secs, _)| secs % 60 == 0), "{whole:?}");
    let middle = (now - 1800) / 60 * 60;
    let mut joined = points(now - 3601, middle - 60).await;
    joined.extend(points(middle, now - 1).await);
    assert_eq!(joined, whole);
}

#[tokio::test]
async fn check_35_numbers_are_texts() {
    let world = world().await;
    for (query, expect) in [
        ("vector(0)/0", "NaN"),
        ("vector(1)/0", "NaN"),
        ("vector(1e308)*10", "+Inf"),
        ("vector(1e308)*-10", "-Inf"),
        ("vector(1)/4", "0.25"),
    ] {
        let answer = world.json(&format!("query?query={}&time=1795230000.5", escape(query))).await;
        assert_eq!(
            answer["data"]["result"][0]["value"],
            serde_json::json!([1_795_230_000.5, expect]),
            "{query}"
        );
    }
    let empty = escape("count_over_time({app=\"none\"}[5m])");
    for path in [format!("query?query={empty}"), format!("query_range?query={empty}")] {
        assert_eq!(world.json(&path).await["data"]["result"], serde_json::json!([]), "{path}");
    }
}

#[tokio::test]
async fn check_36_what_each_endpoint_takes() {
    let world = world().await;
    let (status, text) = world.status(&format!("query?query={}", escape(SELECTOR))).await;
    assert_eq!(
        (status, text.trim_end()),
        (
            400,
            "log queries are not supported as an instant query type, please change your query to a range query type"
        )
    );
    for (query, instant, range) in
        [("vector(1)", "vector", "matrix"), ("1%2B1", "scalar", "matrix"), ("2", "scalar", "matrix")]
    {
        assert_eq!(
            world.json(&format!("query?query={query}")).await["data"]["resultType"],
            instant,
            "{query}"
        );
        assert_eq!(
            world.json(&format!("query_range?query={query}")).await["data"]["resultType"],
            range,
            "{query}"
        );
    }
}

#[tokio::test]
async fn check_37_the_histogram_that_grafana_asks_for() {
    let world = filled(&[(30, "level=info a"), (20, "level=error b"), (10, "level=info c")]).await;
    let counts = async |query: &str| -> Vec<(Value, String)> {
        let answer = world.json(&format!("query?query={}", escape(query))).await;
        let result = answer["data"]["result"].as_array().unwrap().clone();
        result
            .into_iter()
            .map(|sample| (sample["metric"].clone(), sample["value"][1].as_str().unwrap().to_owned()))
            .collect()
    };
    let label = |level: &str| serde_json::json!({"app": "a", "detected_level": level, "service_name": "a"});
    assert_eq!(
        counts("count_over_time({app=\"a\"}[1m])").await,
        [(label("error"), "1".to_owned()), (label("info"), "2".to_owned())]
    );
    let level = |level: &str| serde_json::json!({"detected_level": level});
    assert_eq!(
        counts("sum by (level, detected_level) (count_over_time({app=\"a\"} | drop __error__ [15m]))").await,
        [(level("error"), "1".to_owned()), (level("info"), "2".to_owned())]
    );
}

#[tokio::test]
async fn check_38_parse_errors() {
    let world = world().await;
    let usable = "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value.";
    for (query, expect) in [
        ("", "parse error : syntax error: unexpected $end"),
        ("{app=", "parse error at line 1, col 6: syntax error: unexpected $end, expecting STRING"),
        ("{}", usable),
        ("{a=~\".*\"}", usable),
        ("{a!=\"x\"}", usable),
        ("{a=\"b\"} |~ \"(\"", "parse error : stage '|~ \"(\"' : error parsing regexp: missing closing ):"),
    ] {
        let (status, text) = world.status(&format!("query_range?query={}", escape(query))).await;
        assert!(status == 400 && text.starts_with(expect), "{query}: {text}");
    }
    for path in ["labels", "series", "index/stats", "index/volume"] {
        let name = if path == "series" { "match" } else { "query" };
        let (status, text) = world.status(&format!("{path}?{name}={}", escape("{a=\"b\"} |= \"x\""))).await;
        assert!(status == 400 && text.contains("only label matchers are supported"), "{path}: {text}");
    }
}

#[tokio::test]
async fn check_39_the_limit_of_series() {
    let world = world().await;
    let streams: Vec<String> = (0..501)
        .map(|number| stream(&format!("{{\"app\":\"a\",\"n\":\"{number:03}\"}}"), &[(NOW_NS - SEC_NS, "x")]))
        .collect();
    assert_eq!(world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    let path =
        format!("/loki/api/v1/query?query={}", escape("sum by (n) (count_over_time({app=\"a\"}[1m]))"));
    let refused = world.get(&path).await;
    assert_eq!(refused.status.as_u16(), 400);
    assert!(
        refused.text().starts_with(
            "maximum number of series (500) reached for a single query; consider reducing query cardinality"
        ),
        "{}",
        refused.text()
    );
    let tagged = Request::get(&path)
        .header("X-Query-Tags", "Source=grafana-lokiexplore-app")
        .body(Body::empty())
        .unwrap();
    let partial = world.send(tagged).await;
    assert_eq!(partial.status.as_u16(), 200);
    let partial: Value = serde_json::from_slice(&partial.body).unwrap();
    assert_eq!(partial["data"]["result"].as_array().unwrap().len(), 500);
    assert_eq!(
        partial["warnings"],
        serde_json::json!([
            "maximum number of series (500) reached for a single query; returning partial results"
        ])
    );
}

/// A world whose engine has other settings, with two lines of ten bytes.
async fn with_engine(change: fn(&mut EngineSettings)) -> World {
    let mut settings = EngineSettings::default();
    change(&mut settings);
    let (store, limits) = (StoreSettings::default(), IngestSettings::default());
    let world = world_of(store, limits, ServerSettings::default(), |parts| {
        parts.engine = Arc::new(Engine::new(settings));
    });
    let world = world.await;
    let lines = [(NOW_NS - SEC_NS, "0123456789"), (NOW_NS - 2 * SEC_NS, "0123456789")];
    assert_eq!(world.push_json(&stream("{\"app\":\"a\"}", &lines)).await.status, StatusCode::NO_CONTENT);
    world
}

/// A log query and a metric query.
fn both_kinds() -> [String; 2] {
    [
        format!("query_range?query={}", escape(SELECTOR)),
        format!("query?query={}", escape("sum(count_over_time({app=\"a\"}[5m]))")),
    ]
}

#[test]
fn check_40_time_runs_out() {
    // One thread for all that blocks, and that one is taken: no query gets to run.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    runtime.block_on(async {
        let world = with_engine(|settings| settings.timeout_secs = 0).await;
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        for path in both_kinds() {
            let (status, text) = world.status(&path).await;
            assert_eq!(status, 504, "{text}");
            assert!(text.starts_with("request timed out, decrease the duration of the request"), "{text}");
        }
        release.send(()).unwrap();
        taken.await.unwrap();
    });
}

#[tokio::test]
async fn check_40_bytes_run_out() {
    let small = with_engine(|settings| settings.bytes_read_max = 19).await;
    let enough = with_engine(|settings| settings.bytes_read_max = 20).await;
    for path in both_kinds() {
        let (status, text) = small.status(&path).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.starts_with("the query would read too many bytes (query: 20 B, limit: 19 B)"), "{text}");
        assert_eq!(enough.status(&path).await.0, 200);
    }
}

#[tokio::test]
async fn check_41_the_summary_is_complete() {
    let world = filled(&[(5, "x"), (4, "y")]).await;
    let answer = world.json(&format!("query_range?query={}", escape(SELECTOR))).await;
    let summary = &answer["data"]["stats"]["summary"];
    for name in [
        "bytesProcessedPerSecond",
        "linesProcessedPerSecond",
        "totalBytesProcessed",
        "totalLinesProcessed",
        "execTime",
        "queueTime",
        "totalEntriesReturned",
        "splits",
        "shards",
        "subqueries",
        "totalPostFilterLines",
        "totalStructuredMetadataBytesProcessed",
    ] {
        assert!(summary[name].is_number(), "{name}: {summary}");
    }
    assert_eq!(summary["totalEntriesReturned"], 2);
    let secs = summary["execTime"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&secs), "{secs}");
}

#[tokio::test]
async fn check_42_what_clients_generate_parses() {
    let world = filled(&[(5, "a=1")]).await;
    let s = SELECTOR;
    for query in [
        "vector(1)+vector(1)".to_owned(),
        format!("sum by (level, detected_level) (count_over_time({s} | drop __error__ [15s]))"),
        format!("sum by (level) (count_over_time({s}[1m]))"),
        format!("{s} | json | logfmt | drop __error__, __error_details__"),
        format!("{s} | json a=\"x[\\\"y\\\"]\", b=\"c.d\""),
        format!("{s} | detected_level=\"error\" or detected_level=\"warn\""),
        format!("{s} | detected_level != \"\""),
        format!("{s} |= `a` |= \"\" or \"\""),
        format!("{s} |> \"pat <_>\" !> \"<_>pat\""),
        format!("sum(sum_over_time({s} | logfmt | unwrap duration(a) | __error__=\"\" [1m])) by ()"),
        format!("avg_over_time({s} | logfmt | unwrap a [1m]) by ()"),
        format!("quantile_over_time(0.5, {s} | logfmt | unwrap a [1m]) by (app)"),
        "{service_name=~\".+\"}".to_owned(),
        "{app=\"a\", __stream_shard__=~\"0|1\"}".to_owned(),
        "{app=\"a\", __stream_shard__=\"\"}".to_owned(),
        format!("{s} # a comment\n|= \"a\" # another"),
    ] {
        let (status, text) = world.status(&format!("query_range?query={}", escape(&query))).await;
        assert_eq!(status, 200, "{query}: {text}");
    }
}

#[tokio::test]
async fn check_43_interval_thins() {
    let world = filled(&[(10, "a"), (9, "b"), (8, "c"), (5, "d"), (4, "e")]).await;
    assert_eq!(world.lines(SELECTOR, "&interval=2&direction=forward").await, ["a", "c", "d"]);
    assert_eq!(world.lines(SELECTOR, "&interval=2s&direction=backward").await, ["a", "c", "e"]);
    let path = format!("query_range?query={}&interval=-1", escape(SELECTOR));
    assert_eq!(world.status(&path).await, (400, "interval must be >= 0".to_owned()));
}

#[tokio::test]
async fn check_48_labels_and_values() {
    let world = filled(&[(5, "level=info")]).await;
    world.push_json(&stream("{\"app\":\"b\",\"job\":\"j\"}", &[(NOW_NS - SEC_NS, "x")])).await;
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (path, expect) in [
        ("labels".to_owned(), r#"["app","job","service_name"]"#),
        (format!("labels?query={}", escape(SELECTOR)), r#"["app","service_name"]"#),
        ("label/app/values".to_owned(), r#"["a","b"]"#),
        (format!("label/app/values?query={}", escape("{job=\"j\"}")), r#"["b"]"#),
        ("label/a%70p/values".to_owned(), r#"["a","b"]"#),
        ("label/nosuch/values".to_owned(), "[]"),
        ("label/detected_level/values".to_owned(), "[]"),
        ("label/__stream_shard__/values".to_owned(), "[]"),
    ] {
        assert_eq!(world.json(&path).await["data"], json(expect), "{path}");
    }
}

#[tokio::test]
async fn check_49_series() {
    let world = filled(&[(5, "x")]).await;
    world.push_json(&stream("{\"app\":\"b\",\"job\":\"j\"}", &[(NOW_NS - SEC_NS, "x")])).await;
    let (a, b) = (escape(SELECTOR), escape("{app=\"b\"}"));
    for (params, count) in [
        (format!("match[]={a}"), 1),
        (format!("match={a}"), 1),
        (format!("match[]={a}&match[]={b}"), 2),
        ("match[]=%7B%7D".to_owned(), 2),
        (String::new(), 2),
        (format!("match[]={}", escape("{job!=\"j\"}")), 1),
        (format!("match[]={}", escape("{app=\"none\"}")), 0),
    ] {
        let found = world.json(&format!("series?{params}")).await["data"].as_array().unwrap().len();
        assert_eq!(found, count, "{params}");
    }
    assert_eq!(world.status("series?match[]=%7B").await.0, 400);
}

#[tokio::test]
async fn check_50_stats_are_bare_and_count_recent_data() {
    let world = filled(&[(5, "12345"), (4, "678")]).await;
    let stats = world.json(&format!("index/stats?query={}", escape(SELECTOR))).await;
    let keys: Vec<&String> = stats.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bytes", "chunks", "entries", "streams"]);
    assert_eq!((&stats["streams"], &stats["entries"], &stats["bytes"]), (&1.into(), &2.into(), &8.into()));
}
