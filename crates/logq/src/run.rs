//! The command as a function: arguments and surroundings in, exit status out.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use crate::args::Arguments;
use crate::pager::{Pager, Plan};
use crate::session::Session;

/// Exit status: something was found (or help was asked for).
pub const FOUND: u8 = 0;
/// Exit status: the query is fine and nothing matches.
pub const NOTHING: u8 = 1;
/// Exit status: wrong arguments, or the store could not answer.
pub const TROUBLE: u8 = 2;

/// What the command needs of the process around it.
pub struct Surroundings<'a> {
    /// The time of day, nanoseconds since the Unix epoch.
    pub now_ns: &'a dyn Fn() -> i64,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Standard input.
    pub input: &'a mut (dyn Read + Send),
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where everything else goes.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub out_is_terminal: bool,
    /// Whether `err` is a terminal: only there progress is shown.
    pub err_is_terminal: bool,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("out_is_terminal", &self.out_is_terminal).finish_non_exhaustive()
    }
}

/// Why the command ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Arguments, query or answer are at fault.
    Trouble(String),
    /// The store does not answer just now; the same call may succeed later.
    Away(String),
    /// Nobody reads the output any more (`logq … | head`): quietly.
    Unread,
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Trouble(text)
    }
}

impl From<logyard_client::Error> for Stop {
    fn from(error: logyard_client::Error) -> Self {
        match error.kind() {
            logyard_client::Kind::Invalid => Self::Trouble(error.to_string()),
            logyard_client::Kind::Limited | logyard_client::Kind::Unavailable => {
                Self::Away(error.to_string())
            }
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Trouble(format!("cannot write output: {error}")),
        }
    }
}

/// Runs the command and returns its exit status. `args` begins with the name of the program.
///
/// Cost: starts its own single-threaded runtime; must not be called from within another.
pub fn run(args: impl IntoIterator<Item = OsString>, surroundings: Surroundings<'_>) -> u8 {
    let arguments = match Arguments::read(args) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, surroundings),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(surroundings.err, &format!("cannot start: {error}")),
    };
    let Surroundings { now_ns, env, input, out, err, out_is_terminal, err_is_terminal } = surroundings;
    let size = if out_is_terminal && arguments.is_paged() { crossterm::terminal::size().ok() } else { None };
    let plan = size.and_then(|size| Plan::new(env, size));
    let is_paged = plan.is_some();
    let mut pager = Pager::new(out, plan);
    let running = pager.running();
    let around = Surroundings { now_ns, env, input, out: &mut pager, err, out_is_terminal, err_is_terminal };
    let mut session = Session::new(&arguments, around, is_paged);
    let done = runtime.block_on(async {
        let work = async {
            let found = arguments.run(&mut session).await?;
            session.out.flush()?;
            Ok(found)
        };
        match is_paged {
            true => tokio::select! {
                done = work => done,
                () = running.left() => Err(Stop::Unread),
            },
            false => work.await,
        }
    });
    // A look-up of a name that nobody waits for any more ends with the process.
    runtime.shutdown_background();
    // What was found before a fault stays found.
    drop(session.out.flush());
    let shown = pager.finish().map_err(Stop::from);
    if let Ok(Some(text)) = &shown {
        // Everything has been seen without the pager, so the status is that of what was found.
        report(err, text);
    }
    match (done, shown) {
        (Err(Stop::Trouble(text) | Stop::Away(text)), _) | (_, Err(Stop::Trouble(text))) => {
            report(err, &text)
        }
        (Ok(true) | Err(Stop::Unread), _) => FOUND,
        (Ok(false), _) => NOTHING,
    }
}

/// Prints help, version or a complaint about the arguments.
fn refuse(error: &clap::Error, surroundings: Surroundings<'_>) -> u8 {
    let text = match surroundings.out_is_terminal && (surroundings.env)("NO_COLOR").is_none() {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    // A reader that went away has no use for the help.
    match error.use_stderr() {
        true => surroundings.err.write_all(text.as_bytes()).map_or(TROUBLE, |()| TROUBLE),
        false => surroundings.out.write_all(text.as_bytes()).map_or(FOUND, |()| FOUND),
    }
}

/// Prints an error; if even that fails, the exit status still tells.
fn report(err: &mut dyn Write, text: &str) -> u8 {
    writeln!(err, "logq: {text}").map_or(TROUBLE, |()| TROUBLE)
}
