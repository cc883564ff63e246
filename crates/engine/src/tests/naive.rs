//! Random entries, spread over views with copies: the engine agrees with the definitions.

use super::*;
use std::collections::BTreeMap;

/// Numbers from a seed; good enough to spread entries.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const LEVELS: [&str; 3] = ["", "info", "error"];

fn entry(dice: &mut Dice) -> Line {
    let app = ["a", "b", "c"][dice.below(3) as usize];
    let text = ["GET /x", "POST /y", "error: x", ""][dice.below(4) as usize];
    let mut entry = line(&[("app", app)], dice.below(40) as i64, text);
    entry.ts_ns += [0, 0, 1, -1][dice.below(4) as usize];
    entry.level = LEVELS[dice.below(3) as usize];
    if dice.below(3) == 0 {
        entry.metadata = LabelSet::from_pairs([("trace", if dice.below(2) == 0 { "1" } else { "2" })]);
    }
    entry
}

/// Returns unique entries in order of time and arrival, and the same spread over views.
pub(super) fn entries(dice: &mut Dice) -> (Vec<Line>, Memory) {
    let mut views: Vec<Vec<Line>> = Vec::new();
    let mut unique: Vec<Line> = Vec::new();
    for _ in 0..dice.below(6) {
        let mut view: Vec<Line> = (0..dice.below(40)).map(|_| entry(dice)).collect();
        // Some of what arrived before arrives again.
        view.extend(unique.iter().filter(|_| dice.below(4) == 0).cloned());
        for one in &view {
            if !unique.contains(one) {
                unique.push(one.clone());
            }
        }
        views.push(view);
    }
    unique.sort_by_key(|one| one.ts_ns);
    (unique, Memory { views })
}

fn labels(one: &Line, by: Option<&[&str]>) -> LabelSet {
    let mut all = one.stream.clone();
    one.metadata.iter().for_each(|(name, value)| all.insert(name, value));
    if !one.level.is_empty() {
        all.insert("detected_level", one.level);
    }
    match by {
        None => all,
        Some(by) => LabelSet::from_pairs(all.iter().filter(|(name, _)| by.contains(name))),
    }
}

#[test]
fn counts_agree_with_the_definition() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (unique, memory) = entries(&mut dice);
        let (range_s, offset_s) = (dice.below(20) as i64, dice.below(9) as i64 - 4);
        let (start, step) = (dice.below(30) as i64, 1 + dice.below(7) as i64);
        let end = start + dice.below(30) as i64;
        let by: Option<&[&str]> =
            [None, Some(&[][..]), Some(&["app"][..]), Some(&["trace", "detected_level"][..])]
                [dice.below(4) as usize];
        let (op, filter) =
            (dice.below(3), ["", r#"|= "x""#, r#"|~ "^GET""#, r#"!= "error""#][dice.below(4) as usize]);
        let keep = |one: &Line| match filter {
            "" => true,
            r#"|= "x""# => one.line.contains(&b'x'),
            r#"|~ "^GET""# => one.line.starts_with(b"GET"),
            _ => !one.line.starts_with(b"error"),
        };
        let name = ["count_over_time", "rate", "bytes_over_time"][op as usize];
        let inner = format!(r#"{name}({{app=~".+"}} {filter} [{range_s}s] offset {offset_s}s)"#);
        let query = match by {
            None => inner,
            Some(by) => format!("sum by ({}) ({inner})", by.join(",")),
        };
        let mut expect: BTreeMap<LabelSet, Vec<(i64, f64)>> = BTreeMap::new();
        let mut second = start - start.rem_euclid(step);
        loop {
            let until = (second - offset_s) * SECOND;
            let inside =
                |one: &&Line| until - range_s * SECOND < one.ts_ns && one.ts_ns <= until && keep(one);
            let mut sums: BTreeMap<LabelSet, (f64, f64)> = BTreeMap::new();
            for one in unique.iter().filter(inside) {
                let sum = sums.entry(labels(one, by)).or_default();
                *sum = (sum.0 + 1.0, sum.1 + one.line.len() as f64);
            }
            for (labels, (count, bytes)) in sums {
                let value = [count, count / range_s as f64, bytes][op as usize];
                expect.entry(labels).or_default().push((second * SECOND, value));
            }
            if second >= end {
                break;
            }
            second += step;
        }
        let QueryResult::Matrix(series) = run(&memory, &request(&query, range(start, end, step))).unwrap()
        else {
            panic!("{query}")
        };
        let found: BTreeMap<LabelSet, Vec<(i64, f64)>> = series
            .iter()
            .map(|one| {
                let samples = one.samples.iter().map(|sample| (sample.ts_ns, sample.value)).collect();
                (one.labels.as_ref().clone(), samples)
            })
            .collect();
        assert_eq!(found, expect, "seed {seed}: {query} from {start} to {end} by {step}");
    }
}

#[test]
fn entries_agree_with_the_definition() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (mut unique, memory) = entries(&mut dice);
        let (start, end) = (dice.below(20) as i64, 20 + dice.below(25) as i64);
        unique.retain(|one| (start * SECOND..end * SECOND).contains(&one.ts_ns));
        // Stable: arrival decides among entries of one stream and time.
        unique.sort_by_key(|one| (one.ts_ns, one.stream.to_string()));
        let filter = dice.below(2) == 0;
        if filter {
            unique.retain(|one| one.line.contains(&b'x') && one.level == "info");
        }
        let query = if filter { r#"{app=~".+"} |= "x" | detected_level="info""# } else { r#"{app=~".+"}"# };
        let mut wanted = request(query, range(start, end, 1));
        wanted.limit = 1 + dice.below(60) as usize;
        if dice.below(2) == 0 {
            unique.reverse();
            wanted.direction = Direction::Backward;
        }
        unique.truncate(wanted.limit);
        let QueryResult::Entries(found) = run(&memory, &wanted).unwrap() else { panic!("{query}") };
        let found: Vec<_> = found
            .into_iter()
            .map(|one| {
                (
                    one.ts_ns,
                    one.stream.to_string(),
                    String::from_utf8(one.line).unwrap(),
                    one.metadata.to_string(),
                )
            })
            .collect();
        let expect: Vec<_> = unique
            .iter()
            .map(|one| {
                let mut metadata = one.metadata.clone();
                if !one.level.is_empty() {
                    metadata.insert("detected_level", one.level);
                }
                (
                    one.ts_ns,
                    one.stream.to_string(),
                    String::from_utf8(one.line.clone()).unwrap(),
                    metadata.to_string(),
                )
            })
            .collect();
        assert_eq!(found, expect, "seed {seed}: {query}");
    }
}
