//! Writing values out: short texts, decimal and hexadecimal numbers, many millions a second.
//!
//! Values are short, so a call of a function per value, or a step per digit, would take longer than all else.
//! What is written is always a whole number of machine words, of which the part too much is written over by
//! what follows: no branch depends on how long a value is, unless it is long. And where to write next stays in
//! a register, which it would not in a `Vec` that may have to grow; so everything here is inlined.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// Room that is to be left behind what is written last, for it to be written as fast as all before.
pub(crate) const ROOM: usize = 32;
const EIGHT_DIGITS: u64 = 100_000_000;
const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// Writes into room of a fixed size, one text behind the other.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Pen<'_> {
    /// Returns how many bytes were written, or would have been: beyond the room nothing is.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Writes the bytes from `start` to `end` of a text; nothing if they are not there.
    ///
    /// Cost: none worth naming for up to 32 bytes if the text goes on for 32 behind `start`, else a call.
    #[inline(always)]
    pub(crate) fn part(&mut self, text: &[u8], start: usize, end: usize) {
        let bytes = end.saturating_sub(start);
        match text.get(start..).and_then(<[u8]>::first_chunk::<ROOM>) {
            Some(near) if bytes <= ROOM => self.front(near, bytes),
            _ => self.text(text.get(start..end).unwrap_or_default()),
        }
    }

    /// Writes a text. Cost: a call.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) {
        let end = self.at.saturating_add(text.len());
        if let Some(room) = self.room.get_mut(self.at..end) {
            room.copy_from_slice(text);
        }
        self.at = end;
    }

    /// Writes the first `bytes` bytes of an array, which has as many.
    #[inline(always)]
    pub(crate) fn front<const N: usize>(&mut self, all: &[u8; N], bytes: usize) {
        match self.room.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<N>) {
            Some(room) => {
                *room = *all;
                self.at += bytes;
            }
            None => self.text(all.get(..bytes).unwrap_or_default()),
        }
    }

    /// Writes a number in decimal digits.
    #[inline(always)]
    pub(crate) fn number(&mut self, number: u64) {
        if number < EIGHT_DIGITS {
            return self.without_zeros(number);
        }
        let (high, low) = (number / EIGHT_DIGITS, number % EIGHT_DIGITS);
        if high < EIGHT_DIGITS {
            self.without_zeros(high);
        } else {
            self.without_zeros(high / EIGHT_DIGITS);
            self.last_digits(high % EIGHT_DIGITS, 8);
        }
        self.last_digits(low, 8);
    }

    /// Writes the last `digits` digits of a number, at most 24, zeros in front if it has fewer.
    #[inline(always)]
    pub(crate) fn digits(&mut self, number: u64, digits: usize) {
        if digits <= 8 {
            return self.last_digits(number % EIGHT_DIGITS, digits);
        }
        let (high, low) = (number / EIGHT_DIGITS, number % EIGHT_DIGITS);
        if digits > 16 {
            self.last_digits(high / EIGHT_DIGITS % EIGHT_DIGITS, digits - 16);
        }
        self.last_digits(high % EIGHT_DIGITS, (digits - 8).min(8));
        self.last_digits(low, 8);
    }

    /// Writes hexadecimal digits that lie two to a byte, the first in the upper half, from digit `place` on.
    ///
    /// Digits behind the last byte are zeros.
    #[inline(always)]
    pub(crate) fn hex(&mut self, bytes: &[u8], place: usize, digits: usize, is_upper: bool) {
        let to_letter = u64::from(if is_upper { b'A' - b'9' - 1 } else { b'a' - b'9' - 1 });
        let (mut at, end) = (place, place + digits);
        while at < end {
            let rest = bytes.get(at / 2..).unwrap_or_default();
            let word = rest.first_chunk::<8>().map_or_else(|| padded(rest), |word| u64::from_be_bytes(*word));
            // Eight digits, each moved into a byte of its own.
            let mut all = (word << (at % 2 * 4)) >> 32;
            all = (all | all << 16) & 0x0000_ffff_0000_ffff;
            all = (all | all << 8) & 0x00ff_00ff_00ff_00ff;
            all = (all | all << 4) & 0x0f0f_0f0f_0f0f_0f0f;
            let letters = ((all + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
            let text = (all | ASCII_ZEROS) + letters * to_letter;
            self.front(&text.to_be_bytes(), (end - at).min(8));
            at += 8;
        }
    }

    /// Writes a number of at most eight digits.
    #[inline(always)]
    fn without_zeros(&mut self, number: u64) {
        let digits = spread(number);
        // Nothing but zeros is one zero.
        let zeros = (digits.trailing_zeros() / 8).min(7);
        let text = (digits | ASCII_ZEROS) >> (8 * zeros);
        self.front(&text.to_le_bytes(), 8 - zeros as usize);
    }

    /// Writes the last `digits` digits, at most eight, of a number that has eight at most.
    #[inline(always)]
    fn last_digits(&mut self, number: u64, digits: usize) {
        let text = (spread(number) | ASCII_ZEROS) >> (64 - 8 * digits.clamp(1, 8));
        self.front(&text.to_le_bytes(), digits.min(8));
    }
}

/// Appends what `write` writes to `out`, at most so many bytes.
pub(crate) fn append(out: &mut Vec<u8>, bytes_max: usize, write: impl FnOnce(&mut Pen<'_>)) {
    let before = out.len();
    if out.capacity() == 0 {
        // Memory that comes as zeros need not be filled with them.
        *out = vec![0; bytes_max + ROOM];
    } else {
        out.resize(before + bytes_max + ROOM, 0);
    }
    let mut pen = Pen { room: out, at: before };
    write(&mut pen);
    let end = pen.at;
    out.truncate(end);
}

/// Returns fewer than eight bytes as the upper ones of a word.
#[cold]
fn padded(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}

/// Returns the eight digits of a number, the first in the lowest byte.
///
/// Halves, then quarters, then single digits are divided side by side in one word; the factors are
/// 2^20 / 100 and 2^10 / 10, rounded up, which is exact for numbers of four and of two digits.
#[inline]
fn spread(number: u64) -> u64 {
    let halves = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (quarters - 10 * tens) << 8
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is written, with room behind it and without.
    fn pushed(push: impl Fn(&mut Pen<'_>)) -> String {
        let mut out = b"<".to_vec();
        append(&mut out, 200, &push);
        let mut tight = vec![0; out.len() - 1];
        let mut pen = Pen { room: &mut tight, at: 0 };
        push(&mut pen);
        assert_eq!((pen.at(), &tight[..]), (out.len() - 1, &out[1..]));
        let mut pen = Pen { room: &mut [], at: 0 };
        push(&mut pen);
        assert_eq!(pen.at(), out.len() - 1);
        String::from_utf8(out).unwrap().split_off(1)
    }

    #[test]
    fn all_numbers_of_four_digits_are_written_right() {
        for number in 0..10_000u64 {
            assert_eq!(pushed(|pen| pen.number(number)), number.to_string());
            assert_eq!(pushed(|pen| pen.digits(number * 10_000, 8)), format!("{:08}", number * 10_000));
        }
        for number in (0..20).map(|digits| 10u64.pow(digits)).flat_map(|power| [power - 1, power, power + 1])
        {
            assert_eq!(pushed(|pen| pen.number(number)), number.to_string());
        }
        assert_eq!(pushed(|pen| pen.number(u64::MAX)), u64::MAX.to_string());
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_std_writes_them((number, shift) in (any::<u64>(), 0u32..64), digits in 1usize..21) {
            let number = number >> shift;
            prop_assert_eq!(pushed(|pen| pen.number(number)), number.to_string());
            let all = format!("{number:020}");
            prop_assert_eq!(pushed(|pen| pen.digits(number, digits)), all.get(20 - digits..).unwrap());
        }

        #[test]
        fn hexadecimal_digits_are_written_from_any_place(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            place in 0usize..80,
            digits in 0usize..80,
        ) {
            let all: String = bytes.iter().map(|byte| format!("{byte:02x}")).chain([String::from("0").repeat(200)]).collect();
            let expect = all.get(place..place + digits).unwrap();
            prop_assert_eq!(pushed(|pen| pen.hex(&bytes, place, digits, false)), expect);
            prop_assert_eq!(pushed(|pen| pen.hex(&bytes, place, digits, true)), expect.to_uppercase());
        }

        #[test]
        fn parts_are_copied_whether_or_not_the_text_goes_on(bytes in 0usize..100, start in 0usize..110, length in 0usize..60) {
            let text: Vec<u8> = (0..bytes).map(|at| b'a' + at as u8 % 26).collect();
            let expect = text.get(start..start + length).unwrap_or_default();
            let got = pushed(|pen| pen.part(&text, start, start + length));
            prop_assert_eq!(got.as_bytes(), expect);
        }
    }
}
