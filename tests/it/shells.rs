//! Completion in real shells, before a real store: a key is pressed, and the line goes on.

use crate::http;
use crate::process::Logyard;
use crate::terminal::Terminal;
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// A store with two containers.
fn store() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().to_string();
    let stream = |name: &str| serde_json::json!({"stream": {"container": name, "host": "nas"}, "values": [[now_ns, "a line"]]});
    let body = serde_json::json!({"streams": [stream("shop-web"), stream("shop-db")]}).to_string();
    let answer = http::post(&store.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
    store
}

/// Starts a shell that reads no settings but the completion; `None` where there is no such shell.
fn shell(name: &str, start: &str, settings: &str, store: &Logyard) -> Option<Terminal> {
    if Command::new(name).args(["-c", "exit 0"]).status().is_err() {
        eprintln!("not run: there is no {name} here");
        return None;
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_logq")).parent().unwrap().display().to_string();
    let (home, address) = (store.folder().display(), store.url(""));
    let line = format!("env HOME={home} PATH={programs}:$PATH LOGQ_ADDR={address} {start}");
    let terminal = Terminal::start((100, 30), &line);
    terminal.write(settings);
    terminal.press(&["Enter"]);
    terminal.write("echo REA''DY");
    terminal.press(&["Enter"]);
    terminal.wait(&["READY"]);
    terminal.press(&["C-l"]);
    Some(terminal)
}

/// Polls of the screen before the key is pressed again.
const POLLS: usize = 60;

/// Types a text, has it completed, and waits until the line is as wanted.
fn complete(terminal: &Terminal, typed: &str, want: &str) {
    terminal.press(&["C-e", "C-u", "C-l"]);
    terminal.write(typed);
    // What was written before is gone, so that it is not taken for an answer.
    terminal.wait_for(typed, |screen| screen.trim() == format!("$ {typed}"));
    let polls = Cell::new(0_usize);
    terminal.wait_for(want, |screen| {
        if screen.contains(want) {
            return true;
        }
        // A store that answers late, as on a loaded machine, means no proposals: whoever waits presses the key again.
        if polls.get().is_multiple_of(POLLS) {
            terminal.press(&["Tab"]);
        }
        polls.set(polls.get() + 1);
        false
    });
}

/// What every shell can do.
fn check(terminal: &Terminal) {
    complete(terminal, "logq detec", "logq detected-fields");
    complete(terminal, "logq labels --timez", "logq labels --timezone");
    complete(terminal, "logq -o js", "logq -o jsonl");
    complete(terminal, "logq labels conta", "logq labels container");
    complete(terminal, "logq tail shop-w", "logq tail shop-web");
    complete(terminal, "logq '{hos", "logq '{host=");
    complete(terminal, "logq '{container=\"shop-d", "logq '{container=\"shop-db\"");
    complete(terminal, "logq '{host=\"nas\"} | line_f", "logq '{host=\"nas\"} | line_format");
}

#[test]
fn bash_completes_commands_flags_and_queries() {
    let store = store();
    let settings = "PS1='$ '; source <(logq completion bash)";
    let Some(terminal) = shell("bash", "bash --norc --noprofile", settings, &store) else { return };
    check(&terminal);
    // The quote stays open: the query goes on.
    complete(&terminal, "logq '{host=\"n", "logq '{host=\"nas\"");
    terminal.write("}'");
    terminal.wait(&["logq '{host=\"nas\"}'"]);
    terminal.press(&["Enter"]);
    terminal.wait(&["common labels: {host=\"nas\"", "a line"]);
    // Whoever opens no quote gets one.
    complete(&terminal, "logq {hos", "logq '{host=");
    complete(&terminal, "logq --output=js", "logq --output=jsonl");
    complete(&terminal, "logq \"{container=\\\"shop-w", "logq \"{container=\\\"shop-web\\\"");
    // Nobody to ask: nothing, and no complaint.
    terminal.press(&["C-e", "C-u", "C-l"]);
    terminal.write("logq --addr http://127.0.0.1:1 labels con");
    terminal.press(&["Tab"]);
    terminal.write("x");
    let screen = terminal.wait(&["labels conx"]);
    assert_eq!(screen.trim(), "$ logq --addr http://127.0.0.1:1 labels conx");
    store.assert_quiet_but_for(&[]);
}

#[test]
fn zsh_completes_commands_flags_and_queries() {
    let store = store();
    let settings = "PS1='$ '; autoload -U compinit; compinit -u -D; source <(logq completion zsh)";
    let Some(terminal) = shell("zsh", "zsh -f", settings, &store) else { return };
    check(&terminal);
    store.assert_quiet_but_for(&[]);
}

#[test]
fn fish_completes_commands_flags_and_queries() {
    let store = store();
    let settings = "function fish_prompt; echo '$ '; end; set -g fish_autosuggestion_enabled 0; logq completion fish | source";
    let Some(terminal) = shell("fish", "fish --no-config", settings, &store) else { return };
    check(&terminal);
    store.assert_quiet_but_for(&[]);
}
