/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lag and deadlines of tasks in the queues of this machine: the formulas of vtime.h, applied to
 * tasks that change queues, wake, fork, and share CPUs with tasks of other queues.
 */
#ifndef TAKT_DEADLINE_BPF_H
#define TAKT_DEADLINE_BPF_H

#include "cgroup.bpf.h"
#include "rules.bpf.h"
#include "vtime.h"

/* Is this the queue of tasks that may not use every CPU? */
static __always_inline bool is_bound_queue(u32 queue)
{
	return nr_cpus_at_start > 1 && queue >= TAKT_QUEUE_DOMAINS;
}

/*
 * How far the tasks of a bound queue of V @v are behind those of its LLC, as a whole: what makes
 * queues that share a CPU fair to each other. Limited to lag_max_ns: tasks that may use only CPUs
 * with more or less work than others fall behind, or run ahead, for ever. Then the CPUs that they
 * share serve the slower queue first, which is max-min fairness.
 */
static __always_inline s64 queue_lag_ns(const struct queue_ctx *q, u64 v)
{
	s64 lag = avg_vruntime(queue_ctx_of(q->llc)) - v - READ_ONCE(q->offset);

	return clamp_s64(lag, READ_ONCE(q->lag_max_ns));
}

/* Lag of a task of @vruntime in @queue: comparable with that of tasks of other queues. */
static __always_inline s64 lag_in(u32 queue, u64 vruntime)
{
	const struct queue_ctx *q = queue_ctx_of(queue);
	u64 v = avg_vruntime(q);
	s64 lag = v - vruntime;

	return is_bound_queue(queue) ? lag + queue_lag_ns(q, v) : lag;
}

static __always_inline s64 lag_of(const struct task_ctx *t)
{
	return lag_in(t->queue, t->vruntime);
}

/*
 * @p may have another weight: keeps negative lag * weight, as EEVDF's reweight_entity() does;
 * positive lag stays, as lag_max and LAG_CAP limit it. The weight changes with a nice value, a
 * rule, a cgroup's weight, and each task that comes to a cgroup or leaves it. (Else a task that
 * came out of a cgroup of weight 1 would have next to nothing for 100 times as long as it ran
 * there.)
 */
static __always_inline void reweight(const struct task_struct *p, struct task_ctx *t)
{
	u64 weight_1024 = weight_1024_of(p, t), v;
	s64 beyond;

	if (t->weight_1024 == weight_1024)
		return;
	v = avg_vruntime(queue_ctx_of(t->queue));
	beyond = t->vruntime - v;
	if (beyond > 0)
		t->vruntime = v + rescale(beyond, t->weight_1024, weight_1024);
	t->weight_1024 = weight_1024;
}

/*
 * @queue is the queue of @t from now on. Rebases its vruntime to V of @queue, so that it keeps its
 * lag: all of it, or a task that goes back and forth between two sets of CPUs would leave behind
 * what it owes.
 */
static __always_inline void move_to_queue(struct task_ctx *t, u32 queue)
{
	const struct queue_ctx *q = queue_ctx_of(queue);
	s64 lag;
	u64 v;

	if (nr_cpus_at_start == 1 || t->queue == queue) /* with one CPU there is one queue */
		return;
	lag = lag_of(t);
	v = avg_vruntime(q);
	if (is_bound_queue(queue))
		lag -= queue_lag_ns(q, v);
	t->vruntime = v - lag;
	t->queue = queue;
}

/*
 * @t, which slept, changes to @queue. V of a queue stands still while none of its tasks run. So @t
 * is given as lag the time since its old queue stood still, in which it might have run there.
 * Otherwise it would begin with negative lag in a queue whose tasks have had less than those of the
 * LLC, however long it slept: a task that a new mask moved from an idle LLC to a CPU with three
 * CPU-bound tasks had to wait 14 ms.
 */
static __always_inline void move_woken_to_queue(struct task_ctx *t, u32 queue, u64 now)
{
	u64 moved_at, stood_ns;

	if (nr_cpus_at_start == 1 || t->queue == queue)
		return;
	moved_at = READ_ONCE(queue_ctx_of(t->queue)->moved_at);
	stood_ns = elapsed_ns(max_u64(moved_at, t->slept_at), now);
	t->vruntime -= min_u64(stood_ns, LAG_CAP_NS);
	move_to_queue(t, queue);
}

/* By how much the lag of @t exceeds that of a task of @vruntime in @queue. */
static __always_inline s64 lag_beyond(const struct task_ctx *t, u32 queue, u64 vruntime)
{
	if (nr_cpus_at_start == 1 || t->queue == queue)
		return vruntime - t->vruntime;
	return lag_of(t) - lag_in(queue, vruntime);
}

/* Has @t had clearly more than its share? */
static __always_inline bool has_negative_lag(const struct task_ctx *t,
					     const struct takt_tunables *k)
{
	return -lag_of(t) > (s64)k->preempt_margin_ns;
}

/* Has @t had clearly less than its share? */
static __always_inline bool has_positive_lag(const struct task_ctx *t,
					     const struct takt_tunables *k)
{
	return lag_of(t) > (s64)k->lag_max_ns / 2;
}

/* @t, of a queue of V @v, keeps its lag up to lag_max. */
static __always_inline void clamp_lag(struct task_ctx *t, u64 v, const struct takt_tunables *k)
{
	u64 oldest = v - (k->lag_max_ns << is_urgent(t));

	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

/* What a task that wakes brings along. */
static __always_inline void clamp_wakeup_lag(struct task_ctx *t, const struct takt_tunables *k)
{
	clamp_lag(t, avg_vruntime(queue_ctx_of(t->queue)), k);
}

/*
 * The current task starts another. If its positive lag is KEPT_LAG_NS at most, all of it goes to
 * the child, which does its work; otherwise none of it does. The parent does not keep what it
 * gives, so that starting many children gains nothing.
 *
 * Runs in process context, and may be preempted at any point where preemption is enabled. It cannot
 * migrate: the kernel enters such a program with migration disabled, or, from 6.18 on without
 * preemptible RCU, with preemption disabled. So what is given stands in the record of the CPU as
 * one word together with the pid that gives: account_runtime() accounts it to that task only. At
 * worst it is lost with another task's, and the parent keeps its lag.
 */
static __always_inline void transfer_lag_to_child(struct task_ctx *child)
{
	struct cpu_ctx *c = cpu_ctx_of(bpf_get_smp_processor_id());
	u64 now = scx_bpf_now(), started_at = READ_ONCE(c->started_at);
	u32 pid = bpf_get_current_pid_tgid();
	u64 given = READ_ONCE(c->given);
	s64 lag;

	if (!policy_enabled(FORK_LAG) || !started_at || READ_ONCE(c->pid) != (s32)pid)
		return;
	given = given >> 32 == pid ? (u32)given : 0;
	lag = avg_vruntime(queue_ctx_of(c->queue)) - READ_ONCE(c->vruntime) - given -
	      delta_vruntime(now - started_at, c->weight_1024);
	if (lag <= 0 || lag > KEPT_LAG_NS)
		return;
	child->kept_lag_ns = lag;
	WRITE_ONCE(c->given, (u64)pid << 32 | (u32)(given + lag));
}

/* The deadline of @t, which is queued now. Global, so that the verifier looks at it once per
 * program. */
__noinline u64 deadline_of(const struct task_ctx *t, u64 weight_1024, u64 now)
{
	const struct takt_tunables *k = tunables_now();
	const struct queue_ctx *q;
	s64 wait;
	u64 v;

	if (!t)
		return now;
	q = queue_ctx_of(t->queue);
	v = avg_vruntime(q);
	wait = wait_for(v - t->vruntime, q);
	if (is_bound_queue(t->queue)) /* the queue as a whole waits for its LLC */
		wait += wait_for(queue_lag_ns(q, v), queue_ctx_of(q->llc));
	return now + ruled_wait(t, clamp_wait(wait, t, weight_1024, q, k), k);
}

/*
 * @t of a bound queue has run on the CPU of @c, whose LLC has V @here: moves the clock of the
 * queue. Returns what the vruntime at which it began is in the clock of that LLC. The bound queue
 * is never further away from its own LLC than two segments of its tasks: what is beyond goes into
 * the offset, for good.
 */
static __always_inline u64 update_bound_vtime(const struct task_ctx *t, u64 here,
					      const struct cpu_ctx *c, u64 now,
					      const struct takt_tunables *k)
{
	u64 v = c->vruntime;
	u32 queue = t->queue;
	struct queue_ctx *q = queue_ctx_of(queue);
	u64 reference = avg_vruntime(queue_ctx_of(q->llc));
	u64 lag_max_ns, offset;
	s64 lag;

	update_vtime(q, nr_queued_in(queue), v, t, c->weight_1024, c->unclocked_ns, now, k);
	lag_max_ns = READ_ONCE(q->lag_max_ns);
	offset = READ_ONCE(q->offset);
	lag_max_ns =
		max_u64(lag_max_ns - lag_max_ns / 8,
			min_u64(2 * delta_vruntime(SEGMENT_MAX_NS, c->weight_1024), WAIT_FAR_NS));
	lag = reference - avg_vruntime(q) - offset;
	offset += lag - clamp_s64(lag, lag_max_ns);
	WRITE_ONCE(q->lag_max_ns, lag_max_ns);
	WRITE_ONCE(q->offset, offset);
	return here + (v + offset - reference); /* two LLCs have clocks of their own */
}

/*
 * No task waits, so @t, which runs, takes nothing from any other. It gets no lag by that: if its
 * lag is negative, V moves up to its vruntime. Positive lag stays, up to lag_max.
 */
static __always_inline void catch_up_v(struct task_ctx *t, const struct takt_tunables *k)
{
	struct queue_ctx *q = queue_ctx_of(t->queue);
	u64 v = avg_vruntime(q);

	if ((s64)(t->vruntime - v) > 0)
		q->avg_vruntime = t->vruntime; /* one word: see queue_ctx */
	else
		clamp_lag(t, v, k);
}

/*
 * Moves the clocks on for the time that has gathered on @cpu, where @t has run last. Global, so
 * that the verifier looks at it once per program.
 */
__noinline int update_clocks(s32 cpu, struct task_ctx *t, u32 nr_waiting, u64 now)
{
	const struct takt_tunables *k = tunables_now();
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct queue_ctx *q = queue_ctx_of(llc_of(cpu));
	u64 v = c->vruntime, oldest;

	if (!t)
		return 0;
	if (is_bound_queue(t->queue))
		v = update_bound_vtime(t, avg_vruntime(q), c, now, k);
	update_vtime(q, nr_waiting, v, t, c->weight_1024, c->unclocked_ns, now, k);
	c->busy_ns += c->unclocked_ns;
	c->unclocked_ns = 0;
	oldest = avg_vruntime(queue_ctx_of(t->queue)) - LAG_CAP_NS;
	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
	return 0;
}

#endif /* TAKT_DEADLINE_BPF_H */
