//! Placeholders of a case: `${run}`, `${now-5m}` in ns, `${now_s}` in seconds, `${repeat:x:1000}`, and
//! the names that earlier steps saved. What was put in is turned back in the answers.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Shorter texts may stand in an answer by chance and are not turned back.
const BACK_CHARS_MIN: usize = 4;

const UNITS: [(&str, i64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The values of one case.
pub(crate) struct Placeholders {
    now_ns: i64,
    saved: BTreeMap<String, String>,
    /// What was put in, and what it was put in for.
    back: BTreeMap<String, String>,
}

impl Placeholders {
    /// `run` differs in every run.
    pub(crate) fn new(now_ns: i64, run: &str) -> Self {
        let saved = BTreeMap::from([("run".to_owned(), run.to_owned())]);
        Self { now_ns, saved, back: BTreeMap::new() }
    }

    /// Keeps a value for later steps.
    pub(crate) fn save(&mut self, name: &str, value: String) {
        self.saved.insert(name.to_owned(), value);
    }

    /// Fills in a text.
    pub(crate) fn put(&mut self, text: &str) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                rest = after;
                filled.push_str("${");
                continue;
            };
            match self.value(name) {
                Some(value) => filled.push_str(&value),
                None => filled.extend(["${", name, "}"]),
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    /// Fills in every text of a document, names included.
    pub(crate) fn put_all(&mut self, value: &Value) -> Value {
        map(value, &mut |text| self.put(text))
    }

    /// Turns what was filled in back into its placeholder.
    pub(crate) fn take_all(&self, value: &Value) -> Value {
        if self.back.is_empty() {
            return value.clone();
        }
        if let Value::Number(number) = value {
            let back = number.as_i64().and_then(|whole| self.back.get(&whole.to_string()));
            return back.map_or_else(|| value.clone(), |text| Value::from(text.as_str()));
        }
        match value {
            Value::Array(elements) => elements.iter().map(|element| self.take_all(element)).collect(),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (self.take(name), self.take_all(value)));
                Value::Object(members.collect())
            }
            Value::String(text) => Value::from(self.take(text)),
            other => other.clone(),
        }
    }

    fn take(&self, text: &str) -> String {
        let mut pairs: Vec<_> = self.back.iter().filter(|(put, _)| put.len() >= BACK_CHARS_MIN).collect();
        // The longest first: one may be part of another.
        pairs.sort_by_key(|(put, _)| std::cmp::Reverse(put.len()));
        pairs
            .into_iter()
            .fold(text.to_owned(), |text, (put, placeholder)| text.replace(put.as_str(), placeholder))
    }

    fn value(&mut self, name: &str) -> Option<String> {
        if let Some(repeated) = name.strip_prefix("repeat:") {
            let (text, count) = repeated.split_once(':').unwrap();
            return Some(text.repeat(count.parse().unwrap()));
        }
        let value = if let Some(offset) = name.strip_prefix("now_s") {
            (self.now_ns + offset_ns(offset)).div_euclid(1_000_000_000).to_string()
        } else if let Some(offset) = name.strip_prefix("now") {
            (self.now_ns + offset_ns(offset)).to_string()
        } else {
            self.saved.get(name)?.clone()
        };
        self.back.insert(value.clone(), format!("${{{name}}}"));
        Some(value)
    }
}

fn map(value: &Value, change: &mut impl FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::from(change(text)),
        Value::Array(elements) => elements.iter().map(|element| map(element, change)).collect(),
        Value::Object(members) => {
            let mut changed = Map::new();
            for (name, member) in members {
                changed.insert(change(name), map(member, change));
            }
            Value::Object(changed)
        }
        other => other.clone(),
    }
}

/// Reads `+1h30m` or `-5m`; empty is 0.
fn offset_ns(text: &str) -> i64 {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total_ns = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_lowercase).count());
        let (_, unit_ns) = UNITS.iter().find(|known| known.0 == unit).unwrap();
        total_ns += number.parse::<i64>().unwrap() * unit_ns;
        rest = after;
    }
    sign * total_ns
}

#[test]
fn what_goes_in_comes_out() {
    let mut placeholders = Placeholders::new(1_000_000_000_000, "ab12cd");
    let put =
        placeholders.put_all(&serde_json::json!({"${run}": ["${now-5m}", "${now_s+1h1s}", "${other}", "$"]}));
    assert_eq!(put, serde_json::json!({"ab12cd": ["700000000000", "4601", "${other}", "$"]}));
    let back = placeholders.take_all(&serde_json::json!(["x-ab12cd", 4601, 4601.5, "700000000000"]));
    assert_eq!(back, serde_json::json!(["x-${run}", "${now_s+1h1s}", 4601.5, "${now-5m}"]));
    assert_eq!(placeholders.put("${repeat:x:3}|${open"), "xxx|${open");
}
