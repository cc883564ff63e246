//! Forty days of a small house: pushes with the rhythm of a day, three periods, a cap on bytes, compaction, restarts
//! and power cuts. What lies in files and in memory stays within bounds at every hour, and answers are right every day.
//!
//! `LOGYARD_PLOT=FOLDER` draws the bytes and files of every hour there, as `month.svg`.

use super::*;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

const DAYS: i64 = 40;
const DAY_NS: i64 = 24 * HOUR_NS;

/// From this day on there is five times as much, so that the cap counts.
const BUSY_FROM: i64 = 28;

/// App, and the days it is kept.
const APPS: [(&str, i64); 3] = [("short", 2), ("week", 7), ("rest", 20)];

const BYTES_MAX: u64 = 300_000;
const HEAD_BYTES_MAX: u64 = 60_000;

/// Files of a class and day that is over, and of one that is not: fewer than eight flushed, six merged, and the rest.
const FILES_OVER: usize = 12;
const FILES_OPEN: usize = 30;

struct House {
    disk: SimDisk,
    clock: Arc<SimClock>,
    store: Store,
    expiry: Expiry,
    worker: Worker,
    random: Random,
    /// Times of all entries, by app.
    pushed: [Vec<i64>; 3],
    /// When the store was opened.
    opened_ns: i64,
    hours: Vec<Hour>,
    /// Files that the cap took.
    capped: u64,
}

/// What is drawn of an hour.
type Curve = fn(&Hour) -> f64;

/// What was measured at the end of an hour.
struct Hour {
    bytes: u64,
    files: usize,
    head_bytes: u64,
}

fn open_house(disk: &SimDisk, clock: &Arc<SimClock>) -> Store {
    let mut settings = StoreSettings::default();
    settings.flush.head_bytes_max = HEAD_BYTES_MAX;
    // Two hours, so that most hours of the day have a flush of their own accord at most.
    settings.flush.age_secs_max = 7_200;
    settings.retention.bytes_max = BYTES_MAX;
    settings.retention.period_secs = Some(APPS[2].1 as u64 * 86_400);
    settings.retention.policies = vec![crate::RetentionPolicySettings::default(); 2];
    let policy = |(app, days): &(&str, i64)| crate::RetentionPolicy {
        tenant: None,
        matchers: vec![matcher("app", MatchOp::Equal, app)],
        period_secs: *days as u64 * 86_400,
        priority: 0,
    };
    let rules = StoreRules { policies: APPS[..2].iter().map(policy).collect(), ..StoreRules::default() };
    let store = open_with_rules(disk, settings, rules, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

impl House {
    fn new() -> Self {
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
        let store = open_house(&disk, &clock);
        Self {
            disk,
            clock,
            store,
            expiry: Expiry::default(),
            worker: Worker::default(),
            random: Random::seeded(11),
            pushed: Default::default(),
            opened_ns: NOON_NS,
            hours: Vec::new(),
            capped: 0,
        }
    }

    /// More by day than by night; a tenth of the entries are late.
    fn push(&mut self, day: i64, hour: i64) {
        let busy = if day >= BUSY_FROM { 5 } else { 1 };
        let count = busy * if (8..22).contains(&hour) { 12 } else { 3 };
        for (index, (app, _)) in APPS.iter().enumerate() {
            let mut rows = Vec::new();
            for _ in 0..count {
                let late = if self.random.next_u64().is_multiple_of(10) { 20 * HOUR_NS } else { 0 };
                let ts_ns = self.clock.now_ns() - late - (self.random.next_u64() % HOUR_NS as u64) as i64;
                let id = self.random.next_u64();
                rows.push((ts_ns, format!("GET /api/v1/items/{id:016x} took {} ms, status 200", id % 977)));
                self.pushed[index].push(ts_ns);
            }
            let rows: Vec<(i64, &str)> = rows.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
            append(&self.store, batch(app, None, &rows)).unwrap();
        }
    }

    /// What the threads of the store do in an hour.
    fn pass(&mut self, hour: i64) {
        self.clock.advance(Duration::from_secs(3600));
        if hour % 2 == 1 {
            run(self.store.flush()).unwrap();
        }
        let shared = &self.store.inner.shared;
        self.expiry.run(shared);
        while self.worker.run_once(shared) {}
        shared.sweep();
    }

    /// Every third day a restart, by turns a clean one and a power cut.
    fn restart(&mut self, day: i64) {
        self.capped += self.store.inner.shared.metrics.capped_segments.get();
        if day % 2 == 0 {
            run(self.store.close()).unwrap();
        }
        self.disk = self.disk.crash();
        self.store = open_house(&self.disk, &self.clock);
        (self.expiry, self.worker) = (Expiry::default(), Worker::default());
        self.opened_ns = self.clock.now_ns();
    }

    fn check_hour(&mut self, what: &str) {
        let now_ns = self.clock.now_ns();
        let view = self.store.inner.shared.view();
        let head_bytes: u64 = view.heads().map(|head| head.bytes()).sum();
        assert!(head_bytes <= 2 * HEAD_BYTES_MAX, "{what}: {head_bytes} bytes in memory");
        let bytes: u64 = view.segments.iter().map(|segment| segment.record.bytes).sum();
        let files = recovery::find_files(&self.disk, &Folder::at(&root())).unwrap().len();
        assert_eq!(files, view.segments.len(), "{what}: files that no catalog knows");
        let newest = view.segments.iter().map(|segment| segment.record.day).max();
        let of_newest: u64 = view
            .segments
            .iter()
            .filter(|segment| Some(segment.record.day) == newest)
            .map(|segment| segment.record.bytes)
            .sum();
        assert!(
            bytes <= BYTES_MAX + of_newest,
            "{what}: {bytes} bytes, of which {of_newest} of the newest day"
        );
        let mut by_day: BTreeMap<(i32, &str), usize> = BTreeMap::new();
        for segment in view.segments.iter() {
            *by_day.entry((segment.record.day, &segment.record.class)).or_default() += 1;
        }
        for ((day, class), count) in by_day {
            let last_ns = crate::folder::day_last_ns(day);
            // Late entries come for 21 hours; then an hour, and one job at each look.
            let most = if now_ns > last_ns + 24 * HOUR_NS { FILES_OVER } else { FILES_OPEN };
            assert!(count <= most, "{what}: {count} files of day {day} in class {class}");
            let days: i64 = class.trim_end_matches('d').parse().unwrap();
            // After a start the clock has to run for an hour, and an hour is between two looks.
            let is_late =
                now_ns > last_ns + days * DAY_NS + 2 * HOUR_NS && now_ns > self.opened_ns + 3 * HOUR_NS;
            assert!(!is_late, "{what}: day {day} of class {class} is still there");
        }
        self.hours.push(Hour { bytes, files, head_bytes });
    }

    /// Entries are there as long as their period says, unless the cap has taken their day.
    fn check_answers(&self, what: &str) {
        let now_ns = self.clock.now_ns();
        let has_capped = what.contains("busy");
        for (index, (app, days)) in APPS.iter().enumerate() {
            let matchers = [matcher("app", MatchOp::Equal, app)];
            let mut found: Vec<i64> = find(&self.store, &Tenant::single(), &matchers, TimeRange::ALL)
                .into_iter()
                .map(|entry| entry.1)
                .collect();
            found.sort_unstable();
            let mut due: Vec<i64> = self.pushed[index].clone();
            due.retain(|ts_ns| *ts_ns >= now_ns - days * DAY_NS);
            due.sort_unstable();
            if !has_capped {
                assert!(found == due, "{what}: {} of {} entries of {app}", found.len(), due.len());
                continue;
            }
            // The cap takes whole days, the oldest first, and never the newest.
            let young = |times: &[i64]| times.iter().filter(|ts_ns| **ts_ns > now_ns - DAY_NS / 2).count();
            assert!(found.iter().all(|ts_ns| due.binary_search(ts_ns).is_ok()), "{what}: {app}");
            assert_eq!(young(&found), young(&due), "{what}: {app}");
        }
    }

    fn svg(&self) -> String {
        let (width, height) = (960.0, 200.0);
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {}" font-size="12">"#,
            3.0 * (height + 20.0)
        );
        let curves: [(&str, Curve); 3] = [
            ("bytes of segments", |hour| hour.bytes as f64),
            ("files", |hour| hour.files as f64),
            ("bytes in memory", |hour| hour.head_bytes as f64),
        ];
        for (index, (name, value)) in curves.into_iter().enumerate() {
            let most = self.hours.iter().map(value).fold(1.0, f64::max);
            let top = index as f64 * (height + 20.0) + 15.0;
            let mut points = String::new();
            for (number, hour) in self.hours.iter().enumerate() {
                let x = number as f64 * width / self.hours.len() as f64;
                write!(points, "{x:.1},{:.1} ", top + height * (1.0 - value(hour) / most)).unwrap();
            }
            write!(
                svg,
                r#"<text y="{}">{name}, up to {most}, {DAYS} days</text><polyline fill="none" stroke="black" points="{points}"/>"#,
                top - 3.0
            )
            .unwrap();
        }
        svg + "</svg>\n"
    }
}

#[test]
fn forty_days_stay_within_bounds_at_every_hour() {
    let mut house = House::new();
    for day in 0..DAYS {
        let busy = if day >= BUSY_FROM { ", busy" } else { "" };
        for hour in 0..24 {
            house.push(day, hour);
            house.pass(hour);
            house.check_hour(&format!("day {day}{busy}, hour {hour}"));
        }
        house.check_answers(&format!("day {day}{busy}"));
        if day % 3 == 2 {
            house.restart(day);
            house.check_answers(&format!("day {day}{busy}, after a restart"));
        }
    }
    let before_busy = &house.hours[(BUSY_FROM as usize - 2) * 24..BUSY_FROM as usize * 24];
    let most = |hours: &[Hour]| hours.iter().map(|hour| hour.bytes).max().unwrap();
    // A house where nothing changes: days come and days go, and what is kept stays the same.
    let earlier = &house.hours[(BUSY_FROM as usize - 5) * 24..(BUSY_FROM as usize - 2) * 24];
    assert!(most(before_busy) * 10 <= most(earlier) * 12, "{} after {}", most(before_busy), most(earlier));
    assert!(most(before_busy) < BYTES_MAX, "the cap was not meant to count yet: {}", most(before_busy));
    assert!(house.capped > 0, "the cap never counts: {}", most(&house.hours));
    if let Some(folder) = std::env::var_os("LOGYARD_PLOT") {
        let disk = logyard_sys::RealDisk::shared();
        disk.write_atomic(&PathBuf::from(folder).join("month.svg"), house.svg().as_bytes()).unwrap();
    }
}
