//! A program on a terminal of tmux, whose screen is read as text and whose keys are pressed.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// How long a screen may take to show what is waited for; far above what it takes.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);

/// No line for tmux itself; a program that ended leaves its screen; copies of the program are kept by tmux.
const SETTINGS: &str = "set -g status off
set -g remain-on-exit on
set -g default-terminal screen-256color
set -s escape-time 0
set -s set-clipboard on
";

/// A terminal with one program on it; dropping it ends both.
#[derive(Debug)]
pub struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Starts a line of the shell on a terminal of `columns` × `rows`.
    pub fn start((columns, rows): (u16, u16), line: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ly-tmux-").tempdir().unwrap();
        std::fs::write(folder.path().join("tmux.conf"), SETTINGS).unwrap();
        let terminal = Self { folder };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, line]);
        terminal
    }

    /// Presses keys, by the names that tmux has for them.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", ":0"], keys].concat());
    }

    /// Types a text.
    pub fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-t", ":0", "-l", text]);
    }

    /// Gives the terminal another size.
    pub fn resize(&self, (columns, rows): (u16, u16)) {
        self.tmux(&["resize-window", "-t", ":0", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Returns what the screen shows, without blanks at the ends of its lines.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", ":0"])
    }

    /// Returns what a format of tmux yields, such as `#{alternate_on}`.
    pub fn display(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", "-t", ":0", format]).trim_end().to_owned()
    }

    /// Returns what the program has put on the clipboard last.
    pub fn clipboard(&self) -> String {
        self.tmux(&["show-buffer"])
    }

    /// Waits until the screen shows all of these texts, and returns it.
    pub fn wait(&self, texts: &[&str]) -> String {
        self.wait_for(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// Waits until the screen is as wanted, and returns it.
    pub fn wait_for(&self, what: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let screen = self.screen();
            if is_shown(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "the screen does not show {what}:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        Command::new("tmux")
            .args(["-u", "-S", &path("socket"), "-f", &path("tmux.conf")])
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .output()
            .expect("tmux is installed")
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.run(&["kill-server"]));
    }
}
