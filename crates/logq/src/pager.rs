//! The pager: a program that shows output of more than a screen.
//!
//! Where a terminal reads the output, it is held back until it is more than fits on the screen, and then goes to the
//! pager; what fits is written as it is. The pager is `$LOGQ_PAGER`, else `$PAGER`, else `less -FRX`; it is started
//! without a shell, with what is set in front of it, as in `LESS=-R less`, and an empty name means none. Whoever leaves it
//! early ends the command, quietly.
//!
//! Bounds: a screen of bytes is held.

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::complete::line::read;
use crate::complete::write::Shell;

/// Pager where none is named: leaves what fits on the screen, shows colours, does not clear the screen.
const USUAL: &str = "less -FRX";

/// Pause between two looks whether the pager is still there.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Which pager, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The program and its arguments, at least one word.
    words: Vec<String>,
    /// Variables that are set for it alone.
    variables: Vec<(String, String)>,
    /// Whether the user named it: then it is told that it cannot be started.
    is_named: bool,
    /// Whether it is to show colours though it is named without flags: less, where nobody has set its flags.
    sets_less: bool,
    columns: usize,
    rows: usize,
}

impl Plan {
    /// Chooses the pager; none if the environment says so.
    pub(crate) fn new(env: &dyn Fn(&str) -> Option<String>, (columns, rows): (u16, u16)) -> Option<Self> {
        let named = env("LOGQ_PAGER").or_else(|| env("PAGER"));
        let line = read(named.as_deref().unwrap_or(USUAL), Shell::Bash, "");
        let words: Vec<String> =
            line.words.into_iter().chain([line.current.text]).filter(|word| !word.is_empty()).collect();
        let is_none = matches!(words.first().map(String::as_str), None | Some("cat"));
        let (columns, rows) = (usize::from(columns.max(1)), usize::from(rows.max(2)));
        let variables = line.assignments.iter().filter_map(|set| set.split_once('='));
        let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let sets_less = env("LESS").is_none() && !variables.iter().any(|(name, _)| name == "LESS");
        (!is_none).then_some(Self { words, variables, is_named: named.is_some(), sets_less, columns, rows })
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(self.words.first().map_or("less", String::as_str));
        command.args(self.words.get(1..).unwrap_or_default()).stdin(Stdio::piped());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.sets_less {
            command.env("LESS", "FRX");
        }
        command.spawn()
    }
}

/// The pager while it runs, for whoever waits for its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Rc<RefCell<Option<Child>>>);

impl Running {
    /// Returns once the pager has been left; never if none is started.
    pub(crate) async fn left(&self) {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            let mut child = self.0.borrow_mut();
            if let Some(child) = &mut *child
                && !matches!(child.try_wait(), Ok(None))
            {
                return;
            }
        }
    }
}

/// Output that goes to a pager if there is much of it.
pub(crate) struct Pager<'a> {
    out: &'a mut dyn Write,
    state: State,
    running: Running,
    /// Why it was not started, if the user named it.
    failure: Option<String>,
}

enum State {
    /// Everything is written as it is.
    Through,
    /// Nothing is written yet: it may fit on the screen.
    Holding { plan: Plan, held: Vec<u8>, rows: usize, column: usize },
    /// Everything goes to the pager.
    Paging(BufWriter<ChildStdin>),
}

impl<'a> Pager<'a> {
    /// Output with a pager, or without any.
    pub(crate) fn new(out: &'a mut dyn Write, plan: Option<Plan>) -> Self {
        let state = match plan {
            Some(plan) => State::Holding { plan, held: Vec::new(), rows: 0, column: 0 },
            None => State::Through,
        };
        Self { out, state, running: Running::default(), failure: None }
    }

    /// Returns what tells when the pager is left.
    pub(crate) fn running(&self) -> Running {
        self.running.clone()
    }

    /// Writes what is held and waits until the pager is left. Returns why the one that was named did not start.
    pub(crate) fn finish(mut self) -> io::Result<Option<String>> {
        if let State::Holding { held, .. } = &self.state {
            self.out.write_all(held)?;
        }
        let ended = self.flush();
        // Closes its input.
        self.state = State::Through;
        if let Some(mut child) = self.running.0.borrow_mut().take() {
            child.wait()?;
        }
        ended.map(|()| self.failure.take())
    }

    /// Starts the pager with what is held, or writes that as it is if it does not start.
    fn start(&mut self) -> io::Result<()> {
        let State::Holding { plan, held, .. } = std::mem::replace(&mut self.state, State::Through) else {
            return Ok(());
        };
        match plan.start() {
            Ok(mut child) => {
                ignore_interrupts();
                let input = child.stdin.take();
                *self.running.0.borrow_mut() = Some(child);
                if let Some(input) = input {
                    self.state = State::Paging(BufWriter::new(input));
                }
            }
            Err(error) if plan.is_named => {
                let name = plan.words.join(" ");
                self.failure = Some(format!(
                    "cannot start the pager {name:?}: {error}; mind LOGQ_PAGER, PAGER, or --no-pager"
                ));
            }
            // A machine without less.
            Err(_) => {}
        }
        self.write_all(&held)
    }
}

impl Write for Pager<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Through => self.out.write_all(bytes)?,
            State::Paging(input) => input.write_all(bytes)?,
            State::Holding { plan, held, rows, column } => {
                held.extend_from_slice(bytes);
                for byte in bytes {
                    match byte {
                        b'\n' => (*rows, *column) = (*rows + 1, 0),
                        // Behind the first byte of a character, or nothing that takes a column of its own.
                        0x80..0xc0 => {}
                        _ if *column == plan.columns => (*rows, *column) = (*rows + 1, 1),
                        _ => *column += 1,
                    }
                }
                // The last row is for the prompt of the shell.
                if *rows >= plan.rows {
                    self.start()?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Through => self.out.flush(),
            State::Paging(input) => input.flush(),
            State::Holding { .. } => Ok(()),
        }
    }
}

/// Leaves the key that interrupts to the pager: a command that died of it would take the terminal from under it.
fn ignore_interrupts() {
    if tokio::runtime::Handle::try_current().is_ok() {
        // Where signals cannot be waited for, the key ends both.
        drop(signal(SignalKind::interrupt()));
    }
}

#[cfg(test)]
mod tests {
    use logyard_sys::{Disk as _, RealDisk};

    use super::*;

    fn plan(env: &[(&str, &str)]) -> Option<Plan> {
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Plan::new(&env, (10, 3))
    }

    #[test]
    fn the_environment_names_the_pager() {
        let words = |env: &[(&str, &str)]| plan(env).map(|plan| plan.words.join("|"));
        assert_eq!(words(&[]).as_deref(), Some("less|-FRX"));
        assert_eq!(words(&[("PAGER", "more")]).as_deref(), Some("more"));
        assert_eq!(words(&[("PAGER", "more"), ("LOGQ_PAGER", "a 'b c'")]).as_deref(), Some("a|b c"));
        for none in [("PAGER", ""), ("PAGER", "cat"), ("LOGQ_PAGER", " ")] {
            assert_eq!(plan(&[none, ("PAGER", "more")]), None, "{none:?}");
        }
    }

    /// Writes in pieces and returns what came out as it is, what the pager got, and what was told.
    fn paged(pieces: &[&str], program: &str) -> (String, Option<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("got");
        let program = program.replace("FILE", &path.display().to_string());
        let mut out = Vec::new();
        let mut pager = Pager::new(&mut out, plan(&[("PAGER", &program)]));
        for piece in pieces {
            pager.write_all(piece.as_bytes()).unwrap();
            pager.flush().unwrap();
        }
        let told = pager.finish().unwrap();
        let got = RealDisk.metadata(&path).unwrap().map(|_| RealDisk.read(&path).unwrap());
        (String::from_utf8(out).unwrap(), got.map(|bytes| String::from_utf8(bytes).unwrap()), told)
    }

    #[test]
    fn only_what_is_more_than_a_screen_goes_there() {
        let dd = "dd of=FILE status=none";
        assert_eq!(paged(&["a\n", "b\n"], dd), ("a\nb\n".to_owned(), None, None));
        assert_eq!(
            paged(&["a\n", "b\n", "c\n", "d\n"], dd),
            (String::new(), Some("a\nb\nc\nd\n".to_owned()), None)
        );
        let long = "é".repeat(31);
        assert_eq!(paged(&[&long], dd).1.as_deref(), Some(&*long), "rows are counted as they are shown");
        assert_eq!(paged(&["é".repeat(30).as_str()], dd).1, None);
    }

    #[test]
    fn what_is_set_in_front_of_it_is_set_for_it() {
        let shown = |program: &str| {
            let program = format!("{program} sh -c 'printf %s \"$LESS|$LOGQ_TEST\" > FILE; cat > /dev/null'");
            paged(&["a\n", "b\n", "c\n", "d\n"], &program).1
        };
        assert_eq!(shown("").as_deref(), Some("FRX|"));
        assert_eq!(shown("LESS=-R LOGQ_TEST='b c'").as_deref(), Some("-R|b c"));
    }

    #[test]
    fn without_its_program_the_output_is_as_it_is() {
        let (out, _, told) = paged(&["a\n", "b\n", "c\n", "d\n"], "/nowhere/pager -x");
        assert_eq!(out, "a\nb\nc\nd\n");
        assert!(told.unwrap().starts_with("cannot start the pager \"/nowhere/pager -x\": "));
    }

    #[test]
    fn whoever_leaves_it_ends_the_output() {
        let mut out = Vec::new();
        let mut pager = Pager::new(&mut out, plan(&[("PAGER", "true")]));
        let line = [&[b'x'; 1000][..], b"\n"].concat();
        // More than any pipe holds.
        let error = (0..100_000).find_map(|_| pager.write_all(&line).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(pager.finish().is_err());
    }
}
