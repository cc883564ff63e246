//! What was counted, as it is kept in a file, and what counts as worse.
//!
//! Counts depend on the compiler, the profile and what the processor offers; all are kept beside them, and counts of another
//! are never compared.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Share by which a path may take more than the baseline says.
const WORSE_MAX: f64 = 0.05;
/// Share below the baseline from which on it should be written anew.
const BETTER_MAX: f64 = 0.05;

/// Instructions by case, and where they were counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    compiler: String,
    /// The text of `profile.toml`, its comments apart.
    profile: Vec<String>,
    /// Architecture, and those sets of instructions that libraries look for at run time.
    processor: String,
    valgrind: String,
    instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// Returns what was counted here.
    pub(crate) fn of_here(instructions: BTreeMap<String, u64>) -> Self {
        let profile = include_str!("profile.toml").lines().filter(|line| !line.starts_with('#'));
        Self {
            compiler: version("rustc"),
            profile: profile.filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            processor: processor(),
            valgrind: version("valgrind"),
            instructions,
        }
    }

    /// Reads the baseline of the repository.
    pub(crate) fn read() -> Self {
        serde_json::from_slice(&std::fs::read(path()).expect("read benches/baseline.json"))
            .expect("read benches/baseline.json as this program writes it")
    }

    /// Makes this the baseline of the repository.
    pub(crate) fn write(&self) {
        let text = serde_json::to_string_pretty(self).expect("plain data");
        std::fs::write(path(), text + "\n").expect("write benches/baseline.json");
    }

    /// Returns why the counts of `other` cannot be compared with these, if so.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("compiler", &self.compiler, &other.compiler),
            ("profile", &self.profile.join("; "), &other.profile.join("; ")),
            ("processor", &self.processor, &other.processor),
            ("valgrind", &self.valgrind, &other.valgrind),
        ];
        let (name, kept, here) = pairs.into_iter().find(|(_, kept, here)| kept != here)?;
        Some(format!("{name} of the baseline: {kept}; here: {here}"))
    }

    /// Returns a line for each case that is worse than here, much better, or unknown to one of both.
    pub(crate) fn faults(&self, got: &Self, is_whole: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, &now) in &got.instructions {
            match self.instructions.get(name) {
                None => faults.push(format!("{name}: not in the baseline; write it with --bless")),
                Some(&kept) if change(kept, now) > WORSE_MAX => faults.push(format!(
                    "{name}: {:+.1} %, more than {:.0} % beyond the baseline; make it cheaper, or say in the commit why it \
                     costs more and write the baseline with --bless",
                    change(kept, now) * 100.0,
                    WORSE_MAX * 100.0
                )),
                Some(_) => {}
            }
        }
        let is_gone = |name: &&String| is_whole && !got.instructions.contains_key(*name);
        let gone = self.instructions.keys().filter(is_gone);
        faults.extend(gone.map(|name| format!("{name}: in the baseline and no case; write it with --bless")));
        faults
    }

    /// Returns the counts as lines, beside those of a baseline.
    pub(crate) fn table(&self, kept: Option<&Self>) -> String {
        let mut table = String::new();
        for (name, &now) in &self.instructions {
            write!(table, "{name:<40} {:>10.3} million", now as f64 / 1e6).expect("a string grows");
            if let Some(&before) = kept.and_then(|kept| kept.instructions.get(name)) {
                let change = change(before, now);
                let hint = if change < -BETTER_MAX { ", better: write it down with --bless" } else { "" };
                write!(table, "  {:+.2} %{hint}", change * 100.0).expect("a string grows");
            }
            table.push('\n');
        }
        table
    }
}

fn change(kept: u64, now: u64) -> f64 {
    now as f64 / kept as f64 - 1.0
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.json")
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}; install it"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Valgrind shows no more than it can follow: of processors that have all of these, the newest count like the oldest.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: [(&str, bool); 0] = [];
    let has = found.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
    std::iter::once(std::env::consts::ARCH).chain(has).collect::<Vec<_>>().join(" ")
}
