/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What kind of task this is, and where what we know of it is kept.
 */
#ifndef TAKT_TASK_BPF_H
#define TAKT_TASK_BPF_H

#include "takt.bpf.h"

/* include/uapi/linux/sched.h */
#define SCHED_BATCH 3
#define SCHED_IDLE  5

#define TASK_INTERRUPTIBLE 1 /* include/linux/sched.h */

#define MAX_RT_PRIO 100 /* include/linux/sched/prio.h: real-time and deadline tasks are below */

/* NULL only for a task that init_task() has not seen, which the kernel never passes to us. */
static __always_inline struct task_ctx *task_ctx_of(struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, p, NULL, 0);
}

/* The CPU whose run queue @p belongs to: as scx_bpf_task_cpu(), without the call. */
static __always_inline s32 cpu_of(const struct task_struct *p)
{
	return p->thread_info.cpu;
}

/*
 * What the entry code of a BPF program adds to migration_disabled of the current task: 1, but 0
 * from 6.18 on in kernels without preemptible RCU. Measured: takt_init_task() runs where nothing
 * else adds to it (scx_init_task(), in process context, with no section entered). Written only
 * while the scheduler is loaded, by one thread, and always with the same value.
 */
u32 entry_disables_migration = 1;

/*
 * How many sections of either kind, RCU read-side and migration-disabled, @p is in only since the
 * entry code of BPF programs began one of each for the current task. There are two where
 * takt_cpu_release() has the kernel call takt_enqueue() (SCX_ENQ_REENQ).
 */
static __always_inline int nr_entered(const struct task_struct *p, u64 enq_flags)
{
	if (p != bpf_get_current_task_btf())
		return 0;
	return enq_flags & SCX_ENQ_REENQ ? 2 : 1;
}

/* May @p not migrate now, for its own reasons? */
static __always_inline bool may_not_migrate(const struct task_struct *p, u64 enq_flags)
{
	return p->migration_disabled &&
	       p->migration_disabled > nr_entered(p, enq_flags) * entry_disables_migration;
}

/*
 * May @p run on one CPU only, now? A migration-disabled task counts. What the entry code of a BPF
 * program adds to the count of the current task is taken off first: see nr_entered().
 */
static __always_inline bool is_pinned(const struct task_struct *p, u64 enq_flags)
{
	if (nr_cpus_at_start == 1)
		return false; /* then the queue of the LLC is that of the CPU */
	return p->nr_cpus_allowed == 1 || may_not_migrate(p, enq_flags);
}

/*
 * Was @p taken off its CPU inside an RCU read-side section, or where it may not migrate? Sections
 * are short, and others wait for their end.
 */
static __always_inline bool is_in_section(const struct task_struct *p, u64 enq_flags)
{
	if (may_not_migrate(p, enq_flags))
		return true;
	return bpf_core_field_exists(p->rcu_read_lock_nesting) &&
	       p->rcu_read_lock_nesting > nr_entered(p, enq_flags);
}

/*
 * Kernel threads bound to a CPU do the kernel's housekeeping there: others wait for them, as long
 * as they keep to their share (a worker that computes for long, such as one that tests ciphers,
 * does not).
 */
static __always_inline bool is_percpu_kthread(const struct task_struct *p)
{
	return (p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1;
}

static __always_inline bool may_use(const struct task_struct *p, s32 cpu)
{
	return bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/* CPUs that went offline since the load; not those that were offline at load. Written by
 * takt_cpu_offline() and takt_cpu_online(), one at a time; read without a lock. */
bool cpu_offline[TAKT_MAX_CPUS];

/*
 * @cpu, if @p may use it, else an online CPU that it may use. The CPU that a sleeping task belongs
 * to need not be one: the kernel does not move it when its affinity changes
 * (set_cpus_allowed_common() in kernel/sched/core.c), nor when the CPU goes offline.
 */
static __always_inline s32 usable_cpu(const struct task_struct *p, s32 cpu, bool unrestricted)
{
	const struct cpumask *online;
	s32 other;

	if (nr_cpus_at_start == 1 ||
	    ((unrestricted || may_use(p, cpu)) && !cpu_offline[(u32)cpu & (TAKT_MAX_CPUS - 1)]))
		return cpu;
	online = scx_bpf_get_online_cpumask();
	other = bpf_cpumask_any_and_distribute(p->cpus_ptr, online);
	scx_bpf_put_cpumask(online);
	return (u32)other < nr_cpu_ids ? other : cpu;
}

/* Claims the first CPU of a set that is idle and that @p may use; negative: none. */
static s32 claim_idle_in_set(const struct task_struct *p, const volatile struct takt_cpu_set *set)
{
	s32 cpu;
	u32 i;

	bpf_for (i, 0, set->nr) {
		cpu = set->cpu[i & (TAKT_MAX_CPUS - 1)];
		if ((u32)cpu < scx_bpf_nr_cpu_ids() && may_use(p, cpu) &&
		    scx_bpf_test_and_clear_cpu_idle(cpu))
			return cpu;
	}
	return -1;
}

#endif /* TAKT_TASK_BPF_H */
