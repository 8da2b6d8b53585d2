/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Virtual time: vruntime, lag, and the deadline that orders every queue.
 *
 *	delta_vruntime = ran * 100 / weight		what a run segment costs
 *	lag            = V - vruntime			> 0: it had less than its share; < 0: more
 *	deadline = now + min(-lag / rate, wait_max)	of a task of negative lag
 *	           now - min(lag / rate, early_max)	of a task of positive lag
 *	wait_max  = max(lead_max, 2 * min(delta_vruntime(4 ms), 12 ms) * (CPUs + queued) / CPUs)
 *	early_max = max(lead_max / 4, min(delta_vruntime(4 ms), 4 ms) * (CPUs + queued) / CPUs)
 *
 * V, the average vruntime of a queue, stands where a task with exactly its share would be. It moves at
 * a rate, in V per real time: so -lag / rate is how long it takes until the others have caught up. The
 * deadline is in real time on purpose, and is fixed when a task is queued: a task that becomes runnable
 * later than deadline + early_max sorts behind it, whatever its weight and whatever happens to it as
 * it waits. So run-queue delay is at most early_max + wait_max, plus the slices of tasks with earlier
 * deadlines (of short-running tasks: their runs, up to burst_max and a slice), in the time that is left
 * by real-time and deadline tasks, and by tasks that wake with positive lag and may preempt. A slice
 * ends with the tick after it.
 *
 * The limits are lead_max (250 ms) and a quarter of it while few tasks wait. Under a crowd the fair wait
 * of a task after a segment of 4 ms is longer: a limit below it would give unequal tasks equal shares
 * (40 tasks of nice 0 and 40 of nice 10 on one CPU: 2.4 : 1 instead of 9 : 1). So it grows with the
 * crowd, by two segments for each task, as EEVDF bounds lag; a lighter task may have to wait longer, but
 * not by more than three times: a task that is so light gets more than its share, as it may hold a lock.
 * Both grow for CPU-bound tasks only: others, which may have to wait many times for one piece of work,
 * are bounded by lead_max whatever the crowd.
 * A CPU-bound task that is short of its share by one segment has to come before tasks that are not, or
 * equal tasks stay unequal; a short-running task comes lead_max / 4 early at most (messaging, 1 CPU:
 * 0.198 s; 0.219 s if it may be earlier). Both limits end at a fifth and a tenth of the watchdog's 30 s.
 *
 * V is a moving average of the vruntimes of tasks that run, weighted by how long they ran (which weighs
 * each task with its share), and it has a rate, which keeps it from lagging behind:
 *
 *	rate = correction * CPUs / (CPUs + queued)
 *	on every half millisecond of running:
 *	  V += rate * time, then += error * ran / 67 ms; correction += half of that
 *
 * The correction learns what weights other than 100 do to the rate. A task whose share is more than one
 * CPU can give it never gets it: its lag is cut off at LAG_CAP.
 *
 * The error of a task counts up to what its deadline can tell: wait_max * rate, -early_max * rate.
 * Beyond that a task runs because of a limit, or because of its CPU, not because it is due: its
 * time says nothing of its share. (Up to a lag of 1 s instead, nice -20, 0, 19 on 4 CPUs had 2.69 : 0.23
 * : 0.08 s of 3, EEVDF 2.99 : 0.03 : 0.001, and two tasks of nice -20 made 20 of nice 0 and 20 of nice 5
 * equal.)
 *
 * Limits: V is right within half a slice or so. Lag beyond lag_max is given up on wakeup, and all of it
 * when no task waits.
 */
/* clang-format on */
#ifndef TAKT_DEADLINE_BPF_H
#define TAKT_DEADLINE_BPF_H

#include "burst.bpf.h"

#define RATE_SHIFT	   20
#define RATE_ONE	   (1ULL << RATE_SHIFT)
#define CLOCK_MEMORY_SHIFT 26 /* V remembers some 2^26 ns = 67 ms of running */
#define CLOCK_GRAIN_NS	   (500ULL * 1000)
#define CORRECTION_MAX_Q20 (128 * RATE_ONE) /* nice 19 is 1/68 of nice 0, nice -20 87 times */
#define CORRECTION_MIN_Q20 (RATE_ONE / 128)
#define SLICE_FLOOR_NS	   (300ULL * 1000)
/* Times the largest inverse rate it still fits into 64 bits. No power of two: the verifier of 6.18
 * warns of a fault of its own about numbers whose lower half is 0. */
#define VTIME_FAR_NS	 ((1ULL << 42) - 1)
#define SEGMENT_MAX_NS	 (4ULL * 1000 * 1000) /* a slice ends with the tick after it: HZ=250 */
#define LAG_CAP_NS	 (1000LL * 1000 * 1000)
#define KEPT_LAG_NS	 (32LL * 1000 * 1000)	     /* across a fork, or a time in another class */
#define LIGHT_SEGMENT_NS (12ULL * 1000 * 1000)	     /* three segments of nice 0 */
#define WAIT_FAR_NS	 (3ULL * 1000 * 1000 * 1000) /* a tenth of the watchdog's time */

/* Is this the queue of tasks that may not use every CPU? */
static __always_inline bool is_bound_queue(u32 queue)
{
	return nr_cpus_at_start > 1 && queue >= TAKT_QUEUE_DOMAINS;
}

static __always_inline u64 delta_vruntime(u64 ran_ns, u64 weight_1024)
{
	return weight_1024 == 100 * 1024 ? ran_ns : ran_ns * (100 * 1024) / (weight_1024 ?: 1);
}

static __always_inline s64 clamp_s64(s64 v, s64 limit)
{
	return v > limit ? limit : v < -limit ? -limit : v;
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
	if (is_bound_queue(queue))
		lag -= queue_lag_ns(q);
	t->vruntime = q->avg_vruntime - lag;
	t->queue = queue;
}

/*
 * @t, which slept, wakes for @queue. V of a queue none of whose tasks run stands still: if @t was
 * in it, it is given the time in which it might have run there. Or it would owe its new queue, if
 * that has had less than its LLC, whatever it slept: a task that a new mask moved from an idle LLC
 * to a CPU with three CPU-bound tasks had to wait 14 ms.
 */
static __always_inline void rebase_woken(struct task_ctx *t, u32 queue, u64 now)
{
	u64 stood_ns;

	if (nr_cpus_at_start == 1 || t->queue == queue)
		return;
	stood_ns = elapsed_ns(max_u64(queue_ctx_of(t->queue)->moved_at, t->slept_at), now);
	t->vruntime -= min_u64(stood_ns, LAG_CAP_NS);
	rebase_vruntime(t, queue);
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

/* What a task that wakes brings along: its lag, up to lag_max. */
static __always_inline void clamp_wakeup_lag(struct task_ctx *t, const struct takt_tunables *k)
{
	u64 lag_max_ns = k->lag_max_ns << is_urgent(t);
	u64 oldest = queue_ctx_of(t->queue)->avg_vruntime - lag_max_ns;

	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

/*
 * The current task starts another: all of its positive lag goes with the child, which does its
 * work. It does not keep it as well, so that starting many gains nothing.
 *
 * Runs in process context and may be preempted at any point, even moved. So what is given stands in
 * the record of the CPU as one word together with the pid that gives: account_runtime() charges it
 * to that task only. At worst it is lost with another task's, and the parent keeps its lag.
 */
static __always_inline void transfer_lag_to_child(struct task_ctx *child)
{
	struct cpu_ctx *c = cpu_ctx_of(bpf_get_smp_processor_id());
	u64 now = scx_bpf_now(), started_at = READ_ONCE(c->started_at);
	u32 pid = bpf_get_current_pid_tgid();
	u64 given = READ_ONCE(c->given);
	s64 lag;

	if (!rule_enabled(FORK_LAG) || !started_at || READ_ONCE(c->pid) != (s32)pid)
		return;
	given = given >> 32 == pid ? (u32)given : 0;
	lag = queue_ctx_of(c->queue)->avg_vruntime - READ_ONCE(c->vruntime) - given -
	      delta_vruntime(now - started_at, c->weight_1024);
	if (lag <= 0 || lag > KEPT_LAG_NS)
		return;
	child->kept_lag_ns = lag;
	WRITE_ONCE(c->given, (u64)pid << 32 | (u32)(given + lag));
}

/* Real time until V has moved by @vtime, at its present rate. */
static __always_inline u64 real_time_of(u64 vtime, const struct queue_ctx *q)
{
	return min_u64(vtime, VTIME_FAR_NS) * q->inv_rate_q10 >> 10;
}

/*
 * @limit_ns, or what @segments of a task of this weight, of @each_max_ns at most, cost when each of
 * the tasks that wait has one, if that is longer: see above. Of how many tasks there are, not of
 * the rate of V, which heavy tasks slow down.
 */
static __always_inline u64 at_least_segments(u64 limit_ns, u32 segments, u64 each_max_ns,
					     u64 weight_1024, const struct queue_ctx *q)
{
	u64 each = min_u64(delta_vruntime(SEGMENT_MAX_NS, weight_1024), each_max_ns);
	u32 nr_cpus = q->nr_cpus ?: 1;
	u64 all = segments * each * (nr_cpus + q->nr_queued) / nr_cpus;

	return max_u64(limit_ns, min_u64(all, segments * WAIT_FAR_NS));
}

/* Real time until a lag of -@lag is made up for, at the rate of @q; negative if @lag is positive.
 */
static __always_inline s64 wait_for(s64 lag, const struct queue_ctx *q)
{
	return lag < 0 ? (s64)real_time_of(-lag, q) : -(s64)real_time_of(lag, q);
}

/* Has @t used up a slice since it woke? */
static __always_inline bool is_cpu_bound(const struct task_ctx *t, const struct takt_tunables *k)
{
	return t->runtime_ns >= k->slice_min_ns;
}

/* How long a task that has to wait for @wait_ns until the others have caught up waits at most. */
static __always_inline u64 limit_wait(u64 wait_ns, const struct task_ctx *t, u64 weight_1024,
				      const struct takt_tunables *k)
{
	u64 limit = k->lead_max_ns;

	if (wait_ns > limit && is_cpu_bound(t, k))
		limit = at_least_segments(limit, 2, LIGHT_SEGMENT_NS, weight_1024,
					  queue_ctx_of(t->queue));
	return min_u64(wait_ns, limit);
}

/* How early a task that is due since @early_ns comes at most. A light task comes no earlier than
 * others: it would make those wait for longer than the bound says. */
static __always_inline u64 limit_early(u64 early_ns, const struct task_ctx *t, u64 weight_1024,
				       const struct takt_tunables *k)
{
	u64 limit = overdue_max_ns(k);

	if (early_ns > limit && is_cpu_bound(t, k))
		limit = at_least_segments(limit, 1, SEGMENT_MAX_NS, weight_1024,
					  queue_ctx_of(t->queue));
	return min_u64(early_ns, limit);
}

/* The deadline of a task that is to wait for @wait_ns, within the limit. */
static __always_inline u64 deadline_in(u64 wait_ns, const struct task_ctx *t, u64 weight_1024,
				       u64 now, const struct takt_tunables *k)
{
	return now + ruled_lead(t, limit_wait(wait_ns, t, weight_1024, k), k);
}

/* The deadline of a task that is due since @early_ns, within the limit. */
static __always_inline u64 deadline_since(u64 early_ns, const struct task_ctx *t, u64 weight_1024,
					  u64 now, const struct takt_tunables *k)
{
	return now + ruled_lead(t, -(s64)limit_early(early_ns, t, weight_1024, k), k);
}

static __always_inline u64 deadline_of(const struct task_ctx *t, u64 weight_1024, u64 now,
				       const struct takt_tunables *k)
{
	const struct queue_ctx *q = queue_ctx_of(t->queue);
	s64 lag = q->avg_vruntime - t->vruntime, wait;

	if (is_bound_queue(t->queue)) { /* the queue as a whole waits for its LLC */
		wait = wait_for(lag, q) + wait_for(queue_lag_ns(q), queue_ctx_of(q->llc));
		return wait > 0 ? deadline_in(wait, t, weight_1024, now, k)
				: deadline_since(-wait, t, weight_1024, now, k);
	}
	return lag < 0 ? deadline_in(real_time_of(-lag, q), t, weight_1024, now, k)
		       : deadline_since(real_time_of(lag, q), t, weight_1024, now, k);
}

/*
 * The agent keeps every tunable in its range. A slice beyond what it may set would still hurt at
 * once: 0 switches without end, a huge one keeps all other tasks waiting.
 */
static __always_inline u64 sane_slice(u64 slice_ns)
{
	return min_u64(max_u64(slice_ns, SLICE_FLOOR_NS), 100 * 1000 * 1000);
}

/* The slice of a task of a weight when @nr_queued others wait. */
static __always_inline u64 slice_for(u32 nr_queued, u64 weight_1024, const struct takt_tunables *k)
{
	u64 slice = k->slice_max_ns;

	if (!nr_queued)
		return sane_slice(slice);
	if (k->slice_min_ns * (nr_queued + 1) >= k->latency_ns) /* the usual case: no division */
		slice = k->slice_min_ns;
	else
		slice = min_u64(slice, k->latency_ns / (nr_queued + 1));
	if (weight_1024 < 100 * 1024) /* its slice is shorter, and comes more often */
		slice = slice * weight_1024 / (100 * 1024);
	return sane_slice(slice);
}

/*
 * @error, the distance of @t from V, as far as a deadline would tell it. A task that comes round
 * because of the limit, not because it is due by its weight, runs for more than its share: its
 * time would weigh too much. At a rate of 0.0114 (nice -20) one slice of nice 19 is 24 s of V.
 */
static __always_inline s64 limit_error(s64 error, const struct task_ctx *t, u64 weight_1024,
				       const struct queue_ctx *q, const struct takt_tunables *k)
{
	u64 real_ns = real_time_of(error < 0 ? -error : error, q), limited_ns;

	limited_ns = error < 0 ? limit_early(real_ns, t, weight_1024, k)
			       : limit_wait(real_ns, t, weight_1024, k);
	if (limited_ns == real_ns) /* the usual case */
		return error;
	limited_ns = limited_ns * q->rate_q20 / RATE_ONE;
	return error < 0 ? -(s64)limited_ns : limited_ns;
}

/*
 * @t of @weight_1024 has run for @ran_ns and has come to vruntime @v, while @nr_queued wait: V
 * moves on at its rate, and towards @v by a part of the way that grows with @ran_ns; so does the
 * correction of its rate.
 */
static __always_inline void update_vtime(struct queue_ctx *q, u32 nr_queued, u64 v,
					 const struct task_ctx *t, u64 weight_1024, u64 ran_ns,
					 u64 now)
{
	const struct takt_tunables *k = tunables_now();
	u64 real_ns = min_u64(now - q->moved_at, ran_ns); /* not the time that was idle */
	u64 rate = nr_queued ? RATE_ONE * q->nr_cpus / (q->nr_cpus + nr_queued) : RATE_ONE;
	s64 error, part, correction = q->correction_q20 ?: RATE_ONE;

	q->moved_at = now;
	q->avg_vruntime += real_ns * q->rate_q20 / RATE_ONE;
	error = limit_error(v - q->avg_vruntime, t, weight_1024, q, k);
	part = (error * (s64)min_u64(ran_ns, 1 << CLOCK_MEMORY_SHIFT)) >> CLOCK_MEMORY_SHIFT;
	q->avg_vruntime += part;
	if (!nr_queued) /* nothing to learn, and what was learnt is of another load */
		correction += ((s64)RATE_ONE - correction) / 8;
	else if (is_cpu_bound(t, k)) /* else its lag tells of sleep, not of weights */
		correction += part >> (CLOCK_MEMORY_SHIFT + 1 - RATE_SHIFT);
	if (correction < (s64)CORRECTION_MIN_Q20)
		correction = CORRECTION_MIN_Q20;
	correction = min_u64(correction, CORRECTION_MAX_Q20);
	q->correction_q20 = correction;
	rate = max_u64(rate * correction / RATE_ONE, RATE_ONE >> 16);
	q->rate_q20 = rate;
	q->inv_rate_q10 = (RATE_ONE << 10) / rate;
}

/*
 * A task of bound @queue has come to vruntime @v on the CPU of @c, whose LLC has V @here: moves its
 * own clock. Returns what @v is in the clock of that LLC. The bound queue is never further away
 * from its own LLC than two segments of its tasks: what is beyond goes into the offset, for good.
 */
static __always_inline u64 update_bound_vtime(const struct task_ctx *t, u64 here,
					      const struct cpu_ctx *c, u64 now)
{
	u64 v = t->vruntime;
	u32 queue = t->queue;
	struct queue_ctx *q = queue_ctx_of(queue);
	u64 reference = queue_ctx_of(q->llc)->avg_vruntime;
	u32 nr_queued = queue < TAKT_QUEUE_CPUS ? q->nr_queued
						: nr_own_of(cpu_ctx_of(queue - TAKT_QUEUE_CPUS));
	s64 lag;

	update_vtime(q, nr_queued, v, t, c->weight_1024, c->unclocked_ns, now);
	q->lag_max_ns = max_u64(q->lag_max_ns - q->lag_max_ns / 8,
				2 * delta_vruntime(SEGMENT_MAX_NS, c->weight_1024));
	lag = reference - q->avg_vruntime - q->offset;
	q->offset += lag - clamp_s64(lag, q->lag_max_ns);
	return here + (v + q->offset - reference); /* two LLCs have clocks of their own */
}

/* No task waits: the one that runs takes nothing from any other, and gets no lag by it. */
static __always_inline void reset_lag(struct task_ctx *t, const struct takt_tunables *k)
{
	struct queue_ctx *q = queue_ctx_of(t->queue);

	if ((s64)(t->vruntime - q->avg_vruntime) > 0)
		q->avg_vruntime = t->vruntime;
	else
		clamp_wakeup_lag(t, k);
}

/* Moves the clocks on for the time that has gathered on the CPU of @c, where @t has run last. */
static __always_inline void update_clocks(struct cpu_ctx *c, struct task_ctx *t, u32 llc,
					  u32 nr_waiting, u64 now)
{
	struct queue_ctx *q = queue_ctx_of(llc);
	u64 v = t->vruntime, oldest;

	if (is_bound_queue(t->queue))
		v = update_bound_vtime(t, q->avg_vruntime, c, now);
	update_vtime(q, nr_waiting, v, t, c->weight_1024, c->unclocked_ns, now);
	c->busy_ns += c->unclocked_ns;
	c->unclocked_ns = 0;
	oldest = queue_ctx_of(t->queue)->avg_vruntime - LAG_CAP_NS;
	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

#endif /* TAKT_DEADLINE_BPF_H */
