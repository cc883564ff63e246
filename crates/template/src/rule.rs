//! Functions that templates of alert rules have, as in Prometheus 3: numbers for people, links, names of hosts.
//!
//! Loki's rules have the same ones, since it expands them by Prometheus' code.

use crate::call::{Function, Param, Surroundings, check_length, function, text, variadic};
use crate::encoding::query_escape;
use crate::layout::from_ns;
use crate::printf::printf;
use crate::regexes;
use crate::text as texts;
use crate::value::Value;
use logyard_logql::{GoDuration, parse_go_float, parse_prometheus_duration};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

const ONE: &[Param] = &[Param::Text];
const TWO: &[Param] = &[Param::Text, Param::Text];
const ANY: &[Param] = &[Param::Any];

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("humanize", ANY, |_, args| Ok(humanize(number(args)?))),
    function("humanize1024", ANY, |_, args| Ok(humanize1024(number(args)?))),
    function("humanizeDuration", ANY, |_, args| Ok(humanize_duration(number(args)?))),
    function("humanizePercentage", ANY, |_, args| Ok(Value::text(short(number(args)? * 100.0) + "%"))),
    function("humanizeTimestamp", ANY, |_, args| {
        let seconds = number(args)?;
        if !seconds.is_finite() {
            return Ok(Value::text(short(seconds)));
        }
        moment(seconds)
    }),
    function("toTime", ANY, |_, args| moment(number(args)?)),
    function("toDuration", ANY, |_, args| {
        Ok(Value::text(GoDuration((number(args)? * 1e9) as i64).to_string()))
    }),
    function("now", &[], |around, _| Ok(Value::Float(around.now_ns.div_euclid(1_000_000) as f64 / 1000.0))),
    function("parseDuration", ONE, |_, args| {
        let ns = parse_prometheus_duration(&String::from_utf8_lossy(text(args, 0)))?;
        Ok(Value::Float(ns as f64 / 1e9))
    }),
    function("reReplaceAll", &[Param::Text, Param::Text, Param::Text], |around, args| {
        let pick = |index| args.get(index).cloned().unwrap_or(Value::Nil);
        regexes::replace_all(around, &[pick(0), pick(2), pick(1)])
    }),
    function("match", TWO, |around, args| {
        around.regexes.with(text(args, 0), |regex| Value::Bool(regex.is_match(text(args, 1))))
    }),
    function("title", ONE, |_, args| Ok(texts::title(text(args, 0)))),
    function("toUpper", ONE, |_, args| Ok(texts::upper(text(args, 0)))),
    function("toLower", ONE, |_, args| Ok(texts::lower(text(args, 0)))),
    function("safeHtml", ONE, |_, args| Ok(Value::text(text(args, 0)))),
    function("urlQueryEscape", ONE, |_, args| Ok(Value::Text(query_escape(text(args, 0))))),
    function("graphLink", ONE, |_, args| link(text(args, 0), "0")),
    function("tableLink", ONE, |_, args| link(text(args, 0), "1")),
    function("stripPort", ONE, |_, args| Ok(Value::text(split_port(text(args, 0)).0))),
    function("stripDomain", ONE, |_, args| Ok(Value::Text(strip_domain(text(args, 0))))),
    function("externalURL", &[], |around, _| Ok(Value::text(around.external_url))),
    function("pathPrefix", &[], |around, _| Ok(Value::Text(path_of(around.external_url)))),
    variadic("args", &[], Param::Any, |_, args| {
        let named = args.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone()));
        Ok(Value::Map(Rc::new(named.collect::<BTreeMap<_, _>>())))
    }),
    function("query", ONE, no_query),
    function("first", ANY, no_query),
    function("label", &[Param::Text, Param::Any], no_query),
    function("value", ANY, no_query),
    function("strvalue", ANY, no_query),
    function("sortByLabel", &[Param::Text, Param::Any], no_query),
];

/// Files with such templates load; their texts tell this instead.
fn no_query(_: &Surroundings<'_>, _: &[Value]) -> Result<Value, String> {
    Err("templates cannot ask queries here; put the query into the expression of the rule".to_owned())
}

/// Takes a number, or a text that is one.
fn number(args: &[Value]) -> Result<f64, String> {
    match args.first() {
        Some(Value::Float(value)) => Ok(*value),
        Some(Value::Int(value, _)) => Ok(*value as f64),
        Some(Value::Text(text)) => parse_go_float(&String::from_utf8_lossy(text))
            .map_err(|_| format!("can't convert {} to float", String::from_utf8_lossy(text))),
        other => Err(format!("can't convert {} to float", other.unwrap_or(&Value::Nil).type_name())),
    }
}

/// Four digits.
fn short(value: f64) -> String {
    String::from_utf8_lossy(&printf(b"%.4g", &[Value::Float(value)])).into_owned()
}

fn humanize(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return Value::text(short(value));
    }
    if value.abs() >= 1.0 {
        return scaled(value, 1000.0, &LARGE);
    }
    Value::text(small(value))
}

fn humanize1024(value: f64) -> Value {
    match value.abs() <= 1.0 || !value.is_finite() {
        true => Value::text(short(value)),
        false => scaled(value, 1024.0, &LARGE_1024),
    }
}

fn scaled(value: f64, by: f64, units: &[&str]) -> Value {
    let (mut rest, mut unit) = (value, "");
    for next in units {
        if rest.abs() < by {
            break;
        }
        (rest, unit) = (rest / by, next);
    }
    Value::text(short(rest) + unit)
}

fn small(value: f64) -> String {
    let (mut rest, mut unit) = (value, "");
    for next in SMALL {
        if rest.abs() >= 1.0 {
            break;
        }
        (rest, unit) = (rest * 1000.0, next);
    }
    short(rest) + unit
}

fn humanize_duration(value: f64) -> Value {
    if !value.is_finite() {
        return Value::text(short(value));
    }
    if value == 0.0 {
        return Value::text("0s");
    }
    if value.abs() < 1.0 {
        return Value::text(small(value) + "s");
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    let whole = value as i64;
    let (days, hours, minutes, seconds) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    Value::text(match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    })
}

fn moment(seconds: f64) -> Result<Value, String> {
    let ns = seconds * 1e9;
    if !ns.is_finite() || ns.abs() >= i64::MAX as f64 {
        return Err(format!(
            "{seconds} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    // Whole milliseconds are what a number of seconds can say exactly.
    let ns = (seconds * 1000.0).round() as i64 * 1_000_000;
    Ok(Value::Time(Rc::new(from_ns(ns))))
}

fn link(expr: &[u8], tab: &str) -> Result<Value, String> {
    let escaped = query_escape(expr);
    check_length(escaped.len())?;
    Ok(Value::Text([b"/graph?g0.expr=", &*escaped, b"&g0.tab=", tab.as_bytes()].concat()))
}

/// Splits `host:port` or `[host]:port`; without a port everything is host.
fn split_port(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(colon) = text.iter().rposition(|byte| *byte == b':') else { return (text, None) };
    let (host, port) = (text.get(..colon).unwrap_or_default(), text.get(colon + 1..));
    if let Some(inner) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return (inner, port);
    }
    if host.contains(&b':') { (text, None) } else { (host, port) }
}

/// Cuts a name of a host behind its first part; addresses stay.
fn strip_domain(text: &[u8]) -> Vec<u8> {
    let (host, port) = split_port(text);
    if std::str::from_utf8(host).is_ok_and(|host| host.parse::<IpAddr>().is_ok()) {
        return text.to_vec();
    }
    let name = host.split(|byte| *byte == b'.').next().unwrap_or_default();
    match port {
        Some(port) => [name, b":", port].concat(),
        None => name.to_vec(),
    }
}

fn path_of(url: &[u8]) -> Vec<u8> {
    let url = String::from_utf8_lossy(url);
    let behind = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = behind.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    if path.is_empty() { Vec::new() } else { format!("/{path}").into_bytes() }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Entry, Fields, Template, Value};
    use logyard_model::LabelSet;
    use std::rc::Rc;

    #[derive(Debug)]
    struct Alert;

    impl Fields for Alert {
        fn field(&self, name: &str) -> Value {
            match name {
                "Labels" => Value::Labels(Rc::new(LabelSet::from_pairs([("app", "web")]))),
                "Value" => Value::Float(1.5),
                _ => Value::Nil,
            }
        }

        fn text(&self, name: &str) -> Option<&[u8]> {
            (name == "ExternalURL").then_some(b"https://home/logs/")
        }

        fn all(&self) -> Value {
            Value::Nil
        }
    }

    fn run(template: &str) -> Result<String, String> {
        let template = Template::compile("__alert_A", template, Dialect::Rule)?;
        let entry = Entry { line: b"", ts_ns: 0, now_ns: 1_500_000_000 };
        Ok(String::from_utf8(template.run(entry, &Alert)?).unwrap())
    }

    #[track_caller]
    fn check(template: &str, want: &str) {
        assert_eq!(run(template).unwrap(), want, "{template}");
    }

    #[test]
    fn numbers_for_people() {
        for (value, want) in [
            ("0.0", "0"),
            ("1.0", "1"),
            ("1234567.0", "1.235M"),
            (".12", "120m"),
            ("-0.00005", "-50u"),
            ("\"1e30\"", "1e+06Y"),
        ] {
            check(&format!("{{{{ humanize {value} }}}}"), want);
        }
        for (value, want) in [("0.0", "0"), ("1.0", "1"), ("1048576.0", "1Mi"), (".12", "0.12")] {
            check(&format!("{{{{ humanize1024 {value} }}}}"), want);
        }
        for (value, want) in [
            ("0", "0s"),
            ("1", "1s"),
            ("59.123", "59.12s"),
            ("60", "1m 0s"),
            ("-3600", "-1h 0m 0s"),
            ("899999", "10d 9h 59m 59s"),
            (".0001", "100us"),
        ] {
            check(&format!("{{{{ humanizeDuration {value} }}}}"), want);
        }
        check("{{ -0.22222 | humanizePercentage }}", "-22.22%");
        check("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC");
        check(
            "{{ (toTime 0).Year }} {{ now }} {{ parseDuration `1h30m` }} {{ toDuration 90 }}",
            "1970 1.5 5400 1m30s",
        );
        assert!(run("{{ humanize `x` }}").unwrap_err().contains("can't convert x to float"));
    }

    #[test]
    fn texts_hosts_and_links() {
        check("{{ reReplaceAll `(a)b` `$1-` `abab` }}{{ match `^a+$` `aa` }}", "a-a-true");
        check("{{ toUpper `a` }}{{ toLower `B` }}{{ title `ab cd` }}", "AbAb Cd");
        check("{{ stripPort `h:1` }} {{ stripPort `[::1]:2` }} {{ stripPort `::1` }}", "h ::1 ::1");
        check("{{ stripDomain `a.b.c:80` }} {{ stripDomain `10.0.0.1:80` }}", "a:80 10.0.0.1:80");
        check("{{ graphLink `a b` }}", "/graph?g0.expr=a+b&g0.tab=0");
        check("{{ externalURL }} {{ pathPrefix }}", "https://home/logs/ /logs");
        check("{{ (args 1 `x`).arg1 }}", "x");
        check("{{ .Labels.app }}{{ .Labels.none }} {{ .Value }}", "web 1.5");
    }

    #[test]
    fn rules_have_their_own_functions_only() {
        assert_eq!(
            run("{{ trimPrefix `a` `b` }}").unwrap_err(),
            "template: __alert_A:1: function \"trimPrefix\" not defined"
        );
        let text = run("{{ query `up` | first | value }}").unwrap_err();
        assert!(text.contains("templates cannot ask queries"), "{text}");
        assert!(Template::compile("line", "{{ humanize .a }}", Dialect::Query).is_err());
    }
}
