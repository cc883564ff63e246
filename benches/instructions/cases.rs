//! The cases: a name, and what is made ready before anything is counted.

use crate::{cases_agent, cases_query, cases_store};
use std::hint::black_box;

/// What is counted, ready to run any number of times.
pub(crate) type Work = Box<dyn FnMut()>;

/// A hot path.
pub(crate) struct Case {
    /// The name by which a failure tells it.
    pub(crate) name: &'static str,
    /// Makes everything ready.
    pub(crate) prepare: fn() -> Work,
}

fn all() -> impl Iterator<Item = &'static Case> {
    cases_agent::CASES.iter().chain(cases_store::CASES).chain(cases_query::CASES)
}

/// Returns the names of all cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|case| case.name)
}

/// Runs a case once so that everything is in place that is made at first use, and once to be counted.
pub(crate) fn run(name: &str) {
    let case = all().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
    let mut work = (case.prepare)();
    work();
    begin();
    work();
    end();
}

/// Where counting begins. Different from [`end`], or the compiler might make one of both.
#[inline(never)]
fn begin() {
    black_box(1);
}

/// Where counting ends.
#[inline(never)]
fn end() {
    black_box(2);
}
