//! `logyard storage`: what is stored, how much room it takes and when it goes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_model::Tenant;
use logyard_store::parse_day;
use logyard_store::storage_report::{
    STREAMS_MAX, StorageDay, StorageLimits, StorageQuery, StorageReport, of_folder,
};
use logyard_sys::{Disk, RealClock};

use crate::args::StorageArguments;
use crate::assemble::store_settings;
use crate::config::Settings;
use crate::{output, own_store};

/// Longest wait for the running store: it may read the tables of all files.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Runs the subcommand.
pub(crate) fn run(
    arguments: &StorageArguments,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let query = query(arguments)?;
    // A store that keeps tenants apart tells nobody of all.
    let is_asked = query.tenant.is_some() || !settings.server.auth_enabled;
    let answered = if is_asked { ask(arguments, &query, settings)? } else { None };
    let report = match answered {
        Some(report) => report,
        None => {
            let (store_settings, policies) = store_settings(settings)?;
            of_folder(disk, &RealClock::new(), &settings.data_dir, &store_settings, policies, &query)?
        }
    };
    output::print(&if arguments.json { output::json(&report)? } else { text(&report) })
}

fn query(arguments: &StorageArguments) -> anyhow::Result<StorageQuery> {
    let tenant = arguments.tenant.as_deref().map(Tenant::new).transpose().context("cannot use --tenant")?;
    anyhow::ensure!(
        arguments.streams <= STREAMS_MAX,
        "cannot use --streams {}: want at most {STREAMS_MAX}",
        arguments.streams
    );
    Ok(StorageQuery {
        tenant,
        days: day("--from", arguments.from.as_deref(), i32::MIN)?
            ..=day("--to", arguments.to.as_deref(), i32::MAX)?,
        streams_max: arguments.streams,
    })
}

/// Reads a day of the command line.
pub(crate) fn day(flag: &str, text: Option<&str>, default: i32) -> anyhow::Result<i32> {
    let Some(text) = text else { return Ok(default) };
    parse_day(text).with_context(|| format!("cannot use {flag} {text:?}: want a day as in 2026-06-01"))
}

/// Asks the running store; `None` if nobody answers, or if it does not tell of this tenant alone.
fn ask(
    arguments: &StorageArguments,
    query: &StorageQuery,
    settings: &Settings,
) -> anyhow::Result<Option<StorageReport>> {
    if query.tenant.is_some() && !settings.server.auth_enabled {
        return Ok(None);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")?;
    let client = own_store::client(settings, query.tenant.clone(), ANSWER_WAIT)?;
    let (from, to) = (arguments.from.as_deref(), arguments.to.as_deref());
    match runtime.block_on(client.storage(arguments.streams, from, to)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).context("read the answer")?)),
        Err(error) if own_store::is_silent(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn text(report: &StorageReport) -> String {
    let mut text = String::new();
    let row = |day: &StorageDay| {
        vec![
            dashed(&day.day),
            day.tenant.clone(),
            day.class.clone(),
            day.sums.entries.to_string(),
            output::bytes(day.sums.raw_bytes),
            output::bytes(day.sums.bytes),
            ratio(day.sums.raw_bytes, day.sums.bytes),
            day.sums.files.to_string(),
            day.deletion_ns.map_or_else(|| "never".to_owned(), output::time),
        ]
    };
    let totals = &report.totals;
    let mut rows: Vec<Vec<String>> = report.days.iter().map(row).collect();
    rows.push(vec![
        "total".to_owned(),
        String::new(),
        String::new(),
        totals.entries.to_string(),
        output::bytes(totals.raw_bytes),
        output::bytes(totals.bytes),
        ratio(totals.raw_bytes, totals.bytes),
        totals.files.to_string(),
        String::new(),
    ]);
    let head = ["day", "tenant", "class", "entries", "lines", "stored", "ratio", "files", "goes from"];
    table(&mut text, &head, 3..8, &rows);
    if report.streams_total.is_some() {
        text.push('\n');
        streams(&mut text, report);
    }
    text.push('\n');
    facts(&mut text, report);
    text
}

fn streams(text: &mut String, report: &StorageReport) {
    let rows: Vec<Vec<String>> = report
        .streams
        .iter()
        .map(|one| {
            vec![
                one.entries.to_string(),
                output::bytes(one.raw_bytes),
                output::bytes(one.bytes),
                ratio(one.raw_bytes, one.bytes),
                output::time(one.max_ns),
                kept(one.period_secs),
                one.tenant.clone(),
                one.stream.clone(),
            ]
        })
        .collect();
    let head = ["entries", "lines", "stored", "ratio", "newest", "kept", "tenant", "stream"];
    table(text, &head, 0..4, &rows);
    let left_out = report.streams_total.unwrap_or(0).saturating_sub(report.streams.len() as u64);
    if left_out > 0 {
        output::line(text, format_args!("and {left_out} smaller streams: --streams NUMBER shows more"));
    }
    output::line(
        text,
        format_args!(
            "stored: the stream's share of its blocks, by bytes of lines; {} of tables and indexes belong to none",
            output::bytes(report.totals.index_bytes)
        ),
    );
}

/// Tells what bounds the store, and what is near its bound.
fn facts(text: &mut String, report: &StorageReport) {
    if report.unreadable_files > 0 {
        let files = report.unreadable_files;
        output::line(text, format_args!("incomplete  {files} files cannot be read: run logyard fsck"));
    }
    match &report.memory {
        Some(memory) => {
            let lines = output::bytes(memory.raw_bytes);
            output::line(
                text,
                format_args!("memory      {} entries, {lines}, not yet in files", memory.entries),
            );
        }
        None => text.push_str("memory      not seen: the folder was read, no running store was asked\n"),
    }
    if let Some(disk) = &report.disk {
        let percent = disk.free_bytes.saturating_mul(100) / disk.total_bytes.max(1);
        output::line(
            text,
            format_args!(
                "disk        {} of {} free ({percent} %), {} are to stay free; write-ahead log {}; {} snapshots",
                output::bytes(disk.free_bytes),
                output::bytes(disk.total_bytes),
                output::bytes(disk.free_bytes_min),
                output::bytes(disk.wal_bytes),
                disk.snapshots
            ),
        );
    }
    limits(text, &report.limits);
    if report.limits.bytes_max == 0 {
        text.push_str("size cap    none (store.retention.bytes_max)\n");
        return;
    }
    let max = output::bytes(report.limits.bytes_max);
    match report.cap.bytes_over {
        0 => output::line(text, format_args!("size cap    {max} (store.retention.bytes_max)")),
        over => output::line(
            text,
            format_args!("size cap    {max} (store.retention.bytes_max), {} too many", output::bytes(over)),
        ),
    }
    for row in &report.cap.next {
        output::line(
            text,
            format_args!(
                "  goes next {} {} {}: {} files, {}",
                dashed(&row.day),
                row.tenant,
                row.class,
                row.files,
                output::bytes(row.bytes)
            ),
        );
    }
}

fn limits(text: &mut String, limits: &StorageLimits) {
    output::line(text, format_args!("kept        {}", kept(limits.period_secs)));
    for policy in &limits.policies {
        let whose = policy.tenant.as_deref().map(|tenant| format!(" of {tenant}")).unwrap_or_default();
        let selector = if policy.selector.is_empty() { "the rest" } else { &policy.selector };
        output::line(
            text,
            format_args!(
                "            {} for {selector}{whose}, priority {}",
                kept(policy.period_secs),
                policy.priority
            ),
        );
    }
}

/// Writes a table with two spaces between columns; those of `numbers` stand at the right.
fn table(text: &mut String, head: &[&str], numbers: std::ops::Range<usize>, rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in all() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match numbers.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        output::line(text, format_args!("{}", cells.join("  ").trim_end()));
    }
}

/// Returns how many bytes of lines a stored byte stands for.
fn ratio(raw_bytes: u64, bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { format!("{:.1}", raw_bytes as f64 / bytes as f64) }
}

/// Returns a period in its largest whole unit.
fn kept(period_secs: u64) -> String {
    match period_secs {
        0 => "for ever".to_owned(),
        secs if secs.is_multiple_of(86_400) => format!("{} d", secs / 86_400),
        secs if secs.is_multiple_of(3_600) => format!("{} h", secs / 3_600),
        secs => format!("{secs} s"),
    }
}

/// Returns a day with hyphens; one beyond four digits of a year as it is.
pub(crate) fn dashed(day: &str) -> String {
    match (day.get(..4), day.get(4..6), day.get(6..)) {
        (Some(year), Some(month), Some(date)) if day.len() == 8 => format!("{year}-{month}-{date}"),
        _ => day.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use logyard_store::RetentionPolicySettings;
    use logyard_store::storage_report::{
        StorageCap, StorageCapRow, StorageDisk, StorageMemory, StorageStream, StorageSums,
    };

    use super::*;

    fn report() -> StorageReport {
        let sums =
            StorageSums { files: 2, entries: 1234, raw_bytes: 10 << 20, bytes: 1 << 20, index_bytes: 2048 };
        let day = |name: &str, tenant: &str, deletion_ns| StorageDay {
            day: name.to_owned(),
            tenant: tenant.to_owned(),
            class: "30d".to_owned(),
            sums,
            min_ns: 0,
            max_ns: 0,
            deletion_ns,
        };
        StorageReport {
            now_ns: 0,
            tenant: None,
            totals: sums,
            days: vec![
                day("20260601", "fake", Some(1_782_950_399_999_999_999)),
                day("20260602", "a-long-one", None),
            ],
            streams: vec![StorageStream {
                tenant: "fake".to_owned(),
                stream: r#"{app="web"}"#.to_owned(),
                entries: 7,
                raw_bytes: 2048,
                bytes: 1024,
                min_ns: 0,
                max_ns: 0,
                period_secs: 0,
            }],
            streams_total: Some(3),
            unreadable_files: 1,
            memory: Some(StorageMemory { entries: 5, raw_bytes: 100 }),
            disk: Some(StorageDisk {
                free_bytes: 1 << 30,
                total_bytes: 4 << 30,
                free_bytes_min: 1 << 28,
                wal_bytes: 512,
                snapshots: 2,
            }),
            limits: StorageLimits {
                period_secs: 30 * 86_400,
                policies: vec![RetentionPolicySettings {
                    selector: r#"{app="db"}"#.to_owned(),
                    tenant: Some("t".to_owned()),
                    period_secs: 5400,
                    priority: 1,
                }],
                bytes_max: 1 << 20,
            },
            cap: StorageCap {
                bytes_over: 1024,
                next: vec![StorageCapRow {
                    day: "20260601".to_owned(),
                    tenant: "fake".to_owned(),
                    class: "30d".to_owned(),
                    files: 2,
                    bytes: 1 << 20,
                }],
            },
        }
    }

    #[test]
    fn a_report_is_a_table_and_the_bounds() {
        let want = "\
day         tenant      class  entries     lines   stored  ratio  files  goes from
2026-06-01  fake        30d       1234  10.0 MiB  1.0 MiB   10.0      2  2026-07-01T23:59:59Z
2026-06-02  a-long-one  30d       1234  10.0 MiB  1.0 MiB   10.0      2  never
total                             1234  10.0 MiB  1.0 MiB   10.0      2

entries    lines   stored  ratio  newest                kept      tenant  stream
      7  2.0 KiB  1.0 KiB    2.0  1970-01-01T00:00:00Z  for ever  fake    {app=\"web\"}
and 2 smaller streams: --streams NUMBER shows more
stored: the stream's share of its blocks, by bytes of lines; 2.0 KiB of tables and indexes belong to none

incomplete  1 files cannot be read: run logyard fsck
memory      5 entries, 100 B, not yet in files
disk        1.0 GiB of 4.0 GiB free (25 %), 256.0 MiB are to stay free; write-ahead log 512 B; 2 snapshots
kept        30 d
            5400 s for {app=\"db\"} of t, priority 1
size cap    1.0 MiB (store.retention.bytes_max), 1.0 KiB too many
  goes next 2026-06-01 fake 30d: 2 files, 1.0 MiB
";
        assert_eq!(text(&report()), want);
    }

    #[test]
    fn days_and_counts_are_checked() {
        let arguments = StorageArguments { streams: 0, from: None, to: None, tenant: None, json: false };
        assert_eq!(query(&arguments).unwrap().days, i32::MIN..=i32::MAX);
        for (bad, part) in [
            (StorageArguments { from: Some("June".to_owned()), ..arguments.clone() }, "--from \"June\""),
            (StorageArguments { to: Some("2026-13-01".to_owned()), ..arguments.clone() }, "--to"),
            (StorageArguments { streams: 10_001, ..arguments.clone() }, "at most 10000"),
            (StorageArguments { tenant: Some("../x".to_owned()), ..arguments }, "--tenant"),
        ] {
            let error = query(&bad).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
