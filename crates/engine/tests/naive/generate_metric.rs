//! Random metric queries as text. Widths of windows are powers of two, so that rates are exact.

use crate::dice::Dice;
use crate::generate::{label_filter, log_query};

const GROUPS: [&str; 12] = [
    "a",
    "b",
    "n",
    "app",
    "env",
    "level",
    "detected_level",
    "trace",
    "app_extracted",
    "__error__",
    "a_b",
    "o_a",
];

fn labels(dice: &mut Dice) -> String {
    if dice.once_in(5) { String::new() } else { dice.some(&GROUPS, 2).join(", ") }
}

fn grouping(dice: &mut Dice) -> String {
    format!("{} ({})", dice.pick(&["by", "by", "by", "without"]), labels(dice))
}

fn range(dice: &mut Dice) -> String {
    let width = dice.pick(&["1s", "2s", "4s", "4s", "8s", "16s", "16s", "32s", "500ms", "0s"]);
    let offset = dice.pick(&["", "", "", "", " offset 2s", " offset -3s", " offset 500ms", " offset 30s"]);
    format!("[{width}]{offset}")
}

fn unwrap(dice: &mut Dice) -> String {
    let name = dice.pick(&["n", "n", "a", "d", "s", "b", "app", "o_n"]);
    let conversion = match dice.below(6) {
        0 => format!("bytes({name})"),
        1 => format!("duration({name})"),
        2 => format!("duration_seconds({name})"),
        _ => name.to_owned(),
    };
    let filter = match dice.below(4) {
        0 => String::new(),
        1 => format!(" | {}", label_filter(dice, 1)),
        _ => r#" | __error__="""#.to_owned(),
    };
    format!(" | unwrap {conversion}{filter}")
}

/// A log query that more often than not ends without errors.
fn source(dice: &mut Dice) -> String {
    let query = log_query(dice, true);
    match dice.below(3) {
        0 => query,
        1 => format!(r#"{query} | __error__="""#),
        _ => format!("{query} | drop __error__, __error_details__"),
    }
}

fn range_aggregation(dice: &mut Dice) -> String {
    let log = source(dice);
    let window = range(dice);
    match dice.below(10) {
        0..=3 => {
            let op = dice.pick(&["count_over_time", "rate", "bytes_over_time", "bytes_rate"]);
            format!("{op}({log} {window})")
        }
        4 => {
            let unwrap = if dice.once_in(4) { unwrap(dice) } else { String::new() };
            format!("absent_over_time({log}{unwrap} {window})")
        }
        5 => {
            let op = dice.pick(&["rate", "sum_over_time", "sum_over_time", "rate_counter"]);
            format!("{op}({log}{} {window})", unwrap(dice))
        }
        6 => {
            let phi = dice.pick(&["0", "0.5", "0.25", "0.9", "1", "2"]);
            let by = if dice.once_in(2) { grouping(dice) } else { String::new() };
            format!("quantile_over_time({phi}, {log}{} {window}) {by}", unwrap(dice))
        }
        _ => {
            let op = dice.pick(&["avg", "min", "max", "stddev", "stdvar", "first", "last"]);
            let by = if dice.once_in(2) { grouping(dice) } else { String::new() };
            format!("{op}_over_time({log}{} {window}) {by}", unwrap(dice))
        }
    }
}

fn vector_aggregation(dice: &mut Dice, depth: usize) -> String {
    let inner = if dice.once_in(2) { range_aggregation(dice) } else { metric_query(dice, depth + 1) };
    let by = if dice.once_in(4) { String::new() } else { grouping(dice) };
    match dice.below(10) {
        0..=3 => format!("sum {by} ({inner})"),
        4 => format!("{} {by} ({}, {inner})", dice.pick(&["topk", "bottomk"]), 1 + dice.below(3)),
        5 => format!("approx_topk({}, {inner})", 1 + dice.below(3)),
        6 => format!("{}({inner})", dice.pick(&["sort", "sort_desc"])),
        _ => {
            let op = dice.pick(&["avg", "count", "min", "max", "stddev", "stdvar"]);
            format!("{op} {by} ({inner})")
        }
    }
}

fn binary(dice: &mut Dice, depth: usize) -> String {
    let op = dice.pick(&[
        "+", "-", "*", "/", "%", "^", "==", "!=", ">", ">=", "<", "<=", "> bool", "== bool", "and", "or",
        "unless", "or",
    ]);
    let is_set = ["and", "or", "unless"].contains(&op);
    let left = metric_query(dice, depth + 1);
    if !is_set && dice.once_in(3) {
        let number = dice.pick(&["0", "1", "2", "-3", "0.5"]);
        return if dice.once_in(2) {
            format!("({left}) {op} {number}")
        } else {
            format!("{number} {op} ({left})")
        };
    }
    // The same query on both sides finds partners; so does a sum of it.
    let right = match dice.below(4) {
        0 => left.clone(),
        1 => format!("sum {} ({left})", grouping(dice)),
        2 => format!("vector({})", dice.pick(&["0", "1", "2.5"])),
        _ => metric_query(dice, depth + 1),
    };
    let mut matching = String::new();
    if dice.once_in(2) {
        matching = format!(" {}({})", dice.pick(&["on", "ignoring"]), labels(dice));
        if !is_set && dice.once_in(2) {
            let include = if dice.once_in(2) { format!("({})", labels(dice)) } else { String::new() };
            matching.push_str(&format!(" {}{include}", dice.pick(&["group_left", "group_right"])));
        }
    }
    format!("({left}) {op}{matching} ({right})")
}

pub(crate) fn metric_query(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth < 2 { 12 } else { 4 }) {
        0..=3 => range_aggregation(dice),
        4..=7 => vector_aggregation(dice, depth),
        8 => format!("vector({})", dice.pick(&["0", "1", "2.5"])),
        9 => {
            let (target, source) =
                (dice.pick(&["a", "app", "x"]), dice.pick(&["a", "app", "env", "trace", "nowhere"]));
            let (text, pattern) = dice.pick(&[
                ("$1", "(.*)"),
                ("v-$1", "(.).*"),
                ("", ".*"),
                ("k", "x|a"),
                ("${1}z", "([a-z]+)"),
            ]);
            format!(
                r#"label_replace({}, "{target}", "{text}", "{source}", "{pattern}")"#,
                metric_query(dice, depth + 1)
            )
        }
        _ => binary(dice, depth),
    }
}
