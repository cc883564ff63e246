//! Runs stages over lines by themselves, without an agent.
//!
//! The fuzz target `stages` is [`check_stages`]: settings and lines may be any bytes, they are used or refused, and
//! nothing panics.

use std::sync::Arc;

use logyard_model::LabelSet;
use logyard_sys::Random;

use crate::error::Error;
use crate::run::{Finished, Line, Now, Pipeline, Run, Tally};
use crate::settings::StageSettings;
use crate::stage::LinesFrom;

/// Stages that are taken where the bytes name none that can be used.
const STAGES: &str = r#"[
    {"cri": {}}, {"docker": {}},
    {"json": {"expressions": {"level": null, "deep": "a.b[0]", "all": "@"}}},
    {"logfmt": {"mapping": {"msg": null, "took": null}}},
    {"regex": {"expression": "(?P<ip>[0-9.]+) (?P<rest>.*)"}},
    {"replace": {"expression": "(secret)=(\\S+)", "replace": "{{ .Value | Hash \"salt\" }}"}},
    {"template": {"source": "msg", "template": "{{ .Value | ToUpper }} {{ .level }} {{ Replace .Entry \"a\" \"b\" 2 }}"}},
    {"timestamp": {"source": "rest", "format": "RFC3339", "fallback_formats": ["Unix", "Jan _2 15:04:05"]}},
    {"labels": {"level": null}}, {"structured_metadata": {"took": null}},
    {"multiline": {"firstline": "^\\S", "max_lines": 3}},
    {"match": {"selector": "{level=~\"e.*\"} |= \"x\"", "stages": [{"pack": {"labels": ["level"]}}, {"decolorize": {}}]}},
    {"metrics": {"took": {"type": "histogram"}}},
    {"drop": {"source": "ip", "expression": "^1", "longer_than": "64"}},
    {"limit": {"rate": 10, "burst": 20, "drop": true}}, {"output": {"source": "msg"}}
]"#;
/// Lines of one check.
const LINES_MAX: usize = 1_000;

/// Runs stages over lines of one stream, at one moment, and lets everything go at the end.
///
/// Errors: stages that cannot be used.
pub fn run_stages(
    stages: &[StageSettings],
    from: LinesFrom,
    labels: &Arc<LabelSet>,
    lines: &[&[u8]],
) -> Result<(Vec<Finished>, Tally), Error> {
    let pipeline = Pipeline::compile(stages, from, 1 << 18)?;
    let random = Random::seeded(1);
    let now = Now { ns: 1_700_000_000_000_000_000, random: &random };
    let metadata = LabelSet::default();
    let mut run = Run::new(&pipeline);
    let mut finished = Vec::new();
    for (number, text) in lines.iter().enumerate() {
        let text = (*text).into();
        run.push(Line { labels, ts_ns: now.ns, text, metadata: &metadata, output: 0 }, number, now);
        // The mark never goes back, and stands before a line that was read.
        let mark = run.take(&mut finished);
        assert!(mark.is_none_or(|mark| mark <= number), "mark {mark:?} at line {number}");
    }
    run.flush(true, now);
    let mark = run.take(&mut finished);
    assert!(mark.is_none(), "nothing is held at the end: {mark:?}");
    Ok((finished, run.take_tally()))
}

/// Reads any bytes as stages, in JSON up to the first zero, and lines behind, and runs them.
///
/// Panics: a line that neither came out nor was counted, which is a bug.
pub fn check_stages(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let (settings, text) = bytes.split_at(end.unwrap_or(0));
    let given: Option<Vec<StageSettings>> = serde_json::from_slice(settings).ok();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').take(LINES_MAX).collect();
    let labels = Arc::new(LabelSet::from_pairs([("app", "x"), ("level", "error")]));
    let run = |stages: &[StageSettings]| run_stages(stages, LinesFrom::Files, &labels, &lines);
    let done = match given.map(|stages| run(&stages)) {
        Some(Ok(done)) => done,
        _ => {
            let stages: Vec<StageSettings> = serde_json::from_str(STAGES).expect("the stages are JSON");
            run(&stages).expect("the stages can be used")
        }
    };
    let (finished, tally) = done;
    let discarded: u64 = tally.discarded.values().sum();
    let counted = finished.len() as u64 + discarded + tally.joined;
    assert!(counted == lines.len() as u64, "{counted} of {} lines", lines.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::{Disk, RealDisk};
    use std::path::Path;

    #[test]
    fn the_corpus_is_run() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/stages");
        let items = RealDisk.list(&corpus).unwrap();
        assert!(items.len() >= 5);
        items.iter().for_each(|item| check_stages(&RealDisk.read(&corpus.join(&item.name)).unwrap()));
    }

    #[test]
    fn the_default_stages_are_of_use() {
        let stages: Vec<StageSettings> = serde_json::from_str(STAGES).unwrap();
        let labels = Arc::new(LabelSet::from_pairs([("app", "x")]));
        let lines: [&[u8]; 3] =
            [b"level=info msg=a took=1s", b" more", b"{\"level\":\"warn\",\"a\":{\"b\":[1]}}"];
        let (finished, tally) = run_stages(&stages, LinesFrom::Files, &labels, &lines).unwrap();
        assert_eq!((finished.len(), tally.joined), (2, 1));
        assert_eq!(finished[1].labels.get("level"), Some("warn"));
        check_stages(b"\0\n\xff\xfe\n\n");
        check_stages(b"[{\"multiline\": {\"firstline\": \"a\"}}]\0a\nb");
    }
}
