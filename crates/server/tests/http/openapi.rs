//! The description of the endpoints: fresh, complete, and true of every answer that the tests of this program get.

use super::*;
use logyard_server::openapi::{document, yaml};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;

/// The description, once there was a server.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// Takes the routes of a server without a prefix.
pub(crate) fn describe(server: &Server) {
    DOCUMENT.get_or_init(|| document(&server.routes()).unwrap());
}

/// Returns the description.
pub(crate) fn described() -> &'static Value {
    DOCUMENT.get().expect("a server was described")
}

/// Holds an answer against the description. What no route answers is none of it.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let document = described();
    let path = path.split('?').next().unwrap();
    let Some(operation) =
        find(document, path).and_then(|described| described.get(method.to_ascii_lowercase()))
    else {
        let is_refused = [404, 405].contains(&answer.status.as_u16());
        assert!(
            is_refused || method == "HEAD",
            "{method} {path} is answered {} and not described",
            answer.status
        );
        return;
    };
    let place = || format!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    let described = operation["responses"].get(answer.status.as_str());
    let described = described.unwrap_or_else(|| panic!("this status is not described: {}", place()));
    let described = match described.get("$ref") {
        None => described,
        Some(target) => document.pointer(target.as_str().unwrap().trim_start_matches('#')).unwrap(),
    };
    let Some(contents) = described.get("content").and_then(Value::as_object) else {
        assert!(answer.body.is_empty(), "no body is described: {}", place());
        return;
    };
    let media = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let content = contents.get(media).unwrap_or_else(|| panic!("{media} is not described: {}", place()));
    if media == "application/json" {
        let body = match answer.headers.get("content-encoding") {
            None => answer.body.to_vec(),
            Some(_) => {
                let mut unpacked = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*answer.body), &mut unpacked)
                    .unwrap();
                unpacked
            }
        };
        let value: Value = serde_json::from_slice(&body).unwrap();
        if let Err(fault) = valid(document, &content["schema"], &value) {
            panic!("{fault}: {}", place());
        }
    }
}

/// Finds the path that a request means, the most exact one.
fn find<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    let fits = |template: &str| {
        let (mut parts, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (parts.next(), given.next()) {
                (None, None) => return true,
                (Some(part), Some(have)) if part == have || (part.starts_with('{') && !have.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let paths = document["paths"].as_object().unwrap();
    let found = paths.iter().filter(|(template, _)| fits(template));
    found.min_by_key(|(template, _)| template.matches('{').count()).map(|(_, described)| described)
}

/// Validates a value: the words of JSON Schema that the description uses, and no others.
fn valid(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let mut faults = Vec::new();
    let all = |schemas: &Value| -> Vec<bool> {
        schemas.as_array().unwrap().iter().map(|schema| valid(document, schema, value).is_ok()).collect()
    };
    for (word, said) in schema.as_object().unwrap() {
        let fault = match word.as_str() {
            "$ref" => {
                let target = document.pointer(said.as_str().unwrap().trim_start_matches('#'));
                valid(document, target.expect("a schema that is there"), value).err()
            }
            "type" => {
                let kinds = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
                (!kinds.iter().any(|kind| is_a(value, kind.as_str().unwrap())))
                    .then(|| format!("{value} is no {said}"))
            }
            "const" => (value != said).then(|| format!("{value} is not {said}")),
            "enum" => {
                (!said.as_array().unwrap().contains(value)).then(|| format!("{value} is none of {said}"))
            }
            "oneOf" => (all(said).iter().filter(|is_it| **is_it).count() != 1)
                .then(|| format!("{value} is not one of the forms")),
            "anyOf" => (!all(said).contains(&true)).then(|| format!("{value} is none of the forms")),
            "allOf" => all(said).contains(&false).then(|| format!("{value} is not all of the forms")),
            "required" => value.as_object().and_then(|members| {
                let missing = said
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|name| !members.contains_key(name.as_str().unwrap()));
                missing.map(|name| format!("{name} is missing in {value}"))
            }),
            "properties" => value.as_object().and_then(|members| {
                let known = members.iter().filter_map(|(name, value)| Some((said.get(name)?, value)));
                known.filter_map(|(schema, value)| valid(document, schema, value).err()).next()
            }),
            "additionalProperties" => value.as_object().and_then(|members| {
                let is_known =
                    |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                let others = members.iter().filter(|(name, _)| !is_known(name));
                others
                    .filter_map(|(name, value)| match said {
                        Value::Bool(true) => None,
                        Value::Bool(false) => Some(format!("{name:?} is not described")),
                        schema => valid(document, schema, value).err(),
                    })
                    .next()
            }),
            "items" => value
                .as_array()
                .and_then(|items| items.iter().filter_map(|item| valid(document, said, item).err()).next()),
            "prefixItems" => value.as_array().and_then(|items| {
                let pairs = items.iter().zip(said.as_array().unwrap());
                pairs.filter_map(|(item, schema)| valid(document, schema, item).err()).next()
            }),
            "minItems" => value.as_array().and_then(|items| {
                (items.len() < usize::try_from(said.as_u64().unwrap()).unwrap())
                    .then(|| format!("{value} is too short"))
            }),
            "maxItems" => value.as_array().and_then(|items| {
                (items.len() > usize::try_from(said.as_u64().unwrap()).unwrap())
                    .then(|| format!("{value} is too long"))
            }),
            "minimum" => value.as_f64().and_then(|number| {
                (number < said.as_f64().unwrap()).then(|| format!("{value} is below {said}"))
            }),
            "description" | "title" | "format" | "default" => None,
            other => panic!("{other:?} is not checked: {schema}"),
        };
        faults.extend(fault);
    }
    match faults.into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(fault),
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{other:?} is no type"),
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "files of a test")]
async fn openapi_is_fresh_and_complete() {
    let world = world().await;
    let document = document(&world.server.as_ref().unwrap().routes()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/openapi.yaml");
    let text = yaml(&document);
    if std::env::var_os("LOGYARD_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "schemas/openapi.yaml is stale: LOGYARD_BLESS=1 cargo test -p logyard-server openapi"
    );
    // Every schema that is pointed at is there, and every one that is there is pointed at.
    let names = document["components"]["schemas"].as_object().unwrap();
    for name in names.keys() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is never used");
    }
    for rest in text.split("\"#/").skip(1) {
        let pointer = format!("/{}", rest.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "nothing stands at {pointer}");
    }
    // What is described as open is open, and the other way round.
    let open = text.matches("\"x-logyard-needs\": \"open\"").count();
    let needs = world.server.as_ref().unwrap().routes();
    assert_eq!(open, needs.iter().filter(|route| route.need == logyard_server::Need::Open).count());
}

#[test]
fn what_is_not_valid_is_found() {
    let document = serde_json::json!({"components": {"schemas": {"A": {"type": "integer", "minimum": 1}}}});
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"$ref": "#/components/schemas/A"},
            "b": {"type": ["array", "null"], "minItems": 1, "prefixItems": [{"type": "string"}]},
            "c": {"oneOf": [{"const": 1}, {"enum": [2, 3]}]},
        },
    });
    for (text, want) in [
        (r#"{"a":1,"b":["x",2],"c":3}"#, ""),
        (r#"{"a":1,"b":null}"#, ""),
        (r#"[]"#, "[] is no \"object\""),
        (r#"{}"#, "\"a\" is missing in {}"),
        (r#"{"a":0}"#, "0 is below 1"),
        (r#"{"a":1.5}"#, "1.5 is no \"integer\""),
        (r#"{"a":1,"b":[]}"#, "[] is too short"),
        (r#"{"a":1,"b":[7]}"#, "7 is no \"string\""),
        (r#"{"a":1,"c":4}"#, "4 is not one of the forms"),
        (r#"{"a":1,"d":4}"#, "\"d\" is not described"),
    ] {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(valid(&document, &schema, &value).err().unwrap_or_default(), want, "{text}");
    }
}
