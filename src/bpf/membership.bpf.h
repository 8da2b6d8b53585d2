/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * To which cgroup or session a task belongs, and when it counts there.
 *
 * Where kernel.sched_autogroup_enabled is 1, a session (setsid(2)) competes as one with the other
 * tasks, sessions and cgroups of the root, as in EEVDF (kernel/sched/autogroup.c). The kernel does
 * not tell us of sessions: but the task group of a task in the root cgroup is then one of its
 * session. That is looked at when the task is queued or begins to run. A session has a slot like a
 * cgroup, and is known by the address of its task group, which is far from any number of a cgroup.
 * No event ends it: when its tasks have slept for SESSION_EXPIRES_NS, another may take the slot;
 * its tasks then see that it is not theirs.
 *
 * Limits: two tasks of a new session that are queued on two CPUs at the same time may take two
 * slots for it, until all of its tasks in one of them have ended.
 */
#ifndef TAKT_MEMBERSHIP_BPF_H
#define TAKT_MEMBERSHIP_BPF_H

#include "cgroup.bpf.h"
#include "rules.bpf.h"

/* Address of the task group of the root; 0: not known. Written without a lock as kernel threads
 * come to us: all of them would write the same. */
u64 root_group;

static __always_inline u64 task_group_of(const struct task_struct *p)
{
	return bpf_core_field_exists(p->sched_task_group) ? (u64)p->sched_task_group : 0;
}

/* @t moves to the cgroup, or the session, in @slot; it may be runnable. */
static __always_inline void move_to_slot(struct task_ctx *t, u32 slot, bool is_session, u64 now)
{
	u32 weight = t->counted;

	count_weight(t, 0, now);
	t->cgroup = slot;
	t->in_session = is_session;
	if (slot)
		count_weight(t, weight, now);
	t->in_idle_cgroup = cgroup_at(slot)->in_idle; /* never set for the root */
	note_latency_class(t);
}

/* @t, in the root cgroup, is in the session of @group, or in none, and does not know yet. */
__noinline int move_to_session(struct task_ctx *t, u64 group, u64 now)
{
	u32 slot = group == root_group ? 0 : find_or_take_slot(group, group >> 8, now);

	if (!t)
		return 0;
	if (slot) {
		cgroup_at(slot)->cgrp = 0;
		cgroup_at(slot)->parent = 0;
		cgroup_at(slot)->idle = false;
		clear_limit(slot);
		cgroups_used = true;
	}
	move_to_slot(t, slot, slot, now);
	return 0;
}

/* @p is about to count: in the session that it belongs to now. */
static __always_inline void update_session(const struct task_struct *p, struct task_ctx *t, u64 now)
{
	u64 group;

	if ((t->cgroup && !t->in_session) || !root_group ||
	    task_group_of(p) == (t->in_session ? cgroup_at(t->cgroup)->id : root_group))
		return;
	bpf_core_read(&group, sizeof(group), &p->sched_task_group); /* a number, no pointer */
	move_to_session(t, group, now);
}

/* @p is queued, or runs: its cgroup or session has a factor of now. It is counted there if it
 * @counts. */
static __always_inline void update_membership(const struct task_struct *p, struct task_ctx *t,
					      bool counts, u64 now)
{
	u32 weight;

	update_session(p, t, now);
	if (!t->cgroup)
		return;
	weight = ruled_weight(t, p->scx.weight);
	if (counts)
		count_weight(t, weight, now);
	update_factor(t, weight, now);
}

/* @p comes to us; it is in @cgrp, if the kernel says so. The kernel's own threads have no session.
 */
static __always_inline void join_cgroup(const struct task_struct *p, struct task_ctx *t,
					struct cgroup *cgrp)
{
	t->cgroup = slot_of(cgrp);
	if (!root_group && !cgrp->level && (p->flags & PF_KTHREAD))
		root_group = task_group_of(p);
}

#endif /* TAKT_MEMBERSHIP_BPF_H */
