/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's debug dump shows of us: when it ejects the scheduler, or on SysRq-D.
 */
#ifndef TAKT_DUMP_BPF_H
#define TAKT_DUMP_BPF_H

#include "cgroup.bpf.h"
#include "deadline.bpf.h"
#include "domain.bpf.h"
#include "queue.bpf.h"
#include "task.bpf.h"
#include "vtime.h"

static void dump_queue(const char *kind, u32 number, u32 queue)
{
	const struct queue_ctx *q = queue_ctx_of(queue);

	scx_bpf_dump("takt: %s %u: V=%llu rate=%u/1048576 queued=%d\n", kind, number,
		     avg_vruntime(q), q->rate_q20, scx_bpf_dsq_nr_queued(queue));
}

void BPF_STRUCT_OPS(takt_dump, struct scx_dump_ctx *dctx)
{
	u32 i;

	bpf_for (i, 0, nr_llcs)
		dump_queue("LLC", i, queue_of_llc(i));
	bpf_for (i, 0, TAKT_MAX_DOMAINS) {
		if (domains_used >> i & 1)
			dump_queue("domain", i, TAKT_QUEUE_DOMAINS + i);
	}
	bpf_for (i, 0, nr_cpu_ids) {
		const struct cpu_ctx *c = cpu_ctx_of(i);

		scx_bpf_dump("takt: CPU %u: pid=%d running=%d vruntime=%llu queued=%d\n", i, c->pid,
			     c->started_at != 0, c->vruntime,
			     scx_bpf_dsq_nr_queued(queue_of_cpu(i)));
	}
}

void BPF_STRUCT_OPS(takt_dump_task, struct scx_dump_ctx *dctx, struct task_struct *p)
{
	struct task_ctx *t = task_ctx_of(p);

	if (t)
		scx_bpf_dump("takt: queue %u lag=%lld weight_1024=%llu runtime_ns=%llu "
			     "waits_ns=%llu wake_to_sleep_ns=%u\n",
			     t->queue, lag_of(t), t->weight_1024, t->runtime_ns,
			     waited_ns(t, scx_bpf_now()), t->profile.wake_to_sleep_ns);
	if (t && t->cgroup)
		scx_bpf_dump(
			"takt: cgroup %llu counted=%u factor_q20=%u average=%lld of parent=%lld\n",
			cgroup_at(t->cgroup)->id, t->counted, cgroup_at(t->cgroup)->factor,
			cgroup_at(t->cgroup)->average,
			cgroup_at(cgroup_at(t->cgroup)->parent)->average);
}

#endif /* TAKT_DUMP_BPF_H */
