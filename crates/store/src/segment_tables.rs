//! The tables in a segment's index area: streams, runs, blocks. Format: `schemas/segment.md`.
//!
//! Writers and readers lie side by side here. Readers check every reference from one table into another, so
//! that whoever uses the tables can index with them.

use crate::bytes_reader::{BytesReader, put_text, put_varint};
use crate::error::Result;
use crate::segment_format::{SECTION_BLOCKS, SECTION_RUNS, SECTION_STREAMS, Toc};
use logyard_codec::{BlockMeta, RunMeta};
use logyard_model::{LabelSet, Stream, StreamId};
use std::collections::HashMap;
use std::sync::Arc;

/// A run and the number of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub(crate) block: u32,
    pub(crate) run: RunMeta,
}

/// A block, where it starts in the file, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct BlockRow {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) meta: Arc<BlockMeta>,
}

/// The required tables of a segment, checked against each other.
#[derive(Debug)]
pub(crate) struct SegmentTables {
    /// Index = ref.
    pub(crate) streams: Vec<Stream>,
    /// By block, then row; hence by stream ref.
    pub(crate) runs: Vec<RunRow>,
    pub(crate) blocks: Vec<BlockRow>,
}

/// Most bytes of all labels of a segment's streams, each stream's counted. In the table a text stands once however
/// many streams have it, so a small table could ask for any amount of memory. A flush holds all of these labels in
/// memory together with the head, and never comes near.
const LABEL_BYTES_MAX: usize = 512 << 20;

impl SegmentTables {
    /// Decodes the tables from the last bytes of a segment file. Never panics.
    pub(crate) fn decode(toc: &Toc, tail: &[u8], file_bytes: u64) -> Result<Self> {
        let streams = decode_streams(toc.section(SECTION_STREAMS, tail, file_bytes)?)?;
        let blocks = decode_blocks(toc.section(SECTION_BLOCKS, tail, file_bytes)?, toc.index_start())?;
        let runs = decode_runs(toc.section(SECTION_RUNS, tail, file_bytes)?, streams.len(), &blocks)?;
        let rows: u64 = runs.iter().map(|row| u64::from(row.run.rows)).sum();
        if rows != toc.totals.rows {
            let reader = BytesReader::new(&[], "segment runs");
            return Err(reader.bad(format!("hold {rows} rows, want {}", toc.totals.rows)));
        }
        Ok(Self { streams, runs, blocks })
    }
}

/// Encodes streams in the order of their refs: a dictionary of texts, then per stream its id and labels.
pub(crate) fn encode_streams(streams: &[Arc<Stream>]) -> Vec<u8> {
    let mut texts: Vec<&str> = Vec::new();
    let mut codes: HashMap<&str, u64> = HashMap::new();
    let mut rows = Vec::new();
    for stream in streams {
        rows.extend_from_slice(&stream.id.0.to_le_bytes());
        put_varint(&mut rows, stream.labels.len() as u64);
        for text in stream.labels.iter().flat_map(|(name, value)| [name, value]) {
            let code = *codes.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() as u64 - 1
            });
            put_varint(&mut rows, code);
        }
    }
    let mut bytes = Vec::with_capacity(rows.len() + texts.iter().map(|text| text.len() + 2).sum::<usize>());
    put_varint(&mut bytes, texts.len() as u64);
    for text in texts {
        put_text(&mut bytes, text);
    }
    put_varint(&mut bytes, streams.len() as u64);
    bytes.append(&mut rows);
    bytes
}

/// Decodes streams; index = ref.
pub(crate) fn decode_streams(bytes: &[u8]) -> Result<Vec<Stream>> {
    let mut reader = BytesReader::new(bytes, "segment streams");
    let text_count = reader.count(1)?;
    let mut texts = Vec::with_capacity(text_count);
    for _ in 0..text_count {
        texts.push(reader.text()?);
    }
    let count = reader.count(17)?;
    let mut streams = Vec::with_capacity(count);
    let mut label_bytes = 0_usize;
    for _ in 0..count {
        let id = StreamId(u128::from_le_bytes(reader.array()?));
        let labels = reader.count(2)?;
        let mut text = || {
            let code = reader.varint()?;
            let text = usize::try_from(code).ok().and_then(|code| texts.get(code)).copied();
            let text =
                text.ok_or_else(|| reader.bad(format!("text {code} of {} does not exist", texts.len())))?;
            label_bytes += text.len();
            if label_bytes > LABEL_BYTES_MAX {
                return Err(reader.bad(format!("labels take more than {LABEL_BYTES_MAX} bytes")));
            }
            Ok(text)
        };
        let mut pairs = Vec::with_capacity(labels);
        for _ in 0..labels {
            pairs.push((text()?.into(), text()?.into()));
        }
        let labels = LabelSet::new(pairs).map_err(|error| reader.bad(error))?;
        streams.push(Stream { id, labels: Arc::new(labels) });
    }
    reader.finish()?;
    Ok(streams)
}

/// Encodes runs, which are sorted by block, then first row; hence by stream ref too.
pub(crate) fn encode_runs(runs: &[RunRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * 16);
    put_varint(&mut bytes, runs.len() as u64);
    let (mut block, mut stream_ref, mut min_ns) = (0, 0, 0_i64);
    for row in runs {
        let run = &row.run;
        assert!(run.max_ns >= run.min_ns && run.rows > 0, "a run holds entries in order of time");
        put_varint(&mut bytes, u64::from(row.block - block));
        put_varint(&mut bytes, u64::from(run.stream_ref - stream_ref));
        put_varint(&mut bytes, u64::from(run.first_row));
        put_varint(&mut bytes, u64::from(run.rows));
        put_varint(&mut bytes, zigzag(run.min_ns.wrapping_sub(min_ns)));
        put_varint(&mut bytes, run.max_ns.wrapping_sub(run.min_ns) as u64);
        put_varint(&mut bytes, run.raw_bytes);
        (block, stream_ref, min_ns) = (row.block, run.stream_ref, run.min_ns);
    }
    bytes
}

/// Decodes runs and checks them against the other tables.
pub(crate) fn decode_runs(bytes: &[u8], streams: usize, blocks: &[BlockRow]) -> Result<Vec<RunRow>> {
    let mut reader = BytesReader::new(bytes, "segment runs");
    let count = reader.count(7)?;
    let mut runs = Vec::with_capacity(count);
    let (mut block, mut stream_ref, mut min_ns) = (0_u32, 0_u32, 0_i64);
    // First row of the block that no run has yet.
    let mut free_row = 0;
    for index in 0..count {
        let blocks_further = reader.varint_u32()?;
        if blocks_further > 0 {
            free_row = 0;
        }
        block = block.saturating_add(blocks_further);
        stream_ref = stream_ref.saturating_add(reader.varint_u32()?);
        let (first_row, rows) = (reader.varint_u32()?, reader.varint_u32()?);
        min_ns = min_ns.wrapping_add(unzigzag(reader.varint()?));
        let max_ns = min_ns.wrapping_add(reader.varint()? as i64);
        let raw_bytes = reader.varint()?;
        let run = RunMeta { stream_ref, first_row, rows, min_ns, max_ns, raw_bytes };
        let fits = |row: &BlockRow| first_row.checked_add(rows).is_some_and(|end| end <= row.meta.rows);
        let in_block = blocks.get(block as usize).is_some_and(fits);
        if !in_block || first_row < free_row || stream_ref as usize >= streams || max_ns < min_ns || rows == 0
        {
            return Err(reader.bad(format!("run {index} does not fit its block or stream")));
        }
        free_row = first_row + rows;
        runs.push(RunRow { block, run });
    }
    reader.finish()?;
    Ok(runs)
}

/// Encodes blocks in the order in which they lie in the file.
pub(crate) fn encode_blocks(blocks: &[BlockRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * 64);
    put_varint(&mut bytes, blocks.len() as u64);
    for row in blocks {
        put_varint(&mut bytes, row.offset);
        put_varint(&mut bytes, u64::from(row.bytes));
        let mut meta = Vec::new();
        row.meta.encode(&mut meta);
        put_varint(&mut bytes, meta.len() as u64);
        bytes.append(&mut meta);
    }
    bytes
}

/// Decodes blocks and checks that they lie in front of `index_start`.
pub(crate) fn decode_blocks(bytes: &[u8], index_start: u64) -> Result<Vec<BlockRow>> {
    let mut reader = BytesReader::new(bytes, "segment blocks");
    let count = reader.count(8)?;
    let mut blocks = Vec::with_capacity(count);
    for index in 0..count {
        let (offset, block_bytes) = (reader.varint()?, reader.varint_u32()?);
        let meta_bytes = reader.count(1)?;
        let meta = reader.take(meta_bytes)?;
        let (meta, taken) =
            BlockMeta::decode(meta).map_err(|error| reader.bad(format!("block {index}: {error}")))?;
        let inside = |end: u64, bound: u64| end <= bound;
        let sections_fit = meta.sections.iter().all(|section| {
            inside(u64::from(section.offset) + u64::from(section.bytes), u64::from(block_bytes))
        });
        let fits = offset.checked_add(u64::from(block_bytes)).is_some_and(|end| inside(end, index_start));
        if taken != meta_bytes || !fits || !sections_fit {
            return Err(reader.bad(format!("block {index} does not fit the file")));
        }
        blocks.push(BlockRow { offset, bytes: block_bytes, meta: Arc::new(meta) });
    }
    reader.finish()?;
    Ok(blocks)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_model::Tenant;

    #[test]
    fn streams_come_back() {
        let tenant = Tenant::single();
        let stream = |pairs: &[(&str, &str)]| {
            Arc::new(Stream::new(&tenant, LabelSet::from_pairs(pairs.iter().copied())))
        };
        let streams = vec![stream(&[]), stream(&[("a", "1"), ("b", "a")]), stream(&[("a", "2")])];
        let bytes = encode_streams(&streams);
        let back: Vec<_> = decode_streams(&bytes).unwrap().into_iter().map(Arc::new).collect();
        assert_eq!(back, streams);
        for end in 0..bytes.len() {
            assert!(decode_streams(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn runs_come_back_and_must_fit_their_blocks() {
        let meta = BlockMeta { rows: 10, raw_bytes: 0, min_ns: 0, max_ns: 0, sections: Vec::new() };
        let block = |offset| BlockRow { offset, bytes: 0, meta: Arc::new(meta.clone()) };
        let blocks = [block(0), block(0)];
        let run = |block, stream_ref, first_row, rows, min_ns, max_ns| RunRow {
            block,
            run: RunMeta { stream_ref, first_row, rows, min_ns, max_ns, raw_bytes: 7 },
        };
        let runs = vec![run(0, 0, 0, 4, 5, 9), run(0, 1, 4, 6, i64::MIN, i64::MAX), run(1, 1, 0, 10, 3, 3)];
        let bytes = encode_runs(&runs);
        assert_eq!(decode_runs(&bytes, 2, &blocks).unwrap(), runs);
        assert!(decode_runs(&bytes, 1, &blocks).is_err());
        assert!(decode_runs(&bytes, 2, &blocks[..1]).is_err());
        assert!(decode_runs(&encode_runs(&[run(0, 0, 5, 6, 0, 0)]), 1, &blocks).is_err());
        let twice = encode_runs(&[run(0, 0, 0, 4, 0, 0), run(0, 1, 3, 2, 0, 0)]);
        assert!(decode_runs(&twice, 2, &blocks).is_err(), "rows belong to one run");
    }

    #[test]
    fn shared_texts_cannot_fill_the_memory() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, 2);
        put_text(&mut bytes, "a");
        put_text(&mut bytes, &"x".repeat(8 << 20));
        put_varint(&mut bytes, 70);
        for id in 0..70_u128 {
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&[1, 0, 1]);
        }
        let error = decode_streams(&bytes).unwrap_err();
        assert!(error.to_string().contains("labels take more than"), "{error}");
    }
}
