//! The explorer as a state machine: an event goes in, the state changes, effects come out.
//!
//! Nothing here touches a terminal, a clock or the network. Every question has a number, and answers to an earlier
//! one are dropped. What was asked stays on the screen until its successor is answered or refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::tz::TimeZone;

use super::buffer::Row;
use super::edit::Editor;
use super::event::{Effect, Event, Slot};
use super::expand::Expanded;
use super::labels::Browser;
use super::layout::{Areas, Parts, areas};
use super::list::List;
use super::refine;
use super::span::Span;
use super::suggest::Suggestions;
use super::table::{Series, gather};
use crate::chart::histogram::{Histogram, Steps};
use crate::check::{Yields, check};
use crate::entry::Entry;

/// Entries asked for at once.
pub(crate) const PAGE_ENTRIES: usize = 1000;

/// Most steps of a histogram.
const STEPS_MAX: usize = 240;

/// Shortest time between two histograms of one question, while new entries come.
const RECOUNT_NS: i64 = 10_000_000_000;

/// Most questions that can be taken back.
const HISTORY_MAX: usize = 100;

/// Most labels whose values are remembered for the query line.
const KNOWN_LABELS_MAX: usize = 50;

/// Entries that came later than this behind a newer one may be unknown when following begins.
const SEEN_NS: i64 = 6_000_000_000;

/// Labels by which a query is begun where none is given, the first that exists.
const FIRST_LABELS: [&str; 6] = ["container", "service_name", "compose_service", "job", "app", "host"];

/// How an explorer begins.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    /// The query; empty for all entries.
    pub(crate) query: String,
    /// What is looked at.
    pub(crate) span: Span,
    /// Whether new entries are shown as they come.
    pub(crate) follows: bool,
    /// Zone of times.
    pub(crate) zone: TimeZone,
    /// Bound of the entries kept, in bytes.
    pub(crate) buffer_bytes_max: usize,
    /// Columns and rows of the screen.
    pub(crate) size: (u16, u16),
    /// The store, as it is shown.
    pub(crate) store: String,
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    /// The query line.
    Query,
    /// The browser of labels.
    Labels,
    /// The histogram.
    Histogram,
    /// The entries.
    Results,
}

/// What lies over the rest and takes the keys.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// The keys; the first row drawn.
    Help(usize),
    /// One entry in full.
    Expanded(Box<Expanded>),
    /// The entries around one.
    Context(Box<Context>),
    /// The choice of a span.
    Picker(Picker),
    /// A text to read, such as the command that was copied.
    Text {
        /// What it is.
        title: String,
        /// The text.
        text: String,
    },
}

/// The entries around one of the same stream.
#[derive(Debug)]
pub(crate) struct Context {
    /// All of them, as far as they have come.
    pub(crate) list: List,
    /// The one in the middle.
    pub(crate) hit: Row,
}

/// The choice of a span.
#[derive(Debug)]
pub(crate) struct Picker {
    /// What is typed.
    pub(crate) editor: Editor,
    /// The preset under the cursor.
    pub(crate) at: usize,
    /// Why what is typed cannot be used.
    pub(crate) problem: Option<String>,
}

/// The whole explorer.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) begin: Begin,
    pub(super) size: (u16, u16),
    pub(super) focus: Focus,
    pub(super) overlays: Vec<Overlay>,
    pub(super) query: Editor,
    pub(super) suggestions: Suggestions,
    pub(super) span: Span,
    /// The query whose answer is on the screen or awaited.
    pub(super) asked: String,
    pub(super) yields: Yields,
    pub(super) question: u64,
    pub(super) history: Vec<(String, Span)>,
    /// How far back in the history the query line has gone.
    pub(super) recalled: usize,
    pub(super) list: List,
    pub(super) is_complete: bool,
    pub(super) series: Vec<Series>,
    pub(super) series_top: usize,
    /// Whether what is on the screen answers an earlier question.
    pub(super) is_stale: bool,
    pub(super) histogram: Option<Histogram>,
    /// How the range is cut of which a histogram was asked for last, and when that was.
    asked_steps: Option<Steps>,
    counted_ns: i64,
    /// The step under the cursor, and the one where a span was begun.
    pub(super) step: usize,
    pub(super) mark: Option<usize>,
    pub(super) browser: Browser,
    pub(super) parts: Parts,
    pub(super) values: HashMap<String, Vec<String>>,
    pub(super) follows: bool,
    pub(super) waiting: BTreeSet<Slot>,
    pub(super) away: BTreeMap<Slot, String>,
    pub(super) problem: Option<String>,
    pub(super) note: Option<String>,
    pub(super) ticks: usize,
    pub(super) now_ns: i64,
    effects: Vec<Effect>,
    is_dirty: bool,
}

impl State {
    /// Begins; the first effects are those of [`State::start`].
    pub(crate) fn new(begin: Begin) -> Self {
        let list = List::new(begin.buffer_bytes_max);
        Self {
            size: begin.size,
            focus: Focus::Results,
            overlays: Vec::new(),
            query: Editor::new(&begin.query),
            suggestions: Suggestions::default(),
            span: begin.span,
            asked: String::new(),
            yields: Yields::Entries,
            question: 0,
            history: Vec::new(),
            recalled: 0,
            list,
            is_complete: false,
            series: Vec::new(),
            series_top: 0,
            is_stale: false,
            histogram: None,
            asked_steps: None,
            counted_ns: 0,
            step: 0,
            mark: None,
            browser: Browser::default(),
            parts: Parts { labels: false, histogram: true },
            values: HashMap::new(),
            follows: begin.follows,
            waiting: BTreeSet::new(),
            away: BTreeMap::new(),
            problem: None,
            note: None,
            ticks: 0,
            now_ns: 0,
            effects: Vec::new(),
            is_dirty: true,
            begin,
        }
    }

    /// Asks the first questions.
    pub(crate) fn start(&mut self, now_ns: i64) -> Vec<Effect> {
        self.now_ns = now_ns;
        self.ask_names();
        if !self.query.text().trim().is_empty() {
            self.ask();
        }
        std::mem::take(&mut self.effects)
    }

    /// Takes an event and returns what is to be done because of it.
    pub(crate) fn update(&mut self, event: Event, now_ns: i64) -> Vec<Effect> {
        self.now_ns = now_ns;
        self.is_dirty |= !matches!(event, Event::Tick) || self.is_waiting();
        match event {
            Event::Key(key) => self.press(key),
            Event::Paste(text) => self.paste(&text),
            Event::Resize(columns, rows) => self.resize((columns, rows)),
            Event::Tick => self.ticks = self.ticks.wrapping_add(1),
            other => self.answer(other),
        }
        std::mem::take(&mut self.effects)
    }

    /// Returns whether anything has changed since the last call.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::replace(&mut self.is_dirty, false)
    }

    /// Returns whether somebody waits for an answer, so that time is shown to go by.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.away.is_empty()
    }

    /// Returns where the parts of the screen lie.
    pub(crate) fn areas(&self) -> Areas {
        let histogram = self.parts.histogram && self.yields == Yields::Entries;
        areas(self.size, Parts { histogram, ..self.parts })
    }

    /// Returns the rows of the list.
    pub(super) fn list_rows(&self) -> usize {
        usize::from(self.areas().list.height)
    }

    /// Returns the rows of what lies over the list, without its title.
    pub(super) fn overlay_rows(&self) -> usize {
        usize::from(self.areas().middle.height).saturating_sub(1)
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn range(&self) -> logyard_model::TimeRange {
        self.span.range(self.now_ns)
    }

    fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        let (list_rows, overlay_rows, columns) = (self.list_rows(), self.overlay_rows(), usize::from(size.0));
        self.list.show(list_rows);
        self.browser.show(overlay_rows);
        for overlay in &mut self.overlays {
            match overlay {
                Overlay::Expanded(expanded) => expanded.resize(columns, overlay_rows),
                Overlay::Context(context) => context.list.show(overlay_rows),
                Overlay::Help(_) | Overlay::Picker(_) | Overlay::Text { .. } => {}
            }
        }
    }

    fn answer(&mut self, event: Event) {
        match event {
            Event::Away(slot, text) => {
                self.away.insert(slot, text);
            }
            Event::Back(slot) => {
                self.away.remove(&slot);
            }
            Event::Refused(slot, question, text) => self.refused(slot, question, text),
            Event::Remark(text) => self.note = Some(text),
            Event::Entries(question, entries, is_older) if question == self.question => {
                self.done(Slot::Ask);
                self.entries(entries, is_older);
            }
            Event::Samples(question, samples) if question == self.question => {
                self.done(Slot::Ask);
                self.is_stale = false;
                self.series = gather(samples);
                self.series_top = 0;
                self.is_complete = true;
            }
            Event::Volume(question, samples) if question == self.question => {
                self.done(Slot::Volume);
                let is_first = self.histogram.is_none();
                self.histogram = self.asked_steps.map(|steps| Histogram::new(steps, &samples));
                let last = self.steps().map_or(0, |steps| steps.count.saturating_sub(1));
                self.step = if is_first { last } else { self.step.min(last) };
            }
            Event::Arrived(question, entries) if question == self.question => {
                self.away.remove(&Slot::Follow);
                let rows = self.list_rows();
                self.list.add(entries, rows);
                // Under the hands of somebody who zooms it stays as it is.
                let is_old = self.now_ns.saturating_sub(self.counted_ns) > RECOUNT_NS;
                if is_old && self.focus != Focus::Histogram && !self.waiting.contains(&Slot::Volume) {
                    self.ask_volume();
                }
            }
            Event::Context(question, entries) if question == self.question => {
                self.done(Slot::Context);
                self.context(entries);
            }
            Event::Names(names) => {
                self.done(Slot::Names);
                self.browser.set_names(names);
                self.begin_query();
                self.suggest();
            }
            Event::Values(name, values) => {
                self.done(Slot::Values);
                if self.values.len() >= KNOWN_LABELS_MAX {
                    self.values.clear();
                }
                self.values.insert(name, values);
                self.suggest();
            }
            Event::Counts(name, values) => {
                self.done(Slot::Counts);
                self.browser.set_values(&name, values);
            }
            _ => {}
        }
    }

    fn done(&mut self, slot: Slot) {
        self.waiting.remove(&slot);
        self.away.remove(&slot);
    }

    fn refused(&mut self, slot: Slot, question: u64, text: String) {
        let is_of_question = matches!(slot, Slot::Ask | Slot::Volume | Slot::Follow | Slot::Context);
        if is_of_question && question != self.question {
            return;
        }
        self.done(slot);
        match slot {
            // The histogram fails with the query, and says nothing new.
            Slot::Volume if self.problem.is_some() => {}
            Slot::Follow => {
                self.follows = false;
                self.problem = Some(text);
            }
            Slot::Values | Slot::Counts | Slot::Names => self.note = Some(text),
            Slot::Ask | Slot::Volume | Slot::Context => self.problem = Some(text),
        }
        if slot == Slot::Ask {
            self.drop_stale();
        }
    }

    /// Lets go of what answers an earlier question, since nothing comes in its place.
    pub(super) fn drop_stale(&mut self) {
        if std::mem::take(&mut self.is_stale) {
            self.list.clear();
            self.series.clear();
        }
    }

    fn entries(&mut self, entries: Vec<Entry>, is_older: bool) {
        let rows = self.list_rows();
        if !is_older {
            self.is_stale = false;
            self.list.clear();
            self.is_complete = entries.len() < PAGE_ENTRIES;
            self.list.add(entries, rows);
            if self.follows {
                self.follow();
            }
            return;
        }
        let Some(oldest_ns) = self.list.buffer().get(0).map(|row| row.ts_ns) else { return };
        let known: Vec<_> = self
            .list
            .buffer()
            .rows()
            .take_while(|row| row.ts_ns == oldest_ns)
            .map(|row| row.entry().identity())
            .collect();
        let mut known: HashMap<_, usize> = known.into_iter().fold(HashMap::new(), |mut counts, identity| {
            *counts.entry(identity).or_default() += 1;
            counts
        });
        let asked = entries.len();
        let is_new = |entry: &Entry| match known.get_mut(&entry.identity()) {
            Some(count) if *count > 0 && entry.ts_ns == oldest_ns => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let older: Vec<Entry> = entries.into_iter().filter(is_new).collect();
        self.is_complete = asked < PAGE_ENTRIES || older.is_empty();
        self.list.add(older, rows);
    }

    fn context(&mut self, entries: Vec<Entry>) {
        let rows = self.overlay_rows();
        if let Some(Overlay::Context(context)) = self.overlays.last_mut() {
            context.list.clear();
            context.list.add(entries, rows);
            let hit = context
                .list
                .buffer()
                .rows()
                .position(|row| row.ts_ns == context.hit.ts_ns && row.line == context.hit.line);
            context.list.go_to(hit.unwrap_or_default(), rows);
            context.list.center(rows);
        }
    }

    /// Begins with all entries where no query was given.
    fn begin_query(&mut self) {
        if !self.query.text().trim().is_empty() || self.question > 0 {
            return;
        }
        let names = self.browser.names();
        let first = FIRST_LABELS.iter().find(|first| names.iter().any(|name| name == *first)).copied();
        let Some(first) = first.or_else(|| names.first().map(String::as_str)) else {
            self.note = Some(
                "the store has no labels in this span: wait for entries, or press t for a longer one"
                    .to_owned(),
            );
            return;
        };
        self.query = Editor::new(&refine::selector(&BTreeMap::new(), first));
        self.ask();
    }

    pub(super) fn ask_names(&mut self) {
        let range = self.range();
        self.waiting.insert(Slot::Names);
        self.effect(Effect::AskNames(range));
    }

    /// Asks what stands in the query line, over the present span.
    pub(super) fn ask(&mut self) {
        let query = self.query.text().trim().to_owned();
        self.problem = None;
        self.note = None;
        self.suggestions = Suggestions::default();
        match check(&query) {
            Ok(yields) => self.yields = yields,
            Err(text) => {
                self.problem = Some(text.lines().next().unwrap_or_default().to_owned());
                self.focus = Focus::Query;
                return;
            }
        }
        if self.history.last() != Some(&(query.clone(), self.span)) {
            self.history.push((query.clone(), self.span));
            if self.history.len() > HISTORY_MAX {
                self.history.remove(0);
            }
        }
        self.recalled = 0;
        self.asked = query.clone();
        self.question += 1;
        let (question, range) = (self.question, self.range());
        for slot in [Slot::Ask, Slot::Volume, Slot::Follow] {
            self.effect(Effect::Stop(slot));
            self.done(slot);
        }
        self.histogram = None;
        (self.mark, self.is_stale, self.is_complete) = (None, true, true);
        self.waiting.insert(Slot::Ask);
        match self.yields {
            Yields::Samples => self.effect(Effect::AskSamples { question, query, range }),
            Yields::Entries => {
                self.effect(Effect::AskEntries {
                    question,
                    query,
                    range,
                    limit: PAGE_ENTRIES,
                    is_older: false,
                });
                self.ask_volume();
            }
        }
    }

    fn ask_volume(&mut self) {
        let columns = usize::from(self.size.0).clamp(10, STEPS_MAX);
        let steps = Steps::cut(self.range(), columns);
        (self.asked_steps, self.counted_ns) = (Some(steps), self.now_ns);
        self.waiting.insert(Slot::Volume);
        let (question, query) = (self.question, self.asked.clone());
        self.effect(Effect::AskVolume { question, query, steps });
    }

    /// Returns how the range is cut in the histogram that is shown.
    pub(super) fn steps(&self) -> Option<Steps> {
        self.histogram.as_ref().map(|histogram| histogram.steps)
    }

    /// Asks for entries before those that are there.
    pub(super) fn ask_older(&mut self) {
        let Some(oldest_ns) = self.list.buffer().get(0).map(|row| row.ts_ns) else { return };
        if self.is_complete || self.waiting.contains(&Slot::Ask) {
            return;
        }
        if self.list.buffer().bytes() > self.begin.buffer_bytes_max / 4 * 3 {
            self.note = Some(
                "the buffer is nearly full: --buffer gives it more room, < looks at an earlier span"
                    .to_owned(),
            );
            return;
        }
        let start_ns = self.range().start_ns;
        let at_edge = self.list.buffer().rows().take_while(|row| row.ts_ns == oldest_ns).count();
        self.waiting.insert(Slot::Ask);
        let (question, query) = (self.question, self.asked.clone());
        let range = logyard_model::TimeRange { start_ns, end_ns: oldest_ns.saturating_add(1) };
        self.effect(Effect::AskEntries {
            question,
            query,
            range,
            limit: PAGE_ENTRIES + at_edge,
            is_older: true,
        });
    }

    /// Shows new entries from now on.
    pub(super) fn follow(&mut self) {
        let newest_ns =
            self.list.buffer().rows().next_back().map_or(self.now_ns, |row| row.ts_ns).min(self.now_ns);
        let from_ns = newest_ns.saturating_sub(SEEN_NS);
        let recent = self.list.buffer().rows().rev().take_while(|row| row.ts_ns >= from_ns);
        let mut seen: Vec<Entry> = recent.map(Row::entry).collect();
        seen.reverse();
        let (question, query) = (self.question, self.asked.clone());
        self.effect(Effect::Follow { question, query, seen });
    }

    /// Goes back to the question before this one.
    pub(super) fn undo(&mut self) {
        if self.history.len() < 2 {
            self.note = Some("nothing to go back to".to_owned());
            return;
        }
        self.history.pop();
        if let Some((query, span)) = self.history.pop() {
            self.query = Editor::new(&query);
            self.span = span;
            self.ask();
        }
    }

    /// Proposes what may be written at the cursor, and asks for values that are not known yet.
    pub(super) fn suggest(&mut self) {
        if self.focus != Focus::Query {
            return;
        }
        let values = |name: &str| self.values.get(name).map(Vec::as_slice);
        self.suggestions = Suggestions::new(&self.query, self.browser.names(), values);
        if let Some(name) = self.suggestions.missing.clone()
            && !self.waiting.contains(&Slot::Values)
        {
            self.waiting.insert(Slot::Values);
            let range = self.range();
            self.effect(Effect::AskValues(name, range));
        }
    }
}
