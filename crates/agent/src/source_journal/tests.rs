//! Tests of the journal with a program that stands in for `journalctl`, and with the real one where it is.

use std::path::Path;

use logyard_sys::{Disk as _, RealDisk};

use super::*;
use crate::received::tests::{Rig, rig, shared_spool};

/// A journal of numbered entries, each with a cursor; the program shows them as `journalctl` does, from the cursor on.
fn program(folder: &Path, first: usize, last: usize) -> PathBuf {
    let mut journal = String::new();
    for number in first..=last {
        journal.push_str(&format!(
            "__CURSOR=c{number}\n__REALTIME_TIMESTAMP=1700000000000000\nPRIORITY=4\n_HOSTNAME=nas\n_SYSTEMD_UNIT=a.service\nMESSAGE=line {number}\n\n"
        ));
    }
    RealDisk.write_atomic(&folder.join("journal"), journal.as_bytes()).unwrap();
    let script = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
cursor=
follows=
for argument in "$@"; do
    case $argument in
        --version) exit 0 ;;
        --follow) follows=yes ;;
        --cursor=*) cursor=${argument#--cursor=} ;;
    esac
done
if [ -n "$cursor" ] && grep -q "^__CURSOR=$cursor\$" "$here/journal"; then
    sed -n "/^__CURSOR=$cursor\$/,\$p" "$here/journal"
else
    cat "$here/journal"
fi
if [ -e "$here/breaks" ]; then echo "No journal files were found." >&2; exit 1; fi
if [ -n "$follows" ]; then exec sleep 60; fi
"#;
    let path = folder.join("journalctl");
    RealDisk.write_atomic(&path, script.as_bytes()).unwrap();
    let made = Command::new("chmod").arg("+x").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

fn begin(rig: &Rig, program: &Path, spool: &SharedSpool, settings: &JournalSettings) -> Vec<JoinHandle<()>> {
    check_program(program).unwrap();
    vec![start_with(program.to_owned(), settings.clone(), Arc::clone(&rig.job), &rig.parts, spool)]
}

/// Waits until so many lines came; returns labels, lines and the last cursor.
async fn lines(rig: &mut Rig, count: usize) -> (String, Vec<String>, Option<String>) {
    let (mut labels, mut lines, mut cursor) = (String::new(), Vec::new(), None);
    while lines.len() < count {
        let piece = tokio::time::timeout(Duration::from_secs(60), rig.pieces.recv()).await.unwrap().unwrap();
        for (own, entries) in &piece.chunks {
            labels = own.to_string();
            lines.extend(
                (0..entries.len()).map(|row| String::from_utf8_lossy(entries.line(row)).into_owned()),
            );
            assert!(entries.ts_ns().is_sorted_by(|a, b| a < b), "equal times are kept apart");
        }
        match piece.place {
            Some((_, Position::Journal(found))) => cursor = Some(found),
            other => panic!("{other:?}"),
        }
    }
    (labels, lines, cursor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_read_on_from_their_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let path = program(folder.path(), 1, 3);
    let settings: JournalSettings = serde_json::from_str(r#"{"matches": ["_TRANSPORT=kernel"]}"#).unwrap();
    let mut rig = rig(job_settings(&settings));
    let spool = shared_spool();
    let tasks = begin(&rig, &path, &spool, &settings);
    let (labels, found, cursor) = lines(&mut rig, 3).await;
    assert_eq!(labels, r#"{host="nas", job="journal", unit="a.service"}"#);
    assert_eq!((found.join(","), cursor.as_deref()), ("line 1,line 2,line 3".to_owned(), Some("c3")));
    // The second time from the last entry on, and as long as there are more.
    let calls = || String::from_utf8(RealDisk.read(&folder.path().join("calls")).unwrap()).unwrap();
    for _ in 0..1_000 {
        if calls().contains("--follow") {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(calls().contains("--since=@1699974800 _TRANSPORT=kernel"), "{}", calls());
    assert!(calls().contains("--follow --no-tail --cursor=c3 _TRANSPORT=kernel"), "{}", calls());
    rig.stop.send_replace(true);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_gone_on_from_and_a_gap_is_counted() {
    for (first, want, gaps) in [(1, "line 3,line 4", 0), (3, "line 3,line 4", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), first, 4);
        let settings = JournalSettings::default();
        let mut rig = rig(job_settings(&settings));
        let spool = shared_spool();
        let batch = crate::batch::SealedBatch {
            encoded: logyard_codec::encode_batch(&[]).into(),
            entries: 0,
            positions: [(key(&settings), Position::Journal("c2".to_owned()))].into(),
        };
        assert!(spool.append(batch, &mut rig.parts.stop.clone()).await);
        let tasks = begin(&rig, &path, &spool, &settings);
        let (_, found, _) = lines(&mut rig, 2).await;
        assert_eq!(found.join(","), want);
        let gap = crate::metrics::Reason { reason: "journal_vacuumed".into() };
        assert_eq!(rig.parts.metrics.gaps.get_or_create(&gap).get(), gaps);
        rig.stop.send_replace(true);
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_ends_is_shown_and_one_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = program(folder.path(), 1, 1);
    RealDisk.write_atomic(&folder.path().join("breaks"), b"").unwrap();
    let settings = JournalSettings::default();
    let mut rig = rig(job_settings(&settings));
    let spool = shared_spool();
    let tasks = begin(&rig, &path, &spool, &settings);
    lines(&mut rig, 1).await;
    let mut shown = rig.parts.board.report(String::new(), 0);
    for _ in 0..1_000 {
        if shown.targets[0].state == TargetState::Attach {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        shown = rig.parts.board.report(String::new(), 0);
    }
    assert_eq!(shown.targets[0].detail, "No journal files were found.");
    rig.stop.send_replace(true);
    for task in tasks {
        task.await.unwrap();
    }
    let error = check_program(Path::new("/nonexistent/journalctl")).unwrap_err().to_string();
    let want = "cannot use setting agent.journal: cannot run /nonexistent/journalctl: No such file";
    assert!(error.starts_with(want), "{error}");
}

/// The program of this machine, if there is one, takes the arguments and shows what it was told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_program_takes_the_arguments() {
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        println!("not run: there is no journalctl here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings =
        JournalSettings { path: folder.path().display().to_string(), ..JournalSettings::default() };
    let rig = rig(job_settings(&settings));
    let journal = Journal {
        program: PROGRAM.into(),
        staging: Staging::new(&rig.job.pipeline, rig.parts.staging.clone()),
        settings: settings.clone(),
        job: Arc::clone(&rig.job),
        parts: rig.parts.clone(),
        key: key(&settings).into(),
        cursor: Some(
            "s=0123456789abcdef0123456789abcdef;i=1;b=0123456789abcdef0123456789abcdef;m=1;t=1;x=1".into(),
        ),
        sent: None,
        last_ns: (0, 0),
        chunks: Vec::new(),
        bytes: 0,
        seeks: None,
    };
    let output = journal.command(false).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn fields_as_promtail_has_them() {
    let mut export = JournalExport::new(1_000);
    let mut entries = Vec::new();
    let recorded = b"__CURSOR=s=739ad463;i=4ece7;b=6c7c\n__REALTIME_TIMESTAMP=1423944916375353\nPRIORITY=6\n\
        _SYSTEMD_UNIT=ssh.service\nMESSAGE=Accepted publickey\n\n__CURSOR=s=739ad463;i=4ece8;b=6c7c\n\
        __REALTIME_TIMESTAMP=1423944916372858\nMESSAGE\n\x07\0\0\0\0\0\0\0foo\nbar\nCODE_FUNC=manager_reload\n\n";
    export.feed(recorded, &mut |entry| entries.push(entry));
    let labels = labels(&entries[0], b"");
    for (name, value) in [
        ("__journal__systemd_unit", "ssh.service"),
        ("__journal_priority_keyword", "info"),
        ("__journal_priority", "6"),
        ("unit", "ssh.service"),
    ] {
        assert_eq!(labels.get(name), Some(value), "{labels}");
    }
    assert_eq!(labels.get("__journal___cursor"), None);
    let text = json(&entries[1]);
    assert_eq!(text, r#"{"CODE_FUNC":"manager_reload","MESSAGE":"foo\nbar"}"#);
}
