//! Round trips of batches and blocks, and decoding of what nobody encoded.
#![allow(clippy::disallowed_methods, reason = "samples are read from the source tree")]

use super::*;
use bytes::Bytes;
use logyard_model::LabelSet;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RAW_BYTES_MAX: usize = 1 << 20;

type Row = (i64, Vec<u8>, String, LabelSet);

fn row() -> impl Strategy<Value = Row> {
    let ts_ns = prop_oneof![
        4 => 0i64..40,
        2 => (0i64..1000).prop_map(|ms| 1_700_000_000_000_000_000 + ms * 1_000_000),
        1 => any::<i64>(),
    ];
    let line = prop_oneof![
        3 => "[a-c\n]{0,12}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let level = prop_oneof![3 => Just(""), 1 => Just("info"), 1 => Just("error")].prop_map(str::to_owned);
    let metadata =
        proptest::collection::vec(("[ab]{1,2}", "[0-9]{0,2}"), 0..3).prop_map(LabelSet::from_pairs);
    (ts_ns, line, level, metadata)
}

fn rows(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec(row(), count)
}

fn entries_of(rows: &[Row]) -> Entries {
    let mut entries = Entries::new();
    rows.iter().for_each(|(ts_ns, line, level, metadata)| entries.push(*ts_ns, line, level, metadata));
    entries
}

fn repeated(rows: &[Row], times: usize) -> Vec<Row> {
    (0..times).flat_map(|_| rows.iter().cloned()).collect()
}

fn rows_of(entries: &Entries) -> Vec<Row> {
    let row = |row: usize| {
        let (line, level) = (entries.line(row).to_vec(), entries.level(row).to_owned());
        (entries.ts_ns()[row], line, level, entries.metadata(row).clone())
    };
    (0..entries.len()).map(row).collect()
}

fn rows_of_block(block: &Block) -> Result<Vec<Row>, Error> {
    let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
    let (levels, metadata) = (block.levels()?, block.metadata()?);
    assert_eq!(block.line_ends()?, lines.ends());
    let row = |row: usize| {
        let line = lines.line(row as u32).to_vec();
        (ts_ns[row], line, levels.value(row).to_owned(), metadata.value(row).clone())
    };
    Ok((0..block.rows() as usize).map(row).collect())
}

fn open(encoded: &EncodedBlock, base_offset: usize) -> Block {
    let mut bytes = vec![0xee; base_offset];
    bytes.extend_from_slice(&encoded.bytes);
    Block::open(Arc::new(encoded.meta.clone()), Arc::new(Bytes::from(bytes)), base_offset as u64)
}

/// A block of several runs, and what it holds.
fn sample_block(all: &[Vec<Row>]) -> (EncodedBlock, Vec<Row>) {
    let (mut builder, mut moved) = (BlockBuilder::new(), BlockBuilder::new());
    let mut expect = Vec::new();
    for (stream_ref, run) in all.iter().enumerate() {
        let mut entries = entries_of(run);
        entries.sort_and_dedupe();
        builder.push_run(stream_ref as u32, &entries, 0..entries.len());
        expect.extend(rows_of(&entries));
        moved.push_entries(stream_ref as u32, entries);
    }
    assert_eq!(builder.rows() as usize, expect.len());
    assert_eq!(builder.raw_bytes(), moved.raw_bytes());
    let (encoded, moved) = (builder.finish(), moved.finish());
    assert!(
        encoded.bytes == moved.bytes && encoded.runs == moved.runs,
        "given away, entries become the same"
    );
    (encoded, expect)
}

pub(crate) fn fuzz_corpus(target: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// As the fuzz target `block`: a description, and the bytes that it describes.
fn decode_any_block(bytes: &[u8]) {
    let Ok((meta, read)) = BlockMeta::decode(bytes) else { return };
    let mut again = Vec::new();
    meta.encode(&mut again);
    assert_eq!(BlockMeta::decode(&again).unwrap().0, meta);
    let block = Block::open(Arc::new(meta), Arc::new(Bytes::copy_from_slice(bytes)), read as u64);
    let rows = block.rows() as usize;
    assert_eq!(block.timestamps().map_or(rows, <[i64]>::len), rows);
    assert_eq!(block.line_ends().map_or(rows, <[u32]>::len), rows);
    let (mut found, mut line) = (Vec::new(), Vec::new());
    if block.rows_with(&Needles::one(memchr::memmem::Finder::new("1")), 0..block.rows(), &mut found).is_ok() {
        assert!(found.is_sorted() && found.last().is_none_or(|&row| row < block.rows()));
    }
    if let Ok(Some(groups)) = block.key_groups(KeyFormat::Json, b"level", 0..block.rows()) {
        assert_eq!(groups.iter().map(|group| group.rows.len()).sum::<usize>(), rows);
    }
    assert_eq!(block.line_into(block.rows(), &mut line).map_or(0, |()| line.len()), 0);
    assert_eq!(block.lines().map_or(rows, Lines::rows), rows);
    assert_eq!(block.levels().map_or(rows, Column::rows), rows);
    assert_eq!(block.metadata().map_or(rows, Column::rows), rows);
}

#[test]
fn the_fuzz_corpus_decodes_or_is_refused() {
    for bytes in fuzz_corpus("chunk") {
        if let Ok(batch) = decode_batch(&bytes, RAW_BYTES_MAX) {
            let chunks: Vec<_> = batch.chunks.iter().map(|chunk| (&chunk.labels, &chunk.entries)).collect();
            assert_eq!(
                decode_batch(&encode_batch(&chunks), RAW_BYTES_MAX).unwrap().chunks.len(),
                chunks.len()
            );
        }
    }
    fuzz_corpus("block").iter().for_each(|bytes| decode_any_block(bytes));
}

fn sample_entries() -> (LabelSet, Entries) {
    let mut entries = Entries::new();
    let metadata = LabelSet::from_pairs([("trace_id", "abc")]);
    for row in 0..3i64 {
        let set = if row == 1 { metadata.clone() } else { LabelSet::default() };
        entries.push(
            1_700_000_000_000_000_000 + row * 1_000_000,
            format!("line {row}").as_bytes(),
            "info",
            &set,
        );
    }
    (LabelSet::from_pairs([("container", "sonarr")]), entries)
}

#[test]
fn samples_of_version_1_are_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let (labels, entries) = sample_entries();
    let batch = decode_batch(&std::fs::read(corpus.join("chunk/version_1")).unwrap(), RAW_BYTES_MAX).unwrap();
    assert_eq!((batch.chunks.len(), &batch.chunks[0].labels), (1, &labels));
    assert_eq!(rows_of(&batch.chunks[0].entries), rows_of(&entries));
    let bytes = std::fs::read(corpus.join("block/version_1")).unwrap();
    let (meta, read) = BlockMeta::decode(&bytes).unwrap();
    let block = Block::open(Arc::new(meta), Arc::new(Bytes::from(bytes)), read as u64);
    assert_eq!(rows_of_block(&block).unwrap(), rows_of(&entries));
}

#[test]
fn large_batches_are_compressed_and_bounded() {
    let (labels, few) = sample_entries();
    let mut many = Entries::new();
    (0..1000).for_each(|_| many.append(&few));
    let bytes = encode_batch(&[(&labels, &many), (&labels, &few)]);
    assert!((bytes.len() as u64) < many.raw_bytes() / 10, "{} bytes", bytes.len());
    let batch = decode_batch(&bytes, RAW_BYTES_MAX).unwrap();
    assert_eq!(rows_of(&batch.chunks[0].entries), rows_of(&many));
    assert_eq!(batch.chunks[0].entries.raw_bytes(), many.raw_bytes());
    let error = decode_batch(&bytes, 1000).unwrap_err();
    assert_eq!(error.kind(), Kind::Limited);
    assert!(error.to_string().ends_with("raw bytes, limit is 1000"), "{error}");
}

#[test]
fn foreign_bytes_are_told_apart_from_damaged_ones() {
    let (labels, entries) = sample_entries();
    let good = encode_batch(&[(&labels, &entries)]);
    let kind = |bytes: &[u8]| decode_batch(bytes, RAW_BYTES_MAX).unwrap_err().kind();
    assert_eq!(kind(b""), Kind::Corrupt);
    assert_eq!(kind(b"{\"streams\":[]}"), Kind::Invalid);
    let mut other = good.clone();
    other[4] = 2;
    assert_eq!(kind(&other), Kind::Invalid);
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    assert_eq!(kind(&flipped), Kind::Corrupt);
    assert_eq!(kind(&good[..good.len() - 1]), Kind::Corrupt);
}

#[test]
fn sections_are_read_only_when_asked_for() {
    #[derive(Debug)]
    struct Counting(Bytes, std::sync::atomic::AtomicU32);
    impl SectionSource for Counting {
        fn read(&self, offset: u64, bytes: u32) -> std::io::Result<Bytes> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            self.0.read(offset, bytes)
        }
    }
    let (_, entries) = sample_entries();
    let mut builder = BlockBuilder::new();
    builder.push_run(7, &entries, 1..3);
    assert_eq!((builder.rows(), builder.raw_bytes()), (2, 12 + 11));
    let encoded = builder.finish();
    let run = RunMeta {
        stream_ref: 7,
        first_row: 0,
        rows: 2,
        min_ns: entries.ts_ns()[1],
        max_ns: entries.ts_ns()[2],
        raw_bytes: 12,
    };
    assert_eq!(encoded.runs, [run]);
    let source = Arc::new(Counting(Bytes::from(encoded.bytes), 0.into()));
    let reads = || source.1.load(std::sync::atomic::Ordering::SeqCst);
    let block = Block::open(Arc::new(encoded.meta), Arc::clone(&source) as _, 0);
    assert_eq!((block.meta().min_ns, reads()), (entries.ts_ns()[1], 0));
    assert_eq!(block.levels().unwrap().constant(), Some(1));
    assert_eq!(block.levels().unwrap().dictionary().len(), 2);
    assert_eq!(reads(), 1);
    assert_eq!(block.line_ends().unwrap(), [6, 13]);
    block.lines().unwrap();
    assert_eq!(reads(), 3);
    assert_eq!(block.metadata().unwrap().code(1), 0);
    assert!(block.heap_bytes() > 0);
}

#[test]
fn columns_of_nothing_take_no_section() {
    let mut entries = Entries::new();
    entries.push(1, b"a", "", &LabelSet::default());
    let mut builder = BlockBuilder::new();
    builder.push_run(0, &entries, 0..1);
    let encoded = builder.finish();
    assert_eq!(encoded.meta.sections.len(), 3);
    let block = open(&encoded, 0);
    assert_eq!(block.metadata().unwrap().dictionary().len(), 1);
    assert_eq!(rows_of_block(&block).unwrap(), rows_of(&entries));
}

#[test]
fn many_values_find_their_codes() {
    let mut entries = Entries::new();
    for row in 0..2000i64 {
        entries.push(row, b"x", "", &LabelSet::from_pairs([("id", (row % 700).to_string())]));
    }
    assert_eq!(entries.metadata_column().dictionary().len(), 701);
    let mut builder = BlockBuilder::new();
    builder.push_run(0, &entries, 0..1000);
    builder.push_run(1, &entries, 500..2000);
    let block = open(&builder.finish(), 3);
    assert_eq!(block.metadata().unwrap().dictionary().len(), 701);
    assert_eq!(rows_of_block(&block).unwrap()[1000..], rows_of(&entries)[500..]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_round_trip(all in proptest::collection::vec(rows(0..30), 0..5), repeat in 1usize..30) {
        let labels = LabelSet::from_pairs([("container", "a"), ("host", "b")]);
        let chunks: Vec<Entries> = all.iter().map(|rows| entries_of(&repeated(rows, repeat))).collect();
        let borrowed: Vec<_> = chunks.iter().map(|entries| (&labels, entries)).collect();
        let batch = decode_batch(&encode_batch(&borrowed), RAW_BYTES_MAX).unwrap();
        prop_assert_eq!(batch.chunks.len(), chunks.len());
        for (chunk, entries) in batch.chunks.iter().zip(&chunks) {
            prop_assert_eq!(&chunk.labels, &labels);
            prop_assert_eq!(rows_of(&chunk.entries), rows_of(entries));
            prop_assert_eq!(chunk.entries.raw_bytes(), entries.raw_bytes());
            prop_assert_eq!(chunk.entries.is_sorted(), entries.is_sorted());
            prop_assert_eq!((chunk.entries.min_ns(), chunk.entries.max_ns()), (entries.min_ns(), entries.max_ns()));
        }
    }

    #[test]
    fn blocks_round_trip(all in proptest::collection::vec(rows(0..60), 0..5), base_offset in 0usize..9) {
        let (encoded, expect) = sample_block(&all);
        let block = open(&encoded, base_offset);
        prop_assert_eq!(&rows_of_block(&block).unwrap(), &expect);
        let mut entries = entries_of(&expect[..expect.len() / 3]);
        entries.append_block_rows(&block, block.rows() / 3..block.rows()).unwrap();
        prop_assert_eq!(rows_of(&entries), expect.clone());
        prop_assert_eq!(entries.raw_bytes(), entries_of(&expect).raw_bytes());
        prop_assert_eq!(entries.is_sorted(), expect.is_sorted_by_key(|row| row.0));
        let mut table = Vec::new();
        encoded.meta.encode(&mut table);
        let bytes = table.len();
        table.push(9);
        prop_assert_eq!(BlockMeta::decode(&table).unwrap(), (encoded.meta.clone(), bytes));
        for run in &encoded.runs {
            let rows = run.first_row as usize..(run.first_row + run.rows) as usize;
            let ts_ns = &block.timestamps().unwrap()[rows.clone()];
            prop_assert_eq!((ts_ns.first(), ts_ns.last()), (Some(&run.min_ns), Some(&run.max_ns)));
            let line_bytes: usize = rows.map(|row| block.lines().unwrap().line_bytes(row as u32)).sum();
            prop_assert_eq!(line_bytes as u64, run.raw_bytes);
        }
    }

    #[test]
    fn decoded_and_encoded_blocks_answer_alike(run in rows(1..60)) {
        let mut entries = entries_of(&run);
        entries.sort_and_dedupe();
        let expect = rows_of(&entries);
        let encoded = sample_block(&[run]).0;
        let block = Block::from_entries(entries);
        prop_assert_eq!(block.meta().raw_bytes, encoded.meta.raw_bytes);
        prop_assert_eq!((block.meta().min_ns, block.meta().max_ns), (encoded.meta.min_ns, encoded.meta.max_ns));
        prop_assert_eq!(rows_of_block(&block).unwrap(), expect);
    }

    #[test]
    fn sorting_equals_a_sort_of_a_list(run in rows(0..60)) {
        let mut expect: Vec<Row> = Vec::new();
        for row in &run {
            if !expect.contains(row) {
                expect.push(row.clone());
            }
        }
        expect.sort_by_key(|row| row.0);
        let mut entries = entries_of(&run);
        let removed = entries.sort_and_dedupe();
        prop_assert_eq!(removed, run.len() - expect.len());
        prop_assert_eq!(rows_of(&entries), expect.clone());
        prop_assert_eq!(entries.raw_bytes(), entries_of(&expect).raw_bytes());
    }

    #[test]
    fn mutated_batches_never_panic(run in rows(0..20), at in any::<usize>(), mask in 1u8.., repeat in 1usize..40, mends in any::<bool>()) {
        let entries = entries_of(&repeated(&run, repeat));
        let mut bytes = encode_batch(&[(&LabelSet::from_pairs([("a", "b")]), &entries)]);
        let content = bytes.len() - 4;
        bytes[at % content] ^= mask;
        if mends {
            // Past the checksum, into the decoder.
            let crc = crc32c::crc32c(&bytes[..content]);
            bytes[content..].copy_from_slice(&crc.to_le_bytes());
        }
        let result = decode_batch(&bytes, RAW_BYTES_MAX);
        prop_assert!(mends || result.is_err());
    }

    #[test]
    fn mutated_blocks_never_panic(all in proptest::collection::vec(rows(1..30), 1..3), at in any::<usize>(), mask in 1u8.., mends in any::<bool>()) {
        let (mut encoded, expect) = sample_block(&all);
        let at = at % encoded.bytes.len();
        encoded.bytes[at] ^= mask;
        if mends {
            for section in &mut encoded.meta.sections {
                let start = section.offset as usize;
                section.crc32c = crc32c::crc32c(&encoded.bytes[start..start + section.bytes as usize]);
            }
        }
        let found = rows_of_block(&open(&encoded, 0));
        prop_assert!(mends || found.is_err());
        if let Ok(found) = found {
            prop_assert_eq!(found.len(), expect.len());
        }
        let mut bytes = Vec::new();
        encoded.meta.encode(&mut bytes);
        bytes.extend_from_slice(&encoded.bytes);
        decode_any_block(&bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_any_block(&bytes);
        let mut batch = b"LYBA\x01\x00".to_vec();
        batch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        batch.extend_from_slice(&bytes);
        batch.extend_from_slice(&crc32c::crc32c(&batch).to_le_bytes());
        if let Ok(batch) = decode_batch(&batch, RAW_BYTES_MAX) {
            prop_assert!(batch.chunks.len() <= bytes.len());
        }
        prop_assert!(decode_batch(&bytes, RAW_BYTES_MAX).is_err());
    }
}
