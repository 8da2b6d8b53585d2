//! One queue of CPU-bound tasks of different weights, on CPUs whose ticks come at once: the formulas alone, without
//! wakeups, preemption and races. Seconds of it take milliseconds.

use crate::{
    NICE_0, RATE_ONE, delta_vruntime, queue_ctx, takt_tunables, task_ctx, until_deadline_ns,
    update_vtime, weight_units,
};

const MS: u64 = 1_000_000;
/// A slice ends with the tick after it: HZ=250.
const TICK_NS: u64 = 4 * MS;
/// What `sched_prio_to_weight` of the kernel makes of nice -20 to 19 for sched_ext (`sched_weight_to_cgroup()`).
const NICE_WEIGHTS: [u64; 40] = [
    8668, 7007, 5632, 4548, 3621, 2851, 2273, 1819, 1467, 1184, 932, 745, 598, 479, 384, 305, 245,
    196, 155, 125, 100, 80, 64, 51, 41, 33, 27, 21, 17, 13, 11, 8, 7, 6, 4, 4, 3, 2, 2, 1,
];

/// The weight of a nice value from -20 to 19, times 1,024.
pub fn weight_of_nice(nice: i32) -> u64 {
    NICE_WEIGHTS[(nice.clamp(-20, 19) + 20) as usize] * 1_024
}

/// The defaults of `src/config/tunables.rs`.
pub fn default_tunables() -> takt_tunables {
    takt_tunables {
        slice_max_ns: 20 * MS,
        slice_min_ns: 3 * MS,
        latency_ns: 6 * MS,
        lag_max_ns: 3 * MS,
        lead_max_ns: 250 * MS,
        preempt_margin_ns: MS / 5,
        preempt_after_ns: MS,
        burst_max_ns: 10 * MS,
        handoff_gap_ns: MS / 20,
        long_wait_ns: 50 * MS,
    }
}

/// A queue that `nr_cpus` serve and in which `nr_queued` CPU-bound tasks wait, as `create_queue()` makes it.
pub fn new_queue(nr_cpus: u32, nr_queued: u32) -> queue_ctx {
    queue_ctx {
        rate_q20: RATE_ONE as u32,
        inv_rate_q10: 1 << 10,
        nr_cpus,
        nr_queued,
        nr_cpu_bound: nr_queued,
        queued_weight: u64::from(nr_queued) * weight_units(NICE_0),
        run_weight: weight_units(NICE_0) as u32,
        ..queue_ctx::default()
    }
}

/// The share of each task, in CPUs, if each CPU were divided by weight: a task that would have more than one CPU has
/// one, and the rest is divided among the others.
pub fn fair_shares(nr_cpus: usize, weights: &[u64]) -> Vec<f64> {
    let mut shares = vec![0.0; weights.len()];
    let mut left: Vec<usize> = (0..weights.len()).collect();
    let mut free = nr_cpus as f64;
    loop {
        let sum: u64 = left.iter().map(|&i| weights[i]).sum();
        let share = |i: usize| weights[i] as f64 / sum as f64 * free;
        let (full, rest): (Vec<_>, Vec<_>) = left.iter().partition(|&&i| share(i) >= 1.0);
        if full.is_empty() {
            left.iter().for_each(|&i| shares[i] = share(i));
            return shares;
        }
        full.iter().for_each(|&i| shares[i] = 1.0);
        free -= full.len() as f64;
        left = rest;
    }
}

/// A task of the simulation.
pub struct Task {
    ctx: task_ctx,
    /// Times 1,024.
    pub weight: u64,
    /// CPU time that it has had.
    pub ran_ns: u64,
    /// Its longest wait that has ended.
    pub longest_wait_ns: u64,
    ready_at: u64,
    /// `None`: it runs.
    deadline: Option<u64>,
}

/// The queue, its tasks and its CPUs.
pub struct Simulation {
    tunables: takt_tunables,
    queue: queue_ctx,
    now: u64,
    tasks: Vec<Task>,
    /// Number of the task on each CPU.
    running: Vec<usize>,
}

impl Simulation {
    /// All tasks become runnable at once; there are at least as many as CPUs.
    pub fn new(nr_cpus: usize, weights: &[u64]) -> Self {
        let mut new = Self {
            tunables: default_tunables(),
            queue: new_queue(nr_cpus as u32, 0),
            now: 1_000 * MS,
            tasks: Vec::new(),
            running: (0..nr_cpus).collect(),
        };
        for (number, &weight) in weights.iter().enumerate() {
            new.tasks.push(Task {
                ctx: task_ctx {
                    vruntime: new.queue.avg_vruntime,
                    ..task_ctx::default()
                },
                weight,
                ran_ns: 0,
                longest_wait_ns: 0,
                ready_at: new.now,
                deadline: None,
            });
            if number >= nr_cpus {
                new.enqueue(number);
            }
        }
        new
    }

    /// The tasks, in the order in which they were given.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The longest wait of a task, one that goes on included.
    pub fn longest_wait_ns(&self, number: usize) -> u64 {
        let task = &self.tasks[number];
        let waits_ns = task.deadline.map_or(0, |_| self.now - task.ready_at);
        task.longest_wait_ns.max(waits_ns)
    }

    /// Lets this time pass, to whole ticks.
    pub fn run_ms(&mut self, ms: u64) {
        (0..ms * MS / TICK_NS).for_each(|_| self.tick());
    }

    fn deadline(&self, number: usize) -> u64 {
        let task = &self.tasks[number];
        let until_deadline_ns =
            until_deadline_ns(&task.ctx, task.weight, &self.queue, &self.tunables);
        self.now.wrapping_add_signed(until_deadline_ns)
    }

    fn enqueue(&mut self, number: usize) {
        let deadline = self.deadline(number);
        self.tasks[number].deadline = Some(deadline);
        self.tasks[number].ready_at = self.now;
        self.queue.nr_queued += 1;
        self.queue.nr_cpu_bound += 1;
        self.queue.queued_weight += weight_units(self.tasks[number].weight);
    }

    /// The waiting task with the earliest deadline.
    fn earliest(&self) -> Option<(u64, usize)> {
        let waiting = self.tasks.iter().enumerate();
        let waiting = waiting.filter_map(|(number, task)| Some((task.deadline?, number)));
        waiting.min()
    }

    /// The slice of every CPU is over: `account_runtime()` and `end_slice()`.
    fn tick(&mut self) {
        self.now += TICK_NS;
        for cpu in 0..self.running.len() {
            let number = self.running[cpu];
            let task = &mut self.tasks[number];
            let began_at = task.ctx.vruntime;
            task.ran_ns += TICK_NS;
            task.ctx.runtime_ns += TICK_NS;
            task.ctx.vruntime += delta_vruntime(TICK_NS, task.weight);
            let nr_queued = self.queue.nr_queued;
            update_vtime(
                &mut self.queue,
                nr_queued,
                began_at,
                &task.ctx,
                task.weight,
                TICK_NS,
                self.now,
                &self.tunables,
            );
            let Some((deadline, next)) = self.earliest() else {
                continue;
            };
            if deadline < self.deadline(number) {
                self.tasks[next].longest_wait_ns = self.longest_wait_ns(next);
                self.tasks[next].deadline = None;
                self.queue.nr_queued -= 1;
                self.queue.nr_cpu_bound -= 1;
                self.queue.queued_weight -= weight_units(self.tasks[next].weight);
                self.enqueue(number);
                self.running[cpu] = next;
            }
        }
    }
}
