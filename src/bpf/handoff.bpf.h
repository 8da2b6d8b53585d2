/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A task wakes another and goes to sleep: whose turn is it in between?
 *
 * Some wakers sleep at once, within handoff_gap of their first wakeup on average. The wakee of such
 * a waker is better off on the waker's CPU, whose cache holds what it will read, than on an idle
 * one that has to be called by an interrupt.
 *
 * Two that play ping-pong (each wakes the other, nobody else, and sleeps at once) gain more when
 * the wakee runs right now, in the waker's place: the answer is there before the waker asks for it,
 * so that it never sleeps and nobody has to wake it. That halves the sleeps and wakeups of a round
 * trip. For all others the same would be one switch too many, or break up a batch of messages.
 * Hence the proof is asked for first, HANDOFF_ECHOES times in a row, and again after every
 * HANDOFF_RUN hand-overs, or when a waker slept all the same.
 *
 * Pipes and sockets say when they wake somebody as the last thing they do (SCX_WAKE_SYNC). Futexes
 * and eventfds do not, since their waker may as well work on, and should do so beside the wakee.
 * They get the same once they have proven to play ping-pong, with a gap of a quarter of
 * handoff_gap and a wakee that runs for handoff_gap at most: then there is next to nothing that the
 * two could do at the same time.
 *
 * Only where nobody else waits: a hand-over passes on the CPU, and whoever is due has the better
 * claim. Limits: a wakeup out of an interrupt looks like one by the task that it interrupted, and
 * spoils the profile of that task a little.
 *
 * A pair that stops playing, and works side by side from one wakeup to the next, does so after a
 * tick: kick_for_waiting() in main.bpf.c. So a wrong guess costs up to 4 ms, and a right one saves
 * some 6 us. Whoever has waited for its CPU for more than 4 * handoff_gap has guessed wrong, and
 * proves itself HANDOFF_DOUBT times more: that holds the loss to a third of the gain.
 */
#ifndef TAKT_HANDOFF_BPF_H
#define TAKT_HANDOFF_BPF_H

#include "idle.bpf.h"

#define HANDOFF_ECHOES 8
#define HANDOFF_RUN    1000
#define HANDOFF_DOUBT  2000

/* The task that runs on @c wakes @p. */
static __always_inline void note_wakeup(struct cpu_ctx *c, const struct task_struct *p,
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
 * Does the task that runs keep to its profile? One that has never slept after waking another has
 * none, and one that has run for longer than it is spared has left it: most likely both are hogs,
 * interrupted by somebody's timer. Those that hand over to each other never sleep.
 */
static __always_inline bool matches_profile(const struct cpu_ctx *c, u64 now)
{
	return c->profile.gap_ns &&
	       (c->profile.handed || runtime_since_wakeup_ns(c, now) <= c->protect_ns);
}

/* Will the task that runs on @cpu, and has just woken another, sleep at once, with nobody else in
 * line? */
static __always_inline bool waker_sleeps_soon(s32 cpu, const struct cpu_ctx *c, u64 now,
					      const struct takt_knobs *k)
{
	return has(SYNC) && c->started_at && c->profile.gap_ns < k->handoff_gap_ns &&
	       matches_profile(c, now) && is_next_in_line(cpu, c);
}

/* Have the task that runs on @c and @p, that it wakes, proven to play ping-pong? */
static __always_inline bool is_reciprocal_pair(const struct cpu_ctx *c, const struct task_struct *p)
{
	return has(HANDOFF) && c->profile.reciprocal_streak >= HANDOFF_ECHOES &&
	       p->pid == c->woken_by;
}

/* Is the wakeup of @p the last thing that the task on @c does? The kernel says so, or it has proven
 * it, and @p is back soon. */
static __always_inline bool is_sync(const struct cpu_ctx *c, const struct task_struct *p,
				    const struct task_ctx *t, u64 wake_flags,
				    const struct takt_knobs *k)
{
	return (wake_flags & SCX_WAKE_SYNC) ||
	       (is_reciprocal_pair(c, p) && c->profile.gap_ns < k->handoff_gap_ns / 4 &&
		t->est_run_ns <= k->handoff_gap_ns);
}

/* Does such a waker hand over to @p right now? SCX_ENQ_PREEMPT if so, else 0. */
static __always_inline u64 try_handoff(struct cpu_ctx *c, const struct task_struct *p)
{
	struct waker_profile *h = &c->profile;

	if (!is_reciprocal_pair(c, p))
		return 0;
	if (++h->handed > HANDOFF_RUN) {
		h->reciprocal_streak = 0;
		h->handed = 0;
		c->runtime_ns = 0; /* it never slept, for it never had to */
		return 0;
	}
	c->resume_next_pid = c->pid;
	return SCX_ENQ_PREEMPT;
}

/* Has @p just handed over, so that it goes on as soon as its wakee sleeps? */
static __always_inline bool take_resume_next(const struct task_struct *p, struct cpu_ctx *c)
{
	bool it_does = c->resume_next_pid == p->pid;

	c->resume_next_pid = 0;
	return it_does;
}

/* @t gets on: if it had handed over its CPU, could it have worked meanwhile? */
static __always_inline void back_off_handoff(struct task_ctx *t, u64 now,
					     const struct takt_knobs *k)
{
	if (!t->profile.handed || waited_ns(t, now) <= 4 * k->handoff_gap_ns)
		return;
	t->profile.handed = 0;
	t->profile.reciprocal_streak = -HANDOFF_DOUBT;
	t->runtime_ns = 0;
}

/* The row of proofs is broken; what is to be made up for stays. */
static __always_inline void reset_reciprocal_streak(struct waker_profile *h)
{
	if (h->reciprocal_streak > 0)
		h->reciprocal_streak = 0;
}

/* The task of @c goes to sleep: how soon after waking another? Averages over about 4. */
static __always_inline void update_waker_profile(struct cpu_ctx *c, u64 now,
						 const struct takt_knobs *k)
{
	struct waker_profile *h = &c->profile;
	u64 gap_ns;

	if (h->handed == 1)
		reset_reciprocal_streak(h);
	h->handed = 0;
	if (!c->nr_woke)
		return;
	gap_ns = min_u64(now - c->woke_at, 1000 * 1000 * 1000);
	h->gap_ns = (h->gap_ns * 3ULL + gap_ns) / 4;
	if (c->nr_woke != 1 || c->woke_pid != c->woken_by || gap_ns > k->handoff_gap_ns)
		reset_reciprocal_streak(h);
	else if (h->reciprocal_streak < HANDOFF_ECHOES)
		h->reciprocal_streak++;
}

#endif /* TAKT_HANDOFF_BPF_H */
