/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finding an idle CPU. The kernel's built-in idle masks do the work: previous CPU, whole idle core,
 * LLC, node, in that order.
 */
#ifndef TAKT_IDLE_BPF_H
#define TAKT_IDLE_BPF_H

#include "queue.bpf.h"

/* For how long a CPU that found nothing to do may not yet stand in the kernel's idle masks. */
#define IDLE_GRACE_NS 20000

/* For how long a search that found no idle CPU is believed. */
#define ALL_BUSY_NS 1000000

/* Has a search of late found no idle CPU at all, with none going idle since? Spares another. */
static __always_inline bool all_busy(const struct llc_ctx *l, u64 now)
{
	return nr_llcs == 1 && now - l->busy_at < ALL_BUSY_NS &&
	       (s64)(l->busy_at - l->idled_at) > IDLE_GRACE_NS;
}

/* Finds and claims an idle CPU for @p; negative: none. */
static __always_inline s32 claim_idle_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
					  u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(prev_cpu));
	bool found = false;
	s32 cpu;

	if (all_busy(l, now))
		return -1;
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SCX_WAKE_SYNC, &found);
	if (found)
		return cpu;
	if (nr_llcs == 1 && p->nr_cpus_allowed >= nr_cpus_at_start)
		l->busy_at = now;
	return -1;
}

/* @cpu has found nothing to do. */
static __always_inline void note_idle(s32 cpu, u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(cpu));

	l->idled_cpu = cpu;
	l->idled_at = now;
}

/*
 * @p waits in the queue of its LLC now. A CPU that went idle while we searched has seen neither the
 * task nor us it: the last one that did, of late, looks again. What this misses by a hair's
 * breadth, takt_tick() of a busy CPU finds.
 */
static __always_inline void kick_recent_idle_cpu(const struct task_struct *p,
						 const struct task_ctx *t, u64 now)
{
	struct llc_ctx *l = llc_ctx_of(t->llc);

	if ((s64)(now - l->idled_at) > IDLE_GRACE_NS || !may_use(p, l->idled_cpu))
		return;
	l->idled_at = 0;
	scx_bpf_kick_cpu(l->idled_cpu, SCX_KICK_IDLE);
}

/* Calls an idle CPU that @p may use; false: there is none. */
static __always_inline bool kick_idle_cpu(struct task_struct *p)
{
	s32 cpu;

	if (nr_cpus_at_start == 1)
		return false;
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

#endif /* TAKT_IDLE_BPF_H */
