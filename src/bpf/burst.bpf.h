/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * How long a task runs between two sleeps, and for how long it is therefore left alone.
 *
 *	burst = max(7/8 of what was known, the last one)	0: it has never slept
 *	        of the last one at most max(2 * what was known, 2 * preempt_after)
 *
 *	who is brief (its burst is preempt_after at most) takes the place of
 *	  a sleeper when that has run for 2 * burst since it woke; preempt_after at least, burst_max at
 *	    most. Up to then it also goes on when its turn ends
 *	  one that has never slept, and has woken few so far, at once
 *	  anybody else when that has run for preempt_after since it woke
 *	and who is not brief that of
 *	  a sleeper when that has run for burst_max since it got the CPU
 *	  anybody else when that has run for preempt_after since it woke
 *
 * A sleeper is a task whose burst is burst_max at most, until it has run for 4 * burst_max since it
 * woke; for burst_max if it was brief.
 *
 * A sleeper may hold a lock that others spin on, and will let go of it if it is let alone. Its burst
 * is the longest of late and no average, since many tasks have short ones between long ones (a pause,
 * a log line), and it is in a long one that they would be torn off. Who is brief does little harm:
 * the sleeper stays where it is meanwhile, and goes on right after. Any other would spin on the lock
 * in its place.
 *
 * Who spins seems to have a long burst. Taken at its word it would be spared less, be torn off in turn
 * while it holds the lock, and have others spin: a convoy that keeps itself going. So what is known
 * of a task grows by doubling at most, and those that are not brief, and would spin next, may not
 * hold against it what it ran before it got the CPU this time.
 *
 * A new task most often computes to its end, or to a first sleep that is far. One that wakes others
 * is a different matter: each of them in its place at once, and nothing comes in batches any more.
 *
 * Limits: while sleepers share a CPU, whoever wakes and is not brief waits for up to burst_max for each
 * of them that is due before it.
 */
/* clang-format on */
#ifndef TAKT_BURST_BPF_H
#define TAKT_BURST_BPF_H

#include "cgroup.bpf.h"

#define LONG_AWAKE 4 /* times burst_max: too long for a burst, spinning included */
#define FEW_WOKEN  3 /* what a process wakes by being born and running a program is less */

static __always_inline bool is_very_short(const struct task_ctx *t, const struct takt_knobs *k)
{
	return t->est_run_ns && t->est_run_ns <= k->preempt_after_ns;
}

static __always_inline bool is_short(const struct task_ctx *t, const struct takt_knobs *k)
{
	u64 awake_max_ns = k->burst_max_ns * (is_very_short(t, k) ? 1 : LONG_AWAKE);

	return has(SPARE) && t->est_run_ns && t->est_run_ns <= k->burst_max_ns &&
	       t->runtime_ns <= awake_max_ns;
}

/* @t starts to run on @c, or goes on: for how long is it spared by those that are brief? */
static __always_inline void set_protection(struct cpu_ctx *c, const struct task_ctx *t,
					   const struct takt_knobs *k)
{
	c->sleeps = is_short(t, k);
	c->protect_ns = t->est_run_ns || t->nr_woke > FEW_WOKEN ? k->preempt_after_ns : 0;
	if (c->sleeps)
		c->protect_ns = max_u64(c->protect_ns, min_u64(2 * t->est_run_ns, k->burst_max_ns));
}

/* @t gives way on @c, maybe to one of those that it has woken. */
static __always_inline void note_woken(struct task_ctx *t, const struct cpu_ctx *c)
{
	if (!t->est_run_ns)
		t->nr_woke = min_u64(t->nr_woke + c->nr_woke, 255);
}

/* @t, that runs on @c, has used up its turn, and did not yield: is it likely to sleep soon? */
static __always_inline bool is_within_run(const struct task_ctx *t, const struct cpu_ctx *c)
{
	return c->sleeps && !t->slice_left_ns && t->runtime_ns < c->protect_ns;
}

/* A task goes to sleep after having run for @t->runtime_ns. */
static __always_inline void update_run_estimate(struct task_ctx *t, const struct takt_knobs *k)
{
	u64 burst = t->est_run_ns, longest = 2 * max_u64(burst, k->preempt_after_ns);

	t->est_run_ns =
		burst ? max_u64(min_u64(t->runtime_ns, longest), burst - burst / 8) : t->runtime_ns;
}

#endif /* TAKT_BURST_BPF_H */
