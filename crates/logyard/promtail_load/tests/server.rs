//! Where the agent's pages are, by the `server:` of a `promtail.yaml`.

use super::*;

/// Returns where the pages are, and what is said about it.
fn listen(keys: &str) -> (String, String) {
    let text = format!("server: {{{keys}}}\n{FILES}");
    let (settings, taken) = taken(&text, How::default()).unwrap();
    (settings.agent.listen, taken.notes.join("\n"))
}

#[test]
fn pages_are_where_the_file_says() {
    for (keys, want) in [
        ("", "127.0.0.1:9080"),
        ("http_listen_port: 9081", "127.0.0.1:9081"),
        ("http_listen_port: '9081', http_listen_address: 0.0.0.0", "0.0.0.0:9081"),
        ("http_listen_port: 0, http_listen_address: 10.0.0.7", "10.0.0.7:0"),
        ("http_listen_port: 9080, http_listen_address: '::'", "[::]:9080"),
        ("http_listen_address: nas", "nas:9080"),
        ("disable: true, http_listen_port: 9081", ""),
        ("disable: false", "127.0.0.1:9080"),
    ] {
        assert_eq!(listen(keys).0, want, "{keys}");
    }
}

#[test]
fn what_differs_from_promtail_is_told() {
    let notes = listen("http_listen_port: 9081").1;
    assert!(notes.contains("line 1: \"server.http_listen_port\" is taken on this machine only"), "{notes}");
    let notes = listen("http_listen_address: 0.0.0.0").1;
    assert!(notes.contains("\"server.http_listen_address\" is taken with port 9080"), "{notes}");
    assert_eq!(listen("http_listen_port: 9081, http_listen_address: 127.0.0.1").1, "");
    for port in ["a", "65536", "-1", "[]"] {
        refuses(
            &format!("server: {{http_listen_port: {port}}}\n{FILES}"),
            &["line 1: \"server.http_listen_port\" is refused: it is no port"],
        );
    }
}

#[test]
fn pages_that_were_placed_otherwise_stay_there() {
    let disk = SimDisk::new();
    let text = format!("server: {{http_listen_port: 9081}}\n{FILES}");
    disk.write_atomic(Path::new("/promtail.yaml"), text.as_bytes()).unwrap();
    let mut given = Settings::default();
    given.agent.listen = "0.0.0.0:7000".to_owned();
    let (settings, _) = take(Path::new("/promtail.yaml"), How::default(), given, &disk).unwrap();
    assert_eq!(settings.agent.listen, "0.0.0.0:7000");
}
