//! Waiting without polling: for processes and for the kernel.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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
    pidfd_of(child.id() as i32).context("cannot watch a process")
}

/// A descriptor that can be read once the process `pid` has ended.
///
/// # Errors
/// If there is none, or the kernel refuses.
pub fn pidfd_of(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; the result is checked below.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
