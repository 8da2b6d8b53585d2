/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Placement: where a task runs that wakes and need not wait in a queue.
 *
 * It is reserved first: an idle CPU is claimed, or the record of a busy one says that a task is
 * placed there. It is applied at the end, in one place of each callback: every copy of that code
 * costs a millisecond of loading in the verifier of 7.2. @prev_cpu, from where each search begins,
 * is one that the task may use: usable_cpu().
 */
/* clang-format off */
/*
 * Six fields say what runs next on a busy CPU: five of its cpu_ctx, and slice_left_ns of the parked
 * task. The kernel runs the local DSQ from its head, and calls takt_dispatch() only when that is empty.
 *
 *	 a task wakes                      the current task leaves         local DSQ, from its head
 *	--------------------------------------------------------------------------------------------
 *	 reserve_at_waker() ------------>  it sleeps                       wakee
 *	   placed_in, placed_sync
 *	 reserve_at_victim() ----------->  preempted: to its queue         wakee
 *	   placed_in
 *	 the same, the wakee is very  -->  preempted: park_current()       wakee, then the parked task
 *	 short-running, or handoff           parked_pid, parked_is_short     with the rest of its slice
 *	   placed_in, resume_next_pid
 *	 precedes_parked()  ------------>  (a task is parked already)      wakee, parked task
 *	 by a task of a higher class  -->  preempted, with one CPU:        the parked task, as before
 *	                                     note_parked()
 *
 *	placed_in == started_at: a task has been placed in this segment; the next one waits, or takes
 *	away the current task's right to resume (resume_next_pid = 0).
 *	Empty: takt_dispatch() clears parked_pid and takes the earliest deadline.
 */
/* clang-format on */
#ifndef TAKT_PLACEMENT_BPF_H
#define TAKT_PLACEMENT_BPF_H

#include "capacity.bpf.h"
#include "deadline.bpf.h"
#include "event.bpf.h"
#include "handoff.bpf.h"
#include "hooks.bpf.h"
#include "idle.bpf.h"
#include "preempt.bpf.h"
#include "rules.bpf.h"
#include "task.bpf.h"
#include "run_length.h"
#include "vtime.h"

struct placement {
	u32 place; /* enum takt_place */
	u64 slice_ns;
	u64 enq_flags;
};

/* Puts @p straight onto the CPU that it will run on. */
static __always_inline void insert_local(struct task_struct *p, u64 slice_ns, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, sane_slice(slice_ns), enq_flags);
}

/* Inserts @p where a place was reserved for it. */
static __always_inline void apply_placement(struct task_struct *p,
					    const struct placement *placement)
{
	struct takt_cpu_stats *s = stats_watched ? stats_here() : NULL;

	if (s && placement->place < TAKT_NR_PLACES)
		s->placed[placement->place]++;
	insert_local(p, placement->slice_ns, placement->enq_flags);
}

/* A task is placed on @c in the segment that began at @started_at. Without the rq lock: see
 * cpu_ctx. */
static __always_inline void note_placed(struct cpu_ctx *c, u64 started_at, bool sync)
{
	WRITE_ONCE(c->placed_in, started_at);
	WRITE_ONCE(c->placed_sync, sync);
}

/* Reserves a place for @p on the CPU of its waker, which sleeps soon: now or next. */
static __always_inline struct placement reserve_at_waker(struct task_struct *p, struct cpu_ctx *c,
							 const struct takt_tunables *k)
{
	u64 preempt = try_handoff(c, p);

	note_placed(c, READ_ONCE(c->started_at), !preempt);
	return (struct placement){preempt ? TAKT_PLACE_HANDOFF : TAKT_PLACE_SYNC, k->slice_max_ns,
				  preempt};
}

/*
 * Reserves a place for @p where it preempts the task that runs on @cpu. If @p is very
 * short-running, that task stays there and resumes when @p sleeps, without a way through a queue.
 * It does not if another was placed there just before (two timers that expire at once, on one CPU
 * alone), as it would resume before that one, which has not run yet.
 */
static __always_inline struct placement reserve_at_victim(struct task_struct *p,
							  const struct task_ctx *t, s32 cpu,
							  u64 now, const struct takt_tunables *k)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 started_at;

	note_preempt(p, cpu, t, now);
	started_at = READ_ONCE(c->started_at);
	if (READ_ONCE(c->placed_in) == started_at)
		WRITE_ONCE(c->resume_next_pid, 0);
	else if (policy_enabled(PARK_CURRENT) && is_very_short(t, k))
		WRITE_ONCE(c->resume_next_pid, READ_ONCE(c->pid));
	note_placed(c, started_at, false);
	return (struct placement){TAKT_PLACE_PREEMPT, k->slice_max_ns, SCX_ENQ_PREEMPT};
}

/*
 * A task was preempted on @cpu and resumes there next: does @p go before it, with positive lag? Not
 * before a short-running task, which stays on its CPU since it may hold a lock.
 */
static __always_inline bool precedes_parked(struct task_struct *p, const struct task_ctx *t,
					    s32 cpu, u64 now, const struct takt_tunables *k)
{
	const struct cpu_ctx *c = cpu_ctx_of(cpu);
	s32 parked_pid = READ_ONCE(c->parked_pid);

	return policy_enabled(LAG_BEFORE_PARKED) && parked_pid && parked_pid != p->pid &&
	       !READ_ONCE(c->parked_is_short) && has_positive_lag(t, k) && !is_background(t) &&
	       (u32)(now >> 10) - READ_ONCE(c->parked_at_us) < SEGMENT_MAX_NS >> 10 &&
	       !passes_over_queues(cpu, now);
}

/*
 * @p waits, as another task has been placed on @cpu. If the task that runs there was to resume
 * right after that one, it would do so before @p: it goes to the queue instead.
 */
static __always_inline void cancel_resume(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);

	if (has_placed(c, READ_ONCE(c->started_at)) && READ_ONCE(c->resume_next_pid))
		WRITE_ONCE(c->resume_next_pid, 0);
}

/*
 * Reserves a placement for @p, that wakes on @here and may use @prev_cpu. Returns its CPU, or a
 * negative number: @p has to wait.
 */
static __always_inline s32 reserve_placement(struct task_struct *p, struct task_ctx *t, s32 here,
					     s32 prev_cpu, u64 wake_flags, u64 now,
					     const struct takt_tunables *k,
					     struct placement *placement)
{
	struct cpu_ctx *c = cpu_ctx_of(here);
	bool sync = is_sync(c, p, t, wake_flags, k) && may_use(p, here) &&
		    waker_sleeps_soon(here, c, now, k);
	s32 cpu;

	if (sync && is_proven_waker(c, k)) {
		*placement = reserve_at_waker(p, c, k);
		return here;
	}
	cpu = can_rule && t->cpu_set ? claim_preferred_cpu(p, t) : -1;
	if (cpu < 0)
		cpu = claim_for_capacity(p, t, prev_cpu);
	if (cpu < 0)
		cpu = claim_idle_cpu(p, prev_cpu, wake_flags, now);
	if (cpu >= 0) {
		placement->place = cpu == prev_cpu ? TAKT_PLACE_IDLE_PREV : TAKT_PLACE_IDLE_OTHER;
		placement->slice_ns = k->slice_max_ns;
		placement->enq_flags = 0;
		return cpu;
	}
	if (sync && nr_cpus_at_start > 1) {
		*placement = reserve_at_waker(p, c, k);
		return here;
	}
	cpu = find_victim(p, t, prev_cpu, now, k);
	if (cpu >= 0) {
		*placement = reserve_at_victim(p, t, cpu, now, k);
		return cpu;
	}
	cancel_resume(prev_cpu);
	if (!precedes_parked(p, t, prev_cpu, now, k))
		return -1;
	*placement = (struct placement){TAKT_PLACE_NEXT, k->slice_min_ns, SCX_ENQ_HEAD};
	return prev_cpu;
}

/* Reserves a placement for @p, that may use no other CPU than @cpu and wakes; false: it has to
 * wait.
 */
static __always_inline bool reserve_pinned_placement(struct task_struct *p, struct task_ctx *t,
						     s32 cpu, u64 now,
						     const struct takt_tunables *k,
						     struct placement *placement)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	bool woken_here = cpu == bpf_get_smp_processor_id();

	if (woken_here)
		note_waker(c, p, t, now);
	if (!c->started_at && scx_bpf_test_and_clear_cpu_idle(cpu)) {
		*placement = (struct placement){TAKT_PLACE_IDLE_PREV, k->slice_max_ns, 0};
	} else if (woken_here && waker_sleeps_soon(cpu, c, now, k)) {
		*placement = reserve_at_waker(p, c, k);
	} else if (!never_preempts(t) && is_preemptible(cpu, t, now, k)) {
		*placement = reserve_at_victim(p, t, cpu, now, k);
	} else if (is_percpu_kthread(p) && !has_negative_lag(t, k)) {
		*placement = (struct placement){TAKT_PLACE_KTHREAD, k->slice_min_ns, SCX_ENQ_HEAD};
	} else if (precedes_parked(p, t, cpu, now, k)) {
		*placement = (struct placement){TAKT_PLACE_NEXT, k->slice_min_ns, SCX_ENQ_HEAD};
	} else {
		cancel_resume(cpu);
		return false;
	}
	return true;
}

#endif /* TAKT_PLACEMENT_BPF_H */
