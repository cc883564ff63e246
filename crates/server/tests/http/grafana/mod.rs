//! What Grafana 10 to 13 ask of a Loki data source, replayed over sockets against a running server, and what Loki
//! v3.7.6 answers. Requests and expectations stand in `scenario.http` beside this file; its head says how.

use super::tail::{Live, Socket, live, text};
use super::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One request, and what is expected of its answer.
#[derive(Debug, Default)]
struct Step {
    title: String,
    line: usize,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    expect: Vec<(char, String)>,
}

/// Reads the scenario.
fn steps(file: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in file.lines().enumerate() {
        if let Some(title) = line.strip_prefix("### ") {
            steps.push(Step { title: title.to_owned(), line: number + 1, ..Step::default() });
            continue;
        }
        let Some(step) = steps.last_mut() else { continue };
        let Some((sign, rest)) = line.split_once(' ') else {
            assert!(line.is_empty(), "line {}: {line}", number + 1);
            continue;
        };
        match sign {
            ">" if step.method.is_empty() => {
                let (method, path) = rest.split_once(' ').unwrap_or((rest, ""));
                (step.method, step.path) = (method.to_owned(), path.to_owned());
            }
            ">" if rest.starts_with(['{', '[', 'q']) => step.body.push_str(rest),
            // A long query goes on.
            ">" if rest.starts_with('&') => step.path.push_str(rest),
            ">" => {
                let (name, value) = rest.split_once(": ").unwrap();
                step.headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            sign => step.expect.push((sign.parse().unwrap(), rest.to_owned())),
        }
    }
    steps
}

/// An answer as it came over the wire.
struct Raw {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

async fn ask(address: std::net::SocketAddr, step: &Step) -> Raw {
    let mut request =
        format!("{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n", step.method, step.path);
    for (name, value) in &step.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{}", step.body.len(), step.body));
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Raw { status, headers, body: body.to_owned() }
}

/// Holds an answer against what is expected.
fn check(step: &Step, raw: &Raw) {
    let place = || format!("scenario.http:{} {}\n{}", step.line, step.title, raw.body);
    let value =
        || serde_json::from_str::<Value>(&raw.body).unwrap_or_else(|error| panic!("{error}: {}", place()));
    let at = |pointer: &str| value().pointer(pointer).cloned();
    assert!(!step.expect.is_empty(), "nothing is expected: {}", place());
    for (sign, rest) in &step.expect {
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match (sign, first.split_once(':')) {
            ('<', None) => match first.strip_prefix('!') {
                Some(name) => {
                    assert!(raw.headers.iter().all(|(have, _)| have != name), "{rest}: {}", place())
                }
                None => assert_eq!(raw.status.to_string(), first, "{}", place()),
            },
            ('<', Some((name, _))) => {
                let found =
                    raw.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
                assert_eq!(found, Some(second), "{name}: {}", place());
            }
            ('=', _) => {
                let want: Value =
                    serde_json::from_str(second).unwrap_or_else(|error| panic!("{second}: {error}"));
                assert_eq!(at(first), Some(want), "{first}: {}", place());
            }
            ('!', _) => assert_eq!(at(first), None, "{first}: {}", place()),
            ('#', _) => {
                let count = at(first).as_ref().and_then(Value::as_array).map(Vec::len);
                assert_eq!(
                    count.map(|count| count.to_string()).as_deref(),
                    Some(second),
                    "{first}: {}",
                    place()
                );
            }
            ('^', _) => assert!(raw.body.starts_with(rest), "{}", place()),
            ('$', _) => assert_eq!(raw.body.trim_end_matches('\n'), rest, "{}", place()),
            ('?', _) => {
                let mut from = 0;
                for key in rest.split(' ') {
                    let found = raw.body[from..].find(&format!("\"{key}\":"));
                    from += found.unwrap_or_else(|| panic!("no {key:?} behind {from}: {}", place()));
                }
            }
            (other, _) => panic!("{other:?} means nothing: {}", place()),
        }
    }
}

/// Replays a step; a tail stays open for the steps behind it that read its frames.
async fn replay(live: &Live, step: &Step, tail: &mut Option<Socket>) {
    match step.method.as_str() {
        "TAIL" => {
            let headers: Vec<(&'static str, &str)> =
                step.headers.iter().map(|(name, value)| (&*name.clone().leak(), value.as_str())).collect();
            *tail = Some(live.try_tail(&step.path, &headers).await.unwrap());
        }
        "FRAME" => {
            let body = text(tail.as_mut().expect("a tail is open")).await;
            check(step, &Raw { status: 0, headers: Vec::new(), body });
        }
        "FLUSH" => {
            let request = Request::post("/flush").body(Body::empty()).unwrap();
            assert_eq!(live.world.send(request).await.status, StatusCode::NO_CONTENT);
        }
        _ => check(step, &ask(live.address, step).await),
    }
}

#[tokio::test]
async fn check_62_what_grafana_asks_is_answered_as_loki_does() {
    let all = steps(include_str!("scenario.http"));
    let (setup, asked): (Vec<_>, Vec<_>) =
        all.iter().partition(|step| step.path == "/loki/api/v1/push" && !step.title.contains("live"));
    assert!(setup.len() > 1 && asked.len() > 30, "{} and {}", setup.len(), asked.len());
    // In memory, in a file, and half and half.
    for place in 0..3 {
        let live = live(ServerSettings::default()).await;
        let mut tail = None;
        for (number, step) in setup.iter().enumerate() {
            replay(&live, step, &mut tail).await;
            if place == 1 || (place == 2 && number == 0) {
                let flush = Step { method: "FLUSH".to_owned(), ..Step::default() };
                replay(&live, &flush, &mut tail).await;
            }
        }
        for step in &asked {
            replay(&live, step, &mut tail).await;
        }
        drop(tail);
    }
}
