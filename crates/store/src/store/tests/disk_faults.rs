//! Changes of the disk fail in turn (every one with `LOGYARD_LONG` set), once or until the fault ends, because the disk is full or failing: what
//! was acknowledged is answered meanwhile, and the store works again afterwards, or after a restart.

use super::scenarios::{SCENARIOS, Scenario, stride};
use super::world::World;
use super::*;
use std::io::ErrorKind;

/// Checks what is answered while the fault lasts, then that all is well after it.
fn check_after(world: &mut World, what: &str) {
    if world.store.is_some() {
        world.check(&format!("{what}, while it lasts"));
    }
    let mut crashed = world.crashed(Some(1));
    world.disk.heal();
    if world.store.is_none() {
        world.start();
    }
    let is_read_only = match world.store().readiness() {
        Readiness::Ready => false,
        Readiness::ReadOnly { reason } => {
            assert!(reason.contains("check the disk, then restart"), "{what}: {reason}");
            true
        }
        other => panic!("{what}: start has waited, and there is room: {other:?}"),
    };
    let is_closed = world.store().inner.threads.lock().is_none();
    if is_read_only {
        world.push();
        world.check(&format!("{what}, read-only"));
    } else if !is_closed {
        // A flush that failed is tried again when one is asked for, not only in seconds.
        assert!((0..3).any(|_| world.flush()), "{what}: the store flushes again");
        world.check_works(&format!("{what}, and is over"));
    }
    // As after a restart of the program: the disk keeps all it was given.
    world.store = None;
    world.start();
    world.check_works(&format!("{what}, and a restart"));
    // As after a crash during the fault.
    crashed.start();
    crashed.check_works(&format!("{what}, and a crash"));
}

fn fail_everywhere(scenario: &Scenario, kind: ErrorKind, count: u64) {
    // Each kind and count begins elsewhere, so that together they meet more of the changes.
    let stride = stride(7);
    let first = (u64::from(kind == ErrorKind::Other) + u64::from(count > 1) * 2) % stride;
    for after in (first..).step_by(stride as usize) {
        let mut world = scenario.prepared();
        let before = world.disk.operations();
        world.disk.fail_changes(after, count, kind);
        (scenario.act)(&mut world);
        let changes = world.disk.operations() - before;
        let what = format!("{}, {kind:?} of {count} changes after {after}", scenario.name);
        check_after(&mut world, &what);
        if changes <= after {
            assert!(changes >= scenario.changes_min, "{}: only {changes} changes", scenario.name);
            return;
        }
    }
}

/// A read that fails is no damage: nothing is given up for it.
fn fail_reads_everywhere(scenario: &Scenario, count: u64) -> u64 {
    let stride = stride(5);
    for after in (u64::from(count > 1) * 2..).step_by(stride as usize) {
        let mut world = scenario.prepared();
        let before = world.disk.reads();
        world.disk.fail_reads(after, count);
        (scenario.act)(&mut world);
        let reads = world.disk.reads() - before;
        world.disk.heal();
        let what = format!("{}, {count} reads fail after {after}", scenario.name);
        if world.store.is_none() {
            world.start();
        }
        assert_eq!(world.store().readiness(), Readiness::Ready, "{what}");
        if world.store().inner.threads.lock().is_some() {
            world.check_works(&format!("{what}, and is over"));
        }
        world.store = None;
        world.start();
        world.check_works(&format!("{what}, and a restart"));
        if reads <= after {
            return reads;
        }
    }
    unreachable!("the numbers do not end")
}

#[test]
fn reads_that_fail_anywhere_lose_nothing() {
    let once: u64 = SCENARIOS.iter().map(|scenario| fail_reads_everywhere(scenario, 1)).sum();
    for scenario in SCENARIOS {
        fail_reads_everywhere(scenario, u64::MAX);
    }
    assert!(once > 100, "{once} reads");
}

#[test]
fn one_failing_change_anywhere_loses_nothing() {
    for scenario in SCENARIOS {
        fail_everywhere(scenario, ErrorKind::StorageFull, 1);
        fail_everywhere(scenario, ErrorKind::Other, 1);
    }
}

#[test]
fn a_disk_that_fails_from_anywhere_on_loses_nothing() {
    for scenario in SCENARIOS {
        fail_everywhere(scenario, ErrorKind::StorageFull, u64::MAX);
        fail_everywhere(scenario, ErrorKind::Other, u64::MAX);
    }
}
