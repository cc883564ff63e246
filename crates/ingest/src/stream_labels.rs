//! Turns the labels of a push into the label set that names the stream.

use crate::reason::Reason;
use crate::service_name;
use crate::settings::IngestSettings;
use crate::validate::Fault;
use logyard_model::{Label, LabelSet};
use logyard_wire::label_text;
use logyard_wire::loki_push::PushLabels;

/// Reads labels and drops empty ones.
///
/// The outer error, bad syntax, fails the whole request; the inner one rejects the stream.
pub(crate) fn read(labels: &PushLabels<'_>) -> Result<Result<LabelSet, Fault>, logyard_wire::Error> {
    let mut pairs: Vec<Label> = match labels {
        PushLabels::Text(text) => label_text::parse(text)?,
        PushLabels::Pairs(pairs) => {
            if let Some((name, _)) = pairs.iter().find(|(name, _)| !label_text::is_name(name)) {
                return Err(label_text::bad_name(name));
            }
            pairs.iter().map(|(name, value)| ((**name).into(), (**value).into())).collect()
        }
    };
    pairs.sort_unstable();
    if let Some(name) = twice(&pairs) {
        let name = name.to_owned();
        let shown = LabelSet::from_pairs(pairs);
        let text = format!("stream '{shown}' has duplicate label name: '{name}'");
        return Ok(Err(Fault::new(Reason::DuplicateLabelNames, text)));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    // Names were just shown to be unique.
    Ok(Ok(LabelSet::new(pairs).unwrap_or_default()))
}

/// Adds `service_name` if that is on. Returns whether the set changed.
pub(crate) fn complete(labels: &mut LabelSet, settings: &IngestSettings) -> bool {
    let before = labels.len();
    if settings.discover_service_name {
        service_name::discover(labels);
    }
    labels.len() != before
}

fn twice(sorted: &[Label]) -> Option<&str> {
    let pair = sorted.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0))?;
    pair.first().map(|label| &*label.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn text(labels: &'static str) -> PushLabels<'static> {
        PushLabels::Text(Cow::Borrowed(labels.as_bytes()))
    }

    #[test]
    fn empty_values_are_dropped() {
        let set = read(&text(r#"{b="2", a="", c="3"}"#)).unwrap().unwrap();
        assert_eq!(set.to_string(), r#"{b="2", c="3"}"#);
    }

    #[test]
    fn duplicates_reject_the_stream_and_syntax_the_request() {
        let fault = read(&text(r#"{job="1", job="2"}"#)).unwrap().unwrap_err();
        assert_eq!(fault.text, "stream '{job=\"2\"}' has duplicate label name: 'job'");
        let pairs = PushLabels::Pairs(vec![("a.b".into(), "c".into())]);
        assert!(read(&pairs).unwrap_err().to_string().starts_with("couldn't parse labels: 1:"));
    }
}
