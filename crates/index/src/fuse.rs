//! Binary fuse filter with 8-bit fingerprints: a set of hashes that may say yes wrongly (0.4 %), never no.
//!
//! Source: Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters" (2022): three places per
//! key in neighbouring segments of one array, 9 bits per key. Own code, since the layout is a format of ours:
//!
//! ```text
//! seed u64   segment bytes u32 (a power of two)   segments u32   fingerprints: (segments + 2) × segment bytes
//! ```

use crate::Error;

/// Bytes before the fingerprints.
const HEAD_BYTES: usize = 16;

/// Longest segment; larger ones gain nothing.
const SEGMENT_BYTES_MAX: usize = 1 << 18;

/// Seeds to try; each fails once in hundreds of builds for few keys, and hardly ever for many.
const SEEDS_MAX: u64 = 1_000;

/// Appends the filter of distinct `keys`. None is built for no keys: nothing is appended.
///
/// Errors: `Kind::Internal` if no seed works, which equal keys would cause.
/// Cost: 20 bytes per key while it runs, about 50 ns per key.
pub(crate) fn build(keys: &[u64], out: &mut Vec<u8>) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let shape = Shape::for_keys(keys.len());
    for seed in 0..SEEDS_MAX {
        let Some(order) = peel(keys, seed, shape) else { continue };
        out.extend_from_slice(&seed.to_le_bytes());
        out.extend_from_slice(&(shape.segment_bytes as u32).to_le_bytes());
        out.extend_from_slice(&(shape.segments as u32).to_le_bytes());
        let start = out.len();
        out.resize(start + shape.array_bytes(), 0);
        let (_, array) = out.split_at_mut(start);
        // Backwards: when a key's own place is written, its two others are final.
        for (hash, own) in order.into_iter().rev() {
            let places = shape.places(hash);
            let others = places.iter().filter(|place| **place != own);
            array[own] = others.fold(fingerprint(hash), |value, place| value ^ array[*place]);
        }
        return Ok(());
    }
    Err(Error::internal(format!(
        "cannot build filter of {} keys: none of {SEEDS_MAX} seeds fits",
        keys.len()
    )))
}

/// Finds an order in which each key has a place that no later key uses: (mixed hash, place).
fn peel(keys: &[u64], seed: u64, shape: Shape) -> Option<Vec<(u64, usize)>> {
    // Per place: how many keys use it, and the exclusive or of their hashes, which is the key once it is alone.
    let mut places = vec![(0u32, 0u64); shape.array_bytes()];
    for key in keys {
        let hash = mix(*key, seed);
        for place in shape.places(hash) {
            places[place].0 += 1;
            places[place].1 ^= hash;
        }
    }
    let mut alone: Vec<usize> = (0..places.len()).filter(|place| places[*place].0 == 1).collect();
    let mut order = Vec::with_capacity(keys.len());
    while let Some(own) = alone.pop() {
        let (count, hash) = places[own];
        if count != 1 {
            continue;
        }
        order.push((hash, own));
        for place in shape.places(hash) {
            places[place].0 -= 1;
            places[place].1 ^= hash;
            if places[place].0 == 1 {
                alone.push(place);
            }
        }
    }
    (order.len() == keys.len()).then_some(order)
}

/// Sizes of a filter.
#[derive(Clone, Copy, Debug)]
struct Shape {
    segment_bytes: usize,
    /// Segments that a key's first place can lie in.
    segments: usize,
}

impl Shape {
    /// The paper's sizes for three places: chosen so that peeling succeeds at the first seeds.
    fn for_keys(keys: usize) -> Self {
        let count = keys.max(2) as f64;
        let exponent = (count.ln() / 3.33_f64.ln() + 2.25).floor() as u32;
        let segment_bytes = (1_usize << exponent).min(SEGMENT_BYTES_MAX);
        let factor = (0.875 + 0.25 * 1_000_000_f64.ln() / count.ln()).max(1.125);
        let capacity = (count * factor).round() as usize;
        let segments = capacity.div_ceil(segment_bytes).saturating_sub(2).max(1);
        Self { segment_bytes, segments }
    }

    fn array_bytes(self) -> usize {
        (self.segments + 2) * self.segment_bytes
    }

    /// Three distinct places, in three neighbouring segments.
    fn places(self, hash: u64) -> [usize; 3] {
        let mask = self.segment_bytes - 1;
        let first = ((u128::from(hash) * (self.segments * self.segment_bytes) as u128) >> 64) as usize;
        let second = (first + self.segment_bytes) ^ ((hash >> 18) as usize & mask);
        let third = (first + 2 * self.segment_bytes) ^ (hash as usize & mask);
        [first, second, third]
    }
}

fn mix(key: u64, seed: u64) -> u64 {
    // The finaliser of MurmurHash3: a seed gives another spread of the same keys.
    let mut hash = key.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn fingerprint(hash: u64) -> u8 {
    (hash ^ (hash >> 32)) as u8
}

/// A filter for reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fuse<'a> {
    seed: u64,
    shape: Shape,
    array: &'a [u8],
}

impl<'a> Fuse<'a> {
    /// Opens the bytes of a filter; `None` for no bytes, which hold no key. Errors: `Kind::Corrupt`.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Option<Self>, Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let bad = || Error::corrupt("a filter of the id index does not fit its own sizes");
        let (head, array) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(bad)?;
        let (seed, sizes) = head.split_first_chunk::<8>().ok_or_else(bad)?;
        let (segment_bytes, segments) = sizes.split_first_chunk::<4>().ok_or_else(bad)?;
        let segment_bytes = u32::from_le_bytes(*segment_bytes) as usize;
        let segments = u32::from_le_bytes(segments.try_into().map_err(|_| bad())?) as usize;
        let shape = Shape { segment_bytes, segments };
        let is_sound = segment_bytes.is_power_of_two()
            && segment_bytes <= SEGMENT_BYTES_MAX
            && segments > 0
            && segments <= array.len()
            && shape.array_bytes() == array.len();
        if !is_sound {
            return Err(bad());
        }
        Ok(Some(Self { seed: u64::from_le_bytes(*seed), shape, array }))
    }

    /// Returns whether the key may be in the set; a no is certain.
    pub(crate) fn may_hold(&self, key: u64) -> bool {
        let hash = mix(key, self.seed);
        let found = self
            .shape
            .places(hash)
            .iter()
            .fold(0, |value, place| value ^ self.array.get(*place).copied().unwrap_or_default());
        found == fingerprint(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64, salt: u64) -> Vec<u64> {
        (0..count).map(|number| mix(number, salt)).collect()
    }

    #[test]
    fn every_key_is_found_and_few_others_are() {
        for count in [1, 2, 3, 10, 48, 1_000, 20_000, 200_000] {
            let members = keys(count, 7);
            let mut bytes = Vec::new();
            build(&members, &mut bytes).unwrap();
            let filter = Fuse::open(&bytes).unwrap().unwrap();
            assert!(members.iter().all(|key| filter.may_hold(*key)), "{count} keys");
            let wrong = keys(20_000, 8).iter().filter(|key| filter.may_hold(**key)).count();
            assert!(wrong < 160, "{wrong} of 20,000 others found among {count} keys");
            if count >= 20_000 {
                assert!(bytes.len() as u64 * 8 < count * 10, "{} bytes for {count} keys", bytes.len());
            }
        }
    }

    #[test]
    fn no_keys_are_no_bytes() {
        let mut bytes = Vec::new();
        build(&[], &mut bytes).unwrap();
        assert!(bytes.is_empty());
        assert!(Fuse::open(&bytes).unwrap().is_none());
    }

    #[test]
    fn equal_keys_are_refused_and_damage_never_panics() {
        assert_eq!(build(&[5, 5], &mut Vec::new()).unwrap_err().kind(), crate::Kind::Internal);
        let mut bytes = Vec::new();
        build(&keys(100, 1), &mut bytes).unwrap();
        for end in 1..bytes.len() {
            assert!(Fuse::open(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..HEAD_BYTES {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                // Another seed is still a filter, of other keys; the section's checksum tells.
                if let Ok(Some(filter)) = Fuse::open(&bad) {
                    filter.may_hold(9);
                }
            }
        }
    }
}
