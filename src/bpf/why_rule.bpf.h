/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which rule of scx_takt let a task wait, read from the records of the scheduler that runs: its
 * maps are shared with why.bpf.c, which only reads them. Nothing is asked of the scheduler.
 *
 * The order of the questions is that of is_preemptible() in preempt.bpf.h.
 *
 * Limits: read some microseconds after the decision, and without a lock: a record may be of the
 * next segment by then. Neither are the lags compared again, nor is it seen whether queues were
 * passed over (preempt.bpf.h): WHY_RULE_LAG is what is left.
 */
#ifndef TAKT_WHY_RULE_BPF_H
#define TAKT_WHY_RULE_BPF_H

#include "why.bpf.h"
#include "run_length.h"

#define SCHED_BATCH 3 /* include/uapi/linux/sched.h */

#define SCX_DSQ_FLAG_BUILTIN_BIT (1ULL << 63) /* enum scx_dsq_id_flags */

/* These stand for the maps of the scheduler, of the same names, and are replaced by them. */
struct cpu_ctx cpu_ctxs[TAKT_MAX_CPUS] SEC(".data.cpus");
struct takt_tunable_slots tunables SEC(".data.tunables");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

/* Why the task that runs on @c is not preempted by the one of @t: enum why_rule. */
static __always_inline u32 rule_of(const struct cpu_ctx *c, const struct task_ctx *t, u64 now)
{
	const struct takt_tunables *k = &tunables.slot[READ_ONCE(tunables.active) & 1];
	u64 started_at = c->started_at, ran_ns = now - started_at;

	if (t->latency_class == TAKT_LAT_BACKGROUND || t->policy == SCHED_BATCH)
		return WHY_RULE_NEVER_PREEMPTS;
	if (!started_at)
		return WHY_RULE_NOT_OURS;
	if (c->placed_in == started_at && !c->placed_sync)
		return WHY_RULE_PLACED_BEFORE;
	if ((s64)ran_ns < 0)
		return WHY_RULE_PROTECTED_BEGIN;
	if (is_very_short(t, k)) {
		if (c->runtime_ns + ran_ns <= c->protect_ns)
			return c->is_short ? WHY_RULE_PROTECTED_SHORT : WHY_RULE_PROTECTED_BEGIN;
	} else if (c->is_short) {
		if (ran_ns <= k->burst_max_ns)
			return WHY_RULE_PROTECTED_SHORT;
	} else if (c->runtime_ns + ran_ns <= k->preempt_after_ns) {
		return WHY_RULE_PROTECTED_BEGIN;
	} else if (c->runtime_ns + ran_ns <= c->protect_ns) {
		return WHY_RULE_PROTECTED_SLICE;
	}
	return WHY_RULE_LAG;
}

/* Notes which rule of scx_takt lets @p wait. */
static __always_inline void note_rule(struct why_wait *w, struct task_struct *p, bool woken)
{
	const struct cpu_ctx *c = &cpu_ctxs[w->cpu & (TAKT_MAX_CPUS - 1)];
	const struct task_ctx *t = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	const struct task_struct *curr = p->se.cfs_rq->rq->curr;

	if (!t || w->task.class != OBS_EXT)
		return;
	fill_task(&w->ruled, curr);
	if (w->dsq >= TAKT_THROTTLED && w->dsq < TAKT_THROTTLED + TAKT_MAX_CPUS)
		w->rule = WHY_RULE_THROTTLED;
	else if (w->dsq == TAKT_NO_DSQ || w->dsq & SCX_DSQ_FLAG_BUILTIN_BIT)
		w->rule = WHY_RULE_RUNS_NEXT;
	else if (!woken)
		w->rule = WHY_RULE_SLICE;
	else
		w->rule = rule_of(c, t, p->se.cfs_rq->rq->clock);
	w->protect_ns = c->is_short ? c->protect_ns : 0;
}

#endif /* TAKT_WHY_RULE_BPF_H */
