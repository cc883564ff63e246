//! The plan of a query for people: a tree, the outermost step first.

use std::io::{self, Write};

use logyard_wire::explain::PlanStep;

use crate::output_text::shown;

/// Deepest nesting that is printed; queries are refused long before.
const DEPTH_MAX: usize = 100;

/// Writes a plan; `terminal` tells whether control characters are to be shown instead of obeyed.
pub(crate) fn write_plan(out: &mut dyn Write, plan: &PlanStep, terminal: bool) -> io::Result<()> {
    let mut lines = Vec::new();
    collect(plan, 0, &mut lines);
    for line in lines {
        writeln!(out, "{}", if terminal { shown(&line) } else { line })?;
    }
    Ok(())
}

fn collect(step: &PlanStep, depth: usize, lines: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    let indent = "   ".repeat(depth);
    match depth.checked_sub(1) {
        None => lines.push(step.step.clone()),
        Some(above) => lines.push(format!("{}<- {}", "   ".repeat(above), step.step)),
    }
    let numbers: Vec<String> = step.counts.iter().map(|count| grouped(count.value)).collect();
    let names = step.facts.iter().map(|fact| &fact.name).chain(step.counts.iter().map(|count| &count.name));
    let name_width = names.map(|name| name.chars().count()).max().unwrap_or_default();
    let number_width = numbers.iter().map(String::len).max().unwrap_or_default();
    for fact in &step.facts {
        lines.push(format!("{indent}   {:name_width$}  {}", fact.name, fact.value));
    }
    for (count, number) in step.counts.iter().zip(&numbers) {
        lines.push(format!("{indent}   {:name_width$}  {number:>number_width$}", count.name));
    }
    step.inputs.iter().for_each(|input| collect(input, depth + 1, lines));
}

/// Writes a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_wire::explain::{Count, Fact};

    #[test]
    fn a_tree() {
        let fact = |name: &str, value: &str| Fact { name: name.to_owned(), value: value.to_owned() };
        let count = |name: &str, value| Count { name: name.to_owned(), value };
        let scan = PlanStep {
            step: "scan {a=\"b\"}".to_owned(),
            facts: vec![fact("then", "| json"), fact("columns", "li\u{1b}nes")],
            counts: vec![count("streams", 7), count("bytes decoded", 1_234_567)],
            inputs: Vec::new(),
        };
        let rate = PlanStep { step: "rate [1m]".to_owned(), inputs: vec![scan], ..PlanStep::default() };
        let plan = PlanStep { step: "sum".to_owned(), inputs: vec![rate], ..PlanStep::default() };
        let mut out = Vec::new();
        write_plan(&mut out, &plan, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}'));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            ["sum", "<- rate [1m]", "   <- scan {a=\"b\"}", "         then           | json"]
        );
        assert_eq!(lines[5..], ["         streams                7", "         bytes decoded  1,234,567"]);
    }
}
