/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The task iterator of the scheduler itself: each task, with its record. The agent reads it while a
 * reader asks for tasks; see sample.bpf.h.
 */
#ifndef TAKT_TASKS_BPF_H
#define TAKT_TASKS_BPF_H

#include "deadline.bpf.h"
#include "sample.bpf.h"

SEC("iter/task")
int takt_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct takt_task s;
	struct task_ctx *t;

	if (!p)
		return 0;
	sample_task(&s, p, rq_clock_now(ctx->meta->seq_num));
	t = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	if (t) {
		s.est_run_ns = t->est_run_ns ? max_u64(t->est_run_ns, t->runtime_ns) : 0;
		s.weight = p->scx.weight;
		s.ruled = t->rule_class;
		s.lag_ns = lag_of(t);
	}
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

#endif /* TAKT_TASKS_BPF_H */
