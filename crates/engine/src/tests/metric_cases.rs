//! Metric queries.

use super::*;

/// Returns `{labels} second=value …` for each series.
fn texts(memory: &Memory, query: &str, kind: QueryKind) -> Vec<String> {
    match run(memory, &request(query, kind)).unwrap_or_else(|error| panic!("{query}: {error}")) {
        QueryResult::Matrix(series) => {
            let text = |series: &crate::Series| {
                let samples = series.samples.iter();
                let samples = samples.map(|sample| format!(" {}={}", sample.ts_ns / SECOND, sample.value));
                format!("{}{}", series.labels, samples.collect::<String>())
            };
            series.iter().map(text).collect()
        }
        QueryResult::Vector(samples) => {
            samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
        }
        QueryResult::Scalar { value, .. } => vec![value.to_string()],
        QueryResult::Entries(_) => panic!("{query} gave entries"),
    }
}

fn sample() -> Memory {
    let mut lines = Vec::new();
    for second in 1..=20 {
        let level = if second % 5 == 0 { "error" } else { "info" };
        lines.push(Line { level, ..line(&[("app", "a"), ("host", "x")], second, "12345") });
        if second <= 4 {
            lines.push(line(&[("app", "b"), ("host", "x")], second, "word"));
        }
    }
    Memory::new(&[&lines, &lines[..7]])
}

fn check(query: &str, expect: &[&str]) {
    assert_eq!(texts(&sample(), query, range(5, 15, 5)), expect, "{query}");
}

fn check_instant(query: &str, expect: &[&str]) {
    let instant = QueryKind::Instant { time_ns: 10 * SECOND + 7 };
    assert_eq!(texts(&sample(), query, instant), expect, "{query}");
}

#[test]
fn counts() {
    check(r#"sum(count_over_time({host="x"}[5s]))"#, &["{} 5=9 10=5 15=5"]);
    check(
        r#"sum by (app) (count_over_time({host="x"}[5s]))"#,
        &[r#"{app="a"} 5=5 10=5 15=5"#, r#"{app="b"} 5=4"#],
    );
    check(
        r#"sum by (app, detected_level) (count_over_time({app="a"}[10s]))"#,
        &[
            r#"{app="a", detected_level="error"} 5=1 10=2 15=2"#,
            r#"{app="a", detected_level="info"} 5=4 10=8 15=8"#,
        ],
    );
    check(
        r#"sum without (host, detected_level) (rate({host="x"}[2s]))"#,
        &[r#"{app="a"} 5=1 10=1 15=1"#, r#"{app="b"} 5=0.5"#],
    );
    check(
        r#"count_over_time({app="a"} | drop __error__ [5s])"#,
        &[
            r#"{app="a", detected_level="error", host="x"} 5=1 10=1 15=1"#,
            r#"{app="a", detected_level="info", host="x"} 5=4 10=4 15=4"#,
        ],
    );
    check(r#"sum(bytes_over_time({host="x"}[5s]))"#, &["{} 5=41 10=25 15=25"]);
    check(r#"sum(bytes_rate({app="a"} |= "3" [5s]))"#, &["{} 5=5 10=5 15=5"]);
    check(r#"sum(count_over_time({host="x"} |= "or" [5s]))"#, &["{} 5=4"]);
    check(r#"sum(count_over_time({host="x"} | detected_level="" [5s]))"#, &["{} 5=4"]);
    check(r#"count_over_time({app="a"}[0s])"#, &[]);
    check(r#"sum(count_over_time({app="zz"}[5s]))"#, &[]);
}

#[test]
fn windows_are_open_at_their_start() {
    let instant = |query: &str| texts(&sample(), query, QueryKind::Instant { time_ns: 10 * SECOND });
    assert_eq!(instant(r#"sum(count_over_time({app="a"}[5s]))"#), ["{} 5"]);
    assert_eq!(instant(r#"sum(count_over_time({app="a"}[5s] offset 5s))"#), ["{} 5"]);
    assert_eq!(instant(r#"sum(count_over_time({app="a"}[5s] offset -3s))"#), ["{} 5"]);
    assert_eq!(instant(r#"sum(count_over_time({app="a"}[1d]))"#), ["{} 10"]);
    assert_eq!(instant(r#"sum(count_over_time({app="a"}[5s] offset 8s))"#), ["{} 2"]);
}

#[test]
fn steps_lie_on_multiples() {
    let found = texts(&sample(), r#"sum(count_over_time({app="a"}[1s]))"#, range(7, 13, 5));
    assert_eq!(found, ["{} 5=1 10=1 15=1"]);
}

#[test]
fn numbers_and_vectors() {
    check("1 + 1", &["{} 5=2 10=2 15=2"]);
    check("vector(3)", &["{} 5=3 10=3 15=3"]);
    check_instant("1 > 2", &["0"]);
    check_instant("vector(1)+vector(1)", &["{} 2"]);
    check_instant("vector(1) > 2", &[]);
    check_instant("vector(5) > 3", &["{} 5"]);
    check_instant("3 < vector(5)", &["{} 5"]);
    check_instant("vector(5) > bool 3", &["{} 1"]);
    check_instant("vector(5) / 0", &["{} NaN"]);
    check_instant("vector(7) % 4 ^ 1", &["{} 3"]);
    check_instant(r#"sum(count_over_time({app="zz"}[5s])) or vector(0)"#, &["{} 0"]);
    check_instant(r#"absent_over_time({app="zz", host=~"x.+", z="1", z="2"}[5s])"#, &[r#"{app="zz"} 1"#]);
    check_instant(r#"absent_over_time({app="a"}[5s])"#, &[]);
}

#[test]
fn aggregations_over_aggregations() {
    let by_app = r#"sum by (app) (count_over_time({host="x"}[10s]))"#;
    check_instant(&format!("max({by_app})"), &["{} 10"]);
    check_instant(&format!("count({by_app})"), &["{} 2"]);
    check_instant(&format!("topk(1, {by_app})"), &[r#"{app="a"} 10"#]);
    check_instant(&format!("sort({by_app})"), &[r#"{app="b"} 4"#, r#"{app="a"} 10"#]);
    check_instant(
        &format!("{by_app} / on () group_left sum({by_app}) * 14"),
        &[r#"{app="a"} 10"#, r#"{app="b"} 4"#],
    );
    check_instant(&format!("{by_app} and on (app) ({by_app} > 5)"), &[r#"{app="a"} 10"#]);
    check_instant(&format!("{by_app} unless ({by_app} > 5)"), &[r#"{app="b"} 4"#]);
    check_instant(
        &format!("{by_app} - ignoring (app) group_left sum({by_app})"),
        &[r#"{app="a"} -4"#, r#"{app="b"} -10"#],
    );
    check(r#"avg(max by (app) (sum by (app, detected_level) (count_over_time({app="a"}[5s])))) > 4"#, &[]);
}

#[test]
fn refused() {
    let error = |query: &str| {
        let kind = QueryKind::Instant { time_ns: 10 * SECOND };
        run(&sample(), &request(query, kind)).unwrap_err().to_string()
    };
    let by_level = r#"sum by (app, detected_level) (count_over_time({host="x"}[10s]))"#;
    let many = error(&format!("{by_level} / on (app) sum by (app) (count_over_time({{host=\"x\"}}[10s]))"));
    assert!(many.contains("many-to-one matching must be explicit"), "{many}");
    // Also where the comparison would drop all of them.
    let many = error(&format!("{by_level} < on (host) vector(0)"));
    assert!(many.contains("many-to-one matching must be explicit"), "{many}");
    let many = error(&format!("{by_level} < on (host) group_left (detected_level) vector(0)"));
    assert!(many.contains("grouping labels must ensure unique matches"), "{many}");
    let many = error(&format!("sum by (app) (count_over_time({{host=\"x\"}}[10s])) / on (app) {by_level}"));
    assert!(many.contains("duplicate series on the right hand-side"), "{many}");
    let faulty = error(r#"sum(count_over_time({app="a"} | detected_level > 5 [10s]))"#);
    assert!(
        faulty.starts_with("pipeline error: 'LabelFilterErr' for series: '{__error__=\"LabelFilterErr\""),
        "{faulty}"
    );
}

#[test]
fn series_are_limited() {
    let lines: Vec<_> = (0..501).map(|number| line(&[("app", &number.to_string())], 1, "x")).collect();
    let memory = Memory::new(&[&lines]);
    let kind = QueryKind::Instant { time_ns: SECOND };
    let error = run(&memory, &request(r#"count_over_time({app=~".+"}[1m])"#, kind)).unwrap_err();
    assert!(error.to_string().starts_with("maximum number of series (500) reached for a single query;"));
    assert_eq!(texts(&memory, r#"sum(count_over_time({app=~".+"}[1m]))"#, kind), ["{} 501"]);
    let lower = EngineSettings { series_max: 2, ..EngineSettings::default() };
    for (query, expect) in [
        (r#"count_over_time({app=~"7[0-5]"}[1m])"#, [70, 71]),
        (
            r#"sort_desc(count_over_time({app=~"7[05]"}[1m]) + 1 or count_over_time({app="3"}[1m]) + 5)"#,
            [3, 70],
        ),
    ] {
        let request = QueryRequest { partial_series: true, ..request(query, kind) };
        let outcome = Engine::new(lower.clone()).run(&memory, &request).unwrap();
        let QueryResult::Vector(samples) = outcome.result else { panic!("no vector") };
        let apps: Vec<_> =
            samples.iter().map(|sample| sample.labels.get("app").unwrap().to_owned()).collect();
        assert_eq!(apps, expect.map(|app: i32| app.to_string()), "{query}");
        assert_eq!(
            outcome.warnings,
            ["maximum number of series (2) reached for a single query; returning partial results"]
        );
    }
}

/// Lines of one stream, one per second from 1 on.
fn lines_of(texts: &[&str]) -> Memory {
    let lines: Vec<_> =
        texts.iter().zip(1..).map(|(text, second)| line(&[("app", "a")], second, text)).collect();
    Memory::new(&[&lines])
}

#[test]
fn parsers_read_as_far_as_labels_are_needed() {
    let instant = QueryKind::Instant { time_ns: 10 * SECOND };
    let check = |lines: &[&str], query: &str, expect: &[&str]| {
        let query = query.replace("JSON", r#"count_over_time({app="a"} | json [1m])"#);
        assert_eq!(texts(&lines_of(lines), &query, instant), expect, "{query}");
    };
    let refused = |lines: &[&str], query: &str| {
        let query = query.replace("JSON", r#"count_over_time({app="a"} | json [1m])"#);
        let error = run(&lines_of(lines), &request(&query, instant)).unwrap_err().to_string();
        assert!(error.starts_with("pipeline error: 'JSONParserErr'"), "{query}: {error}");
    };
    let bad = &["bad", "worse"];
    check(bad, "sum(JSON)", &["{} 2"]);
    refused(bad, "JSON");
    refused(bad, "sum by (x) (JSON)");
    refused(bad, "max(JSON)");
    check(&[r#"{"a":"1", bad"#], "sum by (a) (JSON)", &[r#"{a="1"} 1"#]);
    check(bad, "sum by (__error__) (JSON)", &[r#"{__error__="JSONParserErr"} 2"#]);
    check(bad, r#"sum(count_over_time({app="a"} | json | __error__!="" [1m]))"#, &["{} 2"]);
    check(bad, r#"sum by (x) (count_over_time({app="a"} | json | __error__="" [1m]))"#, &[]);
    check(
        bad,
        r#"count_over_time({app="a"} | json | drop __error__, __error_details__ [1m])"#,
        &[r#"{app="a"} 2"#],
    );
    check(&[r#"{"x":""}"#, r#"{"y":"1"}"#], "sum by (x) (JSON)", &["{} 1", r#"{x=""} 1"#]);
    check(&[r#"{"__error__":"mine"}"#], "JSON", &[r#"{__error___extracted="mine", app="a"} 1"#]);
    check(
        &["n=1 k=a", "n=9 k=b", "n=x k=b"],
        r#"sum by (k) (count_over_time({app="a"} | logfmt | n < 5 | __error__="" [1m]))"#,
        &[r#"{k="a"} 1"#],
    );
}

#[test]
fn unwrapped_values() {
    let memory = lines_of(&["n=6 k=a d=10ms", "n=7 k=b d=1s", "n=8 k=a d=2s", "n=9 k=b d=3s", "n=10 k=a"]);
    let instant = QueryKind::Instant { time_ns: 5 * SECOND };
    let check = |query: &str, expect: &[&str]| {
        let query = query.replace("LOGFMT", r#"{app="a"} | logfmt"#);
        assert_eq!(texts(&memory, &query, instant), expect, "{query}");
    };
    check("max_over_time(LOGFMT | unwrap n [5s]) by (k)", &[r#"{k="a"} 10"#, r#"{k="b"} 9"#]);
    check("sum_over_time(LOGFMT | drop d, k | unwrap n [3s])", &[r#"{app="a"} 27"#]);
    check("sum by (k) (sum_over_time(LOGFMT | unwrap n [5s]))", &[r#"{k="a"} 24"#, r#"{k="b"} 16"#]);
    check("avg_over_time(LOGFMT | unwrap duration(d) [4s]) by ()", &["{} 2"]);
    check("quantile_over_time(0.5, LOGFMT | unwrap n [5s]) without (d, k)", &[r#"{app="a"} 8"#]);
    check("sum_over_time(LOGFMT | unwrap nope [5s])", &[]);
    check(r#"sum_over_time(LOGFMT | unwrap d | __error__="" [5s])"#, &[]);
    // An error that is let pass keeps all labels, the unwrapped one too.
    let preserved = r#"{__error__="SampleExtractionErr", __error_details__="strconv.ParseFloat: parsing \"x\": invalid syntax", __preserve_error__="true", app="a", m="x"} 0"#;
    let broken = lines_of(&[r#"{"m":"x","#]);
    let query = r#"max_over_time({app="a"} | json | unwrap m [5s]) by (__error__)"#;
    assert_eq!(texts(&broken, query, instant), [preserved]);
    check("first_over_time(LOGFMT | unwrap n | k=\"b\" [5s]) by (app)", &[r#"{app="a"} 7"#]);
    check("sum(rate(LOGFMT | unwrap n [5s]))", &["{} 8"]);
    let query = r#"sum_over_time({app="a"} | logfmt | unwrap d [5s])"#;
    let error = run(&memory, &request(query, instant)).unwrap_err().to_string();
    assert!(error.starts_with("pipeline error: 'SampleExtractionErr'"), "{error}");
}

#[test]
fn absent_without_numbers() {
    let memory = lines_of(&["n=1", "n=x", "m=1", "n=", "other"]);
    let check = |query: &str, expect: &[&str]| {
        assert_eq!(texts(&memory, query, range(1, 5, 1)), expect, "{query}");
    };
    let absent = |rest: &str| format!(r#"absent_over_time({{app="a"}} | logfmt {rest} [1s])"#);
    check(&absent(r#"| unwrap n | __error__="""#), &[r#"{app="a"} 2=1 3=1 4=1 5=1"#]);
    // Errors count as in any range aggregation.
    for rest in ["| unwrap n", "| n > 0"] {
        let error = run(&memory, &request(&absent(rest), range(1, 5, 1))).unwrap_err().to_string();
        assert!(error.starts_with("pipeline error: "), "{rest}: {error}");
    }
}

#[test]
fn labels_replaced() {
    let check = |args: &str, expect: &[&str]| {
        check_instant(
            &format!(r#"label_replace(sum by (app) (count_over_time({{host="x"}}[10s])), {args})"#),
            expect,
        );
    };
    check(r#""b", "<$1>", "app", "(a)""#, &[r#"{app="a", b="<a>"} 10"#, r#"{app="b"} 4"#]);
    check(r#""app", "", "app", "a""#, &["{} 10", r#"{app="b"} 4"#]);
    check(r#""b", "x$$", "none", """#, &[r#"{app="a", b="x$"} 10"#, r#"{app="b", b="x$"} 4"#]);
    let query = r#"label_replace(sum by (app) (count_over_time({host="x"}[10s])), "app", "", "app", ".*")"#;
    let wanted = request(query, QueryKind::Instant { time_ns: 10 * SECOND });
    let error = run(&sample(), &wanted).unwrap_err().to_string();
    assert_eq!(error, "vector cannot contain metrics with the same labelset");
}

#[test]
fn colours_are_neither_found_nor_counted() {
    let memory = lines_of(&["\x1b[31mred\x1b[0m x", "red x"]);
    let instant = QueryKind::Instant { time_ns: 5 * SECOND };
    let check = |query: &str, expect: &str| assert_eq!(texts(&memory, query, instant), [expect], "{query}");
    check(r#"sum(count_over_time({app="a"} | decolorize |= "red x" [5s]))"#, "{} 2");
    check(r#"sum(count_over_time({app="a"} |= "red x" | decolorize [5s]))"#, "{} 1");
    check(r#"sum(bytes_over_time({app="a"} | decolorize [5s]))"#, "{} 10");
    check(r#"sum(bytes_over_time({app="a"}[5s]))"#, "{} 19");
}

#[test]
fn how_far_lines_are_read_shows_in_their_errors() {
    let memory = lines_of(&["bad", r#"{"x":"1", bad"#, r#"{"_entry":"e","x":"1"}"#]);
    let instant = QueryKind::Instant { time_ns: 5 * SECOND };
    let check = |query: &str, expect: &[&str]| assert_eq!(texts(&memory, query, instant), expect, "{query}");
    let fails = |query: &str, error: &str| {
        let found = run(&memory, &request(query, instant)).unwrap_err().to_string();
        assert!(found.starts_with(&format!("pipeline error: '{error}'")), "{query}: {found}");
    };
    for parser in ["json", r#"json y="x""#, "logfmt --strict", r#"logfmt --strict y="x""#, "unpack"] {
        // Nobody looks at a label: the parser does not run.
        check(&format!(r#"sum(count_over_time({{app="a"}} | {parser} [5s]))"#), &["{} 3"]);
        check(&format!(r#"absent_over_time({{app="a"}} | {parser} [5s])"#), &[]);
    }
    check(r#"sum(bytes_over_time({app="a"} | unpack [5s]))"#, &["{} 38"]);
    fails(r#"sum by (x) (count_over_time({app="a"} | json [5s]))"#, "JSONParserErr");
    check(r#"sum by (x) (count_over_time({app="a"} |= "x" | json [5s]))"#, &[r#"{x="1"} 2"#]);
    fails(r#"count_over_time({app="a"} |= "x" | json [5s])"#, "JSONParserErr");
    check(
        r#"sum by (__error__) (count_over_time({app="a"} | json [5s]))"#,
        &["{} 1", r#"{__error__="JSONParserErr"} 2"#],
    );
    // Templates name the labels that they need.
    let formatted = |rest: &str| format!(r#"sum(count_over_time({{app="a"}} |= "x" | json | {rest} [5s]))"#);
    check(&formatted("label_format y=`{{.x}}`"), &["{} 2"]);
    fails(&formatted("label_format y=`{{.z}}`"), "JSONParserErr");
    check(
        r#"sum by (y) (count_over_time({app="a"} | label_format y=app [5s])) or vector(9)"#,
        &["{} 9", r#"{y="a"} 3"#],
    );
    // A line that nothing reads is not made; one that is read, is.
    check(&formatted("line_format `{{ div 1 0 }}{{.z}}`"), &["{} 2"]);
    fails(&formatted("line_format `{{ div 1 0 }}{{.x}}` |= `x`"), "TemplateFormatErr");
    check(r#"bytes_over_time({app="a"} | line_format `ab` [5s])"#, &[r#"{app="a"} 6"#]);
}
