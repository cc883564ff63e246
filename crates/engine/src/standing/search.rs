//! All queries that stand over the same entries, and which of them an entry may concern.

use super::{Fold, Standing};
use crate::error::{Error, Kind};
use crate::line_source::LineSource;
use crate::scan::Rows;
use aho_corasick::AhoCorasick;
use logyard_codec::{Block, BlockView, RunView};
use logyard_model::{Prefilter, StreamId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Of so many queries there may be one without a search: a thousand that come one by one are not a thousand searches.
const UNSEARCHED_SHARE: usize = 8;

/// Streams whose folds are remembered; beyond, all are forgotten.
const KNOWN_STREAMS_MAX: usize = 10_000;

/// All queries that stand over the same entries.
#[derive(Debug, Default)]
pub struct Standings {
    pub(super) list: Vec<Arc<Standing>>,
    /// For the first of the list; the others, which are few, try all entries of their streams until it is made anew.
    search: Option<Search>,
}

/// Finds the folds that an entry may concern.
#[derive(Debug)]
pub(super) struct Search {
    /// How many queries it is for.
    count: usize,
    /// Query and fold, by their number here.
    places: Vec<(usize, usize)>,
    texts: Option<AhoCorasick>,
    /// Folds by the number of the text.
    by_text: Vec<Vec<usize>>,
    /// Whether a fold is tried on all entries of its streams.
    always: Vec<bool>,
    by_stream: HashMap<StreamId, Arc<[usize]>>,
}

impl Standings {
    /// Adds a query; entries that are shown from now on are its.
    pub fn add(&mut self, standing: Arc<Standing>) {
        self.list.push(standing);
        let count = self.search.as_ref().map_or(0, |search| search.count);
        if self.list.len() - count > count / UNSEARCHED_SHARE {
            self.search = None;
        }
    }

    /// Removes a query.
    pub fn remove(&mut self, standing: &Arc<Standing>) {
        self.list.retain(|other| !Arc::ptr_eq(other, standing));
        self.search = None;
    }

    /// Shows entries that are stored now to all queries. Errors: the block cannot be read, or a pipeline fails.
    ///
    /// Cost: one search over the lines, and what the query takes over those runs that hold what it asks for.
    pub fn take(&mut self, view: &BlockView) -> Result<(), Error> {
        let Self { list, search } = self;
        let search = match search {
            Some(search) => search,
            None => search.insert(Search::new(list)?),
        };
        let unsearched = list.get(search.count..).unwrap_or_default();
        // What is decoded goes with it.
        let block = view.block.fresh();
        for run in &view.runs {
            for fold in unsearched.iter().flat_map(|standing| &standing.folds) {
                if fold.matches(run) {
                    fold.take(&block, run, Rows::All(run.rows.clone()))?;
                }
            }
            for (number, rows) in search.folds_of(list, &block, run)? {
                if let Some(fold) = search.fold(list, number) {
                    fold.take(&block, run, rows)?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether entries of a run may concern any query.
    pub fn may_concern(&mut self, run: &RunView) -> Result<bool, Error> {
        let Self { list, search } = self;
        let search = match search {
            Some(search) => search,
            None => search.insert(Search::new(list)?),
        };
        let mut unsearched = list.iter().skip(search.count).flat_map(|standing| &standing.folds);
        Ok(!search.of_stream(list, run).is_empty() || unsearched.any(|fold| fold.matches(run)))
    }
}

impl Search {
    pub(super) fn new(list: &[Arc<Standing>]) -> Result<Self, Error> {
        let (mut places, mut always, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_text: Vec<Vec<usize>> = Vec::new();
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        for (standing_number, standing) in list.iter().enumerate() {
            for (fold_number, fold) in standing.folds.iter().enumerate() {
                let wanted = texts_of(&fold.pipeline.prefilter);
                always.push(wanted.is_empty());
                for text in wanted {
                    let number = *numbers.entry(text).or_insert_with(|| {
                        texts.push(text);
                        by_text.push(Vec::new());
                        by_text.len() - 1
                    });
                    by_text[number].push(places.len());
                }
                places.push((standing_number, fold_number));
            }
        }
        let texts = match texts.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(&texts).map_err(|error| {
                Error::new(Kind::Internal, format!("cannot search for the texts of rules: {error}"))
            })?),
        };
        Ok(Self { count: list.len(), places, texts, by_text, always, by_stream: HashMap::new() })
    }

    fn fold<'l>(&self, list: &'l [Arc<Standing>], number: usize) -> Option<&'l Fold> {
        let (standing, fold) = self.places.get(number)?;
        list.get(*standing)?.folds.get(*fold)
    }

    /// Returns the folds that entries of a run may concern, and those rows; in the order of their numbers.
    pub(super) fn folds_of(
        &mut self,
        list: &[Arc<Standing>],
        block: &Block,
        run: &RunView,
    ) -> Result<Vec<(usize, Rows)>, Error> {
        let of_stream = self.of_stream(list, run);
        let is_always = |number: &usize| self.always.get(*number) == Some(&true);
        let mut folds: Vec<(usize, Rows)> = of_stream
            .iter()
            .filter(|number| is_always(number))
            .map(|number| (*number, Rows::All(run.rows.clone())))
            .collect();
        let Some(texts) = self.texts.as_ref().filter(|_| folds.len() < of_stream.len()) else {
            return Ok(folds);
        };
        // Each with a row once, at most: the last row of a fold is the present one, or not.
        let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let mut lines = LineSource::new(block, run.rows.len())?;
        for row in run.rows.clone() {
            for hit in texts.find_overlapping_iter(lines.line(row)?) {
                for number in self.by_text.get(hit.pattern().as_usize()).into_iter().flatten() {
                    if of_stream.binary_search(number).is_err() {
                        continue;
                    }
                    let rows = found.entry(*number).or_default();
                    if rows.last() != Some(&row) {
                        rows.push(row);
                    }
                }
            }
        }
        folds.extend(found.into_iter().map(|(number, rows)| (number, Rows::Some(rows))));
        folds.sort_unstable_by_key(|(number, _)| *number);
        Ok(folds)
    }

    fn of_stream(&mut self, list: &[Arc<Standing>], run: &RunView) -> Arc<[usize]> {
        if let Some(known) = self.by_stream.get(&run.stream.id) {
            return Arc::clone(known);
        }
        if self.by_stream.len() >= KNOWN_STREAMS_MAX {
            self.by_stream.clear();
        }
        let matches = |number: &usize| self.fold(list, *number).is_some_and(|fold| fold.matches(run));
        let folds: Arc<[usize]> = (0..self.places.len()).filter(matches).collect();
        self.by_stream.insert(run.stream.id, Arc::clone(&folds));
        folds
    }
}

/// Returns texts of which every wanted line holds at least one; none if no such are known.
fn texts_of(prefilter: &Prefilter) -> Vec<&[u8]> {
    if let Some(longest) = prefilter.literals.iter().max_by_key(|literal| literal.len()) {
        return vec![longest];
    }
    let shortest = |group: &&Vec<Vec<u8>>| group.iter().map(Vec::len).min().unwrap_or_default();
    let best = prefilter.any_of.iter().max_by_key(shortest);
    best.into_iter().flatten().map(Vec::as_slice).collect()
}
