//! Who follows live gets each entry, either so or by a query.

use super::*;
use crate::Arrivals;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Long enough for any machine; waited for only where a test fails.
const LONG: Duration = Duration::from_secs(60);

/// Time in which somebody who is to wait shows that he does not. However slow the machine, who is right passes.
const SHORT: Duration = Duration::from_millis(100);

/// Returns the lines that have arrived.
fn taken(arrivals: &Arrivals) -> Vec<String> {
    let (views, missed) = arrivals.take();
    assert_eq!(missed.entries, 0);
    let mut taken = Vec::new();
    for view in views {
        let lines = view.block.lines().unwrap();
        let rows = view.runs.iter().flat_map(|run| run.rows.clone());
        taken.extend(rows.map(|row| String::from_utf8(lines.line(row).to_vec()).unwrap()));
    }
    taken
}

#[test]
fn who_begins_to_follow_while_entries_are_taken_in_misses_none() {
    let (store, tenant) = (open(&SimDisk::new()), Tenant::single());
    append(&store, batch("a", None, &[(1, "before")])).unwrap();
    let first = store.arrivals(&tenant, &[]);
    let days = store.inner.shared.view().active.days();
    let streams = days[0].2.matching(&[]);
    thread::scope(|scope| {
        // Entries of this stream can be handed over to who follows, and not yet be shown to queries.
        let held = streams[0].hold();
        let pushing = scope.spawn(|| append(&store, batch("a", None, &[(2, "now")])));
        let (handed, is_handed) = mpsc::sync_channel(1);
        let first = &first;
        scope.spawn(move || {
            run(first.wait());
            handed.send(()).unwrap();
        });
        is_handed.recv_timeout(LONG).expect("who follows has entries before queries do");
        let (begun, has_begun) = mpsc::sync_channel(1);
        let (store, tenant) = (&store, &tenant);
        let second = scope.spawn(move || {
            let second = store.arrivals(tenant, &[]);
            begun.send(()).unwrap();
            let found = lines(store);
            (found, taken(&second))
        });
        let begun = has_begun.recv_timeout(SHORT);
        assert!(
            begun.is_err(),
            "one began to follow too late for the entries, and may query too early for them"
        );
        drop(held);
        pushing.join().unwrap().unwrap();
        let (found, taken) = second.join().unwrap();
        assert_eq!(
            (found.as_slice(), taken.as_slice()),
            (&["before".to_owned(), "now".to_owned()][..], &[][..])
        );
    });
    assert_eq!(taken(&first), ["now"]);
    append(&store, batch("a", None, &[(3, "later")])).unwrap();
    assert_eq!(taken(&first), ["later"]);
}
