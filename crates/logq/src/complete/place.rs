//! What stands at the cursor of a command line, by the declaration of the flags.
//!
//! The line is not finished yet, so nothing is refused: an unknown flag is passed over.

use clap::{Arg, ArgAction, Command};

use super::line::Line;

/// What stands at the cursor.
#[derive(Debug)]
pub(crate) struct Place<'c> {
    /// The command whose words they are.
    pub(crate) command: &'c Command,
    /// The flag or positional argument whose value stands there.
    pub(crate) value_of: Option<&'c Arg>,
    /// Whether a command may stand there.
    pub(crate) takes_command: bool,
    /// Whether a flag may stand there.
    pub(crate) takes_flag: bool,
    /// What of the word is not part of the value, such as `--output=`.
    pub(crate) head: String,
    /// The beginning of the value.
    pub(crate) begun: String,
}

/// Finds what stands at the cursor. `root` has been built, so that flags of every command are known in each.
pub(crate) fn place<'c>(line: &Line, root: &'c Command) -> Place<'c> {
    let (mut command, mut open_flag, mut positionals, mut is_rest) = (root, None, 0, false);
    for word in line.words.iter().skip(1) {
        if open_flag.take().is_some() {
            continue;
        }
        let is_flag = !is_rest && word.starts_with('-') && word != "-";
        if is_flag {
            is_rest = word == "--";
            open_flag = left_open(command, word);
            continue;
        }
        let inner = if is_rest || positionals > 0 { None } else { command.find_subcommand(word) };
        match inner {
            Some(inner) => command = inner,
            None => positionals += 1,
        }
    }
    let text = &line.current.text;
    let mut place = Place {
        command,
        value_of: open_flag,
        takes_command: false,
        takes_flag: false,
        head: String::new(),
        begun: text.clone(),
    };
    if open_flag.is_some() {
        return place;
    }
    if let Some((name, begun)) = text.strip_prefix("--").and_then(|rest| rest.split_once('='))
        && !is_rest
    {
        place.value_of = flag(command, name).filter(|flag| takes_value(flag));
        (place.head, place.begun) = (format!("--{name}="), begun.to_owned());
        return place;
    }
    place.takes_flag = !is_rest && text.starts_with('-');
    if !place.takes_flag {
        place.value_of = positional(command, positionals);
        place.takes_command = !is_rest && positionals == 0 && command.has_subcommands();
    }
    place
}

/// Returns the flag whose value is the word behind this one.
fn left_open<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let needs_value =
        |flag: &&Arg| takes_value(flag) && flag.get_num_args().is_none_or(|count| count.min_values() > 0);
    if let Some(name) = word.strip_prefix("--") {
        return if name.contains('=') { None } else { flag(command, name).filter(needs_value) };
    }
    let mut shorts = word.chars().skip(1);
    let first = shorts.find_map(|short| short_flag(command, short).filter(|flag| takes_value(flag)))?;
    // What follows in the word is its value.
    if shorts.next().is_none() { Some(first).filter(needs_value) } else { None }
}

/// Returns a flag by any of its long names.
fn flag<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|names| names.contains(&name))
    })
}

fn short_flag(command: &Command, short: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| {
        arg.get_short() == Some(short)
            || arg.get_all_short_aliases().is_some_and(|shorts| shorts.contains(&short))
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Returns the positional argument at a place; the last one may take all that follows.
fn positional(command: &Command, index: usize) -> Option<&Arg> {
    let mut last = None;
    for (at, arg) in command.get_positionals().enumerate() {
        if at == index {
            return Some(arg);
        }
        last = Some(arg);
    }
    last.filter(|arg| matches!(arg.get_action(), ArgAction::Append))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use crate::complete::line::read;
    use crate::complete::write::Shell;
    use clap::CommandFactory as _;

    /// Returns the command, the argument whose value is begun, and what is begun of it.
    fn at(line: &str) -> (String, Option<String>, String) {
        let mut root = Arguments::command();
        root.build();
        let line = read(line, Shell::Zsh, "");
        let place = place(&line, &root);
        let value_of = place.value_of.map(|arg| arg.get_id().to_string());
        (place.command.get_name().to_owned(), value_of, format!("{}|{}", place.head, place.begun))
    }

    #[test]
    fn values_belong_to_their_flags_and_places() {
        let check = |line: &str, command: &str, value_of: Option<&str>, begun: &str| {
            let (name, value, text) = at(line);
            assert_eq!((&*name, value.as_deref(), &*text), (command, value_of, begun), "{line}");
        };
        check("logq ", "logq", Some("text"), "|");
        check("logq -o ra", "logq", Some("output"), "|ra");
        check("logq -qo ra", "logq", Some("output"), "|ra");
        check("logq -ora", "logq", None, "|-ora");
        check("logq labels --output=j", "labels", Some("output"), "--output=|j");
        check("logq --addr http://x labels ", "labels", Some("name"), "|");
        check("logq labels x y", "labels", None, "|y");
        check("logq series a b", "series", Some("selectors"), "|b");
        check("logq delete create {a", "create", Some("query"), "|{a");
        check("logq instant --at ", "instant-query", Some("now"), "|");
        check("logq top --watch we", "top", Some("whose"), "|we");
        check("logq -- labels ", "logq", None, "|");
        check("logq query '{a=\"b\"}' --unknown x --lim", "query", None, "|--lim");
    }

    #[test]
    fn commands_come_first_and_alone() {
        let mut root = Arguments::command();
        root.build();
        let takes = |text: &str| {
            let line = read(text, Shell::Zsh, "");
            let place = place(&line, &root);
            (place.takes_command, place.takes_flag)
        };
        assert_eq!(takes("logq "), (true, false));
        assert_eq!(takes("logq -"), (false, true));
        assert_eq!(takes("logq web "), (false, false));
        assert_eq!(takes("logq delete "), (true, false));
        assert_eq!(takes("logq labels "), (false, false));
        assert_eq!(takes("logq -- -"), (false, false));
    }
}
