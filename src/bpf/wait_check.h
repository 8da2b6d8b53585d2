/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ABI between the wait check (wait_check.bpf.c) and its reader (src/stress/wait_check.rs).
 */
#ifndef TAKT_WAIT_CHECK_H
#define TAKT_WAIT_CHECK_H

#ifndef __VMLINUX_H__
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
#endif

enum wait_check_consts {
	WAIT_CHECK_TICK_SHIFT = 20, /* the history has a word for each 2^20 ns = 1 ms */
	WAIT_CHECK_TICKS = 1 << 15, /* per CPU: 34 s */
	WAIT_CHECK_SLOTS = 1 << 16, /* for tasks, by the low bits of their PID */
	WAIT_CHECK_COMM = 16,
};

/* One wait. */
struct wait_check_wait {
	u64 wait_ns;
	u64 left_ns;	 /* of it, on that CPU of those it may use that had most of it left */
	s32 pid;	 /* of the task that waited */
	u32 nr_cpus;	 /* on how many CPUs it may run */
	u32 nr_runnable; /* tasks that ran or waited as its wait began */
	u32 pad;
	char comm[WAIT_CHECK_COMM];
};

/* One CPU; written by that CPU only. One more has the waits that have not ended; written by the
 * reader's walk. */
struct wait_check_cpu {
	u64 nr_waits;
	u64 nr_long;	 /* of them, beyond the limit */
	u64 nr_beyond;	 /* of them, beyond the limit in the time that was left, too */
	u64 nr_moved;	 /* not judged: other CPUs meanwhile, and wait_check_mask() is not there */
	u64 nr_unseen;	 /* waits whose beginning is not known */
	u64 held_since;	 /* when what holds the CPU now was noted; 0: nothing does */
	u32 high;	 /* a real-time or deadline task has it */
	u32 away;	 /* it is on its way offline, or back */
	u32 nr_runnable; /* tasks that ran or waited here at the last switch */
	u32 pad;
	struct wait_check_wait longest; /* by wait_ns */
	struct wait_check_wait worst;	/* by left_ns */
};

#endif /* TAKT_WAIT_CHECK_H */
