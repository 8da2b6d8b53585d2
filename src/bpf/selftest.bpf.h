/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `scx_takt check` runs once: the smallest use of each kernel feature that scx_takt cannot do
 * without. Never loaded by the scheduler itself.
 */
#ifndef TAKT_SELFTEST_BPF_H
#define TAKT_SELFTEST_BPF_H

#include "event.bpf.h"

#define DSQ_OF_SELFTEST 0x20000ULL

/* A DSQ made and destroyed. From 6.18 on the kernel lets only an active scheduler do that: -ENODEV.
 */
SEC("syscall")
int takt_selftest_dsq(void *ctx)
{
	s32 err = scx_bpf_create_dsq(DSQ_OF_SELFTEST, -1);

	if (!err)
		scx_bpf_destroy_dsq(DSQ_OF_SELFTEST);
	return err;
}

/* One record of the type asked for into the ring, with the notification that such an event uses. */
SEC("syscall")
int takt_selftest_ring(u32 *type)
{
	struct takt_event e = {.type = TAKT_EV_LONG_WAIT};

	if (*type == TAKT_EV_EXIT)
		emit_exit();
	else if (*type == TAKT_EV_FAULT)
		emit_fault(bpf_get_current_task_btf(), TAKT_FAULT_NO_CONTEXT);
	else
		send_event(&e, wakeup_flags());
	return 0;
}

/* More records than the ring has room for, so that the accounting can be checked. */
SEC("syscall")
int takt_selftest_flood(void *ctx)
{
	u32 i;

	bpf_for (i, 0, TAKT_FLOOD) {
		struct takt_event e = {.type = i & 1 ? TAKT_EV_LONG_WAIT : TAKT_EV_PREEMPT};

		send_event(&e, wakeup_flags());
	}
	return 0;
}

#endif /* TAKT_SELFTEST_BPF_H */
