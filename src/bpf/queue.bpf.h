/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where tasks wait: one queue per LLC, and one per CPU for tasks that may use no other.
 *
 * Both are ordered by deadline. A CPU takes the earlier of the two heads. All CPUs of an LLC share
 * a queue and its lock, which is what keeps them fair to each other without migration logic; that
 * is its limit too: beyond some 16 CPUs per LLC the lock will show.
 */
#ifndef TAKT_QUEUE_BPF_H
#define TAKT_QUEUE_BPF_H

#include "deadline.bpf.h"

#define DSQ_OF_CPU_BASE 0x10000ULL

static __always_inline u64 dsq_of_llc(u32 llc)
{
	return llc;
}

static __always_inline u64 dsq_of_cpu(s32 cpu)
{
	return DSQ_OF_CPU_BASE | (u32)cpu;
}

/* The deadline at the head of a queue, or ~0 when it is empty. */
static u64 head_deadline(u64 dsq)
{
	struct task_struct *p;
	u64 deadline = ~0ULL;

	if (bpf_ksym_exists(scx_bpf_dsq_peek) && !pretend_no_peek) {
		p = scx_bpf_dsq_peek(dsq);
		return p ? p->scx.dsq_vtime : deadline;
	}
	bpf_for_each (scx_dsq, p, dsq, 0) {
		deadline = p->scx.dsq_vtime;
		break;
	}
	return deadline;
}

/*
 * Does anybody wait in the queue of @cpu alone? Spares the look-up while nobody ever does. To be
 * asked under the lock of @cpu only, as whoever joins that queue counts itself first.
 */
static __always_inline bool refresh_own_queue(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);

	if (nr_cpus_at_start == 1 || !c->nr_own)
		return false;
	c->nr_own = scx_bpf_dsq_nr_queued(dsq_of_cpu(cpu));
	return c->nr_own;
}

/* The earliest deadline that waits for @cpu; ~0: nobody waits. */
static u64 earliest_for(s32 cpu)
{
	u64 shared = head_deadline(dsq_of_llc(llc_of(cpu)));

	return refresh_own_queue(cpu) ? min_u64(shared, head_deadline(dsq_of_cpu(cpu))) : shared;
}

/* Counts anew how many wait in the queue of @llc. */
static __always_inline u32 recount(u32 llc)
{
	return llc_ctx_of(llc)->nr_queued = scx_bpf_dsq_nr_queued(dsq_of_llc(llc));
}

/* Takes the first due task out of the queue of @llc; false: it is empty. */
static __always_inline bool take_from_llc(u32 llc)
{
	struct llc_ctx *l = llc_ctx_of(llc);

	if (!scx_bpf_dsq_move_to_local(dsq_of_llc(llc), 0)) {
		l->nr_queued = 0;
		return false;
	}
	if (l->nr_queued)
		l->nr_queued--;
	return true;
}

/* Takes the first due task for @cpu; false: both queues are empty. */
static __always_inline bool take_first(s32 cpu)
{
	u64 own = dsq_of_cpu(cpu);
	u32 llc = llc_of(cpu);

	if (refresh_own_queue(cpu) && head_deadline(own) <= head_deadline(dsq_of_llc(llc)))
		return scx_bpf_dsq_move_to_local(own, 0);
	return take_from_llc(llc);
}

/* Is there nobody at all who would have to be asked before a task takes @cpu next? */
static __always_inline bool is_next_in_line(s32 cpu, const struct cpu_ctx *c)
{
	return !c->next_placed && !c->parked_pid && !llc_ctx_of(llc_of(cpu))->nr_queued &&
	       !c->nr_own;
}

#endif /* TAKT_QUEUE_BPF_H */
