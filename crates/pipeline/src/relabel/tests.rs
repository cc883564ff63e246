//! Each action on small sets; what it answers is Prometheus' rule.

use proptest::prelude::*;

use super::*;

fn rule(yaml_like: serde_json::Value) -> Result<Relabeling, Error> {
    let settings: RelabelSettings = serde_json::from_value(yaml_like).unwrap();
    Relabeling::compile(&[settings])
}

/// Checks what a rule makes of `a="foo"`, `b="bar"`, `__meta_x_y="Zed"`; `None`: the target is left out.
#[track_caller]
fn check(settings: serde_json::Value, want: Option<&str>) {
    let mut labels = LabelSet::from_pairs([("a", "foo"), ("b", "bar"), ("__meta_x_y", "Zed")]);
    let is_kept = rule(settings).unwrap().apply(&mut labels);
    labels.remove("__meta_x_y");
    assert_eq!(is_kept.then(|| labels.to_string()).as_deref(), want);
}

macro_rules! rules {
    ($($settings:tt => $want:expr;)*) => { $(check(serde_json::json!($settings), $want);)* };
}

#[test]
fn replace() {
    rules! {
        {"source_labels": ["a"], "target_label": "c"} => Some(r#"{a="foo", b="bar", c="foo"}"#);
        {"source_labels": ["a", "b"], "target_label": "c"} => Some(r#"{a="foo", b="bar", c="foo;bar"}"#);
        {"source_labels": ["a", "none"], "separator": "-", "target_label": "c"} => Some(r#"{a="foo", b="bar", c="foo-"}"#);
        {"source_labels": ["a"], "regex": "f(.*)", "replacement": "${1}_$1_x", "target_label": "c"} => Some(r#"{a="foo", b="bar", c="oo_"}"#);
        {"source_labels": ["a"], "regex": "f(?P<rest>.*)", "replacement": "$rest$$", "target_label": "c"} => Some(r#"{a="foo", b="bar", c="oo$"}"#);
        {"source_labels": ["a"], "regex": "oo", "replacement": "x", "target_label": "c"} => Some(r#"{a="foo", b="bar"}"#);
        {"source_labels": ["a"], "regex": "none", "replacement": "", "target_label": "a"} => Some(r#"{a="foo", b="bar"}"#);
        {"source_labels": ["none"], "target_label": "a"} => Some(r#"{b="bar"}"#);
        {"replacement": "fixed", "target_label": "c"} => Some(r#"{a="foo", b="bar", c="fixed"}"#);
        {"source_labels": ["a"], "target_label": "x_${1}"} => Some(r#"{a="foo", b="bar", x_foo="foo"}"#);
        {"source_labels": ["a", "b"], "target_label": "${1}"} => Some(r#"{a="foo", b="bar"}"#);
    }
}

#[test]
fn keep_and_drop() {
    rules! {
        {"source_labels": ["a"], "regex": "foo", "action": "keep"} => Some(r#"{a="foo", b="bar"}"#);
        {"source_labels": ["a"], "regex": "fo", "action": "keep"} => None;
        {"source_labels": ["a", "b"], "regex": "foo;bar", "action": "drop"} => None;
        {"source_labels": ["none"], "regex": "", "action": "drop"} => None;
        {"source_labels": ["a"], "target_label": "b", "action": "keepequal"} => None;
        {"source_labels": ["a"], "target_label": "b", "action": "dropequal"} => Some(r#"{a="foo", b="bar"}"#);
        {"source_labels": ["a"], "target_label": "a", "action": "dropequal"} => None;
    }
}

#[test]
fn values_and_names() {
    rules! {
        {"source_labels": ["a"], "target_label": "c", "action": "uppercase"} => Some(r#"{a="foo", b="bar", c="FOO"}"#);
        {"source_labels": ["__meta_x_y"], "target_label": "c", "action": "lowercase"} => Some(r#"{a="foo", b="bar", c="zed"}"#);
        {"source_labels": ["a"], "target_label": "c", "modulus": 1000, "action": "hashmod"} => Some(r#"{a="foo", b="bar", c="696"}"#);
        {"regex": "__meta_x_(.+)", "action": "labelmap"} => Some(r#"{a="foo", b="bar", y="Zed"}"#);
        {"regex": "a|c", "action": "labeldrop"} => Some(r#"{b="bar"}"#);
        {"regex": "a|__.*", "action": "labelkeep"} => Some(r#"{a="foo"}"#);
    }
}

#[test]
fn the_dialect_is_gos() {
    let mut labels = LabelSet::from_pairs([("a", "٣\n")]);
    let digits =
        rule(serde_json::json!({"source_labels": ["a"], "regex": r"\d.", "action": "keep"})).unwrap();
    assert!(!digits.apply(&mut labels), "classes are ASCII");
    let any = rule(serde_json::json!({"source_labels": ["a"], "regex": "..", "action": "keep"})).unwrap();
    assert!(any.apply(&mut labels), "a dot is any character, newlines too");
}

#[test]
fn faulty_rules_are_refused_by_key() {
    for (settings, want) in [
        (serde_json::json!({"action": "hashmod", "target_label": "a"}), "0.modulus: "),
        (serde_json::json!({"action": "lowercase"}), "0.target_label: "),
        (serde_json::json!({"target_label": "a-b"}), "0.target_label: "),
        (serde_json::json!({"target_label": "$"}), "0.target_label: "),
        (serde_json::json!({"target_label": "${1", "regex": "a"}), "0.target_label: "),
        (serde_json::json!({"action": "uppercase", "target_label": "$1"}), "0.target_label: "),
        (
            serde_json::json!({"action": "uppercase", "target_label": "a", "replacement": "b"}),
            "0.replacement: ",
        ),
        (serde_json::json!({"action": "labelmap", "replacement": "a-$1"}), "0.replacement: "),
        (serde_json::json!({"action": "keepequal", "target_label": "a", "regex": "b"}), "0.action: "),
        (serde_json::json!({"action": "labeldrop", "source_labels": ["b"]}), "0.action: "),
        (serde_json::json!({"action": "labelkeep", "separator": "b"}), "0.action: "),
        (serde_json::json!({"regex": "(", "target_label": "a"}), "0.regex: error parsing regexp: "),
    ] {
        let error = rule(settings.clone()).unwrap_err().to_string();
        assert!(error.starts_with(want), "{settings}: {error}");
    }
    assert!(serde_json::from_str::<RelabelSettings>(r#"{"source": "a"}"#).is_err());
}

#[test]
fn meta_labels_vanish() {
    let labels = LabelSet::from_pairs([("__meta", "1"), ("a", "2"), ("b-c", "3"), ("d", "")]);
    assert_eq!(without_meta(&labels).to_string(), r#"{a="2"}"#);
    assert_eq!(label_name_of("com.docker/x-ü_1"), "com_docker_x____1");
}

proptest! {
    /// Whatever rules and labels, names stay valid as long as they were, and nothing panics.
    #[test]
    fn rules_never_make_bad_names(
        values in proptest::collection::vec("[ -~]{0,12}", 3),
        regex in r"[a-z.*()$^|]{0,8}",
        replacement in r"[a-z$1{}]{0,8}",
        target in r"[a-z$1{}]{1,8}",
    ) {
        let settings = RelabelSettings {
            source_labels: vec!["a".into(), "b".into()],
            regex, replacement, target_label: target, ..RelabelSettings::default()
        };
        if let Ok(rules) = Relabeling::compile(&[settings]) {
            let mut labels = LabelSet::from_pairs(["a", "b", "c"].into_iter().zip(values));
            rules.apply(&mut labels);
            prop_assert!(labels.iter().all(|(name, _)| is_label_name(name)));
        }
    }
}
