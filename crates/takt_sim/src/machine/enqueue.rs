//! Enqueueing, dequeueing, and moves between dispatch queues: kernel/sched/ext/ext.c.

use super::{Current, Machine, ffi};
use crate::dsq::{Dsq, LOCAL, LOCAL_ON};
use crate::task::Place;
use crate::violation::Invariant;

/// `SCX_ENQ_HEAD`.
const ENQ_HEAD: u64 = 1 << 16;
/// `SCX_ENQ_PREEMPT`.
const ENQ_PREEMPT: u64 = 1 << 32;
/// `SCX_ENQ_REENQ`.
const ENQ_REENQ: u64 = 1 << 40;

impl Machine<'_> {
    /// `enqueue_task_scx()`: a task becomes runnable, or stays so after a change.
    pub(super) fn enqueue(&mut self, task: usize, enq_flags: u64) {
        let queued = self.policy.numbers.scx_queued;
        if self.tasks[task].is_queued(queued) {
            return;
        }
        let flags = self.tasks[task].sys.scx_flags();
        self.tasks[task].sys.set_scx_flags(flags | queued);
        let runs = self.cpus[self.tasks[task].cpu()].current == Current::Task(task);
        if !runs {
            self.begin_wait(task);
        }
        self.do_enqueue(task, enq_flags, runs);
    }

    /// `do_enqueue_task()`. A task that runs goes to the local queue, as `set_next_task()` follows.
    pub(super) fn do_enqueue(&mut self, task: usize, enq_flags: u64, runs: bool) {
        self.tasks[task].place = Place::Lost;
        if runs {
            self.insert_local(self.tasks[task].cpu(), task, enq_flags);
            return;
        }
        if self.tasks[task].direct.is_none() {
            let address = self.tasks[task].sys.address();
            let here = self.this_cpu;
            self.direct_task = Some(task);
            self.enter(here, || {
                // SAFETY: inside enter(), with a task that is being enqueued.
                unsafe { ffi::sim_enqueue(address, enq_flags) }
            });
            self.direct_task = None;
        }
        if self.tasks[task].direct.is_some() {
            self.insert_directly(task, enq_flags);
        } else {
            let text = format!("{} was enqueued and is in no queue", self.tasks[task].name);
            self.fail(Invariant::OnePlace, text);
        }
    }

    /// `direct_dispatch()`.
    fn insert_directly(&mut self, task: usize, enq_flags: u64) {
        let Some((dsq, flags)) = self.tasks[task].direct.take() else {
            return;
        };
        let own = self.tasks[task].cpu();
        let Some(cpu) = self.local_cpu(dsq, own) else {
            self.insert_ordered(dsq, task);
            return;
        };
        if cpu == own {
            self.insert_local(cpu, task, flags | enq_flags);
            return;
        }
        self.tasks[task].direct = Some((dsq, flags | enq_flags));
        self.tasks[task].place = Place::Deferred;
        self.cpus[own].deferred.push_back(task);
        self.deferred_cpus.push(own);
    }

    /// Whose local queue this is, of a task or CPU of `own`; none: it is no local queue.
    pub(super) fn local_cpu(&self, dsq: u64, own: usize) -> Option<usize> {
        if dsq == LOCAL {
            Some(own)
        } else if dsq & LOCAL_ON == LOCAL_ON {
            Some((dsq & 0xffff_ffff) as usize)
        } else {
            None
        }
    }

    /// Puts a task into a queue of the policy, by its `dsq_vtime`.
    pub(super) fn insert_ordered(&mut self, dsq: u64, task: usize) {
        let vtime = self.tasks[task].sys.dsq_vtime();
        let Some(queue) = self.dsq_mut(dsq) else {
            self.fail(Invariant::NoError, format!("there is no queue {dsq:#x}"));
            return;
        };
        queue.insert_ordered(task, vtime);
        self.tasks[task].place = Place::Queue(dsq);
        self.mix(dsq);
        self.say(|m| format!("{} waits in queue {dsq}", m.tasks[task].name));
    }

    /// Puts a task into the local queue of its CPU: `dispatch_enqueue()`, `local_dsq_post_enq()`.
    pub(super) fn insert_local(&mut self, cpu: usize, task: usize, enq_flags: u64) {
        let at_head = enq_flags & (ENQ_HEAD | ENQ_PREEMPT) != 0;
        self.cpus[cpu].local.insert(task, at_head);
        self.tasks[task].place = Place::Local(cpu);
        self.say(|m| {
            let how = match (enq_flags & ENQ_PREEMPT != 0, at_head) {
                (true, _) => ", preempting",
                (false, true) => ", at the head",
                (false, false) => "",
            };
            format!(
                "{} in the local queue of CPU {cpu}{how}",
                m.tasks[task].name
            )
        });
        if self.cpus[cpu].in_dispatch {
            return;
        }
        let here = self.this_cpu;
        match self.cpus[cpu].current {
            Current::Task(other) if enq_flags & ENQ_PREEMPT != 0 && other != task => {
                self.account(cpu);
                self.tasks[other].sys.set_slice_ns(0);
                self.reschedule(cpu, here);
            }
            Current::Idle => self.reschedule(cpu, here),
            _ => {}
        }
    }

    /// `dequeue_task_scx()`: a task sleeps, or an attribute of it is changed.
    pub(super) fn dequeue(&mut self, task: usize, sleeps: bool) {
        let queued = self.policy.numbers.scx_queued;
        if !self.tasks[task].is_queued(queued) {
            return;
        }
        let cpu = self.tasks[task].cpu();
        let runs = self.cpus[cpu].current == Current::Task(task);
        if runs {
            self.account(cpu);
            self.stopping(cpu, task, false);
        }
        let flags = self.tasks[task].sys.scx_flags();
        self.tasks[task].sys.set_scx_flags(flags & !queued);
        if let Place::Queue(dsq) = self.tasks[task].place {
            self.taken_out[dsq as usize] += 1;
        }
        self.unlink(task);
        self.tasks[task].direct = None;
        if runs && !sleeps {
            self.tasks[task].place = Place::Cpu(cpu);
        }
    }

    /// Takes a task out of where it waits.
    fn unlink(&mut self, task: usize) {
        match self.tasks[task].place {
            Place::Local(cpu) => {
                self.cpus[cpu].local.remove(task);
            }
            Place::Queue(dsq) => {
                if let Some(queue) = self.dsq_mut(dsq) {
                    queue.remove(task);
                }
            }
            Place::Deferred => {
                let cpu = self.tasks[task].cpu();
                self.cpus[cpu].deferred.retain(|&other| other != task);
            }
            Place::Cpu(_) | Place::Off | Place::Lost => {}
        }
        self.tasks[task].place = Place::Off;
    }

    /// `task_can_run_on_remote_rq()`, of a task of another CPU.
    fn may_move(&self, task: usize, cpu: usize) -> bool {
        cpu < self.cpus.len() && self.tasks[task].mask.has(cpu)
    }

    /// `move_task_between_dsqs()`, `consume_dispatch_q()`: to the local queue of a CPU.
    fn move_to_cpu(&mut self, task: usize, cpu: usize, enq_flags: u64) {
        self.unlink(task);
        self.tasks[task].sys.set_cpu(cpu as i32);
        self.insert_local(cpu, task, enq_flags);
    }

    /// `scx_bpf_dsq_move_to_local()`: walks past tasks that may not run here.
    pub(super) fn take_first_of(&mut self, dsq: u64, enq_flags: u64) -> bool {
        let cpu = self.this_cpu;
        let Some(queue) = self.dsq(dsq) else {
            return false;
        };
        let found = queue
            .iter()
            .map(|entry| entry.task)
            .find(|&task| self.tasks[task].cpu() == cpu || self.may_move(task, cpu));
        if let Some(task) = found {
            self.move_to_cpu(task, cpu, enq_flags);
        }
        found.is_some()
    }

    /// `scx_bpf_dsq_move()` and `scx_bpf_dsq_move_vtime()`, of a task that waits in `from`.
    pub(super) fn move_to(&mut self, task: usize, from: u64, to: u64, enq_flags: u64) -> bool {
        if self.tasks[task].place != Place::Queue(from) {
            return false;
        }
        let Some(cpu) = self.local_cpu(to, self.this_cpu) else {
            self.unlink(task);
            self.insert_ordered(to, task);
            return true;
        };
        if self.tasks[task].cpu() != cpu && !self.may_move(task, cpu) {
            let text = format!("{} moved to CPU {cpu}", self.tasks[task].name);
            self.fail(Invariant::AllowedCpu, text);
            return false;
        }
        self.move_to_cpu(task, cpu, enq_flags);
        true
    }

    /// What waits until the run queue of a CPU is unlocked: `run_deferred()`.
    pub(super) fn run_deferred(&mut self, cpu: usize) {
        let before = std::mem::replace(&mut self.this_cpu, cpu);
        while let Some(task) = self.cpus[cpu].deferred.pop_front() {
            let Some((dsq, flags)) = self.tasks[task].direct.take() else {
                continue;
            };
            let to = self.local_cpu(dsq, cpu).unwrap_or(cpu);
            if to != cpu && !self.may_move(task, to) {
                let text = format!(
                    "{} inserted on CPU {to}, and may use {}",
                    self.tasks[task].name, self.tasks[task].mask
                );
                self.fail(Invariant::AllowedCpu, text);
                break;
            }
            self.tasks[task].sys.set_cpu(to as i32);
            self.insert_local(to, task, flags);
        }
        if std::mem::take(&mut self.cpus[cpu].reenqueue) {
            let local: Vec<usize> = self.cpus[cpu].local.iter().map(|e| e.task).collect();
            for &task in &local {
                self.unlink(task);
            }
            for task in local {
                self.do_enqueue(task, ENQ_REENQ, false);
            }
        }
        self.this_cpu = before;
    }

    /// The same, of all CPUs that have such.
    pub(super) fn run_all_deferred(&mut self) {
        while let Some(cpu) = self.deferred_cpus.pop() {
            self.run_deferred(cpu);
        }
    }

    /// A queue of the policy.
    pub(super) fn dsq(&self, dsq: u64) -> Option<&Dsq> {
        self.dsqs.get(dsq as usize)?.as_ref()
    }

    fn dsq_mut(&mut self, dsq: u64) -> Option<&mut Dsq> {
        self.dsqs.get_mut(dsq as usize)?.as_mut()
    }

    /// A task begins to wait for a CPU.
    pub(super) fn begin_wait(&mut self, task: usize) {
        let now = self.now;
        let task = &mut self.tasks[task];
        if task.waits_since.is_none() {
            task.waits_since = Some(now);
            task.may_run_since = now;
        }
    }

    /// A task has waited: returns for how long, ns.
    pub(super) fn end_wait(&mut self, task: usize) -> u64 {
        let now = self.now;
        let this = &mut self.tasks[task];
        let waited_ns = this.waits_since.take().map_or(0, |since| now - since);
        this.longest_wait_ns = this.longest_wait_ns.max(waited_ns);
        self.check_wait(task, waited_ns);
        waited_ns
    }
}
