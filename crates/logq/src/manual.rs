//! The manual page, made of the declaration of the flags.
//!
//! One page has all commands, each with its own flags and examples; the flags that every command takes stand once, at its
//! end. It uses what every roff knows: `.TH .SH .SS .TP .PP .EX .EE` and the font changes.

use clap::{Arg, ArgAction, Command};

/// What a reader wants to know first.
const DESCRIPTION: &str = "\
Run with LogQL it prints what the query yields: a log query entries, newest first, a metric query samples. Run with a \
part of the name of a container, service or unit it prints the newest lines of that. Run with nothing it prints what \
writes, how much, and where the errors are.";

/// What stands behind the commands.
const REST: &str = "\
.SH EXIT STATUS
.TP
0
Something was found.
.TP
1
Nothing was found.
.TP
2
An error: of the arguments, of the query, or of the store.
.SH ENVIRONMENT
The variables that stand with a flag count where the flag is absent; those of Loki's client count behind those of logq.
.TP
NO_COLOR
If it is set, no colours are used unless a flag asks for them.
.TP
LOGQ_PAGER, PAGER
Program that shows what is more than a screen, started without a shell, with the variables that are set in front of it; an empty name means none. Usually less \\-FRX.
.TP
XDG_STATE_HOME
Folder below which imports and exports note how far they got; usually ~/.local/state.
";

/// Writes the manual of a command and of all its commands. `root` has been built.
pub(crate) fn manual(root: &Command) -> String {
    let mut page = Page(String::new());
    let (name, version) = (root.get_name(), root.get_version().unwrap_or_default());
    page.macro_line(".TH", &[&name.to_uppercase(), "1", "", &format!("{name} {version}"), "Logyard"]);
    page.macro_line(".SH", &["NAME"]);
    let about = root.get_about().map(ToString::to_string).unwrap_or_default();
    page.text(&format!("{name} - {}", lower_first(about.trim_end_matches('.'))));
    page.macro_line(".SH", &["SYNOPSIS"]);
    page.text(&format!("{name} [FLAGS] [QUERY | NAME]"));
    page.raw(".br");
    page.text(&format!("{name} [FLAGS] COMMAND ..."));
    page.macro_line(".SH", &["DESCRIPTION"]);
    page.text(DESCRIPTION);
    page.macro_line(".SH", &["COMMANDS"]);
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        page.command(command, name);
    }
    page.macro_line(".SH", &["FLAGS OF EVERY COMMAND"]);
    let mut headings: Vec<&str> = Vec::new();
    let globals: Vec<&Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).collect();
    for heading in globals.iter().filter_map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        page.macro_line(".SS", &[heading]);
        let those = globals.iter().filter(|arg| arg.get_help_heading() == Some(heading));
        those.for_each(|arg| page.argument(arg));
    }
    page.0.push_str(REST);
    page.0
}

/// A page that is being written.
struct Page(String);

impl Page {
    fn raw(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn macro_line(&mut self, name: &str, words: &[&str]) {
        let words: Vec<String> =
            words.iter().map(|word| format!("\"{}\"", escaped(word).replace('"', "\\(dq"))).collect();
        self.raw(&format!("{name} {}", words.join(" ")));
    }

    /// Writes running text, or lines as they are between `.EX` and `.EE`.
    fn text(&mut self, text: &str) {
        for line in text.lines() {
            let line = escaped(line);
            let guard = if line.starts_with('.') { "\\&" } else { "" };
            self.raw(&format!("{guard}{line}"));
        }
    }

    fn command(&mut self, command: &Command, before: &str) {
        let name = format!("{before} {}", command.get_name());
        let places: Vec<String> = command.get_positionals().map(|arg| format!(" {}", shape(arg))).collect();
        self.macro_line(".SS", &[&format!("{name}{}", places.concat())]);
        let about = command.get_long_about().or_else(|| command.get_about());
        self.text(&format!("{}.", about.map(ToString::to_string).unwrap_or_default().trim_end_matches('.')));
        let aliases: Vec<&str> = command.get_visible_aliases().collect();
        if !aliases.is_empty() {
            self.text(&format!("Also: {before} {}.", aliases.join(", ")));
        }
        let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help";
        command.get_arguments().filter(own).for_each(|arg| self.argument(arg));
        if let Some(examples) = command.get_after_help() {
            self.examples(&examples.to_string());
        }
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            self.command(inner, &name);
        }
    }

    fn argument(&mut self, arg: &Arg) {
        if arg.is_hide_set() {
            return;
        }
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escaped(&shape(arg))));
        let help =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.replace('\n', " ");
        let default: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let is_told = default.is_empty() || arg.is_hide_default_value_set() || takes_none(arg);
        self.text(&if is_told { help } else { format!("{help} [default: {}]", default.join(", ")) });
    }

    /// Writes what stands behind the help: lines of examples as they are, and running text.
    fn examples(&mut self, text: &str) {
        let mut is_example = false;
        for line in text.lines() {
            if is_example != line.starts_with("  ") {
                is_example = !is_example;
                self.raw(if is_example { ".EX" } else { ".EE" });
            }
            match line {
                "" | "Examples:" => self.raw(".PP"),
                line => self.text(line),
            }
        }
        if is_example {
            self.raw(".EE");
        }
    }
}

/// Writes an argument as it is typed: `-n, --limit COUNT`, `[NAME]`, `FILE...`.
fn shape(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let value = values.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let many = if matches!(arg.get_action(), ArgAction::Append) && arg.is_positional() { "..." } else { "" };
    if arg.is_positional() {
        return if arg.is_required_set() { format!("{value}{many}") } else { format!("[{value}]{many}") };
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if takes_none(arg) || value.is_empty() { names } else { format!("{names} {value}") }
}

fn takes_none(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Writes a text so that roff shows it as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use clap::CommandFactory as _;
    use logyard_sys::{Disk as _, RealDisk};

    use super::*;
    use crate::args::Arguments;

    fn page() -> (String, Command) {
        let mut root = Arguments::command();
        root.build();
        (manual(&root), root)
    }

    #[test]
    fn lines_of_text_are_no_commands_of_roff() {
        let mut page = Page(String::new());
        page.text(".a\n'b\nc\\d -e");
        assert_eq!(page.0, "\\&.a\n\\(aqb\nc\\ed \\-e\n");
    }

    #[test]
    fn every_flag_stands_once_where_it_belongs() {
        let (page, _) = page();
        assert_eq!(page.matches("\n\\fB\\-\\-addr URL\\fR\n").count(), 1);
        assert_eq!(page.matches("\n\\fB\\-\\-follow").count(), 0, "another name of --tail");
        assert!(page.contains(".SS \"logq delete cancel\""), "{page}");
        assert!(page.contains(".SS \"logq detected\\-fields QUERY [FIELD]\""), "{page}");
        assert!(page.contains(".TP\n\\fB\\-o, \\-\\-output FORM\\fR\nForm of the output"), "{page}");
        assert!(page.contains("[default: 5000]") && !page.contains("complete\\-words "), "{page}");
        for line in page.lines().filter(|line| line.starts_with('.')) {
            let name = line.split(' ').next().unwrap();
            let known = [".TH", ".SH", ".SS", ".TP", ".PP", ".EX", ".EE", ".br"];
            assert!(known.contains(&name), "{line}");
        }
        assert_eq!(page.matches("\n.EX").count(), page.matches("\n.EE").count());
    }

    #[test]
    fn man_shows_the_page_without_complaints() {
        let (page, root) = page();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logq.1");
        RealDisk.write_atomic(&path, page.as_bytes()).unwrap();
        let shown = Process::new("man")
            .args(["--warnings", "-P", "cat", "-l"])
            .arg(&path)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .output();
        let Ok(shown) = shown else {
            eprintln!("not run: there is no man here");
            return;
        };
        let (text, complaints) =
            (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        if text.contains("minimized") || complaints.contains("minimized") {
            eprintln!("not run: man shows nothing on this minimized system");
            return;
        }
        assert!(shown.status.success() && complaints.is_empty(), "{complaints}");
        for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(text.contains(&format!("logq {}", command.get_name())), "{}", command.get_name());
        }
        assert!(text.contains("EXIT STATUS") && text.contains("--bearer-token TOKEN"), "{text}");
    }
}
