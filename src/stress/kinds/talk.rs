//! Threads that wait for each other: pipes, futexes, mutexes.

use std::cell::UnsafeCell;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use scx_ops::nice;

use crate::stress::sys::{self, Policy};
use crate::stress::worker_pool::{Worker, WorkerPool};

/// Two pairs that play ping-pong with one byte. Ticks per byte that comes back.
pub fn pipes(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..2 {
        let (to_receive, to_send) = io::pipe().context("cannot make a pipe")?;
        let (back_receive, back_send) = io::pipe().context("cannot make a pipe")?;
        pool.spawn("ping", move |worker| {
            play(worker, to_send, back_receive, true)
        })?;
        pool.spawn("pong", move |worker| {
            play(worker, back_send, to_receive, false)
        })?;
    }
    Ok(())
}

/// Ends when the load stops, or when the other side has left: then its end of the pipe is closed.
fn play(
    worker: &mut Worker,
    mut out: PipeWriter,
    mut back: PipeReader,
    serves: bool,
) -> Result<()> {
    let mut byte = [0];
    if serves && out.write_all(&byte).is_err() {
        return Ok(());
    }
    while worker.running() && back.read_exact(&mut byte).is_ok() {
        worker.tick();
        if out.write_all(&byte).is_err() {
            break;
        }
    }
    anyhow::ensure!(!worker.running(), "the other end of a pipe is gone");
    Ok(())
}

/// How often a duet plays before it computes.
const DUET_TRIPS: u32 = 100;

/// Two threads that play ping-pong over two futexes, then compute side by side. Ticks per round of both.
pub fn duet(pool: &mut WorkerPool) -> Result<()> {
    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let theirs = Arc::clone(&words);
    pool.spawn("lead", move |worker| {
        while worker.running() {
            for _ in 0..DUET_TRIPS {
                hand(&words[0]);
                take(worker, &words[1]);
            }
            hand(&words[0]);
            sys::compute(200);
            take(worker, &words[1]);
            worker.tick();
        }
        Ok(())
    })?;
    pool.spawn("second", move |worker| {
        while worker.running() {
            for _ in 0..DUET_TRIPS {
                take(worker, &theirs[0]);
                hand(&theirs[1]);
            }
            take(worker, &theirs[0]);
            sys::compute(200);
            hand(&theirs[1]);
            worker.tick();
        }
        Ok(())
    })?;
    Ok(())
}

/// Lets the thread that waits for `word` go on.
fn hand(word: &AtomicU32) {
    word.store(1, Ordering::Release);
    sys::futex_wake_all(word);
}

/// Waits until `word` is handed over, or until the load stops.
fn take(worker: &Worker, word: &AtomicU32) {
    while word.swap(0, Ordering::Acquire) == 0 && worker.running() {
        sys::futex_wait(word, 0, Duration::from_millis(200));
    }
}

/// Six threads that wait for one futex, and one that wakes them all. Ticks per wakeup.
pub fn futex_herd(pool: &mut WorkerPool) -> Result<()> {
    let word = Arc::new(AtomicU32::new(0));
    for _ in 0..6 {
        let word = Arc::clone(&word);
        pool.spawn("herd", move |worker| {
            let mut seen = 0;
            while worker.running() {
                sys::futex_wait(&word, seen, Duration::from_millis(200));
                let now = word.load(Ordering::Relaxed);
                if now != seen {
                    worker.tick();
                }
                seen = now;
            }
            Ok(())
        })?;
    }
    pool.spawn("herd-er", move |worker| {
        while worker.running() {
            word.fetch_add(1, Ordering::Relaxed);
            sys::futex_wake_all(&word);
            worker.tick();
            worker.pause_us(200, 5_000);
        }
        Ok(())
    })?;
    Ok(())
}

/// Four threads that want the same mutex most of the time. Ticks per turn.
pub fn mutex_convoy(pool: &mut WorkerPool) -> Result<()> {
    let mutex = Arc::new(Mutex::new(()));
    for _ in 0..4 {
        let mutex = Arc::clone(&mutex);
        pool.spawn("convoy", move |worker| {
            while worker.running() {
                let held = mutex.lock().unwrap_or_else(PoisonError::into_inner);
                sys::compute(3);
                drop(held);
                worker.tick();
                // The mutex is not fair: the thread that just had it must let go of it for a while.
                worker.pause_us(10, 200);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A SCHED_FIFO thread, an ordinary one and a very nice one want the same priority-inheriting mutex,
/// so that the holder is lifted into the real-time class and dropped again. Ticks per turn.
pub fn pi_mutex(pool: &mut WorkerPool) -> Result<()> {
    let mutex = Arc::new(PiMutex::new().context("cannot make a priority-inheriting mutex")?);
    for rank in ["pi-fifo", "pi-other", "pi-nice"] {
        let mutex = Arc::clone(&mutex);
        pool.spawn(rank, move |worker| {
            match rank {
                "pi-fifo" => {
                    sys::set_policy(0, Policy::Fifo(15)).context("cannot use SCHED_FIFO")?
                }
                "pi-nice" => nice::set(sys::tid(), 10)?,
                _ => {}
            }
            while worker.running() {
                let start = Instant::now();
                mutex.with(|| sys::compute(3))?;
                worker.tick();
                // The ordinary ones are real-time too while the first one waits for them.
                worker.rest_for_share(start, 10);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A pthread mutex with the protocol `PTHREAD_PRIO_INHERIT`. Never moved once made.
struct PiMutex(Box<UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: a pthread mutex is made to be used from many threads.
unsafe impl Send for PiMutex {}
// SAFETY: as above.
unsafe impl Sync for PiMutex {}

impl PiMutex {
    fn new() -> io::Result<Self> {
        let mutex = Self(Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        // SAFETY: the attribute is initialised before it is used and destroyed after; the mutex is not
        // in use yet.
        unsafe {
            let mut attribute = std::mem::zeroed();
            success(libc::pthread_mutexattr_init(&mut attribute))?;
            let inherit = libc::PTHREAD_PRIO_INHERIT;
            let set = success(libc::pthread_mutexattr_setprotocol(&mut attribute, inherit))
                .and_then(|()| success(libc::pthread_mutex_init(mutex.0.get(), &attribute)));
            libc::pthread_mutexattr_destroy(&mut attribute);
            set?;
        }
        Ok(mutex)
    }

    fn with(&self, work: impl FnOnce()) -> Result<()> {
        // SAFETY: the mutex is initialised and stays where it is.
        success(unsafe { libc::pthread_mutex_lock(self.0.get()) }).context("cannot lock")?;
        work();
        // SAFETY: this thread holds it.
        success(unsafe { libc::pthread_mutex_unlock(self.0.get()) }).context("cannot unlock")
    }
}

impl Drop for PiMutex {
    fn drop(&mut self) {
        // SAFETY: no thread can hold it any more.
        unsafe { libc::pthread_mutex_destroy(self.0.get()) };
    }
}

/// pthread functions return their error instead of setting `errno`.
fn success(error: libc::c_int) -> io::Result<()> {
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}
