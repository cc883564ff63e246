//! What the rules that come along say to real logs: each file of a folder is a container, as `docker logs --timestamps`
//! wrote it. Says which alerts fire and when; whether they should is for people to judge.
//!
//! `LOGYARD_DATED_LOGS=lines cargo test -p logyard --lib false_alarms -- --nocapture`

use std::fmt::Write as _;

use logyard_rules::PackSettings;
use logyard_sys::RealDisk;

use super::*;

/// Time between two evaluations: more often costs time, and windows of five minutes see every line all the same.
const TURN_NS: i64 = 60 * SEC_NS;

/// Time after the last line in which alerts resolve, and before which nothing else can happen.
const CALM_NS: i64 = 12 * 60 * SEC_NS;

/// Reads `2026-01-01T00:00:00.123456789Z`.
fn time_of(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?))?;
    // Years that begin in March end with their leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some((days * 86_400 + seconds) * SEC_NS + format!("{fraction:0<9}").parse::<i64>().ok()?)
}

#[derive(Debug, Default)]
struct Outcome {
    lines: usize,
    /// By name of the alert: how often it fired, and the first time as text.
    fired: BTreeMap<String, (u32, String)>,
}

/// Lets the time of the lines pass over the rules, without spans in which nothing happens.
async fn replay(container: &str, lines: &[(i64, &str)]) -> anyhow::Result<Outcome> {
    let Some((first_ns, _)) = lines.first() else { return Ok(Outcome::default()) };
    let world = World::open_at(first_ns - first_ns.rem_euclid(TURN_NS), None).await?;
    let rules = PackSettings::default().text();
    for group in logyard_rules::read_file(Path::new("pack"), rules.as_bytes()).map_err(anyhow::Error::msg)? {
        world.ruler.set_group(&Tenant::single(), "pack", group)?;
    }
    let labels = LabelSet::from_pairs([("container", container)]);
    let mut outcome = Outcome { lines: lines.len(), ..Outcome::default() };
    let mut before = BTreeSet::new();
    let mut rest = lines;
    let mut calm_at_ns = i64::MIN;
    while !rest.is_empty() || world.clock.now_ns() < calm_at_ns {
        let next_ns = rest.first().map_or(i64::MAX, |(ts_ns, _)| *ts_ns);
        if world.clock.now_ns() >= calm_at_ns && next_ns - world.clock.now_ns() > TURN_NS {
            world.clock.set(next_ns - next_ns.rem_euclid(TURN_NS));
        }
        world.clock.advance(Duration::from_nanos(TURN_NS.unsigned_abs()));
        let now_ns = world.clock.now_ns();
        let count = rest.partition_point(|(ts_ns, _)| *ts_ns <= now_ns);
        let (due, later) = rest.split_at(count);
        rest = later;
        let mut due_lines = Lines::new();
        for (ts_ns, line) in due {
            let entry = (labels.clone(), (*line).to_owned(), Pairs::new());
            due_lines.entry(ts_ns - BEGIN_NS).or_default().push(entry);
            calm_at_ns = now_ns + CALM_NS;
        }
        world.push(due_lines).await?;
        world.ruler.tick().await;
        let status = world.ruler.status(&Tenant::single());
        let rules = status.iter().flat_map(|group| group.rules.iter());
        assert!(rules.clone().all(|rule| !matches!(rule.health, logyard_rules::Health::Failed(_))));
        let firing = rules.flat_map(|rule| &rule.alerts).filter(|alert| alert.state == AlertState::Firing);
        let now: BTreeSet<(String, String)> = firing
            .map(|alert| {
                let text = |labels: &LabelSet, name| labels.get(name).unwrap_or_default().to_owned();
                (text(&alert.labels, "alertname"), text(&alert.annotations, "summary"))
            })
            .collect();
        let names = |set: &BTreeSet<(String, String)>| -> BTreeSet<String> {
            set.iter().map(|(name, _)| name.clone()).collect()
        };
        for name in names(&now).difference(&names(&before)) {
            let summary = now.iter().find(|(other, _)| other == name).map(|(_, summary)| summary.clone());
            let fired = outcome.fired.entry(name.clone()).or_default();
            fired.0 += 1;
            if fired.0 == 1 {
                fired.1 = format!("{} at {} s", summary.unwrap_or_default(), now_ns / SEC_NS);
            }
        }
        before = now;
    }
    world.store.close().await?;
    Ok(outcome)
}

#[test]
fn logs_of_a_folder_are_replayed() {
    assert_eq!(time_of("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(time_of("2026-01-01T00:00:01.5Z"), Some(BEGIN_NS + 1_500_000_000));
    let Some(folder) = std::env::var_os("LOGYARD_DATED_LOGS") else {
        println!("not run: LOGYARD_DATED_LOGS names no folder of logs with timestamps");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, mut report, mut total) = (RealDisk, String::new(), 0);
    let mut items = disk.list(Path::new(&folder)).unwrap();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    for item in items.iter().filter(|item| item.name.ends_with(".log")) {
        let bytes = disk.read(&Path::new(&folder).join(&item.name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let dated = |line| -> Option<(i64, &str)> {
            let (time, line) = str::split_once(line, ' ')?;
            Some((time_of(time)?, line))
        };
        let lines: Vec<(i64, &str)> = text.lines().filter_map(dated).collect();
        assert!(!lines.is_empty() && lines.is_sorted_by_key(|(ts_ns, _)| *ts_ns), "{}", item.name);
        let outcome = runtime.block_on(replay(item.name.trim_end_matches(".log"), &lines)).unwrap();
        writeln!(report, "{}: {} lines", item.name, outcome.lines).unwrap();
        for (name, (times, first)) in &outcome.fired {
            total += times;
            writeln!(report, "  {name} {times} times, first: {first}").unwrap();
        }
    }
    println!("{report}{total} alerts");
}
