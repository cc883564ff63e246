//! `logq stats`: how much the streams of a selector hold.

use clap::Args;

use crate::args_shared::Format;
use crate::output_json;
use crate::run::Stop;
use crate::session::{Session, refused};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq stats '{container=\"web\"}' --since 7d   # streams, chunks, bytes and entries of a week";

/// A selector to weigh.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Selector such as '{container="web"}'; what stands behind it in a query does not count
    query: String,
}

impl Stats {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let range = session.range()?;
        let asked = session.client()?.index_stats(&self.query, range).await;
        let stats = asked.map_err(|error| refused(error, &self.query))?;
        match session.format {
            Format::Jsonl => output_json::write_line(session.out, &stats)?,
            Format::Default | Format::Raw | Format::Csv => {
                let rows = [
                    ("streams", stats.streams),
                    ("chunks", stats.chunks),
                    ("bytes", stats.bytes),
                    ("entries", stats.entries),
                ];
                for (name, count) in rows {
                    writeln!(session.out, "{name:7}  {count}")?;
                }
            }
        }
        Ok(stats.streams > 0)
    }
}
