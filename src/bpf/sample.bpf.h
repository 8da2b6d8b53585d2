/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a task does at this moment, under whatever scheduler: read by the task iterators for the
 * live view and other readers, never on a scheduling path.
 *
 * The kernel keeps the times itself, for every class (sched_info), in the clock of the run queues.
 *
 * Limits: fields are read without locks, so that a task may be seen half-way between two states;
 * the next sample, a second later, corrects it.
 */
#ifndef TAKT_SAMPLE_BPF_H
#define TAKT_SAMPLE_BPF_H

#include <scx/common.bpf.h>
#include "intf.h"

/* When the walk over the tasks began, ns of CLOCK_MONOTONIC. Written by the reader of the iterator,
 * without a lock: two at a time would be wrong by the time between them; there is one per process.
 */
u64 walk_began_at;

/*
 * Now, in the clock of the run queues, which no program may read: the reader has just got its CPU
 * (it sleeps for a moment before it reads), and the kernel has noted when.
 */
static __always_inline u64 rq_clock_now(u64 walked)
{
	const struct task_struct *reader = bpf_get_current_task_btf();
	u64 now = bpf_ktime_get_ns();

	if (!walked)
		walk_began_at = now;
	return reader->sched_info.last_arrival + (now - walk_began_at);
}

/* A small integer whose size differs between kernels. */
#define small_int(field)                                                                           \
	({                                                                                         \
		u32 __v = 0;                                                                       \
		bpf_core_read(&__v, bpf_core_field_size(field), &(field));                         \
		__v;                                                                               \
	})

/*
 * By the policy, so that a task with an inherited real-time priority counts as what it is
 * otherwise. A sched_ext task counts as one only while it runs or waits (SCX_TASK_QUEUED): asleep
 * it counts as FAIR. class_of() in observe.bpf.c differs in both: it looks at tasks that get a CPU.
 */
static __always_inline u8 class_of(const struct task_struct *p)
{
	if (p->policy == 1 || p->policy == 2) /* SCHED_FIFO, SCHED_RR */
		return TAKT_SCHED_RT;
	if (p->policy == 6) /* SCHED_DEADLINE */
		return TAKT_SCHED_DEADLINE;
	if (bpf_core_field_exists(p->scx) && (p->scx.flags & SCX_TASK_QUEUED))
		return TAKT_SCHED_EXT;
	return TAKT_SCHED_FAIR;
}

static __always_inline u64 dsq_id_of(const struct task_struct *p)
{
	if (!bpf_core_field_exists(p->scx) || !BPF_CORE_READ(p, scx.dsq))
		return TAKT_NO_DSQ;
	return BPF_CORE_READ(p, scx.dsq, id);
}

/* Everything that does not depend on the scheduler. */
static __always_inline void sample_task(struct takt_task *s, const struct task_struct *p, u64 now)
{
	u64 queued_at = p->sched_info.last_queued;

	__builtin_memset(s, 0, sizeof(*s));
	s->started_ns = p->start_time;
	s->run_ns = p->se.sum_exec_runtime;
	s->delay_ns = p->sched_info.run_delay;
	s->cpu = p->thread_info.cpu;
	s->runs = small_int(p->on_cpu) != 0;
	s->dsq = TAKT_NO_DSQ;
	if (small_int(p->on_rq) && !s->runs && queued_at) {
		s->waits_ns = now > queued_at ? now - queued_at : 1;
		s->dsq = dsq_id_of(p);
	}
	s->pid = p->pid;
	s->tgid = p->tgid;
	s->allowed_cpus = small_int(p->nr_cpus_allowed);
	s->class = class_of(p);
	s->nice = p->static_prio - 120;
	__builtin_memcpy(s->comm, p->comm, sizeof(s->comm));
}

#endif /* TAKT_SAMPLE_BPF_H */
