/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finding an idle CPU. The kernel's built-in idle masks do the work. With SMT,
 * scx_bpf_select_cpu_dfl() looks for a core that is idle as a whole first: that of the previous
 * CPU, then one of its LLC, of its node, any. After that, and without SMT, for an idle CPU: the
 * previous one, then one of its LLC, of its node, any.
 */
#ifndef TAKT_IDLE_BPF_H
#define TAKT_IDLE_BPF_H

#include "deadline.bpf.h"
#include "domain.bpf.h"
#include "event.bpf.h"
#include "queue.bpf.h"
#include "task.bpf.h"

/* For how long a CPU that found nothing to do may not yet stand in the kernel's idle masks. 0 to 1
 * ms are the same to `fanout` and `messaging` on 4 CPUs: docs/results/2026-11-30-thresholds.md. */
#define IDLE_GRACE_NS 20000

/* For how long a search that found no idle CPU is believed. 0.25 to 100 ms are the same to `fanout`
 * on 4 CPUs, 0 costs 2.7 %; with 4 ms p50 of `wakeup` is 4 % lower. */
#define ALL_BUSY_NS 1000000

/* Has a search of late found no idle CPU at all, with none going idle since? Spares another. */
static __always_inline bool all_busy(const struct llc_ctx *l, u64 now)
{
	u64 busy_at = READ_ONCE(l->busy_at);

	return nr_llcs == 1 && now - busy_at < ALL_BUSY_NS &&
	       (s64)(busy_at - READ_ONCE(l->idled_at)) > IDLE_GRACE_NS;
}

/* Finds and claims an idle CPU for @p; negative: none. */
static __always_inline s32 claim_idle_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
					  u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(prev_cpu));
	bool found = false;
	s32 cpu;

	if (all_busy(l, now))
		return -1;
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SCX_WAKE_SYNC, &found);
	if (found)
		return cpu;
	if (nr_llcs == 1 && p->nr_cpus_allowed >= nr_cpus_at_start)
		WRITE_ONCE(l->busy_at, now);
	return -1;
}

/* @cpu has found nothing to do. */
static __always_inline void note_idle(s32 cpu, u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(cpu));

	WRITE_ONCE(l->idled_cpu, cpu);
	WRITE_ONCE(l->idled_at, now);
}

/*
 * @p waits in a queue that @cpu serves. A CPU may have gone idle after our search and before the
 * insert; kick the most recent one. What this misses, takt_tick() of a busy CPU finds.
 */
static __always_inline void kick_recent_idle_cpu(const struct task_struct *p, s32 cpu, u64 now)
{
	struct llc_ctx *l = llc_ctx_of(llc_of(cpu));
	s32 recent;

	if ((s64)(now - READ_ONCE(l->idled_at)) > IDLE_GRACE_NS)
		return;
	recent = READ_ONCE(l->idled_cpu);
	if (!may_use(p, recent))
		return;
	WRITE_ONCE(l->idled_at, 0);
	scx_bpf_kick_cpu(recent, SCX_KICK_IDLE);
}

/*
 * Claims an idle CPU that @p may use: the one of its LLC that ran out of work last, else any;
 * negative: there is none.
 */
static __always_inline s32 claim_any_idle_cpu(const struct task_struct *p, s32 cpu)
{
	s32 recent = READ_ONCE(llc_ctx_of(llc_of(cpu))->idled_cpu);

	if (nr_llcs > 1 && may_use(p, recent) && scx_bpf_test_and_clear_cpu_idle(recent))
		return recent;
	return scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
}

/* Kicks an idle CPU that @p, which belongs to @cpu, may use; false: there is none. */
static __always_inline bool kick_idle_cpu(const struct task_struct *p, s32 cpu)
{
	if (nr_cpus_at_start == 1)
		return false;
	cpu = claim_any_idle_cpu(p, cpu);
	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

/*
 * @p, which belongs to @cpu, may use several CPUs, and there was no domain left for it: goes to an
 * idle CPU at once. Else @t moves to the queue of any of its CPUs if fewer wait there. True: @p has
 * been sent. False: @p has to wait, in the queue of @t, which may now be that of another CPU.
 */
static __noinline bool spread_without_domain(struct task_struct *p, struct task_ctx *t, s32 cpu,
					     u64 slice_ns, u64 enq_flags)
{
	s32 other = claim_any_idle_cpu(p, cpu);

	if (other >= 0) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | other, slice_ns, enq_flags);
		return true;
	}
	other = bpf_cpumask_any_distribute(p->cpus_ptr);
	if ((u32)other < nr_cpu_ids && !cpu_offline[(u32)other & (TAKT_MAX_CPUS - 1)] &&
	    cpu_known[(u32)other & (TAKT_MAX_CPUS - 1)] && nr_own(other) < nr_own(cpu))
		move_to_queue(t, queue_of_cpu(other));
	return false;
}

/* The first task that waits in @queue: kicks an idle CPU that it may use; false: there is none. */
static __noinline bool kick_for_head(u32 queue, s32 cpu)
{
	struct task_struct *p;
	bool kicked = false;

	bpf_for_each (scx_dsq, p, queue, 0) {
		kicked = kick_idle_cpu(p, cpu);
		break;
	}
	return kicked;
}

/* Kicks an idle CPU for the head of each queue that @cpu serves, if it may use one. */
static __always_inline void kick_for_waiting(s32 cpu)
{
	u32 queue = queue_of_llc(llc_of(cpu)), i;
	u64 used = READ_ONCE(domains_used);

	if (nr_queued_in(queue) && kick_for_head(queue, cpu))
		stat_inc(nr_kicked);
	for_each_domain_of (i, used, cpu) {
		queue = TAKT_QUEUE_DOMAINS + i;
		if (nr_queued_in(queue) && kick_for_head(queue, cpu))
			stat_inc(nr_kicked);
	}
}

#endif /* TAKT_IDLE_BPF_H */
