//! The terminal: taken over, drawn on, and given back however this process ends.
//!
//! At a return and at an error by `Drop`, at a panic by ratatui's hook, at SIGINT, SIGTERM and SIGHUP by
//! the signal thread, which waits for a drawing to be finished first. SIGKILL leaves it as it is (`reset`).

use std::fs::File;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::disable_raw_mode;

use super::draw::draw;
use super::view::View;
use crate::signals;

/// How long a terminal may take to be given back.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Held while the terminal is drawn on, and for ever by the thread that ends the process.
static DRAWING: Mutex<()> = Mutex::new(());

fn drawing() -> MutexGuard<'static, ()> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A terminal that takes nothing any more (a connection that hangs) holds up the thread that draws: the process ends
/// without it.
fn end_soon() {
    thread::spawn(|| {
        thread::sleep(LAST_WORDS);
        let _ = disable_raw_mode();
        process::exit(0);
    });
}

/// The terminal, in our hands.
pub struct Screen {
    terminal: DefaultTerminal,
    /// Where keys come from, if they can be read.
    keys: Option<File>,
}

/// What came from the terminal.
#[derive(Debug)]
pub enum Input {
    /// Nothing, for as long as was waited.
    Nothing,
    /// The terminal has another size.
    Changed,
    /// A key.
    Key(KeyEvent),
    /// The terminal is gone.
    Gone,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn open() -> Result<Self> {
        signals::on_stop(|| {
            end_soon();
            let guard = drawing();
            // Nothing is left to restore on a terminal that is gone.
            let _ = ratatui::try_restore();
            let _ = execute!(io::stdout(), Show);
            // The lock is never given back: nothing is drawn on a terminal that is the user's again.
            std::mem::forget(guard);
            process::exit(0);
        })?;
        let guard = drawing();
        let terminal = ratatui::try_init().context("cannot take the terminal over")?;
        drop(guard);
        let keys = keyboard();
        if let Some(keys) = keys.as_ref().and_then(|keys| keys.try_clone().ok()) {
            end_with(keys);
        }
        Ok(Self { terminal, keys })
    }

    /// Draws the view; `Break`: the terminal is gone.
    ///
    /// # Errors
    /// If the terminal cannot be written to.
    pub fn draw(&mut self, view: &View) -> Result<ControlFlow<()>> {
        let _guard = drawing();
        match self.terminal.draw(|frame| draw(frame, view)) {
            Ok(_) => Ok(ControlFlow::Continue(())),
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error).context("cannot draw on the terminal"),
        }
    }

    /// Of a terminal that is gone there is nothing to restore, and ratatui would say so on a standard error that is
    /// gone as well.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Waits for input for so long. Should keys become unreadable, the view goes on, and ends by a signal.
    ///
    /// # Errors
    /// None that is known.
    pub fn input(&mut self, timeout: Duration) -> Result<Input> {
        let Some(keys) = &self.keys else {
            thread::sleep(timeout);
            return Ok(Input::Nothing);
        };
        match read(keys, timeout) {
            Ok(input) => Ok(input),
            Err(_) => {
                self.keys = None;
                Ok(Input::Changed)
            }
        }
    }
}

/// Ends the program when its terminal goes: should that happen while crossterm reads, it would read without an end.
fn end_with(terminal: File) {
    thread::spawn(move || {
        loop {
            // Asked for nothing, poll() still tells of a hang-up.
            let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => process::exit(0),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    });
}

/// What crossterm reads keys from: standard input, or the controlling terminal where that is something else.
fn keyboard() -> Option<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let keys = stdin.as_fd().try_clone_to_owned();
        return keys.ok().map(File::from);
    }
    File::open("/dev/tty").ok()
}

/// Is there a keyboard, by which a view that takes the whole screen could be ended?
pub fn has_keyboard() -> bool {
    keyboard().is_some()
}

/// Crossterm is only asked while the terminal is there: of one that is gone it would read without an end.
fn read(keys: &File, timeout: Duration) -> io::Result<Input> {
    if is_gone(keys, Duration::ZERO)? {
        return Ok(Input::Gone);
    }
    if !event::poll(Duration::ZERO)? {
        if is_gone(keys, timeout)? {
            return Ok(Input::Gone);
        }
        if !event::poll(Duration::ZERO)? {
            return Ok(Input::Nothing);
        }
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
        _ => Input::Changed,
    })
}

/// Waits for a key, a change of size or `timeout`.
fn is_gone(keys: &File, timeout: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(keys.as_fd(), PollFlags::POLLIN)];
    let timeout = timeout.as_micros().div_ceil(1000);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Ok(fds[0]
        .revents()
        .is_some_and(|events| events.intersects(gone)))
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has done so already, before it said why. Once more would put the cursor back to where it was
        // before that, and what comes next over the reason.
        if thread::panicking() {
            return;
        }
        let _guard = drawing();
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
