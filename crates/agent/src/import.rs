//! Positions of another agent, taken over once.
//!
//! They count only while this agent has none of its own, and go to the spool in one record: either all are taken over
//! or, after a crash in between, all again. A file that was cut since begins anew; of a container the second of its
//! position is read again, since the other agent kept no finer time.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use logyard_codec::encode_batch;
use logyard_sys::Disk;
use serde_yaml_ng::Value;
use tokio::sync::watch;

use crate::batch::SealedBatch;
use crate::docker_target::target_key;
use crate::file_target::new_position;
use crate::position::{OutputPosition, Position};
use crate::settings_receive::JournalSettings;
use crate::source_file::key_of;
use crate::source_journal;
use crate::spool_shared::SharedSpool;

/// Prefix of the keys of containers' and journals' positions in Promtail's file.
const CURSOR: &str = "cursor-";

/// How far another agent has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedPositions {
    /// Paths of files and offsets.
    pub files: BTreeMap<String, u64>,
    /// Full ids of containers and times, in whole seconds since the Unix epoch.
    pub containers: BTreeMap<String, i64>,
    /// Cursors of the journals of `agent.journal`, by their numbers there.
    pub journals: BTreeMap<usize, String>,
}

impl ImportedPositions {
    /// Reads Promtail's file of positions. `journals` are names of its jobs, and their numbers in `agent.journal`.
    ///
    /// What is neither an offset nor a time nor a cursor is left out. Errors: it is no YAML; why.
    pub fn parse_promtail(bytes: &[u8], journals: &[(String, usize)]) -> Result<Self, String> {
        let document: Value = serde_yaml_ng::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut imported = Self::default();
        let entries = document.get("positions").and_then(Value::as_mapping);
        for (key, value) in entries.into_iter().flatten() {
            let Some(key) = key.as_str() else { continue };
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            match (key.strip_prefix(CURSOR), number) {
                // Cursors of journals are no numbers.
                (Some(job), None) => {
                    let index = journals.iter().find(|(name, _)| name == job).map(|(_, index)| *index);
                    if let (Some(index), Some(cursor)) = (index, value.as_str()) {
                        imported.journals.insert(index, cursor.to_owned());
                    }
                }
                (None, None) => {}
                (Some(id), Some(seconds)) => {
                    imported.containers.insert(id.to_owned(), i64::try_from(seconds).unwrap_or(i64::MAX));
                }
                (None, Some(offset)) => drop(imported.files.insert(key.to_owned(), offset)),
            }
        }
        Ok(imported)
    }
}

/// Takes positions over if the spool has none.
pub(crate) async fn import(
    imported: &ImportedPositions,
    journals: &[JournalSettings],
    disk: &dyn Disk,
    spool: &SharedSpool,
    stop: &mut watch::Receiver<bool>,
) {
    if !spool.positions().is_empty() {
        return;
    }
    let mut positions = BTreeMap::new();
    for (path, offset) in &imported.files {
        match file_position(disk, path, *offset) {
            Ok(Some((key, position))) => drop(positions.insert(key, position)),
            Ok(None) => tracing::debug!(path, "a file with an imported position is gone"),
            Err(error) => {
                tracing::warn!(path, %error, "cannot take over the position of a file, so it is read from its start")
            }
        }
    }
    for (id, seconds) in &imported.containers {
        let ns = seconds.saturating_mul(1_000_000_000).saturating_sub(1);
        let output = OutputPosition { ns, ordinal: 1, proof_ns: ns, step: None };
        positions.insert(target_key(id), Position::Container([Some(output); 2]));
    }
    for (index, cursor) in &imported.journals {
        if let Some(journal) = journals.get(*index) {
            positions.insert(source_journal::key(journal), Position::Journal(cursor.clone()));
        }
    }
    if positions.is_empty() {
        return;
    }
    tracing::info!(targets = positions.len(), "taking over positions of another agent");
    let batch = SealedBatch { encoded: Bytes::from(encode_batch(&[])), entries: 0, positions };
    spool.append(batch, stop).await;
}

fn file_position(disk: &dyn Disk, path: &str, offset: u64) -> io::Result<Option<(String, Position)>> {
    let Some(meta) = disk.metadata(Path::new(path))?.filter(|meta| meta.is_file) else {
        return Ok(None);
    };
    let file = disk.open_file(Path::new(path))?;
    let mut position = new_position(path, &meta, &*file)?;
    position.offset = if offset <= meta.bytes { offset } else { 0 };
    Ok(Some((key_of((meta.device, meta.inode)), Position::File(position))))
}
