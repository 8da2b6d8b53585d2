/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long tasks wait for a CPU, and how long they keep it, under any scheduler.
 *
 * One tracing program, at the switch from one task to the next: it sees EEVDF as well as any
 * sched_ext scheduler, needs BTF, and costs nothing while it is not loaded. It asks no clock and
 * traces no wakeup, since the kernel has noted both already, for /proc/PID/schedstat:
 *
 *	last_queued	when the task became ready: woken, switched out while it could run on, or
 *			moved to this CPU
 *	run_delay	what it had waited until then, in sum; this wait on other CPUs included
 *	rq->clock	now
 *
 * Hence a wait is what run_delay has grown by since the task last got a CPU. That former sum is
 * kept in one word per task, found by the low bits of its PID. What a task runs until it is
 * switched out is its slice. Both go into histograms per CPU and group of tasks. A wait began with
 * a wakeup if the task was switched out to sleep, which moves its nvcsw by one.
 *
 * The kernel has one blind spot: a task that is preempted on its way to sleep is ready, and not
 * noted as such. Its word then has the time at which it was switched out added (LEFT).
 *
 * Limits: the clock of a run queue stands still while the scheduler decides, so that a decision
 * counts for the task that runs after it. Two tasks whose PIDs share a word drive each other out of
 * it, their waits are not counted then (nr_collided). A throttled task (cpu.max) counts as waiting.
 * Sums of 2^55 ns (1.1 years) wrap around.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "buckets.h"
#include "sched_class.bpf.h"

#define DELAY_BITS 55
#define DELAY_MASK ((1ULL << DELAY_BITS) - 1)
#define LEFT	   (1ULL << DELAY_BITS)	      /* switched out at this time, unknown to the kernel */
#define KNOWN	   (1ULL << (DELAY_BITS + 1)) /* the word is in use */
#define SLEPT	   (1ULL << (DELAY_BITS + 2)) /* lowest bit of nvcsw */
#define PID_SHIFT  (DELAY_BITS + 3)

char _license[] SEC("license") = "GPL";

/* Set by the reader: number of words less one. */
const volatile u32 slot_mask = OBS_MIN_SLOTS - 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OBS_MIN_SLOTS);
	__type(key, u32);
	__type(value, u64);
} delays SEC(".maps");

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

static __always_inline void add_to_hist(struct obs_hist *h, u64 ns)
{
	h->count[bucket_of(ns)]++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

static __always_inline u32 group_of(const struct task_struct *p)
{
	return 2 * class_of(p) + !!(p->flags & PF_KTHREAD);
}

static __always_inline struct obs_group *group_here(u32 group)
{
	return bpf_map_lookup_elem(&groups, &group);
}

static __always_inline struct obs_cpu *cpu_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline u64 *word_of(u32 pid)
{
	u32 index = pid & slot_mask;

	return bpf_map_lookup_elem(&delays, &index);
}

/* The word of @p if it gets a CPU after having waited for @delay ns in all. */
static __always_inline u64 make_word(const struct task_struct *p, u64 delay)
{
	return (u64)(p->pid >> 16) << PID_SHIFT | (p->nvcsw & 1 ? SLEPT : 0) | KNOWN |
	       (delay & DELAY_MASK);
}

/* @p, one of @group, gets the CPU: its wait is over. */
static __always_inline void end_wait(struct obs_cpu *c, const struct task_struct *p, u32 group,
				     u64 now)
{
	u64 *word = word_of(p->pid), before, after;
	u64 queued_at = p->sched_info.last_queued, delay = p->sched_info.run_delay;
	struct obs_group *g = group_here(group);
	s64 wait_ns;

	if (!word || !g)
		return;
	if (queued_at)
		delay += now - queued_at;
	before = *word;
	after = make_word(p, delay);
	*word = after;
	if (!p->sched_info.pcount) /* it has never run */
		before = after & ~DELAY_MASK;
	if ((before & KNOWN) && (before ^ after) >> PID_SHIFT) {
		c->nr_collided++;
		return;
	}
	if (!(before & KNOWN) || !(before & LEFT) != !!queued_at) {
		c->nr_unseen++;
		return;
	}
	wait_ns = after - before;
	if (before & LEFT)
		wait_ns += now;
	wait_ns = wait_ns << (64 - DELAY_BITS) >> (64 - DELAY_BITS);
	if (wait_ns < 0)
		wait_ns = 0; /* clocks of two CPUs may differ by a little */
	add_to_hist((before ^ after) & SLEPT ? &g->wakeup : &g->requeue, wait_ns);
}

/* The task that ran here leaves the CPU: its slice is over. */
static __always_inline void end_slice(const struct obs_cpu *c, u64 now)
{
	struct obs_group *g = group_here(c->group);

	if (g && c->started_at)
		add_to_hist(&g->slice, now - c->started_at);
}

/* @p was preempted on its way to sleep. */
static __noinline void note_left(const struct task_struct *p, u64 now)
{
	u64 *word = word_of(p->pid);

	if (word && (*word & KNOWN) && *word >> PID_SHIFT == p->pid >> 16)
		*word = (*word & ~DELAY_MASK) | ((*word + now) & DELAY_MASK) | LEFT;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(observe_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u64 now = prev->se.cfs_rq->rq->clock; /* that of this CPU, whatever the class */
	struct obs_cpu *c = cpu_here();

	if (!c)
		return 0;
	if (prev->pid) {
		end_slice(c, now);
		if (preempt && prev->__state)
			note_left(prev, now);
	}
	if (next->pid) {
		c->group = group_of(next);
		end_wait(c, next, c->group, now);
	}
	c->started_at = now;
	return 0;
}

/*
 * The tasks that are there when we begin: what they have waited until now. Runs after the switches
 * are traced, and leaves alone what has been noted since.
 */
SEC("iter/task")
int observe_known(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	u64 *word, known;

	if (!p || !p->pid)
		return 0;
	word = word_of(p->pid);
	if (!word)
		return 0;
	known = make_word(p, p->sched_info.run_delay);
	if (p->__state && !is_on_cpu(p))
		known ^= SLEPT; /* the end of its sleep will be a wakeup */
	__sync_val_compare_and_swap(word, 0, known);
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
