/* SPDX-License-Identifier: GPL-2.0-only */
/* clang-format off */
/*
 * Where tasks wait. A task waits in one of three kinds of queue, by what it may use:
 *
 *	every CPU	the queue of an LLC, which all CPUs of the LLC serve
 *	some CPUs	the queue of its domain (domain.bpf.h), which the CPUs of that set serve
 *	one CPU		the queue of that CPU; so does a task that may not migrate now
 *
 * So each queue is served by CPUs that all of its tasks may use, and its head says what waits.
 * All are ordered by deadline, and a CPU takes the earliest of the heads that it serves. All CPUs of an
 * LLC share a queue and its lock, which is what keeps them fair to each other without migration logic;
 * that is its limit too: beyond some 16 CPUs per LLC the lock will show.
 *
 * scx_bpf_dsq_move_to_local() may find nothing although a task waits: the head may be in a section in
 * which it may not migrate, or its affinity changes just now. Nothing taken is not empty.
 */
/* clang-format on */
#ifndef TAKT_QUEUE_BPF_H
#define TAKT_QUEUE_BPF_H

#include "domain.bpf.h"
#include "task.bpf.h"
#include "vtime.h"

#define NO_DEADLINE (~0ULL)

static __always_inline u32 queue_of_llc(u32 llc)
{
	return TAKT_QUEUE_LLCS + llc;
}

static __always_inline u32 queue_of_cpu(s32 cpu)
{
	return TAKT_QUEUE_CPUS + (u32)cpu;
}

/* The queue for @p, that belongs to @cpu now. */
static __always_inline u32 queue_for(const struct task_struct *p, const struct task_ctx *t, s32 cpu,
				     u64 enq_flags)
{
	if (nr_cpus_at_start == 1)
		return queue_of_llc(0);
	if (is_pinned(p, enq_flags))
		return queue_of_cpu(cpu);
	if (t->unrestricted)
		return queue_of_llc(llc_of(cpu));
	return t->domain ? TAKT_QUEUE_DOMAINS + t->domain - 1 : queue_of_cpu(cpu);
}

/* Is @queue that of one CPU of several? */
static __always_inline bool is_queue_of_one_cpu(u32 queue)
{
	return nr_cpus_at_start > 1 && queue >= TAKT_QUEUE_CPUS;
}

static __always_inline bool is_for_one_cpu(const struct task_ctx *t)
{
	return is_queue_of_one_cpu(t->queue);
}

/* The deadline at the head of a queue, or NO_DEADLINE when it is empty. */
static u64 head_deadline(u32 queue)
{
	struct task_struct *p;
	u64 deadline = NO_DEADLINE;

	if (bpf_ksym_exists(scx_bpf_dsq_peek) && !pretend_no_peek) {
		p = scx_bpf_dsq_peek(queue);
		return p ? p->scx.dsq_vtime : deadline;
	}
	bpf_for_each (scx_dsq, p, queue, 0) {
		deadline = p->scx.dsq_vtime;
		break;
	}
	return deadline;
}

/* How many tasks wait in the queue that @cpu alone serves, on a machine of several CPUs. If it is
 * 0, that queue is empty, and callers do not look into it: a task is counted before it is inserted.
 */
static __always_inline u32 nr_own(s32 cpu)
{
	return nr_queued_in(queue_of_cpu(cpu));
}

/* Which of the domains that @cpu belongs to has the earliest deadline, if before @deadline; 0:
 * none. */
static __noinline u32 earliest_of_domains(s32 cpu, u64 deadline)
{
	u64 used = READ_ONCE(domains_used), found = deadline, head;
	u32 i, queue = 0;

	for_each_domain_of (i, used, cpu) { /* whatever is counted: a count may be late */
		head = head_deadline(TAKT_QUEUE_DOMAINS + i);
		if (head < found) {
			found = head;
			queue = TAKT_QUEUE_DOMAINS + i;
		}
	}
	return queue;
}

struct queue_head {
	u64 deadline; /* NO_DEADLINE: no task waits */
	u32 queue;
};

/* The earliest deadline that waits for @cpu, and in which queue. */
static __always_inline struct queue_head earliest_for(s32 cpu)
{
	u32 llc_queue = queue_of_llc(llc_of(cpu)), own = queue_of_cpu(cpu), domain;
	struct queue_head first = {.deadline = head_deadline(llc_queue), .queue = llc_queue};
	u64 deadline;

	if (nr_cpus_at_start > 1 && nr_own(cpu)) {
		deadline = head_deadline(own);
		if (deadline < first.deadline)
			first = (struct queue_head){.deadline = deadline, .queue = own};
	}
	if (nr_cpus_at_start > 1 && domains_used) {
		domain = earliest_of_domains(cpu, first.deadline);
		deadline = domain ? head_deadline(domain) : NO_DEADLINE;
		if (deadline < first.deadline) /* another CPU may have taken it meanwhile */
			first = (struct queue_head){.deadline = deadline, .queue = domain};
	}
	return first;
}

/* How many wait in the domains that @cpu belongs to. */
static __noinline u32 nr_waiting_in_domains(s32 cpu)
{
	u64 used = READ_ONCE(domains_used);
	u32 i, nr = 0;

	for_each_domain_of (i, used, cpu)
		nr += nr_queued_in(TAKT_QUEUE_DOMAINS + i);
	return nr;
}

/* How many wait for @cpu, in all queues that it serves. */
static __always_inline u32 nr_waiting(s32 cpu)
{
	u32 nr = nr_queued_in(queue_of_llc(llc_of(cpu)));

	if (nr_cpus_at_start == 1)
		return nr;
	nr += nr_own(cpu);
	return domains_used ? nr + nr_waiting_in_domains(cpu) : nr;
}

/* Counts anew how many wait in @queue. */
static __always_inline void recount(u32 queue)
{
	WRITE_ONCE(queue_ctx_of(queue)->nr_queued, scx_bpf_dsq_nr_queued(queue));
}

/* Counts anew how many wait in the domains that @cpu belongs to. */
static __noinline void recount_domains(s32 cpu)
{
	u64 used = READ_ONCE(domains_used);
	u32 i;

	for_each_domain_of (i, used, cpu)
		recount(TAKT_QUEUE_DOMAINS + i);
}

static __always_inline void add_to_count(u32 *count, s32 change)
{
	if (nr_cpus_at_start == 1)
		*count += change;
	else
		__sync_fetch_and_add(count, change);
}

/* Counts a task that has left @queue. */
static __always_inline void count_taken(u32 queue)
{
	u32 nr;

	if (is_queue_of_one_cpu(queue))
		return;
	nr = nr_queued_in(queue);
	if (nr)
		WRITE_ONCE(queue_ctx_of(queue)->nr_queued, nr - 1);
}

static __always_inline void add_to_weight(struct queue_ctx *q, s64 change)
{
	if (nr_cpus_at_start == 1)
		q->queued_weight += change;
	else
		__sync_fetch_and_add(&q->queued_weight, change);
}

/*
 * @t waits no longer: a CPU has taken it, and counted that (@is_taken); or it leaves its queue
 * otherwise, is queued anew, is throttled, or leaves the scheduler. Takes back what its record says
 * that it is counted as. Global, so that the verifier looks at it once per program.
 */
__noinline int uncount(struct task_ctx *t, bool is_taken)
{
	struct queue_ctx *q;

	if (!t)
		return 0;
	q = queue_ctx_of(t->own_queue ?: t->waits_in - 1);
	if (!is_taken && t->waits_in)
		count_taken(t->waits_in - 1);
	add_to_weight(q, -(s64)t->queued_weight);
	t->queued_weight = 0;
	if (t->cpu_bound_in) {
		add_to_count(&queue_ctx_of(t->cpu_bound_in - 1)->nr_cpu_bound, -1);
		t->cpu_bound_in = 0;
	}
	if (nr_cpus_at_start > 1 && t->own_queue) {
		add_to_count(&q->nr_queued, -1);
		t->own_queue = 0;
	}
	t->waits_in = 0;
	return 0;
}

/* @t leaves the queue that it waits in, if it does, without a CPU that takes it. */
static __always_inline void uncount_untaken(struct task_ctx *t)
{
	if (t->queued_weight)
		uncount(t, false);
}

/*
 * Counts @t, which is about to wait in @queue. Returns how many tasks wait there already.
 *
 * When the nice value, policy, affinity or cgroup of a waiting task changes, the kernel takes it
 * out of its queue by itself and enqueues it anew. So the record of the task says where it is
 * counted, and what does not hold any longer is taken back as it is queued anew, or runs. (With an
 * addition at each insertion and a subtraction at each take, a task that changed its policy every
 * 110 us made its queue seem hundreds long: equal tasks had 0.18 to 0.30 s of a second, and others
 * waited for 280 ms.) A count may be too low by a task that another CPU has taken as it changes,
 * which the next tick sets right. Two are atomic: that of one CPU's queue, which must never be less
 * than what waits there, and the number of CPU-bound tasks, which no tick knows.
 */
static __always_inline u32 count_waiting(struct task_ctx *t, u32 queue,
					 const struct takt_tunables *k)
{
	struct queue_ctx *q = queue_ctx_of(queue);
	u32 nr;

	uncount_untaken(t);
	t->queued_weight = weight_units(t->weight_1024);
	add_to_weight(q, t->queued_weight);
	if (is_cpu_bound(t, k)) {
		t->cpu_bound_in = queue + 1;
		add_to_count(&q->nr_cpu_bound, 1);
	}
	if (!is_queue_of_one_cpu(queue)) {
		nr = nr_queued_in(queue);
		WRITE_ONCE(q->nr_queued, nr + 1);
		t->waits_in = queue + 1;
	} else {
		t->own_queue = queue;
		nr = __sync_fetch_and_add(&q->nr_queued, 1);
	}
	return nr;
}

/* Takes the first task of @queue that may run here; false: there is none. */
static __always_inline bool take_from(u32 queue)
{
	if (!scx_bpf_dsq_move_to_local(queue, 0))
		return false;
	count_taken(queue);
	return true;
}

/*
 * Takes the first task of @queue for @cpu whose deadline is before @deadline, that of the task that
 * runs there; false: there is none. Of CPUs whose ticks come at once, each has seen the same head:
 * the first may have it, and the others must not take the next task for it. (1 task of nice -20, 4
 * of nice 0, 4 of nice 5 on 4 CPUs: all four that ran were preempted for one, so that nice 5 had
 * 0.71 of nice 0, and nice -20 half a CPU.)
 */
static __noinline bool take_before(s32 cpu, u32 queue, u64 deadline)
{
	struct task_struct *p;
	bool taken = false;

	bpf_for_each (scx_dsq, p, queue, 0) {
		if ((s64)(p->scx.dsq_vtime - deadline) >= 0)
			break;
		if (scx_bpf_task_cpu(p) != cpu &&
		    (p->migration_disabled || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr)))
			continue;
		taken = scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL, 0);
		if (taken)
			break;
	}
	if (taken)
		count_taken(queue);
	return taken;
}

/* Takes a task from any of the queues that @cpu serves; for the rare case that the head of the
 * earliest one may not run here. */
static __noinline bool take_any(s32 cpu)
{
	u64 used = READ_ONCE(domains_used);
	u32 i;

	if (take_from(queue_of_llc(llc_of(cpu))) || take_from(queue_of_cpu(cpu)))
		return true;
	for_each_domain_of (i, used, cpu) {
		if (take_from(TAKT_QUEUE_DOMAINS + i))
			return true;
	}
	recount(queue_of_llc(llc_of(cpu)));
	return false;
}

/* Takes the first task of the queues that @cpu serves; false: there is none that it may run. */
static __always_inline bool take_first(s32 cpu)
{
	if (nr_cpus_at_start == 1) {
		if (take_from(queue_of_llc(0)))
			return true;
		queue_ctx_of(queue_of_llc(0))->nr_queued = 0; /* all may run on the only CPU */
		return false;
	}
	if (!nr_own(cpu) && !domains_used) {
		if (take_from(queue_of_llc(llc_of(cpu))))
			return true;
		if (nr_queued_in(queue_of_llc(llc_of(cpu))))
			recount(queue_of_llc(llc_of(cpu)));
		return false;
	}
	return take_from(earliest_for(cpu).queue) || take_any(cpu);
}

/* Does no task wait for @cpu: none is placed there, parked there, or in a queue that it serves? */
static __always_inline bool nothing_waits_for(s32 cpu, const struct cpu_ctx *c)
{
	return READ_ONCE(c->placed_in) != READ_ONCE(c->started_at) && !READ_ONCE(c->parked_pid) &&
	       !nr_waiting(cpu);
}

#endif /* TAKT_QUEUE_BPF_H */
