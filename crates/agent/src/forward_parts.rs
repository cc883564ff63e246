//! Lines that come in parts over Fluent's forward protocol, and what is kept of them on disk.
//!
//! Docker's driver cuts lines at 16 KiB and may wait for the acknowledgement of each part before it sends the next, so parts are
//! acknowledged before their line is whole. What was acknowledged must outlive a crash: it is written to a file of its
//! own first, and the line goes on after a start, or over the sender's next connection, where it was; one that nobody goes
//! on with for a minute is handed over as it is. A line leaves the file once it is in the spool. A crash in between shows it,
//! or its beginning, a second time; none loses it.
//!
//! The file is small, written whole and seldom: long lines are rare, and senders that want no acknowledgements have
//! nothing kept. Page: `schemas/forward-parts.md`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logyard_model::LabelSet;
use logyard_sys::Disk;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::received::{ReceiveJob, SentAt};

const MAGIC: &[u8; 4] = b"LYFP";
const VERSION: u8 = 1;
/// Most lines of one connection that wait for their other parts, and most that are kept on disk for all.
const LINES_MAX: usize = 64;
/// Time after which a line that nobody goes on with is handed over as it is.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A line, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenLine {
    pub(crate) labels: LabelSet,
    pub(crate) metadata: LabelSet,
    pub(crate) at: SentAt,
    pub(crate) line: Vec<u8>,
    pub(crate) cut_bytes: usize,
    /// Number of the newest part, as far as its sender counts them; 0: none.
    pub(crate) ordinal: u64,
}

/// One of the parts of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) is_last: bool,
    /// Its number, from 1, if the sender counts. One that was taken already is a repeat: its acknowledgement went astray.
    pub(crate) ordinal: Option<u64>,
}

/// Sender and id of a line.
type Key = (IpAddr, String);

/// Who goes on with a line.
#[derive(Debug)]
enum Owner {
    /// The connection that sent the newest part.
    Connection(u64),
    /// Whoever comes next: its connection ended, or it was found on disk.
    Nobody {
        since: Instant,
        /// Labels and stages of the port that it came by; `None`: it was found on disk, which does not say.
        job: Option<Arc<ReceiveJob>>,
    },
}

#[derive(Debug)]
struct Held {
    line: OpenLine,
    owner: Owner,
    /// Some part of it is acknowledged.
    is_promised: bool,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<Key, Held>,
    /// Lines found on disk whose sender had begun another one under the same id: nobody goes on with them.
    superseded: Vec<(Key, OpenLine)>,
    /// Labels and stages of the port that was opened last.
    newest_job: Option<Arc<ReceiveJob>>,
    /// Lines with acknowledged parts that are on their way to the spool, and who sent them there.
    leaving: Vec<(u64, Key, OpenLine)>,
    /// Counts changes of what is to be on disk.
    version: u64,
}

/// What is on disk.
#[derive(Debug)]
struct Written {
    version: u64,
    is_empty: bool,
}

/// The lines of all connections of a port.
#[derive(Debug)]
pub(crate) struct Parts {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    table: Mutex<Table>,
    written: tokio::sync::Mutex<Written>,
    owners: AtomicU64,
}

impl Parts {
    /// Reads what a process before this one kept. A file that cannot be read is told of and set aside.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        let found = match disk.metadata(&path) {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(_)) => disk.read(&path).and_then(|bytes| {
                decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
            }),
            Err(error) => Err(error),
        };
        let found = found.unwrap_or_else(|error| {
            let aside = path.with_extension("damaged");
            drop(disk.rename(&path, &aside));
            tracing::error!(
                path = %path.display(), aside = %aside.display(), %error,
                "cannot read parts of lines that were acknowledged; what can be read of them is in the file set aside"
            );
            Vec::new()
        });
        let is_empty = found.is_empty();
        let mut table = Table::default();
        for (key, line) in found {
            match table.open.entry(key) {
                Entry::Occupied(first) => table.superseded.push((first.key().clone(), line)),
                Entry::Vacant(place) => {
                    let owner = Owner::Nobody { since: Instant::now(), job: None };
                    place.insert(Held { line, owner, is_promised: true });
                }
            }
        }
        Self {
            disk,
            path,
            table: Mutex::new(table),
            written: tokio::sync::Mutex::new(Written { version: 0, is_empty }),
            owners: AtomicU64::new(0),
        }
    }

    /// Notes that a port was opened: what was found on disk takes its labels and stages if nobody goes on with it.
    pub(crate) fn opened(&self, job: &Arc<ReceiveJob>) {
        self.table().newest_job = Some(Arc::clone(job));
    }

    /// Returns the number of a connection.
    pub(crate) fn new_owner(&self) -> u64 {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a part to its line; `first` makes what the first one begins. Returns lines to hand over: the whole one, and
    /// others of this connection if too many wait.
    pub(crate) fn add(
        &self,
        owner: u64,
        key: Key,
        part: Part<'_>,
        line_bytes_max: usize,
        first: impl FnOnce() -> OpenLine,
    ) -> Vec<OpenLine> {
        let mut table = self.table();
        let mut done = Vec::new();
        let is_own = |held: &Held| held.is_of(owner);
        // One that another connection began counts for who goes on with it.
        if !table.open.get(&key).is_some_and(is_own)
            && table.open.values().filter(|held| is_own(held)).count() >= LINES_MAX
        {
            done = table.take(owner, is_own);
        }
        let held = table.open.entry(key.clone()).or_insert_with(|| Held {
            line: first(),
            owner: Owner::Connection(owner),
            is_promised: false,
        });
        held.owner = Owner::Connection(owner);
        if part.ordinal.is_none_or(|ordinal| ordinal > held.line.ordinal) {
            let room = line_bytes_max.saturating_sub(held.line.line.len());
            let kept = part.bytes.get(..room).unwrap_or(part.bytes);
            held.line.line.extend_from_slice(kept);
            held.line.cut_bytes += part.bytes.len() - kept.len();
            held.line.ordinal = part.ordinal.unwrap_or(held.line.ordinal);
            table.version += 1;
        }
        if part.is_last {
            done.extend(table.remove(owner, &key));
        }
        done
    }

    /// Returns whether lines of a connection with acknowledged parts are on their way to the spool.
    pub(crate) fn is_leaving(&self, owner: u64) -> bool {
        self.table().leaving.iter().any(|(of, _, _)| *of == owner)
    }

    /// Notes that all lines that a connection handed over are in the spool.
    pub(crate) fn spooled(&self, owner: u64) {
        let mut table = self.table();
        let count = table.leaving.len();
        table.leaving.retain(|(of, _, _)| *of != owner);
        table.version += u64::from(table.leaving.len() != count);
    }

    /// Takes the lines of a connection of which nothing is acknowledged, to be handed over as they are.
    pub(crate) fn take_unpromised(&self, owner: u64) -> Vec<OpenLine> {
        self.table().take(owner, |held| held.is_of(owner) && !held.is_promised)
    }

    /// Leaves the lines of a connection that ended to the sender's next one. `job` has the labels and stages of its port.
    pub(crate) fn leave(&self, owner: u64, job: &Arc<ReceiveJob>) {
        for held in self.table().open.values_mut().filter(|held| held.is_of(owner)) {
            held.owner = Owner::Nobody { since: Instant::now(), job: Some(Arc::clone(job)) };
        }
    }

    /// Returns how long until lines may be forgotten; never longer than that takes.
    pub(crate) fn forgotten_in(&self) -> Duration {
        let table = self.table();
        if !table.superseded.is_empty() {
            return Duration::ZERO;
        }
        let waited = table.open.values().filter_map(|held| match &held.owner {
            Owner::Nobody { since, .. } => Some(since.elapsed()),
            Owner::Connection(_) => None,
        });
        FORGOTTEN_AFTER.saturating_sub(waited.max().unwrap_or_default())
    }

    /// Takes lines that nobody goes on with, each with the labels and stages of its port, if one is known. They are on
    /// their way to the spool as `owner`'s.
    pub(crate) fn take_forgotten(&self, owner: u64) -> Vec<(Option<Arc<ReceiveJob>>, OpenLine)> {
        let mut table = self.table();
        let newest = table.newest_job.clone();
        let mut forgotten = Vec::new();
        for (key, line) in std::mem::take(&mut table.superseded) {
            forgotten.push((newest.clone(), line.clone()));
            table.leaving.push((owner, key, line));
        }
        let due = table.open.iter().filter_map(|(key, held)| match &held.owner {
            Owner::Nobody { since, job } if since.elapsed() >= FORGOTTEN_AFTER => {
                Some((key.clone(), job.clone().or_else(|| newest.clone())))
            }
            _ => None,
        });
        let due: Vec<_> = due.collect();
        for (key, job) in due {
            forgotten.extend(table.remove(owner, &key).map(|line| (job, line)));
        }
        forgotten
    }

    /// Makes what is acknowledged durable. All open lines of the connection `owner` count as acknowledged with it; where
    /// that were too many, some come back to be handed over first.
    pub(crate) fn promise(&self, owner: u64) -> Vec<OpenLine> {
        let mut table = self.table();
        let promised = table.open.values().filter(|held| held.is_promised).count();
        let promised = promised + table.superseded.len() + table.leaving.len();
        let new = table.open.values().filter(|held| held.is_of(owner) && !held.is_promised).count();
        if promised + new > LINES_MAX {
            return table.take(owner, |held| held.is_of(owner) && !held.is_promised);
        }
        for held in table.open.values_mut().filter(|held| held.is_of(owner)) {
            held.is_promised = true;
        }
        table.version += new as u64;
        Vec::new()
    }

    /// Writes what is promised, if it differs from what was written. Durable on return.
    pub(crate) async fn keep(&self) -> io::Result<()> {
        let mut written = self.written.lock().await;
        let (version, bytes) = {
            let table = self.table();
            if table.version == written.version {
                return Ok(());
            }
            (table.version, table.encode())
        };
        if bytes.is_none() && written.is_empty {
            written.version = version;
            return Ok(());
        }
        let is_empty = bytes.is_none();
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        let write = move || match bytes {
            Some(bytes) => disk.write_atomic(&path, &bytes),
            None => {
                // Removed by hand, or by an attempt that failed behind it, is removed.
                disk.remove_file(&path).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
                path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
            }
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
        *written = Written { version, is_empty };
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_of(&self, connection: u64) -> bool {
        matches!(self.owner, Owner::Connection(owner) if owner == connection)
    }
}

impl Table {
    fn take(&mut self, owner: u64, is_wanted: impl Fn(&Held) -> bool) -> Vec<OpenLine> {
        let wanted = self.open.iter().filter(|(_, held)| is_wanted(held)).map(|(key, _)| key.clone());
        let wanted: Vec<Key> = wanted.collect();
        wanted.iter().filter_map(|key| self.remove(owner, key)).collect()
    }

    /// Takes a line out; one with acknowledged parts stays on disk until it is spooled.
    fn remove(&mut self, owner: u64, key: &Key) -> Option<OpenLine> {
        let held = self.open.remove(key)?;
        if held.is_promised {
            self.leaving.push((owner, key.clone(), held.line.clone()));
        }
        self.version += 1;
        Some(held.line)
    }

    /// Returns the file; `None`: there is nothing to keep.
    fn encode(&self) -> Option<Vec<u8>> {
        let open = self.open.iter().filter(|(_, held)| held.is_promised).map(|(key, held)| (key, &held.line));
        let superseded = self.superseded.iter().map(|(key, line)| (key, line));
        let leaving = self.leaving.iter().map(|(_, key, line)| (key, line));
        let mut lines: Vec<(&Key, &OpenLine)> = open.chain(superseded).chain(leaving).collect();
        if lines.is_empty() {
            return None;
        }
        // Of equal ones, that stays in front which goes on.
        lines.sort_by_key(|(key, _)| *key);
        Some(encode(&lines))
    }
}

/// Writes a file as the page has it.
fn encode(lines: &[(&Key, &OpenLine)]) -> Vec<u8> {
    let body = encode_body(lines);
    let mut file = MAGIC.to_vec();
    file.push(VERSION);
    file.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    file.extend_from_slice(&body);
    file
}

/// Writes lines, without what stands before them.
pub(crate) fn encode_body(lines: &[(&Key, &OpenLine)]) -> Vec<u8> {
    fn put(body: &mut Vec<u8>, bytes: &[u8]) {
        // Lines, ids and labels are bounded far below.
        let length = u32::try_from(bytes.len()).expect("a part of a line fits 32 bits");
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(bytes);
    }
    fn put_set(body: &mut Vec<u8>, set: &LabelSet) {
        let count = u32::try_from(set.iter().count()).expect("labels fit 32 bits");
        body.extend_from_slice(&count.to_le_bytes());
        for (name, value) in set.iter() {
            put(body, name.as_bytes());
            put(body, value.as_bytes());
        }
    }
    let mut body = Vec::new();
    for ((peer, id), line) in lines {
        put(&mut body, peer.to_string().as_bytes());
        put(&mut body, id.as_bytes());
        put_set(&mut body, &line.labels);
        put_set(&mut body, &line.metadata);
        let (kind, ns) = match line.at {
            SentAt::Unknown => (0, 0),
            SentAt::Coarse(ns) => (1, ns),
            SentAt::Exact(ns) => (2, ns),
        };
        body.push(kind);
        body.extend_from_slice(&ns.to_le_bytes());
        body.extend_from_slice(&(line.cut_bytes as u64).to_le_bytes());
        body.extend_from_slice(&line.ordinal.to_le_bytes());
        put(&mut body, &line.line);
    }
    body
}

/// Reads a file; `None`: it is none of this version, or damaged.
fn decode(file: &[u8]) -> Option<Vec<(Key, OpenLine)>> {
    let mut reader = Reader(file);
    if reader.bytes(MAGIC.len())? != MAGIC || reader.array::<1>()? != [VERSION] {
        return None;
    }
    let sum = u64::from_le_bytes(reader.array()?);
    (xxh3_64(reader.0) == sum).then_some(reader.0).and_then(decode_body)
}

/// Reads what [`encode_body`] writes; `None`: it is something else.
pub(crate) fn decode_body(body: &[u8]) -> Option<Vec<(Key, OpenLine)>> {
    let mut reader = Reader(body);
    let mut lines = Vec::new();
    while !reader.0.is_empty() {
        let peer = reader.text()?.parse().ok()?;
        let id = reader.text()?.to_owned();
        let (labels, metadata) = (reader.set()?, reader.set()?);
        let [kind] = reader.array()?;
        let ns = i64::from_le_bytes(reader.array()?);
        let at = match kind {
            0 => SentAt::Unknown,
            1 => SentAt::Coarse(ns),
            2 => SentAt::Exact(ns),
            _ => return None,
        };
        let cut_bytes = usize::try_from(u64::from_le_bytes(reader.array()?)).ok()?;
        let ordinal = u64::from_le_bytes(reader.array()?);
        let line = reader.counted()?.to_vec();
        lines.push(((peer, id), OpenLine { labels, metadata, at, line, cut_bytes, ordinal }));
    }
    Some(lines)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.count()?;
        self.bytes(count)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.counted()?).ok()
    }

    fn set(&mut self) -> Option<LabelSet> {
        let mut set = LabelSet::default();
        for _ in 0..self.count()? {
            let (name, value) = (self.text()?, self.text()?);
            set.insert(name, value);
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use logyard_sys::SimDisk;

    use super::*;

    const PATH: &str = "/data/forward-parts";

    fn parts(disk: &SimDisk) -> Parts {
        disk.create_dir_all(Path::new("/data")).unwrap();
        Parts::open(Arc::new(disk.clone()), PATH.into())
    }

    fn key(id: &str) -> Key {
        ("192.0.2.7".parse().unwrap(), id.to_owned())
    }

    fn empty() -> OpenLine {
        OpenLine {
            labels: LabelSet::from_pairs([("container", "web")]),
            metadata: LabelSet::from_pairs([("tag", "é")]),
            at: SentAt::Coarse(-7),
            line: Vec::new(),
            cut_bytes: 0,
            ordinal: 0,
        }
    }

    fn add(parts: &Parts, owner: u64, id: &str, part: &[u8], is_last: bool) -> Vec<Vec<u8>> {
        let part = Part { bytes: part, is_last, ordinal: None };
        let lines = parts.add(owner, key(id), part, 10, empty);
        lines.into_iter().map(|line| line.line).collect()
    }

    fn is_there(disk: &SimDisk) -> bool {
        disk.metadata(Path::new(PATH)).unwrap().is_some()
    }

    #[tokio::test]
    async fn what_is_promised_is_gone_on_with_after_a_crash() {
        let disk = SimDisk::new();
        let before = parts(&disk);
        let (one, two) = (before.new_owner(), before.new_owner());
        assert!(add(&before, one, "a", b"12345", false).is_empty());
        assert!(add(&before, two, "b", b"not promised", false).is_empty());
        assert!(before.promise(one).is_empty());
        before.keep().await.unwrap();
        let disk = disk.crash();
        let after = parts(&disk);
        let owner = after.new_owner();
        let part = |bytes, ordinal, is_last| Part { bytes, is_last, ordinal: Some(ordinal) };
        let more = |part| after.add(owner, key("a"), part, 10, || unreachable!("it is known"));
        assert_eq!(more(part(b"67", 2, false)), []);
        assert_eq!(more(part(b"67", 2, false)), [], "a repeat");
        let whole = more(part(b"89012", 3, true));
        assert_eq!(whole, [OpenLine { line: b"1234567890".to_vec(), cut_bytes: 2, ordinal: 3, ..empty() }]);
        // On its way to the spool it stays, also if others write meanwhile.
        after.keep().await.unwrap();
        assert!(after.is_leaving(owner) && is_there(&disk));
        // Somebody tidied up.
        disk.remove_file(Path::new(PATH)).unwrap();
        after.spooled(owner);
        after.keep().await.unwrap();
        assert!(!after.is_leaving(owner) && !is_there(&disk));
    }

    #[tokio::test]
    async fn nothing_is_written_for_who_wants_no_acknowledgement() {
        let disk = SimDisk::new();
        let parts = parts(&disk);
        let owner = parts.new_owner();
        assert!(add(&parts, owner, "a", b"1", false).is_empty());
        parts.keep().await.unwrap();
        assert!(!is_there(&disk));
        assert_eq!(add(&parts, owner, "a", b"2", true), [b"12"]);
        assert!(!parts.is_leaving(owner));
    }

    fn job() -> Arc<ReceiveJob> {
        crate::received::tests::rig(crate::received::tests::plain()).job
    }

    /// Takes what is forgotten by now; returns it, each line with whether its port is known.
    fn forgotten(parts: &Parts) -> Vec<(bool, Vec<u8>)> {
        let taken = parts.take_forgotten(parts.new_owner());
        taken.into_iter().map(|(job, open)| (job.is_some(), open.line)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_promised_waits_for_the_next_connection_and_not_for_ever() {
        let disk = SimDisk::new();
        let parts = parts(&disk);
        let (one, two) = (parts.new_owner(), parts.new_owner());
        add(&parts, one, "a", b"a", false);
        add(&parts, one, "b", b"b", false);
        parts.promise(one);
        add(&parts, one, "c", b"c", false);
        let unpromised = parts.take_unpromised(one);
        assert_eq!(unpromised.iter().map(|line| &line.line[..]).collect::<Vec<_>>(), [b"c"]);
        parts.leave(one, &job());
        assert_eq!(parts.forgotten_in(), FORGOTTEN_AFTER);
        tokio::time::advance(FORGOTTEN_AFTER / 2).await;
        assert!(add(&parts, two, "a", b"A", false).is_empty());
        assert_eq!((parts.forgotten_in(), forgotten(&parts)), (FORGOTTEN_AFTER / 2, vec![]));
        tokio::time::advance(FORGOTTEN_AFTER / 2).await;
        assert_eq!(parts.forgotten_in(), Duration::ZERO);
        assert_eq!(forgotten(&parts), [(true, b"b".to_vec())]);
        assert_eq!(add(&parts, two, "a", b"!", true), [b"aA!"], "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_on_disk_waits_as_well() {
        let disk = SimDisk::new();
        let before = parts(&disk);
        let owner = before.new_owner();
        add(&before, owner, "a", b"a", false);
        before.promise(owner);
        before.keep().await.unwrap();
        for is_opened in [false, true] {
            let after = parts(&disk.crash());
            if is_opened {
                after.opened(&job());
            }
            assert_eq!(forgotten(&after), []);
            tokio::time::advance(FORGOTTEN_AFTER).await;
            assert_eq!(forgotten(&after), [(is_opened, b"a".to_vec())]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_lines_under_one_id_are_both_kept() {
        let disk = SimDisk::new();
        let before = parts(&disk);
        let owner = before.new_owner();
        add(&before, owner, "a", b"old", false);
        before.promise(owner);
        add(&before, owner, "a", b"!", true);
        add(&before, owner, "a", b"new", false);
        before.promise(owner);
        before.keep().await.unwrap();
        let disk = disk.crash();
        let after = parts(&disk);
        assert_eq!(after.forgotten_in(), Duration::ZERO, "nobody can go on with the old one");
        // Written anew, both are still there.
        let other = after.new_owner();
        add(&after, other, "b", b"b", false);
        after.promise(other);
        after.keep().await.unwrap();
        let after = parts(&disk.crash());
        assert_eq!(forgotten(&after), [(false, b"old!".to_vec())]);
        let owner = after.new_owner();
        assert_eq!(add(&after, owner, "a", b"!", true), [b"new!"]);
    }

    #[test]
    fn lines_that_wait_are_bounded() {
        let parts = parts(&SimDisk::new());
        let owner = parts.new_owner();
        for number in 0..LINES_MAX {
            assert!(add(&parts, owner, &number.to_string(), b"x", false).is_empty());
        }
        assert!(parts.promise(owner).is_empty());
        assert_eq!(
            add(&parts, owner, "more", b"y", false).len(),
            LINES_MAX,
            "they are handed over as they are"
        );
        // Those are on disk until they are spooled, so there is no room for another.
        let other = parts.new_owner();
        add(&parts, other, "other", b"z", false);
        assert_eq!(parts.promise(other).len(), 1);
    }

    #[tokio::test]
    async fn lines_that_are_taken_over_are_bounded_too() {
        let parts = parts(&SimDisk::new());
        let (one, two) = (parts.new_owner(), parts.new_owner());
        add(&parts, one, "left", b"a", false);
        assert!(parts.promise(one).is_empty());
        parts.leave(one, &job());
        for number in 0..LINES_MAX {
            assert!(add(&parts, two, &number.to_string(), b"x", false).is_empty());
        }
        assert_eq!(add(&parts, two, "left", b"b", false).len(), LINES_MAX, "its own make room");
        assert_eq!(add(&parts, two, "left", b"c", true), [b"abc"]);
    }

    #[test]
    fn damaged_files_are_refused_and_set_aside() {
        let line = OpenLine { at: SentAt::Unknown, line: vec![0xff, 0], cut_bytes: 9, ..empty() };
        let (a, b) = (key("a"), ("::1".parse().unwrap(), String::new()));
        let file = encode(&[(&a, &line), (&b, &empty())]);
        assert_eq!(decode(&file).unwrap(), [(a, line), (b, empty())]);
        for at in 0..file.len() {
            assert!(decode(&file[..at]).is_none(), "{at} bytes");
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "byte {at}");
        }
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.write_atomic(Path::new(PATH), &file[1..]).unwrap();
        let parts = parts(&disk);
        assert!(parts.table().open.is_empty() && !is_there(&disk));
        assert!(disk.metadata(Path::new("/data/forward-parts.damaged")).unwrap().is_some());
    }
}
