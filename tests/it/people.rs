//! What people type first, before a real store: nothing, a part of a name, and the commands that sum up.

use crate::http;
use crate::process::Logyard;
use std::time::{SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Pushes lines of a container, a second apart; the last is half a minute old.
fn push(store: &Logyard, container: &str, lines: &[String]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let count = lines.len() as u128;
    let values: Vec<_> = (1..=count)
        .zip(lines)
        .map(|(nth, line)| serde_json::json!([(now - (30 + count - nth) * 1_000_000_000).to_string(), line]))
        .collect();
    let stream = serde_json::json!({"stream": {"container": container}, "values": values});
    let body = serde_json::json!({"streams": [stream]}).to_string();
    let answer = http::post(&store.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// Returns the words of the rows of a table, without its head.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn people_find_what_is_wrong_without_a_query() {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    let ask = |words: &[&str]| {
        let (status, out, err) = store.logq(&[&["--utc"], words].concat());
        assert_eq!(status, 0, "{words:?}: {err}");
        (out, err)
    };
    assert_eq!(store.logq(&[]).0, 1, "nothing wrote");
    let web: Vec<String> = (0..40).map(|n| format!("GET /item/{n} 200 in {n} ms")).collect();
    push(&store, "shop-web", &web);
    let mut db: Vec<String> = (0..6).map(|n| format!("ERROR: connection {n} to 10.0.0.{n} lost")).collect();
    db.push("checkpoint done".to_owned());
    push(&store, "shop-db", &db);

    let (out, err) = ask(&[]);
    let table = rows(&out);
    assert!(out.starts_with("container  ERRORS"), "{out}");
    assert_eq!(
        (table[0][..3].join(" "), table[1][..3].join(" ")),
        ("shop-db 6 7".into(), "shop-web - 40".into())
    );
    assert!(err.contains("logq NAME"), "{err}");

    let (out, err) = ask(&["web", "--limit", "2", "-o", "raw"]);
    assert_eq!(
        (&*out, &*err),
        ("GET /item/39 200 in 39 ms\nGET /item/38 200 in 38 ms\n", "container: shop-web\n")
    );
    let (out, err) = ask(&["shop", "--limit", "0", "-o", "raw"]);
    assert_eq!((out.lines().count(), &*err), (47, "container: shop-db, shop-web\n"));
    let (status, out, err) = store.logq(&["nobody"]);
    assert!(
        status == 1 && out.is_empty() && err.contains("has \"nobody\" in its name"),
        "{status} {out} {err}"
    );

    let (out, err) = ask(&["errors"]);
    assert_eq!(rows(&out).len(), 1, "{out}");
    assert!(out.contains("shop-db") && out.contains("ERROR: connection 5 to 10.0.0.5 lost"), "{out}");
    // What it proposes next is a command.
    let next = err.split('\'').nth(1).unwrap_or_else(|| panic!("{err}"));
    assert_eq!(ask(&[next, "-o", "raw", "--limit", "0"]).0.lines().count(), 6);
    assert_eq!(store.logq(&["errors", "web"]).0, 1, "it has none");

    let (out, _) = ask(&["top", "--by", "container"]);
    let names: Vec<&str> = rows(&out).iter().map(|row| row[0]).collect();
    assert_eq!(names, ["shop-web", "shop-db"], "{out}");

    let (out, _) = ask(&["patterns", "web"]);
    assert!(out.contains("GET") && out.contains("<_>"), "{out}");

    // A line with its time, as printed, has its surroundings.
    let (out, _) = ask(&["db", "--limit", "1"]);
    let time = out.split_whitespace().next().unwrap().to_owned();
    let (out, _) = ask(&["context", &time, "db", "-B", "2", "-A", "3"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[2].starts_with("> ") && lines[2].ends_with("checkpoint done"), "{out}");
    assert!(lines[1].starts_with("  ") && lines[1].ends_with("10.0.0.5 lost"), "{out}");
    store.assert_quiet_but_for(&[]);
}
