//! Files as people have them, one for each habit: what each becomes is kept beside it.
//!
//! `samples/NAME.yaml` is a file of Promtail's, read unchanged; `samples/NAME.expect` holds the remarks and the refusals with their
//! lines, and our file that it becomes. After a wanted change: `LOGYARD_BLESS=1 cargo test -p logyard --lib samples`.

use logyard_sys::RealDisk;

use super::*;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/logyard/promtail_load/tests/samples");

/// Name and text of all.
fn samples() -> Vec<(String, String)> {
    let items = RealDisk.list(Path::new(DIR)).unwrap();
    let names = items.into_iter().filter_map(|item| item.name.strip_suffix(".yaml").map(str::to_owned));
    names.map(|name| (name.clone(), read(&format!("{name}.yaml")).unwrap())).collect()
}

pub(super) fn read(name: &str) -> Option<String> {
    let bytes = RealDisk.read(&Path::new(DIR).join(name)).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}

fn become_of(text: &str) -> (Settings, String) {
    let how = How { skip_unsupported: true, ..How::default() };
    let (settings, taken) = taken(text, how).unwrap();
    let lines = |lines: &[String]| -> String {
        lines.iter().map(|line| format!("  {}\n", line.replace("/etc/promtail.yaml ", ""))).collect()
    };
    let ours = print_hiding(&settings).unwrap();
    (settings, format!("notes:\n{}refused:\n{}{ours}", lines(&taken.notes), lines(&taken.refused)))
}

#[test]
fn b40_samples_become_what_is_kept_beside_them() {
    let samples = samples();
    assert!(samples.len() >= 20, "{}", samples.len());
    for (name, text) in samples {
        let (settings, found) = become_of(&text);
        let path = format!("{name}.expect");
        if std::env::var_os("LOGYARD_BLESS").is_some() {
            RealDisk.write_atomic(&Path::new(DIR).join(&path), found.as_bytes()).unwrap();
        }
        assert_eq!(found, read(&path).unwrap_or_default(), "{name}.yaml");
        // What is printed means the same, and everything in it can be used.
        let file = Some(("short.yaml".into(), print_short(&settings).unwrap()));
        let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
        assert_eq!(again, settings, "{name}");
        let mut agent = settings.agent;
        // Certificates are on nobody's disk here.
        agent.syslog.iter_mut().for_each(|syslog| syslog.tls = Default::default());
        agent.loki_push.iter_mut().for_each(|push| push.tls = Default::default());
        let checked = logyard_agent::check_settings(&agent, Path::new("/data"), &SimDisk::new());
        checked.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn b40_samples_use_every_stage_option_and_action() {
    let all: String = samples().into_iter().map(|(_, text)| text).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let before_colons: Vec<&str> = all.split(':').collect();
    let is_there = |key: &str| {
        let ends = |text: &&str| text.strip_suffix(key).is_some_and(|rest| !rest.ends_with(is_word));
        before_colons.iter().any(ends)
    };
    for (stage, options) in keys::STAGES {
        assert!(is_there(stage), "no sample has the stage {stage}");
        let options = options.iter().filter_map(|option| option.split_once(':')).map(|(name, _)| name);
        let is_map = matches!(
            stage,
            "labels" | "static_labels" | "structured_metadata" | "non_indexed_labels" | "metrics"
        );
        for option in options.filter(|_| !is_map) {
            assert!(is_there(option), "no sample has {stage}.{option}");
        }
    }
    for action in [
        "keep",
        "drop",
        "keepequal",
        "dropequal",
        "hashmod",
        "lowercase",
        "uppercase",
        "labelmap",
        "labeldrop",
        "labelkeep",
    ] {
        assert!(all.contains(&format!("action: {action}")), "{action}");
    }
}
