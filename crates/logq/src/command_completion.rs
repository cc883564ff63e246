//! `logq completion`: what a shell runs so that it completes command lines; and `logq complete-words`, which it asks then.
//!
//! The scripts know nothing of flags and commands: they ask the program, which answers by its own declaration and by the
//! labels of the store. So a query is completed inside its quotes, where generated scripts stop.

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _};

use crate::args::Arguments;
use crate::args_range::RangeFlags;
use crate::args_shared::SharedFlags;
use crate::complete::line::{Line, read};
use crate::complete::place::place;
use crate::complete::propose::{Store, propose};
use crate::complete::write::{Shell, write};
use crate::connect::connect;
use crate::run::Stop;
use crate::session::Session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  logq completion bash   # in ~/.bashrc: source <(logq completion bash)
  logq completion zsh    # in ~/.zshrc, behind compinit: source <(logq completion zsh)
  logq completion fish   # in ~/.config/fish/config.fish: logq completion fish | source

Completed are commands, flags and their values, and inside of queries the names and values of labels, as the store has
them: that which the line or the environment names. A store that takes longer than a second is not waited for.";

pub(crate) const WORDS_EXAMPLES: &str = "\
Examples:
  logq complete-words fish 'logq lab'";

/// Label names and values at least so old are known: whoever writes a query has not always said yet how far back.
const LOOKED_BACK_NS: i64 = 24 * 3_600_000_000_000;

/// A shell to be told.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Shell that completes
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let script = match self.shell {
            Shell::Bash => include_str!("../completion/logq.bash"),
            Shell::Zsh => include_str!("../completion/logq.zsh"),
            Shell::Fish => include_str!("../completion/logq.fish"),
        };
        session.out.write_all(script.as_bytes())?;
        Ok(true)
    }
}

/// A line that is being written.
#[derive(Debug, Args)]
pub(crate) struct CompleteWords {
    /// Shell that asks
    shell: Shell,

    /// Characters at which it begins what it replaces
    #[arg(long, value_name = "CHARACTERS", default_value = "", hide_default_value = true)]
    breaks: String,

    /// The line as far as the cursor
    line: String,
}

impl CompleteWords {
    /// Prints proposals; whatever goes wrong, it prints less and no error.
    pub(crate) async fn run(&self, session: &mut Session<'_>) -> Result<bool, Stop> {
        let line = read(&self.line, self.shell, &self.breaks);
        let mut root = Arguments::command();
        root.build();
        let place = place(&line, &root);
        let store = store(&line, session);
        let proposals = propose(&place, store.as_ref()).await;
        session.out.write_all(write(&proposals, &line.current, self.shell).as_bytes())?;
        Ok(true)
    }
}

/// Makes out of the flags that are written already whom to ask, as far as they say so.
fn store(line: &Line, session: &Session<'_>) -> Option<Store> {
    let matches: ArgMatches =
        Arguments::command().ignore_errors(true).try_get_matches_from(&line.words).ok()?;
    let mut flags = SharedFlags::from_arg_matches(&matches).ok()?.connect;
    flags.retries = Some(0);
    let now_ns = (session.now_ns)();
    let zone = session.look.zone.clone();
    let range = RangeFlags::from_arg_matches(&matches).ok().and_then(|range| range.range(now_ns, &zone).ok());
    let mut range = range.unwrap_or(logyard_model::TimeRange { start_ns: now_ns, end_ns: now_ns });
    range.start_ns = range.start_ns.min(range.end_ns.saturating_sub(LOOKED_BACK_NS));
    let client = connect(&flags, session.env).ok()?;
    Some(Store { client, range })
}

#[cfg(test)]
mod tests {
    use crate::FOUND;
    use crate::tests::{Outcome, command};
    use crate::tests_examples::stand_in;

    /// What zsh is told for a line, without what it means.
    fn words(line: &str, addr: &str) -> Vec<String> {
        let done = command(&["complete-words", "zsh", "--", line], &[("LOGQ_ADDR", addr)]);
        assert_eq!((done.status, &*done.err), (FOUND, ""), "{line}");
        let texts = done.out.lines().map(|line| line.rsplit_once('\t').map_or(line, |(word, _)| word));
        texts.map(|text| text.replace('\t', " ")).collect()
    }

    #[test]
    fn commands_flags_and_their_values() {
        let addr = stand_in();
        let check = |line: &str, want: &[&str]| assert_eq!(words(line, &addr), want, "{line}");
        check("logq lab", &["whole labels"]);
        check("logq vol", &["whole volume", "whole volume_range"]);
        check("logq --outp", &["whole --output", "whole --output-timestamp-format"]);
        check("logq -o j", &["whole jsonl"]);
        check("logq --output=j", &["whole --output=jsonl"]);
        check("logq delete c", &["whole create", "whole cancel"]);
        check("logq tail --si", &["whole --since"]);
        check("logq --since 1", &["whole 15m", "whole 1h"]);
        check("logq -z Europe/Berl", &["whole Europe/Berlin"]);
        check("logq --ca-file ", &["files"]);
        check("logq push a", &["files"]);
        check("logq completion ", &["whole bash", "whole zsh", "whole fish"]);
        check("logq --limit ", &[]);
        check("logq --nonsense", &[]);
    }

    #[test]
    fn labels_and_names_come_from_the_store() {
        let addr = stand_in();
        let check = |line: &str, want: &[&str]| assert_eq!(words(line, &addr), want, "{line}");
        check("logq we", &["whole web"]);
        check("logq tail w", &["whole web"]);
        check("logq labels con", &["whole container"]);
        check("logq volume --target-labels a,con", &["open a,container"]);
        check("logq '{con", &["open {container="]);
        check("logq series ''", &["open {container="]);
        check("logq query '{container=\"d", &["open {container=\"db\""]);
        check("logq '{container=\"db\"} | js", &["open {container=\"db\"} | json"]);
        check("logq 'sum by (con", &["open sum by (container"]);
        check("logq top --by c", &["whole container"]);
    }

    #[test]
    fn flags_on_the_line_say_whom_to_ask() {
        let addr = stand_in();
        let nobody = "http://127.0.0.1:1";
        let line = format!("logq --addr {addr} --limit x labels con");
        assert_eq!(words(&line, nobody), ["whole container"]);
        assert!(words("logq labels con", nobody).is_empty(), "nobody answers, and nothing is said");
        assert!(words("logq --ca-file /nowhere labels con", &addr).is_empty());
    }

    #[test]
    fn a_store_that_does_not_answer_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = format!("http://{}", listener.local_addr().unwrap());
        // Were it waited for, then for as long as calls may take: a minute.
        assert!(words("logq labels con", &addr).is_empty());
        assert_eq!(words("logq e", &addr), ["whole errors", "whole explain", "whole export"]);
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in ["bash", "zsh", "fish"] {
            let Outcome { status, out, err } = command(&["completion", shell], &[]);
            assert_eq!((status, &*err), (FOUND, ""));
            assert!(
                out.contains(&format!("logq complete-words {shell}")) && out.contains("2>/dev/null"),
                "{out}"
            );
        }
    }
}
