//! The keyboard, and what a terminal does to a program: keys, a new size, being suspended and woken up again.
//!
//! Keys are read one by one while a [`Keyboard`] lives; the terminal is then as it was. They are read by a thread that
//! sleeps until there is one, so that nobody need ever look.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;

use crate::decode::Target;

/// What the listener wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    /// To hear what is so many seconds away.
    Skip(f64),
    /// To hear a certain moment.
    To(Target),
    /// To stop for a while, or go on.
    Pause,
    /// To leave.
    Quit,
    /// To do something else in this terminal for a while.
    Suspend,
    /// To see it drawn anew: the terminal has another size, or was somebody else's for a while.
    Redraw,
}

/// In the background, so often it is asked whether the terminal is ours again.
const LOOK_UP: Duration = Duration::from_millis(500);

/// For people, in one line.
pub const HELP: &str = "←→ 10 s  ↑↓ 1 min  l live  space pause  q quit";

/// The keyboard, while keys are read one by one.
#[derive(Debug)]
pub struct Keyboard(());

impl Keyboard {
    /// Reads keys from now on, if there is somebody at a keyboard: standard input is a terminal that is this program's.
    /// `pressed` is called with each, until it says that it has had enough.
    #[must_use]
    pub fn open(pressed: impl Fn(Key) -> bool + Send + 'static) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() || !in_foreground() {
            return None;
        }
        terminal::enable_raw_mode().ok()?;
        let keyboard = Self(());
        let read = move || {
            loop {
                // Whoever reads in the background is stopped.
                let key = if wait_for_foreground() {
                    Some(Key::Redraw)
                } else if let Ok(event) = event::read() {
                    key_of(&event)
                } else {
                    break;
                };
                if key.is_some_and(|key| !pressed(key)) {
                    break;
                }
            }
        };
        thread::Builder::new().name("keyboard".into()).spawn(read).ok()?;
        Some(keyboard)
    }

    /// The terminal is somebody else's for a while.
    pub fn release(&self) {
        // A terminal that is gone needs no care.
        let _ = terminal::disable_raw_mode();
    }

    /// It is ours again.
    pub fn take_back(&self) {
        if in_foreground() {
            let _ = terminal::enable_raw_mode();
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.release();
    }
}

fn key_of(event: &Event) -> Option<Key> {
    let KeyEvent { code, modifiers, kind, .. } = match event {
        Event::Key(key) => key,
        Event::Resize(..) => return Some(Key::Redraw),
        _ => return None,
    };
    if *kind == KeyEventKind::Release {
        return None;
    }
    let control = modifiers.contains(KeyModifiers::CONTROL);
    Some(match code {
        KeyCode::Left => Key::Skip(-10.0),
        KeyCode::Right => Key::Skip(10.0),
        KeyCode::Up => Key::Skip(60.0),
        KeyCode::Down => Key::Skip(-60.0),
        KeyCode::Home => Key::To(Target::Seconds(0.0)),
        KeyCode::End => Key::To(Target::Live),
        KeyCode::Char('c' | 'd') if control => Key::Quit,
        KeyCode::Char('z') if control => Key::Suspend,
        KeyCode::Char('l') if control => Key::Redraw,
        KeyCode::Char('l' | 'L') => Key::To(Target::Live),
        KeyCode::Char(' ' | 'p') => Key::Pause,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Key::Quit,
        _ => return None,
    })
}

/// Whether what is typed is meant for this program: another in the same terminal is stopped if it reads.
#[cfg(unix)]
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}

/// Sleeps while the terminal is another's; returns whether it was.
fn wait_for_foreground() -> bool {
    let mut waited = false;
    while !in_foreground() {
        waited = true;
        thread::sleep(LOOK_UP);
    }
    waited
}

/// Stops the whole program until somebody lets it go on, as the terminal does with ordinary programs.
pub fn suspend() {
    #[cfg(unix)]
    {
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP);
    }
}

/// Calls `told` when the program is to be suspended by a signal, and when it goes on after it was.
///
/// # Errors
/// If the system does not allow that.
#[cfg(unix)]
pub fn watch_signals(told: impl Fn(Key) + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
    let mut signals = signal_hook::iterator::Signals::new([SIGTSTP, SIGCONT])?;
    let watch = move || {
        for signal in &mut signals {
            if signal == SIGCONT && !in_foreground() {
                // The keyboard's thread sleeps where it would read what is now typed for others: a new size wakes it.
                let _ = signal_hook::low_level::raise(SIGWINCH);
            }
            told(if signal == SIGTSTP { Key::Suspend } else { Key::Redraw });
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(())
}

/// As on Unix, where there are such signals.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn watch_signals(_: impl Fn(Key) + Send + 'static) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        key_of(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        assert_eq!(press(KeyCode::Left, KeyModifiers::NONE), Some(Key::Skip(-10.0)));
        assert_eq!(press(KeyCode::Up, KeyModifiers::NONE), Some(Key::Skip(60.0)));
        assert_eq!(press(KeyCode::Char('l'), KeyModifiers::NONE), Some(Key::To(Target::Live)));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key_of(&Event::Resize(80, 24)), Some(Key::Redraw));
    }
}
