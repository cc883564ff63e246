//! `logq fmt`: a query in its usual form. Asks no store.

use std::io::Read as _;

use clap::Args;
use logyard_logql::INPUT_BYTES_MAX;

use crate::check::check;
use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq fmt '{container=\"web\"}|json|status>=500'         # the query, put in order
  echo '{container=\"web\"}|json' | logq fmt              # the same from a pipe";

/// A query to print.
#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// LogQL; `-`, or none, reads it from standard input
    query: Option<String>,
}

impl Fmt {
    /// Prints a query in its usual form. Errors: as a query that is asked, with a caret under the fault.
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let mut read = String::new();
        let query = match self.query.as_deref() {
            Some(query) if query != "-" => query,
            _ => {
                // One byte more than a query may have, so that a longer text is refused as such.
                (&mut *session.input)
                    .take(INPUT_BYTES_MAX as u64 + 1)
                    .read_to_string(&mut read)
                    .map_err(|error| format!("cannot read the query from standard input: {error}"))?;
                read.trim_end_matches('\n')
            }
        };
        check(query)?;
        let expr = logyard_logql::parse(query).map_err(|error| error.to_string())?;
        writeln!(session.out, "{}", logyard_logql::pretty(&expr))?;
        Ok(true)
    }
}
