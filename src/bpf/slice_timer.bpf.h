/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a slice on time, in a crowd. A slice ends with the tick after it: one of 3 ms lasts 4
 * at HZ=250. Where many tasks wait for each CPU, all of them wait for what is left to the tick: a
 * timer ends slices instead, one per CPU: it is started with a slice if it does not run, and as it
 * expires it goes on for the slice that is then under way, unless that is over. So short runs do
 * not start a timer each.
 *
 * Not while few tasks wait: a program that starts among CPU-bound tasks needs 4 to 5 ms, and with a
 * slice of just 3 it waits for one more round (docs/design/experiments.md).
 */
#ifndef TAKT_SLICE_TIMER_BPF_H
#define TAKT_SLICE_TIMER_BPF_H

#include "cpu_timer.bpf.h"
#include "queue.bpf.h"
#include "task.bpf.h"

#define CROWD 8 /* tasks that wait for each CPU */

CPU_TIMERS(slice_timers);

/* cpu_ctx.slice_timer: no crowd waits for the CPU; one does, and no timer runs; one runs. */
enum slice_timer_state {
	SLICE_TIMER_NONE,
	SLICE_TIMER_WANTED,
	SLICE_TIMER_RUNS,
};

/* Do so many tasks wait for @cpu, @nr in all queues that it serves, that its slices end on time? */
static __always_inline bool is_crowd(s32 cpu, u32 nr)
{
	return nr >= CROWD * queue_ctx_of(queue_of_llc(llc_of(cpu)))->nr_cpus;
}

/* ns until the slice under way on @c is over; 0: it is, or no task of ours runs. */
static __always_inline u64 slice_ends_in(const struct cpu_ctx *c)
{
	return elapsed_ns(scx_bpf_now(), READ_ONCE(c->started_at) + READ_ONCE(c->slice_ns));
}

/* Starts the timer of @cpu for the slice under way. */
__noinline int start_slice_timer(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u32 key = cpu;
	struct takt_timer *timer = bpf_map_lookup_elem(&slice_timers, &key);

	if (!timer)
		return 0;
	WRITE_ONCE(c->slice_timer, SLICE_TIMER_RUNS); /* before: it may expire on another CPU */
	if (!start_cpu_timer(timer, slice_ends_in(c)))
		WRITE_ONCE(c->slice_timer, SLICE_TIMER_WANTED);
	return 0;
}

/*
 * The timer of CPU @key has expired. If the slice that was under way as it was started has ended
 * before, it goes on for the one that is now; else that is over, and the next task starts it. What
 * it reads of the task may belong to two segments: at worst a slice ends early, or with the tick.
 */
static int expire_slice_timer(void *map, u32 *key, struct takt_timer *timer)
{
	struct cpu_ctx *c = cpu_ctx_of(*key);
	u64 left_ns = slice_ends_in(c);

	if (left_ns && is_crowd(*key, nr_waiting(*key)) && start_cpu_timer(timer, left_ns))
		return 0;
	WRITE_ONCE(c->slice_timer, SLICE_TIMER_WANTED);
	if (!left_ns)
		scx_bpf_kick_cpu(*key, SCX_KICK_PREEMPT);
	return 0;
}

/* The tick of @cpu, for which @nr tasks wait: do slices end on time from here on? */
static __always_inline void check_crowd(s32 cpu, struct cpu_ctx *c, u32 nr)
{
	if (!is_crowd(cpu, nr)) {
		if (c->slice_timer == SLICE_TIMER_WANTED)
			c->slice_timer = SLICE_TIMER_NONE;
	} else if (c->slice_timer != SLICE_TIMER_RUNS) {
		start_slice_timer(cpu);
	}
}

static __always_inline s32 create_slice_timer(s32 cpu)
{
	return create_cpu_timer(&slice_timers, cpu, expire_slice_timer);
}

#endif /* TAKT_SLICE_TIMER_BPF_H */
