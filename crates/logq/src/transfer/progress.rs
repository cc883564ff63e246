//! How far a transfer has come: a small file, so that the same command goes on where it was ended.
//!
//! The file is replaced whole after what it tells has been acknowledged, never before: what lies between is sent
//! again, and is the same to the byte, so that the store has it once. Page: `schemas/logq-progress.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use logyard_sys::{Disk, LockGuard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fnv::fnv64;

/// What the file says it is.
const FORMAT: &str = "logq-progress";
/// Version of the form.
const VERSION: u32 = 1;
/// Most bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Document<T> {
    format: String,
    version: u32,
    job: String,
    reached: T,
}

/// What tells which form a file has, whatever else it holds.
#[derive(Debug, Deserialize)]
struct Head {
    format: String,
    version: u32,
    job: String,
}

/// The file of one transfer, held for this process alone.
#[derive(Debug)]
pub(crate) struct ProgressFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    job: String,
    _lock: Box<dyn LockGuard>,
}

impl ProgressFile {
    /// Opens the file at `path`, or else the one that belongs to `job` below `folder`; returns it with what was reached.
    ///
    /// `job` is what is carried and where to, in words: a file of another job is refused. Errors: another process
    /// carries the same, or the file is none.
    pub(crate) fn open<T: DeserializeOwned>(
        disk: &Arc<dyn Disk>,
        path: Option<&str>,
        folder: Option<PathBuf>,
        job: String,
    ) -> Result<(Self, Option<T>), String> {
        let path = match (path, folder) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(folder)) => {
                let fault = |error| format!("cannot make folder {}: {error}; give --state", folder.display());
                disk.create_dir_all(&folder).map_err(fault)?;
                folder.join(format!("{:016x}.json", fnv64(job.as_bytes())))
            }
            (None, None) => {
                return Err(
                    "cannot tell where to keep how far it got: neither XDG_STATE_HOME nor HOME is set; \
                            give --state FILE"
                        .to_owned(),
                );
            }
        };
        // A path of one name has an empty parent, which is no folder for the disk.
        let path = if path.parent() == Some(Path::new("")) { Path::new(".").join(path) } else { path };
        let mut lock_name = path.clone().into_os_string();
        lock_name.push(".lock");
        let lock = disk.lock(Path::new(&lock_name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                format!("cannot start: another logq carries the same already ({})", path.display())
            }
            _ => format!("cannot lock {}: {error}; give another --state", path.display()),
        })?;
        let file = Self { disk: Arc::clone(disk), path, job, _lock: lock };
        let reached = file.read()?;
        Ok((file, reached))
    }

    /// Replaces what was reached; durable on return.
    pub(crate) fn save<T: Serialize>(&self, reached: &T) -> Result<(), String> {
        let document =
            Document { format: FORMAT.to_owned(), version: VERSION, job: self.job.clone(), reached };
        let fault = |error: &dyn std::fmt::Display| {
            format!("cannot save how far it got to {}: {error}", self.path.display())
        };
        let mut text = serde_json::to_vec(&document).map_err(|error| fault(&error))?;
        text.push(b'\n');
        self.disk.write_atomic(&self.path, &text).map_err(|error| fault(&error))
    }

    /// Removes the file: everything was carried.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.disk.remove_file(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("cannot remove {}: {error}", self.path.display())),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, String> {
        let fault = |text: String| {
            format!(
                "cannot use {}: {text}; remove it to start over, or give another --state",
                self.path.display()
            )
        };
        let Some(meta) = self.disk.metadata(&self.path).map_err(|error| fault(error.to_string()))? else {
            return Ok(None);
        };
        if meta.bytes > FILE_BYTES_MAX {
            return Err(fault(format!("{} bytes, more than any such file has", meta.bytes)));
        }
        let text = self.disk.read(&self.path).map_err(|error| fault(error.to_string()))?;
        let head: Head = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(fault(format!(
                "{} of version {}, want {FORMAT} of version {VERSION}",
                head.format, head.version
            )));
        }
        if head.job != self.job {
            return Err(fault(format!("it belongs to another transfer: {}", head.job)));
        }
        let document: Document<T> =
            serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
        Ok(Some(document.reached))
    }
}

/// Returns the folder for such files, out of the environment.
pub(crate) fn state_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(folder.join("logq"))
}

#[cfg(test)]
mod tests {
    use logyard_sys::SimDisk;

    use super::*;

    fn open(disk: &Arc<dyn Disk>, job: &str) -> Result<(ProgressFile, Option<u64>), String> {
        ProgressFile::open(disk, Some("/state/a"), None, job.to_owned())
    }

    #[test]
    fn what_was_saved_is_there_after_a_crash() {
        let sim = SimDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        disk.create_dir_all(Path::new("/state")).unwrap();
        let (file, none) = open(&disk, "import a").unwrap();
        assert_eq!(none, None);
        file.save(&7_u64).unwrap();
        file.save(&8_u64).unwrap();
        let after: Arc<dyn Disk> = Arc::new(sim.crash());
        let (file, reached) = open(&after, "import a").unwrap();
        assert_eq!(reached, Some(8));
        file.finish().unwrap();
        assert_eq!(open(&after, "import a").unwrap().1, None);
    }

    #[test]
    fn files_of_others_are_refused() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir_all(Path::new("/state")).unwrap();
        let (file, _) = open(&disk, "import a").unwrap();
        file.save(&7_u64).unwrap();
        assert!(open(&disk, "import a").unwrap_err().contains("another logq"));
        drop(file);
        let error = open(&disk, "import b").unwrap_err();
        assert!(error.contains("another transfer: import a"), "{error}");
        for text in ["", "{}", r#"{"format":"logq-progress","version":2,"job":"import a","reached":1}"#] {
            disk.write_atomic(Path::new("/state/a"), text.as_bytes()).unwrap();
            assert!(open(&disk, "import a").unwrap_err().contains("--state"), "{text}");
        }
    }

    #[test]
    fn each_job_has_a_file_of_its_own() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let folder = state_folder(&|name| (name == "HOME").then(|| "/root".to_owned()));
        assert_eq!(folder, Some(PathBuf::from("/root/.local/state/logq")));
        let open =
            |job: &str| ProgressFile::open::<u64>(&disk, None, folder.clone(), job.to_owned()).unwrap();
        let (a, _) = open("a");
        let (b, _) = open("b");
        assert_ne!(a.path, b.path);
        a.save(&1_u64).unwrap();
        drop(a);
        assert_eq!((open("a").1, b.read::<u64>().unwrap()), (Some(1), None));
        assert!(
            ProgressFile::open::<u64>(&disk, None, None, "a".to_owned()).unwrap_err().contains("--state")
        );
    }
}
