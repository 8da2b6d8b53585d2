/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A task wakes another and goes to sleep: which of the two has the CPU in between?
 *
 * Some wakers sleep at once, within handoff_gap of their first wakeup on average. The wakee of such
 * a waker is better off on the waker's CPU, whose cache holds what it will read, than on an idle
 * CPU that has to be kicked.
 *
 * A reciprocal pair (each wakes the other and no other task, and sleeps at once) gains more when
 * the wakee runs right now, in the waker's place: the answer is there before the waker asks for it,
 * so that the waker never sleeps and need not be woken. That halves the sleeps and wakeups of a
 * round trip. For all other tasks the same would be one switch too many, or break up a batch of
 * messages. Hence a pair has to prove itself first, HANDOFF_STREAK times in a row, and again after
 * every HANDOFF_RUN handoffs, or when a waker slept all the same.
 *
 * Pipes and sockets say that a wakeup is the last thing that the waker does (SCX_WAKE_SYNC).
 * Futexes and eventfds do not, since their waker may as well work on, and should do so beside the
 * wakee. They get the same once they have proven to be a pair, with a gap of a quarter of
 * handoff_gap and a wakee that runs for handoff_gap at most: then there is next to nothing that the
 * two could do at the same time.
 *
 * Only where no other task waits: a handoff passes on the CPU, and a task in the queue has the
 * better claim. Limits: a wakeup out of an interrupt looks like one by the task that it
 * interrupted, and spoils the profile of that task a little. A task that may use one CPU only is
 * seen to be woken by a task of that CPU only: by others, it keeps its former waker.
 *
 * A pair that begins to work side by side from one wakeup to the next does so after a tick:
 * takt_tick() in main.bpf.c. So a wrong guess costs up to 4 ms, and a right one saves some 6 us.
 * Where there is another CPU, a guess is wrong if the wakee has waited behind its waker for more
 * than a quarter of handoff_gap, or the waker for a handoff to end. The waker then has to sleep at
 * once so many times more, one for each 256 ns of that wait, before it has its wakees on its own
 * CPU while others are idle: with round trips of 10 us, wrong guesses take 2.5 % of the time at
 * most.
 */
#ifndef TAKT_HANDOFF_BPF_H
#define TAKT_HANDOFF_BPF_H

#include "queue.bpf.h"

/* At other values: docs/results/2026-11-30-thresholds.md. Streak 2 to 32, run 250 to 4,000: the
 * same to pairs over pipes, on 1 and 4 CPUs. A proof for each 512 ns: up to 4 % fewer cycles of
 * pairs that then work side by side; for each 128 ns: up to 3 % more. */
#define HANDOFF_STREAK 8
#define HANDOFF_RUN    1000
#define PROOF_SHIFT    8
#define MAX_PROOFS     32000

/* The task that runs on @c wakes @p: notes the wakeup with the waker, and the waker with @p. */
static __always_inline void note_waker(struct cpu_ctx *c, const struct task_struct *p,
				       struct task_ctx *t, u64 now)
{
	if (!c->started_at) { /* an interrupt, or a task of another class, wakes it */
		t->woken_by = 0;
		return;
	}
	if (!c->nr_woke++)
		c->woke_at = now;
	c->woke_pid = p->pid;
	t->woken_by = c->pid;
}

/*
 * Does the task that runs match its profile? A task that has never slept after waking another has
 * none, and a task that has run for longer than it is protected has left it: most likely both are
 * CPU-bound, and were interrupted by a timer of another task. A reciprocal pair never sleeps.
 */
static __always_inline bool matches_profile(const struct cpu_ctx *c, u64 now)
{
	return c->profile.wake_to_sleep_ns &&
	       (c->profile.handed || runtime_since_wakeup_ns(c, now) <= c->protect_ns);
}

/* Will the task that runs on @cpu, and has just woken another, sleep at once, while no other task
 * waits? */
static __always_inline bool waker_sleeps_soon(s32 cpu, const struct cpu_ctx *c, u64 now,
					      const struct takt_tunables *k)
{
	return policy_enabled(SYNC) && c->started_at &&
	       c->profile.wake_to_sleep_ns < k->handoff_gap_ns && matches_profile(c, now) &&
	       nothing_waits_for(cpu, c);
}

/*
 * What counts as at once, in ns. With one CPU, the other task could not have run meanwhile; with
 * several, it may have waited for no gain.
 */
static __always_inline u64 at_once_ns(const struct takt_tunables *k)
{
	return nr_cpus_at_start == 1 ? k->handoff_gap_ns : k->handoff_gap_ns / 4;
}

/* Does the task that runs on @c, a waker that sleeps soon, get its wakee onto its own CPU while
 * others are idle? */
static __always_inline bool is_proven_waker(const struct cpu_ctx *c, const struct takt_tunables *k)
{
	return nr_cpus_at_start == 1 ||
	       (c->profile.reciprocal_streak >= 0 && c->profile.wake_to_sleep_ns < at_once_ns(k));
}

/* Have the task that runs on @c and @p, that it wakes, proven to be a reciprocal pair? */
static __always_inline bool is_reciprocal_pair(const struct cpu_ctx *c, const struct task_struct *p)
{
	return policy_enabled(HANDOFF) && c->profile.reciprocal_streak >= HANDOFF_STREAK &&
	       p->pid == c->woken_by;
}

/* Is the wakeup of @p the last thing that the task on @c does? The kernel says so, or it has proven
 * it, and @p is back soon. */
static __always_inline bool is_sync(const struct cpu_ctx *c, const struct task_struct *p,
				    const struct task_ctx *t, u64 wake_flags,
				    const struct takt_tunables *k)
{
	return (wake_flags & SCX_WAKE_SYNC) ||
	       (is_reciprocal_pair(c, p) && c->profile.wake_to_sleep_ns < k->handoff_gap_ns / 4 &&
		t->est_run_ns <= k->handoff_gap_ns);
}

/* Hands the CPU of @c to @p right now if the two have proven it: SCX_ENQ_PREEMPT if so, else 0.
 * Written by the waker's CPU, without the rq lock: see cpu_ctx. */
static __always_inline u64 try_handoff(struct cpu_ctx *c, const struct task_struct *p)
{
	struct waker_profile *h = &c->profile;

	if (!is_reciprocal_pair(c, p))
		return 0;
	if (++h->handed > HANDOFF_RUN) {
		h->reciprocal_streak = 0;
		h->handed = 0;
		c->runtime_ns = 0; /* it never slept, as it never had to */
		return 0;
	}
	WRITE_ONCE(c->resume_next_pid, c->pid);
	return SCX_ENQ_PREEMPT;
}

/* Is @p to continue on @c after the task that takes its place? Asks once: forgets it. */
static __always_inline bool take_resume_next(const struct task_struct *p, struct cpu_ctx *c)
{
	bool it_does = READ_ONCE(c->resume_next_pid) == p->pid;

	WRITE_ONCE(c->resume_next_pid, 0);
	return it_does;
}

/* A task has waited for @lost_ns since the waker of @h was guessed to sleep at once. */
static __always_inline void ask_for_proofs(struct waker_profile *h, u64 lost_ns)
{
	s32 streak = -(s32)min_u64(lost_ns >> PROOF_SHIFT, MAX_PROOFS);

	if (h->reciprocal_streak > streak)
		h->reciprocal_streak = streak;
}

/* The task of @c leaves its CPU. If another was placed behind it and has waited for long, the guess
 * was wrong. */
static __always_inline void back_off_sync(struct cpu_ctx *c, u64 now, const struct takt_tunables *k)
{
	u64 lost_ns;

	if (nr_cpus_at_start == 1 || c->placed_in != c->started_at || !c->placed_sync ||
	    !c->nr_woke)
		return;
	lost_ns = elapsed_ns(c->woke_at, now);
	if (lost_ns > at_once_ns(k))
		ask_for_proofs(&c->profile, lost_ns);
}

/* @t gets a CPU. If it had handed its own over and waited for long, it could have worked meanwhile:
 * the guess was wrong. */
static __always_inline void back_off_handoff(struct task_ctx *t, u64 now,
					     const struct takt_tunables *k)
{
	if (!t->profile.handed || waited_ns(t, now) <= at_once_ns(k))
		return;
	t->profile.handed = 0;
	ask_for_proofs(&t->profile, waited_ns(t, now));
	t->runtime_ns = 0;
}

/* The row of proofs is broken. Proofs that a wrong guess asks for stay. */
static __always_inline void reset_reciprocal_streak(struct waker_profile *h)
{
	if (h->reciprocal_streak > 0)
		h->reciprocal_streak = 0;
}

/* The task of @c goes to sleep: how soon after waking another? A moving average over about 4 such
 * sleeps, from 0 on: after the first it is a quarter of that one. */
static __always_inline void update_waker_profile(struct cpu_ctx *c, u64 now,
						 const struct takt_tunables *k)
{
	struct waker_profile *h = &c->profile;
	u64 wake_to_sleep_ns;

	if (h->handed == 1)
		reset_reciprocal_streak(h);
	h->handed = 0;
	back_off_sync(c, now, k);
	if (!c->nr_woke)
		return;
	wake_to_sleep_ns = min_u64(now - c->woke_at, 1000 * 1000 * 1000);
	h->wake_to_sleep_ns = (h->wake_to_sleep_ns * 3ULL + wake_to_sleep_ns) / 4;
	if (wake_to_sleep_ns > at_once_ns(k) ||
	    (h->reciprocal_streak >= 0 && (c->nr_woke != 1 || c->woke_pid != c->woken_by)))
		reset_reciprocal_streak(h);
	else if (h->reciprocal_streak < HANDOFF_STREAK)
		h->reciprocal_streak++;
}

#endif /* TAKT_HANDOFF_BPF_H */
