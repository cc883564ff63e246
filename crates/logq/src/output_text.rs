//! Entries for people: time, labels, line.
//!
//! Labels that all entries of the first page share are named once, on the error output, and left out
//! of the lines; an entry that differs in one of them prints all of its labels. Lines come from
//! strangers: on a terminal, control characters other than colours are shown, not obeyed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args_labels::LabelFlags;
use crate::entry::Entry;
use crate::marks::Marks;
use crate::pretty_json::pretty_json;
use crate::time_form::TimeForm;

const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const RESET: &str = "\u{1b}[0m";
/// Colours swapped, and back: to be seen on any colour, and the colour of the level goes on behind it.
const MARK: &str = "\u{1b}[7m";
const UNMARK: &str = "\u{1b}[27m";

/// How text is printed.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Whether to colour times, labels and levels.
    pub(crate) colour: bool,
    /// Whether a terminal reads the output.
    pub(crate) terminal: bool,
    /// Zone of printed times.
    pub(crate) zone: TimeZone,
    /// Form of printed times.
    pub(crate) time: TimeForm,
    /// Which labels are printed.
    pub(crate) labels: LabelFlags,
    /// Whether lines of JSON are printed over several lines.
    pub(crate) pretty: bool,
    /// What is marked in lines, where there are colours.
    pub(crate) marks: Marks,
}

impl Look {
    /// Writes a time as the flags ask for.
    pub(crate) fn time_text(&self, ts_ns: i64) -> String {
        self.time.text(ts_ns, &self.zone)
    }

    /// Writes a line as it is to be seen: on a terminal its control characters are shown, and with colours what the query
    /// looked for is marked.
    pub(crate) fn line(&self, line: &str) -> String {
        let part = |part: &str| if self.terminal { shown(part) } else { part.to_owned() };
        let places = if self.colour { self.marks.find(line) } else { Vec::new() };
        let (mut text, mut end) = (String::with_capacity(line.len()), 0);
        for place in places {
            text.push_str(&part(line.get(end..place.start).unwrap_or_default()));
            text.push_str(MARK);
            text.push_str(&part(line.get(place.clone()).unwrap_or_default()));
            text.push_str(UNMARK);
            end = place.end;
        }
        text.push_str(&part(line.get(end..).unwrap_or_default()));
        text
    }

    /// Without colours, in UTC.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        let (time, labels) = (TimeForm::Default, LabelFlags::default());
        Self {
            colour: false,
            terminal: false,
            zone: TimeZone::UTC,
            time,
            labels,
            pretty: false,
            marks: Marks::default(),
        }
    }
}

/// Labels, for printing: borrowed from the entry.
type LabelsView<'a> = BTreeMap<&'a str, &'a str>;

/// Returns the labels that every entry has with the same value.
pub(crate) fn common_labels(entries: &[Entry]) -> BTreeMap<String, String> {
    let mut entries = entries.iter();
    let Some(first) = entries.next() else { return BTreeMap::new() };
    let mut common = first.all_labels();
    common.retain(|name, value| (*name, *value) != ("detected_level", "unknown"));
    for entry in entries {
        let labels = entry.all_labels();
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Writes one entry; `common` labels are left out if the entry has them all.
pub(crate) fn write_entry(
    out: &mut dyn Write,
    entry: &Entry,
    common: &BTreeMap<String, String>,
    look: &Look,
) -> io::Result<()> {
    let mut labels = entry.all_labels();
    let level = labels.get("detected_level").copied().unwrap_or_default().to_owned();
    if level == "unknown" {
        // The store's word for "found none", which nobody needs to read on every line.
        labels.remove("detected_level");
    }
    if common.iter().all(|(name, value)| labels.get(&**name) == Some(&&**value)) {
        labels.retain(|name, _| !common.contains_key(*name));
    }
    look.labels.choose(&mut labels);
    let mut text = String::with_capacity(entry.line.len() + 64);
    push_styled(&mut text, &look.time_text(entry.ts_ns), if look.colour { DIM } else { "" });
    text.push(' ');
    let width = look.labels.labels_length;
    if !labels.is_empty() || width > 0 {
        let shown = if labels.is_empty() { String::new() } else { labels_text(&labels) };
        let style = if look.colour { stream_colour(entry) } else { "" };
        push_styled(&mut text, &format!("{shown:width$}"), style);
        text.push(' ');
    }
    let pretty = if look.pretty { pretty_json(&entry.line) } else { None };
    let line = pretty.unwrap_or_else(|| entry.line.clone());
    let line = look.line(&line);
    let colour = if look.colour { level_colour(&level) } else { "" };
    push_styled(&mut text, &line, colour);
    if look.colour && colour.is_empty() && line.contains('\u{1b}') {
        text.push_str(RESET);
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Writes `{a="1", b="2"}`.
pub(crate) fn labels_text(labels: &LabelsView<'_>) -> String {
    let set = logyard_model::LabelSet::from_pairs(labels.iter().map(|(name, value)| (*name, *value)));
    set.to_string()
}

/// Writes a time as RFC 3339 with milliseconds in the zone.
pub(crate) fn time_text(ts_ns: i64, zone: &TimeZone) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or_default();
    let zoned = timestamp.to_zoned(zone.clone());
    match zone == &TimeZone::UTC {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string(),
    }
}

fn push_styled(text: &mut String, part: &str, style: &str) {
    text.push_str(style);
    text.push_str(part);
    if !style.is_empty() {
        text.push_str(RESET);
    }
}

/// Returns the colour of a stream: the same on every line and in every run.
fn stream_colour(entry: &Entry) -> &'static str {
    // Red and yellow tell levels.
    const COLOURS: [&str; 6] =
        ["\u{1b}[32m", "\u{1b}[34m", "\u{1b}[35m", "\u{1b}[36m", "\u{1b}[94m", "\u{1b}[96m"];
    let mut hash: u32 = 2_166_136_261;
    for byte in entry.stream.iter().flat_map(|(name, value)| name.bytes().chain(value.bytes())) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    let index = usize::try_from(hash).unwrap_or_default() % COLOURS.len();
    COLOURS.get(index).copied().unwrap_or_default()
}

fn level_colour(level: &str) -> &'static str {
    match level {
        "critical" | "fatal" | "error" => RED,
        "warn" => YELLOW,
        _ => "",
    }
}

/// Makes a line safe for a terminal: keeps tabs, line breaks and colour sequences (`ESC [ … m`), shows
/// every other control character as `\x1b`.
pub(crate) fn shown(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let parameters: String =
                rest.clone().skip(1).take_while(|c| c.is_ascii_digit() || *c == ';').collect();
            let after = rest.clone().nth(parameters.len() + 1);
            if rest.clone().next() == Some('[') && after == Some('m') {
                text.push_str("\u{1b}[");
                text.push_str(&parameters);
                text.push('m');
                rest.nth(parameters.len() + 1);
                continue;
            }
        }
        match c {
            '\t' | '\n' => text.push(c),
            c if c.is_control() => write!(text, "\\x{:02x}", u32::from(c)).unwrap_or_default(),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn look() -> Look {
        Look::plain()
    }

    #[test]
    fn labels_are_those_the_flags_choose() {
        let mut entry = Entry::sample(0, "x");
        entry.metadata.insert("b".to_owned(), "2".to_owned());
        let text = |flags: LabelFlags| {
            let mut common = common_labels(std::slice::from_ref(&entry));
            flags.choose_common(&mut common);
            let text = printed(&entry, &common, &Look { labels: flags, ..look() });
            text.trim_end().strip_prefix("1970-01-01T00:00:00.000Z ").unwrap().to_owned()
        };
        let named = |name: &str| vec![name.to_owned()];
        assert_eq!(text(LabelFlags::default()), "x");
        assert_eq!(text(LabelFlags { include: named("b"), ..LabelFlags::default() }), "{b=\"2\"} x");
        let all = LabelFlags { all_labels: true, ..LabelFlags::default() };
        assert_eq!(text(all.clone()), "{b=\"2\", container=\"web\"} x");
        assert_eq!(text(LabelFlags { exclude: named("b"), ..all.clone() }), "{container=\"web\"} x");
        assert_eq!(text(LabelFlags { no_labels: true, ..all }), "x");
        let wide = LabelFlags { include: named("b"), labels_length: 10, ..LabelFlags::default() };
        assert_eq!(text(wide), "{b=\"2\"}    x");
    }

    #[test]
    fn a_stream_has_one_colour() {
        let (one, mut other) = (Entry::sample(0, "x"), Entry::sample(5, "y"));
        assert_eq!(stream_colour(&one), stream_colour(&other));
        let colours: std::collections::BTreeSet<&str> = (0..50)
            .map(|n| {
                other.stream = Arc::new(BTreeMap::from([("container".to_owned(), n.to_string())]));
                stream_colour(&other)
            })
            .collect();
        assert_eq!(colours.len(), 6);
    }

    fn printed(entry: &Entry, common: &BTreeMap<String, String>, look: &Look) -> String {
        let mut out = Vec::new();
        write_entry(&mut out, entry, common, look).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shared_labels_are_left_out() {
        let mut entries = vec![Entry::sample(1_500_000_000, "a"), Entry::sample(2_000_000_000, "b")];
        entries[1].metadata.insert("detected_level".to_owned(), "error".to_owned());
        let common = common_labels(&entries);
        assert_eq!(common, BTreeMap::from([("container".to_owned(), "web".to_owned())]));
        assert_eq!(printed(&entries[0], &common, &look()), "1970-01-01T00:00:01.500Z a\n");
        assert_eq!(
            printed(&entries[1], &common, &look()),
            "1970-01-01T00:00:02.000Z {detected_level=\"error\"} b\n"
        );
    }

    #[test]
    fn an_entry_that_differs_prints_all_its_labels() {
        let mut entry = Entry::sample(0, "x");
        entry.stream = Arc::new(BTreeMap::from([("container".to_owned(), "db".to_owned())]));
        let common = BTreeMap::from([("container".to_owned(), "web".to_owned())]);
        assert_eq!(printed(&entry, &common, &look()), "1970-01-01T00:00:00.000Z {container=\"db\"} x\n");
    }

    #[test]
    fn an_unknown_level_is_not_printed() {
        let mut entry = Entry::sample(0, "x");
        entry.metadata.insert("detected_level".to_owned(), "unknown".to_owned());
        let common = common_labels(std::slice::from_ref(&entry));
        assert_eq!(common.len(), 1);
        assert_eq!(printed(&entry, &common, &look()), "1970-01-01T00:00:00.000Z x\n");
    }

    #[test]
    fn lines_of_json_are_pretty_on_request() {
        let entry = Entry::sample(0, "{\"a\":1}");
        let print = |pretty| printed(&entry, &BTreeMap::new(), &Look { pretty, ..Look::plain() });
        assert!(print(false).ends_with(" {\"a\":1}\n"), "{}", print(false));
        assert!(print(true).ends_with(" {\n  \"a\": 1\n}\n"), "{}", print(true));
    }

    #[test]
    fn local_times_carry_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_text(0, &zone), "1970-01-01T02:00:00.000+02:00");
    }

    #[test]
    fn terminals_obey_colours_only() {
        assert_eq!(shown("a\tb\u{1b}[1;31mred\u{1b}[0m"), "a\tb\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(shown("x\u{1b}]0;title\u{7}y\u{1b}[2Jz\r"), "x\\x1b]0;title\\x07y\\x1b[2Jz\\x0d");
        assert_eq!(shown("\u{1b}"), "\\x1b");
    }

    #[test]
    fn what_the_query_looked_for_is_marked_in_colours_alone() {
        let mut entry = Entry::sample(0, "an ERROR\u{7} here: error");
        entry.metadata.insert("detected_level".to_owned(), "error".to_owned());
        let marks = Marks::of(r#"{a="b"} |~ "(?i)error""#);
        let print = |colour, terminal| {
            let look = Look { colour, terminal, marks: marks.clone(), ..Look::plain() };
            let text = printed(&entry, &common_labels(std::slice::from_ref(&entry)), &look);
            text.trim_end().split_once("Z").unwrap().1.to_owned()
        };
        assert_eq!(print(false, true), " an ERROR\\x07 here: error");
        assert_eq!(
            print(true, true),
            "\u{1b}[0m \u{1b}[31man \u{1b}[7mERROR\u{1b}[27m\\x07 here: \u{1b}[7merror\u{1b}[27m\u{1b}[0m"
        );
    }

    #[test]
    fn colours_follow_the_level_and_end() {
        let mut entry = Entry::sample(0, "boom");
        entry.metadata.insert("detected_level".to_owned(), "error".to_owned());
        let look = Look { colour: true, ..look() };
        assert!(printed(&entry, &BTreeMap::new(), &look).ends_with("\u{1b}[31mboom\u{1b}[0m\n"));
    }
}
