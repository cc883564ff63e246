//! The forms of files, what they are printed as, and the texts and lines of what is refused.

use super::*;
use crate::Pairs;

const GOOD: &str = r#"
namespace: anything
groups:
  - name: errors
    interval: 1m30s
    query_offset: 10s
    limit: 5
    labels: {team: home, n: 1}
    rules:
      - alert: HighErrors
        expr: |
          sum by (app) (rate({job="x"} |= "ERROR" [5m])) > 0.1
        for: 5m
        keep_firing_for: 10m
        labels:
          severity: '{{ if gt $value 1.0 }}page{{ else }}warn{{ end }}'
        annotations: {summary: "{{ $labels.app }}: {{ humanize $value }}"}
      - record: app:lines:rate5m
        expr: sum by (app) (rate({job="x"}[5m]))
  - name: empty
    rules:
"#;

fn file(text: &str) -> Result<Vec<RuleGroup>, FileFault> {
    read_file(Path::new("rules/a.yaml"), text.as_bytes())
}

#[test]
fn files_of_loki_and_prometheus_are_read() {
    let groups = file(GOOD).unwrap();
    assert_eq!(groups.len(), 2);
    let group = &groups[0];
    assert_eq!(
        (group.interval_ns, group.query_offset_ns, group.limit),
        (Some(90_000_000_000), 10_000_000_000, 5)
    );
    assert_eq!(group.labels, Pairs::from([("n".into(), "1".into()), ("team".into(), "home".into())]));
    let RuleKind::Alert(alert) = &group.rules[0].kind else { panic!("{:?}", group.rules[0]) };
    assert_eq!((alert.for_ns, alert.keep_firing_for_ns), (300_000_000_000, 600_000_000_000));
    assert_eq!(group.rules[1].name(), "app:lines:rate5m");
    assert!(groups[1].rules.is_empty());
    assert!(file("").unwrap().is_empty());
    assert!(file("groups:").unwrap().is_empty());
}

#[test]
fn what_is_printed_reads_the_same() {
    for group in file(GOOD).unwrap() {
        let printed = print_group(&group);
        let again = read_group(printed.as_bytes()).unwrap();
        assert_eq!(format!("{group:?}"), format!("{again:?}"), "{printed}");
    }
    let one = file(GOOD).unwrap();
    let having = |name: &str, value: &str| {
        print_namespaces([("n", one.iter().collect())], &Pairs::from([(name.into(), value.into())]))
    };
    assert_eq!(having("team", "home").matches("expr:").count(), 2);
    assert_eq!(having("team", "away"), "{}\n");
    let group = read_group(b"name: g\nrules:\n- alert: A\n  expr: vector(1)\n  for: 0s\n").unwrap();
    assert_eq!(print_group(&group), "name: g\nrules:\n- alert: A\n  expr: vector(1)\n");
    assert_eq!(
        print_namespaces([("n/s", vec![&group])], &Pairs::new()),
        "n/s:\n- name: g\n  rules:\n  - alert: A\n    expr: vector(1)\n"
    );
}

#[test]
fn a_bad_file_is_named_with_its_line_and_the_reason() {
    let check = |text: &str, want: &str| assert_eq!(file(text).unwrap_err().to_string(), want, "{text}");
    let at = |line, text: &str| format!("cannot use rule file rules/a.yaml line {line}: {text}");
    check(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(\n",
        &at(
            5,
            "could not parse expression for alert 'A' in group 'g': parse error at line 1, col 5: syntax error: unexpected $end; hint: close the parenthesis: )",
        ),
    );
    check(
        "groups:\n- name: g\n- name: h\n- name: g\n",
        &at(4, "groupname: \"g\" is repeated in the same file"),
    );
    check("groups:\n- rules: []\n", &at(1, "group 0: Groupname must not be empty"));
    check(
        "groups:\n- name: g\n  rules:\n  - record: r\n    expr: vector(1)\n    for: 5m\n",
        &at(6, "invalid field 'for' in recording rule"),
    );
    let text =
        file("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: vector(1)\n    fro: 5m\n").unwrap_err();
    assert_eq!(text.line, Some(6), "{text}");
    assert!(text.text.contains("unknown field `fro`, expected one of"), "{text}");
    let text = file("groups:\n- name: g\n  interval: often\n").unwrap_err();
    assert_eq!(text.line, Some(3), "{text}");
    assert!(text.text.contains("not a valid duration string: \"often\""), "{text}");
    assert_eq!(file("groups: [\n").unwrap_err().line, Some(2));
    let long = "#".repeat(RULE_BYTES_MAX + 1);
    assert!(file(&long).unwrap_err().text.contains("at most 1048576 are allowed"));
    assert!(read_file(Path::new("a"), b"\xff").unwrap_err().text.contains("no UTF-8"));
}

#[test]
fn groups_are_refused_with_lokis_texts() {
    let rule = |rule: &str| read_group(format!("name: g\nrules:\n- {rule}\n").as_bytes());
    let check = |found: Result<RuleGroup, Error>, want: &str| {
        let text = found.unwrap_err().to_string();
        assert!(text.starts_with(want), "{text}, not {want}");
    };
    check(read_group(b"rules: []"), "group 0: Groupname must not be empty");
    check(read_group(b""), "group 0: Groupname must not be empty");
    check(read_group(b"groups: [{name: g}]"), "group 0: Groupname must not be empty");
    check(read_group(b"name: g\nfro: 1"), "unable to decoded rule group: unknown field `fro`");
    check(read_group(b"name: g\ninterval: often"), "unable to decoded rule group");
    check(read_group(b"name: [g]"), "unable to decoded rule group");
    check(read_group(b"name: g\ninterval: 10ms"), "group 'g': the interval is shorter than 1s");
    check(read_group(b"name: g\nlimit: -1"), "group 'g': the limit is below 0");
    check(rule("expr: vector(1)"), "one of 'record' or 'alert' must be set");
    check(rule("{alert: A, record: b, expr: vector(1)}"), "only one of 'record' and 'alert' must be set");
    check(rule("alert: A"), "field 'expr' must be set in rule");
    check(rule("{record: 1bad, expr: vector(1)}"), "invalid recording rule name: 1bad");
    check(
        rule("{record: r, expr: vector(1), annotations: {a: b}}"),
        "invalid field 'annotations' in recording rule",
    );
    check(
        rule("{record: r, expr: vector(1), keep_firing_for: 1m}"),
        "invalid field 'keep_firing_for' in recording rule",
    );
    check(rule("{alert: A, expr: vector(1), labels: {bad-name: x}}"), "invalid label name: bad-name");
    check(rule("{alert: A, expr: vector(1), labels: {__name__: x}}"), "invalid label name: __name__");
    check(rule("{alert: A, expr: vector(1), annotations: {'a:b': x}}"), "invalid annotation name: a:b");
    check(
        rule("{alert: A, expr: vector(1), annotations: {a: '{{ nope }}'}}"),
        "annotation \"a\": template: rule:1: function \"nope\" not defined",
    );
    check(rule("{alert: A, expr: vector(1), labels: {a: '{{ if }}'}}"), "label \"a\": template: rule:1:");
    check(
        rule(r#"{alert: A, expr: '{a="b"} |= "x"'}"#),
        "could not parse expression for alert 'A' in group 'g': parse error : a rule wants a metric query",
    );
    check(
        rule("{record: r, expr: 'sum('}"),
        "could not parse expression for record 'r' in group 'g': parse error at line 1, col 5",
    );
}

#[test]
fn what_is_too_deep_is_refused_before_it_takes_hours() {
    for open in ["[", "{a: ", "{\"a\":[", "- [", "? {"] {
        let text = open.repeat(RULE_BYTES_MAX / open.len());
        let fault = read_group(text.as_bytes()).unwrap_err().to_string();
        assert!(fault.ends_with("more than 1000 brackets are open at a time"), "{open} {fault}");
        assert!(file(&text).unwrap_err().text.ends_with("are open at a time"), "{open}");
    }
    // What is as deep as may be, and as long.
    let text = "[".repeat(1000) + &"a, ".repeat(RULE_BYTES_MAX / 20);
    let fault = read_group(text.as_bytes()).unwrap_err().to_string();
    assert!(fault.starts_with("unable to decoded rule group: "), "{fault}");
    for block in ["- ", "? "] {
        assert!(read_group(block.repeat(RULE_BYTES_MAX / 20).as_bytes()).is_err());
    }
}

#[test]
fn aliases_cannot_make_much_of_little() {
    let long = "x".repeat(64 << 10);
    let names: String = (0..2000).map(|number| format!(", n{number}: *a")).collect();
    let bomb =
        format!("name: g\nrules: [{{alert: A, expr: vector(1), annotations: {{n: &a {long}{names}}}}}]");
    let text = read_group(bomb.as_bytes()).unwrap_err().to_string();
    assert!(text.contains("aliases"), "{text}");
    // Neither where nobody looks for them.
    let list: String = (0..2000).map(|_| ", *a").collect();
    let text = read_group(format!("other: [&a {long}{list}]").as_bytes()).unwrap_err().to_string();
    assert!(text.contains("aliases"), "{text}");
    let text = read_group(format!("other: !tag [!tag &a {long}{list}]").as_bytes()).unwrap_err().to_string();
    assert!(text.contains("aliases"), "{text}");
    let fault = file(&format!("groups: [{{{bomb}}}]").replace('\n', ", ")).unwrap_err();
    assert!(fault.text.contains("aliases"), "{fault}");
    // A value that only this walk would refuse does not end it before the rest.
    let text =
        read_group(format!("name: !!int x\nother: [&a {long}{list}]").as_bytes()).unwrap_err().to_string();
    assert!(text.starts_with("unable to decoded rule group: "), "{text}");
    // What people write with them is fine.
    let good = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), labels: &l {a: b}}\n  \
                - {alert: B, expr: vector(1), labels: *l}\n";
    assert_eq!(file(good).unwrap()[0].rules[1].labels, Pairs::from([("a".into(), "b".into())]));
}

#[test]
fn forms_that_loki_takes_load_unchanged() {
    let rule = "    - alert: A\n      expr: sum(rate({app=\"a\"} |= \"x\" [1m])) > 0\n";
    for (form, text) in [
        ("a document mark and comments", format!("---\n# ours\ngroups:\n- name: g # one\n  rules:\n{rule}")),
        ("what lokitool writes", format!("namespace: n\ngroups:\n  - name: g\n    limit: 0\n    rules:\n{rule}")),
        ("spans without a unit, and of several", format!("groups:\n- name: g\n  interval: 1h30m\n  rules:\n{rule}      for: 0\n")),
        ("spans of days and milliseconds", format!("groups:\n- name: g\n  interval: 1500ms\n  rules:\n{rule}      for: 1d\n")),
        ("folded text", "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: >-\n      sum(rate({app=\"a\"}\n      |= \"x\" [1m])) > 0\n".to_owned()),
        ("literal text with comments of the language", "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: |\n      # errors\n      sum(rate({app=\"a\"} |= \"x\" [1m])) # all\n      > 0\n".to_owned()),
        ("JSON", r#"{"groups":[{"name":"g","rules":[{"alert":"A","expr":"sum(rate({app=\"a\"}[1m]))","for":"5m"}]}]}"#.to_owned()),
        ("quoted names and numbers as labels", format!("groups:\n- name: 'g'\n  rules:\n{rule}      labels: {{severity: 1, \"team\": yes}}\n")),
        ("keys without values", format!("groups:\n- name: g\n  labels:\n  rules:\n{rule}      labels:\n      annotations:\n")),
        ("templates with functions", format!("groups:\n- name: g\n  rules:\n{rule}      annotations:\n        summary: '{{{{ $labels.app | toUpper }}}} {{{{ printf \"%.2f\" $value }}}} {{{{ humanizeDuration 90.0 }}}}'\n")),
    ] {
        let groups = file(&text).unwrap_or_else(|fault| panic!("{form}: {fault}\n{text}"));
        assert_eq!((groups.len(), groups[0].rules.len()), (1, 1), "{form}");
        let again = read_group(print_group(&groups[0]).as_bytes()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{:?}", groups[0]), "{form}");
    }
}

#[test]
fn bad_forms_are_refused_with_file_line_and_reason() {
    let group = |rule: &str| format!("groups:\n- name: g\n  rules:\n  - alert: A\n{rule}");
    for (text, line, reason) in [
        ("groups:\n\t- name: g\n".to_owned(), Some(2), "found character that cannot start any token"),
        ("group:\n- name: g\n".to_owned(), Some(1), "unknown field `group`"),
        ("groups:\n- name: g\n  rule: []\n".to_owned(), Some(3), "unknown field `rule`"),
        ("groups:\n- name: g\n  limit: many\n".to_owned(), Some(3), "invalid type: string \"many\""),
        ("groups:\n- name: g\n  interval: 5\n".to_owned(), Some(3), "not a valid duration string: \"5\""),
        ("groups:\n- name: g\n  interval: 1.5m\n".to_owned(), Some(3), "in duration \"1.5m\""),
        ("groups:\n- name: g\n- name: ''\n".to_owned(), Some(3), "group 1: Groupname must not be empty"),
        (group("    expr: '{app=\"a\"} |= \"x\"'\n"), Some(5), "a rule wants a metric query"),
        (
            group("    expr: sum(rate({app=\"a\"}[5m])) by\n"),
            Some(5),
            "could not parse expression for alert 'A' in group 'g'",
        ),
        (group("    expr: up > 0\n"), Some(5), "could not parse expression for alert 'A' in group 'g'"),
        (group("    expr: vector(1)\n    for: -5m\n"), Some(6), "not a valid duration string"),
        (group("    expr: vector(1)\n    labels: [a, b]\n"), Some(6), "invalid type: sequence"),
        (group("    expr: vector(1)\n    labels: {1a: x}\n"), Some(6), "invalid label name: 1a"),
        (
            group("    expr: vector(1)\n    annotations:\n      s: '{{ $labels. }}'\n"),
            Some(6),
            "annotation \"s\": template",
        ),
        (
            group("    record: r\n    expr: vector(1)\n"),
            Some(5),
            "only one of 'record' and 'alert' must be set",
        ),
        (group("    expr: vector(1)\n    expr: vector(2)\n"), Some(4), "duplicate"),
    ] {
        let fault = file(&text).expect_err(&text);
        assert_eq!((fault.path.as_str(), fault.line), ("rules/a.yaml", line), "{fault}\n{text}");
        assert!(fault.text.contains(reason), "{fault}, not {reason}");
    }
}
