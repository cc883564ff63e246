//! The order of streams inside a segment: neighbours are alike, so that sharing a block compresses well.
//!
//! Measured (zstd -1, pieces of 8 KiB): 6.0 in frames of their own, 10.3 beside similar streams, 7.3 beside
//! unrelated ones.

use logyard_model::LabelSet;
use std::cmp::Ordering;

/// The labels that decide, most significant first; of the names in one place the first present counts.
pub(crate) const LOCALITY: [&[&str]; 4] =
    [&["compose_project"], &["compose_service", "app", "job"], &["container"], &["host"]];

/// Compares two label sets by locality, then by all labels.
pub(crate) fn compare(left: &LabelSet, right: &LabelSet) -> Ordering {
    for names in LOCALITY {
        let order = place(left, names).cmp(&place(right, names));
        if order.is_ne() {
            return order;
        }
    }
    left.cmp(right)
}

fn place<'a>(labels: &'a LabelSet, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(name).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_come_before_services_before_containers() {
        let set = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs.iter().copied());
        let mut sets = [
            set(&[("compose_project", "b"), ("compose_service", "a"), ("container", "1")]),
            set(&[("compose_project", "a"), ("compose_service", "z"), ("container", "2")]),
            set(&[("compose_project", "a"), ("compose_service", "b"), ("container", "9"), ("a", "x")]),
            set(&[("job", "m"), ("host", "h")]),
            set(&[("compose_project", "a"), ("compose_service", "b"), ("container", "9"), ("a", "w")]),
        ];
        sets.sort_by(compare);
        let text: Vec<String> = sets.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                r#"{host="h", job="m"}"#,
                r#"{a="w", compose_project="a", compose_service="b", container="9"}"#,
                r#"{a="x", compose_project="a", compose_service="b", container="9"}"#,
                r#"{compose_project="a", compose_service="z", container="2"}"#,
                r#"{compose_project="b", compose_service="a", container="1"}"#,
            ]
        );
    }
}
