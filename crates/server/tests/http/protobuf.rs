//! Protobuf by hand: bytes as clients write them, also those that no library would.

/// A varint.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A field of bytes, text or a message.
pub(crate) fn bytes(number: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(number << 3 | 2), varint(u64::try_from(value.len()).unwrap()), value.to_vec()].concat()
}

/// A field with a number.
pub(crate) fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A field of eight bytes.
pub(crate) fn fixed64(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

/// Loki's `Timestamp`.
pub(crate) fn timestamp(ts_ns: i64) -> Vec<u8> {
    let ts_ns = u64::try_from(ts_ns).unwrap();
    [number(1, ts_ns / 1_000_000_000), number(2, ts_ns % 1_000_000_000)].concat()
}

/// A field of a `LabelPairAdapter`.
pub(crate) fn pair(field: u64, name: &str, value: &str) -> Vec<u8> {
    bytes(field, [bytes(1, name), bytes(2, value)].concat())
}

/// An `EntryAdapter` with metadata.
pub(crate) fn entry(ts_ns: i64, line: impl AsRef<[u8]>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<u8> = metadata.iter().flat_map(|(name, value)| pair(3, name, value)).collect();
    [bytes(1, timestamp(ts_ns)), bytes(2, line), pairs].concat()
}

/// A `PushRequest` of one stream.
pub(crate) fn push(labels: impl AsRef<[u8]>, entries: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(|entry| bytes(2, entry)).collect();
    bytes(1, [bytes(1, labels), entries].concat())
}

/// A snappy block.
pub(crate) fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}
