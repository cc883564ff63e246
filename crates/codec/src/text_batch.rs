//! A batch whose lines lie in a text that its sender has packed: nothing is compressed here. Bytes: `schemas/wal.md`.
//!
//! The text is kept as it came, whatever else it holds; a table beside it says where in it the lines are, and all the
//! rest. So a push costs its log no compression, and takes about what its sender has sent.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::batch::{Batch, Chunk, get_times, put_times};
use crate::column::Column;
use crate::cursor::{Cursor, put_label_set, put_len, put_zigzag};
use crate::entries::Entries;
use crate::error::Error;
use crate::lines::Lines;
use logyard_model::LabelSet;

const WHAT: &str = "table of a packed text";

/// The entries of one stream whose lines lie in a text.
#[derive(Clone, Copy, Debug)]
pub struct TextChunk<'a> {
    /// The labels of the stream.
    pub labels: &'a LabelSet,
    /// The entries.
    pub entries: &'a Entries,
    /// Where in the text the line of each entry starts.
    pub starts: &'a [u32],
}

/// Encodes the table of a text that holds the lines of chunks. No two lines share bytes of it.
///
/// Cost: some ten bytes an entry, and its metadata. Panics: if there are not as many starts as entries. Source:
/// `schemas/wal.md`.
pub fn encode_text_table(chunks: &[TextChunk<'_>]) -> Vec<u8> {
    let rows: usize = chunks.iter().map(|chunk| chunk.starts.len()).sum();
    let mut table = Vec::with_capacity(rows * 10 + chunks.len() * 128);
    put_len(&mut table, chunks.len());
    let mut before = 0;
    for TextChunk { labels, entries, starts } in chunks {
        assert!(starts.len() == entries.len(), "a start for each entry");
        put_label_set(&mut table, labels);
        put_times(&mut table, entries.ts_ns());
        entries.lines().encode_lengths(&mut table);
        for (row, start) in (0..).zip(*starts) {
            let start = i64::from(*start);
            put_zigzag(&mut table, start - before);
            before = start + entries.lines().line_bytes(row) as i64;
        }
        entries.levels().encode(&mut table);
        entries.metadata_column().encode(&mut table);
    }
    table
}

/// Decodes a table, which may be hostile, and takes the lines out of the text.
///
/// Memory stays within a small multiple of both. Errors: `Corrupt`. Panics: never. Source: `schemas/wal.md`.
pub fn decode_text_table(table: &[u8], text: &[u8]) -> Result<Batch, Error> {
    let mut cursor = Cursor::new(WHAT, table);
    let count = cursor.count()?;
    let mut chunks = Vec::new();
    let mut place = Place { text, before: 0, left: text.len() };
    for _ in 0..count {
        let labels = cursor.label_set()?;
        let entries = get_entries(&mut cursor, &mut place)?;
        chunks.push(Chunk { labels, entries });
    }
    cursor.finish()?;
    Ok(Batch { chunks })
}

/// How far the text is read.
struct Place<'a> {
    text: &'a [u8],
    /// Where the line before ends.
    before: i64,
    /// Bytes that lines may still take: as many as the text has, as no two share any. Else a table of a few bytes
    /// would ask for the whole text again and again.
    left: usize,
}

fn get_entries(cursor: &mut Cursor<'_>, place: &mut Place<'_>) -> Result<Entries, Error> {
    let ts_ns = get_times(cursor)?;
    let rows = ts_ns.len();
    let ends = Lines::decode_ends(cursor, rows)?;
    // With a byte behind each line.
    let bytes = ends.last().map_or(0, |&end| end as usize + 1);
    let left = place.left.checked_sub(bytes.saturating_sub(rows));
    place.left = left.ok_or_else(|| cursor.corrupt("its lines are longer than the text"))?;
    let mut lines = Lines::with_capacity(bytes, rows);
    let mut start = 0;
    for end in ends {
        let length = end - start;
        let from = place.before.saturating_add(cursor.zigzag()?);
        let to = from.saturating_add(i64::from(length));
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let line = range.and_then(|(from, to)| place.text.get(from..to));
        lines.push(line.ok_or_else(|| cursor.corrupt(format!("no line at {from} to {to} of the text")))?);
        place.before = to;
        start = end + 1;
    }
    let levels = Column::decode(cursor, rows)?.make_canonical();
    let metadata = Column::decode(cursor, rows)?.make_canonical();
    Ok(Entries::from_columns(ts_ns, lines, levels, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(lines: &[(&[u8], &str)]) -> Entries {
        let mut entries = Entries::new();
        for (number, (line, level)) in (5_i64..).zip(lines) {
            entries.push(
                number * 1_000_000_007,
                line,
                level,
                &LabelSet::from_pairs([("n", number.to_string())]),
            );
        }
        entries
    }

    fn shown(batch: &Batch) -> String {
        let row = |entries: &Entries, row: usize| {
            let line = entries.line(row).escape_ascii().to_string();
            format!(
                "{} {line} {} {}",
                entries.ts_ns().get(row).unwrap(),
                entries.level(row),
                entries.metadata(row)
            )
        };
        let chunk = |chunk: &Chunk| {
            let rows: Vec<String> = (0..chunk.entries.len()).map(|at| row(&chunk.entries, at)).collect();
            format!("{} {rows:?}", chunk.labels)
        };
        batch.chunks.iter().map(chunk).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn lines_come_back_from_wherever_they_lie() {
        let text = b"--second-first\n-third--";
        let labels = [LabelSet::from_pairs([("a", "b")]), LabelSet::from_pairs([("c", "d")])];
        let both =
            [entries(&[(b"first\n", "info"), (b"", ""), (b"second", "warn")]), entries(&[(b"third", "")])];
        let starts: [&[u32]; 2] = [&[9, 0, 2], &[16]];
        let chunks: Vec<TextChunk<'_>> = labels
            .iter()
            .zip(&both)
            .zip(starts)
            .map(|((labels, entries), starts)| TextChunk { labels, entries, starts })
            .collect();
        let table = encode_text_table(&chunks);
        let batch = decode_text_table(&table, text).unwrap();
        let of =
            |chunk: &TextChunk<'_>| Chunk { labels: chunk.labels.clone(), entries: chunk.entries.clone() };
        assert_eq!(shown(&batch), shown(&Batch { chunks: chunks.iter().map(of).collect() }));
        for end in 0..table.len() {
            assert!(decode_text_table(table.get(..end).unwrap(), text).is_err(), "cut at {end}");
        }
        for end in 0..21 {
            assert!(decode_text_table(&table, text.get(..end).unwrap()).is_err(), "text cut at {end}");
        }
    }

    #[test]
    fn lines_that_share_bytes_are_refused_before_they_take_memory() {
        let entries = entries(&[(b"line", ""), (b"line", "")]);
        let labels = LabelSet::default();
        let table = encode_text_table(&[TextChunk { labels: &labels, entries: &entries, starts: &[1, 1] }]);
        let error = decode_text_table(&table, b"-line-").unwrap_err();
        assert!(error.to_string().contains("longer than the text"), "{error}");
        assert!(decode_text_table(&table, b"-line---").is_ok(), "as many bytes as the lines have");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(table in proptest::collection::vec(any::<u8>(), 0..80), text in "[a-z]{0,40}") {
            drop(decode_text_table(&table, text.as_bytes()));
        }
    }
}
