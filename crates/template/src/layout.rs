//! Times as texts, by Go's layouts: a layout shows how `Mon Jan 2 15:04:05 MST 2006` is to look.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use std::ops::Range;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A layout taken apart once, to read many times by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    text: String,
    parts: Vec<Part>,
}

/// One part of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Bytes of the layout that stand for themselves.
    Literal(Range<usize>),
    LongMonth,
    ShortMonth,
    /// Width 1 or 2.
    Month(usize),
    LongWeekday,
    ShortWeekday,
    Day(usize),
    SpacedDay,
    YearDay,
    SpacedYearDay,
    Hour,
    Hour12(usize),
    Minute(usize),
    Second(usize),
    LongYear,
    ShortYear,
    UpperHalf,
    LowerHalf,
    Zone,
    Offset {
        zulu: bool,
        colon: bool,
        minutes: bool,
        seconds: bool,
    },
    /// A separator and digits; trailing zeros dropped or all digits kept.
    Fraction {
        digits: usize,
        drops: bool,
        comma: bool,
    },
}

const OFFSETS: [(&str, bool, bool, bool); 5] = [
    ("070000", false, true, true),
    ("07:00:00", true, true, true),
    ("0700", false, true, false),
    ("07:00", true, true, false),
    ("07", false, false, false),
];

/// Reads the part at the start of a layout; returns what is left. `None` if there is none.
fn part(text: &str) -> Option<(Part, &str)> {
    let simple: [(&str, Part); 20] = [
        ("January", Part::LongMonth),
        ("Monday", Part::LongWeekday),
        ("MST", Part::Zone),
        ("002", Part::YearDay),
        ("01", Part::Month(2)),
        ("02", Part::Day(2)),
        ("03", Part::Hour12(2)),
        ("04", Part::Minute(2)),
        ("05", Part::Second(2)),
        ("06", Part::ShortYear),
        ("15", Part::Hour),
        ("2006", Part::LongYear),
        ("__2", Part::SpacedYearDay),
        ("1", Part::Month(1)),
        ("2", Part::Day(1)),
        ("3", Part::Hour12(1)),
        ("4", Part::Minute(1)),
        ("5", Part::Second(1)),
        ("PM", Part::UpperHalf),
        ("pm", Part::LowerHalf),
    ];
    if let Some((part, rest)) =
        simple.into_iter().find_map(|(name, part)| Some((part, text.strip_prefix(name)?)))
    {
        return Some((part, rest));
    }
    for (name, part) in [("Jan", Part::ShortMonth), ("Mon", Part::ShortWeekday)] {
        if let Some(rest) =
            text.strip_prefix(name).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            return Some((part, rest));
        }
    }
    if let Some(rest) = text.strip_prefix("_2") {
        return if text.starts_with("_2006") { None } else { Some((Part::SpacedDay, rest)) };
    }
    if let Some(after) = text.strip_prefix(['-', 'Z']) {
        let zulu = text.starts_with('Z');
        return OFFSETS.iter().find_map(|(name, colon, minutes, seconds)| {
            let rest = after.strip_prefix(name)?;
            Some((Part::Offset { zulu, colon: *colon, minutes: *minutes, seconds: *seconds }, rest))
        });
    }
    let after = text.strip_prefix(['.', ','])?;
    let digit = after.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let rest = after.trim_start_matches(digit);
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = after.len() - rest.len();
    Some((Part::Fraction { digits, drops: digit == '9', comma: text.starts_with(',') }, rest))
}

fn parts(layout: &str) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), layout);
    let mut literal_start = 0;
    loop {
        let found = part(rest);
        let literal = literal_start..layout.len() - rest.len();
        if (found.is_some() || rest.is_empty()) && !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        match found {
            Some((part, after)) => {
                parts.push(part);
                rest = after;
                literal_start = layout.len() - rest.len();
            }
            None => {
                let Some(c) = rest.chars().next() else { return parts };
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
}

fn name(names: &[&'static str], index: i8) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

/// Returns the name of a time's month.
pub(crate) fn month_name(time: &Zoned) -> &'static str {
    name(&MONTHS, time.month() - 1)
}

/// Returns the name of a time's day of the week.
pub(crate) fn weekday_name(time: &Zoned) -> &'static str {
    name(&DAYS, time.weekday().to_sunday_zero_offset())
}

/// Writes a time by a layout.
pub(crate) fn format(layout: &str, time: &Zoned) -> String {
    parts(layout).into_iter().map(|part| format_part(layout, part, time)).collect()
}

fn format_part(layout: &str, part: Part, time: &Zoned) -> String {
    let short = |name: &str| name.chars().take(3).collect();
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match part {
        Part::Literal(range) => layout.get(range).unwrap_or_default().to_owned(),
        Part::LongMonth => month_name(time).to_owned(),
        Part::ShortMonth => short(month_name(time)),
        Part::Month(width) => format!("{:0width$}", time.month()),
        Part::LongWeekday => weekday_name(time).to_owned(),
        Part::ShortWeekday => short(weekday_name(time)),
        Part::Day(width) => format!("{:0width$}", time.day()),
        Part::SpacedDay => format!("{:2}", time.day()),
        Part::YearDay => format!("{:03}", time.day_of_year()),
        Part::SpacedYearDay => format!("{:3}", time.day_of_year()),
        Part::Hour => format!("{:02}", time.hour()),
        Part::Hour12(width) => format!("{hour12:0width$}"),
        Part::Minute(width) => format!("{:0width$}", time.minute()),
        Part::Second(width) => format!("{:0width$}", time.second()),
        Part::LongYear => format!("{:04}", time.year()),
        Part::ShortYear => format!("{:02}", time.year().rem_euclid(100)),
        Part::UpperHalf => if time.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
        Part::LowerHalf => if time.hour() >= 12 { "pm" } else { "am" }.to_owned(),
        Part::Zone => time.time_zone().to_offset_info(time.timestamp()).abbreviation().to_owned(),
        Part::Offset { zulu, colon, minutes, seconds } => {
            let offset = time.offset().seconds();
            if zulu && offset == 0 {
                return "Z".to_owned();
            }
            let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
            let between = if colon { ":" } else { "" };
            let mut text = format!("{sign}{:02}", size / 3600);
            if minutes {
                text = format!("{text}{between}{:02}", size / 60 % 60);
            }
            if seconds {
                text = format!("{text}{between}{:02}", size % 60);
            }
            text
        }
        Part::Fraction { digits, drops, comma } => {
            let nanos = format!("{:09}", time.subsec_nanosecond());
            let mut text: String =
                nanos.chars().chain("0".repeat(digits.saturating_sub(9)).chars()).take(digits).collect();
            if drops {
                text.truncate(text.trim_end_matches('0').len());
            }
            if text.is_empty() { text } else { format!("{}{text}", if comma { ',' } else { '.' }) }
        }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Read {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    year_day: Option<i16>,
    hour: i8,
    afternoon: Option<bool>,
    minute: i8,
    second: i8,
    nanos: i32,
    offset: Option<i32>,
}

impl Layout {
    /// Takes a layout apart.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), parts: parts(text) }
    }

    /// Reads a time; one without an offset is in `zone`, one without a year in the year 0.
    ///
    /// Errors: `None` if the text does not follow the layout, or is no time.
    pub fn read(&self, text: &str, zone: &TimeZone) -> Option<Zoned> {
        let mut read = Read::default();
        let mut rest = text;
        for (index, part) in self.parts.iter().enumerate() {
            rest = read.part(&self.text, part, rest)?;
            // A fraction that the layout does not show is read all the same.
            let shown = matches!(self.parts.get(index + 1), Some(Part::Fraction { .. }));
            if matches!(part, Part::Second(_)) && !shown && has_fraction(rest) {
                rest = read.fraction(rest)?;
            }
        }
        if rest.is_empty() { read.finish(zone) } else { None }
    }

    /// Returns whether the layout shows the offset or the zone of a time.
    pub fn has_offset(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Offset { .. } | Part::Zone))
    }

    /// Returns whether the layout shows the year.
    pub fn has_year(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::LongYear | Part::ShortYear))
    }
}

fn has_fraction(text: &str) -> bool {
    let after = text.strip_prefix(['.', ',']);
    after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
}

/// Reads a number of one or two digits, of exactly two if `fixed`.
fn number(text: &str, fixed: bool) -> Option<(i8, &str)> {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    if digits == 0 || fixed && digits < 2 {
        return None;
    }
    Some((text.get(..digits)?.parse().ok()?, text.get(digits..)?))
}

/// Finds a name at the start of a text, in any case.
fn lookup<'a>(names: &[&str], text: &'a str, short: bool) -> Option<(i8, &'a str)> {
    names.iter().zip(0..).find_map(|(name, index)| {
        let name = if short { name.get(..3)? } else { name };
        let start = text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name))?;
        Some((index, text.get(start.len()..)?))
    })
}

impl Read {
    fn part<'a>(&mut self, layout: &str, part: &Part, text: &'a str) -> Option<&'a str> {
        let wide = |width: usize| width == 2;
        let (value, rest) = match *part {
            Part::Literal(ref range) => return skip(text, layout.get(range.clone())?),
            Part::LongMonth | Part::ShortMonth => {
                let (month, rest) = lookup(&MONTHS, text, *part == Part::ShortMonth)?;
                self.month = Some(month + 1);
                return Some(rest);
            }
            Part::LongWeekday | Part::ShortWeekday => {
                return lookup(&DAYS, text, *part == Part::ShortWeekday).map(|(_, rest)| rest);
            }
            Part::LongYear => {
                let year = text.get(..4).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()))?;
                self.year = year.parse().ok()?;
                return text.get(4..);
            }
            Part::UpperHalf | Part::LowerHalf => {
                let upper = *part == Part::UpperHalf;
                let (noon, night) = if upper { ("PM", "AM") } else { ("pm", "am") };
                self.afternoon = Some(text.starts_with(noon));
                return text.strip_prefix(noon).or_else(|| text.strip_prefix(night));
            }
            Part::Zone => {
                let rest = text.trim_start_matches(|c: char| c.is_ascii_uppercase());
                let length = text.len() - rest.len();
                // Names other than that of UTC mean nothing by themselves.
                self.offset = Some(0);
                return (3..=5).contains(&length).then_some(rest);
            }
            Part::Offset { zulu, colon, minutes, seconds } => {
                return self.offset(text, zulu, [colon, minutes, seconds]);
            }
            Part::Fraction { digits, drops, .. } => {
                if drops && !has_fraction(text) {
                    return Some(text);
                }
                let rest = self.fraction(text)?;
                return (drops || text.len() - rest.len() == digits + 1).then_some(rest);
            }
            Part::YearDay | Part::SpacedYearDay => {
                let text = if *part == Part::SpacedYearDay { text.trim_start_matches(' ') } else { text };
                let digits = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
                self.year_day = Some(text.get(..digits)?.parse().ok()?);
                return text.get(digits..);
            }
            Part::SpacedDay => number(text.strip_prefix(' ').unwrap_or(text), false)?,
            Part::ShortYear | Part::Hour => number(text, *part == Part::ShortYear)?,
            Part::Month(width)
            | Part::Day(width)
            | Part::Hour12(width)
            | Part::Minute(width)
            | Part::Second(width) => number(text, wide(width))?,
        };
        match part {
            Part::Month(_) => self.month = Some(value),
            Part::ShortYear => self.year = i16::from(value) + if value >= 69 { 1900 } else { 2000 },
            Part::Minute(_) => self.minute = value,
            Part::Second(_) => self.second = value,
            Part::Hour => self.hour = value,
            Part::Hour12(_) if value > 12 => return None,
            Part::Hour12(_) => self.hour = value,
            _ => self.day = Some(value),
        }
        Some(rest)
    }

    fn fraction<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let after = text.strip_prefix(['.', ','])?;
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits: String = after.get(..after.len() - rest.len())?.chars().take(9).collect();
        if digits.is_empty() {
            return None;
        }
        self.nanos = format!("{digits:0<9}").parse().ok()?;
        Some(rest)
    }

    fn offset<'a>(
        &mut self,
        text: &'a str,
        zulu: bool,
        [colon, minutes, seconds]: [bool; 3],
    ) -> Option<&'a str> {
        if zulu && let Some(rest) = text.strip_prefix('Z') {
            self.offset = Some(0);
            return Some(rest);
        }
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let mut rest = text.strip_prefix(['+', '-'])?;
        let mut total = 0;
        for (unit, wanted) in [(3600, true), (60, minutes), (1, seconds)] {
            if !wanted {
                continue;
            }
            if colon && unit < 3600 {
                rest = rest.strip_prefix(':')?;
            }
            let (value, after) = number(rest, true)?;
            total += i32::from(value) * unit;
            rest = after;
        }
        self.offset = Some(sign * total);
        Some(rest)
    }

    fn finish(self, zone: &TimeZone) -> Option<Zoned> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.year_day {
            Some(day) => Date::new(self.year, 1, 1)
                .ok()?
                .checked_add(jiff::Span::new().try_days(i64::from(day) - 1).ok()?)
                .ok()?,
            None => Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?,
        };
        let time = Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let moment = DateTime::from_parts(date, time);
        let zone = match self.offset {
            None => zone.clone(),
            Some(0) => TimeZone::UTC,
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
        };
        moment.to_zoned(zone).ok()
    }
}

/// Passes over a literal; blanks in it stand for any number of blanks.
fn skip<'a>(text: &'a str, literal: &str) -> Option<&'a str> {
    let (mut text, mut literal) = (text, literal);
    while let Some(c) = literal.chars().next() {
        if c == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            (text, literal) = (text.trim_start_matches(' '), literal.trim_start_matches(' '));
            continue;
        }
        (text, literal) = (text.strip_prefix(c)?, literal.strip_prefix(c)?);
    }
    Some(text)
}

/// Converts nanoseconds since the epoch.
pub(crate) fn from_ns(ts_ns: i64) -> Zoned {
    let moment = Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or_default();
    moment.to_zoned(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written() {
        let time = from_ns(1_768_089_600_120_000_000);
        for (layout, text) in [
            ("Mon Jan _2 15:04:05 2006", "Sun Jan 11 00:00:00 2026"),
            ("02.01.06 3PM", "11.01.26 12AM"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2026-01-11T00:00:00.12Z"),
            (
                "Monday, 2 January 2006 15:04:05.000 -0700 MST",
                "Sunday, 11 January 2026 00:00:00.120 +0000 UTC",
            ),
            ("1/2/06 03:04pm 002 Month", "1/11/26 12:00am 011 Month"),
            ("", ""),
        ] {
            assert_eq!(format(layout, &time), text, "{layout}");
        }
    }

    #[test]
    fn read_back() {
        let check = |layout: &str, text: &str, expect: Option<i64>| {
            let read = Layout::new(layout).read(text, &TimeZone::UTC);
            let found = read.map(|time| time.timestamp().as_second());
            assert_eq!(found, expect, "{layout} {text}");
        };
        check("2006-01-02", "2026-01-11", Some(1_768_089_600));
        check("2006-01-02 15:04:05", "2026-01-11 00:00:00.5", Some(1_768_089_600));
        check("Jan _2 2006 3:04PM", "Jan  1 1970 1:00AM", Some(3600));
        check("2006-01-02T15:04:05Z07:00", "1970-01-01T02:00:00+02:00", Some(0));
        check("2006-01-02", "2026-02-30", None);
        check("2006-01-02", "2026-01-11x", None);
        check("2006-01-02", "bad", None);
        check("Mon, 02 Jan 2006 15:04:05 MST", "Thu, 01 Jan 1970 00:00:01 UTC", Some(1));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = Layout::new("2006-01-02 15:04").read("2026-01-11 12:00", &berlin).unwrap();
        assert_eq!(noon.timestamp().as_second(), 1_768_129_200);
        assert_eq!(format("15:04 -07:00 MST", &noon), "12:00 +01:00 CET");
    }
}
