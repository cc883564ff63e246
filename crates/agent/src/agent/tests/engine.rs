//! Tests against an engine that answers as told, over TCP.

use super::*;
use crate::report::TargetState;
use crate::settings::Initial;

/// An engine with one running container, `old`. It can tell of others, and stop answering.
#[derive(Debug, Default)]
pub(super) struct FakeEngine {
    /// Container and `tail` of all logs asked for, and inspections without an answer.
    logs: Mutex<Vec<(String, String)>>,
    asked: Notify,
    /// Inspections get no answer.
    hangs: bool,
    /// Container and action, once somebody waits for events.
    events: Mutex<Vec<(&'static str, &'static str)>>,
    /// Seconds between the start of time and the first of them; each comes a second later.
    events_from: Mutex<u64>,
    /// Bytes of the log that nobody who follows is shown: the engine lost sight of them.
    unseen: Mutex<Vec<u8>>,
    /// Bytes behind the first piece of the log that nobody who follows is shown, though it goes on behind them.
    skipped: Mutex<Vec<u8>>,
    /// Frames behind zeros in the log: shown only to who asks for no more than these, and does not follow.
    behind_zeros: Mutex<Vec<Vec<u8>>>,
    /// Inspections say that containers have ended.
    is_over: Mutex<bool>,
    /// What was asked in a version that it does not speak.
    misunderstood: Mutex<Vec<String>>,
    /// Newest and oldest version spoken; all that it is asked must lie between.
    api: Option<[&'static str; 2]>,
    /// It is a Podman of this version.
    podman: Option<&'static str>,
    /// Inspections say that logs are rotated, in small files.
    rotates: bool,
    /// So many responses to who does not follow stop at their beginning.
    stalls: Mutex<u32>,
    /// Who follows is told that the log ends here, as engines do that lose their way in rotated files.
    ends_early: Mutex<bool>,
    /// Bytes of the log, once somebody follows it.
    lines: Mutex<Vec<Vec<u8>>>,
    told: Notify,
}

impl FakeEngine {
    pub(super) async fn listen(self) -> (Arc<Self>, String) {
        let engine = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let answering = Arc::clone(&engine);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&answering).answer(connection));
            }
        });
        (engine, host)
    }

    async fn answer(self: Arc<Self>, mut connection: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                match connection.read_buf(&mut bytes).await {
                    Ok(read) if read > 0 => continue,
                    _ => return,
                }
            };
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes.drain(..end + 4);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.check_version(&path);
            let json = if path.contains("/version") {
                let [newest, oldest] = self.api.unwrap_or(["1.41", "1.12"]);
                let (name, version) =
                    self.podman.map_or(("Engine", "20.10.24"), |podman| ("Podman Engine", podman));
                format!(
                    r#"{{"ApiVersion":"{newest}","MinAPIVersion":"{oldest}","Version":"{version}","Components":[{{"Name":"{name}","Version":"{version}"}}]}}"#
                )
            } else if path.contains("/containers/json") {
                r#"[{"Id":"old","Names":["/old"],"Image":"i","State":"running","Labels":{}}]"#.to_owned()
            } else if path.contains("/logs?") {
                self.note_log(&path);
                if path.contains("follow=1") {
                    return self.stream(connection, Self::next_lines).await;
                }
                if counted_down(&self.stalls) {
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
                    connection.write_all(head.as_bytes()).await.unwrap();
                    return std::future::pending().await;
                }
                let mut lines = self.lines.lock().unwrap().clone();
                lines.insert(lines.len().min(1), self.skipped.lock().unwrap().clone());
                let mut log = [lines.concat(), self.unseen.lock().unwrap().clone()].concat();
                if path.ends_with("tail=1") {
                    log = last_frame(&log).to_vec();
                }
                let count = path.rsplit('=').next().and_then(|count| count.parse::<usize>().ok());
                let behind = self.behind_zeros.lock().unwrap().clone();
                if let Some(shown) = count.and_then(|count| behind.len().checked_sub(count)) {
                    log = behind[shown..].concat();
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", log.len());
                connection.write_all(&[head.as_bytes(), &log].concat()).await.unwrap();
                continue;
            } else if path.contains("/events") {
                return self.stream(connection, Self::next_event).await;
            } else if self.hangs {
                self.logs.lock().unwrap().push(("inspection".to_owned(), String::new()));
                self.asked.notify_one();
                return std::future::pending().await;
            } else {
                let is_running = !*self.is_over.lock().unwrap();
                let state = format!(r#"{{"Running":{is_running},"FinishedAt":"2023-11-14T22:13:30Z"}}"#);
                let options = if self.rotates { r#"{"max-size":"64k"}"# } else { "{}" };
                let host = format!(r#"{{"LogConfig":{{"Type":"json-file","Config":{options}}}}}"#);
                format!(
                    r#"{{"Name":"/x","State":{state},"Config":{{"Tty":false,"Image":"i"}},"HostConfig":{host}}}"#
                )
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
                json.len()
            );
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// Answers without an end, with pieces as they are told.
    async fn stream(&self, mut connection: TcpStream, next: fn(&Self, usize) -> Option<Vec<u8>>) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut told = 0;
        loop {
            let more = self.told.notified();
            match next(self, told) {
                None if told > 0 && std::mem::take(&mut *self.ends_early.lock().unwrap()) => {
                    drop(connection.write_all(b"0\r\n\r\n").await);
                    return;
                }
                None => more.await,
                Some(piece) => {
                    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
                    if connection.write_all(&chunk).await.is_err() {
                        return;
                    }
                    told += 1;
                }
            }
        }
    }

    fn next_event(&self, told: usize) -> Option<Vec<u8>> {
        let (id, action) = *self.events.lock().unwrap().get(told)?;
        let time_ns = (*self.events_from.lock().unwrap() + told as u64) * 1_000_000_000 + 1;
        let actor = format!(r#"{{"ID":"{id}","Attributes":{{"name":"{id}","exitCode":"1"}}}}"#);
        let json =
            format!(r#"{{"Type":"container","Action":"{action}","Actor":{actor},"timeNano":{time_ns}}}"#);
        Some(format!("{json}\n").into_bytes())
    }

    fn next_lines(&self, told: usize) -> Option<Vec<u8>> {
        self.lines.lock().unwrap().get(told).cloned()
    }

    /// Tells of an event.
    fn tell(&self, id: &'static str, action: &'static str) {
        self.events.lock().unwrap().push((id, action));
        self.told.notify_waiters();
    }

    /// Lets the container print lines at these seconds of a minute, all read at once.
    pub(super) fn print(&self, lines: &[(u32, &str)]) {
        self.lines.lock().unwrap().push(Self::frames(lines));
        self.told.notify_waiters();
    }

    fn frames(lines: &[(u32, &str)]) -> Vec<u8> {
        lines.iter().flat_map(|(second, text)| Self::part(*second, &format!("{text}\n"))).collect()
    }

    /// Returns a frame of the standard output; a line is over at its newline.
    fn part(second: u32, text: &str) -> Vec<u8> {
        let stamped = format!("2023-11-14T22:13:{second:02}.000000000Z {text}");
        let length = u32::try_from(stamped.len()).unwrap().to_be_bytes();
        [&[1, 0, 0, 0], &length[..], stamped.as_bytes()].concat()
    }

    /// A path that names a version names one that this engine speaks; without one it takes its newest.
    fn check_version(&self, path: &str) {
        let Some([newest, oldest]) = self.api.filter(|_| path.starts_with("/v1.")) else { return };
        let number = |text: &str| text.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
        let asked = path.trim_start_matches("/v").split('/').next().and_then(number);
        let is_spoken = asked.is_some_and(|asked| (number(oldest)..=number(newest)).contains(&Some(asked)));
        // The question for versions is asked before the answer is known.
        if !is_spoken && !path.contains("/version") {
            self.misunderstood.lock().unwrap().push(path.to_owned());
        }
    }

    fn note_log(&self, path: &str) {
        let id = path.split("/containers/").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        let tail = path.split("tail=").nth(1).unwrap();
        self.logs.lock().unwrap().push((id.to_owned(), tail.to_owned()));
        self.asked.notify_one();
    }

    pub(super) async fn wait_for_logs(&self, count: usize) -> Vec<(String, String)> {
        loop {
            let asked = self.asked.notified();
            let logs = self.logs.lock().unwrap().clone();
            if logs.len() >= count {
                return logs;
            }
            timeout(Duration::from_secs(20), asked).await.expect("a log is asked for within 20 s");
        }
    }
}

fn last_frame(mut log: &[u8]) -> &[u8] {
    loop {
        let Some(Ok(length)) = log.get(4..8).map(<[u8; 4]>::try_from) else { return log };
        match log.split_at(8 + u32::from_be_bytes(length) as usize) {
            (_, []) => return log,
            (_, rest) => log = rest,
        }
    }
}

async fn start_with(host: String, initial: Initial) -> Agent {
    start_on(&SimDisk::new(), host, initial, &Arc::new(SimClock::new(1)), "http://127.0.0.1:1").await.0
}

async fn start_on(
    disk: &SimDisk,
    host: String,
    initial: Initial,
    clock: &Arc<SimClock>,
    base: &str,
) -> (Agent, Registry) {
    let docker = DockerSettings { host, initial, lifecycle_entries: false, ..DockerSettings::default() };
    start_as(disk, docker, clock, base).await
}

pub(super) async fn start_as(
    disk: &SimDisk,
    docker: DockerSettings,
    clock: &Arc<SimClock>,
    base: &str,
) -> (Agent, Registry) {
    let settings = AgentSettings { docker, ..AgentSettings::default() };
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::<SimClock>::clone(clock),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        destinations: vec![Destination::store(client_of(base, 1))],
        data_dir: "/data".into(),
        imported: ImportedPositions::default(),
    };
    (Agent::start(settings, parts).await.unwrap(), registry)
}

#[tokio::test]
async fn an_engine_that_hangs_does_not_hold_up_the_stop() {
    let (engine, host) = FakeEngine { hangs: true, ..FakeEngine::default() }.listen().await;
    let agent = start_with(host, Initial::All).await;
    engine.wait_for_logs(2).await;
    timeout(Duration::from_secs(12), agent.stop()).await.expect("the stop ends by itself");
}

#[tokio::test]
async fn only_containers_of_the_first_list_are_read_from_now_on() {
    let (engine, host) = FakeEngine::default().listen().await;
    let agent = start_with(host, Initial::Now).await;
    engine.wait_for_logs(1).await;
    engine.tell("new", "start");
    let want = [("old", "0"), ("new", "all")].map(|(id, tail)| (id.to_owned(), tail.to_owned()));
    assert_eq!(engine.wait_for_logs(2).await, want);
    agent.stop().await;
}

#[tokio::test]
async fn a_container_is_not_silent_after_the_clock_was_set_back() {
    const MINUTE_NS: i64 = 1_699_999_980_000_000_000;
    let at = |second: i64| MINUTE_NS + second * 1_000_000_000;
    let disk = SimDisk::new();
    let clock = Arc::new(SimClock::new(at(22)));
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let (agent, registry) = start_on(&disk, host, Initial::All, &clock, &base).await;
    engine.print(&[(20, "a"), (21, "b"), (22, "c")]);
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a", "b", "c"]);
    clock.set(at(12));
    // A rotation repeats two lines, then the container goes on.
    engine.print(&[(21, "b"), (22, "c"), (12, "d"), (13, "e")]);
    assert_eq!(store.wait_for_pushes(2).await[1].1, ["d", "e"]);
    assert_eq!(value(&registry, "clock_steps_total"), 1);
    agent.stop().await;

    // The next agent is shown all of it, and takes what is new.
    let (engine, host) = FakeEngine::default().listen().await;
    let (agent, registry) = start_on(&disk, host, Initial::All, &clock, &base).await;
    engine.print(&[(20, "a"), (21, "b"), (22, "c"), (12, "d"), (13, "e"), (14, "f"), (21, "g"), (23, "h")]);
    assert_eq!(store.wait_for_pushes(3).await[2].1, ["f", "g", "h"]);
    assert!(!text_of(&registry).contains("gaps_total{"), "nothing was rotated away");
    agent.stop().await;
}

#[tokio::test]
async fn rules_leave_containers_out_and_say_so() {
    let docker = |host: String, rule: &str| DockerSettings {
        host,
        relabel: vec![serde_json::from_str(rule).unwrap()],
        ..DockerSettings::default()
    };
    let (_engine, host) = FakeEngine::default().listen().await;
    let rule = r#"{"source_labels": ["container"], "regex": "x", "action": "drop"}"#;
    let clock = Arc::new(SimClock::new(1));
    let (agent, _) = start_as(&SimDisk::new(), docker(host, rule), &clock, "http://127.0.0.1:1").await;
    let until = Instant::now() + Duration::from_secs(20);
    let excluded = loop {
        let report = agent.report();
        if let Some(target) = report.targets.iter().find(|target| target.state == TargetState::Excluded) {
            break target.clone();
        }
        assert!(Instant::now() < until, "{report:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!(excluded.detail, "agent.docker.relabel leaves it out");
    agent.stop().await;

    // One output alone: its lines are read and discarded, and the position moves over them.
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let rule = r#"{"source_labels": ["stream"], "regex": "stdout", "action": "drop"}"#;
    let disk = SimDisk::new();
    let (agent, registry) = start_as(&disk, docker(host, rule), &clock, &base).await;
    engine.print(&[(20, "a"), (21, "b")]);
    let discarded = r#"logyard_agent_entries_discarded_total{reason="relabel"} 2"#;
    while !text_of(&registry).contains(discarded) {
        assert!(Instant::now() < until + Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    agent.stop().await;
    assert!(store.pushes.lock().unwrap().is_empty(), "an empty batch is not pushed");
    assert_eq!(value(&registry, "entries_read_total"), 2);
}

/// Two agents one after the other; the first is cut off while a stage holds lines back.
#[tokio::test]
async fn a_container_is_read_again_from_before_the_lines_that_a_stage_held() {
    const MINUTE_NS: i64 = 1_699_999_980_000_000_000;
    let stages = r#"[{"drop": {"expression": "noise"}}, {"multiline": {"firstline": "^\\S"}}]"#;
    let docker = |host: String| DockerSettings {
        host,
        stages: serde_json::from_str(stages).unwrap(),
        ..DockerSettings::default()
    };
    let clock = Arc::new(SimClock::new(MINUTE_NS + 30_000_000_000));
    let disk = SimDisk::new();
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let (agent, registry) = start_as(&disk, docker(host), &clock, &base).await;
    engine.print(&[(20, "a"), (21, " b"), (22, "c"), (23, "noise"), (24, " d")]);
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a\n b"]);
    assert_eq!(value(&registry, "lines_joined_total"), 2);
    assert!(text_of(&registry).contains(r#"logyard_agent_entries_discarded_total{reason="drop_stage"} 1"#));
    let after = disk.crash();
    drop(agent);

    let (engine, host) = FakeEngine::default().listen().await;
    let (agent, _registry) = start_as(&after, docker(host), &clock, &base).await;
    let kept = [(20, "a"), (21, " b"), (22, "c"), (23, "noise"), (24, " d")];
    engine.print(&[&kept[..], &[(25, " e"), (26, "f")]].concat());
    wait_for_batches(&store, &["a\n b", "c\n d\n e"]).await;
    // Silence ends an entry, and the end of the agent does not.
    clock.set(MINUTE_NS + 40_000_000_000);
    engine.print(&[(27, "g")]);
    wait_for_batches(&store, &["a\n b", "c\n d\n e", "f"]).await;
    agent.stop().await;
    wait_for_batches(&store, &["a\n b", "c\n d\n e", "f"]).await;
}

/// Waits until so many lines were pushed, and returns them.
async fn wait_for_lines(store: &Store, count: usize) -> Vec<String> {
    for pushes in 1.. {
        let lines: Vec<String> =
            store.wait_for_pushes(pushes).await.into_iter().flat_map(|(_, lines)| lines).collect();
        if lines.len() >= count {
            return lines;
        }
    }
    Vec::new()
}

/// Waits for batches of one entry each. One whose acknowledgement was lost comes again, under the same id.
async fn wait_for_batches(store: &Store, want: &[&str]) {
    for count in 1.. {
        let mut pushes = store.wait_for_pushes(count).await;
        pushes.dedup_by(|later, earlier| later.0 == earlier.0);
        if pushes.len() >= want.len() {
            let lines: Vec<&str> = pushes.iter().flat_map(|(_, lines)| lines).map(String::as_str).collect();
            assert_eq!(lines, want);
            return;
        }
    }
}

#[tokio::test]
async fn an_ended_container_is_read_to_its_end_when_the_engine_leaves_the_response_open() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
    let (agent, registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    // A line in two parts, of which those who follow are shown the first.
    let first = "x".repeat(crate::log_join::PART_BYTES);
    let (start, end) = (FakeEngine::part(22, &first), FakeEngine::part(22, "y\n"));
    engine.print(&[(20, "a"), (21, "b")]);
    engine.lines.lock().unwrap().push(start);
    engine.told.notify_waiters();
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a", "b"]);
    *engine.unseen.lock().unwrap() = [end, FakeEngine::frames(&[(23, "d")])].concat();
    *engine.is_over.lock().unwrap() = true;
    engine.tell("old", "die");
    assert_eq!(
        store.wait_for_pushes(2).await[1].1,
        [first + "y", "d".to_owned()],
        "whole, and nothing twice"
    );
    assert_eq!(value(&registry, "left_open_total"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_response_that_ends_within_a_line_does_not_cut_it() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
    let first = "x".repeat(crate::log_join::PART_BYTES);
    let start = [FakeEngine::frames(&[(20, "a")]), FakeEngine::part(22, &first)].concat();
    engine.lines.lock().unwrap().push(start);
    *engine.unseen.lock().unwrap() = FakeEngine::part(22, "y\n");
    *engine.is_over.lock().unwrap() = true;
    *engine.ends_early.lock().unwrap() = true;
    let (agent, _registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    let lines = wait_for_lines(&store, 2).await;
    assert_eq!(lines, ["a".to_owned(), first + "y"]);
    agent.stop().await;
}

#[tokio::test]
async fn what_happens_to_containers_is_told_once_over_agents() {
    const START: u64 = 1_700_000_000;
    let docker = |host: String| DockerSettings { host, ..DockerSettings::default() };
    let clock = Arc::new(SimClock::new(START as i64 * 1_000_000_000));
    let disk = SimDisk::new();
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    *engine.events_from.lock().unwrap() = START - 2;
    let agent = start_as(&disk, docker(host.clone()), &clock, &base).await.0;
    // The first is of before the agent's first start.
    for action in ["die", "create", "start", "die"] {
        engine.tell("old", action);
    }
    let lines = |pushes: Vec<(String, Vec<String>)>| -> Vec<String> {
        pushes.into_iter().flat_map(|(_, lines)| lines).collect()
    };
    let want = ["container started", "container exited code=1 after 1s"];
    let mut count = 1;
    while lines(store.wait_for_pushes(count).await).len() < want.len() {
        count += 1;
    }
    assert_eq!(lines(store.wait_for_pushes(count).await), want);
    agent.stop().await;
    // While nobody listens the engine keeps on.
    engine.tell("old", "start");
    let agent = start_as(&disk, docker(host), &clock, &base).await.0;
    let pushes = store.wait_for_pushes(count + 1).await;
    assert_eq!(lines(pushes), [&want[..], &["container started"]].concat());
    agent.stop().await;
}

#[tokio::test]
async fn a_reading_to_the_end_that_stalls_is_not_taken_for_the_end() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
    engine.print(&[(20, "a")]);
    *engine.unseen.lock().unwrap() = FakeEngine::frames(&[(21, "b")]);
    *engine.is_over.lock().unwrap() = true;
    *engine.ends_early.lock().unwrap() = true;
    *engine.stalls.lock().unwrap() = 1;
    let (agent, _registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a"]);
    // The one that followed ends, the first to the end stalls, and another follow tells that it is over again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    *engine.ends_early.lock().unwrap() = true;
    assert_eq!(store.wait_for_pushes(2).await[1].1, ["b"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_follow_that_falls_behind_a_rotated_log_is_left_for_the_whole() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine { rotates: true, ..FakeEngine::default() }.listen().await;
    let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
    // Followed, the log has a hole; it is long enough and late enough to be looked at as a whole.
    let long = "x".repeat(4_000);
    let early: Vec<(u32, &str)> = (1..=20).map(|second| (second, long.as_str())).collect();
    engine.print(&early);
    *engine.unseen.lock().unwrap() = FakeEngine::frames(&[(21, "in the hole"), (22, "behind")]);
    let (agent, registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    let lines = wait_for_lines(&store, 22).await;
    assert_eq!(lines[20..], ["in the hole", "behind"]);
    assert_eq!(value(&registry, "catch_ups_total"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_follow_that_may_have_skipped_a_file_is_left_for_the_whole() {
    const BEGIN_NS: i64 = 1_700_000_000_000_000_000;
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine { rotates: true, ..FakeEngine::default() }.listen().await;
    let clock = Arc::new(SimClock::new(BEGIN_NS));
    let long = "x".repeat(3_000);
    let early: Vec<(u32, &str)> = (1..=20).map(|second| (second, long.as_str())).collect();
    engine.print(&early);
    let (agent, registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    wait_for_lines(&store, 20).await;
    // A file of 64 kB takes 21 s at this pace.
    clock.set(BEGIN_NS + 15_000_000_000);
    *engine.skipped.lock().unwrap() = FakeEngine::frames(&[(25, "in the hole"), (26, "as well")]);
    engine.print(&[(35, "behind")]);
    assert_eq!(wait_for_lines(&store, 23).await[20..], ["in the hole", "as well", "behind"]);
    assert_eq!(value(&registry, "catch_ups_total"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_follow_that_stops_while_the_log_goes_on_is_left_for_the_whole() {
    let (store, base) = Store::listen(0).await;
    let (engine, host) = FakeEngine::default().listen().await;
    let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
    engine.print(&[(20, "a"), (21, "b")]);
    let (agent, registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["a", "b"]);
    *engine.unseen.lock().unwrap() = FakeEngine::frames(&[(22, "c"), (23, "d")]);
    let until = Instant::now() + Duration::from_secs(60);
    while store.pushes.lock().unwrap().len() < 2 {
        assert!(Instant::now() < until, "the container lives on, and nobody looks");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(store.wait_for_pushes(2).await[1].1, ["c", "d"]);
    assert_eq!(value(&registry, "stalls_total"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn podmans_times_are_shared_and_its_tails_shown_since_a_version() {
    for (version, tails) in [("4.3.1", ["all", "all"]), ("5.4.2", ["all", "1000"])] {
        let (store, base) = Store::listen(0).await;
        let (engine, host) = FakeEngine { podman: Some(version), ..FakeEngine::default() }.listen().await;
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(1_700_000_030_000_000_000)));
        engine.print(&[(20, "a"), (20, "a"), (21, "b")]);
        let (agent, _) = start_on(&disk, host.clone(), Initial::All, &clock, &base).await;
        assert_eq!(wait_for_lines(&store, 3).await, ["a", "a", "b"], "two lines of one time are two");
        agent.stop().await;
        engine.print(&[(21, "b"), (21, "c")]);
        let (agent, _) = start_on(&disk, host, Initial::All, &clock, &base).await;
        assert_eq!(wait_for_lines(&store, 5).await[3..], ["b", "c"]);
        agent.stop().await;
        let asked: Vec<String> = engine.logs.lock().unwrap().iter().map(|(_, tail)| tail.clone()).collect();
        assert_eq!(asked, tails, "{version}");
    }
}

#[tokio::test]
async fn lines_behind_zeros_are_read_as_far_as_the_engine_shows_them() {
    for count in [1, 8, 13] {
        let (store, base) = Store::listen(0).await;
        let (engine, host) = FakeEngine::default().listen().await;
        let clock = Arc::new(SimClock::new(1_700_000_060_000_000_000));
        engine.print(&[(20, "a")]);
        let behind = (0..count).map(|second| FakeEngine::frames(&[(30 + second, "behind")]));
        *engine.behind_zeros.lock().unwrap() = behind.collect();
        *engine.is_over.lock().unwrap() = true;
        *engine.ends_early.lock().unwrap() = true;
        let (agent, registry) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
        let lines = wait_for_lines(&store, 1 + count as usize).await;
        let want: Vec<&str> = ["a"].into_iter().chain((0..count).map(|_| "behind")).collect();
        assert_eq!(lines, want);
        assert!(text_of(&registry).contains(r#"gaps_total{reason="damaged"} 1"#), "{}", text_of(&registry));
        agent.stop().await;
    }
}

#[tokio::test]
async fn b30_old_and_new_engines_are_asked_in_a_version_that_they_speak() {
    for api in [["1.41", "1.12"], ["1.52", "1.44"], ["1.99", "1.44"]] {
        let (engine, host) = FakeEngine { api: Some(api), ..FakeEngine::default() }.listen().await;
        let (store, base) = Store::listen(0).await;
        let clock = Arc::new(SimClock::new(1_700_000_030_000_000_000));
        engine.print(&[(20, "a")]);
        let (agent, _) = start_on(&SimDisk::new(), host, Initial::All, &clock, &base).await;
        assert_eq!(store.wait_for_pushes(1).await[0].1, ["a"]);
        agent.stop().await;
        assert_eq!(*engine.misunderstood.lock().unwrap(), [""; 0], "{api:?}");
    }
}
