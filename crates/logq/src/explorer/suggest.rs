//! What the query line proposes to write next.

use logyard_logql::{Completion, Wanted, complete, functions, quoted, stages};

use super::edit::Editor;

/// Most proposals of one list.
const PROPOSALS_MAX: usize = 200;

/// A list of proposals below the query line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suggestions {
    /// What would be written, the best first.
    pub(crate) proposals: Vec<String>,
    /// The one that would be taken.
    pub(crate) chosen: usize,
    /// The label whose values are wanted but not known yet.
    pub(crate) missing: Option<String>,
    replace: std::ops::Range<usize>,
    /// What stands behind a proposal that was taken.
    behind: &'static str,
}

impl Suggestions {
    /// Makes the list for the place of the cursor. `values` knows the values of labels.
    pub(crate) fn new<'a>(
        editor: &Editor,
        names: &'a [String],
        values: impl Fn(&str) -> Option<&'a [String]>,
    ) -> Self {
        let Completion { wanted, replace } = complete(editor.text(), editor.cursor());
        let begun = editor.text().get(replace.clone()).unwrap_or_default().to_owned();
        let mut list = Self { replace, ..Self::default() };
        let own = |all: &[&'static str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let all = match wanted {
            Wanted::Nothing => Vec::new(),
            Wanted::LabelName => names.to_vec(),
            Wanted::Stage => {
                own(&stages().collect::<Vec<_>>()).into_iter().chain(names.iter().cloned()).collect()
            }
            Wanted::Function if begun.is_empty() => vec!["{".to_owned()],
            Wanted::Function => own(&functions().collect::<Vec<_>>()),
            Wanted::LabelValue { name, quote } => match values(&name) {
                Some(values) => {
                    list.behind = match quote {
                        Some('`') => "`",
                        Some(_) => "\"",
                        None => "",
                    };
                    let written = |value: &String| match quote {
                        None => quoted(value),
                        Some('`') => value.clone(),
                        Some(_) => escaped(value),
                    };
                    values.iter().map(written).collect()
                }
                None => {
                    list.missing = Some(name);
                    Vec::new()
                }
            },
        };
        list.take(all, &begun);
        list
    }

    /// Keeps what holds the letters already written, first what begins with them.
    fn take(&mut self, all: Vec<String>, begun: &str) {
        let wanted = begun.to_lowercase();
        let plain = |text: &String| text.trim_start_matches('"').to_lowercase();
        let (first, rest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|text| plain(text).contains(&wanted))
            .partition(|text| plain(text).starts_with(&wanted));
        self.proposals = first.into_iter().chain(rest).take(PROPOSALS_MAX).collect();
        // What is already written in full needs no proposal.
        if self.proposals.first().is_some_and(|first| first == begun) && self.behind.is_empty() {
            self.proposals.clear();
        }
    }

    /// Chooses another.
    pub(crate) fn step(&mut self, by: isize) {
        let count = isize::try_from(self.proposals.len()).unwrap_or(isize::MAX);
        if count > 0 {
            let chosen = isize::try_from(self.chosen).unwrap_or_default();
            self.chosen = usize::try_from((chosen + by).rem_euclid(count)).unwrap_or_default();
        }
    }

    /// Writes the chosen one into the query; false if there is none.
    pub(crate) fn accept(&self, editor: &mut Editor) -> bool {
        let Some(proposal) = self.proposals.get(self.chosen) else { return false };
        let rest = editor.text().get(self.replace.end..).unwrap_or_default();
        let behind = if rest.starts_with(self.behind) { "" } else { self.behind };
        editor.replace(self.replace.clone(), &format!("{proposal}{behind}"));
        true
    }
}

/// Writes a text as it stands between double quotes.
fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(&quoted).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest(text: &str) -> (Suggestions, Editor) {
        let editor = Editor::new(text);
        let names = ["container".to_owned(), "host".to_owned()];
        let values = ["web-1".to_owned(), "db".to_owned(), "a\"b".to_owned()];
        let list = Suggestions::new(&editor, &names, |name| (name == "container").then_some(&values[..]));
        (list, editor)
    }

    fn accepted(text: &str) -> String {
        let (list, mut editor) = suggest(text);
        assert!(list.accept(&mut editor), "{text}: {list:?}");
        editor.text().to_owned()
    }

    #[test]
    fn proposals_complete_what_is_begun() {
        assert_eq!(accepted("{con"), "{container");
        assert_eq!(accepted("{container="), "{container=\"web-1\"");
        assert_eq!(accepted("{container=\"d"), "{container=\"db\"");
        assert_eq!(accepted("{container=\"a"), "{container=\"a\\\"b\"");
        assert_eq!(accepted("{a=\"b\"} | js"), "{a=\"b\"} | json");
        assert_eq!(accepted("count_o"), "count_over_time");
        assert_eq!(accepted(""), "{");
        assert_eq!(accepted("sum by (ho"), "sum by (host");
    }

    #[test]
    fn letters_inside_are_found_last() {
        let (list, _) = suggest("{container=\"b");
        assert_eq!(list.proposals, ["web-1", "db", "a\\\"b"]);
        let (list, _) = suggest("{a=\"b\"} | \nst");
        assert_eq!(list.proposals, ["distinct", "host"]);
        let (list, _) = suggest("{a=\"b\"} | s");
        assert!(list.proposals.len() > 1 && list.proposals.iter().all(|proposal| proposal.contains('s')));
        let (mut list, _) = suggest("{");
        assert_eq!(list.proposals, ["container", "host"]);
        list.step(-1);
        assert_eq!(list.chosen, 1);
        list.step(1);
        assert_eq!(list.chosen, 0);
    }

    #[test]
    fn unknown_values_are_to_be_asked_for() {
        let (list, mut editor) = suggest("{host=\"");
        assert_eq!(list.missing.as_deref(), Some("host"));
        assert!(!list.accept(&mut editor));
        assert_eq!(suggest("{a=\"b\"} |= \"c").0.proposals, Vec::<String>::new());
    }
}
