/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * scx_takt, the kernel side: a task's life, callback by callback.
 *
 *	wakes, forked:	takt_select_cpu		placed on its waker's CPU, an idle CPU, or one whose task
 *						it may preempt; else queued, by deadline
 *			takt_enqueue		the same for a task that may use one CPU only; every
 *						other task that becomes runnable is queued
 *	gets a CPU:	takt_dispatch		at the end of a slice the task continues if its deadline
 *						is the earliest; else the CPU takes the first task
 *			takt_running		a run segment begins
 *	runs:		takt_tick		shrinks slices; kicks idle CPUs for tasks that wait
 *	leaves the CPU:	takt_stopping		its runtime is accounted
 *
 * Read intf.h (queues, tunables), types.h (all state) and vtime.h (lag and deadlines) first;
 * run_length.h has the formulas of protection. Which of the tasks that are placed on a CPU, parked
 * there or to resume next runs first is a table at the top of placement.bpf.h.
 *
 * The concepts stand in the headers below, in reading order: each includes what it needs, and none
 * needs one that comes later.
 */
/* clang-format on */
#include "takt.bpf.h"
#include "event.bpf.h"
#include "wakeup.bpf.h"
#include "task.bpf.h"
#include "rules.bpf.h"
#include "cgroup.bpf.h"
#include "membership.bpf.h"
#include "run_length.bpf.h"
#include "deadline.bpf.h"
#include "perf.bpf.h"
#include "domain.bpf.h"
#include "queue.bpf.h"
#include "idle.bpf.h"
#include "capacity.bpf.h"
#include "handoff.bpf.h"
#include "preempt.bpf.h"
#include "hooks.bpf.h"
#include "placement.bpf.h"
#include "cpu_timer.bpf.h"
#include "throttle.bpf.h"
#include "slice_timer.bpf.h"
#include "segment.bpf.h"
#include "balance.bpf.h"
#include "selftest.bpf.h"
#include "tasks.bpf.h"
#include "dump.bpf.h"

struct queue_place {
	u64 slice_ns;
	u64 deadline;
};

/*
 * @p, which waits since t->ready_at, is about to be put into the queue of @t. Counts it there and
 * in its cgroup, and brings its weight up to date. Its deadline is that of its lag. A task that was
 * preempted gets the rest of its slice, and a deadline lag_max before ready_at: it is near the
 * front. Apart from queue_task(), as the verifier then follows 1,700 instructions fewer.
 */
static __always_inline struct queue_place
enter_queue(const struct task_struct *p, struct task_ctx *t, const struct takt_tunables *k, u64 now)
{
	struct queue_place place;

	update_membership(p, t, true, now);
	reweight(p, t);
	place.slice_ns = slice_for(count_waiting(t, t->queue, k), t->weight_1024, k);
	place.deadline = deadline_of(t, t->weight_1024, t->ready_at);
	if (policy_enabled(KEEP_SLICE) && t->slice_left_ns && !is_background(t)) {
		place.slice_ns = min_u64(place.slice_ns, t->slice_left_ns);
		place.deadline = t->ready_at - k->lag_max_ns;
	}
	return place;
}

/* Puts @p, which waits since t->ready_at, into the queue of @t. */
static __always_inline void queue_task(struct task_struct *p, struct task_ctx *t,
				       const struct takt_tunables *k, u64 enq_flags, u64 now)
{
	struct queue_place place = enter_queue(p, t, k, now);
	u32 queue = t->queue;

	scx_bpf_dsq_insert_vtime(p, queue, place.slice_ns, place.deadline, enq_flags);
	stat_inc(placed[queue >= TAKT_QUEUE_CPUS ? TAKT_PLACE_QUEUE_CPU : TAKT_PLACE_QUEUE_LLC]);
}

s32 BPF_STRUCT_OPS(takt_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	const struct takt_tunables *k = tunables_now();
	struct task_ctx *t = task_ctx_of(p);
	s32 here = bpf_get_smp_processor_id(), cpu;
	u64 now = scx_bpf_now();
	struct placement placement;

	if (!t)
		return prev_cpu;
	prev_cpu = usable_cpu(p, prev_cpu, t->unrestricted);
	move_woken_to_queue(t, queue_for(p, t, prev_cpu, 0), now);
	t->ready_at = now;
	clamp_wakeup_lag(t, k);
	note_waker(cpu_ctx_of(here), p, t, now);
	if (limits_used && is_throttled(p, t, now))
		return prev_cpu; /* to takt_enqueue() */
	cpu = reserve_placement(p, t, here, prev_cpu, wake_flags, now, k, &placement);
	if (cpu >= 0) {
		apply_placement(p, &placement);
		return cpu;
	}
	prev_cpu = less_crowded_cpu(p, t, prev_cpu);
	move_to_queue(t, queue_for(p, t, prev_cpu, 0));
	queue_task(p, t, k, 0, now);
	kick_recent_idle_cpu(p, prev_cpu, now);
	return prev_cpu;
}

void BPF_STRUCT_OPS(takt_enqueue, struct task_struct *p, u64 enq_flags)
{
	const struct takt_tunables *k = tunables_now();
	struct task_ctx *t = task_ctx_of(p);
	s32 cpu = cpu_of(p);
	u64 now = scx_bpf_now();
	struct placement placement;
	u32 queue;

	if (!t) {
		emit_fault(p, TAKT_FAULT_NO_CONTEXT);
		scx_bpf_error("no context for task %d (%s)", p->pid, p->comm);
		return;
	}
	/* It begins to wait, unless ready_at is set: then it waits already. It has just left its
	 * CPU, a higher class took the CPU before it could run, or it is queued anew for another
	 * nice value, cgroup or set of CPUs. */
	if (!t->ready_at || (enq_flags & SCX_ENQ_WAKEUP))
		t->ready_at = now;
	queue = queue_for(p, t, cpu, enq_flags);
	if (!(enq_flags & SCX_ENQ_WAKEUP)) {
		move_to_queue(t, queue);
	} else {
		move_woken_to_queue(t, queue, now);
		clamp_wakeup_lag(t, k);
	}
	if (limits_used && try_throttle(p, t, cpu, enq_flags, now))
		return;
	if ((enq_flags & SCX_ENQ_WAKEUP) && p->nr_cpus_allowed == 1 &&
	    reserve_pinned_placement(p, t, cpu, now, k, &placement)) {
		apply_placement(p, &placement);
		return;
	}
	if (insert_big_or_last(p, cpu_ctx_of(cpu), cpu, k->slice_max_ns, enq_flags))
		return;
	if (is_for_one_cpu(t) && is_in_section(p, enq_flags)) { /* see drain_cpu() */
		insert_local(p, 0, 0);
		return;
	}
	/* A real-time task took the CPU of @p, which was in the local queue: it had been placed and
	 * has not run yet, or its slice is over. With slice_min queue_task() puts it near the
	 * front, where it was. A slice that is left is not made longer: a task that is preempted
	 * again and again would keep the CPU for ever. */
	if ((enq_flags & SCX_ENQ_REENQ) && !t->slice_left_ns)
		t->slice_left_ns = k->slice_min_ns;
	if (is_for_one_cpu(t) && !t->domain && !is_pinned(p, enq_flags) &&
	    spread_without_domain(p, t, cpu, k->slice_max_ns, enq_flags))
		return;
	queue_task(p, t, k, enq_flags, now);
	if (!is_for_one_cpu(t))
		kick_idle_cpu(p, cpu);
}

/* There is no work for @cpu. */
static __always_inline void enter_idle(s32 cpu, u64 now)
{
	note_idle(cpu, now);
	hint_perf(cpu, now);
}

/*
 * @from gives up its slice: the first task that waits runs next, even if its deadline is later. It
 * takes a flag to tell takt_dispatch(): the kernel counts down scx.slice in rq_clock_task(), we
 * count in scx_bpf_now(), so that a slice that seems short does not prove a yield.
 */
bool BPF_STRUCT_OPS(takt_yield, struct task_struct *from, struct task_struct *to)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu_of(from));

	if (to)
		return false;
	c->yields = true;
	c->slice_ns = 0; /* given up, whether takt_dispatch() is called or a task was placed */
	scx_bpf_task_set_slice(from, 0);
	return false;
}

void BPF_STRUCT_OPS(takt_dispatch, s32 cpu, struct task_struct *prev)
{
	bool runnable = prev && (prev->scx.flags & SCX_TASK_QUEUED);
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	bool yielded = runnable && c->yields, stops = false;
	enum next next = NEXT_UNDECIDED;

	c->parked_pid = 0; /* the kernel asks when the local DSQ is empty */
	c->pulled = false;
	c->yields = false;
	if (limits_used) {
		u64 now = scx_bpf_now();
		bool released = release_due(cpu, c, now);

		stops = runnable && reaches_limit(prev, task_ctx_of(prev), cpu, now);
		if (released && runnable && !stops && continue_rest(prev, c, now))
			return;
	}
	if (nr_llcs > 1 && try_pull(cpu, scx_bpf_now())) {
		stat_inc(nr_pulled);
		return;
	}
	if (runnable && !yielded && !stops && policy_enabled(CONTINUE_CURRENT))
		next = end_slice(cpu, prev);
	if (next == NEXT_CURRENT)
		stat_inc(nr_kept);
	else if (next == NEXT_TAKEN || take_first(cpu))
		stat_inc(nr_dispatched);
	else if (try_steal(cpu))
		stat_inc(nr_stolen);
	else if (runnable && !stops && !is_migrating_to_big(prev, c))
		continue_alone(cpu, c, prev, yielded);
	else
		enter_idle(cpu, scx_bpf_now());
}

void BPF_STRUCT_OPS(takt_running, struct task_struct *p)
{
	const struct takt_tunables *k = tunables_now();
	s32 cpu = cpu_of(p);
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = task_ctx_of(p);
	u64 now = scx_bpf_now(), begins_at;

	if (!t)
		return;
	begins_at = segment_begin(c, now);
	if (t->queued_weight) {
		uncount(t, true);
		c->served_at = now;
	}
	update_llc(p, t, cpu, now);
	arrive_in_llc(t, c, llc_of(cpu));
	if (t->ready_at)
		note_running(p, t, c, now, k);
	else
		resume_segment(c, t, begins_at);
	update_membership(p, t, t->counted || t->est_run_ns > COUNTED_RUN_NS, now);
	reweight(p, t);
	start_segment(c, t, begins_at);
	c->latency_class = t->latency_class;
	if (!t->slice_left_ns)
		t->slice_origin = now - t->runtime_ns;
	set_protection(c, t, now, k);
	if (limits_used)
		limit_slice(p, t, cpu, now);
	c->slice_ns = p->scx.slice;
	c->profile = t->profile;
	c->pid = p->pid;
	if (c->slice_timer == SLICE_TIMER_WANTED)
		start_slice_timer(cpu);
}

/*
 * @p leaves its CPU. If it is not @runnable, it need not go to sleep: the kernel also calls for
 * each change of an attribute of a running task (dequeue_task_scx()). Then takt_running() follows
 * in the same critical section: see resume_segment().
 */
void BPF_STRUCT_OPS(takt_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = cpu_of(p);
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = task_ctx_of(p);
	bool changes = !runnable && !p->__state;
	bool resumes = !changes && take_resume_next(p, c);
	u64 now = scx_bpf_now(), ran_ns;

	if (!t || !c->started_at)
		return;
	ran_ns = account_runtime(cpu, c, t, now);
	if (changes) {
		if (c->placed_in == c->started_at)
			c->placed_in = PLACED_BEFORE_CHANGE;
	} else if (!runnable) {
		note_sleep(p, t, c, now);
	} else {
		t->ready_at = now;
		if (resumes) {
			add_nr_woke(t, c);
			park_current(p, t, c);
		} else {
			back_off_sync(c, now, tunables_now());
			/* A higher class takes the CPU. Where there are other CPUs, @p is
			 * enqueued anew: takt_sched_switch(), takt_cpu_release(). */
			if (nr_cpus_at_start == 1 && p->scx.slice)
				note_parked(p, t, c);
		}
	}
	c->started_at = 0;
	c->stopped_at = now;
	t->profile = c->profile;
	if (stats_watched) {
		stat_inc(nr_runs);
		stat_add(run_ns, ran_ns);
	}
}

/*
 * Adapts to what has changed since @p got the CPU: more tasks wait, so its slice shrinks; a CPU
 * went idle, so it is kicked for the first task of each queue. If a task was placed behind @p and
 * still waits, the slice of @p ends: the placed task gets this CPU, and @p goes back to its queue,
 * from where the idle CPU that was kicked takes it. So the first task of a queue waits for one tick
 * of a busy CPU at most while an idle one may take it.
 */
void BPF_STRUCT_OPS(takt_tick, struct task_struct *p)
{
	s32 cpu = cpu_of(p); /* of nohz_full CPUs, another one has their tick */
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = NULL;
	u64 now = scx_bpf_now();
	u32 nr;

	if (trial_ends_at && bpf_ktime_get_ns() > trial_ends_at)
		scx_bpf_exit(0, "it was on trial, and not kept");
	if (cgroups_used && (t = task_ctx_of(p)))
		update_membership(p, t, true, now);
	hint_perf(cpu, now);
	recount(queue_of_llc(llc_of(cpu)));
	if (nr_cpus_at_start > 1 && domains_used)
		recount_domains(cpu);
	nr = nr_waiting(cpu);
	if (!nr)
		c->served_at = now;
	else if (c->pid == p->pid)
		shrink_slice(p, c, nr);
	if (policy_enabled(SLICE_TIMER))
		check_crowd(cpu, c, nr);
	if (limits_used)
		check_limits(p, t, c, cpu, now);
	if (nr_cpus_at_start == 1)
		return;
	request_big(p, c, cpu, now);
	if (nr)
		kick_for_waiting(cpu);
	if (!is_pinned(p, 0) && scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu) > 0 &&
	    kick_idle_cpu(p, cpu)) {
		stat_inc(nr_kicked);
		scx_bpf_task_set_slice(p, 0);
	}
}

/*
 * A higher class took the CPU: tasks in its local DSQ may run elsewhere meanwhile. Not for a
 * stopper, which is gone in microseconds: the preempted task would start elsewhere, behind
 * others. Kernels before 6.19 report it by takt_cpu_release(). In later ones it is
 * deprecated: there the program on sched_switch reports it, and the kernel defers the work
 * (schedule_deferred() in kernel/sched/ext/ext.c). The agent loads one of the two, the second only
 * where there is another CPU.
 */
void BPF_STRUCT_OPS(takt_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	stat_inc(nr_released);
	if (nr_cpus_at_start > 1 && args->reason != SCX_CPU_PREEMPT_STOP)
		scx_bpf_reenqueue_local();
}

/* Stoppers have the highest real-time priority (sched_set_stop_task()), and one CPU each. */
static __always_inline bool is_stopper(const struct task_struct *p)
{
	return !p->prio && is_percpu_kthread(p);
}

/*
 * How often local tasks are enqueued anew while real-time tasks follow each other. What was placed
 * as the first of them came goes elsewhere at the second. What comes back each time may run nowhere
 * else, and from 7.3 on the kernel ejects a scheduler one of whose tasks comes back 256 times
 * without running (SCX_EV_REENQ_REPEAT in kernel/sched/ext/internal.h).
 */
#define MAX_REENQUEUES 4

SEC("tp_btf/sched_switch")
int BPF_PROG(takt_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct cpu_ctx *c;

	if (next->prio >= MAX_RT_PRIO)
		return 0;
	c = cpu_ctx_of(bpf_get_smp_processor_id());
	if (prev->prio >= MAX_RT_PRIO)
		c->nr_reenqueues = 0;
	if (is_stopper(next))
		return 0;
	stat_inc(nr_released);
	if (c->nr_reenqueues >= MAX_REENQUEUES || !scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL))
		return 0;
	c->nr_reenqueues++;
	scx_bpf_reenqueue_local_from_anywhere();
	return 0;
}

/* A CPU that was not online at load is not in our tables: makes the agent load again. */
void BPF_STRUCT_OPS(takt_cpu_online, s32 cpu)
{
	cpu_offline[(u32)cpu & (TAKT_MAX_CPUS - 1)] = false;
	if (!cpu_known[(u32)cpu & (TAKT_MAX_CPUS - 1)])
		scx_bpf_exit(SCX_ECODE_ACT_RESTART | SCX_ECODE_RSN_HOTPLUG, "CPU %d is new", cpu);
}

void BPF_STRUCT_OPS(takt_cpu_offline, s32 cpu)
{
	cpu_offline[(u32)cpu & (TAKT_MAX_CPUS - 1)] = true;
	drain_cpu(cpu);
}

/*
 * The CPUs that @p may use have changed, or are reported for the first time. The kernel also calls
 * as a migration-disabled task is switched out (migrate_disable_switch()): @cpumask is then that
 * one CPU. update_domain() reads p->cpus_mask, which is unchanged, so that the domain stays.
 */
void BPF_STRUCT_OPS(takt_set_cpumask, struct task_struct *p, const struct cpumask *cpumask)
{
	struct task_ctx *t = task_ctx_of(p);
	u32 left, queue;

	if (!t)
		return;
	left = t->domain;
	update_domain(p, t);
	if (!left || left == t->domain || t->queue != TAKT_QUEUE_DOMAINS + left - 1)
		return;
	/* Other tasks may get the domain that it left: its vruntime must not stay in that clock. */
	queue = queue_for(p, t, cpu_of(p), 0);
	if (p->__state)
		move_woken_to_queue(t, queue, scx_bpf_now());
	else
		move_to_queue(t, queue);
}

/* @p, which does not run, has another weight, or policy: set_load_weight(). */
void BPF_STRUCT_OPS(takt_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *t = task_ctx_of(p);

	if (!t)
		return;
	t->policy = p->policy;
	note_latency_class(t);
	reweight(p, t);
}

/* @p joins the scheduler, with the lag that its parent gave it or that it left with. */
void BPF_STRUCT_OPS(takt_enable, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (!t)
		return;
	update_domain(p, t);
	t->llc = llc_of(cpu_of(p));
	t->queue = queue_for(p, t, cpu_of(p), 0);
	t->slept_at = scx_bpf_now();
	t->ready_at = p->__state ? 0 : t->slept_at; /* asleep: it waits from its wakeup on */
	t->vruntime = avg_vruntime(queue_ctx_of(t->queue)) - t->kept_lag_ns;
	t->kept_lag_ns = 0;
	t->weight_1024 = weight_1024_of(p, t);
	t->policy = p->policy;
	note_latency_class(t);
}

static __always_inline void forget_task(struct task_ctx *t)
{
	count_weight(t, 0, scx_bpf_now());
	uncount_untaken(t);
	t->throttled_at = 0;
	t->may_stop = false;
	if (t->domain)
		leave_domain(t->domain - 1);
	t->domain = 0;
}

/*
 * @p leaves the scheduler, asleep or not. It may be a real-time task for a moment only, by
 * inheriting the priority of a task that waits for it: its lag is kept, as in EEVDF.
 */
void BPF_STRUCT_OPS(takt_disable, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (!t)
		return;
	t->kept_lag_ns = clamp_s64(lag_of(t), KEPT_LAG_NS);
	forget_task(t);
}

s32 BPF_STRUCT_OPS(takt_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *t;

	t = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -ENOMEM;
	if (bpf_core_field_exists(args->cgroup))
		join_cgroup(p, t, args->cgroup);
	if (!args->fork)
		entry_disables_migration = bpf_get_current_task_btf()->migration_disabled > 0;
	if (is_agent(p))
		t->rule_class = TAKT_LAT_BACKGROUND;
	else if (args->fork)
		inherit_rules(t);
	t->may_stop = args->fork;
	if (args->fork)
		transfer_lag_to_child(t);
	return 0;
}

void BPF_STRUCT_OPS(takt_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		forget_task(t);
	bpf_task_storage_delete(&task_ctxs, p);
}

s32 BPF_STRUCT_OPS(takt_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	add_cgroup(cgrp, args->weight);
	return 0;
}

void BPF_STRUCT_OPS(takt_cgroup_exit, struct cgroup *cgrp)
{
	remove_cgroup(cgrp);
}

void BPF_STRUCT_OPS(takt_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	set_cgroup_weight(cgrp, weight);
}

void BPF_STRUCT_OPS(takt_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		move_to_slot(t, slot_of(to), false, scx_bpf_now());
}

/* cpu.max has changed, in the kernel's own record already: it is read when a factor is made. */
void BPF_STRUCT_OPS(takt_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
		    u64 burst_us)
{
	cgroup_at(slot_of(cgrp))->factor_at = 0;
}

static s32 create_queue(u32 queue, u32 nr_cpus, u32 llc)
{
	struct queue_ctx *q = queue_ctx_of(queue);

	q->nr_cpus = nr_cpus;
	q->llc = llc;
	q->rate_q20 = RATE_ONE;
	q->inv_rate_q10 = 1024;
	q->run_weight = weight_units(100 * 1024);
	return scx_bpf_create_dsq(queue, -1);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(takt_init)
{
	u32 nr_cpus = scx_bpf_nr_cpu_ids(), i;
	s32 err;

	if (nr_cpus > TAKT_MAX_CPUS) {
		scx_bpf_error("%u CPUs: this build knows %u at most", nr_cpus, TAKT_MAX_CPUS);
		return -EINVAL;
	}
	bpf_for (i, 0, nr_llcs) {
		err = create_queue(queue_of_llc(i), llc_nr_cpus[i & (TAKT_MAX_LLCS - 1)], i);
		if (err)
			return err;
	}
	bpf_for (i, 0, nr_cpus) {
		err = create_queue(queue_of_cpu(i), 1, llc_of(i));
		if (!err)
			err = create_throttled(i);
		if (!err)
			err = create_slice_timer(i);
		if (err)
			return err;
	}
	bpf_for (i, 0, nr_cpus > 1 ? TAKT_MAX_DOMAINS : 0) {
		err = create_queue(TAKT_QUEUE_DOMAINS + i, 1, 0);
		if (err)
			return err;
	}
	return 0;
}

void BPF_STRUCT_OPS(takt_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
	emit_exit();
}

/*
 * The agent sets .flags before the load (src/agent/lifecycle.rs): SCX_OPS_ENQ_EXITING and
 * SCX_OPS_ENQ_MIGRATION_DISABLED, SCX_OPS_ENQ_LAST, and from 7.0 on SCX_OPS_ALLOW_QUEUED_WAKEUP:
 * then a task that is woken before it has left its CPU comes to takt_enqueue() of that CPU without
 * takt_select_cpu() (try_to_wake_up() in kernel/sched/core.c), and is queued.
 */
SCX_OPS_DEFINE(takt_ops, .select_cpu = (void *)takt_select_cpu, .enqueue = (void *)takt_enqueue,
	       .dispatch = (void *)takt_dispatch, .running = (void *)takt_running,
	       .stopping = (void *)takt_stopping, .tick = (void *)takt_tick,
	       .cpu_release = (void *)takt_cpu_release, .cpu_online = (void *)takt_cpu_online,
	       .cpu_offline = (void *)takt_cpu_offline, .set_cpumask = (void *)takt_set_cpumask,
	       .yield = (void *)takt_yield, .set_weight = (void *)takt_set_weight,
	       .disable = (void *)takt_disable, .cgroup_init = (void *)takt_cgroup_init,
	       .cgroup_exit = (void *)takt_cgroup_exit,
	       .cgroup_set_weight = (void *)takt_cgroup_set_weight,
	       .cgroup_move = (void *)takt_cgroup_move,
	       .cgroup_set_bandwidth = (void *)takt_cgroup_set_bandwidth,
	       .enable = (void *)takt_enable, .init_task = (void *)takt_init_task,
	       .exit_task = (void *)takt_exit_task, .init = (void *)takt_init,
	       .exit = (void *)takt_exit, .dump = (void *)takt_dump,
	       .dump_task = (void *)takt_dump_task, .timeout_ms = 30000, .name = "takt");
