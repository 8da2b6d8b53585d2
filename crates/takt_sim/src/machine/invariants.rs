//! What must hold while a world runs, and as it ends. What each allows, and why, stands in
//! `docs/design/simulator.md`.

use super::{BOOT_NS, Current, Machine, TICK_NS};
use crate::task::{POLICY_IDLE, Place};
use crate::violation::Invariant;
use crate::world::{ChangeKind, Op, TaskSpec};

/// What an idle CPU that was kicked needs until it runs a task, and the kick itself, ns.
const KICK_GRACE_NS: u64 = 200_000;
/// Bound of a wait in a short queue, ns: `docs/design/policy.md`.
const SHORT_BOUND_NS: u64 = 312_500_000;
/// What each other task adds to it, ns.
const BOUND_EACH_NS: u64 = 19_000_000;
/// Shares are looked at in worlds that last for so long, ns.
const SHARES_FROM_NS: u64 = 1_000_000_000;
/// By how much equal tasks may differ, ns, and in thousandths of what they have.
const EQUAL_NS: u64 = 60_000_000;
const EQUAL_PERMILLE: u64 = 60;
/// The same, in ns, between LLCs: they take turns, and may be 48 ms apart each.
const EQUAL_ON_LLCS_NS: u64 = 220_000_000;
/// By how much a share may differ from that of its weight, ns, and in thousandths of it.
const WEIGHTED_NS: u64 = 100_000_000;
const WEIGHTED_PERMILLE: u64 = 200;
/// Lighter tasks wait for no longer than this one would, and have more than their share.
const LIGHT_WEIGHT: u32 = 33;

impl Machine<'_> {
    /// Looks at the whole machine.
    pub(super) fn check_state(&mut self) {
        self.check_places();
        self.check_idle();
        self.check_waits();
        self.check_counts();
    }

    /// `OnePlace`: a runnable task is where its place says, and in no second place.
    fn check_places(&mut self) {
        let mut seen = vec![0_u32; self.tasks.len()];
        for cpu in &self.cpus {
            cpu.local.iter().for_each(|entry| seen[entry.task] += 1);
            cpu.deferred.iter().for_each(|&task| seen[task] += 1);
            if let Current::Task(task) = cpu.current {
                seen[task] += 1;
            }
        }
        for dsq in self
            .queues
            .iter()
            .filter_map(|&queue| self.dsqs[queue].as_ref())
        {
            dsq.iter().for_each(|entry| seen[entry.task] += 1);
        }
        let queued = self.policy.numbers.scx_queued;
        let wrong = (0..self.tasks.len())
            .find(|&task| seen[task] != u32::from(self.tasks[task].is_queued(queued)));
        if let Some(task) = wrong {
            let text = format!("{} is in {} places", self.tasks[task].name, seen[task]);
            self.fail(Invariant::OnePlace, text);
        }
    }

    /// `IdleWhileWaiting`.
    fn check_idle(&mut self) {
        let idle: Vec<usize> = (0..self.cpus.len())
            .filter(|&cpu| {
                self.cpus[cpu].current == Current::Idle && !self.cpus[cpu].needs_schedule
            })
            .collect();
        if idle.is_empty() {
            return;
        }
        for task in 0..self.tasks.len() {
            if self.tasks[task].waits_since.is_none() || self.has_no_domain(task) {
                continue;
            }
            let found = idle.iter().find(|&&cpu| {
                let since = self.cpus[cpu]
                    .idle_since
                    .max(self.tasks[task].may_run_since)
                    .max(self.bound_tick_at(task));
                let beside_ns = self.now - since;
                self.tasks[task].mask.has(cpu) && beside_ns > self.idle_limit_ns(task, cpu)
            });
            if let Some(&cpu) = found {
                let this = &self.tasks[task];
                let waited_ns = self.now - this.waits_since.unwrap_or(self.now);
                let text = format!(
                    "{} has waited for {waited_ns} ns ({:?}) while CPU {cpu} was idle for {} ns",
                    this.name,
                    this.place,
                    self.now - self.cpus[cpu].idle_since
                );
                self.fail(Invariant::IdleWhileWaiting, text);
                return;
            }
        }
    }

    /// May a task use some CPUs, and were all domains taken as it came? It waits for one CPU then:
    /// a limit that domain.bpf.h names.
    fn has_no_domain(&self, task: usize) -> bool {
        let this = &self.tasks[task];
        let nr_allowed = this.mask.count();
        nr_allowed > 1 && nr_allowed < self.cpus.len() && this.sys.record().domain == 0
    }

    /// How long a task may wait beside this idle CPU: a tick. Behind a task that may not use that CPU
    /// it may be the slice of that one: `takt_tick()` ends it only for a CPU that takes that task.
    fn idle_limit_ns(&self, task: usize, idle: usize) -> u64 {
        let limit_ns = TICK_NS + KICK_GRACE_NS;
        let Place::Local(cpu) = self.tasks[task].place else {
            return limit_ns;
        };
        if self.world.is_strict {
            return limit_ns;
        }
        match self.cpus[cpu].current {
            Current::Task(first) if !self.tasks[first].mask.has(idle) => {
                limit_ns + self.policy.numbers.slice_max_ns
            }
            _ => limit_ns,
        }
    }

    /// When the task before this one, in a local queue, was last one at a tick that may not use all
    /// CPUs: see above.
    fn bound_tick_at(&self, task: usize) -> u64 {
        match self.tasks[task].place {
            Place::Local(cpu) if !self.world.is_strict => self.cpus[cpu].bound_tick_at,
            _ => 0,
        }
    }

    /// `BoundedWait`, of tasks that still wait.
    fn check_waits(&mut self) {
        for task in 0..self.tasks.len() {
            if let Some(since) = self.tasks[task].waits_since {
                self.check_wait(task, self.now - since);
            }
        }
    }

    /// `BoundedWait`, of a task that has waited for so long.
    pub(super) fn check_wait(&mut self, task: usize, waited_ns: u64) {
        if waited_ns <= SHORT_BOUND_NS {
            return;
        }
        let higher_ns: u64 = self.cpus.iter().map(|cpu| cpu.higher_ns).sum();
        let is_light = self.tasks[task].sys.weight() < 100;
        let each_ns = BOUND_EACH_NS * if is_light { 3 } else { 1 };
        let others = self.nr_runnable_max.saturating_sub(1) as u64;
        let limit_ns = SHORT_BOUND_NS + others * each_ns + higher_ns;
        if waited_ns > limit_ns {
            let text = format!(
                "{} has waited for {waited_ns} ns, and {limit_ns} ns is the bound with {others} others",
                self.tasks[task].name
            );
            self.fail(Invariant::BoundedWait, text);
        }
    }

    /// `QueueCount`, `CpuBoundCount`, `DomainCount`: what the policy has counted.
    fn check_counts(&mut self) {
        let numbers = self.policy.numbers;
        let nr_queues = self.dsqs.len();
        let mut own = vec![0_u32; nr_queues];
        let mut cpu_bound = vec![0_u32; nr_queues];
        let mut in_domain = vec![0_i32; numbers.nr_domains as usize + 1];
        for task in 0..self.tasks.len() {
            let record = self.tasks[task].sys.record();
            if record.exists == 0 {
                continue;
            }
            in_domain[record.domain as usize] += 1;
            let waits = !matches!(self.tasks[task].place, Place::Off | Place::Cpu(_));
            if (record.own_queue != 0 || record.cpu_bound_in != 0) && !waits {
                let text = format!(
                    "{} does not wait, and is counted in queue {}, CPU-bound in {}",
                    self.tasks[task].name,
                    record.own_queue,
                    i64::from(record.cpu_bound_in) - 1
                );
                self.fail(Invariant::QueueCount, text);
                return;
            }
            own[record.own_queue as usize] += u32::from(record.own_queue != 0);
            if record.cpu_bound_in != 0 {
                cpu_bound[record.cpu_bound_in as usize - 1] += 1;
            }
        }
        for queue in self.queues.clone() {
            if queue >= numbers.throttled as usize {
                continue;
            }
            let Some(actual) = self.dsqs[queue].as_ref().map(|dsq| dsq.len() as u32) else {
                continue;
            };
            let record = self.policy.queue(queue as u32);
            if record.nr_cpu_bound != cpu_bound[queue] {
                let text = format!(
                    "queue {queue}: {} CPU-bound, and {} tasks say so",
                    record.nr_cpu_bound as i32, cpu_bound[queue]
                );
                self.fail(Invariant::CpuBoundCount, text);
            }
            self.check_queue_count(queue, actual, record.nr_queued, own[queue]);
        }
        for (number, &expected) in in_domain.iter().enumerate().skip(1) {
            let counted = self.policy.domain_tasks(number as u32 - 1);
            if counted != expected {
                let text = format!("domain {number}: {counted} tasks, and {expected} say so");
                self.fail(Invariant::DomainCount, text);
            }
        }
    }

    fn check_queue_count(&mut self, queue: usize, actual: u32, counted: u32, own: u32) {
        let is_own = queue >= self.policy.numbers.cpus as usize && self.cpus.len() > 1;
        let is_right = if is_own {
            counted == own && counted >= actual
        } else {
            counted >= actual && counted - actual <= self.taken_out[queue]
        };
        if counted == actual {
            self.taken_out[queue] = 0;
        }
        if !is_right {
            let text = format!(
                "queue {queue}: {} are counted, {actual} wait, {own} tasks say so",
                counted as i32
            );
            self.fail(Invariant::QueueCount, text);
        }
    }

    /// The tick of a CPU has counted the queue of its LLC anew.
    pub(super) fn note_recounts(&mut self, cpu: usize) {
        self.taken_out[self.world.topology.llc_of(cpu)] = 0;
    }

    /// `EqualShares`, `WeightedShares`, `YieldShare`, as the world ends.
    pub(super) fn check_shares(&mut self) {
        let is_quiet = |change: &crate::world::Change| {
            !matches!(
                change.kind,
                ChangeKind::Realtime { .. } | ChangeKind::Affinity { .. }
            )
        };
        let all_may_use_all = (0..self.world.tasks.len())
            .all(|task| self.world.mask_of(task).count() == self.cpus.len());
        if self.world.duration_ns < SHARES_FROM_NS
            || !all_may_use_all
            || !self.world.changes.iter().all(is_quiet)
        {
            return;
        }
        self.check_equal_shares();
        self.check_weighted_shares();
        self.check_least_share();
        self.check_yield_shares();
    }

    /// The tasks that compute from the begin to the end, and were left alone.
    fn cpu_bound(&self) -> Vec<usize> {
        let is_cpu_bound = |&task: &usize| {
            let spec = &self.world.tasks[task];
            spec.is_cpu_bound()
                && spec.start_ns < 10_000_000
                && spec.policy == 0
                && !self.tasks[task].was_changed
        };
        (0..self.world.tasks.len()).filter(is_cpu_bound).collect()
    }

    /// Do tasks of unequal weights share several LLCs, which is known to be unfair?
    fn is_unequal_on_llcs(&self) -> bool {
        let differs = |spec: &TaskSpec| spec.nice != 0 || spec.policy == POLICY_IDLE;
        !self.world.is_strict
            && self.world.topology.nr_llcs() > 1
            && (self.world.tasks.iter().any(differs) || !self.world.changes.is_empty())
    }

    fn check_equal_shares(&mut self) {
        let cpu_bound = self.cpu_bound();
        if self.is_unequal_on_llcs() {
            return;
        }
        for &first in &cpu_bound {
            let nice = self.tasks[first].nice;
            let equal = cpu_bound
                .iter()
                .filter(|&&task| self.tasks[task].nice == nice);
            let least = equal.clone().min_by_key(|&&task| self.tasks[task].ran_ns);
            let most = equal.max_by_key(|&&task| self.tasks[task].ran_ns);
            let (Some(&least), Some(&most)) = (least, most) else {
                continue;
            };
            let (less_ns, more_ns) = (self.tasks[least].ran_ns, self.tasks[most].ran_ns);
            let limit_ns = if self.world.topology.nr_llcs() > 1 {
                EQUAL_ON_LLCS_NS
            } else {
                EQUAL_NS
            };
            if more_ns - less_ns > limit_ns + more_ns * EQUAL_PERMILLE / 1000 {
                let text = format!(
                    "{} had {less_ns} ns and {} had {more_ns} ns, both of nice {nice}",
                    self.tasks[least].name, self.tasks[most].name
                );
                self.fail(Invariant::EqualShares, text);
                return;
            }
        }
    }

    /// Is one of the tasks so light that it is known to get more than its share?
    fn has_light(&self, tasks: &[usize]) -> bool {
        let is_light = |&task: &usize| self.tasks[task].sys.weight() < LIGHT_WEIGHT;
        !self.world.is_strict && tasks.iter().any(is_light)
    }

    /// What the weight of each task of the world is worth until now, in ns of CPU time.
    fn fair_ns(&self) -> Vec<u64> {
        let weights: Vec<f64> = (0..self.world.tasks.len())
            .map(|task| f64::from(self.tasks[task].sys.weight()))
            .collect();
        let shares = fair_shares(&weights, self.cpus.len()).into_iter();
        shares
            .map(|share| (share * (self.now - BOOT_NS) as f64) as u64)
            .collect()
    }

    /// In a world of nothing but cpu_bound each has what its weight is worth, up to one CPU.
    fn check_weighted_shares(&mut self) {
        let cpu_bound = self.cpu_bound();
        if cpu_bound.len() != self.world.tasks.len()
            || !self.world.changes.is_empty()
            || self.is_unequal_on_llcs()
            || self.has_light(&cpu_bound)
        {
            return;
        }
        for (&task, ideal_ns) in cpu_bound.iter().zip(self.fair_ns()) {
            let ran_ns = self.tasks[task].ran_ns;
            if ran_ns.abs_diff(ideal_ns) > WEIGHTED_NS + ideal_ns * WEIGHTED_PERMILLE / 1000 {
                let text = format!(
                    "{} of nice {} had {ran_ns} ns, and {ideal_ns} ns are its share",
                    self.tasks[task].name, self.tasks[task].nice
                );
                self.fail(Invariant::WeightedShares, text);
                return;
            }
        }
    }

    /// A task that computes has at least what its weight is worth, whatever the others do: sleep, wake each other, yield.
    fn check_least_share(&mut self) {
        let cpu_bound = self.cpu_bound();
        // Known to be unfair: a task that wakees preempt on its CPU again and again while others are idle.
        let is_known = self.cpus.len() > 1 && !self.world.is_strict;
        let forks = |spec: &TaskSpec| spec.program.iter().any(|op| matches!(op, Op::Fork(_)));
        if is_known
            || !self.world.changes.is_empty()
            || self.has_light(&cpu_bound)
            || self.world.tasks.iter().any(forks)
        {
            return;
        }
        let fair_ns = self.fair_ns();
        for task in cpu_bound {
            let least_ns = fair_ns[task];
            let ran_ns = self.tasks[task].ran_ns;
            if ran_ns + WEIGHTED_NS + least_ns * WEIGHTED_PERMILLE / 1000 < least_ns {
                let text = format!(
                    "{} of nice {} had {ran_ns} ns, and {least_ns} ns are its share, whatever others do",
                    self.tasks[task].name, self.tasks[task].nice
                );
                self.fail(Invariant::LeastShare, text);
                return;
            }
        }
    }

    /// On one CPU, tasks that only compute and yield get no more than their share beside cpu_bound.
    fn check_yield_shares(&mut self) {
        let yields = |task: &usize| {
            let ops = &self.world.tasks[*task].program;
            ops.contains(&Op::Yield)
                && ops
                    .iter()
                    .all(|op| matches!(op, Op::Yield | Op::Compute(_)))
        };
        let nr = self.world.tasks.len();
        let yielders: Vec<usize> = (0..nr).filter(yields).collect();
        let is_plain = self
            .world
            .tasks
            .iter()
            .all(|t| t.nice == 0 && t.policy == 0);
        if self.cpus.len() > 1
            || !is_plain
            || yielders.len() + self.cpu_bound().len() != nr
            || !self.world.changes.is_empty()
        {
            return;
        }
        let share_ns = (self.now - BOOT_NS) / nr as u64;
        for task in yielders {
            let ran_ns = self.tasks[task].ran_ns;
            let is_alone = self.cpu_bound().is_empty();
            if !is_alone && ran_ns > share_ns + EQUAL_NS + share_ns * EQUAL_PERMILLE / 1000 {
                let text = format!(
                    "{}, which yields, had {ran_ns} ns, and {share_ns} ns are its share",
                    self.tasks[task].name
                );
                self.fail(Invariant::YieldShare, text);
                return;
            }
        }
    }
}

/// Parts of a CPU for tasks of these weights: by weight, and no more than one each.
fn fair_shares(weights: &[f64], nr_cpus: usize) -> Vec<f64> {
    let mut shares = vec![0.0; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).collect();
    let mut left = nr_cpus as f64;
    loop {
        let total: f64 = open.iter().map(|&task| weights[task]).sum();
        let (full, rest): (Vec<usize>, Vec<usize>) = open
            .iter()
            .partition(|&&task| weights[task] * left >= total);
        if full.is_empty() {
            for task in rest {
                shares[task] = weights[task] * left / total;
            }
            return shares;
        }
        left -= full.len() as f64;
        for task in full {
            shares[task] = 1.0;
        }
        if rest.is_empty() || left <= 0.0 {
            return shares;
        }
        open = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::fair_shares;

    #[test]
    fn no_share_is_more_than_a_cpu() {
        assert_eq!(fair_shares(&[100.0, 100.0], 4), [1.0, 1.0]);
        assert_eq!(fair_shares(&[100.0, 100.0, 200.0], 1), [0.25, 0.25, 0.5]);
        assert_eq!(fair_shares(&[1000.0, 100.0, 100.0], 2), [1.0, 0.5, 0.5]);
    }
}
