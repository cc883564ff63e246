//! The stage `logfmt`: keys and values of a text, as go-logfmt reads them.
//!
//! A fault ends the reading; what was read before it stays.

use logyard_template::unescape;

use crate::entry::Entry;
use crate::error::Error;
use crate::settings::LogfmtSettings;

/// `logfmt`.
#[derive(Clone, Debug)]
pub(crate) struct LogfmtStage {
    /// Keys and the names of their values.
    names: Vec<(String, String)>,
    source: Option<String>,
}

impl LogfmtStage {
    pub(crate) fn compile(settings: &LogfmtSettings) -> Result<Self, Error> {
        if settings.mapping.is_empty() {
            return Err(Error::new("nothing is given; add a name such as level:").inside("mapping"));
        }
        let mut names: Vec<(String, String)> = Vec::new();
        for (name, key) in &settings.mapping {
            let key = key.as_deref().filter(|key| !key.is_empty()).unwrap_or(name);
            // One name per key, the last in order, as where a map is turned round.
            names.retain(|(known, _)| known != key);
            names.push((key.to_owned(), name.clone()));
        }
        Ok(Self { names, source: settings.source.clone() })
    }

    pub(crate) fn apply(&self, entry: &mut Entry) {
        let Some(input) = entry.input(self.source.as_deref()) else { return };
        let mut found = Vec::new();
        let mut rest: &[u8] = &input;
        while let Some((key, value)) = pair(&mut rest) {
            if let Some((_, name)) = self.names.iter().find(|(wanted, _)| wanted.as_bytes() == key) {
                found.push((name, String::from_utf8_lossy(&value).into_owned()));
            }
        }
        drop(input);
        for (name, text) in found {
            entry.extracted.set_text(name, text);
        }
    }
}

/// Reads the next key and its value; `None` at the end or at a fault.
pub(crate) fn pair<'t>(rest: &mut &'t [u8]) -> Option<(&'t [u8], Vec<u8>)> {
    let start = rest.iter().position(|byte| *byte > b' ')?;
    let text = rest.get(start..)?;
    let end = text.iter().position(|byte| *byte <= b' ' || matches!(byte, b'=' | b'"')).unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    *rest = after;
    let Some(value) = after.strip_prefix(b"=") else {
        // A quote is a fault; anything else ends a key without a value.
        return (after.first() != Some(&b'"')).then(|| (key, Vec::new()));
    };
    if key.is_empty() || std::str::from_utf8(key).is_err() {
        return None;
    }
    if let Some(quoted) = value.strip_prefix(b"\"") {
        let mut at = 0;
        loop {
            match quoted.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        *rest = quoted.get(at + 1..)?;
        return Some((key, unescape(quoted.get(..at)?)?.into_owned()));
    }
    let end =
        value.iter().position(|byte| *byte <= b' ' || matches!(byte, b'=' | b'"')).unwrap_or(value.len());
    let (value, after) = value.split_at(end);
    *rest = after;
    let is_fault = after.first().is_some_and(|byte| *byte > b' ');
    (!is_fault).then(|| (key, value.to_vec()))
}
