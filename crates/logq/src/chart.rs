//! Numbers as people read them.

pub(crate) mod units;
