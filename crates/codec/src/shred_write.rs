//! Encoding the lines of a block as templates and columns. Bytes: `schemas/block.md`.
//!
//! Two passes. The first splits every line and numbers the templates, the second gathers the values of each
//! column, in order of template and row, and encodes them. Memory: eight bytes for each value, for where it lies, with room
//! for some more than there are.

use crate::compress::compress_at;
use crate::cursor::{put_len, put_varint};
use crate::lines::Lines;
use crate::shred_column::{self, ColumnValues, StreamKind, Streams};
use crate::shred_known::{KnownTemplates, Place};
use crate::shred_split::{SlotValue, Split, Splitter};
use crate::shred_trigrams;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Most templates in a block: further lines are kept whole.
pub(crate) const TEMPLATES_MAX: usize = 4096;
/// Most slots in the templates of a block: further lines are kept whole.
pub(crate) const SLOTS_MAX: usize = 16_384;
/// Most values in a block: one with more stays plain.
pub(crate) const VALUES_MAX: usize = 1 << 24;
/// Values of a line that room is made for: more come all the same.
const LINE_VALUES: usize = 16;
/// The column key of lines kept whole.
const WHOLE_KEY: u64 = 0;
/// The column key of values whose own column would hold hardly any.
const RARE_KEY: u64 = 1;
/// Columns of fewer values are one.
const COLUMN_VALUES_MIN: usize = 4;
/// A stream of text this large has a frame of its own, so that a search can leave it alone.
const OWN_TEXT_BYTES_MIN: usize = 16 << 10;
/// Other streams this large have one, since their bytes are distributed like no other's.
const OWN_BYTES_MIN: usize = 1 << 10;

/// The level of zstd for what is no text: hardly anything repeats there that a closer look would find.
const QUICK_LEVEL: i32 = 1;

/// Frames stored as they are.
pub(crate) const FRAME_PLAIN: u8 = 0;
/// Frames of zstd.
pub(crate) const FRAME_ZSTD: u8 = 1;

/// The lines of a block as templates and columns.
pub(crate) struct ShreddedLines {
    /// Templates, columns, streams and frames.
    pub(crate) head: Vec<u8>,
    /// The template of each row.
    pub(crate) rows: Vec<u8>,
    /// The frames, end to end.
    pub(crate) data: Vec<u8>,
    /// What the texts of columns cannot hold.
    pub(crate) trigrams: Vec<u8>,
}

struct Template {
    splitter: Splitter,
    text: Vec<u8>,
    keys: Vec<u64>,
    /// The timestamps of its rows.
    ts_ns: Vec<i64>,
    /// The first value of each of its rows among those of all lines.
    firsts: Vec<u32>,
}

impl Template {
    fn of(split: &Split) -> Self {
        Self {
            splitter: split.splitter,
            text: split.template.clone(),
            keys: split.values.iter().map(|value| value.column_key).collect(),
            ts_ns: Vec::new(),
            firsts: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.ts_ns.len()
    }
}

/// Splits lines and encodes their parts; `None` if there are too many.
///
/// `ts_ns` are the timestamps of the rows: times inside lines are kept as what they add to them.
pub(crate) fn encode(lines: &Lines, ts_ns: &[i64], level: i32) -> Option<ShreddedLines> {
    let split = SplitLines::new(lines, ts_ns)?;
    let mut column_keys = HashMap::new();
    let mut column_slots: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut head = Vec::new();
    put_len(&mut head, split.templates.len());
    for template in &split.templates {
        head.push(template.splitter as u8);
        put_len(&mut head, template.text.len());
        head.extend_from_slice(&template.text);
    }
    for (number, template) in split.templates.iter().enumerate() {
        for (slot, key) in template.keys.iter().enumerate() {
            let is_rare = split.value_counts[key] < COLUMN_VALUES_MIN && *key != WHOLE_KEY;
            let column = *column_keys.entry(if is_rare { RARE_KEY } else { *key }).or_insert_with(|| {
                column_slots.push(Vec::new());
                column_slots.len() - 1
            });
            column_slots[column].push((number, slot));
            put_len(&mut head, column);
        }
    }
    let mut streams = Streams::default();
    let (mut values, mut values_ts_ns) = (Vec::new(), Vec::new());
    put_len(&mut head, column_slots.len());
    for slots in &column_slots {
        values.clear();
        values_ts_ns.clear();
        for &(number, slot) in slots {
            let template = &split.templates[number];
            let place = |first: &u32| split.places[*first as usize + slot];
            values.extend(template.firsts.iter().map(|first| place(first).of(lines.text())));
            values_ts_ns.extend_from_slice(&template.ts_ns);
        }
        let column = ColumnValues { values: &values, ts_ns: Some(&values_ts_ns) };
        shred_column::encode(&column, &mut streams, &mut head);
    }
    let data = put_frames(&streams, level, &mut head);
    let rows = split.encode_rows();
    let texts = (0u32..).zip(&streams.all).filter(|(_, (kind, _))| *kind == StreamKind::Text);
    let trigrams = shred_trigrams::encode(texts.map(|(number, (_, text))| (number, text.as_slice())));
    Some(ShreddedLines { head, rows, data, trigrams })
}

/// All lines, split.
struct SplitLines {
    /// Most frequent first.
    templates: Vec<Template>,
    template_of: Vec<u32>,
    /// Where the values lie in the text of all lines, row by row.
    places: Vec<Place>,
    value_counts: HashMap<u64, usize>,
}

impl SplitLines {
    fn new(lines: &Lines, ts_ns: &[i64]) -> Option<Self> {
        let rows = u32::try_from(lines.rows()).ok()?;
        let mut found: HashMap<u64, usize> = HashMap::new();
        let mut all = Self {
            templates: Vec::new(),
            template_of: Vec::with_capacity(lines.rows()),
            places: Vec::with_capacity(lines.rows().saturating_mul(LINE_VALUES).min(VALUES_MAX)),
            value_counts: HashMap::new(),
        };
        let (mut split, mut known) = (Split::default(), KnownTemplates::default());
        let (mut slots, mut whole, mut start) = (0, None, 0);
        for (row, &ts_ns) in (0..rows).zip(ts_ns) {
            let line = lines.line(row);
            let range = start as usize..start as usize + line.len();
            // At most VALUES_MAX and those of one line.
            let first = u32::try_from(all.places.len()).expect("values are counted in 32 bits");
            let number = match known.follow(lines.text(), &range, &mut all.places) {
                Some(number) => number,
                None => {
                    split.split(line);
                    let number = match found.entry(split.key()) {
                        Entry::Occupied(known) if split.is_of(&all.templates[*known.get()]) => *known.get(),
                        Entry::Vacant(place)
                            if all.templates.len() < TEMPLATES_MAX - 1
                                && slots + split.values.len() < SLOTS_MAX =>
                        {
                            slots += split.values.len();
                            all.templates.push(Template::of(&split));
                            *place.insert(all.templates.len() - 1)
                        }
                        // Too many templates, or two whose keys collide.
                        _ => {
                            split.keep_whole(line);
                            *whole.get_or_insert_with(|| {
                                all.templates.push(Template::of(&split));
                                all.templates.len() - 1
                            })
                        }
                    };
                    known.learn(&split, lines.text(), &range, number);
                    let place = |value: &SlotValue| Place { start: start + value.start, bytes: value.bytes };
                    all.places.extend(split.values.iter().map(place));
                    number
                }
            };
            let template = &mut all.templates[number];
            template.ts_ns.push(ts_ns);
            template.firsts.push(first);
            all.template_of.push(u32::try_from(number).expect("templates are at most TEMPLATES_MAX"));
            start = lines.ends()[row as usize] + 1;
            if all.places.len() > VALUES_MAX {
                return None;
            }
        }
        all.sort_templates();
        for template in &all.templates {
            for &key in &template.keys {
                *all.value_counts.entry(key).or_default() += template.rows();
            }
        }
        Some(all)
    }

    /// Puts the most frequent templates first, so that most of the numbers are small.
    fn sort_templates(&mut self) {
        let mut order: Vec<usize> = (0..self.templates.len()).collect();
        order.sort_by_key(|&number| std::cmp::Reverse(self.templates[number].rows()));
        let mut number_of = vec![0; order.len()];
        for (new, &old) in (0u32..).zip(&order) {
            number_of[old] = new;
        }
        self.template_of.iter_mut().for_each(|number| *number = number_of[*number as usize]);
        let mut old: Vec<Option<Template>> =
            std::mem::take(&mut self.templates).into_iter().map(Some).collect();
        self.templates = order.iter().filter_map(|&number| old[number].take()).collect();
    }

    /// Returns the template of each row: all low bytes, then all high ones if there are so many templates.
    fn encode_rows(&self) -> Vec<u8> {
        let planes = match self.templates.len() {
            0 | 1 => 0,
            2..=256 => 1,
            _ => 2,
        };
        (0..planes)
            .flat_map(|byte| self.template_of.iter().map(move |number| number.to_le_bytes()[byte]))
            .collect()
    }
}

impl Split {
    /// Returns what tells templates apart: text, splitter, and the columns of the slots.
    fn key(&self) -> u64 {
        let columns = self.values.iter().fold(self.splitter as u64, |key, value| {
            (key.rotate_left(5) ^ value.column_key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        xxh3_64_with_seed(&self.template, columns)
    }

    fn is_of(&self, template: &Template) -> bool {
        let keys = self.values.iter().map(|value| value.column_key);
        self.splitter == template.splitter
            && self.template == template.text
            && keys.eq(template.keys.iter().copied())
    }
}

/// Compresses streams, appends the tables of streams and frames, and returns the frames.
fn put_frames(streams: &Streams, level: i32, head: &mut Vec<u8>) -> Vec<u8> {
    let (mut frames, mut levels): (Vec<Vec<u8>>, Vec<i32>) = (Vec::new(), Vec::new());
    let mut shared: [Option<usize>; 4] = [None; 4];
    put_len(head, streams.all.len());
    for (kind, bytes) in &streams.all {
        let own_min = if *kind == StreamKind::Text { OWN_TEXT_BYTES_MIN } else { OWN_BYTES_MIN };
        let frame = if bytes.len() >= own_min {
            frames.push(bytes.clone());
            frames.len() - 1
        } else {
            let frame = *shared[*kind as usize].get_or_insert_with(|| {
                frames.push(Vec::new());
                frames.len() - 1
            });
            frames[frame].extend_from_slice(bytes);
            frame
        };
        levels.resize(frames.len(), QUICK_LEVEL);
        if *kind == StreamKind::Text {
            levels[frame] = level;
        }
        put_len(head, frame);
        put_len(head, bytes.len());
    }
    let mut data = Vec::new();
    put_len(head, frames.len());
    for (raw, &level) in frames.iter().zip(&levels) {
        let compressed = compress_at(level, raw).filter(|frame| frame.len() < raw.len() - raw.len() / 64);
        let (codec, stored) = match &compressed {
            Some(frame) => (FRAME_ZSTD, frame),
            None => (FRAME_PLAIN, raw),
        };
        head.push(codec);
        put_len(head, stored.len());
        put_varint(head, raw.len() as u64);
        head.extend_from_slice(&crc32c::crc32c(stored).to_le_bytes());
        data.extend_from_slice(stored);
    }
    data
}
