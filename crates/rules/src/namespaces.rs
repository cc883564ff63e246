//! The rules that came through the API, kept in the data folder.
//!
//! A namespace is one file of YAML with a checksum, replaced as a whole: what is acknowledged is on the disk.
//! Format: `schemas/rules.md`. A damaged file is put aside and reported; the other namespaces stay.

use crate::check::{print_file, read_printed};
use crate::error::{Error, Kind};
use crate::group::RuleGroup;
use crate::state_file::sealed;
use logyard_model::Tenant;
use logyard_sys::Disk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the first line of a file begins with; the checksum of the rest follows.
const HEAD: &str = "# logyard rules v1 crc32c=";

/// Longest name of a file: what file systems take, less what `write_atomic` adds.
const FILE_NAME_BYTES_MAX: usize = 240;

/// What a damaged file is called besides.
const DAMAGED: &str = ".damaged";

/// Groups by namespace; within one, by name as they came.
pub(crate) type Namespaces = BTreeMap<String, Vec<Arc<RuleGroup>>>;

/// The namespaces of all tenants, and their files.
#[derive(Debug)]
pub(crate) struct NamespaceFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(crate) by_tenant: BTreeMap<Tenant, Namespaces>,
}

impl NamespaceFiles {
    /// Reads all files below `dir`, which need not exist. Errors: the disk's.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        let mut files = Self { disk, dir, by_tenant: BTreeMap::new() };
        if files.disk.metadata(&files.dir)?.is_none() {
            return Ok(files);
        }
        for item in files.disk.list(&files.dir)?.into_iter().filter(|item| item.is_dir) {
            let Ok(tenant) = Tenant::new(&item.name) else { continue };
            files.open_tenant(tenant)?;
        }
        Ok(files)
    }

    fn open_tenant(&mut self, tenant: Tenant) -> io::Result<()> {
        let dir = self.tenant_dir(&tenant);
        if self.disk.metadata(&dir)?.is_none() {
            return Ok(());
        }
        for item in self.disk.list(&dir)? {
            let Some(namespace) = item.name.strip_suffix(".yaml").and_then(decode_name) else { continue };
            let path = dir.join(&item.name);
            let bytes = self.disk.read(&path)?;
            let read = sealed(&bytes, HEAD)
                .and_then(|yaml| read_printed(&path, yaml).map_err(|fault| fault.to_string()));
            match read {
                Ok(groups) => {
                    let groups = groups.into_iter().map(Arc::new).collect();
                    self.by_tenant.entry(tenant.clone()).or_default().insert(namespace, groups);
                }
                Err(reason) => {
                    let mut aside = path.clone().into_os_string();
                    aside.push(DAMAGED);
                    self.disk.rename(&path, Path::new(&aside))?;
                    self.disk.sync_dir(&dir)?;
                    tracing::error!(
                        path = %path.display(), reason, tenant = tenant.as_str(), namespace,
                        "damaged file of rules put aside: its rules are not in force; restore it, or make them anew"
                    );
                }
            }
        }
        Ok(())
    }

    fn tenant_dir(&self, tenant: &Tenant) -> PathBuf {
        self.dir.join(tenant.as_str()).join("namespaces")
    }

    /// Returns the groups of a namespace.
    pub(crate) fn groups(&self, tenant: &Tenant, namespace: &str) -> &[Arc<RuleGroup>] {
        let found = self.by_tenant.get(tenant).and_then(|namespaces| namespaces.get(namespace));
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// Puts a group into a namespace in place of the one of its name. Durable on return.
    ///
    /// Errors: `Invalid` for a name that no file can have, `Unavailable` from the disk; then nothing changed.
    pub(crate) fn set(&mut self, tenant: &Tenant, namespace: &str, group: RuleGroup) -> Result<(), Error> {
        let mut groups = self.groups(tenant, namespace).to_vec();
        let group = Arc::new(group);
        match groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => *known = group,
            None => groups.push(group),
        }
        self.replace(tenant, namespace, groups)
    }

    /// Removes a group. Durable on return. Errors: `NotFound`, `Unavailable`.
    pub(crate) fn remove(&mut self, tenant: &Tenant, namespace: &str, name: &str) -> Result<(), Error> {
        let mut groups = self.groups(tenant, namespace).to_vec();
        let before = groups.len();
        groups.retain(|group| group.name != name);
        if groups.len() == before {
            return Err(Error::new(Kind::NotFound, "group does not exist"));
        }
        self.replace(tenant, namespace, groups)
    }

    /// Removes a namespace. Durable on return. Errors: `NotFound`, `Unavailable`.
    pub(crate) fn remove_namespace(&mut self, tenant: &Tenant, namespace: &str) -> Result<(), Error> {
        if self.groups(tenant, namespace).is_empty() {
            return Err(Error::new(Kind::NotFound, "group namespace does not exist"));
        }
        self.replace(tenant, namespace, Vec::new())
    }

    fn replace(
        &mut self,
        tenant: &Tenant,
        namespace: &str,
        groups: Vec<Arc<RuleGroup>>,
    ) -> Result<(), Error> {
        let name = encode_name(namespace);
        if namespace.is_empty() || name.len() > FILE_NAME_BYTES_MAX {
            let text = format!(
                "the namespace is too long, or empty: {} bytes as the name of a file, at most {FILE_NAME_BYTES_MAX} are allowed",
                name.len()
            );
            return Err(Error::invalid(text));
        }
        let dir = self.tenant_dir(tenant);
        let path = dir.join(name + ".yaml");
        self.write(&dir, &path, &groups)
            .map_err(|error| Error::unavailable(format!("cannot write {}: {error}", path.display())))?;
        let namespaces = self.by_tenant.entry(tenant.clone()).or_default();
        if groups.is_empty() {
            namespaces.remove(namespace);
        } else {
            namespaces.insert(namespace.to_owned(), groups);
        }
        Ok(())
    }

    fn write(&self, dir: &Path, path: &Path, groups: &[Arc<RuleGroup>]) -> io::Result<()> {
        if groups.is_empty() {
            self.disk.remove_file(path)?;
            return self.disk.sync_dir(dir);
        }
        let yaml = print_file(groups.iter().map(|group| &**group));
        let head = format!("{HEAD}{:08x}\n", crc32c::crc32c(yaml.as_bytes()));
        self.disk.create_dir_all(dir)?;
        self.disk.write_atomic(path, &[head.as_bytes(), yaml.as_bytes()].concat())
    }
}

/// Makes the name of a file of any text: what is not harmless is `%` and two digits.
pub(crate) fn encode_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && index > 0;
        match is_plain {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

fn decode_name(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
