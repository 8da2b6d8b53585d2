/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is due: vruntime, lag and the deadline that orders every queue.
 *
 *	charge   = ran * 100 / weight                      vtime that a stretch of running costs
 *	lead     = vruntime - vtime_now                    > 0: it had more than its share; < 0:
 *less deadline = now + clamp(lead, -lag_max, lead_max)
 *
 * The deadline is in real time on purpose. A task that waits keeps it while those of others,
 *computed later, move on: whoever becomes runnable later than deadline + lag_max is behind it,
 *whatever the weights. Hence the bound on any wait: lead_max + lag_max, plus the slices of those
 *that were due before. Shares stay exact, because vruntime (which the clamps do not touch)
 *remembers.
 *
 * vtime_now, the virtual clock of an LLC, follows the vruntime of tasks as they start to run, by no
 *more than was charged on that CPU last: a task far ahead of the others, running because it has
 *waited for so long, must not drag the clock to itself.
 *
 * Limits: lag is forgiven below -lag_max on wakeup only (a sleeper banks no more than that), so a
 *task that never sleeps may carry a large negative lead over from a time when it was starved by
 *affinity.
 */
#ifndef TAKT_DEADLINE_BPF_H
#define TAKT_DEADLINE_BPF_H

#include "task.bpf.h"

static __always_inline u64 charge_of(u64 ran_ns, u32 weight)
{
	return weight == 100 ? ran_ns : ran_ns * 100 / (weight ?: 1);
}

/* Moves @t into the virtual clock of @llc, with its lead. */
static __always_inline void adopt(struct task_ctx *t, u32 llc)
{
	if (t->llc == llc)
		return;
	t->vruntime += llc_ctx_of(llc)->vtime_now - llc_ctx_of(t->llc)->vtime_now;
	t->llc = llc;
}

/* Has @t had clearly more than its share? */
static __always_inline bool is_ahead(const struct task_ctx *t, const struct takt_knobs *k)
{
	return (s64)(t->vruntime - llc_ctx_of(t->llc)->vtime_now) > (s64)k->preempt_margin_ns;
}

/* What a sleeper brings along: its lag, up to lag_max. */
static __always_inline void wake_lag(struct task_ctx *t, const struct takt_knobs *k)
{
	u64 oldest = llc_ctx_of(t->llc)->vtime_now - k->lag_max_ns;

	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

static __always_inline u64 deadline_of(const struct task_ctx *t, u64 now,
				       const struct takt_knobs *k)
{
	s64 lead = t->vruntime - llc_ctx_of(t->llc)->vtime_now;

	if (lead > (s64)k->lead_max_ns)
		lead = k->lead_max_ns;
	if (lead < -(s64)k->lag_max_ns)
		lead = -(s64)k->lag_max_ns;
	return now + lead;
}

/* The slice of a task when @nr_queued others wait. */
static __always_inline u64 slice_for(u32 nr_queued, const struct takt_knobs *k)
{
	u64 slice = k->slice_max_ns;

	if (nr_queued)
		slice = min_u64(slice, k->latency_ns / (nr_queued + 1));
	return max_u64(slice, max_u64(k->slice_min_ns, 100 * 1000));
}

/* vtime_now follows a task that starts to run. */
static __always_inline void advance_clock(struct cpu_ctx *c, const struct task_ctx *t)
{
	struct llc_ctx *l = llc_ctx_of(t->llc);
	s64 ahead = t->vruntime - l->vtime_now;

	if (ahead > 0 && c->charged)
		l->vtime_now += min_u64(ahead, c->charged);
	c->charged = 0;
}

/* Nobody waits: whoever runs takes nothing from anyone, and the clock keeps up with it. */
static __always_inline void catch_up_clock(const struct task_ctx *t)
{
	struct llc_ctx *l = llc_ctx_of(t->llc);

	if ((s64)(t->vruntime - l->vtime_now) > 0)
		l->vtime_now = t->vruntime;
}

/* The stretch of running that began at c->started_at is over, or goes on from here: charge for it.
 */
static __always_inline u64 settle(struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	u64 ran_ns = now - c->started_at;

	if ((s64)ran_ns < 0) /* clocks of two CPUs may differ by a little */
		ran_ns = 0;
	t->turn_left_ns = c->turn_ns > ran_ns ? c->turn_ns - ran_ns : 0;
	c->charged = charge_of(ran_ns, c->weight);
	t->vruntime = c->vruntime + c->charged;
	t->awake_ns = c->awake_ns + ran_ns;
	return ran_ns;
}

#endif /* TAKT_DEADLINE_BPF_H */
