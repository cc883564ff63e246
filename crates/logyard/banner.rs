//! What a person sees at the start: what is read, where it is kept, where to ask, and what to try first.

use std::fmt::Write as _;
use std::path::PathBuf;

use logyard_agent::{AgentReport, TargetKind, TargetState};

/// What the banner says.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What the agent reads, if this process has one.
    pub(crate) reads: Option<AgentReport>,
    /// Whether the own log is read as well.
    pub(crate) own_log: Option<PathBuf>,
    /// Where this process pushes, if it keeps nothing itself.
    pub(crate) pushes_to: Option<String>,
    /// Folder of what is kept.
    pub(crate) data_dir: PathBuf,
    /// Address of the HTTP server, if this process has one.
    pub(crate) address: Option<String>,
    /// Whether it speaks TLS.
    pub(crate) is_secured: bool,
    /// How to call `logq` on this machine.
    pub(crate) logq: String,
}

/// Writes the banner.
pub(crate) fn text(facts: &Facts) -> String {
    let mut text = format!("\nlogyard {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<8} {value}").unwrap_or_default();
    };
    if let Some(report) = &facts.reads {
        line("reads", &reads(report, facts));
    }
    if let Some(url) = &facts.pushes_to {
        line("pushes", &format!("to {url}; until acknowledged, kept in {}", facts.data_dir.display()));
    }
    if let Some(address) = &facts.address {
        line("keeps", &facts.data_dir.display().to_string());
        line("answers", &format!("{}://{address}  (Grafana: data source of type Loki)", scheme(facts)));
        text.push_str("\nTry:\n");
        for command in commands(facts, address) {
            writeln!(text, "  {command}").unwrap_or_default();
        }
    }
    text.push('\n');
    text
}

fn scheme(facts: &Facts) -> &'static str {
    if facts.is_secured { "https" } else { "http" }
}

fn reads(report: &AgentReport, facts: &Facts) -> String {
    let is_read = |state: TargetState| !matches!(state, TargetState::Excluded | TargetState::Unreadable);
    let of_kind = |kind: TargetKind| {
        report.targets.iter().filter(move |target| target.kind == kind && is_read(target.state))
    };
    let receivers: String =
        of_kind(TargetKind::Receiver).map(|target| format!(", {}", target.name)).collect();
    let engines: Vec<String> = report
        .answering()
        .map(|engine| format!("{} {} at {}", engine.name, engine.version, engine.host))
        .collect();
    if !engines.is_empty() {
        let targets = of_kind(TargetKind::Container).count();
        let things = if targets == 1 { "container" } else { "containers" };
        let problem = report.engine_problem().map(|problem| format!("; {problem}; keeps trying"));
        let problem = problem.unwrap_or_default();
        return format!("{targets} {things} of {}{receivers}{problem}", engines.join(", "));
    }
    let files = of_kind(TargetKind::File).count();
    let mut text = match &facts.own_log {
        Some(_) if files > 0 => format!("/var/log/**/*.log ({files} found)"),
        Some(_) => "/var/log/**/*.log".to_owned(),
        None => format!("{files} {}", if files == 1 { "file" } else { "files" }),
    };
    text.push_str(&receivers);
    if let Some(path) = &facts.own_log {
        write!(text, " and {}", path.display()).unwrap_or_default();
    }
    match &report.engine_problem() {
        Some(problem) => write!(text, "; {problem}; keeps trying"),
        None => write!(text, "; no container engine; keeps trying"),
    }
    .unwrap_or_default();
    text
}

/// The first three commands to try, with the name of something that exists.
fn commands(facts: &Facts, address: &str) -> Vec<String> {
    let addr = match address {
        "127.0.0.1:3100" if !facts.is_secured => String::new(),
        other => {
            let reachable = other.replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1");
            format!(" --addr {}://{reachable}", scheme(facts))
        }
    };
    let logq = &facts.logq;
    let targets = facts.reads.iter().flat_map(|report| &report.targets);
    let targets = targets.filter(|target| target.state != TargetState::Excluded);
    let selector = targets
        .into_iter()
        .find_map(|target| {
            ["container", "filename"].iter().find_map(|name| Some((*name, target.labels.get(name)?)))
        })
        .map_or_else(|| "{service_name=~\".+\"}".to_owned(), |(name, value)| format!("{{{name}={value:?}}}"));
    vec![
        format!("{logq} '{selector}'{addr}"),
        format!("{logq} tail '{selector}'{addr}"),
        format!("{logq} labels{addr}"),
    ]
}

#[cfg(test)]
mod tests {
    use logyard_agent::{EngineReport, TargetReport};
    use logyard_model::LabelSet;

    use super::*;

    fn facts() -> Facts {
        let target = TargetReport {
            kind: TargetKind::Container,
            name: "web".to_owned(),
            labels: LabelSet::from_pairs([("container", "web")]),
            state: TargetState::Follow,
            detail: String::new(),
            entries: 0,
        };
        let engine = EngineReport {
            name: "Docker".to_owned(),
            version: "20.10".to_owned(),
            api_version: "1.41".to_owned(),
            host: "unix:///var/run/docker.sock".to_owned(),
        };
        let report =
            AgentReport { engines: vec![Ok(engine)], targets: vec![target], ..AgentReport::default() };
        Facts {
            reads: Some(report),
            own_log: None,
            pushes_to: None,
            data_dir: PathBuf::from("logyard-data"),
            address: Some("127.0.0.1:3100".to_owned()),
            is_secured: false,
            logq: "logq".to_owned(),
        }
    }

    #[test]
    fn everything_in_one_process() {
        let text = text(&facts());
        assert!(
            text.contains("reads    1 container of Docker 20.10 at unix:///var/run/docker.sock\n"),
            "{text}"
        );
        assert!(text.contains("keeps    logyard-data\n"), "{text}");
        assert!(text.contains("answers  http://127.0.0.1:3100"), "{text}");
        assert!(
            text.contains(
                "\n  logq '{container=\"web\"}'\n  logq tail '{container=\"web\"}'\n  logq labels\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_of_two_engines_answers() {
        let mut report = facts().reads.unwrap();
        report.engines.push(Err("no engine answers at tcp://nas:2375".to_owned()));
        let text = text(&Facts { reads: Some(report), ..facts() });
        let want = "1 container of Docker 20.10 at unix:///var/run/docker.sock; no engine answers at tcp://nas:2375; keeps trying\n";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn without_an_engine() {
        let report = AgentReport { engines: vec![Err("nothing at x".to_owned())], ..AgentReport::default() };
        let own_log = Some(PathBuf::from("d/log/logyard.log"));
        let address = Some("0.0.0.0:4000".to_owned());
        let text = text(&Facts { reads: Some(report), own_log, address, ..facts() });
        assert!(
            text.contains("reads    /var/log/**/*.log and d/log/logyard.log; nothing at x; keeps trying"),
            "{text}"
        );
        assert!(text.contains("'{service_name=~\".+\"}' --addr http://127.0.0.1:4000\n"), "{text}");
    }

    #[test]
    fn with_tls_addresses_say_so() {
        let text = text(&Facts { is_secured: true, ..facts() });
        assert!(text.contains("answers  https://127.0.0.1:3100"), "{text}");
        assert!(text.contains("'{container=\"web\"}' --addr https://127.0.0.1:3100\n"), "{text}");
    }

    #[test]
    fn an_agent_alone_has_nothing_to_ask() {
        let pushes_to = Some("http://store:3100".to_owned());
        let text = text(&Facts { pushes_to, address: None, ..facts() });
        assert!(text.contains("pushes   to http://store:3100"), "{text}");
        assert!(!text.contains("Try:") && !text.contains("answers"), "{text}");
    }
}
