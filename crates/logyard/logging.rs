//! Logyard's own log: one line per event, as logfmt or JSON, to the error output and, on request, to a
//! file of its own.
//!
//! The file exists for machines without a container engine, where Logyard reads it like any other log.
//! It is bounded: past [`OWN_LOG_BYTES_MAX`] it is renamed to `logyard.log.1` and begun anew, once, so
//! two files are all there ever are.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use logyard_sys::{Clock, Disk, WriteFile};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{LogFormat, LogSettings};

/// Size at which the own log file is begun anew.
const OWN_LOG_BYTES_MAX: u64 = 8 << 20;

/// Writes events from here on to the error output.
///
/// Errors: a level nobody knows, or a log that was set up before.
pub(crate) fn start(settings: &LogSettings, clock: Arc<dyn Clock>, own: OwnLog) -> anyhow::Result<()> {
    let filter = filter(&settings.level)?;
    let lines = Lines { format: settings.format, clock, own };
    Registry::default().with(filter).with(lines).try_init().context("cannot set up the log")
}

/// Reads a level, or several of the form `part=level` between commas.
pub(crate) fn filter(levels: &str) -> anyhow::Result<EnvFilter> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let wrong = || format!("cannot use log.level {levels:?}: want error, warn, info, debug or trace");
    // The filter itself would take any other word for the name of a part.
    let known = levels.split(',').all(|one| {
        let level = one.rsplit('=').next().unwrap_or_default().trim();
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    });
    anyhow::ensure!(known, wrong());
    EnvFilter::try_new(levels.replace(' ', "")).with_context(wrong)
}

/// The file that the own log is also written to, once it is opened; what was said before that stands in it, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnLog(Arc<Mutex<Own>>);

#[derive(Debug)]
enum Own {
    /// Lines so far: a store tells that it is ready before it is known whether the file is wanted.
    Early(Vec<u8>),
    File(OwnFile),
    /// It cannot be written.
    Broken,
}

impl Default for Own {
    fn default() -> Self {
        Self::Early(Vec::new())
    }
}

/// Most bytes of lines kept until the file is opened; later ones are left out.
const EARLY_BYTES_MAX: usize = 16 << 10;

#[derive(Debug)]
struct OwnFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn WriteFile>,
}

impl OwnLog {
    /// Opens `<dir>/logyard.log` and writes every further event to it as well; returns its path.
    pub(crate) fn open(&self, disk: &Arc<dyn Disk>, dir: &Path) -> std::io::Result<PathBuf> {
        disk.create_dir_all(dir)?;
        let path = dir.join("logyard.log");
        let file = disk.append_file(&path)?;
        let mut own = OwnFile { disk: Arc::clone(disk), path: path.clone(), file };
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Own::Early(lines) = &*guard {
            own.write(lines)?;
        }
        *guard = Own::File(own);
        Ok(path)
    }

    fn write(&self, line: &[u8]) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *guard {
            Own::Early(lines) if lines.len() + line.len() <= EARLY_BYTES_MAX => lines.extend_from_slice(line),
            Own::Early(_) | Own::Broken => {}
            // A log that cannot be written is no reason to stop; the error output still has it.
            Own::File(own) => {
                if own.write(line).is_err() {
                    *guard = Own::Broken;
                }
            }
        }
    }
}

impl OwnFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.file.bytes() + line.len() as u64 > OWN_LOG_BYTES_MAX {
            let old = self.path.with_extension("log.1");
            self.disk.rename(&self.path, &old)?;
            self.file = self.disk.create_file(&self.path)?;
        }
        self.file.write_all(line)
    }
}

/// Turns events into lines.
struct Lines {
    format: LogFormat,
    clock: Arc<dyn Clock>,
    own: OwnLog,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        // `logyard_store::flush` is `store` to its reader.
        let target = metadata.target().split("::").next().unwrap_or_default();
        let target = target.strip_prefix("logyard_").unwrap_or(target);
        let mut all =
            vec![("ts", time_text(self.clock.now_ns())), ("level", level), ("target", target.to_owned())];
        all.push(("msg", fields.message));
        all.extend(fields.others);
        let line = match self.format {
            LogFormat::Logfmt => logfmt_line(&all),
            LogFormat::Json => json_line(&all),
        };
        // Nobody is left to tell when the error output is closed.
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
        self.own.write(line.as_bytes());
    }
}

/// The fields of one event as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, with_causes(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Returns an error's text followed by those of its causes.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn logfmt_line(fields: &[(&str, String)]) -> String {
    let mut line = String::new();
    for (name, value) in fields {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(name);
        line.push('=');
        let plain = !value.is_empty()
            && value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\'));
        match plain {
            true => line.push_str(value),
            false => line.push_str(&serde_json::Value::String(value.clone()).to_string()),
        }
    }
    line.push('\n');
    line
}

fn json_line(fields: &[(&str, String)]) -> String {
    let text = |value: &str| serde_json::Value::String(value.to_owned()).to_string();
    let members: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    format!("{{{}}}\n", members.join(","))
}

/// Writes a time as RFC 3339 in UTC with milliseconds. Days are turned into dates with the arithmetic
/// of the Gregorian calendar in eras of 400 years (146,097 days) that begin on 1 March, so that leap days end
/// a year.
pub(crate) fn time_text(ns: i64) -> String {
    let ms = ns.div_euclid(1_000_000);
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, milli) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use logyard_sys::{SimClock, SimDisk};

    use super::*;

    #[test]
    fn times_are_dates_in_utc() {
        for (ns, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999_000_000, "2000-02-29T23:59:59.999Z"),
            (1_795_229_946_884_000_000, "2026-11-21T02:59:06.884Z"),
            (-1_000_000, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(time_text(ns), want);
        }
    }

    #[test]
    fn levels_are_checked() {
        for good in ["info", "WARN", "off", "info,logyard_store=debug", "info, logyard_agent=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,logyard_store", "5", "info,"] {
            let error = filter(bad).unwrap_err().to_string();
            assert!(error.starts_with("cannot use log.level"), "{bad}: {error}");
        }
    }

    #[test]
    fn values_are_quoted_when_they_must() {
        let fields = [
            ("msg", "two words".to_owned()),
            ("n", "5".to_owned()),
            ("e", String::new()),
            ("q", "a\"\n".to_owned()),
        ];
        assert_eq!(logfmt_line(&fields), "msg=\"two words\" n=5 e=\"\" q=\"a\\\"\\n\"\n");
        assert_eq!(json_line(&fields[..2]), "{\"msg\":\"two words\",\"n\":\"5\"}\n");
    }

    #[test]
    fn events_become_lines_of_the_own_log() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let own = OwnLog::default();
        let path = own.open(&disk, Path::new("/log")).unwrap();
        let clock = Arc::new(SimClock::new(0));
        let lines = Lines { format: LogFormat::Logfmt, clock, own };
        let subscriber = Registry::default().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "logyard_store::flush", bytes = 7, "cannot flush");
        });
        let text = String::from_utf8(disk.read(&path).unwrap()).unwrap();
        assert_eq!(
            text,
            "ts=1970-01-01T00:00:00.000Z level=warn target=store msg=\"cannot flush\" bytes=7\n"
        );
    }

    #[test]
    fn what_was_said_before_the_own_log_was_opened_stands_in_it() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let own = OwnLog::default();
        own.write(b"early\n");
        own.write(&[b'x'; EARLY_BYTES_MAX]);
        let path = own.open(&disk, Path::new("/log")).unwrap();
        own.write(b"late\n");
        assert_eq!(disk.read(&path).unwrap(), b"early\nlate\n");
    }

    #[test]
    fn the_own_log_is_bounded() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let own = OwnLog::default();
        let path = own.open(&disk, Path::new("/log")).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            own.write(&line);
        }
        let names: Vec<(String, u64)> =
            disk.list(Path::new("/log")).unwrap().into_iter().map(|item| (item.name, item.bytes)).collect();
        assert_eq!(names, [("logyard.log".to_owned(), 4 << 20), ("logyard.log.1".to_owned(), 8 << 20)]);
        assert!(path.ends_with("logyard.log"));
    }
}
