/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Throttled tasks: those of a cgroup whose budget (limit.bpf.h) is used up.
 *
 *	runs		its slice is no longer than what is left. A tick that finds nothing left ends it;
 *			one that gets a CPU when nothing is left any more gives it up at once
 *	is queued	waits in a queue of its CPU, by the time when the budget returns: release_order()
 *	is released	when that time has come, as a timer makes its CPU ask for work. The task goes to the
 *			queue that it would wait in, where any CPU may take it, without lag
 *
 * A task may hold a lock of the kernel that others wait for (cgroup_mutex, as it moves into the cgroup:
 * all others that wanted to, hung for minutes). So it stops only where it holds none: a tick has
 * found it in user mode, it wakes from an interruptible sleep (rarely with a lock held: FUSE, a tty), or
 * it is new (task_ctx.may_stop). EEVDF does so from 6.18 on, as a task returns to user mode. Exiting
 * tasks and kernel threads never stop. What any of them runs is charged all the same.
 *
 * One that has been throttled for PASS_AFTER_NS gets a slice in any case: a crowd in a small budget
 * would else meet the watchdog of the kernel (30 s).
 *
 * A budget that returns is not enough for a crowd. Tasks are released while there is room for a slice
 * of each in it; the others are looked at again when the budget may be used up.
 *
 * Limits: another limit counts for tasks that are throttled when their budget would have returned, or
 * after PASS_AFTER_NS. A task that computes inside the kernel at each tick is not stopped there.
 */
/* clang-format on */
#ifndef TAKT_THROTTLE_BPF_H
#define TAKT_THROTTLE_BPF_H

#include "capacity.bpf.h"
#include "cgroup.bpf.h"
#include "cpu_timer.bpf.h"
#include "deadline.bpf.h"
#include "idle.bpf.h"
#include "membership.bpf.h"
#include "queue.bpf.h"
#include "task.bpf.h"

#define PASS_AFTER_NS (10ULL * 1000 * 1000 * 1000)
#define RELEASE_MAX   32	      /* tasks that a CPU looks at when it asks for work */
#define LOOK_AGAIN_NS (1000LL * 1000) /* at the earliest, if there was no room */
#define DUE_NOW	      1		      /* cpu_ctx.next_release */
#define ORDERED_NS    (1ULL << 33)    /* of which release_order() makes half a millisecond */

extern struct pt_regs *__irq_regs __ksym __weak; /* of each CPU: include/linux/irq_regs.h */

CPU_TIMERS(release_timers);

static __always_inline u32 throttled_of_cpu(s32 cpu)
{
	return TAKT_THROTTLED + (u32)cpu;
}

/* Slot of the nearest cgroup around @t that sets a limit; 0: none does, or @t is in the root. */
static __always_inline u32 limit_of(const struct task_ctx *t)
{
	return READ_ONCE(cgroup_at(t->cgroup)->limited_by);
}

/* May @p stop where it is? Without branches, as what follows: the verifier follows each way by
 * itself. */
static __always_inline bool may_stop(const struct task_struct *p, const struct task_ctx *t)
{
	return t->may_stop & !(p->flags & (PF_EXITING | PF_KTHREAD));
}

/* Has a task that is throttled since @throttled_at, or is not (0), been so for so long that it gets
 * a slice in any case? */
static __always_inline bool passes(u64 throttled_at, u64 now)
{
	return throttled_at && elapsed_ns(throttled_at, now) >= PASS_AFTER_NS;
}

/*
 * The functions that are global are so that the verifier looks at each once, by itself: inlined
 * into what calls them, they are too much for that of 6.12.
 *
 * Are the budgets of @limit used up, for a task that @may_stop and is throttled since
 * @throttled_at?
 */
__noinline int stops_at_limit(u32 limit, bool may_stop, u64 throttled_at, u64 now)
{
	return limit && may_stop && charge_limits(limit, 0, now) <= 0 && !passes(throttled_at, now);
}

/* Does @p stop, as its budgets have nothing left? */
static __always_inline bool is_throttled(const struct task_struct *p, const struct task_ctx *t,
					 u64 now)
{
	return stops_at_limit(limit_of(t), may_stop(p, t), t->throttled_at, now);
}

/*
 * When @t, whose budgets return at @at, is released: within half a millisecond, those first that
 * have not had a CPU for longest. (In order of when they were throttled, tasks that were released
 * but got nothing of the budget waited longer than those that got it: 40 in a budget of 5 ms had
 * 0.1 to 120 ms of a second.)
 */
static __always_inline u64 release_order(const struct task_ctx *t, u64 at)
{
	u64 age = min_u64(elapsed_ns(t->got_cpu_at, at), ORDERED_NS);

	at = min_u64(at, t->throttled_at + PASS_AFTER_NS);
	return at + ((ORDERED_NS - age) >> 14);
}

/* A throttled task of @cpu is to be released at @at. */
static __always_inline void release_at(s32 cpu, struct cpu_ctx *c, u64 at, u64 now)
{
	u32 key = cpu;
	struct takt_timer *timer = bpf_map_lookup_elem(&release_timers, &key);

	c->next_release = at;
	if (!timer || !start_cpu_timer(timer, elapsed_ns(now, at))) {
		c->next_release = DUE_NOW; /* no memory: tries again */
		scx_bpf_kick_cpu(cpu, 0);
	}
}

/* @t is throttled no longer. That was no time in which it missed its share: it has no lag. */
static __always_inline void end_throttle(struct task_ctx *t)
{
	t->vruntime = avg_vruntime(queue_ctx_of(t->queue));
}

/* @t becomes runnable on @cpu, or stays so, and is throttled. Returns by what it waits in
 * throttled_of_cpu(). */
__noinline u64 begin_throttle(struct task_ctx *t, s32 cpu, u64 now)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 at;

	if (!t)
		return now;
	add_to_total(limit_of(t), 0, now); /* it counts no longer in its parent */
	uncount_untaken(t);
	t->slice_left_ns = 0;
	if (!t->throttled_at)
		t->throttled_at = now;
	at = release_order(t, budgets_return_at(limit_of(t), now));
	if (!c->next_release || at < c->next_release)
		release_at(cpu, c, at, now);
	return at;
}

/* @p, of @cpu, becomes runnable or stays so: if it is throttled, waits until its budgets return. */
static __always_inline bool try_throttle(struct task_struct *p, struct task_ctx *t, s32 cpu,
					 u64 enq_flags, u64 now)
{
	if (!is_throttled(p, t, now)) {
		if (t->throttled_at)
			end_throttle(t);
		return false;
	}
	cancel_big(p, cpu_ctx_of(cpu));
	scx_bpf_dsq_insert_vtime(p, throttled_of_cpu(cpu), tunables_now()->slice_min_ns,
				 begin_throttle(t, cpu, now), enq_flags);
	return true;
}

/* How much of @slice_ns the budgets of @limit have. A task that must not stop gets a short slice.
 */
__noinline u64 limited_slice(u32 limit, u64 slice_ns, u64 now)
{
	s64 left = limit ? charge_limits(limit, 0, now) : (s64)slice_ns;

	return min_u64(slice_ns, left > 0 ? left : SLICE_FLOOR_NS);
}

/* @p, which has waited, gets @cpu: for no longer than its budgets last. */
static __always_inline void limit_slice(struct task_struct *p, struct task_ctx *t, s32 cpu, u64 now)
{
	if (is_throttled(p, t, now)) {
		scx_bpf_task_set_slice(p, 0);
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
		return;
	}
	t->may_stop = false;
	t->throttled_at = 0;
	t->got_cpu_at = now;
	scx_bpf_task_set_slice(p, limited_slice(limit_of(t), p->scx.slice, now));
}

/* What runs on @cpu has @limit: takes what it ran since the last time off the budgets. */
__noinline int charge_running(u32 limit, s32 cpu, u64 now)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 since = max_u64(c->started_at, c->charged_at);

	if (!limit || !c->started_at)
		return 0;
	c->charged_at = now;
	charge_limits(limit, elapsed_ns(since, now), now);
	return 0;
}

/* Has @p, which runs on @cpu, used up its budgets, and does it stop? */
static __always_inline bool reaches_limit(const struct task_struct *p, struct task_ctx *t, s32 cpu,
					  u64 now)
{
	if (!t)
		return false;
	charge_running(limit_of(t), cpu, now);
	if (is_throttled(p, t, now))
		return true;
	t->may_stop = false;
	t->throttled_at = 0;
	return false;
}

/* Did the interrupt that we are in, on @cpu, come while user code ran? */
static __always_inline bool interrupts_user_mode(s32 cpu)
{
	struct pt_regs **regs;
	u64 mode = 0;

	if (!bpf_ksym_exists(&__irq_regs))
		return true; /* no BTF for it: as EEVDF before 6.18 */
	regs = bpf_this_cpu_ptr(&__irq_regs);
	if (cpu != bpf_get_smp_processor_id() || !*regs)
		return false; /* a housekeeping CPU has the tick of @cpu: it cannot be known */
#if defined(__TARGET_ARCH_x86)
	bpf_core_read(&mode, sizeof(u16), &(*regs)->cs);
	return mode & 3;
#else
	bpf_core_read(&mode, sizeof(mode), &(*regs)->pstate);
	return !(mode & 0xf); /* PSR_MODE_MASK, PSR_MODE_EL0t */
#endif
}

/* Is it time to release throttled tasks of the CPU of @c? */
static __always_inline bool is_release_due(const struct cpu_ctx *c, u64 now)
{
	return c->next_release && now >= c->next_release;
}

/* The tick of @p, which runs on @cpu: its slice ends if its budgets are used up, or if a throttled
 * task is to be released. */
static __always_inline void check_limits(struct task_struct *p, struct task_ctx *t,
					 const struct cpu_ctx *c, s32 cpu, u64 now)
{
	if (t && limit_of(t)) {
		t->may_stop = interrupts_user_mode(cpu);
		if (reaches_limit(p, t, cpu, now))
			scx_bpf_task_set_slice(p, 0);
	}
	if (is_release_due(c, now))
		scx_bpf_task_set_slice(p, 0);
}

/* Is there room for another slice in the budget of @slot? Returns 0, or when to look again, ns. */
static __always_inline u64 wait_for_room(u32 slot, u64 now)
{
	struct limit_ctx *l = limit_at(slot);
	s64 budget = READ_ONCE(l->budget_ns);

	if (now >= READ_ONCE(l->room_until)) {
		WRITE_ONCE(l->room_until, now + max_s64(budget, LOOK_AGAIN_NS));
		WRITE_ONCE(l->room_ns, budget);
	}
	if (READ_ONCE(l->room_ns) <= 0)
		return READ_ONCE(l->room_until);
	l->room_ns -= tunables_now()->slice_min_ns;
	return 0;
}

/* @t is throttled, and is looked at: when to look again, ns; 0: it is released. */
__noinline u64 look_at_throttled(const struct task_ctx *t, u64 now)
{
	u32 limit;
	u64 at = 0;

	if (!t || passes(t->throttled_at, now))
		return 0;
	limit = limit_of(t);
	if (limit)
		at = charge_limits(limit, 0, now) > 0 ? wait_for_room(limit, now)
						      : budgets_return_at(limit, now);
	return at ? release_order(t, at) : 0;
}

/* @t is released: it waits in @queue from now on. Returns its deadline, that of a task without lag.
 */
__noinline u64 enter_queue_released(struct task_ctx *t, u32 queue, u64 now)
{
	const struct takt_tunables *k = tunables_now();

	if (!t)
		return now;
	t->ready_at = now;
	move_to_queue(t, queue);
	end_throttle(t);
	count_waiting(t, queue, k);
	return is_background(t) ? now + k->latency_ns : now;
}

/*
 * @cpu asks for work, and throttled tasks of its own are due: looks at the first of them. Their
 * records are written as those of any other task, under the rq lock that they belong to: none of
 * these moves drops it.
 */
__noinline int release_throttled(s32 cpu, u64 now)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_struct *p;
	u32 queue;
	u64 at;

	c->nr_looked_at = 0; /* in memory: the verifier would follow each value of a local one */
	bpf_for_each (scx_dsq, p, throttled_of_cpu(cpu), 0) {
		struct task_ctx *t = task_ctx_of(p);

		if (!t || p->scx.dsq_vtime > now || c->nr_looked_at++ >= RELEASE_MAX)
			break;
		at = look_at_throttled(t, now);
		if (at) {
			scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, at);
			scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, throttled_of_cpu(cpu), 0);
			continue;
		}
		queue = queue_for(p, t, cpu, 0);
		at = enter_queue_released(t, queue, now);
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, at);
		if (scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, queue, 0) &&
		    !is_queue_of_one_cpu(queue))
			kick_idle_cpu(p, cpu);
	}
	at = head_deadline(throttled_of_cpu(cpu));
	c->next_release = 0;
	if (at != NO_DEADLINE)
		release_at(cpu, c, at, now);
	return 0;
}

/* @cpu asks for work: releases throttled tasks that are due; false: none is. */
static __always_inline bool release_due(s32 cpu, const struct cpu_ctx *c, u64 now)
{
	if (!is_release_due(c, now))
		return false;
	release_throttled(cpu, now);
	return true;
}

/*
 * @prev runs on @c, whose slice was ended so that it releases throttled tasks: it continues with
 * the rest; false: there is none. (Background tasks that had waited for seconds lost it ten times a
 * second.)
 */
static __always_inline bool continue_rest(struct task_struct *prev, const struct cpu_ctx *c,
					  u64 now)
{
	u64 ran_ns = elapsed_ns(c->started_at, now);

	if (!c->started_at || c->slice_ns <= ran_ns || is_migrating_to_big(prev, c))
		return false;
	scx_bpf_task_set_slice(prev, c->slice_ns - ran_ns);
	return true;
}

/*
 * The timer of CPU @key has expired: it asks for work now, even if it is a little early by the
 * clock of the scheduler, which is another. (If busy CPUs waited for their tick, idle ones had used
 * up the budget until then: 3 of 6 tasks on 2 CPUs had nothing.)
 */
static int expire_release_timer(void *map, u32 *key, struct takt_timer *timer)
{
	WRITE_ONCE(cpu_ctx_of(*key)->next_release, DUE_NOW);
	scx_bpf_kick_cpu(*key, SCX_KICK_PREEMPT);
	return 0;
}

static __always_inline s32 create_throttled(s32 cpu)
{
	s32 err = create_cpu_timer(&release_timers, cpu, expire_release_timer);

	return err ?: scx_bpf_create_dsq(throttled_of_cpu(cpu), -1);
}

#endif /* TAKT_THROTTLE_BPF_H */
