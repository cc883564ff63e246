//! `pattern`: what stands between literals becomes labels.
//!
//! A capture ends where the literal behind it is found; if it is not, the capture takes the rest of
//! the line and reading ends. A final literal need not end the line (Loki v3.7.6).

use crate::labels::Labels;
use crate::line_automaton::AutomatonBuilder;
use crate::stage_parse::{Hints, label_name};
use logyard_codec::{LineAutomaton, Reading};
use logyard_logql::{PatternPart, pattern_parts};
use memchr::memmem;

/// The stage.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Vec<PatternPart>,
    /// Finds the literal of the same place in `parts`; of a capture there is none.
    finders: Vec<Option<memmem::Finder<'static>>>,
    hints: Hints,
}

impl Pattern {
    pub(crate) fn compile(pattern: &str, hints: Hints) -> Result<Self, String> {
        let parts = pattern_parts(pattern)?;
        let finder = |part: &PatternPart| match part {
            PatternPart::Literal(literal) => Some(memmem::Finder::new(literal.as_bytes()).into_owned()),
            PatternPart::Capture(_) | PatternPart::Wildcard => None,
        };
        let finders = parts.iter().map(finder).collect();
        Ok(Self { parts, finders, hints })
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        if line.is_empty() || self.hints.nothing_needed() {
            return;
        }
        let (mut rest, mut parts, mut finders) = (line, &*self.parts, &*self.finders);
        if let [PatternPart::Literal(literal), others @ ..] = parts {
            let Some(after) = rest.strip_prefix(literal.as_bytes()) else { return };
            (rest, parts, finders) = (after, others, finders.get(1..).unwrap_or_default());
        }
        // From here captures and literals take turns.
        for (pair, finders) in parts.chunks(2).zip(finders.chunks(2)) {
            let Some(capture) = pair.first() else { return };
            let finder = finders.get(1).and_then(Option::as_ref);
            let found =
                finder.and_then(|finder| finder.find(rest).map(|at| (at, at + finder.needle().len())));
            let value = rest.get(..found.map_or(rest.len(), |(end, _)| end)).unwrap_or_default();
            if let PatternPart::Capture(name) = capture
                && self.hints.wants(name)
            {
                labels.extract(&label_name(name), &String::from_utf8_lossy(value));
            }
            let Some((_, next)) = found else { return };
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// Returns what the stage does with the bytes of a line, as an automaton; `None` for a pattern that is too long.
    ///
    /// Only captures that somebody looks at take anything, and behind the last of them it ends.
    pub(crate) fn automaton(&self) -> Option<LineAutomaton> {
        let mut builder = AutomatonBuilder::default();
        let mut parts = &*self.parts;
        let is_wanted =
            |part: &PatternPart| matches!(part, PatternPart::Capture(name) if self.hints.wants(name));
        if let [PatternPart::Literal(literal), others @ ..] = parts {
            if parts.iter().any(is_wanted) {
                builder.prefix(literal.as_bytes());
            }
            parts = others;
        }
        while parts.iter().any(is_wanted) {
            let reading = if parts.first().is_some_and(is_wanted) { Reading::Takes } else { Reading::Skips };
            match parts.get(1) {
                Some(PatternPart::Literal(literal)) => builder.search(literal.as_bytes(), reading),
                _ => builder.rest(reading),
            }
            parts = parts.get(2..).unwrap_or_default();
        }
        builder.finish()
    }
}
