//! Log queries.

use super::*;

/// Returns `second line` of each entry, labels that the stream does not have behind it.
fn texts(memory: &Memory, request: &QueryRequest) -> Vec<String> {
    let QueryResult::Entries(entries) = run(memory, request).unwrap() else { panic!("entries") };
    let text = |entry: &crate::LogEntry| {
        let line = String::from_utf8_lossy(&entry.line).into_owned();
        let mut text = format!("{} {line}", entry.ts_ns / SECOND);
        for set in [&entry.metadata, &entry.parsed] {
            if !set.is_empty() {
                text = format!("{text} {set}");
            }
        }
        text
    };
    entries.iter().map(text).collect()
}

fn sample() -> Memory {
    let (a, b) = ([("app", "a")], [("app", "b")]);
    let info = Line { level: "info", ..line(&a, 3, "three GET") };
    let traced = Line {
        level: "error",
        metadata: LabelSet::from_pairs([("trace", "t1"), ("app", "m")]),
        ..line(&b, 4, "four POST")
    };
    Memory::new(&[
        &[line(&a, 1, "one GET"), line(&a, 2, "two POST"), info.clone(), line(&b, 2, "zwei GET")],
        // Copies of earlier entries, and later arrivals at equal times.
        &[info, line(&a, 2, "two again"), line(&a, 1, "one GET"), traced, line(&a, 5, "five")],
    ])
}

fn check(query: &str, expect: &[&str]) {
    let mut wanted = request(query, range(0, 100, 1));
    assert_eq!(texts(&sample(), &wanted), expect, "{query}");
    let mut reversed: Vec<_> = expect.to_vec();
    reversed.reverse();
    wanted.direction = Direction::Backward;
    assert_eq!(texts(&sample(), &wanted), reversed, "{query} backward");
    for limit in 1..expect.len() {
        wanted.limit = limit;
        assert_eq!(texts(&sample(), &wanted), reversed[..limit], "{query} backward, {limit}");
    }
    wanted.direction = Direction::Forward;
    for limit in 1..expect.len() {
        wanted.limit = limit;
        assert_eq!(texts(&sample(), &wanted), expect[..limit], "{query}, {limit}");
    }
}

const THREE: &str = r#"3 three GET {detected_level="info"}"#;
const FOUR: &str = r#"4 four POST {app_extracted="m", detected_level="error", trace="t1"}"#;

#[test]
fn merged_by_time_stream_and_arrival_without_copies() {
    check(r#"{app=~".+"}"#, &["1 one GET", "2 two POST", "2 two again", "2 zwei GET", THREE, FOUR, "5 five"]);
    check(r#"{app="b"}"#, &["2 zwei GET", FOUR]);
    check(r#"{app="c"}"#, &[]);
}

#[test]
fn filtered_by_line() {
    check(r#"{app=~".+"} |= "GET""#, &["1 one GET", "2 zwei GET", THREE]);
    check(r#"{app=~".+"} |= "GET" != "zwei""#, &["1 one GET", THREE]);
    check(r#"{app=~".+"} |~ "^(one|five)" or "again$""#, &["1 one GET", "2 two again", "5 five"]);
    check(r#"{app=~".+"} |> "<_> POST""#, &["2 two POST", FOUR]);
    check(r#"{app=~".+"} |= "nowhere""#, &[]);
}

#[test]
fn filtered_by_label() {
    check(r#"{app=~".+"} | detected_level="info""#, &[THREE]);
    check(r#"{app=~".+"} | app="b" | trace=~"t.""#, &[FOUR]);
    check(r#"{app=~".+"} |= "POST" | trace="" or app="a""#, &["2 two POST"]);
    check(r#"{app=~".+"} | app_extracted="m""#, &[FOUR]);
}

#[test]
fn labels_dropped_and_kept() {
    check(
        r#"{app="b"} | drop trace, app_extracted"#,
        &["2 zwei GET", r#"4 four POST {detected_level="error"}"#],
    );
    check(r#"{app="b"} | keep trace | app="""#, &["2 zwei GET", r#"4 four POST {trace="t1"}"#]);
    let error = r#"4 four POST {app_extracted="m", detected_level="error", trace="t1"} {__error__="LabelFilterErr", __error_details__="strconv.ParseFloat: parsing \"t1\": invalid syntax"}"#;
    check(r#"{app="b"} | trace > 1"#, &[error]);
}

#[test]
fn ranges_start_inside_and_end_outside() {
    let at = |start, end| texts(&sample(), &request(r#"{app="a"}"#, range(start, end, 1)));
    assert_eq!(at(1, 2), ["1 one GET"]);
    assert_eq!(at(2, 3), ["2 two POST", "2 two again"]);
    assert_eq!(at(5, 5), ["5 five"]);
    assert_eq!(at(6, 9), [""; 0]);
}

#[test]
fn interval_counts_over_all_streams() {
    let lines: Vec<_> = (1..=5)
        .map(|second| line(&[("app", if second % 2 == 0 { "a" } else { "b" })], second, "x"))
        .collect();
    let memory = Memory::new(&[&lines]);
    let mut wanted = request(r#"{app=~".+"}"#, range(0, 100, 1));
    wanted.interval_ns = 2 * SECOND;
    assert_eq!(texts(&memory, &wanted), ["1 x", "3 x", "5 x"]);
    wanted.direction = Direction::Backward;
    wanted.limit = 2;
    assert_eq!(texts(&memory, &wanted), ["5 x", "3 x"]);
}

#[test]
fn intervals_begin_anew_each_hour() {
    let lines: Vec<_> =
        [3597, 3599, 3600, 3601, 3605].map(|second| line(&[("app", "a")], second, "x")).to_vec();
    let memory = Memory::new(&[&lines]);
    let mut wanted = request(r#"{app="a"}"#, range(0, 8000, 1));
    wanted.interval_ns = 4 * SECOND;
    assert_eq!(texts(&memory, &wanted), ["3597 x", "3600 x", "3605 x"]);
}

#[test]
fn many_views_stop_early_and_agree() {
    let views: Vec<Vec<Line>> = (0..300).map(|second| vec![line(&[("app", "a")], second, "x")]).collect();
    let memory = Memory { views };
    let mut wanted = request(r#"{app="a"}"#, range(0, 1000, 1));
    wanted.limit = 3;
    assert_eq!(texts(&memory, &wanted), ["0 x", "1 x", "2 x"]);
    wanted.direction = Direction::Backward;
    assert_eq!(texts(&memory, &wanted), ["299 x", "298 x", "297 x"]);
    let engine = Engine::new(EngineSettings::default());
    let stats = engine.run(&memory, &wanted).unwrap().stats;
    assert!(stats.blocks < 50, "{stats:?}");
}

#[test]
fn the_nearest_hour_of_a_long_range_is_looked_at_first() {
    // An entry each minute for ten hours, and none for the two hours in the middle.
    let minutes = || (0..600).filter(|minute| !(240..360).contains(minute));
    let minute = |minute: i64| line(&[("app", ["a", "b"][minute as usize % 2])], minute * 60, "x");
    let memory = Memory { views: minutes().map(|number| vec![minute(number)]).collect() };
    let text = |minute: i64| format!("{} x", minute * 60);
    let engine = Engine::new(EngineSettings::default());
    for end_minute in [600, 599, 300, 240, 239] {
        for limit in [1, 20, 30, 31, 59, 60, 61, 500] {
            let mut wanted = request(r#"{app=~".+"}"#, range(0, end_minute * 60, 1));
            (wanted.limit, wanted.direction) = (limit, Direction::Backward);
            let expect: Vec<String> =
                minutes().filter(|minute| *minute < end_minute).rev().take(limit).map(text).collect();
            assert_eq!(texts(&memory, &wanted), expect, "{limit} before {end_minute}");
            let stats = engine.run(&memory, &wanted).unwrap().stats;
            assert_eq!(stats.returned, expect.len() as u64);
            // An entry is counted once, whichever part of the range it was found in.
            assert!((expect.len() as u64..=480).contains(&stats.entries_passed), "{stats:?}");
            let mut forward = request(r#"{app=~".+"}"#, range((600 - end_minute) * 60, 36_000, 1));
            forward.limit = limit;
            let expect: Vec<String> =
                minutes().filter(|minute| *minute >= 600 - end_minute).take(limit).map(text).collect();
            assert_eq!(texts(&memory, &forward), expect, "{limit} from {}", 600 - end_minute);
        }
    }
}

#[test]
fn bytes_that_are_no_utf8_come_back() {
    let broken = Line { line: b"a\xff b".to_vec(), ..line(&[("app", "a")], 1, "") };
    let memory = Memory::new(&[&[broken]]);
    let QueryResult::Entries(entries) =
        run(&memory, &request(r#"{app="a"} |= " b""#, range(0, 9, 1))).unwrap()
    else {
        panic!("entries")
    };
    assert_eq!(entries[0].line, b"a\xff b");
}

#[test]
fn refused() {
    let error = |query: &str, change: fn(&mut QueryRequest)| {
        let mut wanted = request(query, range(0, 9, 1));
        change(&mut wanted);
        run(&sample(), &wanted).unwrap_err()
    };
    let too_many = error(r#"{app="a"}"#, |wanted| wanted.limit = 10_000);
    assert_eq!(
        too_many.to_string(),
        "max entries limit per query exceeded, limit > max_entries_limit_per_query (10000 > 5000)"
    );
    let instant = error(r#"{app="a"}"#, |wanted| wanted.kind = QueryKind::Instant { time_ns: 0 });
    assert!(instant.to_string().starts_with("log queries are not supported as an instant query type"));
    let withdrawn = error(r#"{app="a"}"#, |wanted| wanted.cancel.withdraw());
    assert_eq!(withdrawn.kind(), Kind::Cancelled);
    let expired = error(r#"sum(rate({app="a"}[1m]))"#, |wanted| wanted.cancel.expire());
    assert_eq!(expired.kind(), Kind::Deadline);
    let variants = error(r#"variants(rate({app="a"}[1m])) of ({app="a"}[1m])"#, |_| {});
    assert_eq!(variants.to_string(), "multi variant queries are disabled for this instance");
}

#[test]
fn parsed_labels_are_told_apart() {
    let memory = Memory::new(&[&[
        line(&[("app", "a")], 1, r#"{"level":"info","n":5,"app":"x"}"#),
        line(&[("app", "a")], 2, "level=warn n=7"),
    ]]);
    let texts = |query: &str| texts(&memory, &request(query, range(0, 9, 1)));
    assert_eq!(
        texts(r#"{app="a"} | json | level="info" | n > 3 | drop n"#),
        [r#"1 {"level":"info","n":5,"app":"x"} {app_extracted="x", level="info"}"#]
    );
    assert_eq!(
        texts(r#"{app="a"} | json | logfmt | drop __error__, __error_details__ | n > 6"#),
        [r#"2 level=warn n=7 {level="warn", n="7"}"#]
    );
    assert_eq!(texts(r#"{app="a"} | json | __error__="" |= "level""#).len(), 1);
}

#[test]
fn groups_and_captures_become_labels() {
    let check = |text: &str, stage: &str, expect: &str| {
        let memory = Memory::new(&[&[line(&[("app", "a")], 1, text)]]);
        let found = texts(&memory, &request(&format!(r#"{{app="a"}} | {stage}"#), range(0, 9, 1)));
        assert_eq!(found, [format!("1 {text}{expect}")], "{stage}");
    };
    let regexp = r#"regexp "(?P<m>\\w+)( (?P<o>\\d+))?""#;
    check("GET", regexp, r#" {m="GET", o=""}"#);
    check("GET 5", regexp, r#" {m="GET", o="5"}"#);
    check("--", regexp, "");
    check("1,2", r#"pattern "<a>,<b>,<c>""#, r#" {a="1", b="2"}"#);
    check("1,,3", r#"pattern "<a>,<b>,<c>""#, r#" {a="1", b="", c="3"}"#);
    check("xGET /x", r#"pattern "GET <p>""#, "");
    check("GET /x HTTP", r#"pattern "GET <app> <_>""#, r#" {app_extracted="/x"}"#);
    check("a b tail", r#"pattern "<x> b""#, r#" {x="a"}"#);
}

#[test]
fn filters_stay_behind_stages_that_change_the_line() {
    let memory = Memory::new(&[&[
        line(&[("app", "a")], 1, r#"{"_entry":"inner","x":"1"}"#),
        line(&[("app", "a")], 2, "plain"),
    ]]);
    let texts = |query: &str| texts(&memory, &request(query, range(0, 9, 1)));
    assert_eq!(
        texts(r#"{app="a"} | line_format "new {{.app}}" |= "new" != "plain""#),
        ["1 new a", "2 new a"]
    );
    assert_eq!(texts(r#"{app="a"} |= "plain" | line_format "[{{__line__}}]" |~ "^.p""#), ["2 [plain]"]);
    assert_eq!(texts(r#"{app="a"} | unpack | __error__="" != "_entry""#), [r#"1 inner {x="1"}"#]);
    assert_eq!(
        texts(r#"{app="a"} | line_format `{"y":"{{__timestamp__.Second}}"}` | json"#),
        [r#"1 {"y":"1"} {y="1"}"#, r#"2 {"y":"2"} {y="2"}"#]
    );
    assert_eq!(
        texts(r#"{app="a"} | label_format app=`{{.app | upper}}` | app="A" |= "plain""#),
        [r#"2 plain {app="A"}"#]
    );
}

#[test]
fn parsers_with_expressions() {
    let memory = Memory::new(&[&[
        line(&[("app", "a")], 1, r#"{"o":{"p":1},"app":"x"}"#),
        line(&[("app", "a")], 2, "k=v k=w"),
    ]]);
    let texts = |query: &str| texts(&memory, &request(query, range(0, 9, 1)));
    assert_eq!(
        texts(r#"{app="a"} | json n="o.p", app, z="none" | n > 0"#),
        [r#"1 {"o":{"p":1},"app":"x"} {app_extracted="x", n="1", z=""}"#]
    );
    assert_eq!(texts(r#"{app="a"} | logfmt x="k" | x="w""#), [r#"2 k=v k=w {x="w"}"#]);
    assert_eq!(texts(r#"{app="a"} | json | json o_p="app" | o_p="x" | drop app_extracted"#).len(), 1);
}
