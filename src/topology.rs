//! Where each CPU belongs, in the dense numbers that the BPF side uses.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scx_utils::{CoreType, Topology};

use crate::bpf_abi::intf::{takt_consts_TAKT_MAX_CPUS, takt_consts_TAKT_MAX_LLCS};

/// The machine as the scheduler sees it.
pub struct Machine {
    /// For each CPU number: the LLC it belongs to, from 0 on without holes; `None`: no such CPU, or
    /// one that was offline when we looked.
    pub llc_of_cpu: Vec<Option<u16>>,
    /// For each LLC: its NUMA node.
    pub node_of_llc: Vec<u32>,
    /// Number of LLCs, at least 1.
    pub nr_llcs: u32,
    /// Number of CPUs that were online.
    pub nr_cpus: u32,
    /// Number of CPUs that may ever be there: a task that may use so many may use all.
    pub nr_possible_cpus: u32,
    /// Whether CPUs share cores (SMT).
    pub smt: bool,
    /// For each LLC all others, those of its own NUMA node first.
    pub steal_order: Vec<Vec<u8>>,
    /// CPUs of the larger kind, in the order in which they are to be filled; empty if all are of one kind.
    pub big_cpus: Vec<u16>,
}

/// How often to look again at a machine whose CPUs come and go while we look.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Machine {
    /// Reads it from sysfs; again, for up to two seconds, when a CPU goes away meanwhile and takes its
    /// files along.
    ///
    /// # Errors
    /// If sysfs cannot be made sense of, or the machine is larger than this build can hold.
    pub fn read() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::read_once() {
                Err(_) if attempt < ATTEMPTS => thread::sleep(PAUSE),
                result => return result,
            }
            attempt += 1;
        }
    }

    fn read_once() -> Result<Self> {
        let topology = Topology::new().context("cannot read the CPU topology from sysfs")?;
        let mut llc_of_cpu = Vec::new();
        for (llc, (_, of)) in (0u16..).zip(&topology.all_llcs) {
            for &cpu in of.all_cpus.keys() {
                if llc_of_cpu.len() <= cpu {
                    llc_of_cpu.resize(cpu + 1, None);
                }
                llc_of_cpu[cpu] = Some(llc);
            }
        }
        let max_cpus = takt_consts_TAKT_MAX_CPUS as usize;
        ensure!(
            llc_of_cpu.len() <= max_cpus,
            "{} CPUs: this build of scx_takt holds {max_cpus} at most",
            llc_of_cpu.len()
        );
        let nodes: Vec<usize> = topology.all_llcs.values().map(|llc| llc.node_id).collect();
        let (nodes, merged) = merge_llcs(&nodes, takt_consts_TAKT_MAX_LLCS as usize);
        for llc in llc_of_cpu.iter_mut().flatten() {
            *llc = merged.get(usize::from(*llc)).copied().unwrap_or(0);
        }
        let nr_llcs = nodes.len().max(1);
        Ok(Self {
            nr_cpus: llc_of_cpu.iter().flatten().count() as u32,
            nr_possible_cpus: libbpf_rs::num_possible_cpus()
                .context("cannot read the number of possible CPUs from sysfs")?
                as u32,
            node_of_llc: nodes.iter().map(|&node| node as u32).collect(),
            nr_llcs: nr_llcs as u32,
            smt: topology.smt_enabled,
            llc_of_cpu,
            steal_order: steal_order(&nodes),
            big_cpus: big_cpus(&topology),
        })
    }
}

/// What to take for an LLC on a machine with more than `max` of them: neighbours share one, as few as will do, and
/// none beyond its NUMA node while there are `max` for all nodes. `nodes`: the NUMA node of each LLC. Returns the
/// nodes of the merged ones, and the merged one of each.
fn merge_llcs(nodes: &[usize], max: usize) -> (Vec<usize>, Vec<u16>) {
    for share in 1..=nodes.len().max(1) {
        let mut of_merged: Vec<usize> = Vec::new();
        let mut merged = Vec::new();
        let mut in_last = 0;
        for &node in nodes {
            if of_merged.last() != Some(&node) || in_last == share {
                of_merged.push(node);
                in_last = 0;
            }
            in_last += 1;
            merged.push((of_merged.len() - 1) as u16);
        }
        if of_merged.len() <= max {
            return (of_merged, merged);
        }
    }
    let merged = (0..nodes.len()).map(|llc| (llc * max / nodes.len()) as u16);
    (nodes.iter().copied().take(max).collect(), merged.collect())
}

/// The CPUs that are not of the smaller kind: one of each core first, so that no two share a core while a
/// whole one is free; among those the larger first.
fn big_cpus(topology: &Topology) -> Vec<u16> {
    if !topology.has_little_cores() {
        return Vec::new();
    }
    let mut of_core = HashMap::new();
    let big = topology.all_cpus.values();
    let mut big: Vec<_> = big
        .filter(|cpu| cpu.core_type != CoreType::Little)
        .map(|cpu| {
            let sibling: &mut u32 = of_core.entry(cpu.core_id).or_default();
            *sibling += 1;
            (*sibling, Reverse(cpu.cpu_capacity), cpu.id as u16)
        })
        .collect();
    big.sort_unstable();
    big.into_iter().map(|(_, _, cpu)| cpu).collect()
}

/// `nodes`: the NUMA node of each LLC. Among LLCs of equal distance, the next ones in number come first,
/// so that not all look at the same one.
fn steal_order(nodes: &[usize]) -> Vec<Vec<u8>> {
    let nr = nodes.len();
    let order_of = |own: usize| {
        let mut others: Vec<usize> = (1..nr).map(|step| (own + step) % nr).collect();
        others.sort_by_key(|&llc| nodes[llc] != nodes[own]);
        others.into_iter().map(|llc| llc as u8).collect()
    };
    (0..nr).map(order_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_neighbours_when_there_are_too_many() {
        assert_eq!(
            merge_llcs(&[0, 0, 1, 1], 4),
            (vec![0, 0, 1, 1], vec![0, 1, 2, 3])
        );
        assert_eq!(
            merge_llcs(&[0, 0, 0, 1, 1], 4),
            (vec![0, 0, 1], vec![0, 0, 1, 2, 2])
        );
        let (nodes, merged) = merge_llcs(&[0, 1, 2, 3, 4, 5], 3);
        assert_eq!((nodes.len(), merged), (3, vec![0, 0, 1, 1, 2, 2]));
        assert_eq!(merge_llcs(&[], 3), (vec![], vec![]));
    }

    #[test]
    fn steals_from_its_own_node_first() {
        assert_eq!(
            steal_order(&[0, 0, 1, 1]),
            [[1, 2, 3], [0, 2, 3], [3, 0, 1], [2, 0, 1]]
        );
        assert_eq!(steal_order(&[0]), [[0u8; 0]]);
    }
}
