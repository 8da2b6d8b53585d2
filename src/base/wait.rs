//! Waiting without polling: for processes, for the kernel and for ctrl-C, in one place.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Tells that the user (or the system) wants the program to end.
#[derive(Clone)]
pub struct Interrupt(Arc<EventFd>);

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// If they are caught already, or there is no descriptor left.
    pub fn catch() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_flags(flags).context("cannot make an eventfd")?);
        let raised = Arc::clone(&event);
        // The eventfd is never read, so that it stays raised.
        let raise = move || {
            let _ = raised.write(1);
        };
        ctrlc::set_handler(raise).context("cannot catch signals")?;
        Ok(Self(event))
    }

    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Has it happened?
    pub fn raised(&self) -> bool {
        ready(&[self.fd()], Duration::ZERO).is_some()
    }
}

/// Waits until one of `fds` can be read and returns its index; none after `limit`.
pub fn ready(fds: &[BorrowedFd<'_>], limit: Duration) -> Option<usize> {
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    // EINTR counts as a time-out: every caller looks at its own clock.
    poll(&mut polled, limit).ok().filter(|count| *count > 0)?;
    polled.iter().position(|fd| fd.any().unwrap_or_default())
}

/// A descriptor that can be read once `child` has ended.
///
/// # Errors
/// If the kernel refuses.
pub fn pidfd(child: &Child) -> Result<OwnedFd> {
    // SAFETY: a plain system call; the result is checked below.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot watch a process");
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
