/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * When a wakeup may take the CPU from the task that runs.
 *
 *	preempt if   lead(runner, this stretch included) - lead(wakee) > preempt_margin
 *	       or    the wakee is behind by more than lag_max / 2
 *	       and   the runner has run for more than its spared time since it last woke (burst.bpf.h)
 *
 * A task of the background class or of SCHED_BATCH preempts nobody, and who is of the background class
 * is preempted by anybody else.
 *
 * The first line keeps equals from throwing each other out. The second is for light sleepers: the
 * clock is right within half a slice, which is more than they are behind at first. The third spares
 * work in progress: a task that will sleep soon anyway may hold a lock that others spin on, and loses
 * more by being torn off than the wakee by waiting. Hogs, which never sleep or rarely, are fair game
 * after preempt_after.
 *
 * Whoever is preempted has the rest of its turn coming: by a task known for short bursts, right after
 * it on the same CPU; else at the front of the queue, before any task that wakes from now on, so that
 * what it holds is let go of soon.
 */
/* clang-format on */
#ifndef TAKT_PREEMPT_BPF_H
#define TAKT_PREEMPT_BPF_H

#include "handoff.bpf.h"

#define VICTIM_SEARCH 8 /* CPUs to look at besides the previous one */

/* Is @t one that waits rather than take a CPU from anybody? */
static __always_inline bool never_preempts(const struct task_ctx *t)
{
	return !has(PREEMPT) || is_background(t) || t->policy == SCHED_BATCH;
}

/* Is the task that has been running on @c for @ran_ns left alone by @t? */
static __always_inline bool is_protected_from(const struct task_ctx *t, const struct cpu_ctx *c,
					      u64 ran_ns, const struct takt_knobs *k)
{
	if (!spares(t, c->class))
		return false;
	if (is_very_short(t, k))
		return c->runtime_ns + ran_ns <= c->protect_ns;
	if (c->sleeps)
		return ran_ns <= k->burst_max_ns;
	return c->runtime_ns + ran_ns <= k->preempt_after_ns;
}

/*
 * Should the task that runs on @c make room for @t, which may preempt? Racy read of another CPU's
 * record: see cpu_ctx.
 */
static __always_inline bool is_preemptible(const struct cpu_ctx *c, const struct task_ctx *t,
					   u64 now, const struct takt_knobs *k)
{
	u64 started_at = c->started_at;
	s64 ran_ns = now - started_at;
	s64 ahead, margin = k->preempt_margin_ns;

	if (!started_at)
		return false;
	if (c->class == TAKT_CLASS_BACKGROUND)
		return true;
	if (ran_ns < 0 || is_protected_from(t, c, ran_ns, k))
		return false;
	ahead = c->vruntime + delta_vruntime(ran_ns, c->weight_1024) - t->vruntime;
	if (is_urgent(t))
		margin /= 4;
	return ahead > margin || (has(OWED) && has_positive_lag(t, k));
}

/*
 * The CPU on which @p may take the place of who runs: where it ran last, else one of the next few
 * of the same LLC; negative: none. Looking costs a cache line per CPU.
 */
static __always_inline s32 find_victim(const struct task_struct *p, const struct task_ctx *t,
				       s32 prev_cpu, u64 now, const struct takt_knobs *k)
{
	u32 i, cpu = prev_cpu, llc = llc_of(prev_cpu);

	if (never_preempts(t))
		return -1;
	for (i = 0; i <= VICTIM_SEARCH && i < nr_cpu_ids && can_loop; i++) {
		if (llc_of(cpu) == llc && is_preemptible(cpu_ctx_of(cpu), t, now, k) &&
		    (cpu == prev_cpu || may_use(p, cpu)))
			return cpu;
		if (++cpu >= nr_cpu_ids)
			cpu = 0;
	}
	return -1;
}

#endif /* TAKT_PREEMPT_BPF_H */
