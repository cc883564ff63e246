//! Which segments a compacted segment was made of. Section 16 of the file; format: `schemas/segment.md`.
//!
//! Told apart at a start by it: the output of a compaction whose catalog edit never was, the output of one
//! whose edit was lost, and inputs whose files were not removed yet.

use crate::bytes_reader::{BytesReader, put_varint};
use crate::error::Result;

/// Earlier segments that are remembered: those of a day that was flushed every two seconds.
const ANCESTORS_MAX: usize = 65_536;

/// The segments whose entries one segment took over. Names are ULIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// What it was written from; empty for a segment of a flush.
    pub(crate) sources: Vec<[u8; 16]>,
    /// What those were written from, and so on.
    pub(crate) ancestors: Vec<[u8; 16]>,
}

impl Lineage {
    /// Returns the lineage of a segment that is written from `sources`, each with its own lineage.
    pub(crate) fn of<'a>(sources: impl Iterator<Item = ([u8; 16], &'a Lineage)>) -> Self {
        let mut lineage = Self::default();
        for (ulid, earlier) in sources {
            lineage.sources.push(ulid);
            lineage.ancestors.extend(&earlier.sources);
            lineage.ancestors.extend(&earlier.ancestors);
        }
        lineage.ancestors.truncate(ANCESTORS_MAX);
        lineage
    }

    /// Returns all segments whose entries this one took over.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[u8; 16]> {
        self.sources.iter().chain(&self.ancestors)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 * (self.sources.len() + self.ancestors.len()) + 8);
        for names in [&self.sources, &self.ancestors] {
            put_varint(&mut bytes, names.len() as u64);
            names.iter().for_each(|name| bytes.extend_from_slice(name));
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = BytesReader::new(bytes, "segment lineage");
        let mut names = || -> Result<Vec<[u8; 16]>> {
            let count = reader.count(16)?;
            (0..count).map(|_| reader.array()).collect()
        };
        let (sources, ancestors) = (names()?, names()?);
        reader.finish()?;
        Ok(Self { sources, ancestors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineages_come_back_and_grow() {
        let first = Lineage::of([([1; 16], &Lineage::default()), ([2; 16], &Lineage::default())].into_iter());
        let second = Lineage::of([([3; 16], &first), ([4; 16], &Lineage::default())].into_iter());
        assert_eq!(second.sources, [[3; 16], [4; 16]]);
        assert_eq!(second.all().copied().collect::<Vec<_>>(), [[3; 16], [4; 16], [1; 16], [2; 16]]);
        let bytes = second.encode();
        assert_eq!(Lineage::decode(&bytes).unwrap(), second);
        for end in 0..bytes.len() {
            assert!(Lineage::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
