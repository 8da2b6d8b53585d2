//! The system calls that the load is made of, each as a safe function that returns `io::Result`.

use std::ffi::CString;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::{ForkResult, Pid, fork, gettid};

use crate::base::clock;

/// The kernel's id of a thread.
pub type Tid = libc::pid_t;

/// How a thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The ordinary policy.
    Other,
    /// Ordinary, but said to be no interactive work.
    Batch,
    /// Runs in what others leave over.
    Idle,
    /// Real-time first-in first-out with this priority, 1 to 99.
    Fifo(i32),
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// This thread's id.
pub fn tid() -> Tid {
    gettid().as_raw()
}

/// The CPU that this thread runs on right now.
pub fn current_cpu() -> Option<usize> {
    nix::sched::sched_getcpu().ok()
}

/// The CPUs that this process may run on.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let is_set = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    Ok((0..CpuSet::count()).filter(is_set).collect())
}

/// Lets thread `tid` run on `cpus` only (0 is the calling thread).
pub fn set_affinity(tid: Tid, cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::count()) {
        set.set(cpu)?;
    }
    Ok(nix::sched::sched_setaffinity(Pid::from_raw(tid), &set)?)
}

/// As [`set_affinity`]; that all of `cpus` are offline just now is no error, and changes nothing.
pub fn bind(tid: Tid, cpus: &[usize]) -> io::Result<()> {
    match set_affinity(tid, cpus) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// Schedules thread `tid` by `policy` (0 is the calling thread).
pub fn set_policy(tid: Tid, policy: Policy) -> io::Result<()> {
    let (policy, priority) = match policy {
        Policy::Other => (libc::SCHED_OTHER, 0),
        Policy::Batch => (libc::SCHED_BATCH, 0),
        Policy::Idle => (libc::SCHED_IDLE, 0),
        Policy::Fifo(priority) => (libc::SCHED_FIFO, priority),
    };
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `param` is readable for the call.
    check(unsafe { libc::sched_setscheduler(tid, policy, &param) }.into()).map(drop)
}

/// Gives the CPU away for now.
pub fn yield_now() {
    // It cannot fail on Linux.
    let _ = nix::sched::sched_yield();
}

/// Sleeps until `word` is woken, is no longer `expected`, or `timeout` is over.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` and `timeout` live through the call. Every way it may end is a reason to look again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, expected, &timeout) };
}

/// Wakes all threads that wait on `word`; returns how many they were.
pub fn futex_wake_all(word: &AtomicU32) -> usize {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` lives through the call.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, i32::MAX) };
    usize::try_from(woken).unwrap_or(0)
}

/// One `membarrier` command; with `MEMBARRIER_CMD_QUERY` (0) the commands that the kernel has.
pub fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: plain numbers only.
    check(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) })
}

/// The soft limit `resource`, `None` when there is none.
pub fn soft_limit(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Makes writing to a closed pipe an error instead of the end of the process.
pub fn ignore_broken_pipes() {
    // SAFETY: no handler of ours is installed. It cannot fail: the signal is known.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
}

/// Computes for `units` of about 10 us (a number of steps, so that it means the same in any clock).
pub fn compute(units: u64) {
    let mut x = units | 1;
    for _ in 0..units * 8_000 {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Computes until `time` has passed.
pub fn compute_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        compute(1);
    }
}

/// CLOCK_MONOTONIC.
pub fn monotonic() -> Duration {
    Duration::from_nanos(clock::monotonic_ns())
}

/// Sleeps until CLOCK_MONOTONIC is `at`, or (rarely) until a signal comes.
pub fn sleep_until(at: Duration) {
    let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &at.into());
}

/// Maps so much memory and writes to each page of it; does nothing if there is none.
pub fn fill_memory(bytes: usize) {
    const PAGE_BYTES: usize = 4096;
    let Some(length) = NonZeroUsize::new(bytes) else {
        return;
    };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping that touches no existing memory.
    let mapped = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) };
    let Ok(memory) = mapped else {
        return;
    };
    for offset in (0..bytes).step_by(PAGE_BYTES) {
        // SAFETY: the byte is inside the new mapping, which nothing else uses.
        unsafe { memory.cast::<u8>().add(offset).write_volatile(1) };
    }
}

/// Executes the program `words` (its path, then its arguments); returns only if that fails. At most
/// [`MAX_WORDS`] words: allocates nothing.
pub fn execute(words: &[CString]) -> io::Error {
    let mut pointers = [std::ptr::null(); MAX_WORDS + 1];
    for (pointer, word) in pointers.iter_mut().zip(words).take(MAX_WORDS) {
        *pointer = word.as_ptr();
    }
    // SAFETY: all words and the null that ends them live through the call.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// How many words [`execute`] takes.
pub const MAX_WORDS: usize = 7;

/// A child process made by `fork`. It is killed and reaped when dropped.
#[derive(Debug)]
pub struct Child(Pid);

impl Child {
    /// Forks a child that runs `body` and exits. It dies with the thread that made it.
    ///
    /// `body` runs in the copy of a process with many threads: it may compute, use atomics and make
    /// system calls, but neither allocate nor take locks.
    pub fn fork(body: impl FnOnce()) -> io::Result<Self> {
        // SAFETY: the child does only what is allowed after a fork: see above.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self(child)),
            ForkResult::Child => {
                let _ = prctl::set_pdeathsig(Signal::SIGKILL);
                body();
                // SAFETY: ends the child without running what the parent has registered for its own exit.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// The child's process id.
    pub fn pid(&self) -> libc::pid_t {
        self.0.as_raw()
    }

    /// Waits for the child to end by itself; true if it ended with status 0.
    pub fn wait(self) -> bool {
        let ok = reap(self.0);
        std::mem::forget(self);
        ok
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The child is not reaped yet, so its id is still its own.
        let _ = kill(self.0, Signal::SIGKILL);
        reap(self.0);
    }
}

fn reap(pid: Pid) -> bool {
    loop {
        match waitpid(pid, None) {
            Ok(status) => return status == WaitStatus::Exited(pid, 0),
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Makes a child that shares this process's memory while this thread waits for it (`vfork`), and
/// reaps it. It computes a little on `stack`.
pub fn vfork_and_wait(stack: &mut [u8]) -> io::Result<bool> {
    let body = Box::new(|| {
        compute(2);
        0
    });
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the child runs `body` on a stack of its own, touches nothing else, and has ended before
    // clone returns.
    let pid = unsafe { nix::sched::clone(body, stack, flags, Some(libc::SIGCHLD)) }?;
    Ok(reap(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_reaped_with_their_status() {
        assert!(Child::fork(|| compute(1)).unwrap().wait());
        // SAFETY: runs in the child only.
        assert!(!Child::fork(|| unsafe { libc::_exit(3) }).unwrap().wait());
        let endless = Child::fork(|| {
            loop {
                compute(1)
            }
        })
        .unwrap();
        let pid = endless.0;
        drop(endless);
        assert_eq!(
            kill(pid, None),
            Err(Errno::ESRCH),
            "a dropped child must be gone"
        );
    }

    #[test]
    fn vfork_runs_on_the_stack_that_it_is_given() {
        let mut stack = vec![0; 64 * 1024];
        assert!(vfork_and_wait(&mut stack).unwrap());
        assert!(stack.iter().any(|&byte| byte != 0));
    }

    #[test]
    fn affinity_is_taken_over() {
        let all = allowed_cpus().unwrap();
        set_affinity(0, &all[..1]).unwrap();
        assert_eq!(allowed_cpus().unwrap(), all[..1]);
        assert_eq!(current_cpu(), Some(all[0]));
        set_affinity(0, &all).unwrap();
        assert!(set_affinity(0, &[]).is_err());
    }
}
