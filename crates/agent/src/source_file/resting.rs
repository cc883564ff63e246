//! Files that were read to their end and closed again, when more match than are held open.
//!
//! Such a file costs a name and a position, and at each search one look at what the disk says of it. It is opened again,
//! where it was left, once that differs. Renamed meanwhile, it is read to its end under its new name, before its
//! successor; removed meanwhile, what was written to it between the last look and its removal is not seen.

use std::path::Path;

use logyard_sys::FileMeta;

use super::{Live, key_of};
use crate::position::FilePosition;
use crate::report::TargetState;

/// Files held open at once, beside those that lost their names.
pub(super) const OPEN_MAX: usize = 1_024;
/// Files closed at once when others wait: a search is not worth one.
const ROOM: usize = OPEN_MAX / 2;

/// A file that was read as far as it went.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) position: FilePosition,
    bytes: u64,
    modified_ns: i64,
}

impl Resting {
    fn is_file(&self, meta: &FileMeta) -> bool {
        (meta.device, meta.inode) == (self.position.device, self.position.inode)
    }

    fn is_as_left(&self, meta: &FileMeta) -> bool {
        self.is_file(meta) && (meta.bytes, meta.modified_ns) == (self.bytes, self.modified_ns)
    }
}

impl Live {
    /// Looks at closed files; the search that follows opens those that changed.
    pub(super) fn wake(&mut self) {
        let disk = std::sync::Arc::clone(&self.source.disk);
        let mut renamed = Vec::new();
        let Self { resting, source, .. } = self;
        resting.retain(|path, file| {
            let named = disk.metadata(Path::new(path)).ok().flatten();
            if named.as_ref().is_some_and(|meta| file.is_as_left(meta)) {
                return true;
            }
            if !named.is_some_and(|meta| file.is_file(&meta)) {
                renamed.push(file.position.clone());
            }
            source.board.remove_target(&key_of((file.position.device, file.position.inode)));
            false
        });
        for position in renamed {
            if let Some(job) = self.job_of(Path::new(&position.path)) {
                self.take_renamed(job, position);
            }
        }
    }

    /// Closes files that were read to their end, those that were written to longest ago first. Returns whether there
    /// is room now.
    pub(super) fn make_room(&mut self) -> bool {
        let at_rest = |(path, target): (&String, &crate::file_target::FileTarget)| {
            target.at_rest().map(|meta| (meta.modified_ns, path.clone(), meta.bytes))
        };
        let mut quiet: Vec<(i64, String, u64)> = self.named.iter().filter_map(at_rest).collect();
        quiet.sort_unstable();
        quiet.truncate(ROOM);
        let has_room = !quiet.is_empty();
        for (modified_ns, path, bytes) in quiet {
            let Some(target) = self.named.remove(&path) else { continue };
            self.source.metrics.targets.dec();
            let state = TargetState::Idle;
            self.source.board.set_state(&key_of(target.identity()), state, "closed until it is written to");
            self.known.insert(target.identity(), target.position.clone());
            self.resting.insert(path, Resting { position: target.position, bytes, modified_ns });
        }
        has_room
    }
}
