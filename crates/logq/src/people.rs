//! What people type first: names instead of queries, and tables of what is going on.

pub(crate) mod counts;
pub(crate) mod name;
pub(crate) mod overview;
pub(crate) mod rows;
pub(crate) mod shape;
pub(crate) mod table;
