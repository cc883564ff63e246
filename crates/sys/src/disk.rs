//! What a disk must do: files that grow at their end, folders, atomic replacement, locks.
//!
//! Durability is explicit. Bytes are durable once [`WriteFile::sync`] returned, names (created, renamed,
//! removed) once [`Disk::sync_dir`] of their folder returned. Files are written at their end only.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system, real or simulated. All calls block.
///
/// Errors are those of the operating system; [`io::Error::kind`] tells absent files (`NotFound`) and a
/// full disk (`StorageFull`) apart.
pub trait Disk: Send + Sync + Debug {
    /// Creates a folder and its parents. New folders are durable on return.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Creates a file, or empties the one that is there. Its name is durable after [`Disk::sync_dir`].
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file to write at its end, and creates it where there is none.
    fn append_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file for positioned reads.
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Gives a file or folder another name, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Open handles keep working.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name on the same file system; both are the same bytes. Errors: `AlreadyExists`; where
    /// links are impossible (another file system, one without links), one of several kinds. Durable after
    /// [`Disk::sync_dir`].
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes an empty folder. Errors: `DirectoryNotEmpty`. Durable after [`Disk::sync_dir`] of its parent.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Cuts a file to `bytes` and syncs it. A shorter file is filled up with zeros.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Lists a folder, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>>;

    /// Describes a file or folder, following symbolic links; `None` if there is none.
    fn metadata(&self, path: &Path) -> io::Result<Option<FileMeta>>;

    /// Returns the bytes that an ordinary user can still write on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Returns the size of the file system of `dir` in bytes, used or not.
    fn total_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Creates a file of `bytes` that takes its room on the disk, without writing it; its content is zeros.
    ///
    /// Errors: `StorageFull`, and `Unsupported` where the file system cannot; an empty file may be left behind.
    fn reserve_file(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Takes the exclusive lock on a lock file, which is created if absent and never removed.
    ///
    /// Errors: `WouldBlock` if another holder, of any process, has it; the text tells who, as far as that is known.
    /// Held until the guard is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;

    /// Replaces a small file so that after any crash it is whole: the old one or the new one.
    ///
    /// Writes `<name>.tmp`, syncs it, renames it, syncs the folder; durable on return. A failure may leave
    /// the temporary file behind, which the next call overwrites.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            let text = format!("cannot write {}: not the path of a file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let mut tmp_name = name.to_owned();
        tmp_name.push(".tmp");
        let tmp: PathBuf = dir.join(tmp_name);
        let mut file = self.create_file(&tmp)?;
        file.write_all(bytes)?;
        file.sync()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(dir)
    }
}

/// A file open for writing at its end.
pub trait WriteFile: Send + Debug {
    /// Writes all bytes at the end. After an error an unknown part of them may be in the file.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable (`fdatasync`).
    ///
    /// After an error nothing is known of the bytes written since the last success, and a later success
    /// proves nothing: the system may have dropped them.
    fn sync(&mut self) -> io::Result<()>;

    /// Returns the length of the file as this handle knows it.
    fn bytes(&self) -> u64;
}

/// A file open for positioned reads, shared between threads.
pub trait ReadFile: Send + Sync + Debug {
    /// Fills `buffer` from `offset`. Errors: `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns `bytes` bytes from `offset`. Errors: `UnexpectedEof` if the file ends before.
    fn read_part(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut part = vec![0; bytes];
        self.read_exact_at(&mut part, offset)?;
        Ok(part)
    }

    /// Reads up to `buffer.len()` bytes from `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Describes the open file, also when it was renamed or removed since.
    fn meta(&self) -> io::Result<FileMeta>;
}

/// Holds a lock until dropped.
pub trait LockGuard: Send + Sync + Debug {}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirItem {
    /// The name, without the folder; invalid UTF-8 is replaced.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length of a file; 0 for folders.
    pub bytes: u64,
}

/// What is known about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Length in bytes.
    pub bytes: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Whether it is an ordinary file: no folder, pipe, socket or device. Opening a pipe may wait for ever.
    pub is_file: bool,
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on its device; stays through renames.
    pub inode: u64,
    /// Time of the last change, nanoseconds since the Unix epoch.
    pub modified_ns: i64,
}
