/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ABI between the observer (observe.bpf.c, observe_idle.bpf.c) and its reader (src/observe/).
 * Apart from intf.h, since the observer is an object of its own that runs beside any scheduler.
 *
 * Histograms are log-linear: OBS_SUBS buckets of equal width per power of two. Values below
 * OBS_SUBS have a bucket each; above, a bucket is 1/OBS_SUBS of the power of two that it begins in,
 * so that a value is known to 1/16 (6.25 %) and the middle of its bucket is off by 3.2 % at most.
 */
#ifndef TAKT_OBSERVE_H
#define TAKT_OBSERVE_H

#ifndef __VMLINUX_H__
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
#endif

enum obs_consts {
	OBS_SUB_BITS = 4,
	OBS_SUBS = 1 << OBS_SUB_BITS,
	OBS_BUCKETS = 36 * OBS_SUBS, /* up to 2^39 ns (9 minutes); the last bucket has the rest */
	OBS_MIN_SLOTS = 1 << 16,     /* words for tasks, by PID: a power of two between these */
	OBS_MAX_SLOTS = 1 << 20,
	OBS_PROBES = 32,	    /* values per call of observe_buckets() */
	OBS_IDLE_GRACE_NS = 100000, /* an idle CPU comes to a task in less */
};

/* Which class of which scheduler a task is in. */
enum obs_class {
	OBS_FAIR, /* SCHED_OTHER and SCHED_BATCH under the kernel's own scheduler */
	OBS_IDLE, /* SCHED_IDLE under the kernel's own scheduler */
	OBS_EXT,  /* a sched_ext scheduler, whatever the policy */
	OBS_RT,	  /* SCHED_FIFO, SCHED_RR, tasks boosted so, and the CPU stoppers */
	OBS_DL,	  /* SCHED_DEADLINE */
	OBS_NR_CLASSES,
};

/* Index of a group: 2 * class + (1 for kernel threads). */
enum obs_group_consts {
	OBS_NR_GROUPS = 2 * OBS_NR_CLASSES,
};

/* Every field only ever grows. */
struct obs_hist {
	u64 sum_ns;
	u64 max_ns;
	u64 count[OBS_BUCKETS];
};

/* One group of tasks on one CPU; written by that CPU only. */
struct obs_group {
	struct obs_hist wakeup;	 /* from ready to running, after a sleep */
	struct obs_hist requeue; /* the same, of tasks that were switched out ready, or are new */
	struct obs_hist slice;	 /* from switched in to switched out */
};

/* The machine, as observe_idle.bpf.c sees it; written by all CPUs, atomically. */
struct obs_idle {
	u64 wasted_ns;	/* CPU time that went by idle while a task waited; only grows */
	u64 period_ns;	/* the same of the period that goes on */
	u64 period_at;	/* when it began: CLOCK_MONOTONIC, ns */
	u64 updated_at; /* of the last change: CLOCK_MONOTONIC, ns */
	s64 nr_idle;	/* CPUs */
	s64 nr_waiting; /* tasks that may use all CPUs */
};

/* One CPU; written by that CPU only. */
struct obs_cpu {
	u64 started_at;	 /* when the task that runs was switched in; 0: not seen */
	u64 nr_unseen;	 /* waits whose beginning is not known */
	u64 nr_collided; /* waits of tasks that share a word with another */
	u32 group;	 /* of the task that runs */
	u32 pad;
};

#endif /* TAKT_OBSERVE_H */
