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

/* Finds and claims an idle CPU for @p; negative: none. */
static __always_inline s32 claim_idle_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool found = false;
	s32 cpu;

	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SCX_WAKE_SYNC, &found);
	return found ? cpu : -1;
}

/* @cpu has found nothing to do. */
static __always_inline void note_idle(s32 cpu, u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(cpu));

	l->idled_cpu = cpu;
	l->idled_at = now;
	hint_perf(cpu, now);
}

#endif /* TAKT_IDLE_BPF_H */
