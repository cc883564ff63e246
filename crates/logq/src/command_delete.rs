//! `logq delete`: requests to delete entries.

use clap::{Args, Subcommand};
use logyard_client::DeleteRange;

use crate::args_shared::Format;
use crate::output_json;
use crate::output_text::time_text;
use crate::run::Stop;
use crate::session::{Session, refused};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq delete create '{container=\"web\"} |= \"sesame\"' --from 2026-11-20 --to 2026-11-21
  logq delete list
  logq delete cancel --request-id 01jd2qk8 --force";

/// What to do about deletions.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Ask for the entries of a query to be deleted for good
    Create {
        /// LogQL log query: a selector, and line filters if there are any
        query: String,
        /// Longest piece that Loki works on at a time
        #[arg(long, value_name = "DURATION")]
        max_interval: Option<String>,
    },
    /// Print all requests
    List,
    /// Take a request back
    Cancel {
        /// Name of the request
        #[arg(long, value_name = "ID")]
        request_id: String,
        /// Also if some of its entries are gone
        #[arg(long)]
        force: bool,
    },
}

impl Delete {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        match &self.action {
            Action::Create { query, max_interval } => {
                let asked = DeleteRange { range: session.range()?, max_interval: max_interval.clone() };
                let made = session.client()?.create_delete(query, &asked).await;
                made.map_err(|error| refused(error, query))?;
                session.remark("delete request made; `logq delete list` tells how far it is")?;
                Ok(true)
            }
            Action::List => list(session).await,
            Action::Cancel { request_id, force } => {
                session.client()?.cancel_delete(request_id, *force).await?;
                session.remark(format_args!("delete request {request_id} cancelled"))?;
                Ok(true)
            }
        }
    }
}

async fn list(session: &mut Session<'_>) -> Result<bool, Stop> {
    let requests = session.client()?.deletes().await?;
    for request in &requests {
        match session.format {
            Format::Jsonl => output_json::write_line(session.out, request)?,
            Format::Default | Format::Raw | Format::Csv => {
                let time = |secs: f64| {
                    #[allow(clippy::cast_possible_truncation, reason = "float to integer casts saturate")]
                    let ms = (secs * 1000.0) as i64;
                    time_text(ms.saturating_mul(1_000_000), &session.look.zone)
                };
                let (from, to) = (time(request.start_time), time(request.end_time));
                let (id, status, query) = (&request.request_id, &request.status, &request.query);
                writeln!(session.out, "{id}  {status}  {from} to {to}  {query}")?;
            }
        }
    }
    Ok(!requests.is_empty())
}
