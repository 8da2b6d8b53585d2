/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * How long a task runs between two sleeps, and for how long it is therefore left alone.
 *
 *	burst = max(the last one, 7/8 of what was known)	0: it has never slept
 *
 *	a sleeper, whose burst is burst_max at most, is spared since it woke
 *	  for 2 * burst		by those that are brief (their burst is preempt_after at most), but
 *				for preempt_after at least and burst_max at most
 *	  for burst_max		by all others
 *	anybody else		for preempt_after
 *	  but who has never slept, and has woken few so far, not at all by those that are brief
 *
 * A sleeper may hold a lock that others spin on, and will let go of it if it is let alone. Its burst
 * is the longest of late and no average, since many tasks have short ones between long ones (a pause,
 * a log line), and it is in a long one that they would be torn off. Who is brief does little harm:
 * the sleeper stays where it is meanwhile, and goes on right after. Any other would spin on the lock
 * in its place, and then be known for long bursts itself.
 *
 * A new task most often computes to its end, or to a first sleep that is far. One that wakes others
 * is a different matter: each of them in its place at once, and nothing comes in batches any more.
 *
 * Limits: while sleepers share a CPU, whoever wakes and is not brief waits for up to burst_max.
 */
/* clang-format on */
#ifndef TAKT_BURST_BPF_H
#define TAKT_BURST_BPF_H

#include "cgroup.bpf.h"

#define FEW_WOKEN 3 /* what a process wakes by being born and running a program is less */

static __always_inline bool is_sleeper(const struct task_ctx *t, const struct takt_knobs *k)
{
	return has(SPARE) && t->burst_ns && t->burst_ns <= k->burst_max_ns;
}

static __always_inline bool is_brief(const struct task_ctx *t, const struct takt_knobs *k)
{
	return t->burst_ns && t->burst_ns <= k->preempt_after_ns;
}

/* @t starts to run on @c: for how long since it woke is it left alone by those that are brief? */
static __always_inline void note_spared(struct cpu_ctx *c, const struct task_ctx *t,
					const struct takt_knobs *k)
{
	c->sleeps = is_sleeper(t, k);
	c->spared_ns = t->burst_ns || t->nr_woke > FEW_WOKEN ? k->preempt_after_ns : 0;
	if (c->sleeps)
		c->spared_ns = max_u64(c->spared_ns, min_u64(2 * t->burst_ns, k->burst_max_ns));
}

/* @t gives way on @c, maybe to one of those that it has woken. */
static __always_inline void note_woken(struct task_ctx *t, const struct cpu_ctx *c)
{
	if (!t->burst_ns)
		t->nr_woke = min_u64(t->nr_woke + c->nr_woke, 255);
}

/* A task goes to sleep after having run for @t->awake_ns. */
static __always_inline void learn_burst(struct task_ctx *t)
{
	t->burst_ns = max_u64(t->awake_ns, t->burst_ns - t->burst_ns / 8);
}

#endif /* TAKT_BURST_BPF_H */
