//! Labels and annotations of alerts: templates of Prometheus, expanded for a sample.

use crate::group::Pairs;
use logyard_model::LabelSet;
use logyard_template::{Dialect, Entry, Fields, Template, Value};
use std::rc::Rc;

/// The variables of rules, set as Prometheus sets them: `$labels.app` and `$value` read from these. `$lines` is our own.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                         {{$externalURL := .ExternalURL}}{{$value := .Value}}{{$lines := .Lines}}";

/// What errors call a template.
const NAME: &str = "rule";

/// Longest text of a label or an annotation, in bytes: alerts are held in memory, and sent.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Names and their templates.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<(String, Text)>);

#[derive(Debug)]
enum Text {
    /// Without an action: stays as it is.
    Plain(String),
    Template(Template),
}

/// What templates read.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    /// Labels of the sample.
    pub(crate) labels: Rc<LabelSet>,
    /// Its value.
    pub(crate) value: f64,
    /// When it was taken, in ns.
    pub(crate) ts_ns: i64,
    /// Lines that made the alert fire, for annotations.
    pub(crate) lines: &'a [String],
    /// Where people reach the server; empty if unknown.
    pub(crate) external_url: &'a str,
}

impl Fields for Facts<'_> {
    fn field(&self, name: &str) -> Value {
        match name {
            "Labels" => Value::Labels(Rc::clone(&self.labels)),
            "ExternalLabels" => Value::Labels(Rc::new(LabelSet::default())),
            "ExternalURL" => Value::text(self.external_url),
            "Value" => Value::Float(self.value),
            "Lines" => {
                Value::List(Rc::new(self.lines.iter().map(|line| Value::text(line.as_str())).collect()))
            }
            _ => Value::Nil,
        }
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        (name == "ExternalURL").then_some(self.external_url.as_bytes())
    }

    fn all(&self) -> Value {
        Value::Nil
    }
}

impl Texts {
    /// Compiles templates. Errors: the name of the first faulty one, and why.
    pub(crate) fn compile(pairs: &Pairs) -> Result<Self, (String, String)> {
        let compile = |(name, text): (&String, &String)| {
            let compiled = match text.contains("{{") {
                false => Text::Plain(bounded(text.clone().into_bytes())),
                true => Template::compile(NAME, &format!("{VARIABLES}{text}"), Dialect::Rule)
                    .map(Text::Template)
                    .map_err(|why| (name.clone(), why))?,
            };
            Ok((name.clone(), compiled))
        };
        pairs.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Expands all of them. One that fails becomes `<error expanding template: …>`, as in Prometheus; one that is too long
    /// is cut.
    pub(crate) fn expand(&self, facts: &Facts<'_>) -> Vec<(&str, String)> {
        let entry = Entry { line: &[], ts_ns: facts.ts_ns, now_ns: facts.ts_ns };
        let expand = |text: &Text| match text {
            Text::Plain(text) => text.clone(),
            Text::Template(template) => match template.run(entry, facts) {
                Ok(bytes) => bounded(bytes),
                Err(why) => format!("<error expanding template: {why}>"),
            },
        };
        self.0.iter().map(|(name, text)| (name.as_str(), expand(text))).collect()
    }
}

/// Cuts a text that is too long to be held for each of many alerts.
fn bounded(mut bytes: Vec<u8>) -> String {
    let is_long = bytes.len() > TEXT_BYTES_MAX;
    bytes.truncate(TEXT_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned() + if is_long { "…" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let texts = Texts::compile(&Pairs::from([("a".to_owned(), text.to_owned())])).unwrap();
        let labels = Rc::new(LabelSet::from_pairs([("app", "web"), ("host", "nas.lan:80")]));
        let lines = ["one".to_owned(), "two".to_owned()];
        let facts = Facts { labels, value: 12345.0, ts_ns: 0, lines: &lines, external_url: "https://logs" };
        texts.expand(&facts).remove(0).1
    }

    #[test]
    fn templates_read_labels_and_value() {
        assert_eq!(expand("{{ $labels.app }} has {{ $value }}"), "web has 12345");
        assert_eq!(expand("{{ .Labels.app }}{{ $labels.none }} {{ humanize .Value }}"), "web 12.35k");
        assert_eq!(expand("{{ $labels.host | stripPort | stripDomain }}"), "nas");
        assert_eq!(expand("{{ $externalURL }}{{ externalURL }}"), "https://logshttps://logs");
        assert_eq!(
            expand("{{ range $name, $text := $labels }}{{ $name }}={{ $text }};{{ end }}"),
            "app=web;host=nas.lan:80;"
        );
        assert_eq!(expand("{{ range $lines }}> {{ . }};{{ end }}{{ len $lines }}"), "> one;> two;2");
        assert_eq!(expand("plain } text"), "plain } text");
        let long = expand(&format!("{{{{ `{}` }}}}", "x".repeat(TEXT_BYTES_MAX + 1)));
        assert_eq!((long.len(), long.ends_with("x…")), (TEXT_BYTES_MAX + "…".len(), true));
        let plain = expand(&("ü".repeat(TEXT_BYTES_MAX) + "x"));
        assert_eq!((plain.len(), plain.ends_with("ü…")), (TEXT_BYTES_MAX + "…".len(), true));
    }

    #[test]
    fn what_fails_says_so_in_its_place() {
        let text = expand("{{ query `up` | first | value }}");
        assert!(
            text.starts_with("<error expanding template: ") && text.contains("cannot ask queries"),
            "{text}"
        );
        let fault = Texts::compile(&Pairs::from([("a".to_owned(), "{{ $nope }}".to_owned())])).unwrap_err();
        assert_eq!(
            (fault.0.as_str(), fault.1.contains("undefined variable \"$nope\"")),
            ("a", true),
            "{}",
            fault.1
        );
    }
}
