//! Pruned blocks never hold a match: against a look at every line.

#![allow(clippy::disallowed_methods, reason = "tests read the kept fuzz inputs")]

use super::*;
use crate::ContentIndexBuilder;
use memchr::memmem;
use proptest::prelude::*;

fn build(blocks: &[Vec<u8>], with_words: bool) -> ContentIndex {
    let mut builder = ContentIndexBuilder::new(with_words).unwrap();
    for block in blocks {
        builder.add_block(block).unwrap();
    }
    let sections = builder.finish().unwrap();
    assert_eq!(sections.words.is_some(), with_words);
    let words = sections.words.map(Bytes::from);
    let (index, why) = ContentIndex::open(words.as_ref(), sections.ids.into(), blocks.len()).unwrap();
    assert!(why.is_none(), "{why:?}");
    index
}

fn candidates(index: &ContentIndex, literal: &str) -> Vec<usize> {
    index.candidates(&all_of(literal.as_bytes())).unwrap().iter().collect()
}

fn all_of(literal: &[u8]) -> Prefilter {
    Prefilter { literals: vec![literal.to_vec()], any_of: Vec::new() }
}

/// Three blocks: words and names; a flood of hex ids; a flood of mixed ids.
fn sample() -> Vec<Vec<u8>> {
    let words = b"connection timeout to worker12\nstatus=200 user=\xc3\xa9ric\n".to_vec();
    let hex = (0..200_u64).map(|n| format!("trace={:016x} timeout\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mixed = (0..200_u64).map(|n| format!("pod/web{n:05}Qz error\n"));
    vec![words, hex.collect::<String>().into_bytes(), mixed.collect::<String>().into_bytes()]
}

#[test]
fn literals_leave_the_blocks_that_can_hold_them() {
    let index = build(&sample(), true);
    let check =
        |literal: &str, expect: &[usize]| assert_eq!(candidates(&index, literal), expect, "{literal}");
    check("", &[0, 1, 2]);
    check("timeout", &[0, 1, 2]);
    check(" timeout\n", &[0, 1]);
    check("connection timeout", &[0]);
    check("=nothing ", &[]);
    check("worker12", &[0, 2]);
    check(" worker12\n", &[0]);
    check("rker1", &[0, 2]);
    check("trace=9e3779b97f4a7c15 ", &[1]);
    check("9e3779b97f4a7c15", &[1]);
    check("=200 ", &[0, 1, 2]);
    check("user=\u{e9}ric\n", &[0]);
    check(" user=\u{e9}ric\n", &[0]);
    check("web00007Qz", &[2]);
    check("00007Q", &[2]);
}

#[test]
fn short_ids_that_are_many_prove_by_their_length_alone() {
    let text: String = (0..200).map(|n| format!("id=a{n:03} \n")).collect();
    for with_words in [true, false] {
        let index = build(&[text.clone().into_bytes(), b"id=b1 \n".to_vec()], with_words);
        assert_eq!(candidates(&index, "=a001 ")[..1], [0]);
        assert_eq!(candidates(&index, "=a999 ")[..1], [0], "most of its length are there");
        assert_eq!(candidates(&index, "a00")[..1], [0], "part of a longer one");
        assert!(!candidates(&index, "=a00 ").contains(&0));
        assert!(!candidates(&index, "=Z001 ").contains(&0), "of another class");
    }
}

/// As many ids of one length, all letters and digits of hexadecimal numbers.
fn long_ids(bytes: usize) -> Vec<u8> {
    let digits =
        |n: u64| (0..).flat_map(move |word| format!("{:016x}", hash_of(n, word + bytes as u64)).into_bytes());
    (0..200).flat_map(|n| digits(n).take(bytes).chain(*b"\n").collect::<Vec<u8>>()).collect()
}

fn hash_of(number: u64, word: u64) -> u64 {
    ids::hash(&[number.to_le_bytes(), word.to_le_bytes()].concat())
}

#[test]
fn parts_of_long_ids_prove() {
    let (traces, containers) = (long_ids(32), long_ids(64));
    let index = build(&[traces.clone(), containers.clone(), long_ids(300)], true);
    let of = |text: &[u8], range| std::str::from_utf8(&text[range]).unwrap().to_owned();
    let mut doubts = 0;
    for line in 0..60 {
        let (trace, container) = (line * 33 + line % 10, line * 65 + line % 40);
        // One of 300 bytes is too long to be cut whole, so that block may hold anything.
        let found = candidates(&index, &of(&traces, trace..trace + 23));
        assert!(found.contains(&0) && found.contains(&2), "{found:?}");
        let others = candidates(&index, &of(&containers, container..container + 24));
        assert!(others.contains(&1) && others.contains(&2), "{others:?}");
        doubts += found.len() + others.len() - 4;
    }
    assert!(doubts < 10, "a filter errs once in 256 times, for each of the ways: {doubts}");
    assert_eq!(candidates(&index, "4f1e0c9b7d2a6835aa01e5"), [2]);
    assert_eq!(candidates(&index, "4f1e0c9b7d2a68"), [0, 1, 2], "it need not cover a part");
    assert_eq!(candidates(&index, "4f1e0c9b7d2a6835aa01z0"), [0_usize; 0], "no id is of this class");
}

#[test]
fn of_a_group_one_literal_is_enough() {
    let index = build(&sample(), true);
    let group = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let prefilter = Prefilter {
        literals: vec![b"=".to_vec()],
        any_of: vec![group(&[" worker12\n", "trace=9e3779b97f4a7c15 "]), group(&[" timeout\n", "=nothing "])],
    };
    assert_eq!(index.candidates(&prefilter).unwrap().iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn without_a_dictionary_ids_still_prove() {
    let index = build(&sample(), false);
    assert_eq!(candidates(&index, "connection"), [0, 1, 2]);
    assert_eq!(candidates(&index, "trace=9e3779b97f4a7c15 "), [1]);
    assert_eq!(candidates(&index, "=0123456789abcdef "), [0_usize; 0]);
}

#[test]
fn a_lost_dictionary_costs_speed_only() {
    let mut builder = ContentIndexBuilder::new(true).unwrap();
    for block in sample() {
        builder.add_block(&block).unwrap();
    }
    let sections = builder.finish().unwrap();
    let garbage = Bytes::from_static(b"LYSI no dictionary");
    let (index, why) = ContentIndex::open(Some(&garbage), sections.ids.into(), 3).unwrap();
    assert!(why.is_some());
    // Its rare ids were only there, so this block cannot be ruled out.
    assert!(candidates(&index, " worker12\n").contains(&0));
}

/// Text of few letters, so that needles hit, with ids, long words and bytes that are no UTF-8.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ab]{1,4}".prop_map(String::into_bytes),
        3 => "[ag0-2]{1,8}".prop_map(String::into_bytes),
        2 => "[0-1]{1,8}".prop_map(String::into_bytes),
        1 => "[a-f0-9]{16}".prop_map(String::into_bytes),
        1 => "[xy]{63,70}".prop_map(String::into_bytes),
        1 => prop::collection::vec(prop_oneof![Just(0xc3), Just(0xa9), Just(0xff), Just(b'a')], 1..4),
        3 => "[ =_./\"-]{1,2}".prop_map(String::into_bytes),
    ]
}

fn text(pieces: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), pieces).prop_map(|pieces| pieces.concat())
}

/// A flood of ids of one kind and length, so that they go into the filter.
fn flood() -> impl Strategy<Value = Vec<u8>> {
    let short = ("[a-g]{1,3}", 60_u32..80).prop_map(|(prefix, count)| {
        (0..count).map(|n| format!("{prefix}{n:04} ")).collect::<String>().into_bytes()
    });
    let long = prop_oneof![14_usize..70, Just(255), Just(256), Just(257)];
    prop_oneof![1 => short, 1 => long.prop_map(long_ids)]
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![6 => text(0..8), 1 => flood()];
    prop::collection::vec(line, 1..8).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|mut line| {
                line.push(b'\n');
                line
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pruned_blocks_never_hold_a_match(
        blocks in prop::collection::vec(block(), 1..6),
        free in text(1..4),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..60), 8),
        with_words in any::<bool>(),
    ) {
        let index = build(&blocks, with_words);
        // Needles cut out of the text, which are there, and a free one, which may be.
        let mut needles = vec![free];
        for (block, at, bytes) in cuts {
            let block = block.get(&blocks);
            let at = at.index(block.len());
            needles.push(block[at..(at + bytes).min(block.len())].to_vec());
        }
        for needle in needles {
            let found = index.candidates(&all_of(&needle)).unwrap();
            for (number, block) in blocks.iter().enumerate() {
                let holds = memmem::find(block, &needle).is_some();
                prop_assert!(found.contains(number) || !holds, "{:?} in block {number}", needle.escape_ascii().to_string());
            }
        }
    }
}

/// Bytes that a fuzzer kept are refused or answered, never a panic.
#[test]
fn kept_fuzz_inputs_are_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/content_index");
    let mut count = 0;
    for item in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(item.unwrap().path()).unwrap();
        let Some((kind, section)) = bytes.split_first() else { continue };
        let section = Bytes::copy_from_slice(section);
        let opened = if kind % 2 == 0 {
            ContentIndex::open(None, section, usize::from(*kind) / 2)
        } else {
            let ids = build_sections(&[b"alpha 0123456789abcdef\n".to_vec()], false).ids;
            ContentIndex::open(Some(&section), ids.into(), 1)
        };
        if let Ok((index, _)) = opened {
            assert!(index.candidates(&all_of(b" alpha ")).is_ok_and(|blocks| blocks.count() <= 128));
        }
        count += 1;
    }
    assert!(count > 0, "{corpus} holds seeds");
}

/// Writes the seeds of the fuzz target: `LOGYARD_BLESS=1`.
#[test]
fn the_seeds_of_the_fuzz_target_are_fresh() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/content_index");
    let sections = build_sections(&sample(), true);
    let one = build_sections(&[b"alpha beta1 0123456789abcdef\n".to_vec()], true);
    let seeds = [("ids", 6_u8, sections.ids), ("words", 1, one.words.unwrap())];
    for (name, kind, section) in seeds {
        let seed: Vec<u8> = std::iter::once(kind).chain(section).collect();
        let path = folder.join(name);
        if std::env::var_os("LOGYARD_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &seed).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), seed, "{name}: run again with LOGYARD_BLESS=1");
    }
}

fn build_sections(blocks: &[Vec<u8>], with_words: bool) -> crate::ContentSections {
    let mut builder = ContentIndexBuilder::new(with_words).unwrap();
    blocks.iter().for_each(|block| builder.add_block(block).unwrap());
    builder.finish().unwrap()
}

#[test]
fn no_damage_gets_past_the_guard() {
    let mut builder = ContentIndexBuilder::new(true).unwrap();
    sample().iter().for_each(|block| builder.add_block(block).unwrap());
    let sections = builder.finish().unwrap();
    let (words, ids) = (sections.words.unwrap(), sections.ids);
    let literals = ["timeout", "imeou", " worker12\n", "9e3779b97f4a7c15", "00007Q"];
    let mut refused = [0, 0];
    for (part, bytes) in [&words, &ids].into_iter().enumerate() {
        for at in 0..bytes.len() {
            let mut bad = [words.clone(), ids.clone()];
            bad[part][at] ^= 1 << (at % 8);
            let [words, ids] = bad.map(Bytes::from);
            // Panics of the search library print on the way; what counts is that none comes out.
            let is_refused = match ContentIndex::open(Some(&words), ids, 3) {
                Ok((index, why)) => {
                    let fails = literals.iter().any(|one| index.candidates(&all_of(one.as_bytes())).is_err());
                    why.is_some() || fails
                }
                Err(_) => true,
            };
            refused[part] += usize::from(is_refused);
        }
    }
    assert!(refused[0] > words.len() / 10 && refused[1] > 0, "{refused:?} of {}, {}", words.len(), ids.len());
}
