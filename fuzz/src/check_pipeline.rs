//! Any bytes as a query and its lines: nothing panics, no entry is lost by a stage that drops none.
//!
//! The input is parts between bytes 0xff: a query or the choice of one, then lines. A line that begins
//! with 0xfe is its rest repeated until it is long.

use crate::one_stream::OneStream;
use logyard_engine::{Error, Kind, QueryResult};
use logyard_logql::{Expr, StageKind, parse};
use logyard_model::{Direction, LabelSet};

/// Pipelines for inputs that begin with no query.
pub const PIPELINES: [&str; 24] = [
    "| json",
    "| json a, b=\"o.p\", c=\"x[0]\"",
    "| logfmt",
    "| logfmt --strict --keep-empty",
    "| logfmt a, b=\"c\"",
    "| unpack",
    "| unpack | json | logfmt",
    "| regexp `(?P<a>\\w+).(?P<b>.*)`",
    "| pattern `<a> <_> \"<b>\" <c>`",
    "| pattern `[<a>] <b>`",
    "| decolorize",
    "| decolorize | logfmt | drop a, b=~\".*x\"",
    "| json | line_format `{{.a}} {{__line__}}` | logfmt",
    "| json | label_format b=a, c=`{{.b | upper}}{{.o_p}}`, app=`{{.x}}`",
    "| logfmt | keep a, b, app",
    "|= `a` or `\\x00` | json",
    "|~ `(?i)a.*b` or `^$` | logfmt",
    "|> `<_>a<_>` !> `b<_>` | json",
    "|= ip(`10.0.0.0/8`) or ip(`::1`)",
    "| json | a > 5 or b >= 1KB and c < 1s, d != ip(`1.2.3.4`)",
    "| logfmt | a =~ `x.*|` | __error__=``",
    "| json | drop __error__, __error_details__ | logfmt --strict",
    "| line_format `{{.app}}{{ __timestamp__ }}` | json",
    "",
];

/// Most lines taken from one input.
const LINES_MAX: usize = 32;

/// Runs one input.
pub fn check(input: &[u8], long_line_bytes: usize) {
    let mut parts = input.split(|byte| *byte == 0xff);
    let head = parts.next().unwrap_or_default();
    let lines: Vec<Vec<u8>> = parts.take(LINES_MAX).map(|part| line(part, long_line_bytes)).collect();
    let entries = OneStream { lines, metadata: LabelSet::from_pairs([("app", "m"), ("trace", "1")]) };
    let given = std::str::from_utf8(head).ok().and_then(|text| parse(text).ok());
    match given {
        Some(expr @ Expr::Metric(_)) => run_metric(&entries, &expr),
        Some(expr @ Expr::Log(_)) => run_log(&entries, &expr),
        Some(Expr::Variants(_)) => {}
        None => {
            let choice = usize::from(head.first().copied().unwrap_or_default());
            let pipeline = PIPELINES[choice % PIPELINES.len()];
            run_log(&entries, &parse(&format!(r#"{{app="a"}} {pipeline}"#)).expect("a query"));
        }
    }
}

fn line(part: &[u8], long_line_bytes: usize) -> Vec<u8> {
    match part.split_first() {
        Some((0xfe, unit)) if !unit.is_empty() => {
            unit.iter().copied().cycle().take(long_line_bytes.max(unit.len())).collect()
        }
        _ => part.to_vec(),
    }
}

/// A query that cannot be answered must be the query's own fault.
fn refused(error: &Error, expr: &Expr) {
    assert!(matches!(error.kind(), Kind::Invalid | Kind::Limited), "{expr}: {error}");
    assert!(!error.to_string().is_empty());
}

fn run_log(entries: &OneStream, expr: &Expr) {
    let Expr::Log(log) = expr else { return };
    let forward = match entries.ask(expr, false, Direction::Forward) {
        Ok(QueryResult::Entries(found)) => found,
        Ok(other) => panic!("{expr} gives {other:?}"),
        Err(error) => return refused(&error, expr),
    };
    let Ok(QueryResult::Entries(mut backward)) = entries.ask(expr, false, Direction::Backward) else {
        panic!("{expr} is answered forward only");
    };
    backward.reverse();
    assert_eq!(forward, backward, "{expr}");
    let drops = |stage: &StageKind| matches!(stage, StageKind::LineFilter(_) | StageKind::LabelFilter(_));
    let selected = log.matchers.iter().all(|matcher| match matcher.name() {
        "app" => matcher.matches("a"),
        "env" => matcher.matches("p"),
        _ => matcher.matches(""),
    });
    let keeps_all = selected && !log.stages.iter().any(|stage| drops(&stage.kind));
    assert!(forward.len() <= entries.lines.len(), "{expr}");
    let is_lossy = expr.to_string().contains("distinct");
    assert!(is_lossy || !keeps_all || forward.len() == entries.lines.len(), "{expr} lost entries");
    let counted = format!("count_over_time({expr}[1h])");
    for query in [format!("sum({counted})"), format!("sum by (a, __error__) ({counted})"), counted] {
        // Extensions of log queries cannot be counted.
        let Ok(metric) = parse(&query) else { continue };
        run_metric(entries, &metric);
        match entries.ask(&metric, true, Direction::Forward) {
            Ok(QueryResult::Vector(samples)) => {
                let sum: f64 = samples.iter().map(|sample| sample.value).sum();
                // Behind an error in a template that nobody needs the counts may differ, never exceed.
                assert!(sum <= entries.lines.len() as f64, "{query} counts {sum}");
                assert!(!keeps_all || sum == entries.lines.len() as f64, "{query} counts {sum}");
            }
            Ok(other) => panic!("{query} gives {other:?}"),
            Err(error) => refused(&error, &metric),
        }
    }
}

fn run_metric(entries: &OneStream, expr: &Expr) {
    for is_instant in [true, false] {
        if let Err(error) = entries.ask(expr, is_instant, Direction::Forward) {
            refused(&error, expr);
        }
    }
}
