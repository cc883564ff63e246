//! Pipelines over short inputs; what each stage answers is Promtail's rule.

use proptest::prelude::*;

use super::*;

/// 2023-11-14T22:13:20Z.
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn compile(stages: &str) -> Result<Pipeline, Error> {
    let settings: Vec<StageSettings> = serde_json::from_str(stages).unwrap();
    Pipeline::compile(&settings, LinesFrom::Files, 1 << 20)
}

/// Shows an entry as `labels|line`, structured metadata and another time than the present behind.
fn show(entry: &Finished) -> String {
    let mut text = format!("{}|{}", entry.labels, String::from_utf8_lossy(&entry.line));
    if !entry.metadata.is_empty() {
        text.push_str(&format!("|{}", entry.metadata));
    }
    if entry.ts_ns != NOW_NS {
        text.push_str(&format!("|{}", entry.ts_ns - NOW_NS));
    }
    text
}

fn run_all(pipeline: &Pipeline, lines: &[&str]) -> (Vec<String>, Tally) {
    let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
    let random = Random::seeded(7);
    let now = Now { ns: NOW_NS, random: &random };
    let mut run = Run::new(pipeline);
    for text in lines {
        let metadata = LabelSet::default();
        let line = Line {
            labels: &labels,
            ts_ns: NOW_NS,
            text: text.as_bytes().into(),
            metadata: &metadata,
            output: 0,
        };
        run.push(line, (), now);
    }
    run.flush(true, now);
    let mut out = Vec::new();
    assert_eq!(run.take(&mut out), None);
    (out.iter().map(show).collect(), run.take_tally())
}

/// Checks what becomes of lines under the stream `app="x"`.
#[track_caller]
fn check(stages: &str, lines: &[&str], want: &[&str]) {
    let (found, _) = run_all(&compile(stages).unwrap(), lines);
    assert_eq!(found, want, "{stages}");
}

#[track_caller]
fn refuses(stages: &str, want: &str) {
    let error = compile(stages).unwrap_err().to_string();
    assert!(error.starts_with(want), "{stages}: {error}");
}

#[test]
fn json() {
    let stages = r#"[{"json": {"expressions": {"lvl": "level", "user": null, "deep": "a.b", "all": "a", "n": "num",
        "first": "list[0]", "gone": "none"}}},
        {"labels": {"lvl": null, "user": "", "deep": null, "all": null, "n": null, "first": null, "gone": null}}]"#;
    check(
        stages,
        &[
            r#"{"level":"warn","user":true,"a":{"b":"<c>","k":1.0},"num":1e21,"list":["p"]}"#,
            "no json",
            "[1]",
        ],
        &[
            r#"{all="{\"b\":\"\\u003cc\\u003e\",\"k\":1}", app="x", deep="<c>", first="p", lvl="warn", n="1000000000000000000000", user="true"}|{"level":"warn","user":true,"a":{"b":"<c>","k":1.0},"num":1e21,"list":["p"]}"#,
            r#"{app="x"}|no json"#,
            r#"{app="x"}|[1]"#,
        ],
    );
    check(
        r#"[{"json": {"expressions": {"inner": null}}}, {"json": {"source": "inner", "expressions": {"v": null}}},
            {"labels": {"v": null}}, {"output": {"source": "v"}}]"#,
        &[r#"{"inner":"{\"v\":2.5}"}"#],
        &[r#"{app="x", v="2.5"}|2.5"#],
    );
    let pipeline = compile(r#"[{"json": {"drop_malformed": true, "expressions": {"a": null}}}]"#).unwrap();
    let (found, tally) = run_all(&pipeline, &["x", "{}"]);
    assert_eq!(found, [r#"{app="x"}|{}"#]);
    assert_eq!(tally.discarded, BTreeMap::from([("malformed_json".into(), 1)]));
    refuses(r#"[{"json": {"expressions": {"a": "b["}}}]"#, "0.json.expressions.a: ");
    refuses(r#"[{"json": {"expressions": {}}}]"#, "0.json.expressions: ");
}

#[test]
fn logfmt() {
    let stages = r#"[{"logfmt": {"mapping": {"level": null, "text": "msg", "bare": null}}},
        {"labels": {"level": null, "text": null, "bare": null}}]"#;
    check(
        stages,
        &[r#"level=info msg="a \"b\"" bare other=1"#, r#"level=warn msg=a"b"#, r#"msg="open level=x"#],
        &[
            r#"{app="x", bare="", level="info", text="a \"b\""}|level=info msg="a \"b\"" bare other=1"#,
            r#"{app="x", level="warn"}|level=warn msg=a"b"#,
            r#"{app="x"}|msg="open level=x"#,
        ],
    );
}

#[test]
fn regex_and_replace() {
    check(
        r#"[{"regex": {"expression": "(?P<ip>\\d+\\.\\d+) (?P<rest>x)?"}}, {"labels": {"ip": null, "rest": null}}]"#,
        &["at 1.2 y", "none"],
        &[r#"{app="x", ip="1.2", rest=""}|at 1.2 y"#, r#"{app="x"}|none"#],
    );
    check(
        r#"[{"replace": {"expression": "password=(\\S+)", "replace": "****"}}]"#,
        &["a password=one b password=two", "c"],
        &[r#"{app="x"}|a password=**** b password=****"#, r#"{app="x"}|c"#],
    );
    check(
        r#"[{"replace": {"expression": "(?P<m>[a-z]+)=(\\d+)", "replace": "{{ .Value | ToUpper }}{{ .app }}{{ .no }}"}},
            {"labels": {"m": null}}]"#,
        &["ab=1"],
        &[r#"{app="x", m="ABx"}|ABx=1x"#],
    );
    check(r#"[{"replace": {"expression": "a", "replace": "b"}}]"#, &["a"], &[r#"{app="x"}|a"#]);
    check(
        r#"[{"replace": {"expression": "(a(b))", "replace": "[{{.Value}}]"}}]"#,
        &["ab"],
        &[r#"{app="x"}|[ab]"#],
    );
    refuses(r#"[{"regex": {"expression": "("}}]"#, "0.regex.expression: error parsing regexp: ");
    refuses(r#"[{"regex": {"expression": "a(b)"}}]"#, "0.regex.expression: no group has a name");
}

#[test]
fn templates() {
    check(
        r#"[{"template": {"source": "new", "template": "{{ .app }}-{{ .none }}-{{ .Entry | ToUpper }}"}},
            {"output": {"source": "new"}}]"#,
        &["line"],
        &[r#"{app="x"}|x-<no value>-LINE"#],
    );
    check(
        r#"[{"template": {"source": "app", "template": "{{ Replace .Value \"x\" \"y\" -1 }}"}}, {"labels": {"app": null}}]"#,
        &["l"],
        &[r#"{app="y"}|l"#],
    );
    check(
        r#"[{"template": {"source": "app", "template": "{{ if ne .Value \"x\" }}a{{ end }}"}},
            {"labels": {"b": "app"}}]"#,
        &["l"],
        &[r#"{app="x"}|l"#],
    );
    refuses(
        r#"[{"template": {"source": "a", "template": "{{ nope }}"}}]"#,
        "0.template.template: template: pipeline_template:1: function \"nope\" not defined",
    );
}

#[test]
fn labels_and_metadata() {
    check(
        r#"[{"static_labels": {"env": "prod", "none": "", "n2": null}}, {"labeldrop": ["app"]}]"#,
        &["l"],
        &[r#"{env="prod"}|l"#],
    );
    check(r#"[{"static_labels": {"a": "1", "b": "2"}}, {"labelallow": ["b"]}]"#, &["l"], &[r#"{b="2"}|l"#]);
    check(
        r#"[{"regex": {"expression": "(?P<id>.+)"}}, {"structured_metadata": {"trace": "id", "app": null, "z": null}}]"#,
        &["i"],
        &[r#"{}|i|{app="x", trace="i"}"#],
    );
    check(r#"[{"non_indexed_labels": {"app": null}}]"#, &["i"], &[r#"{}|i|{app="x"}"#]);
    refuses(r#"[{"labels": {"a-b": null}}]"#, "0.labels: \"a-b\" is no label name");
    refuses(r#"[{}]"#, "0: want exactly one stage, got 0");
    refuses(r#"[{"decolorize": {}, "labeldrop": ["a"]}]"#, "0: want exactly one stage, got 2");
}

#[test]
fn timestamps() {
    let with = |format: &str, more: &str| {
        format!(
            r#"[{{"regex": {{"expression": "^t=(?P<t>[^|]*)"}}}}, {{"timestamp": {{"source": "t", "format": "{format}"{more}}}}}]"#
        )
    };
    let at = |stages: &str, text: &str| {
        let line = format!("t={text}|");
        let (found, _) = run_all(&compile(stages).unwrap(), &[&line]);
        found[0].rsplit_once('|').map(|(_, behind)| behind.to_owned()).unwrap()
    };
    for (format, text, want) in [
        ("RFC3339", "2023-11-14T22:13:19Z", "-1000000000"),
        ("RFC3339Nano", "2023-11-14T23:13:19.5+01:00", "-500000000"),
        ("Unix", "1699999999", "-1000000000"),
        ("Unix", "1699999999.25", "-750000000"),
        ("UnixMs", "1699999999999", "-1000000"),
        ("UnixUs", "1699999999999999", "-1000"),
        ("UnixNs", "1700000000000000001", "1"),
        ("RFC1123", "Tue, 14 Nov 2023 22:13:19 UTC", "-1000000000"),
        ("02/Jan/2006:15:04:05 -0700", "14/Nov/2023:22:13:19 +0000", "-1000000000"),
        ("Jan _2 15:04:05", "Nov 14 22:13:19", "-1000000000"),
        // Not believed, not read: the entry's own time stays.
        ("RFC3339", "2023-11-15T22:13:19Z", ""),
        ("RFC3339", "yesterday", ""),
    ] {
        assert_eq!(at(&with(format, ""), text), want, "{format} {text}");
    }
    let berlin = with("2006-01-02 15:04:05", r#", "location": "Europe/Berlin""#);
    assert_eq!(at(&berlin, "2023-11-14 23:13:19"), "-1000000000");
    let local = with("2006-01-02 15:04:05", r#", "location": "Local""#);
    let here = jiff::tz::TimeZone::system().to_timestamp("2023-11-10T12:00:00".parse().unwrap()).unwrap();
    let want = (i64::try_from(here.as_nanosecond()).unwrap() - NOW_NS).to_string();
    assert_eq!(at(&local, "2023-11-10 12:00:00"), want);
    let fallback = with("RFC3339", r#", "fallback_formats": ["UnixMs", "Unix"]"#);
    assert_eq!(at(&fallback, "1699999999"), (1_699_999_999_000_000 - NOW_NS).to_string());
    refuses(&with("x", r#", "location": "Mars/Base""#), "1.timestamp.location: ");
    let stages = with("UnixNs", "");
    let lines = ["t=1699999999000000000|", "at com.example", "x"];
    let (fudged, _) = run_all(&compile(&stages).unwrap(), &lines);
    let times: Vec<&str> = fudged.iter().map(|text| text.rsplit_once('|').unwrap().1).collect();
    assert_eq!(times, ["-1000000000", "-999999999", "-999999998"]);
    let (skipped, _) =
        run_all(&compile(&with("UnixNs", r#", "action_on_failure": "skip""#)).unwrap(), &lines);
    assert_eq!(skipped[1], r#"{app="x"}|at com.example"#);
}

#[test]
fn years_are_found() {
    // 2024-01-01T00:00:10Z reads a December time as the year before.
    let format = crate::settings::TimestampSettings {
        source: "app".into(),
        format: "Jan _2 15:04:05".into(),
        fallback_formats: Vec::new(),
        location: None,
        action_on_failure: crate::settings::TimestampFailure::Skip,
    };
    let mut stage = crate::stage_timestamp::TimestampStage::compile(&format).unwrap();
    let labels = Arc::new(LabelSet::from_pairs([("app", "Dec 31 23:59:59")]));
    let extracted = Extracted::new(&labels);
    let metadata = LabelSet::default();
    let mut entry =
        Entry { labels, ts_ns: 0, line: Vec::new(), metadata, extracted, output: 0, lines: (0, 0) };
    stage.apply(&mut entry, 1_704_067_210_000_000_000);
    assert_eq!(entry.ts_ns, 1_704_067_199_000_000_000);
}

#[test]
fn matches() {
    let stages = r#"[{"match": {"selector": "{app=\"x\"} |= \"a\" !~ \"b+\"", "stages": [{"static_labels": {"m": "1"}}]}}]"#;
    check(stages, &["a", "ab", "c"], &[r#"{app="x", m="1"}|a"#, r#"{app="x"}|ab"#, r#"{app="x"}|c"#]);
    let drop = r#"[{"match": {"selector": "{app=~`x|y`} |~ `^d`", "action": "drop", "drop_counter_reason": "noise"}}]"#;
    let (found, tally) = run_all(&compile(drop).unwrap(), &["da", "ad"]);
    assert_eq!(found, [r#"{app="x"}|ad"#]);
    assert_eq!(tally.discarded, BTreeMap::from([("noise".into(), 1)]));
    refuses(
        r#"[{"match": {"selector": "{app=\"x\"} | json", "action": "drop"}}]"#,
        "0.match.selector: only line filters",
    );
    refuses(r#"[{"match": {"selector": "{app=\"x\"}"}}]"#, "0.match.stages: no stage");
    refuses(
        r#"[{"match": {"selector": "{app=\"x\"}", "stages": [{"regex": {"expression": "("}}]}}]"#,
        "0.match.stages.0.regex.expression: ",
    );
}

#[test]
fn drops() {
    let drop = |settings: &str| {
        format!(r#"[{{"regex": {{"expression": "lvl=(?P<lvl>\\w+)"}}}}, {{"drop": {settings}}}]"#)
    };
    let kept = |settings: &str, lines: &[&str]| -> Vec<String> {
        let (found, _) = run_all(&compile(&drop(settings)).unwrap(), lines);
        found.iter().map(|text| text.split_once('|').unwrap().1.to_owned()).collect()
    };
    let lines = ["lvl=debug", "lvl=info", "none"];
    assert_eq!(kept(r#"{"source": ["lvl"]}"#, &lines), ["none"]);
    assert_eq!(kept(r#"{"source": "lvl"}"#, &lines), ["none"]);
    assert_eq!(kept(r#"{"source": ["lvl"], "value": "debug"}"#, &lines), ["lvl=info", "none"]);
    assert_eq!(kept(r#"{"source": ["lvl"], "value": "deb"}"#, &lines), lines);
    assert_eq!(kept(r#"{"source": ["lvl"], "expression": "deb"}"#, &lines), ["lvl=info", "none"]);
    assert_eq!(kept(r#"{"source": ["app", "lvl"], "value": "x;info"}"#, &lines), ["lvl=debug", "none"]);
    assert_eq!(kept(r#"{"expression": "^no"}"#, &lines), ["lvl=debug", "lvl=info"]);
    assert_eq!(kept(r#"{"longer_than": "8b"}"#, &lines), ["lvl=info", "none"]);
    assert_eq!(kept(r#"{"longer_than": "4b", "expression": "info"}"#, &lines), ["lvl=debug", "none"]);
    // A kilobyte is 1,024 bytes.
    let longer = "x".repeat(8_193);
    for (text, want) in [(&longer, 0), (&longer[1..].to_owned(), 1)] {
        assert_eq!(kept(r#"{"longer_than": "8kb"}"#, &[text]).len(), want);
    }
    refuses(&drop(r#"{"longer_than": "8 furlongs"}"#), "1.drop.longer_than: ");
    assert_eq!(kept(r#"{"older_than": "1h"}"#, &lines), lines);
    refuses(&drop("{}"), "1.drop: no condition");
    refuses(&drop(r#"{"value": "a"}"#), "1.drop.value: ");
    refuses(&drop(r#"{"source": ["a"], "value": "a", "expression": "b"}"#), "1.drop.value: ");
    refuses(&drop(r#"{"older_than": "soon"}"#), "1.drop.older_than: ");
}

#[test]
fn limits_and_sampling() {
    let pipeline = compile(r#"[{"limit": {"rate": 1, "burst": 2, "drop": true}}]"#).unwrap();
    let (found, tally) = run_all(&pipeline, &["a", "b", "c"]);
    assert_eq!(found.len(), 2);
    assert_eq!(tally.discarded, BTreeMap::from([("ratelimit_drop_stage".into(), 1)]));
    // The tokens are the job's, not the target's.
    assert_eq!(run_all(&pipeline, &["d"]).0.len(), 0);
    let (found, tally) =
        run_all(&compile(r#"[{"limit": {"rate": 2, "burst": 1}}]"#).unwrap(), &["a", "b", "c"]);
    assert_eq!((found.len(), tally.wait_ns), (3, 1_000_000_000));
    let by_label = r#"[{"regex": {"expression": "(?P<u>\\w)"}}, {"labels": {"u": null}},
        {"limit": {"rate": 1, "burst": 1, "drop": true, "by_label_name": "u"}}]"#;
    assert_eq!(run_all(&compile(by_label).unwrap(), &["a", "a", "b", "-"]).0.len(), 3);
    refuses(r#"[{"limit": {"rate": 0, "burst": 1}}]"#, "0.limit.rate: ");
    refuses(r#"[{"limit": {"rate": 1, "burst": 1, "by_label_name": "a"}}]"#, "0.limit.by_label_name: ");
    let lines = vec!["l"; 1_000];
    let (found, tally) = run_all(&compile(r#"[{"sampling": {"rate": 0.25}}]"#).unwrap(), &lines);
    assert!((200..300).contains(&found.len()), "{}", found.len());
    assert_eq!(tally.discarded.values().sum::<u64>() as usize, 1_000 - found.len());
    assert_eq!(run_all(&compile(r#"[{"sampling": {"rate": 0}}]"#).unwrap(), &["l"]).0.len(), 0);
    assert_eq!(run_all(&compile(r#"[{"sampling": {"rate": 1}}]"#).unwrap(), &["l"]).0.len(), 1);
    refuses(r#"[{"sampling": {"rate": 1.5}}]"#, "0.sampling.rate: ");
}

#[test]
fn multiline() {
    let stages = r#"[{"multiline": {"firstline": "^\\S", "max_lines": 3}}]"#;
    let (found, tally) =
        run_all(&compile(stages).unwrap(), &[" early", "a", " 1", "b", " 2", " 3", " 4", " 5", "c"]);
    let text = |line: &str| format!(r#"{{app="x"}}|{line}"#);
    assert_eq!(found, [" early", "a\n 1", "b\n 2\n 3", " 4\n 5", "c"].map(text));
    assert_eq!(tally.joined, 4);
    refuses(r#"[{"multiline": {"firstline": "("}}]"#, "0.multiline.firstline: ");
    refuses(r#"[{"multiline": {"firstline": "a", "max_wait_time": "0s"}}]"#, "0.multiline.max_wait_time: ");
}

#[test]
fn outputs_are_told_apart_and_long_entries_divided() {
    let settings: Vec<StageSettings> =
        serde_json::from_str(r#"[{"multiline": {"firstline": "^\\S"}}, {"labeldrop": ["app"]}]"#).unwrap();
    let mut run = Run::new(&Pipeline::compile(&settings, LinesFrom::Engine, 8).unwrap());
    let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
    let (metadata, random) = (LabelSet::default(), Random::seeded(1));
    let now = Now { ns: NOW_NS, random: &random };
    for (output, text) in [(0, "out"), (1, "err"), (0, " 1"), (1, " 2"), (0, " long")] {
        let line = Line {
            labels: &labels,
            ts_ns: NOW_NS,
            text: text.as_bytes().into(),
            metadata: &metadata,
            output,
        };
        run.push(line, (), now);
    }
    run.flush(true, now);
    let mut out = Vec::new();
    assert_eq!(run.take(&mut out), None);
    let shown: Vec<String> = out.iter().map(show).collect();
    assert_eq!(shown, ["{}|out\n 1", "{}|err\n 2", "{}| long"]);
    assert!(out.iter().all(|entry| entry.read_under == labels));
}

#[test]
fn open_entries_are_let_go_by_time() {
    let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
    let metadata = LabelSet::default();
    let random = Random::seeded(1);
    let now = |ns| Now { ns, random: &random };
    let mut run =
        Run::new(&compile(r#"[{"multiline": {"firstline": "^a", "max_wait_time": "2s"}}]"#).unwrap());
    let line = |text: &'static str| Line {
        labels: &labels,
        ts_ns: 1,
        text: text.as_bytes().into(),
        metadata: &metadata,
        output: 0,
    };
    let mut out = Vec::new();
    run.push(line("a1"), 10, now(0));
    run.push(line("b1"), 11, now(1_000_000_000));
    assert_eq!(run.take(&mut out), Some(10));
    assert_eq!(run.due_ns(), Some(3_000_000_000));
    run.flush(false, now(2_999_999_999));
    assert_eq!((run.take(&mut out), out.len()), (Some(10), 0));
    run.push(line("a2"), 12, now(2_999_999_999));
    assert_eq!((run.take(&mut out), out.len()), (Some(12), 1));
    assert_eq!(out[0].line, b"a1\nb1");
    run.flush(false, now(4_999_999_999));
    assert_eq!((run.take(&mut out), out.len(), run.due_ns()), (None, 2, None));
    // A clock set back by more than the wait counts as the wait.
    run.push(line("a3"), 13, now(5_000_000_000));
    run.flush(false, now(3_500_000_000));
    assert_eq!(run.take(&mut out), Some(13));
    run.flush(false, now(2_000_000_000));
    assert_eq!((run.take(&mut out), out.len()), (None, 3));
    // A line of the entry that was let go already still bears its time.
    run.push(line("b2"), 13, now(5_000_000_000));
    assert_eq!(run.take(&mut out), Some(13));
}

#[test]
fn container_runtimes() {
    check(
        r#"[{"cri": {}}]"#,
        &[
            "2023-11-14T22:13:19Z stdout P one ",
            "2023-11-14T22:13:19Z stderr F other",
            "2023-11-14T22:13:19.5Z stdout F two",
            "no such line",
        ],
        &[
            r#"{app="x", stream="stderr"}|other|-1000000000"#,
            r#"{app="x", stream="stdout"}|one two|-500000000"#,
            r#"{app="x"}|no such line"#,
        ],
    );
    check(
        r#"[{"docker": {}}]"#,
        &[
            r#"{"log":"part ","stream":"stdout","time":"2023-11-14T22:13:19Z"}"#,
            r#"{"log":"whole\r\n","stream":"stdout","time":"2023-11-14T22:13:19Z"}"#,
            r#"{"log":"\n","stream":"stderr","time":"2023-11-14T22:13:19Z"}"#,
            "plain",
        ],
        &[
            r#"{app="x", stream="stdout"}|part whole|-1000000000"#,
            r#"{app="x", stream="stderr"}||-1000000000"#,
            r#"{app="x"}|plain"#,
        ],
    );
    // A runtime that died in mid-line holds nothing up for ever.
    let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
    let (metadata, random) = (LabelSet::default(), Random::seeded(1));
    let mut run = Run::new(&compile(r#"[{"cri": {}}]"#).unwrap());
    let mut out = Vec::new();
    for (number, text) in
        ["1970-01-01T00:00:00Z stdout P a", "1970-01-01T00:00:00Z stderr F b"].iter().enumerate()
    {
        let line =
            Line { labels: &labels, ts_ns: 0, text: text.as_bytes().into(), metadata: &metadata, output: 0 };
        run.push(line, number, Now { ns: 0, random: &random });
    }
    run.flush(false, Now { ns: 59_000_000_000, random: &random });
    assert_eq!((run.take(&mut out), out.len()), (Some(0), 0));
    run.flush(false, Now { ns: 60_000_000_000, random: &random });
    assert_eq!((run.take(&mut out), out.len()), (None, 2));
    let settings: Vec<StageSettings> = serde_json::from_str(r#"[{"docker": {}}]"#).unwrap();
    assert!(Pipeline::compile(&settings, LinesFrom::Engine, 1 << 20).unwrap().is_empty());
}

#[test]
fn lines_rewritten() {
    check(
        r#"[{"pack": {"labels": ["app", "none"], "ingest_timestamp": false}}]"#,
        &["say \"<hi>\""],
        &[r#"{}|{"app":"x","_entry":"say \"\u003chi\u003e\""}"#],
    );
    check(
        r#"[{"decolorize": {}}]"#,
        &["\u{1b}[31mred\u{1b}[0m plain \u{1b}[1;32mgreen\u{1b}[m"],
        &[r#"{app="x"}|red plain green"#],
    );
}

#[test]
fn texts_of_json_are_escaped_as_promtails_library_does() {
    let mut text = String::new();
    crate::entry::write_json_text("\u{8}\u{c}\n\t\"<\u{2028}\u{7f}", &mut text);
    assert_eq!(text, "\"\\u0008\\u000c\\n\\t\\\"\\u003c\\u2028\u{7f}\"");
}

#[test]
fn joined_lines_cut_are_counted_once_each() {
    let stages = r#"[{"cri": {"max_partial_line_size": 4, "max_partial_line_size_truncate": true}}]"#;
    let row = |flag: &str, text: &str| format!("2023-11-14T22:13:20Z stdout {flag} {text}");
    let lines = [row("P", "abc"), row("P", "def"), row("F", "ghi"), row("F", "four"), row("P", "fifth")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (found, tally) = run_all(&compile(stages).unwrap(), &lines);
    assert_eq!(found, ["abcd", "four", "fift"].map(|line| format!(r#"{{app="x", stream="stdout"}}|{line}"#)));
    assert_eq!((tally.joined, tally.cut), (2, 2));
}

#[test]
fn fields_of_lines_become_metadata() {
    let fields = |form: FieldsOf, lines: &[&str]| run_all(&Pipeline::default().and_fields(form), lines).0;
    let json = r#"{"app":"other","msg":"a","n":1.5,"in":{"ner":true,"deep":{"a":{"b":{"c":1}}}},"list":[1],"none":null,"a b":"c","__x":"y","":"z"}"#;
    let long = format!(r#"{{"long":"{}","short":"s"}}"#, "x".repeat(1_025));
    assert_eq!(
        fields(FieldsOf::Json, &[json, "[1]", &long]),
        [
            format!(r#"{{app="x"}}|{json}|{{a_b="c", in_ner="true", msg="a", n="1.5"}}"#),
            r#"{app="x"}|[1]"#.to_owned(),
            format!(r#"{{app="x"}}|{long}|{{short="s"}}"#),
        ]
    );
    assert_eq!(
        fields(FieldsOf::Logfmt, &[r#"level=info app=other msg="a b" bare rest="#, "plain words"]),
        [
            r#"{app="x"}|level=info app=other msg="a b" bare rest=|{level="info", msg="a b"}"#,
            r#"{app="x"}|plain words"#,
        ]
    );
    let many: Vec<String> = (0..100).map(|number| format!("k{number}=v")).collect();
    assert_eq!(fields(FieldsOf::Logfmt, &[&many.join(" ")])[0].matches("=\"v\"").count(), 64);
}

#[test]
fn selectors_of_stages_may_choose_everything() {
    let stages = r#"[{"match": {"selector": "{none=\"\"}", "stages": [{"static_labels": {"none": "a"}}]}},
        {"match": {"selector": "{app=~\".*\"}", "stages": [{"static_labels": {"all": "b"}}]}},
        {"match": {"selector": "{none=\"\"}", "stages": [{"static_labels": {"none": "c"}}]}}]"#;
    check(stages, &["x"], &[r#"{all="b", app="x", none="a"}|x"#]);
}

#[test]
fn pipelines_one_behind_the_other_share_what_they_count() {
    let job = compile(r#"[{"limit": {"rate": 1, "burst": 1, "drop": true}}]"#).unwrap();
    let first = compile(r#"[{"drop": {"expression": "noise"}}]"#).unwrap();
    let both = first.before(&job);
    let (found, tally) = run_all(&both, &["noise", "a"]);
    assert_eq!((found.len(), tally.discarded.len()), (1, 1));
    assert!(run_all(&job, &["b"]).0.is_empty(), "the token is gone for the others too");
}

#[test]
fn old_entries_are_discarded_by_their_own_time() {
    let stages = r#"[{"regex": {"expression": "(?P<t>\\d+)"}}, {"timestamp": {"source": "t", "format": "Unix"}},
        {"drop": {"older_than": "1h"}}]"#;
    let lines = ["1699996400", "1699996399", "1700000000"];
    let (found, tally) = run_all(&compile(stages).unwrap(), &lines);
    assert_eq!(found, [r#"{app="x"}|1699996400|-3600000000000"#, r#"{app="x"}|1700000000"#]);
    assert_eq!(tally.discarded, BTreeMap::from([("drop_stage".into(), 1)]));
}

#[test]
fn limits_fill_up_again_to_their_burst() {
    let mut run = Run::new(&compile(r#"[{"limit": {"rate": 1, "burst": 2, "drop": true}}]"#).unwrap());
    let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
    let (metadata, random) = (LabelSet::default(), Random::seeded(1));
    let mut passed = |seconds: i64| {
        let now = Now { ns: NOW_NS + seconds * 1_000_000_000, random: &random };
        for _ in 0..4 {
            let line = Line { labels: &labels, ts_ns: 0, text: b"x".into(), metadata: &metadata, output: 0 };
            run.push(line, (), now);
        }
        let mut out = Vec::new();
        run.take(&mut out);
        out.len()
    };
    assert_eq!([0, 0, 1, 100, 99].map(&mut passed), [2, 0, 1, 2, 0], "and a clock set back adds nothing");
}

/// Lines of another stream wait behind an open entry, so what waits is bounded by number and by bytes.
#[test]
fn what_waits_behind_an_open_entry_is_bounded() {
    let stages = r#"[{"multiline": {"firstline": "^F", "max_wait_time": "1h"}}]"#;
    let sets = ["x", "y"].map(|app| Arc::new(LabelSet::from_pairs([("app", app)])));
    let (metadata, random) = (LabelSet::default(), Random::seeded(1));
    let now = Now { ns: NOW_NS, random: &random };
    for (bytes, lines_until) in [(1, LINES_MAX), (BYTES_MAX / 4, 4)] {
        let mut run = Run::new(&compile(stages).unwrap());
        let text = format!("F{}", "x".repeat(bytes - 1));
        let mut out = Vec::new();
        for number in 0.. {
            let labels = if number == 0 { &sets[0] } else { &sets[1] };
            let text = text.as_bytes().into();
            run.push(Line { labels, ts_ns: 0, text, metadata: &metadata, output: 0 }, number, now);
            let mark = run.take(&mut out);
            if !out.is_empty() {
                assert_eq!((number, mark, out.len()), (lines_until, None, lines_until + 1));
                break;
            }
            assert_eq!(mark, Some(0));
            assert!(number < 2 * LINES_MAX, "let go at last");
        }
    }
}

proptest! {
    /// An agent is killed at any time and starts again where the mark says: every line comes out exactly once, though
    /// entries of two label sets are open at once.
    #[test]
    fn nothing_is_lost_or_doubled_by_a_kill(
        shape in proptest::collection::vec((0..2_usize, any::<bool>()), 1..60),
        turns in proptest::collection::vec((1..9_usize, any::<bool>()), 1..40),
        lines_max in 1..6_u64,
    ) {
        let stages = format!(r#"[{{"multiline": {{"firstline": "^F", "max_lines": {lines_max}}}}}]"#);
        let pipeline = compile(&stages).unwrap();
        let sets = ["x", "y"].map(|app| Arc::new(LabelSet::from_pairs([("app", app)])));
        let metadata = LabelSet::default();
        let random = Random::seeded(1);
        let mut committed = Vec::new();
        let mut position = 0;
        let mut run = Run::new(&pipeline);
        let mut read = 0;
        let rest = std::iter::repeat_n((7, false), shape.len());
        for (step, (count, is_killed)) in turns.into_iter().chain(rest).enumerate() {
            let now = Now { ns: step as i64, random: &random };
            for _ in 0..count.min(shape.len() - read) {
                let (set, is_first) = shape[read];
                let text = format!("{}{read}", if is_first { "F" } else { "c" });
                run.push(Line { labels: &sets[set], ts_ns: 0, text: text.as_bytes().into(), metadata: &metadata, output: 0 }, read, now);
                read += 1;
            }
            let mut out = Vec::new();
            position = run.take(&mut out).unwrap_or(read);
            committed.extend(out);
            if is_killed {
                run = Run::new(&pipeline);
                read = position;
            }
        }
        run.flush(true, Now { ns: 1 << 40, random: &random });
        let mut out = Vec::new();
        prop_assert_eq!(run.take(&mut out), None);
        committed.extend(out);
        prop_assert!(position <= shape.len());
        let mut numbers: Vec<usize> = Vec::new();
        for entry in &committed {
            for line in String::from_utf8_lossy(&entry.line).split('\n') {
                numbers.push(line[1..].parse().unwrap());
            }
        }
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..shape.len()).collect::<Vec<_>>());
    }

    /// Read = came out + discarded + joined, whatever the lines.
    #[test]
    fn lines_balance(lines in proptest::collection::vec("[ -~]{0,20}", 0..40)) {
        let pipeline = compile(r#"[{"multiline": {"firstline": "^[a-m]", "max_lines": 4}},
            {"match": {"selector": "{app=\"x\"} |= \"a\"", "stages": [{"json": {"expressions": {"b": null}}},
            {"drop": {"expression": "c"}}]}}, {"sampling": {"rate": 0.5}}]"#).unwrap();
        let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (found, tally) = run_all(&pipeline, &texts);
        let discarded: u64 = tally.discarded.values().sum();
        prop_assert_eq!(found.len() as u64 + discarded + tally.joined, lines.len() as u64);
    }
}

#[test]
fn fields_take_no_more_than_a_store_takes() {
    let fields: Vec<String> = (0..64).map(|n| format!("\"f{n:02}\":\"{}\"", "v".repeat(1_024))).collect();
    let line = format!("{{{}}}", fields.join(","));
    let found = run_all(&Pipeline::default().and_fields(FieldsOf::Json), &[&line]).0;
    assert!(found[0].len() < line.len() + (40 << 10), "{} of {}", found[0].len(), line.len());
    assert!(found[0].contains("f00=") && found[0].contains("f20="));
}
