/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ABI between the BPF objects and their readers: the only header that both sides include.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC unless a name ends in another unit. "vtime" is CPU
 * time scaled by weight: a task of weight 100 (nice 0) that runs for 1 ns moves by 1 ns of vtime,
 * one of weight 200 by half of that.
 */
#ifndef TAKT_INTF_H
#define TAKT_INTF_H

#ifndef __VMLINUX_H__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef short s16;
typedef int s32;
typedef long long s64;
#endif

enum takt_consts {
	TAKT_MAX_CPUS = 1024,	  /* a power of two: indices are masked, not compared */
	TAKT_MAX_LLCS = 128,	  /* a power of two as well */
	TAKT_MAX_CGROUPS = 16384, /* a power of two as well */
	TAKT_MAX_DOMAINS = 64,	  /* sets of CPUs that tasks are bound to: domain.bpf.h */
	TAKT_WAIT_BUCKETS = 32,	  /* bucket b counts waits of [2^b, 2^(b+1)) ns */
	TAKT_WAKE_BUCKETS = 96,	  /* of wakeup latency, 4 to each power of two: wakeup.bpf.h */
	TAKT_COMM_LEN = 16,
	TAKT_RING_BYTES = 256 * 1024,
	TAKT_RING_MARK = TAKT_RING_BYTES / 2, /* so full that the agent is woken before its timer */
	TAKT_EVENT_WINDOW_NS = 100 * 1000 * 1000, /* the rate limit counts per CPU, type and this */
	TAKT_EVENT_LIMIT = 32, /* events emitted per window; the rest is counted */
	TAKT_FLOOD = 8192,     /* records that takt_selftest_flood() tries to send: more than fit */
};

/*
 * The tunables: what may be changed while the scheduler runs. The agent checks the ranges
 * (src/config/); vtime.h and its neighbours clamp where a wild value could hurt.
 */
struct takt_tunables {
	u64 slice_max_ns; /* slice of a task while no other waits */
	u64 slice_min_ns; /* slice under the longest queue */
	u64 latency_ns;	  /* every queued task should get a slice within this, while slices allow */
	u64 lag_max_ns;	  /* positive lag that a task keeps on wakeup, at most */
	u64 lead_max_ns;  /* negative lag holds a task back so long at most, in short queues */
	u64 preempt_margin_ns; /* a wakeup preempts a task whose lag is less by this ... */
	u64 preempt_after_ns;  /* ... and that has run for this long since it last woke, at least */
	u64 burst_max_ns;      /* a task whose runs are no longer than this is protected in them */
	u64 handoff_gap_ns;    /* a waker that sleeps within this shares its CPU with the wakee */
	u64 long_wait_ns;      /* a wait that is emitted as an event */
};

/*
 * The agent writes the slot that is not active, then flips. A callback sees the old values or the
 * new ones. It sees both only if the agent flips between two reads of one callback, or flips twice
 * during it: one decision is then made by a mixture.
 */
struct takt_tunable_slots {
	struct takt_tunables slot[2];
	u32 active;
	u32 version;
};

/*
 * Numbers of queues: the id of the dispatch queue, and the index of its clock. See queue.bpf.h.
 */
enum takt_queue {
	TAKT_QUEUE_LLCS = 0,	  /* + LLC: tasks that may use every CPU */
	TAKT_QUEUE_DOMAINS = 128, /* + domain: tasks that may use some CPUs: domain.bpf.h */
	TAKT_QUEUE_CPUS = 1024,	  /* + CPU: tasks that may use that CPU only */
	TAKT_NR_QUEUES = 2048,	  /* a power of two */
	TAKT_THROTTLED = 2048,	  /* + CPU: throttled tasks; without a clock: throttle.bpf.h */
};

/* Task rules: see rules.bpf.h. */
enum takt_rule_consts {
	TAKT_MAX_RULES = 16384,
	TAKT_MAX_CPU_SETS = 16,	    /* number 0 is "no preference" */
	TAKT_MAX_CGROUP_DEPTH = 16, /* how deep a cgroup may be for a rule to find it */
};

/* How urgent a task is. */
enum takt_latency_class {
	TAKT_LAT_NORMAL,
	TAKT_LAT_LATENCY,
	TAKT_LAT_BACKGROUND,
	TAKT_NR_LAT,
};

/* What a rule picks tasks by, and what stands in takt_rule_key.a and .b. */
enum takt_rule_kind {
	TAKT_RULE_COMM,	  /* the 16 bytes of the command name */
	TAKT_RULE_UID,	  /* user id, 0 */
	TAKT_RULE_CGROUP, /* hash of the path, 0 */
	TAKT_RULE_UNIT,	  /* hash of the cgroup's own name, 0 */
	TAKT_RULE_EXE,	  /* inode number and size of the program's file */
	TAKT_NR_RULE_KINDS,
};

struct takt_rule_key {
	u64 kind;
	u64 a;
	u64 b;
};

struct takt_rule {
	u32 order; /* place in the file, from 0: the first rule that matches counts */
	u16 weight_permille;
	u8 class_;  /* enum takt_latency_class */
	u8 cpu_set; /* index into takt_cpu_sets, 0: no preference */
	u64 hits;   /* tasks that matched, roughly: concurrent adds may be lost */
};

/* CPUs that a task is placed on first. */
struct takt_cpu_set {
	u32 nr;
	u16 cpu[TAKT_MAX_CPUS];
};

/* Parts of the policy that may be switched off (no task rules), a bit each; for the table of
 * docs/results/2026-11-22-rules-switched-off.md. */
enum takt_without {
	/* A wakeup never preempts. */
	TAKT_WITHOUT_PREEMPT = 1 << 0,
	/* No task is protected as short-running. */
	TAKT_WITHOUT_PROTECT = 1 << 1,
	/* Positive lag alone is no reason to preempt. */
	TAKT_WITHOUT_LAG_PREEMPT = 1 << 2,
	/* A preempted task passes through the queue. */
	TAKT_WITHOUT_PARK_CURRENT = 1 << 3,
	/* No handoff between a reciprocal pair. */
	TAKT_WITHOUT_HANDOFF = 1 << 4,
	/* A wakee is not placed behind a waker that sleeps soon. */
	TAKT_WITHOUT_SYNC = 1 << 5,
	/* Slices end with ticks, in a crowd too. */
	TAKT_WITHOUT_SLICE_TIMER = 1 << 6,
	/* A used-up slice ends a run, whatever the deadlines. */
	TAKT_WITHOUT_CONTINUE_CURRENT = 1 << 7,
	/* cpu.weight counts for nothing. */
	TAKT_WITHOUT_CGROUP = 1 << 8,
	/* A preempted task is queued by its lag, with a new slice. */
	TAKT_WITHOUT_KEEP_SLICE = 1 << 9,
	/* Positive lag does not go before a parked task. */
	TAKT_WITHOUT_LAG_BEFORE_PARKED = 1 << 10,
	/* A new task inherits no lag. */
	TAKT_WITHOUT_FORK_LAG = 1 << 11,
};

/* Where a task that became runnable was put. */
enum takt_place {
	TAKT_PLACE_IDLE_PREV,  /* its previous CPU was idle */
	TAKT_PLACE_IDLE_OTHER, /* another CPU was idle */
	TAKT_PLACE_HANDOFF,    /* in place of a waker that hands over its CPU */
	TAKT_PLACE_SYNC,       /* behind a waker that is about to sleep */
	TAKT_PLACE_NEXT,       /* next on its CPU, before a parked task */
	TAKT_PLACE_PREEMPT,    /* in place of a task that it preempts */
	TAKT_PLACE_KTHREAD,    /* a per-CPU kernel thread, at the head of its CPU */
	TAKT_PLACE_QUEUE_LLC,  /* the queue of its LLC, or of its domain */
	TAKT_PLACE_QUEUE_CPU,  /* the queue of the only CPU that it may use, or that it was given */
	TAKT_NR_PLACES,
};

/* Emitted only while its bit is set in events_wanted, but for FAULT and EXIT, which always are. */
enum takt_event_type {
	TAKT_EV_LONG_WAIT, /* waited for longer than long_wait_ns */
	TAKT_EV_STARVED, /* waited for longer than 5/4 of lead_max_ns: the bound of a short queue */
	TAKT_EV_PREEMPT, /* a wakeup takes the CPU from the task that runs */
	TAKT_EV_MIGRATE, /* runs in another LLC than before */
	TAKT_EV_FAULT,	 /* the scheduler found itself wrong; wakes the agent */
	TAKT_EV_EXIT,	 /* the scheduler has left the kernel; wakes the agent */
	TAKT_NR_EVENTS,
};

/* FAULT: what is wrong. */
enum takt_fault {
	TAKT_FAULT_NO_CONTEXT, /* a task that init_task() has not seen */
};

/* One per CPU, written by that CPU only. Every field only ever grows, but for wait_max_ns, which
 * starts from 0 in each epoch. */
struct takt_cpu_stats {
	u64 placed[TAKT_NR_PLACES];
	u64 nr_dispatched; /* taken from a queue that the CPU serves */
	u64 nr_stolen;	   /* taken from another LLC's queue by a CPU that had no work */
	u64 nr_pulled;	   /* taken from another LLC's queue that had more waiting: balance.bpf.h */
	u64 nr_kept; /* continued at the end of a slice: no waiting task had an earlier deadline */
	u64 nr_kicked;	 /* idle CPUs kicked by the tick for tasks that waited */
	u64 nr_released; /* times a higher scheduling class took the CPU */
	u64 nr_runs;	 /* run segments that ended with a switch, or a change of an attribute */
	u64 run_ns;	 /* their length, in sum */
	u64 wait_ns;	 /* waiting for a CPU, in sum (only while watched) */
	u64 wait_hist[TAKT_WAIT_BUCKETS]; /* the same, as a histogram (only while watched) */
	u64 wait_max_ns; /* the longest wait in epoch wait_epoch: since the agent last looked */
	u64 wait_epoch;
	u64 wake_ns; /* wakeup latencies, in sum (only while wakeups are watched) */
	/* The same, as histograms, class after class. */
	u64 wake_hist[TAKT_NR_LAT * TAKT_WAKE_BUCKETS];
	u64 ev_attempts[TAKT_NR_EVENTS];   /* records that it tried to send, each numbered so */
	u64 ev_failed[TAKT_NR_EVENTS];	   /* of these: the ring was full */
	u64 ev_suppressed[TAKT_NR_EVENTS]; /* not tried: too many of them in too short a time */
};

/* One event, as it stands in the ring. 64 bytes. */
struct takt_event {
	u64 at_ns;
	u64 seq;	/* counts the attempts to send this type on this CPU, from 0 */
	u64 value_ns;	/* LONG_WAIT, STARVED: how long; PREEMPT: difference of the two lags */
	u32 cpu;	/* where it was emitted */
	u32 target_cpu; /* which CPU it is about */
	u16 type;
	u16 pad;
	u32 detail;    /* MIGRATE: the LLC that it came from; FAULT: enum takt_fault */
	s32 pid;       /* the task that waited, preempts, migrated */
	s32 other_pid; /* LONG_WAIT, STARVED: the task that ran there before; PREEMPT: the victim */
	char comm[TAKT_COMM_LEN]; /* of pid */
};

enum takt_sched_class {
	TAKT_SCHED_FAIR,
	TAKT_SCHED_EXT,
	TAKT_SCHED_RT,
	TAKT_SCHED_DEADLINE,
};

#define TAKT_NO_DSQ (~0ULL)

/* One task, as the task iterators (tasks.bpf.h, tasks.bpf.c) write it. */
struct takt_task {
	u64 started_ns; /* when it was forked: distinguishes it from a later one of the same pid */
	u64 run_ns;	/* CPU time since then */
	u64 delay_ns;	/* waiting for a CPU since then, in sum, this wait not included */
	u64 waits_ns;	/* how long it has waited by now; 0: it does not wait */
	u64 dsq;	/* the dispatch queue that it waits in; TAKT_NO_DSQ: none */
	u64 est_run_ns; /* ours only: estimated run from wakeup to sleep, this one included;
			   0: it has never slept */
	s64 lag_ns;	/* ours only: > 0: it has had less than its share */
	s32 pid;
	s32 tgid;
	u32 cpu;    /* where it runs, waits or last ran */
	u32 weight; /* ours only: 100 is nice 0; 0: not ours */
	u16 allowed_cpus;
	u8 class; /* enum takt_sched_class */
	u8 runs;  /* 1: it is on a CPU now */
	s32 nice;
	char comm[TAKT_COMM_LEN];
	u64 ruled; /* ours only: the class that a rule gave it, enum takt_latency_class */
};

/*
 * The observer (observe.bpf.c, observe_idle.bpf.c; src/observe/), an object of its own that runs
 * beside any scheduler.
 *
 * Histograms are log-linear: OBS_SUBS buckets of equal width per power of two. Values below
 * OBS_SUBS have a bucket each; above, a bucket is 1/OBS_SUBS of the power of two that it begins in,
 * so that a value is known to 1/16 (6.25 %) and the middle of its bucket is off by 3.2 % at most.
 */
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

/* The wait check (wait_check.bpf.c; src/stress/wait_check.rs): how long tasks waited. */
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
	u64 limit_ns;	 /* how much of that it may be, for this task in this crowd */
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
	u64 nr_limited;	 /* not judged: a cgroup of the task sets cpu.max */
	u64 nr_unseen;	 /* waits whose beginning is not known */
	u64 held_since;	 /* when what holds the CPU now was noted; 0: nothing does */
	u32 high;	 /* a real-time or deadline task has it */
	u32 away;	 /* it is on its way offline, or back */
	u32 nr_runnable; /* tasks that ran or waited here at the last switch */
	u32 pad;
	struct wait_check_wait longest; /* by wait_ns */
	struct wait_check_wait worst;	/* by left_ns / limit_ns */
};

/*
 * Why tasks waited (why.bpf.c; src/why/), an object of its own that runs beside any scheduler.
 */
enum why_consts {
	WHY_SEGMENTS = 256,   /* run segments that are kept per CPU: a power of two */
	WHY_MAX_TASKS = 8192, /* watched tasks that wait at the same time */
	WHY_DELAYED = 4096,   /* slots for tasks that waited for long: a power of two */
	WHY_MASK_CPUS = 64,   /* CPUs that fit into a mask */
	WHY_RING_BYTES = 1 << 20,
	WHY_NO_TASK = 255, /* why_task.class: the CPU was idle */
};

/* Which tasks are watched. */
enum why_target {
	WHY_TARGET_THREAD,  /* one thread */
	WHY_TARGET_PROCESS, /* all threads of a process */
	WHY_TARGET_COMM,    /* all threads of a name */
	WHY_TARGET_CGROUP,  /* all tasks of a cgroup and of those below it */
};

/* What a record is about. */
enum why_record_type {
	WHY_PART, /* a part of a wait: then the task was moved to another CPU */
	WHY_WAIT, /* a wait, or its last part: the task got a CPU */
	WHY_LOCK, /* a sleep in futex(), ended by a task that had waited for a CPU meanwhile */
};

/* How a wait began. */
enum why_begin {
	WHY_WOKEN_BY_TASK,
	WHY_WOKEN_BY_TIMER,
	WHY_WOKEN_BY_IRQ,     /* @vector: number of the interrupt */
	WHY_WOKEN_BY_SOFTIRQ, /* @vector: which */
	WHY_NEW,	      /* a new task */
	WHY_PREEMPTED,	      /* another task took its CPU */
	WHY_NR_BEGINS,
};
#define WHY_NO_VECTOR (~0U)

/* What scx_takt knows of the task that ran where the wakee was to run: preempt.bpf.h. */
enum why_rule {
	WHY_RULE_UNKNOWN,	  /* another scheduler, or not asked */
	WHY_RULE_RUNS_NEXT,	  /* the wakee was placed on its CPU */
	WHY_RULE_THROTTLED,	  /* the budget of its cgroup was used up: cpu.max */
	WHY_RULE_NEVER_PREEMPTS,  /* the wakee is of class background or SCHED_BATCH */
	WHY_RULE_NOT_OURS,	  /* a task of a higher scheduling class ran, or none */
	WHY_RULE_PLACED_BEFORE,	  /* another task had been placed there to run next */
	WHY_RULE_PROTECTED_SHORT, /* it was protected: short-running */
	WHY_RULE_PROTECTED_BEGIN, /* it was protected: had run for less than preempt_after */
	WHY_RULE_PROTECTED_SLICE, /* it was protected: could not use up its slice for long */
	WHY_RULE_LAG,	/* it had had less of its share than the wakee, or about as much */
	WHY_RULE_SLICE, /* no wakeup: the task waits in a queue for its next slice */
};

/* How a run segment ended. */
enum why_end {
	WHY_END_SLEEP,
	WHY_END_READY, /* preempted, or its slice was over */
	WHY_END_OPEN,  /* it goes on */
};

/* One task at one moment. 32 bytes. */
struct why_task {
	s32 pid;
	s32 tgid;
	u32 shares; /* weight of its cgroup or session: 1024 is cpu.weight 100 */
	s16 prio;   /* kernel's: < 0 deadline, < 100 real-time, 120 nice 0 */
	u8 class;   /* enum obs_class, or WHY_NO_TASK */
	u8 kernel_thread;
	char comm[TAKT_COMM_LEN];
};

/* A task had a CPU. 64 bytes. */
struct why_segment {
	u64 from_ns; /* 0: since before any watched task waited */
	u64 to_ns;
	u32 irq_us;	/* of it, hard interrupts of devices */
	u32 softirq_us; /* of it, softirqs */
	u32 end;	/* enum why_end */
	u32 pad;
	struct why_task task;
};

/* A watched task that waits, or sleeps in futex(); head of a record. */
struct why_wait {
	u64 at_ns;	  /* when the wait, or the sleep, began */
	u64 part_ns;	  /* the same, of this part */
	u64 end_ns;	  /* when this part ended */
	u64 throttled_ns; /* by cpu.max under the kernel's scheduler, until the end; summed over
			     CPUs */
	u64 dsq;	  /* the dispatch queue of sched_ext that it waited in; TAKT_NO_DSQ: none */
	u64 protect_ns;	  /* WHY_RULE_PROTECTED_SHORT: for how long since its wakeup */
	u64 allowed_cpus; /* of the first 64 */
	u64 idle_cpus;	  /* of the first 64, those that were idle for half of this part */
	u64 held_ns;	  /* LOCK: how long the waker had waited for a CPU */
	u32 type;	  /* enum why_record_type */
	u32 begin;	  /* enum why_begin */
	u32 vector;	  /* of the interrupt or softirq that woke it */
	u32 cpu;	  /* where it waited in this part */
	u32 first_cpu;	  /* where it was placed first */
	u32 nr_allowed;	  /* CPUs that it may use */
	u32 nr_moves;	  /* times that it was moved to another CPU so far */
	u32 rule;	  /* enum why_rule, of the begin */
	u32 nr_segments;  /* that follow, in order of time */
	u32 throttled;	  /* 1: its cgroups might not run as it began to wait (cpu.max) */
	u32 placed;	  /* 1: the kernel has put it on a run queue */
	u32 used;	  /* 1: the slot has a task */
	struct why_task task;
	struct why_task other; /* the waker; PREEMPTED: the task that took its CPU */
	struct why_task
		ruled; /* the task that @rule is about; LOCK: the task that the waker waited for */
};

/* One CPU; written by that CPU only. */
struct why_cpu {
	u64 from_ns;	/* when the running task got the CPU; 0: before any watched task waited */
	u64 irq_at;	/* when the interrupt that goes on began; 1: before; 0: none goes on */
	u64 softirq_at; /* the same */
	u64 irq_ns;	/* in this segment */
	u64 softirq_ns;
	u64 nested_ns;	/* hard interrupts since softirq_at */
	u64 nr_waits;	/* of watched tasks that ended here, all of them */
	u64 wait_ns;	/* in sum */
	u64 longest_ns; /* of them */
	u64 nr_long;	/* beyond the limit */
	u64 long_ns;	/* in sum */
	u64 nr_lost;	/* records that found no room in the ring */
	u64 nr_unseen;	/* waits whose beginning is not known */
	u64 nr_sleeps;	/* in futex(), beyond the limit, that a task ended that had not waited */
	u32 irq;	/* number of the interrupt that goes on */
	u32 softirq;	/* number of the softirq that goes on */
	u32 next;	/* segments so far */
	u32 idle;	/* 1: it idles */
	u64 ran_until;	/* rq clock; when the last task that ran for long lost the CPU:
			   note_long_run() */
	struct why_task ran; /* that task */
	u32 in_timer;	     /* 1: a high-resolution timer's function is called */
	u32 pad;
	/* The last ones, each twice: at i and at i + WHY_SEGMENTS, so that any run of them is
	 * whole. */
	struct why_segment segments[2 * WHY_SEGMENTS];
};

/* A task that waited for long, watched or not. */
struct why_delayed {
	u64 ended_ns;
	u64 waited_ns;
	s32 pid;
	u32 cpu;
	struct why_task before; /* the last that ran there for long meanwhile, or the last */
};

#endif /* TAKT_INTF_H */
