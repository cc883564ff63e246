//! Questions to a store: their addresses, whether the answer is right, and what they cost.

use crate::client::{Client, escaped};
use crate::store::Store;
use logyard_wire::loki_query::{NamesAnswer, QueryAnswer, QueryData, SeriesListAnswer, decode};
use std::ops::Range;
use std::time::Duration;

/// Times that a question is asked, after once that does not count: until so much time is spent, within these bounds.
const TIMES_MIN: usize = 5;
const TIMES_MAX: usize = 40;
const SPENT_MIN: Duration = Duration::from_secs(1);

/// How the cost of a question may grow with what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Not at all.
    Flat,
    /// As much as what is stored, at most.
    Linear,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    pub(crate) growth: Growth,
    /// What the answer must come to; `None` where nothing is known.
    pub(crate) sum: Option<u64>,
}

/// What a question cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Median of the times until the last byte.
    pub(crate) wall: Duration,
    /// Mean processor time of the store.
    pub(crate) cpu: Duration,
}

/// Returns the newest 100 entries of a log query.
pub(crate) fn entries(name: &'static str, query: &str, range: &Range<i64>) -> Question {
    let Range { start, end } = range;
    let path = format!(
        "/loki/api/v1/query_range?query={}&start={start}&end={end}&limit=100&direction=backward",
        escaped(query)
    );
    Question { name, path, growth: Growth::Flat, sum: None }
}

/// Returns the value of a metric query at the end of a range, `[all]` standing for the whole of it.
pub(crate) fn value(name: &'static str, query: &str, range: &Range<i64>) -> Question {
    let secs = (range.end - range.start) / 1_000_000_000 + 1;
    let query = query.replace("[all]", &format!("[{secs}s]"));
    let path = format!("/loki/api/v1/query?query={}&time={}", escaped(&query), range.end);
    Question { name, path, growth: Growth::Linear, sum: None }
}

/// Returns the samples of a metric query in steps of so many seconds.
pub(crate) fn steps(name: &'static str, query: &str, range: &Range<i64>, step_secs: u64) -> Question {
    let Range { start, end } = range;
    let path =
        format!("/loki/api/v1/query_range?query={}&start={start}&end={end}&step={step_secs}", escaped(query));
    Question { name, path, growth: Growth::Linear, sum: None }
}

/// Returns a list of names: `labels`, `label/…/values`, or `series` of a selector.
pub(crate) fn names(name: &'static str, list: &str, selector: &str, range: &Range<i64>) -> Question {
    let Range { start, end } = range;
    let key = if list == "series" { "match%5B%5D" } else { "query" };
    let about = if selector.is_empty() { String::new() } else { format!("&{key}={}", escaped(selector)) };
    let path = format!("/loki/api/v1/{list}?start={start}&end={end}{about}");
    Question { name, path, growth: Growth::Flat, sum: None }
}

impl Question {
    pub(crate) fn grows(mut self, growth: Growth) -> Self {
        self.growth = growth;
        self
    }

    /// Says what the answer must come to: the number of entries or names, or the sum of all samples.
    pub(crate) fn sums_to(mut self, sum: u64) -> Self {
        self.sum = Some(sum);
        self
    }

    /// Asks once and looks at the answer. Panics at a wrong one.
    pub(crate) fn check(&self, client: &Client) {
        let (_, body) = client.get(&self.path);
        let got = self.sum_of(&body);
        if let Some(want) = self.sum {
            assert!(got == want as f64, "{}: the answer comes to {got}, want {want}", self.name);
        }
    }

    fn sum_of(&self, body: &[u8]) -> f64 {
        if self.path.starts_with("/loki/api/v1/query") {
            let answer: QueryAnswer = decode(body).unwrap();
            return match answer.data {
                QueryData::Streams(streams) => streams.iter().map(|stream| stream.values.len() as f64).sum(),
                QueryData::Matrix(series) => {
                    series.iter().flat_map(|one| &one.values).map(|point| point.value).sum()
                }
                QueryData::Vector(samples) => samples.iter().map(|sample| sample.value.value).sum(),
                QueryData::Scalar(point) => point.value,
            };
        }
        if self.path.starts_with("/loki/api/v1/series") {
            return decode::<SeriesListAnswer>(body).unwrap().data.len() as f64;
        }
        decode::<NamesAnswer>(body).unwrap().data.len() as f64
    }

    /// Asks again and again, one at a time, and returns what it cost.
    pub(crate) fn measure(&self, store: &Store, client: &Client) -> Cost {
        self.check(client);
        let before = store.thread_times();
        let (mut walls, mut spent) = (Vec::new(), Duration::ZERO);
        while walls.len() < TIMES_MIN || spent < SPENT_MIN && walls.len() < TIMES_MAX {
            let (wall, _) = client.get(&self.path);
            spent += wall;
            walls.push(wall);
        }
        let cpu = store.thread_times().since(&before) / walls.len() as u32;
        walls.sort_unstable();
        Cost { wall: permille(&walls, 500), cpu }
    }
}

/// Returns the value that so many of a thousand do not exceed, of values that are sorted. Panics if there are none.
pub(crate) fn permille(sorted: &[Duration], permille: usize) -> Duration {
    sorted[(sorted.len() * permille / 1000).min(sorted.len() - 1)]
}
