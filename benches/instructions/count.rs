//! Runs cases under valgrind and reads what it counted.

use crate::cases;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Returns the instructions of each case with `word` in its name.
pub(crate) fn all(word: &str) -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().expect("make a folder for what valgrind writes");
    let names = Mutex::new(cases::names().filter(|name| name.contains(word)).enumerate());
    let counts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let next = names.lock().unwrap().next();
                    let Some((number, name)) = next else { return };
                    let count = one(name, &folder.path().join(number.to_string()));
                    counts.lock().unwrap().insert(name.to_owned(), count);
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

/// Counts from the call of [`cases::begin`] to that of [`cases::end`], where valgrind writes what it has.
fn one(name: &str, file: &Path) -> u64 {
    let own = std::env::current_exe().unwrap();
    // Nothing of the caller's environment: its size moves the stack.
    let mut command = Command::new("valgrind");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.args([
        "--quiet",
        "--tool=callgrind",
        "--zero-before=*cases::begin*",
        "--dump-before=*cases::end*",
    ]);
    command.arg(format!("--callgrind-out-file={}", file.display()));
    let output = command.arg(own).args(["--case", name]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run valgrind: {error}; install it"));
    assert!(output.status.success(), "case {name} fails: {}", String::from_utf8_lossy(&output.stderr));
    // The first dump; one without a number is written at the end.
    let dump = file.with_extension("1");
    let text = std::fs::read_to_string(&dump).unwrap_or_else(|error| panic!("case {name}: no dump: {error}"));
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.unwrap_or_else(|| panic!("case {name}: no total in what valgrind wrote"))
}
