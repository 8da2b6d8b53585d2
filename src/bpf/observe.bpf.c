/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long tasks wait for a CPU, and how long they keep it, under any scheduler.
 *
 * A task becomes ready when it is woken or is switched out while it could run on; the time until it
 * is switched in is its wait. What it then runs until it is switched out is its slice. Both go into
 * histograms per CPU and group of tasks. These are tracing programs: they see EEVDF as well as any
 * sched_ext scheduler, need BTF and nothing else, and cost nothing while they are not loaded.
 *
 * Since when a task is ready stands in one word, found by the low 16 bits of its PID: the high bits
 * of the PID, whether it was woken, and the time, so that one store writes both and no reader sees
 * half of it. It is set under the rq lock of the task and cleared when it is switched in; a task
 * that ends does so running, so that nothing is left behind for the next one with its PID.
 *
 * Limits: two ready tasks whose PIDs have the same low 16 bits share a word, the earlier one's wait
 * is not counted then (nr_overwritten). A throttled task (cpu.max) counts as waiting. A wakeup that
 * is sent to another CPU counts from when it arrives there. Waits of 2^56 ns (2.3 years) wrap
 * around.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "observe.h"

#define PF_KTHREAD   0x00200000
#define SCHED_IDLE   5
#define MAX_RT_PRIO  100
#define TIME_BITS    57
#define TIME_MASK    ((1ULL << TIME_BITS) - 1)
#define WOKEN	     (1ULL << TIME_BITS) /* it had slept */
#define PID_SHIFT    (TIME_BITS + 1)
#define PID_MASK     (~0ULL << PID_SHIFT)
#define PID_LOW_BITS 16

char _license[] SEC("license") = "GPL";

/* Kernels up to 7.0 have the states of a sched_ext task in an enum of their own. */
enum scx_task_state___own {
	SCX_TASK_ENABLED___own,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OBS_SLOTS);
	__type(key, u32);
	__type(value, u64);
} ready SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OBS_NR_GROUPS);
	__type(key, u32);
	__type(value, struct obs_group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct obs_cpu);
} cpus SEC(".maps");

static __always_inline u32 log2_of(u64 v)
{
	u32 log = 0, step;

#pragma unroll
	for (step = 32; step; step >>= 1) {
		if (v >> step) {
			v >>= step;
			log += step;
		}
	}
	return log;
}

/* The bucket of a value; src/observe/histogram.rs has the way back. */
static __always_inline u32 bucket_of(u64 v)
{
	u32 log, bucket;

	if (v < OBS_SUBS)
		return v;
	log = log2_of(v);
	bucket = (log - OBS_SUB_BITS + 1) * OBS_SUBS +
		 ((v >> (log - OBS_SUB_BITS)) & (OBS_SUBS - 1));
	return bucket < OBS_BUCKETS ? bucket : OBS_BUCKETS - 1;
}

static __always_inline void add(struct obs_hist *h, u64 ns)
{
	u32 bucket = bucket_of(ns);

	if (bucket >= OBS_BUCKETS) /* never; said once more for the verifier */
		return;
	h->count[bucket]++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

/* Is @p in the care of a sched_ext scheduler? */
static __always_inline bool is_ext(const struct task_struct *p)
{
	u32 enabled;

	if (!bpf_core_field_exists(p->scx.flags))
		return false;
	if (bpf_core_enum_value_exists(enum scx_ent_flags, SCX_TASK_ENABLED))
		enabled = bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_ENABLED);
	else if (bpf_core_enum_value_exists(enum scx_task_state___own, SCX_TASK_ENABLED___own))
		enabled = bpf_core_enum_value(enum scx_task_state___own, SCX_TASK_ENABLED___own)
			  << bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_STATE_SHIFT);
	else
		return false;
	return (p->scx.flags & bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_STATE_MASK)) ==
	       enabled;
}

static __always_inline u32 class_of(const struct task_struct *p)
{
	if (p->prio < 0)
		return OBS_DL;
	if (p->prio < MAX_RT_PRIO)
		return OBS_RT;
	if (is_ext(p))
		return OBS_EXT;
	return p->policy == SCHED_IDLE ? OBS_IDLE : OBS_FAIR;
}

static __always_inline struct obs_group *group_of(const struct task_struct *p)
{
	u32 index = 2 * class_of(p) + !!(p->flags & PF_KTHREAD);

	return bpf_map_lookup_elem(&groups, &index);
}

static __always_inline struct obs_cpu *cpu_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline u64 *ready_slot(u32 pid)
{
	u32 index = pid & (OBS_SLOTS - 1);

	return bpf_map_lookup_elem(&ready, &index);
}

static __always_inline u64 tag_of(u32 pid)
{
	return (u64)(pid >> PID_LOW_BITS) << PID_SHIFT;
}

/* @p is ready to run from now on, unless it was before. @woken: WOKEN if it had slept, else 0. */
static __always_inline void set_ready(const struct task_struct *p, u64 now, u64 woken)
{
	u64 *slot = ready_slot(p->pid), tag = tag_of(p->pid), before;
	struct obs_cpu *c;

	if (!slot)
		return;
	before = *slot;
	if (before && (before & PID_MASK) == tag)
		return;
	*slot = tag | woken | (now & TIME_MASK);
	if (before && (c = cpu_here()))
		c->nr_overwritten++;
}

/* @p gets the CPU: its wait is over. */
static __always_inline void end_wait(struct obs_cpu *c, const struct task_struct *p, u64 now)
{
	u64 *slot = ready_slot(p->pid), since;
	struct obs_group *g = group_of(p);
	s64 wait_ns;

	if (!slot || !g)
		return;
	since = *slot;
	if (!since || (since & PID_MASK) != tag_of(p->pid)) {
		c->nr_unseen++;
		return;
	}
	*slot = 0;
	wait_ns = (s64)((now - since) << (64 - TIME_BITS)) >> (64 - TIME_BITS);
	if (wait_ns < 0)
		wait_ns = 0; /* clocks of two CPUs may differ by a little */
	add(&g->wait, wait_ns);
	if (since & WOKEN)
		add(&g->wakeup, wait_ns);
}

/* @p leaves the CPU: its slice is over. */
static __always_inline void end_slice(const struct obs_cpu *c, const struct task_struct *p, u64 now)
{
	struct obs_group *g = group_of(p);

	if (g && c->started_at && c->pid == p->pid)
		add(&g->slice, now - c->started_at);
}

/*
 * A task that still runs (on_cpu) is woken before it got to sleep: it waits for nothing. If it
 * loses the CPU after all, it is switched out ready, which observe_switch() sees.
 */
static __always_inline int becomes_ready(const struct task_struct *task, u64 woken)
{
	/* its size differs between kernels; the macro has a p of its own */
	if (!BPF_CORE_READ_BITFIELD(task, on_cpu))
		set_ready(task, bpf_ktime_get_ns(), woken);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(observe_wakeup, struct task_struct *p)
{
	return becomes_ready(p, WOKEN);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(observe_wakeup_new, struct task_struct *p)
{
	return becomes_ready(p, 0);
}

/*
 * Preempted tasks stay ready whatever their state says: they may have been on their way to sleep.
 * The state is read from the task, since the argument of the tracepoint still names the old one
 * when a signal called the sleep off.
 */
SEC("tp_btf/sched_switch")
int BPF_PROG(observe_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct obs_cpu *c = cpu_here();
	u64 now = bpf_ktime_get_ns();

	if (!c)
		return 0;
	if (prev->pid) {
		end_slice(c, prev, now);
		if (preempt || !prev->__state)
			set_ready(prev, now, 0);
	}
	if (next->pid)
		end_wait(c, next, now);
	c->started_at = now;
	c->pid = next->pid;
	return 0;
}

/* Puts values into buckets, so that a test can hold them against the reader's. */
SEC("syscall")
int observe_buckets(u64 *values)
{
	u32 i;

#pragma unroll
	for (i = 0; i < OBS_PROBES; i++)
		values[i] = bucket_of(values[i]);
	return 0;
}
