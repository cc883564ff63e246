//! The shape of values that are all of one length: fixed text, and digits at fixed places.
//!
//! UUIDs, ids of hexadecimal digits, dates and numbers with leading zeros have one. A time of day inside a
//! shape is kept as its distance from the timestamp of the entry, which is nothing or next to nothing where
//! the program wrote the time of the entry into its line.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::{Cursor, put_len};
use crate::error::Error;
use crate::shred_render::Pen;

/// Longest value that has a shape.
pub(crate) const SHAPE_BYTES_MAX: usize = 128;
/// Most digits of one number.
const DIGITS_MAX: usize = 18;
const DAY_NS: i64 = 86_400_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// Times that stray further from the timestamps of their entries are plain digits.
const TIME_RANGE_NS_MAX: i64 = 3_600 * SECOND_NS;

const FIELD_TEXT: u8 = 0;
const FIELD_HEX_LOWER: u8 = 1;
const FIELD_HEX_UPPER: u8 = 2;
const FIELD_DIGITS: u8 = 3;
const FIELD_TIME: u8 = 4;

const IS_DIGIT: u8 = 1;
const IS_LOWER: u8 = 2;
const IS_UPPER: u8 = 4;
const IS_OTHER: u8 = 8;

/// A part of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The same in all values.
    Text(Vec<u8>),
    /// Hexadecimal digits.
    Hex { digits: usize, is_upper: bool },
    /// A decimal number with as many digits as told.
    Digits(usize),
    /// A time of day.
    Time(TimeForm),
}

/// How a time of day is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeForm {
    /// Between hours, minutes and seconds; 0 for nothing.
    separator: u8,
    /// In front of the fraction of a second.
    fraction_separator: u8,
    /// 0 to 9; without digits there is no separator either.
    fraction_digits: u8,
}

impl TimeForm {
    /// Returns every byte that such a time may be written with, and none but those.
    pub(crate) fn alphabet(self) -> Vec<u8> {
        let separators =
            [(self.separator, self.separator != 0), (self.fraction_separator, self.fraction_digits > 0)];
        let separators = separators.into_iter().filter(|(_, is_written)| *is_written).map(|(byte, _)| byte);
        (b'0'..=b'9').chain(separators).collect()
    }

    /// Returns the bytes that may stand between the digits.
    pub(crate) fn separators(&self) -> [u8; 2] {
        [self.separator, self.fraction_separator]
    }

    fn separator_bytes(self) -> usize {
        usize::from(self.separator != 0)
    }

    fn bytes(self) -> usize {
        let fraction = usize::from(self.fraction_digits);
        6 + 2 * self.separator_bytes() + if fraction > 0 { 1 + fraction } else { 0 }
    }

    /// Returns the smallest step of such a time.
    fn unit_ns(self) -> i64 {
        SECOND_NS / 10i64.pow(u32::from(self.fraction_digits.min(9)))
    }

    /// Reads a time of day in units of the last digit; `None` for what is none.
    pub(crate) fn parse(self, text: &[u8]) -> Option<i64> {
        let two = |at: usize, limit: i64| {
            let &[tens, ones] = text.get(at..)?.first_chunk::<2>()?;
            let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
            let number = i64::from(tens.wrapping_sub(b'0')) * 10 + i64::from(ones.wrapping_sub(b'0'));
            (is_number && number < limit).then_some(number)
        };
        let step = 2 + self.separator_bytes();
        let seconds = two(0, 24)? * 3600 + two(step, 60)? * 60 + two(2 * step, 60)?;
        let mut time = seconds;
        let is_separated =
            (0..2).all(|part| self.separator == 0 || text.get(part * step + 2) == Some(&self.separator));
        if !is_separated {
            return None;
        }
        if self.fraction_digits > 0 {
            let (separator, digits) = text.get(2 * step + 2..)?.split_first()?;
            if *separator != self.fraction_separator || digits.len() < usize::from(self.fraction_digits) {
                return None;
            }
            for digit in digits.iter().take(usize::from(self.fraction_digits)) {
                if !digit.is_ascii_digit() {
                    return None;
                }
                time = time * 10 + i64::from(digit - b'0');
            }
        }
        Some(time)
    }

    /// Returns what a time adds to the time of day of a timestamp, in its own unit, half a day at most.
    pub(crate) fn difference(self, time: i64, ts_ns: i64) -> i64 {
        let day = DAY_NS / self.unit_ns();
        let difference = (time - self.expected(ts_ns)).rem_euclid(day);
        if difference > day / 2 { difference - day } else { difference }
    }

    /// Returns the times that differences tell, each with its timestamp.
    pub(crate) fn times(self, differences: impl Iterator<Item = (i64, i64)>) -> Vec<u64> {
        let unit_ns = self.unit_ns();
        let day = DAY_NS / unit_ns;
        let time = |(difference, ts_ns): (i64, i64)| {
            let time = (ts_ns.rem_euclid(DAY_NS) / unit_ns).wrapping_add(difference);
            // Nearly all are of the same day.
            let time = if (0..day).contains(&time) { time } else { time.rem_euclid(day) };
            time.unsigned_abs()
        };
        differences.map(time).collect()
    }

    fn expected(self, ts_ns: i64) -> i64 {
        ts_ns.rem_euclid(DAY_NS) / self.unit_ns()
    }

    /// Writes a time of day.
    #[inline(always)]
    pub(crate) fn render(self, time: u64, pen: &mut Pen<'_>) {
        let (seconds, fraction) = if self.fraction_digits == 0 {
            (time, 0)
        } else {
            let steps = (SECOND_NS / self.unit_ns()).unsigned_abs();
            (time / steps, time % steps)
        };
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        if self.separator == 0 {
            pen.digits((hours % 100 * 100 + minutes % 60) * 100 + seconds % 60, 6);
        } else {
            let tens_and_ones = |number: u64| (number % 100 / 10) | (number % 10) << 8 | 0x3030;
            let text = tens_and_ones(hours)
                | u64::from(self.separator) << 16
                | tens_and_ones(minutes % 60) << 24
                | u64::from(self.separator) << 40
                | tens_and_ones(seconds % 60) << 48;
            pen.front(&text.to_le_bytes(), 8);
        }
        if self.fraction_digits > 0 {
            pen.front(&[self.fraction_separator], 1);
            pen.digits(fraction, usize::from(self.fraction_digits));
        }
    }
}

impl Field {
    /// Returns how many bytes of a value it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hex { digits, .. } | Self::Digits(digits) => *digits,
            Self::Time(form) => form.bytes(),
        }
    }

    /// Returns whether the field has a number of its own per value.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Digits(_) | Self::Time(_))
    }

    /// Appends the bytes of the field's description.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.push(FIELD_TEXT);
                put_len(out, text.len());
                out.extend_from_slice(text);
            }
            Self::Hex { digits, is_upper } => {
                out.push(if *is_upper { FIELD_HEX_UPPER } else { FIELD_HEX_LOWER });
                put_len(out, *digits);
            }
            Self::Digits(digits) => {
                out.push(FIELD_DIGITS);
                put_len(out, *digits);
            }
            Self::Time(form) => {
                out.extend_from_slice(&[
                    FIELD_TIME,
                    form.separator,
                    form.fraction_separator,
                    form.fraction_digits,
                ]);
            }
        }
    }

    /// Reads the description of a field.
    pub(crate) fn get(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let field = match cursor.u8()? {
            FIELD_TEXT => {
                let bytes = cursor.count()?;
                Self::Text(cursor.take(bytes)?.to_vec())
            }
            tag @ (FIELD_HEX_LOWER | FIELD_HEX_UPPER) => {
                Self::Hex { digits: digits(cursor, SHAPE_BYTES_MAX)?, is_upper: tag == FIELD_HEX_UPPER }
            }
            FIELD_DIGITS => Self::Digits(digits(cursor, DIGITS_MAX)?),
            FIELD_TIME => {
                let [separator, fraction_separator, fraction_digits] = cursor.array()?;
                if fraction_digits > 9 {
                    return Err(
                        cursor.corrupt(format!("a time has {fraction_digits} digits after the second"))
                    );
                }
                Self::Time(TimeForm { separator, fraction_separator, fraction_digits })
            }
            tag => return Err(cursor.corrupt(format!("unknown field {tag} of a shape"))),
        };
        Ok(field)
    }
}

fn digits(cursor: &mut Cursor<'_>, limit: usize) -> Result<usize, Error> {
    let digits = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
    if digits == 0 || digits > limit {
        return Err(cursor.corrupt(format!("a shape has {digits} digits, limit is {limit}")));
    }
    Ok(digits)
}

/// Returns hexadecimal digits as half bytes, the first in the upper half, a zero behind an odd number of them.
pub(crate) fn pack_hex(digits: &[u8]) -> Vec<u8> {
    // What a letter adds to its low bits is in no digit.
    let nibble = |digit: u8| (digit & 15) + (digit >> 6) * 9;
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut out = Vec::with_capacity(pairs.len() + rest.len());
    out.extend(pairs.iter().map(|&[first, second]| nibble(first) << 4 | nibble(second)));
    out.extend(rest.iter().map(|&digit| nibble(digit) << 4));
    out
}

/// Finds the shape of values that are not all equal: its fields, each with its place in a value.
///
/// `ts_ns` are the timestamps of the values' entries; without them no field is a time.
pub(crate) fn find(values: &[&[u8]], ts_ns: Option<&[i64]>) -> Option<Vec<(usize, Field)>> {
    let (first, others) = values.split_first()?;
    let bytes = first.len();
    if !(1..=SHAPE_BYTES_MAX).contains(&bytes) || others.iter().any(|value| value.len() != bytes) {
        return None;
    }
    let seen = look_at(first, others)?;
    let mut fields = Vec::new();
    let mut text = Vec::new();
    let mut at = 0;
    let mut time_from = find_time(values, ts_ns, first, &seen, 0);
    while at < bytes {
        if let Some((place, form)) = time_from
            && place == at
        {
            push_text(&mut fields, &mut text, at);
            fields.push((at, Field::Time(form)));
            at += form.bytes();
            time_from = find_time(values, ts_ns, first, &seen, at);
            continue;
        }
        let Some(&(_, differs)) = seen.get(at) else { break };
        if differs == 0 {
            text.extend(first.get(at));
            at += 1;
            continue;
        }
        // Up to the last place that differs before the next time or anything but digits.
        let limit = time_from.map_or(bytes, |(place, _)| place);
        let run = seen.get(at..limit)?;
        let run = run.iter().take_while(|(classes, _)| classes & IS_OTHER == 0);
        let last = run.clone().enumerate().filter(|(_, (_, differs))| *differs != 0).last();
        let digits = last.map_or(1, |(index, _)| index + 1);
        let classes = run.take(digits).fold(0, |all, (classes, _)| all | classes);
        push_text(&mut fields, &mut text, at);
        if classes == IS_DIGIT {
            let digits = digits.min(DIGITS_MAX);
            fields.push((at, Field::Digits(digits)));
            at += digits;
        } else if has_digits_only(classes) {
            fields.push((at, Field::Hex { digits, is_upper: classes & IS_UPPER != 0 }));
            at += digits;
        } else {
            return None;
        }
    }
    push_text(&mut fields, &mut text, at);
    Some(fields)
}

/// Returns for each place of values of one length the classes of its bytes, and how they differ from the first value's.
///
/// Most texts of one length show soon that they have no shape: for those returns nothing.
fn look_at(first: &[u8], others: &[&[u8]]) -> Option<Vec<(u8, u8)>> {
    // Arrays of their own and no table, so that many places are looked at in one step.
    let (mut classes, mut differs) = (vec![0; first.len()], vec![0; first.len()]);
    classes.iter_mut().zip(first).for_each(|(classes, &byte)| *classes = class(byte));
    let has_shape = |classes: &[u8], differs: &[u8]| {
        classes.iter().zip(differs).all(|(&classes, &differs)| differs == 0 || has_digits_only(classes))
    };
    for (row, value) in others.iter().enumerate() {
        differs
            .iter_mut()
            .zip(*value)
            .zip(first)
            .for_each(|((differs, byte), first)| *differs |= byte ^ first);
        classes.iter_mut().zip(*value).for_each(|(classes, &byte)| *classes |= class(byte));
        if row % 64 == 0 && !has_shape(&classes, &differs) {
            return None;
        }
    }
    has_shape(&classes, &differs).then(|| classes.into_iter().zip(differs).collect())
}

#[inline(always)]
fn class(byte: u8) -> u8 {
    let is_digit = byte.wrapping_sub(b'0') < 10;
    let is_lower = byte.wrapping_sub(b'a') < 6;
    let is_upper = byte.wrapping_sub(b'A') < 6;
    let of = |is_one: bool, class: u8| u8::from(is_one) * class;
    let known = of(is_digit, IS_DIGIT) | of(is_lower, IS_LOWER) | of(is_upper, IS_UPPER);
    known | of(!(is_digit | is_lower | is_upper), IS_OTHER)
}

/// Returns whether the classes are those of decimal digits, or of hexadecimal ones of one case.
fn has_digits_only(classes: u8) -> bool {
    classes & IS_OTHER == 0 && classes & (IS_LOWER | IS_UPPER) != IS_LOWER | IS_UPPER
}

fn push_text(fields: &mut Vec<(usize, Field)>, text: &mut Vec<u8>, end: usize) {
    if !text.is_empty() {
        let place = end - text.len();
        fields.push((place, Field::Text(std::mem::take(text))));
    }
}

/// Finds the first time of day at or behind `from` that follows the timestamps.
fn find_time(
    values: &[&[u8]],
    ts_ns: Option<&[i64]>,
    first: &[u8],
    seen: &[(u8, u8)],
    from: usize,
) -> Option<(usize, TimeForm)> {
    let ts_ns = ts_ns?;
    let is_digit = |at: usize| seen.get(at).is_some_and(|&(classes, _)| classes == IS_DIGIT);
    let fixed = |at: usize| match seen.get(at) {
        Some(&(IS_OTHER, 0)) => first.get(at).copied(),
        _ => None,
    };
    let digits_from = |at: usize| (at..first.len()).take_while(|&at| is_digit(at)).count();
    for at in from..first.len() {
        let separator = match (digits_from(at), at > from && is_digit(at - 1)) {
            (6, false) => 0,
            (2, _) => match fixed(at + 2) {
                Some(separator @ (b':' | b'.' | b'-')) => separator,
                _ => continue,
            },
            _ => continue,
        };
        let step = if separator == 0 { 2 } else { 3 };
        let seconds_at = at + 2 * step;
        let is_time = separator == 0
            || (digits_from(at + 3) == 2 && fixed(at + 5) == Some(separator) && digits_from(at + 6) >= 2);
        if !is_time {
            continue;
        }
        let fraction = match fixed(seconds_at + 2) {
            Some(mark @ (b'.' | b',' | b':')) => Some((mark, digits_from(seconds_at + 3).min(9))),
            _ => None,
        };
        let (fraction_separator, digits) = fraction.filter(|&(_, digits)| digits > 0).unwrap_or((0, 0));
        let fraction_digits = u8::try_from(digits).unwrap_or(0);
        let form = TimeForm { separator, fraction_separator, fraction_digits };
        if follows(values, ts_ns, at, form) {
            return Some((at, form));
        }
    }
    None
}

/// Returns whether all times of a form stay near the timestamps, whatever the time zone.
fn follows(values: &[&[u8]], ts_ns: &[i64], at: usize, form: TimeForm) -> bool {
    let range = TIME_RANGE_NS_MAX / form.unit_ns();
    let mut bounds: Option<(i64, i64)> = None;
    for (value, &ts_ns) in values.iter().zip(ts_ns) {
        let Some(time) = value.get(at..).and_then(|text| form.parse(text)) else { return false };
        let difference = form.difference(time, ts_ns);
        let (least, most) = bounds.unwrap_or((difference, difference));
        let (least, most) = (least.min(difference), most.max(difference));
        if most - least > range {
            return false;
        }
        bounds = Some((least, most));
    }
    true
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::shred_render::append;

    const TS_NS: i64 = 1_794_636_008_254_000_000; // 2026-11-14T06:00:08.254Z
    const MINUTE_NS: i64 = 60 * SECOND_NS;

    fn shown(values: &[&str], ts_ns: Option<&[i64]>) -> String {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let Some(fields) = find(&values, ts_ns) else { return "none".to_owned() };
        let show = |(_, field): &(usize, Field)| match field {
            Field::Text(text) => String::from_utf8(text.clone()).unwrap(),
            Field::Hex { digits, is_upper } => format!("<{}{digits}>", if *is_upper { 'X' } else { 'x' }),
            Field::Digits(digits) => format!("<{digits}>"),
            Field::Time(form) => format!("<t{}>", form.bytes()),
        };
        fields.iter().map(show).collect()
    }

    #[test]
    fn digits_at_fixed_places_are_found() {
        assert_eq!(shown(&["a001", "a102", "a012"], None), "a<3>");
        assert_eq!(shown(&["0xa0", "0x9f"], None), "0x<x2>");
        assert_eq!(shown(&["1A-2", "B2-3"], None), "<X2>-<1>");
        assert_eq!(shown(&["aA", "b1"], None), "none");
        assert_eq!(shown(&["1g", "1h"], None), "none");
        assert_eq!(shown(&["1", "22"], None), "none");
        assert_eq!(
            shown(&["e8e42435-0d37-4b78-abcd-93ab76f647a8", "01234567-89ab-4def-8123-456789abcdef"], None),
            "<x8>-<x4>-4<x3>-<x4>-<x12>"
        );
    }

    #[test]
    fn times_are_found_if_they_follow_the_timestamps() {
        let ts_ns = [TS_NS, TS_NS + MINUTE_NS, TS_NS + 61 * MINUTE_NS];
        let iso = ["2026-11-14T06:00:08.254Z", "2026-11-14T06:01:08.255Z", "2026-11-14T07:01:07.255Z"];
        assert_eq!(shown(&iso, Some(&ts_ns)), "2026-11-14T<t12>Z");
        assert_eq!(shown(&iso[..2], None), "2026-11-14T06:0<1>:08.25<1>Z");
        assert_eq!(shown(&["2026:08:00:08", "2026:08:01:08"], Some(&ts_ns[..2])), "2026:<t8>");
        assert_eq!(shown(&["060008", "060108"], Some(&ts_ns[..2])), "<t6>");
        assert_eq!(shown(&["23:59:59", "12:00:01"], Some(&ts_ns[..2])), "<2>:<2>:<2>");
    }

    #[test]
    fn times_are_rendered_as_they_were_read() {
        for (separator, fraction_digits, text) in
            [(b':', 3, "23:59:08,254"), (0, 0, "000008"), (b'.', 6, "05.00.00.000001")]
        {
            let fraction_separator = if separator == b'.' { b'.' } else { b',' };
            let form = TimeForm { separator, fraction_separator, fraction_digits };
            let time = form.parse(text.as_bytes()).unwrap();
            for ts_ns in [0, TS_NS, -TS_NS, i64::MAX, i64::MIN] {
                let again = form.times([(form.difference(time, ts_ns), ts_ns)].into_iter());
                let mut out = Vec::new();
                append(&mut out, form.bytes(), |pen| form.render(again[0], pen));
                assert_eq!(out, text.as_bytes());
            }
            assert_eq!(form.bytes(), text.len());
            assert_eq!(form.parse(b"24:00:00,000"), None);
        }
    }

    #[test]
    fn hexadecimal_digits_are_packed_without_a_gap() {
        let out = pack_hex(b"abc012345");
        assert_eq!(out, [0xab, 0xc0, 0x12, 0x34, 0x50]);
        assert_eq!(pack_hex(b"09afAF"), [0x09, 0xaf, 0xaf]);
        let mut text = Vec::new();
        append(&mut text, 7, |pen| {
            pen.hex(&out, 1, 4, true);
            pen.hex(&out, 5, 3, false);
        });
        assert_eq!(text, b"BC01234");
    }
}
