//! How single parameters are written: times, durations, limits, directions. All as Loki v3.7.6.

use crate::error::HttpError;
use crate::params::Params;
use logyard_model::Direction;
use logyard_wire::go_time::parse_rfc3339;
use std::time::Duration;

const NS_PER_SEC: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

/// Span of a query that names none.
const SINCE_DEFAULT_NS: i64 = 3600 * NS_PER_SEC;
/// Entries of a log query that names no limit.
const LIMIT_DEFAULT: usize = 100;
/// Longest `delay_for`.
const DELAY_SECS_MAX: i64 = 5;
/// Most points per series.
const POINTS_MAX: i64 = 11_000;
/// Steps of a range whose step is not named.
const STEPS_DEFAULT: i64 = 250;

/// Start and end of a request in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

/// Reads `start`, `end` and `since`.
pub(crate) fn bounds(params: &Params, now_ns: i64) -> Result<Bounds, HttpError> {
    let since_ns = match params.get("since") {
        Some(text) => duration_ns(text).ok_or_else(|| {
            HttpError::bad_request(format!(
                "could not parse 'since' parameter: not a valid duration string: {text:?}"
            ))
        })?,
        None => SINCE_DEFAULT_NS,
    };
    let end_ns = named_time(params, "end")?.unwrap_or(now_ns);
    let start_default_ns = end_ns.min(now_ns).saturating_sub(since_ns);
    let start_ns = named_time(params, "start")?.unwrap_or(start_default_ns);
    if end_ns < start_ns {
        return Err(HttpError::bad_request("end timestamp must not be before or equal to start time"));
    }
    Ok(Bounds { start_ns, end_ns })
}

fn named_time(params: &Params, name: &str) -> Result<Option<i64>, HttpError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let time = time_ns(text)
        .map_err(|fault| HttpError::bad_request(format!("could not parse '{name}' parameter: {fault}")))?;
    Ok(Some(time))
}

/// Reads `time` of an instant query, now by default; what is finer than a millisecond is cut off.
pub(crate) fn instant(params: &Params, now_ns: i64) -> Result<i64, HttpError> {
    let time_ns = match params.get("time") {
        Some(text) => time_ns(text).map_err(HttpError::bad_request)?,
        None => now_ns,
    };
    Ok(time_ns.div_euclid(NS_PER_MS).saturating_mul(NS_PER_MS))
}

/// Reads a point in time: seconds with a fraction, integers of up to ten characters as seconds and
/// longer ones as nanoseconds, or RFC 3339. The error is Go's.
fn time_ns(text: &str) -> Result<i64, String> {
    if text.contains('.')
        && let Some(secs) = float(text)
    {
        let whole = secs.trunc();
        let fraction_ms = ((secs - whole) * 1000.0).round();
        let ns = whole * NS_PER_SEC as f64;
        if ns.abs() >= i64::MAX as f64 {
            return Err(out_of_range("ParseInt", text));
        }
        // Whole seconds are converted as an integer, since a float of ns has steps of 256 ns.
        return Ok((whole as i64).saturating_mul(NS_PER_SEC).saturating_add(fraction_ms as i64 * NS_PER_MS));
    }
    match text.parse::<i64>() {
        Ok(number) if text.len() <= 10 => {
            number.checked_mul(NS_PER_SEC).ok_or_else(|| out_of_range("ParseInt", text))
        }
        Ok(number) => Ok(number),
        Err(error) => {
            if let Some(time) = parse_rfc3339(text) {
                return time.to_ns().ok_or_else(|| out_of_range("ParseInt", text));
            }
            match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    Err(out_of_range("ParseInt", text))
                }
                _ => Err(bad_syntax("ParseInt", text)),
            }
        }
    }
}

/// Reads `step`: by default a 250th of the range in whole seconds, at least one.
pub(crate) fn step_ns(params: &Params, bounds: Bounds) -> Result<i64, HttpError> {
    let range_ns = bounds.end_ns.saturating_sub(bounds.start_ns);
    let step_ns = match params.get("step") {
        Some(text) => seconds_or_duration_ns(text)?,
        None => (range_ns / NS_PER_SEC / STEPS_DEFAULT).max(1) * NS_PER_SEC,
    };
    if step_ns <= 0 {
        return Err(HttpError::bad_request(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if range_ns / step_ns > POINTS_MAX {
        let text = "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter";
        return Err(HttpError::bad_request(text));
    }
    Ok(step_ns)
}

/// Reads `interval`, 0 by default.
pub(crate) fn interval_ns(params: &Params) -> Result<i64, HttpError> {
    let interval_ns = match params.get("interval") {
        Some(text) => seconds_or_duration_ns(text)?,
        None => 0,
    };
    if interval_ns < 0 {
        return Err(HttpError::bad_request("interval must be >= 0"));
    }
    Ok(interval_ns)
}

/// Reads `start` of a tail, an hour ago by default.
pub(crate) fn tail_start(params: &Params, now_ns: i64) -> Result<i64, HttpError> {
    Ok(named_time(params, "start")?.unwrap_or(now_ns.saturating_sub(SINCE_DEFAULT_NS)))
}

/// Reads `delay_for`, whole seconds, 0 by default.
pub(crate) fn delay_for(params: &Params) -> Result<Duration, HttpError> {
    let secs = integer(params, "delay_for")?.unwrap_or(0);
    if secs > DELAY_SECS_MAX {
        return Err(HttpError::bad_request(format!("delay_for can't be greater than {DELAY_SECS_MAX}")));
    }
    Ok(Duration::from_secs(u64::try_from(secs).unwrap_or(0)))
}

/// Reads `limit`, 100 by default.
pub(crate) fn limit(params: &Params) -> Result<usize, HttpError> {
    count(params, "limit", LIMIT_DEFAULT)
}

/// Reads a positive number.
pub(crate) fn count(params: &Params, name: &str, default: usize) -> Result<usize, HttpError> {
    match integer(params, name)?.map(usize::try_from) {
        None => Ok(default),
        Some(Ok(count)) if count > 0 => Ok(count),
        Some(_) => Err(HttpError::bad_request("limit must be a positive value")),
    }
}

fn integer(params: &Params, name: &str) -> Result<Option<i64>, HttpError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let number = text.parse().map_err(|error: std::num::ParseIntError| {
        HttpError::bad_request(match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                out_of_range("Atoi", text)
            }
            _ => bad_syntax("Atoi", text),
        })
    })?;
    Ok(Some(number))
}

/// Reads `direction`, backward by default, in any case.
pub(crate) fn direction(params: &Params) -> Result<Direction, HttpError> {
    let Some(text) = params.get("direction") else { return Ok(Direction::Backward) };
    if text.eq_ignore_ascii_case("forward") {
        Ok(Direction::Forward)
    } else if text.eq_ignore_ascii_case("backward") {
        Ok(Direction::Backward)
    } else {
        Err(HttpError::bad_request(format!("invalid direction '{text}'")))
    }
}

fn seconds_or_duration_ns(text: &str) -> Result<i64, HttpError> {
    if let Some(secs) = float(text) {
        let ns = secs * NS_PER_SEC as f64;
        if ns.abs() >= i64::MAX as f64 {
            return Err(HttpError::bad_request(format!(
                "cannot parse {text:?} to a valid duration. It overflows int64"
            )));
        }
        return Ok(ns as i64);
    }
    duration_ns(text)
        .ok_or_else(|| HttpError::bad_request(format!("cannot parse {text:?} to a valid duration")))
}

fn float(text: &str) -> Option<f64> {
    // Rust reads names such as "infinity" that make no sense as times.
    let numeric =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    text.parse().ok().filter(|_| numeric)
}

/// Reads a Prometheus duration: numbers with units `y w d h m s ms`, joined, largest first, or `0`.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    const UNITS_MS: [(&str, i64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(0);
    }
    let mut units = UNITS_MS.iter();
    let (mut rest, mut total_ms) = (text, 0_i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit)?;
        total_ms = number.parse::<i64>().ok()?.checked_mul(*unit_ms)?.checked_add(total_ms)?;
        rest = after;
    }
    if text.is_empty() { None } else { total_ms.checked_mul(NS_PER_MS) }
}

fn bad_syntax(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: invalid syntax")
}

fn out_of_range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: value out of range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::of_text;
    use axum::response::IntoResponse as _;

    const NOW_NS: i64 = 1_795_230_000_000_000_000;

    async fn text(error: HttpError) -> String {
        let body = error.into_response().into_body();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn forms_of_a_time() {
        for (form, ns) in [
            ("1795229946.884", 1_795_229_946_884_000_000),
            ("1795229946", 1_795_229_946_000_000_000),
            ("4000000000", 4_000_000_000_000_000_000),
            ("1795229946884000001", 1_795_229_946_884_000_001),
            ("1795229946884", 1_795_229_946_884),
            ("2026-11-21T02:59:06.123Z", 1_795_229_946_123_000_000),
            ("0", 0),
            ("-5", -5_000_000_000),
        ] {
            assert_eq!(time_ns(form), Ok(ns), "{form}");
        }
        for form in ["2025-01-01", "abc", "1e18", "now-1h", "1.2.3", "", "."] {
            assert_eq!(
                time_ns(form),
                Err(format!("strconv.ParseInt: parsing {form:?}: invalid syntax")),
                "{form}"
            );
        }
        assert_eq!(
            time_ns("99999999999999999999"),
            Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned())
        );
    }

    #[tokio::test]
    async fn bounds_and_their_defaults() {
        let hour = 3_600_000_000_000;
        let check = |query: &str, start_ns, end_ns| {
            assert_eq!(bounds(&of_text(query), NOW_NS), Ok(Bounds { start_ns, end_ns }), "{query}")
        };
        check("", NOW_NS - hour, NOW_NS);
        check("start=", NOW_NS - hour, NOW_NS);
        check("since=30m", NOW_NS - hour / 2, NOW_NS);
        check("since=30m&start=5", 5_000_000_000, NOW_NS);
        check("end=4000000000", NOW_NS - hour, 4_000_000_000_000_000_000);
        check("end=1000000000", 1_000_000_000_000_000_000 - hour, 1_000_000_000_000_000_000);
        check("start=7&end=7", 7_000_000_000, 7_000_000_000);
        for (query, expect) in [
            ("start=8&end=7", "end timestamp must not be before or equal to start time"),
            ("since=soon", "could not parse 'since' parameter: not a valid duration string: \"soon\""),
            ("since=60.5", "could not parse 'since' parameter: not a valid duration string: \"60.5\""),
            (
                "start=abc",
                "could not parse 'start' parameter: strconv.ParseInt: parsing \"abc\": invalid syntax",
            ),
            (
                "end=2025-01-01",
                "could not parse 'end' parameter: strconv.ParseInt: parsing \"2025-01-01\": invalid syntax",
            ),
        ] {
            assert_eq!(text(bounds(&of_text(query), NOW_NS).unwrap_err()).await, expect);
        }
    }

    #[tokio::test]
    async fn steps() {
        let range = |secs| Bounds { start_ns: 0, end_ns: secs * NS_PER_SEC };
        let check = |query: &str, secs, expect_ms| {
            assert_eq!(step_ns(&of_text(query), range(secs)), Ok(expect_ms * NS_PER_MS), "{query}")
        };
        check("", 3600, 14_000);
        check("", 100, 1000);
        check("step=500ms", 100, 500);
        check("step=1m30s", 100, 90_000);
        check("step=1d", 100, 86_400_000);
        check("step=60", 100, 60_000);
        check("step=0.5", 100, 500);
        check("step=1", 11_000, 1000);
        for (query, expect) in [
            ("step=1.5s", "cannot parse \"1.5s\" to a valid duration"),
            ("step=-5m", "cannot parse \"-5m\" to a valid duration"),
            ("step=1e20", "cannot parse \"1e20\" to a valid duration. It overflows int64"),
            (
                "step=0",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
            (
                "step=-1",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
        ] {
            assert_eq!(text(step_ns(&of_text(query), range(100)).unwrap_err()).await, expect);
        }
        assert!(
            text(step_ns(&of_text("step=1"), range(11_001)).unwrap_err())
                .await
                .starts_with("exceeded maximum resolution of 11,000 points")
        );
    }

    #[tokio::test]
    async fn limits_directions_and_intervals() {
        assert_eq!((limit(&of_text("")), limit(&of_text("limit=7"))), (Ok(100), Ok(7)));
        for (query, expect) in [
            ("limit=0", "limit must be a positive value"),
            ("limit=-1", "limit must be a positive value"),
            ("limit=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
            ("limit=1.5", "strconv.Atoi: parsing \"1.5\": invalid syntax"),
        ] {
            assert_eq!(text(limit(&of_text(query)).unwrap_err()).await, expect);
        }
        assert_eq!(direction(&of_text("direction=FORWARD")), Ok(Direction::Forward));
        assert_eq!(direction(&of_text("")), Ok(Direction::Backward));
        assert_eq!(
            text(direction(&of_text("direction=sideways")).unwrap_err()).await,
            "invalid direction 'sideways'"
        );
        assert_eq!(interval_ns(&of_text("interval=0.1")), Ok(100_000_000));
        assert_eq!(text(interval_ns(&of_text("interval=-1")).unwrap_err()).await, "interval must be >= 0");
        assert_eq!(instant(&of_text("time=1795229946884999999"), NOW_NS), Ok(1_795_229_946_884_000_000));
    }
}
