/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUs of different capacity: P and E cores, big.LITTLE.
 *
 * A task with long runs is placed on a big CPU while one is idle, and is migrated to one that
 * becomes idle later: a CPU-bound task never sleeps, so that only its own tick can do that. Every
 * other task goes where the kernel's idle masks say, so that a short-running task finds whatever
 * CPU is near.
 *
 * Limits: no task leaves a big CPU for a CPU-bound task of a small one while all big ones are busy.
 * A claimed CPU whose task leaves sched_ext, or is moved, before it is there stays marked as busy
 * until its next task. The verifier takes all of this out where all CPUs are equal.
 */
#ifndef TAKT_CAPACITY_BPF_H
#define TAKT_CAPACITY_BPF_H

#include "rules.bpf.h"
#include "task.bpf.h"
#include "vtime.h"

/* Longer runs between sleeps need a big CPU. Not measured: emulated CPUs are equally fast. */
#define BIG_BURST_NS (1000ULL * 1000)

/* Set by the agent before load. */
const volatile struct takt_cpu_set big_cpus; /* in the order in which they are to be filled; none if
						all CPUs are equal */
const volatile bool is_small[TAKT_MAX_CPUS];

static __always_inline bool cpus_differ(void)
{
	return big_cpus.nr;
}

static __always_inline bool is_small_cpu(s32 cpu)
{
	return is_small[(u32)cpu & (TAKT_MAX_CPUS - 1)];
}

/* @p wakes: claims an idle big CPU if it needs one, @prev_cpu before others; negative: none, or no
 * need. */
static __always_inline s32 claim_for_capacity(const struct task_struct *p, const struct task_ctx *t,
					      s32 prev_cpu)
{
	if (!cpus_differ() || t->est_run_ns <= BIG_BURST_NS || is_background(t))
		return -1;
	if (!is_small_cpu(prev_cpu) && scx_bpf_test_and_clear_cpu_idle(prev_cpu))
		return prev_cpu;
	return claim_idle_in_set(p, &big_cpus);
}

/* @p computes on a small CPU while a big one is idle: claims that one and ends the slice of @p. */
static __always_inline void request_big(struct task_struct *p, struct cpu_ctx *c, s32 cpu, u64 now)
{
	s32 big;

	if (!cpus_differ() || !is_small_cpu(cpu) || c->pid != p->pid ||
	    c->latency_class == TAKT_LAT_BACKGROUND ||
	    runtime_since_wakeup_ns(c, now) <= BIG_BURST_NS)
		return;
	big = claim_idle_in_set(p, &big_cpus);
	if (big < 0)
		return;
	c->moves_to = big;
	c->moves_pid = p->pid;
	scx_bpf_task_set_slice(p, 0);
}

/* Is @p on its way from @c to a big CPU? */
static __always_inline bool is_migrating_to_big(const struct task_struct *p,
						const struct cpu_ctx *c)
{
	return cpus_differ() && c->moves_pid == p->pid;
}

/*
 * Inserts @p on the big CPU that was claimed for it, or where it is if it is the last task of its
 * CPU; false: neither, nothing is inserted. The kernel calls takt_enqueue() for the last task of a
 * CPU too (SCX_OPS_ENQ_LAST), which would continue where it is otherwise. It expects a scheduling
 * event to follow (until 7.2 the CPU goes idle else, with the task in its local queue). The
 * affinity of @p may have changed since the big CPU was claimed.
 */
static __always_inline bool insert_big_or_last(struct task_struct *p, struct cpu_ctx *c, s32 cpu,
					       u64 slice_ns, u64 enq_flags)
{
	bool moves = is_migrating_to_big(p, c);
	s32 big = c->moves_to;

	if (!moves && !(enq_flags & SCX_ENQ_LAST))
		return false;
	c->moves_pid = 0;
	if (moves && (!may_use(p, big) || may_not_migrate(p, enq_flags))) {
		scx_bpf_kick_cpu(big, SCX_KICK_IDLE); /* free again */
		moves = false;
		if (!(enq_flags & SCX_ENQ_LAST))
			return false;
	}
	scx_bpf_dsq_insert(p, moves ? SCX_DSQ_LOCAL_ON | big : SCX_DSQ_LOCAL, sane_slice(slice_ns),
			   0);
	if (!moves)
		scx_bpf_kick_cpu(cpu, 0);
	return true;
}

/* @p goes to sleep instead: the CPU that was claimed for it is free again. */
static __always_inline void cancel_big(const struct task_struct *p, struct cpu_ctx *c)
{
	if (!is_migrating_to_big(p, c))
		return;
	c->moves_pid = 0;
	scx_bpf_kick_cpu(c->moves_to, SCX_KICK_IDLE);
}

#endif /* TAKT_CAPACITY_BPF_H */
