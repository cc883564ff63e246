//! Any bytes as the only file of a record log: opening ends without panic, and a second opening finds the
//! same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_sys::{Disk, SimDisk};
use logyard_wal::{Kind, Log, LogSettings};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let disk = SimDisk::new();
    let dir = Path::new("/log");
    disk.create_dir_all(dir).expect("an empty disk");
    let mut file = disk.create_file(&dir.join("00000000000000000001.log")).expect("an empty disk");
    file.write_all(bytes).expect("an empty disk");
    if let Some(records) = open(&disk, dir) {
        assert_eq!(open(&disk, dir), Some(records));
    }
});

fn open(disk: &SimDisk, dir: &Path) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut records = Vec::new();
    let settings = LogSettings { file_bytes_max: 1 << 20, record_bytes_max: 1 << 20 };
    let opened = Log::open(Arc::new(disk.clone()), dir, settings, 0, &mut |sequence, payload| {
        records.push((sequence, payload.to_vec()));
        Ok::<(), Infallible>(())
    });
    match opened {
        Ok(_) => Some(records),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Invalid);
            None
        }
    }
}
