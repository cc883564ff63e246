//! A query over text that lies in no store: a file, a pipe.
//!
//! The lines get the labels that the selector states by `=`, and no line is left out by the selector. Whoever reads the
//! text hands it over in pieces of whole lines; [`TextQuery::find`] searches each as a whole for what every wanted line
//! holds, and looks at the lines around the hits only. A log query keeps nothing. A metric query keeps the lines that
//! pass its line filters until it is evaluated, up to a bound.

use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::labels::{Base, Labels};
use crate::limits;
use crate::log_query::stage_of_several;
use crate::plan::{Pipeline, PushDown};
use crate::request::{LogEntry, QueryKind, QueryOutcome, QueryRequest};
use crate::select::{Select, SelectError, SelectRequest};
use crate::settings::EngineSettings;
use crate::stage::Entry;
use logyard_codec::{Block, BlockView, Entries, RunView};
use logyard_logql::{Expr, LogExpr};
use logyard_model::{Direction, LabelSet, MatchOp, Stream, Tenant};
use memchr::{memchr, memrchr};
use std::borrow::Cow;
use std::sync::Arc;

/// Most bytes of lines that a metric query keeps.
const HELD_BYTES_MAX: u64 = 1 << 30;

/// Lines are kept in blocks of about so many bytes.
const BLOCK_BYTES: u64 = 2 << 20;

/// A query over text.
#[derive(Debug)]
pub struct TextQuery {
    settings: EngineSettings,
    expr: Arc<Expr>,
    /// One for each selector; a line is wanted if it passes the line filters of any.
    pipelines: Vec<Pipeline>,
    base: Base,
    is_whole: bool,
    now_ns: i64,
    open: Entries,
    held: Held,
}

/// The lines that a metric query keeps.
#[derive(Debug)]
struct Held {
    stream: Arc<Stream>,
    views: Vec<BlockView>,
    bytes: u64,
}

impl TextQuery {
    /// Compiles a query; `now_ns` is the present for templates.
    ///
    /// Errors: `Invalid` with Loki's text for a stage that cannot be compiled, and for stages that look at several
    /// entries.
    pub fn new(settings: EngineSettings, expr: Expr, now_ns: i64) -> Result<Self, Error> {
        limits::check(&settings, &expr)?;
        let selectors = limits::selectors(&expr);
        if let (Expr::Log(log), true) = (&expr, selectors.len() == 1)
            && let Some(name) = stage_of_several(log)
        {
            return Err(Error::invalid(format!(
                "{name} looks at several entries, and a text is read one line at a time; leave it out"
            )));
        }
        let compile = |log: &&LogExpr| Pipeline::compile(log, now_ns, PushDown::On);
        let pipelines: Vec<Pipeline> = selectors.iter().map(compile).collect::<Result<_, _>>()?;
        let stated = selectors.iter().flat_map(|log| &log.matchers).filter(|one| one.op() == MatchOp::Equal);
        let labels = LabelSet::from_pairs(stated.map(|matcher| (matcher.name(), matcher.value())));
        let is_whole = matches!(&expr, Expr::Log(_)) && pipelines.iter().all(Pipeline::is_filters_only);
        let base = Base::new(&Arc::new(labels.clone()), "", &Arc::new(LabelSet::default()));
        let stream = Arc::new(Stream::new(&Tenant::single(), labels));
        let held = Held { stream, views: Vec::new(), bytes: 0 };
        let (expr, open) = (Arc::new(expr), Entries::default());
        Ok(Self { settings, expr, pipelines, base, is_whole, now_ns, open, held })
    }

    /// Returns whether the query yields samples, for which lines are held, and not entries.
    pub fn yields_samples(&self) -> bool {
        !matches!(*self.expr, Expr::Log(_))
    }

    /// Returns whether the lines that [`TextQuery::find`] finds are the answer, as they are.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns the labels that every line has.
    pub fn labels(&self) -> &Arc<LabelSet> {
        &self.base.stream
    }

    /// Calls `take` with each line of a text that passes the line filters at the beginning of the query, in order.
    ///
    /// `text` is whole lines, each but perhaps the last ended by a newline, which is not handed on. Stops at the first
    /// error of `take`. Cost: where the filters ask for a text, one search over all and a look at the lines with hits.
    pub fn find<E>(&self, text: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let search = match self.pipelines.as_slice() {
            [one] => one.scout().map(|(_, search)| search).filter(|search| search.finds_all()),
            _ => None,
        };
        let Some(search) = search else {
            let mut rest = text;
            while !rest.is_empty() {
                let end = memchr(b'\n', rest).unwrap_or(rest.len());
                let (line, after) = rest.split_at(end);
                if self.passes(line) {
                    take(line)?;
                }
                rest = after.get(1..).unwrap_or_default();
            }
            return Ok(());
        };
        let needles = &search.needles;
        if needles.texts().iter().any(|text| text.contains(&b'\n')) {
            // No line holds a newline.
            return Ok(());
        }
        // Where a hit is all that is asked for, no line is tested again.
        let is_answer = search.is_answer() && self.pipelines.iter().all(|one| one.line_filters.len() == 1);
        let mut rest = text;
        while let Some(hit) = needles.find(rest, 0) {
            let (before, from_hit) = rest.split_at(hit);
            let start = memrchr(b'\n', before).map_or(0, |at| at + 1);
            let end = hit + memchr(b'\n', from_hit).unwrap_or(from_hit.len());
            let line = rest.get(start..end).unwrap_or_default();
            if is_answer || self.passes(line) {
                take(line)?;
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(())
    }

    fn passes(&self, line: &[u8]) -> bool {
        self.pipelines.iter().any(|pipeline| pipeline.line_filters.iter().all(|test| test.passes(line)))
    }

    /// Returns what the stages of a log query make of a line that was found; `None` if it does not pass.
    pub fn entry(&self, ts_ns: i64, line: &[u8]) -> Option<LogEntry> {
        let pipeline = self.pipelines.first()?;
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels: Labels::new(&self.base) };
        if !pipeline.apply(&mut entry) {
            return None;
        }
        let line = entry.line.into_owned();
        let (stream, metadata, parsed) = entry.labels.split(&self.base);
        Some(LogEntry { ts_ns, line, stream, metadata, parsed })
    }

    /// Keeps a line that was found for [`TextQuery::evaluate`]; equal lines of one time are one.
    ///
    /// Errors: `Limited` if there are too many.
    pub fn hold(&mut self, ts_ns: i64, line: &[u8]) -> Result<(), Error> {
        self.held.bytes += line.len() as u64 + 1;
        if self.held.bytes > HELD_BYTES_MAX {
            return Err(Error::new(
                Kind::Limited,
                format!(
                    "the lines to count are more than {} MiB; a line filter in the query leaves fewer",
                    HELD_BYTES_MAX >> 20
                ),
            ));
        }
        self.open.push(ts_ns, line, "", &LabelSet::default());
        if self.open.raw_bytes() >= BLOCK_BYTES {
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        let mut entries = std::mem::take(&mut self.open);
        if entries.is_empty() {
            return;
        }
        entries.sort_and_dedupe();
        let run = RunView {
            stream: Arc::clone(&self.held.stream),
            rows: 0..u32::try_from(entries.len()).unwrap_or(u32::MAX),
            min_ns: entries.min_ns(),
            max_ns: entries.max_ns(),
            raw_bytes: entries.line_bytes(),
        };
        let arrival = self.held.views.len() as u64;
        let block = Arc::new(Block::from_entries(entries));
        self.held.views.push(BlockView { block, runs: vec![run], arrival });
    }

    /// Evaluates a metric query over the lines that are held, at the first whole millisecond from `time_ns` on: instants
    /// have no finer ones.
    ///
    /// Errors: as [`Engine::run`]. Cost: threads of its own, for as long as it takes.
    pub fn evaluate(&mut self, time_ns: i64) -> Result<QueryOutcome, Error> {
        const NS_PER_MS: i64 = 1_000_000;
        self.seal();
        let time_ns = time_ns.saturating_add(NS_PER_MS - 1).div_euclid(NS_PER_MS).saturating_mul(NS_PER_MS);
        let request = QueryRequest {
            tenants: Tenant::single().into(),
            expr: Arc::clone(&self.expr),
            kind: QueryKind::Instant { time_ns },
            limit: self.settings.entries_max,
            direction: Direction::Forward,
            interval_ns: 0,
            partial_series: true,
            now_ns: self.now_ns,
            cancel: Arc::new(Cancel::new()),
        };
        Engine::new(self.settings.clone()).run(&self.held, &request)
    }
}

impl Select for Held {
    fn select(&self, _request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        Ok(self.views.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::QueryResult;

    const TEXT: &[u8] = b"level=info n=1\n\nlevel=error n=2 disk\nlevel=error n=3\nlast disk";

    fn query(text: &str) -> TextQuery {
        TextQuery::new(EngineSettings::default(), logyard_logql::parse(text).unwrap(), 0).unwrap()
    }

    fn found(query: &TextQuery, text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let done = query.find(text, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok::<(), ()>(())
        });
        done.unwrap();
        lines
    }

    #[test]
    fn lines_that_pass_the_filters_are_found() {
        let check = |text: &str, want: &[&str]| assert_eq!(found(&query(text), TEXT), want, "{text}");
        check(r#"{a="b"}"#, &["level=info n=1", "", "level=error n=2 disk", "level=error n=3", "last disk"]);
        check(r#"{a="b"} |= "disk""#, &["level=error n=2 disk", "last disk"]);
        check(r#"{a="b"} |= "disk" |= "level""#, &["level=error n=2 disk"]);
        check(r#"{a="b"} |= "e" != "disk""#, &["level=info n=1", "level=error n=3"]);
        check(r#"{a="b"} |~ "n=[23]$""#, &["level=error n=3"]);
        check(r#"{a="b"} |= "last" or "info""#, &["level=info n=1", "last disk"]);
        check(r#"{a="b"} |= "1\n""#, &[]);
        check(r#"{a="b"} |= "nobody""#, &[]);
        check(
            r#"{a="b"} | logfmt | n = "3" |= "level""#,
            &["level=info n=1", "level=error n=2 disk", "level=error n=3"],
        );
    }

    #[test]
    fn the_way_by_hits_finds_what_the_way_by_lines_finds() {
        let mut text = Vec::new();
        for n in 0..2000_u32 {
            let word = if n.is_multiple_of(7) { "needle" } else { "hay" };
            text.extend_from_slice(format!("{word} {n} {word}\n").as_bytes());
        }
        let by_hits = found(&query(r#"{a="b"} |= "needle""#), &text);
        let by_lines = found(&query(r#"{a="b"} |~ "n[e]+dle""#), &text);
        assert_eq!(by_hits.len(), 286);
        assert_eq!(by_hits, by_lines);
    }

    #[test]
    fn stages_make_entries_of_lines() {
        let query = query(r#"{app="web"} | logfmt | level="error" | line_format "{{.n}}""#);
        assert!(!query.is_whole() && !query.yields_samples());
        let entries: Vec<LogEntry> =
            found(&query, TEXT).iter().filter_map(|line| query.entry(5, line.as_bytes())).collect();
        let lines: Vec<&[u8]> = entries.iter().map(|entry| &*entry.line).collect();
        assert_eq!(lines, [b"2", b"3"]);
        assert_eq!(entries[0].stream.get("app"), Some("web"));
        assert_eq!(entries[0].parsed.get("level"), Some("error"));
        assert!(super::tests::query(r#"{app="web"} |= "x" !~ "y""#).is_whole());
    }

    #[test]
    fn metric_queries_count_what_is_held() {
        let mut query = query(r#"sum by (level) (count_over_time({app="web"} |= "level" | logfmt [1m]))"#);
        assert!(query.yields_samples());
        for (at, line) in found(&query, TEXT).into_iter().enumerate() {
            query.hold(1_000 + i64::try_from(at).unwrap(), line.as_bytes()).unwrap();
        }
        let QueryResult::Vector(samples) = query.evaluate(2_000).unwrap().result else { panic!("no vector") };
        let samples: Vec<(Option<&str>, f64)> =
            samples.iter().map(|sample| (sample.labels.get("level"), sample.value)).collect();
        assert_eq!(samples, [(Some("error"), 2.0), (Some("info"), 1.0)]);
    }

    #[test]
    fn stages_of_several_entries_are_refused() {
        let expr = logyard_logql::parse(r#"{a="b"} | distinct a"#).unwrap();
        let error = TextQuery::new(EngineSettings::default(), expr, 0).unwrap_err();
        assert!(error.to_string().starts_with("distinct"), "{error}");
    }
}
