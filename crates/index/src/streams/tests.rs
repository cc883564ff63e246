//! The index against label sets read one by one.

use super::*;
use crate::Kind;
use logyard_sys::{Disk, RealDisk};
use proptest::prelude::*;

fn open(sets: &[LabelSet]) -> StreamIndex {
    let streams: Vec<(u32, &LabelSet)> = sets.iter().enumerate().map(|(at, set)| (at as u32, set)).collect();
    StreamIndex::open(Bytes::from(build(&streams).unwrap())).unwrap()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

#[test]
fn no_stream_is_an_index_too() {
    let index = open(&[]);
    assert!(index.matching(&[]).unwrap().is_empty());
    assert!(index.names().unwrap().is_empty());
}

#[test]
fn names_and_values_are_sorted() {
    let index = open(&[
        LabelSet::from_pairs([("job", "b"), ("app", "x\0y")]),
        LabelSet::from_pairs([("job", "a"), ("jobs", "é")]),
        LabelSet::default(),
    ]);
    assert_eq!(index.names().unwrap(), ["app", "job", "jobs"]);
    assert_eq!(index.values("job").unwrap(), ["a", "b"]);
    assert_eq!(index.values("app").unwrap(), ["x\0y"]);
    assert!(index.values("jo").unwrap().is_empty());
    assert_eq!(index.matching(&[matcher("job", MatchOp::Equal, "")]).unwrap(), [2]);
}

#[test]
fn refs_need_not_be_dense_and_bytes_are_repeatable() {
    let sets = [LabelSet::from_pairs([("a", "1")]), LabelSet::from_pairs([("a", "2")])];
    let bundle = build(&[(70, &sets[0]), (5, &sets[1])]).unwrap();
    assert_eq!(bundle, build(&[(5, &sets[1]), (70, &sets[0])]).unwrap());
    let index = StreamIndex::open(Bytes::from(bundle)).unwrap();
    assert_eq!(index.matching(&[]).unwrap(), [5, 70]);
    assert_eq!(index.matching(&[matcher("a", MatchOp::NotEqual, "1")]).unwrap(), [5]);
}

#[test]
fn labels_that_cannot_be_terms_are_refused() {
    let long = LabelSet::from_pairs([("a", "x".repeat(70_000))]);
    assert_eq!(build(&[(0, &long)]).unwrap_err().kind(), Kind::Invalid);
    let nul = LabelSet::from_pairs([("a\0b", "x")]);
    assert_eq!(build(&[(0, &nul)]).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_cut_bundle_is_corrupt() {
    let bundle = build(&[(0, &LabelSet::from_pairs([("a", "1")]))]).unwrap();
    for end in [0, 3, 10, bundle.len() / 2, bundle.len() - 1] {
        let error = StreamIndex::open(Bytes::copy_from_slice(&bundle[..end])).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "cut at {end}");
    }
}

fn label_sets() -> impl Strategy<Value = Vec<LabelSet>> {
    let name = prop::sample::select(vec!["a", "ab", "job", "pod"]);
    let value = prop::sample::select(vec!["x", "y", "xy", "a.b", "a-b", "ghcr.io/x", "z\n", "0"]);
    let labels = prop::collection::vec((name, value), 0..4).prop_map(LabelSet::from_pairs);
    prop::collection::vec(labels, 0..150)
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let name = prop::sample::select(vec!["a", "ab", "job", "pod", "none"]);
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let value = prop::sample::select(vec![
        "", "x", "y", "none", "a.b", r"a\.b", "x|y", "x|none|0", "x|", ".*", ".+", "x?", "[xy]+", "z.",
        "(x|y)",
    ]);
    let one = (name, op, value).prop_map(|(name, op, value)| matcher(name, op, value));
    prop::collection::vec(one, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn matching_equals_brute_force(sets in label_sets(), matchers in matchers()) {
        let expect: Vec<u32> = sets
            .iter()
            .zip(0..)
            .filter(|(set, _)| matchers.iter().all(|matcher| matcher.matches_set(set)))
            .map(|(_, at)| at)
            .collect();
        prop_assert_eq!(open(&sets).matching(&matchers).unwrap(), expect);
    }
}

/// Opens a bundle and asks for everything; `None` if it is refused.
fn ask_everything(bytes: Vec<u8>) -> Option<Vec<u32>> {
    let index = StreamIndex::open(bytes.into()).ok()?;
    for name in index.names().ok()? {
        index.values(&name).ok()?;
        index.matching(&[matcher(&name, MatchOp::NotRegex, "x.*")]).ok()?;
    }
    index.matching(&[]).ok()
}

#[test]
fn the_fuzz_corpus_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/stream_index");
    let items = RealDisk.list(&corpus).unwrap();
    let read = |name: &str| RealDisk.read(&corpus.join(name)).unwrap();
    items.iter().for_each(|item| drop(ask_everything(read(&item.name))));
    assert_eq!(ask_everything(read("version_1")), Some(vec![0, 1]));
    assert_eq!(ask_everything(read("version_1_cut")), None);
}

#[test]
fn no_damage_gets_past_the_guard() {
    let streams =
        [LabelSet::from_pairs([("app", "web"), ("host", "a")]), LabelSet::from_pairs([("app", "db")])];
    let bundle = build(&[(0, &streams[0]), (1, &streams[1])]).unwrap();
    // Panics of the search library print on the way; what counts is that none comes out.
    let refused = (0..bundle.len()).filter(|at| {
        let mut bad = bundle.clone();
        bad[*at] ^= 0xff;
        ask_everything(bad).is_none()
    });
    assert!(refused.count() > 300);
}
