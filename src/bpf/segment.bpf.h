/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A run segment: a task runs on a CPU from takt_running(), or from the end of a slice, to
 * takt_stopping(), or to the end of the next one. What its begin and its end do to the records of
 * the task and of the CPU.
 *
 * All are called under the rq lock of that CPU. Within takt_dispatch(), scx_bpf_dsq_move() and
 * scx_bpf_dsq_move_to_local() may drop it for a moment, to lock the run queue that a task comes
 * from. Then another CPU may change an attribute of @prev: takt_stopping() and takt_running() end
 * its segment and begin another; if @prev has left our class, none begins. The records are whole
 * again before the lock is back. What follows here only begins a slice; at worst nothing uses it.
 */
#ifndef TAKT_SEGMENT_BPF_H
#define TAKT_SEGMENT_BPF_H

#include "capacity.bpf.h"
#include "cgroup.bpf.h"
#include "deadline.bpf.h"
#include "event.bpf.h"
#include "handoff.bpf.h"
#include "queue.bpf.h"
#include "rules.bpf.h"
#include "run_length.bpf.h"
#include "task.bpf.h"
#include "throttle.bpf.h"
#include "wakeup.bpf.h"
#include "run_length.h"
#include "vtime.h"

/* A switch from one task to the next takes less, on every machine that we know. */
#define SWITCH_MAX_NS 5000

/*
 * When the segment of the task that gets the CPU of @c begins: where the last one ended, if that
 * task gets the CPU from another one of ours. What lies in between, the rest of schedule(), belongs
 * to no other task: left out, two tasks that pass a turn by sched_yield() had 0.74 of a CPU beside
 * one that computes, instead of 0.67. A higher class, or none, that had the CPU for less than
 * SWITCH_MAX_NS cannot be distinguished.
 */
static __always_inline u64 segment_begin(const struct cpu_ctx *c, u64 now)
{
	return elapsed_ns(c->stopped_at, now) < SWITCH_MAX_NS ? c->stopped_at : now;
}

/* @t, accounted for until @now, starts to run on @c or continues: a new segment begins. */
static __always_inline void start_segment(struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	c->weight_1024 = t->weight_1024;
	c->vruntime = t->vruntime;
	c->queue = t->queue;
	c->runtime_ns = t->runtime_ns;
	c->started_at = now;
}

/*
 * The run segment that began at c->started_at is over, or goes on from here: accounts for it.
 * Returns its length in ns.
 */
static __always_inline u64 account_runtime(s32 cpu, struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	u64 ran_ns = elapsed_ns(c->started_at, now), given = READ_ONCE(c->given);

	t->slice_left_ns = c->slice_ns > ran_ns ? c->slice_ns - ran_ns : 0;
	t->vruntime = c->vruntime + delta_vruntime(ran_ns, c->weight_1024);
	if (given) {
		t->vruntime += given >> 32 == (u32)c->pid ? (u32)given : 0;
		WRITE_ONCE(c->given, 0);
	}
	t->runtime_ns = c->runtime_ns + ran_ns;
	if (limits_used)
		charge_running(limit_of(t), cpu, now);
	c->unclocked_ns += ran_ns;
	if (c->unclocked_ns >= CLOCK_GRAIN_NS)
		update_clocks(cpu, t, nr_waiting(cpu), now);
	return ran_ns;
}

/* @prev continues on @cpu with a new slice. */
static __always_inline void continue_current(s32 cpu, struct cpu_ctx *c, struct task_struct *prev,
					     struct task_ctx *t, const struct takt_tunables *k)
{
	c->slice_ns = slice_for(nr_waiting(cpu), c->weight_1024, k);
	if (limits_used)
		c->slice_ns = limited_slice(limit_of(t), c->slice_ns, scx_bpf_now());
	c->served_at = c->started_at;
	t->slice_origin = c->started_at - t->runtime_ns;
	set_protection(c, t, c->started_at, k);
	scx_bpf_task_set_slice(prev, c->slice_ns);
}

/*
 * An attribute of @t was changed while it ran on @c: the kernel took it off the CPU and puts it
 * back, in one critical section of its run queue. Nothing has come to an end but the segment: what
 * it has run since it woke, its slice, and the task that was placed to run next all stay. If it
 * seemed to sleep (its state was set, but it had not yet called schedule()), it did not: its
 * runtime is given back; what note_sleep() has made of its estimate and waker profile stays.
 */
static __always_inline void resume_segment(struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	t->may_stop = false;
	if (!t->runtime_ns)
		t->runtime_ns = t->slept_after_ns;
	if (c->placed_in == PLACED_BEFORE_CHANGE)
		c->placed_in = now;
}

/* @p, which has waited, gets the CPU of @c. */
static __always_inline void note_running(struct task_struct *p, struct task_ctx *t,
					 struct cpu_ctx *c, u64 now, const struct takt_tunables *k)
{
	if (stats_watched)
		note_wait(p, now, waited_ns(t, now), c->pid);
	if (wakeups_watched && !is_agent(p))
		count_wakeup_latency(t, now);
	back_off_handoff(t, now, k);
	t->ready_at = 0;
	c->woken_by = t->woken_by;
	c->nr_woke = 0;
	c->pulled = false;
	c->yields = false;
	if (c->parked_pid == p->pid)
		c->parked_pid = 0;
}

/* @p, that ran on @c, has left it for another, and resumes there next. */
static __always_inline void note_parked(const struct task_struct *p, const struct task_ctx *t,
					struct cpu_ctx *c)
{
	c->parked_pid = p->pid;
	c->parked_at_us = t->ready_at >> 10;
	c->parked_is_short = c->is_short;
}

/*
 * A runnable task that leaves its CPU with some of its slice unused is put in front of the CPU's
 * local queue by the kernel itself (put_prev_task_scx() in kernel/sched/ext.c). A preemption takes
 * the slice; a task that is to resume next gets it back, and so keeps its place without a call of
 * takt_enqueue().
 */
static __always_inline void park_current(struct task_struct *p, const struct task_ctx *t,
					 struct cpu_ctx *c)
{
	if (!t->slice_left_ns || is_background(t))
		return;
	note_parked(p, t, c);
	scx_bpf_task_set_slice(p, t->slice_left_ns);
}

/* @t, that ran on @c, goes to sleep. */
static __always_inline void note_sleep(struct task_struct *p, struct task_ctx *t, struct cpu_ctx *c,
				       u64 now)
{
	const struct takt_tunables *k = tunables_now();

	count_weight(t, 0, now);
	cancel_big(p, c);
	update_waker_profile(c, now, k);
	update_run_estimate(t, k);
	if (nr_cpus_at_start > 1)
		t->slept_at = now;
	t->slept_after_ns = t->runtime_ns;
	t->may_stop = p->__state & TASK_INTERRUPTIBLE;
	t->runtime_ns = 0;
	t->slice_left_ns = 0;
}

/* @nr_queued tasks wait for the CPU of @p: makes its slice a shorter one. */
static __always_inline void shrink_slice(struct task_struct *p, struct cpu_ctx *c, u32 nr_queued)
{
	u64 slice_ns = slice_for(nr_queued, c->weight_1024, tunables_now());
	u64 used_ns = c->slice_ns - min_u64(p->scx.slice, c->slice_ns);

	if (slice_ns >= c->slice_ns)
		return;
	scx_bpf_task_set_slice(p, slice_ns - min_u64(used_ns, slice_ns));
	c->slice_ns = slice_ns;
}

enum next {
	NEXT_UNDECIDED,
	NEXT_CURRENT, /* the current task continues */
	NEXT_TAKEN,   /* another is in the local DSQ */
};

/*
 * The slice of @prev, which is runnable, is over: it continues unless a waiting task has an earlier
 * deadline, which then is taken. Accounts for @prev in each case, unless it is to migrate.
 */
static enum next end_slice(s32 cpu, struct task_struct *prev)
{
	const struct takt_tunables *k = tunables_now();
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = task_ctx_of(prev);
	struct queue_head head = earliest_for(cpu);
	u64 now = scx_bpf_now(), deadline;
	bool within_run, is_later;

	if (!t || !c->started_at || is_migrating_to_big(prev, c))
		return NEXT_UNDECIDED;
	account_runtime(cpu, c, t, now);
	reweight(prev, t);
	within_run = is_within_run(t, c);
	t->slice_left_ns = 0;
	start_segment(c, t, now);
	c->slice_ns = 0;
	if (head.deadline == NO_DEADLINE) {
		catch_up_v(t, k);
	} else if (!within_run) {
		deadline = deadline_of(t, c->weight_1024, now);
		is_later = (s64)(deadline - head.deadline) > 0;
		if (is_later && nr_cpus_at_start == 1)
			return NEXT_UNDECIDED; /* take_first() costs less */
		if (is_later && take_before(cpu, head.queue, deadline))
			return NEXT_TAKEN;
	}
	c->vruntime = t->vruntime;
	continue_current(cpu, c, prev, t, k);
	return NEXT_CURRENT;
}

/* No other task could be taken: @prev continues. It is accounted for already unless it @yielded. */
static __noinline void continue_alone(s32 cpu, struct cpu_ctx *c, struct task_struct *prev,
				      bool yielded)
{
	const struct takt_tunables *k = tunables_now();
	struct task_ctx *t = task_ctx_of(prev);
	u64 now = scx_bpf_now();

	if (!t || !c->started_at)
		return;
	if (yielded) {
		account_runtime(cpu, c, t, now);
		t->slice_left_ns = 0;
		catch_up_v(t, k);
		start_segment(c, t, now);
	}
	continue_current(cpu, c, prev, t, k);
}

#endif /* TAKT_SEGMENT_BPF_H */
