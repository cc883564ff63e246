//! A walk over the fields of a protobuf message, without a schema compiler.
//!
//! Works on borrowed bytes, since strings of real senders need not be UTF-8. Fields may come in any
//! order; the caller skips numbers it does not know. Groups, which proto3 lacks, are refused.

use crate::Error;

/// The value of one field, by wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A varint.
    Number(u64),
    /// A length-delimited value: text, bytes or an inner message.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64(u64),
}

/// Iterates over the fields of a message: number and value.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field, `None` at the end.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 {
            return Err(corrupt("field number 0"));
        }
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| corrupt("length beyond the end"))?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(corrupt("unknown wire type")),
        };
        Ok(Some((number, value)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| corrupt("length beyond the end"))?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| corrupt("length beyond the end"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Nearly all are keys, of one byte, and lengths, of one or two.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Error> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, Error> {
        let mut number = 0_u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds one bit.
            if index == 9 && byte > 1 {
                return Err(corrupt("varint above 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(corrupt("varint without an end"))
    }
}

fn corrupt(what: &str) -> Error {
    Error::invalid(format!("proto: corrupt message: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type() {
        let message = [0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next(), Ok(Some((1, Value::Number(300)))));
        assert_eq!(fields.next(), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(fields.next(), Ok(Some((3, Value::Fixed32(0x0403_0201)))));
        assert_eq!(fields.next(), Ok(Some((4, Value::Fixed64(0x0807_0605_0403_0201)))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn lies_are_refused() {
        for message in [
            &[0x80][..],
            &[0x12, 5, 1],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0x0b],
            &[0x00, 1],
            &[0x0d, 1],
        ] {
            assert!(Fields::new(message).next().is_err(), "{message:x?}");
        }
    }
}
