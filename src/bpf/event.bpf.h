/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters and events.
 *
 * A counter is one add to memory of this CPU. An event is a record in the ring, and rare by nature:
 * it never wakes the agent (BPF_RB_NO_WAKEUP), which looks on a timer; waking it from a scheduler
 * hook would make the hook its own cause. When the ring is full the event is lost and counted.
 */
#ifndef TAKT_EVENT_BPF_H
#define TAKT_EVENT_BPF_H

#include "takt.bpf.h"

static __always_inline struct takt_cpu_stats *stats_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_stats, &zero);
}

/* Only while somebody watches: readers take differences, and need no figures of before. */
#define count_add(field, n)                                                                        \
	({                                                                                         \
		struct takt_cpu_stats *__s = watched ? stats_here() : NULL;                        \
		if (__s)                                                                           \
			__s->field += (n);                                                         \
	})
#define count(field) count_add(field, 1)

/* Tells one event. Not inlined: it is off every fast path. */
static __noinline void tell(u32 type, u64 now, u64 value_ns, struct task_struct *p, s32 other_pid)
{
	struct takt_cpu_stats *s = stats_here();
	struct takt_event *e;

	if (!s || type >= TAKT_NR_EVENTS)
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		s->ev_failed[type]++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->at_ns = now;
	e->seq = s->ev_emitted[type]++;
	e->value_ns = value_ns;
	e->cpu = bpf_get_smp_processor_id();
	e->type = type;
	e->pid = p->pid;
	e->other_pid = other_pid;
	__builtin_memcpy(e->comm, p->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Tells the agent that it is over. */
static void tell_exit(void)
{
	struct takt_cpu_stats *s = stats_here();
	struct takt_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!s || !e) {
		if (e)
			bpf_ringbuf_discard(e, BPF_RB_FORCE_WAKEUP);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->at_ns = bpf_ktime_get_ns();
	e->seq = s->ev_emitted[TAKT_EV_EXIT]++;
	e->cpu = bpf_get_smp_processor_id();
	e->type = TAKT_EV_EXIT;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
}

/* Notes how long @p waited for the CPU that it has just got. Only called while watched. */
static __noinline void note_wait(struct task_struct *p, u64 now, u64 wait_ns, s32 ran_before)
{
	struct takt_cpu_stats *s = stats_here();
	u32 bucket = log2_u64(wait_ns) - 1; /* the header counts from 1 */

	if (!s)
		return;
	if (bucket >= TAKT_WAIT_BUCKETS)
		bucket = TAKT_WAIT_BUCKETS - 1;
	s->wait_hist[bucket]++;
	s->wait_ns += wait_ns;
	if (s->wait_epoch != watch_epoch) { /* the agent has taken the last maximum */
		s->wait_epoch = watch_epoch;
		s->wait_max_ns = 0;
	}
	if (wait_ns > s->wait_max_ns)
		s->wait_max_ns = wait_ns;
	if (wait_ns > knobs_now()->long_wait_ns)
		tell(TAKT_EV_LONG_WAIT, now, wait_ns, p, ran_before);
}

#endif /* TAKT_EVENT_BPF_H */
