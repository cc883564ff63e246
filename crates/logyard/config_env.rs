//! Lays the environment over a config document.
//!
//! `LOGYARD_STORE__FLUSH__AGE_SECS_MAX=30m` sets `store.flush.age_secs_max`: two underscores between
//! the levels. A variable with two underscores must name a setting. One without is taken only if it
//! names a setting at the top: orchestrators put variables such as `LOGYARD_PORT` into every container
//! near a service called `logyard`, and those must not stop a start.

use logyard_rules::Step;
use serde_yaml_ng::{Mapping, Value};

/// Prefix of every variable that is looked at.
pub(crate) const PREFIX: &str = "LOGYARD_";

/// A setting taken from the environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Overlay {
    /// Name of the variable, for messages.
    pub(crate) variable: String,
    /// Where it goes.
    pub(crate) path: Vec<String>,
    /// What it sets.
    pub(crate) value: Value,
}

/// Picks the settings out of the environment; `top` are the keys at the top of the settings.
pub(crate) fn overlays(variables: impl IntoIterator<Item = (String, String)>, top: &[&str]) -> Vec<Overlay> {
    let mut overlays = Vec::new();
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = match rest {
            // The address is what a container of the agent is told most often.
            "URL" => vec!["push".to_owned(), "url".to_owned()],
            rest => rest.split("__").map(str::to_ascii_lowercase).collect(),
        };
        let named = path.len() > 1 || path.first().is_some_and(|only| top.contains(&&**only));
        if named {
            overlays.push(Overlay { value: read(&text), variable, path });
        }
    }
    // The environment has no order; settings of one run must not depend on it.
    overlays.sort_by(|a, b| a.variable.cmp(&b.variable));
    overlays
}

/// Reads a text: lists and mappings in YAML's one-line form, everything else as it stands.
fn read(text: &str) -> Value {
    let whole = text.trim();
    if whole.starts_with(['[', '{'])
        && let Ok(value) = serde_yaml_ng::from_str(whole)
    {
        return value;
    }
    Value::String(text.to_owned())
}

/// Sets one value in a document, making the sections on the way.
pub(crate) fn set(document: &mut Value, path: &[String], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        *document = value;
        return;
    };
    if !document.is_mapping() {
        *document = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(entries) = document {
        let inner = entries.entry(Value::String(name.clone())).or_insert(Value::Null);
        set(inner, rest, value);
    }
}

/// Removes one value from a document.
pub(crate) fn remove(document: &mut Value, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let Value::Mapping(entries) = document else { return };
    match rest.is_empty() {
        true => drop(entries.remove(name.as_str())),
        false => entries.get_mut(name.as_str()).into_iter().for_each(|inner| remove(inner, rest)),
    }
}

/// Tells whether a fault lies at or below what a variable has set.
pub(crate) fn is_to_blame(overlay: &Overlay, fault: &[Step]) -> bool {
    let same = |(key, step): (&String, &Step)| matches!(step, Step::Key(name) if name == key);
    // Also above it: a variable below a scalar turns that scalar into a section.
    !fault.is_empty() && overlay.path.iter().zip(fault).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn variables_name_settings_by_their_path() {
        let found = overlays(
            variables(&[
                ("LOGYARD_STORE__FLUSH__AGE_SECS_MAX", "30m"),
                ("LOGYARD_LISTEN", "0.0.0.0:3100"),
                ("LOGYARD_PORT", "tcp://10.0.0.1:3100"),
                ("LOGYARD_URL", "http://store"),
                ("LOGYARD_AGENT__FILES", "[{path: [/a]}]"),
                ("PATH", "/bin"),
            ]),
            &["listen", "store", "agent", "push"],
        );
        let paths: Vec<String> = found.iter().map(|overlay| overlay.path.join(".")).collect();
        assert_eq!(paths, ["agent.files", "listen", "store.flush.age_secs_max", "push.url"]);
        let mut document: Value = serde_yaml_ng::from_str("store: {flush: {on_close: true}}").unwrap();
        for overlay in found {
            set(&mut document, &overlay.path, overlay.value);
        }
        let want = "store: {flush: {on_close: true, age_secs_max: 30m}}\nagent: {files: [{path: [/a]}]}\n\
                    listen: 0.0.0.0:3100\npush: {url: http://store}";
        assert_eq!(document, serde_yaml_ng::from_str::<Value>(want).unwrap());
    }

    #[test]
    fn a_fault_is_traced_to_its_variable() {
        let overlay = |path: &[&str]| Overlay {
            variable: "X".to_owned(),
            path: path.iter().map(|&key| key.to_owned()).collect(),
            value: Value::Null,
        };
        let fault = [Step::Key("store".to_owned()), Step::Key("wal".to_owned())];
        assert!(is_to_blame(&overlay(&["store", "wal"]), &fault));
        assert!(is_to_blame(&overlay(&["store"]), &fault));
        assert!(is_to_blame(&overlay(&["store", "wal", "sync"]), &fault));
        assert!(!is_to_blame(&overlay(&["store", "flush"]), &fault));
        assert!(!is_to_blame(&overlay(&["store"]), &[]));
    }
}
