//! One message of syslog, RFC 5424 or 3164, read as far as it goes.
//!
//! Many senders follow neither to the letter, and a message that is thrown away is a loss: what cannot be read is named
//! in [`SyslogMessage::fault`], and everything from there on is the message. Fields of RFC 3164 are guesses by nature.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Most elements and parameters of structured data together.
const PARAMETERS_MAX: usize = 256;
/// Longest tag of RFC 3164; the RFC says 32, senders do not heed it.
const TAG_BYTES_MAX: usize = 128;
/// A time without a year that lies further ahead than this is of the year before.
const AHEAD_NS_MAX: i64 = 31 * 86_400 * 1_000_000_000;

/// Names of severities, by number.
const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
/// Names of facilities, by number.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// How messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As each message shows.
    Auto,
    Rfc5424,
    Rfc3164,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyslogMessage<'a> {
    pub(crate) facility: Option<&'static str>,
    pub(crate) severity: Option<&'static str>,
    /// Its time in ns since the Unix epoch, as far as it can be read.
    pub(crate) sent_ns: Option<i64>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) app_name: Option<&'a str>,
    pub(crate) proc_id: Option<&'a str>,
    pub(crate) msg_id: Option<&'a str>,
    /// Id of the element, name and value of each parameter.
    pub(crate) data: Vec<(&'a str, &'a str, Cow<'a, str>)>,
    /// The text; any bytes.
    pub(crate) text: &'a [u8],
    /// What could not be read; the text begins there.
    pub(crate) fault: Option<&'static str>,
}

/// Reads a message. `zone` and `now_ns` are for times that show neither zone nor year.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    dialect: Dialect,
    zone: &TimeZone,
    now_ns: i64,
) -> SyslogMessage<'a> {
    let mut message = SyslogMessage { text: bytes, ..SyslogMessage::default() };
    let Some((priority, rest)) = priority(bytes) else {
        message.fault = Some("it has no priority such as <34>");
        return message;
    };
    message.severity = SEVERITIES.get(usize::from(priority & 7)).copied();
    message.facility = FACILITIES.get(usize::from(priority >> 3)).copied();
    message.text = rest;
    let versioned = rest.strip_prefix(b"1 ");
    match (dialect, versioned) {
        (Dialect::Auto | Dialect::Rfc5424, Some(rest)) => {
            message.text = rest;
            message.fault = rfc5424(&mut message).err();
        }
        (Dialect::Rfc5424, None) => message.fault = Some("it has no version 1 behind its priority"),
        (Dialect::Auto | Dialect::Rfc3164, _) => rfc3164(&mut message, zone, now_ns),
    }
    message
}

fn priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let rest = bytes.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let (digits, rest) = rest.split_at_checked(end)?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: u8 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    (number <= 191).then(|| (number, rest.get(1..).unwrap_or_default()))
}

/// Reads what stands behind the version. Errors: what could not be read; the text begins there.
fn rfc5424(message: &mut SyslogMessage<'_>) -> Result<(), &'static str> {
    let time = field(message, "its time is no text")?;
    if let Some(time) = time {
        // A wrong time spoils nothing else.
        message.sent_ns = rfc3339(time);
        if message.sent_ns.is_none() {
            message.fault = Some("its time is none of RFC 3339");
        }
    }
    message.hostname = field(message, "its host name is no text")?;
    message.app_name = field(message, "its application name is no text")?;
    message.proc_id = field(message, "its process id is no text")?;
    message.msg_id = field(message, "its message id is no text")?;
    message.text = match message.text.strip_prefix(b"-") {
        Some(rest) => rest,
        None => structured_data(message.text, &mut message.data)?,
    };
    message.text = match message.text.strip_prefix(b" ") {
        Some(rest) => rest.strip_prefix("\u{feff}".as_bytes()).unwrap_or(rest),
        None if message.text.is_empty() => message.text,
        None => return Err("no blank follows its structured data"),
    };
    match message.fault {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// Takes the next field off the text; `-` is none.
fn field<'a>(message: &mut SyslogMessage<'a>, fault: &'static str) -> Result<Option<&'a str>, &'static str> {
    let end = memchr::memchr(b' ', message.text).ok_or("it ends within its header")?;
    let (text, rest) = message.text.split_at(end);
    let text = std::str::from_utf8(text).map_err(|_| fault)?;
    message.text = rest.get(1..).unwrap_or_default();
    Ok((text != "-" && !text.is_empty()).then_some(text))
}

type Parameters<'a> = Vec<(&'a str, &'a str, Cow<'a, str>)>;

/// Reads `[id name="value" …]…`; returns what follows. Nothing is kept on errors.
fn structured_data<'a>(bytes: &'a [u8], data: &mut Parameters<'a>) -> Result<&'a [u8], &'static str> {
    const FAULT: &str = "its structured data cannot be read";
    let mut found = Vec::new();
    let mut rest = bytes.strip_prefix(b"[").ok_or(FAULT)?;
    loop {
        let (id, mut inside) = name(rest).ok_or(FAULT)?;
        loop {
            match inside.split_first() {
                Some((b']', after)) => {
                    rest = after;
                    break;
                }
                Some((b' ', after)) => {
                    // Some senders write more blanks than one, or one before the bracket.
                    if matches!(after.first(), Some(b' ' | b']')) {
                        inside = after;
                        continue;
                    }
                    let (name, after) = name(after).ok_or(FAULT)?;
                    let after = after.strip_prefix(b"=\"").ok_or(FAULT)?;
                    let (value, after) = quoted(after).ok_or(FAULT)?;
                    if found.len() < PARAMETERS_MAX {
                        found.push((id, name, value));
                    }
                    inside = after;
                }
                _ => return Err(FAULT),
            }
        }
        match rest.strip_prefix(b"[") {
            Some(next) => rest = next,
            None => break,
        }
    }
    *data = found;
    Ok(rest)
}

/// Splits a name of structured data off.
fn name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'=' | b']' | b'"'))?;
    let (name, rest) = bytes.split_at_checked(end)?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, rest))
}

/// Splits a value off that stands before its closing quote.
fn quoted(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let mut is_escaped = false;
    let mut has_escapes = false;
    let end = bytes.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        has_escapes |= is_escaped;
        is_end
    })?;
    let (raw, rest) = bytes.split_at_checked(end)?;
    let rest = rest.get(1..).unwrap_or_default();
    let text = String::from_utf8_lossy(raw);
    if !has_escapes {
        return Some((text, rest));
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\' | ']')) => plain.push(escaped),
                // Any other backslash is one.
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            c => plain.push(c),
        }
    }
    Some((Cow::Owned(plain), rest))
}

fn rfc3339(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// Reads time, host and tag as far as they are there.
fn rfc3164(message: &mut SyslogMessage<'_>, zone: &TimeZone, now_ns: i64) {
    // Routers number their messages before the time.
    let rest = message.text;
    let Some((sent_ns, rest)) = bsd_time(rest, zone, now_ns).or_else(|| leading_rfc3339(rest)) else {
        message.fault = Some("it has no time such as Jan  2 15:04:05");
        tag(message);
        return;
    };
    message.sent_ns = Some(sent_ns);
    message.text = rest;
    if let Some((word, rest)) = word(rest)
        && !word.ends_with(':')
        && !word.contains('[')
    {
        message.hostname = Some(word);
        message.text = rest;
    }
    tag(message);
}

/// Splits `Mmm dd hh:mm:ss`, with a year or a fraction where senders add them, and the blank behind it off.
fn bsd_time<'a>(bytes: &'a [u8], zone: &TimeZone, now_ns: i64) -> Option<(i64, &'a [u8])> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let month_name = bytes.get(..3)?;
    let month = MONTHS.iter().position(|name| *name == month_name)? + 1;
    let month = i8::try_from(month).ok()?;
    let rest = bytes.get(3..)?.strip_prefix(b" ")?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (day, rest) = number(rest, 2)?;
    let mut rest = rest.strip_prefix(b" ")?;
    let mut year = None;
    if let Some((found, after)) = number(rest, 4).filter(|(found, _)| *found > 1_000) {
        year = Some(found);
        rest = after.strip_prefix(b" ")?;
    }
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (second, mut rest) = number(rest.strip_prefix(b":")?, 2)?;
    let mut nanos = 0_i32;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, after) = fraction.split_at_checked(digits)?;
        let mut scale = 100_000_000;
        for digit in text.iter().take(9) {
            nanos += i32::from(digit - b'0') * scale;
            scale /= 10;
        }
        rest = after;
    }
    // Routers end their time with a colon.
    let rest = rest.strip_prefix(b":").unwrap_or(rest).strip_prefix(b" ")?;
    let at = |year: i16| -> Option<i64> {
        let [day, hour, minute, second] =
            [day, hour, minute, second].map(|number| i8::try_from(number).unwrap_or(-1));
        let time = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
        i64::try_from(time.to_zoned(zone.clone()).ok()?.timestamp().as_nanosecond()).ok()
    };
    if let Some(year) = year {
        return Some((at(year)?, rest));
    }
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone.clone());
    // December seen in January is of the year before; the first of January may come early from a clock ahead.
    let mut ns = at(now.year()).or_else(|| at(now.year() - 1))?;
    if ns > now_ns.saturating_add(AHEAD_NS_MAX) {
        ns = at(now.year() - 1)?;
    } else if ns < now_ns.saturating_sub(334 * 86_400 * 1_000_000_000)
        && let Some(next) =
            at(now.year() + 1).filter(|next| *next <= now_ns.saturating_add(86_400 * 1_000_000_000))
    {
        ns = next;
    }
    Some((ns, rest))
}

/// Splits a time off as RFC 5424 writes it, which some send in the older form too.
fn leading_rfc3339(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest) = word(bytes)?;
    Some((rfc3339(text)?, rest))
}

/// Splits a number of at most `digits_max` digits off.
fn number(bytes: &[u8], digits_max: usize) -> Option<(i16, &[u8])> {
    let digits = bytes.iter().take(digits_max).take_while(|byte| byte.is_ascii_digit()).count();
    let (text, rest) = bytes.split_at_checked(digits).filter(|_| digits > 0)?;
    Some((std::str::from_utf8(text).ok()?.parse().ok()?, rest))
}

/// Splits a word and the blank behind it off.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(b' ', bytes.get(..255).unwrap_or(bytes))?;
    let (word, rest) = bytes.split_at_checked(end)?;
    let word = std::str::from_utf8(word).ok().filter(|word| !word.is_empty())?;
    Some((word, rest.get(1..).unwrap_or_default()))
}

/// Splits `tag[pid]: ` or `tag: ` off the text, if it begins so.
fn tag(message: &mut SyslogMessage<'_>) {
    let text = message.text;
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./@()+#%".contains(byte);
    let end = text.iter().take(TAG_BYTES_MAX).take_while(|byte| is_tag(byte)).count();
    let (Some((tag, rest)), true) = (text.split_at_checked(end), end > 0) else { return };
    let (proc_id, rest) = match rest.strip_prefix(b"[") {
        None => (None, rest),
        Some(inside) => {
            let inside_max = inside.get(..TAG_BYTES_MAX).unwrap_or(inside);
            let Some(end) = memchr::memchr(b']', inside_max) else { return };
            let Some((proc_id, rest)) = inside.split_at_checked(end) else { return };
            (std::str::from_utf8(proc_id).ok(), rest.get(1..).unwrap_or_default())
        }
    };
    let Some(rest) = rest.strip_prefix(b":") else { return };
    message.app_name = std::str::from_utf8(tag).ok();
    message.proc_id = proc_id.filter(|text| !text.is_empty());
    message.text = rest.strip_prefix(b" ").unwrap_or(rest);
}

#[cfg(test)]
mod tests;
