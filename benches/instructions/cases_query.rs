//! What a query does: stages, folds, and the answer's text.

use crate::cases::{Case, Work};
use crate::corpus::made;
use crate::kept;
use crate::memory::Memory;
use logyard_engine::QueryResult;
use logyard_model::LabelSet;
use logyard_wire::loki_answer::{StreamsAnswer, matrix};
use logyard_wire::loki_stats::Stats;
use std::hint::black_box;

/// Bytes of lines in a case.
const BYTES: usize = 256 << 10;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "json stage, one field",
        prepare: || query("json", r#"sum by (status) (count_over_time({app="shop"} | json [all]))"#),
    },
    Case {
        name: "json stage, all fields",
        prepare: || {
            query("json", r#"sum without () (count_over_time({app="shop"} | json | keep level [all]))"#)
        },
    },
    Case {
        name: "logfmt stage, one field",
        prepare: || query("logfmt", r#"sum by (status) (count_over_time({app="shop"} | logfmt [all]))"#),
    },
    Case {
        name: "logfmt stage, all fields",
        prepare: || {
            query("logfmt", r#"sum without () (count_over_time({app="shop"} | logfmt | keep level [all]))"#)
        },
    },
    Case {
        name: "regexp stage",
        prepare: || {
            query(
                "text",
                r#"sum by (m) (count_over_time({app="shop"} | regexp "\"(?P<m>[A-Z]+) (?P<p>\\S+) HTTP" [all]))"#,
            )
        },
    },
    Case {
        name: "pattern stage, shredded lines",
        prepare: || {
            shredded(
                "text",
                "sum by (status) (count_over_time({app=\"shop\"} \
                 | pattern `<ip> - <_> [<_>] \"<method> <path> <_>\" <status> <size> <_>` [all]))",
            )
        },
    },
    Case {
        name: "regexp stage, shredded lines",
        prepare: || {
            shredded(
                "text",
                "sum by (user) (count_over_time({app=\"shop\"} \
                 | regexp `Failed password for (?:invalid user )?(?P<user>\\S+) from` [all]))",
            )
        },
    },
    Case {
        name: "json stage and unwrap, shredded lines",
        prepare: || {
            shredded(
                "json",
                r#"quantile_over_time(0.99, {app="shop"} | json | unwrap bytes [all]) by (status)"#,
            )
        },
    },
    Case {
        name: "logfmt stage, shredded lines",
        prepare: || shredded("logfmt", r#"sum by (status) (count_over_time({app="shop"} | logfmt [all]))"#),
    },
    Case {
        name: "line_format stage",
        prepare: || {
            query(
                "logfmt",
                r#"sum(count_over_time({app="shop"} | logfmt | line_format "{{.level}} {{.status}}" |= "error" [all]))"#,
            )
        },
    },
    Case {
        name: "line filters",
        prepare: || {
            query("text", r#"sum(count_over_time({app="shop"} |= "e" != "oracle" |~ "\\d{5} \"-\"" [all]))"#)
        },
    },
    Case {
        name: "log query, last 100 of all",
        prepare: || repeated(10, Memory::new(&made("text", BYTES)).prepare(r#"{app="shop"} |= "peer""#)),
    },
    Case { name: "log query, last 100, blocks kept", prepare: || repeated(10, kept::last_lines(BYTES)) },
    Case {
        name: "range aggregation, counts",
        prepare: || {
            let memory = Memory::new(&made("logfmt", BYTES));
            repeated(30, memory.prepare_range(r#"sum(count_over_time({app="shop"}[1m]))"#, 100))
        },
    },
    Case {
        name: "range aggregation, sums",
        prepare: || steps(r#"sum by (level) (sum_over_time({app="shop"} | logfmt | unwrap lines [1m]))"#),
    },
    Case { name: "answer encode, streams", prepare: answer_streams },
    Case { name: "answer encode, matrix", prepare: answer_matrix },
];

fn query(kind: &str, text: &str) -> Work {
    repeated(1, Memory::new(&made(kind, BYTES)).prepare(text))
}

fn shredded(kind: &str, text: &str) -> Work {
    repeated(1, Memory::shredded(&made(kind, BYTES)).prepare(text))
}

fn steps(text: &str) -> Work {
    repeated(1, Memory::new(&made("logfmt", BYTES)).prepare_range(text, 100))
}

/// What takes little is run often, so that the waking of threads counts for little.
fn repeated(times: usize, run: impl Fn() -> QueryResult + 'static) -> Work {
    Box::new(move || {
        for _ in 0..times {
            black_box(run());
        }
    })
}

fn answer_streams() -> Work {
    let lines = made("json", BYTES).lines;
    let (labels, none) = (LabelSet::from_pairs([("app", "shop"), ("container", "c1")]), LabelSet::default());
    Box::new(move || {
        let mut answer = StreamsAnswer::new(&[], &[], false);
        for lines in lines.chunks(100) {
            answer.stream(&labels);
            for (number, line) in lines.iter().enumerate() {
                answer.entry(1_741_046_400_000_000_000 + number as i64, line.as_bytes(), &none, &none);
            }
        }
        black_box(answer.finish(&Stats::default()));
    })
}

fn answer_matrix() -> Work {
    let sets: Vec<LabelSet> =
        (0..50).map(|number| LabelSet::from_pairs([("container", format!("c{number}"))])).collect();
    Box::new(move || {
        let points = |series: usize| {
            (0..200_i64)
                .map(move |step| (step * 15_000_000_000, (step * 7 % 31) as f64 / (series + 1) as f64))
        };
        let series = sets.iter().enumerate().map(|(number, labels)| (labels, points(number)));
        black_box(matrix(series, &Stats::default(), &[]));
    })
}
