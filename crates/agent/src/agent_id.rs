//! Who this agent is: the first two parts of its batch ids.
//!
//! The id is made once. The epoch separates sequences that cannot be told apart otherwise: it is raised
//! whenever the spool starts anew or was found damaged, since a sequence might then be given out twice.

use std::path::{Path, PathBuf};

use logyard_sys::{Disk, Random};

use crate::error::Error;

/// The file `<data>/agent/id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentId {
    pub(crate) source: [u8; 16],
    pub(crate) epoch: u64,
}

impl AgentId {
    /// Reads the id, or makes one with epoch 0 that is not written yet.
    ///
    /// Errors: a file that cannot be read or does not hold an id. A new id would make the store take
    /// unacknowledged batches twice, so that is left to a person.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, random: &Random) -> Result<Self, Error> {
        let path = path(dir);
        let is_there = disk.metadata(&path).map_err(Error::file("read", &path))?.is_some();
        if !is_there {
            let mut source = [0; 16];
            random.fill(&mut source);
            return Ok(Self { source, epoch: 0 });
        }
        let bytes = disk.read(&path).map_err(Error::file("read", &path))?;
        parse(&bytes).ok_or_else(|| {
            let text = "it holds no agent id; remove it together with the folder spool beside it";
            Error::file("read", &path)(std::io::Error::new(std::io::ErrorKind::InvalidData, text))
        })
    }

    /// Begins the next epoch; durable on return.
    pub(crate) fn raise_epoch(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        self.epoch += 1;
        self.write(disk, dir)
    }

    /// Takes another id; durable on return. After an error the old one stays.
    pub(crate) fn renew(&mut self, disk: &dyn Disk, dir: &Path, random: &Random) -> Result<(), Error> {
        let mut source = [0; 16];
        random.fill(&mut source);
        let other = Self { source, epoch: self.epoch };
        other.write(disk, dir)?;
        *self = other;
        Ok(())
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        let path = path(dir);
        disk.write_atomic(&path, format!("{}\nepoch {}\n", self.hex(), self.epoch).as_bytes())
            .map_err(Error::file("write", &path))
    }

    /// Returns the id as 32 hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        self.source.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("id")
}

fn parse(bytes: &[u8]) -> Option<AgentId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (hex, rest) = text.split_once('\n')?;
    if hex.len() != 32 {
        return None;
    }
    let source = u128::from_str_radix(hex, 16).ok()?.to_be_bytes();
    let epoch = rest.trim().strip_prefix("epoch ")?.parse().ok()?;
    Some(AgentId { source, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    #[test]
    fn the_id_stays_and_the_epoch_grows() {
        let disk = SimDisk::new();
        let dir = Path::new("/data/agent");
        disk.create_dir_all(dir).unwrap();
        let random = Random::seeded(1);
        let mut id = AgentId::load(&disk, dir, &random).unwrap();
        id.raise_epoch(&disk, dir).unwrap();
        let mut again = AgentId::load(&disk, dir, &random).unwrap();
        assert_eq!(again, id);
        again.raise_epoch(&disk, dir).unwrap();
        assert_eq!(AgentId::load(&disk, dir, &random).unwrap(), AgentId { source: id.source, epoch: 2 });
    }

    #[test]
    fn a_spoiled_file_is_not_replaced() {
        let disk = SimDisk::new();
        let dir = Path::new("/data/agent");
        disk.create_dir_all(dir).unwrap();
        disk.write_atomic(&path(dir), &[0; 40]).unwrap();
        let error = AgentId::load(&disk, dir, &Random::seeded(1)).unwrap_err();
        assert!(error.to_string().contains("/data/agent/id"), "{error}");
    }
}
