//! `logyard agent targets`: every container and file, read or not, and why not.
//!
//! The agent that runs on the same data folder answers over a socket in it, so that neither a port nor a token is
//! needed: who may write to the folder's socket may ask. If none answers, the engine and the disk are looked at as an
//! agent with these settings would.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_agent::{AgentReport, Reporter, look};
use logyard_sys::Disk;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::args::TargetsArguments;
use crate::config::Settings;
use crate::output;

/// Longest wait for an answer, and for a reader of one.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Most bytes of an answer: a thousand targets take less than one.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// Whether an agent told of itself; if not, this is what one would read.
    is_running: bool,
    /// Name, version and address of the engines that answer.
    engine: Option<String>,
    /// Why others do not.
    engine_problem: Option<String>,
    /// Bytes that wait on disk for the store.
    spool_bytes: u64,
    targets: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    kind: String,
    name: String,
    state: String,
    /// Why, in states that need a reason; else what to know about it.
    why: String,
    labels: BTreeMap<String, String>,
}

/// Answers whoever asks what the agent reads, until the task is aborted. `None`: there is no socket, which is said.
pub(crate) fn serve(reporter: Reporter, data_dir: &Path, disk: &dyn Disk) -> Option<JoinHandle<()>> {
    let path = socket(data_dir);
    match disk.remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), %error, "cannot remove the socket of an earlier agent");
        }
        _ => {}
    }
    match UnixListener::bind(&path) {
        Ok(listener) => Some(tokio::spawn(answer_all(listener, reporter))),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "no socket for `logyard agent targets`, which looks by itself then");
            None
        }
    }
}

async fn answer_all(listener: UnixListener, reporter: Reporter) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let page = serde_json::to_vec(&page(&reporter.report(), true)).unwrap_or_default();
        // One at a time; a reader that is gone or slow is none of the agent's business.
        drop(timeout(ANSWER_WAIT, stream.write_all(&page)).await);
    }
}

fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("agent").join("status.sock")
}

/// Runs the subcommand.
pub(crate) fn run(
    arguments: &TargetsArguments,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")?;
    let page = runtime.block_on(async {
        match ask(&settings.data_dir, ANSWER_WAIT).await {
            Some(page) => anyhow::Ok(page),
            None => Ok(page(&look(&settings.agent, &settings.data_dir, &**disk).await?, false)),
        }
    })?;
    output::print(&if arguments.json { output::json(&page)? } else { text(&page) })
}

/// Asks the agent that runs on the folder; `None` if none answers.
pub(crate) async fn ask(data_dir: &Path, wait: Duration) -> Option<Page> {
    let asked = async {
        let stream = UnixStream::connect(socket(data_dir)).await.ok()?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    timeout(wait, asked).await.ok().flatten()
}

/// Tells of a running agent in one line.
pub(crate) fn summary(page: &Page) -> String {
    let targets = page.targets.len();
    format!("runs, {targets} targets, {} in its spool\n", output::bytes(page.spool_bytes))
}

fn page(report: &AgentReport, is_running: bool) -> Page {
    let row = |target: &logyard_agent::TargetReport| Row {
        kind: target.kind.as_str().to_owned(),
        name: target.name.clone(),
        state: target.state.as_str().to_owned(),
        why: target.detail.clone(),
        labels: target.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let engines: Vec<String> = report
        .answering()
        .map(|engine| format!("{} {} at {}", engine.name, engine.version, engine.host))
        .collect();
    let engine = (!engines.is_empty()).then(|| engines.join(", "));
    Page {
        is_running,
        engine,
        engine_problem: report.engine_problem(),
        spool_bytes: report.spool_bytes,
        targets: report.targets.iter().map(row).collect(),
    }
}

fn text(page: &Page) -> String {
    let mut text = String::new();
    let agent = match page.is_running {
        true => format!("runs; {} in its spool", output::bytes(page.spool_bytes)),
        false => "none runs on this --data-dir; this is what one would read".to_owned(),
    };
    output::line(&mut text, format_args!("agent    {agent}"));
    let told: Vec<&str> =
        [&page.engine, &page.engine_problem].into_iter().flatten().map(String::as_str).collect();
    let engine = if told.is_empty() { "not asked".to_owned() } else { told.join("; ") };
    output::line(&mut text, format_args!("engine   {engine}\n"));
    if page.targets.is_empty() {
        output::line(&mut text, format_args!("nothing to read"));
    }
    for row in &page.targets {
        let labels: Vec<String> =
            row.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels = format!("{{{}}}", labels.join(", "));
        let told = match (row.why.is_empty(), row.labels.is_empty()) {
            (true, _) => labels,
            (false, true) => row.why.clone(),
            (false, false) => format!("{} {labels}", row.why),
        };
        let Row { kind, name, state, .. } = row;
        output::line(&mut text, format_args!("{state:<10} {kind:<9} {name}  {told}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_agent::{TargetKind, TargetReport, TargetState};
    use logyard_model::LabelSet;

    fn report() -> AgentReport {
        let target = |name: &str, state: TargetState, detail: &str| TargetReport {
            kind: TargetKind::Container,
            name: name.to_owned(),
            labels: LabelSet::from_pairs([("container", name)]),
            state,
            detail: detail.to_owned(),
            entries: 0,
        };
        AgentReport {
            engines: vec![Err("no engine answers".to_owned())],
            targets: vec![
                target("web", TargetState::Follow, ""),
                target("db", TargetState::Excluded, "its label logyard.enable says false"),
            ],
            spool_bytes: 2_048,
            ..AgentReport::default()
        }
    }

    #[test]
    fn pages_tell_who_is_read_and_why_not() {
        let want = "agent    runs; 2.0 KiB in its spool\nengine   no engine answers\n\n\
                    following  container web  {container=\"web\"}\n\
                    excluded   container db  its label logyard.enable says false {container=\"db\"}\n";
        assert_eq!(text(&page(&report(), true)), want);
        let none = page(&AgentReport::default(), false);
        assert_eq!(summary(&page(&report(), true)), "runs, 2 targets, 2.0 KiB in its spool\n");
        assert!(text(&none).ends_with("engine   not asked\n\nnothing to read\n"), "{}", text(&none));
    }

    #[tokio::test]
    async fn pages_cross_the_socket_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ask(folder.path(), ANSWER_WAIT).await, None);
        logyard_sys::RealDisk.create_dir_all(&folder.path().join("agent")).unwrap();
        let listener = UnixListener::bind(socket(folder.path())).unwrap();
        let page = page(&report(), true);
        let bytes = serde_json::to_vec(&page).unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        assert_eq!(ask(folder.path(), ANSWER_WAIT).await, Some(page));
        answering.await.unwrap();
    }
}
