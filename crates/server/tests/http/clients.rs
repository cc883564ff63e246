//! What loki-canary, logcli and lokitool ask, and how they judge the answers. These tests replay the shapes of the
//! requests (Loki v3.7: paths, parameters, headers, the order of calls) and the clients' own rules for what is right;
//! they are not those programs, so what a program does besides is not tested here.

use super::protobuf::{bytes, entry, number, snappy};
use super::tail::{Live, Socket, live, text};
use super::*;
use logyard_rules::{print_group, read_group};
use logyard_wire::loki_tail::TailAnswer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// As Go escapes a value of a query.
fn go_escape(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

/// As Go writes the parameters of a query: by name, those of one name in their order.
fn go_query(params: &[(&str, &str)]) -> String {
    let mut params: Vec<_> = params.iter().collect();
    params.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> =
        params.iter().map(|(name, value)| format!("{name}={}", go_escape(value))).collect();
    pairs.join("&")
}

async fn call(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body)).unwrap()).await
}

async fn flush(world: &World) {
    assert_eq!(call(world, "POST", "/flush", &[], Vec::new()).await.status, StatusCode::NO_CONTENT);
}

fn streams_of(answer: &Answer) -> Vec<StreamAnswer> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    match decode::<QueryAnswer>(&answer.body).unwrap().data {
        QueryData::Streams(streams) => streams,
        other => panic!("{other:?}"),
    }
}

async fn tailed(socket: &mut Socket) -> Vec<(i64, String)> {
    let frame: TailAnswer = decode(text(socket).await.as_bytes()).unwrap();
    assert_eq!(frame.dropped_entries, []);
    let entries = frame.streams.into_iter().flat_map(|stream| stream.values);
    entries.map(|entry| (entry.ts_ns, entry.line)).collect()
}

const CANARY: &str = r#"{stream="stdout",name="loki-canary"}"#;
const CANARY_AGENT: (&str, &str) = ("user-agent", "loki-canary/3.7.6");

/// A line of the canary: its time, a blank and padding, of 100 bytes in all.
fn canary_line(ts_ns: i64) -> String {
    format!("{ts_ns} {}\n", "p".repeat(79))
}

/// The time that a line tells, which is what the canary compares.
fn canary_time(line: &str) -> i64 {
    let parts: Vec<&str> = line.split(' ').collect();
    assert_eq!(parts.len(), 2, "an invalid entry: {line:?}");
    parts[0].parse().unwrap()
}

/// The canary's question for lines, with which it confirms and spot-checks.
async fn canary_lines(world: &World, start: i64, end: i64) -> Vec<i64> {
    let query = go_escape(CANARY);
    let path = format!("/loki/api/v1/query_range?start={start}&end={end}&query={query}&limit=1000");
    let streams = streams_of(&call(world, "GET", &path, &[CANARY_AGENT], Vec::new()).await);
    let lines = streams.iter().flat_map(|stream| &stream.values);
    let mut times: Vec<i64> = lines.map(|entry| canary_time(&entry.line)).collect();
    times.sort_unstable();
    times
}

/// The canary's question for a number, of which it wants exactly one series.
async fn canary_count(world: &World, span: &str, at: i64, is_cached: bool) -> f64 {
    let query = go_escape(&format!("count_over_time({CANARY}[{span}])"));
    let path = format!("/loki/api/v1/query?query={query}&time={at}&limit=1000");
    let headers = [CANARY_AGENT, ("cache-control", "no-cache")];
    let headers = if is_cached { &headers[..1] } else { &headers[..] };
    let answer = call(world, "GET", &path, headers, Vec::new()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    match decode::<QueryAnswer>(&answer.body).unwrap().data {
        QueryData::Vector(samples) if samples.len() == 1 => samples[0].value.value,
        other => panic!("not one series: {other:?}"),
    }
}

/// Replays the shapes of `loki-canary -push`; it is not loki-canary. A minute of the server's clock passes in some
/// seconds: a line each second, two thirds of them followed by a socket that then breaks, which leaves the rest to be
/// confirmed by a query.
#[tokio::test(flavor = "multi_thread")]
async fn check_60_a_canary_misses_nothing_and_sees_nothing_twice() {
    const LINES: i64 = 60;
    const FOLLOWED: i64 = 40;
    let live = live(ServerSettings::default()).await;
    let world = &live.world;
    let path = format!("/loki/api/v1/tail?query={}", go_escape(CANARY));
    let mut socket = live.try_tail(&path, &[]).await.unwrap();
    let mut follower = Some(tokio::spawn(async move {
        let mut seen = Vec::new();
        while !seen.contains(&(NOW_NS + FOLLOWED * SEC_NS)) {
            seen.extend(tailed(&mut socket).await.iter().map(|(_, line)| canary_time(line)));
        }
        seen
    }));
    let mut sent = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for second in 1..=LINES {
        ticks.tick().await;
        world.clock.advance(Duration::from_secs(1));
        let ts_ns = NOW_NS + second * SEC_NS;
        let labels = bytes(1, r#"{name="loki-canary", stream="stdout"}"#);
        let pushed =
            [labels, bytes(2, entry(ts_ns, canary_line(ts_ns), &[])), number(3, 0xfeed_beef)].concat();
        let headers = [("content-type", "application/x-protobuf"), ("user-agent", "canary-push/3.7.6")];
        let body = snappy(&bytes(1, pushed));
        let answer = call(world, "POST", "/loki/api/v1/push", &headers, body).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
        sent.push(ts_ns);
        if second == LINES / 2 {
            flush(world).await;
        }
        if second == FOLLOWED {
            // In order, each once, and nothing else.
            assert_eq!(follower.take().unwrap().await.unwrap(), sent);
        }
    }
    world.clock.advance(Duration::from_secs(60));
    let (last, now) = (NOW_NS + LINES * SEC_NS, NOW_NS + (LINES + 60) * SEC_NS);
    let around = |first: i64, last: i64| (first - 10 * SEC_NS, last + 10 * SEC_NS);
    for place in ["half in files", "all in files"] {
        let missed = &sent[usize::try_from(FOLLOWED).unwrap()..];
        let spots = sent.iter().step_by(7).map(|ts_ns| around(*ts_ns, *ts_ns));
        for (start, end) in std::iter::once(around(missed[0], last)).chain(spots) {
            let expect: Vec<i64> =
                sent.iter().copied().filter(|ts_ns| (start..end).contains(ts_ns)).collect();
            assert_eq!(canary_lines(world, start, end).await, expect, "{place}");
        }
        // As many as fit the range at one line a second; for the lines so far, and once none comes any more.
        for (span, at, expect) in [("30s", last, 30.0), ("60s", last, 60.0), ("120s", now, 60.0)] {
            for is_cached in [true, false] {
                let count = canary_count(world, span, at, is_cached).await;
                assert_eq!(count, expect, "{place}: {span} cached={is_cached}");
            }
        }
        flush(world).await;
    }
}

/// With `--org-id`, `--query-tags` and `--nocache`.
const LOGCLI: [(&str, &str); 4] = [
    ("user-agent", "loki-logcli/3.7.6"),
    ("x-scope-orgid", "fake"),
    ("cache-control", "no-cache"),
    ("x-query-tags", "Source=logcli"),
];

async fn logcli(world: &World, path: &str, params: &[(&str, &str)]) -> Answer {
    let path = format!("/loki/api/v1/{path}?{}", go_query(params));
    let answer = call(world, "GET", &path, &LOGCLI, Vec::new()).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer
}

async fn logcli_json(world: &World, path: &str, params: &[(&str, &str)]) -> Value {
    serde_json::from_slice(&logcli(world, path, params).await.body).unwrap()
}

/// `logcli query --limit --batch [--forward]`: what it prints. The next page begins with the time at which the last
/// one ended, and lines of that time that were printed are left out, so `--batch` must exceed the entries of a time.
async fn logcli_query(
    world: &World,
    query: &str,
    (limit, batch): (usize, usize),
    is_forward: bool,
) -> Vec<(i64, String)> {
    let batch = batch.min(limit);
    let (mut start, mut end) = (NOW_NS - 3600 * SEC_NS, NOW_NS);
    let mut printed: Vec<(i64, String)> = Vec::new();
    let mut overlap: Vec<(i64, String)> = Vec::new();
    while printed.len() < limit {
        let rest = limit - printed.len();
        let size = if rest < batch { rest + overlap.len() } else { batch };
        let params = [
            ("query", query),
            ("limit", &size.to_string()),
            ("start", &start.to_string()),
            ("end", &end.to_string()),
            ("direction", if is_forward { "FORWARD" } else { "BACKWARD" }),
        ];
        let streams = streams_of(&logcli(world, "query_range", &params).await);
        let entries = streams.into_iter().flat_map(|stream| stream.values);
        let mut page: Vec<(i64, String)> = entries.map(|entry| (entry.ts_ns, entry.line)).collect();
        assert!(page.len() <= size, "{} of {size}", page.len());
        page.sort_by_key(|(ts_ns, _)| if is_forward { *ts_ns } else { -*ts_ns });
        let Some((last, _)) = page.last().cloned() else { break };
        let fresh: Vec<_> = page.iter().filter(|entry| !overlap.contains(entry)).cloned().collect();
        if fresh.is_empty() {
            break;
        }
        printed.extend(fresh);
        overlap = page.into_iter().filter(|(ts_ns, _)| *ts_ns == last).collect();
        assert!(overlap.len() < batch || printed.len() >= limit, "a page of one time");
        if is_forward { start = last } else { end = last + 1 }
    }
    printed
}

/// Three entries in two streams at each of twelve times, a second apart.
async fn filled() -> (Live, Vec<(i64, String)>) {
    let live = live(ServerSettings::default()).await;
    let mut expect = Vec::new();
    let mut streams = Vec::new();
    for time in 0..12 {
        let ts_ns = NOW_NS - (12 - time) * SEC_NS;
        let lines = ["a", "b", "c"].map(|name| format!("n={time} from={name} dur=5ms"));
        streams.push(stream(r#"{"app":"one","env":"x"}"#, &[(ts_ns, &lines[0]), (ts_ns, &lines[1])]));
        streams.push(stream(r#"{"app":"two"}"#, &[(ts_ns, &lines[2])]));
        expect.extend(lines.map(|line| (ts_ns, line)));
    }
    assert_eq!(live.world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    (live, expect)
}

/// Replays the shapes of logcli's `query`, `instant-query`, `labels`, `series`, `stats`, `volume`, `volume_range` and
/// `detected-fields`; it is not logcli.
#[tokio::test]
async fn check_61_logcli_pages_through_lines_and_reads_what_it_asks() {
    let (live, expect) = filled().await;
    let world = &live.world;
    let all = r#"{app=~"one|two"}"#;
    for place in ["in memory", "in files"] {
        for (limit, batch) in [(36, 1000), (36, 5), (36, 4), (30, 7), (21, 5), (50, 6), (3, 4)] {
            for is_forward in [true, false] {
                let found = logcli_query(world, all, (limit, batch), is_forward).await;
                assert!(found.is_sorted_by(|(a, _), (b, _)| if is_forward { a <= b } else { a >= b }));
                let mut found = found;
                found.sort();
                let count = limit.min(expect.len());
                let part = if is_forward { &expect[..count] } else { &expect[expect.len() - count..] };
                assert_eq!(found, part, "{place}: {limit} by {batch}, forward {is_forward}");
            }
        }
        let (start, end) = (&*(NOW_NS - 3600 * SEC_NS).to_string(), &*NOW_NS.to_string());
        let range = [("start", start), ("end", end)];
        let with = |more: &[(&'static str, &'static str)]| [&range[..], more].concat();

        let rate = ("query", r#"sum by (app) (count_over_time({app=~".+"}[1m]))"#);
        let steps = [("limit", "30"), ("direction", "BACKWARD"), ("step", "60"), rate];
        let matrix = logcli_json(world, "query_range", &with(&steps)).await;
        assert_eq!(matrix["data"]["resultType"], "matrix");
        assert!(matrix["data"]["stats"]["summary"]["totalLinesProcessed"].is_u64(), "{matrix}");
        let instant = [("limit", "30"), ("time", end), ("direction", "BACKWARD"), rate];
        let vector = logcli_json(world, "query", &instant).await;
        assert_eq!(vector["data"]["resultType"], "vector");
        let values: Vec<_> = vector["data"]["result"].as_array().unwrap().iter().collect();
        assert_eq!([&values[0]["value"][1], &values[1]["value"][1]], ["24", "12"], "{vector}");

        let names =
            async |path: &str| decode::<NamesAnswer>(&logcli(world, path, &range).await.body).unwrap().data;
        assert_eq!(names("labels").await, ["app", "env", "service_name"]);
        assert_eq!(names("label/app/values").await, ["one", "two"]);
        let matches = with(&[("match", r#"{env="x"}"#), ("match", r#"{app="two"}"#)]);
        let series: SeriesListAnswer = decode(&logcli(world, "series", &matches).await.body).unwrap();
        assert_eq!(series.data.len(), 2);

        let selector = ("query", r#"{app="one"}"#);
        let stats: IndexStatsAnswer =
            decode(&logcli(world, "index/stats", &with(&[selector])).await.body).unwrap();
        assert_eq!((stats.streams, stats.entries), (1, 24));
        let any = ("query", r#"{app=~".+"}"#);
        let volume = with(&[any, ("limit", "30"), ("targetLabels", "app,env")]);
        let volume = logcli_json(world, "index/volume", &volume).await;
        assert_eq!(volume["data"]["resultType"], "vector");
        assert_eq!(volume["data"]["result"][0]["metric"], serde_json::json!({"app": "one", "env": "x"}));
        let by_label = with(&[any, ("limit", "30"), ("aggregateBy", "labels"), ("step", "3600")]);
        let volume = logcli_json(world, "index/volume_range", &by_label).await;
        assert_eq!(volume["data"]["resultType"], "matrix");
        assert_eq!(volume["data"]["result"][0]["metric"], serde_json::json!({"app": ""}));

        // Spans as Go writes them. Without `--step` logcli sends `0s`, which Loki refuses.
        let limits = [any, ("field_limit", "100"), ("line_limit", "1000"), ("step", "1m0s")];
        let fields = logcli_json(world, "detected_fields", &with(&limits)).await;
        let field = |name: &str| {
            let fields = fields["fields"].as_array().unwrap();
            let found = fields.iter().find(|field| field["label"] == name).unwrap();
            format!("{} {}", found["type"].as_str().unwrap(), found["cardinality"].as_u64().unwrap())
        };
        assert_eq!(["dur", "from", "n"].map(field), ["duration 1", "string 3", "int 12"]);
        flush(world).await;
    }
}

/// Replays the shapes of `logcli query --tail`; it is not logcli.
#[tokio::test(flavor = "multi_thread")]
async fn check_61_logcli_tails_and_goes_on_where_its_socket_broke() {
    let (live, expect) = filled().await;
    let tail = async |more: &[(&str, &str)], start: i64| {
        let start = start.to_string();
        let params = [&[("query", r#"{app="two"}"#), ("limit", "30"), ("start", &start)][..], more].concat();
        let path = format!("/loki/api/v1/tail?{}", go_query(&params));
        live.try_tail(&path, &LOGCLI).await.unwrap()
    };
    let push = async |line: &str| {
        live.world.clock.advance(Duration::from_secs(1));
        let at = live.world.clock.now_ns();
        let pushed = live.world.push_json(&stream(r#"{"app":"two"}"#, &[(at, line)])).await;
        assert_eq!(pushed.status, StatusCode::NO_CONTENT, "{}", pushed.text());
    };
    let read = async |socket: &mut Socket, count: usize| {
        let mut entries = Vec::new();
        while entries.len() < count {
            entries.extend(tailed(socket).await);
        }
        entries
    };
    let mut socket = tail(&[], NOW_NS - 3600 * SEC_NS).await;
    let past: Vec<_> = expect.iter().filter(|(_, line)| line.contains("from=c")).cloned().collect();
    assert_eq!(read(&mut socket, past.len()).await, past);
    push("live").await;
    let seen = read(&mut socket, 1).await;
    assert_eq!(seen[0].1, "live");
    // No closing handshake: the connection is gone.
    drop(socket);
    push("missed").await;
    let mut socket = tail(&[("delay_for", "1")], seen[0].0).await;
    push("after").await;
    let lines: Vec<String> = read(&mut socket, 3).await.into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["live", "missed", "after"]);
}

/// Replays the shapes of `logcli delete create|list|cancel`; it is not logcli.
#[tokio::test]
async fn check_61_logcli_lists_deletes_whose_times_are_whole_seconds() {
    let (live, _) = filled().await;
    let world = &live.world;
    let path = "/loki/api/v1/delete";
    let (start, end) = ((NOW_NS - 60 * SEC_NS) / SEC_NS, NOW_NS / SEC_NS);
    let params = [("query", r#"{app="two"}"#), ("start", &*start.to_string()), ("end", &*end.to_string())];
    let made = call(world, "POST", &format!("{path}?{}", go_query(&params)), &LOGCLI, Vec::new()).await;
    assert_eq!(made.status, StatusCode::NO_CONTENT, "{}", made.text());
    assert_eq!(logcli_query(world, r#"{app="two"}"#, (30, 1000), false).await, []);
    let listed: Value =
        serde_json::from_slice(&call(world, "GET", path, &LOGCLI, Vec::new()).await.body).unwrap();
    let request = &listed.as_array().unwrap()[0];
    assert_eq!((request["start_time"].as_i64(), request["end_time"].as_i64()), (Some(start), Some(end)));
    assert_eq!(
        (&request["query"], &request["status"]),
        (&Value::from(params[0].1), &Value::from("received"))
    );
    let id = request["request_id"].as_str().unwrap();
    let cancel = format!("{path}?{}", go_query(&[("request_id", id), ("force", "true")]));
    let cancelled = call(world, "DELETE", &cancel, &LOGCLI, Vec::new()).await;
    assert_eq!(cancelled.status, StatusCode::NO_CONTENT, "{}", cancelled.text());
    assert_eq!(logcli_query(world, r#"{app="two"}"#, (30, 1000), false).await.len(), 12);
}

/// A namespace, and its groups by name.
type Rules = BTreeMap<String, BTreeMap<String, String>>;

/// A group in one form, whoever wrote it.
fn one_form(yaml: &str) -> (String, String) {
    let group = read_group(yaml.as_bytes()).unwrap();
    (group.name.clone(), print_group(&group))
}

/// lokitool against one of the two prefixes.
struct Lokitool<'a> {
    world: &'a World,
    prefix: &'a str,
}

impl Lokitool<'_> {
    /// `None` is 404, whatever its text says; lokitool sends no content type.
    async fn call(&self, method: &str, path: &str, yaml: &str) -> Option<String> {
        let headers = [("user-agent", "lokitool/3.7.6"), ("x-scope-orgid", "fake")];
        let path = format!("{}{path}", self.prefix);
        let answer = call(self.world, method, &path, &headers, yaml.as_bytes().to_vec()).await;
        assert!(answer.status.is_success() || answer.status == 404, "{path}: {}", answer.text());
        answer.status.is_success().then(|| answer.text().to_owned())
    }

    fn group(ns: &str, name: &str) -> String {
        format!("/{}/{}", escape(ns), escape(name))
    }

    /// `rules load`: asks for each group, and writes those that differ. Returns how many it wrote.
    async fn load(&self, files: &Rules) -> usize {
        let mut written = 0;
        for (ns, groups) in files {
            for (name, yaml) in groups {
                let found = self.call("GET", &Self::group(ns, name), "").await;
                if found.is_none_or(|found| one_form(&found) != one_form(yaml)) {
                    self.call("POST", &format!("/{}", escape(ns)), yaml).await.unwrap();
                    written += 1;
                }
            }
        }
        written
    }

    /// `rules list` and `rules print`: a map of namespaces, none of them is 404.
    async fn list(&self) -> Rules {
        let text = self.call("GET", "", "").await.unwrap_or_default();
        let mut rules = Rules::new();
        let mut groups: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match line.strip_suffix(':').filter(|line| !line.starts_with([' ', '-'])) {
                Some(ns) => groups.push((ns.to_owned(), String::new())),
                None => {
                    let (ns, group) = groups.last().unwrap();
                    if line.starts_with("- ") && !group.is_empty() {
                        groups.push((ns.clone(), String::new()));
                    }
                    let (_, group) = groups.last_mut().unwrap();
                    *group += &format!("{}\n", &line[2..]);
                }
            }
        }
        for (ns, group) in groups {
            let (name, group) = one_form(&group);
            rules.entry(ns).or_default().insert(name, group);
        }
        rules
    }

    /// `rules diff`, by the list: what the files have and the server lacks or has otherwise, and the reverse.
    async fn diff(&self, files: &Rules) -> Vec<String> {
        let there = self.list().await;
        let other = |ns: &str, name: &str, rules: &Rules| {
            rules.get(ns).and_then(|groups| groups.get(name)).map(|yaml| one_form(yaml))
        };
        let mut differences = Vec::new();
        for (ns, groups) in files {
            for (name, yaml) in groups {
                match other(ns, name, &there) {
                    None => differences.push(format!("+ {ns}/{name}")),
                    Some(found) if found != one_form(yaml) => differences.push(format!("~ {ns}/{name}")),
                    Some(_) => {}
                }
            }
        }
        for (ns, groups) in &there {
            let gone = groups.keys().filter(|name| other(ns, name, files).is_none());
            differences.extend(gone.map(|name| format!("- {ns}/{name}")));
        }
        differences
    }

    /// `rules sync`: the differences, written and deleted group by group.
    async fn sync(&self, files: &Rules) {
        for difference in self.diff(files).await {
            let (kind, (ns, name)) = (difference.as_bytes()[0], difference[2..].split_once('/').unwrap());
            let done = match kind {
                b'-' => self.call("DELETE", &Self::group(ns, name), "").await,
                _ => self.call("POST", &format!("/{}", escape(ns)), &files[ns][name]).await,
            };
            assert!(done.is_some(), "{difference}");
        }
    }
}

/// Replays the shapes of `lokitool rules load|diff|sync|print|delete` by both prefixes; it is not lokitool.
#[tokio::test]
async fn check_61_lokitool_loads_compares_syncs_prints_and_deletes_rules() {
    // As Go's YAML writes them, which indents lists by four.
    let alert = |name: &str, limit: u32| {
        format!(
            "name: {name}\ninterval: 1m\nrules:\n    - alert: Many\n      expr: sum(rate({{app=\"one\"}}[5m])) > {limit}\n      \
             for: 5m\n      labels:\n        severity: page\n      annotations:\n        summary: '{{{{ $value }}}} lines'\n"
        )
    };
    let record = "name: r\nrules:\n    - record: app:lines\n      expr: |-\n        sum by (app) (\n          \
                  count_over_time({app=~\".+\"}[1m])\n        )\n";
    let rules = |of: &[(&str, String)]| {
        let mut rules = Rules::new();
        for (ns, yaml) in of {
            rules.entry((*ns).to_owned()).or_default().insert(one_form(yaml).0, yaml.clone());
        }
        rules
    };
    for prefix in ["/loki/api/v1/rules", "/api/prom/rules"] {
        let world = world().await;
        let tool = Lokitool { world: &world, prefix };
        let first =
            rules(&[("my team", alert("g1", 1)), ("my team", record.to_owned()), ("ops", alert("g 2", 1))]);
        assert_eq!(tool.call("GET", "", "").await, None, "nothing to print yet");
        assert_eq!(tool.diff(&first).await, ["+ my team/g1", "+ my team/r", "+ ops/g 2"]);
        assert_eq!(tool.load(&first).await, 3);
        assert_eq!(tool.load(&first).await, 0, "what was read equals what was written");
        assert_eq!(tool.diff(&first).await, [""; 0]);

        let second =
            rules(&[("my team", alert("g1", 2)), ("my team", record.to_owned()), ("new", alert("g3", 1))]);
        assert_eq!(tool.diff(&second).await, ["~ my team/g1", "+ new/g3", "- ops/g 2"]);
        tool.sync(&second).await;
        assert_eq!(tool.diff(&second).await, [""; 0]);
        let printed = tool.list().await;
        assert_eq!(printed.keys().collect::<Vec<_>>(), ["my team", "new"]);
        assert_eq!(printed["my team"]["g1"], one_form(&alert("g1", 2)).1);

        for (ns, name) in [("my team", "g1"), ("my team", "r"), ("new", "g3")] {
            assert!(tool.call("DELETE", &Lokitool::group(ns, name), "").await.is_some());
            assert_eq!(tool.call("GET", &Lokitool::group(ns, name), "").await, None);
        }
        assert_eq!(tool.call("GET", "", "").await, None, "nothing is left to print");
    }
}
