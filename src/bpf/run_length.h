/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * How long a task runs between two sleeps, and for how long it is therefore protected from wakeups.
 *
 *	est_run = max(7/8 * est_run, min(last run, max(2 * est_run, 2 * preempt_after)))
 *		  0: it has never slept
 *
 *	very short-running	est_run <= preempt_after
 *	short-running		est_run <= burst_max, until it has run for 4 * burst_max since it woke;
 *				for burst_max if it is very short-running
 *	long-running		every other task
 *
 * (CPU-bound is another thing: a task that has used up a slice since it woke, is_cpu_bound().)
 *
 * When a wakeup may preempt:
 *
 *	running task		a very short-running wakee	any other wakee
 *	short-running		2 * est_run since wakeup, at	burst_max in this slice
 *				least preempt_after, at most
 *				burst_max
 *	has never slept, has	at once				preempt_after since wakeup
 *	woken 3 tasks at most
 *	any other		preempt_after since wakeup	preempt_after since wakeup
 *	kept off its CPU for	for the rest of the slice
 *	16 ms within a slice
 *
 * A short-running task whose slice ends within the time of the first column continues.
 *
 * A short-running task may hold a lock that others spin on, and soon releases it if it is not
 * preempted. The estimate is the longest recent run and no average: many tasks have short runs between
 * long ones (a pause, a log line), and it is in a long one that they would be preempted. A very
 * short-running wakee does little harm: the preempted task stays on the CPU and continues right after.
 * Any other wakee would spin on the lock in its place.
 *
 * Spinning inflates the measured run, which would reduce protection: the task is preempted while it
 * holds the lock, others spin, and a lock convoy keeps itself going. Therefore the estimate at most
 * doubles per sleep, and protection from other wakees does not count what the task ran before it got
 * the CPU this time.
 *
 * A new task most often computes to its end, or to a first sleep that is far. One that wakes others is
 * different: if each wakee preempted it at once, nothing would come in batches any more.
 *
 * The last line is for a task that is preempted every 50 us: it would keep its slice, and never have it.
 *
 * Limits: while short-running tasks share a CPU, a wakee that is not very short-running waits for up to
 * burst_max for each of them with an earlier deadline.
 */
/* clang-format on */
#ifndef TAKT_RUN_LENGTH_H
#define TAKT_RUN_LENGTH_H

#include "types.h"

#define LONG_RUNTIME 4 /* times burst_max: too long for a run, spinning included */
/* 16 ms: four ticks. Beside a slice that is used up in one, three quarters of the CPU. */
#define OFF_CPU_MAX_NS (16ULL * 1000 * 1000)
#define FEW_WOKEN      3 /* a process that is forked and runs a program wakes fewer */

static __always_inline bool is_very_short(const struct task_ctx *t, const struct takt_tunables *k)
{
	return t->est_run_ns && t->est_run_ns <= k->preempt_after_ns;
}

static __always_inline bool is_short_running(const struct task_ctx *t,
					     const struct takt_tunables *k)
{
	u64 runtime_max_ns = k->burst_max_ns * (is_very_short(t, k) ? 1 : LONG_RUNTIME);

	return t->est_run_ns && t->est_run_ns <= k->burst_max_ns && t->runtime_ns <= runtime_max_ns;
}

/* For how long, since it woke, is @t protected from very short-running tasks as it gets a CPU, or
 * continues? */
static __always_inline u64 protection_ns(const struct task_ctx *t, bool is_short,
					 const struct takt_tunables *k)
{
	u64 least = t->est_run_ns || t->nr_woke_so_far > FEW_WOKEN ? k->preempt_after_ns : 0;

	return is_short ? max_u64(least, min_u64(2 * t->est_run_ns, k->burst_max_ns)) : least;
}

/* A task goes to sleep after having run for @t->runtime_ns. */
static __always_inline void update_run_estimate(struct task_ctx *t, const struct takt_tunables *k)
{
	u64 burst = t->est_run_ns, longest = 2 * max_u64(burst, k->preempt_after_ns);

	t->est_run_ns =
		burst ? max_u64(min_u64(t->runtime_ns, longest), burst - burst / 8) : t->runtime_ns;
}

#endif /* TAKT_RUN_LENGTH_H */
