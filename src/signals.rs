//! Signals as something to wait for beside other events.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM, or SIGHUP because the terminal is gone.
    Stop,
    /// Any other SIGHUP: read the configuration again.
    Reload,
}

/// The signals of this process, from now on delivered through a file descriptor.
pub struct Signals {
    fd: SignalFd,
    had_terminal: bool,
    stopped: bool,
}

impl Signals {
    /// Takes over SIGINT, SIGTERM and SIGHUP. To be called before there is any other thread.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take_over() -> Result<Self> {
        let signals: SigSet = [Number::SIGINT, Number::SIGTERM, Number::SIGHUP]
            .into_iter()
            .collect();
        let taken = signals.thread_block().and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        });
        Ok(Self {
            fd: taken.context("cannot take over SIGINT, SIGTERM and SIGHUP")?,
            had_terminal: has_terminal(),
            stopped: false,
        })
    }

    /// The next signal that is waiting.
    pub fn next(&mut self) -> Option<Signal> {
        let number = self.fd.read_signal().ok().flatten()?.ssi_signo;
        let hangup = number == Number::SIGHUP as u32;
        let terminal_is_gone = self.had_terminal && !has_terminal();
        if hangup && !terminal_is_gone {
            return Some(Signal::Reload);
        }
        self.stopped = true;
        Some(Signal::Stop)
    }

    /// Whether a signal has asked us to stop.
    pub fn stopped(&mut self) -> bool {
        while !self.stopped && self.next().is_some() {}
        self.stopped
    }

    /// Waits for so long; true: a signal came, any of which ends a viewer.
    ///
    /// # Errors
    /// If the system cannot wait.
    pub fn wait(&self, time: Duration) -> Result<bool> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error).context("cannot wait"),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
