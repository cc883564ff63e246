//! The data folder: its layout, its lock, its format number.
//!
//! ```text
//! FORMAT                    "logyard-data 1": read before anything else
//! LOCK                      held by the process that uses the folder
//! wal/                      record log of acknowledged batches (schemas/wal.md)
//! catalog/                  record log of edits to the list of segments (schemas/catalog.md)
//! tenants/<tenant>/<YYYYMMDD>/<class>/<ulid>-L<level>.seg   (schemas/segment.md)
//! snapshots/<id>/           data folders of their own, made of links to segments
//! imports/<id>/             exports that a running store is to take in, put there and removed by the subcommand
//! quarantine/               damaged files, kept for a person to look at
//! ballast                   room that is given up when the disk is full
//! ```

use crate::error::{Error, Result};
use logyard_model::Tenant;
use logyard_sys::{Disk, LockGuard, WriteFile};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Format of the data folder that this program reads and writes.
const FORMAT: u64 = 1;
const FORMAT_PREFIX: &str = "logyard-data ";

/// What the format number of a folder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Known,
    Missing,
    /// The file holds something else, beside a catalog of ours.
    Damaged(String),
}

/// Paths inside the data folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Held while the folder of a partition is made with its first file, or removed: none goes in between.
    partitions: Arc<Mutex<()>>,
}

impl Folder {
    /// Creates what is missing and takes the lock. The lock goes with the guard.
    ///
    /// Errors: `Kind::Invalid` for a folder that is in use, not writable or of a newer format, with what to do.
    pub(crate) fn open(disk: &dyn Disk, root: &Path) -> Result<(Self, Box<dyn LockGuard>)> {
        let folder = Self::at(root);
        disk.create_dir_all(root).map_err(|error| not_writable(root, error))?;
        let lock = folder.lock(disk)?;
        match folder.read_format(disk)? {
            Format::Known => {}
            Format::Missing => folder.write_format(disk)?,
            Format::Damaged(text) => {
                tracing::error!(
                    path = %folder.format().display(),
                    text,
                    "the format number of the data folder is damaged: it is written anew, since the catalog is ours"
                );
                folder.write_format(disk)?;
            }
        }
        for dir in [folder.wal(), folder.catalog(), folder.tenants(), folder.quarantine()] {
            disk.create_dir_all(&dir).map_err(|error| not_writable(root, error))?;
        }
        Ok((folder, lock))
    }

    /// Takes the lock of a folder that is there, and changes nothing in it.
    ///
    /// Returns also what is known of its format number. Errors: as [`Folder::open`]; `Kind::Invalid` for a folder
    /// that holds neither catalog nor segments.
    pub(crate) fn open_existing(disk: &dyn Disk, root: &Path) -> Result<(Self, Box<dyn LockGuard>, Format)> {
        let folder = Self::at(root);
        folder.check_is_one(disk)?;
        let lock = folder.lock(disk)?;
        let format = folder.read_format(disk)?;
        Ok((folder, lock, format))
    }

    /// Returns the paths of a folder that is there, without its lock: for a look, whoever uses it.
    ///
    /// Errors: `Kind::Invalid` for a folder that holds neither catalog nor segments, or is of a newer format.
    pub(crate) fn look(disk: &dyn Disk, root: &Path) -> Result<Self> {
        let folder = Self::at(root);
        folder.check_is_one(disk)?;
        folder.read_format(disk)?;
        Ok(folder)
    }

    fn check_is_one(&self, disk: &dyn Disk) -> Result<()> {
        let is_there = |path: PathBuf| matches!(disk.metadata(&path), Ok(Some(meta)) if meta.is_dir);
        if is_there(self.catalog()) || is_there(self.tenants()) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "cannot use data folder {}: it holds neither catalog/ nor tenants/; name another with --data-dir",
            self.root.display()
        )))
    }

    fn lock(&self, disk: &dyn Disk) -> Result<Box<dyn LockGuard>> {
        let root = &self.root;
        disk.lock(&root.join("LOCK")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let holder = error.get_ref().map_or_else(|| "another process".to_owned(), ToString::to_string);
                Error::invalid(format!(
                    "cannot use data folder {}: {holder} uses it; stop that one, or choose another folder with --data-dir",
                    root.display()
                ))
            }
            _ => not_writable(root, error),
        })
    }

    /// Returns the paths of a folder that need not exist, without a look at it.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), partitions: Arc::default() }
    }

    /// Reads the format number.
    ///
    /// Errors: `Kind::Invalid` for another number, and for a text that is none in a folder that holds no catalog:
    /// then it is not ours to write into.
    fn read_format(&self, disk: &dyn Disk) -> Result<Format> {
        let path = self.format();
        let found = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Format::Missing),
            Err(error) => return Err(not_writable(&self.root, error)),
        };
        let text = String::from_utf8_lossy(&found);
        let number =
            text.trim_end().strip_prefix(FORMAT_PREFIX).and_then(|number| number.parse::<u64>().ok());
        match number {
            Some(FORMAT) => Ok(Format::Known),
            Some(number) => Err(Error::invalid(format!(
                "cannot use data folder {}: it has format {number}, this version reads {FORMAT}; \
                 run the version that wrote it, or choose another folder with --data-dir",
                self.root.display()
            ))),
            None if self.has_catalog(disk) => Ok(Format::Damaged(text.into_owned())),
            None => Err(Error::invalid(format!(
                "cannot use data folder {}: {} holds {text:?}, want \"{FORMAT_PREFIX}{FORMAT}\"; \
                 restore that file, or choose another folder with --data-dir",
                self.root.display(),
                path.display()
            ))),
        }
    }

    fn has_catalog(&self, disk: &dyn Disk) -> bool {
        logyard_wal::log_files(disk, &self.catalog()).is_ok_and(|files| !files.is_empty())
    }

    /// Writes the format number into a folder that has none.
    pub(crate) fn write_format(&self, disk: &dyn Disk) -> Result<()> {
        let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
        let written = disk.write_atomic(&self.format(), text.as_bytes());
        written.map_err(|error| not_writable(&self.root, error))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn imports(&self) -> PathBuf {
        self.root.join("imports")
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    pub(crate) fn catalog(&self) -> PathBuf {
        self.root.join("catalog")
    }

    pub(crate) fn tenants(&self) -> PathBuf {
        self.root.join("tenants")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Creates a file in the folder of a partition, which is made where there is none.
    pub(crate) fn create_in_partition(&self, disk: &dyn Disk, path: &Path) -> Result<Box<dyn WriteFile>> {
        let _alone = self.partitions.lock();
        if let Some(dir) = path.parent() {
            disk.create_dir_all(dir).map_err(|error| Error::io("create folder", dir, error))?;
        }
        disk.create_file(path).map_err(|error| Error::io("create segment", path, error))
    }

    /// Removes the folder of a partition, and those of its day and tenant, as far as they are empty.
    ///
    /// What cannot be removed stays: an empty folder does no harm.
    pub(crate) fn remove_empty(&self, disk: &dyn Disk, partition: &Path) {
        let _alone = self.partitions.lock();
        let tenants = self.tenants();
        let mut next = Some(partition);
        while let Some(dir) = next.filter(|dir| *dir != tenants && dir.starts_with(&tenants)) {
            next = dir.parent();
            match disk.remove_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    if error.kind() != io::ErrorKind::DirectoryNotEmpty {
                        tracing::debug!(dir = %dir.display(), %error, "cannot remove an empty folder");
                    }
                    return;
                }
            }
            if let Some(parent) = next
                && let Err(error) = disk.sync_dir(parent)
            {
                tracing::debug!(dir = %parent.display(), %error, "cannot sync the folder of a removed one");
            }
        }
    }

    /// Removes all empty folders of partitions, days and tenants: those that a crash has left.
    pub(crate) fn remove_all_empty(&self, disk: &dyn Disk) {
        // tenant, day, class: three levels of folders.
        let mut dirs = vec![(self.tenants(), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            let items = disk.list(&dir).unwrap_or_default();
            if items.is_empty() {
                self.remove_empty(disk, &dir);
            }
            if depth < 3 {
                let below = items.iter().filter(|item| item.is_dir);
                dirs.extend(below.map(|item| (dir.join(&item.name), depth + 1)));
            }
        }
    }

    /// Returns the folder of the segments of one tenant, day and class.
    pub(crate) fn partition(&self, tenant: &Tenant, day: i32, class: &str) -> PathBuf {
        self.tenants().join(tenant.as_str()).join(day_name(day)).join(class)
    }
}

fn not_writable(root: &Path, error: io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        io::ErrorKind::StorageFull => "disk full",
        io::ErrorKind::NotADirectory => "a file is in the way",
        _ => "it cannot be written",
    };
    Error::invalid(format!(
        "cannot use data folder {}: {why}; make it writable for this user, or choose another with --data-dir",
        root.display()
    ))
    .with_source(error)
}

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// Returns the UTC day of an instant, in days since 1970-01-01.
pub(crate) fn day_of(ts_ns: i64) -> i32 {
    // 2^63 ns are 106,752 days: always within i32.
    i32::try_from(ts_ns.div_euclid(DAY_NS)).expect("days of an i64 of nanoseconds fit in i32")
}

/// Returns the first instant of a day, clamped to what can be stored.
pub(crate) fn day_start_ns(day: i32) -> i64 {
    i64::from(day).saturating_mul(DAY_NS)
}

/// Returns the last instant of a day, clamped to what can be stored.
pub(crate) fn day_last_ns(day: i32) -> i64 {
    day_start_ns(day).saturating_add(DAY_NS - 1)
}

/// Returns a day as `YYYYMMDD`, years beyond four digits or before year 0 as they come.
pub(crate) fn day_name(day: i32) -> String {
    // Civil date from days: eras of 400 years that start on 1 March of year 0.
    let shifted = i64::from(day) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{date:02}")
}

/// Reads a day as [`day_name`] writes it, or with hyphens as in `2026-06-01`; days since 1970-01-01.
///
/// `None` for what is no day of the years 1 to 9999.
pub fn parse_day(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let (year, month, date) = match (parts.next()?, parts.next(), parts.next()) {
        (plain, None, None) => {
            if plain.len() != 8 {
                return None;
            }
            (plain.get(..4)?, plain.get(4..6)?, plain.get(6..)?)
        }
        (year, Some(month), Some(date)) => (year, month, date),
        _ => return None,
    };
    let is_number =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(year, 4) || !is_number(month, 2) || !is_number(date, 2) {
        return None;
    }
    let name = format!("{year}{month}{date}");
    let number = |part: &str| part.parse::<i32>().ok();
    let (year, month, date) = (number(year)?, number(month)?, number(date)?);
    // Days from a civil date: the way back of `day_name`.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + date - 1;
    let day = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    // The 31st of February is no day.
    (day_name(day) == name).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use logyard_sys::SimDisk;

    #[test]
    fn days_have_names() {
        let check = |ts_ns: i64, name: &str| assert_eq!(day_name(day_of(ts_ns)), name);
        check(0, "19700101");
        check(-1, "19691231");
        check(1_709_164_800_000_000_000, "20240229");
        check(1_709_251_199_999_999_999, "20240229");
        check(1_709_251_200_000_000_000, "20240301");
        check(1_798_761_599_000_000_000, "20261231");
        assert_eq!(day_of(day_start_ns(20_000)), 20_000);
        assert_eq!(day_of(day_last_ns(20_000)), 20_000);
        assert!(day_of(i64::MIN) < 0 && day_of(i64::MAX) > 0);
    }

    #[test]
    fn days_are_read_back() {
        for day in (-700_000..2_900_000).step_by(997) {
            assert_eq!(parse_day(&day_name(day)), Some(day), "{day}");
        }
        assert_eq!(parse_day("2026-06-01"), Some(20_605));
        for bad in ["", "2026", "20260231", "2026-6-1", "2026-06-01-", "x0260601", "20261301"] {
            assert_eq!(parse_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let disk = SimDisk::new();
        let root = Path::new("/data");
        let (_folder, lock) = Folder::open(&disk, root).unwrap();
        let error = Folder::open(&disk, root).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("another process uses it; stop that one"), "{error}");
        drop(lock);
        assert!(Folder::open(&disk, root).is_ok());
    }

    #[test]
    fn newer_and_foreign_formats_are_refused() {
        let check = |text: &str, part: &str| {
            let disk = SimDisk::new();
            disk.create_dir_all(Path::new("/data")).unwrap();
            disk.write_atomic(Path::new("/data/FORMAT"), text.as_bytes()).unwrap();
            let error = Folder::open(&disk, Path::new("/data")).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(part), "{error}");
        };
        check("logyard-data 7\n", "it has format 7, this version reads 1; run the version that wrote it");
        check("what", "FORMAT holds \"what\"");
    }

    #[test]
    fn a_damaged_format_beside_a_catalog_is_written_anew() {
        let (disk, root) = (SimDisk::new(), Path::new("/data"));
        drop(Folder::open(&disk, root).unwrap());
        disk.write_atomic(&root.join("catalog/00000000000000000001.log"), b"").unwrap();
        disk.damage(&root.join("FORMAT"), 3, 0x10).unwrap();
        let (_, lock, format) = Folder::open_existing(&disk, root).unwrap();
        assert_eq!(format, Format::Damaged("logiard-data 1\n".to_owned()));
        drop(lock);
        drop(Folder::open(&disk, root).unwrap());
        assert_eq!(Folder::open_existing(&disk, root).unwrap().2, Format::Known);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_refused() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/")).unwrap();
        disk.write_atomic(Path::new("/data"), b"a file").unwrap();
        let error = Folder::open(&disk, Path::new("/data")).unwrap_err();
        assert!(error.to_string().contains("a file is in the way; make it writable"), "{error}");
    }
}
