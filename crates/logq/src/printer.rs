//! Entries in the form that the flags ask for, page by page.

use logyard_wire::loki_query::Labels;

use crate::args_shared::Format;
use crate::entry::Entry;
use crate::run::Stop;
use crate::session::Session;
use crate::{output_json, output_text};

/// Prints entries page by page.
pub(crate) struct Printer {
    /// Labels left out of each line; unknown before the first page.
    common: Option<Labels>,
    printed: usize,
}

impl Printer {
    pub(crate) fn new(session: &Session<'_>) -> Self {
        Self { common: session.shared.all_labels.then(Labels::new), printed: 0 }
    }

    /// Returns how many entries have been printed.
    pub(crate) fn printed(&self) -> usize {
        self.printed
    }

    pub(crate) fn print(&mut self, session: &mut Session<'_>, entries: &[Entry]) -> Result<(), Stop> {
        if entries.is_empty() {
            return Ok(());
        }
        let common = self.common.get_or_insert_with(|| output_text::common_labels(entries));
        if self.printed == 0 && session.format == Format::Default && !common.is_empty() {
            let view = common.iter().map(|(name, value)| (&**name, &**value)).collect();
            session.remark(format_args!("common labels: {}", output_text::labels_text(&view)))?;
        }
        for entry in entries {
            match session.format {
                Format::Default => output_text::write_entry(session.out, entry, common, &session.look)?,
                Format::Raw => writeln!(session.out, "{}", entry.line)?,
                Format::Jsonl => output_json::write_entry(session.out, entry)?,
            }
        }
        self.printed += entries.len();
        Ok(())
    }
}
