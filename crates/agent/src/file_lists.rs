//! Lists of files to read, which others write and change while the agent runs: the form of Prometheus' `file_sd_configs`.
//!
//! A list is a JSON or YAML file of groups; each names files by a pattern, in its label `__path__`, and their labels. Lists are
//! looked at once a second and read when they differ, so a change counts at once on every file system. One that
//! cannot be used leaves in force what it said before, as Prometheus has it, and so do those that cannot be looked at; one
//! that is gone names nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logyard_model::LabelSet;
use logyard_pipeline::is_label_name;
use logyard_sys::{Disk, FileMeta};
use serde::Deserialize;

use crate::file_jobs::{FileJob, check_glob};
use crate::report::{TargetKind, TargetReport, TargetState};

/// Time between two looks.
const LOOK_NS: u64 = 1_000_000_000;
/// A list is read again after this even if it looks the same, as with Prometheus: a disk may keep coarse times.
const READ_ANEW_NS: u64 = 300_000_000_000;
/// Longest list.
const LIST_BYTES_MAX: u64 = 4 << 20;
/// Most lists; more are not looked at.
const LISTS_MAX: usize = 1_000;
/// Most groups of one list: each file that is found is held against all.
const GROUPS_MAX: usize = 4_096;
/// Label with the path of the list, for rules.
const META_LIST: &str = "__meta_filepath";

/// The lists that jobs name, as they were read last.
#[derive(Debug, Default)]
pub(crate) struct TargetLists {
    lists: BTreeMap<PathBuf, List>,
    /// Folders and lists that cannot be looked at, and why.
    hidden: BTreeMap<PathBuf, String>,
    looked_at_ns: Option<u64>,
}

#[derive(Debug)]
struct List {
    /// Device, inode, bytes and time of the last change when it was read.
    seen: (u64, u64, u64, i64),
    read_at_ns: u64,
    groups: Vec<Group>,
    /// Why it cannot be used as it is now.
    fault: Option<String>,
}

/// Files under the same labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// A pattern; absolute.
    pub(crate) path: String,
    /// A pattern of what is left out.
    pub(crate) exclude: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    targets: Option<Vec<Scalar>>,
    labels: Option<BTreeMap<String, Scalar>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Bool(bool),
    Whole(i64),
    Broken(f64),
    Nothing(()),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Bool(is_so) => is_so.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Broken(number) => number.to_string(),
            Self::Nothing(()) => String::new(),
        }
    }
}

impl TargetLists {
    /// Looks at the lists of `jobs`, once a second at most. Returns whether one says something else than before.
    pub(crate) fn look(&mut self, jobs: &[Arc<FileJob>], disk: &dyn Disk, now_ns: u64) -> bool {
        if self.looked_at_ns.is_some_and(|at| now_ns.saturating_sub(at) < LOOK_NS) {
            return false;
        }
        self.looked_at_ns = Some(now_ns);
        let Found { lists: found, hidden } = find(jobs, disk);
        let count = self.lists.len();
        let is_hidden = |path: &PathBuf| {
            hidden.contains_key(path) || path.parent().is_some_and(|dir| hidden.contains_key(dir))
        };
        let is_named = |path: &PathBuf| jobs.iter().any(|job| job.is_list(path));
        self.lists.retain(|path, _| found.contains_key(path) || is_hidden(path) && is_named(path));
        let mut is_other = self.lists.len() != count || self.hidden != hidden;
        self.tell_hidden(hidden);
        for (path, meta) in found {
            // Beside those that cannot be looked at.
            if self.lists.len() >= LISTS_MAX && !self.lists.contains_key(&path) {
                continue;
            }
            let seen = (meta.device, meta.inode, meta.bytes, meta.modified_ns);
            let is_known = self.lists.get(&path).is_some_and(|list| {
                list.seen == seen && now_ns.saturating_sub(list.read_at_ns) < READ_ANEW_NS
            });
            if !is_known {
                is_other |= self.read(path, seen, disk, now_ns);
            }
        }
        is_other
    }

    /// Notes what cannot be looked at, and tells of what is new among it.
    fn tell_hidden(&mut self, hidden: BTreeMap<PathBuf, String>) {
        for (path, reason) in hidden.iter().filter(|(path, _)| !self.hidden.contains_key(*path)) {
            tracing::warn!(
                path = %path.display(), reason,
                "cannot look for lists of targets, so what they said before stays in force; mend it"
            );
        }
        self.hidden = hidden;
    }

    /// Has the next look happen at once.
    pub(crate) fn look_soon(&mut self) {
        self.looked_at_ns = None;
    }

    /// Reads a list. Returns whether its groups are others.
    fn read(&mut self, path: PathBuf, seen: (u64, u64, u64, i64), disk: &dyn Disk, now_ns: u64) -> bool {
        let before = self.lists.remove(&path);
        let read = match seen.2 {
            bytes if bytes > LIST_BYTES_MAX => Err(format!("it is longer than {LIST_BYTES_MAX} bytes")),
            _ => disk.read(&path).map_err(|error| error.to_string()),
        };
        let (groups, fault) = match read.and_then(|bytes| parse(&path, &bytes)) {
            Ok(groups) => (groups, None),
            Err(reason) => {
                let is_told = before.as_ref().is_some_and(|list| list.fault.as_ref() == Some(&reason));
                if !is_told {
                    tracing::warn!(
                        path = %path.display(), reason,
                        "cannot use a list of targets, so what it said before stays in force; mend it"
                    );
                }
                (before.as_ref().map(|list| list.groups.clone()).unwrap_or_default(), Some(reason))
            }
        };
        let is_other = before.is_none_or(|list| list.groups != groups || list.fault != fault);
        self.lists.insert(path, List { seen, read_at_ns: now_ns, groups, fault });
        is_other
    }

    /// Returns the jobs that read files: those that name paths, and one for each group of the lists of others. One of
    /// `before` that was made of the same stays the very same. A job whose lists name nothing is there itself.
    pub(crate) fn expand(&self, jobs: &[Arc<FileJob>], before: &[Arc<FileJob>]) -> Vec<Arc<FileJob>> {
        let mut expanded: Vec<Arc<FileJob>> = Vec::new();
        for job in jobs {
            let count = expanded.len();
            for (path, list) in self.lists.iter().filter(|(path, _)| job.is_list(path)) {
                let groups = list.groups.iter().map(|group| {
                    let mut group = group.clone();
                    group.labels.insert(META_LIST.to_owned(), path.to_string_lossy().into_owned());
                    group
                });
                expanded.extend(groups.filter_map(|group| FileJob::of_group(job, &group, before)));
            }
            if job.has_paths() || expanded.len() == count {
                expanded.push(Arc::clone(job));
            }
        }
        expanded
    }

    /// Returns a row for each list that cannot be used, and for each place where none can be looked for.
    pub(crate) fn faults(&self) -> Vec<TargetReport> {
        let row = |path: &Path, detail: String| TargetReport {
            kind: TargetKind::File,
            name: path.to_string_lossy().into_owned(),
            labels: LabelSet::default(),
            state: TargetState::Unreadable,
            detail,
            entries: 0,
        };
        let hidden = self.hidden.iter().map(|(path, reason)| {
            row(
                path,
                format!("lists of targets cannot be looked for: {reason}; what they said stays in force"),
            )
        });
        let lists = self.lists.iter().filter(|(path, _)| !self.hidden.contains_key(*path));
        let unusable = lists.filter_map(|(path, list)| {
            let fault = list.fault.as_ref()?;
            Some(row(path, format!("as a list of targets it cannot be used: {fault}")))
        });
        hidden.chain(unusable).collect()
    }
}

/// What a look finds.
#[derive(Debug, Default)]
struct Found {
    lists: BTreeMap<PathBuf, FileMeta>,
    /// Folders and lists that cannot be looked at, and why: whether they are gone is not known.
    hidden: BTreeMap<PathBuf, String>,
}

fn find(jobs: &[Arc<FileJob>], disk: &dyn Disk) -> Found {
    let mut found = Found::default();
    for job in jobs {
        for dir in job.list_dirs() {
            let items = match disk.list(dir) {
                Ok(items) => items,
                Err(error) if is_absence(&error) => continue,
                Err(error) => {
                    found.hidden.insert(dir.clone(), error.to_string());
                    continue;
                }
            };
            for item in items {
                let path = dir.join(item.name);
                if !job.is_list(&path) || found.lists.len() == LISTS_MAX {
                    continue;
                }
                match disk.metadata(&path) {
                    Ok(Some(meta)) if meta.is_file => drop(found.lists.insert(path, meta)),
                    Ok(_) => {}
                    Err(error) if is_absence(&error) => {}
                    Err(error) => drop(found.hidden.insert(path, error.to_string())),
                }
            }
        }
    }
    found
}

/// Whether an error says that there is nothing.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads groups. Errors: why the list cannot be used, in a few words.
fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Group>, String> {
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let raw: Option<Vec<RawGroup>> = if is_json {
        serde_json::from_slice(bytes).map_err(|error| format!("no valid JSON list of groups: {error}"))?
    } else if bytes.trim_ascii().is_empty() {
        None
    } else {
        serde_yaml_ng::from_slice(bytes).map_err(|error| format!("no valid YAML list of groups: {error}"))?
    };
    let raw = raw.unwrap_or_default();
    if raw.len() > GROUPS_MAX {
        return Err(format!("it has {} groups, want at most {GROUPS_MAX}", raw.len()));
    }
    let mut groups = Vec::new();
    for (number, raw) in raw.into_iter().enumerate() {
        groups.extend(group(raw).map_err(|reason| format!("group {}: {reason}", number + 1))?);
    }
    Ok(groups)
}

/// Returns what a group names; `None`: nothing.
fn group(raw: RawGroup) -> Result<Option<Group>, String> {
    // Targets are machines, of which only this one is read. Promtail's page says that they may be left out, and its static
    // groups mean this machine then; of a list it reads nothing, without a word, which nobody who names files can want.
    // An empty list of targets names none, and switches the group off.
    if raw.targets.is_some_and(|targets| targets.is_empty()) {
        return Ok(None);
    }
    let labels = raw.labels.unwrap_or_default().into_iter();
    let mut labels: BTreeMap<String, String> = labels.map(|(name, value)| (name, value.text())).collect();
    if let Some(name) = labels.keys().find(|name| !is_label_name(name)) {
        return Err(format!("{name:?} is no label name; use letters, digits and _, and no digit first"));
    }
    let mut taken = |name: &str| labels.remove(name).filter(|pattern| !pattern.is_empty());
    let (path, exclude) = (taken("__path__"), taken("__path_exclude__"));
    let Some(path) = path else { return Err("it has no label __path__".to_owned()) };
    check_glob(&path)?;
    exclude.as_deref().map_or(Ok(()), check_glob)?;
    Ok(Some(Group { path, exclude, labels }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_jobs::file_jobs;
    use crate::settings::FileSettings;
    use logyard_sys::SimDisk;

    const SECOND: u64 = 1_000_000_000;

    fn jobs(json: &str) -> Vec<Arc<FileJob>> {
        let settings: FileSettings = serde_json::from_str(json).unwrap();
        let common = BTreeMap::from([("host".to_owned(), "nas".to_owned())]);
        file_jobs(&[settings], &common, 1 << 18, &[]).unwrap()
    }

    fn put(disk: &SimDisk, path: &str, text: &str) {
        let path = Path::new(path);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.write_atomic(path, text.as_bytes()).unwrap();
    }

    #[test]
    fn groups_of_both_forms_become_jobs() {
        let disk = SimDisk::new();
        put(
            &disk,
            "/sd/a.json",
            r#"[{"targets": ["localhost"], "labels": {"job": "web", "n": 7, "__path__": "/log/web/*.log"}},
                {"targets": [], "labels": {"__path__": "/log/off"}}]"#,
        );
        put(
            &disk,
            "/sd/b.yml",
            "- labels:\n    job: db\n    __path__: /log/db\n    __path_exclude__: /log/x\n",
        );
        put(&disk, "/sd/c.txt", "- labels: {__path__: /log/none}");
        put(&disk, "/sd/empty.yaml", "\n");
        let given = jobs(
            r#"{"target_lists": ["/sd/*.json", "/sd/*.yml", "/sd/*.yaml"], "default_labels": false, "relabel": [
            {"source_labels": ["__meta_filepath"], "regex": "/sd/(.*)", "target_label": "list"}]}"#,
        );
        let mut lists = TargetLists::default();
        assert!(lists.look(&given, &disk, 0));
        let made = lists.expand(&given, &[]);
        let labels = |job: &FileJob, path: &str| job.labels_of(path).unwrap().to_string();
        assert_eq!(made.len(), 2);
        assert_eq!(
            labels(&made[0], "/log/web/1.log"),
            r#"{filename="/log/web/1.log", job="web", list="a.json", n="7"}"#
        );
        assert_eq!(labels(&made[1], "/log/db"), r#"{filename="/log/db", job="db", list="b.yml"}"#);
        assert!(
            made[0].matches(Path::new("/log/web/1.log")) && !made[0].matches(Path::new("/log/web/1.txt"))
        );
        assert_eq!(lists.faults(), []);
    }

    #[test]
    fn a_change_counts_within_a_second_and_leaves_other_groups_the_same() {
        let disk = SimDisk::new();
        let given = jobs(r#"{"target_lists": ["/sd/list.yml"]}"#);
        let mut lists = TargetLists::default();
        assert!(!lists.look(&given, &disk, 0));
        let none = lists.expand(&given, &[]);
        assert!(Arc::ptr_eq(&none[0], &given[0]) && none.len() == 1, "it tells that it reads nothing");
        assert!(none[0].without_match().name.contains("/sd/list.yml"));
        put(&disk, "/sd/list.yml", "[{labels: {__path__: /log/a}}]");
        assert!(!lists.look(&given, &disk, SECOND / 2), "once a second");
        assert!(lists.look(&given, &disk, SECOND));
        let first = lists.expand(&given, &none);
        put(&disk, "/sd/list.yml", "[{labels: {__path__: /log/b}}, {labels: {__path__: /log/a}}]");
        assert!(lists.look(&given, &disk, 2 * SECOND));
        let second = lists.expand(&given, &first);
        assert!(Arc::ptr_eq(&second[1], &first[0]) && second.len() == 2);
        disk.remove_file(Path::new("/sd/list.yml")).unwrap();
        assert!(lists.look(&given, &disk, 3 * SECOND));
        assert!(Arc::ptr_eq(&lists.expand(&given, &second)[0], &given[0]));
    }

    #[test]
    fn what_cannot_be_used_leaves_what_was_there() {
        let disk = SimDisk::new();
        let given = jobs(r#"{"path": ["/log/own"], "target_lists": ["/sd/list.json"]}"#);
        let mut lists = TargetLists::default();
        put(&disk, "/sd/list.json", r#"[{"labels": {"__path__": "/log/a"}}]"#);
        assert!(lists.look(&given, &disk, 0));
        let made = lists.expand(&given, &[]);
        assert_eq!(made.len(), 2, "paths of its own are read as well");
        for (number, (text, reason)) in (1..).zip([
            ("[{", "no valid JSON list of groups"),
            (r#"[{"labels": {"job": "a"}}]"#, "group 1: it has no label __path__"),
            (r#"[{"labels": {"__path__": "/a"}}, {"labels": {"__path__": "a"}}]"#, "group 2: "),
            (r#"[{"labels": {"__path__": "/a", "b-c": "d"}}]"#, "\"b-c\" is no label name"),
            (r#"[{"label": {}}]"#, "unknown field"),
            (r#"[{"labels": {"__path__": "/a[", "__path_exclude__": "/b"}}]"#, "group 1: "),
        ]) {
            put(&disk, "/sd/list.json", text);
            assert!(lists.look(&given, &disk, number * SECOND), "{text}");
            let detail = lists.faults().remove(0).detail;
            assert!(detail.contains(reason), "{detail}");
            let same = lists.expand(&given, &made);
            assert!(same.iter().zip(&made).all(|(a, b)| Arc::ptr_eq(a, b)), "{text}");
        }
        put(&disk, "/sd/list.json", "[]");
        assert!(lists.look(&given, &disk, 60 * SECOND));
        assert_eq!((lists.faults(), lists.expand(&given, &made).len()), (Vec::new(), 1));
    }

    #[test]
    fn what_cannot_be_looked_at_leaves_what_was_there() {
        let disk = SimDisk::new();
        let given = jobs(r#"{"target_lists": ["/sd/*.yml", "/more/*.yml"]}"#);
        let mut lists = TargetLists::default();
        put(&disk, "/more/a.yml", "[{labels: {__path__: /log/a}}]");
        put(&disk, "/sd/b.yml", "[{labels: {__path__: /log/b}}]");
        assert!(lists.look(&given, &disk, 0));
        let made = lists.expand(&given, &[]);
        assert_eq!(made.len(), 2);
        // The folder that is listed first, the list in it, the list in the other.
        for (number, (readable, name)) in (1..).zip([(0, "/sd"), (1, "/sd/b.yml"), (3, "/more/a.yml")]) {
            disk.fail_reads(readable, 1);
            assert!(lists.look(&given, &disk, number * 2 * SECOND), "it is shown");
            let faults = lists.faults();
            assert_eq!((faults.len(), &*faults[0].name), (1, name));
            assert!(faults[0].detail.contains("what they said stays in force"), "{faults:?}");
            let same = lists.expand(&given, &made);
            assert!(same.len() == 2 && same.iter().zip(&made).all(|(a, b)| Arc::ptr_eq(a, b)));
            assert!(lists.look(&given, &disk, (number * 2 + 1) * SECOND));
            assert_eq!(lists.faults(), []);
        }
        // As is one that nobody asks for any more.
        let given = jobs(r#"{"target_lists": ["/more/*.yml"]}"#);
        disk.fail_reads(0, 1);
        assert!(lists.look(&given, &disk, 60 * SECOND));
        assert_eq!(lists.expand(&given, &made).len(), 1);
    }

    #[test]
    fn a_list_that_looks_the_same_is_read_again_after_a_while() {
        let disk = SimDisk::new();
        let given = jobs(r#"{"target_lists": ["/sd/list.yml"]}"#);
        let mut lists = TargetLists::default();
        put(&disk, "/sd/list.yml", "[{labels: {__path__: /log/a}}]");
        assert!(lists.look(&given, &disk, 0));
        lists.lists.values_mut().for_each(|list| list.groups.clear());
        assert!(!lists.look(&given, &disk, READ_ANEW_NS - 1));
        assert!(lists.look(&given, &disk, READ_ANEW_NS + SECOND));
    }
}
