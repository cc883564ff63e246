//! The folder of what the store refuses for good.
//!
//! One refused entry must not hold up all later ones, and must not vanish: it is put aside as a batch of its own,
//! durably, before the batch that held it counts as delivered. The folder is bounded; while it is full, refused
//! batches wait in the spool. Files are named by their content, so putting one aside twice leaves one file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logyard_sys::Disk;
use xxhash_rust::xxh3::xxh3_128;

/// The folder `<data>/agent/refused`.
#[derive(Clone, Debug)]
pub(crate) struct RefusedFolder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes_max: u64,
}

impl RefusedFolder {
    /// The folder is made when it is needed.
    pub(crate) fn new(disk: Arc<dyn Disk>, agent_dir: &Path, bytes_max: u64) -> Self {
        Self { disk, dir: agent_dir.join("refused"), bytes_max }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns whether nothing more may be put aside. One batch may go beyond the bound.
    pub(crate) fn is_full(&self) -> io::Result<bool> {
        let items = match self.disk.metadata(&self.dir)? {
            Some(_) => self.disk.list(&self.dir)?,
            None => Vec::new(),
        };
        Ok(items.iter().map(|item| item.bytes).sum::<u64>() >= self.bytes_max)
    }

    /// Puts an encoded batch aside and returns its path; durable on return.
    pub(crate) fn put(&self, encoded: &[u8]) -> io::Result<PathBuf> {
        self.disk.create_dir_all(&self.dir)?;
        let path = self.dir.join(format!("{:032x}.batch", xxh3_128(encoded)));
        self.disk.write_atomic(&path, encoded)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    #[test]
    fn batches_are_kept_up_to_the_bound_and_once() {
        let disk = SimDisk::new();
        let folder = RefusedFolder::new(Arc::new(disk.clone()), Path::new("/data/agent"), 8);
        assert!(!folder.is_full().unwrap());
        let path = folder.put(b"12345").unwrap();
        assert_eq!(folder.put(b"12345").unwrap(), path);
        assert!(!folder.is_full().unwrap());
        folder.put(b"6789").unwrap();
        assert!(folder.is_full().unwrap());
        assert_eq!(disk.crash().read(&path).unwrap(), b"12345");
        disk.remove_file(&path).unwrap();
        assert!(!folder.is_full().unwrap());
    }
}
