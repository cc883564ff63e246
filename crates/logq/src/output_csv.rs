//! CSV, as RFC 4180 has it but for the ends of lines, which are those of this system: a header, then a row for each
//! entry, sample or name. Labels stand in one column, `{a="1"}`: which there are is not known before the last entry.

use std::io::{self, Write};

use crate::entry::Entry;
use crate::output_text::{Look, labels_text};
use crate::series::Sample;

/// Header of entries, a whole row.
pub(crate) const ENTRIES_HEADER: &str = "timestamp,labels,line\n";

/// Writes the header of entries.
pub(crate) fn write_entries_header(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(ENTRIES_HEADER.as_bytes())
}

/// Writes an entry; all of its labels but those left out by the flags.
pub(crate) fn write_entry(out: &mut dyn Write, entry: &Entry, look: &Look) -> io::Result<()> {
    let mut labels = entry.all_labels();
    look.labels.choose(&mut labels);
    write_row(out, &[&look.time_text(entry.ts_ns), &labels_text(&labels), &entry.line])
}

/// Writes samples with their header.
pub(crate) fn write_samples(out: &mut dyn Write, samples: &[Sample], look: &Look) -> io::Result<()> {
    write_row(out, &["timestamp", "labels", "value"])?;
    for sample in samples {
        let labels = sample.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        write_row(out, &[&look.time_text(sample.ts_ns), &labels_text(&labels), &sample.value_text()])?;
    }
    Ok(())
}

/// Writes one row.
pub(crate) fn write_row(out: &mut dyn Write, cells: &[&str]) -> io::Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        if cell.contains(['"', ',', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut out = Vec::new();
        write_entries_header(&mut out).unwrap();
        write_entry(&mut out, &Entry::sample(0, "say \"x\", then\ny"), &Look::plain()).unwrap();
        write_entry(&mut out, &Entry::sample(0, "plain"), &Look::plain()).unwrap();
        let want = "timestamp,labels,line\n\
                    1970-01-01T00:00:00.000Z,\"{container=\"\"web\"\"}\",\"say \"\"x\"\", then\ny\"\n\
                    1970-01-01T00:00:00.000Z,\"{container=\"\"web\"\"}\",plain\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
