/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What cpu.weight makes of a task's weight.
 *
 * Each cgroup competes with the tasks and cgroups beside it as one, by its own weight, and passes
 * on what it gets to the tasks and cgroups inside. With all queues flat, that is a factor on the
 * weight of each task:
 *
 *	total(g)     = the weights of g's own runnable tasks, and of its cgroups that have any
 *	factor(g)    = factor(parent of g) * weight(g) / total(g)
 *	factor(root) = 1
 *
 * Totals are kept, not summed up. A task is counted from when it is queued, when a tick finds it
 * running, or when it begins to run and runs for more than COUNTED_RUN_NS as a rule, until it
 * sleeps; a cgroup is counted in the total of its parent while its own is more than 0, and it has
 * used up no limit. So no work grows with the number of cgroups or CPUs. The factor is made anew,
 * of averages of the totals, when a task of the cgroup is queued or runs and the factor is older
 * than FACTOR_PERIOD_NS. Tasks of the root are never counted, so that a machine without cgroups
 * pays one test per wakeup.
 *
 * cpu.idle: weight 3 of 1024, as in EEVDF, and tasks as of policy SCHED_IDLE. Kernels before 6.19
 * have no callback for it: it is read from the kernel's own record when a factor is made.
 *
 * cpu.max: limit.bpf.h.
 *
 * Limits: the factor is one for all CPUs, as if a cgroup's tasks were spread like all others. Short
 * runs of tasks that need not wait are not counted: else each of them would write lines that all
 * CPUs share. What finds none of the TAKT_MAX_CGROUPS - 1 slots counts as part of the root; the
 * agent names it.
 */
#ifndef TAKT_CGROUP_BPF_H
#define TAKT_CGROUP_BPF_H

#include "limit.bpf.h"
#include "rules.bpf.h"

#define CGROUP_PROBES	   64
#define FACTOR_PERIOD_NS   (8ULL * 1000 * 1000)
#define AVERAGE_SHIFT	   24 /* over 2^24 ns = 17 ms */
#define COUNTED_RUN_NS	   (100ULL * 1000)
#define SESSION_EXPIRES_NS (10ULL * 1000 * 1000 * 1000)
#define FACTOR_ONE	   (1ULL << 20)
#define FACTOR_MAX	   (FACTOR_ONE << 10)
#define FACTOR_GUARD	   12 /* more bits while it is made, for deep trees */
/* Totals count weights times 64, so that the one of cpu.idle, 3 * 100 / 1024, can be told. */
#define WEIGHT_UNIT 64
#define IDLE_WEIGHT (3 * 100 * WEIGHT_UNIT / 1024 + 1)

/*
 * A cgroup, or a session. A slot is taken by a compare-and-swap of id, and freed by a plain store
 * of 0. cgrp and parent are written as it is made and removed, under cgroup_mutex; weight then and
 * by takt_cgroup_set_weight(): of two at once the last one counts. total and counted are changed
 * atomically by any CPU. The rest is written without a lock by any CPU on which a task of it is
 * queued, runs or sleeps: all of them would write the same, but for microseconds.
 */
struct cgroup_ctx {
	u64 id;		/* as the kernel numbers it; of a session: see membership.bpf.h; 0: free */
	u64 cgrp;	/* address of its struct cgroup; may be gone; 0: a session */
	s64 total;	/* of the weights inside, in WEIGHT_UNIT */
	s64 average;	/* of total, over 2^AVERAGE_SHIFT ns */
	u64 average_at; /* ns; when it was made */
	u64 factor_at;	/* ns; when it was made */
	u32 factor;	/* FACTOR_ONE: tasks have their own weights */
	u32 counted;	/* its weight, as its parent has counted it; 0: it has not */
	u16 weight;	/* cpu.weight, 100 by default; 0: the cgroup is gone */
	u16 parent;	/* slot; 0: the root */
	u8 idle;	/* its cpu.idle */
	u8 in_idle;	/* that, or one of a cgroup around it */
	u16 limited_by; /* slot of the nearest, itself or around it, that sets cpu.max; 0: none */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct cgroup_ctx) == CACHE_LINE, "one line per cgroup");
_Static_assert(TAKT_MAX_CGROUPS <= 1 << 16, "parent holds a slot");

struct cgroup_ctx cgroup_ctxs[TAKT_MAX_CGROUPS]; /* slot 0 stands for the root */
bool cgroups_used;
u64 cgroup_without_slot; /* id of one that counts as part of the root: the agent warns */

static __always_inline struct cgroup_ctx *cgroup_at(u32 slot)
{
	return &cgroup_ctxs[slot & (TAKT_MAX_CGROUPS - 1)];
}

/* The weight that a task counts with, times 1024. */
static __always_inline u64 weight_1024_of(const struct task_struct *p, const struct task_ctx *t)
{
	u64 weight = ruled_weight(t, p->scx.weight);

	if (!policy_enabled(CGROUP) || !t->cgroup)
		return weight * 1024;
	return max_u64(weight * READ_ONCE(cgroup_at(t->cgroup)->factor) / (FACTOR_ONE / 1024), 1);
}

/* What @g weighs in its parent, in WEIGHT_UNIT. */
static __always_inline u32 group_weight(const struct cgroup_ctx *g)
{
	return g->idle && g->weight ? IDLE_WEIGHT : g->weight * WEIGHT_UNIT;
}

/*
 * The functions below that are global are so that the verifier looks at each once, by itself:
 * inlined into each other they cost it 5 s.
 *
 * Returns by how much the total of the parent of the cgroup in @slot changes, as it has tasks that
 * may run, or none, or another weight. What is counted is exchanged as a whole, so that each change
 * is made once, whatever other CPUs do; the one that exchanges last looks again. One that is
 * interrupted by others again and again leaves it to the next.
 */
__noinline int recount_in_parent(u32 slot)
{
	struct cgroup_ctx *g = cgroup_at(slot);
	u32 i, weight;
	int change = 0; /* of weights up to 10,000: fits */

	for (i = 0; i < 3 && g->parent; i++) {
		weight = READ_ONCE(g->total) > 0 && has_budget(slot) ? group_weight(g) : 0;
		if (READ_ONCE(g->counted) == weight)
			break;
		change += weight;
		change -= __sync_lock_test_and_set(&g->counted, weight);
	}
	return change;
}

/* The total of @g is about to change, or needed. Without a lock: what is lost is soon made up for.
 */
static __always_inline void update_average(struct cgroup_ctx *g, u64 now)
{
	s64 ns = min_u64(elapsed_ns(READ_ONCE(g->average_at), now), 1 << AVERAGE_SHIFT);
	s64 average = READ_ONCE(g->average);

	WRITE_ONCE(g->average, average + ((READ_ONCE(g->total) - average) * ns >> AVERAGE_SHIFT));
	WRITE_ONCE(g->average_at, now);
}

/* Adds @change to the total of the cgroup in @slot; to those around it, as it becomes runnable or
 * stops being so, or has another weight. */
__noinline int add_to_total(u32 slot, s64 change, u64 now)
{
	u32 i;

	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		struct cgroup_ctx *g = cgroup_at(slot);

		if (!slot)
			break;
		update_average(g, now);
		__sync_fetch_and_add(&g->total, change);
		change = recount_in_parent(slot);
		if (!change)
			break;
		slot = g->parent;
	}
	return 0;
}

/*
 * Reads cpu.idle and cpu.max of @g, in @slot. Its struct task_group is found anew each time: the
 * kernel calls us before it has put that into the cgroup. css is the first member of it: css_tg()
 * in kernel/sched/core.c.
 */
static __always_inline void read_settings(struct cgroup_ctx *g, u32 slot, u64 now)
{
	struct cgroup *cgrp = (void *)g->cgrp;
	u32 id = bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id);
	struct task_group___takt *group = NULL;
	int idle = 0;

	if (!bpf_core_field_exists(group->idle) || !READ_ONCE(g->weight))
		return; /* the cgroup is gone: a task of it that exits may still count */
	bpf_core_read(&group, sizeof(group), &cgrp->subsys[id & 31]);
	BPF_CORE_READ_INTO(&idle, group, idle);
	g->idle = idle > 0;
	read_limit(slot, group, now);
}

/* Reads the weight of @g, a session, which its autogroup nice value sets: 2^20 is that of nice 0.
 */
static __always_inline void update_session_weight(struct cgroup_ctx *g)
{
	const struct task_group___takt *group = (void *)g->id;
	unsigned long shares = 0;

	if (bpf_core_field_exists(group->shares))
		BPF_CORE_READ_INTO(&shares, group, shares);
	g->weight = min_u64(max_u64(shares * 100 >> 20, 1), 10000);
}

/* Brings what is known of the cgroup in @slot up to date; returns what it weighs in its parent. */
__noinline int update_cgroup(u32 slot, u64 now)
{
	struct cgroup_ctx *g = cgroup_at(slot);

	if (g->cgrp)
		read_settings(g, slot, now);
	else
		update_session_weight(g);
	add_to_total(slot, 0, now);
	return group_weight(g);
}

/*
 * Makes the factor of the cgroup in @slot, a task of which, of @weight, is runnable. Stores it, and
 * what it reads of the cgroups around, without a lock: see cgroup_ctx. With as few branches as can
 * be: the verifier follows each in each round.
 */
__noinline int make_factor(u32 slot, u32 weight, u64 now)
{
	struct cgroup_ctx *own = cgroup_at(slot);
	u64 factor = FACTOR_ONE << FACTOR_GUARD, inside = weight * WEIGHT_UNIT;
	u32 i, in_idle = 0;

	own->factor_at = now;
	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		struct cgroup_ctx *g = cgroup_at(slot);

		if (!slot)
			break;
		weight = update_cgroup(slot, now);
		in_idle |= g->idle;
		factor = factor * weight / (max_u64(g->average, inside) | 1);
		factor = min_u64(factor, FACTOR_MAX << FACTOR_GUARD) | 1;
		inside = weight;
		slot = g->parent;
	}
	own->in_idle = in_idle;
	own->factor = max_u64(factor >> FACTOR_GUARD, 1);
	return 0;
}

/* What has @slot from now on, if anything, sets no limit as far as is known. */
static __always_inline void clear_limit(u32 slot)
{
	struct limit_ctx *l = limit_at(slot);

	cgroup_at(slot)->limited_by = 0;
	l->quota_ns = 0;
	l->nr_periods = 0;
	l->nr_throttled = 0;
	l->throttled_ns = 0;
	l->throttled_at = 0;
}

/* Which of the cgroup in @slot and those around it set a limit, by what was read of each. */
__noinline int chain_limits(u32 slot)
{
	struct cgroup_ctx *own = cgroup_at(slot);
	u32 i, inner = slot, nearest = 0;

	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		if (!slot)
			break;
		if (limit_at(slot)->quota_ns) {
			if (!nearest)
				nearest = slot;
			else
				limit_at(inner)->outer = slot;
			inner = slot;
		}
		slot = cgroup_at(slot)->parent;
	}
	if (nearest)
		limit_at(inner)->outer = 0;
	own->limited_by = nearest;
	return 0;
}

/* @t is runnable, and counts with @weight in its cgroup from now on; with 0: no longer. */
static __always_inline void count_weight(struct task_ctx *t, u32 weight, u64 now)
{
	if (t->counted == weight)
		return;
	add_to_total(t->cgroup, ((s64)weight - t->counted) * WEIGHT_UNIT, now);
	t->counted = weight;
}

/* @t of @weight is queued or runs: its cgroup has a factor of now. */
static __always_inline void update_factor(struct task_ctx *t, u32 weight, u64 now)
{
	struct cgroup_ctx *g = cgroup_at(t->cgroup);
	bool in_idle;

	if (now - READ_ONCE(g->factor_at) >= FACTOR_PERIOD_NS) {
		make_factor(t->cgroup, weight, now);
		if (limits_used)
			chain_limits(t->cgroup);
	}
	in_idle = READ_ONCE(g->in_idle);
	if (t->in_idle_cgroup != in_idle) {
		t->in_idle_cgroup = in_idle;
		note_latency_class(t);
	}
}

/* May the slot of @g be taken? That of a session may once its tasks have slept for a while. */
static __always_inline bool is_free_slot(const struct cgroup_ctx *g, u64 now)
{
	return !g->id ||
	       (!g->cgrp && g->total <= 0 && elapsed_ns(g->average_at, now) > SESSION_EXPIRES_NS);
}

/* The slot known by @id, from @first on; if there is none, one is taken, unless @now is 0. 0: none
 * is free. */
__noinline int probe_slots(u64 id, u32 first, u64 now)
{
	u32 i, slot;
	u64 old;

	bpf_for (i, 0, CGROUP_PROBES) {
		slot = (first + i) & (TAKT_MAX_CGROUPS - 1);
		if (slot && cgroup_at(slot)->id == id)
			return slot;
	}
	bpf_for (i, 0, now ? CGROUP_PROBES : 0) {
		slot = (first + i) & (TAKT_MAX_CGROUPS - 1);
		old = READ_ONCE(cgroup_at(slot)->id);
		if (slot && is_free_slot(cgroup_at(slot), now) &&
		    __sync_val_compare_and_swap(&cgroup_at(slot)->id, old, id) == old)
			return slot;
	}
	return 0;
}

/* The same, so that the compiler does not know that it is a slot, and the verifier can see it
 * masked. */
static __always_inline u32 find_or_take_slot(u64 id, u32 first, u64 now)
{
	u32 slot = probe_slots(id, first, now);

	barrier_var(slot);
	return slot;
}

static u32 slot_of(struct cgroup *cgrp)
{
	return cgrp->level ? find_or_take_slot(cgrp->kn->id, cgrp->kn->id, 0) : 0;
}

/*
 * A cgroup was made. The kernel calls for parents first. A slot keeps its total: a task of the
 * cgroup that had it before may still be about to exit.
 */
static void add_cgroup(struct cgroup *cgrp, u32 weight)
{
	u64 id = cgrp->kn->id, parent = BPF_CORE_READ(cgrp, self.parent, cgroup, kn, id);
	u64 now = scx_bpf_now();
	u32 slot = cgrp->level ? find_or_take_slot(id, id, now) : 0;
	struct cgroup_ctx *g = cgroup_at(slot);

	if (!slot) {
		if (cgrp->level)
			cgroup_without_slot = id;
		return;
	}
	g->parent = find_or_take_slot(parent, parent, 0);
	g->cgrp = (u64)cgrp;
	g->weight = weight;
	clear_limit(slot);
	make_factor(slot, 100, now);
	g->factor_at = 0;
	cgroups_used = true;
}

/* A cgroup was removed; those inside were before. */
static void remove_cgroup(struct cgroup *cgrp)
{
	u32 slot = slot_of(cgrp);
	struct cgroup_ctx *g = cgroup_at(slot);

	if (!slot)
		return;
	g->weight = 0;
	g->idle = false;
	clear_limit(slot); /* a session may have the slot next */
	add_to_total(slot, 0, scx_bpf_now());
	g->id = 0;
}

static void set_cgroup_weight(struct cgroup *cgrp, u32 weight)
{
	u32 slot = slot_of(cgrp);
	struct cgroup_ctx *g = cgroup_at(slot);

	if (!slot)
		return;
	g->weight = weight;
	add_to_total(slot, 0, scx_bpf_now());
	g->factor_at = 0;
}

#endif /* TAKT_CGROUP_BPF_H */
