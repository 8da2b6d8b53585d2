/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wakeup latency, which is what goals are about: from waking to running, by the class that a rule
 * gave the task (task_ctx.rule_class, not latency_class).
 *
 * Waits that do not begin with a wakeup (a CPU-bound task that waits for its next slice, a task
 * that was preempted, a new task) are left out: they are the price of sharing, not a latency. A
 * task that has not run since it woke has runtime_ns 0; one that has never slept has est_run_ns 0.
 *
 * Four buckets to each power of two: a percentile is known to 25 %.
 */
#ifndef TAKT_WAKEUP_BPF_H
#define TAKT_WAKEUP_BPF_H

#include "event.bpf.h"
#include "buckets.h"

/* Set by the agent while it tunes or shows: nothing is counted otherwise. */
bool wakeups_watched;

/* @t gets a CPU: counts how long that took if it woke for it. */
static __always_inline void count_wakeup_latency(const struct task_ctx *t, u64 now)
{
	struct takt_cpu_stats *s;
	u32 class = t->rule_class, bucket;
	u64 wait_ns;

	if (t->runtime_ns || !t->est_run_ns)
		return;
	s = stats_here();
	wait_ns = waited_ns(t, now);
	bucket = wake_bucket(wait_ns);
	if (s && class < TAKT_NR_LAT && bucket < TAKT_WAKE_BUCKETS) {
		s->wake_hist[class * TAKT_WAKE_BUCKETS + bucket]++;
		s->wake_ns += wait_ns;
	}
}

#endif /* TAKT_WAKEUP_BPF_H */
