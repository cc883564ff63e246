//! Full buffers of the head are compressed beside the writer.

use super::*;
use crate::freezer::Freezer;
use crate::head::HeadStream;

/// More than makes a buffer full.
const FULL_LINE_BYTES: usize = 300 << 10;

fn head_streams(head: &Head) -> Vec<Arc<HeadStream>> {
    head.days().into_iter().flat_map(|(_, _, day)| day.matching(&[])).collect()
}

fn is_compressed(head_stream: &Arc<HeadStream>) -> bool {
    let (frozen, open) = head_stream.pieces();
    frozen.len() == 1 && open.is_empty()
}

#[test]
fn the_writer_waits_for_a_full_buffer_only_if_many_wait() {
    let store = open(&SimDisk::new());
    let (head, tenant, line) = (Head::new(0), Tenant::single(), "x".repeat(FULL_LINE_BYTES));
    let mut full = Vec::new();
    for number in 0..12 {
        let stream = stream(&tenant, &[("app", &format!("{number}"))]);
        head.append(&tenant, &stream, entries(&[(1, &line)]), 0, &mut full);
    }
    let mut freezer = Freezer::start(&store.inner.shared);
    let busy = full.remove(0);
    let held = busy.hold();
    freezer.freeze(vec![Arc::clone(&busy)]);
    freezer.freeze(full.clone());
    assert!(is_compressed(&full[10]), "there was no place to wait for it");
    drop(held);
    freezer.stop();
    assert!(head_streams(&head).iter().all(is_compressed));
}

#[test]
fn a_buffer_that_is_not_full_is_left_open_and_a_full_one_is_compressed_once() {
    let store = open(&SimDisk::new());
    append(&store, batch("a", None, &[(1, "short")])).unwrap();
    let one = Arc::clone(&head_streams(&store.inner.shared.view().active)[0]);
    assert_eq!((one.freeze_if_full().unwrap(), one.pieces().0.len()), (0, 0));
    let line = "x".repeat(FULL_LINE_BYTES);
    append(&store, batch("a", None, &[(2, &line)])).unwrap();
    until("compressed", || is_compressed(&one));
    assert_eq!((one.freeze_if_full().unwrap(), one.pieces().0.len()), (0, 1));
    assert_eq!(lines(&store), ["short", &line]);
}
