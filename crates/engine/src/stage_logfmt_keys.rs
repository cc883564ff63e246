//! `logfmt` with keys: the listed pairs of a line become labels.
//!
//! All labels start empty, and of equal keys the last counts. A key that is named as one of the labels
//! feeds that label, too (Loki v3.7.6).

use crate::labels::Labels;
use crate::stage_logfmt::{LOGFMT_ERROR, Reader};
use crate::stage_parse::{Hints, label_name};
use logyard_logql::Extraction;

/// The stage.
#[derive(Debug)]
pub(crate) struct LogfmtKeys {
    extractions: Vec<Extraction>,
    strict: bool,
    hints: Hints,
}

impl LogfmtKeys {
    pub(crate) fn compile(extractions: &[Extraction], strict: bool, hints: Hints) -> Result<Self, String> {
        let read = |one: &Extraction| {
            Ok(Extraction { label: one.label.clone(), source: parse_key(&one.source)?.to_owned() })
        };
        Ok(Self { extractions: extractions.iter().map(read).collect::<Result<_, String>>()?, strict, hints })
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        if self.hints.nothing_needed() {
            return;
        }
        for one in &self.extractions {
            if !labels.is_taken(&one.label) {
                labels.overwrite(&one.label, "");
            }
        }
        let mut reader = Reader::new(line);
        while let Some(pair) = reader.pair() {
            match pair {
                Ok(pair) => {
                    let key = String::from_utf8_lossy(pair.key);
                    let key = label_name(&key);
                    for one in self.extractions.iter().filter(|one| one.source == key || one.label == key) {
                        let value = pair.value();
                        // A value that is no text is none.
                        let value = std::str::from_utf8(&value).unwrap_or_default();
                        let value = if value.contains('\u{fffd}') { "" } else { value };
                        if labels.is_taken(&one.label) {
                            // Under its other name the first value stays.
                            labels.extract(&one.label, value);
                        } else {
                            labels.overwrite(&one.label, value);
                        }
                    }
                }
                Err(fault) if self.strict => {
                    let details = reader.details(fault);
                    labels.set_parser_error(LOGFMT_ERROR, &details, self.hints.preserves_errors());
                    return;
                }
                Err(_) => reader.skip_pair(),
            }
        }
    }
}

/// Reads `key` or `"any key"`.
fn parse_key(text: &str) -> Result<&str, String> {
    let trimmed = text.trim();
    let fault = |found: &str, expecting: &str| {
        Err(format!("cannot parse expression [{text}]: syntax error: unexpected {found}{expecting}"))
    };
    if trimmed.is_empty() {
        return fault("$end", ", expecting STRING or KEY");
    }
    if let Some(inside) = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return if inside.contains('"') { fault("STRING", ", expecting $end") } else { Ok(inside) };
    }
    let is_start = trimmed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = trimmed.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match (is_start, rest.chars().next()) {
        (true, None) => Ok(trimmed),
        (true, Some(c)) if c.is_whitespace() => fault("KEY", ", expecting $end"),
        (true, Some(c)) => fault(&format!("'{c}'"), ", expecting $end"),
        (false, _) => fault("$unk", ", expecting STRING or KEY"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn compile(stage: &str) -> Result<LogfmtKeys, String> {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | {stage}")).unwrap() else { panic!("{stage}") };
        let StageKind::Logfmt { strict, extractions, .. } = &log.stages[0].kind else { panic!("{stage}") };
        LogfmtKeys::compile(extractions, *strict, Hints::everything())
    }

    fn check(stage: &str, line: &str, expect: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        compile(stage).unwrap().parse(line.as_bytes(), &mut labels);
        let (_, _, parsed) = labels.split(&base);
        assert_eq!(parsed.to_string(), expect, "{stage} on {line}");
    }

    #[test]
    fn pairs() {
        check(r#"logfmt x="a", q"#, "a=1 a=2", r#"{q="", x="2"}"#);
        check(r#"logfmt x="a""#, "a=1 x=2", r#"{x="2"}"#);
        check(r#"logfmt x="\"a_b\"""#, "a.b=1", r#"{x="1"}"#);
        check(r#"logfmt x="a", y="a""#, "a=1", r#"{x="1", y="1"}"#);
        check("logfmt app, b", "app=1 b=\"\u{fffd}\"", r#"{app_extracted="1", b=""}"#);
        check("logfmt app", "b=1", "{}");
        check("logfmt app", "app=1 app=2", r#"{app_extracted="1"}"#);
        check("logfmt a", "a=b=c a=2", r#"{a="2"}"#);
    }

    #[test]
    fn strict_stops_at_the_fault() {
        let details = r#""logfmt syntax error at pos 4 : unexpected '='""#;
        let expect = format!("{{__error__=\"LogfmtParserErr\", __error_details__={details}, a=\"\"}}");
        check("logfmt --strict a", "b=c=d a=2", &expect);
    }

    #[test]
    fn refused() {
        for (key, fault) in
            [("", "unexpected $end, expecting STRING or KEY"), ("a b", "unexpected KEY, expecting $end")]
        {
            let error = compile(&format!("logfmt x={}", logyard_logql::quoted(key))).unwrap_err();
            assert_eq!(error, format!("cannot parse expression [{key}]: syntax error: {fault}"));
        }
    }
}
