//! The engine: settings, a pool of threads, and the choice of evaluation.

use crate::error::{Error, Kind};
use crate::explain::{self, PlanStep};
use crate::hash::Streams;
use crate::limits;
use crate::memory::Memory;
use crate::patterns::{self, PatternCounts, PatternsRequest};
use crate::plan::PushDown;
use crate::request::{QueryKind, QueryOutcome, QueryRequest, QueryResult, QueryStats, ScanCounts};
use crate::select::{Select, SelectRequest};
use crate::settings::EngineSettings;
use crate::shared_blocks::SharedBlocks;
use crate::standing::Standing;
use crate::turns::{Lanes, Turns};
use crate::volume::{self, VolumeOutcome, VolumeRequest};
use crate::{log_query, metric_query};
use logyard_codec::BlockView;
use logyard_logql::{Expr, LogExpr};
use logyard_model::{Prefilter, TimeRange};
use rayon::ThreadPoolBuilder;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Evaluates queries on threads of its own. Share it between callers.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    /// Started by the first query: an idle store needs no threads.
    lanes: OnceLock<Lanes>,
    /// Bytes that the queries under way hold.
    held: AtomicU64,
    push_down: PushDown,
}

impl Engine {
    /// Returns an engine without threads yet.
    pub fn new(settings: EngineSettings) -> Self {
        Self { settings, lanes: OnceLock::new(), held: AtomicU64::new(0), push_down: PushDown::On }
    }

    /// Returns an engine that does everything in the order in which the query says it.
    #[cfg(test)]
    pub(crate) fn without_push_down(settings: EngineSettings) -> Self {
        Self { push_down: PushDown::Off, ..Self::new(settings) }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// Evaluates a query.
    ///
    /// Errors: any kind; `Invalid` with Loki's text where it has one. Blocks for as long as the query
    /// takes, so asynchronous callers use a thread for it; stops soon after [`crate::Cancel`] says so.
    pub fn run(&self, source: &dyn Select, request: &QueryRequest) -> Result<QueryOutcome, Error> {
        self.run_with(source, request, None)
    }

    /// Evaluates a metric query at an instant as [`Engine::run`] does, and reads less: what its folds know.
    pub fn run_standing(
        &self,
        source: &dyn Select,
        request: &QueryRequest,
        standing: &Standing,
    ) -> Result<QueryOutcome, Error> {
        self.run_with(source, request, Some(standing))
    }

    fn run_with(
        &self,
        source: &dyn Select,
        request: &QueryRequest,
        standing: Option<&Standing>,
    ) -> Result<QueryOutcome, Error> {
        limits::check(&self.settings, &request.expr)?;
        let turns = Turns::new(self.lanes()?, &request.cancel);
        let memory = Memory::new(&self.settings, &self.held);
        let context = Context {
            source,
            request,
            settings: &self.settings,
            turns,
            memory,
            blocks: SharedBlocks::default(),
            push_down: self.push_down,
            standing,
            warnings: Warnings::default(),
            scans: Mutex::default(),
        };
        let (result, stats) = evaluate(&context)?;
        let warnings = context.warnings.into_texts();
        let scans = context.scans.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(QueryOutcome { result, stats, scans, warnings })
    }

    /// Returns how a query is evaluated, with what that took if `scans` of its outcome are given.
    ///
    /// Errors: `Invalid`, as for [`Engine::run`]. Cost: compiles the query, reads nothing.
    pub fn explain(&self, request: &QueryRequest, scans: Option<&[ScanCounts]>) -> Result<PlanStep, Error> {
        limits::check(&self.settings, &request.expr)?;
        explain::explain(&self.settings, request, scans)
    }

    /// Counts the bytes of lines by groups of streams.
    ///
    /// Errors: any kind; `Invalid` with Loki's text for too many groups. Blocks, as [`Engine::run`] does.
    pub fn volume(&self, source: &dyn Select, request: &VolumeRequest) -> Result<VolumeOutcome, Error> {
        let turns = Turns::new(self.lanes()?, &request.cancel);
        let memory = Memory::new(&self.settings, &self.held);
        volume::run(source, request, &self.settings, &turns, &memory)
    }

    /// Counts patterns of lines by level and step, those with the most lines first.
    ///
    /// Errors: any kind. Blocks, as [`Engine::run`] does. Cost: reads all lines, up to a bound.
    pub fn patterns(
        &self,
        source: &dyn Select,
        request: &PatternsRequest,
    ) -> Result<Vec<PatternCounts>, Error> {
        let turns = Turns::new(self.lanes()?, &request.cancel);
        let memory = Memory::new(&self.settings, &self.held);
        patterns::run(source, request, &self.settings, &turns, &memory)
    }

    fn lanes(&self) -> Result<&Lanes, Error> {
        if let Some(lanes) = self.lanes.get() {
            return Ok(lanes);
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.settings.threads)
            .thread_name(|index| format!("engine-{index}"))
            .build()
            .map_err(|error| {
                Error::new(Kind::Internal, format!("cannot start threads for queries: {error}"))
            })?;
        // Two first queries may both build a pool; one is kept.
        Ok(self.lanes.get_or_init(|| Lanes::new(pool)))
    }
}

/// What evaluation needs everywhere.
pub(crate) struct Context<'a> {
    pub(crate) source: &'a dyn Select,
    pub(crate) request: &'a QueryRequest,
    pub(crate) settings: &'a EngineSettings,
    pub(crate) turns: Turns<'a>,
    pub(crate) memory: Memory<'a>,
    pub(crate) blocks: SharedBlocks,
    pub(crate) push_down: PushDown,
    /// What is known of a query at an instant before anything is read.
    pub(crate) standing: Option<&'a Standing>,
    pub(crate) warnings: Warnings,
    /// In the order of the selectors.
    scans: Mutex<Vec<ScanCounts>>,
}

/// What the user is told beside the answer, each text once.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    pub(crate) fn add(&self, text: String) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }

    fn into_texts(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context<'_> {
    /// Returns the views that may hold entries of a selector in a range, unless those are too many.
    pub(crate) fn select(
        &self,
        log: &LogExpr,
        range: TimeRange,
        prefilter: &Prefilter,
    ) -> Result<(Vec<BlockView>, ScanCounts), Error> {
        let QueryRequest { tenants, direction, .. } = self.request;
        let request =
            SelectRequest { tenants, matchers: &log.matchers, range, prefilter, direction: *direction };
        let views = self.source.select(&request)?;
        limits::check_bytes(self.settings, &views, range)?;
        let runs = || views.iter().flat_map(|view| &view.runs);
        let streams: Streams = runs().map(|run| run.stream.id).collect();
        let scan = ScanCounts {
            source: self.source.describe(&request),
            streams: streams.len() as u64,
            blocks: views.len() as u64,
            entries: runs().map(|run| run.rows.len() as u64).sum(),
            line_bytes: runs().map(|run| run.raw_bytes).sum(),
            stats: QueryStats::default(),
        };
        Ok((views, scan))
    }

    /// Notes what a selector took.
    pub(crate) fn add_scan(&self, scan: ScanCounts, stats: &QueryStats) {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.push(ScanCounts { stats: *stats, ..scan });
    }
}

fn evaluate(context: &Context<'_>) -> Result<(QueryResult, QueryStats), Error> {
    match &*context.request.expr {
        Expr::Metric(expr) => metric_query::run(context, expr),
        Expr::Variants(_) => Err(Error::invalid("multi variant queries are disabled for this instance")),
        Expr::Log(log) => match context.request.kind {
            QueryKind::Range { start_ns, end_ns, .. } => log_query::run(context, log, start_ns, end_ns),
            QueryKind::Instant { .. } => Err(Error::invalid(
                "log queries are not supported as an instant query type, please change your query to a \
                 range query type",
            )),
        },
    }
}
