//! The explorer without terminal and store: keys and answers in, screens and effects out.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use logyard_wire::loki_query::Labels;
use ratatui_core::buffer::Buffer as Cells;
use ratatui_core::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use super::event::{Effect, Event, Slot};
use super::span::Span;
use super::state::{Begin, Focus, Overlay, State};
use super::view;
use crate::chart::histogram::Steps;
use crate::entry::Entry;
use crate::series::Sample;

const S: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * S;
const NOW: i64 = 1_795_229_946 * S;

fn begin(query: &str) -> Begin {
    Begin {
        query: query.to_owned(),
        span: Span::Last(HOUR),
        follows: true,
        zone: TimeZone::UTC,
        buffer_bytes_max: 1 << 20,
        size: (80, 24),
        store: "http://store".to_owned(),
    }
}

/// An explorer whose query has been answered by some entries.
fn answered(query: &str, lines: &[&str]) -> State {
    let mut state = State::new(begin(query));
    state.start(NOW);
    let count = i64::try_from(lines.len()).unwrap();
    let entries = lines.iter().zip(-count..).map(|(line, ago)| Entry::sample(NOW + ago * S, line)).collect();
    let question = state.question;
    state.update(Event::Entries(question, entries, false), NOW);
    state.update(Event::Names(vec!["container".to_owned(), "host".to_owned()]), NOW);
    state
}

fn press(state: &mut State, code: KeyCode) -> Vec<Effect> {
    state.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), NOW)
}

fn control(state: &mut State, c: char) -> Vec<Effect> {
    state.update(Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)), NOW)
}

fn write(state: &mut State, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| press(state, KeyCode::Char(c))).collect()
}

/// Draws the screen and returns its text; checks that no cell steers a terminal.
fn screen(state: &State) -> String {
    let (columns, rows) = state.size;
    let mut cells = Cells::empty(Rect::new(0, 0, columns, rows));
    view::draw(state, &mut cells);
    let mut text = String::new();
    for y in 0..rows {
        let (mut line, mut x) = (String::new(), 0);
        while x < columns {
            let symbol = cells[(x, y)].symbol();
            assert!(!symbol.chars().any(char::is_control), "{symbol:?}");
            line.push_str(symbol);
            x += u16::try_from(symbol.width().max(1)).unwrap();
        }
        assert!(x == columns, "a wide letter leaves the screen: {line}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn asked(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::AskEntries { query, .. } | Effect::AskSamples { query, .. } => Some(query.clone()),
        _ => None,
    })
}

#[test]
fn without_a_query_all_entries_are_asked_for() {
    let mut state = State::new(begin(""));
    assert!(matches!(state.start(NOW)[..], [Effect::AskNames(_)]));
    let names = ["a", "host", "container"].map(str::to_owned).to_vec();
    let effects = state.update(Event::Names(names), NOW);
    assert_eq!(asked(&effects).as_deref(), Some("{container=~\".+\"}"));
    assert!(screen(&state).contains("asking http://store"));
}

#[test]
fn a_query_is_answered_drawn_and_followed() {
    let mut state = answered("{container=\"web\"}", &["one", "two"]);
    let text = screen(&state);
    assert!(text.starts_with("› {container=\"web\"}\n  last 1h\n"), "{text}");
    assert!(text.contains("02:59:04.000 ▌web            one\n"), "{text}");
    assert!(text.contains("live  2 of 2"), "{text}");
    let question = state.question;
    state.update(Event::Arrived(question, vec![Entry::sample(NOW, "three")]), NOW);
    assert!(screen(&state).contains("live  3 of 3"));
    press(&mut state, KeyCode::Up);
    state.update(Event::Arrived(question, vec![Entry::sample(NOW + 1, "four")]), NOW);
    let text = screen(&state);
    assert!(text.contains("live, below  1 new below, End shows them  2 of 4"), "{text}");
    press(&mut state, KeyCode::End);
    assert!(screen(&state).contains("live  4 of 4"));
}

#[test]
fn following_begins_behind_what_is_there() {
    let mut state = State::new(begin("{container=\"web\"}"));
    state.start(NOW);
    let entries: Vec<Entry> = (0..100).map(|ago| Entry::sample(NOW - (100 - ago) * S, "x")).collect();
    let effects = state.update(Event::Entries(1, entries, false), NOW);
    let Some(Effect::Follow { seen, .. }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(seen.len(), 7);
    assert_eq!(press(&mut state, KeyCode::Char('f')), [Effect::Stop(Slot::Follow)]);
    assert!(matches!(press(&mut state, KeyCode::Char('f'))[..], [Effect::Follow { .. }]));
}

#[test]
fn answers_to_an_earlier_question_are_dropped() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    let before = state.question;
    press(&mut state, KeyCode::Char('r'));
    state.update(Event::Entries(before, vec![Entry::sample(NOW, "stale")], false), NOW);
    state.update(Event::Arrived(before, vec![Entry::sample(NOW, "stale")]), NOW);
    state.update(Event::Refused(Slot::Ask, before, "stale".to_owned()), NOW);
    let text = screen(&state);
    assert!(
        !text.contains("stale") && text.contains("one"),
        "what was found stays until there is an answer: {text}"
    );
    assert!(state.waiting.contains(&Slot::Ask));
    press(&mut state, KeyCode::Esc);
    assert!(!screen(&state).contains("one"), "nothing comes in its place");
}

#[test]
fn the_histogram_counts_again_while_entries_come() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    let question = state.question;
    state.update(Event::Volume(question, Vec::new()), NOW);
    let mut arrive = |ago: i64| {
        let entries = vec![Entry::sample(NOW - ago, "x")];
        let effects = state.update(Event::Arrived(question, entries), NOW + ago * S);
        effects.iter().any(|effect| matches!(effect, Effect::AskVolume { .. }))
    };
    assert_eq!([1, 9, 11, 12].map(&mut arrive), [false, false, true, false]);
}

#[test]
fn a_fault_is_shown_where_it_is_written() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, " |= err");
    let text = screen(&state);
    assert!(text.contains("\n                       ^ "), "{text}");
    assert!(asked(&press(&mut state, KeyCode::Enter)).is_none());
    assert_eq!(state.focus, Focus::Query);
    assert!(screen(&state).contains("one"), "what was found stays");
    for _ in 0.."err".len() {
        press(&mut state, KeyCode::Backspace);
    }
    write(&mut state, "\"err\"");
    assert_eq!(asked(&press(&mut state, KeyCode::Enter)).as_deref(), Some("{container=\"web\"} |= \"err\""));
}

#[test]
fn names_values_and_words_are_proposed() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    press(&mut state, KeyCode::Char('/'));
    control(&mut state, 'u');
    write(&mut state, "{con");
    assert!(screen(&state).contains("container"), "{}", screen(&state));
    press(&mut state, KeyCode::Tab);
    let effects = write(&mut state, "=\"");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::AskValues(name, _) if name == "container")));
    state.update(Event::Values("container".to_owned(), vec!["db".to_owned(), "web".to_owned()]), NOW);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Tab);
    write(&mut state, "} | logf");
    press(&mut state, KeyCode::Tab);
    assert_eq!(asked(&press(&mut state, KeyCode::Enter)).as_deref(), Some("{container=\"web\"} | logfmt"));
}

#[test]
fn chosen_labels_build_the_selector() {
    let mut state = answered("{container=\"web\"} |= \"x\"", &["one"]);
    let effects = press(&mut state, KeyCode::Char('l'));
    assert!(matches!(effects[..], [Effect::AskNames(_)]));
    let effects = press(&mut state, KeyCode::Enter);
    let Some(Effect::AskCounts { name, selector, .. }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((name.as_str(), selector.as_str()), ("container", "{container=~\".+\"}"));
    state.update(
        Event::Counts(
            "container".to_owned(),
            vec![("db".to_owned(), Some(7)), ("web".to_owned(), Some(12345))],
        ),
        NOW,
    );
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char(' '));
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char(' '));
    let text = screen(&state);
    assert!(text.contains("▾ container") && text.contains("✓ web") && text.contains("12.3k│"), "{text}");
    let effects = press(&mut state, KeyCode::Enter);
    assert_eq!(asked(&effects).as_deref(), Some("{container=~\"db|web\"} |= \"x\""));
}

#[test]
fn the_histogram_zooms_in_time_and_back() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    let steps = Steps::cut(state.range(), 80);
    let labels = Arc::new(Labels::from([("detected_level".to_owned(), "error".to_owned())]));
    let samples = [(1, 3.0), (steps.count, 1500.0)].map(|(index, value)| Sample {
        ts_ns: steps.begin_ns(index),
        labels: Arc::clone(&labels),
        value,
    });
    let question = state.question;
    state.update(Event::Volume(question, samples.to_vec()), NOW);
    let text = screen(&state);
    assert!(text.contains("1.5k entries  error 1.5k") && text.contains('█'), "{text}");
    press(&mut state, KeyCode::Char('h'));
    press(&mut state, KeyCode::Home);
    press(&mut state, KeyCode::Char(' '));
    press(&mut state, KeyCode::Right);
    press(&mut state, KeyCode::Enter);
    let range = state.range();
    assert_eq!((range.start_ns, range.end_ns), (steps.start_ns, steps.start_ns + 2 * steps.step_ns));
    assert!(!state.follows, "the past is not followed");
    press(&mut state, KeyCode::Char('u'));
    assert_eq!(state.span, Span::Last(HOUR));
}

#[test]
fn a_span_is_typed_or_chosen() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    press(&mut state, KeyCode::Char('t'));
    write(&mut state, "90x");
    press(&mut state, KeyCode::Enter);
    assert!(screen(&state).contains("cannot read time"), "{}", screen(&state));
    press(&mut state, KeyCode::Backspace);
    write(&mut state, "m");
    assert!(asked(&press(&mut state, KeyCode::Enter)).is_some());
    assert_eq!(state.span, Span::Last(90 * 60 * S));
    press(&mut state, KeyCode::Char('t'));
    press(&mut state, KeyCode::Up);
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.span, Span::Last(HOUR / 2));
}

#[test]
fn an_entry_in_full_filters_by_its_fields() {
    let mut state = answered("{container=\"web\"}", &[r#"{"user":"ann","n":1}"#]);
    press(&mut state, KeyCode::Enter);
    let text = screen(&state);
    assert!(text.contains("user = ann") && text.contains("  \"user\": \"ann\","), "{text}");
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    let effects = press(&mut state, KeyCode::Char('-'));
    let want = ["{container=\"web\"} | json | user!=\"ann\"", "{container=\"web\"} | json | n!=\"1\""];
    assert!(want.contains(&asked(&effects).unwrap().as_str()), "{effects:?}");
    assert!(state.overlays.is_empty());
}

#[test]
fn the_context_is_that_of_the_stream() {
    let mut state = answered("{host=~\".+\"} |= \"two\"", &["two"]);
    let effects = press(&mut state, KeyCode::Char('x'));
    let Some(Effect::AskContext { selector, ts_ns, .. }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((selector.as_str(), *ts_ns), ("{container=\"web\"}", NOW - S));
    let around: Vec<Entry> =
        [(-2, "one"), (-1, "two"), (0, "three")].map(|(at, line)| Entry::sample(NOW + at * S, line)).to_vec();
    let question = state.question;
    state.update(Event::Context(question, around), NOW);
    let text = screen(&state);
    assert!(text.contains("▶02:59:05.000 ▌two") && text.contains("three"), "{text}");
    press(&mut state, KeyCode::Enter);
    assert!(matches!(state.overlays[..], [Overlay::Context(_), Overlay::Expanded(_)]));
    press(&mut state, KeyCode::Esc);
    assert_eq!(press(&mut state, KeyCode::Esc), [Effect::Stop(Slot::Context)]);
    assert!(screen(&state).contains("1 of 1"));
}

#[test]
fn the_query_is_copied_as_a_command() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    let effects = press(&mut state, KeyCode::Char('c'));
    let command = "logq query '{container=\"web\"}' --since 1h";
    assert_eq!(effects, [Effect::Copy(command.to_owned())]);
    assert!(screen(&state).contains(command));
    press(&mut state, KeyCode::Esc);
    assert_eq!(press(&mut state, KeyCode::Char('y')), [Effect::Copy("one".to_owned())]);
}

#[test]
fn a_store_that_is_away_costs_nothing_that_is_there() {
    let mut state = answered("{container=\"web\"}", &["one", "two"]);
    state.update(Event::Away(Slot::Follow, "cannot connect".to_owned()), NOW);
    let text = screen(&state);
    assert!(text.contains("away: cannot connect; trying again") && text.contains("one"), "{text}");
    assert!(state.is_waiting());
    state.update(Event::Back(Slot::Follow), NOW);
    let question = state.question;
    state.update(Event::Arrived(question, vec![Entry::sample(NOW, "three")]), NOW);
    assert!(screen(&state).contains("live  3 of 3"));
}

#[test]
fn what_takes_long_is_ended_by_escape() {
    let mut state = State::new(begin("{container=\"web\"}"));
    state.start(NOW);
    assert!(state.is_waiting());
    state.take_dirty();
    state.update(Event::Tick, NOW);
    assert!(state.take_dirty(), "time is seen to go by");
    let effects = press(&mut state, KeyCode::Esc);
    assert!(effects.contains(&Effect::Stop(Slot::Ask)) && effects.contains(&Effect::Stop(Slot::Volume)));
    assert!(!state.is_waiting());
    state.take_dirty();
    state.update(Event::Tick, NOW);
    assert!(!state.take_dirty(), "nothing is drawn while nothing changes");
}

#[test]
fn older_entries_are_fetched_above_the_oldest() {
    let mut state = State::new(begin("{container=\"web\"}"));
    state.start(NOW);
    let entries = |count: i64, first: i64| {
        (0..count).map(move |n| Entry::sample(first + n * S, &n.to_string())).collect()
    };
    state.update(Event::Entries(1, entries(1000, NOW - 1000 * S), false), NOW);
    press(&mut state, KeyCode::Home);
    let effects = press(&mut state, KeyCode::Up);
    let Some(Effect::AskEntries { range, is_older: true, limit, .. }) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((range.end_ns, *limit), (NOW - 1000 * S + 1, 1001));
    let mut older: Vec<Entry> = entries(20, NOW - 1020 * S);
    older.push(Entry::sample(NOW - 1000 * S, "0"));
    older.push(Entry::sample(NOW - 1000 * S, "other"));
    state.update(Event::Entries(1, older, true), NOW);
    assert_eq!(state.list.buffer().len(), 1021);
    assert_eq!(&*state.list.buffer().get(state.list.at()).unwrap().line, "0");
    press(&mut state, KeyCode::Home);
    assert_eq!(press(&mut state, KeyCode::Up), [], "there are no more");
}

#[test]
fn lines_of_strangers_are_only_text() {
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}日本語 👩\u{200d}👧 e\u{301}\t|\u{1b}[31mred\u{1b}[0m\r\u{8}\0";
    let mut state = answered("{container=\"web\"}", &[evil, &"日".repeat(200), "last"]);
    let text = screen(&state);
    assert!(text.contains("␛[2J␛]0;x␇\u{fffd}31m\u{fffd}日本語 👩👧 e\u{301}    |red"), "{text}");
    for _ in 0..5 {
        press(&mut state, KeyCode::Right);
        screen(&state);
    }
    press(&mut state, KeyCode::Home);
    press(&mut state, KeyCode::Enter);
    assert!(screen(&state).contains("日本語"));
}

#[test]
fn a_line_of_a_mebibyte_is_cut_and_read_to_its_end() {
    let long = format!("begin{}end", "x".repeat(1 << 20));
    let mut begin = begin("{container=\"web\"}");
    begin.buffer_bytes_max = 8 << 20;
    let mut state = State::new(begin);
    state.start(NOW);
    state.update(Event::Entries(1, vec![Entry::sample(NOW, &long)], false), NOW);
    assert!(screen(&state).contains("beginxxx"));
    press(&mut state, KeyCode::Enter);
    assert!(screen(&state).contains("1048584 bytes"));
    press(&mut state, KeyCode::End);
    assert!(screen(&state).contains("xend\n"), "{}", screen(&state));
}

#[test]
fn metric_queries_yield_series() {
    let mut state = State::new(begin("sum by (a) (rate({a=\"b\"}[5m]))"));
    let effects = state.start(NOW);
    assert!(matches!(effects.last(), Some(Effect::AskSamples { .. })));
    let labels = Arc::new(Labels::from([("a".to_owned(), "x\u{1b}[2J".to_owned())]));
    let samples = (0..3).map(|n| Sample { ts_ns: n, labels: Arc::clone(&labels), value: 1.5 }).collect();
    state.update(Event::Samples(1, samples), NOW);
    let text = screen(&state);
    assert!(text.contains("1.5 ███") && text.contains("a=x␛[2J"), "{text}");
}

#[test]
fn help_names_the_keys() {
    let mut state = answered("{container=\"web\"}", &["one"]);
    press(&mut state, KeyCode::Char('?'));
    assert!(screen(&state).contains("copy as a logq command"));
    press(&mut state, KeyCode::PageDown);
    press(&mut state, KeyCode::PageDown);
    press(&mut state, KeyCode::PageDown);
    assert!(screen(&state).contains("take what is typed"));
    press(&mut state, KeyCode::Esc);
    assert!(screen(&state).contains("one"));
    assert_eq!(press(&mut state, KeyCode::Char('q')), [Effect::Quit]);
    assert_eq!(control(&mut state, 'c'), [Effect::Quit]);
}

#[test]
fn no_sequence_of_keys_and_sizes_breaks_anything() {
    let keys = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
    ];
    let letters: Vec<char> = "/ilhtf+-<>ruc?xyjkgG {}=\"|é日q".chars().collect();
    let mut state = answered(
        "{container=\"web\"}",
        &["one", "{\"a\":{\"b\":1}}", "k=v l=\"w x\"", "日本語\u{1b}[2J", ""],
    );
    let mut seed = 1_u64;
    let mut next = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    for round in 0..6000 {
        let question = state.question;
        match next(12) {
            0 => drop(state.update(
                Event::Resize(u16::try_from(next(120)).unwrap(), u16::try_from(next(50)).unwrap()),
                NOW,
            )),
            1 => {
                let entries = (0..3).map(|n| Entry::sample(NOW + n, &format!("line {round}"))).collect();
                let event = match next(5) {
                    0 => Event::Entries(question, entries, true),
                    1 => Event::Entries(question, entries, false),
                    2 => Event::Context(question, entries),
                    3 => Event::Volume(question, Vec::new()),
                    _ => Event::Arrived(question, entries),
                };
                state.update(event, NOW);
            }
            2 => drop(
                state.update(Event::Counts("container".to_owned(), vec![("web".to_owned(), Some(3))]), NOW),
            ),
            3..6 => drop(press(&mut state, keys[next(keys.len())])),
            _ => drop(press(&mut state, KeyCode::Char(letters[next(letters.len())]))),
        }
        if next(4) == 0 {
            screen(&state);
        }
    }
}
