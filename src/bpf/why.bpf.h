/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What why.bpf.c is made of: its maps, which tasks are watched, and what is noted of a task.
 */
#ifndef TAKT_WHY_BPF_H
#define TAKT_WHY_BPF_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "sched_class.bpf.h"
#include "types.h"

#define NSEC_PER_TICK 10000000 /* of the start time in /proc/PID/stat: USER_HZ is 100 */
#define BEFORE	      1	       /* irq_at, softirq_at: since before any watched task waited */
#define IDLE_SEGMENTS 8	       /* how many segments of another CPU are looked at */
#define CGROUP_DEPTH  6	       /* how many levels may set a cpu.max that is seen */

#ifdef __TARGET_ARCH_arm64
#define NR_FUTEX       98 /* include/uapi/asm-generic/unistd.h */
#define NR_FUTEX_WAITV 449
#else
#define NR_FUTEX       202 /* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_FUTEX_WAITV 449
#endif

char _license[] SEC("license") = "GPL";

/* Set by the reader. */
const volatile u32 nr_cpus = 1; /* one more than the highest number of a CPU */
const volatile u64 over_ns;	/* a wait that is sent is at least this long */
const volatile u32 target;	/* enum why_target */
const volatile s32 target_pid;
const volatile u64 target_start; /* of its process, in ticks since boot */
const volatile char target_comm[TAKT_COMM_LEN];
const volatile u64 target_cgroup;
const volatile u32 target_level;    /* how deep that cgroup is; 0: the root */
const volatile bool takt_schedules; /* why_rule.bpf.h has the maps of scx_takt */

/* Watched tasks that wait. Written by all CPUs, atomically. */
u64 nr_open;
/* ns, CLOCK_MONOTONIC; when the first of them began to. */
u64 open_since;
/* Waits that were not noted: too many tasks wait. */
u64 nr_dropped;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the number of CPUs */
	__type(key, u32);
	__type(value, struct why_cpu);
} cpus SEC(".maps");

/* By the low bits of the PID: watched tasks that wait, or sleep in futex(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WHY_MAX_TASKS);
	__type(key, u32);
	__type(value, struct why_wait);
} waits SEC(".maps");

/* By the low bits of the PID. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WHY_DELAYED);
	__type(key, u32);
	__type(value, struct why_delayed);
} delayed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WHY_RING_BYTES);
} records SEC(".maps");

static __always_inline struct why_cpu *cpu_of(u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline struct why_wait *slot_of(const struct task_struct *p)
{
	u32 slot = p->pid & (WHY_MAX_TASKS - 1);

	return bpf_map_lookup_elem(&waits, &slot);
}

/* What is noted of @p, which waits or sleeps; NULL: nothing. */
static __always_inline struct why_wait *wait_of(const struct task_struct *p)
{
	struct why_wait *w = slot_of(p);

	return w && w->used && w->task.pid == p->pid ? w : NULL;
}

static __always_inline bool has_target_comm(const struct task_struct *p)
{
	u32 i;

#pragma unroll
	for (i = 0; i < TAKT_COMM_LEN; i++) {
		if (p->comm[i] != target_comm[i])
			return false;
		if (!p->comm[i])
			return true;
	}
	return true;
}

static __always_inline bool is_in_target_cgroup(const struct task_struct *p)
{
	const struct cgroup *group = p->cgroups->dfl_cgrp, *around;

	if (group->level < target_level)
		return false;
	if (group->level == target_level)
		return group->kn->id == target_cgroup;
	if (bpf_core_read(&around, sizeof(around), &group->ancestors[target_level]))
		return false;
	return BPF_CORE_READ(around, kn, id) == target_cgroup;
}

/* Is @p one of the tasks that the reader asks about? */
static __always_inline bool is_watched(const struct task_struct *p)
{
	switch (target) {
	case WHY_TARGET_THREAD:
		if (p->pid != target_pid)
			return false;
		break;
	case WHY_TARGET_PROCESS:
		if (p->tgid != target_pid)
			return false;
		break;
	case WHY_TARGET_COMM:
		return has_target_comm(p);
	default:
		return is_in_target_cgroup(p);
	}
	/* A later process may have the same PID. */
	return p->group_leader->start_boottime / NSEC_PER_TICK == target_start;
}

static __always_inline void fill_task(struct why_task *task, const struct task_struct *p)
{
	task->pid = p->pid;
	task->tgid = p->tgid;
	task->prio = p->prio;
	task->class = p->pid ? class_of(p) : WHY_NO_TASK;
	task->kernel_thread = !!(p->flags & PF_KTHREAD);
	task->shares = p->sched_task_group->shares / 1024;
	__builtin_memcpy(task->comm, __builtin_assume_aligned(p->comm, 8), sizeof(task->comm));
}

/* Takes the slot of @p; NULL: another task that waits has it. */
static __always_inline struct why_wait *claim_wait(const struct task_struct *p)
{
	struct why_wait *w = slot_of(p);

	if (!w)
		return NULL;
	if ((!w->used || w->task.pid != p->pid) && __sync_val_compare_and_swap(&w->used, 0, 1)) {
		__sync_fetch_and_add(&nr_dropped, 1);
		return NULL;
	}
	fill_task(&w->task, p);
	return w;
}

/* For how long it has been since @at, BEFORE included. */
static __always_inline u64 since(u64 at)
{
	return bpf_ktime_get_ns() - (at == BEFORE ? open_since : at);
}

/* Does a task wake another one now, or an interrupt? enum why_begin. */
static __always_inline u32 waker_kind(const struct why_cpu *c, u32 *vector)
{
	*vector = WHY_NO_VECTOR;
	if (c->in_timer)
		return WHY_WOKEN_BY_TIMER;
	if (c->irq_at) {
		*vector = c->irq;
		return WHY_WOKEN_BY_IRQ;
	}
	if (c->softirq_at) {
		*vector = c->softirq;
		return WHY_WOKEN_BY_SOFTIRQ;
	}
	return WHY_WOKEN_BY_TASK;
}

/* Does the current task go to sleep in futex()? */
static __always_inline bool is_in_futex(const struct task_struct *p)
{
	const struct pt_regs *regs;
	u64 call;

	if (p->flags & PF_KTHREAD)
		return false;
	regs = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
#ifdef __TARGET_ARCH_arm64
	call = regs->syscallno;
#else
	call = regs->orig_ax;
#endif
	return call == NR_FUTEX || call == NR_FUTEX_WAITV;
}

/* How long the kernel's scheduler has kept the cgroups of @p from running, since they were made. */
static __always_inline u64 throttled_ns(const struct task_struct *p)
{
	const struct task_group *group = p->sched_task_group;
	u64 ns = 0;
	u32 i;

	if (!bpf_core_field_exists(group->cfs_bandwidth.throttled_time))
		return 0;
#pragma unroll
	for (i = 0; i < CGROUP_DEPTH; i++) {
		if (!group)
			break;
		ns += BPF_CORE_READ(group, cfs_bandwidth.throttled_time);
		group = BPF_CORE_READ(group, parent);
	}
	return ns;
}

/* Does the kernel's scheduler keep the cgroups of @p from running, on its CPU? */
static __always_inline bool is_throttled(const struct task_struct *p)
{
	const struct cfs_rq *queue = p->se.cfs_rq;

	return bpf_core_field_exists(queue->throttle_count) && queue->throttle_count;
}

/* The dispatch queue that @p waits in. */
static __always_inline u64 dsq_of(const struct task_struct *p)
{
	const struct scx_dispatch_q *dsq;

	if (!bpf_core_field_exists(p->scx.dsq))
		return TAKT_NO_DSQ;
	dsq = p->scx.dsq;
	return dsq ? BPF_CORE_READ(dsq, id) : TAKT_NO_DSQ;
}

#endif /* TAKT_WHY_BPF_H */
