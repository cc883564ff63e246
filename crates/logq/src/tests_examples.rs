//! The examples of every command's help, run as they stand against a stand-in for a store.
//!
//! An example is a line of `after_help` that begins with two blanks; what stands behind `  # ` is for the reader. In
//! front of `| logq` may stand `echo TEXT` or `cat FILE`: the input is that text, or a few lines of logs. An example
//! must find something. Commands that need a terminal or a real store are only read: see [`ONLY_READ`].

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use clap::CommandFactory as _;

use crate::args::Arguments;
use crate::tests::NOW_NS;
use crate::{FOUND, Surroundings, run};

/// Commands whose examples are read and not run, because they need a terminal or write to a store.
const ONLY_READ: [&str; 4] = ["export", "import", "push", "ui"];

/// What `cat FILE` yields.
const FILE: &str = "level=info msg=ready\nlevel=error msg=\"disk full\" code=507\n";

/// Answers every call in the way of a store that holds a little of everything; returns its address.
pub(crate) fn stand_in() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut socket = connection.unwrap();
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let (status, body) = answer(&request);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            socket.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    addr
}

/// Answers one request line.
fn answer(request: &str) -> (u16, String) {
    let data = |data: &str| (200, format!(r#"{{"status":"success","data":{data}}}"#));
    let target = request.split(' ').nth(1).unwrap_or_default();
    let (path, params) = target.split_once('?').unwrap_or((target, ""));
    let is_metric = ["count_over_time", "rate"].iter().any(|function| params.contains(function));
    match path {
        "/loki/api/v1/query_range" if params.contains("explain=") => {
            (200, r#"{"status":"success","data":{"resultType":"streams","result":[]},"explain":{"step":"first 100 entries"}}"#.to_owned())
        }
        "/loki/api/v1/query_range" if is_metric => data(
            r#"{"resultType":"matrix","result":[{"metric":{"container":"web"},"values":[[1795229900,"3"],[1795229940,"5"]]}]}"#,
        ),
        "/loki/api/v1/query_range" => data(&format!(
            r#"{{"resultType":"streams","result":[{{"stream":{{"container":"web"}},"values":[["{NOW_NS}","ERROR x",{{"structuredMetadata":{{"detected_level":"error"}}}}]]}}]}}"#
        )),
        "/loki/api/v1/query" => {
            data(r#"{"resultType":"vector","result":[{"metric":{"container":"web"},"value":[1795229946,"7"]}]}"#)
        }
        "/loki/api/v1/labels" => data(r#"["container"]"#),
        "/loki/api/v1/label/container/values" => data(r#"["db","web"]"#),
        "/loki/api/v1/patterns" => data(
            r#"[{"pattern":"GET <_>","level":"info","samples":[[1795229900,3]]},{"pattern":"lost <_>","level":"error","samples":[[1795229900,4]]}]"#,
        ),
        "/loki/api/v1/series" => data(r#"[{"container":"web"}]"#),
        "/loki/api/v1/index/stats" => {
            (200, r#"{"streams":1,"chunks":2,"bytes":300,"entries":4}"#.to_owned())
        }
        "/loki/api/v1/index/volume" => {
            data(r#"{"resultType":"vector","result":[{"metric":{"container":"web"},"value":[1795229946,"300"]}]}"#)
        }
        "/loki/api/v1/index/volume_range" => data(
            r#"{"resultType":"matrix","result":[{"metric":{"container":"web"},"values":[[1795229946,"300"]]}]}"#,
        ),
        "/loki/api/v1/detected_fields" => (
            200,
            r#"{"fields":[{"label":"status","type":"int","cardinality":2,"parsers":["json"]}]}"#.to_owned(),
        ),
        "/loki/api/v1/detected_field/status/values" => (200, r#"{"values":["200","404"]}"#.to_owned()),
        "/loki/api/v1/delete" if request.starts_with("GET") => (
            200,
            r#"[{"request_id":"x","start_time":1,"end_time":2,"query":"{}","status":"received"}]"#.to_owned(),
        ),
        "/loki/api/v1/delete" => (204, String::new()),
        _ => (404, "404 page not found\n".to_owned()),
    }
}

/// Takes what it is given and goes away at the first flush after something came, so that a command that follows comes to its end.
struct Reader(Vec<u8>);

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Splits a line as a shell does, as far as examples go: words, both kinds of quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is open: {line}");
    words.extend(word);
    words
}

/// Returns the examples in a text, each without its remark.
fn examples(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    lines.map(|line| line.split("  # ").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn examples_of_every_command_find_something() {
    let addr = stand_in();
    for command in Arguments::command().get_subcommands() {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let found = examples(&text);
        assert!(!found.is_empty(), "logq {} has no examples", command.get_name());
        for example in found {
            let (feed, line) = example.rsplit_once(" | logq").map_or(("", &*example), |(feed, rest)| {
                let at = example.len() - rest.len() - "logq".len();
                (feed, example.split_at(at).1)
            });
            let feed = match feed.split_once(' ') {
                None => String::new(),
                Some(("echo", text)) => words(text).join(" ") + "\n",
                Some(("cat", _)) => FILE.to_owned(),
                Some(_) => panic!("{example}: want echo or cat in front"),
            };
            let line = words(line);
            assert_eq!(line.first().map(String::as_str), Some("logq"), "{example}");
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            if ONLY_READ.contains(&command.get_name()) {
                Arguments::read(args).unwrap_or_else(|error| panic!("{example}\n{error}"));
                continue;
            }
            assert_found(&example, args, &feed, &addr);
        }
    }
}

fn assert_found(example: &str, args: Vec<OsString>, feed: &str, addr: &str) {
    let (sender, ended) = mpsc::sync_channel(1);
    let (addr, feed) = (addr.to_owned(), feed.to_owned());
    std::thread::spawn(move || {
        let (mut out, mut err) = (Reader(Vec::new()), Vec::new());
        let surroundings = Surroundings {
            now_ns: &|| NOW_NS,
            env: &|name| (name == "LOGQ_ADDR").then(|| addr.clone()),
            input: &mut io::Cursor::new(feed),
            out: &mut out,
            err: &mut err,
            out_is_terminal: false,
            err_is_terminal: false,
        };
        let status = run(args, surroundings);
        sender.send((status, out.0, String::from_utf8_lossy(&err).into_owned())).unwrap();
    });
    let (status, out, err) = ended.recv_timeout(std::time::Duration::from_secs(60)).expect(example);
    assert_eq!(status, FOUND, "{example}\n{err}");
    assert!(!(out.is_empty() && err.is_empty()), "{example} prints nothing");
}
