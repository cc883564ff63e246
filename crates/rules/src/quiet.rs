//! Quiet hours: when a target is told nothing but what cannot wait.
//!
//! Windows are in the time of day of a place, so that they follow its summer time. What fires in them and is over before
//! they end is not told; what still fires is told at their end, and so is the end of what was told before.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use logyard_model::LabelSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY_MINUTES: i32 = 24 * 60;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are what they are")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A time in which a target is told nothing but what cannot wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuietSettings {
    /// Days on which it begins: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`. Default empty: every day.
    pub days: Vec<Day>,
    /// Time of day at which it begins, such as `22:00`.
    pub from: String,
    /// Time of day at which it ends, such as `07:00`; on the next day if that is not later than `from`. `24:00` is midnight.
    pub until: String,
    /// Whose time of day, such as `Europe/Berlin`. Default empty: that of the machine.
    pub time_zone: String,
}

/// Quiet hours, ready to use.
#[derive(Debug)]
pub(crate) struct Quiet {
    windows: Vec<Window>,
    /// Severities that are told all the same.
    but_for: Vec<String>,
}

#[derive(Debug)]
struct Window {
    days: Vec<Day>,
    /// Minutes since midnight.
    from: i32,
    until: i32,
    zone: TimeZone,
}

impl Quiet {
    /// Reads settings. Errors: the text of the first fault, which begins with its key.
    pub(crate) fn new(settings: &[QuietSettings], but_for: &[String]) -> Result<Self, String> {
        let window = |(number, settings): (usize, &QuietSettings)| {
            Window::new(settings).map_err(|why| format!("quiet.{number}.{why}"))
        };
        let windows = settings.iter().enumerate().map(window).collect::<Result<_, _>>()?;
        Ok(Self { windows, but_for: but_for.to_vec() })
    }

    /// Returns whether an instant lies in quiet hours.
    pub(crate) fn covers(&self, at_ns: i64) -> bool {
        let Ok(at) = Timestamp::from_nanosecond(i128::from(at_ns)) else { return false };
        self.windows.iter().any(|window| window.covers(at))
    }

    /// Returns whether an alert with such labels is told at any time.
    pub(crate) fn lets_through(&self, labels: &LabelSet) -> bool {
        labels.get("severity").is_some_and(|severity| self.but_for.iter().any(|known| known == severity))
    }
}

impl Window {
    fn new(settings: &QuietSettings) -> Result<Self, String> {
        let zone = match settings.time_zone.as_str() {
            "" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|_| {
                format!("time_zone: {name:?} is not known; want a name such as Europe/Berlin, or UTC")
            })?,
        };
        let minutes = |key: &str, text: &str| {
            minutes(text).ok_or_else(|| format!("{key}: {text:?} is no time of day; want one such as 22:00"))
        };
        let (from, until) = (minutes("from", &settings.from)?, minutes("until", &settings.until)?);
        Ok(Self { days: settings.days.clone(), from, until, zone })
    }

    fn covers(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone()).datetime();
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let begins =
            |weekday: Weekday| self.days.is_empty() || self.days.iter().any(|day| day.weekday() == weekday);
        let today = local.date().weekday();
        if self.from < self.until {
            return begins(today) && (self.from..self.until).contains(&minute);
        }
        begins(today) && minute >= self.from || begins(today.previous()) && minute < self.until
    }
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

fn minutes(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_short.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day <= DAY_MINUTES).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: QuietSettings, times: &[(&str, bool)]) {
        let quiet = Quiet::new(&[settings], &[]).unwrap();
        for (time, want) in times {
            let at: Timestamp = time.parse().unwrap();
            assert_eq!(quiet.covers(i64::try_from(at.as_nanosecond()).unwrap()), *want, "{time}");
        }
    }

    fn window(days: &[Day], from: &str, until: &str, zone: &str) -> QuietSettings {
        QuietSettings { days: days.to_vec(), from: from.into(), until: until.into(), time_zone: zone.into() }
    }

    #[test]
    fn windows_follow_the_clock_of_a_place() {
        // 20 November 2026 is a Friday.
        check(
            window(&[], "22:00", "07:00", "Europe/Berlin"),
            &[
                ("2026-11-20T20:59:59Z", false),
                ("2026-11-20T21:00:00Z", true),
                ("2026-11-21T05:59:59Z", true),
                ("2026-11-21T06:00:00Z", false),
                // Summer time.
                ("2026-07-20T20:00:00Z", true),
                ("2026-07-20T05:00:00Z", false),
            ],
        );
        check(
            window(&[Day::Fri], "22:00", "07:00", "UTC"),
            &[
                ("2026-11-20T06:00:00Z", false),
                ("2026-11-20T22:00:00Z", true),
                ("2026-11-21T06:59:00Z", true),
                ("2026-11-21T22:00:00Z", false),
            ],
        );
        check(
            window(&[Day::Sat, Day::Sun], "00:00", "24:00", "UTC"),
            &[
                ("2026-11-20T23:59:59Z", false),
                ("2026-11-21T00:00:00Z", true),
                ("2026-11-22T23:59:59Z", true),
                ("2026-11-23T00:00:00Z", false),
            ],
        );
        check(
            window(&[Day::Mon], "9:30", "12:00", "UTC"),
            &[
                ("2026-11-23T09:29:00Z", false),
                ("2026-11-23T09:30:00Z", true),
                ("2026-11-23T12:00:00Z", false),
            ],
        );
        let fault = |settings: QuietSettings| Quiet::new(&[settings], &[]).unwrap_err();
        assert_eq!(
            fault(window(&[], "25:00", "1:00", "")),
            "quiet.0.from: \"25:00\" is no time of day; want one such as 22:00"
        );
        assert!(fault(window(&[], "1:00", "1:60", "")).starts_with("quiet.0.until: "));
        assert!(fault(window(&[], "1:00", "-1:00", "")).starts_with("quiet.0.until: "));
        assert!(fault(window(&[], "1:00", "2:00", "Berlin")).contains("time_zone: \"Berlin\" is not known"));
    }

    #[test]
    fn some_severities_are_told_all_the_same() {
        let quiet = Quiet::new(&[], &["critical".to_owned()]).unwrap();
        let labels = |severity| LabelSet::from_pairs([("severity", severity)]);
        assert!(quiet.lets_through(&labels("critical")));
        assert!(!quiet.lets_through(&labels("warning")) && !quiet.lets_through(&LabelSet::default()));
    }
}
