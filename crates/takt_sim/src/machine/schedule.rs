//! `schedule()`: which task a CPU runs next, and what the policy is told of it.

use super::{Cpu, Current, Machine, TICK_NS, ffi};
use crate::event::Event;
use crate::task::{Phase, Place};
use crate::violation::Invariant;
use std::ptr;

/// `SCX_ENQ_HEAD`.
const ENQ_HEAD: u64 = 1 << 16;
/// `SCX_ENQ_LAST`.
const ENQ_LAST: u64 = 1 << 41;
/// `SCX_SLICE_DFL`: what the kernel gives to a task without a slice.
const DEFAULT_SLICE_NS: u64 = 20_000_000;
/// Switches per second of a CPU: more are no work any more.
const SWITCHES_PER_SECOND: u64 = 1_000_000;

impl Machine<'_> {
    /// `__schedule()` on a CPU. A task that has said that it sleeps does, if it comes here by itself.
    pub(super) fn schedule(&mut self, cpu: usize, by_itself: bool) {
        let before = std::mem::replace(&mut self.this_cpu, cpu);
        self.account(cpu);
        let previous = self.cpus[cpu].current;
        if let Current::Task(task) = previous {
            self.pause_work(cpu);
            if by_itself && self.tasks[task].sys.state() != 0 {
                self.dequeue(task, true);
            }
        }
        let next = self.pick(cpu, previous);
        self.cpus[cpu].needs_schedule = false;
        self.cpus[cpu].schedule_id += 1;
        if next == previous {
            match next {
                Current::Task(_) => self.resume_work(cpu),
                Current::Idle => self.idle.update(cpu, true),
                Current::Higher => {}
            }
        } else {
            self.put_previous(cpu, previous, next);
            self.set_next(cpu, previous, next);
        }
        self.run_deferred(cpu);
        if let Current::Task(task) = previous
            && next != previous
            && self.tasks[task].phase == Phase::Exits
            && self.tasks[task].sys.state() != 0
        {
            self.bury(task, cpu);
        }
        self.this_cpu = before;
    }

    /// `__pick_next_task()`: a higher class, what sched_ext picks, or idle.
    fn pick(&mut self, cpu: usize, previous: Current) -> Current {
        if self.cpus[cpu].higher.is_some() || self.cpus[cpu].is_stopped {
            return Current::Higher;
        }
        let keeps = |machine: &Self| match previous {
            Current::Task(task) => {
                let queued = machine.policy.numbers.scx_queued;
                machine.tasks[task].is_queued(queued) && machine.tasks[task].sys.slice_ns() > 0
            }
            _ => false,
        };
        if keeps(self) {
            return previous;
        }
        if self.cpus[cpu].local.is_empty() {
            self.dispatch(cpu, previous);
            if keeps(self) {
                return previous;
            }
        }
        let Some(task) = self.cpus[cpu].local.first() else {
            return Current::Idle;
        };
        if self.tasks[task].sys.slice_ns() == 0 {
            let text = format!("{} is picked with a slice of 0", self.tasks[task].name);
            self.fail(Invariant::Slice, text);
            self.tasks[task].sys.set_slice_ns(DEFAULT_SLICE_NS);
        }
        Current::Task(task)
    }

    /// `ops.dispatch()`: `balance_one()`, where the CPU has nothing to run.
    fn dispatch(&mut self, cpu: usize, previous: Current) {
        let address = match previous {
            Current::Task(task) => self.tasks[task].sys.address(),
            _ => ptr::null_mut(),
        };
        self.cpus[cpu].in_dispatch = true;
        self.enter(cpu, || {
            // SAFETY: inside enter(); the task, if any, is the one that runs there.
            unsafe { ffi::sim_dispatch(cpu as i32, address) }
        });
        self.cpus[cpu].in_dispatch = false;
    }

    /// `put_prev_task_scx()`, `put_prev_task_idle()`.
    fn put_previous(&mut self, cpu: usize, previous: Current, next: Current) {
        match previous {
            Current::Idle => {
                self.idle.update(cpu, false);
                self.start_ticks(cpu);
            }
            Current::Higher => {}
            Current::Task(task) => {
                if self.tasks[task].is_queued(self.policy.numbers.scx_queued) {
                    self.put_runnable(cpu, task, next);
                } else {
                    self.say(|m| format!("CPU {cpu}: {} sleeps", m.tasks[task].name));
                    self.tasks[task].place = Place::Off;
                }
            }
        }
    }

    fn put_runnable(&mut self, cpu: usize, task: usize, next: Current) {
        self.stopping(cpu, task, true);
        self.begin_wait(task);
        let slice_ns = self.tasks[task].sys.slice_ns();
        self.say(|m| {
            let name = &m.tasks[task].name;
            format!("CPU {cpu}: {name} leaves, {slice_ns} ns of its slice are left")
        });
        self.tasks[task].place = Place::Lost;
        if slice_ns > 0 {
            self.insert_local(cpu, task, ENQ_HEAD);
        } else if next == Current::Idle {
            self.do_enqueue(task, ENQ_LAST, false);
        } else {
            self.do_enqueue(task, 0, false);
        }
    }

    /// `ops.stopping()`.
    pub(super) fn stopping(&mut self, cpu: usize, task: usize, runnable: bool) {
        let address = self.tasks[task].sys.address();
        let here = self.this_cpu;
        debug_assert_eq!(self.tasks[task].cpu(), cpu);
        self.enter(here, || {
            // SAFETY: inside enter(), with the task that runs on the CPU.
            unsafe { ffi::sim_stopping(address, i32::from(runnable)) }
        });
    }

    /// `set_next_task()`, and the switch.
    fn set_next(&mut self, cpu: usize, previous: Current, next: Current) {
        self.cpus[cpu].nr_switches += 1;
        self.mix(cpu as u64);
        let switches = self.cpus[cpu].nr_switches;
        let elapsed_ns = self.now - super::BOOT_NS;
        if switches > SWITCHES_PER_SECOND * (1 + elapsed_ns / 1_000_000_000) {
            self.fail(
                Invariant::Progress,
                format!("CPU {cpu}: {switches} switches"),
            );
        }
        match next {
            Current::Task(task) => self.run_next(cpu, task),
            Current::Idle => {
                self.idle.update(cpu, true);
                self.cpus[cpu].idle_since = self.now;
                self.say(|_| format!("CPU {cpu}: idle"));
            }
            Current::Higher => {
                self.cpus[cpu].accounted_at = self.now;
                self.say(|_| format!("CPU {cpu}: a higher class"));
                self.tell_switch(cpu, previous);
            }
        }
        self.cpus[cpu].current = next;
        if let Current::Task(_) = next {
            self.cpus[cpu].works_from = self.now + self.world.costs.switch_ns;
            self.resume_work(cpu);
        }
    }

    fn run_next(&mut self, cpu: usize, task: usize) {
        self.cpus[cpu].local.remove(task);
        self.set_running(cpu, task);
        self.mix(task as u64);
        let waited_ns = self.end_wait(task);
        let name = &self.tasks[task].name;
        let line = format!(
            "CPU {cpu}: {name} runs, waited {waited_ns} ns, slice {} ns",
            self.tasks[task].sys.slice_ns()
        );
        let is_allowed = self.tasks[task].mask.has(cpu);
        self.say(|_| line);
        if !is_allowed {
            let text = format!(
                "{} runs on CPU {cpu}, and may use {}",
                self.tasks[task].name, self.tasks[task].mask
            );
            self.fail(Invariant::AllowedCpu, text);
        }
        let slice_ns = self.tasks[task].sys.slice_ns();
        if slice_ns > self.policy.numbers.slice_max_ns {
            let text = format!("{} has a slice of {slice_ns} ns", self.tasks[task].name);
            self.fail(Invariant::Slice, text);
        }
    }

    /// `set_next_task_scx()`: the task has the CPU.
    pub(super) fn set_running(&mut self, cpu: usize, task: usize) {
        self.cpus[cpu].accounted_at = self.now;
        self.tasks[task].place = Place::Cpu(cpu);
        let address = self.tasks[task].sys.address();
        let here = self.this_cpu;
        self.enter(here, || {
            // SAFETY: inside enter(), with a runnable task that belongs to the CPU.
            unsafe { ffi::sim_running(address) }
        });
    }

    /// The program on `sched_switch`. The agent loads it where there is another CPU.
    fn tell_switch(&mut self, cpu: usize, previous: Current) {
        if self.cpus.len() == 1 {
            return;
        }
        let before = match previous {
            Current::Task(task) => self.tasks[task].sys.address(),
            _ => self.idle_task.address(),
        };
        let next = if self.cpus[cpu].is_stopped {
            self.stopper_task.address()
        } else {
            self.realtime_task.address()
        };
        self.enter(cpu, || {
            // SAFETY: inside enter(); both live as long as we do.
            unsafe { ffi::sim_sched_switch(before, next) }
        });
    }

    /// `update_curr_scx()`: accounts for the time of the task that runs.
    pub(super) fn account(&mut self, cpu: usize) {
        let now = self.now;
        let this = &mut self.cpus[cpu];
        let ran_ns = now - this.accounted_at;
        match this.current {
            Current::Task(task) => {
                this.accounted_at = now;
                let task = &mut self.tasks[task];
                task.ran_ns += ran_ns;
                let slice_ns = task.sys.slice_ns();
                task.sys.set_slice_ns(slice_ns - slice_ns.min(ran_ns));
            }
            Current::Higher => {
                this.accounted_at = now;
                this.higher_ns += ran_ns;
            }
            Current::Idle => {}
        }
    }

    /// The CPU has left idle: its ticks come again, at the times that are its own.
    fn start_ticks(&mut self, cpu: usize) {
        let this: &mut Cpu = &mut self.cpus[cpu];
        this.tick_id += 1;
        let id = this.tick_id;
        let since = (self.now + TICK_NS - this.tick_phase_ns) % TICK_NS;
        self.events
            .add(self.now + TICK_NS - since, Event::Tick { cpu, id });
    }

    /// The running task works until it is done.
    pub(super) fn resume_work(&mut self, cpu: usize) {
        let Current::Task(task) = self.cpus[cpu].current else {
            return;
        };
        let this = &mut self.cpus[cpu];
        this.works_from = this.works_from.max(self.now);
        this.work_id += 1;
        let id = this.work_id;
        let at = this.works_from + self.tasks[task].left_ns;
        self.events.add(at, Event::Done { cpu, id });
    }

    /// The running task has worked until now.
    pub(super) fn pause_work(&mut self, cpu: usize) {
        let Current::Task(task) = self.cpus[cpu].current else {
            return;
        };
        let this = &mut self.cpus[cpu];
        let worked_ns = self.now.saturating_sub(this.works_from);
        this.works_from = this.works_from.max(self.now);
        this.work_id += 1;
        let task = &mut self.tasks[task];
        task.left_ns -= task.left_ns.min(worked_ns);
    }

    /// Something else takes the CPU for so long: the running task is done later.
    pub(super) fn charge(&mut self, cpu: usize, ns: u64) {
        if let Current::Task(_) = self.cpus[cpu].current {
            self.pause_work(cpu);
            self.cpus[cpu].works_from += ns;
            self.resume_work(cpu);
        }
    }
}
