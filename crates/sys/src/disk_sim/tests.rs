//! What survives, and what fails when told to.

use super::*;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn disk_with(file: &str, synced: &[u8], unsynced: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(path(file).parent().unwrap()).unwrap();
    let mut open = disk.create_file(path(file)).unwrap();
    open.write_all(synced).unwrap();
    open.sync().unwrap();
    disk.sync_dir(path(file).parent().unwrap()).unwrap();
    open.write_all(unsynced).unwrap();
    disk
}

#[test]
fn synced_bytes_survive_and_others_may() {
    let disk = disk_with("/d/f", b"safe", b"maybe");
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"safemaybe");
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"safe");
    let mut lengths = BTreeSet::new();
    for seed in 0..64 {
        let left = disk.crash_seeded(seed).read(path("/d/f")).unwrap();
        assert!(left.starts_with(b"safe"));
        assert_eq!(left, disk.crash_seeded(seed).read(path("/d/f")).unwrap());
        lengths.insert(left.len());
    }
    assert_eq!(lengths, (4..=9).collect());
}

#[test]
fn names_survive_once_their_folder_is_synced() {
    let disk = disk_with("/d/f", b"1", b"");
    let mut new = disk.create_file(path("/d/new")).unwrap();
    new.write_all(b"2").unwrap();
    new.sync().unwrap();
    assert_eq!(disk.crash().metadata(path("/d/new")).unwrap(), None);
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.crash().read(path("/d/new")).unwrap(), b"2");

    disk.rename(path("/d/new"), path("/d/f")).unwrap();
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"2");
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"1");
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"2");
    assert_eq!(disk.crash().metadata(path("/d/new")).unwrap(), None);

    disk.remove_file(path("/d/f")).unwrap();
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"2");
}

#[test]
fn an_atomic_write_is_old_or_new_at_every_crash_point() {
    let count = {
        let disk = disk_with("/d/f", b"old", b"");
        let before = disk.operations();
        disk.write_atomic(path("/d/f"), b"new").unwrap();
        disk.operations() - before
    };
    for halt in 0..=count {
        for seed in 0..16 {
            let disk = disk_with("/d/f", b"old", b"");
            disk.halt_after(halt);
            let done = disk.write_atomic(path("/d/f"), b"new").is_ok();
            let left = disk.crash_seeded(seed).read(path("/d/f")).unwrap();
            assert!(left == b"new" || (left == b"old" && !done), "{left:?} after {halt}");
        }
    }
}

#[test]
fn a_failed_sync_saves_nothing_and_neither_do_later_ones() {
    let disk = disk_with("/d/f", b"safe", b"");
    let mut file = disk.append_file(path("/d/f")).unwrap();
    file.write_all(b"gone").unwrap();
    disk.fail_sync(1);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"safe");
}

#[test]
fn chosen_changes_fail_and_those_before_and_behind_do_not() {
    let disk = disk_with("/d/f", b"safe", b"");
    let mut file = disk.append_file(path("/d/f")).unwrap();
    disk.fail_changes(1, 2, io::ErrorKind::StorageFull);
    file.write_all(b"1").unwrap();
    assert_eq!(file.write_all(b"2345").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.sync_dir(path("/d")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_all(b"6").unwrap();
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"safe1236");
    disk.fail_changes(0, u64::MAX, io::ErrorKind::Other);
    assert!(file.sync().is_err() && disk.remove_file(path("/d/f")).is_err());
    disk.heal();
    file.sync().unwrap();
    assert_eq!(disk.crash().read(path("/d/f")).unwrap(), b"safe", "the failed sync has dropped the rest");
}

#[test]
fn chosen_reads_fail_and_change_nothing() {
    let disk = disk_with("/d/f", b"safe", b"");
    let (file, before) = (disk.open_file(path("/d/f")).unwrap(), disk.reads());
    disk.fail_reads(1, 2);
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"safe");
    assert!(disk.list(path("/d")).is_err() && file.read_exact_at(&mut [0; 2], 0).is_err());
    file.read_exact_at(&mut [0; 2], 0).unwrap();
    assert_eq!(disk.reads() - before, 4);
    disk.fail_reads(0, u64::MAX);
    assert!(disk.metadata(path("/d/f")).is_err());
    disk.heal();
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"safe");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = disk_with("/d/f", b"", b"");
    disk.set_free_bytes(Some(3));
    let mut file = disk.append_file(path("/d/f")).unwrap();
    assert_eq!(file.write_all(b"four").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(path("/d/f")).unwrap(), b"fou");
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 0);
    disk.truncate(path("/d/f"), 1).unwrap();
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 2);
}

#[test]
fn reserved_room_is_taken_and_given_back() {
    let disk = disk_with("/d/f", b"123", b"");
    disk.set_free_bytes(Some(100));
    assert_eq!(disk.total_bytes(path("/d")).unwrap(), 103);
    disk.reserve_file(path("/d/r"), 60).unwrap();
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 40);
    assert_eq!(disk.total_bytes(path("/d")).unwrap(), 103);
    assert_eq!(disk.metadata(path("/d/r")).unwrap().unwrap().bytes, 60);
    let error = disk.reserve_file(path("/d/s"), 41).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.remove_file(path("/d/r")).unwrap();
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 100);
}

#[test]
fn locks_have_one_holder_and_die_with_the_power() {
    let disk = SimDisk::new();
    let guard = disk.lock(path("/lock")).unwrap();
    assert_eq!(disk.lock(path("/lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.crash().lock(path("/lock")).unwrap();
    drop(guard);
    disk.lock(path("/lock")).unwrap();
}

#[test]
fn folders_list_their_items_in_order_and_absent_ones_are_not_found() {
    let disk = disk_with("/d/b", b"12", b"");
    disk.create_file(path("/d/a")).unwrap();
    disk.create_dir_all(path("/d/c/e")).unwrap();
    let names: Vec<_> = disk.list(path("/d")).unwrap().into_iter().map(|item| item.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(disk.list(path("/x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.create_file(path("/x/f")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(disk.metadata(path("/d/c")).unwrap().unwrap().is_dir);
}
