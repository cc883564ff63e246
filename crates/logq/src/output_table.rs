//! Samples for people: time, number and labels in columns, one sample per line.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::output_text::{Look, labels_text};
use crate::series::Sample;

/// Writes all samples; numbers are aligned at their right edge.
pub(crate) fn write_samples(out: &mut dyn Write, samples: &[Sample], look: &Look) -> io::Result<()> {
    let values: Vec<String> = samples.iter().map(Sample::value_text).collect();
    let width = values.iter().map(String::len).max().unwrap_or_default();
    for (sample, value) in samples.iter().zip(&values) {
        let labels: BTreeMap<&str, &str> =
            sample.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let labels = labels_text(&labels);
        writeln!(out, "{}  {value:>width$}  {labels}", look.time_text(sample.ts_ns))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let labels = Arc::new(BTreeMap::from([("level".to_owned(), "error".to_owned())]));
        let sample = |ts_ns, value| Sample { ts_ns, labels: Arc::clone(&labels), value };
        let look = Look::plain();
        let mut out = Vec::new();
        write_samples(&mut out, &[sample(0, 5.0), sample(1_000_000_000, 12.25)], &look).unwrap();
        let want = "1970-01-01T00:00:00.000Z      5  {level=\"error\"}\n\
                    1970-01-01T00:00:01.000Z  12.25  {level=\"error\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
