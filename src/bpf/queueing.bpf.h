/* SPDX-License-Identifier: GPL-2.0-only */
/* With which slice and deadline a task waits. */
#ifndef TAKT_QUEUEING_BPF_H
#define TAKT_QUEUEING_BPF_H

#include "deadline.bpf.h"
#include "membership.bpf.h"
#include "queue.bpf.h"
#include "rules.bpf.h"
#include "vtime.h"

struct queue_place {
	u64 slice_ns;
	u64 deadline;
};

/*
 * @p, which waits since t->ready_at, is about to be put into the queue of @t. Counts it there and
 * in its cgroup, and brings its weight up to date. Its deadline is that of its lag. A task that was
 * preempted gets the rest of its slice, and a deadline lag_max before ready_at: it is near the
 * front.
 */
static __always_inline struct queue_place
enter_queue(const struct task_struct *p, struct task_ctx *t, const struct takt_tunables *k, u64 now)
{
	struct queue_place place;

	update_membership(p, t, true, now);
	reweight(p, t);
	place.slice_ns = slice_for(count_waiting(t, t->queue, k), t->weight_1024, k);
	place.deadline = deadline_of(t, t->weight_1024, t->ready_at, k);
	if (policy_enabled(KEEP_SLICE) && t->slice_left_ns && !is_background(t)) {
		place.slice_ns = min_u64(place.slice_ns, t->slice_left_ns);
		place.deadline = t->ready_at - k->lag_max_ns;
	}
	return place;
}

#endif /* TAKT_QUEUEING_BPF_H */
