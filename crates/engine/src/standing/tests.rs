//! Answers with folds are those without, whatever comes late, twice or ahead of its time.

use super::search::Search;
use super::*;
use crate::tests::{Line, Memory, SECOND, line, request};
use crate::{Engine, QueryResult, Select, SelectRequest};
use logyard_codec::BlockView;
use logyard_model::{Direction, Prefilter, Tenant};
use proptest::prelude::*;

const QUERIES: [&str; 8] = [
    r#"sum by (app) (count_over_time({app=~".+"} |= "ERROR" [60s]))"#,
    r#"rate({app="a"} |~ "ERR.*n=[0-4]" [60s])"#,
    r#"sum by (n) (bytes_over_time({app=~"a|b"} | logfmt | n > 2 [40s])) > 3"#,
    r#"sum(count_over_time({app="a"} |= "ERROR" [20s])) or sum by (app) (count_over_time({app="b"} |= "fine" [60s]))"#,
    r#"absent_over_time({app="a"} |= "ERROR" [20s])"#,
    r#"count by (level) (count_over_time({app=~".+"} | detected_level="warn" [60s]))"#,
    r#"sum(count_over_time({app="a"} |= "ERROR" [60s] offset 20s)) / sum(count_over_time({app="a"} |= "n" [60s]))"#,
    r#"sum(count_over_time({app=~".+"} |= "ERROR" | json [60s]))"#,
];

/// All entries of views that a source has.
fn views_of(memory: &Memory) -> Vec<BlockView> {
    let (tenants, prefilter) = (Tenant::single().into(), Prefilter::default());
    let request = SelectRequest {
        tenants: &tenants,
        matchers: &[],
        range: TimeRange::ALL,
        prefilter: &prefilter,
        direction: Direction::Forward,
    };
    memory.select(&request).unwrap()
}

fn answer(outcome: Result<crate::QueryOutcome, Error>) -> Result<String, String> {
    match outcome {
        Ok(outcome) => Ok(match outcome.result {
            QueryResult::Vector(samples) => {
                let mut texts: Vec<String> =
                    samples.iter().map(|sample| format!("{}={}", sample.labels, sample.value)).collect();
                texts.sort();
                texts.join(" ")
            }
            other => format!("{other:?}"),
        }),
        Err(error) => Err(error.to_string()),
    }
}

fn instant(query: &str, seconds: i64) -> crate::QueryRequest {
    request(query, QueryKind::Instant { time_ns: seconds * SECOND })
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let text = prop_oneof![
        (0..6).prop_map(|n| format!("ERROR n={n}")),
        (0..6).prop_map(|n| format!("fine n={n}")),
        Just(r#"{"msg":"ERROR"}"#.to_owned()),
    ];
    let one = (prop_oneof![Just("a"), Just("b")], -30..50_i64, text, prop_oneof![Just("warn"), Just("info")]);
    proptest::collection::vec(one, 0..12).prop_map(|all| {
        let line = |(app, seconds, text, level): (&str, i64, String, &'static str)| Line {
            level,
            ..line(&[("app", app)], seconds, &text)
        };
        all.into_iter().map(line).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_are_those_of_reading(
        before in lines(),
        rounds in proptest::collection::vec(lines(), 1..9),
        shown_after in prop_oneof![Just(i64::MIN), (-30..50_i64).prop_map(|seconds| seconds * SECOND)],
    ) {
        let engine = Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() });
        let mut memory = Memory::new(&[&before]);
        let room = Room::default();
        let mut standings = Standings::default();
        let mut standing = Vec::new();
        for query in QUERIES {
            let times = (0, 20 * SECOND);
            let one = Standing::new(engine.settings(), &instant(query, 0).expr, times, &room).unwrap();
            let one = Arc::new(one.expect("has folds"));
            standings.add(Arc::clone(&one));
            standing.push(one);
        }
        // Some of what was there before is shown, and the first of what comes before that is known.
        for view in views_of(&memory) {
            if view.runs.iter().any(|run| run.max_ns > shown_after) {
                standings.take(&view).unwrap();
            }
        }
        for (round, lines) in (1..).zip(&rounds) {
            // Times are about those of the round: some are late, some ahead, and some came before.
            let moved = |line: &Line| Line { ts_ns: line.ts_ns + round * 20 * SECOND, ..line.clone() };
            let mut lines: Vec<Line> = lines.iter().map(moved).collect();
            lines.extend(memory.views.last().and_then(|view| view.first()).cloned());
            let shown = Memory::new(&[&lines]);
            for view in views_of(&shown) {
                standings.take(&view).unwrap();
            }
            memory.views.push(lines);
            standing.iter().for_each(|standing| standing.knows_after(shown_after));
            for (query, standing) in QUERIES.iter().zip(&standing) {
                let request = instant(query, round * 20);
                let want = answer(engine.run(&memory, &request));
                let got = answer(engine.run_standing(&memory, &request, standing));
                prop_assert_eq!(got, want, "{} at {}", query, round * 20);
            }
            let kept = |standing: &Arc<Standing>| standing.folds.iter().map(|fold| fold.kept().entries).sum::<usize>();
            prop_assert_eq!(room.0.load(Ordering::Relaxed), standing.iter().map(kept).sum::<usize>());
        }
        drop((standings, standing));
        prop_assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}

fn standing(query: &str, newest: i64) -> Option<Standing> {
    let times = (0, 60 * SECOND);
    let room = Room::default();
    let standing = Standing::new(&EngineSettings::default(), &instant(query, 0).expr, times, &room).unwrap();
    standing.iter().for_each(|standing| standing.knows_after(newest * SECOND));
    standing
}

#[test]
fn what_gains_nothing_is_not_folded() {
    for query in [
        r#"sum(count_over_time({app="a"}[5m]))"#,
        r#"sum(count_over_time({app="a"} |= "x" [2h]))"#,
        r#"sum(count_over_time({app="a"} |= "x" [5m] offset 1m))"#,
        r#"sum(sum_over_time({app="a"} | logfmt | unwrap n [5m]))"#,
        r#"sum(count_over_time({app="a"} | line_format "{{ now }}" |= "x" [5m]))"#,
        r#"sum(count_over_time({app="a"} |= "x" [59m59s]))"#,
        "vector(1)",
    ] {
        assert!(standing(query, 0).is_none(), "{query}");
    }
}

#[test]
fn what_is_folded_is_not_read_again() {
    let query = r#"sum(count_over_time({app="a"} |= "ERROR" [2m]))"#;
    let engine = Engine::new(EngineSettings::default());
    let standing = Arc::new(standing(query, 30).unwrap());
    let mut standings = Standings::default();
    standings.add(Arc::clone(&standing));
    let lines: Vec<Line> = (31..300).map(|second| line(&[("app", "a")], second, "ERROR x")).collect();
    let memory = Memory::new(&[&lines]);
    for view in views_of(&memory) {
        standings.take(&view).unwrap();
    }
    let read = |seconds: i64| {
        let request = instant(query, seconds);
        let outcome = engine.run_standing(&memory, &request, &standing).unwrap();
        let stats = outcome.stats;
        (stats.entries, answer(Ok(outcome)).unwrap())
    };
    // What was there before is read once more, up to a border of a bucket.
    assert_eq!(read(120), (30, "{}=90".to_owned()));
    assert_eq!(read(180), (0, "{}=120".to_owned()));
    assert_eq!(read(240), (0, "{}=120".to_owned()));
    // At another instant than was said everything is read.
    assert_eq!(read(251), (120, "{}=120".to_owned()));
}

#[test]
fn a_fold_of_too_many_entries_rests() {
    let query = r#"sum(count_over_time({app="a"} |= "ERROR" [60s]))"#;
    let engine = Engine::new(EngineSettings::default());
    let standing = Arc::new(standing(query, 0).unwrap());
    let mut standings = Standings::default();
    standings.add(Arc::clone(&standing));
    let many = ENTRIES_MAX as i64 + 5;
    let lines: Vec<Line> =
        (1..=many).map(|n| Line { ts_ns: n * 1_000_000, ..line(&[("app", "a")], 0, "ERROR x") }).collect();
    let mut memory = Memory::new(&[&lines]);
    let show = |standings: &mut Standings, memory: &Memory| {
        for view in views_of(memory) {
            standings.take(&view).unwrap();
        }
    };
    show(&mut standings, &memory);
    assert!(standing.folds[0].kept().rests.is_some());
    assert!(standing.folds[0].kept().buckets.is_empty(), "its memory is given back");
    let run = |memory: &Memory, seconds: i64| {
        answer(engine.run_standing(memory, &instant(query, seconds), &standing)).unwrap()
    };
    assert_eq!(run(&memory, 60), format!("{{}}={many}"));
    // After its rest it begins anew, behind what it was shown meanwhile.
    assert_eq!(run(&memory, 660), "");
    assert!(standing.folds[0].kept().rests.is_none());
    let later =
        Memory::new(&[&[line(&[("app", "a")], 700, "ERROR x"), line(&[("app", "a")], 715, "ERROR x")]]);
    show(&mut standings, &later);
    memory.views.extend(later.views);
    assert_eq!(run(&memory, 720), "{}=2");
    assert_eq!(standing.folds[0].kept().from_ns, 660 * SECOND);
}

#[test]
fn queries_that_come_later_are_shown_entries_too() {
    let mut standings = Standings::default();
    let mut all = Vec::new();
    for number in 0..40 {
        let query = format!(r#"sum(count_over_time({{app="a"}} |= "n={number} " [60s]))"#);
        let one = Arc::new(standing(&query, 0).unwrap());
        standings.add(Arc::clone(&one));
        all.push(one);
        let text: String = (0..40).map(|number| format!("n={number} ")).collect();
        for app in ["a", "b"] {
            for view in views_of(&Memory::new(&[&[line(&[("app", app)], number + 1, &text)]])) {
                standings.take(&view).unwrap();
            }
        }
    }
    // Each has all lines since it came.
    let counts: Vec<usize> = all.iter().map(|one| one.folds[0].kept().entries).collect();
    assert_eq!(counts, (1..=40).rev().collect::<Vec<_>>());
}

#[test]
fn only_folds_that_an_entry_may_concern_are_tried() {
    let texts = ["|= \"one\"", "|= \"two\"", "|~ \"one|three\"", "| detected_level=\"warn\""];
    let mut standings = Standings::default();
    for text in texts {
        let query = format!(r#"sum(count_over_time({{app="a"}} {text} [60s]))"#);
        standings.add(Arc::new(standing(&query, 0).unwrap()));
    }
    let mut search = Search::new(&standings.list).unwrap();
    let mut rows_of = |app: &str, lines: &[&str]| {
        let lines: Vec<Line> = (1..).zip(lines).map(|(at, text)| line(&[("app", app)], at, text)).collect();
        let view = views_of(&Memory::new(&[&lines])).remove(0);
        search.folds_of(&standings.list, &view.block, &view.runs[0]).unwrap()
    };
    let several = rows_of("a", &["one two one", "fine", "three", "two"]);
    let want = [
        (0, Rows::Some(vec![0])),
        (1, Rows::Some(vec![0, 3])),
        (2, Rows::Some(vec![0, 2])),
        (3, Rows::All(0..4)),
    ];
    assert_eq!(several, want, "only the rows that hold what it asks for");
    let mut found = |app: &str, text: &str| -> Vec<usize> {
        rows_of(app, &[text]).into_iter().map(|(number, _)| number).collect()
    };
    assert_eq!(found("a", "all in one"), [0, 2, 3]);
    assert_eq!(found("a", "twone"), [0, 1, 2, 3], "texts may overlap");
    assert_eq!(found("a", "two and three"), [1, 2, 3]);
    assert_eq!(found("a", "none of them: four"), [0, 2, 3]);
    assert_eq!(found("a", "4"), [3]);
    assert_eq!(found("b", "one two three"), Vec::<usize>::new());
}

#[test]
fn all_that_share_a_room_are_bounded_together() {
    let room = Room::default();
    room.0.store(ROOM_ENTRIES_MAX - 5, Ordering::Relaxed);
    let query = r#"sum(count_over_time({app="a"} |= "ERROR" [60s]))"#;
    let times = (0, 60 * SECOND);
    let expr = instant(query, 0).expr;
    let standing = Standing::new(&EngineSettings::default(), &expr, times, &room).unwrap().unwrap();
    standing.knows_after(0);
    let mut standings = Standings::default();
    standings.add(Arc::new(standing));
    for (second, rests) in [(1, false), (5, false), (6, true)] {
        let lines: Vec<Line> = (1..=second).map(|n| line(&[("app", "a")], n, "ERROR")).collect();
        for view in views_of(&Memory::new(&[&lines])) {
            standings.take(&view).unwrap();
        }
        assert_eq!(standings.list[0].folds[0].kept().rests.is_some(), rests, "{second}");
    }
    assert_eq!(room.0.load(Ordering::Relaxed), ROOM_ENTRIES_MAX - 5, "what rests takes no room");
}

#[test]
fn series_that_are_no_more_are_forgotten() {
    let query = r#"sum by (n) (count_over_time({app="a"} |= "ERROR" | logfmt [60s]))"#;
    let engine = Engine::new(EngineSettings::default());
    let standing = Arc::new(standing(query, 0).unwrap());
    let mut standings = Standings::default();
    standings.add(Arc::clone(&standing));
    let mut memory = Memory::new(&[]);
    for minute in 0..4 {
        let text = |n: i64| format!("ERROR n={}", minute * 100 + n);
        let lines: Vec<Line> = (1..=50).map(|n| line(&[("app", "a")], minute * 60 + n, &text(n))).collect();
        let shown = Memory::new(&[&lines]);
        for view in views_of(&shown) {
            standings.take(&view).unwrap();
        }
        memory.views.extend(shown.views);
        let request = instant(query, (minute + 1) * 60);
        let want = answer(engine.run(&memory, &request));
        assert_eq!(answer(engine.run_standing(&memory, &request, &standing)), want);
        assert_eq!(want.unwrap().matches("=1").count(), 50);
    }
    assert!(standing.folds[0].kept().series.len() <= 164);
}
