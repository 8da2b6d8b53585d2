/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace hooks: events about decisions, while a reader wants them. One line at the call site; one
 * load and one branch when no reader does.
 */
#ifndef TAKT_HOOKS_BPF_H
#define TAKT_HOOKS_BPF_H

#include "deadline.bpf.h"
#include "event.bpf.h"
#include "vtime.h"

/* Emits which task @p preempts on @cpu, and by how much the lag of @p exceeds that task's. Racy
 * read of another CPU's record: see cpu_ctx. */
static __noinline void emit_preempt(struct task_struct *p, s32 cpu, const struct task_ctx *t,
				    u64 now)
{
	const struct cpu_ctx *c = cpu_ctx_of(cpu);
	u64 ran_ns = now - READ_ONCE(c->started_at);
	u64 vruntime = READ_ONCE(c->vruntime) + delta_vruntime(ran_ns, READ_ONCE(c->weight_1024));
	s64 beyond = lag_beyond(t, READ_ONCE(c->queue), vruntime);

	emit_event(TAKT_EV_PREEMPT, now, beyond, p, cpu_and(cpu, READ_ONCE(c->pid)));
}

/* @p takes @cpu from the task that runs there. */
static __always_inline void note_preempt(struct task_struct *p, s32 cpu, const struct task_ctx *t,
					 u64 now)
{
	if (event_enabled(TAKT_EV_PREEMPT))
		emit_preempt(p, cpu, t, now);
}

/* @p starts to run on @cpu: notes its LLC, and emits if it has come from another. */
static __always_inline void update_llc(struct task_struct *p, struct task_ctx *t, s32 cpu, u64 now)
{
	if (nr_llcs > 1 && event_enabled(TAKT_EV_MIGRATE) && t->llc != llc_of(cpu))
		emit_event(TAKT_EV_MIGRATE, now, 0, p, cpu_and(cpu, t->llc));
	if (nr_llcs > 1)
		t->llc = llc_of(cpu);
}

#endif /* TAKT_HOOKS_BPF_H */
