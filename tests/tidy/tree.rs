//! Which files belong to the repository.

use std::path::{Path, PathBuf};

/// Folders that hold what tools write, or bytes for fuzzing.
const SKIPPED: [&str; 6] = ["target", "corpus", "artifacts", ".git", "logyard-data", "coverage"];

/// Returns the top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files whose name ends in `.ext`, as paths from the top, sorted.
pub(crate) fn files(ext: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder).unwrap() {
            let item = item.unwrap();
            let kind = item.file_type().unwrap();
            let name = item.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(item.path());
            } else if kind.is_file() && item.path().extension().is_some_and(|found| found == ext) {
                found.push(item.path().strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{ext} file found: the suite looks in the wrong place");
    found
}

/// Reads a file given by its path from the top.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
