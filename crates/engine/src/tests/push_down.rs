//! Work done early gives the answers of work done in order.

use super::naive::{Dice, entries};
use super::*;
use bytes::Bytes;
use logyard_codec::{
    BlockMeta, SECTION_LENGTHS, SECTION_LEVEL, SECTION_LINES, SECTION_METADATA, SECTION_TS, SectionSource,
};
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

const STAGES: [&str; 26] = [
    r#"|= "GET""#,
    r#"!= "x""#,
    r#"|= "GET" or "error""#,
    r#"|= """#,
    r#"|~ "^(GET|POST) /[xy]$""#,
    r#"|~ "(?i)get.*X""#,
    r#"!~ "(?i)post""#,
    r#"|> "<_> /x" or "error<_>""#,
    r#"| detected_level="info""#,
    r#"| detected_level!="""#,
    r#"| detected_level=~"info|error" or trace="1""#,
    r#"| trace > 1"#,
    r#"| trace="1", app="a""#,
    r#"| __error__="""#,
    r#"| drop detected_level"#,
    r#"| drop trace="1""#,
    r#"| keep app, trace"#,
    r#"| label_format lvl=detected_level"#,
    r#"| label_format trace="{{.app}}""#,
    r#"| logfmt"#,
    r#"| json"#,
    r#"| pattern "<method> <path>""#,
    r#"| regexp "(?P<method>[A-Z]+) ""#,
    r#"| method="GET""#,
    r#"| line_format "{{.method}} {{.trace}}""#,
    r#"| decolorize"#,
];

const METRICS: [&str; 8] = [
    "count_over_time({LOG}[7s])",
    "sum by (detected_level) (count_over_time({LOG}[7s]))",
    "sum by (app, method) (rate({LOG}[7s]))",
    "sum(bytes_over_time({LOG}[7s]))",
    "sum without (trace) (count_over_time({LOG}[7s] offset 2s))",
    "absent_over_time({LOG}[7s])",
    "sum by (app) (sum_over_time({LOG} | unwrap trace [7s]))",
    "topk(1, sum by (trace) (count_over_time({LOG}[30s])))",
];

#[test]
fn answers_are_the_same() {
    let settings = EngineSettings { threads: 2, ..EngineSettings::default() };
    let (early, in_order) = (Engine::new(settings.clone()), Engine::without_push_down(settings));
    let mut with_answers = 0;
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let (_, memory) = entries(&mut dice);
        let count = dice.below(5);
        let stages: Vec<&str> =
            (0..count).map(|_| STAGES[dice.below(STAGES.len() as u64) as usize]).collect();
        let log = format!(r#"{{app=~"a|b"}} {}"#, stages.join(" "));
        let query = match dice.below(2) {
            0 => log,
            _ => METRICS[dice.below(METRICS.len() as u64) as usize].replace("{LOG}", &log),
        };
        let mut wanted = request(&query, range(3, 35, 1 + dice.below(9) as i64));
        wanted.limit = 1 + dice.below(60) as usize;
        wanted.direction = if dice.below(2) == 0 { Direction::Forward } else { Direction::Backward };
        wanted.interval_ns = if dice.below(5) == 0 { 2 * SECOND } else { 0 };
        let answer = |engine: &Engine| match engine.run(&memory, &wanted) {
            Ok(outcome) => Ok(outcome.result),
            Err(error) => Err(error.to_string()),
        };
        let (found, expect) = (answer(&early), answer(&in_order));
        assert_eq!(found, expect, "seed {seed}: {query}");
        with_answers += usize::from(match &found {
            Ok(QueryResult::Entries(entries)) => !entries.is_empty(),
            Ok(QueryResult::Matrix(series)) => !series.is_empty(),
            _ => false,
        });
    }
    assert!(with_answers > 400, "only {with_answers} queries had an answer");
}

/// Lines whose keys are read from columns, and lines that look nearly the same.
const KEYED_LINES: [&str; 27] = [
    r#"{"status":200,"took":"5ms","path":"/a"}"#,
    r#"{"status":500,"took":"1.5s","path":"/b"}"#,
    r#"{"status":"500","took":"x","path":"/b"}"#,
    r#"{"status":null,"took":"","path":"/c"}"#,
    r#"{"path":"/a","took":"7ms"}"#,
    r#"{"status":500,"status":200,"path":"/a"}"#,
    r#"{"sta\u0074us":500,"path":"/a"}"#,
    r#"{"":{"status":500},"path":"/\u0061"}"#,
    r#"{" status ":500,"path":"/a"}"#,
    r#"{"sub":{"status":500},"path":"/a","x":{"y":500}}"#,
    r#"{"x_y":500,"path":"a b"}"#,
    r#"{"path":"/a/5ms","status":500,"app":"c","x":["status",{"status":1}]}"#,
    r#"{"path":"é","status":-1.5e2,"app_extracted":"d","took":"1.5s"}"#,
    r#"{"path":"\u00e9 \q","status":true,"x":{"b\q":1}}"#,
    r#"{"path":{"status":1},"status":"1.2.3.4:80"}"#,
    r#"{"status":500} trailing"#,
    r#"{"x-y":500,"status":abc,"path":"/a"}"#,
    r#"{"bad":nope,"status":500}"#,
    r#"{"status":500,"path":"/a""#,
    r#"status=500 took=5ms path="/a""#,
    r#"status=200 took=1s path="/\"a""#,
    r#"status="500" took=x path=/b"#,
    r#"status=500 status=200 path=/a"#,
    r#"status=a=500 took=1s path=/a"#,
    "a=1	status=500 path=/a",
    r#"status= took=5ms path=/a"#,
    "status 500",
];

const KEYED_STAGES: [&str; 22] = [
    r#"| json"#,
    r#"| json"#,
    r#"| json"#,
    r#"| logfmt"#,
    r#"| logfmt"#,
    r#"| logfmt --strict"#,
    r#"| status=500"#,
    r#"| status>=300"#,
    r#"| status!=200"#,
    r#"| status="500""#,
    r#"| status!="""#,
    r#"| status=~"5.." "#,
    r#"| took>1s"#,
    r#"| path="/a""#,
    r#"| path=~"/.+""#,
    r#"| x_y="500""#,
    r#"| x_y>1 and status>1"#,
    r#"| sub_status=500"#,
    r#"| drop status"#,
    r#"| __error__="""#,
    r#"|= "500""#,
    r#"!= "200""#,
];

#[test]
fn key_filters_on_columns_answer_as_parsers_do() {
    let settings = EngineSettings { threads: 2, ..EngineSettings::default() };
    let (early, in_order) = (Engine::new(settings.clone()), Engine::without_push_down(settings));
    let mut with_answers = 0;
    for seed in 0..2500 {
        let mut dice = Dice(seed);
        let mut view = || -> Vec<Line> {
            let first = dice.below(KEYED_LINES.len() as u64);
            let near = 1 + dice.below(KEYED_LINES.len() as u64);
            (0..dice.below(60))
                .map(|second| {
                    let text = KEYED_LINES[((first + dice.below(near)) % KEYED_LINES.len() as u64) as usize];
                    let app = ["a", "b"][dice.below(2) as usize];
                    let mut one =
                        line(&[("app", app)], second as i64, &text.replace("5ms", &format!("{second}ms")));
                    if dice.below(9) == 0 {
                        one.metadata =
                            LabelSet::from_pairs([(["status", "y"][dice.below(2) as usize], "500")]);
                    }
                    one
                })
                .collect()
        };
        let memory = Memory { views: vec![view(), view(), view()] };
        let count = 2 + dice.below(4);
        let stages: Vec<&str> =
            (0..count).map(|_| KEYED_STAGES[dice.below(KEYED_STAGES.len() as u64) as usize]).collect();
        let log = format!(r#"{{app=~"a|b"}} {}"#, stages.join(" "));
        let query = match dice.below(8) {
            0 => log,
            1 => format!("sum by (status) (count_over_time({log}[9s]))"),
            2 => format!("sum by (path, app) (rate({log}[9s]))"),
            3 => format!("max_over_time({log} | unwrap status [9s]) by (path)"),
            4 => format!("quantile_over_time(0.5, {log} | unwrap duration(took) [9s]) by (app, x_y)"),
            5 => format!("sum by (app_extracted, sub_status) (count_over_time({log}[9s]))"),
            6 => format!("sum(sum_over_time({log} | unwrap status [9s]))"),
            _ => format!("sum by (app) (bytes_over_time({log}[9s]))"),
        };
        let wanted = request(&query, range(3, 60, 5));
        let answer = |engine: &Engine| match engine.run(&memory, &wanted) {
            Ok(outcome) => Ok(outcome.result),
            Err(error) => Err(error.to_string()),
        };
        let (found, expect) = (answer(&early), answer(&in_order));
        assert_eq!(found, expect, "seed {seed}: {query}");
        with_answers += usize::from(match &found {
            Ok(QueryResult::Entries(entries)) => !entries.is_empty(),
            Ok(QueryResult::Matrix(series)) => !series.is_empty(),
            _ => false,
        });
    }
    assert!(with_answers > 400, "only {with_answers} queries had an answer");
}

/// One encoded block that notes which of its sections are read.
#[derive(Debug)]
struct Noting {
    bytes: Bytes,
    meta: Arc<BlockMeta>,
    read: Mutex<BTreeSet<u8>>,
}

impl SectionSource for Noting {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        let section = self.meta.sections.iter().find(|section| u64::from(section.offset) == offset);
        self.read.lock().unwrap().insert(section.unwrap().kind);
        self.bytes.read(offset, bytes)
    }
}

#[derive(Debug)]
struct OneBlock {
    noting: Arc<Noting>,
    run: RunView,
}

impl Select for OneBlock {
    fn select(&self, _: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let source: Arc<dyn SectionSource> = Arc::clone(&self.noting) as _;
        let block = Arc::new(Block::open(Arc::clone(&self.noting.meta), source, 0));
        Ok(vec![BlockView { block, runs: vec![self.run.clone()], arrival: 0 }])
    }
}

/// Entries at the seconds 1 to 20: `{"n": 1}`, of the levels info and warn.
fn one_block() -> OneBlock {
    let mut entries = Entries::new();
    for second in 1..=20 {
        let level = if second % 2 == 0 { "info" } else { "warn" };
        entries.push(second * SECOND, br#"{"n": 1}"#, level, &LabelSet::from_pairs([("trace", "1")]));
    }
    let mut builder = BlockBuilder::new();
    builder.push_run(0, &entries, 0..entries.len());
    let block = builder.finish();
    let (meta, bytes) = (Arc::new(block.meta), Bytes::from(block.bytes));
    let run = RunView {
        stream: Arc::new(Stream::new(&Tenant::single(), LabelSet::from_pairs([("app", "a")]))),
        rows: 0..20,
        min_ns: entries.min_ns(),
        max_ns: entries.max_ns(),
        raw_bytes: entries.line_bytes(),
    };
    OneBlock { noting: Arc::new(Noting { bytes, meta, read: Mutex::default() }), run }
}

#[test]
fn only_what_is_needed_is_decoded() {
    let check = |query: &str, step: i64, expect: &[u8]| {
        let source = one_block();
        let engine = Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() });
        engine.run(&source, &request(query, range(0, 60, step))).unwrap_or_else(|error| panic!("{error}"));
        let read = source.noting.read.lock().unwrap().clone();
        assert_eq!(read, expect.iter().copied().collect(), "{query}");
    };
    // One step holds all entries: nothing is decoded, or the levels alone.
    check(r#"sum(count_over_time({app="a"}[1m]))"#, 60, &[]);
    check(r#"sum(bytes_over_time({app="a"}[1m]))"#, 60, &[]);
    check(r#"sum by (app) (rate({app="a"} | drop __error__ [1m]))"#, 60, &[]);
    check(
        r#"sum by (level, detected_level) (count_over_time({app="a"}[1m]))"#,
        60,
        &[SECTION_LEVEL, SECTION_METADATA],
    );
    check(r#"sum by (detected_level) (count_over_time({app="a"}[1m]))"#, 60, &[SECTION_LEVEL]);
    check(r#"sum(count_over_time({app="a"} | detected_level="warn" [1m]))"#, 60, &[SECTION_LEVEL]);
    check(r#"sum by (detected_level) (count_over_time({app="a"}[5s]))"#, 5, &[SECTION_LEVEL, SECTION_TS]);
    // A level that no entry has.
    check(r#"{app="a"} | detected_level="error""#, 60, &[SECTION_LEVEL]);
    check(r#"{app="a"} |= "n" | detected_level="error" | json"#, 60, &[SECTION_LEVEL]);
    check(r#"sum(rate({app="a"} | detected_level="error" | json | n > 1 [1m]))"#, 60, &[SECTION_LEVEL]);
    check(r#"sum by (n) (rate({app="a"} | trace="2" | json [1m]))"#, 60, &[SECTION_METADATA]);
    // A stream label decides.
    check(r#"{app="a"} |= "n" | app="b" | json"#, 60, &[]);
    // Lines, only where nothing else helps.
    let lines = [SECTION_TS, SECTION_LENGTHS, SECTION_LINES];
    check(r#"sum(count_over_time({app="a"} |= "none" [1m]))"#, 60, &[SECTION_LENGTHS, SECTION_LINES]);
    check(r#"sum(count_over_time({app="a"} |= "n" [1m]))"#, 60, &[SECTION_LENGTHS, SECTION_LINES]);
    check(
        r#"sum(count_over_time({app="a"} | json | n = 1 [1m]))"#,
        60,
        &[SECTION_METADATA, SECTION_LENGTHS, SECTION_LINES],
    );
    check(r#"sum(count_over_time({app="a"} |= "n" [5s]))"#, 5, &lines);
}

#[test]
fn an_entry_with_an_error_keeps_all_labels() {
    let engine = Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() });
    for stages in ["| app > 1", r#"|= "n" | app > 1"#, "| json | app > 1", r#"| json | n = 1 | app > 1"#] {
        let query = format!(r#"sum by (app) (count_over_time({{app="a"}} {stages} [1m]))"#);
        let error = engine.run(&one_block(), &request(&query, range(0, 60, 60))).unwrap_err().to_string();
        for label in [r#"app="a""#, r#"detected_level="info""#, r#"trace="1""#] {
            assert!(error.contains(label), "{query}: {error}");
        }
    }
}
