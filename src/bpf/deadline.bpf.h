/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lag and deadlines of tasks in the queues of this machine: the formulas of vtime.h, applied to
 * tasks that change queues, wake, fork, and share CPUs with tasks of other queues.
 */
#ifndef TAKT_DEADLINE_BPF_H
#define TAKT_DEADLINE_BPF_H

#include "run_length.bpf.h"
#include "vtime.h"

/* Is this the queue of tasks that may not use every CPU? */
static __always_inline bool is_bound_queue(u32 queue)
{
	return nr_cpus_at_start > 1 && queue >= TAKT_QUEUE_DOMAINS;
}

/*
 * How far the tasks of a bound queue are behind those of its LLC, as a whole: what makes queues
 * that share a CPU fair to each other. Bounded, since tasks bound to CPUs with more or less work
 * than others fall behind, or run ahead, for ever: then the CPUs that they share serve the slower
 * queue first, which is max-min fairness.
 */
static __always_inline s64 queue_lag_ns(const struct queue_ctx *q)
{
	s64 lag = queue_ctx_of(q->llc)->avg_vruntime - q->avg_vruntime - q->offset;

	return clamp_s64(lag, q->lag_max_ns);
}

/* @t waits in @queue from now on, until it runs: uncount_queued(). */
static __always_inline void count_queued(struct task_ctx *t, u32 queue, u64 weight_1024)
{
	struct queue_ctx *q = queue_ctx_of(queue);

	t->queued_weight_1024 = weight_1024;
	t->queued_in = queue;
	if (nr_cpus_at_start == 1)
		q->queued_weight_1024 += t->queued_weight_1024;
	else
		__sync_fetch_and_add(&q->queued_weight_1024, t->queued_weight_1024);
}

/* @t waits in no queue any longer. */
static __always_inline void uncount_queued(struct task_ctx *t)
{
	struct queue_ctx *q = queue_ctx_of(t->queued_in);

	if (!t->queued_weight_1024)
		return;
	if (nr_cpus_at_start == 1)
		q->queued_weight_1024 -= t->queued_weight_1024;
	else
		__sync_fetch_and_sub(&q->queued_weight_1024, t->queued_weight_1024);
	t->queued_weight_1024 = 0;
}

/* Lag of a task of @vruntime in @queue: comparable with that of tasks of other queues. */
static __always_inline s64 lag_in(u32 queue, u64 vruntime)
{
	const struct queue_ctx *q = queue_ctx_of(queue);
	s64 lag = q->avg_vruntime - vruntime;

	return is_bound_queue(queue) ? lag + queue_lag_ns(q) : lag;
}

static __always_inline s64 lag_of(const struct task_ctx *t)
{
	return lag_in(t->queue, t->vruntime);
}

/*
 * A task comes to bound @queue. If the queue was empty, it has no claim: it does not begin behind
 * its LLC. Else a task that pins itself from CPU to CPU would have lag in each of the queues that
 * it leaves, or the bound of queue_lag_ns() would hide from it how V of the LLC moves as it waits.
 * That the queue of a domain was empty is inferred from what is beyond that bound.
 */
static __always_inline void resume_queue(u32 queue)
{
	struct queue_ctx *q = queue_ctx_of(queue);
	s64 lag = queue_ctx_of(q->llc)->avg_vruntime - q->avg_vruntime - q->offset;
	const struct cpu_ctx *c = cpu_ctx_of(queue - TAKT_QUEUE_CPUS);
	bool is_empty = lag > 2 * (s64)q->lag_max_ns;

	if (queue >= TAKT_QUEUE_CPUS)
		is_empty = !q->nr_queued && !(c->started_at && c->queue == queue);
	if (is_empty && lag > 0)
		q->offset += lag;
}

/*
 * Moves @t into the clock of @queue, with its lag: all of it, or a task that goes back and forth
 * between two sets of CPUs would leave behind what it owes.
 */
static __always_inline void rebase_vruntime(struct task_ctx *t, u32 queue)
{
	const struct queue_ctx *q = queue_ctx_of(queue);
	s64 lag;

	if (nr_cpus_at_start == 1 || t->queue == queue) /* with one CPU there is one queue */
		return;
	lag = lag_of(t);
	if (is_bound_queue(queue)) {
		resume_queue(queue);
		lag -= queue_lag_ns(q);
	}
	t->vruntime = q->avg_vruntime - lag;
	t->queue = queue;
}

/*
 * @t, which slept, changes to @queue, with its lag among the tasks of its old queue, as in EEVDF.
 * That of the queues stays out: a task that a new mask moved to a CPU with three CPU-bound tasks,
 * which fall behind for ever, had to wait 14 ms. V of a queue stands still while none of its tasks
 * run, so that negative lag is made up for by the time since.
 */
static __always_inline void rebase_woken(struct task_ctx *t, u32 queue, u64 now)
{
	u64 stood_ns;
	s64 lag;

	if (nr_cpus_at_start == 1 || t->queue == queue)
		return;
	stood_ns = elapsed_ns(max_u64(queue_ctx_of(t->queue)->moved_at, t->slept_at), now);
	lag = queue_ctx_of(t->queue)->avg_vruntime - t->vruntime;
	if (lag < 0)
		lag = min_s64(lag + min_u64(stood_ns, LAG_CAP_NS), 0);
	if (is_bound_queue(queue))
		resume_queue(queue);
	t->vruntime = queue_ctx_of(queue)->avg_vruntime - lag;
	t->queue = queue;
}

/* By how much the lag of @t, with its bonus, exceeds that of a task of @vruntime in @queue. */
static __always_inline s64 lag_beyond(const struct task_ctx *t, u32 queue, u64 vruntime)
{
	if (nr_cpus_at_start == 1 || t->queue == queue)
		return vruntime - t->vruntime + t->wake_bonus_ns;
	return lag_of(t) + t->wake_bonus_ns - lag_in(queue, vruntime);
}

/* Has @t had clearly more than its share? */
static __always_inline bool has_negative_lag(const struct task_ctx *t,
					     const struct takt_tunables *k)
{
	return -lag_of(t) > (s64)k->preempt_margin_ns;
}

/* Has @t had clearly less than its share, or slept? */
static __always_inline bool has_positive_lag(const struct task_ctx *t,
					     const struct takt_tunables *k)
{
	return lag_of(t) + t->wake_bonus_ns > (s64)k->lag_max_ns / 2;
}

/* Bounds the lag of @t by lag_max. */
static __always_inline void clamp_lag(struct task_ctx *t, const struct takt_tunables *k)
{
	u64 lag_max_ns = k->lag_max_ns << is_urgent(t);
	u64 oldest = queue_ctx_of(t->queue)->avg_vruntime - lag_max_ns;

	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

/*
 * @t wakes: what does its sleep do to its lag? Negative lag is made up for, as V moves on; but
 * sleep earns none, as in EEVDF (place_entity()): positive lag is what it was when @t went to
 * sleep, up to lag_max. Tasks that run by turns would each earn the share of a task that runs all
 * the time (four that pass a baton had 0.57 of a CPU beside three that compute).
 *
 * What sleep would earn, up to lag_max, is a bonus where @t may preempt, so that it gets a CPU
 * early, until it runs. It does not count in V, in a deadline or for the share of @t.
 */
static __always_inline void place_woken(struct task_ctx *t, const struct takt_tunables *k)
{
	u64 v = queue_ctx_of(t->queue)->avg_vruntime;
	s64 bonus;

	clamp_lag(t, k);
	bonus = v - min_u64(t->slept_lag_ns, k->lag_max_ns << is_urgent(t)) - t->vruntime;
	t->wake_bonus_ns = bonus > 0 ? bonus : 0;
	t->vruntime += t->wake_bonus_ns;
}

/* The positive lag that @t has now and keeps in its sleep. */
static __always_inline void keep_lag(struct task_ctx *t)
{
	s64 lag = queue_ctx_of(t->queue)->avg_vruntime - t->vruntime;

	t->slept_lag_ns = lag > 0 ? min_u64(lag, KEPT_LAG_NS) : 0;
}

/*
 * The current task starts another: all of its positive lag goes with the child, which does its
 * work; none if that is more than KEPT_LAG_NS. The parent does not keep it as well, so that
 * starting many gains nothing.
 *
 * Runs in process context and may be preempted at any point (but not migrate: the kernel enters
 * such a program with migration disabled). So what is given stands in the record of the CPU as one
 * word together with the pid that gives: account_runtime() charges it to that task only. At worst
 * it is lost with another task's, and the parent keeps its lag.
 */
static __always_inline void transfer_lag_to_child(struct task_ctx *child)
{
	struct cpu_ctx *c = cpu_ctx_of(bpf_get_smp_processor_id());
	u64 now = scx_bpf_now(), started_at = READ_ONCE(c->started_at);
	u32 pid = bpf_get_current_pid_tgid();
	u64 given = READ_ONCE(c->given_lag);
	s64 lag;

	if (!rule_enabled(FORK_LAG) || !started_at || READ_ONCE(c->pid) != (s32)pid)
		return;
	given = given >> 32 == pid ? (u32)given : 0;
	lag = queue_ctx_of(c->queue)->avg_vruntime - READ_ONCE(c->vruntime) - given -
	      delta_vruntime(now - started_at, c->weight_1024);
	if (lag <= 0 || lag > KEPT_LAG_NS)
		return;
	child->kept_lag_ns = lag;
	WRITE_ONCE(c->given_lag, (u64)pid << 32 | (u32)(given + lag));
}

/* The deadline of @t, which is queued now. */
static __always_inline u64 deadline_of(const struct task_ctx *t, u64 weight_1024, u64 now,
				       const struct takt_tunables *k)
{
	const struct queue_ctx *q = queue_ctx_of(t->queue);
	s64 wait = wait_for(q->avg_vruntime - t->vruntime, q);

	if (is_bound_queue(t->queue)) /* the queue as a whole waits for its LLC */
		wait += wait_for(queue_lag_ns(q), queue_ctx_of(q->llc));
	return now + ruled_lead(t, limit_lead(wait, t, weight_1024, q, k), k);
}

/*
 * @t of a bound queue has run on the CPU of @c, whose LLC has V @here: moves the clock of the
 * queue. Returns what the vruntime at which it began is in the clock of that LLC. The bound queue
 * is never further away from its own LLC than two segments of its tasks: what is beyond goes into
 * the offset, for good.
 */
static __always_inline u64 update_bound_vtime(const struct task_ctx *t, u64 here,
					      const struct cpu_ctx *c, bool leaves, u64 now)
{
	u64 v = c->vruntime;
	u32 queue = t->queue;
	struct queue_ctx *q = queue_ctx_of(queue);
	u64 reference = queue_ctx_of(q->llc)->avg_vruntime;
	s64 lag;

	update_vtime(q, q->nr_queued, v, t, c->weight_1024, leaves, c->unclocked_ns, now,
		     tunables_now());
	q->lag_max_ns =
		max_u64(q->lag_max_ns - q->lag_max_ns / 8,
			min_u64(2 * delta_vruntime(SEGMENT_MAX_NS, c->weight_1024), WAIT_FAR_NS));
	lag = reference - q->avg_vruntime - q->offset;
	q->offset += lag - clamp_s64(lag, q->lag_max_ns);
	return here + (v + q->offset - reference); /* two LLCs have clocks of their own */
}

/* No task waits: the one that runs takes nothing from any other, and gets no lag by it. */
static __always_inline void reset_lag(struct task_ctx *t, const struct takt_tunables *k)
{
	struct queue_ctx *q = queue_ctx_of(t->queue);

	if ((s64)(t->vruntime - q->avg_vruntime) > 0)
		t->vruntime = q->avg_vruntime;
	else
		clamp_lag(t, k);
}

/* Moves the clocks on for the time that has gathered on the CPU of @c, where @t has run last. */
static __always_inline void update_clocks(struct cpu_ctx *c, struct task_ctx *t, u32 llc,
					  u32 nr_waiting, bool leaves, u64 now)
{
	struct queue_ctx *q = queue_ctx_of(llc);
	u64 v = c->vruntime, oldest;

	if (is_bound_queue(t->queue))
		v = update_bound_vtime(t, q->avg_vruntime, c, leaves, now);
	update_vtime(q, nr_waiting, v, t, c->weight_1024, leaves, c->unclocked_ns, now,
		     tunables_now());
	c->busy_ns += c->unclocked_ns;
	c->unclocked_ns = 0;
	oldest = queue_ctx_of(t->queue)->avg_vruntime - LAG_CAP_NS;
	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

#endif /* TAKT_DEADLINE_BPF_H */
