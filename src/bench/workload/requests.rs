//! `requests`: a message thread hands requests to 4 workers per CPU, which compute under a lock.
//!
//! The shape is that of a web server with per-CPU data: a worker takes the spin lock of the CPU
//! it runs on, computes, and releases it. A scheduler that throws a worker out while it holds
//! the lock lets the next one burn its time on spinning. Two phases:
//! saturation, where each worker gets its next request as soon as it asks, gives `throughput`;
//! a fixed mean load of 40 % of the capacity, with requests at random times, gives the latency
//! from a request's due time to its end.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::hogs::compute;
use super::sync::{
    Latencies, NS_PER_S, exact_timers, futex_wait, futex_wake, join, now_ns, sleep_until_ns,
};
use super::{LATENCY, Metric, Outcome, Setting, Workload};

/// Workers for each CPU.
const WORKERS_PER_CPU: usize = 4;
/// Loops of computation in one request; about 1 ms at a billion instructions per second, so that
/// it outlasts a time slice of EEVDF. Half of that fits into one, and the lock does no harm.
const LOOPS_PER_REQUEST: u32 = 500;
/// Requests for each CPU in the phase of saturation.
const SATURATION_REQUESTS: u64 = 500;
/// The same where guest time is slow to come by.
const SATURATION_REQUESTS_DETERMINISTIC: u64 = 200;
/// Requests for each CPU in the phase of fixed load.
const FIXED_REQUESTS: u64 = 300;
/// The same where guest time is slow to come by.
const FIXED_REQUESTS_DETERMINISTIC: u64 = 250;
/// Load in the second phase, as a share of the time that the requests alone would take.
const FIXED_LOAD: f64 = 0.4;
/// A worker's pause between requests, as a network would cause.
const PAUSE_NS: u64 = 100_000;

/// See the module.
pub struct Requests;

impl Workload for Requests {
    fn name(&self) -> &'static str {
        "requests"
    }

    fn about(&self) -> &'static str {
        "a message thread wakes 4 workers per CPU that compute under a per-CPU spin lock"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 5] = [
            Metric::higher("throughput", "requests/s"),
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let throughput = saturate(setting)?;
        Ok(at_fixed_load(setting)?
            .outcome()
            .with("throughput", throughput))
    }
}

/// A worker's mailbox, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Mailbox {
    /// One of IDLE, REQUEST, END; a futex.
    state: AtomicU32,
    /// When the request was due, CLOCK_MONOTONIC in ns.
    due_ns: AtomicU64,
}

/// The worker waits for a request.
const IDLE: u32 = 0;
/// A request is in the mailbox, or being worked on.
const REQUEST: u32 = 1;
/// The worker shall end.
const END: u32 = 2;

/// What the message thread and the workers share.
struct Server {
    mailboxes: Vec<Mailbox>,
    /// Counts mailboxes that fell idle; a futex on which the message thread sleeps.
    idle_count: AtomicU32,
    /// A spin lock for each CPU.
    locks: Vec<SpinLock>,
}

#[repr(align(128))]
#[derive(Default)]
struct SpinLock(AtomicBool);

impl Server {
    fn new(setting: &Setting) -> Result<Self> {
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF)
            .context("cannot count the CPUs")?
            .map_or(1, |count| count.max(1) as usize);
        let workers = WORKERS_PER_CPU * setting.cpus;
        Ok(Self {
            mailboxes: std::iter::repeat_with(Mailbox::default)
                .take(workers)
                .collect(),
            idle_count: AtomicU32::new(0),
            locks: std::iter::repeat_with(SpinLock::default)
                .take(cpus)
                .collect(),
        })
    }

    /// The lock of the CPU this thread runs on, taken.
    fn lock_this_cpu(&self) -> &SpinLock {
        loop {
            let lock = self.lock_of(current_cpu());
            while lock.0.swap(true, Ordering::Acquire) {
                std::hint::spin_loop();
            }
            // The thread may have been moved while it spun.
            if std::ptr::eq(lock, self.lock_of(current_cpu())) {
                return lock;
            }
            lock.0.store(false, Ordering::Release);
        }
    }

    fn lock_of(&self, cpu: usize) -> &SpinLock {
        &self.locks[cpu % self.locks.len()]
    }

    /// One worker: waits, pauses, computes, until it is told to end. Returns its latencies.
    fn work(&self, mailbox: &Mailbox, pause_ns: u64) -> Result<Latencies> {
        exact_timers()?;
        let mut latencies = Latencies::new()?;
        loop {
            match mailbox.state.load(Ordering::Acquire) {
                IDLE => futex_wait(&mailbox.state, IDLE),
                END => return Ok(latencies),
                _ => {
                    if pause_ns > 0 {
                        sleep_until_ns(now_ns() + pause_ns);
                    }
                    self.serve();
                    latencies
                        .record(now_ns().saturating_sub(mailbox.due_ns.load(Ordering::Relaxed)));
                    mailbox.state.store(IDLE, Ordering::Release);
                    self.idle_count.fetch_add(1, Ordering::Release);
                    futex_wake(&self.idle_count, 1);
                }
            }
        }
    }

    fn serve(&self) {
        let lock = self.lock_this_cpu();
        compute(LOOPS_PER_REQUEST);
        lock.0.store(false, Ordering::Release);
    }

    /// Hands a request to an idle worker, if there is one.
    fn hand_out(&self, due_ns: u64) -> bool {
        let idle = |mailbox: &&Mailbox| mailbox.state.load(Ordering::Acquire) == IDLE;
        let Some(mailbox) = self.mailboxes.iter().find(idle) else {
            return false;
        };
        mailbox.due_ns.store(due_ns, Ordering::Relaxed);
        mailbox.state.store(REQUEST, Ordering::Release);
        futex_wake(&mailbox.state, 1);
        true
    }

    /// Hands out one request, waiting for an idle worker if need be.
    fn hand_out_when_idle(&self, due_ns: u64) {
        loop {
            let seen = self.idle_count.load(Ordering::Acquire);
            if self.hand_out(due_ns) {
                return;
            }
            futex_wait(&self.idle_count, seen);
        }
    }

    /// Waits until every worker is idle and tells it to end.
    fn finish(&self) {
        for mailbox in &self.mailboxes {
            loop {
                let seen = self.idle_count.load(Ordering::Acquire);
                if mailbox.state.load(Ordering::Acquire) == IDLE {
                    break;
                }
                futex_wait(&self.idle_count, seen);
            }
            mailbox.state.store(END, Ordering::Release);
            futex_wake(&mailbox.state, 1);
        }
    }

    /// Runs the workers while `message_thread` hands out requests; returns all latencies.
    fn run(&self, pause_ns: u64, message_thread: impl FnOnce(&Self)) -> Result<Latencies> {
        std::thread::scope(|scope| {
            let workers: Vec<_> = self
                .mailboxes
                .iter()
                .map(|mailbox| scope.spawn(move || self.work(mailbox, pause_ns)))
                .collect();
            message_thread(self);
            self.finish();
            let mut latencies = Latencies::new()?;
            for worker in workers {
                latencies.merge(&join(worker)?)?;
            }
            Ok(latencies)
        })
    }
}

/// Requests per second when each worker gets its next request at once.
fn saturate(setting: &Setting) -> Result<f64> {
    let each = setting.shortened(SATURATION_REQUESTS, SATURATION_REQUESTS_DETERMINISTIC);
    let requests = each * setting.cpus as u64;
    let server = Server::new(setting)?;
    let start_ns = now_ns();
    server.run(PAUSE_NS, |server| {
        for _ in 0..requests {
            server.hand_out_when_idle(now_ns());
        }
    })?;
    Ok(requests as f64 * NS_PER_S / (now_ns() - start_ns) as f64)
}

/// Latencies from due time to end when requests come at a fixed mean rate, come what may, and as
/// far apart or close together as independent people would send them.
fn at_fixed_load(setting: &Setting) -> Result<Latencies> {
    let each = setting.shortened(FIXED_REQUESTS, FIXED_REQUESTS_DETERMINISTIC);
    let mean_ns = request_ns() as f64 / FIXED_LOAD / setting.cpus as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(setting.seed);
    Server::new(setting)?.run(0, |server| {
        // Without exact timers the message thread would only add the same delay everywhere.
        let _ = exact_timers();
        let mut due_ns = now_ns() as f64;
        for _ in 0..each * setting.cpus as u64 {
            due_ns -= mean_ns * rng.random_range(f64::EPSILON..1.0).ln();
            sleep_until_ns(due_ns as u64);
            server.hand_out_when_idle(due_ns as u64);
        }
    })
}

/// What one request costs when nothing disturbs it: the least of several tries, in ns.
fn request_ns() -> u64 {
    let tries = (0..9).map(|_| {
        let start_ns = now_ns();
        compute(LOOPS_PER_REQUEST);
        now_ns() - start_ns
    });
    tries.min().unwrap_or(1)
}

fn current_cpu() -> usize {
    // It cannot fail on Linux.
    nix::sched::sched_getcpu().unwrap_or_default()
}
