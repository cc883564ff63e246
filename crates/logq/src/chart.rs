//! Numbers as people read them: units, bars, lines of small columns.

pub(crate) mod clock_text;
pub(crate) mod columns;
pub(crate) mod draw;
pub(crate) mod histogram;
pub(crate) mod histogram_text;
pub(crate) mod unit;
pub(crate) mod units;
