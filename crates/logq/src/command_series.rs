//! `logq series`: the label sets of the streams that match.

use clap::Args;

use crate::args_shared::Format;
use crate::run::Stop;
use crate::session::Session;
use crate::{output_json, output_text};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq series '{compose_project=\"shop\"}'   # which streams match";

/// Label sets.
#[derive(Debug, Args)]
pub(crate) struct Series {
    /// Selectors such as '{container="web"}'; none means all streams
    #[arg(value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
}

impl Series {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let range = session.range()?;
        let mut series = session.client()?.series(&self.selectors, range).await?;
        series.sort();
        for labels in &series {
            match session.format {
                Format::Jsonl => output_json::write_line(session.out, labels)?,
                Format::Default | Format::Raw => {
                    let view = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                    writeln!(session.out, "{}", output_text::labels_text(&view))?;
                }
            }
        }
        Ok(!series.is_empty())
    }
}
