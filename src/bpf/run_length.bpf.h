/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the formulas of run_length.h make of the task that runs on a CPU.
 */
#ifndef TAKT_RUN_LENGTH_BPF_H
#define TAKT_RUN_LENGTH_BPF_H

#include "takt.bpf.h"
#include "run_length.h"

/* @t starts to run on @c, or continues: until when is it protected from very short-running tasks?
 */
static __always_inline void set_protection(struct cpu_ctx *c, const struct task_ctx *t, u64 now,
					   const struct takt_tunables *k)
{
	c->is_short = policy_enabled(PROTECT) && is_short_running(t, k);
	c->protect_ns = protection_ns(t, c->is_short, k);
	if (t->slice_left_ns && elapsed_ns(t->slice_origin, now - t->runtime_ns) > OFF_CPU_MAX_NS)
		c->protect_ns = t->runtime_ns + t->slice_left_ns;
}

/* @t is preempted on @c, maybe by a task that it has woken: keeps how many it woke. */
static __always_inline void add_nr_woke(struct task_ctx *t, const struct cpu_ctx *c)
{
	if (!t->est_run_ns)
		t->nr_woke_so_far = min_u64(t->nr_woke_so_far + c->nr_woke, 255);
}

/* @t, that runs on @c, has used up its slice, and did not yield: is it likely to sleep soon? */
static __always_inline bool is_within_run(const struct task_ctx *t, const struct cpu_ctx *c)
{
	return c->is_short && !t->slice_left_ns && t->runtime_ns < c->protect_ns;
}

#endif /* TAKT_RUN_LENGTH_BPF_H */
