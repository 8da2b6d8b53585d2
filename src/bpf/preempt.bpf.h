/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * When a wakeup may take the CPU from the task that runs.
 *
 *	preempt if   (lag(wakee) - lag(current, this segment included) > preempt_margin
 *	              or lag(wakee) > lag_max / 2
 *	              or lag(wakee) >= -preempt_margin, in class latency)
 *	       and   current has run for more than its protected time since it last woke (run_length.h)
 *	       and   no task has been placed on that CPU already, to run next
 *	       and   no task waits for that CPU, or the queues had their turn in the last 16 ms
 *	             (passes_over_queues()), or the wakee is of class latency
 *
 * A task of the background class or of SCHED_BATCH preempts none, and one of the background class is
 * preempted by any other.
 *
 * The first line keeps equals from preempting each other. The second is for light short-running tasks:
 * V is right within half a slice, which is more than their lag at first. The third protects work in
 * progress: a task that will sleep soon anyway may hold a lock that others spin on, and loses more by
 * being preempted than the wakee by waiting. Long-running tasks, which never sleep or rarely, are
 * preemptible after preempt_after. The fourth is for wake loops: the record of a CPU does not change
 * until its task is switched out, so that each of a hundred wakees would be given the same CPU, and
 * all would run there one after the other, out of reach of the CPUs that become idle meanwhile. The
 * fifth is for what waits: where tasks that run for moments want more than a CPU, each of them wakes with
 * positive lag and takes the CPU from the one before, so that it never takes a task from a queue. (400
 * that ran 90 us every 10 ms kept others waiting for seconds. In the queue, their weights count.)
 *
 * A preempted task has the rest of its slice coming: after a very short-running task, right after it
 * on the same CPU; else near the front of the queue (its deadline is lag_max before now), so that
 * what it holds is released soon.
 */
/* clang-format on */
#ifndef TAKT_PREEMPT_BPF_H
#define TAKT_PREEMPT_BPF_H

#include "deadline.bpf.h"
#include "queue.bpf.h"
#include "rules.bpf.h"
#include "task.bpf.h"
#include "run_length.h"
#include "vtime.h"

#define PASSED_OVER_NS (16ULL * 1000 * 1000) /* four ticks */
#define VICTIM_SEARCH  8 /* how many CPU numbers after the previous CPU's are looked at */

/* Is @t one that waits rather than preempt any task? */
static __always_inline bool never_preempts(const struct task_ctx *t)
{
	return !policy_enabled(PREEMPT) || is_background(t) || t->policy == SCHED_BATCH;
}

/* Do tasks wait for @cpu, and have tasks that wake had it for so long, one after the other? Global,
 * so that the verifier looks at it once per program. */
__noinline int passes_over_queues(s32 cpu, u64 now)
{
	u64 served_at = READ_ONCE(cpu_ctx_of(cpu)->served_at);

	return elapsed_ns(served_at, now) > PASSED_OVER_NS && nr_waiting(cpu);
}

/* Is the task that has been running on @c for @ran_ns, of @class, protected from @t? Racy read, as
 * in is_preemptible(). */
static __always_inline bool is_protected_from(const struct task_ctx *t, const struct cpu_ctx *c,
					      u8 class, u64 ran_ns, const struct takt_tunables *k)
{
	if (!class_is_protected_from(class, t))
		return false;
	if (is_very_short(t, k))
		return READ_ONCE(c->runtime_ns) + ran_ns <= READ_ONCE(c->protect_ns);
	if (READ_ONCE(c->is_short))
		return ran_ns <= k->burst_max_ns;
	return READ_ONCE(c->runtime_ns) + ran_ns <=
	       max_u64(READ_ONCE(c->protect_ns), k->preempt_after_ns);
}

/*
 * Has a task been placed on the CPU of @c in the segment that began at @started_at, to preempt it?
 * One CPU alone may have several: there is no other that could run them.
 */
static __always_inline bool has_placed(const struct cpu_ctx *c, u64 started_at)
{
	return nr_cpus_at_start > 1 && READ_ONCE(c->placed_in) == started_at &&
	       !READ_ONCE(c->placed_sync);
}

/*
 * May @t take @cpu from the task that runs there? Racy read of another CPU's record: see cpu_ctx.
 */
static __always_inline bool is_preemptible(s32 cpu, const struct task_ctx *t, u64 now,
					   const struct takt_tunables *k)
{
	const struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 started_at = READ_ONCE(c->started_at), vruntime;
	s64 ran_ns = now - started_at;
	s64 beyond, margin = k->preempt_margin_ns;
	u8 class;

	if (!started_at || has_placed(c, started_at))
		return false;
	class = READ_ONCE(c->latency_class);
	if (class == TAKT_LAT_BACKGROUND)
		return true;
	if (ran_ns < 0 || is_protected_from(t, c, class, ran_ns, k))
		return false;
	vruntime = READ_ONCE(c->vruntime) + delta_vruntime(ran_ns, READ_ONCE(c->weight_1024));
	beyond = lag_beyond(t, READ_ONCE(c->queue), vruntime);
	if (is_urgent(t))
		return beyond > margin / 4 || !has_negative_lag(t, k);
	return (beyond > margin || (policy_enabled(LAG_PREEMPT) && has_positive_lag(t, k))) &&
	       !passes_over_queues(cpu, now);
}

/*
 * The CPU on which @p may preempt the task that runs: @prev_cpu, else one of the next VICTIM_SEARCH
 * CPU numbers, if it is of the same LLC; negative: none. Looking costs a cache line per CPU.
 */
static __always_inline s32 find_victim(const struct task_struct *p, const struct task_ctx *t,
				       s32 prev_cpu, u64 now, const struct takt_tunables *k)
{
	u32 i, cpu = prev_cpu, llc = llc_of(prev_cpu);

	if (never_preempts(t))
		return -1;
	for (i = 0; i <= VICTIM_SEARCH && i < nr_cpu_ids && can_loop; i++) {
		if (llc_of(cpu) == llc && is_preemptible(cpu, t, now, k) &&
		    (cpu == prev_cpu || may_use(p, cpu))) /* it may use @prev_cpu: usable_cpu() */
			return cpu;
		if (++cpu >= nr_cpu_ids)
			cpu = 0;
	}
	return -1;
}

#endif /* TAKT_PREEMPT_BPF_H */
