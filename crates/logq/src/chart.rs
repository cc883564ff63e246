//! Numbers as people read them.

pub(crate) mod columns;
pub(crate) mod units;
