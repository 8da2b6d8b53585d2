/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The null scheduler: an ops table without callbacks. The kernel selects an idle CPU from its built-in
 * masks, else it inserts the task into the global DSQ, which is in FIFO order.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC(".struct_ops.link")
struct sched_ext_ops floor_ops = {.name = "floor"};
