//! `load culprit`: a task that is made to wait, and what makes it wait: does `scx_takt why` name it?
//!
//! The task that waits is named `victim`: a thread that sleeps, wakes and computes, again and again. The others are
//! named `culprit`.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;
use serde::Serialize;

use super::tasks::{self, Cpus, Task, compute_until};
use crate::bench::workload::sync::{NS_PER_S, exact_timers, now_ns, sleep_until_ns};
use crate::stress::sys::{Policy, set_policy};

const NS_PER_MS: u64 = 1_000_000;
/// Sockets that get each broadcast, their port, and the length of their filter.
const RECEIVERS: usize = 30;
const PORT: u16 = 20_026;
const FILTER_INSNS: usize = 4_000;
/// The fractions of its multiples are spread evenly, however many there are.
const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;

/// What makes the victim wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Nothing else.
    Idle,
    /// A task like the victim that runs in bursts.
    Bursts,
    /// A real-time task that runs in bursts.
    Rt,
    /// A task that computes without end.
    Busy,
    /// A task with a lower nice value than the victim, that computes in bursts longer than a slice.
    Heavy,
    /// Sixteen tasks that compute without end.
    Crowd,
    /// A task that holds the lock that the victim wants, and is kept from its CPU by a real-time task.
    Lock,
    /// Broadcasts to this machine itself, in bursts: received in softirqs, by filters that take their time.
    Softirq,
}

/// Flags of `load culprit`.
#[derive(Debug, Args)]
pub struct CulpritArgs {
    /// What makes it wait
    #[arg(long, value_enum)]
    kind: Kind,

    /// The CPUs of the task that waits
    #[arg(long, value_name = "LIST", default_value = "0")]
    victim_cpus: Cpus,

    /// The CPUs of the others
    #[arg(long, value_name = "LIST", default_value = "0")]
    culprit_cpus: Cpus,

    /// The nice value of the task that waits
    #[arg(
        long,
        value_name = "NICE",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    victim_nice: i32,

    /// How long a burst is, in ms
    #[arg(long, value_name = "MS", default_value_t = 12)]
    burst_ms: u64,

    /// From one burst to the next, in ms
    #[arg(long, value_name = "MS", default_value_t = 50)]
    period_ms: u64,

    /// How long the victim computes each time, in ms
    #[arg(long, value_name = "MS", default_value_t = 3)]
    work_ms: u64,

    /// A file that the victim writes its process into: its cgroup's cgroup.procs
    #[arg(long, value_name = "FILE")]
    join: Option<std::path::PathBuf>,

    /// How long, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    /// Times that the victim woke.
    wakeups: u32,
    /// The latest of these, in ms.
    latest_ms: f64,
}

impl CulpritArgs {
    /// Runs all of them; this process is the victim.
    ///
    /// # Errors
    /// If a task cannot be started, bound or given its policy.
    pub fn run(&self) -> Result<Done> {
        let end_ns = now_ns() + (self.seconds * NS_PER_S) as u64;
        let culprits = match self.kind {
            Kind::Lock | Kind::Idle => Vec::new(),
            Kind::Crowd => (0..16).map(|_| self.culprit()).collect::<Result<_>>()?,
            _ => vec![self.culprit()?],
        };
        if let Some(procs) = &self.join {
            fs::write(procs, "0").with_context(|| format!("cannot join {}", procs.display()))?;
        }
        let done = if self.kind == Kind::Lock {
            self.lock(end_ns)
        } else {
            self.become_victim()?;
            self.wake_and_compute(end_ns)
        };
        drop(culprits);
        done
    }

    fn become_victim(&self) -> Result<()> {
        prctl::set_name(c"victim").context("prctl(PR_SET_NAME) failed")?;
        tasks::bind(Pid::from_raw(0), &self.victim_cpus)?;
        set_nice(self.victim_nice)?;
        exact_timers()
    }

    /// The life of the victim: sleeps for a sixth to a half of a period and computes. A fixed sleep locks into step with
    /// the culprit, whose burst then ends as the victim wakes, or has just begun.
    fn wake_and_compute(&self, end_ns: u64) -> Result<Done> {
        let sixth_ns = (self.period_ms * NS_PER_MS / 6) as f64;
        let (mut wakeups, mut latest_ns) = (0, 0);
        while now_ns() < end_ns {
            let part = (f64::from(wakeups) * GOLDEN_RATIO).fract();
            let late_ns = sleep_until_ns(now_ns() + (sixth_ns * (1.0 + 2.0 * part)) as u64);
            latest_ns = latest_ns.max(late_ns);
            wakeups += 1;
            compute_until(now_ns() + self.work_ms * NS_PER_MS);
        }
        Ok(Done {
            wakeups,
            latest_ms: latest_ns as f64 / NS_PER_MS as f64,
        })
    }

    fn culprit(&self) -> Result<Task> {
        Task::start(|| {
            prctl::set_name(c"culprit").context("prctl(PR_SET_NAME) failed")?;
            tasks::bind(Pid::from_raw(0), &self.culprit_cpus)?;
            match self.kind {
                Kind::Rt => set_policy(0, Policy::Fifo(50)).context("sched_setscheduler failed")?,
                Kind::Heavy => set_nice(-20)?,
                _ => {}
            }
            exact_timers()?;
            match self.kind {
                Kind::Busy | Kind::Crowd | Kind::Heavy => compute_until(u64::MAX),
                Kind::Softirq => self.send_in_bursts()?,
                _ => self.burst_forever(),
            }
            Ok(())
        })
    }

    fn burst_forever(&self) {
        loop {
            compute_until(now_ns() + self.burst_ms * NS_PER_MS);
            sleep_until_ns(now_ns() + (self.period_ms - self.burst_ms) * NS_PER_MS);
        }
    }

    /// Broadcasts to sockets that nothing reads, each with a filter that takes its time and drops them.
    fn send_in_bursts(&self) -> Result<()> {
        let receivers = (0..RECEIVERS).map(|_| receiver());
        let _receivers = receivers.collect::<Result<Vec<_>>>()?;
        let sender = UdpSocket::bind("127.0.0.1:0").context("cannot make a socket")?;
        sender.set_broadcast(true)?;
        set_policy(0, Policy::Fifo(1)).context("sched_setscheduler failed")?;
        loop {
            let until_ns = now_ns() + self.burst_ms * NS_PER_MS;
            while now_ns() < until_ns {
                sender
                    .send_to(&[0; 64], (Ipv4Addr::new(127, 255, 255, 255), PORT))
                    .context("cannot send: is the interface lo up?")?;
            }
            sleep_until_ns(now_ns() + (self.period_ms - self.burst_ms) * NS_PER_MS);
        }
    }

    /// A thread holds a lock for a while, again and again; the victim wants it. A real-time task takes the holder's
    /// CPU meanwhile.
    fn lock(&self, end_ns: u64) -> Result<Done> {
        let _burst = Task::start(|| {
            prctl::set_name(c"culprit").context("prctl(PR_SET_NAME) failed")?;
            tasks::bind(Pid::from_raw(0), &self.culprit_cpus)?;
            set_policy(0, Policy::Fifo(50)).context("sched_setscheduler failed")?;
            exact_timers()?;
            self.burst_forever();
            Ok(())
        })?;
        let lock = Mutex::new(());
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                prctl::set_name(c"holder").context("prctl(PR_SET_NAME) failed")?;
                tasks::bind(Pid::from_raw(0), &self.culprit_cpus)?;
                while now_ns() < end_ns {
                    let held = lock.lock();
                    compute_until(now_ns() + 4 * NS_PER_MS);
                    drop(held);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            });
            self.become_victim()?;
            let (mut wakeups, mut latest_ns) = (0, 0);
            while now_ns() < end_ns {
                let asked_ns = now_ns();
                drop(lock.lock());
                latest_ns = latest_ns.max(now_ns() - asked_ns);
                wakeups += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            holder
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the holder of the lock has ended")))?;
            Ok(Done {
                wakeups,
                latest_ms: latest_ns as f64 / NS_PER_MS as f64,
            })
        })
    }
}

/// A socket that gets every broadcast, and drops it after 4,000 instructions.
fn receiver() -> Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("cannot make a socket")?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // BPF_ALU | BPF_MUL | BPF_K, then BPF_RET | BPF_K: take nothing.
    let multiply = libc::sock_filter {
        code: 0x24,
        jt: 0,
        jf: 0,
        k: 3,
    };
    let drop = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut filter = vec![multiply; FILTER_INSNS - 1];
    filter.push(drop);
    let program = libc::sock_fprog {
        len: FILTER_INSNS as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the program and its instructions, which live through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot attach a filter to a socket");
    }
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, PORT)).context("cannot bind a socket")?;
    Ok(socket)
}

fn set_nice(nice: i32) -> Result<()> {
    // SAFETY: plain numbers only.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("setpriority({nice}) failed"));
    }
    Ok(())
}
