//! Changes from outside: affinity, nice value, policy; and classes above sched_ext.

use super::{Current, Machine, ffi};
use crate::event::Event;
use crate::mask::CpuMask;
use crate::task::{Phase, Place, scx_weight};

/// Until the stopper of another CPU runs, ns.
const STOPPER_NS: u64 = 3_000;

impl Machine<'_> {
    /// Changes an attribute: the kernel takes a runnable task out of its queue and puts it back, and a
    /// running one off its CPU, in one critical section (`sched_change_begin()`, `sched_change_end()`).
    fn with_task_out(&mut self, task: usize, change: impl FnOnce(&mut Self)) {
        let cpu = self.tasks[task].cpu();
        let queued = self.tasks[task].is_queued(self.policy.numbers.scx_queued);
        let runs = self.cpus[cpu].current == Current::Task(task);
        self.tasks[task].was_changed = true;
        if queued {
            self.dequeue(task, false);
        }
        change(self);
        if queued {
            self.enqueue(task, 0);
            if runs {
                self.cpus[cpu].local.remove(task);
                self.set_running(cpu, task);
            }
        }
    }

    fn may_change(&self, task: usize) -> bool {
        self.tasks
            .get(task)
            .is_some_and(|t| t.is_alive && t.phase != Phase::Exits)
    }

    /// `set_user_nice()`.
    pub(super) fn set_nice(&mut self, task: usize, nice: i32) {
        if self.may_change(task) {
            self.say(|m| format!("{} gets nice {nice}", m.tasks[task].name));
            self.with_task_out(task, |machine| {
                machine.tasks[task].nice = nice;
                machine.set_load_weight(task);
            });
        }
    }

    /// `sched_setscheduler()`, within the class.
    pub(super) fn set_policy(&mut self, task: usize, policy: u32) {
        if self.may_change(task) {
            self.say(|m| format!("{} gets policy {policy}", m.tasks[task].name));
            self.with_task_out(task, |machine| {
                machine.tasks[task].sys.set_policy(policy);
                machine.set_load_weight(task);
            });
        }
    }

    /// `reweight_task_scx()`.
    fn set_load_weight(&mut self, task: usize) {
        let weight = scx_weight(self.tasks[task].nice, self.tasks[task].sys.policy());
        self.tasks[task].sys.set_weight(weight);
        let address = self.tasks[task].sys.address();
        let here = self.this_cpu;
        self.enter(here, || {
            // SAFETY: inside enter(), with a task that is out of its queue.
            unsafe { ffi::sim_set_weight(address, weight) }
        });
    }

    /// `set_cpus_allowed_scx()`.
    pub(super) fn tell_mask(&mut self, task: usize) {
        let address = self.tasks[task].sys.address();
        let here = self.this_cpu;
        self.enter(here, || {
            // SAFETY: as above.
            unsafe { ffi::sim_set_cpumask(address) }
        });
    }

    /// `__set_cpus_allowed_ptr_locked()`, `affine_move_task()`.
    pub(super) fn set_affinity(&mut self, task: usize, mask: CpuMask) {
        let mask = mask.and(&self.online);
        if !self.may_change(task) || mask.is_empty() || mask == self.tasks[task].mask {
            return;
        }
        self.say(|m| format!("{} may use CPUs {mask}", m.tasks[task].name));
        let now = self.now;
        self.with_task_out(task, |machine| {
            machine.tasks[task].mask = mask;
            machine.tasks[task].sys.set_mask(&mask);
            machine.tasks[task].may_run_since = now;
            machine.tell_mask(task);
        });
        let cpu = self.tasks[task].cpu();
        if mask.has(cpu) {
            return;
        }
        if self.cpus[cpu].current == Current::Task(task) {
            let event = Event::Stopper { cpu, task };
            self.events.add(self.now + STOPPER_NS, event);
        } else if self.tasks[task].is_queued(self.policy.numbers.scx_queued) {
            self.move_queued(task);
        }
    }

    /// `move_queued_task()`: to a CPU that the task may use.
    fn move_queued(&mut self, task: usize) {
        let (mask, here) = (self.tasks[task].mask, self.this_cpu);
        let Some(to) = self.idle.any_distribute(&mask, here) else {
            return;
        };
        self.dequeue(task, false);
        self.tasks[task].sys.set_cpu(to as i32);
        self.activate(task, 0);
    }

    /// `migration_cpu_stop()`: the stopper takes the CPU, and moves the task if it may not stay.
    pub(super) fn run_stopper(&mut self, cpu: usize, task: usize) {
        self.this_cpu = cpu;
        self.cpus[cpu].is_stopped = true;
        self.schedule(cpu, false);
        let this = &self.tasks[task];
        let waits = this.is_queued(self.policy.numbers.scx_queued) && this.place != Place::Cpu(cpu);
        if waits && this.cpu() == cpu && !this.mask.has(cpu) {
            self.move_queued(task);
        }
        self.cpus[cpu].is_stopped = false;
        self.reschedule(cpu, cpu);
    }

    /// A real-time task wakes on a CPU, and has it for so long.
    pub(super) fn begin_realtime(&mut self, cpu: usize, ns: u64) {
        if cpu >= self.cpus.len() || self.cpus[cpu].higher.is_some() {
            return;
        }
        let id = self.events.nr_added();
        self.cpus[cpu].higher = Some(id);
        self.events
            .add(self.now + ns, Event::RealtimeEnd { cpu, id });
        self.reschedule(cpu, cpu);
    }
}
