//! Encoding the values of one column: the cheapest codec by estimate. Bytes: `schemas/block.md`.
//!
//! Codecs are weighed by the entropy of what they would store; only text, whose repeats no count of bytes
//! tells, is compressed for trial, of a long one some parts. Streams of equal bytes are stored once: columns that
//! agree row by row, or name the same things in other words, cost nothing after the first.

use crate::compress::compress_at;
use crate::cursor::{put_len, put_varint, put_zigzag};
use crate::numbers;
use crate::shred_shape::{self, Field};
use std::collections::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// All values are this one.
pub(crate) const COLUMN_CONSTANT: u8 = 0;
/// A dictionary, itself a column, and a code per value.
pub(crate) const COLUMN_DICTIONARY: u8 = 1;
/// Decimal numbers without leading zeros.
pub(crate) const COLUMN_NUMBERS: u8 = 2;
/// Values of one shape: fixed text, and digits at fixed places.
pub(crate) const COLUMN_SHAPE: u8 = 3;
/// Text, each value followed by `\n`.
pub(crate) const COLUMN_TEXT: u8 = 4;
/// Text that may hold `\n`, and lengths.
pub(crate) const COLUMN_SIZED_TEXT: u8 = 5;
/// IPv4 addresses, four bytes each.
pub(crate) const COLUMN_ADDRESSES: u8 = 6;

/// Numbers as they are.
pub(crate) const NUMBERS_DIRECT: u8 = 0;
/// What each number adds to the one before.
pub(crate) const NUMBERS_DELTA: u8 = 1;
/// What each number adds to the entry's timestamp, in units of `TS_UNITS_NS[mode - NUMBERS_FROM_TS]`.
pub(crate) const NUMBERS_FROM_TS: u8 = 2;
/// The units of times in lines: 1 s, 1 ms, 1 µs, 1 ns.
pub(crate) const TS_UNITS_NS: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

/// Most values in a dictionary.
pub(crate) const DICTIONARY_MAX: usize = 1 << 16;
/// After this many values a column that hardly repeats any gets no dictionary.
const DISTINCT_SAMPLE: usize = 2048;
/// Text in which a value comes so often on average is kept in a dictionary, whatever else it could be.
const REPEATS_MIN: usize = 8;
/// Largest number that is kept as one.
pub(crate) const NUMBER_MAX: u64 = 1 << 61;
/// A number this near to the timestamp, in ns, may be a time.
const NEAR_NS: i64 = 86_400_000_000_000;
/// About what a stream costs beside its own bytes.
const STREAM_BITS: u64 = 24;
/// About what the description of numbers costs.
const NUMBERS_BITS: u64 = 24;
/// Smaller texts are not compressed for trial.
const TRIAL_BYTES_MIN: usize = 256;
/// How many parts of a large one are, and how many bytes each.
const TRIAL_PARTS: usize = 4;
const TRIAL_PART_BYTES: usize = 8 << 10;

/// What a stream holds, so that like is compressed with like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Text,
    Codes,
    Symbols,
    Bits,
}

/// The streams of a block's columns.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) all: Vec<(StreamKind, Vec<u8>)>,
    known: HashMap<u128, usize>,
}

impl Streams {
    /// Adds a stream, or finds one of the same bytes, and appends its number to a description: how far back
    /// it lies from where a new one would be.
    fn put(&mut self, kind: StreamKind, bytes: Vec<u8>, out: &mut Vec<u8>) {
        let next = self.all.len();
        let number = *self.known.entry(xxh3_128(&bytes)).or_insert(next);
        put_len(out, next - number);
        if number == next {
            self.all.push((kind, bytes));
        }
    }
}

/// The values of a column with the timestamp of the entry of each; without, none is a time.
pub(crate) struct ColumnValues<'a, 'b> {
    pub(crate) values: &'b [&'a [u8]],
    pub(crate) ts_ns: Option<&'b [i64]>,
}

/// A codec that fits, and about how many bits it would take.
enum Plan<'a> {
    Dictionary { values: Vec<&'a [u8]>, distinct: Option<Box<Plan<'a>>>, codes: Vec<u32> },
    Numbers(NumberPlan),
    Shape(ShapePlan),
    Addresses(Vec<u8>),
    Text(Vec<u8>),
}

/// How to keep numbers: each is the base, what `rest` says, and what the mode adds.
struct NumberPlan {
    cost: u64,
    mode: u8,
    base: i64,
    /// The first number, for deltas.
    first: u64,
    rest: Vec<u64>,
}

struct ShapePlan {
    fields: Vec<Field>,
    /// One for each field that has numbers.
    numbers: Vec<NumberPlan>,
    nibbles: Vec<u8>,
}

/// Appends the description of a column, and its streams to `streams`.
pub(crate) fn encode(column: &ColumnValues<'_, '_>, streams: &mut Streams, out: &mut Vec<u8>) {
    let values = column.values;
    if let Some(first) = values.first()
        && values.iter().all(|value| std::ptr::eq(*value, *first) || value == first)
    {
        out.push(COLUMN_CONSTANT);
        put_len(out, first.len());
        out.extend_from_slice(first);
        return;
    }
    // What it costs to find out what a plan costs is spent only where there is a choice.
    let plan = match (plan_by_value(column), Distinct::find(values)) {
        (None, None) => plan_text(values),
        (by_value, None) => by_value.map(|(_, plan)| plan),
        (None, Some(distinct)) if distinct.values.len() * REPEATS_MIN <= values.len() => {
            Some(distinct.plan(false).1)
        }
        (by_value, Some(distinct)) => {
            let other = by_value.or_else(|| plan_text(values).map(|text| (text_bits(&text), text)));
            let plans = [Some(distinct.plan(true)), other];
            plans.into_iter().flatten().min_by_key(|&(cost, _)| cost).map(|(_, plan)| plan)
        }
    };
    put_plan(values, plan, streams, out);
}

/// Returns the cheapest plan for values that are all of one kind.
fn plan_by_value<'a>(column: &ColumnValues<'a, '_>) -> Option<(u64, Plan<'a>)> {
    let numbers = plan_numbers(column);
    // Numbers have no shape that were smaller, unless their six digits are a time of day.
    let may_be_time = column.values.first().is_some_and(|value| value.len() == 6);
    let plans = match numbers {
        Some(_) if !may_be_time => return numbers,
        _ => [numbers, plan_shape(column), plan_addresses(column.values)],
    };
    plans.into_iter().flatten().min_by_key(|&(cost, _)| cost)
}

/// Appends the description of values kept by a plan, as sized text without one.
fn put_plan(values: &[&[u8]], plan: Option<Plan<'_>>, streams: &mut Streams, out: &mut Vec<u8>) {
    match plan {
        Some(Plan::Dictionary { values: all, distinct, codes }) => {
            out.push(COLUMN_DICTIONARY);
            put_len(out, all.len());
            put_plan(&all, distinct.map(|plan| *plan), streams, out);
            streams.put(StreamKind::Codes, plane(&codes, 0), out);
            if all.len() > 256 {
                streams.put(StreamKind::Codes, plane(&codes, 1), out);
            }
        }
        Some(Plan::Numbers(plan)) => {
            out.push(COLUMN_NUMBERS);
            put_numbers(&plan, streams, out);
        }
        Some(Plan::Shape(plan)) => {
            out.push(COLUMN_SHAPE);
            put_len(out, plan.fields.len());
            plan.fields.iter().for_each(|field| field.put(out));
            plan.numbers.iter().for_each(|numbers| put_numbers(numbers, streams, out));
            if !plan.nibbles.is_empty() {
                streams.put(StreamKind::Bits, plan.nibbles, out);
            }
        }
        Some(Plan::Addresses(bytes)) => {
            out.push(COLUMN_ADDRESSES);
            streams.put(StreamKind::Bits, bytes, out);
        }
        Some(Plan::Text(text)) => {
            out.push(COLUMN_TEXT);
            streams.put(StreamKind::Text, text, out);
        }
        None => {
            out.push(COLUMN_SIZED_TEXT);
            streams.put(StreamKind::Text, values.concat(), out);
            let lengths: Vec<u64> = values.iter().map(|value| value.len() as u64).collect();
            put_numbers(&plan_of_numbers(&lengths, None), streams, out);
        }
    }
}

/// Appends numbers: how to read them, their base, and their streams unless `rest` is all zeros.
fn put_numbers(plan: &NumberPlan, streams: &mut Streams, out: &mut Vec<u8>) {
    let is_constant = plan.rest.iter().all(|&number| number == 0);
    out.push(plan.mode << 1 | u8::from(is_constant));
    put_zigzag(out, plan.base);
    if plan.mode == NUMBERS_DELTA {
        put_varint(out, plan.first);
    }
    if is_constant {
        return;
    }
    let (mut symbols, mut bits) = (Vec::with_capacity(plan.rest.len()), Vec::new());
    numbers::encode(plan.rest.iter().copied(), &mut symbols, &mut bits);
    streams.put(StreamKind::Symbols, symbols, out);
    streams.put(StreamKind::Bits, bits, out);
}

fn plane(codes: &[u32], byte: usize) -> Vec<u8> {
    codes.iter().map(|code| code.to_le_bytes()[byte]).collect()
}

/// The distinct values of a column, in order of first use, and which of them each value is.
struct Distinct<'a> {
    values: Vec<&'a [u8]>,
    codes: Vec<u32>,
}

impl<'a> Distinct<'a> {
    /// Returns nothing if there are too many for a dictionary.
    fn find(values: &[&'a [u8]]) -> Option<Self> {
        if values.len() < 4 {
            return None;
        }
        let distinct_max = DICTIONARY_MAX.min(values.len() / 4 * 3);
        let mut index = Index::new();
        let mut codes = Vec::with_capacity(values.len());
        for &value in values {
            let code = index.code(value);
            let distinct = index.values.len();
            let is_hopeless = codes.len() == DISTINCT_SAMPLE && distinct > DISTINCT_SAMPLE / 16 * 15;
            if distinct > distinct_max || is_hopeless {
                return None;
            }
            codes.push(code);
        }
        Some(Self { values: index.values, codes })
    }

    /// Returns the plan of a dictionary, with what it costs if that is asked for.
    fn plan(self, wants_cost: bool) -> (u64, Plan<'a>) {
        let column = ColumnValues { values: &self.values, ts_ns: None };
        let plan = plan_by_value(&column);
        let bits = plan.as_ref().map(|(bits, _)| *bits);
        let plan = plan.map(|(_, plan)| plan).or_else(|| plan_text(&self.values));
        let mut cost = 0;
        if wants_cost {
            let planes = if self.values.len() > 256 { 2 } else { 1 };
            let codes: u64 = (0..planes).map(|byte| codes_bits(&plane(&self.codes, byte))).sum();
            let values = bits.or_else(|| plan.as_ref().map(text_bits)).unwrap_or(u64::MAX >> 1);
            cost = codes + values + 2 * STREAM_BITS;
            if self.values.len() <= 256 {
                // Worth a little more: a test of the distinct values answers for all rows.
                cost -= cost / 16;
            }
        }
        let distinct = plan.map(Box::new);
        (cost, Plan::Dictionary { values: self.values, distinct, codes: self.codes })
    }
}

/// Estimates what bytes take that may repeat in sequence.
fn codes_bits(codes: &[u8]) -> u64 {
    let entropy = numbers::entropy_bits(&histogram(codes));
    if codes.len() < TRIAL_BYTES_MIN {
        return entropy;
    }
    entropy.min(trial_bytes(codes) * 8)
}

/// Estimates what zstd makes of bytes: of many, by parts of them.
fn trial_bytes(bytes: &[u8]) -> u64 {
    let stride = bytes.len() / TRIAL_PARTS;
    let compressed = |raw: &[u8]| compress_at(1, raw).map_or(raw.len(), |frame| frame.len()) as u64;
    if stride < TRIAL_PART_BYTES * 2 {
        return compressed(bytes);
    }
    let parts = bytes.chunks(stride).take(TRIAL_PARTS);
    let sample: Vec<u8> = parts.flat_map(|part| &part[..TRIAL_PART_BYTES]).copied().collect();
    compressed(&sample) * bytes.len() as u64 / sample.len() as u64
}

/// Joins values that do not hold `\n`.
fn plan_text<'a>(values: &[&[u8]]) -> Option<Plan<'a>> {
    let bytes: usize = values.iter().map(|value| value.len() + 1).sum();
    let mut text = Vec::with_capacity(bytes);
    for value in values {
        if memchr::memchr(b'\n', value).is_some() {
            return None;
        }
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    Some(Plan::Text(text))
}

/// Estimates what text takes, by compressing it.
fn text_bits(plan: &Plan<'_>) -> u64 {
    let Plan::Text(text) = plan else { return u64::MAX >> 1 };
    let bytes = text.len();
    let compressed = if bytes < TRIAL_BYTES_MIN { bytes as u64 * 2 / 3 } else { trial_bytes(text) };
    compressed * 8 + STREAM_BITS
}

fn plan_addresses<'a>(values: &[&'a [u8]]) -> Option<(u64, Plan<'a>)> {
    let mut bytes = vec![0; values.len() * 4];
    let (first, rest) = bytes.split_at_mut(values.len());
    let (second, rest) = rest.split_at_mut(values.len());
    let (third, fourth) = rest.split_at_mut(values.len());
    for (row, value) in values.iter().enumerate() {
        [first[row], second[row], third[row], fourth[row]] = parse_address(value)?;
    }
    let planes = [&first[..], second, third, fourth];
    let cost = planes.iter().map(|plane| numbers::entropy_bits(&histogram(plane))).sum();
    Some((cost, Plan::Addresses(bytes)))
}

fn histogram(bytes: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    counts
}

fn parse_address(value: &[u8]) -> Option<[u8; 4]> {
    let mut bytes = [0; 4];
    let mut parts = value.split(|&byte| byte == b'.');
    for byte in &mut bytes {
        let number = parse_number(parts.next()?)?;
        *byte = u8::try_from(number).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Reads a decimal number that is written as we write it.
pub(crate) fn parse_number(value: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&value.len()) || (value.len() > 1 && value[0] == b'0') {
        return None;
    }
    parse_digits(value).filter(|&number| number <= NUMBER_MAX)
}

/// Reads at most 19 decimal digits.
pub(crate) fn parse_digits(digits: &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(number)
}

fn plan_numbers<'a>(column: &ColumnValues<'a, '_>) -> Option<(u64, Plan<'a>)> {
    let numbers: Option<Vec<u64>> = column.values.iter().map(|value| parse_number(value)).collect();
    let plan = plan_of_numbers(&numbers?, column.ts_ns);
    Some((plan.cost, Plan::Numbers(plan)))
}

fn plan_of_numbers(numbers: &[u64], ts_ns: Option<&[i64]>) -> NumberPlan {
    let signed = numbers.iter().map(|number| number.cast_signed());
    let first = signed.clone().next().unwrap_or(0);
    let deltas = signed.clone().zip(signed.clone().skip(1)).map(|(before, after)| after - before);
    let mut best = weigh(NUMBERS_DIRECT, signed.clone());
    let by_delta = weigh(NUMBERS_DELTA, deltas.clone());
    if by_delta.cost < best.cost {
        best = by_delta;
    }
    let from_ts = |unit: i64| {
        let ts_ns = ts_ns.unwrap_or_default().iter();
        signed.clone().zip(ts_ns).map(move |(number, ts_ns)| number - ts_ns.div_euclid(unit))
    };
    for (&unit, mode) in TS_UNITS_NS.iter().zip(NUMBERS_FROM_TS..) {
        let first_ns = ts_ns.and_then(|ts_ns| ts_ns.first());
        if first_ns.is_some_and(|ts_ns| (ts_ns / unit - first).abs() < NEAR_NS / unit) {
            let found = weigh(mode, from_ts(unit));
            if found.cost < best.cost {
                best = found;
            }
        }
    }
    // Only the best is worked out.
    match best.mode {
        NUMBERS_DIRECT => best.take(signed),
        NUMBERS_DELTA => {
            best.first = first.unsigned_abs();
            best.rest = Vec::with_capacity(numbers.len());
            best.rest.push(0);
            best.take(deltas);
        }
        mode => best.take(from_ts(TS_UNITS_NS[usize::from(mode - NUMBERS_FROM_TS)])),
    }
    best
}

/// Returns a plan without its numbers.
fn weigh(mode: u8, numbers: impl Iterator<Item = i64> + Clone) -> NumberPlan {
    let (least, most) = numbers
        .clone()
        .fold((i64::MAX, i64::MIN), |(least, most), number| (least.min(number), most.max(number)));
    let base = if least > most { 0 } else { least };
    let extra = if least >= most { NUMBERS_BITS } else { NUMBERS_BITS + 2 * STREAM_BITS };
    let rest = numbers.map(|number| number.wrapping_sub(base).cast_unsigned());
    NumberPlan { cost: numbers::cost_bits(rest) + extra, mode, base, first: 0, rest: Vec::new() }
}

impl NumberPlan {
    /// Adds the numbers that the plan is for.
    fn take(&mut self, numbers: impl Iterator<Item = i64>) {
        let base = self.base;
        self.rest.extend(numbers.map(|number| number.wrapping_sub(base).cast_unsigned()));
    }
}

fn with_base(mode: u8, numbers: impl Iterator<Item = i64> + Clone) -> NumberPlan {
    let mut plan = weigh(mode, numbers.clone());
    plan.take(numbers);
    plan
}

fn plan_shape<'a>(column: &ColumnValues<'a, '_>) -> Option<(u64, Plan<'a>)> {
    let found = shred_shape::find(column.values, column.ts_ns)?;
    let mut plan = ShapePlan { fields: Vec::new(), numbers: Vec::new(), nibbles: Vec::new() };
    let mut cost = 0;
    let hex: Vec<_> = found.iter().filter(|(_, field)| matches!(field, Field::Hex { .. })).collect();
    if !hex.is_empty() {
        let mut digits = Vec::with_capacity(
            column.values.len() * hex.iter().map(|(_, field)| field.bytes()).sum::<usize>(),
        );
        for value in column.values {
            for &&(place, ref field) in &hex {
                digits.extend_from_slice(&value[place..place + field.bytes()]);
            }
        }
        plan.nibbles = shred_shape::pack_hex(&digits);
        cost += digits.len() as u64 * 4 + STREAM_BITS;
    }
    for (place, field) in found {
        cost += 16;
        let part = |value: &&'a [u8]| &value[place..place + field.bytes()];
        let parts = column.values.iter().map(part);
        match &field {
            Field::Text(text) => cost += text.len() as u64 * 6,
            Field::Hex { .. } => {}
            Field::Digits(_) => {
                let numbers: Vec<u64> = parts.filter_map(parse_digits).collect();
                plan.numbers.push(plan_of_numbers(&numbers, column.ts_ns));
            }
            Field::Time(form) => {
                let times = parts.filter_map(|part| form.parse(part)).zip(column.ts_ns.unwrap_or_default());
                let differences: Vec<i64> =
                    times.map(|(time, &ts_ns)| form.difference(time, ts_ns)).collect();
                plan.numbers.push(with_base(NUMBERS_DIRECT, differences.iter().copied()));
            }
        }
        plan.fields.push(field);
    }
    cost += plan.numbers.iter().map(|numbers| numbers.cost).sum::<u64>();
    Some((cost, Plan::Shape(plan)))
}

/// Codes by value: a hash table that borrows the values.
///
/// Most values have 16 bytes at most, and their first and last eight tell all of them.
struct Index<'a> {
    values: Vec<&'a [u8]>,
    /// First and last bytes, and the hash, of each value.
    known: Vec<(u64, u64, u32)>,
    /// Code plus one, 0 for none; a power of two of them, half of them empty.
    places: Vec<u32>,
    /// Where values lay that were asked for, and their codes: equal values often lie in one place.
    seen: [(usize, usize, u32); SEEN],
}

/// Places that are remembered, a power of two.
const SEEN: usize = 64;

/// Factors of the hash: any odd numbers with bits all over.
const FRONT_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const BACK_FACTOR: u64 = 0xc2b2_ae3d_27d4_eb4f;

impl<'a> Index<'a> {
    fn new() -> Self {
        let (values, known) = (Vec::new(), Vec::new());
        Self { values, known, places: vec![0; 64], seen: [(0, 0, 0); SEEN] }
    }

    fn code(&mut self, value: &'a [u8]) -> u32 {
        let (start, bytes) = (value.as_ptr().addr(), value.len());
        let spread = (start as u64).wrapping_mul(FRONT_FACTOR) >> 32;
        let index = spread as usize % SEEN;
        if let (known_start, known_bytes, code) = self.seen[index]
            && (known_start, known_bytes) == (start, bytes)
        {
            return code;
        }
        let code = self.code_by_text(value);
        self.seen[index] = (start, bytes, code);
        code
    }

    fn code_by_text(&mut self, value: &'a [u8]) -> u32 {
        let ends = ends(value);
        let hash = hash(ends, value);
        let code_of = |number: usize| u32::try_from(number).expect("far fewer than 2^32 values");
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(number) = (self.places[place] as usize).checked_sub(1) {
            let ((front, back, _), other) = (self.known[number], self.values[number]);
            let may_be_equal = (front, back) == ends && other.len() == value.len();
            if may_be_equal && (value.len() <= 16 || other == value) {
                return code_of(number);
            }
            place = (place + 1) & mask;
        }
        let new = self.values.len();
        self.values.push(value);
        self.known.push((ends.0, ends.1, hash));
        self.places[place] = code_of(new + 1);
        if self.values.len() * 2 > self.places.len() {
            self.grow();
        }
        code_of(new)
    }

    fn grow(&mut self) {
        let mask = self.places.len() * 4 - 1;
        self.places.clear();
        self.places.resize(mask + 1, 0);
        for (number, &(_, _, hash)) in (1..).zip(&self.known) {
            let mut place = hash as usize & mask;
            while self.places[place] != 0 {
                place = (place + 1) & mask;
            }
            self.places[place] = number;
        }
    }
}

/// Returns the first and the last bytes of a value: with its length all of one that has 16 bytes at most.
fn ends(value: &[u8]) -> (u64, u64) {
    if let (Some(front), Some(back)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        return (u64::from_le_bytes(*front), u64::from_le_bytes(*back));
    }
    if let (Some(front), Some(back)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        return (u32::from_le_bytes(*front).into(), u32::from_le_bytes(*back).into());
    }
    match value {
        [] => (0, 0),
        [first, .., last] => (u64::from(*first) | u64::from(value[value.len() / 2]) << 8, u64::from(*last)),
        [one] => (u64::from(*one), 0),
    }
}

fn hash((front, back): (u64, u64), value: &[u8]) -> u32 {
    let product = u128::from(front ^ FRONT_FACTOR) * u128::from(back ^ value.len() as u64 ^ BACK_FACTOR);
    let mut hash = (product >> 64) as u64 ^ product as u64;
    if value.len() > 16 {
        hash ^= xxh3_64(value);
    }
    // The low bits choose the place.
    (hash >> 32) as u32 ^ hash as u32
}
