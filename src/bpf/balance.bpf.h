/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work that waits in one LLC while a CPU of another has nothing to do.
 *
 * A CPU about to go idle takes the first due task of the next LLC that has one, those of its own
 * node first. That is when moving pays by itself: the task would wait, and the CPU would sleep.
 * Limits: it does not weigh the cold cache against how soon the task's own LLC would have come to
 * it.
 */
#ifndef TAKT_BALANCE_BPF_H
#define TAKT_BALANCE_BPF_H

#include "preempt.bpf.h"

static bool steal(s32 cpu)
{
	u32 own = llc_of(cpu), i;

	if (nr_llcs == 1)
		return false;
	bpf_for (i, 0, nr_llcs - 1) {
		u32 llc = steal_order[(own * TAKT_MAX_LLCS + i) &
				      (TAKT_MAX_LLCS * TAKT_MAX_LLCS - 1)];

		if (recount(llc) && take_from_llc(llc))
			return true;
	}
	return false;
}

/* Hands the tasks that wait in @dsq and belong to @cpu to @cpu itself. */
static __always_inline void move_cpu_tasks(u64 dsq, s32 cpu)
{
	struct task_struct *p;

	bpf_for_each (scx_dsq, p, dsq, 0) {
		if (scx_bpf_task_cpu(p) == cpu)
			scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL_ON | cpu, 0);
	}
}

/*
 * @cpu goes offline. The kernel asks it for no more work from our queues, and sends away whatever
 * is in its local one, breaking its affinity where need be. It waits until nothing belongs to the
 * CPU any longer (sched_cpu_wait_empty() in kernel/sched/core.c): a task in one of our queues that
 * no other CPU may take would hold it up for ever.
 *
 * Before it gets here, the kernel waits for all RCU read-side sections (sched_cpu_deactivate()),
 * when it asks for no more work already. Hence a task that was preempted in one, and may run on no
 * other CPU, waits in the local queue: in one of ours it would hold up both until the watchdog
 * comes.
 */
static void drain_cpu(s32 cpu)
{
	move_cpu_tasks(dsq_of_cpu(cpu), cpu);
	move_cpu_tasks(dsq_of_llc(llc_of(cpu)), cpu);
}

#endif /* TAKT_BALANCE_BPF_H */
