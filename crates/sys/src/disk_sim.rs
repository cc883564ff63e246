//! A disk in memory that forgets what was not synced, and fails when told to.
//!
//! Model of durability, harsher than common file systems and kinder than none:
//! - bytes survive a crash once their file was synced; a seeded crash may keep any part of the rest, or
//!   zeros in its place, as when a file system extends a file before its data arrive;
//! - names survive once their folder was synced; a seeded crash may keep the oldest of the rest. A rename
//!   is atomic. New folders survive at once, as [`Disk::create_dir_all`] promises;
//! - emptying a file by [`Disk::create_file`] is durable at once: the old bytes are never to be counted on;
//! - a failed sync drops the bytes it was to save, and later syncs of that file succeed without saving
//!   them, as Linux does.

use crate::Random;
use crate::disk::{DirItem, Disk, FileMeta, LockGuard, ReadFile, WriteFile};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A disk in memory; clones share it. See the module's model of durability.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// Returns an empty disk without faults or limits.
    pub fn new() -> Self {
        let mut folders = HashMap::new();
        folders.insert(ROOT, Folder::default());
        let state = State {
            folders,
            pending: Vec::new(),
            next_number: ROOT + 1,
            ticks: 0,
            reads: 0,
            locks: BTreeSet::new(),
            faults: Faults { has_links: true, ..Faults::default() },
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Returns the disk as found after a power cut now: everything unsynced is gone.
    ///
    /// This disk stays as it is, for handles of the dead process; faults and locks are not inherited.
    pub fn crash(&self) -> Self {
        self.after_crash(None)
    }

    /// Returns the disk as found after a power cut now; `seed` decides what else than the synced survives.
    pub fn crash_seeded(&self, seed: u64) -> Self {
        self.after_crash(Some(&Random::seeded(seed)))
    }

    /// Makes the `nth` sync from now (1 = the next, of a file or folder) fail.
    pub fn fail_sync(&self, nth: u64) {
        self.state.lock().faults.sync_fails_in = Some(nth);
    }

    /// Limits what can still be written; `None` is without limit. Removed bytes can be written again.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state.lock().faults.free_bytes = bytes;
    }

    /// Makes this a file system whose files have one name each, now and after a crash.
    pub fn refuse_links(&self) {
        self.state.lock().faults.has_links = false;
    }

    /// Lets `operations` more changes (writes, syncs, creations, renames …) through, then fails them all:
    /// to crash at every point of a run, count its [`SimDisk::operations`] and halt after each number.
    pub fn halt_after(&self, operations: u64) {
        self.state.lock().faults.halt_in = Some(operations);
    }

    /// Lets `after` more changes through, then fails `count` of them with an error of `kind`, as a full disk
    /// (`StorageFull`) or a failing one (`Other`) does. A write that fails so leaves half of its bytes, and a sync
    /// drops the bytes it was to save.
    pub fn fail_changes(&self, after: u64, count: u64, kind: io::ErrorKind) {
        self.state.lock().faults.failing = Some(Failing { after, count, kind });
    }

    /// Lets `after` more reads (of files, their lengths, and folders) through, then fails `count` of them, as a
    /// failing disk does.
    pub fn fail_reads(&self, after: u64, count: u64) {
        self.state.lock().faults.failing_reads = Some(Failing { after, count, kind: io::ErrorKind::Other });
    }

    /// Returns the number of reads asked for so far.
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }

    /// Ends all faults and limits. What a failed sync has dropped stays dropped.
    pub fn heal(&self) {
        let faults = &mut self.state.lock().faults;
        *faults = Faults { has_links: faults.has_links, ..Faults::default() };
    }

    /// Returns the number of changes asked for so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().ticks
    }

    /// Flips the bits of `mask` in one byte of a file, durably: rot, found on the next read.
    pub fn damage(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let content = self.state.lock().file(path)?;
        let mut content = content.lock();
        let index = usize::try_from(offset).unwrap_or(usize::MAX);
        let byte = content.bytes.get_mut(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        *byte ^= mask;
        Ok(())
    }

    fn after_crash(&self, random: Option<&Random>) -> Self {
        let state = self.state.lock();
        let kept = random.map_or(0, |random| below(random, state.pending.len() + 1));
        let mut survivor = State {
            folders: state.folders.clone(),
            pending: Vec::new(),
            next_number: state.next_number,
            ticks: 0,
            reads: 0,
            locks: BTreeSet::new(),
            faults: Faults { has_links: state.faults.has_links, ..Faults::default() },
        };
        for change in state.pending.iter().take(kept) {
            survivor.make_durable(change);
        }
        // In order of numbers, so that the same seed keeps the same bytes.
        let numbers: BTreeSet<u64> = survivor.folders.keys().copied().collect();
        for number in numbers {
            let Some(folder) = survivor.folders.get_mut(&number) else { continue };
            for node in folder.durable.values_mut() {
                if let Node::File { content, .. } = node {
                    let left = content.lock().after_crash(random);
                    *content = Arc::new(Mutex::new(left));
                }
            }
            folder.live = folder.durable.clone();
        }
        Self { state: Arc::new(Mutex::new(survivor)) }
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let mut at = ROOT;
        for name in names(dir) {
            at = match state.folder(at)?.live.get(&name) {
                Some(Node::Folder { number }) => *number,
                Some(Node::File { .. }) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let number = state.new_number();
                    state.folders.insert(number, Folder::default());
                    let folder = state.folder(at)?;
                    folder.live.insert(name.clone(), Node::Folder { number });
                    folder.durable.insert(name, Node::Folder { number });
                    number
                }
            };
        }
        Ok(())
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.state.lock();
        state.change()?;
        let content = state.file_or_new(path)?;
        let freed = content.lock().cut(0);
        state.faults.give_back(freed);
        Ok(Box::new(SimWriteFile { disk: self.clone(), content, bytes: 0 }))
    }

    fn append_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.state.lock();
        state.change()?;
        let content = state.file_or_new(path)?;
        let bytes = content.lock().bytes.len() as u64;
        Ok(Box::new(SimWriteFile { disk: self.clone(), content, bytes }))
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let mut state = self.state.lock();
        state.read()?;
        let content = state.file(path)?;
        Ok(Arc::new(SimReadFile { disk: self.clone(), content }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        state.read()?;
        let content = state.file(path)?;
        let bytes = content.lock().bytes.clone();
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let (from_folder, from_name) = state.parent(from)?;
        let (to_folder, to_name) = state.parent(to)?;
        let node = state.folder(from_folder)?.live.remove(&from_name).ok_or(io::ErrorKind::NotFound)?;
        state.folder(to_folder)?.live.insert(to_name.clone(), node.clone());
        state.pending.push(vec![
            NameChange { folder: from_folder, name: from_name, node: None },
            NameChange { folder: to_folder, name: to_name, node: Some(node) },
        ]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let freed = state.file(path)?.lock().room();
        let (folder, name) = state.parent(path)?;
        state.folder(folder)?.live.remove(&name);
        state.pending.push(vec![NameChange { folder, name, node: None }]);
        state.faults.give_back(freed);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        if !state.faults.has_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let content = state.file(from)?;
        let (folder, name) = state.parent(to)?;
        let node = Node::File { content };
        let live = &mut state.folder(folder)?.live;
        if live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        live.insert(name.clone(), node.clone());
        state.pending.push(vec![NameChange { folder, name, node: Some(node) }]);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let number = state.folder_number(dir)?;
        if !state.folder(number)?.live.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = state.parent(dir)?;
        state.folder(folder)?.live.remove(&name);
        state.pending.push(vec![NameChange { folder, name, node: None }]);
        Ok(())
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let content = state.file(path)?;
        let mut content = content.lock();
        let freed = content.cut(usize::try_from(bytes).unwrap_or(usize::MAX));
        content.modified_ns = state.now_ns();
        state.faults.give_back(freed);
        state.sync(Some(&mut content))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        state.sync(None)?;
        let number = state.folder_number(dir)?;
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            if change.iter().any(|part| part.folder == number) {
                state.make_durable(&change);
            } else {
                state.pending.push(change);
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        let mut state = self.state.lock();
        state.read()?;
        let number = state.folder_number(dir)?;
        let folder = state.folder(number)?;
        let item = |(name, node): (&String, &Node)| match node {
            Node::File { content, .. } => {
                DirItem { name: name.clone(), is_dir: false, bytes: content.lock().room() }
            }
            Node::Folder { .. } => DirItem { name: name.clone(), is_dir: true, bytes: 0 },
        };
        Ok(folder.live.iter().map(item).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileMeta>> {
        let mut state = self.state.lock();
        state.read()?;
        match state.node(path) {
            Ok(Node::File { content }) => Ok(Some(content.lock().meta())),
            Ok(Node::Folder { number }) => Ok(Some(FileMeta {
                bytes: 0,
                is_dir: true,
                is_file: false,
                device: 1,
                inode: number,
                modified_ns: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state.lock().faults.free_bytes.unwrap_or(FREE_BYTES))
    }

    fn total_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        let contents = state.folders.values().flat_map(|folder| folder.live.values());
        let used: u64 = contents
            .map(|node| match node {
                Node::File { content } => content.lock().room(),
                Node::Folder { .. } => 0,
            })
            .sum();
        Ok(state.faults.free_bytes.unwrap_or(FREE_BYTES) + used)
    }

    fn reserve_file(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let content = state.file_or_new(path)?;
        let mut content = content.lock();
        let freed = content.cut(0);
        state.faults.give_back(freed);
        if let Some(free) = &mut state.faults.free_bytes {
            *free = free.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        content.reserved_bytes = bytes;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let mut state = self.state.lock();
        state.change()?;
        state.file_or_new(path)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }
}

const ROOT: u64 = 1;

/// What can still be written to a disk without limit.
const FREE_BYTES: u64 = 1 << 40;

#[derive(Debug)]
struct State {
    /// By number; the root folder has number `ROOT`.
    folders: HashMap<u64, Folder>,
    /// Changes of names that no folder sync has made durable yet, oldest first.
    pending: Vec<Vec<NameChange>>,
    next_number: u64,
    /// Changes asked for so far; also serves as the time of changes.
    ticks: u64,
    /// Reads asked for so far.
    reads: u64,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File { content: Arc<Mutex<Content>> },
    Folder { number: u64 },
}

#[derive(Clone, Debug)]
struct NameChange {
    folder: u64,
    name: String,
    node: Option<Node>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Files can have a second name.
    has_links: bool,
    sync_fails_in: Option<u64>,
    free_bytes: Option<u64>,
    halt_in: Option<u64>,
    failing: Option<Failing>,
    failing_reads: Option<Failing>,
}

/// Some changes that fail, and others that do not.
#[derive(Debug)]
struct Failing {
    after: u64,
    count: u64,
    kind: io::ErrorKind,
}

impl Faults {
    fn give_back(&mut self, bytes: u64) {
        if let Some(free) = &mut self.free_bytes {
            *free += bytes;
        }
    }
}

#[derive(Debug)]
struct Content {
    number: u64,
    bytes: Vec<u8>,
    /// Room taken without being written: zeros that are not kept here, so that large ones cost nothing.
    reserved_bytes: u64,
    /// This many first bytes survive a crash.
    synced_bytes: usize,
    /// A sync failed: later ones save nothing.
    sync_broken: bool,
    modified_ns: i64,
}

impl Content {
    /// Returns the bytes taken on the disk.
    fn room(&self) -> u64 {
        self.bytes.len() as u64 + self.reserved_bytes
    }

    fn cut(&mut self, bytes: usize) -> u64 {
        let freed = self.bytes.len().saturating_sub(bytes) as u64 + std::mem::take(&mut self.reserved_bytes);
        self.bytes.resize(bytes, 0);
        self.synced_bytes = self.synced_bytes.min(bytes);
        if bytes == 0 {
            self.sync_broken = false;
        }
        freed
    }

    fn after_crash(&self, random: Option<&Random>) -> Self {
        let mut bytes = self.bytes.clone();
        if let Some(random) = random {
            let kept = below(random, bytes.len() - self.synced_bytes + 1);
            bytes.truncate(self.synced_bytes + kept);
            if random.next_u64().is_multiple_of(4) {
                let zeros = below(random, kept + 1);
                let start = bytes.len() - zeros;
                bytes[start..].fill(0);
            }
        } else {
            bytes.truncate(self.synced_bytes);
        }
        let synced_bytes = bytes.len();
        Self {
            number: self.number,
            bytes,
            reserved_bytes: self.reserved_bytes,
            synced_bytes,
            sync_broken: false,
            modified_ns: self.modified_ns,
        }
    }

    fn meta(&self) -> FileMeta {
        FileMeta {
            bytes: self.room(),
            is_dir: false,
            is_file: true,
            device: 1,
            inode: self.number,
            modified_ns: self.modified_ns,
        }
    }
}

impl State {
    /// Counts a change, or refuses it when the power is gone or a fault is due.
    fn change(&mut self) -> io::Result<()> {
        self.ticks += 1;
        match &mut self.faults.halt_in {
            Some(0) => return Err(io::Error::other("simulated power cut")),
            Some(left) => *left -= 1,
            None => {}
        }
        fail_if_due(&mut self.faults.failing)
    }

    /// Counts a read, or refuses it when a fault is due.
    fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        fail_if_due(&mut self.faults.failing_reads)
    }

    fn sync(&mut self, content: Option<&mut Content>) -> io::Result<()> {
        let fails = match &mut self.faults.sync_fails_in {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        };
        if fails {
            self.faults.sync_fails_in = None;
            if let Some(content) = content {
                content.sync_broken = true;
            }
            return Err(io::Error::other("simulated sync failure"));
        }
        if let Some(content) = content
            && !content.sync_broken
        {
            content.synced_bytes = content.bytes.len();
        }
        Ok(())
    }

    fn make_durable(&mut self, change: &[NameChange]) {
        for part in change {
            let Some(folder) = self.folders.get_mut(&part.folder) else { continue };
            match &part.node {
                Some(node) => folder.durable.insert(part.name.clone(), node.clone()),
                None => folder.durable.remove(&part.name),
            };
        }
    }

    fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.ticks).unwrap_or(i64::MAX)
    }

    fn folder(&mut self, number: u64) -> io::Result<&mut Folder> {
        self.folders.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn folder_number(&mut self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in names(path) {
            at = match self.folder(at)?.live.get(&name) {
                Some(Node::Folder { number }) => *number,
                Some(Node::File { .. }) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    /// Returns the folder that holds the last name of `path`, and that name.
    fn parent(&mut self, path: &Path) -> io::Result<(u64, String)> {
        let mut all = names(path);
        let name = all.pop().ok_or(io::ErrorKind::IsADirectory)?;
        let folder: PathBuf = all.iter().collect();
        Ok((self.folder_number(&folder)?, name))
    }

    fn node(&mut self, path: &Path) -> io::Result<Node> {
        if names(path).is_empty() {
            return Ok(Node::Folder { number: ROOT });
        }
        let (folder, name) = self.parent(path)?;
        self.folder(folder)?.live.get(&name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        match self.node(path)? {
            Node::File { content } => Ok(content),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_or_new(&mut self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        match self.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let (folder, name) = self.parent(path)?;
        let number = self.new_number();
        let modified_ns = self.now_ns();
        let content = Content {
            number,
            bytes: Vec::new(),
            reserved_bytes: 0,
            synced_bytes: 0,
            sync_broken: false,
            modified_ns,
        };
        let content = Arc::new(Mutex::new(content));
        let node = Node::File { content: Arc::clone(&content) };
        self.folder(folder)?.live.insert(name.clone(), node.clone());
        self.pending.push(vec![NameChange { folder, name, node: Some(node) }]);
        Ok(content)
    }
}

fn fail_if_due(failing: &mut Option<Failing>) -> io::Result<()> {
    match failing {
        Some(Failing { after: 0, count: 0, .. }) | None => Ok(()),
        Some(Failing { after: 0, count, kind }) => {
            *count -= 1;
            Err(io::Error::new(*kind, "simulated fault"))
        }
        Some(failing) => {
            failing.after -= 1;
            Ok(())
        }
    }
}

#[derive(Debug)]
struct SimWriteFile {
    disk: SimDisk,
    content: Arc<Mutex<Content>>,
    bytes: u64,
}

impl WriteFile for SimWriteFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if let Err(error) = state.change() {
            if state.faults.halt_in != Some(0) {
                let half = &bytes[..bytes.len() / 2];
                self.content.lock().bytes.extend_from_slice(half);
                self.bytes += half.len() as u64;
            }
            return Err(error);
        }
        let fitting = match &mut state.faults.free_bytes {
            Some(free) => {
                let fitting = bytes.len().min(usize::try_from(*free).unwrap_or(usize::MAX));
                *free -= fitting as u64;
                fitting
            }
            None => bytes.len(),
        };
        let mut content = self.content.lock();
        content.modified_ns = state.now_ns();
        content.bytes.extend_from_slice(&bytes[..fitting]);
        self.bytes += fitting as u64;
        if fitting < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let mut content = self.content.lock();
        if let Err(error) = state.change() {
            content.sync_broken = true;
            return Err(error);
        }
        state.sync(Some(&mut content))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[derive(Debug)]
struct SimReadFile {
    disk: SimDisk,
    content: Arc<Mutex<Content>>,
}

impl ReadFile for SimReadFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.state.lock().read()?;
        let content = self.content.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.bytes.get(start..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        Ok(self.content.lock().meta())
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state.lock().locks.remove(&self.path);
    }
}

/// Absolute and relative paths name the same tree: a simulated run has no working folder.
fn names(path: &Path) -> Vec<String> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn below(random: &Random, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
