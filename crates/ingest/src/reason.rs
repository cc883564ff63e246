//! Reasons of rejection: one closed list, shared by texts, answers and metrics.

/// Why entries were rejected. Names are those of Loki v3.7.6 where it has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Older than `limits.entry_age_max`, or before what can be stored.
    GreaterThanMaxSampleAge,
    /// Further ahead of the clock than `limits.entry_future_max`.
    TooFarInFuture,
    /// Further behind the stream's newest entry than `limits.out_of_order_window`.
    TooFarBehind,
    /// Line above `limits.line_bytes_max`.
    LineTooLong,
    /// More labels than `limits.labels_per_stream_max`.
    MaxLabelNamesPerSeries,
    /// Label name above `limits.label_name_bytes_max`.
    LabelNameTooLong,
    /// Label value above `limits.label_value_bytes_max`.
    LabelValueTooLong,
    /// A label name occurs twice.
    DuplicateLabelNames,
    /// A stream without labels while `limits.discover_service_name` is off.
    MissingLabels,
    /// Metadata above `limits.metadata_bytes_max`.
    StructuredMetadataTooLarge,
    /// More metadata than `limits.metadata_entries_max`.
    StructuredMetadataTooMany,
    /// A metadata name that is empty or has no letter or digit.
    InvalidStructuredMetadata,
    /// A document that is no JSON object, or asks for something else than to be added.
    InvalidDocument,
    /// Above `limits.rate_bytes_per_sec`.
    RateLimited,
    /// The store could not take the batch; the sender was told to try again.
    StoreUnavailable,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 15] = [
        Self::GreaterThanMaxSampleAge,
        Self::TooFarInFuture,
        Self::TooFarBehind,
        Self::LineTooLong,
        Self::MaxLabelNamesPerSeries,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::DuplicateLabelNames,
        Self::MissingLabels,
        Self::StructuredMetadataTooLarge,
        Self::StructuredMetadataTooMany,
        Self::InvalidStructuredMetadata,
        Self::InvalidDocument,
        Self::RateLimited,
        Self::StoreUnavailable,
    ];

    /// Returns the name used in answers and as a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Self::TooFarInFuture => "too_far_in_future",
            Self::TooFarBehind => "too_far_behind",
            Self::LineTooLong => "line_too_long",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::MissingLabels => "missing_labels",
            Self::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Self::StructuredMetadataTooMany => "structured_metadata_too_many",
            Self::InvalidStructuredMetadata => "invalid_structured_metadata",
            Self::InvalidDocument => "invalid_document",
            Self::RateLimited => "rate_limited",
            Self::StoreUnavailable => "store_unavailable",
        }
    }
}
