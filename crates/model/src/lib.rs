//! The vocabulary of Logyard: pure data that every other crate speaks in.
//!
//! Owns: labels and label sets, streams, tenants, time ranges, matchers, prefilters and the regular
//! expression dialect of LogQL. Deliberately absent: I/O, clocks, randomness, serialisation (edges
//! convert), async.
//!
//! Time is `i64` nanoseconds since the Unix epoch; names end in `_ns`. Log ranges are `[start, end)`.
//!
//! Change a type here and every crate feels it: keep this crate small.

mod go_regex;
mod label_set;
mod matcher;
mod prefilter;
mod stream;
mod tenant;
mod time;

pub use go_regex::{GoRegexError, compile_anchored, compile_anchored_dotall, compile_unanchored, translate};
pub use label_set::{Label, LabelSet, LabelSetError};
pub use matcher::{MatchOp, Matcher};
pub use prefilter::Prefilter;
pub use stream::{Stream, StreamId};
pub use tenant::{Tenant, TenantError, Tenants};
pub use time::{Direction, TimeRange};
