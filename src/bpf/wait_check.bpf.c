/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does a scheduler, whichever runs, keep to a bound on waits?
 *
 * Such a bound is of the time that real-time and deadline tasks leave: no scheduler below them can
 * give away what they take. So each wait of a task below them is measured twice: from ready to
 * running, and of that the time in which a CPU that it may use was online and held by none of them.
 * Of several CPUs the one that had most of such time counts, as if the task had stood in its queue
 * all the while. This is the strictest reading there is.
 *
 * When a CPU was held is kept in a history of one word per millisecond and CPU, which is read for
 * waits beyond the limit and those that are the worst so far.
 *
 * A task that is given other CPUs while it waits has a wait of several parts, each judged by the
 * CPUs of that time: wait_check_mask() sees the change. Without it (a kernel that has the function
 * inlined) such a wait is counted and not judged. A wait that goes on when the reader looks is
 * judged up to then, by wait_check_open().
 *
 * Limits: a wait that began while the task was a real-time one is not counted. Time that a
 * hypervisor takes from a CPU counts as left. Parts beyond 34 s are judged by their last 34 s.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "intf.h"

#define MAX_RT_PRIO	100
#define SCHED_IDLE	5   /* include/uapi/linux/sched.h */
#define DEFAULT_PRIO	120 /* nice 0 */
#define LIGHT_ALLOWANCE 3

char _license[] SEC("license") = "GPL";

/* Set by the reader. */
const volatile u32 nr_cpus = 1; /* one more than the highest number of a CPU */
const volatile u64 limit_ns;
const volatile u64 each_ns;	/* and so much for each other task that is ready: allowance_of() */
const volatile bool sees_masks; /* wait_check_mask() is attached */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* the number of CPUs, and one for wait_check_open() */
	__type(key, u32);
	__type(value, struct wait_check_cpu);
} cpus SEC(".maps");

/* How long a CPU was held in one millisecond; @tick says in which, as the words are used again. */
struct held {
	u32 tick;
	u32 held_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAIT_CHECK_TICKS); /* times the number of CPUs */
	__type(key, u32);
	__type(value, struct held);
} history SEC(".maps");

/* A task that is ready, or was last. */
struct waiter {
	s32 pid;
	u32 nr_runnable;
	u64 ready_at; /* ns, CLOCK_MONOTONIC; 0: it runs or sleeps */
	u64 part_at;  /* the same, of the part that goes on */
	u64 left_ns;  /* that was left for it in former parts */
	u64 cpus;     /* those that it might use when it became ready; of the first 64 */
	bool limited; /* a cgroup that it was in then sets cpu.max */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAIT_CHECK_SLOTS);
	__type(key, u32);
	__type(value, struct waiter);
} waiters SEC(".maps");

/* Is @p a real-time or deadline task, boosted to be one, or a CPU stopper? */
static __always_inline bool is_high(const struct task_struct *p)
{
	return p->prio < MAX_RT_PRIO;
}

static __always_inline struct wait_check_cpu *cpu_of(u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline struct held *word_of(u32 cpu, u64 tick)
{
	u32 index = cpu * WAIT_CHECK_TICKS + (tick & (WAIT_CHECK_TICKS - 1));

	return bpf_map_lookup_elem(&history, &index);
}

static __always_inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

static __always_inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* @cpu was held from @from to @to. */
static __noinline void add_held(u32 cpu, u64 from, u64 to)
{
	u32 first = from >> WAIT_CHECK_TICK_SHIFT, last = to >> WAIT_CHECK_TICK_SHIFT, tick;

	if (last - first >= WAIT_CHECK_TICKS)
		first = last - WAIT_CHECK_TICKS + 1;
	bpf_for (tick, first, last + 1) {
		struct held *held = word_of(cpu, tick);
		u64 begin = (u64)tick << WAIT_CHECK_TICK_SHIFT, end = (tick + 1ULL)
								      << WAIT_CHECK_TICK_SHIFT;

		if (!held)
			return;
		if (held->tick != tick)
			held->held_ns = 0;
		held->tick = tick;
		held->held_ns += min_u64(to, end) - max_u64(from, begin);
	}
}

/* What holds @cpu changes: @high, a real-time or deadline task; @away, it is offline. */
static __always_inline void set_holder(struct wait_check_cpu *c, u32 cpu, u32 high, u32 away,
				       u64 now)
{
	u64 from = c->held_since;

	c->held_since = high || away ? now : 0;
	c->high = high;
	c->away = away;
	if (from && from < now)
		add_held(cpu, from, now);
}

/* How long @cpu was not held from @from to @to; the millisecond that @from is in counts as left. */
static __noinline u64 left_on(u32 cpu, u64 from, u64 to)
{
	u32 first = from >> WAIT_CHECK_TICK_SHIFT, last = to >> WAIT_CHECK_TICK_SHIFT, tick;
	const struct wait_check_cpu *c = cpu_of(cpu);
	u64 held_ns = 0, since = c ? c->held_since : 0;

	if (last - first >= WAIT_CHECK_TICKS)
		first = last - WAIT_CHECK_TICKS + 1;
	bpf_for (tick, first + 1, last + 1) {
		struct held *held = word_of(cpu, tick);

		if (held && held->tick == tick)
			held_ns += held->held_ns;
	}
	if (since && since < to)
		held_ns += to - max_u64(since, from);
	return to - from - min_u64(held_ns, to - from);
}

/* How many tasks ran or waited on the machine, as each CPU's last switch found it. */
static __always_inline u32 nr_runnable(void)
{
	u32 cpu, nr = 0;

	bpf_for (cpu, 0, nr_cpus) {
		const struct wait_check_cpu *c = cpu_of(cpu);

		if (c)
			nr += c->nr_runnable;
	}
	return nr;
}

static __always_inline struct waiter *waiter_of(const struct task_struct *p)
{
	u32 slot = p->pid & (WAIT_CHECK_SLOTS - 1);

	return bpf_map_lookup_elem(&waiters, &slot);
}

/* The CPUs that @p may use, as far as one word shows them. */
static __always_inline u64 cpus_of(const struct task_struct *p)
{
	return p->cpus_ptr->bits[0];
}

/* Does the cgroup of @p, or one around it, set cpu.max? Only at the begin of a wait: a task is
 * throttled before it waits, or after it has run. */
static __always_inline bool is_limited(const struct task_struct *p)
{
	if (!bpf_core_field_exists(p->sched_task_group->cfs_bandwidth.hierarchical_quota))
		return false;
	/* RUNTIME_INF: no limit */
	return BPF_CORE_READ(p, sched_task_group, cfs_bandwidth.hierarchical_quota) != -1;
}

/* @p is ready to run from @now on, or @asleep. */
static __always_inline void wait_begins(const struct task_struct *p, bool asleep, u64 now)
{
	struct waiter *w = waiter_of(p);

	if (!w)
		return;
	w->pid = p->pid;
	w->ready_at = asleep || is_high(p) ? 0 : now;
	if (!w->ready_at)
		return;
	w->nr_runnable = nr_runnable();
	w->part_at = now;
	w->left_ns = 0;
	w->cpus = cpus_of(p);
	w->limited = is_limited(p);
}

/* The time that was left for @p on that of its CPUs that had most of it, from @from to @now. */
static __noinline u64 left_for(const struct task_struct *p, u64 from, u64 now)
{
	const struct cpumask *mask = BPF_CORE_READ(p, cpus_ptr);
	u64 left_ns = 0, word = 0;
	u32 cpu;

	/* By hand: the kfunc takes no mask of a task that a function was called with. */
	bpf_for (cpu, 0, nr_cpus) {
		if (cpu % 64 == 0)
			bpf_probe_read_kernel(&word, sizeof(word), &mask->bits[cpu / 64]);
		if (word >> cpu % 64 & 1)
			left_ns = max_u64(left_ns, left_on(cpu, from, now));
	}
	return left_ns;
}

/*
 * What @p may have to wait for each other task that is ready. A task that is lighter than one of
 * nice 0 in the root cgroup, by its own weight or by that of a cgroup, has a smaller share and
 * waits longer.
 */
static __always_inline u64 allowance_of(const struct task_struct *p)
{
	bool light = p->static_prio > DEFAULT_PRIO || p->policy == SCHED_IDLE ||
		     BPF_CORE_READ(p, cgroups, dfl_cgrp, level) > 0;

	return light ? LIGHT_ALLOWANCE * each_ns : each_ns;
}

/* Is @wait at least as large a part of what its task may wait as @other, which is 0 at first? In
 * us: fits. */
static __always_inline bool is_worse(const struct wait_check_wait *wait,
				     const struct wait_check_wait *other)
{
	return (wait->left_ns >> 10) * (other->limit_ns >> 10) >=
	       (other->left_ns >> 10) * (wait->limit_ns >> 10);
}

/* @p, that became ready as @w says, has waited until @now; the result goes to @c. */
static __always_inline void check_wait(struct wait_check_cpu *c, const struct task_struct *p,
				       const struct waiter *w, u64 now)
{
	struct wait_check_wait wait = {
		.wait_ns = now - w->ready_at,
		.pid = p->pid,
		.nr_cpus = p->nr_cpus_allowed,
		.nr_runnable = w->nr_runnable,
	};

	if (w->limited) {
		c->nr_limited++;
		return;
	}
	wait.limit_ns = limit_ns + allowance_of(p) * (w->nr_runnable ? w->nr_runnable - 1 : 0);
	wait.left_ns = wait.wait_ns; /* at most */
	c->nr_waits++;
	if (wait.wait_ns <= min_u64(c->longest.wait_ns, wait.limit_ns) &&
	    !is_worse(&wait, &c->worst))
		return;
	if (!sees_masks && w->cpus != cpus_of(p)) {
		c->nr_moved++;
		return;
	}
	wait.left_ns = w->left_ns + left_for(p, w->part_at, now);
	__builtin_memcpy(wait.comm, p->comm, sizeof(wait.comm));
	if (wait.wait_ns > wait.limit_ns)
		c->nr_long++;
	if (wait.left_ns > wait.limit_ns)
		c->nr_beyond++;
	if (wait.wait_ns > c->longest.wait_ns)
		c->longest = wait;
	if (is_worse(&wait, &c->worst))
		c->worst = wait;
}

/* The wait of @p is over. */
static __always_inline void wait_ends(struct wait_check_cpu *c, const struct task_struct *p,
				      u64 now)
{
	struct waiter *w = waiter_of(p);

	if (!w || is_high(p))
		return;
	if (w->pid != p->pid || !w->ready_at || w->ready_at > now)
		c->nr_unseen++;
	else
		check_wait(c, p, w, now);
	w->ready_at = 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(wait_check_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct wait_check_cpu *c = cpu_of(cpu);
	u64 now = bpf_ktime_get_ns();

	if (!c)
		return 0;
	c->nr_runnable = prev->se.cfs_rq->rq->nr_running; /* whatever the class */
	if (prev->pid)
		wait_begins(prev, prev->__state && !preempt, now);
	set_holder(c, cpu, next->pid && is_high(next), c->away, now);
	if (next->pid)
		wait_ends(c, next, now);
	return 0;
}

/* One that is ready already, and woken on its way to sleep, goes on waiting. */
static __always_inline int note_woken(const struct task_struct *p)
{
	struct waiter *w = waiter_of(p);

	if (w && (w->pid != p->pid || !w->ready_at))
		wait_begins(p, false, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(wait_check_wakeup, struct task_struct *p)
{
	return note_woken(p);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(wait_check_wakeup_new, struct task_struct *p)
{
	return note_woken(p);
}

/* The CPUs of @p change; while it waits, a part of its wait ends. Called with them as they were
 * until now. */
SEC("fentry/set_cpus_allowed_common")
int BPF_PROG(wait_check_mask, struct task_struct *p)
{
	struct waiter *w = waiter_of(p);
	u64 now = bpf_ktime_get_ns();

	if (!w || w->pid != p->pid || !w->ready_at || is_high(p))
		return 0;
	w->left_ns += left_for(p, w->part_at, now);
	w->part_at = now;
	w->nr_runnable = max_u64(w->nr_runnable, nr_runnable());
	return 0;
}

/* Judges waits that have not ended, as if they did now. */
SEC("iter/task")
int wait_check_open(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct wait_check_cpu *c = cpu_of(nr_cpus);
	u64 now = bpf_ktime_get_ns();
	struct waiter *w;

	if (!p || !c)
		return 0;
	w = waiter_of(p);
	if (w && w->pid == p->pid && w->ready_at && w->ready_at < now && !is_high(p))
		check_wait(c, p, w, now);
	return 0;
}

/* The step in which a CPU begins or ends to take tasks; called on that CPU. */
SEC("tp_btf/cpuhp_enter")
int BPF_PROG(wait_check_hotplug, u32 cpu, int target, int step)
{
	int active = bpf_core_enum_value(enum cpuhp_state, CPUHP_AP_ACTIVE);
	struct wait_check_cpu *c = cpu_of(cpu);

	if (c && step == active)
		set_holder(c, cpu, c->high, target < active, bpf_ktime_get_ns());
	return 0;
}
