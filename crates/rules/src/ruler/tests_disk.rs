//! A disk that takes its time: nothing is overtaken, and nothing else waits.

use super::tests::{GROUP, World, set};
use super::*;
use crate::alert::AlertState;
use logyard_sys::{DirItem, FileMeta, LockGuard, ReadFile, SimDisk, WriteFile};
use parking_lot::Condvar;
use std::io;

/// A simulated disk on which files and folders whose path holds a text wait at a gate.
#[derive(Debug)]
struct GateDisk {
    disk: SimDisk,
    text: &'static str,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: bool,
    waiting: usize,
    removed: usize,
}

impl GateDisk {
    fn pass(&self, path: &Path) {
        if !path.to_string_lossy().contains(self.text) {
            return;
        }
        let mut gate = self.gate.lock();
        gate.waiting += 1;
        self.moved.notify_all();
        while gate.is_shut {
            self.moved.wait(&mut gate);
        }
        gate.waiting -= 1;
    }

    fn set(&self, is_shut: bool) {
        self.gate.lock().is_shut = is_shut;
        self.moved.notify_all();
    }
}

impl Disk for GateDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.disk.create_file(path)
    }
    fn append_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.disk.append_file(path)
    }
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.disk.open_file(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if path.to_string_lossy().contains(self.text) {
            self.gate.lock().removed += 1;
            self.moved.notify_all();
        }
        self.disk.remove_file(path)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.truncate(path, bytes)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        self.pass(dir);
        self.disk.list(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Option<FileMeta>> {
        self.disk.metadata(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.total_bytes(dir)
    }
    fn reserve_file(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.reserve_file(path, bytes)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.disk.lock(path)
    }
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.pass(path);
        self.disk.write_atomic(path, bytes)
    }
}

fn gate(world: &World, text: &'static str) -> Arc<GateDisk> {
    let disk = world.disk.clone();
    Arc::new(GateDisk { disk, text, gate: Mutex::default(), moved: Condvar::new() })
}

#[tokio::test]
async fn no_write_under_way_outlives_its_group() {
    let mut world = World::new();
    let disk = gate(&world, ".state");
    let ruler = world.open_on(Arc::<GateDisk>::clone(&disk));
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 10).await;
    disk.set(true);
    let saving = tokio::spawn({
        let shared = Arc::clone(&ruler.0);
        let key = Key { tenant: Tenant::single(), namespace: "n".to_owned(), group: "g".to_owned() };
        async move { shared.save(&key).await }
    });
    while disk.gate.lock().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let deleting = std::thread::spawn({
        let ruler = ruler.clone();
        move || ruler.delete_group(&Tenant::single(), "n", "g")
    });
    // Time enough to remove the file before it is written, if nothing stands in the way.
    let overtaken = {
        let mut held = disk.gate.lock();
        disk.moved.wait_for(&mut held, Duration::from_millis(300));
        held.removed > 0
    };
    disk.set(false);
    saving.await.unwrap();
    deleting.join().unwrap().unwrap();
    assert!(!overtaken, "removed while it is written");
    assert_eq!(disk.list(Path::new("/data/rules/fake/state")).unwrap().len(), 0);
}

#[tokio::test]
async fn a_folder_that_does_not_answer_stops_neither_start_nor_evaluation() {
    let mut world = World::new();
    world.settings.dir = "/slow".to_owned();
    world.disk.create_dir_all(Path::new("/slow")).unwrap();
    let file = Path::new("/slow/late.yaml");
    world.disk.write_atomic(file, b"groups: [{name: late}]").unwrap();
    let disk = gate(&world, "/slow");
    disk.set(true);
    let ruler = world.open_on(Arc::<GateDisk>::clone(&disk));
    set(&ruler, GROUP);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(ruler.clone().run(async move { drop(stopped.await) }));
    world.answer(&["web"]);
    let fires = || {
        let status = ruler.status(&Tenant::single());
        status.iter().any(|group| group.rules.iter().any(|rule| rule.state() == AlertState::Firing))
    };
    for _ in 0..2000 {
        if fires() {
            break;
        }
        world.clock.advance(Duration::from_secs(1));
        // Wakes it.
        set(&ruler, "name: other");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (fired, waiting, metrics) = (fires(), disk.gate.lock().waiting, world.metrics());
    disk.set(false);
    let is_late_there = || ruler.namespaces(&Tenant::single()).contains_key("late.yaml");
    for _ in 0..10_000 {
        if is_late_there() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stop);
    running.await.unwrap();
    assert!(fired);
    assert_eq!(waiting, 1, "one look at the folder, which still waits");
    assert!(metrics.contains("logyard_rules_folder_good 0"), "{metrics}");
    assert!(is_late_there(), "taken once it answers");
    assert!(world.metrics().contains("logyard_rules_folder_good 1"));
}

#[test]
fn a_folder_that_is_missing_or_cannot_be_read_stops_no_start() {
    let mut world = World::new();
    world.settings.dir = "/none".to_owned();
    let ruler = world.open();
    set(&ruler, GROUP);
    assert_eq!(ruler.namespaces(&Tenant::single()).keys().collect::<Vec<_>>(), ["n"]);
    assert!(world.metrics().contains("logyard_rules_folder_good 0"));
    world.disk.create_dir_all(Path::new("/none")).unwrap();
    world.disk.write_atomic(Path::new("/none/f.yaml"), b"groups: []").unwrap();
    assert!(ruler.reload_folder());
    assert!(world.metrics().contains("logyard_rules_folder_good 1"));
}
