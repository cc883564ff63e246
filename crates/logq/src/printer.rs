//! Entries in the form that the flags ask for, page by page.

use std::io::Write;

use logyard_wire::loki_query::Labels;

use crate::args_shared::Format;
use crate::entry::Entry;
use crate::output_text::Look;
use crate::run::Stop;
use crate::session::Session;
use crate::{output_csv, output_json, output_text};

/// Prints entries page by page.
pub(crate) struct Printer {
    /// Labels left out of each line; unknown before the first page.
    common: Option<Labels>,
    /// Whether the first entries stand below a header, in a form that has one.
    has_header: bool,
    printed: usize,
}

impl Printer {
    pub(crate) fn new(session: &Session<'_>) -> Self {
        let hides_none = session.look.labels.all_labels || session.look.labels.no_labels;
        Self { common: hides_none.then(Labels::new), has_header: true, printed: 0 }
    }

    /// Prints every label on every line, with or without a header.
    pub(crate) fn with_all_labels(has_header: bool) -> Self {
        Self { common: Some(Labels::new()), has_header, printed: 0 }
    }

    /// Returns how many entries have been printed.
    pub(crate) fn printed(&self) -> usize {
        self.printed
    }

    pub(crate) fn print(&mut self, session: &mut Session<'_>, entries: &[Entry]) -> Result<(), Stop> {
        if entries.is_empty() {
            return Ok(());
        }
        let common = self.common.get_or_insert_with(|| {
            let mut common = output_text::common_labels(entries);
            session.look.labels.choose_common(&mut common);
            common
        });
        if self.printed == 0 && session.format == Format::Default && !common.is_empty() {
            let view = common.iter().map(|(name, value)| (&**name, &**value)).collect();
            session.remark(format_args!("common labels: {}", output_text::labels_text(&view)))?;
        }
        let look = &session.look;
        self.write(session.out, entries, session.format, look)
    }

    /// Writes entries where they are to go, with no remark about labels.
    pub(crate) fn write(
        &mut self,
        out: &mut dyn Write,
        entries: &[Entry],
        format: Format,
        look: &Look,
    ) -> Result<(), Stop> {
        let none = Labels::new();
        let common = self.common.as_ref().unwrap_or(&none);
        if self.has_header && self.printed == 0 && format == Format::Csv && !entries.is_empty() {
            output_csv::write_entries_header(out)?;
        }
        for entry in entries {
            match format {
                Format::Default => output_text::write_entry(out, entry, common, look)?,
                Format::Raw => writeln!(out, "{}", entry.line)?,
                Format::Csv => output_csv::write_entry(out, entry, look)?,
                Format::Jsonl => output_json::write_entry(out, entry)?,
            }
        }
        self.printed += entries.len();
        Ok(())
    }
}
