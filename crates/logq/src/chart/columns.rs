//! A line of small columns: ▁▂▃▄▅▆▇█.

const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws values as columns, the highest full; what is none (NaN, or nothing) is a blank.
///
/// Values that are all of one sign start at zero, so that heights compare; otherwise at the lowest.
pub(crate) fn columns(values: &[f64]) -> String {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let low = finite().fold(0.0, f64::min);
    let span = high - low;
    let draw = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        if value == 0.0 && low == 0.0 {
            // Nothing is told from little.
            return if high > 0.0 { ' ' } else { '▁' };
        }
        let share = if span > 0.0 { (value - low) / span } else { 1.0 };
        let index = ((share * COLUMNS.len() as f64).ceil() as usize).clamp(1, COLUMNS.len()) - 1;
        COLUMNS.get(index).copied().unwrap_or(' ')
    };
    values.iter().map(|value| draw(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights() {
        assert_eq!(columns(&[0.0, 1.0, 2.0, 4.0, 8.0]), " ▁▂▄█");
        assert_eq!(columns(&[5.0, 5.0]), "██");
        assert_eq!(columns(&[0.0, 0.0]), "▁▁");
        assert_eq!(columns(&[f64::NAN, 1.0, f64::INFINITY]), " █ ");
        assert_eq!(columns(&[-2.0, 0.0, 2.0]), "▁▄█");
        assert_eq!(columns(&[]), "");
    }
}
