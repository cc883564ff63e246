//! Mends a data folder that no process uses, as far as it can be mended.
//!
//! First a deep check tells what is bad. Then the store is opened, which mends catalog and write-ahead log as every
//! start does: bad parts go to quarantine, whole records stay, a lost catalog is written anew from the segments.
//! Then segments that cannot be read are taken out of service, and those with bad blocks or indexes are written anew
//! without them, by the code that compaction uses. Nothing is thrown away: what goes lies in `quarantine/`. Last, a
//! second check tells what is left. A crash in between leaves a folder that starts, and can be mended again.

use crate::compaction::{self, Form};
use crate::compaction_plan::Job;
use crate::error::{Error, Result};
use crate::fsck::{Finding, FsckReport, Progress, Remedy, fsck};
use crate::maintenance::Pace;
use crate::segment::Segment;
use crate::settings::{RetentionSettings, StoreSettings};
use crate::shared::Shared;
use crate::store::{Store, StoreParts, StoreRules};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairOptions {
    /// Only tell what would be done.
    pub is_dry_run: bool,
    /// Take segments whose entries are gone for good out of the catalog, so that queries stop warning of them.
    pub forgets_lost: bool,
}

/// What was mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// What was found first.
    pub before: FsckReport,
    /// What was done about it, or would be; one sentence each.
    pub steps: Vec<String>,
    /// What could not be done, with the reason; one sentence each.
    pub failures: Vec<String>,
    /// What is found now; absent if nothing was done.
    pub after: Option<FsckReport>,
}

/// Checks a data folder and mends what can be mended.
///
/// Errors: as [`fsck`], and as opening the store; what was mended until then stays so.
/// Cost: two deep checks; room on the disk for one segment and its copy. Blocks the thread that polls it.
pub async fn repair(
    root: &Path,
    settings: &StoreSettings,
    parts: StoreParts<'_>,
    options: RepairOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<RepairReport> {
    let disk = Arc::clone(&parts.disk);
    let before = fsck(&*disk, root, true, progress)?;
    let plan = plan(&before.findings);
    let has_lost = options.forgets_lost
        && before.findings.iter().any(|finding| matches!(finding.remedy, Remedy::Restore { .. }));
    let is_needed = has_lost || before.findings.iter().any(is_mended);
    let mut report = RepairReport { before, steps: Vec::new(), failures: Vec::new(), after: None };
    report.steps = sentences(&report.before.findings, &plan, has_lost);
    if options.is_dry_run || !is_needed {
        return Ok(report);
    }
    let mut settings = settings.clone();
    settings.compaction.cpu_share_max = 1.0;
    // What is mended is kept, whatever its age; and nobody has parsed the policies.
    settings.retention = RetentionSettings { period_secs: Some(0), ..RetentionSettings::default() };
    settings.flush.on_close = true;
    // Nothing but what was found is to change.
    let store = Store::open_at_rest(root, settings, StoreRules::default(), parts)?;
    let mended = mend(&store, &plan, has_lost, &mut report.failures).await;
    store.close().await?;
    mended?;
    report.after = Some(fsck(&*disk, root, true, progress)?);
    Ok(report)
}

/// What to do with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Rewrite,
    Quarantine,
}

/// Returns what to do by segment and why: one that cannot be read is not written anew.
fn plan(findings: &[Finding]) -> BTreeMap<String, (Action, String)> {
    let mut plan: BTreeMap<String, (Action, String)> = BTreeMap::new();
    for finding in findings {
        let (ulid, action) = match &finding.remedy {
            Remedy::Rewrite { ulid } => (ulid, Action::Rewrite),
            Remedy::Quarantine { ulid } => (ulid, Action::Quarantine),
            _ => continue,
        };
        let planned = plan.entry(ulid.clone()).or_insert_with(|| (action, finding.what.clone()));
        if action > planned.0 {
            *planned = (action, finding.what.clone());
        }
    }
    plan
}

/// Returns whether something is done about a finding.
fn is_mended(finding: &Finding) -> bool {
    matches!(finding.remedy, Remedy::Rewrite { .. } | Remedy::Quarantine { .. })
        || finding.is_damage && finding.remedy == Remedy::Open
}

fn sentences(findings: &[Finding], plan: &BTreeMap<String, (Action, String)>, has_lost: bool) -> Vec<String> {
    let mut steps = Vec::new();
    for finding in findings.iter().filter(|finding| finding.is_damage && finding.remedy == Remedy::Open) {
        steps.push(format!("mend {}: {}", finding.path, finding.what));
    }
    for (ulid, (action, _)) in plan {
        steps.push(match action {
            Action::Quarantine => format!("move segment {ulid} to quarantine/: nothing in it can be read"),
            Action::Rewrite => {
                format!("write segment {ulid} anew without what is bad, which goes to quarantine/")
            }
        });
    }
    if has_lost {
        steps.push("forget the segments that are missing or out of service".to_owned());
    }
    steps
}

async fn mend(
    store: &Store,
    plan: &BTreeMap<String, (Action, String)>,
    has_lost: bool,
    failures: &mut Vec<String>,
) -> Result<()> {
    store.recovered().await?;
    let shared = store.shared();
    for (ulid, (action, why)) in plan {
        let segments = Arc::clone(&shared.view.read().segments);
        // Opening may have taken it out of service already.
        let Some(segment) = segments.iter().find(|segment| segment.record.ulid == *ulid).map(Arc::clone)
        else {
            continue;
        };
        drop(segments);
        match action {
            Action::Quarantine => shared.lose(&segment, &Error::corrupt(why.clone())),
            Action::Rewrite => {
                if let Err(error) = rewrite(shared, segment) {
                    failures.push(format!("cannot write segment {ulid} anew: {error}"));
                }
            }
        }
    }
    shared.sweep();
    if has_lost {
        shared.forget_lost(|_| true)?;
    }
    Ok(())
}

fn rewrite(shared: &Shared, segment: Arc<Segment>) -> Result<()> {
    let job = Job::rewrite(&segment.record);
    drop(segment);
    compaction::run(shared, &job, Form::BEST, &mut Pace::new(shared)).map(drop)
}
