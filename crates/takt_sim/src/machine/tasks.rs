//! What tasks do: compute, sleep, wake each other, yield, fork, exit.

use super::{BOOT_NS, Current, FALL_ASLEEP_NS, Machine, ffi};
use crate::event::Event;
use crate::mask::CpuMask;
use crate::policy::SysTask;
use crate::task::{Phase, Place, Task, scx_weight};
use crate::violation::Invariant;
use crate::world::Op;

/// `TASK_INTERRUPTIBLE`.
const INTERRUPTIBLE: u32 = 1;
/// `TASK_DEAD`.
const DEAD: u32 = 0x80;
/// `TASK_WAKING`.
const WAKING: u32 = 0x200;
/// `TASK_NEW`.
const NEW: u32 = 0x800;
/// `SCX_WAKE_FORK`.
const WAKE_FORK: u64 = 4;
/// `SCX_WAKE_TTWU`.
const WAKE_TTWU: u64 = 8;
/// `SCX_WAKE_SYNC`.
const WAKE_SYNC: u64 = 16;
/// `SCX_ENQ_WAKEUP`.
const ENQ_WAKEUP: u64 = 1;
/// `SCX_ENQ_CPU_SELECTED`.
const ENQ_CPU_SELECTED: u64 = 1 << 20;
/// A system call that does next to nothing.
const CALL_NS: u64 = 200;
/// `fork()`.
const FORK_NS: u64 = 40_000;
/// `exit()`, up to the last switch.
const EXIT_NS: u64 = 20_000;
/// Tasks at a time: a fork fails beyond.
const TASKS_MAX: usize = 400;

impl Machine<'_> {
    /// A task of the world, asleep until it starts.
    pub(super) fn create_first_task(&mut self, index: usize) {
        let spec = &self.world.tasks[index];
        let mask = self.world.mask_of(index);
        let at = index % mask.count();
        let cpu = mask.iter().nth(at).unwrap_or(0);
        let mut task = self.new_task(format!("T{index}"), spec.program.clone(), spec.nice, mask);
        task.sys.set_policy(spec.policy);
        task.sys.set_cpu(cpu as i32);
        task.sys.set_state(INTERRUPTIBLE);
        let (nice, policy, start_ns) = (spec.nice, spec.policy, spec.start_ns);
        self.tasks.push(task);
        self.join(index, false);
        self.tasks[index].sys.set_weight(scx_weight(nice, policy));
        self.tell_mask(index);
        let event = Event::Wake { task: index, id: 0 };
        self.events.add(BOOT_NS + start_ns, event);
    }

    fn new_task(&mut self, name: String, program: Vec<Op>, nice: i32, mask: CpuMask) -> Task {
        let mut sys = SysTask::new(self.tasks.len() as i32 + 1, &name);
        sys.set_mask(&mask);
        Task {
            sys,
            name,
            program,
            next_op: 0,
            phase: Phase::Works,
            left_ns: 0,
            place: Place::Off,
            direct: None,
            is_alive: true,
            nr_wakes: 0,
            sleep_id: 0,
            nice,
            mask,
            waits_since: None,
            may_run_since: 0,
            ran_ns: 0,
            longest_wait_ns: 0,
            was_changed: false,
        }
    }

    /// `scx_init_task()`, `scx_enable_task()`.
    fn join(&mut self, task: usize, is_fork: bool) {
        let here = self.this_cpu;
        let weight = scx_weight(self.tasks[task].nice, self.tasks[task].sys.policy());
        let address = self.tasks[task].sys.address();
        let error = self.enter(here, || {
            // SAFETY: inside enter(), with a new task.
            unsafe { ffi::sim_init_task(address, i32::from(is_fork)) }
        });
        if error != 0 {
            self.fail(Invariant::NoError, format!("init_task returned {error}"));
        }
        self.tasks[task].sys.set_weight(weight);
        self.enter(here, || {
            // SAFETY: as above.
            unsafe {
                ffi::sim_enable(address);
                ffi::sim_set_weight(address, weight);
            }
        });
    }

    /// The task that runs on a CPU has done what it was at.
    pub(super) fn work_done(&mut self, cpu: usize) {
        let Current::Task(task) = self.cpus[cpu].current else {
            return;
        };
        self.this_cpu = cpu;
        self.account(cpu);
        self.tasks[task].left_ns = 0;
        match self.tasks[task].phase {
            Phase::Works => self.next_op(cpu, task),
            Phase::FallsAsleep => {
                self.tasks[task].phase = Phase::Works;
                self.schedule(cpu, true);
            }
            Phase::Exits => {
                self.tasks[task].sys.set_state(DEAD);
                self.schedule(cpu, true);
            }
        }
    }

    fn next_op(&mut self, cpu: usize, task: usize) {
        let this = &mut self.tasks[task];
        let op = this.program.get(this.next_op).copied().unwrap_or(Op::Exit);
        this.next_op = (this.next_op + 1) % this.program.len().max(1);
        match op {
            Op::Compute(ns) => {
                let ns = self.random.around(ns, 125).max(CALL_NS);
                self.work(cpu, task, ns);
            }
            Op::Sleep(ns) => {
                let ns = self.random.around(ns, 125).max(FALL_ASLEEP_NS);
                let id = self.fall_asleep(cpu, task);
                self.events.add(self.now + ns, Event::Wake { task, id });
            }
            Op::Wait if this.nr_wakes > 0 => {
                this.nr_wakes = 0;
                self.work(cpu, task, CALL_NS);
            }
            Op::Wait => {
                self.fall_asleep(cpu, task);
            }
            Op::Wake { task: other, sync } => {
                self.work(cpu, task, self.world.costs.wake_ns);
                if other < self.tasks.len() && other != task {
                    self.wake_waiting(other, sync, cpu);
                }
            }
            Op::Yield => self.yield_cpu(cpu, task),
            Op::Fork(ns) => {
                self.work(cpu, task, FORK_NS);
                self.fork(cpu, task, ns);
            }
            Op::Exit => {
                let flags = self.tasks[task].sys.pf_flags() | self.policy.numbers.pf_exiting;
                self.tasks[task].sys.set_pf_flags(flags);
                self.tasks[task].phase = Phase::Exits;
                self.work(cpu, task, EXIT_NS);
            }
        }
    }

    /// The running task goes on for so long.
    fn work(&mut self, cpu: usize, task: usize, ns: u64) {
        self.tasks[task].left_ns = ns;
        self.cpus[cpu].works_from = self.now;
        self.resume_work(cpu);
    }

    /// The running task says that it sleeps. Returns the number of the sleep.
    fn fall_asleep(&mut self, cpu: usize, task: usize) -> u64 {
        let this = &mut self.tasks[task];
        this.sys.set_state(INTERRUPTIBLE);
        this.phase = Phase::FallsAsleep;
        this.sleep_id += 1;
        let id = this.sleep_id;
        self.work(cpu, task, FALL_ASLEEP_NS);
        id
    }

    /// `sched_yield()`.
    fn yield_cpu(&mut self, cpu: usize, task: usize) {
        self.work(cpu, task, CALL_NS);
        let address = self.tasks[task].sys.address();
        self.enter(cpu, || {
            // SAFETY: inside enter(), with the task that runs.
            unsafe { ffi::sim_yield(address) }
        });
        self.say(|m| format!("CPU {cpu}: {} yields", m.tasks[task].name));
        self.schedule(cpu, true);
    }

    /// A task wakes another one that waits, or will.
    fn wake_waiting(&mut self, task: usize, sync: bool, cpu: usize) {
        let this = &self.tasks[task];
        let waits = this.sys.state() == INTERRUPTIBLE && self.is_at_wait(task);
        if waits {
            self.wake(task, sync, cpu);
        } else {
            self.tasks[task].nr_wakes = 1;
        }
    }

    /// Is what a task sleeps in a `Wait`?
    fn is_at_wait(&self, task: usize) -> bool {
        let this = &self.tasks[task];
        let nr = this.program.len();
        nr > 0 && this.program[(this.next_op + nr - 1) % nr] == Op::Wait
    }

    /// `try_to_wake_up()`, by CPU `from`.
    pub(super) fn wake(&mut self, task: usize, sync: bool, from: usize) {
        let this = &mut self.tasks[task];
        if !this.is_alive || this.phase == Phase::Exits || this.sys.state() == 0 {
            return;
        }
        this.sleep_id += 1;
        if this.is_queued(self.policy.numbers.scx_queued) {
            this.sys.set_state(0); /* ttwu_runnable(): it has not yet left its CPU */
            return;
        }
        let before = std::mem::replace(&mut self.this_cpu, from);
        this.sys.set_state(WAKING);
        self.say(|m| {
            let how = if sync { ", sync" } else { "" };
            format!("CPU {from} wakes {}{how}", m.tasks[task].name)
        });
        let flags = WAKE_TTWU | if sync { WAKE_SYNC } else { 0 };
        let selected = self.select_cpu(task, flags);
        self.activate(task, ENQ_WAKEUP | selected);
        self.tasks[task].sys.set_state(0);
        let cpu = self.tasks[task].cpu();
        self.run_deferred(cpu);
        self.this_cpu = before;
    }

    /// `select_task_rq()`: chooses the CPU. Returns the flag that says that the policy was asked.
    fn select_cpu(&mut self, task: usize, wake_flags: u64) -> u64 {
        let mask = self.tasks[task].mask;
        let is_asked = mask.count() > 1;
        let mut cpu = mask.iter().next().unwrap_or(0);
        if is_asked {
            let address = self.tasks[task].sys.address();
            let (here, previous) = (self.this_cpu, self.tasks[task].sys.cpu());
            self.direct_task = Some(task);
            let selected = self.enter(here, || {
                // SAFETY: inside enter(), with a task that wakes.
                unsafe { ffi::sim_select_cpu(address, previous, wake_flags) }
            });
            self.direct_task = None;
            if mask.has(selected as usize) {
                cpu = selected as usize;
            } else {
                let text = format!(
                    "{} was placed on CPU {selected}, and may use {mask}",
                    self.tasks[task].name
                );
                self.fail(Invariant::PlacedWhereAllowed, text);
            }
        }
        self.tasks[task].sys.set_cpu(cpu as i32);
        if is_asked { ENQ_CPU_SELECTED } else { 0 }
    }

    /// `activate_task()`, `wakeup_preempt()`: it is of a higher class than idle.
    pub(super) fn activate(&mut self, task: usize, enq_flags: u64) {
        self.enqueue(task, enq_flags);
        let (cpu, here) = (self.tasks[task].cpu(), self.this_cpu);
        if self.cpus[cpu].current == Current::Idle {
            self.reschedule(cpu, here);
        }
        let queued = self.policy.numbers.scx_queued;
        let nr = self.tasks.iter().filter(|t| t.is_queued(queued)).count();
        self.nr_runnable_max = self.nr_runnable_max.max(nr);
    }

    /// `copy_process()`, `wake_up_new_task()`.
    fn fork(&mut self, cpu: usize, parent: usize, ns: u64) {
        let nr_alive = self.tasks.iter().filter(|task| task.is_alive).count();
        if nr_alive >= TASKS_MAX {
            return;
        }
        let child = self.tasks.len();
        let (nice, mask) = (self.tasks[parent].nice, self.tasks[parent].mask);
        let program = vec![Op::Compute(ns), Op::Exit];
        let mut task = self.new_task(format!("C{child}"), program, nice, mask);
        task.sys.set_policy(self.tasks[parent].sys.policy());
        task.sys.set_cpu(cpu as i32);
        task.sys.set_state(NEW);
        task.was_changed = true;
        self.tasks.push(task);
        self.say(|m| format!("CPU {cpu}: {} forks C{child}", m.tasks[parent].name));
        self.join(child, true);
        self.tasks[child].sys.set_state(0);
        self.select_cpu(child, WAKE_FORK);
        self.activate(child, 0);
        let to = self.tasks[child].cpu();
        self.run_deferred(to);
    }

    /// `sched_ext_dead()`: a task has left its CPU for good.
    pub(super) fn bury(&mut self, task: usize, cpu: usize) {
        self.tasks[task].is_alive = false;
        let address = self.tasks[task].sys.address();
        self.enter(cpu, || {
            // SAFETY: inside enter(), with a task that does not run any more.
            unsafe {
                ffi::sim_disable(address);
                ffi::sim_exit_task(address);
            }
        });
        self.say(|m| format!("{} is gone", m.tasks[task].name));
    }
}
