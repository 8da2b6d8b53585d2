/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters and events.
 *
 * A counter is one add to memory of this CPU. An event is a record in the ring, for what is
 * worth a line of its own.
 *
 * Accounting. Each attempt to send is numbered, per CPU and type, before anything can fail. What
 * the ring has no room for is counted, so that attempts = received + failed in the end, and the
 * agent holds the scheduler to it. The rate limit lets so many events of a type through per window
 * and CPU, and counts the rest, which are no attempts.
 *
 * Notification. An event does not wake the agent (BPF_RB_NO_WAKEUP), which looks on a timer: waking
 * it from a scheduler hook would make the hook its own cause. It is woken (BPF_RB_FORCE_WAKEUP) as
 * the ring becomes half full, and for a fault or the end. The default notification is never used:
 * beside NO_WAKEUP it finds unread records and wakes no reader.
 *
 * Limits: the fill is not tracked exactly: a CPU that finds it within some records above the mark
 * wakes the agent. If CPUs jump over that band at once, the timer finds the records.
 */
#ifndef TAKT_EVENT_BPF_H
#define TAKT_EVENT_BPF_H

#include "takt.bpf.h"
#include "vtime.h"

static __always_inline struct takt_cpu_stats *stats_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_stats, &zero);
}

/* Only while a reader watches: readers take differences, and need no figures of before. */
#define stat_add(field, n)                                                                         \
	({                                                                                         \
		struct takt_cpu_stats *__s = stats_watched ? stats_here() : NULL;                  \
		if (__s)                                                                           \
			__s->field += (n);                                                         \
	})
#define stat_inc(field) stat_add(field, 1)

/* Above the mark by less than this: the mark was crossed just now. */
#define RING_MARK_BAND (32 * (sizeof(struct takt_event) + 8))

/* Does a reader want events of this @type? */
static __always_inline bool event_enabled(u32 type)
{
	return events_wanted & (1U << type);
}

/* Wakes the agent when the ring has just become half full. */
static __always_inline u64 wakeup_flags(void)
{
	u64 above = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - TAKT_RING_MARK;

	return above < RING_MARK_BAND ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Numbers @e and sends it. Not inlined: it is off every fast path. */
static __noinline void send_event(struct takt_event *e, u64 flags)
{
	struct takt_cpu_stats *s = stats_here();
	u32 type = e->type;

	if (!s || type >= TAKT_NR_EVENTS)
		return;
	e->seq = s->ev_attempts[type]++;
	e->cpu = bpf_get_smp_processor_id();
	if (bpf_ringbuf_output(&events, e, sizeof(*e), flags))
		s->ev_failed[type]++;
}

/* May one more event of this @type be emitted? Counts it, or counts it as suppressed. */
static __always_inline bool count_if_within_rate(u32 type, u64 now)
{
	struct takt_cpu_stats *s = stats_here();
	u32 zero = 0;
	struct event_limiters *g = bpf_map_lookup_elem(&event_limiters, &zero);

	if (!s || !g || type >= TAKT_NR_EVENTS)
		return false;
	if (now - g->since[type] >= TAKT_EVENT_WINDOW_NS) {
		g->since[type] = now;
		g->emitted[type] = 0;
	}
	if (g->emitted[type] >= event_limit) {
		s->ev_suppressed[type]++;
		return false;
	}
	g->emitted[type]++;
	return true;
}

static __always_inline void name_event(struct takt_event *e, const struct task_struct *p)
{
	e->pid = p->pid;
	__builtin_memcpy(e->comm, p->comm, sizeof(e->comm));
}

/* The last argument of emit_event(): a CPU, and another task's PID or an LLC. */
static __always_inline u64 cpu_and(s32 cpu, u32 other)
{
	return (u64)cpu << 32 | other;
}

/*
 * Emits one event about @p, unless there were too many of them. It does not take the event itself:
 * the verifier goes anew, for each caller, through a function that gets a pointer into the stack of
 * its caller.
 */
static __noinline void emit_event(u32 type, u64 now, u64 value_ns, struct task_struct *p,
				  u64 cpu_and_other)
{
	struct takt_event e = {
		.type = type, .value_ns = value_ns, .target_cpu = cpu_and_other >> 32};

	if (!count_if_within_rate(type, now))
		return;
	if (type == TAKT_EV_MIGRATE)
		e.detail = cpu_and_other;
	else
		e.other_pid = cpu_and_other;
	e.at_ns = bpf_ktime_get_ns(); /* @now is of the run queue's clock, which no reader has */
	name_event(&e, p);
	send_event(&e, wakeup_flags());
}

/* Emits that the scheduler has left the kernel; wakes the agent. */
static void emit_exit(void)
{
	struct takt_event e = {.type = TAKT_EV_EXIT, .at_ns = bpf_ktime_get_ns()};

	send_event(&e, BPF_RB_FORCE_WAKEUP);
}

/* Emits that the scheduler is wrong about @p; wakes the agent. */
static void emit_fault(const struct task_struct *p, u32 fault)
{
	struct takt_event e = {.type = TAKT_EV_FAULT, .at_ns = bpf_ktime_get_ns(), .detail = fault};

	name_event(&e, p);
	send_event(&e, BPF_RB_FORCE_WAKEUP);
}

/* Notes how long @p waited for the CPU that it has just got. Only called while stats_watched. */
static __noinline void note_wait(struct task_struct *p, u64 now, u64 wait_ns, s32 ran_before)
{
	const struct takt_tunables *k = tunables_now();
	struct takt_cpu_stats *s = stats_here();
	u32 type, bucket = log2_of(wait_ns);

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
	if (wait_ns > k->lead_max_ns + overdue_max_ns(k) && event_enabled(TAKT_EV_STARVED))
		type = TAKT_EV_STARVED;
	else if (wait_ns > k->long_wait_ns && event_enabled(TAKT_EV_LONG_WAIT))
		type = TAKT_EV_LONG_WAIT;
	else
		return;
	emit_event(type, now, wait_ns, p, cpu_and(bpf_get_smp_processor_id(), ran_before));
}

#endif /* TAKT_EVENT_BPF_H */
