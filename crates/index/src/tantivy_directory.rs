//! A read-only directory of tantivy over one bundle in memory.
//!
//! Nothing is copied when a file is opened: all slices share the bundle's bytes.

use crate::{Error, bundle};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{Directory, FileHandle, OwnedBytes, WatchCallback, WatchHandle, WritePtr};

/// The files of one bundle.
#[derive(Clone)]
pub(crate) struct BundleDirectory {
    files: Arc<BTreeMap<PathBuf, OwnedBytes>>,
}

impl std::fmt::Debug for BundleDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleDirectory").field("files", &self.files.len()).finish()
    }
}

impl BundleDirectory {
    /// Opens the parts of a bundle as files.
    pub(crate) fn open(bytes: &Bytes) -> Result<Self, Error> {
        let table = bundle::decode(bytes)?;
        // One copy, since tantivy asks for a type of its own; the caller's bytes can go.
        let shared = OwnedBytes::new(bytes.to_vec());
        let files = table.into_iter().map(|(name, at)| (PathBuf::from(name), shared.slice(at))).collect();
        Ok(Self { files: Arc::new(files) })
    }

    /// Returns the bytes of a part, if the bundle has it.
    pub(crate) fn part(&self, name: &str) -> Option<OwnedBytes> {
        self.files.get(Path::new(name)).cloned()
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a bundle is read-only")
}

impl Directory for BundleDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.files.get(path) {
            Some(bytes) => Ok(Arc::new(bytes.clone())),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        match self.files.get(path) {
            Some(bytes) => Ok(bytes.as_slice().to_vec()),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn watch(&self, _watch_callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
