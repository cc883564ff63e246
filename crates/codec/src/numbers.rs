//! Unsigned numbers in nearly as few bits as their distribution needs: a symbol each, and raw bits.
//!
//! The symbol tells the size of a number to a quarter of an octave and is left to zstd, whose Huffman codes
//! fit whatever the sizes are; the bits below it are as good as random and are stored as they are. On gaps
//! between entries this takes 2 % more than their entropy; varints with zstd behind them take 13 %.
//!
//! Symbols: numbers 0 to 3 are their own symbol. A larger number of `b` bits has the symbol
//! `4 + 4 * (b - 3) + t`, where `t` are the two bits below its highest one; its `b - 3` lowest bits go to
//! the bit stream, least significant first, from the lowest bit of each byte on.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;

const WHAT: &str = "numbers";
/// The symbol of the largest numbers.
const SYMBOL_MAX: u8 = 4 + 4 * 61 + 3;

/// Appends a symbol per number, and the bits that the symbols leave open, padded to a byte.
pub(crate) fn encode(numbers: impl Iterator<Item = u64>, symbols: &mut Vec<u8>, bits: &mut Vec<u8>) {
    let mut pending = 0u128;
    let mut pending_bits = 0;
    for number in numbers {
        let (symbol, low_bits) = symbol_of(number);
        symbols.push(symbol);
        pending |= u128::from(number & mask(low_bits)) << pending_bits;
        pending_bits += low_bits;
        while pending_bits >= 8 {
            bits.push(pending.to_le_bytes()[0]);
            pending >>= 8;
            pending_bits -= 8;
        }
    }
    if pending_bits > 0 {
        bits.push(pending.to_le_bytes()[0]);
    }
}

/// Reads as many numbers as there are symbols, and appends them to `out`.
///
/// Errors: `Corrupt` for an unknown symbol, or more or fewer bits than the symbols ask for.
pub(crate) fn decode(symbols: &[u8], bits: &[u8], out: &mut Vec<u64>) -> Result<(), Error> {
    if let Some(symbol) = symbols.iter().find(|&&symbol| symbol > SYMBOL_MAX) {
        return Err(Error::corrupt(WHAT, format!("unknown symbol {symbol}")));
    }
    let mut place = 0usize;
    // Small numbers and large ones take the same way: which come next cannot be foretold.
    out.extend(symbols.iter().map(|&symbol| {
        let (low_bits, top) = if symbol < 4 { (0, symbol) } else { ((symbol - 4) / 4, 4 + (symbol & 3)) };
        let number = (u64::from(top) << low_bits) | (read_bits(bits, place) & mask(u32::from(low_bits)));
        place += usize::from(low_bits);
        number
    }));
    if place.div_ceil(8) != bits.len() {
        let (want, got) = (place.div_ceil(8), bits.len());
        return Err(Error::corrupt(WHAT, format!("want {want} bytes of bits, got {got}")));
    }
    Ok(())
}

/// Returns about how many bits the numbers take once their symbols are compressed.
pub(crate) fn cost_bits(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut counts = [0u32; 256];
    let mut raw_bits = 0u64;
    for number in numbers {
        let (symbol, low_bits) = symbol_of(number);
        if let Some(count) = counts.get_mut(usize::from(symbol)) {
            *count += 1;
        }
        raw_bits += u64::from(low_bits);
    }
    raw_bits + entropy_bits(&counts)
}

/// Returns the bits that an ideal code takes for symbols of these counts.
#[allow(clippy::cast_possible_truncation, reason = "an estimate of far fewer than 2^52 bits")]
pub(crate) fn entropy_bits(counts: &[u32]) -> u64 {
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let bits = |&count: &u32| {
        let count = f64::from(count);
        if count > 0.0 { count * (total / count).log2() } else { 0.0 }
    };
    counts.iter().map(bits).sum::<f64>() as u64
}

/// Returns the symbol of a number and how many of its lowest bits that leaves open.
fn symbol_of(number: u64) -> (u8, u32) {
    if number < 4 {
        return (number.to_le_bytes()[0], 0);
    }
    let low_bits = 61 - number.leading_zeros();
    let top = (number >> low_bits) & 3;
    let symbol = 4 + 4 * u64::from(low_bits) + top;
    (symbol.to_le_bytes()[0], low_bits)
}

/// Returns 64 bits from bit `place` on, zeros behind the end.
fn read_bits(bits: &[u8], place: usize) -> u64 {
    let (first, shift) = (place / 8, place % 8);
    let word = match bits.get(first..).and_then(<[u8]>::first_chunk::<8>) {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            let rest = bits.get(first..).unwrap_or_default();
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(word)
        }
    };
    let ninth = bits.get(first + 8).copied().unwrap_or(0);
    if shift == 0 { word } else { (word >> shift) | (u64::from(ninth) << (64 - shift)) }
}

fn mask(bits: u32) -> u64 {
    !(u64::MAX << bits)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(numbers: &[u64]) -> (Vec<u8>, Vec<u8>) {
        let (mut symbols, mut bits, mut out) = (Vec::new(), Vec::new(), Vec::new());
        encode(numbers.iter().copied(), &mut symbols, &mut bits);
        decode(&symbols, &bits, &mut out).unwrap();
        assert_eq!(out, numbers);
        (symbols, bits)
    }

    #[test]
    fn edges_round_trip_and_wrong_lengths_are_refused() {
        let edges: Vec<u64> = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + 1]).collect();
        let (symbols, mut bits) = round_trip(&edges);
        round_trip(&[u64::MAX; 3]);
        assert_eq!(round_trip(&[0, 1, 2, 3]), (vec![0, 1, 2, 3], vec![]));
        bits.push(0);
        assert!(decode(&symbols, &bits, &mut Vec::new()).is_err());
        assert!(decode(&symbols, &bits[..bits.len() - 2], &mut Vec::new()).is_err());
        assert!(decode(&[252], &[0; 9], &mut Vec::new()).is_err());
    }

    #[test]
    fn the_cost_is_near_what_uniform_numbers_need() {
        // 9,000 values: 13.14 bits each.
        let numbers = (0..50_000u64).map(|row| 1000 + row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 9000);
        let bits = cost_bits(numbers) as f64 / 50_000.0;
        assert!((13.1..13.25).contains(&bits), "{bits}");
    }

    proptest! {
        #[test]
        fn any_numbers_round_trip(shifted in proptest::collection::vec((any::<u64>(), 0u32..64), 0..200)) {
            round_trip(&shifted.iter().map(|(number, shift)| number >> shift).collect::<Vec<_>>());
        }
    }
}
