//! `logq push`: lines from standard input or files into the store.

use std::io::{Read, Write};
use std::sync::Arc;

use clap::Args;
use logyard_model::LabelSet;
use logyard_sys::RealDisk;

use crate::run::Stop;
use crate::session::Session;
use crate::transfer::input::{BLOCK_BYTES, Input};
use crate::transfer::lines::{Carried, Form, LINE_BYTES_MAX, LineSettings, Lines, Taken};
use crate::transfer::pusher::Pusher;
use crate::transfer::stamps::Stamps;
use crate::transfer::time_in_line::TimeContext;

pub(crate) const EXAMPLES: &str = "\
Examples:
  echo backup done | logq push --label job=backup
  cat app.log | logq push --label job=backup --label host=nas --find-times
  logq push --label job=report report.txt              # the lines of a file, as of now

Lines get the time at which they are read, unless --find-times; a batch that is sent again is stored once.
For files that are large or may be read twice, logq import goes on where it was ended.";

/// Label of lines that are given none.
const LABEL_DEFAULT: (&str, &str) = ("job", "logq");

/// Lines to push.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Files; none, or `-`, means standard input
    #[arg(value_name = "FILE")]
    files: Vec<String>,

    /// Label of all lines; may be given more than once [default: job=logq]
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Use the time that a line tells, in any of the usual forms
    #[arg(long)]
    find_times: bool,
}

impl Push {
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let labels = Arc::new(match self.labels.is_empty() {
            true => LabelSet::from_pairs([LABEL_DEFAULT]),
            false => label_set(&self.labels),
        });
        let mut pusher = Pusher::new(session.client()?, &format!("push {labels}"), (session.now_ns)(), true);
        let stdin = ["-".to_owned()];
        let files = if self.files.is_empty() { &stdin[..] } else { &self.files[..] };
        for file in files {
            let lines = self.lines(&labels, session);
            // Taken apart: the input and the error output are needed at once.
            let Session { input, err, now_ns, .. } = &mut *session;
            if file == "-" {
                push_all(&mut **input, "standard input", lines, &mut pusher, *now_ns, &mut **err).await?;
            } else {
                let mut reader = Input::open(&RealDisk, file)?.reader()?;
                push_all(&mut *reader, file, lines, &mut pusher, *now_ns, &mut **err).await?;
            }
        }
        if pusher.sent.refused > 0 {
            return Err(Stop::Trouble(format!(
                "the store refused {} lines: {}",
                pusher.sent.refused, pusher.sent.refusal
            )));
        }
        Ok(pusher.sent.entries > 0)
    }

    fn lines(&self, labels: &Arc<LabelSet>, session: &Session<'_>) -> Lines {
        let now_ns = (session.now_ns)();
        let settings = LineSettings {
            form: Form::Lines,
            labels: Arc::clone(labels),
            plain_labels: Arc::clone(labels),
            times: TimeContext { zone: session.look.zone.clone(), reference_ns: now_ns },
            finds_times: self.find_times,
        };
        Lines::new(settings, Taken { units: 0, stamps: Stamps::new(now_ns) })
    }
}

/// Pushes all that a reader yields: as soon as nothing more is waiting, so that whoever writes slowly is not kept waiting.
async fn push_all(
    reader: &mut (dyn Read + '_),
    name: &str,
    mut lines: Lines,
    pusher: &mut Pusher,
    now_ns: &dyn Fn() -> i64,
    err: &mut dyn Write,
) -> Result<(), Stop> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Stop::Trouble(format!("cannot read {name}: {error}"))),
        };
        lines.arrived(now_ns());
        lines.feed(block.get(..read).unwrap_or_default(), &mut |entry: Carried| pusher.add(&entry))?;
        if read < BLOCK_BYTES || pusher.is_full() {
            pusher.flush(err).await?;
        }
    }
    lines.finish(&mut |entry| pusher.add(&entry))?;
    pusher.flush(err).await?;
    tell_of_cuts(&lines, name, err)
}

/// Says how many lines were too long.
pub(crate) fn tell_of_cuts(lines: &Lines, name: &str, err: &mut dyn Write) -> Result<(), Stop> {
    if lines.cut_lines > 0 {
        let (count, kib) = (lines.cut_lines, LINE_BYTES_MAX >> 10);
        writeln!(err, "logq: {count} lines of {name} were longer than {kib} KiB; their ends are cut off")?;
    }
    Ok(())
}

/// Reads `name=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("cannot read label {text:?}: want NAME=VALUE, such as job=backup");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_name = name
        .chars()
        .enumerate()
        .all(|(index, c)| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit()));
    match !name.is_empty() && is_name && !value.is_empty() {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(wrong()),
    }
}

/// Makes a label set of labels as given.
pub(crate) fn label_set(labels: &[(String, String)]) -> LabelSet {
    let mut set = LabelSet::default();
    labels.iter().for_each(|(name, value)| set.insert(name.as_str(), value.as_str()));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_a_name_and_a_value() {
        let read = |text| label(text).map(|(name, value)| format!("{name} {value}")).ok();
        assert_eq!(read("job=backup").as_deref(), Some("job backup"));
        assert_eq!(read("job=\"a=b\"").as_deref(), Some("job a=b"));
        for wrong in ["", "job", "=x", "job=", "a b=c", "1a=c", "a-b=c"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
