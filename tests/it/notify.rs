//! Who is told of alerts, with a real Alertmanager and with sinks that take down what reaches them.

use crate::clients::outside;
use crate::engine::signal;
use crate::http;
use crate::process::Logyard;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Far above what anything takes: a turn of an Alertmanager is a minute.
const WITHIN: Duration = Duration::from_secs(180);

/// Takes every POST and keeps path and body.
pub struct Sink {
    port: u16,
    taken: Arc<Mutex<Vec<(String, serde_json::Value)>>>,
}

impl Sink {
    /// Starts to listen.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::<Mutex<Vec<_>>>::default();
        let keep = Arc::clone(&taken);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let keep = Arc::clone(&keep);
                thread::spawn(move || {
                    while let Some(message) = read_request(&socket) {
                        keep.lock().unwrap().push(message);
                        (&socket).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                    }
                });
            }
        });
        Self { port, taken }
    }

    /// Its address.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The bodies that reached a path so far.
    pub fn at(&self, path: &str) -> Vec<serde_json::Value> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

/// Reads one request; none at the end of the connection.
fn read_request(socket: &TcpStream) -> Option<(String, serde_json::Value)> {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}

/// Takes every mail, and keeps its lines.
struct MailSink {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::<Mutex<Vec<_>>>::default();
        let keep = Arc::clone(&taken);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let mail = take_mail(&socket).unwrap_or_default();
                keep.lock().unwrap().push(mail);
            }
        });
        Self { port, taken }
    }

    /// The lines that begin with a text, of all mails.
    fn lines(&self, start: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let lines = taken.iter().flat_map(|mail| mail.lines());
        lines.filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }
}

/// Speaks SMTP until the client leaves; returns what came between DATA and the dot.
fn take_mail(mut socket: &TcpStream) -> std::io::Result<String> {
    let (mut mail, mut is_data) = (String::new(), false);
    socket.write_all(b"220 sink\r\n")?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let answer: &[u8] = match line.trim_end() {
            "." if is_data => {
                is_data = false;
                b"250 taken\r\n"
            }
            _ if is_data => {
                mail.push_str(&line);
                b""
            }
            "DATA" => {
                is_data = true;
                b"354 go on\r\n"
            }
            _ => b"250 ok\r\n",
        };
        socket.write_all(answer)?;
        line.clear();
    }
    Ok(mail)
}

/// The Alertmanager of the distribution, which tells the sink.
struct Alertmanager {
    child: Child,
    port: u16,
}

impl Alertmanager {
    fn start(folder: &Path, sink: &Sink, port: u16) -> Self {
        let config = folder.join("alertmanager.yml");
        let hook = sink.url("/from-alertmanager");
        std::fs::write(
            &config,
            format!(
                "route: {{receiver: sink, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
                 receivers: [{{name: sink, webhook_configs: [{{url: '{hook}', send_resolved: true}}]}}]\n"
            ),
        )
        .unwrap();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("alertmanager.log"));
        // It wants its templates where the distribution installs them, which is so for its eyes alone.
        let program = outside("prometheus-alertmanager/usr/bin/prometheus-alertmanager");
        let package = program.ancestors().nth(2).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", r#"mount --bind "$0/share" /usr/share && exec "$@""#])
            .args([package, &program])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}/-/ready");
        wait("the Alertmanager", || http::get(&url).is_ok_and(|answer| answer.status == 200));
        Self { child, port }
    }

    /// Whether it holds an active alert of a name.
    fn holds(&self, name: &str) -> bool {
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", self.port);
        let answer =
            http::get_with(&url, &[("active", "true"), ("filter", &format!("alertname=\"{name}\""))]);
        answer.is_ok_and(|answer| answer.text.contains(name))
    }

    /// Asks it to end, upon which it writes down what it told.
    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
    }
}

/// Killed without any chance to write, unless it has ended.
impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits for something, and fails with its name.
pub fn wait(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

fn push(logyard: &Logyard, line: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"web"}},"values":[["{now}","{line}"]]}}]}}"#);
    let answer = http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// Fires from the first ERROR on until something is fixed.
const GROUP: &str = r#"
name: g
interval: 1s
rules:
  - alert: Broken
    expr: |
      sum(count_over_time({app="web"} |= "ERROR" [1h]))
        > (sum(count_over_time({app="web"} |= "fixed" [1h])) or vector(0))
    labels: {severity: page}
    annotations: {summary: "{{ $value }} errors"}
"#;

#[test]
fn an_alertmanager_and_a_phone_are_told_over_restarts_of_all_sides() {
    let sink = Sink::start();
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let manager = Alertmanager::start(logyard.folder(), &sink, port);
    let config = logyard.folder().join("logyard.yaml");
    let phone = sink.url("/my-topic");
    let mails = MailSink::start();
    let mail_port = mails.port;
    std::fs::write(
        &config,
        format!(
            "notify:\n  targets:\n    - {{name: am, kind: alertmanager, url: 'http://127.0.0.1:{port}'}}\n    \
             - {{name: phone, kind: ntfy, url: '{phone}'}}\n    \
             - {{name: mail, kind: email, url: 'smtp+plain://127.0.0.1:{mail_port}', from: l@lan, to: [me@lan]}}\n"
        ),
    )
    .unwrap();
    logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    logyard.start();
    let answer = http::post(&logyard.url("/api/prom/rules/n"), "application/yaml", GROUP.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    push(&logyard, "ERROR one password=sesame");

    let by_manager = |status: &str| {
        let bodies = sink.at("/from-alertmanager");
        let of_rule = bodies.iter().filter(|body| body["groupLabels"]["alertname"] == "Broken");
        of_rule.filter(|body| body["status"] == status).count()
    };
    let titles = || {
        let titles = sink.at("/").into_iter().map(|body| body["title"].as_str().unwrap().to_owned());
        titles.filter(|title| !title.contains("LogyardTest")).collect::<Vec<_>>()
    };
    wait("word of the Alertmanager", || by_manager("firing") == 1);
    wait("word on the phone", || titles() == ["[FIRING] Broken"]);
    let messages = sink.at("/");
    let told = messages.iter().find(|body| body["title"] == "[FIRING] Broken").unwrap();
    assert!(
        told["message"].as_str().unwrap().ends_with("\n> ERROR one password=***"),
        "the line that made it: {told}"
    );

    wait("a mail", || mails.lines("Subject: [FIRING] Broken").len() == 1);
    assert_eq!(mails.lines("> ERROR"), ["> ERROR one password=***"]);

    // That they were told is on the disk once it is counted.
    let counted = |target: &str| {
        let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
        let sent = format!("logyard_rules_notifications_total{{target=\"{target}\",result=\"sent\"}}");
        metrics.lines().any(|line| line.starts_with(&sent))
    };
    wait("the count of messages", || counted("am") && counted("phone") && counted("mail"));

    // Both die; the Alertmanager forgets what it held.
    drop(manager);
    std::fs::remove_dir_all(logyard.folder().join("alertmanager")).unwrap();
    logyard.kill();
    let manager = Alertmanager::start(logyard.folder(), &sink, port);
    logyard.start();
    wait("the alert in the Alertmanager that was restarted", || manager.holds("Broken"));

    // It is over while the Alertmanager is away.
    manager.stop();
    push(&logyard, "fixed");
    wait("word on the phone that it is over", || titles() == ["[FIRING] Broken", "[RESOLVED] Broken"]);
    let manager = Alertmanager::start(logyard.folder(), &sink, port);
    wait("word of the Alertmanager that it is over", || by_manager("resolved") == 1);
    assert!(!manager.holds("Broken"));
    manager.stop();
    assert!(logyard.stop().success());
    assert_eq!(titles(), ["[FIRING] Broken", "[RESOLVED] Broken"]);
    assert_eq!(mails.lines("Subject: [RESOLVED] Broken").len(), 1);
    assert_eq!(mails.lines("Subject: [FIRING] Broken").len(), 1);
    logyard.assert_quiet_but_for(&["cannot tell of alerts"]);
}

#[test]
fn each_kind_of_target_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, mails) = (Sink::start(), MailSink::start());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let manager = Alertmanager::start(folder.path(), &sink, port);
    let token = folder.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let (base, token, mail) = (sink.url(""), token.display(), mails.port);
    let config = folder.path().join("logyard.yaml");
    let text = format!(
        "notify:\n  targets:\n    \
         - {{name: am, kind: alertmanager, url: 'http://127.0.0.1:{port}'}}\n    \
         - {{name: hook, kind: webhook, url: '{base}/hook'}}\n    \
         - {{name: phone, kind: ntfy, url: '{base}/ntfy/my-topic'}}\n    \
         - {{name: gotify, kind: gotify, url: '{base}/gotify', token_file: '{token}'}}\n    \
         - {{name: discord, kind: discord, url: '{base}/discord'}}\n    \
         - {{name: slack, kind: slack, url: '{base}/slack'}}\n    \
         - {{name: mail, kind: email, url: 'smtp+plain://127.0.0.1:{mail}', from: l@lan, to: [me@lan]}}\n    \
         - {{name: nobody, kind: webhook, url: 'http://127.0.0.1:1/secret'}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let tried = Command::new(env!("CARGO_BIN_EXE_logyard"))
        .args(["notify", "test", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8(tried.stdout).unwrap(), String::from_utf8(tried.stderr).unwrap());
    for name in ["am", "hook", "phone", "gotify", "discord", "slack", "mail"] {
        assert!(said.contains(&format!("{name}: told\n")), "{name}: {said}{failed}");
    }
    // One that is not there is told, without what may be a secret.
    assert!(!tried.status.success() && format!("{said}{failed}").contains("nobody"), "{said}{failed}");
    assert!(!format!("{said}{failed}").contains("/secret"), "{said}{failed}");
    let one = |path: &str| {
        let bodies = sink.at(path);
        assert_eq!(bodies.len(), 1, "{path}: {bodies:?}");
        bodies[0].clone()
    };
    let hook = one("/hook");
    assert_eq!(
        (&hook["version"], &hook["alerts"][0]["labels"]["alertname"]),
        (&"4".into(), &"LogyardTest".into())
    );
    let ntfy = one("/ntfy/");
    assert_eq!((&ntfy["topic"], &ntfy["title"]), (&"my-topic".into(), &"[FIRING] LogyardTest".into()));
    assert_eq!(one("/gotify/message")["title"], "[FIRING] LogyardTest");
    for (path, key) in [("/discord", "content"), ("/slack", "text")] {
        assert!(one(path)[key].as_str().unwrap().contains("LogyardTest"), "{path}");
    }
    assert_eq!(mails.lines("Subject: [FIRING] LogyardTest").len(), 1);
    assert!(manager.holds("LogyardTest"));
}

#[test]
fn two_with_the_same_rules_are_one_to_an_alertmanager_and_two_to_a_phone() {
    let sink = Sink::start();
    let mut twins = [Logyard::new(NO_ENGINE, &["store"]), Logyard::new(NO_ENGINE, &["store"])];
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let manager = Alertmanager::start(twins[0].folder(), &sink, port);
    let phone = sink.url("/my-topic");
    twins = twins.map(|logyard| {
        let config = logyard.folder().join("logyard.yaml");
        let text = format!(
            "notify:\n  targets:\n    - {{name: am, kind: alertmanager, url: 'http://127.0.0.1:{port}'}}\n    \
             - {{name: phone, kind: ntfy, url: '{phone}'}}\n"
        );
        std::fs::write(&config, text).unwrap();
        logyard.with_arguments(&["--config", config.to_str().unwrap()])
    });
    for logyard in &mut twins {
        logyard.start();
        let answer = http::post(&logyard.url("/api/prom/rules/n"), "application/yaml", GROUP.as_bytes());
        assert_eq!(answer.unwrap().status, 202);
        push(logyard, "ERROR one");
    }
    let counted = |logyard: &Logyard, target: &str, count: u64| {
        let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
        let sent = format!("logyard_rules_notifications_total{{target=\"{target}\",result=\"sent\"}} ");
        let sent = metrics.lines().find_map(|line| line.strip_prefix(&*sent)?.parse::<u64>().ok());
        sent.is_some_and(|sent| sent >= count)
    };
    for logyard in &twins {
        wait("word to all", || counted(logyard, "am", 1) && counted(logyard, "phone", 1));
    }
    let by_manager = |status: &str| {
        let bodies = sink.at("/from-alertmanager");
        bodies.iter().filter(|body| body["status"] == status).count()
    };
    wait("word of the Alertmanager", || by_manager("firing") >= 1);
    assert_eq!(by_manager("firing"), 1);
    for logyard in &twins {
        push(logyard, "fixed");
    }
    for logyard in &twins {
        wait("the end to all", || counted(logyard, "am", 2) && counted(logyard, "phone", 2));
    }
    wait("word of the Alertmanager that it is over", || by_manager("resolved") >= 1);
    let titles: Vec<String> =
        sink.at("/").into_iter().map(|body| body["title"].as_str().unwrap().to_owned()).collect();
    assert_eq!(titles.iter().filter(|title| *title == "[FIRING] Broken").count(), 2, "{titles:?}");
    assert_eq!(titles.iter().filter(|title| *title == "[RESOLVED] Broken").count(), 2, "{titles:?}");
    manager.stop();
    for logyard in &mut twins {
        assert!(logyard.stop().success());
        logyard.assert_quiet_but_for(&[]);
    }
}
