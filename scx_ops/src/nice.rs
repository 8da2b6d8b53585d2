//! Nice values of threads.

use std::io;

use nix::errno::Errno;

/// The nice value of this process while it loads a scheduler.
const NICE_OF_LOADING: i32 = -20;

/// Gives thread `tid`, or the calling one for 0, the nice value `nice`, -20 to 19.
///
/// # Errors
/// What the kernel answers: most often that this process may not, or that there is no such thread.
pub fn set(tid: libc::pid_t, nice: i32) -> io::Result<()> {
    // SAFETY: plain numbers only.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as libc::id_t, nice) };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| io::Error::other(format!("setpriority({nice}) failed: {errno}")))
}

/// The nice value of the calling thread.
fn get() -> i32 {
    // SAFETY: plain numbers only. The thread is there, so that it cannot fail.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// While it lives, this process has nice value -20.
///
/// Loading computes for a third of a second, most of it in the kernel's verifier. On a machine that is
/// busy with ten other tasks per CPU that took eleven seconds under EEVDF (measured: Linux 6.18, 2
/// CPUs), in which the user waits for the scheduler that is to help.
pub struct PriorityBoost {
    nice_before: i32,
}

impl PriorityBoost {
    /// Raises the priority, if that is allowed; if not, loading takes longer and nothing else changes.
    pub fn new() -> Self {
        let nice_before = get();
        let _ = set(0, NICE_OF_LOADING);
        Self { nice_before }
    }
}

impl Default for PriorityBoost {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PriorityBoost {
    fn drop(&mut self) {
        // What could not be raised need not be lowered.
        let _ = set(0, self.nice_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// On a thread of its own: a nice value that was raised is not lowered again without privilege.
    fn on_thread(test: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn nice_value_is_that_of_the_thread_alone() {
        let before = get();
        on_thread(|| {
            set(0, 7).unwrap();
            assert_eq!(get(), 7);
        });
        assert_eq!(get(), before);
    }

    #[test]
    fn boost_ends_when_dropped() {
        on_thread(|| {
            set(0, 3).unwrap();
            let boost = PriorityBoost::new();
            let is_allowed = nix::unistd::geteuid().is_root();
            assert_eq!(get(), if is_allowed { NICE_OF_LOADING } else { 3 });
            drop(boost);
            assert_eq!(get(), 3);
        });
    }

    #[test]
    fn refusal_names_the_call_and_its_reason() {
        let error = set(i32::MAX, 5).unwrap_err().to_string();
        assert_eq!(error, "setpriority(5) failed: ESRCH: No such process");
    }
}
