//! The cache model: whose sizes and latencies, and the emulator's plugin that charges for them (`caches.c`).

use crate::setup::{self, Purpose};
use crate::steps::Steps;
use crate::topology::Topology;
use crate::tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugin's source.
const PLUGIN: &str = include_str!("caches.c");
/// The directory has this many cores and last-level caches at most (`caches.c`).
const MAX_CORES: u32 = 64;
const MAX_LLCS: u32 = 32;
/// The speed of each of two busy SMT siblings: together they do 1.2 times the work of one. Marr et al., Intel
/// Technology Journal 6(1), 2002, measured 1.16 to 1.28 for server applications.
const SMT_PERCENT: u32 = 60;
/// From this memory size on, the emulated PC has 2 GiB of it below 4 GiB and the rest above (QEMU,
/// `hw/i386/pc_q35.c`).
const PC_SPLIT_MIB: u32 = 0xb00;

/// A processor whose caches are modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Caches {
    /// AMD Ryzen 7000: 1 MiB L2 per core, L3 of 4 MiB per core for each chiplet.
    Zen4,
    /// Intel Xeon of the third generation: 1.25 MiB L2 per core, LLC of 1.5 MiB per core.
    Icelake,
    /// Raspberry Pi 5: 512 KiB L2 per core, L3 of 512 KiB per core.
    Pi5,
}

/// Size and associativity.
#[derive(Clone, Copy, Debug)]
struct Size {
    kib: u32,
    ways: u32,
}

/// Latencies of one load in ns, from the core to the data, whatever the level in between.
#[derive(Clone, Copy, Debug)]
struct Latencies {
    l2: u32,
    llc: u32,
    /// From another core's cache, which has modified the line.
    same_llc: u32,
    other_llc: u32,
    other_node: u32,
    memory: u32,
    remote_memory: u32,
}

#[derive(Clone, Copy, Debug)]
struct Model {
    l1: Size,
    l2: Size,
    /// Per core that shares it.
    llc: Size,
    ns: Latencies,
}

impl Caches {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zen4 => "zen4",
            Self::Icelake => "icelake",
            Self::Pi5 => "pi5",
        }
    }

    /// Where the figures come from stands in docs/design/benchmark.md, "The cache model".
    fn model(self) -> Model {
        let size = |kib, ways| Size { kib, ways };
        match self {
            Self::Zen4 => Model {
                l1: size(32, 8),
                l2: size(1024, 8),
                llc: size(4096, 16),
                ns: Latencies {
                    l2: 3,
                    llc: 10,
                    same_llc: 18,
                    other_llc: 77,
                    other_node: 197,
                    memory: 75,
                    remote_memory: 190,
                },
            },
            Self::Icelake => Model {
                l1: size(48, 12),
                l2: size(1280, 20),
                llc: size(1536, 12),
                ns: Latencies {
                    l2: 4,
                    llc: 22,
                    same_llc: 51,
                    other_llc: 51,
                    other_node: 108,
                    memory: 85,
                    remote_memory: 139,
                },
            },
            Self::Pi5 => Model {
                l1: size(64, 4),
                l2: size(512, 8),
                llc: size(512, 16),
                ns: Latencies {
                    l2: 4,
                    llc: 12,
                    same_llc: 47,
                    other_llc: 47,
                    other_node: 130,
                    memory: 130,
                    remote_memory: 130,
                },
            },
        }
    }

    /// Checks that a machine of that topology can be modelled.
    ///
    /// # Errors
    /// If it has too many cores or last-level caches.
    pub fn check(self, topology: Topology) -> Result<()> {
        let cores = topology.sockets * topology.dies * topology.cores;
        let llcs = topology.sockets * topology.dies;
        if cores > MAX_CORES || llcs > MAX_LLCS {
            bail!(
                "--caches {}: {cores} cores with {llcs} last-level caches; the model has room for {MAX_CORES} \
                 and {MAX_LLCS}",
                self.name()
            );
        }
        Ok(())
    }

    /// The plugin's arguments for a machine, as in `-plugin FILE,ARGUMENTS`.
    pub fn arguments(self, topology: Topology, memory_mib: u32) -> String {
        let Model { l1, l2, llc, ns } = self.model();
        let low_mib = if memory_mib >= PC_SPLIT_MIB {
            2048
        } else {
            memory_mib
        };
        let arguments = [
            ("threads", topology.threads),
            ("paired", topology.paired()),
            ("cores_per_llc", topology.cores),
            ("llcs_per_node", topology.dies),
            ("low_mib", low_mib),
            ("high_mib", memory_mib),
            // The first node has the remainder, which is less than a MiB for each node.
            ("node_mib", memory_mib.div_ceil(topology.sockets)),
            ("l1_kib", l1.kib),
            ("l1_ways", l1.ways),
            ("l2_kib", l2.kib),
            ("l2_ways", l2.ways),
            ("llc_kib", llc.kib * topology.cores),
            ("llc_ways", llc.ways),
            ("l2_ns", ns.l2),
            ("llc_ns", ns.llc),
            ("same_llc_ns", ns.same_llc),
            ("other_llc_ns", ns.other_llc),
            ("other_node_ns", ns.other_node),
            ("memory_ns", ns.memory),
            ("remote_memory_ns", ns.remote_memory),
        ];
        arguments
            .map(|(name, value)| format!("{name}={value}"))
            .join(",")
    }
}

/// The emulator's variable that says which vCPUs share a core, and how fast each is then.
pub fn smt_variable(topology: Topology) -> (&'static str, String) {
    let (threads, paired) = (topology.threads, topology.paired());
    (
        "SIDE_BY_SIDE_SMT",
        format!("{threads}:{paired}:{SMT_PERCENT}"),
    )
}

/// The plugin in the folder of an emulator, compiled if it is not there.
pub fn plugin(emulator_folder: &Path) -> Result<PathBuf> {
    let hash = super::change::hash([PLUGIN].into_iter());
    let ready = emulator_folder.join(format!("caches-{hash:016x}.so"));
    if ready.is_file() {
        return Ok(ready);
    }
    setup::ensure(Purpose::SideBySide)?;
    let _lock = tree::lock(emulator_folder)?;
    // Another run may have compiled it while this one waited.
    if ready.is_file() {
        return Ok(ready);
    }
    let folder = tempfile::tempdir_in(emulator_folder).context("no folder for the cache model")?;
    let source = folder.path().join("caches.c");
    let object = folder.path().join("caches.so");
    fs::write(&source, PLUGIN).context("cannot write the source of the cache model")?;
    let flags = Command::new("pkg-config")
        .args(["--cflags", "glib-2.0"])
        .output()
        .context("cannot run pkg-config")?;
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([&object, &source])
        .arg("-I")
        .arg(emulator_folder)
        .args(String::from_utf8_lossy(&flags.stdout).split_whitespace());
    Steps::in_folder(emulator_folder).run("compiling the cache model", &mut compile)?;
    fs::rename(&object, &ready)
        .with_context(|| format!("cannot put the cache model into {}", ready.display()))?;
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_equal_to_those_of_the_command_line() {
        for caches in Caches::value_variants() {
            let value = caches.to_possible_value().unwrap();
            assert_eq!(value.get_name(), caches.name());
        }
    }

    #[test]
    fn arguments_follow_the_machine() {
        let topology: Topology = "2:2:4:2".parse().unwrap();
        let text = Caches::Icelake.arguments(topology, 4096);
        for part in [
            "threads=2,paired=32,cores_per_llc=4,llcs_per_node=2,low_mib=2048,high_mib=4096,node_mib=2048,",
            ",llc_kib=6144,llc_ways=12,",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(smt_variable(topology).1, "2:32:60");
    }

    #[test]
    fn farther_data_takes_longer() {
        for caches in Caches::value_variants() {
            let ns = caches.model().ns;
            assert!(1 < ns.l2 && ns.l2 < ns.llc && ns.llc < ns.memory);
            assert!(ns.llc < ns.same_llc && ns.same_llc <= ns.other_llc);
            assert!(ns.other_llc < ns.other_node && ns.memory <= ns.remote_memory);
        }
    }

    #[test]
    fn too_many_cores_are_refused() {
        let check = |topology: &str| Caches::Zen4.check(topology.parse().unwrap());
        assert!(check("2:2:16:2").is_ok());
        assert!(check("1:65:1").is_err());
        assert!(check("33:1:1").is_err());
    }
}
