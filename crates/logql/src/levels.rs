//! The levels of what is no operator: how many parentheses are open at once in its canonical text.
//!
//! What is printed in parentheses must be counted here, or by the parser where operators are joined: the
//! parser accepts as many levels as it can read back.

use crate::tree::{LabelFilter, LineFilterArg, LogExpr, StageKind};
use crate::tree_metric::LogRange;

impl LogExpr {
    /// Cost: one walk over all stages.
    pub(crate) fn levels(&self) -> usize {
        self.stages.iter().map(|stage| stage.kind.levels()).max().unwrap_or(0)
    }
}

impl LogRange {
    /// Cost: one walk over all stages.
    pub(crate) fn levels(&self) -> usize {
        let unwrap = self.unwrap.iter().flat_map(|unwrap| {
            let filters = unwrap.filters.iter().map(LabelFilter::levels);
            filters.chain([usize::from(unwrap.conversion.is_some())])
        });
        unwrap.max().unwrap_or(0).max(self.log.levels())
    }
}

impl StageKind {
    fn levels(&self) -> usize {
        match self {
            Self::LabelFilter(filter) => filter.levels(),
            Self::LineFilter(filter) => {
                usize::from(filter.args.iter().any(|arg| matches!(arg, LineFilterArg::Ip(_))))
            }
            _ => 0,
        }
    }
}

impl LabelFilter {
    fn levels(&self) -> usize {
        match self {
            Self::And(left, right) | Self::Or(left, right) => left.levels().max(right.levels()) + 1,
            Self::Ip { .. } => 1,
            Self::Text(_) | Self::Compare { .. } | Self::CompareLabels { .. } => 0,
        }
    }
}
