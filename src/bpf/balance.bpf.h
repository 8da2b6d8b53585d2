/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Balance between LLCs, and what happens to waiting tasks when a CPU goes.
 *
 *	steal	a CPU about to go idle takes the first task of the next LLC that has one, those of
 *		its own node first: the task would wait, and the CPU would sleep
 *	pull	while all CPUs work, a CPU whose slice ends takes the first task of another LLC
 *		where more wait per CPU than here, so that the next slice is that task's
 *
 * A pull is made at once where it leaves neither LLC with more tasks per CPU than the other has now.
 * Else (5 equal tasks on 2 LLCs of 2 CPUs: 3 and 2) it is made when the progress of the other LLC is
 * slower by 1/32, and has fallen behind by more than ROTATE_NS, so that tasks take turns in the slower
 * LLC; what the task has fallen behind by, it brings along as lag. One that is pulled
 * from an LLC that is ahead gives that up, or tasks that go to and fro gain (9 tasks of nice -2 to 5 on
 * 2 LLCs of 1 CPU, 4 s simulated: tasks of nice 0 had 0.76 to 2.66 s). Progress is V plus an offset; it is
 * held within PROGRESS_WINDOW_NS of the LLC that is furthest ahead, and set to that when a CPU has
 * idled. Not when no task waits: the task that a pull leaves alone has fallen behind as well. (6 equal
 * tasks on 4 LLCs of 1 CPU, 8 s, 8 times: the farthest from the mean was 2 to 7 % off; now 2 to 3.)
 *
 * An LLC looks at one other per BALANCE_PERIOD_NS, in turn: that bounds both the migrations and the
 * cache lines that are read, whatever the number of LLCs. Limits: it does not weigh the cold cache of
 * a stolen task against how soon its own LLC would have come to it; tasks bound to a set of CPUs are
 * balanced by the CPUs that serve their domain.
 */
/* clang-format on */
#ifndef TAKT_BALANCE_BPF_H
#define TAKT_BALANCE_BPF_H

#include "deadline.bpf.h"
#include "domain.bpf.h"
#include "queue.bpf.h"
#include "task.bpf.h"
#include "throttle.bpf.h"
#include "vtime.h"

/* 6 equal tasks on 2 LLCs of 2 CPUs, 4 begun in one, 2 s: from 1 to 16 ms all are within 2 % of the
 * mean, with 64 ms within 5 % (EEVDF 16 %). */
#define BALANCE_PERIOD_NS  (4ULL * 1000 * 1000)
#define ROTATE_NS	   (24LL * 1000 * 1000)
#define PROGRESS_WINDOW_NS (48LL * 1000 * 1000)

/* Progress of the LLC that is furthest ahead. Written without a lock, at most once per
 * BALANCE_PERIOD_NS and LLC: a lost store is made up for by the next. */
struct {
	u64 ns;
} __attribute__((aligned(CACHE_LINE))) max_progress;

static __always_inline u32 other_llc(u32 llc, u32 i)
{
	return steal_order[(llc * TAKT_MAX_LLCS + i) & (TAKT_MAX_LLCS * TAKT_MAX_LLCS - 1)];
}

static bool try_steal(s32 cpu)
{
	u32 own = llc_of(cpu), i;

	if (nr_llcs == 1)
		return false;
	bpf_for (i, 0, nr_llcs - 1) {
		u32 queue = queue_of_llc(other_llc(own, i));

		if (scx_bpf_dsq_nr_queued(queue) && take_from(queue))
			return true;
	}
	return false;
}

static __always_inline u64 progress_of(u32 llc)
{
	return avg_vruntime(queue_ctx_of(queue_of_llc(llc))) + READ_ONCE(llc_ctx_of(llc)->offset);
}

/*
 * Keeps the progress of @llc within the window; @since the last time, a CPU of it may have idled.
 * The additions are not atomic. If two CPUs of @llc come here at once, one may be lost, which is
 * right, as both are the same; or both count, and @llc seems further ahead than it is: it may then
 * pull too early, until the others are moved into the window.
 */
static __always_inline void update_progress(u32 llc, u64 since)
{
	u64 progress = progress_of(llc);
	s64 behind = READ_ONCE(max_progress.ns) - progress;
	struct llc_ctx *l = llc_ctx_of(llc);

	if (behind < 0)
		WRITE_ONCE(max_progress.ns, progress);
	else if ((s64)(READ_ONCE(l->idled_at) - since) > 0)
		l->offset += behind;
	else if (behind > PROGRESS_WINDOW_NS)
		l->offset += behind - PROGRESS_WINDOW_NS;
}

/*
 * Should @cpu, of @llc, take a task that waits in @other? Tasks bound to its CPUs count here; those
 * bound to CPUs of the other LLC show in its rate.
 */
static __always_inline bool should_pull(s32 cpu, u32 llc, u32 other)
{
	u64 nr_here = nr_waiting(cpu) + llc_nr_cpus[llc];
	u64 nr_there = nr_queued_in(queue_of_llc(other)), cpus_here, cpus_there;

	if (!nr_there)
		return false;
	cpus_here = llc_nr_cpus[llc];
	cpus_there = llc_nr_cpus[other];
	nr_there += cpus_there;
	if ((nr_there - 1) * cpus_here >= (nr_here + 1) * cpus_there)
		return true;
	return (s64)(progress_of(llc) - progress_of(other)) > ROTATE_NS &&
	       READ_ONCE(queue_ctx_of(queue_of_llc(llc))->rate_q20) / 32 * 31 >
		       READ_ONCE(queue_ctx_of(queue_of_llc(other))->rate_q20);
}

/* A slice on @cpu has ended: takes a task from an LLC that has more waiting, if it is time to. */
static bool try_pull(s32 cpu, u64 now)
{
	u32 llc = llc_of(cpu) & (TAKT_MAX_LLCS - 1), other, next;
	struct llc_ctx *l = llc_ctx_of(llc);
	u64 since = READ_ONCE(l->balanced_at);

	if (nr_llcs == 1 || now - since < BALANCE_PERIOD_NS)
		return false;
	WRITE_ONCE(l->balanced_at, now);
	update_progress(llc, since);
	next = READ_ONCE(l->next_other);
	other = other_llc(llc, next) & (TAKT_MAX_LLCS - 1);
	WRITE_ONCE(l->next_other, next + 1 < nr_llcs - 1 ? next + 1 : 0);
	if (!should_pull(cpu, llc, other) || !take_from(queue_of_llc(other)))
		return false;
	cpu_ctx_of(cpu)->pulled = true;
	return true;
}

/*
 * @t starts to run on a CPU of @llc. If it waited in another LLC, it moves into the clock of this
 * one, with its lag; if it was pulled, with what its LLC had fallen behind, or was ahead, too.
 */
static __always_inline void arrive_in_llc(struct task_ctx *t, struct cpu_ctx *c, u32 llc)
{
	u32 from = t->queue;
	s64 behind;

	if (nr_llcs == 1 || is_bound_queue(from) || from == queue_of_llc(llc))
		return;
	move_to_queue(t, queue_of_llc(llc));
	if (!c->pulled)
		return;
	behind = progress_of(llc) - progress_of(from);
	t->vruntime -= clamp_s64(behind, PROGRESS_WINDOW_NS);
}

/*
 * Where a task that finds no idle CPU should wait rather than in the LLC of @prev_cpu: a CPU of
 * another LLC that has fewer tasks waiting per CPU, by more than one; else @prev_cpu. Looks at one.
 */
static __always_inline s32 less_crowded_cpu(const struct task_struct *p, const struct task_ctx *t,
					    s32 prev_cpu)
{
	u32 llc = llc_of(prev_cpu) & (TAKT_MAX_LLCS - 1), other;
	u64 nr_here = nr_queued_in(queue_of_llc(llc)), nr_there;

	if (nr_llcs == 1 || nr_here <= llc_nr_cpus[llc] || !t->unrestricted)
		return prev_cpu;
	other = other_llc(llc, nr_here % (nr_llcs - 1)) & (TAKT_MAX_LLCS - 1);
	nr_there = nr_queued_in(queue_of_llc(other)) + llc_nr_cpus[other];
	if (nr_there * llc_nr_cpus[llc] >= nr_here * llc_nr_cpus[other])
		return prev_cpu;
	return usable_cpu(p, llc_first_cpu[other], true);
}

/* Hands the tasks that wait in @queue to the CPU that they belong to, if that is @cpu, or in any
 * case if no other CPU serves @queue. */
static __always_inline void move_cpu_tasks(u32 queue, s32 cpu)
{
	struct task_struct *p;
	s32 to;

	bpf_for_each (scx_dsq, p, queue, 0) {
		to = scx_bpf_task_cpu(p);
		if (to == cpu || queue == queue_of_cpu(cpu))
			scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL_ON | to, 0);
	}
}

/*
 * @cpu goes offline. The kernel asks it for no more work from our queues, and sends away whatever
 * is in its local one, breaking its affinity where need be. It waits until nothing belongs to the
 * CPU any longer (sched_cpu_wait_empty() in kernel/sched/core.c). Before it calls us, it has only
 * cleared SCX_RQ_ONLINE (rq_offline_scx()): from then on it puts what is enqueued here into the
 * local queue, without a call of takt_enqueue(). What waits in our queues stays there. In a queue
 * that no other CPU serves it would wait for ever, also a task that belongs to another CPU
 * (spread_without_domain()).
 *
 * Before it gets here, the kernel waits for all RCU read-side sections (sched_cpu_deactivate()),
 * when it asks for no more work already. Hence a task that was preempted in one, and may run on no
 * other CPU, waits in the local queue: in one of ours it would hold up both until the watchdog
 * comes.
 */
static void drain_cpu(s32 cpu)
{
	u32 i;

	move_cpu_tasks(queue_of_cpu(cpu), cpu);
	move_cpu_tasks(throttled_of_cpu(cpu), cpu);
	move_cpu_tasks(queue_of_llc(llc_of(cpu)), cpu);
	bpf_for (i, 0, TAKT_MAX_DOMAINS) {
		if (domain_has_cpu(i, cpu) && scx_bpf_dsq_nr_queued(TAKT_QUEUE_DOMAINS + i))
			move_cpu_tasks(TAKT_QUEUE_DOMAINS + i, cpu);
	}
}

#endif /* TAKT_BALANCE_BPF_H */
