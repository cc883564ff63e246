//! Compares an answer with the recorded one: the first place that differs, or nothing.
//!
//! Sample values are equal within 1e-9 relative, sample times within half a millisecond, everything else
//! exactly. The wording of `__error_details__` is free, its presence is not.

use crate::answer::Answer;
use crate::case::{Mode, Step};
use crate::compare_series::{free_details, series};
use serde_json::Value;

/// Longest piece of an answer in a difference.
const SHOWN_CHARS_MAX: usize = 200;

const VALUE_TOLERANCE: f64 = 1e-9;
/// Values that are rounding noise around zero count as zero.
const ZERO_TOLERANCE: f64 = 1e-12;
const TIME_TOLERANCE_SECS: f64 = 0.0005;

/// Says where two answers differ, what was wanted there and what came.
pub(crate) type Compared = Result<(), String>;

/// Compares under the mode of a step.
pub(crate) fn compare(want: &Answer, got: &Answer, step: &Step) -> Compared {
    if step.mode == Mode::Error {
        let refused = got.status >= 400;
        return check(refused, || format!("status: want a refusal ({}), got {}", want.status, got.status));
    }
    if want.status != got.status {
        let text = short_text(&got.error_text());
        return Err(format!("status: want {}, got {} ({text})", want.status, got.status));
    }
    match step.mode {
        Mode::StatusOnly => Ok(()),
        _ if want.status >= 400 => refusal(want, got, step),
        _ => success(want, got, step.mode),
    }
}

fn refusal(want: &Answer, got: &Answer, step: &Step) -> Compared {
    let (want, got) = (want.error_text(), got.error_text());
    if step.mode == Mode::ErrorPrefix {
        let prefix = step.prefix.as_deref().unwrap_or(&want).trim();
        let fits = got.starts_with(prefix);
        return check(fits, || differ("error text", &Value::from(prefix), &Value::from(got.as_str())));
    }
    check(want == got, || differ("error text", &Value::from(want.as_str()), &Value::from(got.as_str())))
}

fn success(want: &Answer, got: &Answer, mode: Mode) -> Compared {
    if want.media_type != got.media_type {
        return Err(format!("media type: want {:?}, got {:?}", want.media_type, got.media_type));
    }
    if mode == Mode::Shape {
        return shape(&want.body, &got.body);
    }
    if want.media_type.ends_with("yaml")
        && let Value::String(text) = &want.body
    {
        let got_text = got.body.as_str().unwrap_or_default();
        let got_value =
            yaml(got_text).map_err(|error| format!("body: not YAML ({error}): {}", short(&got.body)))?;
        return generic(&yaml(text).unwrap(), &got_value, "", mode);
    }
    let (want, got) = (free_details(&want.body), free_details(&got.body));
    if is_empty_list(&want) && is_empty_list(&got) {
        return Ok(());
    }
    let Some(kind) = want.pointer("/data/resultType") else { return generic(&want, &got, "", mode) };
    let Some(got_data) = got.get("data").filter(|data| data.is_object()) else {
        return Err(differ("body", &want, &got));
    };
    let got_kind = got_data.get("resultType").unwrap_or(&Value::Null);
    if kind != got_kind {
        return Err(differ("data.resultType", kind, got_kind));
    }
    let result = |body: &Value| body.pointer("/data/result").unwrap_or(&Value::Null).clone();
    let (want_result, got_result) = (result(&want), result(&got));
    match kind.as_str() {
        Some(kind @ ("streams" | "matrix" | "vector")) => series(kind, &want_result, &got_result, mode)?,
        Some("scalar") => sample(&want_result, &got_result, "data.result")?,
        _ => generic(&want_result, &got_result, "data.result", mode)?,
    }
    let rest = |mut body: Value| {
        body["data"].as_object_mut().unwrap().remove("result");
        body
    };
    generic(&rest(want), &rest(got), "", mode)
}

/// A list that is empty may also be left out.
fn is_empty_list(body: &Value) -> bool {
    let Value::Object(members) = body else { return false };
    let no_data = match members.get("data") {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    no_data
        && members.get("status").is_some_and(|status| status == "success")
        && members.keys().all(|name| name == "status" || name == "data")
}

fn shape(want: &Value, got: &Value) -> Compared {
    let Value::Object(members) = want else { return Ok(()) };
    if !got.is_object() {
        return Err(differ("body", want, got));
    }
    for (name, member) in members {
        let Some(found) = got.get(name) else { return Err(format!("body: {name:?} is missing")) };
        if kind(member) != kind(found) || (name == "status" && member != found) {
            return Err(differ(name, member, found));
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Compares any two documents.
pub(crate) fn generic(want: &Value, got: &Value, path: &str, mode: Mode) -> Compared {
    let place = if path.is_empty() { "body" } else { path };
    match (want, got) {
        (Value::Number(a), Value::Number(b)) => {
            let same = near(a.as_f64().unwrap(), b.as_f64().unwrap());
            check(same, || differ(place, want, got))
        }
        (Value::Object(a), Value::Object(b)) => {
            if let Some(missing) = a.keys().find(|name| !b.contains_key(*name)) {
                return Err(format!("{place}: {missing:?} is missing"));
            }
            if let Some(extra) = b.keys().find(|name| !a.contains_key(*name)) {
                return Err(format!("{place}: {extra:?} is unexpected"));
            }
            a.iter().try_for_each(|(name, member)| {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                generic(member, &b[name], &inner, mode)
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Err(format!("{place}: want {} elements, got {}{}", a.len(), b.len(), odd_ones(a, b)));
            }
            let (mut a, mut b) = (a.clone(), b.clone());
            if mode == Mode::Unordered {
                a.sort_by_cached_key(Value::to_string);
                b.sort_by_cached_key(Value::to_string);
            }
            a.iter()
                .zip(&b)
                .enumerate()
                .try_for_each(|(index, (a, b))| generic(a, b, &format!("{path}[{index}]"), mode))
        }
        _ => check(want == got, || differ(place, want, got)),
    }
}

/// Compares two samples: `[unix seconds, "value"]`.
pub(crate) fn sample(want: &Value, got: &Value, path: &str) -> Compared {
    let parts = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([time, Value::String(text)]) => time.as_f64().map(|secs| (secs, text.clone())),
        _ => None,
    };
    let (Some((want_secs, want_text)), Some((got_secs, got_text))) = (parts(want), parts(got)) else {
        return check(want == got, || differ(path, want, got));
    };
    if (want_secs - got_secs).abs() > TIME_TOLERANCE_SECS {
        return Err(differ(&format!("{path}[0]"), &want[0], &got[0]));
    }
    let same = want_text == got_text
        || matches!((want_text.parse(), got_text.parse()), (Ok(a), Ok(b)) if near(a, b));
    check(same, || differ(&format!("{path}[1]"), &want[1], &got[1]))
}

fn near(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let largest = a.abs().max(b.abs());
    // A distance to an infinity or to NaN is never small.
    largest.is_finite() && (a - b).abs() <= (VALUE_TOLERANCE * largest).max(ZERO_TOLERANCE)
}

/// Reads YAML with every scalar as its text: `1m` and `"1m"` are one.
fn yaml(text: &str) -> Result<Value, serde_yaml_ng::Error> {
    fn texts(value: serde_yaml_ng::Value) -> Value {
        use serde_yaml_ng::Value as Yaml;
        match value {
            Yaml::Null => Value::from(""),
            Yaml::Bool(value) => Value::from(value.to_string()),
            Yaml::Number(number) => Value::from(number.to_string()),
            Yaml::String(text) => Value::from(text),
            Yaml::Sequence(elements) => elements.into_iter().map(texts).collect(),
            Yaml::Mapping(members) => {
                let name = |key: Yaml| texts(key).as_str().unwrap_or_default().to_owned();
                Value::Object(members.into_iter().map(|(key, value)| (name(key), texts(value))).collect())
            }
            Yaml::Tagged(tagged) => texts(tagged.value),
        }
    }
    serde_yaml_ng::from_str(text).map(texts)
}

/// Names an element that only one of two lists has.
pub(crate) fn odd_ones(want: &[Value], got: &[Value]) -> String {
    let mut text = String::new();
    if let Some(missing) = want.iter().find(|element| !got.contains(element)) {
        text.push_str(&format!("; missing {}", short(missing)));
    }
    if let Some(extra) = got.iter().find(|element| !want.contains(element)) {
        text.push_str(&format!("; unexpected {}", short(extra)));
    }
    text
}

pub(crate) fn check(same: bool, difference: impl FnOnce() -> String) -> Compared {
    if same { Ok(()) } else { Err(difference()) }
}

pub(crate) fn differ(place: &str, want: &Value, got: &Value) -> String {
    format!("{place}: want {}, got {}", short(want), short(got))
}

/// Prints a value, cut to what a reader can take in.
pub(crate) fn short(value: &Value) -> String {
    short_text(&value.to_string())
}

/// Cuts a text to what a reader can take in.
pub(crate) fn short_text(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut}… ({count} characters)")
}

#[test]
fn values_and_times_have_a_tolerance() {
    use serde_json::json;
    let check = |want: Value, got: Value, same: bool| {
        assert_eq!(sample(&want, &got, "").is_ok(), same, "{want} {got}");
    };
    check(json!([5, "1"]), json!([5.0004, "1.0000000001"]), true);
    check(json!([5, "1"]), json!([5.001, "1"]), false);
    check(json!([5, "1"]), json!([5, "1.00001"]), false);
    check(json!([5, "NaN"]), json!([5, "NaN"]), true);
    check(json!([5, "+Inf"]), json!([5, "1e300"]), false);
    check(json!([5, "0"]), json!([5, "1e-15"]), true);
    check(json!([5, "1"]), json!([5, 1]), false);
    check(json!([5, "1"]), json!(["5", "1"]), false);
}

#[test]
fn documents_differ_in_one_place() {
    use serde_json::json;
    let want = json!({"a": [1, 2, {"b": true}]});
    assert_eq!(generic(&want, &json!({"a": [{"b": true}, 2, 1]}), "", Mode::Unordered), Ok(()));
    for (got, mode, expect) in [
        (json!({"a": [2, 1, {"b": true}]}), Mode::Exact, "a[0]: want 1, got 2"),
        (json!({"a": [1, 2, {"b": 1}]}), Mode::Unordered, "a[2].b: want true, got 1"),
        (json!({"a": [1, 2]}), Mode::Exact, "a: want 3 elements, got 2; missing {\"b\":true}"),
        (json!({}), Mode::Exact, "body: \"a\" is missing"),
        (json!({"a": [1, 2, {"b": true}], "c": 1}), Mode::Exact, "body: \"c\" is unexpected"),
    ] {
        assert_eq!(generic(&want, &got, "", mode), Err(expect.to_owned()));
    }
    let rule = |text: &str| yaml(text).unwrap();
    assert_eq!(rule("for: 1m\nx: [1, 'a']"), rule("x:\n- \"1\"\n- a\nfor: \"1m\""));
}
