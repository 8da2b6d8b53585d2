//! From attached to detached, and what an exit means.
//!
//! ```text
//! open object --load--> loaded object --attach()--> Attached --detach()--> the kernel's own scheduler
//!                                                     |drop: the same, without waiting
//! ```
//!
//! The kernel holds a scheduler for as long as its link is open. A process that ends in any way, even
//! by SIGKILL, closes it; nothing here is needed for safety, only for telling the truth about it.

use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::{Link, MapMut};
use scx_utils::UserExitInfo;

use crate::sched_ext::{self, Active};
use crate::{Error, Result};

/// How long the kernel may take to hand all tasks back.
const DETACH_LIMIT: Duration = Duration::from_secs(30);
/// Sysfs does not notify: the state is asked for this often while it changes.
const POLL: Duration = Duration::from_millis(5);

/// A scheduler in charge. Dropping it gives the machine back to the kernel.
pub struct Attached {
    link: Link,
}

impl Attached {
    /// Attaches the ops table of a loaded object.
    ///
    /// # Errors
    /// If the kernel refuses it; most often since another scheduler was faster.
    pub fn attach(ops: &mut MapMut<'_>) -> Result<Self> {
        let link = ops
            .attach_struct_ops()
            .map_err(|source| match sched_ext::active() {
                Ok(other @ Active::SchedExt(_)) => Error::OtherScheduler(other),
                _ => Error::Refused { source },
            })?;
        Ok(Self { link })
    }

    /// Gives the machine back and waits until the kernel's own scheduler is in charge.
    ///
    /// # Errors
    /// If that takes longer than half a minute.
    pub fn detach(self) -> Result<()> {
        drop(self.link);
        wait_until(DETACH_LIMIT, |active| {
            !matches!(active, Active::Changing(_))
        })
    }
}

/// Waits until the kernel has gone back: until the active scheduler is one that `reached` takes, for `limit` at
/// most.
///
/// # Errors
/// If it takes longer, or sysfs cannot be read.
pub fn wait_until(limit: Duration, reached: impl Fn(&Active) -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let active = sched_ext::active()?;
        if reached(&active) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::NotBack {
                active,
                waited: limit,
            });
        }
        thread::sleep(POLL);
    }
}

/// What to do after the scheduler has left the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was asked to stop.
    Stop,
    /// Load again: the machine has changed (hotplug).
    Restart,
}

/// Reads an exit record: prints the kernel's dump if there is one, and decides what comes next.
///
/// # Errors
/// If the kernel ejected the scheduler; the error carries the kernel's reason.
pub fn next(exit: &UserExitInfo) -> Result<Next> {
    exit.report().map_err(|reason| Error::Ejected {
        reason: reason.to_string(),
    })?;
    Ok(if exit.should_restart() {
        Next::Restart
    } else {
        Next::Stop
    })
}
