//! `logyard fsck` and `logyard repair`: checks and mends the data folder while no process uses it. A check looks at the
//! agent's folder in it, too.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use logyard_agent::spool_check::{SpoolReport, check_spool};
use logyard_store::StoreParts;
use logyard_store::fsck::{Finding, FsckReport, Progress, Remedy, fsck};
use logyard_store::repair::{RepairOptions, RepairReport, repair};
use logyard_sys::{Clock, Disk, Random, RealClock};
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::args::{FsckArguments, RepairArguments};
use crate::config::Settings;
use crate::output::{self, ProgressLine};

/// Checks the data folder and prints what was found. Returns whether nothing is damaged.
pub(crate) fn run(arguments: FsckArguments, settings: &Settings, disk: &dyn Disk) -> anyhow::Result<bool> {
    let mut line = ProgressLine::new("checking", arguments.json);
    let root = &*settings.data_dir;
    let store = match is_agents_alone(disk, root)? {
        true => None,
        false => Some(fsck(disk, root, arguments.deep, &mut |progress| line.show(progress))?),
    };
    let agent = check_spool(disk, root, arguments.deep).context("cannot check the agent's folder")?;
    drop(line);
    let is_clean = store.as_ref().is_none_or(FsckReport::is_clean)
        && !agent.iter().flat_map(|agent| &agent.findings).any(|finding| finding.is_damage);
    let text = match arguments.json {
        true => output::json(&Checked { store, agent })?,
        false => checked_text(store.as_ref(), agent.as_ref(), is_clean),
    };
    output::print(&text)?;
    Ok(is_clean)
}

/// What a check prints as JSON: the store's fields, and the agent's beside them.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    store: Option<FsckReport>,
    agent: Option<SpoolReport>,
}

/// Tells whether only an agent runs in a folder. What a store leaves behind is more than its catalog, which may be the
/// very thing that is lost.
fn is_agents_alone(disk: &dyn Disk, root: &Path) -> anyhow::Result<bool> {
    let is_there = |name: &str| {
        let dir = root.join(name);
        let meta = disk.metadata(&dir).with_context(|| format!("cannot look at {}", dir.display()))?;
        anyhow::Ok(meta.is_some_and(|meta| meta.is_dir))
    };
    Ok(is_there("agent")? && !is_there("catalog")? && !is_there("tenants")? && !is_there("wal")?)
}

fn checked_text(store: Option<&FsckReport>, agent: Option<&SpoolReport>, is_clean: bool) -> String {
    let mut text = store.map(fsck_text).unwrap_or_default();
    if let Some(agent) = agent {
        text.push_str(&spool_text(agent));
    }
    if is_clean {
        text.push_str("clean\n");
    }
    text
}

fn spool_text(report: &SpoolReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let word = if finding.is_damage { "DAMAGED" } else { "note" };
        let at = finding.offset.map(|offset| format!(" at {offset}")).unwrap_or_default();
        output::line(&mut text, format_args!("{word:<8} {}{at}: {}", finding.path, finding.what));
    }
    output::line(
        &mut text,
        format_args!(
            "checked the agent: {} in {} records of its spool, {} batches with {} entries to be pushed, {} positions, {} \
             refused batches",
            output::bytes(report.bytes),
            report.records,
            report.waiting_batches,
            report.waiting_entries,
            report.positions,
            report.refused_batches
        ),
    );
    if report.findings.iter().any(|finding| finding.is_damage && finding.path.contains("spool")) {
        text.push_str(
            "the next start of the agent mends its spool, and reads again what was not acknowledged\n",
        );
    }
    text
}

/// Mends the data folder and prints what was done. Returns whether nothing is damaged any more.
pub(crate) fn run_repair(
    arguments: RepairArguments,
    settings: &Settings,
    disk: Arc<dyn Disk>,
) -> anyhow::Result<bool> {
    let mut line = ProgressLine::new("checking", arguments.json);
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let parts = StoreParts { disk, clock, random: Arc::new(Random::os()), registry: &mut registry };
    let options = RepairOptions { is_dry_run: arguments.dry_run, forgets_lost: arguments.forget_lost };
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start threads")?;
    let mut show = |progress: &Progress| line.show(progress);
    let mended = repair(&settings.data_dir, &settings.store, parts, options, &mut show);
    let report = runtime.block_on(mended)?;
    drop(line);
    let text = match arguments.json {
        true => output::json(&report)?,
        false => repair_text(&report, arguments.dry_run),
    };
    output::print(&text)?;
    Ok(report.failures.is_empty() && report.after.as_ref().unwrap_or(&report.before).is_clean())
}

fn fsck_text(report: &FsckReport) -> String {
    let mut text = findings_text(report);
    let damaged = report.findings.iter().filter(|finding| finding.is_damage);
    let entries: u64 = damaged.clone().map(|finding| finding.entries).sum();
    let how = if report.is_deep { "every byte" } else { "without blocks (--deep checks them too)" };
    output::line(
        &mut text,
        format_args!(
            "checked {}: {} segments, {} blocks, {} entries, {} batches in the write-ahead log, {} edits of the catalog; {}",
            output::bytes(report.bytes),
            report.segments,
            report.blocks,
            report.entries,
            report.wal_records,
            report.catalog_edits,
            how
        ),
    );
    if report.quarantined > 0 {
        output::line(
            &mut text,
            format_args!("{} files in quarantine/, kept for you to look at or remove", report.quarantined),
        );
    }
    let count = damaged.count();
    if count > 0 {
        let what = format!("{count} damaged, {entries} entries cannot be answered");
        output::line(&mut text, format_args!("{what}; {}", advice(&report.findings)));
    }
    text
}

fn findings_text(report: &FsckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let word = if finding.is_damage { "DAMAGED" } else { "note" };
        let at = finding.offset.map(|offset| format!(" at {offset}")).unwrap_or_default();
        let lost = match finding.entries {
            0 => String::new(),
            entries => format!(" ({entries} entries)"),
        };
        output::line(&mut text, format_args!("{word:<8} {}{at}: {}{lost}", finding.path, finding.what));
    }
    text
}

/// Says what to do about damage.
fn advice(findings: &[Finding]) -> &'static str {
    let damaged = || findings.iter().filter(|finding| finding.is_damage);
    if damaged().any(|finding| finding.remedy == Remedy::NewerVersion) {
        return "run the version of logyard that wrote it, or restore the files from a backup";
    }
    let is_gone = |finding: &Finding| matches!(finding.remedy, Remedy::Restore { .. });
    if damaged().all(is_gone) {
        return "restore the files from a backup, or run logyard repair --forget-lost if there is none";
    }
    "restore the files from a backup if there is one, then run logyard repair"
}

fn repair_text(report: &RepairReport, is_dry_run: bool) -> String {
    let mut text = findings_text(&report.before);
    let word = if is_dry_run { "would" } else { "did" };
    for step in &report.steps {
        output::line(&mut text, format_args!("{word:<8} {step}"));
    }
    for failure in &report.failures {
        output::line(&mut text, format_args!("FAILED   {failure}"));
    }
    let before = &report.before;
    let state =
        |report: &FsckReport| format!("{} damaged, {} entries in segments", report.damages(), report.entries);
    output::line(&mut text, format_args!("before   {}", state(before)));
    match &report.after {
        Some(after) => {
            output::line(&mut text, format_args!("after    {}", state(after)));
            if !after.is_clean() {
                output::line(&mut text, format_args!("left     {}", advice(&after.findings)));
            }
        }
        None if before.is_clean() => text.push_str("nothing to do\n"),
        None if report.steps.is_empty() => {
            output::line(&mut text, format_args!("left     {}", advice(&before.findings)))
        }
        None => text.push_str("nothing was changed: run without --dry-run\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use logyard_agent::spool_check::SpoolFinding;

    use super::*;

    fn finding(remedy: Remedy) -> Finding {
        Finding {
            is_damage: true,
            path: "tenants/x.seg".to_owned(),
            offset: Some(64),
            what: "block 0: checksum mismatch".to_owned(),
            entries: 7,
            remedy,
        }
    }

    #[test]
    fn a_store_without_its_catalog_is_no_agent() {
        let disk = logyard_sys::SimDisk::new();
        let root = Path::new("/data");
        let alone = || is_agents_alone(&disk, root).unwrap();
        assert!(!alone());
        disk.create_dir_all(&root.join("agent")).unwrap();
        assert!(alone());
        for left in ["wal", "tenants", "catalog"] {
            disk.create_dir_all(&root.join(left)).unwrap();
            assert!(!alone(), "{left}");
            disk.remove_dir(&root.join(left)).unwrap();
        }
        assert!(alone());
    }

    #[test]
    fn a_report_says_what_to_do() {
        let check = |remedy: Remedy, part: &str| {
            let report = FsckReport { findings: vec![finding(remedy)], ..FsckReport::default() };
            let text = fsck_text(&report);
            assert!(
                text.contains("DAMAGED  tenants/x.seg at 64: block 0: checksum mismatch (7 entries)"),
                "{text}"
            );
            assert!(text.contains(part), "{text}");
        };
        let ulid = || "01".to_owned();
        check(Remedy::Rewrite { ulid: ulid() }, "then run logyard repair");
        check(Remedy::Restore { ulid: ulid() }, "logyard repair --forget-lost");
        check(Remedy::NewerVersion, "run the version of logyard that wrote it");
        let agent = SpoolReport { waiting_batches: 2, waiting_entries: 7, ..SpoolReport::default() };
        let text = checked_text(Some(&FsckReport::default()), Some(&agent), true);
        assert!(
            text.contains("2 batches with 7 entries to be pushed") && text.ends_with("clean\n"),
            "{text}"
        );
        let finding = SpoolFinding {
            is_damage: true,
            path: "agent/spool/1.log".to_owned(),
            offset: Some(9),
            what: "torn".to_owned(),
        };
        let agent = SpoolReport { findings: vec![finding], ..SpoolReport::default() };
        let text = checked_text(None, Some(&agent), false);
        assert!(text.starts_with("DAMAGED  agent/spool/1.log at 9: torn"), "{text}");
        assert!(text.contains("the next start of the agent mends its spool"), "{text}");
    }

    #[test]
    fn a_repair_says_before_and_after() {
        let before = FsckReport {
            findings: vec![finding(Remedy::Rewrite { ulid: "01".to_owned() })],
            ..FsckReport::default()
        };
        let steps = vec!["write segment 01 anew".to_owned()];
        let mut report = RepairReport { before, steps, failures: Vec::new(), after: None };
        let text = repair_text(&report, true);
        assert!(
            text.contains("would    write segment 01 anew") && text.contains("without --dry-run"),
            "{text}"
        );
        report.after = Some(FsckReport::default());
        let text = repair_text(&report, false);
        assert!(
            text.ends_with(
                "before   1 damaged, 0 entries in segments\nafter    0 damaged, 0 entries in segments\n"
            ),
            "{text}"
        );
    }
}
