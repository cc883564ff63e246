//! Functions of templates on numbers.
//!
//! Integers wrap as Go's do. The functions that end in `f` calculate with decimal digits, so that
//! `addf 0.1 0.2` is 0.3; where digits run out they fall back to binary ones.

use crate::call::{Function, Param, Surroundings, function, int, text, variadic};
use crate::parse::integer;
use crate::value::Value;
use logyard_logql::{parse_go_duration, parse_go_float, parse_size};

const ANY: &[Param] = &[Param::Any];
const PAIR: &[Param] = &[Param::Any, Param::Any];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("int", ANY, |_, args| Ok(Value::int(nth_int(args, 0)))),
    function("float64", ANY, |_, args| Ok(Value::Float(nth_float(args, 0)))),
    variadic("add", &[], Param::Any, |_, args| {
        Ok(Value::int64((0..args.len()).fold(0, |sum: i64, index| sum.wrapping_add(nth_int(args, index)))))
    }),
    function("sub", PAIR, |_, args| Ok(Value::int64(nth_int(args, 0).wrapping_sub(nth_int(args, 1))))),
    variadic("mul", ANY, Param::Any, |_, args| {
        Ok(Value::int64(
            (0..args.len()).fold(1, |product: i64, index| product.wrapping_mul(nth_int(args, index))),
        ))
    }),
    function("div", PAIR, |_, args| divided(args, i64::wrapping_div)),
    function("mod", PAIR, |_, args| divided(args, i64::wrapping_rem)),
    variadic("max", ANY, Param::Any, |_, args| Ok(Value::int64(ints(args).max().unwrap_or(0)))),
    variadic("min", ANY, Param::Any, |_, args| Ok(Value::int64(ints(args).min().unwrap_or(0)))),
    variadic("addf", &[], Param::Any, |_, args| decimal(args, Some(0.0), |a, b| a + b, Decimal::add)),
    variadic("subf", ANY, Param::Any, |_, args| decimal(args, None, |a, b| a - b, Decimal::subtract)),
    variadic("mulf", ANY, Param::Any, |_, args| decimal(args, None, |a, b| a * b, Decimal::multiply)),
    variadic("divf", ANY, Param::Any, |_, args| {
        if (1..args.len()).any(|index| nth_float(args, index) == 0.0) {
            return Err("decimal division by 0".to_owned());
        }
        decimal(args, None, |a, b| a / b, Decimal::divide)
    }),
    variadic("maxf", ANY, Param::Any, |_, args| Ok(Value::Float(extreme(args, f64::max)))),
    variadic("minf", ANY, Param::Any, |_, args| Ok(Value::Float(extreme(args, f64::min)))),
    function("ceil", ANY, |_, args| Ok(Value::Float(nth_float(args, 0).ceil()))),
    function("floor", ANY, |_, args| Ok(Value::Float(nth_float(args, 0).floor()))),
    variadic("round", &[Param::Any, Param::Int], Param::Float, round),
    function("bytes", &[Param::Text], |_, args| {
        parse_size(&String::from_utf8_lossy(text(args, 0))).map(|bytes| Value::Float(bytes as f64))
    }),
    function("duration", &[Param::Text], duration),
    function("duration_seconds", &[Param::Text], duration),
];

fn nth_int(args: &[Value], index: usize) -> i64 {
    to_int(args.get(index).unwrap_or(&Value::Nil))
}

fn nth_float(args: &[Value], index: usize) -> f64 {
    to_float(args.get(index).unwrap_or(&Value::Nil))
}

fn ints(args: &[Value]) -> impl Iterator<Item = i64> {
    args.iter().map(to_int)
}

/// Makes an integer of anything; what is none is 0.
fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(value, _) | Value::Named(_, _, value) => *value,
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => text_to_int(text).unwrap_or(0),
        Value::Nil | Value::Time(_) | Value::List(_) | Value::Map(_) | Value::Labels(_) => 0,
    }
}

/// Reads digits, a prefix for the base allowed; decimals are cut off.
fn text_to_int(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let whole = match digits.split_once('.') {
        Some((whole, decimals)) if decimals.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => digits,
    };
    let value = integer(whole)?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Makes a float of anything; what is none is 0.
fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Text(text) => {
            std::str::from_utf8(text).ok().and_then(|text| parse_go_float(text).ok()).unwrap_or(0.0)
        }
        value => to_int(value) as f64,
    }
}

fn divided(args: &[Value], operation: fn(i64, i64) -> i64) -> Result<Value, String> {
    match nth_int(args, 1) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(Value::int64(operation(nth_int(args, 0), divisor))),
    }
}

fn extreme(args: &[Value], choose: fn(f64, f64) -> f64) -> f64 {
    args.iter()
        .map(to_float)
        .reduce(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { choose(a, b) })
        .unwrap_or(0.0)
}

fn round(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let (value, places) = (nth_float(args, 0), int(args, 1));
    let border = if args.len() > 2 { nth_float(args, 2) } else { 0.5 };
    let scale = 10_f64.powi(i32::try_from(places).unwrap_or(i32::MAX));
    let scaled = scale * value;
    let up = scaled.abs().fract() >= border;
    let whole = scaled.abs().floor() + f64::from(u8::from(up));
    Ok(Value::Float((whole / scale).copysign(value)))
}

fn duration(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    // As Go computes the seconds of a span.
    let seconds = |ns: i64| (ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9;
    parse_go_duration(&String::from_utf8_lossy(text(args, 0))).map(|ns| Value::Float(seconds(ns)))
}

/// A number as digits and a power of ten.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    digits: i128,
    power: i32,
}

/// Decimals kept by a division.
const DIVISION_DECIMALS: i32 = 16;

impl Decimal {
    /// Reads the fewest digits that tell the number.
    fn new(value: f64) -> Option<Self> {
        let text = format!("{value:e}");
        let (digits, power) = text.split_once('e')?;
        let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let digits = digits.replace('.', "").parse().ok()?;
        Some(Self { digits, power: power.parse::<i32>().ok()? - i32::try_from(decimals).ok()? })
    }

    fn to_float(self) -> f64 {
        format!("{}e{}", self.digits, self.power).parse().unwrap_or(f64::NAN)
    }

    /// Returns the digits at a lower power.
    fn at(self, power: i32) -> Option<i128> {
        let shift = u32::try_from(self.power.checked_sub(power)?).ok()?;
        self.digits.checked_mul(10_i128.checked_pow(shift)?)
    }

    fn add(self, other: Self) -> Option<Self> {
        let power = self.power.min(other.power);
        Some(Self { digits: self.at(power)?.checked_add(other.at(power)?)?, power })
    }

    fn subtract(self, other: Self) -> Option<Self> {
        self.add(Self { digits: -other.digits, ..other })
    }

    fn multiply(self, other: Self) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(other.digits)?, power: self.power + other.power })
    }

    /// Divides to a fixed number of decimals, half away from zero.
    fn divide(self, other: Self) -> Option<Self> {
        let shift = self.power - other.power + DIVISION_DECIMALS;
        let scale = 10_i128.checked_pow(shift.unsigned_abs())?;
        let (above, below) = if shift >= 0 {
            (self.digits.checked_mul(scale)?, other.digits)
        } else {
            (self.digits, other.digits.checked_mul(scale)?)
        };
        let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
        let up = rest.unsigned_abs().checked_mul(2)? >= below.unsigned_abs();
        let sign = if (above < 0) == (below < 0) { 1 } else { -1 };
        Some(Self { digits: whole + if up { sign } else { 0 }, power: -DIVISION_DECIMALS })
    }
}

fn decimal(
    args: &[Value],
    start: Option<f64>,
    binary: fn(f64, f64) -> f64,
    exact: fn(Decimal, Decimal) -> Option<Decimal>,
) -> Result<Value, String> {
    let mut values = start.into_iter().chain(args.iter().map(to_float));
    let mut result = values.next().unwrap_or(0.0);
    for value in values {
        let both = Decimal::new(result).zip(Decimal::new(value));
        result = both.and_then(|(a, b)| exact(a, b)).map_or_else(|| binary(result, value), Decimal::to_float);
    }
    Ok(Value::Float(result))
}
