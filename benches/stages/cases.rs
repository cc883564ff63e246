//! What is measured: lines to read, a name, and a query that spends its time in one stage.
//!
//! `sum(…)` and `sum by (…)` let parsers read only what is needed; `sum without (…)` makes them read
//! everything, as a log query does.

/// Searches that bound the searches below: corpus, name, needle.
pub(crate) const LIMITS: &[(&str, &str, &str)] = &[
    ("text", "memmem, rare", "db-7.internal"),
    ("text", "memmem, frequent", "Failed password"),
    ("json", "memmem, absent", "tenant"),
    ("json", "memmem, in every line", "status"),
    ("logfmt", "memmem, absent", "tenant"),
];

/// Queries at one instant, or log queries; `[all]` is a range over everything.
pub(crate) const QUERIES: &[(&str, &str, &str)] = &[
    // Line filters.
    ("text", "no stage, bytes", r#"sum(bytes_over_time({app="shop"}[all]))"#),
    ("text", "literal, rare", r#"sum(count_over_time({app="shop"} |= "db-7.internal" [all]))"#),
    ("text", "literal, frequent", r#"sum(count_over_time({app="shop"} |= "Failed password" [all]))"#),
    ("text", "two literals", r#"sum(count_over_time({app="shop"} |= "db-3" |= "retry 4" [all]))"#),
    ("text", "not literal", r#"sum(count_over_time({app="shop"} != "HTTP/1.1" [all]))"#),
    (
        "text",
        "or chain",
        r#"sum(count_over_time({app="shop"} |= "db-7.internal" or "panic" or "oracle" [all]))"#,
    ),
    (
        "text",
        "regex with literal",
        r#"sum(count_over_time({app="shop"} |~ "retry \\d of 5, request [0-9a]+b" [all]))"#,
    ),
    (
        "text",
        "regex with rare literal",
        r#"sum(count_over_time({app="shop"} |~ "db-7\\.internal:\\d+ reset" [all]))"#,
    ),
    ("text", "regex without literal", r#"sum(count_over_time({app="shop"} |~ "\\d{5} \"-\"" [all]))"#),
    ("text", "regex, alternatives", r#"sum(count_over_time({app="shop"} |~ "panic|fatal|oracle" [all]))"#),
    ("text", "regex, any case", r#"sum(count_over_time({app="shop"} |~ "(?i)PANIC" [all]))"#),
    (
        "text",
        "pattern filter",
        r#"sum(count_over_time({app="shop"} |> "<_> WARN connection to <_> reset by <_>" [all]))"#,
    ),
    ("text", "ip filter", r#"sum(count_over_time({app="shop"} |= ip("192.168.7.0/24") [all]))"#),
    // json.
    (
        "json",
        "one field, filter no line can pass",
        r#"sum(count_over_time({app="shop"} | json | tenant="t1" [all]))"#,
    ),
    (
        "json",
        "one field, filter few lines can pass",
        r#"sum(count_over_time({app="shop"} | json | user="u77" [all]))"#,
    ),
    (
        "json",
        "one field, to look at in each line",
        r#"sum by (status) (count_over_time({app="shop"} | json [all]))"#,
    ),
    ("json", "one field, the first", r#"sum by (level) (count_over_time({app="shop"} | json [all]))"#),
    ("json", "one field, nested", r#"sum by (request_method) (count_over_time({app="shop"} | json [all]))"#),
    ("json", "one field, in no line", r#"sum by (tenant) (count_over_time({app="shop"} | json [all]))"#),
    ("json", "all fields", r#"sum without () (count_over_time({app="shop"} | json | keep level [all]))"#),
    ("json", "log query, filter few lines can pass", r#"{app="shop"} | json | user="u7777""#),
    ("json", "paths", r#"sum by (m) (count_over_time({app="shop"} | json m="request.method" [all]))"#),
    ("json", "unwrap", r#"sum(sum_over_time({app="shop"} | json | unwrap bytes [all]))"#),
    // logfmt.
    (
        "logfmt",
        "one field, in every line",
        r#"sum by (status) (count_over_time({app="shop"} | logfmt [all]))"#,
    ),
    ("logfmt", "one field, in no line", r#"sum by (tenant) (count_over_time({app="shop"} | logfmt [all]))"#),
    (
        "logfmt",
        "one field, filter no line can pass",
        r#"sum(count_over_time({app="shop"} | logfmt | tenant="t1" [all]))"#,
    ),
    ("logfmt", "all fields", r#"sum without () (count_over_time({app="shop"} | logfmt | keep level [all]))"#),
    (
        "logfmt",
        "all fields, strict",
        r#"sum without () (count_over_time({app="shop"} | logfmt --strict | keep level [all]))"#,
    ),
    ("logfmt", "keys", r#"sum by (s) (count_over_time({app="shop"} | logfmt s="status" [all]))"#),
    // Other parsers.
    (
        "text",
        "regexp",
        r#"sum by (m) (count_over_time({app="shop"} | regexp "\"(?P<m>[A-Z]+) (?P<p>\\S+) HTTP" [all]))"#,
    ),
    (
        "text",
        "pattern",
        r#"sum by (m) (count_over_time({app="shop"} | pattern "<ip> - - [<_>] \"<m> <path> <_>\" <status> <_>" [all]))"#,
    ),
    (
        "packed",
        "unpack",
        r#"sum by (container) (count_over_time({app="shop"} | unpack | container="c1" [all]))"#,
    ),
    ("colors", "decolorize", r#"sum(count_over_time({app="shop"} | decolorize |= "error" [all]))"#),
    // Label filters, on top of "one field, in every line" of logfmt.
    ("logfmt", "label = text", r#"sum(count_over_time({app="shop"} | logfmt | status="200" [all]))"#),
    ("logfmt", "label =~ regex", r#"sum(count_over_time({app="shop"} | logfmt | status=~"2..|3.." [all]))"#),
    ("logfmt", "label > number", r#"sum(count_over_time({app="shop"} | logfmt | status > 100 [all]))"#),
    ("logfmt", "label > duration", r#"sum(count_over_time({app="shop"} | logfmt | duration > 1s [all]))"#),
    ("logfmt", "label > bytes", r#"sum(count_over_time({app="shop"} | logfmt | total_bytes > 1MB [all]))"#),
    // Formatters.
    (
        "logfmt",
        "line_format",
        r#"sum(count_over_time({app="shop"} | logfmt | line_format "{{.level}} {{.status}}" |= "error" [all]))"#,
    ),
    (
        "logfmt",
        "label_format",
        r#"sum by (x) (count_over_time({app="shop"} | logfmt | label_format x="{{.level}}-{{.status}}" [all]))"#,
    ),
    (
        "logfmt",
        "rename",
        r#"sum by (x) (count_over_time({app="shop"} | logfmt | label_format x=status [all]))"#,
    ),
    ("logfmt", "drop", r#"sum by (level) (count_over_time({app="shop"} | logfmt | drop app, host [all]))"#),
    // Folds.
    (
        "logfmt",
        "count, two labels",
        r#"sum by (level, status) (count_over_time({app="shop"} | logfmt [all]))"#,
    ),
    ("logfmt", "count, many series", r#"sum by (caller) (count_over_time({app="shop"} | logfmt [all]))"#),
    ("logfmt", "sum of unwrap", r#"sum(sum_over_time({app="shop"} | logfmt | unwrap lines [all]))"#),
    (
        "logfmt",
        "quantile of unwrap",
        r#"quantile_over_time(0.99, {app="shop"} | logfmt | unwrap duration(duration) [all]) by (level)"#,
    ),
    (
        "logfmt",
        "topk over series",
        r#"topk(5, sum by (caller) (count_over_time({app="shop"} | logfmt [all])))"#,
    ),
];

/// Queries over steps: name, steps, query; `[step]` is a range of one step. Wide windows overlap.
pub(crate) const STEPS: &[(&str, i64, &str)] = &[
    ("count, one step wide", 1000, r#"sum(count_over_time({app="shop"}[step]))"#),
    ("sum, 1m wide", 1000, r#"sum by (level) (sum_over_time({app="shop"} | logfmt | unwrap lines [1m]))"#),
    ("avg, 1m wide", 1000, r#"avg_over_time({app="shop"} | logfmt | unwrap lines [1m]) by (level)"#),
    ("max, 1m wide", 1000, r#"max_over_time({app="shop"} | logfmt | unwrap lines [1m]) by (level)"#),
    ("stddev, 1m wide", 1000, r#"stddev_over_time({app="shop"} | logfmt | unwrap lines [1m]) by (level)"#),
    (
        "quantile, 1m wide",
        1000,
        r#"quantile_over_time(0.9, {app="shop"} | logfmt | unwrap lines [1m]) by (level)"#,
    ),
    ("max, one step wide", 1000, r#"max_over_time({app="shop"} | logfmt | unwrap lines [step]) by (level)"#),
];
