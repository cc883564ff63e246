//! Checks a config document against the schema of the settings, before serde sees it.
//!
//! The schema is generated from the same structs, so it cannot disagree with them. Checking first gives
//! what serde cannot: the path of a fault, hence its line, the nearest valid key, and numbers written
//! with units. Texts are turned into what the schema wants (`"30d"`, `"true"` from the environment).

use logyard_rules::Step;
use serde_json::Value as Schema;
use serde_yaml_ng::{Mapping, Number, Value};

use crate::config_units::Unit;

/// Deepest nesting that is looked at: stages inside `match` inside `match` are four levels each.
const DEPTH_MAX: usize = 64;

/// Least likeness (0 to 1) at which a key is offered instead of an unknown one.
const LIKENESS_MIN: f64 = 0.6;

/// What is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Way from the top of the document.
    pub(crate) path: Vec<Step>,
    /// What is wrong, without the place.
    pub(crate) text: String,
}

/// Returns the document in the form the settings want. Errors: the first fault.
pub(crate) fn check(document: &Value, schema: &Schema) -> Result<Value, Fault> {
    let mut checker = Checker { root: schema, path: Vec::new() };
    checker.value(document, schema, "")
}

struct Checker<'s> {
    root: &'s Schema,
    path: Vec<Step>,
}

impl<'s> Checker<'s> {
    fn fault(&self, text: impl Into<String>) -> Fault {
        Fault { path: self.path.clone(), text: text.into() }
    }

    /// Follows a reference to the definition it names.
    fn resolve(&self, schema: &'s Schema) -> &'s Schema {
        let name = schema.get("$ref").and_then(Schema::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        name.and_then(|name| self.root.get("$defs")?.get(name)).unwrap_or(schema)
    }

    fn value(&mut self, value: &Value, schema: &'s Schema, key: &str) -> Result<Value, Fault> {
        if self.path.len() > DEPTH_MAX {
            return Err(self.fault(format!("is nested deeper than {DEPTH_MAX} levels")));
        }
        let schema = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            return self.choice(value, &choices);
        }
        if let Some(options) = schema.get("anyOf").and_then(Schema::as_array) {
            let nullable = options.iter().any(|option| is_type(option, "null"));
            let inner = options.iter().find(|option| !is_type(option, "null"));
            return match (value, inner) {
                (Value::Null, _) if nullable => Ok(Value::Null),
                (value, Some(inner)) => self.value(value, inner, key),
                (value, None) => Ok(value.clone()),
            };
        }
        if value.is_null() && is_type(schema, "null") {
            return Ok(Value::Null);
        }
        if is_type(schema, "object") {
            return self.mapping(value, schema, key);
        }
        if is_type(schema, "array") {
            return self.list(value, schema, key);
        }
        self.scalar(value, schema, key)
    }

    fn mapping(&mut self, value: &Value, schema: &'s Schema, key: &str) -> Result<Value, Fault> {
        let empty = Mapping::new();
        let entries = match value {
            Value::Mapping(entries) => entries,
            // A section with all its keys commented out.
            Value::Null => &empty,
            other => return Err(self.fault(format!("want keys and values, got {}", shown(other)))),
        };
        let properties = schema.get("properties").and_then(Schema::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut checked = Mapping::new();
        for (name, inner) in entries {
            let name = match name {
                Value::String(name) => name.clone(),
                other => shown(other),
            };
            self.path.push(Step::Key(name.clone()));
            let (inner_schema, inner_key) = match (properties.and_then(|known| known.get(&name)), others) {
                (Some(known), _) => (known, name.as_str()),
                (None, Some(others)) => (others, key),
                (None, None) => return Err(self.unknown(&name, properties)),
            };
            let value = self.value(inner, inner_schema, inner_key)?;
            self.path.pop();
            checked.insert(Value::String(name), value);
        }
        Ok(Value::Mapping(checked))
    }

    fn unknown(&self, name: &str, properties: Option<&serde_json::Map<String, Schema>>) -> Fault {
        let known: Vec<&str> = properties.into_iter().flatten().map(|(known, _)| known.as_str()).collect();
        let text = match nearest(name, &known) {
            Some(near) => format!("is no setting; the nearest valid key is {near:?}"),
            None => format!("is no setting; valid keys here are {}", known.join(", ")),
        };
        self.fault(text)
    }

    fn list(&mut self, value: &Value, schema: &'s Schema, key: &str) -> Result<Value, Fault> {
        let items = match value {
            Value::Sequence(items) => items,
            // A list that may be written as its only item.
            Value::String(_) if is_type(schema, "string") => return Ok(value.clone()),
            other => return Err(self.fault(format!("want a list such as [a, b], got {}", shown(other)))),
        };
        let Some(item_schema) = schema.get("items") else { return Ok(value.clone()) };
        let mut checked = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Item(index));
            checked.push(self.value(item, item_schema, key)?);
            self.path.pop();
        }
        Ok(Value::Sequence(checked))
    }

    fn choice(&self, value: &Value, choices: &[&str]) -> Result<Value, Fault> {
        let text = scalar_text(value);
        if let Some(text) = text.as_deref().filter(|text| choices.contains(text)) {
            return Ok(Value::String(text.to_owned()));
        }
        Err(self.fault(format!("want one of {}, got {}", choices.join(", "), shown(value))))
    }

    fn scalar(&self, value: &Value, schema: &Schema, key: &str) -> Result<Value, Fault> {
        let is_text = is_type(schema, "string");
        if is_text && is_type(schema, "integer") {
            // A type with a text form of its own, which reads both.
            return match value {
                Value::String(_) | Value::Number(_) => Ok(value.clone()),
                other => Err(self.fault(format!("want a text or a number, got {}", shown(other)))),
            };
        }
        if is_type(schema, "integer") {
            return self.integer(value, schema, key);
        }
        if is_type(schema, "boolean") {
            let text = scalar_text(value);
            return match text.as_deref() {
                Some("true" | "on" | "yes") => Ok(Value::Bool(true)),
                Some("false" | "off" | "no") => Ok(Value::Bool(false)),
                _ => Err(self.fault(format!("want true or false, got {}", shown(value)))),
            };
        }
        if is_type(schema, "number") {
            let number = scalar_text(value).and_then(|text| text.parse::<f64>().ok());
            let number = number.ok_or_else(|| self.fault(format!("want a number, got {}", shown(value))))?;
            return Ok(Value::Number(Number::from(number)));
        }
        if is_text {
            let text = scalar_text(value);
            return text
                .map(Value::String)
                .ok_or_else(|| self.fault(format!("want a text, got {}", shown(value))));
        }
        Ok(value.clone())
    }

    fn integer(&self, value: &Value, schema: &Schema, key: &str) -> Result<Value, Fault> {
        let unit = Unit::of_key(key);
        let text = scalar_text(value).unwrap_or_default();
        let number = match unit {
            Some(unit) => unit.parse(&text).map(i128::from),
            None => text.parse::<i128>().ok(),
        };
        let example = unit.map_or_else(String::new, |unit| format!(" or a text such as {}", unit.example()));
        let Some(number) = number else {
            return Err(self.fault(format!("want a whole number{example}, got {}", shown(value))));
        };
        let bound = |name: &str| schema.get(name).and_then(Schema::as_i64).map(i128::from);
        let format_max = match schema.get("format").and_then(Schema::as_str) {
            Some("uint8") => Some(i128::from(u8::MAX)),
            Some("uint16") => Some(i128::from(u16::MAX)),
            Some("uint32") => Some(i128::from(u32::MAX)),
            _ => None,
        };
        let min = bound("minimum").unwrap_or(i128::from(i64::MIN));
        let max = bound("maximum").or(format_max).unwrap_or(i128::from(u64::MAX));
        if number < min || number > max {
            return Err(self.fault(format!("want {min} to {max}, got {number}")));
        }
        match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => Ok(Value::Number(number.into())),
            (_, Ok(number)) => Ok(Value::Number(number.into())),
            _ => Err(self.fault(format!("want a number of 64 bits, got {number}"))),
        }
    }
}

/// Returns the texts a value may have, if the schema lists them.
fn choices(schema: &Schema) -> Option<Vec<&str>> {
    if let Some(listed) = schema.get("enum").and_then(Schema::as_array) {
        return Some(listed.iter().filter_map(Schema::as_str).collect());
    }
    let options = schema.get("oneOf").and_then(Schema::as_array)?;
    let mut choices = Vec::new();
    for option in options {
        match option.get("const").and_then(Schema::as_str) {
            Some(text) => choices.push(text),
            None => choices.extend(option.get("enum")?.as_array()?.iter().filter_map(Schema::as_str)),
        }
    }
    Some(choices)
}

/// Tells whether a schema allows a type, alone or among others.
fn is_type(schema: &Schema, name: &str) -> bool {
    match schema.get("type") {
        Some(Schema::String(only)) => only == name,
        Some(Schema::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "keys and values".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
    }
}

/// Returns the known key most like an unknown one, if any is like it at all.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let likeness = |candidate: &str| strsim::jaro_winkler(name, candidate);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// Every shape that settings use.
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        /// A text.
        listen: String,
        /// A nested struct.
        flush: Flush,
        /// A list of structs.
        files: Vec<Files>,
        /// A choice with documented values.
        sync: Sync,
        /// Nothing by default.
        token: Option<String>,
        /// Nothing by default, nested.
        extra: Option<Flush>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Flush {
        age_secs_max: u64,
        head_bytes_max: u32,
        on_close: bool,
        ratio: f64,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Files {
        path: Vec<String>,
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Sync {
        /// Documented.
        #[default]
        Always,
        /// Documented as well.
        Interval,
    }

    fn read(text: &str) -> Result<Sample, String> {
        let schema = schemars::schema_for!(Sample).to_value();
        let document: Value = serde_yaml_ng::from_str(text).unwrap();
        let checked = check(&document, &schema).map_err(|fault| {
            let steps: Vec<String> = fault
                .path
                .iter()
                .map(|step| match step {
                    Step::Key(key) => key.clone(),
                    Step::Item(index) => index.to_string(),
                })
                .collect();
            format!("{} {}", steps.join("."), fault.text)
        })?;
        Ok(serde_yaml_ng::from_value(checked).unwrap())
    }

    #[test]
    fn good_documents_pass_with_units() {
        let sample = read(
            "listen: a\nflush: {age_secs_max: 1h30m, head_bytes_max: 64MiB, on_close: 'on', ratio: 1}\n\
             files: [{path: [x], labels: {port: 80}}]\nsync: interval\ntoken: 5\nextra: {age_secs_max: 7}\n",
        )
        .unwrap();
        assert_eq!(
            sample.flush,
            Flush { age_secs_max: 5400, head_bytes_max: 64 << 20, on_close: true, ratio: 1.0 }
        );
        assert_eq!(sample.files[0].labels["port"], "80");
        assert_eq!((sample.sync, sample.token.as_deref()), (Sync::Interval, Some("5")));
        assert_eq!(sample.extra.unwrap().age_secs_max, 7);
    }

    #[test]
    fn empty_documents_and_sections_are_the_defaults() {
        for text in ["", "{}", "flush:\ntoken:\nextra:\n"] {
            assert_eq!(read(text).unwrap(), Sample::default(), "{text}");
        }
    }

    #[test]
    fn faults_name_path_wish_and_finding() {
        for (text, want) in [
            ("lisen: a", "lisen is no setting; the nearest valid key is \"listen\""),
            ("zzz: a", "zzz is no setting; valid keys here are"),
            (
                "flush: {age_sec_max: 1}",
                "flush.age_sec_max is no setting; the nearest valid key is \"age_secs_max\"",
            ),
            ("files: [{}, {paths: []}]", "files.1.paths is no setting; the nearest valid key is \"path\""),
            (
                "flush: {age_secs_max: soon}",
                "flush.age_secs_max want a whole number or a text such as 30d or 1h30m, got \"soon\"",
            ),
            ("flush: {age_secs_max: -1}", "flush.age_secs_max want a whole number"),
            ("flush: {head_bytes_max: 5GiB}", "flush.head_bytes_max want 0 to 4294967295, got 5368709120"),
            ("flush: {on_close: maybe}", "flush.on_close want true or false, got \"maybe\""),
            ("flush: 3", "flush want keys and values, got 3"),
            ("files: x", "files want a list such as [a, b], got \"x\""),
            ("sync: never", "sync want one of always, interval, got \"never\""),
            ("listen: [a]", "listen want a text, got a list"),
            ("files: [{labels: {a: [b]}}]", "files.0.labels.a want a text, got a list"),
            ("5", " want keys and values, got 5"),
        ] {
            let got = read(text).unwrap_err();
            assert!(got.starts_with(want), "{text}\n got {got}\nwant {want}");
        }
    }
}
