//! Named machines that a guest can emulate.

use crate::arch::Arch;
use crate::side_by_side::Caches;
use crate::topology::Topology;

/// The capacity of the biggest CPU, as in `cpu_capacity` of sysfs.
const FULL_CAPACITY: u32 = 1024;
/// The capacity of an efficiency core: about the single-threaded speed of one of Alder Lake, relative to a
/// performance core.
const EFFICIENCY_CAPACITY: u32 = 580;

/// A named machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Machine {
    /// A desktop PC: 8 CPUs that share one last-level cache.
    Desktop8,
    /// A desktop PC of two chiplets: 16 CPUs, 2 last-level caches of 8.
    Ryzen16,
    /// A laptop: 4 performance cores with SMT, whose siblings come first, and 8 efficiency cores.
    LaptopHybrid,
    /// A server: 2 NUMA nodes, 4 last-level caches, 32 CPUs with SMT.
    Server32,
    /// A Raspberry Pi 5: 4 Cortex-A76, pages of 16 KiB.
    Pi5,
}

impl Machine {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop8 => "desktop8",
            Self::Ryzen16 => "ryzen16",
            Self::LaptopHybrid => "laptop-hybrid",
            Self::Server32 => "server32",
            Self::Pi5 => "pi5",
        }
    }

    /// Its architecture.
    pub fn arch(self) -> Arch {
        match self {
            Self::Pi5 => Arch::Aarch64,
            _ => Arch::X86_64,
        }
    }

    /// The topology of its CPUs.
    pub fn topology(self) -> Topology {
        let (sockets, dies, cores, threads) = match self {
            Self::Desktop8 => (1, 1, 8, 1),
            Self::Ryzen16 => (1, 2, 8, 1),
            // The efficiency cores are the first threads of eight more cores.
            Self::LaptopHybrid => (1, 1, 12, 2),
            Self::Server32 => (2, 2, 4, 2),
            Self::Pi5 => (1, 1, 4, 1),
        };
        Topology {
            sockets,
            dies,
            cores,
            threads,
            single_threaded: if self == Self::LaptopHybrid { 8 } else { 0 },
        }
    }

    /// Its memory in MiB. The real one has more, but guests use the memory of this machine.
    pub fn memory_mib(self) -> u32 {
        match self {
            Self::Server32 => 4096,
            _ => 2048,
        }
    }

    /// The caches of its processor, for `--caches`.
    pub fn caches(self) -> Caches {
        match self {
            Self::Desktop8 | Self::Ryzen16 => Caches::Zen4,
            Self::LaptopHybrid | Self::Server32 => Caches::Icelake,
            Self::Pi5 => Caches::Pi5,
        }
    }

    /// The capacity of each CPU that sysfs shows; empty if all are equal.
    pub fn capacities(self) -> Vec<u32> {
        let topology = self.topology();
        if topology.single_threaded == 0 {
            return Vec::new();
        }
        (0..topology.cpus())
            .map(
                |cpu| match cpu < topology.cpus() - topology.single_threaded {
                    true => FULL_CAPACITY,
                    false => EFFICIENCY_CAPACITY,
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_equal_to_those_of_the_command_line() {
        for machine in Machine::value_variants() {
            let value = machine.to_possible_value().unwrap();
            assert_eq!(value.get_name(), machine.name());
        }
    }

    #[test]
    fn number_of_cpus_fits_the_name() {
        let cpus = |machine: Machine| machine.topology().cpus();
        assert_eq!(cpus(Machine::Desktop8), 8);
        assert_eq!(cpus(Machine::Ryzen16), 16);
        assert_eq!(cpus(Machine::LaptopHybrid), 16);
        assert_eq!(cpus(Machine::Server32), 32);
        assert_eq!(cpus(Machine::Pi5), 4);
    }

    #[test]
    fn only_the_hybrid_machine_has_small_cpus() {
        let capacities = Machine::LaptopHybrid.capacities();
        assert_eq!(capacities.len(), 16);
        assert_eq!(capacities[..8], [FULL_CAPACITY; 8]);
        assert_eq!(capacities[8..], [EFFICIENCY_CAPACITY; 8]);
        assert!(Machine::Ryzen16.capacities().is_empty());
    }
}
