//! `logyard snapshot`: makes, lists and deletes snapshots, through the running store or, if none answers, in the
//! folder itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_client::{Client, ClientSettings, Error};
use logyard_store::snapshot::{SnapshotInfo, delete_snapshot, list_snapshots};
use logyard_store::{Store, StoreParts};
use logyard_sys::{Clock, Disk, Random, RealClock};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::args::SnapshotCommand;
use crate::config::Settings;
use crate::output;

/// Longest wait for the running store: a flush and, where files cannot be linked, a copy of everything.
const ANSWER_WAIT: Duration = Duration::from_secs(3_600);

/// What the running store answers to a listing.
#[derive(Deserialize)]
struct Listed {
    snapshots: Vec<SnapshotInfo>,
}

/// Runs a subcommand.
pub(crate) fn run(
    command: &SnapshotCommand,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let client = Client::new(
            &own_address(&settings.listen, &settings.server.path_prefix),
            ClientSettings {
                timeout: ANSWER_WAIT,
                org_id: None,
                user_agent: concat!("logyard/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        )
        .context("cannot use listen")?;
        let text = match command {
            SnapshotCommand::Create { id, json } => {
                let made = match client.create_snapshot(id.as_deref()).await {
                    Ok(bytes) => serde_json::from_slice(&bytes).context("read the answer")?,
                    Err(error) if is_silent(&error) => create_offline(id.as_deref(), settings, disk).await?,
                    Err(error) => return Err(error.into()),
                };
                if *json { output::json(&made)? } else { made_text(&made) }
            }
            SnapshotCommand::List { json } => {
                let snapshots = match client.snapshots().await {
                    Ok(bytes) => {
                        serde_json::from_slice::<Listed>(&bytes).context("read the answer")?.snapshots
                    }
                    Err(error) if is_silent(&error) => list_snapshots(&**disk, &settings.data_dir)?,
                    Err(error) => return Err(error.into()),
                };
                if *json { output::json(&snapshots)? } else { list_text(&snapshots) }
            }
            SnapshotCommand::Delete { id } => {
                match client.delete_snapshot(id).await {
                    Ok(()) => {}
                    Err(error) if is_silent(&error) => {
                        let is_gone = delete_snapshot(&**disk, &settings.data_dir, id)?;
                        anyhow::ensure!(is_gone, "there is no snapshot {id}; see logyard snapshot list");
                    }
                    Err(error) => return Err(error.into()),
                }
                format!("deleted {id}\n")
            }
        };
        output::print(&text)
    })
}

/// Tells whether nobody answered at all.
fn is_silent(error: &Error) -> bool {
    error.status().is_none() && error.kind() == logyard_client::Kind::Unavailable
}

/// Opens the store for as long as it takes; a store that runs all the same holds the lock, and this refuses.
async fn create_offline(
    id: Option<&str>,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<SnapshotInfo> {
    let mut store_settings = settings.store.clone();
    // Nothing is to be tidied up beside.
    store_settings.compaction.enabled = false;
    store_settings.retention.period_secs = Some(0);
    store_settings.snapshots.keep_secs = 0;
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let parts =
        StoreParts { disk: Arc::clone(disk), clock, random: Arc::new(Random::os()), registry: &mut registry };
    let store = Store::open(&settings.data_dir, store_settings, parts)?;
    let made = store.create_snapshot(id).await;
    store.close().await?;
    Ok(made?)
}

/// Returns where a store with these settings is reached from its own machine.
fn own_address(listen: &str, path_prefix: &str) -> String {
    let reachable = match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    };
    format!("http://{reachable}{}", path_prefix.trim_end_matches('/'))
}

fn made_text(made: &SnapshotInfo) -> String {
    format!(
        "made {}: {} segments, {} entries, {}, of which {} copied\n{}\n",
        made.id,
        made.segments,
        made.entries,
        output::bytes(made.bytes),
        output::bytes(made.copied_bytes),
        made.path
    )
}

fn list_text(snapshots: &[SnapshotInfo]) -> String {
    if snapshots.is_empty() {
        return "no snapshots; make one with logyard snapshot create\n".to_owned();
    }
    let mut text = String::new();
    for one in snapshots {
        let (time, bytes) = (output::time(one.created_ns), output::bytes(one.bytes));
        output::line(
            &mut text,
            format_args!("{:<24} {time} {:>12} entries {bytes:>12}", one.id, one.entries),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use logyard_sys::RealDisk;

    use super::*;

    #[test]
    fn the_own_store_is_reached_over_loopback() {
        let check = |listen: &str, prefix: &str, want: &str| assert_eq!(own_address(listen, prefix), want);
        check("127.0.0.1:3100", "", "http://127.0.0.1:3100");
        check("0.0.0.0:1", "/logs/", "http://127.0.0.1:1/logs");
        check("[::]:2", "", "http://[::1]:2");
    }

    #[test]
    fn without_a_running_store_the_folder_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        // Nobody listens on the port that connections cannot have.
        let mut settings = Settings {
            data_dir: dir.path().to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            ..Settings::default()
        };
        settings.store.disk.ballast_bytes = 0;
        settings.store.disk.free_bytes_min = Some(0);
        run(&SnapshotCommand::Create { id: Some("one".to_owned()), json: false }, &settings, &disk).unwrap();
        run(&SnapshotCommand::List { json: true }, &settings, &disk).unwrap();
        let delete = SnapshotCommand::Delete { id: "one".to_owned() };
        run(&delete, &settings, &disk).unwrap();
        let error = run(&delete, &settings, &disk).unwrap_err();
        assert!(error.to_string().contains("there is no snapshot one"), "{error}");
    }
}
