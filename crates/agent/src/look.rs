//! What an agent with these settings would read: every container and every file, and why not.
//!
//! Nothing is read and nothing is written; no positions are needed. The rules are those of the agent at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use logyard_pipeline::Pipeline;
use logyard_sys::Disk;
use tokio::time::timeout;

use crate::container_stages::container_stages;
use crate::discovery::DockerRules;
use crate::docker_engine::{Engine, Listed};
use crate::engine_place::engine_places;
use crate::error::Error;
use crate::file_form::FileForm;
use crate::file_jobs::{FileJob, default_files, file_jobs};
use crate::file_lists::TargetLists;
use crate::file_target::is_binary;
use crate::labels::own_refusal;
use crate::machine::own_container_id;
use crate::received::{JobSettings, ReceiveJob};
use crate::report::{AgentReport, TargetKind, TargetReport, TargetState};
use crate::settings::AgentSettings;
use crate::source_file::LeftOut;
use crate::sources::host_label;
use crate::{source_forward, source_gelf, source_journal, source_loki_push, source_stdin, source_syslog};

/// Longest wait for the engine.
const ANSWER: Duration = Duration::from_secs(10);
/// Of a container whose log the engine does not keep.
const NO_LOG: &str = "its log driver is none; use json-file or local";

/// Looks at the engine and the disk once.
///
/// Shape: targets sorted by kind and name; the states are those in which an agent would begin. No agent id.
/// Errors: settings that cannot be used. Must run inside a tokio runtime.
pub async fn look(settings: &AgentSettings, data_dir: &Path, disk: &dyn Disk) -> Result<AgentReport, Error> {
    settings.check()?;
    let own_id = own_container_id(disk);
    let mut report = AgentReport::default();
    let places = match settings.docker.enabled {
        // Not in the agent's folder: one may be at work there.
        true => engine_places(&settings.docker, &data_dir.join("look"))
            .map_err(|error| Error::Setting { setting: "docker", reason: error.to_string() })?,
        false => Vec::new(),
    };
    let answers = join_all(places.iter().map(|place| timeout(ANSWER, Engine::connect(place, disk)))).await;
    let engines: Vec<Result<Engine, String>> = places
        .iter()
        .zip(answers)
        .map(|(place, answer)| match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the engine at {} does not answer within 10 s", place.host)),
        })
        .collect();
    let mut common_labels = settings.labels.clone();
    let own = places.iter().zip(&engines).find(|(place, _)| place.label.is_none());
    let own_engine = own.and_then(|(_, engine)| engine.as_ref().ok());
    let host_label = host_label(&settings.host, own_engine, own_id.is_some(), disk).await;
    common_labels.insert("host".to_owned(), host_label);
    for (place, engine) in places.iter().zip(&engines) {
        let engine = match engine {
            Ok(engine) => engine,
            Err(reason) => {
                report.engines.push(Err(reason.clone()));
                continue;
            }
        };
        let mut labels = common_labels.clone();
        if let Some(label) = &place.label {
            labels.insert("host".to_owned(), label.clone());
        }
        let rules = DockerRules::compile(&settings.docker, labels)?;
        let containers = timeout(ANSWER, engine.list()).await;
        let status = match containers {
            Ok(Ok(containers)) => {
                for container in containers {
                    let is_own = own_id.as_deref() == Some(&container.id);
                    report.targets.push(look_at(engine, &rules, container, is_own).await);
                }
                Ok(engine.report().clone())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the engine at {} does not list its containers within 10 s", place.host)),
        };
        report.engines.push(status);
    }
    let files = match settings.names_sources() {
        false if engines.iter().all(Result::is_err) => default_files(),
        _ => settings.files.clone(),
    };
    report.targets.extend(receivers(settings, &common_labels)?);
    let jobs = file_jobs(&files, &common_labels, settings.line_bytes_max as usize, &[])?;
    let mut lists = TargetLists::default();
    lists.look(&jobs, disk, 0);
    report.targets.extend(lists.faults());
    for job in lists.expand(&jobs, &[]) {
        let (found, _) = job.find(disk);
        if found.is_empty() {
            report.targets.push(job.without_match());
        }
        for path in found {
            report.targets.push(look_at_file(disk, &path, &job));
        }
    }
    report.targets.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(report)
}

/// Lists what would be listened on.
fn receivers(
    settings: &AgentSettings,
    common_labels: &BTreeMap<String, String>,
) -> Result<Vec<TargetReport>, Error> {
    let mut found = Vec::new();
    let mut add = |kind: TargetKind, name: String, job: JobSettings<'_>| -> Result<(), Error> {
        let job = ReceiveJob::compile(job, common_labels, settings.line_bytes_max as usize)?;
        found.push(TargetReport {
            kind,
            name,
            labels: job.shown_labels(),
            state: TargetState::Known,
            detail: String::new(),
            entries: 0,
        });
        Ok(())
    };
    for syslog in &settings.syslog {
        add(TargetKind::Receiver, source_syslog::name(syslog), source_syslog::job_settings(syslog))?;
    }
    for gelf in &settings.gelf {
        add(TargetKind::Receiver, source_gelf::name(gelf), source_gelf::job_settings(gelf))?;
    }
    for forward in &settings.forward {
        add(TargetKind::Receiver, source_forward::name(forward), source_forward::job_settings(forward))?;
    }
    for push in &settings.loki_push {
        add(TargetKind::Receiver, source_loki_push::name(push), source_loki_push::job_settings(push))?;
    }
    for journal in &settings.journal {
        add(TargetKind::Journal, source_journal::name(journal), source_journal::job_settings(journal))?;
    }
    if settings.stdin.enabled {
        let job = source_stdin::job_settings(&settings.stdin);
        add(TargetKind::Receiver, source_stdin::NAME.to_owned(), job)?;
    }
    Ok(found)
}

async fn look_at(engine: &Engine, rules: &DockerRules, container: Listed, is_own: bool) -> TargetReport {
    let Listed { id, mut facts, was_started, is_over } = container;
    let mut meta = BTreeMap::new();
    let mut driver = String::new();
    if let Ok(Ok(Some(inspected))) = timeout(ANSWER, engine.inspect(&id)).await {
        (facts, meta, driver) = (inspected.facts, inspected.meta, inspected.driver);
    }
    let labels = rules.labels(&id, &facts, &meta);
    let own_refusal = if is_own { own_refusal(&facts) } else { None };
    let refusal = own_refusal.or_else(|| rules.refusal(&id, &facts));
    let (state, detail) = if let Some(reason) = refusal {
        (TargetState::Excluded, reason.to_owned())
    } else if labels.outputs.iter().all(Option::is_none) {
        (TargetState::Excluded, "agent.docker.relabel leaves it out".to_owned())
    } else if driver == "none" {
        (TargetState::Unreadable, NO_LOG.to_owned())
    } else {
        let state = match (was_started, is_over) {
            (false, _) => TargetState::Known,
            (true, true) => TargetState::Idle,
            (true, false) => TargetState::Follow,
        };
        (state, container_stages(&facts, &Pipeline::default(), 1 << 10).1.join("; "))
    };
    TargetReport {
        kind: TargetKind::Container,
        name: facts.name,
        labels: labels.shown(),
        state,
        detail,
        entries: 0,
    }
}

fn look_at_file(disk: &dyn Disk, path: &Path, job: &FileJob) -> TargetReport {
    let name = path.to_string_lossy().into_owned();
    let labels = job.labels_of(&name);
    let opened = disk.metadata(path).and_then(|meta| match meta {
        Some(meta) if !meta.is_file => Ok(Some(LeftOut::NoFile)),
        _ => {
            let file = disk.open_file(path)?;
            let form = FileForm::of(&file, job.unpacks, job.encoding)?;
            Ok(is_binary(&file, &form)?.then_some(LeftOut::Binary))
        }
    });
    let (state, detail) = match (opened, &labels) {
        (Err(error), _) => (TargetState::Unreadable, format!("cannot be read: {error}")),
        (Ok(Some(why)), _) => (TargetState::Excluded, why.reason().to_owned()),
        (Ok(None), None) => (TargetState::Excluded, LeftOut::Rules.reason().to_owned()),
        (Ok(None), Some(_)) => (TargetState::Follow, String::new()),
    };
    TargetReport {
        kind: TargetKind::File,
        name,
        labels: labels.unwrap_or_default(),
        state,
        detail,
        entries: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{DockerSettings, FileSettings};
    use logyard_sys::SimDisk;

    #[tokio::test]
    async fn every_file_is_told_of_with_its_reason() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/log")).unwrap();
        for (name, bytes) in
            [("/log/a.log", &b"one\n"[..]), ("/log/b.log", b"\0\0"), ("/log/c.log", b"two\n")]
        {
            disk.append_file(Path::new(name)).unwrap().write_all(bytes).unwrap();
        }
        let job = |json: &str| serde_json::from_str::<FileSettings>(json).unwrap();
        let settings = AgentSettings {
            host: "nas".to_owned(),
            docker: DockerSettings { enabled: false, ..DockerSettings::default() },
            files: vec![
                job(r#"{"path": ["/log/*.log"], "relabel": [
                    {"source_labels": ["__path__"], "regex": ".*/c.log", "action": "drop"}]}"#),
                job(r#"{"path": ["/none/*.log", "/none/x"]}"#),
            ],
            ..AgentSettings::default()
        };
        let report = look(&settings, Path::new("/data"), &disk).await.unwrap();
        let rows: Vec<_> = report
            .targets
            .iter()
            .map(|target| (target.name.as_str(), target.state.as_str(), target.detail.as_str()))
            .collect();
        let want = [
            ("/log/a.log", "following", ""),
            ("/log/b.log", "excluded", "it is not text; add it to agent.files.exclude"),
            ("/log/c.log", "excluded", "agent.files.relabel, or its label __host__, leaves it out"),
            (
                "/none/*.log, /none/x",
                "unreadable",
                "no file matches; look at the path, and at who may list its folder",
            ),
        ];
        assert_eq!(rows, want);
        assert_eq!(report.targets[0].labels.get("host"), Some("nas"));
        assert!(report.engines.is_empty());
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_of() {
        let docker =
            DockerSettings { host: "unix:///nonexistent.sock".to_owned(), ..DockerSettings::default() };
        let settings = AgentSettings { docker, ..AgentSettings::default() };
        let report = look(&settings, Path::new("/data"), &SimDisk::new()).await.unwrap();
        assert!(report.engine_problem().unwrap().contains("/nonexistent.sock"));
        // Without an engine the machine's own logs are what would be read.
        assert!(report.targets.iter().all(|target| target.kind == TargetKind::File));
    }
}
