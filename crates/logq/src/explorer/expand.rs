//! One entry in full: its fields, of which one is chosen, and its line over as many rows as it takes.

use super::buffer::Row;
use super::fields::{Field, fields, pretty_json};
use super::refine::Origin;
use super::text::wrap;

/// Columns beside the text: the mark of the chosen field and the frame.
const MARGIN: usize = 4;

/// One row of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// What the rows behind it are.
    Heading(&'static str),
    /// A field that can be filtered by.
    Field(Field),
    /// A part of the line, ready to be drawn.
    Text(String),
}

/// An entry in full.
#[derive(Clone, Debug)]
pub(crate) struct Expanded {
    /// The entry.
    pub(crate) row: Row,
    items: Vec<Item>,
    /// The chosen item; headings are passed over.
    chosen: usize,
    /// The first item drawn.
    top: usize,
    columns: usize,
}

impl Expanded {
    /// Lays an entry out for a view of so many columns; reads the whole line once.
    pub(crate) fn new(row: Row, columns: usize) -> Self {
        let mut expanded = Self { items: Vec::new(), row, chosen: 0, top: 0, columns };
        expanded.lay_out();
        expanded.chosen = expanded.items.iter().position(is_chosen_alone).unwrap_or_default();
        expanded
    }

    /// Lays the entry out anew if the view has another width now.
    pub(crate) fn resize(&mut self, columns: usize, rows: usize) {
        if self.columns != columns {
            self.columns = columns;
            self.lay_out();
        }
        self.show(rows);
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(crate) fn chosen(&self) -> usize {
        self.chosen
    }

    pub(crate) fn top(&self) -> usize {
        self.top
    }

    /// Returns the chosen field, if it is one.
    pub(crate) fn field(&self) -> Option<&Field> {
        match self.items.get(self.chosen) {
            Some(Item::Field(field)) => Some(field),
            _ => None,
        }
    }

    /// Chooses the item so many further down or, below zero, up.
    pub(crate) fn step(&mut self, by: isize, rows: usize) {
        let last = self.items.len().saturating_sub(1);
        let mut chosen = self.chosen.saturating_add_signed(by).min(last);
        let is_heading = |at: usize| matches!(self.items.get(at), Some(Item::Heading(_)));
        while is_heading(chosen) {
            match by > 0 && chosen < last {
                true => chosen += 1,
                false if chosen > 1 => chosen -= 1,
                false => {
                    // Nothing stands above the first heading: show it, and stay.
                    self.top = 0;
                    return;
                }
            }
        }
        self.chosen = chosen;
        self.show(rows);
        if chosen <= 1 {
            self.top = 0;
        }
    }

    fn show(&mut self, rows: usize) {
        self.chosen = self.chosen.min(self.items.len().saturating_sub(1));
        self.top = self.top.min(self.chosen).max((self.chosen + 1).saturating_sub(rows.max(1)));
    }

    fn lay_out(&mut self) {
        let row = &self.row;
        let mut items = Vec::new();
        let mut section = |heading: &'static str, fields: Vec<Field>| {
            if !fields.is_empty() {
                items.push(Item::Heading(heading));
                items.extend(fields.into_iter().map(Item::Field));
            }
        };
        let labels = |labels: &logyard_wire::loki_query::Labels, origin| {
            let field = |(name, value): (&String, &String)| Field {
                origin,
                name: name.clone(),
                value: value.clone(),
            };
            labels.iter().map(field).collect::<Vec<_>>()
        };
        section("labels", labels(&row.stream, Origin::Stream));
        section("structured metadata", labels(&row.metadata, Origin::Pipeline));
        section("made by the query", labels(&row.parsed, Origin::Pipeline));
        let found = fields(&row.line);
        let new =
            found.into_iter().filter(|field| row.parsed.get(&field.name) != Some(&field.value)).collect();
        section("fields of the line", new);
        items.push(Item::Heading("line"));
        let pretty = pretty_json(&row.line);
        let text = pretty.as_deref().unwrap_or(&row.line);
        items.extend(wrap(text, self.columns.saturating_sub(MARGIN)).into_iter().map(Item::Text));
        self.items = items;
    }
}

fn is_chosen_alone(item: &Item) -> bool {
    !matches!(item, Item::Heading(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::explorer::buffer::Buffer;

    fn expanded(line: &str) -> Expanded {
        let mut buffer = Buffer::new(1 << 24);
        let mut entry = Entry::sample(1, line);
        entry.metadata.insert("trace_id".to_owned(), "7".to_owned());
        buffer.add(entry);
        Expanded::new(buffer.get(0).unwrap().clone(), 44)
    }

    #[test]
    fn fields_stand_before_the_line() {
        let expanded = expanded(r#"{"a":"x"}"#);
        let shown: Vec<String> = expanded
            .items()
            .iter()
            .map(|item| match item {
                Item::Heading(text) => format!("# {text}"),
                Item::Field(field) => format!("{}={}", field.name, field.value),
                Item::Text(text) => text.clone(),
            })
            .collect();
        let want = [
            "# labels",
            "container=web",
            "# structured metadata",
            "trace_id=7",
            "# fields of the line",
            "a=x",
            "# line",
            "{",
            "  \"a\": \"x\"",
            "}",
        ];
        assert_eq!(shown, want);
        assert_eq!(expanded.field().unwrap().name, "container");
    }

    #[test]
    fn the_choice_passes_over_headings_and_stays_inside() {
        let mut expanded = expanded("x");
        expanded.step(1, 3);
        assert_eq!(expanded.field().unwrap().name, "trace_id");
        expanded.step(-1, 3);
        expanded.step(-1, 3);
        assert_eq!((expanded.field().unwrap().name.as_str(), expanded.top()), ("container", 0));
        expanded.step(1000, 3);
        assert_eq!(expanded.items().get(expanded.chosen()), Some(&Item::Text("x".to_owned())));
        assert_eq!(expanded.top() + 2, expanded.chosen());
        expanded.step(-1000, 3);
        assert_eq!(expanded.top(), 0);
    }

    #[test]
    fn a_line_of_a_mebibyte_is_there_to_its_end() {
        let mut expanded = expanded(&format!("{}END", "x".repeat(1 << 20)));
        expanded.step(isize::MAX, 20);
        let Some(Item::Text(text)) = expanded.items().last() else { panic!("no text") };
        assert!(text.ends_with("END"));
        assert!(expanded.top() + 20 > expanded.chosen());
        let before = expanded.items().len();
        expanded.resize(204, 20);
        assert!(expanded.items().len() < before);
        assert!(expanded.chosen() < expanded.items().len());
    }
}
