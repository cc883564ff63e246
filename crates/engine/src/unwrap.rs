//! `unwrap`: makes a number of a label, then filters.

use crate::error::Error;
use crate::labels::Labels;
use crate::range_count::seconds;
use crate::stage::stage_error;
use crate::stage_label_filter::LabelTest;
use logyard_logql::{Conversion, Unwrap, parse_go_duration, parse_go_float, parse_size};

const EXTRACTION_ERROR: &str = "SampleExtractionErr";

/// The conversion and the filters behind it, ready to run.
#[derive(Debug)]
pub(crate) struct Unwrapper {
    pub(crate) label: String,
    conversion: Option<Conversion>,
    filters: Vec<LabelTest>,
}

impl Unwrapper {
    pub(crate) fn compile(unwrap: &Unwrap) -> Result<Self, Error> {
        let filters = unwrap.filters.iter().map(LabelTest::compile).collect::<Result<_, _>>();
        let filters = filters.map_err(|reason| stage_error(&unwrap.to_string(), &reason))?;
        Ok(Self { label: unwrap.label.clone(), conversion: unwrap.conversion, filters })
    }

    /// Returns the number; nothing if the label is absent or empty, or a filter drops the entry.
    ///
    /// A value that is no number counts 0 and notes an error.
    pub(crate) fn value(&self, labels: &mut Labels<'_>) -> Option<f64> {
        let text = labels.get(&self.label).filter(|text| !text.is_empty())?;
        let value = match convert(text, self.conversion) {
            Ok(value) => value,
            Err(details) => {
                labels.replace_error(EXTRACTION_ERROR, &details);
                0.0
            }
        };
        self.filters.iter().all(|filter| filter.passes(labels)).then_some(value)
    }
}

/// Makes a number of a label's value.
fn convert(text: &str, conversion: Option<Conversion>) -> Result<f64, String> {
    match conversion {
        None => parse_go_float(text),
        Some(Conversion::Bytes) => parse_size(text).map(|bytes| bytes as f64),
        Some(Conversion::Duration | Conversion::DurationSeconds) => parse_go_duration(text).map(seconds),
    }
}
