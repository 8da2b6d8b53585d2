/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Globals and maps that the concepts below share; their types stand in types.h.
 *
 * State that is read across CPUs lives in plain globals, one cache line per CPU or LLC: a global
 * costs one load, a map look-up ten to fifty. Per-task state lives in task storage. Counters live
 * in a per-CPU map and are only ever read by the agent.
 */
#ifndef TAKT_BPF_H
#define TAKT_BPF_H

#include <scx/common.bpf.h>
#include "types.h"

char _license[] SEC("license") = "GPL";

UEI_DEFINE(uei);

/* Set by the agent before load. */
const volatile u32 nr_llcs = 1;
const volatile u32 nr_cpus_at_start = 1;
const volatile u32 nr_cpu_ids = 1;	 /* one more than the highest number of a CPU */
const volatile u32 nr_possible_cpus = 1; /* a task that may use so many may use all */
const volatile u16 cpu_to_llc[TAKT_MAX_CPUS];
const volatile u16 llc_nr_cpus[TAKT_MAX_LLCS];
const volatile u16 llc_first_cpu[TAKT_MAX_LLCS];
/* For each LLC all others, those of its own node first: row @llc has nr_llcs - 1 entries. */
const volatile u8 steal_order[TAKT_MAX_LLCS * TAKT_MAX_LLCS];
const volatile bool cpu_known[TAKT_MAX_CPUS]; /* was online when the agent looked */
const volatile u32 event_limit = TAKT_EVENT_LIMIT;
const volatile u32 without; /* parts of the policy that are off: enum takt_without; the verifier
			       takes them out */
const volatile bool pretend_no_peek; /* act as on a kernel without scx_bpf_dsq_peek(), for tests */

/* CLOCK_MONOTONIC, ns; set by the agent: when scx_takt --try ends, whether the agent is able to say
 * so or not; 0: it is not on trial. */
u64 trial_ends_at;

/* Set by the agent while a reader asks for figures; nothing is counted otherwise. */
bool stats_watched;
u64 watch_epoch;   /* the agent adds 1 each time that it reads them */
u32 events_wanted; /* a bit per event type that a reader wants; changes while we run */

s32 agent_tgid; /* our own agent, in class background so that it delays no other task */

struct takt_tunable_slots tunables SEC(".data.tunables");

/* In a map of its own, which why.bpf.c reads. */
struct cpu_ctx cpu_ctxs[TAKT_MAX_CPUS] SEC(".data.cpus");

struct queue_ctx queue_ctxs[TAKT_NR_QUEUES];

struct llc_ctx llc_ctxs[TAKT_MAX_LLCS];

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct takt_cpu_stats);
} cpu_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TAKT_RING_BYTES);
} events SEC(".maps");

/* The rate limit of events. Written by its CPU only. */
struct event_limiters {
	u64 since[TAKT_NR_EVENTS];   /* when the window began */
	u32 emitted[TAKT_NR_EVENTS]; /* within it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct event_limiters);
} event_limiters SEC(".maps");

static __always_inline struct cpu_ctx *cpu_ctx_of(s32 cpu)
{
	return &cpu_ctxs[(u32)cpu & (TAKT_MAX_CPUS - 1)];
}

/* How long the task that runs on @c has run since it last woke. */
static __always_inline u64 runtime_since_wakeup_ns(const struct cpu_ctx *c, u64 now)
{
	return c->runtime_ns + now - c->started_at;
}

/* How long @t has waited for a CPU; 0 when it does not wait. */
static __always_inline u64 waited_ns(const struct task_ctx *t, u64 now)
{
	return t->ready_at ? elapsed_ns(t->ready_at, now) : 0;
}

static __always_inline u32 llc_of(s32 cpu)
{
	return cpu_to_llc[(u32)cpu & (TAKT_MAX_CPUS - 1)];
}

static __always_inline struct llc_ctx *llc_ctx_of(u32 llc)
{
	return &llc_ctxs[llc & (TAKT_MAX_LLCS - 1)];
}

static __always_inline struct queue_ctx *queue_ctx_of(u32 queue)
{
	return &queue_ctxs[queue & (TAKT_NR_QUEUES - 1)];
}

/* How many wait in @queue, as counted. Other CPUs count meanwhile: see queue_ctx. */
static __always_inline u32 nr_queued_in(u32 queue)
{
	return READ_ONCE(queue_ctx_of(queue)->nr_queued);
}

/* The tunables in force: the old ones or the new ones, see takt_tunable_slots. The agent does not
 * write the slot that the pointer is to, unless it changes them twice meanwhile. */
static __always_inline const struct takt_tunables *tunables_now(void)
{
	return &tunables.slot[READ_ONCE(tunables.active) & 1];
}

/* Is this part of the policy on? Not about task rules (rules.bpf.h). */
#define policy_enabled(PART) (!(without & TAKT_WITHOUT_##PART))

#endif /* TAKT_BPF_H */
