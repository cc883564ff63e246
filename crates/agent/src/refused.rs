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

/// The folder `<data>/agent/refused`, or for another destination than the first `refused-<its name>`.
#[derive(Clone, Debug)]
pub(crate) struct RefusedFolder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes_max: u64,
}

impl RefusedFolder {
    /// The folder is made when it is needed.
    pub(crate) fn new(disk: Arc<dyn Disk>, agent_dir: &Path, bytes_max: u64, of: Option<&str>) -> Self {
        let name = of.map_or_else(|| "refused".to_owned(), |name| format!("refused-{name}"));
        Self { disk, dir: agent_dir.join(name), bytes_max }
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

    /// Puts a body aside, with a file beside it that says why, and returns its path; durable on return.
    pub(crate) fn put(&self, body: &[u8], ending: &str, reason: &str) -> io::Result<PathBuf> {
        self.disk.create_dir_all(&self.dir)?;
        let name = format!("{:032x}", xxh3_128(body));
        let path = self.dir.join(format!("{name}.{ending}"));
        self.disk.write_atomic(&self.dir.join(format!("{name}.reason")), format!("{reason}\n").as_bytes())?;
        self.disk.write_atomic(&path, body)?;
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
        let folder = RefusedFolder::new(Arc::new(disk.clone()), Path::new("/data/agent"), 10, None);
        assert!(!folder.is_full().unwrap());
        let path = folder.put(b"12345", "batch", "x").unwrap();
        assert_eq!(folder.put(b"12345", "batch", "x").unwrap(), path);
        assert!(!folder.is_full().unwrap());
        folder.put(b"6789", "batch", "x").unwrap();
        assert!(folder.is_full().unwrap());
        assert_eq!(disk.crash().read(&path).unwrap(), b"12345");
        assert_eq!(disk.crash().read(&path.with_extension("reason")).unwrap(), b"x\n");
        disk.remove_file(&path).unwrap();
        assert!(!folder.is_full().unwrap());
    }
}
