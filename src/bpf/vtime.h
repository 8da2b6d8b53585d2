/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Virtual time: vruntime, lag, and the deadline that orders every queue.
 *
 *	delta_vruntime = ran * 100 / weight		what a run segment costs
 *	lag            = V - vruntime			> 0: it had less than its share; < 0: more
 *	deadline = now + min(-lag / rate, wait_max)	of a task of negative lag
 *	           now - min(lag / rate, early_max)	of a task of positive lag
 *	wait_max  = max(lead_max, 2 * min(delta_vruntime(4 ms), 12 ms) * (CPUs + nr_cpu_bound) / CPUs)
 *	early_max = max(lead_max / 4, 4 ms * (CPUs + nr_cpu_bound) / CPUs)
 *
 * CPUs is nr_cpus of the queue, nr_cpu_bound its CPU-bound tasks that wait (is_cpu_bound()). wait_max
 * is made in limit_wait(), early_max in limit_early(). The second terms count for CPU-bound tasks only.
 *
 * V, the average vruntime of a queue (avg_vruntime(), also called its clock), stands where a task with
 * exactly its share would be. It moves at a rate, in V per real time: so -lag / rate is how long it
 * takes until the others have caught up. The deadline is in real time on purpose (it is what stands in
 * p->scx.dsq_vtime), and is fixed when a task is queued: a task that becomes runnable later than deadline + early_max sorts behind it, whatever its weight and whatever happens to it as
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
 * wait for lead_max at most, however many wait.
 * A CPU-bound task that is short of its share by one segment has to come before tasks that are not, or
 * equal tasks stay unequal; a short-running task comes lead_max / 4 early at most (messaging, 1 CPU:
 * 0.198 s; 0.219 s if it may be earlier). Both limits end at a fifth and a tenth of the watchdog's 30 s.
 *
 * V is a moving average of the vruntimes at which tasks begin to run, weighted by how long they ran
 * (which weighs each task with its share), and it has a rate, which keeps it from lagging behind:
 *
 *	rate = 100 * CPUs / (CPUs * weight of a running task + weights of all that wait)
 *	on every half millisecond of running:
 *	  V += rate * time, then += error * ran / 67 ms
 *
 * Where they begin, since a task whose V is there is due then: at the end of a slice its deadline is
 * as far ahead as its share says. With an average of where they end, all are late by a round, and a
 * heavy one meets early_max (nice -20 beside ten of nice 0 and ten of nice 19: 0.49 instead of 0.91
 * of its share in the simulation of crates/formulas).
 *
 * The rate is what makes the sum of all shares the CPUs that there are. The weight of a running task is
 * an average over 67 ms of running. A task that has a CPU for itself counts with no more than what makes
 * one CPU its share, and being behind V without end moves V no more: its lag is cut off at LAG_CAP.
 *
 * The error of a task counts up to what its deadline can express: wait_max * rate, -early_max * rate.
 * Beyond that a task runs because of a limit, or because of its CPU, not because it is due: its
 * time says nothing of its share. (Up to a lag of 1 s instead, nice -20, 0, 19 on 4 CPUs had 2.69 : 0.23
 * : 0.08 s of 3, EEVDF 2.99 : 0.03 : 0.001, and two tasks of nice -20 made 20 of nice 0 and 20 of nice 5
 * equal.)
 *
 * Limits: V is right within half a slice or so. Positive lag beyond lag_max is given up on wakeup, and
 * when a slice ends while no task waits. Negative lag is 0 then, as V moves up to the task.
 */
/* clang-format on */
#ifndef TAKT_VTIME_H
#define TAKT_VTIME_H

#include "types.h"

#define RATE_SHIFT 20
#define RATE_ONE   (1ULL << RATE_SHIFT)
/* Thresholds at other values: docs/results/2026-11-30-thresholds.md. V remembers some 2^26 ns
 * = 67 ms of running. Error of nice values: 1 %, with 2^28 28 %. With 2^24 that of cgroups was 0.6
 * and 6.6 % in two rounds. */
#define CLOCK_MEMORY_SHIFT 26
/* V moves after so much running. 0.125 to 2 ms are the same to `wakeup` and `fairness`. One task of
 * nice -20 beside 20: 1.50 s of 2 with 0, 1.40 so, 1.22 with 8 ms. */
#define CLOCK_GRAIN_NS (500ULL * 1000)
/* Two of SCHED_IDLE alone: 166. 64 of nice -20 that wait: 1/5,600. Beyond, the error alone moves V.
 */
#define RATE_MAX (RATE_ONE << 8)
#define RATE_MIN (RATE_ONE >> 14)
/* Against switches without end: light tasks come to it. 0.075 to 3 ms are the same, as a slice ends
 * with the tick after it. */
#define SLICE_FLOOR_NS (300ULL * 1000)
#define SLICE_MAX_NS   (100ULL * 1000 * 1000) /* the agent's limit too: never reached */
/* Times the largest inverse rate, 2^24, it still fits into 64 bits. No power of two: the verifier
 * of 6.18 warns of a fault of its own about numbers whose lower half is 0. */
#define VTIME_FAR_NS   ((1ULL << 38) - 1)
#define WEIGHT_SHIFT   4
#define SEGMENT_MAX_NS (4ULL * 1000 * 1000) /* a slice ends with the tick after it: HZ=250 */
#define LAG_CAP_NS     (1000LL * 1000 * 1000)
/* Lag kept across a fork, or a time in another class. 8 to 128 ms are the same to `launch` (p50 4.7
 * to 6.7 ms; 18.7 with 0). */
#define KEPT_LAG_NS	 (32LL * 1000 * 1000)
#define LIGHT_SEGMENT_NS (12ULL * 1000 * 1000)	     /* three segments of nice 0 */
#define WAIT_FAR_NS	 (3ULL * 1000 * 1000 * 1000) /* a tenth of the watchdog's time */

static __always_inline u64 delta_vruntime(u64 ran_ns, u64 weight_1024)
{
	return weight_1024 == 100 * 1024 ? ran_ns : ran_ns * (100 * 1024) / (weight_1024 ?: 1);
}

#define WEIGHT_FAR_1024 (1ULL << 36)
#define RESCALE_EXACT	(1ULL << 27) /* times WEIGHT_FAR_1024 it still fits into 64 bits */
#define RESCALE_SHIFT	12	     /* brings VTIME_FAR_NS below that */

/* What a vruntime of @vtime beyond V becomes as the weight changes: the same CPU time. Rounded up,
 * so that a task that changes its weight again and again gains nothing. */
static __always_inline u64 rescale(u64 vtime, u64 old_weight_1024, u64 new_weight_1024)
{
	u32 shift = vtime < RESCALE_EXACT ? 0 : RESCALE_SHIFT;
	u64 part = (min_u64(vtime, VTIME_FAR_NS) >> shift) + 1;

	part = part * min_u64(old_weight_1024, WEIGHT_FAR_1024) / (new_weight_1024 ?: 1) + 1;
	return min_u64(part, VTIME_FAR_NS >> shift) << shift;
}

static __always_inline s64 clamp_s64(s64 v, s64 limit)
{
	return v > limit ? limit : v < -limit ? -limit : v;
}

/* V of @q. Other CPUs move it meanwhile: see queue_ctx. */
static __always_inline u64 avg_vruntime(const struct queue_ctx *q)
{
	return READ_ONCE(q->avg_vruntime);
}

/* Real time until V has moved by @vtime, at its present rate. */
static __always_inline u64 real_time_of(u64 vtime, const struct queue_ctx *q)
{
	return min_u64(vtime, VTIME_FAR_NS) * READ_ONCE(q->inv_rate_q10) >> 10;
}

/* How far before now a deadline may be, while slices are few. */
static __always_inline u64 overdue_max_ns(const struct takt_tunables *k)
{
	return k->lead_max_ns / 4;
}

/*
 * @limit_ns, or @each_ns for each CPU-bound task that runs or waits, per CPU, if that is longer, up
 * to @far_ns. Of how many tasks there are, not of the rate of V, which heavy tasks slow down. Only
 * CPU-bound ones run for a whole slice (200 tasks that wake at once and run for some 10 us each
 * made CPU-bound ones beside them wait for 2.6 s).
 */
static __always_inline u64 at_least_round(u64 limit_ns, u64 each_ns, u64 far_ns,
					  const struct queue_ctx *q)
{
	u32 nr_cpus = q->nr_cpus ?: 1;

	return max_u64(limit_ns,
		       min_u64(each_ns * (nr_cpus + READ_ONCE(q->nr_cpu_bound)) / nr_cpus, far_ns));
}

/* Real time until a lag of -@lag is made up for, at the rate of @q; negative if @lag is positive.
 */
static __always_inline s64 wait_for(s64 lag, const struct queue_ctx *q)
{
	s64 real_ns = real_time_of(lag < 0 ? -lag : lag, q);

	return lag < 0 ? real_ns : -real_ns;
}

/* Has @t used up a slice since it woke? */
static __always_inline bool is_cpu_bound(const struct task_ctx *t, const struct takt_tunables *k)
{
	return t->runtime_ns >= k->slice_min_ns;
}

/* @wait_ns, until the others have caught up with @t, or wait_max if that is less. */
static __always_inline u64 limit_wait(u64 wait_ns, const struct task_ctx *t, u64 weight_1024,
				      const struct queue_ctx *q, const struct takt_tunables *k)
{
	u64 limit = k->lead_max_ns, each;

	if (wait_ns > limit && is_cpu_bound(t, k)) {
		each = min_u64(delta_vruntime(SEGMENT_MAX_NS, weight_1024), LIGHT_SEGMENT_NS);
		limit = at_least_round(limit, 2 * each, 2 * WAIT_FAR_NS, q);
	}
	return min_u64(wait_ns, limit);
}

/* @early_ns, by which the deadline of @t is past, or early_max if that is less. The same for all
 * weights: a light task that came earlier would make others wait beyond the bound; a heavy one that
 * came later would have as many slices as the others. */
static __always_inline u64 limit_early(u64 early_ns, const struct task_ctx *t,
				       const struct queue_ctx *q, const struct takt_tunables *k)
{
	u64 limit = overdue_max_ns(k);

	if (early_ns > limit && is_cpu_bound(t, k))
		limit = at_least_round(limit, SEGMENT_MAX_NS, WAIT_FAR_NS, q);
	return min_u64(early_ns, limit);
}

/* How far from now a deadline may be that is @ns after it, or before it if the task is @early. */
static __always_inline u64 limit_distance(u64 ns, bool early, const struct task_ctx *t,
					  u64 weight_1024, const struct queue_ctx *q,
					  const struct takt_tunables *k)
{
	return early ? limit_early(ns, t, q, k) : limit_wait(ns, t, weight_1024, q, k);
}

/* How long after now the deadline of @t is, which has to wait for @wait_ns; < 0: it is past by
 * that.
 */
static __always_inline s64 clamp_wait(s64 wait_ns, const struct task_ctx *t, u64 weight_1024,
				      const struct queue_ctx *q, const struct takt_tunables *k)
{
	return wait_ns < 0 ? -(s64)limit_distance(-wait_ns, true, t, weight_1024, q, k)
			   : (s64)limit_distance(wait_ns, false, t, weight_1024, q, k);
}

/*
 * The agent keeps every tunable in its range. A slice beyond what it may set would still hurt at
 * once: 0 switches without end, a huge one keeps all other tasks waiting.
 */
static __always_inline u64 sane_slice(u64 slice_ns)
{
	return min_u64(max_u64(slice_ns, SLICE_FLOOR_NS), SLICE_MAX_NS);
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
 * @error, the distance of @t from V, as far as a deadline expresses it. A task that comes round
 * because of the limit, not because it is due by its weight, runs for more than its share: its
 * time would weigh too much. At a rate of 0.0114 (nice -20) one slice of nice 19 is 24 s of V.
 */
static __always_inline s64 limit_error(s64 error, const struct task_ctx *t, u64 weight_1024,
				       const struct queue_ctx *q, const struct takt_tunables *k)
{
	u64 real_ns = real_time_of(error < 0 ? -error : error, q);
	u64 limited_ns = limit_distance(real_ns, error < 0, t, weight_1024, q, k);

	if (limited_ns == real_ns) /* the usual case */
		return error;
	if (error < 0 && q->nr_cpus > 1) /* it has a CPU for itself */
		return 0;
	limited_ns = limited_ns * q->rate_q20 / RATE_ONE;
	return error < 0 ? -(s64)limited_ns : limited_ns;
}

/* What a task counts with in queued_weight: no task more than 2^26 / 100 / 64 of nice 0. */
static __always_inline u32 weight_units(u64 weight_1024)
{
	return min_u64(max_u64(weight_1024 >> WEIGHT_SHIFT, 1), 1 << 26);
}

/* A task of @weight_1024 has run for @ran_ns, 2^CLOCK_MEMORY_SHIFT at most: the average weight of
 * running tasks. A task that has a CPU for itself counts with what makes that its share. */
static __always_inline void note_run_weight(struct queue_ctx *q, u64 weight_1024, u64 ran_ns)
{
	s64 average = READ_ONCE(q->run_weight);
	u64 weight = weight_units(weight_1024);

	if (q->nr_cpus > 1)
		weight = min_u64(weight, average + READ_ONCE(q->queued_weight) / q->nr_cpus + 1);
	average += ((s64)weight - average) * (s64)ran_ns >> CLOCK_MEMORY_SHIFT;
	WRITE_ONCE(q->run_weight, average);
}

/*
 * The rate at which V moves while @nr_queued tasks wait, if the CPUs of @q are divided by weight:
 * CPUs / (CPUs + nr_queued) * 100 / the average weight of its running and waiting tasks. Of
 * nr_queued, some may wait in other queues that its CPUs serve: they count with that average.
 */
static __always_inline u64 fair_rate(const struct queue_ctx *q, u32 nr_queued)
{
	u64 nr_cpus = q->nr_cpus, rate = RATE_ONE * nr_cpus / (nr_cpus + nr_queued);
	u64 weight = nr_cpus * READ_ONCE(q->run_weight) + READ_ONCE(q->queued_weight);

	weight = weight / (nr_cpus + READ_ONCE(q->nr_queued));
	rate = rate * weight_units(100 * 1024) / (weight ?: 1);
	return min_u64(max_u64(rate, RATE_MIN), RATE_MAX);
}

/* A task of @weight_1024 has run for @ran_ns, and @nr_queued wait: the rate of V from now on.
 * Global, so that the verifier looks at it once per program. */
__noinline int update_rate(struct queue_ctx *q, u32 nr_queued, u64 weight_1024, u64 ran_ns)
{
	u64 rate = RATE_ONE;

	if (!q)
		return 0;
	note_run_weight(q, weight_1024, ran_ns);
	if (nr_queued)
		rate = fair_rate(q, nr_queued);
	WRITE_ONCE(q->rate_q20, rate);
	WRITE_ONCE(q->inv_rate_q10, (RATE_ONE << 10) / rate);
	return 0;
}

/*
 * @t of @weight_1024 has run for @ran_ns, from vruntime @v on, while @nr_queued wait: V moves on at
 * its rate, and towards @v by a part of the way that grows with @ran_ns.
 */
static __always_inline void update_vtime(struct queue_ctx *q, u32 nr_queued, u64 v,
					 const struct task_ctx *t, u64 weight_1024, u64 ran_ns,
					 u64 now, const struct takt_tunables *k)
{
	/* Not the time that was idle, nor what another CPU has moved it for already. */
	u64 moved_at = READ_ONCE(q->moved_at), real_ns = min_u64(elapsed_ns(moved_at, now), ran_ns);
	u64 moved = avg_vruntime(q) + real_ns * READ_ONCE(q->rate_q20) / RATE_ONE;
	s64 error = limit_error(v - moved, t, weight_1024, q, k);

	WRITE_ONCE(q->moved_at, max_u64(moved_at, now));
	ran_ns = min_u64(ran_ns, 1 << CLOCK_MEMORY_SHIFT);
	WRITE_ONCE(q->avg_vruntime, moved + (error * (s64)ran_ns >> CLOCK_MEMORY_SHIFT));
	update_rate(q, nr_queued, weight_1024, ran_ns);
}

#endif /* TAKT_VTIME_H */
