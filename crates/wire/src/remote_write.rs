//! Prometheus remote write, version 1.0: samples as a protobuf message, packed by snappy. Encoding only.
//!
//! Each sample is a series of its own in the message, which readers take as they take any other order; the series of a
//! recording rule have one sample at a time.

use crate::Error;
use logyard_codec::pack_snappy;
use logyard_model::LabelSet;

/// Type of the body.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// How the body is packed.
pub const CONTENT_ENCODING: &str = "snappy";

/// Name and value of the header that names the version.
pub const VERSION_HEADER: (&str, &str) = ("x-prometheus-remote-write-version", "0.1.0");

/// The value that says that a series has ended: a NaN with these bits.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A sample of a series.
#[derive(Clone, Copy, Debug)]
pub struct WriteSample<'a> {
    /// What tells the series from others, `__name__` among it.
    pub labels: &'a LabelSet,
    /// The value.
    pub value: f64,
    /// When, in ms.
    pub ts_ms: i64,
}

/// Writes a body. Errors: `Limited` where it is too large to be packed, 4 GiB.
pub fn encode<'a>(samples: impl IntoIterator<Item = WriteSample<'a>>) -> Result<Vec<u8>, Error> {
    let mut message = Vec::new();
    for sample in samples {
        put_bytes(&mut message, 1, &series(sample));
    }
    pack_snappy(&message).map_err(|error| Error::limited(format!("cannot pack samples: {error}")))
}

fn series(sample: WriteSample<'_>) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in sample.labels.iter() {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut series, 1, &label);
    }
    let mut point = vec![1 << 3 | 1];
    point.extend_from_slice(&sample.value.to_bits().to_le_bytes());
    point.push(2 << 3);
    put_varint(&mut point, sample.ts_ms.cast_unsigned());
    put_bytes(&mut series, 2, &point);
    series
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Fields, Value};

    fn fields(bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
        let mut fields = Fields::new(bytes);
        std::iter::from_fn(|| fields.next().unwrap()).collect()
    }

    fn inner<'a>(value: &Value<'a>) -> &'a [u8] {
        match value {
            Value::Bytes(bytes) => bytes,
            other => panic!("{other:?} is no message"),
        }
    }

    #[test]
    fn samples_are_read_back() {
        let labels = LabelSet::from_pairs([("__name__", "m:rate"), ("app", &"x".repeat(300))]);
        let value = f64::from_bits(STALE_BITS);
        let first = WriteSample { labels: &labels, value: -1.5, ts_ms: 1_795_230_000_123 };
        let body = encode([first, WriteSample { value, ts_ms: -1, ..first }]).unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let all = fields(&message);
        assert_eq!(all.len(), 2);
        let series = fields(inner(&all[0].1));
        let names: Vec<_> = series.iter().map(|(number, _)| *number).collect();
        assert_eq!(names, [1, 1, 2]);
        let label = fields(inner(&series[1].1));
        assert_eq!(label, [(1, Value::Bytes(b"app")), (2, Value::Bytes("x".repeat(300).as_bytes()))]);
        let point = fields(inner(&series[2].1));
        assert_eq!(point, [(1, Value::Fixed64((-1.5_f64).to_bits())), (2, Value::Number(1_795_230_000_123))]);
        let stale = fields(inner(&all[1].1));
        let point = fields(inner(&stale[2].1));
        assert_eq!(point, [(1, Value::Fixed64(STALE_BITS)), (2, Value::Number(u64::MAX))]);
        assert!(encode([]).unwrap().len() <= 1);
    }
}
