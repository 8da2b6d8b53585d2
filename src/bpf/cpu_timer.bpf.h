/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A BPF timer per CPU: a map of them, made with CPU_TIMERS(), for each thing that is to happen at a
 * time of its own. A map value may have one timer.
 */
#ifndef TAKT_CPU_TIMER_BPF_H
#define TAKT_CPU_TIMER_BPF_H

#include "takt.bpf.h"

#define CPU_TIMER_MIN_NS (50ULL * 1000) /* from one expiry to the next */

struct takt_timer {
	struct bpf_timer timer;
};

#define CPU_TIMERS(NAME)                                                                           \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, TAKT_MAX_CPUS);                                                \
		__type(key, u32);                                                                  \
		__type(value, struct takt_timer);                                                  \
	} NAME SEC(".maps")

/* Has @timer expire in @ns; false: there is no memory for it. */
static __always_inline bool start_cpu_timer(struct takt_timer *timer, u64 ns)
{
	return !bpf_timer_start(&timer->timer, max_u64(ns, CPU_TIMER_MIN_NS), 0);
}

/* Sets up the timer of @cpu in the map @timers, which calls @expire: 0, or an error. */
static __always_inline s32 create_cpu_timer(void *timers, s32 cpu, void *expire)
{
	u32 key = cpu;
	struct takt_timer *timer = bpf_map_lookup_elem(timers, &key);

	if (!timer)
		return -ENOENT;
	if (bpf_timer_init(&timer->timer, timers, CLOCK_MONOTONIC) ||
	    bpf_timer_set_callback(&timer->timer, expire))
		return -ENOMEM;
	return 0;
}

#endif /* TAKT_CPU_TIMER_BPF_H */
