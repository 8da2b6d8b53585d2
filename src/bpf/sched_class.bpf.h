/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which scheduling class of which scheduler a task is in: for programs that watch any scheduler.
 */
#ifndef TAKT_SCHED_CLASS_BPF_H
#define TAKT_SCHED_CLASS_BPF_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "intf.h"

#define PF_KTHREAD  0x00200000 /* include/linux/sched.h */
#define SCHED_IDLE  5	       /* include/uapi/linux/sched.h */
#define MAX_RT_PRIO 100	       /* include/linux/sched/prio.h */

/* Kernels up to 7.0 have the states of a sched_ext task in an enum of their own. */
enum scx_task_state___own {
	SCX_TASK_ENABLED___own,
};

/* Is @p in the care of a sched_ext scheduler? */
static __always_inline bool is_ext(const struct task_struct *p)
{
	u32 enabled;

	if (!bpf_core_field_exists(p->scx.flags))
		return false;
	if (bpf_core_enum_value_exists(enum scx_ent_flags, SCX_TASK_ENABLED))
		enabled = bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_ENABLED);
	else if (bpf_core_enum_value_exists(enum scx_task_state___own, SCX_TASK_ENABLED___own))
		enabled = bpf_core_enum_value(enum scx_task_state___own, SCX_TASK_ENABLED___own)
			  << bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_STATE_SHIFT);
	else
		return false;
	return (p->scx.flags & bpf_core_enum_value(enum scx_ent_flags, SCX_TASK_STATE_MASK)) ==
	       enabled;
}

/* The class that @p runs in at this moment: by its priority, inherited or not. class_of() in
 * sample.bpf.h goes by the policy. */
static __always_inline u32 class_of(const struct task_struct *p)
{
	if (p->prio < 0)
		return OBS_DL;
	if (p->prio < MAX_RT_PRIO)
		return OBS_RT;
	if (is_ext(p))
		return OBS_EXT;
	return p->policy == SCHED_IDLE ? OBS_IDLE : OBS_FAIR;
}

static __always_inline bool is_on_cpu(const struct task_struct *task)
{
	return BPF_CORE_READ_BITFIELD(task, on_cpu); /* its size differs between kernels */
}

#endif /* TAKT_SCHED_CLASS_BPF_H */
