//! Values of templates: what Go would hold, and how it counts as true.

use jiff::Zoned;
use logyard_model::LabelSet;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Go's type of an integer: it shows in error texts only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntType {
    /// `int`
    Int,
    /// `int64`
    Int64,
    /// `int32`
    Rune,
    /// `uint8`
    Byte,
}

/// A value. Texts need not be UTF-8.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value at all, or Go's nil.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64, IntType),
    /// A number.
    Float(f64),
    /// Bytes, usually UTF-8.
    Text(Vec<u8>),
    /// A moment and the zone to show it in.
    Time(Rc<Zoned>),
    /// Name of a month or day of the week, and its number.
    Named(&'static str, &'static str, i64),
    /// Values in a row.
    List(Rc<Vec<Value>>),
    /// From JSON.
    Map(Rc<BTreeMap<String, Value>>),
    /// The labels of the entry.
    Labels(Rc<LabelSet>),
}

impl Value {
    /// Makes an `int`.
    pub fn int(value: i64) -> Self {
        Self::Int(value, IntType::Int)
    }

    /// Makes an `int64`.
    pub fn int64(value: i64) -> Self {
        Self::Int(value, IntType::Int64)
    }

    /// Makes a text.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }

    /// Returns the name of the type, as Go prints it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_, IntType::Int) => "int",
            Self::Int(_, IntType::Int64) => "int64",
            Self::Int(_, IntType::Rune) => "int32",
            Self::Int(_, IntType::Byte) => "uint8",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::Named(name, _, _) => name,
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Labels(_) => "map[string]string",
        }
    }

    /// Returns whether the value counts as true: it is not its type's zero.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Time(_) => true,
            Self::Named(_, _, number) => *number != 0,
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Labels(map) => !map.is_empty(),
        }
    }
}
