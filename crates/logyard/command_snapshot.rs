//! `logyard snapshot`: makes, lists and deletes snapshots, through the running store or, if none answers, in the
//! folder itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_client::Client;
use logyard_store::snapshot::{SnapshotInfo, delete_snapshot, list_snapshots};
use logyard_store::{Store, StoreParts, StoreRules};
use logyard_sys::{Clock, Disk, Random, RealClock};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::args::SnapshotCommand;
use crate::assemble::store_settings;
use crate::config::Settings;
use crate::{output, own_store};

/// Longest wait for the running store: a flush and, where files cannot be linked, a copy of everything.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(3_600);

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
        let client = own_store::client(settings, None, ANSWER_WAIT)?;
        let text = match command {
            SnapshotCommand::Create { id, json } => {
                let made = create(&client, id.as_deref(), settings, disk).await?;
                if *json { output::json(&made)? } else { made_text(&made) }
            }
            SnapshotCommand::List { json } => {
                let snapshots = match client.snapshots().await {
                    Ok(bytes) => {
                        serde_json::from_slice::<Listed>(&bytes).context("read the answer")?.snapshots
                    }
                    Err(error) if own_store::is_silent(&error) => {
                        list_snapshots(&**disk, &settings.data_dir)?
                    }
                    Err(error) => return Err(error.into()),
                };
                if *json { output::json(&snapshots)? } else { list_text(&snapshots) }
            }
            SnapshotCommand::Delete { id } => {
                let is_gone = delete(&client, id, settings, disk).await?;
                anyhow::ensure!(is_gone, "there is no snapshot {id}; see logyard snapshot list");
                format!("deleted {id}\n")
            }
        };
        output::print(&text)
    })
}

/// Makes a snapshot through the running store or, if none answers, in the folder itself.
pub(crate) async fn create(
    client: &Client,
    id: Option<&str>,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<SnapshotInfo> {
    match client.create_snapshot(id).await {
        Ok(bytes) => serde_json::from_slice(&bytes).context("read the answer"),
        Err(error) if own_store::is_silent(&error) => create_offline(id, settings, disk).await,
        Err(error) => Err(error.into()),
    }
}

/// Deletes a snapshot likewise. Returns whether there was one.
pub(crate) async fn delete(
    client: &Client,
    id: &str,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<bool> {
    match client.delete_snapshot(id).await {
        Ok(()) => Ok(true),
        Err(error) if own_store::is_silent(&error) => Ok(delete_snapshot(&**disk, &settings.data_dir, id)?),
        Err(error) => Err(error.into()),
    }
}

/// Opens the store for as long as it takes; a store that runs all the same holds the lock, and this refuses.
async fn create_offline(
    id: Option<&str>,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<SnapshotInfo> {
    let (store_settings, policies) = store_settings(settings)?;
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let parts =
        StoreParts { disk: Arc::clone(disk), clock, random: Arc::new(Random::os()), registry: &mut registry };
    // Nothing is to be tidied up beside.
    let rules = StoreRules { policies, ..StoreRules::default() };
    let store = Store::open_at_rest(&settings.data_dir, store_settings, rules, parts)?;
    let made = store.create_snapshot(id).await;
    store.close().await?;
    Ok(made?)
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
    use logyard_store::RetentionPolicySettings;
    use logyard_sys::RealDisk;

    use super::*;

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
        settings.store.retention.bytes_max = 1;
        settings.store.retention.policies = vec![RetentionPolicySettings {
            selector: r#"{app="a"}"#.to_owned(),
            period_secs: 60,
            ..RetentionPolicySettings::default()
        }];
        run(&SnapshotCommand::Create { id: Some("one".to_owned()), json: false }, &settings, &disk).unwrap();
        run(&SnapshotCommand::List { json: true }, &settings, &disk).unwrap();
        let delete = SnapshotCommand::Delete { id: "one".to_owned() };
        run(&delete, &settings, &disk).unwrap();
        let error = run(&delete, &settings, &disk).unwrap_err();
        assert!(error.to_string().contains("there is no snapshot one"), "{error}");
    }
}
