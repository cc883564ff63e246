//! `logq explain`: how the store evaluates a query.

use std::time::Duration;

use clap::Args;
use logyard_client::RangeQuery;
use logyard_model::Direction;

use crate::args_shared::Format;
use crate::check::check;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::time_text::round_step_ns;
use crate::{output_json, output_plan};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq explain '{container=\"web\"} |= \"ERROR\"'             # how a query is answered
  logq explain '{container=\"web\"} |= \"ERROR\"' --analyze   # and what that takes";

/// Entries that an explained log query asks for: as many as the query itself would.
const EXPLAINED_ENTRIES: usize = 100;

/// How a query is evaluated.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// LogQL
    query: String,

    /// Run the query, too, and say what each step took
    #[arg(long)]
    analyze: bool,
}

impl Explain {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let query = &self.query;
        check(query)?;
        let range = session.range()?;
        let step_ns = round_step_ns(range.end_ns.saturating_sub(range.start_ns));
        let call = RangeQuery {
            query: query.clone(),
            range,
            limit: EXPLAINED_ENTRIES,
            direction: Direction::Backward,
            step: Some(Duration::from_nanos(u64::try_from(step_ns).unwrap_or_default())),
        };
        let client = session.client()?;
        let plan = client.explain(&call, self.analyze).await.map_err(|error| refused(error, query))?;
        let Some(plan) = plan else {
            let text = format!("{} does not explain queries: it is no Logyard, or an old one", client.base());
            return Err(Stop::Trouble(text));
        };
        match session.format {
            Format::Jsonl => output_json::write_line(session.out, &plan)?,
            Format::Default | Format::Raw | Format::Csv => {
                output_plan::write_plan(session.out, &plan, session.look.terminal)?;
            }
        }
        Ok(true)
    }
}
