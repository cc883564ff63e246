//! What the machine can do at most with some texts: a copy, `memmem`, zstd.

use criterion::BenchmarkGroup;
use criterion::measurement::Measurement;
use memchr::memmem::Finder;
use std::hint::black_box;

/// Measures a copy of the texts, the search of each needle, and zstd at each level in both directions.
pub(crate) fn measure<M: Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    texts: &[&[u8]],
    needles: &[(&str, &str)],
    levels: &[i32],
) {
    group.bench_function("copy", |bencher| {
        let mut room = Vec::new();
        bencher.iter(|| {
            for text in texts {
                room.clear();
                room.extend_from_slice(black_box(text));
                black_box(&room);
            }
        });
    });
    for (name, needle) in needles {
        let finder = Finder::new(needle);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| texts.iter().map(|text| finder.find_iter(text).count()).sum::<usize>());
        });
    }
    for level in levels {
        let mut packer = zstd::bulk::Compressor::new(*level).unwrap();
        let frames: Vec<Vec<u8>> = texts.iter().map(|text| packer.compress(text).unwrap()).collect();
        group.bench_function(format!("zstd -{level}, pack"), |bencher| {
            bencher.iter(|| texts.iter().map(|text| packer.compress(text).unwrap().len()).sum::<usize>());
        });
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let mut unpack =
            |text: &&[u8], frame: &Vec<u8>| unpacker.decompress(frame, text.len()).unwrap().len();
        group.bench_function(format!("zstd -{level}, unpack"), |bencher| {
            bencher
                .iter(|| texts.iter().zip(&frames).map(|(text, frame)| unpack(text, frame)).sum::<usize>());
        });
    }
}
