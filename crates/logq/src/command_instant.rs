//! `logq instant-query`: a metric query at one point in time.

use clap::Args;
use logyard_client::InstantQuery as Call;

use crate::check::{Yields, check};
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::stdin;
use crate::time_text::parse_time_ns;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq instant-query 'sum by (container) (rate({container=~\".+\"} |= \"error\" [5m]))'
  logq instant 'count_over_time({container=\"web\"}[1h])' --now 2026-11-20T08:00";

/// A metric query at one point in time.
#[derive(Debug, Args)]
pub(crate) struct InstantQuery {
    /// LogQL metric query
    query: String,

    /// When to evaluate, forms as for --from [default: now]
    #[arg(long, alias = "at", value_name = "TIME")]
    now: Option<String>,

    /// Taken for the sake of Loki's client: an instant has one sample for each series
    #[arg(long, hide = true, value_name = "COUNT")]
    limit: Option<usize>,

    /// Taken for the sake of Loki's client: an instant has no direction
    #[arg(long, hide = true)]
    forward: bool,
}

impl InstantQuery {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let query = &self.query;
        if session.shared.stdin {
            return stdin::run(query, None, session);
        }
        if check(query)? == Yields::Entries {
            let text = "cannot evaluate a log query at one point in time: leave out the command, or count its \
                        entries as in count_over_time(…[5m])";
            return Err(Stop::Trouble(text.to_owned()));
        }
        let now_ns = (session.now_ns)();
        let at = self.now.as_deref();
        let time_ns = at.map_or(Ok(now_ns), |text| parse_time_ns(text, now_ns, &session.look.zone))?;
        let call = Call { query: query.clone(), time_ns };
        let answer = session.client()?.query(&call).await.map_err(|error| refused(error, query))?;
        session.samples_of(query, answer)
    }
}
