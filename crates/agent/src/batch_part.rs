//! A refused batch in smaller and smaller parts, until only what the store refuses is left.
//!
//! A part is pushed under an id made from its bytes: the same part after a crash has the same id, other bytes have
//! another. Ids of the agent's own row would not do: the store takes a sequence far below its newest one for known,
//! so the batches that wait behind this one would be lost.

use bytes::Bytes;
use logyard_codec::{BatchId, Chunk, Entries, decode_batch, encode_batch};
use logyard_model::LabelSet;
use xxhash_rust::xxh3::xxh3_128;

/// Raw bytes of a batch as this agent makes them, with much room.
const RAW_BYTES_MAX: usize = 256 << 20;

/// Some entries of a batch, in its order.
#[derive(Debug, Default)]
pub(crate) struct BatchPart {
    chunks: Vec<Chunk>,
}

impl BatchPart {
    /// Returns a whole batch as one part; `None` if it cannot be read.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Self> {
        Some(Self { chunks: decode_batch(encoded, RAW_BYTES_MAX).ok()?.chunks })
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.len()).sum()
    }

    /// Returns the bytes to push and the id that belongs to them.
    pub(crate) fn encode(&self) -> (BatchId, Bytes) {
        let encoded = Bytes::from(encode_batch(&self.chunks()));
        let source = xxh3_128(&encoded).to_be_bytes();
        (BatchId { source, epoch: 1, sequence: 1 }, encoded)
    }

    /// Returns the streams and their entries.
    pub(crate) fn chunks(&self) -> Vec<(&LabelSet, &Entries)> {
        self.chunks.iter().map(|chunk| (&chunk.labels, &chunk.entries)).collect()
    }

    /// Divides the part in two: between its chunks, or a single chunk between its entries. `None`: it is one
    /// entry. Cost: a copy.
    pub(crate) fn split(&self) -> Option<(Self, Self)> {
        if self.chunks.len() > 1 {
            let (first, second) = self.chunks.split_at(self.chunks.len() / 2);
            return Some((Self { chunks: first.to_vec() }, Self { chunks: second.to_vec() }));
        }
        let chunk = self.chunks.first().filter(|chunk| chunk.entries.len() > 1)?;
        let middle = chunk.entries.len() / 2;
        let take = |rows: std::ops::Range<usize>| {
            let mut entries = Entries::new();
            rows.for_each(|row| entries.push_from(&chunk.entries, row));
            Self { chunks: vec![Chunk { labels: chunk.labels.clone(), entries }] }
        };
        Some((take(0..middle), take(middle..chunk.entries.len())))
    }

    /// Adds the entries of another part at the end.
    pub(crate) fn append(&mut self, other: &Self) {
        self.chunks.extend_from_slice(&other.chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_falls_into_single_entries_in_order() {
        let mut entries = Entries::new();
        for ts_ns in 0..3 {
            entries.push(ts_ns, format!("line {ts_ns}").as_bytes(), "info", &LabelSet::default());
        }
        let labels = ["a", "b"].map(|name| LabelSet::from_pairs([("container", name)]));
        let encoded = encode_batch(&[(&labels[0], &entries), (&labels[1], &entries)]);
        let whole = BatchPart::decode(&encoded).unwrap();
        assert_eq!((whole.len(), &whole.encode().1[..]), (6, &encoded[..]));
        let mut parts = vec![whole];
        let mut singles = BatchPart::default();
        let mut ids = Vec::new();
        while let Some(part) = parts.pop() {
            match part.split() {
                Some((first, second)) => parts.extend([second, first]),
                None => {
                    assert_eq!(part.len(), 1);
                    ids.push(part.encode().0);
                    singles.append(&part);
                }
            }
        }
        assert_eq!(singles.len(), 6);
        let lines = |part: &BatchPart| -> Vec<(String, Vec<u8>)> {
            let of = |chunk: &Chunk| {
                (0..chunk.entries.len())
                    .map(|row| (chunk.labels.to_string(), chunk.entries.line(row).to_vec()))
                    .collect::<Vec<_>>()
            };
            part.chunks.iter().flat_map(of).collect()
        };
        assert_eq!(lines(&singles), lines(&BatchPart::decode(&encoded).unwrap()));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "other bytes, another id");
        assert!(BatchPart::decode(b"LYBA").is_none());
    }
}
