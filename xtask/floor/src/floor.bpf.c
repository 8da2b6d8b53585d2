/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The floor: an ops table without callbacks. The kernel does everything its own way: idle CPU from
 * the built-in masks, else the global queue in the order of arrival.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC(".struct_ops.link")
struct sched_ext_ops floor_ops = {.name = "floor"};
