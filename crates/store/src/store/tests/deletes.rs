//! What a delete request means is not answered from the request on, goes from the files, and nothing else does.

use super::*;
use crate::catalog_record::{DeleteRecord, Edit};
use crate::maintenance::Worker;
use crate::{CancelOutcome, DeleteFilter};
use logyard_codec::{Block, RunView};
use std::time::Duration;

/// The language of these tests: `app needle`, where no needle means every entry of the app.
#[derive(Debug)]
struct Needle {
    matchers: Vec<Matcher>,
    prefilter: Prefilter,
    needle: String,
}

impl DeleteFilter for Needle {
    fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }

    fn takes_all(&self) -> bool {
        self.needle.is_empty()
    }

    fn rows(
        &self,
        block: &Block,
        run: &RunView,
        range: TimeRange,
    ) -> std::result::Result<Vec<u32>, logyard_codec::Error> {
        let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
        let holds = |row: &u32| {
            let line = String::from_utf8_lossy(lines.line(*row)).into_owned();
            range.contains(ts_ns[*row as usize]) && line.contains(&self.needle)
        };
        Ok(run.rows.clone().filter(holds).collect())
    }
}

fn parse(text: &str, _: i64) -> std::result::Result<Arc<dyn DeleteFilter>, String> {
    let (app, needle) = text.split_once(' ').ok_or("no space")?;
    let literals = if needle.is_empty() { Vec::new() } else { vec![needle.as_bytes().to_vec()] };
    Ok(Arc::new(Needle {
        matchers: vec![matcher("app", MatchOp::Equal, &app.replace('_', " "))],
        prefilter: Prefilter { literals, any_of: Vec::new() },
        needle: needle.to_owned(),
    }))
}

/// What a store of these tests is opened with.
pub(super) fn rules() -> StoreRules {
    StoreRules { parse_delete: Some(parse), ..StoreRules::default() }
}

const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    disk: SimDisk,
    clock: Arc<SimClock>,
    settings: StoreSettings,
    store: Store,
}

impl Place {
    fn new(cancel_secs: u64) -> Self {
        let mut settings = StoreSettings::default();
        settings.deletes.cancel_secs = cancel_secs;
        // The clock is moved by days: what is in memory stays there until a test says so.
        settings.flush.age_secs_max = 400 * 86_400;
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS + HOUR_NS)));
        let store = Self::opened(&disk, &settings, &clock);
        Self { disk, clock, settings, store }
    }

    fn opened(disk: &SimDisk, settings: &StoreSettings, clock: &Arc<SimClock>) -> Store {
        let store = open_with_rules(disk, settings.clone(), rules(), clock).unwrap();
        run(store.recovered()).unwrap();
        store
    }

    fn restart(&mut self) {
        self.disk = self.disk.crash();
        self.store = Self::opened(&self.disk, &self.settings, &self.clock);
    }

    fn delete(&self, query: &str, range: TimeRange) -> String {
        self.store.request_delete(&Tenant::single(), query, range).unwrap().id
    }

    fn work(&self) -> usize {
        let (shared, mut worker) = (&self.store.inner.shared, Worker::default());
        let count = (0..100).take_while(|_| worker.run_once(shared)).count();
        shared.sweep();
        count
    }

    /// Returns whether the request is done, and how many entries it took.
    fn state(&self) -> (bool, u64) {
        let requests = self.store.delete_requests(&Tenant::single());
        (requests[0].done_ns.is_some(), requests[0].entries)
    }
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { start_ns: NOON_NS + from, end_ns: NOON_NS + to }
}

/// Ten entries, of which every third holds a secret.
fn ten(store: &Store, app: &str, at: i64) {
    let rows: Vec<(i64, String)> = (0..10)
        .map(|row| (NOON_NS + at + row, format!("{app} {}{row}", if row % 3 == 1 { "secret " } else { "" })))
        .collect();
    let rows: Vec<(i64, &str)> = rows.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    append(store, batch(app, None, &rows)).unwrap();
}

fn stats(store: &Store) -> (u64, u64, u64) {
    let stats = store.stats(&Tenant::single(), &[], TimeRange::ALL).unwrap();
    (stats.streams, stats.entries, stats.bytes)
}

#[test]
fn entries_are_hidden_at_once_in_memory_and_in_files_and_come_back_when_cancelled() {
    let mut place = Place::new(86_400);
    ten(&place.store, "a", 0);
    ten(&place.store, "b", 0);
    run(place.store.flush()).unwrap();
    ten(&place.store, "a", 20);
    let all = lines(&place.store);
    let before = stats(&place.store);
    assert_eq!((all.len(), before.1), (30, 30));
    let id = place.delete("a secret", range(0, 25));
    // Rows 1, 4, 7 of the file, 1 and 4 of what is in memory; the last lies behind the range.
    let expect: Vec<String> = {
        let hidden = ["a secret 1", "a secret 4", "a secret 7"];
        let mut left: Vec<String> =
            all.iter().filter(|line| !hidden.contains(&line.as_str())).cloned().collect();
        left.push("a secret 7".to_owned());
        left.sort();
        left
    };
    for turn in 0..3 {
        // `find` checks what the runs say of themselves.
        let mut found = lines(&place.store);
        found.sort();
        assert_eq!(found, expect, "turn {turn}");
        let (streams, entries, bytes) = stats(&place.store);
        assert_eq!((streams, entries), (2, 25), "turn {turn}");
        assert_eq!(bytes, expect.iter().map(|line| line.len() as u64).sum::<u64>(), "turn {turn}");
        match turn {
            0 => assert_eq!(place.work(), 0, "there is time to cancel"),
            _ => place.restart(),
        }
    }
    assert_eq!(place.state(), (false, 0));
    let cancel = |id: &str| place.store.cancel_delete(&Tenant::single(), id, false).unwrap();
    assert_eq!(cancel("nosuch"), CancelOutcome::Unknown);
    assert_eq!(cancel(&id), CancelOutcome::Cancelled);
    assert_eq!((lines(&place.store), stats(&place.store)), (all.clone(), before));
    place.restart();
    assert_eq!(lines(&place.store), all);
    assert!(place.store.delete_requests(&Tenant::single()).is_empty());
}

#[test]
fn what_is_hidden_of_a_run_does_not_depend_on_which_times_were_asked_for_first() {
    let place = Place::new(86_400);
    ten(&place.store, "a", 0);
    run(place.store.flush()).unwrap();
    // One run, and a request for each half of it.
    place.delete("a secret", range(0, 5));
    place.delete("a secret", range(5, 10));
    let found = |asked: TimeRange| find(&place.store, &Tenant::single(), &[], asked).len();
    assert_eq!(found(range(0, 2)), 1, "rows 0 and 1 of which one is a secret");
    assert_eq!(found(range(0, 10)), 7);
    assert_eq!(found(range(6, 9)), 2);
    assert_eq!(stats(&place.store).1, 7);
}

#[test]
fn a_request_without_a_filter_takes_streams_as_a_whole() {
    let place = Place::new(0);
    ten(&place.store, "a", 0);
    ten(&place.store, "b", 0);
    run(place.store.flush()).unwrap();
    place.delete("a ", range(0, 10));
    assert_eq!(stats(&place.store), (1, 10, 3 * 10 + 7 * 3));
    let streams = place.store.streams(&Tenant::single(), &[], TimeRange::ALL).unwrap();
    assert_eq!(streams.len(), 1, "a stream of which nothing is left is not listed");
    let before = lines(&place.store);
    place.work();
    assert_eq!((place.state(), lines(&place.store)), ((true, 10), before));
    let view = place.store.inner.shared.view();
    assert_eq!((view.segments.len(), view.segments[0].record.streams), (1, 1));
    drop(view);
    place.delete("b ", range(0, 10));
    place.work();
    assert!(lines(&place.store).is_empty());
    assert!(segment_files(&place.disk.crash()).is_empty(), "a file of which nothing is left goes");
}

#[test]
fn files_are_written_anew_when_the_time_to_cancel_is_over() {
    let mut place = Place::new(86_400);
    for at in 0..4 {
        ten(&place.store, "a", at * 100);
        ten(&place.store, "b", at * 100);
        run(place.store.flush()).unwrap();
    }
    ten(&place.store, "a", 400);
    let files = segment_files(&place.disk.crash());
    let id = place.delete("a secret", range(0, 305));
    let expect = lines(&place.store);
    assert_eq!(expect.len(), 90 - 3 * 3 - 2);
    let mut expiry = crate::retention::Expiry::default();
    let mut look = || {
        expiry.run(&place.store.inner.shared);
        place.store.delete_requests(&Tenant::single())[0].done_ns
    };
    // A clock that jumps does not end the time to cancel.
    place.clock.set(NOON_NS + 40 * 24 * HOUR_NS);
    assert_eq!((look(), place.work()), (None, 0));
    place.clock.set(NOON_NS + HOUR_NS);
    assert_eq!((look(), place.work()), (None, 0));
    place.clock.advance(DAY);
    look();
    assert_eq!(
        place.store.cancel_delete(&Tenant::single(), &id, false).unwrap(),
        CancelOutcome::TooLate { cancel_secs: 86_400 },
        "its entries are about to go"
    );
    // Not yet compacted: the day is over just now, so each file is one of its own.
    place.settings.compaction.enabled = false;
    place.restart();
    let mut expiry = crate::retention::Expiry::default();
    expiry.run(&place.store.inner.shared);
    place.clock.advance(DAY / 12);
    expiry.run(&place.store.inner.shared);
    assert!(place.work() >= 5, "four files and the end");
    assert_eq!((place.state(), lines(&place.store)), ((true, 11), expect.clone()));
    let metrics = &place.store.inner.shared.metrics;
    assert_eq!(metrics.deleted_entries.get(), 11);
    let now = segment_files(&place.disk.crash());
    assert!(files.iter().all(|file| !now.contains(file)), "each held something");
    assert_eq!(place.work(), 0);
    assert_eq!(place.store.cancel_delete(&Tenant::single(), &id, true).unwrap(), CancelOutcome::Processed);
    let rows: u64 = place.store.inner.shared.view().segments.iter().map(|segment| segment.record.rows).sum();
    assert_eq!(rows, 80 - 11, "what is of another time stays in memory");
    place.restart();
    assert_eq!((place.state(), lines(&place.store)), ((true, 11), expect));
}

#[test]
fn a_request_reaches_memory_flushed_and_compacted_files_with_a_restart_behind_each_step() {
    let mut place = Place::new(0);
    for at in 0..8 {
        ten(&place.store, "a", at * 100);
        run(place.store.flush()).unwrap();
    }
    assert!(place.work() > 0, "eight flushed files are merged");
    ten(&place.store, "a", 900);
    run(place.store.flush()).unwrap();
    ten(&place.store, "a", 1000);
    let levels = |place: &Place| -> Vec<u32> {
        place.store.inner.shared.view().segments.iter().map(|segment| segment.record.level).collect()
    };
    assert_eq!(levels(&place), [1, 0]);
    place.settings.flush.on_close = false;
    place.delete("a secret", range(0, 2000));
    let expect = lines(&place.store);
    assert_eq!(expect.len(), 10 * 7);
    let mut steps = 0;
    while !place.state().0 {
        place.restart();
        assert_eq!(lines(&place.store), expect, "step {steps}");
        Worker::default().run_once(&place.store.inner.shared);
        place.store.inner.shared.sweep();
        assert_eq!(lines(&place.store), expect, "step {steps}");
        steps += 1;
        assert!(steps < 20, "never done");
    }
    assert!(steps >= 4, "three files and the end: {steps}");
    place.restart();
    assert_eq!((place.state(), lines(&place.store)), ((true, 30), expect));
    let rows: u64 = place.store.inner.shared.view().segments.iter().map(|segment| segment.record.rows).sum();
    assert_eq!(rows, 70);
}

#[test]
fn files_without_a_match_stay_as_they_are_and_other_tenants_too() {
    let place = Place::new(0);
    ten(&place.store, "b", 0);
    run(place.store.flush()).unwrap();
    append(&place.store, batch("a", None, &[(NOON_NS + 5, "plain")])).unwrap();
    run(place.store.flush()).unwrap();
    let other = Tenant::new("other").unwrap();
    let chunks = vec![(stream(&other, &[("app", "a")]), entries(&[(NOON_NS + 5, "a secret")]))];
    append(&place.store, StoreBatch { tenant: other.clone(), id: None, chunks, encoded: None }).unwrap();
    let files = segment_files(&place.disk.crash());
    place.delete("a secret", range(0, 100));
    assert!(place.store.delete_requests(&other).is_empty());
    place.work();
    assert_eq!((place.state(), segment_files(&place.disk.crash())), ((true, 0), files));
    assert_eq!(find(&place.store, &other, &[], TimeRange::ALL).len(), 1);
}

#[test]
fn late_entries_are_hidden_while_a_request_is_pending_and_not_after() {
    let place = Place::new(0);
    place.delete("a secret", range(0, 100));
    ten(&place.store, "a", 0);
    assert_eq!(lines(&place.store).len(), 7);
    place.work();
    assert_eq!((place.state(), lines(&place.store).len()), ((true, 3), 7));
    ten(&place.store, "a", 0);
    assert_eq!(lines(&place.store).len(), 7 + 10, "what is sent again behind it is new, but for copies");
}

#[test]
fn who_follows_does_not_see_what_is_hidden() {
    let place = Place::new(0);
    let arrivals = place.store.arrivals(&Tenant::single(), &[]);
    let rows =
        || arrivals.take().0.iter().flat_map(|view| &view.runs).map(|run| run.rows.len()).sum::<usize>();
    place.delete("a secret", range(0, 205));
    for (app, at, expect) in [("a", 0, 7), ("b", 100, 10), ("a", 200, 8)] {
        ten(&place.store, app, at);
        assert_eq!(rows(), expect, "{app} at {at}");
    }
    place.delete("b ", range(0, 300));
    ten(&place.store, "b", 250);
    assert_eq!((rows(), arrivals.take().1.entries), (0, 0));
    place.work();
    ten(&place.store, "a", 0);
    assert_eq!(rows(), 10, "a request that is done hides nothing");
}

#[test]
fn a_merge_leaves_out_what_is_due_and_several_requests_share_the_work() {
    let place = Place::new(0);
    for at in 0..9 {
        ten(&place.store, "a", at * 100);
        run(place.store.flush()).unwrap();
    }
    place.delete("a secret 1", range(0, 1000));
    place.delete("a 4", range(0, 1000));
    let expect = lines(&place.store);
    assert_eq!(expect.len(), 9 * 8);
    let shared = &place.store.inner.shared;
    let jobs = {
        let catalog = shared.catalog.lock();
        let none = Default::default();
        crate::compaction_plan::plan(&catalog.state().segments, &[], &none, &Default::default(), &[], NOON_NS)
    };
    assert_eq!(jobs[0].inputs.len(), 9);
    let mut pace = crate::maintenance::Pace::new(shared);
    let done = crate::compaction::run(shared, &jobs[0], crate::compaction::Form::BEST, &mut pace).unwrap();
    assert_eq!((done.merged.left_out, done.merged.rows), (18, 90));
    let counts = |place: &Place| {
        let requests = place.store.delete_requests(&Tenant::single());
        requests.iter().map(|request| (request.done_ns.is_some(), request.entries)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&place), [(false, 9), (false, 9)]);
    place.work();
    assert_eq!((counts(&place), lines(&place.store)), (vec![(true, 9), (true, 9)], expect));
}

#[test]
fn a_request_that_is_cancelled_while_a_file_is_written_changes_nothing() {
    let place = Place::new(0);
    ten(&place.store, "a", 0);
    run(place.store.flush()).unwrap();
    let all = lines(&place.store);
    let id = place.delete("a secret", range(0, 100));
    let shared = &place.store.inner.shared;
    let view = shared.view();
    let leave_out = crate::delete_work::LeaveOut::new(shared, &view.segments);
    assert_eq!(place.store.cancel_delete(&Tenant::single(), &id, true).unwrap(), CancelOutcome::Cancelled);
    let deleted = vec![crate::catalog_record::DeletedRecord { entries: 3, ..leave_out.deleted()[0].clone() }];
    let error = shared.replace_segments(&view.segments, Vec::new(), deleted).unwrap_err();
    assert!(error.to_string().contains("cancelled meanwhile"), "{error}");
    assert_eq!(lines(&place.store), all);
}

#[test]
fn requests_are_bounded_and_wrong_ones_refused() {
    let mut place = Place::new(86_400);
    place.settings.deletes.pending_max = 2;
    place.restart();
    let ask = |query: &str| place.store.request_delete(&Tenant::single(), query, range(0, 9));
    assert_eq!(ask("nospace").unwrap_err().kind(), Kind::Invalid);
    assert!(ask(&"x ".repeat(5000)).unwrap_err().to_string().contains("limit is 8192"));
    ask("a x").unwrap();
    ask("a y").unwrap();
    let error = ask("a z").unwrap_err();
    assert!(
        error.kind() == Kind::Limited && error.to_string().contains("store.deletes.pending_max"),
        "{error}"
    );
    let disk = place.disk.crash();
    drop(std::mem::replace(&mut place.store, open(&disk)));
    let error = place.store.request_delete(&Tenant::single(), "a x", range(0, 9)).unwrap_err();
    assert!(error.to_string().contains("without LogQL"), "{error}");
}

#[test]
fn a_file_of_which_nothing_was_to_stay_is_not_taken_in_again() {
    let mut place = Place::new(0);
    ten(&place.store, "a", 0);
    ten(&place.store, "b", 0);
    run(place.store.flush()).unwrap();
    place.delete("a secret", range(0, 100));
    place.work();
    // Written anew once, so that it was made of another.
    let path = segment_files(&place.disk.crash()).remove(0);
    let bytes = place.disk.read(&path).unwrap();
    ten(&place.store, "c", 0);
    run(place.store.flush()).unwrap();
    place.delete("a ", range(0, 100));
    place.delete("b ", range(0, 100));
    place.work();
    let left = lines(&place.store);
    assert_eq!((left.len(), segment_files(&place.disk.crash()).len()), (10, 1));
    // As after a power cut before the removal was on the disk.
    place.disk.write_atomic(&path, &bytes).unwrap();
    place.restart();
    assert_eq!(lines(&place.store), left);
    assert!(place.disk.read(&path).is_err(), "it is removed");
}

/// A clock that lets something happen when it is looked at.
struct InterruptingClock {
    clock: SimClock,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for InterruptingClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.clock.fmt(f)
    }
}

impl Clock for InterruptingClock {
    fn now_ns(&self) -> i64 {
        let then = self.then.lock().take();
        if let Some(then) = then {
            then();
        }
        self.clock.now_ns()
    }

    fn monotonic_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }
}

#[test]
fn a_request_that_is_carried_out_while_a_query_begins_shows_nothing_again() {
    let clock = InterruptingClock { clock: SimClock::new(NOON_NS + HOUR_NS), then: Mutex::default() };
    let clock = Arc::new(clock);
    let mut settings = StoreSettings::default();
    settings.deletes.cancel_secs = 0;
    let store =
        open_at_rest(&SimDisk::new(), settings, rules(), Arc::<InterruptingClock>::clone(&clock)).unwrap();
    run(store.recovered()).unwrap();
    ten(&store, "a", 0);
    run(store.flush()).unwrap();
    store.request_delete(&Tenant::single(), "a secret", range(0, 100)).unwrap();
    let shared = Arc::clone(&store.inner.shared);
    *clock.then.lock() = Some(Box::new(move || {
        let mut worker = Worker::default();
        while worker.run_once(&shared) {}
    }));
    assert_eq!(lines(&store).len(), 7);
    let requests = store.delete_requests(&Tenant::single());
    assert!(requests[0].done_ns.is_some() && clock.then.lock().is_none(), "the query was interrupted");
}

#[test]
fn a_request_that_can_be_read_no_more_hides_nothing_and_is_still_listed() {
    let place = Place::new(0);
    ten(&place.store, "a", 0);
    let record = DeleteRecord {
        id: "00000001".to_owned(),
        tenant: "fake".to_owned(),
        query: "of_another_language".to_owned(),
        start_ns: 0,
        end_ns: i64::MAX,
        created_ns: 1,
        entries: 0,
        done_ns: None,
    };
    place.store.inner.shared.catalog.lock().edit(Edit::AddDelete { request: record }).unwrap();
    let mut place = place;
    place.restart();
    assert_eq!((place.work(), lines(&place.store).len(), place.state()), (0, 10, (false, 0)));
}
