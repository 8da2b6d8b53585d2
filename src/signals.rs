//! Signals, taken in one place.
//!
//! What asks to stop (SIGINT, SIGTERM, SIGHUP) comes by a thread of the crate ctrlc, for every command: as a call
//! ([`on_stop`]) or as something to wait for ([`Interrupt`]). The agent alone tells SIGHUP apart, which asks it to read
//! its configuration again ([`Signals`]).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::base::wait;

/// Calls `act`, in a thread of its own, at each signal that asks to stop.
///
/// # Errors
/// If these signals are taken already, or the kernel refuses.
pub fn on_stop(act: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(act).context("cannot take over SIGINT, SIGTERM and SIGHUP")
}

/// Says that the user (or the system) wants the program to end; from then on for ever.
#[derive(Clone)]
pub struct Interrupt(Arc<EventFd>);

impl Interrupt {
    /// Takes over the signals that ask to stop.
    ///
    /// # Errors
    /// As [`on_stop`], or if there is no descriptor left.
    pub fn catch() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_flags(flags).context("cannot make an eventfd")?);
        let raised = Arc::clone(&event);
        // The eventfd is never read, so that it stays raised.
        on_stop(move || {
            let _ = raised.write(1);
        })?;
        Ok(Self(event))
    }

    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Has it happened?
    pub fn raised(&self) -> bool {
        wait::ready(&[self.fd()], Duration::ZERO).is_some()
    }

    /// Waits for it for so long; has it happened?
    pub fn wait(&self, time: Duration) -> bool {
        let started = Instant::now();
        loop {
            let left = time.saturating_sub(started.elapsed());
            if wait::ready(&[self.fd()], left).is_some() {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}

/// What a signal asks the agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM, or SIGHUP because the terminal is gone.
    Stop,
    /// Any other SIGHUP: read the configuration again.
    Reload,
}

/// The signals of the agent.
pub struct Signals {
    interrupt: Interrupt,
    hangups: SignalFd,
    had_terminal: bool,
    lost_terminal: bool,
}

impl Signals {
    /// Takes over SIGINT, SIGTERM and SIGHUP. To be called before there is any other thread: none but that of
    /// ctrlc is interrupted by them.
    ///
    /// # Errors
    /// As [`Interrupt::catch`].
    pub fn take_over() -> Result<Self> {
        let hangup: SigSet = [Number::SIGHUP].into_iter().collect();
        let hangups = hangup.thread_block().and_then(|()| {
            SignalFd::with_flags(&hangup, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        });
        let hangups = hangups.context("cannot take over SIGHUP")?;
        let interrupt = Interrupt::catch()?;
        let stops: SigSet = [Number::SIGINT, Number::SIGTERM].into_iter().collect();
        stops
            .thread_block()
            .context("cannot leave SIGINT and SIGTERM to another thread")?;
        Ok(Self {
            interrupt,
            hangups,
            had_terminal: has_terminal(),
            lost_terminal: false,
        })
    }

    /// What to poll.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.interrupt.fd(), self.hangups.as_fd()]
    }

    /// The next signal that is waiting; once it is [`Signal::Stop`], it stays that.
    pub fn next(&mut self) -> Option<Signal> {
        if self.lost_terminal || self.interrupt.raised() {
            return Some(Signal::Stop);
        }
        self.hangups.read_signal().ok().flatten()?;
        self.lost_terminal = self.had_terminal && !has_terminal();
        Some(if self.lost_terminal {
            Signal::Stop
        } else {
            Signal::Reload
        })
    }

    /// Whether a signal has asked us to stop.
    pub fn stopped(&mut self) -> bool {
        loop {
            match self.next() {
                Some(Signal::Stop) => return true,
                Some(Signal::Reload) => {}
                None => return false,
            }
        }
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_stays_raised_and_ends_each_wait() {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        let interrupt = Interrupt(Arc::new(event));
        assert!(!interrupt.raised());
        assert!(!interrupt.wait(Duration::from_millis(1)));
        interrupt.0.write(1).unwrap();
        for _ in 0..2 {
            assert!(interrupt.wait(Duration::MAX));
            assert!(interrupt.raised());
        }
    }
}
