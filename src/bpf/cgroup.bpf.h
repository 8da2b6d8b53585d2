/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What cpu.weight makes of a task's weight.
 *
 * Each cgroup competes with the tasks and cgroups beside it as one, by its own weight, and passes
 * on what it gets to the tasks and cgroups inside. With all queues flat, that is a factor on each
 *task's weight:
 *
 *	total(g)     = the weights of g's own runnable tasks, and of its cgroups that have any
 *	factor(g)    = factor(parent of g) * weight(g) / total(g)
 *	factor(root) = 1
 *
 * The runnable weight is counted per CPU, as tasks wake and sleep; a tick sums it up every
 * CGROUP_PERIOD_NS, for the cgroups that have been in use since. Tasks of the root are never
 * counted, so that a machine without cgroups pays one test per wakeup.
 *
 * Limits: cpu.max is not enforced (the agent warns once). The factor is one for all CPUs, as if a
 * cgroup's tasks were spread like all others. What is above CGROUP_ACTIVE_MAX cgroups in use at a
 * time, or finds no slot, counts as part of the root.
 */
#ifndef TAKT_CGROUP_BPF_H
#define TAKT_CGROUP_BPF_H

#include "rules.bpf.h"

#define CGROUP_ACTIVE_MAX 128
#define CGROUP_LEVEL_MAX  16
#define CGROUP_PROBES	  64
#define CGROUP_PERIOD_NS  (10ULL * 1000 * 1000)
#define NO_QUOTA	  (~0ULL) /* cpu.max says max */
#define FACTOR_ONE	  (1ULL << 20)
#define FACTOR_MAX	  (FACTOR_ONE << 10)

/*
 * A cgroup. id, weight, parent and level are written by the cgroup callbacks, one at a time; factor
 * and total by the CPU that sums up (cgroup_summing); active by both and by any CPU on which a task
 * of it becomes runnable. Read without a lock: an old factor is in force for a period more.
 */
struct cgroup_ctx {
	u64 id;	    /* as the kernel numbers it; 0: the slot is free */
	u64 factor; /* FACTOR_ONE: tasks have their own weights */
	u64 total;  /* of the weights inside; only used while summing up */
	u32 weight; /* cpu.weight, 100 by default */
	u32 parent; /* slot; 0: the root */
	u32 level;
	bool active; /* has had a runnable task since the last sum */
};

struct cgroup_ctx cgroup_ctxs[TAKT_MAX_CGROUPS]; /* slot 0 stands for the root */
u32 cgroup_slots_used;				 /* no slot from here on was ever used */
u32 cgroup_active[CGROUP_ACTIVE_MAX];		 /* scratch for summing up */
u32 cgroup_nr_active;
u64 cgroup_summed_at;
u32 cgroup_summing;  /* taken by the CPU that sums up */
u64 cgroup_with_max; /* id of one that sets cpu.max, of which the agent warns */

/*
 * Weights of the runnable tasks of each cgroup that were counted on this CPU; may be negative on
 * one, where a task went to sleep that woke on another. In rows: the kernel takes its time for each
 * element of such a map when it makes it (29 ms of loading for one element per cgroup).
 */
#define CGROUP_ROW 512 /* a power of two */

struct cgroup_loads {
	s64 weight[CGROUP_ROW];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TAKT_MAX_CGROUPS / CGROUP_ROW);
	__type(key, u32);
	__type(value, struct cgroup_loads);
} cgroup_loads SEC(".maps");

static __always_inline struct cgroup_ctx *cgroup_at(u32 slot)
{
	return &cgroup_ctxs[slot & (TAKT_MAX_CGROUPS - 1)];
}

/* The weight that a task counts with, times 1024. */
static __always_inline u64 weight_1024_of(const struct task_struct *p, const struct task_ctx *t)
{
	u64 weight = ruled_weight(t, p->scx.weight);

	if (!rule_enabled(CGROUP) || !t->cgroup)
		return weight * 1024;
	return max_u64(weight * cgroup_at(t->cgroup)->factor / (FACTOR_ONE / 1024), 1);
}

/* Marks a cgroup and its ancestors as in use. */
static __noinline void activate(u32 slot)
{
	u32 i;

	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		struct cgroup_ctx *g = cgroup_at(slot);

		if (!slot || g->active)
			return;
		g->active = true;
		slot = g->parent;
	}
}

static __always_inline void add_load(u32 slot, s64 weight)
{
	u32 row = slot / CGROUP_ROW;
	struct cgroup_loads *loads = bpf_map_lookup_elem(&cgroup_loads, &row);

	if (loads)
		loads->weight[slot & (CGROUP_ROW - 1)] += weight;
}

/* @p is runnable, or has another weight since it became so: adds that to its cgroup. */
static __always_inline void add_runnable_weight(const struct task_struct *p, struct task_ctx *t)
{
	u32 weight;

	if (!t->cgroup)
		return;
	weight = ruled_weight(t, p->scx.weight);
	if (t->counted == weight)
		return;
	add_load(t->cgroup, (s64)weight - t->counted);
	t->counted = weight;
	if (!cgroup_at(t->cgroup)->active)
		activate(t->cgroup);
}

/* @t sleeps, is taken off for a moment, or leaves us: removes its weight from its cgroup. */
static __always_inline void remove_runnable_weight(struct task_ctx *t)
{
	if (!t->counted)
		return;
	add_load(t->cgroup, -(s64)t->counted);
	t->counted = 0;
}

/* The runnable weight of a cgroup's own tasks. */
int sum_load(u32 slot)
{
	u32 cpu, row = slot / CGROUP_ROW;
	s64 sum = 0;

	bpf_for (cpu, 0, nr_cpu_ids) {
		struct cgroup_loads *loads = bpf_map_lookup_percpu_elem(&cgroup_loads, &row, cpu);

		if (loads)
			sum += loads->weight[slot & (CGROUP_ROW - 1)];
	}
	return sum > 0 ? sum : 0; /* of weights up to 100,000: fits */
}

/*
 * The four functions that follow are global so that the verifier looks at each once, by itself:
 * inlined into each other, their loops cost it 0.7 s.
 */

/* Lists the cgroups in use, with the weight of their own tasks. */
int list_active(void)
{
	u32 slot;

	cgroup_nr_active = 0;
	bpf_for (slot, 1, cgroup_slots_used) {
		struct cgroup_ctx *g = cgroup_at(slot);
		u32 nr = cgroup_nr_active;

		if (!g->active || nr >= CGROUP_ACTIVE_MAX)
			continue;
		g->total = sum_load(slot);
		cgroup_active[nr & (CGROUP_ACTIVE_MAX - 1)] = slot;
		cgroup_nr_active = nr + 1;
	}
	return 0;
}

/* Adds the cgroups of one level to the totals of their parents; those without runnable tasks are no
 * longer in use. */
int sum_level(u32 level)
{
	u32 i;

	bpf_for (i, 0, cgroup_nr_active) {
		struct cgroup_ctx *g = cgroup_at(cgroup_active[i & (CGROUP_ACTIVE_MAX - 1)]);

		if (g->level != level)
			continue;
		if (!g->total) {
			g->active = false;
		} else if (g->parent) {
			cgroup_at(g->parent)->total += g->weight;
			cgroup_at(g->parent)->active = true;
		}
	}
	return 0;
}

/* The cgroups of one level take their factors from their parents. */
int share_level(u32 level)
{
	u32 i;

	bpf_for (i, 0, cgroup_nr_active) {
		struct cgroup_ctx *g = cgroup_at(cgroup_active[i & (CGROUP_ACTIVE_MAX - 1)]);
		u64 factor = g->parent ? cgroup_at(g->parent)->factor : FACTOR_ONE;

		if (g->level != level)
			continue;
		factor = factor * g->weight / (g->total ?: 100);
		g->factor = max_u64(min_u64(factor, FACTOR_MAX), 1);
	}
	return 0;
}

int propagate_weights(void)
{
	u32 level;

	list_active();

	bpf_for (level, 0, CGROUP_LEVEL_MAX)
		sum_level(CGROUP_LEVEL_MAX - level);
	bpf_for (level, 1, CGROUP_LEVEL_MAX + 1)
		share_level(level);
	return 0;
}

/* Called by ticks: one CPU at a time sums up, as often as it takes. */
static __always_inline void refresh_cgroups(u64 now)
{
	if (!cgroup_slots_used || now - cgroup_summed_at < CGROUP_PERIOD_NS)
		return;
	if (__sync_val_compare_and_swap(&cgroup_summing, 0, 1))
		return;
	cgroup_summed_at = now;
	propagate_weights();
	cgroup_summing = 0;
}

/* The slot of a cgroup; 0 when it has none. With @take: a free one if need be. */
static u32 cgroup_slot(u64 id, bool take)
{
	u32 i, slot, free = 0;

	bpf_for (i, 0, CGROUP_PROBES) {
		slot = (id + i) & (TAKT_MAX_CGROUPS - 1);
		if (!slot)
			continue;
		if (cgroup_at(slot)->id == id)
			return slot;
		if (!free && !cgroup_at(slot)->id)
			free = slot;
	}
	return take ? free : 0;
}

static u32 slot_of(struct cgroup *cgrp)
{
	return cgrp->level ? cgroup_slot(cgrp->kn->id, false) : 0;
}

/* A cgroup was made. The kernel calls for parents first. */
static void cgroup_add(struct cgroup *cgrp, u32 weight)
{
	u32 slot = cgrp->level ? cgroup_slot(cgrp->kn->id, true) : 0;
	struct cgroup_ctx *g = cgroup_at(slot), *parent;

	if (!slot)
		return;
	g->parent = cgroup_slot(BPF_CORE_READ(cgrp, self.parent, cgroup, kn, id), false);
	g->level = min_u64(cgrp->level, CGROUP_LEVEL_MAX);
	g->weight = weight;
	g->active = false;
	parent = cgroup_at(g->parent);
	g->factor = (g->parent ? parent->factor : FACTOR_ONE) * weight / 100;
	g->id = cgrp->kn->id;
	if (slot >= cgroup_slots_used)
		cgroup_slots_used = slot + 1;
}

#endif /* TAKT_CGROUP_BPF_H */
