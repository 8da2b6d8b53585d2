/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where tasks wait: one queue per LLC, and one per CPU for tasks that may use no other.
 *
 * Both are ordered by deadline. A CPU takes the earlier of the two heads. All CPUs of an LLC share a queue
 * and its lock, which is what keeps them fair to each other without migration logic; that is its limit too:
 * beyond some 16 CPUs per LLC the lock will show.
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
	bpf_for_each(scx_dsq, p, dsq, 0) {
		deadline = p->scx.dsq_vtime;
		break;
	}
	return deadline;
}

/* The earliest deadline that waits for @cpu. */
static u64 earliest_for(s32 cpu)
{
	u64 shared = head_deadline(dsq_of_llc(llc_of(cpu)));
	u64 own = head_deadline(dsq_of_cpu(cpu));

	return (s64)(own - shared) < 0 && own != ~0ULL ? own : shared;
}

/* Takes the first due task for @cpu; false: both queues are empty. */
static __always_inline bool take_first(s32 cpu)
{
	u64 shared = dsq_of_llc(llc_of(cpu)), own = dsq_of_cpu(cpu);

	if (scx_bpf_dsq_nr_queued(own) && head_deadline(own) <= head_deadline(shared))
		return scx_bpf_dsq_move_to_local(own, 0);
	return scx_bpf_dsq_move_to_local(shared, 0);
}

#endif /* TAKT_QUEUE_BPF_H */
