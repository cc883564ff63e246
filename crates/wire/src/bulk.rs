//! Elasticsearch's `_bulk`: its actions, and the answers its clients read.

use crate::Error;
use crate::json_text::{push_joined, push_string};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Write as _;

/// Media type of the answers.
pub const JSON_CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// Header by which Elastic's own clients know whom they talk to, and the only value they accept.
pub const PRODUCT_HEADER: (&str, &str) = ("X-Elastic-Product", "Elasticsearch");

/// The version of Elasticsearch that is answered for: of the line that Filebeat and Logstash 7 to 9 accept.
pub const VERSION: &str = "8.19.0";

/// What is asked about a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add or replace it.
    Index,
    /// Add it.
    Create,
    /// Change it.
    Update,
    /// Remove it.
    Delete,
    /// No action: a line of JSON lines.
    Line,
}

impl Action {
    /// Returns whether a document follows the action.
    pub fn has_document(self) -> bool {
        self != Self::Delete
    }

    fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create | Self::Line => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// An object of one member, of which the name alone counts: nothing of the line is kept.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    Index(IgnoredAny),
    Create(IgnoredAny),
    Update(IgnoredAny),
    Delete(IgnoredAny),
}

/// Reads the line of an action. `index` is that of its document, for the text of an error.
pub(crate) fn action(line: &[u8], index: usize) -> Result<Action, Error> {
    match serde_json::from_slice(line) {
        Ok(Asked::Index(_)) => Ok(Action::Index),
        Ok(Asked::Create(_)) => Ok(Action::Create),
        Ok(Asked::Update(_)) => Ok(Action::Update),
        Ok(Asked::Delete(_)) => Ok(Action::Delete),
        Err(_) => Err(Error::invalid(format!(
            "cannot read bulk: want index, create, update or delete in front of document {}",
            index + 1
        ))),
    }
}

/// Encodes the answer to a bulk: for each action whether it was done, or the text that says why not.
pub fn answer<'a>(took_ms: u64, items: impl Iterator<Item = (Action, Option<&'a str>)> + Clone) -> Vec<u8> {
    let errors = items.clone().any(|(_, fault)| fault.is_some());
    let mut json = Vec::new();
    // Writing into memory cannot fail.
    write!(json, "{{\"took\":{took_ms},\"errors\":{errors},\"items\":[").unwrap_or_default();
    push_joined(&mut json, items, |json, (action, fault)| {
        write!(json, "{{\"{}\":{{\"status\":", action.name()).unwrap_or_default();
        match fault {
            None => json.extend_from_slice(b"201}}"),
            Some(text) => {
                json.extend_from_slice(b"400,\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":");
                push_string(json, text);
                json.extend_from_slice(b"}}}");
            }
        }
    });
    json.extend_from_slice(b"]}");
    json
}

/// Encodes the answer to a request that failed as a whole.
pub fn failure(status: u16, text: &str) -> Vec<u8> {
    let mut json = b"{\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":".to_vec();
    push_string(&mut json, text);
    write!(json, "}},\"status\":{status}}}").unwrap_or_default();
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions() {
        for (line, want) in [
            (r#"{"index":{}}"#, Some(Action::Index)),
            (r#"{ "create" : { "_index" : "a", "_id": "1" } }"#, Some(Action::Create)),
            (r#"{"update":{"_id":"1"}}"#, Some(Action::Update)),
            (r#"{"delete":{"_id":"1"}}"#, Some(Action::Delete)),
            (r#"{"message":"x"}"#, None),
            (r#"{"index":{},"create":{}}"#, None),
            ("x", None),
        ] {
            assert_eq!(action(line.as_bytes(), 0).ok(), want, "{line}");
        }
        let error = action(b"{}", 4).unwrap_err().to_string();
        assert!(error.ends_with("in front of document 5"), "{error}");
    }

    #[test]
    fn answers_are_json() {
        let items = [(Action::Index, None), (Action::Create, Some("line \"too\" long"))];
        let json: serde_json::Value = serde_json::from_slice(&answer(3, items.into_iter())).unwrap();
        assert_eq!(json["errors"], true);
        assert_eq!(json["items"][0]["index"]["status"], 201);
        assert_eq!(json["items"][1]["create"]["error"]["reason"], "line \"too\" long");
        let none = answer(0, std::iter::empty());
        assert_eq!(none, br#"{"took":0,"errors":false,"items":[]}"#);
        let json: serde_json::Value = serde_json::from_slice(&failure(429, "slow")).unwrap();
        assert_eq!((json["status"].as_u64(), json["error"]["reason"].as_str()), (Some(429), Some("slow")));
    }
}
