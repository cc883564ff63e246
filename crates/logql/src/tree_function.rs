//! The syntax tree of functions of samples; all of them are beyond Loki, with PromQL's names.

use crate::tree_metric::MetricExpr;

/// A function of samples.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionExpr {
    /// Changes each value.
    Map(MapCall),
    /// Sets a label from others.
    LabelJoin(LabelJoin),
    /// `time()`: the instant in seconds.
    Time,
}

impl FunctionExpr {
    /// Returns the samples that the function is applied to.
    pub fn inner(&self) -> Option<&MetricExpr> {
        match self {
            Self::Map(call) => Some(&call.inner),
            Self::LabelJoin(join) => Some(&join.inner),
            Self::Time => None,
        }
    }
}

/// Changes each value.
#[derive(Clone, Debug, PartialEq)]
pub struct MapCall {
    /// The function.
    pub op: MapOp,
    /// The samples.
    pub inner: Box<MetricExpr>,
    /// As many numbers as the function takes.
    pub params: Vec<f64>,
}

/// Sets a label from others.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelJoin {
    /// The samples.
    pub inner: Box<MetricExpr>,
    /// The label to set.
    pub label: String,
    /// What stands between the values.
    pub separator: String,
    /// The labels to read, at least one.
    pub sources: Vec<String>,
}

/// Function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the language's")]
pub enum MapOp {
    Abs,
    Ceil,
    Clamp,
    ClampMax,
    ClampMin,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Round,
    Sgn,
    Sqrt,
}

impl MapOp {
    /// All functions.
    pub const ALL: [Self; 13] = [
        Self::Abs,
        Self::Ceil,
        Self::Clamp,
        Self::ClampMax,
        Self::ClampMin,
        Self::Exp,
        Self::Floor,
        Self::Ln,
        Self::Log10,
        Self::Log2,
        Self::Round,
        Self::Sgn,
        Self::Sqrt,
    ];

    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Ceil => "ceil",
            Self::Clamp => "clamp",
            Self::ClampMax => "clamp_max",
            Self::ClampMin => "clamp_min",
            Self::Exp => "exp",
            Self::Floor => "floor",
            Self::Ln => "ln",
            Self::Log10 => "log10",
            Self::Log2 => "log2",
            Self::Round => "round",
            Self::Sgn => "sgn",
            Self::Sqrt => "sqrt",
        }
    }

    /// Returns how many numbers must and may follow the samples.
    pub fn params(self) -> (usize, usize) {
        match self {
            Self::Clamp => (2, 2),
            Self::ClampMax | Self::ClampMin => (1, 1),
            Self::Round => (0, 1),
            _ => (0, 0),
        }
    }

    /// Applies the function; nothing is left of a sample clamped between bounds the wrong way round.
    pub fn apply(self, value: f64, params: &[f64]) -> Option<f64> {
        let (first, second) = (params.first().copied(), params.get(1).copied());
        Some(match self {
            Self::Abs => value.abs(),
            Self::Ceil => value.ceil(),
            Self::Floor => value.floor(),
            Self::Exp => value.exp(),
            Self::Ln => value.ln(),
            Self::Log10 => value.log10(),
            Self::Log2 => value.log2(),
            Self::Sqrt => value.sqrt(),
            // Zeros and NaN stay as they are.
            Self::Sgn if value == 0.0 || value.is_nan() => value,
            Self::Sgn => value.signum(),
            Self::Round => {
                // PromQL divides by the inverse, which keeps 0.1 and its kin exact.
                let inverse = 1.0 / first.unwrap_or(1.0);
                (value * inverse + 0.5).floor() / inverse
            }
            Self::ClampMin => larger(value, first?),
            Self::ClampMax => smaller(value, first?),
            Self::Clamp if second? < first? => return None,
            Self::Clamp => larger(first?, smaller(second?, value)),
        })
    }
}

/// The larger number; NaN wins.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (op, params, value, expect) in [
            (MapOp::Abs, &[][..], -1.5, Some(1.5)),
            (MapOp::Round, &[], 2.5, Some(3.0)),
            (MapOp::Round, &[], -2.5, Some(-2.0)),
            (MapOp::Round, &[0.1], 0.34, Some(0.3)),
            (MapOp::Round, &[5.0], 12.6, Some(15.0)),
            (MapOp::Clamp, &[1.0, 2.0], 3.0, Some(2.0)),
            (MapOp::Clamp, &[2.0, 1.0], 3.0, None),
            (MapOp::ClampMin, &[1.0], -3.0, Some(1.0)),
            (MapOp::ClampMax, &[1.0], -3.0, Some(-3.0)),
            (MapOp::Sgn, &[], -0.1, Some(-1.0)),
            (MapOp::Sgn, &[], 0.0, Some(0.0)),
            (MapOp::Log2, &[], 8.0, Some(3.0)),
            (MapOp::Ceil, &[], 1.2, Some(2.0)),
            (MapOp::Floor, &[], -1.2, Some(-2.0)),
        ] {
            assert_eq!(op.apply(value, params), expect, "{op:?} {params:?} {value}");
        }
        assert!(MapOp::ClampMin.apply(f64::NAN, &[1.0]).is_some_and(f64::is_nan));
    }
}
