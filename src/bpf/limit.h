/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Formulas of cpu.max: the budget of a cgroup, in ns of CPU time. Plain C, so that they compile on
 * the host as well.
 *
 * Each period adds the quota to the budget, which holds quota + burst at most; what the tasks of
 * the cgroup run is taken off. While it is 0 or less they are throttled. A budget below 0 is a debt
 * that the next periods pay, so that the mean is exact, however late a slice ends. A debt from
 * before a period counts up to DEBT_MAX_NS, or DEBT_PERIODS quotas if that is more: what a task
 * computes inside the kernel, for minutes if need be, is not held against the others for hours.
 */
#ifndef TAKT_LIMIT_H
#define TAKT_LIMIT_H

#include "arith.h"

#define DEBT_MAX_NS  (250LL * 1000 * 1000) /* a tick of 64 CPUs */
#define DEBT_PERIODS 16
/* More periods than this at once fill any budget: DEBT_MAX_NS at 1 ms, the kernel's least quota. */
#define REFILL_PERIODS_MAX 1024
/* The kernel's own maximum is 2^44 us; less here, so that no product overflows. */
#define QUOTA_MAX_NS (1ULL << 50)

/* What @nr_periods, each of @quota_ns, make of @budget_ns. */
static __always_inline s64 refilled_ns(s64 budget_ns, u64 quota_ns, u64 burst_ns, u64 nr_periods)
{
	s64 max_ns = quota_ns + burst_ns;

	if (nr_periods > REFILL_PERIODS_MAX)
		return max_ns;
	budget_ns = max_s64(budget_ns, -max_s64(DEBT_MAX_NS, DEBT_PERIODS * quota_ns));
	budget_ns += quota_ns * nr_periods;
	return budget_ns < max_ns ? budget_ns : max_ns;
}

/* How many periods it takes until @budget_ns, 0 or less, is more than 0. */
static __always_inline u64 periods_in_debt(s64 budget_ns, u64 quota_ns)
{
	return (u64)-budget_ns / (quota_ns | !quota_ns) + 1;
}

/* At the end of how many of @nr_periods, each of @quota_ns, is @budget_ns used up? */
static __always_inline u64 used_up_periods(s64 budget_ns, u64 quota_ns, u64 nr_periods)
{
	return budget_ns > 0 ? 0 : min_u64(nr_periods, periods_in_debt(budget_ns, quota_ns));
}

#endif /* TAKT_LIMIT_H */
