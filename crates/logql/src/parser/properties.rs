//! Random queries: printing and parsing are inverse, and nothing panics.

use super::*;
use crate::lexer::is_bare_name;
use crate::print::quoted;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("rate".to_owned()),
        Just("été".to_owned()),
        "x[a-z0-9_]{0,6}",
        proptest::collection::vec(any::<char>(), 1..6)
            .prop_map(|chars| chars.into_iter().collect::<String>())
            // What can stand bare must.
            .prop_map(|name| if is_bare_name(&name) { name } else { quoted(&name) }),
        prop_oneof![Just("on"), Just("Pattern"), Just("of")].prop_map(quoted),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let any = proptest::collection::vec(any::<char>(), 0..6)
        .prop_map(|chars| chars.into_iter().collect::<String>());
    any.prop_map(|text| quoted(&text))
}

/// A number, duration or size as a label filter may hold it.
fn constant() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i32>().prop_map(|number| number.to_string()),
        (0.0..1e30_f64).prop_map(|number| format!("{number:e}")),
        (0..1_000_000_u32).prop_map(|count| format!("{count}ms")),
        (0..1_000_000_u32).prop_map(|count| format!("{count}B")),
        (0..1000_u32).prop_map(|count| format!("{count}.5KiB")),
        (0..1000_u32).prop_map(|count| format!("-{count}.25h")),
    ]
}

fn label_filter() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (name(), prop_oneof![Just("="), Just("!=")], text())
            .prop_map(|(name, op, text)| format!("{name}{op}{text}")),
        (name(), prop_oneof![Just("=="), Just("!="), Just(">"), Just("<=")], constant())
            .prop_map(|(name, op, constant)| format!("{name} {op} {constant}")),
        name().prop_map(|name| format!(r#"{name}=ip("10.0.0.0/8")"#)),
        (name(), prop_oneof![Just("=="), Just("!="), Just("<")], prop_oneof![Just("x"), Just("of")])
            .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let connective = prop_oneof![Just(" and "), Just(" or "), Just(" , "), Just(" ")];
        (inner.clone(), connective, inner, any::<bool>()).prop_map(|(left, op, right, parens)| {
            if parens { format!("({left}{op}{right})") } else { format!("{left}{op}{right}") }
        })
    })
}

fn stage() -> impl Strategy<Value = String> {
    let line_op = prop_oneof![Just("|="), Just("!="), Just("|~"), Just("!>")];
    prop_oneof![
        (line_op, proptest::collection::vec(text(), 1..3))
            .prop_map(|(op, texts)| format!("{op} {}", texts.join(" or "))),
        label_filter().prop_map(|filter| format!("| {filter}")),
        (name(), text()).prop_map(|(name, text)| format!("| json x={text}, {name}")),
        (name(), text()).prop_map(|(name, text)| format!("| logfmt --strict {name}={text}")),
        (name(), text()).prop_map(|(name, text)| format!("| label_format {name}=y, \"z.z\"={text}, on=of")),
        (name(), text()).prop_map(|(name, text)| format!("| drop {name}, y={text} | keep {name}, z=\"\"")),
        text().prop_map(|text| format!("| line_format {text} | unpack | decolorize | json --arrays")),
    ]
}

fn log_query() -> impl Strategy<Value = String> {
    (text(), proptest::collection::vec(stage(), 0..4))
        .prop_map(|(text, stages)| format!(r#"{{a="b", on={text}, "k8s.io/c"={text}}} {}"#, stages.join(" ")))
}

fn metric_query() -> impl Strategy<Value = String> {
    let range =
        (log_query(), 1..100_000_u32, -1000..1000_i32, 0..4_u8).prop_map(|(log, range, offset, form)| {
            match form {
                0 => format!("rate({log}[{range}ms] offset {offset}s)"),
                1 if offset > 0 => format!("count_distinct_over_time(\"on\", {log}[{range}m]) without (x)"),
                1 => format!("count_over_time(({log})[{range}m])"),
                2 if offset > 0 => format!("present_over_time({log}[{range}s]) by (a)"),
                2 => format!("max_over_time({log} | unwrap duration(x) | y>1 [{range}s]) by (a, b)"),
                _ => format!("quantile_over_time(0.{range}, {log} | unwrap x [{range}s])"),
            }
        });
    let leaf = prop_oneof![range, (0.0..1e9_f64).prop_map(|number| format!("vector({number})"))];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("^"),
            Just("or"),
            Just("unless"),
            Just("> bool"),
            Just("/ on (a) group_left")
        ];
        prop_oneof![
            inner.clone().prop_map(|inner| format!("sum by (a) ({inner})")),
            inner.clone().prop_map(|inner| format!("topk(3, {inner}) without (b)")),
            (inner.clone(), text())
                .prop_map(|(inner, text)| format!(r#"label_replace({inner}, "a", {text}, "c", ".*")"#)),
            (inner.clone(), text())
                .prop_map(|(inner, text)| format!(r#"label_join({inner}, "a.b", {text}, "c", {text})"#)),
            inner.clone().prop_map(|inner| format!("sum({inner}) by (\"on\", \"a.b\")")),
            inner.clone().prop_map(|inner| format!("clamp({inner}, -1.5, 2)")),
            inner.clone().prop_map(|inner| format!("sgn(max(round({inner}, 0.25) > time()))")),
            inner.clone().prop_map(|inner| format!("2 * -3.5 ^ {inner}")),
            (inner.clone(), op, inner).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        ]
    })
}

/// A log query with stages that no metric query takes.
fn entry_query() -> impl Strategy<Value = String> {
    (log_query(), name(), 0..1001_usize).prop_map(|(log, name, count)| match count % 3 {
        0 => format!("{log} | distinct {name}, x | context {count}"),
        1 => format!("{log} | context {count}, 0"),
        _ => format!("{log} | distinct on, {name} | json"),
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(query in prop_oneof![log_query(), entry_query(), metric_query()]) {
        let expr = parse(&query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let printed = expr.to_string();
        prop_assert_eq!(parse(&printed), Ok(expr), "{} printed as {}", query, printed);
        prop_assert_eq!(parse(&printed).map(|again| again.to_string()), Ok(printed));
    }

    #[test]
    fn nothing_panics(words in proptest::collection::vec(
        prop_oneof![
            stage(),
            metric_query(),
            any::<String>(),
            Just("{a=\"b\"}".to_owned()),
            Just("sum by (".to_owned()),
            Just(")".to_owned()),
            Just("[5m]".to_owned()),
        ],
        0..6,
    )) {
        let text = words.join(" ");
        if let Err(error) = parse(&text) {
            let span = error.span().unwrap_or_default();
            prop_assert!(text.get(span.start..span.end).is_some(), "{:?} in {}", span, text);
            let hint = error.hint().unwrap_or_default();
            prop_assert!(!hint.contains('\n') && hint.len() < 1000, "{} for {}", hint, text);
        }
    }
}
