//! The whole command against a server of a few lines that plays back answers.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::{FOUND, NOTHING, Surroundings, TROUBLE, run};

pub(crate) const NOW_NS: i64 = 1_795_229_946_000_000_000;

/// Answers one GET per body, each with 200, on connections of their own; returns the address and the
/// request lines.
pub(crate) fn serve(bodies: Vec<String>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::sync_channel(100);
    std::thread::spawn(move || {
        for body in bodies {
            let (mut socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            sender.send(lines.next().unwrap().unwrap()).unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let (status, body) = body.split_once(' ').unwrap();
            let head =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all((head + body).as_bytes()).unwrap();
        }
    });
    (addr, requests)
}

pub(crate) struct Outcome {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(line: &[&str], env: &[(&str, &str)]) -> Outcome {
    command_with(line, env, b"")
}

pub(crate) fn command_with(line: &[&str], env: &[(&str, &str)], input: &[u8]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["logq", "--utc"].iter().chain(line).map(OsString::from);
    let surroundings = Surroundings {
        now_ns: &|| NOW_NS,
        env: &|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        input: &mut io::Cursor::new(input),
        out: &mut out,
        err: &mut err,
        out_is_terminal: false,
        err_is_terminal: false,
    };
    let status = run(args, surroundings);
    Outcome { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// An answer with entries of container `web`, times in seconds before now.
pub(crate) fn entries(all: &[(i64, &str)]) -> String {
    let values: Vec<String> = all
        .iter()
        .map(|(secs_ago, line)| format!(r#"["{}","{line}",{{}}]"#, NOW_NS - secs_ago * 1_000_000_000))
        .collect();
    format!(
        r#"200 {{"status":"success","data":{{"resultType":"streams","result":[{{"stream":{{"container":"web"}},"values":[{}]}}]}}}}"#,
        values.join(",")
    )
}

#[test]
fn entries_are_printed_newest_first() {
    let (addr, requests) = serve(vec![entries(&[(1, "b"), (2, "a")])]);
    let outcome = command(&[r#"{container="web"}"#, "--addr", &addr], &[]);
    assert_eq!(outcome.out, "2026-11-21T02:59:05.000Z b\n2026-11-21T02:59:04.000Z a\n");
    assert_eq!(outcome.err, "common labels: {container=\"web\"}\n");
    assert_eq!(outcome.status, FOUND);
    let request = requests.recv().unwrap();
    assert!(request.contains("start=1795226346000000000&end=1795229946000000000&limit=100"), "{request}");
    assert!(request.contains("direction=backward"), "{request}");
}

/// Reads the head of a request without taking it; true for one that asks for a websocket.
async fn asks_for_a_socket(connection: &tokio::net::TcpStream) -> bool {
    let mut head = vec![0; 8192];
    loop {
        let bytes = connection.peek(&mut head).await.unwrap();
        let text = String::from_utf8_lossy(&head[..bytes]).to_lowercase();
        if text.contains("\r\n\r\n") {
            return text.contains("upgrade: websocket");
        }
        tokio::task::yield_now().await;
    }
}

/// Answers calls in turn; whoever asks for a websocket gets the frames, then the reason why it ends, and is
/// refused the next time.
fn serve_live(bodies: Vec<String>, frames: Vec<String>, reason: &'static str) -> String {
    use futures_util::SinkExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    let serving = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (mut bodies, mut frames) = (bodies.into_iter(), Some(frames));
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let is_socket = asks_for_a_socket(&connection).await;
            if let Some(frames) = frames.take_if(|_| is_socket) {
                let mut socket = tokio_tungstenite::accept_async(connection).await.unwrap();
                for frame in frames {
                    socket.send(Message::Text(frame.into())).await.unwrap();
                }
                let end = CloseFrame { code: CloseCode::Error, reason: reason.into() };
                socket.close(Some(end)).await.unwrap();
                continue;
            }
            let mut head = vec![0; 8192];
            assert!(connection.read(&mut head).await.unwrap() > 0);
            let body = if is_socket { "404 no".to_owned() } else { bodies.next().unwrap() };
            let (status, body) = body.split_once(' ').unwrap();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            connection.write_all(answer.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
        }
    };
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving)
    });
    addr
}

#[test]
fn tail_follows_live_and_then_by_asking() {
    let frame = |entries: &str, more: &str| {
        format!(r#"{{"streams":[{{"stream":{{"container":"web"}},"values":[{entries}]}}]{more}}}"#)
    };
    let entry =
        |secs_ago: i64, line: &str| format!(r#"["{}","{line}",{{}}]"#, NOW_NS - secs_ago * 1_000_000_000);
    let dropped = r#","dropped_entries":[{"timestamp":"1","labels":{"container":"web"}}]"#;
    let frames = vec![
        frame(&format!("{},{}", entry(2, "between"), entry(1, "live")), ""),
        frame(&entry(1, "late"), dropped),
    ];
    let bodies = vec![
        entries(&[(3, "old")]),
        entries(&[(3, "old"), (2, "between")]),
        entries(&[(3, "old"), (2, "between"), (1, "live"), (1, "late"), (0, "asked")]),
        "400 that is enough".to_owned(),
    ];
    let addr = serve_live(bodies, frames, "no more of them");
    let outcome = command(&["tail", r#"{container="web"}"#, "-o", "raw", "--addr", &addr], &[]);
    assert_eq!(outcome.out, "old\nbetween\nlive\nlate\nasked\n", "{}", outcome.err);
    assert_eq!(
        outcome.err,
        "logq: too slow: the store left out 1 entries or more; a query finds them\n\
         logq: the store ended the tail: no more of them; asking every 500 ms instead\n\
         logq: that is enough\n"
    );
    assert_eq!(outcome.status, TROUBLE);
}

#[test]
fn pages_are_joined() {
    let pages = vec![entries(&[(9, "a"), (8, "b")]), entries(&[(8, "b"), (7, "c")]), entries(&[(7, "c")])];
    let (addr, requests) = serve(pages);
    let line = [r#"{container="web"}"#, "--limit", "0", "--batch", "2", "--forward", "-o", "raw"];
    let outcome = command(&line, &[("LOGQ_ADDR", &addr)]);
    assert_eq!((outcome.out.as_str(), outcome.status), ("a\nb\nc\n", FOUND), "{}", outcome.err);
    assert_eq!(requests.iter().count(), 3);
}

#[test]
fn a_timestamp_fuller_than_the_store_returns_at_once_is_told() {
    let refusal = "400 max entries limit per query exceeded, limit > max_entries_limit_per_query (4 > 2)";
    let (addr, requests) = serve(vec![entries(&[(9, "a"), (9, "b")]), refusal.to_owned()]);
    let line =
        [r#"{container="web"}"#, "--limit", "0", "--batch", "2", "--forward", "-o", "raw", "--addr", &addr];
    let outcome = command(&line, &[]);
    assert_eq!((outcome.status, &*outcome.out), (TROUBLE, "a\nb\n"));
    assert!(
        outcome.err.contains("(4 > 2); --batch") && outcome.err.contains("engine.entries_max"),
        "{}",
        outcome.err
    );
    assert!(requests.iter().nth(1).unwrap().contains("&limit=4&"));
}

#[test]
fn tail_asks_again_and_again_where_a_proxy_speaks_no_websockets() {
    // Such a proxy hands the request on without what asks for the change of protocol.
    let bodies = vec![
        entries(&[(3, "old")]),
        "200 {}".to_owned(),
        entries(&[(3, "old"), (2, "new")]),
        "400 no more".to_owned(),
    ];
    let (addr, requests) = serve(bodies);
    let outcome = command(&["tail", r#"{container="web"}"#, "-o", "raw", "--addr", &addr], &[]);
    assert_eq!((&*outcome.out, &*outcome.err), ("old\nnew\n", "logq: no more\n"));
    let paths: Vec<bool> = requests.iter().map(|line| line.contains("/tail?")).collect();
    assert_eq!(paths, [false, true, false, false]);
}

#[test]
fn nothing_found_has_a_status_of_its_own() {
    let (addr, _requests) = serve(vec![entries(&[])]);
    let outcome = command(&[r#"{container="web"}"#], &[("LOKI_ADDR", &addr)]);
    assert_eq!((outcome.status, outcome.out.as_str(), outcome.err.as_str()), (NOTHING, "", ""));
}

#[test]
fn mistakes_are_shown_before_the_store_is_asked() {
    let outcome = command(&[r#"{container="web"} |= "#, "--addr", "http://127.0.0.1:1"], &[]);
    assert_eq!(outcome.status, TROUBLE);
    assert!(outcome.err.starts_with("logq: parse error at line 1"), "{}", outcome.err);
    assert!(outcome.err.contains("\n  {container=\"web\"} |= \n"), "{}", outcome.err);
    assert!(outcome.err.trim_end().ends_with('^'), "{}", outcome.err);
}

#[test]
fn refusals_of_the_store_are_passed_on() {
    let (addr, _requests) = serve(vec!["400 the query is too long\n".to_owned()]);
    let outcome = command(&["labels", "--addr", &addr], &[]);
    assert_eq!((outcome.status, outcome.err.as_str()), (TROUBLE, "logq: the query is too long\n"));
}

#[test]
fn wrong_arguments_are_trouble_and_help_is_not() {
    assert_eq!(command(&["{}", "--since", "soon"], &[]).status, TROUBLE);
    assert_eq!(command(&["{}", "--limt", "5"], &[]).status, TROUBLE);
    let help = command(&["--help"], &[]);
    assert_eq!(help.status, FOUND);
    assert!(help.out.contains("tail") && help.out.contains("LOKI_ADDR"), "{}", help.out);
}

#[test]
fn labels_series_and_samples_have_their_forms() {
    let (addr, requests) = serve(vec![
        r#"200 {"status":"success","data":["a","b"]}"#.to_owned(),
        r#"200 {"status":"success","data":[{"b":"2"},{"a":"1"}]}"#.to_owned(),
        r#"200 {"data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[5,"7"]}]}}"#.to_owned(),
    ]);
    assert_eq!(command(&["labels", "x", "--addr", &addr], &[]).out, "a\nb\n");
    assert_eq!(command(&["series", "--addr", &addr], &[]).out, "{a=\"1\"}\n{b=\"2\"}\n");
    let query = r#"count_over_time({a="1"}[5m])"#;
    let instant = command(&["instant", query, "--at", "5", "-o", "jsonl", "--addr", &addr], &[]);
    let want = r#"{"timestamp":"1970-01-01T00:00:05.000000000Z","labels":{"a":"1"},"value":"7"}"#;
    assert_eq!(instant.out.trim_end(), want);
    let asked: Vec<String> = requests.iter().collect();
    assert!(asked[0].starts_with("GET /loki/api/v1/label/x/values?"), "{}", asked[0]);
    assert!(asked[2].ends_with("&time=5 HTTP/1.1"), "{}", asked[2]);
}

#[test]
fn a_reader_that_went_away_is_no_trouble() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (addr, _requests) = serve(vec![entries(&[(1, "a")])]);
    let mut err = Vec::new();
    let surroundings = Surroundings {
        now_ns: &|| NOW_NS,
        env: &|_| None,
        input: &mut io::empty(),
        out: &mut Closed,
        err: &mut err,
        out_is_terminal: false,
        err_is_terminal: false,
    };
    let args = ["logq", r#"{container="web"}"#, "--addr", &addr, "--all-labels"].map(OsString::from);
    assert_eq!(run(args, surroundings), FOUND);
    assert!(err.is_empty());
}

#[test]
fn fmt_puts_a_query_in_order_without_a_store() {
    let nobody = ["--addr", "http://127.0.0.1:1"];
    let done = command(&[&nobody[..], &["fmt", r#"sum  by(app)(rate({a="b"}|json|x>5[5m]))"#]].concat(), &[]);
    assert_eq!((done.status, &*done.err), (FOUND, ""));
    let again = command(&["fmt", done.out.trim_end()], &[]);
    assert_eq!(again.out, done.out, "what is in order stays");
    assert!(done.out.contains("| json") && done.out.contains("x>5"), "{}", done.out);
    let done = command(&["fmt", r#"{a="b"} | x >"#], &[]);
    assert_eq!(done.status, TROUBLE);
    assert!(done.err.contains("parse error") && done.err.contains('^'), "{}", done.err);
}

#[test]
fn explain_shows_the_plan() {
    let plan = r#"{"step":"first 100 entries","inputs":[{"step":"scan {a=\"b\"}","counts":[{"name":"blocks","value":3}]}]}"#;
    let answer = format!(
        r#"200 {{"status":"success","data":{{"resultType":"streams","result":[]}},"explain":{plan}}}"#
    );
    let old = r#"200 {"status":"success","data":{"resultType":"streams","result":[]}}"#;
    let (addr, requests) = serve(vec![answer.clone(), answer, old.to_owned()]);
    let done = command(&["--addr", &addr, "explain", "{a=\"b\"}"], &[]);
    assert_eq!((done.status, &*done.out), (FOUND, "first 100 entries\n<- scan {a=\"b\"}\n      blocks  3\n"));
    assert!(requests.recv().unwrap().contains("explain=plan"));
    let done = command(&["--addr", &addr, "explain", "{a=\"b\"}", "--analyze", "-o", "jsonl"], &[]);
    assert_eq!((done.status, done.out), (FOUND, format!("{plan}\n")));
    assert!(requests.recv().unwrap().contains("explain=analyze"));
    let done = command(&["--addr", &addr, "explain", "{a=\"b\"}"], &[]);
    assert_eq!(done.status, TROUBLE);
    assert!(done.err.contains("does not explain queries"), "{}", done.err);
}
