//! A column of repeated values: a dictionary and a code per row, or one code for all rows.
//!
//! Levels and structured metadata are such columns. Code 0 is always "none": the empty text, the empty
//! label set. A column whose rows all agree stores one code, so streams without metadata pay nothing.
//!
//! Bytes: count of values without "none", the values in order of their codes from 1, then a tag: 0 and
//! one code for all rows, or 1 and a code per row; all numbers are varints.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::{Cursor, put_label_set, put_len, put_text, put_varint};
use crate::error::Error;
use logyard_model::LabelSet;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// Levels of entries; code 0 is the empty text, "no level".
pub type LevelColumn = Column<str>;

/// Structured metadata of entries; code 0 is the empty set.
pub type MetadataColumn = Column<LabelSet>;

/// What a column can hold: levels (`str`) and metadata (`LabelSet`).
pub trait ColumnValue: Eq + Hash + Debug + 'static {
    /// Returns the dictionary that holds "none" alone.
    fn none_dictionary() -> &'static [Arc<Self>; 1];
    /// Returns whether the value is "none".
    fn is_none(&self) -> bool;
    /// Copies the value into an `Arc`.
    fn share(&self) -> Arc<Self>;
    /// Returns about how much memory the value takes, in its `Arc`.
    fn heap_bytes(&self) -> usize;
    /// Appends the bytes of the value.
    #[doc(hidden)]
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the bytes of a value.
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "no caller outside: the trait has all the values it will have")]
    fn get(cursor: &mut Cursor<'_>) -> Result<Arc<Self>, Error>;
}

impl ColumnValue for str {
    fn none_dictionary() -> &'static [Arc<Self>; 1] {
        static NONE: LazyLock<[Arc<str>; 1]> = LazyLock::new(|| [Arc::from("")]);
        &NONE
    }

    fn is_none(&self) -> bool {
        self.is_empty()
    }

    fn share(&self) -> Arc<Self> {
        self.into()
    }

    fn heap_bytes(&self) -> usize {
        ARC_BYTES + self.len()
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_text(out, self);
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    fn get(cursor: &mut Cursor<'_>) -> Result<Arc<Self>, Error> {
        Ok(cursor.text()?.into())
    }
}

impl ColumnValue for LabelSet {
    fn none_dictionary() -> &'static [Arc<Self>; 1] {
        static NONE: LazyLock<[Arc<LabelSet>; 1]> = LazyLock::new(|| [Arc::default()]);
        &NONE
    }

    fn is_none(&self) -> bool {
        self.is_empty()
    }

    fn share(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    fn heap_bytes(&self) -> usize {
        ARC_BYTES + size_of::<Self>() + self.len() * LABEL_BYTES + self.text_bytes()
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_label_set(out, self);
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    fn get(cursor: &mut Cursor<'_>) -> Result<Arc<Self>, Error> {
        Ok(cursor.label_set()?.into())
    }
}

/// What an allocation in an `Arc` takes beside the value.
const ARC_BYTES: usize = 32;

/// What a label takes beside its text: two pointers with lengths, two allocations.
const LABEL_BYTES: usize = 64;

/// From this many values on, a map finds the code of a value; below, a look at each is faster.
const INDEX_FROM: usize = 8;

/// A column of repeated values; code 0 is "none". Cheap to scan by code.
#[derive(Debug)]
pub struct Column<T: ColumnValue + ?Sized> {
    rows: usize,
    codes: Codes,
    /// By code. Empty while "none" is the only value.
    values: Vec<Arc<T>>,
    /// What the values take, if the column was decoded: then they are its own.
    value_bytes: usize,
    /// Code by value, built when a value is added beyond `INDEX_FROM`; may lag behind `values`.
    index: HashMap<Arc<T>, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Codes {
    Constant(u32),
    Each(Vec<u32>),
}

impl<T: ColumnValue + ?Sized> Default for Column<T> {
    fn default() -> Self {
        let (codes, values, index) = (Codes::Constant(0), Vec::new(), HashMap::new());
        Self { rows: 0, codes, values, value_bytes: 0, index }
    }
}

impl<T: ColumnValue + ?Sized> Clone for Column<T> {
    /// The index stays behind: it comes back when the copy is added to.
    fn clone(&self) -> Self {
        Self {
            rows: self.rows,
            codes: self.codes.clone(),
            values: self.values.clone(),
            value_bytes: self.value_bytes,
            index: HashMap::new(),
        }
    }
}

impl<T: ColumnValue + ?Sized> Column<T> {
    /// Returns a column whose rows are all "none".
    pub(crate) fn all_none(rows: usize) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the value of a row; "none" beyond the last row.
    pub fn value(&self, row: usize) -> &T {
        self.shared_value(row)
    }

    /// Returns the value of a row in its `Arc`, to keep without a copy.
    pub fn shared_value(&self, row: usize) -> &Arc<T> {
        let [none] = T::none_dictionary();
        self.values.get(self.code(row) as usize).unwrap_or(none)
    }

    /// Returns the code of a row: its place in the dictionary. 0 beyond the last row.
    pub fn code(&self, row: usize) -> u32 {
        match &self.codes {
            Codes::Constant(code) => *code,
            Codes::Each(codes) => codes.get(row).copied().unwrap_or(0),
        }
    }

    /// Returns the code that all rows share, if they do and it is known without a scan.
    pub fn constant(&self) -> Option<u32> {
        match &self.codes {
            Codes::Constant(code) => Some(*code),
            Codes::Each(_) => None,
        }
    }

    /// Returns a code per row, unless all rows share one ([`Column::constant`]).
    pub fn codes(&self) -> Option<&[u32]> {
        match &self.codes {
            Codes::Constant(_) => None,
            Codes::Each(codes) => Some(codes),
        }
    }

    /// Returns the values by code; "none" first. A value may have no row.
    pub fn dictionary(&self) -> &[Arc<T>] {
        if self.values.is_empty() { T::none_dictionary() } else { &self.values }
    }

    /// Returns whether every row is "none".
    pub fn is_all_none(&self) -> bool {
        self.constant() == Some(0)
    }

    /// Returns the memory of the codes and of the dictionary; of its values only if they were decoded.
    pub(crate) fn heap_bytes(&self) -> usize {
        let pointers = self.values.len() * size_of::<Arc<T>>();
        self.codes().map_or(0, |codes| codes.len() * 4) + pointers + self.value_bytes
    }

    /// Adds a row. Cost: a comparison if the value is that of the row before, a look-up otherwise.
    pub(crate) fn push(&mut self, value: &T) {
        let code = self.find(value).unwrap_or_else(|| self.add(value.share()));
        self.push_code(code);
    }

    /// Adds a row with a value that is shared with another column.
    pub(crate) fn push_shared(&mut self, value: &Arc<T>) {
        let code = self.code_of_shared(value);
        self.push_code(code);
    }

    /// Adds rows of another column.
    pub(crate) fn extend(&mut self, other: &Self, rows: Range<usize>) {
        if let Some(code) = other.constant() {
            let [none] = T::none_dictionary();
            let own = self.code_of_shared(other.values.get(code as usize).unwrap_or(none));
            self.push_code_times(own, rows.len());
            return;
        }
        let mut own_codes = vec![u32::MAX; other.dictionary().len()];
        for row in rows {
            let code = other.code(row) as usize;
            let Some(own) = own_codes.get_mut(code) else { continue };
            if *own == u32::MAX {
                *own = self.code_of_shared(other.shared_value(row));
            }
            self.push_code(*own);
        }
    }

    /// Keeps the rows that `order` names, in its order.
    pub(crate) fn gather(&mut self, order: &[u32]) {
        if let Codes::Each(codes) = &self.codes {
            let gathered = order.iter().map(|&row| codes.get(row as usize).copied().unwrap_or(0)).collect();
            self.codes = Codes::Each(gathered);
        }
        self.rows = order.len();
    }

    /// Appends the bytes of the column.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_len(out, self.dictionary().len() - 1);
        for value in self.dictionary().iter().skip(1) {
            value.put(out);
        }
        match &self.codes {
            Codes::Constant(code) => {
                out.push(0);
                put_varint(out, u64::from(*code));
            }
            Codes::Each(codes) => {
                out.push(1);
                for code in codes {
                    put_varint(out, u64::from(*code));
                }
            }
        }
    }

    /// Reads a column of `rows` rows, a count which the caller has bounded.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, rows: usize) -> Result<Self, Error> {
        let count = cursor.count()?;
        let (mut values, mut value_bytes) = (Vec::new(), 0);
        if count > 0 {
            let [none] = T::none_dictionary();
            values.push(Arc::clone(none));
        }
        for _ in 0..count {
            let value = T::get(cursor)?;
            // Values take memory; "none" has its code already and would take it for a single byte.
            if value.is_none() {
                return Err(cursor.corrupt("a dictionary holds an empty value"));
            }
            value_bytes += value.heap_bytes();
            values.push(value);
        }
        let code = |cursor: &mut Cursor<'_>| {
            let code = cursor.varint_u32()?;
            if code as usize > count {
                return Err(cursor.corrupt(format!("code {code} is not in a dictionary of {count}")));
            }
            Ok(code)
        };
        let codes = match cursor.u8()? {
            0 => Codes::Constant(code(cursor)?),
            1 => {
                if rows > cursor.left() {
                    return Err(cursor.corrupt(format!("{rows} codes do not fit in {} bytes", cursor.left())));
                }
                let mut codes = Vec::with_capacity(rows);
                for _ in 0..rows {
                    codes.push(code(cursor)?);
                }
                Codes::Each(codes)
            }
            tag => return Err(cursor.corrupt(format!("want column tag 0 or 1, got {tag}"))),
        };
        Ok(Self { rows, codes, values, value_bytes, index: HashMap::new() })
    }

    /// Gives equal values one code, so that comparing codes compares values.
    pub(crate) fn make_canonical(self) -> Self {
        if self.values.len() <= 1 {
            return self;
        }
        let mut own = Self::default();
        let own_codes: Vec<u32> = self.values.iter().map(|value| own.code_of_shared(value)).collect();
        if own.values.len() == self.values.len() {
            return self;
        }
        let own_code = |code: u32| own_codes.get(code as usize).copied().unwrap_or(0);
        own.codes = match self.codes {
            Codes::Constant(code) => Codes::Constant(own_code(code)),
            Codes::Each(codes) => Codes::Each(codes.into_iter().map(own_code).collect()),
        };
        own.rows = self.rows;
        own
    }

    fn code_of_shared(&mut self, value: &Arc<T>) -> u32 {
        self.find(value).unwrap_or_else(|| self.add(Arc::clone(value)))
    }

    fn find(&mut self, value: &T) -> Option<u32> {
        if value.is_none() {
            return Some(0);
        }
        let last = self.rows.checked_sub(1).map(|row| self.code(row));
        if let Some(last) = last
            && self.values.get(last as usize).is_some_and(|known| **known == *value)
        {
            return Some(last);
        }
        if self.values.len() <= INDEX_FROM {
            let place = self.values.iter().position(|known| **known == *value)?;
            return u32::try_from(place).ok();
        }
        let index = &mut self.index;
        for (code, known) in self.values.iter().enumerate().skip(index.len()) {
            index.insert(Arc::clone(known), u32::try_from(code).unwrap_or(u32::MAX));
        }
        index.get(value).copied()
    }

    fn add(&mut self, value: Arc<T>) -> u32 {
        if self.values.is_empty() {
            let [none] = T::none_dictionary();
            self.values.push(Arc::clone(none));
        }
        let code = u32::try_from(self.values.len()).expect("a column has fewer rows than 2^32");
        self.values.push(value);
        code
    }

    fn push_code(&mut self, code: u32) {
        self.push_code_times(code, 1);
    }

    fn push_code_times(&mut self, code: u32, times: usize) {
        if times == 0 {
            return;
        }
        match &mut self.codes {
            Codes::Constant(constant) if self.rows == 0 => *constant = code,
            Codes::Constant(constant) if *constant == code => {}
            Codes::Constant(constant) => {
                let mut codes = vec![*constant; self.rows];
                codes.resize(self.rows + times, code);
                self.codes = Codes::Each(codes);
            }
            Codes::Each(codes) => codes.resize(codes.len() + times, code),
        }
        self.rows += times;
    }
}
