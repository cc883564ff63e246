//! Starts everything that receives entries instead of reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use logyard_sys::Disk;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::received::{JobSettings, ReceiveJob, Receiving};
use crate::settings::AgentSettings;
use crate::source_syslog;
use crate::stage_metrics::StageMetrics;

/// What the receivers are started with.
#[derive(Debug)]
pub(crate) struct ReceiveParts<'a> {
    pub(crate) settings: &'a AgentSettings,
    pub(crate) common_labels: &'a BTreeMap<String, String>,
    pub(crate) receiving: Receiving,
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) stage_metrics: &'a StageMetrics,
}

/// Starts them. Errors: a setting that cannot be used, a port that is taken; then those started before go on until
/// the agent, which does not start, is dropped.
pub(crate) async fn start(parts: ReceiveParts<'_>) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut started = Vec::new();
    for settings in &parts.settings.syslog {
        let job = parts.job(source_syslog::job_settings(settings))?;
        started.push(source_syslog::start(settings, job, &parts.receiving, Arc::clone(parts.disk)).await?);
    }
    Ok(started)
}

impl ReceiveParts<'_> {
    fn job(&self, settings: JobSettings<'_>) -> Result<Arc<ReceiveJob>, Error> {
        let job = ReceiveJob::compile(settings, self.common_labels, self.settings.line_bytes_max as usize)?;
        self.stage_metrics.add(&job.pipeline);
        Ok(job)
    }
}
