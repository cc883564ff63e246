//! Stages that decide about entries: `drop`, `limit`, `sampling`, and the selector of `match`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use logyard_logql::{Expr, LineFilterArg, LineFilterOp, StageKind, parse_go_duration, parse_unchecked};
use logyard_model::Matcher;
use memchr::memmem;
use regex::bytes::Regex;

use crate::entry::Entry;
use crate::error::Error;
use crate::settings::{DropSettings, LimitSettings};
use crate::stage_extract::compile_regex;

/// Reason of entries that `limit` discards.
pub(crate) const LIMIT_REASON: &str = "ratelimit_drop_stage";
/// Least number of label values with a limit of their own.
const DISTINCT_MIN: usize = 10_000;

/// Label matchers and filters on the line.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    matchers: Vec<Matcher>,
    filters: Vec<LineTest>,
}

#[derive(Clone, Debug)]
struct LineTest {
    needles: Vec<Needle>,
    is_negated: bool,
}

#[derive(Clone, Debug)]
enum Needle {
    Text(Vec<u8>),
    Regex(Regex),
}

impl Selector {
    pub(crate) fn compile(text: &str) -> Result<Self, Error> {
        let parsed = parse_unchecked(text).map_err(|error| Error::new(error.to_string()))?;
        let Expr::Log(log) = parsed else {
            return Err(Error::new(format!("{text:?} is no selector; write {{app=\"x\"}} |= \"text\"")));
        };
        let mut filters = Vec::new();
        for stage in &log.stages {
            let StageKind::LineFilter(filter) = &stage.kind else {
                return Err(Error::new("only line filters may follow the selector: |= != |~ !~"));
            };
            let mut needles = Vec::new();
            for arg in &filter.args {
                let LineFilterArg::Text(text) = arg else {
                    return Err(Error::new("ip() is no filter here; use |= != |~ or !~ with a text"));
                };
                needles.push(match filter.op {
                    LineFilterOp::Contains | LineFilterOp::NotContains => {
                        Needle::Text(text.as_bytes().to_vec())
                    }
                    LineFilterOp::Regex | LineFilterOp::NotRegex => Needle::Regex(compile_regex(text)?),
                    LineFilterOp::Pattern | LineFilterOp::NotPattern => {
                        return Err(Error::new("patterns are no filter here; use |= != |~ or !~"));
                    }
                });
            }
            filters.push(LineTest { needles, is_negated: filter.op.is_negated() });
        }
        Ok(Self { matchers: log.matchers.clone(), filters })
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_set(&entry.labels))
            && self.filters.iter().all(|filter| {
                let found = filter.needles.iter().any(|needle| match needle {
                    Needle::Text(text) => memmem::find(&entry.line, text).is_some(),
                    Needle::Regex(regex) => regex.is_match(&entry.line),
                });
                found != filter.is_negated
            })
    }
}

/// `drop`.
#[derive(Clone, Debug)]
pub(crate) struct DropStage {
    source: Vec<String>,
    separator: String,
    regex: Option<Regex>,
    older_ns: Option<i64>,
    longer_bytes: Option<usize>,
    pub(crate) reason: Arc<str>,
}

impl DropStage {
    pub(crate) fn compile(settings: &DropSettings) -> Result<Self, Error> {
        let DropSettings { source, value, expression, older_than, longer_than, .. } = settings;
        let is_empty = source.is_empty() && value.is_none() && expression.is_none();
        if is_empty && older_than.is_none() && longer_than.is_none() {
            return Err(Error::new(
                "no condition is given; give source, expression, older_than or longer_than",
            ));
        }
        let pattern = match (value, expression) {
            (Some(_), Some(_)) => {
                return Err(Error::new("give value or expression, not both").inside("value"));
            }
            (Some(_), None) if source.is_empty() => {
                return Err(Error::new("wants a source, whose value it is").inside("value"));
            }
            (Some(value), None) => Some((format!("^{}$", regex::escape(value)), "value")),
            (None, Some(expression)) => Some((expression.clone(), "expression")),
            (None, None) => None,
        };
        let regex = match pattern {
            // Escaped as in the dialect of the `regex` crate, which is what a literal is in both.
            Some((pattern, "value")) => {
                Some(Regex::new(&pattern).map_err(|_| Error::new("expression too large").inside("value"))?)
            }
            Some((pattern, key)) => Some(compile_regex(&pattern).map_err(|error| error.inside(key))?),
            None => None,
        };
        let older_ns = older_than.as_deref().map(parse_go_duration).transpose();
        let longer_bytes = longer_than.as_deref().map(parse_size).transpose();
        Ok(Self {
            source: source.clone(),
            separator: settings.separator.clone().unwrap_or_else(|| ";".to_owned()),
            regex,
            older_ns: older_ns.map_err(|reason| Error::new(reason).inside("older_than"))?,
            longer_bytes: longer_bytes.map_err(|reason| Error::new(reason).inside("longer_than"))?,
            reason: settings.drop_counter_reason.as_deref().unwrap_or("drop_stage").into(),
        })
    }

    /// Returns whether the entry is to be discarded.
    pub(crate) fn drops(&self, entry: &Entry, now_ns: i64) -> bool {
        if self.longer_bytes.is_some_and(|bytes| entry.line.len() <= bytes) {
            return false;
        }
        if self.older_ns.is_some_and(|age_ns| entry.ts_ns >= now_ns.saturating_sub(age_ns)) {
            return false;
        }
        match &self.regex {
            None => self.source.iter().all(|name| entry.extracted.has(name)),
            Some(regex) if self.source.is_empty() => regex.is_match(&entry.line),
            Some(regex) => {
                let values: Vec<_> =
                    self.source.iter().filter_map(|name| entry.extracted.text(name)).collect();
                regex.is_match(values.join(&self.separator).as_bytes())
            }
        }
    }
}

/// Reads a size as Promtail's settings have it: whole bytes, or with a unit in any case, each 1,024 of the one before;
/// `kb` is not LogQL's thousand.
///
/// Errors: what a size would look like.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power =
        ["", "k", "m", "g", "t", "p"].iter().position(|name| unit.strip_suffix('i').unwrap_or(unit) == *name);
    let bytes: Option<usize> = number.parse().ok();
    bytes
        .zip(power.and_then(|power| 1_usize.checked_shl(u32::try_from(power * 10).ok()?)))
        .and_then(|(bytes, factor)| bytes.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is no size; use one such as 8kb, which is 8192 bytes"))
}

/// `limit`. All targets of a pipeline share its tokens.
#[derive(Clone, Debug)]
pub(crate) struct LimitStage {
    rate: f64,
    burst: f64,
    pub(crate) drops: bool,
    by_label: Option<String>,
    distinct_max: usize,
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at_ns: i64,
}

/// What `limit` says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    Pass,
    Discard,
    /// It passes, and the target waits for so many ns.
    Wait(i64),
}

impl LimitStage {
    pub(crate) fn compile(settings: &LimitSettings) -> Result<Self, Error> {
        let refuse = |key: &str, reason: &str| Err(Error::new(reason).inside(key));
        if !(settings.rate > 0.0 && settings.rate.is_finite()) {
            return refuse("rate", "want a number above 0");
        }
        if settings.burst == 0 {
            return refuse("burst", "want a number above 0");
        }
        let by_label = settings.by_label_name.clone().filter(|name| !name.is_empty());
        if by_label.is_some() && !settings.drop {
            return refuse("by_label_name", "wants drop: true");
        }
        Ok(Self {
            rate: settings.rate,
            burst: settings.burst as f64,
            drops: settings.drop,
            by_label,
            distinct_max: settings.max_distinct_labels.unwrap_or_default().max(DISTINCT_MIN),
            buckets: Arc::default(),
        })
    }

    pub(crate) fn take(&self, entry: &Entry, now_ns: i64) -> Limited {
        let key = match &self.by_label {
            None => "",
            Some(name) => match entry.labels.get(name) {
                Some(value) => value,
                None => return Limited::Pass,
            },
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // A key is copied when it is new, not for each line.
        if !buckets.contains_key(key) {
            if buckets.len() >= self.distinct_max {
                buckets.clear();
            }
            buckets.insert(key.to_owned(), Bucket { tokens: self.burst, at_ns: now_ns });
        }
        let Some(bucket) = buckets.get_mut(key) else { return Limited::Pass };
        let passed_ns = now_ns.saturating_sub(bucket.at_ns).max(0);
        bucket.tokens = (bucket.tokens + passed_ns as f64 / 1e9 * self.rate).min(self.burst);
        bucket.at_ns = now_ns;
        let limited = if bucket.tokens >= 1.0 {
            Limited::Pass
        } else if self.drops {
            Limited::Discard
        } else {
            Limited::Wait(((1.0 - bucket.tokens) / self.rate * 1e9) as i64)
        };
        if limited != Limited::Discard {
            bucket.tokens -= 1.0;
        }
        limited
    }
}
