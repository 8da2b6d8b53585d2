/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The task iterator for whatever scheduler is active, EEVDF included: loaded by `scx_takt top`
 * where scx_takt is not the one. See sample.bpf.h.
 */
#include <scx/common.bpf.h>
#include "intf.h"
#include "sample.bpf.h"

char _license[] SEC("license") = "GPL";

SEC("iter/task")
int any_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct takt_task s;

	if (!p)
		return 0;
	sample_task(&s, p, rq_clock_now(ctx->meta->seq_num));
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}
