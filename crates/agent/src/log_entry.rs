//! What decoding a log response yields.

/// One of the two outputs of a container. A container with a terminal has `Stdout` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    /// Both, in the order of [`Output::index`].
    pub(crate) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Place of this output in arrays that hold something per output.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }

    /// Value of the label `stream`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One whole line of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry<'a> {
    pub(crate) output: Output,
    pub(crate) ts_ns: i64,
    /// Without its end of line, cut at the limit.
    pub(crate) line: &'a [u8],
    /// Bytes cut off beyond the limit.
    pub(crate) cut_bytes: usize,
}
