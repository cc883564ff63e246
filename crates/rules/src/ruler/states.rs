//! The files that states of groups are kept in.

use super::{FILE_TURNS, Key, Shared};
use crate::state_file::{GroupFile, decode, encode};
use logyard_model::Tenant;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

impl Shared {
    fn state_path(&self, key: &Key) -> PathBuf {
        let name = format!("{:032x}.state", xxh3_128(key.text().as_bytes()));
        self.dir.join(key.tenant.as_str()).join("state").join(name)
    }

    /// Writes the state of a group, on a thread that may block.
    pub(super) async fn save(self: &Arc<Self>, key: &Key) {
        let (shared, key) = (Arc::clone(self), key.clone());
        if tokio::task::spawn_blocking(move || shared.write_state(&key)).await.is_err() {
            tracing::error!("writing the state of alerts failed: internal error");
        }
    }

    /// Writes the state of a group, if it is still known. Blocks on the disk.
    ///
    /// What is written is what the state is once it is this write's turn, so that the last write wins.
    pub(super) fn write_state(&self, key: &Key) {
        let _turn = self.file_turn(key).lock();
        let file = match self.table.lock().get(key) {
            Some(entry) => GroupFile {
                namespace: key.namespace.clone(),
                group: key.group.clone(),
                rules: entry.state.run.lock().to_files(),
            },
            None => return,
        };
        let path = self.state_path(key);
        let made = path.parent().map_or(Ok(()), |dir| self.disk.create_dir_all(dir));
        let written = made.and_then(|()| self.disk.write_atomic(&path, &encode(&file)));
        let failed_before = self.state_failed.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            self.metrics.state_failures.inc();
            if !failed_before {
                let path = path.display().to_string();
                tracing::error!(path, %error, "cannot write the state of alerts: a restart may repeat some");
            }
        }
    }

    fn file_turn(&self, key: &Key) -> &Mutex<()> {
        let number = xxh3_64(key.text().as_bytes()) % FILE_TURNS as u64;
        &self.file_turns[usize::try_from(number).unwrap_or_default()]
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

    /// Removes the file of a group, unless the group is known again. Blocks on the disk.
    pub(super) fn forget(&self, key: &Key) {
        let _turn = self.file_turn(key).lock();
        if self.table.lock().contains_key(key) {
            return;
        }
        let path = self.state_path(key);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the state of a group that is gone");
            }
            _ => {}
        }
    }
    /// Reads the states of groups that are not known: they went while nobody looked. Blocks on the disk.
    pub(super) fn restore_gone(&self) -> Vec<(Key, GroupFile)> {
        let mut found = Vec::new();
        let Ok(tenants) = self.disk.list(&self.dir) else { return found };
        for tenant in tenants.into_iter().filter(|item| item.is_dir) {
            let Ok(tenant) = Tenant::new(&tenant.name) else { continue };
            let dir = self.dir.join(tenant.as_str()).join("state");
            for item in self.disk.list(&dir).unwrap_or_default() {
                let path = dir.join(&item.name);
                let Some(file) = self.disk.read(&path).ok().and_then(|bytes| decode(&bytes).ok()) else {
                    continue;
                };
                let (namespace, group) = (file.namespace.clone(), file.group.clone());
                let key = Key { tenant: tenant.clone(), namespace, group };
                if self.state_path(&key) == path && !self.table.lock().contains_key(&key) {
                    found.push((key, file));
                }
            }
        }
        found
    }
}
