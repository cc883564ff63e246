//! Inputs of every form, whole, divided and read on.

use jiff::tz::TimeZone;

use super::*;

fn settings(form: Form) -> LineSettings {
    LineSettings {
        form,
        labels: Arc::new(LabelSet::from_pairs([("job", "old")])),
        plain_labels: Arc::new(LabelSet::from_pairs([("job", "old")])),
        times: TimeContext { zone: TimeZone::UTC, reference_ns: 1_795_229_946_000_000_000 },
        finds_times: true,
    }
}

fn start() -> Taken {
    Taken { units: 0, stamps: Stamps::new(7) }
}

/// Reads pieces from what was taken on; returns the entries, each with what was taken by then.
fn read(form: Form, taken: Taken, pieces: &[&[u8]]) -> (Vec<Carried>, Taken) {
    let mut lines = Lines::new(settings(form), taken);
    let mut found = Vec::new();
    for piece in pieces {
        lines.feed(piece, &mut |entry| found.push(entry)).unwrap();
    }
    lines.finish(&mut |entry| found.push(entry)).unwrap();
    (found, lines.taken().clone())
}

/// One entry as text: seconds and nanoseconds, labels, metadata, line.
fn shown(entries: &[Carried]) -> Vec<String> {
    let text = |entry: &Carried| {
        let Carried { ts_ns, labels, level, metadata, line } = entry;
        format!("{ts_ns} {labels} {level}{metadata} {}", String::from_utf8_lossy(line))
    };
    entries.iter().map(text).collect()
}

const PLAIN: &[u8] =
    b"first of all\n2026-11-20T08:30:15Z a\r\n  at x\n2026-11-20T08:30:15Z b\n{\"ts\":1795229946}";
const DOCKER: &[u8] = b"{\"log\":\"long \",\"stream\":\"stderr\",\"time\":\"2026-11-20T08:30:15.1Z\"}\n\
    {\"log\":\"line\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-20T08:30:15.2Z\"}\n\
    {\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T08:30:15.2Z\"}\nbroken\n";
const JOURNAL: &[u8] = b"__CURSOR=a\n__REALTIME_TIMESTAMP=1423944916375353\nPRIORITY=6\n_SYSTEMD_UNIT=ssh.service\n\
    _HOSTNAME=nas\nMESSAGE=Accepted\n\n__CURSOR=b\n__REALTIME_TIMESTAMP=1423944916375353\nMESSAGE\n\x07\0\0\0\0\0\0\0foo\nbar\n\n";
const EXPORT: &[u8] =
    b"{\"timestamp\":\"1970-01-01T00:00:01.5Z\",\"labels\":{\"app\":\"a\",\"job\":\"new\"},\"line\":\"x\",\
    \"metadata\":{\"detected_level\":\"warn\",\"k\":\"v\"}}\n\n\
    {\"timestamp\":\"1970-01-01T00:00:01.5Z\",\"labels\":{\"app\":\"a\"},\"line\":\"y\"}\n";

#[test]
fn forms_are_told_and_read() {
    let auto = |bytes: &[u8]| shown(&read(Form::Auto, start(), &[bytes]).0);
    assert_eq!(
        auto(PLAIN),
        [
            r#"7 {job="old"} {} first of all"#,
            r#"1795163415000000000 {job="old"} {} 2026-11-20T08:30:15Z a"#,
            r#"1795163415000000001 {job="old"} {}   at x"#,
            r#"1795163415000000002 {job="old"} {} 2026-11-20T08:30:15Z b"#,
            r#"1795229946000000000 {job="old"} {} {"ts":1795229946}"#,
        ]
    );
    assert_eq!(
        auto(DOCKER),
        [
            r#"1795163415200000000 {job="old", stream="stderr"} {} long line"#,
            r#"1795163415200000001 {job="old", stream="stdout"} {} x"#,
            r#"1795163415200000002 {job="old"} {} broken"#,
        ]
    );
    assert_eq!(
        auto(JOURNAL),
        [
            r#"1423944916375353000 {host="nas", job="old", unit="ssh.service"} {severity="info", systemd_unit="ssh.service"} Accepted"#,
            "1423944916375353001 {job=\"old\"} {} foo\nbar",
        ]
    );
    assert_eq!(
        auto(EXPORT),
        [r#"1500000000 {app="a", job="old"} warn{k="v"} x"#, r#"1500000000 {app="a", job="old"} {} y"#,]
    );
}

#[test]
fn however_the_bytes_are_divided() {
    for (form, bytes) in
        [(Form::Lines, PLAIN), (Form::Docker, DOCKER), (Form::Journal, JOURNAL), (Form::Export, EXPORT)]
    {
        let whole = read(form, start(), &[bytes]);
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(read(form, start(), &[front, back]), whole, "{form:?} divided at {at}");
        }
    }
}

#[test]
fn reading_on_behind_every_entry_gives_the_rest() {
    for (form, bytes) in
        [(Form::Lines, PLAIN), (Form::Docker, DOCKER), (Form::Journal, JOURNAL), (Form::Export, EXPORT)]
    {
        let (whole, _) = read(form, start(), &[bytes]);
        for end in 0..bytes.len() {
            let mut lines = Lines::new(settings(form), start());
            let mut found = Vec::new();
            lines.feed(&bytes[..end], &mut |entry| found.push(entry)).unwrap();
            let saved = serde_json::to_string(lines.taken()).unwrap();
            let (rest, _) = read(form, serde_json::from_str(&saved).unwrap(), &[bytes]);
            found.extend(rest);
            assert_eq!(found, whole, "{form:?} ended at {end}");
        }
    }
}

#[test]
fn lines_may_all_have_the_time_of_the_beginning() {
    let settings = LineSettings { finds_times: false, ..settings(Form::Lines) };
    let mut lines = Lines::new(settings, start());
    let mut times = Vec::new();
    lines.feed(PLAIN, &mut |entry| times.push(entry.ts_ns)).unwrap();
    assert_eq!(times, [7, 8, 9, 10]);
}

#[test]
fn long_lines_are_cut_within_no_character() {
    let mut lines = Lines::new(settings(Form::Lines), start());
    let mut lengths = Vec::new();
    let long = "ä".repeat(LINE_BYTES_MAX);
    let text = format!("x{long}\n{long}\n{}\n", "y".repeat(LINE_BYTES_MAX));
    let mut keep =
        |entry: Carried| lengths.push((entry.line.len(), std::str::from_utf8(&entry.line).is_ok()));
    text.as_bytes().chunks(10_000).for_each(|piece| lines.feed(piece, &mut keep).unwrap());
    assert_eq!(lengths, [(LINE_BYTES_MAX - 1, true), (LINE_BYTES_MAX, true), (LINE_BYTES_MAX, true)]);
    assert_eq!(lines.cut_lines, 2);
}

#[test]
fn an_export_with_a_line_that_is_none_is_refused() {
    for broken in ["x", "{}", r#"{"timestamp":"soon","line":"x"}"#] {
        let mut lines = Lines::new(settings(Form::Export), start());
        let error = lines.feed(format!("\n{broken}\n").as_bytes(), &mut |_| {}).unwrap_err();
        assert!(error.starts_with("line 2 is no entry of an export"), "{error}");
    }
}
