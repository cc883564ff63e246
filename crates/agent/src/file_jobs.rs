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
use crate::file_lists::Group;
use crate::report::{TargetKind, TargetReport, TargetState};
use crate::settings::FileSettings;
use crate::staging::compile_stages;

/// Folders below a pattern's fixed part that are entered.
const DEPTH_MAX: usize = 16;
/// Files of one job; more are left out, and said so. Far fewer are held open.
const FILES_MAX: usize = 100_000;
/// Label that names the machine whose files are meant; on others nothing is read.
const META_HOST: &str = "__host__";
/// Copies that rotation compressed hold what was read before.
const COMPRESSED: [&str; 6] = [".gz", ".z", ".bz2", ".xz", ".zst", ".lz4"];

/// Files read under the same labels.
#[derive(Clone, Debug)]
pub(crate) struct FileJob {
    made_of: MadeOf,
    /// The job whose list names these files.
    template: Option<Arc<FileJob>>,
    patterns: Vec<String>,
    /// Lists of more files.
    lists: GlobSet,
    list_dirs: Vec<PathBuf>,
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
    if settings.path.is_empty() && settings.target_lists.is_empty() {
        let reason = "a job has no path; add one such as /var/log/*.log".to_owned();
        return Err(Error::Setting { setting: "files.path", reason });
    }
    for pattern in &settings.target_lists {
        check_list(pattern).map_err(|reason| Error::Setting { setting: "files.target_lists", reason })?;
    }
    let mut labels = BTreeMap::new();
    if settings.default_labels {
        labels.clone_from(common_labels);
        labels.insert("job".to_owned(), "files".to_owned());
    }
    labels.extend(settings.labels.clone());
    let relabel = Relabeling::compile(&settings.relabel)
        .map_err(|error| Error::Setting { setting: "files.relabel", reason: error.to_string() })?;
    let dir_of = |pattern: &String| Path::new(pattern).parent().map(Path::to_owned);
    Ok(FileJob {
        template: None,
        patterns: settings.path.clone(),
        lists: globs("files.target_lists", &settings.target_lists)?,
        list_dirs: settings.target_lists.iter().filter_map(dir_of).collect(),
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
    /// Returns the job of a group in a list that `template` names: that of `before` which was made of the same, or a
    /// new one. Its stages are those of the template, with what they counted. `None`: it cannot be used.
    pub(crate) fn of_group(template: &Arc<Self>, group: &Group, before: &[Arc<Self>]) -> Option<Arc<Self>> {
        let mut made_of = template.made_of.clone();
        let settings = &mut made_of.settings;
        settings.target_lists.clear();
        settings.path = vec![group.path.clone()];
        settings.exclude.extend(group.exclude.clone());
        settings.labels.extend(group.labels.clone());
        let is_of = |job: &&Arc<Self>| job.template.as_ref().is_some_and(|of| Arc::ptr_eq(of, template));
        if let Some(same) = before.iter().filter(is_of).find(|job| job.made_of == made_of) {
            return Some(Arc::clone(same));
        }
        let job = file_job(made_of).ok()?;
        let pipeline = template.pipeline.clone();
        Some(Arc::new(Self { template: Some(Arc::clone(template)), pipeline, ..job }))
    }

    /// Returns what it is called in reports.
    pub(crate) fn name(&self) -> String {
        format!("files {}", self.all_patterns())
    }

    fn all_patterns(&self) -> String {
        let lists = &self.made_of.settings.target_lists;
        self.patterns.iter().chain(lists).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Returns whether it names files itself.
    pub(crate) fn has_paths(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Returns whether a path is that of a list of more files.
    pub(crate) fn is_list(&self, path: &Path) -> bool {
        self.lists.is_match(path)
    }

    /// Returns the folders in which its lists are.
    pub(crate) fn list_dirs(&self) -> &[PathBuf] {
        &self.list_dirs
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
        let detail = match self.has_paths() {
            true => "no file matches; look at the path, and at who may list its folder",
            false => "no list of targets matches, or those that do name nothing",
        };
        TargetReport {
            kind: TargetKind::File,
            name: self.all_patterns(),
            labels: LabelSet::default(),
            state: TargetState::Unreadable,
            detail: detail.to_owned(),
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
            let host = labels.get(META_HOST).filter(|host| !host.is_empty());
            if host.is_some_and(|host| self.made_of.common_labels.get("host").is_some_and(|own| own != host))
            {
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

/// Errors: why a pattern cannot be used.
pub(crate) fn check_glob(pattern: &str) -> Result<(), String> {
    glob(pattern).map(drop)
}

/// Errors: why a pattern of lists cannot be used. Prometheus takes these.
pub(crate) fn check_list(pattern: &str) -> Result<(), String> {
    let ending = pattern.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let (dir, name) = pattern.rsplit_once('/').unwrap_or_default();
    let is_known = matches!(ending.as_deref(), Some("json" | "yml" | "yaml"));
    if !is_known || dir.contains('*') || name.matches('*').count() > 1 {
        let want = "want one that ends in .json, .yml or .yaml, with one * behind the last / at most";
        return Err(format!("{pattern:?} names no lists; {want}"));
    }
    check_glob(pattern)
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
        let elsewhere = r#"{"path": ["/log/*"], "labels": {"__host__": "pi"}}"#;
        assert_eq!(ruled(elsewhere, "/log/a"), None);
        assert!(ruled(&elsewhere.replace("pi", "nas"), "/log/a").is_some());
        for list in ["/sd/*", "/sd/*/a.yml", "/sd/*a*.json", "sd/a.yaml", "/sd/a.yaml.bak"] {
            let settings = FileSettings { target_lists: vec![list.into()], ..FileSettings::default() };
            let error = file_jobs(&[settings], &BTreeMap::new(), 1 << 18, &[]).unwrap_err().to_string();
            assert!(error.contains("agent.files.target_lists") && error.contains(list), "{error}");
        }
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
