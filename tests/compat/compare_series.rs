//! Compares streams, matrices and vectors: label sets first, then what each holds.

use crate::case::Mode;
use crate::compare::{Compared, check, differ, generic, odd_ones, sample, short, short_text};
use serde_json::Value;
use std::collections::BTreeMap;

const PATH: &str = "data.result";

/// Compares two results of a kind: `streams`, `matrix` or `vector`.
pub(crate) fn series(kind: &str, want: &Value, got: &Value, mode: Mode) -> Compared {
    let key = if kind == "streams" { "stream" } else { "metric" };
    let empty = Vec::new();
    let want_list = want.as_array().unwrap_or(&empty);
    let got_list = match got {
        Value::Null => &empty,
        Value::Array(list) => list,
        _ => return Err(differ(PATH, want, got)),
    };
    let (want_sets, got_sets) = (by_labels(want_list, key)?, by_labels(got_list, key)?);
    let counts = || format!("want {} label sets, got {}", want_sets.len(), got_sets.len());
    if let Some(labels) = want_sets.keys().find(|labels| !got_sets.contains_key(*labels)) {
        let instead = got_sets.keys().find(|labels| !want_sets.contains_key(*labels));
        let instead =
            instead.map_or_else(String::new, |labels| format!("; got instead {}", short_text(labels)));
        return Err(format!("{PATH}: missing {} ({}{instead})", short_text(labels), counts()));
    }
    if let Some(labels) = got_sets.keys().find(|labels| !want_sets.contains_key(*labels)) {
        return Err(format!("{PATH}: unexpected {} ({})", short_text(labels), counts()));
    }
    if mode == Mode::Exact {
        for (index, (a, b)) in want_list.iter().zip(got_list).enumerate() {
            check(a[key] == b[key], || differ(&format!("{PATH}[{index}], order"), &a[key], &b[key]))?;
        }
    }
    want_sets.iter().try_for_each(|(labels, &a)| {
        let path = format!("{PATH}[{}]", short_text(labels));
        let b = got_sets[labels];
        match kind {
            "streams" => entries(a, b, mode, &path),
            _ if mode == Mode::Labels => numbers(b, &path),
            "matrix" => points(a, b, &path),
            _ => sample(&a["value"], &b["value"], &format!("{path}.value")),
        }
    })
}

/// Label sets as canonical text, each once.
fn by_labels<'a>(list: &'a [Value], key: &str) -> Result<BTreeMap<String, &'a Value>, String> {
    let mut sets = BTreeMap::new();
    for (index, element) in list.iter().enumerate() {
        let Some(labels) = element.get(key).filter(|labels| labels.is_object()) else {
            return Err(format!("{PATH}[{index}]: want an object with {key:?}, got {}", short(element)));
        };
        if sets.insert(labels.to_string(), element).is_some() {
            return Err(format!("{PATH}: label set {} appears twice", short(labels)));
        }
    }
    Ok(sets)
}

fn values<'a>(of: &'a Value, path: &str) -> Result<&'a [Value], String> {
    match of.get("values") {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("{path}.values: want a list, got {}", short(other))),
    }
}

fn entries(want: &Value, got: &Value, mode: Mode, path: &str) -> Compared {
    let (mut want, mut got) = (values(want, path)?.to_vec(), values(got, path)?.to_vec());
    if want.len() != got.len() {
        let odd = odd_ones(&want, &got);
        return Err(format!("{path}.values: want {} entries, got {}{odd}", want.len(), got.len()));
    }
    if mode != Mode::Exact {
        settle(&mut want);
        settle(&mut got);
    }
    want.iter()
        .zip(&got)
        .enumerate()
        .try_for_each(|(index, (a, b))| generic(a, b, &format!("{path}.values[{index}]"), Mode::Exact))
}

/// Brings entries of one timestamp into one order; timestamps stay where they are.
fn settle(entries: &mut [Value]) {
    for tied in entries.chunk_by_mut(|a, b| a.get(0) == b.get(0)) {
        tied.sort_by_cached_key(Value::to_string);
    }
}

fn points(want: &Value, got: &Value, path: &str) -> Compared {
    let (want, got) = (values(want, path)?, values(got, path)?);
    want.iter()
        .zip(got)
        .enumerate()
        .try_for_each(|(index, (a, b))| sample(a, b, &format!("{path}.values[{index}]")))?;
    check(want.len() == got.len(), || format!("{path}.values: want {} points, got {}", want.len(), got.len()))
}

/// Under the mode `labels`, numbers only have to be numbers.
fn numbers(of: &Value, path: &str) -> Compared {
    let one = of.get("value").cloned().unwrap_or_default();
    let list = of.get("values").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![one]);
    list.iter().try_for_each(|point| {
        let number = point.get(1).is_some_and(|value| match value {
            Value::String(text) => text.parse::<f64>().is_ok(),
            other => other.is_number(),
        });
        check(number, || format!("{path}: want [time, \"number\"], got {}", short(point)))
    })
}

/// Replaces the wording of `__error_details__`, which is a matter of the implementation, and joins the
/// streams that become equal.
pub(crate) fn free_details(body: &Value) -> Value {
    const NAME: &str = "__error_details__";
    let mut body = body.clone();
    if !body.to_string().contains(NAME) {
        return body;
    }
    let free = |labels: &mut Value| {
        if let Some(details) = labels.get_mut(NAME) {
            *details = Value::from("*");
        }
    };
    let is_streams = body.pointer("/data/resultType").is_some_and(|kind| kind == "streams");
    let Some(result) = body.pointer_mut("/data/result").and_then(Value::as_array_mut) else { return body };
    for element in result.iter_mut() {
        if let Some(labels) = element.get_mut("metric") {
            free(labels);
        }
        if let Some(labels) = element.get_mut("stream") {
            free(labels);
        }
        // Categorised labels stand beside the entry.
        let entries = element.get_mut("values").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            for (_, labels) in entry.get_mut(2).and_then(Value::as_object_mut).into_iter().flatten() {
                free(labels);
            }
        }
    }
    if is_streams {
        *result = joined(std::mem::take(result));
    }
    body
}

fn joined(streams: Vec<Value>) -> Vec<Value> {
    let mut parts: Vec<(Value, Vec<Vec<Value>>)> = Vec::new();
    for mut stream in streams {
        let entries = stream["values"].as_array_mut().map(std::mem::take).unwrap_or_default();
        match parts.iter_mut().find(|(labels, _)| *labels == stream["stream"]) {
            Some((_, lists)) => lists.push(entries),
            None => parts.push((stream["stream"].take(), vec![entries])),
        }
    }
    let join = |(labels, lists): (Value, Vec<Vec<Value>>)| {
        let time = |entry: &Value| entry[0].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let is_backward =
            lists.iter().any(|list| list.windows(2).any(|pair| time(&pair[0]) > time(&pair[1])));
        let mut entries: Vec<Value> = lists.into_iter().flatten().collect();
        if is_backward {
            entries.sort_by_key(|entry| std::cmp::Reverse(time(entry)));
        } else {
            entries.sort_by_key(time);
        }
        serde_json::json!({ "stream": labels, "values": entries })
    };
    parts.into_iter().map(join).collect()
}

#[test]
fn streams_are_compared_entry_by_entry() {
    use serde_json::json;
    let want = json!([
        {"stream": {"a": "1"}, "values": [["5", "x"], ["5", "y"], ["6", "z"]]},
        {"stream": {"a": "2"}, "values": []},
    ]);
    let swapped = json!([
        {"stream": {"a": "2"}, "values": []},
        {"stream": {"a": "1"}, "values": [["5", "y"], ["5", "x"], ["6", "z"]]},
    ]);
    assert_eq!(series("streams", &want, &swapped, Mode::Unordered), Ok(()));
    assert!(series("streams", &want, &swapped, Mode::Exact).unwrap_err().contains("order"));
    let check = |got: Value, expect: &str| {
        let text = series("streams", &want, &got, Mode::Unordered).unwrap_err();
        assert!(text.contains(expect), "{text}");
    };
    check(json!([want[0]]), "missing {\"a\":\"2\"} (want 2 label sets, got 1)");
    check(json!([want[0], want[0]]), "appears twice");
    check(json!([{"stream": {"a": "1"}, "values": [["5", "x"]]}, want[1]]), "want 3 entries, got 1; missing");
    check(
        json!([{"stream": {"a": "1"}, "values": [["5", "x"], ["6", "y"], ["6", "z"]]}, want[1]]),
        "values[1][0]: want \"5\", got \"6\"",
    );
}

#[test]
fn the_wording_of_details_is_free() {
    use serde_json::json;
    let body = |details: [&str; 2]| {
        let stream = |details: &str, at: &str| json!({"stream": {"a": "1", "__error_details__": details}, "values": [[at, "x"], ["1", "y"]]});
        json!({"data": {"resultType": "streams", "result": [stream(details[0], "9"), stream(details[1], "8")]}})
    };
    let free = free_details(&body(["p", "q"]));
    assert_eq!(free, free_details(&body(["r", "r"])));
    let values = &free["data"]["result"][0]["values"];
    assert_eq!(*values, json!([["9", "x"], ["8", "x"], ["1", "y"], ["1", "y"]]));
}
