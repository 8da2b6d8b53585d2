//! The CPUs of a machine: nodes, last-level caches (LLCs), cores, threads.

use crate::mask::{CpuMask, MAX_CPUS};
use anyhow::{Result, ensure};
use std::fmt;
use std::str::FromStr;

/// LLCs at most, as in `src/bpf/intf.h`.
pub const MAX_LLCS: usize = 128;

/// How many of each there are. Siblings (threads of a core) have adjacent numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    /// NUMA nodes.
    pub nodes: usize,
    /// LLCs of each node.
    pub llcs: usize,
    /// Cores of each LLC.
    pub cores: usize,
    /// Threads of each core.
    pub threads: usize,
}

impl Topology {
    /// One LLC of `cores`, one thread each.
    pub fn flat(cores: usize) -> Self {
        Self {
            nodes: 1,
            llcs: 1,
            cores,
            threads: 1,
        }
    }

    /// CPUs of an LLC.
    pub fn cpus_per_llc(&self) -> usize {
        self.cores * self.threads
    }

    /// LLCs of the machine.
    pub fn nr_llcs(&self) -> usize {
        self.nodes * self.llcs
    }

    /// CPUs of the machine.
    pub fn nr_cpus(&self) -> usize {
        self.nr_llcs() * self.cpus_per_llc()
    }

    /// The LLC of a CPU.
    pub fn llc_of(&self, cpu: usize) -> usize {
        cpu / self.cpus_per_llc()
    }

    /// The node of an LLC.
    pub fn node_of_llc(&self, llc: usize) -> usize {
        llc / self.llcs
    }

    /// The CPUs that share an LLC with this one.
    pub fn llc_mask(&self, cpu: usize) -> CpuMask {
        let first = self.llc_of(cpu) * self.cpus_per_llc();
        CpuMask::of(first..first + self.cpus_per_llc())
    }

    /// The CPUs of its node.
    pub fn node_mask(&self, cpu: usize) -> CpuMask {
        let size = self.llcs * self.cpus_per_llc();
        let first = cpu / size * size;
        CpuMask::of(first..first + size)
    }

    /// The threads of its core, itself included.
    pub fn core_mask(&self, cpu: usize) -> CpuMask {
        let first = cpu / self.threads * self.threads;
        CpuMask::of(first..first + self.threads)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.nodes, self.llcs, self.cores)?;
        if self.threads > 1 {
            write!(f, ":{}", self.threads)?;
        }
        Ok(())
    }
}

impl FromStr for Topology {
    type Err = anyhow::Error;

    /// Reads `NODES:LLCS:CORES[:THREADS]`: LLCs of each node, cores of each LLC, threads of each core.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<usize> = text
            .split(':')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| {
                anyhow::anyhow!("{text:?} is not NODES:LLCS:CORES[:THREADS]: {error}")
            })?;
        ensure!(
            matches!(parts.len(), 3 | 4)
                && parts.iter().all(|&part| (1..=MAX_CPUS).contains(&part)),
            "{text:?} is not NODES:LLCS:CORES[:THREADS], each from 1 to {MAX_CPUS}"
        );
        let topology = Self {
            nodes: parts[0],
            llcs: parts[1],
            cores: parts[2],
            threads: parts.get(3).copied().unwrap_or(1),
        };
        let (llcs, cpus) = (topology.nr_llcs(), topology.nr_cpus());
        ensure!(
            llcs <= MAX_LLCS && cpus <= MAX_CPUS,
            "{text} has {cpus} CPUs in {llcs} LLCs: {MAX_CPUS} in {MAX_LLCS} are the limit"
        );
        Ok(topology)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let topology: Topology = "2:2:4:2".parse().unwrap();
        assert_eq!(topology.nr_cpus(), 32);
        assert_eq!(topology.to_string(), "2:2:4:2");
        assert_eq!(topology.llc_mask(9).to_string(), "8-15");
        assert_eq!(topology.node_mask(17).to_string(), "16-31");
        assert_eq!(topology.core_mask(5).to_string(), "4-5");
    }

    #[test]
    fn refuses_nonsense() {
        for text in [
            "",
            "1:1",
            "0:1:1",
            "1:1:1:1:1",
            "x:1:1",
            "4:64:16",
            "1:200:1",
            "-1:1:1",
        ] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
    }
}
