//! The `logq` binary: hands the process over to the library.

use std::io::{BufWriter, IsTerminal as _};
use std::process::ExitCode;

use logyard_sys::{Clock as _, RealClock};

fn main() -> ExitCode {
    let clock = RealClock::new();
    let stdout = std::io::stdout();
    let out_is_terminal = stdout.is_terminal();
    let surroundings = logyard_logq::Surroundings {
        now_ns: &|| clock.now_ns(),
        env: &|name| std::env::var(name).ok(),
        input: &mut std::io::stdin(),
        out: &mut BufWriter::new(stdout.lock()),
        err: &mut std::io::stderr().lock(),
        out_is_terminal,
        err_is_terminal: std::io::stderr().is_terminal(),
    };
    ExitCode::from(logyard_logq::run(std::env::args_os(), surroundings))
}
