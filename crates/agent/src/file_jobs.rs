//! Which files are read: patterns, and walking the folders that they name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use logyard_model::LabelSet;
use logyard_pipeline::{LinesFrom, Pipeline, Relabeling, without_meta};
use logyard_sys::Disk;

use crate::error::Error;
use crate::file_form::encoding_of;
use crate::report::{TargetKind, TargetReport, TargetState};
use crate::settings::FileSettings;
use crate::staging::compile_stages;

/// Folders below a pattern's fixed part that are entered.
const DEPTH_MAX: usize = 16;
/// Files of one job; more are left out, and said so. Far fewer are held open.
const FILES_MAX: usize = 100_000;
/// Copies that rotation compressed hold what was read before.
const COMPRESSED: [&str; 6] = [".gz", ".z", ".bz2", ".xz", ".zst", ".lz4"];

/// Files read under the same labels.
#[derive(Clone, Debug)]
pub(crate) struct FileJob {
    made_of: MadeOf,
    patterns: Vec<String>,
    /// The fixed folder of each pattern, and how deep below it files may lie.
    roots: Vec<(PathBuf, usize)>,
    include: GlobSet,
    exclude: GlobSet,
    labels: BTreeMap<String, String>,
    relabel: Relabeling,
    /// A file never seen before and unchanged for this long is read from its end.
    pub(crate) unchanged_ns_max: i64,
    /// What happens to lines.
    pub(crate) pipeline: Pipeline,
    /// Whether packed files are read as what they unpack to.
    pub(crate) unpacks: bool,
    pub(crate) encoding: &'static Encoding,
}

/// What a job was compiled from: equal ones are the same job.
#[derive(Clone, Debug, PartialEq)]
struct MadeOf {
    settings: FileSettings,
    common_labels: BTreeMap<String, String>,
    line_bytes_max: usize,
}

/// What is read on a machine without an engine, when nothing is set.
pub(crate) fn default_files() -> Vec<FileSettings> {
    let path = ["/var/log/**/*.log", "/var/log/syslog", "/var/log/messages"];
    vec![FileSettings { path: path.map(str::to_owned).to_vec(), ..FileSettings::default() }]
}

/// Compiles the settings; a job of `before` that has the same stays the very same.
pub(crate) fn file_jobs(
    settings: &[FileSettings],
    common_labels: &BTreeMap<String, String>,
    line_bytes_max: usize,
    before: &[Arc<FileJob>],
) -> Result<Vec<Arc<FileJob>>, Error> {
    let mut jobs: Vec<Arc<FileJob>> = Vec::new();
    for settings in settings {
        let (settings, common_labels) = (settings.clone(), common_labels.clone());
        let made_of = MadeOf { settings, common_labels, line_bytes_max };
        let same = before
            .iter()
            .find(|job| job.made_of == made_of && !jobs.iter().any(|taken| Arc::ptr_eq(taken, job)));
        jobs.push(match same {
            Some(job) => Arc::clone(job),
            None => Arc::new(file_job(made_of)?),
        });
    }
    Ok(jobs)
}

fn file_job(made_of: MadeOf) -> Result<FileJob, Error> {
    let MadeOf { settings, common_labels, line_bytes_max } = &made_of;
    let line_bytes_max = *line_bytes_max;
    if settings.path.is_empty() {
        let reason = "a job has no path; add one such as /var/log/*.log".to_owned();
        return Err(Error::Setting { setting: "files.path", reason });
    }
    let mut labels = BTreeMap::new();
    if settings.default_labels {
        labels.clone_from(common_labels);
        labels.insert("job".to_owned(), "files".to_owned());
    }
    labels.extend(settings.labels.clone());
    let relabel = Relabeling::compile(&settings.relabel)
        .map_err(|error| Error::Setting { setting: "files.relabel", reason: error.to_string() })?;
    Ok(FileJob {
        patterns: settings.path.clone(),
        roots: settings.path.iter().map(|pattern| root_of(pattern)).collect(),
        include: globs("files.path", &settings.path)?,
        exclude: globs("files.exclude", &settings.exclude)?,
        labels,
        relabel,
        unchanged_ns_max: match settings.unchanged_secs_max {
            0 => i64::MAX,
            seconds => i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000),
        },
        pipeline: compile_stages("files.stages", &settings.stages, LinesFrom::Files, line_bytes_max)?,
        unpacks: settings.decompress,
        encoding: encoding_of(&settings.encoding).ok_or_else(|| Error::Setting {
            setting: "files.encoding",
            reason: format!(
                "{:?} is no encoding; use a name such as utf-16le or iso-8859-1",
                settings.encoding
            ),
        })?,
        made_of,
    })
}

impl FileJob {
    /// Returns what it is called in reports.
    pub(crate) fn name(&self) -> String {
        format!("files {}", self.patterns.join(", "))
    }

    /// Returns the longest line that is kept.
    pub(crate) fn line_bytes_max(&self) -> usize {
        self.made_of.line_bytes_max
    }

    /// Returns the paths of the files that match, sorted, and whether there were too many.
    pub(crate) fn find(&self, disk: &dyn Disk) -> (Vec<PathBuf>, bool) {
        let mut found = Vec::new();
        for (root, depth) in &self.roots {
            self.walk(disk, root, *depth, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        let is_cut = found.len() > FILES_MAX;
        found.truncate(FILES_MAX);
        (found, is_cut)
    }

    /// Says that nothing matches.
    pub(crate) fn without_match(&self) -> TargetReport {
        TargetReport {
            kind: TargetKind::File,
            name: self.patterns.join(", "),
            labels: LabelSet::default(),
            state: TargetState::Unreadable,
            detail: "no file matches; look at the path, and at who may list its folder".to_owned(),
            entries: 0,
        }
    }

    /// Returns the labels of one file's stream; `None`: the rules leave it out.
    pub(crate) fn labels_of(&self, path: &str) -> Option<LabelSet> {
        let given = self.labels.iter().filter(|(_, value)| !value.is_empty());
        let mut labels = LabelSet::from_pairs(given.map(|(name, value)| (name.as_str(), value.as_str())));
        let has_meta = labels.iter().any(|(name, _)| name.starts_with("__"));
        if has_meta || !self.relabel.is_empty() {
            labels.insert("__path__", path);
            if !self.relabel.apply(&mut labels) {
                return None;
            }
            labels = without_meta(&labels);
        }
        if labels.get("filename").is_none() {
            labels.insert("filename", path);
        }
        Some(labels)
    }

    /// Returns whether a path belongs to this job.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.is_wanted(path)
    }

    fn walk(&self, disk: &dyn Disk, path: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        if found.len() > FILES_MAX {
            return;
        }
        // A folder that cannot be listed is another user's; what matches elsewhere is read all the same.
        let items = match disk.metadata(path) {
            Ok(Some(meta)) if meta.is_dir => disk.list(path).unwrap_or_default(),
            Ok(Some(_)) if self.is_wanted(path) => return found.push(path.to_owned()),
            _ => return,
        };
        for item in items {
            let below = path.join(&item.name);
            if item.is_dir {
                if depth > 1 {
                    self.walk(disk, &below, depth - 1, found);
                }
            } else if self.is_wanted(&below) {
                found.push(below);
            }
        }
    }

    fn is_wanted(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        (self.unpacks || !is_compressed(&text)) && self.include.is_match(path) && !self.exclude.is_match(path)
    }
}

/// Returns whether a name says that the file is compressed.
pub(crate) fn is_compressed(name: &str) -> bool {
    COMPRESSED.iter().any(|ending| name.ends_with(ending))
}

/// Splits off the folder before the first wildcard, and counts the levels below it.
fn root_of(pattern: &str) -> (PathBuf, usize) {
    let is_wild = |part: &str| part.contains(['*', '?', '[', '{']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let fixed = parts.iter().take_while(|part| !is_wild(part)).count();
    let root: String = parts.iter().take(fixed).copied().collect::<Vec<_>>().join("/");
    let root = if root.is_empty() { PathBuf::from("/") } else { PathBuf::from(root) };
    let depth = if pattern.contains("**") { DEPTH_MAX } else { parts.len() - fixed };
    (root, depth)
}

fn globs(setting: &'static str, patterns: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(|reason| Error::Setting { setting, reason })?);
    }
    set.build().map_err(|error| Error::Setting { setting, reason: error.to_string() })
}

fn glob(pattern: &str) -> Result<Glob, String> {
    if !pattern.starts_with('/') {
        return Err(format!("{pattern:?} is no absolute path"));
    }
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    fn job(path: &[&str], exclude: &[&str]) -> FileJob {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let settings = FileSettings { path: own(path), exclude: own(exclude), ..FileSettings::default() };
        let labels = BTreeMap::from([("host".into(), "nas".into())]);
        FileJob::clone(&file_jobs(&[settings], &labels, 1 << 18, &[]).unwrap()[0])
    }

    #[test]
    fn patterns_find_files() {
        let disk = SimDisk::new();
        for path in ["/log/a.log", "/log/b/c.log", "/log/b/d/e.log", "/log/b/d/f.log.gz", "/log/x.txt"] {
            let path = Path::new(path);
            disk.create_dir_all(path.parent().unwrap()).unwrap();
            disk.create_file(path).unwrap();
        }
        let found = |path: &[&str], exclude: &[&str]| -> Vec<String> {
            let (found, is_cut) = job(path, exclude).find(&disk);
            assert!(!is_cut);
            found.into_iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(found(&["/log/*.log"], &[]), ["/log/a.log"]);
        assert_eq!(found(&["/log/**/*.log"], &[]), ["/log/a.log", "/log/b/c.log", "/log/b/d/e.log"]);
        assert_eq!(found(&["/log/**/*.log"], &["/log/b/**"]), ["/log/a.log"]);
        assert_eq!(found(&["/log/*/*.log"], &[]), ["/log/b/c.log"]);
        assert_eq!(found(&["/log/{a.log,x.txt}", "/log/a.log"], &[]), ["/log/a.log", "/log/x.txt"]);
        assert_eq!(found(&["/none/*", "/log/b/d/*"], &[]), ["/log/b/d/e.log"]);
        disk.create_dir_all(Path::new("/odd [1]*")).unwrap();
        disk.create_file(Path::new("/odd [1]*/a.log")).unwrap();
        assert_eq!(found(&[&FileSettings::pattern_of("/odd [1]*/a.log")], &[]), ["/odd [1]*/a.log"]);
        let packed =
            FileSettings { path: vec!["/log/b/d/*".into()], decompress: true, ..FileSettings::default() };
        let jobs = file_jobs(&[packed], &BTreeMap::new(), 1 << 18, &[]).unwrap();
        assert_eq!(jobs[0].find(&disk).0.len(), 2);
    }

    #[test]
    fn labels_and_refusals() {
        let labels = job(&["/log/*"], &[]).labels_of("/log/a").unwrap();
        assert_eq!(labels.to_string(), r#"{filename="/log/a", host="nas", job="files"}"#);
        let ruled = |json: &str, path: &str| {
            let settings: FileSettings = serde_json::from_str(json).unwrap();
            let labels = BTreeMap::from([("host".into(), "nas".into())]);
            let jobs = file_jobs(&[settings], &labels, 1 << 18, &[]).unwrap();
            jobs[0].labels_of(path).map(|labels| labels.to_string())
        };
        let rules = r#"{"path": ["/log/*"], "default_labels": false, "labels": {"job": "web"}, "relabel": [
            {"source_labels": ["__path__"], "regex": ".*/secret.*", "action": "drop"},
            {"source_labels": ["__path__"], "regex": "/log/(.*)[.]log", "target_label": "site"},
            {"regex": "filename", "action": "labeldrop"}]}"#;
        let want = r#"{filename="/log/a.log", job="web", site="a"}"#;
        assert_eq!(ruled(rules, "/log/a.log").as_deref(), Some(want));
        assert_eq!(ruled(rules, "/log/secret.log"), None);
        let settings = FileSettings { path: vec!["log/*".into()], ..FileSettings::default() };
        let error = file_jobs(&[settings], &BTreeMap::new(), 1 << 18, &[]).unwrap_err().to_string();
        assert!(error.contains("agent.files.path"), "{error}");
        let json = r#"{"path": ["/log/*"], "stages": [{"regex": {"expression": "("}}]}"#;
        let error =
            file_jobs(&[serde_json::from_str(json).unwrap()], &BTreeMap::new(), 1 << 18, &[]).unwrap_err();
        let want = "cannot use setting agent.files.stages: 0.regex.expression: ";
        assert!(error.to_string().starts_with(want), "{error}");
        let json = r#"{"path": ["/log/*"], "encoding": "klingon"}"#;
        let error =
            file_jobs(&[serde_json::from_str(json).unwrap()], &BTreeMap::new(), 1 << 18, &[]).unwrap_err();
        assert!(error.to_string().contains("agent.files.encoding: \"klingon\" is no encoding"), "{error}");
    }
}
