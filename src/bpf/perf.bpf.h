/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How fast a CPU should run, for the cpufreq governor (schedutil).
 *
 * The kernel runs the CPUs of a sched_ext scheduler at full speed unless it is asked otherwise,
 * which is what latency wants. Where power is to be saved, each CPU asks for what it used, and a
 * quarter more: more at once, less by and by. It asks from its tick and when it goes idle, so that
 * no switch pays for it.
 *
 * Limits: a run segment counts when it ends, so that a long one may count for the period after it
 * as well: in that period the CPU is too fast rather than too slow.
 */
#ifndef TAKT_PERF_BPF_H
#define TAKT_PERF_BPF_H

#include "takt.bpf.h"

/* At most so often a CPU asks. Not measured: no machine here has cpufreq. */
#define PERF_PERIOD_NS (10ULL * 1000 * 1000)

bool perf_follows_load; /* set by the agent, at any time */

/* What to ask for, of SCX_CPUPERF_ONE, when @util_1024 was used and @last was asked for. */
static __always_inline u32 perf_for(u64 util_1024, u32 last)
{
	u32 perf = min_u64(util_1024 + util_1024 / 4, SCX_CPUPERF_ONE);

	return perf < last ? (last * 3 + perf) / 4 : perf;
}

static void ask_for_perf(s32 cpu, u64 now)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 elapsed = now - c->perf_at, began = max_u64(c->started_at, c->perf_at);
	u64 busy = c->busy_ns + c->unclocked_ns;

	if (!perf_follows_load) {
		scx_bpf_cpuperf_set(cpu, SCX_CPUPERF_ONE);
		c->perf_at = 0;
		return;
	}
	if (elapsed < PERF_PERIOD_NS)
		return;
	if (c->started_at && now > began)
		busy += now - began;
	c->perf = c->perf_at ? perf_for(min_u64(busy, elapsed) * 1024 / elapsed, c->perf)
			     : SCX_CPUPERF_ONE;
	scx_bpf_cpuperf_set(cpu, c->perf);
	c->busy_ns = 0;
	c->perf_at = now;
}

static __always_inline void hint_perf(s32 cpu, u64 now)
{
	if (perf_follows_load || cpu_ctx_of(cpu)->perf_at)
		ask_for_perf(cpu, now);
}

#endif /* TAKT_PERF_BPF_H */
