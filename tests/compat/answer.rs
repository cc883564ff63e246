//! An answer: status, media type and body, with the statistics of the execution taken out.

use serde_json::Value;

/// An answer of Loki or of a server under test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without parameters; empty if the body is.
    pub(crate) media_type: String,
    /// The parsed body, or its text if it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// Reads what `answers` keeps of a case: one answer, or one per step.
    pub(crate) fn recorded(value: &Value) -> Vec<Self> {
        let one = |value: &Value| Self {
            status: u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
            media_type: value["content_type"].as_str().unwrap().to_owned(),
            body: value["body"].clone(),
        };
        match value.get("steps") {
            Some(steps) => steps.as_array().unwrap().iter().map(one).collect(),
            None => vec![one(value)],
        }
    }

    /// Takes an answer as it came in.
    pub(crate) fn received(status: u16, content_type: &str, bytes: &[u8]) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        let text = String::from_utf8_lossy(bytes);
        let is_unmarked = text.starts_with(['{', '[']) && matches!(media_type.as_str(), "" | "text/plain");
        let is_json = media_type.ends_with("json") || (is_unmarked && (200..300).contains(&status));
        let parsed = if is_json { serde_json::from_str(&text).ok() } else { None };
        let mut body = parsed.unwrap_or_else(|| Value::from(text.into_owned()));
        if let Some(top) = body.as_object_mut() {
            if let Some(data) = top.get_mut("data").and_then(Value::as_object_mut) {
                data.remove("stats");
            } else if top.contains_key("streams") {
                top.remove("stats");
            }
        }
        let media_type = if bytes.is_empty() { String::new() } else { media_type };
        Self { status, media_type, body }
    }

    /// Returns the text of a refusal: the body, or the message in it.
    pub(crate) fn error_text(&self) -> String {
        let text = match &self.body {
            Value::Object(members) => {
                let named =
                    |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
                named("message")
                    .or_else(|| named("error"))
                    .map_or_else(|| self.body.to_string(), str::to_owned)
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.trim().to_owned()
    }

    /// Returns the form in which answers are kept in files.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({ "status": self.status, "content_type": self.media_type, "body": self.body })
    }
}
