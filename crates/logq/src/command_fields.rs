//! `logq detected-fields`: which fields the lines of a query have, and which values one has.

use std::time::Duration;

use clap::Args;
use logyard_client::FieldsQuery;

use crate::args_shared::Format;
use crate::run::Stop;
use crate::session::{Session, refused};
use crate::time_text::parse_duration_ns;
use crate::{output_csv, output_json};

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq detected-fields '{container=\"web\"}'          # which fields lines have, and how many values
  logq detected-fields '{container=\"web\"}' status   # which values one has";

/// Fields, or the values of one.
#[derive(Debug, Args)]
pub(crate) struct DetectedFields {
    /// LogQL log query
    query: String,

    /// Field whose values to print
    field: Option<String>,

    /// Most fields, or values of one
    #[arg(long, alias = "field-limit", default_value_t = 100, value_name = "COUNT")]
    limit: usize,

    /// Most lines to look at
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    line_limit: usize,

    /// Taken for the sake of Loki's client; it has no meaning for logs
    #[arg(long, value_name = "DURATION", hide = true)]
    step: Option<String>,
}

impl DetectedFields {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let step = self.step.as_deref().map(parse_duration_ns).transpose()?;
        let call = FieldsQuery {
            query: self.query.clone(),
            range: session.range()?,
            limit: self.limit,
            line_limit: self.line_limit,
            step: step.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or_default())),
        };
        let client = session.client()?;
        if let Some(field) = &self.field {
            let asked = client.detected_values(field, &call).await;
            return session.names(&asked.map_err(|error| refused(error, &self.query))?);
        }
        let asked = client.detected_fields(&call).await;
        let mut fields = asked.map_err(|error| refused(error, &self.query))?;
        fields.sort_by(|a, b| a.label.cmp(&b.label));
        let width = fields.iter().map(|field| field.label.chars().count()).max().unwrap_or_default();
        for field in &fields {
            match session.format {
                Format::Jsonl => output_json::write_line(session.out, field)?,
                Format::Raw => writeln!(session.out, "{}", field.label)?,
                Format::Csv => {
                    let parsers = field.parsers.as_deref().unwrap_or_default().join(" ");
                    let count = field.cardinality.to_string();
                    output_csv::write_row(session.out, &[&field.label, &field.kind, &count, &parsers])?;
                }
                Format::Default => {
                    let parsers = field.parsers.as_deref().unwrap_or_default().join(",");
                    let (label, kind, count) = (&field.label, &field.kind, field.cardinality);
                    let row = format!("{label:width$}  {kind:8}  {count:6}  {parsers}");
                    writeln!(session.out, "{}", row.trim_end())?;
                }
            }
        }
        Ok(!fields.is_empty())
    }
}
