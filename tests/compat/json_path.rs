//! Members of a JSON document by path: `data.groups.*.name`, where `*` is any member or element.

use serde_json::Value;

/// Removes what the path leads to: members go, elements become null so that the others keep their place.
pub(crate) fn forget(value: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (value, rest) {
        (Value::Object(members), None) => members.retain(|name, _| first != "*" && name != first),
        (Value::Object(members), Some(rest)) => {
            for (_, member) in members.iter_mut().filter(|(name, _)| first == "*" || *name == first) {
                forget(member, rest);
            }
        }
        (Value::Array(elements), rest) => {
            for (index, element) in elements.iter_mut().enumerate() {
                if first == "*" || *first == index.to_string() {
                    match rest {
                        Some(rest) => forget(element, rest),
                        None => *element = Value::Null,
                    }
                }
            }
        }
        _ => {}
    }
}

/// Returns what the path leads to.
pub(crate) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    })
}

#[test]
fn paths_lead_to_members() {
    let mut value = serde_json::json!({"a": [{"b": 1, "c": 2}, {"b": 3}], "d": 4});
    assert_eq!(find(&value, "a.1.b"), Some(&Value::from(3)));
    forget(&mut value, "a.*.b");
    forget(&mut value, "a.1");
    forget(&mut value, "d");
    assert_eq!(value, serde_json::json!({"a": [{"c": 2}, null]}));
}
