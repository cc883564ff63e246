//! Writes the fields of a protobuf message, without a schema compiler.
//!
//! An inner message is written to a buffer of its own first, since its length stands before it; callers reuse those.
//! Fields with the value of their default are left out by the caller, as proto3 wants it.

/// Writes a field of the wire type varint.
pub(crate) fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    varint(out, u64::from(field) << 3);
    varint(out, value);
}

/// Writes a field of eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a text, bytes, or a finished inner message.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Fields, Value};

    #[test]
    fn fields_are_read_back() {
        let mut out = Vec::new();
        let text = vec![b'x'; 300];
        number(&mut out, 1, u64::MAX);
        number(&mut out, 2, 0);
        fixed64(&mut out, 3, 7);
        bytes(&mut out, 15, &text);
        let mut fields = Fields::new(&out);
        assert_eq!(fields.next(), Ok(Some((1, Value::Number(u64::MAX)))));
        assert_eq!(fields.next(), Ok(Some((2, Value::Number(0)))));
        assert_eq!(fields.next(), Ok(Some((3, Value::Fixed64(7)))));
        assert_eq!(fields.next(), Ok(Some((15, Value::Bytes(&text)))));
        assert_eq!(fields.next(), Ok(None));
    }
}
