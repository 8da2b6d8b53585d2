/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When a wakeup may take the CPU from the task that runs.
 *
 *	preempt if   lead(runner, this stretch included) - lead(wakee) > preempt_margin
 *	       and   the runner has run for more than preempt_after since it last woke
 *
 * The first line keeps equals from throwing each other out. The second spares work in progress: a task
 * that woke a moment ago is likely to sleep again soon, may hold a lock that others spin on, and loses more
 * by being torn off than the wakee by waiting. Hogs, which never sleep, are always fair game after
 * preempt_after. (Without the second line, requests per second fell to 0.14 of EEVDF's; DESIGN.md.)
 */
#ifndef TAKT_PREEMPT_BPF_H
#define TAKT_PREEMPT_BPF_H

#include "idle.bpf.h"

/* Should the task that runs on @cpu make room for @t? Racy read of another CPU's record: see cpu_ctx. */
static __always_inline bool may_preempt(s32 cpu, const struct task_ctx *t, u64 now,
					const struct takt_knobs *k)
{
	const struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 started_at = c->started_at;
	s64 ran_ns = now - started_at;
	s64 ahead;

	if (!started_at || ran_ns < 0 || c->awake_ns + ran_ns <= k->preempt_after_ns)
		return false;
	ahead = c->vruntime + charge_of(ran_ns, c->weight) - t->vruntime;
	return ahead > (s64)k->preempt_margin_ns;
}

#endif /* TAKT_PREEMPT_BPF_H */
