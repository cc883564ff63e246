//! The disk of the machine.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where the file system is called"
)]

use crate::disk::{DirItem, Disk, FileMeta, LockGuard, ReadFile, WriteFile};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Returns the machine's disk, ready to be handed around.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = Vec::new();
        for folder in dir.ancestors() {
            if folder.as_os_str().is_empty() || folder.try_exists()? {
                break;
            }
            missing.push(folder);
        }
        fs::create_dir_all(dir)?;
        // A folder lives in its parent's entries: without this sync a power cut takes it, contents and all.
        for folder in missing.iter().rev() {
            match folder.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealWriteFile { file, bytes: 0 }))
    }

    fn append_file(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Box::new(RealWriteFile { file, bytes }))
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(RealReadFile { file: File::open(path)? }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Removed between listing and asking: as if it had gone a moment before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let bytes = if meta.is_dir() { 0 } else { meta.len() };
            items.push(DirItem { name, is_dir: meta.is_dir(), bytes });
        }
        items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileMeta>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(file_meta(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        fs4::available_space(dir)
    }

    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        fs4::total_space(dir)
    }

    fn reserve_file(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        fs4::FileExt::allocate(&file, bytes)?;
        file.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // For whoever is refused: a courtesy, so a disk that is full is no reason to fail.
                drop(file.set_len(0).and_then(|()| (&file).write_all(holder().as_bytes())));
                Ok(Box::new(RealLock { _file: file, path: path.to_owned() }))
            }
            Err(TryLockError::WouldBlock) => {
                let told = fs::read_to_string(path).unwrap_or_default();
                match told.lines().next().filter(|line| line.starts_with("process ")) {
                    Some(holder) => Err(io::Error::new(io::ErrorKind::WouldBlock, holder)),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealWriteFile {
    file: File,
    bytes: u64,
}

impl WriteFile for RealWriteFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[derive(Debug)]
struct RealReadFile {
    file: File,
}

impl ReadFile for RealReadFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Reads into memory that was never filled with zeros: half of what reading cached bytes would take beside the copy.
    fn read_part(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut part = Vec::with_capacity(bytes);
        while part.len() < bytes {
            let at = offset.saturating_add(part.len() as u64);
            match pread(&self.file, spare_capacity(&mut part), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // There may have been room for more.
        part.truncate(bytes);
        Ok(part)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn meta(&self) -> io::Result<FileMeta> {
        Ok(file_meta(&self.file.metadata()?))
    }
}

/// The lock goes with the open file: the system frees it when the process dies, however it dies.
#[derive(Debug)]
struct RealLock {
    _file: File,
    #[allow(dead_code, reason = "shown by Debug")]
    path: PathBuf,
}

impl LockGuard for RealLock {}

/// Returns who this process is. In a container the name of the host is the container's.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let place = if host.trim().is_empty() { String::new() } else { format!(" on {}", host.trim()) };
    format!("process {}{place}\n", std::process::id())
}

fn file_meta(meta: &fs::Metadata) -> FileMeta {
    FileMeta {
        bytes: meta.len(),
        is_dir: meta.is_dir(),
        is_file: meta.is_file(),
        device: meta.dev(),
        inode: meta.ino(),
        modified_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_grow_at_their_end_and_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        let path = deep.join("file");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create_dir_all(&deep).unwrap();
        assert_eq!(RealDisk.metadata(&path).unwrap(), None);
        let mut file = RealDisk.append_file(&path).unwrap();
        file.write_all(b"one").unwrap();
        file.sync().unwrap();
        drop(file);
        let mut file = RealDisk.append_file(&path).unwrap();
        assert_eq!(file.bytes(), 3);
        file.write_all(b"two").unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"onetwo");
        RealDisk.truncate(&path, 4).unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"onet");
        RealDisk.write_atomic(&path, b"new").unwrap();
        let open = RealDisk.open_file(&path).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(open.read_at(&mut buffer, 1).unwrap(), 2);
        assert_eq!(&buffer[..2], b"ew");
        assert!(open.read_exact_at(&mut buffer, 0).is_err());
        let meta = RealDisk.metadata(&path).unwrap().unwrap();
        assert_eq!(open.meta().unwrap(), meta);
        assert!(meta.modified_ns > 0 && meta.bytes == 3 && !meta.is_dir && meta.is_file);
        let folder = RealDisk.metadata(&deep).unwrap().unwrap();
        assert!(folder.is_dir && !folder.is_file);
        let device = RealDisk.metadata(Path::new("/dev/null")).unwrap().unwrap();
        assert!(!device.is_dir && !device.is_file);
        let free = RealDisk.free_bytes(&deep).unwrap();
        assert!(free > 0 && RealDisk.total_bytes(&deep).unwrap() >= free);
        RealDisk.reserve_file(&deep.join("ballast"), 100_000).unwrap();
        let meta = fs::metadata(deep.join("ballast")).unwrap();
        assert!(meta.len() == 100_000 && meta.blocks() * 512 >= 100_000, "the room is taken");
        RealDisk.remove_file(&deep.join("ballast")).unwrap();
        let items = RealDisk.list(&deep).unwrap();
        assert_eq!(items, [DirItem { name: "file".to_owned(), is_dir: false, bytes: 3 }]);
        RealDisk.remove_file(&path).unwrap();
        assert_eq!(RealDisk.remove_file(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_outlives_the_first_name_and_folders_go_when_they_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("sub/second"));
        RealDisk.create_dir_all(&dir.path().join("sub")).unwrap();
        RealDisk.write_atomic(&first, b"bytes").unwrap();
        RealDisk.hard_link(&first, &second).unwrap();
        let error = RealDisk.hard_link(&first, &second).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        RealDisk.remove_file(&first).unwrap();
        assert_eq!(RealDisk.read(&second).unwrap(), b"bytes");
        assert!(RealDisk.remove_dir(&dir.path().join("sub")).is_err());
        RealDisk.remove_file(&second).unwrap();
        RealDisk.remove_dir(&dir.path().join("sub")).unwrap();
    }

    #[test]
    fn a_lock_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let guard = RealDisk.lock(&path).unwrap();
        let error = RealDisk.lock(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let own = format!("process {}", std::process::id());
        assert!(error.to_string().starts_with(&own), "{error}");
        drop(guard);
        RealDisk.lock(&path).unwrap();
    }
}
