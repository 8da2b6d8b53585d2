/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work that waits in one LLC while a CPU of another has nothing to do.
 *
 * A CPU about to go idle takes the first due task of the next LLC that has one, in a fixed round
 * from its own. Limits: it does not weigh the cost of the cold cache yet, nor prefers LLCs of its
 * own node.
 */
#ifndef TAKT_BALANCE_BPF_H
#define TAKT_BALANCE_BPF_H

#include "preempt.bpf.h"

static bool steal(s32 cpu)
{
	u32 own = llc_of(cpu), i;

	if (nr_llcs == 1)
		return false;
	bpf_for (i, 1, nr_llcs) {
		u32 llc = (own + i) % nr_llcs;

		if (scx_bpf_dsq_nr_queued(dsq_of_llc(llc)) &&
		    scx_bpf_dsq_move_to_local(dsq_of_llc(llc), 0))
			return true;
	}
	return false;
}

#endif /* TAKT_BALANCE_BPF_H */
