//! Entries in bulk: into a store (`push`, `import`) and out of one (`export`).
//!
//! A transfer can be killed at any instant and gone on with by the same command: nothing is lost, nothing comes twice.
//! Three rules make that so. What is to be carried gets the same times, labels and lines whenever it is read (`stamps`).
//! How far a transfer got is saved after the store acknowledged it, or the file is synced, and never before
//! (`progress`). What lies between is carried again and is the same, and of equal entries a store keeps one.
//!
//! ```text
//! files    bytes → lines ─┐
//! history  pages → walk  ─┴→ pusher → store        then progress
//! export   pages → walk  ──→ file                  then progress
//! ```

pub(crate) mod fnv;
pub(crate) mod history;
pub(crate) mod input;
pub(crate) mod line_cutter;
pub(crate) mod lines;
pub(crate) mod meter;
pub(crate) mod progress;
pub(crate) mod pusher;
pub(crate) mod stamps;
pub(crate) mod time_in_line;
pub(crate) mod walk;
