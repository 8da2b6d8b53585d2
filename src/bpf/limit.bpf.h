/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu.max: how much CPU time the tasks of a cgroup, and of those inside it, may have per period.
 *
 * Each cgroup that sets cpu.max has a budget (limit.h). What a task runs is taken off that of its
 * cgroup and of all around it, at the end of each run segment and at each tick. A task is throttled
 * while any of them is used up: throttle.bpf.h. Cgroups without a limit are skipped: each knows the
 * nearest one around it that has one.
 *
 * The limit is read from the kernel's own record (struct cfs_bandwidth) when a factor is made, on
 * all kernels alike: the callback for it, from 6.17 on, only says that it is time to.
 *
 * Limits: a cgroup is over its quota by the rest of a slice per CPU, which ends at a tick; the next
 * periods pay for it. Each tick of each CPU that runs its tasks writes the same cache line; EEVDF
 * hands out 5 ms to a CPU at once.
 */
#ifndef TAKT_LIMIT_BPF_H
#define TAKT_LIMIT_BPF_H

#include "takt.bpf.h"
#include "limit.h"

#define CGROUP_LEVEL_MAX 24

/*
 * The limit of the cgroup in the slot of the same number. The first line is written, without a
 * lock, by any CPU that makes the factor of a cgroup inside: all of them would write the same. Of
 * the second, budget_ns and refilled_at are changed atomically by any CPU, and room_ns and
 * room_until are written without a lock by CPUs that release tasks: what is lost there releases
 * some tasks too many, which are throttled anew. The counts are for people, no decision uses them:
 * written without a lock by the CPU that refills the budget as a period ends, throttled_at as a
 * task is throttled as well. Of two at once a count may be lost.
 */
struct limit_ctx {
	u64 quota_ns; /* 0: it sets no limit */
	u64 period_ns;
	u64 burst_ns;
	u32 outer; /* slot of the next cgroup around it that sets a limit; 0: none does */

	s64 budget_ns __attribute__((aligned(CACHE_LINE)));
	u64 refilled_at;  /* ns; when the period began */
	s64 room_ns;	  /* for tasks that are released now: throttle.bpf.h */
	u64 room_until;	  /* ns; until when that counts */
	u64 nr_periods;	  /* that have ended, in which a task of it ran or waited for the budget */
	u64 nr_throttled; /* of them, those at whose end tasks were throttled */
	u64 throttled_ns; /* from the first throttled task of a period until the budget returned */
	u64 throttled_at; /* ns; since when that is to be counted; 0: no task is throttled */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct limit_ctx) == 2 * CACHE_LINE, "two lines per cgroup");

struct limit_ctx limit_ctxs[TAKT_MAX_CGROUPS];
bool limits_used; /* some cgroup has set a limit since the load */

/* What is read of the kernel's own; its whole type would add to what is loaded. */
struct cfs_bandwidth___takt {
	s64 period; /* ns; ktime_t */
	u64 quota;  /* ns; RUNTIME_INF, all bits set: none */
	u64 burst;  /* ns */
} __attribute__((preserve_access_index));

struct task_group___takt {
	int idle;
	unsigned long shares;
	struct cfs_bandwidth___takt cfs_bandwidth;
} __attribute__((preserve_access_index));

static __always_inline struct limit_ctx *limit_at(u32 slot)
{
	return &limit_ctxs[slot & (TAKT_MAX_CGROUPS - 1)];
}

/* Reads the limit of @group, whose cgroup is in @slot. A new one begins with a whole quota. */
static __always_inline void read_limit(u32 slot, const struct task_group___takt *group, u64 now)
{
	struct limit_ctx *l = limit_at(slot);
	u64 quota = ~0ULL, period = 0, burst = 0;

	if (!bpf_core_field_exists(group->cfs_bandwidth.burst))
		return;
	BPF_CORE_READ_INTO(&quota, group, cfs_bandwidth.quota);
	if (quota == ~0ULL) {
		if (l->quota_ns)
			l->quota_ns = 0;
		return;
	}
	BPF_CORE_READ_INTO(&period, group, cfs_bandwidth.period);
	BPF_CORE_READ_INTO(&burst, group, cfs_bandwidth.burst);
	quota = min_u64(quota, QUOTA_MAX_NS);
	if (!quota || !period || (l->quota_ns == quota && l->period_ns == period))
		goto burst;
	l->period_ns = period;
	l->refilled_at = now;
	l->budget_ns = quota;
	l->room_until = 0;
	l->quota_ns = quota;
	limits_used = true;
burst:
	l->burst_ns = min_u64(burst, QUOTA_MAX_NS);
}

/* May tasks of the cgroup in @slot run, as far as its own limit goes? */
static __always_inline bool has_budget(u32 slot)
{
	const struct limit_ctx *l = limit_at(slot);

	return !limits_used || !READ_ONCE(l->quota_ns) || READ_ONCE(l->budget_ns) > 0;
}

/*
 * The functions below are global so that the verifier looks at each once, by itself: in a loop it
 * would follow each of their ways in each round.
 *
 * @nr_periods of the limit in @slot, the first of which began at @since, have ended: adds what they
 * bring to the budget, and counts them.
 */
__noinline int end_periods(u32 slot, u64 since, u64 nr_periods)
{
	struct limit_ctx *l = limit_at(slot);
	s64 budget = READ_ONCE(l->budget_ns);
	s64 refilled = refilled_ns(budget, l->quota_ns, l->burst_ns, nr_periods);
	u64 used_up = used_up_periods(budget, l->quota_ns, nr_periods);
	u64 end = since + used_up * l->period_ns, at = READ_ONCE(l->throttled_at);

	__sync_fetch_and_add(&l->budget_ns, refilled - budget);
	WRITE_ONCE(l->room_until, 0);
	l->nr_periods += max_u64(used_up, 1);
	if (!at)
		return 0;
	l->nr_throttled += used_up;
	l->throttled_ns += elapsed_ns(at, end);
	WRITE_ONCE(l->throttled_at, refilled > 0 ? 0 : end);
	return 0;
}

/* Adds what the periods that have ended until @now bring. Of several CPUs one does. */
static __always_inline void refill(u32 slot, u64 now)
{
	struct limit_ctx *l = limit_at(slot);
	u64 since = READ_ONCE(l->refilled_at), period = READ_ONCE(l->period_ns), nr;

	if (!period || elapsed_ns(since, now) < period)
		return;
	nr = (now - since) / period;
	if (__sync_val_compare_and_swap(&l->refilled_at, since, since + nr * period) == since)
		end_periods(slot, since, nr);
}

/*
 * @slot is that of a cgroup that sets a limit: these look at it and those around it.
 *
 * Takes @ran_ns off the budgets. Returns what is left of the smallest one, up to 1 s, in ns; 0 or
 * less: it is used up.
 */
__noinline s64 charge_limits(u32 slot, u64 ran_ns, u64 now)
{
	s64 left = 1000 * 1000 * 1000, budget;
	u32 i;

	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		struct limit_ctx *l = limit_at(slot);

		if (!slot)
			break;
		refill(slot, now);
		if (ran_ns)
			__sync_fetch_and_add(&l->budget_ns, -ran_ns);
		budget = READ_ONCE(l->budget_ns);
		if (l->quota_ns && budget < left)
			left = budget;
		slot = l->outer;
	}
	return left;
}

/* A task is throttled: when none of the budgets is used up any longer, if no task runs until then;
 * 0: now. */
__noinline u64 budgets_return_at(u32 slot, u64 now)
{
	u64 at = 0, end;
	s64 budget;
	u32 i;

	bpf_for (i, 0, CGROUP_LEVEL_MAX) {
		struct limit_ctx *l = limit_at(slot);

		if (!slot)
			break;
		budget = READ_ONCE(l->budget_ns);
		if (l->quota_ns && budget <= 0) {
			end = l->refilled_at + periods_in_debt(budget, l->quota_ns) * l->period_ns;
			at = max_u64(at, end);
			__sync_val_compare_and_swap(&l->throttled_at, 0, now);
		}
		slot = l->outer;
	}
	return at;
}

#endif /* TAKT_LIMIT_BPF_H */
