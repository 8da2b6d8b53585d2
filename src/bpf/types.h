/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of a task, a CPU, a queue and an LLC: each field with its unit, its writer and the lock
 * that the writer holds. Plain C, so that the formulas (vtime.h, run_length.h) compile on the host
 * as well.
 */
#ifndef TAKT_TYPES_H
#define TAKT_TYPES_H

#include "arith.h"

#define CACHE_LINE 64

/* What is known of a task as a waker: see handoff.bpf.h. One load, one store. */
struct waker_profile {
	/* ns from the first wakeup of another task to its own sleep. A moving average that starts
	 * from 0: after the first such sleep it is a quarter of that time. 0: it has not yet slept
	 * after a wakeup. */
	u32 wake_to_sleep_ns;
	/* How often in a row it woke its own waker and no other task, and slept at once. < 0: it
	 * has guessed wrong, and has to sleep at once after waking any that many times more. */
	s16 reciprocal_streak;
	u16 handed; /* handoffs since it last slept, or had to prove itself anew */
} __attribute__((aligned(8)));

/*
 * What runs on a CPU. Written under the rq lock of that CPU (by another CPU where an attribute of
 * the running task changes), but for the fields that say otherwise. Read by other CPUs without the
 * lock, each field once, to judge whether a preemption pays: if they see fields of two segments,
 * that costs one needless or one missed preemption. They read the first line; and the parked task,
 * if there is no CPU to preempt.
 *
 * takt_select_cpu() holds the pi_lock of the wakee, with interrupts off, and no rq lock. What the
 * running task does as a waker (nr_woke, woke_at, woke_pid, profile and runtime_ns in a handoff) it
 * writes on the waker's CPU itself. Then only a change of an attribute from another CPU can come in
 * between: a lost store costs one wakeup of the profile.
 */
struct cpu_ctx {
	u64 started_at;	 /* ns; when the current run segment began; 0: no task of ours runs */
	u64 vruntime;	 /* of the running task, when the segment began; in the clock of @queue */
	u64 runtime_ns;	 /* ns that it had run since it last woke, before this segment */
	u64 protect_ns;	 /* ns of running since it woke before which no very short-running task
			    preempts it */
	u64 weight_1024; /* its weight, times 1024: see cgroup.bpf.h */
	/*
	 * The segment (its started_at) in which a task was placed straight behind the running one.
	 * Written by the CPU that places it as well (select_cpu holds the task's pi_lock, not the
	 * rq lock): two that place at once may both do so, and one then waits for the other.
	 */
	u64 placed_in;
	s32 pid;
	/* pid of the task that continues on this CPU after the one that takes its place; 0: none.
	 * Written by the CPU that places that one, too, without the rq lock: one of two wins. */
	s32 resume_next_pid;
	u32 queue;	  /* whose clock @vruntime is in */
	bool is_short;	  /* the running task is short-running */
	u8 latency_class; /* task_ctx.latency_class of the running task: enum takt_latency_class */
	bool placed_sync; /* the placed task waits until the running one sleeps; written with
			     placed_in */

	struct waker_profile profile; /* of the running task */
	u64 unclocked_ns;	      /* ns that tasks ran here since this CPU last moved a clock */
	u64 woke_at;		      /* ns; when it first woke a task since it got the CPU */
	u64 slice_ns;		      /* ns; the slice that it got last */
	s32 woken_by;		      /* pid of the task that woke the running one; 0: none did */
	s32 woke_pid;		      /* pid of the task that it woke last */
	u32 nr_woke;		      /* how many it woke since it got the CPU */
	s32 parked_pid;	      /* was preempted, and waits in the local DSQ to resume; 0: none */
	u64 stopped_at;	      /* ns; when the last run segment ended with a switch */
	s32 moves_pid;	      /* pid of the task that migrates to a big CPU; 0: none */
	s16 moves_to;	      /* the big CPU, claimed */
	u16 perf;	      /* of 1024, what it asked for: perf.bpf.h */
	bool parked_is_short; /* the parked task is short-running */
	bool yields;	      /* the running task has given up its slice */
	bool pulled;	      /* the next task was pulled from another LLC: balance.bpf.h */
	u8 nr_reenqueues;     /* since it was last without a real-time task: takt_sched_switch() */
	u32 parked_at_us;     /* since when the parked task is so, in 1,024 ns */

	/* Lag, in ns, that a task gave to a child, and its pid << 32. Written by that task in
	 * process context: transfer_lag_to_child(). Taken, and set to 0, under the rq lock. */
	u64 given;
	u64 perf_at; /* ns; when it last asked for a speed; 0: never */
	u64 busy_ns; /* ns that tasks ran since then, without unclocked_ns */

	/* ns; when the queues that it serves last had their turn: a task that had waited got it,
	 * none was due, or none waited. Read without the lock by a CPU that is about to preempt. */
	u64 served_at;
	u64 charged_at;	  /* ns; until when the running task was charged to its limits */
	u64 next_release; /* ns; when the first throttled task is to be released; 0: there is none;
			     DUE_NOW: written by its timer, without the lock */
	u32 nr_looked_at; /* throttled tasks that release_throttled() has looked at */
	u8 slice_timer; /* enum slice_timer_state; written by its timer as well, without the lock */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(__builtin_offsetof(struct cpu_ctx, profile) == CACHE_LINE, "others read one line");
_Static_assert(sizeof(struct cpu_ctx) == 3 * CACHE_LINE, "three lines per CPU");

/* cpu_ctx.placed_in while an attribute of the running task changes. */
#define PLACED_BEFORE_CHANGE 1

/*
 * A queue and its V, on a cache line of its own: see queue.bpf.h and vtime.h. V is the field
 * avg_vruntime, and is also called the clock of the queue. It is written without a lock by CPUs
 * that run tasks of the queue, that of an LLC also by CPUs that run tasks of bound queues, and by
 * the CPU that sets up a domain. Each field is one word, loaded and stored as a whole:
 * avg_vruntime(), nr_queued_in(). To load, change and store is not atomic: a lost store leaves V
 * behind by part of a slice until the next.
 */
struct queue_ctx {
	u64 avg_vruntime; /* V, ns: where a task with exactly its share stands */
	u64 moved_at;	  /* ns; when V was moved last */
	u64 offset;	  /* ns; of a bound queue: V + offset is comparable with V of its LLC */
	u32 rate_q20;	  /* V per real time, times 2^20 */
	u32 inv_rate_q10; /* real time per V, times 2^10: the inverse, kept to spare divisions */
	/*
	 * How many wait in it, as counted: written without a lock by CPUs that add or take a task.
	 * Wrong until the next tick after two did so at once, or after the kernel took a task out
	 * (another nice value, affinity, cgroup). That of one CPU's queue is atomic, and never too
	 * low; a task that was taken counts until it runs: count_waiting().
	 */
	u32 nr_queued;
	/* How many of them are CPU-bound: is_cpu_bound(). Atomic, and right: count_waiting(). */
	u32 nr_cpu_bound;
	/* The sum of their weights, in weight_1024 / 2^WEIGHT_SHIFT. Atomic, and right. */
	u64 queued_weight;
	u32 run_weight; /* that of a running one, on average over 2^CLOCK_MEMORY_SHIFT ns */
	u32 nr_cpus;	/* that serve it */
	u32 llc;	/* whose clock it is held against; itself if it is the queue of an LLC */
	u32 lag_max_ns; /* of a bound queue: it is never further from that clock */
} __attribute__((aligned(CACHE_LINE)));

/*
 * What is known of an LLC besides its queue. Written without a lock by CPUs of the LLC as they run
 * out of work and once per BALANCE_PERIOD_NS, by any CPU whose search there has found no idle CPU
 * (busy_at), and by any that kicks one (idled_at): a lost store costs one search, one kick that is
 * not needed, or one missed pull.
 */
struct llc_ctx {
	u64 idled_at;	 /* ns; when a CPU last found nothing to do; 0: it has been kicked since */
	u64 busy_at;	 /* ns; when a search last found no idle CPU */
	u64 balanced_at; /* ns; when it last looked at another LLC */
	u64 offset;	 /* ns; V of its queue + offset is its progress: balance.bpf.h */
	s32 idled_cpu;	 /* the CPU that last found nothing to do */
	u32 next_other;	 /* number, in steal_order, of the LLC to look at next */
} __attribute__((aligned(CACHE_LINE)));

/*
 * What is known of a task. Written under its rq lock; while it is on no run queue, under its
 * pi_lock alone (takt_select_cpu(), of a fork as well; takt_set_cpumask() of older kernels); and by
 * takt_init_task() before it can run. rule_class, latency_class, cpu_set and weight_permille are
 * written by rules.bpf.h as well, without a lock.
 */
struct task_ctx {
	u64 vruntime;	    /* ns, on the scale of V of @queue */
	u64 runtime_ns;	    /* ns that it has run since it last woke */
	u64 slept_after_ns; /* the same, when it last seemed to go to sleep */
	u64 ready_at;	    /* ns; since when it waits for a CPU; 0: it has one, or sleeps */
	u64 slept_at;	    /* ns; when it last went to sleep, or joined */
	u64 est_run_ns; /* estimated run from wakeup to sleep: run_length.h; 0: it has never slept
			 */
	u64 slice_left_ns; /* the rest of its slice when it was preempted */
	/* ns; when its slice began, less what it had run since it woke by then: so long it has been
	 * off its CPU with a part of the slice left is now - runtime_ns - this. */
	u64 slice_origin;
	u64 got_cpu_at;	   /* ns; in a cgroup with a limit: when it last got a CPU */
	u64 throttled_at;  /* ns; since when it is throttled: throttle.bpf.h; 0: it is not */
	s64 kept_lag_ns;   /* until it is enabled: given by its parent, or kept from before */
	u64 weight_1024;   /* the weight that its lag is of: reweight() */
	s32 woken_by;	   /* pid of the task that woke it last */
	u32 queue;	   /* whose clock its vruntime is in: enum takt_queue */
	u32 llc;	   /* where it last ran */
	u32 cgroup;	   /* slot of its cgroup, or session; 0: the root */
	u32 counted;	   /* the weight that its cgroup has counted it with; 0: not counted */
	u32 own_queue;	   /* the queue of one CPU that has counted it; 0: none has */
	u32 waits_in;	   /* any other queue that has, plus 1; 0: none has since it last ran */
	u32 queued_weight; /* what it is counted with in the queue that it waits in */
	u32 cpu_bound_in;  /* the queue that has counted it as CPU-bound, plus 1; 0: none has */
	struct waker_profile profile;
	u16 weight_permille; /* by a rule: its weight times this; 0: as it is */
	u8 policy;	     /* SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE or SCHED_EXT */
	u8 rule_class;	     /* enum takt_latency_class, by a rule */
	u8 latency_class;    /* enum takt_latency_class, by its policy too: note_latency_class() */
	bool in_session;     /* that is the slot of a session */
	bool in_idle_cgroup; /* cpu.idle is set for its cgroup, or one around it */
	u8 cpu_set;	     /* CPUs preferred by a rule; 0: none */
	bool may_stop;	     /* it is where it may hold no lock of the kernel: throttle.bpf.h */
	bool unrestricted;   /* it may use every CPU that was online at the start */
	u8 domain;	     /* number of its domain, from 1 on; 0: none, see domain.bpf.h */
	/* How many tasks it has woken in the segments that ended as it was preempted, until it
	 * first sleeps. */
	u8 nr_woke_so_far;
};

#endif /* TAKT_TYPES_H */
