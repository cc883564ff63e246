//! Points in time in words: `yesterday 14:00`, `last friday`, `monday 9am`, `2 hours ago`, `nov 20`.
//!
//! A small grammar of its own: a day, a time of day and a zone, each at most once, in any order, or a span that lies
//! behind. Logs lie in the past, so a day without a year is the latest that is not after today. Crates for this were
//! weighed: those at hand bring a second calendar beside `jiff`, read `friday` as the coming one, or guess at what they
//! do not know; here every word counts, and one that is not known is an error.
//!
//! ```text
//! time  = { day | clock | zone | "at" | "on" } | span "ago" | ( "last" | "this" ) period ;
//! day   = "today" | "yesterday" | "tomorrow" | [ "last" | "this" ] weekday
//!       | month number [ year ] | number month [ year ] ;
//! clock = hour [ ":" minute [ ":" second ] ] [ "am" | "pm" ] | "noon" | "midnight" ;
//! zone  = "utc" | "z" | area "/" place ;
//! ```

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan as _};

use crate::time_text::parse_duration_ns;

/// Most words of a time.
const WORDS_MAX: usize = 8;

/// What the words said so far.
#[derive(Default)]
struct Said {
    date: Option<Date>,
    time: Option<Time>,
    zone: Option<TimeZone>,
}

/// Reads a point in time in words, seen from `now_ns` in `zone`; `None` for what is none.
pub(crate) fn parse_words_ns(text: &str, now_ns: i64, zone: &TimeZone) -> Option<i64> {
    let text = text.replace(',', " ");
    let raw: Vec<&str> = text.split_whitespace().collect();
    if raw.is_empty() || raw.len() > WORDS_MAX {
        return None;
    }
    let lower: Vec<String> = raw.iter().map(|word| word.to_lowercase()).collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    if let Some(span_ns) = ago(&words) {
        return Some(now_ns.saturating_sub(span_ns));
    }
    // The zone comes first: which day today is depends on it.
    let mut said = Said::default();
    for word in &raw {
        said.zone = match zone_of(word) {
            Some(_) if said.zone.is_some() => return None,
            Some(found) => Some(found),
            None => said.zone,
        };
    }
    let rest: Vec<&str> =
        words.iter().zip(&raw).filter(|(_, raw)| zone_of(raw).is_none()).map(|(word, _)| *word).collect();
    let zone = said.zone.clone().unwrap_or_else(|| zone.clone());
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone.clone()).datetime();
    let civil = match period(&rest, now) {
        Some(civil) => civil,
        None => {
            said.read(&rest, now.date())?;
            let date = said.date.unwrap_or_else(|| now.date());
            date.to_datetime(said.time.unwrap_or_else(Time::midnight))
        }
    };
    let instant = civil.to_zoned(zone).ok()?.timestamp();
    i64::try_from(instant.as_nanosecond()).ok()
}

impl Said {
    fn read(&mut self, mut words: &[&str], today: Date) -> Option<()> {
        if words.is_empty() {
            return None;
        }
        while let [word, rest @ ..] = words {
            words = rest;
            if matches!(*word, "at" | "on") && !words.is_empty() {
                continue;
            }
            if let Some((date, used)) = date_of(word, words, today) {
                if self.date.replace(date).is_some() {
                    return None;
                }
                words = words.get(used..)?;
                continue;
            }
            // `9 am` is one time in two words.
            let (joined, used) = match words.first() {
                Some(half @ (&"am" | &"pm")) => (format!("{word}{half}"), 1),
                _ => ((*word).to_owned(), 0),
            };
            if self.time.replace(time_of(&joined)?).is_some() {
                return None;
            }
            words = words.get(used..)?;
        }
        Some(())
    }
}

/// Reads `2h ago`, `2 hours ago`, `an hour ago`, `2h`.
fn ago(words: &[&str]) -> Option<i64> {
    match words {
        [span @ .., "ago"] => span_ns(span),
        // A bare duration, too, lies behind; a bare number is a point in time.
        span => span_ns(span),
    }
}

/// Reads a span of words, such as `2 hours`, `1 hour 30 minutes`, `1h30m`.
pub(crate) fn span_ns(words: &[&str]) -> Option<i64> {
    let mut total_ns: i64 = 0;
    let mut rest = words;
    if rest.is_empty() {
        return None;
    }
    while let [word, after @ ..] = rest {
        if *word == "and" && total_ns > 0 {
            rest = after;
            continue;
        }
        let (part_ns, used) = match (parse_duration_ns(word), after.first()) {
            (Ok(ns), _) => (ns, 0),
            (Err(_), Some(unit)) => {
                let count = if matches!(*word, "a" | "an" | "one") { "1" } else { word };
                (parse_duration_ns(&format!("{count}{}", short_unit(unit)?)).ok()?, 1)
            }
            (Err(_), None) => return None,
        };
        total_ns = total_ns.checked_add(part_ns)?;
        rest = after.get(used..)?;
    }
    Some(total_ns)
}

fn short_unit(word: &str) -> Option<&'static str> {
    Some(match word.strip_suffix('s').unwrap_or(word) {
        "second" | "sec" | "" => "s",
        "minute" | "min" | "m" => "m",
        "hour" | "hr" | "h" => "h",
        "day" | "d" => "d",
        "week" | "w" => "w",
        "year" | "y" => "y",
        _ => return None,
    })
}

/// Reads `last week`, `this month` and the like: where it begins, but for `last hour` and shorter, which lie behind.
fn period(words: &[&str], now: DateTime) -> Option<DateTime> {
    let ["last" | "this", unit] = words else { return None };
    let is_last = words.first() == Some(&"last");
    let today = now.date();
    let back = |date: Date, span: Span| if is_last { date.checked_sub(span).ok() } else { Some(date) };
    let date = match *unit {
        "minute" if is_last => return now.checked_sub(1.minute()).ok(),
        "hour" if is_last => return now.checked_sub(1.hour()).ok(),
        "day" => back(today, 1.day())?,
        "week" => {
            let since_monday = i64::from(today.weekday().to_monday_zero_offset());
            back(today.checked_sub(since_monday.days()).ok()?, 1.week())?
        }
        "month" => back(today.first_of_month(), 1.month())?,
        "year" => back(today.first_of_year(), 1.year())?,
        _ => return None,
    };
    Some(date.to_datetime(Time::midnight()))
}

/// Reads a day that begins with `word`, and how many of the words behind it it takes.
fn date_of(word: &str, behind: &[&str], today: Date) -> Option<(Date, usize)> {
    match word {
        "today" => return Some((today, 0)),
        "yesterday" => return Some((today.yesterday().ok()?, 0)),
        "tomorrow" => return Some((today.tomorrow().ok()?, 0)),
        "last" => return Some((weekday_before(weekday_of(behind.first()?)?, today.yesterday().ok()?)?, 1)),
        "this" => return Some((weekday_before(weekday_of(behind.first()?)?, today)?, 1)),
        _ => {}
    }
    if let Some(weekday) = weekday_of(word) {
        return Some((weekday_before(weekday, today)?, 0));
    }
    if word.len() == "2026-11-20".len()
        && let Ok(date) = word.parse::<Date>()
    {
        return Some((date, 0));
    }
    let (month, day) = match (month_of(word), behind.first()) {
        (Some(month), Some(day)) => (month, day_of(day)?),
        (None, Some(month)) => (month_of(month)?, day_of(word)?),
        _ => return None,
    };
    let year: Option<i16> = behind.get(1).filter(|text| text.len() == 4).and_then(|text| text.parse().ok());
    let date = match year {
        Some(year) => Date::new(year, month, day).ok()?,
        None => match Date::new(today.year(), month, day).ok() {
            Some(date) if date <= today => date,
            _ => Date::new(today.year().checked_sub(1)?, month, day).ok()?,
        },
    };
    Some((date, if year.is_some() { 2 } else { 1 }))
}

/// Returns the latest day of that name that is not after `latest`.
fn weekday_before(weekday: Weekday, latest: Date) -> Option<Date> {
    let days = i64::from(latest.weekday().since(weekday));
    latest.checked_sub(days.days()).ok()
}

fn weekday_of(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

fn month_of(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let matches = |name: &&str| **name == *word || word.len() == 3 && name.starts_with(word);
    let index = MONTHS.iter().position(matches)?;
    i8::try_from(index + 1).ok()
}

/// Reads `20`, `1st`, `2nd`, `3rd`, `4th`.
fn day_of(word: &str) -> Option<i8> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let end = word.strip_prefix(digits)?;
    matches!(end, "" | "st" | "nd" | "rd" | "th").then_some(())?;
    digits.parse().ok()
}

/// Reads `14:00`, `14:00:05.5`, `9am`, `9:30pm`, `noon`, `midnight`.
fn time_of(word: &str) -> Option<Time> {
    match word {
        "noon" => return Time::new(12, 0, 0, 0).ok(),
        "midnight" => return Some(Time::midnight()),
        "now" => return None,
        _ => {}
    }
    let (clock, half) = match (word.strip_suffix("am"), word.strip_suffix("pm")) {
        (Some(clock), _) => (clock, Some(0)),
        (_, Some(clock)) => (clock, Some(12)),
        _ => (word, None),
    };
    let mut parts = clock.split(':');
    let hour: i8 = parts.next()?.parse().ok()?;
    let minute: Option<i8> = parts.next().map(two_digits).transpose().ok()?;
    let seconds: f64 = match parts.next() {
        Some(text) if text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_digit()) => {
            text.parse().ok()?
        }
        Some(_) => return None,
        None => 0.0,
    };
    if parts.next().is_some() || half.is_none() && minute.is_none() {
        return None;
    }
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(half) => hour % 12 + half,
        None => hour,
    };
    let fraction = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let second = i8::try_from(fraction.as_secs()).ok()?;
    Time::new(hour, minute.unwrap_or_default(), second, fraction.subsec_nanos()).ok()
}

fn two_digits(text: &str) -> Result<i8, ()> {
    match text.len() {
        2 => text.parse().map_err(|_| ()),
        _ => Err(()),
    }
}

fn zone_of(word: &str) -> Option<TimeZone> {
    if word.eq_ignore_ascii_case("utc") || word.eq_ignore_ascii_case("z") || word.eq_ignore_ascii_case("gmt")
    {
        return Some(TimeZone::UTC);
    }
    let is_name = word.contains('/') && word.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_name { TimeZone::get(word).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 2026-11-21, 03:59:06 in Berlin.
    const NOW_NS: i64 = 1_795_229_946_000_000_000;

    fn read(text: &str) -> Option<String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let ns = parse_words_ns(text, NOW_NS, &zone)?;
        let timestamp = Timestamp::from_nanosecond(i128::from(ns)).unwrap();
        Some(timestamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.f").to_string())
    }

    #[test]
    fn words_are_points_in_time() {
        for (text, want) in [
            ("today", "2026-11-21 00:00:00"),
            ("yesterday", "2026-11-20 00:00:00"),
            ("yesterday 14:00", "2026-11-20 14:00:00"),
            ("14:00 yesterday", "2026-11-20 14:00:00"),
            ("Yesterday, at 14:00:05.5", "2026-11-20 14:00:05.5"),
            ("yesterday noon", "2026-11-20 12:00:00"),
            ("2:30", "2026-11-21 02:30:00"),
            ("2am", "2026-11-21 02:00:00"),
            ("12am", "2026-11-21 00:00:00"),
            ("12:15 pm", "2026-11-21 12:15:00"),
            ("friday", "2026-11-20 00:00:00"),
            ("saturday", "2026-11-21 00:00:00"),
            ("last saturday", "2026-11-14 00:00:00"),
            ("last friday", "2026-11-20 00:00:00"),
            ("monday 9am", "2026-11-16 09:00:00"),
            ("on mon at 9:30pm", "2026-11-16 21:30:00"),
            ("nov 20", "2026-11-20 00:00:00"),
            ("20 November 8:05", "2026-11-20 08:05:00"),
            ("dec 24th", "2025-12-24 00:00:00"),
            ("24 dec 2024 18:00", "2024-12-24 18:00:00"),
            ("2026-11-20 9am", "2026-11-20 09:00:00"),
            ("this week", "2026-11-16 00:00:00"),
            ("last week", "2026-11-09 00:00:00"),
            ("last month", "2026-10-01 00:00:00"),
            ("this year", "2026-01-01 00:00:00"),
            ("last hour", "2026-11-21 02:59:06"),
            ("2h", "2026-11-21 01:59:06"),
            ("2h ago", "2026-11-21 01:59:06"),
            ("2 hours ago", "2026-11-21 01:59:06"),
            ("1 hour and 30 minutes ago", "2026-11-21 02:29:06"),
            ("an hour ago", "2026-11-21 02:59:06"),
            ("3 days", "2026-11-18 03:59:06"),
        ] {
            assert_eq!(read(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn zones_count_for_days_and_times() {
        assert_eq!(read("14:00 utc").as_deref(), Some("2026-11-21 15:00:00"));
        assert_eq!(read("today America/New_York").as_deref(), Some("2026-11-20 06:00:00"));
        assert_eq!(read("yesterday 9am Asia/Tokyo").as_deref(), Some("2026-11-20 01:00:00"));
        // The clock went back on October 25: a day is one of the calendar.
        assert_eq!(read("oct 25").as_deref(), Some("2026-10-25 00:00:00"));
        // And skipped this hour on March 29.
        assert_eq!(read("mar 29 2:30").as_deref(), Some("2026-03-29 03:30:00"));
    }

    #[test]
    fn what_is_not_known_is_no_time() {
        for text in [
            "",
            "soon",
            "yesterday yesterday",
            "14:00 15:00",
            "9",
            "25:00",
            "13pm",
            "0am",
            "9:5",
            "last",
            "last blue",
            "feb 30",
            "monday soon",
            "ago",
            "h ago",
            "utc z",
            "at",
            "5 moons ago",
            "now",
            "a b c d e f g h i",
            "No/Where 14:00",
            "99999999999 years ago",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
