//! Data folders written by released formats open and answer the same.

use super::*;
use logyard_sys::RealDisk;

/// Copies a folder of the source tree onto the simulated disk.
fn copy(real: &RealDisk, from: &Path, disk: &SimDisk, to: &Path) {
    disk.create_dir_all(to).unwrap();
    for item in real.list(from).unwrap() {
        let (source, target) = (from.join(&item.name), to.join(&item.name));
        if item.is_dir {
            copy(real, &source, disk, &target);
        } else {
            disk.write_atomic(&target, &real.read(&source).unwrap()).unwrap();
        }
    }
}

fn sample() -> SimDisk {
    let disk = SimDisk::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1");
    copy(&RealDisk, &from, &disk, &root());
    disk
}

/// The sample holds batches 1 and 2 in segments of two days, and batch 3 in the WAL.
#[test]
fn format_1_answers_the_same() {
    let store = open(&sample());
    assert_eq!(lines(&store), ["first", "second", "third", "fourth"]);
    let tenant = Tenant::single();
    let web = find(&store, &tenant, &[matcher("app", MatchOp::Regex, "we.")], TimeRange::ALL);
    let expect = |ts_ns: i64, line: &str, level: &str, metadata: &str| {
        (r#"{app="web"}"#.to_owned(), ts_ns, line.as_bytes().to_vec(), level.to_owned(), metadata.to_owned())
    };
    assert_eq!(
        web,
        [
            expect(NOON_NS, "first", "info", r#"{trace="1"}"#),
            expect(NOON_NS + 24 * HOUR_NS, "third", "", "{}"),
            expect(NOON_NS + 25 * HOUR_NS, "fourth", "", "{}"),
        ]
    );
    assert_eq!(store.inner.shared.view().segments.len(), 2);
    assert_eq!(store.inner.shared.view().active.entries(), 1);
    for number in 1..=3 {
        assert!(append(&store, batch("web", Some(id(number)), &[(1, "again")])).unwrap().duplicate);
    }
    assert_eq!(append(&store, batch("web", Some(id(4)), &[(1, "new")])).unwrap(), stored());
}
