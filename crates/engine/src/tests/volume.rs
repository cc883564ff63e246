//! Bytes by groups of streams, against sums made by hand.

use super::*;
use crate::{VolumeGroups, VolumeRequest};
use logyard_model::{MatchOp, Matcher, TimeRange};

/// Three streams; the last entry of the second view is a copy of one in the first.
fn sample() -> Memory {
    let (a, b) = ([("app", "a"), ("host", "x")], [("app", "b"), ("host", "x")]);
    let first = [line(&a, 1, "four"), line(&a, 9, "six---"), line(&a, 12, "-"), line(&b, 5, "three")];
    let second = [line(&a, 3, "two"), line(&a, 12, "-"), line(&[("app", "c")], 21, "")];
    Memory::new(&[&first, &second])
}

fn ask(start: i64, end: i64, bucket: Option<i64>, groups: VolumeGroups) -> VolumeRequest {
    VolumeRequest {
        tenants: Tenant::single().into(),
        matchers: Vec::new(),
        range: TimeRange { start_ns: start * SECOND, end_ns: end * SECOND },
        bucket_ns: bucket.map(|bucket| bucket * SECOND),
        required: Vec::new(),
        groups,
        groups_max: 10,
        now_ns: 0,
        cancel: Arc::new(Cancel::new()),
    }
}

fn values(names: &[&str]) -> VolumeGroups {
    VolumeGroups::Values(Some(names.iter().map(|name| (*name).to_owned()).collect()))
}

/// Prints groups as `labels bytes: start=bytes …`.
fn shown(request: &VolumeRequest) -> Vec<String> {
    let engine = Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() });
    let outcome = engine.volume(&sample(), request).unwrap();
    let group = |group: &crate::Volume| {
        let buckets: Vec<String> =
            group.buckets.iter().map(|(start_ns, bytes)| format!("{}={bytes}", start_ns / SECOND)).collect();
        format!("{} {}: {}", group.labels, group.bytes, buckets.join(" "))
    };
    outcome.groups.iter().map(group).collect()
}

#[test]
fn groups_by_values_and_names() {
    assert_eq!(
        shown(&ask(0, 30, None, values(&["app"]))),
        [r#"{app="a"} 14: 0=14"#, r#"{app="b"} 5: 0=5"#, r#"{app="c"} 0: 0=0"#]
    );
    assert_eq!(shown(&ask(0, 30, None, values(&["host"]))), ["{} 0: 0=0", r#"{host="x"} 19: 0=19"#]);
    let required = VolumeRequest { required: vec!["host".to_owned()], ..ask(0, 30, None, values(&["host"])) };
    assert_eq!(shown(&required), [r#"{host="x"} 19: 0=19"#]);
    assert_eq!(
        shown(&ask(0, 30, None, VolumeGroups::Names(None))),
        [r#"{app=""} 19: 0=19"#, r#"{host=""} 19: 0=19"#]
    );
    assert_eq!(
        shown(&ask(0, 30, None, VolumeGroups::Values(None))),
        [r#"{app="a", host="x"} 14: 0=14"#, r#"{app="b", host="x"} 5: 0=5"#, r#"{app="c"} 0: 0=0"#]
    );
    let matchers = vec![Matcher::new("app", MatchOp::Equal, "b").unwrap()];
    let request = VolumeRequest { matchers, ..ask(0, 30, None, values(&["app"])) };
    assert_eq!(shown(&request), [r#"{app="b"} 5: 0=5"#]);
}

#[test]
fn buckets_begin_at_multiples_and_the_range_cuts_them() {
    assert_eq!(shown(&ask(0, 30, Some(10), values(&[]))), ["{} 19: 0=18 10=1 20=0"]);
    assert_eq!(shown(&ask(3, 12, Some(5), values(&[]))), ["{} 14: 0=3 5=11"]);
    assert_eq!(shown(&ask(13, 20, None, values(&[]))), [] as [&str; 0]);
}

#[test]
fn too_many_groups_are_refused() {
    let request = VolumeRequest { groups_max: 2, ..ask(0, 30, None, values(&["app"])) };
    let error = Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() })
        .volume(&sample(), &request)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(error.to_string(), "the query hit the max number of series limit (limit: 2 series)");
}
