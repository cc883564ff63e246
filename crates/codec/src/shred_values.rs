//! The decoded values of one column: single values, and the search of all of them.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::Cursor;
use crate::error::Error;
use crate::lines::Lines;
use crate::needles::{LetterCase, Needles};
use crate::numbers;
use crate::shred_column::{NUMBERS_DELTA, NUMBERS_DIRECT, NUMBERS_FROM_TS, TS_UNITS_NS};
use crate::shred_head::{ColumnForm, NumbersForm};
use crate::shred_render::{Pen, append};
use crate::shred_search::Edge;
use crate::shred_shape::{Field, TimeForm};

const WHAT: &str = "values";
/// Values written out at a time to be searched: some 64 KiB, which stay in the cache.
const SEARCH_VALUES: u32 = 4096;
const TEXT_PART_BYTES: usize = 16;
/// The longest number or address.
const NUMBER_BYTES_MAX: usize = 20;

/// The values of a column.
#[derive(Debug)]
pub(crate) enum Values {
    Constant(Vec<u8>),
    Dictionary(Dictionary),
    Numbers(Numbers),
    Shape(Shape),
    /// All first bytes, all second ones, and so on.
    Addresses(Vec<u8>),
    Text(Lines),
}

/// Distinct values and a code per row.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) values: Lines,
    low: Vec<u8>,
    /// Empty if there are 256 values at most.
    high: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Numbers {
    Each(Vec<u64>),
    Constant(u64),
}

#[derive(Debug)]
pub(crate) struct Shape {
    parts: Vec<Part>,
    nibbles: Vec<u8>,
    nibbles_per_value: usize,
    bytes: usize,
}

/// A field of a shape with what fills it.
#[derive(Debug)]
enum Part {
    /// The first so many bytes; longer texts are several parts.
    Text([u8; TEXT_PART_BYTES], usize),
    /// So many hexadecimal digits from a place among those of a value.
    Hex {
        place: usize,
        digits: usize,
        is_upper: bool,
    },
    Digits(usize, Numbers),
    Time(TimeForm, Numbers),
}

/// Where a column gets its parts from.
pub(crate) trait Parts {
    /// Returns the bytes of a stream.
    fn stream(&self, number: u32) -> Result<Vec<u8>, Error>;
    /// Returns the timestamp of the entry of each value.
    fn ts_ns(&self) -> Result<Vec<i64>, Error>;
}

impl Values {
    /// Decodes `count` values, a number that the caller has bounded.
    pub(crate) fn decode(form: &ColumnForm, count: usize, parts: &dyn Parts) -> Result<Self, Error> {
        Ok(match form {
            ColumnForm::Constant(text) => Self::Constant(text.clone()),
            ColumnForm::Dictionary { count: distinct, values, low, high } => {
                let distinct_values = Self::decode(values, *distinct, parts)?.into_lines(*distinct)?;
                let dictionary = Dictionary {
                    values: distinct_values,
                    low: parts.stream(*low)?,
                    high: high.map_or(Ok(Vec::new()), |high| parts.stream(high))?,
                };
                dictionary.check(count, *distinct)?;
                Self::Dictionary(dictionary)
            }
            ColumnForm::Numbers(form) => Self::Numbers(Numbers::decode(form, count, parts)?),
            ColumnForm::Shape { fields, numbers, nibbles } => {
                Self::Shape(Shape::decode(fields, numbers, *nibbles, count, parts)?)
            }
            ColumnForm::Addresses(stream) => {
                let bytes = parts.stream(*stream)?;
                want("bytes of addresses", count * 4, bytes.len())?;
                Self::Addresses(bytes)
            }
            ColumnForm::Text(stream) => Self::Text(Lines::from_separated(parts.stream(*stream)?, count)?),
            ColumnForm::SizedText(stream, lengths) => {
                let lengths = Numbers::decode(lengths, count, parts)?;
                Self::Text(Lines::from_lengths(
                    &parts.stream(*stream)?,
                    (0..count).map(|at| lengths.get(at)),
                )?)
            }
        })
    }

    /// Appends a value. Appends nothing if there is none of that number.
    pub(crate) fn render(&self, index: u32, out: &mut Vec<u8>) {
        append(out, self.bytes(index), |pen| self.write(index, pen));
    }

    /// Writes a value, as [`Values::render`] appends it.
    #[inline(always)]
    pub(crate) fn write(&self, index: u32, pen: &mut Pen<'_>) {
        match self {
            Self::Text(lines) => lines.write(index, pen),
            Self::Dictionary(dictionary) => dictionary.values.write(dictionary.code(index), pen),
            Self::Numbers(numbers) => pen.number(numbers.get(index as usize)),
            Self::Shape(shape) => shape.write(index as usize, pen),
            Self::Constant(text) => pen.text(text),
            Self::Addresses(bytes) => {
                let [first, second, third, fourth] = address(bytes, index as usize);
                pen.number(u64::from(first));
                for byte in [second, third, fourth] {
                    pen.front(b".", 1);
                    pen.number(u64::from(byte));
                }
            }
        }
    }

    /// Returns how many bytes a value has.
    pub(crate) fn bytes(&self, index: u32) -> usize {
        match self {
            Self::Text(lines) => lines.get(index).len(),
            Self::Dictionary(dictionary) => dictionary.value(index).len(),
            Self::Numbers(numbers) => number_bytes(numbers.get(index as usize)),
            Self::Shape(shape) => shape.bytes,
            Self::Constant(text) => text.len(),
            Self::Addresses(bytes) => {
                3 + address(bytes, index as usize)
                    .iter()
                    .map(|&byte| number_bytes(u64::from(byte)))
                    .sum::<usize>()
            }
        }
    }

    /// Appends to `out` the numbers of the values that hold one of the texts, ascending, of `count` values.
    pub(crate) fn find(&self, needles: &Needles<'_>, count: u32, out: &mut Vec<u32>) {
        match self {
            Self::Text(lines) => lines.rows_with(needles, 0..count, out),
            Self::Dictionary(dictionary) => dictionary.find(needles, out),
            Self::Constant(text) => {
                if needles.are_in(text) {
                    out.extend(0..count);
                }
            }
            Self::Numbers(_) | Self::Shape(_) | Self::Addresses(_) => self.find_rendered(needles, count, out),
        }
    }

    /// Marks those of the values from `first` on that an edge fits, one for each place of `fits`.
    pub(crate) fn find_edge(&self, edge: Edge<'_>, first: u32, fits: &mut [bool]) {
        let count = fits.len();
        let each = (first..).zip(fits);
        match self {
            Self::Constant(text) => {
                let is_fit = edge.fits(text);
                each.for_each(|(_, fits)| *fits |= is_fit);
            }
            Self::Text(lines) => each.for_each(|(index, fits)| *fits |= edge.fits(lines.get(index))),
            Self::Dictionary(dictionary) if dictionary.values.rows() > count => {
                each.for_each(|(index, fits)| *fits |= edge.fits(dictionary.value(index)));
            }
            Self::Dictionary(dictionary) => {
                let codes = 0..u32::try_from(dictionary.values.rows()).unwrap_or(u32::MAX);
                let by_code: Vec<bool> = codes.map(|code| edge.fits(dictionary.values.get(code))).collect();
                if !by_code.contains(&true) {
                    return;
                }
                let of_code = |code: u32| by_code.get(code as usize).copied().unwrap_or(false);
                each.for_each(|(index, fits)| *fits |= of_code(dictionary.code(index)));
            }
            Self::Numbers(_) | Self::Shape(_) | Self::Addresses(_) => {
                let mut value = Vec::new();
                for (index, fits) in each {
                    value.clear();
                    self.render(index, &mut value);
                    *fits |= edge.fits(&value);
                }
            }
        }
    }

    /// Writes the values out, some at a time, and searches that.
    fn find_rendered(&self, needles: &Needles<'_>, count: u32, out: &mut Vec<u32>) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut first = 0;
        let bytes_max = if let Self::Shape(shape) = self { shape.bytes } else { NUMBER_BYTES_MAX };
        while first < count {
            let end = count.min(first + SEARCH_VALUES);
            lines.clear();
            let indexes = first..end;
            lines.write_each(indexes.len() * (bytes_max + 1), indexes, |index, pen| self.write(index, pen));
            found.clear();
            lines.rows_with(needles, 0..end - first, &mut found);
            out.extend(found.iter().map(|row| row + first));
            first = end;
        }
    }

    fn into_lines(self, count: usize) -> Result<Lines, Error> {
        if let Self::Text(lines) = self {
            return Ok(lines);
        }
        let mut lines = Lines::default();
        let indexes = 0..u32::try_from(count).unwrap_or(u32::MAX);
        let bytes = indexes.clone().map(|index| self.bytes(index) + 1).sum();
        lines.write_each(bytes, indexes, |index, pen| self.write(index, pen));
        Ok(lines)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let numbers = |numbers: &Numbers| match numbers {
            Numbers::Each(all) => all.capacity() * 8,
            Numbers::Constant(_) => 0,
        };
        match self {
            Self::Constant(text) => text.capacity(),
            Self::Dictionary(dictionary) => {
                dictionary.values.heap_bytes() + dictionary.low.capacity() + dictionary.high.capacity()
            }
            Self::Numbers(all) => numbers(all),
            Self::Shape(shape) => {
                let part = |part: &Part| match part {
                    Part::Digits(_, all) | Part::Time(_, all) => numbers(all),
                    Part::Text(..) | Part::Hex { .. } => 0,
                };
                shape.nibbles.capacity() + shape.parts.iter().map(part).sum::<usize>()
            }
            Self::Addresses(bytes) => bytes.capacity(),
            Self::Text(lines) => lines.heap_bytes(),
        }
    }
}

fn want(what: &str, want: usize, got: usize) -> Result<(), Error> {
    if want == got {
        return Ok(());
    }
    Err(Error::corrupt(WHAT, format!("want {want} {what}, got {got}")))
}

impl Dictionary {
    fn check(&self, count: usize, distinct: usize) -> Result<(), Error> {
        want("codes", count, self.low.len())?;
        let has_high = distinct > 256;
        want("high bytes of codes", if has_high { count } else { 0 }, self.high.len())?;
        let codes = self.low.iter().zip(&self.high).map(|(&low, &high)| u16::from_le_bytes([low, high]));
        let largest = if has_high {
            codes.fold(0, u16::max)
        } else {
            u16::from(self.low.iter().copied().fold(0, u8::max))
        };
        match usize::from(largest) {
            largest if count > 0 && largest >= distinct => {
                Err(Error::corrupt(WHAT, format!("code {largest} is not in a dictionary of {distinct}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns the code of a value: its place in the dictionary.
    pub(crate) fn code(&self, index: u32) -> u32 {
        let low = self.low.get(index as usize).copied().unwrap_or(0);
        let high = self.high.get(index as usize).copied().unwrap_or(0);
        u32::from(u16::from_le_bytes([low, high]))
    }

    fn value(&self, index: u32) -> &[u8] {
        self.values.get(self.code(index))
    }

    fn find(&self, needles: &Needles<'_>, out: &mut Vec<u32>) {
        let mut codes = Vec::new();
        let distinct = u32::try_from(self.values.rows()).unwrap_or(u32::MAX);
        self.values.rows_with(needles, 0..distinct, &mut codes);
        if codes.is_empty() {
            return;
        }
        let count = u32::try_from(self.low.len()).unwrap_or(u32::MAX);
        if let ([code], []) = (codes.as_slice(), self.high.as_slice()) {
            let byte = code.to_le_bytes()[0];
            out.extend(memchr::memchr_iter(byte, &self.low).map(|at| u32::try_from(at).unwrap_or(u32::MAX)));
            return;
        }
        let mut is_hit = vec![false; self.values.rows()];
        for code in codes {
            if let Some(hit) = is_hit.get_mut(code as usize) {
                *hit = true;
            }
        }
        let holds = |index: &u32| is_hit.get(self.code(*index) as usize).copied().unwrap_or(false);
        out.extend((0..count).filter(holds));
    }
}

impl Numbers {
    fn decode(form: &NumbersForm, count: usize, parts: &dyn Parts) -> Result<Self, Error> {
        let rest = Self::rest(form, count, parts)?;
        let base = form.base;
        let Some(mut all) = rest else {
            if form.mode == NUMBERS_DIRECT {
                return Ok(Self::Constant(base.cast_unsigned()));
            }
            return Self::add(form, vec![0; count], parts);
        };
        if form.mode == NUMBERS_DIRECT {
            all.iter_mut().for_each(|number| *number = number.wrapping_add(base.cast_unsigned()));
            return Ok(Self::Each(all));
        }
        Self::add(form, all, parts)
    }

    /// Decodes what each number adds to the base; `None` if that is nothing.
    fn rest(form: &NumbersForm, count: usize, parts: &dyn Parts) -> Result<Option<Vec<u64>>, Error> {
        let Some((symbols, bits)) = form.streams else { return Ok(None) };
        let symbols = parts.stream(symbols)?;
        want("numbers", count, symbols.len())?;
        let mut all = Vec::new();
        numbers::decode(&symbols, &parts.stream(bits)?, &mut all)?;
        Ok(Some(all))
    }

    fn add(form: &NumbersForm, mut all: Vec<u64>, parts: &dyn Parts) -> Result<Self, Error> {
        let base = form.base.cast_unsigned();
        if form.mode == NUMBERS_DELTA {
            let mut last = form.first;
            for number in all.iter_mut().skip(1) {
                last = last.wrapping_add(base).wrapping_add(*number);
                *number = last;
            }
            if let Some(number) = all.first_mut() {
                *number = form.first;
            }
            return Ok(Self::Each(all));
        }
        let unit = TS_UNITS_NS.get(usize::from(form.mode - NUMBERS_FROM_TS)).copied().unwrap_or(1);
        for (number, ts_ns) in all.iter_mut().zip(parts.ts_ns()?) {
            *number = number.wrapping_add(base).wrapping_add(ts_ns.div_euclid(unit).cast_unsigned());
        }
        Ok(Self::Each(all))
    }

    /// Returns a number, 0 if there is none of that index.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u64 {
        match self {
            Self::Each(all) => all.get(index).copied().unwrap_or(0),
            Self::Constant(number) => *number,
        }
    }
}

impl Shape {
    fn decode(
        fields: &[Field],
        forms: &[NumbersForm],
        nibbles: Option<u32>,
        count: usize,
        parts: &dyn Parts,
    ) -> Result<Self, Error> {
        let mut forms = forms.iter();
        let mut filled = Vec::with_capacity(fields.len());
        let mut nibbles_per_value = 0;
        for field in fields {
            match field {
                Field::Text(text) => {
                    for piece in text.chunks(TEXT_PART_BYTES) {
                        let mut bytes = [0; TEXT_PART_BYTES];
                        bytes.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
                        filled.push(Part::Text(bytes, piece.len()));
                    }
                }
                &Field::Hex { digits, is_upper } => {
                    filled.push(Part::Hex { place: nibbles_per_value, digits, is_upper });
                    nibbles_per_value += digits;
                }
                Field::Digits(digits) => {
                    let Some(form) = forms.next() else { break };
                    filled.push(Part::Digits(*digits, Numbers::decode(form, count, parts)?));
                }
                Field::Time(time) => {
                    let Some(form) = forms.next() else { break };
                    let rest = Numbers::rest(form, count, parts)?.unwrap_or_else(|| vec![0; count]);
                    let differences = rest.into_iter().map(|rest| rest.cast_signed().wrapping_add(form.base));
                    let times = time.times(differences.zip(parts.ts_ns()?));
                    filled.push(Part::Time(*time, Numbers::Each(times)));
                }
            }
        }
        let nibbles = nibbles.map_or(Ok(Vec::new()), |stream| parts.stream(stream))?;
        want("bytes of hexadecimal digits", (nibbles_per_value * count).div_ceil(2), nibbles.len())?;
        let bytes = fields.iter().map(Field::bytes).sum();
        Ok(Self { parts: filled, nibbles, nibbles_per_value, bytes })
    }

    #[inline(always)]
    fn write(&self, index: usize, pen: &mut Pen<'_>) {
        let first = index * self.nibbles_per_value;
        for part in &self.parts {
            match part {
                Part::Text(text, bytes) => pen.front(text, *bytes),
                Part::Hex { place, digits, is_upper } => {
                    pen.hex(&self.nibbles, first + place, *digits, *is_upper);
                }
                Part::Digits(digits, numbers) => pen.digits(numbers.get(index), *digits),
                Part::Time(form, times) => form.render(times.get(index), pen),
            }
        }
    }
}

/// Returns whether a value of a shape can hold one of the texts.
pub(crate) fn may_shape_hold(fields: &[Field], texts: &[Vec<u8>], case: LetterCase) -> bool {
    let places = PlaceClass::of_all(fields);
    texts.iter().any(|text| {
        let may_be = |(place, &byte): (&PlaceClass, &u8)| place.may_be(byte, case);
        places.windows(text.len().max(1)).any(|places| places.iter().zip(text).all(may_be))
    })
}

/// Returns whether a value of a shape can start with a text, or be its start.
pub(crate) fn may_shape_start(fields: &[Field], text: &[u8], case: LetterCase) -> bool {
    let places = PlaceClass::of_all(fields);
    places.iter().zip(text).all(|(place, &byte)| place.may_be(byte, case))
}

/// Returns whether a value of a shape can end with a text.
pub(crate) fn may_shape_end(fields: &[Field], text: &[u8], case: LetterCase) -> bool {
    // The last byte mostly tells, and needs no list of places.
    let last = fields.last().and_then(PlaceClass::last_of).zip(text.last());
    if last.is_some_and(|(place, &byte)| !place.may_be(byte, case)) {
        return false;
    }
    let places = PlaceClass::of_all(fields);
    let fits = |(place, &byte): (&PlaceClass, &u8)| place.may_be(byte, case);
    places.len() >= text.len() && places.iter().rev().zip(text.iter().rev()).all(fits)
}

/// What one byte of a shape can be.
#[derive(Clone, Copy, Debug)]
enum PlaceClass {
    Fixed(u8),
    Digit,
    Hex { is_upper: bool },
    Time(TimeForm),
}

impl PlaceClass {
    fn of_all(fields: &[Field]) -> Vec<Self> {
        let mut places = Vec::new();
        for field in fields {
            match (field, Self::last_of(field)) {
                (Field::Text(text), _) => places.extend(text.iter().map(|&byte| Self::Fixed(byte))),
                (_, Some(place)) => places.resize(places.len() + field.bytes(), place),
                (_, None) => {}
            }
        }
        places
    }

    fn last_of(field: &Field) -> Option<Self> {
        match field {
            Field::Text(text) => text.last().map(|&byte| Self::Fixed(byte)),
            Field::Hex { is_upper, .. } => Some(Self::Hex { is_upper: *is_upper }),
            Field::Digits(_) => Some(Self::Digit),
            Field::Time(form) => Some(Self::Time(*form)),
        }
    }

    fn may_be(self, byte: u8, case: LetterCase) -> bool {
        match self {
            Self::Fixed(fixed) => case.of(fixed) == byte,
            Self::Digit => byte.is_ascii_digit(),
            Self::Hex { is_upper } => {
                let range = if is_upper && case == LetterCase::Told { b'A'..=b'F' } else { b'a'..=b'f' };
                byte.is_ascii_digit() || range.contains(&byte)
            }
            Self::Time(form) => {
                byte.is_ascii_digit() || form.separators().iter().any(|&separator| case.of(separator) == byte)
            }
        }
    }
}

fn address(planes: &[u8], index: usize) -> [u8; 4] {
    let count = planes.len() / 4;
    [0, 1, 2, 3].map(|plane| planes.get(plane * count + index).copied().unwrap_or(0))
}

fn number_bytes(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// Returns the rows of the section of template rows: how many there are of each of so many templates, and
/// the template of each row.
pub(crate) fn decode_template_rows(
    bytes: &[u8],
    templates: usize,
    rows: usize,
) -> Result<(Vec<usize>, Vec<u16>), Error> {
    let mut cursor = Cursor::new("template rows", bytes);
    if templates == 0 && rows > 0 {
        return Err(cursor.corrupt("rows without a template"));
    }
    let low = if templates > 1 { Some(cursor.take(rows)?) } else { None };
    let high = if templates > 256 { Some(cursor.take(rows)?) } else { None };
    cursor.finish()?;
    let all: Vec<u16> = match (low, high) {
        (Some(low), Some(high)) => {
            low.iter().zip(high).map(|(&low, &high)| u16::from_le_bytes([low, high])).collect()
        }
        (Some(low), None) => low.iter().map(|&low| u16::from(low)).collect(),
        _ => vec![0; rows],
    };
    let mut counts = vec![0; templates];
    for &template in &all {
        let Some(count) = counts.get_mut(usize::from(template)) else {
            return Err(cursor.corrupt(format!("template {template} is not one of {templates}")));
        };
        *count += 1;
    }
    Ok((counts, all))
}
