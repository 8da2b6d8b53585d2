/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finding an idle CPU, and knowing when not to look for one.
 *
 * The kernel's built-in idle masks do the work: previous CPU, whole idle core, LLC, node, in that
 * order.
 *
 * A sync wakeup says "I am about to sleep". When the waker has kept that promise so far (it sleeps
 * within sync_gap_ns on average), the wakee is better off on the waker's CPU, whose cache holds
 * what it will read, than on an idle one that has to be woken by an interrupt first. A waker that
 * breaks the promise costs its wakee one wait until the next tick at most, and is not believed next
 * time.
 */
#ifndef TAKT_IDLE_BPF_H
#define TAKT_IDLE_BPF_H

#include "queue.bpf.h"

/* Finds and claims an idle CPU for @p; negative: none. */
static __always_inline s32 claim_idle_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool found = false;
	s32 cpu;

	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SCX_WAKE_SYNC, &found);
	return found ? cpu : -1;
}

/* Is the waker on @cpu about to sleep, so that @p may have its CPU next? */
static __always_inline bool shares_with_waker(const struct task_struct *p, s32 cpu,
					      struct cpu_ctx *c, u64 now,
					      const struct takt_knobs *k)
{
	if (!c->started_at || !may_use(p, cpu))
		return false;
	c->sync_woke_at = now;
	return c->sync_gap_ns < k->sync_gap_ns && is_next_in_line(cpu);
}

/* A task goes to sleep: how soon after its sync wakeup? Averages over about 4. */
static __always_inline void learn_sync_gap(const struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	u64 gap_ns;

	if (!c->sync_woke_at)
		return;
	gap_ns = min_u64(now - c->sync_woke_at, 1000 * 1000 * 1000);
	t->sync_gap_ns = (t->sync_gap_ns * 3ULL + gap_ns) / 4;
}

#endif /* TAKT_IDLE_BPF_H */
