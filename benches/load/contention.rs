//! What light queries take while the store has other things to do: dashboards, a heavy query, pushes at half of the
//! greatest rate. Each time just after they were asked alone, over the same entries.

use crate::ask::{self, Question, permille};
use crate::background::{self, DASHBOARDS, Delays, PANELS, REFRESH};
use crate::chart::{Bar, BarChart, Line, LineChart, Scale};
use crate::client::Client;
use crate::growth::{settle, spread};
use crate::report::{Report, count, digits, mib, millis, percent};
use crate::store::Store;
use crate::traffic::{PUSH_ENTRIES, Pool, now_ns};
use crate::watch::{Phase, Watch};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Streams, and the days over which stored entries spread.
const STREAMS: u64 = 60;
const DAYS: u64 = 7;

/// How many times as long as alone light queries may take at their slowest, 99 of 100.
const RATIO_MAX: f64 = 2.0;

/// Pause between two light queries: as of people, not of a machine.
const PAUSE: Duration = Duration::from_millis(5);

/// Entries a second while dashboards refresh.
const DASHBOARD_RATE: u64 = 1000;

/// Shares of the seconds of a phase: that light queries are alone before it, and that pushes go at full speed.
const ALONE_SHARE: f64 = 0.5;
const FLAT_OUT_SHARE: f64 = 0.4;

/// Dots of the memory in a chart.
const DOTS_MAX: usize = 700;

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Entries that are there at first.
    pub(crate) stored: u64,
    /// Length of a phase.
    pub(crate) seconds: u64,
}

/// A phase with what light queries took in it, and just before, alone.
struct Contest {
    phase: Phase,
    /// By question, sorted.
    alone: Vec<Vec<Duration>>,
    light: Vec<Vec<Duration>>,
    /// What was told of the rest.
    remarks: Vec<String>,
}

/// A store under load.
struct Bench<'a> {
    watch: &'a Watch<'a>,
    client: Client,
    pool: Pool,
    start_ns: i64,
    seconds: f64,
}

/// Measures all phases and writes the report. Returns whether all ratios are as promised.
pub(crate) fn run(report: &mut Report, sizes: Sizes) -> bool {
    let store = Store::start(&[("log.level", "warn")]);
    let watch = Watch::new(&store);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch.run(&end));
        // Even if it panics: the scope waits for the watch.
        let _end = AtEnd(&end);
        contend(report, &watch, sizes)
    })
}

/// Tells others to end when it goes.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn contend(report: &mut Report, watch: &Watch<'_>, sizes: Sizes) -> bool {
    let pushes = sizes.stored / PUSH_ENTRIES;
    let traffic = spread(STREAMS, pushes, DAYS);
    let client = Client::new(watch.store.address());
    let bench = Bench {
        watch,
        client: client.clone(),
        pool: Pool::new(),
        start_ns: traffic.start_ns,
        seconds: sizes.seconds as f64,
    };
    let (filling, ()) = watch.phase("filling", || {
        traffic.send(&client, 0..pushes);
        settle(watch.store, &client);
    });
    report.say(&format!("{} entries stored", count(sizes.stored)));
    let dashboards = bench.contest("dashboards", |end| {
        let rate = Some(DASHBOARD_RATE);
        let (pushed, (panels, tailed)) = std::thread::scope(|scope| {
            let pushed = scope.spawn(|| background::push(&bench.client, &bench.pool, STREAMS, rate, end));
            let tailed = scope.spawn(|| background::follow(watch.store.address(), end));
            let panels = background::dashboards(&bench.client, end);
            (pushed.join().unwrap(), (panels, tailed.join().unwrap()))
        });
        let panels = format!("{} panels: {}", panels.sorted.len(), spread_of(&panels));
        vec![panels, told_of_pushes(&pushed), format!("push to live tail: {}", spread_of(&tailed))]
    });
    report.say("dashboards: done");
    let heavy = bench.contest("heavy query", |end| {
        let times = background::heavy(&bench.client, &bench.all(), end);
        vec![format!("{} heavy queries: {}", times.sorted.len(), spread_of(&times))]
    });
    report.say("heavy query: done");
    let (flat_out, greatest) = watch.phase("flat out", || {
        bench.during(FLAT_OUT_SHARE, |end| background::push(&bench.client, &bench.pool, STREAMS, None, end)).0
    });
    let rate = (greatest.entries as f64 / greatest.took.as_secs_f64()) as u64;
    report.say(&format!("greatest rate: {} lines a second", count(rate)));
    settle(watch.store, &client);
    let ingest = bench.contest("pushes at half speed", |end| {
        std::thread::scope(|scope| {
            let tailed = scope.spawn(|| background::follow(watch.store.address(), end));
            let pushed = background::push(&bench.client, &bench.pool, STREAMS, Some(rate / 2), end);
            let tailed = format!("push to live tail: {}", spread_of(&tailed.join().unwrap()));
            vec![told_of_pushes(&pushed), tailed]
        })
    });
    let contests = [dashboards, heavy, ingest];
    let phases = [&filling, &contests[0].phase, &contests[1].phase, &flat_out, &contests[2].phase];
    let flat_out = format!(
        "- flat out: {} lines a second, {:.2} cores of the store; pushes {}",
        count(rate),
        flat_out.cores,
        spread_of(&greatest)
    );
    write(report, &bench, &contests, &phases, &flat_out, sizes);
    contests.iter().all(|contest| ratio(&contest.light, &contest.alone) <= RATIO_MAX)
}

impl Bench<'_> {
    /// Returns the time of everything that is stored until a phase's end.
    fn all(&self) -> Range<i64> {
        self.start_ns..now_ns() + (self.seconds * 2e9) as i64
    }

    fn questions(&self) -> Vec<Question> {
        let all = self.all();
        let day = 24 * 3_600_000_000_000;
        let quarter = self.start_ns + day..self.start_ns + day + day / 96;
        vec![
            ask::names("label names", "labels", "", &all),
            ask::entries("newest 100, one container", r#"{container="c7"}"#, &all),
            ask::entries("newest 100, all", r#"{job="bench"}"#, &all),
            ask::entries("15 minutes, one container", r#"{container="c8"}"#, &quarter),
            ask::entries("an id in no line", r#"{job="bench"} |= `4f1e0c9b7d2a6835aa01`"#, &all),
        ]
    }

    /// Asks light questions, by turns, for a share of the seconds, while something else goes on.
    fn during<T: Send>(
        &self,
        share: f64,
        other: impl FnOnce(&AtomicBool) -> T + Send,
    ) -> (T, Vec<Vec<Duration>>) {
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| other(&end));
            let light = {
                let _end = AtEnd(&end);
                let (questions, begun) = (self.questions(), Instant::now());
                let mut light = vec![Vec::new(); questions.len()];
                while begun.elapsed().as_secs_f64() < self.seconds * share {
                    for (question, times) in questions.iter().zip(&mut light) {
                        times.push(self.client.get(&question.path).0);
                        std::thread::sleep(PAUSE);
                    }
                }
                light.iter_mut().for_each(|times| times.sort_unstable());
                light
            };
            (other.join().unwrap(), light)
        })
    }

    /// Asks light questions alone, and then while something else goes on.
    fn contest(&self, name: &str, other: impl FnOnce(&AtomicBool) -> Vec<String> + Send) -> Contest {
        for question in self.questions() {
            question.check(&self.client);
        }
        let ((), alone) = self.during(ALONE_SHARE, |_| ());
        let (phase, (remarks, light)) = self.watch.phase(name, || self.during(1.0, other));
        settle(self.watch.store, &self.client);
        Contest { phase, alone, light, remarks }
    }
}

fn write(
    report: &mut Report,
    bench: &Bench<'_>,
    contests: &[Contest],
    phases: &[&Phase],
    flat_out: &str,
    sizes: Sizes,
) {
    report.text(&format!(
        "# Contention\n\nWritten by `cargo bench --bench load -- contention`; see [README.md](README.md). {} entries of {STREAMS} \
         streams over {DAYS} days at first; client and store share the machine. Light queries are asked one at a time with {} \
         between; *alone* is just before each phase, over the same entries. The goal for the slowest of 100 is at most \
         {RATIO_MAX} times that.\n",
        count(sizes.stored),
        millis(PAUSE)
    ));
    let mut rows = vec![row(&[
        "phase",
        "light queries alone: p50, p99",
        "in it: p50, p99",
        "p99 to alone",
        "cores of the store",
        "memory at most: resident, anonymous",
        "others' share of the machine",
    ])];
    for contest in contests {
        let most = bench.watch.most_kib(&contest.phase);
        let of = |light: &[Vec<Duration>]| {
            let light = pooled(light);
            format!("{}, {}", millis(permille(&light, 500)), millis(permille(&light, 990)))
        };
        let times = ratio(&contest.light, &contest.alone);
        rows.push(vec![
            contest.phase.name.clone(),
            of(&contest.alone),
            of(&contest.light),
            format!("{times:.2}{}", if times <= RATIO_MAX { "" } else { " ▲" }),
            format!("{:.2}", contest.phase.cores),
            format!("{}, {} MiB", mib(most.0), mib(most.1)),
            percent(contest.phase.others),
        ]);
    }
    report.table(&rows);
    let mut remarks = vec![format!(
        "{DASHBOARDS} dashboards of {PANELS} panels, each refreshed every {} s, over 1, 6 and 24 hours, and {} lines a second",
        REFRESH.as_secs(),
        count(DASHBOARD_RATE)
    )];
    for contest in contests {
        remarks.extend(contest.remarks.iter().map(|remark| format!("{}: {remark}", contest.phase.name)));
    }
    let remarks: Vec<String> = remarks.iter().map(|remark| format!("- {remark}")).collect();
    report.text(&format!("{}\n{flat_out}\n", remarks.join("\n")));
    report.table(&by_question(bench, contests));
    report.chart("contention-light.svg", &bars(bench, contests));
    report.chart("contention-memory.svg", &memory(bench, phases));
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn by_question(bench: &Bench<'_>, contests: &[Contest]) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["p50, p99, in brackets p99 to alone", "alone"])];
    rows[0].extend(contests.iter().map(|contest| contest.phase.name.clone()));
    for (place, question) in bench.questions().iter().enumerate() {
        let cell = |times: &[Duration]| {
            let of = |thousandth| digits(permille(times, thousandth).as_secs_f64() * 1e3);
            format!("{}, {} ms", of(500), of(990))
        };
        let mut cells = vec![question.name.to_owned(), cell(&contests[0].alone[place])];
        cells.extend(contests.iter().map(|contest| {
            let times = times_of(&contest.light[place], &contest.alone[place]);
            format!("{} ({times:.1})", cell(&contest.light[place]))
        }));
        rows.push(cells);
    }
    rows
}

/// Returns the chart of what light queries took: p99 as bars, p50 as marks on them.
fn bars(bench: &Bench<'_>, contests: &[Contest]) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let bar = |times: &[Duration], alone: &[Duration]| {
        let (median, slow) = (millis(permille(times, 500)), millis(permille(times, 990)));
        let label = format!("{} ms, {:.1}×", digits(slow), times_of(times, alone));
        Bar { length: slow, mark: median, label }
    };
    let questions = bench.questions();
    let groups = questions.iter().enumerate().map(|(place, question)| {
        let first = &contests[0].alone[place];
        let mut bars = vec![bar(first, first)];
        bars.extend(contests.iter().map(|contest| bar(&contest.light[place], &contest.alone[place])));
        (question.name.to_owned(), bars)
    });
    let kinds = contests.iter().map(|contest| contest.phase.name.clone());
    BarChart {
        title: "Light queries: p99 as bars, p50 as marks, times p99 alone just before".to_owned(),
        kinds: std::iter::once("alone".to_owned()).chain(kinds).collect(),
        groups: groups.collect(),
    }
    .svg()
}

/// Returns the chart of the memory over the whole run.
fn memory(bench: &Bench<'_>, phases: &[&Phase]) -> String {
    let moments = bench.watch.moments();
    let few = moments.chunks(moments.len().div_ceil(DOTS_MAX).max(1));
    // Of each few the most, so that no peak is lost.
    let dots = |kib: &dyn Fn(&crate::watch::Moment) -> u64| {
        let most = |few: &[crate::watch::Moment]| few.iter().map(kib).max().unwrap_or(0) as f64 / 1024.0;
        few.clone().map(|few| (few[0].secs, most(few))).collect::<Vec<_>>()
    };
    let lines = vec![
        Line::new("resident", dots(&|moment| moment.resident_kib)),
        Line::new("anonymous", dots(&|moment| moment.anonymous_kib)),
    ];
    let phases = phases.iter().map(|phase| (phase.from_secs, phase.to_secs, phase.name.clone()));
    LineChart {
        title: "Memory of the store".to_owned(),
        scales: [Scale::linear("seconds"), Scale::linear("MiB")],
        lines,
        phases: phases.collect(),
    }
    .svg()
}

fn told_of_pushes(pushed: &Delays) -> String {
    let rate = pushed.entries as f64 / pushed.took.as_secs_f64();
    format!("{} lines a second acknowledged; pushes {}", count(rate as u64), spread_of(pushed))
}

fn spread_of(delays: &Delays) -> String {
    if delays.sorted.is_empty() {
        return "none".to_owned();
    }
    let of = |thousandth| millis(permille(&delays.sorted, thousandth));
    format!("p50 {}, p99 {}, slowest {}", of(500), of(990), of(1000))
}

/// Returns all times, sorted.
fn pooled(light: &[Vec<Duration>]) -> Vec<Duration> {
    let mut all: Vec<Duration> = light.concat();
    all.sort_unstable();
    all
}

/// Returns how many times the p99 of all questions is that of them alone.
fn ratio(light: &[Vec<Duration>], alone: &[Vec<Duration>]) -> f64 {
    times_of(&pooled(light), &pooled(alone))
}

fn times_of(times: &[Duration], alone: &[Duration]) -> f64 {
    permille(times, 990).as_secs_f64() / permille(alone, 990).as_secs_f64()
}
