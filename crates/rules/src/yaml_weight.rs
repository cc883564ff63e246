//! What a YAML text comes to once its aliases stand for what they name, and how deep it is.
//!
//! The YAML reader looks at every list and map that is open at each further token, so that a text of nothing but opening
//! brackets takes hours: their number is bounded before it sees any. Which of them stand in quotes is not looked at: rules
//! hold pairs of them there, as a rule.
//!
//! An alias is two bytes and may name any amount, so a text of a megabyte can ask for gigabytes of memory; the YAML
//! reader bounds how often aliases are followed, not what they bring. So a text of somebody else is walked through first,
//! and what stands in it is added up without being kept.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Most that a text may weigh: sixteen times what it may be long.
const WEIGHT_MAX: usize = 16 << 20;

/// Most brackets that are open at a time.
const OPEN_MAX: usize = 1000;

/// What each value weighs besides its text.
const VALUE_WEIGHT: usize = 16;

/// Refuses a text that is too much for its length. Errors: that, or why it is no YAML.
pub(crate) fn weigh(text: &str) -> Result<(), serde_yaml_ng::Error> {
    let mut open: usize = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => continue,
        }
        if open > OPEN_MAX {
            return Err(Error::custom(format_args!("more than {OPEN_MAX} brackets are open at a time")));
        }
    }
    // Without an alias it is what it is.
    if !text.contains('*') {
        return Ok(());
    }
    Weigh(&Cell::new(WEIGHT_MAX)).deserialize(serde_yaml_ng::Deserializer::from_str(text))
}

/// Takes the weight of one value, and all below, from what is left.
#[derive(Clone, Copy)]
struct Weigh<'c>(&'c Cell<usize>);

impl Weigh<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes.saturating_add(VALUE_WEIGHT));
        let left = left.ok_or_else(|| E::custom("aliases repeat too much; name less by aliases"))?;
        self.0.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Weigh<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Weigh<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.take(0)?;
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.take(0)?;
        while map.next_key_seed(self)?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    /// What has a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), inner) = tagged.variant_seed(self)?;
        inner.newtype_variant_seed(self)
    }
}
