/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Affinity domains. An affinity domain is a set of CPUs, some of all, that one or more tasks have
 * as their affinity (p->cpus_mask).
 *
 * A task that may use some CPUs, but not all, waits in the queue of its domain, which every CPU of
 * the set serves, and no other: so it neither hides the deadlines of tasks that may run elsewhere
 * nor lengthens their dispatch, and any CPU that it may use takes it. Tasks of equal sets share a
 * domain. It is looked up when the affinity changes, not when the task wakes.
 *
 * A domain is a slot of a table: free while it has no task, but not forgotten, so that a task that
 * goes back and forth between two sets finds both again. Slots are taken and left with atomic
 * operations. A slot is written only by the CPU that has taken it from 0 to -1 tasks, and is read
 * by others meanwhile: domain_has_cpu().
 *
 * Limits: beyond TAKT_MAX_DOMAINS sets at a time, further tasks wait in the queue of a CPU that
 * they may use, chosen anew each time that they are queued.
 */
#ifndef TAKT_DOMAIN_BPF_H
#define TAKT_DOMAIN_BPF_H

#include "takt.bpf.h"
#include "buckets.h"
#include "vtime.h"

#define MASK_WORDS    (TAKT_MAX_CPUS / 64)
#define JOIN_ATTEMPTS 3 /* another CPU may take the same free slot */

/* Set by the agent before load: CPUs that were online when it looked. */
const volatile u64 known_mask[MASK_WORDS];

struct domain {
	u64 mask[MASK_WORDS];
	u64 hash;
	s32 nr_tasks; /* 0: free; -1: being set up */
	u32 pad;
};

struct domain domains[TAKT_MAX_DOMAINS];

/* A bit per domain that has tasks: a CPU looks into these. Atomic. */
u64 domains_used;

struct cpu_mask {
	u64 word[MASK_WORDS];
};

static __always_inline struct domain *domain_at(u32 i)
{
	return &domains[i & (TAKT_MAX_DOMAINS - 1)];
}

/* Racy: set_up_domain() may rewrite the mask meanwhile. Then the domain has no waiting task yet: a
 * CPU looks into an empty queue, or misses one until its next dispatch. The kernel gives a CPU no
 * task that may not use it. */
static __always_inline bool domain_has_cpu(u32 i, s32 cpu)
{
	return domain_at(i)->mask[(cpu / 64) & (MASK_WORDS - 1)] >> (cpu & 63) & 1;
}

/* May a task of @m use every CPU that was online when the agent looked? */
int covers_known(const struct cpu_mask *m)
{
	u32 i;

	if (!m)
		return false;
	bpf_for (i, 0, MASK_WORDS) {
		if (known_mask[i & (MASK_WORDS - 1)] & ~m->word[i & (MASK_WORDS - 1)])
			return false;
	}
	return true;
}

/* For the number @i of each domain of @used, a copy of domains_used, that @cpu belongs to. */
#define for_each_domain_of(i, used, cpu)                                                           \
	bpf_for (i, 0, TAKT_MAX_DOMAINS)                                                           \
		if (!((used) >> (i)))                                                              \
			break;                                                                     \
		else if (((used) >> (i) & 1) && domain_has_cpu(i, cpu))

/*
 * The functions with a loop are global, so that the verifier looks at each once, by itself: inlined
 * into each other their loops are too much for it.
 */

int mask_equals(u32 slot, const struct cpu_mask *m)
{
	const struct domain *d = domain_at(slot);
	u32 i;

	if (!m)
		return false;
	bpf_for (i, 0, MASK_WORDS) {
		if (d->mask[i & (MASK_WORDS - 1)] != m->word[i & (MASK_WORDS - 1)])
			return false;
	}
	return true;
}

/* How many bits are set in @v. */
static __always_inline u32 weight_of_word(u64 v)
{
	v -= v >> 1 & 0x5555555555555555ULL;
	v = (v & 0x3333333333333333ULL) + (v >> 2 & 0x3333333333333333ULL);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return v * 0x0101010101010101ULL >> 56;
}

/* Describes the CPUs of domain number @slot, which is ours alone: it has -1 tasks. */
int set_up_domain(u32 slot, const struct cpu_mask *m)
{
	struct queue_ctx *q = queue_ctx_of(TAKT_QUEUE_DOMAINS + slot);
	struct domain *d = domain_at(slot);
	u32 i, nr = 0, llc = 0;

	if (!m)
		return -1;
	bpf_for (i, 0, MASK_WORDS) {
		u64 word = m->word[i & (MASK_WORDS - 1)];

		d->mask[i & (MASK_WORDS - 1)] = word;
		word &= known_mask[i & (MASK_WORDS - 1)];
		if (word)
			llc = llc_of(i * 64 + log2_of(word)); /* of its last CPU */
		nr += weight_of_word(word);
	}
	q->nr_cpus = nr ?: 1;
	q->llc = llc;
	WRITE_ONCE(q->offset, avg_vruntime(queue_ctx_of(llc)) - avg_vruntime(q));
	return 0;
}

static __always_inline u64 hash_of_mask(const struct cpu_mask *m)
{
	u64 hash = HASH_START;
	u32 i;

	for (i = 0; i < MASK_WORDS; i++)
		hash = hash_step(hash, m->word[i]);
	return hash;
}

/* Counts a task into a domain that has tasks; false: it has none any more. */
static __always_inline bool try_join(struct domain *d)
{
	s32 nr = READ_ONCE(d->nr_tasks), found;

	while (nr > 0 && can_loop) {
		found = __sync_val_compare_and_swap(&d->nr_tasks, nr, nr + 1);
		if (found == nr)
			return true;
		nr = found;
	}
	return false;
}

/* Leaves domain number @slot. The bit is set again if a task has joined meanwhile. */
static __noinline void leave_domain(u32 slot)
{
	struct domain *d = domain_at(slot);
	u64 bit = 1ULL << (slot & (TAKT_MAX_DOMAINS - 1));

	if (__sync_fetch_and_add(&d->nr_tasks, -1) != 1)
		return;
	__sync_fetch_and_and(&domains_used, ~bit);
	if (READ_ONCE(d->nr_tasks))
		__sync_fetch_and_or(&domains_used, bit);
}

/*
 * Joins the domain of @m, and takes a free slot for it if there is none: the task counts there
 * until leave_domain(). Returns the number of the slot, from 1 on; 0: all are taken, or another CPU
 * took the same one.
 */
u32 join_domain(const struct cpu_mask *m)
{
	u32 free = 0, i;
	u64 hash;

	if (!m)
		return 0;
	hash = hash_of_mask(m);
	bpf_for (i, 0, TAKT_MAX_DOMAINS) {
		struct domain *d = domain_at(i);

		if (d->hash == hash && mask_equals(i, m)) {
			if (try_join(d)) {
				if (mask_equals(i, m)) /* it was not set up anew meanwhile */
					return i + 1;
				leave_domain(i);
			} else if (!READ_ONCE(d->nr_tasks)) {
				free = i + 1;
				break;
			}
		} else if (!free && !READ_ONCE(d->nr_tasks)) {
			free = i + 1;
		}
	}
	if (!free)
		return 0;
	i = (free - 1) & (TAKT_MAX_DOMAINS - 1);
	if (__sync_val_compare_and_swap(&domain_at(i)->nr_tasks, 0, -1))
		return 0;
	if (domain_at(i)->hash != hash || !mask_equals(i, m)) {
		set_up_domain(i, m);
		domain_at(i)->hash = hash;
	}
	__sync_fetch_and_add(&domain_at(i)->nr_tasks, 2); /* -1 -> 1 */
	__sync_fetch_and_or(&domains_used, 1ULL << i);
	return free;
}

/* The CPUs that @p may use are these: puts it into the domain of that set, if it needs one. */
static __noinline void update_domain(struct task_struct *p, struct task_ctx *t)
{
	struct cpu_mask m = {};
	u32 number = 0, i;

	if (nr_cpus_at_start == 1)
		return;
	t->unrestricted = p->nr_cpus_allowed >= nr_possible_cpus;
	if (p->nr_cpus_allowed > 1 && !t->unrestricted) {
		bpf_probe_read_kernel(&m, min_u64(sizeof(m), bpf_core_type_size(struct cpumask)),
				      &p->cpus_mask);
		t->unrestricted = covers_known(&m);
		for (i = 0; i < JOIN_ATTEMPTS && !number && !t->unrestricted; i++)
			number = join_domain(&m);
	}
	if (t->domain)
		leave_domain(t->domain - 1);
	t->domain = number;
}

#endif /* TAKT_DOMAIN_BPF_H */
