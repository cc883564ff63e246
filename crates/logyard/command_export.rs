//! `logyard export` and `logyard import`: segments of some days as a folder, and the way back.
//!
//! Both work through the running store or, if none answers, on the folder itself. An export reads a snapshot, made for it
//! and deleted afterwards, so that nothing changes under it. A running store takes an import in from its own folder only,
//! where it is put as links, so that nobody can have it read any other file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use logyard_client::Client;
use logyard_model::Tenant;
use logyard_store::export::{ExportInfo, ExportQuery, export};
use logyard_store::import::{ImportInfo, ImportOptions, stage, unstage};
use logyard_store::{Store, StoreParts, StoreRules};
use logyard_sys::{Clock, Disk, Random, RealClock};
use prometheus_client::registry::Registry;

use crate::args::{ExportArguments, ImportArguments};
use crate::assemble::store_settings;
use crate::command_snapshot::{self, ANSWER_WAIT};
use crate::command_storage::day;
use crate::config::Settings;
use crate::output::{self, ProgressLine};
use crate::own_store;

/// Runs `logyard export`.
pub(crate) fn run_export(
    arguments: &ExportArguments,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let query = ExportQuery {
        tenant: tenant(arguments.tenant.as_deref())?,
        days: day("--from", arguments.from.as_deref(), i32::MIN)?
            ..=day("--to", arguments.to.as_deref(), i32::MAX)?,
    };
    let client = own_store::client(settings, None, ANSWER_WAIT)?;
    let runtime = runtime()?;
    let id = format!("export-{:016x}", Random::os().next_u64());
    runtime
        .block_on(command_snapshot::create(&client, Some(&id), settings, disk))
        .context("cannot export: a snapshot is needed for it")?;
    let source = settings.data_dir.join("snapshots").join(&id);
    let mut line = ProgressLine::new("exporting", arguments.json);
    let done = check_source(&**disk, &source).and_then(|()| {
        let clock = RealClock::new();
        let mut show = |progress: &_| line.show(progress);
        Ok(export(disk, &clock, &source, &arguments.folder, &query, &mut show)?)
    });
    drop(line);
    let deleted = runtime.block_on(command_snapshot::delete(&client, &id, settings, disk));
    let info = done?;
    deleted.with_context(|| {
        format!("exported, but cannot delete snapshot {id}: delete it with logyard snapshot delete")
    })?;
    output::print(&if arguments.json { output::json(&info)? } else { exported(&info, &arguments.folder) })
}

/// Refuses a store whose folder is not here: a container's, or another configuration's.
fn check_source(disk: &dyn Disk, source: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        matches!(disk.metadata(source), Ok(Some(_))),
        "cannot find the snapshot of the running store at {}: it keeps its data elsewhere; name its folder with \
         --data-dir, or run this where it runs",
        source.display()
    );
    Ok(())
}

/// Runs `logyard import`.
pub(crate) fn run_import(
    arguments: &ImportArguments,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let options = ImportOptions { tenant: tenant(arguments.tenant.as_deref())? };
    let client = own_store::client(settings, None, ANSWER_WAIT)?;
    let runtime = runtime()?;
    let info = match runtime.block_on(client.snapshots()) {
        Ok(_) => import_online(&runtime, &client, arguments, settings, disk)?,
        Err(error) if own_store::is_silent(&error) => {
            let mut line = ProgressLine::new("importing", arguments.json);
            runtime.block_on(import_offline(&arguments.folder, &options, settings, disk, &mut line))?
        }
        Err(error) => return Err(error.into()),
    };
    output::print(&if arguments.json { output::json(&info)? } else { format!("{info}\n") })
}

fn import_online(
    runtime: &tokio::runtime::Runtime,
    client: &Client,
    arguments: &ImportArguments,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<ImportInfo> {
    let (disk, root) = (&**disk, &*settings.data_dir);
    let id = format!("import-{:016x}", Random::os().next_u64());
    let asked = stage(disk, root, &id, &arguments.folder).map_err(anyhow::Error::from).and_then(|()| {
        let answer = runtime.block_on(client.import(&id, arguments.tenant.as_deref()))?;
        serde_json::from_slice(&answer).context("read the answer")
    });
    let removed = unstage(disk, root, &id);
    let info = asked?;
    removed.context("imported")?;
    Ok(info)
}

async fn import_offline(
    folder: &Path,
    options: &ImportOptions,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    line: &mut ProgressLine,
) -> anyhow::Result<ImportInfo> {
    let (store_settings, policies) = store_settings(settings)?;
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let parts =
        StoreParts { disk: Arc::clone(disk), clock, random: Arc::new(Random::os()), registry: &mut registry };
    let rules = StoreRules { policies, ..StoreRules::default() };
    let store = Store::open_at_rest(&settings.data_dir, store_settings, rules, parts)?;
    let imported = match store.recovered().await {
        Ok(()) => store.import(folder, options, &mut |progress| line.show(progress)),
        Err(error) => Err(error),
    };
    store.close().await?;
    Ok(imported?)
}

fn tenant(name: Option<&str>) -> anyhow::Result<Option<Tenant>> {
    name.map(Tenant::new).transpose().context("cannot use --tenant")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")
}

fn exported(info: &ExportInfo, folder: &Path) -> String {
    format!(
        "exported {} files, {} entries, {}, of which {} copied\n{}\n",
        info.files,
        info.entries,
        output::bytes(info.bytes),
        output::bytes(info.copied_bytes),
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use logyard_sys::RealDisk;

    use super::*;

    #[test]
    fn stopped_stores_export_and_import() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        // Nobody listens on the port that connections cannot have.
        let mut settings = Settings {
            data_dir: dir.path().join("data"),
            listen: "127.0.0.1:0".to_owned(),
            ..Settings::default()
        };
        settings.store.disk.ballast_bytes = 0;
        settings.store.disk.free_bytes_min = Some(0);
        let folder = dir.path().join("out");
        let mut asked = ExportArguments {
            folder: folder.clone(),
            from: Some("2026-06-01".to_owned()),
            to: None,
            tenant: None,
            json: true,
        };
        run_export(&asked, &settings, &disk).unwrap();
        let left = disk.list(&settings.data_dir.join("snapshots")).unwrap();
        assert!(left.is_empty(), "the snapshot is gone: {left:?}");
        assert!(run_export(&asked, &settings, &disk).unwrap_err().to_string().contains("not empty"));
        asked.from = Some("June".to_owned());
        assert!(run_export(&asked, &settings, &disk).unwrap_err().to_string().contains("--from"));
        let import = |folder: &Path, tenant: Option<&str>| {
            let tenant = tenant.map(str::to_owned);
            run_import(&ImportArguments { folder: folder.to_owned(), tenant, json: false }, &settings, &disk)
        };
        import(&folder, None).unwrap();
        import(&folder, Some("team")).unwrap();
        assert!(import(&folder, Some("../x")).unwrap_err().to_string().contains("--tenant"));
        assert!(import(dir.path(), None).unwrap_err().to_string().contains("no export"));
    }
}
