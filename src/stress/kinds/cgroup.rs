//! cgroups (version 2) that come and go, with processes that move through them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt as _;

use crate::base::{CGROUP_MOUNT, cgroup};
use crate::stress::rng::{Rng, some_of};
use crate::stress::sys::{self, Child};
use crate::stress::worker_pool::{Member, Worker, WorkerPool};

/// Processes that compute.
const HOGS: usize = 3;
/// How long the processes that sleep do so: shorter and much longer than a slice.
const SLEEPS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(150)];

/// Why there can be no cgroups, if there cannot.
pub fn obstacle() -> Option<String> {
    cgroup::obstacle().or_else(|| {
        let error = Cgroup::create(&probe()).err()?;
        Some(format!(
            "cannot create a cgroup under {CGROUP_MOUNT} ({error}); run as root"
        ))
    })
}

fn probe() -> PathBuf {
    Path::new(CGROUP_MOUNT).join(format!("scx_takt_stress_probe.{}", std::process::id()))
}

/// Three processes that compute and two that sleep; and a thread that makes a cgroup at a time for some of them, moves them
/// in, changes its settings (CPUs, weight, limit, idle) with them inside, moves them out and removes it. Ticks per change
/// and per move; a process per about 100 us of computing, or per sleep.
pub fn churn(pool: &mut WorkerPool) -> Result<()> {
    let mut members = Vec::new();
    for _ in 0..HOGS {
        members.push((pool.enrol("cg-compute")?, None));
    }
    for sleep in SLEEPS {
        members.push((pool.enrol("cg-zz")?, Some(sleep)));
    }
    pool.spawn("cgroup", move |worker| {
        let yard = Yard::new().context("cannot set up cgroups")?;
        let children = start(&members)?;
        for child in &children {
            yard.rest.take_in(child.pid())?;
            worker.tick();
        }
        let mut number = 0;
        while worker.running() {
            number += 1;
            live_through_one(worker, &yard, &children, number)
                .with_context(|| format!("cgroup {number} failed"))?;
            worker.pause_us(1_000, 20_000);
        }
        // The processes end before the yard is cleared.
        drop(children);
        Ok(())
    })?;
    Ok(())
}

/// Starts a process for each of `members`, which sleeps so long at a time or computes.
fn start(members: &[(Member, Option<Duration>)]) -> Result<Vec<Child>> {
    let start = |(member, sleep): &(Member, Option<Duration>)| {
        let child = Child::fork(|| {
            loop {
                match sleep {
                    Some(time) => sys::sleep_until(sys::monotonic() + *time),
                    None => sys::compute(10),
                }
                member.tick();
            }
        });
        child.context("cannot fork")
    };
    members.iter().map(start).collect()
}

/// From creation to removal of one cgroup, one in four with a nested one that holds the processes.
fn live_through_one(
    worker: &mut Worker,
    yard: &Yard,
    processes: &[Child],
    number: u64,
) -> Result<()> {
    let outer = Cgroup::create(&yard.base.0.join(number.to_string()))?;
    worker.tick();
    let inner = if worker.rng.random_ratio(1, 4) {
        outer.offer(&yard.controllers)?;
        Some(Cgroup::create(&outer.0.join("inner"))?)
    } else {
        None
    };
    let lived = inhabit(
        worker,
        yard,
        processes,
        &outer,
        inner.as_ref().unwrap_or(&outer),
    );
    // However that went: only an empty cgroup can be removed.
    processes
        .iter()
        .try_for_each(|process| yard.rest.take_in(process.pid()))?;
    lived
}

/// Moves some of `processes` into `home`, and changes the settings of `outer`.
fn inhabit(
    worker: &mut Worker,
    yard: &Yard,
    processes: &[Child],
    outer: &Cgroup,
    home: &Cgroup,
) -> Result<()> {
    let cpus = worker.cpus().to_vec();
    let all: Vec<_> = processes.iter().map(Child::pid).collect();
    let guests = some_of(&mut worker.rng, &all);
    for _ in 0..worker.rng.random_range(1..=4) {
        outer.change(&mut worker.rng, &yard.controllers, &cpus)?;
        worker.tick();
        // Each move may wait for all CPUs: far longer than any other step here.
        for &guest in &guests {
            home.take_in(guest)?;
            worker.tick();
        }
        worker.pause_us(500, 20_000);
    }
    Ok(())
}

/// The place where this load makes its cgroups, cleared and everything put back when dropped.
struct Yard {
    /// Where the processes rest in between. Before `base`: fields are dropped in this order.
    rest: Cgroup,
    base: Cgroup,
    /// Of the controllers that the load wants, those that it got.
    controllers: Vec<&'static str>,
    _root: RootControllers,
}

impl Yard {
    fn new() -> Result<Self> {
        let (root, controllers) = RootControllers::offer(&["cpu", "cpuset"])?;
        let path = Path::new(CGROUP_MOUNT).join(format!("scx_takt_stress.{}", std::process::id()));
        let base = Cgroup::create(&path)?;
        base.offer(&controllers)?;
        let rest = Cgroup::create(&path.join("rest"))?;
        Ok(Self {
            rest,
            base,
            controllers,
            _root: root,
        })
    }
}

/// Controllers that were switched on for all cgroups, and are switched off again when dropped.
struct RootControllers(Vec<&'static str>);

impl RootControllers {
    /// Switches on those of `wanted` that are off; also returns all of `wanted` that are on now.
    fn offer(wanted: &[&'static str]) -> Result<(Self, Vec<&'static str>)> {
        let file = Path::new(CGROUP_MOUNT).join("cgroup.subtree_control");
        let on = fs::read_to_string(&file).context("cannot read the root's controllers")?;
        let is_on = |controller: &&str| on.split_whitespace().any(|word| word == *controller);
        let (mut usable, off): (Vec<_>, Vec<_>) = wanted.iter().copied().partition(is_on);
        let switched = |name: &&str| fs::write(&file, format!("+{name}")).is_ok();
        let switched: Vec<_> = off.into_iter().filter(switched).collect();
        usable.extend(&switched);
        Ok((Self(switched), usable))
    }
}

impl Drop for RootControllers {
    fn drop(&mut self) {
        let file = Path::new(CGROUP_MOUNT).join("cgroup.subtree_control");
        for name in &self.0 {
            // Another program may rely on it by now; then it stays.
            fs::write(&file, format!("-{name}")).ok();
        }
    }
}

/// One cgroup, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, text)
            .with_context(|| format!("cannot write {text:?} to {}", path.display()))
    }

    /// Lets cgroups inside this one use `controllers`.
    fn offer(&self, controllers: &[&str]) -> Result<()> {
        controllers
            .iter()
            .try_for_each(|name| self.write("cgroup.subtree_control", &format!("+{name}")))
    }

    fn take_in(&self, process: libc::pid_t) -> Result<()> {
        self.write("cgroup.procs", &process.to_string())
    }

    /// One random setting.
    fn change(&self, rng: &mut Rng, controllers: &[&str], cpus: &[usize]) -> Result<()> {
        match rng.random_range(0..=3) {
            0 if controllers.contains(&"cpuset") => {
                let cpus: Vec<_> = some_of(rng, cpus).iter().map(usize::to_string).collect();
                self.write("cpuset.cpus", &cpus.join(","))
            }
            1 if controllers.contains(&"cpu") => self.write("cpu.max", &random_limit(rng)),
            2 if controllers.contains(&"cpu") => {
                let idle = rng.random_range(0..=1).to_string();
                self.write("cpu.idle", &idle)
            }
            _ if controllers.contains(&"cpu") && !self.is_idle() => {
                let weight = 10_u64.pow(rng.random_range(0..=3) as u32) * rng.random_range(1..=10);
                self.write("cpu.weight", &weight.to_string())
            }
            _ => Ok(()),
        }
    }

    /// The kernel refuses a weight for an idle cgroup.
    fn is_idle(&self) -> bool {
        fs::read_to_string(self.0.join("cpu.idle")).is_ok_and(|idle| idle.trim() == "1")
    }
}

/// No limit, or 5 to 200 ms of CPU time per 100 ms.
fn random_limit(rng: &mut Rng) -> String {
    if rng.random_ratio(1, 3) {
        return "max".to_owned();
    }
    format!("{} 100000", rng.random_range(5..=200) * 1_000)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!(
                "scx_takt: stress: cannot remove {}: {error}",
                self.0.display()
            );
        }
    }
}
