//! `regexp`: the named groups of the first match become labels.

use crate::labels::Labels;
use crate::line_automaton::AutomatonBuilder;
use crate::stage_parse::{Hints, label_name};
use crate::stage_regexp_automaton::automaton;
use logyard_codec::LineAutomaton;
use logyard_logql::capture_names;
use logyard_model::translate;
use regex::bytes::{Regex, RegexBuilder};

/// Deepest nesting of an expression.
const NEST_LIMIT: u32 = 2010;

/// The stage.
#[derive(Debug)]
pub(crate) struct Regexp {
    regex: Regex,
    /// Number and name of each group that is looked at.
    groups: Vec<(usize, String)>,
}

impl Regexp {
    pub(crate) fn compile(pattern: &str, hints: &Hints) -> Result<Self, String> {
        capture_names(pattern)?;
        let translated = translate(pattern).map_err(|error| error.to_string())?;
        let regex = RegexBuilder::new(&translated)
            .nest_limit(NEST_LIMIT)
            .build()
            .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))?;
        let named =
            regex.capture_names().enumerate().filter_map(|(index, name)| Some((index, name?.to_owned())));
        let groups = named.filter(|(_, name)| hints.wants(name)).collect();
        Ok(Self { regex, groups })
    }

    /// Returns what the stage does with the bytes of a line, as an automaton; `None` if that cannot be told.
    ///
    /// Cost: up to some hundred states are worked out, which takes some hundred microseconds.
    pub(crate) fn automaton(&self) -> Option<LineAutomaton> {
        match self.groups.is_empty() {
            true => AutomatonBuilder::default().finish(),
            false => automaton(self.regex.as_str(), NEST_LIMIT),
        }
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        let Some(captures) = self.regex.captures(line) else { return };
        for (index, name) in &self.groups {
            let value = captures.get(*index).map_or(&[][..], |found| found.as_bytes());
            labels.extract(&label_name(name), &String::from_utf8_lossy(value));
        }
    }
}
