//! How long the entries of a stream are kept, by policies.
//!
//! Of the policies of the stream's tenant, then of those for every tenant, the matching one of the highest priority
//! wins, of equals the one that keeps less (as in Loki v3.7.6); a tenant's policy without selector stands for the
//! rest of its streams, and the default period for everything else.
//!
//! A *class* is a period as the name of a folder: `30d`, `36h`, `90s`, or `forever`, rounded up where that
//! takes more than 8 bytes. Entries are flushed to the
//! class of their stream, so that days go as whole files. What counts is always the period that is in force now:
//! the class says where a file lies, not when it goes. A file that holds streams of several periods, flushed before a
//! policy changed, stays until the longest of them is over; what is too old in it is not answered meanwhile.

use crate::error::{Error, Result};
use crate::settings::RetentionSettings;
use logyard_model::{LabelSet, Matcher, Tenant};

const SECOND_NS: i64 = 1_000_000_000;
/// Highest number in the name of a class, which has room for 8 bytes in the header of a segment.
const CLASS_COUNT_MAX: u64 = 9_999_999;

/// One policy with its selector parsed.
#[derive(Clone, Debug)]
pub struct RetentionPolicy {
    /// Whose streams; `None` for every tenant's.
    pub tenant: Option<Tenant>,
    /// All have to pass; none for the rest of a tenant's streams.
    pub matchers: Vec<Matcher>,
    /// How long entries are kept, in seconds; 0 for ever.
    pub period_secs: u64,
    /// The highest wins, and is removed last when there are too many bytes.
    pub priority: i32,
}

/// The periods in force.
#[derive(Debug)]
pub(crate) struct Periods {
    /// In the order in which they are asked.
    policies: Vec<RetentionPolicy>,
    default: Period,
}

/// How long something is kept: seconds, the longest for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Period(u64);

impl Period {
    pub(crate) const FOREVER: Self = Self(u64::MAX);

    /// Makes a period of a setting, where 0 is for ever.
    pub(crate) fn of_secs(secs: u64) -> Self {
        if secs == 0 { Self::FOREVER } else { Self(secs) }
    }

    /// Returns the instant before which nothing is answered; `i64::MIN` if everything is kept.
    pub(crate) fn cutoff_ns(self, now_ns: i64) -> i64 {
        if self == Self::FOREVER {
            return i64::MIN;
        }
        now_ns.saturating_sub(i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(SECOND_NS))
    }

    /// Returns the instant from which on nothing of `last_ns` and before is kept; `None` if that never comes.
    pub(crate) fn gone_ns(self, last_ns: i64) -> Option<i64> {
        let period_ns = i64::try_from(self.0).ok()?.checked_mul(SECOND_NS)?;
        last_ns.checked_add(period_ns)
    }

    /// Returns the seconds as a setting has them, where 0 is for ever.
    pub(crate) fn secs(self) -> u64 {
        if self == Self::FOREVER { 0 } else { self.0 }
    }

    /// Returns the name of the class: in the largest unit that is exact, or the smallest in which it is short enough.
    pub(crate) fn class(self) -> String {
        let units = [(86_400, 'd'), (3_600, 'h'), (1, 's')];
        let is_short = |secs: u64, unit: u64| secs.div_ceil(unit) <= CLASS_COUNT_MAX;
        let exact = units.iter().find(|(unit, _)| self.0.is_multiple_of(*unit) && is_short(self.0, *unit));
        let short = || units.iter().rev().find(|(unit, _)| is_short(self.0, *unit));
        match exact.or_else(short) {
            Some((unit, letter)) => format!("{}{letter}", self.0.div_ceil(*unit)),
            None => "forever".to_owned(),
        }
    }
}

impl Periods {
    /// Errors: `Kind::Invalid` if the policies are not those of the settings, parsed.
    pub(crate) fn new(settings: &RetentionSettings, mut policies: Vec<RetentionPolicy>) -> Result<Self> {
        if policies.len() != settings.policies.len() {
            return Err(Error::invalid(format!(
                "cannot open store: {} of the {} policies of store.retention.policies are parsed",
                policies.len(),
                settings.policies.len()
            )));
        }
        sort(&mut policies);
        Ok(Self {
            policies,
            default: Period::of_secs(settings.period().map_or(0, |period| period.as_secs())),
        })
    }

    /// Makes the periods of another time.
    pub(crate) fn of_epoch(mut policies: Vec<RetentionPolicy>, default_secs: u64) -> Self {
        sort(&mut policies);
        Self { policies, default: Period::of_secs(default_secs) }
    }

    /// Returns the policies in the order in which they are asked.
    pub(crate) fn policies(&self) -> &[RetentionPolicy] {
        &self.policies
    }

    /// Returns the period of streams that no policy is about.
    pub(crate) fn default(&self) -> Period {
        self.default
    }

    /// Returns the period of a stream.
    pub(crate) fn of(&self, tenant: &str, labels: &LabelSet) -> Period {
        let mut of_tenant = self.of_tenant(tenant);
        let found =
            of_tenant.find(|policy| policy.matchers.iter().all(|matcher| matcher.matches_set(labels)));
        found.map_or(self.default, |policy| Period::of_secs(policy.period_secs))
    }

    /// Returns whether all streams of a tenant have one period.
    pub(crate) fn is_uniform(&self, tenant: &str) -> bool {
        self.of_tenant(tenant).next().is_none()
    }

    /// Returns the shortest and the longest period that a stream of a tenant can have.
    pub(crate) fn bounds(&self, tenant: &str) -> (Period, Period) {
        let periods = || self.of_tenant(tenant).map(|policy| Period::of_secs(policy.period_secs));
        let shortest = periods().min().map_or(self.default, |period| period.min(self.default));
        let longest = periods().max().map_or(self.default, |period| period.max(self.default));
        (shortest, longest)
    }

    /// Returns whether anything is ever too old.
    pub(crate) fn is_limited(&self) -> bool {
        self.default != Period::FOREVER || self.policies.iter().any(|policy| policy.period_secs != 0)
    }

    /// Returns the priority of a tenant's class: the highest of the policies that fill it, 0 for the default's.
    pub(crate) fn priority(&self, tenant: &str, class: &str) -> i32 {
        let filling =
            self.of_tenant(tenant).filter(|policy| Period::of_secs(policy.period_secs).class() == class);
        let default = (self.default.class() == class).then_some(0);
        filling.map(|policy| policy.priority).chain(default).max().unwrap_or(0)
    }

    fn of_tenant(&self, tenant: &str) -> impl Iterator<Item = &RetentionPolicy> {
        self.policies
            .iter()
            .filter(move |policy| policy.tenant.as_ref().is_none_or(|one| one.as_str() == tenant))
    }
}

/// Puts policies in the order in which they are asked.
fn sort(policies: &mut [RetentionPolicy]) {
    policies.sort_by_key(|policy| {
        let is_rest = policy.matchers.is_empty();
        let priority = std::cmp::Reverse(policy.priority);
        (is_rest, policy.tenant.is_none(), priority, Period::of_secs(policy.period_secs))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetentionPolicySettings;
    use logyard_model::MatchOp;

    fn policy(tenant: &str, app: &str, period_secs: u64, priority: i32) -> RetentionPolicy {
        let tenant = (!tenant.is_empty()).then(|| Tenant::new(tenant).unwrap());
        let matcher = Matcher::new("app", MatchOp::Regex, app).unwrap();
        let matchers = if app.is_empty() { Vec::new() } else { vec![matcher] };
        RetentionPolicy { tenant, matchers, period_secs, priority }
    }

    fn periods(policies: Vec<RetentionPolicy>) -> Periods {
        let settings = RetentionSettings {
            period_secs: Some(30 * 86_400),
            policies: vec![RetentionPolicySettings::default(); policies.len()],
            ..RetentionSettings::default()
        };
        Periods::new(&settings, policies).unwrap()
    }

    #[test]
    fn the_winning_policy_is_of_the_tenant_then_of_the_priority_then_the_shorter_one() {
        let periods = periods(vec![
            policy("", "web|db", 100, 5),
            policy("", "web", 200, 9),
            policy("", "tie", 300, 1),
            policy("", "tie", 250, 1),
            policy("a", "", 400, 0),
            policy("a", "web", 500, -3),
            policy("", "keep", 0, 0),
        ]);
        let check = |tenant: &str, app: &str, secs: u64| {
            let labels = LabelSet::from_pairs([("app", app)]);
            assert_eq!(periods.of(tenant, &labels), Period::of_secs(secs), "{app} of {tenant}");
        };
        check("b", "web", 200);
        check("b", "db", 100);
        check("b", "tie", 250);
        check("b", "keep", 0);
        check("b", "other", 30 * 86_400);
        check("a", "web", 500);
        check("a", "db", 100);
        check("a", "other", 400);
        assert_eq!(periods.bounds("b"), (Period(100), Period::FOREVER));
        assert_eq!((periods.priority("b", "200s"), periods.priority("b", "30d")), (9, 0));
        assert!(!periods.is_uniform("b") && periods.is_limited());
    }

    #[test]
    fn classes_are_names_of_periods() {
        for (secs, class) in [(30 * 86_400, "30d"), (36 * 3600, "36h"), (90, "90s"), (0, "forever")] {
            assert_eq!(Period::of_secs(secs).class(), class);
        }
        // Too long to say exactly: rounded up.
        let year = 31_556_952;
        let long =
            [(9_999_999, "9999999s"), (10_000_000, "2778h"), (year, "8766h"), (u64::MAX - 1, "forever")];
        for (secs, class) in long {
            assert_eq!(Period::of_secs(secs).class(), class);
        }
        for bits in 0..64 {
            for secs in [u64::MAX >> bits, (u64::MAX >> bits).wrapping_add(1)] {
                assert!(Period::of_secs(secs).class().len() <= 8, "{secs}");
            }
        }
        assert_eq!(Period::of_secs(0).cutoff_ns(77), i64::MIN);
        assert_eq!(Period::of_secs(2).cutoff_ns(3 * SECOND_NS), SECOND_NS);
        assert_eq!(Period::of_secs(2).gone_ns(SECOND_NS), Some(3 * SECOND_NS));
        assert_eq!(Period::of_secs(0).gone_ns(1), None);
    }

    #[test]
    fn policies_that_nobody_parsed_are_refused() {
        let settings = RetentionSettings {
            policies: vec![RetentionPolicySettings::default()],
            ..RetentionSettings::default()
        };
        let error = Periods::new(&settings, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("0 of the 1 policies"), "{error}");
    }
}
