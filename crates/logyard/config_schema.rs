//! The contract of the config file, generated from the settings: a JSON Schema for editors and a page
//! for people. Both are checked in under `schemas`; a test fails when they are stale.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::Settings;
use crate::config_units::Unit;

/// Returns the JSON Schema, pretty-printed. Numbers with a unit may also be texts such as `64MiB`.
pub fn json_schema() -> String {
    let mut schema = schemars::schema_for!(Settings).to_value();
    allow_units(&mut schema);
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), json!("Logyard settings, version 1"));
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns the reference page in Markdown.
pub fn reference_page() -> String {
    let schema = schemars::schema_for!(Settings).to_value();
    let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
    let mut page = String::from(
        "# Settings\n\n\
         Generated from the settings structs by a test of `crates/logyard`; run it with `LOGYARD_BLESS=1` to\n\
         regenerate. Version 1.\n\n\
         - Without any file everything has a good default. `logyard --config logyard.yaml` reads a file; keys are\n  \
           nested as their dots show. `logyard config` prints what is in effect.\n\
         - Every key is also an environment variable: `store.wal.sync` is `LOGYARD_STORE__WAL__SYNC`. Flags win over\n  \
           the environment, the environment wins over the file.\n\
         - Numbers whose name holds `bytes`, `secs` or `ms` also take a text with a unit: `64MiB`, `5GB`, `30d`,\n  \
           `1h30m`, `500ms`.\n\
         - Unknown keys are refused at start, with the line and the nearest valid key.\n",
    );
    let mut writer = PageWriter { root: &schema, page: &mut page, written: Vec::new() };
    writer.section("", &schema, &defaults);
    page
}

/// Lets every integer whose key names a unit be a text as well.
fn allow_units(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                for (key, property) in properties {
                    let integer = property.get("type").is_some_and(|kind| kind == "integer");
                    if let (true, Some(unit), Some(property)) =
                        (integer, Unit::of_key(key), property.as_object_mut())
                    {
                        property.insert("type".to_owned(), json!(["integer", "string"]));
                        property.insert("examples".to_owned(), json!([unit.example().split(' ').next()]));
                    }
                }
            }
            members.values_mut().for_each(allow_units);
        }
        Value::Array(items) => items.iter_mut().for_each(allow_units),
        _ => {}
    }
}

struct PageWriter<'a> {
    root: &'a Value,
    page: &'a mut String,
    /// Definitions of lists' items that have a section, and where: rules and stages stand in several places.
    written: Vec<(&'a Value, String)>,
}

impl<'a> PageWriter<'a> {
    /// Writes the table of one section, then its sub-sections.
    fn section(&mut self, path: &str, schema: &'a Value, defaults: &Value) {
        let root = self.root;
        let schema = resolve(root, schema);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
        let plain: Vec<_> = properties.iter().filter(|(_, inner)| !is_section(root, inner)).collect();
        self.put(&format!("\n## {title}\n\n"));
        if !path.is_empty()
            && let Some(text) = one_line(schema)
        {
            self.put(&format!("{text}\n\n"));
        }
        if !plain.is_empty() {
            self.put("| Key | Default | Meaning |\n|---|---|---|\n");
        }
        for (key, property) in plain {
            let default = default_text(key, defaults.get(key).unwrap_or(&Value::Null));
            let meaning = one_line(property).unwrap_or_default();
            let choices = choices(root, property);
            self.put(&format!("| `{key}` | {default} | {meaning}{choices} |\n"));
        }
        let empty = Value::Object(Map::new());
        for (key, property) in properties {
            if let Some(inner) = optional(property).filter(|inner| is_section(root, inner)) {
                self.section(&format!("{path}.{key}"), inner, &empty);
            }
        }
        for (key, property) in properties.iter().filter(|(_, inner)| is_section(root, inner)) {
            let inner_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.section(&inner_path, property, defaults.get(key).unwrap_or(&empty));
        }
        for (key, property) in properties {
            if let Some(items) = property.get("items").filter(|items| is_section(root, items)) {
                let inner_path = if path.is_empty() { format!("{key}[]") } else { format!("{path}.{key}[]") };
                let items = resolve(root, items);
                let before = self.written.iter().find(|(written, _)| std::ptr::eq(*written, items));
                if let Some((_, before)) = before {
                    let text = format!("\n## `{inner_path}`\n\nKeys as in `{before}`, above.\n");
                    self.put(&text);
                    continue;
                }
                self.written.push((items, inner_path.clone()));
                self.section(&inner_path, items, &empty);
            }
        }
    }

    fn put(&mut self, text: &str) {
        self.page.push_str(text);
    }
}

/// Follows a reference to the definition it names.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
    name.and_then(|name| root.get("$defs")?.get(name)).unwrap_or(schema)
}

/// Returns what a value that may be absent is if it is there.
fn optional(schema: &Value) -> Option<&Value> {
    let options = schema.get("anyOf")?.as_array()?;
    options.iter().find(|option| option.get("type").is_none_or(|kind| kind != "null"))
}

fn is_section(root: &Value, schema: &Value) -> bool {
    resolve(root, schema).get("properties").and_then(Value::as_object).is_some_and(|keys| !keys.is_empty())
}

/// Writes what each value of a choice means.
fn choices(root: &Value, schema: &Value) -> String {
    let options = resolve(root, schema).get("oneOf").and_then(Value::as_array);
    let mut text = String::new();
    for option in options.into_iter().flatten() {
        let Some(value) = option.get("const").and_then(Value::as_str) else { continue };
        let meaning = one_line(option).unwrap_or_default();
        write!(text, "<br>`{value}`: {meaning}").unwrap_or_default();
    }
    text
}

/// Returns a schema's description on one line, safe inside a table.
fn one_line(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"))
}

fn default_text(key: &str, value: &Value) -> String {
    match (value, Unit::of_key(key)) {
        (Value::Null, _) => "–".to_owned(),
        (Value::String(text), _) if text.is_empty() => "empty".to_owned(),
        (Value::String(text), _) => format!("`{text}`"),
        (Value::Number(number), Some(unit)) => match number.as_u64() {
            Some(number) => format!("`{}`", unit.print(number)),
            None => format!("`{number}`"),
        },
        (other, _) => format!("`{other}`"),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests read and write the checked-in pages")]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares a generated text with its file, or writes it when asked to.
    fn check_fresh(name: &str, generated: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        if std::env::var_os("LOGYARD_BLESS").is_some() {
            std::fs::write(&path, generated).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == generated, "schemas/{name} is stale; run the tests once with LOGYARD_BLESS=1");
    }

    #[test]
    fn schema_is_fresh() {
        check_fresh("config.schema.json", &json_schema());
    }

    #[test]
    fn page_is_fresh() {
        check_fresh("config.md", &reference_page());
    }

    #[test]
    fn every_setting_is_documented() {
        let schema = schemars::schema_for!(Settings).to_value();
        let mut missing = Vec::new();
        let definitions = schema.get("$defs").and_then(Value::as_object).unwrap();
        let all =
            definitions.iter().map(|(name, inner)| (name.as_str(), inner)).chain([("Settings", &schema)]);
        for (name, inner) in all {
            for (key, property) in inner.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if property.get("description").is_none() {
                    missing.push(format!("{name}.{key}"));
                }
            }
        }
        assert!(missing.is_empty(), "settings without a doc comment: {missing:?}");
    }

    #[test]
    fn units_are_in_the_schema_and_the_page() {
        assert!(json_schema().contains("\"64MiB\""));
        assert!(reference_page().contains("| `age_secs_max` | `30m` |"));
    }
}
