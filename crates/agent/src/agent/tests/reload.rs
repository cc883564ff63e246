//! New settings while an agent runs: what is equal goes on, nothing is read twice or left out.

use super::engine::{FakeEngine, start_as};
use super::*;
use crate::settings_receive::SyslogSettings;

fn files(json: &str) -> FileSettings {
    serde_json::from_str(json).unwrap()
}

fn reading(files: &[FileSettings]) -> AgentSettings {
    let docker = DockerSettings { enabled: false, ..DockerSettings::default() };
    AgentSettings { docker, files: files.to_vec(), ..AgentSettings::default() }
}

/// An agent that reads files on a disk of its own, and what it can be told.
struct Rig {
    disk: SimDisk,
    store: Arc<Store>,
    agent: Agent,
    registry: Registry,
}

async fn rig(settings: AgentSettings, disk: Arc<dyn Disk>, root: &Path) -> (Arc<Store>, Agent, Registry) {
    let (store, base) = Store::listen(0).await;
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk,
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        destinations: vec![Destination::store(client_of(&base, 10))],
        data_dir: root.join("data"),
        imported: ImportedPositions::default(),
    };
    (store, Agent::start(settings, parts).await.unwrap(), registry)
}

impl Rig {
    async fn new(settings: AgentSettings) -> Self {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/log")).unwrap();
        // The clock stands still, so files are looked for when settings come, and not again.
        for name in ["a", "b", "kept", "other"] {
            disk.append_file(&Path::new("/log").join(format!("{name}.log"))).unwrap().write_all(b"").unwrap();
        }
        let (store, agent, registry) = rig(settings, Arc::new(disk.clone()), Path::new("/")).await;
        Self { disk, store, agent, registry }
    }

    fn write(&self, path: &str, text: &str) {
        self.disk.append_file(Path::new(path)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until these lines were pushed, in any order, and nothing else.
    async fn wait_for_lines(&self, want: &[&str]) {
        loop {
            let pushed = self.store.pushed.notified();
            let lines = pushed_lines(&self.store);
            if lines.len() >= want.len() {
                assert_eq!(lines, want);
                return;
            }
            timeout(Duration::from_secs(60), pushed).await.expect("a push within 60 s");
        }
    }
}

fn pushed_lines(store: &Store) -> Vec<String> {
    let pushes = store.pushes.lock().unwrap();
    let mut lines: Vec<String> = pushes.iter().flat_map(|(_, lines)| lines.clone()).collect();
    lines.sort_unstable();
    lines
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Lines that begin with a blank belong to the one before.
const JOINED: &str = r#""stages": [{"multiline": {"firstline": "^\\S", "max_wait_time": "10m"}}]"#;

#[tokio::test]
async fn what_is_equal_keeps_even_the_lines_that_its_stages_hold() {
    let kept = files(&format!(r#"{{"path": ["/log/kept.log"], {JOINED}}}"#));
    let plain = files(r#"{"path": ["/log/other.log"]}"#);
    let changed = files(&format!(r#"{{"path": ["/log/other.log"], {JOINED}}}"#));
    let rig = &mut Rig::new(reading(&[plain.clone(), kept.clone()])).await;
    rig.write("/log/kept.log", "a\nb\n");
    rig.write("/log/other.log", "one\n");
    rig.wait_for_lines(&["a", "one"]).await;

    let reloaded = rig.agent.reload(reading(&[kept.clone(), changed])).await.unwrap();
    let want = Reloaded {
        started: names(&["files /log/other.log"]),
        stopped: names(&["files /log/other.log"]),
        kept: names(&["files /log/kept.log"]),
        at_next_start: Vec::new(),
    };
    assert_eq!(reloaded, want);
    // "b" is still held, so what follows is joined to it.
    rig.write("/log/kept.log", "  b, more\nc\n");
    rig.write("/log/other.log", "two\n  two, more\nthree\n");
    rig.wait_for_lines(&["a", "b\n  b, more", "one", "two\n  two, more"]).await;

    // What the stages of a job held that changes is read again under the new ones.
    let reloaded = rig.agent.reload(reading(&[kept.clone(), plain])).await.unwrap();
    assert_eq!(
        (reloaded.kept, reloaded.started),
        (names(&["files /log/kept.log"]), names(&["files /log/other.log"]))
    );
    rig.wait_for_lines(&["a", "b\n  b, more", "one", "three", "two\n  two, more"]).await;
    assert_eq!(value(&rig.registry, "targets"), 2);

    // Without its job a file is left, and taken up again where it was.
    let reloaded = rig.agent.reload(reading(std::slice::from_ref(&kept))).await.unwrap();
    assert_eq!((reloaded.stopped.len(), reloaded.started.len()), (1, 0));
    rig.write("/log/other.log", "four\n");
    rig.write("/log/kept.log", "d\n");
    rig.wait_for_lines(&["a", "b\n  b, more", "c", "one", "three", "two\n  two, more"]).await;
    assert_eq!(rig.agent.report().targets.len(), 1);
    rig.agent.reload(reading(&[kept, files(r#"{"path": ["/log/*.log"]}"#)])).await.unwrap();
    rig.wait_for_lines(&["a", "b\n  b, more", "c", "four", "one", "three", "two\n  two, more"]).await;
    assert_eq!(value(&rig.registry, "reopens_total"), 0);
}

#[tokio::test]
async fn settings_that_cannot_be_used_change_nothing() {
    let good = reading(&[files(r#"{"path": ["/log/a.log"]}"#)]);
    let rig = &mut Rig::new(good.clone()).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let syslog =
        SyslogSettings { listen: taken.local_addr().unwrap().to_string(), ..SyslogSettings::default() };
    let other = files(r#"{"path": ["/log/b.log"]}"#);
    for (bad, want) in [
        (reading(&[other.clone(), files(r#"{"path": ["relative"]}"#)]), "agent.files.path"),
        (
            AgentSettings { syslog: vec![syslog.clone()], ..reading(std::slice::from_ref(&other)) },
            "cannot listen on",
        ),
        (AgentSettings { syslog: vec![syslog.clone(), syslog], ..good.clone() }, "two receivers want"),
        (AgentSettings { line_bytes_max: 1, ..good.clone() }, "line_bytes_max"),
    ] {
        let error = rig.agent.reload(bad).await.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    rig.write("/log/a.log", "a\n");
    rig.write("/log/b.log", "b\n");
    rig.wait_for_lines(&["a"]).await;
    let reloaded = rig
        .agent
        .reload(AgentSettings {
            spool: crate::SpoolSettings { bytes_max: 65 << 20, ..good.spool.clone() },
            ..good
        })
        .await;
    let want = Reloaded {
        kept: names(&["files /log/a.log"]),
        at_next_start: names(&["agent.spool"]),
        ..Reloaded::default()
    };
    assert_eq!(reloaded.unwrap(), want);
}

#[tokio::test]
async fn a_port_stays_open_while_its_receiver_changes() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let syslog = |app: &str| AgentSettings {
        syslog: vec![
            serde_json::from_str(&format!(r#"{{"listen": "{free}", "labels": {{"app": "{app}"}}}}"#))
                .unwrap(),
        ],
        ..reading(&[])
    };
    let rig = &mut Rig::new(syslog("one")).await;
    let send = async |text: &str| {
        let mut connection = TcpStream::connect(&free).await.unwrap();
        connection.write_all(format!("<13>1 - - - - - - {text}\n").as_bytes()).await.unwrap();
    };
    send("first").await;
    rig.wait_for_lines(&["first"]).await;
    // Connected to the old one: what has arrived is taken, also by the one that ends.
    let mut waiting = TcpStream::connect(&free).await.unwrap();
    waiting.write_all(b"<13>1 - - - - - - second\n").await.unwrap();
    let reloaded = rig.agent.reload(syslog("two")).await.unwrap();
    assert_eq!(
        (reloaded.started.clone(), reloaded.started),
        (reloaded.stopped, names(&[&format!("syslog tcp {free}")]))
    );
    send("third").await;
    rig.wait_for_lines(&["first", "second", "third"]).await;
    let report = rig.agent.report();
    assert_eq!(report.targets[0].labels.get("app"), Some("two"));
    rig.agent.reload(reading(&[])).await.unwrap();
    assert!(TcpStream::connect(&free).await.is_err(), "nobody listens there any more");
}

#[tokio::test]
async fn b40_containers_go_on_where_they_were_and_only_if_something_changed() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let docker = DockerSettings { host, lifecycle_entries: false, ..DockerSettings::default() };
    let clock = Arc::new(SimClock::new(1_699_999_980_000_000_000));
    let (mut agent, registry) = start_as(&SimDisk::new(), docker.clone(), &clock, &base).await;
    engine.print(&[(1, "a"), (2, "b")]);
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a", "b"]);
    let with = |docker: &DockerSettings, files: Vec<FileSettings>| AgentSettings {
        docker: docker.clone(),
        files,
        ..AgentSettings::default()
    };
    let reloaded = agent.reload(with(&docker, vec![files(r#"{"path": ["/log/*.log"]}"#)])).await.unwrap();
    assert_eq!(
        (reloaded.kept.len(), reloaded.started, reloaded.stopped.len()),
        (1, names(&["files /log/*.log"]), 0)
    );
    assert_eq!(engine.wait_for_logs(1).await.len(), 1, "the response goes on");
    engine.print(&[(3, "c")]);
    assert_eq!(store.wait_for_pushes(2).await[1].1, ["c"]);
    // What is handed over and may not be in the spool yet counts as well.
    engine.print(&[(4, "d")]);
    let ruled = DockerSettings {
        relabel: vec![serde_json::from_str(r#"{"target_label": "site", "replacement": "home"}"#).unwrap()],
        ..docker
    };
    let reloaded = agent.reload(with(&ruled, Vec::new())).await.unwrap();
    assert_eq!((reloaded.started.len(), reloaded.stopped.len()), (1, 2));
    engine.print(&[(5, "e")]);
    let mut count = 3;
    while pushed_lines(&store).len() < 5 {
        store.wait_for_pushes(count).await;
        count += 1;
    }
    assert_eq!(pushed_lines(&store), ["a", "b", "c", "d", "e"]);
    assert_eq!(engine.wait_for_logs(2).await.len(), 2, "opened anew once");
    assert_eq!(agent.report().targets[0].labels.get("site"), Some("home"));
    assert_eq!(value(&registry, "targets"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn b40_reloads_under_load_lose_and_double_nothing() {
    const LINES: usize = 4_000;
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(logyard_sys::RealDisk);
    let log = folder.path().join("log");
    disk.create_dir_all(&log).unwrap();
    let pattern = |name: &str| log.join(name).display().to_string();
    let job = |name: &str, more: &str| files(&format!(r#"{{"path": ["{}"] {more}}}"#, pattern(name)));
    let joined = format!(", {JOINED}");
    let forms = [
        reading(&[job("a.log", ""), job("b.log", "")]),
        reading(&[job("a.log", ""), job("b.log", &joined)]),
        reading(&[job("*.log", r#", "labels": {"x": "y"}"#)]),
        reading(&[job("b.log", &joined), job("a.log", "")]),
        reading(&[job("a.log", "")]),
    ];
    // A file that is renamed before anybody saw it has no name that is looked for.
    for name in ["a", "b"] {
        disk.append_file(&log.join(format!("{name}.log"))).unwrap().write_all(b"").unwrap();
    }
    let (store, mut agent, _registry) = rig(forms[0].clone(), Arc::clone(&disk), folder.path()).await;
    let writing = std::thread::spawn(move || {
        for number in 0..LINES {
            if number % 10 == 9 {
                std::thread::sleep(Duration::from_millis(1));
            }
            for name in ["a", "b"] {
                let path = log.join(format!("{name}.log"));
                disk.append_file(&path).unwrap().write_all(format!("{name} {number}\n").as_bytes()).unwrap();
                if number % 1_500 == 1_499 {
                    disk.rename(&path, &log.join(format!("{name}.log.{}", 9 - number / 1_500))).unwrap();
                }
            }
        }
    });
    let mut reloads = 0;
    while !writing.is_finished() || reloads < 20 {
        agent.reload(forms[reloads % forms.len()].clone()).await.unwrap();
        reloads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writing.join().unwrap();
    agent.reload(forms[0].clone()).await.unwrap();
    let mut want: Vec<String> =
        ["a", "b"].iter().flat_map(|name| (0..LINES).map(move |number| format!("{name} {number}"))).collect();
    want.sort_unstable();
    while pushed_lines(&store).len() < want.len() {
        timeout(Duration::from_secs(60), store.pushed.notified()).await.expect("a push within 60 s");
    }
    agent.stop().await;
    assert_eq!(pushed_lines(&store), want);
}
