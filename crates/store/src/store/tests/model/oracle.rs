//! What a history should find: a plain list of all that was pushed, and brute force.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// The apps of all streams: policies are about them.
pub(super) const APPS: [&str; 4] = ["a", "b", "c", "d"];

const HOUR_SECS: u64 = 3_600;
const DAY_SECS: u64 = 24 * HOUR_SECS;

/// How long entries are kept: settings of the store, and the same said again, app by app.
pub(super) struct Rules {
    pub(super) default_secs: u64,
    /// Selector of the app, seconds (0 for ever), priority.
    pub(super) policies: &'static [(&'static str, u64, i32)],
    /// What follows for each of [`APPS`].
    secs: [u64; 4],
}

pub(super) const RULES: [Rules; 3] = [
    Rules { default_secs: 3 * DAY_SECS, policies: &[], secs: [3 * DAY_SECS; 4] },
    Rules {
        default_secs: 5 * DAY_SECS,
        policies: &[("a", DAY_SECS, 0), ("b", 0, 0)],
        secs: [DAY_SECS, 0, 5 * DAY_SECS, 5 * DAY_SECS],
    },
    Rules {
        default_secs: 3 * DAY_SECS,
        policies: &[("c|d", 2 * DAY_SECS, 1), ("c", 36 * HOUR_SECS, 2)],
        secs: [3 * DAY_SECS, 3 * DAY_SECS, 36 * HOUR_SECS, 2 * DAY_SECS],
    },
];

impl Rules {
    fn cutoff_ns(&self, app: usize, now_ns: i64) -> i64 {
        match self.secs[app] {
            0 => i64::MIN,
            secs => now_ns - secs as i64 * 1_000_000_000,
        }
    }

    /// Returns the instant before which nothing at all is answered.
    pub(super) fn longest_cutoff_ns(&self, now_ns: i64) -> i64 {
        (0..APPS.len()).map(|app| self.cutoff_ns(app, now_ns)).min().unwrap()
    }
}

/// An entry as it was pushed; the tenant stands in front of the labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) app: usize,
    pub(super) found: Found,
    /// It was too old once, or is gone in part: it may be there again.
    pub(super) has_expired: bool,
    /// It was too old for an hour, in a file: it never is there again.
    pub(super) is_gone: bool,
}

/// A request to delete entries.
#[derive(Clone)]
pub(super) struct Asked {
    /// Known once it was answered.
    pub(super) id: Option<String>,
    pub(super) tenant: String,
    pub(super) app: usize,
    pub(super) needle: String,
    pub(super) range: TimeRange,
    pub(super) created_ns: i64,
    /// The time to cancel it was over once when files were written: a part of its entries may be gone.
    pub(super) has_begun: bool,
}

impl Asked {
    /// Returns the text that the store is given.
    pub(super) fn query(&self) -> String {
        format!("{} {}", APPS[self.app], self.needle)
    }

    fn means(&self, one: &Pushed) -> bool {
        let of_tenant = one.found.0.strip_prefix(&self.tenant).is_some_and(|rest| rest.starts_with(':'));
        of_tenant
            && one.app == self.app
            && self.range.contains(one.found.1)
            && (self.needle.is_empty()
                || memchr::memmem::find(&one.found.2, self.needle.as_bytes()).is_some())
    }
}

/// What should be found, and what may be.
#[derive(Default)]
pub(super) struct Oracle {
    /// Delete requests that are not done.
    pub(super) asked: Vec<Asked>,
    /// Those that were not answered.
    pub(super) unsure_asked: Vec<Asked>,
    /// Requests that were to be cancelled, without an answer.
    pub(super) unsure_cancelled: Vec<String>,
    /// In order of arrival; no two are equal.
    pub(super) stored: Vec<Pushed>,
    /// Numbers of the stored batches that have an id.
    pub(super) known: BTreeSet<u64>,
    /// Batches whose append failed: found whole or not at all.
    pub(super) unknown: BTreeMap<u64, (StoreBatch, Vec<Pushed>)>,
}

/// An answer by brute force, each list sorted.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) must: Vec<Found>,
    /// Those, and what was too old once.
    pub(super) may: Vec<Found>,
}

impl Oracle {
    /// Returns what is found of the stored entries that `passes` takes.
    pub(super) fn expected(&self, rules: &Rules, now_ns: i64, passes: impl Fn(&Pushed) -> bool) -> Expected {
        let mut expected = Expected::default();
        let is_there =
            |one: &&Pushed| is_due(one, rules, now_ns) && !one.is_gone && !self.is_hidden(one) && passes(one);
        for one in self.stored.iter().filter(is_there) {
            if !one.has_expired {
                expected.must.push(one.found.clone());
            }
            expected.may.push(one.found.clone());
        }
        expected.must.sort();
        expected.may.sort();
        expected
    }

    /// Returns whether a delete request hides an entry.
    pub(super) fn is_hidden(&self, one: &Pushed) -> bool {
        self.asked.iter().any(|asked| asked.means(one))
    }

    /// Files are written now: requests of that time and before may lose entries.
    pub(super) fn begin_deletes(&mut self, due_ns: i64) {
        for asked in self.asked.iter_mut().filter(|asked| asked.created_ns <= due_ns) {
            asked.has_begun = true;
        }
    }

    /// Notes that a request was cancelled: what it means is back, as far as it is there.
    pub(super) fn forget(&mut self, id: &str) {
        let Some(index) = self.asked.iter().position(|asked| asked.id.as_deref() == Some(id)) else { return };
        let asked = self.asked.remove(index);
        if asked.has_begun {
            self.every(|one| one.has_expired |= asked.means(one));
        }
    }

    fn every(&mut self, change: impl Fn(&mut Pushed)) {
        let unknown = self.unknown.values_mut().flat_map(|(_, entries)| entries);
        self.stored.iter_mut().chain(unknown).for_each(change);
    }

    /// Takes in what the store lists: requests that are pending, and the names of those that are done.
    pub(super) fn note_deletes(&mut self, pending: &[(String, String, TimeRange)], done: &[String]) {
        for id in done {
            let index = self.asked.iter().position(|asked| asked.id.as_ref() == Some(id));
            let Some(asked) = index.map(|index| self.asked.remove(index)) else { continue };
            self.stored.retain(|one| !asked.means(one));
            // A batch without an answer may come out of the WAL afterwards.
            let unknown = self.unknown.values_mut().flat_map(|(_, entries)| entries);
            unknown.for_each(|one| one.has_expired |= asked.means(one));
        }
        for (id, query, range) in pending {
            if self.asked.iter().any(|asked| asked.id.as_ref() == Some(id)) {
                continue;
            }
            let is_it = |asked: &Asked| asked.query() == *query && asked.range == *range;
            let index = self.unsure_asked.iter().position(is_it).expect("nobody asked for that");
            let asked = self.unsure_asked.remove(index);
            self.asked.push(Asked { id: Some(id.clone()), ..asked });
        }
        for id in std::mem::take(&mut self.unsure_cancelled) {
            if !pending.iter().any(|one| one.0 == id) {
                self.forget(&id);
            }
        }
        let is_listed = |asked: &Asked| pending.iter().any(|one| Some(&one.0) == asked.id.as_ref());
        assert!(self.asked.iter().all(is_listed), "an answered request is gone");
    }

    /// After a start: what is not listed now never will be.
    pub(super) fn settle_deletes(&mut self) {
        self.unsure_asked.clear();
    }

    /// Notes what is too old by these rules for good.
    pub(super) fn bury(&mut self, rules: &Rules, now_ns: i64) {
        self.stored.iter_mut().for_each(|one| one.is_gone |= !is_due(one, rules, now_ns));
    }

    /// Notes what is too old by these rules: their files may go.
    pub(super) fn age(&mut self, rules: &Rules, now_ns: i64) {
        let unknown = self.unknown.values_mut().flat_map(|(_, entries)| entries);
        for one in self.stored.iter_mut().chain(unknown) {
            one.has_expired |= !is_due(one, rules, now_ns);
        }
    }
}

/// Returns whether an entry is young enough to be answered.
pub(super) fn is_due(one: &Pushed, rules: &Rules, now_ns: i64) -> bool {
    one.found.1 >= rules.cutoff_ns(one.app, now_ns)
}

impl Expected {
    /// Checks what was found, sorted; equal entries count once, since what joins views drops the others.
    pub(super) fn check(&self, mut found: Vec<Found>) {
        found.dedup();
        let short = |entry: &Found| {
            let line = String::from_utf8_lossy(&entry.2[..entry.2.len().min(12)]).into_owned();
            (entry.0.clone(), entry.1, line)
        };
        let without = |some: &[Found], others: &[Found]| -> Vec<_> {
            some.iter().filter(|entry| others.binary_search(entry).is_err()).take(5).map(short).collect()
        };
        let (lost, invented) = (without(&self.must, &found), without(&found, &self.may));
        assert!(lost.is_empty() && invented.is_empty(), "lost {lost:?}, invented {invented:?}");
    }
}
