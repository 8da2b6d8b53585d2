/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why a task waited: what had the CPU meanwhile, under any scheduler.
 *
 * While a watched task waits (nr_open > 0), each CPU writes down its run segments: which task had
 * it, from when to when, and how much of that interrupts took. When the wait ends beyond the
 * limit, the segments of the CPU that it waited on are sent with it as one record; so they are when
 * the task is moved to another CPU as it waits. The reader makes sums and names the cause.
 *
 * A watched task that sleeps in futex() is noted as well. If the task that wakes it had itself
 * waited for a CPU meanwhile, that wait is sent: most likely it held a lock.
 *
 * Costs. While no watched task waits, a switch costs the question whether either task is watched,
 * and whether the next one has waited for long: why_delayed. All else is paid for by watched tasks.
 * Nothing here allocates or takes a lock but that of the ring.
 *
 * Limits: 256 segments per CPU. Interrupts of a CPU's own timer and calls from other CPUs count for
 * the task that they interrupt; what such a call wakes seems to be woken by that task. A lock whose
 * holder waits for another lock is not followed. A task
 * that may use more than 64 CPUs is judged by the first 64.
 */
#include "why.bpf.h"
#include "why_rule.bpf.h"

/* What happens in the time of @cpu is written down from here: a segment of @prev is over. */
static __always_inline void close_segment(struct why_cpu *c, const struct task_struct *prev,
					  bool ready, u64 now)
{
	u32 i = c->next & (WHY_SEGMENTS - 1);
	struct why_segment *s = &c->segments[i];

	s->from_ns = c->from_ns;
	s->to_ns = now;
	s->irq_us = c->irq_ns / 1000;
	s->softirq_us = c->softirq_ns / 1000;
	s->end = ready && prev->pid ? WHY_END_READY : WHY_END_SLEEP;
	fill_task(&s->task, prev);
	c->segments[i + WHY_SEGMENTS] = *s;
	c->next++;
	c->irq_ns = 0;
	c->softirq_ns = 0;
}

/*
 * Counts the segments of @c before number @end that reach beyond @since. In the record and not in
 * a register: the verifier would go through each count there is.
 */
static __always_inline void count_segments(struct why_wait *w, const struct why_cpu *c, u32 end,
					   u64 since)
{
	u32 i;

	WRITE_ONCE(w->nr_segments, 0);
	bpf_for (i, 0, WHY_SEGMENTS) {
		const struct why_segment *s = &c->segments[(end - 1 - i) & (WHY_SEGMENTS - 1)];

		if (s->to_ns <= since)
			break;
		WRITE_ONCE(w->nr_segments, READ_ONCE(w->nr_segments) + 1);
	}
}

/* Has @cpu been idle for at least half of the time from @since to @now? Racy read of another CPU's
 * record: one wrong answer is one wrong bit of one record. */
static __always_inline bool was_idle(u32 cpu, u64 since, u64 now)
{
	const struct why_cpu *c = cpu_of(cpu);
	u64 idle_ns = 0;
	u32 i;

	if (!c)
		return false;
	if (c->idle)
		idle_ns = now - max_u64(c->from_ns, since);
	bpf_for (i, 0, IDLE_SEGMENTS) {
		const struct why_segment *s = &c->segments[(c->next - 1 - i) & (WHY_SEGMENTS - 1)];

		if (s->to_ns <= since || s->to_ns > now)
			break;
		if (s->task.class == WHY_NO_TASK)
			idle_ns += s->to_ns - max_u64(s->from_ns, since);
	}
	return 2 * idle_ns >= now - since;
}

/* Sends @w, of type @type, with the segments of its CPU up to number @end. */
static __noinline int send_wait(struct why_wait *w, u32 type, u32 end, u64 now)
{
	struct why_cpu *c, *here = cpu_of(bpf_get_smp_processor_id());
	struct bpf_dynptr record;
	u32 n, start, cpu;

	if (!w || !here)
		return 0;
	c = cpu_of(w->cpu);
	if (!c)
		return 0;
	w->type = type;
	w->end_ns = now;
	w->idle_cpus = 0;
	bpf_for (cpu, 0, min_u64(nr_cpus, WHY_MASK_CPUS)) {
		if (cpu != w->cpu && was_idle(cpu, w->part_ns, now))
			w->idle_cpus |= 1ULL << cpu;
	}
	if (type == WHY_LOCK)
		w->nr_segments = 0;
	else
		count_segments(w, c, end, w->part_ns);
	n = min_u64(READ_ONCE(w->nr_segments), WHY_SEGMENTS);
	start = (end - n) & (WHY_SEGMENTS - 1);
	if (bpf_ringbuf_reserve_dynptr(&records, sizeof(*w) + n * sizeof(struct why_segment), 0,
				       &record)) {
		here->nr_lost++;
		bpf_ringbuf_discard_dynptr(&record, 0);
		return 0;
	}
	bpf_dynptr_write(&record, 0, w, sizeof(*w), 0);
	if (n)
		bpf_dynptr_write(&record, sizeof(*w), &c->segments[start],
				 n * sizeof(struct why_segment), 0);
	/* The reader looks on a timer: to wake it here would make it the cause of waits. */
	bpf_ringbuf_submit_dynptr(&record, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * Sends the part of the wait of @p that ends now, as it is moved away from its CPU. What runs there
 * runs on: its segment so far takes the place of the next one. The lock of that run queue is held
 * (detach_task() in kernel/sched/fair.c, move_remote_task_to_local_dsq() in ext.c): no switch comes
 * in between there.
 */
static __noinline int send_part(struct why_wait *w, struct task_struct *p, u64 now)
{
	const struct task_struct *curr = p->se.cfs_rq->rq->curr;
	struct why_cpu *c = cpu_of(w->cpu);
	struct why_segment *s;
	u32 i;

	if (!c)
		return 0;
	i = c->next & (WHY_SEGMENTS - 1);
	s = &c->segments[i];
	s->from_ns = c->from_ns;
	s->to_ns = now;
	s->irq_us = (c->irq_ns + (c->irq_at ? since(c->irq_at) : 0)) / 1000;
	s->softirq_us = (c->softirq_ns + (c->softirq_at ? since(c->softirq_at) : 0)) / 1000;
	s->end = WHY_END_OPEN;
	fill_task(&s->task, curr);
	c->segments[i + WHY_SEGMENTS] = *s;
	return send_wait(w, WHY_PART, c->next + 1, now);
}

/* @p begins to wait; @other woke it, or took its CPU. Returns the wait; NULL: it is not noted. */
static __always_inline struct why_wait *open_wait(const struct task_struct *p, u32 begin,
						  u32 vector, const struct task_struct *other,
						  u64 now)
{
	struct why_wait *w = claim_wait(p);

	if (!w)
		return NULL;
	w->type = WHY_WAIT;
	w->at_ns = now;
	w->part_ns = now;
	w->begin = begin;
	w->vector = vector;
	w->dsq = TAKT_NO_DSQ;
	w->protect_ns = 0;
	w->held_ns = 0;
	w->nr_moves = 0;
	w->rule = WHY_RULE_UNKNOWN;
	w->placed = 0;
	fill_task(&w->other, other);
	if (!__sync_fetch_and_add(&nr_open, 1))
		open_since = now;
	return w;
}

static __always_inline void close_wait(struct why_wait *w)
{
	w->used = 0;
	__sync_fetch_and_add(&nr_open, -1);
}

/* @p has been put on a run queue, where it waits. */
static __always_inline void note_placed(struct why_wait *w, struct task_struct *p, bool woken)
{
	w->placed = 1;
	w->cpu = w->first_cpu = p->thread_info.cpu;
	w->nr_allowed = p->nr_cpus_allowed;
	w->allowed_cpus = p->cpus_ptr->bits[0];
	w->throttled_ns = throttled_ns(p);
	w->throttled = is_throttled(p);
	w->dsq = dsq_of(p);
	if (takt_schedules)
		note_rule(w, p, woken);
}

/* @p is put aside ready to run; @next takes its CPU. */
static __always_inline void note_preempted(struct task_struct *p, const struct task_struct *next,
					   u64 now)
{
	struct why_wait *w = open_wait(p, WHY_PREEMPTED, WHY_NO_VECTOR, next, now);

	if (w)
		note_placed(w, p, false);
}

/* @p goes to sleep in futex(). */
static __always_inline void note_futex(const struct task_struct *p, u64 now)
{
	struct why_wait *w = claim_wait(p);

	if (!w)
		return;
	w->type = WHY_LOCK;
	w->at_ns = now;
}

/* @p gets the CPU of @c. */
static __always_inline void end_wait(struct why_cpu *c, struct task_struct *p, u64 now)
{
	struct why_wait *w = wait_of(p);
	u64 wait_ns;

	if (!w) {
		c->nr_unseen++;
		return;
	}
	if (w->type == WHY_LOCK) { /* its wakeup was not seen */
		w->used = 0;
		c->nr_unseen++;
		return;
	}
	wait_ns = now - w->at_ns;
	c->nr_waits++;
	c->wait_ns += wait_ns;
	c->longest_ns = max_u64(c->longest_ns, wait_ns);
	if (wait_ns >= over_ns) {
		c->nr_long++;
		c->long_ns += wait_ns;
		w->throttled_ns = throttled_ns(p) - w->throttled_ns;
		fill_task(&w->task, p);
		send_wait(w, WHY_WAIT, c->next, now);
	}
	close_wait(w);
}

/* @prev has had the CPU: notes the last that had it for long. */
static __always_inline void note_long_run(struct why_cpu *c, const struct task_struct *prev,
					  u64 clock)
{
	if (clock - prev->sched_info.last_arrival < over_ns / 4 || !prev->pid)
		return;
	c->ran_until = clock;
	fill_task(&c->ran, prev);
}

/* Notes that @next has waited for long, watched or not: it may hold a lock. By the run queue's
 * clock, as the kernel's own account: observe.bpf.c. */
static __always_inline void note_delayed(const struct why_cpu *c, const struct task_struct *prev,
					 const struct task_struct *next, u64 clock)
{
	u64 queued_at = next->sched_info.last_queued, waited_ns;
	struct why_delayed *d;
	u32 slot = next->pid & (WHY_DELAYED - 1);

	if (!queued_at)
		return;
	waited_ns = clock - queued_at;
	if (waited_ns < over_ns / 2 || (s64)waited_ns < 0)
		return;
	d = bpf_map_lookup_elem(&delayed, &slot);
	if (!d)
		return;
	/* Two CPUs that write at once leave a mixture, which one record may be wrong by. */
	d->pid = next->pid;
	d->cpu = bpf_get_smp_processor_id();
	d->waited_ns = waited_ns;
	d->ended_ns = bpf_ktime_get_ns();
	if (c->ran_until > queued_at)
		d->before = c->ran;
	else
		fill_task(&d->before, prev);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(why_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());
	bool ready = preempt || !prev->__state;
	u64 now = 0, clock;

	if (!c)
		return 0;
	clock = prev->se.cfs_rq->rq->clock; /* of this CPU, whatever the class */
	note_long_run(c, prev, clock);
	if (next->pid)
		note_delayed(c, prev, next, clock);
	if (nr_open) {
		now = bpf_ktime_get_ns();
		close_segment(c, prev, ready, now);
	}
	if (prev->pid && is_watched(prev)) {
		now = now ? now : bpf_ktime_get_ns();
		if (ready)
			note_preempted(prev, next, now);
		else if (is_in_futex(prev))
			note_futex(prev, now);
	}
	if (next->pid && is_watched(next))
		end_wait(c, next, now ? now : bpf_ktime_get_ns());
	c->from_ns = now;
	c->idle = !next->pid;
	return 0;
}

/* The sleep of @w in futex() is ended by the current task: had that waited for a CPU? */
static __always_inline void end_futex(struct why_cpu *c, struct why_wait *w, u64 now)
{
	const struct task_struct *waker = bpf_get_current_task_btf();
	u32 slot = waker->pid & (WHY_DELAYED - 1);
	const struct why_delayed *d = bpf_map_lookup_elem(&delayed, &slot);

	if (now - w->at_ns < over_ns)
		return;
	if (!d || d->pid != waker->pid || d->ended_ns <= w->at_ns) {
		c->nr_sleeps++;
		return;
	}
	w->part_ns = w->at_ns;
	w->held_ns = min_u64(d->waited_ns, d->ended_ns - w->at_ns);
	if (w->held_ns < over_ns / 2) {
		c->nr_sleeps++;
		return;
	}
	w->cpu = d->cpu;
	w->ruled = d->before;
	fill_task(&w->other, waker);
	send_wait(w, WHY_LOCK, 0, now);
}

SEC("tp_btf/sched_waking")
int BPF_PROG(why_waking, struct task_struct *p)
{
	struct why_cpu *c;
	struct why_wait *w;
	u32 begin, vector;
	u64 now;

	if (!is_watched(p))
		return 0;
	c = cpu_of(bpf_get_smp_processor_id());
	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	begin = waker_kind(c, &vector);
	w = wait_of(p);
	if (w && w->type != WHY_LOCK)
		return 0; /* it is ready already, and goes on waiting */
	if (w && begin == WHY_WOKEN_BY_TASK)
		end_futex(c, w, now);
	open_wait(p, begin, vector, bpf_get_current_task_btf(), now);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(why_wakeup, struct task_struct *p)
{
	struct why_wait *w;

	if (!is_watched(p))
		return 0;
	w = wait_of(p);
	if (!w || w->type == WHY_LOCK || w->placed)
		return 0;
	if (is_on_cpu(p)) /* it was on its way to sleep, and has its CPU still */
		close_wait(w);
	else
		note_placed(w, p, true);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(why_wakeup_new, struct task_struct *p)
{
	struct why_wait *w;

	if (!is_watched(p))
		return 0;
	w = open_wait(p, WHY_NEW, WHY_NO_VECTOR, bpf_get_current_task_btf(), bpf_ktime_get_ns());
	if (w)
		note_placed(w, p, true);
	return 0;
}

/* @p is moved as it waits: under the lock of the run queue that it leaves, so that no switch
 * happens there meanwhile. */
SEC("tp_btf/sched_migrate_task")
int BPF_PROG(why_migrate, struct task_struct *p, int dest_cpu)
{
	struct why_wait *w;
	u64 now;

	if (!is_watched(p))
		return 0;
	w = wait_of(p);
	if (!w || w->type == WHY_LOCK || !w->placed)
		return 0;
	now = bpf_ktime_get_ns();
	if (now - w->part_ns >= over_ns / 16)
		send_part(w, p, now);
	w->part_ns = now;
	w->cpu = dest_cpu;
	w->nr_moves++;
	return 0;
}

SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(why_timer_entry)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());

	if (c)
		c->in_timer = 1;
	return 0;
}

SEC("tp_btf/hrtimer_expire_exit")
int BPF_PROG(why_timer_exit)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());

	if (c)
		c->in_timer = 0;
	return 0;
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(why_irq_entry, int irq)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());

	if (!c)
		return 0;
	c->irq = irq;
	c->irq_at = nr_open ? bpf_ktime_get_ns() : BEFORE;
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(why_irq_exit, int irq)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());
	u64 ns;

	if (!c || !c->irq_at)
		return 0;
	if (nr_open) {
		ns = since(c->irq_at);
		c->irq_ns += ns;
		c->nested_ns += ns;
	}
	c->irq_at = 0;
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(why_softirq_entry, unsigned int vector)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());

	if (!c)
		return 0;
	c->softirq = vector;
	c->nested_ns = 0;
	c->softirq_at = nr_open ? bpf_ktime_get_ns() : BEFORE;
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(why_softirq_exit, unsigned int vector)
{
	struct why_cpu *c = cpu_of(bpf_get_smp_processor_id());

	if (!c || !c->softirq_at)
		return 0;
	if (nr_open)
		c->softirq_ns += since(c->softirq_at) - c->nested_ns;
	c->softirq_at = 0;
	return 0;
}
