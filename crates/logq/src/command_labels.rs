//! `logq labels`: which labels exist, and which values one has.

use clap::Args;

use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq labels                        # which labels exist
  logq labels container --since 7d   # which values one has";

/// Label names, or the values of one label.
#[derive(Debug, Args)]
pub(crate) struct Labels {
    /// Label whose values to print
    #[arg(value_name = "LABEL")]
    pub(crate) name: Option<String>,
}

impl Labels {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let range = session.range()?;
        let client = session.client()?;
        let names = match &self.name {
            None => client.labels(range).await?,
            Some(name) => client.label_values(name, range).await?,
        };
        session.names(&names)
    }
}
