//! Shredded lines reduced to what a parser looks at give the answers of whole lines.

use super::naive::Dice;
use super::*;

/// Values that stand in lines; those of one place are drawn from a few of them.
const VALUES: [&str; 24] = [
    "200",
    "404",
    "7",
    "10.0.0.1",
    "192.168.1.77",
    "-",
    "",
    "root",
    "admin1",
    "invalid user x9",
    "GET /a/1 HTTP/1.1",
    "GET /b?x=2 HTTP/2.0",
    "POST /c\" 500 \"x 3 HTTP/1.1",
    "PROPFIND",
    "a b c d 5",
    "] \"",
    "\" ",
    "0",
    "00:12:07",
    "é1",
    "deadbeef01234567",
    "from",
    " from 1.2.3.4",
    "Failed password for",
];

const FORMS: [&str; 8] = [
    r#"$ - $ [$/Nov/$:06:00:@ +0000] "$" $ $ "$" "agent $""#,
    r#"$ - - [@] "GET /p/@ HTTP/1.1" $ @ "-" "-""#,
    r#"Nov 14 06:00:@ host sshd[@]: Failed password for $ from $ port @ ssh2"#,
    r#"Nov 14 06:00:@ host sshd[@]: Failed password for invalid user $ from 10.0.0.@ port @ ssh2"#,
    r#"sshd[@]: Accepted password for $ from $ port @"#,
    r#"took @ms $ $"#,
    r#"$"#,
    r#"{"status":@,"size":$,"user":"$","took":@.5}"#,
];

const PARSERS: [&str; 20] = [
    r#"| pattern `<ip> - <_> [<_>] "<method> <path> <_>" <status> <size> "<_>" "<_>"`"#,
    r#"| pattern `<ip> - <user> [<_>] "<_>" <status> <_>`"#,
    r#"| pattern `<_> "<_>" <status> <size> <_>`"#,
    r#"| pattern `<_>] "<method> <path> <_>" <status> <_>`"#,
    r#"| pattern `Nov <_> <_> host <_>: Failed password for <user> from <ip> port <size> <_>`"#,
    r#"| pattern `<_>for <user> from <_>`"#,
    r#"| pattern `took <size>ms <status> <_>`"#,
    r#"| pattern `<status>`"#,
    r#"| pattern `<_> <status>`"#,
    r#"| pattern `<_>aab<status>ab`"#,
    r#"| regexp `Failed password for (?:invalid user )?(?P<user>\S+) from`"#,
    r#"| regexp `for (?P<user>.*) from (?P<ip>\S*)`"#,
    r#"| regexp `(?P<method>GET|POST) (?P<path>\S+)`"#,
    r#"| regexp `^(?P<ip>\S+) \S+ (?P<user>\S+)`"#,
    r#"| regexp `\b(?P<status>\d{3})\b`"#,
    r#"| regexp `"(?P<method>\w+) (?P<path>[^" ]*).*?" (?P<status>\d+) (?P<size>\d+)`"#,
    r#"| regexp `(?P<size>\d+)(?:ms|$)`"#,
    r#"| regexp `a*(?P<user>a*)b`"#,
    r#"| json"#,
    r#"| json"#,
];

const FILTERS: [&str; 12] = [
    r#"| status="200""#,
    r#"| status!="404""#,
    r#"| status >= 300"#,
    r#"| size > 3"#,
    r#"| user=~"root|admin.*""#,
    r#"| method!="""#,
    r#"| ip=ip("10.0.0.0/8")"#,
    r#"| drop size"#,
    r#"| drop user="root""#,
    r#"| keep status, size"#,
    r#"| __error__="""#,
    r#"|= "from""#,
];

const METRICS: [&str; 14] = [
    "sum by (status) (count_over_time({LOG}[9s]))",
    "sum by (user) (count_over_time({LOG}[99s]))",
    "sum by (ip, path) (rate({LOG}[9s]))",
    "sum by (method, app, size) (count_over_time({LOG}[9s]))",
    "sum by (detected_level, status) (count_over_time({LOG}[9s]))",
    "sum by (status_extracted) (count_over_time({LOG}[9s]))",
    "sum(bytes_over_time({LOG}[9s]))",
    "sum(count_over_time({LOG}[9s]))",
    "count_over_time({LOG}[9s])",
    "sum without (size, path, ip) (count_over_time({LOG}[9s]))",
    "quantile_over_time(0.7, {LOG} | unwrap size [9s]) by (status)",
    "max_over_time({LOG} | unwrap status | __error__=\"\" [9s]) by (user)",
    "sum by (app) (sum_over_time({LOG} | unwrap status | status > 3 [9s]))",
    "absent_over_time({LOG} | unwrap size [9s])",
];

/// Lines of a few forms, each with a few values in each place.
fn view(dice: &mut Dice) -> Vec<Line> {
    let forms: Vec<&str> = (0..1 + dice.below(3)).map(|_| FORMS[dice.below(8) as usize]).collect();
    let first = dice.below(24);
    let near = 1 + dice.below(24);
    (0..dice.below(70))
        .map(|second| {
            let mut text = String::new();
            for c in forms[dice.below(forms.len() as u64) as usize].chars() {
                match c {
                    '$' => text.push_str(VALUES[((first + dice.below(near)) % 24) as usize]),
                    '@' => text.push_str(&(10 + dice.below(80)).to_string()),
                    _ => text.push(c),
                }
            }
            let mut one = line(&[("app", ["a", "b"][dice.below(2) as usize])], second as i64, &text);
            if dice.below(30) == 0 {
                one.line.push(0xff);
            }
            one.level = ["info", "", "error"][dice.below(3) as usize];
            if dice.below(12) == 0 {
                one.metadata =
                    LabelSet::from_pairs([(["status", "size", "y"][dice.below(3) as usize], "500")]);
            }
            one
        })
        .collect()
}

#[test]
fn answers_are_those_of_whole_lines() {
    let settings = EngineSettings { threads: 2, ..EngineSettings::default() };
    let (early, in_order) = (Engine::new(settings.clone()), Engine::without_push_down(settings));
    let mut with_answers = 0;
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let memory = Memory { views: (0..3).map(|_| view(&mut dice)).collect() };
        let mut log = format!(r#"{{app=~"a|b"}} {}"#, PARSERS[dice.below(20) as usize]);
        for _ in 0..dice.below(3) {
            log.push_str(FILTERS[dice.below(12) as usize]);
        }
        let query = METRICS[dice.below(14) as usize].replace("{LOG}", &log);
        let wanted = request(&query, range(3, 80, 7));
        let answer = |engine: &Engine| match engine.run(&memory, &wanted) {
            Ok(outcome) => Ok(outcome.result),
            Err(error) => Err(error.to_string()),
        };
        let (found, expect) = (answer(&early), answer(&in_order));
        assert_eq!(found, expect, "seed {seed}: {query}");
        with_answers += usize::from(matches!(&found, Ok(QueryResult::Matrix(series)) if !series.is_empty()));
    }
    assert!(with_answers > 700, "only {with_answers} queries had an answer");
}
