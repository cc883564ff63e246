//! The files that states of groups are kept in.

use super::{Key, Shared};
use crate::state_file::{GroupFile, decode, encode};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xxhash_rust::xxh3::xxh3_128;

impl Shared {
    fn state_path(&self, key: &Key) -> PathBuf {
        let name = format!("{:032x}.state", xxh3_128(key.text().as_bytes()));
        self.dir.join(key.tenant.as_str()).join("state").join(name)
    }

    /// Writes the state of a group, if it is still in force. One write of a group at a time.
    pub(super) async fn save(&self, key: &Key) {
        let Some(state) = self.table.lock().get(key).map(|entry| Arc::clone(&entry.state)) else { return };
        let _turn = state.writes.lock().await;
        let file = match self.table.lock().get(key) {
            Some(entry) if Arc::ptr_eq(&entry.state, &state) => GroupFile {
                namespace: key.namespace.clone(),
                group: key.group.clone(),
                rules: state.run.lock().to_files(&entry.group),
            },
            _ => return,
        };
        let (disk, path) = (Arc::clone(&self.disk), self.state_path(key));
        let shown = path.display().to_string();
        let write = move || -> io::Result<()> {
            if let Some(dir) = path.parent() {
                disk.create_dir_all(dir)?;
            }
            disk.write_atomic(&path, &encode(&file))
        };
        let written =
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let failed_before = self.state_failed.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            self.metrics.state_failures.inc();
            if !failed_before {
                tracing::error!(path = shown, %error, "cannot write the state of alerts: a restart may repeat some");
            }
        }
    }

    /// Reads the state that a group had before a restart.
    pub(super) fn restore(&self, key: &Key) -> Option<GroupFile> {
        let path = self.state_path(key);
        let read = match self.disk.read(&path) {
            Ok(bytes) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(file) if file.namespace == key.namespace && file.group == key.group => Some(file),
            Ok(_) => None,
            Err(reason) => {
                // The next write replaces it.
                let path = path.display().to_string();
                tracing::error!(
                    path,
                    reason,
                    "cannot read the state of alerts: those of its group begin anew"
                );
                None
            }
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        let path = self.state_path(key);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the state of a group that is gone");
            }
            _ => {}
        }
    }
}
