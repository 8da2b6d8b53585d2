//! What the BPF side has counted of each cgroup that sets `cpu.max`: `src/bpf/limit.bpf.h`.

use crate::bpf_abi::BpfSkel;
use crate::snapshot::{Limit, Throttling};

/// All limits under which a period has ended. It takes a look at each slot, so it is for readers that ask.
pub fn of(skel: &BpfSkel<'_>) -> Vec<Limit> {
    let Some(bss) = skel.maps.bss_data.as_ref().filter(|bss| bss.limits_used) else {
        return Vec::new();
    };
    let slots = bss.cgroup_ctxs.iter().zip(&bss.limit_ctxs);
    // A session has no address of a cgroup, and no limit.
    let limited = slots.filter(|(cgroup, limit)| cgroup.cgrp != 0 && limit.nr_periods > 0);
    limited
        .map(|(cgroup, limit)| Limit {
            id: cgroup.id,
            throttling: Throttling {
                nr_periods: limit.nr_periods,
                nr_throttled: limit.nr_throttled,
                throttled_ns: limit.throttled_ns,
            },
        })
        .collect()
}
