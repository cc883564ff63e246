//! Checks on bytes from outside, for the fuzz targets `rule_file` and `rule_state`; plain tests replay their corpora.

use crate::alert::Terms;
use crate::check::{print_file, read_file, read_group, read_printed};
use crate::group::RuleGroup;
use crate::group_run::GroupRun;
use crate::state_file::{decode, encode, seal};
use std::path::Path;

/// Reads any bytes as a rule file and as a group. Returns how many groups the file has; none if it is refused.
///
/// What is taken is printed and read again: the same rules.
///
/// Panics: where that does not hold.
pub fn check_file(bytes: &[u8]) -> Option<usize> {
    let path = Path::new("file");
    // Taken or refused, with a text that tells why.
    if let Err(error) = read_group(bytes) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
    }
    let groups = match read_file(path, bytes) {
        Ok(groups) => groups,
        Err(fault) => {
            assert!(
                !fault.text.is_empty() && fault.line != Some(0),
                "a fault says what and where: {fault:?}"
            );
            return None;
        }
    };
    let printed = print_file(groups.iter());
    let again = read_printed(path, printed.as_bytes()).expect("what was printed can be read");
    assert_eq!(print_file(again.iter()), printed, "what was printed means the same");
    Some(groups.len())
}

/// Reads any bytes as the state of a group below a good checksum. Returns how many alerts it has; none if it is refused.
///
/// What is taken is written and read again: the same alerts, which end with their rules, at any time.
///
/// Panics: where that does not hold.
pub fn check_state(body: &[u8]) -> Option<usize> {
    let file = decode(&seal(body)).ok()?;
    assert_eq!(decode(&encode(&file)).as_ref(), Ok(&file), "what was written can be read");
    let group = RuleGroup::empty(file.group.clone());
    let mut run = GroupRun::restored(&group, Some(&file), 0);
    let alerts = run.left.iter().map(|rule| rule.alerts.by_labels.len()).sum();
    for now_ns in [i64::MIN, -1, 0, i64::MAX, i64::MIN] {
        run.step_left(now_ns, i64::MAX, &["t".to_owned()]);
        let terms =
            Terms { for_ns: i64::MAX, keep_firing_for_ns: i64::MAX, gap_ns_max: i64::MAX, targets: &[] };
        for rule in &mut run.left {
            rule.alerts.step(now_ns, terms, Vec::new());
        }
    }
    Some(alerts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "groups:\n- name: g\n  interval: 1m30s\n  query_offset: 10s\n  limit: 5\n  labels: {team: home}\n  \
                        rules:\n  - alert: A\n    expr: sum by (a) (rate({b=\"c\"} |= `x`[5m])) > 1\n    for: 2m\n    \
                        keep_firing_for: 1h\n    labels: {severity: page}\n    annotations: {summary: '{{ $value }}'}\n  \
                        - record: a:b\n    expr: vector(1)\n";

    const STATE: &str = r#"{"namespace":"n","group":"g","rules":[{"name":"A","labels":{"a":"b"},"last_ns":5,"alerts":[
        {"labels":{"x":"y"},"annotations":{},"state":"firing","value":"NaN","active_at_ns":1,"fired_at_ns":2,
        "resolved_at_ns":null,"seen_ns":9223372036854775807,"is_there":false,"lines":["l"],
        "told":{"t":{"state":"firing","at_ns":3}}}]}]}"#;

    /// A text with pieces cut out, doubled and replaced.
    fn changed(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            prop::sample::select(vec![
                "-",
                ": ",
                "\n  ",
                "{",
                "}",
                "&a ",
                "*a",
                "null",
                "1e99",
                "-1",
                "9223372036854775807",
                "\""
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        let change = (0..text.len(), 0..20_usize, piece);
        prop::collection::vec(change, 0..6).prop_map(move |changes| {
            let mut bytes = text.as_bytes().to_vec();
            for (at, cut, piece) in changes {
                let at = at.min(bytes.len());
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            bytes
        })
    }

    #[test]
    fn what_is_good_is_taken() {
        assert_eq!(check_file(FILE.as_bytes()), Some(1));
        assert_eq!(check_state(STATE.as_bytes()), Some(1));
        assert_eq!((check_file(b"groups: what"), check_state(b"{}")), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn any_file_is_taken_or_refused(bytes in changed(FILE)) {
            check_file(&bytes);
        }

        #[test]
        fn any_state_is_taken_or_refused(bytes in changed(STATE)) {
            check_state(&bytes);
        }
    }
}
