//! What the smaller commands ask and print, against answers that are played back.

use crate::tests::{command, serve};
use crate::{FOUND, NOTHING, TROUBLE};

#[test]
fn labels_that_make_streams_many_come_first() {
    let answer = r#"200 {"status":"success","data":[{"a":"1","b":"x"},{"a":"2","b":"x"},{"a":"3"}]}"#;
    let (addr, _requests) = serve(vec![answer.to_owned(), answer.to_owned()]);
    let done = command(&["series", "--analyze-labels", "--addr", &addr], &[]);
    assert_eq!(done.out, "label    values   streams\na             3         3\nb             1         2\n");
    assert_eq!((done.err.as_str(), done.status), ("streams: 3, labels: 2\n", FOUND));
    let done = command(&["series", "--analyze-labels", "-q", "-o", "jsonl", "--addr", &addr], &[]);
    assert_eq!(done.out.lines().next(), Some(r#"{"label":"a","values":3,"streams":3}"#));
    assert_eq!(done.err, "");
}

#[test]
fn stats_of_nothing_are_nothing() {
    let (addr, _requests) = serve(vec![
        r#"200 {"streams":1,"chunks":2,"bytes":3,"entries":4}"#.to_owned(),
        r#"200 {"streams":0,"chunks":0,"bytes":0,"entries":0}"#.to_owned(),
    ]);
    let done = command(&["stats", "{a=\"b\"}", "--addr", &addr], &[]);
    assert_eq!((done.out.as_str(), done.status), ("streams  1\nchunks   2\nbytes    3\nentries  4\n", FOUND));
    assert_eq!(command(&["stats", "{a=\"b\"}", "--addr", &addr], &[]).status, NOTHING);
}

#[test]
fn fields_and_their_values() {
    let (addr, requests) = serve(vec![
        r#"200 {"fields":[{"label":"status","type":"int","cardinality":2,"parsers":["json"]},{"label":"a","type":"string","cardinality":1,"parsers":null}]}"#.to_owned(),
        r#"200 {"values":["200"]}"#.to_owned(),
    ]);
    let done = command(&["detected-fields", "{a=\"b\"}", "--limit", "7", "--addr", &addr], &[]);
    assert_eq!(done.out, "a       string         1\nstatus  int            2  json\n", "{}", done.err);
    assert!(requests.recv().unwrap().contains("&limit=7&line_limit=1000 "));
    let done = command(&["detected-fields", "{a=\"b\"}", "status", "--addr", &addr], &[]);
    assert_eq!(done.out, "200\n");
}

#[test]
fn volumes_are_samples() {
    let vector = r#"200 {"data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[5,"7"]}]}}"#;
    let matrix = r#"200 {"data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[5,"7"]]}]}}"#;
    let (addr, requests) = serve(vec![vector.to_owned(), matrix.to_owned()]);
    let flags = ["--targetLabels", "a", "--targetLabels", "c", "--aggregateByLabels", "--addr", &addr];
    let done = command(&[&["volume", "{a=\"b\"}"], &flags[..]].concat(), &[]);
    assert_eq!(done.out, "1970-01-01T00:00:05.000Z  7  {a=\"b\"}\n", "{}", done.err);
    assert!(requests.recv().unwrap().contains("&limit=30&targetLabels=a%2Cc&aggregateBy=labels "));
    let done = command(&["volume_range", "{a=\"b\"}", "--step", "5m", "--addr", &addr], &[]);
    assert_eq!(done.status, FOUND, "{}", done.err);
    assert!(requests.recv().unwrap().contains("&step=300 "));
}

#[test]
fn deletions_are_asked_for_and_told() {
    let list =
        r#"200 [{"request_id":"x1","start_time":1,"end_time":2,"query":"{a=\"b\"}","status":"received"}]"#;
    let (addr, requests) = serve(vec![
        "204 ".to_owned(),
        list.to_owned(),
        "200 null".to_owned(),
        "204 ".to_owned(),
        "404 could not find delete request with given id\n".to_owned(),
    ]);
    let asked = ["delete", "create", "{a=\"b\"}", "--from", "1", "--to", "2", "--addr", &addr];
    let done = command(&asked, &[]);
    assert_eq!((done.status, done.out.as_str()), (FOUND, ""), "{}", done.err);
    assert!(requests.recv().unwrap().contains("&start=1&end=2 "));
    let done = command(&["delete", "list", "--addr", &addr], &[]);
    assert_eq!(done.out, "x1  received  1970-01-01T00:00:01.000Z to 1970-01-01T00:00:02.000Z  {a=\"b\"}\n");
    assert_eq!(command(&["delete", "list", "--addr", &addr], &[]).status, NOTHING);
    let done = command(&["delete", "cancel", "--request-id", "x1", "-q", "--addr", &addr], &[]);
    assert_eq!((done.status, done.err.as_str()), (FOUND, ""));
    let done = command(&["delete", "cancel", "--request-id", "x2", "--addr", &addr], &[]);
    assert_eq!(
        (done.status, done.err.as_str()),
        (TROUBLE, "logq: could not find delete request with given id\n")
    );
}

#[test]
fn forms_zones_and_statistics_are_those_of_the_flags() {
    let answer = r#"200 {"data":{"resultType":"streams","result":[{"stream":{"a":"b","c":"d"},"values":[["1795229946000000000","x, y"]]}],"stats":{"summary":{"splits":1}}}}"#;
    let check = |line: &[&str], out: &str, err: &str| {
        let (addr, requests) = serve(vec![answer.to_owned()]);
        let done = command(&[&["query", "{a=\"b\"}", "--limit", "1", "--addr", &addr], line].concat(), &[]);
        assert_eq!((done.out.as_str(), done.err.as_str(), done.status), (out, err, FOUND), "{line:?}");
        requests.recv().unwrap()
    };
    check(
        &["-o", "csv"],
        "timestamp,labels,line\n2026-11-21T02:59:06.000Z,\"{a=\"\"b\"\", c=\"\"d\"\"}\",\"x, y\"\n",
        "",
    );
    check(
        &["-q", "--include-label", "c", "--time-format", "rfc3339"],
        "2026-11-21T02:59:06Z {c=\"d\"} x, y\n",
        "",
    );
    check(
        &["--include-common-labels", "--exclude-label", "a"],
        "2026-11-21T02:59:06.000Z {c=\"d\"} x, y\n",
        "",
    );
    check(&["--no-labels", "--colored-output", "--color", "never"], "2026-11-21T02:59:06.000Z x, y\n", "");
    let request = check(&["-o", "raw", "--stats", "--interval", "90s"], "x, y\n", "summary.splits  1\n");
    assert!(request.contains("&interval=90 "), "{request}");
}

#[test]
fn a_query_follows_by_a_flag_as_well() {
    let (addr, requests) = serve(vec!["400 that is all".to_owned()]);
    for line in [["query", "{a=\"b\"}", "-f"], ["query", "-t", "{a=\"b\"}"]] {
        let done = command(&[&line[..], &["--addr", &addr]].concat(), &[]);
        assert_eq!(done.status, TROUBLE);
    }
    // The newest ten come first.
    assert!(requests.recv().unwrap().contains("&limit=10&direction=backward"));
    let done = command(&["{a=\"b\"}", "--timezone", "Nowhere"], &[]);
    assert!(done.err.contains("Europe/Berlin"), "{}", done.err);
}

#[test]
fn a_long_query_tells_how_far_it_is_to_a_terminal_alone() {
    use crate::tests::{NOW_NS, entries};

    let pages = || vec![entries(&[(9, "a"), (8, "b")]), entries(&[(8, "b"), (7, "c")]), entries(&[(7, "c")])];
    let told = |err_is_terminal: bool| {
        let (addr, _requests) = serve(pages());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let surroundings = crate::Surroundings {
            now_ns: &|| NOW_NS,
            env: &|_| None,
            input: &mut std::io::empty(),
            out: &mut out,
            err: &mut err,
            out_is_terminal: false,
            err_is_terminal,
        };
        let line =
            ["logq", "{a=\"b\"}", "--limit", "0", "--batch", "2", "--forward", "-oraw", "--addr", &addr];
        assert_eq!(crate::run(line.map(std::ffi::OsString::from), surroundings), FOUND);
        assert_eq!(String::from_utf8(out).unwrap(), "a\nb\nc\n");
        String::from_utf8(err).unwrap()
    };
    let line = told(true);
    assert!(line.contains("2 entries") && line.ends_with("\r\u{1b}[K"), "{line:?}");
    assert_eq!(told(false), "");
}

#[test]
fn a_tail_goes_on_when_the_store_comes_back_with_nothing_lost_and_nothing_twice() {
    use crate::tests::entries;

    let (addr, requests) = serve(vec![
        entries(&[(3, "first")]),
        // No websocket here, so it asks again and again.
        "404 no".to_owned(),
        entries(&[(3, "first"), (2, "second")]),
        "503 recovering".to_owned(),
        "503 recovering".to_owned(),
        // What came while the store was away, one of it at the time of the last that was seen.
        entries(&[(3, "first"), (2, "second"), (2, "same time"), (1, "missed")]),
        entries(&[(2, "second"), (2, "same time"), (1, "missed"), (0, "new")]),
        "400 that is all".to_owned(),
    ]);
    let done = command(&["tail", "{a=\"b\"}", "-o", "raw", "--addr", &addr], &[]);
    assert_eq!(done.out, "first\nsecond\nsame time\nmissed\nnew\n");
    assert_eq!(done.err, "logq: recovering; trying again\nlogq: that is all\n", "an outage is told once");
    assert_eq!((done.status, requests.try_iter().count()), (TROUBLE, 8));
}
