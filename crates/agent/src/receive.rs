//! Starts everything that receives entries instead of reading them, and journals.

use std::collections::BTreeMap;
use std::sync::Arc;

use logyard_sys::Disk;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::received::{JobSettings, ReceiveJob, Receiving};
use crate::settings::AgentSettings;
use crate::spool_shared::SharedSpool;
use crate::stage_metrics::StageMetrics;
use crate::{source_forward, source_gelf, source_journal, source_loki_push, source_stdin, source_syslog};

/// What the receivers are started with.
#[derive(Debug)]
pub(crate) struct ReceiveParts<'a> {
    pub(crate) settings: &'a AgentSettings,
    pub(crate) common_labels: &'a BTreeMap<String, String>,
    pub(crate) receiving: Receiving,
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) stage_metrics: &'a StageMetrics,
    pub(crate) spool: &'a SharedSpool,
    /// Turns true at the end of the standard input.
    pub(crate) input_ended: &'a watch::Sender<bool>,
}

/// Starts them. Errors: a setting that cannot be used, a port that is taken; then those started before go on until
/// the agent, which does not start, is dropped.
pub(crate) async fn start(parts: ReceiveParts<'_>) -> Result<Vec<JoinHandle<()>>, Error> {
    let ReceiveParts { settings, receiving, disk, spool, .. } = &parts;
    let mut started = Vec::new();
    for syslog in &settings.syslog {
        let job = parts.job(source_syslog::job_settings(syslog))?;
        started.push(source_syslog::start(syslog, job, receiving, Arc::clone(disk)).await?);
    }
    for gelf in &settings.gelf {
        let job = parts.job(source_gelf::job_settings(gelf))?;
        started.push(source_gelf::start(gelf, job, receiving, Arc::clone(disk)).await?);
    }
    for forward in &settings.forward {
        let job = parts.job(source_forward::job_settings(forward))?;
        started.push(source_forward::start(forward, job, receiving, Arc::clone(disk)).await?);
    }
    for push in &settings.loki_push {
        let job = parts.job(source_loki_push::job_settings(push))?;
        started.push(source_loki_push::start(push, job, receiving, spool, &***disk).await?);
    }
    let mut journals = Vec::new();
    for journal in &settings.journal {
        journals.push((journal.clone(), parts.job(source_journal::job_settings(journal))?));
    }
    started.extend(source_journal::start(journals, receiving, spool)?);
    if settings.stdin.enabled {
        let job = parts.job(source_stdin::job_settings(&settings.stdin))?;
        started.push(source_stdin::start(std::io::stdin(), &job, receiving, parts.input_ended.clone()));
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
