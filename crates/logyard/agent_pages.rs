//! The pages of an agent that runs alone: what they tell, and the port they are at.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use logyard_agent::{AgentReport, AgentSettings, Reporter, TargetReport, TargetState};
use logyard_server::{AgentFace, AgentFaceParts, AgentPage, AgentTarget, Reloads, ServerSettings};
use logyard_sys::Disk;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::assemble;
use crate::config::{self, Settings};
use crate::tls::ServerTls;

/// The settings in force, printed. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct InForce(Arc<Mutex<String>>);

impl InForce {
    pub(crate) fn new(settings: &Settings) -> Self {
        let shown = Self(Arc::default());
        shown.set(settings);
        shown
    }

    pub(crate) fn set(&self, settings: &Settings) {
        let printed = config::print(settings).unwrap_or_else(|error| format!("# {error}\n"));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = printed;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the pages are made of.
#[derive(Debug)]
pub(crate) struct PagesParts {
    pub(crate) settings: ServerSettings,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) registry: Registry,
    pub(crate) reporter: Reporter,
    pub(crate) pushes_to: String,
    pub(crate) in_force: InForce,
    pub(crate) reloads: Reloads,
    pub(crate) disk: Arc<dyn Disk>,
}

/// The pages, being served.
#[derive(Debug)]
pub(crate) struct AgentPages {
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    /// Renews the certificate.
    tls: Option<JoinHandle<()>>,
}

/// Opens the port of the pages; `None`: they are not wanted, or somebody else has their usual port.
///
/// Errors: an address that cannot be had, if it was chosen.
pub(crate) async fn bind(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let listen = settings.agent.listen.as_str();
    if listen.is_empty() {
        return Ok(None);
    }
    match assemble::bind(settings, listen).await {
        Ok(listener) => {
            if listen.ends_with(":0") {
                let address = listener.local_addr()?;
                tracing::info!(%address, "the agent's pages are at a port that was free, since agent.listen names none");
            }
            Ok(Some(listener))
        }
        Err(error) if listen == AgentSettings::default().listen && is_taken(&error) => {
            tracing::info!(
                listen,
                "another program listens where the agent's pages are, so it has none; set agent.listen"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

impl AgentPages {
    /// Begins to answer.
    pub(crate) fn start(listener: TcpListener, parts: PagesParts) -> anyhow::Result<Self> {
        let PagesParts { settings, tls, registry, reporter, pushes_to, in_force, reloads, disk } = parts;
        let (tls, keeps_tls) = tls.map(|tls| (tls.tls.clone(), tokio::spawn(tls.keep(disk)))).unzip();
        let face = AgentFace::new(AgentFaceParts {
            settings,
            tls,
            registry,
            page: Box::new(move || page(&reporter.report(), &pushes_to)),
            config: Box::new(move || in_force.get()),
            reloads,
        });
        let (shutdown, asked) = oneshot::channel::<()>();
        let serving = tokio::spawn(face.serve(listener, async move {
            // Dropped instead of sent means that the process ends: the same.
            drop(asked.await);
        }));
        Ok(Self { shutdown, serving, tls: keeps_tls })
    }

    /// Lets requests under way end.
    pub(crate) async fn stop(self) {
        if let Some(tls) = self.tls {
            tls.abort();
        }
        drop(self.shutdown);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the agent's pages failed, this is a bug");
        }
    }
}

fn page(report: &AgentReport, pushes_to: &str) -> AgentPage {
    AgentPage {
        problems: problems(report),
        engines: report
            .answering()
            .map(|engine| format!("{} {} at {}", engine.name, engine.version, engine.host))
            .collect(),
        pushes_to: pushes_to.to_owned(),
        spool_bytes: report.spool_bytes,
        targets: report.targets.iter().map(target).collect(),
    }
}

/// Says what keeps the agent from its work.
fn problems(report: &AgentReport) -> Vec<String> {
    let mut problems: Vec<String> =
        report.engines.iter().filter_map(|engine| engine.as_ref().err().cloned()).collect();
    problems.extend(report.push_problem.iter().map(|reason| format!("cannot push: {reason}")));
    let is_read =
        |target: &&TargetReport| !matches!(target.state, TargetState::Excluded | TargetState::Unreadable);
    let is_quiet = report.targets.iter().filter(is_read).count() == 0;
    if is_quiet && report.answering().next().is_none() {
        let reasons: Vec<String> = report
            .targets
            .iter()
            .filter(|target| target.state == TargetState::Unreadable)
            .map(|target| format!("{}: {}", target.name, target.detail))
            .collect();
        problems.push(match reasons.is_empty() {
            true => "nothing is read".to_owned(),
            false => format!("nothing is read: {}", reasons.join("; ")),
        });
    }
    problems
}

fn target(target: &TargetReport) -> AgentTarget {
    AgentTarget {
        kind: target.kind.as_str().to_owned(),
        name: target.name.clone(),
        state: target.state.as_str().to_owned(),
        why: target.detail.clone(),
        entries: target.entries,
        labels: target.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_agent::{EngineReport, TargetKind};

    fn file(state: TargetState, detail: &str) -> TargetReport {
        TargetReport {
            kind: TargetKind::File,
            name: "/log/*.log".to_owned(),
            labels: logyard_model::LabelSet::default(),
            state,
            detail: detail.to_owned(),
            entries: 3,
        }
    }

    #[tokio::test]
    async fn a_port_of_zero_is_any_that_is_free() {
        let mut settings = Settings::default();
        settings.agent.listen = "127.0.0.1:0".to_owned();
        let first = bind(&settings).await.unwrap().unwrap().local_addr().unwrap();
        assert_ne!(first.port(), 0);
        settings.agent.listen.clear();
        assert!(bind(&settings).await.unwrap().is_none());
    }

    #[test]
    fn an_agent_is_ready_when_it_reads_and_pushes() {
        let read = AgentReport { targets: vec![file(TargetState::Follow, "")], ..AgentReport::default() };
        assert!(problems(&read).is_empty());
        assert_eq!(page(&read, "http://a").targets[0].entries, 3);
        // An engine without containers has nothing to read, and is all the same answered.
        let idle = AgentReport { engines: vec![Ok(EngineReport::default())], ..AgentReport::default() };
        assert!(problems(&idle).is_empty());
        for (report, want) in [
            (
                AgentReport { engines: vec![Err("no engine at a".to_owned())], ..read.clone() },
                "no engine at a",
            ),
            (AgentReport { push_problem: Some("401".to_owned()), ..read }, "cannot push: 401"),
            (AgentReport::default(), "nothing is read"),
            (
                AgentReport {
                    targets: vec![file(TargetState::Unreadable, "no file matches")],
                    ..AgentReport::default()
                },
                "nothing is read: /log/*.log: no file matches",
            ),
        ] {
            assert_eq!(problems(&report), [want]);
        }
    }
}
