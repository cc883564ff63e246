//! What fuzz targets share: putting checksums right, so that the fuzzer gets past them, and checks that
//! plain tests run over the kept corpora.

pub mod check_go_regex;
pub mod check_pipeline;
pub mod check_template;
pub mod one_stream;

/// Returns the CRC-32C of bytes. Bit by bit: inputs are small, and one dependency fewer.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// Puts the checksums of a segment file right: header, index area, table of contents. Those of the blocks stay:
/// the target `block` is about them.
pub fn mend_segment(file: &mut [u8]) {
    const HEADER: usize = 64;
    const FOOTER: usize = 20;
    if let Some((header, crc)) = file.split_at_mut_checked(HEADER - 4) {
        put(crc, 0, crc32c(header));
    }
    let Some(table_end) = file.len().checked_sub(FOOTER) else { return };
    let Some(table_bytes) = get(file, table_end + 4).map(|bytes| bytes as usize) else { return };
    let Some(table) = table_end.checked_sub(table_bytes) else { return };
    let count = file.get(table + 2..table + 4).map_or(0, |count| usize::from(count[0]));
    for entry in (0..count).map(|index| table + 4 + index * 24) {
        let place =
            |at: usize| file.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        let (Some(offset), Some(bytes)) = (place(entry + 4), place(entry + 12)) else { return };
        let end = offset.saturating_add(bytes);
        if end <= table as u64 {
            let crc = crc32c(&file[offset as usize..end as usize]);
            put(file, entry + 20, crc);
        }
    }
    let crc = crc32c(&file[table..table_end]);
    put(file, table_end, crc);
}

fn get(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
