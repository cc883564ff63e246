//! What one query sees: the segments and heads of one moment, and what of them is hidden from it.
//!
//! What hides entries is taken before the view. A delete request that is carried out in between, or an epoch that is
//! forgotten with its last segment, then still hides what an older view holds; taken after it, it would show it.

use crate::deletes::Hiding;
use crate::error::{Error, Result};
use crate::head::{Head, order_of};
use crate::retention::Window;
use crate::segment::{IndexError, Segment, SegmentIndex};
use crate::shared::{Phase, Shared, View};
use logyard_codec::{BlockView, RunView};
use logyard_model::{Matcher, Prefilter, Tenant, TimeRange};
use std::sync::Arc;

/// See the module doc.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    shared: &'a Shared,
    tenant: &'a Tenant,
    hiding: Option<Hiding<'a>>,
    /// What of the range is not too old.
    window: Window<'a>,
    view: View,
}

/// A part of what a query adds up.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A segment of which nothing is hidden, so that its tables tell.
    Segment(&'a Segment, &'a SegmentIndex),
    /// The same of a head.
    Head(&'a Head),
    /// What is left of a run, elsewhere, with what the window leaves of its stream.
    Run(RunView, TimeRange),
}

impl<'a> Sight<'a> {
    /// Looks for entries of a tenant in a range; `None` if all of it is too old.
    ///
    /// Errors: as [`complete_view`].
    pub(crate) fn new(shared: &'a Shared, tenant: &'a Tenant, range: TimeRange) -> Result<Option<Self>> {
        let (hiding, past) = (shared.deletes.hiding(tenant, range), shared.epochs.past());
        let window = Window::new(&shared.periods, past, tenant, range, shared.clock.now_ns());
        let view = complete_view(shared)?;
        Ok(window.map(|window| Self { shared, tenant, hiding, window, view }))
    }

    /// Returns views of the blocks that may hold entries of matching streams, in order of arrival.
    ///
    /// Errors and cost: as [`crate::Store::select`].
    pub(crate) fn views(mut self, matchers: &[Matcher], prefilter: &Prefilter) -> Result<Vec<BlockView>> {
        let (reads, mut views) = (&self.shared.reads, Vec::new());
        each_segment(self.shared, &self.view, self.tenant, self.window.range, |segment, index| {
            let first = views.len();
            index.views(segment, reads, matchers, &self.window, prefilter, &mut views);
            let Some(hiding) = &mut self.hiding else { return Ok(()) };
            hiding.hide_in_segment(segment, index, reads, &mut views, first)
        })?;
        for head in self.view.heads() {
            let first = views.len();
            head.views(self.tenant, matchers, &self.window, &mut views);
            if let Some(hiding) = &mut self.hiding {
                hiding.hide_in_head(&mut views, first)?;
            }
        }
        self.window.trim(&mut views)?;
        Ok(views)
    }

    /// Calls `visit` for everything that may hold entries of matching streams, in order of arrival.
    ///
    /// Errors: as [`crate::Store::select`]. Cost: reads blocks only where delete requests may mean some of their entries,
    /// and holds the runs of one segment at a time.
    pub(crate) fn each_part(
        &mut self,
        matchers: &[Matcher],
        mut visit: impl FnMut(&Window<'_>, Part<'_>),
    ) -> Result<()> {
        let Self { shared, tenant, hiding, window, view } = self;
        let (reads, mut views) = (&shared.reads, Vec::new());
        each_segment(shared, view, tenant, window.range, |segment, index| {
            let concerned =
                hiding.as_mut().filter(|one| one.concerns(segment.record.min_ns, segment.record.max_ns));
            let Some(hiding) = concerned else {
                visit(window, Part::Segment(segment, index));
                return Ok(());
            };
            index.views(segment, reads, matchers, window, &Prefilter::default(), &mut views);
            hiding.hide_in_segment(segment, index, reads, &mut views, 0)?;
            visit_runs(window, &mut views, &mut visit);
            Ok(())
        })?;
        for head in view.heads() {
            let Some(hiding) = hiding.as_mut() else {
                visit(window, Part::Head(head));
                continue;
            };
            head.views(tenant, matchers, window, &mut views);
            hiding.hide_in_head(&mut views, 0)?;
            visit_runs(window, &mut views, &mut visit);
        }
        Ok(())
    }
}

fn visit_runs(
    window: &Window<'_>,
    views: &mut Vec<BlockView>,
    visit: &mut impl FnMut(&Window<'_>, Part<'_>),
) {
    for view in views.drain(..) {
        let order = order_of(view.arrival);
        for run in view.runs {
            let range = window.of(order, &run.stream);
            if let Some(range) = range.filter(|range| range.overlaps(run.min_ns, run.max_ns)) {
                visit(window, Part::Run(run, range));
            }
        }
    }
}

/// Returns a view that holds every acknowledged entry.
///
/// Errors: `Kind::Unavailable` while recovering; what made the replay fail, if it did.
pub(crate) fn complete_view(shared: &Shared) -> Result<View> {
    match &*shared.phase.read() {
        Phase::Ready | Phase::ReadOnly(_) => {}
        Phase::Recovering => {
            let text = "cannot answer yet: the store is replaying its write-ahead log; ask again in a moment";
            return Err(Error::unavailable(text));
        }
        Phase::Failed(error) => return Err(error.clone()),
    }
    Ok(shared.view())
}

/// Calls `visit` for the tenant's segments that overlap `range`, in order of arrival.
fn each_segment(
    shared: &Shared,
    view: &View,
    tenant: &Tenant,
    range: TimeRange,
    mut visit: impl FnMut(&Arc<Segment>, &SegmentIndex) -> Result<()>,
) -> Result<()> {
    for segment in view.segments.iter().filter(|segment| segment.record.overlaps(tenant, range)) {
        match shared.reads.index(segment) {
            Ok(index) => visit(segment, &index)?,
            Err(IndexError::Lost(error)) => shared.lose(segment, &error),
            Err(IndexError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}
