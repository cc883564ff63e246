//! The rule files that people write, in `rules.dir`: read as a whole, and again when something there changed.
//!
//! A file is a namespace, named as the file is. Files at the top belong to the tenant of a store that keeps none apart;
//! those of a tenant lie in a folder of its name. If any file is bad, nothing changes.

use crate::check::{FileFault, RULE_BYTES_MAX, read_file};
use crate::namespaces::Namespaces;
use logyard_model::Tenant;
use logyard_sys::Disk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most files; a folder with more was not meant.
const FILES_MAX: usize = 1000;

/// What tells one state of the folder from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint(Vec<(PathBuf, u64, i64, u64)>);

/// The folder, and what was last seen there.
#[derive(Debug)]
pub(crate) struct RuleFolder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    seen: Option<Fingerprint>,
}

/// One file to read.
struct Found {
    tenant: Tenant,
    namespace: String,
    path: PathBuf,
}

impl RuleFolder {
    /// Names a folder; nothing is read yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), seen: None }
    }

    /// Reads everything if anything changed; `None` if not.
    ///
    /// Errors: all bad files, each told once until the folder changes again.
    pub(crate) fn reload(&mut self) -> Option<Result<BTreeMap<Tenant, Namespaces>, Vec<FileFault>>> {
        let (found, fingerprint) = match self.scan() {
            Ok(scanned) => scanned,
            Err(fault) => {
                let told = self.seen.replace(Fingerprint::default());
                return (told != Some(Fingerprint::default())).then(|| Err(vec![fault]));
            }
        };
        // What is empty has a mark of its own: it is not what could not be read.
        let fingerprint = match fingerprint.0.is_empty() {
            true => Fingerprint(vec![(self.dir.clone(), 0, 0, 0)]),
            false => fingerprint,
        };
        if self.seen.as_ref() == Some(&fingerprint) {
            return None;
        }
        self.seen = Some(fingerprint);
        let mut by_tenant: BTreeMap<Tenant, Namespaces> = BTreeMap::new();
        let mut faults = Vec::new();
        for Found { tenant, namespace, path } in found {
            match self.read(&path) {
                Ok(groups) => {
                    if by_tenant.entry(tenant).or_default().insert(namespace, groups).is_some() {
                        let text =
                            "its tenant has another file of that name, at the top of rules.dir".to_owned();
                        faults.push(FileFault { path: path.display().to_string(), line: None, text });
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        Some(if faults.is_empty() { Ok(by_tenant) } else { Err(faults) })
    }

    fn read(&self, path: &Path) -> Result<Vec<Arc<crate::RuleGroup>>, FileFault> {
        let bytes = self.disk.read(path).map_err(|error| cannot_read(path, &error))?;
        Ok(read_file(path, &bytes)?.into_iter().map(Arc::new).collect())
    }

    /// Lists the files and what they look like from outside.
    fn scan(&self) -> Result<(Vec<Found>, Fingerprint), FileFault> {
        let mut found = Vec::new();
        self.scan_dir(&self.dir, &Tenant::single(), &mut found)?;
        let items = self.disk.list(&self.dir).map_err(|error| cannot_read(&self.dir, &error))?;
        for item in items.into_iter().filter(|item| item.is_dir) {
            if let Ok(tenant) = Tenant::new(&item.name)
                && !item.name.starts_with('.')
            {
                self.scan_dir(&self.dir.join(&item.name), &tenant, &mut found)?;
            }
        }
        let mut fingerprint = Vec::with_capacity(found.len());
        for file in &found {
            let meta = self.disk.metadata(&file.path).map_err(|error| cannot_read(&file.path, &error))?;
            let Some(meta) = meta else { continue };
            if meta.bytes > RULE_BYTES_MAX as u64 {
                let text = format!("{} bytes, at most {RULE_BYTES_MAX} are allowed", meta.bytes);
                return Err(FileFault { path: file.path.display().to_string(), line: None, text });
            }
            fingerprint.push((file.path.clone(), meta.bytes, meta.modified_ns, meta.inode));
        }
        Ok((found, Fingerprint(fingerprint)))
    }

    fn scan_dir(&self, dir: &Path, tenant: &Tenant, found: &mut Vec<Found>) -> Result<(), FileFault> {
        let items = self.disk.list(dir).map_err(|error| cannot_read(dir, &error))?;
        for item in items.into_iter().filter(|item| is_rule_file(&item.name)) {
            let path = dir.join(&item.name);
            // Also a link to a file: that is how a mounted ConfigMap looks.
            let meta = self.disk.metadata(&path).map_err(|error| cannot_read(&path, &error))?;
            if !meta.is_some_and(|meta| meta.is_file) {
                continue;
            }
            if found.len() >= FILES_MAX {
                let text =
                    format!("more than {FILES_MAX} files; is this the folder that rules.dir should name?");
                return Err(FileFault { path: self.dir.display().to_string(), line: None, text });
            }
            found.push(Found { tenant: tenant.clone(), namespace: item.name, path });
        }
        Ok(())
    }
}

fn is_rule_file(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

fn cannot_read(path: &Path, error: &io::Error) -> FileFault {
    FileFault { path: path.display().to_string(), line: None, text: format!("cannot read it: {error}") }
}

#[cfg(test)]
mod tests;
