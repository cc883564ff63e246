//! A dry run tells what the agent would ship, and leaves everything as it is.

use super::*;
use crate::dry_run::{DryEntry, DryParts, DryRun};

fn settings() -> AgentSettings {
    let files: FileSettings = serde_json::from_str(
        r#"{"path": ["/log/*.log"], "labels": {"job": "x"}, "stages": [
            {"regex": {"expression": "^(?P<word>\\w+)"}}, {"structured_metadata": {"word": null}},
            {"drop": {"expression": "noise"}}]}"#,
    )
    .unwrap();
    AgentSettings {
        host: "nas".to_owned(),
        docker: DockerSettings { enabled: false, ..DockerSettings::default() },
        files: vec![files],
        syslog: vec![serde_json::from_str(r#"{"listen": "127.0.0.1:1"}"#).unwrap()],
        ..AgentSettings::default()
    }
}

/// Returns what so many entries say, and the ports that were left out.
async fn told(disk: &SimDisk, count: usize) -> (Vec<String>, Vec<String>) {
    let (tell, mut told) = mpsc::channel::<DryEntry>(16);
    let parts = DryParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        data_dir: "/data".into(),
        imported: ImportedPositions::default(),
        tell,
    };
    let (run, left_out) = DryRun::start(settings(), parts).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..count {
        let entry = timeout(Duration::from_secs(60), told.recv()).await.unwrap().unwrap();
        let line = String::from_utf8(entry.line).unwrap();
        found.push(format!("{} {} {line}", entry.labels, entry.metadata));
    }
    run.stop().await;
    assert_eq!(told.recv().await, None, "the end is told, and nothing else before");
    (found, left_out)
}

#[tokio::test]
async fn what_would_be_shipped_is_told_from_where_the_agent_is() {
    let disk = SimDisk::new();
    write(&disk, "one 1\nnoise\ntwo 2\n");
    let entry = |line: &str| {
        let word = line.split(' ').next().unwrap();
        format!(r#"{{filename="/log/a.log", host="nas", job="x"}} {{word="{word}"}} {line}"#)
    };
    let want = vec![entry("one 1"), entry("two 2")];
    let ports = vec!["syslog tcp 127.0.0.1:1".to_owned()];
    assert_eq!(told(&disk, 2).await, (want.clone(), ports.clone()));
    // Twice the same: no position was written, nor anything else.
    assert_eq!(told(&disk, 2).await, (want, ports));
    assert_eq!(disk.metadata(Path::new("/data")).unwrap(), None);

    let (store, base) = Store::listen(0).await;
    let agent =
        start_with(Arc::new(disk.clone()), &base, Path::new("/"), ImportedPositions::default()).await.0;
    store.wait_for_pushes(1).await;
    agent.stop().await;
    write(&disk, "three 3\n");
    assert_eq!(told(&disk, 1).await.0, [entry("three 3")]);
}
