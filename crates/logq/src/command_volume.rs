//! `logq volume` and `logq volume_range`: the bytes of streams, by label.

use std::time::Duration;

use clap::Args;
use logyard_client::VolumeQuery;

use crate::run::Stop;
use crate::session::{Session, refused};
use crate::time_text::parse_duration_ns;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq volume '{container=~\".+\"}' --since 1d                      # who wrote most
  logq volume '{container=~\".+\"}' --target-labels compose_project";

pub(crate) const RANGE_EXAMPLES: &str = "\
Examples:
  logq volume_range '{container=~\".+\"}' --since 1d --step 1h      # who wrote most, by the hour";

/// Bytes by group.
#[derive(Debug, Args)]
pub(crate) struct Volume {
    /// Selector such as '{container="web"}'
    query: String,

    /// Most groups
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    limit: usize,

    /// Labels to group by; several with commas, or the flag again [default: those that the selector names]
    #[arg(long, alias = "targetLabels", value_name = "LABELS", value_delimiter = ',')]
    target_labels: Vec<String>,

    /// Count by the names of labels instead of by their values
    #[arg(long, alias = "aggregateByLabels")]
    aggregate_by_labels: bool,
}

/// Bytes by group and step.
#[derive(Debug, Args)]
pub(crate) struct VolumeRange {
    #[command(flatten)]
    volume: Volume,

    /// Distance between the samples, and what each counts
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    step: String,
}

impl Volume {
    fn call(&self, session: &Session<'_>) -> Result<VolumeQuery, Stop> {
        Ok(VolumeQuery {
            query: self.query.clone(),
            range: session.range()?,
            limit: self.limit,
            target_labels: self.target_labels.clone(),
            is_by_labels: self.aggregate_by_labels,
        })
    }

    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let call = self.call(session)?;
        let asked = session.client()?.volume(&call).await;
        session.samples(asked.map_err(|error| refused(error, &self.query))?)
    }
}

impl VolumeRange {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let call = self.volume.call(session)?;
        let step = Duration::from_nanos(u64::try_from(parse_duration_ns(&self.step)?).unwrap_or_default());
        let asked = session.client()?.volume_range(&call, step).await;
        session.samples(asked.map_err(|error| refused(error, &self.volume.query))?)
    }
}
