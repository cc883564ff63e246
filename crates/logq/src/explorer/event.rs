//! What happens to the explorer, and what it asks to be done.

use crossterm::event::KeyEvent;
use logyard_model::TimeRange;

use super::labels::Counted;
use crate::chart::histogram::Steps;
use crate::entry::Entry;
use crate::series::Sample;

/// A kind of call; a new one of a kind ends the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// The query itself, or older entries of it.
    Ask,
    /// The histogram.
    Volume,
    /// New entries.
    Follow,
    /// Names of labels.
    Names,
    /// Values of a label, for the query line.
    Values,
    /// Values of a label with counts, for the browser.
    Counts,
    /// Entries around one.
    Context,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// A text was pasted.
    Paste(String),
    /// The screen has so many columns and rows now.
    Resize(u16, u16),
    /// Time went by while somebody waits.
    Tick,
    /// The store does not answer; the call goes on trying.
    Away(Slot, String),
    /// The store answers again.
    Back(Slot),
    /// The store refused a call, which is over.
    Refused(Slot, u64, String),
    /// A remark of the store about an answer.
    Remark(String),
    /// Entries that answer the query; the flag says whether they are older ones asked for later.
    Entries(u64, Vec<Entry>, bool),
    /// Samples that answer the query.
    Samples(u64, Vec<Sample>),
    /// Samples of the histogram.
    Volume(u64, Vec<Sample>),
    /// Entries that have just come.
    Arrived(u64, Vec<Entry>),
    /// Names of labels.
    Names(Vec<String>),
    /// Values of a label.
    Values(String, Vec<String>),
    /// Values of a label with counts.
    Counts(String, Vec<Counted>),
    /// Entries before and from an instant on, of one stream.
    Context(u64, Vec<Entry>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask for the newest entries of a range.
    AskEntries {
        /// Number of the question.
        question: u64,
        /// A log query.
        query: String,
        /// Where.
        range: TimeRange,
        /// At most so many.
        limit: usize,
        /// Whether these are older ones of a question already answered.
        is_older: bool,
    },
    /// Ask for the samples of a range.
    AskSamples {
        /// Number of the question.
        question: u64,
        /// A metric query.
        query: String,
        /// Where.
        range: TimeRange,
    },
    /// Ask for the histogram.
    AskVolume {
        /// Number of the question.
        question: u64,
        /// A log query.
        query: String,
        /// How the range is cut.
        steps: Steps,
    },
    /// Tell of new entries.
    Follow {
        /// Number of the question.
        question: u64,
        /// A log query.
        query: String,
        /// The newest entries already there, oldest first.
        seen: Vec<Entry>,
    },
    /// Ask for names of labels.
    AskNames(TimeRange),
    /// Ask for the values of a label.
    AskValues(String, TimeRange),
    /// Ask for the values of a label and how many entries have them.
    AskCounts {
        /// The label.
        name: String,
        /// The streams among which to count.
        selector: String,
        /// Where.
        range: TimeRange,
    },
    /// Ask for the entries of a stream around an instant.
    AskContext {
        /// Number of the question.
        question: u64,
        /// The stream.
        selector: String,
        /// The instant.
        ts_ns: i64,
    },
    /// End the call of a kind.
    Stop(Slot),
    /// Put a text on the clipboard of the terminal.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Leave.
    Quit,
}
