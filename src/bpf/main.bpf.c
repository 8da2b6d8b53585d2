/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * scx_takt, the kernel side: a task's life, callback by callback.
 *
 *	wakes:		takt_select_cpu		to its waker's CPU, an idle one, or one that may be
 *						preempted: straight there
 *			takt_enqueue		else into a queue ordered by deadline
 *	gets on:	takt_dispatch		a CPU without work takes the first due task
 *			takt_running		the clock starts
 *	gets off:	takt_stopping		it is charged for what it used
 *
 * The concepts stand in the headers below, in reading order; none needs one that comes later.
 */
/* clang-format on */
#include "takt.bpf.h"
#include "event.bpf.h"
#include "wakeup.bpf.h"
#include "task.bpf.h"
#include "rules.bpf.h"
#include "cgroup.bpf.h"
#include "burst.bpf.h"
#include "deadline.bpf.h"
#include "perf.bpf.h"
#include "queue.bpf.h"
#include "idle.bpf.h"
#include "capacity.bpf.h"
#include "handoff.bpf.h"
#include "preempt.bpf.h"
#include "witness.bpf.h"
#include "seat.bpf.h"
#include "balance.bpf.h"
#include "selftest.bpf.h"
#include "tasks.bpf.h"

/* How many wait where @p will: in the queue of its CPU if it is @pinned there, else of its LLC. */
static __always_inline u32 join_queue(const struct task_ctx *t, s32 cpu, bool pinned)
{
	if (!pinned)
		return llc_ctx_of(t->llc)->nr_queued++;
	return cpu_ctx_of(cpu)->nr_own++;
}

/* Lets @p wait: behind whoever is due before it, or for the rest of its turn in front. */
static __always_inline void queue(struct task_struct *p, const struct task_ctx *t, s32 cpu,
				  bool pinned, const struct takt_knobs *k, u64 enq_flags)
{
	u64 slice = slice_for(join_queue(t, cpu, pinned), weight_1024_of(p, t), k);
	u64 deadline = deadline_of(t, t->ready_at, k);

	if (has(REST) && t->slice_left_ns && !is_background(t)) {
		slice = min_u64(slice, t->slice_left_ns);
		deadline = t->ready_at - k->lag_max_ns;
	}
	scx_bpf_dsq_insert_vtime(p, pinned ? dsq_of_cpu(cpu) : dsq_of_llc(t->llc), slice, deadline,
				 enq_flags);
	count(placed[pinned ? TAKT_PLACE_QUEUE_CPU : TAKT_PLACE_QUEUE_LLC]);
}

s32 BPF_STRUCT_OPS(takt_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	const struct takt_knobs *k = knobs_now();
	struct task_ctx *t = task_ctx_of(p);
	s32 here = bpf_get_smp_processor_id(), cpu;
	u64 now = scx_bpf_now();
	struct placement seat;

	if (!t)
		return prev_cpu;
	t->ready_at = now;
	clamp_wakeup_lag(t, k);
	note_wakeup(cpu_ctx_of(here), p, t, now);
	cpu = select_placement(p, t, here, prev_cpu, wake_flags, now, k, &seat);
	if (cpu >= 0) {
		apply_placement(p, &seat);
		return cpu;
	}
	add_runnable_weight(p, t);
	rebase_vruntime(t, llc_of(prev_cpu));
	queue(p, t, prev_cpu, false, k, 0);
	kick_recent_idle_cpu(p, t, now);
	return prev_cpu;
}

void BPF_STRUCT_OPS(takt_enqueue, struct task_struct *p, u64 enq_flags)
{
	const struct takt_knobs *k = knobs_now();
	struct task_ctx *t = task_ctx_of(p);
	s32 cpu = cpu_of(p);
	bool pinned = is_pinned(p, enq_flags);
	u64 now = scx_bpf_now();
	struct placement seat;

	if (!t) {
		tell_fault(p, TAKT_FAULT_NO_CONTEXT);
		scx_bpf_error("no context for task %d (%s)", p->pid, p->comm);
		return;
	}
	/* Else it waits already, and is queued anew: another nice value, cgroup or set of CPUs. */
	if (!t->ready_at || (enq_flags & SCX_ENQ_WAKEUP))
		t->ready_at = now;
	add_runnable_weight(p, t);
	rebase_vruntime(t, llc_of(cpu));
	if (enq_flags & SCX_ENQ_WAKEUP) {
		clamp_wakeup_lag(t, k);
		if (p->nr_cpus_allowed == 1 && select_pinned_placement(p, t, cpu, now, k, &seat)) {
			apply_placement(p, &seat);
			return;
		}
	}
	if (pinned && is_in_section(p, enq_flags)) { /* see drain_cpu() */
		insert_local(p, 0, 0);
		return;
	}
	if (migrate_to_big(p, cpu_ctx_of(cpu), k->slice_max_ns, enq_flags))
		return;
	/* A real-time task took the CPU. What is left of a turn is not made anew: who is preempted
	 * again and again would keep the CPU for ever. */
	if ((enq_flags & SCX_ENQ_REENQ) && !t->slice_left_ns)
		t->slice_left_ns = k->slice_min_ns;
	queue(p, t, cpu, pinned, k, enq_flags);
	if (!pinned)
		kick_idle_cpu(p);
}

/* @prev could go on: is anybody due before it? Settles its account either way. */
static bool try_continue_current(s32 cpu, struct task_struct *prev)
{
	const struct takt_knobs *k = knobs_now();
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = task_ctx_of(prev);
	u64 now = scx_bpf_now(), earliest = earliest_for(cpu);
	bool within_run;

	if (!t || !c->started_at || is_migrating_to_big(prev, c))
		return false;
	account_runtime(c, t, now);
	within_run = is_within_run(t, c);
	c->vruntime = t->vruntime;
	c->runtime_ns = t->runtime_ns;
	c->started_at = now;
	c->slice_ns = 0; /* its turn is over: the slice is used up, or it yielded */
	t->slice_left_ns = 0;
	if (earliest == ~0ULL)
		reset_lag(t, k);
	else if (!within_run && (s64)(deadline_of(t, now, k) - earliest) > 0)
		return false;
	c->vruntime = t->vruntime;
	c->slice_ns = slice_for(nr_waiting(c, t->llc), c->weight_1024, k);
	set_protection(c, t, k);
	scx_bpf_task_set_slice(prev, c->slice_ns);
	return true;
}

/* There is no work for @cpu. */
static __always_inline void goes_idle(s32 cpu, u64 now)
{
	note_idle(cpu, now);
	hint_perf(cpu, now);
}

void BPF_STRUCT_OPS(takt_dispatch, s32 cpu, struct task_struct *prev)
{
	cpu_ctx_of(cpu)->parked_pid = 0; /* the kernel asks when the local DSQ is empty */
	if (prev && (prev->scx.flags & SCX_TASK_QUEUED) && has(KEEP) &&
	    try_continue_current(cpu, prev))
		count(nr_kept);
	else if (take_first(cpu))
		count(nr_dispatched);
	else if (steal(cpu))
		count(nr_stolen);
	else
		goes_idle(cpu, scx_bpf_now());
}

void BPF_STRUCT_OPS(takt_running, struct task_struct *p)
{
	const struct takt_knobs *k = knobs_now();
	s32 cpu = cpu_of(p);
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	struct task_ctx *t = task_ctx_of(p);
	u64 now = scx_bpf_now();

	if (!t)
		return;
	note_migration(p, t, cpu, now);
	rebase_vruntime(t, llc_of(cpu));
	if (watched)
		note_wait(p, now, waited_ns(t, now), c->pid);
	if (wakeups_watched && !is_agent(p))
		count_wakeup(t, now);
	back_off_handoff(t, now, k);
	t->ready_at = 0;
	c->started_at = now;
	c->vruntime = t->vruntime;
	c->runtime_ns = t->runtime_ns;
	add_runnable_weight(p, t);
	c->weight_1024 = weight_1024_of(p, t);
	c->class = t->urgency;
	set_protection(c, t, k);
	c->slice_ns = p->scx.slice;
	c->profile = t->profile;
	c->pid = p->pid;
	c->woken_by = t->woken_by;
	c->nr_woke = 0;
	c->next_placed = false;
	if (c->parked_pid == p->pid)
		c->parked_pid = 0;
}

/*
 * A runnable task that leaves its CPU with some of its slice unused is put in front of the CPU's
 * local queue by the kernel itself (put_prev_task_scx() in kernel/sched/ext.c). A preemption takes
 * the slice; who has given way gets it back, and so keeps its place without a call of
 * takt_enqueue().
 */
static __always_inline void park_current(struct task_struct *p, const struct task_ctx *t,
					 struct cpu_ctx *c)
{
	if (!t->slice_left_ns || is_background(t))
		return;
	c->parked_pid = p->pid;
	c->parked_is_short = c->sleeps;
	scx_bpf_task_set_slice(p, t->slice_left_ns);
}

void BPF_STRUCT_OPS(takt_stopping, struct task_struct *p, bool runnable)
{
	struct cpu_ctx *c = cpu_ctx_of(cpu_of(p));
	struct task_ctx *t = task_ctx_of(p);
	bool gave_way = take_resume_next(p, c);
	u64 now = scx_bpf_now(), ran_ns;

	if (!t || !c->started_at)
		return;
	ran_ns = account_runtime(c, t, now);
	c->started_at = 0;
	if (runnable)
		t->ready_at = now;
	if (runnable && gave_way) {
		note_woken(t, c);
		park_current(p, t, c);
	} else if (!runnable) {
		remove_runnable_weight(t);
		cancel_big(p, c);
		update_waker_profile(c, now, knobs_now());
		update_run_estimate(t, knobs_now());
		t->runtime_ns = 0;
		t->slice_left_ns = 0;
	}
	t->profile = c->profile;
	if (watched) {
		count(nr_runs);
		count_add(run_ns, ran_ns);
	}
}

/* Others have come to wait since @p began its turn, which is therefore a shorter one. */
static __always_inline void shrink_slice(struct task_struct *p, struct cpu_ctx *c, u32 nr_queued)
{
	u64 slice_ns = slice_for(nr_queued, c->weight_1024, knobs_now());
	u64 used_ns = c->slice_ns - min_u64(p->scx.slice, c->slice_ns);

	if (slice_ns >= c->slice_ns)
		return;
	scx_bpf_task_set_slice(p, slice_ns - min_u64(used_ns, slice_ns));
	c->slice_ns = slice_ns;
}

/*
 * Work waits while an idle CPU that @p may use is there: it is called. So this bounds to one tick
 * of a busy CPU what takt_enqueue() missed, and what was @placed behind the one that runs here, for
 * a moment that has become long. For that one the runner makes room, which may go elsewhere.
 */
static __always_inline void kick_for_waiting(struct task_struct *p, bool placed)
{
	if (!kick_idle_cpu(p))
		return;
	count(nr_rescued);
	if (placed)
		scx_bpf_task_set_slice(p, 0);
}

/* What has changed since @p got the CPU. */
void BPF_STRUCT_OPS(takt_tick, struct task_struct *p)
{
	s32 cpu = bpf_get_smp_processor_id();
	struct cpu_ctx *c = cpu_ctx_of(cpu);
	u32 llc = llc_of(cpu), nr_queued = recount(llc), nr_rivals = nr_waiting(c, llc);
	u64 now = scx_bpf_now();
	bool placed;

	refresh_cgroups(now);
	hint_perf(cpu, now);
	if (nr_rivals && c->pid == p->pid)
		shrink_slice(p, c, nr_rivals);
	if (nr_cpus_at_start == 1)
		return;
	request_big(p, c, cpu, now);
	placed = p->nr_cpus_allowed > 1 && scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL) > 0;
	if (nr_queued || placed)
		kick_for_waiting(p, placed);
}

/*
 * A higher class took the CPU: what was placed on it may run elsewhere meanwhile. Not for the sake
 * of a stopper, which is gone in microseconds: who ran would start elsewhere, behind others.
 */
void BPF_STRUCT_OPS(takt_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	count(nr_released);
	if (nr_cpus_at_start > 1 && args->reason != SCX_CPU_PREEMPT_STOP)
		scx_bpf_reenqueue_local();
}

/* A CPU that was not there at the start has no place in what we know of the machine: load again. */
void BPF_STRUCT_OPS(takt_cpu_online, s32 cpu)
{
	if (!cpu_known[(u32)cpu & (TAKT_MAX_CPUS - 1)])
		scx_bpf_exit(SCX_ECODE_ACT_RESTART | SCX_ECODE_RSN_HOTPLUG, "CPU %d is new", cpu);
}

void BPF_STRUCT_OPS(takt_cpu_offline, s32 cpu)
{
	drain_cpu(cpu);
}

/* A new weight changes what the same lag is worth: lag * weight stays, as in EEVDF's
 * reweight_entity(). The kernel calls this for a new policy as well (set_load_weight()). */
void BPF_STRUCT_OPS(takt_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *t = task_ctx_of(p);
	u64 base;
	s64 lead;

	if (!t || !weight)
		return;
	t->policy = p->policy;
	note_urgency(t);
	base = llc_ctx_of(t->llc)->avg_vruntime;
	lead = t->vruntime - base;
	if (lead > 0)
		t->vruntime = base + (u64)lead * t->weight / weight;
	t->weight = weight;
}

/* @p comes under our care: it owes nothing, and is owed what its parent gave it. */
void BPF_STRUCT_OPS(takt_enable, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (!t)
		return;
	t->llc = llc_of(cpu_of(p));
	t->ready_at = scx_bpf_now();
	t->vruntime = llc_ctx_of(t->llc)->avg_vruntime - t->inherited_lag_ns;
	t->inherited_lag_ns = 0;
	t->weight = p->scx.weight;
	t->policy = p->policy;
	note_urgency(t);
}

/* @p leaves our care, asleep or not. */
void BPF_STRUCT_OPS(takt_disable, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		remove_runnable_weight(t);
}

s32 BPF_STRUCT_OPS(takt_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *t;

	t = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -ENOMEM;
	if (bpf_core_field_exists(args->cgroup))
		t->cgroup = slot_of(args->cgroup);
	if (is_agent(p))
		t->class = TAKT_CLASS_BACKGROUND;
	else if (args->fork)
		inherit_rules(t);
	if (args->fork)
		transfer_lag_to_child(t);
	return 0;
}

void BPF_STRUCT_OPS(takt_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		remove_runnable_weight(t);
	bpf_task_storage_delete(&task_ctxs, p);
}

s32 BPF_STRUCT_OPS(takt_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	cgroup_add(cgrp, args->weight);
	if (bpf_core_field_exists(args->bw_quota_us) && args->bw_quota_us != NO_QUOTA)
		cgroup_with_max = cgrp->kn->id;
	return 0;
}

void BPF_STRUCT_OPS(takt_cgroup_exit, struct cgroup *cgrp)
{
	u32 slot = slot_of(cgrp);

	if (slot)
		cgroup_at(slot)->id = 0;
}

void BPF_STRUCT_OPS(takt_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	u32 slot = slot_of(cgrp);

	if (slot)
		cgroup_at(slot)->weight = weight;
}

void BPF_STRUCT_OPS(takt_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct task_ctx *t = task_ctx_of(p);
	bool runnable;

	if (!t)
		return;
	runnable = t->counted;
	remove_runnable_weight(t);
	t->cgroup = slot_of(to);
	if (runnable)
		add_runnable_weight(p, t);
}

/* cpu.max is not for us to enforce; the agent says so. */
void BPF_STRUCT_OPS(takt_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
		    u64 burst_us)
{
	if (quota_us != NO_QUOTA)
		cgroup_with_max = cgrp->kn->id;
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
		err = scx_bpf_create_dsq(dsq_of_llc(i), -1);
		if (err)
			return err;
	}
	bpf_for (i, 0, nr_cpus) {
		err = scx_bpf_create_dsq(dsq_of_cpu(i), -1);
		if (err)
			return err;
	}
	return 0;
}

void BPF_STRUCT_OPS(takt_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
	tell_exit();
}

void BPF_STRUCT_OPS(takt_dump, struct scx_dump_ctx *dctx)
{
	u32 i;

	bpf_for (i, 0, nr_llcs)
		scx_bpf_dump("takt: LLC %u avg_vruntime=%llu queued=%d\n", i,
			     llc_ctx_of(i)->avg_vruntime, scx_bpf_dsq_nr_queued(dsq_of_llc(i)));
	bpf_for (i, 0, nr_cpus_at_start) {
		const struct cpu_ctx *c = cpu_ctx_of(i);

		scx_bpf_dump(
			"takt: CPU %u pid=%d running=%d vruntime=%llu runtime_ns=%llu queued=%d\n",
			i, c->pid, c->started_at != 0, c->vruntime, c->runtime_ns,
			scx_bpf_dsq_nr_queued(dsq_of_cpu(i)));
	}
}

void BPF_STRUCT_OPS(takt_dump_task, struct scx_dump_ctx *dctx, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		scx_bpf_dump("takt: LLC %u lead=%lld runtime_ns=%llu waits_ns=%llu gap_ns=%u\n",
			     t->llc, t->vruntime - llc_ctx_of(t->llc)->avg_vruntime, t->runtime_ns,
			     waited_ns(t, scx_bpf_now()), t->profile.gap_ns);
}

SCX_OPS_DEFINE(takt_ops, .select_cpu = (void *)takt_select_cpu, .enqueue = (void *)takt_enqueue,
	       .dispatch = (void *)takt_dispatch, .running = (void *)takt_running,
	       .stopping = (void *)takt_stopping, .tick = (void *)takt_tick,
	       .cpu_release = (void *)takt_cpu_release, .cpu_online = (void *)takt_cpu_online,
	       .cpu_offline = (void *)takt_cpu_offline, .set_weight = (void *)takt_set_weight,
	       .disable = (void *)takt_disable, .cgroup_init = (void *)takt_cgroup_init,
	       .cgroup_exit = (void *)takt_cgroup_exit,
	       .cgroup_set_weight = (void *)takt_cgroup_set_weight,
	       .cgroup_move = (void *)takt_cgroup_move,
	       .cgroup_set_bandwidth = (void *)takt_cgroup_set_bandwidth,
	       .enable = (void *)takt_enable, .init_task = (void *)takt_init_task,
	       .exit_task = (void *)takt_exit_task, .init = (void *)takt_init,
	       .exit = (void *)takt_exit, .dump = (void *)takt_dump,
	       .dump_task = (void *)takt_dump_task, .timeout_ms = 30000, .name = "takt");
