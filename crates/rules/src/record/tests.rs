//! Series over time, and targets that take them, are away, or refuse them.

use super::*;
use crate::ruler::tests::{World, set};
use logyard_model::Tenant;
use logyard_wire::remote_write::STALE_BITS;
use prometheus_client::encoding::text::encode as encode_metrics;
use std::collections::VecDeque;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

fn settings(url: &str) -> RemoteWriteSettings {
    RemoteWriteSettings { name: "p".to_owned(), url: url.to_owned(), ..RemoteWriteSettings::default() }
}

/// Takes what waits: name, app, other labels and value, with the distance in seconds from the first.
fn taken(ruler: &Ruler) -> Vec<String> {
    let (_, queue) = ruler.remote_write().next().unwrap();
    let (batch, end) = queue.batch();
    queue.done(end);
    let first_ms = batch.first().map_or(0, |sample| sample.ts_ms);
    let shown = |sample: &Recorded| {
        let value = match sample.value.to_bits() {
            STALE_BITS => "ended".to_owned(),
            _ => sample.value.to_string(),
        };
        format!("{} {value} +{}", sample.labels, (sample.ts_ms - first_ms) / 1000)
    };
    batch.iter().map(shown).collect()
}

const GROUP: &str = "name: g\ninterval: 10s\nlabels: {team: home}\nrules:\n- record: m\n  expr: vector(1)\n";

#[tokio::test]
async fn series_are_sent_and_end() {
    let mut world = World::new();
    world.settings.remote_write = vec![settings("http://p")];
    let ruler = world.open();
    set(&ruler, GROUP);
    world.answer(&["db", "web"]);
    world.pass(&ruler, 10).await;
    let (db, web) = (r#"{__name__="m", app="db", team="home"}"#, r#"{__name__="m", app="web", team="home"}"#);
    assert_eq!(taken(&ruler), [format!("{db} 2 +0"), format!("{web} 2 +0")]);
    world.answer(&["web"]);
    world.pass(&ruler, 20).await;
    assert_eq!(taken(&ruler), [format!("{web} 2 +0"), format!("{db} ended +0"), format!("{web} 2 +10")]);
    // A rule that is changed goes on, one that moves to another group does, and one that is no more has ended.
    set(&ruler, &GROUP.replace("vector(1)", "vector(2)"));
    world.pass(&ruler, 10).await;
    assert_eq!(taken(&ruler), [format!("{web} 2 +0")]);
    set(&ruler, &GROUP.replace("name: g", "name: h"));
    world.pass(&ruler, 10).await;
    ruler.delete_group(&Tenant::single(), "n", "g").unwrap();
    world.pass(&ruler, 60).await;
    assert!(taken(&ruler).iter().all(|sample| !sample.contains("ended")));
    ruler.delete_group(&Tenant::single(), "n", "h").unwrap();
    assert!(ruler.status(&Tenant::single()).is_empty());
    world.pass(&ruler, 120).await;
    assert_eq!(taken(&ruler), [format!("{web} ended +0")]);
    // Two of the same labels are a fault of the rule; another tenant's series have its name.
    let group = GROUP.replace("{team: home}", "{team: home, app: ''}");
    let tenant = Tenant::new("lab").unwrap();
    let group = crate::read_group(group.as_bytes()).unwrap();
    ruler.set_group(&tenant, "n", group).unwrap();
    world.pass(&ruler, 10).await;
    assert_eq!(taken(&ruler), [r#"{__name__="m", team="home", tenant="lab"} 2 +0"#]);
    world.answer(&["db", "web"]);
    world.pass(&ruler, 10).await;
    let health = ruler.status(&tenant)[0].rules[0].health.clone();
    let text = "vector contains metrics with the same labelset after applying rule labels";
    assert_eq!(health, crate::Health::Failed(text.to_owned()));
    assert!(taken(&ruler).is_empty());
}

#[test]
fn the_oldest_go_where_there_is_no_room() {
    let queue = Queue::new(&RemoteWriteSettings { samples_max: 3, ..settings("http://p") });
    let samples = |values: std::ops::Range<i32>| -> Vec<Recorded> {
        let sample = |value| Recorded { labels: Arc::default(), value: f64::from(value), ts_ms: 0 };
        values.map(sample).collect()
    };
    let values = |batch: &[Recorded]| batch.iter().map(|sample| sample.value).collect::<Vec<_>>();
    queue.push(&samples(0..2));
    let (batch, end) = queue.batch();
    assert_eq!((values(&batch), end), (vec![0.0, 1.0], 2));
    // They are dropped while they are under way: what came behind them stays.
    queue.push(&samples(2..5));
    assert_eq!((queue.done(end), queue.waiting.lock().dropped), (3, 2));
    assert_eq!(values(&queue.batch().0), [2.0, 3.0, 4.0]);
    queue.push(&samples(5..6));
    assert_eq!((queue.done(4), queue.waiting.lock().dropped), (2, 3));
}

/// Answers requests with statuses, one after another, and with 204 when there are none left. Returns heads and lengths.
async fn serve(listener: TcpListener, mut statuses: VecDeque<u16>) -> Vec<(String, usize)> {
    let mut heard = Vec::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = BufReader::new(socket);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(socket.read_line(&mut head).await.unwrap() > 0, "{head}");
            if let Some(value) = head[from..].strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.unwrap();
        heard.push((head, length));
        let status = statuses.pop_front();
        let text = status.unwrap_or(204);
        let answer = format!("HTTP/1.1 {text} x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        if status.is_none() {
            return heard;
        }
    }
}

#[tokio::test]
async fn a_target_that_is_ill_is_tried_again_and_one_that_refuses_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
    let mut world = World::new();
    world.settings.remote_write = vec![settings(&url)];
    let ruler = world.open();
    let disk: &dyn Disk = &world.disk;
    let random = Arc::new(Random::seeded(1));
    let recorder = Recorder::new(&ruler, disk, random, &mut world.registry).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, VecDeque::from([503, 400])));
    let running = tokio::spawn(recorder.run(async move { drop(stopped.await) }));
    let counted = |world: &World, result: &str| {
        let mut text = String::new();
        encode_metrics(&mut text, &world.registry).unwrap();
        text.contains(&format!(r#"logyard_rules_recorded_samples_total{{target="p",result="{result}"}} 1"#))
    };
    set(&ruler, GROUP);
    world.answer(&["web"]);
    world.pass(&ruler, 10).await;
    while !counted(&world, "refused") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.pass(&ruler, 10).await;
    while !counted(&world, "sent") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let heard = serving.await.unwrap();
    assert_eq!(heard.len(), 3);
    // The same came again, and then the next.
    assert_eq!(heard[0].1, heard[1].1);
    for line in [
        "POST /api/v1/write HTTP/1.1\r\n",
        "content-type: application/x-protobuf\r\n",
        "content-encoding: snappy\r\n",
        "x-prometheus-remote-write-version: 0.1.0\r\n",
    ] {
        assert!(heard[0].0.contains(line), "{}", heard[0].0);
    }
    drop(stop);
    running.await.unwrap();
}

#[test]
fn settings_are_checked() {
    let fault = |all: &[RemoteWriteSettings], want: &str| {
        let text = RemoteWriteSettings::check(all).unwrap_err();
        assert!(text.starts_with("rules.remote_write.") && text.contains(want), "{text}");
    };
    fault(&[settings("")], "no address; set url or url_file");
    fault(&[settings("http://p"), settings("http://p")], r#"1: the name "p" occurs twice"#);
    fault(&[RemoteWriteSettings { name: String::new(), ..settings("http://p") }], "want a name");
    fault(&[RemoteWriteSettings { url_file: "/f".to_owned(), ..settings("http://p") }], "remove one");
    fault(&[RemoteWriteSettings { samples_max: 0, ..settings("http://p") }], "samples_max");
}
