//! The plug is pulled after changes of the disk, in everything the store does, and again while the next start
//! mends what is left (after every change with `LOGYARD_LONG` set): nothing acknowledged is lost, nothing is there twice, and start succeeds.

use super::scenarios::{SCENARIOS, Scenario, stride};
use super::world::World;
use super::*;

/// Starts a crashed world; pulls the plug somewhere in that start too, and again in the one after it.
fn restart_with_crashes(crashed: &World, random: &Random, what: &str) {
    let mut whole = crashed.crashed(None);
    whole.start();
    let changes = whole.disk.operations();
    whole.check(what);
    whole.settle(what);
    let halt_after = random.next_u64() % changes.max(1);
    let what = format!("{what}, then after {halt_after} of {changes} changes of the start");
    let mut again = crashed.crashed(None);
    again.disk.halt_after(halt_after);
    drop(again.try_start());
    let mut third = again.crashed(Some(random.next_u64()));
    third.disk.halt_after(random.next_u64() % changes.max(1));
    drop(third.try_start());
    let mut last = third.crashed(Some(random.next_u64()));
    last.start();
    last.check_works(&what);
}

/// Returns how often the plug was pulled.
fn crash_everywhere(scenario: &Scenario) -> u64 {
    let stride = stride(3);
    for halt_after in (0..).step_by(stride as usize) {
        let mut world = scenario.prepared();
        let before = world.disk.operations();
        world.disk.halt_after(halt_after);
        (scenario.act)(&mut world);
        let changes = world.disk.operations() - before;
        let what = format!("{}, crash after {halt_after} changes", scenario.name);
        if world.store.is_some() {
            world.check(&format!("{what}, still running"));
        }
        let random = Random::seeded(halt_after);
        restart_with_crashes(&world.crashed(None), &random, &what);
        restart_with_crashes(
            &world.crashed(Some(halt_after)),
            &random,
            &format!("{what}, some unsynced kept"),
        );
        if changes <= halt_after {
            assert!(changes >= scenario.changes_min, "{}: only {changes} changes", scenario.name);
            return halt_after / stride + 1;
        }
    }
    unreachable!("the numbers do not end")
}

#[test]
fn a_crash_at_every_change_of_everything_loses_and_doubles_nothing() {
    let crashes: u64 = SCENARIOS.iter().map(crash_everywhere).sum();
    assert!(crashes > 150, "{crashes} crashes");
}
