//! `regexp`: the named groups of the first match become labels.

use crate::labels::Labels;
use crate::stage_parse::{Hints, label_name};
use logyard_logql::capture_names;
use logyard_model::translate;
use regex::bytes::{Regex, RegexBuilder};

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
            .nest_limit(2010)
            .build()
            .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))?;
        let named =
            regex.capture_names().enumerate().filter_map(|(index, name)| Some((index, name?.to_owned())));
        let groups = named.filter(|(_, name)| hints.wants(name)).collect();
        Ok(Self { regex, groups })
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        let Some(captures) = self.regex.captures(line) else { return };
        for (index, name) in &self.groups {
            let value = captures.get(*index).map_or(&[][..], |found| found.as_bytes());
            labels.extract(&label_name(name), &String::from_utf8_lossy(value));
        }
    }
}
