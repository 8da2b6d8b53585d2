//! `load shares`: how much of the CPUs each task gets.

use std::path::Path;
use std::str::FromStr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use nix::unistd::Pid;
use scx_ops::nice;
use serde::Serialize;

use super::tasks::{self, Cpus, Task};
use crate::base::CGROUP_MOUNT;
use crate::bench::workload::cgroups;
use crate::bench::workload::hogs::compute;
use crate::bench::workload::sync::{NS_PER_S, now_ns, sleep_until_ns};

/// How long tasks stay on the CPUs that they begin on, and how long after that nothing is counted yet.
const BEGIN_NS: u64 = 100_000_000;
const SETTLE_NS: u64 = 400_000_000;

/// Flags of `load shares`.
#[derive(Debug, Args)]
pub struct SharesArgs {
    /// How long to count, in seconds
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,

    /// Groups of tasks: COUNT and NAME; the CPUs that they may use, the CPUs that they begin on, their nice value, how many
    /// seconds after the others they come, how many microseconds they sleep again and again instead of computing, how many
    /// they compute in between, and their cgroup below /sys/fs/cgroup, in which % is the number of the task in its group
    #[arg(
        required = true,
        value_name = "COUNTxNAME[:cpus=LIST][:from=LIST][:nice=N][:after=S][:sleeps=US[:runs=US]][:cgroup=PATH]"
    )]
    groups: Vec<Group>,
}

/// Tasks that are alike.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    count: usize,
    name: String,
    cpus: Option<Cpus>,
    from: Option<Cpus>,
    nice: i32,
    after_s: f64,
    sleeps: Option<Duration>,
    runs: Duration,
    cgroup: Option<String>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("'{text}': {what}");
        let mut fields = text.split(':');
        let (count, name) = fields
            .next()
            .and_then(|head| head.split_once('x'))
            .ok_or_else(|| wrong("begins with no COUNTxNAME"))?;
        let mut group = Self {
            count: count.parse().map_err(|_| wrong("COUNT is no number"))?,
            name: name.to_owned(),
            cpus: None,
            from: None,
            nice: 0,
            after_s: 0.0,
            sleeps: None,
            runs: Duration::ZERO,
            cgroup: None,
        };
        for field in fields {
            match field.split_once('=') {
                Some(("cpus", list)) => group.cpus = Some(list.parse()?),
                Some(("from", list)) => group.from = Some(list.parse()?),
                Some(("nice", nice)) => {
                    group.nice = nice.parse().map_err(|_| wrong("nice is no number"))?;
                }
                Some(("after", seconds)) => {
                    group.after_s = seconds.parse().map_err(|_| wrong("after is no number"))?;
                }
                Some(("sleeps", us)) => {
                    let us = us.parse().map_err(|_| wrong("sleeps is no number"))?;
                    group.sleeps = Some(Duration::from_micros(us));
                }
                Some(("runs", us)) => {
                    let us = us.parse().map_err(|_| wrong("runs is no number"))?;
                    group.runs = Duration::from_micros(us);
                }
                Some(("cgroup", path)) => group.cgroup = Some(path.to_owned()),
                _ => {
                    return Err(wrong(
                        "a field is none of cpus, from, nice, after, sleeps, runs and cgroup",
                    ));
                }
            }
        }
        if group.sleeps.is_none() && !group.runs.is_zero() {
            return Err(wrong(
                "runs goes with sleeps: tasks compute all the time without",
            ));
        }
        Ok(group)
    }
}

/// CPU time of each task while it was counted.
#[derive(Debug, Serialize)]
pub struct Shares {
    seconds: f64,
    groups: Vec<GroupShares>,
}

#[derive(Debug, Serialize)]
struct GroupShares {
    name: String,
    cpu_s: Vec<f64>,
}

impl SharesArgs {
    /// Starts all tasks, lets them go where they may, and counts.
    ///
    /// # Errors
    /// If a task cannot be started or bound.
    pub fn run(&self) -> Result<Shares> {
        // Tasks that come first may be too many for this process to get on: it sleeps, and goes first when it wakes.
        let free_ns = now_ns() + BEGIN_NS;
        let last_s = self.groups.iter().map(|group| group.after_s);
        let last_ns = (last_s.fold(0.0, f64::max) * NS_PER_S) as u64;
        let mut tasks = Vec::new();
        for group in &self.groups {
            for number in 0..group.count {
                tasks.push(group.start(number, free_ns)?);
            }
        }
        sleep_until_ns(now_ns().max(free_ns) + last_ns + SETTLE_NS);
        let (before_ns, before) = (now_ns(), tasks::cpu_s(&tasks)?);
        sleep_until_ns(before_ns + (self.seconds * NS_PER_S) as u64);
        let (after_ns, after) = (now_ns(), tasks::cpu_s(&tasks)?);
        let mut used_s = tasks::used_s(&before, &after).into_iter();
        let groups = self.groups.iter().map(|group| GroupShares {
            name: group.name.clone(),
            cpu_s: used_s.by_ref().take(group.count).collect(),
        });
        Ok(Shares {
            seconds: (after_ns - before_ns) as f64 / NS_PER_S,
            groups: groups.collect(),
        })
    }
}

impl Group {
    fn start(&self, number: usize, free_ns: u64) -> Result<Task> {
        Task::start(|| {
            if let Some(path) = &self.cgroup {
                let path = path.replace('%', &number.to_string());
                cgroups::enter(&Path::new(CGROUP_MOUNT).join(path))?;
            }
            nice::set(0, self.nice)?;
            if let Some(cpus) = self.from.as_ref().or(self.cpus.as_ref()) {
                tasks::bind(Pid::from_raw(0), cpus)?;
            }
            if self.after_s > 0.0 {
                sleep_until_ns(free_ns + (self.after_s * NS_PER_S) as u64);
            } else if self.from.is_some() {
                tasks::compute_until(free_ns);
            }
            if let (Some(_), Some(cpus)) = (&self.from, &self.cpus) {
                tasks::bind(Pid::from_raw(0), cpus)?;
            }
            while let Some(time) = self.sleeps {
                sleep(time);
                tasks::compute_until(now_ns() + self.runs.as_nanos() as u64);
            }
            loop {
                compute(1_000);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_with_all_its_fields() {
        let group: Group = "40xlow:cpus=0-1:from=0:nice=10:after=2".parse().unwrap();
        assert_eq!((group.count, group.name.as_str()), (40, "low"));
        assert_eq!(group.cpus, Some("0-1".parse().unwrap()));
        assert_eq!(group.from, Some("0".parse().unwrap()));
        assert_eq!(group.nice, 10);
        assert!((group.after_s - 2.0).abs() < 1e-9);
        let group: Group = "2xlight:sleeps=900:runs=90".parse().unwrap();
        assert_eq!(group.sleeps, Some(Duration::from_micros(900)));
        assert_eq!(group.runs, Duration::from_micros(90));
        for wrong in [
            "low",
            "ax",
            "1xa:nice=b",
            "1xa:what=1",
            "1xa:cpus=",
            "1xa:runs=90",
        ] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
    }
}
