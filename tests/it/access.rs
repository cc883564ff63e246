//! Tokens and tenants between the real binaries: `logyard`, an agent on its own, `logq`.

use crate::process::Logyard;
use std::path::Path;
use std::time::Duration;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The settings of an agent that reads `NAME.log` for a tenant.
fn agent(folder: &Path, name: &str, push: &str) -> String {
    let log = write(folder, &format!("{name}.log"), &format!("of {name}\n"));
    let settings = format!("agent:\n  files:\n  - path: [{log}]\n    labels: {{job: app}}\npush:\n{push}");
    write(folder, &format!("{name}.yaml"), &settings)
}

#[test]
fn tokens_open_what_they_are_for() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let token = |name: &str, scopes: &str, tenants: &str| {
        // As an editor leaves it.
        let file = write(folder, &format!("{name}.token"), &format!("{name}-secret\n"));
        format!("  - {{name: {name}, token_file: {file}, scopes: [{scopes}], tenants: [{tenants}]}}\n")
    };
    let tokens = [
        token("home-agent", "write", "home"),
        token("work-agent", "write", "work"),
        token("home-reader", "read", "home"),
        token("operator", "admin", ""),
    ]
    .concat();
    let config = write(folder, "store.yaml", &format!("server:\n  auth_enabled: true\n  tokens:\n{tokens}"));
    let file = |name: &str| folder.join(format!("{name}.token")).display().to_string();
    let mut store = Logyard::new(NO_ENGINE, &["store", "--config", &config]);
    store.start();
    let url = store.url("");
    // The tenant need not be named where the token has one only, and may be.
    let home = agent(folder, "home", &format!("  url: {url}\n  token_file: {}\n", file("home-agent")));
    let work = agent(
        folder,
        "work",
        &format!("  url: {url}\n  tenant: work\n  token_file: {}\n", file("work-agent")),
    );
    let lost = agent(
        folder,
        "lost",
        &format!("  url: {url}\n  tenant: work\n  token_file: {}\n", file("home-agent")),
    );
    let start = |config: &str| {
        let mut agent = Logyard::new(NO_ENGINE, &["agent", "--config", config]);
        agent.spawn();
        agent
    };
    let mut agents = [start(&home), start(&work)];
    let mut lost = start(&lost);
    let ask = |name: &str, more: &[&str]| {
        let query = [&["{job=\"app\"}", "-o", "raw"], more].concat();
        match name {
            "" => store.logq(&query),
            name => store.logq_with(&["--token-file", &file(name)], &query),
        }
    };
    let deadline = std::time::Instant::now() + WITHIN;
    let both = |name: &str, more: &[&str], want: &str| {
        loop {
            let (code, stdout, stderr) = ask(name, more);
            assert!(code < 2, "{stderr}");
            if !stdout.is_empty() {
                return assert_eq!(stdout, want);
            }
            assert!(std::time::Instant::now() < deadline, "{}", store.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    both("home-reader", &[], "of home\n");
    both("home-reader", &["--org-id", "home"], "of home\n");
    both("operator", &["--org-id", "work"], "of work\n");
    for (name, more, want) in [
        ("", &[][..], "no token: want Authorization with Bearer, or Basic with a token as password"),
        ("home-agent", &[], "token \"home-agent\" does not allow this; it takes the scope read"),
        ("home-reader", &["--org-id", "work"], "token \"home-reader\" is not bound to tenant \"work\""),
        ("operator", &[], "no org id"),
    ] {
        let (code, stdout, stderr) = ask(name, more);
        assert_eq!((code, stdout.as_str()), (2, ""), "{name}");
        assert!(stderr.contains(want), "{name}: {stderr}");
    }
    let wrong = write(folder, "wrong.token", "no-such-secret");
    let (code, _, stderr) = store.logq_with(&["--token-file", &wrong], &["labels"]);
    assert_eq!((code, stderr.trim_end()), (2, "logq: token not known"));
    let missing = file("nosuch");
    let (code, _, stderr) = store.logq_with(&["--token-file", &missing], &["labels"]);
    assert_eq!((code, stderr), (2, format!("logq: cannot read token file {missing}: no such file\n")));
    // An agent that may not push says why, and keeps what it read.
    let deadline = std::time::Instant::now() + WITHIN;
    while !lost.log().contains("is not bound to tenant") {
        assert!(std::time::Instant::now() < deadline, "log of the agent:\n{}", lost.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    for agent in &mut agents {
        assert!(agent.stop().success());
        agent.assert_quiet_but_for(&["engine"]);
    }
    assert!(lost.stop().success());
    assert!(store.stop().success());
    for log in [store.log(), lost.log()] {
        assert!(!log.contains("-secret"), "a token is in the log:\n{log}");
    }
}
