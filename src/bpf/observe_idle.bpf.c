/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much CPU time goes by idle while tasks wait that could use it, under any scheduler.
 *
 * At any moment min(idle CPUs, waiting tasks) CPUs are idle for no good reason. The sum over time
 * is kept as one shared integral: each change of either number first adds what has gone by since
 * the last change. A task waits from its wakeup, or from being switched out ready, until it is
 * switched in; only tasks that may use all CPUs count, so that each of them could use whichever CPU
 * is idle.
 *
 * An idle CPU takes some us to come to a task that was woken for it: that is no fault of a
 * scheduler. Time counts only in a period of more than OBS_IDLE_GRACE_NS in which the minimum was
 * above 0 without a break.
 *
 * Limits: a load of its own for a machine with many CPUs, since all of them write one cache line
 * per switch. Two CPUs that change a number at the same moment may count the ns between them with
 * the wrong one. A task whose CPUs are restricted while it waits counts until it runs. A throttled
 * task (cpu.max) counts as waiting. Two waiting tasks whose PIDs share a word count as one. A CPU
 * counts as idle from its first switch on (the reader makes one).
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "intf.h"

char _license[] SEC("license") = "GPL";

/* Set by the reader: a task that may use so many CPUs may use all. */
const volatile u32 nr_all_cpus = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct obs_idle);
} idle SEC(".maps");

/* PIDs of tasks that count as waiting, by their low bits. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OBS_MIN_SLOTS);
	__type(key, u32);
	__type(value, u32);
} waiting SEC(".maps");

/* 1: this CPU counts as idle. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} is_idle SEC(".maps");

static __always_inline bool is_on_cpu(const struct task_struct *task)
{
	return BPF_CORE_READ_BITFIELD(task, on_cpu); /* its size differs between kernels */
}

/* CPUs that idle at this moment while a task waits. */
static __always_inline s64 nr_wasted(const struct obs_idle *i)
{
	s64 nr_idle = i->nr_idle, nr_waiting = i->nr_waiting;

	return nr_idle < nr_waiting ? nr_idle : nr_waiting;
}

/* Adds what has gone by since the last change. Called before one; returns nr_wasted() until then.
 */
static __always_inline s64 update_integral(struct obs_idle *i, u64 now)
{
	s64 wasted = nr_wasted(i), ns = now - __sync_lock_test_and_set(&i->updated_at, now);

	if (wasted > 0 && ns > 0)
		__sync_fetch_and_add(&i->period_ns, wasted * ns);
	return wasted;
}

/* Begins or ends a period. Called after a change; @before is what update_integral() returned. */
static __always_inline void update_period(struct obs_idle *i, s64 before, u64 now)
{
	s64 after = nr_wasted(i);
	u64 ns;

	if (before <= 0 && after > 0) {
		i->period_at = now;
	} else if (before > 0 && after <= 0) {
		ns = __sync_lock_test_and_set(&i->period_ns, 0);
		if ((s64)(now - i->period_at) > OBS_IDLE_GRACE_NS)
			__sync_fetch_and_add(&i->wasted_ns, ns);
	}
}

static __always_inline u32 *slot_of(const struct task_struct *p)
{
	u32 slot = p->pid & (OBS_MIN_SLOTS - 1);

	return bpf_map_lookup_elem(&waiting, &slot);
}

static __always_inline void begin_wait(struct obs_idle *i, const struct task_struct *p)
{
	u32 *slot = slot_of(p);

	if (!slot || p->nr_cpus_allowed < nr_all_cpus)
		return;
	if (!__sync_val_compare_and_swap(slot, 0, p->pid))
		__sync_fetch_and_add(&i->nr_waiting, 1);
}

static __always_inline void end_wait(struct obs_idle *i, const struct task_struct *p)
{
	u32 *slot = slot_of(p), pid = p->pid;

	if (slot && __sync_val_compare_and_swap(slot, pid, 0) == pid)
		__sync_fetch_and_add(&i->nr_waiting, -1);
}

static __always_inline struct obs_idle *idle_of_machine(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&idle, &zero);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(idle_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 zero = 0, *here = bpf_map_lookup_elem(&is_idle, &zero);
	struct obs_idle *i = idle_of_machine();
	u64 now = bpf_ktime_get_ns();
	s64 wasted;

	if (!i || !here)
		return 0;
	wasted = update_integral(i, now);
	if (*here) {
		*here = 0;
		__sync_fetch_and_add(&i->nr_idle, -1);
	}
	if (prev->pid && (preempt || !prev->__state))
		begin_wait(i, prev);
	if (next->pid) {
		end_wait(i, next);
	} else {
		*here = 1;
		__sync_fetch_and_add(&i->nr_idle, 1);
	}
	update_period(i, wasted, now);
	return 0;
}

/* A task that is woken on its way to sleep has its CPU still: it waits from its switch on, if at
 * all. */
static __always_inline int note_woken(const struct task_struct *p)
{
	struct obs_idle *i = idle_of_machine();
	u64 now = bpf_ktime_get_ns();
	s64 wasted;

	if (!i || is_on_cpu(p))
		return 0;
	wasted = update_integral(i, now);
	begin_wait(i, p);
	update_period(i, wasted, now);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(idle_wakeup, struct task_struct *p)
{
	return note_woken(p);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(idle_wakeup_new, struct task_struct *p)
{
	return note_woken(p);
}
