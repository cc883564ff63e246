//! Durations and sizes with units: `30d`, `1h30m`, `64MiB`.
//!
//! Settings are plain numbers whose name says the unit (`age_secs_max`, `sync_interval_ms`,
//! `head_bytes_max`); this module lets people write them with a unit of their choice. The unit of the
//! key decides what a text means, so the crates that own the settings need no types for it.

/// What a key's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes.
    Bytes,
    /// Whole seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Units of a duration in milliseconds; no month, which has no fixed length.
const DURATIONS_MS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Units of a size; letters alone are decimal, as in every other tool that tells the two apart.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Unit {
    /// Returns the unit named in a key, if its number has one.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        key.split('_').find_map(|word| match word {
            "bytes" => Some(Self::Bytes),
            "secs" => Some(Self::Seconds),
            "ms" => Some(Self::Milliseconds),
            _ => None,
        })
    }

    /// Returns an example of the unit's texts, for messages.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Bytes => "64MiB",
            Self::Seconds => "30d or 1h30m",
            Self::Milliseconds => "500ms or 10s",
        }
    }

    /// Reads a number with unit and returns it in this unit; a bare number is in this unit already.
    /// None for anything else, and for a duration that is no whole number of this unit.
    pub(crate) fn parse(self, text: &str) -> Option<u64> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        match self {
            Self::Bytes => match parts(text, &SIZES)?.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            Self::Milliseconds => sum(&parts(text, &DURATIONS_MS)?),
            Self::Seconds => {
                let ms = sum(&parts(text, &DURATIONS_MS)?)?;
                (ms % 1000 == 0).then_some(ms / 1000)
            }
        }
    }

    /// Writes a number of this unit in the largest unit that divides it.
    pub(crate) fn print(self, number: u64) -> String {
        let (units, in_smallest): (&[(&str, u64)], Option<u64>) = match self {
            Self::Bytes => (&SIZES, Some(number)),
            Self::Seconds => (&DURATIONS_MS, number.checked_mul(1000)),
            Self::Milliseconds => (&DURATIONS_MS, Some(number)),
        };
        let Some(in_smallest) = in_smallest.filter(|&value| value > 0) else { return number.to_string() };
        let dividing = units.iter().filter(|(_, factor)| in_smallest % factor == 0);
        match dividing.max_by_key(|(_, factor)| *factor) {
            Some((name, factor)) => format!("{}{name}", in_smallest / factor),
            None => number.to_string(),
        }
    }
}

/// Splits `1h30m` into its parts, each in the smallest unit; none for an unknown unit or an overflow.
fn parts(text: &str, units: &[(&str, u64)]) -> Option<Vec<u64>> {
    let mut rest = text;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let tail = tail.trim_start();
        let letters = tail.chars().take_while(char::is_ascii_alphabetic).count();
        let (name, tail) = tail.split_at_checked(letters)?;
        let (_, factor) = units.iter().find(|(unit, _)| *unit == name)?;
        parts.push(number.parse::<u64>().ok()?.checked_mul(*factor)?);
        rest = tail.trim_start();
    }
    Some(parts)
}

fn sum(parts: &[u64]) -> Option<u64> {
    match parts {
        [] => None,
        parts => parts.iter().try_fold(0_u64, |total, part| total.checked_add(*part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_unit() {
        assert_eq!(Unit::of_key("head_bytes_max"), Some(Unit::Bytes));
        assert_eq!(Unit::of_key("age_secs_max"), Some(Unit::Seconds));
        assert_eq!(Unit::of_key("sync_interval_ms"), Some(Unit::Milliseconds));
        assert_eq!(Unit::of_key("streams_max"), None);
        assert_eq!(Unit::of_key("bytesize"), None);
    }

    #[test]
    fn texts_become_numbers_of_the_unit() {
        for (unit, text, want) in [
            (Unit::Bytes, "64MiB", Some(64 << 20)),
            (Unit::Bytes, "64 MiB", Some(64 << 20)),
            (Unit::Bytes, "5MB", Some(5_000_000)),
            (Unit::Bytes, "7", Some(7)),
            (Unit::Bytes, "1MiB2KiB", None),
            (Unit::Bytes, "64M", None),
            (Unit::Bytes, "99999999TiB", None),
            (Unit::Bytes, "", None),
            (Unit::Seconds, "30d", Some(30 * 86_400)),
            (Unit::Seconds, "1h30m", Some(5400)),
            (Unit::Seconds, "500ms", None),
            (Unit::Seconds, "1.5h", None),
            (Unit::Seconds, "1M", None),
            (Unit::Seconds, "-5s", None),
            (Unit::Milliseconds, "1s500ms", Some(1500)),
            (Unit::Milliseconds, "64MiB", None),
        ] {
            assert_eq!(unit.parse(text), want, "{text}");
        }
    }

    #[test]
    fn printing_reads_back() {
        assert_eq!(Unit::Bytes.print(64 << 20), "64MiB");
        assert_eq!(Unit::Bytes.print(5_000_000), "5MB");
        assert_eq!(Unit::Bytes.print(1001), "1001B");
        assert_eq!(Unit::Seconds.print(1800), "30m");
        assert_eq!(Unit::Milliseconds.print(1500), "1500ms");
        for unit in [Unit::Bytes, Unit::Seconds, Unit::Milliseconds] {
            for number in [0, 1, 59, 60, 1000, 1024, 86_400, 604_800, 123_456_789, u64::MAX] {
                assert_eq!(unit.parse(&unit.print(number)), Some(number), "{number}");
            }
        }
    }
}
