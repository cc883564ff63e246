//! When a group is evaluated: at fixed instants of the clock, spread by the group's name.
//!
//! The instants are those multiples of the interval, moved by an offset that the name decides. So groups of one
//! interval do not all come at once, windows as wide as the interval tile time without gap or overlap, and a restart
//! changes nothing.

use xxhash_rust::xxh3::xxh3_64;

/// How the instants of groups lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each has an offset that its name decides.
    ByName,
    /// All lie at multiples of their intervals: for tests of rules, which name instants.
    None,
}

/// The instants of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval_ns: i64,
    offset_ns: i64,
}

/// What is to be done about a group at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// The instant to evaluate at; `None` if it is not time yet.
    pub(crate) at_ns: Option<i64>,
    /// The next instant.
    pub(crate) next_ns: i64,
    /// Instants that went by unused.
    pub(crate) missed: u64,
}

impl Schedule {
    /// Returns the instants of a group; `interval_ns` is positive, `name` tells it from all others.
    pub(crate) fn new(name: &str, interval_ns: i64, spread: Spread) -> Self {
        let interval_ns = interval_ns.max(1);
        let offset_ns = match spread {
            Spread::ByName => xxh3_64(name.as_bytes()) % interval_ns.unsigned_abs(),
            Spread::None => 0,
        };
        Self { interval_ns, offset_ns: i64::try_from(offset_ns).unwrap_or_default() }
    }

    pub(crate) fn interval_ns(self) -> i64 {
        self.interval_ns
    }

    /// Returns the first instant after `now_ns`.
    pub(crate) fn after(self, now_ns: i64) -> i64 {
        self.at_or_before(now_ns).saturating_add(self.interval_ns)
    }

    fn at_or_before(self, now_ns: i64) -> i64 {
        let moved = now_ns.saturating_sub(self.offset_ns);
        moved.div_euclid(self.interval_ns).saturating_mul(self.interval_ns).saturating_add(self.offset_ns)
    }

    /// Returns what is to be done at `now_ns`, while `next_ns` is the next instant.
    pub(crate) fn due(self, now_ns: i64, next_ns: i64) -> Due {
        if next_ns > now_ns.saturating_add(self.interval_ns) {
            // The clock went back: the instants of its new time count.
            return Due { at_ns: None, next_ns: self.after(now_ns), missed: 0 };
        }
        if now_ns < next_ns {
            return Due { at_ns: None, next_ns, missed: 0 };
        }
        let at_ns = self.at_or_before(now_ns);
        let missed = at_ns.saturating_sub(next_ns) / self.interval_ns;
        Due {
            at_ns: Some(at_ns),
            next_ns: at_ns.saturating_add(self.interval_ns),
            missed: u64::try_from(missed).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: i64 = 1_000_000_000;

    #[test]
    fn instants_are_an_interval_apart_and_spread() {
        let schedule = Schedule::new("a", 60 * SEC, Spread::ByName);
        let first = schedule.after(1_795_230_000 * SEC);
        assert_eq!(schedule.after(first - 1), first);
        assert_eq!(schedule.after(first), first + 60 * SEC);
        let offsets: std::collections::BTreeSet<i64> = (0..100)
            .map(|n| Schedule::new(&n.to_string(), 60 * SEC, Spread::ByName).offset_ns / SEC)
            .collect();
        assert!(offsets.len() > 40, "{offsets:?}");
        assert!(offsets.iter().all(|offset| (0..60).contains(offset)));
        assert_eq!(Schedule::new("a", 60 * SEC, Spread::None).after(61 * SEC), 120 * SEC);
    }

    #[test]
    fn what_was_missed_is_counted() {
        let schedule = Schedule { interval_ns: 60, offset_ns: 7 };
        assert_eq!(schedule.due(66, 67), Due { at_ns: None, next_ns: 67, missed: 0 });
        assert_eq!(schedule.due(67, 67), Due { at_ns: Some(67), next_ns: 127, missed: 0 });
        assert_eq!(schedule.due(126, 67), Due { at_ns: Some(67), next_ns: 127, missed: 0 });
        assert_eq!(schedule.due(250, 67), Due { at_ns: Some(247), next_ns: 307, missed: 3 });
    }

    #[test]
    fn a_clock_that_went_back_is_followed() {
        let schedule = Schedule { interval_ns: 60, offset_ns: 7 };
        assert_eq!(schedule.due(100, 1000), Due { at_ns: None, next_ns: 127, missed: 0 });
        assert_eq!(schedule.due(100, 160), Due { at_ns: None, next_ns: 160, missed: 0 });
    }
}
