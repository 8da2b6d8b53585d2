/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Who is due: vruntime, lag and the deadline that orders every queue.
 *
 *	charge   = ran * 100 / weight			vtime that a stretch of running costs
 *	lead     = vruntime - avg_vruntime			> 0: it had more than its share; < 0: less
 *	deadline = now + min(lead / trend, lead_max)	of a task that is ahead: when it is due
 *	           now - min(-lead / trend, lead_max/4)	of a task that is behind: when it was due
 *
 * The deadline is in real time on purpose: lead / trend is how long it takes until the others have
 * caught up. A task that waits keeps it while those of others, computed later, move on: whoever
 * becomes runnable later than deadline + lead_max / 4 is behind it, whatever the weights and whatever
 * happens to it as it waits. Hence the bound on any wait: 5/4 of lead_max, plus the slices of those
 * that were due before (sleepers: their bursts, up to burst_max and a slice), in the time that is left
 * by real-time and deadline tasks, and by those that wake with less than their share and may take a
 * CPU at once. A slice ends with the tick after it.
 *
 * avg_vruntime, the virtual clock of an LLC, stands where a task with exactly its share would be. It is
 * an average of the vruntimes of those that run, weighted by how long they ran (which weighs each
 * task with its share), and it has a trend, which keeps it from lagging behind a moving average:
 *
 *	trend    = bias * CPUs / (CPUs + queued)	vtime per real time
 *	on every half millisecond of running:
 *	  avg_vruntime += trend * time, then += error * ran / 67 ms; bias += half of that
 *
 * The bias learns what weights other than 100 do to the trend. What was tried before and failed: to
 * follow whoever starts to run, which ran along with tasks far ahead, so that heavy tasks could not
 * express what they were owed (42 % of the CPU time in the wrong hands); a trend without the number of
 * queued tasks, which ran ahead for 100 ms when load came, so that sleepers were not owed anything.
 *
 * Limits: the clock is right within half a slice or so. Lag beyond lag_max is forgiven on wakeup, and
 * both lag and lead when nobody waits.
 */
/* clang-format on */
#ifndef TAKT_DEADLINE_BPF_H
#define TAKT_DEADLINE_BPF_H

#include "burst.bpf.h"

#define CLOCK_MEMORY_SHIFT  26 /* the clock remembers some 2^26 ns = 67 ms of running */
#define CLOCK_GRAIN_NS	    (500ULL * 1000)
#define CLOCK_ERROR_MAX_NS  (1000LL * 1000 * 1000)
#define CLOCK_BIAS_MAX_1024 (64 * 1024)
#define SLICE_FLOOR_NS	    (300ULL * 1000)
#define VTIME_FAR_NS	    (1ULL << 42) /* times the largest pace still fits into 64 bits */

static __always_inline u64 delta_vruntime(u64 ran_ns, u64 weight_1024)
{
	return weight_1024 == 100 * 1024 ? ran_ns : ran_ns * (100 * 1024) / (weight_1024 ?: 1);
}

/* Moves @t into the virtual clock of @llc, with its lead. */
static __always_inline void rebase_vruntime(struct task_ctx *t, u32 llc)
{
	if (t->llc == llc)
		return;
	t->vruntime += llc_ctx_of(llc)->avg_vruntime - llc_ctx_of(t->llc)->avg_vruntime;
	t->llc = llc;
}

/* Has @t had clearly more than its share? */
static __always_inline bool has_negative_lag(const struct task_ctx *t, const struct takt_knobs *k)
{
	return (s64)(t->vruntime - llc_ctx_of(t->llc)->avg_vruntime) > (s64)k->preempt_margin_ns;
}

/* Has @t had clearly less than its share? */
static __always_inline bool has_positive_lag(const struct task_ctx *t, const struct takt_knobs *k)
{
	return (s64)(llc_ctx_of(t->llc)->avg_vruntime - t->vruntime) > (s64)k->lag_max_ns / 2;
}

/* What a sleeper brings along: its lag, up to lag_max. */
static __always_inline void clamp_wakeup_lag(struct task_ctx *t, const struct takt_knobs *k)
{
	u64 lag_max_ns = k->lag_max_ns << is_urgent(t);
	u64 oldest = llc_ctx_of(t->llc)->avg_vruntime - lag_max_ns;

	if ((s64)(t->vruntime - oldest) < 0)
		t->vruntime = oldest;
}

/*
 * The task on this CPU starts another: all that it is owed goes with the child, which does its
 * work. It is not owed twice, so that starting many wins nothing.
 */
static __always_inline void transfer_lag_to_child(struct task_ctx *child)
{
	s32 cpu = bpf_get_smp_processor_id();
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 now = scx_bpf_now();
	s64 lag;

	if (!has(DOWRY) || !c->started_at || c->pid != (s32)bpf_get_current_pid_tgid())
		return;
	lag = llc_ctx_of(llc_of(cpu))->avg_vruntime - c->vruntime -
	      delta_vruntime(now - c->started_at, c->weight_1024);
	if (lag <= 0)
		return;
	child->inherited_lag_ns = lag;
	c->vruntime += lag;
}

/* Real time until avg_vruntime has moved by @vtime, as fast as it moves of late. */
static __always_inline u64 real_time_of(u64 vtime, const struct llc_ctx *l)
{
	return min_u64(vtime, VTIME_FAR_NS) * l->pace_1024 >> 10;
}

static __always_inline u64 deadline_of(const struct task_ctx *t, u64 now,
				       const struct takt_knobs *k)
{
	const struct llc_ctx *l = llc_ctx_of(t->llc);
	s64 lead = t->vruntime - l->avg_vruntime;

	if (lead > 0)
		lead = min_u64(real_time_of(lead, l), k->lead_max_ns);
	else
		lead = -(s64)min_u64(real_time_of(-lead, l), overdue_max_ns(k));
	return now + ruled_lead(t, lead, k);
}

/*
 * The agent keeps every knob in its range. A slice beyond what it may set would still hurt at once:
 * 0 switches without end, a huge one locks others out.
 */
static __always_inline u64 sane_slice(u64 slice_ns)
{
	return min_u64(max_u64(slice_ns, SLICE_FLOOR_NS), 100 * 1000 * 1000);
}

/* The slice of a task of a weight when @nr_queued others wait. */
static __always_inline u64 slice_for(u32 nr_queued, u64 weight_1024, const struct takt_knobs *k)
{
	u64 slice = k->slice_max_ns;

	if (!nr_queued)
		return sane_slice(slice);
	if (k->slice_min_ns * (nr_queued + 1) >= k->latency_ns) /* the usual case: no division */
		slice = k->slice_min_ns;
	else
		slice = min_u64(slice, k->latency_ns / (nr_queued + 1));
	if (weight_1024 < 100 * 1024) /* its turn is a smaller piece, and comes more often */
		slice = slice * weight_1024 / (100 * 1024);
	return sane_slice(slice);
}

/* How fast the clock moves if all weights are 100: with the CPUs that there are per task. */
static __always_inline u64 plain_trend_1024(u32 nr_queued)
{
	u32 nr_cpus = nr_cpus_at_start / nr_llcs ?: 1;

	return nr_queued ? 1024 * nr_cpus / (nr_cpus + nr_queued) : 1024;
}

/*
 * A task has run for @ran_ns and has come to vruntime @v: the clock moves on by its trend, and
 * towards @v by a part of the way that grows with @ran_ns; so does the bias of its trend.
 */
static __always_inline void update_vtime(struct llc_ctx *l, u32 nr_queued, u64 v, u64 ran_ns,
					 u64 now)
{
	u64 real_ns = min_u64(now - l->moved_at, ran_ns); /* not the time that was idle */
	u64 trend = plain_trend_1024(nr_queued);
	s64 error, part, bias = l->bias_1024 ?: 1024;

	l->moved_at = now;
	l->avg_vruntime += real_ns * l->trend_1024 / 1024;
	error = v - l->avg_vruntime;
	error = error > CLOCK_ERROR_MAX_NS ? CLOCK_ERROR_MAX_NS : error;
	error = error < -CLOCK_ERROR_MAX_NS ? -CLOCK_ERROR_MAX_NS : error;
	part = (error * (s64)min_u64(ran_ns, 1 << CLOCK_MEMORY_SHIFT)) >> CLOCK_MEMORY_SHIFT;
	l->avg_vruntime += part;
	if (nr_queued)
		bias += part * 1024 >> (CLOCK_MEMORY_SHIFT + 1);
	else /* nobody waits: there is nothing to learn, and what was learnt is of another load */
		bias += (1024 - bias) / 8;
	bias = bias < 16 ? 16 : bias > CLOCK_BIAS_MAX_1024 ? CLOCK_BIAS_MAX_1024 : bias;
	l->bias_1024 = bias;
	l->trend_1024 = max_u64(trend * bias / 1024, 1);
	l->pace_1024 = 1024 * 1024 / l->trend_1024;
}

/* Nobody waits: whoever runs takes nothing from anyone, and neither owes nor is owed. */
static __always_inline void reset_lag(struct task_ctx *t, const struct takt_knobs *k)
{
	struct llc_ctx *l = llc_ctx_of(t->llc);

	if ((s64)(t->vruntime - l->avg_vruntime) > 0)
		l->avg_vruntime = t->vruntime;
	else
		clamp_wakeup_lag(t, k);
}

/* The stretch of running that began at c->started_at is over, or goes on from here: charge for it.
 */
static __always_inline u64 account_runtime(struct cpu_ctx *c, struct task_ctx *t, u64 now)
{
	u64 ran_ns = now - c->started_at;

	if ((s64)ran_ns < 0) /* clocks of two CPUs may differ by a little */
		ran_ns = 0;
	t->slice_left_ns = c->slice_ns > ran_ns ? c->slice_ns - ran_ns : 0;
	t->vruntime = c->vruntime + delta_vruntime(ran_ns, c->weight_1024);
	t->runtime_ns = c->runtime_ns + ran_ns;
	c->unclocked_ns += ran_ns;
	if (c->unclocked_ns >= CLOCK_GRAIN_NS) {
		update_vtime(llc_ctx_of(t->llc), nr_waiting(c, t->llc), t->vruntime,
			     c->unclocked_ns, now);
		c->busy_ns += c->unclocked_ns;
		c->unclocked_ns = 0;
	}
	return ran_ns;
}

#endif /* TAKT_DEADLINE_BPF_H */
