//! Functions of templates on times. Where Go would use the zone of the server, it is UTC.

use crate::call::{Function, Param, Surroundings, function, int, text};
use crate::layout::{Layout, format, from_ns, month_name, weekday_name};
use crate::value::Value;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use logyard_logql::quoted;
use std::rc::Rc;

pub(crate) const FUNCTIONS: &[Function] = &[
    function("__timestamp__", &[], |around, _| Ok(Value::Time(Rc::new(from_ns(around.ts_ns))))),
    function("now", &[], |around, _| Ok(Value::Time(Rc::new(from_ns(around.now_ns))))),
    function("date", &[Param::Text, Param::Any], date),
    function("toDate", &[Param::Text, Param::Text], |_, args| {
        Ok(read(text(args, 0), text(args, 1), &TimeZone::UTC))
    }),
    function("toDateInZone", &[Param::Text, Param::Text, Param::Text], |_, args| {
        let name = String::from_utf8_lossy(text(args, 1));
        let zone =
            if name.is_empty() { TimeZone::UTC } else { TimeZone::get(&name).unwrap_or(TimeZone::UTC) };
        Ok(read(text(args, 0), text(args, 2), &zone))
    }),
    function("unixEpoch", &[Param::Time], |_, args| Ok(count(args, 1_000_000_000))),
    function("unixEpochMillis", &[Param::Time], |_, args| Ok(count(args, 1_000_000))),
    function("unixEpochNanos", &[Param::Time], |_, args| Ok(count(args, 1))),
    function("unixToTime", &[Param::Text], unix_to_time),
];

/// Go's zero time.
fn zero() -> Zoned {
    Timestamp::from_second(-62_135_596_800).unwrap_or_default().to_zoned(TimeZone::UTC)
}

/// Prints a time as Go does by itself.
pub(crate) fn default_text(time: &Zoned) -> String {
    format("2006-01-02 15:04:05.999999999 -0700 MST", time)
}

fn date(around: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let layout = String::from_utf8_lossy(text(args, 0));
    let time = match args.get(1) {
        Some(Value::Time(time)) => time.with_time_zone(TimeZone::UTC),
        Some(Value::Int(..)) => Timestamp::from_second(int(args, 1))
            .map_or_else(|_| zero(), |moment| moment.to_zoned(TimeZone::UTC)),
        _ => from_ns(around.now_ns),
    };
    Ok(Value::text(format(&layout, &time)))
}

fn read(layout: &[u8], text: &[u8], zone: &TimeZone) -> Value {
    let (layout, text) = (String::from_utf8_lossy(layout), String::from_utf8_lossy(text));
    Value::Time(Rc::new(Layout::new(&layout).read(&text, zone).unwrap_or_else(zero)))
}

fn count(args: &[Value], unit_ns: i128) -> Value {
    let Some(Value::Time(time)) = args.first() else { return Value::Nil };
    Value::text(time.timestamp().as_nanosecond().div_euclid(unit_ns).to_string())
}

/// Reads a count since the epoch whose unit shows in the number of its digits.
fn unix_to_time(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let digits = String::from_utf8_lossy(text(args, 0));
    let fault = |reason: String| Err(format!("unable to parse time '{digits}': {reason}"));
    let Ok(number) = digits.parse::<i64>() else {
        return fault(format!("strconv.ParseInt: parsing {}: invalid syntax", quoted(&digits)));
    };
    let unit_ns: i128 = match digits.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return fault("%!w(<nil>)".to_owned()),
    };
    match Timestamp::from_nanosecond(i128::from(number) * unit_ns) {
        Ok(moment) => Ok(Value::Time(Rc::new(moment.to_zoned(TimeZone::UTC)))),
        Err(_) => fault("out of range".to_owned()),
    }
}

/// Calls a method of a time; `None` if times have none of that name.
pub(crate) fn method(time: &Rc<Zoned>, name: &str, args: &[Value]) -> Option<Value> {
    let ns = || time.timestamp().as_nanosecond();
    let int64 = |value: i128| i64::try_from(value).map_or(Value::int64(i64::MAX), Value::int64);
    Some(match name {
        "Year" => Value::int(i64::from(time.year())),
        "Month" => Value::Named("time.Month", month_name(time), i64::from(time.month())),
        "Day" => Value::int(i64::from(time.day())),
        "Hour" => Value::int(i64::from(time.hour())),
        "Minute" => Value::int(i64::from(time.minute())),
        "Second" => Value::int(i64::from(time.second())),
        "Nanosecond" => Value::int(i64::from(time.subsec_nanosecond())),
        "YearDay" => Value::int(i64::from(time.day_of_year())),
        "Weekday" => {
            let number = i64::from(time.weekday().to_sunday_zero_offset());
            Value::Named("time.Weekday", weekday_name(time), number)
        }
        "Unix" => int64(ns().div_euclid(1_000_000_000)),
        "UnixMilli" => int64(ns().div_euclid(1_000_000)),
        "UnixMicro" => int64(ns().div_euclid(1_000)),
        "UnixNano" => int64(ns()),
        "UTC" | "Local" => Value::Time(Rc::new(time.with_time_zone(TimeZone::UTC))),
        "IsZero" => Value::Bool(time.timestamp() == zero().timestamp()),
        "String" => Value::text(default_text(time)),
        "Format" => Value::text(format(&String::from_utf8_lossy(text(args, 0)), time)),
        _ => return None,
    })
}

/// Returns what a method takes.
pub(crate) fn method_params(name: &str) -> &'static [Param] {
    if name == "Format" { &[Param::Text] } else { &[] }
}
