//! `detected_level`: the level of an entry, found once when it arrives (Loki v3.7.6).
//!
//! Order: the metadata's own `detected_level`, a level field among the stream's labels, the same among
//! the metadata, an OpenTelemetry severity number, the line (see [`crate::level_line`]), `unknown`.
//! Nothing is allocated: values of labels and metadata are borrowed, the rest is static.

use crate::level_line;
use logyard_model::LabelSet;

/// The name under which the level is kept and shown.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";

/// Level of an entry that tells nothing.
pub(crate) const UNKNOWN: &str = "unknown";

/// Fields that hold a level among labels and metadata, exact case; the first present wins.
pub const LEVEL_FIELDS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// Finds the level in a stream's labels, which then holds for all its entries.
pub(crate) fn of_labels(labels: &LabelSet) -> Option<&str> {
    let value = LEVEL_FIELDS.iter().find_map(|field| labels.get(field))?;
    Some(known(value.as_bytes()).unwrap_or(value))
}

/// Finds the level of an entry: `of_stream` is what [`of_labels`] gave, `own` the entry's
/// `detected_level`, already taken out of the metadata, which holds no empty values.
pub(crate) fn of_entry<'a>(
    of_stream: Option<&'a str>,
    own: Option<&'a str>,
    metadata: &'a LabelSet,
    line: &[u8],
) -> &'a str {
    if let Some(value) = own {
        return known(value.as_bytes()).unwrap_or(value);
    }
    if let Some(level) = of_stream {
        return level;
    }
    if !metadata.is_empty() {
        if let Some(value) = of_labels(metadata) {
            return value;
        }
        if let Some(number) = metadata.get("severity_number") {
            return of_severity_number(number);
        }
    }
    level_line::detect(line)
}

/// Returns the normal form of a known word, in any case.
pub(crate) fn known(word: &[u8]) -> Option<&'static str> {
    const FORMS: [(&str, &str); 14] = [
        ("info", "info"),
        ("error", "error"),
        ("warn", "warn"),
        ("debug", "debug"),
        ("warning", "warn"),
        ("err", "error"),
        ("trace", "trace"),
        ("fatal", "fatal"),
        ("critical", "critical"),
        ("dbg", "debug"),
        ("inf", "info"),
        ("wrn", "warn"),
        ("trc", "trace"),
        ("information", "info"),
    ];
    if word.is_empty() {
        return None;
    }
    FORMS.iter().find(|(form, _)| word.eq_ignore_ascii_case(form.as_bytes())).map(|(_, level)| *level)
}

/// OpenTelemetry's ranges; what is no number is `info`, numbers below the ranges are `trace`.
fn of_severity_number(text: &str) -> &'static str {
    match text.parse::<i64>() {
        Err(_) => "info",
        Ok(0) => UNKNOWN,
        Ok(..=4) => "trace",
        Ok(5..=8) => "debug",
        Ok(9..=12) => "info",
        Ok(13..=16) => "warn",
        Ok(17..=20) => "error",
        Ok(21..=24) => "fatal",
        Ok(_) => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied())
    }

    fn check(labels: &[(&str, &str)], metadata: &[(&str, &str)], line: &str, expect: &str) {
        let (labels, mut metadata) = (set(labels), set(metadata));
        let own = metadata.remove(DETECTED_LEVEL);
        let level = of_entry(of_labels(&labels), own.as_deref(), &metadata, line.as_bytes());
        assert_eq!(level, expect, "{labels} {metadata} {line}");
    }

    #[test]
    fn sources_in_order() {
        check(&[("level", "info")], &[("detected_level", "ERR")], "fatal", "error");
        check(&[("level", "info")], &[("level", "debug")], "fatal", "info");
        check(&[], &[("level", "Chatty")], "fatal", "Chatty");
        check(&[], &[], "fatal", "fatal");
        check(&[("level", "odd-value")], &[], "error", "odd-value");
        check(&[("severity", "Err")], &[], "", "error");
        check(&[("loglevel", "warn")], &[("LoGlEvEl", "warn")], "", "unknown");
        check(&[], &[("SEVERITY_TEXT", "warn"), ("severity_number", "1")], "", "warn");
    }

    #[test]
    fn severity_numbers() {
        for (number, level) in [
            ("0", "unknown"),
            ("1", "trace"),
            ("4", "trace"),
            ("5", "debug"),
            ("12", "info"),
            ("16", "warn"),
            ("17", "error"),
            ("24", "fatal"),
            ("25", "unknown"),
            ("abc", "info"),
            ("-1", "trace"),
        ] {
            check(&[], &[("severity_number", number)], "severity ERROR", level);
        }
    }
}
