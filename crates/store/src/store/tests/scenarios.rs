//! Everything that the store does to its disk, as a table for the tests that let it go wrong.

use super::world::{DAY_NS, World};
use super::*;
use crate::catalog_record::Edit;
use std::time::Duration;

/// Returns how many changes lie between two that are tried: the long form, with `LOGYARD_LONG` set, tries each.
pub(super) fn stride(short: u64) -> u64 {
    if std::env::var_os("LOGYARD_LONG").is_some() { 1 } else { short }
}

/// Something that the store does to its disk.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Brings a new world to the point.
    pub(super) prepare: fn(&mut World),
    /// Does it; what fails is for the world to remember.
    pub(super) act: fn(&mut World),
    /// Changes of the disk that it makes at least: fewer, and it does not do what it is to test.
    pub(super) changes_min: u64,
}

impl Scenario {
    pub(super) fn prepared(&self) -> World {
        let mut world = World::new();
        (self.prepare)(&mut world);
        world
    }
}

fn started(world: &mut World) {
    world.start();
    world.push();
}

fn flushed_often(world: &mut World) {
    world.start();
    world.push_and_flush(9);
}

/// Takes what `act` of a start does: a start that fails is followed by another once the fault is over.
fn start(world: &mut World) {
    if let Err(error) = world.try_start() {
        // A folder that cannot be made is one that cannot be used.
        assert!(matches!(error.kind(), Kind::Unavailable | Kind::Invalid), "{error:?}");
    }
}

fn stopped_at_once(world: &mut World) {
    world.store = None;
}

/// Damages the end of the oldest segment of a stopped store, so that it is lost at first use.
fn damage_oldest(world: &mut World) {
    world.start();
    let oldest = Arc::clone(&world.store().inner.shared.view().segments[0]);
    let range = TimeRange { start_ns: oldest.record.min_ns, end_ns: oldest.record.max_ns + 1 };
    let before = world.found();
    stopped_at_once(world);
    world.disk.damage(&oldest.path, oldest.record.bytes - 40, 1).unwrap();
    let of_tenant = |entry: &&Found| entry.0.starts_with(&format!("{}:", oldest.record.tenant));
    let hit = before.iter().filter(of_tenant).filter(|entry| range.contains(entry.1));
    world.damaged.extend(hit.cloned());
}

/// Flips a bit of the first block of the oldest segment of a stopped store.
fn damage_block(world: &mut World) {
    world.start();
    let oldest = Arc::clone(&world.store().inner.shared.view().segments[0]);
    let range = TimeRange { start_ns: oldest.record.min_ns, end_ns: oldest.record.max_ns + 1 };
    let before = world.found();
    stopped_at_once(world);
    world.disk.damage(&oldest.path, 66, 1).unwrap();
    let of_tenant = |entry: &&Found| entry.0.starts_with(&format!("{}:", oldest.record.tenant));
    let hit = before.iter().filter(of_tenant).filter(|entry| range.contains(entry.1));
    world.damaged.extend(hit.cloned());
}

/// Three days of flushed entries, the clock a day behind the last.
fn three_days(world: &mut World) {
    world.start();
    for _ in 0..3 {
        world.push_and_flush(2);
        world.clock.advance(Duration::from_secs(86_400));
    }
}

/// Three days of flushed entries under a policy that has been seen in force.
fn three_days_seen(world: &mut World, short_days: u64) {
    world.short_secs = Some(short_days * 86_400);
    three_days(world);
    world.expire(0);
    world.forgive_too_old();
}

/// Starts again with another policy, and lets it be seen.
fn change_policy(world: &mut World, short_days: u64) {
    stopped_at_once(world);
    world.short_secs = Some(short_days * 86_400);
    start(world);
    if world.store.is_some() {
        world.push();
        world.flush();
        world.expire(0);
        world.compact();
    }
}

/// A store of which a segment is lost, as a query has found.
fn with_lost_segment(world: &mut World) {
    flushed_often(world);
    damage_oldest(world);
    world.start();
    world.look();
    assert_eq!(world.store().lost_segments(&Tenant::single(), TimeRange::ALL).len(), 1);
}

/// Makes a snapshot, if the disk lets it.
fn snapshot(world: &mut World) {
    drop(run(world.store().create_snapshot(Some("one"))));
}

/// Everything the store does to its disk.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "append",
        prepare: started,
        act: |world| (0..3).for_each(|_| world.push()),
        changes_min: 6,
    },
    Scenario {
        name: "flush",
        prepare: started,
        act: |world| {
            world.flush();
        },
        changes_min: 15,
    },
    Scenario {
        name: "flush of a head at its bound, and pushes behind it",
        prepare: |world| {
            world.settings.flush.head_bytes_max = 400;
            started(world);
        },
        act: |world| {
            world.push();
            world.push();
            world.flush();
        },
        changes_min: 30,
    },
    Scenario {
        name: "flush that begins a new file of the catalog",
        prepare: |world| {
            started(world);
            let mut catalog = world.store().inner.shared.catalog.lock();
            for _ in 0..1000 {
                let state = catalog.state();
                let edit =
                    Edit::Flush { add: Vec::new(), wal_done: state.wal_done, windows: state.windows.clone() };
                catalog.edit(edit).unwrap();
            }
        },
        act: |world| {
            world.flush();
        },
        changes_min: 20,
    },
    Scenario {
        name: "compaction of a day under way",
        prepare: flushed_often,
        act: |world| {
            world.compact();
        },
        changes_min: 20,
    },
    Scenario {
        name: "compaction of days that are over, two levels",
        prepare: |world| {
            flushed_often(world);
            world.compact();
            world.push_and_flush(2);
            world.clock.advance(Duration::from_secs(36 * 3600));
        },
        act: |world| {
            world.compact();
        },
        changes_min: 40,
    },
    Scenario {
        name: "retention",
        prepare: |world| {
            world.start();
            for _ in 0..3 {
                world.push_and_flush(1);
                world.clock.advance(Duration::from_secs(86_400));
            }
        },
        act: |world| world.expire(2),
        changes_min: 9,
    },
    Scenario {
        name: "retention by policies",
        prepare: |world| {
            world.short_secs = Some(2 * 86_400);
            three_days(world);
        },
        act: |world| world.expire(1),
        changes_min: 9,
    },
    Scenario {
        name: "policy that becomes shorter",
        prepare: |world| three_days_seen(world, 2),
        act: |world| change_policy(world, 1),
        changes_min: 30,
    },
    Scenario {
        name: "policy that becomes longer",
        prepare: |world| three_days_seen(world, 1),
        act: |world| change_policy(world, 3),
        changes_min: 30,
    },
    Scenario {
        name: "retention of a lost segment",
        prepare: with_lost_segment,
        act: |world| world.expire(5),
        changes_min: 9,
    },
    Scenario {
        name: "repair that forgets a lost segment",
        prepare: |world| {
            with_lost_segment(world);
            stopped_at_once(world);
        },
        act: |world| drop(world.repair(true)),
        changes_min: 9,
    },
    Scenario {
        name: "removal of folders that a crash has left empty",
        prepare: |world| {
            world.start();
            world.push_and_flush(2);
            for left in ["x/20260101/30d", "fake/20260101/7d", "fake/20260601/7d"] {
                world.disk.create_dir_all(&root().join("tenants").join(left)).unwrap();
            }
        },
        act: |world| world.store().inner.shared.folder.remove_all_empty(&world.disk),
        changes_min: 9,
    },
    Scenario {
        name: "retention by bytes",
        prepare: |world| {
            three_days(world);
            stopped_at_once(world);
            world.settings.retention.bytes_max = 1;
            world.start();
            // All but the newest day may go.
            let newest_ns = world.found().iter().map(|entry| entry.1).max().unwrap();
            let day_ns = newest_ns - newest_ns % DAY_NS;
            world.damaged = world.found().into_iter().filter(|entry| entry.1 < day_ns).collect();
        },
        act: |world| world.expire(0),
        changes_min: 9,
    },
    Scenario {
        name: "snapshot",
        prepare: |world| {
            flushed_often(world);
            world.push();
        },
        act: snapshot,
        changes_min: 40,
    },
    Scenario {
        name: "snapshot where files have one name",
        prepare: |world| {
            world.disk.refuse_links();
            flushed_often(world);
        },
        act: snapshot,
        changes_min: 50,
    },
    Scenario {
        name: "removal of a snapshot",
        prepare: |world| {
            flushed_often(world);
            snapshot(world);
        },
        act: |world| drop(world.store().delete_snapshot("one")),
        changes_min: 20,
    },
    Scenario {
        name: "compaction around a damaged block",
        prepare: |world| {
            flushed_often(world);
            damage_block(world);
            world.start();
        },
        act: |world| {
            // The query finds the damage, which makes the segment one to be written anew.
            world.look();
            world.compact();
        },
        changes_min: 20,
    },
    Scenario {
        name: "repair of a damaged block",
        prepare: |world| {
            flushed_often(world);
            damage_block(world);
        },
        act: |world| drop(world.repair(false)),
        changes_min: 25,
    },
    Scenario {
        name: "delete request, and the work it asks for",
        prepare: |world| {
            flushed_often(world);
            world.compact();
            world.push_and_flush(2);
            world.push();
        },
        act: |world| {
            world.delete("row 1");
            world.compact();
            world.delete("batch 11");
        },
        changes_min: 40,
    },
    Scenario {
        name: "loss of a segment",
        prepare: |world| {
            flushed_often(world);
            damage_oldest(world);
            world.start();
        },
        act: |world| world.look(),
        changes_min: 4,
    },
    Scenario {
        name: "close",
        prepare: started,
        act: |world| run(world.store().close()).unwrap(),
        changes_min: 15,
    },
    Scenario {
        name: "start that makes the ballast",
        prepare: |world| {
            world.settings.disk = crate::DiskSettings { free_bytes_min: Some(1), ballast_bytes: 4096 };
        },
        act: start,
        changes_min: 9,
    },
    Scenario { name: "start of a new folder", prepare: |_| {}, act: start, changes_min: 8 },
    Scenario {
        name: "start with more in the WAL than fits into the head",
        prepare: |world| {
            world.start();
            (0..4).for_each(|_| world.push());
            stopped_at_once(world);
            world.settings.flush.head_bytes_max = 400;
        },
        act: start,
        changes_min: 40,
    },
    Scenario {
        name: "start with a torn end of the WAL",
        prepare: |world| {
            started(world);
            stopped_at_once(world);
            let wal = root().join("wal");
            let items = world.disk.list(&wal).unwrap();
            let last = items.iter().rfind(|item| !item.is_dir).unwrap();
            let mut file = world.disk.append_file(&wal.join(&last.name)).unwrap();
            file.write_all(&[9; 30]).unwrap();
            file.sync().unwrap();
        },
        act: start,
        changes_min: 3,
    },
    Scenario {
        name: "start after a lost segment was restored",
        prepare: |world| {
            flushed_often(world);
            let oldest = world.store().inner.shared.view().segments[0].path.clone();
            let bytes = world.disk.read(&oldest).unwrap();
            stopped_at_once(world);
            world.disk.remove_file(&oldest).unwrap();
            world.start();
            stopped_at_once(world);
            world.disk.write_atomic(&oldest, &bytes).unwrap();
        },
        act: start,
        changes_min: 3,
    },
    Scenario {
        name: "start after the catalog was lost",
        prepare: |world| {
            flushed_often(world);
            world.compact();
            stopped_at_once(world);
            let catalog = root().join("catalog");
            for item in world.disk.list(&catalog).unwrap().iter().filter(|item| !item.is_dir) {
                world.disk.remove_file(&catalog.join(&item.name)).unwrap();
            }
            world.disk.sync_dir(&catalog).unwrap();
            world.are_ids_lost = true;
        },
        act: start,
        changes_min: 5,
    },
];
