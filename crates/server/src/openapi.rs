//! The description of the HTTP endpoints in OpenAPI 3.1, `schemas/openapi.yaml`.
//!
//! Made of three things: the routes of the router with what they need, the types that answers are encoded from, and the
//! files beside this one, which say what a route takes and answers and describe what is encoded by hand. A route without
//! a row in `operations.json`, and a row without a route, are faults; the tests hold every answer they get against it.
//!
//! Add an endpoint, also add its row, then `LOGYARD_BLESS=1 cargo test -p logyard-server openapi`.

use crate::access::Need;
use crate::drilldown;
use crate::reload::ReloadReport;
use crate::routes::Route;
use crate::snapshot;
use logyard_store::import::ImportInfo;
use logyard_store::snapshot::SnapshotInfo;
use logyard_store::storage_report::StorageReport;
use logyard_wire::explain::PlanStep;
use logyard_wire::native_push::PushAnswer;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const OPERATIONS: &str = include_str!("openapi/operations.json");
const PARAMETERS: &str = include_str!("openapi/parameters.json");
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// Media type of texts.
const TEXT: &str = "text/plain";

/// A row of `operations.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    paths: Vec<String>,
    /// With blanks between.
    methods: String,
    tag: String,
    summary: String,
    /// Names in `parameters.json`, with blanks between.
    #[serde(default)]
    parameters: String,
    /// Media types; of a form there is no need to speak.
    #[serde(default)]
    body: Vec<String>,
    /// By status: nothing, `text`, `#` and a schema, or a media type.
    answers: BTreeMap<String, String>,
    faults: Faults,
}

/// How a refusal is said, tokens apart.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Faults {
    /// There is none.
    None,
    /// As text: faults of parameters, time, load.
    Read,
    /// As text: faults of bodies, limits.
    Push,
    /// As a protobuf `Status`.
    Otlp,
    /// As Elasticsearch has them.
    Elastic,
    /// As text: of what is changed.
    Change,
    /// As text, or as Prometheus has them.
    Rules,
}

impl Faults {
    fn statuses(self) -> &'static [u16] {
        match self {
            Self::None => &[],
            Self::Read => &[400, 408, 429, 499, 500, 503, 504],
            Self::Push | Self::Otlp | Self::Elastic => &[400, 408, 413, 422, 429, 500, 503],
            Self::Change => &[400, 404, 408, 429, 500, 503],
            Self::Rules => &[400, 404, 500, 503],
        }
    }

    /// Names the refusal among [`refusals`].
    fn refusal(self) -> Value {
        reference(
            "responses",
            match self {
                Self::Otlp => "RefusedExport",
                Self::Elastic => "RefusedBulk",
                Self::Rules => "RefusedRules",
                _ => "Refused",
            },
        )
    }
}

fn refusals() -> Value {
    let text = || json!({ "schema": { "type": "string" } });
    let refused = |content: Value| json!({ "description": "refused, with the reason", "content": content });
    json!({
        "Refused": refused(json!({ TEXT: text() })),
        "RefusedExport": refused(json!({ "application/octet-stream": {} })),
        "RefusedBulk": refused(json!({ TEXT: text(), "application/json": schema("ElasticFault") })),
        "RefusedRules": refused(json!({ TEXT: text(), "application/json": schema("PrometheusFault") })),
    })
}

/// Describes the routes of a server.
///
/// Errors: the routes that no row describes and the rows that describe no route, in words.
pub fn document(routes: &[Route]) -> Result<Value, String> {
    let parse = |name: &str, text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| format!("cannot read {name}: {error}"))
    };
    let rows: Vec<Row> =
        serde_json::from_str(OPERATIONS).map_err(|error| format!("cannot read operations.json: {error}"))?;
    let parameters = parse("parameters.json", PARAMETERS)?;
    let mut schemas = parse("schemas.json", SCHEMAS)?;
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.extend(of_types());
    }
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut used = 0;
    for route in routes {
        let is_it = |row: &&Row| {
            row.paths.iter().any(|path| path == route.path)
                && row.methods.split(' ').any(|method| method == route.method.as_str())
        };
        match rows.iter().find(is_it) {
            None => faults.push(format!("{} {} has no row", route.method, route.path)),
            Some(row) => {
                used += 1;
                let method = route.method.as_str().to_ascii_lowercase();
                paths.entry(route.path).or_default().insert(method, operation(route, row));
            }
        }
    }
    let described: usize = rows.iter().map(|row| row.paths.len() * row.methods.split(' ').count()).sum();
    if described != used {
        faults.push(format!("{described} operations are described, {used} are there"));
    }
    if !faults.is_empty() {
        return Err(format!("operations.json and the router disagree: {}", faults.join("; ")));
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Logyard",
            "version": "1",
            "description": "What Logyard answers over HTTP; http.md beside this file says what it means. Generated, see crates/server.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:3100" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": of_query(&parameters),
            "responses": refusals(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
            },
        },
    }))
}

/// Returns the schemas of answers that are encoded from types.
fn of_types() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.for_serialize().into_generator();
    generator.subschema_for::<PushAnswer>();
    generator.subschema_for::<PlanStep>();
    generator.subschema_for::<StorageReport>();
    generator.subschema_for::<SnapshotInfo>();
    generator.subschema_for::<ReloadReport>();
    generator.subschema_for::<snapshot::Listed>();
    generator.subschema_for::<ImportInfo>();
    generator.subschema_for::<drilldown::Answer>();
    generator.take_definitions(true).into_iter().collect()
}

/// Returns the parameters as components, and the header that names the tenant.
fn of_query(described: &Value) -> Value {
    let mut components = Map::new();
    for (name, parameter) in described.as_object().into_iter().flatten() {
        let mut parameter = parameter.clone();
        parameter["name"] = json!(name);
        parameter["in"] = json!("query");
        components.insert(name.trim_end_matches("[]").to_owned(), parameter);
    }
    let tenant = json!({
        "name": "X-Scope-OrgID",
        "in": "header",
        "description": "The tenant, with server.auth_enabled; several with | between them, to read from.",
        "schema": { "type": "string" },
    });
    components.insert("X-Scope-OrgID".to_owned(), tenant);
    Value::Object(components)
}

fn operation(route: &Route, row: &Row) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in route.path.split(['{', '}']).skip(1).step_by(2) {
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    let mut form = Map::new();
    for name in row.parameters.split(' ').filter(|name| !name.is_empty()) {
        parameters.push(reference("parameters", name.trim_end_matches("[]")));
        let schema =
            json!({ "$ref": format!("#/components/parameters/{}/schema", name.trim_end_matches("[]")) });
        form.insert(name.to_owned(), schema);
    }
    if route.need != Need::Open && route.need != Need::Operator {
        parameters.push(reference("parameters", "X-Scope-OrgID"));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [row.tag],
        "summary": row.summary,
        "parameters": parameters,
        "responses": answers(route, row),
        "security": match route.need {
            Need::Open => json!([]),
            _ => json!([{}, { "bearer": [] }, { "basic": [] }]),
        },
        "x-logyard-needs": format!("{:?}", route.need).to_ascii_lowercase(),
    });
    let content: Map<String, Value> = match (route.method.as_str(), row.faults) {
        ("POST", Faults::Read) => {
            let form = json!({ "schema": { "type": "object", "properties": form } });
            [("application/x-www-form-urlencoded".to_owned(), form)].into_iter().collect()
        }
        _ => {
            let bytes = || json!({ "schema": { "type": "string", "format": "binary" } });
            row.body.iter().map(|media| (media.clone(), bytes())).collect()
        }
    };
    if let Some(members) = operation.as_object_mut()
        && !content.is_empty()
    {
        members.insert("requestBody".to_owned(), json!({ "content": content }));
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    for part in
        route.path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty())
    {
        id.push('_');
        id.push_str(part);
    }
    id
}

fn answers(route: &Route, row: &Row) -> Value {
    let mut answers = Map::new();
    for status in row.faults.statuses() {
        answers.insert(status.to_string(), row.faults.refusal());
    }
    if route.need != Need::Open {
        // A tenant or token that is none is refused before anything else is looked at.
        let refused = match row.faults {
            Faults::Elastic => Faults::Elastic,
            _ => Faults::Read,
        };
        for status in ["401", "403"] {
            answers.insert(status.to_owned(), refused.refusal());
        }
        answers.entry("400").or_insert_with(|| refused.refusal());
    }
    for (status, what) in &row.answers {
        let text = if status.starts_with('2') { "done" } else { "see the page" };
        answers.insert(status.clone(), answer(text, content(what)));
    }
    Value::Object(answers)
}

fn answer(text: &str, content: Value) -> Value {
    match content {
        Value::Null => json!({ "description": text }),
        content => json!({ "description": text, "content": content }),
    }
}

fn content(what: &str) -> Value {
    match (what, what.strip_prefix('#')) {
        ("", _) => Value::Null,
        ("text", _) => json!({ TEXT: { "schema": { "type": "string" } } }),
        (_, Some(name)) => json!({ "application/json": schema(name) }),
        (media, None) => json!({ media: {} }),
    }
}

fn schema(name: &str) -> Value {
    json!({ "schema": reference("schemas", name) })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// Prints a value as YAML: members in their order, texts quoted as in JSON.
pub fn yaml(value: &Value) -> String {
    let mut text =
        String::from("# Generated by a test of crates/server; run it with LOGYARD_BLESS=1 to regenerate.\n");
    write_yaml(&mut text, value, 0);
    text
}

fn write_yaml(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let is_block = |value: &Value| match value {
        Value::Object(members) => !members.is_empty() && !members.contains_key("$ref"),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    let below = |text: &mut String, head: String, value: &Value| match is_block(value) {
        true => {
            // Writing into memory cannot fail.
            writeln!(text, "{indent}{head}").unwrap_or_default();
            write_yaml(text, value, depth + 1);
        }
        false => writeln!(text, "{indent}{head} {value}").unwrap_or_default(),
    };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_plain = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphabetic());
                let name = if is_plain { name.clone() } else { Value::from(name.as_str()).to_string() };
                below(text, format!("{name}:"), value);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| below(text, "-".to_owned(), item)),
        scalar => writeln!(text, "{indent}{scalar}").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_blocks() {
        let value = json!({"a": {"b": ["x", 1, null]}, "/c": [{"d": true}, []], "e": {}, "f": "g: \"h\""});
        let text = yaml(&value);
        let want = "\"/c\":\n  -\n    d: true\n  - []\na:\n  b: [\"x\",1,null]\ne: {}\nf: \"g: \\\"h\\\"\"\n";
        assert_eq!(text.split_once('\n').unwrap().1, want);
    }
}
