//! The terminal: taken over at the beginning, and given back whatever happens.
//!
//! It is given back when the explorer is left, when it is dropped on the way of an error, and before the message of a
//! panic is printed, each only once.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui_core::style::Color;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;

use super::state::State;
use super::view;

/// A terminal under the explorer's hands.
pub(crate) struct Screen<'a> {
    terminal: Terminal<CrosstermBackend<&'a mut dyn Write>>,
    has_colours: bool,
    is_taken: Arc<AtomicBool>,
}

impl<'a> Screen<'a> {
    /// Takes the terminal over.
    pub(crate) fn take(out: &'a mut dyn Write, has_colours: bool) -> io::Result<Self> {
        enable_raw_mode()?;
        let is_taken = Arc::new(AtomicBool::new(true));
        give_back_on_panic(&is_taken);
        let mut backend = CrosstermBackend::new(out);
        let result = execute!(backend, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)
            .and_then(|()| Terminal::new(backend));
        match result {
            Ok(terminal) => Ok(Self { terminal, has_colours, is_taken }),
            Err(error) => {
                give_back(&is_taken);
                Err(error)
            }
        }
    }

    /// Draws what differs from what is there.
    pub(crate) fn draw(&mut self, state: &State) -> io::Result<()> {
        let has_colours = self.has_colours;
        self.terminal.draw(|frame| {
            let cursor = view::draw(state, frame.buffer_mut());
            if !has_colours {
                for cell in &mut frame.buffer_mut().content {
                    cell.set_fg(Color::Reset).set_bg(Color::Reset);
                }
            }
            if let Some(cursor) = cursor {
                frame.set_cursor_position(cursor);
            }
        })?;
        Ok(())
    }

    /// Draws everything anew the next time.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Asks the terminal to put a text on its clipboard (OSC 52); not every terminal does.
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        let out = self.terminal.backend_mut();
        write!(out, "\u{1b}]52;c;{}\u{7}", STANDARD.encode(text))?;
        Write::flush(out)
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // What is still on its way would be written over the screen that is given back.
        drop(Write::flush(self.terminal.backend_mut()));
        give_back(&self.is_taken);
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

/// Gives the terminal back, the first time it is called.
fn give_back(is_taken: &AtomicBool) {
    if is_taken.swap(false, Ordering::SeqCst) {
        // A terminal that is gone wants nothing back.
        drop(execute!(io::stdout(), DisableBracketedPaste, cursor::Show, LeaveAlternateScreen));
        drop(disable_raw_mode());
    }
}

/// Gives the terminal back before a panic of this thread is told: its message would be lost on a screen that goes.
fn give_back_on_panic(is_taken: &Arc<AtomicBool>) {
    let (own, before) = (std::thread::current().id(), std::panic::take_hook());
    let is_taken = Arc::clone(is_taken);
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == own {
            give_back(&is_taken);
        }
        before(panic);
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Tells the test, when it runs itself on a terminal, to panic there.
    const ON_TERMINAL: &str = "LOGQ_TEST_ON_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        if std::env::var_os(ON_TERMINAL).is_some() {
            let mut out = io::stdout();
            let screen = Screen::take(&mut out, false).unwrap();
            assert!(screen.has_colours, "on purpose");
            return;
        }
        let program = std::env::current_exe().unwrap();
        let name = std::thread::current().name().unwrap().to_owned();
        let line = format!("stty -a; '{}' --exact {name} --nocapture; stty -a", program.display());
        let run = Command::new("script").args(["-qec", &line, "/dev/null"]).env(ON_TERMINAL, "1").output();
        let Ok(run) = run else {
            eprintln!("not run: there is no script here, which makes a terminal");
            return;
        };
        let text = String::from_utf8_lossy(&run.stdout);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"));
        assert!(at("\u{1b}[?1049h") < at("\u{1b}[?1049l"), "{text}");
        assert!(at("\u{1b}[?1049l") < at("on purpose"), "the message is on the screen that stays: {text}");
        assert!(at("\u{1b}[?25l") < at("\u{1b}[?25h"), "{text}");
        let modes = |name: &str| text.split_whitespace().filter(|word| *word == name).count();
        assert_eq!((modes("icanon"), modes("echo")), (2, 2), "{text}");
    }
}
