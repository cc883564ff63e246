//! Numbers with the unit that suits them, in three digits.

/// Writes a count: `7`, `0.25`, `12.3k`, `4.56M`.
pub(crate) fn count_text(value: f64) -> String {
    const SCALES: [(f64, &str); 5] = [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];
    scaled(value, &SCALES)
}

/// Writes how often something comes: `3.2/s`, `7/min`, `0.5/h`.
pub(crate) fn rate_text(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1.0 => format!("{}/s", count_text(rate)),
        rate if rate * 60.0 >= 1.0 => format!("{}/min", count_text(rate * 60.0)),
        rate => format!("{}/h", count_text(rate * 3600.0)),
    }
}

/// Writes bytes: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub(crate) fn bytes_text(value: f64) -> String {
    const SCALES: [(f64, &str); 6] = [
        (1.0, " B"),
        (1024.0, " KiB"),
        (1_048_576.0, " MiB"),
        (1_073_741_824.0, " GiB"),
        (1_099_511_627_776.0, " TiB"),
        (1_125_899_906_842_624.0, " PiB"),
    ];
    scaled(value, &SCALES)
}

/// Writes a span: `350 µs`, `1.5 s`, `2m05s`, `3h12m`, `4d02h`.
pub(crate) fn seconds_text(value: f64) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    // Up to here three digits tell more than whole seconds do.
    if size < 100.0 {
        const SCALES: [(f64, &str); 4] = [(1e-9, " ns"), (1e-6, " µs"), (1e-3, " ms"), (1.0, " s")];
        return if size == 0.0 { "0 s".to_owned() } else { scaled(value, &SCALES) };
    }
    let whole = size.round() as u64;
    let (large, large_name, small, small_name) = match whole {
        0..3600 => (whole / 60, "m", whole % 60, "s"),
        3600..86_400 => (whole / 3600, "h", whole % 3600 / 60, "m"),
        _ => (whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    };
    format!("{sign}{large}{large_name}{small:02}{small_name}")
}

/// Writes a number with the largest scale that leaves one digit before the point.
fn scaled(value: f64, scales: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let size = value.abs();
    // Half a digit below a scale is written as one of it, since 999.6 is rounded up.
    let fits = |scale: f64| size >= scale * 0.9995;
    let (scale, name) =
        scales.iter().rev().find(|(scale, _)| fits(*scale)).or(scales.first()).copied().unwrap_or((1.0, ""));
    let scaled = value / scale;
    let decimals = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => return format!("{scaled:.1e}{name}"),
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{name}")
}

fn special(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value > 0.0 => "+Inf".to_owned(),
        _ => "-Inf".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (value, want) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.25, "0.25"),
            (1.0 / 3.0, "0.33"),
            (0.004, "4.0e-3"),
            (100.0, "100"),
            (999.4, "999"),
            (999.9, "1k"),
            (1234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (4_560_000.0, "4.56M"),
            (7e15, "7000T"),
            (-1500.0, "-1.5k"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(count_text(value), want, "{value}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!([3.2, 0.1, 7.0 / 3600.0].map(rate_text), ["3.2/s", "6/min", "7/h"]);
    }

    #[test]
    fn bytes() {
        for (value, want) in [
            (0.0, "0 B"),
            (512.0, "512 B"),
            (1023.0, "1023 B"),
            (1024.0, "1 KiB"),
            (1536.0, "1.5 KiB"),
            (3.5 * 1_073_741_824.0, "3.5 GiB"),
        ] {
            assert_eq!(bytes_text(value), want, "{value}");
        }
    }

    #[test]
    fn spans() {
        for (value, want) in [
            (0.0, "0 s"),
            (0.000_000_35, "350 ns"),
            (0.000_35, "350 µs"),
            (0.35, "350 ms"),
            (1.5, "1.5 s"),
            (59.94, "59.9 s"),
            (125.0, "2m05s"),
            (3600.0, "1h00m"),
            (11_520.0, "3h12m"),
            (356_400.0, "4d03h"),
            (-125.0, "-2m05s"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(seconds_text(value), want, "{value}");
        }
    }
}
