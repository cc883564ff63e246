//! What tables for people tell, for programs: JSON lines, CSV with plain numbers, or one value alone.

use serde_json::Value;

use crate::args_shared::Format;
use crate::run::Stop;
use crate::session::Session;
use crate::{output_csv, output_json};

/// Prints rows, objects with the same keys, in the form that the flags ask for; `raw` is the key of the value that `-o raw`
/// prints. Returns false, and prints nothing, if the form is the one for people.
pub(crate) fn write_rows(rows: &[Value], raw: &str, session: &mut Session<'_>) -> Result<bool, Stop> {
    let objects = || rows.iter().filter_map(Value::as_object);
    match session.format {
        Format::Default => return Ok(false),
        Format::Jsonl => rows.iter().try_for_each(|row| output_json::write_line(session.out, row))?,
        Format::Raw => {
            for row in objects() {
                writeln!(session.out, "{}", text(row.get(raw).unwrap_or(&Value::Null)))?;
            }
        }
        Format::Csv => {
            if let Some(first) = objects().next() {
                let names: Vec<&str> = first.keys().map(String::as_str).collect();
                output_csv::write_row(session.out, &names)?;
            }
            for row in objects() {
                let cells: Vec<String> = row.values().map(text).collect();
                output_csv::write_row(session.out, &cells.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(true)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        // A count is a whole number, whatever it was computed as.
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        other => other.to_string(),
    }
}
