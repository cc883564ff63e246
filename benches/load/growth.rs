//! What questions, lines, memory and disk cost as the entries grow, and as the streams do.

use crate::ask::{self, Cost, Growth, Question};
use crate::chart::{Line, LineChart, Scale};
use crate::client::Client;
use crate::report::{Report, count, digits, millis};
use crate::store::{Store, Use, machine_cpu, own_cpu};
use crate::traffic::{NEEDLE, PUSH_ENTRIES, Traffic, now_ns};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Streams while entries grow.
const STREAMS: u64 = 60;

/// Streams at first, while those grow.
const STREAMS_MIN: u64 = 100;

/// Entries that each stream has at least, at their last step.
const STREAM_ENTRIES_MIN: u64 = 10;

/// Most days over which entries spread: the retention is thirty.
const DAYS_MAX: u64 = 28;

/// Entries of a day, unless that makes more days.
const DAY_ENTRIES: u64 = 1_000_000;

/// How much more than allowed counts as noise: a share, and a time.
const NOISE_SHARE: f64 = 1.2;
const NOISE: Duration = Duration::from_micros(500);

/// A store is idle that takes less of a core for so long, and whose files stay as they are.
const IDLE_SHARE: f64 = 0.04;
const IDLE_FOR: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SETTLE_MAX: Duration = Duration::from_secs(900);

const NS_PER_SEC: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * NS_PER_SEC;

/// What there is to grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Entries of the last step.
    pub(crate) entries: u64,
    /// Streams of the last step, and entries of each step then.
    pub(crate) streams: u64,
    pub(crate) stream_entries: u64,
}

/// What was measured at one size.
struct Step {
    /// Entries or streams.
    size: u64,
    /// In the order of the questions.
    costs: Vec<Cost>,
    ingest: Ingest,
}

/// What the entries cost that led to a size.
struct Ingest {
    /// Pushed for this size, and the time until all were acknowledged.
    pushed: u64,
    pushing: Duration,
    /// All so far, since a compaction is of entries of earlier sizes, too: their CPU until they were acknowledged, and
    /// besides, until all was in its place.
    entries: u64,
    cpu_acknowledged: Duration,
    cpu_settling: Duration,
    disk_bytes: u64,
    memory: Use,
    /// Share of the machine that others took meanwhile.
    others: f64,
}

/// Grows both, and writes the report.
pub(crate) fn run(report: &mut Report, sizes: Sizes) {
    report.text(&format!(
        "# Growth\n\nWritten by `cargo bench --bench load -- growth`; see [README.md](README.md). Times are those of a machine \
         that client and store share; *CPU* is the store's. ▲ marks a step at which something grew by more than it may: by \
         more than {:.0} % (and, for queries, {} of CPU) beyond linear, or at all where it is to stay the same: queries that \
         may not grow, and the CPU of a line.\n",
        (NOISE_SHARE - 1.0) * 100.0,
        millis(NOISE)
    ));
    entries(report, sizes);
    streams(report, sizes);
}

fn entries(report: &mut Report, sizes: Sizes) {
    let days = (sizes.entries / DAY_ENTRIES).clamp(1, DAYS_MAX);
    let traffic = spread(STREAMS, sizes.entries / PUSH_ENTRIES, days);
    let store = start();
    let client = Client::new(store.address());
    let (mut steps, mut pushes, mut asked): (Vec<Step>, _, _) = (Vec::new(), 0, Vec::new());
    for size in sizes_to(sizes.entries) {
        let mut ingest = grow(&store, &client, traffic, pushes..size / PUSH_ENTRIES);
        if let Some(Step { ingest: before, .. }) = steps.last() {
            ingest.entries += before.entries;
            ingest.cpu_acknowledged += before.cpu_acknowledged;
            ingest.cpu_settling += before.cpu_settling;
        }
        pushes = size / PUSH_ENTRIES;
        asked = questions_of_entries(traffic, pushes);
        let costs = asked.iter().map(|question| question.measure(&store, &client)).collect();
        report.say(&format!("{} entries: asked", count(size)));
        steps.push(Step { size, costs, ingest: Ingest { memory: store.use_of_system(), ..ingest } });
    }
    report.text(&format!(
        "## Entries\n\n{STREAMS} streams, of text, JSON and logfmt in equal parts; time goes on as entries come, {} of them a \
         day. Each cell: median time / CPU of one query, in milliseconds.\n",
        count(sizes.entries / days)
    ));
    report.table(&costs_table("entries", &asked, &steps));
    report.table(&ingest_table("entries", &steps));
    charts(report, "growth-entries", "entries", &asked, &steps);
}

fn streams(report: &mut Report, sizes: Sizes) {
    let (mut steps, mut asked) = (Vec::new(), Vec::new());
    let entries = sizes.stream_entries.max(sizes.streams * STREAM_ENTRIES_MIN);
    let pushes = entries / PUSH_ENTRIES;
    let mut size = STREAMS_MIN;
    while size <= sizes.streams {
        let traffic = spread(size, pushes, 1);
        let store = start();
        let client = Client::new(store.address());
        let ingest = grow(&store, &client, traffic, 0..pushes);
        asked = questions_of_streams(traffic, pushes);
        let costs = asked.iter().map(|question| question.measure(&store, &client)).collect();
        report.say(&format!("{} streams: asked", count(size)));
        steps.push(Step { size, costs, ingest: Ingest { memory: store.use_of_system(), ..ingest } });
        size *= 10;
    }
    if steps.is_empty() {
        return;
    }
    report.text(&format!(
        "## Streams\n\n{} entries each time, in a store of its own. Cells as above.\n",
        count(entries)
    ));
    report.table(&costs_table("streams", &asked, &steps));
    report.table(&ingest_table("streams", &steps));
    charts(report, "growth-streams", "streams", &asked, &steps);
}

/// Starts a store that compacts at full speed: there is no need to wait longer.
fn start() -> Store {
    Store::start(&[("store.compaction.cpu_share_max", "1"), ("log.level", "warn")])
}

/// Returns traffic of so many pushes that ends now.
pub(crate) fn spread(streams: u64, pushes: u64, days: u64) -> Traffic {
    let span_ns = days as i64 * 24 * HOUR_NS;
    let step_ns = span_ns / pushes.max(1) as i64;
    Traffic { streams, start_ns: now_ns() - span_ns, step_ns }
}

/// Returns 1, 2 and 5 times the powers of ten up to a size, from a million or a tenth of it.
fn sizes_to(last: u64) -> Vec<u64> {
    let first = (last / 10).clamp(PUSH_ENTRIES, DAY_ENTRIES);
    let powers = (0..).map(|power| first * 10_u64.pow(power)).take_while(|power| *power <= last);
    powers.flat_map(|power| [power, 2 * power, 5 * power]).filter(|size| *size <= last).collect()
}

/// Pushes, and waits until everything has found its place.
fn grow(store: &Store, client: &Client, traffic: Traffic, pushes: Range<u64>) -> Ingest {
    store.forget_peak();
    let (machine, own, cpu, begun) = (machine_cpu(), own_cpu(), store.use_of_system().cpu, Instant::now());
    let entries = (pushes.end - pushes.start) * PUSH_ENTRIES;
    traffic.send(client, pushes);
    let (acknowledged, pushing) = (store.use_of_system().cpu, begun.elapsed());
    settle(store, client);
    let memory = store.use_of_system();
    let busy = machine_cpu().0 - machine.0;
    let ours = (own_cpu() - own) + (memory.cpu - cpu);
    let others = busy.saturating_sub(ours).as_secs_f64() / begun.elapsed().as_secs_f64() / machine.1 as f64;
    Ingest {
        pushed: entries,
        pushing,
        entries,
        cpu_acknowledged: acknowledged - cpu,
        cpu_settling: memory.cpu - acknowledged,
        disk_bytes: store.disk_bytes(),
        memory,
        others,
    }
}

/// Has everything flushed, and waits until the store is idle.
pub(crate) fn settle(store: &Store, client: &Client) {
    client.post("/flush");
    let begun = Instant::now();
    let (mut idle_since, mut cpu, mut disk) = (Instant::now(), Duration::ZERO, 0);
    while idle_since.elapsed() < IDLE_FOR {
        assert!(begun.elapsed() < SETTLE_MAX, "the store does not come to rest");
        std::thread::sleep(LOOK_EVERY);
        let now = (store.use_of_system().cpu, store.disk_bytes());
        // Less than a tick of 10 ms cannot be seen.
        if now.0 - cpu > LOOK_EVERY.mul_f64(IDLE_SHARE).max(Duration::from_millis(10)) || now.1 != disk {
            idle_since = Instant::now();
        }
        (cpu, disk) = now;
    }
}

fn questions_of_entries(traffic: Traffic, pushes: u64) -> Vec<Question> {
    let all = traffic.start_ns..traffic.end_ns(pushes);
    let hour = (all.end - HOUR_NS).max(all.start)..all.end;
    let middle = traffic.start_ns + traffic.step_ns * STREAMS as i64;
    let quarter = middle..middle + HOUR_NS / 4;
    let job = r#"{job="bench"}"#;
    vec![
        ask::names("label names", "labels", "", &all),
        ask::names("label values", "label/container/values", "", &all).sums_to(STREAMS),
        ask::names("series of one app", "series", r#"{app="a3"}"#, &all),
        ask::entries("newest 100, one container", r#"{container="c7"}"#, &all),
        ask::entries("newest 100, all", job, &all).sums_to(100),
        ask::entries("15 minutes, one container", r#"{container="c7"}"#, &quarter),
        ask::steps("last hour by level", &by_level("1m"), &hour, 60).grows(Growth::Flat),
        ask::entries("an id in one line", &format!("{job} |= `{NEEDLE}`"), &all)
            .grows(Growth::Linear)
            .sums_to(1),
        ask::entries("an id in no line", &format!("{job} |= `4f1e0c9b7d2a6835aa01`"), &all)
            .grows(Growth::Linear)
            .sums_to(0),
        ask::steps("volume by level, 1 h steps", &by_level("1h"), &all, 3600),
        ask::value("count of all", &format!("sum(count_over_time({job} [all]))"), &all)
            .sums_to(pushes * PUSH_ENTRIES),
        ask::value("count with a word", &format!("sum(count_over_time({job} |= `refused` [all]))"), &all),
        ask::value(
            "count by a JSON field",
            r#"sum by (status) (count_over_time({kind="json"} | json status="status" | status >= 500 [all]))"#,
            &all,
        ),
        ask::value(
            "count, regex without literal",
            &format!("sum(count_over_time({job} |~ `[0-9]{{3}}[a-f][0-9][a-f]{{3}}` [all]))"),
            &all,
        ),
    ]
}

fn by_level(range: &str) -> String {
    format!(r#"sum by (level, detected_level) (count_over_time({{job="bench"}} [{range}]))"#)
}

fn questions_of_streams(traffic: Traffic, pushes: u64) -> Vec<Question> {
    let all = traffic.start_ns..traffic.end_ns(pushes);
    let one = r#"{container="c42"}"#;
    vec![
        ask::names("label names", "labels", "", &all),
        ask::names("values of a label that has 50", "label/app/values", "", &all).sums_to(50),
        ask::names("values of a label, one a stream", "label/container/values", "", &all)
            .grows(Growth::Linear)
            .sums_to(traffic.streams),
        ask::names("one series", "series", one, &all).sums_to(1),
        ask::names("all series of one app", "series", r#"{app="a3"}"#, &all)
            .grows(Growth::Linear)
            .sums_to(traffic.streams / 50),
        ask::entries("newest 10 of one stream", one, &all),
        ask::entries("newest 100, all", r#"{job="bench"}"#, &all).sums_to(100),
        ask::value("count by app", r#"sum by (app) (count_over_time({job="bench"} [all]))"#, &all)
            .sums_to(pushes * PUSH_ENTRIES),
    ]
}

/// Returns whether something grew by more than it may, from one size to another.
fn is_worse(growth: Growth, sizes: (u64, u64), values: (f64, f64), noise: f64) -> bool {
    let allowed = if growth == Growth::Linear { sizes.1 as f64 / sizes.0 as f64 } else { 1.0 };
    values.1 > values.0 * allowed * NOISE_SHARE + noise
}

/// Returns what marks the step at which a value grew by more than it may.
fn mark(
    growth: Growth,
    steps: &[Step],
    step: usize,
    noise: f64,
    value: &dyn Fn(&Step) -> f64,
) -> &'static str {
    let Some(before) = step.checked_sub(1).map(|before| &steps[before]) else { return "" };
    let now = &steps[step];
    if is_worse(growth, (before.size, now.size), (value(before), value(now)), noise) { " ▲" } else { "" }
}

fn costs_table(what: &str, asked: &[Question], steps: &[Step]) -> Vec<Vec<String>> {
    let sizes = steps.iter().map(|step| format!("{} {what}", count(step.size)));
    let head = ["query".to_owned(), "may grow".to_owned()].into_iter().chain(sizes);
    let mut rows = vec![head.chain(["last to first, CPU".to_owned()]).collect::<Vec<_>>()];
    for (place, question) in asked.iter().enumerate() {
        let growth = if question.growth == Growth::Flat { "no" } else { "linear" };
        let mut row = vec![question.name.to_owned(), growth.to_owned()];
        for (number, step) in steps.iter().enumerate() {
            let cost = step.costs[place];
            let value = |step: &Step| step.costs[place].cpu.as_secs_f64();
            let mark = mark(question.growth, steps, number, NOISE.as_secs_f64(), &value);
            row.push(format!("{} / {}{mark}", bare_millis(cost.wall), bare_millis(cost.cpu)));
        }
        let [first, .., last] = steps else { continue };
        let times = |from: f64, to: f64| to / from;
        row.push(format!(
            "{:.1}× for {:.0}×",
            times(first.costs[place].cpu.as_secs_f64(), last.costs[place].cpu.as_secs_f64()),
            times(first.size as f64, last.size as f64)
        ));
        rows.push(row);
    }
    rows
}

fn bare_millis(time: Duration) -> String {
    millis(time).trim_end_matches(" ms").to_owned()
}

/// Returns microseconds of processor time of one line, until it was acknowledged.
fn acknowledged(step: &Step) -> f64 {
    step.ingest.cpu_acknowledged.as_secs_f64() * 1e6 / step.ingest.entries as f64
}

/// Returns the same until it was compacted.
fn settled(step: &Step) -> f64 {
    acknowledged(step) + step.ingest.cpu_settling.as_secs_f64() * 1e6 / step.ingest.entries as f64
}

fn disk(step: &Step) -> f64 {
    step.ingest.disk_bytes as f64 / f64::from(1 << 20)
}

fn anonymous(step: &Step) -> f64 {
    step.ingest.memory.anonymous_kib as f64 / 1024.0
}

fn most(step: &Step) -> f64 {
    step.ingest.memory.peak_kib as f64 / 1024.0
}

fn ingest_table(what: &str, steps: &[Step]) -> Vec<Vec<String>> {
    let head = std::iter::once("what lines cost".to_owned());
    let mut rows: Vec<Vec<String>> =
        vec![head.chain(steps.iter().map(|step| format!("{} {what}", count(step.size)))).collect()];
    let mut row = |name: &str, growth: Option<Growth>, value: &dyn Fn(&Step) -> f64| {
        let cell = |(number, step): (usize, &Step)| {
            let mark = growth.map_or("", |growth| mark(growth, steps, number, 0.0, value));
            format!("{}{mark}", digits(value(step)))
        };
        rows.push(std::iter::once(name.to_owned()).chain(steps.iter().enumerate().map(cell)).collect());
    };
    let thousands = |step: &Step| step.ingest.pushed as f64 / step.ingest.pushing.as_secs_f64() / 1e3;
    row("thousand lines a second until acknowledged, of this step", None, &thousands);
    row("CPU of a line while pushing, all so far, µs", Some(Growth::Flat), &acknowledged);
    row("the same until all is compacted, µs", Some(Growth::Flat), &settled);
    row("disk of all, 16 MiB of ballast included, MiB", Some(Growth::Linear), &disk);
    row("memory behind the queries, anonymous, MiB", Some(Growth::Linear), &anonymous);
    row("most memory of the step, resident, MiB", Some(Growth::Linear), &most);
    row("others' share of the machine while pushing, %", None, &|step| step.ingest.others * 100.0);
    rows
}

/// Draws what was measured over the sizes, both in powers of ten.
fn charts(report: &mut Report, name: &str, what: &str, asked: &[Question], steps: &[Step]) {
    let sizes = |value: &dyn Fn(&Step) -> f64| -> Vec<(f64, f64)> {
        steps.iter().map(|step| (step.size as f64, value(step))).collect()
    };
    let mut chart = |file: &str, title: String, y: Scale, lines: Vec<Line>| {
        let scales = [Scale::log(what), y];
        report.chart(
            &format!("{name}-{file}.svg"),
            &LineChart { title, scales, lines, phases: Vec::new() }.svg(),
        );
    };
    for (growth, file, title) in [
        (Growth::Flat, "flat", "CPU of queries that are to stay as they are"),
        (Growth::Linear, "linear", "CPU of queries that may grow with what is stored"),
    ] {
        let of_growth = asked.iter().enumerate().filter(|(_, question)| question.growth == growth);
        let lines = of_growth.map(|(place, question)| {
            Line::new(question.name, sizes(&|step| step.costs[place].cpu.as_secs_f64() * 1e3))
        });
        let mut lines: Vec<Line> = lines.collect();
        if growth == Growth::Linear {
            lines.extend(linear(&lines));
        }
        chart(file, format!("{title}, by {what}"), Scale::log("ms of the store's processor time"), lines);
    }
    let cpu = vec![
        Line::new("while pushing", sizes(&acknowledged)),
        Line::new("until all is compacted", sizes(&settled)),
    ];
    chart("lines", format!("CPU of a line that is pushed, by {what}"), Scale::linear("µs"), cpu);
    let size = vec![
        Line::new("disk", sizes(&disk)),
        Line::new("memory, most", sizes(&most)),
        Line::new("memory, anonymous", sizes(&anonymous)),
    ];
    chart("sizes", format!("Disk and memory, by {what}"), Scale::log("MiB"), size);
}

/// Returns a line of what grows as the sizes do, from where the cheapest of others begins.
fn linear(lines: &[Line]) -> Option<Line> {
    let lowest = lines.iter().min_by(|a, b| a.points[0].1.total_cmp(&b.points[0].1))?;
    let (first, cost) = *lowest.points.first()?;
    let points = lowest.points.iter().map(|(size, _)| (*size, cost * size / first)).collect();
    Some(Line { is_dashed: true, ..Line::new("linear", points) })
}
