//! Tests of messages: those of the RFCs, those of real senders, and broken ones.

use super::*;

/// 14 November 2023, 22:13:20 UTC.
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn read(text: &str) -> SyslogMessage<'_> {
    parse(text.as_bytes(), Dialect::Auto, &TimeZone::UTC, NOW_NS)
}

fn shown(ns: Option<i64>) -> String {
    ns.map(|ns| Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_string()).unwrap_or_default()
}

/// Compares severity, facility, time, host, application, process, message id and text.
#[track_caller]
fn check(text: &str, want: [&str; 8]) {
    let message = read(text);
    assert_eq!(message.fault, None, "{text}");
    let of = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let got = [
        of(message.severity),
        of(message.facility),
        shown(message.sent_ns),
        of(message.hostname),
        of(message.app_name),
        of(message.proc_id),
        of(message.msg_id),
        String::from_utf8_lossy(message.text).into_owned(),
    ];
    assert_eq!(got, want, "{text}");
}

#[test]
fn messages_of_rfc_5424() {
    check(
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed",
        [
            "critical",
            "auth",
            "2003-10-11T22:14:15.003Z",
            "mymachine.example.com",
            "su",
            "",
            "ID47",
            "'su root' failed",
        ],
    );
    check(
        "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time",
        [
            "notice",
            "local4",
            "2003-08-24T12:14:15.000003Z",
            "192.0.2.1",
            "myproc",
            "8710",
            "",
            "%% It's time",
        ],
    );
    check("<0>1 - - - - - -", ["emergency", "kern", "", "", "", "", "", ""]);
}

#[test]
fn structured_data_is_read() {
    let text = r#"<165>1 - h e - - [exampleSDID@32473 iut="3" eventID="10\"1\\1\] \n"][x@1] An event"#;
    let message = read(text);
    let data: Vec<(&str, &str, &str)> =
        message.data.iter().map(|(id, name, value)| (*id, *name, &**value)).collect();
    let want = [("exampleSDID@32473", "iut", "3"), ("exampleSDID@32473", "eventID", "10\"1\\1] \\n")];
    assert_eq!((data.as_slice(), message.text, message.fault), (&want[..], &b"An event"[..], None));
}

#[test]
fn messages_of_rfc_3164() {
    check(
        "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
        ["critical", "auth", "2023-10-11T22:14:15Z", "mymachine", "su", "", "", "'su root' failed"],
    );
    check(
        "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
        ["notice", "user", "2023-02-05T17:32:18Z", "10.0.0.99", "", "", "", "Use the BFG!"],
    );
    check(
        "<30>Nov 14 22:13:19 docker/web[812]: started",
        ["informational", "daemon", "2023-11-14T22:13:19Z", "", "docker/web", "812", "", "started"],
    );
    // As rsyslog forwards it, and as a router sends it.
    check(
        "<6>2023-11-14T23:13:19.5+01:00 nas kernel: eth0 up",
        ["informational", "kern", "2023-11-14T22:13:19.5Z", "nas", "kernel", "", "", "eth0 up"],
    );
    check(
        "<190>Nov 14 2023 22:13:19.250: %SYS-5-CONFIG_I: Configured",
        ["informational", "local7", "2023-11-14T22:13:19.25Z", "", "%SYS-5-CONFIG_I", "", "", "Configured"],
    );
}

#[test]
fn a_year_is_found() {
    let sent = |text: &str, now: &str| {
        let now: Timestamp = now.parse().unwrap();
        let now_ns = i64::try_from(now.as_nanosecond()).unwrap();
        shown(parse(text.as_bytes(), Dialect::Auto, &TimeZone::UTC, now_ns).sent_ns)
    };
    assert_eq!(sent("<1>Dec 31 23:59:59 h a: b", "2024-01-01T00:00:10Z"), "2023-12-31T23:59:59Z");
    assert_eq!(sent("<1>Jan  1 00:00:05 h a: b", "2023-12-31T23:59:50Z"), "2024-01-01T00:00:05Z");
    assert_eq!(sent("<1>Feb 29 10:00:00 h a: b", "2025-01-05T00:00:00Z"), "2024-02-29T10:00:00Z");
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let message = parse(b"<1>Jul  1 12:00:00 h a: b", Dialect::Auto, &zone, NOW_NS);
    assert_eq!(shown(message.sent_ns), "2023-07-01T10:00:00Z");
}

#[test]
fn what_cannot_be_read_is_the_text() {
    for (text, want, fault) in [
        ("no priority", "no priority", "it has no priority such as <34>"),
        ("<192>x", "<192>x", "it has no priority such as <34>"),
        ("<34>1 2003-10-11T22:14:15Z h", "h", "it ends within its header"),
        ("<34>1 yesterday h a p m - text", "text", "its time is none of RFC 3339"),
        ("<34>1 - h a p m [x y=z] text", "[x y=z] text", "its structured data cannot be read"),
        ("<34>1 - h a p m -text", "text", "no blank follows its structured data"),
        ("<34>app: text", "text", "it has no time such as Jan  2 15:04:05"),
        ("<34>Feb 31 10:00:00 h a: b", "Feb 31 10:00:00 h a: b", "it has no time such as Jan  2 15:04:05"),
    ] {
        let message = read(text);
        assert_eq!(
            (String::from_utf8_lossy(message.text), message.fault),
            (want.into(), Some(fault)),
            "{text}"
        );
    }
    let message = parse(b"<34>Oct 11 22:14:15 h a: b", Dialect::Rfc5424, &TimeZone::UTC, NOW_NS);
    assert_eq!(message.fault, Some("it has no version 1 behind its priority"));
    assert_eq!(read("<34>1 - host app - - [bad").hostname, Some("host"));
}
