//! Shredded blocks against plain ones: the same lines, the same hits, and nothing worse from damaged bytes.
#![allow(clippy::disallowed_methods, reason = "samples are read from the source tree")]

use super::*;
use bytes::Bytes;
use logyard_model::LabelSet;
use memchr::memmem::Finder;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const START_NS: i64 = 1_794_636_008_254_123_456;

/// One value of a line: a word, a number, an id, odd bytes.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{1,4}",
        2 => "[a-z]{1,6}",
        1 => "[0-9a-f]{8,20}",
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        1 => "(1|2)?[0-9]?[0-9]\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        1 => "[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?",
        1 => "[0-9]{17,21}",
        1 => "[a-zA-Z0-9\"\\\\= \n{}:,é\u{0}\u{1}]{0,8}",
    ]
}

pub(crate) fn line() -> impl Strategy<Value = Vec<u8>> {
    let values = || proptest::collection::vec(value(), 1..5);
    prop_oneof![
        6 => (0usize..6, values()).prop_map(|(form, values)| from_form(form, &values).into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
        1 => "[0-3\u{0}\u{1}\n a]{0,12}".prop_map(String::into_bytes),
    ]
}

/// Lines of few forms, so that templates repeat.
fn from_form(form: usize, values: &[String]) -> String {
    let joined = values.join(" ");
    let first = &values[0];
    match form {
        0 => format!(
            "{{\"level\":\"info\",\"a\":\"{first}\",\"b\":{{\"c\":[1,{}]}},\"n\":{}}}",
            values.len(),
            first.len()
        ),
        1 => format!("{{\"a\":\"{}\",\"t\": {}}}", values.join("\",\"k\":\""), first.len() * 1000),
        2 => format!("level=warn msg=\"{joined}\" n={first}"),
        3 => format!("user {first} from {joined} port 22"),
        4 => format!("{first} \"{joined}\" - 200"),
        _ => joined,
    }
}

/// The runs of letters, digits and bytes from 0x80 on, but for short decimal numbers.
fn tokens_of(text: &[u8]) -> std::collections::BTreeSet<&[u8]> {
    let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    let is_short = |token: &[u8]| token.len() < 6 && token.iter().all(u8::is_ascii_digit);
    text.split(|byte| !is_in(byte)).filter(|token| !token.is_empty() && !is_short(token)).collect()
}

fn entries_of(lines: &[Vec<u8>]) -> Entries {
    let mut entries = Entries::new();
    let none = LabelSet::default();
    for (row, line) in (0i64..).zip(lines) {
        entries.push(START_NS + row * 1_234_567, line, "", &none);
    }
    entries
}

fn builder_of(lines: &[Vec<u8>]) -> BlockBuilder {
    let entries = entries_of(lines);
    let mut builder = BlockBuilder::new();
    builder.push_run(0, &entries, 0..entries.len());
    builder
}

pub(crate) fn open(encoded: &EncodedBlock) -> Block {
    Block::open(Arc::new(encoded.meta.clone()), Arc::new(Bytes::from(encoded.bytes.clone())), 0)
}

/// A shredded block, whether or not that is smaller.
pub(crate) fn shredded(lines: &[Vec<u8>]) -> EncodedBlock {
    builder_of(lines).finish_shredded_always()
}

fn check_search(lines: &[Vec<u8>], encoded: &EncodedBlock, needle: &[u8], rows: std::ops::Range<u32>) {
    let finder = Finder::new(needle);
    let expect: Vec<u32> = rows.clone().filter(|&row| finder.find(&lines[row as usize]).is_some()).collect();
    let block = open(encoded);
    let mut found = Vec::new();
    let needles = Needles::one(finder.as_ref());
    block.rows_with(&needles, rows.clone(), &mut found).unwrap();
    assert_eq!(found, expect, "needle {:?}", String::from_utf8_lossy(needle));
    assert_eq!(block.count_with(&needles, rows.clone()).unwrap() as usize, expect.len());
    block.lines().unwrap();
    found.clear();
    block.rows_with(&needles, rows, &mut found).unwrap();
    assert_eq!(found, expect);
}

/// Checks a search for any of some texts, whether or not rows were asked for one after the other.
fn check_any(lines: &[Vec<u8>], encoded: &EncodedBlock, texts: &[Vec<u8>], case: LetterCase) {
    let Some(needles) = Needles::any(texts.to_vec(), case) else { return };
    let holds = |line: &[u8], text: &[u8]| line.windows(text.len()).any(|part| case.eq(part, text));
    let is_hit = |row: &u32| texts.iter().any(|text| holds(&lines[*row as usize], text));
    let rows = lines.len() as u32;
    let expect: Vec<u32> = (0..rows).filter(is_hit).collect();
    let (block, in_parts) = (open(encoded), open(encoded));
    let (mut found, mut of_parts) = (Vec::new(), Vec::new());
    block.rows_with(&needles, 0..rows, &mut found).unwrap();
    assert_eq!(found, expect, "{texts:?}, {case:?}");
    assert_eq!(block.count_with(&needles, 0..rows).unwrap() as usize, expect.len());
    for first in (0..rows).step_by(7) {
        in_parts.rows_with(&needles, first..first + 7, &mut of_parts).unwrap();
        let in_part = expect.iter().filter(|row| (first..first + 7).contains(row)).count();
        assert_eq!(block.count_with(&needles, first..first + 7).unwrap() as usize, in_part);
    }
    assert_eq!(of_parts, expect, "{texts:?}, {case:?}");
    block.lines().unwrap();
    found.clear();
    block.rows_with(&needles, 0..rows, &mut found).unwrap();
    assert_eq!(found, expect, "{texts:?}, {case:?}");
}

fn check_round_trip(lines: &[Vec<u8>], encoded: &EncodedBlock) {
    let block = open(encoded);
    assert_eq!(tokens_of(&block.token_text().unwrap()), tokens_of(&lines.join(&b'\n')));
    let mut one = Vec::new();
    for (row, line) in (0u32..).zip(lines) {
        one.clear();
        block.line_into(row, &mut one).unwrap();
        assert_eq!(&one, line);
    }
    one.clear();
    block.line_into(block.rows(), &mut one).unwrap();
    assert!(one.is_empty());
    let ends = block.line_ends().unwrap().to_vec();
    assert!(lines.is_empty() || block.heap_bytes() > 0);
    let all = block.lines().unwrap();
    assert_eq!(all, entries_of(lines).lines());
    assert_eq!(ends, all.ends());
}

pub(crate) fn log(rows: usize) -> Vec<Vec<u8>> {
    let words = ["sonarr", "radarr", "bazarr", "jellyfin"];
    let form = |row: usize| match row % 4 {
        0 => format!(
            "Nov 14 06:{:02}:{:02} host app[{}]: user {} in",
            row / 60 % 60,
            row % 60,
            row * 7919 % 30000,
            words[row % 3]
        ),
        1 => format!(
            "{{\"level\":\"info\",\"status\":{},\"id\":\"{:016x}\",\"path\":\"/{}\"}}",
            200 + row % 5,
            row.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            words[row % 4]
        ),
        2 => format!("time=\"x\" level=warn n={row} addr=10.0.{}.{}", row % 200, row % 251),
        _ => format!(
            "connection from 10.1.2.{} took 0.{:03}s \"GET /{} HTTP/1.1\"",
            row % 250,
            row * 31 % 1000,
            words[row % 4]
        ),
    };
    (0..rows).map(|row| form(row).into_bytes()).collect()
}

#[test]
fn logs_shrink_and_come_back() {
    let lines = log(4000);
    let builder = builder_of(&lines);
    let plain = builder.clone().finish();
    let encoded = builder.finish_with(LineCodec::BEST);
    assert_eq!((plain.line_outcome, encoded.line_outcome), (LineOutcome::Plain, LineOutcome::Shredded));
    assert!(!open(&plain).is_shredded() && open(&encoded).is_shredded());
    assert!(
        encoded.bytes.len() * 5 < plain.bytes.len() * 4,
        "{} of {}",
        encoded.bytes.len(),
        plain.bytes.len()
    );
    check_round_trip(&lines, &encoded);
    for needle in [
        "sonarr",
        "user radarr",
        "app[7919",
        "status\":20",
        "06:01:1",
        "10.0.7",
        "n=10",
        " 0.0",
        "00",
        "zz",
        "level",
        "rr in",
        ".2.1",
        "",
        "\n",
        "GET /bazarr HTTP",
    ] {
        check_search(&lines, &encoded, needle.as_bytes(), 0..4000);
        check_search(&lines, &encoded, needle.as_bytes(), 17..1900);
        check_search(&lines, &encoded, needle.as_bytes(), 5..9);
    }
}

#[test]
fn lines_that_do_not_gain_stay_plain() {
    let noise = |row: u64| {
        (0..8u64)
            .flat_map(|part| (row * 8 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect()
    };
    let lines: Vec<Vec<u8>> = (0..200).map(noise).collect();
    let encoded = builder_of(&lines).finish_with(LineCodec::BEST);
    assert_eq!(encoded.line_outcome, LineOutcome::TooLittleGain);
    check_search(&lines, &encoded, b"a", 0..200);
    let empty = BlockBuilder::new().finish_with(LineCodec::BEST);
    assert_eq!((empty.line_outcome, open(&empty).lines().unwrap().rows()), (LineOutcome::TooLittleGain, 0));
}

#[test]
fn large_blocks_are_judged_by_samples_of_their_lines() {
    // Digits gain from being shredded; letters of which all are as good as random do not.
    let digit = |row: u64, part: u64| (row * 77 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let numbers = |row: u64| format!("took {} of {} ms", digit(row, 0), digit(row, 1));
    let letter = |row: u64, part: u64| char::from(b'g' + (digit(row, part) % 19) as u8);
    let letters = |row: u64| (0..76).map(|part| letter(row, part)).collect::<String>();
    let outcome = |rows: u64, line: &dyn Fn(u64) -> String| {
        let lines: Vec<Vec<u8>> = (0..rows).map(|row| line(row).into_bytes()).collect();
        let builder = builder_of(&lines);
        assert!(builder.raw_bytes() > 1 << 20);
        let encoded = builder.finish_with(LineCodec::BEST);
        assert!(open(&encoded).lines().unwrap().text() == builder_of(&lines).text());
        encoded.line_outcome
    };
    assert_eq!(outcome(42_000, &numbers), LineOutcome::Shredded);
    assert_eq!(outcome(14_000, &letters), LineOutcome::TooLittleGain);
    let mixed = |row: u64| if row.is_multiple_of(4) { letters(row) } else { numbers(row) };
    assert_eq!(outcome(30_000, &mixed), LineOutcome::Shredded);
}

#[test]
fn long_lines_and_many_templates_are_kept_whole() {
    let mut lines = log(50);
    lines.push(b"x 12 ".repeat(1 << 18));
    lines.push(vec![0; 1 << 20]);
    lines.push(format!("{{\"a\":\"{}\"}}", "b\\\"".repeat(30_000)).into_bytes());
    check_round_trip(&lines, &shredded(&lines));
    check_search(&lines, &shredded(&lines), b"x 12", 0..53);
    // Words differ, so every line has a template of its own.
    let word = |row: u32| row.to_string().bytes().map(|digit| digit - b'0' + b'a').collect::<Vec<u8>>();
    let lines: Vec<Vec<u8>> = (0..9000).map(|row| [&word(row)[..], b" 1 of 2"].concat()).collect();
    let encoded = shredded(&lines);
    check_round_trip(&lines, &encoded);
    check_search(&lines, &encoded, b"jjj 1", 0..9000);
}

#[test]
fn times_in_lines_take_next_to_nothing() {
    let lines: Vec<Vec<u8>> = (0..20_000u32)
        .map(|row| {
            let second = row / 810;
            format!("06:{:02}:{:02} ready", second / 52, 8 + second % 52).into_bytes()
        })
        .collect();
    let encoded = shredded(&lines);
    check_round_trip(&lines, &encoded);
    let text: u32 = encoded
        .meta
        .sections
        .iter()
        .filter(|section| section.kind != SECTION_TS)
        .map(|section| section.bytes)
        .sum();
    assert!(text < 3000, "{text} bytes");
}

#[test]
fn a_search_reads_only_what_can_hold_the_needle() {
    #[derive(Debug)]
    struct Counting(Bytes, std::sync::atomic::AtomicU32);
    impl SectionSource for Counting {
        fn read(&self, offset: u64, bytes: u32) -> std::io::Result<Bytes> {
            self.1.fetch_add(bytes, std::sync::atomic::Ordering::SeqCst);
            self.0.read(offset, bytes)
        }
    }
    let lines = log(20_000);
    let encoded = shredded(&lines);
    let source = Arc::new(Counting(Bytes::from(encoded.bytes.clone()), 0.into()));
    let block = Block::open(Arc::new(encoded.meta.clone()), Arc::clone(&source) as _, 0);
    let mut found = Vec::new();
    block.rows_with(&Needles::one(Finder::new("connection from")), 0..20_000, &mut found).unwrap();
    assert_eq!(found.len(), 5000);
    // The level is a constant, which the tables hold.
    block.key_groups(KeyFormat::Json, b"level", 0..block.rows()).unwrap();
    let read = source.1.load(std::sync::atomic::Ordering::SeqCst) as usize;
    assert!(read < encoded.bytes.len() / 8, "read {read} of {}", encoded.bytes.len());
}

/// Lines with a text of many words.
fn pages(rows: usize) -> Vec<Vec<u8>> {
    let letters = |row: usize| -> String {
        (1..5u32).map(|place| char::from(b'a' + (row * 7919 / 26usize.pow(place) % 26) as u8)).collect()
    };
    (0..rows)
        .map(|row| format!("page \"/library/{}/poster\" sent in {row} ms", letters(row)).into_bytes())
        .collect()
}

/// What the samples hold was written once, by this test's own rows.
#[test]
fn the_shredded_samples_of_version_1_are_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/block");
    for (name, lines, has_trigrams) in
        [("version_1_shredded", log(120), false), ("version_1_shredded_trigrams", pages(400), true)]
    {
        let bytes = std::fs::read(corpus.join(name)).unwrap();
        let (meta, read) = BlockMeta::decode(&bytes).unwrap();
        assert_eq!(meta.section(SECTION_TRIGRAMS).is_some(), has_trigrams, "{name}");
        let encoded = EncodedBlock {
            bytes: bytes[read..].to_vec(),
            meta,
            runs: Vec::new(),
            line_outcome: LineOutcome::Shredded,
            token_text: Vec::new(),
        };
        let block = open(&encoded);
        assert!(block.is_shredded());
        assert_eq!(block.timestamps().unwrap(), entries_of(&lines).ts_ns());
        assert_eq!(block.lines().unwrap(), entries_of(&lines).lines());
        for needle in ["jellyfin", "Connection", "connection", "warn", "9\"", "/poster", "rary/ad"] {
            check_search(&lines, &encoded, needle.as_bytes(), 0..lines.len() as u32);
        }
    }
}

#[test]
fn literals_that_can_be_cut_anywhere_are_found() {
    let lines: Vec<Vec<u8>> = (0..400u32)
        .map(|row| format!("--{}--x{row}--{}--", "-".repeat(row as usize % 7), row % 3).into_bytes())
        .collect();
    let encoded = shredded(&lines);
    for needle in
        ["-", "--", "-----", "---------", "--1--", "-x", "x1", "9--2-", "--x399--0--", "--x399--1--"]
    {
        check_search(&lines, &encoded, needle.as_bytes(), 0..400);
        check_search(&lines, &encoded, needle.as_bytes(), 17..390);
    }
}

/// What one search has found is not taken for what another looks for, however many there are.
#[test]
fn searches_of_one_block_are_told_apart() {
    let lines = log(4000);
    let block = open(&shredded(&lines));
    let texts = ["sonarr", "radarr", "bazarr", "GET", "user", "took", "level=warn"];
    let all: Vec<Needles<'_>> = texts.iter().map(|text| Needles::one(Finder::new(text))).collect();
    for first in (0..4000).step_by(100) {
        for (needles, text) in all.iter().zip(texts) {
            let rows = first as usize..first as usize + 100;
            let holds = |line: &&Vec<u8>| Finder::new(text).find(line).is_some();
            let expect = lines[rows].iter().filter(holds).count();
            assert_eq!(block.count_with(needles, first..first + 100).unwrap() as usize, expect, "{text}");
        }
    }
}

#[test]
fn any_of_some_texts_is_found() {
    let lines = log(4000);
    let encoded = shredded(&lines);
    for texts in [
        &["user sonarr in", "user radarr in", "app[7919]"][..],
        &["app[1", "status\":20", "10.0.7", "zz", "0.1", "\"GET /BAZARR"],
        &["USER ", " WARN", "c"],
        &["nothing", "of this"],
    ] {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        check_any(&lines, &encoded, &texts, LetterCase::Told);
        check_any(&lines, &encoded, &texts, LetterCase::Folded);
    }
}

/// Columns are searched some thousand values at a time.
#[test]
fn long_columns_are_searched_to_their_end() {
    let lines = log(20_000);
    let encoded = shredded(&lines);
    for needle in ["app[199", "n=199", "1638", "id\":\"ff", ".2.199 took", "0.0.19", "13:1"] {
        check_search(&lines, &encoded, needle.as_bytes(), 0..20_000);
        check_search(&lines, &encoded, needle.as_bytes(), 333..19_998);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lines_round_trip(lines in proptest::collection::vec(line(), 0..80)) {
        check_round_trip(&lines, &shredded(&lines));
    }

    #[test]
    fn search_equals_a_look_at_every_line(
        lines in proptest::collection::vec(line(), 1..60),
        cut in (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0usize..9),
        other in "[0-9a-z\":. =]{1,3}",
        bounds in (0u32..60, 0u32..60),
    ) {
        let encoded = shredded(&lines);
        let line = cut.0.get(&lines);
        let start = cut.1.index(line.len() + 1);
        let part = &line[start..(start + cut.2).min(line.len())];
        let rows = lines.len() as u32;
        check_search(&lines, &encoded, part, 0..rows);
        check_search(&lines, &encoded, other.as_bytes(), 0..rows);
        let from = bounds.0.min(rows);
        check_search(&lines, &encoded, part, from..bounds.1.clamp(from, rows));
    }

    #[test]
    fn a_search_for_any_equals_a_look_at_every_line(
        lines in proptest::collection::vec(line(), 1..80),
        cuts in proptest::collection::vec(
            (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 1usize..9, any::<bool>()), 1..6),
        others in proptest::collection::vec("[0-9a-zA-Z\":. =]{1,3}", 0..3),
        is_folded in any::<bool>(),
    ) {
        let encoded = shredded(&lines);
        let part = |(of, at, bytes, is_upper): &(proptest::sample::Index, proptest::sample::Index, usize, bool)| {
            let line = of.get(&lines);
            let start = at.index(line.len() + 1);
            let part = &line[start..(start + bytes).min(line.len())];
            if *is_upper { part.to_ascii_uppercase() } else { part.to_vec() }
        };
        let texts: Vec<Vec<u8>> =
            cuts.iter().map(part).chain(others.into_iter().map(String::into_bytes)).filter(|text| !text.is_empty()).collect();
        check_any(&lines, &encoded, &texts, if is_folded { LetterCase::Folded } else { LetterCase::Told });
    }

    #[test]
    fn damaged_shredded_blocks_never_panic(
        lines in proptest::collection::vec(line(), 1..40),
        at in any::<usize>(),
        value in any::<u8>(),
        section in 0usize..4,
    ) {
        // The sections stored plain, so that a damage reaches the decoder.
        let encoded = shredded(&lines).with_plain_sections();
        let place = encoded.meta.sections[section % encoded.meta.sections.len()];
        prop_assume!(place.bytes > 0);
        let mut bytes = encoded.bytes.clone();
        bytes[place.offset as usize + at % place.bytes as usize] = value;
        let mut meta = encoded.meta.clone();
        for section in &mut meta.sections {
            let start = section.offset as usize;
            section.crc32c = crc32c::crc32c(&bytes[start..start + section.bytes as usize]);
        }
        let block = Block::open(Arc::new(meta), Arc::new(Bytes::from(bytes)), 0);
        let rows = block.rows();
        let mut out = Vec::new();
        for needle in ["1", "a\":", "x"] {
            let _ignored = block.rows_with(&Needles::one(Finder::new(needle)), 0..rows, &mut out);
        }
        for row in 0..rows {
            out.clear();
            let mut line = Vec::new();
            let _ignored = block.line_into(row, &mut line);
        }
        if let Ok(Some(groups)) = block.key_groups(KeyFormat::Json, b"a", 0..block.rows()) {
            prop_assert_eq!(groups.iter().map(|group| group.rows.len()).sum::<usize>(), rows as usize);
        }
        let keys = |format| Reduction::Keys { format, keys: vec!["a".into(), "n".into()], number: Some("n".into()) };
        let quoted = LineAutomaton::new(vec![(Reading::Skips, [0; 256]), (Reading::Takes, [1; 256])]);
        for reduction in [keys(KeyFormat::Json), keys(KeyFormat::Logfmt), Reduction::Text(quoted)] {
            let Ok(Some(reduced)) = block.reduced(&reduction, 0..rows) else { continue };
            for row in 0..rows {
                out.clear();
                let mut line = Vec::new();
                let is_reduced = reduced.line_into(row, &mut line);
                prop_assert!(is_reduced || reduced.class_of(row).is_none());
                prop_assert!(reduced.class_of(row).is_none_or(|class| (class as usize) < reduced.classes()));
            }
        }
        let _ignored = block.line_ends();
        if let Ok(lines) = block.lines() {
            prop_assert_eq!(lines.rows(), rows as usize);
        }
    }
}
/// As the fuzz target `shred`: bytes as lines, and the last of them as a needle.
fn shred_any_lines(bytes: &[u8]) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == 0xff).map(<[u8]>::to_vec).collect();
    let needle = lines.pop().unwrap();
    let rows = lines.len() as u32 * 64;
    let lines: Vec<Vec<u8>> = lines.iter().cycle().take(rows as usize).cloned().collect();
    let encoded = builder_of(&lines).finish_with(LineCodec::BEST);
    assert_ne!(encoded.line_outcome, LineOutcome::Mismatch);
    check_round_trip(&lines, &encoded);
    check_search(&lines, &encoded, &needle, 0..rows);
}

#[test]
fn the_fuzz_corpus_of_lines_comes_back() {
    crate::tests::fuzz_corpus("shred").iter().for_each(|bytes| shred_any_lines(bytes));
}

/// Public logs, if there are any: the folder is searched for `.log` files.
#[test]
fn public_logs_come_back_smaller() {
    let Some(folder) = std::env::var_os("LOGYARD_LOG_FOLDER") else { return };
    let folders = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    let mut read = 0;
    for path in files.map(|item| item.unwrap().path()) {
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        if path.extension().is_none_or(|extension| extension != "log") || lines.len() < 100 {
            continue;
        }
        let (plain, encoded) = (builder_of(&lines).finish(), builder_of(&lines).finish_with(LineCodec::BEST));
        assert_ne!(encoded.line_outcome, LineOutcome::Mismatch, "{path:?}");
        assert!(encoded.bytes.len() <= plain.bytes.len());
        check_round_trip(&lines, &encoded);
        for needle in ["error", "ERROR", "10.", "200", "[", ": ", "a"] {
            check_search(&lines, &encoded, needle.as_bytes(), 0..lines.len() as u32);
        }
        read += 1;
    }
    assert!(read > 0, "no logs in LOGYARD_LOG_FOLDER");
}
