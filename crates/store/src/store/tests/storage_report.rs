//! What is told of the store is what lies in its files.

use super::*;
use crate::segment::Segment;
use crate::segment_format::{SECTION_IDS, SECTION_WORDS, Toc, TocSection};
use crate::storage_report::{StorageQuery, StorageReport, of_folder};
use crate::{Kind, RetentionPolicy, RetentionPolicySettings};
use logyard_sys::Disk;

const DAY_NS: i64 = 24 * HOUR_NS;

fn everything() -> StorageQuery {
    StorageQuery { tenant: None, days: i32::MIN..=i32::MAX, streams_max: 100 }
}

fn settings() -> StoreSettings {
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(30 * 86_400);
    settings.retention.bytes_max = 1;
    settings.retention.policies = vec![
        RetentionPolicySettings { selector: "short".to_owned(), ..RetentionPolicySettings::default() },
        RetentionPolicySettings { tenant: Some("b".to_owned()), ..RetentionPolicySettings::default() },
    ];
    settings.disk = crate::DiskSettings { free_bytes_min: Some(7), ballast_bytes: 0 };
    settings
}

fn policies() -> Vec<RetentionPolicy> {
    let policy = |tenant: Option<&str>, matchers, period_secs, priority| RetentionPolicy {
        tenant: tenant.map(|tenant| Tenant::new(tenant).unwrap()),
        matchers,
        period_secs,
        priority,
    };
    vec![
        policy(None, vec![matcher("app", MatchOp::Equal, "short")], 2 * 86_400, -1),
        policy(Some("b"), Vec::new(), 0, 0),
    ]
}

fn of_tenant(tenant: &str, app: &str, rows: &[(i64, &str)]) -> StoreBatch {
    let tenant = Tenant::new(tenant).unwrap();
    let chunks = vec![(stream(&tenant, &[("app", app)]), entries(rows))];
    StoreBatch { tenant, id: None, chunks, encoded: None }
}

/// Two days, two tenants, three classes; one entry in memory.
fn world() -> (SimDisk, Store) {
    let disk = SimDisk::new();
    let clock = Arc::new(SimClock::new(NOON_NS));
    let store = open_with_rules(
        &disk,
        settings(),
        StoreRules { policies: policies(), ..StoreRules::default() },
        &clock,
    )
    .unwrap();
    run(store.recovered()).unwrap();
    let long = "a line that is somewhat longer than the others ".repeat(40);
    append(&store, of_tenant("a", "web", &[(NOON_NS, &long), (NOON_NS + 1, "x")])).unwrap();
    append(&store, of_tenant("a", "db", &[(NOON_NS, "y"), (NOON_NS + DAY_NS, "z")])).unwrap();
    append(&store, of_tenant("a", "short", &[(NOON_NS, "soon gone")])).unwrap();
    append(&store, of_tenant("b", "web", &[(NOON_NS, "")])).unwrap();
    run(store.flush()).unwrap();
    append(&store, of_tenant("b", "web", &[(NOON_NS + 5, "in memory")])).unwrap();
    (disk, store)
}

fn rows(report: &StorageReport) -> Vec<String> {
    let row = |row: &crate::storage_report::StorageDay| {
        let gone = row.deletion_ns.map(|gone| (gone - NOON_NS) / HOUR_NS);
        format!("{} {} {} {} {gone:?}", row.day, row.tenant, row.class, row.sums.entries)
    };
    report.days.iter().map(row).collect()
}

#[test]
fn days_streams_and_limits_are_told() {
    let (disk, store) = world();
    let report = store.storage_report(&everything()).unwrap();
    assert_eq!(
        rows(&report),
        [
            "20260601 a 2d 1 Some(59)",
            "20260601 a 30d 3 Some(731)",
            "20260601 b forever 1 None",
            "20260602 a 30d 1 Some(755)"
        ]
    );
    let files: u64 = segment_files_of(&disk);
    assert_eq!((report.totals.bytes, report.totals.files, report.totals.entries), (files, 4, 6));
    assert_eq!(report.days.iter().map(|day| day.sums.bytes).sum::<u64>(), files);
    assert_eq!(report.memory.map(|memory| (memory.entries, memory.raw_bytes)), Some((1, 9)));
    let disk_told = report.disk.unwrap();
    assert_eq!((disk_told.free_bytes_min, disk_told.snapshots), (7, 0));
    assert!(disk_told.wal_bytes > 0);
    // The files of the newest day never go.
    let next: Vec<String> =
        report.cap.next.iter().map(|row| format!("{} {} {}", row.day, row.tenant, row.class)).collect();
    assert_eq!(next[0], "20260601 a 2d", "the lowest priority first");
    assert_eq!(next.len(), 3);
    assert_eq!(report.cap.bytes_over, files - 1);
    assert_eq!((report.limits.period_secs, report.limits.policies.len()), (30 * 86_400, 2));
}

fn segment_files_of(disk: &SimDisk) -> u64 {
    let files = recovery::find_files(disk, &Folder::at(&root())).unwrap();
    files.iter().map(recovery::FoundFile::bytes).sum()
}

#[test]
fn the_shares_of_streams_add_up_to_the_blocks() {
    let (disk, store) = world();
    let report = store.storage_report(&everything()).unwrap();
    assert_eq!(report.streams_total, Some(4));
    let names: Vec<(&str, &str)> =
        report.streams.iter().map(|one| (one.tenant.as_str(), one.stream.as_str())).collect();
    assert_eq!(names[0], ("a", r#"{app="web"}"#), "{names:?}");
    assert!(report.streams.is_sorted_by_key(|one| std::cmp::Reverse(one.bytes)));
    assert_eq!(report.streams.iter().map(|one| one.entries).sum::<u64>(), report.totals.entries);
    assert_eq!(report.streams.iter().map(|one| one.raw_bytes).sum::<u64>(), report.totals.raw_bytes);
    // Each file begins with a header of 64 bytes, and has indexes of what lines hold between the blocks and the rest.
    let content_bytes = |segment: &Arc<Segment>| -> u64 {
        let file = disk.read(&segment.path).unwrap();
        let sections = Toc::decode(&file, file.len() as u64).unwrap().sections;
        let of_content = |section: &&TocSection| [SECTION_IDS, SECTION_WORDS].contains(&section.kind);
        sections.iter().filter(of_content).map(|section| section.bytes).sum()
    };
    let content: u64 = store.inner.shared.view().segments.iter().map(content_bytes).sum();
    let blocks = report.totals.bytes - report.totals.index_bytes - content - 64 * report.totals.files;
    assert_eq!(report.streams.iter().map(|one| one.bytes).sum::<u64>(), blocks);
    let periods: Vec<(&str, u64)> =
        report.streams.iter().map(|one| (one.stream.as_str(), one.period_secs)).collect();
    assert!(periods.contains(&(r#"{app="short"}"#, 2 * 86_400)), "{periods:?}");
    assert!(periods.contains(&(r#"{app="web"}"#, 0)), "those of b for ever: {periods:?}");
    let two = StorageQuery { streams_max: 2, ..everything() };
    let report = store.storage_report(&two).unwrap();
    assert_eq!((report.streams.len(), report.streams_total), (2, Some(4)));
    let none = StorageQuery { streams_max: 0, ..everything() };
    let report = store.storage_report(&none).unwrap();
    assert_eq!((report.streams.len(), report.streams_total), (0, None));
}

#[test]
fn a_tenant_is_told_of_its_own() {
    let (_, store) = world();
    let query = StorageQuery { tenant: Some(Tenant::new("a").unwrap()), ..everything() };
    let report = store.storage_report(&query).unwrap();
    assert!(report.days.iter().all(|row| row.tenant == "a") && report.days.len() == 3);
    assert!(report.streams.iter().all(|one| one.tenant == "a") && report.streams.len() == 3);
    assert_eq!(report.memory.map(|memory| memory.entries), Some(0));
    assert_eq!((report.disk, report.cap.bytes_over), (None, 0), "what others store is not told");
    assert!(report.cap.next.iter().all(|row| row.tenant == "a"));
    assert!(report.limits.policies.iter().all(|policy| policy.tenant.is_none()));
    let day = crate::parse_day("2026-06-02").unwrap();
    let report = store.storage_report(&StorageQuery { days: day..=day, ..query }).unwrap();
    assert_eq!(rows(&report), ["20260602 a 30d 1 Some(755)"]);
    assert_eq!(report.streams_total, Some(1));
}

#[test]
fn a_folder_is_told_of_with_and_without_a_process_that_uses_it() {
    let (disk, store) = world();
    let open = store.storage_report(&everything()).unwrap();
    let look = |disk: &SimDisk| {
        let clock = SimClock::new(NOON_NS);
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        of_folder(&disk, &clock, &root(), &settings(), policies(), &everything())
    };
    let looked = look(&disk).unwrap();
    assert_eq!(looked.memory, None, "what is in memory is not seen");
    assert_eq!(StorageReport { memory: open.memory, now_ns: open.now_ns, ..looked }, open);
    drop(store);
    let disk = disk.crash();
    let before: Vec<_> = disk.list(&root().join("catalog")).unwrap();
    assert_eq!(look(&disk).unwrap().days, open.days);
    assert_eq!(disk.list(&root().join("catalog")).unwrap(), before, "nothing is changed");
    for item in before {
        disk.remove_file(&root().join("catalog").join(item.name)).unwrap();
    }
    let error = look(&disk).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("run logyard repair"), "{error}");
    assert_eq!(look(&SimDisk::new()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn unreadable_files_are_counted() {
    let (disk, store) = world();
    drop(store);
    let disk = disk.crash();
    let store = open_with_rules(
        &disk,
        settings(),
        StoreRules { policies: policies(), ..StoreRules::default() },
        &Arc::new(SimClock::new(NOON_NS)),
    )
    .unwrap();
    run(store.recovered()).unwrap();
    let path = store.inner.shared.view().segments[0].path.clone();
    let bytes = disk.read(&path).unwrap();
    let mut file = disk.create_file(&path).unwrap();
    file.write_all(&vec![0; bytes.len()]).unwrap();
    drop(file);
    let report = store.storage_report(&everything()).unwrap();
    assert_eq!((report.unreadable_files, report.totals.files), (1, 4));
    assert_eq!(report.streams_total, Some(3));
}
