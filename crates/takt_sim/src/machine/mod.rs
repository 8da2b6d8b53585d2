//! The simulated kernel: a discrete-event model of the scheduler core and of the sched_ext class, as
//! far as the policy depends on them (kernel/sched/core.c, kernel/sched/ext/ext.c of Linux 7.2).
//!
//! A callback of the policy is one step: while it runs, no time passes, and no other CPU does
//! anything. What a step costs is added to the CPU that made it.

mod change;
mod enqueue;
mod invariants;
mod kfuncs;
mod schedule;
mod tasks;

use crate::dsq::Dsq;
use crate::event::{Event, Events};
use crate::idle::IdleMasks;
use crate::mask::CpuMask;
use crate::policy::{Policy, SysTask, ffi};
use crate::random::Random;
use crate::task::Task;
use crate::violation::{Invariant, Violation};
use crate::world::{ChangeKind, World};
use std::collections::VecDeque;

/// The timer tick: HZ=250.
pub const TICK_NS: u64 = 4_000_000;
/// What the clock shows as a world begins: a machine that has been up for some time.
const BOOT_NS: u64 = 100_000_000_000;
/// From one check of the invariants to the next.
const CHECK_NS: u64 = 1_000_000;
/// From saying that it sleeps to `schedule()`.
const FALL_ASLEEP_NS: u64 = 300;
/// From a request to the CPU itself until it schedules.
const LOCAL_RESCHEDULE_NS: u64 = 200;
/// After so many events a world ends, whatever it still has to do.
const EVENTS_MAX: u64 = 3_000_000;
/// How many lines of the timeline are kept.
const TIMELINE_LINES: usize = 400;

/// What a CPU does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Current {
    Idle,
    Task(usize),
    /// A real-time task, or the stopper: a class above sched_ext.
    Higher,
}

/// A CPU and its run queue.
struct Cpu {
    current: Current,
    local: Dsq,
    /// Tasks that go to the local queues of other CPUs when the run queue is unlocked.
    deferred: VecDeque<usize>,
    reenqueue: bool,
    in_dispatch: bool,
    needs_schedule: bool,
    schedule_id: u64,
    /// When the running task goes on with its work: after the switch, a tick, a wakeup.
    works_from: u64,
    work_id: u64,
    /// Until when its time was accounted: `se.exec_start`.
    accounted_at: u64,
    tick_id: u64,
    tick_phase_ns: u64,
    idle_since: u64,
    /// When a task that may not use all CPUs last ran here at a tick.
    bound_tick_at: u64,
    /// Number of the burst of the real-time task that is here, if any.
    higher: Option<u64>,
    is_stopped: bool,
    higher_ns: u64,
    nr_switches: u64,
}

/// How a world went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first broken invariant, if any.
    pub violation: Option<Violation>,
    /// CPU time of each task that the world began with, ns.
    pub ran_ns: Vec<u64>,
    /// The longest wait of each, ns.
    pub longest_wait_ns: Vec<u64>,
    /// Switches of all CPUs.
    pub nr_switches: u64,
    /// Tasks that were forked.
    pub nr_forked: usize,
    /// Events in all.
    pub nr_events: u64,
    /// A number made of everything that happened: the same for the same world.
    pub trace: u64,
    /// What happened last, if asked for.
    pub timeline: Vec<String>,
}

/// The simulated kernel.
pub struct Machine<'a> {
    world: &'a World,
    policy: Policy,
    now: u64,
    random: Random,
    events: Events,
    cpus: Vec<Cpu>,
    tasks: Vec<Task>,
    dsqs: Vec<Option<Dsq>>,
    /// Numbers of the queues that the policy has made.
    queues: Vec<usize>,
    idle: IdleMasks,
    online: CpuMask,
    idle_task: SysTask,
    realtime_task: SysTask,
    stopper_task: SysTask,
    /// The CPU whose code runs.
    this_cpu: usize,
    /// The task that is being enqueued or placed, which may be inserted directly.
    direct_task: Option<usize>,
    /// Times that the kernel took a task out of each queue by itself since it was last counted.
    taken_out: Vec<u32>,
    timers: Vec<u64>,
    /// CPUs with deferred work.
    deferred_cpus: Vec<usize>,
    nr_runnable_max: usize,
    violation: Option<Violation>,
    timeline: Option<VecDeque<String>>,
    trace: u64,
}

impl Cpu {
    fn new(tick_phase_ns: u64) -> Self {
        Self {
            current: Current::Idle,
            local: Dsq::default(),
            deferred: VecDeque::new(),
            reenqueue: false,
            in_dispatch: false,
            needs_schedule: false,
            schedule_id: 0,
            works_from: 0,
            work_id: 0,
            accounted_at: 0,
            tick_id: 0,
            tick_phase_ns,
            idle_since: BOOT_NS,
            bound_tick_at: 0,
            higher: None,
            is_stopped: false,
            higher_ns: 0,
            nr_switches: 0,
        }
    }
}

/// Runs a world to its end, or to the first broken invariant.
pub fn run(world: &World) -> Outcome {
    Machine::new(world, false).run()
}

/// The same, and keeps the timeline of what happened last.
pub fn run_recorded(world: &World) -> Outcome {
    Machine::new(world, true).run()
}

impl<'a> Machine<'a> {
    fn new(world: &'a World, record: bool) -> Self {
        let nr_cpus = world.topology.nr_cpus();
        let policy = Policy::load(&world.topology);
        let mut random = Random::new(world.seed);
        let cpus = (0..nr_cpus)
            .map(|_| {
                Cpu::new(if world.ticks_at_once {
                    0
                } else {
                    random.below(TICK_NS)
                })
            })
            .collect();
        let nr_dsqs = policy.numbers.throttled as usize + nr_cpus;
        let mut realtime_task = SysTask::new(30_000, "realtime");
        realtime_task.set_prio(50);
        let mut stopper_task = SysTask::new(30_001, "stopper");
        stopper_task.set_prio(0);
        stopper_task.set_pf_flags(0x0020_0000);
        stopper_task.set_nr_cpus_allowed(1);
        Self {
            world,
            policy,
            now: BOOT_NS,
            random,
            events: Events::default(),
            cpus,
            tasks: Vec::new(),
            dsqs: (0..nr_dsqs).map(|_| None).collect(),
            queues: Vec::new(),
            idle: IdleMasks::new(world.topology),
            online: CpuMask::first(nr_cpus),
            idle_task: SysTask::new(0, "swapper"),
            realtime_task,
            stopper_task,
            this_cpu: 0,
            direct_task: None,
            taken_out: vec![0; nr_dsqs],
            timers: vec![0; 2 * nr_cpus],
            deferred_cpus: Vec::new(),
            nr_runnable_max: 0,
            violation: None,
            timeline: record.then(VecDeque::new),
            trace: 0,
        }
    }

    fn run(mut self) -> Outcome {
        self.begin();
        let end = BOOT_NS + self.world.duration_ns;
        while self.violation.is_none() {
            let Some((at, event)) = self.events.take_next() else {
                break;
            };
            if at >= end {
                break;
            }
            if self.events.nr_added() > EVENTS_MAX {
                return self.outcome(); /* too much for a test: it has shown nothing wrong */
            }
            self.now = at;
            self.mix(at);
            self.handle(event);
            self.run_all_deferred();
        }
        if self.violation.is_none() {
            self.now = end;
            self.check_state();
            self.check_shares();
        }
        self.outcome()
    }

    fn outcome(self) -> Outcome {
        let nr = self.world.tasks.len();
        Outcome {
            ran_ns: self.tasks.iter().take(nr).map(|t| t.ran_ns).collect(),
            longest_wait_ns: self
                .tasks
                .iter()
                .take(nr)
                .map(|t| t.longest_wait_ns)
                .collect(),
            nr_switches: self.cpus.iter().map(|cpu| cpu.nr_switches).sum(),
            nr_forked: self.tasks.len().saturating_sub(nr),
            nr_events: self.events.nr_added(),
            trace: self.trace,
            violation: self.violation,
            timeline: self.timeline.unwrap_or_default().into(),
        }
    }

    /// The scheduler is loaded; the first tasks are there, asleep.
    fn begin(&mut self) {
        let error = self.enter(0, || {
            // SAFETY: inside enter().
            unsafe { ffi::sim_init() }
        });
        if error != 0 {
            self.fail(Invariant::NoError, format!("takt_init() returned {error}"));
        }
        for index in 0..self.world.tasks.len() {
            self.create_first_task(index);
        }
        for (index, change) in self.world.changes.iter().enumerate() {
            self.events
                .add(BOOT_NS + change.at_ns, Event::Change { index });
        }
        self.events.add(BOOT_NS + CHECK_NS, Event::Check);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Done { cpu, id } if self.cpus[cpu].work_id == id => self.work_done(cpu),
            Event::Tick { cpu, id } if self.cpus[cpu].tick_id == id => self.tick(cpu),
            Event::Schedule { cpu, id } if self.cpus[cpu].schedule_id == id => {
                self.schedule(cpu, false);
            }
            Event::Kick { from, cpu, flags } => self.kick(from, cpu, flags),
            Event::Wake { task, id } if self.tasks[task].sleep_id == id => {
                let cpu = self.tasks[task].cpu();
                self.charge(cpu, self.world.costs.wake_ns);
                self.wake(task, false, cpu);
            }
            Event::Change { index } => self.change(self.world.changes[index].kind),
            Event::Stopper { cpu, task } => self.run_stopper(cpu, task),
            Event::RealtimeEnd { cpu, id } if self.cpus[cpu].higher == Some(id) => {
                self.cpus[cpu].higher = None;
                self.reschedule(cpu, cpu);
            }
            Event::Timer { index, id } if self.timers[index] == id => {
                self.enter(index / 2, || {
                    // SAFETY: inside enter(); the index is that of a timer that was started.
                    unsafe { ffi::sim_expire_timer(index as u32) }
                });
            }
            Event::Check => {
                self.check_state();
                self.events.add(self.now + CHECK_NS, Event::Check);
            }
            _ => {} /* no longer of interest */
        }
    }

    fn tick(&mut self, cpu: usize) {
        let Some(id) = (self.cpus[cpu].current != Current::Idle).then_some(self.cpus[cpu].tick_id)
        else {
            return;
        };
        self.events.add(self.now + TICK_NS, Event::Tick { cpu, id });
        let Current::Task(task) = self.cpus[cpu].current else {
            return;
        };
        self.account(cpu);
        let address = self.tasks[task].sys.address();
        self.enter(cpu, || {
            // SAFETY: inside enter(), with a task that runs.
            unsafe { ffi::sim_tick(address) }
        });
        self.note_recounts(cpu);
        if self.tasks[task].mask.count() < self.cpus.len() {
            self.cpus[cpu].bound_tick_at = self.now;
        }
        if self.tasks[task].sys.slice_ns() == 0 {
            self.reschedule(cpu, cpu);
        }
        self.charge(cpu, self.world.costs.tick_ns);
    }

    /// The work that `scx_bpf_kick_cpu()` leaves to an interrupt: `kick_cpus_irq_workfn()`.
    fn kick(&mut self, from: usize, cpu: usize, flags: u64) {
        let current = self.cpus[cpu].current;
        if flags & kfuncs::KICK_IDLE != 0 {
            if current == Current::Idle {
                self.reschedule(cpu, from);
            }
            return;
        }
        if let Current::Task(task) = current
            && flags & kfuncs::KICK_PREEMPT != 0
        {
            self.account(cpu);
            self.tasks[task].sys.set_slice_ns(0);
        }
        self.reschedule(cpu, from);
    }

    fn change(&mut self, kind: ChangeKind) {
        match kind {
            ChangeKind::Affinity { task, mask } => self.set_affinity(task, mask),
            ChangeKind::Nice { task, nice } => self.set_nice(task, nice),
            ChangeKind::Policy { task, policy } => self.set_policy(task, policy),
            ChangeKind::Realtime { cpu, ns } => self.begin_realtime(cpu, ns),
        }
    }

    /// `resched_curr()`: asks `cpu` to schedule, from CPU `from`.
    fn reschedule(&mut self, cpu: usize, from: usize) {
        let costs = &self.world.costs;
        let this = &mut self.cpus[cpu];
        if this.needs_schedule {
            return;
        }
        this.needs_schedule = true;
        this.schedule_id += 1;
        let id = this.schedule_id;
        let delay = match (cpu == from, this.current) {
            (_, Current::Idle) => costs.idle_exit_ns + costs.ipi_ns,
            (true, _) => LOCAL_RESCHEDULE_NS,
            (false, _) => costs.ipi_ns,
        };
        self.events
            .add(self.now + delay, Event::Schedule { cpu, id });
    }

    /// Calls the policy on a CPU.
    fn enter<R>(&mut self, cpu: usize, call: impl FnOnce() -> R) -> R {
        let before = std::mem::replace(&mut self.this_cpu, cpu);
        let result = kfuncs::with_machine(self, call);
        self.this_cpu = before;
        result
    }

    /// Notes the first broken invariant.
    fn fail(&mut self, invariant: Invariant, text: String) {
        self.say(|_| format!("{invariant:?}: {text}"));
        if self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                at_ns: self.now - BOOT_NS,
                text,
            });
        }
    }

    /// Adds a line to the timeline, if there is one.
    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.timeline.is_none() {
            return;
        }
        let at = (self.now - BOOT_NS) as f64 / 1e6;
        let line = format!("{at:12.6} ms  {}", line(self));
        if let Some(lines) = &mut self.timeline {
            if lines.len() == TIMELINE_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    /// Makes a number part of the trace.
    fn mix(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace ^= self.trace >> 32;
    }
}
