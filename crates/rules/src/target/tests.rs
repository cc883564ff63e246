//! Addresses, and the files that hold what is secret.

use super::*;
use logyard_sys::SimDisk;

#[test]
fn addresses_and_secrets_of_targets() {
    let check = |kind, url: &str, want: Option<(&str, &str, &str)>| {
        let found = split(url)
            .and_then(|(base, path)| path_of(kind, path).ok().map(|(path, topic)| (base, path, topic)));
        let want = want.map(|(base, path, topic)| (base, path.to_owned(), topic.to_owned()));
        assert_eq!(found, want, "{url}");
    };
    check(TargetKind::Alertmanager, "http://am:9093", Some(("http://am:9093", "/api/v2/alerts", "")));
    check(TargetKind::Alertmanager, "https://h/am/", Some(("https://h", "/am/api/v2/alerts", "")));
    check(TargetKind::Ntfy, "https://ntfy.sh/topic", Some(("https://ntfy.sh", "/", "topic")));
    check(TargetKind::Ntfy, "https://h/sub/topic/", Some(("https://h", "/sub/", "topic")));
    check(TargetKind::Ntfy, "https://ntfy.sh", None);
    check(TargetKind::Gotify, "http://g", Some(("http://g", "/message", "")));
    check(
        TargetKind::Discord,
        "https://d/api/webhooks/1/x?wait=true",
        Some(("https://d", "/api/webhooks/1/x?wait=true", "")),
    );
    check(TargetKind::Webhook, "http://h", Some(("http://h", "/", "")));
    check(TargetKind::Webhook, "https://h/hook/", Some(("https://h", "/hook/", "")));
    check(TargetKind::Webhook, "https://h?token=x/y", Some(("https://h", "?token=x/y", "")));
    check(TargetKind::Webhook, "ftp://h/x", None);
    assert_eq!(hide("Cannot POST /hook/secret", "/hook/secret"), "Cannot POST /…");
    assert_eq!(hide("Cannot POST /", "/"), "Cannot POST /");
    let disk = SimDisk::new();
    disk.write_atomic(Path::new("/url"), b"https://hooks.lan/secret\n").unwrap();
    disk.write_atomic(Path::new("/token"), b"sesame\n").unwrap();
    let with = |change: &dyn Fn(&mut TargetSettings)| {
        let mut target = TargetSettings { name: "a".to_owned(), ..TargetSettings::default() };
        change(&mut target);
        Target::all(&NotifySettings { targets: vec![target] }, &disk)
    };
    let targets =
        with(&|target| (target.url_file, target.token_file) = ("/url".into(), "/token".into())).unwrap();
    let shown = format!("{targets:?} {:?}", targets[0].settings);
    assert!(!shown.contains("secret") && !shown.contains("sesame"), "{shown}");
    let fault = |change: &dyn Fn(&mut TargetSettings), want: &str| {
        let text = with(change).unwrap_err();
        assert!(text.starts_with("notify.targets.0: ") && text.contains(want), "{text}");
    };
    fault(&|_| (), "no address; set url or url_file");
    fault(&|target| target.name.clear(), "want a name");
    fault(
        &|target| (target.url, target.url_file) = ("http://a".into(), "/url".into()),
        "both url and url_file",
    );
    fault(&|target| target.url_file = "/none".into(), "url_file: cannot read /none: no such file");
    fault(&|target| target.url = "a".into(), "the address is none");
    fault(&|target| (target.kind, target.url) = (TargetKind::Gotify, "http://g".into()), "set token_file");
    let twice =
        TargetSettings { name: "a".to_owned(), url: "http://a".to_owned(), ..TargetSettings::default() };
    let text = Target::all(&NotifySettings { targets: vec![twice.clone(), twice] }, &disk).unwrap_err();
    assert_eq!(text, "notify.targets.1: the name \"a\" occurs twice");
}
