//! The workers of a load: threads (and processes) that each tick a counter of their own, so that it
//! can be seen from outside which worker gets on and which does not.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::resource::Resource;
use rand::RngExt as _;

use super::rng::{self, Rng};
use super::sys::{self, Tid};
use crate::base::units::duration;
use crate::cli::StressKind;

/// How many workers a load may have at most.
const SLOTS: usize = 4096;

/// A counter on a cache line of its own, so that workers do not slow each other down.
#[repr(align(64))]
struct Slot(AtomicU64);

/// What all of them take.
const BYTES: usize = SLOTS * size_of::<Slot>();

/// One counter per worker, in memory that is shared with forked children.
struct SharedCounters(NonNull<Slot>);

// SAFETY: the memory is nothing but atomics, and it is there until they are dropped.
unsafe impl Send for SharedCounters {}
// SAFETY: as above.
unsafe impl Sync for SharedCounters {}

impl SharedCounters {
    fn new() -> nix::Result<Self> {
        let length = NonZeroUsize::new(BYTES).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping that touches no existing memory.
        let memory = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_SHARED) }?;
        Ok(Self(memory.cast()))
    }

    fn counter(&self, slot: usize) -> &AtomicU64 {
        // SAFETY: the index is inside the mapping, which begins as zeroes: valid counters.
        unsafe { &self.0.add(slot % SLOTS).as_ref().0 }
    }
}

impl Drop for SharedCounters {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it outlives them.
        let _ = unsafe { munmap(self.0.cast(), BYTES) };
    }
}

/// What all workers of one run share.
pub struct Load {
    counters: SharedCounters,
    /// Not 0 once all workers are hired and may begin, so that hiring is not slowed by the load itself:
    /// a futex that every new worker waits on.
    begun: AtomicU32,
    /// Not 0 once the run is over: a futex that every pause waits on. No lock stands here, for a worker
    /// that is kept from running while it holds one would hold up all others.
    stopping: AtomicU32,
    /// How many workers have not ended yet: a futex too.
    alive: AtomicU32,
    faults: Mutex<Vec<String>>,
    seed: u64,
    cpus: Vec<usize>,
}

impl Load {
    /// A load for the CPUs that this process may use, its random choices made from `seed`.
    pub fn new(seed: u64) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            counters: SharedCounters::new().context("cannot map memory for the counters")?,
            begun: AtomicU32::new(0),
            stopping: AtomicU32::new(0),
            alive: AtomicU32::new(0),
            faults: Mutex::new(Vec::new()),
            seed,
            cpus: sys::allowed_cpus().context("cannot read the CPUs of this process")?,
        }))
    }

    /// Lets every worker begin.
    pub fn begin(&self) {
        self.begun.store(1, Ordering::Release);
        sys::futex_wake_all(&self.begun);
    }

    fn wait_for_begin(&self) {
        while self.begun.load(Ordering::Acquire) == 0 {
            sys::futex_wait(&self.begun, 0, Duration::from_secs(1));
        }
    }

    /// Asks every worker to end.
    pub fn stop(&self) {
        self.stopping.store(1, Ordering::Relaxed);
        sys::futex_wake_all(&self.stopping);
        // Workers that wait for the begin must wake to end.
        self.begin();
    }

    /// The run is over, or about to be.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) != 0
    }

    /// Waits for `time`, or until the run stops, or (rarely) until a signal comes.
    pub fn pause(&self, time: Duration) {
        sys::futex_wait(&self.stopping, 0, time);
    }

    /// Waits until all workers have ended, but no longer than `time`; true if they have.
    pub fn wait_for_end(&self, time: Duration) -> bool {
        let start = Instant::now();
        loop {
            let alive = self.alive.load(Ordering::Acquire);
            let left = time.saturating_sub(start.elapsed());
            if alive == 0 || left.is_zero() {
                return alive == 0;
            }
            sys::futex_wait(&self.alive, alive, left);
        }
    }

    /// What has gone wrong in workers so far.
    pub fn faults(&self) -> Vec<String> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fault(&self, text: String) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }
}

/// Counts a worker as alive while it exists.
struct Presence(Arc<Load>);

impl Presence {
    fn new(load: &Arc<Load>) -> Self {
        load.alive.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Release);
        sys::futex_wake_all(&self.0.alive);
    }
}

/// One worker as seen from inside.
pub struct Worker {
    load: Arc<Load>,
    slot: usize,
    /// Its own random choices.
    pub rng: Rng,
}

impl Worker {
    /// The load still runs.
    pub fn running(&self) -> bool {
        !self.load.is_stopping()
    }

    /// One more operation done.
    pub fn tick(&self) {
        self.load
            .counters
            .counter(self.slot)
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps for a time between `low` and `high`, in microseconds, or until the load stops.
    pub fn pause_us(&mut self, low: u64, high: u64) {
        self.load
            .pause(Duration::from_micros(self.rng.random_range(low..=high)));
    }

    /// Sleeps so long that what was done since `start` has taken at most one part in `share` of the time.
    ///
    /// A bound in time and not in work: on a slow machine work takes longer, and the rest grows with it,
    /// up to a second: longer than that, the machine itself has been stopped in between.
    pub fn rest_for_share(&mut self, start: Instant, share: u32) {
        let busy = start.elapsed();
        let jitter = Duration::from_micros(self.rng.random_range(50..=2_000));
        self.load
            .pause((busy * (share - 1)).min(Duration::from_secs(1)) + jitter);
    }

    /// The CPUs that the load may use.
    pub fn cpus(&self) -> &[usize] {
        &self.load.cpus
    }
}

/// One worker as seen from outside.
#[derive(Clone)]
pub struct Member {
    load: Arc<Load>,
    slot: usize,
    /// The kind that it belongs to.
    pub kind: StressKind,
    /// What it is called, as a thread too.
    pub name: String,
}

impl Member {
    /// How many operations it has done.
    pub fn operations(&self) -> u64 {
        self.load
            .counters
            .counter(self.slot)
            .load(Ordering::Relaxed)
    }

    /// One more operation done on its behalf: for members that are processes.
    pub fn tick(&self) {
        self.load
            .counters
            .counter(self.slot)
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// Hires the workers of one kind.
pub struct WorkerPool<'a> {
    load: &'a Arc<Load>,
    kind: StressKind,
    members: &'a mut Vec<Member>,
    /// How long a new thread may take to run for the first time.
    patience: Duration,
}

impl<'a> WorkerPool<'a> {
    /// A pool for `kind` whose workers join `members`.
    pub fn new(
        load: &'a Arc<Load>,
        kind: StressKind,
        members: &'a mut Vec<Member>,
        patience: Duration,
    ) -> Self {
        Self {
            load,
            kind,
            members,
            patience,
        }
    }

    /// The CPUs that the load may use.
    pub fn cpus(&self) -> &'a [usize] {
        &self.load.cpus
    }

    /// A counter for a worker called `role`, for a process that ticks from outside.
    pub fn enrol(&mut self, role: &str) -> Result<Member> {
        let slot = self.members.len();
        anyhow::ensure!(slot < SLOTS, "more than {SLOTS} workers; use fewer --kinds");
        let number = self
            .members
            .iter()
            .filter(|member| member.kind == self.kind)
            .count();
        let member = Member {
            load: Arc::clone(self.load),
            slot,
            kind: self.kind,
            name: format!("{role}/{number}"),
        };
        self.members.push(member.clone());
        Ok(member)
    }

    /// Starts a thread called `role` and waits until it has run for the first time. `body` runs when
    /// the load begins.
    pub fn spawn(
        &mut self,
        role: &str,
        body: impl FnOnce(&mut Worker) -> Result<()> + Send + 'static,
    ) -> Result<Tid> {
        let Member {
            load, slot, name, ..
        } = self.enrol(role)?;
        let presence = Presence::new(&load);
        let mut worker = Worker {
            rng: rng::of_worker(load.seed, slot as u64),
            load,
            slot,
        };
        let (started, start) = mpsc::channel();
        let name_of_worker = name.clone();
        let run = move || {
            let presence = presence;
            // The receiver may have lost its patience; then the stop comes soon.
            started.send(sys::tid()).ok();
            presence.0.wait_for_begin();
            if let Err(error) = body(&mut worker) {
                presence.0.fault(format!("{name_of_worker}: {error:#}"));
            }
        };
        thread::Builder::new()
            .name(name.clone())
            .spawn(run)
            .with_context(no_thread)?;
        let asked = Instant::now();
        start.recv_timeout(self.patience).with_context(|| {
            format!(
                "new thread {name} did not run for {}",
                duration(asked.elapsed())
            )
        })
    }
}

fn no_thread() -> String {
    let limit = match sys::soft_limit(Resource::RLIMIT_NPROC) {
        Some(limit) => format!("`ulimit -u` is {limit}"),
        None => "see pids.max of its cgroup".to_owned(),
    };
    format!("the kernel refuses another thread ({limit}); raise the limit or use fewer --kinds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool<'a>(load: &'a Arc<Load>, members: &'a mut Vec<Member>) -> WorkerPool<'a> {
        WorkerPool::new(load, StressKind::Hogs, members, Duration::from_secs(60))
    }

    #[test]
    fn workers_tick_their_own_counter_until_the_stop() {
        let load = Load::new(1).unwrap();
        let mut members = Vec::new();
        let endless = |worker: &mut Worker| {
            while worker.running() {
                worker.tick();
                worker.pause_us(1, 10);
            }
            Ok(())
        };
        pool(&load, &mut members).spawn("test", endless).unwrap();
        let idle = pool(&load, &mut members).enrol("idle").unwrap();
        assert_eq!(members[0].operations(), 0, "the load has not begun");
        load.begin();
        while members[0].operations() < 3 {
            load.pause(Duration::from_millis(1));
        }
        assert!(
            !load.wait_for_end(Duration::from_millis(1)),
            "it was not asked to end"
        );
        load.stop();
        assert!(load.wait_for_end(Duration::from_secs(60)));
        assert_eq!(idle.operations(), 0);
        assert_eq!(
            (members[0].name.as_str(), members[1].name.as_str()),
            ("test/0", "idle/1")
        );
    }

    #[test]
    fn a_stop_ends_a_long_pause() {
        let load = Load::new(1).unwrap();
        let mut members = Vec::new();
        let sleeper = |worker: &mut Worker| {
            worker.pause_us(3_600_000_000, 3_600_000_000);
            Ok(())
        };
        pool(&load, &mut members).spawn("sleeper", sleeper).unwrap();
        load.stop();
        assert!(load.wait_for_end(Duration::from_secs(60)));
    }

    #[test]
    fn faults_and_forked_ticks_reach_the_parent() {
        let load = Load::new(1).unwrap();
        let mut members = Vec::new();
        let failing = |_: &mut Worker| anyhow::bail!("no luck");
        pool(&load, &mut members).spawn("failing", failing).unwrap();
        let child = pool(&load, &mut members).enrol("child").unwrap();
        assert!(sys::Child::fork(|| child.tick()).unwrap().wait());
        assert_eq!(child.operations(), 1);
        load.begin();
        assert!(load.wait_for_end(Duration::from_secs(60)));
        assert_eq!(load.faults(), ["failing/0: no luck"]);
    }
}
