//! The system calls that the load is made of, each as a safe function that returns `io::Result`.

use std::ffi::CString;
use std::io;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

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
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// The CPU that this thread runs on right now.
pub fn current_cpu() -> Option<usize> {
    // SAFETY: sched_getcpu takes nothing.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The CPUs that this process may run on.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a cpu_set_t of zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable and its size is given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    check(result.into())?;
    // SAFETY: every index is below the size of the set.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Lets thread `tid` run on `cpus` only (0 is the calling thread).
pub fn set_affinity(tid: Tid, cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a cpu_set_t of zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the index is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is readable and its size is given.
    let result = unsafe { libc::sched_setaffinity(tid, size_of_val(&set), &set) };
    check(result.into()).map(drop)
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

/// Gives thread `tid` the nice value `nice`, -20 to 19.
pub fn set_nice(tid: Tid, nice: i32) -> io::Result<()> {
    // SAFETY: plain numbers only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as libc::id_t, nice) }.into())
        .map(drop)
}

/// Gives the CPU away for now.
pub fn yield_now() {
    // SAFETY: sched_yield takes nothing and cannot fail on Linux.
    unsafe { libc::sched_yield() };
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
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    let failed = unsafe { libc::getrlimit(resource, &mut limit) } != 0;
    (!failed && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Makes writing to a closed pipe an error instead of the end of the process.
pub fn ignore_broken_pipes() {
    // SAFETY: no handler of ours is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
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
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is writable. The clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Sleeps until CLOCK_MONOTONIC is `at`, or (rarely) until a signal comes.
pub fn sleep_until(at: Duration) {
    let at = libc::timespec {
        tv_sec: at.as_secs() as libc::time_t,
        tv_nsec: at.subsec_nanos().into(),
    };
    let (clock, absolute) = (libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME);
    // SAFETY: `at` is readable; for an absolute time the rest is not written.
    unsafe { libc::clock_nanosleep(clock, absolute, &at, std::ptr::null_mut()) };
}

/// Maps so much memory and writes to each page of it; does nothing if there is none.
pub fn fill_memory(bytes: usize) {
    const PAGE_BYTES: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping that touches no existing memory.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return;
    }
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
pub struct Child(libc::pid_t);

impl Child {
    /// Forks a child that runs `body` and exits. It dies with the thread that made it.
    ///
    /// `body` runs in the copy of a process with many threads: it may compute, use atomics and make
    /// system calls, but neither allocate nor take locks.
    pub fn fork(body: impl FnOnce()) -> io::Result<Self> {
        // SAFETY: the child does only what is allowed after a fork: see above.
        let pid = check(unsafe { libc::fork() }.into())? as libc::pid_t;
        if pid == 0 {
            // SAFETY: plain numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            body();
            // SAFETY: ends the child without running what the parent has registered for its own exit.
            unsafe { libc::_exit(0) };
        }
        Ok(Self(pid))
    }

    /// The child's process id.
    pub fn pid(&self) -> libc::pid_t {
        self.0
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
        // SAFETY: the child is not reaped yet, so its id is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        reap(self.0);
    }
}

fn reap(pid: libc::pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        let reaped = unsafe { libc::waitpid(pid, &mut status, 0) };
        if reaped == pid {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

/// Makes a child that shares this process's memory while this thread waits for it (`vfork`), and
/// reaps it. It computes a little on `stack`.
pub fn vfork_and_wait(stack: &mut [u8]) -> io::Result<bool> {
    extern "C" fn body(_: *mut libc::c_void) -> libc::c_int {
        compute(2);
        0
    }
    let top = stack.as_mut_ptr_range().end;
    // The ABIs of x86_64 and aarch64 want the stack on a multiple of 16.
    let top = top.wrapping_sub(top as usize % 16).cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `body` on a stack of its own, touches nothing else, and has ended before
    // clone returns.
    let pid = check(unsafe { libc::clone(body, top, flags, std::ptr::null_mut()) }.into())?;
    Ok(reap(pid as libc::pid_t))
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
        let pid = endless.pid();
        drop(endless);
        // SAFETY: signal 0 only asks whether the process exists.
        let asked = unsafe { libc::kill(pid, 0) };
        assert_eq!(asked, -1, "a dropped child must be gone");
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
